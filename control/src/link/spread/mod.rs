//! Group sessions that are larger than one worker: who is where, and orders in parts.
//!
//! The engine knows one worker of a session, its home. When a session has as many members there as a
//! worker is to have, the legs of RTP of further ones are made at an outpost, and what the engine
//! orders of them is done in steps, one after the other: who joins does so first at the outpost and
//! then at home, who leaves the other way round. The order is done when the last step is, so that nobody
//! is told before every worker has let go; where one is refused, what was done of it is undone.
//!
//! ```text
//! order ─▶ steps ─▶ outpost ─▶ home ─▶ (other outposts) ─▶ done
//!                     └ refused ┴─▶ those who joined leave again ─▶ refused
//! ```

mod plan;

use std::collections::{HashMap, VecDeque};

use dataplane::api::{
    Act, Event, MemberFacts, MemberId, Order, Outcome, Refusal, RoadEnd, SessionId, StreamId,
    StreamSet,
};

use plan::{Origin, Place, Planned, Session, Site, State, Step, close, put};

/// The workers, as far as it matters here.
pub(super) trait Ground {
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether one takes orders.
    fn is_running(&self, worker: usize) -> bool;
    /// A road between two of them, the first one's end first.
    fn road(&self, home: usize, outpost: usize) -> Option<(RoadEnd, RoadEnd)>;
}

/// An order and its worker.
type Addressed = (usize, Box<Order>);

/// All group sessions that may grow beyond one worker.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Members of a session on one worker; 0: all of them.
    members_max: usize,
    sessions: HashMap<SessionId, Session>,
    /// What is to be sent.
    out: VecDeque<Addressed>,
    /// What is done, and who is lost by it; whose home it is.
    news: VecDeque<(usize, Event)>,
}

/// An order that is done in steps.
#[derive(Debug)]
struct Task {
    order: Box<Order>,
    /// The step that is being done.
    current: Step,
    rest: VecDeque<Step>,
    /// Who has joined at outposts by it so far.
    joined: Vec<(usize, MemberId, StreamSet)>,
    /// What the session had before.
    before: State,
    /// Whose legs at outposts have left by it so far.
    left: Vec<(MemberId, StreamSet)>,
    /// Of whom nothing but home's part is left, as it was refused.
    lost: Vec<(MemberId, StreamSet)>,
    /// What the legs at outposts did.
    facts: Vec<MemberFacts>,
}

impl Spread {
    /// Lets sessions have so many members on a worker; 0: any number.
    pub(super) fn set_members_max(&mut self, members_max: usize) {
        self.members_max = members_max;
    }

    /// What is to be sent next.
    pub(super) fn next_order(&mut self) -> Option<Addressed> {
        self.out.pop_front()
    }

    /// What is done, and who is lost by it, for the engine.
    pub(super) fn next_news(&mut self) -> Option<(usize, Event)> {
        self.news.pop_front()
    }

    /// Takes an order of the engine's for a session's home.
    pub(super) fn order(&mut self, home: usize, order: Box<Order>, ground: &impl Ground) {
        let id = order.session;
        if self.members_max > 0
            && ground.len() > 1
            && !self.sessions.contains_key(&id)
            && order.acts.iter().any(|act| matches!(act, Act::OpenRoom(_)))
        {
            self.sessions.insert(id, Session::new(home));
        }
        match self.sessions.get_mut(&id) {
            None => self.out.push_back((home, order)),
            Some(session) if session.task.is_some() => session.waiting.push_back(order),
            Some(_) => self.begin(id, order, ground),
        }
    }

