//! A relay that is killed while many sessions close: every history is stored all the same, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::live::eventually;
use tests::live::process::Folder;
use tests::live::relay::{Relay, Settings};
use tests::live::scene::{LONG, Scene, join};
use tests::peers::msrp::{Listener, Outgoing, Peer};
use tests::peers::sdp;
use tests::peers::sip::{Call, Message};

/// Sessions that close at once.
const SESSIONS: usize = 100;

/// A chat in which one message was said and acknowledged.
struct Chat {
    call: Call,
    _ends: [Peer; 2],
}

fn keeps_histories(settings: &mut Settings, folder: &Path) {
    settings
        .set("history", "store", r#""embedded""#)
        .set("history", "path", format!("{:?}", folder.to_string_lossy()))
        .set("policy", "allow_offline_storage", true);
}

fn chat(scene: &mut Scene, number: usize) -> Chat {
    let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
    let offer = scene.offer().message(a.path(), &["setup:actpass"]).text();
    let answer = scene.offer().message(b.path(), &["setup:active"]).text();
    let (conversation, contribution) = (format!("killed-{number}"), format!("part-{number}"));
    let ids = [
        ("Conversation-ID", conversation.as_str()),
        ("Contribution-ID", contribution.as_str()),
    ];
    let target = scene.target.clone();
    let mut call = scene.alice.invite_with(&target, &offer, &ids);
    let at_bob = scene.bob.incoming();
    at_bob.answer(&mut scene.bob, 200, &answer);
    let response = call.established(&mut scene.alice);
    scene.bob.request("ACK");
    let bob = join(&b, &sdp::media(&at_bob.invite.body)[0], None);
    let alice = join(&a, &sdp::media(&response.body)[0], None);
    let text = said(number);
    alice
        .send(&Outgoing::text(&text))
        .expect("the relay takes it");
    assert_eq!(bob.messages(1, LONG).len(), 1, "session {number}");
    assert!(alice.is_answered(LONG), "session {number}");
    Chat {
        call,
        _ends: [alice, bob],
    }
}

fn said(number: usize) -> String {
    format!("this was said in session {number}, once")
}

/// Sends every BYE at once and kills the relay when so many were answered.
fn close_and_kill(scene: &mut Scene, chats: &mut [Chat], answered: usize) {
    for chat in &mut *chats {
        chat.call.send_bye(&mut scene.alice);
    }
    let mut count = 0;
    let end = Instant::now() + LONG;
    while count < answered && Instant::now() < end {
        let moment = Duration::from_millis(1);
        while let Some(bye) = scene
            .bob
            .within(moment, |message| message.is_request("BYE"))
        {
            scene.bob.answer(&bye, 200, &[], "");
        }
        let is_answer = |message: &Message| message.code().is_some() && message.method() == "BYE";
        while let Some(answer) = scene.alice.within(moment, is_answer) {
            assert_eq!(answer.code(), Some(200), "{}", answer.text());
            count += 1;
        }
    }
    assert!(count >= answered, "{count} BYEs were answered");
    scene.relay.process().signal("KILL");
}

/// The histories in the store: conversation, and the file with the session.
fn stored(folder: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![folder.join("store")];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "eml") {
                let conversation = path.ancestors().nth(2).and_then(Path::file_name);
                let name = conversation.expect("a history is in a conversation");
                let name = name.to_string_lossy().into_owned();
                found.entry(name).or_default().push(path);
            }
        }
    }
    found
}

/// Whether what was said in each session is on the disk. What is acknowledged in the last moments
/// before a kill may still be on its way there; the history says then that it isn't whole.
fn is_all_on_disk(folder: &Path) -> bool {
    let mut written = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                written.extend(fs::read(path).unwrap_or_default());
            }
        }
    }
    let text = String::from_utf8_lossy(&written);
    let said = text.split("this was said in session ").skip(1);
    let numbers: BTreeSet<&str> = said.filter_map(|rest| rest.split(',').next()).collect();
    numbers.len() == SESSIONS
}

fn assert_each_once(folder: &Path) {
    let found = stored(folder);
    assert_eq!(found.len(), SESSIONS, "{:?}", found.keys());
    for number in 0..SESSIONS {
        let files = found.get(&format!("killed-{number}"));
        let files = files.map_or(&[][..], Vec::as_slice);
        assert_eq!(files.len(), 1, "session {number} is stored {files:?}");
        let file = &files[0];
        let text = fs::read_to_string(file).expect("a history can be read");
        let times = text.matches(&said(number)).count();
        assert_eq!(times, 1, "session {number}:\n{text}");
    }
}

fn killed_after(answered: usize) {
    let folder = Folder::new("killed");
    let mut scene = Scene::direct(|settings| keeps_histories(settings, folder.path()));
    let mut chats: Vec<Chat> = (0..SESSIONS)
        .map(|number| chat(&mut scene, number))
        .collect();
    assert!(eventually(LONG, || is_all_on_disk(folder.path())));
    close_and_kill(&mut scene, &mut chats, answered);
    let gone = scene.relay.process_mut().wait(LONG);
    assert!(gone.is_some(), "it was killed");

    // Whatever was under way is stored by the next one.
    let again = Relay::start_with(|settings| keeps_histories(settings, folder.path()));
    let done = eventually(LONG, || {
        stored(folder.path()).len() == SESSIONS && again.metric(&["history_queued"]) < 0.5
    });
    assert!(done, "{} are stored", stored(folder.path()).len());
    assert_each_once(folder.path());
    let _ended = again.stop();
    // And no further one stores anything again.
    let last = Relay::start_with(|settings| keeps_histories(settings, folder.path()));
    let _ended = last.stop();
    assert_each_once(folder.path());
}

#[test]
fn hst_01_a_relay_killed_as_a_hundred_sessions_close_has_each_history_once() {
    for answered in [0, 1, 40] {
        killed_after(answered);
    }
}

#[test]
fn hst_01_a_relay_killed_after_a_hundred_closings_has_each_history_once() {
    killed_after(SESSIONS);
}
