//! The invitation to a session of two, row by row (S11); the others are in [`super::invite`] and
//! [`super::proxy`], and in the simulated world.

use super::*;

const ICSI: &str = "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\n";
const OWN_ROUTE: &str = "Route: <sip:127.0.0.1:5060;lr>\r\n";
/// What a request inside of a proxied dialog is addressed to.
const TARGET_OF_B: &str = "sip:b@127.0.0.1:5002 SIP";

/// Nobody has a reason to stay but Alice.
fn only_alice_stays(settings: &mut Settings) {
    let mut policies = Policies::new(UserPolicy::default());
    policies.set("sip:alice@x", in_path());
    settings.policies = policies.into();
}

#[test]
fn s11_02_the_invite_goes_on_to_the_core_with_its_service_and_its_identities() {
    let mut bench = Bench::new(|_| {});
    let three = "Contribution-ID: abc\r\nInReplyTo-Contribution-ID: def\r\n";
    let routes = "Route: <sip:127.0.0.1:5060;lr;orig>, <sip:odi-7@127.0.0.1:5009;lr>\r\n";
    let lines = format!("{ICSI}{three}{routes}");
    let sent = bench.give(a(), &with(&invite("1", OFFER), &lines));
    let to_core = only(&sent, "127.0.0.1:5009".parse().unwrap());
    for line in [
        ICSI,
        three,
        "Conversation-ID: f81d4fae\r\n",
        "Route: <sip:odi-7@127.0.0.1:5009;lr>\r\n",
    ] {
        assert!(to_core.contains(line), "{line} is not in {to_core}");
    }
}

#[test]
fn s11_02_a_barred_user_begins_no_session() {
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.barred = true));
    let sent = bench.give(a(), &invite("1", OFFER));
    assert!(only(&sent, a()).starts_with("SIP/2.0 403"), "{sent:?}");
    assert!(sent.iter().all(|(to, _)| *to == a()), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn s11_03_whether_it_stays_is_decided_by_the_served_users_policy() {
    for (user, is_anchored) in [("sip:alice@x", true), ("sip:a@x", false)] {
        let mut bench = Bench::new(only_alice_stays);
        let text = invite("1", OFFER).replace("sip:a@x", user);
        let to_b = only(&bench.give(a(), &text), b());
        assert_eq!(to_b.contains("c=IN IP4 127.0.0.9"), is_anchored, "{to_b}");
        assert_eq!(bench.open() > 0, is_anchored, "{:?}", bench.acts);
        bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
        bench.give(a(), &ack_of_failure());
        bench.assert_nothing_left();
    }
}

#[test]
fn s11_06_an_endpoint_stays_one_whatever_policy_says_later() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    bench
        .engine
        .set_policies(Policies::new(UserPolicy::default()).into());
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER));
    let again = only(&sent, b());
    assert_eq!(header(&again, "Call-ID"), header(&to_b, "Call-ID"));
    assert!(again.contains("c=IN IP4 127.0.0.9"), "{again}");
    let sent = bench.give(b(), &answer(&again, 200, "OK", ANSWER));
    assert!(only(&sent, a()).contains("c=IN IP4 127.0.0.9"));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    end(&mut bench, &to_a, 3);
}

#[test]
fn s11_06_a_proxy_stays_one_whatever_policy_says_later() {
    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| *policy = UserPolicy::default()));
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    assert!(to_b.contains("Call-ID: call-a\r\n") && to_b.contains("Record-Route: "));
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    assert_eq!(tag_of(&to_a, "To"), "b", "{to_a}");
    let in_dialog = |method: &str, seq, sdp| {
        in_dialog_of_a(method, seq, &to_a, OWN_ROUTE, sdp)
            .replace("sip:127.0.0.1:5060 SIP", TARGET_OF_B)
    };
    bench.give(a(), &in_dialog("ACK", 1, ""));
    bench.engine.set_policies(Policies::new(in_path()).into());
    let again = only(&bench.give(a(), &in_dialog("INVITE", 2, OFFER)), b());
    assert!(
        again.ends_with(OFFER) && again.contains("Call-ID: call-a\r\n"),
        "{again}"
    );
    bench.give(b(), &answer(&again, 200, "OK", ANSWER));
    bench.give(a(), &in_dialog("ACK", 2, ""));
    let bye = only(&bench.give(a(), &in_dialog("BYE", 3, "")), b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(bench.acts.is_empty(), "{:?}", bench.acts);
    bench.assert_nothing_left();
}

#[test]
fn s11_09_the_answer_comes_back_with_the_relays_own_addresses() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    assert!(to_a.starts_with("SIP/2.0 200"), "{to_a}");
    assert!(
        to_a.contains("c=IN IP4 127.0.0.9") && !to_a.contains("m=audio 5000"),
        "{to_a}"
    );
    assert_eq!(header(&to_a, "CSeq"), "1 INVITE");
    end(&mut bench, &to_a, 2);
}

#[test]
fn s11_10_no_focus_is_named_in_a_session_of_two() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    for message in [&to_b, &to_a] {
        assert!(!message.contains("isfocus"), "{message}");
        assert!(!header(message, "Contact").is_empty(), "{message}");
    }
    end(&mut bench, &to_a, 2);
}
