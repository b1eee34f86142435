//! One side of an RTP stream: what the packet path needs first, what reports need last.

use std::net::SocketAddr;
use std::time::Instant;

use crate::api::{Component, Direction, Learn, LegFacts, RtpRemote};
use crate::proto::rtp::{Loss, Silence, Source};
use crate::stats::DropReason;
use crate::wire::rtp::{Header, Packet, Protocol};
use crate::wire::{rtcp, rtp};

use super::{PortPair, Socket};

/// Where a packet is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayOut {
    /// The socket it leaves from.
    pub socket: Socket,
    /// The far end.
    pub to: SocketAddr,
}

/// One side of an RTP stream.
#[derive(Debug)]
pub struct RtpLeg {
    sockets: [Option<Socket>; 2],
    direction: Direction,
    /// Whether RTCP shares the RTP port.
    mux: bool,
    sources: [Source; 2],
    silence: Silence,
    packets: u64,
    bytes: u64,
    rtcp_packets: u64,
    dropped: u64,
    loss: Loss,
    learn: Learn,
    bound_mux: bool,
    /// Sockets that the kernel keeps to the one far end.
    tied: [bool; 2],
    pair: PortPair,
}

impl RtpLeg {
    /// Makes a leg that is bound and not connected; without an RTCP socket it is multiplexed.
    #[must_use]
    pub fn new(rtp: Socket, rtcp: Option<Socket>, pair: PortPair, learn: Learn) -> Self {
        Self {
            sockets: [Some(rtp), rtcp],
            direction: Direction::BOTH,
            mux: rtcp.is_none(),
            sources: [Source::default(); 2],
            silence: Silence::default(),
            packets: 0,
            bytes: 0,
            rtcp_packets: 0,
            dropped: 0,
            loss: Loss::default(),
            learn,
            bound_mux: rtcp.is_none(),
            tied: [false; 2],
            pair,
        }
    }

    /// Names the far end and what it may do. RTCP shares the port where both addresses are one.
    pub fn connect(&mut self, now: Instant, remote: &RtpRemote, direction: Direction) {
        let [rtp, rtcp] = &mut self.sources;
        rtp.connect(now, remote.rtp, self.learn);
        rtcp.connect(now, remote.rtcp, self.learn);
        self.mux = self.bound_mux || remote.rtp == remote.rtcp;
        self.direction = direction;
        // A side that isn't to send is not silent: it is on hold.
        self.silence.listen(now, direction.may_send);
    }

    /// Sockets whose one far end is certain by now and that aren't tied to it yet; they count as
    /// tied from now on.
    pub fn to_tie(&mut self, now: Instant) -> [Option<(Socket, SocketAddr)>; 2] {
        let mut found = [None; 2];
        for (index, place) in found.iter_mut().enumerate() {
            let (Some(socket), false) = (self.sockets[index], self.tied[index]) else {
                continue;
            };
            if let Some(far) = self.sources[index].settled(now) {
                self.tied[index] = true;
                *place = Some((socket, far));
            }
        }
        found
    }

    /// Sockets that are tied to the far end and have to be untied before another one is named.
    pub fn untie(&mut self) -> [Option<Socket>; 2] {
        let tied = std::mem::take(&mut self.tied);
        [0, 1].map(|index| self.sockets[index].filter(|_| tied[index]))
    }

