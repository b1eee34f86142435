//! Far ends that send no more and still read: in memory, and over real sockets.
#![expect(clippy::disallowed_types, reason = "the far ends write text")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::api::{BackendKind, Event, Side};
use crate::net::SocketId;
use crate::net::uring::Uring;

use super::closing::{A_PATH, Ends, ends, pause, read, send};
use super::fake::World;
use super::msrp::{B_PATH, Chat, chat};

fn is_there(world: &World, socket: SocketId) -> bool {
    world.net.borrow().sockets.contains_key(&socket.0)
}

fn lost(world: &mut World) -> Vec<Side> {
    let news = world.news.drain(..).map(|event| match event {
        Event::ConnectionLost { side, .. } => side,
        other => panic!("{other:?}"),
    });
    news.collect()
}

fn set_window(chat: &Chat, socket: SocketId, window: usize) {
    let mut net = chat.world.net.borrow_mut();
    net.sockets.get_mut(&socket.0).unwrap().window = window;
}

fn end(chat: &mut Chat, socket: SocketId) {
    chat.world.net.borrow_mut().end(socket);
    chat.world.cycle();
}

/// What B answers to the request that it got last.
fn answer_of_b(chat: &Chat, passed: &str, code: &str) -> String {
    let id = passed.rsplit("MSRP ").next().unwrap();
    let id = id.split(' ').next().unwrap();
    let ours = str::from_utf8(&chat.path[1]).unwrap();
    format!("MSRP {id} {code}\r\nTo-Path: {ours}\r\nFrom-Path: {B_PATH}\r\n-------{id}$\r\n")
}

#[test]
fn a_far_end_that_sends_no_more_and_is_owed_nothing_is_closed_at_once() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    end(&mut chat, a);
    assert!(!is_there(&chat.world, a));
    assert_eq!(lost(&mut chat.world), [Side::A]);
    end(&mut chat, b);
    assert!(!is_there(&chat.world, b));
    assert_eq!(lost(&mut chat.world), [Side::B]);
}

#[test]
fn what_waits_for_a_far_end_that_sends_no_more_is_written_before_the_close() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    set_window(&chat, b, 0);
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame);
    end(&mut chat, b);
    chat.world.pass(300);
    assert!(is_there(&chat.world, b), "not written yet");
    assert_eq!(lost(&mut chat.world), []);
    let frame = chat.send_from_a("abcd1235", Some("still there?"));
    chat.feed(a, &frame);
    let passed = chat.written(b);
    assert!(passed.contains("hello") && passed.contains("still there?"));
    chat.world.net.borrow_mut().open_window(b, 10_000);
    chat.written(a);
    chat.world.pass(200);
    assert!(!is_there(&chat.world, b));
    assert_eq!(lost(&mut chat.world), [Side::B]);
    // It can't have answered: both are reported.
    let told = chat.written(a);
    assert_eq!(told.matches("Status: 000 481").count(), 2, "{told}");
}

#[test]
fn a_report_on_what_it_sent_reaches_a_far_end_that_sends_no_more() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame);
    end(&mut chat, a);
    chat.world.pass(1000);
    assert!(is_there(&chat.world, a), "its message is not answered");
    chat.written(a);
    let passed = chat.written(b);
    let answer = answer_of_b(&chat, &passed, "413 No");
    let net = chat.world.net.clone();
    net.borrow_mut().feed(b, answer.as_bytes());
    chat.world.cycle();
    chat.world.pass(100);
    assert_eq!(chat.world.worker.stats.msrp_reported, 1);
    assert!(!is_there(&chat.world, a));
    assert_eq!(lost(&mut chat.world), [Side::A]);
}

#[test]
fn a_chunk_that_an_end_cuts_off_is_given_up_at_once() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    chat.written(b);
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame[..frame.len() - 25]);
    end(&mut chat, a);
    let passed = chat.written(b);
    assert!(passed.ends_with("#\r\n"), "{passed}");
    assert!(!is_there(&chat.world, a));
}

