//! Real threads, real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::api::{
    Act, BackendKind, Config, Doorbell, Event, Learn, LegSpec, Order, Side, StreamSet,
};
use crate::net::uring::Uring;
use crate::stats::DropReason;
use crate::worker::{Handle, start};

use super::fake::{config, connect, locals, open, order, release, rtp};

pub(super) fn real(backend: BackendKind) -> Config {
    Config {
        backend,
        workers: 2,
        msrp_listen: vec!["127.0.0.1".parse().unwrap()],
        msrp_ports: crate::api::PortChoice::only_tcp(0),
        ..config(45_000, 45_999)
    }
}

pub(super) fn wait_for(handle: &mut Handle) -> Box<Order> {
    loop {
        match handle.link.news() {
            Some(Event::Done(order)) => return order,
            Some(other) => panic!("{other:?}"),
            None => std::thread::yield_now(),
        }
    }
}

pub(super) fn client() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn relays(backend: BackendKind) {
    let bell = Doorbell::new().unwrap();
    let mut handles = start(&real(backend), &bell).unwrap();
    assert_eq!(handles.len(), 2);
    assert_ne!(handles[0].msrp_listen, handles[1].msrp_listen);
    for (number, handle) in handles.iter_mut().enumerate() {
        assert_eq!(
            handle.thread.thread().name(),
            Some(["worker-0", "worker-1"][number])
        );
        let spec = LegSpec::Rtp {
            local_ip: "127.0.0.1".parse().unwrap(),
            rtcp_mux: true,
            learn: Learn::Never,
        };
        handle.link.order(order(1, vec![open(0, &spec)])).unwrap();
        let local = locals(&wait_for(handle).acts[0]);
        let (a, a_at) = client();
        let (b, b_at) = client();
        let acts = vec![
            connect(0, Side::A, a_at, a_at),
            connect(0, Side::B, b_at, b_at),
        ];
        handle.link.order(order(1, acts)).unwrap();
        wait_for(handle);
        let mut buffer = [0; 100];
        for seq in 0..50 {
            // Asleep at first, then awake.
            a.send_to(&rtp(seq, 1), local[0].0).unwrap();
            let (len, from) = b.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (rtp(seq, 1).as_slice(), local[1].0));
        }
        a.send_to(&[0x80; 3000], local[0].0).unwrap();
        while handle.board.load().drops[DropReason::TooLong as usize] == 0 {
            std::thread::yield_now();
        }
        handle
            .link
            .order(order(1, vec![release(StreamSet::ALL, 0)]))
            .unwrap();
        let released = wait_for(handle);
        let Act::Release { facts, .. } = &released.acts[0] else {
            panic!()
        };
        assert_eq!(facts[0].legs[0].packets, 50);
        assert!(UdpSocket::bind(local[0].0).is_ok(), "its port is free");
    }
    for Handle { link, thread, .. } in handles {
        drop(link);
        // It sleeps, and looks whether control is there when it wakes.
        thread.join().unwrap();
    }
}

#[test]
fn workers_relay_over_epoll_and_end_with_their_link() {
    relays(BackendKind::Epoll);
}

#[test]
fn workers_relay_over_io_uring_and_end_with_their_link() {
    match Uring::probe() {
        Ok(()) => relays(BackendKind::Uring),
        Err(error) => println!("SKIPPED: this kernel has no io_uring for us: {error}"),
    }
}

#[test]
fn a_worker_that_can_not_be_started_says_why() {
    let mut config = real(BackendKind::Epoll);
    config.msrp_listen = vec!["203.0.113.77".parse().unwrap()];
    let bell = Doorbell::new().unwrap();
    let error = start(&config, &bell).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
}
