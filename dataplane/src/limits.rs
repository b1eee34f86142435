//! Every maximum of the data plane, in one place: what it bounds and who needs it.

/// Bytes of one datagram frame: an Ethernet payload, the receive header and room to spare.
pub const DATAGRAM_FRAME_BYTES: usize = 2048;
/// Bytes at the start of a datagram frame that a backend may use for itself (kernel receive header).
pub const DATAGRAM_HEADROOM_BYTES: usize = 64;
/// Bytes of one stream frame: what is read from a connection at a time.
pub const STREAM_FRAME_BYTES: usize = 16 * 1024;
/// Datagram frames of a worker's pool.
pub const DATAGRAM_FRAMES: usize = 4096;
/// Stream frames of a worker's pool.
pub const STREAM_FRAMES: usize = 2048;
/// Items received in one cycle at most.
pub const RX_BATCH: usize = 256;
/// Items sent in one batch at most.
pub const TX_BATCH: usize = 256;
/// Streams (m-lines) of one session.
pub const STREAMS_PER_SESSION: usize = 8;
/// Sessions of one worker.
pub const SESSIONS_PER_WORKER: usize = 16_384;
/// Streams of one worker; those that are being released count until they are gone.
pub const STREAMS_PER_WORKER: usize = 32_768;
/// Rooms of one worker: streams of group sessions.
pub const ROOMS_PER_WORKER: usize = 8_192;
/// Members of one room; all of them are on one worker, whose core is full of what they get before.
pub const MEMBERS_PER_ROOM: usize = 4_096;
/// Roads of one worker to others, with which it shares group sessions.
pub const ROADS_PER_WORKER: usize = 256;
/// Octets of one parcel on such a road: heads of some 300 members and a payload of voice.
pub const ROAD_PARCEL_BYTES: usize = 8 * 1024;
/// Parcels of one road from a session's home: as many of its cycles while the outpost has none, or
/// 80 packets of voice to a thousand members there.
pub const ROAD_PARCELS_OUT: usize = 256;
/// Parcels of one road towards home.
pub const ROAD_PARCELS_HOME: usize = 128;
/// Parcels of one road that are taken in one cycle; what else came waits for them.
pub const PARCELS_PER_CYCLE: usize = 4;
/// Members of a room that is forwarded who may send at a time.
pub const FORWARD_TRACKS: usize = 4;
/// Milliseconds without a packet after which a member's place among those is another one's.
pub const FORWARD_IDLE_MS: u64 = 1_000;
/// Milliseconds between two requests for a picture to who sends there, however many miss it.
pub const FORWARD_KEY_MS: u64 = 500;
/// Packets of one track that its source is asked for at a time, and at most in one packet of RTCP.
pub const FORWARD_NACKS: usize = 32;
/// Milliseconds between two requests for the same missing packet, and how often it is asked for.
pub const FORWARD_NACK_MS: u64 = 50;
/// Times that a source is asked for one packet.
pub const FORWARD_NACK_TIMES: u8 = 5;
/// Packets that one receiver waits for at a time.
pub const FORWARD_LACKS: usize = 16;
/// Milliseconds between two reports to one member of a room, on average (RFC 3550 §6.2).
pub const ROOM_REPORT_MS: u64 = 5_000;
/// Milliseconds after which a room's clock is served late: a quarter of a packet of voice.
pub const LATE_TICK_MS: u64 = 5;
/// Milliseconds after which it is missed: a packet of voice.
pub const MISSED_TICK_MS: u64 = 20;
/// Milliseconds that who is shown stays for at least.
pub const SWITCH_DWELL_MS: u32 = 1_500;
/// Members that leave in one cycle when a room ends; packets wait for them.
pub const LEAVES_PER_CYCLE: usize = 64;
/// Sockets of one worker: two legs with RTP and RTCP each, for every session.
pub const SOCKETS_PER_WORKER: usize = 65_536;
/// Orders that may wait for a worker.
pub const ORDER_RING: usize = 4096;
/// News that may wait for control; a full ring is waited for, as news is never lost.
pub const NEWS_RING: usize = 8192;
/// Orders that a worker takes in one cycle; more would hold up the packets behind them.
pub const ORDERS_PER_CYCLE: usize = 8;
/// Orders of one worker that wait for a drain.
pub const DRAINS_PER_WORKER: usize = 4096;
/// Milliseconds between two looks at the queues that a drain waits for.
pub const DRAIN_CHECK_MS: u64 = 5;
/// Acts of one order.
pub const ACTS_PER_ORDER: usize = 64;
/// Ports tried for one leg when others have taken them.
pub const PORT_TRIES: usize = 64;
/// Frames that one look at a busy connection brings at most: they make the fewest calls of the
/// kernel's, and the largest segments when they are passed on. One is enough for all others.
pub const READ_FRAMES: usize = 4;
/// Frames of one connection that wait for its far side: what is in flight when reading stops, one to
/// spare.
pub const HELD_FRAMES: usize = READ_FRAMES + 1;
/// Pipes of one worker through which bytes pass from one connection to another within the kernel. A
/// connection has one only while its far side is slower; without one its bytes go through frames.
pub const PIPES: usize = 256;
/// Octets that pass through a pipe at a time: what it holds (pipe(7)).
pub const PIPE_BYTES: usize = 64 * 1024;
/// Seconds that a response to an MSRP request may take (RFC 4975 §7.1.1).
pub const MSRP_TRANSACTION_S: u64 = 30;
/// Milliseconds that an MSRP connection is written to after its far end has ended its half: what it
/// has sent may be reported as unanswered by then, and that be read.
pub const MSRP_HALF_CLOSED_MS: u64 = MSRP_TRANSACTION_S * 1000 + 2000;
/// Paused MSRP connections looked at again in one cycle.
pub const MSRP_RESUMES_PER_CYCLE: usize = 64;
/// Seconds that the far side of a lost connection has to take what waits for it.
pub const LINGER_S: u64 = 30;
/// Connections of one worker that are half-closed and wait for their far ends to close as well.
pub const CLOSING_CONNECTIONS: usize = 4096;
/// Milliseconds that the far end of a half-closed connection has to close it: its round trip and
/// what it still has to read.
pub const CLOSING_MS: u64 = 2000;
/// Milliseconds between two housekeepings.
pub const HOUSEKEEPING_MS: u64 = 100;
/// Housekeepings in which every stream is looked at once.
pub const SWEEP_TICKS: usize = 4;
/// Items in one batch from which on a worker counts as loaded, and looks again before it sleeps.
pub const LOADED_ITEMS: usize = 8;
/// Empty cycles of a loaded worker before it sleeps: about what being woken costs. With 64 it looked
/// six times as often for bursts of ten packets, and no packet was the cheaper for it.
pub const SPIN_CYCLES: u32 = 8;
/// Bytes that may wait to be written to one connection before its source is no longer read.
pub const STREAM_QUEUE_HIGH_BYTES: usize = 128 * 1024;
/// Bytes below which the source of a connection is read again.
pub const STREAM_QUEUE_LOW_BYTES: usize = 64 * 1024;
/// Frames that may wait to be written to one connection.
pub const STREAM_QUEUE_FRAMES: usize = 64;
/// Bytes of an MSRP frame's head, from `MSRP` to the empty line.
pub const MSRP_HEAD_BYTES: usize = DATAGRAM_FRAME_BYTES;
/// Header fields of an MSRP frame.
pub const MSRP_HEADERS: usize = 32;
/// MSRP transactions of one worker that wait for a response.
pub const MSRP_TRANSACTIONS: usize = 1_000_000;
/// MSRP transactions that room is made for at a time: 1 MiB.
pub const MSRP_TRANSACTIONS_STEP: usize = 8192;
/// MSRP connections whose last octets are looked after in one cycle: whether the kernel has them.
pub const MSRP_LEAVING_PER_CYCLE: usize = 256;
/// Milliseconds after which an MSRP connection is given up that has taken nothing of what waits for
/// it.
pub const MSRP_STALL_MS: u64 = 60_000;

