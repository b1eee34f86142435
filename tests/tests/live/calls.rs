//! Calls that go well: media both ways, changes, ends.

use std::time::Duration;

use tests::live::judge::{self, Capture};
use tests::live::relay::Relay;
use tests::live::{needs, skip};
use tests::peers::msrp::Outgoing;
use tests::peers::rtp::{self, gap_added};
use tests::peers::sdp;

use tests::live::scene::{Chat, LONG, Scene};

const FILE: u64 = 10_000_000;

/// A call through Kamailio with audio and a file each way at the same time.
fn audio_and_a_file(bob_ends: bool) {
    let mut scene = Scene::through_core(|_| {});
    let (mut a, mut b) = scene.voices();
    let (mut joined, chat) = Chat::call(&mut scene, Some((a.port(), b.port())), None);
    assert_ne!(
        joined.at_alice[0].port,
        b.port(),
        "the relay isn't in the media path"
    );
    // RTP and RTCP towards each side: what must be gone after the call is seen while it lasts.
    assert_eq!(scene.relay.open_media_ports().len(), 4);
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    a.talk();
    b.talk();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            chat.alice
                .send(&Outgoing::file(FILE, 1, 2048).with_success_report())
                .unwrap()
        });
        scope.spawn(|| chat.bob.send(&Outgoing::file(FILE, 2, 10 * 1024)).unwrap());
    });
    let (at_bob, at_alice) = (chat.bob.messages(1, LONG), chat.alice.messages(1, LONG));
    assert!(at_bob.len() == 1 && at_bob[0].is_identical(), "{at_bob:?}");
    assert!(
        at_alice.len() == 1 && at_alice[0].is_identical(),
        "{at_alice:?}"
    );
    assert!(chat.alice.is_answered(LONG) && chat.bob.is_answered(LONG));
    let reports = chat.alice.reports(1, LONG);
    assert_eq!(reports.len(), 1);
    assert_eq!(
        (reports[0].status, reports[0].message_id.as_str()),
        (200, at_bob[0].id.as_str())
    );
    chat.assert_clean();
    assert!(b.hears(60, LONG) && a.hears(60, LONG));
    let (a, b) = rtp::Peer::finish_both(a, b);
    for (sent, heard) in [(&a, &b), (&b, &a)] {
        assert_eq!((heard.lost(), heard.damaged, heard.wrong_source), (0, 0, 0));
        assert_eq!(heard.heard.len(), sent.sent.len());
        assert!(heard.rtcp > 0, "no RTCP came through");
    }
    if bob_ends {
        scene.bob_hangs_up(&mut joined);
    } else {
        scene.alice_hangs_up(&mut joined);
    }
    assert!(chat.alice.is_closed(LONG) && chat.bob.is_closed(LONG));
    scene.relay.assert_empty();
}

#[test]
fn a_call_through_kamailio_carries_audio_and_a_10_mb_file() {
    if needs("live::calls", &["kamailio"]) {
        audio_and_a_file(false);
    }
}

#[test]
fn the_called_side_ends_a_call_through_kamailio() {
    if needs("live::calls", &["kamailio"]) {
        audio_and_a_file(true);
    }
}

#[test]
fn a_reinvite_drops_the_message_stream_and_audio_goes_on() {
    let mut scene = Scene::direct(|_| {});
    // What is added by the relay is added each time, what a busy machine adds isn't.
    let is_even = (0..3).any(|_| {
        let (added, machine) = added_by_reinvite(&mut scene);
        println!("the longest gap added through the relay: {added:?}; past it: {machine:?}");
        added < machine + Duration::from_millis(40)
    });
    assert!(is_even, "each time there is a gap");
    scene.relay.assert_empty();
}

