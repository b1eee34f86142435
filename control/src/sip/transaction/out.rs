//! What transactions put out: packets, events, waits, counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::counters::SipCounters;
use super::timers::{Lanes, Owner, Timers, Wait};
use super::{Transmit, TxEvent};
use crate::sip::{Flow, Message};

/// Whether a transaction goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Fate {
    Stay,
    End,
}

/// The queues that are read by the caller, and the timers.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<TxEvent>,
    pub(super) lanes: Lanes,
    pub(super) timers: Timers,
    pub(super) counters: SipCounters,
}

impl Out {
    /// Sends a message for the first time and gives its bytes back for repeats.
    pub(super) fn send(&mut self, flow: Flow, message: &Message) -> Bytes {
        self.counters.sent(message);
        let bytes = message.encode();
        self.transmits.push_back(Transmit {
            flow,
            bytes: bytes.clone(),
        });
        bytes
    }

    pub(super) fn send_again(&mut self, flow: Flow, bytes: &Bytes) {
        self.counters.retransmissions_out += 1;
        self.transmits.push_back(Transmit {
            flow,
            bytes: bytes.clone(),
        });
    }

    pub(super) fn wait(&mut self, now: Instant, after: Duration, owner: Owner, wait: Wait) {
        self.lanes.set(now, after, owner, wait);
    }

    pub(super) fn event(&mut self, event: TxEvent) {
        self.events.push_back(event);
    }
}
