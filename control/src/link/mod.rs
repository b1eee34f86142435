//! The ring pair to each worker, in methods that read like English.

mod spread;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dataplane::api::{Event, Full, MsrpListen, Order, Record, RoadEnd, road};
use dataplane::stats::Stats;
use dataplane::worker::Handle;

use spread::{Ground, Spread};

/// The links to all workers.
pub struct Links {
    workers: Vec<Worker>,
    spread: Spread,
}

struct Worker {
    handle: Handle,
    /// Orders that found the ring full; they go first.
    held: VecDeque<Box<Order>>,
    /// A record that wasn't taken; no other one of its worker goes before it.
    record: Option<Record>,
    life: Life,
    restarts: u64,
}

/// How far a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Not on it.
    Running,
    /// It has ended, and its last records are still to be handed over.
    Ended { since: Instant },
    /// It was told to be lost.
    Lost,
}

impl Links {
    /// Takes over started workers.
    #[must_use]
    pub fn new(handles: Vec<Handle>) -> Self {
        let worker = |handle| Worker {
            handle,
            held: VecDeque::new(),
            record: None,
            life: Life::Running,
            restarts: 0,
        };
        Self {
            workers: handles.into_iter().map(worker).collect(),
            spread: Spread::default(),
        }
    }

    /// Lets group sessions have so many members on one worker, and further ones on others; 0: all
    /// are on one.
    #[must_use]
    pub fn spread(mut self, members_per_worker: usize) -> Self {
        self.spread.set_members_max(members_per_worker);
        self
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Sends an order; one that finds the ring full is held back and sent when there is room.
    /// Orders held are bounded by the sessions there may be.
    /// A group session that is on several workers has its home at `worker`, and the order comes
    /// back when all have done it.
    pub fn order(&mut self, worker: usize, order: Box<Order>) {
        self.spread.order(worker, order, &self.workers);
        self.send_all();
    }

    fn send_all(&mut self) {
        while let Some((worker, order)) = self.spread.next_order() {
            self.send(worker, order);
        }
    }

    fn send(&mut self, worker: usize, order: Box<Order>) {
        let Some(worker) = self.workers.get_mut(worker) else {
            return;
        };
        if !worker.held.is_empty() {
            worker.held.push_back(order);
        } else if let Err(Full(order)) = worker.handle.link.order(order) {
            worker.held.push_back(order);
        }
    }

    /// Sends what was held back, as far as there is room.
    pub fn flush(&mut self) {
        for worker in &mut self.workers {
            while let Some(order) = worker.held.pop_front() {
                if let Err(Full(order)) = worker.handle.link.order(order) {
                    worker.held.push_front(order);
                    break;
                }
            }
        }
    }

    /// Whether orders are held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.workers.iter().any(|worker| !worker.held.is_empty())
    }

    /// The next piece of news, and whose it is.
    pub fn news(&mut self) -> Option<(usize, Event)> {
        loop {
            if let Some(news) = self.spread.next_news() {
                return Some(news);
            }
            let mut workers = self.workers.iter_mut().enumerate();
            let (number, event) =
                workers.find_map(|(number, worker)| Some((number, worker.handle.link.news()?)))?;
            let Event::Done(order) = event else {
                return Some((number, event));
            };
            let whole = self.spread.take(number, order, &self.workers);
            self.send_all();
            if let Some(order) = whole {
                return Some((number, Event::Done(order)));
            }
        }
    }

    /// Hands over what was recorded, at most so many records of each worker; says how many. One
    /// that isn't taken is kept for the next time, and nothing more of its worker is taken before.
    pub fn hand_over(
        &mut self,
        at_most: usize,
        mut take: impl FnMut(usize, Record) -> Result<(), Record>,
    ) -> usize {
        let mut handed = 0;
        for (number, worker) in self.workers.iter_mut().enumerate() {
            for _ in 0..at_most {
                let kept = worker.record.take();
                let Some(record) = kept.or_else(|| worker.handle.link.record()) else {
                    break;
                };
                if let Err(record) = take(number, record) {
                    worker.record = Some(record);
                    break;
                }
                handed += 1;
            }
        }
        handed
    }

