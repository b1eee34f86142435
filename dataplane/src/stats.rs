//! One worker's counters, and why a packet was dropped.
//!
//! Inside the worker they are plain numbers; housekeeping publishes them for control to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Why a packet or a piece of a stream was dropped; `as usize` is its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// It came to a socket whose leg is gone.
    NoLeg,
    /// It came from an address that is not the leg's.
    Source,
    /// It is neither RTP, RTCP nor DTLS.
    NotRtp,
    /// The stream's direction doesn't let it pass.
    Direction,
    /// The far leg's address is not known yet.
    NoRemote,
    /// The stream is frozen: it is being released.
    Frozen,
    /// No frame was free.
    PoolFull,
    /// The kernel refused to send it.
    SendFailed,
    /// It is not MSRP, or breaks its grammar.
    NotMsrp,
    /// It is for a session that this connection isn't bound to.
    NotBound,
    /// It asks the MSRP relay for what it has no right to.
    NotAuthorized,
    /// The next hop of an MSRP request can't be reached.
    NoNextHop,
    /// It is longer than a frame.
    TooLong,
    /// A TLS or WebSocket handshake failed, or took too long.
    Handshake,
    /// It breaks TLS or WebSocket.
    BrokenLayer,
    /// Its far end's certificate is not the announced one.
    Fingerprint,
    /// Its connection took nothing of what waited for it for too long.
    Stalled,
    /// Its sender doesn't have the floor.
    Floor,
    /// Its payload type is none that was agreed on.
    Format,
    /// Too many members of its room send at a time.
    Crowded,
    /// It came too late or twice, or is from before its source began, since another one sent.
    Stale,
    /// The road to the worker of its member or of its room had no room.
    RoadFull,
}

impl DropReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 22] = [
        Self::NoLeg,
        Self::Source,
        Self::NotRtp,
        Self::Direction,
        Self::NoRemote,
        Self::Frozen,
        Self::PoolFull,
        Self::SendFailed,
        Self::NotMsrp,
        Self::NotBound,
        Self::NotAuthorized,
        Self::NoNextHop,
        Self::TooLong,
        Self::Handshake,
        Self::BrokenLayer,
        Self::Fingerprint,
        Self::Stalled,
        Self::Floor,
        Self::Format,
        Self::Crowded,
        Self::Stale,
        Self::RoadFull,
    ];

    /// Its name as a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoLeg => "no_leg",
            Self::Source => "source",
            Self::NotRtp => "not_rtp",
            Self::Direction => "direction",
            Self::NoRemote => "no_remote",
            Self::Frozen => "frozen",
            Self::PoolFull => "pool_full",
            Self::SendFailed => "send_failed",
            Self::NotMsrp => "not_msrp",
            Self::NotBound => "not_bound",
            Self::NotAuthorized => "not_authorized",
            Self::NoNextHop => "no_next_hop",
            Self::TooLong => "too_long",
            Self::Handshake => "handshake",
            Self::BrokenLayer => "broken_layer",
            Self::Fingerprint => "fingerprint",
            Self::Stalled => "stalled",
            Self::Floor => "floor",
            Self::Format => "format",
            Self::Crowded => "crowded",
            Self::Stale => "stale",
            Self::RoadFull => "road_full",
        }
    }
}

/// The codes of MSRP responses that are counted one by one (RFC 4975 §10, RFC 4976, RFC 7701); all
/// others together, as 0.
pub const MSRP_CODES: [u16; 16] = [
    200, 400, 401, 403, 404, 408, 413, 415, 423, 424, 425, 428, 481, 501, 506, 0,
];

