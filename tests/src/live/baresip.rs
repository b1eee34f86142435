//! baresip as a real client: it plays a WAV file into the call and records what it hears.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::live::process::{Folder, Process};
use crate::live::{find, wav};

/// A running baresip.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    folder: Folder,
}

/// Who a client is and what it does.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// The user part of its URI.
    pub user: &'a str,
    /// Its SIP address; the port above must be free as well (TLS).
    pub sip: SocketAddr,
    /// The first of ten ports for its media.
    pub media: u16,
    /// The proxy of its requests.
    pub proxy: Option<SocketAddr>,
    /// Whom it calls; `None`: it answers.
    pub calls: Option<&'a str>,
    /// When it ends, which ends its call, in seconds.
    pub seconds: u32,
}

impl Baresip {
    /// Starts a client that plays `audio` (16 bits, 8 kHz).
    ///
    /// # Panics
    ///
    /// baresip isn't installed.
    #[must_use]
    pub fn start(part: &Part<'_>, audio: &[i16]) -> Self {
        let folder = Folder::new("baresip");
        write(folder.path(), part, audio);
        let mut command = Command::new(find("baresip").expect("baresip is installed"));
        command
            .arg("-f")
            .arg(folder.path())
            .args(["-t", &part.seconds.to_string()]);
        if let Some(callee) = part.calls {
            command.args(["-e", &format!("/dial {callee}")]);
        }
        let process = Process::start("baresip", folder.path(), &mut command);
        Self { process, folder }
    }

    /// Says whether it is ready for calls within `at_most`.
    #[must_use]
    pub fn is_ready(&self, at_most: Duration) -> bool {
        crate::live::eventually(at_most, || {
            self.process.output().contains("baresip is ready")
        })
    }

    /// Waits for its end, and hands over what it sent and what it heard, as samples.
    ///
    /// # Panics
    ///
    /// It had no call.
    #[must_use]
    pub fn finish(mut self, at_most: Duration) -> (Vec<i16>, Vec<i16>) {
        let _status = self.process.wait(at_most);
        let _status = self.process.terminate(Duration::from_secs(5));
        let read = |part: &str| {
            let list = std::fs::read_dir(self.folder.path()).expect("the folder is there");
            let found = list
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .find(|path| path.to_string_lossy().ends_with(part));
            let file = found.unwrap_or_else(|| panic!("no {part}:\n{}", self.process.output()));
            wav::samples(&std::fs::read(file).expect("the file can be read"))
        };
        (read("-enc.wav"), read("-dec.wav"))
    }
}

fn write(folder: &Path, part: &Part<'_>, audio: &[i16]) {
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).expect("the folder can be written");
    };
    put("in.wav", &wav::linear(audio));
    put("contacts", b"");
    let Part {
        user, sip, media, ..
    } = part;
    let proxy = part.proxy.map_or_else(String::new, |proxy| {
        format!(";outbound=\"sip:{proxy};transport=udp\"")
    });
    let account = format!(
        "<sip:{user}@{sip};transport=udp>;regint=0;audio_codecs=PCMU;answermode=auto{proxy}\n"
    );
    put("accounts", account.as_bytes());
    let last = media + 9;
    let at = folder.display();
    let config = format!(
        "poll_method epoll\nsip_listen {sip}\nnet_interface 127.0.0.1\ncall_max_calls 2\n\
         audio_source aufile,{at}/in.wav\naudio_player aubridge,{user}\naudio_alert aubridge,alert\n\
         ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
         rtp_ports {media}-{last}\naudio_buffer 20-160\n\
         module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\n\
         module aubridge.so\nmodule sndfile.so\nmodule_tmp account.so\nmodule_app menu.so\n\
         snd_path {at}\n"
    );
    put("config", config.as_bytes());
}

/// The share of `heard` that is what `sent` is, sample for sample after G.711, at the best match of
/// the part in the middle of `heard`; 0 when that part isn't in `sent`.
#[must_use]
pub fn likeness(sent: &[i16], heard: &[i16]) -> f64 {
    const PROBE: usize = 400;
    let law = |samples: &[i16]| samples.iter().map(|s| wav::encode(*s)).collect::<Vec<u8>>();
    let (sent, heard) = (law(sent), law(heard));
    let middle = heard.len() / 2;
    let Some(probe) = heard.get(middle..middle + PROBE) else {
        return 0.0;
    };
    let Some(at) = sent.windows(PROBE).position(|window| window == probe) else {
        return 0.0;
    };
    let skip = at.saturating_sub(middle);
    let early = middle.saturating_sub(at);
    let pairs = heard[early..].iter().zip(&sent[skip..]);
    let (mut same, mut all) = (0_u32, 0_u32);
    for (got, due) in pairs {
        all += 1;
        // Both zeros of µ-law sound alike.
        same += u32::from(got == due || (got | 0x80 == 0xFF && due | 0x80 == 0xFF));
    }
    f64::from(same) / f64::from(all.max(1))
}
