//! Several frames that want the same connection.

use super::{Frame, World, frames, response, send_frame, send_head};
use crate::proto::msrp::ConnectionKey;

#[test]
fn a_response_cuts_a_chunk_whose_end_is_open() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", "Byte-Range: 101-*/120\r\n"));
    world.send(a, "0123456789");
    world.send(b, send_frame('b', "tid2", "", "x"));
    world.send(a, "abcdefghij\r\n-------tid1$\r\n");
    let read = world.read(b);
    let kinds: Vec<(&str, char)> = read.iter().map(|f| (&*f.what, f.flag)).collect();
    assert_eq!(kinds, [("SEND", '+'), ("200 OK", '$'), ("SEND", '$')]);
    assert_eq!(read[0].header("Byte-Range"), Some("101-*/120"));
    assert_eq!(read[2].header("Byte-Range"), Some("111-*/120"));
    assert_eq!(read[2].header("Message-ID"), Some("m-tid1"));
    assert_eq!(read[2].header("Content-Type"), Some("text/plain"));
    assert_ne!(read[0].id, read[2].id);
    assert_eq!(read[0].body.as_deref(), Some(&b"0123456789"[..]));
    assert_eq!(read[2].body.as_deref(), Some(&b"abcdefghij"[..]));
    world.send(b, response(&read[0], "200 OK"));
    world.raw(a);
    world.send(b, response(&read[2], "481 Gone"));
    let report = world.read_one(a);
    assert_eq!(report.header("Byte-Range"), Some("111-120/120"));
}

#[test]
fn a_chunk_without_a_range_gets_one_when_it_is_cut() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", ""));
    world.send(a, "01234");
    world.send(b, send_frame('b', "tid2", "", "x"));
    world.send(a, "\r\n-------tid1$\r\n");
    let read = world.read(b);
    assert_eq!(read[2].header("Byte-Range"), Some("6-*/*"));
    assert_eq!(
        (read[2].body.as_deref(), read[2].flag),
        (Some(&b""[..]), '$')
    );
}

#[test]
fn a_response_waits_for_a_chunk_whose_end_is_a_number() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-10/10\r\n"));
    world.send(a, "01234");
    world.send(b, send_frame('b', "tid2", "", "x"));
    world.send(a, "56789\r\n-------tid1$\r\n");
    let read = world.read(b);
    let kinds: Vec<(&str, char)> = read.iter().map(|f| (&*f.what, f.flag)).collect();
    assert_eq!(kinds, [("SEND", '$'), ("200 OK", '$')]);
    assert_eq!(read[0].body.as_deref(), Some(&b"0123456789"[..]));
}

#[test]
fn a_body_that_holds_its_new_end_line_is_cut_before_it() {
    for size in [1, 7, 1000] {
        let mut world = World::new();
        let (a, b) = world.pair();
        world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/*\r\n"));
        let head = world.raw(b);
        let id = std::str::from_utf8(&head)
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap();
        let body = format!("one\r\n-------{id}$\r\ntwo\r\n-------{id}+\r\n");
        let rest = format!("{body}\r\n-------tid1$\r\n");
        for piece in rest.as_bytes().chunks(size) {
            world.send_octets(a, piece);
        }
        let read = frames(&[head.clone(), world.raw(b)].concat());
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!(read[0].flag, '+');
        assert_eq!(read[0].body.as_deref(), Some(&b"one"[..]));
        assert_eq!(read[1].header("Byte-Range"), Some("4-*/*"));
        let whole: Vec<u8> = read.into_iter().filter_map(|f| f.body).flatten().collect();
        assert_eq!(whole, body.as_bytes());
    }
}

/// Two sessions, a to b and c to d, whose far legs share one connection.
fn two_on_one(world: &mut World) -> (ConnectionKey, ConnectionKey, ConnectionKey) {
    world.legs('a', 'b');
    world.legs('c', 'd');
    let (a, c) = (world.bound('a'), world.bound('c'));
    let both = world.bound('b');
    world.send(both, super::bind('d'));
    assert_eq!(&*world.read_one(both).what, "200 OK");
    (a, c, both)
}

