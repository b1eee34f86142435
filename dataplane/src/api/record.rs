//! What a worker hands to control of the content it relays, where a plan asks for it.
//!
//! ```text
//! session   Begin 0 ─▶ Data 0 ─▶ Begin 1 ─▶ Data 0 ─▶ End 0 ─▶ End 1 ─▶ ... ─▶ Closed
//! ```
//!
//! What is recorded is what the relay accepts: each octet of a SEND's body that it passes on, from
//! both sides. Responses, REPORTs, other requests and refused SENDs are no content. A message
//! begins with the first chunk of its Message-ID and ends
//!
//! | when | `is_complete` |
//! |---|---|
//! | a chunk with `$` has come and no octet before it is missing | yes, unless its failure was reported before |
//! | a chunk of it ends with `#`, is refused, or is given up (408, 413, 481, a lost connection) | no |
//! | more than `limits::MSRP_RECORDED_MESSAGES` of that side are open: the oldest | no |
//! | its stream is released | no |
//!
//! After an incomplete end, further chunks of that Message-ID are another message. After a complete
//! one, a chunk that doesn't start at octet 1 is a repeated one and isn't recorded.
//!
//! **A message that ended complete may end once more, as incomplete**: the far end, or the relay for
//! it, reported its failure after its last octet. The last end counts. That is noticed for the last
//! `limits::MSRP_RECORDED_ENDED` messages of a side, and until its stream is released.

use super::{SessionId, Side, StreamId};

/// A piece of a recorded session, in the order in which the worker saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The session.
    pub session: SessionId,
    /// What it is.
    pub part: RecordPart,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordPart {
    /// A message begins (the first chunk of a Message-ID on that stream and side).
    Begin {
        /// The stream.
        stream: StreamId,
        /// The side that sent it.
        from: Side,
        /// The message's number in this session, from 0; what the other parts name it by.
        message: u32,
        /// Message-ID (RFC 4975 §7.1); at most `limits::MSRP_MESSAGE_ID_BYTES`.
        message_id: Vec<u8>,
        /// Content-Type, empty where there was none; at most `limits::MSRP_HEAD_BYTES`.
        content_type: Vec<u8>,
        /// The message's size, where its Byte-Range gave it.
        total: Option<u64>,
    },
    /// Octets of its body.
    Data {
        /// The message's number.
        message: u32,
        /// Where they belong, from 0, as their sender says: chunks may come in any order, twice,
        /// or name an offset that no message has.
        offset: u64,
        /// They; at most `limits::RECORD_BYTES`.
        bytes: Vec<u8>,
    },
    /// It has ended.
    End {
        /// The message's number.
        message: u32,
        /// Whether all of it was there and nobody reported its failure; `false`: it was aborted,
        /// refused, or the session ended before. A later end of the same message counts instead.
        is_complete: bool,
    },
    /// Nothing more comes of this session: its streams are released. It comes once for every session
    /// that had a stream to be recorded, also one without MSRP or that was never answered.
    Closed,
}

impl Record {
    /// Octets that it carries.
    #[must_use]
    pub fn octets(&self) -> usize {
        match &self.part {
            RecordPart::Begin {
                message_id,
                content_type,
                ..
            } => message_id.len() + content_type.len(),
            RecordPart::Data { bytes, .. } => bytes.len(),
            RecordPart::End { .. } | RecordPart::Closed => 0,
        }
    }
}
