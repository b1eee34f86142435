//! SIP: messages, transactions and dialogs, all sans-IO (RFC 3261, 3581, 6026).
//!
//! ```text
//! bytes ─▶ parse ─▶ message ─▶ transaction ─▶ TxEvent     message ◀─ dialog ◀─ the engine
//!          stream (TCP)        transaction ─▶ Transmit
//! ```

use std::net::SocketAddr;

pub mod dialog;
pub mod headers;
pub mod message;
pub mod name;
pub mod parse;
pub mod stream;
pub mod text;
pub mod transaction;
pub mod uri;
pub mod via;

#[cfg(test)]
mod tests;

pub use dialog::{Dialog, OutOfOrder};
pub use headers::{Header, Headers};
pub use message::{Message, Method, StartLine};
pub use name::Name;
pub use parse::ParseError;
pub use text::Text;
pub use transaction::{
    ClientKey, Repeat, ServerKey, SipCounters, Timers, TooMany, Transactions, Transmit, TxEvent,
};
pub use uri::{NameAddr, Uri};

/// How SIP messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// One message per datagram; may be lost.
    Udp,
    /// A stream of messages.
    Tcp,
}

impl Protocol {
    /// Whether the transport itself repeats what is lost.
    #[must_use]
    pub fn is_reliable(self) -> bool {
        self == Self::Tcp
    }
}

/// Where a message came from, or where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// The transport.
    pub protocol: Protocol,
    /// Our listener: what Via and Contact name.
    pub local: SocketAddr,
    /// The far side.
    pub remote: SocketAddr,
    /// The TCP connection; 0 if none yet (UDP, or to be found or made by address).
    pub connection: u64,
}
