//! Chunks cut for a far end that can't take them as they come (RFC 4975 §7.1, RFC 4976 §6.4.1).
//!
//! | policy | what goes out for `1-5000/5000`, cut at 2048 |
//! |---|---|
//! | as they come | `1-5000/5000` |
//! | at most | `1-*/5000`, `2049-*/5000`, `4097-*/5000` |
//! | at most, exact | `1-2048/5000`, `2049-4096/5000`, `4097-5000/5000` |
//!
//! A far end may read as many octets as a range names and look for the end line after them, so none
//! names fewer than there are: a chunk that came with more than its range says is cut where that
//! ends and goes on with `*`, whatever the policy. One that came with fewer is passed as it is, as
//! its head is out by then; what counts is the octets (RFC 4975 §7.3.1). Far ends that can't bear
//! that want exact pieces.
//!
//! The source gets one response, at the end of its chunk. Each piece has a transaction of its own,
//! and a piece that fails is reported with the piece's range. Chunks are never put together.

use std::mem;

use memchr::memmem;

use super::compose::{self, Start};
use super::connection::{Connection, Cut, Forward};
use super::legs::Link;
use super::request::Route;
use super::transactions::{Kind, Opening, ShortText, Ticket};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::{Chunking, Way};
use crate::limits::MSRP_EXACT_CHUNK_BYTES;
use crate::wire::msrp::{FailureReport, Flag, Head, Method, Return};

impl Connections {
    /// Says how SENDs to a leg's far end are cut; those that begin from now on.
    pub fn set_chunking(&mut self, leg: LegKey, chunking: Chunking) {
        if let Some(state) = self.legs.get_mut(leg) {
            state.chunking = chunking;
        }
    }

    /// How a SEND to a leg is cut; `None`: there is no room to gather it.
    pub(super) fn cut_for(&mut self, leg: LegKey) -> Option<Cut> {
        let chunking = self.legs.get(leg).map(|leg| leg.chunking);
        let Some(Chunking::AtMost { octets, exact }) = chunking else {
            return Some(Cut::AsItComes);
        };
        if !exact {
            return Some(Cut::AtMost(u64::from(octets.max(1))));
        }
        let most = usize::try_from(octets.max(1)).unwrap_or(usize::MAX);
        let most = most.min(MSRP_EXACT_CHUNK_BYTES);
        if !self.reserve(most) {
            return None;
        }
        let gathered = self.spare.pop().unwrap_or_default();
        Some(Cut::Exact { most, gathered })
    }

    /// A chunk is relayed no more: its buffer is for another one.
    pub(super) fn uncut(&mut self, forward: &mut Forward) {
        if let Cut::Exact { most, gathered } = mem::replace(&mut forward.cut, Cut::AsItComes) {
            self.no_longer_waits(most);
            self.give_spare(gathered);
        }
    }

    /// Writes octets of a chunk's body, in as many pieces as the far end needs; false: no
    /// transaction is free for one of them.
    pub(super) fn write_body(
        &mut self,
        key: ConnectionKey,
        mut octets: &[u8],
        out: &mut impl Egress,
    ) -> bool {
        while !octets.is_empty() {
            let Some(forward) = self.connection_mut(key).and_then(Connection::forward_mut) else {
                return true;
            };
            let room = forward.room();
            if room == 0 {
                let went = match forward.cut {
                    Cut::Exact { .. } => self.write_gathered(key, Flag::More, out),
                    Cut::AsItComes | Cut::AtMost(_) => {
                        forward.suspended = true;
                        self.finish_piece(key, Flag::More, out);
                        self.resume(key, out)
                    }
                };
                if !went {
                    return false;
                }
                continue;
            }
            let (now, later) = octets.split_at_checked(room).unwrap_or((octets, &[]));
            octets = later;
            if let Cut::Exact { gathered, .. } = &mut forward.cut {
                gathered.extend_from_slice(now);
                continue;
            }
            out.write(forward.sink, now);
            forward.sent = forward.sent.saturating_add(now.len() as u64);
            let to = forward.to;
            self.trace_body(to, Way::Out, now);
            if let Some(state) = self.connection_mut(key) {
                state.turn = state.turn.saturating_add(now.len() as u64);
            }
        }
        true
    }

