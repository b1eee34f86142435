use super::{Mask, Output, Shared, Socket, Stage};
use crate::api::OriginPolicy;
use crate::frame::{Class, Pool, PoolSize};
use crate::limits::{STREAM_FRAME_BYTES, UPGRADE_BYTES};

use std::io::Cursor;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: msrp\r\n\r\n";

fn shared() -> Shared {
    Shared::new(OriginPolicy::Any)
}

fn opened(shared: &mut Shared) -> Socket {
    let (mut socket, mut out) = (Socket::default(), Output::default());
    let stage = socket.receive(REQUEST.as_bytes(), shared, &mut out);
    assert_eq!(stage, Ok(Stage::Open));
    socket
}

/// A client's frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    let len = payload.len() as u64;
    let octets = len.to_be_bytes();
    match len {
        0..126 => frame.push(0x80 | octets[7]),
        126..65_536 => frame.extend_from_slice(&[0xfe, octets[6], octets[7]]),
        65_536.. => {
            frame.push(0xff);
            frame.extend_from_slice(&octets);
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

fn send(id: &str, body: usize) -> Vec<u8> {
    let body = "b".repeat(body);
    format!(
        "MSRP {id} SEND\r\nTo-Path: msrp://r:1/s;ws\r\nFrom-Path: msrp://f:1/t;ws\r\n\
         Message-ID: 1\r\nByte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------{id}$\r\n"
    )
    .into_bytes()
}

#[test]
fn the_example_of_rfc_6455_is_accepted_with_its_key() {
    for piece in [1, 10, 1000] {
        let (mut socket, mut out, mut shared) = (Socket::default(), Output::default(), shared());
        for part in REQUEST.as_bytes().chunks(piece) {
            socket.receive(part, &mut shared, &mut out).unwrap();
        }
        let answer = str::from_utf8(&out.wire).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // RFC 6455 §1.3.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        assert!(
            answer
                .to_lowercase()
                .contains("sec-websocket-protocol: msrp\r\n")
        );
        assert!(answer.ends_with("\r\n\r\n"));
    }
}

#[test]
fn what_follows_the_request_at_once_is_read() {
    let (mut socket, mut out, mut shared) = (Socket::default(), Output::default(), shared());
    let frame = send("abcd1234", 10);
    let both = [REQUEST.as_bytes(), &masked(0x82, &frame)].concat();
    assert_eq!(
        socket.receive(&both, &mut shared, &mut out),
        Ok(Stage::Open)
    );
    assert_eq!(out.plain, frame);
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let (mut socket, mut out, mut shared) = (Socket::default(), Output::default(), shared());
    let mut fed = 0;
    while socket
        .receive(b"GET / HTTP/1.1\r\n", &mut shared, &mut out)
        .is_ok()
    {
        fed += 16;
        assert!(fed <= UPGRADE_BYTES);
    }
    assert!(out.wire.starts_with(b"HTTP/1.1 431 "));
}

#[test]
fn messages_are_unmasked_whatever_pieces_they_come_in() {
    let mut shared = shared();
    for piece in [1, 3, 5, 1000, 100_000] {
        let (mut socket, mut out) = (opened(&mut shared), Output::default());
        let frames = [
            send("abcd1234", 3),
            send("abcd1235", 300),
            send("abcd1236", 70_000),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            wire.extend(masked(0x82, frame));
            wire.extend(masked(0x89, b"ping"));
        }
        for part in wire.chunks(piece) {
            assert_eq!(socket.receive(part, &mut shared, &mut out), Ok(Stage::Open));
        }
        assert!(out.plain == frames.concat(), "pieces of {piece}");
        assert_eq!(out.wire, b"\x8a\x04ping".repeat(3));
    }
}

#[test]
fn pings_wait_for_nothing_where_nothing_is_read() {
    let mut shared = shared();
    let (mut socket, mut out) = (opened(&mut shared), Output::default());
    shared.is_choked = true;
    socket
        .receive(&masked(0x89, b"ping"), &mut shared, &mut out)
        .unwrap();
    assert!(out.wire.is_empty());
}

#[test]
fn a_message_of_two_frames_is_taken_and_half_a_frame_is_not() {
    let mut shared = shared();
    let two = [send("abcd1234", 3), send("abcd1235", 3)].concat();
    let (mut socket, mut out) = (opened(&mut shared), Output::default());
    assert!(
        socket
            .receive(&masked(0x82, &two), &mut shared, &mut out)
            .is_ok()
    );
    for cut in 1..two.len() {
        let (mut socket, mut out) = (opened(&mut shared), Output::default());
        let result = socket.receive(&masked(0x82, &two[..cut]), &mut shared, &mut out);
        let is_whole = cut == two.len() / 2;
        assert_eq!(result.is_ok(), is_whole, "cut at {cut}");
        if !is_whole {
            assert_eq!(out.wire, [0x88, 2, 0x03, 0xea], "1002");
        }
    }
}

#[test]
fn frames_that_break_the_rules_close_the_socket() {
    let mut shared = shared();
    let cases: [(&str, Vec<u8>); 8] = [
        ("not masked", vec![0x82, 1, b'M']),
        ("a reserved bit", masked(0xc2, b"")),
        ("a reserved opcode", masked(0x83, b"")),
        ("a reserved control opcode", masked(0x8b, b"")),
        ("a long ping", masked(0x89, &[0; 126])),
        ("a ping in fragments", masked(0x09, b"p")),
        ("a continuation of nothing", masked(0x80, b"")),
        (
            "a length of 2^63",
            [&[0x82, 0xff, 0x80][..], &[0; 11]].concat(),
        ),
    ];
    for (what, frame) in cases {
        let (mut socket, mut out) = (opened(&mut shared), Output::default());
        let result = socket.receive(&frame, &mut shared, &mut out);
        assert!(result.is_err(), "{what}");
        assert_eq!(out.wire, [0x88, 2, 0x03, 0xea], "{what}");
        let later = socket.receive(&frame, &mut shared, &mut out);
        assert_eq!(later, Ok(Stage::Ended), "{what}");
    }
    let (mut socket, mut out) = (opened(&mut shared), Output::default());
    let begun = masked(0x02, &send("abcd1234", 1)[..20]);
    assert!(socket.receive(&begun, &mut shared, &mut out).is_ok());
    let other = masked(0x82, b"x");
    assert!(
        socket.receive(&other, &mut shared, &mut out).is_err(),
        "a message in a message"
    );
}

#[test]
fn what_is_sent_are_messages_of_one_frame_each() {
    let seed = 5;
    let mut random = StdRng::seed_from_u64(seed);
    let mut shared = shared();
    let mut pool = Pool::new(PoolSize {
        datagrams: 1,
        streams: 2,
    });
    for round in 0..50 {
        let (mut socket, mut wire) = (opened(&mut shared), Vec::new());
        let frames: Vec<_> = (0..20)
            .map(|number| send(&format!("abcd{number:04}"), random.random_range(0..40_000)))
            .collect();
        let capacity = STREAM_FRAME_BYTES - random.random_range(0..300);
        let all = frames.concat();
        let mut buffer = pool.take(Class::Stream).unwrap();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let piece = &rest[..random.random_range(1..=rest.len().min(20_000))];
            let count = socket.append(&mut pool, (&mut buffer, capacity), piece, &mut shared);
            rest = &rest[count..];
            if count == 0 || random.random_bool(0.1) {
                socket.cut(&mut pool, &mut buffer);
                wire.extend_from_slice(pool.bytes(&buffer));
                pool.set_range(&mut buffer, 0, 0);
            }
        }
        socket.cut(&mut pool, &mut buffer);
        wire.extend_from_slice(pool.bytes(&buffer));
        pool.give(buffer);
        let config = Some(WebSocketConfig::default());
        let mut far = WebSocket::from_raw_socket(Cursor::new(wire), Role::Client, config);
        for frame in &frames {
            let heard = far.read().unwrap();
            let is_same = matches!(heard, Message::Binary(heard) if heard == *frame);
            assert!(is_same, "seed {seed}, round {round}");
        }
    }
}

