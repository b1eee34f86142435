//! Floor control: a server, and clients written from RFC 8855.

use std::time::{Duration, Instant};

use dataplane::api::{FloorId, FloorRule, MemberId};
use tests::peers::bfcp::{Attribute, Client, Info, Message, attribute, primitive, status};
use tests::world::meeting::{CONFERENCE, Meeting, floor, member, user};

const BRIEFLY: Duration = Duration::from_millis(100);

/// The one request that a FloorRequestStatus tells of.
fn told(message: &Message) -> Info {
    assert_eq!(
        message.primitive,
        primitive::FLOOR_REQUEST_STATUS,
        "{message:?}"
    );
    let infos = message.infos();
    assert_eq!(infos.len(), 1, "{message:?}");
    let first = infos.into_iter().next();
    first.expect("there is one")
}

fn ask(meeting: &mut Meeting, who: usize) -> Info {
    told(&meeting.call(who, |client, now| client.ask(&[1], 2, now)))
}

fn ask_as(meeting: &mut Meeting, who: usize, priority: u8) -> Info {
    told(&meeting.call(who, |client, now| client.ask(&[1], priority, now)))
}

fn give_back(meeting: &mut Meeting, who: usize, request: u16) -> Info {
    told(&meeting.call(who, |client, now| client.give_back(request, now)))
}

fn error(message: &Message) -> u8 {
    let code = message.error();
    assert!(code.is_some(), "no Error: {message:?}");
    code.expect("it is an Error")
}

/// The overall statuses of the FloorRequestStatus that a client heard.
fn statuses(meeting: &mut Meeting, who: usize) -> Vec<(u8, u8)> {
    meeting.run(BRIEFLY);
    let is_it = |message: &&Message| message.primitive == primitive::FLOOR_REQUEST_STATUS;
    let news = meeting.news(who);
    news.iter()
        .filter(is_it)
        .map(|one| told(one).overall)
        .collect()
}

fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

#[test]
fn a_floor_is_granted_at_once_and_to_the_next_on_release() {
    both(|is_udp| {
        let mut meeting = Meeting::new(vec![floor(1)], 3, is_udp);
        let first = ask(&mut meeting, 0);
        assert_eq!(
            (first.overall, first.beneficiary),
            ((status::GRANTED, 0), user(0))
        );
        assert_eq!(first.floors, [(1, status::GRANTED, 0)]);
        let second = ask(&mut meeting, 1);
        assert_eq!(second.overall, (status::ACCEPTED, 1));
        assert_eq!(second.floors, [(1, status::ACCEPTED, 1)]);
        assert_eq!(ask(&mut meeting, 2).overall, (status::ACCEPTED, 2));
        assert_eq!(meeting.holders(1), [0]);
        meeting.news(1);
        meeting.news(2);
        let released = give_back(&mut meeting, 0, first.request);
        assert_eq!(released.overall, (status::RELEASED, 0));
        assert_eq!(meeting.holders(1), [1], "before anybody is told");
        assert_eq!(statuses(&mut meeting, 1), [(status::GRANTED, 0)]);
        assert_eq!(statuses(&mut meeting, 2), [(status::ACCEPTED, 1)]);
        assert_eq!(meeting.floors.poll_change(), Some(FloorId(1)));
        assert_eq!(meeting.floors.poll_change(), None);
    });
}

#[test]
fn requests_wait_by_priority_and_then_in_their_order() {
    both(|is_udp| {
        let mut meeting = Meeting::new(vec![floor(1)], 6, is_udp);
        let mut requests = [ask(&mut meeting, 0).request; 6];
        for (who, priority) in [(1, 0), (2, 2), (3, 4), (4, 2), (5, 7)] {
            requests[who] = ask_as(&mut meeting, who, priority).request;
        }
        let mut order = Vec::new();
        while let [holder] = meeting.holders(1)[..] {
            order.push(holder);
            give_back(&mut meeting, holder, requests[holder]);
        }
        // 7 is not assigned, and counts as normal (RFC 8855 §5.2.4).
        assert_eq!(order, [0, 3, 2, 4, 5, 1]);
    });
}

