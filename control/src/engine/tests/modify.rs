//! Offers and other requests inside a session.

use super::*;

#[test]
fn a_reinvite_that_drops_a_stream_releases_it_before_its_200() {
    let two = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    let two_answered = format!("{ANSWER}m=audio 5002 RTP/AVP 8\r\n");
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", &two));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", &two_answered));
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    assert_eq!(bench.open(), 2);
    let dropped = two
        .replace("m=audio 4002", "m=audio 0")
        .replace("a 1 1", "a 1 2");
    let sent = bench.give(
        a(),
        &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &dropped),
    );
    let reinvite = only(&sent, b());
    assert!(reinvite.contains("m=audio 0 RTP/AVP 8"), "{reinvite}");
    bench.holds_orders = true;
    let answered = two_answered
        .replace("m=audio 5002", "m=audio 0")
        .replace("b 7 1", "b 7 2");
    let sent = bench.give(b(), &answer(&reinvite, 200, "OK", &answered));
    assert!(only(&sent, b()).starts_with("ACK"));
    assert!(!sent.iter().any(|(to, _)| *to == a()), "{sent:?}");
    let sent = bench.do_orders();
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert_eq!(bench.open(), 1, "{:?}", bench.acts);
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    let bye = only(&sent, a());
    bench.give(a(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

/// MOD-12
#[test]
fn a_refused_reinvite_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let more = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &more));
    let reinvite = only(&sent, b());
    assert_eq!(bench.open(), 2);
    let sent = bench.give(b(), &answer(&reinvite, 488, "Not Acceptable Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 488"));
    assert_eq!(bench.open(), 1, "{:?}", bench.acts);
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 3, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

/// MOD-12
#[test]
fn reinvites_that_cross_meet_491() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER));
    let sent = bench.give(b(), &in_dialog_of_b("INVITE", 1, &to_b, CONTACT_B, ANSWER));
    assert!(
        sent.iter()
            .any(|(to, text)| *to == b() && text.starts_with("SIP/2.0 491")),
        "{sent:?}"
    );
    let sent = bench.give(
        a(),
        &in_dialog_of_a("INVITE", 3, &to_a, CONTACT_A, OFFER).replace("z9hG4bK-3", "z9hG4bK-x"),
    );
    assert!(
        sent.iter()
            .any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 500")),
        "{sent:?}"
    );
}

#[test]
fn info_travels_both_ways_with_its_body() {
    let mut bench = Bench::new(|_| {});
    let (to_b, _) = bench.call();
    let info = in_dialog_of_b(
        "INFO",
        1,
        &to_b,
        "X-Thing: 1\r\nContent-Type: text/plain\r\n",
        "hello",
    );
    let sent = bench.give(b(), &info.replace("Content-Type: application/sdp\r\n", ""));
    let info = only(&sent, a());
    assert!(
        info.starts_with("INFO") && info.contains("X-Thing: 1\r\n") && info.ends_with("hello"),
        "{info}"
    );
    let sent = bench.give(a(), &answer(&info, 200, "OK", ""));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"));
}

/// MOD-12
#[test]
fn a_refresh_touches_no_media() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    let acts = bench.acts.len();
    let timer = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n";
    let headers = format!("{CONTACT_A}{timer}");
    let update = only(
        &bench.give(a(), &in_dialog_of_a("UPDATE", 2, &to_a, &headers, "")),
        b(),
    );
    assert!(
        update.contains("Session-Expires: 1800;refresher=uac\r\n"),
        "{update}"
    );
    let ok = with(
        &answer(&update, 200, "OK", ""),
        "Session-Expires: 1800;refresher=uac\r\n",
    );
    assert!(only(&bench.give(b(), &ok), a()).contains("Session-Expires: 1800"));
    let offer = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 3, &to_a, &headers, OFFER)),
        b(),
    );
    let first = to_b.split("\r\n\r\n").nth(1).unwrap();
    assert!(
        offer.ends_with(first),
        "the same description, version and all: {offer}"
    );
    let sent = bench.give(b(), &answer(&offer, 200, "OK", ANSWER));
    let ok = only(&sent, a());
    assert!(ok.ends_with(to_a.split("\r\n\r\n").nth(1).unwrap()), "{ok}");
    bench.give(a(), &in_dialog_of_a("ACK", 3, &to_a, "", ""));
    assert_eq!(bench.acts.len(), acts, "{:?}", bench.acts);
    end(&mut bench, &to_a, 4);
}

/// MOD-12: a refresh by re-INVITE need not carry an offer; the far side makes one then.
#[test]
fn a_refresh_without_an_offer_is_passed_on_whatever_first_invites_meet() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Refuse);
    let (_, to_a) = bench.call();
    let acts = bench.acts.len();
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, "")),
        b(),
    );
    let ok = only(&bench.give(b(), &answer(&reinvite, 200, "OK", ANSWER)), a());
    assert!(
        ok.starts_with("SIP/2.0 200") && ok.contains("c=IN IP4 127.0.0.9"),
        "{ok}"
    );
    let ack = only(
        &bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", OFFER)),
        b(),
    );
    assert!(
        ack.starts_with("ACK") && ack.contains("c=IN IP4 127.0.0.9"),
        "{ack}"
    );
    assert_eq!(bench.acts.len(), acts, "{:?}", bench.acts);
    end(&mut bench, &to_a, 3);
}