    /// Whether records are kept that weren't taken.
    #[must_use]
    pub fn is_holding_records(&self) -> bool {
        self.workers.iter().any(|worker| worker.record.is_some())
    }

    /// Whether records came of a worker none of whose are kept.
    #[must_use]
    pub fn has_records(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.record.is_none() && worker.handle.link.has_records())
    }

    /// A worker that has ended since it was last asked: once its last records were handed over, or
    /// a while later.
    pub fn lost(&mut self, now: Instant) -> Option<usize> {
        let mut workers = self.workers.iter_mut();
        let lost = workers.position(|worker| worker.is_lost_now(now))?;
        self.spread.lost(lost, &self.workers);
        self.send_all();
        Some(lost)
    }

    /// Puts a worker in the place of one that was lost.
    pub fn replace(&mut self, number: usize, handle: Handle) {
        if let Some(worker) = self.workers.get_mut(number) {
            worker.handle = handle;
            // What was still ordered of its predecessor has been followed as refused.
            worker.held.clear();
            worker.record = None;
            worker.life = Life::Running;
            worker.restarts += 1;
        }
    }

    /// What each worker last published.
    #[must_use]
    pub fn stats(&self) -> Vec<WorkerView> {
        let view = |worker: &Worker| WorkerView {
            stats: worker.handle.board.load(),
            backend: worker.handle.backend,
            is_alive: worker.life == Life::Running,
            restarts: worker.restarts,
            waiting: worker.handle.link.waiting() + worker.held.len(),
        };
        self.workers.iter().map(view).collect()
    }

    /// Where the workers listen for MSRP.
    pub fn msrp_listen(&self) -> impl Iterator<Item = MsrpListen> {
        let listeners = |worker: &Worker| worker.handle.msrp_listen.clone();
        self.workers.iter().flat_map(listeners)
    }

    /// Ends the workers and waits for their threads.
    pub fn end(self) {
        let mut threads = Vec::new();
        for worker in self.workers {
            let Handle { link, thread, .. } = worker.handle;
            drop(link);
            threads.push(thread);
        }
        for thread in threads {
            // A worker that panicked was counted as lost already.
            let _ = thread.join();
        }
    }
}

impl Ground for Vec<Worker> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn is_running(&self, worker: usize) -> bool {
        self.get(worker)
            .is_some_and(|worker| worker.life == Life::Running)
    }

    fn road(&self, home: usize, outpost: usize) -> Option<(RoadEnd, RoadEnd)> {
        let [home, outpost] = [home, outpost].map(|worker| self.get(worker));
        Some(road(&home?.handle.link, &outpost?.handle.link))
    }
}

impl Worker {
    fn is_lost_now(&mut self, now: Instant) -> bool {
        if self.life == Life::Running && self.handle.link.is_abandoned() {
            self.life = Life::Ended { since: now };
            self.held.clear();
        }
        let Life::Ended { since } = self.life else {
            return false;
        };
        let has_records = self.record.is_some() || self.handle.link.has_records();
        let is_late = now.saturating_duration_since(since) >= LAST_RECORDS_MAX;
        if has_records && !is_late {
            return false;
        }
        self.life = Life::Lost;
        true
    }
}

/// How long the last records of a worker that has ended are waited for: it is replaced after that,
/// and what nobody took of it is lost.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(1);

/// A worker, as the operator sees it.
#[derive(Debug, Clone, Copy)]
pub struct WorkerView {
    /// Its counters.
    pub stats: Stats,
    /// How it talks to the kernel.
    pub backend: dataplane::api::BackendKind,
    /// Its thread runs.
    pub is_alive: bool,
    /// Times it was started again.
    pub restarts: u64,
    /// Orders that wait for it.
    pub waiting: usize,
}

#[cfg(test)]
mod tests {
    use dataplane::api::{
        BackendKind, Doorbell, RecordPart, RecordRoom, SessionId, WorkerEnd, ring_pair_with,
    };

    use super::*;

