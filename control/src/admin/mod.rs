//! Health, counters, sessions: HTTP on loopback.
//!
//! The door never touches the engine. It puts a [`Question`] to the run loop and waits, for a
//! while, for the answer.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | [`Health`] as JSON; 200 while serving, 503 while draining |
//! | `/sessions` | a list of [`SessionView`] as JSON |
//! | `/metrics` | [`Metrics`] as OpenMetrics text |
//! | `POST /reload` | [`Reloaded`] as JSON; 409 with the complaint where nothing was changed |

mod metrics;
mod serve;

pub use serve::{Door, serve};

use std::net::SocketAddr;

use dataplane::stats::Stats;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::config::{Role, StreamKind};

/// What the door wants to know. An answer that nobody waits for any more may be dropped.
#[derive(Debug)]
pub enum Question {
    /// How the relay is.
    Health(oneshot::Sender<Health>),
    /// What sessions there are; at most `sip.sessions_max`.
    Sessions(oneshot::Sender<Vec<SessionView>>),
    /// Every counter.
    Metrics(oneshot::Sender<Metrics>),
    /// That the settings are read anew.
    Reload(oneshot::Sender<Result<Reloaded, Unloaded>>),
}

/// The settings were read anew and hold for new sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Settings that were changed and are taken at the next start only.
    pub at_next_start: Vec<&'static str>,
}

/// Why the settings were not read anew; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unloaded {
    /// The relay was started without a file.
    NoFile,
    /// What is wrong with the file, where, and the way out.
    Wrong(String),
}

/// How often users' preferences were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XcapCounts {
    /// A document came.
    pub fetched: u64,
    /// It was as before.
    pub unchanged: u64,
    /// There was none.
    pub missing: u64,
    /// It could not be had.
    pub failed: u64,
    /// INVITEs that went on without, as it took too long.
    pub late: u64,
    /// Users who were not asked for, as too many were.
    pub unasked: u64,
}

/// How often settings were read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReloadCounts {
    /// They were taken over.
    pub done: u64,
    /// They were not, as something was wrong.
    pub failed: u64,
}

/// How the relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What it does.
    pub state: RunState,
    /// Sessions now.
    pub sessions: usize,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Its workers, in order.
    pub workers: Vec<WorkerHealth>,
    /// The users' histories; left out where nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryHealth>,
}

/// How the store of the users' histories is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HistoryHealth {
    /// Whether it could be reached when it was wanted last.
    pub reachable: bool,
    /// Sessions that wait to be stored.
    pub queued: usize,
    /// How long the oldest of them has waited, in seconds.
    pub oldest_s: u64,
}

/// What the relay does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It takes new sessions.
    Serving,
    /// It refuses new sessions and waits for the last ones to end.
    Draining,
}

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerHealth {
    /// Its number, from 0.
    pub worker: usize,
    /// How it talks to the kernel.
    pub backend: &'static str,
    /// Whether its thread runs.
    pub alive: bool,
    /// Sessions on it.
    pub sessions: u64,
    /// Times it was started again after it had ended.
    pub restarts: u64,
}

/// Whether the relay is in the media path of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It only passes SIP on.
    Proxy,
    /// It is an endpoint on each side and relays the media.
    B2bua,
}

impl Mode {
    /// Its name as a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::B2bua => "b2bua",
        }
    }
}

/// A session, without people's numbers and addresses of SIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionView {
    /// Its number.
    pub id: u64,
    /// Whether the media passes here.
    pub mode: Mode,
    /// Whom the relay serves.
    pub role: Role,
    /// Its state's name.
    pub state: &'static str,
    /// Seconds since its INVITE came.
    pub age_s: u64,
    /// The worker that has its media; `None` for a proxied session.
    pub worker: Option<usize>,
    /// Who takes part, in a group session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<usize>,
    /// Its streams.
    pub streams: Vec<StreamView>,
}

/// A stream of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamView {
    /// Its m-line, from 0.
    pub index: usize,
    /// Its kind.
    pub kind: StreamKind,
    /// `sendrecv`, `sendonly`, ... as side A's SDP says it.
    pub direction: &'static str,
    /// Side A, side B.
    pub sides: [SideView; 2],
    /// Participants who hold its floor, in a group session that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<u32>>,
    /// The participant who speaks, in a group session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<u32>,
}

/// A side of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SideView {
    /// Where the relay receives.
    pub local: Option<SocketAddr>,
    /// Where the far end is.
    pub remote: Option<SocketAddr>,
    /// What came from it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// What came from one side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// RTP packets or MSRP frames.
    pub packets: u64,
    /// Their octets.
    pub bytes: u64,
    /// RTCP packets.
    pub rtcp_packets: u64,
    /// RTP packets that never came, by their sequence numbers.
    pub lost: u64,
    /// Received but not forwarded.
    pub dropped: u64,
}

