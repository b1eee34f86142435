//! The closing of a session with both Participating Functions between its clients.

use std::time::Duration;

use control::engine::ByeAck;
use tests::world::closing::{Entry, FUNCTIONS, Function, PARTIES, Plan, Played, play};

/// A session in fair weather that the caller ends.
fn closed(functions: [Function; 2]) -> Played {
    let mut plan = Plan::quiet();
    plan.functions = functions;
    let played = play(plan, 7);
    played.assert_well();
    played
}

/// The same, ended by the callee.
fn closed_by_callee(functions: [Function; 2]) -> Played {
    let mut plan = Plan::quiet();
    plan.functions = functions;
    plan.parties[0].hangs_up = None;
    plan.parties[1].hangs_up = Some(Duration::from_secs(1));
    let played = play(plan, 8);
    played.assert_well();
    played
}

fn function(stays: bool, bye_ack: ByeAck) -> Function {
    Function {
        stays,
        bye_ack,
        far_deadline: Duration::from_secs(4),
        store: None,
    }
}

const PROXY: bool = false;
const B2BUA: bool = true;

/// Places in the trace of what `from` sent to `to` and `is` holds for.
fn places(
    played: &Played,
    (from, to): (std::net::IpAddr, std::net::IpAddr),
    is: impl Fn(&Entry) -> bool,
) -> Vec<usize> {
    let entries = played.trace.entries.iter().enumerate();
    entries
        .filter(|(_, entry)| entry.from.ip() == from && entry.to.ip() == to && is(entry))
        .map(|(at, _)| at)
        .collect()
}

fn is_bye(entry: &Entry) -> bool {
    entry.method() == "BYE"
}

fn is_ok_of_bye(entry: &Entry) -> bool {
    entry.code() == 200 && entry.is_final_of("BYE")
}

#[test]
fn clo_01_a_bye_passes_two_proxies_and_its_ok_comes_back() {
    let both = [function(PROXY, ByeAck::AfterFarEnd); 2];
    for played in [closed(both), closed_by_callee(both)] {
        let byes: Vec<&Entry> = played.trace.requests("BYE").collect();
        let call_ids: Vec<&str> = byes.iter().map(|bye| bye.header("Call-ID")).collect();
        assert_eq!(byes.len(), 3, "{}", played.trace);
        assert!(call_ids.iter().all(|id| *id == call_ids[0]));
        let oks = played
            .trace
            .entries
            .iter()
            .filter(|entry| is_ok_of_bye(entry));
        assert_eq!(oks.count(), 3);
    }
}

#[test]
fn matrix_01_proxies_pass_a_bye_and_its_ok_and_do_nothing_else() {
    clo_01_a_bye_passes_two_proxies_and_its_ok_comes_back();
    let both = [function(PROXY, ByeAck::AfterFarEnd); 2];
    let played = closed(both);
    assert!(
        played
            .functions
            .iter()
            .all(|function| function.records.is_empty())
    );
    assert!(
        played
            .trace
            .entries
            .iter()
            .all(|entry| entry.media_open == 0)
    );
}

#[test]
fn clo_02_the_originating_function_may_answer_before_its_bye_leaves() {
    let played = closed([
        function(B2BUA, ByeAck::Immediate),
        function(B2BUA, ByeAck::AfterFarEnd),
    ]);
    let ok = places(&played, (FUNCTIONS[0], PARTIES[0]), is_ok_of_bye);
    let bye = places(&played, (FUNCTIONS[0], FUNCTIONS[1]), is_bye);
    assert!(ok[0] < bye[0], "{}", played.trace);
}

#[test]
fn clo_03_the_terminating_function_may_answer_before_its_bye_leaves() {
    let played = closed([
        function(B2BUA, ByeAck::AfterFarEnd),
        function(B2BUA, ByeAck::Immediate),
    ]);
    let ok = places(&played, (FUNCTIONS[1], FUNCTIONS[0]), is_ok_of_bye);
    let bye = places(&played, (FUNCTIONS[1], PARTIES[1]), is_bye);
    let confirmed = places(&played, (PARTIES[1], FUNCTIONS[1]), is_ok_of_bye);
    assert!(ok[0] < bye[0] && bye[0] < confirmed[0], "{}", played.trace);
    // The client's OK ends at its function.
    assert_eq!(
        places(&played, (FUNCTIONS[1], FUNCTIONS[0]), is_ok_of_bye).len(),
        1
    );
}

#[test]
fn clo_04_any_mixture_of_modes_ends_without_a_dialog_left() {
    let modes = [
        (PROXY, ByeAck::AfterFarEnd),
        (B2BUA, ByeAck::AfterFarEnd),
        (B2BUA, ByeAck::Immediate),
        (B2BUA, ByeAck::ImmediateAfterStore),
    ];
    for first in modes {
        for second in modes {
            let functions = [function(first.0, first.1), function(second.0, second.1)];
            closed(functions);
            closed_by_callee(functions);
        }
    }
}

#[test]
fn con_01_a_bye_is_answered_when_the_switch_says_and_never_after_its_deadline() {
    for bye_ack in [
        ByeAck::AfterFarEnd,
        ByeAck::Immediate,
        ByeAck::ImmediateAfterStore,
    ] {
        let played = closed([function(B2BUA, bye_ack); 2]);
        let ok = places(&played, (FUNCTIONS[0], PARTIES[0]), is_ok_of_bye)[0];
        let far = places(&played, (FUNCTIONS[1], FUNCTIONS[0]), is_ok_of_bye)[0];
        assert_eq!(ok > far, bye_ack == ByeAck::AfterFarEnd, "{}", played.trace);
    }
    // The far side is silent: the deadline, long before Timer F.
    let mut plan = Plan::quiet();
    plan.parties[1].falls_silent = Some(Duration::from_millis(500));
    let played = play(plan, 9);
    played.assert_well();
    let bye = played.trace.requests("BYE").next().unwrap();
    let ok = played.trace.finals(bye)[0];
    let took = ok.at - bye.at;
    assert_eq!(ok.code(), 200);
    assert!(
        took > Duration::from_secs(3) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[test]
fn s11_05_each_function_decides_for_itself_whether_it_stays() {
    for stays in [[false, false], [false, true], [true, false], [true, true]] {
        let played = closed(stays.map(|stays| function(stays, ByeAck::AfterFarEnd)));
        for (at, stays) in stays.into_iter().enumerate() {
            assert_eq!(played.functions[at].records.len(), usize::from(stays));
            let invites: Vec<&Entry> = played.trace.requests("INVITE").collect();
            let changed = invites[at].header("Call-ID") != invites[at + 1].header("Call-ID");
            assert_eq!(changed, stays, "{}", played.trace);
        }
    }
}