fn bodies(read: &[Frame], message: &str) -> Vec<u8> {
    let of_message = read
        .iter()
        .filter(|frame| frame.header("Message-ID") == Some(message));
    of_message
        .filter_map(|frame| frame.body.clone())
        .flatten()
        .collect()
}

#[test]
fn two_sessions_share_a_connection_without_mixing() {
    let mut world = World::new();
    let (a, c, both) = two_on_one(&mut world);
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-10/10\r\n"));
    world.send(a, "01234");
    world.send(c, send_frame('c', "tid2", "", "other"));
    assert!(world.is_blocked(c));
    assert!(world.raw(c).is_empty());
    world.send(a, "56789\r\n-------tid1$\r\n");
    assert!(!world.is_blocked(c));
    let read = world.read(both);
    assert_eq!(read.len(), 2);
    assert_eq!(bodies(&read, "m-tid1"), b"0123456789");
    assert_eq!(bodies(&read, "m-tid2"), b"other");
    assert_eq!(&*world.read_one(c).what, "200 OK");
    for frame in &read {
        world.send(both, response(frame, "200 OK"));
    }
    assert_eq!(world.counts(), (2, 0, 0));
}

#[test]
fn a_long_chunk_makes_way_for_another_session() {
    let mut world = World::with_transactions(1000);
    let (a, c, both) = two_on_one(&mut world);
    let piece = "x".repeat(8 * 1024);
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/*\r\n"));
    world.send(c, send_head('c', "tid2", "Byte-Range: 1-*/*\r\n"));
    for _ in 0..20 {
        world.send(a, &piece);
        world.send(c, &piece);
    }
    world.send(a, "\r\n-------tid1$\r\n");
    world.send(c, "\r\n-------tid2$\r\n");
    assert!(!world.is_blocked(a) && !world.is_blocked(c));
    let read = world.read(both);
    for message in ["m-tid1", "m-tid2"] {
        assert_eq!(bodies(&read, message).len(), 20 * piece.len(), "{message}");
        let pieces: Vec<_> = read
            .iter()
            .filter(|frame| frame.header("Message-ID") == Some(message))
            .collect();
        let longest = pieces.iter().map(|f| f.body.as_ref().unwrap().len()).max();
        assert!(longest.unwrap() <= 16 * 1024, "{longest:?}");
        assert_eq!(pieces.last().unwrap().flag, '$');
        let mut next = 1;
        for piece in pieces {
            let range = format!("{next}-*/*");
            assert_eq!(piece.header("Byte-Range"), Some(&*range));
            next += piece.body.as_ref().unwrap().len();
        }
    }
    assert_eq!(world.read(a).len() + world.read(c).len(), 2);
}

#[test]
fn a_source_that_leaves_the_line_or_the_turn_holds_up_nobody() {
    let mut world = World::new();
    let (a, c, both) = two_on_one(&mut world);
    world.legs('e', 'f');
    let e = world.bound('e');
    world.send(both, super::bind('f'));
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-10/10\r\n"));
    world.send(c, send_frame('c', "tid2", "", "gone"));
    world.send(e, send_frame('e', "tid3", "", "here"));
    world.raw(both);
    world.close(c);
    world.close(a);
    let read = world.raw(both);
    let end = read.windows(2).position(|pair| pair == b"#\r").unwrap() + 3;
    let read = frames(&read[end..]);
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(bodies(&read, "m-tid3"), b"here");
    assert_eq!(&*world.read_one(e).what, "200 OK");
}