#[test]
fn random_octets_neither_panic_nor_are_taken_for_frames() {
    let seed = 77;
    let mut random = StdRng::seed_from_u64(seed);
    let mut shared = shared();
    for round in 0..2000 {
        let mut out = Output::default();
        let mut socket = match round % 3 {
            0 => Socket::default(),
            _ => opened(&mut shared),
        };
        let mut octets = match round % 3 {
            2 => [
                masked(0x82, &send("abcd1234", 200)),
                masked(0x88, &[3, 232]),
            ]
            .concat(),
            _ => (0..2000).map(|_| random.random()).collect(),
        };
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..octets.len());
            octets[at] = random.random();
        }
        for part in octets.chunks(random.random_range(1..700)) {
            if socket.receive(part, &mut shared, &mut out) != Ok(Stage::Open) {
                break;
            }
        }
        assert!(
            out.plain.len() <= octets.len(),
            "seed {seed}, round {round}"
        );
        assert!(out.wire.len() <= 4096, "seed {seed}, round {round}");
        socket.end(&mut out.wire);
    }
}

#[test]
fn a_mask_goes_on_where_it_stopped() {
    let plain: Vec<u8> = (0..100).collect();
    for cut in 0..100 {
        let mut octets = plain.clone();
        let mut mask = Mask([1, 2, 3, 4]);
        let (front, back) = octets.split_at_mut(cut);
        mask.take_off(front);
        mask.take_off(back);
        Mask([1, 2, 3, 4]).take_off(&mut octets);
        assert_eq!(octets, plain, "cut at {cut}");
    }
}
