//! Rooms as people use them: who said what to whom (RFC 7701, RFC 3862).

use super::{Frame, World, bind, frames, ours, paths, response, theirs};
use crate::proto::msrp::{ConnectionKey, LegKey, RoomKey, RoomRules};

/// Alice, Bob, Carol and Dave.
pub(super) struct Chat {
    pub(super) world: World,
    pub(super) room: RoomKey,
    pub(super) legs: Vec<LegKey>,
    pub(super) keys: Vec<ConnectionKey>,
}

pub(super) const LETTERS: [char; 4] = ['a', 'b', 'c', 'd'];

const GROUP: &str = "sip:group@example.com";

pub(super) fn chat(only_cpim: bool) -> Chat {
    let mut world = World::with_transactions(10_000);
    let rules = RoomRules {
        address: Some(GROUP),
        only_cpim,
    };
    let room = world.relay.open_room(rules).unwrap();
    let mut chat = Chat {
        world,
        room,
        legs: Vec::new(),
        keys: Vec::new(),
    };
    for letter in LETTERS {
        let identity = format!("<sip:{letter}@example.com>");
        chat.join(letter, Some(&identity));
    }
    chat
}

impl Chat {
    pub(super) fn join(&mut self, letter: char, identity: Option<&str>) {
        let leg = self.world.leg(letter);
        self.world.relay.set_remote(leg, &theirs(letter), None);
        assert!(self.world.relay.join_room(self.room, leg, identity));
        self.legs.push(leg);
        self.keys.push(self.world.bound(letter));
    }

    fn says(&mut self, who: usize, text: &str) {
        self.world.send(self.keys[who], text);
    }

    /// What a member got, answered.
    fn hears(&mut self, who: usize) -> Vec<Frame> {
        let read = self.world.read(self.keys[who]);
        for frame in read.iter().filter(|frame| &*frame.what == "SEND") {
            let answer = response(frame, "200 OK");
            self.world.send(self.keys[who], answer);
        }
        read
    }

    fn hears_one(&mut self, who: usize) -> Frame {
        let mut read = self.hears(who);
        assert_eq!(read.len(), 1, "{read:?}");
        read.remove(0)
    }

    fn is_told(&mut self, who: usize) -> Box<str> {
        self.hears_one(who).what
    }
}

fn cpim(from: &str, to: &str, text: &str) -> Box<str> {
    format!(
        "From: {from}\r\nTo: <{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: 1234\r\nimdn.Disposition-Notification: positive-delivery\r\n\
         \r\nContent-Type: text/plain\r\n\r\n{text}"
    )
    .into()
}

fn send(letter: char, id: &str, headers: &str, body: &str) -> Box<str> {
    send_of(letter, id, (headers, "message/cpim"), body, '$')
}

fn send_of(letter: char, id: &str, head: (&str, &str), body: &str, flag: char) -> Box<str> {
    let (paths, (headers, content_type)) = (paths(letter), head);
    format!(
        "MSRP {id} SEND\r\n{paths}Message-ID: m-{id}\r\n{headers}Content-Type: {content_type}\r\n\r\n\
         {body}\r\n-------{id}{flag}\r\n"
    )
    .into()
}

fn text(frame: &Frame) -> &str {
    std::str::from_utf8(frame.body.as_deref().unwrap()).unwrap()
}

#[test]
fn upl_04_a_message_goes_to_all_others_and_not_to_its_sender() {
    let mut chat = chat(false);
    let body = cpim("<sip:a@example.com>", GROUP, "hello");
    let range = format!("Byte-Range: 1-{0}/{0}\r\n", body.len());
    chat.says(0, &send('a', "tid1", &range, &body));
    for who in 1..4 {
        let frame = chat.hears_one(who);
        assert_eq!(text(&frame), &*body);
        assert_eq!(frame.header("To-Path"), Some(&*theirs(LETTERS[who])));
        assert_eq!(frame.header("From-Path"), Some(&*ours(LETTERS[who])));
        let range = format!("1-{0}/{0}", body.len());
        assert_eq!(frame.header("Byte-Range"), Some(&*range));
    }
    assert_eq!(&*chat.is_told(0), "200 OK", "and no copy of it");
    assert_eq!(chat.world.counts(), (3, 0, 0));
    let got = chat
        .legs
        .iter()
        .map(|leg| chat.world.relay.messages_to(*leg));
    assert_eq!(got.collect::<Vec<_>>(), [0, 1, 1, 1]);
}

