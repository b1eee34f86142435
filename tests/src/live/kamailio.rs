//! Kamailio as the SIP/IP core between the clients and the relay, and as an MSRP relay.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::live::ports::Ports;
use crate::live::process::{Folder, Process};
use crate::live::{eventually, find, workspace};
use crate::peers::sip::Agent;

/// A running core.
#[derive(Debug)]
pub struct Core {
    process: Process,
    /// Where it speaks SIP, UDP and TCP.
    pub sip: SocketAddr,
    _folder: Folder,
}

impl Core {
    /// Starts a core that leads each first request through `relay` (`None`: it's a plain stateful
    /// proxy) and on to the `users`' devices.
    ///
    /// # Panics
    ///
    /// It doesn't answer OPTIONS within a minute.
    #[must_use]
    pub fn start(ports: &mut Ports, relay: Option<SocketAddr>, users: &[(&str, &str)]) -> Self {
        Self::start_with(ports, relay, users, 2)
    }

    /// Starts a core with `children` processes per socket.
    ///
    /// # Panics
    ///
    /// It doesn't answer OPTIONS within a minute.
    #[must_use]
    pub fn start_with(
        ports: &mut Ports,
        relay: Option<SocketAddr>,
        users: &[(&str, &str)],
        children: u32,
    ) -> Self {
        let sip = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let relay = relay.map_or_else(String::new, |relay| relay.to_string());
        let values = [
            ("RELAY", relay),
            ("CHILDREN", children.to_string()),
            ("USERS", devices(users)),
        ];
        Self::launch(sip, "core", &values)
    }

    /// Starts a core with a registrar that tells `relay` of each registration, leads each first
    /// INVITE through it as the called user's, and forks it to the user's devices.
    ///
    /// # Panics
    ///
    /// It doesn't answer OPTIONS within a minute.
    #[must_use]
    pub fn registrar(ports: &mut Ports, relay: SocketAddr) -> Self {
        let sip = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        Self::launch(sip, "registrar", &[("RELAY", relay.to_string())])
    }

    /// Starts a core that leads what is for `groups.example` to `relay`, which is the Controlling
    /// Function of groups there, and all else to the `users`' devices.
    ///
    /// # Panics
    ///
    /// It doesn't answer OPTIONS within a minute.
    #[must_use]
    pub fn of_groups(sip: SocketAddr, relay: SocketAddr, users: &[(&str, &str)]) -> Self {
        let values = [("RELAY", relay.to_string()), ("USERS", devices(users))];
        Self::launch(sip, "groups", &values)
    }

    /// Starts a core with one of the configurations in `tests/kamailio`, where `@NAME@` becomes a
    /// value, and waits until it is there.
    fn launch(sip: SocketAddr, configuration: &str, values: &[(&str, String)]) -> Self {
        let folder = Folder::new(configuration);
        let mut text = read(configuration).replace("@CORE@", &sip.to_string());
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        let process = run(&folder, &text);
        let core = Self {
            process,
            sip,
            _folder: folder,
        };
        let up = eventually(START_MAX, || core.answers());
        assert!(up, "kamailio doesn't answer:\n{}", core.process.output());
        core
    }

    /// Its URI for a Route header field.
    #[must_use]
    pub fn route(&self) -> String {
        format!("<sip:{};lr>", self.sip)
    }

    /// The main process; the others are its children.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    fn answers(&self) -> bool {
        let mut probe = Agent::udp("probe", self.sip);
        let _sent = probe.ask_options(&format!("sip:{}", self.sip));
        let answer = probe.within(Duration::from_millis(300), |message| {
            message.code() == Some(200)
        });
        answer.is_some()
    }
}

/// Kamailio as an MSRP relay (RFC 4976) for clients; TCP.
#[derive(Debug)]
pub struct MsrpRelay {
    process: Process,
    /// Where it speaks MSRP.
    pub address: SocketAddr,
    _folder: Folder,
}

impl MsrpRelay {
    /// Who may ask it for a path: user and password.
    pub const CREDENTIALS: (&str, &str) = ("alice", "secret");

    /// Starts a relay.
    ///
    /// # Panics
    ///
    /// It isn't there within a minute.
    #[must_use]
    pub fn start(ports: &mut Ports) -> Self {
        let folder = Folder::new("msrp-relay");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let text = read("msrp").replace("@RELAY@", &address.to_string());
        let process = run(&folder, &text);
        let relay = Self {
            process,
            address,
            _folder: folder,
        };
        let up = eventually(START_MAX, || TcpStream::connect(address).is_ok());
        assert!(up, "kamailio isn't there:\n{}", relay.output());
        relay
    }

    /// What it saw: a line for each request, with both paths, and one for each response.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// A configuration in `tests/kamailio`.
fn read(configuration: &str) -> String {
    let file = workspace().join(format!("tests/kamailio/{configuration}.cfg"));
    std::fs::read_to_string(file).expect("the configuration is there")
}

/// Starts Kamailio with a configuration.
fn run(folder: &Folder, text: &str) -> Process {
    let file = folder.path().join("kamailio.cfg");
    std::fs::write(&file, text).expect("the folder can be written");
    let run = folder.path().join("run");
    std::fs::create_dir_all(&run).expect("the folder can be written");
    let program = find("kamailio").expect("kamailio is installed");
    let mut command = Command::new(program);
    command
        .arg("-f")
        .arg(&file)
        .args(["-DD", "-E", "-m", "512", "-M", "16"]);
    command.arg("-w").arg(folder.path()).arg("-Y").arg(&run);
    command.arg("-P").arg(folder.path().join("kamailio.pid"));
    Process::start("kamailio", folder.path(), &mut command)
}

/// One line of configuration per user: who is asked for, and where the device is.
fn devices(users: &[(&str, &str)]) -> String {
    let line = |(user, uri): &(&str, &str)| format!("\tif ($rU == \"{user}\") $ru = \"{uri}\";\n");
    users.iter().map(line).collect()
}

/// For a program to start on a busy host.
const START_MAX: Duration = Duration::from_secs(60);
