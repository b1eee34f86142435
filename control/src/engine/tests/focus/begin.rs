//! How group sessions begin.

use super::*;

#[test]
fn sgn_05_every_member_is_invited_at_once_with_what_the_inviter_offers() {
    let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, CHAT]));
    assert_eq!(words(&seen), ["bob INVITE", "carol INVITE", "dave INVITE"]);
    for (_, _, text) in &seen {
        assert_eq!(media_of(text), "audio message");
    }
    assert_eq!(
        scene.bench.acts[..4],
        ["room 0 Mix", "room 1 FanOut", "join 1 0", "join 1 1"]
    );
    for (name, _, text) in seen {
        scene.answers(name, &text, 486, "");
    }
    scene.give("alice", &ack_of_failure());
    scene.bench.assert_nothing_left();
}

#[test]
fn sgn_06_an_invitation_says_who_invites_whom_to_what_and_its_session() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let headers = "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session.group\r\n";
    let seen = scene.invite("alice", TEAM, headers, &sdp(&[CHAT]));
    let invite = text_to(&seen, "bob", "INVITE");
    assert!(
        invite.starts_with(&format!("INVITE {} SIP/2.0", uri("bob"))),
        "{invite}"
    );
    assert_eq!(
        header(&invite, "Referred-By"),
        format!("<{}>", uri("alice"))
    );
    assert_eq!(header(&invite, "To"), format!("<{}>", uri("bob")));
    assert!(header(&invite, "From").starts_with(&format!("<{TEAM}>")));
    assert_eq!(header(&invite, "P-Asserted-Identity"), format!("<{TEAM}>"));
    let contact = header(&invite, "Contact");
    assert!(
        contact.starts_with("<sip:cpm-session-") && contact.contains(">;isfocus"),
        "{contact}"
    );
    let accept = header(&invite, "Accept-Contact");
    assert!(accept.contains("oma.cpm.session.group"), "{accept}");
    scene.end();
}

#[test]
fn cnv_06_every_invitation_carries_the_same_identities() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let ids = "Conversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\nInReplyTo-Contribution-ID: 01234567\r\n";
    let seen = scene.invite("alice", TEAM, ids, &sdp(&[CHAT]));
    for name in ["bob", "carol"] {
        let invite = text_to(&seen, name, "INVITE");
        assert!(ids.lines().all(|line| invite.contains(line)), "{invite}");
    }
    scene.end();
}

#[test]
fn sgn_08_the_first_ringing_alone_is_passed_on() {
    let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let mut rung = Vec::new();
    for name in ["bob", "carol", "dave"] {
        let invite = text_to(&seen, name, "INVITE");
        rung.extend(words(&scene.answers(name, &invite, 180, "")));
    }
    assert_eq!(rung, ["alice 180"]);
    scene.end();
}

#[test]
fn sgn_09_the_first_accept_is_passed_on_and_later_ones_only_join() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let invite = text_to(&seen, "bob", "INVITE");
    let after = scene.answers("bob", &invite, 200, &accept(&invite));
    assert_eq!(words(&after), ["bob ACK", "alice 200"]);
    assert_eq!(media_of(&text_to(&after, "alice", "200")), "audio");
    scene.ack("alice", 1);
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![0]));
    let invite = text_to(&seen, "carol", "INVITE");
    let after = scene.answers("carol", &invite, 200, &accept(&invite));
    assert_eq!(words(&after), ["carol ACK"]);
    assert_eq!(scene.bench.rooms.of(3), (vec![0], vec![0]));
    scene.end();
    assert_eq!(scene.bench.cdrs.len(), 3);
    assert_eq!(scene.bench.cdrs[0].streams[0].a.packets, 7);
}

#[test]
fn idn_07_each_session_has_an_identity_of_its_own() {
    let mut identities = BTreeSet::new();
    for _ in 0..2 {
        let scene = Scene::talking(&["alice", "bob"], &[CHAT]);
        identities.insert(scene.dialogs["alice"].contact.clone());
    }
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let first = scene.dialogs["alice"].contact.clone();
    assert_eq!(first, scene.dialogs["bob"].contact);
    scene.end();
    scene.begin(&["alice", "bob"], &[CHAT]);
    assert_ne!(first, scene.dialogs["alice"].contact);
    scene.end();
}

