//! Cuts a connection's octets into heads, pieces of bodies and end lines, as they arrive.
//!
//! ```text
//!            start line, headers               empty line
//!   ┌──────────── Head ─────────────┬───────── body: true ────────▶ Body ─┐ Body(..)
//!   │  ▲                            │                               ▲  │  │ Collision(..)
//!   │  │                            └─ end line, body: false ─▶ Ended  └──┘
//!   │  └──────────────────── End(flag) ◀──────────────────────────┴──┘ end line
//! ```
//!
//! Nothing is copied but a head that came in several pieces, and the few octets at the end of a
//! piece that may turn out to be the beginning of the end line (44 at most: CRLF, seven dashes, an
//! id of up to 32, the flag, CR).

use std::mem;

use memchr::memmem::Finder;

use super::end_line::{CRLF_DASHES, DASHES, END_LINE_BYTES_MAX, Fit, Held, end_line_len, fit_one};
use super::{Flag, StartLine, TransactionId};
use crate::limits::{MSRP_HEAD_BYTES, MSRP_HEADS_KEPT};

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole head: start line and headers, each with its CRLF.
    Head {
        /// Its octets.
        octets: &'a [u8],
        /// Whether a body follows.
        body: bool,
    },
    /// Octets of the body.
    Body(&'a [u8]),
    /// Octets of the body that look like the end line of the guarded id ([`Framer::guard`]).
    Collision(&'a [u8]),
    /// The frame has ended.
    End(Flag),
}

/// Why octets are no frames. There is no way on from it: the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The start line breaks the grammar.
    StartLine,
    /// A head is longer than `limits::MSRP_HEAD_BYTES`.
    HeadTooLong,
    /// A bodiless frame's end line has another id, or no flag.
    EndLine,
}

/// What the framers of one thread share: room for heads that come in pieces.
#[derive(Debug)]
pub struct Shared {
    #[expect(clippy::vec_box, reason = "a buffer is handed out, not copied")]
    free: Vec<Box<[u8; MSRP_HEAD_BYTES]>>,
    dashes: Finder<'static>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            free: Vec::with_capacity(MSRP_HEADS_KEPT),
            dashes: Finder::new(CRLF_DASHES),
        }
    }
}

impl Shared {
    /// Takes a buffer of the length of the longest head.
    #[must_use]
    pub fn take(&mut self) -> Box<[u8; MSRP_HEAD_BYTES]> {
        self.free
            .pop()
            .unwrap_or_else(|| Box::new([0; MSRP_HEAD_BYTES]))
    }

    /// Gives a buffer back; kept for use again while there are few.
    pub fn give(&mut self, buffer: Box<[u8; MSRP_HEAD_BYTES]>) {
        if self.free.len() < MSRP_HEADS_KEPT {
            self.free.push(buffer);
        }
    }
}

/// The state of one connection's framing.
#[derive(Debug, Default)]
pub struct Framer {
    state: State,
    /// Octets that may be the beginning of an end line, or the whole of one that was not.
    held: Held,
    guard: Option<TransactionId>,
}

#[derive(Debug, Default)]
enum State {
    /// Between frames, or in a head of which `gathered` came in earlier pieces.
    #[default]
    Start,
    Gathering(Gathered),
    /// A gathered head was handed out; its buffer goes back next.
    HandedOut(Gathered, After),
    Body(TransactionId),
    Ended(Flag),
}

#[derive(Debug)]
struct Gathered {
    buffer: Box<[u8; MSRP_HEAD_BYTES]>,
    len: usize,
    scan: Scan,
}

/// How far a head was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    /// Where the line begins that isn't complete.
    line: usize,
    /// Where the search for its end goes on.
    from: usize,
    /// The id, once the start line is complete.
    transaction: Option<TransactionId>,
}

/// What follows a head.
#[derive(Debug, Clone, Copy)]
enum After {
    Body(TransactionId),
    End(Flag),
}

