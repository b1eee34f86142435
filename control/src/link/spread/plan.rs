//! Who of a session goes where, and what of an order is whose.

use std::collections::{HashMap, VecDeque};

use dataplane::api::{
    Act, LegSpec, MemberId, MemberPlan, Order, OutpostId, Remote, RoomKind, RoomPlan, StreamId,
    StreamSet,
};

use super::{Ground, Task};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) home: usize,
    pub(super) state: State,
    /// Their names are never used again; should they run out, all who come are at home.
    pub(super) outposts_ever: u32,
    pub(super) task: Option<Box<Task>>,
    /// Orders that wait for the one that is being done.
    pub(super) waiting: VecDeque<Box<Order>>,
}

/// What a session has, once what was ordered is done.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) rooms: StreamSet,
    pub(super) members: HashMap<MemberId, Seat>,
    pub(super) outposts: Vec<Outpost>,
}

/// Where a member's legs of RTP are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) place: Place,
    pub(super) streams: StreamSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Away(OutpostId),
}

#[derive(Debug, Clone)]
pub(super) struct Outpost {
    pub(super) id: OutpostId,
    pub(super) worker: usize,
    pub(super) rooms: StreamSet,
}

#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) worker: usize,
    pub(super) acts: Vec<Act>,
    pub(super) origins: Vec<Origin>,
    /// Somebody joins by it.
    pub(super) has_joins: bool,
}

/// Where an act of a step comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// It was taken from that place of the order, and goes back there.
    Moved(usize),
    /// It was made here.
    Own,
}

impl Step {
    pub(super) fn of(worker: usize) -> Self {
        Self {
            worker,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, act: Act, origin: Origin) {
        self.has_joins |= matches!(act, Act::Join(_));
        self.acts.push(act);
        self.origins.push(origin);
    }
}

/// Where members may go.
pub(super) struct Site<'a, G> {
    pub(super) members_max: usize,
    pub(super) loads: &'a [usize],
    pub(super) ground: &'a G,
}

/// The parts of an order while it is divided.
pub(super) struct Steps {
    pub(super) home: Step,
    pub(super) others: Vec<Step>,
    /// Who leaves outposts does so last, as it can't be undone.
    after: Vec<Step>,
    /// But for who joins a room again by the same order: its name must be free there.
    again: Vec<(MemberId, StreamId)>,
    pub(super) joined: Vec<(usize, MemberId, StreamSet)>,
}

pub(super) enum Planned {
    /// Home does all of it.
    Whole(Box<Order>),
    Steps(Box<Task>),
}