#[test]
fn sgn_10_when_all_refuse_the_inviter_gets_the_best_of_it_once() {
    let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    for (name, code) in [("bob", 486), ("carol", 603)] {
        let invite = text_to(&seen, name, "INVITE");
        let after = scene.answers(name, &invite, code, "");
        assert_eq!(words(&after), [format!("{name} ACK")]);
    }
    // Dave never says anything.
    let after = scene.wait(40);
    let told: Vec<_> = words(&after)
        .into_iter()
        .filter(|one| one.starts_with("alice"))
        .collect();
    assert!(told.contains(&"alice 603".to_owned()), "{told:?}");
    assert!(told.iter().all(|one| one == "alice 603"), "{told:?}");
    let refused = after
        .iter()
        .find(|(_, what, _)| what == "603")
        .unwrap()
        .2
        .clone();
    let ack = refused_ack("alice", &refused);
    scene.give("alice", &ack);
    scene.bench.assert_nothing_left();
}

/// The ACK of a refusal.
fn refused_ack(from: &str, refusal: &str) -> String {
    let mut text = format!("ACK {TEAM} SIP/2.0\r\n");
    for name in ["Via", "From", "To", "Call-ID"] {
        text.push_str(&format!("{name}: {}\r\n", header(refusal, name)));
    }
    let _ = from;
    text + "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
}

#[test]
fn sgn_15_an_invitation_that_is_not_valid_any_more_is_cancelled_and_both_sides_are_told() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "Expires: 30\r\n", &sdp(&[AUDIO]));
    let invite = text_to(&seen, "bob", "INVITE");
    assert_eq!(header(&invite, "Expires"), "30");
    scene.answers("bob", &invite, 180, "");
    let after = scene.wait(29);
    assert!(words(&after).is_empty(), "{after:?}");
    let after = scene.wait(2);
    let cancel = after.iter().find(|(_, what, _)| what == "CANCEL").unwrap();
    assert!(cancel.2.contains("cause=408"), "{}", cancel.2);
    assert!(
        words(&after).contains(&"alice 408".to_owned()),
        "{:?}",
        words(&after)
    );
    scene.answers("bob", &invite, 487, "");
    scene.bench.assert_nothing_left();
}

#[test]
fn sgn_04_who_may_not_begin_a_session_is_refused_and_nobody_is_invited() {
    let mut scene = Scene::with(&["alice", "bob", "carol"], |_, group| {
        group.banned = vec![uri("carol")];
    });
    for stranger in ["dave", "carol"] {
        let seen = scene.invite(stranger, TEAM, "", &sdp(&[AUDIO]));
        assert_eq!(words(&seen), [format!("{stranger} 403")]);
    }
    assert!(scene.bench.acts.is_empty());
    assert_eq!(scene.bench.engine.counters().groups_refused, 2);
    scene.bench.assert_nothing_left();
}

#[test]
fn sgn_03_the_participating_functions_control_comes_first() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let mut policies = Policies::new(in_path());
    let barred = UserPolicy {
        barred: true,
        ..in_path()
    };
    policies.set(&uri("alice"), barred);
    scene.bench.engine.set_policies(policies.into());
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["alice 403"]);
    assert_eq!(scene.bench.engine.counters().barred, 1);
    scene.bench.assert_nothing_left();
}

#[test]
fn sgn_02_a_group_of_another_server_is_routed_on() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let to = "sip:other@127.0.0.1:5002";
    let seen = scene.invite("alice", to, "", &sdp(&[AUDIO]));
    let invite = text_to(&seen, "bob", "INVITE");
    assert!(!header(&invite, "Contact").contains("isfocus"), "{invite}");
    assert!(invite.starts_with(&format!("INVITE {to}")), "{invite}");
}

#[test]
fn sgn_01_an_inviters_list_makes_an_ad_hoc_group() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite_ad_hoc("alice", &["carol", "dave", "alice"]);
    assert_eq!(words(&seen), ["carol INVITE", "dave INVITE"]);
    let invite = text_to(&seen, "carol", "INVITE");
    assert!(
        header(&invite, "From").starts_with("<sip:cpm-session-"),
        "{invite}"
    );
    scene.end();
    let seen = scene.invite("alice", FACTORY, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["alice 400"]);
}

#[test]
fn an_inviter_who_gives_up_ends_it_for_all_and_a_late_accept_is_ended() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let text = scene.invite_text("alice", TEAM, "", &sdp(&[AUDIO]));
    let seen = scene.give("alice", &text);
    let bob = text_to(&seen, "bob", "INVITE");
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("bob", &bob, 180, "");
    scene.answers("carol", &carol, 180, "");
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    let cancel =
        cancel.split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    let after = scene.give("alice", &cancel);
    assert_eq!(
        words(&after),
        ["alice 200", "alice 487", "bob CANCEL", "carol CANCEL"]
    );
    let crossed = scene.answers("bob", &bob, 200, &accept(&bob));
    let bye = text_to(&crossed, "bob", "BYE");
    scene.answers("bob", &bye, 200, "");
    scene.answers("carol", &carol, 487, "");
    scene.bench.assert_nothing_left();
}

