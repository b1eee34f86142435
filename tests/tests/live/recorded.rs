//! What is said over a real connection, and what its history has of it.

use std::io::Read;
use std::path::{Path, PathBuf};

use control::history::{embedded_in, packs, part};
use tests::live::process::Folder;
use tests::live::scene::{Chat, Joined, LONG, Scene, join};
use tests::peers::content;
use tests::peers::msrp::{Listener, Outgoing};

const FILE: u64 = 3 * 1024 * 1024 + 7;

/// A relay that keeps histories in files, and where.
struct Kept {
    scene: Scene,
    folder: Folder,
}

impl Kept {
    fn new() -> Self {
        let folder = Folder::new("recorded");
        let path = store(&folder);
        let scene = Scene::direct(|settings| {
            settings
                .set("policy", "allow_offline_storage", true)
                .set("history", "store", r#""embedded""#)
                .set("history", "path", format!("{path:?}"));
        });
        Self { scene, folder }
    }

    /// Alice ends the call; the UID that she is told.
    fn hang_up(&mut self, joined: &mut Joined) -> u32 {
        joined.a.send_bye(&mut self.scene.alice);
        joined.b.bye_answered(&mut self.scene.bob);
        let answer = self.scene.alice.response("BYE");
        assert_eq!(answer.code(), Some(200));
        let uid = answer.field("Message-UID").parse();
        assert!(uid.is_ok(), "no UID: {}", answer.text());
        uid.unwrap()
    }

    /// The objects of the one session that is stored, the session's own at the end.
    fn objects(&self, uid: u32) -> Vec<Vec<u8>> {
        let packs = packs(&embedded_in(&store(&self.folder))).unwrap();
        assert_eq!(packs.len(), 1);
        assert_eq!(packs[0].last, uid);
        let read = |uid| {
            let mut octets = Vec::new();
            let mut object = part(&packs[0], uid).unwrap();
            object.read_to_end(&mut octets).unwrap();
            octets
        };
        (packs[0].first..=packs[0].last).map(read).collect()
    }
}

fn store(folder: &Folder) -> PathBuf {
    Path::join(folder.path(), "history")
}

/// Both say a word and send a file at the same time; what each object is to end with.
fn exchange(chat: &Chat) -> Vec<Vec<u8>> {
    for (from, to, word) in [
        (&chat.alice, &chat.bob, "hello"),
        (&chat.bob, &chat.alice, "how are you?"),
    ] {
        from.send(&Outgoing::text(word)).unwrap();
        assert_eq!(to.messages(1, LONG)[0].text, word.as_bytes());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| chat.alice.send(&Outgoing::file(FILE, 3, 2048)).unwrap());
        scope.spawn(|| chat.bob.send(&Outgoing::file(FILE, 4, 100_000)).unwrap());
    });
    for (from, to) in [(&chat.alice, &chat.bob), (&chat.bob, &chat.alice)] {
        let messages = to.messages(2, LONG);
        let files = messages.iter().filter(|one| one.total == Some(FILE));
        assert_eq!(files.filter(|file| file.is_identical()).count(), 1);
        assert!(from.is_answered(LONG) && from.refused().is_empty());
    }
    let file = |seed| {
        let mut octets = vec![0; usize::try_from(FILE).unwrap()];
        content::fill(seed, 0, &mut octets);
        octets
    };
    vec![
        b"hello".to_vec(),
        b"how are you?".to_vec(),
        file(3),
        file(4),
    ]
}

/// Every message is in one object, and besides them there is the session's own.
fn assert_kept(objects: &[Vec<u8>], said: &[Vec<u8>]) {
    let (own, messages) = objects.split_last().unwrap();
    assert!(
        own.windows(25)
            .any(|part| part == b"application/x-cpm-session")
    );
    assert_eq!(messages.len(), said.len());
    let bodies: Vec<_> = messages.iter().map(|object| body(object)).collect();
    for octets in said {
        let found = bodies.iter().filter(|body| body.ends_with(octets));
        assert_eq!(found.count(), 1, "a message of {} octets", octets.len());
    }
}

/// An object's octets, decoded where they are in base64.
fn body(object: &[u8]) -> Vec<u8> {
    let blank = b"\r\n\r\n";
    let encoding = b"Content-Transfer-Encoding: base64";
    if !object
        .windows(encoding.len())
        .any(|part| part.eq_ignore_ascii_case(encoding))
    {
        return object.to_vec();
    }
    let last = object.windows(4).rposition(|part| part == blank);
    let (mut bits, mut count, mut octets) = (0_u32, 0, Vec::new());
    for byte in &object[last.unwrap() + 4..] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count).to_le_bytes()[0]);
            bits &= (1 << count) - 1;
        }
    }
    octets
}

#[test]
fn hst_01_what_both_sides_said_is_in_the_history_octet_by_octet() {
    let mut kept = Kept::new();
    let (mut joined, chat) = Chat::call(&mut kept.scene, None, None);
    let said = exchange(&chat);
    let uid = kept.hang_up(&mut joined);
    assert_kept(&kept.objects(uid), &said);
    chat.assert_clean();
    kept.scene.relay.assert_empty();
    assert_eq!(
        kept.scene.relay.metric(&["full_recorded_messages"]),
        0.0,
        "none was given up"
    );
}

#[test]
fn hst_01_a_chat_that_might_pass_unread_is_recorded_all_the_same() {
    let mut kept = Kept::new();
    let scene = &mut kept.scene;
    let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
    let says = |path: &str, setup| {
        let attributes = [setup, "msrp-cema"];
        scene.offer().message(path, &attributes).text()
    };
    let (offer, answer) = (
        says(a.path(), "setup:actpass"),
        says(b.path(), "setup:active"),
    );
    let mut joined = scene.call(&offer, &answer);
    let bob = join(&b, &joined.at_bob[0], None);
    let alice = join(&a, &joined.at_alice[0], None);
    let said = exchange(&Chat { alice, bob });
    let uid = kept.hang_up(&mut joined);
    assert_kept(&kept.objects(uid), &said);
}

#[test]
fn hst_01_a_session_of_voice_alone_has_its_own_object() {
    let mut kept = Kept::new();
    let (mut joined, _alice, _bob) = kept.scene.audio_call();
    let uid = kept.hang_up(&mut joined);
    assert_kept(&kept.objects(uid), &[]);
}
