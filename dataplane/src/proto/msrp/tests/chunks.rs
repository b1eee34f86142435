//! Chunks cut for far ends that can't take them as they come.

use std::time::Duration;

use super::{Frame, World, paths, response, send_frame, send_head};
use crate::api::Chunking;
use crate::proto::msrp::{ConnectionKey, LegKey};

fn at_most(octets: u32) -> Chunking {
    Chunking::AtMost {
        octets,
        exact: false,
    }
}

fn exactly(octets: u32) -> Chunking {
    Chunking::AtMost {
        octets,
        exact: true,
    }
}

/// a and b, with b's chunks cut.
fn cut_for_b(world: &mut World, chunking: Chunking) -> (ConnectionKey, ConnectionKey, LegKey) {
    let (_, b_leg) = world.legs('a', 'b');
    world.relay.set_chunking(b_leg, chunking);
    (world.bound('a'), world.bound('b'), b_leg)
}

fn ranges(read: &[Frame]) -> Vec<&str> {
    read.iter().filter_map(|f| f.header("Byte-Range")).collect()
}

fn bodies(read: &[Frame]) -> Vec<u8> {
    read.iter()
        .filter_map(|f| f.body.clone())
        .flatten()
        .collect()
}

fn flags(read: &[Frame]) -> Box<str> {
    read.iter().map(|frame| frame.flag).collect()
}

#[test]
fn a_chunk_is_cut_where_the_far_end_wants_no_more() {
    for piece in [1, 3, 25] {
        let mut world = World::new();
        let (a, b, _) = cut_for_b(&mut world, at_most(10));
        let frame = send_frame(
            'a',
            "tid1",
            "Byte-Range: 1-25/25\r\n",
            "0123456789abcdefghijklmno",
        );
        for part in frame.as_bytes().chunks(piece) {
            world.send_octets(a, part);
        }
        let read = world.read(b);
        assert_eq!(ranges(&read), ["1-*/25", "11-*/25", "21-*/25"]);
        assert_eq!(&*flags(&read), "++$");
        assert_eq!(bodies(&read), b"0123456789abcdefghijklmno");
        assert!(
            read.iter()
                .all(|f| f.header("Message-ID") == Some("m-tid1"))
        );
        assert!(read[0].id != read[1].id && read[1].id != read[2].id);
        assert_eq!(&*world.read_one(a).what, "200 OK");
        assert_eq!(world.counts(), (0, 0, 3));
        world.send(b, response(&read[0], "200 OK"));
        world.send(b, response(&read[1], "415 No"));
        let report = world.read_one(a);
        assert_eq!(report.header("Byte-Range"), Some("11-20/25"));
        world.pass(Duration::from_secs(30));
        let report = world.read_one(a);
        assert_eq!(report.header("Byte-Range"), Some("21-25/25"));
        assert_eq!(report.header("Status"), Some("000 408"));
        assert_eq!(world.counts(), (1, 2, 0));
    }
}

#[test]
fn a_chunk_that_just_fits_is_not_cut() {
    for (chunking, range) in [(at_most(5), "1-*/5"), (exactly(5), "1-5/5")] {
        let mut world = World::new();
        let (a, b, _) = cut_for_b(&mut world, chunking);
        world.send(a, send_frame('a', "tid1", "Byte-Range: 1-*/5\r\n", "hello"));
        let read = world.read_one(b);
        assert_eq!(read.header("Byte-Range"), Some(range));
        assert_eq!(
            (read.flag, read.body.as_deref()),
            ('$', Some(&b"hello"[..]))
        );
    }
}

#[test]
fn an_exact_chunk_names_its_true_end() {
    for piece in [1, 7, 100, 1000] {
        let mut world = World::new();
        let (a, b, _) = cut_for_b(&mut world, exactly(10));
        let head = send_head('a', "tid1", "Byte-Range: 101-*/200\r\n");
        let frame = format!("{head}0123456789abcdefghijklmno\r\n-------tid1+\r\n");
        for part in frame.as_bytes().chunks(piece) {
            world.send_octets(a, part);
        }
        let read = world.read(b);
        assert_eq!(ranges(&read), ["101-110/200", "111-120/200", "121-125/200"]);
        assert_eq!(&*flags(&read), "+++");
        assert_eq!(bodies(&read), b"0123456789abcdefghijklmno");
        assert_eq!(&*world.read_one(a).what, "200 OK");
        for frame in &read {
            world.send(b, response(frame, "200 OK"));
        }
        assert_eq!(world.counts(), (3, 0, 0));
        assert_eq!(world.relay.waiting_octets, 0);
    }
}

#[test]
fn a_range_that_lies_about_its_body_is_set_right() {
    for (range, came) in [("1-3/9", "1-5/9"), ("1-9/9", "1-5/9"), ("", "1-5/*")] {
        let mut world = World::new();
        let (a, b, _) = cut_for_b(&mut world, exactly(100));
        let header = match range {
            "" => "".into(),
            range => format!("Byte-Range: {range}\r\n"),
        };
        world.send(a, send_frame('a', "tid1", &header, "hello"));
        assert_eq!(
            world.read_one(b).header("Byte-Range"),
            Some(came),
            "{range}"
        );
    }
}

#[test]
fn an_empty_body_has_an_exact_range_of_nothing() {
    let mut world = World::new();
    let (a, b, _) = cut_for_b(&mut world, exactly(100));
    world.send(a, send_frame('a', "tid1", "Byte-Range: 1-0/0\r\n", ""));
    let read = world.read_one(b);
    assert_eq!(read.header("Byte-Range"), Some("1-0/0"));
    assert_eq!(read.body.as_deref(), Some(&b""[..]));
}

