//! Whether an invitation is interworked (002 5.3.1).

use super::*;

const EXTERNAL: u16 = 7;

fn bench(policy: Interworking) -> Bench {
    Bench::new(|settings| interworks(settings, policy))
}

/// A call that B refuses: what is sent after that.
fn refused_by_b(bench: &mut Bench, code: u16) -> Vec<(SocketAddr, String)> {
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    bench.give(b(), &answer(&to_b, code, "No", ""))
}

/// A refusal of the far network goes back or leads to the first function, as the policy says.
fn a_failure_is_interworked(codes: &[u16], policy: Interworking) {
    for code in codes {
        let mut none = bench(Interworking::default());
        let sent = refused_by_b(&mut none, *code);
        assert!(has(&sent, a(), &format!("SIP/2.0 {code}")), "{sent:#?}");
        none.give(a(), &ack_of_failure());
        none.assert_nothing_left();

        let mut bench = bench(policy);
        let sent = refused_by_b(&mut bench, *code);
        assert!(
            !has(&sent, a(), ""),
            "the near side sees nothing: {sent:#?}"
        );
        let to_iwf = request(&sent, iwf(0), "INVITE");
        assert!(
            to_iwf.starts_with("INVITE sip:b@127.0.0.1:5002 "),
            "{to_iwf}"
        );
        assert_eq!(header(&to_iwf, "Route"), "<sip:sms@127.0.0.1:5090;lr>");
        assert_eq!(header(&to_iwf, "Conversation-ID"), "f81d4fae");
        let sent = bench.give(
            iwf(0),
            &of_iwf(&to_iwf, 0, 200, &accept(&to_iwf, 6000, &[])),
        );
        let ok = only(&sent, a());
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        bench.give(a(), &in_dialog_of_a("ACK", 1, &ok, "", ""));
        let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &ok, "", ""));
        assert!(!has(&sent, b(), ""), "{sent:#?}");
        let bye = request(&sent, iwf(0), "BYE");
        bench.give(iwf(0), &of_iwf(&bye, 0, 200, ""));
        bench.assert_nothing_left();
    }
}

#[test]
fn iws_08_a_far_network_without_cpm_is_interworked_by_policy() {
    let policy = Interworking {
        no_cpm: OnFailure::Interwork,
        ..Interworking::default()
    };
    a_failure_is_interworked(&[420, 488, 501, 606], policy);
}

#[test]
fn iws_09_a_far_side_without_core_is_interworked_by_policy() {
    let policy = Interworking {
        no_core: OnFailure::Interwork,
        ..Interworking::default()
    };
    a_failure_is_interworked(&[404, 478, 503], policy);
}

