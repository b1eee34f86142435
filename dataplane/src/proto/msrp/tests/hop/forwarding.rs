//! Requests through a Use-Path.

use super::{RELAY, SECOND, World, client, request, send};
use crate::proto::msrp::ConnectionKey;
use crate::stats::DropReason;

/// A client's URI that can be connected to.
const FAR: &str = "msrp://198.51.100.7:7000/far1;tcp";

/// Alice, her Use-Path, and a next hop that she sent a first message to.
fn connected(world: &mut World) -> (ConnectionKey, Box<str>, ConnectionKey) {
    let (alice, path) = world.client("alice");
    let to = format!("{path} {FAR}");
    world.send(alice, send("tid1", (&to, &client("alice")), "hello"));
    let far = world.next_hop().connection;
    let sent = world.read_one(far);
    world.answer(far, &sent, "200 OK");
    assert_eq!(&*world.read_one(alice).what, "200 OK");
    (alice, path, far)
}

#[test]
fn a_clients_send_goes_on_to_the_next_hop_once_it_is_connected() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let to = format!("{path} {FAR} msrp://198.51.100.8:7000/farther;tcp");
    world.send(alice, send("tid1", (&to, &client("alice")), "hello"));
    assert!(world.is_blocked(alice) && world.raw(alice).is_empty());
    let hop = world.next_hop();
    assert_eq!(hop.address, "198.51.100.7:7000".parse().unwrap());
    assert!(!hop.transport.is_secure());
    let sent = world.read_one(hop.connection);
    assert_ne!(&*sent.id, "tid1");
    let found: Vec<(&str, &str)> = sent.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let onward = format!("{FAR} msrp://198.51.100.8:7000/farther;tcp");
    let came = format!("{path} {}", client("alice"));
    let expected = [
        ("To-Path", &*onward),
        ("From-Path", &*came),
        ("Message-ID", "m-tid1"),
        ("Byte-Range", "1-5/5"),
        ("Content-Type", "text/plain"),
    ];
    assert_eq!(found, expected);
    assert_eq!(sent.body.as_deref(), Some(&b"hello"[..]));
    let answer = world.read_one(alice);
    assert_eq!((&*answer.id, &*answer.what), ("tid1", "200 OK"));
    assert_eq!(answer.header("To-Path"), Some(&*client("alice")));
    assert_eq!(answer.header("From-Path"), Some(&*path));
    assert!(!world.is_blocked(alice));
    world.answer(hop.connection, &sent, "200 OK");
    assert!(world.raw(alice).is_empty(), "a SEND's response went on");
    assert_eq!(world.counts(), (1, 0, 0));
}

#[test]
fn next_hops_with_one_address_share_a_connection_and_others_do_not() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let from = client("alice");
    let same = format!("{path} msrp://198.51.100.7:7000/other;tcp");
    world.send(alice, send("tid2", (&same, &from), "two"));
    assert_eq!(world.read(far).len(), 1);
    for other in [
        "msrps://198.51.100.7:7000/other;tcp",
        "msrp://198.51.100.7:7001/other;tcp",
        "msrp://[2001:db8::7]:7000/other;tcp",
        "msrp://198.51.100.7/other;tcp",
    ] {
        let to = format!("{path} {other}");
        world.send(alice, send("tid3", (&to, &from), "three"));
        let hop = world.next_hop();
        assert_eq!(hop.transport.is_secure(), other.starts_with("msrps"));
        assert_eq!(world.read(hop.connection).len(), 1, "{other}");
    }
}

