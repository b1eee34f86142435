use crate::api::{Direction, Event, Learn, RtpRemote, Side, StreamId, StreamSet};
use crate::stats::DropReason;

use super::fake::{
    LEARN, REPORT, World, address, config, connect, connect_with, locals, open, release, rtp,
    rtp_spec,
};

struct Call {
    world: World,
    /// The relay's RTP and RTCP address, per side.
    local: [(std::net::SocketAddr, std::net::SocketAddr); 2],
}

const A: &str = "192.0.2.1:4000";
const A_RTCP: &str = "192.0.2.1:4001";
const B: &str = "192.0.2.2:6000";
const B_RTCP: &str = "192.0.2.2:6001";

fn call(rtcp_mux: bool, learn: Learn) -> Call {
    let mut world = World::new(&config(10_000, 10_099));
    let opened = world.order(1, vec![open(0, &rtp_spec(rtcp_mux, learn))]);
    let local = locals(&opened.acts[0]);
    let (rtcp_a, rtcp_b) = if rtcp_mux { (A, B) } else { (A_RTCP, B_RTCP) };
    let acts = vec![
        connect(0, Side::A, address(A), address(rtcp_a)),
        connect(0, Side::B, address(B), address(rtcp_b)),
    ];
    world.order(1, acts);
    Call { world, local }
}

#[test]
fn rtp_and_rtcp_pass_both_ways_untouched() {
    let Call { mut world, local } = call(false, Learn::Never);
    let [(rtp_a, rtcp_a), (rtp_b, rtcp_b)] = local;
    assert_eq!(rtp_a.port() % 2, 0);
    assert_eq!(rtcp_a.port(), rtp_a.port() + 1);
    let packet = rtp(7, 1);
    let sent = world.datagram(address(A), rtp_a, &packet);
    assert_eq!(sent, [(rtp_b, address(B), packet.clone())]);
    let sent = world.datagram(address(B), rtp_b, &packet);
    assert_eq!(sent, [(rtp_a, address(A), packet)]);
    let sent = world.datagram(address(A_RTCP), rtcp_a, &REPORT);
    assert_eq!(sent, [(rtcp_b, address(B_RTCP), REPORT.to_vec())]);
}

#[test]
fn multiplexed_rtcp_shares_the_port() {
    let Call { mut world, local } = call(true, Learn::Never);
    let [(rtp_a, rtcp_a), (rtp_b, _)] = local;
    assert_eq!(rtp_a, rtcp_a);
    let sent = world.datagram(address(A), rtp_a, &REPORT);
    assert_eq!(sent, [(rtp_b, address(B), REPORT.to_vec())]);
    let facts = world.worker.stats;
    assert_eq!(facts.datagrams_out, 1);
}

#[test]
fn a_leg_with_two_ports_is_multiplexed_where_both_remote_addresses_are_one() {
    let Call { mut world, local } = call(false, Learn::Never);
    let [(rtp_a, _), (rtp_b, rtcp_b)] = local;
    world.order(1, vec![connect(0, Side::A, address(A), address(A))]);
    let sent = world.datagram(address(A), rtp_a, &REPORT);
    assert_eq!(sent, [(rtcp_b, address(B_RTCP), REPORT.to_vec())]);
    let sent = world.datagram(address(B_RTCP), rtcp_b, &REPORT);
    assert_eq!(sent, [(rtp_a, address(A), REPORT.to_vec())]);
    assert!(!world.datagram(address(B), rtp_b, &rtp(1, 1)).is_empty());
}

#[test]
fn a_client_behind_nat_is_learnt_once_and_a_stray_is_dropped() {
    let Call { mut world, local } = call(false, LEARN);
    let [(rtp_a, rtcp_a), (rtp_b, _)] = local;
    let (behind, stray) = (address("198.51.100.7:1024"), address("203.0.113.9:9"));
    assert_eq!(world.datagram(behind, rtp_a, &rtp(1, 1)).len(), 1);
    let sent = world.datagram(address(B), rtp_b, &rtp(1, 2));
    assert_eq!(sent[0].1, behind);
    assert_eq!(world.datagram(stray, rtp_a, &rtp(2, 1)).len(), 0);
    assert_eq!(world.dropped(DropReason::Source), 1);
    // RTCP learns for itself.
    assert_eq!(world.datagram(stray, rtcp_a, &REPORT).len(), 1);
    world.pass(1100);
    assert_eq!(world.datagram(behind, rtp_a, &rtp(2, 1)).len(), 1);
}

#[test]
fn hold_stops_rtp_and_lets_rtcp_pass() {
    let Call { mut world, local } = call(false, Learn::Never);
    let [(rtp_a, rtcp_a), (rtp_b, _)] = local;
    let remote = RtpRemote {
        rtp: address(A),
        rtcp: address(A_RTCP),
    };
    let send_only = Direction {
        may_send: true,
        may_receive: false,
    };
    world.order(1, vec![connect_with(0, Side::A, remote, send_only)]);
    assert_eq!(world.datagram(address(A), rtp_a, &rtp(1, 1)).len(), 1);
    assert_eq!(world.datagram(address(B), rtp_b, &rtp(1, 2)).len(), 0);
    assert_eq!(world.dropped(DropReason::Direction), 1);
    assert_eq!(world.datagram(address(A_RTCP), rtcp_a, &REPORT).len(), 1);
}

