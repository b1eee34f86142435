//! The header that all messages begin with (RFC 8855 §5.1).

/// Octets of the header of a whole message.
pub const HEAD_BYTES: usize = 12;
/// Octets of the header of a fragment.
pub const HEAD_FRAGMENT_BYTES: usize = 16;

/// What carries messages: it decides the version and what R and F mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TCP or TLS: version 1, no fragments, no acknowledgements.
    Reliable,
    /// UDP: version 2.
    Unreliable,
}

impl Carrier {
    /// The version spoken over it.
    #[must_use]
    pub fn version(self) -> u8 {
        match self {
            Self::Reliable => 1,
            Self::Unreliable => 2,
        }
    }
}

/// The header of a message or of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The protocol's version, 0 to 7.
    pub version: u8,
    /// The message answers one (R); says nothing in version 1.
    pub is_response: bool,
    /// What it is about; see [`Primitive::from_number`](super::Primitive::from_number).
    pub primitive: u8,
    /// Words of the whole message's attributes.
    pub payload_words: u16,
    /// The conference.
    pub conference: u32,
    /// The transaction; 0 for what a server starts in version 1.
    pub transaction: u16,
    /// The user that sends it or gets it.
    pub user: u16,
    /// Which part of the message follows; `None`: all of it.
    pub fragment: Option<Fragment>,
}

/// Which part of a message a fragment has (RFC 8855 §6.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Words in the fragments before it.
    pub offset: u16,
    /// Words in it.
    pub words: u16,
}

/// Why octets are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// They are fewer than a header has.
    Short,
    /// The payload's length is another than what there is. The header is right as far as it goes.
    Length(Head),
}

impl Head {
    /// Reads the header that a stream's message begins with; F and R mean nothing there.
    #[must_use]
    pub fn of_stream(octets: &[u8]) -> Option<Self> {
        let head = Self::fixed(octets)?;
        Some(Self {
            is_response: false,
            ..head
        })
    }

    fn fixed(octets: &[u8]) -> Option<Self> {
        let (&[flags, primitive, p0, p1, c0, c1, c2, c3, t0, t1, u0, u1], _) =
            octets.split_first_chunk::<HEAD_BYTES>()?;
        Some(Self {
            version: flags >> 5,
            is_response: flags & RESPONSE != 0,
            primitive,
            payload_words: u16::from_be_bytes([p0, p1]),
            conference: u32::from_be_bytes([c0, c1, c2, c3]),
            transaction: u16::from_be_bytes([t0, t1]),
            user: u16::from_be_bytes([u0, u1]),
            fragment: None,
        })
    }

    /// Reads a datagram: its header, and the attributes or the part of them that it has.
    ///
    /// # Errors
    ///
    /// When it is too short for a header, or its length is another one than it says.
    pub fn of_datagram(octets: &[u8]) -> Result<(Self, &[u8]), HeadError> {
        let head = Self::fixed(octets).ok_or(HeadError::Short)?;
        let flags = octets.first().copied().unwrap_or(0);
        let rest = octets.get(HEAD_BYTES..).ok_or(HeadError::Short)?;
        if flags & FRAGMENT == 0 {
            let fits = rest.len() == head.payload_bytes();
            return fits.then_some((head, rest)).ok_or(HeadError::Length(head));
        }
        let (&[o0, o1, l0, l1], part) = rest.split_first_chunk::<4>().ok_or(HeadError::Short)?;
        let fragment = Fragment {
            offset: u16::from_be_bytes([o0, o1]),
            words: u16::from_be_bytes([l0, l1]),
        };
        let end = u32::from(fragment.offset).saturating_add(fragment.words.into());
        let head = Self {
            fragment: Some(fragment),
            ..head
        };
        let fits = part.len() == bytes(fragment.words) && end <= u32::from(head.payload_words);
        if fits && fragment.words > 0 {
            Ok((head, part))
        } else {
            Err(HeadError::Length(head))
        }
    }

    /// Octets of the whole message's attributes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        bytes(self.payload_words)
    }

    /// Appends it as it goes out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let response = if self.is_response { RESPONSE } else { 0 };
        let part = if self.fragment.is_some() { FRAGMENT } else { 0 };
        out.push(self.version.wrapping_shl(5) | response | part);
        out.push(self.primitive);
        out.extend_from_slice(&self.payload_words.to_be_bytes());
        out.extend_from_slice(&self.conference.to_be_bytes());
        out.extend_from_slice(&self.transaction.to_be_bytes());
        out.extend_from_slice(&self.user.to_be_bytes());
        if let Some(fragment) = self.fragment {
            out.extend_from_slice(&fragment.offset.to_be_bytes());
            out.extend_from_slice(&fragment.words.to_be_bytes());
        }
    }
}

/// Octets of so many words.
pub(super) fn bytes(words: u16) -> usize {
    usize::from(words).saturating_mul(4)
}

const RESPONSE: u8 = 0b0001_0000;
const FRAGMENT: u8 = 0b0000_1000;
