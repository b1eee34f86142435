//! Between the INVITE and its answer: forks, reliable provisional responses, early offers.

use super::*;
use crate::limits;

const RELIABLE: &str = "Require: 100rel\r\nRSeq: 1\r\n";

#[test]
fn a_forks_early_request_reaches_the_caller_in_that_forks_dialog() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    let first = only(&bench.give(b(), &answer(&to_b, 180, "Ringing", "")), a());
    let ringing = answer(&to_b, 180, "Ringing", "").replace("tag=b\r\n", "tag=b2\r\n");
    let second = only(&bench.give(b(), &ringing), a());
    assert_ne!(tag_of(&first, "To"), tag_of(&second, "To"));
    let info = in_dialog_of_b("INFO", 1, &to_b, "", "").replace("tag=b\r\n", "tag=b2\r\n");
    let info = only(&bench.give(b(), &info), a());
    assert_eq!(tag_of(&info, "From"), tag_of(&second, "To"), "{info}");
    let info = in_dialog_of_b("INFO", 2, &to_b, "", "");
    let info = only(&bench.give(b(), &info), a());
    assert_eq!(tag_of(&info, "From"), tag_of(&first, "To"), "{info}");
}

#[test]
fn each_forks_dialog_counts_its_requests_by_itself() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    let first = only(&bench.give(b(), &answer(&to_b, 180, "Ringing", "")), a());
    let ringing = answer(&to_b, 180, "Ringing", "").replace("tag=b\r\n", "tag=b2\r\n");
    let second = only(&bench.give(b(), &ringing), a());
    let info = only(
        &bench.give(a(), &in_dialog_of_a("INFO", 9, &first, "", "")),
        b(),
    );
    bench.give(b(), &answer(&info, 200, "OK", ""));
    let sent = bench.give(a(), &in_dialog_of_a("INFO", 2, &second, "", ""));
    let info = only(&sent, b());
    assert!(
        info.starts_with("INFO") && tag_of(&info, "To") == "b2",
        "{sent:?}"
    );
    bench.give(b(), &answer(&info, 200, "OK", ""));
    // The fork that answers counts from its own last number.
    let ok = answer(&to_b, 200, "OK", ANSWER).replace("tag=b\r\n", "tag=b2\r\n");
    let to_a = only(&bench.give(b(), &ok), a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 3, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_flood_of_forks_and_rings_takes_no_more_room_than_the_limit() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    for fork in 0..500 {
        let tag = format!("tag=f{fork}\r\n");
        bench.give(
            b(),
            &answer(&to_b, 180, "Ringing", "").replace("tag=b\r\n", &tag),
        );
    }
    assert!(
        bench.engine.census().dialogs <= 2 + limits::FORKS_PER_SESSION,
        "{:?}",
        bench.engine.census()
    );
    assert!(
        bench.engine.deadlines.len() <= 4,
        "{}",
        bench.engine.deadlines.len()
    );
    bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn an_update_that_waits_when_the_answer_comes_keeps_its_own_answer() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    let progress = with(&answer(&to_b, 183, "Session Progress", ANSWER), RELIABLE);
    let early = only(&bench.give(b(), &progress), a());
    assert!(
        early.contains("RSeq: 1\r\n") && early.contains("c=IN IP4 127.0.0.9"),
        "{early}"
    );
    let prack = in_dialog_of_a("PRACK", 2, &early, "RAck: 1 1 INVITE\r\n", "");
    let prack = only(&bench.give(a(), &prack), b());
    assert!(prack.contains("RAck: 1 1 INVITE\r\n"), "{prack}");
    let sent = bench.give(b(), &answer(&prack, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    let moved = OFFER
        .replace("m=audio 4000", "m=audio 4010")
        .replace("a 1 1", "a 1 2");
    let update = in_dialog_of_a("UPDATE", 3, &early, CONTACT_A, &moved);
    let update = only(&bench.give(a(), &update), b());
    // The 200 of the UPDATE was lost and comes after that of the INVITE.
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ""));
    let to_a = only(&sent, a());
    assert!(
        to_a.starts_with("SIP/2.0 200") && to_a.ends_with("\r\n\r\n"),
        "{to_a}"
    );
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let answered = ANSWER.replace("b 7 1", "b 7 2");
    let sent = bench.give(b(), &answer(&update, 200, "OK", &answered));
    let ok = only(&sent, a());
    assert!(
        ok.contains("CSeq: 3 UPDATE") && ok.contains("c=IN IP4 127.0.0.9"),
        "{ok}"
    );
    assert!(
        bench.acts.iter().any(|act| act.contains("4010")),
        "{:?}",
        bench.acts
    );
    end(&mut bench, &to_a, 4);
}

