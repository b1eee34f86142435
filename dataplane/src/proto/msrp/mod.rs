//! MSRP between two legs (RFC 4975): a back-to-back relay without sockets or clocks.
//!
//! Each leg has a URI of its own. A frame that comes on one leg goes out on the other with new
//! paths and a new transaction id; all other headers and the body stay as they are, and the body is
//! passed on while it arrives. SENDs are answered hop by hop; what fails later is reported.
//!
//! ```text
//! connection   accepted ──first request names a leg──▶ bound ──more legs──▶ bound
//!                 │ 30 s                                 │ closed: legs have lost it,
//!                 ▼                                      ▼ open SENDs are reported with 481
//!              expired                                 gone
//! ```
//!
//! What becomes of a frame that is being received (`Incoming`):
//!
//! | state | event | what is done | next |
//! |---|---|---|---|
//! | `Nothing` | SEND with content for a leg that may send | head with new paths and id to the sink | `Forward` |
//! | `Nothing` | the same, for a far end with exact chunks | it is gathered first | `Forward`, suspended |
//! | `Nothing` | the same, from a member of a room | it is gathered for the others | `Fan` |
//! | `Nothing` | the same, and the far leg or the sink is not to be had yet | head is kept, the source isn't read | `Nothing`, waiting |
//! | `Nothing` | SEND without content | – | `Swallow`, 200 |
//! | `Nothing` | SEND that is refused | – | `Swallow`, its code |
//! | `Nothing` | REPORT, NICKNAME, others, no body | whole frame to the sink | `Swallow`, silent |
//! | `Nothing` | response | its transaction ends | `Swallow`, silent |
//! | `Forward` | body | to the sink | `Forward` |
//! | `Forward` | more body than the far end wants in one chunk, or than its range says | end line with `+`, new head | `Forward` |
//! | `Forward` | more body than the source may send | end line with `#`, 413 to the source | `Swallow` |
//! | `Forward` | a response or report for the sink, range ends in `*` | end line with `+` | `Forward`, suspended |
//! | `Forward` | its quantum is used up and another source waits, range ends in `*` | end line with `+` | `Forward`, suspended |
//! | `Forward` | the same, range ends in a number | it waits for the end | `Forward` |
//! | `Forward` | the far end moves, range ends in `*` | end line with `+`; it goes on elsewhere | `Forward`, suspended |
//! | `Forward`, suspended | body | new head with the Byte-Range from here on | `Forward` |
//! | `Forward` | its own new end line occurs in the body | end line with `+`, new head | `Forward` |
//! | `Forward` | end | end line with the same flag, 200 to the source, 30 s begin when it has left | `Nothing` |
//! | `Forward` | 413 or another failure of it comes early | end line with `#`, code to the source | `Swallow` |
//! | `Forward` | source sends no more, source or leg is gone | end line with `#`, or an empty piece with it | – |
//! | `Forward` | sink is gone | – | `Swallow`, 481 |
//! | `Fan` | body, end | each piece to all who keep up, the others later | `Fan`, `Nothing` |
//! | `Swallow` | end | the answer, where one is due | `Nothing` |
//!
//! What belongs to one of these is told where it is done: `chunks` (how chunks are cut), `fan` (what
//! members of rooms send), `messages` (CPIM), `room`, `share` (how it gets to all), `clock` (when time begins), `bounds` (what a far end may ask for), `moves` (far ends
//! that move), `ending` (far ends that send no more), `sink` (who writes next), `trace`, `recording` (a copy for control).
//!
//! # How it is used
//!
//! The caller owns sockets and clock. It names legs ([`Connections::add_leg`]), joins them, tells
//! of connections ([`Connections::accept`], [`Connections::connected`], [`Connections::closed`])
//! and hands over what was read ([`Connections::receive`]); what is to be written comes back through
//! its [`Egress`]. In each cycle it calls [`Connections::sent`] first and
//! [`Connections::handle_timeout`] when [`Connections::poll_timeout`] says so, closes what
//! [`Connections::expired`] yields, and doesn't read a connection while it is
//! [`Connections::blocked`], and lets members of rooms catch up
//! ([`Connections::catch_up`]) while some are behind.
//!
//! # Who holds up whom
//!
//! A source isn't read while what waits for its sink is above the high mark. TCP is one stream, so
//! sessions that share a *source* connection share that fate, but only once
//! `limits::MSRP_SHARED_BYTES` wait for one of their sinks. Sessions that share a *sink* take turns
//! (deficit round robin, quantum `limits::MSRP_QUANTUM_BYTES`); a chunk with a numeric range is
//! never cut, and what it overran its turn by is made up for. A full sink holds up no source but
//! its own. A source whose far leg has no connection yet waits whole, with the sessions it shares
//! its connection with. In a room a source waits only where all others are behind (`room`); one of
//! them that has no connection yet counts for `limits::MSRP_AWAITED_MS` at most, and never where
//! the source shares its connection.
//!
//! # What is counted
//!
//! `msrp_acknowledged = msrp_delivered + msrp_reported + msrp_open` always holds. A SEND
//! counts as acknowledged once its last octet and its end line were handed over; one that had to be
//! cut counts once for every piece, one for many once for every piece and member. It is *open* until a response or its time's end; *delivered*
//! when answered with 2xx, when its Failure-Report is `no`, or is `partial` and nothing came in
//! time; *reported* when it failed and its sender was told by REPORT, if it was still there to be
//! told. Copies for members of a room that failed are reported to nobody: they count so, and as
//! `msrp_copies_failed`.