/// What is known of users' devices, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistrationMetrics {
    /// Users that are known now.
    pub users: usize,
    /// REGISTERs of the core.
    pub registers: u64,
    /// REGISTERs of somebody who isn't trusted.
    pub registers_refused: u64,
    /// Subscriptions that the core refused.
    pub subscriptions_refused: u64,
    /// Documents that could not be read.
    pub reginfo_unreadable: u64,
    /// INVITEs to users without a registered device for them.
    pub unregistered: u64,
    /// Users and devices that there was no room for.
    pub full: u64,
}

/// Every counter of the relay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Each worker's counters and its backend's name.
    pub workers: Vec<(Stats, &'static str)>,
    /// Orders that wait in control's ring, by worker.
    pub orders_waiting: Vec<usize>,
    /// SIP messages.
    pub sip: SipMetrics,
    /// Sessions now, by mode and state.
    pub sessions: Vec<(Mode, &'static str, usize)>,
    /// Sessions begun since the start.
    pub sessions_begun: u64,
    /// Sessions refused for lack of room.
    pub sessions_refused: u64,
    /// Requests refused as their user is barred, or as nobody had asserted who sent them.
    pub refused_by_policy: u64,
    /// Sessions that went to Interworking Functions.
    pub sessions_interworked: u64,
    /// Group sessions begun, and participants now.
    pub groups: (u64, u64),
    /// Requests that a group's policy has refused.
    pub groups_refused: u64,
    /// Media connections of participants of group sessions that were lost, and participants released
    /// as nothing came from them.
    pub group_losses: (u64, u64),
    /// Streams that a group session had no room for; subscriptions to group sessions, and REFERs whose
    /// outcome is to be told, without room.
    pub full_of_groups: (u64, u64),
    /// Disposition notifications that the relay has made, those that it has kept back, and those that
    /// went on at once as too many waited.
    pub notices: (u64, u64, u64),
    /// Offers made anew to far sides without CEMA (RFC 6714).
    pub offers_again: u64,
    /// Sessions that ended and whose history was due.
    pub histories_due: u64,
    /// Of those: the store had not answered when somebody had to be told of the end.
    pub histories_late: u64,
    /// What is known of users' devices.
    pub registration: RegistrationMetrics,
    /// SIP dialogs now.
    pub dialogs: usize,
    /// SIP transactions now.
    pub transactions: usize,
    /// Users' preferences.
    pub xcap: XcapCounts,
    /// Settings read anew.
    pub reloads: ReloadCounts,
    /// Session records.
    pub cdr: CdrMetrics,
    /// The users' histories; `None`: nothing is recorded.
    pub history: Option<HistoryMetrics>,
    /// Seconds since the start.
    pub uptime_s: u64,
}

/// Counters of SIP. A method that isn't known is counted as `other`, so labels stay few.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SipMetrics {
    /// Requests received, by method.
    pub requests_in: Vec<(&'static str, u64)>,
    /// Requests sent, by method.
    pub requests_out: Vec<(&'static str, u64)>,
    /// Responses received, by status code.
    pub responses_in: Vec<(u16, u64)>,
    /// Responses sent, by status code.
    pub responses_out: Vec<(u16, u64)>,
    /// Messages that were sent again.
    pub retransmissions: u64,
    /// Messages received that are no SIP.
    pub malformed: u64,
}

/// Counters of session records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CdrMetrics {
    /// Written to the file, or to the log where there is no file.
    pub written: u64,
    /// Written to the log, as the file could not take them.
    pub diverted: u64,
}

/// Counters of the users' histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryMetrics {
    /// Sessions that are due and not stored.
    pub queued: usize,
    /// Sessions that were stored.
    pub stored: u64,
    /// Attempts to store that failed.
    pub failed: u64,
    /// Messages that there was no room for.
    pub dropped: u64,
    /// Sessions that there was no room for.
    pub refused: u64,
    /// Records of sessions that are over.
    pub strays: u64,
    /// Sessions stored without their worker's end mark, which never came.
    pub unmarked: u64,
    /// Records that the disk didn't take.
    pub unwritten: u64,
    /// Sessions whose record can't be read, set aside.
    pub unreadable: u64,
    /// Octets that are recorded and not yet stored.
    pub octets: u64,
    /// How long the oldest session that is queued has been, in seconds.
    pub oldest_s: u64,
    /// What the engine asked and the history has had no room for yet.
    pub held: usize,
    /// Whether the store can't be reached now.
    pub is_out: bool,
}

#[cfg(test)]
mod tests;
