//! Session histories as clients see them: the Message-UID in the BYE or in its 200 names what the
//! store has by then, and a store that is down holds up nobody (000 8.2.2.3, 8.3.2.3).

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::live::dovecot::Dovecot;
use tests::live::ports::Ports;
use tests::live::process::Folder;
use tests::live::relay::{Relay, Settings, run};
use tests::live::scene::{Joined, LONG, Scene, join};
use tests::live::{eventually, needs};
use tests::peers::imap::{Mail, Reader};
use tests::peers::msrp::{Listener, Outgoing, Peer};
use tests::peers::sdp;
use tests::peers::sip::Message;

const CONVERSATION: &str = "3f1ac0de";
const CONTRIBUTION: &str = "77b5";

/// A relay whose users' histories are kept in a folder, between two clients.
struct Kept {
    scene: Scene,
    folder: Folder,
}

impl Kept {
    fn by(role: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Folder::new("histories");
        let path = format!("{:?}", folder.path().join("of-relay"));
        let scene = Scene::direct(|settings| {
            settings
                .set("sip", "role", format!("{role:?}"))
                .set("policy", "allow_offline_storage", true)
                .set("history", "store", r#""embedded""#)
                .set("history", "path", &path);
            change(settings);
        });
        let file = format!("[history]\nstore = \"embedded\"\npath = {path}\n");
        std::fs::write(folder.path().join("midpath.toml"), file).unwrap();
        let mut scene = scene;
        if role == "terminating" {
            // The Route says whom the relay serves.
            scene.alice = scene.alice.via(&[scene.relay.route()]);
        }
        Self { scene, folder }
    }

    fn file(&self) -> String {
        self.folder
            .path()
            .join("midpath.toml")
            .display()
            .to_string()
    }

    /// What the store has: the folder and the last UID of each session.
    fn sessions(&self) -> Vec<(String, String)> {
        let (status, text) = run(&["history", "-c", &self.file(), "list"]);
        assert!(status.success(), "{text}");
        let session = |line: &str| {
            let mut words = line.split(' ');
            let folder = words.next().unwrap().to_owned();
            let last = words.next().unwrap().split('-').next_back().unwrap();
            (folder, last.to_owned())
        };
        text.lines().map(session).collect()
    }

    /// The object with a UID.
    fn object(&self, folder: &str, uid: &str) -> String {
        let (status, text) = run(&["history", "-c", &self.file(), "show", folder, uid]);
        assert!(status.success(), "{text}");
        text
    }

    /// The one session that is stored is this conversation's, and has this UID.
    fn holds(&self, uid: &str) {
        let sessions = self.sessions();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        let (folder, last) = &sessions[0];
        assert_eq!(last, uid);
        let object = self.object(folder, uid);
        let conversation = format!("Conversation-ID: {CONVERSATION}");
        assert!(object.contains(&conversation), "{object}");
        let contribution = format!("Contribution-ID: {CONTRIBUTION}");
        assert!(object.contains(&contribution), "{object}");
        assert!(
            object.to_lowercase().contains("application/x-cpm-session"),
            "{object}"
        );
    }
}

/// A chat in which each side has said a word.
fn chat(scene: &mut Scene) -> (Joined, [Peer; 2]) {
    let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
    let offer = scene.offer().message(a.path(), &["setup:actpass"]).text();
    let answer = scene.offer().message(b.path(), &["setup:active"]).text();
    let ids = [
        ("Conversation-ID", CONVERSATION),
        ("Contribution-ID", CONTRIBUTION),
        ("P-Asserted-Identity", "<sip:alice@home.example>"),
    ];
    let mut at_a = scene.alice.invite_with(&scene.target, &offer, &ids);
    let at_b = scene.bob.incoming();
    at_b.answer(&mut scene.bob, 200, &answer);
    let response = at_a.established(&mut scene.alice);
    scene.bob.request("ACK");
    let joined = Joined {
        at_alice: sdp::media(&response.body),
        at_bob: sdp::media(&at_b.invite.body),
        a: at_a,
        b: at_b,
    };
    let bob = join(&b, &joined.at_bob[0], None);
    let alice = join(&a, &joined.at_alice[0], None);
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        from.send(&Outgoing::text("hello")).unwrap();
        assert_eq!(to.messages(1, LONG)[0].text, b"hello");
    }
    (joined, [alice, bob])
}

fn uid_of(message: &Message) -> String {
    message.field("Message-UID").to_owned()
}