mod answer;
mod bounds;
mod carrier;
mod chunks;
mod clock;
mod compose;
mod connection;
mod counts;
mod ending;
mod fan;
mod hop;
mod legs;
mod messages;
mod moves;
mod nickname;
mod parking;
mod recording;
mod relay;
mod request;
mod room;
mod share;
mod sink;
mod trace;
mod track;
mod transactions;

pub use counts::MsrpFacts;
pub use legs::BoundLegs;
pub use recording::RecordingKey;
pub use room::{RoomKey, RoomRules};

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use self::carrier::{Carrier, Demand};
use self::connection::Connection;
use self::counts::Counts;
use self::hop::Hops;
pub use self::hop::NextHop;
use self::legs::{LegRef, Legs, Link};
use self::recording::Recordings;
use self::room::Rooms;
use self::trace::Trace;
use self::transactions::Transactions;
use crate::api::Direction;
use crate::limits::{MSRP_CONNECTIONS, MSRP_LEGS_PER_CONNECTION, MSRP_UNBOUND, MSRP_UNBOUND_MS};
use crate::stats::{DropReason, Stats};
use crate::wire::msrp::Shared;

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
    /// How far writing to a connection has come; by default all is written at once.
    fn progress(&self, _to: ConnectionKey) -> Written {
        Written::default()
    }
    /// Whether there is so little room for what is written that what may wait should.
    fn is_short(&self) -> bool {
        false
    }
}

/// Octets of a connection, counted from its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// That were handed over.
    pub handed_over: u64,
    /// Of those: that the kernel has.
    pub left: u64,
}

impl Written {
    /// Octets that wait.
    #[must_use]
    pub fn waiting(self) -> u64 {
        self.handed_over.saturating_sub(self.left)
    }
}

