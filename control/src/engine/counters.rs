//! What the engine counts.

/// Counters of the engine; all only grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Sessions begun as B2BUA.
    pub sessions_begun: u64,
    /// Of those: answered.
    pub sessions_answered: u64,
    /// Of those: ended.
    pub sessions_ended: u64,
    /// Of those begun: interworked.
    pub sessions_interworked: u64,
    /// INVITEs refused as a limit was reached.
    pub full_sessions: u64,
    /// INVITEs refused as no port was left.
    pub full_ports: u64,
    /// Offers refused with 488.
    pub offers_refused: u64,
    /// Offers made anew to a far side without CEMA (RFC 6714).
    pub offers_again: u64,
    /// Group sessions begun.
    pub groups_begun: u64,
    /// Of those: answered.
    pub groups_answered: u64,
    /// Of those: ended.
    pub groups_ended: u64,
    /// Requests that a group's policy has refused.
    pub groups_refused: u64,
    /// Connections of participants of group sessions that were lost.
    pub group_connections_lost: u64,
    /// Participants of group sessions who were released as nothing came from them.
    pub group_members_silent: u64,
    /// Streams that a group session had no room for.
    pub full_group_streams: u64,
    /// Requests proxied.
    pub proxied: u64,
    /// Requests to dialogs that aren't there.
    pub unknown_dialogs: u64,
    /// Sessions ended as nobody refreshed them.
    pub expired: u64,
    /// Sessions lost with their worker.
    pub lost: u64,
    /// Sessions that ended and whose history is due.
    pub histories_due: u64,
    /// Of those: stored while the session closed.
    pub histories_stored: u64,
    /// Of those: to be stored later, as the store said.
    pub histories_queued: u64,
    /// Of those: the store had not answered in time (CON-05).
    pub histories_late: u64,
    /// Third-party REGISTERs taken.
    pub registers: u64,
    /// REGISTERs refused as their sender isn't trusted.
    pub registers_refused: u64,
    /// Subscriptions to registration information that were refused: what REGISTERs say counts.
    pub subscriptions_refused: u64,
    /// Registration information that could not be read.
    pub reginfo_unreadable: u64,
    /// INVITEs to users without a registered device that may have them.
    pub unregistered: u64,
    /// REGISTERs and addresses that there was no room for in the device table.
    pub full_users: u64,
    /// Devices that there was no room for.
    pub full_devices: u64,
    /// Requests refused as nobody had asserted who sent them.
    pub without_identity: u64,
    /// INVITEs refused as the served user is barred.
    pub barred: u64,
    /// INVITEs that went on without their user's preferences, as these took too long.
    pub preferences_late: u64,
    /// Users whose preferences were not asked for, as too many were.
    pub preferences_unasked: u64,
    /// Subscriptions to group sessions, and REFERs whose outcome is to be told, that there was no
    /// room for.
    pub full_subscriptions: u64,
    /// Disposition notifications that the relay has made.
    pub notices_made: u64,
    /// Those that it has kept back, as one had told already or another may tell better.
    pub notices_kept_back: u64,
    /// Those that went on at once, as too many waited for others.
    pub full_notices: u64,
}
