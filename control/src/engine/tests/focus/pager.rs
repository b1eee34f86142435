//! Pager Mode messages to a group.

use super::*;

const IDS: &str =
    "Conversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\nContent-Type: message/cpim\r\n";
const BODY: &str = "From: <sip:alice@x>\r\n\r\nContent-Type: text/plain\r\n\r\nhello";

#[test]
fn msg_07_a_stranger_writes_to_nobody() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let text = scene.request_text("MESSAGE", ("erin", TEAM), IDS, BODY);
    assert_eq!(words(&scene.give("erin", &text)), ["erin 403"]);
    scene.bench.assert_nothing_left();
}

#[test]
fn msg_08_the_sender_is_answered_without_waiting_for_the_members() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let text = scene.request_text("MESSAGE", ("alice", TEAM), IDS, BODY);
    let seen = scene.give("alice", &text);
    assert_eq!(words(&seen)[0], "alice 202");
    let mut scene = Scene::with(&["alice", "bob"], |base, _| base.message_ack = 200);
    let text = scene.request_text("MESSAGE", ("alice", TEAM), IDS, BODY);
    assert_eq!(
        words(&scene.give("alice", &text)),
        ["alice 200", "bob MESSAGE"]
    );
}

#[test]
fn msg_09_every_other_member_gets_it_whatever_becomes_of_it_elsewhere() {
    let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
    let text = scene.request_text("MESSAGE", ("bob", TEAM), IDS, BODY);
    let seen = scene.give("bob", &text);
    assert_eq!(
        words(&seen),
        ["bob 202", "alice MESSAGE", "carol MESSAGE", "dave MESSAGE"]
    );
    for name in ["alice", "carol", "dave"] {
        let message = text_to(&seen, name, "MESSAGE");
        assert!(
            header(&message, "From").starts_with(&format!("<{TEAM}>")),
            "{message}"
        );
        assert_eq!(header(&message, "Referred-By"), format!("<{}>", uri("bob")));
        assert!(IDS.lines().all(|line| message.contains(line)), "{message}");
        assert!(message.ends_with(BODY), "{message}");
        let code = if name == "alice" { 500 } else { 200 };
        assert!(scene.answers(name, &message, code, "").is_empty());
    }
    assert!(scene.bench.acts.is_empty());
    scene.bench.assert_nothing_left();
}