    /// Writes what was gathered of a chunk as one piece with its true range; false: no transaction
    /// is free for it.
    pub(super) fn write_gathered(
        &mut self,
        key: ConnectionKey,
        flag: Flag,
        out: &mut impl Egress,
    ) -> bool {
        let Some(ticket) = self.ticket_for_gathered(key) else {
            return false;
        };
        let Some(state) = self.connection_mut(key) else {
            return false;
        };
        let Some(forward) = state.forward_mut() else {
            return false;
        };
        forward.ticket = ticket;
        let Cut::Exact { gathered, .. } = &mut forward.cut else {
            return false;
        };
        let body = mem::take(gathered);
        forward.sent = body.len() as u64;
        forward.range.end = Some(forward.last());
        forward.is_begun = true;
        let sent = forward.sent;
        state.turn = state.turn.saturating_add(sent);
        self.write_continued_head(key, out);
        if let Some(forward) = self.connection(key).and_then(Connection::forward) {
            let to = forward.to;
            out.write(forward.sink, &body);
            self.trace_body(to, Way::Out, &body);
        }
        self.finish_piece(key, flag, out);
        if let Some(forward) = self.connection_mut(key).and_then(Connection::forward_mut) {
            forward.range.start = forward.range.start.saturating_add(sent);
            forward.range.end = None;
            forward.sent = 0;
            if let Cut::Exact { gathered, .. } = &mut forward.cut {
                *gathered = body;
                gathered.clear();
            }
        }
        true
    }

    /// A ticket whose id doesn't occur in what was gathered (RFC 4975 §7.1).
    fn ticket_for_gathered(&mut self, key: ConnectionKey) -> Option<Ticket> {
        loop {
            let forward = self.connection(key)?.forward()?;
            let (opening, sink) = (forward.opening(), forward.sink);
            let ticket = self.ticket(opening)?;
            let forward = self.connection(key)?.forward()?;
            let Cut::Exact { gathered, .. } = &forward.cut else {
                return Some(ticket);
            };
            if memmem::find(gathered, ticket.id().as_bytes()).is_none() {
                return Some(ticket);
            }
            self.forget(ticket, sink);
        }
    }

    /// The ticket of a request that is relayed with its body, and how it is cut; `None`: there is
    /// no room for it.
    pub(super) fn ticket_and_cut(
        &mut self,
        head: &Head<'_>,
        route: Route,
    ) -> Option<(Ticket, Cut)> {
        let is_send = head.kind == Return::Request(Method::Send);
        let is_tracked = if is_send {
            head.failure_report != FailureReport::No
        } else {
            head.kind != Return::Request(Method::Report)
        };
        let (kind, id) = match head.message_id {
            Some(id) if is_send => (Kind::Send(head.failure_report), id),
            Some(_) | None => (Kind::Other, head.transaction.as_bytes()),
        };
        let cut = if is_send {
            self.cut_for(route.to.key)?
        } else {
            Cut::AsItComes
        };
        let ticket = match cut {
            // Each piece gets one when it is known.
            Cut::Exact { .. } => Ticket::untracked(&mut self.random),
            Cut::AsItComes | Cut::AtMost(_) => self.ticket(is_tracked.then(|| Opening {
                kind,
                source: route.from,
                sink: route.sink,
                to: route.to.key,
                id: ShortText::new(id),
            }))?,
        };
        Some((ticket, cut))
    }

