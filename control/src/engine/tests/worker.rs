//! What becomes of sessions when a worker refuses, is lost, or is started again.

use super::*;

#[test]
fn an_order_for_a_lost_worker_is_not_given_to_its_successor() {
    let mut bench = Bench::new(|_| {});
    let flow = Flow {
        protocol: Protocol::Udp,
        local: relay(),
        remote: a(),
        connection: 0,
    };
    bench
        .engine
        .handle_packet(bench.now, flow, Bytes::from(invite("1", OFFER)));
    // The order to open ports has not left the engine when its worker is found dead.
    bench.engine.handle_worker_lost(bench.now, 0);
    bench.engine.handle_worker_restarted(0);
    let sent = bench.settle();
    assert!(
        sent.iter()
            .any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 503")),
        "{sent:?}"
    );
    assert!(bench.acts.is_empty(), "{:?}", bench.acts);
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_call_that_is_answered_as_its_worker_dies_is_refused_and_ended() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.holds_orders = true;
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    bench.engine.handle_worker_lost(bench.now, 0);
    let sent = bench.settle();
    let to_a = only(&sent, a());
    assert!(
        to_a.starts_with("SIP/2.0 500") || to_a.starts_with("SIP/2.0 503"),
        "{to_a}"
    );
    let bye = only(&sent, b());
    assert!(bye.starts_with("BYE"), "{bye}");
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.streams.clear();
    bench.assert_nothing_left();
}

#[test]
fn a_call_whose_media_the_worker_refuses_to_connect_fails() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.refuse_connect = true;
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    assert!(only(&sent, a()).starts_with("SIP/2.0 500"), "{sent:?}");
    let bye = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("BYE"))
        .unwrap();
    bench.give(b(), &answer(&bye.1, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn sessions_of_a_lost_worker_end_on_both_sides() {
    let mut bench = Bench::new(|_| {});
    bench.call();
    bench.engine.handle_worker_lost(bench.now, 0);
    bench.engine.handle_worker_restarted(0);
    let sent = bench.settle();
    for to in [a(), b()] {
        let bye = only(&sent, to);
        assert!(
            bye.starts_with("BYE") && bye.contains("Media lost"),
            "{bye}"
        );
        bench.give(to, &answer(&bye, 200, "OK", ""));
    }
    bench.streams.clear();
    bench.assert_nothing_left();
}

#[test]
fn the_report_of_a_session_that_ended_meanwhile_is_not_waited_for() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    bench.holds_orders = true;
    bench.engine.ask_for_reports(bench.now);
    bench.settle();
    let reports = std::mem::take(&mut bench.orders);
    bench.holds_orders = false;
    let bye = only(
        &bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", "")),
        b(),
    );
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert_eq!(
        (bench.engine.sessions(), bench.engine.reports_due()),
        (0, 1)
    );
    bench.orders = reports;
    bench.do_orders();
    assert_eq!(bench.engine.reports_due(), 0);
    bench.assert_nothing_left();
}

#[test]
fn an_order_that_outlives_its_session_goes_with_its_worker() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    bench.holds_orders = true;
    bench.engine.ask_for_reports(bench.now);
    bench.settle();
    bench.orders.clear();
    bench.holds_orders = false;
    let bye = only(
        &bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", "")),
        b(),
    );
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.engine.handle_worker_lost(bench.now, 0);
    assert_eq!(bench.engine.reports_due(), 0);
    bench.assert_nothing_left();
}