/// The served client hangs up: its 200 names what is stored; the far side hears nothing of it.
fn client_hangs_up(role: &str) {
    let mut kept = Kept::by(role, |_| {});
    let (mut joined, _peers) = chat(&mut kept.scene);
    let scene = &mut kept.scene;
    let (near, near_call, far, far_call) = if role == "originating" {
        (&mut scene.alice, &mut joined.a, &mut scene.bob, &joined.b)
    } else {
        (&mut scene.bob, &mut joined.b, &mut scene.alice, &joined.a)
    };
    near_call.send_bye(near);
    let bye = far_call.bye_answered(far);
    assert_eq!(uid_of(&bye), "");
    let ok = near.response("BYE");
    assert_eq!(ok.code(), Some(200));
    kept.holds(&uid_of(&ok));
    kept.scene.relay.assert_empty();
}

/// The far side hangs up: the client's BYE names what is stored when it comes.
fn peer_hangs_up(role: &str) {
    let mut kept = Kept::by(role, |_| {});
    let (mut joined, _peers) = chat(&mut kept.scene);
    let scene = &mut kept.scene;
    let (near, far, far_call) = if role == "originating" {
        (&mut scene.alice, &mut scene.bob, &mut joined.b)
    } else {
        (&mut scene.bob, &mut scene.alice, &mut joined.a)
    };
    far_call.send_bye(far);
    let bye = near.request("BYE");
    kept.holds(&uid_of(&bye));
    let scene = &mut kept.scene;
    let (near, far) = if role == "originating" {
        (&mut scene.alice, &mut scene.bob)
    } else {
        (&mut scene.bob, &mut scene.alice)
    };
    near.answer(&bye, 200, &[], "");
    let ok = far.response("BYE");
    assert_eq!((ok.code(), uid_of(&ok)), (Some(200), String::new()));
    kept.scene.relay.assert_empty();
}

#[test]
fn hst_02_a_caller_that_hangs_up_is_told_the_uid_of_what_is_stored() {
    client_hangs_up("originating");
}

#[test]
fn byo_06_a_caller_whose_peer_hangs_up_gets_the_uid_of_what_is_stored_already() {
    peer_hangs_up("originating");
}

#[test]
fn byt_04_a_called_client_that_hangs_up_is_told_the_uid_of_what_is_stored() {
    client_hangs_up("terminating");
}

#[test]
fn byt_05_a_called_client_whose_peer_hangs_up_gets_the_uid_of_what_is_stored_already() {
    peer_hangs_up("terminating");
}

