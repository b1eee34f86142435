//! The generator: one thread, all sessions, both ends of each. An open loop sends each message at its
//! moment, whatever became of the others; a closed one keeps a window of each session full.
//!
//! Latency runs from the moment at which a message's first byte is handed to the kernel to the one at
//! which its last byte has been read. A sender that is late shapes the load: that is measured apart.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::content::Content;
use super::plan::{Load, Pace, QUIET_MAX, nanos};
use super::session::{Pair, Session, World};
use super::tally::{Gauge, Tally};

/// Bytes read from a connection at a time.
const READ_BYTES: usize = 256 * 1024;
/// Connections looked at before the next moment is.
const EVENTS: usize = 64;
/// Messages of an open loop that are sent before connections are looked at again.
const BURST: u32 = 16;
/// A session that says nothing for so long has lost what is on its way.
const STALLED_NS: u64 = 1_000_000_000;

/// The generator.
pub struct Generator<'a> {
    load: &'a Load,
    content: Content,
    sessions: Vec<Session>,
    epoll: Epoll,
    start: Instant,
    /// When the next message of an open loop is due, and whose it is.
    due: (u64, usize),
    tally: Tally,
    gauge: &'a Gauge,
    buffer: Vec<u8>,
    /// When anything last came.
    progress_ns: u64,
    idle_ns: u64,
    errors: Vec<String>,
}

impl<'a> Generator<'a> {
    /// Takes the first sessions of `pairs` for a load that begins at `start`.
    ///
    /// # Errors
    ///
    /// The kernel has no epoll for them.
    pub fn new(
        load: &'a Load,
        pairs: &[Pair],
        start: Instant,
        gauge: &'a Gauge,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| format!("generator: {error}");
        let (random, mut sessions) = (RandomState::new(), Vec::new());
        for (number, pair) in pairs.iter().take(load.sessions).enumerate() {
            let session = Session::new(number, pair, random.hash_one(number));
            sessions.push(session.map_err(|error| text(&error))?);
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| text(&error))?;
        let generator = Self {
            load,
            content: Content::new(),
            sessions,
            epoll,
            start,
            due: (0, 0),
            tally: Tally::default(),
            gauge,
            buffer: vec![0; READ_BYTES],
            progress_ns: 0,
            idle_ns: 0,
            errors: Vec::new(),
        };
        for (at, session) in (0_u64..).zip(&generator.sessions) {
            let event = |mark| EpollEvent::new(EpollFlags::EPOLLIN, mark);
            let added = generator
                .epoll
                .add(&session.sender.stream, event(2 * at))
                .and_then(|()| {
                    generator
                        .epoll
                        .add(&session.receiver.stream, event(2 * at + 1))
                });
            added.map_err(|error| text(&error))?;
        }
        Ok(generator)
    }

    fn is_measuring(&self) -> bool {
        let since = self.start.elapsed();
        self.load.warmup <= since && since < self.load.warmup + self.load.measured
    }

    fn now_ns(start: Instant) -> u64 {
        nanos(start.elapsed())
    }

    /// Sends for warm-up and measurement, then takes what still comes.
    pub fn run(mut self) -> (Tally, Vec<String>) {
        let measured_ns = nanos(self.load.warmup);
        let end_ns = measured_ns + nanos(self.load.measured);
        let (mut is_measured, mut before) = (false, Self::now_ns(self.start));
        loop {
            let now = Self::now_ns(self.start);
            if !is_measured && now >= measured_ns {
                is_measured = true;
                self.measure();
            }
            if now >= end_ns && self.has_ended(now) {
                break;
            }
            let sent = if now < end_ns { self.send(now) } else { 0 };
            self.feed(now);
            let came = self.receive();
            if came > 0 || sent > 0 {
                self.progress_ns = now;
            }
            if is_measured && now < end_ns {
                // A spinning loop that neither sent nor received anything waited for it.
                self.idle_ns += if came + sent == 0 { now - before } else { 0 };
                self.stalled(now);
            }
            before = now;
        }
        let measured = self.load.measured.as_secs_f64().max(0.001);
        let idle = std::time::Duration::from_nanos(self.idle_ns).as_secs_f64();
        self.tally.busy = (1.0 - idle / measured).max(0.0);
        (self.tally, self.errors)
    }

    /// From now on messages count.
    fn measure(&mut self) {
        for session in &mut self.sessions {
            session.measured_from = session.sender.next;
        }
    }

    fn has_ended(&self, now: u64) -> bool {
        let quiet = now.saturating_sub(self.progress_ns) > nanos(QUIET_MAX);
        let all = |session: &Session| {
            session.is_closed || (session.on_their_way() == 0 && session.sender.is_idle())
        };
        quiet || self.sessions.iter().all(all)
    }

    fn send(&mut self, now: u64) -> u64 {
        match self.load.pace {
            Pace::Open { rate } => self.send_due(now, 1_000_000_000 / rate.max(1)),
            Pace::Closed { .. } => {
                let all = 0..self.sessions.len();
                all.map(|at| self.refill(at, now)).sum()
            }
        }
    }

    fn send_due(&mut self, now: u64, period: u64) -> u64 {
        let (mut count, mut now, sessions) = (0, now, self.sessions.len());
        while self.due.0 <= now && count < BURST {
            let at = self.due.1;
            let Some(session) = self.sessions.get_mut(at) else {
                break;
            };
            if session.measured_from != u64::MAX {
                self.tally.lateness.saturating_record(now - self.due.0);
            }
            self.due = (self.due.0 + period, (at + 1) % sessions);
            if !session.is_closed && !session.is_full() {
                session.sender.due += 1;
                self.pump(at, now);
            }
            count += 1;
            now = Self::now_ns(self.start);
        }
        u64::from(count)
    }