#[test]
fn upl_04_from_is_who_the_sender_is_known_to_be_wherever_reads_and_chunks_end() {
    let said = cpim("\"Al ice\" <sip:eve@evil.example>;x", GROUP, "hi");
    let heard = said.replacen(
        "\"Al ice\" <sip:eve@evil.example>;x",
        "\"Al ice\" <sip:a@example.com>",
        1,
    );
    for at in 1..said.len() {
        let (one, other) = said.split_at(at);
        // Two reads of one chunk.
        let mut chat = chat(false);
        let range = format!("Byte-Range: 1-{0}/{0}\r\n", said.len());
        let whole = send('a', "tid1", &range, &said);
        let body_at = whole.find("From: \"").unwrap();
        chat.says(0, &whole[..body_at + at]);
        chat.says(0, &whole[body_at + at..]);
        assert_eq!(&*chat.is_told(0), "200 OK", "{at}");
        let frame = chat.hears_one(1);
        assert_eq!(text(&frame), heard, "{at}");
        let range = format!("1-{0}/{0}", heard.len());
        assert_eq!(frame.header("Byte-Range"), Some(&*range), "{at}");
        // Two chunks.
        let total = said.len();
        let range = format!("Byte-Range: 1-{at}/{total}\r\n");
        chat.says(0, &send_of('a', "tid2", (&range, "message/cpim"), one, '+'));
        let range = format!("Byte-Range: {}-{total}/{total}\r\n", at + 1);
        let second = send_of('a', "tid3", (&range, "message/cpim"), other, '$');
        chat.says(0, &second.replace("m-tid3", "m-tid2"));
        let answers = chat.hears(0);
        assert!(
            answers.iter().all(|answer| &*answer.what == "200 OK"),
            "{at}: {answers:?}"
        );
        let (mut next, mut got) = (1, Vec::new());
        for frame in chat.hears(2).iter().skip(1) {
            let body = frame.body.as_deref().unwrap();
            let range = format!("{next}-{}/{}", next + body.len() - 1, heard.len());
            assert_eq!(frame.header("Byte-Range"), Some(&*range), "{at}");
            assert_eq!(frame.header("Message-ID"), Some("m-tid2"));
            next += body.len();
            got.extend_from_slice(body);
        }
        assert_eq!(std::str::from_utf8(&got), Ok(&*heard), "{at}");
    }
}

#[test]
fn nobody_can_speak_as_another_one() {
    for head in [
        "To: <sip:group@example.com>\r\n",
        "From: <sip:b@example.com>\r\nFrom: <sip:b@example.com>\r\nTo: <sip:group@example.com>\r\n",
        "from: <sip:b@example.com>\r\nTo: <sip:group@example.com>\r\n",
        "NS: x <urn:ietf:params:cpim-headers:>\r\nx.From: <sip:b@example.com>\r\n",
    ] {
        let mut chat = chat(false);
        let body = format!("{head}\r\nContent-Type: text/plain\r\n\r\nhi");
        chat.says(0, &send('a', "tid1", "", &body));
        let frame = chat.hears_one(1);
        assert!(!text(&frame).contains("sip:b@"), "{}", text(&frame));
        assert_eq!(
            text(&frame)
                .matches("From: <sip:a@example.com>\r\n")
                .count(),
            1
        );
    }
    // What some would read as one line and others as two.
    for head in [
        "X: y\nFrom: <sip:b@example.com>\r\n",
        "X: y\rFrom: <sip:b@example.com>\r\n",
    ] {
        let mut chat = chat(false);
        let body = format!("{head}\r\nContent-Type: text/plain\r\n\r\nhi");
        chat.says(0, &send('a', "tid1", "", &body));
        assert_eq!(&*chat.is_told(0), "400 Bad Request");
        assert!(chat.hears(1).is_empty());
    }
}

