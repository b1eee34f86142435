//! What was forwarded and is not answered yet.
//!
//! A place's number and 64 random bits make its transaction id, so a response finds its place
//! without a search and nobody can guess one.
//!
//! ```text
//! Streaming ──last octet handed over──▶ Leaving ──the kernel has it──▶ Waiting ──▶ closed
//!     └─2xx──▶ AnsweredEarly               └──────── response ──────────────────▶ closed
//! ```
//!
//! The places are made in steps of `limits::MSRP_TRANSACTIONS_STEP` as they are needed, and a place
//! that was left is the next to be taken.

use std::mem;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use super::{ConnectionKey, LegKey, legs::LegRef};
use crate::limits::{MSRP_MESSAGE_ID_BYTES, MSRP_TRANSACTIONS, MSRP_TRANSACTIONS_STEP};
use crate::wire::msrp::{FailureReport, TransactionId};

/// A place in the table; [`Ticket::untracked`] for what is never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    place: u32,
    random: u64,
}

impl Ticket {
    pub(super) fn untracked(random: &mut StdRng) -> Self {
        Self {
            place: UNTRACKED,
            random: random.next_u64(),
        }
    }

    pub(super) fn is_tracked(self) -> bool {
        self.place != UNTRACKED
    }

    /// The transaction id: 13 characters of random bits, 4 of the place.
    pub(super) fn id(self) -> TransactionId {
        let mut text = [0; TICKET_BYTES];
        let bits = (u128::from(self.random) << 20) | u128::from(self.place);
        for (at, byte) in text.iter_mut().rev().enumerate() {
            let digit = usize::try_from((bits >> (5 * at)) & 31).unwrap_or(0);
            *byte = DIGITS.get(digit).copied().unwrap_or(b'0');
        }
        TransactionId::new(&text).expect("17 digits and letters are an id")
    }

    pub(super) fn parse(id: &TransactionId) -> Option<Self> {
        let text: &[u8; TICKET_BYTES] = id.as_bytes().try_into().ok()?;
        let mut bits = 0_u128;
        for byte in text {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'v' => byte - b'a' + 10,
                _ => return None,
            };
            bits = (bits << 5) | u128::from(digit);
        }
        Some(Self {
            place: u32::try_from(bits & u128::from(UNTRACKED)).ok()?,
            random: u64::try_from(bits >> 20).ok()?,
        })
    }
}

/// A few characters, kept: a Message-ID or a transaction id.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShortText {
    bytes: [u8; MSRP_MESSAGE_ID_BYTES],
    len: u8,
}

impl ShortText {
    /// Keeps a text, cut at `limits::MSRP_MESSAGE_ID_BYTES`; a head with a longer one isn't read.
    pub(super) fn new(text: &[u8]) -> Self {
        let count = text.len().min(MSRP_MESSAGE_ID_BYTES);
        let mut bytes = [0; MSRP_MESSAGE_ID_BYTES];
        if let (Some(to), Some(from)) = (bytes.get_mut(..count), text.get(..count)) {
            to.copy_from_slice(from);
        }
        let len = u8::try_from(count).unwrap_or(0);
        Self { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its last octet isn't out.
    Streaming,
    /// Answered well before its last octet was out.
    AnsweredEarly,
    /// Its last octet waits to be taken by the kernel.
    Leaving,
    /// Its response is waited for, and its time runs.
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A SEND that was acknowledged, or will be.
    Send(FailureReport),
    /// One member's copy of a SEND to many: its failure isn't told to its sender.
    Copy(FailureReport),
    /// Another request, whose response goes back to whoever sent it.
    Other,
}

/// Something forwarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    random: u64,
    pub(super) progress: Progress,
    pub(super) kind: Kind,
    /// Times that its time was given again, as its response may be waiting unread.
    pub(super) extensions: u8,
    /// Where it came from.
    pub(super) source: LegRef,
    /// Where it went.
    pub(super) sink: ConnectionKey,
    /// The leg it went to.
    pub(super) to: LegKey,
    /// Message-ID of a SEND; the transaction id that another request came with.
    pub(super) id: ShortText,
    pub(super) start: u64,
    /// The number of its last octet.
    pub(super) end: u64,
    /// `u64::MAX` for `*`.
    pub(super) total: u64,
    /// `Leaving`: how far the sink's octets have to have left; `Waiting`: its deadline, in
    /// nanoseconds since the epoch.
    due: u64,
    by_deadline: Links,
    by_sink: Links,
}

#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
}

/// The ends of a list of transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
    /// Of a sink's list: the first that is `Leaving`; all behind it are, too.
    leaving: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        first: NOBODY,
        last: NOBODY,
        leaving: NOBODY,
    };

    /// Whether one of a sink's list waits for its last octet to leave.
    pub(super) fn has_leaving(self) -> bool {
        self.leaving != NOBODY
    }
}

