//! Two relays, one behind the other, each with a client.

use super::{Hash, Login, World, challenge, client, request, role, send};
use crate::api::RelayRole;
use crate::proto::msrp::ConnectionKey;

const INNER: &str = "msrps://192.0.2.2:2855;tcp";

/// A relay whose paths name another address.
fn inner() -> World {
    World::relaying_as(RelayRole {
        host: Some("192.0.2.2".into()),
        ..role()
    })
}

/// Carries what each relay wrote for the other, until there is nothing more.
fn carry(one: (&mut World, ConnectionKey), other: (&mut World, ConnectionKey)) {
    loop {
        let there = one.0.raw(one.1);
        if !there.is_empty() {
            other.0.send_octets(other.1, &there);
        }
        let back = other.0.raw(other.1);
        if !back.is_empty() {
            one.0.send_octets(one.1, &back);
        }
        if there.is_empty() && back.is_empty() {
            return;
        }
    }
}

#[test]
fn a_client_authenticates_at_a_relay_behind_its_own() {
    let (mut outer, mut inner) = (World::relaying(), inner());
    let (alice, path) = outer.client("alice");
    let from = client("alice");
    let to = format!("{path} {INNER}");
    outer.send(alice, request("ask2", "AUTH", (&to, &from), ""));
    let there = outer.next_hop().connection;
    let here = inner.tls();
    carry((&mut outer, there), (&mut inner, here));
    let asked = outer.read_one(alice);
    assert_eq!((&*asked.id, &*asked.what), ("ask2", "401 Unauthorized"));
    assert_eq!(asked.header("To-Path"), Some(&*from));
    assert_eq!(asked.header("From-Path"), Some(&*to));
    let (nonce, _) = challenge(&asked, Hash::Md5);
    let login = Login {
        hash: Hash::Md5,
        uri: INNER,
        ..Login::alice(&nonce)
    };
    outer.send(
        alice,
        request("in03", "AUTH", (&to, &from), &login.header()),
    );
    carry((&mut outer, there), (&mut inner, here));
    let answer = outer.read_one(alice);
    assert_eq!((&*answer.id, &*answer.what), ("in03", "200 OK"));
    let paths = answer.header("Use-Path").unwrap();
    let (second, first) = paths.split_once(' ').unwrap();
    assert!(second.starts_with("msrps://192.0.2.2:2855/"), "{second}");
    assert_eq!(first, &*path);

    // Anyone reaches her over both, and she reaches anyone.
    let stranger = inner.tls();
    let to = format!("{second} {first} {from}");
    inner.send(
        stranger,
        send("s001", (&to, "msrp://x.example:1/x;tcp"), "hi"),
    );
    carry((&mut outer, there), (&mut inner, here));
    let got = outer.read_one(alice);
    assert_eq!(got.header("To-Path"), Some(&*from));
    let back = format!("{first} {second} msrp://x.example:1/x;tcp");
    assert_eq!(got.header("From-Path"), Some(&*back));
    assert_eq!(&*inner.read_one(stranger).what, "200 OK");
    let far = "msrp://198.51.100.7:7000/far1;tcp";
    outer.send(
        alice,
        send("a001", (&format!("{first} {second} {far}"), &from), "hi"),
    );
    carry((&mut outer, there), (&mut inner, here));
    let hop = inner.next_hop().connection;
    let sent = inner.read_one(hop);
    assert_eq!(sent.header("To-Path"), Some(far));
    assert_eq!(
        sent.header("From-Path"),
        Some(&*format!("{second} {first} {from}"))
    );
}

#[test]
fn two_clients_of_two_relays_reach_each_other_and_hear_of_failures() {
    let (mut one, mut other) = (World::relaying(), inner());
    let (alice, of_alice) = one.client("alice");
    let (bob, of_bob) = other.client("bob");
    let to = format!("{of_alice} {of_bob} {}", client("bob"));
    one.send(alice, send("a001", (&to, &client("alice")), "hello"));
    let hop = one.next_hop();
    assert_eq!(hop.address, "192.0.2.2:2855".parse().unwrap());
    assert!(hop.transport.is_secure());
    let here = other.tls();
    carry((&mut one, hop.connection), (&mut other, here));
    let got = other.read_one(bob);
    assert_eq!(got.body.as_deref(), Some(&b"hello"[..]));
    let back = format!("{of_bob} {of_alice} {}", client("alice"));
    assert_eq!(got.header("From-Path"), Some(&*back));
    assert_eq!(&*one.read_one(alice).what, "200 OK");
    other.answer(bob, &got, "413 Stop");
    // Bob's relay tells Alice along the path; a REPORT is answered by nobody.
    carry((&mut one, hop.connection), (&mut other, here));
    let report = one.read_one(alice);
    assert_eq!(report.header("Status"), Some("000 413"));
    assert_eq!(report.header("Message-ID"), Some("m-a001"));
    assert_eq!(report.header("To-Path"), Some(&*client("alice")));
    let came = format!("{of_alice} {of_bob}");
    assert_eq!(report.header("From-Path"), Some(&*came));
    assert_eq!(one.counts(), (1, 0, 0));
    assert_eq!(other.counts(), (0, 1, 0));
    // The other way round it is a connection of its own, or the same one used in turn.
    other.send(bob, send("b001", (&back, &client("bob")), "hi"));
    let hop = other.next_hop().connection;
    let here = one.tls();
    carry((&mut other, hop), (&mut one, here));
    assert_eq!(one.read_one(alice).body.as_deref(), Some(&b"hi"[..]));
    assert_eq!(&*other.read_one(bob).what, "200 OK");
}
