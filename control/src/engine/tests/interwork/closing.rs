//! The closing of interworked sessions (000 8.2.2.3, 8.3.2.3).

use super::*;

fn two(role: Role, close: IwfClose) -> Call {
    call_with(interworked(role, close), &[CHAT, FILE], &[1])
}

fn one(role: Role) -> Call {
    call_one(interworked(role, IwfClose::Streams), &[CHAT, FILE])
}

/// BYE from the side of the client of a PF-O, or of the peer of a PF-T: all functions are told, and
/// the 200 comes after all of theirs.
fn the_near_side_ends(role: Role, functions: u16) {
    let mut call = if functions == 1 {
        one(role)
    } else {
        two(role, IwfClose::Streams)
    };
    call.bench.holds_orders = true;
    let bye = in_dialog_of_a("BYE", 2, &call.ok, "Reason: SIP;cause=200\r\n", "");
    let sent = call.bench.give(a(), &bye);
    assert!(sent.is_empty(), "before the release: {sent:#?}");
    let sent = call.bench.do_orders();
    assert!(!has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    for number in 0..functions {
        let bye = request(&sent, iwf(number), "BYE");
        assert_eq!(
            header(&bye, "Call-ID"),
            header(call.invite(number), "Call-ID")
        );
        assert_eq!(header(&bye, "Reason"), "SIP;cause=200");
        assert!(!bye.contains("Message-UID"), "{bye}");
        let answered = call.bench.give(iwf(number), &of_iwf(&bye, number, 200, ""));
        let is_last = number + 1 == functions;
        assert_eq!(has(&answered, a(), "SIP/2.0 200"), is_last, "{answered:#?}");
    }
    call.bench.assert_nothing_left();
}

/// A function's BYE ends only what it has: its streams are released, it gets its 200 at once, and
/// side A is offered the rest.
fn a_function_ends_its_part(role: Role) {
    let mut call = two(role, IwfClose::Streams);
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
    assert!(call.bench.cdrs.is_empty());
    // The session goes on; the function that is left gets the only BYE at its end.
    let sent = call
        .bench
        .give(a(), &in_dialog_of_a("BYE", 2, &call.ok, "", ""));
    let bye = request(&sent, iwf(0), "BYE");
    assert!(!has(&sent, iwf(1), "BYE"), "{sent:#?}");
    let sent = call.bench.give(iwf(0), &of_iwf(&bye, 0, 200, ""));
    assert!(has(&sent, a(), "SIP/2.0 200"), "{sent:#?}");
    call.bench.assert_nothing_left();
}

/// A function's BYE ends the session: the other function is told like side A, and the 200 comes
/// last.
fn a_function_ends_the_session(role: Role, functions: u16) {
    let mut call = if functions == 1 {
        one(role)
    } else {
        two(role, IwfClose::Session)
    };
    call.bench.holds_orders = true;
    let bye = by_iwf("BYE", 1, call.invite(0), 0, "");
    let sent = call.bench.give(iwf(0), &bye);
    assert!(sent.is_empty(), "before the release: {sent:#?}");
    let sent = call.bench.do_orders();
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    let to_a = request(&sent, a(), "BYE");
    if functions == 2 {
        let other = request(&sent, iwf(1), "BYE");
        let sent = call.bench.give(iwf(1), &of_iwf(&other, 1, 200, ""));
        assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    }
    let sent = call.bench.give(a(), &of_a(&to_a, 200, ""));
    assert!(has(&sent, iwf(0), "SIP/2.0 200"), "{sent:#?}");
    assert_eq!(call.bench.cdrs.len(), 1);
    call.bench.assert_nothing_left();
}

#[test]
fn byo_03_a_bye_of_the_client_becomes_one_for_each_function() {
    the_near_side_ends(Role::Originating, 2);
}

#[test]
fn matrix_04_pf_o_a_bye_of_the_client_goes_to_its_one_function() {
    the_near_side_ends(Role::Originating, 1);
}

#[test]
fn matrix_05_pf_o_a_bye_of_the_client_goes_to_both_functions() {
    the_near_side_ends(Role::Originating, 2);
}

#[test]
fn byt_06_a_bye_of_the_peer_becomes_one_for_each_function() {
    the_near_side_ends(Role::Terminating, 2);
}

#[test]
fn matrix_13_pf_t_a_bye_of_the_peer_goes_to_both_functions() {
    the_near_side_ends(Role::Terminating, 2);
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
    a_function_ends_the_session(Role::Originating, 2);
    a_function_ends_the_session(Role::Originating, 1);
}

#[test]
fn byo_09_a_bye_of_a_function_that_ends_the_session_reaches_the_other_one() {
    a_function_ends_the_session(Role::Originating, 2);
}

#[test]
fn byt_10_a_bye_of_a_function_ends_the_session_towards_the_peer() {
    a_function_ends_the_session(Role::Terminating, 2);
    a_function_ends_the_session(Role::Terminating, 1);
}

#[test]
fn matrix_08_pf_o_a_function_ends_the_whole_session() {
    a_function_ends_the_session(Role::Originating, 2);
}

#[test]
fn matrix_09_pf_o_the_only_function_ends_the_session() {
    a_function_ends_the_session(Role::Originating, 1);
}

#[test]
fn matrix_15_pf_t_a_function_ends_the_whole_session() {
    a_function_ends_the_session(Role::Terminating, 2);
}

#[test]
fn matrix_16_pf_t_the_only_function_ends_the_session() {
    a_function_ends_the_session(Role::Terminating, 1);
}

#[test]
fn byo_10_a_silent_function_is_waited_for_no_longer_than_the_deadline() {
    let mut call = two(Role::Originating, IwfClose::Streams);
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
    let mut call = two(Role::Terminating, IwfClose::Streams);
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
