//! Those who mean harm at the MSRP port: half heads, silence, floods, other people's sessions.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::live::eventually;
use tests::live::relay::Relay;
use tests::live::scene::{Chat, Joined, LONG, Scene};
use tests::peers::msrp::{self, Outgoing, Peer};
use tests::peers::sdp;
use tests::torture::frames::{Frame, Reader};

/// Connections that belong to no session, at most (`limits::MSRP_UNBOUND`).
const UNBOUND_MAX: usize = 1024;
/// How long one of them lives (`limits::MSRP_UNBOUND_MS`).
const UNBOUND: Duration = Duration::from_secs(30);

/// A call with a chat, on one worker; the strangers know where it is.
struct Attacked {
    scene: Scene,
    joined: Joined,
    chat: Chat,
    /// The relay's paths: towards Alice, towards Bob.
    paths: [String; 2],
    at: SocketAddr,
}

fn attacked() -> Attacked {
    let mut scene = Scene::direct(|settings| {
        settings.set("media", "workers", 1);
    });
    let (joined, chat) = Chat::call(&mut scene, None, None);
    let paths = [&joined.at_alice[0], &joined.at_bob[0]];
    let paths = paths.map(|media| media.attribute("path").unwrap().to_owned());
    let at = sdp::path_address(&paths[0]).unwrap();
    Attacked {
        scene,
        joined,
        chat,
        paths,
        at,
    }
}

impl Attacked {
    /// The chat goes on, whatever the strangers do.
    fn assert_alive(&self, words: &str) {
        self.chat.alice.send(&Outgoing::text(words)).unwrap();
        let is_there = eventually(LONG, || {
            let messages = self.chat.bob.messages(0, Duration::ZERO);
            let mut texts = messages.iter().map(|message| &message.text);
            texts.any(|text| text == words.as_bytes())
        });
        assert!(is_there, "{words:?} doesn't arrive");
        assert!(self.chat.alice.is_answered(LONG));
    }

    /// Lets all of the relay's pool be used once: the kernel gives its pages then.
    fn warm(&self) {
        let file = Outgoing::file(64 << 20, 1, u64::MAX);
        self.chat.alice.send(&file).unwrap();
        assert_eq!(self.chat.bob.messages(1, LONG).len(), 1);
    }

    fn end(mut self) {
        self.chat.assert_clean();
        self.scene.alice_hangs_up(&mut self.joined);
        self.scene.relay.assert_empty();
    }
}

