//! TLS under MSRP (RFC 4975 §14.1), without sockets: octets of the wire in, plain ones out.
//!
//! ```text
//! handshaking ──done──▶ open ──close_notify──▶ ended
//!      │                 │
//!      └─────────────────┴── a record that breaks TLS ──▶ failed, with an alert to be sent
//! ```
//!
//! Only an incomplete record is kept between two calls, so that an idle session is nothing but its
//! keys.

mod endpoints;

pub use endpoints::Endpoints;

use std::fmt;
use std::mem;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, Error};
use sha2::{Digest, Sha256};

use super::layer::{Failure, Output, Stage};
use crate::api::Fingerprint;
use crate::limits::{TLS_PENDING_BYTES, TLS_SPARE_BUFFERS};

/// Buffers for incomplete records that are not in use, of all sessions of a worker.
#[derive(Debug, Default)]
pub struct Spare(Vec<Vec<u8>>);

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, buffer: Vec<u8>) {
        if self.0.len() < TLS_SPARE_BUFFERS {
            self.0.push(buffer);
        }
    }
}

/// One connection's TLS.
pub struct Session {
    role: Role,
    /// An incomplete record, or handshake message.
    pending: Vec<u8>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

// The machines are of about the same size, and a session is boxed as a whole.
enum Role {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// The library must not be asked again after it has failed: it asserts that it isn't.
    Failed,
}

impl Session {
    /// Begins a session on a connection that was accepted.
    ///
    /// # Errors
    ///
    /// When the library can't make one.
    pub fn accept(endpoints: &Endpoints) -> Result<Self, Error> {
        let server = UnbufferedServerConnection::new(endpoints.server.clone())?;
        Ok(Self::new(Role::Server(server)))
    }

    /// Begins a session on a connection that was made; the first [`Session::receive`], of nothing,
    /// says what to send. `host` is a name, which the far end is told (SNI), or an address.
    ///
    /// # Errors
    ///
    /// When the host is neither.
    pub fn connect(endpoints: &Endpoints, host: &str) -> Result<Self, Error> {
        let name = ServerName::try_from(host)
            .map_err(|_| Error::General("neither a name nor an address".into()))?
            .to_owned();
        let client = UnbufferedClientConnection::new(endpoints.client.clone(), name)?;
        Ok(Self::new(Role::Client(client)))
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            pending: Vec::new(),
        }
    }

    /// Keeps octets of the wire for the next [`Session::receive`].
    ///
    /// # Errors
    ///
    /// When they are more than records can be long.
    pub fn keep(&mut self, octets: &[u8], spare: &mut Spare) -> Result<(), Failure> {
        if self.pending.capacity() == 0 {
            self.pending = spare.take();
        }
        if self.pending.len() + octets.len() > TLS_PENDING_BYTES {
            self.role = Role::Failed;
            return Err(Failure);
        }
        self.pending.extend_from_slice(octets);
        Ok(())
    }

    /// Takes octets of the wire, all of them; appends to `out` what they hold and what they have to
    /// be answered with.
    ///
    /// # Errors
    ///
    /// When the far end breaks TLS; `out` has what was unsealed before, and the alert.
    pub fn receive(
        &mut self,
        octets: &[u8],
        spare: &mut Spare,
        out: &mut Output,
    ) -> Result<Stage, Failure> {
        self.keep(octets, spare)?;
        let mut pending = mem::take(&mut self.pending);
        let result = match &mut self.role {
            Role::Server(server) => run(server, &mut pending, out),
            Role::Client(client) => run(client, &mut pending, out),
            Role::Failed => Err(Failure),
        };
        if result.is_err() {
            self.role = Role::Failed;
        }
        if pending.is_empty() {
            spare.give(pending);
        } else {
            self.pending = pending;
        }
        match result? {
            Pause::Ended => Ok(Stage::Ended),
            Pause::Hungry if self.common().is_none_or(|common| common.is_handshaking()) => {
                Ok(Stage::Handshaking)
            }
            Pause::Hungry => Ok(Stage::Open),
        }
    }

