//! The session description in a message's body, alone or as a part of a multipart body.
//!
//! Only the SDP part is looked at or replaced; every other byte stays (recipient lists, CPIM).

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::sip::{Message, Name};

/// Where the SDP is in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// There is no body, or none with SDP.
    None,
    /// The whole body.
    Whole,
    /// These octets of a multipart body (RFC 2046 §5.1).
    Part(Range<usize>),
}

/// Finds the SDP of a message.
#[must_use]
pub fn place(message: &Message) -> Place {
    let Some(content_type) = message.headers.get(Name::ContentType) else { return Place::None };
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if message.body.is_empty() {
        Place::None
    } else if media_type.eq_ignore_ascii_case("application/sdp") {
        Place::Whole
    } else if media_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/")) {
        boundary(content_type)
            .and_then(|boundary| sdp_part(&message.body, boundary))
            .map_or(Place::None, Place::Part)
    } else {
        Place::None
    }
}

/// The SDP of a message.
#[must_use]
pub fn sdp(message: &Message) -> Option<Bytes> {
    match place(message) {
        Place::None => None,
        Place::Whole => Some(message.body.clone()),
        Place::Part(range) => Some(message.body.slice(range)),
    }
}

/// The body with its SDP replaced.
#[must_use]
pub fn replace_sdp(message: &Message, sdp: &Bytes) -> Bytes {
    match place(message) {
        Place::None => message.body.clone(),
        Place::Whole => sdp.clone(),
        Place::Part(range) => {
            let mut body = BytesMut::with_capacity(message.body.len() + sdp.len());
            body.extend_from_slice(&message.body[..range.start]);
            body.extend_from_slice(sdp);
            body.extend_from_slice(&message.body[range.end..]);
            body.freeze()
        }
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let value = content_type.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.trim_matches('"');
    (!value.is_empty() && value.len() <= 70).then_some(value)
}

fn sdp_part(body: &[u8], boundary: &str) -> Option<Range<usize>> {
    let delimiter = format!("--{boundary}");
    let mut at = find(body, delimiter.as_bytes(), 0)?;
    loop {
        let head = line_end(body, at + delimiter.len())?;
        let next = find(body, delimiter.as_bytes(), head)?;
        let empty_line = find(body, b"\r\n\r\n", head.saturating_sub(2))?;
        if empty_line < next {
            let headers = body.get(head.saturating_sub(2)..empty_line).unwrap_or_default();
            if is_sdp(headers) {
                let start = empty_line + 4;
                let end = next.saturating_sub(2).max(start);
                return Some(start..end);
            }
        }
        at = next;
    }
}

fn is_sdp(headers: &[u8]) -> bool {
    String::from_utf8_lossy(headers).lines().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("content-type")
                && value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/sdp")
        })
    })
}

fn line_end(body: &[u8], from: usize) -> Option<usize> {
    find(body, b"\r\n", from).map(|at| at + 2)
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    rest.windows(what.len()).position(|window| window == what).map(|at| at + from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Method;

    fn multipart() -> Message {
        let mut message = Message::request(Method::Invite, "sip:x@y");
        message.headers.push(Name::ContentType, "multipart/mixed;boundary=\"b1\"");
        message.body = Bytes::from_static(
            b"--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=x\r\n--b1\r\nContent-Type: application/resource-lists+xml\r\n\r\n<x/>\r\n--b1--\r\n",
        );
        message
    }

    #[test]
    fn only_the_sdp_part_of_a_multipart_body_changes() {
        let message = multipart();
        assert_eq!(sdp(&message).unwrap(), "v=0\r\no=x");
        let body = replace_sdp(&message, &Bytes::from_static(b"v=1"));
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\r\n\r\nv=1\r\n--b1\r\n"), "{text}");
        assert!(text.ends_with("<x/>\r\n--b1--\r\n"), "{text}");
    }

    #[test]
    fn a_multipart_body_without_its_end_has_no_sdp() {
        let mut message = multipart();
        message.body = message.body.slice(..30);
        assert_eq!(place(&message), Place::None);
    }
}
