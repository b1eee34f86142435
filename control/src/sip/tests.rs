//! Messages as a whole: the torture tests of RFC 4475, round trips, dialogs, streams, mutations.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::stream::{Frame, FrameError, StreamFramer};
use super::{
    Dialog, Flow, Message, Method, Name, NameAddr, ParseError, Protocol, Timers, Transactions,
    TxEvent, Uri,
};

fn vector(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/rfc4475");
    std::fs::read(folder.join(format!("{name}.dat")))
        .unwrap()
        .into()
}

fn flow(protocol: Protocol) -> Flow {
    let local = "192.0.2.1:5060".parse().unwrap();
    let remote = "192.0.2.2:5060".parse().unwrap();
    Flow {
        protocol,
        local,
        remote,
        connection: 0,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only source of an Instant to count from"
)]
fn now() -> Instant {
    Instant::now()
}

/// What the transaction layer does with bytes: the codes it answers, and the events.
fn outcome(bytes: Bytes) -> (Vec<u16>, Vec<TxEvent>) {
    let mut layer = Transactions::new(Timers::default(), 1);
    layer.handle_packet(now(), flow(Protocol::Udp), bytes);
    let answers = std::iter::from_fn(|| layer.poll_transmit())
        .map(|transmit| Message::parse(transmit.bytes).unwrap().code().unwrap())
        .collect();
    (answers, std::iter::from_fn(|| layer.poll_event()).collect())
}

