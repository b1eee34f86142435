//! The session description in a message's body, alone or as a part of a multipart body.
//!
//! Only the SDP part is looked at or replaced; every other byte stays (recipient lists, CPIM).

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::limits;
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
    let Some(content_type) = message.headers.get(Name::ContentType) else {
        return Place::None;
    };
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if message.body.is_empty() {
        Place::None
    } else if media_type.eq_ignore_ascii_case("application/sdp") {
        Place::Whole
    } else if media_type
        .get(..10)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
    {
        boundary(content_type)
            .and_then(|boundary| part(&message.body, boundary, SDP))
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

/// The parts of a message's body that have a media type: the whole body, or parts of a multipart
/// one, at most [`limits::BODY_PARTS`].
#[must_use]
pub fn parts(message: &Message, media_type: &str) -> Vec<Bytes> {
    let content_type = message.headers.get(Name::ContentType).unwrap_or_default();
    let own = content_type.split(';').next().unwrap_or("").trim();
    if own.eq_ignore_ascii_case(media_type) {
        return vec![message.body.clone()];
    }
    let is_multipart = own
        .get(..10)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"));
    let Some(boundary) = boundary(content_type).filter(|_| is_multipart) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut rest = message.body.clone();
    while found.len() < limits::BODY_PARTS
        && let Some(range) = part(&rest, boundary, media_type)
    {
        found.push(rest.slice(range.clone()));
        // The line end before the next delimiter is part of it.
        rest = rest.slice(range.end..);
    }
    found
}

fn boundary(content_type: &str) -> Option<&str> {
    let value = content_type.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let value = value.trim_matches('"');
    (!value.is_empty() && value.len() <= 70).then_some(value)
}

fn part(body: &[u8], boundary: &str, media_type: &str) -> Option<Range<usize>> {
    // A delimiter stands at the beginning of a line; the line end before it is its own.
    let delimiter = format!("\r\n--{boundary}");
    let mut at = if body.starts_with(&delimiter.as_bytes()[2..]) {
        delimiter.len() - 2
    } else {
        find(body, delimiter.as_bytes(), 0)? + delimiter.len()
    };
    loop {
        let line = find(body, b"\r\n", at)?;
        let end = find(body, delimiter.as_bytes(), line)?;
        // Each part is searched alone, so that all of them cost no more than the body is long.
        let part = body.get(line..end)?;
        if let Some(head) = find(part, b"\r\n\r\n", 0)
            && is_of(part.get(..head)?, media_type)
        {
            return Some(line + head + 4..end);
        }
        at = end + delimiter.len();
    }
}

fn is_of(headers: &[u8], media_type: &str) -> bool {
    String::from_utf8_lossy(headers).lines().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("content-type")
                && value
                    .split(';')
                    .next()
                    .unwrap_or("")
                    .trim()
                    .eq_ignore_ascii_case(media_type)
        })
    })
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    rest.windows(what.len())
        .position(|window| window == what)
        .map(|at| at + from)
}

const SDP: &str = "application/sdp";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Method;

    fn multipart() -> Message {
        let mut message = Message::request(Method::Invite, "sip:x@y");
        message
            .headers
            .push(Name::ContentType, "multipart/mixed;boundary=\"b1\"");
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
    fn a_line_that_holds_the_boundary_later_on_is_no_delimiter() {
        let mut message = multipart();
        let text = String::from_utf8(message.body.to_vec()).unwrap();
        message.body = text.replace("o=x", "s=--b1\r\no=x").into();
        assert_eq!(sdp(&message).unwrap(), "v=0\r\ns=--b1\r\no=x");
    }

    #[test]
    fn a_body_of_nothing_but_delimiters_is_read_once() {
        let mut message = Message::request(Method::Invite, "sip:x@y");
        message
            .headers
            .push(Name::ContentType, "multipart/mixed;boundary=b");
        message.body = format!("{}\r\n\r\n", "--b\r\n".repeat(10_000)).into();
        // Milliseconds; were each part's head looked for up to the body's end, half a minute.
        let took = measure(|| (0..50).for_each(|_| assert_eq!(place(&message), Place::None)));
        assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what it costs is what the test is about"
    )]
    fn measure(work: impl FnOnce()) -> std::time::Duration {
        let begun = std::time::Instant::now();
        work();
        begun.elapsed()
    }

    #[test]
    fn a_multipart_body_without_its_end_has_no_sdp() {
        let mut message = multipart();
        message.body = message.body.slice(..30);
        assert_eq!(place(&message), Place::None);
    }
}
