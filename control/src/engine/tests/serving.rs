//! Who is served, by which policy, and what travels with the identities (S11, IDN, CNV).

use super::*;
use crate::config::Who;
use crate::cpm::identity::NoIdentity;
use crate::cpm::policy::Streams;

const VIDEO: &str = "m=video 4008 RTP/AVP 31\r\n";
const ALICE: &str = "P-Asserted-Identity: \"Alice\" <sip:alice@home.example>\r\n";

/// What holds for one user only; everybody else is in the media path with all streams.
fn for_one(address: &str, change: impl FnOnce(&mut UserPolicy)) -> impl FnOnce(&mut Settings) {
    move |settings| {
        let mut policies = Policies::new(in_path());
        let mut policy = in_path();
        change(&mut policy);
        policies.set(address, policy);
        settings.policies = policies.into();
    }
}

fn no_video(policy: &mut UserPolicy) {
    policy.streams.video = false;
}

fn has_video(to_b: &str) -> bool {
    !to_b.contains("m=video 0 ")
}

fn offered(bench: &mut Bench, invite: &str) -> String {
    only(&bench.give(a(), invite), b())
}

fn two_streams() -> String {
    invite("1", &format!("{OFFER}{VIDEO}"))
}

#[test]
fn idn_01_the_asserted_identity_counts_and_not_what_the_caller_says_of_itself() {
    let mut bench = Bench::new(for_one("sip:alice@home.example", no_video));
    let evil = with(&two_streams(), ALICE).replace("<sip:a@x>;tag=a", "<sip:evil@x>;tag=a");
    let to_b = offered(&mut bench, &evil);
    assert!(!has_video(&to_b), "{to_b}");
    bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
    let parties = bench.cdrs[0].parties.as_ref().unwrap();
    assert_eq!(parties.served_user, "sip:alice@home.example");
    let pretends = two_streams().replace("sip:a@x", "sip:alice@home.example");
    let asserted = "P-Asserted-Identity: <sip:bob@home.example>\r\n";
    let other = with(&pretends, asserted)
        .replace("call-a", "call-c")
        .replace("bK-1", "bK-2");
    assert!(has_video(&offered(&mut bench, &other)));
}

#[test]
fn idn_01_what_an_untrusted_peer_asserts_or_prefers_is_taken_off() {
    let peer = |net: &str| vec![Who::try_from(net.to_owned()).unwrap()];
    let three = format!(
        "{ALICE}P-Preferred-Identity: <sip:alice@home.example>\r\n\
         P-Served-User: <sip:alice@home.example>;sescase=term\r\n"
    );
    for (net, is_trusted) in [("127.0.0.0/8", true), ("192.0.2.0/24", false)] {
        let policy = for_one("sip:alice@home.example", no_video);
        let mut bench = Bench::new(|settings| {
            policy(settings);
            settings.trust.peers = peer(net);
        });
        let to_b = offered(&mut bench, &with(&two_streams(), &three));
        assert_eq!(to_b.contains(ALICE), is_trusted, "{to_b}");
        assert_eq!(to_b.contains("P-Preferred-Identity"), is_trusted, "{to_b}");
        assert_eq!(to_b.contains("P-Served-User"), is_trusted, "{to_b}");
        assert_eq!(has_video(&to_b), !is_trusted, "{to_b}");
    }
}

