//! What is between an MSRP connection's octets and its frames: nothing, TLS, a WebSocket, or both.

use std::io;
use std::net::IpAddr;

use crate::api::{Config, MsrpTransport};
use crate::frame::{Frame, Pool};
use crate::limits::{STREAM_FRAME_BYTES, TLS_OVERHEAD_BYTES};
use crate::proto::layer::{Failure, Output, Stage};
use crate::proto::msrp::Carrier;
use crate::proto::tls::{Endpoints, Session, Spare};
use crate::proto::websocket::{self, Socket};
use crate::wire::msrp::Uri;

/// What the layers of a worker share.
pub(super) struct Kit {
    endpoints: Option<Endpoints>,
    spare: Spare,
    websockets: websocket::Shared,
    /// What the last layer that was fed put out.
    pub(super) out: Output,
    /// What the TLS below a WebSocket put out.
    below: Output,
    sealed: Box<[u8]>,
}

impl Kit {
    /// Makes it; checks the identity.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let endpoints = match &config.msrp_tls {
            Some(identity) => Some(Endpoints::new(identity).map_err(io::Error::other)?),
            None => None,
        };
        Ok(Self {
            endpoints,
            spare: Spare::default(),
            websockets: websocket::Shared::new(config.msrp_origins.clone()),
            out: Output::default(),
            below: Output::default(),
            sealed: vec![0; STREAM_FRAME_BYTES].into_boxed_slice(),
        })
    }

    /// Whether legs can be carried so.
    pub(super) fn has(&self, transport: MsrpTransport) -> bool {
        self.endpoints.is_some() || !transport.is_secure()
    }

    /// Says whether pings go unanswered.
    pub(super) fn choke(&mut self, is_choked: bool) {
        self.websockets.is_choked = is_choked;
    }
}

/// A connection's layers.
pub(super) enum Layer {
    Plain,
    Tls(Box<Session>),
    WebSocket(Box<Socket>),
    Both(Box<(Session, Socket)>),
}

impl Layer {
    /// The layer of a connection that was accepted.
    pub(super) fn accept(transport: MsrpTransport, kit: &Kit) -> Option<Self> {
        let session = || Session::accept(kit.endpoints.as_ref()?).ok();
        Some(match transport {
            MsrpTransport::Tcp => Self::Plain,
            MsrpTransport::Tls => Self::Tls(Box::new(session()?)),
            MsrpTransport::Ws => Self::WebSocket(Box::default()),
            MsrpTransport::Wss => Self::Both(Box::new((session()?, Socket::default()))),
        })
    }

    /// The layer of a connection that is made to the far end that a path's first URI names;
    /// WebSockets aren't made.
    pub(super) fn connect(
        transport: MsrpTransport,
        (path, ip): (&str, IpAddr),
        kit: &Kit,
    ) -> Option<Self> {
        match transport {
            MsrpTransport::Tcp => Some(Self::Plain),
            MsrpTransport::Ws | MsrpTransport::Wss => None,
            MsrpTransport::Tls => {
                let endpoints = kit.endpoints.as_ref()?;
                let first = path.split(' ').next().unwrap_or_default();
                let host =
                    Uri::parse(first.as_bytes()).and_then(|uri| str::from_utf8(uri.host).ok());
                let named = host.and_then(|host| Session::connect(endpoints, host).ok());
                // An IPv6 host is in brackets; an address isn't told to the far end anyway.
                let session =
                    named.or_else(|| Session::connect(endpoints, &ip.to_string()).ok())?;
                Some(Self::Tls(Box::new(session)))
            }
        }
    }

