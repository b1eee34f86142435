//! How the far ends of MSRP legs are treated.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::api::{Chunking, Fingerprint, MsrpBounds, MsrpTransport, Side};

use super::far::Why;
use super::{Settings, msrp};
use crate::config::Who;
use crate::sdp::{MediaDescription, Sdp};

/// What becomes of an MSRP stream that is offered with `a=msrp-cema` (RFC 6714).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cema {
    /// Where both sides have it, bytes are passed unchanged; only c=, m= and a=setup are the
    /// relay's. Else it is relayed back to back.
    #[default]
    PassThrough,
    /// It is relayed back to back like any other.
    BackToBack,
}

/// What carries MSRP towards a far end that is offered a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Toward {
    /// TCP or TLS, as secure as the stream was offered to the relay.
    #[default]
    Same,
    /// This, however it was offered.
    Only(MsrpTransport),
}

/// How a far end is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trunk {
    /// See [`Cema`]; bytes pass only where both sides' trunks let them.
    pub cema: Cema,
    /// What carries the streams that it is offered.
    pub toward: Toward,
    /// It is matched by session-id alone, not by the whole URI.
    pub match_session_id_only: bool,
    /// How chunks to it are cut.
    pub chunking: Chunking,
    /// What it may ask of the relay.
    pub bounds: MsrpBounds,
}

/// What is common to all of MSRP.
#[derive(Debug, Clone)]
pub struct Msrp {
    /// What the workers listen for, by [`MsrpTransport::index`].
    pub carried: [bool; MsrpTransport::ALL.len()],
    /// The SHA-256 of the workers' own certificate, if they have one.
    pub fingerprint: Option<Fingerprint>,
    /// A far end over TLS must name its certificate (RFC 4975 §14.4).
    pub needs_fingerprint: bool,
    /// How far ends are treated of which nothing else is said.
    pub trunk: Trunk,
    /// How some others are; the first that matches counts.
    pub trunks: Vec<(Vec<Who>, Trunk)>,
}

impl Default for Msrp {
    /// TCP alone, by the defaults of every kind.
    fn default() -> Self {
        Self {
            carried: MsrpTransport::ALL.map(|transport| transport == MsrpTransport::Tcp),
            fingerprint: None,
            needs_fingerprint: false,
            trunk: Trunk::default(),
            trunks: Vec::new(),
        }
    }
}

impl Msrp {
    /// How a far end is treated, by where its SIP comes from or goes to and by its URI's host.
    #[must_use]
    pub fn trunk_of(&self, address: IpAddr, host: &str) -> Trunk {
        let is_meant = |who: &[Who]| who.iter().any(|who| who.is(address, host));
        let mut others = self.trunks.iter();
        let found = others.find(|(who, _)| is_meant(who));
        found.map_or(self.trunk, |(_, trunk)| *trunk)
    }
}

/// What holds for a session's streams.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) settings: Arc<Settings>,
    /// Side A's and side B's.
    pub(super) trunks: [Trunk; 2],
    /// Its content is recorded.
    pub(super) is_recorded: bool,
}

impl Terms {
    pub(super) fn trunk(&self, side: Side) -> &Trunk {
        &self.trunks[side.index()]
    }

    /// Whether bytes may pass between the two sides (RFC 6714); what isn't read can't be recorded.
    pub(super) fn passes(&self) -> bool {
        let passes = |trunk: &Trunk| trunk.cema == Cema::PassThrough;
        !self.is_recorded && self.trunks.iter().all(passes)
    }

    /// What is to carry a stream towards a side, offered to the relay over `near`.
    pub(super) fn transport(&self, to: Side, near: MsrpTransport) -> MsrpTransport {
        match (self.trunk(to).toward, near.is_secure()) {
            (Toward::Only(transport), _) => transport,
            (Toward::Same, false) => MsrpTransport::Tcp,
            (Toward::Same, true) => MsrpTransport::Tls,
        }
    }

    /// The certificate that a far end over TLS says it has; refuses one that must and doesn't.
    pub(super) fn fingerprint(
        &self,
        sdp: &Sdp,
        line: &MediaDescription,
    ) -> Result<Option<Fingerprint>, Why> {
        match msrp::fingerprint(sdp, line)? {
            None if self.settings.msrp.needs_fingerprint => Err(Why::Fingerprint),
            fingerprint => Ok(fingerprint),
        }
    }

    /// Refuses what the workers don't listen for.
    pub(super) fn carry(&self, transport: MsrpTransport) -> Result<MsrpTransport, Why> {
        let msrp = &self.settings.msrp;
        let carried = msrp.carried.get(transport.index());
        let has_certificate = !transport.is_secure() || msrp.fingerprint.is_some();
        (carried == Some(&true) && has_certificate)
            .then_some(transport)
            .ok_or(Why::Transport)
    }
}
