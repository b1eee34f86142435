//! Scenes of sockets that gather.

use std::time::Duration;

use super::super::RxItem;
use super::{Make, Rig, V4, V6, panic_on, peer};

/// The next datagram, and how long it has waited.
fn next(rig: &mut Rig) -> (Vec<u8>, Duration) {
    let (frame, waited) = rig.until(|rig| {
        if rig.rx.items.is_empty() {
            return None;
        }
        match rig.rx.items.remove(0) {
            RxItem::Datagram { frame, waited, .. } => Some((frame, waited)),
            other => panic_on(Some(other)),
        }
    });
    (rig.bytes_of(frame), waited)
}

pub(super) fn what_lies_in_a_socket_that_gathers_comes_in_order_when_it_is_collected(make: Make) {
    for local in [V4, V6] {
        let mut rig = Rig::new(make);
        let (socket, at) = rig.datagram(local);
        let (peer, _) = peer(local);
        peer.send_to(b"before", at).unwrap();
        assert_eq!(next(&mut rig), (b"before".to_vec(), Duration::ZERO));
        rig.backend.gather(socket, true);
        rig.settle();
        for round in 0..3_u8 {
            for word in 0..3_u8 {
                peer.send_to(&[round, word], at).unwrap();
            }
            rig.backend.collect(socket);
            for word in 0..3_u8 {
                let (bytes, waited) = next(&mut rig);
                assert_eq!(bytes, [round, word]);
                assert!(waited < Duration::from_secs(60), "{waited:?}");
            }
        }
        rig.backend.gather(socket, false);
        peer.send_to(b"after", at).unwrap();
        assert_eq!(next(&mut rig), (b"after".to_vec(), Duration::ZERO));
    }
}

pub(super) fn what_came_before_a_socket_gathers_no_more_is_received(make: Make) {
    let mut rig = Rig::new(make);
    let (socket, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    rig.backend.gather(socket, true);
    rig.settle();
    peer.send_to(b"waits", at).unwrap();
    rig.backend.gather(socket, false);
    assert_eq!(next(&mut rig).0, b"waits");
}

pub(super) fn a_socket_that_gathers_is_closed_with_what_lies_in_it(make: Make) {
    let mut rig = Rig::new(make);
    let (socket, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    rig.backend.gather(socket, true);
    rig.settle();
    peer.send_to(b"never seen", at).unwrap();
    rig.backend.collect(socket);
    rig.backend.close(socket, &mut rig.pool);
    let (_, other_at) = rig.datagram(V4);
    peer.send_to(b"seen", other_at).unwrap();
    assert_eq!(next(&mut rig).0, b"seen");
}