    /// Links to workers whose ends the test has.
    fn links<const N: usize>() -> (Links, [WorkerEnd; N]) {
        let bell = Doorbell::new().unwrap();
        let pairs: [_; N] =
            std::array::from_fn(|_| ring_pair_with(&bell, RecordRoom::default()).unwrap());
        let (links, ends): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let handle = |link| Handle {
            link,
            board: Default::default(),
            msrp_listen: Vec::new(),
            backend: BackendKind::Epoll,
            thread: std::thread::Builder::new().spawn(|| {}).unwrap(),
        };
        let links = Links::new(links.into_iter().map(handle).collect());
        (links, ends.try_into().unwrap())
    }

    fn closed(session: u64) -> Record {
        Record {
            session: SessionId(session),
            part: RecordPart::Closed,
        }
    }

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
        Instant::now()
    }

    #[test]
    fn a_record_that_is_not_taken_holds_up_its_worker_and_no_other() {
        let (mut links, [mut one, mut other]) = links();
        for session in 0..4 {
            one.record(closed(session)).unwrap();
            other.record(closed(10 + session)).unwrap();
        }
        let mut took = Vec::new();
        let handed = links.hand_over(3, |worker, record| {
            if record.session == SessionId(1) {
                return Err(record);
            }
            took.push((worker, record.session.0));
            Ok(())
        });
        assert_eq!((handed, links.is_holding_records()), (4, true));
        assert_eq!(took, [(0, 0), (1, 10), (1, 11), (1, 12)]);
        assert!(links.has_records(), "the other worker's");
        took.clear();
        let handed = links.hand_over(9, |worker, record| {
            took.push((worker, record.session.0));
            Ok(())
        });
        assert_eq!((handed, links.is_holding_records()), (4, false));
        assert_eq!(took, [(0, 1), (0, 2), (0, 3), (1, 13)]);
        assert!(!links.has_records());
    }

    #[test]
    fn a_worker_is_lost_once_its_last_records_were_handed_over() {
        let (mut links, [mut one]) = links();
        one.record(closed(1)).unwrap();
        assert_eq!(links.lost(now()), None);
        drop(one);
        assert_eq!(links.lost(now()), None, "a record of it is still there");
        links.hand_over(9, |_, record| Err(record));
        assert_eq!(links.lost(now()), None, "it wasn't taken");
        links.hand_over(9, |_, _| Ok(()));
        assert_eq!(links.lost(now()), Some(0));
        assert_eq!(links.lost(now()), None, "it is told once");
    }

    #[test]
    fn a_worker_is_lost_in_the_end_though_nobody_takes_its_records() {
        let (mut links, [mut one]) = links();
        one.record(closed(1)).unwrap();
        drop(one);
        let begun = now();
        assert_eq!(links.lost(begun), None);
        assert_eq!(links.lost(begun + LAST_RECORDS_MAX), Some(0));
    }

    #[test]
    fn what_was_held_for_a_worker_that_has_ended_does_not_reach_its_successor() {
        let (mut links, [mut one]) = links();
        one.record(closed(1)).unwrap();
        drop(one);
        assert_eq!(links.lost(now()), None, "a record of it is still there");
        // Its ring takes some more, and the rest is held.
        let mut ordered = 0;
        while !links.is_holding() {
            links.order(0, report(ordered));
            ordered += 1;
        }
        links.hand_over(9, |_, _| Ok(()));
        assert_eq!(links.lost(now()), Some(0));
        let (successor, [mut other]) = self::links();
        let handle = successor.workers.into_iter().next().unwrap().handle;
        links.replace(0, handle);
        links.flush();
        assert!(!links.is_holding());
        assert!(other.order().is_none(), "an order of before");
        links.order(0, report(ordered));
        assert_eq!(other.order().map(|order| order.mark), Some(ordered));
    }

    fn report(mark: u64) -> Box<Order> {
        Box::new(Order {
            session: SessionId(1),
            mark,
            acts: Vec::new(),
            outcome: dataplane::api::Outcome::Pending,
            returned: Vec::new(),
        })
    }
}