#[test]
fn upl_04_a_private_message_goes_to_whom_it_names_alone() {
    let mut chat = chat(false);
    let body = cpim("<sip:a@example.com>", "SIP:c@EXAMPLE.com;foo=1", "psst");
    let range = format!("Byte-Range: 1-*/{}\r\nSuccess-Report: yes\r\n", body.len());
    chat.says(0, &send('a', "tid1", &range, &body));
    let frame = chat.hears_one(2);
    assert_eq!(text(&frame), &*body);
    assert_eq!(
        frame.header("Success-Report"),
        Some("yes"),
        "its report is wanted"
    );
    assert!(chat.hears(1).is_empty() && chat.hears(3).is_empty());
    assert_eq!(&*chat.is_told(0), "200 OK");
    let report = format!(
        "MSRP rep1 REPORT\r\n{}Message-ID: m-tid1\r\nByte-Range: 1-{1}/{1}\r\n\
         Status: 000 200 OK\r\n-------rep1$\r\n",
        paths('c'),
        body.len()
    );
    chat.says(2, &report);
    let report = chat.hears_one(0);
    assert_eq!(
        (&*report.what, report.header("Status")),
        ("REPORT", Some("000 200"))
    );
}

#[test]
fn a_private_message_that_fails_is_its_senders_business() {
    let mut chat = chat(false);
    chat.says(
        0,
        &send('a', "tid1", "", &cpim("x", "sip:c@example.com", "psst")),
    );
    let frame = chat.world.read_one(chat.keys[2]);
    assert_eq!(&*chat.is_told(0), "200 OK");
    let answer = response(&frame, "415 No");
    chat.says(2, &answer);
    let report = chat.hears_one(0);
    assert_eq!(report.header("Status"), Some("000 415"));
    let octets = cpim("x", "sip:c@example.com", "psst").len();
    let range = format!("1-{octets}/*");
    assert_eq!(
        report.header("Byte-Range"),
        Some(&*range),
        "as its sender counts"
    );
}

#[test]
fn a_private_message_to_nobody_is_answered_with_404() {
    let mut chat = chat(false);
    for to in [
        "sip:x@example.com",
        "sip:C@example.com",
        "sip:a@example.com",
        "tel:+15551234",
    ] {
        chat.says(0, &send('a', "tid1", "", &cpim("x", to, "psst")));
        assert_eq!(&*chat.is_told(0), "404 Not Found", "{to}");
        assert!((1..4).all(|who| chat.hears(who).is_empty()));
    }
    for to in [
        "sip:GROUP@example.com",
        "sip:anonymous@anonymous.invalid",
        "sip:group@EXAMPLE.com",
    ] {
        let to_all = to != "sip:GROUP@example.com";
        chat.says(0, &send('a', "tid2", "", &cpim("x", to, "hello")));
        assert_eq!(&*chat.is_told(0) == "200 OK", to_all, "{to}");
        assert_eq!((1..4).all(|who| chat.hears(who).len() == 1), to_all, "{to}");
    }
    // The rest of one that was refused is refused as well.
    let body = cpim("x", "sip:x@example.com", &"psst".repeat(100));
    chat.says(0, &send_of('a', "tid3", ("", "message/cpim"), &body, '+'));
    assert_eq!(&*chat.is_told(0), "404 Not Found");
    let range = format!("Byte-Range: {}-*/*\r\n", body.len() + 1);
    let more = send_of('a', "tid4", (&range, "message/cpim"), "more", '$');
    chat.says(0, &more.replace("m-tid4", "m-tid3"));
    assert_eq!(&*chat.is_told(0), "413 Stop Sending");
}

#[test]
fn upl_12_what_is_no_cpim_passes_as_it_is_or_not_at_all() {
    let headers = "Content-Disposition: render;handling=optional\r\nX-Auto-Play: now\r\n";
    let mut open = chat(false);
    open.says(
        0,
        &send_of(
            'a',
            "tid1",
            (headers, "audio/AMR"),
            "From: <sip:b@x>\r\n\r\n",
            '$',
        ),
    );
    let frame = open.hears_one(1);
    assert_eq!(text(&frame), "From: <sip:b@x>\r\n\r\n");
    assert_eq!(frame.header("X-Auto-Play"), Some("now"));
    assert_eq!(
        frame.header("Content-Disposition"),
        Some("render;handling=optional")
    );
    assert_eq!(frame.header("Content-Type"), Some("audio/AMR"));
    let mut strict = chat(true);
    strict.says(0, &send_of('a', "tid1", (headers, "audio/AMR"), "x", '$'));
    assert_eq!(&*strict.is_told(0), "415 Unsupported Media Type");
    assert!(strict.hears(1).is_empty());
}