#[test]
fn an_exact_chunk_lets_responses_pass_while_it_is_gathered() {
    let mut world = World::new();
    let (a, b, _) = cut_for_b(&mut world, exactly(100));
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-10/10\r\n"));
    world.send(a, "01234");
    assert!(
        world.raw(b).is_empty(),
        "nothing goes before its end is known"
    );
    world.send(b, send_frame('b', "tid2", "", "x"));
    assert_eq!(&*world.read_one(b).what, "200 OK");
    world.send(a, "56789\r\n-------tid1$\r\n");
    assert_eq!(world.read_one(b).header("Byte-Range"), Some("1-10/10"));
}

#[test]
fn what_is_cut_ends_with_a_hash_when_its_source_is_lost() {
    for (chunking, ranges_then) in [
        (at_most(4), vec!["1-*/20", "5-*/20"]),
        (exactly(4), vec!["1-4/20", "5-4/20"]),
        (exactly(40), vec![]),
    ] {
        let mut world = World::new();
        let (a, b, _) = cut_for_b(&mut world, chunking);
        world.send(a, send_head('a', "tid1", "Byte-Range: 1-20/20\r\n"));
        world.send(a, "012345");
        world.close(a);
        let read = world.read(b);
        assert_eq!(ranges(&read), ranges_then, "{chunking:?}");
        assert!(read.last().is_none_or(|last| last.flag == '#'));
        assert_eq!(world.relay.waiting_octets, 0);
    }
}

#[test]
fn a_full_table_refuses_the_rest_of_a_cut_chunk() {
    for chunking in [at_most(2), exactly(2)] {
        let mut world = World::with_transactions(2);
        let (a, b, _) = cut_for_b(&mut world, chunking);
        world.send(a, send_frame('a', "tid1", "", "abcdefgh"));
        let read = world.read(b);
        assert_eq!(&*flags(&read), "++#", "{chunking:?}");
        assert_eq!(&*world.read_one(a).what, "408 Timeout");
        assert_eq!(world.counts(), (0, 0, 2));
    }
}

#[test]
fn no_piece_joins_two_messages() {
    let mut world = World::new();
    let (a, b, _) = cut_for_b(&mut world, exactly(100));
    let chunk = |id: &str, message: &str, range: &str, flag: char| {
        let paths = paths('a');
        format!(
            "MSRP {id} SEND\r\n{paths}Message-ID: {message}\r\nByte-Range: {range}\r\n\
             Content-Type: text/plain\r\n\r\nabcde\r\n-------{id}{flag}\r\n"
        )
    };
    let three = [
        chunk("tid1", "one1", "1-*/10", '+'),
        chunk("tid2", "two2", "1-*/5", '$'),
        chunk("tid3", "one1", "6-*/10", '$'),
    ];
    world.send(a, three.concat());
    let read = world.read(b);
    assert_eq!(ranges(&read), ["1-5/10", "1-5/5", "6-10/10"]);
    let ids: Vec<_> = read.iter().filter_map(|f| f.header("Message-ID")).collect();
    assert_eq!(ids, ["one1", "two2", "one1"]);
}

#[test]
fn other_requests_are_never_cut() {
    let mut world = World::new();
    let (a, b, _) = cut_for_b(&mut world, at_most(2));
    let paths = paths('a');
    world.send(
        a,
        format!("MSRP tid1 PROBE\r\n{paths}Content-Type: a/b\r\n\r\nabcdef\r\n-------tid1$\r\n"),
    );
    assert_eq!(world.read_one(b).body.as_deref(), Some(&b"abcdef"[..]));
}

#[test]
fn a_chunk_with_more_octets_than_its_range_says_goes_on_with_an_open_range() {
    for (range, then) in [("1-10/10", "11-*/*"), ("1-10/40", "11-*/40")] {
        for piece in [1, 3, 500] {
            let mut world = World::new();
            world.legs('a', 'b');
            let (a, b) = (world.bound('a'), world.bound('b'));
            let head = format!("Byte-Range: {range}\r\n");
            let frame = send_frame('a', "tid1", &head, "0123456789abcdefghijklmno");
            for part in frame.as_bytes().chunks(piece) {
                world.send_octets(a, part);
            }
            let read = world.read(b);
            assert_eq!(ranges(&read), [range, then]);
            assert_eq!(&*flags(&read), "+$");
            assert_eq!(read[0].body.as_deref(), Some(&b"0123456789"[..]));
            assert_eq!(bodies(&read), b"0123456789abcdefghijklmno");
            assert_eq!(&*world.read_one(a).what, "200 OK");
            assert_eq!(world.counts(), (0, 0, 2));
        }
    }
}

#[test]
fn a_chunk_with_fewer_octets_than_its_range_says_is_passed_as_it_is() {
    let mut world = World::new();
    world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    let frame = send_frame('a', "tid1", "Byte-Range: 1-25/25\r\n", "01234");
    world.send_octets(a, frame.as_bytes());
    let read = world.read(b);
    assert_eq!(ranges(&read), ["1-25/25"]);
    assert_eq!((&*flags(&read), &*bodies(&read)), ("$", &b"01234"[..]));
    assert_eq!(&*world.read_one(a).what, "200 OK");
    world.send(b, response(&read[0], "200 OK"));
    assert_eq!(world.counts(), (1, 0, 0));
}
