//! Changes of streams besides the matrix.

use super::*;

#[test]
fn mod_09_after_the_answers_the_new_stream_flows_both_ways() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    assert_eq!(words(&seen), ["alice 200", "bob INVITE"]);
    assert_eq!(scene.bench.rooms.of(1), (vec![0, 1], vec![0, 1]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn omd_13_one_who_refuses_a_new_stream_goes_on_without_it() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    let after = scene.answers("bob", &bob, 488, "");
    assert_eq!(words(&after), ["bob ACK"]);
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(scene.bench.rooms.of(3), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn omd_15_a_stream_that_is_held_is_left_for_oneself_alone() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT, AUDIO]);
    let held = format!("{AUDIO}a=inactive\r\n");
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, &held]));
    assert_eq!(words(&seen), ["alice 200"]);
    assert!(text_to(&seen, "alice", "200").contains("a=inactive"));
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![0]));
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    assert_eq!(words(&seen), ["alice 200"]);
    assert_eq!(scene.bench.rooms.of(1), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn mod_06_only_who_is_affected_is_asked() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT, AUDIO]);
    let held = format!("{AUDIO}a=sendonly\r\n");
    let seen = scene.inside("carol", "UPDATE", "", &sdp(&[CHAT, &held]));
    assert_eq!(words(&seen), ["carol 200"]);
    assert_eq!(scene.bench.rooms.of(3), (vec![0, 1], vec![0]));
    scene.end();
}

#[test]
fn mod_12_offers_that_cross_are_refused_with_491_and_made_again() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    let ours = text_to(&seen, "bob", "INVITE");
    let crossed = scene.inside("bob", "INVITE", "", &sdp(&[CHAT, VIDEO]));
    assert_eq!(words(&crossed), ["bob 491"]);
    let after = scene.answers("bob", &ours, 491, "");
    assert_eq!(words(&after), ["bob ACK"]);
    let after = scene.wait(5);
    let again = after
        .iter()
        .find(|(to, what, _)| *to == "bob" && what == "INVITE");
    let again = again.unwrap().2.clone();
    assert_eq!(media_of(&again), "message audio");
    scene.answers("bob", &again, 200, &accept(&again));
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn mod_12_a_refused_offer_and_a_refresh_leave_the_media_as_they_are() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let before = scene.bench.acts.len();
    let unknown = "m=message 0 TCP/MSRP *\r\n";
    let seen = scene.inside(
        "alice",
        "INVITE",
        "",
        &sdp(&[unknown, "m=audio 4000 RTP/AVP 18\r\n"]),
    );
    assert_eq!(words(&seen), ["alice 488"]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["alice 200"]);
    let seen = scene.inside("alice", "UPDATE", "", "");
    assert_eq!(words(&seen), ["alice 200"]);
    assert_eq!(scene.bench.acts.len(), before, "{:?}", scene.bench.acts);
    scene.end();
}

#[test]
fn a_re_invite_without_an_offer_gets_one_and_its_ack_has_the_answer() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    let text = scene.inside_text("bob", "INVITE", "", "");
    let seen = scene.give("bob", &text);
    let offer = text_to(&seen, "bob", "200");
    assert_eq!(media_of(&offer), "audio");
    let held = format!("{AUDIO}a=inactive\r\n");
    let ack = text.replace("INVITE", "ACK");
    let body = sdp(&[&held]);
    let head = ack.split("Content-Length").next().unwrap();
    let ack = format!(
        "{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    scene.give("bob", &ack.replace("z9hG4bK-ACK", "z9hG4bK-late"));
    assert_eq!(scene.bench.rooms.of(2), (vec![], vec![]));
    scene.end();
}

#[test]
fn who_joins_later_gets_the_streams_that_were_added() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let added = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    assert_eq!(words(&added), ["alice 200", "bob INVITE"]);
    let after = scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(words(&after), ["carol ACK", "carol INVITE"]);
    assert_eq!(
        media_of(&text_to(&after, "carol", "INVITE")),
        "message audio"
    );
    scene.end();
}

