//! This relay in the role of RFC 4976, with Kamailio as the relay of the other client: two clients
//! that authenticate each at its own, and no session control at all.

use md5::{Digest as _, Md5};
use tests::live::eventually;
use tests::live::kamailio::MsrpRelay;
use tests::live::needs;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::peers::msrp::{Outgoing, Peer, Received, Relayed};

const REALM: &str = "relay.example";

/// Alice behind this relay, Bob behind Kamailio.
struct Behind {
    alice: Peer,
    bob: Peer,
    relay: Relay,
    kamailio: MsrpRelay,
    _ports: Ports,
}

fn meet() -> Option<Behind> {
    if !needs("live::msrp_hops", &["kamailio"]) {
        return None;
    }
    let mut ports = Ports::take();
    let port = ports.one();
    let (user, password) = MsrpRelay::CREDENTIALS;
    let hash = Md5::digest(format!("{user}:{REALM}:{password}"));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let relay = Relay::start_with(|settings| {
        let users = format!(r#"[{{ user = "{user}", ha1_md5 = "{hash}" }}]"#);
        settings
            .set("msrp", "port_first", port)
            .set("msrp_relay", "realm", format!(r#""{REALM}""#))
            .set("msrp_relay", "users", users)
            .set("msrp_relay", "auth_without_tls", true);
    });
    let kamailio = MsrpRelay::start(&mut ports);
    let at = ([127, 0, 0, 1], port).into();
    let alice = Relayed::ask(at, MsrpRelay::CREDENTIALS).unwrap();
    let bob = Relayed::ask(kamailio.address, MsrpRelay::CREDENTIALS).unwrap();
    let (of_alice, of_bob) = (alice.path(), bob.path());
    let (alice, bob) = (alice.join(&of_bob).unwrap(), bob.join(&of_alice).unwrap());
    alice.bind().unwrap();
    bob.bind().unwrap();
    Some(Behind {
        alice,
        bob,
        relay,
        kamailio,
        _ports: ports,
    })
}

#[test]
fn clients_of_two_relays_send_each_other_files_and_hear_that_they_came() {
    let Some(behind) = meet() else { return };
    let Behind { alice, bob, .. } = &behind;
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
        assert!(all, "{messages:?}\n{}", behind.kamailio.output());
        let reports = peer.reports(2, LONG);
        let codes: Vec<u16> = reports.iter().map(|report| report.status).collect();
        assert_eq!(codes, [200, 200], "{reports:?}");
        assert_eq!(peer.problems(), Vec::<String>::new());
    }
    let counted = ["msrp_auths_total", "msrp_next_hops"];
    for name in counted {
        let is_one = eventually(LONG, || behind.relay.metric(&[name]) == 1.0);
        assert!(is_one, "{name}: {:?}", behind.relay.metrics());
    }
}

#[test]
fn a_client_hears_that_the_other_relay_has_gone() {
    let Some(Behind {
        alice,
        bob,
        relay,
        kamailio,
        _ports,
    }) = meet()
    else {
        return;
    };
    alice.send(&Outgoing::text("before")).unwrap();
    assert_eq!(bob.messages(1, LONG).len(), 1);
    drop(kamailio);
    let gone = eventually(LONG, || relay.metric(&["msrp_next_hops"]) == 0.0);
    assert!(gone, "the connection to Kamailio is still there");
    alice.send(&Outgoing::text("after")).unwrap();
    let refused = eventually(LONG, || alice.refused() == [481]);
    assert!(refused, "{:?}", alice.refused());
}
