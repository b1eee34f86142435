//! The end line: held against octets, and held back while it is incomplete.

use super::{Flag, IDENT_BYTES_MAX, TransactionId};

/// Octets that may be the beginning of an end line, or that were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    octets: [u8; END_LINE_BYTES_MAX],
    pub(super) len: usize,
    /// The first two are the empty line's CRLF and no part of the body.
    phantom: bool,
    /// Of the octets held before: from, to.
    spent: (usize, usize),
}

impl Default for Held {
    fn default() -> Self {
        Self {
            octets: [0; END_LINE_BYTES_MAX],
            len: 0,
            phantom: false,
            spent: (0, 0),
        }
    }
}

/// What octets are, held against an end line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Not,
    /// Its front.
    Prefix,
    /// All of it.
    End(Flag),
    /// All of the guarded one.
    Guard,
}

impl Fit {
    pub(super) fn of_guard(self) -> Self {
        match self {
            Self::End(_) => Self::Guard,
            Self::Not | Self::Prefix | Self::Guard => self,
        }
    }
}

/// Holds octets against CRLF, seven dashes, the id, a flag, CRLF.
pub(super) fn fit_one(id: &TransactionId, octets: &[u8]) -> Fit {
    let fixed = CRLF_DASHES.iter().chain(id.as_bytes());
    if !octets.iter().zip(fixed).all(|(one, other)| one == other) {
        return Fit::Not;
    }
    let before_flag = CRLF_DASHES.len().saturating_add(id.as_bytes().len());
    let Some(rest) = octets.get(before_flag..) else {
        return Fit::Prefix;
    };
    match rest {
        [] => Fit::Prefix,
        [flag, end @ ..] => match (Flag::from_byte(*flag), end) {
            (Some(_), [] | [b'\r']) => Fit::Prefix,
            (Some(flag), [b'\r', b'\n']) => Fit::End(flag),
            (Some(_) | None, _) => Fit::Not,
        },
    }
}

pub(super) fn end_line_len(id: &TransactionId) -> usize {
    // CRLF, dashes, id, flag, CRLF
    CRLF_DASHES
        .len()
        .saturating_add(id.as_bytes().len())
        .saturating_add(3)
}

impl Held {
    pub(super) fn phantom() -> Self {
        let mut held = Self::default();
        held.hold(b"\r\n");
        held.phantom = true;
        held
    }

    pub(super) fn hold(&mut self, octets: &[u8]) {
        *self = Self::default();
        let count = octets.len().min(END_LINE_BYTES_MAX);
        if let (Some(to), Some(from)) = (self.octets.get_mut(..count), octets.get(..count)) {
            to.copy_from_slice(from);
        }
        self.len = count;
    }

    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    pub(super) fn with(mut self, octet: u8) -> Option<Self> {
        *self.octets.get_mut(self.len)? = octet;
        self.len = self.len.checked_add(1)?;
        Some(self)
    }

    /// Its octets are handed out: they stay readable until something is held again.
    pub(super) fn spend(&mut self) {
        let from = if self.phantom { 2 } else { 0 };
        self.spent = (from, self.len);
        self.len = 0;
        self.phantom = false;
    }

    pub(super) fn spent(&self) -> &[u8] {
        let (from, to) = self.spent;
        self.octets.get(from..to).unwrap_or_default()
    }
}

pub(super) const DASHES: &[u8] = b"-------";
pub(super) const CRLF_DASHES: &[u8] = b"\r\n-------";
/// The longest end line with the CRLF before it.
pub(super) const END_LINE_BYTES_MAX: usize = CRLF_DASHES.len() + IDENT_BYTES_MAX + 3;
