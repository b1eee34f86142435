//! From the INVITE to its answer.

use super::*;

/// S11-11
#[test]
fn a_refused_invite_leaves_nothing() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 486"), "{sent:?}");
    assert!(only(&sent, b()).starts_with("ACK"));
    bench.assert_nothing_left();
}

/// S11-11
#[test]
fn a_cancelled_invite_is_cancelled_on_and_leaves_nothing() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 180"));
    let cancel = invite("1", "").replace("INVITE", "CANCEL");
    let sent = bench.give(a(), &cancel);
    let to_a: Vec<&String> = sent
        .iter()
        .filter(|(to, _)| *to == a())
        .map(|(_, text)| text)
        .collect();
    assert!(
        to_a.iter().any(|text| text.starts_with("SIP/2.0 487")),
        "{to_a:?}"
    );
    let cancel = only(&sent, b());
    assert!(cancel.starts_with("CANCEL"));
    bench.give(b(), &answer(&cancel, 200, "OK", ""));
    bench.give(b(), &answer(&to_b, 487, "Request Terminated", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn an_answer_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    bench.give(a(), &invite("1", "").replace("INVITE", "CANCEL"));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let sent: Vec<String> = sent
        .into_iter()
        .filter(|(to, _)| *to == b())
        .map(|(_, text)| text)
        .collect();
    assert!(sent[0].starts_with("ACK"), "{sent:?}");
    assert!(sent[1].starts_with("BYE"), "{sent:?}");
    bench.give(b(), &answer(&sent[1], 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn no_port_is_503_with_retry_after() {
    let mut bench = Bench::new(|_| {});
    bench.refuse = true;
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_a = sent.last().unwrap();
    assert!(
        to_a.1.starts_with("SIP/2.0 503") && to_a.1.contains("Retry-After: 5\r\n"),
        "{to_a:?}"
    );
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

/// OFR-01
#[test]
fn an_invite_without_an_offer_is_refused_in_the_media_path() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", ""));
    assert!(
        sent[0].1.starts_with("SIP/2.0 488") && sent[0].1.contains("Warning: 399"),
        "{sent:?}"
    );
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

/// OFR-01
#[test]
fn a_late_offer_is_relayed_where_the_settings_say_so() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let sent = bench.give(a(), &invite("1", ""));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert!(
        to_a.starts_with("SIP/2.0 200") && to_a.contains("c=IN IP4 127.0.0.9"),
        "{to_a}"
    );
    let sent = bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", OFFER));
    let ack = only(&sent, b());
    assert!(
        ack.starts_with("ACK") && ack.contains("c=IN IP4 127.0.0.9"),
        "{ack}"
    );
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_second_forks_answer_is_acknowledged_and_ended() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(
        b(),
        &answer(&to_b, 180, "Ringing", "").replace("tag=b", "tag=b2"),
    );
    let first = only(&sent, a());
    let sent = bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    let second = only(&sent, a());
    assert_ne!(tag_of(&first, "To"), tag_of(&second, "To"));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert_eq!(tag_of(&to_a, "To"), tag_of(&second, "To"));
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let sent = bench.give(
        b(),
        &answer(&to_b, 200, "OK", ANSWER).replace("tag=b", "tag=b2"),
    );
    assert!(
        sent[0].1.starts_with("ACK") && sent[1].1.starts_with("BYE"),
        "{sent:?}"
    );
    assert!(sent[1].1.contains("tag=b2"));
    bench.give(b(), &answer(&sent[1].1, 200, "OK", ""));
    assert_eq!(bench.open(), 1);
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

/// S11-03, S11-05, S11-07: each role, each reason alone; the mode is the session's for good.
#[test]
fn s11_07_any_reason_to_stay_makes_the_relay_an_endpoint_of_both_dialogs() {
    let none = Stay::default();
    let reasons = [
        Stay {
            media_charging: true,
            ..none
        },
        Stay {
            content_adaptation: true,
            ..none
        },
        Stay {
            history: true,
            ..none
        },
        Stay {
            several_devices: true,
            ..none
        },
        Stay {
            interception: true,
            ..none
        },
    ];
    for (stay, role) in reasons
        .into_iter()
        .flat_map(|stay| [(stay, Role::Originating), (stay, Role::Terminating)])
    {
        let mut bench = Bench::new(|settings| {
            for_all(settings, |policy| policy.stay = stay);
            settings.role = role;
        });
        let (to_b, to_a) = bench.call();
        assert!(
            !to_b.contains("call-a") && !to_b.contains("Record-Route"),
            "{to_b}"
        );
        assert!(
            header(&to_b, "Contact").contains("127.0.0.1:5060"),
            "{to_b}"
        );
        assert!(
            header(&to_a, "Contact").contains("127.0.0.1:5060"),
            "{to_a}"
        );
        end(&mut bench, &to_a, 2);
    }
}

/// S11-02: the core's own Route and the services stay on.
#[test]
fn the_invite_goes_on_along_its_routes_with_the_service_it_names() {
    let mut bench = Bench::new(|_| {});
    let icsi = "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\n";
    let routes = "Route: <sip:127.0.0.1:5060;lr;orig>, <sip:odi-7@127.0.0.1:5009;lr>\r\n";
    let text = with(&with(&invite("1", OFFER), icsi), routes);
    let sent = bench.give(a(), &text);
    let to_core = only(&sent, "127.0.0.1:5009".parse().unwrap());
    assert!(
        to_core.contains("Route: <sip:odi-7@127.0.0.1:5009;lr>\r\n"),
        "{to_core}"
    );
    assert!(
        !to_core.contains("orig") && to_core.contains(icsi),
        "{to_core}"
    );
    assert!(
        to_core.starts_with("INVITE sip:b@127.0.0.1:5002 SIP/2.0"),
        "{to_core}"
    );
    assert!(to_core.contains("Max-Forwards: 69\r\n"), "{to_core}");
}

/// S11-04
#[test]
fn s11_04_a_terminating_relay_names_the_service_that_only_the_core_asserted() {
    let mut bench = Bench::new(|settings| settings.role = Role::Terminating);
    let service = "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session\r\n";
    let to_b = only(&bench.give(a(), &with(&invite("1", OFFER), service)), b());
    assert!(to_b.contains(service), "{to_b}");
    let tag = "*;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";
    assert_eq!(header(&to_b, "Accept-Contact"), tag);
}

/// S11-11: ten thousand failures of all kinds leave nothing.
#[test]
fn s11_11_ten_thousand_failed_invites_leave_nothing() {
    let mut bench = Bench::new(|_| {});
    for round in 0..10_000 {
        let text = invite(&format!("r{round}"), OFFER).replace("call-a", &format!("call-{round}"));
        bench.refuse = round % 5 == 4;
        let sent = bench.give(a(), &text);
        if !bench.refuse {
            let to_b = only(&sent, b());
            let code = [486, 603, 302, 480][round % 4];
            bench.give(b(), &answer(&to_b, code, "No", ""));
        }
        bench.give(
            a(),
            &text
                .replace("INVITE", "ACK")
                .replace("To: <sip:b@x>", "To: <sip:b@x>;tag=any"),
        );
        assert_eq!(bench.engine.sessions(), 0);
        if round % 500 == 0 {
            bench.wait(Duration::from_secs(40));
        }
    }
    assert_eq!(bench.cdrs.len(), 10_000);
    bench.assert_nothing_left();
}

/// OFR-03, OFR-08, OFR-10
#[test]
fn a_barred_stream_is_offered_to_nobody_and_refused_to_the_offerer_in_its_place() {
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.streams.video = false));
    let offer = OFFER.replace("m=audio", "m=video 4008 RTP/AVP 31\r\nm=audio")
        + "m=audio 4002 RTP/AVP 8\r\n";
    let to_b = only(&bench.give(a(), &invite("1", &offer)), b());
    let lines: Vec<&str> = to_b
        .split("\r\n")
        .filter(|line| line.starts_with("m="))
        .collect();
    assert!(
        lines[0].starts_with("m=video 0 ") && lines[1].starts_with("m=audio 2"),
        "{lines:?}"
    );
    let answered =
        ANSWER.replace("m=audio", "m=video 0 RTP/AVP 31\r\nm=audio") + "m=audio 0 RTP/AVP 8\r\n";
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", &answered)), a());
    let lines: Vec<&str> = to_a
        .split("\r\n")
        .filter(|line| line.starts_with("m="))
        .collect();
    assert!(
        lines[0].starts_with("m=video 0 ") && lines[1].starts_with("m=audio 2"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("m=audio 0 "), "{lines:?}");
    assert_eq!(
        bench.open(),
        1,
        "no port is kept for what was refused: {:?}",
        bench.acts
    );
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    end(&mut bench, &to_a, 2);
}

/// OFR-04
#[test]
fn an_offer_of_barred_streams_alone_is_refused_and_goes_nowhere() {
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.streams.audio = false));
    let sent = bench.give(a(), &invite("1", OFFER));
    let refused = only(&sent, a());
    assert!(
        refused.starts_with("SIP/2.0 488") && refused.contains("\r\nWarning: 3"),
        "{refused}"
    );
    assert!(sent.iter().all(|(to, _)| *to == a()), "{sent:?}");
    assert!(bench.acts.is_empty(), "{:?}", bench.acts);
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

/// OFR-06, OFR-07
#[test]
fn an_answer_without_a_description_fails_the_call_on_both_sides() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 488"), "{sent:?}");
    let bye = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("BYE"))
        .unwrap();
    bench.give(b(), &answer(&bye.1, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_refusals_own_headers_and_body_travel_back() {
    let refusals = [
        (302, "Contact: <sip:c@127.0.0.1:5002>\r\n"),
        (401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n"),
        (
            407,
            "Proxy-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n",
        ),
        (422, "Min-SE:  1800\r\n"),
        (503, "Retry-After: 77 (later)\r\n"),
        (488, "Warning: 304 b \"no\"\r\n"),
        (606, "Warning: 399 b \"no\"\r\n"),
    ];
    for (code, line) in refusals {
        let mut bench = Bench::new(|_| {});
        let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
        let refusal = answer(&to_b, code, "No", "").replace(CONTACT_B, line);
        let to_a = only(&bench.give(b(), &refusal), a());
        assert!(
            to_a.starts_with(&format!("SIP/2.0 {code} No")) && to_a.contains(line),
            "{to_a}"
        );
        bench.give(a(), &ack_of_failure());
        bench.assert_nothing_left();
    }
}

#[test]
fn an_invite_that_nobody_answers_is_408_and_leaves_nothing() {
    let mut bench = Bench::new(|settings| settings.ringing_max = Duration::from_secs(60));
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    let sent = bench.wait(Duration::from_secs(61));
    assert!(
        sent.iter()
            .any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 408")),
        "{sent:?}"
    );
    let cancel = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("CANCEL"))
        .unwrap();
    bench.give(b(), &answer(&cancel.1, 200, "OK", ""));
    bench.give(b(), &answer(&to_b, 487, "Request Terminated", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn hops_and_proxy_requirements_are_checked_first() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(
        a(),
        &invite("1", OFFER).replace("Max-Forwards: 70", "Max-Forwards: 00"),
    );
    assert!(only(&sent, a()).starts_with("SIP/2.0 483"), "{sent:?}");
    let both = "Proxy-Require: one\r\nProxy-Require: two\r\n";
    let sent = bench.give(a(), &with(&invite("2", OFFER), both));
    let refused = only(&sent, a());
    assert!(
        refused.starts_with("SIP/2.0 420") && refused.contains("Unsupported: one, two\r\n"),
        "{refused}"
    );
}

#[test]
fn a_telephone_number_goes_to_the_configured_next_hop() {
    let hop = crate::cpm::routing::Hop::of("sip:127.0.0.1:5002").unwrap();
    let mut bench = Bench::new(|settings| settings.next_hop = Some(hop));
    let tel = invite("1", OFFER).replace("INVITE sip:b@127.0.0.1:5002", "INVITE tel:+15551");
    let to_b = only(&bench.give(a(), &tel), b());
    assert!(to_b.starts_with("INVITE tel:+15551 SIP/2.0"), "{to_b}");
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    end(&mut bench, &to_a, 2);
}
