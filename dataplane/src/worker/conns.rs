//! The table of MSRP connections, and how the protocol's machine writes to them.
//!
//! Small writes are gathered in one frame per connection until it is full or the batch ends.

use std::net::SocketAddr;

use crate::api::Side;
use crate::frame::{Class, Frame, Pool};
use crate::limits::{MSRP_CONNECTIONS, STREAM_FRAME_BYTES, STREAM_QUEUE_HIGH_BYTES};
use crate::net::{Backend, SocketId, TxBatch, TxItem};
use crate::proto::msrp::{ConnectionKey, Egress, Written};
use crate::session::SlotRef;

use super::layer::{Kit, Layer};

/// A connection and what is being written to it.
pub(super) struct Conn {
    pub(super) socket: SocketId,
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    pub(super) layer: Layer,
    pub(super) reading: bool,
    /// Whether its handshake waits for the next cycle.
    pub(super) is_late: bool,
    /// Whether bytes for it were lost; it is written to no more and closed after the batch.
    pub(super) is_broken: bool,
    /// Whether the far end still sends.
    pub(super) input: Input,
    /// The frame that small writes are gathered in.
    pub(super) building: Option<Frame>,
    /// Octets written since the batch numbered `batch` began.
    pub(super) unsent: usize,
    pub(super) batch: u64,
    /// Octets written since it began.
    pub(super) written: u64,
}

/// The half of a connection that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// The far end may send.
    Open,
    /// The far end has ended it, and may still read.
    Ended,
}

/// What a connection is for.
#[derive(Clone, Copy)]
pub(super) enum State {
    /// It is being made, for a leg.
    Connecting(SlotRef, Side),
    /// Its layer's handshake is going on; the leg is the one that it was made for.
    Handshaking(Option<(SlotRef, Side)>),
    /// It is being made, to a next hop that the relay asked for.
    HopConnecting(ConnectionKey),
    /// The same, and its layer's handshake is going on.
    HopHandshaking(ConnectionKey),
    /// The relay knows it.
    Open(ConnectionKey),
}

impl State {
    /// What the relay calls it.
    pub(super) fn key(self) -> Option<ConnectionKey> {
        match self {
            Self::Open(key) | Self::HopConnecting(key) | Self::HopHandshaking(key) => Some(key),
            Self::Connecting(..) | Self::Handshaking(_) => None,
        }
    }

    /// Whether its socket isn't connected yet.
    pub(super) fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting(..) | Self::HopConnecting(_))
    }

    /// Whether its layer isn't ready yet.
    pub(super) fn is_handshaking(self) -> bool {
        matches!(self, Self::Handshaking(_) | Self::HopHandshaking(_))
    }
}

/// The table of connections.
pub(super) struct Conns {
    pub(super) slots: Vec<(u32, Option<Conn>)>,
    pub(super) free: Vec<u32>,
    pub(super) by_key: Vec<Option<u32>>,
    /// Those whose `building` isn't empty.
    pub(super) dirty: Vec<u32>,
    /// Those that lost bytes, as no frame was free.
    pub(super) broken: Vec<SlotRef>,
    pub(super) batch: u64,
    pub(super) bytes_out: u64,
    pub(super) kit: Kit,
}

