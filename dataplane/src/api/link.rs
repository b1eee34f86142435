//! The ring pair between control and one worker, and the bell that wakes a sleeper.
//!
//! A side that is busy polls its ring and is never signalled. Before it sleeps it says so in its
//! bell's state, looks at the ring once more, and only then waits; whoever pushes rings only when
//! it sleeps, and the first who does wakes it for all. So a busy worker costs control one relaxed
//! load per order, and a worker that packets wake makes no call for a bell that nobody rang.
//!
//! ```text
//! AWAKE ──about_to_sleep──▶ SLEEPING ──ring, one signal──▶ RUNG
//!   ▲◀──────────awake───────────┘                           │
//!   └──────────awake, takes the signal back─────────────────┘
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};

use super::record_ring::{RecordsIn, RecordsOut, record_ring};
use super::{Event, Order, Record, RecordRoom, RoadEnd};
use crate::limits::{NEWS_RING, ORDER_RING};
use crate::net::EventFd;

/// Wakes one sleeper.
#[derive(Debug, Clone)]
pub struct Doorbell {
    shared: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    /// Signals that were announced and not taken back: one may be on its way while its ringer is
    /// held up. Only the owner touches it.
    owed: AtomicU64,
    fd: EventFd,
}

impl Doorbell {
    /// Makes a bell.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let bell = Bell {
            state: AtomicU8::new(AWAKE),
            owed: AtomicU64::new(0),
            fd: EventFd::new()?,
        };
        Ok(Self {
            shared: Arc::new(bell),
        })
    }

    /// Wakes the sleeper, if it sleeps.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        let Bell { state, fd, .. } = &*self.shared;
        if state.load(Ordering::Relaxed) == SLEEPING
            && state
                .compare_exchange(SLEEPING, RUNG, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            fd.signal();
        }
    }

    /// Says that its owner is about to sleep; it must look at its ring once more after this.
    pub fn about_to_sleep(&self) {
        self.shared.state.store(SLEEPING, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that its owner is awake, and takes back a signal that came.
    pub fn awake(&self) {
        let Bell { state, owed, fd } = &*self.shared;
        let rang = state.swap(AWAKE, Ordering::Relaxed) == RUNG;
        let due = owed.load(Ordering::Relaxed) + u64::from(rang);
        if due > 0 {
            owed.store(due.saturating_sub(fd.clear()), Ordering::Relaxed);
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.fd.as_raw_fd()
    }
}

/// A ring had no room; what was pushed comes back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// What comes from a worker.
#[derive(Debug)]
enum News {
    Event(Event),
    /// A road has ended; its parcels are freed where they were made.
    Road(Box<RoadEnd>),
}

/// Control's end: orders go in, news and records come out.
#[derive(Debug)]
pub struct ControlEnd {
    orders: Producer<Box<Order>>,
    news: Consumer<News>,
    records: RecordsOut,
    worker_bell: Doorbell,
    control_bell: Doorbell,
}

impl ControlEnd {
    /// Sends an order to the worker and wakes it if it sleeps.
    ///
    /// # Errors
    ///
    /// [`Full`] with the order when [`ORDER_RING`] orders wait already.
    pub fn order(&mut self, order: Box<Order>) -> Result<(), Full<Box<Order>>> {
        self.orders
            .push(order)
            .map_err(|rtrb::PushError::Full(order)| Full(order))?;
        self.worker_bell.ring();
        Ok(())
    }

    /// Takes the next piece of news, and frees the ends of roads that came before it.
    pub fn news(&mut self) -> Option<Event> {
        loop {
            match self.news.pop().ok()? {
                News::Event(event) => return Some(event),
                News::Road(end) => drop(end),
            }
        }
    }

    /// Takes the next record.
    pub fn record(&mut self) -> Option<Record> {
        self.records.pop()
    }

    /// Whether records wait.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether the worker's end is gone: it has ended. What it told before is still there then.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let is_abandoned = self.news.is_abandoned();
        fence(Ordering::Acquire);
        is_abandoned
    }

    /// Orders that wait for the worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        ORDER_RING - self.orders.slots()
    }

    /// The worker's bell: what else is for it rings there as well.
    pub(super) fn worker_bell(&self) -> &Doorbell {
        &self.worker_bell
    }

    /// Control's bell, shared by all its links: readable when news came while control slept.
    #[must_use]
    pub fn bell(&self) -> &Doorbell {
        &self.control_bell
    }
}

/// The worker's end: orders come out, news and records go in.
#[derive(Debug)]
pub struct WorkerEnd {
    orders: Consumer<Box<Order>>,
    news: Producer<News>,
    records: RecordsIn,
    worker_bell: Doorbell,
    control_bell: Doorbell,
}

impl WorkerEnd {
    /// Takes the next order.
    pub fn order(&mut self) -> Option<Box<Order>> {
        self.orders.pop().ok()
    }

