//! Opening a stream: a slot, two legs, their ports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::api::{Component, LegLocal, LegSpec, Refusal, SessionId, Side, StreamPlan};
use crate::limits::{PORT_TRIES, SOCKETS_PER_WORKER};
use crate::net::{Backend, SocketId, SocketSpec, Token};
use crate::session::{
    BytesLeg, Mark, Media, Owner, Phase, PortPair, RtpLeg, SlotRef, Socket, Stream,
};

use super::Worker;

/// What is common to both legs of a stream that is being opened.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) now: Instant,
    pub(super) slot: SlotRef,
}

impl<B: Backend> Worker<B> {
    /// Opens a stream and fills in what was bound; binds nothing where it can't bind all.
    pub(super) fn open_stream(
        &mut self,
        now: Instant,
        session: SessionId,
        plan: &mut StreamPlan,
    ) -> Result<SlotRef, Refusal> {
        let slot = self.streams.reserve().ok_or(Refusal::Full)?;
        let opening = Opening { now, slot };
        match self.open_media(opening, plan) {
            Ok(media) => {
                let stream = Stream {
                    media,
                    phase: Phase::Open,
                    session,
                    id: plan.stream,
                    opened: now,
                    silence: (plan.silence_ms > 0)
                        .then(|| Duration::from_millis(u64::from(plan.silence_ms))),
                    recording: None,
                    plan: Some(copy_of(plan)),
                };
                self.streams.fill(slot, stream);
                Ok(slot)
            }
            Err(refusal) => {
                self.streams.remove(slot);
                Err(refusal)
            }
        }
    }

    fn open_media(&mut self, opening: Opening, plan: &mut StreamPlan) -> Result<Media, Refusal> {
        match &plan.legs {
            [LegSpec::Rtp { .. }, LegSpec::Rtp { .. }] => self
                .open_both(opening, plan, Self::open_rtp, Self::undo_rtp)
                .map(Media::Rtp),
            [LegSpec::Bytes { .. }, LegSpec::Bytes { .. }] => self
                .open_both(opening, plan, Self::open_bytes, Self::undo_bytes)
                .map(Media::Bytes),
            [LegSpec::Msrp(_), LegSpec::Msrp(_)] => self
                .open_both(opening, plan, Self::open_msrp, Self::undo_msrp)
                .map(|legs| self.join_msrp(legs)),
            [
                LegSpec::Rtp { .. }
                | LegSpec::Bytes { .. }
                | LegSpec::Msrp(_)
                | LegSpec::Bfcp(_)
                | LegSpec::Away(_),
                _,
            ] => Err(Refusal::Unknown),
        }
    }

    fn open_both<L>(
        &mut self,
        opening: Opening,
        plan: &mut StreamPlan,
        open: OpenLeg<Self, L>,
        undo: fn(&mut Self, L),
    ) -> Result<[L; 2], Refusal> {
        let [spec_a, spec_b] = &plan.legs;
        let (leg_a, local_a) = open(self, opening, Side::A, spec_a)?;
        match open(self, opening, Side::B, spec_b) {
            Ok((leg_b, local_b)) => {
                plan.local = [local_a, local_b];
                Ok([leg_a, leg_b])
            }
            Err(refusal) => {
                undo(self, leg_a);
                Err(refusal)
            }
        }
    }

    pub(super) fn open_rtp(
        &mut self,
        opening: Opening,
        side: Side,
        spec: &LegSpec,
    ) -> Result<(RtpLeg, LegLocal), Refusal> {
        let LegSpec::Rtp {
            local_ip,
            rtcp_mux,
            learn,
        } = *spec
        else {
            return Err(Refusal::Unknown);
        };
        let (pair, sockets) = self.with_pair(opening.now, |worker, pair| {
            worker.bind_rtp(opening.slot, side, (local_ip, rtcp_mux), pair)
        })?;
        let (rtp, rtcp) = sockets;
        let local = LegLocal::Rtp {
            rtp: rtp.1,
            rtcp: rtcp.map_or(rtp.1, |rtcp| rtcp.1),
        };
        let rtcp = rtcp.map(|(socket, _)| Socket(socket.0));
        Ok((RtpLeg::new(Socket(rtp.0.0), rtcp, pair, learn), local))
    }

