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

/// Alice and bob talk; the relay refreshes alice's session each 100 s.
fn refreshed_by_the_relay() -> Scene {
    let mut scene = Scene::new(&["alice", "bob"]);
    let timer = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let seen = scene.invite("alice", TEAM, timer, &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    scene
}

/// The 200 to a refresh says the same again.
fn refreshes(scene: &mut Scene, refresh: &str) {
    assert_eq!(media_of(refresh), "audio");
    let contact = format!(
        "Contact: <{}>\r\nSession-Expires: 100;refresher=uac\r\n",
        uri("alice")
    );
    let text = answer(refresh, 200, "OK", &sdp(&[AUDIO])).replace(CONTACT_B, &contact);
    let seen = scene.give("alice", &text);
    assert_eq!(words(&seen), ["alice ACK"]);
}

#[test]
fn a_refresh_that_is_refused_is_sent_again_before_the_session_expires() {
    for code in [491, 500, 503, 488] {
        let mut scene = refreshed_by_the_relay();
        let mut refresh = first_to(&scene.wait(51), "alice", "INVITE");
        for _ in 0..3 {
            let seen = scene.answers("alice", &refresh, code, "");
            assert_eq!(words(&seen), ["alice ACK"], "{code}");
            // 491: not before two seconds are over (RFC 3261 §14.1).
            assert!(scene.wait(2).is_empty(), "{code}");
            let mut later = Seen::new();
            while later.is_empty() {
                later = scene.wait(1);
            }
            refresh = first_to(&later, "alice", "INVITE");
        }
        refreshes(&mut scene, &refresh);
        assert!(scene.wait(49).is_empty(), "{code}");
        assert_eq!(scene.bench.engine.counters().expired, 0);
        scene.end();
    }
}

#[test]
fn a_session_is_refreshed_though_something_else_was_under_way_and_is_refused() {
    let mut scene = refreshed_by_the_relay();
    scene.wait(40);
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[AUDIO, CHAT]));
    scene.ack("bob", scene.seq + 100);
    let offer = text_to(&seen, "alice", "INVITE");
    assert!(words(&scene.answers("alice", &offer, 180, "")).is_empty());
    assert!(scene.wait(15).is_empty());
    let seen = scene.answers("alice", &offer, 488, "");
    assert_eq!(words(&seen), ["alice ACK"]);
    let refresh = first_to(&scene.wait(30), "alice", "INVITE");
    refreshes(&mut scene, &refresh);
    assert!(scene.wait(49).is_empty());
    assert_eq!(scene.bench.engine.counters().expired, 0);
    scene.end();
}

#[test]
fn who_refuses_every_refresh_is_released_when_its_session_expires() {
    let mut scene = refreshed_by_the_relay();
    let mut tries = 0;
    for _ in 0..101 {
        for (name, what, text) in scene.wait(1) {
            if what == "INVITE" {
                tries += 1;
                scene.answers(name, &text, 488, "");
            }
        }
    }
    assert!((2..=8).contains(&tries), "{tries}");
    assert_eq!(scene.bench.engine.counters().expired, 1);
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