/// A place of the table.
#[derive(Debug, Clone, Copy)]
enum Place {
    Free { next: u32 },
    Taken(Transaction),
}

#[derive(Clone, Copy)]
enum By {
    Deadline,
    Sink,
}

/// What is new about a transaction.
pub(super) struct Opening {
    pub(super) kind: Kind,
    pub(super) source: LegRef,
    pub(super) sink: ConnectionKey,
    pub(super) to: LegKey,
    pub(super) id: ShortText,
}

/// The places, and the order in which their time is up.
#[derive(Debug)]
pub(super) struct Transactions {
    steps: Vec<Box<[Place]>>,
    /// The place that is taken next; `NOBODY`: a new one.
    free: u32,
    /// Places that were taken at least once.
    used: u32,
    capacity: usize,
    waiting: List,
    timeout: Duration,
    /// Deadlines are kept as nanoseconds since then.
    epoch: Option<Instant>,
}

impl Transactions {
    pub(super) fn new(capacity: usize, timeout: Duration) -> Self {
        let mut table = Self {
            steps: Vec::with_capacity(MSRP_TRANSACTIONS.div_ceil(MSRP_TRANSACTIONS_STEP)),
            free: NOBODY,
            used: 0,
            capacity: capacity.min(MSRP_TRANSACTIONS),
            waiting: List::EMPTY,
            timeout,
            epoch: None,
        };
        if table.capacity > 0 {
            table.grow();
        }
        table
    }

