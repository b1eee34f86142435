//! Streams that come, go and change inside a session, within what the served user may have (OMD,
//! MOD).

use super::offers::{AUDIO, AUDIO_B, CHAT, CHAT_B, VIDEO, VIDEO_B, kinds, off, sdp, session};
use super::*;

/// Side A's offer inside the session: as B got it, and the final answer as A got it.
fn change(
    bench: &mut Bench,
    (seq, to_a): (u32, &str),
    offer: &[&str],
    answered: &[&str],
) -> (String, String) {
    let text = in_dialog_of_a("INVITE", seq, to_a, CONTACT_A, &sdp(seq, offer));
    let reinvite = only(&bench.give(a(), &text), b());
    let sent = bench.give(b(), &answer(&reinvite, 200, "OK", &sdp(seq, answered)));
    let ok = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", seq, to_a, "", ""));
    (reinvite, ok)
}

/// The same of side B.
fn change_of_b(
    bench: &mut Bench,
    (seq, to_b): (u32, &str),
    offer: &[&str],
    answered: &[&str],
) -> (String, String) {
    let text = in_dialog_of_b("INVITE", seq, to_b, CONTACT_B, &sdp(seq + 1, offer));
    let reinvite = only(&bench.give(b(), &text), a());
    let ok = answer(&reinvite, 200, "OK", &sdp(seq + 1, answered));
    let ok = only(&bench.give(a(), &ok.replace(CONTACT_B, CONTACT_A)), b());
    bench.give(b(), &in_dialog_of_b("ACK", seq, to_b, "", ""));
    (reinvite, ok)
}

fn without_video(role: Role) -> impl FnOnce(&mut Settings) {
    move |settings| {
        for_all(settings, |policy| policy.streams.video = false);
        settings.role = role;
    }
}

/// A barred stream is taken out of an offer, and an offer of nothing else is refused; whoever
/// offers, in a re-INVITE or in an UPDATE.
fn barred_streams_stay_out(role: Role) {
    let mut bench = Bench::new(without_video(role));
    let (to_b, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let no_video = off(VIDEO);

    let (reinvite, ok) = change(
        &mut bench,
        (2, &to_a),
        &[AUDIO, VIDEO],
        &[AUDIO_B, &no_video],
    );
    assert_eq!(kinds(&reinvite), "audio (video)");
    assert_eq!(kinds(&ok), "audio (video)");
    let (reinvite, ok) = change_of_b(
        &mut bench,
        (1, &to_b),
        &[AUDIO_B, VIDEO_B],
        &[AUDIO, &no_video],
    );
    assert_eq!(kinds(&reinvite), "audio (video)");
    assert_eq!(kinds(&ok), "audio (video)");

    let acts = bench.acts.clone();
    let only_video = sdp(9, &[&off(AUDIO), VIDEO]);
    let headers = [("INVITE", 3, 2), ("UPDATE", 4, 3)];
    for (method, seq, seq_b) in headers {
        let text = in_dialog_of_a(method, seq, &to_a, CONTACT_A, &only_video);
        let sent = bench.give(a(), &text);
        let refused = only(&sent, a());
        assert!(refused.starts_with("SIP/2.0 488"), "{refused}");
        assert!(header(&refused, "Warning").starts_with("304 "), "{refused}");
        assert!(!sent.iter().any(|(to, _)| *to == b()), "{sent:?}");
        let text = in_dialog_of_b(method, seq_b, &to_b, CONTACT_B, &only_video);
        assert!(only(&bench.give(b(), &text), b()).starts_with("SIP/2.0 488"));
    }
    let ack = in_dialog_of_a("ACK", 3, &to_a, "", "").replace("bK-ACK", "bK-INVITE");
    bench.give(a(), &ack);
    let ack = in_dialog_of_b("ACK", 2, &to_b, "", "").replace("bK-ACK", "bK-INVITE");
    bench.give(b(), &ack);
    assert_eq!(bench.acts, acts, "nothing changes");
    end(&mut bench, &to_a, 5);
}

#[test]
fn omd_03_what_the_caller_may_not_have_stays_out_of_modifications() {
    barred_streams_stay_out(Role::Originating);
}

#[test]
fn omd_08_what_the_called_user_may_not_have_stays_out_of_modifications() {
    barred_streams_stay_out(Role::Terminating);
}

#[test]
fn mod_05_a_modification_goes_on_as_far_as_the_calling_users_policy_lets_it() {
    barred_streams_stay_out(Role::Originating);
}

#[test]
fn mod_08_a_modification_goes_on_as_far_as_the_called_users_policy_lets_it() {
    barred_streams_stay_out(Role::Terminating);
}

/// The far side decides about the rest, in each direction.
#[test]
fn mod_11_without_a_controlling_function_each_relay_applies_its_users_rules_alone() {
    barred_streams_stay_out(Role::Originating);
    streams_come_change_and_go();
}

#[test]
fn con_18_in_a_session_of_two_each_relay_applies_the_offer_rules() {
    barred_streams_stay_out(Role::Terminating);
    streams_come_change_and_go();
}

#[test]
fn omd_01_a_modification_carries_offered_streams_and_its_success_accepted_ones() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let offer = [AUDIO, CHAT, VIDEO];
    let answered = [AUDIO_B, CHAT_B, &off(VIDEO)];
    let (reinvite, ok) = change(&mut bench, (2, &to_a), &offer, &answered);
    assert_eq!(kinds(&reinvite), "audio message video");
    assert_eq!(kinds(&ok), "audio message (video)");
    assert_eq!(bench.open(), 2);
    end(&mut bench, &to_a, 3);
}

