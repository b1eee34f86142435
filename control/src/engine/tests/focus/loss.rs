//! What becomes of participants whose media are lost or silent (REL-01: inactivity).

use dataplane::api::{MemberId, SessionId, StreamId};

use super::*;

/// The worker's news of a member in a room.
pub(super) fn news(
    scene: &mut Scene,
    event: fn(SessionId, StreamId, MemberId) -> Event,
    of: (u8, u32),
) -> Seen {
    let now = scene.bench.now;
    let event = event(SessionId(1), StreamId(of.0), MemberId(of.1));
    scene.bench.engine.handle_news(now, 0, event);
    let sent = scene.bench.settle();
    scene.seen(sent)
}

pub(super) fn lost(session: SessionId, stream: StreamId, member: MemberId) -> Event {
    Event::MemberLost {
        session,
        stream,
        member,
    }
}

pub(super) fn silent(session: SessionId, stream: StreamId, member: MemberId) -> Event {
    Event::MemberSilent {
        session,
        stream,
        member,
    }
}

fn heard(session: SessionId, stream: StreamId, member: MemberId) -> Event {
    Event::MemberHeard {
        session,
        stream,
        member,
    }
}

/// What a subscriber is told next, and has acknowledged.
pub(super) fn told(scene: &mut Scene, seen: &Seen, name: &str) -> String {
    let notify = text_to(seen, name, "NOTIFY");
    scene.answers(name, &notify, 200, "");
    notify
}

pub(super) fn subscribed(scene: &mut Scene, name: &str) {
    let identity = scene.dialogs[name].contact.clone();
    let text = scene.request_text("SUBSCRIBE", (name, &identity), "Event: conference\r\n", "");
    let seen = scene.give(name, &text);
    told(scene, &seen, name);
    scene.wait(1);
}

#[test]
fn rel_01_who_does_not_offer_a_lost_connection_anew_is_released_for_inactivity() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    subscribed(&mut scene, "alice");
    let seen = news(&mut scene, lost, (0, 2));
    assert_eq!(words(&seen), ["alice NOTIFY"]);
    let notify = told(&mut scene, &seen, "alice");
    let status = "<type>message</type><status>inactive</status>";
    assert!(notify.contains(status), "{notify}");
    assert_eq!(scene.bench.engine.counters().group_connections_lost, 1);
    assert!(words(&scene.wait(31)).is_empty());
    let seen = scene.wait(1);
    let bye = text_to(&seen, "bob", "BYE");
    assert!(header(&bye, "Reason").starts_with("SIP;cause=408"), "{bye}");
    // The media were released first.
    assert_eq!(scene.bench.rooms.of(2), (vec![], vec![]));
    told(&mut scene, &seen, "alice");
    scene.wait(1);
    let seen = scene.answers("bob", &bye, 200, "");
    let notify = told(&mut scene, &seen, "alice");
    assert!(notify.contains("failed</disconnection-method>"), "{notify}");
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn rel_01_who_offers_a_lost_connection_anew_goes_on() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    news(&mut scene, lost, (0, 2));
    scene.wait(20);
    scene.bench.acts.clear();
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["bob 200"]);
    // The worker is told again where the far end is, though it has not moved.
    assert_eq!(scene.bench.acts, ["connect 2 0"]);
    scene.ack("bob", scene.seq + 100);
    assert!(!words(&scene.wait(20)).contains(&"bob BYE".to_owned()));
    // What is lost a second time has its time anew.
    news(&mut scene, lost, (0, 2));
    assert!(!words(&scene.wait(31)).contains(&"bob BYE".to_owned()));
    text_to(&scene.wait(1), "bob", "BYE");
    scene.end();
}

#[test]
fn rel_01_who_has_other_streams_is_only_without_the_lost_one() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT, AUDIO]);
    news(&mut scene, lost, (0, 2));
    let seen = scene.wait(32);
    let offer = text_to(&seen, "bob", "INVITE");
    assert_eq!(media_of(&offer), "audio");
    scene.answers("bob", &offer, 200, &accept(&offer));
    assert_eq!(scene.bench.rooms.of(2), (vec![1], vec![1]));
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn a_lost_connection_may_stay_lost_where_it_has_all_the_time() {
    let mut scene = Scene::with(&["alice", "bob"], |base, _| base.reconnect = None);
    scene.begin(&["alice", "bob"], &[CHAT]);
    news(&mut scene, lost, (0, 2));
    assert!(words(&scene.wait(600)).is_empty());
    scene.end();
}

#[test]
fn rel_01_silence_in_all_media_releases_where_policy_says_so() {
    let mut scene = Scene::with(&["alice", "bob", "carol"], |base, _| {
        base.release_silent = true;
    });
    scene.begin(&["alice", "bob", "carol"], &[AUDIO, VIDEO]);
    assert!(words(&news(&mut scene, silent, (0, 2))).is_empty());
    assert!(words(&news(&mut scene, heard, (0, 2))).is_empty());
    assert!(words(&news(&mut scene, silent, (1, 2))).is_empty());
    let seen = news(&mut scene, silent, (0, 2));
    let bye = text_to(&seen, "bob", "BYE");
    assert!(header(&bye, "Reason").contains("No media"), "{bye}");
    assert_eq!(scene.bench.engine.counters().group_members_silent, 1);
    scene.answers("bob", &bye, 200, "");
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn silence_releases_nobody_who_may_be_silent() {
    // Policy says nothing.
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    assert!(words(&news(&mut scene, silent, (0, 2))).is_empty());
    scene.end();
    let mut scene = Scene::with(&["alice", "bob", "carol"], |base, group| {
        base.release_silent = true;
        group.audio_barred = vec![uri("carol")];
    });
    scene.begin(&["alice", "bob", "carol"], &[AUDIO, CHAT]);
    // One who may not send, and one who may write.
    assert!(words(&news(&mut scene, silent, (0, 3))).is_empty());
    assert!(words(&news(&mut scene, silent, (0, 2))).is_empty());
    scene.end();
    // Where a floor says who sends, others are silent.
    let mut scene = Scene::with(&["alice", "bob"], |base, group| {
        base.release_silent = true;
        group.floors = Some(vec![config::StreamKind::Audio]);
    });
    scene.begin(&["alice", "bob"], &[AUDIO]);
    assert!(words(&news(&mut scene, silent, (0, 2))).is_empty());
    scene.end();
}