    /// Whether no order waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Orders that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.orders.slots()
    }

    /// Room for news; a worker takes no order while this is 0.
    #[must_use]
    pub fn room(&self) -> usize {
        self.news.slots()
    }

    /// Tells control something and wakes it if it sleeps.
    ///
    /// # Errors
    ///
    /// [`Full`] with the event when control hasn't taken [`NEWS_RING`] events yet.
    pub fn tell(&mut self, event: Event) -> Result<(), Full<Event>> {
        if self.news.is_full() {
            return Err(Full(event));
        }
        // There is room: nobody else pushes.
        let _ = self.news.push(News::Event(event));
        self.control_bell.ring();
        Ok(())
    }

    /// Sends a road's end to control, which frees it.
    ///
    /// # Errors
    ///
    /// [`Full`] with the end when control hasn't taken [`NEWS_RING`] events yet.
    pub fn give_back(&mut self, end: Box<RoadEnd>) -> Result<(), Full<Box<RoadEnd>>> {
        if self.news.is_full() {
            return Err(Full(end));
        }
        let _ = self.news.push(News::Road(end));
        self.control_bell.ring();
        Ok(())
    }

    /// Hands a record to control, which isn't woken by it: see [`Self::wake_control`].
    ///
    /// # Errors
    ///
    /// [`Full`] with the record when control hasn't taken as much as may wait.
    pub fn record(&mut self, record: Record) -> Result<(), Full<Record>> {
        self.records.push(record)
    }

    /// Wakes control if it sleeps.
    pub fn wake_control(&self) {
        self.control_bell.ring();
    }

    /// Whether control's end is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.orders.is_abandoned()
    }

    /// The worker's own bell: it is readable when an order came while the worker slept.
    #[must_use]
    pub fn bell(&self) -> &Doorbell {
        &self.worker_bell
    }
}

/// Makes the two ends of a link; `control_bell` is shared by all links of a control.
///
/// # Errors
///
/// When the system has no descriptor left.
pub fn ring_pair(control_bell: &Doorbell) -> io::Result<(ControlEnd, WorkerEnd)> {
    ring_pair_with(control_bell, RecordRoom::default())
}

/// The same, with another room for records.
///
/// # Errors
///
/// When the system has no descriptor left.
pub fn ring_pair_with(
    control_bell: &Doorbell,
    room: RecordRoom,
) -> io::Result<(ControlEnd, WorkerEnd)> {
    let (orders_in, orders_out) = RingBuffer::new(ORDER_RING);
    let (news_in, news_out) = RingBuffer::new(NEWS_RING);
    let (records_in, records_out) = record_ring(room);
    let worker_bell = Doorbell::new()?;
    let control = ControlEnd {
        orders: orders_in,
        news: news_out,
        records: records_out,
        worker_bell: worker_bell.clone(),
        control_bell: control_bell.clone(),
    };
    let worker = WorkerEnd {
        orders: orders_out,
        news: news_in,
        records: records_in,
        worker_bell,
        control_bell: control_bell.clone(),
    };
    Ok((control, worker))
}

/// The bell's owner looks for itself.
const AWAKE: u8 = 0;
/// It has to be woken.
const SLEEPING: u8 = 1;
/// It is being woken.
const RUNG: u8 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{Outcome, SessionId};
    use crate::net::Backend as _;
    use crate::net::mmsg::Mmsg;

    fn order(mark: u64) -> Box<Order> {
        Box::new(Order {
            session: SessionId(0),
            mark,
            acts: Vec::new(),
            outcome: Outcome::Pending,
            returned: Vec::new(),
        })
    }

    #[test]
    fn a_bell_rings_for_sleepers_only_and_once() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert_eq!(bell.shared.fd.clear(), 0, "nobody sleeps");
        bell.about_to_sleep();
        bell.ring();
        bell.ring();
        assert_eq!(bell.shared.fd.clear(), 1);
        bell.shared.fd.signal();
        bell.awake();
        assert_eq!(bell.shared.fd.clear(), 0, "it was taken back");
    }

    #[test]
    fn a_signal_that_comes_late_is_taken_back_later() {
        let bell = Doorbell::new().unwrap();
        bell.about_to_sleep();
        // A ringer that is held up between its two steps.
        bell.shared.state.store(RUNG, Ordering::Relaxed);
        bell.awake();
        bell.shared.fd.signal();
        bell.about_to_sleep();
        bell.awake();
        assert_eq!(bell.shared.fd.clear(), 0);
        assert_eq!(bell.shared.owed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_order_is_slept_through() {
        const ORDERS: u64 = 20_000;
        let (mut control, mut worker) = ring_pair(&Doorbell::new().unwrap()).unwrap();
        let mut backend = Mmsg::new(worker.bell().as_raw_fd()).unwrap();
        let sender = std::thread::Builder::new().spawn(move || {
            for mark in 0..ORDERS {
                let mut order = order(mark);
                while let Err(Full(back)) = control.order(order) {
                    order = back;
                    std::thread::yield_now();
                }
                if mark % 7 == 0 {
                    std::thread::yield_now();
                }
            }
            control
        });
        let mut next = 0;
        while next < ORDERS {
            while let Some(order) = worker.order() {
                assert_eq!(order.mark, next);
                next += 1;
            }
            worker.bell().about_to_sleep();
            if worker.is_empty() && next < ORDERS {
                // An hour: a lost signal hangs here.
                backend.wait(Duration::from_secs(3600)).unwrap();
            }
            worker.bell().awake();
        }
        assert!(sender.unwrap().join().is_ok());
        worker.bell().awake();
        let bell = &worker.bell().shared;
        assert_eq!(bell.owed.load(Ordering::Relaxed), 0);
        assert_eq!(bell.fd.clear(), 0);
    }
}
