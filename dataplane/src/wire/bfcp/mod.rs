//! BFCP messages (RFC 8855 §5): what they are made of, how they are read and written.
//!
//! ```text
//!  0                   1                   2                   3
//! | Ver |R|F| Res |   primitive   |        payload length         |
//! |                         conference                            |
//! |          transaction          |             user              |
//! |  fragment offset (if F)       |   fragment length (if F)      |
//! |   type      |M|    length     |  value, padded to 4 octets    |
//! ```
//!
//! Lengths of messages and fragments are counted in words of four octets without the header,
//! those of attributes in octets with theirs and without the padding.

mod attribute;
mod fragments;
mod framer;
mod head;
mod message;
mod write;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Attributes, Group, Value, unknown_mandatory};
pub use fragments::{Fragments, Joined, Reassembly, fragments};
pub use framer::{Framer, Step};
pub use head::{Carrier, Fragment, HEAD_BYTES, HEAD_FRAGMENT_BYTES, Head, HeadError};
pub use message::{ActionOn, FloorIds, Message, floors_decided};
pub use write::Writer;

/// What a BFCP message is about (RFC 8855 §5.1, Table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Primitive {
    /// A participant asks for floors.
    FloorRequest = 1,
    /// It gives them back, or asks no longer.
    FloorRelease = 2,
    /// Asks for the state of a request.
    FloorRequestQuery = 3,
    /// The server tells it.
    FloorRequestStatus = 4,
    /// Asks for a user and its requests.
    UserQuery = 5,
    /// The server tells them.
    UserStatus = 6,
    /// Asks for the requests for floors, now and whenever they change.
    FloorQuery = 7,
    /// The server tells those of one floor.
    FloorStatus = 8,
    /// A chair decides.
    ChairAction = 9,
    /// The server has heard it.
    ChairActionAck = 10,
    /// Asks what the server supports, and whether it is there.
    Hello = 11,
    /// The server tells.
    HelloAck = 12,
    /// A request was refused.
    Error = 13,
    /// A participant has got a FloorRequestStatus that it hadn't asked for (unreliable transport).
    FloorRequestStatusAck = 14,
    /// The same for a FloorStatus.
    FloorStatusAck = 15,
    /// One end leaves.
    Goodbye = 16,
    /// The other one has heard it.
    GoodbyeAck = 17,
}

impl Primitive {
    /// All of them, by their number.
    pub const ALL: [Self; 17] = [
        Self::FloorRequest,
        Self::FloorRelease,
        Self::FloorRequestQuery,
        Self::FloorRequestStatus,
        Self::UserQuery,
        Self::UserStatus,
        Self::FloorQuery,
        Self::FloorStatus,
        Self::ChairAction,
        Self::ChairActionAck,
        Self::Hello,
        Self::HelloAck,
        Self::Error,
        Self::FloorRequestStatusAck,
        Self::FloorStatusAck,
        Self::Goodbye,
        Self::GoodbyeAck,
    ];

    /// The primitive of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether it answers a message, and so never begins a transaction. What FloorRequestStatus,
    /// FloorStatus and UserStatus are depends on the transaction.
    #[must_use]
    pub fn is_answer(self) -> bool {
        match self {
            Self::ChairActionAck
            | Self::HelloAck
            | Self::Error
            | Self::FloorRequestStatusAck
            | Self::FloorStatusAck
            | Self::GoodbyeAck => true,
            Self::FloorRequest
            | Self::FloorRelease
            | Self::FloorRequestQuery
            | Self::FloorRequestStatus
            | Self::UserQuery
            | Self::UserStatus
            | Self::FloorQuery
            | Self::FloorStatus
            | Self::ChairAction
            | Self::Hello
            | Self::Goodbye => false,
        }
    }
}

