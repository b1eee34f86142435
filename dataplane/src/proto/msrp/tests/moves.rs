//! Sessions whose far end moves while messages are on their way.

use super::{World, bind, paths, response, send_frame, send_head, theirs};

const ELSEWHERE: &str = "msrp://b.example:9999/moved;tcp";

/// What b writes once it has moved.
fn from_elsewhere(text: &str) -> Box<str> {
    text.replace(&*theirs('b'), ELSEWHERE).into()
}

#[test]
fn a_chunk_in_flight_goes_on_over_the_new_connection() {
    let mut world = World::new();
    let (_, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.send(a, send_frame('a', "tid0", "", "before"));
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/10\r\n"));
    world.send(a, "01234");
    world.relay.set_remote(b_leg, ELSEWHERE, None);
    let (out, stats) = (&mut world.out, &mut world.stats);
    assert_eq!(world.relay.detach(b_leg, out, stats), Some(b));
    assert!(world.close(b).is_empty());
    let old = world.read(b);
    assert_eq!(
        (old[1].flag, old[1].body.as_deref()),
        ('+', Some(&b"01234"[..]))
    );
    let told = world.read(a);
    assert_eq!(told[0].what, "200 OK".into());
    let reported: Vec<_> = told[1..].iter().map(|f| f.header("Byte-Range")).collect();
    assert_eq!(reported, [Some("1-6/*"), Some("1-5/10")]);
    world.send(a, "567");
    assert!(world.is_blocked(a), "until it is there");
    let new = world
        .relay
        .connected(world.now, b_leg, &mut world.out)
        .unwrap();
    assert!(!world.is_blocked(a));
    world.send(a, "89\r\n-------tid1$\r\n");
    let read = world.read(new);
    assert_eq!(read[1].header("To-Path"), Some(ELSEWHERE));
    assert_eq!(read[1].header("Message-ID"), Some("m-tid1"));
    assert_eq!(read[1].header("Byte-Range"), Some("6-*/10"));
    assert_eq!(
        (read[1].flag, read[1].body.as_deref()),
        ('$', Some(&b"56789"[..]))
    );
    assert_eq!(&*world.read_one(a).what, "200 OK");
    world.send(new, response(&read[1], "200 OK"));
    assert_eq!(world.counts(), (1, 2, 0));
}

#[test]
fn a_chunk_that_may_not_be_cut_fails_when_its_far_end_moves() {
    let mut world = World::new();
    let (_, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-10/10\r\n"));
    world.send(a, "01234");
    let (out, stats) = (&mut world.out, &mut world.stats);
    world.relay.detach(b_leg, out, stats);
    assert_eq!(world.read_one(b).flag, '#');
    assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    world.send(a, "56789\r\n-------tid1$\r\n");
    assert_eq!(world.counts(), (0, 0, 0));
}

#[test]
fn a_far_end_that_was_named_anew_may_come_with_another_connection() {
    let mut world = World::new();
    let (_, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    let again = world.relay.accept(world.now).unwrap();
    world.send(again, from_elsewhere(&bind('b')));
    assert_eq!(&*world.read_one(again).what, "506 Session In Use");
    world.relay.set_remote(b_leg, ELSEWHERE, None);
    world.send(again, bind('b'));
    assert_eq!(
        &*world.read_one(again).what,
        "506 Session In Use",
        "not from there"
    );
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/10\r\n"));
    world.send(a, "01234");
    world.send(again, from_elsewhere(&bind('b')));
    world.send(a, "56789\r\n-------tid1$\r\n");
    assert_eq!(world.read_one(b).flag, '+');
    let read = world.read(again);
    assert_eq!(&*read[0].what, "200 OK");
    assert_eq!(read[1].header("Byte-Range"), Some("6-*/10"));
    world.send(b, bind('b'));
    assert_eq!(&*world.read_one(b).what, "506 Session In Use");
    world.raw(a);
    world.send(again, response(&read[1], "200 OK"));
    assert_eq!(world.counts(), (1, 1, 0));
}

#[test]
fn a_lost_leg_waits_again_once_its_far_end_is_named_anew() {
    let mut world = World::new();
    let (_, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.close(b);
    world.send(a, send_frame('a', "tid1", "", "x"));
    assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    world.relay.set_remote(b_leg, ELSEWHERE, None);
    world.send(a, send_frame('a', "tid2", "", "y"));
    assert!(world.is_blocked(a) && world.raw(a).is_empty());
    let new = world.relay.accept(world.now).unwrap();
    world.send(new, from_elsewhere(&bind('b')));
    assert_eq!(world.read(new).len(), 2);
    assert_eq!(&*world.read_one(a).what, "200 OK");
}

#[test]
fn a_cut_chunk_never_goes_on_over_a_connection_that_took_the_place_of_its_own() {
    let mut world = World::new();
    world.legs('a', 'b');
    world.legs('c', 'd');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/10\r\n"));
    world.send(a, "01234");
    // b's own SEND cuts it, and its answer is written between.
    world.send(b, send_frame('b', "tid2", "", "x"));
    world.close(b);
    world.raw(b);
    let d = world.bound('d');
    assert_eq!(d, b, "the place is used again");
    world.send(a, "56789\r\n-------tid1$\r\n");
    assert!(world.raw(d).is_empty());
    let last = world.read(a).pop().unwrap();
    assert_eq!((&*last.id, &*last.what), ("tid1", "481 No Such Session"));
    let paths = paths('a');
    world.send(
        a,
        format!("MSRP rep1 REPORT\r\n{paths}Status: 000 200\r\n-------rep1$\r\n"),
    );
    assert!(world.raw(d).is_empty());
}