#[test]
fn anyone_may_send_to_the_client_and_to_nobody_else_through_its_path() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    world.raw(alice);
    let stranger = world.door(crate::api::MsrpTransport::Tcp);
    let to = format!("{path} {}", client("alice"));
    for (key, from) in [(far, FAR), (stranger, "msrp://203.0.113.9:1/x;tcp")] {
        world.send(key, send("in01", (&to, from), "hi"));
        assert_eq!(&*world.read_one(key).what, "200 OK");
        let got = world.read_one(alice);
        assert_eq!(got.header("To-Path"), Some(&*client("alice")));
        assert_eq!(got.header("From-Path"), Some(&*format!("{path} {from}")));
        world.answer(alice, &got, "200 OK");
    }
    let from = client("alice");
    for to in [
        &*format!("{path} {FAR}"),
        &*format!("{path} msrp://203.0.113.1:2855/x;tcp {from}"),
        &path,
    ] {
        world.send(stranger, send("open1", (to, &from), "hi"));
        assert_eq!(&*world.read_one(stranger).what, "403 Forbidden", "{to}");
    }
    assert_eq!(world.relay.wanted(), None);
    assert!(world.raw(far).is_empty() && world.raw(alice).is_empty());
}

#[test]
fn a_client_sends_in_its_own_name_only() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {FAR}");
    for from in [
        &*client("bob"),
        &*format!("msrp://203.0.113.1:1/relay;tcp {}", client("alice")),
    ] {
        world.send(alice, send("name1", (&to, from), "hi"));
        assert_eq!(&*world.read_one(alice).what, "403 Forbidden", "{from}");
    }
    assert!(world.raw(far).is_empty());
}

#[test]
fn a_path_that_was_not_given_out_is_unknown() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    for ours in [
        &*path.replace("msrps://", "msrp://"),
        &*path.replace(":2855", ":2856"),
        "msrps://192.0.2.1:2855/00000000000000000000000000000000;tcp",
        RELAY,
    ] {
        let to = format!("{ours} {FAR}");
        world.send(alice, send("lost1", (&to, &client("alice")), "hi"));
        assert_eq!(
            &*world.read_one(alice).what,
            "481 No Such Session",
            "{ours}"
        );
    }
}

#[test]
fn two_clients_of_one_relay_reach_each_other() {
    let mut world = World::relaying();
    let (alice, of_alice) = world.client("alice");
    let (bob, of_bob) = world.client("bob");
    let to = format!("{of_alice} {of_bob} {}", client("bob"));
    world.send(alice, send("tid1", (&to, &client("alice")), "hello"));
    let got = world.read_one(bob);
    assert_eq!(got.header("To-Path"), Some(&*client("bob")));
    let back = format!("{of_bob} {of_alice} {}", client("alice"));
    assert_eq!(got.header("From-Path"), Some(&*back));
    assert_eq!(&*world.read_one(alice).what, "200 OK");
    world.answer(bob, &got, "200 OK");
    let report = "Message-ID: m-tid1\r\nByte-Range: 1-5/5\r\nStatus: 000 200 OK\r\n";
    world.send(
        bob,
        request("rep1", "REPORT", (&back, &client("bob")), report),
    );
    let report = world.read_one(alice);
    assert_eq!(&*report.what, "REPORT");
    assert_eq!(report.header("From-Path"), Some(&*to));
    // RFC 4976 §6.4.2: the response names the whole way back.
    world.send(
        alice,
        request("nick", "NICKNAME", (&to, &client("alice")), ""),
    );
    let nickname = world.read_one(bob);
    world.answer(bob, &nickname, "425 Reserved");
    let answer = world.read_one(alice);
    assert_eq!((&*answer.id, &*answer.what), ("nick", "425 Reserved"));
    assert_eq!(answer.header("To-Path"), Some(&*client("alice")));
    assert_eq!(answer.header("From-Path"), Some(&*to));
    // Bob may not be reached through Alice by somebody else.
    let stranger = world.tls();
    world.send(stranger, send("open1", (&to, &client("alice")), "hi"));
    assert_eq!(&*world.read_one(stranger).what, "403 Forbidden");
}

