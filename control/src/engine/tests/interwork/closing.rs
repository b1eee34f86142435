//! The closing of interworked sessions (000 8.2.2.3, 8.3.2.3).

use super::*;
use crate::history::Told;

fn bench(role: Role, close: IwfClose, stored: bool) -> Bench {
    interworked_with(role, close, |settings| {
        settings.store_deadline = Some(Duration::from_secs(2));
        for_all(settings, |policy| policy.allow_offline_storage = stored);
    })
}

fn two(role: Role, close: IwfClose, stored: bool) -> Call {
    call_with(bench(role, close, stored), &[CHAT, FILE], &[1])
}

fn one(role: Role, stored: bool) -> Call {
    call_one(bench(role, IwfClose::Streams, stored), &[CHAT, FILE])
}

/// How often the store was asked to finish.
fn finishes(call: &Call) -> usize {
    let asks = call.bench.asks.iter();
    asks.filter(|ask| matches!(ask, Ask::Finish { .. })).count()
}

/// The store has stored; what is sent then.
fn stored(call: &mut Call) -> Vec<(SocketAddr, String)> {
    assert_eq!(finishes(call), 1, "{:?}", call.bench.asks);
    let uid = Ok("7".to_owned());
    let told = Told { session: 1, uid };
    call.bench.engine.handle_history(call.bench.now, told);
    call.bench.settle()
}

