//! BFCP in plans: what carries floor control to a member, and who is at the far end.

use std::net::{IpAddr, SocketAddr};

use super::{Fingerprint, MsrpSetup};

/// What a BFCP leg is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfcpSpec {
    /// The local address to bind; a port of its own.
    pub local_ip: IpAddr,
    /// What carries the messages.
    pub transport: BfcpTransport,
    /// The member's identifier in the conference (RFC 8856 `userid`); no other member has it.
    pub user: u16,
    /// The relay's description is the offer: over TLS, the far end is the server (RFC 8855 §7).
    pub is_offerer: bool,
}

/// What carries BFCP messages on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum BfcpTransport {
    /// `UDP/BFCP`, version 2 of the protocol (RFC 8855 §6.2).
    #[default]
    Udp,
    /// `TCP/BFCP`, version 1 (RFC 8855 §6.1).
    Tcp,
    /// `TCP/TLS/BFCP`, version 1 over TLS.
    Tls,
}

/// The far end of a BFCP leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfcpRemote {
    /// Its address: where datagrams go until one came from elsewhere, or whom to connect to.
    pub address: SocketAddr,
    /// Who makes the connection; for UDP it says nothing.
    pub setup: MsrpSetup,
    /// The certificate that it said it has (`a=fingerprint`, RFC 8122); `None`: any will do.
    pub fingerprint: Option<Fingerprint>,
}
