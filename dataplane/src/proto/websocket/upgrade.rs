//! The HTTP request that opens a WebSocket for MSRP (RFC 6455 §4.2, RFC 7977 §4).

use memchr::memmem;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};

use super::super::layer::Failure;
use crate::api::OriginPolicy;
use crate::limits::UPGRADE_BYTES;

/// What was read of the request.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    head: Vec<u8>,
    /// How much of it has no empty line.
    seen: usize,
}

impl Upgrade {
    /// Takes octets; once the request is complete, writes the answer and says how many octets of
    /// these were the request's.
    pub(super) fn receive(
        &mut self,
        octets: &[u8],
        origins: &OriginPolicy,
        wire: &mut Vec<u8>,
    ) -> Result<Option<usize>, Failure> {
        let before = self.head.len();
        let room = UPGRADE_BYTES - before.min(UPGRADE_BYTES);
        let taken = octets.get(..room).unwrap_or(octets);
        self.head.extend_from_slice(taken);
        let unseen = self.head.get(self.seen..).unwrap_or_default();
        let Some(at) = memmem::find(unseen, EMPTY_LINE) else {
            if self.head.len() >= UPGRADE_BYTES {
                return Err(refuse(wire, "431 Request Header Fields Too Large"));
            }
            self.seen = self.head.len().saturating_sub(EMPTY_LINE.len() - 1);
            return Ok(None);
        };
        let end = self.seen + at + EMPTY_LINE.len();
        let head = self.head.get(..end).unwrap_or_default();
        match Request::try_parse(head) {
            Ok(Some((_, request))) => answer(&request, origins, wire)?,
            Ok(None) | Err(_) => return Err(refuse(wire, "400 Bad Request")),
        }
        Ok(Some(end - before))
    }
}

fn answer(request: &Request, origins: &OriginPolicy, wire: &mut Vec<u8>) -> Result<(), Failure> {
    let mut response: Response = match create_response(request) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            let status = "426 Upgrade Required\r\nSec-WebSocket-Version: 13";
            return Err(refuse(wire, status));
        }
        Err(_) => return Err(refuse(wire, "400 Bad Request")),
    };
    // An origin that is no text is in no list.
    let origin = request.headers().get(ORIGIN);
    let origin = origin.map(|origin| origin.to_str().unwrap_or_default());
    if !origins.admits(origin) {
        return Err(refuse(wire, "403 Forbidden"));
    }
    //= rfc7977#section-4.1: the client offers the subprotocol `msrp`, the server echoes it.
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let is_offered = offers
        .iter()
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','))
        .any(|offer| offer.trim().eq_ignore_ascii_case(SUBPROTOCOL));
    if !is_offered {
        return Err(refuse(wire, "400 Bad Request"));
    }
    let echo = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, echo);
    write_response(&mut *wire, &response).map_err(|_| Failure)
}

fn refuse(wire: &mut Vec<u8>, status: &str) -> Failure {
    for part in [
        "HTTP/1.1 ",
        status,
        "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ] {
        wire.extend_from_slice(part.as_bytes());
    }
    Failure
}

const EMPTY_LINE: &[u8] = b"\r\n\r\n";
const SUBPROTOCOL: &str = "msrp";