impl Conns {
    pub(super) fn new(kit: Kit) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: Vec::new(),
            dirty: Vec::new(),
            broken: Vec::new(),
            batch: 0,
            bytes_out: 0,
            kit,
        }
    }

    pub(super) fn add(&mut self, conn: Conn) -> Option<SlotRef> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MSRP_CONNECTIONS => {
                self.slots.push((0, None));
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let place = self.slots.get_mut(index as usize)?;
        place.1 = Some(conn);
        Some(SlotRef {
            index,
            generation: place.0,
        })
    }

    pub(super) fn find(&self, slot: SlotRef) -> Option<&Conn> {
        let place = self.slots.get(slot.index as usize)?;
        place.1.as_ref().filter(|_| place.0 == slot.generation)
    }

    pub(super) fn find_mut(&mut self, slot: SlotRef) -> Option<&mut Conn> {
        let place = self.slots.get_mut(slot.index as usize)?;
        place.1.as_mut().filter(|_| place.0 == slot.generation)
    }

    /// A connection, and what its layer shares with others.
    pub(super) fn with_kit(&mut self, slot: SlotRef) -> Option<(&mut Conn, &mut Kit)> {
        let place = self.slots.get_mut(slot.index as usize)?;
        let conn = place.1.as_mut().filter(|_| place.0 == slot.generation)?;
        Some((conn, &mut self.kit))
    }

    pub(super) fn remove(&mut self, slot: SlotRef) -> Option<Conn> {
        let place = self.slots.get_mut(slot.index as usize)?;
        if place.0 != slot.generation {
            return None;
        }
        let conn = place.1.take()?;
        place.0 = slot.next_generation();
        self.free.push(slot.index);
        if let Some(key) = conn.state.key()
            && let Some(place) = self.by_key.get_mut(key.0 as usize)
        {
            *place = None;
        }
        Some(conn)
    }

    /// Every connection there is.
    pub(super) fn all(&self) -> Vec<SlotRef> {
        let slots = (0..).zip(&self.slots);
        slots
            .filter(|(_, (_, conn))| conn.is_some())
            .map(|(index, (generation, _))| SlotRef {
                index,
                generation: *generation,
            })
            .collect()
    }

    pub(super) fn name(&mut self, key: ConnectionKey, slot: SlotRef) {
        let at = key.0 as usize;
        if self.by_key.len() <= at && at < MSRP_CONNECTIONS {
            self.by_key.resize(at + 1, None);
        }
        if let Some(place) = self.by_key.get_mut(at) {
            *place = Some(slot.index);
        }
        if let Some(conn) = self.find_mut(slot) {
            conn.state = State::Open(key);
        }
    }

    pub(super) fn slot_of(&self, key: ConnectionKey) -> Option<SlotRef> {
        let index = self.by_key.get(key.0 as usize).copied().flatten()?;
        let generation = self.slots.get(index as usize)?.0;
        Some(SlotRef { index, generation })
    }
}

/// Where the relay writes.
pub(super) struct Out<'a, B> {
    pub(super) backend: &'a mut B,
    pub(super) pool: &'a mut Pool,
    pub(super) tx: &'a mut TxBatch,
    pub(super) conns: &'a mut Conns,
    /// A connection that the relay is about to name by writing to it.
    pub(super) unnamed: Option<SlotRef>,
}

impl<B: Backend> Egress for Out<'_, B> {
    fn write(&mut self, to: ConnectionKey, mut bytes: &[u8]) {
        if let Some(slot) = self.unnamed.take() {
            self.conns.name(to, slot);
        }
        let Some(slot) = self.conns.slot_of(to) else {
            return;
        };
        let Conns {
            slots,
            dirty,
            broken,
            batch,
            bytes_out,
            kit,
            ..
        } = &mut *self.conns;
        let place = slots.get_mut(slot.index as usize);
        let conn = place.and_then(|place| place.1.as_mut());
        let Some(conn) = conn.filter(|conn| !conn.is_broken) else {
            return;
        };
        conn.count(*batch, bytes.len());
        while !bytes.is_empty() {
            let mut frame = match conn.building.take() {
                Some(frame) => frame,
                None => match self.pool.take(Class::Stream) {
                    Some(frame) => {
                        dirty.push(slot.index);
                        frame
                    }
                    None => {
                        conn.is_broken = true;
                        broken.push(slot);
                        return;
                    }
                },
            };
            let count = conn.layer.append(self.pool, &mut frame, bytes, kit);
            bytes = bytes.get(count..).unwrap_or_default();
            if bytes.is_empty() {
                conn.building = Some(frame);
                return;
            }
            if !conn.layer.finish(self.pool, &mut frame, kit) {
                self.pool.give(frame);
                conn.is_broken = true;
                broken.push(slot);
                return;
            }
            let socket = conn.socket;
            *bytes_out += frame.len() as u64;
            self.tx.items.push(TxItem::Bytes { socket, frame });
        }
    }

    fn is_full(&self, to: ConnectionKey) -> bool {
        let conn = self
            .conns
            .slot_of(to)
            .and_then(|slot| self.conns.find(slot));
        conn.is_some_and(|conn| {
            let waiting = self.backend.queued(conn.socket) + conn.unsent_in(self.conns.batch);
            waiting > STREAM_QUEUE_HIGH_BYTES
        })
    }

    fn progress(&self, to: ConnectionKey) -> Written {
        let conn = self
            .conns
            .slot_of(to)
            .and_then(|slot| self.conns.find(slot));
        let Some(conn) = conn else {
            return Written::default();
        };
        let waiting = self.backend.queued(conn.socket) + conn.unsent_in(self.conns.batch);
        Written {
            handed_over: conn.written,
            left: conn.written.saturating_sub(waiting as u64),
        }
    }

    fn is_short(&self) -> bool {
        // Half of the frames are for what can't wait.
        let (free, total) = (
            self.pool.free(Class::Stream),
            self.pool.total(Class::Stream),
        );
        free < total / 2
    }
}