    /// Whether octets are frames as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Octets that a frame may hold before it is sealed.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Plain | Self::WebSocket(_) => STREAM_FRAME_BYTES,
            Self::Tls(_) | Self::Both(_) => STREAM_FRAME_BYTES - TLS_OVERHEAD_BYTES,
        }
    }

    /// Takes octets of the wire; what they hold and what is to be written to the wire is in
    /// `kit.out` then, also where it fails.
    pub(super) fn receive(&mut self, octets: &[u8], kit: &mut Kit) -> Result<Stage, Failure> {
        let Kit {
            spare,
            websockets,
            out,
            below,
            sealed,
            ..
        } = kit;
        out.clear();
        match self {
            Self::Plain => {
                out.plain.extend_from_slice(octets);
                Ok(Stage::Open)
            }
            Self::Tls(session) => session.receive(octets, spare, out),
            Self::WebSocket(socket) => socket.receive(octets, websockets, out),
            Self::Both(both) => {
                let (session, socket) = &mut **both;
                below.clear();
                let stage = session.receive(octets, spare, below);
                let above = socket.receive(&below.plain, websockets, out);
                // What the WebSocket says goes through TLS, after what TLS says itself.
                seal_all(session, &out.wire, sealed, &mut below.wire);
                std::mem::swap(&mut out.wire, &mut below.wire);
                match stage? {
                    Stage::Open => above,
                    Stage::Handshaking => Ok(Stage::Handshaking),
                    Stage::Ended => Ok(Stage::Ended),
                }
            }
        }
    }

    /// Keeps octets of the wire for later, where taking them is work; false: it isn't.
    pub(super) fn keep(&mut self, octets: &[u8], kit: &mut Kit) -> Result<bool, Failure> {
        let session = match self {
            Self::Plain | Self::WebSocket(_) => return Ok(false),
            Self::Tls(session) => &mut **session,
            Self::Both(both) => &mut both.0,
        };
        session.keep(octets, &mut kit.spare).map(|()| true)
    }

    /// Appends what fits of the relay's frames to a frame that is being built; 0: it is full.
    pub(super) fn append(
        &mut self,
        pool: &mut Pool,
        frame: &mut Frame,
        octets: &[u8],
        kit: &mut Kit,
    ) -> usize {
        let capacity = self.capacity();
        let socket = match self {
            Self::Plain => return pool.append(frame, octets),
            Self::Tls(_) => {
                let room = capacity.saturating_sub(frame.len());
                return pool.append(frame, octets.get(..room).unwrap_or(octets));
            }
            Self::WebSocket(socket) => socket,
            Self::Both(both) => &mut both.1,
        };
        socket.append(pool, (frame, capacity), octets, &mut kit.websockets)
    }

    /// Makes a frame that was built fit for the wire; false: it can't be.
    pub(super) fn finish(&mut self, pool: &mut Pool, frame: &mut Frame, kit: &mut Kit) -> bool {
        let session = match self {
            Self::Plain => return true,
            Self::WebSocket(socket) => {
                socket.cut(pool, frame);
                return true;
            }
            Self::Tls(session) => &mut **session,
            Self::Both(both) => {
                both.1.cut(pool, frame);
                &mut both.0
            }
        };
        let Some(count) = session.seal(pool.bytes(frame), &mut kit.sealed) else {
            return false;
        };
        let sealed = kit.sealed.get(..count).unwrap_or_default();
        if let Some(to) = pool.buffer_mut(frame).get_mut(..count) {
            to.copy_from_slice(sealed);
        }
        pool.set_range(frame, 0, count);
        true
    }

    /// Writes to `kit.out` that nothing more comes from us.
    pub(super) fn end(&mut self, kit: &mut Kit) {
        let Kit {
            out, below, sealed, ..
        } = kit;
        out.clear();
        let session = match self {
            Self::Plain => return,
            Self::WebSocket(socket) => return socket.end(&mut out.wire),
            Self::Tls(session) => &mut **session,
            Self::Both(both) => {
                below.clear();
                both.1.end(&mut below.wire);
                seal_all(&mut both.0, &below.wire, sealed, &mut out.wire);
                &mut both.0
            }
        };
        let count = session.close(sealed);
        out.wire
            .extend_from_slice(sealed.get(..count).unwrap_or_default());
    }

    /// What carries the connection, once it is open.
    pub(super) fn carrier(&self) -> Carrier {
        let (transport, session) = match self {
            Self::Plain => (MsrpTransport::Tcp, None),
            Self::WebSocket(_) => (MsrpTransport::Ws, None),
            Self::Tls(session) => (MsrpTransport::Tls, Some(&**session)),
            Self::Both(both) => (MsrpTransport::Wss, Some(&both.0)),
        };
        Carrier {
            transport,
            certificate: session.and_then(Session::certificate).map(Box::new),
        }
    }
}

/// Seals what is to be written through TLS.
fn seal_all(session: &mut Session, octets: &[u8], sealed: &mut [u8], wire: &mut Vec<u8>) {
    for part in octets.chunks(STREAM_FRAME_BYTES - TLS_OVERHEAD_BYTES) {
        let count = session.seal(part, sealed).unwrap_or(0);
        wire.extend_from_slice(sealed.get(..count).unwrap_or_default());
    }
}
