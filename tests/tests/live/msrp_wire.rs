//! tshark reads every MSRP frame of a call, from and to the relay.

use std::collections::BTreeSet;

use tests::live::judge::{self, Capture, MSRP};
use tests::live::relay::Settings;
use tests::live::scene::{Chat, LONG, Scene};
use tests::live::{needs, skip};
use tests::peers::msrp::{Outgoing, Peer};
use tests::peers::sdp;
use tests::torture::frames::{Frame, Reader};

/// A frame as tshark reads it.
#[derive(Debug)]
struct Seen {
    /// The transaction id in the start line and in the end line.
    ids: [String; 2],
    method: String,
    code: String,
    to: String,
    from: String,
    message_id: String,
    range: String,
    flag: String,
}

const FIELDS: [&str; 9] = [
    "msrp.transaction.id",
    "msrp.method",
    "msrp.status.code",
    "msrp.to.path",
    "msrp.from.path",
    "msrp.messageid",
    "msrp.byte.range",
    "msrp.cnt.flg",
    "_ws.expert.severity",
];

/// Cuts octets into frames and has tshark read each.
fn read(octets: &[u8]) -> Vec<(Frame, Seen)> {
    let mut reader = Reader::default();
    let (_, frames) = reader.push(octets);
    assert!(reader.is_between_frames(), "the connection ends in a frame");
    let wire = judge::msrp(&frames.iter().map(Frame::octets).collect::<Vec<_>>());
    let ports = judge::Ports {
        msrp: vec![MSRP],
        ..judge::Ports::default()
    };
    let lines = wire.lines(&ports, "msrp", &FIELDS);
    assert_eq!(lines.len(), frames.len(), "tshark takes some for no frames");
    let seen = lines.into_iter().map(|line| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let [ids, method, code, to, from, message_id, range, flag, odd] = fields
            .try_into()
            .expect("tshark gives what it is asked for");
        // Warnings are of the content, which tshark takes for text; malformed is above them.
        let severities = odd
            .split(',')
            .map(|number| number.parse::<u32>().unwrap_or(0));
        let worst = severities.max().unwrap_or(0);
        assert!(worst < 0x0080_0000, "tshark finds an error in {ids}: {odd}");
        let (one, other) = ids.split_once(',').expect("a start and an end line");
        Seen {
            ids: [one.to_owned(), other.to_owned()],
            method,
            code,
            to,
            from,
            message_id,
            range,
            flag,
        }
    });
    frames.into_iter().zip(seen).collect()
}

/// What tshark reads is what a far end reads, on every frame.
fn agree(frames: &[(Frame, Seen)], (to, from): (&str, &str)) {
    for (frame, seen) in frames {
        let head = &frame.head;
        assert_eq!(seen.ids[0], seen.ids[1], "{frame:?}");
        assert_eq!(seen.ids[0].as_bytes(), head.id, "{frame:?}");
        assert!(seen.method == head.what || head.what.starts_with(&seen.code));
        assert_eq!((&*seen.to, &*seen.from), (to, from), "{frame:?}");
        let value = |name: &str| head.value(name).unwrap_or_default();
        assert_eq!(seen.message_id, value("message-id"), "{frame:?}");
        assert_eq!(seen.range, value("byte-range"), "{frame:?}");
        assert_eq!(seen.flag, frame.flag.to_string(), "{frame:?}");
    }
}

/// Alice's chunk that may be interrupted, and is: Bob is owed a response in its middle.
fn interrupted(chat: &Chat, (to, from): (&str, &str)) {
    let front = format!(
        "MSRP cutt SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: interrupted\r\n\
         Byte-Range: 1-*/6000\r\nFailure-Report: no\r\nContent-Type: text/plain\r\n\r\n"
    );
    let before = chat.bob.body_bytes();
    chat.alice.throw(front.as_bytes()).unwrap();
    chat.alice.throw(&[b'x'; 3000]).unwrap();
    // Bob keeps back what may be the beginning of an end line.
    let has_begun = tests::live::eventually(LONG, || chat.bob.body_bytes() >= before + 2900);
    assert!(has_begun, "the chunk's front doesn't arrive before its end");
    chat.bob.bind().unwrap();
    chat.alice.throw(&[b'y'; 3000]).unwrap();
    chat.alice.throw(b"\r\n-------cutt$\r\n").unwrap();
}

/// A message that Alice gives up.
fn given_up(alice: &Peer, (to, from): (&str, &str)) {
    let frame = format!(
        "MSRP give SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: given-up\r\n\
         Byte-Range: 1-*/100\r\nFailure-Report: no\r\nContent-Type: text/plain\r\n\r\n\
         not all\r\n-------give#\r\n"
    );
    alice.throw(frame.as_bytes()).unwrap();
}

/// What tshark read of a call: frames to Alice, frames to Bob.
type Read = [Vec<(Frame, Seen)>; 2];

