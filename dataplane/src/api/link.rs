//! The ring pair between control and one worker, and the bell that wakes a sleeper.
//!
//! A side that is busy polls its ring and is never signalled. Before it sleeps it says so in its
//! bell's flag, looks at the ring once more, and only then waits; whoever pushes rings only when
//! the flag is up. So a busy worker costs control one relaxed load per order.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Event, Order};
use crate::limits::{NEWS_RING, ORDER_RING};
use crate::net::EventFd;

/// Wakes one sleeper.
#[derive(Debug, Clone)]
pub struct Doorbell {
    shared: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    sleeping: AtomicBool,
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
            sleeping: AtomicBool::new(false),
            fd: EventFd::new()?,
        };
        Ok(Self {
            shared: Arc::new(bell),
        })
    }

    /// Wakes the sleeper, if it sleeps.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.shared.sleeping.load(Ordering::Relaxed) {
            self.shared.fd.signal();
        }
    }

    /// Says that its owner is about to sleep; it must look at its ring once more after this.
    pub fn about_to_sleep(&self) {
        self.shared.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that its owner is awake, and takes back a signal that came.
    pub fn awake(&self) {
        self.shared.sleeping.store(false, Ordering::Relaxed);
        self.shared.fd.clear();
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

/// Control's end: orders go in, news comes out.
#[derive(Debug)]
pub struct ControlEnd {
    orders: Producer<Box<Order>>,
    news: Consumer<Event>,
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

    /// Takes the next piece of news.
    pub fn news(&mut self) -> Option<Event> {
        self.news.pop().ok()
    }

    /// Whether the worker's end is gone: it has ended.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.news.is_abandoned()
    }

    /// Orders that wait for the worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        ORDER_RING - self.orders.slots()
    }

    /// Control's bell, shared by all its links: readable when news came while control slept.
    #[must_use]
    pub fn bell(&self) -> &Doorbell {
        &self.control_bell
    }
}

/// The worker's end: orders come out, news goes in.
#[derive(Debug)]
pub struct WorkerEnd {
    orders: Consumer<Box<Order>>,
    news: Producer<Event>,
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
        self.news
            .push(event)
            .map_err(|rtrb::PushError::Full(event)| Full(event))?;
        self.control_bell.ring();
        Ok(())
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
    let (orders_in, orders_out) = RingBuffer::new(ORDER_RING);
    let (news_in, news_out) = RingBuffer::new(NEWS_RING);
    let worker_bell = Doorbell::new()?;
    let control = ControlEnd {
        orders: orders_in,
        news: news_out,
        worker_bell: worker_bell.clone(),
        control_bell: control_bell.clone(),
    };
    let worker = WorkerEnd {
        orders: orders_out,
        news: news_in,
        worker_bell,
        control_bell: control_bell.clone(),
    };
    Ok((control, worker))
}
