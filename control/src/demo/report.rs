//! What was played, in figures.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::error::DemoError;
use super::lock;
use super::msrp::{Digest, Inbox};
use super::rtp::{Flow, delays};
use super::scene::{FILE_BYTES, Played};

/// How a demo went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How long it played, in seconds.
    pub seconds: f64,
    /// From INVITE to 200, in milliseconds.
    pub setup_ms: f64,
    /// Alice's voice, Bob's voice.
    pub voice: [Voice; 2],
    /// One way of voice from client to client through the relay, both directions.
    pub through_relay: Delay,
    /// The same between two sockets without a relay, at the same time.
    pub straight: Delay,
    /// What the relay adds: the difference of the two, figure by figure.
    pub added: Added,
    /// Chat, both directions together.
    pub chat: Messages,
    /// The file.
    pub file: File,
    /// The relay's record of the session.
    pub cdr: Option<Value>,
}

/// Voice of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Voice {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets that arrived.
    pub received: u64,
    /// RTCP sender reports that arrived.
    pub reports: u64,
}

/// A delay, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delay {
    /// Half of all are faster.
    pub p50_us: f64,
    /// Ninety-nine of a hundred are faster.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// The difference of two delays, in microseconds. Their slowest packets say nothing together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Added {
    /// Of the medians.
    pub p50_us: f64,
    /// Of the 99th percentiles.
    pub p99_us: f64,
}

/// Chat messages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Messages {
    /// Sent, and answered with 200.
    pub sent: u64,
    /// Arrived.
    pub received: u64,
    /// From the sender's socket to the receiver's.
    pub delay: Delay,
}

/// A file transfer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct File {
    /// Octets sent.
    pub bytes: usize,
    /// Octets that arrived.
    pub received: u64,
    /// What arrived is what was sent.
    pub intact: bool,
    /// The receiver's success report came back to the sender.
    pub reported: bool,
    /// Until the last chunk was acknowledged, in milliseconds.
    pub took_ms: f64,
    /// Megabytes (10^6 octets) in a second.
    pub mb_per_s: f64,
}

/// What only the clients counted.
pub(super) struct Counted {
    pub(super) straight: Arc<Flow>,
    pub(super) chat_sent: [u64; 2],
    pub(super) file: (Digest, Duration),
    /// The inbox of the file's sender, where reports come.
    pub(super) reported: Arc<Inbox>,
}

impl Report {
    pub(super) fn new(
        played: &Played,
        setup: Duration,
        counted: Counted,
    ) -> Result<Self, DemoError> {
        let mut through = delays()?;
        for flow in &played.voice {
            add(&mut through, &lock(&flow.delay))?;
        }
        let mut chat = delays()?;
        for inbox in &played.chat {
            add(&mut chat, &lock(&inbox.delay))?;
        }
        let through_relay = Delay::of(&through);
        let straight = Delay::of(&lock(&counted.straight.delay));
        let received = |inbox: &Arc<Inbox>| inbox.messages.load(Ordering::Relaxed);
        Ok(Self {
            seconds: played.passed.as_secs_f64(),
            setup_ms: millis(setup),
            voice: [0, 1].map(|side: usize| Voice::of(&played.voice[side])),
            through_relay,
            straight,
            added: through_relay.less(&straight),
            chat: Messages {
                sent: counted.chat_sent.iter().sum(),
                received: played.chat.iter().map(received).sum(),
                delay: Delay::of(&chat),
            },
            file: File::of(&played.file, counted.file, &counted.reported),
            cdr: None,
        })
    }

    /// What was lost or damaged, if anything was.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let mut failures = Vec::new();
        for (name, voice) in ["Alice", "Bob"].iter().zip(&self.voice) {
            if voice.received != voice.sent {
                failures.push(format!(
                    "{} of {name}'s {} voice packets were lost",
                    voice.sent.saturating_sub(voice.received),
                    voice.sent
                ));
            }
        }
        if self.chat.received != self.chat.sent {
            let (sent, received) = (self.chat.sent, self.chat.received);
            failures.push(format!(
                "{sent} chat messages were sent, {received} arrived"
            ));
        }
        if !self.file.intact {
            failures.push("the file is damaged".to_owned());
        }
        if !self.file.reported {
            failures.push("the file's success report did not come back".to_owned());
        }
        (!failures.is_empty()).then(|| failures.join("; "))
    }
}

