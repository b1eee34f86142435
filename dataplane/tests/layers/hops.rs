//! Clients of two relays (RFC 4976) over TLS, and TLS between the relays.

use std::io::Write;
use std::time::Duration;

use dataplane::api::{
    BackendKind, MsrpTransport, OriginPolicy, PathExpiry, RelayRole, RelayUser, RelayUsers,
};
use sha2::{Digest, Sha256};

use super::rig::{
    BACKENDS, BOTH_VERSIONS, Rig, TlsClient, body_of, noise, pause, read_frame, send, tls_client,
};

const REALM: &str = "relay.example";
const BIG: usize = 1 << 20;

fn sha256(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn relay(backend: BackendKind) -> Option<Rig> {
    let user = RelayUser {
        name: "alice".into(),
        md5: None,
        sha256: Some(Sha256::digest(format!("alice:{REALM}:secret")).into()),
    };
    let role = RelayRole {
        realm: REALM.into(),
        users: RelayUsers::new(vec![user]),
        host: None,
        auth_without_tls: false,
        expires: PathExpiry {
            least: 60,
            usual: 900,
            most: 3600,
        },
        nonce_lifetime: Duration::from_secs(300),
        connect_timeout: Duration::from_secs(5),
        idle: Duration::from_secs(3600),
    };
    Rig::start_as(backend, OriginPolicy::Any, Some(role))
}

/// Authenticates and says the Use-Path; RFC 7616 §3.4.
fn use_path(client: &mut TlsClient, own: &str) -> String {
    let to = "msrps://relay.example:2855;tcp";
    let mut ask = |credentials: &str| {
        let frame = format!(
            "MSRP auth1 AUTH\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\n{credentials}-------auth1$\r\n"
        );
        client.write_all(frame.as_bytes()).unwrap();
        client.flush().unwrap();
        String::from_utf8(read_frame(client)).unwrap()
    };
    let challenge = ask("");
    assert!(challenge.starts_with("MSRP auth1 401 "), "{challenge}");
    let nonce = challenge.split("nonce=\"").nth(1).unwrap();
    let nonce = nonce.split('"').next().unwrap();
    let secret = sha256(&format!("alice:{REALM}:secret"));
    let asked = sha256(&format!("AUTH:{to}"));
    let response = sha256(&format!("{secret}:{nonce}:00000001:abc:auth:{asked}"));
    let granted = ask(&format!(
        "Authorization: Digest username=\"alice\", realm=\"{REALM}\", nonce=\"{nonce}\", \
         qop=auth, nc=00000001, cnonce=\"abc\", response=\"{response}\", algorithm=SHA-256\r\n"
    ));
    assert!(granted.starts_with("MSRP auth1 200 "), "{granted}");
    let path = granted.split("Use-Path: ").nth(1).unwrap();
    path.split('\r').next().unwrap().to_owned()
}

#[test]
fn a_megabyte_passes_two_relays_each_way_over_tls() {
    for backend in BACKENDS {
        let (Some(one), Some(other)) = (relay(backend), relay(backend)) else {
            continue;
        };
        let mut ends = [(&one, "alice"), (&other, "bobby")].map(|(rig, name)| {
            let mut client = tls_client(rig.listen(MsrpTransport::Tls), None, BOTH_VERSIONS);
            let own = format!("msrps://127.0.0.1:7000/{name};tcp");
            let path = use_path(&mut client, &own);
            assert!(path.starts_with("msrps://127.0.0.1:"), "{path}");
            (client, own, path)
        });
        for round in 0..2 {
            let [(from, from_own, from_path), (to, to_own, to_path)] = &mut ends;
            let body = noise(BIG, round);
            let way = format!("{from_path} {to_path} {to_own}");
            let frame = send("mesg0001", &way, from_own, Some(&body));
            let got = std::thread::scope(|scope| {
                scope.spawn(move || {
                    from.write_all(&frame).unwrap();
                    from.flush().unwrap();
                });
                read_frame(to)
            });
            let head = String::from_utf8_lossy(&got[..1000]).into_owned();
            assert!(head.contains(&format!("To-Path: {to_own}\r\n")), "{head}");
            let came = format!("From-Path: {to_path} {from_path} {from_own}\r\n");
            assert!(head.contains(&came), "{head}");
            assert!(body_of(&got) == body, "{backend:?}");
            ends.reverse();
        }
        // The clients' and the two between the relays, each seen from both ends but the clients'.
        let handshakes = || one.stats().handshakes + other.stats().handshakes;
        while handshakes() < 6 {
            pause();
        }
        assert_eq!(handshakes(), 6, "{backend:?}");
        assert_eq!(one.stats().msrp_next_hops, 1, "{backend:?}");
    }
}
