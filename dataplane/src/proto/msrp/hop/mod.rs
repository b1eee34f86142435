//! The role of a relay between clients and other relays (RFC 4976).
//!
//! A client authenticates and is given a URI, its Use-Path. Requests whose To-Path begins with that
//! URI go one hop further: the URI moves from To-Path to From-Path and the rest is as for sessions.
//!
//! ```text
//!              AUTH ─▶ 401, AUTH ─▶ 200 Use-Path
//! client ═══════════════ relay ═════════════════ anyone
//!   │                      │                        │
//!   │ To: ours, any        │ To: any                │
//!   │ From: client ──────▶ │ From: ours, client ──▶ │   only on the client's own connection
//!   │                      │                        │
//!   │ To: client           │ To: ours, client       │
//!   │ From: ours, any ◀─── │ ◀────────── From: any  │   from whatever connection
//! ```
//!
//! Everything else is refused: a path that ends here, or goes on to somebody who isn't the URI's
//! client, with 403; a URI that was not given out, has expired or whose client has gone, with 481;
//! a next hop that can't be reached, with 481 as well. Next hops are named by address; a host name
//! is one that can't be reached, as a worker looks up no names.
//!
//! The first request with a To-Path and a From-Path makes a flow: two joined legs, one whose far end
//! is the whole From-Path and one whose far end is what is left of the To-Path. From there on the
//! relay of sessions does its work: chunks pass as they come, 200 at once, reports of what fails
//! later, a response to any other request on its way back. SENDs without content go on to the far
//! end too, as they may be what it waits for.

mod auth;
mod digest;
mod flows;
mod next;
mod nonce;
mod paths;
mod side;
mod way;

pub use self::next::NextHop;

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::flows::Flows;
use self::next::NextHops;
use self::nonce::Nonces;
use self::paths::UsePaths;
use self::side::Side;
use super::{ConnectionKey, Connections, Egress};
use crate::api::{MsrpListen, RelayRole};
use crate::stats::Stats;

/// What the role needs.
#[derive(Debug)]
pub(super) struct Hops {
    role: RelayRole,
    random: StdRng,
    nonces: Nonces,
    /// What there is of each connection, in the places of the connections.
    sides: Vec<Option<Side>>,
    paths: UsePaths,
    flows: Flows,
    next: NextHops,
    /// Connections that end when they are idle: which, its generation, when to look again.
    idle: VecDeque<(ConnectionKey, u32, Instant)>,
    counts: HopCounts,
}

#[derive(Debug, Default)]
struct HopCounts {
    accepted: u64,
    refused: u64,
    full: u64,
}

impl Hops {
    /// A session-id: 160 random bits.
    fn new_id(&mut self) -> [u8; 32] {
        let mut id = [0; 32];
        for character in &mut id {
            let digit = self.random.random_range(0..ID_ALPHABET.len());
            *character = ID_ALPHABET.get(digit).copied().unwrap_or(b'0');
        }
        id
    }

    fn publish(&mut self, stats: &mut Stats) {
        stats.msrp_auths += mem::take(&mut self.counts.accepted);
        stats.msrp_auths_refused += mem::take(&mut self.counts.refused);
        stats.full_msrp_relay += mem::take(&mut self.counts.full);
        stats.msrp_use_paths = self.paths.len() as u64;
        stats.msrp_next_hops = self.next.len() as u64;
    }
}

impl Connections {
    /// Takes the role of a relay for clients; `seed` is what paths and nonces are drawn from.
    pub fn become_relay(&mut self, role: RelayRole, seed: [u8; 32]) {
        let mut random = StdRng::from_seed(seed);
        let key = random.random();
        let nonces = Nonces::new(key, role.nonce_lifetime);
        self.hops = Some(Box::new(Hops {
            role,
            random,
            nonces,
            sides: Vec::new(),
            paths: UsePaths::default(),
            flows: Flows::default(),
            next: NextHops::default(),
            idle: VecDeque::new(),
            counts: HopCounts::default(),
        }));
    }

    /// Says where a connection was accepted; AUTH is taken only from those it was said of.
    pub fn accepted_at(&mut self, connection: ConnectionKey, listen: MsrpListen) {
        let Some(now) = self.latest else {
            return;
        };
        if let Some(side) = self.side_or_new(connection, now) {
            side.listen = Some(listen);
        }
    }

    /// Yields, one at a time, connections that the caller must make; it says of each
    /// [`Self::next_hop_connected`] or [`Self::closed`].
    pub fn wanted(&mut self) -> Option<NextHop> {
        self.hops.as_mut()?.next.wanted.pop_front()
    }

    /// A connection that was [`Self::wanted`] is made.
    pub fn next_hop_connected(
        &mut self,
        now: Instant,
        connection: ConnectionKey,
        out: &mut impl Egress,
    ) {
        self.latest = Some(now);
        let is_awaited = self
            .hops
            .as_mut()
            .is_some_and(|hops| hops.next.open(connection));
        if is_awaited {
            self.bind_flows(connection);
            self.run_ready(out);
        }
    }

    /// Ends what took too long or lies idle.
    pub(super) fn hop_timeouts(&mut self, now: Instant) {
        while let Some(key) = self.next_overdue(now) {
            self.broken.push_back(key);
        }
    }

    /// Tells what was counted.
    pub(super) fn publish_hops(&mut self, stats: &mut Stats) {
        if let Some(hops) = &mut self.hops {
            hops.publish(stats);
        }
    }

    /// When [`Self::hop_timeouts`] wants to be called next.
    pub(super) fn hop_deadline(&self) -> Option<Instant> {
        let hops = self.hops.as_ref()?;
        let connecting = hops.next.connecting.front().map(|(_, until)| *until);
        let idle = hops.idle.front().map(|(_, _, at)| *at);
        [connecting, idle].into_iter().flatten().min()
    }

    fn next_overdue(&mut self, now: Instant) -> Option<ConnectionKey> {
        let hops = self.hops.as_mut()?;
        if let Some((key, _)) = hops
            .next
            .connecting
            .pop_front_if(|(_, until)| *until <= now)
        {
            return Some(key);
        }
        loop {
            let hops = self.hops.as_mut()?;
            let (key, generation, _) = hops.idle.pop_front_if(|(_, _, at)| *at <= now)?;
            let Some(again) = self.idle_until(key, generation, now) else {
                continue;
            };
            if again <= now {
                return Some(key);
            }
            let idle = &mut self.hops.as_mut()?.idle;
            let place = idle.partition_point(|(_, _, at)| *at <= again);
            idle.insert(place, (key, generation, again));
        }
    }
}

/// What session-ids are made of: five bits a character.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
