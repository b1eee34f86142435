//! What is recorded of the messages between two far ends, and when they end.

use std::time::Duration;

use super::{World, bind, paths, response, send_frame, send_head};
use crate::api::{Chunking, RecordPart, SessionId, Side, StreamId};
use crate::limits::{MSRP_RECORDED_MESSAGES, RECORDS_WAITING, RECORDS_WAITING_BYTES};
use crate::proto::msrp::{ConnectionKey, LegKey, RecordingKey};

impl World {
    /// Two joined legs that are recorded, and their connections.
    fn recorded(&mut self, a: char, b: char) -> (ConnectionKey, ConnectionKey, RecordingKey) {
        let (one, other) = self.legs(a, b);
        let recording = self.record(one, other);
        (self.bound(a), self.bound(b), recording)
    }

    fn record(&mut self, a: LegKey, b: LegKey) -> RecordingKey {
        let recording = self.relay.begin_recording(SessionId(9));
        for (leg, side) in [(a, Side::A), (b, Side::B)] {
            self.relay.record_leg(leg, recording, (StreamId(3), side));
        }
        recording
    }

    fn parts(&mut self) -> Vec<RecordPart> {
        let records = std::iter::from_fn(|| self.relay.next_record());
        records
            .inspect(|record| assert_eq!(record.session, SessionId(9)))
            .map(|record| record.part)
            .collect()
    }

    /// The same, in short: `B` and `E` with a message's number, `E+` of a complete one, and octets.
    fn short(&mut self) -> Box<str> {
        let parts: Vec<_> = self.parts().iter().map(short).collect();
        parts.join(", ").into()
    }

    fn sends(&mut self, from: ConnectionKey, id: &str, (range, body, flag): (&str, &str, char)) {
        let headers = format!("Byte-Range: {range}\r\n");
        let head = send_head('a', "tidy", &headers).replace("m-tidy", id);
        self.send(from, format!("{head}{body}\r\n-------tidy{flag}\r\n"));
    }
}

fn short(part: &RecordPart) -> Box<str> {
    match part {
        RecordPart::Begin { message, .. } => format!("B{message}").into(),
        RecordPart::Data {
            message,
            offset,
            bytes,
        } => format!("{message}@{offset} {}", str::from_utf8(bytes).unwrap()).into(),
        RecordPart::End {
            message,
            is_complete,
        } => format!("E{message}{}", if *is_complete { '+' } else { '-' }).into(),
        RecordPart::Closed => "closed".into(),
    }
}

#[test]
fn a_message_begins_with_what_its_head_says() {
    let mut world = World::new();
    let (a, b, recording) = world.recorded('a', 'b');
    world.send(a, send_frame('a', "tid1", "", "hi"));
    let begin = RecordPart::Begin {
        stream: StreamId(3),
        from: Side::A,
        message: 0,
        message_id: b"m-tid1".to_vec(),
        content_type: b"text/plain".to_vec(),
        total: None,
    };
    assert_eq!(world.parts()[0], begin);
    world.send(b, send_frame('b', "tid2", "Byte-Range: 1-3/3\r\n", "yes"));
    assert_eq!(&*world.short(), "B1, 1@0 yes, E1+");
    world.relay.let_go_recording(recording);
    assert_eq!(&*world.short(), "closed");
}

#[test]
fn what_is_no_message_is_not_recorded() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.send(a, bind('a'));
    let paths = paths('a');
    world.send(
        a,
        format!("MSRP tid1 NICKNAME\r\n{paths}Use-Nickname: \"A\"\r\n-------tid1$\r\n"),
    );
    world.send(
        a,
        format!("MSRP tid2 OTHER\r\n{paths}Content-Type: a/b\r\n\r\nbody\r\n-------tid2$\r\n"),
    );
    assert_eq!(&*world.short(), "");
}