/// Where a head ends.
struct HeadEnd {
    /// Octets of the head.
    head: usize,
    /// Octets up to the body, or to the next frame.
    whole: usize,
    after: After,
}

impl Framer {
    /// Makes a framer for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names an id whose end line must not pass unseen in this body: that of the frame the body is
    /// written into. Forgotten at the frame's end.
    pub fn guard(&mut self, transaction: TransactionId) {
        self.guard = Some(transaction);
    }

    /// Whether it is between two frames.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Gives its buffer back, where it has one; for a connection that ends.
    pub fn release(&mut self, shared: &mut Shared) {
        match mem::take(&mut self.state) {
            State::Gathering(gathered) | State::HandedOut(gathered, _) => {
                shared.give(gathered.buffer);
            }
            State::Start | State::Body(_) | State::Ended(_) => {}
        }
    }

    /// Takes the next part off the front of `input`; `None` when all of it is used up.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: these are no frames.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        shared: &mut Shared,
    ) -> Result<Option<Step<'s>>, FrameError> {
        match mem::take(&mut self.state) {
            State::HandedOut(gathered, after) => {
                shared.give(gathered.buffer);
                self.enter(after);
            }
            other @ (State::Start | State::Gathering(_) | State::Body(_) | State::Ended(_)) => {
                self.state = other;
            }
        }
        match mem::take(&mut self.state) {
            State::Ended(flag) => {
                self.guard = None;
                Ok(Some(Step::End(flag)))
            }
            State::Body(transaction) => {
                self.state = State::Body(transaction);
                Ok(self.body(transaction, input, shared))
            }
            State::Gathering(gathered) => self.gather(gathered, input),
            State::Start | State::HandedOut(..) => self.head(input, shared),
        }
    }

    fn enter(&mut self, after: After) {
        self.state = match after {
            After::End(flag) => State::Ended(flag),
            After::Body(transaction) => {
                // The empty line's CRLF may be the one before the end line: some write an empty
                // body so, and a body can't begin with its own end line (RFC 4975 §7.1).
                self.held = Held::phantom();
                State::Body(transaction)
            }
        };
    }

    /// A head that may be whole in `input`.
    fn head<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        shared: &mut Shared,
    ) -> Result<Option<Step<'s>>, FrameError> {
        let all: &'i [u8] = input;
        if all.is_empty() {
            return Ok(None);
        }
        let mut scan = Scan::default();
        let window = all.get(..MSRP_HEAD_BYTES).unwrap_or(all);
        if let Some(end) = scan.run(window)? {
            *input = all.get(end.whole..).unwrap_or_default();
            self.enter(end.after);
            return Ok(Some(Step::Head {
                octets: all.get(..end.head).unwrap_or_default(),
                body: matches!(end.after, After::Body(_)),
            }));
        }
        if all.len() >= MSRP_HEAD_BYTES {
            return Err(FrameError::HeadTooLong);
        }
        let mut gathered = Gathered {
            buffer: shared.take(),
            len: 0,
            scan,
        };
        gathered.append(all);
        self.state = State::Gathering(gathered);
        *input = &[];
        Ok(None)
    }

    /// A head of which a part came before.
    fn gather<'s, 'i: 's>(
        &'s mut self,
        mut gathered: Gathered,
        input: &mut &'i [u8],
    ) -> Result<Option<Step<'s>>, FrameError> {
        let before = gathered.len;
        let taken = gathered.append(input);
        let mut scan = gathered.scan;
        let found = scan.run(gathered.octets());
        gathered.scan = scan;
        match found {
            Ok(Some(end)) => {
                // The head ended in what came now, as what came before was looked at already.
                let used = end.whole.saturating_sub(before);
                *input = input.get(used..).unwrap_or_default();
                gathered.len = end.head;
                self.state = State::HandedOut(gathered, end.after);
                let State::HandedOut(gathered, _) = &self.state else {
                    return Ok(None);
                };
                Ok(Some(Step::Head {
                    octets: gathered.octets(),
                    body: matches!(end.after, After::Body(_)),
                }))
            }
            Ok(None) if gathered.len < MSRP_HEAD_BYTES => {
                *input = input.get(taken..).unwrap_or_default();
                self.state = State::Gathering(gathered);
                Ok(None)
            }
            Ok(None) => {
                self.state = State::Gathering(gathered);
                Err(FrameError::HeadTooLong)
            }
            Err(error) => {
                self.state = State::Gathering(gathered);
                Err(error)
            }
        }
    }

    fn body<'s, 'i: 's>(
        &'s mut self,
        transaction: TransactionId,
        input: &mut &'i [u8],
        shared: &Shared,
    ) -> Option<Step<'s>> {
        if self.held.len > 0 {
            match self.settle(transaction, input) {
                Settled::Ended(flag) => {
                    self.state = State::Start;
                    self.guard = None;
                    return Some(Step::End(flag));
                }
                Settled::Collision => return Some(Step::Collision(self.held.spent())),
                Settled::Body => {
                    if !self.held.spent().is_empty() {
                        return Some(Step::Body(self.held.spent()));
                    }
                }
                Settled::Open => return None,
            }
        }
        self.scan(transaction, input, shared)
    }

    /// Holds on to octets one by one until they are an end line or can't be one.
    fn settle(&mut self, transaction: TransactionId, input: &mut &[u8]) -> Settled {
        while let Some((&next, rest)) = input.split_first() {
            let fit = self.held.with(next).and_then(|held| {
                let fit = self.fit(transaction, held.octets());
                (!matches!(fit, Fit::Not)).then_some((held, fit))
            });
            let Some((held, fit)) = fit else {
                self.held.spend();
                return Settled::Body;
            };
            self.held = held;
            *input = rest;
            match fit {
                Fit::End(flag) => {
                    self.held.spend();
                    return Settled::Ended(flag);
                }
                Fit::Guard => {
                    self.held.spend();
                    return Settled::Collision;
                }
                Fit::Prefix | Fit::Not => {}
            }
        }
        Settled::Open
    }

    /// Looks for the end line in what came in one piece.
    fn scan<'s, 'i: 's>(
        &'s mut self,
        transaction: TransactionId,
        input: &mut &'i [u8],
        shared: &Shared,
    ) -> Option<Step<'s>> {
        let all: &'i [u8] = input;
        let mut from = 0_usize;
        while let Some(found) = shared.dashes.find(all.get(from..).unwrap_or_default()) {
            let at = from.saturating_add(found);
            let (body, line) = all.split_at_checked(at).unwrap_or((all, &[]));
            let fit = self.fit_front(transaction, line);
            if matches!(fit, Fit::Not) {
                from = at.saturating_add(CRLF_DASHES.len());
                continue;
            }
            if body.is_empty() {
                return self.stop(transaction, line, fit, input);
            }
            *input = line;
            return Some(Step::Body(body));
        }
        let keep = self.tail(transaction, all);
        let (body, line) = all.split_at_checked(keep).unwrap_or((all, &[]));
        self.held.hold(line);
        *input = &[];
        (!body.is_empty()).then_some(Step::Body(body))
    }

    /// An end line, or what may be one, is at the front.
    fn stop<'a>(
        &mut self,
        transaction: TransactionId,
        line: &'a [u8],
        fit: Fit,
        input: &mut &'a [u8],
    ) -> Option<Step<'a>> {
        match fit {
            Fit::End(flag) => {
                *input = line.get(end_line_len(&transaction)..).unwrap_or_default();
                self.state = State::Start;
                self.guard = None;
                Some(Step::End(flag))
            }
            Fit::Guard => {
                let len = self.guard.map_or(0, |id| end_line_len(&id));
                let (body, rest) = line.split_at_checked(len).unwrap_or((line, &[]));
                *input = rest;
                Some(Step::Collision(body))
            }
            Fit::Prefix | Fit::Not => {
                self.held.hold(line);
                *input = &[];
                None
            }
        }
    }

    /// Where the octets begin that may be the front of an end line; the length of `all` if none.
    fn tail(&self, transaction: TransactionId, all: &[u8]) -> usize {
        let mut at = all.len().saturating_sub(END_LINE_BYTES_MAX);
        while let Some(found) = memchr::memchr(b'\r', all.get(at..).unwrap_or_default()) {
            at = at.saturating_add(found);
            let end = all.get(at..).unwrap_or_default();
            if matches!(self.fit(transaction, end), Fit::Prefix) {
                return at;
            }
            at = at.saturating_add(1);
        }
        all.len()
    }

    /// What octets are that begin with CRLF and seven dashes, whatever follows them.
    fn fit_front(&self, transaction: TransactionId, line: &[u8]) -> Fit {
        let own = line.get(..end_line_len(&transaction)).unwrap_or(line);
        let fit = fit_one(&transaction, own);
        if !matches!(fit, Fit::Not) {
            return fit;
        }
        self.guard.map_or(Fit::Not, |guard| {
            let guarded = line.get(..end_line_len(&guard)).unwrap_or(line);
            fit_one(&guard, guarded).of_guard()
        })
    }

    /// What these octets, all of them, are.
    fn fit(&self, transaction: TransactionId, octets: &[u8]) -> Fit {
        let own = fit_one(&transaction, octets);
        if !matches!(own, Fit::Not) {
            return own;
        }
        self.guard
            .map_or(Fit::Not, |guard| fit_one(&guard, octets).of_guard())
    }
}

