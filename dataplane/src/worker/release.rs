//! Releasing streams: frozen at once, written out, closed; their facts and plans go home.

use std::time::{Duration, Instant};

use crate::api::{Act, Event, LegFacts, Order, SessionId, Side, StreamFacts, StreamPlan};
use crate::net::{Backend, SocketId};
use crate::proto::rtp::Change;
use crate::session::{BytesLeg, Media, Phase, SlotRef, Stream, leg_mut};

use super::Worker;

/// An order that waits until its streams are written out, or for room to go home.
#[derive(Debug)]
pub(super) struct Drain {
    order: Option<Box<Order>>,
    until: Instant,
    /// The streams, and by the act that releases them.
    waiting: Vec<(usize, SlotRef)>,
}

impl Drain {
    /// One that waits for nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            order: None,
            until: now,
            waiting: Vec::new(),
        }
    }

    /// One that only waits for room.
    pub(super) fn done(order: Box<Order>) -> Self {
        Self {
            until: Instant::from(order.as_ref(), &order),
            order: Some(order),
            waiting: Vec::new(),
        }
    }
}
