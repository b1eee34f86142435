//! Group sessions of SIPp's, with Kamailio as the core between the clients and the relay.

use std::net::SocketAddr;

use serde_json::Value;
use tests::live::kamailio::Core;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::live::sipp::{Plan, Sipp};
use tests::live::{eventually, needs};

/// Sessions, each of a group of its own.
const CALLS: u32 = 10;
const SESSIONS: usize = CALLS as usize;

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
    /// Alice has begun all sessions, and Bob is in; `None`: it can't be done here.
    fn begun() -> Option<(Self, [Sipp; 3])> {
        if !needs("live::group_core", &["kamailio", "sipp"]) {
            return None;
        }
        let mut scene = scene();
        let bob = Plan::server("uas_call", scene.bob, CALLS).start();
        let carol = Plan::server("uas_call", scene.carol, CALLS).start();
        let own = (scene.ports.one(), scene.ports.row(4));
        let plan = Plan::client("uac_group", own, CALLS, (scene.core.sip, ""));
        let alice = plan.with("ADDED", "carol").traced().start();
        scene.stands(&alice, "1 INVITE", 2);
        Some((scene, [alice, bob, carol]))
    }

    /// Waits until all of Alice's requests were taken, and so many are in each session.
    fn stands(&self, alice: &Sipp, number: &str, participants: u64) {
        let is_taken =
            |text: &str| text.contains("SIP/2.0 200 ") && text.contains(&format!("CSeq: {number}"));
        let stand = eventually(LONG, || {
            let sessions = self.relay.sessions();
            let is_so = |one: &Value| one["participants"] == participants;
            let count = sessions.iter().filter(|one| is_so(one)).count();
            count == SESSIONS && alice.told(is_taken) == SESSIONS
        });
        let sessions = self.relay.sessions();
        assert!(stand, "{number}: {}{sessions:#?}", alice.errors());
    }

    /// Every one's calls went as its scenario says, and nothing is left.
    fn ends(&self, all: impl IntoIterator<Item = Sipp>) {
        for one in all {
            let counts = one.succeeds(LONG);
            assert_eq!((counts.successful, counts.failed), (u64::from(CALLS), 0));
        }
        self.relay.assert_empty();
    }
}

/// Waits until the watchers of all sessions were told of a user's state.
fn are_told(watcher: &Sipp, user: &str, status: &str) {
    let entity = format!("entity=\"sip:{user}@");
    let status = format!("<status>{status}</status>");
    let is_said = |text: &str| {
        let mut users = text.split("<user ").skip(1);
        users.any(|one| one.contains(&entity) && one.contains(&status))
    };
    let told = eventually(LONG, || watcher.told(is_said) == SESSIONS);
    assert!(told, "{user} {status}: {}", watcher.errors());
}

#[test]
fn sgn_09_and_add_04_sipp_begins_adds_removes_and_leaves_through_kamailio() {
    let Some((scene, [alice, bob, carol])) = Scene::begun() else {
        return;
    };
    alice.go_on(1);
    scene.stands(&alice, "2 REFER", 3);
    alice.go_on(2);
    scene.stands(&alice, "3 REFER", 2);
    alice.go_on(3);
    scene.ends([alice, bob, carol]);
}

#[test]
fn pin_06_sipp_is_told_of_all_changes_through_kamailio_until_the_session_ends() {
    let Some((mut scene, [alice, bob, carol])) = Scene::begun() else {
        return;
    };
    let own = (scene.ports.one(), scene.ports.row(4));
    let mut watch = Plan::client("uac_watch", own, CALLS, (scene.core.sip, ""));
    watch.rate = 50;
    let watcher = watch.traced().start();
    are_told(&watcher, "bob", "connected");
    alice.go_on(1);
    scene.stands(&alice, "2 REFER", 3);
    are_told(&watcher, "carol", "connected");
    alice.go_on(2);
    scene.stands(&alice, "3 REFER", 2);
    are_told(&watcher, "bob", "disconnected");
    alice.go_on(3);
    scene.ends([alice, bob, carol, watcher]);
}
