//! MSRP between two legs (RFC 4975): a back-to-back relay without sockets or clocks.

use std::time::{Duration, Instant};

use crate::limits::MSRP_LEGS_PER_CONNECTION;
use crate::stats::{DropReason, Stats};

/// How the relay is set up.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// SENDs that may wait for their response at a time; at most `limits::MSRP_TRANSACTIONS`.
    pub transactions: usize,
    /// How long a response is waited for after the last octet (RFC 4975 §7.1.1: 30 s).
    pub timeout: Duration,
}

/// A TCP connection, as [`Connections`] numbers it; used again once it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey(pub u32);

/// A leg, as [`Connections`] numbers it; used again once it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegKey(pub u32);

/// What a leg is made of.
#[derive(Debug, Clone, Copy)]
pub struct Leg<'a> {
    /// The session-id of our URI on this leg.
    pub session_id: [u8; 32],
    /// Our URI on this leg, as the far end was told it.
    pub local_path: &'a str,
    /// A request is ours by its session-id alone, whatever host and port its To-Path names.
    pub match_session_id_only: bool,
}

/// What becomes of a connection after bytes of it were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It broke the protocol and must be closed.
    Close(DropReason),
}

/// Where bytes go that are to be written to connections.
pub trait Egress {
    /// Appends bytes to what is to be written to a connection, in order.
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]);
    /// Whether what waits for a connection is above the high mark.
    fn is_full(&self, to: ConnectionKey) -> bool;
}

/// What came from one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsrpFacts {
    /// Frames: requests and responses.
    pub frames: u64,
    /// Octets of those frames.
    pub bytes: u64,
    /// Requests that were not forwarded though they had content.
    pub dropped: u64,
}

/// The legs that lost their connection; an iterator.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundLegs {
    legs: [Option<LegKey>; MSRP_LEGS_PER_CONNECTION],
    next: usize,
}

impl Iterator for BoundLegs {
    type Item = LegKey;

    fn next(&mut self) -> Option<LegKey> {
        let leg = self.legs.get(self.next).copied().flatten()?;
        self.next += 1;
        Some(leg)
    }
}

/// Every MSRP connection, leg and open transaction of one worker.
#[derive(Debug)]
pub struct Connections {
    config: Config,
    seed: u64,
}

impl Connections {
    /// Makes a relay without legs; `seed` is what its transaction ids are drawn from.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self { config, seed }
    }

    /// Adds a leg; `None`: no more can be added, or its session-id is there already.
    pub fn add_leg(&mut self, _leg: Leg<'_>) -> Option<LegKey> {
        None
    }

    /// Joins the two legs of a stream: what comes from one goes to the other.
    pub fn join(&mut self, _a: LegKey, _b: LegKey) {}

    /// Says who is at the far end of a leg: its whole path, and our URI where the far end was
    /// told another than the leg's own.
    pub fn set_remote(&mut self, _leg: LegKey, _path: &str, _local_path: Option<&str>) {}

    /// Says what the far end of a leg may do.
    pub fn set_direction(&mut self, _leg: LegKey, _may_send: bool, _may_receive: bool) {}

    /// Lets the SEND in flight finish and answers those that begin later with 481.
    pub fn freeze(&mut self, _leg: LegKey) {}

    /// Removes a leg.
    pub fn remove_leg(&mut self, _leg: LegKey) {}

    /// Adds a connection that was accepted, bound to no leg; `None`: no more can be added.
    pub fn accept(&mut self, _now: Instant) -> Option<ConnectionKey> {
        None
    }

    /// Adds the connection that was made for a leg and sends the SEND that binds it.
    pub fn connected(
        &mut self,
        _now: Instant,
        _leg: LegKey,
        _out: &mut impl Egress,
    ) -> Option<ConnectionKey> {
        None
    }

    /// Forgets a connection and says whose it was.
    pub fn closed(&mut self, _connection: ConnectionKey, _out: &mut impl Egress) -> BoundLegs {
        BoundLegs::default()
    }

    /// Takes bytes of a connection, all of them.
    pub fn receive(
        &mut self,
        _now: Instant,
        _connection: ConnectionKey,
        _bytes: &[u8],
        _out: &mut impl Egress,
        _stats: &mut Stats,
    ) -> Verdict {
        Verdict::Continue
    }

    /// The first leg that is bound to a connection.
    #[must_use]
    pub fn bound_leg(&self, _connection: ConnectionKey) -> Option<LegKey> {
        None
    }

    /// The connection that a leg is bound to.
    #[must_use]
    pub fn connection_of(&self, _leg: LegKey) -> Option<ConnectionKey> {
        None
    }

    /// Whether a connection must not be read now.
    pub fn blocked(&self, _connection: ConnectionKey, _out: &impl Egress) -> bool {
        false
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant, _out: &mut impl Egress, _stats: &mut Stats) {}

    /// When [`Self::handle_timeout`] wants to be called next; may be in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What came from a leg so far.
    #[must_use]
    pub fn facts(&self, _leg: LegKey) -> MsrpFacts {
        MsrpFacts::default()
    }

    /// Yields, one at a time, connections that the caller must close now.
    pub fn expired(&mut self, _now: Instant) -> Option<ConnectionKey> {
        None
    }
}