#[test]
fn a_far_end_that_sends_no_more_and_takes_nothing_is_closed_when_its_time_is_up() {
    let mut chat = chat();
    let a = chat.a;
    set_window(&chat, a, 0);
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame);
    end(&mut chat, a);
    chat.world.pass(31_900);
    assert!(is_there(&chat.world, a));
    chat.world.pass(200);
    assert!(!is_there(&chat.world, a));
    assert_eq!(lost(&mut chat.world), [Side::A]);
}

/// A has told all it has to tell and reads slowly what B sends it.
fn a_client_that_sends_no_more_reads_to_the_end(backend: BackendKind) {
    let Ends {
        mut handle,
        mut a,
        mut b,
        path,
    } = ends(backend);
    let b_path = format!("msrp://{}/bbbb;tcp", b.local_addr().unwrap());
    let mut bind = [0; 4096];
    let count = read(&mut b, &mut bind);
    let id = str::from_utf8(&bind[..count]).unwrap();
    let id = id.split(' ').nth(1).unwrap();
    let answer = format!(
        "MSRP {id} 200 OK\r\nTo-Path: {}\r\nFrom-Path: {b_path}\r\n-------{id}$\r\n",
        path[1]
    );
    b.write_all(answer.as_bytes()).unwrap();

    let body = "~".repeat(16 << 20);
    let message = send("long0001", &path[1], &b_path, Some(&body));
    let last = send("last0001", &path[0], A_PATH, Some("that is all"));
    let sender =
        std::thread::Builder::new().spawn(move || b.write_all(message.as_bytes()).map(|()| b));
    // The relay's queue for A is full.
    pause(Duration::from_millis(200));
    a.write_all(last.as_bytes()).unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    pause(Duration::from_millis(200));
    let reader = std::thread::Builder::new().spawn(move || {
        let mut heard = Vec::new();
        a.read_to_end(&mut heard).map(|_| heard)
    });
    let mut b = sender.unwrap().join().unwrap().expect("B is read");
    let told = until(&mut b, "that is all\r\n-------");
    let id = told.split(" SEND\r\n").next().unwrap();
    let id = id.rsplit(' ').next().unwrap();
    let refusal = format!(
        "MSRP {id} 413 No\r\nTo-Path: {}\r\nFrom-Path: {b_path}\r\n-------{id}$\r\n",
        path[1]
    );
    b.write_all(refusal.as_bytes()).unwrap();
    let heard = reader.unwrap().join().unwrap().expect("no reset");
    let heard = String::from_utf8(heard).unwrap();
    assert_eq!(heard.matches('~').count(), body.len());
    assert!(heard.contains("MSRP last0001 200"), "the answer arrives");
    assert!(heard.contains("Status: 000 413"), "the report arrives");
    drop(b);
    while handle.board.load().sockets > 1 {
        let _news = handle.link.news();
        pause(Duration::from_millis(5));
    }
}

/// Reads until something came.
fn until(far: &mut TcpStream, what: &str) -> String {
    let (mut heard, mut buffer) = (String::new(), [0; 4096]);
    while !heard.contains(what) {
        let count = read(far, &mut buffer);
        assert!(count > 0, "it ended: {heard}");
        heard += str::from_utf8(&buffer[..count]).unwrap();
    }
    heard
}

#[test]
fn a_client_that_sends_no_more_reads_to_the_end_over_epoll() {
    a_client_that_sends_no_more_reads_to_the_end(BackendKind::Epoll);
}

#[test]
fn a_client_that_sends_no_more_reads_to_the_end_over_io_uring() {
    match Uring::probe() {
        Ok(()) => a_client_that_sends_no_more_reads_to_the_end(BackendKind::Uring),
        Err(error) => println!("SKIPPED: this kernel has no io_uring for us: {error}"),
    }
}