#[test]
fn what_is_not_rtp_is_counted_and_goes_nowhere() {
    let Call { mut world, local } = call(false, LEARN);
    let stun = [
        0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let stray = address("203.0.113.9:9");
    for bytes in [
        stun.as_slice(),
        &[19; 20],
        &[64; 20],
        &[],
        &[0x80],
        &[0xff; 1500],
    ] {
        assert_eq!(world.datagram(stray, local[0].0, bytes).len(), 0);
    }
    assert_eq!(world.dropped(DropReason::NotRtp), 6);
    let sent = world.datagram(address(B), local[1].0, &rtp(1, 1));
    assert_eq!(sent[0].1, address(A), "garbage teaches no address");
    assert_eq!(world.worker.pool.free(crate::frame::Class::Datagram), 1024);
}

#[test]
fn a_dtls_handshake_passes_untouched_on_both_ports_and_during_hold() {
    let Call { mut world, local } = call(false, Learn::Never);
    let [(rtp_a, rtcp_a), (rtp_b, rtcp_b)] = local;
    for (from, to, out, far) in [
        (A, rtp_a, rtp_b, B),
        (B, rtp_b, rtp_a, A),
        (A_RTCP, rtcp_a, rtcp_b, B_RTCP),
    ] {
        let sent = world.datagram(address(from), to, &DTLS);
        assert_eq!(sent, [(out, address(far), DTLS.to_vec())]);
    }
    // DTLS 1.3's unified header, the last first byte there is.
    assert_eq!(world.datagram(address(A), rtp_a, &[63, 1, 2]).len(), 1);
    let silent = Direction {
        may_send: false,
        may_receive: false,
    };
    let remote = RtpRemote {
        rtp: address(A),
        rtcp: address(A_RTCP),
    };
    world.order(1, vec![connect_with(0, Side::A, remote, silent)]);
    assert_eq!(world.datagram(address(A), rtp_a, &DTLS).len(), 1);
    assert!(world.datagram(address(B_RTCP), rtp_a, &DTLS).is_empty());
    assert_eq!(world.dropped(DropReason::Source), 1, "a stray's");
    assert_eq!(world.worker.stats.drops.iter().sum::<u64>(), 1);
    let released = world.order(1, vec![release(StreamSet::ALL, 0)]);
    let crate::api::Act::Release { facts, .. } = &released.acts[0] else {
        panic!()
    };
    let [a, _] = facts[0].legs;
    assert_eq!((a.packets, a.bytes, a.rtcp_packets), (0, 0, 0));
}

#[test]
fn a_dtls_handshake_teaches_where_a_client_behind_nat_is() {
    let Call { mut world, local } = call(true, LEARN);
    let [(rtp_a, _), (rtp_b, _)] = local;
    let behind = address("198.51.100.7:1024");
    assert_eq!(world.datagram(behind, rtp_a, &DTLS).len(), 1);
    assert_eq!(world.datagram(address(B), rtp_b, &DTLS)[0].1, behind);
    assert_eq!(world.datagram(behind, rtp_a, &rtp(1, 1)).len(), 1);
}

/// The head of a ClientHello's record.
const DTLS: [u8; 13] = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn nothing_passes_before_the_far_ends_are_named() {
    let mut world = World::new(&config(10_000, 10_099));
    let opened = world.order(1, vec![open(0, &rtp_spec(false, LEARN))]);
    let [(rtp_a, _), _] = locals(&opened.acts[0]);
    assert!(world.datagram(address(A), rtp_a, &rtp(1, 1)).is_empty());
    assert_eq!(world.dropped(DropReason::Source), 1);
    world.order(1, vec![connect(0, Side::A, address(A), address(A_RTCP))]);
    assert!(world.datagram(address(A), rtp_a, &rtp(1, 1)).is_empty());
    assert_eq!(world.dropped(DropReason::NoRemote), 1);
}

#[test]
fn silence_is_told_once_and_so_is_its_end() {
    let Call { mut world, local } = call(false, Learn::Never);
    for seq in 0..10 {
        world.pass(400);
        world.datagram(address(B), local[1].0, &rtp(seq, 2));
    }
    let told: Vec<_> = world.news.drain(..).collect();
    assert!(
        matches!(
            told[..],
            [Event::Silent {
                side: Side::A,
                stream: StreamId(0),
                ..
            }]
        ),
        "{told:?}"
    );
    world.datagram(address(A), local[0].0, &rtp(1, 1));
    world.pass(500);
    let told: Vec<_> = world.news.drain(..).collect();
    assert!(
        matches!(told[..], [Event::Heard { side: Side::A, .. }]),
        "{told:?}"
    );
}

#[test]
fn a_side_that_may_not_send_is_not_silent() {
    let Call { mut world, .. } = call(false, Learn::Never);
    let inactive = Direction {
        may_send: false,
        may_receive: false,
    };
    for (side, rtp, rtcp) in [(Side::A, A, A_RTCP), (Side::B, B, B_RTCP)] {
        let remote = RtpRemote {
            rtp: address(rtp),
            rtcp: address(rtcp),
        };
        world.order(1, vec![connect_with(0, side, remote, inactive)]);
    }
    world.pass(5000);
    assert!(world.news.is_empty(), "{:?}", world.news);
}

#[test]
fn a_packet_that_is_late_for_a_slot_used_again_finds_nobody() {
    let Call { mut world, local } = call(false, Learn::Never);
    let old = {
        let net = world.net.borrow();
        let found = net.sockets.values().find(|sock| sock.local == local[0].0);
        found.unwrap().token
    };
    world.order(1, vec![release(StreamSet::ALL, 0)]);
    world.order(2, vec![open(0, &rtp_spec(false, Learn::Never))]);
    let mut frame = world
        .worker
        .pool
        .take(crate::frame::Class::Datagram)
        .unwrap();
    world.worker.pool.append(&mut frame, &rtp(1, 1));
    let now = world.now;
    world.worker.path(now).datagram(old, address(A), frame);
    assert_eq!(world.dropped(DropReason::NoLeg), 1);
}
