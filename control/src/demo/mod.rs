//! `midpath demo`: a relay and two clients in one process, over real sockets.
//!
//! The clients are written apart from the relay: they share none of its parsers, so what the
//! demo shows is what two strangers would see.
//!
//! ```text
//! Alice ── SIP, RTP, 2 × MSRP ──▶ relay ── SIP, RTP, 2 × MSRP ──▶ Bob
//!   └───────────── RTP, straight: what this machine takes without a relay ──┘
//! ```

mod client;
mod error;
mod group;
mod live;
mod msrp;
mod relay;
mod report;
mod rtp;
mod scene;
mod sdp;
mod sip;

pub use error::DemoError;
pub use group::{Everybody, GroupReport, play_group};
pub use report::{Added, Delay, File, Messages, Report, Voice};

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::thread;
use std::time::{Duration, Instant};

/// What is shown while the demo plays; on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nothing.
    Nothing,
    /// A line now and then.
    Lines,
    /// A bar that moves, for a terminal.
    Bars,
}

/// Starts a relay, plays a session through it for some seconds, and says how it went.
///
/// # Errors
///
/// When the relay doesn't start, or a client can't make its session.
pub fn play(seconds: u64, show: Show) -> Result<Report, DemoError> {
    let relay = relay::Relay::start()?;
    let length = Duration::from_secs(seconds);
    let mut live = live::Live::new(show, length);
    let played = scene::play(Some(relay.sip), length, |played| live.look(played, &relay));
    live.finish();
    // Whatever became of the session, the relay's thread is ended and its file is read.
    let cdr = relay.stop();
    let mut report = played?;
    report.cdr = cdr?.into_iter().next();
    Ok(report)
}

/// The clients' clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the clients are the world outside, where time passes by itself"
)]
fn now() -> Instant {
    Instant::now()
}

/// Waits for at least a time.
fn pause(time: Duration) {
    let until = now() + time;
    loop {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// A number that nobody can guess.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Locks; what another thread left half done in its panic is only a figure here.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
