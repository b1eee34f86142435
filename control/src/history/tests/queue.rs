//! The embedded store, and what waits for it.

use super::*;

#[test]
fn hst_04_histories_are_grouped_by_conversation_and_contribution() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    for session in 1..=2 {
        play(&mut history, facts(session), "hello");
        told(&mut history);
    }
    let mut other = facts(3);
    (other.conversation_id, other.contribution_id) = (None, Some("../../up".to_owned()));
    play(&mut history, other, "hello");
    told(&mut history);
    history.finish();
    let root = embedded_in(folder.path());
    let packs = stored(folder.path());
    let above = |pack: &Pack| {
        pack.path
            .parent()
            .unwrap()
            .strip_prefix(&root)
            .unwrap()
            .to_owned()
    };
    let folders: Vec<PathBuf> = packs.iter().map(above).collect();
    assert_eq!(folders[0], Path::new("+15551/f81d4fae-7dec/abcdef-1"));
    assert_eq!(folders[1], Path::new("+15551/f81d4fae-7dec/abcdef-2"));
    assert!(folders[2].starts_with("+15551"));
    assert!(folders[2].ends_with("=2E.=2F..=2Fup"));
}

#[test]
fn hst_06_each_served_user_has_a_copy_of_its_own() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    let (a, mut b) = (facts(1), facts(2));
    (b.served_user, b.peer, b.is_sent) = (a.peer.clone(), a.served_user.clone(), false);
    b.contribution_id.clone_from(&a.contribution_id);
    // A was served before: the same session has another UID with each of the two.
    let mut before = facts(3);
    before.contribution_id.clone_from(&a.contribution_id);
    let mut uids = Vec::new();
    for facts in [before, a, b] {
        play(&mut history, facts, "hello");
        uids.push(told(&mut history).uid.unwrap());
    }
    history.finish();
    assert_eq!(uids, ["2", "4", "2"]);
    let packs = stored(folder.path());
    assert_eq!(packs.len(), 3);
    let copy = packs
        .iter()
        .find(|pack| pack.path.to_string_lossy().contains("bob@home.example"));
    let text = String::from_utf8(read(copy.unwrap(), 1)).unwrap();
    assert!(text.contains("Message-Direction: received\r\n"), "{text}");
}

#[test]
fn hst_01_a_uid_is_never_given_twice_in_a_folder() {
    let folder = tempdir().unwrap();
    let mut uids = Vec::new();
    for run in 0..3 {
        let mut history = open(&settings(folder.path()));
        for session in 0..3 {
            let mut facts = facts(session);
            facts.contribution_id = Some("one".to_owned());
            play(&mut history, facts, &format!("{run}"));
        }
        for _ in 0..3 {
            uids.push(told(&mut history).uid.unwrap().parse::<u32>().unwrap());
        }
        history.finish();
    }
    uids.sort_unstable();
    assert_eq!(uids, [2, 4, 6, 8, 10, 12, 14, 16, 18]);
}

#[test]
fn byo_11_a_store_that_fails_is_told_at_once_and_has_the_history_later() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    // A file where a folder should be: the store can't take this user's sessions.
    let store = embedded_in(folder.path());
    std::fs::write(store.join("+15551"), "in the way").unwrap();
    play(&mut history, facts(1), "hello");
    let first = told(&mut history);
    assert_eq!(first.uid, Err(crate::history::NotYet::Queued));
    let counts = history.metrics();
    assert_eq!((counts.queued, counts.stored), (1, 0));
    assert!(counts.failed >= 1 && counts.octets > 0, "{counts:?}");
    std::fs::remove_file(store.join("+15551")).unwrap();
    let later = told(&mut history);
    assert_eq!((later.session, later.uid.as_deref()), (1, Ok("2")));
    assert_eq!(history.metrics().queued, 0);
    history.finish();
    assert_eq!(stored(folder.path()).len(), 1);
}

#[test]
fn one_user_that_cannot_be_stored_holds_nobody_else_back() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    std::fs::write(embedded_in(folder.path()).join("+15551"), "in the way").unwrap();
    play(&mut history, facts(1), "hello");
    let mut other = facts(2);
    other.served_user = "tel:+15552".to_owned();
    play(&mut history, other, "hello");
    let both = [told(&mut history), told(&mut history)];
    let stored = both.iter().find(|told| told.uid.is_ok()).unwrap();
    assert_eq!(stored.session, 2);
    history.finish();
}

#[test]
fn histories_that_are_too_old_are_removed_with_their_folders() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    for session in 1..=2 {
        play(&mut history, facts(session), "hello");
        told(&mut history);
    }
    history.finish();
    let packs = stored(folder.path());
    let day = Duration::from_secs(86_400);
    let now = std::fs::metadata(&packs[0].path)
        .unwrap()
        .modified()
        .unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(&packs[0].path)
        .unwrap();
    file.set_modified(now - day * 8).unwrap();
    let store = crate::history::embedded::Embedded::open(&embedded_in(folder.path())).unwrap();
    assert_eq!(store.purge(now, day * 7).unwrap(), 1);
    assert_eq!(stored(folder.path()), packs[1..]);
    assert!(!packs[0].path.parent().unwrap().exists());
}
