//! Puts frames together.

use super::connection::KeptHead;
use crate::wire::msrp::{ByteRange, Flag, IDENT_BYTES_MAX, TransactionId};

/// The parts of a head that are the relay's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) id: &'a TransactionId,
    /// Method, or code and comment.
    pub(super) tail: &'a [u8],
    pub(super) to_path: &'a [u8],
    pub(super) from_path: &'a [u8],
}

/// Start line, To-Path, From-Path.
pub(super) fn start(frame: &mut Vec<u8>, start: Start<'_>) {
    for part in [
        b"MSRP ",
        start.id.as_bytes(),
        b" ",
        start.tail,
        b"\r\nTo-Path: ",
        start.to_path,
        b"\r\nFrom-Path: ",
        start.from_path,
        b"\r\n",
    ] {
        frame.extend_from_slice(part);
    }
}

/// `Byte-Range: start-end/total`; `None` is `*`.
pub(super) fn byte_range(frame: &mut Vec<u8>, start: u64, end: Option<u64>, total: Option<u64>) {
    frame.extend_from_slice(b"Byte-Range: ");
    number(frame, Some(start));
    frame.push(b'-');
    number(frame, end);
    frame.push(b'/');
    number(frame, total);
    frame.extend_from_slice(b"\r\n");
}

/// The other headers of a head that was kept, with another Byte-Range, and the empty line.
pub(super) fn with_range(frame: &mut Vec<u8>, kept: &KeptHead, range: ByteRange) {
    let rest = kept.second();
    let (from, to) = kept.range_line.unwrap_or((0, 0));
    frame.extend_from_slice(rest.get(..from).unwrap_or_default());
    byte_range(frame, range.start, range.end, range.total);
    frame.extend_from_slice(rest.get(to..).unwrap_or_default());
    frame.extend_from_slice(b"\r\n");
}

/// The end of a body: CRLF, dashes, id, flag, CRLF.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndLine {
    octets: [u8; END_LINE_BYTES_MAX],
    len: usize,
}

impl EndLine {
    pub(super) fn new(id: &TransactionId, flag: Flag) -> Self {
        let parts = [b"\r\n-------", id.as_bytes(), &[flag.byte()], b"\r\n"];
        let mut octets = [0; END_LINE_BYTES_MAX];
        let mut len = 0;
        for (to, from) in octets.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
            len += 1;
        }
        Self { octets, len }
    }

    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

const END_LINE_BYTES_MAX: usize = 2 + 7 + IDENT_BYTES_MAX + 1 + 2;

/// Dashes, id, flag: the end of a frame without a body.
pub(super) fn end_line(frame: &mut Vec<u8>, id: &TransactionId, flag: Flag) {
    frame.extend_from_slice(b"-------");
    frame.extend_from_slice(id.as_bytes());
    frame.push(flag.byte());
    frame.extend_from_slice(b"\r\n");
}

/// A response's code with its comment (RFC 4975 §10); 400 for one that RFC doesn't know.
pub(super) fn code(code: u16) -> &'static [u8] {
    match code {
        200 => b"200 OK",
        400 => b"400 Bad Request",
        403 => b"403 Forbidden",
        404 => b"404 Not Found",
        408 => b"408 Timeout",
        413 => b"413 Stop Sending",
        415 => b"415 Unsupported Media Type",
        423 => b"423 Parameter Out of Bounds",
        424 => b"424 Malformed Nickname",
        425 => b"425 Nickname Reserved",
        481 => b"481 No Such Session",
        501 => b"501 Unknown Method",
        506 => b"506 Session In Use",
        _ => b"400 Bad Request",
    }
}

/// A number in decimal; `None` is `*`.
pub(super) fn number(frame: &mut Vec<u8>, number: Option<u64>) {
    let Some(mut left) = number else {
        frame.push(b'*');
        return;
    };
    let mut digits = [b'0'; 20];
    let mut first = digits.len() - 1;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        first = at;
        if left == 0 {
            break;
        }
    }
    frame.extend_from_slice(digits.get(first..).unwrap_or_default());
}
