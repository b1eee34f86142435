//! Session timers of participants (RFC 4028), and limits.

use super::*;

#[test]
fn a_participant_who_refreshes_is_answered_and_one_who_does_not_is_released() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let timer = "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n";
    let seen = scene.invite("alice", TEAM, timer, &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    assert_eq!(header(&bob, "Session-Expires"), "1800;refresher=uas");
    let after = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&after, "alice", "200");
    assert_eq!(header(&ok, "Session-Expires"), "120;refresher=uac");
    assert_eq!(header(&ok, "Require"), "timer");
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 200, &accept(&carol));
    scene.wait(100);
    assert_eq!(
        words(&scene.inside("alice", "UPDATE", timer, "")),
        ["alice 200"]
    );
    assert!(words(&scene.wait(100)).is_empty());
    let after = scene.wait(30);
    assert!(words(&after).contains(&"alice BYE".to_owned()), "{after:?}");
    assert_eq!(scene.bench.engine.counters().expired, 1);
    scene.end();
}

#[test]
fn where_the_participant_wants_it_the_relay_refreshes_with_what_was_agreed() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let timer = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let seen = scene.invite("alice", TEAM, timer, &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let before = scene.bench.acts.len();
    let after = scene.wait(51);
    let refresh = after
        .iter()
        .find(|(to, what, _)| *to == "alice" && what == "INVITE");
    let refresh = refresh.unwrap().2.clone();
    assert_eq!(media_of(&refresh), "audio");
    scene.answers("alice", &refresh, 200, &sdp(&[AUDIO]));
    assert_eq!(scene.bench.acts.len(), before, "{:?}", scene.bench.acts);
    scene.end();
}

#[test]
fn a_session_interval_that_is_too_small_is_refused() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let timer = "Supported: timer\r\nSession-Expires: 30\r\n";
    let seen = scene.invite("alice", TEAM, timer, &sdp(&[AUDIO]));
    assert_eq!(header(&text_to(&seen, "alice", "422"), "Min-SE"), "90");
}

#[test]
fn an_answer_that_is_never_acknowledged_releases_who_should_have() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    for name in ["bob", "carol"] {
        let invite = text_to(&seen, name, "INVITE");
        scene.answers(name, &invite, 200, &accept(&invite));
    }
    let after = scene.wait(40);
    assert!(
        words(&after).contains(&"alice BYE".to_owned()),
        "{:?}",
        words(&after)
    );
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn sgn_17_many_sessions_of_one_user_last_side_by_side() {
    let mut scene = Scene::new(&["alice", "bob"]);
    for _ in 0..100 {
        let seen = scene.invite_ad_hoc("alice", &["bob"]);
        let bob = text_to(&seen, "bob", "INVITE");
        scene.answers("bob", &bob, 200, &accept(&bob));
        scene.ack("alice", 1);
    }
    assert_eq!(scene.bench.engine.participants(), 200);
    scene.end();
}

#[test]
fn an_extension_that_is_not_known_is_refused_by_name() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "Require: timer, 100rel\r\n", &sdp(&[AUDIO]));
    let refused = text_to(&seen, "alice", "420");
    assert_eq!(header(&refused, "Unsupported"), "100rel");
}

#[test]
fn a_drained_relay_begins_no_group_session() {
    let mut scene = Scene::new(&["alice", "bob"]);
    scene.bench.engine.drain();
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["alice 503"]);
    scene.bench.assert_nothing_left();
}
