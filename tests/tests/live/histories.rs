//! Histories in users' accounts on a real IMAP server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use control::config::{self, HistoryStore, ImapTls};
use control::history::{Ask, Facts, History, NotYet, Told};
use dataplane::api::{Record, RecordPart, SessionId, Side, StreamId};
use tests::live::dovecot::Dovecot;
use tests::live::ports::Ports;
use tests::live::process::Folder;
use tests::live::{eventually, needs};
use tests::peers::imap::{Mail, Reader};

const A: &str = "+15551";
const B: &str = "bob@home.example";
const LONG: Duration = Duration::from_secs(20);

#[test]
fn hst_01_a_session_is_in_the_users_mailbox_and_message_uid_is_its_uid() {
    let Some(scene) = Scene::new(None) else {
        return;
    };
    let mut history = scene.history(ImapTls::Implicit, scene.dovecot.imaps);
    play(&mut history, facts(1), &["hello", "how are you?"]);
    let uid = told(&mut history).uid.unwrap();
    let mails = scene.mails(A, "Default/f81d4fae-7dec/abcdef");
    assert_eq!(mails.len(), 3);
    let own = mails
        .iter()
        .find(|mail| mail.uid.to_string() == uid)
        .unwrap();
    assert!(
        own.text.contains("Content-Type: application/x-cpm-session"),
        "{}",
        own.text
    );
    assert!(
        own.text.contains("<session-type>1-1</session-type>"),
        "{}",
        own.text
    );
    for (mail, said) in mails.iter().zip(["hello", "how are you?"]) {
        assert!(
            mail.text.contains("Content-Type: Message/CPIM"),
            "{}",
            mail.text
        );
        assert!(
            mail.text.contains("Contribution-ID: abcdef\r\n"),
            "{}",
            mail.text
        );
        assert!(mail.text.ends_with(said), "{}", mail.text);
    }
    // The same account again, over the connection that is there, in a mailbox that is there.
    play(&mut history, facts(2), &["once more"]);
    assert_eq!(told(&mut history).uid.unwrap(), "5");
    history.finish();
}

#[test]
fn hst_04_each_session_is_a_mailbox_below_its_conversations() {
    let Some(scene) = Scene::new(None) else {
        return;
    };
    let mut history = scene.history(ImapTls::Off, scene.dovecot.imap);
    let mut other = facts(2);
    other.contribution_id = Some("a/b*\"c".to_owned());
    for facts in [facts(1), other] {
        play(&mut history, facts, &["hello"]);
        told(&mut history).uid.unwrap();
    }
    history.finish();
    let mailboxes = scene.reader(A).mailboxes();
    for name in ["abcdef", "a=2Fb=2A=22c"] {
        let name = format!("Default/f81d4fae-7dec/{name}");
        assert!(mailboxes.contains(&name), "{mailboxes:?}");
    }
}

#[test]
fn hst_06_each_served_user_has_a_copy_in_an_account_of_its_own() {
    let Some(scene) = Scene::new(None) else {
        return;
    };
    let mut history = scene.history(ImapTls::Starttls, scene.dovecot.imap);
    let mut of_b = facts(2);
    (of_b.served_user, of_b.peer) = (format!("sip:{B}"), "tel:+15551".to_owned());
    of_b.is_sent = false;
    play(&mut history, facts(1), &["hello", "you"]);
    play(&mut history, of_b, &["hello"]);
    let mut uids = [told(&mut history), told(&mut history)].map(|told| (told.session, told.uid));
    uids.sort_by_key(|(session, _)| *session);
    assert_eq!(uids, [(1, Ok("3".to_owned())), (2, Ok("2".to_owned()))]);
    let mailbox = "Default/f81d4fae-7dec/abcdef";
    assert!(
        scene.mails(A, mailbox)[0]
            .text
            .contains("Message-Direction: sent\r\n")
    );
    assert!(
        scene.mails(B, mailbox)[0]
            .text
            .contains("Message-Direction: received\r\n")
    );
    history.finish();
}

