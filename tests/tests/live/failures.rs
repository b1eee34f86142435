//! Calls that don't come about, and bytes that are no call: a clear answer, and nothing is left.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use tests::live::needs;
use tests::live::relay::Relay;
use tests::live::sipp::Plan;
use tests::peers::sip::{Agent, Message};

use tests::live::scene::{LONG, Scene};

#[test]
fn a_refused_call_leaves_nothing() {
    let mut scene = Scene::direct(|_| {});
    for code in [486, 488, 404, 603] {
        let offer = scene.offer().audio(scene.ports.pair()).text();
        let call = scene.alice.invite(&scene.target, &offer);
        let heard = scene.bob.incoming();
        heard.answer(&mut scene.bob, code, "");
        assert_eq!(call.failed(&mut scene.alice).code(), Some(code));
        scene.bob.request("ACK");
        scene.relay.assert_empty();
    }
}

/// Alice cancels while Bob rings; Bob answers INVITE and CANCEL in one order or the other.
fn cancel(scene: &mut Scene, invite_first: bool) {
    let offer = scene.offer().audio(scene.ports.pair()).text();
    let call = scene.alice.invite(&scene.target, &offer);
    let heard = scene.bob.incoming();
    heard.answer(&mut scene.bob, 180, "");
    let _ringing = scene.alice.response_of("INVITE", 180);
    call.cancel(&mut scene.alice);
    assert_eq!(scene.alice.response("CANCEL").code(), Some(200));
    let cancel = scene.bob.request("CANCEL");
    if invite_first {
        heard.answer(&mut scene.bob, 487, "");
        scene.bob.answer(&cancel, 200, &[], "");
    } else {
        scene.bob.answer(&cancel, 200, &[], "");
        heard.answer(&mut scene.bob, 487, "");
    }
    assert_eq!(call.failed(&mut scene.alice).code(), Some(487));
    scene.bob.request("ACK");
    scene.relay.assert_empty();
}

#[test]
fn a_cancelled_call_leaves_nothing() {
    let mut scene = Scene::direct(|_| {});
    cancel(&mut scene, false);
    cancel(&mut scene, true);
}

#[test]
fn a_cancelled_call_through_kamailio_leaves_nothing() {
    if needs("live::failures", &["kamailio"]) {
        cancel(&mut Scene::through_core(|_| {}), false);
    }
}

#[test]
fn a_call_that_nobody_answers_leaves_nothing() {
    let mut scene = Scene::direct(|settings| {
        settings.set("sip", "invite_ringing_s_max", 2);
    });
    let offer = scene.offer().audio(scene.ports.pair()).text();
    let call = scene.alice.invite(&scene.target, &offer);
    let heard = scene.bob.incoming();
    heard.answer(&mut scene.bob, 180, "");
    let cancel = scene.bob.request("CANCEL");
    scene.bob.answer(&cancel, 200, &[], "");
    heard.answer(&mut scene.bob, 487, "");
    let code = call.failed(&mut scene.alice).code();
    assert!(matches!(code, Some(408 | 480 | 487)), "{code:?}");
    scene.relay.assert_empty();
}

#[test]
fn a_late_offer_is_refused() {
    let mut scene = Scene::direct(|_| {});
    let call = scene.alice.invite(&scene.target, "");
    assert_eq!(call.failed(&mut scene.alice).code(), Some(488));
    scene.bob.hears_nothing(Duration::from_millis(200));
    scene.relay.assert_empty();
}

#[test]
fn a_description_that_cannot_be_read_is_refused_with_a_warning() {
    let mut scene = Scene::direct(|_| {});
    let call = scene
        .alice
        .invite(&scene.target, "v=0\r\nthis is no description\r\n");
    let response = call.failed(&mut scene.alice);
    assert_eq!(response.code(), Some(488));
    assert!(!response.field("Warning").is_empty(), "{}", response.text());
    scene.relay.assert_empty();
}

