//! Kamailio as an MSRP relay under the load: both ends authenticate themselves (RFC 4976 §5.1), and
//! what is sent goes to the receiver's Use-Path.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use md5::{Digest as _, Md5};
use tests::live::process::{Folder, Process};
use tests::live::{eventually, find, workspace};

use super::session::Pair;
use super::subject::{self, Order, Started, ask, connect, own_path};
use crate::contender::Running;
use crate::rtp::host;

/// The port that it listens on, at this run's own address.
const PORT: u16 = 2855;
const REALM: &str = "relay.example";
const USER: &str = "load";
const PASSWORD: &str = "measure";

struct Kamailio {
    process: Process,
    _folder: Folder,
}

/// Starts it and sets up sessions through it.
///
/// # Errors
///
/// It isn't installed, doesn't start or refuses a client.
pub fn start(order: &Order<'_>) -> Result<Started, String> {
    let listen = SocketAddr::from((order.ip, PORT));
    let (process, folder) = launch(order, listen)?;
    let up = eventually(Duration::from_secs(10), || connect(listen).is_ok());
    if !up {
        return Err(format!("kamailio doesn't start:\n{}", process.output()));
    }
    for id in subject::family(process.id()) {
        host::pin_process(id, order.cores);
    }
    let before_kib = subject::memory_kib(process.id());
    let at = order
        .listener
        .local_addr()
        .map_err(|error| error.to_string())?;
    let session = |_| -> Result<Pair, String> {
        let (from_path, own_path) = (own_path(at), own_path(at));
        let (mut sender, mut receiver) = (connect(listen)?, connect(listen)?);
        let use_path = authenticate(&mut receiver, listen, &own_path)?;
        let _own_use_path = authenticate(&mut sender, listen, &from_path)?;
        Ok(Pair {
            sender,
            receiver,
            to_path: format!("{use_path} {own_path}"),
            from_path,
            own_path,
        })
    };
    let pairs: Result<Vec<Pair>, String> = (0..order.sessions).map(session).collect();
    let pairs = pairs.map_err(|error| format!("{error}\n{}", process.output()))?;
    Ok(Started {
        running: Box::new(Kamailio {
            process,
            _folder: folder,
        }),
        before_kib,
        pairs,
    })
}

fn launch(order: &Order<'_>, listen: SocketAddr) -> Result<(Process, Folder), String> {
    let program = find("kamailio")
        .ok_or("kamailio is not installed: sudo apt-get install kamailio kamailio-tls-modules")?;
    let folder = Folder::new("kamailio");
    let source = workspace().join("tests/kamailio/msrp_relay.cfg");
    let text = std::fs::read_to_string(&source)
        .map_err(|error| format!("{}: {error}", source.display()))?
        .replace("@LISTEN@", &listen.to_string())
        .replace("@CONNECTIONS@", &(order.sessions * 2 + 100).to_string())
        .replace("@REALM@", REALM)
        .replace("@PASSWORD@", PASSWORD);
    let file = folder.path().join("relay.cfg");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let run = folder.path().join("run");
    std::fs::create_dir_all(&run).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .arg("-f")
        .arg(&file)
        .args(["-DD", "-E", "-m", "512", "-M", "64"]);
    command.arg("-w").arg(folder.path()).arg("-Y").arg(&run);
    command.arg("-P").arg(folder.path().join("kamailio.pid"));
    let process = Process::start("kamailio", folder.path(), &mut command);
    Ok((process, folder))
}

impl Running for Kamailio {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        let ended = self.process.terminate(Duration::from_secs(10));
        ended
            .map(|_| ())
            .ok_or_else(|| "kamailio didn't end".to_owned())
    }
}

/// AUTH, the challenge, AUTH again (RFC 4976 §5.1); returns the Use-Path.
fn authenticate(stream: &mut TcpStream, relay: SocketAddr, own: &str) -> Result<String, String> {
    let to_path = format!("msrp://{relay};tcp");
    let challenge = ask(stream, &auth("au7h0001", &to_path, own, ""))?;
    let nonce =
        parameter(&challenge, "nonce").ok_or_else(|| format!("no challenge in {challenge}"))?;
    let authorization = credentials(&to_path, &nonce);
    let answer = ask(stream, &auth("au7h0002", &to_path, own, &authorization))?;
    let use_path = answer
        .lines()
        .find_map(|line| line.strip_prefix("Use-Path:"));
    use_path
        .map(|path| path.trim().to_owned())
        .ok_or_else(|| format!("no Use-Path in {answer}"))
}

fn auth(tid: &str, to_path: &str, own: &str, more: &str) -> String {
    format!("MSRP {tid} AUTH\r\nTo-Path: {to_path}\r\nFrom-Path: {own}\r\n{more}-------{tid}$\r\n")
}

/// The digest with qop `auth`, as RFC 4976 §5.1 wants it.
fn credentials(uri: &str, nonce: &str) -> String {
    let (count, client_nonce) = ("00000001", "0a4f113b");
    let first = digest(&format!("{USER}:{REALM}:{PASSWORD}"));
    let second = digest(&format!("AUTH:{uri}"));
    let response = digest(&format!(
        "{first}:{nonce}:{count}:{client_nonce}:auth:{second}"
    ));
    format!(
        "Authorization: Digest username=\"{USER}\", realm=\"{REALM}\", nonce=\"{nonce}\", \
         uri=\"{uri}\", qop=auth, nc={count}, cnonce=\"{client_nonce}\", response=\"{response}\"\r\n"
    )
}

fn digest(text: &str) -> String {
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text.as_bytes()) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

/// The value of `name="value"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    let rest = text.split(&format!("{name}=\"")).nth(1)?;
    rest.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod challenges {
    use super::{digest, parameter};

    #[test]
    fn a_digest_is_hexadecimal() {
        assert_eq!(digest("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn a_parameter_of_a_challenge_is_found() {
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"abc\", qop=\"auth\"";
        assert_eq!(parameter(challenge, "nonce").as_deref(), Some("abc"));
        assert_eq!(parameter(challenge, "opaque"), None);
    }
}