impl Session {
    pub(super) fn new(home: usize) -> Self {
        Self {
            home,
            state: State::default(),
            outposts_ever: 0,
            task: None,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_at(&self, worker: usize) -> bool {
        let mut outposts = self.state.outposts.iter();
        outposts.any(|outpost| outpost.worker == worker)
    }

    pub(super) fn count(&self, place: Place) -> usize {
        let seats = self.state.members.values();
        seats.filter(|seat| seat.place == place).count()
    }

    /// Divides an order among home and the outposts.
    pub(super) fn plan(&mut self, mut order: Box<Order>, site: &Site<'_, impl Ground>) -> Planned {
        let before = self.state.clone();
        let mut steps = Steps {
            home: Step::of(self.home),
            others: Vec::new(),
            after: Vec::new(),
            again: order
                .joins()
                .map(|plan| (plan.member, plan.stream))
                .collect(),
            joined: Vec::new(),
        };
        for (at, place) in order.acts.iter_mut().enumerate() {
            self.plan_act(place, at, &mut steps, site);
        }
        let Steps {
            home,
            others,
            after,
            joined,
            ..
        } = steps;
        if others.is_empty() && after.is_empty() && !is_mixed(&home.acts) {
            for (act, origin) in home.acts.into_iter().zip(home.origins) {
                put(&mut order, act, origin);
            }
            return Planned::Whole(order);
        }
        // Nobody joins at home before its leg is there.
        let (first, then): (Vec<_>, Vec<_>) = others.into_iter().partition(|step| step.has_joins);
        let mut steps: VecDeque<Step> = first
            .into_iter()
            .chain([home])
            .chain(then)
            .chain(after)
            .collect();
        Planned::Steps(Box::new(Task {
            order,
            current: steps.pop_front().unwrap_or_default(),
            rest: steps,
            joined,
            before,
            left: Vec::new(),
            lost: Vec::new(),
            facts: Vec::new(),
        }))
    }

    fn plan_act(
        &mut self,
        place: &mut Act,
        at: usize,
        steps: &mut Steps,
        site: &Site<'_, impl Ground>,
    ) {
        match place {
            Act::OpenRoom(plan) => self.state.rooms = self.state.rooms.with(plan.stream),
            Act::Join(plan) if matches!(plan.leg, LegSpec::Rtp { .. }) => {
                let who = (plan.member, plan.stream);
                if let Some(outpost) = self.seat(who, steps, site) {
                    let away = away(plan, outpost);
                    if let Some(step) = self.step_at(outpost, &mut steps.others) {
                        steps.joined.push((step.worker, who.0, only(who.1)));
                        step.push(take(place), Origin::Moved(at));
                    }
                    steps.home.push(Act::Join(away), Origin::Own);
                    return;
                }
            }
            Act::ConnectMember {
                member,
                stream,
                remote: remote @ Remote::Rtp(_),
                direction,
                formats,
            } => {
                let outpost = self.outpost_of(*member, *stream);
                let step = outpost.and_then(|id| self.step_at(id, &mut steps.others));
                if let Some(step) = step {
                    let connect = Act::ConnectMember {
                        member: *member,
                        stream: *stream,
                        remote: remote.clone(),
                        direction: *direction,
                        formats: formats.clone(),
                    };
                    step.push(connect, Origin::Own);
                }
            }
            Act::Leave {
                member,
                streams,
                drain_ms,
                ..
            } => self.part(*member, (*streams, *drain_ms), steps),
            Act::Release {
                streams, drain_ms, ..
            } => self.part(None, (*streams, *drain_ms), steps),
            Act::Join(_)
            | Act::ConnectMember { .. }
            | Act::Open(_)
            | Act::OpenRoad { .. }
            | Act::Connect { .. }
            | Act::GiveFloor { .. }
            | Act::Report { .. }
            | Act::Trace { .. } => {}
        }
        steps.home.push(take(place), Origin::Moved(at));
    }

    /// Gives a member a place; `None`: at home.
    fn seat(
        &mut self,
        who: (MemberId, StreamId),
        steps: &mut Steps,
        site: &Site<'_, impl Ground>,
    ) -> Option<OutpostId> {
        let (member, stream) = who;
        let known = self.state.members.get(&member).map(|seat| seat.place);
        let place = known.unwrap_or_else(|| self.choose(steps, site));
        let seat = self.state.members.entry(member).or_insert_with(|| Seat {
            place,
            streams: StreamSet::default(),
        });
        seat.streams = seat.streams.with(stream);
        let Place::Away(id) = place else {
            return None;
        };
        let mut outposts = self.state.outposts.iter_mut();
        let outpost = outposts.find(|outpost| outpost.id == id)?;
        if !outpost.rooms.contains(stream) {
            outpost.rooms = outpost.rooms.with(stream);
            let plan = RoomPlan {
                stream,
                kind: RoomKind::Outpost(id),
                floor: None,
            };
            let step = self.step_at(id, &mut steps.others)?;
            step.push(Act::OpenRoom(plan), Origin::Own);
        }
        Some(id)
    }

    /// Where a new member goes: home while there is room, then an outpost that has some, then a new
    /// one.
    fn choose(&mut self, steps: &mut Steps, site: &Site<'_, impl Ground>) -> Place {
        if self.count(Place::Home) < site.members_max {
            return Place::Home;
        }
        let has_room = |outpost: &&Outpost| {
            let count = self.count(Place::Away(outpost.id));
            count < site.members_max && site.ground.is_running(outpost.worker)
        };
        if let Some(outpost) = self.state.outposts.iter().find(has_room) {
            return Place::Away(outpost.id);
        }
        let candidates = (0..site.ground.len()).filter(|worker| {
            *worker != self.home && !self.is_at(*worker) && site.ground.is_running(*worker)
        });
        let least = candidates.min_by_key(|worker| site.loads.get(*worker).copied());
        // Without another worker all who come are at home, as if they weren't counted.
        let Some(worker) = least.filter(|_| self.outposts_ever < u32::MAX) else {
            return Place::Home;
        };
        let Some((here, there)) = site.ground.road(self.home, worker) else {
            return Place::Home;
        };
        let id = OutpostId(self.outposts_ever);
        self.outposts_ever += 1;
        self.state.outposts.push(Outpost {
            id,
            worker,
            rooms: StreamSet::default(),
        });
        let open = |end| Act::OpenRoad {
            outpost: id,
            end: Some(Box::new(end)),
        };
        steps.home.push(open(here), Origin::Own);
        if let Some(step) = self.step_at(id, &mut steps.others) {
            step.push(open(there), Origin::Own);
        }
        Place::Away(id)
    }

    /// The step of an outpost that is there.
    fn step_at<'a>(&self, id: OutpostId, steps: &'a mut Vec<Step>) -> Option<&'a mut Step> {
        let mut outposts = self.state.outposts.iter();
        let worker = outposts.find(|outpost| outpost.id == id)?.worker;
        let found = steps.iter().position(|step| step.worker == worker);
        let at = found.unwrap_or(steps.len());
        if found.is_none() {
            steps.push(Step::of(worker));
        }
        steps.get_mut(at)
    }

