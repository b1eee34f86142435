//! The end of a session.

use super::*;

/// BYO-02, BYO-04, BYT-02, S11-06, S11-09, CNV-05
#[test]
fn a_call_is_anchored_and_released_before_anyone_is_told_of_its_end() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    assert!(to_b.contains("c=IN IP4 127.0.0.9"), "{to_b}");
    assert!(to_b.contains("Conversation-ID: f81d4fae\r\n"));
    assert!(to_b.contains("Subject:  two  spaces\r\n"), "{to_b}");
    assert!(!to_b.contains("call-a"), "{to_b}");
    assert!(
        to_a.contains("c=IN IP4 127.0.0.9") && !to_a.contains("5000"),
        "{to_a}"
    );
    bench.holds_orders = true;
    let sent = bench.give(
        a(),
        &in_dialog_of_a("BYE", 2, &to_a, "Reason: SIP;cause=200\r\n", ""),
    );
    assert!(sent.is_empty(), "{sent:?}");
    let sent = bench.do_orders();
    let bye = only(&sent, b());
    assert!(
        bye.starts_with("BYE ") && bye.contains("Reason: SIP;cause=200\r\n"),
        "{bye}"
    );
    assert_eq!(sent.len(), 1);
    let sent = bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert_eq!(bench.cdrs.len(), 1);
    bench.assert_nothing_left();
}

/// CLO-02, CLO-03
#[test]
fn an_immediate_bye_ack_leaves_before_the_bye_to_the_far_side() {
    let mut bench = Bench::new(|settings| settings.bye_ack = ByeAck::Immediate);
    let (_, to_a) = bench.call();
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    assert!(
        sent[0].1.starts_with("SIP/2.0 200") && sent[0].0 == a(),
        "{sent:?}"
    );
    assert!(sent[1].1.starts_with("BYE") && sent[1].0 == b(), "{sent:?}");
    bench.give(b(), &answer(&sent[1].1, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_silent_far_side_does_not_keep_the_near_side_waiting() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let sent = bench.wait(Duration::from_millis(4_100));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"), "{sent:?}");
    bench.wait(Duration::from_secs(40));
    bench.assert_nothing_left();
}

#[test]
fn byes_that_cross_each_get_their_200() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye_to_b = only(&sent, b());
    let sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"));
    let sent = bench.give(b(), &answer(&bye_to_b, 481, "Gone", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    bench.assert_nothing_left();
}

#[test]
fn a_session_nobody_refreshes_ends_on_both_sides() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let ok = answer(&to_b, 200, "OK", ANSWER)
        .replace("Contact", "Session-Expires: 100;refresher=uac\r\nContact");
    let sent = bench.give(b(), &ok);
    let to_a = only(&sent, a());
    assert!(to_a.contains("Session-Expires: 100"), "{to_a}");
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    assert!(bench.wait(Duration::from_secs(99)).is_empty());
    let sent = bench.wait(Duration::from_millis(1_100));
    for to in [a(), b()] {
        let bye = sent
            .iter()
            .find(|(at, text)| *at == to && text.starts_with("BYE"))
            .unwrap();
        bench.give(to, &answer(&bye.1, 200, "OK", ""));
    }
    bench.assert_nothing_left();
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_session() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let sent = bench.wait(Duration::from_secs(33));
    let bye = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("BYE"))
        .unwrap();
    bench.give(b(), &answer(&bye.1, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn the_bye_of_a_fork_that_lost_leaves_the_session_alone() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    let bye = in_dialog_of_b("BYE", 1, &to_b, "", "").replace("tag=b\r\n", "tag=b2\r\n");
    let sent = bench.give(b(), &bye);
    assert!(only(&sent, b()).starts_with("SIP/2.0 481"), "{sent:?}");
    assert_eq!(bench.open(), 1);
    end(&mut bench, &to_a, 2);
}

/// BYO-02, BYT-02: neither a BYE nor a 200 leaves before the media are released. Both dialogs are
/// over by then (RFC 3261 §15.1.2), so nobody gets a BYE that it could only answer with 481.
#[test]
fn a_crossing_bye_is_not_answered_before_the_release() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    bench.holds_orders = true;
    assert!(
        bench
            .give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""))
            .is_empty()
    );
    let sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    assert!(sent.is_empty(), "{sent:?}");
    let sent = bench.do_orders();
    for to in [a(), b()] {
        assert!(only(&sent, to).starts_with("SIP/2.0 200"), "{sent:?}");
    }
    bench.assert_nothing_left();
}