#[test]
fn as_many_hold_a_floor_as_may() {
    let rule = FloorRule {
        holders: 2,
        ..floor(1)
    };
    let mut meeting = Meeting::new(vec![rule], 3, false);
    let first = ask(&mut meeting, 0);
    assert_eq!(ask(&mut meeting, 1).overall.0, status::GRANTED);
    assert_eq!(ask(&mut meeting, 2).overall, (status::ACCEPTED, 1));
    assert_eq!(meeting.holders(1), [0, 1]);
    give_back(&mut meeting, 0, first.request);
    assert_eq!(meeting.holders(1), [1, 2]);
}

#[test]
fn a_request_for_several_floors_gets_all_of_them_at_once() {
    let mut meeting = Meeting::new(vec![floor(1), floor(2)], 4, true);
    let one = told(&meeting.call(0, |client, now| client.ask(&[1], 2, now)));
    let two = told(&meeting.call(1, |client, now| client.ask(&[2], 2, now)));
    let all = told(&meeting.call(2, |client, now| client.ask(&[1, 2], 2, now)));
    assert_eq!(all.overall, (status::ACCEPTED, 1));
    give_back(&mut meeting, 0, one.request);
    assert_eq!((meeting.holders(1), meeting.holders(2)), (vec![], vec![1]));
    // Who came later doesn't pass it, else it might wait for ever.
    let late = told(&meeting.call(3, |client, now| client.ask(&[1], 2, now)));
    assert_eq!(late.overall, (status::ACCEPTED, 2));
    give_back(&mut meeting, 1, two.request);
    assert_eq!((meeting.holders(1), meeting.holders(2)), (vec![2], vec![2]));
}

#[test]
fn a_request_that_is_taken_back_before_it_is_granted_is_cancelled() {
    let mut meeting = Meeting::new(vec![floor(1)], 2, false);
    ask(&mut meeting, 0);
    let second = ask(&mut meeting, 1);
    let gone = give_back(&mut meeting, 1, second.request);
    assert_eq!(gone.overall, (status::CANCELLED, 0));
    let again = meeting.call(1, |client, now| client.give_back(second.request, now));
    assert_eq!(error(&again), 7);
}

/// A meeting whose first member decides on floor 1.
fn with_chair(clients: usize, is_udp: bool) -> Meeting {
    let rule = FloorRule {
        chair: Some(member(0)),
        ..floor(1)
    };
    Meeting::new(vec![rule, floor(2)], clients, is_udp)
}

fn decide(meeting: &mut Meeting, request: u16, status: u8, position: u8) -> Message {
    meeting.call(0, |client, now| {
        client.decide(request, (1, status, position), now)
    })
}

#[test]
fn a_chair_is_told_of_requests_and_grants_denies_and_revokes() {
    both(|is_udp| {
        let mut meeting = with_chair(3, is_udp);
        meeting.call(0, |client, now| client.watch(&[1], now));
        let first = ask(&mut meeting, 1);
        assert_eq!(first.overall, (status::PENDING, 0));
        assert_eq!(meeting.holders(1), [] as [usize; 0]);
        meeting.run(BRIEFLY);
        let seen = meeting.news(0);
        let last = seen.last().expect("the chair is told");
        assert_eq!(
            (last.primitive, last.floor()),
            (primitive::FLOOR_STATUS, Some(1))
        );
        assert_eq!(last.infos(), std::slice::from_ref(&first));
        let ack = decide(&mut meeting, first.request, status::GRANTED, 0);
        assert_eq!(ack.primitive, primitive::CHAIR_ACTION_ACK);
        assert_eq!(
            statuses(&mut meeting, 1).last(),
            Some(&(status::GRANTED, 0))
        );
        assert_eq!(meeting.holders(1), [1]);
        let second = ask(&mut meeting, 2);
        meeting.news(2);
        decide(&mut meeting, second.request, status::DENIED, 0);
        assert_eq!(statuses(&mut meeting, 2), [(status::DENIED, 0)]);
        meeting.news(1);
        decide(&mut meeting, first.request, status::REVOKED, 0);
        assert_eq!(statuses(&mut meeting, 1), [(status::REVOKED, 0)]);
        assert_eq!(meeting.holders(1), [] as [usize; 0]);
    });
}