#[test]
fn ofr_05_what_the_group_bars_nobody_is_offered() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.streams = Some(vec![config::StreamKind::Message]);
    });
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let refused = text_to(&seen, "alice", "488");
    assert!(header(&refused, "Warning").starts_with("304"), "{refused}");
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, CHAT]));
    let invite = text_to(&seen, "bob", "INVITE");
    assert_eq!(media_of(&invite), "message");
    let after = scene.answers("bob", &invite, 200, &accept(&invite));
    let ok = text_to(&after, "alice", "200");
    assert_eq!(media_of(&ok), "message");
    assert!(ok.contains("m=audio 0 "), "{ok}");
    scene.end();
}

#[test]
fn ofr_09_the_first_answer_decides_and_a_later_one_adds_to_it() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    let after = scene.answers(
        "bob",
        &bob,
        200,
        &accept_some(&bob, |kind| kind == "message"),
    );
    assert_eq!(media_of(&text_to(&after, "alice", "200")), "message");
    scene.ack("alice", 1);
    assert_eq!(scene.bench.rooms.of(1), (vec![1], vec![1]));
    let carol = text_to(&seen, "carol", "INVITE");
    let after = scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(words(&after), ["carol ACK", "alice INVITE"]);
    let again = text_to(&after, "alice", "INVITE");
    assert_eq!(media_of(&again), "audio message");
    let after = scene.answers("alice", &again, 200, &accept(&again));
    assert_eq!(words(&after), ["alice ACK"]);
    assert_eq!(scene.bench.rooms.of(1), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn ofr_11_who_may_not_send_gets_recvonly_and_is_not_listened_to() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.audio_barred = vec![uri("bob")];
    });
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    assert!(bob.contains("a=sendonly\r\n"), "{bob}");
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.rooms.of(2), (vec![], vec![0]));
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![0]));
    scene.end();
}

#[test]
fn a_session_that_no_port_is_left_for_is_refused() {
    let mut scene = Scene::new(&["alice", "bob"]);
    scene.bench.refuse = true;
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let refused = text_to(&seen, "alice", "503");
    assert!(!header(&refused, "Retry-After").is_empty());
    scene.bench.rooms = Rooms::default();
    scene.bench.assert_nothing_left();
}

#[test]
fn the_loss_of_the_worker_releases_everybody() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
    let now = scene.bench.now;
    scene.bench.engine.handle_worker_lost(now, 0);
    let sent = scene.bench.settle();
    let seen = scene.seen(sent);
    let mut told = words(&seen);
    told.sort();
    assert_eq!(told, ["alice BYE", "bob BYE", "carol BYE"]);
    for (name, _, text) in seen {
        assert!(text.contains("Media lost"), "{text}");
        scene.answers(name, &text, 200, "");
    }
    scene.bench.rooms = Rooms::default();
    scene.bench.assert_nothing_left();
}

#[test]
fn sgn_07_ringing_and_answer_name_the_session() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    let session = header(&bob, "Contact").to_owned();
    let ringing = scene.answers("bob", &bob, 180, "");
    assert_eq!(
        header(&text_to(&ringing, "alice", "180"), "Contact"),
        session
    );
    let answered = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(
        header(&text_to(&answered, "alice", "200"), "Contact"),
        session
    );
    assert!(session.contains(";isfocus"), "{session}");
    scene.end();
}

#[test]
fn sgn_03_a_user_gets_in_a_group_session_what_its_own_policy_allows() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let mut policies = Policies::new(in_path());
    let mut without_video = in_path();
    without_video.streams.video = false;
    policies.set(&uri("carol"), without_video);
    scene.bench.engine.set_policies(policies.into());
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, VIDEO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 486, "");
    // One who comes later has no video, though the session has it.
    let seen = scene.invite("carol", TEAM, "", &sdp(&[AUDIO, VIDEO]));
    let ok = text_to(&seen, "carol", "200");
    assert_eq!(media_of(&ok), "audio");
    scene.ack("carol", 1);
    // Neither by an offer of its own, nor when another one adds it anew.
    let seen = scene.inside("carol", "INVITE", "", &sdp(&[AUDIO, VIDEO]));
    assert_eq!(media_of(&text_to(&seen, "carol", "200")), "audio");
    scene.ack("carol", scene.seq + 100);
    assert_eq!(scene.bench.rooms.of(4), (vec![0], vec![0]));
    scene.end();
}

