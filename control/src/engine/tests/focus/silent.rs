//! Silence that has ended with its stream, and silence that is all that is left.

use super::loss::{news, silent};
use super::*;

const AUDIO_OFF: &str = "m=audio 0 RTP/AVP 0\r\n";
const CHAT_OFF: &str = "m=message 0 TCP/MSRP *\r\n";

fn scene(lines: &[&str]) -> Scene {
    let members = ["alice", "bob", "carol"];
    let mut scene = Scene::with(&members, |base, _| base.release_silent = true);
    scene.begin(&members, lines);
    scene
}

/// Bob offers something.
fn offers(scene: &mut Scene, lines: &[&str]) -> Vec<String> {
    let seen = scene.inside("bob", "INVITE", "", &sdp(lines));
    scene.ack("bob", scene.seq + 100);
    words(&seen)
}

#[test]
fn who_has_held_what_was_silent_is_silent_anew_or_not_at_all() {
    let mut scene = scene(&[AUDIO, VIDEO]);
    assert!(news(&mut scene, silent, (0, 2)).is_empty());
    let held = format!("{AUDIO}a=inactive\r\n");
    assert_eq!(offers(&mut scene, &[&held, VIDEO]), ["bob 200"]);
    // The worker listens anew, and tells nothing while it hears something.
    assert_eq!(offers(&mut scene, &[AUDIO, VIDEO]), ["bob 200"]);
    assert!(news(&mut scene, silent, (1, 2)).is_empty(), "it hears bob");
    let seen = news(&mut scene, silent, (0, 2));
    assert_eq!(words(&seen), ["bob BYE"]);
    scene.end();
}

#[test]
fn a_stream_that_is_left_and_taken_again_is_not_silent_from_before() {
    let mut scene = scene(&[AUDIO, VIDEO]);
    assert!(news(&mut scene, silent, (0, 2)).is_empty());
    assert_eq!(offers(&mut scene, &[AUDIO_OFF, VIDEO]), ["bob 200"]);
    assert_eq!(offers(&mut scene, &[AUDIO, VIDEO]), ["bob 200"]);
    assert!(news(&mut scene, silent, (1, 2)).is_empty(), "it hears bob");
    scene.end();
}

#[test]
fn who_leaves_all_but_what_is_silent_is_released() {
    let mut scene = scene(&[AUDIO, CHAT]);
    assert!(news(&mut scene, silent, (0, 2)).is_empty());
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[AUDIO, CHAT_OFF]));
    assert_eq!(words(&seen), ["bob 200", "bob BYE"]);
    let bye = text_to(&seen, "bob", "BYE");
    assert!(header(&bye, "Reason").contains("No media"), "{bye}");
    assert_eq!(scene.bench.engine.counters().group_members_silent, 1);
    scene.end();
}

#[test]
fn who_is_left_with_what_is_silent_by_another_one_is_released() {
    let members = ["alice", "bob", "carol"];
    let mut scene = Scene::with(&members, |base, group| {
        base.release_silent = true;
        group.remove_streams = Some(config::Right::Participants);
    });
    scene.begin(&members, &[AUDIO, CHAT]);
    assert!(news(&mut scene, silent, (0, 2)).is_empty());
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[AUDIO, CHAT_OFF]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(words(&seen), ["bob ACK", "bob BYE"]);
    scene.end();
}
