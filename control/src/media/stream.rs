//! A stream: its two legs, what the worker bound for them and whom they were told to talk to.

use std::net::{IpAddr, SocketAddr};

use dataplane::api::{
    Act, BfcpRemote, Direction, LegLocal, LegSpec, MsrpRemote, MsrpSetup, MsrpSpec, MsrpTransport,
    Remote, RtpRemote, Side, StreamId, StreamPlan,
};

use super::trunk::Terms;
use super::{StreamView, msrp};
use crate::sdp::Kind;

/// What both legs of a stream are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    /// RTP and RTCP.
    Rtp {
        /// One port for both, whatever the answer says (RFC 8858).
        mux_only: bool,
    },
    /// MSRP with a path of the relay's own on each leg; what carries side A's leg and side B's.
    Msrp([MsrpTransport; 2]),
    /// Bytes of a connection.
    Bytes {
        /// TLS from end to end, so that one end must be its client and the other its server.
        tls: bool,
    },
}

impl Make {
    /// Whether a stream made as `self` can go on as `other`.
    pub(super) fn continues(self, other: Self) -> bool {
        match (self, other) {
            // Two ports serve where one would do.
            (Self::Rtp { .. }, Self::Rtp { .. }) => true,
            (Self::Msrp(transports), Self::Msrp(other)) => transports == other,
            (Self::Bytes { tls }, Self::Bytes { tls: other }) => tls == other,
            (Self::Rtp { .. } | Self::Msrp(_) | Self::Bytes { .. }, _) => false,
        }
    }
}

/// A leg's far end, as its SDP names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FarEnd {
    Rtp(RtpRemote),
    Msrp(MsrpRemote),
    Bytes {
        address: SocketAddr,
        setup: MsrpSetup,
    },
    Bfcp(BfcpRemote),
}

impl FarEnd {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Rtp(remote) => remote.rtp,
            Self::Msrp(remote) => remote.address,
            Self::Bytes { address, .. } => *address,
            Self::Bfcp(remote) => remote.address,
        }
    }

    pub(super) fn to_remote(&self) -> Remote {
        match self {
            Self::Rtp(remote) => Remote::Rtp(*remote),
            Self::Msrp(remote) => Remote::Msrp(remote.clone()),
            Self::Bfcp(remote) => Remote::Bfcp(*remote),
            Self::Bytes { address, setup } => Remote::Bytes {
                address: *address,
                setup: *setup,
            },
        }
    }
}

/// What a leg was told: its far end and what the client there may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) far: FarEnd,
    pub(super) direction: Direction,
}

/// One stream of a session.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) kind: Kind,
    pub(super) make: Make,
    /// The relay's address, for side A and side B.
    pub(super) local_ip: [IpAddr; 2],
    pub(super) local: [LegLocal; 2],
    pub(super) told: [Option<Told>; 2],
    /// Whether a side's last description had `a=msrp-cema`; `None`: it hasn't spoken of this stream.
    pub(super) cema: [Option<bool>; 2],
}

impl Stream {
    /// The relay's own end of a side's leg, once bound.
    pub(super) fn local(&self, side: Side) -> &LegLocal {
        &self.local[side.index()]
    }

    pub(super) fn told(&self, side: Side) -> Option<&Told> {
        self.told[side.index()].as_ref()
    }

    /// What the worker is to open.
    pub(super) fn plan(&self, terms: &Terms) -> StreamPlan {
        StreamPlan {
            stream: self.id,
            legs: Side::BOTH.map(|side| self.spec(terms, side)),
            local: [LegLocal::Unbound, LegLocal::Unbound],
            silence_ms: terms.settings.silence_ms,
            record: terms.is_recorded,
        }
    }

    fn spec(&self, terms: &Terms, side: Side) -> LegSpec {
        let local_ip = self.local_ip[side.index()];
        match self.make {
            Make::Rtp { mux_only } => LegSpec::Rtp {
                local_ip,
                rtcp_mux: mux_only,
                learn: terms.settings.learn,
            },
            Make::Msrp(transports) => {
                let transport = transports[side.index()];
                let trunk = terms.trunk(side);
                LegSpec::Msrp(MsrpSpec {
                    local_ip,
                    transport,
                    match_session_id_only: trunk.match_session_id_only,
                    chunking: msrp::chunking(transport, trunk.chunking),
                    bounds: trunk.bounds,
                })
            }
            Make::Bytes { .. } => LegSpec::Bytes { local_ip },
        }
    }

    /// Remembers what a leg is to be told; the act that tells it, where that is news.
    pub(super) fn tell(&mut self, side: Side, told: Told) -> Option<Act> {
        let known = &mut self.told[side.index()];
        if known.as_ref() == Some(&told) {
            // Connecting anew would open the learning window again for nothing.
            return None;
        }
        *known = Some(told);
        self.connect(side)
    }

    /// The acts that tell both legs what they were told.
    pub(super) fn connects(&self) -> impl Iterator<Item = Act> {
        Side::BOTH.into_iter().filter_map(|side| self.connect(side))
    }

    fn connect(&self, side: Side) -> Option<Act> {
        let told = self.told(side)?;
        Some(Act::Connect {
            stream: self.id,
            side,
            remote: told.far.to_remote(),
            direction: told.direction,
        })
    }

    pub(super) fn view(&self, index: usize) -> StreamView {
        let remote = |told: &Option<Told>| told.as_ref().map(|told| told.far.address());
        let [told_a, told_b] = &self.told;
        let [local_a, local_b] = &self.local;
        StreamView {
            id: self.id,
            kind: self.kind,
            index,
            released: false,
            local: [bound(local_a), bound(local_b)],
            remote: [remote(told_a), remote(told_b)],
            direction: told_a
                .as_ref()
                .map_or(Direction::BOTH, |told| told.direction),
        }
    }
}

/// The address that is written into c= and m=.
pub(super) fn bound(local: &LegLocal) -> Option<SocketAddr> {
    match local {
        LegLocal::Unbound => None,
        LegLocal::Rtp { rtp, .. } => Some(*rtp),
        LegLocal::Msrp(local) => Some(local.listen),
        LegLocal::Bytes { listen } | LegLocal::Bfcp { listen } => Some(*listen),
    }
}