#[test]
fn a_request_in_an_unknown_dialog_is_answered_with_481() {
    let mut scene = Scene::direct(|_| {});
    let mut call = scene
        .alice
        .invite(&scene.target, &scene.offer().audio(9000).text());
    let heard = scene.bob.incoming();
    heard.answer(&mut scene.bob, 486, "");
    let response = call.failed(&mut scene.alice);
    // A dialog that never was, by the relay's own Contact.
    let relay = scene.relay.sip;
    let with_tag = format!(
        "{};tag=nobody",
        call.invite.field("To").split(';').next().unwrap_or("")
    );
    let fake = Message::new("SIP/2.0 200 OK")
        .with("To", with_tag)
        .with("Contact", format!("<sip:{relay}>"));
    assert_eq!(response.code(), Some(486));
    call.confirm(&fake);
    call.send_bye(&mut scene.alice);
    assert_eq!(scene.alice.response("BYE").code(), Some(481));
}

#[test]
fn a_malformed_request_is_answered_with_400() {
    let relay = Relay::start();
    let mut alice = Agent::udp("alice", relay.sip);
    let request = alice.ask_options(&format!("sip:{}", relay.sip));
    let _answer = alice.response("OPTIONS");
    // The same with another branch, and a CSeq whose method isn't the request's.
    let text = request.text().replace("branch=z9hG4bK", "branch=z9hG4bKx");
    alice.throw(text.replace("1 OPTIONS", "1 INVITE").as_bytes());
    let answer = alice.expect("an answer", |message| message.code().is_some());
    assert_eq!(answer.code(), Some(400), "{}", answer.text());
}

#[test]
fn garbage_at_any_port_does_no_harm() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = scene.audio_call();
    assert!(a.hears(5, LONG));
    let media = joined.at_alice[0].address();
    let socket = UdpSocket::bind((scene.ip(), 0)).unwrap();
    let mut garbage = vec![0; 1400];
    for seed in 0..200 {
        tests::peers::content::fill(seed, 0, &mut garbage);
        let length = usize::try_from(seed * 7 % 1400).unwrap();
        for to in [scene.relay.sip, media] {
            socket.send_to(&garbage[..length], to).unwrap();
        }
        a.throw(&garbage[..length]);
    }
    for seed in 0..10 {
        let mut stream = TcpStream::connect(scene.relay.sip).unwrap();
        tests::peers::content::fill(seed, 0, &mut garbage);
        let _closed = stream.write_all(&garbage);
        let _closed = stream.write_all(b"INVITE sip:x SIP/2.0\r\nContent-Length: 99999999\r\n\r\n");
    }
    let so_far = b.record().heard.len();
    assert!(b.hears(so_far + 25, LONG), "the call doesn't go on");
    assert_eq!(scene.relay.health().map(|(status, _)| status), Some(200));
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

#[test]
fn a_call_without_a_free_port_is_answered_with_503() {
    // Ports for one call with one stream: two legs, RTP and RTCP each.
    let mut scene = Scene::direct(|settings| {
        let first: u16 = settings.value("media", "port_first").parse().unwrap();
        settings.set("media", "port_last", first + 3);
    });
    let (mut joined, _a, _b) = scene.audio_call();
    let call = scene
        .alice
        .invite(&scene.target, &scene.offer().audio(9000).text());
    let response = call.failed(&mut scene.alice);
    assert_eq!(response.code(), Some(503), "{}", response.text());
    assert!(
        !response.field("Retry-After").is_empty(),
        "{}",
        response.text()
    );
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
    // And with the ports back, the next call works.
    std::thread::sleep(Duration::from_millis(300));
    let (mut joined, _a, _b) = scene.audio_call();
    scene.bob_hangs_up(&mut joined);
}

#[test]
fn ten_thousand_refused_calls_leave_nothing() {
    if !needs("live::failures", &["sipp"]) {
        return;
    }
    let relay = Relay::start_with(|settings| {
        settings.many_ports();
    });
    let mut ports = tests::live::ports::Ports::take();
    let (uas, uac) = ((ports.one(), ports.row(12)), (ports.one(), ports.row(12)));
    let server = Plan::server("uas_refused", uas, 10_000)
        .with("CODE", "486")
        .start();
    let target = format!("127.0.0.1:{}", uas.0);
    let mut client = Plan::client("uac_refused", uac, 10_000, (relay.sip, &target))
        .via(&[format!("<sip:{};lr;orig>", relay.sip)])
        .with("CODE", "486");
    client.rate = 500;
    client.start().succeeds(Duration::from_secs(180));
    server.succeeds(LONG);
    relay.assert_empty();
}
