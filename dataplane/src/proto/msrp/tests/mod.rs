//! Scenes between two far ends and the relay, with what it writes read by other code than its own.

mod bounds;
mod carrier;
mod chat;
mod chunks;
mod churn;
mod clock;
mod failures;
mod fan;
mod hop;
mod members;
mod moves;
mod recording;
mod scenes;
mod shared;
mod stress;
mod trace;

use std::time::{Duration, Instant};

use super::{
    Config, ConnectionKey, Connections, Egress, Leg, LegKey, Verdict, Written as Progress,
};
use crate::stats::Stats;

/// What was written, per connection, and which connections take no more.
#[derive(Default)]
struct Written {
    bytes: Vec<Vec<u8>>,
    full: Vec<ConnectionKey>,
    /// Octets written in all, per connection.
    handed_over: Vec<u64>,
    /// Connections whose octets don't leave, and how many had left.
    held: Vec<(ConnectionKey, u64)>,
    /// There are few frames left.
    is_short: bool,
}

impl Egress for Written {
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]) {
        let at = to.0 as usize;
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, Vec::new());
            self.handed_over.resize(at + 1, 0);
        }
        self.handed_over[at] += bytes.len() as u64;
        self.bytes[at].extend_from_slice(bytes);
    }

    fn is_full(&self, to: ConnectionKey) -> bool {
        self.full.contains(&to)
    }

    fn is_short(&self) -> bool {
        self.is_short
    }

    fn progress(&self, to: ConnectionKey) -> Progress {
        let handed_over = self.handed_over.get(to.0 as usize).copied().unwrap_or(0);
        let held = self.held.iter().find(|(held, _)| *held == to);
        Progress {
            handed_over,
            left: held.map_or(handed_over, |(_, left)| *left),
        }
    }
}

impl Written {
    fn waiting(&self, to: ConnectionKey) -> u64 {
        self.progress(to).waiting()
    }
}

struct World {
    relay: Connections,
    out: Written,
    stats: Stats,
    now: Instant,
}

/// A frame as a far end reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    id: Box<str>,
    /// `SEND`, or `200 OK`.
    what: Box<str>,
    headers: Vec<(Box<str>, Box<str>)>,
    body: Option<Vec<u8>>,
    flag: char,
}

impl Frame {
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(one, _)| &**one == name);
        let value = found.next().map(|(_, value)| &**value);
        assert_eq!(found.next(), None, "{name} twice");
        value
    }
}

impl World {
    fn new() -> Self {
        Self::with_transactions(16)
    }

    fn with_transactions(transactions: usize) -> Self {
        let config = Config {
            transactions,
            timeout: Duration::from_secs(30),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a test needs some instant to begin at"
        )]
        let now = Instant::now();
        Self {
            relay: Connections::new(config, 7),
            out: Written::default(),
            stats: Stats::default(),
            now,
        }
    }

    /// Two joined legs, whose session-ids are a letter, 32 times; both with a known far end.
    fn legs(&mut self, a: char, b: char) -> (LegKey, LegKey) {
        let (one, other) = (self.leg(a), self.leg(b));
        self.relay.join(one, other);
        self.relay.set_remote(one, &theirs(a), None);
        self.relay.set_remote(other, &theirs(b), None);
        (one, other)
    }

    fn leg(&mut self, letter: char) -> LegKey {
        let path = ours(letter);
        let leg = Leg {
            session_id: [letter as u8; 32],
            local_path: &path,
            match_session_id_only: false,
        };
        self.relay.add_leg(leg).unwrap()
    }

    /// A connection that a far end made and bound by a bodiless SEND.
    fn bound(&mut self, letter: char) -> ConnectionKey {
        let key = self.relay.accept(self.now).unwrap();
        self.send(key, bind(letter));
        let answer = self.read_one(key);
        assert_eq!(&*answer.what, "200 OK");
        key
    }

    /// Two far ends, `a` and `b`, connected.
    fn pair(&mut self) -> (ConnectionKey, ConnectionKey) {
        self.legs('a', 'b');
        (self.bound('a'), self.bound('b'))
    }

    fn send(&mut self, from: ConnectionKey, text: impl AsRef<str>) {
        self.send_octets(from, text.as_ref().as_bytes());
    }

    fn send_octets(&mut self, from: ConnectionKey, octets: &[u8]) {
        let verdict = self.feed(from, octets);
        assert_eq!(verdict, Verdict::Continue);
    }

    fn feed(&mut self, from: ConnectionKey, bytes: &[u8]) -> Verdict {
        let (out, stats) = (&mut self.out, &mut self.stats);
        let verdict = self.relay.receive(self.now, from, bytes, out, stats);
        self.check();
        verdict
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let (out, stats) = (&mut self.out, &mut self.stats);
        self.relay.handle_timeout(self.now, out, stats);
        self.check();
    }

    /// The cycle begins: what has left is timed.
    fn sent(&mut self) {
        self.relay.sent(self.now, usize::MAX, &self.out);
    }

    /// Members of rooms that were behind are written to.
    fn catch_up(&mut self) {
        while self.relay.is_behind() {
            let before: u64 = self.out.handed_over.iter().sum();
            self.relay.catch_up(&mut self.out, &mut self.stats);
            self.check();
            if self.out.handed_over.iter().sum::<u64>() == before {
                return;
            }
        }
    }

    /// From now on nothing leaves a connection but this many octets more.
    fn hold(&mut self, key: ConnectionKey, more: u64) {
        let left = self.out.progress(key).left + more;
        self.out.held.retain(|(held, _)| *held != key);
        self.out.held.push((key, left));
    }

    fn close(&mut self, key: ConnectionKey) -> Vec<LegKey> {
        let lost = self.relay.closed(key, &mut self.out).collect();
        self.pass(Duration::ZERO);
        lost
    }

    fn check(&self) {
        let s = &self.stats;
        assert_eq!(
            s.msrp_acknowledged,
            s.msrp_delivered + s.msrp_reported + s.msrp_open
        );
    }

    fn counts(&self) -> (u64, u64, u64) {
        let s = &self.stats;
        (s.msrp_delivered, s.msrp_reported, s.msrp_open)
    }

    /// Takes what was written to a connection, as octets.
    fn raw(&mut self, key: ConnectionKey) -> Vec<u8> {
        let place = self.out.bytes.get_mut(key.0 as usize);
        place.map(std::mem::take).unwrap_or_default()
    }

    /// Takes what was written to a connection, as whole frames.
    fn read(&mut self, key: ConnectionKey) -> Vec<Frame> {
        frames(&self.raw(key))
    }

    fn read_one(&mut self, key: ConnectionKey) -> Frame {
        let mut frames = self.read(key);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.remove(0)
    }

    fn is_blocked(&self, key: ConnectionKey) -> bool {
        self.relay.blocked(key, &self.out)
    }
}