#[test]
fn byo_11_a_server_that_is_down_is_told_and_has_the_history_once_it_is_back() {
    let Some(mut scene) = Scene::new(None) else {
        return;
    };
    scene.dovecot.stop();
    let mut history = scene.history(ImapTls::Off, scene.dovecot.imap);
    play(&mut history, facts(1), &["hello"]);
    assert_eq!(told(&mut history).uid, Err(NotYet::Queued));
    assert!(history.metrics().is_out);
    scene.dovecot.go_on();
    assert_eq!(told(&mut history).uid.as_deref(), Ok("2"));
    let counts = history.metrics();
    assert_eq!((counts.queued, counts.stored, counts.is_out), (0, 1, false));
    assert_eq!(scene.mails(A, "Default/f81d4fae-7dec/abcdef").len(), 2);
    history.finish();
}

#[test]
fn byo_11_what_waits_for_a_server_outlives_the_relay() {
    let Some(mut scene) = Scene::new(None) else {
        return;
    };
    scene.dovecot.stop();
    let mut history = scene.history(ImapTls::Off, scene.dovecot.imap);
    play(&mut history, facts(1), &["hello"]);
    assert_eq!(told(&mut history).uid, Err(NotYet::Queued));
    history.finish();
    scene.dovecot.go_on();
    let history = scene.history(ImapTls::Off, scene.dovecot.imap);
    assert!(eventually(LONG, || history.metrics().stored == 1));
    history.finish();
    assert_eq!(scene.mails(A, "Default/f81d4fae-7dec/abcdef").len(), 2);
}

#[test]
fn byo_11_an_account_that_is_full_or_refused_holds_nobody_else_back() {
    let Some(scene) = Scene::new(Some(64)) else {
        return;
    };
    let mut history = scene.history(ImapTls::Off, scene.dovecot.imap);
    let long = "x".repeat(100_000);
    play(&mut history, facts(1), &[&long]);
    let mut unknown = facts(2);
    unknown.served_user = "tel:+19999".to_owned();
    play(&mut history, unknown, &["hello"]);
    let mut of_b = facts(3);
    of_b.served_user = format!("sip:{B}");
    play(&mut history, of_b, &["hello"]);
    let mut all: Vec<Told> = (0..3).map(|_| told(&mut history)).collect();
    all.sort_by_key(|told| told.session);
    let uids: Vec<_> = all.into_iter().map(|told| told.uid).collect();
    let queued = Err(NotYet::Queued);
    assert_eq!(uids, [queued.clone(), queued, Ok("2".to_owned())]);
    assert!(!history.metrics().is_out);
    history.finish();
}

#[test]
fn hst_01_an_append_whose_answer_is_lost_is_not_done_twice() {
    let Some(scene) = Scene::new(None) else {
        return;
    };
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    let between = between(scene.dovecot.imap, move |text| {
        let is_answer = text.contains("APPENDUID");
        if is_answer && !cut.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(text.to_owned())
    });
    let mut history = scene.history(ImapTls::Off, between);
    play(&mut history, facts(1), &["hello", "you"]);
    assert_eq!(told(&mut history).uid, Err(NotYet::Queued));
    assert_eq!(told(&mut history).uid.as_deref(), Ok("3"));
    assert!(is_cut.load(Ordering::Relaxed));
    let mails = scene.mails(A, "Default/f81d4fae-7dec/abcdef");
    assert_eq!(mails.len(), 3, "{mails:?}");
    history.finish();
}

#[test]
fn hst_01_a_server_without_uidplus_is_searched_for_the_uid() {
    let Some(scene) = Scene::new(None) else {
        return;
    };
    let between = between(scene.dovecot.imap, |text| {
        let Some((before, rest)) = text.split_once("[APPENDUID") else {
            return Some(text.to_owned());
        };
        let (_, after) = rest.split_once("] ").unwrap();
        Some(format!("{before}{after}"))
    });
    let mut history = scene.history(ImapTls::Off, between);
    play(&mut history, facts(1), &["hello", "you"]);
    let uid: u32 = told(&mut history).uid.unwrap().parse().unwrap();
    let mails = scene.mails(A, "Default/f81d4fae-7dec/abcdef");
    let own = mails.iter().find(|mail| mail.uid == uid).unwrap();
    assert!(
        own.text.contains("application/x-cpm-session"),
        "{}",
        own.text
    );
    history.finish();
}

