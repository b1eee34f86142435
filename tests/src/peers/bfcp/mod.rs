//! A BFCP client (RFC 8855): over TCP, and over UDP with its timers and acknowledgements.

mod client;
mod message;

pub use client::{Client, Heard};
pub use message::{Attribute, Content, Info, Message};

/// Primitives (RFC 8855 Table 1).
#[expect(missing_docs, reason = "they are called as the table calls them")]
pub mod primitive {
    pub const FLOOR_REQUEST: u8 = 1;
    pub const FLOOR_RELEASE: u8 = 2;
    pub const FLOOR_REQUEST_QUERY: u8 = 3;
    pub const FLOOR_REQUEST_STATUS: u8 = 4;
    pub const USER_QUERY: u8 = 5;
    pub const USER_STATUS: u8 = 6;
    pub const FLOOR_QUERY: u8 = 7;
    pub const FLOOR_STATUS: u8 = 8;
    pub const CHAIR_ACTION: u8 = 9;
    pub const CHAIR_ACTION_ACK: u8 = 10;
    pub const HELLO: u8 = 11;
    pub const HELLO_ACK: u8 = 12;
    pub const ERROR: u8 = 13;
    pub const FLOOR_REQUEST_STATUS_ACK: u8 = 14;
    pub const FLOOR_STATUS_ACK: u8 = 15;
    pub const GOODBYE: u8 = 16;
    pub const GOODBYE_ACK: u8 = 17;
}

/// Attributes (RFC 8855 Table 2).
#[expect(missing_docs, reason = "they are called as the table calls them")]
pub mod attribute {
    pub const BENEFICIARY_ID: u8 = 1;
    pub const FLOOR_ID: u8 = 2;
    pub const FLOOR_REQUEST_ID: u8 = 3;
    pub const PRIORITY: u8 = 4;
    pub const REQUEST_STATUS: u8 = 5;
    pub const ERROR_CODE: u8 = 6;
    pub const ERROR_INFO: u8 = 7;
    pub const PARTICIPANT_PROVIDED_INFO: u8 = 8;
    pub const STATUS_INFO: u8 = 9;
    pub const SUPPORTED_ATTRIBUTES: u8 = 10;
    pub const SUPPORTED_PRIMITIVES: u8 = 11;
    pub const USER_DISPLAY_NAME: u8 = 12;
    pub const USER_URI: u8 = 13;
    pub const BENEFICIARY_INFORMATION: u8 = 14;
    pub const FLOOR_REQUEST_INFORMATION: u8 = 15;
    pub const REQUESTED_BY_INFORMATION: u8 = 16;
    pub const FLOOR_REQUEST_STATUS: u8 = 17;
    pub const OVERALL_REQUEST_STATUS: u8 = 18;
}

/// What has become of a request (RFC 8855 Table 4).
#[expect(missing_docs, reason = "they are called as the table calls them")]
pub mod status {
    pub const PENDING: u8 = 1;
    pub const ACCEPTED: u8 = 2;
    pub const GRANTED: u8 = 3;
    pub const DENIED: u8 = 4;
    pub const CANCELLED: u8 = 5;
    pub const RELEASED: u8 = 6;
    pub const REVOKED: u8 = 7;
}