fn stranger(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&at, LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// File descriptors that the relay has open.
fn descriptors(relay: &Relay) -> usize {
    let folder = format!("/proc/{}/fd", relay.process().id());
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Says whether the other side has closed: reads until the end or until nothing comes for a moment.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(1..) => {}
            Ok(0) => return true,
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// What comes until the connection ends, or until `count` frames are there.
fn frames(stream: &mut TcpStream, count: usize) -> Vec<Frame> {
    let (mut reader, mut came) = (Reader::default(), Vec::new());
    let mut bytes = [0; 16 * 1024];
    while came.len() < count {
        let Ok(read @ 1..) = stream.read(&mut bytes) else {
            return came;
        };
        came.extend(reader.push(&bytes[..read]).1);
    }
    came
}

fn request(id: &str, method: &str, to: &str, fields: &str) -> String {
    format!(
        "MSRP {id} {method}\r\nTo-Path: {to}\r\nFrom-Path: msrp://127.0.0.1:9/stranger;tcp\r\n\
         Message-ID: {id}\r\n{fields}-------{id}$\r\n"
    )
}

#[test]
fn half_heads_and_silent_connections_are_bounded_and_closed_and_nobody_else_notices() {
    let attacked = attacked();
    let before = descriptors(&attacked.scene.relay);
    let head = request("half", "SEND", &attacked.paths[0], "");
    let begin = Instant::now();
    // Some say nothing, some begin a head; a byte now and then keeps none of them alive.
    let mut strangers: Vec<TcpStream> = Vec::new();
    for number in 0..UNBOUND_MAX + 200 {
        let mut stream = stranger(attacked.at);
        let said = head.as_bytes().get(..number % 60).unwrap();
        let _closed = stream.write_all(said);
        strangers.push(stream);
    }
    attacked.assert_alive("beside them");
    let open = descriptors(&attacked.scene.relay) - before;
    assert!(open <= UNBOUND_MAX, "{open} connections without a session");
    let refused = strangers
        .iter_mut()
        .filter_map(|stream| is_closed(stream).then_some(()));
    assert!(
        refused.count() >= 200,
        "those beyond the limit aren't closed"
    );
    let gone = eventually(UNBOUND + LONG, || {
        for (number, stream) in strangers.iter_mut().enumerate() {
            let next = head
                .as_bytes()
                .get(60 + number % 10..=60 + number % 10)
                .unwrap();
            let _closed = stream.write_all(next);
        }
        std::thread::sleep(Duration::from_millis(500));
        descriptors(&attacked.scene.relay) <= before
    });
    assert!(
        gone,
        "{} are left",
        descriptors(&attacked.scene.relay) - before
    );
    assert!(begin.elapsed() >= UNBOUND, "they were closed early");
    assert!(strangers.iter_mut().all(is_closed));
    attacked.assert_alive("after them");
    attacked.end();
}

#[test]
fn a_stranger_gets_the_code_of_the_rfc_for_a_session_that_is_not_his_and_nothing_else() {
    let attacked = attacked();
    let mut stream = stranger(attacked.at);
    let content = "Content-Type: text/plain\r\n\r\nfake\r\n";
    let [alice, bob] = &attacked.paths;
    let nobody = alice.replace(&alice[alice.rfind('/').unwrap() + 1..], "nobody;tcp");
    let mut said = String::new();
    for (number, (method, to, fields)) in [
        ("SEND", alice, content),
        ("SEND", bob, content),
        ("SEND", alice, ""),
        ("NICKNAME", bob, "Use-Nickname: \"Alice\"\r\n"),
        ("SEND", &nobody, content),
        ("AUTH", &nobody, ""),
        // These are never answered.
        ("REPORT", alice, "Status: 000 200 OK\r\n"),
        ("REPORT", &nobody, "Status: 000 200 OK\r\n"),
        ("200 OK", alice, ""),
        ("SEND", alice, &format!("Failure-Report: no\r\n{content}")),
        ("SEND", &nobody, content),
    ]
    .into_iter()
    .enumerate()
    {
        said.push_str(&request(&format!("tid{number}"), method, to, fields));
    }
    stream.write_all(said.as_bytes()).unwrap();
    let answers = frames(&mut stream, 7);
    let codes: Vec<&str> = answers
        .iter()
        .map(|answer| &answer.head.what[..3])
        .collect();
    assert_eq!(
        codes,
        ["506", "506", "506", "506", "481", "481", "481"],
        "{answers:?}"
    );
    let ids: Vec<&[u8]> = answers.iter().map(|answer| &*answer.head.id).collect();
    assert_eq!(ids.last(), Some(&b"tid10".as_slice()));
    attacked.assert_alive("nobody heard");
    assert_eq!(attacked.chat.alice.messages(0, Duration::ZERO).len(), 0);
    assert_eq!(attacked.chat.bob.messages(1, LONG).len(), 1);
    assert_eq!(attacked.chat.alice.reports(0, Duration::ZERO), []);
    attacked.end();
}

#[test]
fn a_flood_of_unknown_sessions_is_answered_and_grows_nothing() {
    const ROUNDS: usize = 200;
    const BURST: usize = 100;
    let attacked = attacked();
    attacked.warm();
    let base = attacked.paths[0].rsplit_once('/').unwrap().0;
    let mut stream = stranger(attacked.at);
    let mut resident = 0;
    for round in 0..ROUNDS {
        let burst: String = (0..BURST)
            .map(|number| {
                let to = format!("{base}/guess{round}x{number};tcp");
                request(&format!("t{round}x{number}"), "SEND", &to, "")
            })
            .collect();
        stream.write_all(burst.as_bytes()).unwrap();
        let answers = frames(&mut stream, BURST);
        assert_eq!(answers.len(), BURST);
        let unknown = answers
            .iter()
            .filter(|answer| answer.head.what.starts_with("481"));
        assert_eq!(unknown.count(), BURST);
        if round == ROUNDS / 2 {
            resident = attacked.scene.relay.process().resident_kib();
        }
    }
    let grown = attacked
        .scene
        .relay
        .process()
        .resident_kib()
        .saturating_sub(resident);
    assert!(grown < 2048, "{grown} KiB more after {ROUNDS} rounds");
    attacked.assert_alive("all the same");
    attacked.end();
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    const CHURN: usize = 3000;
    let attacked = attacked();
    attacked.warm();
    let before = descriptors(&attacked.scene.relay);
    let churn = |count: usize| {
        for number in 0..count {
            let mut stream = stranger(attacked.at);
            let said = match number % 4 {
                0 => String::new(),
                1 => "MSRP ti".to_owned(),
                2 => "GET / HTTP/1.1\r\n\r\n".to_owned(),
                _ => request("tid1", "SEND", &attacked.paths[1], ""),
            };
            let _closed = stream.write_all(said.as_bytes());
        }
        let gone = eventually(LONG, || descriptors(&attacked.scene.relay) <= before);
        let left = descriptors(&attacked.scene.relay).saturating_sub(before);
        assert!(gone, "{left} descriptors are left");
    };
    // The first ones decide how many there are at a time, and the kernel gives pages in 2 MiB.
    churn(2 * CHURN);
    let resident = attacked.scene.relay.process().resident_kib();
    churn(3 * CHURN);
    let now = attacked.scene.relay.process().resident_kib();
    let grown = now.saturating_sub(resident);
    assert!(
        grown < 4096,
        "{grown} KiB more for {} connections",
        3 * CHURN
    );
    attacked.assert_alive("still here");
    attacked.end();
}

#[test]
fn a_client_that_never_reads_stops_only_its_own_session() {
    let mut attacked = attacked();
    let ip = attacked.scene.ip();
    let [a, b] = [0, 1].map(|_| msrp::path((ip, 9).into()));
    let offer = attacked.scene.offer().message(&a, &["setup:active"]);
    let answer = attacked.scene.offer().message(&b, &["setup:active"]);
    let mut joined = attacked.scene.call(&offer.text(), &answer.text());
    let way = |media: &sdp::Media| media.attribute("path").unwrap().to_owned();
    let (at_alice, at_bob) = (way(&joined.at_alice[0]), way(&joined.at_bob[0]));
    let mut never_reads = stranger(attacked.at);
    let bind = request("bind", "SEND", &at_bob, "");
    never_reads.write_all(bind.as_bytes()).unwrap();
    let alice = Peer::connect(&a, &at_alice, None).unwrap();
    alice.bind().unwrap();
    let file = Outgoing::file(64 << 20, 1, u64::MAX);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| alice.send(&file));
        for count in 1..=20 {
            attacked.assert_alive(&format!("number {count}"));
        }
        assert!(!sender.is_finished(), "where are the 64 MiB?");
        joined.a.send_bye(&mut attacked.scene.alice);
        joined.b.bye_answered(&mut attacked.scene.bob);
        assert_eq!(attacked.scene.alice.response("BYE").code(), Some(200));
        drop(never_reads);
        assert!(alice.is_closed(LONG));
        let _cut_off = sender.join().unwrap();
    });
    attacked.end();
}
