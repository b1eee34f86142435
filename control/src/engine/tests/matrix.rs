//! The closing matrix, where nothing is interworked: role x sender x storage; and the rows of 000
//! 8.2.2.3 and 8.3.2.3 that it is made of.

use super::scene::*;
use super::*;

const NOTHING: [&str; 0] = [];

fn client_leaves_without_storage(role: Role) {
    let mut scene = Scene::of(role, false);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.answers(Peer, 200), ["client 200"]);
    scene.is_over(0);
    assert_eq!(scene.record(), "null");
}

/// The store may be faster or slower than the far side: the 200 waits for both.
fn client_leaves_with_storage(role: Role) {
    for store_is_first in [true, false] {
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.finishes(), 1);
        if store_is_first {
            assert_eq!(scene.stored("7"), NOTHING);
            assert_eq!(scene.answers(Peer, 200), ["client 200 uid=7"]);
        } else {
            assert_eq!(scene.answers(Peer, 200), NOTHING);
            assert_eq!(scene.stored("7"), ["client 200 uid=7"]);
        }
        scene.is_over(1);
        assert_eq!(scene.record(), r#"{"state":"stored","uid":"7"}"#);
    }
}

fn peer_leaves_with_storage(role: Role) {
    let mut scene = Scene::of(role, true);
    assert_eq!(scene.bye(Peer), NOTHING);
    assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
    assert_eq!(scene.answers(Client, 200), ["peer 200"]);
    scene.is_over(1);
}

fn peer_leaves_without_storage(role: Role) {
    let mut scene = Scene::of(role, false);
    assert_eq!(scene.bye(Peer), ["client BYE"]);
    assert_eq!(scene.answers(Client, 200), ["peer 200"]);
    scene.is_over(0);
}

fn proxied_bye_passes(role: Role) {
    for who in [Client, Peer] {
        let mut bench = Bench::new(|settings| {
            settings.role = role;
            settings.store_deadline = Some(Duration::from_secs(2));
            for_all(settings, |policy| policy.stay = Stay::default());
        });
        let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
        let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
        let is_of_a = (role == Role::Originating) == (who == Client);
        let route = "Route: <sip:127.0.0.1:5060;lr>\r\n";
        let (from, to, bye) = if is_of_a {
            let bye = in_dialog_of_a("BYE", 2, &to_a, route, "");
            (
                a(),
                b(),
                bye.replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP"),
            )
        } else {
            let bye = in_dialog_of_b("BYE", 1, &to_b, route, "");
            (
                b(),
                a(),
                bye.replace("sip:127.0.0.1:5060 SIP", "sip:a@127.0.0.1:5001 SIP"),
            )
        };
        let passed = only(&bench.give(from, &bye), to);
        assert!(
            passed.starts_with("BYE") && passed.contains("Call-ID: call-a"),
            "{passed}"
        );
        let sent = bench.give(to, &answer(&passed, 200, "OK", ""));
        assert!(only(&sent, from).starts_with("SIP/2.0 200"));
        assert!(bench.acts.is_empty() && bench.asks.is_empty());
        bench.assert_nothing_left();
    }
}

#[test]
fn matrix_01_a_proxied_bye_and_its_200_pass_and_nothing_else_happens() {
    ROLES.into_iter().for_each(proxied_bye_passes);
}

#[test]
fn byo_01_a_proxy_for_the_caller_forwards_the_bye_and_its_200() {
    proxied_bye_passes(Role::Originating);
}

#[test]
fn byt_01_a_proxy_for_the_called_user_forwards_the_bye_and_its_200() {
    proxied_bye_passes(Role::Terminating);
}

#[test]
fn matrix_02_the_caller_leaves_and_nothing_is_stored() {
    client_leaves_without_storage(Role::Originating);
}

#[test]
fn matrix_03_the_caller_leaves_and_its_200_names_the_history() {
    client_leaves_with_storage(Role::Originating);
}

#[test]
fn matrix_06_the_far_side_leaves_and_the_callers_bye_names_the_history() {
    peer_leaves_without_storage(Role::Originating);
    peer_leaves_with_storage(Role::Originating);
}

