//! What a worker hands to control of the content it relays, where a plan asks for it.

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
        /// Message-ID (RFC 4975 §7.1).
        message_id: Vec<u8>,
        /// Content-Type, empty where there was none.
        content_type: Vec<u8>,
        /// The message's size, where its Byte-Range gave it.
        total: Option<u64>,
    },
    /// Octets of its body.
    Data {
        /// The message's number.
        message: u32,
        /// Where they belong, from 0.
        offset: u64,
        /// They.
        bytes: Vec<u8>,
    },
    /// It has ended.
    End {
        /// The message's number.
        message: u32,
        /// Whether all of it was there and nobody reported its failure; `false`: it was aborted,
        /// refused, or the session ended before.
        is_complete: bool,
    },
    /// Nothing more comes of this session: its streams are released.
    Closed,
}