#[test]
fn idn_01_a_request_that_nobody_vouches_for_is_refused_where_the_policy_says_so() {
    let mut bench = Bench::new(|settings| settings.trust.without = NoIdentity::Refuse);
    let sent = bench.give(a(), &two_streams());
    assert!(only(&sent, a()).starts_with("SIP/2.0 403"), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    assert_eq!(bench.engine.counters().without_identity, 1);
    let asserted = with(&two_streams(), ALICE).replace("bK-1", "bK-2");
    assert!(only(&bench.give(a(), &asserted), b()).starts_with("INVITE"));
}

#[test]
fn idn_02_a_number_is_the_same_user_as_a_tel_uri_and_as_a_sip_uri() {
    for spelling in ["tel:+1-555", "sip:+1555@home.example;user=phone"] {
        let mut bench = Bench::new(for_one("tel:+1555", no_video));
        let asserted = format!("P-Asserted-Identity: <{spelling}>\r\n");
        let to_b = offered(&mut bench, &with(&two_streams(), &asserted));
        assert!(!has_video(&to_b), "{spelling}: {to_b}");
    }
    // The called one, too; and a user that has both addresses.
    let mut bench = Bench::new(|settings| {
        for_one("tel:+1555", no_video)(settings);
        settings.role = Role::Terminating;
    });
    let called = two_streams().replace(
        "sip:b@127.0.0.1:5002 ",
        "sip:+1555@127.0.0.1:5002;user=phone ",
    );
    assert!(!has_video(&offered(&mut bench, &called)));
    let mut bench = Bench::new(for_one("tel:+1555", no_video));
    let both = with(&two_streams(), &ALICE.replace("\r\n", ", <tel:+1555>\r\n"));
    assert!(!has_video(&offered(&mut bench, &both)));
}

/// What can't be routed in SIP is said so, or goes on to a next hop that can.
#[test]
fn idn_03_addresses_of_other_systems_are_understood() {
    for uri in ["wv:user@wv.example", "mailto:user@mail.example"] {
        let text = invite("1", OFFER).replace("sip:b@127.0.0.1:5002", uri);
        let mut bench = Bench::new(|_| {});
        let refused = only(&bench.give(a(), &text), a());
        assert!(refused.starts_with("SIP/2.0 416"), "{refused}");
        let mut bench = Bench::new(|settings| {
            let hop = crate::cpm::routing::Hop::of("sip:127.0.0.1:5002").unwrap();
            settings.next_hop = Some(hop);
        });
        let to_b = offered(&mut bench, &text);
        assert!(
            to_b.starts_with(&format!("INVITE {uri} SIP/2.0\r\n")),
            "{to_b}"
        );
    }
}

#[test]
fn idn_04_the_non_cpm_service_identifier_passes_unchanged() {
    let identifier = "Non-CPM-Service:  urn:example:sms ; x=\"A b\"\r\n";
    let mut bench = Bench::new(|_| {});
    let to_b = offered(&mut bench, &with(&invite("1", OFFER), identifier));
    assert!(to_b.contains(identifier), "{to_b}");
    let message = with(
        &invite("2", "")
            .replace("INVITE", "MESSAGE")
            .replace("call-a", "call-m"),
        identifier,
    );
    let to_b = offered(&mut bench, &message);
    assert!(
        to_b.starts_with("MESSAGE") && to_b.contains(identifier),
        "{to_b}"
    );
}

#[test]
fn s11_02_a_barred_user_is_refused_and_nobody_else() {
    let mut bench = Bench::new(for_one("sip:alice@home.example", |policy| {
        policy.barred = true;
    }));
    let sent = bench.give(a(), &with(&two_streams(), ALICE));
    assert!(only(&sent, a()).starts_with("SIP/2.0 403"), "{sent:?}");
    assert_eq!(bench.engine.counters().barred, 1);
    assert!(
        only(
            &bench.give(a(), &two_streams().replace("bK-1", "bK-2")),
            b()
        )
        .starts_with("INVITE")
    );
}

/// Each reason of the policy of the user that is served alone; another user's decides nothing.
fn each_reason_decides(role: Role) {
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
    let served = match role {
        Role::Originating => "sip:alice@home.example",
        Role::Terminating => "sip:b@127.0.0.1:5002",
    };
    for (stay, address) in reasons
        .iter()
        .flat_map(|stay| [(stay, served), (stay, "tel:+1999")])
    {
        let mut bench = Bench::new(|settings| {
            let mut policies = Policies::new(UserPolicy::default());
            let policy = UserPolicy {
                stay: *stay,
                ..UserPolicy::default()
            };
            policies.set(address, policy);
            settings.policies = policies.into();
            settings.role = role;
        });
        let to_b = offered(&mut bench, &with(&two_streams(), ALICE));
        assert_eq!(
            !to_b.contains("call-a"),
            address == served,
            "{stay:?} {to_b}"
        );
        assert_eq!(bench.acts.is_empty(), address != served);
    }
}

#[test]
fn s11_03_the_calling_users_policy_decides_whether_a_pf_o_stays() {
    each_reason_decides(Role::Originating);
}

#[test]
fn s11_05_the_called_users_policy_decides_whether_a_pf_t_stays() {
    each_reason_decides(Role::Terminating);
}

#[test]
fn s11_07_each_reason_alone_keeps_the_relay_in_the_media_path() {
    each_reason_decides(Role::Originating);
    each_reason_decides(Role::Terminating);
}

/// Only where there is a store: without one it would be a promise.
#[test]
fn con_24_a_history_that_is_due_keeps_the_relay_in_the_media_path() {
    for has_store in [true, false] {
        let mut bench = Bench::new(|settings| {
            let policy = UserPolicy {
                allow_offline_storage: true,
                ..UserPolicy::default()
            };
            settings.policies = Policies::new(policy).into();
            settings.store_deadline = has_store.then_some(Duration::from_secs(2));
        });
        let to_b = offered(&mut bench, &two_streams());
        assert_eq!(!to_b.contains("call-a"), has_store, "{to_b}");
    }
}

#[test]
fn s11_06_a_session_keeps_the_policy_that_it_began_with() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let strict = UserPolicy {
        barred: true,
        streams: Streams {
            video: false,
            ..Streams::ALL
        },
        ..UserPolicy::default()
    };
    bench.engine.set_policies(Policies::new(strict).into());
    let offer = format!("{}{VIDEO}", OFFER.replace("a 1 1", "a 1 2"));
    let text = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &offer);
    let reinvite = only(&bench.give(a(), &text), b());
    assert!(has_video(&reinvite), "{reinvite}");
    let answered = format!("{ANSWER}m=video 5008 RTP/AVP 31\r\n");
    bench.give(b(), &answer(&reinvite, 200, "OK", &answered));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let next = invite("n", OFFER).replace("call-a", "call-n");
    assert!(only(&bench.give(a(), &next), a()).starts_with("SIP/2.0 403"));
    bench.give(
        a(),
        &next
            .replace("INVITE", "ACK")
            .replace("To: <sip:b@x>", "To: <sip:b@x>;tag=x"),
    );
    end(&mut bench, &to_a, 3);
}

