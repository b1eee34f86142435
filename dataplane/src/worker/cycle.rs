//! The duty cycle: orders, receive, relay, send, timers; housekeeping seldom.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

use crate::api::{Config, MsrpListen, Side, WorkerEnd};
use crate::frame::{Class, Frame, Pool};
use crate::limits::{
    HOUSEKEEPING_MS, MSRP_LEAVING_PER_CYCLE, RECORDS_AGAIN_MS, RX_BATCH, SESSIONS_PER_WORKER,
    SWEEP_TICKS, TX_BATCH,
};
use crate::net::{Backend, RxBatch, RxItem, SocketId, Token, TxBatch};
use crate::pipeline::Path;
use crate::session::{Mark, Owner, Ports, Roads, Rooms, Sessions, SlotRef, Streams};
use crate::stats::{Board, DropReason, Stats};

use super::closing::Closings;
use super::layer::Kit;
use super::msrp::Msrp;
use super::release::Drain;
use super::rooms::Ticks;

/// What a worker is made with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The settings that all workers share.
    pub config: &'a Config,
    /// Which worker it is, from 0.
    pub number: usize,
    /// Its end of the link to control.
    pub link: WorkerEnd,
    /// Where it publishes its counters.
    pub board: Board,
}

/// One worker: its sockets, its frames, its sessions. Shares nothing with the others.
pub struct Worker<B: Backend> {
    pub(super) backend: B,
    pub(super) pool: Pool,
    pub(super) link: WorkerEnd,
    pub(super) stats: Stats,
    pub(super) sessions: Sessions,
    pub(super) streams: Streams,
    pub(super) rooms: Rooms,
    pub(super) roads: Roads,
    pub(super) ticks: Ticks,
    pub(super) ports: Ports,
    pub(super) tx: TxBatch,
    pub(super) drains: Vec<Drain>,
    /// Byte connections that got bytes in this batch.
    pub(super) touched: Vec<(SlotRef, Side)>,
    /// Byte connections that end once they are written.
    pub(super) endings: Vec<(SlotRef, Side)>,
    pub(super) closings: Closings,
    pub(super) msrp: Msrp,
    pub(super) random: StdRng,
    board: Board,
    rx: RxBatch,
    housekeeping_at: Instant,
    sweep_from: usize,
    pub(super) drains_at: Instant,
}

impl<B: Backend> Worker<B> {
    /// Makes a worker and binds its MSRP listeners.
    ///
    /// # Errors
    ///
    /// When a listener can't be bound or has no identity, or the system gives no random numbers.
    pub fn new(setup: Setup<'_>, backend: B, pool: Pool, now: Instant) -> io::Result<Self> {
        let Setup {
            config,
            number,
            link,
            board,
        } = setup;
        let mut random = match config.seed {
            Some(seed) => StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            None => StdRng::try_from_rng(&mut SysRng).map_err(io::Error::other)?,
        };
        let mut worker = Self {
            backend,
            pool,
            link,
            stats: Stats::default(),
            sessions: Sessions::new(SESSIONS_PER_WORKER),
            streams: Streams::new(),
            rooms: Rooms::default(),
            roads: Roads::default(),
            ticks: Ticks::new(now, random.random()),
            ports: Ports::new(config, number),
            tx: TxBatch {
                items: Vec::with_capacity(TX_BATCH + RX_BATCH),
                failed: 0,
            },
            drains: Vec::new(),
            touched: Vec::with_capacity(RX_BATCH),
            endings: Vec::new(),
            closings: Closings::default(),
            msrp: Msrp::new(random.random(), Kit::new(config)?),
            random,
            board,
            rx: RxBatch {
                items: Vec::with_capacity(RX_BATCH),
                ..RxBatch::default()
            },
            housekeeping_at: now,
            sweep_from: 0,
            drains_at: now,
        };
        worker.listen_for_msrp(config, number)?;
        worker.become_relay(config);
        worker.publish(now);
        Ok(worker)
    }

    /// Where it listens for MSRP.
    #[must_use]
    pub fn msrp_listen(&self) -> Vec<MsrpListen> {
        let listeners = self.msrp.listeners.iter();
        listeners.map(|(_, listen)| *listen).collect()
    }

