//! A client behind another vendor's MSRP relay (RFC 4976): Kamailio between Alice and this relay.

use tests::live::kamailio::MsrpRelay;
use tests::live::scene::{Chat, Joined, LONG, Scene, join};
use tests::live::{eventually, needs};
use tests::peers::msrp::{Listener, Outgoing, Received, Relayed};

/// A chat whose calling side is behind a relay; her path has two URIs.
struct Behind {
    scene: Scene,
    joined: Joined,
    chat: Chat,
    relay: MsrpRelay,
    /// Alice's path as she offered it.
    path: String,
}

fn call() -> Behind {
    let mut scene = Scene::direct(|_| {});
    let relay = MsrpRelay::start(&mut scene.ports);
    let relayed = Relayed::ask(relay.address, MsrpRelay::CREDENTIALS).unwrap();
    let path = relayed.path();
    let b = Listener::bind(scene.ip());
    let offer = scene.offer().message(&path, &["setup:active"]).text();
    let answer = scene.offer().message(b.path(), &["setup:active"]).text();
    let joined = scene.call(&offer, &answer);
    let bob = join(&b, &joined.at_bob[0], None);
    let way = joined.at_alice[0].attribute("path").unwrap();
    let alice = relayed.join(way).unwrap();
    alice.bind().unwrap();
    // Kamailio answers for itself, and makes a second connection to the same hop for what comes
    // while the first one is being made: that is another than the session is bound to (506).
    let is_bound = eventually(LONG, || relay.output().contains("MSRP response 200"));
    assert!(is_bound, "{}", relay.output());
    Behind {
        scene,
        joined,
        chat: Chat { alice, bob },
        relay,
        path,
    }
}

impl Behind {
    fn end(mut self) {
        self.chat.assert_clean();
        self.scene.alice_hangs_up(&mut self.joined);
        assert!(self.chat.bob.is_closed(LONG));
        self.scene.relay.assert_empty();
        let output = self.relay.output();
        assert!(!output.contains("can't be relayed"), "{output}");
    }
}

#[test]
fn a_client_behind_a_relay_sends_and_receives_files_in_chunks_of_1_and_8_kb() {
    if !needs("live::msrp_relays", &["kamailio"]) {
        return;
    }
    let behind = call();
    let Chat { alice, bob } = &behind.chat;
    for (seed, chunk) in [(1, 1024), (2, 8 * 1024)] {
        for peer in [alice, bob] {
            let file = Outgoing::file(100_000, seed, chunk).with_success_report();
            peer.send(&file).unwrap();
            assert!(peer.is_answered(LONG));
        }
    }
    for peer in [alice, bob] {
        let messages = peer.messages(2, LONG);
        let all = messages.len() == 2 && messages.iter().all(Received::is_identical);
        assert!(all, "{messages:?}\n{}", behind.relay.output());
        let reports = peer.reports(2, LONG);
        let codes: Vec<u16> = reports.iter().map(|report| report.status).collect();
        assert_eq!(codes, [200, 200], "{reports:?}");
    }
    // What goes to Alice names the relay before her: the whole way of her description.
    let seen = behind.relay.output();
    for method in ["SEND", "REPORT"] {
        let due = format!("MSRP {method} to ({})", behind.path);
        assert!(seen.contains(&due), "{due} isn't in\n{seen}");
    }
    behind.end();
}

#[test]
fn what_a_client_behind_a_relay_wants_to_hear_of_failure_is_kept() {
    if !needs("live::msrp_relays", &["kamailio"]) {
        return;
    }
    let behind = call();
    let Chat { alice, bob } = &behind.chat;
    for (count, wish) in [(1, "yes"), (2, "partial"), (3, "no")] {
        for peer in [alice, bob] {
            let mut text = Outgoing::text(&format!("with {wish}"));
            text.failure_report = wish;
            peer.send(&text).unwrap();
        }
        for peer in [alice, bob] {
            let messages = peer.messages(count, LONG);
            let due = format!("with {wish}");
            let is_there = messages
                .iter()
                .any(|message| message.text == due.as_bytes());
            assert!(is_there, "{messages:?}\n{}", behind.relay.output());
        }
    }
    assert!(alice.is_answered(LONG) && bob.is_answered(LONG));
    assert_eq!(
        (alice.answered(), bob.answered()),
        (2, 2),
        "the bind and `yes`"
    );
    let reports = (alice.reports(0, LONG), bob.reports(0, LONG));
    assert_eq!(reports, (vec![], vec![]));
    behind.end();
}
