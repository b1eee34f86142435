//! What crosses in interworked sessions.

use super::*;

fn two() -> Call {
    let bench = interworked(Role::Originating, IwfClose::Streams);
    call_with(bench, &[CHAT, FILE], &[1])
}

fn cancel() -> String {
    invite_of(&[]).replace("INVITE", "CANCEL")
}

#[test]
fn a_cancel_while_the_first_function_rings_ends_it() {
    let mut bench = interworked(Role::Originating, IwfClose::Streams);
    let sent = bench.give(a(), &invite_of(&[CHAT]));
    let first = request(&sent, iwf(0), "INVITE");
    let sent = bench.give(iwf(0), &of_iwf(&first, 0, 180, ""));
    assert!(has(&sent, a(), "SIP/2.0 180"), "{sent:#?}");
    let sent = bench.give(a(), &cancel());
    assert!(has(&sent, iwf(0), "CANCEL"), "{sent:#?}");
    assert!(has(&sent, a(), "SIP/2.0 487"), "{sent:#?}");
    bench.give(iwf(0), &of_iwf(&first, 0, 487, ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_cancel_while_another_function_is_tried_ends_both() {
    let mut bench = interworked(Role::Originating, IwfClose::Streams);
    let sent = bench.give(a(), &invite_of(&[CHAT, FILE]));
    let first = request(&sent, iwf(0), "INVITE");
    let sent = bench.give(iwf(0), &of_iwf(&first, 0, 200, &accept(&first, 6000, &[1])));
    let second = request(&sent, iwf(1), "INVITE");
    bench.give(iwf(1), &of_iwf(&second, 1, 180, ""));
    let sent = bench.give(a(), &cancel());
    let bye = request(&sent, iwf(0), "BYE");
    assert!(has(&sent, iwf(1), "CANCEL"), "{sent:#?}");
    bench.give(iwf(0), &of_iwf(&bye, 0, 200, ""));
    // Its 2xx has crossed the CANCEL: acknowledged, and ended.
    let sent = bench.give(
        iwf(1),
        &of_iwf(&second, 1, 200, &accept(&second, 6100, &[])),
    );
    assert!(has(&sent, iwf(1), "ACK"), "{sent:#?}");
    let bye = request(&sent, iwf(1), "BYE");
    bench.give(iwf(1), &of_iwf(&bye, 1, 200, ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn an_offer_of_side_a_while_another_function_is_tried_meets_500() {
    let bench = interworked(Role::Originating, IwfClose::Streams);
    let mut call = call_one(bench, &[CHAT]);
    let offer = in_dialog_of_a("INVITE", 2, &call.ok, CONTACT_A, &sdp(2, &[CHAT, FILE]));
    let sent = call.bench.give(a(), &offer);
    let to_sms = request(&sent, iwf(0), "INVITE");
    let sent = call.bench.give(iwf(0), &of_iwf(&to_sms, 0, 488, ""));
    let to_mms = request(&sent, iwf(1), "INVITE");
    let again = in_dialog_of_a("INVITE", 3, &call.ok, CONTACT_A, &sdp(3, &[CHAT, VOICE]));
    let sent = call.bench.give(a(), &again);
    assert!(has(&sent, a(), "SIP/2.0 500"), "{sent:#?}");
    // An offer of the function that waits with it crosses side A's.
    let own = by_iwf("INVITE", 1, call.invite(0), 0, &sdp(9, &[CHAT]));
    let sent = call.bench.give(iwf(0), &own);
    assert!(has(&sent, iwf(0), "SIP/2.0 491"), "{sent:#?}");
    let sent = call.bench.give(
        iwf(1),
        &of_iwf(&to_mms, 1, 200, &accept(&to_mms, 6100, &[])),
    );
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
}

#[test]
fn a_function_that_leaves_while_another_is_tried_is_missing_in_the_answer() {
    let mut bench = interworked(Role::Originating, IwfClose::Streams);
    let sent = bench.give(a(), &invite_of(&[CHAT, FILE]));
    let first = request(&sent, iwf(0), "INVITE");
    let sent = bench.give(iwf(0), &of_iwf(&first, 0, 200, &accept(&first, 6000, &[1])));
    let second = request(&sent, iwf(1), "INVITE");
    let sent = bench.give(iwf(0), &by_iwf("BYE", 1, &first, 0, ""));
    assert!(has(&sent, iwf(0), "SIP/2.0 200"), "{sent:#?}");
    let sent = bench.give(
        iwf(1),
        &of_iwf(&second, 1, 200, &accept(&second, 6100, &[])),
    );
    let ok = only(&sent, a());
    assert_eq!(in_use(&ok), [false, true], "{ok}");
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &ok, "", ""));
    let bye = request(&sent, iwf(1), "BYE");
    bench.give(iwf(1), &of_iwf(&bye, 1, 200, ""));
    bench.assert_nothing_left();
}

#[test]
fn the_only_function_leaving_while_another_is_tried_ends_the_session() {
    let bench = interworked(Role::Originating, IwfClose::Streams);
    let mut call = call_one(bench, &[CHAT]);
    let offer = in_dialog_of_a("INVITE", 2, &call.ok, CONTACT_A, &sdp(2, &[CHAT, FILE]));
    let sent = call.bench.give(a(), &offer);
    let to_sms = request(&sent, iwf(0), "INVITE");
    let sent = call.bench.give(iwf(0), &of_iwf(&to_sms, 0, 488, ""));
    let to_mms = request(&sent, iwf(1), "INVITE");
    call.bench.give(iwf(1), &of_iwf(&to_mms, 1, 180, ""));
    let bye = by_iwf("BYE", 1, call.invite(0), 0, "");
    let sent = call.bench.give(iwf(0), &bye);
    assert!(has(&sent, a(), "SIP/2.0 487"), "{sent:#?}");
    assert!(has(&sent, iwf(1), "CANCEL"), "{sent:#?}");
    let bye = request(&sent, a(), "BYE");
    call.bench.give(iwf(1), &of_iwf(&to_mms, 1, 487, ""));
    let sent = call.bench.give(a(), &of_a(&bye, 200, ""));
    assert!(has(&sent, iwf(0), "SIP/2.0 200"), "{sent:#?}");
    call.bench
        .give(a(), &in_dialog_of_a("ACK", 2, &call.ok, "", ""));
    call.bench.assert_nothing_left();
}

#[test]
fn a_bye_of_a_function_that_crosses_an_offer_of_side_a_is_in_its_answer() {
    let mut call = two();
    let changed = CHAT.replace("accept-types:*", "accept-types:text/plain");
    let offer = sdp(2, &[&changed, FILE]);
    let offer = in_dialog_of_a("INVITE", 2, &call.ok, CONTACT_A, &offer);
    let sent = call.bench.give(a(), &offer);
    let to_sms = request(&sent, iwf(0), "INVITE");
    call.bench
        .give(iwf(1), &by_iwf("BYE", 1, call.invite(1), 1, ""));
    let body = accept(&to_sms, 6000, &[1]);
    let sent = call.bench.give(iwf(0), &of_iwf(&to_sms, 0, 200, &body));
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    assert!(has(&sent, iwf(1), "SIP/2.0 200"), "{sent:#?}");
    assert_eq!(call.bench.open(), 1, "{:?}", call.bench.acts);
}

#[test]
fn side_a_that_is_offering_itself_is_told_of_the_gone_streams_later() {
    let mut call = two();
    // A function's own offer is with side A as the other one leaves.
    let own = by_iwf(
        "INVITE",
        1,
        call.invite(0),
        0,
        &accept(call.invite(0), 6000, &[1]),
    );
    let sent = call.bench.give(iwf(0), &own);
    let to_a = request(&sent, a(), "INVITE");
    let sent = call
        .bench
        .give(iwf(1), &by_iwf("BYE", 1, call.invite(1), 1, ""));
    assert!(sent.is_empty(), "{sent:#?}");
    let sent = call
        .bench
        .give(a(), &of_a(&to_a, 200, &sdp(2, &[CHAT, FILE])));
    assert!(has(&sent, iwf(1), "SIP/2.0 200"), "{sent:#?}");
    let offer = request(&sent, a(), "INVITE");
    assert_eq!(in_use(&offer), [true, false], "{offer}");
    // A's own re-INVITE crosses it.
    let sent = call.bench.give(a(), &of_a(&offer, 491, ""));
    assert!(!has(&sent, a(), "INVITE"), "{sent:#?}");
    let sent = call.bench.wait(Duration::from_millis(2500));
    let again = sent.iter().find(|(to, _)| *to == a());
    let offer = again.unwrap_or_else(|| panic!("{sent:#?}")).1.clone();
    assert!(offer.starts_with("INVITE"), "{offer}");
    assert_eq!(in_use(&offer), [true, false], "{offer}");
}

#[test]
fn a_functions_2xx_that_comes_again_is_acknowledged_again() {
    let mut call = two();
    for number in [0, 1] {
        let invite = call.invite(number).to_owned();
        let ok = of_iwf(&invite, number, 200, &accept(&invite, 6000, &[]));
        let sent = call.bench.give(iwf(number), &ok);
        assert!(only(&sent, iwf(number)).starts_with("ACK"), "{sent:#?}");
    }
}

#[test]
fn a_function_whose_dialog_is_gone_is_replaced_by_the_next() {
    let mut call = two();
    let changed = CHAT.replace("accept-types:*", "accept-types:text/plain");
    let offer = sdp(2, &[&changed, FILE]);
    let offer = in_dialog_of_a("INVITE", 2, &call.ok, CONTACT_A, &offer);
    let sent = call.bench.give(a(), &offer);
    let to_sms = request(&sent, iwf(0), "INVITE");
    let sent = call.bench.give(iwf(0), &of_iwf(&to_sms, 0, 481, ""));
    let next = request(&sent, iwf(0), "INVITE");
    assert_ne!(header(&next, "Call-ID"), header(&to_sms, "Call-ID"));
    assert_eq!(ports(&next).len(), 1, "{next}");
    let sent = call
        .bench
        .give(iwf(0), &of_iwf(&next, 0, 200, &accept(&next, 6200, &[])));
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
}

#[test]
fn a_worker_that_is_lost_leaves_no_function_behind() {
    let mut call = two();
    call.bench.streams.clear();
    call.bench.engine.handle_worker_lost(call.bench.now, 0);
    let sent = call.bench.settle();
    for number in [0, 1] {
        let bye = request(&sent, iwf(number), "BYE");
        call.bench.give(iwf(number), &of_iwf(&bye, number, 200, ""));
    }
    let bye = request(&sent, a(), "BYE");
    call.bench.give(a(), &of_a(&bye, 200, ""));
    call.bench.assert_nothing_left();
}