/// An address at which nobody answers: it accepts, and says nothing.
fn silent_server() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn byo_11_a_store_that_says_nothing_holds_up_neither_end() {
    let (_server, address) = silent_server();
    let secret = Folder::new("secret");
    let file = secret.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let mut kept = Kept::by("originating", |settings| {
        settings
            .set("history", "store", r#""imap""#)
            .set("history", "deadline_ms", 700)
            .set("history_imap", "server", format!("\"{address}\""))
            .set("history_imap", "tls", r#""off""#)
            .set("history_imap", "password_file", quoted(&file));
    });
    let (mut joined, _peers) = chat(&mut kept.scene);
    let scene = &mut kept.scene;
    joined.a.send_bye(&mut scene.alice);
    joined.b.bye_answered(&mut scene.bob);
    let asked = Instant::now();
    let ok = scene.alice.response("BYE");
    assert_eq!((ok.code(), uid_of(&ok)), (Some(200), String::new()));
    // Not before its deadline, and long before the near end would give up.
    assert!(asked.elapsed() < Duration::from_secs(20));
    scene.relay.assert_empty();
    let late = || scene.relay.metric(&["histories_late"]) >= 1.0;
    assert!(eventually(LONG, late));
    assert!(scene.relay.metric(&["history_queued"]) >= 1.0);
}

/// A relay that keeps histories on a real IMAP server, or nothing where there is none.
struct Mailed {
    scene: Scene,
    dovecot: Dovecot,
    _folder: Folder,
    _ports: Ports,
}

impl Mailed {
    const USER: &str = "alice@home.example";

    fn new() -> Option<Self> {
        if !needs("live::message_uids", &["dovecot"]) {
            return None;
        }
        let mut ports = Ports::take();
        let dovecot = Dovecot::start(&mut ports, &[Self::USER], None);
        let folder = Folder::new("spool");
        let scene = Scene::direct(|settings| {
            settings
                .set("policy", "allow_offline_storage", true)
                .set("history", "store", r#""imap""#)
                .set("history", "path", quoted(&folder.path().join("relay")))
                .set("history_imap", "server", format!("\"{}\"", dovecot.imap))
                .set("history_imap", "tls", r#""off""#)
                .set(
                    "history_imap",
                    "password_file",
                    quoted(&dovecot.password_file()),
                );
        });
        Some(Self {
            scene,
            dovecot,
            _folder: folder,
            _ports: ports,
        })
    }

    /// What the account has of the session: two messages and the session's own object, once.
    fn assert_stored(&self, uid: Option<&str>) {
        let mut reader = Reader::login(self.dovecot.imap, Self::USER, Dovecot::MASTER.1);
        let mails = reader.mails(&format!("Default/{CONVERSATION}/{CONTRIBUTION}"));
        assert_eq!(mails.len(), 3, "{mails:?}");
        let is_own = |mail: &&Mail| mail.text.contains("application/x-cpm-session");
        let own: Vec<&Mail> = mails.iter().filter(is_own).collect();
        assert_eq!(own.len(), 1, "{mails:?}");
        if let Some(uid) = uid {
            assert_eq!(own[0].uid.to_string(), uid);
        }
        let said = mails.iter().filter(|mail| mail.text.ends_with("hello"));
        assert_eq!(said.count(), 2, "{mails:?}");
    }
}

#[test]
fn hst_01_the_message_uid_on_the_wire_is_the_uid_in_the_users_mailbox() {
    let Some(mut mailed) = Mailed::new() else {
        return;
    };
    let (mut joined, _peers) = chat(&mut mailed.scene);
    let scene = &mut mailed.scene;
    joined.a.send_bye(&mut scene.alice);
    joined.b.bye_answered(&mut scene.bob);
    let uid = uid_of(&scene.alice.response("BYE"));
    mailed.assert_stored(Some(&uid));
}

#[test]
fn byo_11_a_server_that_is_down_holds_up_nobody_and_has_the_history_once_it_is_back() {
    let Some(mut mailed) = Mailed::new() else {
        return;
    };
    let (mut joined, _peers) = chat(&mut mailed.scene);
    mailed.dovecot.stop();
    let scene = &mut mailed.scene;
    joined.a.send_bye(&mut scene.alice);
    joined.b.bye_answered(&mut scene.bob);
    let ok = scene.alice.response("BYE");
    assert_eq!((ok.code(), uid_of(&ok)), (Some(200), String::new()));
    scene.relay.assert_empty();
    mailed.dovecot.go_on();
    let relay = &mailed.scene.relay;
    let is_stored = || relay.metric(&["history_stored"]) >= 1.0;
    assert!(eventually(LONG, is_stored), "{}", mailed.dovecot.log());
    mailed.assert_stored(None);
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path_text(path))
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn hst_03_a_user_without_offline_storage_has_no_history_and_no_message_uid() {
    let mut kept = Kept::by("originating", |settings| {
        settings.set("policy", "allow_offline_storage", false);
    });
    let (mut joined, _peers) = chat(&mut kept.scene);
    let scene = &mut kept.scene;
    joined.a.send_bye(&mut scene.alice);
    joined.b.bye_answered(&mut scene.bob);
    assert_eq!(uid_of(&scene.alice.response("BYE")), "");
    assert_eq!(kept.sessions(), []);
}

/// Two relays in a row: each keeps a copy for its own user, and tells nobody else of it.
#[test]
fn hst_06_each_users_relay_keeps_a_copy_of_its_own() {
    let folders = [Folder::new("first"), Folder::new("second")];
    let relay = |at: usize| {
        let path = format!("{:?}", path_text(&folders[at].path().join("histories")));
        Relay::start_with(|settings| {
            settings
                .set("sip", "role", ["\"originating\"", "\"terminating\""][at])
                .set("policy", "allow_offline_storage", true)
                .set("history", "store", r#""embedded""#)
                .set("history", "path", path);
        })
    };
    let (first, second) = (relay(0), relay(1));
    let routes = [format!("<sip:{};lr;orig>", first.sip), second.route()];
    let mut scene = Scene::beside(first);
    scene.alice = scene.alice.via(&routes);
    let (mut joined, _peers) = chat(&mut scene);
    joined.a.send_bye(&mut scene.alice);
    let bye = joined.b.bye_answered(&mut scene.bob);
    let ok = scene.alice.response("BYE");
    assert_ne!(uid_of(&bye), "", "{}", bye.text());
    assert_ne!(uid_of(&ok), "", "{}", ok.text());
    scene.relay.assert_empty();
    second.assert_empty();
    let stored: Vec<Vec<String>> = folders.iter().map(|folder| files(folder.path())).collect();
    for (files, user) in stored.iter().zip(["alice", "bob"]) {
        assert_eq!(files.len(), 1, "{stored:?}");
        assert!(files[0].contains(user), "{stored:?}");
    }
}

/// The stored sessions' files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.path().extension().is_some_and(|kind| kind == "eml") {
            found.push(path_text(&entry.path()));
        }
    }
    found
}