#[test]
fn two_legs_of_a_session_may_share_one_connection() {
    let mut world = World::new();
    world.legs('a', 'b');
    let both = world.bound('a');
    world.send(both, super::bind('b'));
    world.raw(both);
    world.send(both, send_frame('a', "tid1", "", "loop"));
    let read = world.read(both);
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].body.as_deref(), Some(&b"loop"[..]));
    world.send(both, response(&read[0], "200 OK"));
    assert_eq!(world.counts(), (1, 0, 0));
}

/// Feeds a connection as long as it is read.
fn feed_while_read(world: &mut World, key: ConnectionKey, frame: &str) {
    if !world.is_blocked(key) {
        world.send(key, frame);
    }
}

fn octets_of(read: &[Frame], message: &str) -> usize {
    read.iter()
        .filter(|f| {
            f.header("Message-ID")
                .is_some_and(|id| id.starts_with(message))
        })
        .filter_map(|f| f.body.as_ref().map(Vec::len))
        .sum()
}

#[test]
fn sessions_share_a_connection_evenly_whatever_their_chunks_are() {
    // One sends chunks that may not be cut and are four quanta long, the other short messages.
    let mut world = World::with_transactions(10_000);
    let (a, c, both) = two_on_one(&mut world);
    let long = "x".repeat(64 * 1024);
    let short: Vec<Box<str>> = (0..16)
        .map(|at| {
            let body = "y".repeat(1024);
            send_frame('c', &format!("cccc{at}"), "", &body)
        })
        .collect();
    let short = short.concat();
    let (mut of_a, mut of_c) = (0, 0);
    for _ in 0..100 {
        feed_while_read(
            &mut world,
            a,
            &send_head('a', "aaaa", "Byte-Range: 1-65536/65536\r\n"),
        );
        feed_while_read(&mut world, c, &short);
        world.send(a, format!("{long}\r\n-------aaaa$\r\n"));
        feed_while_read(&mut world, c, &short);
        feed_while_read(&mut world, c, &short);
        feed_while_read(&mut world, c, &short);
        feed_while_read(&mut world, c, &short);
        let read = world.read(both);
        of_a += octets_of(&read, "m-aaaa");
        of_c += octets_of(&read, "m-cccc");
    }
    assert!(
        of_c * 2 >= of_a,
        "{of_c} of the short ones, {of_a} of the long ones"
    );
}

#[test]
fn short_messages_use_a_whole_turn() {
    let mut world = World::with_transactions(10_000);
    let (a, c, both) = two_on_one(&mut world);
    world.send(a, send_head('a', "aaaa", "Byte-Range: 1-*/*\r\n"));
    let short: Vec<Box<str>> = (0..8)
        .map(|at| send_frame('c', &format!("cccc{at}"), "", "short"))
        .collect();
    world.send(a, "x".repeat(8 * 1024));
    world.send(c, short.concat());
    world.send(a, "x".repeat(32 * 1024));
    let read = world.raw(both);
    let text = std::str::from_utf8(&read).unwrap();
    let first = text.find("Message-ID: m-cccc0").unwrap();
    let last = text.find("Message-ID: m-cccc7").unwrap();
    assert!(
        !text[first..last].contains("Message-ID: m-aaaa"),
        "cut between short messages"
    );
}

#[test]
fn a_piece_is_cut_to_the_octet_where_its_turn_ends() {
    let mut world = World::with_transactions(10_000);
    let (a, c, both) = two_on_one(&mut world);
    world.send(a, send_head('a', "aaaa", "Byte-Range: 1-*/*\r\n"));
    world.send(a, "x".repeat(100));
    world.send(c, send_frame('c', "cccc", "", "short"));
    world.send(a, format!("{}\r\n-------aaaa$\r\n", "x".repeat(60_000)));
    let read = world.read(both);
    assert_eq!(read[0].body.as_ref().unwrap().len(), 16 * 1024);
    assert_eq!(read[1].header("Message-ID"), Some("m-cccc"));
    assert_eq!(octets_of(&read, "m-aaaa"), 60_100);
}
