//! Matrix 1.20: A uses {message, audio}, B uses {message, audio}, C uses {message}.

use super::*;

/// What A's re-INVITE led to: the requests to B and to C, and the answer to A.
struct Outcome {
    scene: Scene,
    seen: Seen,
}

impl Outcome {
    fn to(&self, name: &str) -> Option<String> {
        let found = self.seen.iter();
        let mut found = found.filter(|(to, what, _)| *to == name && what == "INVITE");
        found.next().map(|(_, _, text)| media_of(text))
    }

    fn answer(&self, name: &str) -> String {
        media_of(&text_to(&self.seen, name, "200"))
    }
}

/// The scene of the matrix: line 0 is the message stream, line 1 audio.
fn scene(may_add: bool, may_remove: bool) -> Scene {
    let right = |may| {
        Some(if may {
            config::Right::Participants
        } else {
            config::Right::Nobody
        })
    };
    let mut scene = Scene::with(&["alice", "bob", "carol"], |_, group| {
        group.add_streams = right(may_add);
        group.remove_streams = right(may_remove);
    });
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT, AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers(
        "carol",
        &carol,
        200,
        &accept_some(&carol, |kind| kind == "message"),
    );
    scene
}

fn offers(mut scene: Scene, name: &str, lines: &[&str]) -> Outcome {
    let seen = scene.inside(name, "INVITE", "", &sdp(lines));
    Outcome { scene, seen }
}

const AUDIO_OFF: &str = "m=audio 0 RTP/AVP 0\r\n";

#[test]
fn omd_04_case_1_a_new_stream_is_offered_to_all() {
    let outcome = offers(scene(true, false), "alice", &[CHAT, AUDIO, VIDEO]);
    assert_eq!(outcome.to("bob").unwrap(), "message audio video");
    assert_eq!(outcome.to("carol").unwrap(), "message video");
    assert_eq!(outcome.answer("alice"), "message audio video");
}

#[test]
fn omd_11_case_2_a_new_stream_that_may_not_be_added_is_refused() {
    let outcome = offers(scene(false, false), "alice", &[CHAT, AUDIO, VIDEO]);
    assert_eq!((outcome.to("bob"), outcome.to("carol")), (None, None));
    assert_eq!(outcome.answer("alice"), "message audio");
    assert!(text_to(&outcome.seen, "alice", "200").contains("m=video 0 "));
}

#[test]
fn omd_06_case_3_a_stream_that_is_dropped_for_all_is_taken_from_who_uses_it() {
    let outcome = offers(scene(false, true), "alice", &[CHAT, AUDIO_OFF]);
    assert_eq!(outcome.to("bob").unwrap(), "message");
    assert!(text_to(&outcome.seen, "bob", "INVITE").contains("m=audio 0 "));
    assert_eq!(outcome.to("carol"), None);
    assert_eq!(outcome.answer("alice"), "message");
    let mut scene = outcome.scene;
    let bob = text_to(&outcome.seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    // Nobody uses it: the room has ended.
    assert_eq!(scene.bench.acts.last().unwrap(), "leave all");
    scene.end();
}

#[test]
fn omd_05_case_4_a_stream_that_may_not_be_removed_is_only_left() {
    let outcome = offers(scene(false, false), "alice", &[CHAT, AUDIO_OFF]);
    assert_eq!((outcome.to("bob"), outcome.to("carol")), (None, None));
    assert_eq!(outcome.answer("alice"), "message");
    assert_eq!(outcome.scene.bench.rooms.of(1), (vec![0], vec![0]));
    assert_eq!(outcome.scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
}

#[test]
fn omd_06_case_5_one_is_removed_and_another_added() {
    let outcome = offers(scene(true, true), "alice", &[CHAT, AUDIO_OFF, VIDEO]);
    assert_eq!(outcome.to("bob").unwrap(), "message video");
    assert_eq!(outcome.to("carol").unwrap(), "message video");
    assert_eq!(outcome.answer("alice"), "message video");
}

#[test]
fn omd_06_case_6_one_is_left_and_another_added() {
    let outcome = offers(scene(true, false), "alice", &[CHAT, AUDIO_OFF, VIDEO]);
    assert_eq!(outcome.to("bob").unwrap(), "message audio video");
    assert_eq!(outcome.to("carol").unwrap(), "message video");
    assert_eq!(outcome.answer("alice"), "message video");
}

#[test]
fn omd_14_case_7_another_codec_is_nobody_elses_business() {
    let other = "m=audio 4000 RTP/AVP 8\r\n";
    let outcome = offers(scene(false, false), "alice", &[CHAT, other]);
    assert_eq!((outcome.to("bob"), outcome.to("carol")), (None, None));
    assert_eq!(outcome.answer("alice"), "message audio");
    // One that can't be decoded is refused.
    let unknown = "m=audio 4000 RTP/AVP 18\r\n";
    let outcome = offers(scene(false, false), "alice", &[CHAT, unknown]);
    assert_eq!((outcome.to("bob"), outcome.to("carol")), (None, None));
    assert_eq!(outcome.answer("alice"), "message");
}

#[test]
fn omd_07_case_8_a_stream_that_is_not_understood_is_refused_and_not_passed_on() {
    let unknown = "m=video 4010 RTP/SAVP 97\r\na=rtpmap:97 VP8/90000\r\n";
    let outcome = offers(scene(true, false), "alice", &[CHAT, AUDIO, unknown]);
    assert_eq!((outcome.to("bob"), outcome.to("carol")), (None, None));
    assert_eq!(outcome.answer("alice"), "message audio");
}

#[test]
fn omd_12_case_9_one_who_refuses_to_lose_a_stream_gets_nothing_of_it_any_more() {
    let outcome = offers(scene(false, true), "alice", &[CHAT, AUDIO_OFF]);
    let bob = text_to(&outcome.seen, "bob", "INVITE");
    let mut scene = outcome.scene;
    let seen = scene.answers("bob", &bob, 488, "");
    assert_eq!(words(&seen), ["bob ACK"]);
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    assert_eq!(scene.bench.engine.participants(), 3);
    scene.end();
}

#[test]
fn omd_11_case_10_a_stream_that_others_use_needs_no_right_to_be_added() {
    let outcome = offers(scene(false, false), "carol", &[CHAT, AUDIO]);
    assert_eq!((outcome.to("alice"), outcome.to("bob")), (None, None));
    assert_eq!(outcome.answer("carol"), "message audio");
    assert_eq!(outcome.scene.bench.rooms.of(3), (vec![0, 1], vec![0, 1]));
}
