//! Who is in a room: muted, on hold, joining, leaving, slow, nicknamed, many.

use std::time::Duration;

use super::chat::{Chat, GROUP, LETTERS, chat, cpim, send, send_of, text};
use super::{Frame, World, bind, frames, ours, paths, response, theirs};
use crate::limits::{MSRP_AWAITED_MS, MSRP_MEMBERS, MSRP_ROOM_HIGH_BYTES};
use crate::proto::msrp::RoomRules;

#[test]
fn who_is_muted_is_refused_and_who_holds_hears_nothing() {
    let mut chat = chat(false);
    let (muted, held) = (chat.legs[0], chat.legs[1]);
    chat.world.relay.set_direction(muted, false, true);
    chat.world.relay.set_direction(held, true, false);
    chat.says(0, &send('a', "tid1", "", &cpim("x", GROUP, "one")));
    assert_eq!(&*chat.is_told(0), "403 Forbidden");
    chat.says(2, &send('c', "tid2", "", &cpim("x", GROUP, "two")));
    assert_eq!(&*chat.is_told(2), "200 OK");
    assert!(text(&chat.hears_one(0)).ends_with("two"));
    assert!(text(&chat.hears_one(3)).ends_with("two"));
    assert!(chat.hears(1).is_empty());
    chat.world.relay.set_direction(held, true, true);
    chat.says(1, &send('b', "tid3", "", &cpim("x", GROUP, "three")));
    assert_eq!(&*chat.is_told(1), "200 OK");
    assert!(text(&chat.hears_one(0)).ends_with("three"));
    assert_eq!(chat.world.stats.msrp_copies_failed, 0);
}

#[test]
fn who_joins_while_a_message_is_in_flight_gets_the_next_one_whole() {
    let mut chat = chat(false);
    let head = |range: &str| format!("Byte-Range: {range}\r\n");
    let first = "x".repeat(3000);
    let chunk = send_of('a', "tid1", (&head("1-*/6000"), "text/plain"), &first, '+');
    chat.says(0, &chunk);
    chat.join('e', Some("<sip:e@example.com>"));
    let chunk = send_of(
        'a',
        "tid2",
        (&head("3001-*/6000"), "text/plain"),
        &first,
        '$',
    );
    chat.says(0, &chunk.replace("m-tid2", "m-tid1"));
    assert_eq!(chat.hears(1).len(), 2);
    assert!(chat.hears(4).is_empty());
    chat.says(0, &send_of('a', "tid3", ("", "text/plain"), "next", '$'));
    assert_eq!(text(&chat.hears_one(4)), "next");
}

#[test]
fn who_has_accepted_gets_what_is_said_before_its_connection_is_there() {
    let mut chat = chat(false);
    chat.seat('e', Some("<sip:e@example.com>"));
    let composing = "<?xml version=\"1.0\"?><isComposing/>";
    let kind = ("", "application/im-iscomposing+xml");
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), "one", '$'));
    chat.says(0, &send_of('a', "tid2", kind, composing, '$'));
    let private = cpim("x", "sip:e@example.com", "two");
    chat.says(1, &send('b', "tid3", "", &private));
    assert_eq!(
        &*chat.hears(1).last().unwrap().what,
        "200 OK",
        "to one who will get it"
    );
    chat.connect('e');
    chat.says(0, &send_of('a', "tid4", ("", "text/plain"), "three", '$'));
    chat.world.catch_up();
    let heard = chat.hears(4);
    let texts: Vec<_> = heard.iter().map(text).collect();
    assert!(
        matches!(texts[..], ["one", two, "three"] if two.ends_with("two")),
        "{texts:?}"
    );
    assert_eq!(chat.world.stats.msrp_copies_failed, 0);
}

#[test]
fn who_never_connects_is_kept_nothing_any_more_after_a_while() {
    let mut chat = chat(false);
    chat.world.pass(Duration::ZERO);
    chat.seat('e', Some("<sip:e@example.com>"));
    let text_of = |id: &str| send_of('a', id, ("", "text/plain"), "hello", '$');
    let hear = |chat: &mut Chat| (1..4).for_each(|who| drop(chat.hears_one(who)));
    chat.says(0, &text_of("tid1"));
    hear(&mut chat);
    let limit = Duration::from_millis(MSRP_AWAITED_MS);
    let due = chat.world.relay.poll_timeout().unwrap();
    assert!(due <= chat.world.now + limit, "it wakes up for that");
    chat.world.pass(limit - Duration::from_millis(1));
    assert!(chat.world.relay.is_behind());
    chat.says(0, &text_of("tid2"));
    hear(&mut chat);
    chat.world.pass(Duration::from_millis(1));
    assert!(!chat.world.relay.is_behind());
    assert_eq!(chat.world.stats.msrp_copies_failed, 2);
    chat.says(0, &text_of("tid3"));
    hear(&mut chat);
    assert!(!chat.world.relay.is_behind());
    assert_eq!(chat.world.counts(), (9, 2, 0), "nothing is left open");
    // Who comes all the same is a member as any other from then on.
    chat.connect('e');
    chat.says(0, &text_of("tid4"));
    assert_eq!(text(&chat.hears_one(4)), "hello");
}