    /// Takes a datagram of this side and says what it is.
    ///
    /// # Errors
    ///
    /// Why it is dropped: it is neither RTP, RTCP nor DTLS, or not from where it should be.
    pub fn receive(
        &mut self,
        now: Instant,
        component: Component,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Packet, DropReason> {
        let packet = self
            .classify(component, datagram)
            .ok_or(DropReason::NotRtp)?;
        let [rtp, rtcp] = &mut self.sources;
        let source = match component {
            Component::Rtp => rtp,
            Component::Rtcp => rtcp,
        };
        if !source.admit(now, from) {
            return Err(DropReason::Source);
        }
        self.silence.heard(now);
        match &packet {
            Packet::Rtp(header) => {
                self.packets += 1;
                self.bytes += datagram.len() as u64;
                self.loss.received(header);
            }
            Packet::Rtcp => self.rtcp_packets += 1,
            Packet::Dtls => {}
        }
        Ok(packet)
    }

    /// Says where a packet that came to a port of this side goes on the other one.
    ///
    /// # Errors
    ///
    /// Why it is dropped: a direction doesn't let it pass, or the far end isn't known. RTCP goes
    /// on during hold (RFC 3264 §8.4), and so does DTLS: keys are agreed on both ways whoever may
    /// send (RFC 5763 §6.6).
    pub fn route(
        &self,
        component: Component,
        packet: &Packet,
        to: &Self,
    ) -> Result<WayOut, DropReason> {
        match packet {
            Packet::Rtp(_) if !(self.direction.may_send && to.direction.may_receive) => {
                Err(DropReason::Direction)
            }
            Packet::Rtp(_) => to.way_out(Component::Rtp),
            Packet::Rtcp if to.mux => to.way_out(Component::Rtp),
            Packet::Rtcp => to.way_out(Component::Rtcp),
            Packet::Dtls if to.mux => to.way_out(Component::Rtp),
            Packet::Dtls => to.way_out(component),
        }
    }

    /// Where RTP and RTCP for this side go, once that is known.
    #[must_use]
    pub fn ways(&self) -> [Option<WayOut>; 2] {
        let rtcp = if self.mux {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        [Component::Rtp, rtcp].map(|component| self.way_out(component).ok())
    }

    /// What was lost of what came from this side.
    #[must_use]
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Counts a datagram of this side that was dropped.
    pub fn count_drop(&mut self) {
        self.dropped += 1;
    }

    /// Whether it is heard.
    pub fn silence_mut(&mut self) -> &mut Silence {
        &mut self.silence
    }

    /// Its sockets, to close.
    pub fn sockets(&self) -> impl Iterator<Item = Socket> + use<> {
        self.sockets.into_iter().flatten()
    }

    /// Its ports, to give back.
    #[must_use]
    pub fn pair(&self) -> PortPair {
        self.pair
    }

    /// What came from this side, but for its age.
    #[must_use]
    pub fn facts(&self) -> LegFacts {
        let [rtp, _] = &self.sources;
        LegFacts {
            packets: self.packets,
            bytes: self.bytes,
            rtcp_packets: self.rtcp_packets,
            lost: self.loss.lost(),
            dropped: self.dropped,
            age_ms: 0,
            source: (self.packets > 0).then(|| rtp.target()).flatten(),
            ..LegFacts::default()
        }
    }

    fn way_out(&self, component: Component) -> Result<WayOut, DropReason> {
        let [rtp, rtcp] = &self.sockets;
        let [rtp_source, rtcp_source] = &self.sources;
        let (socket, source) = match component {
            Component::Rtp => (rtp, rtp_source),
            Component::Rtcp => (rtcp, rtcp_source),
        };
        match (*socket, source.target()) {
            (Some(socket), Some(to)) => Ok(WayOut { socket, to }),
            (None, _) | (_, None) => Err(DropReason::NoRemote),
        }
    }

    fn classify(&self, component: Component, datagram: &[u8]) -> Option<Packet> {
        match component {
            // RFC 5764 §5.1.2: each port that isn't shared has a handshake of its own.
            _ if rtp::protocol(datagram) == Protocol::Dtls => Some(Packet::Dtls),
            Component::Rtcp => rtcp::is_valid(datagram).then_some(Packet::Rtcp),
            Component::Rtp if self.mux => rtp::packet(datagram),
            // RTP's payload types 64 to 95 are allowed where RTCP has a port of its own.
            Component::Rtp => Header::parse(datagram).map(Packet::Rtp),
        }
    }
}
