//! The members' messages: CPIM in MSRP, each to all others of its room, each read once and in order.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Options;
use super::group::{self, Groups, Seat};
use super::tally::{Progress, Written, times};
use crate::msrp::frame::{self, DASHES, End, EndLine, Kind, Read};
use crate::msrp::subject::bind;

/// How long is waited for messages and answers after the last one was written.
const LAST: Duration = Duration::from_secs(10);
/// The longest that this thread sleeps.
const LOOK: Duration = Duration::from_millis(50);
/// What is said, besides who says it and when.
const WORDS: &str = "a hundred letters that stand for what people write to each other in a group, \
                     more or less of them";

/// All members' connections.
pub struct Chat<'a> {
    options: &'a Options,
    members: Vec<Member>,
    epoll: Epoll,
    tally: Written,
}

struct Member {
    stream: TcpStream,
    room: u16,
    number: u16,
    to_path: String,
    own_path: String,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: u64,
    /// The next message of each member of the room, by number.
    expected: Vec<u64>,
}

/// What a message says of itself.
struct Said {
    member: usize,
    number: u64,
    at_us: u64,
}

impl<'a> Chat<'a> {
    /// Connects everybody.
    ///
    /// # Errors
    ///
    /// A connection fails, or a session isn't bound to it.
    pub fn new(options: &'a Options, groups: &Groups) -> Result<Self, String> {
        let fail = |error: nix::Error| error.to_string();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fail)?;
        let mut members = Vec::with_capacity(options.participants());
        for (at, seat) in (0..).zip(groups.seats()) {
            let member = Member::connect(seat, options)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, at);
            epoll.add(&member.stream, event).map_err(fail)?;
            members.push(member);
        }
        Ok(Self {
            options,
            members,
            epoll,
            tally: Written {
                sent: 0,
                accepted: 0,
                failed: 0,
                reported: 0,
                due: 0,
                read: 0,
                misplaced: 0,
                latency: times()?,
            },
        })
    }

    /// Writes and reads until the time is up and nothing is on its way.
    ///
    /// # Errors
    ///
    /// A connection ends, or what comes isn't MSRP.
    pub fn run(mut self, begin: Instant, seen: &Progress) -> Result<Written, String> {
        let span = Duration::from_secs(u64::from(self.options.warmup + self.options.seconds));
        let all = u64::from(self.options.chat) * span.as_secs();
        loop {
            let elapsed = begin.elapsed();
            let due = self.due(elapsed).min(all);
            while self.tally.sent < due {
                self.say(begin)?;
            }
            let is_over = self.tally.sent == all && self.is_all_read();
            if (elapsed >= span && is_over) || elapsed >= span + LAST {
                return Ok(self.tally);
            }
            self.listen(begin)?;
            seen.messages_sent.store(self.tally.sent, Ordering::Relaxed);
            seen.messages_read.store(self.tally.read, Ordering::Relaxed);
        }
    }

    /// Messages that should have been written by now.
    fn due(&self, elapsed: Duration) -> u64 {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(u64::from(self.options.chat)) / 1_000_000
    }

    fn is_all_read(&self) -> bool {
        self.tally.unanswered() == 0 && self.tally.read + self.tally.misplaced >= self.tally.due
    }

    /// The next member writes to its room; neighbours are in different ones.
    fn say(&mut self, begin: Instant) -> Result<(), String> {
        let (rooms, members) = (
            usize::from(self.options.rooms),
            usize::from(self.options.members),
        );
        let turn = usize::try_from(self.tally.sent).unwrap_or(0);
        let member = (turn % rooms) * members + turn / rooms % members;
        let at_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(0);
        self.members[member].say(at_us)?;
        self.tally.sent += 1;
        self.tally.due += u64::from(self.options.members) - 1;
        Ok(())
    }

    /// Takes what comes in a while.
    fn listen(&mut self, begin: Instant) -> Result<(), String> {
        let next = match self.options.chat {
            0 => LOOK,
            rate => (Duration::from_secs(1) / rate).min(LOOK),
        };
        let timeout = EpollTimeout::try_from(next.max(Duration::from_millis(1)));
        let mut events = [EpollEvent::empty(); 64];
        let waited = self
            .epoll
            .wait(&mut events, timeout.unwrap_or(EpollTimeout::ZERO));
        let count = match waited {
            // Who stops this process and lets it go on does no harm.
            Err(Errno::EINTR) => 0,
            waited => waited.map_err(|error| error.to_string())?,
        };
        for event in &events[..count] {
            let member = usize::try_from(event.data()).unwrap_or(0);
            self.members[member].read(begin, &mut self.tally)?;
        }
        Ok(())
    }
}