#[test]
fn chunks_of_several_messages_keep_apart_and_may_come_in_any_order() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-2/6", "ab", '+'));
    world.sends(a, "two", ("1-2/4", "AB", '+'));
    world.sends(a, "one", ("5-6/6", "ef", '$'));
    world.sends(a, "two", ("3-4/4", "CD", '$'));
    world.sends(a, "one", ("3-4/6", "cd", '+'));
    let expected = "B0, 0@0 ab, B1, 1@0 AB, 0@4 ef, 1@2 CD, E1+, 0@2 cd, E0+";
    assert_eq!(&*world.short(), expected);
}

#[test]
fn a_chunk_that_comes_twice_is_handed_on_with_its_place() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-2/4", "ab", '+'));
    world.sends(a, "one", ("1-2/4", "ab", '+'));
    world.sends(a, "one", ("3-4/4", "cd", '$'));
    world.sends(a, "one", ("3-4/4", "cd", '$'));
    assert_eq!(
        &*world.short(),
        "B0, 0@0 ab, 0@0 ab, 0@2 cd, E0+",
        "after its end a repeated chunk is none"
    );
}

#[test]
fn offsets_are_the_senders_however_the_far_end_wants_its_chunks() {
    for exact in [false, true] {
        let mut world = World::new();
        let (one, other) = world.legs('a', 'b');
        let cut = Chunking::AtMost { octets: 4, exact };
        world.relay.set_chunking(other, cut);
        world.record(one, other);
        let (a, _) = (world.bound('a'), world.bound('b'));
        let frame = send_frame('a', "tid1", "Byte-Range: 11-20/20\r\n", "0123456789");
        for piece in frame.as_bytes().chunks(3) {
            world.send_octets(a, piece);
        }
        let mut whole = Vec::new();
        for part in world.parts() {
            if let RecordPart::Data { offset, bytes, .. } = part {
                assert_eq!(offset, 10 + whole.len() as u64);
                whole.extend(bytes);
            }
        }
        assert_eq!(whole, b"0123456789");
    }
}

#[test]
fn a_message_that_is_aborted_is_not_complete() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-*/4", "ab", '#'));
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0-");
}

#[test]
fn a_message_whose_sender_is_lost_is_not_complete() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-4/4\r\n"));
    world.send(a, "ab");
    world.close(a);
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0-");
}

#[test]
fn a_message_whose_far_end_is_lost_is_not_complete() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-4/4\r\n"));
    world.send(a, "ab");
    world.close(b);
    world.send(a, "cd\r\n-------tid1$\r\n");
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0-");
}

#[test]
fn a_message_that_is_refused_is_none_and_one_that_had_begun_is_not_complete() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    let leg = world.relay.bound_leg(a).unwrap();
    world.sends(a, "one", ("1-2/4", "ab", '+'));
    world.relay.set_direction(leg, false, true);
    world.sends(a, "one", ("3-4/4", "cd", '$'));
    world.sends(a, "two", ("1-2/2", "AB", '$'));
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0-");
    world.relay.set_direction(leg, true, true);
    world.sends(a, "one", ("1-4/4", "abcd", '$'));
    assert_eq!(&*world.short(), "B1, 1@0 abcd, E1+", "it is sent again");
}

#[test]
fn a_failure_that_comes_early_ends_the_message() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/4\r\n"));
    world.send(a, "ab");
    let sent = format!("{}\r\n-------x", str::from_utf8(&world.raw(b)).unwrap());
    let id = sent.split(' ').nth(1).unwrap();
    let paths = paths('b');
    world.send(b, format!("MSRP {id} 413 No\r\n{paths}-------{id}$\r\n"));
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0-");
}

#[test]
fn a_failure_that_is_answered_later_takes_the_message_back() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    world.send(a, send_frame('a', "tid1", "Byte-Range: 1-2/2\r\n", "ab"));
    let sent = world.read_one(b);
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0+");
    world.send(b, response(&sent, "415 No"));
    assert_eq!(&*world.short(), "E0-");
    world.send(b, response(&sent, "415 No"));
    assert_eq!(&*world.short(), "");
}