const IDS: &str = "Contribution-ID:  abcdef0123\r\nInReplyTo-Contribution-ID: X y Z\r\n";

/// The three identities in every message of a call that carries them, in each mode.
fn identities_travel(stay: Stay) {
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.stay = stay));
    let all = format!("Conversation-ID: f81d4fae\r\n{IDS}");
    let has_all = |text: &str| {
        all.lines()
            .all(|line| text.contains(&format!("{line}\r\n")))
    };
    let to_b = only(&bench.give(a(), &with(&invite("1", OFFER), IDS)), b());
    assert!(has_all(&to_b), "{to_b}");
    let ok = with(&answer(&to_b, 200, "OK", ANSWER), &all);
    let to_a = only(&bench.give(b(), &ok), a());
    assert!(has_all(&to_a), "{to_a}");
    let is_proxied = stay == Stay::default();
    let route = if is_proxied {
        "Route: <sip:127.0.0.1:5060;lr>\r\n"
    } else {
        ""
    };
    let request = |method: &str, seq, sdp: &str| {
        let headers = format!("{CONTACT_A}{route}{all}");
        let text = in_dialog_of_a(method, seq, &to_a, &headers, sdp);
        match is_proxied {
            true => text.replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP"),
            false => text,
        }
    };
    bench.give(a(), &request("ACK", 1, ""));
    for (method, seq, sdp) in [("INVITE", 2, OFFER), ("BYE", 3, "")] {
        let sent = bench.give(a(), &request(method, seq, sdp));
        let to_b = only(&sent, b());
        assert!(to_b.starts_with(method) && has_all(&to_b), "{to_b}");
        let answered = if sdp.is_empty() { "" } else { ANSWER };
        let ok = with(&answer(&to_b, 200, "OK", answered), &all);
        let to_a = only(&bench.give(b(), &ok), a());
        assert!(has_all(&to_a), "{to_a}");
    }
    bench.assert_nothing_left();
}