/// Octets of body that one record carries.
pub const RECORD_BYTES: usize = STREAM_FRAME_BYTES;
/// Records of one worker that may wait for control.
pub const RECORD_RING: usize = 4096;
/// Octets that those may carry.
pub const RECORD_RING_BYTES: u64 = 8 * 1024 * 1024;
/// Records of one worker that wait for room in that ring, before no more content is recorded and its
/// sources aren't read. Ends of messages and sessions join them still.
pub const RECORDS_WAITING: usize = 256;
/// Octets of those.
pub const RECORDS_WAITING_BYTES: usize = 128 * 1024;
/// Records that wait for room, from which on no session to be recorded is opened: what there may be
/// in the end is this, and the ends of the messages and sessions that there are.
pub const RECORDS_WAITING_MAX: usize = 16_384;
/// Milliseconds between two looks at a ring of records that is full.
pub const RECORDS_AGAIN_MS: u64 = 1;
/// Messages of one recorded MSRP leg that have begun and not ended; a new one ends the oldest.
pub const MSRP_RECORDED_MESSAGES: usize = 16;
/// Messages of one recorded MSRP leg that ended, whose failure may still be reported.
pub const MSRP_RECORDED_ENDED: usize = 64;
/// Pieces of one recorded message that came before what belongs in front of them.
pub const MSRP_RECORDED_PIECES: usize = 16;
/// Samples of the longest packet that is decoded: 120 ms at 48 kHz (RFC 6716 §3.2.5, R5).
pub const CODEC_SAMPLES: usize = 5_760;
/// Octets of the longest payload that is encoded: it fits a datagram of an Ethernet.
pub const CODEC_PAYLOAD_BYTES: usize = 1_400;
/// libopus's complexity, 0 to 10: beyond it speech gets hardly better, and costs half as much again.
pub const OPUS_COMPLEXITY: i32 = 5;

