use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Listener, Outgoing, Pace, Peer, path};

const LONG: Duration = Duration::from_secs(30);

/// Two peers on one connection; the one that listens reads at `pace`.
fn pair(pace: Pace) -> (Peer, Peer) {
    let listener = Listener::bind(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let own = path((Ipv4Addr::LOCALHOST, 9).into());
    let active = Peer::connect(&own, listener.path(), None).expect("the listener is there");
    let passive = listener
        .accept(&own, pace, LONG)
        .expect("the peer has connected");
    (active, passive)
}

#[test]
fn a_file_arrives_identical_in_chunks_of_any_size() {
    let (a, b) = pair(None);
    a.bind().expect("the bind is answered");
    for (seed, chunk) in [(1, 2048), (2, 10 * 1024), (3, u64::MAX)] {
        a.send(&Outgoing::file(1_000_003, seed, chunk).with_success_report())
            .unwrap();
    }
    let messages = b.messages(3, LONG);
    assert_eq!(messages.len(), 3);
    assert!(
        messages.iter().all(super::Received::is_identical),
        "{messages:?}"
    );
    assert!(a.is_answered(LONG));
    assert_eq!(a.reports(3, LONG).len(), 3);
    assert_eq!((a.refused(), a.problems()), (vec![], vec![]));
    assert_eq!((b.bodiless(), b.problems()), (1, vec![]));
}

#[test]
fn both_sides_send_at_the_same_time() {
    let (a, b) = pair(None);
    std::thread::scope(|scope| {
        scope.spawn(|| a.send(&Outgoing::file(3_000_000, 1, 10 * 1024)).unwrap());
        scope.spawn(|| b.send(&Outgoing::file(3_000_000, 2, 2048)).unwrap());
    });
    assert!(a.messages(1, LONG)[0].is_identical());
    assert!(b.messages(1, LONG)[0].is_identical());
}

#[test]
fn a_body_may_look_like_an_end_line() {
    let (a, b) = pair(None);
    let text = "one\r\n-------\r\n-------abcd$\r\n\r\n-------";
    a.send(&Outgoing::text(text)).unwrap();
    assert_eq!(b.messages(1, LONG)[0].text, text.as_bytes());
}

#[test]
fn an_end_line_of_the_right_transaction_with_a_wrong_flag_is_body() {
    let (a, b) = pair(None);
    let (to, from) = (a.shared.remote.clone(), a.shared.own.clone());
    let head = format!("To-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m1\r\n");
    let frame = format!(
        "MSRP tid12345 SEND\r\n{head}Failure-Report: no\r\nContent-Type: text/plain\r\n\r\n\
         x\r\n-------tid12345X\r\ny\r\n-------tid12345$\r\n"
    );
    for byte in frame.bytes() {
        a.throw(&[byte]).unwrap();
    }
    let messages = b.messages(1, LONG);
    assert_eq!(messages[0].text, b"x\r\n-------tid12345X\r\ny");
    assert_eq!(b.problems(), Vec::<String>::new());
}

#[test]
fn a_damaged_byte_is_found() {
    let (a, b) = pair(None);
    let (to, from) = (a.shared.remote.clone(), a.shared.own.clone());
    let frame = format!(
        "MSRP tid12345 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m1\r\n\
         Byte-Range: 1-3/3\r\nFailure-Report: no\r\nContent-Type: a/b;seed=5\r\n\r\n\
         abc\r\n-------tid12345$\r\n"
    );
    a.throw(frame.as_bytes()).unwrap();
    let messages = b.messages(1, LONG);
    assert!(messages[0].finished && !messages[0].is_identical());
}

#[test]
fn a_slow_reader_takes_its_time() {
    let (a, b) = pair(Some(4_000_000));
    let begin = std::time::Instant::now();
    a.send(&Outgoing::file(2_000_000, 1, u64::MAX)).unwrap();
    assert!(b.messages(1, LONG)[0].is_identical());
    assert!(begin.elapsed() >= Duration::from_millis(450));
}

#[test]
fn a_closed_connection_is_noticed() {
    let (a, b) = pair(None);
    drop(a);
    assert!(b.is_closed(LONG));
}
