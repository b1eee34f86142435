//! Scenes of datagrams, sockets and sleep.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::super::{RxItem, SocketSpec, Token};
use super::{MARK, Make, Rig, V4, V6, panic_on, peer};

pub(super) fn datagrams_go_both_ways_over_both_families(make: Make) {
    for local in [V4, V6] {
        let mut rig = Rig::new(make);
        let (socket, at) = rig.datagram(local);
        let (peer, peer_at) = peer(local);
        peer.send_to(b"to the relay", at).unwrap();
        let (token, from, frame) = rig.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Datagram {
                token, from, frame, ..
            }) => Some((token, from, frame)),
            other => panic_on(other),
        });
        assert_eq!((token, from), (MARK, peer_at));
        assert_eq!(rig.bytes_of(frame), b"to the relay");

        rig.say(socket, peer_at, b"from the relay");
        rig.send();
        let mut bytes = [0; 64];
        let (count, from) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..count], from), (&b"from the relay"[..], at));
        assert_eq!(rig.tx.failed, 0);
    }
}

pub(super) fn a_burst_longer_than_a_batch_arrives_whole_and_in_order(make: Make) {
    let mut rig = Rig::with_pool(make, 1024, 8);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    const BURST: u32 = 300;
    for number in 0..BURST {
        peer.send_to(&number.to_be_bytes(), at).unwrap();
    }
    let mut next = 0_u32;
    rig.until(|rig| {
        for item in std::mem::take(&mut rig.rx.items) {
            let RxItem::Datagram { frame, .. } = item else {
                panic!("unexpected: {item:?}")
            };
            assert_eq!(rig.bytes_of(frame), next.to_be_bytes());
            next += 1;
        }
        (next == BURST).then_some(())
    });
}

pub(super) fn a_batch_for_many_sockets_is_sent_in_order(make: Make) {
    let mut rig = Rig::with_pool(make, 1024, 8);
    let sockets: Vec<_> = (0..3).map(|_| rig.datagram(V4).0).collect();
    let (peer, peer_at) = peer(V4);
    // Runs of one, of some, and of more than one call sends.
    let runs = [(0, 1), (1, 5), (0, 1), (2, 70), (1, 1)];
    let mut said = 0_u32;
    for (socket, count) in runs {
        for _ in 0..count {
            rig.say(sockets[socket], peer_at, &said.to_be_bytes());
            said += 1;
        }
    }
    rig.send();
    for number in 0..said {
        let mut bytes = [0; 8];
        let (count, _) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!(bytes[..count], number.to_be_bytes());
    }
    assert_eq!(rig.tx.failed, 0);
}

pub(super) fn a_refused_datagram_is_counted_and_does_not_hold_up_the_others(make: Make) {
    let mut rig = Rig::new(make);
    let (socket, _) = rig.datagram(V4);
    let (closed, _) = rig.datagram(V4);
    rig.backend.close(closed, &mut rig.pool);
    let (peer, peer_at) = peer(V4);
    rig.say(socket, "127.0.0.1:0".parse().unwrap(), b"no such port");
    rig.say(socket, peer_at, b"fine");
    rig.say(closed, peer_at, b"no such socket");
    rig.send();
    let mut bytes = [0; 8];
    let (count, _) = peer.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"fine");
    // One that the kernel refused may be told with the next batch.
    rig.settle();
    rig.send();
    assert_eq!(rig.tx.failed, 2);
}

fn next_datagram(rig: &mut Rig) -> Vec<u8> {
    let frame = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Datagram { frame, .. }) => Some(frame),
        other => panic_on(other),
    });
    rig.bytes_of(frame)
}

