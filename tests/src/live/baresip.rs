//! baresip as a real client: it plays a WAV file into the call and records what it hears.

use std::collections::HashMap;
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
        command.arg("-f").arg(folder.path());
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

    /// What it sent so far, as samples.
    #[must_use]
    pub fn sent(&self) -> Vec<i16> {
        self.recorded("-enc.wav")
    }

    /// What it heard so far, as samples.
    #[must_use]
    pub fn heard(&self) -> Vec<i16> {
        self.recorded("-dec.wav")
    }

    /// One side of its call as far as it is in the file; nothing before there is a call.
    fn recorded(&self, side: &str) -> Vec<i16> {
        let list = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        let found = list
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with(side));
        let file = found.and_then(|path| std::fs::read(path).ok());
        wav::samples(&file.unwrap_or_default())
    }

    /// What it said, for a message.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends it, which ends its call.
    ///
    /// # Panics
    ///
    /// It doesn't end within `at_most`.
    pub fn finish(mut self, at_most: Duration) {
        let status = self.process.terminate(at_most);
        assert!(status.is_some(), "baresip: {}", self.process.output());
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

/// The longest part of `heard` that is a part of `sent`, sample for sample after G.711.
#[must_use]
pub fn longest_alike(sent: &[i16], heard: &[i16]) -> usize {
    /// Samples by which a place is found.
    const PROBE: usize = 200;
    // Both zeros of µ-law sound alike.
    let law = |samples: &[i16]| {
        let codes = samples.iter().map(|sample| wav::encode(*sample));
        codes
            .map(|code| if code == 0x7F { 0xFF } else { code })
            .collect::<Vec<u8>>()
    };
    let (sent, heard) = (law(sent), law(heard));
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for at in (0..sent.len().saturating_sub(PROBE)).step_by(PROBE / 2) {
        let probe = &sent[at..at + PROBE];
        let is_silent = probe.iter().all(|code| *code == probe[0]);
        if !is_silent {
            places.entry(probe).or_insert(at);
        }
    }
    let (mut at, mut longest) = (0, 0);
    while let Some(probe) = heard.get(at..at + PROBE) {
        let Some(place) = places.get(probe) else {
            at += 1;
            continue;
        };
        let pairs = heard[at..].iter().zip(&sent[*place..]);
        let alike = pairs.take_while(|(got, due)| got == due).count();
        longest = longest.max(alike);
        at += alike;
    }
    longest
}