/// BYO-06, BYT-03, BYT-04, BYT-05: the mirror of a BYE of side A.
#[test]
fn a_bye_of_the_far_side_goes_to_the_client_and_its_200_comes_back() {
    for role in [Role::Originating, Role::Terminating] {
        let mut bench = Bench::new(|settings| settings.role = role);
        let (to_b, _) = bench.call();
        bench.holds_orders = true;
        assert!(
            bench
                .give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""))
                .is_empty()
        );
        let sent = bench.do_orders();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let bye = only(&sent, a());
        let sent = bench.give(a(), &answer(&bye, 200, "OK", ""));
        assert!(only(&sent, b()).starts_with("SIP/2.0 200"));
        bench.assert_nothing_left();
    }
}

#[test]
fn a_byes_body_travels_with_its_type() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let bye =
        in_dialog_of_a("BYE", 2, &to_a, "", "v=0\r\n").replace("application/sdp", "text/plain");
    let bye = only(&bench.give(a(), &bye), b());
    assert!(
        bye.contains("Content-Type: text/plain\r\n") && bye.ends_with("\r\n\r\nv=0\r\n"),
        "{bye}"
    );
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn the_end_of_all_sessions_reaches_one_that_is_being_answered() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.holds_orders = true;
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    bench.engine.end_all(bench.now);
    let sent = bench.do_orders();
    let ok = sent
        .iter()
        .find(|(to, text)| *to == a() && text.starts_with("SIP/2.0 200"))
        .unwrap();
    bench.give(a(), &in_dialog_of_a("ACK", 1, &ok.1, "", ""));
    for to in [a(), b()] {
        let bye = sent
            .iter()
            .find(|(at, text)| *at == to && text.starts_with("BYE"));
        let bye = bye.unwrap_or_else(|| panic!("no BYE for {to} in {sent:?}"));
        bench.give(to, &answer(&bye.1, 200, "OK", ""));
    }
    bench.assert_nothing_left();
}

#[test]
fn an_answer_to_a_reinvite_that_comes_while_the_session_closes_is_acknowledged() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER)),
        b(),
    );
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 3, &to_a, "", ""));
    assert!(
        sent.iter()
            .any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 487")),
        "{sent:?}"
    );
    let bye = only(&sent, b());
    let sent = bench.give(b(), &answer(&reinvite, 200, "OK", ANSWER));
    assert!(only(&sent, b()).starts_with("ACK"));
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.give(
        a(),
        &in_dialog_of_a("ACK", 2, &to_a, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    bench.assert_nothing_left();
}

#[test]
fn a_dead_dialog_ends_the_session_after_its_481_was_passed_back() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let update = only(
        &bench.give(a(), &in_dialog_of_a("UPDATE", 2, &to_a, CONTACT_A, "")),
        b(),
    );
    let sent = bench.give(b(), &answer(&update, 481, "Gone", ""));
    assert!(
        sent[0].0 == a() && sent[0].1.starts_with("SIP/2.0 481"),
        "{sent:?}"
    );
    for to in [a(), b()] {
        let bye = sent
            .iter()
            .find(|(at, text)| *at == to && text.starts_with("BYE"))
            .unwrap();
        bench.give(to, &answer(&bye.1, 200, "OK", ""));
    }
    bench.assert_nothing_left();
}

#[test]
fn a_reinvite_that_rings_is_cancelled_when_its_session_ends() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let reinvite = only(
        &bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER)),
        b(),
    );
    bench.give(b(), &answer(&reinvite, 180, "Ringing", ""));
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 3, &to_a, "", ""));
    assert!(
        sent.iter()
            .any(|(to, text)| *to == b() && text.starts_with("CANCEL")),
        "{sent:?}"
    );
    let bye = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("BYE"))
        .unwrap();
    bench.give(b(), &answer(&bye.1, 200, "OK", ""));
    bench.give(
        a(),
        &in_dialog_of_a("ACK", 2, &to_a, "", "").replace("bK-ACK", "bK-INVITE"),
    );
    bench.assert_nothing_left();
}