pub(super) fn a_tied_socket_hears_and_reaches_its_far_end_alone_until_it_is_untied(make: Make) {
    for local in [V4, V6] {
        let mut rig = Rig::new(make);
        // A port of the kernel's choosing would be lost with the tie (connect(2), AF_UNSPEC).
        let (picked, at) = rig.datagram(local);
        rig.backend.close(picked, &mut rig.pool);
        let (socket, _) = rig.datagram(&at.to_string());
        let (far, far_at) = peer(local);
        let (stranger, stranger_at) = peer(local);
        rig.backend.tie(socket, Some(far_at));
        // A batch of more than one, and one by itself.
        for said in [&[b"1", b"2"][..], &[b"3"]] {
            for word in said {
                rig.say(socket, far_at, *word);
            }
            rig.send();
            for word in said {
                let mut bytes = [0; 8];
                let (count, from) = far.recv_from(&mut bytes).unwrap();
                assert_eq!((&bytes[..count], from), (&word[..], at));
            }
        }
        // The kernel drops the stranger's, or tells the stranger that nobody is there.
        let _ = stranger.send_to(b"stranger", at);
        far.send_to(b"far", at).unwrap();
        assert_eq!(next_datagram(&mut rig), b"far");
        rig.backend.tie(socket, None);
        stranger.send_to(b"stranger", at).unwrap();
        assert_eq!(next_datagram(&mut rig), b"stranger");
        rig.say(socket, stranger_at, b"heard");
        rig.send();
        let mut bytes = [0; 8];
        let (count, from) = stranger.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..count], from), (&b"heard"[..], at));
        assert_eq!(rig.tx.failed, 0);
    }
}

pub(super) fn a_far_end_that_is_gone_and_comes_back_is_heard_again(make: Make) {
    let mut rig = Rig::new(make);
    let (socket, at) = rig.datagram(V4);
    let (far, far_at) = peer(V4);
    rig.backend.tie(socket, Some(far_at));
    drop(far);
    // Each is answered by "port unreachable", which a tied socket is told of.
    for _ in 0..20 {
        rig.say(socket, far_at, b"is anybody there?");
        rig.send();
        rig.settle();
    }
    let far = UdpSocket::bind(far_at).unwrap();
    far.send_to(b"back", at).unwrap();
    assert_eq!(next_datagram(&mut rig), b"back");
}

pub(super) fn a_datagram_that_does_not_fit_a_frame_is_dropped_and_counted(make: Make) {
    let mut rig = Rig::new(make);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    peer.send_to(&[1; 1985], at).unwrap();
    peer.send_to(&[2; 1984], at).unwrap();
    let frame = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Datagram { frame, .. }) => Some(frame),
        other => panic_on(other),
    });
    assert_eq!(rig.bytes_of(frame), [2; 1984]);
    assert_eq!(rig.rx.truncated, 1);
}

pub(super) fn an_empty_datagram_is_received_and_does_not_end_the_receiving(make: Make) {
    let mut rig = Rig::new(make);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    for round in 0..20 {
        peer.send_to(b"", at).unwrap();
        let frame = rig.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Datagram { frame, .. }) => Some(frame),
            other => panic_on(other),
        });
        assert!(frame.is_empty(), "round {round}");
        rig.pool.give(frame);
    }
}

pub(super) fn a_closed_port_is_free_at_once(make: Make) {
    let mut rig = Rig::new(make);
    let (peer, _) = peer(V4);
    for round in 0..50 {
        let (socket, at) = rig.datagram(V4);
        // Armed in every other round only.
        if round % 2 == 0 {
            peer.send_to(b"x", at).unwrap();
            rig.settle();
            rig.discard();
        }
        rig.backend.close(socket, &mut rig.pool);
        drop(UdpSocket::bind(at).expect("the port of a closed datagram socket is free"));

        let (listener, at) = rig.listen();
        rig.settle();
        rig.backend.close(listener, &mut rig.pool);
        drop(TcpListener::bind(at).expect("the port of a closed listener is free"));
    }
}

