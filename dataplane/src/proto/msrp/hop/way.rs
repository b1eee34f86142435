//! The way of a request: whose Use-Path it names, whether it may pass, where it goes next
//! (RFC 4976 §6.4).

use std::mem;
use std::time::Instant;

use super::super::compose::{self, Start};
use super::super::connection::Swallow;
use super::super::legs::{LegState, Link, Purpose};
use super::super::relay::Flow as Next;
use super::super::request::{Refused, Route};
use super::super::transactions::{Kind, Opening, ShortText, Transaction};
use super::super::{ConnectionKey, Connections, Egress, Leg, LegKey};
use super::Hops;
use super::flows::{Course, FlowRef, Paths};
use super::next::{Hop, Place, place_of};
use super::paths::{PathRef, is_same_path, split_first};
use crate::stats::DropReason;
use crate::wire::msrp::{FailureReport, Flag, Head, TransactionId, Uri};

/// Where a request may go.
struct Way<'a> {
    /// The Use-Paths of ours that its To-Path begins with.
    through: [Option<PathRef>; 2],
    /// What is left of its To-Path.
    to: &'a [u8],
    onward: Onward,
}

enum Onward {
    /// To the client of the last Use-Path, on its connection.
    Client(ConnectionKey),
    Hop(Place),
}

impl Hops {
    /// Where a request goes; `None`: it names no Use-Path of ours.
    fn way<'a>(
        &self,
        now: Instant,
        source: ConnectionKey,
        paths: Paths<'a>,
    ) -> Option<Result<Way<'a>, Refused>> {
        let (first, rest) = split_first(paths.to);
        let path = self.paths.named_by(first)?;
        Some(self.way_through(now, (source, paths.from), (path, rest)))
    }

    fn way_through<'a>(
        &self,
        now: Instant,
        (source, from): (ConnectionKey, &[u8]),
        (path, rest): (PathRef, &'a [u8]),
    ) -> Result<Way<'a>, Refused> {
        let forbidden = Refused::new(403, DropReason::NotAuthorized);
        let gone = Refused::new(481, DropReason::NotBound);
        let ours = self.paths.get(path).filter(|path| path.expires > now);
        let ours = ours.ok_or(gone)?;
        if is_same_path(rest, &ours.client) {
            return Ok(Way {
                through: [Some(path), None],
                to: rest,
                onward: Onward::Client(ours.owner),
            });
        }
        // RFC 4976 §6.4.1: from elsewhere only its client is reached through a URI.
        if source != ours.owner || !is_same_path(from, &ours.client) || rest.is_empty() {
            return Err(forbidden);
        }
        let (next, beyond) = split_first(rest);
        if let Some(other) = self.paths.named_by(next) {
            let theirs = self.paths.get(other).filter(|path| path.expires > now);
            let theirs = theirs.ok_or(gone)?;
            if !is_same_path(beyond, &theirs.client) {
                return Err(forbidden);
            }
            return Ok(Way {
                through: [Some(path), Some(other)],
                to: beyond,
                onward: Onward::Client(theirs.owner),
            });
        }
        let unreachable = Refused::new(481, DropReason::NoNextHop);
        let place = Uri::parse(next).and_then(|uri| place_of(&uri));
        Ok(Way {
            through: [Some(path), None],
            to: rest,
            onward: Onward::Hop(place.ok_or(unreachable)?),
        })
    }
}

impl Connections {
    /// The leg that a request comes from by its paths; `None`: it names no Use-Path of ours.
    pub(in super::super) fn leg_by_paths(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
    ) -> Option<Result<LegKey, Refused>> {
        let now = self.latest?;
        let hops = self.hops.as_ref()?;
        let paths = Paths {
            to: head.to_path,
            from: head.from_path,
        };
        let last = self.side(key).and_then(|side| side.last);
        if let Some(flow) = hops.flows.find(key, paths, last) {
            if let Some(leg) = self.use_flow(key, flow, now) {
                return Some(Ok(leg));
            }
            self.drop_flow(flow);
        }
        let way = match self.hops.as_ref()?.way(now, key, paths)? {
            Ok(way) => way,
            Err(refused) => return Some(Err(refused)),
        };
        Some(self.add_flow(key, paths, &way, now))
    }

    /// The leg that a flow's requests come from; `None`: it is over.
    fn use_flow(&mut self, key: ConnectionKey, flow: FlowRef, now: Instant) -> Option<LegKey> {
        let hops = self.hops.as_mut()?;
        let found = hops.flows.get(flow)?;
        let (leg, out_leg, sink) = (found.in_leg, found.out_leg, found.sink);
        let is_live = found.through.iter().flatten().all(|path| {
            let path = hops.paths.get(*path);
            path.is_some_and(|path| path.expires > now)
        });
        if !is_live || self.legs.get(out_leg)?.link == Link::Lost {
            return None;
        }
        hops.flows.touch(flow);
        self.use_side(key, now);
        self.use_side(sink, now);
        self.note_sink(key, sink);
        if let Some(side) = self.side_mut(key) {
            side.last = Some(flow);
        }
        Some(leg)
    }

