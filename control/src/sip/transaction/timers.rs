//! Timers: queues of equal waits, so that setting one and finding the next cost the same at any load.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The base timers (RFC 3261 §17.1.1.1); all others are made of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Round-trip estimate; the first retransmission.
    pub t1: Duration,
    /// The longest time between retransmissions of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// How long a message stays in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timers {
    /// 64 times T1: timers B, F, H, J, L, M, and D.
    #[must_use]
    pub fn transaction(&self) -> Duration {
        self.t1 * 64
    }

    /// The wait after this one where it doubles up to T2.
    pub(super) fn doubled(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}

/// RFC 3261 §17.2.1: an INVITE is answered with 100 if the user doesn't answer within this time.
pub(super) const TRYING: Duration = Duration::from_millis(200);

/// What a transaction waits for. A wait that has lost its meaning is found out when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// To send 100 Trying.
    Trying,
    /// To send again: timers A, E, G, and the 2xx.
    Resend,
    /// To send CANCEL again.
    ResendCancel,
    /// For an answer: timers B, F.
    Answer,
    /// For the final response to a cancelled INVITE (RFC 3261 §9.1).
    Cancelled,
    /// To end: timers D, H, I, J, K, L, M. H comes before I, so the state it was set in counts.
    End(Ending),
}

/// Which of the ending waits it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// H: no ACK came.
    NoAck,
    /// The others: nothing more is expected.
    Quiet,
}

/// Whose wait it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Client(u64),
    Server(u64),
}

/// One queue per length of wait. As time doesn't go back, each is in order by itself.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    wait: Duration,
    queue: VecDeque<(Instant, Owner, Wait)>,
}

impl Lanes {
    pub(super) fn set(&mut self, now: Instant, after: Duration, owner: Owner, wait: Wait) {
        let lane = match self.lanes.iter_mut().position(|lane| lane.wait == after) {
            Some(at) => self.lanes.get_mut(at),
            None => {
                self.lanes.push(Lane {
                    wait: after,
                    queue: VecDeque::new(),
                });
                self.lanes.last_mut()
            }
        };
        if let Some(lane) = lane {
            lane.queue.push_back((now + after, owner, wait));
        }
    }

    /// When the next wait ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lanes
            .iter()
            .filter_map(|lane| lane.queue.front())
            .map(|(at, ..)| *at)
            .min()
    }

    /// Takes the wait that has ended first.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Owner, Wait)> {
        let lane = self
            .lanes
            .iter_mut()
            .filter(|lane| lane.queue.front().is_some_and(|(at, ..)| *at <= now))
            .min_by_key(|lane| lane.queue.front().map(|(at, ..)| *at))?;
        lane.queue.pop_front().map(|(_, owner, wait)| (owner, wait))
    }
}