/// Where a code is counted in [`MSRP_CODES`].
#[must_use]
pub fn msrp_code(code: u16) -> usize {
    let known = MSRP_CODES.iter().position(|known| *known == code);
    known.unwrap_or(MSRP_CODES.len() - 1)
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One worker's counters; all only grow, but those that say "now".
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Dropped, by [`DropReason`].
            pub drops: [u64; DropReason::ALL.len()],
            /// MSRP responses that came, by [`MSRP_CODES`].
            pub msrp_responses_in: [u64; MSRP_CODES.len()],
            /// MSRP responses that were given, by [`MSRP_CODES`].
            pub msrp_responses_out: [u64; MSRP_CODES.len()],
        }

        /// What a worker last published.
        #[derive(Debug, Default)]
        pub struct Published {
            $($name: AtomicU64,)*
            drops: [AtomicU64; DropReason::ALL.len()],
            msrp_responses_in: [AtomicU64; MSRP_CODES.len()],
            msrp_responses_out: [AtomicU64; MSRP_CODES.len()],
        }

        impl Published {
            /// Publishes a worker's counters.
            pub fn store(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
                store_all(&self.drops, &stats.drops);
                store_all(&self.msrp_responses_in, &stats.msrp_responses_in);
                store_all(&self.msrp_responses_out, &stats.msrp_responses_out);
            }

            /// Reads what was published last.
            #[must_use]
            pub fn load(&self) -> Stats {
                Stats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    drops: load_all(&self.drops),
                    msrp_responses_in: load_all(&self.msrp_responses_in),
                    msrp_responses_out: load_all(&self.msrp_responses_out),
                }
            }
        }

        impl Stats {
            /// Every counter but those of drops and codes, with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

fn store_all(to: &[AtomicU64], from: &[u64]) {
    for (to, from) in to.iter().zip(from) {
        to.store(*from, Ordering::Relaxed);
    }
}

fn load_all<const N: usize>(from: &[AtomicU64; N]) -> [u64; N] {
    from.each_ref().map(|from| from.load(Ordering::Relaxed))
}

counters! {
    /// Datagrams received.
    datagrams_in,
    /// Datagrams sent.
    datagrams_out,
    /// Octets of datagrams received.
    datagram_bytes_in,
    /// Octets of datagrams sent.
    datagram_bytes_out,
    /// Octets of connections received.
    stream_bytes_in,
    /// Octets of connections handed to the kernel.
    stream_bytes_out,
    /// MSRP SENDs that were answered with 200 on behalf of the far side.
    msrp_acknowledged,
    /// Of those: answered with 200 by the far side, or not to be answered.
    msrp_delivered,
    /// Of those: reported to their sender as failed.
    msrp_reported,
    /// MSRP transactions open now.
    msrp_open,
    /// Of those reported: copies for a member of a group, whose failure isn't its sender's business.
    msrp_copies_failed,
    /// Notices that somebody is composing which were left out for a member that is slow.
    msrp_composing_shed,
    /// MSRP clients' AUTHs that were granted.
    msrp_auths,
    /// MSRP clients' AUTHs that were not, those that only ask for a challenge among them.
    msrp_auths_refused,
    /// Use-Paths of MSRP clients now.
    msrp_use_paths,
    /// Connections to next hops of MSRP requests now.
    msrp_next_hops,
    /// TLS and WebSocket handshakes that were completed.
    handshakes,
    /// Handshakes that were ended for a newer one, as there were too many.
    full_handshakes,
    /// MSRP legs that were silent for too long and lost their connection.
    msrp_idle,
    /// Sessions now.
    sessions,
    /// Rooms of group sessions now.
    rooms,
    /// Members' legs in them now.
    members,
    /// Roads to other workers now, with which group sessions are shared.
    roads,
    /// Times that a room's clock was served.
    room_ticks,
    /// Of those: late, by `limits::LATE_TICK_MS` or more.
    late_ticks,
    /// Of those: by `limits::MISSED_TICK_MS` or more, so that a packet is late for everybody.
    missed_ticks,
    /// Messages of floor control that came.
    floor_messages_in,
    /// Messages of floor control that were sent, each once.
    floor_messages_out,
    /// Messages of floor control that were sent again, as nobody acknowledged them.
    floor_messages_again,
    /// Messages of floor control that came again, and were answered as before.
    floor_requests_again,
    /// Messages of floor control that were answered with an Error.
    floor_errors,
    /// What came as floor control and was dropped without an answer.
    floor_dropped,
    /// Requests that got their floors.
    floors_granted,
    /// Floors that were taken away, by a timer or a chair.
    floors_revoked,
    /// Members of floor control that were lost: silent, or without connection.
    floor_members_lost,
    /// Members, requests and notices of floor control that found no place.
    full_floors,
    /// Times that a room's audio was mixed.
    mix_ticks,
    /// Packets of mixed audio that were encoded; one that many get counts once.
    mix_encoded,
    /// Packets of mixed audio that were sent.
    mix_sent,
    /// Packets that rooms of mixed audio passed without decoding them.
    mix_forwarded,
    /// Packets of switched video that were sent.
    switch_sent,
    /// Of those: sent again, as a NACK asked for them.
    switch_resent,
    /// Packets of switched video that came twice.
    switch_duplicates,
    /// Key frames that sources of switched video were asked for.
    switch_key_requests,
    /// Times that a member got another picture.
    switches,
    /// Packets of switched video that weren't sent again, as too many were asked for.
    full_switch_resends,
    /// Sources of switched video whose packets can't be sent again, as too many are shown.
    full_switch_histories,
    /// Requests for lost packets that went to who sent them, in forwarded rooms.
    room_nacks,
    /// Sockets now.
    sockets,
    /// Ports of the pool that are free now.
    ports_free,
    /// Ports of the pool in all.
    ports_total,
    /// Orders refused as no port was left.
    full_ports,
    /// Orders refused as no session could be added.
    full_sessions,
    /// Orders refused as no room or no member could be added.
    full_rooms,
    /// Times that no frame was free.
    full_pool,
    /// MSRP transactions that found no place in the table.
    full_transactions,
    /// Times that a member of a group was so far behind that its messages failed.
    full_msrp_member,
    /// Use-Paths, pairs of paths and next hops that found no place.
    full_msrp_relay,
    /// Octets of MSRP content that were recorded.
    recorded_octets,
    /// Times that a source of recorded content had to wait, as control hadn't taken the records.
    full_records,
    /// Recorded messages that were ended for newer ones, as too many of their side were open.
    full_recorded_messages,
    /// Records that wait for room in their ring now.
    records_waiting,
    /// Datagram frames free now.
    frames_free,
    /// Stream frames free now.
    stream_frames_free,
    /// Orders that wait now.
    orders_waiting,
    /// Cycles of the worker.
    cycles,
    /// Cycles that slept.
    sleeps,
}

impl Stats {
    /// Counts a drop.
    pub fn drop(&mut self, why: DropReason) {
        self.drop_many(why, 1);
    }

    /// Counts drops that were counted together.
    pub fn drop_many(&mut self, why: DropReason, count: u64) {
        if let Some(drops) = self.drops.get_mut(why as usize) {
            *drops += count;
        }
    }
}

/// Where one worker publishes and control reads.
pub type Board = Arc<CachePadded<Published>>;
