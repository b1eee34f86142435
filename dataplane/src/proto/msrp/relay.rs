//! What comes from a connection: heads, bodies and ends, one after the other.

use std::mem;

use super::compose::{self, Start};
use super::connection::{Connection, Forward, Incoming, KeptHead, Swallow, Wait};
use super::legs::LegRef;
use super::request::{Refused, Route};
use super::transactions::{Kind, Opening, ShortText};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::stats::DropReason;
use crate::wire::msrp::{
    ByteRange, FailureReport, Flag, Framer, Head, Method, Return, Step, TransactionId,
};

/// What comes after a head.
pub(super) enum Flow {
    /// Its body, or the next frame.
    On,
    /// Nothing yet: it must be looked at again later.
    Wait,
}

impl Connections {
    /// Takes bytes of a connection; while it waits they are kept.
    pub(super) fn feed(
        &mut self,
        key: ConnectionKey,
        bytes: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let now = self.latest;
        let Some(state) = self.connection_mut(key) else {
            return Ok(());
        };
        state.heard = now;
        if state.wait != Wait::No || state.head.is_some() || !state.parked.is_empty() {
            return self.park(key, bytes);
        }
        self.read(key, bytes, out)
    }

    /// Goes on with what a connection had to wait with.
    pub(super) fn go_on(
        &mut self,
        key: ConnectionKey,
        head: Option<KeptHead>,
        parked: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let is_relaying = self
            .connection(key)
            .is_some_and(|key| key.forward().is_some());
        if is_relaying && !self.has_both_legs(key) {
            self.give_up(key, 481, out);
        }
        let Some(head) = head else {
            return self.read(key, parked, out);
        };
        match self.on_head(key, head.first(), head.body, out)? {
            Flow::On => {
                self.shared.give(head.buffer);
                let guard = self.outgoing_id(key);
                if let Some((state, guard)) = self.connection_mut(key).zip(guard) {
                    state.framer.guard(guard);
                }
                self.read(key, parked, out)
            }
            Flow::Wait => {
                if let Some(state) = self.connection_mut(key) {
                    state.head = Some(head);
                }
                self.park(key, parked)
            }
        }
    }

    fn read(
        &mut self,
        key: ConnectionKey,
        bytes: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let Some(state) = self.connection_mut(key) else {
            return Ok(());
        };
        // The framer hands out parts of itself while the rest of the connection changes.
        let mut framer = mem::take(&mut state.framer);
        let result = self.read_steps(key, &mut framer, bytes, out);
        match self.connection_mut(key) {
            Some(state) => state.framer = framer,
            None => framer.release(&mut self.shared),
        }
        result
    }

    fn read_steps(
        &mut self,
        key: ConnectionKey,
        framer: &mut Framer,
        bytes: &[u8],
        out: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let mut input = bytes;
        loop {
            if !self.may_go_on(key, out) {
                return self.park(key, input);
            }
            let step = framer
                .next(&mut input, &mut self.shared)
                .map_err(|_| DropReason::NotMsrp)?;
            let Some(step) = step else {
                return Ok(());
            };
            match step {
                Step::Head { octets, body } => {
                    if matches!(self.on_head(key, octets, body, out)?, Flow::Wait) {
                        let mut kept = KeptHead::new(self.shared.take(), octets, &[]);
                        kept.body = body;
                        if let Some(state) = self.connection_mut(key) {
                            state.head = Some(kept);
                        }
                        return self.park(key, input);
                    }
                }
                Step::Body(octets) => self.on_body(key, octets, out),
                Step::Collision(octets) => self.on_collision(key, octets, out),
                Step::End(flag) => self.on_end(key, flag, out),
            }
            if let Some(id) = self.outgoing_id(key) {
                framer.guard(id);
            }
        }
    }

