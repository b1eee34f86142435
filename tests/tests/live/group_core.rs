//! Group sessions of SIPp's, with Kamailio as the core between the clients and the relay.

use std::net::SocketAddr;

use tests::live::kamailio::Core;
use tests::live::needs;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::live::sipp::{Plan, Sipp};

/// Sessions, each of a group of its own.
const CALLS: u32 = 10;
/// Between two steps of who begins a session, in milliseconds.
const HOLD_MS: &str = "900";

struct Scene {
    relay: Relay,
    core: Core,
    ports: Ports,
    bob: (u16, u16),
    carol: (u16, u16),
}

/// Groups of Alice and Bob, which end when Alice leaves; Carol may be added.
fn scene() -> Scene {
    let mut ports = Ports::take();
    let core = SocketAddr::from(([127, 0, 0, 1], ports.one()));
    let [bob, carol] = std::array::from_fn(|_| (ports.one(), ports.row(4)));
    let relay = Relay::start_with(|settings| {
        settings.set("sip", "next_hop", format!("\"sip:{core};transport=udp\""));
        for call in 1..=CALLS {
            let section = format!("group.\"sip:team{call}@groups.example\"");
            let members = "[\"sip:alice@core.example\", \"sip:bob@core.example\"]";
            settings.set(&section, "members", members);
            settings.set(&section, "remove", "\"participants\"");
            settings.set(&section, "originator_leaves_ends", true);
        }
    });
    let device = |user: &str, port: u16| format!("sip:{user}@127.0.0.1:{port};transport=udp");
    let (to_bob, to_carol) = (device("bob", bob.0), device("carol", carol.0));
    let users = [("bob", to_bob.as_str()), ("carol", to_carol.as_str())];
    let core = Core::of_groups(core, relay.sip, &users);
    Scene {
        relay,
        core,
        ports,
        bob,
        carol,
    }
}

impl Scene {
    /// Alice, who begins the sessions, adds Carol, removes Bob and leaves.
    fn alice(&mut self) -> Sipp {
        let own = (self.ports.one(), self.ports.row(4));
        let plan = Plan::client("uac_group", own, CALLS, (self.core.sip, ""));
        plan.with("HOLD_MS", HOLD_MS).with("ADDED", "carol").start()
    }
}

#[test]
fn sgn_09_and_add_04_sipp_begins_adds_removes_and_leaves_through_kamailio() {
    if !needs("live::group_core", &["kamailio", "sipp"]) {
        return;
    }
    let mut scene = scene();
    let bob = Plan::server("uas_call", scene.bob, CALLS).start();
    let carol = Plan::server("uas_call", scene.carol, CALLS).start();
    let alice = scene.alice();
    for one in [alice, bob, carol] {
        let counts = one.succeeds(LONG);
        assert_eq!((counts.successful, counts.failed), (u64::from(CALLS), 0));
    }
    scene.relay.assert_empty();
}

#[test]
fn pin_06_sipp_is_told_of_all_changes_through_kamailio_until_the_session_ends() {
    if !needs("live::group_core", &["kamailio", "sipp"]) {
        return;
    }
    let mut scene = scene();
    let bob = Plan::server("uas_call", scene.bob, CALLS).start();
    let carol = Plan::server("uas_call", scene.carol, CALLS).start();
    let alice = scene.alice();
    let begun = tests::live::eventually(LONG, || {
        u32::try_from(scene.relay.sessions().len()).is_ok_and(|count| count >= CALLS)
    });
    assert!(begun, "{:#?}", scene.relay.sessions());
    let own = (scene.ports.one(), scene.ports.row(4));
    let mut watch = Plan::client("uac_watch", own, CALLS, (scene.core.sip, ""));
    watch.rate = 50;
    let watcher = watch.start();
    for one in [alice, bob, carol, watcher] {
        let counts = one.succeeds(LONG);
        assert_eq!((counts.successful, counts.failed), (u64::from(CALLS), 0));
    }
    scene.relay.assert_empty();
}
