//! What control gets of the content that is relayed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::{
    Act, LegSpec, Outcome, Record, RecordPart, RecordRoom, Refusal, SessionId, Side, StreamId,
    StreamSet,
};
use crate::limits::{
    MSRP_RECORDED_MESSAGES, RECORDS_WAITING, RECORDS_WAITING_BYTES, RECORDS_WAITING_MAX,
};
use crate::net::SocketId;

use super::fake::{
    LEARN, LOCAL, World, address, config, connect, locals, open, release, rtp, rtp_spec,
};
use super::msrp::{A_PATH, B_PATH, Chat, chat, chat_of, spec};

const TINY: RecordRoom = RecordRoom {
    records: 4,
    octets: 40_000,
};

fn recorded(stream: u8, spec: &LegSpec) -> Act {
    let mut act = open(stream, spec);
    if let Act::Open(plan) = &mut act {
        plan.record = true;
    }
    act
}

fn recorded_chat(room: RecordRoom) -> Chat {
    let world = World::with_room(&config(10_000, 10_099), room);
    chat_of(world, vec![recorded(0, &spec(LOCAL))])
}

/// A chunk of a message, as its sender says: from which octet on, of how many in all.
struct Chunk<'a> {
    message: &'a str,
    start: usize,
    total: usize,
    body: &'a [u8],
    flag: char,
}

impl Chunk<'_> {
    fn whole<'a>(message: &'a str, body: &'a [u8]) -> Chunk<'a> {
        Chunk {
            message,
            start: 1,
            total: body.len(),
            body,
            flag: '$',
        }
    }
}

impl Chat {
    fn chunk(&self, from: Side, id: &str, chunk: &Chunk<'_>) -> Vec<u8> {
        let to = str::from_utf8(&self.path[from.index()]).unwrap();
        let from = [A_PATH, B_PATH][from.index()];
        let (start, total) = (chunk.start, chunk.total);
        let end = start + chunk.body.len() - 1;
        let head = format!(
            "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n\
             Message-ID: {}\r\nByte-Range: {start}-{end}/{total}\r\nFailure-Report: no\r\n\
             Content-Type: text/plain\r\n\r\n",
            chunk.message
        );
        let end = format!("\r\n-------{id}{}\r\n", chunk.flag);
        [head.as_bytes(), chunk.body, end.as_bytes()].concat()
    }

    fn socket(&self, side: Side) -> SocketId {
        [self.a, self.b][side.index()]
    }

    fn is_paused(&self, side: Side) -> bool {
        self.world.net.borrow().sockets[&self.socket(side).0].paused
    }
}

impl World {
    fn records(&mut self) -> Vec<RecordPart> {
        let records = std::iter::from_fn(|| self.control.record());
        records.map(|record| record.part).collect()
    }
}

fn begin(from: Side, message: u32, message_id: &str, total: u64) -> RecordPart {
    RecordPart::Begin {
        stream: StreamId(0),
        from,
        message,
        message_id: message_id.into(),
        content_type: b"text/plain".to_vec(),
        total: Some(total),
    }
}

fn data(message: u32, offset: u64, bytes: &[u8]) -> RecordPart {
    RecordPart::Data {
        message,
        offset,
        bytes: bytes.to_vec(),
    }
}

fn end(message: u32, is_complete: bool) -> RecordPart {
    RecordPart::End {
        message,
        is_complete,
    }
}

#[test]
fn what_passes_is_recorded_octet_by_octet() {
    let mut chat = recorded_chat(RecordRoom::default());
    let first = chat.chunk(Side::A, "tid1", &Chunk::whole("one", b"hello"));
    let at = first.len() - "o\r\n-------tid1$\r\n".len();
    chat.feed(chat.a, &first[..at]);
    chat.feed(chat.a, &first[at..]);
    let second = chat.chunk(Side::B, "tid2", &Chunk::whole("two", b"yes?"));
    chat.feed(chat.b, &second);
    let expected = [
        begin(Side::A, 0, "one", 5),
        data(0, 0, b"hell"),
        data(0, 4, b"o"),
        end(0, true),
        begin(Side::B, 1, "two", 4),
        data(1, 0, b"yes?"),
        end(1, true),
    ];
    assert_eq!(chat.world.records(), expected);
    assert!(chat.written(chat.b).contains("hello"));
    assert!(chat.written(chat.a).contains("yes?"));
}