impl Conn {
    /// Makes a connection that is read and that nothing was written to.
    pub(super) fn new(socket: SocketId, peer: SocketAddr, state: State, layer: Layer) -> Self {
        Self {
            socket,
            peer,
            state,
            layer,
            reading: true,
            is_late: false,
            is_broken: false,
            input: Input::Open,
            building: None,
            unsent: 0,
            batch: 0,
            written: 0,
        }
    }

    fn unsent_in(&self, batch: u64) -> usize {
        if self.batch == batch { self.unsent } else { 0 }
    }

    fn count(&mut self, batch: u64, bytes: usize) {
        self.unsent = self.unsent_in(batch) + bytes;
        self.written += bytes as u64;
        self.batch = batch;
    }
}

impl<B: Backend> Out<'_, B> {
    /// Moves the frames that were gathered to what is sent next.
    pub(super) fn flush(&mut self) {
        let Conns {
            slots,
            dirty,
            broken,
            bytes_out,
            batch,
            kit,
            ..
        } = &mut *self.conns;
        for index in dirty.drain(..) {
            let Some((generation, Some(conn))) = slots.get_mut(index as usize) else {
                continue;
            };
            let Some(mut frame) = conn.building.take() else {
                continue;
            };
            if conn.layer.finish(self.pool, &mut frame, kit) {
                let socket = conn.socket;
                *bytes_out += frame.len() as u64;
                self.tx.items.push(TxItem::Bytes { socket, frame });
            } else {
                self.pool.give(frame);
                conn.is_broken = true;
                broken.push(SlotRef {
                    index,
                    generation: *generation,
                });
            }
        }
        *batch += 1;
    }

    /// Writes what a connection's layer has to say, past the layer itself; whatever was gathered
    /// for it goes after that.
    pub(super) fn write_wire(&mut self, slot: SlotRef) {
        let mut wire = std::mem::take(&mut self.conns.kit.out.wire);
        let batch = self.conns.batch;
        if let Some(conn) = self.conns.find_mut(slot).filter(|conn| !conn.is_broken) {
            conn.count(batch, wire.len());
            let socket = conn.socket;
            for part in wire.chunks(STREAM_FRAME_BYTES) {
                let Some(mut frame) = self.pool.take(Class::Stream) else {
                    conn.is_broken = true;
                    self.conns.broken.push(slot);
                    break;
                };
                self.pool.append(&mut frame, part);
                self.tx.items.push(TxItem::Bytes { socket, frame });
            }
            self.conns.bytes_out += wire.len() as u64;
        }
        wire.clear();
        self.conns.kit.out.wire = wire;
    }
}