#[test]
fn matrix_10_the_called_client_leaves_and_its_200_names_the_history() {
    client_leaves_with_storage(Role::Terminating);
}

#[test]
fn matrix_11_the_caller_side_leaves_and_the_called_clients_bye_names_the_history() {
    peer_leaves_with_storage(Role::Terminating);
}

#[test]
fn matrix_12_without_storage_the_called_clients_bye_names_nothing() {
    peer_leaves_without_storage(Role::Terminating);
}

/// Each BYE gets its 200, the store is asked once, and whoever has left gets no BYE that it could
/// only answer with 481.
#[test]
fn matrix_17_byes_that_cross_are_each_answered_and_stored_once() {
    for role in ROLES {
        for first in [Client, Peer] {
            let mut scene = Scene::of(role, true);
            let second = if first == Client { Peer } else { Client };
            // Before the release.
            scene.bench.holds_orders = true;
            let bye = scene.bye_text(first, "");
            let from = scene.address(first);
            assert!(scene.bench.give(from, &bye).is_empty());
            assert_eq!(scene.crosses(second), NOTHING);
            let sent = scene.bench.do_orders();
            assert_eq!(scene.seen(sent), ["peer 200"], "{role:?} {first:?}");
            assert_eq!(scene.stored("7"), ["client 200 uid=7"]);
            scene.is_over(1);
        }
        // While the store is asked.
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.crosses(Client), ["peer 200"]);
        assert_eq!(scene.stored("7"), ["client 200 uid=7"]);
        scene.is_over(1);
        // On the wire.
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.crosses(Peer), ["peer 200"]);
        assert_eq!(scene.stored("7"), NOTHING);
        assert_eq!(scene.answers(Peer, 481), ["client 200 uid=7"]);
        scene.is_over(1);
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
        assert_eq!(scene.crosses(Client), ["client 200 uid=7"]);
        assert_eq!(scene.answers(Client, 481), ["peer 200"]);
        scene.is_over(1);
    }
}

#[test]
fn matrix_18_a_silent_far_side_holds_up_nobody_and_its_leg_is_freed_at_timer_f() {
    for role in ROLES {
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.stored("7"), NOTHING);
        assert_eq!(scene.wait(3_900), NOTHING);
        assert_eq!(scene.wait(200), ["client 200 uid=7"]);
        assert_eq!(scene.wait(27_000), NOTHING);
        assert_eq!(scene.bench.engine.sessions(), 1);
        assert_eq!(scene.wait(2_000), NOTHING);
        scene.is_over(1);

        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
        assert_eq!(scene.wait(4_100), ["peer 200"]);
        assert_eq!(scene.wait(29_000), NOTHING);
        scene.is_over(1);

        // Nobody at all.
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.wait(2_100), ["client BYE"]);
        assert_eq!(scene.wait(4_100), ["peer 200"]);
        assert_eq!(scene.wait(29_000), NOTHING);
        scene.is_over(1);
    }
}

#[test]
fn matrix_19_an_early_200_names_the_history_only_where_it_was_stored_first() {
    for role in ROLES {
        let mut scene = Scene::with(role, true, acks(ByeAck::Immediate), str::to_owned);
        assert_eq!(scene.bye(Client), ["client 200", "peer BYE"]);
        assert_eq!(scene.answers(Peer, 200), NOTHING);
        assert_eq!(scene.stored("7"), NOTHING);
        scene.is_over(1);
        assert_eq!(scene.record(), r#"{"state":"stored","uid":"7"}"#);

        let after_store = acks(ByeAck::ImmediateAfterStore);
        let mut scene = Scene::with(role, true, after_store, str::to_owned);
        assert_eq!(scene.bye(Client), NOTHING);
        assert_eq!(scene.stored("7"), ["client 200 uid=7", "peer BYE"]);
        assert_eq!(scene.answers(Peer, 200), NOTHING);
        scene.is_over(1);
    }
}

/// The ports are closed, and the store is asked for the whole, before anything leaves.
#[test]
fn byo_02_the_media_of_a_caller_are_released_before_anyone_is_told() {
    for who in [Client, Peer] {
        let mut scene = Scene::of(Role::Originating, true);
        scene.bye(who);
        assert_eq!(
            scene.bench.acts.last().unwrap(),
            "release StreamSet(4294967295)"
        );
        assert_eq!(scene.finishes(), 1);
    }
}

#[test]
fn byt_02_the_media_of_a_called_client_are_released_before_anyone_is_told() {
    for who in [Client, Peer] {
        let mut scene = Scene::of(Role::Terminating, true);
        scene.bye(who);
        assert_eq!(
            scene.bench.acts.last().unwrap(),
            "release StreamSet(4294967295)"
        );
        assert_eq!(scene.finishes(), 1);
    }
}

#[test]
fn byo_04_a_callers_bye_is_one_bye_to_the_other_entity() {
    let mut scene = Scene::of(Role::Originating, false);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.wait(300), NOTHING);
}

