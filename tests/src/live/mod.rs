//! Real parts: the relay's own process, Kamailio, Dovecot, SIPp, baresip, Chromium and tshark, each
//! with a guard that ends it.

pub mod baresip;
pub mod browser;
pub mod dovecot;
pub mod http;
pub mod judge;
pub mod kamailio;
pub mod ogg;
pub mod ports;
pub mod process;
pub mod relay;
pub mod scene;
pub mod sipp;
pub mod soak;
pub mod wav;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Says whether every program in `programs` is installed.
///
/// Where one is missing the suite is named on the terminal as skipped and the answer is `false`.
///
/// # Panics
///
/// Under `CI=true` a missing program is a failure.
#[must_use]
pub fn needs(suite: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| find(name).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    skip(suite, &format!("not installed: {}", missing.join(", ")));
    false
}

/// Names a suite as skipped.
///
/// # Panics
///
/// Under `CI=true` a skipped suite is a failure.
pub fn skip(suite: &str, reason: &str) {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "SKIPPED {suite}: {reason} (a failure under CI=true)");
    eprintln!("SKIPPED {suite}: {reason}");
    // nextest hides the output of tests that pass: `cargo x test` reads this file afterwards.
    if let Ok(file) = std::env::var("MIDPATH_SKIPPED") {
        use std::io::Write as _;
        if let Ok(mut list) = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
        {
            let _unwritten = writeln!(list, "{suite}: {reason}");
        }
    }
}

/// Finds a program in `PATH` and in the folders of system programs.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .map(|folder| PathBuf::from(folder).join(program))
        .find(|candidate| candidate.is_file())
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or_else(|| tests.clone(), PathBuf::from)
}

/// Asks every 10 ms until `holds` says yes or `at_most` is over.
pub fn eventually(at_most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + at_most;
    loop {
        // What has come when this thread comes late is in time.
        let is_last = Instant::now() >= end;
        if holds() {
            return true;
        }
        if is_last {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