#[test]
fn cnv_01_the_conversation_id_travels_in_invitations_and_messages() {
    identities_travel(in_path().stay);
    let mut bench = Bench::new(|_| {});
    let text = invite("1", "").replace("INVITE", "MESSAGE");
    let to_b = only(&bench.give(a(), &text), b());
    assert!(to_b.contains("Conversation-ID: f81d4fae\r\n"), "{to_b}");
}

#[test]
fn cnv_02_the_contribution_ids_travel_in_invitations_and_messages() {
    identities_travel(in_path().stay);
    let mut bench = Bench::new(|_| {});
    let text = with(&invite("1", "").replace("INVITE", "MESSAGE"), IDS);
    let to_b = only(&bench.give(a(), &text), b());
    assert!(to_b.contains(IDS), "{to_b}");
}

#[test]
fn cnv_05_the_three_identities_pass_a_proxy_and_a_back_to_back_user_agent_unchanged() {
    identities_travel(Stay::default());
    identities_travel(in_path().stay);
}

#[test]
fn cnv_07_a_session_keeps_the_identities_of_the_invite_that_made_it() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &with(&invite("1", OFFER), IDS)), b());
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let headers = format!("{CONTACT_A}Conversation-ID: other\r\nContribution-ID: other\r\n");
    let text = in_dialog_of_a("INVITE", 2, &to_a, &headers, OFFER);
    let reinvite = only(&bench.give(a(), &text), b());
    bench.give(b(), &answer(&reinvite, 200, "OK", ANSWER));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    end(&mut bench, &to_a, 3);
    let cdr = &bench.cdrs[0];
    assert_eq!(cdr.conversation_id.as_deref(), Some("f81d4fae"));
    assert_eq!(cdr.contribution_id.as_deref(), Some("abcdef0123"));
}

#[test]
fn settings_that_are_read_anew_hold_for_sessions_to_come() {
    let mut bench = Bench::new(|settings| settings.sessions_max = 2);
    let (_, to_a) = bench.call();
    let mut settings = Settings::clone(&bench.engine.settings);
    settings.bye_ack = ByeAck::Immediate;
    settings.sessions_max = 1;
    settings.listen.clear();
    bench.engine.reload(settings);
    let next = invite("n", OFFER).replace("call-a", "call-n");
    let refused = only(&bench.give(a(), &next), a());
    assert!(refused.starts_with("SIP/2.0 503"), "{refused}");
    bench.give(
        a(),
        &next
            .replace("INVITE", "ACK")
            .replace("To: <sip:b@x>", "To: <sip:b@x>;tag=x"),
    );
    // The session that was there still waits for the far side's answer to the BYE.
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    assert!(!sent.iter().any(|(to, _)| *to == a()), "{sent:?}");
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    let next = invite("m", OFFER).replace("call-a", "call-m");
    let to_b = only(&bench.give(a(), &next), b());
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    let in_next = |text: String| text.replace("call-a", "call-m");
    bench.give(
        a(),
        &in_next(in_dialog_of_a("ACK", 1, &to_a, "", "").replace("bK-A", "bK-B")),
    );
    let bye = in_next(in_dialog_of_a("BYE", 3, &to_a, "", ""));
    let sent = bench.give(a(), &bye);
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"), "{sent:?}");
    bench.give(b(), &answer(&only(&sent, b()), 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn upl_07_media_pass_here_where_the_policy_has_a_reason_and_nowhere_else() {
    for stays in [true, false] {
        let mut bench = Bench::new(|settings| {
            for_all(settings, |policy| policy.stay.media_charging = stays);
        });
        let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
        assert_eq!(to_b.contains("127.0.0.9"), stays, "{to_b}");
        assert_eq!(bench.open() > 0, stays);
    }
}