/// Captures a call in which `talk` is what is said; `None`: it can't be captured here.
fn judged(
    change: impl FnOnce(&mut Settings),
    talk: impl FnOnce(&Chat, (&str, &str)),
) -> Option<Read> {
    if !needs("live::msrp_wire", &["dumpcap", "tshark", "text2pcap"]) {
        return None;
    }
    let mut scene = Scene::direct(change);
    let Some(capture) = Capture::start(&judge::tcp(&scene.relay.msrp_ports())) else {
        skip("live::msrp_wire", "this user may not capture on lo");
        return None;
    };
    let (mut joined, chat) = Chat::call(&mut scene, None, None);
    let (at_alice, at_bob) = (told(&joined.at_alice[0]), told(&joined.at_bob[0]));
    let (a, b) = (chat.alice.path().to_owned(), chat.bob.path().to_owned());
    talk(&chat, (&at_alice, &a));
    assert_eq!(chat.bob.problems(), Vec::<String>::new());
    scene.alice_hangs_up(&mut joined);
    assert!(chat.alice.is_closed(LONG) && chat.bob.is_closed(LONG));
    let wire = capture.stop();
    let mut read_of = [Vec::new(), Vec::new()];
    let port = port(&at_alice);
    assert_eq!(port, self::port(&at_bob));
    for [from_relay, to_relay] in wire.conversations(port) {
        let (out, came) = (read(&from_relay), read(&to_relay));
        let is_alices = out.iter().any(|(_, seen)| seen.to == a);
        let (own, far) = if is_alices {
            (&at_alice, &a)
        } else {
            (&at_bob, &b)
        };
        agree(&out, (far, own));
        agree(&came, (own, far));
        read_of[usize::from(!is_alices)] = out;
    }
    Some(read_of)
}

fn told(media: &sdp::Media) -> String {
    let path = media.attribute("path");
    path.expect("a message stream has a path").to_owned()
}

fn port(path: &str) -> u16 {
    sdp::path_address(path).map_or(0, |address| address.port())
}

/// How many requests of a method, or responses of a code, there are.
fn count(frames: &[(Frame, Seen)], what: &str) -> usize {
    let is_it = |seen: &Seen| seen.method == what || seen.code == what;
    frames.iter().filter(|(_, seen)| is_it(seen)).count()
}

/// Byte-Range and flag of each chunk of a message.
fn ranges<'a>(frames: &'a [(Frame, Seen)], id: &str) -> Vec<(&'a str, &'a str)> {
    let of = frames.iter().filter(|(_, seen)| seen.message_id == id);
    of.map(|(_, seen)| (&*seen.range, &*seen.flag)).collect()
}

#[test]
fn the_judge_reads_every_msrp_frame_short_chunked_interrupted_and_given_up() {
    let talk = |chat: &Chat, (at_alice, a): (&str, &str)| {
        chat.alice.send(&Outgoing::text("short")).unwrap();
        chat.bob.send(&Outgoing::text("short too")).unwrap();
        for (seed, chunk) in [(1, 2048), (2, 10 * 1024), (3, u64::MAX)] {
            let file = Outgoing::file(50_000, seed, chunk).with_success_report();
            chat.alice.send(&file).unwrap();
        }
        assert_eq!(chat.alice.reports(3, LONG).len(), 3);
        interrupted(chat, (at_alice, a));
        given_up(&chat.alice, (at_alice, a));
        let messages = chat.bob.messages(6, LONG);
        assert_eq!(messages.len(), 6);
        let cut = messages.iter().find(|message| message.id == "interrupted");
        let cut = cut.expect("it arrives");
        assert!(cut.finished && cut.coverage.is_whole(6000));
        assert_eq!(cut.chunks, 2);
    };
    let Some([to_alice, to_bob]) = judged(|_| {}, talk) else {
        return;
    };
    // 50,000 octets by 2048 are 25 chunks, by 10 KiB 5; then one, a text, two pieces, one given up.
    assert_eq!(count(&to_bob, "SEND"), 25 + 5 + 1 + 1 + 2 + 1);
    assert_eq!(
        (count(&to_alice, "SEND"), count(&to_alice, "REPORT")),
        (1, 3)
    );
    // Two binds and a message, a bind and 32 chunks; those that want no answer have none.
    assert_eq!((count(&to_bob, "200"), count(&to_alice, "200")), (3, 33));
    let mut ids = BTreeSet::new();
    for (_, seen) in to_bob.iter().chain(&to_alice) {
        let is_new = !seen.code.is_empty() || ids.insert(&seen.ids[0]);
        assert!(is_new, "{} is used twice", seen.ids[0]);
    }
    assert_eq!(ranges(&to_bob, "given-up"), [("1-*/100", "#")]);
    let cut = ranges(&to_bob, "interrupted");
    assert_eq!(cut, [("1-*/6000", "+"), ("3001-*/6000", "$")]);
}

#[test]
fn the_judge_reads_every_msrp_frame_that_the_relay_has_cut() {
    const OCTETS: u64 = 50_000;
    const CHUNK: u64 = 4096;
    let cut = |settings: &mut Settings| {
        settings
            .set("msrp", "chunk_octets_max", CHUNK)
            .set("msrp", "chunk_exact", true);
    };
    let mut id = String::new();
    let talk = |chat: &Chat, _: (&str, &str)| {
        let file = Outgoing::file(OCTETS, 1, u64::MAX).with_success_report();
        id = chat.alice.send(&file).unwrap();
        assert_eq!(chat.alice.reports(1, LONG).len(), 1);
        assert!(chat.alice.is_answered(LONG));
        chat.assert_clean();
    };
    let Some([to_alice, to_bob]) = judged(cut, talk) else {
        return;
    };
    let found: Vec<(String, String)> = ranges(&to_bob, &id)
        .into_iter()
        .map(|(range, flag)| (range.to_owned(), flag.to_owned()))
        .collect();
    let due: Vec<(String, String)> = (0..OCTETS.div_ceil(CHUNK))
        .map(|number| {
            let end = ((number + 1) * CHUNK).min(OCTETS);
            let flag = if end == OCTETS { "$" } else { "+" };
            let range = format!("{}-{end}/{OCTETS}", number * CHUNK + 1);
            (range, flag.to_owned())
        })
        .collect();
    assert_eq!(found, due);
    // The one chunk that came and the bind are answered once each.
    assert_eq!(
        (count(&to_alice, "200"), count(&to_alice, "REPORT")),
        (2, 1)
    );
}
