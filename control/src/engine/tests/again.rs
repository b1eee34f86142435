//! CEMA that only one side has: side B is offered the stream anew (RFC 6714).

use super::*;

fn message(side: char, cema: bool) -> String {
    let cema = if cema { "a=msrp-cema\r\n" } else { "" };
    let ip = if side == 'a' {
        "127.0.0.11"
    } else {
        "127.0.0.12"
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message 5000 TCP/MSRP *\r\n\
         a=path:msrp://{ip}:5000/{side}{side}{side}{side};tcp\r\na=setup:actpass\r\n{cema}"
    )
}

fn answered(side: char, cema: bool) -> String {
    message(side, cema).replace("actpass", "active")
}

fn sent_to<'a>(sent: &'a [(SocketAddr, String)], to: SocketAddr, start: &str) -> Vec<&'a str> {
    let texts = sent.iter().filter(|(at, _)| *at == to);
    let texts = texts.map(|(_, text)| text.as_str());
    texts.filter(|text| text.starts_with(start)).collect()
}

/// Up to the INVITE that is offered anew to B: B's first INVITE and that one.
fn begin(bench: &mut Bench) -> (String, String) {
    let sent = bench.give(a(), &invite("1", &message('a', true)));
    let first = only(&sent, b());
    assert!(
        first.contains("/aaaa;tcp") && first.contains("a=msrp-cema"),
        "{first}"
    );
    let sent = bench.give(b(), &answer(&first, 200, "OK", &answered('b', false)));
    assert!(sent_to(&sent, a(), "SIP/2.0 200").is_empty(), "{sent:#?}");
    assert_eq!(sent_to(&sent, b(), "ACK").len(), 1, "{sent:#?}");
    let again = sent_to(&sent, b(), "INVITE")[0].to_owned();
    (first, again)
}

#[test]
fn a_far_side_without_cema_is_offered_the_relays_own_path_before_the_caller_is_answered() {
    let mut bench = Bench::new(|_| {});
    let (first, again) = begin(&mut bench);

    assert!(
        again.contains("a=path:msrp://127.0.0.9:2855/xxxx"),
        "{again}"
    );
    assert!(
        !again.contains("cema") && !again.contains("100rel"),
        "{again}"
    );
    assert_eq!(tag_of(&again, "To"), "b");
    assert_eq!(header(&again, "Call-ID"), header(&first, "Call-ID"));
    let seq = |text: &str| {
        header(text, "CSeq")
            .split(' ')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!(seq(&again), seq(&first) + 1);
    let sent = bench.give(b(), &answer(&again, 200, "OK", &answered('b', false)));

    assert_eq!(sent_to(&sent, b(), "ACK").len(), 1, "{sent:#?}");
    let to_a = only(&sent, a());
    assert!(
        to_a.starts_with("SIP/2.0 200") && to_a.contains("a=msrp-cema"),
        "{to_a}"
    );
    assert!(to_a.contains("a=path:msrp://127.0.0.9:2855/xxxx"), "{to_a}");
    assert_eq!(bench.open(), 1, "the byte stream is gone: {:?}", bench.acts);
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    // B's 2xx, come again, is acknowledged again.
    let sent = bench.give(b(), &answer(&first, 200, "OK", &answered('b', false)));
    assert_eq!(sent_to(&sent, b(), "ACK").len(), 1, "{sent:#?}");
    let sent = bench.give(b(), &answer(&again, 200, "OK", &answered('b', false)));
    assert_eq!(sent_to(&sent, b(), "ACK").len(), 1, "{sent:#?}");
    end(&mut bench, &to_a, 2);
}

#[test]
fn an_answer_that_only_came_early_is_offered_anew_as_well() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", &message('a', true)));
    let first = only(&sent, b());
    let sent = bench.give(b(), &answer(&first, 183, "Progress", &answered('b', false)));
    assert!(only(&sent, a()).contains("a=msrp-cema"), "{sent:#?}");
    let sent = bench.give(b(), &answer(&first, 200, "OK", ""));
    let again = sent_to(&sent, b(), "INVITE")[0].to_owned();
    assert!(sent_to(&sent, a(), "SIP/2.0 200").is_empty(), "{sent:#?}");

    let sent = bench.give(b(), &answer(&again, 200, "OK", &answered('b', false)));

    let to_a = only(&sent, a());
    assert!(to_a.starts_with("SIP/2.0 200"), "{to_a}");
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    end(&mut bench, &to_a, 2);
}