#[test]
fn nothing_is_recorded_of_a_session_that_is_not_to_be() {
    let mut chat = chat();
    let frame = chat.chunk(Side::A, "tid1", &Chunk::whole("one", b"hello"));
    chat.feed(chat.a, &frame);
    assert_eq!(
        chat.world
            .order(1, vec![release(StreamSet::ALL, 0)])
            .outcome,
        Outcome::Done
    );
    assert_eq!(chat.world.records(), []);
}

#[test]
fn a_release_ends_what_is_open_and_then_the_session_once() {
    let mut chat = recorded_chat(RecordRoom::default());
    let chunk = Chunk {
        flag: '+',
        total: 10,
        ..Chunk::whole("one", b"hello")
    };
    let frame = chat.chunk(Side::A, "tid1", &chunk);
    chat.feed(chat.a, &frame);
    chat.world.order(1, vec![release(StreamSet::ALL, 0)]);
    let expected = [
        begin(Side::A, 0, "one", 10),
        data(0, 0, b"hello"),
        end(0, false),
        RecordPart::Closed,
    ];
    assert_eq!(chat.world.records(), expected);
    chat.world.pass(1000);
    assert_eq!(chat.world.records(), []);
}

#[test]
fn a_session_is_over_with_its_last_stream_whatever_that_carries() {
    let world = World::new(&config(10_000, 10_099));
    let voice = rtp_spec(true, LEARN);
    let opens = vec![recorded(0, &spec(LOCAL)), recorded(1, &voice)];
    let mut chat = chat_of(world, opens);
    let only = |stream| StreamSet::default().with(StreamId(stream));
    chat.world.order(1, vec![release(only(0), 0)]);
    chat.world.pass(1000);
    assert_eq!(chat.world.records(), []);
    // Another chat of the same session goes on with its numbers, though nothing of it is said here.
    chat.world.order(1, vec![recorded(2, &spec(LOCAL))]);
    chat.world.order(1, vec![release(only(1), 0)]);
    assert_eq!(chat.world.records(), []);
    chat.world.order(1, vec![release(only(2), 0)]);
    assert_eq!(chat.world.records(), [RecordPart::Closed]);
}

#[test]
fn a_session_of_voice_alone_is_over_as_well() {
    let mut world = World::new(&config(10_000, 10_099));
    world.order(7, vec![recorded(0, &rtp_spec(true, LEARN))]);
    world.order(7, vec![release(StreamSet::ALL, 200)]);
    let closed = Record {
        session: SessionId(7),
        part: RecordPart::Closed,
    };
    assert_eq!(world.control.record(), Some(closed));
    assert_eq!(world.control.record(), None);
}

#[test]
fn an_order_that_opens_nothing_records_nothing() {
    let mut world = World::new(&config(10_000, 10_099));
    let elsewhere = spec("10.0.0.2");
    let acts = vec![recorded(0, &spec(LOCAL)), recorded(1, &elsewhere)];
    assert_eq!(
        world.order(1, acts).outcome,
        Outcome::Refused(Refusal::Socket)
    );
    assert_eq!(world.records(), []);
}

#[test]
fn con_04_a_drain_waits_for_the_message_and_for_its_record() {
    let mut chat = recorded_chat(TINY);
    let body = [b'x'; 50_000];
    let chunk = Chunk::whole("one", &body);
    let frame = chat.chunk(Side::A, "tid1", &chunk);
    for piece in frame[..40_000].chunks(10_000) {
        chat.feed(chat.a, piece);
    }
    chat.world.send(1, vec![release(StreamSet::ALL, 200)]);
    chat.world.pass(100);
    assert!(chat.world.done().is_empty(), "the message isn't over");
    for piece in frame[40_000..].chunks(10_000) {
        chat.feed(chat.a, piece);
    }
    chat.world.pass(60);
    assert!(
        chat.world.done().is_empty(),
        "its record hasn't been taken over"
    );
    let mut parts = chat.world.records();
    chat.world.pass(20);
    parts.extend(chat.world.records());
    assert_eq!(chat.world.done().len(), 1, "before its time was up");
    chat.world.cycle();
    parts.extend(chat.world.records());
    let octets: usize = parts.iter().map(octets).sum();
    assert_eq!(octets, body.len());
    assert_eq!(parts[parts.len() - 2..], [end(0, true), RecordPart::Closed]);
}

