//! One side of an MSRP stream. What passes it is [`crate::proto::msrp`]'s business.

use std::net::{IpAddr, SocketAddr};

use crate::api::{MsrpSetup, MsrpTransport};
use crate::proto::msrp::{Demand, LegKey};

use super::SlotRef;

/// One side of an MSRP stream.
#[derive(Debug)]
pub struct MsrpLeg {
    /// Its name at the MSRP relay.
    pub key: LegKey,
    /// The local address it connects from.
    pub local_ip: IpAddr,
    /// What carries it, and who its far end has to be.
    pub demand: Demand,
    /// Its far end and who connects, once known.
    pub remote: Option<(SocketAddr, MsrpSetup)>,
    /// The connection that the relay is making for it.
    pub connecting: Option<SlotRef>,
    /// Whether control has yet to be told that its connection was lost.
    pub lost_untold: bool,
}

impl MsrpLeg {
    /// Makes a leg that waits for its far end.
    #[must_use]
    pub fn new(key: LegKey, local_ip: IpAddr, transport: MsrpTransport) -> Self {
        let demand = Demand {
            transport,
            certificate: None,
        };
        Self {
            key,
            local_ip,
            demand,
            remote: None,
            connecting: None,
            lost_untold: false,
        }
    }
}