    fn add_flow(
        &mut self,
        key: ConnectionKey,
        paths: Paths<'_>,
        way: &Way<'_>,
        now: Instant,
    ) -> Result<LegKey, Refused> {
        // RFC 4975 §10.4: 408 stands for what couldn't be done in time, here or further on.
        let full = Refused::new(408, DropReason::PoolFull);
        let (sink, is_open) = match way.onward {
            Onward::Client(owner) => (owner, true),
            Onward::Hop(place) => self.next_hop(place, now)?,
        };
        self.make_room_for_flow();
        let Some(legs) = self.add_flow_legs(key, paths, way) else {
            self.count_full();
            return Err(full);
        };
        let course = Course {
            source: key,
            sink,
            paths,
            legs,
            through: way.through,
        };
        let added = self.hops.as_mut().and_then(|hops| hops.flows.add(course));
        let Some(flow) = added else {
            self.remove_flow_legs(legs);
            self.count_full();
            return Err(full);
        };
        let (in_leg, out_leg) = legs;
        if let Some(leg) = self.legs.get_mut(out_leg).filter(|_| is_open) {
            leg.link = Link::Bound(sink);
        }
        for end in [key, sink] {
            self.use_side(end, now);
            self.note_flow(end, flow);
        }
        self.use_flow(key, flow, now);
        Ok(in_leg)
    }

    fn note_flow(&mut self, key: ConnectionKey, flow: FlowRef) {
        let generation = self.connection(key).map(|state| state.generation);
        let Some(Hops { sides, flows, .. }) = self.hops.as_deref_mut() else {
            return;
        };
        let side = sides.get_mut(key.0 as usize).and_then(Option::as_mut);
        if let Some(side) = side.filter(|side| Some(side.generation()) == generation) {
            side.note_flow(flow, |flow| flows.get(flow).is_some());
        }
    }

    /// The connection to a next hop, and whether it is made; it is asked for where there is none.
    fn next_hop(&mut self, place: Place, now: Instant) -> Result<(ConnectionKey, bool), Refused> {
        let unreachable = Refused::new(481, DropReason::NoNextHop);
        let hops = self.hops.as_mut().ok_or(unreachable)?;
        match hops.next.get(place) {
            Some(Hop::Open(key)) => return Ok((key, true)),
            Some(Hop::Connecting(key)) => return Ok((key, false)),
            Some(Hop::Failed(until)) if now < until => return Err(unreachable),
            Some(Hop::Failed(_)) | None => {}
        }
        let until = now + hops.role.connect_timeout;
        let has_room = hops.next.has_room(now);
        let added = if has_room {
            self.add_connection()
        } else {
            None
        };
        let Some(key) = added else {
            self.count_full();
            return Err(Refused::new(408, DropReason::PoolFull));
        };
        if let Some(hops) = &mut self.hops {
            hops.next.want(place, key, until);
        }
        Ok((key, false))
    }

    fn count_full(&mut self) {
        if let Some(hops) = &mut self.hops {
            hops.counts.full += 1;
        }
    }

    fn make_room_for_flow(&mut self) {
        let Some(hops) = self.hops.as_mut().filter(|hops| hops.flows.is_full()) else {
            return;
        };
        let mut flows = mem::take(&mut hops.flows);
        let oldest = flows.oldest(|flow| self.is_settled(flow.in_leg));
        if let Some(hops) = &mut self.hops {
            hops.flows = flows;
        }
        if let Some(oldest) = oldest {
            self.drop_flow(oldest);
        }
    }

    /// Two joined legs: where the request comes from, and where it goes.
    fn add_flow_legs(
        &mut self,
        key: ConnectionKey,
        paths: Paths<'_>,
        way: &Way<'_>,
    ) -> Option<(LegKey, LegKey)> {
        let from_path = str::from_utf8(paths.from).ok()?;
        let to = str::from_utf8(way.to).ok()?;
        let (first, rest) = split_first(paths.to);
        let first = str::from_utf8(first).ok()?;
        // RFC 4976 §6.4.1: each URI that is taken from To-Path is put in front of From-Path.
        let out_from: Box<str> = match way.through {
            [_, Some(_)] => {
                let (second, _) = split_first(rest);
                let second = str::from_utf8(second).ok()?;
                [second, " ", first, " ", from_path].concat().into()
            }
            [_, None] => [first, " ", from_path].concat().into(),
        };
        let in_leg = self.add_flow_leg(first)?;
        let Some(out_leg) = self.add_flow_leg(&out_from) else {
            self.legs.remove(in_leg);
            return None;
        };
        self.legs.set_remote(in_leg, from_path, None);
        self.legs.set_remote(out_leg, to, None);
        if let Some(leg) = self.legs.get_mut(in_leg) {
            leg.link = Link::Bound(key);
        }
        self.join(in_leg, out_leg);
        Some((in_leg, out_leg))
    }