#[test]
fn a_response_that_does_not_come_takes_the_message_back() {
    let mut world = World::new();
    let (a, _, _) = world.recorded('a', 'b');
    world.send(a, send_frame('a', "tid1", "Byte-Range: 1-2/2\r\n", "ab"));
    assert_eq!(&*world.short(), "B0, 0@0 ab, E0+");
    world.pass(Duration::from_secs(31));
    assert_eq!(&*world.short(), "E0-");
}

#[test]
fn a_failure_of_one_chunk_is_remembered_until_the_message_ends() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-2/4", "ab", '+'));
    let sent = world.read_one(b);
    world.send(b, response(&sent, "408 Late"));
    world.sends(a, "one", ("3-4/4", "cd", '$'));
    assert_eq!(&*world.short(), "B0, 0@0 ab, 0@2 cd, E0-");
}

#[test]
fn a_report_of_failure_takes_the_message_back_and_one_of_success_does_not() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-2/2", "ab", '$'));
    world.sends(a, "two", ("1-2/2", "AB", '$'));
    world.short();
    let paths = paths('b');
    for (id, status) in [("one", "000 200 OK"), ("two", "000 480 Gone")] {
        let report = format!(
            "MSRP rep1 REPORT\r\n{paths}Message-ID: {id}\r\nByte-Range: 1-2/2\r\n\
             Status: {status}\r\n-------rep1$\r\n"
        );
        world.send(b, report);
    }
    assert_eq!(&*world.short(), "E1-");
}

#[test]
fn what_waits_for_its_answer_when_its_leg_goes_is_taken_back() {
    let mut world = World::new();
    let (a, b, recording) = world.recorded('a', 'b');
    world.sends(a, "one", ("1-2/2", "ab", '$'));
    world.sends(a, "two", ("1-2/4", "AB", '+'));
    world.short();
    for connection in [a, b] {
        let leg = world.relay.bound_leg(connection).unwrap();
        let (out, stats) = (&mut world.out, &mut world.stats);
        world.relay.report_open(leg, out, stats);
    }
    for connection in [a, b] {
        let leg = world.relay.bound_leg(connection).unwrap();
        world.relay.remove_leg(leg);
    }
    world.relay.let_go_recording(recording);
    assert_eq!(&*world.short(), "E0-, E1-, closed");
    world.sends(a, "one", ("3-4/4", "cd", '$'));
    assert_eq!(&*world.short(), "");
}

#[test]
fn too_many_open_messages_end_the_oldest() {
    let mut world = World::with_transactions(64);
    let (a, _, _) = world.recorded('a', 'b');
    for number in 0..=MSRP_RECORDED_MESSAGES {
        world.sends(a, &format!("m{number}"), ("1-2/4", "ab", '+'));
    }
    let parts = world.parts();
    let is_end = |part: &&RecordPart| matches!(part, RecordPart::End { .. });
    let ends: Vec<_> = parts.iter().filter(is_end).map(short).collect();
    assert_eq!(ends, ["E0-".into()]);
    world.relay.publish_recordings(&mut world.stats);
    assert_eq!(world.stats.full_recorded_messages, 1);
}

#[test]
fn a_recording_is_over_when_its_last_holder_lets_go() {
    let mut world = World::new();
    let recording = world.relay.begin_recording(SessionId(9));
    world.relay.hold_recording(recording);
    world.relay.let_go_recording(recording);
    assert_eq!(&*world.short(), "");
    world.relay.let_go_recording(recording);
    world.relay.let_go_recording(recording);
    assert_eq!(&*world.short(), "closed");
    let another = world.relay.begin_recording(SessionId(9));
    assert_eq!(another, recording, "its place is used again");
}