    /// Octets to be read before it is asked again whose turn it is.
    pub(super) fn window(&self, key: ConnectionKey) -> usize {
        let Some(state) = self.connection(key) else {
            return usize::MAX;
        };
        let forward = state.forward().filter(|forward| forward.is_interruptible());
        let is_awaited = forward
            .and_then(|forward| self.connection(forward.sink))
            .is_some_and(|sink| sink.waiters.is_some());
        if is_awaited {
            usize::try_from(state.quantum_left().max(1)).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        }
    }

    /// A chunk that was cut goes on; false: no transaction is free for it.
    pub(super) fn go_on_writing(&mut self, key: ConnectionKey, out: &mut impl Egress) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        match forward {
            Some(Forward {
                suspended: true,
                cut: Cut::AsItComes | Cut::AtMost(_),
                ..
            }) => self.resume(key, out),
            Some(_) | None => true,
        }
    }

    /// Ends the last piece of a chunk as the chunk ended.
    pub(super) fn finish_chunk(&mut self, key: ConnectionKey, flag: Flag, out: &mut impl Egress) {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return;
        };
        let is_gathered = matches!(forward.cut, Cut::Exact { .. });
        // A piece that ended with `+` already says what a chunk with `+` says.
        if forward.suspended && (flag != Flag::More || is_gathered) {
            if !self.has_both_legs(key) {
                return self.give_up(key, 481, out);
            }
            let went = if is_gathered {
                self.write_gathered(key, flag, out)
            } else {
                self.resume(key, out)
            };
            if !went {
                return self.give_up(key, 408, out);
            }
        }
        if self.forward_is_open(key) {
            self.finish_piece(key, flag, out);
        }
    }

    fn forward_is_open(&self, key: ConnectionKey) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        forward.is_some_and(|forward| !forward.suspended)
    }

    /// Tells the far end of a chunk that was cut and doesn't go on: a piece without a body, `#`.
    pub(super) fn write_aborted_piece(&mut self, forward: &Forward, out: &mut impl Egress) {
        let leg = self.legs.live(forward.to);
        let Some(leg) = leg.filter(|leg| leg.link == Link::Bound(forward.sink)) else {
            return;
        };
        let id = Ticket::untracked(&mut self.random).id();
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let start = Start {
            id: &id,
            tail: b"SEND",
            to_path: leg.remote.as_deref().unwrap_or_default(),
            from_path: leg.own(),
        };
        compose::start(&mut frame, start);
        let mut range = forward.range;
        range.start = range.start.saturating_add(forward.sent);
        range.end = match forward.cut {
            Cut::Exact { .. } => Some(range.start.saturating_sub(1)),
            Cut::AsItComes | Cut::AtMost(_) => None,
        };
        compose::with_range(&mut frame, &forward.kept, range);
        frame.extend_from_slice(compose::EndLine::new(&id, Flag::Aborted).octets());
        self.write_frame(forward.sink, &frame, out);
        self.scratch = frame;
    }
}

impl Forward {
    /// Octets of body that still go into the piece that goes out.
    fn room(&self) -> usize {
        match &self.cut {
            Cut::AsItComes => self.room_of_range(),
            Cut::AtMost(most) => {
                usize::try_from(most.saturating_sub(self.sent)).unwrap_or(usize::MAX)
            }
            Cut::Exact { most, gathered } => most.saturating_sub(gathered.len()),
        }
    }

    /// Octets that still fit the range that went out.
    fn room_of_range(&self) -> usize {
        let Some(end) = self.range.end.filter(|_| self.is_send) else {
            return usize::MAX;
        };
        let left = end.saturating_sub(self.last());
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// The number of the last octet of the piece that goes out.
    pub(super) fn last(&self) -> u64 {
        self.range.start.saturating_add(self.sent).saturating_sub(1)
    }

    /// What a transaction for a piece of it is made of; `None`: it needs none.
    pub(super) fn opening(&self) -> Option<Opening> {
        (self.failure_report != FailureReport::No).then_some(Opening {
            kind: Kind::Send(self.failure_report),
            source: self.from,
            sink: self.sink,
            to: self.to.key,
            id: self.message_id,
        })
    }
}
