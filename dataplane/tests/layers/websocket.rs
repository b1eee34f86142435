//! WebSockets: upgrades, messages, and what breaks their rules.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use dataplane::api::{BackendKind, MsrpTransport, OriginPolicy, Side};
use dataplane::stats::DropReason;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, Utf8Bytes};
use tungstenite::{Bytes, HandshakeError, Message, WebSocket};

use super::identity::Identity;
use super::rig::{
    A_PATH, BACKENDS, BOTH_VERSIONS, Rig, body_of, is_whole, noise, send, tcp, tls_client,
};

const WS: MsrpTransport = MsrpTransport::Ws;
const WSS: MsrpTransport = MsrpTransport::Wss;
const TCP: MsrpTransport = MsrpTransport::Tcp;

/// Opens a WebSocket with these subprotocols and this origin; an error is the status.
fn open<S: Read + Write>(
    stream: S,
    protocols: Option<&'static str>,
    origin: Option<&'static str>,
) -> Result<WebSocket<S>, u16> {
    let mut request = "ws://relay.example/msrp".into_client_request().unwrap();
    for (name, value) in [("Sec-WebSocket-Protocol", protocols), ("Origin", origin)] {
        if let Some(value) = value {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            let echo = response.headers().get("Sec-WebSocket-Protocol");
            assert_eq!(echo.unwrap(), "msrp");
            Ok(socket)
        }
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(HandshakeError::Failure(error)) => panic!("{error}"),
        Err(HandshakeError::Interrupted(_)) => panic!("timed out"),
    }
}

fn next<S: Read + Write>(socket: &mut WebSocket<S>) -> Vec<u8> {
    loop {
        match socket.read().unwrap() {
            Message::Binary(frame) => return frame.to_vec(),
            Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Text(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

fn bind<S: Read + Write>(socket: &mut WebSocket<S>, path: &str) {
    let frame = send("bind0001", path, A_PATH, None);
    socket.send(Message::Binary(frame.into())).unwrap();
    let answer = next(socket);
    assert!(answer.starts_with(b"MSRP bind0001 200"), "{answer:?}");
    assert!(is_whole(&answer), "one frame, one message");
}

fn two_ends(rig: &mut Rig) -> ([WebSocket<TcpStream>; 2], [String; 2]) {
    let paths = rig.open([WS, WS], [None, None], None);
    let ends = [0, 1].map(|side| {
        let mut socket = open(tcp(rig.listen(WS)), Some("msrp"), None).unwrap();
        bind(&mut socket, &paths[side]);
        socket
    });
    (ends, paths)
}

#[test]
fn each_frame_is_one_message_whatever_its_length() {
    for backend in BACKENDS {
        let Some(mut rig) = Rig::start(backend, OriginPolicy::Any) else {
            continue;
        };
        let ([mut a, mut b], paths) = two_ends(&mut rig);
        for (seed, count) in [
            (1, 1),
            (2, 125),
            (3, 2048),
            (4, 16_300),
            (5, 70_000),
            (6, 3 << 20),
        ] {
            let body = noise(count, seed);
            let frame = send("mesg0001", &paths[0], A_PATH, Some(&body));
            a.send(Message::Binary(frame.into())).unwrap();
            let heard = next(&mut b);
            assert!(is_whole(&heard), "{backend:?}, {count}");
            assert!(body_of(&heard) == body, "{backend:?}, {count}");
        }
    }
}

#[test]
fn many_small_frames_are_as_many_messages() {
    let mut rig = Rig::epoll();
    let ([mut a, mut b], paths) = two_ends(&mut rig);
    for number in 0..500 {
        let body = format!("number {number}");
        let frame = send("mesg0001", &paths[0], A_PATH, Some(body.as_bytes()));
        a.write(Message::Binary(frame.into())).unwrap();
    }
    a.flush().unwrap();
    for number in 0..500 {
        let heard = next(&mut b);
        assert_eq!(body_of(&heard), format!("number {number}").as_bytes());
    }
}

#[test]
fn ten_megabytes_pass_between_a_page_and_plain_tcp() {
    let mut rig = Rig::start(BackendKind::Auto, OriginPolicy::Any).unwrap();
    let paths = rig.open([WSS, TCP], [None, None], None);
    let secure = tls_client(rig.listen(WSS), None, BOTH_VERSIONS);
    let mut a = open(secure, Some("msrp"), Some("https://chat.example")).unwrap();
    bind(&mut a, &paths[0]);
    let mut b = tcp(rig.listen(TCP));
    super::rig::bind(&mut b, &paths[1]);
    let body = noise(10 << 20, 9);

    let frame = send("mesg0001", &paths[1], A_PATH, Some(&body));
    let mut writer = b.try_clone().unwrap();
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&frame).unwrap());
        next(&mut a)
    });
    assert!(body_of(&heard) == body, "TCP to WSS, one message");

    let frame = send("mesg0002", &paths[0], A_PATH, Some(&body));
    let heard = std::thread::scope(|scope| {
        let reader = scope.spawn(|| super::rig::read_frame(&mut b));
        a.send(Message::Binary(frame.into())).unwrap();
        reader.join().unwrap()
    });
    assert!(body_of(&heard) == body, "WSS to TCP");
}

