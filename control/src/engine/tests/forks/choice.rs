//! Who forks and how devices are reached, and what is left when nobody takes the call.

use super::*;

#[test]
fn frk_10_a_user_whose_devices_are_all_left_out_is_unavailable() {
    for mode in MODES {
        let mut bench = known_in(mode, &[("B1", "video"), ("B2", "message")]);
        let sent = bench.give(a(), &invite_member("1", OFFER));
        assert_eq!(told(&sent), ["480"], "{sent:?}");
        assert!(requests(&sent, "INVITE").is_empty(), "{sent:?}");
        assert_eq!(bench.engine.counters().unregistered, 1);
    }
}

#[test]
fn frk_10_when_all_refuse_the_best_refusal_is_given() {
    let cases = [
        ([486, 603], "603"),
        ([503, 486], "486"),
        ([408, 480], "480"),
        ([486, 302], "302"),
        ([486, 407], "407"),
        ([500, 404], "404"),
    ];
    for (codes, best) in cases {
        let mut bench = three(ForkMode::Pf);
        let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_member("1", OFFER)));
        let sent = bench.give(b(), &says(&invites, 0, codes[0], ""));
        assert!(told(&sent).is_empty(), "{codes:?}: {sent:?}");
        let sent = bench.give(b(), &says(&invites, 1, codes[1], ""));
        assert_eq!(told(&sent), [best], "{codes:?}: {sent:?}");
        bench.give(a(), &ack_of_failure());
        bench.assert_nothing_left();
    }
}

#[test]
fn frk_10_who_declines_for_all_ends_it_for_all() {
    let mut bench = three(ForkMode::Pf);
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_member("1", OFFER)));
    bench.give(b(), &says(&invites, 1, 180, ""));
    let sent = bench.give(b(), &says(&invites, 0, 603, ""));
    assert_eq!(told(&sent), ["603"], "{sent:?}");
    let cancel = &requests(&sent, "CANCEL")[0];
    assert_eq!(header(cancel, "Call-ID"), header(&invites[1], "Call-ID"));
    bench.give(a(), &ack_of_failure());
    bench.give(b(), &answer(cancel, 200, "OK", ""));
    bench.give(b(), &says(&invites, 1, 487, ""));
    bench.assert_nothing_left();
}

#[test]
fn frk_10_a_device_that_refuses_leaves_the_others_ringing() {
    let mut bench = three(ForkMode::Pf);
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_member("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    assert!(told(&bench.give(b(), &says(&invites, 0, 486, ""))).is_empty());
    let sent = bench.give(b(), &says(&invites, 1, 200, ANSWER));
    assert_eq!(told(&sent), ["200"], "{sent:?}");
}

#[test]
fn con_09_the_operator_chooses_who_forks() {
    let devices = [("B1", "audio"), ("B2", "audio"), ("B3", "video")];
    let invites = MODES.map(|mode| {
        let mut bench = known_in(mode, &devices);
        requests(&bench.give(a(), &invite_bob("1", OFFER)), "INVITE")
    });
    let [core, pf] = &invites;
    assert_eq!((core.len(), pf.len()), (1, 2));
    assert!(core[0].contains("Reject-Contact") && !core[0].contains("require;explicit"));
    for invite in pf {
        assert!(
            invite.contains("require;explicit") && !invite.contains("Reject-Contact"),
            "{invite}"
        );
    }
    assert_ne!(header(&pf[0], "Call-ID"), header(&pf[1], "Call-ID"));
    assert_ne!(tag_of(&pf[0], "From"), tag_of(&pf[1], "From"));
}

#[test]
fn con_09_a_device_is_reached_by_its_gruu_or_its_contact() {
    let (mut bench, mut notifier) = subscribed();
    let mut policy = bench.engine.settings.policies.everybody().clone();
    policy.fork = ForkMode::Pf;
    bench.engine.set_policies(Policies::new(policy).into());
    let gruu = "sip:b@127.0.0.1:5002;gr=urn:uuid:B1";
    let named = reginfo(1, "full", &[("1", "B1", "active"), ("2", "B2", "active")]).replacen(
        "</uri>",
        &format!("</uri><pub-gruu xmlns=\"urn:ietf:params:xml:ns:gruuinfo\" uri=\"{gruu}\"/>"),
        1,
    );
    notifier.notify(&mut bench, &named);
    let invites = requests(&bench.give(a(), &invite_bob("1", OFFER)), "INVITE");
    assert!(
        invites[0].starts_with(&format!("INVITE {gruu} SIP/2.0\r\n")),
        "{invites:?}"
    );
    assert!(!invites[0].contains("Accept-Contact"), "{invites:?}");
    assert!(
        invites[1].starts_with("INVITE sip:b@127.0.0.1:5002 SIP/2.0\r\n"),
        "{invites:?}"
    );
    let settings = Arc::make_mut(&mut bench.engine.settings);
    settings.registration.as_mut().unwrap().without_gruu = Without::Contact;
    let sent = bench.give(a(), &invite_bob("2", OFFER).replace("call-a", "call-2"));
    let direct = sent
        .iter()
        .find(|(_, text)| text.starts_with("INVITE sip:b@192.0.2.2 SIP/2.0\r\n"));
    assert_eq!(
        direct.map(|(to, _)| to.to_string()),
        Some("192.0.2.2:5060".to_owned()),
        "{sent:?}"
    );
}

#[test]
fn con_09_reliable_ringing_of_one_of_several_is_not_asked_for() {
    let mut bench = three(ForkMode::Pf);
    let reliable = with(&invite_bob("1", OFFER), "Supported: 100rel, timer\r\n");
    let invites = requests(&bench.give(a(), &reliable), "INVITE");
    assert!(
        invites
            .iter()
            .all(|one| header(one, "Supported") == "timer"),
        "{invites:?}"
    );
    let mut bench = three(ForkMode::Core);
    let invites = requests(&bench.give(a(), &reliable), "INVITE");
    assert!(
        header(&invites[0], "Supported").contains("100rel"),
        "{invites:?}"
    );
}

#[test]
fn con_10_types_decide_only_where_kinds_do_not() {
    // Kinds first: B3 can have messages, though not of this type, and nobody else can.
    let mut bench = known(&[("B1", "audio"), ("B3", "message;type=\"text/html\"")]);
    let invite = only(&bench.give(a(), &invite_bob("1", CHAT)), b());
    assert_eq!(
        responses(&invite, "Reject-Contact"),
        ["*;+sip.instance=\"<urn:uuid:B1>\""]
    );
    // Then types: B2 can have what is offered, B4 doesn't say.
    let devices = [
        ("B2", "message;type=\"message/cpim\""),
        ("B3", "message;type=\"text/html\""),
        ("B4", "message"),
    ];
    let mut bench = known(&devices);
    let invite = only(&bench.give(a(), &invite_bob("1", CHAT)), b());
    assert_eq!(
        responses(&invite, "Reject-Contact"),
        ["*;+sip.instance=\"<urn:uuid:B3>\""]
    );
    let codec = format!("{OFFER}a=rtpmap:0 PCMU/8000\r\n");
    let devices = [
        ("B5", "audio;type=\"audio/amr\""),
        ("B6", "audio;type=\"audio/PCMU\""),
    ];
    let mut bench = known(&devices);
    let invite = only(&bench.give(a(), &invite_bob("1", &codec)), b());
    assert_eq!(
        responses(&invite, "Reject-Contact"),
        ["*;+sip.instance=\"<urn:uuid:B5>\""]
    );
}
