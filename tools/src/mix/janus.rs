//! Janus's AudioBridge: Debian's package with this plugin alone, its API over a Unix socket, members
//! by plain RTP.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::live::process::{Folder, Process};
use tests::live::{eventually, find};

use super::Codec;
use super::subject::{IP, Order, Subject};
use crate::rtp::host;

/// Where Debian puts what Janus loads.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu/janus";
/// Ports of its members' legs, two for each: above those that the kernel hands out.
const PORTS: &str = "61000-65000";
/// Tries to start it.
const STARTS: u32 = 12;
/// libopus's complexity, as Midpath has it for one voice and two.
const COMPLEXITY: u32 = 5;

/// Starts it, makes the rooms and lets the members join.
///
/// # Errors
///
/// It isn't installed, doesn't start, or refuses a room or a member.
pub fn start(order: &Order<'_>, socket: UdpSocket) -> Result<Subject, String> {
    let program = find("janus").ok_or("Janus is not installed: sudo apt-get install janus")?;
    let folder = Folder::new("janus");
    configure(folder.path()).map_err(|error| format!("{}: {error}", folder.path().display()))?;
    let (process, api) = launch(&program, folder.path())?;
    let mut api = Api::connect(folder.path(), &api)?;
    let before_kib = host::resident_kib(process.id());
    let mut ports = Vec::new();
    for (room, members) in (1..).zip(order.rooms) {
        api.room(room, order.codec)?;
        for _ in 0..*members {
            ports.push(api.join(room, order)?);
        }
    }
    Ok(Subject {
        process,
        _folder: folder,
        ports,
        rooms: order.rooms.len().saturating_sub(1),
        before_kib,
        socket,
        _control: Some(api),
    })
}

/// Starts the process; now and then 1.1.2 ends at once, as it finds its only transport not ready.
fn launch(program: &Path, folder: &Path) -> Result<(Process, PathBuf), String> {
    let api = folder.join("api");
    let mut said = String::new();
    for _ in 0..STARTS {
        let mut command = Command::new(program);
        command.arg(format!("--configs-folder={}", folder.display()));
        let mut process = Process::start("janus", folder, &mut command);
        let mut ended = false;
        eventually(Duration::from_secs(10), || {
            ended = process.wait(Duration::ZERO).is_some();
            ended || api.exists()
        });
        if !ended && api.exists() {
            return Ok((process, api));
        }
        said = process.output();
    }
    Err(format!("Janus doesn't start:\n{said}"))
}

/// Writes its settings: one plugin, one way to talk to it.
fn configure(folder: &Path) -> std::io::Result<()> {
    let path = folder.display();
    for (kind, library) in [
        ("plugins", "libjanus_audiobridge.so"),
        ("transports", "libjanus_pfunix.so"),
    ] {
        fs::create_dir(folder.join(kind))?;
        symlink(
            Path::new(LIBRARIES).join(kind).join(library),
            folder.join(kind).join(library),
        )?;
    }
    let general = format!(
        "general: {{\n configs_folder = \"{path}\"\n plugins_folder = \"{path}/plugins\"\n \
         transports_folder = \"{path}/transports\"\n events_folder = \"{path}/none\"\n \
         loggers_folder = \"{path}/none\"\n debug_level = 2\n session_timeout = 0\n \
         admin_secret = \"unused\"\n}}\n"
    );
    fs::write(folder.join("janus.jcfg"), general)?;
    let api = format!(
        "general: {{\n enabled = true\n json = \"compact\"\n path = \"{path}/api\"\n \
         type = \"SOCK_DGRAM\"\n}}\nadmin: {{\n admin_enabled = false\n}}\n"
    );
    fs::write(folder.join("janus.transport.pfunix.jcfg"), api)?;
    let bridge = format!(
        "general: {{\n events = false\n rtp_port_range = \"{PORTS}\"\n local_ip = \"{IP}\"\n}}\n"
    );
    fs::write(folder.join("janus.plugin.audiobridge.jcfg"), bridge)
}

/// A session of its API; it ends with the socket.
#[derive(Debug)]
pub struct Api {
    socket: UnixDatagram,
    session: u64,
    /// The handle that makes rooms.
    handle: u64,
    transaction: u64,
}

impl Api {
    fn connect(folder: &Path, api: &Path) -> Result<Self, String> {
        let open = || -> std::io::Result<UnixDatagram> {
            let socket = UnixDatagram::bind(folder.join("client"))?;
            socket.connect(api)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| format!("Janus's socket: {error}"))?;
        let mut api = Self {
            socket,
            session: 0,
            handle: 0,
            transaction: 0,
        };
        api.session = id(&api.ask(json!({"janus": "create"}))?)?;
        api.handle = api.attach()?;
        Ok(api)
    }

    fn attach(&mut self) -> Result<u64, String> {
        let plugin = "janus.plugin.audiobridge";
        id(&self.ask(json!({"janus": "attach", "session_id": self.session, "plugin": plugin}))?)
    }

    fn room(&mut self, room: u32, codec: Codec) -> Result<(), String> {
        let rate = match codec {
            Codec::G711 => 8_000,
            Codec::Opus => 48_000,
        };
        let body = json!({
            "request": "create", "room": room, "sampling_rate": rate,
            "allow_rtp_participants": true, "audiolevel_ext": false,
        });
        let answer = self.message(self.handle, &body)?;
        match answer["plugindata"]["data"]["audiobridge"].as_str() {
            Some("created") => Ok(()),
            _ => Err(format!("Janus makes no room: {answer}")),
        }
    }

    /// The port that the member sends to.
    fn join(&mut self, room: u32, order: &Order<'_>) -> Result<u16, String> {
        let handle = self.attach()?;
        let (codec, payload_type) = match order.codec {
            Codec::G711 => ("pcmu", 0),
            Codec::Opus => ("opus", 111),
        };
        let body = json!({
            "request": "join", "room": room, "codec": codec, "quality": COMPLEXITY,
            "bitrate": order.bitrate,
            "rtp": {"ip": IP.to_string(), "port": order.far, "payload_type": payload_type},
        });
        let answer = self.message(handle, &body)?;
        let port = answer["plugindata"]["data"]["rtp"]["port"].as_u64();
        port.and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| format!("Janus lets nobody join: {answer}"))
    }

    fn message(&mut self, handle: u64, body: &Value) -> Result<Value, String> {
        self.ask(json!({
            "janus": "message", "session_id": self.session, "handle_id": handle, "body": body,
        }))
    }

    /// Asks and takes the answer that isn't a mere acknowledgement; news are left out.
    fn ask(&mut self, mut request: Value) -> Result<Value, String> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        request["transaction"] = transaction.as_str().into();
        let text = request.to_string();
        self.socket
            .send(text.as_bytes())
            .map_err(|error| format!("Janus's socket: {error}"))?;
        let mut bytes = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut bytes);
            let length = length.map_err(|error| format!("Janus doesn't answer: {error}"))?;
            let Ok(answer) = serde_json::from_slice::<Value>(&bytes[..length]) else {
                continue;
            };
            let is_mine = answer["transaction"].as_str() == Some(transaction.as_str());
            match answer["janus"].as_str() {
                Some("ack") => {}
                Some("error") => return Err(format!("Janus refuses {text}: {answer}")),
                _ if is_mine => return Ok(answer),
                _ => {}
            }
        }
    }
}

fn id(answer: &Value) -> Result<u64, String> {
    answer["data"]["id"]
        .as_u64()
        .ok_or_else(|| format!("Janus gives no id: {answer}"))
}