/// Fills the room there is for records, with messages that have no octets.
fn fill(world: &mut World, from: ConnectionKey, to: ConnectionKey) {
    for number in 0..RECORDS_WAITING / 2 {
        world.sends(from, &format!("empty{number}"), ("1-0/0", "", '$'));
        let sent = world.read_one(to);
        world.send(to, response(&sent, "200 OK"));
    }
}

#[test]
fn a_send_waits_whole_while_there_is_no_room() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    fill(&mut world, a, b);
    assert!(!world.is_blocked(a), "until there is more");
    world.sends(a, "one", ("1-2/2", "ab", '$'));
    assert!(world.is_blocked(a));
    assert!(world.raw(b).is_empty());
    world.relay.resume_recorded(10);
    world.pass(Duration::ZERO);
    assert!(world.is_blocked(a), "there is no room yet");
    world.parts();
    world.relay.resume_recorded(10);
    world.pass(Duration::ZERO);
    assert!(!world.is_blocked(a));
    assert_eq!(&*world.short(), "B128, 128@0 ab, E128+");
    assert_eq!(world.read_one(b).body.as_deref(), Some(&b"ab"[..]));
}

#[test]
fn a_chunk_waits_in_its_body_and_makes_way_on_a_shared_sink() {
    let mut world = World::new();
    world.legs('c', 'd');
    let (one, other) = world.legs('a', 'b');
    world.record(one, other);
    let (a, c) = (world.bound('a'), world.bound('c'));
    let both = world.bound('b');
    world.send(both, bind('d'));
    world.raw(both);
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/*\r\n"));
    let octets = RECORDS_WAITING_BYTES;
    world.send(a, "x".repeat(octets));
    world.send(a, "abc");
    assert!(world.is_blocked(a) && !world.is_blocked(c));
    world.send(c, send_frame('c', "tid2", "", "not recorded"));
    let read = world.read(both);
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].flag, read[1].flag), ('+', '$'));
    assert_eq!(read[1].body.as_deref(), Some(&b"not recorded"[..]));
    assert_eq!(&*world.read_one(c).what, "200 OK");

    world.parts();
    world.relay.resume_recorded(10);
    world.pass(Duration::ZERO);
    world.send(a, "\r\n-------tid1$\r\n");
    let rest = world.read_one(both);
    let range = format!("{}-*/*", octets + 1);
    assert_eq!(rest.header("Byte-Range"), Some(&*range));
    assert_eq!(&*world.short(), format!("0@{octets} abc, E0+"));
}

#[test]
fn others_on_a_shared_source_pass_until_recorded_content_is_in_front_of_them() {
    let mut world = World::new();
    let (one, other) = world.legs('a', 'b');
    world.record(one, other);
    world.legs('c', 'd');
    let (both, b, d) = (world.bound('a'), world.bound('b'), world.bound('d'));
    world.send(both, bind('c'));
    fill(&mut world, both, b);
    world.send(both, send_frame('c', "tid2", "", "first"));
    assert_eq!(world.read_one(d).body.as_deref(), Some(&b"first"[..]));
    world.sends(both, "one", ("1-2/2", "ab", '$'));
    world.send(both, send_frame('c', "tid3", "", "second"));
    assert!(world.raw(d).is_empty() && world.is_blocked(both));
    world.parts();
    world.relay.resume_recorded(10);
    world.pass(Duration::ZERO);
    assert_eq!(world.read_one(d).body.as_deref(), Some(&b"second"[..]));
    assert_eq!(&*world.short(), "B128, 128@0 ab, E128+");
}

#[test]
fn a_source_that_waits_for_room_and_is_lost_leaves_nothing() {
    let mut world = World::new();
    let (a, b, _) = world.recorded('a', 'b');
    fill(&mut world, a, b);
    world.sends(a, "one", ("1-2/2", "ab", '$'));
    assert!(world.is_blocked(a));
    world.close(a);
    world.parts();
    world.relay.resume_recorded(10);
    world.pass(Duration::ZERO);
    assert_eq!(&*world.short(), "");
}