#[test]
fn a_chair_places_requests_in_the_queue() {
    let mut meeting = with_chair(5, false);
    let mut requests = [0; 5];
    for (who, request) in requests.iter_mut().enumerate().skip(1) {
        *request = ask(&mut meeting, who).request;
    }
    for (who, position) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
        decide(&mut meeting, requests[who], status::ACCEPTED, position);
    }
    let mut order = Vec::new();
    while let [holder] = meeting.holders(1)[..] {
        order.push(holder);
        give_back(&mut meeting, holder, requests[holder]);
    }
    assert_eq!(order, [1, 3, 4, 2]);
}

#[test]
fn what_is_granted_while_the_floor_is_taken_is_next() {
    let mut meeting = with_chair(4, false);
    let requests: Vec<u16> = (1..4).map(|who| ask(&mut meeting, who).request).collect();
    decide(&mut meeting, requests[0], status::GRANTED, 0);
    decide(&mut meeting, requests[1], status::ACCEPTED, 0);
    decide(&mut meeting, requests[2], status::GRANTED, 0);
    assert_eq!(meeting.holders(1), [1]);
    give_back(&mut meeting, 1, requests[0]);
    assert_eq!(meeting.holders(1), [3]);
}

#[test]
fn only_its_chair_decides_and_only_what_can_be() {
    let mut meeting = with_chair(3, false);
    let request = ask(&mut meeting, 1).request;
    let action = |status| {
        move |client: &mut Client, now: Instant| client.decide(request, (1, status, 0), now)
    };
    let other = meeting.call(2, action(status::GRANTED));
    assert_eq!(error(&other), 5);
    for wrong in [status::REVOKED, status::RELEASED, status::PENDING] {
        assert_eq!(error(&meeting.call(0, action(wrong))), 14, "{wrong}");
    }
    assert_eq!(error(&meeting.call(0, action(9))), 10);
    let elsewhere = meeting.call(0, |client, now| {
        client.decide(request, (2, status::GRANTED, 0), now)
    });
    assert_eq!(error(&elsewhere), 6, "not a floor of the request");
    let unknown = meeting.call(0, |client, now| client.decide(9, (1, 3, 0), now));
    assert_eq!(error(&unknown), 7);
    assert_eq!(meeting.holders(1), [] as [usize; 0]);
}

#[test]
fn a_chair_asks_for_somebody_else_and_both_are_told() {
    both(|is_udp| {
        let mut meeting = with_chair(2, is_udp);
        let for_one = vec![
            Attribute::number(attribute::FLOOR_ID, 1),
            Attribute::number(attribute::BENEFICIARY_ID, user(1)),
            Attribute::octets(attribute::PARTICIPANT_PROVIDED_INFO, "für ihn".as_bytes()),
        ];
        let attributes = for_one.clone();
        let answer = meeting.call(0, |client, now| {
            client.say(primitive::FLOOR_REQUEST, attributes, now)
        });
        let info = told(&answer);
        assert_eq!((info.beneficiary, info.by), (user(1), Some(user(0))));
        assert_eq!(info.overall, (status::GRANTED, 0));
        assert_eq!(info.provided, "für ihn".as_bytes());
        assert_eq!(meeting.holders(1), [1]);
        assert_eq!(statuses(&mut meeting, 1), [(status::GRANTED, 0)]);
        let released = give_back(&mut meeting, 1, info.request);
        assert_eq!(released.overall, (status::RELEASED, 0));
        let mut last = statuses(&mut meeting, 0);
        assert_eq!(last.pop(), Some((status::RELEASED, 0)));
        let mut for_chair = for_one;
        for_chair[1] = Attribute::number(attribute::BENEFICIARY_ID, user(0));
        let other = meeting.call(1, |client, now| {
            client.say(primitive::FLOOR_REQUEST, for_chair, now)
        });
        assert_eq!(error(&other), 5, "only a chair may");
    });
}

#[test]
fn a_floor_whose_chair_has_left_is_given_without_one() {
    let mut meeting = with_chair(2, false);
    ask(&mut meeting, 1);
    assert_eq!(meeting.holders(1), [] as [usize; 0]);
    meeting.floors.leave(member(0), meeting.now);
    assert_eq!(meeting.holders(1), [1]);
}