#[test]
fn omd_02_a_stream_at_port_0_or_left_out_by_error_is_not_offered_and_is_released_alone() {
    for left_out in [false, true] {
        let mut bench = Bench::new(|_| {});
        let (_, to_a) = session(&mut bench, &[AUDIO, CHAT], &[AUDIO_B, CHAT_B]);
        let gone = off(CHAT);
        let offer = [AUDIO, if left_out { "" } else { &gone }];
        bench.acts.clear();
        let (reinvite, ok) = change(&mut bench, (2, &to_a), &offer, &[AUDIO_B, &off(CHAT_B)]);
        assert_eq!(kinds(&reinvite), "audio (message)");
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        let released: Vec<&String> = (bench.acts.iter())
            .filter(|act| act.starts_with("release"))
            .collect();
        assert_eq!(released, ["release StreamSet(2)"], "{:?}", bench.acts);
        assert_eq!(bench.open(), 1);
        end(&mut bench, &to_a, 3);
    }
}

#[test]
fn omd_10_a_modification_is_accepted_as_its_response_accepted_it() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let answered = [AUDIO_B, &off(VIDEO), CHAT_B];
    let (_, ok) = change(&mut bench, (2, &to_a), &[AUDIO, VIDEO, CHAT], &answered);
    assert_eq!(kinds(&ok), "audio (video) message");
    assert_eq!(bench.open(), 2, "{:?}", bench.acts);
    let offer = [AUDIO_B, VIDEO_B, CHAT_B];
    let answered = [AUDIO, VIDEO, &off(CHAT)];
    let (_, ok) = change_of_b(&mut bench, (1, &to_b), &offer, &answered);
    assert_eq!(kinds(&ok), "audio video (message)");
    assert_eq!(bench.open(), 2, "{:?}", bench.acts);
    end(&mut bench, &to_a, 3);
}

fn streams_come_change_and_go() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let (reinvite, ok) = change(&mut bench, (2, &to_a), &[AUDIO, CHAT], &[AUDIO_B, CHAT_B]);
    assert_eq!(
        (kinds(&reinvite), kinds(&ok)),
        ("audio message".into(), "audio message".into())
    );
    assert_eq!(bench.open(), 2);

    bench.acts.clear();
    let held = format!("{AUDIO}a=sendonly\r\n");
    let held_b = format!("{AUDIO_B}a=recvonly\r\n");
    let (reinvite, ok) = change(&mut bench, (3, &to_a), &[&held, CHAT], &[&held_b, CHAT_B]);
    assert!(reinvite.contains("a=sendonly\r\n") && ok.contains("a=recvonly\r\n"));
    assert!(
        bench
            .acts
            .iter()
            .any(|act| act.contains("may_receive: false")),
        "{:?}",
        bench.acts
    );
    assert!(
        !bench.acts.iter().any(|act| act == "open"),
        "{:?}",
        bench.acts
    );

    let (no_audio, no_audio_b) = (off(AUDIO), off(AUDIO_B));
    let (reinvite, _) = change_of_b(
        &mut bench,
        (1, &to_b),
        &[&no_audio_b, CHAT_B],
        &[&no_audio, CHAT],
    );
    assert_eq!(kinds(&reinvite), "(audio) message");
    assert_eq!(bench.open(), 1);
    end(&mut bench, &to_a, 4);
}