/// The longest gap in the audio of a call from which a re-INVITE drops the message stream: through
/// the relay, and past it meanwhile.
fn added_by_reinvite(scene: &mut Scene) -> (Duration, Duration) {
    let (mut a, mut b) = scene.voices();
    // The same voices without a relay between them: what a busy machine adds by itself.
    let (mut c, mut d) = scene.voices_alone();
    let (mut joined, chat) = Chat::call(scene, Some((a.port(), b.port())), None);
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    for voice in [&mut a, &mut b, &mut c, &mut d] {
        voice.talk();
    }
    chat.alice.send(&Outgoing::text("before")).unwrap();
    assert_eq!(chat.bob.messages(1, LONG)[0].text, b"before");
    assert!(b.hears(50, LONG));

    let reduced = |port| {
        scene
            .offer()
            .version(2)
            .audio(port)
            .dropped("message", "TCP/MSRP", "*")
    };
    let (offer, answer) = (reduced(a.port()).text(), reduced(b.port()).text());
    let _sent = joined.a.send(&mut scene.alice, "INVITE", &offer);
    let change = joined.b.changed(&mut scene.bob, "INVITE");
    let told = sdp::media(&change.body);
    assert_eq!((told[0].port, told[1].port), (joined.at_bob[0].port, 0));
    joined.b.accept(&mut scene.bob, &change, &answer);
    let response = joined.a.reinvited(&mut scene.alice);
    scene.bob.request("ACK");
    let told = sdp::media(&response.body);
    assert_eq!((told[0].port, told[1].port), (joined.at_alice[0].port, 0));
    assert!(chat.alice.is_closed(LONG) && chat.bob.is_closed(LONG));

    let so_far = b.record().heard.len();
    assert!(b.hears(so_far + 50, LONG));
    let (a, b) = rtp::Peer::finish_both(a, b);
    assert_eq!((a.lost(), b.lost()), (0, 0));
    let added = gap_added(&a, &b).max(gap_added(&b, &a));
    let (c, d) = rtp::Peer::finish_both(c, d);
    let machine = gap_added(&c, &d).max(gap_added(&d, &c));
    scene.alice_hangs_up(&mut joined);
    (added, machine)
}

#[test]
fn a_held_call_lets_only_the_holder_talk() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = scene.audio_call();
    assert!(a.hears(10, LONG) && b.hears(10, LONG));
    let offer = scene
        .offer()
        .version(2)
        .audio_with(a.port(), &["sendonly"])
        .text();
    let answer = scene
        .offer()
        .version(2)
        .audio_with(b.port(), &["recvonly"])
        .text();
    let _sent = joined.a.send(&mut scene.alice, "INVITE", &offer);
    let change = joined.b.changed(&mut scene.bob, "INVITE");
    assert!(
        sdp::media(&change.body)[0].has("sendonly"),
        "{}",
        change.body
    );
    joined.b.accept(&mut scene.bob, &change, &answer);
    let response = joined.a.reinvited(&mut scene.alice);
    assert!(
        sdp::media(&response.body)[0].has("recvonly"),
        "{}",
        response.body
    );
    scene.bob.request("ACK");
    // Packets on their way when the direction changed may still come, those sent later may not.
    let (held, heard) = (b.record().sent.len(), b.record().heard.len());
    assert!(b.hears(heard + 25, LONG), "the holder isn't heard");
    let sent = b.record().sent;
    assert!(sent.len() > held, "the held side says nothing");
    let after = &sent[held..];
    let is_late = |packet: &rtp::Arrival| after.iter().any(|(seq, _)| *seq == packet.seq);
    assert!(
        !a.record().heard.iter().any(is_late),
        "the held side is heard"
    );
    scene.bob_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn early_media_is_heard_before_the_answer() {
    let mut scene = Scene::direct(|_| {});
    let (a, mut b) = scene.voices();
    let mut call = scene
        .alice
        .invite(&scene.target, &scene.offer().audio(a.port()).text());
    let heard = scene.bob.incoming();
    let answer = scene.offer().audio(b.port()).text();
    heard.answer(&mut scene.bob, 183, &answer);
    let early = scene.alice.response_of("INVITE", 183);
    a.aim(sdp::media(&early.body)[0].address());
    b.aim(sdp::media(&heard.invite.body)[0].address());
    b.talk();
    assert!(a.hears(10, LONG), "no early media");
    heard.answer(&mut scene.bob, 200, &answer);
    let response = call.established(&mut scene.alice);
    scene.bob.request("ACK");
    if !response.body.is_empty() {
        assert_eq!(sdp::media(&response.body)[0], sdp::media(&early.body)[0]);
    }
    call.send_bye(&mut scene.alice);
    heard.bye_answered(&mut scene.bob);
    assert_eq!(scene.alice.response("BYE").code(), Some(200));
    scene.relay.assert_empty();
}