const _: () = assert!(STREAM_QUEUE_LOW_BYTES < STREAM_QUEUE_HIGH_BYTES);
const _: () = assert!(RECORDS_WAITING < RECORDS_WAITING_MAX);
const _: () = assert!(RECORDS_WAITING_BYTES >= 2 * RECORD_BYTES);
const _: () = assert!(STREAM_FRAMES * STREAM_FRAME_BYTES >= 8 * STREAM_QUEUE_HIGH_BYTES);
const _: () = assert!(DATAGRAM_FRAMES >= 4 * RX_BATCH);
const _: () = assert!(DATAGRAM_FRAME_BYTES <= STREAM_FRAME_BYTES);
/// Characters of an MSRP Message-ID; RFC 4975 §9 allows 32, and UUIDs of 36 are about.
pub const MSRP_MESSAGE_ID_BYTES: usize = 48;
/// MSRP legs of one worker: two for every session, while each has one MSRP stream.
pub const MSRP_LEGS: usize = 2 * SESSIONS_PER_WORKER;
/// MSRP connections of one worker.
pub const MSRP_CONNECTIONS: usize = MSRP_LEGS + MSRP_UNBOUND;
/// MSRP connections of one worker that no request has bound to a leg yet.
pub const MSRP_UNBOUND: usize = 1024;
/// Milliseconds after which a connection that is still bound to no leg is closed.
pub const MSRP_UNBOUND_MS: u64 = 30_000;
/// MSRP sessions that may share one connection (RFC 4975 §6).
pub const MSRP_LEGS_PER_CONNECTION: usize = 32;
/// Buffers for MSRP heads that are kept for use again; more are made and freed as needed.
pub const MSRP_HEADS_KEPT: usize = 256;
/// Octets of a connection that are kept while it waits for the far leg: what may still arrive
/// after its reading was stopped.
pub const MSRP_PARKED_BYTES: usize = 16 * STREAM_FRAME_BYTES;
/// Octets of all of a worker's connections that are kept so, and of responses that wait.
pub const MSRP_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Octets of responses and reports that may wait for a chunk to end.
pub const MSRP_PENDING_BYTES: usize = 64 * 1024;
/// Octets of those, and of responses to a connection that doesn't read them, above which its
/// requests are no longer read.
pub const MSRP_PENDING_HIGH_BYTES: usize = 16 * 1024;
/// Octets that may wait for one sink of a connection that several sessions share, before the
/// connection isn't read any more: a sink that is not to be had holds up the others only then.
pub const MSRP_SHARED_BYTES: u64 = 256 * 1024;
/// Frames of a traced MSRP leg that are kept; older ones are dropped.
pub const MSRP_TRACE_FRAMES: usize = 256;
/// Octets of each body that are kept of a traced MSRP leg at most.
pub const MSRP_TRACE_BODY_BYTES: usize = 4096;
/// Members of one MSRP room: whom a message may go to.
pub const MSRP_MEMBERS: usize = 1_024;
/// MSRP rooms of one worker.
pub const MSRP_ROOMS: usize = SESSIONS_PER_WORKER;
/// Octets of a body that are gathered before they are written to many; RFC 4975 §7.1 has 2048 as
/// the least for a chunk that isn't the last.
pub const MSRP_FAN_BYTES: usize = 8 * 1024;
/// Octets that may wait to be written to a member of a room, before what else is for it waits in the
/// room's log, where all members share it.
pub const MSRP_MEMBER_BYTES: u64 = 32 * 1024;
/// Octets of one room's log; the member that is behind by more fails.
pub const MSRP_ROOM_BYTES: usize = 16 * 1024 * 1024;
/// Octets of the logs of all of a worker's rooms. A room takes half of what is left at most, so
/// that something is always left for others.
pub const MSRP_ROOMS_BYTES: usize = 64 * 1024 * 1024;
/// How long a member of a room that has accepted and has no connection yet is kept messages for: as
/// long as a response is waited for (RFC 4975 §7.1.1).
pub const MSRP_AWAITED_MS: u64 = 30_000;
/// Octets of a room's log from which on its sources aren't read while all members are behind.
pub const MSRP_ROOM_HIGH_BYTES: usize = 256 * 1024;
/// Messages of one member of a room that have begun and not ended; a new one ends the oldest.
pub const MSRP_ROOM_MESSAGES: usize = 8;
/// Octets of the head of a CPIM message in a room (RFC 3862).
pub const CPIM_HEAD_BYTES: usize = 4 * 1024;
/// Private messages of one room whose reports of success may still come.
pub const MSRP_ROOM_PRIVATE: usize = 64;
/// Octets of a nickname (RFC 7701).
pub const MSRP_NICKNAME_BYTES: usize = 64;
/// MSRP legs with a bound on their silence that are looked at in one housekeeping.
pub const MSRP_SWEPT: usize = 8192;
/// Octets that a source may send before it makes way for another one that waits for the same
/// connection (deficit round robin; RFC 4975 §7.1.1 asks for 2048 at least).
pub const MSRP_QUANTUM_BYTES: u64 = 16 * 1024;
/// Octets beyond its quantum that a source is made to sit out at most.
pub const MSRP_DEBT_BYTES: u64 = 64 * MSRP_QUANTUM_BYTES;
/// Octets of the body of a chunk that is gathered before it is sent; also what RFC 4975 §7.1 allows
/// a chunk to have that isn't to be interrupted, for requests other than SEND.
pub const MSRP_EXACT_CHUNK_BYTES: usize = 10 * 1024;
/// Message-IDs of one leg that the far end wanted no more of (413), remembered.
pub const MSRP_STOPPED: usize = 4;
/// Use-Paths that a worker has given to MSRP clients (RFC 4976) and that live.
pub const MSRP_USE_PATHS: usize = 16_384;
/// Of those: on one connection, which may be another relay's.
pub const MSRP_USE_PATHS_PER_CONNECTION: usize = 256;
/// Pairs of paths that requests through Use-Paths have; each takes two legs, and the rest of
/// them are for sessions.
pub const MSRP_FLOWS: usize = MSRP_LEGS / 4;
/// Next hops of those requests: connections, and addresses that couldn't be reached.
pub const MSRP_NEXT_HOPS: usize = 1024;
/// Milliseconds after which an MSRP next hop is tried again that couldn't be reached.
pub const MSRP_RETRY_MS: u64 = 5000;
/// Connections that one connection's requests went to lately, which may hold it back.
pub const MSRP_SINKS_NOTED: usize = 16;
/// Nonces of AUTH whose counts are remembered.
pub const MSRP_NONCES: usize = 16_384;
/// Wrong digests in a row after which a connection is closed.
pub const MSRP_AUTH_FAILURES: u8 = 5;
/// TLS and WebSocket handshakes of one worker at a time; a new one ends the oldest.
pub const HANDSHAKES: usize = 1024;
/// Milliseconds that those may take, from the connection on.
pub const HANDSHAKE_MS: u64 = 10_000;
/// Steps of TLS handshakes in one cycle; voice packets wait for them. A step took 66 to 87 µs with a
/// P-256 key (AMD EPYC, 2026-11-21); RSA keys are slower.
pub const HANDSHAKE_STEPS_PER_CYCLE: usize = 4;
/// Octets of an incomplete TLS record or handshake message, and what may be read before it is seen
/// as such: a chain of certificates and two records.
pub const TLS_PENDING_BYTES: usize = 64 * 1024;
/// Octets of a far end's certificates; they are kept as long as their session.
pub const TLS_CHAIN_BYTES: usize = 8 * 1024;
/// Buffers for incomplete records that are kept for use again.
pub const TLS_SPARE_BUFFERS: usize = 64;
/// Octets that sealing may add to a stream frame: a record's header, nonce and tag (29 at most), a
/// change of keys before it, and room to spare.
pub const TLS_OVERHEAD_BYTES: usize = 256;
/// Octets of the request that opens a WebSocket; browsers send their cookies with it.
pub const UPGRADE_BYTES: usize = 8 * 1024;
/// Members of a room of switched video.
pub const SWITCH_SEATS: usize = MEMBERS_PER_ROOM;
/// Sources of such a room whose last packets are kept, for those who lost some: the one shown, the
/// one before, and those that they are about to replace.
pub const SWITCH_HISTORIES: usize = 4;
/// Packets that are kept of one source.
pub const SWITCH_HISTORY_PACKETS: usize = 256;
/// Octets of those: half a second at 2 Mbit/s.
pub const SWITCH_HISTORY_BYTES: usize = 128 * 1024;
/// Sequence numbers below the highest one within which a packet that comes late is taken.
pub const SWITCH_LATE_PACKETS: usize = 1024;
/// Packets sent again to one receiver in [`SWITCH_RESEND_MS`] at most: a NACK of a few octets must
/// not make the relay send thousands of packets.
pub const SWITCH_RESENDS: u16 = 64;
/// Milliseconds in which those are counted.
pub const SWITCH_RESEND_MS: u64 = 100;
/// Missing packets that one packet of RTCP asks a source for.
pub const SWITCH_NACKS: usize = 32;
/// Milliseconds between two requests for the same missing packet.
pub const SWITCH_NACK_MS: u64 = 50;
/// Milliseconds that a receiver waits for the end of the picture that it gets before it is shown
/// another source: a decoder finds fault with half a picture.
pub const SWITCH_PICTURE_MS: u64 = 100;
/// Milliseconds between two requests for a key frame of a source that receivers wait for.
pub const SWITCH_KEY_WAIT_MS: u64 = 500;
/// Milliseconds between two that receivers asked for who lost something: each costs all the others
/// quality, as a key frame takes the bits of many others.
pub const SWITCH_KEY_ASKED_MS: u64 = 1000;
/// Milliseconds after which a source is shown whose key frames can't be told from others.
pub const SWITCH_UNKNOWN_MS: u64 = 500;
/// Milliseconds without a packet after which another source is shown.
pub const SWITCH_SILENT_MS: u64 = 3000;
/// Milliseconds without a packet after which a source's new SSRC is believed.
pub const SWITCH_SSRC_MS: u64 = 200;
/// Milliseconds between two reports to one member, on average (RFC 3550 §6.2).
pub const SWITCH_REPORT_MS: u64 = 5000;
/// Milliseconds after which a receiver's bound on the bit rate is forgotten.
pub const SWITCH_RATE_MS: u64 = 5000;
const _: () = assert!(SWITCH_HISTORY_PACKETS <= SWITCH_LATE_PACKETS);
const _: () = assert!(SWITCH_HISTORY_BYTES >= 16 * DATAGRAM_FRAME_BYTES);
/// Octets of a BFCP message that is taken; the longest that a client has reason to send is a request
/// for all floors with a text.
pub const BFCP_MESSAGE_BYTES: usize = 2048;
/// Octets of a BFCP datagram that is sent; longer messages are sent in fragments (RFC 8855 §6.2.3).
/// 1280 octets pass every path of IPv6, less its header and UDP's.
pub const BFCP_DATAGRAM_BYTES: usize = 1200;
/// Fragments of a BFCP message that is joined.
pub const BFCP_FRAGMENTS: usize = 16;
/// Milliseconds after which a BFCP message of the relay's over UDP is sent again; twice as long for
/// each further time (T1, RFC 8855 §8.3.3).
pub const BFCP_T1_MS: u64 = 500;
/// Times that it is sent again before its far end is taken for gone (RFC 8855 §8.3.1).
pub const BFCP_RESENDS: u8 = 3;
/// Milliseconds that an answer over UDP is kept for a request that comes again (T2, RFC 8855 §8.3.3).
pub const BFCP_T2_MS: u64 = 10_000;
/// Answers of one member that are kept so; the oldest makes way.
pub const BFCP_ANSWERS: usize = 4;
/// Floors of a group session.
pub const FLOORS: usize = 8;
/// Members of a group session's floor control.
pub const FLOOR_MEMBERS: usize = 1_024;
/// Requests in a group session's floor control at a time: each that ends moves those behind it, and
/// who watches a floor is told of all of them. Further ones are answered with Error 14.
pub const FLOOR_REQUESTS: usize = 256;
/// Octets of what a participant says of its request, or a chair of its decision, that are passed on:
/// with a status for each floor it fits into one attribute, which has 255 at most.
pub const FLOOR_INFO_BYTES: usize = 64;
/// Requests that one member is to be told of at a time; the state of any further one isn't told.
pub const FLOOR_NOTICES: usize = 64;
/// Octets of floor control that may wait for a member's connection before it is closed.
pub const FLOOR_QUEUE_BYTES: usize = 256 * 1024;
const _: () = assert!(TLS_PENDING_BYTES >= TLS_CHAIN_BYTES + 2 * (STREAM_FRAME_BYTES + 2048));
const _: () = assert!(SESSIONS_PER_WORKER <= STREAMS_PER_WORKER);
const _: () = assert!(ROOMS_PER_WORKER + MEMBERS_PER_ROOM <= STREAMS_PER_WORKER);
const _: () = assert!(STREAMS_PER_WORKER < 1 << 24);
const _: () = assert!(MSRP_CONNECTIONS < 1 << 24);