    fn add_flow_leg(&mut self, local_path: &str) -> Option<LegKey> {
        // Nobody is told this id: such a leg is found by its flow.
        let session_id = self.hops.as_mut()?.new_id();
        let leg = self.legs.add(Leg {
            session_id,
            local_path,
            match_session_id_only: false,
        })?;
        self.legs.get_mut(leg)?.purpose = Purpose::Hop;
        Some(leg)
    }

    /// Ends a flow: what is in flight is given up, and who waits for it looks again.
    pub(super) fn drop_flow(&mut self, flow: FlowRef) {
        let gone = self.hops.as_mut().and_then(|hops| hops.flows.remove(flow));
        let Some(gone) = gone else {
            return;
        };
        self.remove_flow_legs((gone.in_leg, gone.out_leg));
        self.wake(Some(gone.source));
        self.wake(Some(gone.sink));
    }

    fn remove_flow_legs(&mut self, (in_leg, out_leg): (LegKey, LegKey)) {
        self.legs.remove(in_leg);
        self.legs.remove(out_leg);
    }

    /// A next hop's connection is made: what waits for it goes on.
    pub(super) fn bind_flows(&mut self, sink: ConnectionKey) {
        let flows = self.side(sink).map(|side| side.flows.clone());
        for flow in flows.into_iter().flatten() {
            let flow = self.hops.as_ref().and_then(|hops| hops.flows.get(flow));
            let Some(out_leg) = flow
                .filter(|flow| flow.sink == sink)
                .map(|flow| flow.out_leg)
            else {
                continue;
            };
            if let Some(leg) = self.legs.get_mut(out_leg) {
                leg.link = Link::Bound(sink);
            }
            self.wake_source_of(out_leg);
        }
    }

    /// A connection is gone: with it the Use-Paths that it asked for and the flows from and to it.
    pub(in super::super) fn forget_side(&mut self, key: ConnectionKey) {
        let Some(now) = self.latest else {
            return;
        };
        let Some(hops) = &mut self.hops else {
            return;
        };
        hops.next.lost(key, now);
        let side = hops.sides.get_mut(key.0 as usize).and_then(Option::take);
        let Some(side) = side else {
            return;
        };
        for path in side.paths {
            hops.paths.remove(path);
        }
        for flow in side.flows {
            self.drop_flow(flow);
        }
    }

    /// Passes on a SEND without content: the far end may wait for it (RFC 4975 §5.4).
    pub(in super::super) fn pass_empty(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        route: Route,
        out: &mut impl Egress,
    ) -> Next {
        let opening = (head.failure_report != FailureReport::No).then(|| Opening {
            kind: Kind::Send(head.failure_report),
            source: route.from,
            sink: route.sink,
            to: route.to.key,
            id: ShortText::new(head.message_id.unwrap_or_default()),
        });
        let Some(ticket) = self.ticket(opening) else {
            return self.refuse(key, Some(route.from), head, Refused::uncounted(408));
        };
        self.write_head(head, route, &ticket.id(), (false, out));
        self.counts.acknowledged += 1;
        self.counts.open += 1;
        self.begin_waiting(route.sink, (ticket, true), out);
        let answer = self.answer(head, 200);
        let swallow = Swallow {
            leg: Some(route.from),
            answer,
            no_body: false,
        };
        self.swallow(key, swallow);
        Next::On
    }

    /// Hands a response on its way back (RFC 4976 §6.4.2): the URI of ours moves to From-Path, and
    /// the way is the one that the request came.
    pub(in super::super) fn write_way_back(
        &mut self,
        (transaction, id): (&Transaction, &TransactionId),
        head: &Head<'_>,
        (to, out): (ConnectionKey, &mut impl Egress),
    ) {
        let Some(leg) = self.legs.live(transaction.source) else {
            return;
        };
        let to_path = leg.remote.as_deref().unwrap_or_default();
        // The URIs of ours that the request was sent on with, the latest first.
        let sent_as = self.legs.get(transaction.to).map(LegState::own);
        let ours = sent_as.and_then(|path| path.strip_suffix(to_path));
        let ours = ours.unwrap_or_default().split(|byte| *byte == b' ');
        let mut from_path = Vec::new();
        for uri in ours.filter(|uri| !uri.is_empty()).rev() {
            from_path.extend_from_slice(uri);
            from_path.push(b' ');
        }
        from_path.extend_from_slice(head.from_path);
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let start = Start {
            id,
            tail: head.start_tail,
            to_path,
            from_path: &from_path,
        };
        compose::start(&mut frame, start);
        frame.extend_from_slice(head.rest);
        compose::end_line(&mut frame, id, Flag::Complete);
        self.write_frame(to, &frame, out);
        self.scratch = frame;
    }
}