    /// Seals octets into `sealed`, which must have `limits::TLS_OVERHEAD_BYTES` more room, and says
    /// how many they are then; `None`: it can't be written to any more.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let count = match &mut self.role {
            Role::Server(server) => seal(server, &mut self.pending, Some(plain), sealed),
            Role::Client(client) => seal(client, &mut self.pending, Some(plain), sealed),
            Role::Failed => None,
        };
        if count.is_none() {
            self.role = Role::Failed;
        }
        count
    }

    /// Writes that nothing more comes from us, and says how long that is; the session is over then.
    pub fn close(&mut self, sealed: &mut [u8]) -> usize {
        let count = match &mut self.role {
            Role::Server(server) => seal(server, &mut self.pending, None, sealed),
            Role::Client(client) => seal(client, &mut self.pending, None, sealed),
            Role::Failed => None,
        };
        self.role = Role::Failed;
        count.unwrap_or(0)
    }

    /// The SHA-256 of the far end's certificate, if it has shown one.
    #[must_use]
    pub fn certificate(&self) -> Option<Fingerprint> {
        let own = self.common()?.peer_certificates()?.first()?;
        Some(Sha256::digest(own).into())
    }

    fn common(&self) -> Option<&CommonState> {
        match &self.role {
            Role::Server(server) => Some(server),
            Role::Client(client) => Some(client),
            Role::Failed => None,
        }
    }
}

/// What the library has no generic name for: both roles take records alike.
trait Records {
    type Data;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether something is left to be written.
    fn has_more(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(octets)
    }

    fn has_more(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(octets)
    }

    fn has_more(&self) -> bool {
        self.wants_write()
    }
}

/// Why a session stops taking records.
enum Pause {
    /// It needs more octets.
    Hungry,
    /// The far end closed it.
    Ended,
}

fn run<R: Records>(
    records: &mut R,
    pending: &mut Vec<u8>,
    out: &mut Output,
) -> Result<Pause, Failure> {
    let mut at = 0;
    let result = loop {
        let UnbufferedStatus { mut discard, state } =
            records.process(pending.get_mut(at..).unwrap_or_default());
        let pause = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        out.plain.extend_from_slice(record.payload);
                    }
                    Some(Err(_)) => break Some(Err(Failure)),
                    None => break None,
                }
            },
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut out.wire).err().map(Err),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Ok(Pause::Ended)),
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                Some(Ok(Pause::Hungry))
            }
            // Early data isn't offered, and states that this was not written for aren't entered.
            Ok(_) | Err(_) => Some(Err(Failure)),
        };
        at += discard;
        if let Some(pause) = pause {
            break pause;
        }
    };
    pending.drain(..at.min(pending.len()));
    if result.is_err() {
        write_alert(records, out);
    }
    result
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, wire: &mut Vec<u8>) -> Result<(), Failure> {
    let at = wire.len();
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
        return Err(Failure);
    };
    wire.resize(at + size.required_size, 0);
    let room = wire.get_mut(at..).unwrap_or_default();
    data.encode(room).map(|_| ()).map_err(|_| Failure)
}

/// What the library has left to say when it fails. While it has, it looks at no records.
fn write_alert<R: Records>(records: &mut R, out: &mut Output) {
    while records.has_more() {
        let Ok(ConnectionState::EncodeTlsData(data)) = records.process(&mut []).state else {
            return;
        };
        if encode(data, &mut out.wire).is_err() {
            return;
        }
    }
}

/// Seals octets, or the end where there are none.
fn seal<R: Records>(
    records: &mut R,
    pending: &mut Vec<u8>,
    plain: Option<&[u8]>,
    sealed: &mut [u8],
) -> Option<usize> {
    let mut at = 0;
    loop {
        let UnbufferedStatus { discard, state } = records.process(pending);
        let done = match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let room = sealed.get_mut(at..)?;
                let count = match plain {
                    Some(plain) => traffic.encrypt(plain, room),
                    None => traffic.queue_close_notify(room),
                };
                at += count.ok()?;
                true
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                at += data.encode(sealed.get_mut(at..)?).ok()?;
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                false
            }
            Ok(_) | Err(_) => return None,
        };
        pending.drain(..discard.min(pending.len()));
        if done {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
