//! One connection: what comes from it, and what is being written to it.

use std::time::Instant;

use super::fan::Fan;
use super::legs::LegRef;
use super::transactions::{List, ShortText, Ticket};
use super::{Carrier, ConnectionKey, LegKey};
use crate::limits::MSRP_HEAD_BYTES;
use crate::wire::msrp::{ByteRange, FailureReport, Framer, TransactionId};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) framer: Framer,
    /// What becomes of the frame that is being received.
    pub(super) incoming: Incoming,
    pub(super) legs: Vec<LegKey>,
    pub(super) carrier: Carrier,
    pub(super) wait: Wait,
    /// A head that was read and waits to be forwarded.
    pub(super) head: Option<KeptHead>,
    /// What came after it.
    pub(super) parked: Vec<u8>,
    /// The connection whose chunk is being written to this one, or may be next.
    pub(super) owner: Option<ConnectionKey>,
    /// The connections that wait to be the owner, in order: first, last; linked by `next_waiter`.
    pub(super) waiters: Option<(ConnectionKey, ConnectionKey)>,
    pub(super) next_waiter: Option<ConnectionKey>,
    /// Responses and reports that wait for the chunk being written to end.
    pub(super) pending: Vec<u8>,
    /// Octets of responses and reports written while it didn't take them.
    pub(super) owed: usize,
    /// Octets it has sent since its turn at a sink began.
    pub(super) turn: u64,
    /// Octets that it sent beyond its quantum in earlier turns (deficit round robin).
    pub(super) debt: u64,
    /// It may keep its turn although its chunk has ended, until what was read of it is used up.
    pub(super) keeps_turn: bool,
    /// When something last came from it.
    pub(super) heard: Option<Instant>,
    /// Transactions that wait for a response on this connection.
    pub(super) open: List,
    /// How far its octets had left and since when, while some have to.
    pub(super) stalled: Option<(u64, Instant)>,
}

impl Connection {
    pub(super) fn new(generation: u32) -> Self {
        Self {
            generation,
            framer: Framer::new(),
            incoming: Incoming::Nothing,
            legs: Vec::new(),
            carrier: Carrier::default(),
            wait: Wait::No,
            head: None,
            parked: Vec::new(),
            owner: None,
            waiters: None,
            next_waiter: None,
            pending: Vec::new(),
            owed: 0,
            turn: 0,
            debt: 0,
            keeps_turn: false,
            heard: None,
            open: List::EMPTY,
            stalled: None,
        }
    }

    pub(super) fn forward(&self) -> Option<&Forward> {
        match &self.incoming {
            Incoming::Forward(forward) => Some(forward),
            Incoming::Nothing | Incoming::Fan(_) | Incoming::Swallow(_) => None,
        }
    }

    pub(super) fn forward_mut(&mut self) -> Option<&mut Forward> {
        match &mut self.incoming {
            Incoming::Forward(forward) => Some(forward),
            Incoming::Nothing | Incoming::Fan(_) | Incoming::Swallow(_) => None,
        }
    }
}

/// What a source waits for before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// Another session's chunk on the same sink.
    Sink(ConnectionKey),
    /// The far leg's connection or path.
    Leg(LegKey),
    /// Room for the records of its content.
    Recorder,
}

#[derive(Debug)]
pub(super) enum Incoming {
    /// There is none.
    Nothing,
    Forward(Forward),
    /// For many.
    Fan(Fan),
    Swallow(Swallow),
}

/// A frame that is being relayed as it comes.
#[derive(Debug)]
pub(super) struct Forward {
    /// The id it came with.
    pub(super) came_as: TransactionId,
    pub(super) from: LegRef,
    pub(super) to: LegRef,
    pub(super) sink: ConnectionKey,
    /// The one it goes out with.
    pub(super) ticket: Ticket,
    pub(super) failure_report: FailureReport,
    /// Whether it is a SEND; another method with a body is never cut or answered here.
    pub(super) is_send: bool,
    pub(super) message_id: ShortText,
    /// The number of its message, where that is recorded.
    pub(super) recorded: Option<u32>,
    /// Of the chunk that goes out.
    pub(super) range: ByteRange,
    /// Octets of it that are out.
    pub(super) sent: u64,
    /// It was cut with `+`, or nothing of it is out, and it goes on with a new head.
    pub(super) suspended: bool,
    /// How it is cut for the far end.
    pub(super) cut: Cut,
    /// Whether something of it is out.
    pub(super) is_begun: bool,
    /// The URI that is answered, and the headers for a new head.
    pub(super) kept: KeptHead,
}

impl Forward {
    pub(super) fn is_interruptible(&self) -> bool {
        self.is_send && self.range.end.is_none()
    }
}

/// How a chunk is cut for a far end.
#[derive(Debug)]
pub(super) enum Cut {
    /// As it comes.
    AsItComes,
    /// Into pieces of at most so many octets.
    AtMost(u64),
    /// The same, and each is gathered whole before it is sent.
    Exact { most: usize, gathered: Vec<u8> },
}

/// A frame that is read and not relayed.
#[derive(Debug, Default)]
pub(super) struct Swallow {
    pub(super) leg: Option<LegRef>,
    /// What it is answered with at its end.
    pub(super) answer: Option<Answer>,
    /// It must have no body; one with a body is answered with 400 instead.
    pub(super) no_body: bool,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) to: TransactionId,
    /// The URIs: theirs, ours.
    pub(super) kept: KeptHead,
}

/// Parts of a head, one after the other in a buffer.
#[derive(Debug)]
pub(super) struct KeptHead {
    pub(super) buffer: Box<[u8; MSRP_HEAD_BYTES]>,
    /// Where the first part ends.
    first: usize,
    /// Where the second one ends.
    second: usize,
    /// Of the second part: where Byte-Range's line is.
    pub(super) range_line: Option<(usize, usize)>,
    /// Whether a body follows.
    pub(super) body: bool,
}

impl KeptHead {
    /// Keeps two parts of one head; they always fit, as the head was no longer.
    pub(super) fn new(mut buffer: Box<[u8; MSRP_HEAD_BYTES]>, first: &[u8], second: &[u8]) -> Self {
        let (mut at, mut ends) = (0, [0; 2]);
        for (part, end) in [first, second].into_iter().zip(&mut ends) {
            let to = buffer.get_mut(at..at + part.len()).unwrap_or_default();
            if to.len() == part.len() {
                to.copy_from_slice(part);
                at += part.len();
            }
            *end = at;
        }
        let [first, second] = ends;
        Self {
            buffer,
            first,
            second,
            range_line: None,
            body: false,
        }
    }

    pub(super) fn first(&self) -> &[u8] {
        self.buffer.get(..self.first).unwrap_or_default()
    }

    pub(super) fn second(&self) -> &[u8] {
        self.buffer.get(self.first..self.second).unwrap_or_default()
    }
}

// An idle connection must cost less than 4 KiB with all that belongs to it.
const _: () = assert!(size_of::<Connection>() <= 1024);