#[test]
fn mod_01_streams_are_added_changed_and_removed() {
    streams_come_change_and_go();
}

#[test]
fn mod_12_offers_that_cross_meet_491_and_the_one_made_again_succeeds() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let of_a = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &sdp(2, &[AUDIO, CHAT]));
    let reinvite = only(&bench.give(a(), &of_a), b());
    let of_b = in_dialog_of_b("INVITE", 1, &to_b, CONTACT_B, &sdp(2, &[AUDIO_B, VIDEO_B]));
    let sent = bench.give(b(), &of_b);
    assert!(only(&sent, b()).starts_with("SIP/2.0 491"), "{sent:?}");
    let ack = in_dialog_of_b("ACK", 1, &to_b, "", "").replace("bK-ACK", "bK-INVITE");
    bench.give(b(), &ack);
    let done = answer(&reinvite, 200, "OK", &sdp(2, &[AUDIO_B, CHAT_B]));
    assert_eq!(kinds(&only(&bench.give(b(), &done), a())), "audio message");
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let (_, ok) = change_of_b(
        &mut bench,
        (2, &to_b),
        &[AUDIO_B, CHAT_B, VIDEO_B],
        &[AUDIO, CHAT, VIDEO],
    );
    assert_eq!(kinds(&ok), "audio message video");
    assert_eq!(bench.open(), 3);
    end(&mut bench, &to_a, 3);
}

#[test]
fn mod_12_a_modification_that_fails_leaves_every_stream_as_it_was() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO, CHAT], &[AUDIO_B, CHAT_B]);
    let kept: Vec<String> = bench.acts.clone();
    let moved = AUDIO.replace("4000", "4010");
    let offer = sdp(2, &[&moved, &off(CHAT), VIDEO]);
    let text = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &offer);
    let reinvite = only(&bench.give(a(), &text), b());
    let sent = bench.give(b(), &answer(&reinvite, 488, "Not Acceptable Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 488"), "{sent:?}");
    bench.give(
        a(),
        &in_dialog_of_a("ACK", 2, &to_a, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    let since = &bench.acts[kept.len()..];
    assert_eq!(
        since,
        ["open", "release StreamSet(4)"],
        "only the new stream came and went"
    );
    assert_eq!(bench.open(), 2);
    end(&mut bench, &to_a, 3);
}

#[test]
fn mod_12_a_refresh_of_the_session_bounces_no_media() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(&mut bench, &[AUDIO, CHAT], &[AUDIO_B, CHAT_B]);
    let acts = bench.acts.len();
    let timer = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n";
    let headers = format!("{CONTACT_A}{timer}");
    let text = in_dialog_of_a("INVITE", 2, &to_a, &headers, &sdp(1, &[AUDIO, CHAT]));
    let refresh = only(&bench.give(a(), &text), b());
    let body = |text: &str| text.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!(
        body(&refresh),
        body(&to_b),
        "the same description, version and all"
    );
    let ok = answer(&refresh, 200, "OK", &sdp(1, &[AUDIO_B, CHAT_B]));
    let ok = only(
        &bench.give(b(), &with(&ok, "Session-Expires: 1800;refresher=uac\r\n")),
        a(),
    );
    assert_eq!(body(&ok), body(&to_a));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let update = in_dialog_of_a("UPDATE", 3, &to_a, &headers, "");
    let update = only(&bench.give(a(), &update), b());
    bench.give(b(), &answer(&update, 200, "OK", ""));
    assert_eq!(bench.acts.len(), acts, "{:?}", bench.acts);
    end(&mut bench, &to_a, 4);
}