enum Settled {
    Ended(Flag),
    Collision,
    Body,
    Open,
}

impl Gathered {
    fn append(&mut self, octets: &[u8]) -> usize {
        let room = self.buffer.get_mut(self.len..).unwrap_or_default();
        let count = room.len().min(octets.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), octets.get(..count)) {
            to.copy_from_slice(from);
        }
        self.len = self.len.saturating_add(count);
        count
    }

    fn octets(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Scan {
    /// Goes on through the lines of a head until its last one is complete.
    fn run(&mut self, octets: &[u8]) -> Result<Option<HeadEnd>, FrameError> {
        if self.transaction.is_none() {
            let front = octets.get(..PROTOCOL.len()).unwrap_or(octets);
            if !PROTOCOL.starts_with(front) {
                return Err(FrameError::StartLine);
            }
        }
        loop {
            let ahead = octets.get(self.from..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', ahead) else {
                self.from = octets.len();
                return Ok(None);
            };
            let end = self.from.saturating_add(found).saturating_add(1);
            let line = octets.get(self.line..end).unwrap_or_default();
            if let Some(head) = self.line(line, end)? {
                return Ok(Some(head));
            }
            self.line = end;
            self.from = end;
        }
    }

    fn line(&mut self, line: &[u8], end: usize) -> Result<Option<HeadEnd>, FrameError> {
        // A line feed alone is no line's end; the head's reader refuses it where it stands.
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let Some(transaction) = self.transaction else {
            let start = StartLine::parse(line).ok_or(FrameError::StartLine)?;
            self.transaction = Some(start.transaction);
            return Ok(None);
        };
        let after = if line.is_empty() {
            After::Body(transaction)
        } else if let Some(id_and_flag) = line.strip_prefix(DASHES) {
            let flag = id_and_flag
                .strip_prefix(transaction.as_bytes())
                .and_then(|flag| flag.first_chunk::<1>().filter(|_| flag.len() == 1))
                .and_then(|[flag]| Flag::from_byte(*flag))
                .ok_or(FrameError::EndLine)?;
            After::End(flag)
        } else {
            return Ok(None);
        };
        Ok(Some(HeadEnd {
            head: self.line,
            whole: end,
            after,
        }))
    }
}

const PROTOCOL: &[u8] = b"MSRP ";