#[test]
fn one_who_sends_alone_is_heard_by_all_and_hears_nobody() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let alone = format!("{AUDIO}a=sendonly\r\n");
    let seen = scene.invite("alice", TEAM, "", &sdp(&[&alone]));
    assert_eq!(scene.bench.acts[0], "room 0 Forward");
    let bob = text_to(&seen, "bob", "INVITE");
    assert!(bob.contains("a=sendonly"), "{bob}");
    let after = scene.answers("bob", &bob, 200, &accept(&bob));
    assert!(text_to(&after, "alice", "200").contains("a=recvonly"));
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![]));
    assert_eq!(scene.bench.rooms.of(2), (vec![], vec![0]));
    scene.end();
}

#[test]
fn mod_07_what_the_relay_changes_itself_goes_inside_the_participants_dialog() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    let invite = text_to(&seen, "bob", "INVITE");
    let dialog = scene.dialogs["bob"].clone();
    assert_eq!(header(&invite, "Call-ID"), dialog.call_id);
    assert_eq!(header(&invite, "To"), dialog.local);
    assert_eq!(header(&invite, "From"), dialog.remote);
    assert_eq!(header(&invite, "CSeq"), "2 INVITE");
    assert!(invite.starts_with(&format!("INVITE {} SIP/2.0", uri("bob"))));
    scene.end();
}

#[test]
fn mod_03_the_relay_modifies_a_leg_when_another_participant_has_more_to_offer() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT, AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers(
        "bob",
        &bob,
        200,
        &accept_some(&bob, |kind| kind == "message"),
    );
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    let after = scene.answers("carol", &carol, 200, &accept(&carol));
    let offer = text_to(&after, "alice", "INVITE");
    assert_eq!(media_of(&offer), "message audio");
    scene.answers("alice", &offer, 488, "");
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![0]));
    scene.end();
}

#[test]
fn omd_16_streams_that_the_group_does_not_allow_can_not_be_added() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.streams = Some(vec![config::StreamKind::Message, config::StreamKind::Audio]);
    });
    scene.begin(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, VIDEO]));
    assert_eq!(words(&seen), ["alice 200"]);
    assert_eq!(media_of(&text_to(&seen, "alice", "200")), "message");
    scene.end();
}

#[test]
fn a_line_that_carries_something_else_than_before_is_another_stream() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[AUDIO]));
    assert_eq!(media_of(&text_to(&seen, "alice", "200")), "audio");
    assert_eq!(scene.bench.rooms.of(1), (vec![1], vec![1]));
    scene.end();
}

#[test]
fn omd_04_streams_may_be_added_and_removed_as_often_as_anybody_wants() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.remove_streams = Some(config::Right::Participants);
    });
    scene.begin(&["alice", "bob"], &[CHAT]);
    let video_off = "m=video 0 RTP/AVP 97\r\n";
    for round in 0..40 {
        for (line, media) in [(VIDEO, "message video"), (video_off, "message")] {
            let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, line]));
            assert_eq!(words(&seen), ["alice 200", "bob INVITE"], "round {round}");
            scene.ack("alice", scene.seq + 100);
            let bob = text_to(&seen, "bob", "INVITE");
            assert_eq!(media_of(&bob), media, "round {round}");
            scene.answers("bob", &bob, 200, &accept(&bob));
        }
    }
    assert_eq!(scene.bench.engine.counters().full_group_streams, 0);
    scene.end();
}

#[test]
fn a_stream_that_the_worker_refuses_uses_no_name_up() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    scene.bench.refuse = true;
    for _ in 0..40 {
        let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
        assert_eq!(words(&seen), ["alice 503"]);
    }
    scene.bench.refuse = false;
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    assert_eq!(media_of(&text_to(&seen, "alice", "200")), "message audio");
    scene.end();
}

#[test]
fn the_name_of_a_stream_is_another_ones_when_its_room_has_ended() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.remove_streams = Some(config::Right::Participants);
    });
    scene.begin(&["alice", "bob"], &[CHAT, VIDEO]);
    let video_off = "m=video 0 RTP/AVP 97\r\n";
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, video_off]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    // The worker is told of its end, and has not said that it is done.
    scene.bench.holds_orders = true;
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.bench.holds_orders = false;
    let held = std::mem::take(&mut scene.bench.orders);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, video_off, AUDIO]));
    assert_eq!(scene.bench.rooms.of(1), (vec![0, 2], vec![0, 2]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.bench.orders = held;
    scene.bench.do_orders();
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, VIDEO, AUDIO]));
    assert_eq!(scene.bench.rooms.of(1), (vec![0, 1, 2], vec![0, 1, 2]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1, 2], vec![0, 1, 2]));
    scene.end();
}