#[test]
fn upl_12_headers_that_ask_for_immediate_play_reach_everybody_untouched() {
    let mut chat = chat(false);
    let body = "To: <sip:group@example.com>\r\nNS: y <urn:example:play>\r\ny.Play: immediate\r\n\
                \r\nContent-Type: audio/AMR\r\nContent-Disposition: render\r\n\r\n\x01\x02";
    chat.says(0, &send('a', "tid1", "Priority: now\r\n", body));
    for who in 1..4 {
        let frame = chat.hears_one(who);
        assert_eq!(frame.header("Priority"), Some("now"));
        let rest = text(&frame)
            .strip_prefix("From: <sip:a@example.com>\r\n")
            .unwrap();
        assert_eq!(rest, body);
    }
}

#[test]
fn the_room_itself_reports_success_to_who_wants_to_know() {
    let mut chat = chat(false);
    chat.says(
        0,
        &send(
            'a',
            "tid1",
            "Success-Report: yes\r\n",
            &cpim("x", GROUP, "hi"),
        ),
    );
    let told = chat.hears(0);
    assert_eq!(&*told[0].what, "200 OK");
    assert_eq!(told[1].header("Status"), Some("000 200"));
    assert_eq!(told[1].header("Message-ID"), Some("m-tid1"));
    let octets = cpim("x", GROUP, "hi").len();
    assert_eq!(
        told[1].header("Byte-Range"),
        Some(&*format!("1-{octets}/{octets}"))
    );
    for who in 1..4 {
        assert_eq!(
            chat.hears_one(who).header("Success-Report"),
            None,
            "asked of nobody"
        );
        let report = format!(
            "MSRP rep{who}1 REPORT\r\n{}Message-ID: m-tid1\r\nByte-Range: 1-1/1\r\n\
             Status: 000 200 OK\r\n-------rep{who}1$\r\n",
            paths(LETTERS[who]),
        );
        chat.says(who, &report);
    }
    assert!(chat.hears(0).is_empty());
}

#[test]
fn a_head_without_an_end_is_refused_and_keeps_nothing() {
    let mut chat = chat(false);
    chat.says(
        0,
        &send('a', "tid1", "", "From: <sip:a@example.com>\r\nTo: x"),
    );
    assert_eq!(&*chat.is_told(0), "400 Bad Request");
    chat.says(
        0,
        &send('a', "tid2", "", &format!("X: {}", "y".repeat(5000))),
    );
    assert_eq!(&*chat.is_told(0), "400 Bad Request");
    assert!((1..4).all(|who| chat.hears(who).is_empty()));
    assert_eq!(chat.world.relay.waiting_octets, 0);
    assert_eq!(chat.world.relay.rooms.octets, 0);
}

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
    for number in 0..500 {
        let path = format!("msrp://192.0.2.1:2855/{};tcp", id(number));
        let leg = crate::proto::msrp::Leg {
            session_id: id(number).into_bytes().try_into().unwrap(),
            local_path: &path,
            match_session_id_only: false,
        };
        let leg = world.relay.add_leg(leg).unwrap();
        world.relay.set_remote(leg, &theirs('a'), None);
        assert!(world.relay.join_room(room, leg, None));
        let key = world.relay.accept(world.now).unwrap();
        let bound = bind('a').replace(&*ours('a'), &path);
        world.send(key, &bound);
        world.raw(key);
        keys.push(key);
    }
    for sender in [0, 499, 250] {
        let path = format!("msrp://192.0.2.1:2855/{};tcp", id(sender));
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
    let leg = world.leg('x');
    for letter in 'A'..'M' {
        let more = world.leg(letter);
        assert!(world.relay.join_room(room, more, None));
    }
    assert!(!world.relay.join_room(room, leg, None), "512 and no more");
}