#[test]
fn con_04_a_frozen_session_takes_and_records_nothing_new() {
    let mut chat = recorded_chat(RecordRoom::default());
    let chunk = Chunk::whole("one", b"hello");
    let begun = chat.chunk(Side::A, "tid1", &chunk);
    chat.feed(chat.a, &begun[..begun.len() - 20]);
    chat.world.send(1, vec![release(StreamSet::ALL, 200)]);
    chat.world.pass(40);
    let late = chat.chunk(Side::B, "tid2", &Chunk::whole("two", b"too late"));
    let late = str::from_utf8(&late).unwrap();
    let late = late.replace("Failure-Report: no\r\n", "");
    chat.feed(chat.b, late.as_bytes());
    chat.feed(chat.a, &begun[begun.len() - 20..]);
    assert!(!chat.written(chat.a).contains("too late"));
    assert!(chat.written(chat.b).contains("MSRP tid2 481"));
    chat.world.pass(40);
    assert_eq!(chat.world.done().len(), 1);
    let parts = chat.world.records();
    let octets: usize = parts.iter().map(octets).sum();
    assert_eq!((&parts[0], octets), (&begin(Side::A, 0, "one", 5), 5));
    assert_eq!(parts[parts.len() - 2..], [end(0, true), RecordPart::Closed]);
}

#[test]
fn con_04_a_drain_ends_in_time_though_nobody_takes_records() {
    let mut chat = recorded_chat(TINY);
    let body = [b'x'; 90_000];
    let frame = chat.chunk(Side::A, "tid1", &Chunk::whole("one", &body));
    for piece in frame.chunks(10_000) {
        chat.feed(chat.a, piece);
    }
    chat.world.send(1, vec![release(StreamSet::ALL, 200)]);
    chat.world.pass(180);
    assert!(chat.world.done().is_empty());
    chat.world.pass(60);
    assert_eq!(chat.world.done().len(), 1);
    let mut parts = Vec::new();
    for _ in 0..20 {
        parts.extend(chat.world.records());
        chat.world.cycle();
    }
    assert_eq!(parts.iter().map(octets).sum::<usize>(), body.len());
    assert_eq!(parts[parts.len() - 2..], [end(0, true), RecordPart::Closed]);
}

fn octets(part: &RecordPart) -> usize {
    match part {
        RecordPart::Data { bytes, .. } => bytes.len(),
        RecordPart::Begin { .. } | RecordPart::End { .. } | RecordPart::Closed => 0,
    }
}

#[test]
fn a_recorder_that_stops_stops_its_sources_and_nobody_else() {
    let mut chat = recorded_chat(TINY);
    let legs = chat.world.order(2, vec![open(0, &rtp_spec(true, LEARN))]);
    let [a, b] = locals(&legs.acts[0]).map(|(rtp, _)| rtp);
    let (alice, bob) = (address("192.0.2.9:4000"), address("192.0.2.9:5000"));
    let acts = vec![
        connect(0, Side::A, alice, alice),
        connect(0, Side::B, bob, bob),
    ];
    chat.world.order(2, acts);

    const MESSAGES: usize = 100;
    let body = [b'x'; 14_000];
    for number in 0..MESSAGES {
        let message = format!("m{number}");
        let frame = chat.chunk(Side::A, "tid1", &Chunk::whole(&message, &body));
        chat.world.net.borrow_mut().feed(chat.a, &frame);
    }
    for seq in 0..100 {
        let sent = chat.world.datagram(alice, a, &rtp(seq, 1));
        assert!(
            matches!(sent[..], [(from, to, _)] if (from, to) == (b, bob)),
            "voice passes: {sent:?}"
        );
    }
    assert!(chat.is_paused(Side::A));
    assert!(!chat.is_paused(Side::B));
    let waits = chat.world.net.borrow().sockets[&chat.a.0].incoming.len();
    let most = (RECORDS_WAITING_BYTES + 40_000) / body.len() + 4;
    assert!(MESSAGES - waits <= most, "{waits} of {MESSAGES} wait");
    chat.world.pass(200);
    assert!(chat.world.board.load().full_records > 0);

    let (mut took, mut ends) = (0, 0);
    for _ in 0..1000 {
        if let Some(record) = chat.world.control.record() {
            took += octets(&record.part);
            ends += usize::from(matches!(
                record.part,
                RecordPart::End {
                    is_complete: true,
                    ..
                }
            ));
        }
        chat.world.cycle();
    }
    assert_eq!((took, ends), (MESSAGES * body.len(), MESSAGES));
    assert!(!chat.is_paused(Side::A));
    assert_eq!(
        chat.written(chat.b)
            .matches("Byte-Range: 1-14000/14000")
            .count(),
        100
    );
}

