//! Streams that pass in other ways: CEMA, active ends, epoll, dialog requests with answers.

use tests::live::scene::{Chat, Joined, LONG, Scene, join};
use tests::peers::msrp::{Listener, Outgoing, Peer};
use tests::peers::{rtp, sdp};

/// A chat whose both ends speak CEMA; Bob is `setup`.
fn cema_call(scene: &mut Scene, setup: &str) -> (Joined, Listener, Listener) {
    let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
    let cema = |listener: &Listener, setup: &str| {
        let setup = format!("setup:{setup}");
        scene
            .offer()
            .message(listener.path(), &[&setup, "msrp-cema"])
            .text()
    };
    let (offer, answer) = (cema(&a, "actpass"), cema(&b, setup));
    let joined = scene.call(&offer, &answer);
    for (told, far) in [(&joined.at_alice[0], &b), (&joined.at_bob[0], &a)] {
        assert_eq!(
            told.attribute("path"),
            Some(far.path()),
            "the path stays end to end"
        );
        assert!(told.has("msrp-cema"));
        assert_ne!(
            told.address(),
            sdp::path_address(far.path()).unwrap(),
            "not anchored"
        );
    }
    (joined, a, b)
}

#[test]
fn a_chat_of_two_cema_clients_passes_byte_for_byte() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = cema_call(&mut scene, "active");
    let reach =
        |own: &Listener, far: &Listener, at| Peer::connect_to(at, own.path(), far.path(), None);
    let bob = reach(&b, &a, joined.at_bob[0].address()).unwrap();
    let alice = reach(&a, &b, joined.at_alice[0].address()).unwrap();
    // Bob answers the bind himself: nobody between speaks MSRP.
    alice.bind().unwrap();
    let chat = Chat { alice, bob };
    assert_eq!(chat.bob.bodiless(), 1, "the bind was not passed on");
    exchange(&chat);
    scene.alice_hangs_up(&mut joined);
    assert!(chat.alice.is_closed(LONG) && chat.bob.is_closed(LONG));
    scene.relay.assert_empty();
}

#[test]
fn the_relay_connects_to_a_passive_cema_client() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = cema_call(&mut scene, "passive");
    let at = joined.at_alice[0].address();
    let alice = Peer::connect_to(at, a.path(), b.path(), None).unwrap();
    let bob = b.accept(a.path(), None, LONG).unwrap();
    alice.bind().unwrap();
    let chat = Chat { alice, bob };
    exchange(&chat);
    scene.bob_hangs_up(&mut joined);
    assert!(chat.alice.is_closed(LONG) && chat.bob.is_closed(LONG));
    scene.relay.assert_empty();
}

#[test]
fn the_relay_connects_to_a_passive_chat_client_and_binds() {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
    let offer = scene.offer().message(a.path(), &["setup:active"]).text();
    let answer = scene.offer().message(b.path(), &["setup:passive"]).text();
    let mut joined = scene.call(&offer, &answer);
    let bob = b
        .accept(joined.at_bob[0].attribute("path").unwrap(), None, LONG)
        .unwrap();
    let alice = join(&a, &joined.at_alice[0], None);
    let chat = Chat { alice, bob };
    exchange(&chat);
    chat.assert_clean();
    assert!(
        chat.bob.bodiless() >= 1,
        "the relay is active and owes the bind"
    );
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn over_epoll_a_call_is_the_same() {
    let mut scene = Scene::direct(|settings| {
        settings.set("media", "backend", "\"epoll\"");
    });
    let (mut a, mut b) = scene.voices();
    let (mut joined, chat) = Chat::call(&mut scene, Some((a.port(), b.port())), None);
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    a.talk();
    b.talk();
    assert_eq!(scene.relay.open_media_ports().len(), 4);
    exchange(&chat);
    chat.assert_clean();
    assert!(b.hears(50, LONG) && a.hears(50, LONG));
    let (a, b) = rtp::Peer::finish_both(a, b);
    for (sent, heard) in [(&a, &b), (&b, &a)] {
        assert_eq!((heard.lost(), heard.damaged, heard.wrong_source), (0, 0, 0));
        assert_eq!(heard.heard.len(), sent.sent.len());
    }
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn info_and_update_travel_through_and_headers_stay_as_they_are() {
    let mut scene = Scene::direct(|_| {});
    let offer = scene.offer().audio(4_000).text();
    let answer = scene.offer().audio(4_002).text();
    let fields = [
        ("Conversation-ID", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("Contribution-ID", "01234567-89AB-CDEF-0123-456789ABCDEF"),
        (
            "InReplyTo-Contribution-ID",
            "01234567-89AB-CDEF-0123-456789ABCDE0",
        ),
        (
            "P-Asserted-Identity",
            "\"Alice  A.\" <sip:alice@example.com;x=%20>",
        ),
        (
            "Accept-Contact",
            "*;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";require;explicit",
        ),
        ("Subject", "lunch? (today)"),
    ];
    let target = scene.bob.uri();
    let mut a = scene.alice.invite_with(&target, &offer, &fields);
    let mut b = scene.bob.incoming();
    for (name, value) in fields {
        assert_eq!(b.invite.field(name), value, "{name}");
    }
    b.answer(&mut scene.bob, 200, &answer);
    a.established(&mut scene.alice);
    scene.bob.request("ACK");
    for method in ["INFO", "UPDATE", "MESSAGE"] {
        let _sent = a.send(&mut scene.alice, method, "");
        let request = scene.bob.request(method);
        assert_eq!(request.field("Call-ID"), b.invite.field("Call-ID"));
        scene
            .bob
            .answer(&request, 200, &[("X-Answer", "as it is")], "");
        let response = scene.alice.response(method);
        assert_eq!(
            (response.code(), response.field("X-Answer")),
            (Some(200), "as it is")
        );
    }
    b.send_bye(&mut scene.bob);
    a.bye_answered(&mut scene.alice);
    assert_eq!(scene.bob.response("BYE").code(), Some(200));
    scene.relay.assert_empty();
}

/// A word each way, and a file.
fn exchange(chat: &Chat) {
    chat.alice.send(&Outgoing::text("hello")).unwrap();
    assert_eq!(chat.bob.messages(1, LONG)[0].text, b"hello");
    chat.bob.send(&Outgoing::text("hello yourself")).unwrap();
    assert_eq!(chat.alice.messages(1, LONG)[0].text, b"hello yourself");
    chat.alice
        .send(&Outgoing::file(1_000_000, 3, 2048))
        .unwrap();
    let messages = chat.bob.messages(2, LONG);
    assert!(
        messages.len() == 2 && messages[1].is_identical(),
        "{messages:?}"
    );
    assert!(chat.alice.is_answered(LONG) && chat.bob.is_answered(LONG));
}
