//! Next hops: where requests go that no client here is the receiver of, and the connections there.
//!
//! ```text
//! asked for ──wanted()──▶ Connecting ──next_hop_connected()──▶ Open
//!                             │ no connection in time            │ closed
//!                             ▼                                  ▼
//!                          Failed ── MSRP_RETRY_MS ──▶ forgotten ◀┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::ConnectionKey;
use crate::api::MsrpTransport;
use crate::limits::{MSRP_NEXT_HOPS, MSRP_RETRY_MS};
use crate::wire::msrp::Uri;

/// A connection that the caller must make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// What the relay calls it; written to once it is made.
    pub connection: ConnectionKey,
    /// Where to.
    pub address: SocketAddr,
    /// TCP, or TLS over it.
    pub transport: MsrpTransport,
}

/// Where a next hop is, and whether it speaks TLS.
pub(super) type Place = (SocketAddr, bool);

/// How far the connection to a next hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    Connecting(ConnectionKey),
    Open(ConnectionKey),
    /// It couldn't be reached, and isn't tried again before then.
    Failed(Instant),
}

/// At most `limits::MSRP_NEXT_HOPS` of them.
#[derive(Debug, Default)]
pub(super) struct NextHops {
    by_place: BTreeMap<Place, Hop>,
    by_key: BTreeMap<u32, Place>,
    /// Connections that the caller was not told of yet.
    pub(super) wanted: VecDeque<NextHop>,
    /// Those being made, and until when that may take.
    pub(super) connecting: VecDeque<(ConnectionKey, Instant)>,
}

impl NextHops {
    /// Connections that are made or being made.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, place: Place) -> Option<Hop> {
        self.by_place.get(&place).copied()
    }

    /// Whether there is room for one more; forgets failures that are old enough.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        if self.by_place.len() >= MSRP_NEXT_HOPS {
            self.by_place
                .retain(|_, hop| !matches!(hop, Hop::Failed(until) if *until <= now));
        }
        self.by_place.len() < MSRP_NEXT_HOPS
    }

    /// Asks for a connection.
    pub(super) fn want(&mut self, place: Place, connection: ConnectionKey, until: Instant) {
        let (address, is_secure) = place;
        let transport = if is_secure {
            MsrpTransport::Tls
        } else {
            MsrpTransport::Tcp
        };
        self.by_place.insert(place, Hop::Connecting(connection));
        self.by_key.insert(connection.0, place);
        self.connecting.push_back((connection, until));
        self.wanted.push_back(NextHop {
            connection,
            address,
            transport,
        });
    }

    /// A connection was made; false: nobody asked for it.
    pub(super) fn open(&mut self, connection: ConnectionKey) -> bool {
        let Some(place) = self.by_key.get(&connection.0) else {
            return false;
        };
        self.by_place.insert(*place, Hop::Open(connection));
        self.connecting.retain(|(one, _)| *one != connection);
        true
    }

    /// A connection is gone, or couldn't be made.
    pub(super) fn lost(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(place) = self.by_key.remove(&connection.0) else {
            return;
        };
        self.connecting.retain(|(one, _)| *one != connection);
        self.wanted.retain(|hop| hop.connection != connection);
        match self.by_place.get(&place) {
            Some(Hop::Connecting(_)) => {
                let until = now + Duration::from_millis(MSRP_RETRY_MS);
                self.by_place.insert(place, Hop::Failed(until));
            }
            Some(Hop::Open(_) | Hop::Failed(_)) | None => {
                self.by_place.remove(&place);
            }
        }
    }
}

/// Where a URI's host is: it must be an address, and its transport TCP (RFC 4976 §6.4.1).
pub(super) fn place_of(uri: &Uri<'_>) -> Option<Place> {
    if !uri.transport.eq_ignore_ascii_case(b"tcp") {
        return None;
    }
    let host = str::from_utf8(uri.host).ok()?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match inner {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(host.parse::<Ipv4Addr>().ok()?),
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let address = SocketAddr::new(ip, uri.port.unwrap_or(PORT));
    (address.port() != 0).then_some((address, uri.secure))
}

/// RFC 4976 §8: where no port is named and no SRV record is looked up.
const PORT: u16 = 2855;
