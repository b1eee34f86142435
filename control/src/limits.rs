//! Every maximum of the control plane.

/// Bytes of one session description; a larger one is refused.
pub const SDP_BYTES: usize = 64 * 1024;
/// Lines of one session description.
pub const SDP_LINES: usize = 1024;
/// Media descriptions (m-lines) of one session description, refused ones included.
pub const SDP_MEDIA: usize = 32;
/// Streams that ended and are still remembered for a session's record.
pub const ENDED_STREAMS: usize = 32;

const _: () = assert!(SDP_MEDIA < SDP_LINES);

// Engine

/// Early dialogs of one INVITE that are told apart; responses of more are passed on as the first's.
pub const FORKS_PER_SESSION: usize = 16;
/// Requests of one session that wait for the other side's response.
pub const RELAYED_PER_SESSION: usize = 16;
/// Times that a session's history is told of streams that were added to the session.
pub const HISTORY_RENEWALS: usize = 32;
/// Requests that wait for a host name's address.
pub const PARKED_REQUESTS: usize = 1024;
/// Host names that are remembered.
pub const KNOWN_NAMES: usize = 4096;
/// Interworking Functions that can be configured.
pub const IWFS: usize = 32;
/// Dialogs with Interworking Functions that one session may begin at a time.
pub const IWF_DIALOGS_PER_SESSION: usize = 16;
/// Members of a pre-defined group.
pub const GROUP_MEMBERS: usize = 4096;
/// Participants of one group session, those that are being invited included.
pub const PARTICIPANTS: usize = 1000;
/// Streams of one group session at a time, that of its floors included; a line that would be one more
/// is refused by its port.
pub const GROUP_STREAMS: usize = 8;
/// Users that one REFER or INVITE may list.
pub const LISTED_USERS: usize = 256;
/// Bytes of a list of users.
pub const LIST_BYTES: usize = 64 * 1024;
/// Octets of an address: of one in such a list, of who sends a request, of one that participant
/// information names.
pub const ADDRESS_BYTES: usize = 1024;
/// Elements of such a list that are open at a time.
pub const LIST_DEPTH: usize = 8;
/// Subscriptions to one group session's participant information.
pub const SUBSCRIPTIONS_PER_GROUP: usize = 2 * PARTICIPANTS;
/// Those of one user, over all its devices.
pub const SUBSCRIPTIONS_PER_USER: usize = 32;
/// Those who left a group session and of whom not all subscribers were told; who wasn't told of more is
/// told everything anew.
pub const DEPARTED_REMEMBERED: usize = PARTICIPANTS;
/// About the bytes that one NOTIFY of participant information says of users; more go into the next:
/// with its head it still is one datagram, and what waits for an answer of all subscribers of the
/// largest session stays below 50 MB.
pub const NOTIFY_USER_BYTES: usize = 24 * 1024;
/// Users who were in one group session and may come back though they aren't members, and as many who
/// were removed and may not; of more neither is remembered.
pub const REMEMBERED_USERS: usize = 4 * PARTICIPANTS;
/// REFERs of one group session whose outcome is still to be told.
pub const REFERS_PER_GROUP: usize = 64;
/// Parts of one kind of a message's body: as many notifications as 64 KiB have room for.
pub const BODY_PARTS: usize = 256;
/// Octets of the head of a CPIM message outside of sessions.
pub const CPIM_HEAD_BYTES: usize = 8 * 1024;
/// Octets of a Message-ID or an address in a disposition notification.
pub const IMDN_ID_BYTES: usize = 512;
/// Elements of a disposition notification that are open at a time.
pub const IMDN_DEPTH: usize = 8;
/// Messages outside of sessions whose notifications are followed; the oldest gives way.
pub const PAGER_MESSAGES: usize = 65_536;
/// Members that messages to groups are known to have failed for, of all messages; the oldest gives way
/// and may be told of twice.
pub const FAILED_MEMBERS: usize = 4 * PAGER_MESSAGES;
/// Notifications that go as one.
pub const NOTICES_IN_ONE: usize = 16;
/// Octets of the notifications that go as one; a larger one goes alone.
pub const NOTICES_BYTES: usize = 16 * 1024;
/// Messages whose notifications wait for others: those to go as one, and those that say nothing good.
/// Beyond that a notification goes on at once.
pub const NOTICES_WAITING: usize = 1024;
/// Octets of one header field that is kept of a message after it has gone; a longer one isn't.
pub const KEPT_HEADER_BYTES: usize = 1024;
/// Transactions that are proxied at a time.
pub const PROXIED_TRANSACTIONS: usize = 100_000;
/// INVITEs that wait for their served user's preferences; more go on without.
pub const WAITING_INVITES: usize = 1024;
/// Users whose preferences are asked for at a time.
pub const ASKED_USERS: usize = 1024;
/// Bytes of one user's document in the XDMS.
pub const PREFERENCES_BYTES: usize = 64 * 1024;
/// Elements of it that are open at a time.
pub const PREFERENCES_DEPTH: usize = 32;
/// Tags, texts and the like of it.
pub const PREFERENCES_EVENTS: usize = 16 * 1024;
/// Devices that a user may exclude; more are passed over.
pub const EXCLUDED_DEVICES: usize = 32;
/// Bytes of one of its names: an ETag, a user's address.
pub const PREFERENCES_NAME_BYTES: usize = 256;
/// Documents that are fetched at a time; more wait.
pub const XCAP_FETCHES: usize = 32;
/// Sessions whose streams one look at the admin door reports in full.
pub const REPORTED_SESSIONS: usize = 1024;
/// Packets, pieces of news or outputs handled before the loop looks at everything else.
pub const LOOP_BATCH: usize = 256;

