//! MSRP over TLS that ends at the relay, TLS that passes it, and CEMA that only one client has.

use std::net::SocketAddr;

use tests::live::scene::{Joined, LONG, Scene};
use tests::peers::msrp::{Listener, Outgoing, Peer};
use tests::peers::sdp::Media;
use tests::peers::tls::Identity;

/// A client's place for MSRP and who it is.
struct Client {
    listener: Listener,
    identity: Identity,
    is_secure: bool,
}

impl Client {
    fn new(scene: &Scene, is_secure: bool) -> Self {
        Self {
            listener: if is_secure {
                Listener::bind_tls(scene.ip())
            } else {
                Listener::bind(scene.ip())
            },
            identity: Identity::new(),
            is_secure,
        }
    }

    /// Its description, with further attributes.
    fn says(&self, scene: &Scene, attributes: &[&str]) -> String {
        let fingerprint = format!("fingerprint:{}", self.identity.fingerprint());
        let mut all = attributes.to_vec();
        if self.is_secure {
            all.push(&fingerprint);
        }
        scene.offer().message(self.listener.path(), &all).text()
    }

    fn own(&self) -> &str {
        self.listener.path()
    }

    /// Connects to the relay as its answer or offer says, and binds.
    fn join(&self, told: &Media) -> Peer {
        let peer = self.connect(told, path(told));
        peer.bind().unwrap();
        peer
    }

    /// Connects to where c= and m= say, to talk to a path.
    fn connect(&self, told: &Media, remote: &str) -> Peer {
        if !self.is_secure {
            return Peer::connect_to(told.address(), self.own(), remote, None).unwrap();
        }
        let ends = (self.own(), remote);
        let (peer, shown) = Peer::connect_tls(told.address(), ends, &self.identity).unwrap();
        assert_eq!(
            shown.as_deref(),
            told.attribute("fingerprint"),
            "another's certificate"
        );
        peer
    }

    /// Takes the connection that the relay makes.
    fn accept(&self, told: &Media) -> Peer {
        let remote = path(told);
        if !self.is_secure {
            return self.listener.accept(remote, None, LONG).unwrap();
        }
        let taken = self.listener.accept_tls(remote, &self.identity, LONG);
        let (peer, shown) = taken.unwrap();
        assert_eq!(
            shown.as_deref(),
            told.attribute("fingerprint"),
            "another's certificate"
        );
        peer
    }
}

fn path(told: &Media) -> &str {
    told.attribute("path").unwrap()
}

/// What stands in c= and m= is in the path, and the relay's own.
fn assert_is_relays(told: &Media, is_secure: bool) {
    let scheme = if is_secure { "msrps" } else { "msrp" };
    let start = format!("{scheme}://{}/", told.address());
    assert!(path(told).starts_with(&start), "{told:?}");
    assert_eq!(
        told.attribute("fingerprint").is_some(),
        is_secure,
        "{told:?}"
    );
}

/// A word and 10 MB each way.
fn exchange(alice: &Peer, bob: &Peer) {
    const FILE: u64 = 10 * 1024 * 1024;
    for (from, to) in [(alice, bob), (bob, alice)] {
        from.send(&Outgoing::text("hello")).unwrap();
        assert_eq!(to.messages(1, LONG)[0].text, b"hello");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| alice.send(&Outgoing::file(FILE, 3, 2048)).unwrap());
        scope.spawn(|| bob.send(&Outgoing::file(FILE, 4, 100_000)).unwrap());
    });
    for (from, to) in [(alice, bob), (bob, alice)] {
        let messages = to.messages(2, LONG);
        let files = messages
            .iter()
            .filter(|message| message.total == Some(FILE));
        let whole = files.filter(|message| message.is_identical()).count();
        assert_eq!(whole, 1, "{messages:?} {:?}", to.problems());
        assert!(from.is_answered(LONG) && from.refused().is_empty());
        assert!(from.problems().is_empty(), "{:?}", from.problems());
    }
}