/// A server and a folder of a relay's history.
struct Scene {
    dovecot: Dovecot,
    folder: Folder,
    _ports: Ports,
}

impl Scene {
    fn new(quota: Option<u32>) -> Option<Self> {
        if !needs("live::histories", &["dovecot"]) {
            return None;
        }
        let mut ports = Ports::take();
        Some(Self {
            dovecot: Dovecot::start(&mut ports, &[A, B], quota),
            folder: Folder::new("history"),
            _ports: ports,
        })
    }

    fn history(&self, tls: ImapTls, server: SocketAddr) -> History {
        let settings = config::History {
            store: HistoryStore::Imap,
            path: Some(self.path()),
            ..config::History::default()
        };
        let imap = config::HistoryImap {
            server: Some(server.to_string()),
            tls,
            ca: self.dovecot.certificate(),
            password_file: Some(self.dovecot.password_file()),
            answer_max: Duration::from_secs(5),
            ..config::HistoryImap::default()
        };
        History::open(&settings, &imap).unwrap().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    fn reader(&self, user: &str) -> Reader {
        Reader::login(self.dovecot.imap, user, Dovecot::MASTER.1)
    }

    fn mails(&self, user: &str, mailbox: &str) -> Vec<Mail> {
        self.reader(user).mails(mailbox)
    }
}

fn facts(session: u64) -> Facts {
    Facts {
        session,
        served_user: "tel:+1-555-1".to_owned(),
        peer: format!("sip:{B}"),
        is_sent: true,
        conversation_id: Some("f81d4fae-7dec".to_owned()),
        contribution_id: Some("abcdef".to_owned()),
        in_reply_to: None,
        subject: None,
        service: None,
        accept_contact: Vec::new(),
        invited: vec![format!("sip:{B}")],
        group: None,
        sdp: None,
        begun: SystemTime::now(),
    }
}

/// A whole session, as the run loop gives it to the history.
fn play(history: &mut History, facts: Facts, texts: &[&str]) {
    let session = facts.session;
    history.ask(Ask::Begin(Box::new(facts)));
    for (message, text) in (0..).zip(texts) {
        give(
            history,
            session,
            RecordPart::Begin {
                stream: StreamId(0),
                from: Side::A,
                message,
                message_id: b"m".to_vec(),
                content_type: b"text/plain".to_vec(),
                total: u64::try_from(text.len()).ok(),
            },
        );
        let bytes = text.as_bytes().to_vec();
        give(
            history,
            session,
            RecordPart::Data {
                message,
                offset: 0,
                bytes,
            },
        );
        give(
            history,
            session,
            RecordPart::End {
                message,
                is_complete: true,
            },
        );
    }
    give(history, session, RecordPart::Closed);
    history.ask(Ask::Finish {
        session,
        ended: SystemTime::now(),
        worker_lost: false,
    });
}

fn give(history: &mut History, session: u64, part: RecordPart) {
    let record = Record {
        session: SessionId(session),
        part,
    };
    assert!(history.record(record).is_ok(), "there is room for a few");
}

fn told(history: &mut History) -> Told {
    let mut told = None;
    let is_told = eventually(LONG, || {
        told = history.try_told();
        told.is_some()
    });
    assert!(is_told, "{:?}", history.metrics());
    told.unwrap()
}

/// Something between a client and a server that changes what the server says, or ends the
/// connection instead.
fn between(
    server: SocketAddr,
    change: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let change = Arc::new(change);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, far) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (from, to) = (client.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass(from, to, &|bytes| Some(bytes.to_vec())));
            let change = Arc::clone(&change);
            std::thread::spawn(move || {
                pass(far, client, &|bytes| {
                    let changed = change(std::str::from_utf8(bytes).unwrap())?;
                    Some(changed.into_bytes())
                });
            });
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut bytes = [0; 65_536];
    while let Ok(octets) = from.read(&mut bytes) {
        let Some(changed) = change(&bytes[..octets]).filter(|_| octets > 0) else {
            break;
        };
        if to.write_all(&changed).is_err() {
            break;
        }
    }
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