#[test]
fn who_watches_a_floor_is_told_of_every_change() {
    both(|is_udp| {
        let mut meeting = Meeting::new(vec![floor(1), floor(2)], 3, is_udp);
        let answer = meeting.call(2, |client, now| client.watch(&[2, 1], now));
        assert_eq!((answer.floor(), answer.infos().len()), (Some(2), 0));
        meeting.run(BRIEFLY);
        let floors: Vec<_> = meeting.news(2).iter().map(Message::floor).collect();
        assert_eq!(floors, [Some(2), Some(1)], "one message for each floor");
        let first = ask(&mut meeting, 0);
        meeting.run(BRIEFLY);
        let news = meeting.news(2);
        let last = news.last().expect("it is told");
        assert_eq!((last.floor(), last.infos()), (Some(1), vec![first.clone()]));
        ask(&mut meeting, 1);
        give_back(&mut meeting, 0, first.request);
        meeting.run(BRIEFLY);
        let news = meeting.news(2);
        let infos = news.last().expect("it is told").infos();
        let seen: Vec<_> = infos
            .iter()
            .map(|info| (info.beneficiary, info.overall.0))
            .collect();
        assert_eq!(seen, [(user(1), status::GRANTED)]);
        let none = meeting.call(2, |client, now| client.watch(&[], now));
        assert_eq!((none.floor(), none.infos().len()), (None, 0));
        meeting.news(2);
        let second = told(&meeting.call(0, |client, now| client.ask(&[2], 2, now)));
        give_back(&mut meeting, 0, second.request);
        meeting.run(BRIEFLY);
        assert_eq!(meeting.news(2), []);
    });
}

#[test]
fn queries_tell_of_requests_and_users() {
    let mut meeting = Meeting::new(vec![floor(1)], 2, true);
    let info = ask(&mut meeting, 0);
    let number = |kind, number| vec![Attribute::number(kind, number)];
    let query = number(attribute::FLOOR_REQUEST_ID, info.request);
    let answer = meeting.call(1, |client, now| {
        client.say(primitive::FLOOR_REQUEST_QUERY, query, now)
    });
    assert_eq!(told(&answer), info);
    for query in [vec![], number(attribute::BENEFICIARY_ID, user(0))] {
        let answer = meeting.call(0, |client, now| {
            client.say(primitive::USER_QUERY, query, now)
        });
        assert_eq!(answer.primitive, primitive::USER_STATUS);
        assert_eq!(answer.infos(), std::slice::from_ref(&info));
    }
    let nobody = number(attribute::BENEFICIARY_ID, 9);
    let answer = meeting.call(0, |client, now| {
        client.say(primitive::USER_QUERY, nobody, now)
    });
    assert_eq!(error(&answer), 2);
}

#[test]
fn a_hello_is_answered_with_all_that_is_supported() {
    both(|is_udp| {
        let mut meeting = Meeting::new(vec![floor(1)], 1, is_udp);
        let answer = meeting.call(0, |client, now| client.say(primitive::HELLO, vec![], now));
        assert_eq!(answer.primitive, primitive::HELLO_ACK);
        let values: Vec<&[u8]> = answer.attributes.iter().map(Attribute::value).collect();
        let primitives: Vec<u8> = (1..=17).collect();
        let attributes: Vec<u8> = (1..=18).map(|kind| kind << 1).collect();
        assert_eq!(values, [&primitives[..], &attributes[..]]);
    });
}

/// What a message with something changed is answered with.
fn refused(meeting: &mut Meeting, change: impl FnOnce(&mut Message)) -> Message {
    meeting.news(0);
    let floor = Attribute::number(attribute::FLOOR_ID, 1);
    let mut message = meeting
        .client(0)
        .message(primitive::FLOOR_REQUEST, vec![floor]);
    change(&mut message);
    meeting.send(0, message.encode());
    meeting.run(BRIEFLY);
    let mut news = meeting.news(0);
    let answer = news.pop().expect("it is answered");
    assert_eq!(
        (answer.transaction, answer.conference, answer.user),
        (message.transaction, message.conference, message.user),
    );
    answer
}

