//! MSRP over WebSockets (RFC 7977), the server's side, without sockets.
//!
//! ```text
//! upgrading ──101──▶ open ──close frame, or one that breaks the rules──▶ closed
//!      └─ 400, 403, 426, 431: failed
//! ```
//!
//! A message holds whole MSRP frames: one that ends in the middle of a frame breaks the rules (RFC
//! 7977 §5.2). Nothing of it is kept: what arrives of a frame goes on at once, and only the end of
//! the message is checked, so that a message needs no bound of its own. The text of text messages
//! isn't checked to be UTF-8, as what MSRP carries is octets.

mod sender;
mod upgrade;

use std::io::Cursor;
use std::mem;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use self::sender::Sender;
use self::upgrade::Upgrade;
use super::layer::{Failure, Output, Stage};
use crate::api::OriginPolicy;
use crate::frame::{Frame, Pool};
use crate::wire::msrp::{self, Framer, Step};

/// What the WebSockets of a worker share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Which pages may open one.
    pub origins: OriginPolicy,
    /// Pings aren't answered now, as the far end takes too little of what is written.
    pub is_choked: bool,
    framing: msrp::Shared,
}

impl Shared {
    /// Makes it for a policy.
    #[must_use]
    pub fn new(origins: OriginPolicy) -> Self {
        Self {
            origins,
            ..Self::default()
        }
    }
}

/// One connection's WebSocket.
#[derive(Debug, Default)]
pub struct Socket {
    state: State,
    sender: Sender,
}

#[derive(Debug)]
enum State {
    Upgrading(Upgrade),
    Open(Box<Receiver>),
    Closed,
}

impl Default for State {
    fn default() -> Self {
        Self::Upgrading(Upgrade::default())
    }
}

impl Socket {
    /// Takes octets, all of them; appends to `out` what they hold of MSRP and what they have to be
    /// answered with.
    ///
    /// # Errors
    ///
    /// When the far end asks for something else, or breaks the rules; `out` has what came before,
    /// and the refusal or close frame.
    pub fn receive(
        &mut self,
        octets: &[u8],
        shared: &mut Shared,
        out: &mut Output,
    ) -> Result<Stage, Failure> {
        let mut octets = octets;
        if let State::Upgrading(upgrade) = &mut self.state {
            match upgrade.receive(octets, &shared.origins, &mut out.wire) {
                Ok(None) => return Ok(Stage::Handshaking),
                Ok(Some(taken)) => {
                    octets = octets.get(taken..).unwrap_or_default();
                    self.state = State::Open(Box::default());
                }
                Err(failure) => {
                    self.state = State::Closed;
                    return Err(failure);
                }
            }
        }
        let State::Open(receiver) = &mut self.state else {
            return Ok(Stage::Ended);
        };
        let result = receiver.receive(octets, shared, out);
        match result {
            Ok(Stage::Open | Stage::Handshaking) => {}
            Ok(Stage::Ended) => self.state = State::Closed,
            Err(_) => self.close(&mut out.wire, PROTOCOL_ERROR),
        }
        result
    }

    /// Appends what fits of the relay's frames to a buffer of `capacity`, which began empty, and
    /// says how much that was; 0: it is full.
    pub fn append(
        &mut self,
        pool: &mut Pool,
        buffer: (&mut Frame, usize),
        octets: &[u8],
        shared: &mut Shared,
    ) -> usize {
        let framing = &mut shared.framing;
        self.sender.append(pool, buffer, octets, framing)
    }

    /// Makes a buffer fit to be sent.
    pub fn cut(&mut self, pool: &mut Pool, frame: &mut Frame) {
        self.sender.cut(pool, frame);
    }

    /// Writes a close frame, unless one was written or nothing is open.
    pub fn end(&mut self, wire: &mut Vec<u8>) {
        self.close(wire, NORMAL);
    }

    fn close(&mut self, wire: &mut Vec<u8>, code: u16) {
        if let State::Open(_) = mem::replace(&mut self.state, State::Closed) {
            write_control(wire, CLOSE, &code.to_be_bytes());
        }
    }
}

/// What comes from an open WebSocket.
#[derive(Debug, Default)]
struct Receiver {
    /// An incomplete header.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    frame: Incoming,
    /// Whether a message has begun whose last frame is to come.
    in_message: bool,
    /// Where MSRP frames end.
    framer: Framer,
    /// Whether an MSRP frame has begun and not ended.
    in_msrp: bool,
}

/// A frame whose header has come.
#[derive(Debug, Default)]
enum Incoming {
    #[default]
    Nothing,
    Data {
        rest: u64,
        mask: Mask,
        is_final: bool,
    },
    Control {
        what: Control,
        mask: Mask,
        payload: Box<[u8; CONTROL_BYTES_MAX]>,
        has: usize,
        len: usize,
    },
}

/// What a payload was masked with, from its next octet on.
#[derive(Debug, Clone, Copy)]
struct Mask([u8; 4]);

impl Mask {
    fn take_off(&mut self, octets: &mut [u8]) {
        let mut words = octets.chunks_exact_mut(4);
        for word in &mut words {
            for (octet, mask) in word.iter_mut().zip(self.0) {
                *octet ^= mask;
            }
        }
        let rest = words.into_remainder();
        let count = rest.len();
        for (octet, mask) in rest.iter_mut().zip(self.0) {
            *octet ^= mask;
        }
        self.0.rotate_left(count);
    }
}

