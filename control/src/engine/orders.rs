//! Orders to the workers, and what follows when they are done.

use bytes::Bytes;
use dataplane::api::{Act, Order, Outcome, Refusal, SessionId, Side, StreamId, StreamSet};

use super::closing::Why;
use super::session::{Session, Stage};
use super::{Engine, Output};
use crate::sip::{Message, ServerKey};

/// What follows an order.
pub(super) enum After {
    /// The INVITE's ports are bound: on to side B.
    Opened,
    /// The ports of an offer inside the session are bound.
    OfferOpened(ServerKey),
    /// The answer to the INVITE is in force: give it to side A.
    Answered(Box<Message>),
    /// The answer to an offer inside the session is in force: give it to the offerer.
    OfferAnswered(Box<super::modify::Ready>),
    /// The media of a session that didn't come about are released.
    Failed(Box<super::failing::Failure>),
    /// The media of a session that was given up while it opened are released.
    Released,
    /// The media of a session that is closing are released.
    Closed,
    /// The ports for an offer that came in a 2xx are bound.
    LateOpened(Box<super::late::Late>),
    /// The answer to an offer that came in a 2xx is in force: acknowledge.
    LateAnswered {
        /// The side that offered.
        offerer: Side,
        /// The ACK's CSeq number.
        seq: u32,
        /// The answer for it.
        sdp: Bytes,
    },
    /// The streams of an Interworking Function that has left are released: answer its BYE.
    FunctionLeft(Box<super::interwork::Left>),
    /// It is one of a group session.
    Group(super::focus::After),
    /// A session's counters were asked for.
    Reported,
    /// Nothing.
    Nothing,
}

/// What the engine knows of a worker's load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorkerLoad {
    pub sessions: usize,
    pub is_lost: bool,
}