fn hang_up(scene: &mut Scene, joined: &mut Joined, (alice, bob): (&Peer, &Peer)) {
    scene.alice_hangs_up(joined);
    assert!(alice.is_closed(LONG) && bob.is_closed(LONG));
    scene.relay.assert_empty();
}

#[test]
fn tls_ends_at_the_relay_on_both_sides() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:actpass"]);
    let answer = b.says(&scene, &["setup:active"]);

    let mut joined = scene.call(&offer, &answer);
    assert_is_relays(&joined.at_alice[0], true);
    assert_is_relays(&joined.at_bob[0], true);
    let (bob, alice) = (b.join(&joined.at_bob[0]), a.join(&joined.at_alice[0]));

    exchange(&alice, &bob);
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn the_relay_connects_over_tls_and_shows_its_certificate() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:active"]);
    let answer = b.says(&scene, &["setup:passive"]);

    let mut joined = scene.call(&offer, &answer);
    let bob = b.accept(&joined.at_bob[0]);
    let alice = a.join(&joined.at_alice[0]);

    exchange(&alice, &bob);
    assert!(bob.bodiless() >= 1, "who connects owes the bind");
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn a_client_over_tls_and_one_over_tcp_understand_each_other() {
    let mut scene = Scene::direct(|settings| {
        settings.set("msrp", "toward", "\"tcp\"");
    });
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, false));
    let offer = a.says(&scene, &["setup:actpass", "msrp-cema"]);
    let answer = b.says(&scene, &["setup:active"]);

    let mut joined = scene.call(&offer, &answer);
    assert_is_relays(&joined.at_alice[0], true);
    assert_is_relays(&joined.at_bob[0], false);
    let (bob, alice) = (b.join(&joined.at_bob[0]), a.join(&joined.at_alice[0]));

    exchange(&alice, &bob);
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn who_shows_another_certificate_than_sdp_says_is_not_let_in() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:actpass"]);
    let answer = b.says(&scene, &["setup:active"]);
    let mut joined = scene.call(&offer, &answer);
    let told = &joined.at_bob[0];

    let impostor = Identity::new();
    let ends = (b.own(), path(told));
    if let Ok((peer, _)) = Peer::connect_tls(told.address(), ends, &impostor) {
        assert!(peer.bind().is_err(), "an impostor is bound");
        assert!(peer.is_closed(LONG), "an impostor keeps its connection");
    }
    // It has taken nothing from whom SDP names.
    let (bob, alice) = (b.join(told), a.join(&joined.at_alice[0]));
    exchange(&alice, &bob);
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn a_passive_client_with_another_certificate_is_not_talked_to() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:active"]);
    let answer = b.says(&scene, &["setup:passive"]);
    let joined = scene.call(&offer, &answer);

    let impostor = Identity::new();
    let told = &joined.at_bob[0];
    if let Ok((peer, _)) = b.listener.accept_tls(path(told), &impostor, LONG) {
        assert!(peer.is_closed(LONG), "an impostor keeps its connection");
        assert_eq!(peer.bodiless(), 0, "an impostor was sent the bind");
    }
}

#[test]
fn a_fingerprint_may_be_missing_unless_it_is_required() {
    let bare = |client: &Client, scene: &Scene, setup: &str| {
        scene.offer().message(client.own(), &[setup]).text()
    };
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = bare(&a, &scene, "setup:actpass");
    let answer = bare(&b, &scene, "setup:active");
    let mut joined = scene.call(&offer, &answer);
    let (bob, alice) = (b.join(&joined.at_bob[0]), a.join(&joined.at_alice[0]));
    alice.send(&Outgoing::text("hello")).unwrap();
    assert_eq!(bob.messages(1, LONG)[0].text, b"hello");
    hang_up(&mut scene, &mut joined, (&alice, &bob));

    let mut scene = Scene::direct(|settings| {
        settings.set("msrp", "fingerprint_required", true);
    });
    let call = scene.alice.invite(&scene.target, &offer);
    let refused = call.failed(&mut scene.alice);
    assert_eq!(refused.code(), Some(488));
    assert!(
        refused.field("Warning").contains("fingerprint"),
        "{}",
        refused.text()
    );
}

