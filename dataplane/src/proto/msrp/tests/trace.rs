//! Frames that were traced.

use super::{World, bind, response, send_frame, send_head};
use crate::api::{TracedFrame, Tracing, Way};
use crate::limits::MSRP_TRACE_FRAMES;

fn lines(frames: &[TracedFrame]) -> Vec<(Way, &str, &str, Option<char>)> {
    frames
        .iter()
        .map(|frame| {
            let head = std::str::from_utf8(&frame.head).unwrap();
            let start = head.lines().next().unwrap();
            let what = start.splitn(3, ' ').nth(2).unwrap();
            let body = std::str::from_utf8(&frame.body).unwrap();
            (frame.way, what, body, frame.flag.map(char::from))
        })
        .collect()
}

#[test]
fn a_leg_is_traced_both_ways_and_no_other() {
    let mut world = World::new();
    let (a_leg, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    assert!(world.relay.trace(b_leg, Tracing::Heads).is_empty());
    world.send(a, send_frame('a', "tid1", "", "secret"));
    let sent = world.read_one(b);
    world.send(b, response(&sent, "200 OK"));
    world.send(b, send_head('b', "tid2", "Byte-Range: 1-*/*\r\n"));
    world.send(b, "more");
    let traced = world.relay.trace(b_leg, Tracing::Heads);
    let expected = [
        (Way::Out, "SEND", "", Some('$')),
        (Way::In, "200 OK", "", Some('$')),
        (Way::In, "SEND", "", None),
    ];
    assert_eq!(lines(&traced), expected);
    world.send(b, "\r\n-------tid2+\r\n");
    let traced = world.relay.trace(b_leg, Tracing::Off);
    assert_eq!(lines(&traced), [(Way::Out, "200 OK", "", Some('$'))]);
    world.send(b, bind('b'));
    assert!(world.relay.trace(b_leg, Tracing::Off).is_empty());
    assert!(world.relay.trace(a_leg, Tracing::Off).is_empty());
}

#[test]
fn bodies_are_traced_as_far_as_they_are_asked_for() {
    let mut world = World::new();
    let (a_leg, b_leg) = world.legs('a', 'b');
    let (a, _b) = (world.bound('a'), world.bound('b'));
    for (leg, way) in [(a_leg, Way::In), (b_leg, Way::Out)] {
        world.relay.trace(leg, Tracing::Bodies(8));
        world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/*\r\n"));
        world.send(a, "01234");
        world.send(a, "56789\r\n-------tid1$\r\n");
        let traced = world.relay.trace(leg, Tracing::Off);
        assert_eq!(lines(&traced)[0], (way, "SEND", "01234567", Some('$')));
    }
}

#[test]
fn the_oldest_frames_make_way() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let a = world.bound('a');
    world.relay.trace(a_leg, Tracing::Heads);
    for _ in 0..MSRP_TRACE_FRAMES {
        world.send(a, bind('a'));
    }
    let traced = world.relay.trace(a_leg, Tracing::Off);
    assert_eq!(traced.len(), MSRP_TRACE_FRAMES);
    assert_eq!(traced.last().unwrap().way, Way::Out);
}
