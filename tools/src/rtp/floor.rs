//! The bare loop under the load: what relaying over a socket per port costs at least.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::live::process::{Folder, Process};
use tests::live::{eventually, workspace};

use super::host;
use super::leg::address;
use super::subject::{Order, Running};

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

/// Builds one of the benches' examples with all optimisation and says where it is.
///
/// # Errors
///
/// It can't be built.
pub fn example(name: &str) -> Result<PathBuf, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = beside.parent().ok_or("an executable is in a folder")?;
    let target = profile.parent().ok_or("a profile is in a folder")?;
    let mut build = Command::new("cargo");
    build
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "benches",
            "--example",
            name,
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace());
    let built = build.status().is_ok_and(|status| status.success());
    let binary = target.join("release/examples").join(name);
    if built && binary.is_file() {
        Ok(binary)
    } else {
        Err(format!("{} can't be built", binary.display()))
    }
}