/// Every MSRP connection, leg and open transaction of one worker.
#[derive(Debug)]
pub struct Connections {
    places: Vec<Option<Connection>>,
    free: Vec<u32>,
    generation: u32,
    legs: Legs,
    transactions: Transactions,
    shared: Shared,
    random: StdRng,
    counts: Counts,
    /// The time of the latest call that told it.
    latest: Option<Instant>,
    /// Connections with transactions whose last octets have not left yet.
    leaving: VecDeque<ConnectionKey>,
    /// What is traced.
    trace: Option<Box<Trace>>,
    /// What is recorded.
    recordings: Recordings,
    /// Legs with a bound on their silence.
    watched: VecDeque<LegRef>,
    /// Legs that lost a connection that others still use.
    lost: VecDeque<LegKey>,
    /// Connections that waited and may go on.
    ready: VecDeque<ConnectionKey>,
    /// Connections bound to no leg, with their generation and since when; some are bound by now.
    unbound: VecDeque<(ConnectionKey, u32, Instant)>,
    /// Connections that broke the protocol while another one was being read.
    broken: VecDeque<ConnectionKey>,
    /// Where frames are put together.
    scratch: Vec<u8>,
    /// Octets that are kept for later on all connections.
    waiting_octets: usize,
    /// Buffers for what waits, not in use.
    spare: Vec<Vec<u8>>,
    /// The role of a relay between clients and relays.
    hops: Option<Box<Hops>>,
    rooms: Rooms,
}