/// Alice, and one who has accepted and has no connection.
fn alice_and_a_guest() -> Chat {
    let mut chat = chat(false);
    chat.world.pass(Duration::ZERO);
    for leg in chat.legs.split_off(1) {
        chat.world.relay.remove_leg(leg);
    }
    chat.keys.truncate(1);
    chat.seat('e', None);
    chat
}

#[test]
fn who_leaves_waits_for_nobody_who_has_no_connection() {
    let mut chat = chat(false);
    chat.seat('e', None);
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), "last", '$'));
    for who in 1..4 {
        chat.hears_one(who);
    }
    let leg = chat.legs[0];
    chat.world.relay.freeze(leg);
    assert!(chat.world.relay.is_settled(leg));
    chat.world.relay.remove_leg(leg);
    chat.connect('e');
    chat.world.catch_up();
    assert_eq!(text(&chat.hears_one(4)), "last");
}

#[test]
fn who_is_given_up_gets_no_part_of_a_message() {
    let mut chat = alice_and_a_guest();
    let chunk = |id: &str, from: u32, flag| {
        let range = format!("Byte-Range: {from}-*/9\r\n");
        send_of('a', id, (&range, "text/plain"), "abc", flag).replace(&format!("m-{id}"), "m-tid1")
    };
    chat.says(0, &chunk("tid1", 1, '+'));
    chat.world.now += Duration::from_millis(MSRP_AWAITED_MS);
    chat.world.sent();
    chat.says(0, &chunk("tid2", 4, '+'));
    chat.connect('e');
    chat.says(0, &chunk("tid3", 7, '$'));
    chat.world.catch_up();
    assert!(chat.hears(1).is_empty());
    chat.says(0, &send_of('a', "tid4", ("", "text/plain"), "next", '$'));
    assert_eq!(text(&chat.hears_one(1)), "next");
}

#[test]
fn where_frames_are_short_nobody_hurries_for_who_has_no_connection() {
    let mut chat = chat(false);
    chat.world.pass(Duration::ZERO);
    chat.seat('e', None);
    chat.world.out.is_short = true;
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), "one", '$'));
    chat.world.out.is_short = false;
    chat.world.catch_up();
    chat.world.out.is_short = true;
    chat.world.pass(Duration::ZERO);
    let due = chat.world.relay.poll_timeout().unwrap();
    assert!(due > chat.world.now, "it would turn and turn");
    chat.world.pass(Duration::from_millis(MSRP_AWAITED_MS));
    assert!(!chat.world.relay.is_behind());
}

#[test]
fn who_is_named_anew_is_awaited_anew() {
    let mut chat = chat(false);
    chat.world.pass(Duration::ZERO);
    chat.seat('e', None);
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), "lost", '$'));
    chat.world.pass(Duration::from_millis(MSRP_AWAITED_MS));
    let leg = chat.legs[4];
    chat.world.relay.set_remote(leg, &theirs('e'), None);
    chat.says(0, &send_of('a', "tid2", ("", "text/plain"), "kept", '$'));
    chat.connect('e');
    chat.world.catch_up();
    assert_eq!(text(&chat.hears_one(4)), "kept");
}

#[test]
fn a_sender_is_read_on_when_the_only_other_one_connects_or_is_given_up() {
    for connects in [true, false] {
        let mut chat = alice_and_a_guest();
        let long = "x".repeat(MSRP_ROOM_HIGH_BYTES);
        chat.says(0, &send_of('a', "tid1", ("", "text/plain"), &long, '$'));
        let blocked = |chat: &Chat| chat.world.relay.blocked(chat.keys[0], &chat.world.out);
        assert!(blocked(&chat));
        if connects {
            chat.connect('e');
            chat.world.catch_up();
            assert!(chat.hears(1).len() > 1);
        } else {
            chat.world.pass(Duration::from_millis(MSRP_AWAITED_MS));
        }
        assert!(!blocked(&chat), "{connects}");
    }
}