#[test]
fn an_address_behind_a_nat_is_learnt_once() {
    let mut scene = Scene::direct(|_| {});
    let (mut a, mut b) = scene.voices();
    // Alice's SDP names a port that isn't the one she sends from.
    let private = tests::live::scene::nobody(&mut scene).port();
    let offer = scene.offer().audio(private).text();
    let answer = scene.offer().audio(b.port()).text();
    let mut joined = scene.call(&offer, &answer);
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    a.talk();
    b.talk();
    assert!(
        b.hears(10, LONG) && a.hears(10, LONG),
        "the address wasn't learnt"
    );
    // Somebody else sends to the same port: nobody hears it, and Alice stays the target.
    let (stranger, _) = scene.voices();
    stranger.aim(joined.at_alice[0].address());
    for _ in 0..10 {
        stranger.throw(&rtp::packet(77, 1));
    }
    // The relay counts them until the kernel keeps the socket to Alice alone and refuses them.
    let so_far = a.record().heard.len();
    assert!(a.hears(so_far + 25, LONG));
    assert_eq!((b.record().damaged, stranger.record().heard.len()), (0, 0));
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn a_call_works_over_ipv6() {
    let mut scene = Scene::beside(Relay::start_ipv6());
    let (mut joined, a, b) = scene.audio_call();
    assert!(joined.at_alice[0].address().is_ipv6());
    assert!(a.hears(20, LONG) && b.hears(20, LONG));
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn the_judge_finds_no_error_on_the_wire() {
    if !needs("live::calls", &["dumpcap", "tshark"]) {
        return;
    }
    let mut scene = Scene::direct(|_| {});
    let (mut a, mut b) = scene.voices();
    let (sip, media) = (scene.relay.sip.port(), scene.relay.media);
    let filter = format!(
        "port {sip} or udp portrange {}-{} or {}",
        media.0,
        media.1,
        judge::tcp(&scene.relay.msrp_ports())
    );
    let Some(capture) = Capture::start(&filter) else {
        return skip("live::calls", "this user may not capture on lo");
    };
    let (mut joined, chat) = Chat::call(&mut scene, Some((a.port(), b.port())), None);
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    a.talk();
    b.talk();
    for chunk in [2048, 10 * 1024, u64::MAX] {
        chat.alice
            .send(&Outgoing::file(100_000, 3, chunk).with_success_report())
            .unwrap();
    }
    assert_eq!(chat.bob.messages(3, LONG).len(), 3);
    assert!(b.hears(50, LONG));
    scene.alice_hangs_up(&mut joined);
    let wire = capture.stop();
    let ports = judge::Ports {
        sip: vec![
            scene.relay.sip.port(),
            scene.alice.address().port(),
            scene.bob.address().port(),
        ],
        rtp: vec![joined.at_alice[0].port, joined.at_bob[0].port],
        msrp: vec![joined.at_alice[1].port, joined.at_bob[1].port],
        ..judge::Ports::default()
    };
    wire.assert_well_formed(&ports);
    let from_relay = |port: u16| wire.count(&ports, &format!("rtp && udp.srcport == {port}"));
    assert!(
        from_relay(joined.at_alice[0].port) >= 25,
        "tshark sees no RTP towards Alice"
    );
    assert!(
        from_relay(joined.at_bob[0].port) >= 50,
        "tshark sees no RTP towards Bob"
    );
    let relay = scene.relay.sip.port();
    assert!(wire.count(&ports, &format!("sdp && udp.srcport == {relay}")) >= 2);
    let msrp = format!("msrp && tcp.srcport == {}", joined.at_bob[1].port);
    assert!(
        wire.count(&ports, &msrp) >= 3,
        "tshark sees no MSRP towards Bob"
    );
}