fn ours(letter: char) -> Box<str> {
    let id: Box<str> = std::iter::repeat_n(letter, 32).collect();
    format!("msrp://192.0.2.1:2855/{id};tcp").into()
}

fn theirs(letter: char) -> Box<str> {
    format!("msrp://{letter}.example:7000/far{letter};tcp").into()
}

fn paths(letter: char) -> Box<str> {
    let (to, from) = (ours(letter), theirs(letter));
    format!("To-Path: {to}\r\nFrom-Path: {from}\r\n").into()
}

fn bind(letter: char) -> Box<str> {
    let paths = paths(letter);
    format!("MSRP bind1 SEND\r\n{paths}Message-ID: keep\r\n-------bind1$\r\n").into()
}

/// A SEND with headers as given (each with its CRLF) up to its body.
fn send_head(letter: char, id: &str, headers: &str) -> Box<str> {
    let paths = paths(letter);
    format!(
        "MSRP {id} SEND\r\n{paths}Message-ID: m-{id}\r\n{headers}Content-Type: text/plain\r\n\r\n"
    )
    .into()
}

fn send_frame(letter: char, id: &str, headers: &str, body: &str) -> Box<str> {
    let head = send_head(letter, id, headers);
    format!("{head}{body}\r\n-------{id}$\r\n").into()
}

/// A far end's response to a frame that it read.
fn response(to: &Frame, code: &str) -> Box<str> {
    let (id, from, path) = (&to.id, to.header("To-Path"), to.header("From-Path"));
    let (from, path) = (from.unwrap(), path.unwrap());
    format!("MSRP {id} {code}\r\nTo-Path: {path}\r\nFrom-Path: {from}\r\n-------{id}$\r\n").into()
}

/// Reads whole frames the slow obvious way.
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = frame(bytes);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn frame(bytes: &[u8]) -> (Frame, &[u8]) {
    let mut lines: Vec<Box<str>> = Vec::new();
    let mut left = bytes;
    let is_body = loop {
        let end = left
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .unwrap_or_else(|| panic!("no whole frame: {}", bytes.escape_ascii()));
        let line = &left[..end];
        if line.is_empty() {
            left = &left[2..];
            break true;
        }
        if line.starts_with(b"-------") {
            break false;
        }
        lines.push(std::str::from_utf8(line).unwrap().into());
        left = &left[end + 2..];
    };
    let mut words = lines[0].splitn(3, ' ');
    assert_eq!(words.next(), Some("MSRP"));
    let id: Box<str> = words.next().unwrap().into();
    let what = words.next().unwrap().into();
    let headers = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let ends = ['$', '+', '#'].map(|flag| {
        let before = if is_body { "\r\n" } else { "" };
        let end = format!("{before}-------{id}{flag}\r\n").into_bytes();
        let at = left.windows(end.len()).position(|part| part == end);
        at.map(|at| (at, end.len(), flag))
    });
    let (at, len, flag) = ends
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| panic!("no end: {}", bytes.escape_ascii()));
    let frame = Frame {
        id,
        what,
        headers,
        body: is_body.then(|| left[..at].to_vec()),
        flag,
    };
    (frame, &left[at + len..])
}