    /// Whether the frame being received can be relayed further now.
    fn may_go_on(&mut self, key: ConnectionKey, out: &mut impl Egress) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        match forward {
            Some(forward) if forward.suspended => {
                let sink = forward.sink;
                self.acquire(sink, key, out)
            }
            Some(_) | None => true,
        }
    }

    fn outgoing_id(&self, key: ConnectionKey) -> Option<TransactionId> {
        let forward = self.connection(key)?.forward()?;
        Some(forward.id)
    }

    pub(super) fn on_head(
        &mut self,
        key: ConnectionKey,
        octets: &[u8],
        body: bool,
        out: &mut impl Egress,
    ) -> Result<Flow, DropReason> {
        let Ok(head) = Head::parse(octets) else {
            self.answer_malformed(key, octets, out);
            return Err(DropReason::NotMsrp);
        };
        match head.kind {
            Return::Response(status) => {
                self.count_frame(key, None, octets.len());
                self.on_response(key, &head, status, out);
                self.swallow(key, Swallow::default());
                Ok(Flow::On)
            }
            Return::Request(method) => {
                let flow = self.on_request(key, &head, (method, body), out);
                if matches!(flow, Flow::On) {
                    self.count_frame(key, self.leg_of_frame(key), octets.len());
                }
                Ok(flow)
            }
        }
    }

    fn on_request(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        (method, body): (Method, bool),
        out: &mut impl Egress,
    ) -> Flow {
        if method == Method::Auth
            && let Some(flow) = self.take_auth(key, head, body, out)
        {
            return flow;
        }
        let leg = match self.leg_for(key, head, method) {
            Ok(leg) => leg,
            Err(refused) => return self.refuse(key, None, head, refused),
        };
        let reference = self.legs.reference(leg);
        let has_content = head.content_type.is_some();
        let is_hop = self.legs.get(leg).is_some_and(|leg| leg.is_hop);
        match method {
            Method::Auth if !is_hop => self.refuse(key, reference, head, Refused::uncounted(501)),
            Method::Send if !(has_content || is_hop && !body) => {
                // It binds or keeps alive and is the far side's business only hop by hop.
                let answer = self.answer(head, 200);
                let swallow = Swallow {
                    leg: reference,
                    answer,
                    no_body: true,
                };
                self.swallow(key, swallow);
                Flow::On
            }
            Method::Send if has_content && (!body || head.message_id.is_none()) => {
                self.refuse(key, reference, head, Refused::uncounted(400))
            }
            Method::Send => match self.may_send(leg, head).and_then(|()| self.route(leg)) {
                Ok(Some(route)) if has_content => self.forward(key, head, route, out),
                Ok(Some(route)) => self.pass_empty(key, head, route, out),
                Ok(None) => self.wait_for_peer(key, leg),
                Err(refused) => self.refuse(key, reference, head, refused),
            },
            Method::Auth | Method::Report | Method::Nickname | Method::Other => {
                match (self.route(leg), method) {
                    (Ok(Some(route)), _) if body => self.forward(key, head, route, out),
                    (Ok(Some(route)), _) => self.pass(key, head, (route, method), out),
                    (Ok(None), Method::Report) if !is_hop => {
                        let refused = Refused::new(481, DropReason::NoRemote);
                        self.refuse(key, reference, head, refused)
                    }
                    (Ok(None), _) => self.wait_for_peer(key, leg),
                    (Err(refused), _) => self.refuse(key, reference, head, refused),
                }
            }
        }
    }

    fn wait_for_peer(&mut self, key: ConnectionKey, leg: LegKey) -> Flow {
        let peer = self.legs.get(leg).and_then(|leg| leg.peer);
        if let (Some(peer), Some(state)) = (peer, self.connection_mut(key)) {
            state.wait = Wait::Leg(peer);
        }
        Flow::Wait
    }

    /// Begins to relay a request with a body.
    fn forward(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        route: Route,
        out: &mut impl Egress,
    ) -> Flow {
        if !self.acquire(route.sink, key, out) {
            return Flow::Wait;
        }
        let is_send = head.kind == Return::Request(Method::Send);
        let is_report = head.kind == Return::Request(Method::Report);
        let is_tracked = if is_send {
            head.failure_report != FailureReport::No
        } else {
            !is_report
        };
        let message_id = ShortText::new(head.message_id.unwrap_or_default());
        let opening = Opening {
            kind: if is_send {
                Kind::Send(head.failure_report)
            } else {
                Kind::Other
            },
            source: route.from,
            sink: route.sink,
            to: route.to.key,
            id: if is_send {
                message_id
            } else {
                ShortText::new(head.transaction.as_bytes())
            },
        };
        let Some(ticket) = self.ticket(is_tracked.then_some(opening)) else {
            self.release(route.sink, key, out);
            return self.refuse(key, Some(route.from), head, Refused::uncounted(408));
        };
        let id = ticket.id();
        self.write_head(head, route, &id, (true, out));
        let mut kept = KeptHead::new(self.shared.take(), head.from_first(), head.rest);
        kept.range_line = head.byte_range_line;
        let forward = Forward {
            came_as: head.transaction,
            from: route.from,
            to: route.to,
            sink: route.sink,
            ticket,
            id,
            failure_report: head.failure_report,
            is_send,
            message_id,
            range: head.byte_range.unwrap_or(ByteRange::WHOLE),
            sent: 0,
            suspended: false,
            kept,
        };
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Forward(forward);
        }
        Flow::On
    }

    /// Passes on a request without a body.
    fn pass(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        (route, method): (Route, Method),
        out: &mut impl Egress,
    ) -> Flow {
        let opening = (method != Method::Report).then(|| Opening {
            kind: Kind::Other,
            source: route.from,
            sink: route.sink,
            to: route.to.key,
            id: ShortText::new(head.transaction.as_bytes()),
        });
        let Some(ticket) = self.ticket(opening) else {
            return self.refuse(key, Some(route.from), head, Refused::uncounted(408));
        };
        self.write_head(head, route, &ticket.id(), (false, out));
        self.begin_waiting(route.sink, (ticket, false), out);
        let swallow = Swallow {
            leg: Some(route.from),
            answer: None,
            no_body: false,
        };
        self.swallow(key, swallow);
        Flow::On
    }

    /// Writes a request's head with the far leg's paths; the whole frame where it has no body.
    pub(super) fn write_head(
        &mut self,
        head: &Head<'_>,
        route: Route,
        id: &TransactionId,
        (body, out): (bool, &mut impl Egress),
    ) {
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        if let Some(leg) = self.legs.live(route.to) {
            let start = Start {
                id,
                tail: head.start_tail,
                to_path: leg.remote.as_deref().unwrap_or_default(),
                from_path: leg.own(),
            };
            compose::start(&mut frame, start);
        }
        frame.extend_from_slice(head.rest);
        if body {
            frame.extend_from_slice(b"\r\n");
            out.write(route.sink, &frame);
        } else {
            compose::end_line(&mut frame, id, Flag::Complete);
            self.write_frame(route.sink, &frame, out);
        }
        self.scratch = frame;
    }

    fn on_body(&mut self, key: ConnectionKey, octets: &[u8], out: &mut impl Egress) {
        let Some(state) = self.connection_mut(key) else {
            return;
        };
        let forward = match &mut state.incoming {
            Incoming::Forward(forward) => forward,
            Incoming::Swallow(swallow) => {
                if let (true, Some(answer)) = (swallow.no_body, &mut swallow.answer) {
                    answer.code = 400;
                }
                let leg = swallow.leg;
                return self.count_bytes(leg, octets.len());
            }
            Incoming::Nothing => return,
        };
        let from = forward.from;
        self.count_bytes(Some(from), octets.len());
        if !self.has_both_legs(key) {
            return self.give_up(key, 481, out);
        }
        if self.is_suspended(key) && !self.resume(key, out) {
            return self.give_up(key, 408, out);
        }
        if let Some(forward) = self.connection_mut(key).and_then(Connection::forward_mut) {
            out.write(forward.sink, octets);
            forward.sent = forward.sent.saturating_add(octets.len() as u64);
            self.make_way(key, out);
        }
    }

    /// After a quantum, a chunk that may be cut makes way for another session's.
    fn make_way(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return;
        };
        let sink = forward.sink;
        let is_due = forward.sent >= crate::limits::MSRP_QUANTUM_BYTES;
        let is_awaited = self
            .connection(sink)
            .is_some_and(|state| state.waiters.is_some());
        if is_due && is_awaited && self.suspend_owner(sink, out) {
            self.release(sink, key, out);
        }
    }

    /// The body holds the end line of the frame that it is written into: the frame is cut before
    /// it (RFC 4975 §7.1).
    fn on_collision(&mut self, key: ConnectionKey, octets: &[u8], out: &mut impl Egress) {
        let forward = self.connection_mut(key).and_then(Connection::forward_mut);
        let Some(forward) = forward else {
            return self.on_body(key, octets, out);
        };
        if !forward.is_send {
            // Only a SEND can be cut; the chance of this is below 2^-64.
            return self.give_up(key, 400, out);
        }
        if !forward.suspended {
            forward.suspended = true;
            self.finish_piece(key, Flag::More, out);
        }
        self.on_body(key, octets, out);
    }

    fn on_end(&mut self, key: ConnectionKey, flag: Flag, out: &mut impl Egress) {
        if self.is_suspended(key) && flag != Flag::More {
            if !self.has_both_legs(key) {
                self.give_up(key, 481, out);
            } else if !self.resume(key, out) {
                self.give_up(key, 408, out);
            }
        }
        if self.forward_is_open(key) {
            self.finish_piece(key, flag, out);
        }
        let Some(state) = self.connection_mut(key) else {
            return;
        };
        match mem::replace(&mut state.incoming, Incoming::Nothing) {
            Incoming::Nothing => {}
            Incoming::Swallow(swallow) => {
                if let Some(answer) = swallow.answer {
                    self.write_answer(key, answer, out);
                }
            }
            Incoming::Forward(forward) => {
                self.release(forward.sink, key, out);
                if forward.is_send && forward.failure_report == FailureReport::Yes {
                    let answer = self.answer_to(forward, 200);
                    self.write_answer(key, answer, out);
                } else {
                    self.shared.give(forward.kept.buffer);
                }
            }
        }
    }

    /// Whether neither leg of the frame being relayed was removed since it began.
    fn has_both_legs(&self, key: ConnectionKey) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        forward.is_some_and(|forward| {
            self.legs.live(forward.from).is_some() && self.legs.live(forward.to).is_some()
        })
    }

    fn is_suspended(&self, key: ConnectionKey) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        forward.is_some_and(|forward| forward.suspended)
    }

    fn forward_is_open(&self, key: ConnectionKey) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        forward.is_some_and(|forward| !forward.suspended)
    }

    /// Ends what goes out with `#` and reads on to the end, which is answered with a code.
    fn give_up(&mut self, key: ConnectionKey, code: u16, out: &mut impl Egress) {
        if let Some(forward) = self.abort(key, out) {
            let swallow = self.swallow_rest(forward, Some(code));
            self.swallow(key, swallow);
        }
    }

    pub(super) fn swallow(&mut self, key: ConnectionKey, swallow: Swallow) {
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Swallow(swallow);
        }
    }

    fn leg_of_frame(&self, key: ConnectionKey) -> Option<LegRef> {
        match &self.connection(key)?.incoming {
            Incoming::Forward(forward) => Some(forward.from),
            Incoming::Swallow(swallow) => swallow.leg,
            Incoming::Nothing => None,
        }
    }

    fn count_frame(&mut self, key: ConnectionKey, leg: Option<LegRef>, octets: usize) {
        let first = self.connection(key).and_then(|state| state.legs.first());
        let leg = leg.or_else(|| first.and_then(|leg| self.legs.reference(*leg)));
        if let Some(state) = leg.and_then(|leg| self.legs.live_mut(leg)) {
            state.facts.frames += 1;
            state.facts.bytes += octets as u64;
        }
    }

    fn count_bytes(&mut self, leg: Option<LegRef>, octets: usize) {
        if let Some(state) = leg.and_then(|leg| self.legs.live_mut(leg)) {
            state.facts.bytes += octets as u64;
        }
    }
}
