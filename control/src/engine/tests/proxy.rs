//! Requests that are proxied, and requests outside of sessions.

use super::*;

/// S11-06, S11-08, BYO-01, BYT-01, OFR-01
#[test]
fn s11_08_without_a_reason_to_stay_the_session_is_proxied_unchanged() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    assert!(
        to_b.ends_with(OFFER) && to_b.contains("Call-ID: call-a"),
        "{to_b}"
    );
    assert!(
        to_b.contains("Record-Route: <sip:127.0.0.1:5060;lr>"),
        "{to_b}"
    );
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert!(to_a.ends_with(ANSWER), "{to_a}");
    let route = "Route: <sip:127.0.0.1:5060;lr>\r\n";
    let ack = in_dialog_of_a("ACK", 1, &to_a, route, "")
        .replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP");
    let sent = bench.give(a(), &ack);
    assert!(
        only(&sent, b()).starts_with("ACK sip:b@127.0.0.1:5002"),
        "{sent:?}"
    );
    let bye = in_dialog_of_a("BYE", 2, &to_a, route, "")
        .replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP");
    let sent = bench.give(a(), &bye);
    let bye = only(&sent, b());
    assert!(bye.starts_with("BYE"));
    let sent = bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert!(bench.acts.is_empty());
    bench.assert_nothing_left();
}

#[test]
fn a_request_for_an_unknown_dialog_is_481() {
    let mut bench = Bench::new(|_| {});
    let bye = in_dialog_of_a("BYE", 2, "To: <sip:b@127.0.0.1:5002>;tag=none\r\n", "", "");
    let sent = bench.give(a(), &bye);
    assert!(only(&sent, a()).starts_with("SIP/2.0 481"));
}

/// A proxied call; gives the INVITE as B got it and the 200 as A got it.
fn proxied(bench: &mut Bench, change: impl Fn(&str) -> String) -> (String, String) {
    let sent = bench.give(a(), &change(&invite("1", OFFER)));
    let to_b = sent
        .iter()
        .find(|(_, text)| text.starts_with("INVITE"))
        .unwrap()
        .1
        .clone();
    let to_a = only(
        &bench.give(b(), &change(&answer(&to_b, 200, "OK", ANSWER))),
        a(),
    );
    (to_b, to_a)
}

fn route_to(request: &str, routes: &str, uri: &str) -> String {
    with(
        &request.replace("sip:127.0.0.1:5060 SIP", &format!("{uri} SIP")),
        routes,
    )
}

const OWN_ROUTE: &str = "Route: <sip:127.0.0.1:5060;lr>\r\n";

fn core() -> SocketAddr {
    "127.0.0.1:5009".parse().unwrap()
}

/// CNV-05, S11-08
#[test]
fn a_proxied_session_keeps_the_conversations_headers_as_they_came() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    let three = "Contribution-ID:  abc\r\nInReplyTo-Contribution-ID: X y\r\n";
    let (to_b, _) = proxied(&mut bench, |text| with(text, three));
    assert!(
        to_b.contains("Conversation-ID: f81d4fae\r\n") && to_b.contains(three),
        "{to_b}"
    );
}