/// Worker threads.
pub const WORKERS: usize = 64;
/// Ports that one RTP stream takes: RTP and RTCP on two legs.
pub const PORTS_PER_STREAM: usize = 4;
/// Connections to the operator's door at a time; more wait to be accepted.
pub const ADMIN_CONNECTIONS: usize = 16;
/// Questions from the operator's door that may wait for the run loop; more are answered with 503.
pub const ADMIN_QUESTIONS: usize = 16;
/// How long a connection to the operator's door may last: one request and its answer.
pub const ADMIN_CONNECTION_SECONDS: u64 = 10;
/// How long the run loop may take for the answer to a question.
pub const ADMIN_ANSWER_SECONDS: u64 = 2;
/// Session records that may wait for the disk; more go to the log.
pub const CDR_WAITING: usize = 4096;

// A connection asks one question, so a place for each is enough.
const _: () = assert!(ADMIN_QUESTIONS >= ADMIN_CONNECTIONS);
const _: () = assert!(ADMIN_ANSWER_SECONDS < ADMIN_CONNECTION_SECONDS);

// SIP

/// Bytes of one SIP message, head and body.
pub const SIP_MESSAGE_BYTES: usize = 64 * 1024;
/// Octets of a SIP message that one datagram can carry: 65,535 without the heads of IPv4 and UDP.
pub const SIP_DATAGRAM_BYTES: usize = 65_507;
/// Header lines of one SIP message.
pub const SIP_HEADERS: usize = 256;
/// Server transactions, and as many client transactions: 8000 calls/s, two transactions each
/// that stay for 32 s on UDP, and room to spare.
pub const SIP_TRANSACTIONS: usize = 1 << 20;
/// Seconds after which a refused client may come back.
pub const SIP_RETRY_AFTER_S: u64 = 5;
/// Packets that may wait for the SIP layer.
pub const SIP_INCOMING: usize = 16_384;
/// TCP connections, both ways.
pub const SIP_CONNECTIONS: usize = 16_384;
/// Messages that may wait to be written to one TCP connection.
pub const SIP_CONNECTION_QUEUE: usize = 256;
/// Seconds after which a TCP connection without traffic is closed.
pub const SIP_CONNECTION_IDLE_S: u64 = 600;
/// Seconds to wait for a TCP connection to open.
pub const SIP_CONNECT_S: u64 = 10;
/// Seconds that writing one message to a TCP connection may take before it is closed.
pub const SIP_WRITE_S: u64 = 10;
/// Bytes asked from the kernel for each UDP socket's buffers.
pub const SIP_SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

// Registration

/// Users whose registrations are known at most, whatever the configuration says.
pub const REGISTERED_USERS: usize = 1_000_000;
/// Devices of a user that are kept; more are not invited by name.
pub const DEVICES_PER_USER: usize = 16;
/// Addresses of a user.
pub const REGISTRATIONS_PER_USER: usize = 32;
/// Contacts of one address in a reginfo document.
pub const CONTACTS_PER_REGISTRATION: usize = 64;
/// Parameters of one contact.
pub const PARAMS_PER_CONTACT: usize = 64;
/// Elements of a reginfo document inside one another.
pub const REGINFO_DEPTH: usize = 16;
/// Bytes of one text or attribute of a reginfo document, and of a device's URI or instance.
pub const REGINFO_TEXT_BYTES: usize = 2048;

// Each device that is invited by an INVITE of its own has an early dialog of its own.
const _: () = assert!(DEVICES_PER_USER <= FORKS_PER_SESSION);
// History

/// Octets of the largest message that the spool keeps in its journal and that is read as a whole.
pub const HISTORY_INLINE_BYTES: usize = 256 * 1024;
/// Octets of the head of a journal's frame: a session's facts are the largest, a SIP message's worth,
/// escaped.
pub const HISTORY_HEAD_BYTES: usize = 8 * SIP_MESSAGE_BYTES;
/// Octets of a text from a far end, such as a Content-Type.
pub const HISTORY_TEXT_BYTES: usize = 1024;
/// Octets of a header field's value in a stored object.
pub const HISTORY_HEADER_BYTES: usize = 900;
/// Octets of a mailbox's or a folder's name.
pub const HISTORY_NAME_BYTES: usize = 128;
/// Sessions that are known as over, for what still comes of them.
pub const HISTORY_REMEMBERED: usize = 1024;
/// Records that may wait for the history thread; the ring behind them holds the rest.
pub const HISTORY_RECORDS: usize = 1024;
/// Answers that may wait for the run loop.
pub const HISTORY_ANSWERS: usize = 1024;
/// Seconds that a session which has ended waits for its worker's end mark.
pub const HISTORY_END_MARK_S: u64 = 30;
/// Octets that are read and written at a time when an object is stored.
pub const HISTORY_CHUNK_BYTES: usize = 64 * 1024;
/// Seconds between attempts to reach a store, at most.
pub const HISTORY_OUTAGE_S: u64 = 60;
/// Seconds between attempts to store a session that the store refuses, at most.
pub const HISTORY_REFUSED_S: u64 = 600;
/// Octets of one reply of an IMAP server.
pub const HISTORY_REPLY_BYTES: u32 = 64 * 1024;
/// Seconds that the end of a run waits for what is being stored.
pub const HISTORY_ENDING_S: u64 = 5;