#[test]
fn a_far_side_that_refuses_the_new_offer_ends_the_session() {
    for (code, reason) in [(488, "Not Acceptable Here"), (503, "No")] {
        let mut bench = Bench::new(|_| {});
        let (_, again) = begin(&mut bench);

        let sent = bench.give(b(), &answer(&again, code, reason, ""));

        let bye = sent_to(&sent, b(), "BYE")[0].to_owned();
        let to_a = only(&sent, a());
        assert!(
            to_a.starts_with("SIP/2.0 488") && to_a.contains("Warning: 399"),
            "{to_a}"
        );
        bench.give(b(), &answer(&bye, 200, "OK", ""));
        bench.give(a(), &ack_of_failure());
        bench.assert_nothing_left();
    }
}

#[test]
fn an_offer_that_met_another_one_is_made_once_more_after_a_while() {
    let mut bench = Bench::new(|_| {});
    let (_, again) = begin(&mut bench);
    let pending = |request: &str| answer(request, 491, "Request Pending", "");

    let sent = bench.give(b(), &pending(&again));
    assert!(sent_to(&sent, a(), "SIP/2.0").is_empty(), "{sent:#?}");
    assert!(sent_to(&bench.wait(Duration::from_millis(2000)), b(), "INVITE").is_empty());
    let sent = bench.wait(Duration::from_millis(2000));
    let second = sent_to(&sent, b(), "INVITE")[0].to_owned();
    assert_ne!(header(&second, "CSeq"), header(&again, "CSeq"));
    let sent = bench.give(b(), &answer(&second, 200, "OK", &answered('b', false)));
    let to_a = only(&sent, a());
    assert!(to_a.starts_with("SIP/2.0 200"), "{to_a}");
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    end(&mut bench, &to_a, 2);

    // Not for ever.
    let mut bench = Bench::new(|_| {});
    let (_, again) = begin(&mut bench);
    bench.give(b(), &pending(&again));
    let sent = bench.wait(Duration::from_millis(4000));
    let second = sent_to(&sent, b(), "INVITE")[0].to_owned();
    let sent = bench.give(b(), &pending(&second));
    let bye = sent_to(&sent, b(), "BYE")[0].to_owned();
    assert_eq!(sent_to(&sent, a(), "SIP/2.0 488").len(), 1, "{sent:#?}");
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn each_side_is_treated_as_its_trunk_says() {
    let mut bench = Bench::new(|settings| {
        let toward = |transport| media::Trunk {
            toward: media::Toward::Only(transport),
            ..media::Trunk::default()
        };
        let who = |text: &str| vec![crate::config::Who::try_from(text.to_owned()).unwrap()];
        let mut all = media::Settings::clone(&settings.media);
        all.msrp = media::Msrp {
            carried: [true; 4],
            fingerprint: Some([7; 32]),
            trunks: vec![
                (who("x"), toward(dataplane::api::MsrpTransport::Ws)),
                (who("127.0.0.1"), toward(dataplane::api::MsrpTransport::Tls)),
            ],
            ..media::Msrp::default()
        };
        settings.media = all.into();
    });
    // B is known by its address, as its URI has no name; A by its name.
    let sent = bench.give(a(), &invite("1", &message('a', false)));
    let to_b = only(&sent, b());
    assert!(to_b.contains("TCP/TLS/MSRP"), "{to_b}");
    let tls = answered('b', false)
        .replace("TCP/MSRP", "TCP/TLS/MSRP")
        .replace("msrp://", "msrps://");
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", &tls));
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let audio = ANSWER.to_owned();
    let offer = audio + &tls[tls.find("m=message").unwrap()..];
    let sent = bench.give(b(), &in_dialog_of_b("INVITE", 1, &to_b, CONTACT_B, &offer));
    let to_a = sent_to(&sent, a(), "INVITE")[0].to_owned();
    assert!(
        to_a.contains(";ws\r\n") && to_a.contains("a=setup:passive"),
        "{to_a}"
    );
}

#[test]
fn a_far_side_that_does_not_answer_the_new_offer_ends_the_session() {
    let mut bench = Bench::new(|_| {});
    begin(&mut bench);
    let sent = bench.wait(Duration::from_secs(33));
    let bye = sent_to(&sent, b(), "BYE")[0].to_owned();
    assert!(!sent_to(&sent, a(), "SIP/2.0 488").is_empty(), "{sent:#?}");
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();

    // One that rings is cancelled in the end.
    let mut bench = Bench::new(|_| {});
    let (_, again) = begin(&mut bench);
    bench.give(b(), &answer(&again, 180, "Ringing", ""));
    let sent = bench.wait(Duration::from_secs(181));
    let cancel = sent_to(&sent, b(), "CANCEL")[0].to_owned();
    let bye = sent_to(&sent, b(), "BYE")[0].to_owned();
    assert!(!sent_to(&sent, a(), "SIP/2.0 408").is_empty(), "{sent:#?}");
    bench.give(b(), &answer(&cancel, 200, "OK", ""));
    bench.give(b(), &answer(&again, 487, "Request Terminated", ""));
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_far_side_that_leaves_meanwhile_is_answered_and_so_is_the_caller() {
    let mut bench = Bench::new(|_| {});
    let (first, again) = begin(&mut bench);
    bench.give(b(), &in_dialog_of_b("BYE", 1, &first, "", ""));

    let sent = bench.give(b(), &answer(&again, 487, "Request Terminated", ""));

    assert_eq!(sent_to(&sent, b(), "SIP/2.0 200").len(), 1, "{sent:#?}");
    assert!(sent_to(&sent, b(), "BYE").is_empty(), "{sent:#?}");
    assert_eq!(sent_to(&sent, a(), "SIP/2.0 488").len(), 1, "{sent:#?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_chat_that_joins_a_session_falls_back_within_its_own_request() {
    for method in ["INVITE", "UPDATE"] {
        let mut bench = Bench::new(|_| {});
        let (_, ok) = bench.call();
        let line = |text: String| text[text.find("m=message").unwrap()..].to_owned();
        let offer = OFFER.to_owned() + &line(message('a', true));
        let answer_of_b = ANSWER.to_owned() + &line(answered('b', false));
        let request = in_dialog_of_a(method, 2, &ok, CONTACT_A, &offer);

        let sent = bench.give(a(), &request);
        let to_b = only(&sent, b());
        let sent = bench.give(b(), &answer(&to_b, 200, "OK", &answer_of_b));
        let again = sent_to(&sent, b(), method)[0].to_owned();
        assert!(
            !again.contains("cema") && again.contains("://127.0.0.9:2855/"),
            "{again}"
        );
        assert!(sent_to(&sent, a(), "SIP/2.0 200").is_empty(), "{sent:#?}");
        let sent = bench.give(b(), &answer(&again, 200, "OK", &answer_of_b));

        let to_a = only(&sent, a());
        assert!(
            to_a.contains("a=msrp-cema") && to_a.contains("://127.0.0.9:2855/"),
            "{to_a}"
        );
        assert_eq!(header(&to_a, "CSeq"), format!("2 {method}"));
        if method == "INVITE" {
            assert_eq!(sent_to(&sent, b(), "ACK").len(), 1, "{sent:#?}");
            bench.give(a(), &in_dialog_of_a("ACK", 2, &ok, "", ""));
        }
        assert_eq!(bench.open(), 2, "{:?}", bench.acts);
        end(&mut bench, &ok, 3);
    }
}

#[test]
fn a_new_offer_that_is_refused_inside_a_session_leaves_the_session() {
    let mut bench = Bench::new(|_| {});
    let (_, ok) = bench.call();
    let line = |text: String| text[text.find("m=message").unwrap()..].to_owned();
    let offer = OFFER.to_owned() + &line(message('a', true));
    let answer_of_b = ANSWER.to_owned() + &line(answered('b', false));
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 2, &ok, CONTACT_A, &offer));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", &answer_of_b));
    let again = sent_to(&sent, b(), "INVITE")[0].to_owned();

    let sent = bench.give(b(), &answer(&again, 488, "Not Acceptable Here", ""));

    assert!(only(&sent, a()).starts_with("SIP/2.0 488"), "{sent:#?}");
    let ack = in_dialog_of_a("ACK", 2, &ok, "", "").replace("ACK-2", "INVITE-2");
    bench.give(a(), &ack);
    assert_eq!(bench.open(), 1, "{:?}", bench.acts);
    end(&mut bench, &ok, 3);
}