/// A call whose offer has CEMA and whose answer hasn't: Bob is offered the stream once more.
fn mixed(scene: &mut Scene, offer: &str, answer: &str) -> Joined {
    let mut a = scene.alice.invite(&scene.target, offer);
    let b = scene.bob.incoming();
    b.answer(&mut scene.bob, 200, answer);
    scene.bob.request("ACK");
    let again = b.changed(&mut scene.bob, "INVITE");
    b.accept(&mut scene.bob, &again, answer);
    let response = a.established(&mut scene.alice);
    scene.bob.request("ACK");
    Joined {
        at_alice: tests::peers::sdp::media(&response.body),
        at_bob: tests::peers::sdp::media(&again.body),
        a,
        b,
    }
}

#[test]
fn cema_that_only_the_caller_has_is_relayed_back_to_back() {
    for is_secure in [false, true] {
        for setup in ["setup:active", "setup:passive"] {
            let mut scene = Scene::direct(|_| {});
            let clients = [0; 2].map(|_| Client::new(&scene, is_secure));
            let [a, b] = &clients;
            let offer = a.says(&scene, &["setup:actpass", "msrp-cema"]);
            let answer = b.says(&scene, &[setup]);

            let mut joined = mixed(&mut scene, &offer, &answer);
            let (at_alice, at_bob) = (&joined.at_alice[0], &joined.at_bob[0]);
            assert!(at_alice.has("msrp-cema") && !at_bob.has("msrp-cema"));
            assert_is_relays(at_alice, is_secure);
            assert_is_relays(at_bob, is_secure);
            let bob = if setup == "setup:active" {
                b.join(at_bob)
            } else {
                b.accept(at_bob)
            };
            let alice = a.join(at_alice);

            exchange(&alice, &bob);
            hang_up(&mut scene, &mut joined, (&alice, &bob));
        }
    }
}

/// A relay with listeners for WebSockets.
fn web(change: &str) -> Scene {
    Scene::direct(|settings| {
        settings
            .set("msrp", "ws_port_first", 0)
            .set("msrp", "wss_port_first", 0)
            .set("msrp", "toward", change);
    })
}

/// The path of a script in a browser, which nobody can connect to (RFC 7977 §5).
fn script(scheme: &str) -> String {
    format!("{scheme}://df7jal23ls0d.invalid:2855/98cjs98cjs;ws")
}

#[test]
fn a_script_in_a_browser_calls_a_client_over_tcp_or_tls() {
    for is_secure in [false, true] {
        let mut scene = web("\"same\"");
        let b = Client::new(&scene, is_secure);
        let identity = is_secure.then(Identity::new);
        let own = script(if is_secure { "msrps" } else { "msrp" });
        let offer = scene.offer().message(&own, &["setup:active"]).text();
        let answer = b.says(&scene, &["setup:active"]);

        let mut joined = scene.call(&offer, &answer);
        let told = &joined.at_alice[0];
        assert!(path(told).ends_with(";ws"), "{told:?}");
        assert_is_relays(told, is_secure);
        assert_is_relays(&joined.at_bob[0], is_secure);
        let ends = (&*own, path(told));
        let alice = Peer::connect_web(told.address(), ends, identity.as_ref()).unwrap();
        alice.bind().unwrap();
        let bob = b.join(&joined.at_bob[0]);

        exchange(&alice, &bob);
        hang_up(&mut scene, &mut joined, (&alice, &bob));
    }
}

