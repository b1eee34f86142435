#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::{
    ByteRange, Cpim, FailureReport, Flag, FrameError, Framer, Head, HeadError, Method, Return,
    Shared, Status, Step, TransactionId, cpim_head_end, is_same_address,
};
use crate::limits::MSRP_HEAD_BYTES;

#[derive(Debug, PartialEq, Eq, Clone)]
enum Part {
    Head(Vec<u8>, bool),
    Body(Vec<u8>),
    End(Flag),
    Broken(FrameError),
}

const PATHS: &str = "To-Path: msrp://a.example:2855/aaaa;tcp\r\n\
                     From-Path: msrp://b.example:2855/bbbb;tcp\r\n";

fn send(id: &str, body: &[u8], flag: char) -> Vec<u8> {
    let mut frame =
        format!("MSRP {id} SEND\r\n{PATHS}Message-ID: 1234\r\nContent-Type: text/plain\r\n\r\n")
            .into_bytes();
    frame.extend_from_slice(body);
    frame.extend_from_slice(format!("\r\n-------{id}{flag}\r\n").as_bytes());
    frame
}

fn bodiless(id: &str) -> Vec<u8> {
    format!("MSRP {id} SEND\r\n{PATHS}Message-ID: 1234\r\n-------{id}$\r\n").into_bytes()
}

/// Feeds pieces; bodies are put together, as their pieces differ with the input's.
fn parts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, guard: Option<&str>) -> Vec<Part> {
    let mut framer = Framer::new();
    let mut shared = Shared::default();
    let mut parts: Vec<Part> = Vec::new();
    for piece in pieces {
        let mut input = piece;
        loop {
            let step = match framer.next(&mut input, &mut shared) {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(error) => {
                    parts.push(Part::Broken(error));
                    return parts;
                }
            };
            let is_head = matches!(step, Step::Head { .. });
            match (step, parts.last_mut()) {
                (Step::Head { octets, body }, _) => parts.push(Part::Head(octets.to_vec(), body)),
                (Step::Body(octets) | Step::Collision(octets), Some(Part::Body(body))) => {
                    body.extend_from_slice(octets);
                }
                (Step::Body(octets) | Step::Collision(octets), _) => {
                    assert!(!octets.is_empty());
                    parts.push(Part::Body(octets.to_vec()));
                }
                (Step::End(flag), _) => parts.push(Part::End(flag)),
            }
            if let (true, Some(guard)) = (is_head, guard) {
                framer.guard(TransactionId::new(guard.as_bytes()).unwrap());
            }
        }
    }
    parts
}