fn add(all: &mut Histogram<u64>, some: &Histogram<u64>) -> Result<(), DemoError> {
    all.add(some)
        .map_err(|error| DemoError::unexpected("a histogram", &error.to_string()))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Voice {
    fn of(flow: &Flow) -> Self {
        Self {
            sent: flow.sent.load(Ordering::Relaxed),
            received: flow.received.load(Ordering::Relaxed),
            reports: flow.reports.load(Ordering::Relaxed),
        }
    }
}

impl Delay {
    fn of(delays: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        Self {
            p50_us: micros(delays.value_at_quantile(0.5)),
            p99_us: micros(delays.value_at_quantile(0.99)),
            max_us: micros(delays.max()),
        }
    }

    fn less(&self, other: &Self) -> Added {
        Added {
            p50_us: self.p50_us - other.p50_us,
            p99_us: self.p99_us - other.p99_us,
        }
    }
}

impl File {
    fn of(inbox: &Inbox, (digest, took): (Digest, Duration), reported: &Inbox) -> Self {
        let received = inbox.bytes.load(Ordering::Relaxed);
        let complete = usize::try_from(received) == Ok(FILE_BYTES);
        let in_order = !inbox.disordered.load(Ordering::Relaxed);
        let seconds = took.as_secs_f64().max(1e-9);
        let megabytes = u32::try_from(FILE_BYTES).map_or(0.0, f64::from) / 1e6;
        Self {
            bytes: FILE_BYTES,
            received,
            intact: complete && in_order && *lock(&inbox.digest) == digest,
            reported: reported.reports.load(Ordering::Relaxed) == 1
                && reported.failures.load(Ordering::Relaxed) == 0,
            took_ms: millis(took),
            mb_per_s: megabytes / seconds,
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.p50_us, self.p99_us, self.max_us);
        write!(
            out,
            "p50 {p50:7.1} µs   p99 {p99:7.1} µs   max {max:8.1} µs"
        )
    }
}

impl fmt::Display for Added {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "p50 {:7.1} µs   p99 {:7.1} µs",
            self.p50_us, self.p99_us
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, setup) = (self.seconds, self.setup_ms);
        writeln!(
            out,
            "Played {seconds:.1} s; the call was up in {setup:.1} ms\n"
        )?;
        for (name, voice) in ["Alice", "Bob  "].iter().zip(&self.voice) {
            writeln!(
                out,
                "  voice from {name}   {} packets sent, {} arrived, {} RTCP reports",
                voice.sent, voice.received, voice.reports
            )?;
        }
        writeln!(
            out,
            "  chat               {} messages sent, {} arrived",
            self.chat.sent, self.chat.received
        )?;
        let (file, state) = (
            &self.file,
            if self.file.intact {
                "intact"
            } else {
                "DAMAGED"
            },
        );
        writeln!(
            out,
            "  file               {} octets sent, {} arrived, {state}, {}; {:.0} ms, {:.1} MB/s\n",
            file.bytes,
            file.received,
            if file.reported {
                "reported"
            } else {
                "NOT reported"
            },
            file.took_ms,
            file.mb_per_s
        )?;
        writeln!(
            out,
            "  voice, one way, through the relay   {}",
            self.through_relay
        )?;
        writeln!(
            out,
            "  voice, one way, without a relay     {}",
            self.straight
        )?;
        writeln!(out, "  added by the relay                  {}", self.added)?;
        writeln!(
            out,
            "  chat, one way, through the relay    {}",
            self.chat.delay
        )?;
        match &self.cdr {
            Some(cdr) => writeln!(out, "\nThe relay's record of the session:\n{cdr:#}"),
            None => writeln!(out, "\nThe relay wrote no record of the session."),
        }
    }
}