impl Receiver {
    fn receive(
        &mut self,
        octets: &[u8],
        shared: &mut Shared,
        out: &mut Output,
    ) -> Result<Stage, Failure> {
        let mut octets = octets;
        loop {
            match &mut self.frame {
                Incoming::Nothing => {
                    if !self.read_header(&mut octets)? {
                        return Ok(Stage::Open);
                    }
                }
                Incoming::Data { rest, mask, .. } => {
                    let count = usize::try_from(*rest).unwrap_or(usize::MAX);
                    let (part, later) = octets.split_at(count.min(octets.len()));
                    octets = later;
                    *rest -= part.len() as u64;
                    let is_whole = *rest == 0;
                    let from = out.plain.len();
                    out.plain.extend_from_slice(part);
                    let part = out.plain.get_mut(from..).unwrap_or_default();
                    mask.take_off(part);
                    self.follow(part, shared)?;
                    if !is_whole {
                        return Ok(Stage::Open);
                    }
                    self.end_data()?;
                }
                Incoming::Control {
                    mask,
                    payload,
                    has,
                    len,
                    ..
                } => {
                    let (part, later) = octets.split_at((*len - *has).min(octets.len()));
                    octets = later;
                    let to = payload.get_mut(*has..*has + part.len()).unwrap_or_default();
                    to.copy_from_slice(part);
                    mask.take_off(to);
                    *has += part.len();
                    if *has < *len {
                        return Ok(Stage::Open);
                    }
                    if self.end_control(shared, out)? {
                        return Ok(Stage::Ended);
                    }
                }
            }
        }
    }

    /// Reads a header; false: it isn't complete.
    fn read_header(&mut self, octets: &mut &[u8]) -> Result<bool, Failure> {
        let before = self.header_len;
        let room = self.header.get_mut(before..).unwrap_or_default();
        let count = room.len().min(octets.len());
        for (to, from) in room.iter_mut().zip(octets.iter()) {
            *to = *from;
        }
        let read = self.header.get(..before + count).unwrap_or_default();
        let mut cursor = Cursor::new(read);
        let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(|_| Failure)? else {
            self.header_len = before + count;
            *octets = octets.get(count..).unwrap_or_default();
            return Ok(false);
        };
        let taken = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        *octets = octets.get(taken - before..).unwrap_or_default();
        self.header_len = 0;
        self.begin(&header, len)?;
        Ok(true)
    }

    fn begin(&mut self, header: &FrameHeader, len: u64) -> Result<(), Failure> {
        // RFC 6455 §5.1, §5.2: clients mask; no extension was agreed on; the highest bit is 0.
        let Some(mask) = header.mask.map(Mask) else {
            return Err(Failure);
        };
        if header.rsv1 || header.rsv2 || header.rsv3 || i64::try_from(len).is_err() {
            return Err(Failure);
        }
        let is_final = header.is_final;
        self.frame = match header.opcode {
            OpCode::Data(kind) => {
                let continues = kind == Data::Continue;
                if continues != self.in_message || matches!(kind, Data::Reserved(_)) {
                    return Err(Failure);
                }
                self.in_message = true;
                Incoming::Data {
                    rest: len,
                    mask,
                    is_final,
                }
            }
            // RFC 6455 §5.5: short, and in one piece.
            OpCode::Control(what) => match usize::try_from(len) {
                Ok(len) if len <= CONTROL_BYTES_MAX && is_final => Incoming::Control {
                    what,
                    mask,
                    payload: Box::new([0; CONTROL_BYTES_MAX]),
                    has: 0,
                    len,
                },
                Ok(_) | Err(_) => return Err(Failure),
            },
        };
        Ok(())
    }

    /// Sees where MSRP frames end. What is no MSRP is left to the relay to refuse.
    fn follow(&mut self, octets: &[u8], shared: &mut Shared) -> Result<(), Failure> {
        let mut rest = octets;
        self.in_msrp |= !rest.is_empty();
        loop {
            match self.framer.next(&mut rest, &mut shared.framing) {
                Ok(Some(Step::End(_))) => self.in_msrp = !rest.is_empty(),
                Ok(Some(Step::Head { .. } | Step::Body(_) | Step::Collision(_))) => {}
                Ok(None) => return Ok(()),
                Err(_) => return Err(Failure),
            }
        }
    }

    fn end_data(&mut self) -> Result<(), Failure> {
        let Incoming::Data { is_final, .. } = mem::take(&mut self.frame) else {
            return Ok(());
        };
        if is_final {
            self.in_message = false;
            if self.in_msrp {
                return Err(Failure);
            }
        }
        Ok(())
    }

    /// Answers a control frame; true: it closes the connection.
    fn end_control(&mut self, shared: &Shared, out: &mut Output) -> Result<bool, Failure> {
        let Incoming::Control {
            what, payload, len, ..
        } = mem::take(&mut self.frame)
        else {
            return Ok(false);
        };
        let payload = payload.get(..len).unwrap_or_default();
        match what {
            Control::Ping => {
                // RFC 6455 §5.5.3: pings that weren't answered in time needn't be any more.
                if !shared.is_choked {
                    write_control(&mut out.wire, PONG, payload);
                }
                Ok(false)
            }
            Control::Pong => Ok(false),
            Control::Close => {
                // RFC 6455 §5.5.1: the code is echoed.
                let code = payload.get(..2).unwrap_or_default();
                write_control(&mut out.wire, CLOSE, code);
                Ok(true)
            }
            Control::Reserved(_) => Err(Failure),
        }
    }
}

fn write_control(wire: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let len = u8::try_from(payload.len().min(CONTROL_BYTES_MAX)).unwrap_or(0);
    wire.extend_from_slice(&[FINAL | opcode, len]);
    wire.extend_from_slice(payload.get(..usize::from(len)).unwrap_or_default());
}

/// The longest header: two octets, a length of eight, a mask.
const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;
const FINAL: u8 = 0x80;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
/// RFC 6455 §7.4.1.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

#[cfg(test)]
mod tests;
