use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Incoming, Listen, Transports};
use crate::sip::{Flow, Protocol, Transmit};

const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 3\r\n\r\nabc";

fn bind(protocol: Protocol) -> Transports {
    let address = "127.0.0.1:0".parse().unwrap();
    Transports::bind(&[Listen { protocol, address }]).unwrap()
}

fn flow(from: &Transports, to: &Transports, protocol: Protocol) -> Flow {
    let any = "127.0.0.1:1".parse().unwrap();
    let local = from.local_for(protocol, any).unwrap();
    let remote = to.local_for(protocol, any).unwrap();
    Flow {
        protocol,
        local,
        remote,
        connection: 0,
    }
}

async fn packet(transports: &mut Transports) -> (Flow, Bytes) {
    match timeout(Duration::from_secs(5), transports.receive())
        .await
        .unwrap()
        .unwrap()
    {
        Incoming::Packet { flow, bytes } => (flow, bytes),
        Incoming::Failed { flow } => panic!("{flow:?} failed"),
    }
}

async fn failed(transports: &mut Transports) -> Flow {
    match timeout(Duration::from_secs(5), transports.receive())
        .await
        .unwrap()
        .unwrap()
    {
        Incoming::Failed { flow } => flow,
        Incoming::Packet { .. } => panic!("a packet"),
    }
}

#[tokio::test]
async fn a_datagram_goes_there_and_back() {
    let (mut a, mut b) = (bind(Protocol::Udp), bind(Protocol::Udp));
    let there = flow(&a, &b, Protocol::Udp);
    a.send(Transmit {
        flow: there,
        bytes: Bytes::from_static(MESSAGE),
    });
    let (back, bytes) = packet(&mut b).await;
    assert_eq!(
        (back.local, back.remote, bytes.as_ref()),
        (there.remote, there.local, MESSAGE)
    );
    b.send(Transmit { flow: back, bytes });
    assert_eq!(packet(&mut a).await.0.remote, there.remote);
}

#[tokio::test]
async fn what_no_datagram_can_carry_says_nothing_of_the_way() {
    let (mut a, mut b) = (bind(Protocol::Udp), bind(Protocol::Udp));
    let there = flow(&a, &b, Protocol::Udp);
    a.send(Transmit {
        flow: there,
        bytes: vec![b'x'; 65_508].into(),
    });
    assert!(
        a.try_receive().is_none(),
        "nobody else's request has failed"
    );
    a.send(Transmit {
        flow: there,
        bytes: Bytes::from_static(MESSAGE),
    });
    assert_eq!(packet(&mut b).await.1.as_ref(), MESSAGE);
}

#[tokio::test]
async fn one_connection_carries_both_directions() {
    let (mut a, mut b) = (bind(Protocol::Tcp), bind(Protocol::Tcp));
    let there = flow(&a, &b, Protocol::Tcp);
    for _ in 0..3 {
        a.send(Transmit {
            flow: there,
            bytes: Bytes::from_static(MESSAGE),
        });
    }
    for _ in 0..3 {
        let (back, bytes) = packet(&mut b).await;
        assert_eq!((back.local, bytes.as_ref()), (there.remote, MESSAGE));
        b.send(Transmit { flow: back, bytes });
        let (came, _) = packet(&mut a).await;
        assert_eq!((came.local, came.remote), (there.local, there.remote));
        assert_ne!(came.connection, 0);
    }
    assert_eq!((a.connections(), b.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_can_not_be_made_fails() {
    let mut a = bind(Protocol::Tcp);
    let closed = bind(Protocol::Tcp);
    let there = flow(&a, &closed, Protocol::Tcp);
    drop(closed);
    tokio::task::yield_now().await;
    a.send(Transmit {
        flow: there,
        bytes: Bytes::from_static(MESSAGE),
    });
    assert_eq!(failed(&mut a).await.remote, there.remote);
    assert_eq!(a.connections(), 0);
}

#[tokio::test]
async fn a_ping_is_answered_and_garbage_closes() {
    let mut a = bind(Protocol::Tcp);
    let local = a
        .local_for(Protocol::Tcp, "127.0.0.1:1".parse().unwrap())
        .unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    client.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    client
        .write_all(b"OPTIONS sip:a@b SIP/2.0\r\nNo-Length: 1\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.read(&mut pong).await.unwrap(), 0, "closed");
    assert_eq!(failed(&mut a).await.remote, client.local_addr().unwrap());
}