    fn outpost_of(&self, member: MemberId, stream: StreamId) -> Option<OutpostId> {
        let seat = self.state.members.get(&member)?;
        match seat.place {
            Place::Away(id) if seat.streams.contains(stream) => Some(id),
            Place::Away(_) | Place::Home => None,
        }
    }

    /// A member leaves rooms, or all do and the rooms end.
    fn part(&mut self, member: Option<MemberId>, what: (StreamSet, u32), steps: &mut Steps) {
        let (streams, drain_ms) = what;
        let leaves = |streams| Act::Leave {
            member,
            streams,
            drain_ms,
            facts: Vec::new(),
        };
        if let Some(id) = member {
            if let Some(seat) = self.state.members.get(&id)
                && let Place::Away(outpost) = seat.place
            {
                let again = steps.again.iter().filter(|(who, _)| *who == id);
                let again = again.fold(StreamSet::default(), |set, (_, room)| set.with(*room));
                let held = StreamSet(seat.streams.0 & streams.0);
                let first = StreamSet(held.0 & again.0);
                let last = without(held, first);
                for (streams, when) in [(first, &mut steps.others), (last, &mut steps.after)] {
                    if !streams.is_empty()
                        && let Some(step) = self.step_at(outpost, when)
                    {
                        step.push(leaves(streams), Origin::Own);
                    }
                }
            }
            self.state.forget(id, streams);
            return;
        }
        let ids: Vec<_> = self.state.outposts.iter().map(|one| one.id).collect();
        for id in ids {
            if let Some(step) = self.step_at(id, &mut steps.after) {
                step.push(leaves(streams), Origin::Own);
            }
        }
        self.state.close(streams);
    }