#[test]
fn a_page_over_wss_needs_the_announced_certificate_only_if_one_was_announced() {
    let mut rig = Rig::epoll();
    let identity = Identity::new();
    let paths = rig.open([WSS, TCP], [Some(identity.fingerprint()), None], None);
    let secure = tls_client(rig.listen(WSS), None, BOTH_VERSIONS);
    let mut a = open(secure, Some("msrp"), None).unwrap();
    let frame = send("bind0001", &paths[0], A_PATH, None);
    a.send(Message::Binary(frame.into())).unwrap();
    assert!(next(&mut a).starts_with(b"MSRP bind0001 403"));
    rig.wait_for_drops(DropReason::Fingerprint, 1);
}

#[test]
fn text_and_fragments_are_taken_too() {
    let mut rig = Rig::epoll();
    let ([mut a, mut b], paths) = two_ends(&mut rig);
    let frame = send("mesg0001", &paths[0], A_PATH, Some(b"hello"));
    let text = String::from_utf8(frame.clone()).unwrap();
    a.send(Message::Text(text.into())).unwrap();
    assert_eq!(body_of(&next(&mut b)), b"hello");
    let (front, back) = frame.split_at(frame.len() - 9);
    let parts = [(Data::Binary, front, false), (Data::Continue, back, true)];
    for (kind, part, is_final) in parts {
        let part = Frame::message(part.to_vec(), OpCode::Data(kind), is_final);
        a.send(Message::Frame(part)).unwrap();
        a.send(Message::Ping(Bytes::from_static(b"between")))
            .unwrap();
    }
    assert_eq!(body_of(&next(&mut b)), b"hello");
    assert_eq!(
        a.read().unwrap(),
        Message::Pong(Bytes::from_static(b"between"))
    );
}

/// What a WebSocket is closed with after these messages.
fn closed_with(rig: &Rig, socket: &mut WebSocket<TcpStream>) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(error) => panic!("{error}: {:?}", rig.stats()),
        }
    }
}

#[test]
fn a_frame_in_two_messages_breaks_the_rules() {
    let mut rig = Rig::epoll();
    let ([mut a, _b], paths) = two_ends(&mut rig);
    let frame = send("mesg0001", &paths[0], A_PATH, Some(b"hello"));
    let (front, back) = frame.split_at(frame.len() - 9);
    a.write(Message::Binary(front.to_vec().into())).unwrap();
    a.send(Message::Binary(back.to_vec().into())).unwrap();
    assert_eq!(closed_with(&rig, &mut a), Some(CloseCode::Protocol));
    rig.wait_for_drops(DropReason::BrokenLayer, 1);
    assert_eq!(rig.wait_for_loss(), Side::A);
}

#[test]
fn a_client_that_does_not_mask_breaks_the_rules() {
    let mut rig = Rig::epoll();
    let ([mut a, _b], _) = two_ends(&mut rig);
    a.get_mut().write_all(&[0x82, 1, b'M']).unwrap();
    assert_eq!(closed_with(&rig, &mut a), Some(CloseCode::Protocol));
    rig.wait_for_drops(DropReason::BrokenLayer, 1);
}

#[test]
fn a_close_is_answered_with_its_code() {
    let mut rig = Rig::epoll();
    let ([mut a, _b], _) = two_ends(&mut rig);
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: Utf8Bytes::from_static("bye"),
    };
    a.close(Some(frame)).unwrap();
    assert_eq!(closed_with(&rig, &mut a), Some(CloseCode::Away));
    assert_eq!(rig.wait_for_loss(), Side::A);
}

#[test]
fn a_release_closes_with_a_close_frame() {
    let mut rig = Rig::epoll();
    let ([mut a, _b], _) = two_ends(&mut rig);
    rig.release();
    assert_eq!(closed_with(&rig, &mut a), Some(CloseCode::Normal));
}

#[test]
fn an_upgrade_without_the_subprotocol_is_refused() {
    let rig = Rig::epoll();
    let ws = || tcp(rig.listen(WS));
    assert_eq!(open(ws(), None, None).unwrap_err(), 400);
    assert_eq!(open(ws(), Some("sip"), None).unwrap_err(), 400);
    assert!(open(ws(), Some("sip, msrp"), None).is_ok());
    rig.wait_for_drops(DropReason::Handshake, 2);
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    let origins = OriginPolicy::Listed(Arc::new(["https://chat.example".into()]));
    let rig = Rig::start(BackendKind::Epoll, origins).unwrap();
    let ws = || tcp(rig.listen(WS));
    let elsewhere = Some("https://elsewhere.example");
    assert_eq!(open(ws(), Some("msrp"), elsewhere).unwrap_err(), 403);
    assert!(open(ws(), Some("msrp"), Some("https://chat.example")).is_ok());
    assert!(open(ws(), Some("msrp"), None).is_ok(), "no browser");
}

#[test]
fn requests_that_are_no_upgrades_are_refused() {
    let rig = Rig::epoll();
    let too_long = format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(9000));
    let old = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 8\r\n\r\n";
    let cases = [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("MSRP bind0001 SEND\r\nTo-Path: x\r\n\r\n", "400"),
        (old, "426"),
        (&too_long, "431"),
    ];
    for (request, status) in cases {
        let mut stranger = tcp(rig.listen(WS));
        // The relay may have closed before the last of it.
        let _ = stranger.write_all(request.as_bytes());
        let mut piece = [0; 12];
        stranger.read_exact(&mut piece).unwrap();
        assert_eq!(&piece[9..], status.as_bytes(), "{request}");
    }
    rig.wait_for_drops(DropReason::Handshake, 5);
}
