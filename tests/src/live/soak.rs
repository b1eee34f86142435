//! What the relay needs in memory: a big MSRP message through a slow reader, and many idle sessions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::live::scene::{Chat, Joined, LONG, Scene};
use crate::peers::msrp::{Outgoing, Received, path};
use crate::peers::sdp;
use crate::torture::frames::Reader;

/// A message and its reader.
#[derive(Debug, Clone, Copy)]
pub struct Slow {
    /// The message in bytes; it goes out in one chunk.
    pub bytes: u64,
    /// What the reader takes, in bytes a second.
    pub pace: u64,
    /// How long the reader takes nothing at all, half-way.
    pub stop: Duration,
}

/// What the relay needed.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident before the message, in KiB.
    pub before_kib: u64,
    /// Resident at most while it passed, in KiB.
    pub most_kib: u64,
    /// How long it took.
    pub took: Duration,
}

/// The relay's pool is fixed, but the kernel gives its pages when they are first used: a message of
/// so many bytes uses them all.
const FIRST: u64 = 64 << 20;

/// Sends a message to a slow reader; `watch` gets the bytes that have arrived and the memory now.
///
/// Every byte is compared with what was sent.
///
/// # Panics
///
/// The message isn't identical on the other side, or anything is left behind.
pub fn msrp(slow: Slow, mut watch: impl FnMut(u64, u64)) -> Memory {
    let Slow { bytes, pace, stop } = slow;
    let mut scene = Scene::direct(|_| {});
    let (mut joined, chat) = Chat::call(&mut scene, None, Some(pace));
    chat.alice
        .send(&Outgoing::file(FIRST, 1, u64::MAX))
        .expect("the relay takes the message");
    assert_eq!(chat.bob.messages(1, LONG).len(), 1);
    let before_kib = scene.relay.process().resident_kib();
    let begin = Instant::now();
    let at_most = LONG + stop + Duration::from_secs(bytes / pace.max(1) * 4);
    let mut stops_at = (!stop.is_zero()).then_some(bytes / 2);
    let mut goes_on: Option<Instant> = None;
    let most_kib = std::thread::scope(|scope| {
        let sender = scope.spawn(|| chat.alice.send(&Outgoing::file(bytes, 2, u64::MAX)));
        let mut most = before_kib;
        while chat.bob.body_bytes() < bytes + FIRST && begin.elapsed() < at_most {
            let now = scene.relay.process().resident_kib();
            let came = chat.bob.body_bytes().saturating_sub(FIRST);
            most = most.max(now);
            watch(came, now);
            if stops_at.take_if(|half| came >= *half).is_some() {
                chat.bob.stop(true);
                goes_on = Some(Instant::now() + stop);
            }
            if goes_on.take_if(|end| Instant::now() >= *end).is_some() {
                chat.bob.stop(false);
            }
            std::thread::sleep(Duration::from_millis(20));
            if chat.bob.is_closed(Duration::ZERO) {
                break;
            }
        }
        if chat.bob.is_closed(Duration::ZERO) {
            assert!(
                chat.alice.is_closed(LONG),
                "only one side of the session is closed"
            );
        }
        sender
            .join()
            .expect("the sender doesn't panic")
            .expect("the relay takes the message");
        most
    });
    let took = begin.elapsed();
    let messages = chat.bob.messages(2, LONG);
    assert!(
        messages.len() == 2 && messages.iter().all(Received::is_identical),
        "the message has changed on its way"
    );
    assert!(chat.alice.is_answered(LONG));
    chat.assert_clean();
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
    Memory {
        before_kib,
        most_kib,
        took,
    }
}

/// What idle sessions need.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Sessions.
    pub sessions: usize,
    /// Connections of far ends.
    pub connections: usize,
    /// Resident before the first call, in KiB.
    pub before_kib: u64,
    /// Resident with all calls, before their far ends connect, in KiB.
    pub called_kib: u64,
    /// Resident with all connections and their sessions bound, in KiB.
    pub bound_kib: u64,
}

impl Idle {
    /// What a session's connections need in the worker, in bytes: what is resident more once they
    /// are there and bound, for each session.
    #[must_use]
    pub fn bound_bytes(&self) -> u64 {
        self.each(self.bound_kib.saturating_sub(self.called_kib))
    }

