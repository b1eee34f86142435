//! The servers and scenarios beside the relay work with each other without it.

use std::time::Duration;

use tests::live::judge::{self, Capture};
use tests::live::kamailio::Core;
use tests::live::needs;
use tests::live::ports::Ports;
use tests::live::sipp::{Plan, Transport};

const LONG: Duration = Duration::from_secs(60);

/// SIPp calls SIPp by way of Kamailio alone.
fn through_the_core(client: &'static str, server: &'static str, transport: Transport) {
    let mut ports = Ports::take();
    let (uas, uac) = ((ports.one(), ports.row(12)), (ports.one(), ports.row(12)));
    let way = if transport == Transport::Udp {
        "udp"
    } else {
        "tcp"
    };
    let device = format!("sip:bob@127.0.0.1:{};transport={way}", uas.0);
    let core = Core::start(&mut ports, None, &[("bob", &device)]);
    let mut server = Plan::server(server, uas, 3).with("CODE", "486");
    let target = core.sip.to_string();
    let mut client = Plan::client(client, uac, 3, (core.sip, &target)).with("CODE", "486");
    if transport == Transport::Tcp {
        (server, client) = (server.tcp(), client.tcp());
    }
    let server = server.argument("-rtp_echo").start();
    client.start().succeeds(LONG);
    server.succeeds(LONG);
}

#[test]
fn each_scenario_runs_through_the_core_without_the_relay() {
    if !needs("live::servers", &["kamailio", "sipp"]) {
        return;
    }
    for (client, server) in [
        ("uac_call", "uas_call"),
        ("uac_audio", "uas_call"),
        ("uac_refused", "uas_refused"),
        ("uac_cancel", "uas_cancel"),
        ("uac_reinvite", "uas_reinvite"),
        ("uac_hung_up", "uas_hangs_up"),
    ] {
        through_the_core(client, server, Transport::Udp);
        through_the_core(client, server, Transport::Tcp);
    }
}

#[test]
fn the_judge_finds_a_malformed_message() {
    if !needs("live::servers", &["dumpcap", "tshark"]) {
        return;
    }
    let mut ports = Ports::take();
    let (good, bad) = (ports.one(), ports.one());
    let filter = format!("udp port {good} or udp port {bad}");
    let Some(capture) = Capture::start(&filter) else {
        return tests::live::skip("live::servers", "this user may not capture on lo");
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
                   From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
                   Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    socket
        .send_to(request.as_bytes(), ("127.0.0.1", good))
        .unwrap();
    // An RTP packet that says it has 15 contributing sources and ends before them.
    let cut = [0x8F, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    socket.send_to(&cut, ("127.0.0.1", bad)).unwrap();
    let wire = capture.stop();
    let sip = judge::Ports {
        sip: vec![good],
        ..judge::Ports::default()
    };
    assert_eq!(wire.count(&sip, "sip.Method == \"OPTIONS\""), 1);
    wire.assert_well_formed(&sip);
    let both = judge::Ports {
        rtp: vec![bad],
        ..sip
    };
    assert!(std::panic::catch_unwind(|| wire.assert_well_formed(&both)).is_err());
}

#[test]
fn two_baresips_hear_each_other_through_the_core_without_the_relay() {
    if !needs("live::servers", &["kamailio", "baresip"]) {
        return;
    }
    let mut ports = Ports::take();
    let bob = std::net::SocketAddr::from(([127, 0, 0, 1], ports.pair()));
    let core = Core::start(&mut ports, None, &[("bob", &format!("sip:bob@{bob}"))]);
    crate::standard::baresip_call(&core, &mut ports, bob);
}