#[test]
fn a_stuck_recorder_refuses_new_sessions_and_keeps_every_end() {
    let room = RecordRoom {
        records: 1,
        octets: 1,
    };
    let mut world = World::with_room(&config(10_000, 10_099), room);
    let voice = rtp_spec(true, LEARN);
    let mut sessions = 0;
    loop {
        let opened = world.order(sessions, vec![recorded(0, &voice)]);
        if opened.outcome == Outcome::Refused(Refusal::Full) {
            break;
        }
        assert_eq!(opened.outcome, Outcome::Done);
        world.order(sessions, vec![release(StreamSet::ALL, 0)]);
        world.now += std::time::Duration::from_secs(1);
        sessions += 1;
        assert!(sessions < 2 * RECORDS_WAITING_MAX as u64);
    }
    let plain = world.order(sessions, vec![open(0, &voice)]);
    assert_eq!(
        plain.outcome,
        Outcome::Done,
        "one that isn't to be recorded"
    );
    let mut closed = 0;
    for _ in 0..=sessions {
        closed += world.records().len() as u64;
        world.cycle();
    }
    assert_eq!(closed, sessions);
    let opened = world.order(sessions + 1, vec![recorded(0, &voice)]);
    assert_eq!(opened.outcome, Outcome::Done);
}

/// Who sent a message, its Message-ID, its octets, and how it ended.
type Message = (Side, Vec<u8>, Vec<u8>, Option<bool>);

/// What control makes of records.
#[derive(Default)]
struct Kept {
    messages: BTreeMap<u32, Message>,
    closed: usize,
}