#[test]
fn a_sender_is_read_on_where_the_guest_may_be_bound_by_what_comes_behind() {
    let mut chat = alice_and_a_guest();
    chat.world.leg('f');
    chat.world.send(chat.keys[0], bind('f'));
    chat.is_told(0);
    let long = "x".repeat(MSRP_ROOM_HIGH_BYTES);
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), &long, '$'));
    let world = &chat.world;
    assert!(!world.relay.blocked(chat.keys[0], &world.out));
}

#[test]
fn who_leaves_before_its_connection_is_there_holds_nothing_up() {
    let mut chat = chat(false);
    chat.seat('e', None);
    chat.says(0, &send_of('a', "tid1", ("", "text/plain"), "one", '$'));
    let leg = chat.legs[4];
    chat.world.relay.freeze(leg);
    assert!(chat.world.relay.is_settled(leg));
    chat.world.relay.remove_leg(leg);
    chat.world.catch_up();
    assert!(!chat.world.relay.is_behind());
    assert_eq!(chat.world.stats.msrp_copies_failed, 1);
}

#[test]
fn who_leaves_gets_the_rest_of_what_it_has_a_part_of_and_is_answered() {
    let mut chat = chat(false);
    let leg = chat.legs[1];
    let head = send_of(
        'a',
        "tid1",
        ("Byte-Range: 1-*/9000\r\n", "text/plain"),
        &"x".repeat(4500),
        '+',
    );
    chat.says(0, &head);
    chat.says(1, &send_of('b', "tid9", ("", "text/plain"), "bye", '$'));
    chat.world.relay.freeze(leg);
    assert!(!chat.world.relay.is_settled(leg));
    let rest = send_of(
        'a',
        "tid2",
        ("Byte-Range: 4501-*/9000\r\n", "text/plain"),
        &"x".repeat(4500),
        '$',
    );
    chat.says(0, &rest.replace("m-tid2", "m-tid1"));
    chat.says(0, &send_of('a', "tid3", ("", "text/plain"), "next", '$'));
    let got = chat.hears(1);
    let sends: Vec<_> = got.iter().filter(|frame| &*frame.what == "SEND").collect();
    assert_eq!((sends.len(), sends[1].flag), (2, '$'));
    for who in [0, 2, 3] {
        assert!(
            chat.hears(who)
                .iter()
                .any(|frame| frame.body.as_deref() == Some(b"bye"))
        );
    }
    assert!(chat.world.relay.is_settled(leg));
    let (out, stats) = (&mut chat.world.out, &mut chat.world.stats);
    chat.world.relay.report_open(leg, out, stats);
    chat.world.relay.remove_leg(leg);
    chat.says(0, &send_of('a', "tid4", ("", "text/plain"), "more", '$'));
    assert_eq!(chat.hears(2).len(), 1);
    assert!(chat.hears(1).is_empty());
    assert_eq!(chat.world.counts().1, 0);
}

#[test]
fn the_rest_of_a_message_whose_sender_left_is_given_up_for_all() {
    let mut chat = chat(false);
    let head = send_of(
        'a',
        "tid1",
        ("Byte-Range: 1-*/9000\r\n", "text/plain"),
        "half",
        '+',
    );
    chat.says(0, &head);
    chat.world.relay.remove_leg(chat.legs[0]);
    chat.world.catch_up();
    for who in 1..4 {
        let got = chat.hears(who);
        assert_eq!((got.len(), got[1].flag), (2, '#'));
        assert_eq!(got[1].header("Message-ID"), Some("m-tid1"));
    }
    assert_eq!(chat.world.counts(), (3, 0, 0));
}

