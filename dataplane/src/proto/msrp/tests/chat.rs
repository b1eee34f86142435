//! Rooms as people use them: who said what to whom (RFC 7701, RFC 3862).

use super::{Frame, World, ours, paths, response, theirs};
use crate::proto::msrp::{ConnectionKey, LegKey, RoomKey, RoomRules};

/// Alice, Bob, Carol and Dave.
pub(super) struct Chat {
    pub(super) world: World,
    pub(super) room: RoomKey,
    pub(super) legs: Vec<LegKey>,
    pub(super) keys: Vec<ConnectionKey>,
}

pub(super) const LETTERS: [char; 4] = ['a', 'b', 'c', 'd'];

pub(super) const GROUP: &str = "sip:group@example.com";

pub(super) fn chat(only_cpim: bool) -> Chat {
    let mut world = World::with_transactions(10_000);
    let rules = RoomRules {
        addresses: &[GROUP.into()],
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
        self.seat(letter, identity);
        self.connect(letter);
    }

    /// A member that has accepted, without a connection.
    pub(super) fn seat(&mut self, letter: char, identity: Option<&str>) {
        let leg = self.world.leg(letter);
        self.world.relay.set_remote(leg, &theirs(letter), None);
        assert!(self.world.relay.join_room(self.room, leg, identity));
        self.legs.push(leg);
    }

    pub(super) fn connect(&mut self, letter: char) {
        self.keys.push(self.world.bound(letter));
    }

    pub(super) fn says(&mut self, who: usize, text: &str) {
        self.world.send(self.keys[who], text);
    }

    /// What a member got, answered.
    pub(super) fn hears(&mut self, who: usize) -> Vec<Frame> {
        let read = self.world.read(self.keys[who]);
        for frame in read.iter().filter(|frame| &*frame.what == "SEND") {
            let answer = response(frame, "200 OK");
            self.world.send(self.keys[who], answer);
        }
        read
    }

    pub(super) fn hears_one(&mut self, who: usize) -> Frame {
        let mut read = self.hears(who);
        assert_eq!(read.len(), 1, "{read:?}");
        read.remove(0)
    }

    pub(super) fn is_told(&mut self, who: usize) -> Box<str> {
        self.hears_one(who).what
    }
}

pub(super) fn cpim(from: &str, to: &str, text: &str) -> Box<str> {
    format!(
        "From: {from}\r\nTo: <{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: 1234\r\nimdn.Disposition-Notification: positive-delivery\r\n\
         \r\nContent-Type: text/plain\r\n\r\n{text}"
    )
    .into()
}

pub(super) fn send(letter: char, id: &str, headers: &str, body: &str) -> Box<str> {
    send_of(letter, id, (headers, "message/cpim"), body, '$')
}

pub(super) fn send_of(
    letter: char,
    id: &str,
    head: (&str, &str),
    body: &str,
    flag: char,
) -> Box<str> {
    let (paths, (headers, content_type)) = (paths(letter), head);
    format!(
        "MSRP {id} SEND\r\n{paths}Message-ID: m-{id}\r\n{headers}Content-Type: {content_type}\r\n\r\n\
         {body}\r\n-------{id}{flag}\r\n"
    )
    .into()
}

pub(super) fn text(frame: &Frame) -> &str {
    std::str::from_utf8(frame.body.as_deref().unwrap()).unwrap()
}

#[test]
fn upl_04_a_message_goes_to_all_others_and_not_to_its_sender() {
    let mut chat = chat(false);
    let body = cpim("<sip:a@example.com>", GROUP, "hello");
    let range = format!("Byte-Range: 1-{0}/{0}\r\n", body.len());
    chat.says(0, &send('a', "tid1", &range, &body));
    for (who, letter) in LETTERS.into_iter().enumerate().skip(1) {
        let frame = chat.hears_one(who);
        assert_eq!(text(&frame), &*body);
        assert_eq!(frame.header("To-Path"), Some(&*theirs(letter)));
        assert_eq!(frame.header("From-Path"), Some(&*ours(letter)));
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
    for (who, letter) in LETTERS.into_iter().enumerate().skip(1) {
        assert_eq!(
            chat.hears_one(who).header("Success-Report"),
            None,
            "asked of nobody"
        );
        let report = format!(
            "MSRP rep{who}1 REPORT\r\n{}Message-ID: m-tid1\r\nByte-Range: 1-1/1\r\n\
             Status: 000 200 OK\r\n-------rep{who}1$\r\n",
            paths(letter),
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