#[test]
fn hst_06_a_recorded_users_invitation_passes_its_own_function_before_the_groups() {
    let core: SocketAddr = "127.0.0.1:5009".parse().unwrap();
    let mut scene = Scene::in_one_process(core);
    let served = format!("P-Served-User: <{}>;sescase=orig\r\n", uri("alice"));
    let text = scene.invite_text("alice", TEAM, &served, &sdp(&[CHAT]));
    let sent = scene.bench.give(address("alice"), &text);
    let out = only(&sent, core);
    assert!(out.starts_with(&format!("INVITE {TEAM} SIP/2.0")), "{out}");
    assert!(!out.contains("P-Served-User"), "{out}");
    assert!(scene.bench.acts.iter().any(|act| act == "record"));
    // The core sends it on to who hosts the group: the same process.
    let back = out.replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 127.0.0.1:5009;branch=z9hG4bK-c\r\nVia: ",
        1,
    );
    let sent = scene.bench.give(core, &back);
    let invited = only(&sent, core);
    assert!(
        invited.starts_with(&format!("INVITE {} SIP/2.0", uri("bob"))),
        "{invited}"
    );
    assert!(header(&invited, "Contact").contains("isfocus"), "{invited}");
}

#[test]
fn one_whose_accept_has_not_come_yet_is_asked_to_wait_with_what_else_it_wants() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let invite = text_to(&seen, "bob", "INVITE");
    for (method, answer) in [("INVITE", "bob 491"), ("INFO", "bob 500")] {
        let early = scene.inside("bob", method, "", "");
        assert_eq!(words(&early), [answer], "481 would end its dialog");
    }
    scene.answers("bob", &invite, 200, &accept(&invite));
    scene.ack("alice", 1);
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn sgn_16_one_who_accepts_and_leaves_before_that_has_come_does_not_take_part() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let [bobs, invite] = ["bob", "carol"].map(|name| text_to(&seen, name, "INVITE"));
    scene.answers("bob", &bobs, 200, &accept(&bobs));
    scene.ack("alice", 1);
    let left = scene.inside("carol", "BYE", "", "");
    assert!(words(&left).contains(&"carol 200".to_owned()), "{left:?}");
    let late = scene.answers("carol", &invite, 200, &accept(&invite));
    assert_eq!(words(&late), ["carol ACK", "carol BYE"]);
    scene.answers("carol", &text_to(&late, "carol", "BYE"), 481, "");
    assert_eq!(scene.bench.engine.participants(), 2, "alice and bob alone");
    scene.end();
}

#[test]
fn an_inviter_whose_worker_is_lost_as_it_is_accepted_is_refused_and_gets_no_bye() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.bench.holds_orders = true;
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(words(&seen), ["bob ACK"]);
    scene.bench.orders.clear();
    scene.bench.engine.handle_worker_lost(scene.bench.now, 0);
    scene.bench.rooms = Rooms::default();
    scene.bench.holds_orders = false;
    let sent = scene.bench.settle();
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["alice 503", "bob BYE"]);
    let refusal = text_to(&seen, "alice", "503");
    scene.give("alice", &refused_ack("alice", &refusal));
    let bye = text_to(&seen, "bob", "BYE");
    scene.answers("bob", &bye, 200, "");
    scene.bench.assert_nothing_left();
    assert_eq!(scene.bench.cdrs.len(), 2);
}

#[test]
fn a_line_beyond_what_a_session_may_have_is_refused_by_its_port() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let lines = [AUDIO; 9];
    let seen = scene.invite("alice", TEAM, "", &sdp(&lines));
    let bob = text_to(&seen, "bob", "INVITE");
    assert_eq!(media_of(&bob), ["audio"; 8].join(" "));
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&seen, "alice", "200");
    assert_eq!(media_of(&ok), ["audio"; 8].join(" "));
    assert_eq!(ok.matches("m=audio 0 ").count(), 1);
    assert_eq!(scene.bench.engine.counters().full_group_streams, 1);
    scene.ack("alice", 1);
    scene.end();
}

#[test]
fn the_floors_of_a_session_have_their_place_among_its_streams() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.floors = Some(vec![config::StreamKind::Audio]);
    });
    let lines = [AUDIO, AUDIO, AUDIO, AUDIO, AUDIO, AUDIO, AUDIO, AUDIO, BFCP];
    let seen = scene.invite("alice", TEAM, "", &sdp(&lines));
    let bob = text_to(&seen, "bob", "INVITE");
    assert_eq!(media_of(&bob), format!("{}application", "audio ".repeat(7)));
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&seen, "alice", "200");
    assert_eq!(ok.matches("m=audio 0 ").count(), 1);
    scene.ack("alice", 1);
    scene.end();
}