#[test]
fn that_somebody_composes_is_left_out_first() {
    let composing = "<?xml version=\"1.0\"?><isComposing/>";
    let wrapped =
        cpim("x", GROUP, composing).replace("text/plain", "application/im-iscomposing+xml");
    let mut chat = chat(false);
    for (at, (content_type, body)) in [
        ("application/im-iscomposing+xml", composing),
        ("message/cpim", &wrapped),
    ]
    .into_iter()
    .enumerate()
    {
        let slow = chat.keys[1];
        chat.world.hold(slow, 0);
        let fill = send_of(
            'a',
            &format!("fill{at}"),
            ("", "text/plain"),
            &"x".repeat(100_000),
            '$',
        );
        chat.says(0, &fill);
        chat.says(
            0,
            &send_of('a', &format!("comp{at}"), ("", content_type), body, '$'),
        );
        chat.says(
            0,
            &send_of('a', &format!("text{at}"), ("", "text/plain"), "hello", '$'),
        );
        let before = chat.hears(1).len();
        chat.world.out.held.clear();
        chat.world.catch_up();
        let slow: Vec<_> = chat.hears(1);
        assert!(before > 0 && slow.last().unwrap().body.as_deref() == Some(b"hello"));
        assert!(
            !slow
                .iter()
                .any(|frame| frame.header("Content-Type") != Some("text/plain"))
        );
        let quick = chat.hears(2);
        let heard = |frame: &&Frame| frame.header("Content-Type") != Some("text/plain");
        assert_eq!(
            quick.iter().filter(heard).count(),
            1,
            "those who keep up get it"
        );
        assert_eq!(chat.world.stats.msrp_composing_shed, at as u64 + 1);
        chat.hears(3);
        chat.hears(0);
    }
    assert_eq!(chat.world.stats.msrp_open, 0);
}

fn nickname(letter: char, id: &str, wanted: &str) -> Box<str> {
    let paths = paths(letter);
    format!("MSRP {id} NICKNAME\r\n{paths}{wanted}-------{id}$\r\n").into()
}

#[test]
fn a_nickname_is_one_members_alone() {
    let mut chat = chat(false);
    let mut ask = |who: usize, wanted: &str| {
        let wanted = format!("Use-Nickname: {wanted}\r\n");
        chat.says(who, &nickname(LETTERS[who], "nick1", &wanted));
        let told = chat.is_told(who);
        (
            told,
            chat.world
                .relay
                .nickname(chat.legs[who])
                .map(Box::<str>::from),
        )
    };
    let ok = "200 OK".into();
    assert_eq!(ask(0, "\"Zoë\""), (ok, Some("Zoë".into())));
    assert_eq!(ask(1, "\"ZOË\""), ("425 Nickname Reserved".into(), None));
    assert_eq!(ask(1, "Bob"), ("424 Malformed Nickname".into(), None));
    let long = format!("\"{}\"", "x".repeat(65));
    assert_eq!(ask(1, &long), ("424 Malformed Nickname".into(), None));
    assert_eq!(&*ask(0, "\"\"").0, "200 OK");
    assert_eq!(ask(1, "\"zoë\"").1, Some("zoë".into()));
    chat.says(2, &nickname('c', "nick1", ""));
    assert_eq!(&*chat.is_told(2), "424 Malformed Nickname");
    assert!(
        (1..4).all(|who| chat.hears(who).is_empty()),
        "nobody else is told"
    );
}

#[test]
fn five_hundred_members_get_each_message_once() {
    let mut world = World::with_transactions(10_000);
    let room = world.relay.open_room(RoomRules::default()).unwrap();
    let id = |number: usize| format!("{number:032}");
    let mut keys = Vec::new();
    let path_of = |number| format!("msrp://192.0.2.1:2855/{};tcp", id(number));
    let leg_of = |world: &mut World, number| {
        let leg = crate::proto::msrp::Leg {
            session_id: id(number).into_bytes().try_into().unwrap(),
            local_path: &path_of(number),
            match_session_id_only: false,
        };
        world.relay.add_leg(leg).unwrap()
    };
    for number in 0..500 {
        let path = path_of(number);
        let leg = leg_of(&mut world, number);
        world.relay.set_remote(leg, &theirs('a'), None);
        assert!(world.relay.join_room(room, leg, None));
        let key = world.relay.accept(world.now).unwrap();
        let bound = bind('a').replace(&*ours('a'), &path);
        world.send(key, &bound);
        world.raw(key);
        keys.push(key);
    }
    for sender in [0, 499, 250] {
        let path = path_of(sender);
        let frame = send_of('a', "tid1", ("", "text/plain"), "hello all", '$');
        world.send(keys[sender], frame.replace(&*ours('a'), &path));
        for (at, key) in keys.iter().enumerate() {
            let read = frames(&world.raw(*key));
            assert_eq!(read.len(), 1);
            assert_eq!(&*read[0].what == "200 OK", at == sender);
            if at != sender {
                world.send(*key, response(&read[0], "200 OK"));
            }
        }
    }
    assert_eq!(world.counts(), (3 * 499, 0, 0));
    for number in 500..MSRP_MEMBERS {
        let more = leg_of(&mut world, number);
        assert!(world.relay.join_room(room, more, None));
    }
    let leg = world.leg('x');
    assert!(
        !world.relay.join_room(room, leg, None),
        "so many and no more"
    );
}