#[test]
fn valid_torture_requests_are_accepted_and_kept_byte_for_byte() {
    let names = [
        "wsinv",
        "intmeth",
        "esc01",
        "escnull",
        "esc02",
        "lwsdisp",
        "longreq",
        "semiuri",
        "transports",
        "mpart01",
        "inv2543",
        "unkscm",
        "unksm2",
        "novelsc",
        "bext01",
        "invut",
        "regaut01",
        "zeromf",
        "cparam01",
        "cparam02",
        "regescrt",
        "sdp01",
        "badaspec",
        "badbranch",
        "baddate",
        "regbadct",
        "escruri",
    ];
    for name in names {
        let bytes = vector(name);
        let message =
            Message::parse(bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let length_missing = message.headers.get(Name::ContentLength).is_none();
        if !length_missing {
            assert_eq!(message.encode(), bytes, "{name}");
        }
        let (answers, events) = outcome(bytes);
        assert!(
            matches!(events[..], [TxEvent::Request { .. }]),
            "{name}: {answers:?}"
        );
    }
}

#[test]
fn the_tortuous_invite_is_understood() {
    let message = Message::parse(vector("wsinv")).unwrap();
    assert_eq!(
        message.request_uri(),
        Some("sip:vivekg@chair-dnrc.example.com;unknownparam")
    );
    assert_eq!(message.cseq(), Some((9, Method::Invite)));
    assert_eq!(
        (message.to_tag(), message.from_tag()),
        (Some("1918181833n"), Some("98asjd8"))
    );
    assert_eq!(message.headers.values(Name::Via).count(), 3);
    assert_eq!(message.headers.get(Name::Subject), Some(""));
    assert_eq!(message.headers.get(Name::MaxForwards), Some("0068"));
    let folded = "newfangled value continued newfangled value";
    assert_eq!(message.headers.get_named("newfangledheader"), Some(folded));
    let contact = NameAddr::parse(message.headers.get(Name::Contact).unwrap()).unwrap();
    assert_eq!(
        (contact.uri, contact.param("newparam")),
        ("sip:jdrosen@example.com", Some("newvalue"))
    );
    assert_eq!(message.body.len(), 150);
}

#[test]
fn invalid_torture_requests_are_answered_with_400_or_not_at_all() {
    let refused = [
        "clerr",
        "ncl",
        "mcl01",
        "mismatch01",
        "mismatch02",
        "lwsstart",
        "lwsruri",
        "ltgtruri",
        "trws",
        "quotbal",
        "multi01",
        "scalar02",
        "baddn",
    ];
    let mut wrong = Vec::new();
    for name in refused {
        let (answers, events) = outcome(vector(name));
        if answers != [400] && !(answers.is_empty() && events.is_empty()) {
            wrong.push((name, answers, events.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    for name in [
        "clerr",
        "ncl",
        "mcl01",
        "mismatch01",
        "lwsruri",
        "ltgtruri",
        "scalar02",
    ] {
        assert_eq!(outcome(vector(name)).0, [400], "{name}");
    }
    for name in ["insuf", "test"] {
        let (answers, events) = outcome(vector(name));
        assert!(
            answers.is_empty() && events.is_empty(),
            "{name} can't be answered"
        );
    }
    assert_eq!(outcome(vector("badvers")).0, [505]);
}

#[test]
fn torture_responses_are_read_or_dropped() {
    let message = Message::parse(vector("unreason")).unwrap();
    assert_eq!(message.encode(), vector("unreason"));
    assert_eq!(
        Message::parse(vector("noreason")).unwrap().code(),
        Some(100)
    );
    assert_eq!(
        Message::parse(vector("bigcode")).unwrap_err(),
        ParseError::StartLine
    );
    for name in ["unreason", "noreason", "bigcode", "bcast", "scalarlg"] {
        let (answers, events) = outcome(vector(name));
        assert!(answers.is_empty() && events.is_empty(), "{name}");
    }
}

#[test]
fn what_follows_the_body_of_a_datagram_is_cut_off() {
    let message = Message::parse(vector("dblreq")).unwrap();
    assert_eq!(message.method(), Some(&Method::Register));
    assert!(message.body.is_empty());
}

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa\r\n\
    mAx-forwards:70\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nf: \"Alice\" <sip:alice@example.com>;tag=a\r\n\
    To: <tel:+15551234>\r\ni: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.2;ob>\r\n\
    Subject: folded\r\n  here\r\nX-Strange:  a ,b \r\nContent-Type: application/sdp\r\nl: 4\r\n\r\nv=0\n";

fn invite() -> Message {
    Message::parse(Bytes::from_static(INVITE.as_bytes())).unwrap()
}

#[test]
fn only_what_is_changed_changes() {
    let mut message = invite();
    assert_eq!(message.encode(), INVITE.as_bytes());
    message.set_body("application/sdp", Bytes::from_static(b"v=0\r\ns=-\r\n"));
    message
        .headers
        .prepend(Name::Via, "SIP/2.0/UDP us;branch=z9hG4bKb");
    let via = "Via: SIP/2.0/UDP us;branch=z9hG4bKb\r\nv: ";
    let expected = INVITE.replace("\r\nv: ", &format!("\r\n{via}")).replace(
        "l: 4\r\n\r\nv=0\n",
        "Content-Length: 10\r\n\r\nv=0\r\ns=-\r\n",
    );
    assert_eq!(message.encode(), expected.as_bytes());
}

#[test]
fn a_response_copies_what_it_must() {
    let mut response = Message::response(&invite(), 180, "Ringing");
    response.set_to_tag("t1");
    response.set_to_tag("t2");
    let expected = "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa\r\n\
        f: \"Alice\" <sip:alice@example.com>;tag=a\r\nTo: <tel:+15551234>;tag=t2\r\ni: c1\r\n\
        CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(response.encode(), expected.as_bytes());
    let parsed = Uri::parse(
        NameAddr::parse(response.headers.get(Name::To).unwrap())
            .unwrap()
            .uri,
    );
    assert_eq!(parsed.unwrap().user, Some("+15551234"));
}

#[test]
fn line_ends_that_could_hide_a_header_are_refused() {
    for hidden in ["X: a\nVia: b\r\n", "X: a\rVia: b\r\n", "X: a\n\r\n"] {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\n{hidden}\r\n");
        assert_eq!(
            Message::parse(text.into()).unwrap_err(),
            ParseError::LoneLineEnd
        );
    }
    let open = Bytes::from_static(b"OPTIONS sip:a@b SIP/2.0\r\nX: a\r\n");
    assert_eq!(Message::parse(open).unwrap_err(), ParseError::HeadOpen);
}

#[test]
fn a_dialog_we_answer_sends_back_along_the_record_routes() {
    let mut dialog = Dialog::uas(&invite(), "us", flow(Protocol::Udp)).unwrap();
    assert_eq!(
        (dialog.next_hop(), dialog.remote_target.as_str()),
        ("sip:p1;lr", "sip:alice@192.0.2.2;ob")
    );
    let bye = dialog.request(Method::Bye);
    assert_eq!(bye.request_uri(), Some("sip:alice@192.0.2.2;ob"));
    assert_eq!(
        bye.headers.values(Name::Route).collect::<Vec<_>>(),
        ["<sip:p1;lr>", "<sip:p2;lr>"]
    );
    assert_eq!((bye.from_tag(), bye.to_tag()), (Some("us"), Some("a")));
    assert_eq!(bye.cseq(), Some((1, Method::Bye)));
    assert_eq!(dialog.request(Method::Info).cseq(), Some((2, Method::Info)));
    let mut theirs = Message::request(Method::Bye, "sip:us@192.0.2.1");
    theirs
        .headers
        .push(Name::From, "<sip:alice@example.com>;tag=a");
    theirs.headers.push(Name::To, "<tel:+15551234>;tag=us");
    theirs.headers.push(Name::CallId, "c1");
    theirs.headers.push(Name::CSeq, "0 BYE");
    assert!(dialog.matches(&theirs));
    assert!(dialog.check_seq(&theirs).is_err());
    theirs.headers.set(Name::CSeq, "5 BYE");
    assert!(dialog.check_seq(&theirs).is_ok());
    assert_eq!(dialog.remote_seq, Some(5));
    theirs
        .headers
        .set(Name::From, "<sip:alice@example.com>;tag=b");
    assert!(!dialog.matches(&theirs));
}

#[test]
fn a_dialog_we_made_reverses_the_record_routes_and_serves_strict_routers() {
    let request = invite();
    let mut response = Message::response(&request, 200, "OK");
    response.set_to_tag("them");
    response
        .headers
        .push(Name::RecordRoute, "<sip:p2;lr>, <sip:strict>");
    response.headers.push(Name::Contact, "<sip:bob@192.0.2.9>");
    let mut dialog = Dialog::uac(&request, &response, flow(Protocol::Udp)).unwrap();
    let ack = dialog.ack(1);
    assert_eq!(
        (ack.cseq(), ack.request_uri()),
        (Some((1, Method::Ack)), Some("sip:strict"))
    );
    let routes: Vec<_> = ack.headers.values(Name::Route).collect();
    assert_eq!(routes, ["<sip:p2;lr>", "<sip:bob@192.0.2.9>"]);
    assert_eq!(
        (dialog.next_hop(), dialog.remote_tag.as_str()),
        ("sip:strict", "them")
    );
    assert!(dialog.matches(&response));
    dialog.refresh_target(&request);
    assert_eq!(dialog.remote_target, "sip:alice@192.0.2.2;ob");
    response.headers.remove(Name::Contact);
    let error = Dialog::uac(&request, &response, flow(Protocol::Udp)).unwrap_err();
    assert_eq!(error, ParseError::Missing(Name::Contact));
}

#[test]
fn a_stream_is_cut_into_the_same_messages_however_it_arrives() {
    let stream = format!("\r\n\r\n{INVITE}\r\n{INVITE}\r\n\r\n{INVITE}");
    let whole = Frame::Message(Bytes::from_static(INVITE.as_bytes()));
    let expected = [
        Frame::Ping,
        whole.clone(),
        whole.clone(),
        Frame::Ping,
        whole,
    ];
    for step in [1, 2, 3, 7, 100, stream.len()] {
        let mut framer = StreamFramer::default();
        let mut frames = Vec::new();
        for piece in stream.as_bytes().chunks(step) {
            framer.push(piece);
            while let Some(frame) = framer.next() {
                frames.push(frame.unwrap());
            }
        }
        assert_eq!(frames, expected, "{step} bytes at a time");
    }
}

#[test]
fn a_stream_without_ends_is_given_up() {
    let mut framer = StreamFramer::default();
    framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nX: y\r\n\r\n");
    assert_eq!(framer.next(), Some(Err(FrameError::ContentLength)));
    framer.push(INVITE.as_bytes());
    assert_eq!(
        framer.next(),
        Some(Err(FrameError::ContentLength)),
        "and stays so"
    );
    let mut framer = StreamFramer::default();
    framer.push(&[b'a'; 70_000]);
    assert_eq!(framer.next(), Some(Err(FrameError::TooLong)));
    let mut framer = StreamFramer::default();
    framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nl: 18446744073709551615\r\n\r\n");
    assert_eq!(framer.next(), Some(Err(FrameError::TooLong)));
}

#[test]
fn mutated_messages_never_panic_and_never_grow() {
    let seed = 20_260_421;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let names = [
        "wsinv",
        "longreq",
        "intmeth",
        "transports",
        "unreason",
        "clerr",
        "mpart01",
    ];
    let mut seeds: Vec<Bytes> = names.map(vector).to_vec();
    seeds.push(Bytes::from_static(INVITE.as_bytes()));
    let mut layer = Transactions::new(Timers::default(), seed);
    let start = now();
    let mut pick = |limit: usize| usize::try_from(random.next_u64() % limit as u64).unwrap();
    for round in 0..20_000 {
        let mut bytes = seeds[pick(seeds.len())].to_vec();
        for _ in 0..=pick(6) {
            let at = pick(bytes.len());
            match pick(5) {
                0 => bytes[at] = u8::try_from(pick(256)).unwrap(),
                1 => bytes[at] = b"\r\n ,;<>\"\\=:@/"[pick(13)],
                2 => drop(bytes.drain(at..(at + pick(20)).min(bytes.len()))),
                3 => bytes.insert(at, b"\r\n ,;<>\"\\=:@/"[pick(13)]),
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let mut framer = StreamFramer::default();
        framer.push(&bytes);
        for _ in 0..64 {
            if framer.next().is_none_or(|frame| frame.is_err()) {
                break;
            }
        }
        let time = start + std::time::Duration::from_millis(round * 20);
        layer.handle_packet(time, flow(Protocol::Udp), bytes.into());
        layer.handle_timeout(time);
        while let Some(event) = layer.poll_event() {
            if let TxEvent::Request {
                key,
                mut request,
                flow,
            } = event
            {
                let again = Message::parse(request.encode()).expect("what was read can be written");
                assert_eq!(
                    again.headers.len(),
                    Message::parse(again.encode()).unwrap().headers.len()
                );
                let _dialog = Dialog::uas(&request, "t", flow);
                while request.headers.remove_first_value(Name::Via).is_some() {}
                let response = Message::response(&again, 486, "Busy Here");
                layer.respond(time, key, response, super::Repeat::Ours);
            }
        }
        while layer.poll_transmit().is_some() {}
    }
    assert!(
        layer.len() < 2000,
        "{} transactions after 32 s each",
        layer.len()
    );
}

#[test]
fn a_lone_line_end_never_gets_into_an_answer() {
    for lone in ["\r", "\n"] {
        let text = format!(
            "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nCSeq: 2{lone}X: y\r\n\r\n"
        );

        // The helper reads each answer, and would fail on a lone line end.
        let (answers, events) = outcome(text.into());

        assert_eq!((answers, events.len()), (vec![400], 0), "{lone:?}");
    }
}

#[test]
fn a_head_that_is_too_long_is_said_so_however_it_comes() {
    let head = format!("OPTIONS sip:x SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for piece in [head.len(), 1000] {
        let mut framer = StreamFramer::default();
        let mut found = None;
        for bytes in head.as_bytes().chunks(piece) {
            framer.push(bytes);
            found = found.or_else(|| framer.next());
        }
        assert_eq!(found, Some(Err(FrameError::TooLong)));
    }
}