/// The attributes' types (RFC 8855 §5.2, Table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The user that floors are for; 16 bits.
    BeneficiaryId = 1,
    /// A floor; 16 bits.
    FloorId = 2,
    /// A request; 16 bits.
    FloorRequestId = 3,
    /// Its priority; the upper 3 of 16 bits.
    Priority = 4,
    /// What has become of it, and its place in the queue.
    RequestStatus = 5,
    /// Why a request was refused, and details.
    ErrorCode = 6,
    /// That in words.
    ErrorInfo = 7,
    /// What a participant says of its request.
    ParticipantProvidedInfo = 8,
    /// What is said of a status.
    StatusInfo = 9,
    /// The attributes that the server supports.
    SupportedAttributes = 10,
    /// Its primitives.
    SupportedPrimitives = 11,
    /// A user's name.
    UserDisplayName = 12,
    /// Its URI.
    UserUri = 13,
    /// Whom a request is for; grouped.
    BeneficiaryInformation = 14,
    /// A request; grouped.
    FloorRequestInformation = 15,
    /// Who made it; grouped.
    RequestedByInformation = 16,
    /// Its status for one floor; grouped.
    FloorRequestStatus = 17,
    /// Its status; grouped.
    OverallRequestStatus = 18,
}

impl Kind {
    /// All of them, by their number.
    pub const ALL: [Self; 18] = [
        Self::BeneficiaryId,
        Self::FloorId,
        Self::FloorRequestId,
        Self::Priority,
        Self::RequestStatus,
        Self::ErrorCode,
        Self::ErrorInfo,
        Self::ParticipantProvidedInfo,
        Self::StatusInfo,
        Self::SupportedAttributes,
        Self::SupportedPrimitives,
        Self::UserDisplayName,
        Self::UserUri,
        Self::BeneficiaryInformation,
        Self::FloorRequestInformation,
        Self::RequestedByInformation,
        Self::FloorRequestStatus,
        Self::OverallRequestStatus,
    ];

    /// The kind of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Its number, 1 to 127.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// What has become of a request (RFC 8855 §5.2.5, Table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Its chair hasn't decided.
    Pending = 1,
    /// It waits in the queue.
    Accepted = 2,
    /// It has the floor.
    Granted = 3,
    /// It was refused.
    Denied = 4,
    /// It was taken back before it was granted.
    Cancelled = 5,
    /// The floor was given back.
    Released = 6,
    /// The floor was taken away.
    Revoked = 7,
}

impl Status {
    /// All of them, by their number.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Accepted,
        Self::Granted,
        Self::Denied,
        Self::Cancelled,
        Self::Released,
        Self::Revoked,
    ];

    /// The status of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Which requests come first (RFC 8855 §5.2.4, Table 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Priority {
    /// Behind all others.
    Lowest = 0,
    /// Behind most.
    Low = 1,
    /// As most are; also what one is that has another number (§5.2.4).
    #[default]
    Normal = 2,
    /// Before most.
    High = 3,
    /// Before all others.
    Highest = 4,
}

impl Priority {
    /// The priority of a number of 3 bits; those that aren't assigned are normal.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Lowest,
            1 => Self::Low,
            3 => Self::High,
            4 => Self::Highest,
            _ => Self::Normal,
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Why a request was refused (RFC 8855 §5.2.6, Table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// Conference does not exist.
    Conference = 1,
    /// User does not exist.
    User = 2,
    /// Unknown primitive.
    Primitive = 3,
    /// Unknown mandatory attribute; the details list them.
    MandatoryAttribute = 4,
    /// Unauthorised operation.
    Unauthorized = 5,
    /// Invalid floor.
    Floor = 6,
    /// Request does not exist.
    Request = 7,
    /// The user has as many requests for this floor as it may have.
    TooManyRequests = 8,
    /// Use TLS.
    UseTls = 9,
    /// The message can't be parsed.
    Unparsable = 10,
    /// Use DTLS.
    UseDtls = 11,
    /// Unsupported version.
    Version = 12,
    /// Incorrect message length.
    Length = 13,
    /// Anything else.
    Generic = 14,
}

impl ErrorCode {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}
