//! What comes from a connection: heads, bodies and ends, one after the other.

use std::mem;

use super::compose::{self, Start};
use super::connection::{Connection, Cut, Forward, Incoming, KeptHead, Swallow, Wait};
use super::legs::{LegRef, LegState, Purpose};
use super::request::{Refused, Route};
use super::transactions::{Kind, Opening, ShortText};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::Way;
use crate::stats::DropReason;
use crate::wire::msrp::{
    ByteRange, FailureReport, Flag, Framer, Head, Method, Return, Status, Step, TransactionId,
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
            // No more at a time than may go out before another source has its turn.
            let window = input.get(..self.window(key)).unwrap_or(input);
            let mut unread = window;
            let step = framer
                .next(&mut unread, &mut self.shared)
                .map_err(|_| DropReason::NotMsrp)?;
            let used = window.len() - unread.len();
            input = input.get(used..).unwrap_or_default();
            let Some(step) = step else {
                if input.is_empty() {
                    return Ok(());
                }
                continue;
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

    fn outgoing_id(&self, key: ConnectionKey) -> Option<TransactionId> {
        let forward = self.connection(key)?.forward()?;
        match forward.cut {
            Cut::AsItComes | Cut::AtMost(_) => Some(forward.ticket.id()),
            // Its id is chosen once its body is known.
            Cut::Exact { .. } => None,
        }
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
        let flow = self.on_parsed(key, &head, (octets, body), out);
        if matches!(flow, Flow::On) {
            self.trace_in(key, &head, octets);
        }
        Ok(flow)
    }

    fn on_parsed(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        (octets, body): (&[u8], bool),
        out: &mut impl Egress,
    ) -> Flow {
        match head.kind {
            Return::Response(status) => {
                self.count_frame(key, None, octets.len());
                self.count_response(key, status);
                self.on_response(key, head, status, out);
                self.swallow(key, Swallow::default());
                Flow::On
            }
            Return::Request(method) => {
                let flow = self.on_request(key, head, (method, body), out);
                if matches!(flow, Flow::On) {
                    let leg = self.leg_of_frame(key);
                    self.count_frame(key, leg, octets.len());
                    if let (Method::Report, Some(leg)) = (method, leg) {
                        self.count_report(leg, head);
                    }
                }
                flow
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
            Err(refused) => match self.take_over(key, head, out) {
                Some(leg) => leg,
                None => return self.refuse(key, None, head, refused),
            },
        };
        let reference = self.legs.reference(leg);
        let has_content = head.content_type.is_some();
        let is_hop = self
            .legs
            .get(leg)
            .is_some_and(|leg| leg.purpose == Purpose::Hop);
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
            _ if self.place_of(leg).is_some() => self.take_in_room(key, (leg, method), head, out),
            Method::Send => match self.may_send(leg, head).and_then(|()| self.route(leg)) {
                Ok(Some(_)) if has_content && self.must_wait_for_recorder(key, leg) => Flow::Wait,
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
        let Some((ticket, cut)) = self.ticket_and_cut(head, route) else {
            self.release(route.sink, key, out);
            return self.refuse(key, Some(route.from), head, Refused::uncounted(408));
        };
        let mut kept = KeptHead::new(self.shared.take(), head.from_first(), head.rest);
        kept.range_line = head.byte_range_line;
        let mut forward = Forward {
            came_as: head.transaction,
            from: route.from,
            to: route.to,
            sink: route.sink,
            ticket,
            failure_report: head.failure_report,
            is_send: head.kind == Return::Request(Method::Send),
            message_id: ShortText::new(head.message_id.unwrap_or_default()),
            recorded: self.record_head(route.from, head),
            range: head.byte_range.unwrap_or(ByteRange::WHOLE),
            sent: 0,
            suspended: matches!(cut, Cut::Exact { .. }),
            is_begun: !matches!(cut, Cut::Exact { .. }),
            cut,
            kept,
        };
        let is_recut = matches!(forward.cut, Cut::AtMost(_));
        if !matches!(forward.cut, Cut::AsItComes) {
            forward.range.end = None;
        }
        if forward.is_begun && !is_recut {
            self.write_head(head, route, &ticket.id(), (true, out));
        }
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Forward(forward);
        }
        if is_recut {
            self.write_continued_head(key, out);
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
            self.trace_out(route.sink, &frame);
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
            Incoming::Fan(fan) => {
                let from = fan.from;
                self.count_bytes(Some(from), octets.len());
                self.trace_body(from, Way::In, octets);
                return self.fan_body(key, octets, out);
            }
            Incoming::Nothing => return,
        };
        let from = forward.from;
        self.count_bytes(Some(from), octets.len());
        self.trace_body(from, Way::In, octets);
        if !self.has_both_legs(key) {
            return self.give_up(key, 481, out);
        }
        if self.overruns(key, octets.len(), out) {
            return;
        }
        self.record_body(key, octets);
        if !(self.go_on_writing(key, out) && self.write_body(key, octets, out)) {
            return self.give_up(key, 408, out);
        }
        self.make_way(key, out);
    }

    /// After a quantum, a chunk that may be cut makes way for another session's.
    fn make_way(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return;
        };
        let sink = forward.sink;
        let is_due = self
            .connection(key)
            .is_some_and(|state| state.quantum_left() == 0);
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
        self.trace_end_from(key, flag);
        self.finish_chunk(key, flag, out);
        self.fan_end(key, flag, out);
        let Some(state) = self.connection_mut(key) else {
            return;
        };
        match mem::replace(&mut state.incoming, Incoming::Nothing) {
            Incoming::Nothing | Incoming::Fan(_) => {}
            Incoming::Swallow(swallow) => {
                if let Some(answer) = swallow.answer {
                    self.write_answer(key, answer, out);
                }
            }
            Incoming::Forward(mut forward) => {
                self.record_end(&forward, flag);
                if let Some(leg) = self.legs.live_mut(forward.from).filter(|_| forward.is_send) {
                    leg.facts.sends += 1;
                    leg.facts.messages += u64::from(flag == Flag::Complete);
                }
                self.uncut(&mut forward);
                self.end_chunk(forward.sink, key, out);
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
    pub(super) fn has_both_legs(&self, key: ConnectionKey) -> bool {
        let forward = self.connection(key).and_then(Connection::forward);
        forward.is_some_and(|forward| {
            self.legs.live(forward.from).is_some() && self.legs.live(forward.to).is_some()
        })
    }

    /// Ends what goes out with `#` and reads on to the end, which is answered with a code.
    pub(super) fn give_up(&mut self, key: ConnectionKey, code: u16, out: &mut impl Egress) {
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
            Incoming::Fan(fan) => Some(fan.from),
            Incoming::Swallow(swallow) => swallow.leg,
            Incoming::Nothing => None,
        }
    }

    fn count_frame(&mut self, key: ConnectionKey, leg: Option<LegRef>, octets: usize) {
        let now = self.latest;
        if let Some(state) = self.leg_or_first(key, leg) {
            state.facts.frames += 1;
            state.facts.bytes += octets as u64;
            state.bounds.hear(now);
            state.bounds.take(octets, now);
        }
    }

    fn count_report(&mut self, leg: LegRef, head: &Head<'_>) {
        if let Some(state) = self.legs.live_mut(leg) {
            state.facts.reports += 1;
        }
        self.record_report(leg, head);
    }

    fn count_response(&mut self, key: ConnectionKey, status: Status) {
        if let Some(state) = self.leg_or_first(key, None) {
            state.facts.response(status.0);
        }
    }

    fn leg_or_first(&mut self, key: ConnectionKey, leg: Option<LegRef>) -> Option<&mut LegState> {
        let first = self.connection(key).and_then(|state| state.legs.first());
        let leg = leg.or_else(|| first.and_then(|leg| self.legs.reference(*leg)))?;
        self.legs.live_mut(leg)
    }

    fn count_bytes(&mut self, leg: Option<LegRef>, octets: usize) {
        let now = self.latest;
        if let Some(state) = leg.and_then(|leg| self.legs.live_mut(leg)) {
            state.facts.bytes += octets as u64;
            state.bounds.hear(now);
            state.bounds.take(octets, now);
        }
    }
}
