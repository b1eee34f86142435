//! openssl as an MSRP client over TLS: who has the certificate that SDP says is let in.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use tests::live::process::Folder;
use tests::live::scene::{Joined, LONG, Scene};
use tests::live::{eventually, needs};
use tests::peers::msrp::Listener;
use tests::peers::tls::Identity;

/// A call whose calling side is over TLS and says that it has a certificate.
struct Called {
    scene: Scene,
    joined: Joined,
    own: String,
    identity: Identity,
    _listeners: [Listener; 2],
}

fn call() -> Called {
    let mut scene = Scene::direct(|_| {});
    let (a, b) = (
        Listener::bind_tls(scene.ip()),
        Listener::bind_tls(scene.ip()),
    );
    let (identity, others) = (Identity::new(), Identity::new());
    let says = |listener: &Listener, identity: &Identity| {
        let fingerprint = format!("fingerprint:{}", identity.fingerprint());
        let offer = scene.offer();
        let attributes = ["setup:active", fingerprint.as_str()];
        offer.message(listener.path(), &attributes).text()
    };
    let (offer, answer) = (says(&a, &identity), says(&b, &others));
    let joined = scene.call(&offer, &answer);
    Called {
        scene,
        joined,
        own: a.path().to_owned(),
        identity,
        _listeners: [a, b],
    }
}

/// A running `openssl s_client`; it ends with this value.
struct Client {
    child: Child,
    folder: Folder,
}

impl Client {
    /// Connects, with a certificate where one is given, and sends a bind.
    fn start(called: &Called, identity: Option<&Identity>) -> Self {
        let folder = Folder::new("openssl");
        let told = &called.joined.at_alice[0];
        let mut command = Command::new("openssl");
        command.args(["s_client", "-showcerts", "-nocommands"]);
        command.args(["-connect", &told.address().to_string()]);
        if let Some(identity) = identity {
            let files = [
                ("cert", identity.certificate_pem()),
                ("key", identity.key_pem()),
            ];
            for (name, pem) in files {
                let file = folder.path().join(name);
                std::fs::write(&file, pem).unwrap();
                command.arg(format!("-{name}")).arg(file);
            }
        }
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        let (to, from) = (told.attribute("path").unwrap(), &called.own);
        let bind = format!(
            "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n\
             -------bind$\r\n"
        );
        // It may be shown the door before it has said anything.
        let _gone = child.stdin.as_mut().unwrap().write_all(bind.as_bytes());
        Self { child, folder }
    }

    fn output(&self) -> String {
        let text = std::fs::read(self.folder.path().join("out")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn is_answered(&self) -> bool {
        self.output().contains("MSRP bind 200")
    }

    /// Waits until the relay has closed.
    fn is_closed(&mut self) -> bool {
        eventually(LONG, || {
            self.child.try_wait().is_ok_and(|status| status.is_some())
        })
    }

    /// The fingerprint of what the relay shows, as openssl counts it: `AB:CD:...`.
    fn fingerprint(&self) -> String {
        let file = self.folder.path().join("out");
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-sha256", "-fingerprint", "-in"]);
        let output = command.arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().split_once('=').unwrap().1.to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn openssl_with_the_right_certificate_is_let_in_and_sees_the_relays() {
    if !needs("live::msrp_openssl", &["openssl"]) {
        return;
    }
    let mut called = call();
    let client = Client::start(&called, Some(&called.identity));
    assert!(
        eventually(LONG, || client.is_answered()),
        "{}",
        client.output()
    );
    let told = called.joined.at_alice[0].attribute("fingerprint").unwrap();
    assert_eq!(told, format!("SHA-256 {}", client.fingerprint()));
    assert!(client.output().contains("TLSv1.3"), "{}", client.output());
    drop(client);
    called.scene.alice_hangs_up(&mut called.joined);
    called.scene.relay.assert_empty();
}

#[test]
fn openssl_with_another_certificate_or_none_is_not_let_in() {
    if !needs("live::msrp_openssl", &["openssl"]) {
        return;
    }
    let mut called = call();
    let other = Identity::new();
    for identity in [Some(&other), None] {
        let mut client = Client::start(&called, identity);
        assert!(client.is_closed(), "{}", client.output());
        assert!(!client.is_answered(), "{}", client.output());
    }
    // They have spoilt nothing: who has it is let in.
    let client = Client::start(&called, Some(&called.identity));
    assert!(
        eventually(LONG, || client.is_answered()),
        "{}",
        client.output()
    );
    drop(client);
    called.scene.alice_hangs_up(&mut called.joined);
    called.scene.relay.assert_empty();
}