    fn refill(&mut self, at: usize, now: u64) -> u64 {
        let session = &mut self.sessions[at];
        if session.is_closed || session.sender.is_blocked {
            return 0;
        }
        let before = session.sender.due;
        session.refill(self.load);
        if session.sender.due > before {
            self.pump(at, now)
        } else {
            0
        }
    }

    fn feed(&mut self, now: u64) {
        let Some(feed) = self.load.feed else {
            return;
        };
        for at in 0..self.sessions.len() {
            let sender = &mut self.sessions[at].sender;
            if sender.feeds_at() <= now && !sender.is_blocked {
                sender.feed(feed);
                self.pump(at, now);
            }
        }
    }

    fn pump(&mut self, at: usize, now: u64) -> u64 {
        let world = World {
            content: &self.content,
            load: self.load,
        };
        let session = &mut self.sessions[at];
        let pumped = session.pump(world, now, &mut self.tally);
        let count = match pumped {
            Ok(count) => count,
            Err(error) => {
                self.close(at, format!("sender: {error}"));
                return 0;
            }
        };
        self.gauge.sent.fetch_add(count, Ordering::Relaxed);
        let session = &self.sessions[at];
        if session.sender.is_blocked {
            self.watch(at, true, true);
        }
        count
    }

    /// Waits for a connection to take more, or no longer.
    fn watch(&self, at: usize, is_sender: bool, writable: bool) {
        let session = &self.sessions[at];
        let (stream, odd) = if is_sender {
            (&session.sender.stream, 0)
        } else {
            (&session.receiver.stream, 1)
        };
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, writable);
        let mark = u64::try_from(2 * at).unwrap_or(0) + odd;
        let _closed = self.epoll.modify(stream, &mut EpollEvent::new(flags, mark));
    }

    fn receive(&mut self) -> u64 {
        let mut events = [EpollEvent::empty(); EVENTS];
        // An open loop and a fed one look at the clock all the time.
        let spins = self.load.feed.is_some() || matches!(self.load.pace, Pace::Open { .. });
        let timeout = if spins {
            EpollTimeout::ZERO
        } else {
            EpollTimeout::from(1_u8)
        };
        let asleep = Instant::now();
        let ready = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        if ready > 0 && !spins && self.is_measuring() {
            self.idle_ns += nanos(asleep.elapsed());
        }
        for event in &events[..ready] {
            let at = usize::try_from(event.data() / 2).unwrap_or(0);
            let result = if event.data() % 2 == 0 {
                self.sender_is_ready(at, event.events())
            } else {
                self.receiver_is_ready(at, event.events())
            };
            if let Err(error) = result {
                self.close(at, error);
            }
        }
        u64::try_from(ready).unwrap_or(0)
    }

    fn sender_is_ready(&mut self, at: usize, flags: EpollFlags) -> Result<(), String> {
        let session = &mut self.sessions[at];
        if flags.contains(EpollFlags::EPOLLOUT) {
            session.sender.is_blocked = false;
            self.watch(at, true, false);
            self.pump(at, Self::now_ns(self.start));
        }
        if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
            self.sessions[at].read_answers(&mut self.buffer, &mut self.tally)?;
        }
        Ok(())
    }

    fn receiver_is_ready(&mut self, at: usize, flags: EpollFlags) -> Result<(), String> {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.sessions[at].receiver.is_blocked = false;
            let flushed = self.sessions[at].receiver.flush();
            flushed.map_err(|error| format!("receiver: {error}"))?;
            self.watch(at, false, self.sessions[at].receiver.is_blocked);
        }
        let (world, start) = (
            World {
                content: &self.content,
                load: self.load,
            },
            self.start,
        );
        let session = &mut self.sessions[at];
        let (bytes, was_blocked) = (session.receiver.bytes, session.receiver.is_blocked);
        let now = || Self::now_ns(start);
        let whole = session.read_messages(world, &mut self.buffer, now, &mut self.tally)?;
        let came = session.receiver.bytes.saturating_sub(bytes);
        self.gauge.delivered.fetch_add(whole, Ordering::Relaxed);
        self.gauge.bytes.fetch_add(came, Ordering::Relaxed);
        if self.sessions[at].receiver.is_blocked && !was_blocked {
            self.watch(at, false, true);
        }
        Ok(())
    }

    /// A closed loop whose messages were lost would stand still: it goes on without them.
    fn stalled(&mut self, now: u64) {
        let is_closed_loop = matches!(self.load.pace, Pace::Closed { .. });
        if is_closed_loop && now.saturating_sub(self.progress_ns) > STALLED_NS {
            self.progress_ns = now;
            self.sessions.iter_mut().for_each(Session::forgive);
        }
    }

    fn close(&mut self, at: usize, why: String) {
        let session = &mut self.sessions[at];
        if session.is_closed {
            return;
        }
        session.is_closed = true;
        self.tally.closed += 1;
        self.errors.push(format!("session {at}: {why}"));
        let _unknown = self.epoll.delete(&session.sender.stream);
        let _unknown = self.epoll.delete(&session.receiver.stream);
    }
}
