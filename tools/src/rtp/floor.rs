//! The bare loop under the load: what relaying over a socket per port costs at least.

use std::process::Command;
use std::time::Duration;

use tests::live::eventually;
use tests::live::process::{Folder, Process};

use super::host;
use super::leg::address;
use super::subject::Order;
use crate::contender::{Running, example};

struct Floor {
    process: Process,
    _folder: Folder,
}

/// Starts the loop; leg `n` of the load meets its leg `n`. Its memory before and with its sockets
/// is the same figure: it has no calls.
///
/// # Errors
///
/// It can't be built or doesn't start.
pub fn start(order: &Order<'_>) -> Result<(Box<dyn Running>, u64), String> {
    let folder = Folder::new("floor");
    let mut command = Command::new(example("floor")?);
    command
        .arg(address(order.place.relay, 0).to_string())
        .arg(address(order.place.generator, 0).to_string())
        .arg(order.legs.len().to_string())
        .arg(order.doors.to_string());
    let process = Process::start("floor", folder.path(), &mut command);
    let up = eventually(Duration::from_secs(10), || {
        process.output().contains("ready")
    });
    if !up {
        return Err(format!(
            "the bare loop doesn't start:\n{}",
            process.output()
        ));
    }
    host::pin_process(process.id(), order.cores);
    for (number, leg) in order.legs.iter().enumerate() {
        leg.connect(address(order.place.relay, number).into())?;
    }
    let before = host::resident_kib(process.id());
    let floor = Floor {
        process,
        _folder: folder,
    };
    Ok((Box::new(floor), before))
}

impl Running for Floor {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        let ended = self.process.terminate(Duration::from_secs(5));
        ended
            .map(|_| ())
            .ok_or_else(|| "the bare loop didn't end".to_owned())
    }
}