#[test]
fn iws_08_another_failure_is_none_of_interworking() {
    let mut bench = bench(ALWAYS);
    let sent = refused_by_b(&mut bench, 486);
    assert!(has(&sent, a(), "SIP/2.0 486"), "{sent:#?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn iws_10_an_address_outside_of_sip_meets_416_or_the_selection_function() {
    let mut none = bench(Interworking::default());
    let sent = none.give(a(), &invite_of(&[CHAT]));
    assert!(has(&sent, a(), "SIP/2.0 416"), "{sent:#?}");

    let mut bench = bench(Interworking {
        scheme: OnFailure::Interwork,
        ..Interworking::default()
    });
    let sent = bench.give(a(), &invite_of(&[CHAT]));
    let to_iwf = request(&sent, iwf(0), "INVITE");
    assert!(to_iwf.starts_with("INVITE wv:bob SIP/2.0"), "{to_iwf}");
    bench.give(iwf(0), &of_iwf(&to_iwf, 0, 404, ""));
}

#[test]
fn iws_10_an_external_selection_function_gets_all_in_one_dialog() {
    an_external_function_selects();
}

#[test]
fn con_21_the_selection_function_is_external_or_part_of_the_relay() {
    an_external_function_selects();
    let bench = interworked(Role::Originating, IwfClose::Streams);
    let call = call_with(bench, &[CHAT, FILE], &[1]);
    assert_eq!(call.invites.len(), 2);
}

fn an_external_function_selects() {
    let mut bench = Bench::new(|settings| {
        interworks(settings, ALWAYS);
        let mut own = interworking::Settings::clone(&settings.interworking);
        own.functions = vec![function("isf", EXTERNAL, Streams::ALL)];
        settings.interworking = own.into();
    });
    let sent = bench.give(a(), &invite_of(&[CHAT, FILE, VOICE]));
    let to_isf = request(&sent, iwf(EXTERNAL), "INVITE");
    assert_eq!(in_use(&to_isf), [true; 3]);
    let answered = accept(&to_isf, 6000, &[1]);
    let sent = bench.give(iwf(EXTERNAL), &of_iwf(&to_isf, EXTERNAL, 200, &answered));
    // It selects for itself: what it refuses is refused.
    assert_eq!(in_use(&only(&sent, a())), [true, false, true]);
}

/// A relay that knows which users have registered, of a role.
fn knowing(role: Role, policy: Interworking) -> Bench {
    Bench::new(|settings| {
        settings.role = role;
        settings.registration = Some(knowledge());
        interworks(settings, policy);
    })
}

#[test]
fn iws_05_a_user_without_a_device_is_interworked_at_the_terminating_side_alone() {
    for (role, is_interworked) in [(Role::Terminating, true), (Role::Originating, false)] {
        let mut bench = knowing(role, ALWAYS);
        let sent = bench.give(a(), &invite("1", OFFER));
        assert_eq!(has(&sent, iwf(0), "INVITE"), is_interworked, "{sent:#?}");
        assert_eq!(has(&sent, b(), "INVITE"), !is_interworked, "{sent:#?}");
    }
    // With a device it is none of interworking.
    let mut back = knowing(Role::Terminating, ALWAYS);
    register(&mut back, "B1", "audio", 600);
    assert!(has(&back.give(a(), &invite("1", OFFER)), b(), "INVITE"));
    // Nor where the user prefers something else.
    let mut other = knowing(Role::Terminating, Interworking::default());
    let sent = other.give(a(), &invite("1", OFFER));
    assert!(has(&sent, a(), "SIP/2.0 480"), "{sent:#?}");
}

#[test]
fn iws_02_the_originators_preferences_are_nothing_to_the_terminating_side() {
    let mut bench = Bench::new(|settings| {
        settings.role = Role::Terminating;
        settings.registration = Some(knowledge());
        interworks(settings, Interworking::default());
        let mut policies = Policies::clone(&settings.policies);
        // A would have everything interworked; B, who is served, wants none of it.
        let wants = UserPolicy {
            interworking: ALWAYS,
            ..in_path()
        };
        policies.set("sip:a@x", wants);
        settings.policies = policies.into();
    });
    let sent = bench.give(a(), &invite("1", OFFER));
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    assert!(has(&sent, a(), "SIP/2.0 480"), "{sent:#?}");
    register(&mut bench, "B1", "audio", 600);
    let invited = invite("2", OFFER).replace("call-a", "call-2");
    let to_b = request(&bench.give(a(), &invited), b(), "INVITE");
    let sent = bench.give(b(), &answer(&to_b, 488, "No", ""));
    assert!(has(&sent, a(), "SIP/2.0 488"), "{sent:#?}");
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
}

#[test]
fn iws_11_an_address_that_no_service_knows_meets_the_error() {
    let mut bench = Bench::new(|settings| {
        interworks(settings, ALWAYS);
        let mut own = interworking::Settings::clone(&settings.interworking);
        for function in &mut own.functions {
            function.schemes = vec!["tel".to_owned()];
        }
        settings.interworking = own.into();
    });
    let sent = refused_by_b(&mut bench, 404);
    assert!(has(&sent, a(), "SIP/2.0 404"), "{sent:#?}");
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}
