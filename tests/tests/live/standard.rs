//! Standard clients through the relay: SIPp over UDP and TCP, baresip with real audio.

use std::net::SocketAddr;

use tests::live::baresip::{Baresip, Part, longest_alike};
use tests::live::kamailio::Core;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::sipp::{Plan, Transport};
use tests::live::{eventually, needs, wav};

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
        assert_relayed(&relay, 100.0);
    }
}

/// The audio has passed the relay, at least so many packets.
fn assert_relayed(relay: &Relay, packets: f64) {
    let relayed = || relay.metric(&["midpath_datagrams_out_total"]);
    let has_relayed = eventually(LONG, || relayed() >= packets);
    assert!(has_relayed, "only {} packets", relayed());
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

/// Two baresips call each other by way of `core`, until each has heard the other for three seconds
/// sample for sample, and never itself.
pub fn baresip_call(core: &Core, ports: &mut Ports, bob: SocketAddr) {
    const THREE_SECONDS: usize = 24_000;
    let alice = SocketAddr::from(([127, 0, 0, 1], ports.pair()));
    let (from, to) = (ports.row(10), ports.row(10));
    let audio = wav::tone(8000 * 80);
    let (one, two) = audio.split_at(8000 * 40);
    let listens = Part {
        user: "bob",
        sip: bob,
        media: to,
        proxy: None,
        calls: None,
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
    };
    let client = Baresip::start(&calls, one);
    for (speaks, listens) in [(&client, &server), (&server, &client)] {
        let mut alike = 0;
        let is_heard = eventually(LONG, || {
            // What was heard was sent before.
            let heard = listens.heard();
            alike = longest_alike(&speaks.sent(), &heard);
            alike >= THREE_SECONDS
        });
        assert!(is_heard, "{alike} samples: {}", listens.output());
    }
    for one in [&client, &server] {
        let own = longest_alike(&one.sent(), &one.heard());
        assert!(own < THREE_SECONDS / 20, "it hears {own} samples of itself");
    }
    client.finish(LONG);
    server.finish(LONG);
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
    baresip_call(&core, &mut ports, bob);
    assert_relayed(&relay, 200.0);
    relay.assert_empty();
}