impl Member {
    fn connect(seat: &Seat, options: &Options) -> Result<Self, String> {
        let mut stream = group::connect(&seat.to_path)?;
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(LAST)));
        set.map_err(|error| error.to_string())?;
        bind(&mut stream, &seat.to_path, &seat.own_path)?;
        stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            room: seat.room,
            number: seat.member,
            to_path: seat.to_path.clone(),
            own_path: seat.own_path.clone(),
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            expected: vec![0; usize::from(options.members)],
        })
    }

    fn say(&mut self, at_us: u64) -> Result<(), String> {
        let (room, number, sent) = (self.room, self.number, self.sent);
        let to = group::address(usize::from(room));
        let body = format!(
            "From: <sip:m{number}@members.example>\r\nTo: <{to}>\r\n\r\nContent-Type: text/plain\
             \r\n\r\n{number} {sent} {at_us} {WORDS}"
        );
        let (tid, length) = (format!("say{sent:05}"), body.len());
        let frame = format!(
            "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: r{room}m{number}n{sent}\
             \r\nByte-Range: 1-{length}/{length}\r\nContent-Type: message/cpim\r\n\r\n{body}\r\n\
             -------{tid}$\r\n",
            self.to_path, self.own_path
        );
        self.sent += 1;
        self.output.extend_from_slice(frame.as_bytes());
        self.flush()
    }

    /// Writes what the kernel takes; the rest goes with what is written next.
    fn flush(&mut self) -> Result<(), String> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => {
                    self.output.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("writing a message: {error}")),
            }
        }
        Ok(())
    }

    fn read(&mut self, begin: Instant, tally: &mut Written) -> Result<(), String> {
        let mut bytes = [0; 16_384];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(self.ended("closed")),
                Ok(length) => self.input.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.ended(&error.to_string())),
            }
        }
        let now_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(0);
        let mut at = 0;
        while let Some(length) = self.take(at, now_us, tally)? {
            at += length;
        }
        self.input.drain(..at);
        self.flush()
    }

    fn ended(&self, why: &str) -> String {
        format!(
            "member {} of room {} lost its messages: {why}",
            self.number, self.room
        )
    }

    /// Takes the frame at a place of the input, if it is whole; its length.
    fn take(
        &mut self,
        at: usize,
        now_us: u64,
        tally: &mut Written,
    ) -> Result<Option<usize>, String> {
        let bytes = &self.input[at..];
        let head = match frame::read(bytes) {
            Read::Head(head) => head,
            Read::Partial => return Ok(None),
            Read::Broken => return Err(self.ended("what came is no MSRP")),
        };
        let (body, length) = if head.has_ended {
            (&[][..], head.length)
        } else {
            let Some((body, length)) = body_of(&bytes[head.length..], head.tid) else {
                return Ok(None);
            };
            (body, head.length + length)
        };
        match head.kind {
            Kind::Response(200) => tally.accepted += 1,
            Kind::Response(_) => tally.failed += 1,
            Kind::Report(code) => tally.reported += u64::from(code != 200),
            Kind::Send => {
                frame::write_ok(
                    &mut self.output,
                    head.tid,
                    head.from_path,
                    self.own_path.as_bytes(),
                );
                if let Some(said) = said(body) {
                    place(&mut self.expected, &said, now_us, tally);
                } else if !body.is_empty() {
                    tally.misplaced += 1;
                }
            }
            Kind::Other => {}
        }
        Ok(Some(length))
    }
}

/// Notes a message that came: it is the next of its sender, or it is misplaced.
fn place(expected: &mut [u64], said: &Said, now_us: u64, tally: &mut Written) {
    match expected.get_mut(said.member) {
        Some(next) if *next == said.number => {
            *next += 1;
            tally.read += 1;
            tally
                .latency
                .saturating_record(now_us.saturating_sub(said.at_us));
        }
        Some(next) if *next < said.number => {
            // Those between are lost, and this one isn't.
            *next = said.number + 1;
            tally.read += 1;
        }
        Some(_) | None => tally.misplaced += 1,
    }
}

/// A body of one whole chunk, and its length with its end line.
fn body_of<'a>(bytes: &'a [u8], tid: &[u8]) -> Option<(&'a [u8], usize)> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let here = from
            + rest
                .windows(DASHES.len() + 2)
                .position(|window| window.starts_with(b"\r\n") && window.ends_with(DASHES))?;
        match frame::end_line(&bytes[here..], tid, 0) {
            EndLine::Whole { end, length } => {
                // A message in parts is none: these are short enough for one.
                let body = if end == End::Last {
                    &bytes[..here]
                } else {
                    &b"?"[..]
                };
                return Some((body, here + length));
            }
            EndLine::Partial => return None,
            EndLine::Other => from = here + 2,
        }
    }
}

fn said(body: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(body).ok()?;
    let mut words = text.rsplit("\r\n\r\n").next()?.split(' ');
    Some(Said {
        member: words.next()?.parse().ok()?,
        number: words.next()?.parse().ok()?,
        at_us: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{body_of, said};

    #[test]
    fn a_body_ends_at_its_own_end_line() {
        let bytes = b"one\r\n-------other$\r\ntwo\r\n-------t1d$\r\nMSRP";
        let (body, length) = body_of(bytes, b"t1d").unwrap();
        assert_eq!(body, b"one\r\n-------other$\r\ntwo");
        assert_eq!(&bytes[length..], b"MSRP");
        assert!(body_of(b"one\r\n-------t1d", b"t1d").is_none());
    }

    #[test]
    fn a_message_says_who_wrote_it_and_when() {
        let body = b"From: <sip:m7@x>\r\n\r\nContent-Type: text/plain\r\n\r\n7 12 3456 words";
        let said = said(body).unwrap();
        assert_eq!((said.member, said.number, said.at_us), (7, 12, 3456));
    }
}