    fn grow(&mut self) {
        let made = self.steps.len() * MSRP_TRANSACTIONS_STEP;
        let step = MSRP_TRANSACTIONS_STEP.min(self.capacity.saturating_sub(made));
        let empty = Place::Free { next: NOBODY };
        self.steps.push(vec![empty; step].into_boxed_slice());
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes a place; `None`: all are taken.
    pub(super) fn open(&mut self, opening: Opening, random: &mut StdRng) -> Option<Ticket> {
        let place = self.free_place()?;
        let random = random.next_u64();
        let nowhere = Links {
            before: NOBODY,
            after: NOBODY,
        };
        *self.place_at(place)? = Place::Taken(Transaction {
            random,
            progress: Progress::Streaming,
            kind: opening.kind,
            extensions: 0,
            source: opening.source,
            sink: opening.sink,
            to: opening.to,
            id: opening.id,
            start: 1,
            end: 0,
            total: u64::MAX,
            due: u64::MAX,
            by_deadline: nowhere,
            by_sink: nowhere,
        });
        Some(Ticket { place, random })
    }

    fn free_place(&mut self) -> Option<u32> {
        let place = self.free;
        if let Some(Place::Free { next }) = self.place_at(place) {
            self.free = *next;
            return Some(place);
        }
        if self.used as usize >= self.capacity {
            return None;
        }
        if self.used as usize >= self.steps.len() * MSRP_TRANSACTIONS_STEP {
            self.grow();
        }
        let place = self.used;
        self.used += 1;
        Some(place)
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Transaction> {
        self.place(ticket.place)
            .filter(|transaction| transaction.random == ticket.random)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Transaction> {
        self.place_mut(ticket.place)
            .filter(|transaction| transaction.random == ticket.random)
    }

    /// Its last octet was handed over: its time begins once the sink's octets have left up to
    /// `mark`.
    pub(super) fn leave(&mut self, ticket: Ticket, mark: u64, on_sink: &mut List) {
        let Some(transaction) = self.get_mut(ticket) else {
            return;
        };
        transaction.progress = Progress::Leaving;
        transaction.due = mark;
        self.link(on_sink, ticket.place, By::Sink);
        if on_sink.leaving == NOBODY {
            on_sink.leaving = ticket.place;
        }
    }

    /// A sink's octets have left up to `left`: the time of what they were runs.
    pub(super) fn left(&mut self, left: u64, now: Instant, on_sink: &mut List) {
        let due = self.deadline(now);
        let mut waiting = self.waiting;
        while let Some(transaction) = self.place_mut(on_sink.leaving)
            && transaction.due <= left
        {
            transaction.progress = Progress::Waiting;
            transaction.due = due;
            let place = mem::replace(&mut on_sink.leaving, transaction.by_sink.after);
            self.link(&mut waiting, place, By::Deadline);
        }
        self.waiting = waiting;
    }

    /// What waited behind a chunk was handed over: it has left once its sink's octets have up to
    /// `mark`.
    pub(super) fn handed_over(&mut self, mark: u64, on_sink: List) {
        let mut next = on_sink.leaving;
        while let Some(transaction) = self.place_mut(next) {
            transaction.due = transaction.due.min(mark);
            next = transaction.by_sink.after;
        }
    }

    /// Frees a place; it must be on no list, or on that of the sink given.
    pub(super) fn close(&mut self, ticket: Ticket, on_sink: &mut List) -> Option<Transaction> {
        let closed = *self.get(ticket)?;
        if closed.progress == Progress::Waiting {
            let mut waiting = self.waiting;
            self.unlink(&mut waiting, ticket.place, By::Deadline);
            self.waiting = waiting;
        }
        if matches!(closed.progress, Progress::Waiting | Progress::Leaving) {
            if on_sink.leaving == ticket.place {
                on_sink.leaving = closed.by_sink.after;
            }
            self.unlink(on_sink, ticket.place, By::Sink);
        }
        let next = self.free;
        *self.place_at(ticket.place)? = Place::Free { next };
        self.free = ticket.place;
        Some(closed)
    }

    /// Gives a transaction its time again.
    pub(super) fn extend(&mut self, ticket: Ticket, now: Instant) {
        let due = self.deadline(now);
        let mut waiting = self.waiting;
        self.unlink(&mut waiting, ticket.place, By::Deadline);
        self.link(&mut waiting, ticket.place, By::Deadline);
        self.waiting = waiting;
        if let Some(transaction) = self.get_mut(ticket) {
            transaction.due = due;
            transaction.extensions = transaction.extensions.saturating_add(1);
        }
    }

    /// The one whose time is up first, if it is up by now.
    pub(super) fn overdue(&self, now: Instant) -> Option<Ticket> {
        let ticket = self.ticket(self.waiting.first)?;
        (self.get(ticket)?.due <= self.since(now)).then_some(ticket)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = self.place(self.waiting.first)?;
        self.epoch?.checked_add(Duration::from_nanos(first.due))
    }

    /// The first on a sink's list.
    pub(super) fn first(&self, on_sink: List) -> Option<Ticket> {
        self.ticket(on_sink.first)
    }

    /// The one after another on a sink's list.
    pub(super) fn after(&self, ticket: Ticket) -> Option<Ticket> {
        self.ticket(self.get(ticket)?.by_sink.after)
    }

    fn deadline(&mut self, now: Instant) -> u64 {
        self.epoch.get_or_insert(now);
        let timeout = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.since(now).saturating_add(timeout)
    }

    fn since(&self, now: Instant) -> u64 {
        let passed = self
            .epoch
            .map_or(Duration::ZERO, |epoch| now.saturating_duration_since(epoch));
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn ticket(&self, place: u32) -> Option<Ticket> {
        let random = self.place(place)?.random;
        Some(Ticket { place, random })
    }

    fn place(&self, place: u32) -> Option<&Transaction> {
        let step = self.steps.get(place as usize / MSRP_TRANSACTIONS_STEP)?;
        match step.get(place as usize % MSRP_TRANSACTIONS_STEP)? {
            Place::Taken(transaction) => Some(transaction),
            Place::Free { .. } => None,
        }
    }

    fn place_at(&mut self, place: u32) -> Option<&mut Place> {
        let step = self
            .steps
            .get_mut(place as usize / MSRP_TRANSACTIONS_STEP)?;
        step.get_mut(place as usize % MSRP_TRANSACTIONS_STEP)
    }

    fn place_mut(&mut self, place: u32) -> Option<&mut Transaction> {
        match self.place_at(place)? {
            Place::Taken(transaction) => Some(transaction),
            Place::Free { .. } => None,
        }
    }

    fn links(&mut self, place: u32, by: By) -> Option<&mut Links> {
        let transaction = self.place_mut(place)?;
        Some(match by {
            By::Deadline => &mut transaction.by_deadline,
            By::Sink => &mut transaction.by_sink,
        })
    }

    fn link(&mut self, list: &mut List, place: u32, by: By) {
        let last = list.last;
        if let Some(links) = self.links(place, by) {
            links.before = last;
            links.after = NOBODY;
        }
        match self.links(last, by) {
            Some(links) => links.after = place,
            None => list.first = place,
        }
        list.last = place;
    }

    fn unlink(&mut self, list: &mut List, place: u32, by: By) {
        let Some(Links { before, after }) = self.links(place, by).copied() else {
            return;
        };
        match self.links(before, by) {
            Some(links) => links.after = after,
            None => list.first = after,
        }
        match self.links(after, by) {
            Some(links) => links.before = before,
            None => list.last = before,
        }
    }
}

const NOBODY: u32 = u32::MAX;
/// The place of what has none; also the mask of a place's 20 bits.
const UNTRACKED: u32 = (1 << 20) - 1;
const TICKET_BYTES: usize = 17;
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

const _: () = assert!(MSRP_TRANSACTIONS < UNTRACKED as usize);
const _: () = assert!(MSRP_TRANSACTIONS_STEP > 0);
// A million of them must fit 128 MiB.
const _: () = assert!(size_of::<Place>() <= 128);
