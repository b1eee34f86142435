//! Midpath's worker with rooms: `benches/examples/mixer.rs`, which is what control would order and
//! nothing else.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use tests::live::eventually;
use tests::live::process::{Folder, Process};

use super::subject::{IP, Order, Subject};
use crate::contender::example;

/// Starts it; its members have joined when it says so.
///
/// # Errors
///
/// It can't be built or doesn't start.
pub fn start(order: &Order<'_>, socket: UdpSocket) -> Result<Subject, String> {
    let folder = Folder::new("mixer");
    let rooms: Vec<String> = order.rooms.iter().map(ToString::to_string).collect();
    let mut command = Command::new(example("mixer")?);
    command
        .arg(format!("{IP}:{}", order.far))
        .arg(rooms.join(","))
        .arg(order.codec.name())
        .arg(order.talkers.to_string())
        .arg(order.core.to_string())
        .arg(order.bitrate.to_string());
    let process = Process::start("mixer", folder.path(), &mut command);
    let up = eventually(Duration::from_secs(30), || {
        process.output().lines().any(|line| line == "ready")
    });
    let output = process.output();
    if !up {
        return Err(format!("the mixer doesn't start:\n{output}"));
    }
    let figure = |name: &str| {
        let lines = output
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let ports = figure("port")
        .iter()
        .filter_map(|port| port.parse().ok())
        .collect();
    let before = figure("before_kib")
        .first()
        .and_then(|kib| kib.parse().ok());
    Ok(Subject {
        process,
        _folder: folder,
        ports,
        rooms: order.rooms.len().saturating_sub(1),
        before_kib: before.unwrap_or(0),
        socket,
        _control: None,
    })
}
