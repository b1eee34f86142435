//! What carries a connection, and which legs may be bound to it for that.

use super::{ConnectionKey, Connections, LegKey};
use crate::api::{Fingerprint, MsrpTransport};

/// What carries a connection, and the certificate that its far end has shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carrier {
    /// What carries it.
    pub transport: MsrpTransport,
    /// The SHA-256 of the far end's certificate, if it has shown one; boxed, as few have.
    pub certificate: Option<Box<Fingerprint>>,
}

/// What a leg wants of the connection that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// What carries it.
    pub transport: MsrpTransport,
    /// The certificate that the far end announced; `None`: any, or none.
    pub certificate: Option<Box<Fingerprint>>,
}

impl Demand {
    /// Whether the far end of a connection is who it said it would be.
    ///
    /// RFC 4975 §14.4: whoever announced a fingerprint shows that certificate, be it as the TLS
    /// server or as the client; one that shows none isn't known to be the announced one. Browsers
    /// announce nothing, and their WebSockets aren't asked for anything.
    #[must_use]
    pub fn trusts(&self, carrier: &Carrier) -> bool {
        !self.transport.is_secure()
            || self.certificate.is_none()
            || self.certificate == carrier.certificate
    }
}

impl Connections {
    /// Says what carries a connection; until then it is plain TCP.
    pub fn set_carrier(&mut self, connection: ConnectionKey, carrier: Carrier) {
        if let Some(state) = self.connection_mut(connection) {
            state.carrier = carrier;
        }
    }

    /// Says what a leg wants of its connection; until then that is plain TCP. A leg that is bound
    /// already stays so: see [`Self::is_trusted`].
    pub fn set_demand(&mut self, leg: LegKey, demand: Demand) {
        if let Some(state) = self.legs.get_mut(leg) {
            state.demand = demand;
        }
    }

    /// Whether a connection is carried by what a leg wants, from whom it wants it.
    pub(super) fn is_carried(&self, leg: LegKey, connection: ConnectionKey) -> bool {
        let carrier = self.connection(connection).map(|state| &state.carrier);
        self.demand_of(leg)
            .zip(carrier)
            .is_some_and(|(demand, carrier)| {
                demand.transport == carrier.transport && demand.trusts(carrier)
            })
    }

    /// What a leg wants of its connection.
    #[must_use]
    pub fn demand_of(&self, leg: LegKey) -> Option<&Demand> {
        Some(&self.legs.get(leg)?.demand)
    }

    /// Whether the far end of a leg's connection is who it said it would be; a leg without a
    /// connection has none that isn't.
    #[must_use]
    pub fn is_trusted(&self, leg: LegKey) -> bool {
        let carrier = self
            .connection_of(leg)
            .and_then(|key| Some(&self.connection(key)?.carrier));
        match (self.legs.get(leg), carrier) {
            (Some(state), Some(carrier)) => state.demand.trusts(carrier),
            (_, None) | (None, Some(_)) => true,
        }
    }
}