const _: () = assert!(MSRP_PENDING_HIGH_BYTES + 2 * STREAM_FRAME_BYTES <= MSRP_PENDING_BYTES);
const _: () = assert!(MSRP_PARKED_BYTES <= MSRP_WAITING_BYTES);
const _: () = assert!(MSRP_QUANTUM_BYTES >= 2048);
const _: () = assert!(CPIM_HEAD_BYTES <= MSRP_FAN_BYTES);
const _: () = assert!(MSRP_MEMBERS.is_multiple_of(64));
const _: () = assert!(MSRP_ROOM_HIGH_BYTES < MSRP_ROOM_BYTES && MSRP_ROOM_BYTES < MSRP_ROOMS_BYTES);
const _: () = assert!(MSRP_SHARED_BYTES > STREAM_QUEUE_HIGH_BYTES as u64);
/// Members of one mixed room.
pub const MIX_MEMBERS: usize = 1024;
/// Talkers that are heard at a time at most: as many as an RTP header names (RFC 3550 §5.1).
pub const MIX_TALKERS: usize = 15;
/// Packets of one talker that wait at most: 320 ms of the shortest there are.
pub const MIX_PACKETS: usize = 32;
/// Octets of one payload that is mixed: what an Ethernet frame holds.
pub const MIX_PAYLOAD_BYTES: usize = 1500;
/// The longest that packets may wait in a jitter buffer, in milliseconds.
pub const MIX_JITTER_MS_MAX: u16 = 500;
/// The shortest that this may be set to: a packet of 60 ms and what it waits for.
pub const MIX_JITTER_MS_MIN: u16 = 80;
/// Audio formats that one member may send.
pub const MIX_FORMATS: usize = 16;
