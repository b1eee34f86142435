//! One SEND of a member to all others of its room.

use std::time::Duration;

use super::{Frame, World, bind, ours, response, send_frame, send_head, theirs};
use crate::api::Chunking;
use crate::limits::{MSRP_FAN_BYTES, MSRP_MEMBER_BYTES, MSRP_ROOM_BYTES, MSRP_ROOM_HIGH_BYTES};
use crate::proto::msrp::{ConnectionKey, LegKey, RoomRules};

/// Far ends s, a, b, c: what comes from s goes to the three others.
struct Group {
    world: World,
    source: ConnectionKey,
    members: [ConnectionKey; 3],
    legs: [LegKey; 3],
}

fn group() -> Group {
    let mut world = World::with_transactions(10_000);
    let source_leg = world.leg('s');
    world.relay.set_remote(source_leg, &theirs('s'), None);
    let legs = ['a', 'b', 'c'].map(|letter| {
        let leg = world.leg(letter);
        world.relay.set_remote(leg, &theirs(letter), None);
        leg
    });
    let room = world.relay.open_room(RoomRules::default()).unwrap();
    for leg in [&[source_leg][..], &legs].concat() {
        assert!(world.relay.join_room(room, leg, None));
    }
    let source = world.bound('s');
    let members = ['a', 'b', 'c'].map(|letter| world.bound(letter));
    Group {
        world,
        source,
        members,
        legs,
    }
}

fn bodies(read: &[Frame]) -> Vec<u8> {
    read.iter()
        .filter_map(|f| f.body.clone())
        .flatten()
        .collect()
}

#[test]
fn one_send_goes_to_all_with_ids_and_answers_of_their_own() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    world.send(
        source,
        send_frame('s', "tid1", "Byte-Range: 1-*/5\r\n", "hello"),
    );
    assert_eq!(&*world.read_one(source).what, "200 OK");
    let sent = members.map(|key| world.read_one(key));
    for (frame, letter) in sent.iter().zip(['a', 'b', 'c']) {
        assert_eq!(frame.header("To-Path"), Some(&*theirs(letter)));
        assert_eq!(frame.header("From-Path"), Some(&*ours(letter)));
        assert_eq!(frame.header("Message-ID"), Some("m-tid1"));
        assert_eq!(frame.header("Byte-Range"), Some("1-5/5"));
        assert_eq!(
            (frame.flag, frame.body.as_deref()),
            ('$', Some(&b"hello"[..]))
        );
    }
    assert!(sent[0].id != sent[1].id && sent[1].id != sent[2].id);
    assert_eq!(world.counts(), (0, 0, 3));
    world.send(members[0], response(&sent[0], "200 OK"));
    world.send(members[1], response(&sent[1], "415 No"));
    world.pass(Duration::from_secs(30));
    assert!(world.raw(source).is_empty(), "not its sender's business");
    assert_eq!(world.counts(), (1, 2, 0));
    assert_eq!(world.stats.msrp_copies_failed, 2);
}

#[test]
fn a_long_message_goes_in_pieces_as_it_comes() {
    let Group {
        mut world,
        source,
        members,
        legs,
    } = group();
    let exactly = Chunking::AtMost {
        octets: 2000,
        exact: true,
    };
    world.relay.set_chunking(legs[1], exactly);
    let body: Vec<u8> = (0..30_000_u32)
        .map(|at| at.to_le_bytes()[0] & 63 | 32)
        .collect();
    let text = std::str::from_utf8(&body).unwrap();
    world.send(source, send_head('s', "tid1", "Byte-Range: 1-*/30000\r\n"));
    world.send(source, &text[..20_000]);
    assert!(world.raw(source).is_empty());
    let mut read = members.map(|key| world.read(key));
    assert_eq!(bodies(&read[0]).len(), 2 * MSRP_FAN_BYTES);
    world.send(source, format!("{}\r\n-------tid1$\r\n", &text[20_000..]));
    assert_eq!(&*world.read_one(source).what, "200 OK");
    for (read, key) in read.iter_mut().zip(members) {
        read.extend(world.read(key));
        assert!(bodies(read) == body);
        assert!(read.iter().rev().skip(1).all(|frame| frame.flag == '+'));
        assert_eq!(read.last().unwrap().flag, '$');
    }
    let mut next = 1;
    for frame in &read[1] {
        let last = next + frame.body.as_ref().unwrap().len() - 1;
        let range = format!("{next}-{last}/30000");
        assert_eq!(frame.header("Byte-Range"), Some(&*range));
        assert!(last - next < 2000);
        next = last + 1;
    }
    assert_eq!(read[0][1].header("Byte-Range"), Some("8193-*/30000"));
    for (key, read) in members.into_iter().zip(read) {
        for frame in read {
            world.send(key, response(&frame, "200 OK"));
        }
    }
    assert_eq!((world.stats.msrp_reported, world.stats.msrp_open), (0, 0));
}

