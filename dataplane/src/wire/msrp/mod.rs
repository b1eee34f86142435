//! MSRP frames: bytes, without state or clock (RFC 4975 §9).
//!
//! ```text
//! MSRP 49fi SEND CRLF                          start line      ┐
//! To-Path: msrp://host:2855/session;tcp CRLF   first header    │ head, seen by `Head`
//! From-Path: ...                        CRLF   second header   │
//! Message-ID, Byte-Range, ...           CRLF   others          ┘
//! CRLF                                         only before a body
//! any octets                                   body, in pieces as they arrive
//! CRLF                                         only after a body
//! -------49fi$ CRLF                            end line: 7 dashes, transaction id, flag
//! ```
//!
//! [`Framer`] cuts a connection's octets into these parts without waiting for a whole frame;
//! [`Head`] reads the parts of a head in place.

mod address;
mod cpim;
mod end_line;
mod framer;
mod head;
mod uri;

pub use address::is_same_address;
pub use cpim::{Cpim, address_in, content_is, cpim_head_end, is_media_type};
pub use framer::{FrameError, Framer, Shared, Step};
pub use head::{ByteRange, FailureReport, Head, HeadError, Method, Return, StartLine, Status};
pub use uri::Uri;

use std::fmt;

/// What an end line says of the message (RFC 4975 §7.1): `$`, `+` or `#`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `$`: the message is complete.
    Complete,
    /// `+`: more of it follows in another chunk.
    More,
    /// `#`: it is given up.
    Aborted,
}

impl Flag {
    /// Reads a flag's character.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'$' => Some(Self::Complete),
            b'+' => Some(Self::More),
            b'#' => Some(Self::Aborted),
            _ => None,
        }
    }

    /// The flag's character.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Complete => b'$',
            Self::More => b'+',
            Self::Aborted => b'#',
        }
    }
}

/// Octets of the longest `ident` (RFC 4975 §9).
pub const IDENT_BYTES_MAX: usize = 32;
/// Octets of the shortest one.
pub const IDENT_BYTES_MIN: usize = 4;

/// A transaction id, kept: 4 to 32 characters (RFC 4975 §9 `ident`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransactionId {
    bytes: [u8; IDENT_BYTES_MAX],
    len: u8,
}

impl TransactionId {
    /// Reads an id; `None` where the grammar doesn't allow it.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        if !is_ident(text) {
            return None;
        }
        let mut bytes = [0; IDENT_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let len = u8::try_from(text.len()).ok()?;
        Some(Self { bytes, len })
    }

    /// Its characters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "TransactionId({})", self.as_bytes().escape_ascii())
    }
}

/// Whether this is an `ident`: `ALPHANUM 3*31ident-char` (RFC 4975 §9).
#[must_use]
pub fn is_ident(text: &[u8]) -> bool {
    (IDENT_BYTES_MIN..=IDENT_BYTES_MAX).contains(&text.len())
        && text.first().is_some_and(u8::is_ascii_alphanumeric)
        && text.iter().copied().all(is_ident_byte)
}

fn is_ident_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'%' | b'=')
}

#[cfg(test)]
mod tests;