    /// Takes an order that a worker has done; one that was sent as it came is handed back.
    pub(super) fn take(
        &mut self,
        worker: usize,
        order: Box<Order>,
        ground: &impl Ground,
    ) -> Option<Box<Order>> {
        let id = order.session;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Some(order);
        };
        let is_step = session
            .task
            .as_ref()
            .is_some_and(|task| (task.current.worker, task.order.mark) == (worker, order.mark));
        if is_step {
            self.step_done(id, *order, ground);
            return None;
        }
        if let Outcome::Refused(_) = order.outcome {
            session.state.forget_refused(&order);
        }
        self.end_if_empty(id);
        Some(order)
    }

    /// A worker is gone: members there are, and sessions whose home it was end everywhere.
    pub(super) fn lost(&mut self, worker: usize, ground: &impl Ground) {
        let at_home: Vec<SessionId> = self.ids(|session| session.home == worker);
        for id in at_home {
            let Some(session) = self.sessions.remove(&id) else {
                continue;
            };
            for outpost in session.state.outposts {
                let order = Order {
                    session: id,
                    mark: NOBODYS,
                    acts: vec![close(StreamSet::ALL)],
                    outcome: Outcome::Pending,
                    returned: Vec::new(),
                };
                self.out.push_back((outpost.worker, Box::new(order)));
            }
        }
        let with_outpost = self.ids(|session| {
            let task = session.task.as_ref();
            session.is_at(worker) || task.is_some_and(|task| task.is_at(worker))
        });
        for id in with_outpost {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.state.lose(worker);
            let Some(task) = &mut session.task else {
                continue;
            };
            task.before.lose(worker);
            task.rest.retain(|step| step.worker != worker);
            if task.current.worker == worker {
                let order = Order {
                    session: id,
                    mark: task.order.mark,
                    acts: Vec::new(),
                    outcome: if task.current.has_joins {
                        Outcome::Refused(Refusal::Unknown)
                    } else {
                        Outcome::Done
                    },
                    returned: Vec::new(),
                };
                self.step_done(id, order, ground);
            }
        }
    }

    fn ids(&self, which: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let found = self.sessions.iter().filter(|(_, session)| which(session));
        let mut ids: Vec<_> = found.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    fn begin(&mut self, id: SessionId, order: Box<Order>, ground: &impl Ground) {
        // Only a session that may outgrow its home asks what the others have to carry.
        let may_grow = self.sessions.get(&id).is_some_and(|session| {
            session.state.members.len() + order.acts.len() > self.members_max
        });
        let loads = if may_grow {
            self.loads(ground.len())
        } else {
            Vec::new()
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let home = session.home;
        let site = Site {
            members_max: self.members_max,
            loads: &loads,
            ground,
        };
        match session.plan(order, &site) {
            Planned::Whole(order) => self.out.push_back((home, order)),
            Planned::Steps(task) => {
                session.task = Some(task);
                self.send_step(id);
            }
        }
    }

    /// Members at outposts, by worker.
    fn loads(&self, workers: usize) -> Vec<usize> {
        let mut loads = vec![0; workers];
        for session in self.sessions.values() {
            for outpost in &session.state.outposts {
                if let Some(load) = loads.get_mut(outpost.worker) {
                    *load += session.count(Place::Away(outpost.id));
                }
            }
        }
        loads
    }

    fn send_step(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(&id);
        let Some(task) = session.and_then(|session| session.task.as_mut()) else {
            return;
        };
        let order = Order {
            session: id,
            mark: task.order.mark,
            acts: std::mem::take(&mut task.current.acts),
            outcome: Outcome::Pending,
            returned: Vec::new(),
        };
        self.out.push_back((task.current.worker, Box::new(order)));
    }

    fn step_done(&mut self, id: SessionId, order: Order, ground: &impl Ground) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(mut task) = session.task.take() else {
            return;
        };
        let (outcome, home) = (order.outcome, session.home);
        task.put_back(order, home);
        if let Outcome::Refused(why) = outcome
            && task.order.outcome == Outcome::Pending
        {
            task.order.outcome = Outcome::Refused(why);
            session.undo(&mut task);
        }
        if let Some(next) = task.rest.pop_front() {
            task.current = next;
            session.task = Some(task);
            self.send_step(id);
            return;
        }
        let lost = std::mem::take(&mut task.lost);
        self.news.push_back((home, Event::Done(task.finish())));
        for (member, streams) in lost {
            let rooms = (0..32).map(StreamId).filter(|room| streams.contains(*room));
            let lost = rooms.map(|stream| Event::MemberLost {
                session: id,
                stream,
                member,
            });
            self.news.extend(lost.map(|event| (home, event)));
        }
        self.go_on(id, ground);
    }

    /// Begins what waited.
    fn go_on(&mut self, id: SessionId, ground: &impl Ground) {
        while let Some(session) = self.sessions.get_mut(&id)
            && session.task.is_none()
            && let Some(order) = session.waiting.pop_front()
        {
            self.begin(id, order, ground);
        }
        self.end_if_empty(id);
    }

    fn end_if_empty(&mut self, id: SessionId) {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| session.state.rooms.is_empty() && session.task.is_none()) {
            self.sessions.remove(&id);
        }
    }
}

impl Task {
    /// Takes what came of a step.
    fn put_back(&mut self, order: Order, home: usize) {
        let is_away = self.current.worker != home && order.outcome == Outcome::Done;
        let origins = std::mem::take(&mut self.current.origins);
        for (act, origin) in order.acts.into_iter().zip(origins) {
            if let (
                Act::Leave {
                    member,
                    streams,
                    facts,
                    ..
                },
                Origin::Own,
                true,
            ) = (&act, origin, is_away)
            {
                self.facts.extend(facts);
                self.left.extend(member.map(|member| (member, *streams)));
            }
            put(&mut self.order, act, origin);
        }
    }

    /// Whether a worker has something of it to do.
    fn is_at(&self, worker: usize) -> bool {
        let mut rest = self.rest.iter();
        self.current.worker == worker || rest.any(|step| step.worker == worker)
    }

    /// A step that isn't done.
    fn restore(&mut self, step: Step) {
        for (act, origin) in step.acts.into_iter().zip(step.origins) {
            put(&mut self.order, act, origin);
        }
    }

    /// The order as it is done, with what the legs did that were elsewhere.
    fn finish(mut self) -> Box<Order> {
        if self.order.outcome == Outcome::Pending {
            self.order.outcome = Outcome::Done;
        }
        for act in &mut self.order.acts {
            let Act::Leave { facts, .. } = act else {
                continue;
            };
            for fact in facts {
                let is_same =
                    |one: &&MemberFacts| (one.member, one.stream) == (fact.member, fact.stream);
                if let Some(away) = self.facts.iter().find(is_same) {
                    fact.leg = away.leg;
                }
            }
        }
        self.order
    }
}

/// The mark of orders that the engine hasn't given, and never gives.
const NOBODYS: u64 = u64::MAX;

#[cfg(test)]
mod tests;