    /// Its end of the link.
    #[must_use]
    pub fn link(&self) -> &WorkerEnd {
        &self.link
    }

    /// Runs one cycle and says how many orders and items it found.
    pub fn cycle(&mut self, now: Instant) -> usize {
        self.stats.cycles += 1;
        // First of all, so that what is found to have left has left before `now`.
        let at_most = if now >= self.housekeeping_at {
            usize::MAX
        } else {
            MSRP_LEAVING_PER_CYCLE
        };
        self.msrp_sent(now, at_most);
        self.take_late_handshakes(now);
        let orders = self.take_orders(now);
        self.flush();
        let items = self.receive(now) + self.take_parcels(now);
        self.flush();
        self.hold_back(now);
        self.handle_timeouts(now);
        self.flush();
        orders + items
    }

    /// How long nothing has to be done if nothing comes.
    #[must_use]
    pub fn idle_for(&self, now: Instant) -> Duration {
        let mut next = self.housekeeping_at;
        if !self.drains.is_empty() {
            next = next.min(self.drains_at);
        }
        let timers = [
            self.ticks.next_deadline(),
            self.msrp.relay.poll_timeout(),
            self.msrp.handshakes.next_deadline(now),
            self.closings.next_deadline(),
        ];
        for at in timers.into_iter().flatten() {
            next = next.min(at);
        }
        if self.msrp.relay.has_records() {
            // Control doesn't ring when it has taken some.
            next = next.min(now + Duration::from_millis(RECORDS_AGAIN_MS));
        }
        next.saturating_duration_since(now)
    }