#[test]
fn a_failure_at_the_next_hop_is_reported_to_the_client() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {FAR}");
    world.send(alice, send("tid2", (&to, &client("alice")), "hello"));
    world.raw(alice);
    let sent = world.read_one(far);
    world.answer(far, &sent, "415 Unsupported");
    let report = world.read_one(alice);
    assert_eq!(&*report.what, "REPORT");
    assert_eq!(report.header("To-Path"), Some(&*client("alice")));
    assert_eq!(report.header("From-Path"), Some(&*path));
    assert_eq!(report.header("Status"), Some("000 415"));
    assert_eq!(report.header("Message-ID"), Some("m-tid2"));
    assert_eq!(report.header("Byte-Range"), Some("1-5/5"));
    world.send(alice, send("tid3", (&to, &client("alice")), "hello"));
    world.raw(alice);
    world.pass(31 * SECOND);
    let report = world.read_one(alice);
    assert_eq!(report.header("Status"), Some("000 408"));
    assert_eq!(report.header("Message-ID"), Some("m-tid3"));
}

#[test]
fn a_failure_of_what_came_over_relays_is_reported_all_the_way_back() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let other = world.tls();
    let to = format!("{path} {}", client("alice"));
    let from = "msrps://203.0.113.1:2855/theirs;tcp msrps://bob.example:1/b;tcp";
    world.send(other, send("in01", (&to, from), "hi"));
    world.raw(other);
    world.raw(alice);
    world.close(alice);
    let report = world.read_one(other);
    assert_eq!(report.header("To-Path"), Some(from));
    assert_eq!(report.header("From-Path"), Some(&*path));
    assert_eq!(report.header("Status"), Some("000 481"));
}

#[test]
fn a_path_dies_with_its_connection() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {}", client("alice"));
    world.send(far, send("in01", (&to, FAR), "hi"));
    world.raw(far);
    world.close(alice);
    assert_eq!(world.read_one(far).header("Status"), Some("000 481"));
    world.send(far, send("in02", (&to, FAR), "hi"));
    assert_eq!(&*world.read_one(far).what, "481 No Such Session");
    assert_eq!(world.stats.msrp_use_paths, 0);
}

#[test]
fn a_chunk_in_flight_is_given_up_when_the_client_goes() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let whole = send(
        "tid2",
        (&format!("{path} {FAR}"), &client("alice")),
        "hello",
    );
    let (half, _) = whole.split_at(whole.len() - 20);
    world.send(alice, half);
    world.close(alice);
    assert_eq!(world.read_one(far).flag, '#');
}

#[test]
fn a_lost_next_hop_is_reported_and_connected_again_for_the_next_request() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {FAR}");
    world.send(alice, send("tid2", (&to, &client("alice")), "hello"));
    world.raw(alice);
    world.raw(far);
    world.close(far);
    assert_eq!(world.read_one(alice).header("Status"), Some("000 481"));
    world.send(alice, send("tid3", (&to, &client("alice")), "again"));
    let hop = world.next_hop();
    assert_eq!(world.read(hop.connection).len(), 1);
}

#[test]
fn a_next_hop_that_cannot_be_reached_is_answered_at_once_and_tried_again_later() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let to = format!("{path} {FAR}");
    let frame = send("tid1", (&to, &client("alice")), "hello");
    world.send(alice, &frame);
    let hop = world.relay.wanted().unwrap();
    world.close(hop.connection);
    assert_eq!(&*world.read_one(alice).what, "481 No Such Session");
    assert!(!world.is_blocked(alice));
    world.send(alice, &frame);
    assert_eq!(&*world.read_one(alice).what, "481 No Such Session");
    assert_eq!(world.relay.wanted(), None);
    world.pass(6 * SECOND);
    world.send(alice, &frame);
    let hop = world.next_hop();
    assert_eq!(world.read(hop.connection).len(), 1);
    assert_eq!(world.stats.drops[DropReason::NoNextHop as usize], 2);
}