    fn bind_rtp(
        &mut self,
        slot: SlotRef,
        side: Side,
        how: (IpAddr, bool),
        pair: PortPair,
    ) -> io::Result<(Bound, Option<Bound>)> {
        let (ip, rtcp_mux) = how;
        let datagram = |port| SocketSpec::Datagram {
            local: SocketAddr::new(ip, port),
        };
        let owner = Owner::Rtp(slot, side, Component::Rtp);
        let rtp = self.open_socket(&datagram(pair.even()), owner)?;
        if rtcp_mux {
            return Ok((rtp, None));
        }
        let owner = Owner::Rtp(slot, side, Component::Rtcp);
        match self.open_socket(&datagram(pair.odd()), owner) {
            Ok(rtcp) => Ok((rtp, Some(rtcp))),
            Err(error) => {
                self.close_socket(rtp.0);
                Err(error)
            }
        }
    }

    fn undo_rtp(&mut self, leg: RtpLeg) {
        for socket in leg.sockets() {
            self.close_socket(SocketId(socket.0));
        }
        self.ports.give_unused(leg.pair());
    }

    fn open_bytes(
        &mut self,
        opening: Opening,
        side: Side,
        spec: &LegSpec,
    ) -> Result<(BytesLeg, LegLocal), Refusal> {
        let LegSpec::Bytes { local_ip } = *spec else {
            return Err(Refusal::Unknown);
        };
        let (pair, (listener, listen)) = self.with_pair(opening.now, |worker, pair| {
            let local = SocketAddr::new(local_ip, pair.even());
            let owner = Owner::BytesListener(opening.slot, side);
            worker.open_socket(&SocketSpec::Listen { local }, owner)
        })?;
        let leg = BytesLeg::new(Socket(listener.0), local_ip, pair);
        Ok((leg, LegLocal::Bytes { listen }))
    }

    fn undo_bytes(&mut self, leg: BytesLeg) {
        self.close_socket(SocketId(leg.listener().0));
        self.ports.give_unused(leg.pair());
    }

    /// Binds with the first pair that nobody else has taken.
    pub(super) fn with_pair<T>(
        &mut self,
        now: Instant,
        mut bind: impl FnMut(&mut Self, PortPair) -> io::Result<T>,
    ) -> Result<(PortPair, T), Refusal> {
        for _ in 0..PORT_TRIES {
            let pair = self.ports.take(now).ok_or(Refusal::NoPort)?;
            match bind(self, pair) {
                Ok(bound) => return Ok((pair, bound)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.ports.give(now, pair);
                }
                Err(error) => {
                    self.ports.give_unused(pair);
                    return Err(refusal(&error));
                }
            }
        }
        Err(Refusal::NoPort)
    }

    /// Opens a socket marked with its owner.
    pub(super) fn open_socket(&mut self, spec: &SocketSpec, owner: Owner) -> io::Result<Bound> {
        if self.stats.sockets >= SOCKETS_PER_WORKER as u64 {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let bound = self.backend.open(spec, Token(Mark::new(owner).0))?;
        self.stats.sockets += 1;
        Ok(bound)
    }
}

/// Opens one leg and says what was bound.
type OpenLeg<W, L> = fn(&mut W, Opening, Side, &LegSpec) -> Result<(L, LegLocal), Refusal>;

/// A socket and where it is bound.
type Bound = (SocketId, SocketAddr);

fn refusal(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Refusal::Full,
        Some(_) | None => Refusal::Socket,
    }
}

fn copy_of(plan: &StreamPlan) -> StreamPlan {
    StreamPlan {
        stream: plan.stream,
        legs: plan.legs.clone(),
        local: plan.local.clone(),
        silence_ms: plan.silence_ms,
        record: plan.record,
    }
}
