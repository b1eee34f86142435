//! Registration: the core tells of users' devices, and what follows for their invitations.

use super::forks::{
    invite_bob, knowing, known, reginfo, register, register_with, responses, subscribed,
};
use super::*;
use crate::engine::SubscribeWhen;

const NOBODY: &str = r#"<registration aor="sip:b@127.0.0.1" id="r" state="terminated"/>"#;

#[test]
fn reg_01_nobody_is_invited_who_is_not_registered() {
    let mut bench = knowing(|_| {});
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    assert!(only(&sent, a()).starts_with("SIP/2.0 480"), "{sent:?}");
    assert!(sent.iter().all(|(to, _)| *to == a()), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    assert_eq!(bench.engine.counters().unregistered, 1);
    register(&mut bench, "B1", "audio", 600);
    let sent = bench.give(a(), &invite_bob("2", OFFER).replace("call-a", "call-2"));
    assert!(only(&sent, b()).starts_with("INVITE"), "{sent:?}");
    // Its registration expires.
    bench.wait(Duration::from_secs(601));
    let sent = bench.give(a(), &invite_bob("3", OFFER).replace("call-a", "call-3"));
    assert!(only(&sent, a()).starts_with("SIP/2.0 480"), "{sent:?}");
}

#[test]
fn reg_01_without_knowledge_of_users_everybody_is_invited() {
    let mut bench = Bench::new(|settings| settings.role = Role::Terminating);
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    assert!(only(&sent, b()).starts_with("INVITE"), "{sent:?}");
    let sent = register(&mut bench, "B1", "audio", 600);
    assert!(only(&sent, b()).starts_with("SIP/2.0 40"), "{sent:?}");
}

#[test]
fn reg_02_new_capabilities_change_the_next_decision() {
    let mut bench = known(&[("B1", "audio;video"), ("B2", "audio")]);
    let video = OFFER.replace("m=audio 4000 RTP/AVP 0", "m=video 4000 RTP/AVP 31");
    let sent = bench.give(a(), &invite_bob("1", &video));
    let first = only(&sent, b());
    assert_eq!(responses(&first, "Reject-Contact").len(), 1, "{first}");
    assert!(first.contains("<urn:uuid:B2>"), "{first}");
    register(&mut bench, "B1", "audio", 600);
    register(&mut bench, "B2", "audio;video", 600);
    let sent = bench.give(a(), &invite_bob("2", &video).replace("call-a", "call-2"));
    let second = only(&sent, b());
    assert!(second.contains("<urn:uuid:B1>"), "{second}");
    assert!(!second.contains("<urn:uuid:B2>"), "{second}");
}

#[test]
fn reg_03_a_registered_address_is_one_that_is_invited() {
    let mut bench = knowing(|_| {});
    // No word of a device: the address alone.
    let sent = register_with(&mut bench, "", 600, "", "");
    assert!(sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 200")));
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    let invite = only(&sent, b());
    assert!(
        invite.starts_with("INVITE sip:b@127.0.0.1:5002"),
        "{invite}"
    );
    assert!(!invite.contains("Reject-Contact"), "{invite}");
}

#[test]
fn reg_04_a_users_addresses_are_one_user() {
    let mut bench = knowing(|_| {});
    let answer = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK-u\r\nFrom: <sip:b@127.0.0.1>;tag=u\r\n\
                  To: <sip:b@127.0.0.1>;tag=s\r\nCall-ID: u\r\nCSeq: 1 REGISTER\r\n\
                  P-Associated-URI: <sip:b@127.0.0.1>, <tel:+1-555>\r\n\
                  Contact: <sip:b@192.0.2.1>;expires=600;+sip.instance=\"<urn:uuid:B1>\";audio\r\n\
                  Content-Length: 0\r\n\r\n";
    register_with(&mut bench, "message/sip", 600, answer, "");
    for (n, uri) in [
        "sip:+1555@127.0.0.1:5002;user=phone",
        "sip:b@127.0.0.1:5002",
    ]
    .iter()
    .enumerate()
    {
        let call = format!("call-{n}");
        let invite = invite_bob(&call, OFFER).replace("call-a", &call);
        let sent = bench.give(a(), &invite.replacen("sip:b@127.0.0.1:5002", uri, 1));
        assert!(only(&sent, b()).starts_with("INVITE"), "{uri}: {sent:?}");
    }
    assert_eq!(bench.engine.registrar.devices.users(), 1);
}

#[test]
fn reg_05_a_third_party_register_is_confirmed_and_its_end_removes_the_device() {
    let mut bench = known(&[("B1", "audio"), ("B2", "audio")]);
    let ok = register(&mut bench, "B1", "audio", 0);
    let ok = only(&ok, b());
    assert!(
        ok.starts_with("SIP/2.0 200 OK") && ok.contains("CSeq: 1 REGISTER"),
        "{ok}"
    );
    assert!(!tag_of(&ok, "To").is_empty(), "{ok}");
    let excluded = bench
        .engine
        .registrar
        .devices
        .find("sip:b@127.0.0.1")
        .unwrap();
    let left: Vec<String> = bench
        .engine
        .registrar
        .devices
        .of(excluded, bench.now)
        .filter_map(|device| device.instance.clone())
        .collect();
    assert_eq!(left, ["urn:uuid:B2"]);
    register(&mut bench, "B2", "audio", 0);
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    assert!(only(&sent, a()).starts_with("SIP/2.0 480"), "{sent:?}");
}

#[test]
fn reg_05_a_register_of_a_stranger_or_of_nobody_is_refused() {
    let mut bench = knowing(|settings| {
        let registration = settings.registration.as_mut().unwrap();
        registration.trusted = vec!["192.0.2.0/24".to_owned().try_into().unwrap()];
    });
    let sent = register(&mut bench, "B1", "audio", 600);
    assert!(only(&sent, b()).starts_with("SIP/2.0 403"), "{sent:?}");
    assert_eq!(bench.engine.counters().registers_refused, 1);
    assert_eq!(bench.engine.registrar.devices.users(), 0);
}

#[test]
fn reg_05_users_beyond_the_maximum_are_told_to_come_back() {
    let mut bench = knowing(|settings| {
        settings.registration.as_mut().unwrap().users_max = 1;
    });
    register(&mut bench, "B1", "audio", 600);
    let other = register_with(&mut bench, "", 600, "", "sip:c@127.0.0.1");
    let refused = only(&other, b());
    assert!(refused.starts_with("SIP/2.0 503"), "{refused}");
    assert!(refused.contains("Retry-After: 5\r\n"), "{refused}");
    assert_eq!(bench.engine.counters().full_users, 1);
    for n in 0..100 {
        register(&mut bench, &format!("D{n}"), "audio", 600);
    }
    let user = bench
        .engine
        .registrar
        .devices
        .find("sip:b@127.0.0.1")
        .unwrap();
    let devices = bench.engine.registrar.devices.of(user, bench.now).count();
    assert_eq!(devices, crate::limits::DEVICES_PER_USER);
    assert!(bench.engine.counters().full_devices > 0);
}

#[test]
fn reg_06_the_first_device_alone_leads_to_a_subscription() {
    let mut bench = knowing(|_| {});
    let sent = register(&mut bench, "B1", "audio", 600);
    let subscribes = |sent: &[(SocketAddr, String)]| {
        let subscribes = sent
            .iter()
            .filter(|(_, text)| text.starts_with("SUBSCRIBE"));
        subscribes.count()
    };
    assert_eq!(subscribes(&sent), 1, "{sent:?}");
    let sent = register(&mut bench, "B2", "audio", 600);
    assert_eq!(subscribes(&sent), 0, "{sent:?}");
    let subscribe = bench.subscribe.clone();
    bench.give(b(), &answer(&subscribe, 200, "OK", ""));
    let sent = register(&mut bench, "B3", "audio", 600);
    assert_eq!(subscribes(&sent), 0, "{sent:?}");
}

#[test]
fn reg_07_full_and_partial_information_and_gaps_are_understood() {
    let (mut bench, mut notifier) = subscribed();
    let sent = notifier.notify(
        &mut bench,
        &reginfo(1, "full", &[("1", "B1", "active"), ("2", "B2", "active")]),
    );
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"), "{sent:?}");
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B1", "urn:uuid:B2"]);
    notifier.notify(
        &mut bench,
        &reginfo(2, "partial", &[("1", "B1", "terminated")]),
    );
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B2"]);
    // An old document changes nothing.
    let sent = notifier.notify(&mut bench, &reginfo(1, "full", &[]));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"), "{sent:?}");
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B2"]);
    // Document 3 was lost.
    let sent = notifier.notify(&mut bench, &reginfo(4, "partial", &[("3", "B3", "active")]));
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B2"]);
    let refresh = sent.iter().find(|(_, text)| text.starts_with("SUBSCRIBE"));
    let refresh = &refresh.unwrap_or_else(|| panic!("{sent:?}")).1;
    assert_eq!(tag_of(refresh, "To"), "core", "{refresh}");
    assert!(refresh.contains("CSeq: 2 SUBSCRIBE"), "{refresh}");
    bench.give(
        b(),
        &with(&answer(refresh, 200, "OK", ""), "Expires: 3600\r\n"),
    );
    notifier.notify(&mut bench, &reginfo(5, "full", &[("3", "B3", "active")]));
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B3"]);
    let sent = notifier.notify(&mut bench, "<reginfo");
    assert!(
        sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 400")),
        "{sent:?}"
    );
    assert_eq!(bench.engine.counters().reginfo_unreadable, 1);
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B3"]);
}

#[test]
fn reg_08_the_subscription_goes_to_the_users_address() {
    let mut bench = knowing(|_| {});
    register(&mut bench, "B1", "audio", 600);
    let subscribe = bench.subscribe.clone();
    assert!(
        subscribe.starts_with("SUBSCRIBE sip:b@127.0.0.1 SIP/2.0\r\n"),
        "{subscribe}"
    );
    assert_eq!(header(&subscribe, "Event"), "reg");
    assert_eq!(header(&subscribe, "Accept"), "application/reginfo+xml");
    assert_eq!(header(&subscribe, "To"), "<sip:b@127.0.0.1>");
    assert_eq!(header(&subscribe, "Expires"), "3600");
    assert!(!header(&subscribe, "Contact").is_empty(), "{subscribe}");
}

#[test]
fn reg_09_without_a_subscription_the_registers_alone_count() {
    let mut bench = knowing(|_| {});
    register(&mut bench, "B1", "audio", 600);
    let subscribe = bench.subscribe.clone();
    bench.give(b(), &answer(&subscribe, 403, "Forbidden", ""));
    assert_eq!(bench.engine.counters().subscriptions_refused, 1);
    let sent = register(&mut bench, "B2", "video", 600);
    assert!(
        !sent.iter().any(|(_, text)| text.starts_with("SUBSCRIBE")),
        "{sent:?}"
    );
    assert!(bench.wait(Duration::from_secs(500)).is_empty());
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    let invite = only(&sent, b());
    assert!(
        invite.contains("Reject-Contact: *;+sip.instance=\"<urn:uuid:B2>\"\r\n"),
        "{invite}"
    );
}

#[test]
fn reg_10_an_ended_subscription_is_made_again_later_and_later() {
    let (mut bench, mut notifier) = subscribed();
    let sent = notifier.notify(&mut bench, &reginfo(1, "full", &[("1", "B1", "active")]));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"), "{sent:?}");
    notifier.state = "terminated;reason=timeout".to_owned();
    let sent = notifier.notify(&mut bench, "");
    let ok = only(&sent, b());
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut waited = 0;
        let again = loop {
            let sent = bench.wait(Duration::from_secs(1));
            waited += 1;
            let again = sent.iter().find(|(_, text)| text.starts_with("SUBSCRIBE"));
            if let Some((_, again)) = again {
                break again.clone();
            }
            assert!(waited < 100, "{waits:?}");
        };
        assert_eq!(tag_of(&again, "To"), "", "{again}");
        waits.push(waited);
        bench.give(b(), &answer(&again, 480, "Temporarily Unavailable", ""));
    }
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
    assert!((5..=8).contains(&waits[0]), "{waits:?}");
}

#[test]
fn reg_10_a_subscription_is_refreshed_before_it_expires() {
    let (mut bench, mut notifier) = subscribed();
    notifier.notify(&mut bench, &reginfo(1, "full", &[("1", "B1", "active")]));
    let sent = bench.wait(Duration::from_millis(2_999_900));
    assert!(sent.is_empty(), "{sent:?}");
    let sent = bench.wait(Duration::from_millis(200));
    let refresh = only(&sent, b());
    assert!(
        refresh.starts_with("SUBSCRIBE") && tag_of(&refresh, "To") == "core",
        "{refresh}"
    );
    bench.give(
        b(),
        &with(&answer(&refresh, 200, "OK", ""), "Expires: 3600\r\n"),
    );
    // The one after it finds no dialog: a new one is made.
    let sent = bench.wait(Duration::from_millis(3_000_100));
    let refresh = only(&sent, b());
    bench.give(
        b(),
        &answer(&refresh, 481, "Subscription Does Not Exist", ""),
    );
    let sent = bench.wait(Duration::from_secs(7));
    let again = &sent[0].1;
    assert!(
        again.starts_with("SUBSCRIBE") && tag_of(again, "To").is_empty(),
        "{again}"
    );
}

#[test]
fn reg_10_a_notification_for_no_subscription_is_refused() {
    let (mut bench, mut notifier) = subscribed();
    let right = std::mem::replace(&mut notifier.from, "<sip:b@127.0.0.1>;tag=other".to_owned());
    let body = reginfo(1, "full", &[("1", "B9", "active")]);
    let sent = notifier.notify(&mut bench, &body);
    assert!(only(&sent, b()).starts_with("SIP/2.0 481"), "{sent:?}");
    notifier.from = right;
    notifier.event = "presence".to_owned();
    let sent = notifier.notify(&mut bench, &body);
    assert!(only(&sent, b()).starts_with("SIP/2.0 489"), "{sent:?}");
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B1"]);
}

#[test]
fn reg_10_a_notification_may_overtake_the_answer_to_its_subscription() {
    let mut bench = knowing(|_| {});
    register(&mut bench, "B1", "audio", 600);
    let mut notifier = forks::Notifier::of(&bench.subscribe.clone());
    let sent = notifier.notify(&mut bench, &reginfo(1, "full", &[("2", "B2", "active")]));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"), "{sent:?}");
    let subscribe = bench.subscribe.clone();
    notifier.accept(&mut bench, &subscribe);
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B2"]);
    notifier.notify(&mut bench, &reginfo(2, "partial", &[("3", "B3", "active")]));
    assert_eq!(notifier.devices(&bench), ["urn:uuid:B2", "urn:uuid:B3"]);
}

#[test]
fn reg_10_users_that_are_gone_are_forgotten() {
    let (mut bench, mut notifier) = subscribed();
    notifier.state = "terminated;reason=deactivated".to_owned();
    let gone = format!(
        "<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"1\" state=\"full\">{NOBODY}</reginfo>"
    );
    notifier.notify(&mut bench, &gone);
    assert_eq!(bench.engine.registrar.devices.users(), 0);
    assert!(bench.engine.registrar.watched.is_empty());
    bench.assert_nothing_left();
    // A user who comes back is subscribed to again.
    let sent = register(&mut bench, "B1", "audio", 600);
    assert!(
        sent.iter().any(|(_, text)| text.starts_with("SUBSCRIBE")),
        "{sent:?}"
    );
}

#[test]
fn reg_12_users_may_be_subscribed_to_before_they_register() {
    let mut bench = knowing(|settings| {
        let registration = settings.registration.as_mut().unwrap();
        registration.subscribe_when = SubscribeWhen::Provisioning;
        registration.users = vec!["sip:b@127.0.0.1:5002".into(), "sip:c@127.0.0.1:5002".into()];
    });
    let sent = bench.wait(Duration::from_millis(100));
    let uris: Vec<&str> = sent
        .iter()
        .map(|(_, text)| text.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        uris,
        ["sip:b@127.0.0.1:5002", "sip:c@127.0.0.1:5002"],
        "{sent:?}"
    );
    let mut notifier = forks::Notifier::of(&sent[0].1);
    notifier.accept(&mut bench, &sent[0].1);
    let sent = register(&mut bench, "B1", "audio", 600);
    assert!(
        !sent.iter().any(|(_, text)| text.starts_with("SUBSCRIBE")),
        "{sent:?}"
    );
    notifier.notify(
        &mut bench,
        &reginfo(1, "full", &[("1", "B1", "terminated")]),
    );
    assert!(notifier.devices(&bench).is_empty());
    // It stays, though nobody is registered.
    let sent = bench.wait(Duration::from_secs(3010));
    assert!(
        sent.iter()
            .any(|(_, text)| text.starts_with("SUBSCRIBE") && tag_of(text, "To") == "core")
    );
}

#[test]
fn reg_12_otherwise_nobody_is_subscribed_to_before_a_registration() {
    let mut bench = knowing(|settings| {
        settings.registration.as_mut().unwrap().users = vec!["sip:b@127.0.0.1:5002".into()];
    });
    assert!(bench.wait(Duration::from_secs(3600)).is_empty());
}

#[test]
fn idn_05_an_instance_of_any_form_names_a_device() {
    let mut bench = knowing(|_| {});
    let imei = "urn:gsma:imei:90420156-025763-0";
    for (instance, tags) in [
        (imei, "video"),
        ("MyPhone-7", "video"),
        ("urn:uuid:B1", "audio"),
    ] {
        register(&mut bench, instance, tags, 600);
    }
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    let invite = only(&sent, b());
    let rejected = responses(&invite, "Reject-Contact");
    let expected = [
        format!("*;+sip.instance=\"<{imei}>\""),
        "*;+sip.instance=\"<MyPhone-7>\"".to_owned(),
    ];
    assert_eq!(rejected, expected, "{invite}");
    // In other letters it is the same device.
    register(&mut bench, &imei.to_uppercase(), "video", 0);
    let user = bench
        .engine
        .registrar
        .devices
        .find("sip:b@127.0.0.1")
        .unwrap();
    assert_eq!(
        bench.engine.registrar.devices.of(user, bench.now).count(),
        2
    );
}
