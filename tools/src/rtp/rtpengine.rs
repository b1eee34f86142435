//! rtpengine under the load: Debian's daemon in user space, calls by its NG protocol (a cookie and
//! a bencoded dictionary in a UDP datagram).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use tests::live::process::{Folder, Process};
use tests::live::{eventually, find};

use super::bencode::{self, Value};
use super::description::{place, sound};
use super::host;
use super::subject::Order;
use crate::contender::Running;

/// Its NG port; the address is this run's own.
const NG_PORT: u16 = 2223;
/// Tries of one command.
const TRIES: u32 = 5;

struct Engine {
    process: Process,
    ng: Ng,
    calls: usize,
    _folder: Folder,
}

/// The one socket that gives commands.
struct Ng {
    socket: UdpSocket,
    next: u64,
}

/// Starts the daemon and sets up calls; also its memory before the first, in KiB.
///
/// # Errors
///
/// It isn't installed, doesn't answer or refuses a call.
pub fn start(order: &Order<'_>) -> Result<(Box<dyn Running>, u64), String> {
    let program = find("rtpengine")
        .ok_or("rtpengine is not installed: sudo apt-get install rtpengine-daemon")?;
    let folder = Folder::new("rtpengine");
    let ip = order.place.relay;
    let mut command = Command::new(program);
    command
        .args([
            "--config-file=none",
            "--foreground",
            "--log-stderr",
            "--log-level=3",
        ])
        .args([
            "--table=-1",
            "--port-min=4096",
            "--port-max=65000",
            "--delete-delay=0",
        ])
        .arg(format!("--num-threads={}", order.contender.workers))
        .arg(format!("--interface={ip}"))
        .arg(format!("--listen-ng={ip}:{NG_PORT}"))
        .arg(format!("--pidfile={}", folder.path().join("pid").display()));
    let process = Process::start("rtpengine", folder.path(), &mut command);
    let mut engine = Engine {
        ng: Ng::connect(ip)?,
        process,
        calls: 0,
        _folder: folder,
    };
    let up = eventually(Duration::from_secs(10), || {
        engine.ng.ask(&[("command", "ping")]).is_ok()
    });
    if !up {
        return Err(format!(
            "rtpengine doesn't answer:\n{}",
            engine.process.output()
        ));
    }
    host::pin_process(engine.process.id(), order.cores);
    let before = host::resident_kib(engine.process.id());
    for call in 0..order.legs.len() / 2 {
        engine.call(order, call)?;
    }
    Ok((Box::new(engine), before))
}

impl Engine {
    fn call(&mut self, order: &Order<'_>, number: usize) -> Result<(), String> {
        let (near, far) = (2 * number, 2 * number + 1);
        let at = |leg: usize| sound(order.legs[leg].at.into(), order.codec, order.mux);
        let id = format!("call-{number}");
        let offer = [
            ("command", "offer"),
            ("call-id", id.as_str()),
            ("from-tag", "a"),
            ("sdp", &at(near)),
            ("ICE", "remove"),
        ];
        order.legs[far].connect(place(&self.ng.sdp(&offer)?)?)?;
        let answer = [
            ("command", "answer"),
            ("call-id", id.as_str()),
            ("from-tag", "a"),
            ("to-tag", "b"),
            ("sdp", &at(far)),
            ("ICE", "remove"),
        ];
        order.legs[near].connect(place(&self.ng.sdp(&answer)?)?)?;
        self.calls += 1;
        Ok(())
    }
}

impl Running for Engine {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        for number in 0..self.calls {
            let id = format!("call-{number}");
            let _answer = self.ng.ask(&[
                ("command", "delete"),
                ("call-id", id.as_str()),
                ("from-tag", "a"),
            ])?;
        }
        match self.process.terminate(Duration::from_secs(10)) {
            Some(_) => Ok(()),
            None => Err("rtpengine didn't end".to_owned()),
        }
    }
}

impl Ng {
    fn connect(ip: Ipv4Addr) -> Result<Self, String> {
        let open = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((ip, 0))?;
            socket.connect(SocketAddr::from((ip, NG_PORT)))?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| format!("NG socket: {error}"))?;
        Ok(Self { socket, next: 0 })
    }

    /// Gives a command and takes its answer; the same cookie again is the same command.
    fn ask(&mut self, pairs: &[(&str, &str)]) -> Result<BTreeMap<String, Value>, String> {
        self.next += 1;
        let cookie = format!("load{}", self.next);
        let text = format!("{cookie} {}", bencode::dictionary(pairs));
        let mut bytes = [0; 65_536];
        for _ in 0..TRIES {
            if self.socket.send(text.as_bytes()).is_err() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            while let Ok(length) = self.socket.recv(&mut bytes) {
                if let Some(body) = bytes[..length].strip_prefix(format!("{cookie} ").as_bytes()) {
                    return answer(body);
                }
            }
        }
        Err("rtpengine doesn't answer".to_owned())
    }

    fn sdp(&mut self, pairs: &[(&str, &str)]) -> Result<String, String> {
        match self.ask(pairs)?.remove("sdp") {
            Some(Value::Text(text)) => Ok(text),
            other => Err(format!(
                "rtpengine answers without a description: {other:?}"
            )),
        }
    }
}

fn answer(body: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    let refused = || format!("rtpengine answers {}", String::from_utf8_lossy(body));
    let Some(Value::Dictionary(all)) = bencode::read(body) else {
        return Err(refused());
    };
    match all.get("result") {
        Some(Value::Text(text)) if text == "ok" || text == "pong" => Ok(all),
        _ => Err(refused()),
    }
}