impl Connections {
    /// Makes a relay without legs; `seed` is what its transaction ids are drawn from.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            generation: 0,
            legs: Legs::new(),
            transactions: Transactions::new(config.transactions, config.timeout),
            shared: Shared::default(),
            random: StdRng::seed_from_u64(seed),
            counts: Counts::default(),
            latest: None,
            leaving: VecDeque::new(),
            trace: None,
            recordings: Recordings::default(),
            watched: VecDeque::new(),
            lost: VecDeque::new(),
            ready: VecDeque::new(),
            unbound: VecDeque::new(),
            broken: VecDeque::new(),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            waiting_octets: 0,
            spare: Vec::new(),
            hops: None,
            rooms: Rooms::default(),
        }
    }

    /// Adds a leg; `None`: no more can be added, or its session-id is there already.
    pub fn add_leg(&mut self, leg: Leg<'_>) -> Option<LegKey> {
        self.legs.add(leg)
    }

    /// Joins the two legs of a stream: what comes from one goes to the other.
    pub fn join(&mut self, a: LegKey, b: LegKey) {
        for (leg, peer) in [(a, b), (b, a)] {
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.peer = Some(peer);
            }
        }
    }

    /// Says who is at the far end of a leg: its whole path, and our URI where the far end was
    /// told another than the leg's own.
    pub fn set_remote(&mut self, leg: LegKey, path: &str, local_path: Option<&str>) {
        self.legs.set_remote(leg, path, local_path);
        self.await_anew(leg);
        self.wake_source_of(leg);
    }

    /// Says what the far end of a leg may do; until then it may do both.
    pub fn set_direction(&mut self, leg: LegKey, may_send: bool, may_receive: bool) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.direction = Direction {
                may_send,
                may_receive,
            };
        }
    }

    /// Lets the SEND in flight finish and answers those that begin later with 481.
    pub fn freeze(&mut self, leg: LegKey) {
        if let Some(state) = self.legs.get_mut(leg) {
            state.frozen = true;
        }
        self.wake_source_of(leg);
    }

    /// Whether all that came from a leg is forwarded and answered.
    #[must_use]
    pub fn is_settled(&self, leg: LegKey) -> bool {
        let forward = self
            .connection_of(leg)
            .and_then(|key| self.connection(key)?.forward());
        let is_relaying = forward.is_some_and(|forward| forward.from.key == leg);
        let is_fanned = self.is_fanned_from(leg);
        let is_open = self.legs.get(leg).is_some_and(|state| state.open > 0);
        !(is_relaying || is_fanned || is_open) && self.is_settled_in_room(leg)
    }

    /// Reports the SENDs to a leg that wait for a response, with 481: it is going to be removed.
    pub fn report_open(&mut self, leg: LegKey, out: &mut impl Egress, stats: &mut Stats) {
        self.fail_open_of(leg, out);
        self.end_fan_of(leg, out);
        self.lost_in_room(leg, out);
        self.run_ready(out);
        self.counts.publish(stats);
    }

    /// Removes a leg. Its connection stays, and expires unless another leg is bound to it.
    ///
    /// A chunk that is being relayed from or to it is given up with `#` at the next call.
    pub fn remove_leg(&mut self, leg: LegKey) {
        self.leave_room(leg);
        let Some(mut state) = self.legs.remove(leg) else {
            return;
        };
        self.end_track(state.track.take());
        // Both sides' frames in flight are looked at again, at the next call that can write.
        let far = state.peer.and_then(|peer| self.connection_of(peer));
        self.wake(far);
        let Link::Bound(key) = state.link else {
            return;
        };
        self.wake(Some(key));
        self.unbind(key, leg);
    }

    /// Takes a leg off a connection's list.
    fn unbind(&mut self, key: ConnectionKey, leg: LegKey) {
        if let Some(connection) = self.connection_mut(key) {
            connection.legs.retain(|bound| *bound != leg);
            if connection.legs.is_empty() {
                let generation = connection.generation;
                if let Some(now) = self.latest {
                    self.unbound.push_back((key, generation, now));
                }
            }
        }
    }

    /// Adds a connection that was accepted, bound to no leg; `None`: no more can be added.
    pub fn accept(&mut self, now: Instant) -> Option<ConnectionKey> {
        self.latest = Some(now);
        if self.unbound.len() >= MSRP_UNBOUND {
            self.forget_bound();
            if self.unbound.len() >= MSRP_UNBOUND {
                return None;
            }
        }
        let key = self.add_connection()?;
        let generation = self.connection(key)?.generation;
        self.unbound.push_back((key, generation, now));
        Some(key)
    }

    /// Adds the connection that was made for a leg and sends the SEND that binds it; `None`: no
    /// more can be added, or the leg is gone or has a connection.
    pub fn connected(
        &mut self,
        now: Instant,
        leg: LegKey,
        out: &mut impl Egress,
    ) -> Option<ConnectionKey> {
        self.latest = Some(now);
        if matches!(self.legs.get(leg)?.link, Link::Bound(_)) {
            return None;
        }
        let key = self.add_connection()?;
        self.bind(key, leg);
        self.write_binding(key, leg, out);
        self.run_ready(out);
        Some(key)
    }

    /// Forgets a connection and says whose it was.
    ///
    /// Chunks that were being written to it are answered with 481; SENDs that wait for a response
    /// are reported; a chunk that was coming from it is given up with `#`. The counters are told at
    /// the next call that has them.
    pub fn closed(&mut self, connection: ConnectionKey, out: &mut impl Egress) -> BoundLegs {
        let legs = self.close(connection, out);
        self.run_ready(out);
        legs
    }

    /// Takes bytes of a connection, all of them.
    ///
    /// What can't be forwarded yet is kept, up to `limits::MSRP_PARKED_BYTES`, so reading must stop
    /// while [`Self::blocked`] says so.
    #[expect(
        clippy::too_many_arguments,
        reason = "time, bytes, where they go and what is counted: none can be left out"
    )]
    pub fn receive(
        &mut self,
        now: Instant,
        connection: ConnectionKey,
        bytes: &[u8],
        out: &mut impl Egress,
        stats: &mut Stats,
    ) -> Verdict {
        self.latest = Some(now);
        let fed = self.feed(connection, bytes, out);
        self.end_turn(connection, out);
        let verdict = match fed {
            Ok(()) => Verdict::Continue,
            Err(why) => {
                self.counts.drop(why);
                Verdict::Close(why)
            }
        };
        self.run_ready(out);
        self.counts.publish(stats);
        self.publish_hops(stats);
        verdict
    }

    /// The first leg that is bound to a connection.
    #[must_use]
    pub fn bound_leg(&self, connection: ConnectionKey) -> Option<LegKey> {
        self.connection(connection)?.legs.first().copied()
    }

    /// The connection that a leg is bound to.
    #[must_use]
    pub fn connection_of(&self, leg: LegKey) -> Option<ConnectionKey> {
        match self.legs.get(leg)?.link {
            Link::Bound(connection) => Some(connection),
            Link::Awaited | Link::Lost => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Egress, stats: &mut Stats) {
        self.latest = Some(now);
        self.run_ready(out);
        while let Some(ticket) = self.transactions.overdue(now) {
            self.time_out(ticket, now, out);
        }
        self.forget_bound_at_front();
        self.hop_timeouts(now);
        self.run_ready(out);
        self.write_behind(out);
        self.publish_hops(stats);
        self.counts.publish(stats);
    }

    /// When [`Self::handle_timeout`], and then [`Self::expired`], want to be called next; may be in
    /// the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !(self.ready.is_empty() && self.broken.is_empty()) || self.rooms.is_hurried {
            return self.latest;
        }
        let unbound = self
            .unbound
            .front()
            .and_then(|(_, _, since)| since.checked_add(Duration::from_millis(MSRP_UNBOUND_MS)));
        [
            self.transactions.next_deadline(),
            unbound,
            self.rooms.gives_up,
            self.hop_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What came from a leg so far.
    #[must_use]
    pub fn facts(&self, leg: LegKey) -> MsrpFacts {
        self.legs.get(leg).map(|leg| leg.facts).unwrap_or_default()
    }

    /// Yields, one at a time, connections that the caller must close now: those that broke the
    /// protocol while another one was read, and those unbound for `limits::MSRP_UNBOUND_MS`.
    pub fn expired(&mut self, now: Instant) -> Option<ConnectionKey> {
        if let Some(broken) = self.broken.pop_front() {
            return Some(broken);
        }
        self.forget_bound_at_front();
        let (key, _, since) = *self.unbound.front()?;
        let limit = Duration::from_millis(MSRP_UNBOUND_MS);
        if now.saturating_duration_since(since) < limit {
            return None;
        }
        self.unbound.pop_front();
        Some(key)
    }

    fn add_connection(&mut self) -> Option<ConnectionKey> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < MSRP_CONNECTIONS => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        self.generation = self.generation.wrapping_add(1);
        *self.places.get_mut(place as usize)? = Some(Connection::new(self.generation));
        Some(ConnectionKey(place))
    }

    /// Binds a leg to a connection; false: the connection has too many.
    fn bind(&mut self, key: ConnectionKey, leg: LegKey) -> bool {
        let Some(connection) = self.connection_mut(key) else {
            return false;
        };
        if connection.legs.len() >= MSRP_LEGS_PER_CONNECTION {
            return false;
        }
        connection.legs.push(leg);
        if let Some(state) = self.legs.get_mut(leg) {
            state.link = Link::Bound(key);
            state.is_moved = false;
        }
        self.await_anew(leg);
        self.wake_source_of(leg);
        true
    }

    fn forget_bound(&mut self) {
        let mut unbound = std::mem::take(&mut self.unbound);
        unbound.retain(|entry| self.is_unbound(*entry));
        self.unbound = unbound;
    }

    fn forget_bound_at_front(&mut self) {
        while let Some(front) = self.unbound.front() {
            if self.is_unbound(*front) {
                return;
            }
            self.unbound.pop_front();
        }
    }

    fn is_unbound(&self, (key, generation, _): (ConnectionKey, u32, Instant)) -> bool {
        self.connection(key)
            .is_some_and(|state| state.generation == generation && state.legs.is_empty())
            && !self.is_used_by_role(key)
    }

    fn connection(&self, key: ConnectionKey) -> Option<&Connection> {
        self.places.get(key.0 as usize)?.as_ref()
    }

    fn connection_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.places.get_mut(key.0 as usize)?.as_mut()
    }
}

/// A head with both paths at their longest, and room to spare.
const SCRATCH_BYTES: usize = 4 * crate::limits::MSRP_HEAD_BYTES;

#[cfg(test)]
mod tests;
