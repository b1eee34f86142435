//! A browser as an MSRP client over a WebSocket (RFC 7977).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tests::live::browser::{Browser, Site};
use tests::live::needs;
use tests::live::scene::{Joined, LONG, Scene, join};
use tests::peers::msrp::{self, Listener, Outgoing, Received};
use tests::peers::sdp;

const FILE: u64 = 100_000;

/// The relay with WebSockets for pages of an origin; empty: for all.
fn scene(origins: &str) -> Scene {
    Scene::direct(|settings| {
        settings
            .set("msrp", "ws_port_first", 0)
            .set("msrp", "toward", r#""tcp""#)
            .set("msrp", "ws_origins", origins);
    })
}

/// A call whose calling side is a browser: her path, and the relay's for her.
fn call(scene: &mut Scene, b: &Listener) -> (Joined, [String; 2]) {
    let own = msrp::path((scene.ip(), 9).into()).replace(";tcp", ";ws");
    let offer = scene.offer().message(&own, &["setup:active"]).text();
    let answer = scene.offer().message(b.path(), &["setup:active"]).text();
    let joined = scene.call(&offer, &answer);
    let told = joined.at_alice[0].attribute("path").unwrap().to_owned();
    assert!(
        told.starts_with("msrp://") && told.ends_with(";ws"),
        "{told}"
    );
    (joined, [own, told])
}

fn address(path: &str) -> SocketAddr {
    sdp::path_address(path).unwrap()
}

#[test]
fn a_browser_sends_and_receives_messages_over_a_websocket() {
    if !needs("live::msrp_browser", &["chromium"]) {
        return;
    }
    let mut scene = scene("[]");
    let b = Listener::bind(scene.ip());
    let (mut joined, [own, told]) = call(&mut scene, &b);
    let bob = join(&b, &joined.at_bob[0], None);
    let url = format!("ws://{}/", address(&told));
    let site = Site::serve(
        "msrp.html",
        &[
            ("URL", &url),
            ("REMOTE", &told),
            ("OWN", &own),
            ("MESSAGES", "2"),
        ],
    );
    let browser = Browser::open(&site);
    // They wait until the browser has bound its session.
    bob.send(&Outgoing::text("hello, browser")).unwrap();
    bob.send(&Outgoing::file(FILE, 9, u64::MAX)).unwrap();
    let result = site.result(LONG);
    let result = result.unwrap_or_else(|| panic!("the page says nothing: {}", browser.output()));
    let is = |name: &str, due: serde_json::Value| assert_eq!(result[name], due, "{result:#}");
    is("protocol", "msrp".into());
    is("problems", serde_json::json!([]));
    is("refused", serde_json::json!([]));
    is("reports", serde_json::json!(["000 200 OK", "000 200 OK"]));
    // A bind, one chunk, and 49 of 2048 octets.
    is("answered", (1 + 1 + 49).into());
    let received = result["received"].as_array().unwrap();
    assert_eq!(received.len(), 2, "{result:#}");
    assert_eq!(received[0]["words"], "hello, browser");
    assert_eq!(
        (&received[1]["octets"], &received[1]["same"]),
        (&FILE.into(), &true.into())
    );

    let messages = bob.messages(2, LONG);
    assert!(messages.len() == 2 && messages.iter().all(Received::is_identical));
    let mut totals: Vec<_> = messages.iter().map(|message| message.total).collect();
    totals.sort_unstable();
    assert_eq!(totals, [Some(1000), Some(100_000)]);
    assert!(bob.is_answered(LONG));
    assert_eq!((bob.refused(), bob.problems()), (vec![], vec![]));
    drop(browser);
    scene.bob_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

/// What the relay answers to a WebSocket handshake.
fn shake(at: SocketAddr, origin: &str, protocol: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Origin: {origin}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
    .unwrap();
    let (mut answer, mut bytes) = (Vec::new(), [0; 1024]);
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut bytes).unwrap();
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn only_pages_of_the_configured_origins_may_open_a_websocket_and_only_for_msrp() {
    let mut scene = scene(r#"["https://chat.example"]"#);
    let b = Listener::bind(scene.ip());
    let (mut joined, [_, told]) = call(&mut scene, &b);
    let at = address(&told);
    let good = shake(at, "https://chat.example", "msrp");
    assert!(good.starts_with("HTTP/1.1 101 "), "{good}");
    // The key's answer is the example's of RFC 6455 §1.3.
    assert!(good.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{good}");
    let named = good.to_ascii_lowercase();
    assert!(named.contains("sec-websocket-protocol: msrp\r\n"), "{good}");
    for origin in ["https://evil.example", "http://chat.example", "null"] {
        let refused = shake(at, origin, "msrp");
        assert!(refused.starts_with("HTTP/1.1 403 "), "{origin}: {refused}");
    }
    let other = shake(at, "https://chat.example", "chat");
    assert!(other.starts_with("HTTP/1.1 4"), "{other}");
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}