#[test]
fn an_answer_that_comes_again_gets_its_ack_again_with_the_late_answer() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let to_b = only(&bench.give(a(), &invite("1", "")), b());
    let ok = answer(&to_b, 200, "OK", ANSWER);
    let to_a = only(&bench.give(b(), &ok), a());
    let sent = bench.give(b(), &ok);
    assert!(
        sent.is_empty(),
        "not acknowledged before the caller has answered: {sent:?}"
    );
    let first = only(
        &bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", OFFER)),
        b(),
    );
    let again = only(&bench.give(b(), &ok), b());
    assert!(again.starts_with("ACK"), "{again}");
    assert_eq!(
        again.split("\r\n\r\n").nth(1),
        first.split("\r\n\r\n").nth(1)
    );
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, "")),
        b(),
    );
    let ok = answer(&reinvite, 200, "OK", ANSWER);
    bench.give(b(), &ok);
    assert!(bench.give(b(), &ok).is_empty());
    // The first INVITE's ACK strays in: it answers nothing.
    let stray = in_dialog_of_a("ACK", 1, &to_a, "", "").replace("bK-ACK-1", "bK-ACK-1x");
    assert!(bench.give(a(), &stray).is_empty());
    let ack = only(
        &bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", OFFER)),
        b(),
    );
    assert!(ack.contains("c=IN IP4 127.0.0.9"), "{ack}");
    let again = only(&bench.give(b(), &ok), b());
    assert!(again.contains("c=IN IP4 127.0.0.9"), "{again}");
    end(&mut bench, &to_a, 3);
}

#[test]
fn provisional_responses_to_a_reinvite_are_passed_on_with_their_answer() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let moved = OFFER
        .replace("m=audio 4000", "m=audio 4010")
        .replace("a 1 1", "a 1 2");
    let headers = format!("{CONTACT_A}Supported: 100rel\r\n");
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, &headers, &moved)),
        b(),
    );
    let progress = with(
        &answer(&reinvite, 183, "Session Progress", ANSWER),
        "Require: 100rel\r\nRSeq: 5\r\n",
    );
    let early = only(&bench.give(b(), &progress), a());
    assert!(
        early.starts_with("SIP/2.0 183") && early.contains("RSeq: 5\r\n"),
        "{early}"
    );
    assert!(early.contains("c=IN IP4 127.0.0.9"), "{early}");
    // It comes again until it is acknowledged, and is passed on each time.
    let again = only(&bench.give(b(), &progress), a());
    assert_eq!(early, again);
    let rack = "RAck: 5 2 INVITE\r\n";
    let prack = only(
        &bench.give(a(), &in_dialog_of_a("PRACK", 3, &to_a, rack, "")),
        b(),
    );
    assert!(
        prack.contains(&format!("RAck: 5 {}\r\n", header(&reinvite, "CSeq"))),
        "{prack}"
    );
    bench.give(b(), &answer(&prack, 200, "OK", ""));
    let sent = bench.give(b(), &answer(&reinvite, 200, "OK", ""));
    let ok = only(&sent, a());
    assert!(
        ok.starts_with("SIP/2.0 200") && ok.contains("CSeq: 2 INVITE"),
        "{ok}"
    );
    assert!(only(&sent, b()).starts_with("ACK"));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    assert!(
        bench.acts.iter().any(|act| act.contains("4010")),
        "{:?}",
        bench.acts
    );
    end(&mut bench, &to_a, 4);
}

#[test]
fn one_request_too_many_leaves_the_offer_that_waits_alone() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let two = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &two)),
        b(),
    );
    let mut refused = 0;
    for seq in 3..30 {
        let sent = bench.give(a(), &in_dialog_of_a("INFO", seq, &to_a, "", ""));
        refused += sent
            .iter()
            .filter(|(to, text)| *to == a() && text.starts_with("SIP/2.0 503"))
            .count();
    }
    assert!(refused > 0);
    let two_answered = format!("{ANSWER}m=audio 5002 RTP/AVP 8\r\n");
    let ok = only(
        &bench.give(b(), &answer(&reinvite, 200, "OK", &two_answered)),
        a(),
    );
    assert!(
        ok.starts_with("SIP/2.0 200") && !ok.contains("5002"),
        "{ok}"
    );
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    end(&mut bench, &to_a, 40);
}