    /// A step was refused: those who have joined leave, new outposts end, and the order's other
    /// steps aren't done. Legs that have left to join again are lost, where home still has them.
    pub(super) fn undo(&mut self, task: &mut Task) {
        let is_home_done = task.current.worker != self.home && !task.current.has_joins;
        for step in std::mem::take(&mut task.rest) {
            task.restore(step);
        }
        let refused = task.current.worker;
        let mut steps: Vec<Step> = Vec::new();
        for outpost in &self.state.outposts {
            // The order was refused there as a whole: nobody has joined.
            if outpost.worker == refused {
                continue;
            }
            let before = task.before.outposts.iter();
            let rooms = before
                .filter(|one| one.id == outpost.id)
                .fold(StreamSet::default(), |rooms, one| {
                    StreamSet(rooms.0 | one.rooms.0)
                });
            let mut step = Step::of(outpost.worker);
            if rooms.is_empty() {
                step.push(close(StreamSet::ALL), Origin::Own);
            } else {
                let new = without(outpost.rooms, rooms);
                if !new.is_empty() {
                    step.push(close(new), Origin::Own);
                }
                let worker = step.worker;
                for (_, member, streams) in task.joined.iter().filter(|one| one.0 == worker) {
                    let leave = Act::Leave {
                        member: Some(*member),
                        streams: *streams,
                        drain_ms: 0,
                        facts: Vec::new(),
                    };
                    step.push(leave, Origin::Own);
                }
            }
            if !step.acts.is_empty() {
                steps.push(step);
            }
        }
        task.rest.extend(steps);
        self.state = std::mem::take(&mut task.before);
        let left = std::mem::take(&mut task.left).into_iter();
        for (member, streams) in left.filter(|_| !is_home_done) {
            let seat = self.state.members.get(&member);
            let held = seat.map_or(0, |seat| seat.streams.0);
            task.lost.push((member, StreamSet(streams.0 & held)));
            self.state.forget(member, streams);
        }
    }
}

impl State {
    fn forget(&mut self, member: MemberId, streams: StreamSet) {
        if let Some(seat) = self.members.get_mut(&member) {
            seat.streams = without(seat.streams, streams);
            if seat.streams.is_empty() {
                self.members.remove(&member);
            }
        }
    }

    /// A worker is gone: whoever was there gets another place with the next leg.
    pub(super) fn lose(&mut self, worker: usize) {
        let outposts = &self.outposts;
        self.members.retain(|_, seat| {
            let mut lost = outposts.iter().filter(|outpost| outpost.worker == worker);
            lost.all(|outpost| seat.place != Place::Away(outpost.id))
        });
        self.outposts.retain(|outpost| outpost.worker != worker);
    }

    /// Rooms end.
    fn close(&mut self, streams: StreamSet) {
        self.rooms = without(self.rooms, streams);
        for outpost in &mut self.outposts {
            outpost.rooms = without(outpost.rooms, streams);
        }
        // A session without rooms ends there, and its road with it.
        self.outposts.retain(|outpost| !outpost.rooms.is_empty());
        let members: Vec<_> = self.members.keys().copied().collect();
        for member in members {
            self.forget(member, streams);
        }
    }

    /// An order that home has refused has made nothing.
    pub(super) fn forget_refused(&mut self, order: &Order) {
        for room in order.rooms() {
            self.rooms = without(self.rooms, only(room.stream));
        }
        for plan in order.joins() {
            self.forget(plan.member, only(plan.stream));
        }
    }
}

/// What home has of a member elsewhere.
pub(super) fn away(plan: &MemberPlan, outpost: OutpostId) -> MemberPlan {
    MemberPlan {
        member: plan.member,
        stream: plan.stream,
        leg: LegSpec::Away(outpost),
        local: Default::default(),
        silence_ms: 0,
        identity: None,
    }
}

/// Whether an order both makes and ends something: where it is refused, neither is done.
pub(super) fn is_mixed(acts: &[Act]) -> bool {
    let ends = |act: &Act| matches!(act, Act::Leave { .. } | Act::Release { .. });
    let makes = |act: &Act| matches!(act, Act::Join(_) | Act::OpenRoom(_));
    acts.iter().any(ends) && acts.iter().any(makes)
}

pub(super) fn only(stream: StreamId) -> StreamSet {
    StreamSet::default().with(stream)
}

pub(super) fn close(streams: StreamSet) -> Act {
    Act::Leave {
        member: None,
        streams,
        drain_ms: 0,
        facts: Vec::new(),
    }
}

/// Takes an act out of an order that is divided.
pub(super) fn take(place: &mut Act) -> Act {
    std::mem::replace(place, Act::Report { facts: Vec::new() })
}

pub(super) fn put(order: &mut Order, act: Act, origin: Origin) {
    if let Origin::Moved(at) = origin
        && let Some(place) = order.acts.get_mut(at)
    {
        *place = act;
    }
}

pub(super) fn without(set: StreamSet, gone: StreamSet) -> StreamSet {
    StreamSet(set.0 & !gone.0)
}