#[test]
fn each_mistake_has_its_error() {
    let mut meeting = Meeting::new(vec![floor(1)], 2, false);
    let code = |meeting: &mut Meeting, change: fn(&mut Message)| error(&refused(meeting, change));
    assert_eq!(code(&mut meeting, |it| it.conference = CONFERENCE + 1), 1);
    assert_eq!(code(&mut meeting, |it| it.user = 9), 2);
    assert_eq!(code(&mut meeting, |it| it.user = user(1)), 5);
    assert_eq!(code(&mut meeting, |it| it.primitive = 99), 3);
    assert_eq!(code(&mut meeting, |it| it.version = 2), 12);
    assert_eq!(code(&mut meeting, |it| it.attributes.clear()), 10);
    assert_eq!(
        code(&mut meeting, |it| it.primitive = primitive::FLOOR_STATUS),
        5
    );
    let other = |it: &mut Message| it.attributes = vec![Attribute::number(attribute::FLOOR_ID, 7)];
    assert_eq!(code(&mut meeting, other), 6);
    let odd = |it: &mut Message| {
        it.attributes
            .push(Attribute::octets(attribute::FLOOR_ID, b"abc"));
    };
    assert_eq!(code(&mut meeting, odd), 10);
    ask(&mut meeting, 0);
    let again = meeting.call(0, |client, now| client.ask(&[1], 2, now));
    assert_eq!(error(&again), 8);
}

#[test]
fn unknown_mandatory_attributes_are_listed_and_others_are_ignored() {
    let mut meeting = Meeting::new(vec![floor(1)], 1, false);
    let unknown = |kind, is_mandatory| Attribute {
        is_mandatory,
        ..Attribute::octets(kind, b"xy")
    };
    let answer = refused(&mut meeting, |it| {
        it.attributes.push(unknown(90, true));
        it.attributes.push(unknown(91, false));
        it.attributes.push(unknown(92, true));
    });
    assert_eq!(error(&answer), 4);
    // A type each, in the upper seven bits (RFC 8855 §5.2.6.1).
    assert_eq!(answer.attributes[0].value(), [4, 90 << 1, 92 << 1]);
    let answer = refused(&mut meeting, |it| it.attributes.push(unknown(91, false)));
    assert_eq!(told(&answer).overall.0, status::GRANTED);
}

#[test]
fn a_holder_who_sends_nothing_loses_the_floor_and_one_who_speaks_does_not() {
    let rule = FloorRule {
        silence_ms: 5000,
        ..floor(1)
    };
    let mut meeting = Meeting::new(vec![rule], 2, true);
    ask(&mut meeting, 0);
    for _ in 0..10 {
        meeting.run(Duration::from_secs(1));
        meeting.floors.heard(FloorId(1), member(0), meeting.now);
        // Who doesn't hold it says nothing that counts.
        meeting.floors.heard(FloorId(1), member(1), meeting.now);
    }
    assert_eq!(meeting.holders(1), [0]);
    ask(&mut meeting, 1);
    meeting.news(0);
    meeting.run(Duration::from_millis(4999));
    assert_eq!(meeting.holders(1), [0]);
    meeting.run(Duration::from_millis(1));
    assert_eq!(meeting.holders(1), [1]);
    assert_eq!(statuses(&mut meeting, 0), [(status::REVOKED, 0)]);
}

#[test]
fn a_floor_is_held_for_its_time_while_others_wait_and_no_longer() {
    let rule = FloorRule {
        held_max_ms: 10_000,
        ..floor(1)
    };
    let mut meeting = Meeting::new(vec![rule], 2, false);
    ask(&mut meeting, 0);
    meeting.run(Duration::from_secs(60));
    assert_eq!(meeting.holders(1), [0], "nobody waits");
    ask(&mut meeting, 1);
    meeting.run(Duration::from_millis(1));
    assert_eq!(meeting.holders(1), [1]);
    ask(&mut meeting, 0);
    meeting.run(Duration::from_millis(9900));
    assert_eq!(meeting.holders(1), [1]);
    meeting.run(Duration::from_millis(100));
    assert_eq!(meeting.holders(1), [0]);
}

#[test]
fn who_leaves_says_goodbye_or_is_lost_has_nothing_any_more() {
    let ends: [fn(&mut Meeting); 3] = [
        |meeting| meeting.floors.leave(member(0), meeting.now),
        |meeting| meeting.floors.lost(member(0), meeting.now),
        |meeting| {
            let answer = meeting.call(0, |client, now| client.say(primitive::GOODBYE, vec![], now));
            assert_eq!(answer.primitive, primitive::GOODBYE_ACK);
        },
    ];
    for end in ends {
        let mut meeting = Meeting::new(vec![floor(1), floor(2)], 3, true);
        ask(&mut meeting, 0);
        let waits = told(&meeting.call(1, |client, now| client.ask(&[2], 2, now)));
        meeting.call(0, |client, now| client.ask(&[2], 2, now));
        ask(&mut meeting, 2);
        end(&mut meeting);
        assert_eq!(meeting.holders(1), [2]);
        give_back(&mut meeting, 1, waits.request);
        assert_eq!(meeting.holders(2), [] as [usize; 0]);
    }
}