impl Engine {
    /// The worker with the fewest sessions.
    pub(super) fn choose_worker(&self) -> Option<usize> {
        let alive = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, load)| !load.is_lost);
        alive
            .min_by_key(|(_, load)| load.sessions)
            .map(|(number, _)| number)
    }

    pub(super) fn order(&mut self, session: &Session, acts: Vec<Act>, after: After) {
        self.order_of(session.id, session.worker, acts, after);
    }

    /// An order of a session, of whatever kind.
    pub(super) fn order_of(
        &mut self,
        session: SessionId,
        worker: usize,
        acts: Vec<Act>,
        after: After,
    ) {
        let mark = self.next_mark;
        self.next_mark += 1;
        self.orders.insert(mark, (session, worker, after));
        if self.workers.get(worker).is_none_or(|load| load.is_lost) {
            self.unanswerable.push_back(mark);
            return;
        }
        let order = Order {
            session,
            mark,
            acts,
            outcome: Outcome::Pending,
            returned: Vec::new(),
        };
        self.outputs.push_back(Output::Order {
            worker,
            order: Box::new(order),
        });
    }

    /// Orders the release of streams; every order is answered, so `after` always follows.
    pub(super) fn order_release(&mut self, session: &Session, streams: StreamSet, after: After) {
        let drain_ms = u32::try_from(session.settings.drain.as_millis()).unwrap_or(u32::MAX);
        let act = Act::Release {
            streams,
            drain_ms,
            facts: Vec::new(),
        };
        self.order(session, vec![act], after);
    }

    pub(super) fn on_order_done(&mut self, order: Order) {
        let Order {
            acts,
            outcome,
            mark,
            ..
        } = order;
        self.on_done(mark, acts, outcome);
    }

    /// An order that no worker will answer follows as refused.
    pub(super) fn follow_refused(&mut self, mark: u64) {
        self.on_done(mark, Vec::new(), Outcome::Refused(Refusal::Unknown));
    }

    fn on_done(&mut self, mark: u64, acts: Vec<Act>, outcome: Outcome) {
        let Some((id, _, after)) = self.orders.remove(&mark) else {
            return;
        };
        if matches!(after, After::Reported) {
            // Its session may have ended meanwhile; whoever looks is not to wait for it.
            self.report_has_come();
        }
        if let After::Group(after) = after {
            self.on_group_done(id, &acts, outcome, after);
            return;
        }
        self.follow_up(id, acts, outcome, after);
    }

    /// Does what follows an order; where its session has ended meanwhile, whoever still waits for
    /// a response gets one.
    fn follow_up(&mut self, id: SessionId, acts: Vec<Act>, outcome: Outcome, after: After) {
        if self.sessions.contains_key(&id.0) {
            self.with(id, |engine, session| {
                engine.follow(session, acts, outcome, after);
            });
            return;
        }
        let relayed = match after {
            After::OfferAnswered(ready) => Some(ready.relayed),
            After::LateOpened(late) => late.relayed,
            After::Failed(failure) => return self.respond(failure.server, failure.response),
            After::FunctionLeft(left) => return self.answer_left(&left),
            After::Opened
            | After::OfferOpened(_)
            | After::Answered(_)
            | After::Released
            | After::Closed
            | After::LateAnswered { .. }
            | After::Group(_)
            | After::Reported
            | After::Nothing => None,
        };
        if let Some(relayed) = relayed {
            self.reply(relayed.server, &relayed.request, 487, "Request Terminated");
        }
    }

    fn follow(&mut self, session: &mut Session, acts: Vec<Act>, outcome: Outcome, after: After) {
        for act in &acts {
            if let Act::Release { facts, .. } = act {
                session.facts.streams.extend(facts.iter().copied());
            }
        }
        let refused = match outcome {
            Outcome::Refused(why) => Some(why),
            Outcome::Done | Outcome::Pending => None,
        };
        match after {
            After::Opened => self.on_opened(session, acts, refused),
            After::OfferOpened(server) => self.on_offer_opened(session, server, acts, refused),
            After::Answered(response) if refused.is_none() => self.on_answered(session, *response),
            After::Answered(_) => self.on_not_connected(session),
            After::OfferAnswered(ready) => {
                if refused.is_none() {
                    self.renew_history(session, &ready.relayed.request);
                }
                self.on_offer_answered(session, *ready, refused);
            }
            After::Failed(failure) => self.on_failed(session, *failure),
            After::Released => session.stage = Stage::Ended,
            After::LateOpened(late) => self.on_late_opened(session, *late, acts, refused),
            After::LateAnswered { offerer, seq, sdp } => {
                self.send_ack(session, offerer, seq, Some(sdp));
                if refused.is_some() && matches!(session.stage, Stage::Talking) {
                    self.close(session, None, Why::WorkerLost);
                }
            }
            After::Closed => self.on_media_released(session, refused.is_some()),
            After::FunctionLeft(left) => self.on_function_left(session, &left),
            After::Reported => Self::on_reported(session, acts),
            After::Group(_) | After::Nothing => {}
        }
    }

    pub(super) fn on_worker_lost(&mut self, worker: usize) {
        if let Some(load) = self.workers.get_mut(worker) {
            load.is_lost = true;
        }
        // What has not left for it must not reach the one that takes its place.
        self.outputs
            .retain(|output| !matches!(output, Output::Order { worker: of, .. } if *of == worker));
        let lost: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| session.worker == worker)
            .map(|session| session.id)
            .collect();
        for id in lost {
            self.counters.lost += 1;
            // What was ordered will not be answered: it follows now, as refused, in its order.
            for mark in self.marks(|of, _| of == id) {
                self.follow_refused(mark);
            }
            self.end_session(id, Why::WorkerLost);
        }
        self.on_worker_lost_by_groups(worker);
        // So does what was ordered for sessions that have ended since.
        for mark in self.marks(|of, at| at == worker && !self.sessions.contains_key(&of.0)) {
            self.follow_refused(mark);
        }
    }

    /// The marks of the orders for some sessions and workers, in their order.
    pub(super) fn marks(&self, is_meant: impl Fn(SessionId, usize) -> bool) -> Vec<u64> {
        let meant = self
            .orders
            .iter()
            .filter(|(_, (of, at, _))| is_meant(*of, *at));
        let mut marks: Vec<u64> = meant.map(|(mark, _)| *mark).collect();
        marks.sort_unstable();
        marks
    }

    /// A worker that was lost is there again.
    pub fn handle_worker_restarted(&mut self, worker: usize) {
        if let Some(load) = self.workers.get_mut(worker) {
            load.is_lost = false;
        }
    }

    /// An MSRP connection is gone: recovery needs a new SDP exchange (RFC 4975 §5.4), so the
    /// session stays and its clients, who lost the same connection, decide.
    pub(super) fn on_connection_lost(session: SessionId, stream: StreamId) {
        tracing::info!(
            session = session.0,
            stream = stream.0,
            "an MSRP connection ended"
        );
    }

    pub(super) fn on_silent(&mut self, id: SessionId, stream: StreamId, side: Side) {
        tracing::info!(
            session = id.0,
            stream = stream.0,
            ?side,
            "no media from this side"
        );
        let silent_all = self.with(id, |_, session| {
            let set = session.silent[side.index()].with(stream);
            session.silent[side.index()] = set;
            session.settings.end_on_silence
                && matches!(session.stage, Stage::Talking)
                && Side::BOTH
                    .iter()
                    .all(|side| session.silent[side.index()].contains(stream))
        });
        if silent_all == Some(true) {
            self.end_session(id, Why::Silence);
        }
    }

    pub(super) fn on_heard(&mut self, id: SessionId, stream: StreamId, side: Side) {
        self.with(id, |_, session| {
            let set = &mut session.silent[side.index()];
            set.0 &= !StreamSet::default().with(stream).0;
        });
    }
}