#[test]
fn a_reinvite_cancelled_while_its_ports_are_bound_leaves_none() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let two = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    bench.holds_orders = true;
    let reinvite = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &two);
    bench.give(a(), &reinvite);
    let sent = bench.give(
        a(),
        &in_dialog_of_a("CANCEL", 2, &to_a, "", "").replace("bK-CANCEL", "bK-INVITE"),
    );
    assert!(
        sent.iter()
            .any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 487")),
        "{sent:?}"
    );
    bench.give(
        a(),
        &in_dialog_of_a("ACK", 2, &to_a, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    let sent = bench.do_orders();
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!(bench.open(), 1, "{:?}", bench.acts);
    end(&mut bench, &to_a, 3);
    assert_eq!(bench.cdrs[0].end.code, None);
}

/// MOD-05, MOD-08, MOD-11: in both directions.
#[test]
fn a_reinvite_gets_no_stream_that_policy_bars() {
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.streams.video = false));
    let (to_b, to_a) = bench.call();
    let video = "m=video 4006 RTP/AVP 31\r\n";
    let offer = OFFER.replace("a 1 1", "a 1 2");
    let sent = bench.give(
        a(),
        &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &format!("{offer}{video}")),
    );
    let reinvite = only(&sent, b());
    assert!(
        reinvite.contains("m=video 0 ") && !reinvite.contains("m=audio 0"),
        "{reinvite}"
    );
    let answered = format!(
        "{}m=video 0 RTP/AVP 31\r\n",
        ANSWER.replace("b 7 1", "b 7 2")
    );
    let ok = only(
        &bench.give(b(), &answer(&reinvite, 200, "OK", &answered)),
        a(),
    );
    assert!(ok.contains("m=video 0 RTP/AVP 31"), "{ok}");
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let only_video = format!(
        "{}m=audio 0 RTP/AVP 0\r\n{video}",
        &answered[..answered.find("m=").unwrap()]
    );
    let sent = bench.give(
        b(),
        &in_dialog_of_b("INVITE", 1, &to_b, CONTACT_B, &only_video),
    );
    let refused = only(&sent, b());
    assert!(
        refused.starts_with("SIP/2.0 488") && refused.contains("Warning: "),
        "{refused}"
    );
    bench.give(
        b(),
        &in_dialog_of_b("ACK", 1, &to_b, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    assert_eq!(bench.open(), 1);
    end(&mut bench, &to_a, 3);
}

/// MOD-12
#[test]
fn a_491_of_the_far_side_is_passed_back_and_leaves_the_streams() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let acts = bench.acts.len();
    let moved = OFFER
        .replace("m=audio 4000", "m=audio 4010")
        .replace("a 1 1", "a 1 2");
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &moved)),
        b(),
    );
    let sent = bench.give(b(), &answer(&reinvite, 491, "Request Pending", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 491"));
    bench.give(
        a(),
        &in_dialog_of_a("ACK", 2, &to_a, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 3, &to_a, CONTACT_A, &moved)),
        b(),
    );
    assert_eq!(bench.acts.len(), acts, "{:?}", bench.acts);
    assert!(
        only(&bench.give(b(), &answer(&reinvite, 200, "OK", ANSWER)), a())
            .starts_with("SIP/2.0 200")
    );
    bench.give(a(), &in_dialog_of_a("ACK", 3, &to_a, "", ""));
    end(&mut bench, &to_a, 4);
}

#[test]
fn updates_that_cross_and_reinvites_without_offers_keep_their_answers_apart() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, "")),
        b(),
    );
    let sent = bench.give(b(), &in_dialog_of_b("UPDATE", 1, &to_b, CONTACT_B, ANSWER));
    assert!(only(&sent, b()).starts_with("SIP/2.0 491"), "{sent:?}");
    let ok = only(&bench.give(b(), &answer(&reinvite, 200, "OK", ANSWER)), a());
    assert!(ok.contains("c=IN IP4 127.0.0.9"), "{ok}");
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", OFFER));
    end(&mut bench, &to_a, 3);
}

#[test]
fn a_session_of_many_reinvites_grows_by_nothing() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    for seq in 2..200 {
        let sent = bench.give(a(), &in_dialog_of_a("INVITE", seq, &to_a, CONTACT_A, OFFER));
        let ok = with(
            &answer(&only(&sent, b()), 200, "OK", ANSWER),
            "Session-Expires: 1800\r\n",
        );
        bench.give(b(), &ok);
        bench.give(a(), &in_dialog_of_a("ACK", seq, &to_a, "", ""));
    }
    let session = bench.engine.sessions.values().next().unwrap();
    assert!(
        session.invite_servers.len() < 3,
        "{}",
        session.invite_servers.len()
    );
    assert!(
        bench.engine.deadlines.len() <= 4,
        "{}",
        bench.engine.deadlines.len()
    );
    end(&mut bench, &to_a, 200);
}

#[test]
fn an_ack_before_its_answer_was_given_is_ignored() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let to_b = only(&bench.give(a(), &invite("1", "")), b());
    let early = only(&bench.give(b(), &answer(&to_b, 180, "Ringing", "")), a());
    bench.holds_orders = true;
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    assert!(
        bench
            .give(a(), &in_dialog_of_a("ACK", 1, &early, "", ""))
            .is_empty()
    );
    let to_a = only(&bench.do_orders(), a());
    assert!(to_a.starts_with("SIP/2.0 200"), "{to_a}");
    let ack = in_dialog_of_a("ACK", 1, &to_a, "", OFFER).replace("bK-ACK-1", "bK-ACK-1x");
    assert!(only(&bench.give(a(), &ack), b()).contains("c=IN IP4 127.0.0.9"));
    end(&mut bench, &to_a, 2);
}