#[test]
fn upl_04_a_member_that_takes_nothing_holds_nobody_up_and_gets_the_next_message_whole() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    let stuck = members[1];
    world.hold(stuck, 0);
    let piece = "x".repeat(MSRP_FAN_BYTES);
    world.send(source, send_head('s', "tid1", "Byte-Range: 1-*/*\r\n"));
    let pieces = 2 * MSRP_ROOM_BYTES / MSRP_FAN_BYTES;
    let (mut slow, mut other) = (0, 0);
    for _ in 0..pieces {
        world.send(source, &piece);
        slow += bodies(&world.read(stuck)).len();
        for key in [members[0], members[2]] {
            for frame in world.read(key) {
                other += frame.body.as_ref().unwrap().len();
                world.send(key, response(&frame, "200 OK"));
            }
        }
        assert!(!world.is_blocked(source), "the others can take it");
        assert!(world.relay.rooms.octets <= MSRP_ROOM_BYTES);
    }
    world.send(source, "\r\n-------tid1$\r\n");
    let last = [members[0], members[2]].map(|key| bodies(&world.read(key)).len());
    assert_eq!(other + last[0] + last[1], 2 * pieces * MSRP_FAN_BYTES);
    let most = usize::try_from(MSRP_MEMBER_BYTES).unwrap() + 2 * MSRP_FAN_BYTES;
    assert!(slow <= most, "{slow}");
    assert_eq!(&*world.read_one(source).what, "200 OK", "and no report");
    assert_eq!(world.stats.full_msrp_member, 1);
    assert!(world.stats.msrp_copies_failed > 0);
    assert_eq!(world.relay.rooms.octets, 0, "nothing is kept for it");
    world.out.held.clear();
    world.send(source, send_frame('s', "tid2", "", "next"));
    assert_eq!(bodies(&world.read(stuck)), b"next");
    world.close(stuck);
    world.send(source, send_frame('s', "tid3", "", "more"));
    assert_eq!(&*world.read(source).last().unwrap().what, "200 OK");
}

#[test]
fn a_slow_member_gets_all_of_a_file_when_it_takes_it() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    world.hold(members[1], 0);
    let octets = 10 * 1024 * 1024;
    world.send(
        source,
        send_head('s', "tid1", &format!("Byte-Range: 1-*/{octets}\r\n")),
    );
    for _ in 0..octets / MSRP_FAN_BYTES {
        world.send(source, "y".repeat(MSRP_FAN_BYTES));
        world.raw(members[0]);
        world.raw(members[2]);
    }
    world.send(source, "\r\n-------tid1$\r\n");
    assert!(
        world.relay.rooms.octets < octets + octets / 8,
        "once, not for each"
    );
    let (mut got, mut last) = (0, '+');
    while last != '$' {
        world.hold(members[1], 64 * 1024);
        world.catch_up();
        let read = world.read(members[1]);
        got += bodies(&read).len();
        last = read.last().unwrap().flag;
    }
    assert_eq!(got, octets);
    assert_eq!(world.relay.rooms.octets, 0);
}

#[test]
fn the_source_waits_while_nobody_can_take_more() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    for key in members {
        world.hold(key, 0);
    }
    world.send(source, send_head('s', "tid1", "Byte-Range: 1-*/*\r\n"));
    let mut sent = 0;
    while !world.is_blocked(source) {
        world.send(source, "x".repeat(MSRP_FAN_BYTES));
        sent += MSRP_FAN_BYTES;
        assert!(sent < 2 * MSRP_ROOM_HIGH_BYTES, "{sent}");
    }
    world.out.held.retain(|(held, _)| *held != members[2]);
    world.catch_up();
    assert!(!world.is_blocked(source));
}

#[test]
fn a_member_that_wants_no_more_stops_it_for_itself_alone() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    let piece = "x".repeat(MSRP_FAN_BYTES + 1);
    world.send(source, send_head('s', "tid1", "Byte-Range: 1-*/*\r\n"));
    world.send(source, &piece);
    let first = members.map(|key| world.read_one(key));
    world.send(members[0], response(&first[0], "413 Enough"));
    assert!(world.raw(source).is_empty());
    world.send(source, format!("{piece}\r\n-------tid1$\r\n"));
    assert!(world.raw(members[0]).is_empty());
    assert_eq!(world.read(members[1]).last().unwrap().flag, '$');
    assert_eq!(&*world.read_one(source).what, "200 OK");
}

#[test]
fn a_lost_source_ends_the_message_for_all() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    world.send(source, send_head('s', "tid1", "Byte-Range: 1-*/*\r\n"));
    world.send(source, "x".repeat(MSRP_FAN_BYTES + 1));
    world.close(source);
    for key in members {
        let read = world.read(key);
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].flag, '#');
        world.send(key, response(&read[0], "200 OK"));
        world.send(key, response(&read[1], "200 OK"));
    }
    assert_eq!(world.counts(), (3, 0, 0));
    assert_eq!(world.relay.waiting_octets, 0);
}

#[test]
fn who_is_alone_in_a_room_is_answered() {
    let mut world = World::new();
    let leg = world.leg('s');
    world.relay.set_remote(leg, &theirs('s'), None);
    let room = world.relay.open_room(RoomRules::default()).unwrap();
    assert!(world.relay.join_room(room, leg, None));
    assert!(!world.relay.join_room(room, leg, None), "it is in one");
    let source = world.bound('s');
    world.send(source, send_frame('s', "tid1", "", "x"));
    assert_eq!(&*world.read_one(source).what, "200 OK");
    assert_eq!(world.counts(), (0, 0, 0));
    world.relay.close_room(room);
    world.send(source, send_frame('s', "tid2", "", "x"));
    assert_eq!(&*world.read_one(source).what, "481 No Such Session");
}

#[test]
fn a_piece_for_a_member_waits_for_the_chunk_of_another_session() {
    let Group {
        mut world,
        source,
        members,
        ..
    } = group();
    world.legs('x', 'y');
    let x = world.bound('x');
    world.send(members[0], bind('y'));
    world.raw(members[0]);
    world.send(x, send_head('x', "tid9", "Byte-Range: 1-10/10\r\n"));
    world.send(x, "01234");
    world.send(source, send_frame('s', "tid1", "", "hello"));
    assert_eq!(world.read(members[1]).len(), 1);
    world.send(x, "56789\r\n-------tid9$\r\n");
    let read = world.read(members[0]);
    assert_eq!(bodies(&read), b"0123456789hello");
    world.send(members[0], response(&read[1], "200 OK"));
    world.sent();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.counts(), (1, 3, 0), "nobody else said anything");
}
