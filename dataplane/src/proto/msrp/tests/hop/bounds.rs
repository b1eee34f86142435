//! What stays bounded, waits, and ends when nobody uses it.

use super::{Hash, Login, RELAY, SECOND, World, client, request, role, send};
use crate::api::RelayRole;
use crate::limits::{MSRP_FLOWS, MSRP_UNBOUND_MS, MSRP_USE_PATHS_PER_CONNECTION};

const FAR: &str = "msrp://198.51.100.7:7000/far1;tcp";

#[test]
fn one_connection_is_given_so_many_paths_and_no_more() {
    let mut world = World::relaying();
    let key = world.tls();
    let nonce = world.nonce(key, Hash::Sha256);
    for at in 0..=MSRP_USE_PATHS_PER_CONNECTION {
        let nc = format!("{:08x}", at + 1);
        let login = Login {
            nc: &nc,
            ..Login::alice(&nonce)
        };
        let from = format!("msrps://alice.example:9892/session{at};tcp");
        world.send(
            key,
            request("many", "AUTH", (RELAY, &from), &login.header()),
        );
        let answer = world.read_one(key);
        if at < MSRP_USE_PATHS_PER_CONNECTION {
            assert_eq!(&*answer.what, "200 OK");
        } else {
            assert_eq!(&*answer.what, "403 Forbidden");
            assert_eq!(answer.header("Use-Path"), None);
        }
    }
    world.pass(SECOND);
    assert_eq!(world.stats.full_msrp_relay, 1);
    // Those that have expired make room.
    world.pass(901 * SECOND);
    world.use_path(key, "alice");
}

#[test]
fn the_oldest_pair_of_paths_makes_way_for_another() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let to = format!("{path} {}", client("alice"));
    let stranger = world.tls();
    for at in 0..MSRP_FLOWS + 100 {
        let from = format!("msrp://x.example:1/{at};tcp");
        world.send(stranger, send("s001", (&to, &from), "hi"));
        assert_eq!(&*world.read_one(stranger).what, "200 OK", "{at}");
        let got = world.read_one(alice);
        world.answer(alice, &got, "200 OK");
    }
    assert_eq!(world.stats.full_msrp_relay, 0);
}

#[test]
fn a_next_hop_that_takes_no_more_holds_its_sources_back() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let from = client("alice");
    let to = format!("{path} {FAR}");
    world.send(alice, send("tid1", (&to, &from), "hello"));
    let far = world.next_hop().connection;
    world.out.full.push(far);
    assert!(world.is_blocked(alice));
    // Something else that she sends doesn't make up for it.
    let other = format!("{path} msrp://198.51.100.8:7000/far2;tcp");
    world.send(alice, send("tid2", (&other, &from), "hello"));
    world.next_hop();
    assert!(world.is_blocked(alice));
    world.out.full.clear();
    assert!(!world.is_blocked(alice));
}

#[test]
fn a_connection_of_no_use_expires_and_one_that_passes_requests_does_not() {
    let mut world = World::relaying();
    let (alice, path) = world.client("alice");
    let (stranger, idle) = (world.tls(), world.tls());
    let to = format!("{path} {}", client("alice"));
    world.send(
        stranger,
        send("s001", (&to, "msrp://x.example:1/x;tcp"), "hi"),
    );
    let got = world.read_one(alice);
    world.answer(alice, &got, "200 OK");
    world.pass(std::time::Duration::from_millis(MSRP_UNBOUND_MS));
    assert_eq!(world.relay.expired(world.now), Some(idle));
    assert_eq!(world.relay.expired(world.now), None);
}

#[test]
fn what_lies_idle_for_an_hour_is_closed_but_not_a_client_with_a_path() {
    let mut world = World::relaying_as(RelayRole {
        expires: crate::api::PathExpiry {
            least: 60,
            usual: 36_000,
            most: 36_000,
        },
        ..role()
    });
    let (alice, path) = world.client("alice");
    let from = client("alice");
    world.send(
        alice,
        send("tid1", (&format!("{path} {FAR}"), &from), "hello"),
    );
    let far = world.next_hop().connection;
    let sent = world.read_one(far);
    world.answer(far, &sent, "200 OK");
    world.pass(3599 * SECOND);
    assert_eq!(world.relay.expired(world.now), None);
    world.pass(SECOND);
    assert_eq!(world.relay.expired(world.now), Some(far));
    world.close(far);
    assert_eq!(world.relay.expired(world.now), None);
    // Once its path has expired, it is one that lies idle.
    world.pass(36_000 * SECOND);
    let gone = world.relay.expired(world.now);
    world.pass(3600 * SECOND);
    let later = world.relay.expired(world.now);
    assert_eq!(gone.or(later), Some(alice));
    assert_eq!(world.stats.msrp_next_hops, 0);
}

#[test]
fn a_flood_of_auths_keeps_nothing() {
    let mut world = World::relaying();
    let key = world.tls();
    let from = client("alice");
    let ask = request("ask1", "AUTH", (RELAY, &from), "");
    for _ in 0..2000 {
        world.send(key, &ask);
        assert_eq!(&*world.read_one(key).what, "401 Unauthorized");
    }
    world.pass(SECOND);
    assert_eq!(world.stats.msrp_auths_refused, 2000);
    assert_eq!(world.stats.msrp_use_paths, 0);
    world.pass(30 * SECOND);
    assert_eq!(
        world.relay.expired(world.now),
        Some(key),
        "it stays for 30 s only"
    );
}