    /// Sleeps until there is something to do.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn sleep(&mut self, now: Instant) -> io::Result<()> {
        let idle = self.idle_for(now);
        if idle.is_zero() {
            return Ok(());
        }
        self.stats.sleeps += 1;
        self.link.bell().about_to_sleep();
        let waited = if self.roads.has_parcels() {
            Ok(())
        } else if self.link.is_empty() {
            self.backend.wait(idle)
        } else if self.takes_orders() {
            Ok(())
        } else {
            // Control doesn't take its news; it doesn't ring when it does.
            self.backend.wait(idle.min(Duration::from_millis(1)))
        };
        self.link.bell().awake();
        waited
    }

    /// Closes every socket.
    pub fn shut_down(&mut self, now: Instant) {
        for index in 0..self.streams.slots() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let slot = self.streams.slot_ref(index);
            if self.streams.find(slot).is_some() {
                self.free_stream(now, slot);
            }
        }
        self.close_all_msrp();
        self.close_all_closings();
        self.publish(now);
    }

    pub(super) fn receive(&mut self, now: Instant) -> usize {
        let mut rx = std::mem::take(&mut self.rx);
        self.backend.receive(&mut rx, &mut self.pool);
        let count = rx.items.len();
        for item in rx.items.drain(..) {
            self.take_item(now, item);
        }
        let too_long = std::mem::take(&mut rx.truncated);
        self.stats.drop_many(DropReason::TooLong, too_long);
        self.stats.full_pool += std::mem::take(&mut rx.starved);
        self.rx = rx;
        count
    }

    fn take_item(&mut self, now: Instant, item: RxItem) {
        match item {
            RxItem::Datagram {
                token, from, frame, ..
            } if Mark(token.0).is_bfcp() => {
                if let Some(Owner::Bfcp(slot)) = Mark(token.0).owner() {
                    self.bfcp_datagram(now, slot, from, frame);
                }
            }
            RxItem::Datagram {
                token,
                from,
                frame,
                waited,
            } => {
                if let Some(input) = self.path(now).datagram(token, from, frame) {
                    self.room_received((now, waited), input);
                }
            }
            RxItem::Bytes { token, frame, .. } => self.take_bytes(now, token, frame),
            RxItem::Passed { token, octets, .. } => self.take_passed(token, octets),
            RxItem::Accepted {
                token,
                socket,
                peer,
            } => self.take_accepted(now, token, socket, peer),
            RxItem::Connected { token, .. } => self.take_connected(now, token),
            RxItem::Ended { token, .. } => self.take_ended(now, token),
            RxItem::Closed { token, .. } => self.take_closed(now, token),
            RxItem::Drained { token, .. } => self.take_drained(now, token),
        }
        if self.tx.items.len() >= TX_BATCH {
            self.send();
        }
    }

    fn take_bytes(&mut self, now: Instant, token: Token, frame: Frame) {
        match Mark(token.0).owner() {
            Some(Owner::BytesConnection(slot, side)) => self.bytes_received(now, slot, side, frame),
            Some(Owner::MsrpConnection(slot)) => self.msrp_received(now, slot, frame),
            Some(Owner::BfcpConnection(slot)) => self.bfcp_received(now, slot, frame),
            Some(Owner::Closing(_)) => self.pool.give(frame),
            Some(
                Owner::Rtp(..)
                | Owner::BytesListener(..)
                | Owner::MsrpListener(_)
                | Owner::Bfcp(_)
                | Owner::BfcpListener(_),
            )
            | None => {
                self.stats.drop(DropReason::NoLeg);
                self.pool.give(frame);
            }
        }
    }

    fn take_passed(&mut self, token: Token, octets: usize) {
        if let Some(Owner::BytesConnection(slot, side)) = Mark(token.0).owner() {
            self.bytes_passed(slot, side, octets);
        }
    }

    fn take_accepted(&mut self, now: Instant, token: Token, socket: SocketId, peer: SocketAddr) {
        self.stats.sockets += 1;
        match Mark(token.0).owner() {
            Some(Owner::BytesListener(slot, side)) => self.bytes_accepted(slot, side, socket, peer),
            Some(Owner::MsrpListener(transport)) => {
                self.msrp_accepted(now, transport, (socket, peer));
            }
            Some(Owner::BfcpListener(slot)) => self.bfcp_accepted(now, slot, (socket, peer)),
            Some(
                Owner::Rtp(..)
                | Owner::BytesConnection(..)
                | Owner::MsrpConnection(_)
                | Owner::Bfcp(_)
                | Owner::BfcpConnection(_)
                | Owner::Closing(_),
            )
            | None => self.close_socket(socket),
        }
    }

    fn take_connected(&mut self, now: Instant, token: Token) {
        match Mark(token.0).owner() {
            Some(Owner::BytesConnection(slot, side)) => self.bytes_connected(slot, side),
            Some(Owner::MsrpConnection(slot)) => self.msrp_connected(now, slot),
            Some(Owner::BfcpConnection(slot)) => self.bfcp_connected(now, slot),
            Some(
                Owner::Rtp(..)
                | Owner::BytesListener(..)
                | Owner::MsrpListener(_)
                | Owner::Bfcp(_)
                | Owner::BfcpListener(_)
                | Owner::Closing(_),
            )
            | None => {}
        }
    }

    fn take_ended(&mut self, now: Instant, token: Token) {
        match Mark(token.0).owner() {
            Some(Owner::BytesConnection(slot, side)) => self.bytes_ended(now, slot, side),
            Some(Owner::MsrpConnection(slot)) => self.msrp_ended(now, slot),
            Some(Owner::BfcpConnection(slot)) => self.bfcp_ended(now, slot),
            // Its own half ends, and that it has is told when both have.
            Some(Owner::Closing(_)) => {}
            Some(
                Owner::Rtp(..)
                | Owner::BytesListener(..)
                | Owner::MsrpListener(_)
                | Owner::Bfcp(_)
                | Owner::BfcpListener(_),
            )
            | None => {}
        }
    }

    fn take_closed(&mut self, now: Instant, token: Token) {
        match Mark(token.0).owner() {
            Some(Owner::BytesConnection(slot, side)) => self.bytes_lost(now, slot, side),
            Some(Owner::MsrpConnection(slot)) => self.msrp_lost(slot),
            Some(Owner::BfcpConnection(slot)) => self.bfcp_lost(now, slot),
            Some(Owner::Closing(place)) => self.closing_closed(place),
            Some(
                Owner::Rtp(..)
                | Owner::BytesListener(..)
                | Owner::MsrpListener(_)
                | Owner::Bfcp(_)
                | Owner::BfcpListener(_),
            )
            | None => {}
        }
    }

    fn take_drained(&mut self, now: Instant, token: Token) {
        match Mark(token.0).owner() {
            Some(Owner::BytesConnection(slot, side)) => self.bytes_drained(now, slot, side),
            // Whoever waits for it is looked at when the batch ends.
            Some(Owner::MsrpConnection(_) | Owner::BfcpConnection(_) | Owner::Closing(_)) => {}
            Some(
                Owner::Rtp(..)
                | Owner::BytesListener(..)
                | Owner::MsrpListener(_)
                | Owner::Bfcp(_)
                | Owner::BfcpListener(_),
            )
            | None => {}
        }
    }

    /// After a batch: sources whose sink has enough are no longer read, others are read again.
    pub(super) fn hold_back(&mut self, now: Instant) {
        self.bytes_hold_back();
        self.msrp_hold_back(now);
    }

    fn handle_timeouts(&mut self, now: Instant) {
        self.tick_rooms(now);
        self.msrp_timeouts(now);
        self.finish_closings(now);
        if !self.drains.is_empty() && now >= self.drains_at {
            self.finish_drains(now);
        }
        if now >= self.housekeeping_at {
            self.housekeeping_at = now + Duration::from_millis(HOUSEKEEPING_MS);
            self.housekeeping(now);
        }
    }

    fn housekeeping(&mut self, now: Instant) {
        self.finish_endings(now);
        self.msrp_housekeeping(now);
        self.count_rooms();
        self.look_at_roads();
        self.sweep(now);
        self.publish(now);
    }

    /// Looks at a part of the streams; all of them in [`SWEEP_TICKS`] ticks.
    fn sweep(&mut self, now: Instant) {
        let slots = self.streams.slots();
        let from = if self.sweep_from < slots {
            self.sweep_from
        } else {
            0
        };
        let to = slots.min(from + slots.div_ceil(SWEEP_TICKS));
        for index in from..to {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let slot = self.streams.slot_ref(index);
            self.tie_sockets(now, slot);
            self.look_at(now, slot);
        }
        self.sweep_from = to;
    }

    fn publish(&mut self, now: Instant) {
        self.stats.sessions = self.sessions.len() as u64;
        self.stats.rooms = self.rooms.len() as u64;
        self.stats.roads = self.roads.len() as u64;
        self.stats.ports_free = self.ports.free(now) as u64;
        self.stats.ports_total = self.ports.total() as u64;
        self.stats.frames_free = self.pool.free(Class::Datagram) as u64;
        self.stats.stream_frames_free = self.pool.free(Class::Stream) as u64;
        self.msrp.relay.publish_recordings(&mut self.stats);
        self.stats.orders_waiting = self.link.waiting() as u64;
        self.board.store(&self.stats);
    }

    pub(super) fn path(&mut self, now: Instant) -> Path<'_> {
        Path {
            now,
            streams: &mut self.streams,
            pool: &mut self.pool,
            tx: &mut self.tx,
            stats: &mut self.stats,
        }
    }

    /// Hands everything that is to be sent to the kernel, and what was recorded to control.
    pub(super) fn flush(&mut self) {
        self.msrp_flush();
        self.send();
        self.roads.flush();
        self.hand_over_records();
    }

    pub(super) fn send(&mut self) {
        if !self.tx.items.is_empty() {
            self.backend.send(&mut self.tx, &mut self.pool);
        }
        let failed = std::mem::take(&mut self.tx.failed);
        if failed > 0 {
            self.stats.datagrams_out = self.stats.datagrams_out.saturating_sub(failed);
            self.stats.drop_many(DropReason::SendFailed, failed);
        }
    }

    /// Closes a socket, after what was meant for it has been handed over.
    pub(super) fn close_socket(&mut self, socket: SocketId) {
        if !self.tx.items.is_empty() {
            self.send();
        }
        self.backend.close(socket, &mut self.pool);
        self.stats.sockets = self.stats.sockets.saturating_sub(1);
    }
}