pub(super) fn a_thousand_sockets_come_and_go_without_a_trace(make: Make) {
    let mut rig = Rig::new(make);
    let (warm, _) = rig.datagram(V4);
    rig.settle();
    rig.backend.close(warm, &mut rig.pool);
    let before = rig.free();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let open_before = descriptors();
    let (peer, _) = peer(V4);
    let nobody = TcpListener::bind(V4).unwrap().local_addr().unwrap();
    for round in 0..1_000 {
        let (socket, at) = rig.datagram(V4);
        let stream = rig.connect(nobody);
        peer.send_to(b"x", at).unwrap();
        if round % 3 != 0 {
            rig.backend.receive(&mut rig.rx, &mut rig.pool);
            rig.discard();
        }
        rig.backend.close(socket, &mut rig.pool);
        rig.backend.close(stream, &mut rig.pool);
        assert!(socket.0 < 8 && stream.0 < 8, "numbers are used again");
    }
    let after = rig.free();
    // A backend may have begun to keep a call's worth of frames for itself, but not a thousand.
    assert!(
        before.0 - after.0 <= 32 && before.1 == after.1,
        "{before:?} {after:?}"
    );
    // The other scenes of this process open some too, but never hundreds.
    assert!(descriptors() < open_before + 400);
}

pub(super) fn nothing_of_a_closed_socket_reaches_its_successor(make: Make) {
    let mut rig = Rig::new(make);
    let (peer, _) = peer(V4);
    for round in 0..50 {
        let (old, at) = rig.datagram(V4);
        rig.backend.set_token(old, Token(1));
        rig.settle();
        for _ in 0..10 {
            peer.send_to(b"for the old one", at).unwrap();
        }
        if round % 2 == 0 {
            // The kernel has filled frames with them that are not received yet.
            rig.backend.wait(Duration::from_millis(5)).unwrap();
        }
        rig.backend.close(old, &mut rig.pool);
        let new: Vec<_> = (0..3).map(|_| rig.datagram(V4)).collect();
        rig.settle();
        assert_eq!(rig.discard(), [""; 0], "round {round}");
        for (socket, _) in new {
            rig.backend.close(socket, &mut rig.pool);
        }
    }
}

pub(super) fn datagrams_are_received_again_after_a_famine(make: Make) {
    let mut rig = Rig::with_pool(make, 32, 8);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    for number in 0..100_u32 {
        peer.send_to(&number.to_be_bytes(), at).unwrap();
    }
    // Nobody gives a frame back until there is none left.
    rig.until(|rig| (rig.rx.starved > 0).then_some(()));
    assert!(rig.rx.items.len() <= 32);
    let mut next = 0_u32;
    rig.until(|rig| {
        for item in std::mem::take(&mut rig.rx.items) {
            if let RxItem::Datagram { frame, .. } = item {
                assert_eq!(rig.bytes_of(frame), next.to_be_bytes());
                next += 1;
            }
        }
        (next == 100).then_some(())
    });
}

pub(super) fn a_bind_to_a_taken_port_says_so(make: Make) {
    let mut rig = Rig::new(make);
    let (_, local) = rig.datagram(V4);
    let again = rig.backend.open(&SocketSpec::Datagram { local }, MARK);
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

pub(super) fn the_bell_wakes_a_sleeper(make: Make) {
    let mut rig = Rig::new(make);
    rig.datagram(V4);
    rig.settle();
    // Twice, as a bell that was taken back rings again.
    for _ in 0..2 {
        rig.bell.signal();
        let before = now();
        rig.backend.wait(Duration::from_secs(20)).unwrap();
        assert!(now() - before < Duration::from_secs(10));
        rig.bell.clear();
        rig.settle();
    }
}

pub(super) fn a_sleeper_wakes_when_the_time_is_up(make: Make) {
    let mut rig = Rig::new(make);
    rig.datagram(V4);
    rig.settle();
    let before = now();
    rig.backend.wait(Duration::from_millis(30)).unwrap();
    let slept = now() - before;
    assert!(slept >= Duration::from_millis(25), "{slept:?}");
    assert!(slept < Duration::from_secs(10), "{slept:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scene measures how long it slept"
)]
fn now() -> Instant {
    Instant::now()
}
