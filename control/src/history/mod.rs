//! Session history: what was said and when, kept per served user (HST-01..06).
//!
//! ```text
//! worker ══ record ring ══▶ link ──▶ history thread: spool (durable) ──▶ objects ──▶ store
//! engine ──Ask::Begin / Finish──▶        │                                            │
//! engine ◀──────────────Told (UID or failure)◀────────────────────────────────────────┘
//! ```
//!
//! A session's content comes over its worker's record ring, its facts from the engine; the history
//! thread has both when it has seen the worker's end mark and [`Ask::Finish`], in any order.

mod counts;
mod embedded;
mod imap;
mod job;
mod journal;
mod keeper;
mod name;
mod objects;
mod spool;
mod store;
mod thread;

pub use embedded::{Pack, folder_of_user, packs, part};
pub use imap::ImapError;
pub use journal::Uid;
pub use thread::{History, HistoryError, check, embedded_in};

use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the engine asks of the history.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A session whose history is due has been answered. Once more for the same session: what is
    /// known of it has changed, as streams were added.
    Begin(Box<Facts>),
    /// It has ended: assemble and store. Answered by [`Told`] once it is stored, or by nobody
    /// within the engine's own deadline; it is stored all the same, later.
    Finish {
        /// The session's number.
        session: u64,
        /// When it ended.
        ended: SystemTime,
        /// No end mark will come: the worker is gone.
        worker_lost: bool,
    },
}

/// What is known of a session when it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The session's number, unique in this run of the process.
    pub session: u64,
    /// Whose history it is: the served user's asserted address.
    pub served_user: String,
    /// The other party's asserted address.
    pub peer: String,
    /// Whether the served user sent the invitation.
    pub is_sent: bool,
    /// Conversation-ID, the mailbox; one is made where none came.
    pub conversation_id: Option<String>,
    /// Contribution-ID, the mailbox below it.
    pub contribution_id: Option<String>,
    /// InReplyTo-Contribution-ID.
    pub in_reply_to: Option<String>,
    /// Subject.
    pub subject: Option<String>,
    /// P-Asserted-Service.
    pub service: Option<String>,
    /// Accept-Contact, each value.
    pub accept_contact: Vec<String>,
    /// The invited participants.
    pub invited: Vec<String>,
    /// The group session that it is the served user's part of.
    #[serde(default)]
    pub group: Option<Group>,
    /// The offer as the served side saw it; file transfers have their selectors there.
    #[serde(skip)]
    pub sdp: Option<Bytes>,
    /// When the INVITE came.
    pub begun: SystemTime,
}

/// What is known of a group session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The session's identity.
    pub identity: String,
    /// It is a pre-defined group's.
    pub is_defined: bool,
    /// Who takes part besides the served user, as far as the invitation says it.
    pub participants: Vec<String>,
}

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The session's number.
    pub session: u64,
    /// The Message-UID of the session info object, or why there is none yet; it will be stored.
    pub uid: Result<String, NotYet>,
}

/// Why a history isn't stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotYet {
    /// The store can't be reached, or refused it; it is tried again from the durable queue.
    Queued,
}

#[cfg(test)]
mod tests;