#[test]
fn inside_a_proxied_dialog_the_request_uri_leads_on_and_not_the_configured_next_hop() {
    let mut bench = Bench::new(|settings| {
        for_all(settings, |policy| policy.stay = Stay::default());
        settings.next_hop = Some(crate::cpm::routing::Hop::of("sip:127.0.0.1:5009").unwrap());
    });
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_core = only(&sent, core());
    let to_a = only(
        &bench.give(core(), &answer(&to_core, 200, "OK", ANSWER)),
        a(),
    );
    let uri = "sip:b@127.0.0.1:5002";
    let ack = route_to(&in_dialog_of_a("ACK", 1, &to_a, "", ""), OWN_ROUTE, uri);
    assert!(only(&bench.give(a(), &ack), b()).starts_with("ACK"));
    let bye = route_to(&in_dialog_of_a("BYE", 2, &to_a, "", ""), OWN_ROUTE, uri);
    let bye = only(&bench.give(a(), &bye), b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_host_name_inside_a_proxied_dialog_is_looked_up() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    let (_, to_a) = proxied(&mut bench, str::to_owned);
    let uri = "sip:b@phone.example:5002";
    let ack = route_to(&in_dialog_of_a("ACK", 1, &to_a, "", ""), OWN_ROUTE, uri);
    assert!(bench.give(a(), &ack).is_empty());
    assert_eq!(bench.names, ["phone.example"]);
    bench
        .engine
        .handle_resolved(bench.now, "phone.example", Some(b().ip()));
    assert!(only(&bench.settle(), b()).starts_with("ACK"));
    // Much later the name is asked for again.
    bench.wait(Duration::from_secs(600));
    let bye = route_to(&in_dialog_of_a("BYE", 2, &to_a, "", ""), OWN_ROUTE, uri);
    let sent = bench.give(a(), &bye);
    assert!(sent.is_empty(), "{sent:?}");
    bench
        .engine
        .handle_resolved(bench.now, "phone.example", Some(b().ip()));
    let bye = only(&bench.settle(), b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

/// RFC 3261 §16.4 and §16.12.1.2: a strict router before us, and one after us.
#[test]
fn strict_routers_on_either_side_are_served() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    let (_, to_a) = proxied(&mut bench, str::to_owned);
    let routes = "Route: <sip:b@127.0.0.1:5002>\r\n";
    let bye = route_to(
        &in_dialog_of_a("BYE", 2, &to_a, "", ""),
        routes,
        "sip:127.0.0.1:5060;lr",
    );
    let bye = only(&bench.give(a(), &bye), b());
    assert!(
        bye.starts_with("BYE sip:b@127.0.0.1:5002 SIP/2.0") && !bye.contains("Route:"),
        "{bye}"
    );
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    let routes = "Route: <sip:127.0.0.1:5060;lr>, <sip:127.0.0.1:5009;x=1>\r\n";
    let info = route_to(
        &in_dialog_of_a("INFO", 3, &to_a, "", ""),
        routes,
        "sip:b@127.0.0.1:5002",
    );
    let info = only(&bench.give(a(), &info), core());
    assert!(
        info.starts_with("INFO sip:127.0.0.1:5009;x=1 SIP/2.0"),
        "{info}"
    );
    assert!(info.contains("Route: <sip:b@127.0.0.1:5002>\r\n"), "{info}");
    bench.give(core(), &answer(&info, 200, "OK", ""));
    let strict = with(&invite("2", OFFER), "Route: <sip:127.0.0.1:5009>\r\n");
    let to_core = only(&bench.give(a(), &strict), core());
    assert!(
        to_core.starts_with("INVITE sip:127.0.0.1:5009 SIP/2.0"),
        "{to_core}"
    );
}

#[test]
fn a_draining_relay_begins_no_session_as_proxy_either() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    bench.engine.drain();
    let sent = bench.give(a(), &invite("1", OFFER));
    let refused = only(&sent, a());
    assert!(
        refused.starts_with("SIP/2.0 503") && refused.contains("Retry-After: "),
        "{refused}"
    );
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_subscription_beside_the_sessions_is_proxied_and_so_is_its_notify() {
    let mut bench = Bench::new(|_| {});
    let subscribe = invite("9", "")
        .replace("INVITE", "SUBSCRIBE")
        .replace("call-a", "call-s");
    let to_b = only(
        &bench.give(a(), &with(&subscribe, "Event: presence\r\n")),
        b(),
    );
    assert!(
        to_b.contains("Record-Route: <sip:127.0.0.1:5060;lr>") && to_b.contains("call-s"),
        "{to_b}"
    );
    let ok = only(&bench.give(b(), &answer(&to_b, 200, "OK", "")), a());
    assert!(ok.contains("Record-Route: "), "{ok}");
    let parts = [
        "<sip:b@x>;tag=b",
        "<sip:a@x>;tag=a",
        "call-s",
        "127.0.0.1:5002",
    ];
    let notify = in_dialog("NOTIFY", 1, parts, "Event: presence\r\n", "");
    let notify = only(
        &bench.give(b(), &route_to(&notify, OWN_ROUTE, "sip:a@127.0.0.1:5001")),
        a(),
    );
    assert!(
        notify.starts_with("NOTIFY sip:a@127.0.0.1:5001"),
        "{notify}"
    );
    assert!(
        only(&bench.give(a(), &answer(&notify, 200, "OK", "")), b()).starts_with("SIP/2.0 200")
    );
    bench.assert_nothing_left();
}

#[test]
fn a_name_of_our_own_is_not_a_way_into_a_loop() {
    let mut bench = Bench::new(|_| {});
    let own =
        invite("1", OFFER).replace("INVITE sip:b@127.0.0.1:5002", "INVITE sip:b@relay.example");
    bench.give(a(), &own);
    bench
        .engine
        .handle_resolved(bench.now, "relay.example", Some(relay().ip()));
    let sent = bench.settle();
    assert!(only(&sent, a()).starts_with("SIP/2.0 482"), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_proxied_answer_that_comes_again_late_is_still_the_servers_own() {
    let mut bench = Bench::new(|settings| {
        for_all(settings, |policy| policy.stay = Stay::default());
        settings.timers.t1 = Duration::from_secs(1);
    });
    let (to_b, _) = proxied(&mut bench, str::to_owned);
    bench.wait(Duration::from_secs(40));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    assert!(
        !sent.iter().any(|(_, text)| text.starts_with("BYE")),
        "{sent:?}"
    );
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"), "{sent:?}");
    bench.assert_nothing_left();
}

#[test]
fn a_proxied_invite_between_transports_records_both() {
    let mut bench = Bench::new(|settings| {
        for_all(settings, |policy| policy.stay = Stay::default());
        settings.listen.push((Protocol::Tcp, relay()));
    });
    let sent = bench.give(
        a(),
        &invite("1", OFFER).replace("5002 SIP", "5002;transport=tcp SIP"),
    );
    let to_b = only(&sent, b());
    let tcp = to_b
        .find("Record-Route: <sip:127.0.0.1:5060;transport=tcp;lr>")
        .unwrap();
    let udp = to_b.find("Record-Route: <sip:127.0.0.1:5060;lr>").unwrap();
    assert!(tcp < udp, "{to_b}");
}

#[test]
fn a_proxied_request_is_unfinished_until_its_answer() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    assert_eq!(bench.engine.unfinished(), 0);
    let sent = bench.give(a(), &invite("1", OFFER));
    assert_eq!(bench.engine.unfinished(), 1);
    let to_b = only(&sent, b());
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    assert_eq!(bench.engine.unfinished(), 0, "{:?}", bench.engine.census());
    bench.assert_nothing_left();
}
