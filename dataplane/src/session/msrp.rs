//! One side of an MSRP stream. What passes it is [`crate::proto::msrp`]'s business.

use std::net::{IpAddr, SocketAddr};

use crate::api::{MsrpSetup, MsrpTransport};
use crate::proto::msrp::LegKey;

use super::SlotRef;

/// One side of an MSRP stream.
#[derive(Debug)]
pub struct MsrpLeg {
    /// Its name at the MSRP relay.
    pub key: LegKey,
    /// The local address it connects from.
    pub local_ip: IpAddr,
    /// What carries it.
    pub transport: MsrpTransport,
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
        Self {
            key,
            local_ip,
            transport,
            remote: None,
            connecting: None,
            lost_untold: false,
        }
    }
}