fn body_of(parts: &[Part]) -> Vec<u8> {
    parts
        .iter()
        .filter_map(|part| match part {
            Part::Body(body) => Some(body.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn assert_same_at_every_split(frame: &[u8], expected: &[Part]) {
    assert_eq!(parts([frame], None), expected);
    for at in 0..=frame.len() {
        let (front, back) = frame.split_at(at);
        assert_eq!(parts([front, back], None), expected, "split at {at}");
    }
    assert_eq!(parts(frame.chunks(1), None), expected, "octet by octet");
}

#[test]
fn a_frame_is_the_same_wherever_it_is_split() {
    for (body, flag) in [
        (&b"hello"[..], '$'),
        (b"", '+'),
        (b"\r\n", '#'),
        (b"\r\n-------\r\n-------abcd\r\n-------abcdefg$\r\n", '$'),
        (b"-------abcdefgh\r\n------abcdefgh$\r\n\r\n", '$'),
        (b"x\r\n-------abcdefgh", '$'),
        (b"x\r\n-------abcdefgh$\r", '$'),
    ] {
        let frame = send("abcdefgh", body, flag);
        let head = frame.len() - body.len() - 20 - 2;
        let mut expected = vec![Part::Head(frame[..head].to_vec(), true)];
        if !body.is_empty() {
            expected.push(Part::Body(body.to_vec()));
        }
        expected.push(Part::End(Flag::from_byte(flag as u8).unwrap()));
        assert_same_at_every_split(&frame, &expected);
    }
}

#[test]
fn a_bodiless_frame_and_the_next_one_are_told_apart_at_every_split() {
    let mut two = bodiless("abcd");
    let first = two.len() - "-------abcd$\r\n".len();
    let expected_head = two[..first].to_vec();
    two.extend_from_slice(&send("efgh", b"x", '$'));
    let second_head = two.len() - "x\r\n-------efgh$\r\n".len() - 2;
    let expected = [
        Part::Head(expected_head, false),
        Part::End(Flag::Complete),
        Part::Head(two[first + 14..second_head].to_vec(), true),
        Part::Body(b"x".to_vec()),
        Part::End(Flag::Complete),
    ];
    assert_same_at_every_split(&two, &expected);
}

#[test]
fn an_end_line_with_a_wrong_flag_or_a_longer_id_is_body() {
    for fake in [
        "-------abcdX\r\n",
        "-------abcde$\r\n",
        "-------abcd$\n",
        "-------ABCD$\r\n",
    ] {
        let body = format!("one\r\n{fake}two");
        let found = parts([&send("abcd", body.as_bytes(), '$')[..]], None);
        assert_eq!(body_of(&found), body.as_bytes(), "{fake:?}");
    }
}

#[test]
fn an_id_may_have_32_characters_and_no_more() {
    let longest = "a".repeat(32);
    let frame = send(&longest, b"body", '$');
    assert_eq!(body_of(&parts(frame.chunks(1), None)), b"body");
    let found = parts([&send(&"a".repeat(33), b"body", '$')[..]], None);
    assert_eq!(found, [Part::Broken(FrameError::StartLine)]);
    let found = parts([&send("abc", b"body", '$')[..]], None);
    assert_eq!(found, [Part::Broken(FrameError::StartLine)]);
}

#[test]
fn an_empty_body_without_a_crlf_of_its_own_still_ends() {
    let frame = format!("MSRP abcd SEND\r\n{PATHS}\r\n-------abcd$\r\n").into_bytes();
    let head = frame.len() - 16;
    let expected = [
        Part::Head(frame[..head].to_vec(), true),
        Part::End(Flag::Complete),
    ];
    assert_same_at_every_split(&frame, &expected);
}

#[test]
fn what_is_not_msrp_is_refused_at_its_first_wrong_octet() {
    assert_eq!(
        parts([&b"GET"[..]], None),
        [Part::Broken(FrameError::StartLine)]
    );
    assert_eq!(
        parts([&b"MSRQ"[..]], None),
        [Part::Broken(FrameError::StartLine)]
    );
    assert_eq!(
        parts([&b"\r\n"[..]], None),
        [Part::Broken(FrameError::StartLine)]
    );
    let wrong_end = format!("MSRP abcd SEND\r\n{PATHS}-------abce$\r\n");
    assert_eq!(
        parts([wrong_end.as_bytes()], None),
        [Part::Broken(FrameError::EndLine)]
    );
}

#[test]
fn a_head_without_end_is_refused_at_its_limit() {
    let mut flood = format!("MSRP abcd SEND\r\n{PATHS}").into_bytes();
    while flood.len() < 4 * MSRP_HEAD_BYTES {
        flood.extend_from_slice(b"X-Header: value\r\n");
    }
    let expected = [Part::Broken(FrameError::HeadTooLong)];
    assert_eq!(parts([&flood[..]], None), expected);
    assert_eq!(parts(flood.chunks(1), None), expected);
    assert_eq!(parts(flood.chunks(1000), None), expected);
}

#[test]
fn the_guarded_end_line_is_handed_out_alone() {
    let body = b"one\r\n-------zyxwvu$\r\ntwo\r\n-------zyxwvuX\r\n-------zyxwvu#\r\n";
    let frame = send("abcd", body, '$');
    for size in 1..frame.len() {
        let mut framer = Framer::new();
        let mut shared = Shared::default();
        let mut collisions = Vec::new();
        let mut whole = Vec::new();
        for mut input in frame.chunks(size) {
            while let Some(step) = framer.next(&mut input, &mut shared).unwrap() {
                match step {
                    Step::Collision(line) => {
                        collisions.push(line.to_vec());
                        whole.extend_from_slice(line);
                    }
                    Step::Body(part) => whole.extend_from_slice(part),
                    Step::Head { .. } => framer.guard(TransactionId::new(b"zyxwvu").unwrap()),
                    Step::End(flag) => assert_eq!(flag, Flag::Complete),
                }
            }
        }
        assert_eq!(whole, body, "pieces of {size}");
        let expected = [&b"\r\n-------zyxwvu$\r\n"[..], b"\r\n-------zyxwvu#\r\n"];
        assert_eq!(collisions, expected, "pieces of {size}");
    }
}

#[test]
fn random_frames_are_the_same_in_random_pieces_as_at_once() {
    let seed = 0x6d73_7270;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..300 {
        let mut stream = Vec::new();
        let mut bodies = Vec::new();
        for _ in 0..random.random_range(1..6) {
            let id = ["abcd", "1bad", "a+b=", "zzzzzzzzzzzzzzzz"][random.random_range(0..4_usize)];
            let body = tricky_body(&mut random, id);
            stream.extend_from_slice(&send(
                id,
                &body,
                ['$', '+', '#'][random.random_range(0..3_usize)],
            ));
            bodies.extend_from_slice(&body);
        }
        let whole = parts([&stream[..]], None);
        assert_eq!(body_of(&whole), bodies, "seed {seed}, round {round}");
        let mut pieces = Vec::new();
        let mut left = &stream[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at(random.random_range(1..=left.len().min(60)));
            pieces.push(piece);
            left = rest;
        }
        assert_eq!(parts(pieces, None), whole, "seed {seed}, round {round}");
    }
}

/// A body made of scraps of end lines that doesn't hold the real one.
fn tricky_body(random: &mut StdRng, id: &str) -> Vec<u8> {
    let scraps: [&[u8]; 9] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"-------",
        b"\r\n-------",
        id.as_bytes(),
        b"$",
        b"--",
        b"text",
    ];
    let real = format!("-------{id}");
    let mut body = Vec::new();
    for _ in 0..random.random_range(0..30) {
        body.extend_from_slice(scraps[random.random_range(0..scraps.len())]);
        if body.ends_with(real.as_bytes()) {
            body.push(b'!');
        }
    }
    body
}

#[test]
fn random_octets_never_panic_and_are_always_used_up() {
    let seed = 0x0bad_5eed;
    let mut random = StdRng::seed_from_u64(seed);
    let base = send("abcdefgh", b"hello\r\n-------", '$');
    for round in 0..2000 {
        let mut octets = base.clone();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..octets.len());
            octets[at] = random.next_u32().to_le_bytes()[0];
        }
        let found = parts(octets.chunks(random.random_range(1..40)), None);
        assert!(found.len() <= octets.len(), "seed {seed}, round {round}");
        for part in found {
            if let Part::Head(head, _) = part {
                let _ = Head::parse(&head);
                let _ = Head::salvage(&head);
            }
        }
    }
}

#[test]
fn a_head_is_read_in_place() {
    let octets = b"MSRP d93kswow SEND\r\n\
        to-path: msrp://bob.example.com:8888/9di4eae923wzd;tcp\r\n\
        FROM-PATH: msrp://r.example:1/9di4ea;tcp msrp://alice.example.com:7777/iau39;tcp\r\n\
        Message-ID: 12339sdqwer\r\nByte-Range: 1099511627776-*/1099511627777\r\n\
        Success-Report: yes\r\nfailure-report: partial\r\nX-Odd: a: b\r\nContent-Type: text/plain\r\n";
    let head = Head::parse(octets).unwrap();
    assert_eq!(head.transaction.as_bytes(), b"d93kswow");
    assert_eq!(head.kind, Return::Request(Method::Send));
    assert_eq!(
        head.to_first(),
        b"msrp://bob.example.com:8888/9di4eae923wzd;tcp"
    );
    assert_eq!(head.from_first(), b"msrp://r.example:1/9di4ea;tcp");
    assert_eq!(head.message_id, Some(&b"12339sdqwer"[..]));
    let range = ByteRange {
        start: 1 << 40,
        end: None,
        total: Some((1 << 40) + 1),
    };
    assert_eq!(head.byte_range, Some(range));
    let (from, to) = head.byte_range_line.unwrap();
    assert_eq!(
        &head.rest[from..to],
        b"Byte-Range: 1099511627776-*/1099511627777\r\n"
    );
    assert!(head.success_report);
    assert_eq!(head.failure_report, FailureReport::Partial);
    assert_eq!(head.content_type, Some(&b"text/plain"[..]));
    assert!(head.rest.starts_with(b"Message-ID: "));
}

#[test]
fn a_response_may_have_a_comment_or_none() {
    for (line, code) in [("200 OK", 200), ("481", 481), ("999 what: ever", 999)] {
        let octets = format!("MSRP d93kswow {line}\r\n{PATHS}");
        let head = Head::parse(octets.as_bytes()).unwrap();
        assert_eq!(head.kind, Return::Response(Status(code)));
        assert_eq!(head.start_tail, line.as_bytes());
    }
    for line in ["20", "2000", "20x OK", "200OK", "send", "SEND x", ""] {
        let octets = format!("MSRP d93kswow {line}\r\n{PATHS}");
        assert_eq!(
            Head::parse(octets.as_bytes()).unwrap_err(),
            HeadError::StartLine,
            "{line:?}"
        );
    }
}

#[test]
fn a_head_that_breaks_the_grammar_is_refused_with_the_reason() {
    let to = "To-Path: msrp://a.example:2855/aaaa;tcp\r\n";
    let from = "From-Path: msrp://b.example:2855/bbbb;tcp\r\n";
    for (headers, error) in [
        (format!("{from}{to}"), HeadError::ToPath),
        (format!("To-Path: sip:a@b\r\n{from}"), HeadError::ToPath),
        (
            format!("{to}Message-ID: 1234\r\n{from}"),
            HeadError::FromPath,
        ),
        (format!("{to}{from}No colon\r\n"), HeadError::Header(2)),
        (format!("{to}{from}1X: y\r\n"), HeadError::Header(2)),
        (format!("{to}{from}X: a\nb\r\n"), HeadError::Header(2)),
        (format!("{to}{from}X: a\0b\r\n"), HeadError::Header(2)),
        (
            format!("{to}{from}A: b\r\nByte-Range: 0-1/1\r\n"),
            HeadError::Header(3),
        ),
        (
            format!("{to}{from}Byte-Range: 5-3/9\r\n"),
            HeadError::Header(2),
        ),
        (
            format!("{to}{from}Byte-Range: 1-99999999999999999999/9\r\n"),
            HeadError::Header(2),
        ),
        (
            format!("{to}{from}Failure-Report: maybe\r\n"),
            HeadError::Header(2),
        ),
        (
            format!("{to}{from}Message-ID: a\r\nmessage-id: b\r\n"),
            HeadError::Twice,
        ),
        (format!("{to}{from}{from}"), HeadError::Twice),
        (
            format!("{to}{from}{}", "X: y\r\n".repeat(31)),
            HeadError::TooManyHeaders,
        ),
    ] {
        let octets = format!("MSRP abcd SEND\r\n{headers}");
        assert_eq!(
            Head::parse(octets.as_bytes()).unwrap_err(),
            error,
            "{headers:?}"
        );
    }
}

#[test]
fn an_empty_range_is_written_1_0_0() {
    let range = ByteRange {
        start: 1,
        end: Some(0),
        total: Some(0),
    };
    assert_eq!(ByteRange::parse(b"1-0/0"), Some(range));
    for text in [
        "", "1", "1-", "1-2", "1-2/", "-2/3", "1-2/3/4", "a-2/3", "1-+2/3", "**-1/1",
    ] {
        assert_eq!(ByteRange::parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn addresses_are_the_same_as_their_schemes_say() {
    // RFC 3261 §19.1.4 has most of these.
    let same = [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "SIP:alice@AtLanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;newparam=5",
        ),
        ("tel:+1-555-12(34)", "TEL:+155512.34"),
        ("im:a@example.com", "IM:a@example.com"),
    ];
    let other = [
        ("sip:ALICE@AtLanTa.CoM", "sip:alice@AtLanTa.CoM"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:carol@chicago.com?Subject=x", "sip:carol@chicago.com"),
        ("tel:1234;phone-context=+1", "tel:1234;phone-context=+2"),
        ("sip:+1@example.com", "tel:+1"),
        ("sip:a@b", ""),
    ];
    for (one, other) in same {
        assert!(
            is_same_address(one.as_bytes(), other.as_bytes()),
            "{one} {other}"
        );
        assert!(
            is_same_address(other.as_bytes(), one.as_bytes()),
            "{other} {one}"
        );
    }
    for (one, other) in other {
        assert!(
            !is_same_address(one.as_bytes(), other.as_bytes()),
            "{one} {other}"
        );
        assert!(
            !is_same_address(other.as_bytes(), one.as_bytes()),
            "{other} {one}"
        );
    }
}

#[test]
fn the_head_of_a_cpim_message_is_written_with_another_from() {
    let head = b"To: Group <sip:g@x>\r\nFrom: Al <sip:a@x>\r\nNS: i <urn:i>\r\ni.X: y\r\n\r\n";
    assert_eq!(cpim_head_end(&head[..head.len() - 1]), None);
    assert_eq!(cpim_head_end(head), Some(head.len()));
    let read = Cpim::parse(head).unwrap();
    assert_eq!(read.to().collect::<Vec<_>>(), [b"sip:g@x"]);
    for (identity, from) in [
        ("<sip:b@x>", "From: Al <sip:b@x>"),
        ("Bob <sip:b@x>", "From: Bob <sip:b@x>"),
    ] {
        let mut written = Vec::new();
        read.write_from(identity.as_bytes(), &mut written);
        let expected = format!("To: Group <sip:g@x>\r\n{from}\r\nNS: i <urn:i>\r\ni.X: y\r\n\r\n");
        assert_eq!(std::str::from_utf8(&written), Ok(&*expected));
    }
    for broken in [
        &b"No colon\r\n\r\n"[..],
        b"A: b\nFrom: c\r\n\r\n",
        b": x\r\n\r\n",
        b"A b: c\r\n\r\n",
    ] {
        assert!(Cpim::parse(broken).is_none(), "{}", broken.escape_ascii());
    }
}