#[test]
fn a_next_hop_that_does_not_answer_is_given_up_in_time() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let to = format!("{path} {FAR}");
    world.send(alice, send("tid1", (&to, &client("alice")), "hello"));
    let hop = world.relay.wanted().unwrap();
    world.pass(4 * SECOND);
    assert_eq!(world.relay.expired(world.now), None);
    world.pass(SECOND);
    assert_eq!(world.relay.expired(world.now), Some(hop.connection));
    world.close(hop.connection);
    assert_eq!(&*world.read_one(alice).what, "481 No Such Session");
}

#[test]
fn a_next_hop_that_is_no_address_or_no_tcp_is_unreachable() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    for hop in [
        "msrp://far.example:7000/far1;tcp",
        "msrp://198.51.100.7:7000/far1;ws",
        "msrp://0.0.0.0:7000/far1;tcp",
        "msrp://224.0.0.1:7000/far1;tcp",
        "msrp://198.51.100.7:0/far1;tcp",
    ] {
        let to = format!("{path} {hop}");
        world.send(alice, send("tid1", (&to, &client("alice")), "hello"));
        assert_eq!(&*world.read_one(alice).what, "481 No Such Session", "{hop}");
        assert_eq!(world.relay.wanted(), None);
    }
}

#[test]
fn a_send_without_content_goes_on_as_the_far_end_may_wait_for_it() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {FAR}");
    for (mode, answers) in [("yes", 1), ("partial", 0), ("no", 0)] {
        let headers = format!("Message-ID: keep\r\nFailure-Report: {mode}\r\n");
        world.send(
            alice,
            request("bind", "SEND", (&to, &client("alice")), &headers),
        );
        let sent = world.read_one(far);
        assert_eq!((&*sent.what, sent.body.is_some()), ("SEND", false));
        assert_eq!(sent.header("To-Path"), Some(FAR));
        assert_eq!(world.read(alice).len(), answers, "{mode}");
        if mode != "no" {
            world.answer(far, &sent, "200 OK");
        }
    }
    world.pass(31 * SECOND);
    assert_eq!(world.counts(), (4, 0, 0));
    assert!(world.raw(alice).is_empty());
}

#[test]
fn other_methods_cross_and_their_responses_come_back() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let to = format!("{path} {FAR}");
    world.send(
        alice,
        request("odd1", "PROBE", (&to, &client("alice")), "X-Odd: 1\r\n"),
    );
    let probe = world.read_one(far);
    assert_eq!((&*probe.what, probe.header("X-Odd")), ("PROBE", Some("1")));
    assert!(world.raw(alice).is_empty());
    world.answer(far, &probe, "501 Unknown");
    let answer = world.read_one(alice);
    assert_eq!((&*answer.id, &*answer.what), ("odd1", "501 Unknown"));
    assert_eq!(answer.header("To-Path"), Some(&*client("alice")));
    assert_eq!(answer.header("From-Path"), Some(&*to));
}

#[test]
fn a_chunk_that_makes_way_goes_on_with_the_same_paths() {
    let mut world = World::relaying();
    let (alice, path, far) = connected(&mut world);
    let (to, from) = (format!("{path} {FAR}"), client("alice"));
    world.send(
        alice,
        format!(
            "MSRP tid2 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m2\r\n\
             Byte-Range: 1-*/8\r\nContent-Type: text/plain\r\n\r\nhalf"
        ),
    );
    // What is refused is answered where her chunk is being written.
    world.send(far, send("in01", (&path, FAR), "hi"));
    let frames = world.read(far);
    assert_eq!((&*frames[0].what, frames[0].flag), ("SEND", '+'));
    assert_eq!(&*frames[1].what, "403 Forbidden");
    world.send(alice, "half\r\n-------tid2$\r\n");
    let rest = world.read_one(far);
    for piece in [&frames[0], &rest] {
        assert_eq!(piece.header("To-Path"), Some(FAR));
        assert_eq!(piece.header("From-Path"), Some(&*format!("{path} {from}")));
    }
    assert_eq!(rest.header("Byte-Range"), Some("5-*/8"));
}