#[test]
fn a_request_that_waits_when_the_invite_fails_is_answered() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    let ringing = with(&answer(&to_b, 180, "Ringing", ""), RELIABLE);
    let early = only(&bench.give(b(), &ringing), a());
    bench.give(
        a(),
        &in_dialog_of_a("PRACK", 2, &early, "RAck: 1 1 INVITE\r\n", ""),
    );
    let sent = bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
    let codes: Vec<&str> = sent
        .iter()
        .filter(|(to, _)| *to == a())
        .map(|(_, text)| &text[8..11])
        .collect();
    assert!(codes.contains(&"486") && codes.contains(&"487"), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn every_bye_that_comes_while_the_answer_is_put_in_force_is_answered() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.holds_orders = true;
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let mut sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    sent.extend(bench.give(b(), &in_dialog_of_b("BYE", 2, &to_b, "", "")));
    sent.extend(bench.do_orders());
    let to_a = sent
        .iter()
        .find(|(to, text)| *to == a() && text.starts_with("SIP/2.0 200"))
        .unwrap();
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a.1, "", ""));
    let bye = sent
        .iter()
        .find(|(to, text)| *to == a() && text.starts_with("BYE"))
        .unwrap();
    sent.extend(bench.give(a(), &answer(&bye.1, 200, "OK", "")));
    for seq in ["CSeq: 1 BYE", "CSeq: 2 BYE"] {
        assert!(
            sent.iter()
                .any(|(to, text)| *to == b() && text.contains(seq)),
            "{seq} {sent:#?}"
        );
    }
    bench.assert_nothing_left();
}

#[test]
fn an_offer_before_the_first_is_answered_is_refused_and_an_invite_without_one_is_not_bypassed() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let supports = with(&invite("1", ""), "Supported: 100rel, timer\r\n");
    let to_b = only(&bench.give(a(), &supports), b());
    assert!(!to_b.contains("100rel") && to_b.contains("timer"), "{to_b}");
    let early = only(&bench.give(b(), &answer(&to_b, 180, "Ringing", "")), a());
    let sent = bench.give(a(), &in_dialog_of_a("UPDATE", 2, &early, CONTACT_A, OFFER));
    assert!(
        only(&sent, a()).starts_with("SIP/2.0 49") || only(&sent, a()).starts_with("SIP/2.0 500")
    );
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    assert!(
        to_a.contains("c=IN IP4 127.0.0.9") && !to_a.contains("5000"),
        "{to_a}"
    );
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", OFFER));
    end(&mut bench, &to_a, 3);
}

#[test]
fn an_invite_without_an_offer_may_not_insist_on_reliable_ringing() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let sent = bench.give(a(), &with(&invite("1", ""), "Require: 100rel\r\n"));
    let refused = only(&sent, a());
    assert!(
        refused.starts_with("SIP/2.0 420") && refused.contains("Unsupported: 100rel\r\n"),
        "{refused}"
    );
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

/// A fork that answers after another fork's reliable answer had been put into force.
#[test]
fn the_media_go_to_the_fork_that_answers() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.give(
        b(),
        &with(&answer(&to_b, 183, "Session Progress", ANSWER), RELIABLE),
    );
    let other = ANSWER.replace("m=audio 5000", "m=audio 5050");
    let second = with(&answer(&to_b, 183, "Session Progress", &other), RELIABLE);
    bench.give(b(), &second.replace("tag=b\r\n", "tag=b2\r\n"));
    let ok = answer(&to_b, 200, "OK", "").replace("tag=b\r\n", "tag=b2\r\n");
    let to_a = only(&bench.give(b(), &ok), a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let last = bench
        .acts
        .iter()
        .rev()
        .find(|act| act.contains("connect B"))
        .unwrap();
    assert!(last.contains("5050"), "{:?}", bench.acts);
    end(&mut bench, &to_a, 2);
}
