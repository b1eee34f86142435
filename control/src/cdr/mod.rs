//! One line per session: what it was and why it ended.
//!
//! ```text
//! engine ─Cdr─▶ CdrWriter ─bounded queue─▶ thread ─▶ file        run loop never waits for a disk
//!                   └── no file, or no room ──▶ log (without parties)
//! ```

mod writer;

pub use writer::CdrWriter;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::admin::{Mode, Traffic};
use crate::config::{Role, StreamKind};

/// What a session was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cdr {
    /// Its number.
    pub session: u64,
    /// Whether the media passed here.
    pub mode: Mode,
    /// Whom the relay served.
    pub role: Role,
    /// When its INVITE came.
    pub started: Stamp,
    /// When it was answered with 2xx, if it was.
    pub answered: Option<Stamp>,
    /// When it ended.
    pub ended: Stamp,
    /// From the INVITE to the 2xx, in milliseconds.
    pub setup_ms: Option<u64>,
    /// From the 2xx to the end, in milliseconds; 0 when it was not answered.
    pub duration_ms: u64,
    /// Conversation-ID of the INVITE.
    pub conversation_id: Option<String>,
    /// Contribution-ID of the INVITE.
    pub contribution_id: Option<String>,
    /// Call-ID of side A's dialog, of side B's; the same for a proxied session.
    pub call_ids: Vec<String>,
    /// Who took part; left out of the log, and of the file where `cdr.parties` is false.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub parties: Option<Parties>,
    /// Its streams.
    pub streams: Vec<StreamRecord>,
    /// What became of the served user's history of it; none was due where this is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// The group session that this is one participant's part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRecord>,
    /// Why it ended.
    pub end: End,
}

/// A participant's place in a group session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupRecord {
    /// The session's identity.
    pub identity: String,
    /// The participant's number in it, from 1.
    pub participant: u32,
}

/// What had become of a session's history when the session was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum History {
    /// It was stored.
    Stored {
        /// Its Message-UID.
        uid: String,
    },
    /// The store couldn't be reached: it is stored later.
    Queued,
    /// The store had not answered in time: it is stored later.
    Late,
}

/// Who took part, as SIP URIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parties {
    /// The user that the relay served.
    pub served_user: String,
    /// The other one.
    pub peer: String,
}

/// What a stream of a session was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamRecord {
    /// Its m-line, from 0.
    pub index: usize,
    /// Its kind.
    pub kind: StreamKind,
    /// What came from side A.
    pub a: Traffic,
    /// What came from side B.
    pub b: Traffic,
}

/// Who ended a session, why, and with which status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct End {
    /// Who.
    pub by: EndedBy,
    /// Why.
    pub why: EndReason,
    /// The final response's status code, or the cause of a Reason header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The side that the INVITE came from.
    A,
    /// The side that it was sent to.
    B,
    /// The relay itself.
    Relay,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A BYE.
    Bye,
    /// The INVITE was cancelled.
    Cancelled,
    /// The INVITE was answered with a final response other than 2xx.
    Refused,
    /// No final response came in time (Timer B or C), or no ACK.
    NoAnswer,
    /// A stream was silent, and `media.silence_action` is `release`.
    Silent,
    /// The session timer ran out (RFC 4028 §10).
    Expired,
    /// An in-dialog request showed that the dialog is gone: 408 or 481 (RFC 5057).
    DialogLost,
    /// A media connection of its was lost and not made again in time.
    ConnectionLost,
    /// The worker that had its media ended.
    WorkerLost,
    /// The relay had no room for it.
    NoRoom,
    /// The policy doesn't allow it.
    Policy,
    /// The relay was stopped.
    Stopped,
}

/// A moment; written as UTC to the millisecond: `2026-01-31T12:00:00.000Z` (RFC 3339 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub SystemTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A clock that was never set is before 1970 at worst, and shown as 1970.
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (year, month, day) = civil_date(seconds / 86_400);
        let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
        let (second, milli) = (seconds % 60, since.subsec_millis());
        write!(out, "{year:04}-{month:02}-{day:02}")?;
        write!(out, "T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a number of days since 1970 (Gregorian).
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last; 719,468 days lie between
    // 0000-03-01 and 1970-01-01, and 146,097 in each 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