#[test]
fn a_client_over_tcp_calls_a_script_in_a_browser() {
    let mut scene = web("\"ws\"");
    let a = Client::new(&scene, false);
    let own = script("msrp");
    let offer = a.says(&scene, &["setup:actpass", "msrp-cema"]);
    let answer = scene.offer().message(&own, &["setup:active"]).text();

    let mut joined = scene.call(&offer, &answer);
    let told = &joined.at_bob[0];
    assert_eq!(told.attribute("setup"), Some("passive"));
    let ends = (&*own, path(told));
    let bob = Peer::connect_web(told.address(), ends, None).unwrap();
    bob.bind().unwrap();
    let alice = a.join(&joined.at_alice[0]);

    exchange(&alice, &bob);
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn a_trunk_gets_chunks_as_it_needs_them_and_no_longer_messages_than_it_may() {
    let mut scene = Scene::direct(|settings| {
        settings
            .set("trunk.old", "match", "[\"127.0.0.0/8\"]")
            .set("trunk.old", "chunk_octets_max", 2048)
            .set("trunk.old", "chunk_exact", true)
            .set("trunk.old", "message_octets_max", 100_000);
    });
    let (a, b) = (Client::new(&scene, false), Client::new(&scene, false));
    let offer = a.says(&scene, &["setup:actpass", "max-size:5000000"]);
    let answer = b.says(&scene, &["setup:active", "max-size:50000"]);
    let mut joined = scene.call(&offer, &answer);
    assert_eq!(joined.at_alice[0].attribute("max-size"), Some("50000"));
    assert_eq!(joined.at_bob[0].attribute("max-size"), Some("100000"));
    let (bob, alice) = (b.join(&joined.at_bob[0]), a.join(&joined.at_alice[0]));

    alice.send(&Outgoing::file(50_000, 3, 50_000)).unwrap();
    let messages = bob.messages(1, LONG);
    assert!(messages[0].is_identical(), "{messages:?}");
    assert!(messages[0].chunks >= 50_000 / 2048, "{messages:?}");
    assert!(alice.is_answered(LONG) && alice.refused().is_empty());
    let _cut_off = bob.send(&Outgoing::file(200_000, 4, 20_000));
    assert!(
        bob.is_answered(LONG) && bob.refused().contains(&413),
        "{:?}",
        bob.refused()
    );
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn tls_between_two_cema_clients_is_theirs_alone() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:actpass", "msrp-cema"]);
    let answer = b.says(&scene, &["setup:passive", "msrp-cema"]);

    let mut joined = scene.call(&offer, &answer);
    let (at_alice, at_bob) = (&joined.at_alice[0], &joined.at_bob[0]);
    let anchored = |told: &Media, far: &Client| {
        assert!(told.has("msrp-cema") && path(told) == far.own(), "{told:?}");
        assert_eq!(
            told.attribute("fingerprint"),
            Some(&*far.identity.fingerprint())
        );
        let direct: SocketAddr = tests::peers::sdp::path_address(far.own()).unwrap();
        assert_ne!(told.address(), direct, "not anchored");
    };
    anchored(at_alice, &b);
    anchored(at_bob, &a);
    // Each sees the other's certificate through the relay: `connect` and `accept` look at it.
    let told = (at_alice.clone(), at_bob.clone());
    let (alice, bob) = std::thread::scope(|scope| {
        let bob = scope.spawn(|| b.accept(&told.1));
        let alice = a.connect(&told.0, path(&told.0));
        (alice, bob.join().unwrap())
    });
    alice.bind().unwrap();

    exchange(&alice, &bob);
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}

#[test]
fn a_configured_certificate_is_the_one_that_is_shown() {
    let folder = tests::live::process::Folder::new("certificate");
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let own = Identity::new();
    std::fs::write(&certificate, own.certificate_pem()).unwrap();
    std::fs::write(&key, own.key_pem()).unwrap();
    let mut scene = Scene::direct(|settings| {
        settings
            .set("msrp", "certificate", format!("{certificate:?}"))
            .set("msrp", "key", format!("{key:?}"));
    });
    let (a, b) = (Client::new(&scene, true), Client::new(&scene, true));
    let offer = a.says(&scene, &["setup:actpass"]);
    let answer = b.says(&scene, &["setup:active"]);

    let mut joined = scene.call(&offer, &answer);
    let told = &joined.at_alice[0];
    assert_eq!(told.attribute("fingerprint"), Some(&*own.fingerprint()));
    let (bob, alice) = (b.join(&joined.at_bob[0]), a.join(told));
    hang_up(&mut scene, &mut joined, (&alice, &bob));
}
