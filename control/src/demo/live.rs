//! The figures while it plays.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::lock;
use super::msrp::Inbox;
use super::relay::Relay;
use super::scene::{FILE_BYTES, Played};
use super::{Show, rtp::Flow};

/// Time between two lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(2);

/// Shows the figures as they come.
pub(super) struct Live {
    show: Show,
    bar: ProgressBar,
    shown: Duration,
}

impl Live {
    pub(super) fn new(show: Show, length: Duration) -> Self {
        let bar = match show {
            Show::Bars => ProgressBar::new(whole_millis(length)),
            Show::Nothing | Show::Lines => ProgressBar::hidden(),
        };
        // A template that indicatif doesn't take leaves its own style.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        let shown = Duration::ZERO;
        Self { show, bar, shown }
    }

    /// Shows how it is now.
    pub(super) fn look(&mut self, played: &Played, relay: &Relay) {
        match self.show {
            Show::Nothing => {}
            Show::Bars => {
                self.bar.set_position(whole_millis(played.passed));
                self.bar.set_message(line(played, relay));
            }
            Show::Lines => {
                if played.passed >= self.shown + LINES_EVERY {
                    self.shown = played.passed;
                    // Where stderr is closed nobody looks.
                    let _ = writeln!(io::stderr(), "{}", line(played, relay));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn line(played: &Played, relay: &Relay) -> String {
    let [alice, bob] = &played.voice;
    let [chat_a, chat_b] = &played.chat;
    let arrived = |flow: &Flow| flow.received.load(Ordering::Relaxed);
    let messages = |inbox: &Inbox| inbox.messages.load(Ordering::Relaxed);
    let percent = played.file.bytes.load(Ordering::Relaxed) * 100
        / u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    let median = Duration::from_nanos(lock(&alice.delay).value_at_quantile(0.5));
    format!(
        "{:4.1} s  voice {} ▶ {} ◀  {:.0} µs  chat {}  file {percent} %  relay: {}",
        played.passed.as_secs_f64(),
        arrived(alice),
        arrived(bob),
        median.as_secs_f64() * 1e6,
        messages(chat_a) + messages(chat_b),
        seen_by(relay),
    )
}

/// What the relay says itself: its sessions, and the packets it has relayed.
fn seen_by(relay: &Relay) -> String {
    let Some(Value::Array(sessions)) = relay.ask("/sessions") else {
        return "no answer".to_owned();
    };
    let relayed: u64 = sessions
        .iter()
        .flat_map(|session| session["streams"].as_array().into_iter().flatten())
        .flat_map(|stream| stream["sides"].as_array().into_iter().flatten())
        .filter_map(|side| side["packets"].as_u64())
        .sum();
    format!("{} session(s), {relayed} packets", sessions.len())
}
