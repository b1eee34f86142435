//! Settings of the users' session histories.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Where histories are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStore {
    /// Nowhere: nothing is recorded.
    #[default]
    Off,
    /// In files of this machine.
    Embedded,
    /// On an IMAP server, in each user's own account.
    Imap,
}

/// The users' session histories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Where they are kept.
    pub store: HistoryStore,
    /// The folder of what waits to be stored, and of the embedded store; `None` only where nothing
    /// is recorded.
    #[serde(deserialize_with = "values::unless_empty")]
    pub path: Option<PathBuf>,
    /// How long a BYE or its answer waits for the Message-UID.
    #[serde(rename = "deadline_ms", deserialize_with = "values::millis")]
    pub deadline: Duration,
    /// Octets of content of one session; what is beyond isn't recorded.
    pub session_octets_max: u64,
    /// Messages of one session; those beyond aren't recorded.
    pub session_messages_max: u32,
    /// Octets of all that waits; content beyond isn't recorded.
    pub octets_max: u64,
    /// Sessions that wait to be stored; those beyond aren't recorded.
    pub waiting_max: usize,
    /// How long the embedded store keeps a history; `None`: without end.
    #[serde(rename = "retention_days", deserialize_with = "values::days_or_never")]
    pub retention: Option<Duration>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            store: HistoryStore::Off,
            path: None,
            deadline: Duration::from_secs(2),
            session_octets_max: 256 << 20,
            session_messages_max: 10_000,
            octets_max: 8 << 30,
            waiting_max: 100_000,
            retention: None,
        }
    }
}

/// Whether what is said to the IMAP server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImapTls {
    /// From the first octet on (RFC 8314).
    #[default]
    Implicit,
    /// After STARTTLS.
    Starttls,
    /// Not at all.
    Off,
}

/// The IMAP server that histories are kept on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryImap {
    /// `host:port`; `None` only where the store is another one.
    #[serde(deserialize_with = "values::unless_empty")]
    pub server: Option<String>,
    /// Encryption.
    pub tls: ImapTls,
    /// PEM file with the authorities that the server's certificate may come from.
    pub ca: PathBuf,
    /// The user that is logged in, where `{user}` stands for the served one.
    pub login: String,
    /// File whose first line is the password.
    #[serde(deserialize_with = "values::unless_empty")]
    pub password_file: Option<PathBuf>,
    /// The mailbox above all conversations, where `{user}` stands for the served user.
    pub root: String,
    /// Connections at a time.
    pub connections_max: usize,
    /// How long the server may take for an answer.
    #[serde(rename = "answer_s_max", deserialize_with = "values::seconds")]
    pub answer_max: Duration,
}

impl Default for HistoryImap {
    fn default() -> Self {
        Self {
            server: None,
            tls: ImapTls::Implicit,
            ca: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            login: "{user}*midpath".to_owned(),
            password_file: None,
            root: "Default".to_owned(),
            connections_max: 8,
            answer_max: Duration::from_secs(30),
        }
    }
}
