//! MSRP frames that far ends write. Far end `a` has the relay's session-id `aaa...`, and so on.

use rand::RngExt;
use rand::rngs::StdRng;

use super::spoil::{noise, pick};

/// The relay's session-id towards a far end.
pub fn session_id(letter: char) -> [u8; 32] {
    [u8::try_from(letter).unwrap(); 32]
}

/// The relay's URI towards a far end.
pub fn ours(letter: char) -> String {
    let id: String = std::iter::repeat_n(letter, 32).collect();
    format!("msrp://relay.example:2855/{id};tcp")
}

/// A far end's URI.
pub fn theirs(letter: char) -> String {
    format!("msrp://{letter}.example:7000/far{letter};tcp")
}

/// A transaction id.
pub fn id(random: &mut StdRng) -> String {
    let len = *pick(random, &[4, 5, 8, 17, 31, 32]);
    let first = char::from(*pick(random, b"abz09"));
    let rest = (1..len).map(|_| char::from(*pick(random, b"abcXYZ0189.-+%=")));
    std::iter::once(first).chain(rest).collect()
}

/// A body full of what looks like an end line, but never the end line of `id`.
pub fn body(random: &mut StdRng, id: &str) -> Vec<u8> {
    loop {
        let mut body = Vec::new();
        for _ in 0..random.random_range(0..6) {
            match random.random_range(0..9) {
                0 => body.extend_from_slice(&noise(random, 3000)),
                1 => body.extend_from_slice(b"\r\n-------"),
                2 => body.extend_from_slice(format!("\r\n-------{id}").as_bytes()),
                3 => body.extend_from_slice(format!("\r\n-------{id}X\r\n").as_bytes()),
                4 => body.extend_from_slice(b"\r\n-------other$\r\n"),
                5 => body.extend_from_slice(&vec![b'-'; random.random_range(1..20)]),
                6 => body.extend_from_slice(pick(random, &["\r", "\n", "\r\n", "\0"]).as_bytes()),
                7 => body.extend_from_slice(
                    &format!("\r\n-------{id}").as_bytes()[..random.random_range(0..10)],
                ),
                _ => body.extend_from_slice(b"MSRP guard SEND\r\n-------guard$\r\n"),
            }
        }
        // With the CRLF before the body, as an empty body's end line may share it.
        let all = [b"\r\n", body.as_slice(), b"\r\n-------"].concat();
        let ends = ["$", "+", "#"].map(|flag| format!("\r\n-------{id}{flag}\r\n"));
        if !ends
            .iter()
            .any(|end| all.windows(end.len()).any(|part| part == end.as_bytes()))
        {
            return body;
        }
    }
}

/// A frame of any kind from a far end.
pub fn frame(random: &mut StdRng, letter: char) -> Vec<u8> {
    let message_id = format!("m{}", random.random_range(0..6));
    frame_of(random, letter, &message_id).0
}

/// A frame of any kind of a message, and its body.
pub fn frame_of(random: &mut StdRng, letter: char, message_id: &str) -> (Vec<u8>, Vec<u8>) {
    let id = id(random);
    let (to, from) = (ours(letter), theirs(letter));
    let paths = format!("To-Path: {to}\r\nFrom-Path: {from}\r\n");
    let message = format!("Message-ID: {message_id}\r\n");
    let mark = format!("X-From: {letter}\r\n");
    let bodiless = match random.random_range(0..10) {
        0 => format!("MSRP {id} SEND\r\n{paths}{message}-------{id}$\r\n"),
        1 => {
            let status = "Status: 000 200 OK\r\nByte-Range: 1-5/5\r\n";
            format!("MSRP {id} REPORT\r\n{paths}{message}{mark}{status}-------{id}$\r\n")
        }
        2 => {
            let method = pick(random, &["NICKNAME", "PROBE", "AUTH"]);
            format!("MSRP {id} {method}\r\n{paths}{mark}-------{id}$\r\n")
        }
        _ => {
            let body = body(random, &id);
            let range = range(random, body.len());
            let report = pick(
                random,
                &[
                    "",
                    "Failure-Report: no\r\n",
                    "Failure-Report: partial\r\n",
                    "failure-report: yes\r\n",
                ],
            );
            let kind = "Content-Type: text/plain\r\n";
            let method = if random.random_ratio(1, 12) {
                "REPORT"
            } else {
                "SEND"
            };
            let head =
                format!("MSRP {id} {method}\r\n{paths}{message}{mark}{range}{report}{kind}\r\n");
            let end = format!("\r\n-------{id}{}\r\n", pick(random, &["$", "+", "$", "#"]));
            let bytes = [head.as_bytes(), &body, end.as_bytes()].concat();
            return (bytes, body);
        }
    };
    (bodiless.into_bytes(), Vec::new())
}

fn range(random: &mut StdRng, len: usize) -> String {
    match random.random_range(0..5) {
        0 => String::new(),
        1 => format!("Byte-Range: 1-{len}/{len}\r\n"),
        2 => format!("byte-range: 1-*/{len}\r\n"),
        3 => "Byte-Range: 18446744073709551000-*/*\r\n".to_owned(),
        _ => "Byte-Range: 1-*/*\r\n".to_owned(),
    }
}