    /// What a session needs in all, signalling included, in bytes.
    #[must_use]
    pub fn all_bytes(&self) -> u64 {
        self.each(self.bound_kib.saturating_sub(self.before_kib))
    }

    fn each(&self, kib: u64) -> u64 {
        kib * 1024 / u64::try_from(self.sessions.max(1)).unwrap_or(1)
    }
}

/// Sessions that share a connection on the called side (`limits::MSRP_LEGS_PER_CONNECTION`).
const SHARED: usize = 32;

/// Sets up `sessions` chats that nobody says a word in, waits `settle` after the last call, and
/// connects their far ends: each caller by a connection of its own, the called ones as a gateway
/// does, 32 sessions to a connection. `watch` gets the sessions that stand and that are bound.
///
/// # Panics
///
/// A call or a bind fails, or anything is left behind.
pub fn idle(sessions: usize, settle: Duration, mut watch: impl FnMut(usize, usize)) -> Idle {
    let mut scene = Scene::direct(|settings| {
        settings
            .set("media", "workers", 1)
            .set("sip", "sessions_max", sessions + 10);
    });
    let (mut first, chat) = Chat::call(&mut scene, None, None);
    chat.alice
        .send(&Outgoing::file(FIRST, 1, u64::MAX))
        .expect("the relay takes the message");
    assert_eq!(chat.bob.messages(1, LONG).len(), 1);
    let before_kib = scene.relay.process().resident_kib();
    let mut calls = Vec::new();
    for count in 0..sessions {
        calls.push(call(&mut scene));
        watch(count + 1, 0);
    }
    // Transactions are kept for 32 s; then signalling has its resting size.
    std::thread::sleep(settle);
    let called_kib = scene.relay.process().resident_kib();
    let mut connections = Vec::new();
    for (count, group) in calls.chunks(SHARED).enumerate() {
        for (_, [alice, _]) in group {
            connections.push(bind([alice].into_iter()));
        }
        connections.push(bind(group.iter().map(|(_, [_, bob])| bob)));
        watch(sessions, (count * SHARED + group.len()).min(sessions));
    }
    let bound_kib = scene.relay.process().resident_kib();
    let figures = Idle {
        sessions,
        connections: connections.len(),
        before_kib,
        called_kib,
        bound_kib,
    };
    chat.alice
        .send(&Outgoing::text("still there"))
        .expect("the relay is there");
    assert_eq!(chat.bob.messages(2, LONG).len(), 2);
    for (mut joined, _) in calls {
        scene.alice_hangs_up(&mut joined);
    }
    scene.alice_hangs_up(&mut first);
    scene.relay.assert_empty();
    figures
}

/// A far end of an idle session: the relay's URI and its own.
type Way = (String, String);

/// A call with a message stream that nobody has connected yet.
fn call(scene: &mut Scene) -> (Joined, [Way; 2]) {
    let [a, b] = [0, 1].map(|_| path((scene.ip(), 9).into()));
    let offer = scene.offer().message(&a, &["setup:active"]).text();
    let answer = scene.offer().message(&b, &["setup:active"]).text();
    let joined = scene.call(&offer, &answer);
    let [at_alice, at_bob] = [&joined.at_alice, &joined.at_bob].map(|media| {
        let path = media.first().and_then(|media| media.attribute("path"));
        path.expect("a message stream has a path").to_owned()
    });
    (joined, [(at_alice, a), (at_bob, b)])
}

/// One connection for these sessions, each bound by a SEND without content.
fn bind<'a>(ways: impl Iterator<Item = &'a Way>) -> TcpStream {
    let mut connection: Option<TcpStream> = None;
    let (mut reader, mut bytes) = (Reader::default(), [0; 4096]);
    for (to, from) in ways {
        let stream = connection.get_or_insert_with(|| {
            let address = sdp::path_address(to).expect("a path has an address");
            TcpStream::connect(address).expect("the relay listens")
        });
        let request = format!(
            "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n\
             -------bind$\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .expect("the relay is there");
        let mut frames = Vec::new();
        while frames.is_empty() {
            let count = stream.read(&mut bytes).expect("the relay is there");
            assert!(count > 0, "the relay closes a connection");
            frames = reader.push(bytes.get(..count).unwrap_or_default()).1;
        }
        assert!(
            frames
                .iter()
                .all(|frame| frame.head.what.starts_with("200")),
            "{frames:?}"
        );
    }
    connection.expect("there is a session")
}