#[test]
fn a_request_that_comes_again_is_answered_as_before_and_done_once() {
    let mut meeting = Meeting::new(vec![floor(1)], 2, true);
    let (now, mut out) = (meeting.now, Vec::new());
    let octets = meeting.client(0).ask(&[1], 2, now).1;
    for _ in 0..3 {
        meeting.send(0, octets.clone());
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        meeting.floors.receive(member(0), &octets, now);
        assert_eq!(
            meeting.floors.poll_transmit(now, &mut out),
            Some(MemberId(0))
        );
        answers.push(out.clone());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(meeting.holders(1), [0]);
    assert_eq!(meeting.floors.counts().repeated, 2);
    assert_eq!(meeting.floors.counts().granted, 1);
}

#[test]
fn a_member_that_acknowledges_nothing_is_told_four_times_and_is_gone_then() {
    let mut meeting = Meeting::new(vec![floor(1)], 3, true);
    let first = ask(&mut meeting, 0);
    ask(&mut meeting, 1);
    ask(&mut meeting, 2);
    let (start, mut times, mut out) = (meeting.now, Vec::new(), Vec::new());
    let octets = meeting.client(0).give_back(first.request, start).1;
    meeting.floors.receive(member(0), &octets, start);
    let mut now = start;
    loop {
        while let Some(to) = meeting.floors.poll_transmit(now, &mut out) {
            if to == member(1) {
                times.push((now - start).as_millis());
            }
        }
        if meeting.holders(1) != [1] {
            break;
        }
        now = meeting
            .floors
            .poll_timeout()
            .expect("it waits for the acknowledgement");
        meeting.floors.handle_timeout(now);
    }
    assert_eq!(times, [0, 500, 1500, 3500]);
    assert_eq!((now - start).as_millis(), 7500);
    assert_eq!(
        meeting.floors.counts().lost,
        2,
        "the second one is as silent"
    );
    assert_eq!(meeting.holders(1), [] as [usize; 0]);
}

#[test]
fn fragments_of_a_request_are_joined_in_any_order() {
    let mut meeting = Meeting::new(vec![floor(1)], 1, true);
    let text = vec![b'x'; 200];
    let attributes = vec![
        Attribute::number(attribute::FLOOR_ID, 1),
        Attribute::octets(attribute::PARTICIPANT_PROVIDED_INFO, &text),
    ];
    let message = meeting
        .client(0)
        .message(primitive::FLOOR_REQUEST, attributes);
    let mut datagrams = message.encode_in(5);
    assert!(datagrams.len() > 8);
    datagrams.reverse();
    let last = datagrams.pop().expect("there are some");
    for datagram in datagrams.iter().chain(&datagrams) {
        meeting.floors.receive(member(0), datagram, meeting.now);
    }
    assert_eq!(meeting.holders(1), [] as [usize; 0]);
    meeting.floors.receive(member(0), &last, meeting.now);
    assert_eq!(meeting.holders(1), [0]);
}

#[test]
fn a_long_answer_comes_in_datagrams_that_pass_every_path() {
    const CLIENTS: usize = 100;
    let mut meeting = Meeting::new(vec![floor(1)], CLIENTS, true);
    for who in 0..CLIENTS {
        ask(&mut meeting, who);
    }
    let answer = meeting.call(7, |client, now| client.watch(&[1], now));
    let users: Vec<u16> = answer.infos().iter().map(|info| info.beneficiary).collect();
    assert_eq!(users, (0..CLIENTS).map(user).collect::<Vec<_>>());
}

#[test]
fn a_room_in_which_nothing_happens_has_no_timer() {
    let mut meeting = Meeting::new(vec![floor(1)], 2, true);
    ask(&mut meeting, 0);
    ask(&mut meeting, 1);
    meeting.run(Duration::from_secs(20));
    assert_eq!(meeting.floors.poll_timeout(), None);
}