/// BYE from the side of the client of a PF-O, or of the peer of a PF-T: all functions are told, and
/// the 200 comes after all of theirs.
fn the_near_side_ends(role: Role, functions: u16, is_stored: bool) {
    let mut call = if functions == 1 {
        one(role, is_stored)
    } else {
        two(role, IwfClose::Streams, is_stored)
    };
    call.bench.holds_orders = true;
    let bye = in_dialog_of_a("BYE", 2, &call.ok, "Reason: SIP;cause=200\r\n", "");
    let sent = call.bench.give(a(), &bye);
    assert!(sent.is_empty(), "before the release: {sent:#?}");
    let mut sent = call.bench.do_orders();
    // At the terminating side the history is stored before anybody is told.
    if is_stored && role == Role::Terminating {
        assert!(sent.is_empty(), "before the store: {sent:#?}");
        sent = stored(&mut call);
    }
    assert!(!has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    let mut answered = Vec::new();
    for number in 0..functions {
        assert!(!has(&answered, a(), "SIP/2.0"), "{answered:#?}");
        let bye = request(&sent, iwf(number), "BYE");
        assert_eq!(
            header(&bye, "Call-ID"),
            header(call.invite(number), "Call-ID")
        );
        assert_eq!(header(&bye, "Reason"), "SIP;cause=200");
        assert!(!bye.contains("Message-UID"), "{bye}");
        answered = call.bench.give(iwf(number), &of_iwf(&bye, number, 200, ""));
    }
    let tells_uid = is_stored && role == Role::Originating;
    if tells_uid {
        assert!(answered.is_empty(), "before the store: {answered:#?}");
        answered = stored(&mut call);
    }
    let ok = only(&answered, a());
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert_eq!(header(&ok, "Message-UID"), if tells_uid { "7" } else { "" });
    assert_eq!(finishes(&call), usize::from(is_stored));
    call.bench.assert_nothing_left();
}

/// A function's BYE ends only what it has: its streams are released, it gets its 200 at once, and
/// side A is offered the rest.
fn a_function_ends_its_part(role: Role) {
    let mut call = two(role, IwfClose::Streams, true);
    call.bench.holds_orders = true;
    let bye = by_iwf("BYE", 1, call.invite(1), 1, "");
    let sent = call.bench.give(iwf(1), &bye);
    assert!(sent.is_empty(), "before the release: {sent:#?}");
    call.bench.acts.clear();
    let sent = call.bench.do_orders();
    assert!(has(&sent, iwf(1), "SIP/2.0 200"), "{sent:#?}");
    assert_eq!(call.bench.acts.len(), 1, "{:?}", call.bench.acts);
    assert_eq!(call.bench.open(), 1);
    let offer = request(&sent, a(), "INVITE");
    assert_eq!(in_use(&offer), [true, false], "{offer}");
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    let keeps = sdp(2, &[CHAT, "m=message 0 TCP/MSRP *\r\n"]);
    let sent = call.bench.give(a(), &of_a(&offer, 200, &keeps));
    assert!(has(&sent, a(), "ACK"), "{sent:#?}");
    assert!(!sent.iter().any(|(to, _)| *to != a()), "{sent:#?}");
    assert!(call.bench.cdrs.is_empty() && finishes(&call) == 0);
    // The session goes on; the function that is left gets the only BYE at its end.
    let bye = in_dialog_of_a("BYE", 2, &call.ok, "", "");
    let mut sent = call.bench.give(a(), &bye);
    if role == Role::Terminating {
        sent = stored(&mut call);
    }
    let bye = request(&sent, iwf(0), "BYE");
    assert!(!has(&sent, iwf(1), "BYE"), "{sent:#?}");
    let mut sent = call.bench.give(iwf(0), &of_iwf(&bye, 0, 200, ""));
    if role == Role::Originating {
        sent = stored(&mut call);
    }
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    call.bench.assert_nothing_left();
}

/// A function's BYE ends the session: the other function is told like side A, and the 200 comes
/// last.
fn a_function_ends_the_session(role: Role, functions: u16, is_stored: bool) {
    let mut call = if functions == 1 {
        one(role, is_stored)
    } else {
        two(role, IwfClose::Session, is_stored)
    };
    call.bench.holds_orders = true;
    let bye = by_iwf("BYE", 1, call.invite(0), 0, "");
    let sent = call.bench.give(iwf(0), &bye);
    assert!(sent.is_empty(), "before the release: {sent:#?}");
    let mut sent = call.bench.do_orders();
    if is_stored {
        assert!(sent.is_empty(), "before the store: {sent:#?}");
        sent = stored(&mut call);
    }
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    let to_a = request(&sent, a(), "BYE");
    let tells_uid = is_stored && role == Role::Originating;
    assert_eq!(
        header(&to_a, "Message-UID"),
        if tells_uid { "7" } else { "" }
    );
    if functions == 2 {
        let other = request(&sent, iwf(1), "BYE");
        assert!(!other.contains("Message-UID"), "{other}");
        let sent = call.bench.give(iwf(1), &of_iwf(&other, 1, 200, ""));
        assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    }
    let sent = call.bench.give(a(), &of_a(&to_a, 200, ""));
    let ok = only(&sent, iwf(0));
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert!(!ok.contains("Message-UID"), "{ok}");
    assert_eq!(call.bench.cdrs.len(), 1);
    assert_eq!(finishes(&call), usize::from(is_stored));
    call.bench.assert_nothing_left();
}

#[test]
fn byo_03_a_bye_of_the_client_becomes_one_for_each_function() {
    the_near_side_ends(Role::Originating, 2, false);
}

#[test]
fn matrix_04_pf_o_a_bye_of_the_client_goes_to_its_one_function() {
    the_near_side_ends(Role::Originating, 1, true);
}

#[test]
fn matrix_05_pf_o_a_bye_of_the_client_goes_to_both_functions() {
    the_near_side_ends(Role::Originating, 2, true);
}

#[test]
fn byt_06_a_bye_of_the_peer_becomes_one_for_each_function() {
    the_near_side_ends(Role::Terminating, 2, true);
}

#[test]
fn matrix_13_pf_t_a_bye_of_the_peer_goes_to_both_functions() {
    the_near_side_ends(Role::Terminating, 2, true);
}

#[test]
fn byo_07_a_bye_of_one_function_removes_only_its_streams() {
    a_function_ends_its_part(Role::Originating);
}

#[test]
fn matrix_07_pf_o_a_function_ends_its_part_towards_the_client() {
    a_function_ends_its_part(Role::Originating);
}

#[test]
fn byt_09_a_bye_of_one_function_removes_its_streams_towards_the_peer() {
    a_function_ends_its_part(Role::Terminating);
}

#[test]
fn matrix_14_pf_t_a_function_ends_its_part_towards_the_peer() {
    a_function_ends_its_part(Role::Terminating);
}

#[test]
fn byo_08_a_bye_of_a_function_ends_the_session_by_policy_or_as_it_is_alone() {
    a_function_ends_the_session(Role::Originating, 2, true);
    a_function_ends_the_session(Role::Originating, 1, true);
}

#[test]
fn byo_09_a_bye_of_a_function_that_ends_the_session_reaches_the_other_one() {
    a_function_ends_the_session(Role::Originating, 2, false);
}

#[test]
fn byt_10_a_bye_of_a_function_ends_the_session_towards_the_peer() {
    a_function_ends_the_session(Role::Terminating, 2, true);
    a_function_ends_the_session(Role::Terminating, 1, true);
}

#[test]
fn matrix_08_pf_o_a_function_ends_the_whole_session() {
    a_function_ends_the_session(Role::Originating, 2, true);
}

#[test]
fn matrix_09_pf_o_the_only_function_ends_the_session() {
    a_function_ends_the_session(Role::Originating, 1, false);
}

#[test]
fn matrix_15_pf_t_a_function_ends_the_whole_session() {
    a_function_ends_the_session(Role::Terminating, 2, true);
}

#[test]
fn matrix_16_pf_t_the_only_function_ends_the_session() {
    a_function_ends_the_session(Role::Terminating, 1, false);
}

#[test]
fn byo_10_a_silent_function_is_waited_for_no_longer_than_the_deadline() {
    a_silent_function();
}

fn a_silent_function() {
    let mut call = two(Role::Originating, IwfClose::Streams, false);
    let sent = call
        .bench
        .give(a(), &in_dialog_of_a("BYE", 2, &call.ok, "", ""));
    let bye = request(&sent, iwf(0), "BYE");
    // A failure counts as done.
    let sent = call.bench.give(iwf(0), &of_iwf(&bye, 0, 481, ""));
    assert!(!has(&sent, a(), "SIP/2.0"), "{sent:#?}");
    let sent = call.bench.wait(Duration::from_millis(3900));
    assert!(!has(&sent, a(), "SIP/2.0"), "{sent:#?}");
    let sent = call.bench.wait(Duration::from_millis(200));
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    call.bench.assert_nothing_left();
}

#[test]
fn byt_11_a_session_that_ends_by_itself_leaves_no_function() {
    // No client of an interworked terminating session could send BYE; whatever else ends it
    // reaches every function.
    let mut call = two(Role::Terminating, IwfClose::Streams, false);
    call.bench.engine.end_all(call.bench.now);
    let sent = call.bench.settle();
    for number in [0, 1] {
        let bye = request(&sent, iwf(number), "BYE");
        call.bench.give(iwf(number), &of_iwf(&bye, number, 200, ""));
    }
    let bye = request(&sent, a(), "BYE");
    call.bench.give(a(), &of_a(&bye, 200, ""));
    call.bench.assert_nothing_left();
}

#[test]
fn con_03_a_part_that_ends_releases_its_streams_alone() {
    a_function_ends_its_part(Role::Originating);
}

#[test]
fn con_07_the_bye_of_a_function_waits_for_the_peer_that_was_told() {
    a_function_ends_the_session(Role::Terminating, 1, false);
}

#[test]
fn con_08_a_function_gets_its_200_at_once_and_the_others_their_bye() {
    a_function_ends_its_part(Role::Terminating);
    a_function_ends_the_session(Role::Terminating, 2, true);
}

/// The end of a part may come as a re-INVITE of the Selection Function, too.
#[test]
fn con_20_an_end_may_come_as_a_bye_or_as_a_line_at_port_0() {
    a_function_ends_its_part(Role::Originating);
    let mut call = one(Role::Originating, false);
    let lines = accept(call.invite(0), 6000, &[1]);
    let bye = by_iwf("INVITE", 1, call.invite(0), 0, &lines);
    let sent = call.bench.give(iwf(0), &bye);
    let offer = request(&sent, a(), "INVITE");
    assert_eq!(in_use(&offer), [true, false], "{offer}");
    let keeps = sdp(2, &[CHAT, "m=message 0 TCP/MSRP *\r\n"]);
    let sent = call.bench.give(a(), &of_a(&offer, 200, &keeps));
    let ok = only(&sent, iwf(0));
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert_eq!(in_use(&ok), [true, false], "{ok}");
    assert_eq!(call.bench.open(), 1);
    call.bench
        .give(iwf(0), &by_iwf("ACK", 1, call.invite(0), 0, ""));
    let sent = call
        .bench
        .give(a(), &in_dialog_of_a("BYE", 2, &call.ok, "", ""));
    let bye = request(&sent, iwf(0), "BYE");
    call.bench.give(iwf(0), &of_iwf(&bye, 0, 200, ""));
    call.bench.assert_nothing_left();
}

/// All functions are waited for, and none beyond the deadline.
#[test]
fn con_29_the_200_waits_for_every_function() {
    the_near_side_ends(Role::Originating, 2, false);
    a_silent_function();
}