impl Kept {
    fn take(&mut self, part: RecordPart) {
        assert_eq!(self.closed, 0, "{part:?} after the end");
        match part {
            RecordPart::Begin {
                from,
                message,
                message_id,
                total,
                ..
            } => {
                let body = vec![0; usize::try_from(total.unwrap()).unwrap()];
                let kept = (from, message_id, body, None);
                assert!(self.messages.insert(message, kept).is_none());
            }
            RecordPart::Data {
                message,
                offset,
                bytes,
            } => {
                let (_, _, body, ended) = self.messages.get_mut(&message).unwrap();
                assert_eq!(*ended, None);
                let at = usize::try_from(offset).unwrap();
                body[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            RecordPart::End {
                message,
                is_complete,
            } => {
                let (_, _, _, ended) = self.messages.get_mut(&message).unwrap();
                assert_eq!(*ended, None);
                *ended = Some(is_complete);
            }
            RecordPart::Closed => self.closed += 1,
        }
    }
}

/// All of them may be open at a time.
const MESSAGES_OF_A_SIDE: usize = MSRP_RECORDED_MESSAGES;

/// Random messages of one side, cut into chunks that come in any order, one or another of them twice.
fn stream(
    chat: &Chat,
    side: Side,
    random: &mut StdRng,
    sent: &mut Vec<(Side, Vec<u8>)>,
) -> Vec<u8> {
    let mut chunks = Vec::new();
    for number in 0..MESSAGES_OF_A_SIDE {
        let len = random.random_range(1..4000);
        let body: Vec<u8> = (0..len)
            .map(|_| *b"ab\r\n-x".get(random.random_range(0..6)).unwrap())
            .collect();
        let mut at = 0;
        let mut its = Vec::new();
        while at < len {
            let to = random.random_range(at + 1..=len);
            its.push((number, at, to, len));
            at = to;
        }
        let one = random.random_range(0..its.len());
        match random.random_range(0..3) {
            0 => its.rotate_left(one),
            1 if its.len() > 1 => its.insert(0, its[one]),
            _ => {}
        }
        // In its own order among those of other messages.
        let mut place = 0;
        for chunk in its {
            place = random.random_range(place..=chunks.len());
            chunks.insert(place, chunk);
            place += 1;
        }
        sent.push((side, body));
    }
    let base = sent.len() - MESSAGES_OF_A_SIDE;
    let mut octets = Vec::new();
    for (place, (number, at, to, len)) in chunks.into_iter().enumerate() {
        let message = format!("m{number}");
        let chunk = Chunk {
            message: &message,
            start: at + 1,
            total: len,
            body: &sent[base + number].1[at..to],
            flag: if to == len { '$' } else { '+' },
        };
        octets.extend(chat.chunk(side, &format!("tid{place:05}"), &chunk));
    }
    octets
}

#[test]
fn what_is_recorded_is_what_was_sent_however_it_is_cut_and_taken() {
    let mut waited = 0;
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let room = RecordRoom {
            records: random.random_range(1..6),
            octets: random.random_range(1..3000),
        };
        let mut chat = recorded_chat(room);
        let mut sent = Vec::new();
        let mut kept = Kept::default();
        let streams = Side::BOTH.map(|side| stream(&chat, side, &mut random, &mut sent));
        let mut at = [0; 2];
        let patience = random.random_range(0.0..1.0);
        while at[0] < streams[0].len() || at[1] < streams[1].len() {
            let side = Side::BOTH[random.random_range(0..2)];
            let left = &streams[side.index()][at[side.index()]..];
            let piece = &left[..left.len().min(random.random_range(1..400))];
            at[side.index()] += piece.len();
            let socket = chat.socket(side);
            chat.world.net.borrow_mut().feed(socket, piece);
            chat.world.cycle();
            if random.random_bool(patience)
                && let Some(record) = chat.world.control.record()
            {
                kept.take(record.part);
            }
        }
        for _ in 0..30_000 {
            chat.world.cycle();
            if let Some(record) = chat.world.control.record() {
                kept.take(record.part);
            }
        }
        chat.world.send(1, vec![release(StreamSet::ALL, 0)]);
        for _ in 0..1000 {
            chat.world.cycle();
            chat.world
                .records()
                .into_iter()
                .for_each(|part| kept.take(part));
        }
        assert_eq!(kept.closed, 1, "seed {seed}");
        let mut got: Vec<_> = kept.messages.into_values().collect();
        assert!(
            got.iter().all(|(_, _, _, ended)| *ended == Some(true)),
            "seed {seed}"
        );
        let number = |id: &[u8]| str::from_utf8(&id[1..]).unwrap().parse::<usize>().unwrap();
        got.sort_by_key(|(from, id, ..)| (*from, number(id)));
        let got: Vec<_> = got
            .into_iter()
            .map(|(from, _, body, _)| (from, body))
            .collect();
        assert!(got == sent, "seed {seed}");
        chat.world.pass(200);
        waited += chat.world.board.load().full_records;
    }
    assert!(waited > 0, "no source ever had to wait");
}

#[test]
fn what_waits_for_a_recorder_that_stops_is_bounded() {
    const GIB: usize = 1 << 30;
    let mut chat = recorded_chat(RecordRoom::default());
    let to = str::from_utf8(&chat.path[0]).unwrap();
    let head = format!(
        "MSRP tid1 SEND\r\nTo-Path: {to}\r\nFrom-Path: {A_PATH}\r\nMessage-ID: big\r\n\
         Byte-Range: 1-{GIB}/{GIB}\r\nContent-Type: text/plain\r\n\r\n"
    );
    chat.feed(chat.a, head.as_bytes());
    let (body, mut fed) = ([b'x'; 16_384], 0);
    // Its sender sends as long as it is read, and its far end takes all.
    while fed < GIB && !chat.is_paused(Side::A) {
        chat.feed(chat.a, &body);
        fed += body.len();
        chat.world
            .net
            .borrow_mut()
            .sockets
            .get_mut(&chat.b.0)
            .unwrap()
            .written
            .clear();
    }
    assert!(chat.is_paused(Side::A));
    let room = usize::try_from(RecordRoom::default().octets).unwrap();
    assert!(
        fed <= room + RECORDS_WAITING_BYTES + 4 * body.len(),
        "{fed}"
    );
    let (mut records, mut took) = (0, 0);
    while let Some(record) = chat.world.control.record() {
        records += 1;
        took += octets(&record.part);
    }
    assert!(took <= room && records <= RecordRoom::default().records);
    chat.world.cycle();
    assert!(chat.world.records().len() <= RECORDS_WAITING + 64);
}
