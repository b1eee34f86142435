//! Standard clients through the relay: SIPp over UDP and TCP, baresip with real audio.

use std::net::SocketAddr;
use std::time::Duration;

use tests::live::baresip::{Baresip, Part, likeness};
use tests::live::kamailio::Core;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::sipp::{Plan, Transport};
use tests::live::{needs, wav};

use tests::live::scene::LONG;

/// SIPp calls SIPp by way of Kamailio, the relay, and Kamailio again.
fn sipp(client: &'static str, server: &'static str, transport: Transport) {
    if !needs("live::standard", &["kamailio", "sipp"]) {
        return;
    }
    let relay = Relay::start();
    let mut ports = Ports::take();
    let (uas, uac) = ((ports.one(), ports.row(24)), (ports.one(), ports.row(24)));
    let way = if transport == Transport::Udp {
        "udp"
    } else {
        "tcp"
    };
    let device = format!("sip:bob@127.0.0.1:{};transport={way}", uas.0);
    let core = Core::start(&mut ports, Some(relay.sip), &[("bob", &device)]);
    let target = core.sip.to_string();
    let mut server = Plan::server(server, uas, 5)
        .with("CODE", "486")
        .argument("-rtp_echo");
    let mut client = Plan::client(client, uac, 5, (core.sip, &target)).with("CODE", "486");
    client = client.with("HOLD_MS", "1000");
    if transport == Transport::Tcp {
        (server, client) = (server.tcp(), client.tcp());
    }
    let server = server.start();
    let audio = client.scenario == "uac_audio";
    client.start().succeeds(LONG);
    server.succeeds(LONG);
    relay.assert_empty();
    if audio {
        // 5 calls of 1 s: 50 packets a second there, and back as an echo; SIPp sends fewer when
        // the machine is busy, so only their going through is asserted.
        let relayed = relay.metric(&["midpath_datagrams_out_total"]);
        assert!(relayed >= 100.0, "only {relayed} packets");
    }
}

#[test]
fn sipp_calls_with_audio_over_udp() {
    sipp("uac_audio", "uas_call", Transport::Udp);
}

#[test]
fn sipp_calls_with_audio_over_tcp() {
    sipp("uac_audio", "uas_call", Transport::Tcp);
}

#[test]
fn sipp_is_refused_and_cancels_over_udp() {
    sipp("uac_refused", "uas_refused", Transport::Udp);
    sipp("uac_cancel", "uas_cancel", Transport::Udp);
}

#[test]
fn sipp_is_refused_and_cancels_over_tcp() {
    sipp("uac_refused", "uas_refused", Transport::Tcp);
    sipp("uac_cancel", "uas_cancel", Transport::Tcp);
}

#[test]
fn sipp_holds_and_the_called_side_hangs_up_over_udp() {
    sipp("uac_reinvite", "uas_reinvite", Transport::Udp);
    sipp("uac_hung_up", "uas_hangs_up", Transport::Udp);
}

#[test]
fn sipp_holds_and_the_called_side_hangs_up_over_tcp() {
    sipp("uac_reinvite", "uas_reinvite", Transport::Tcp);
    sipp("uac_hung_up", "uas_hangs_up", Transport::Tcp);
}

/// What each side of a call between two baresips sent and heard, by way of `core`.
pub fn baresip_call(core: &Core, ports: &mut Ports, bob: SocketAddr) -> (f64, f64) {
    let alice = SocketAddr::from(([127, 0, 0, 1], ports.pair()));
    let (from, to) = (ports.row(10), ports.row(10));
    let audio = wav::tone(8000 * 12);
    let (one, two) = audio.split_at(8000 * 6);
    let listens = Part {
        user: "bob",
        sip: bob,
        media: to,
        proxy: None,
        calls: None,
        seconds: 9,
    };
    let server = Baresip::start(&listens, two);
    assert!(server.is_ready(LONG));
    let callee = format!("sip:bob@{}", core.sip);
    let proxy = Some(core.sip);
    let calls = Part {
        user: "alice",
        sip: alice,
        media: from,
        proxy,
        calls: Some(&callee),
        seconds: 6,
    };
    let (sent_by_alice, heard_by_alice) = Baresip::start(&calls, one).finish(LONG);
    let (sent_by_bob, heard_by_bob) = server.finish(LONG);
    assert!(
        heard_by_bob.len() > 8000 * 3,
        "only {} samples",
        heard_by_bob.len()
    );
    assert!(
        likeness(&sent_by_bob, &heard_by_bob) < 0.5,
        "Bob hears himself"
    );
    (
        likeness(&sent_by_alice, &heard_by_bob),
        likeness(&sent_by_bob, &heard_by_alice),
    )
}

#[test]
fn two_baresips_hear_each_other_through_the_relay() {
    if !needs("live::standard", &["kamailio", "baresip"]) {
        return;
    }
    let relay = Relay::start();
    let mut ports = Ports::take();
    let bob = SocketAddr::from(([127, 0, 0, 1], ports.pair()));
    let core = Core::start(
        &mut ports,
        Some(relay.sip),
        &[("bob", &format!("sip:bob@{bob}"))],
    );
    let (there, back) = baresip_call(&core, &mut ports, bob);
    assert!(there > 0.95 && back > 0.95, "there {there}, back {back}");
    let relayed = relay.metric(&["midpath_datagrams_out_total"]);
    assert!(
        relayed > 200.0,
        "the audio didn't pass the relay: {relayed} packets"
    );
    std::thread::sleep(Duration::from_millis(100));
    relay.assert_empty();
}
