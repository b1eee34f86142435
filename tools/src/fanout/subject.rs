//! A fan-out that runs, and where its talker sends to.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::live::eventually;
use tests::live::process::{Folder, Process};

use super::Scene;
use crate::contender::example;

/// Which fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// A worker of this workspace over io_uring.
    Uring,
    /// The same over epoll.
    Epoll,
    /// The bare loop with a connected socket for each receiver.
    BareEach,
    /// The bare loop that sends batches from one socket.
    BareOne,
}

impl Contender {
    /// All of them, in the order of their turns.
    pub const ALL: [Self; 4] = [Self::Uring, Self::Epoll, Self::BareEach, Self::BareOne];

    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "midpath, io_uring",
            Self::Epoll => "midpath, epoll",
            Self::BareEach => "bare, a socket each",
            Self::BareOne => "bare, one socket",
        }
    }
}

/// A fan-out.
pub struct Subject {
    process: Process,
    _folder: Folder,
    /// The talker's port there.
    pub port: u16,
}

impl Subject {
    /// Starts one whose receivers are all where `ears` is bound, each at an address of its own.
    ///
    /// # Errors
    ///
    /// It can't be built or doesn't start.
    pub fn start(
        contender: Contender,
        (scene, receivers): (Scene, u16),
        ears: &UdpSocket,
        core: usize,
    ) -> Result<Self, String> {
        let far = ears.local_addr().map_err(|error| error.to_string())?.port();
        let room = match scene {
            Scene::Voice => "forward",
            Scene::Video => "switch",
        };
        let (receivers, far) = (receivers.to_string(), far.to_string());
        let core = core.to_string();
        let (name, words) = match contender {
            Contender::Uring => ("fanout", vec!["uring", room, &receivers, &far, &core]),
            Contender::Epoll => ("fanout", vec!["epoll", room, &receivers, &far, &core]),
            Contender::BareEach => ("spray", vec!["each", &receivers, &far]),
            Contender::BareOne => ("spray", vec!["one", &receivers, &far]),
        };
        let binary = example(name)?;
        let mut output = String::new();
        // A ring's sockets are closed some time after their process is gone.
        for _ in 0..TRIES {
            match Self::try_start(&binary, (name, &words)) {
                Ok(subject) => return Ok(subject),
                Err(said) => output = said,
            }
            std::thread::sleep(AGAIN);
        }
        Err(format!("{name} doesn't start:\n{output}"))
    }

    fn try_start(binary: &Path, (name, words): (&str, &[&str])) -> Result<Self, String> {
        let folder = Folder::new("fanout");
        let mut command = Command::new(binary);
        command.args(words);
        let process = Process::start(name, folder.path(), &mut command);
        let is_said = || {
            let output = process.output();
            output.contains("ready") || output.contains("Error")
        };
        let _up = eventually(Duration::from_secs(30), is_said);
        let output = process.output();
        let port = output.lines().find_map(|line| line.strip_prefix("port "));
        match port.and_then(|port| port.parse().ok()) {
            Some(port) if output.contains("ready") => Ok(Self {
                process,
                _folder: folder,
                port,
            }),
            Some(_) | None => Err(output),
        }
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process.
    ///
    /// # Errors
    ///
    /// It doesn't end.
    pub fn end(mut self) -> Result<(), String> {
        let ended = self.process.terminate(Duration::from_secs(10));
        ended
            .map(|_| ())
            .ok_or_else(|| "the fan-out didn't end".to_owned())
    }
}

const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(500);