#[test]
fn byo_05_the_callers_200_follows_the_far_200_and_the_store() {
    client_leaves_without_storage(Role::Originating);
    client_leaves_with_storage(Role::Originating);
}

#[test]
fn byo_06_the_caller_gets_a_bye_that_names_what_is_stored_already() {
    peer_leaves_with_storage(Role::Originating);
}

#[test]
fn byo_10_a_failure_or_no_answer_of_the_far_side_counts_as_done() {
    for code in [481, 408, 500, 603] {
        let mut scene = Scene::of(Role::Originating, false);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.answers(Peer, code), ["client 200"], "{code}");
        scene.is_over(0);
    }
    let mut scene = Scene::of(Role::Originating, false);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.wait(4_100), ["client 200"]);
}

#[test]
fn byo_11_a_store_that_fails_or_is_late_does_not_hold_up_the_closing() {
    for role in ROLES {
        // It can't be reached.
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.answers(Peer, 200), NOTHING);
        assert_eq!(scene.queued(), ["client 200"]);
        scene.is_over(1);
        assert_eq!(scene.record(), r#"{"state":"queued"}"#);
        assert_eq!(scene.bench.engine.counters().histories_queued, 1);
        // It says nothing.
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.answers(Peer, 200), NOTHING);
        assert_eq!(scene.wait(1_900), NOTHING);
        assert_eq!(scene.wait(200), ["client 200"]);
        // What it says later changes nothing.
        assert_eq!(scene.stored("7"), NOTHING);
        scene.is_over(1);
        assert_eq!(scene.record(), r#"{"state":"late"}"#);
        assert_eq!(scene.bench.engine.counters().histories_late, 1);
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.wait(2_100), ["client BYE"]);
        assert_eq!(scene.answers(Client, 200), ["peer 200"]);
        scene.is_over(1);
    }
}

#[test]
fn byt_03_a_called_clients_bye_is_one_bye_to_the_other_entity() {
    let mut scene = Scene::of(Role::Terminating, false);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.wait(300), NOTHING);
}

#[test]
fn byt_04_the_called_clients_200_follows_the_far_200_and_the_store() {
    client_leaves_without_storage(Role::Terminating);
    client_leaves_with_storage(Role::Terminating);
}

#[test]
fn byt_05_the_history_is_stored_before_the_called_client_is_told() {
    let mut scene = Scene::of(Role::Terminating, true);
    assert_eq!(scene.bye(Peer), NOTHING);
    assert_eq!(scene.finishes(), 1);
    assert_eq!(scene.wait(1_500), NOTHING);
    assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
}

#[test]
fn byt_07_the_called_clients_bye_has_a_message_uid_only_where_there_is_one() {
    peer_leaves_without_storage(Role::Terminating);
    peer_leaves_with_storage(Role::Terminating);
    let mut scene = Scene::of(Role::Terminating, true);
    assert_eq!(scene.bye(Peer), NOTHING);
    assert_eq!(scene.queued(), ["client BYE"]);
}

#[test]
fn byt_08_the_called_clients_200_becomes_the_200_to_the_other_entity() {
    peer_leaves_with_storage(Role::Terminating);
}
