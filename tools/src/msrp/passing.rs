//! Relays that pass bytes: HAProxy in TCP mode, the bare splice loop, and no relay at all.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use tests::live::process::{Folder, Process};
use tests::live::{eventually, find};

use super::session::Pair;
use super::subject::{self, Order, Started, Target, accept, connect, own_path, pair_end_to_end};
use crate::contender::{Running, example};
use crate::rtp::host;

/// The port that they listen on, at this run's own address.
const PORT: u16 = 2855;

struct Passing {
    process: Process,
    _folder: Folder,
}

impl Running for Passing {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        let ended = self.process.terminate(Duration::from_secs(5));
        ended.map(|_| ()).ok_or_else(|| "it didn't end".to_owned())
    }
}

struct Nobody;

impl Running for Nobody {
    fn id(&self) -> u32 {
        0
    }

    fn end(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

/// The clients connected to each other: what the machine itself adds.
///
/// # Errors
///
/// A connection fails.
pub fn direct(order: &Order<'_>) -> Result<Started, String> {
    let at = order
        .listener
        .local_addr()
        .map_err(|error| error.to_string())?;
    Ok(Started {
        running: Box::new(Nobody),
        before_kib: 0,
        pairs: pairs(order, at)?,
    })
}

/// Starts HAProxy with one thread.
///
/// # Errors
///
/// It isn't installed, doesn't start or doesn't pass a session.
pub fn haproxy(order: &Order<'_>) -> Result<Started, String> {
    let program =
        find("haproxy").ok_or("haproxy is not installed: sudo apt-get install haproxy")?;
    let folder = Folder::new("haproxy");
    let at = order
        .listener
        .local_addr()
        .map_err(|error| error.to_string())?;
    let connections = order.sessions * 2 + 100;
    let splice = match order.contender.target {
        Target::HaproxySplice => "  option splice-request\n  option splice-response\n",
        _ => "",
    };
    let listen = SocketAddr::from((order.ip, PORT));
    let text = format!(
        "global\n  nbthread 1\n  maxconn {connections}\n\
         defaults\n  mode tcp\n{splice}  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n\
         listen msrp\n  bind {listen}\n  server receiver {at}\n"
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    run("haproxy", folder, &mut command, (order, listen))
}

/// Starts the bare splice loop of `benches/examples/splice.rs`.
///
/// # Errors
///
/// It can't be built, doesn't start or doesn't pass a session.
pub fn splice(order: &Order<'_>) -> Result<Started, String> {
    let folder = Folder::new("splice");
    let at = order
        .listener
        .local_addr()
        .map_err(|error| error.to_string())?;
    let listen = SocketAddr::from((order.ip, PORT));
    let mut command = Command::new(example("splice")?);
    command.arg(listen.to_string()).arg(at.to_string());
    run("splice", folder, &mut command, (order, listen))
}

fn run(
    name: &str,
    folder: Folder,
    command: &mut Command,
    (order, listen): (&Order<'_>, SocketAddr),
) -> Result<Started, String> {
    let process = Process::start(name, folder.path(), command);
    let own = order.listener;
    let up = eventually(Duration::from_secs(10), || {
        let Ok(probe) = connect(listen) else {
            return false;
        };
        // The probe comes through as a connection of its own.
        drop(probe);
        accept(own).is_ok()
    });
    if !up {
        return Err(format!("{name} doesn't start:\n{}", process.output()));
    }
    for id in subject::family(process.id()) {
        host::pin_process(id, order.cores);
    }
    let before_kib = subject::memory_kib(process.id());
    let pairs = pairs(order, listen)?;
    Ok(Started {
        running: Box::new(Passing {
            process,
            _folder: folder,
        }),
        before_kib,
        pairs,
    })
}

/// Sessions through what listens at `relay` and connects to the listener, one after the other.
fn pairs(order: &Order<'_>, relay: SocketAddr) -> Result<Vec<Pair>, String> {
    let listener: &TcpListener = order.listener;
    let at = listener.local_addr().map_err(|error| error.to_string())?;
    let one = |_| {
        let sender = connect(relay)?;
        let receiver = accept(listener)?;
        pair_end_to_end(sender, receiver, (own_path(at), own_path(at)))
    };
    (0..order.sessions).map(one).collect()
}
