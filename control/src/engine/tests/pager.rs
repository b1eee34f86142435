//! Pager Mode messages and their notifications, as Participating Function.

use super::forks::{knowing, register};
use super::*;
use crate::cpm::policy::SeveralDevices;

const ALICE: &str = "sip:a@127.0.0.1:5001";
const BOB: &str = "sip:b@127.0.0.1:5002";
const ORIG: &str = "Conversation-ID: f81d4fae\r\n";
const TERM: &str = "P-Served-User: <sip:b@127.0.0.1:5002>;sescase=term\r\n";
const BOTH: &str = "positive-delivery, negative-delivery";

/// A message of alice's that asks for notifications.
fn asking(id: &str, wants: &str) -> String {
    format!(
        "From: <{ALICE}>\r\nTo: <{BOB}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {id}\r\n\
         DateTime: 2026-11-21T12:00:00Z\r\nimdn.Disposition-Notification: {wants}\r\n\r\n\
         Content-Type: text/plain\r\n\r\nhello"
    )
}

/// A notification of bob's of that message.
fn telling(id: &str, status: &str) -> String {
    let kind = match status {
        "displayed" => "display-notification",
        _ => "delivery-notification",
    };
    format!(
        "From: <{BOB}>\r\nTo: <{ALICE}>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: own-{id}-{status}\r\n\r\nContent-Type: message/imdn+xml\r\n\
         Content-Disposition: notification\r\n\r\n<?xml version=\"1.0\"?>\
         <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>{id}</message-id>\
         <datetime>2026-11-21T12:00:00Z</datetime><recipient-uri>{BOB}</recipient-uri>\
         <{kind}><status><{status}/></status></{kind}></imdn>"
    )
}

fn message(branch: &str, (from, to): (&str, &str), headers: &str, body: &str) -> String {
    let at = if from == ALICE { a() } else { b() };
    format!(
        "MESSAGE {to} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{branch}\r\nMax-Forwards: 70\r\n\
         From: <{from}>;tag={branch}\r\nTo: <{to}>\r\nCall-ID: {branch}\r\nCSeq: 1 MESSAGE\r\n{headers}\
         Content-Type: message/cpim\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Alice's message as PF-O or PF-T gets it.
fn says(bench: &mut Bench, branch: &str, headers: &str, body: &str) -> Vec<(SocketAddr, String)> {
    bench.give(a(), &message(branch, (ALICE, BOB), headers, body))
}

/// A notification of bob's devices as his PF gets it.
fn tells(bench: &mut Bench, branch: &str, body: &str) -> Vec<(SocketAddr, String)> {
    bench.give(b(), &message(branch, (BOB, ALICE), ORIG, body))
}

/// The start lines of what is sent: `5001 200`, `5002 MESSAGE`.
fn words(sent: &[(SocketAddr, String)]) -> Vec<String> {
    sent.iter()
        .map(|(to, text)| {
            let words: Vec<&str> = text.splitn(3, ' ').collect();
            let what = if words[0] == "SIP/2.0" {
                words[1]
            } else {
                words[0]
            };
            format!("{} {what}", to.port())
        })
        .collect()
}

fn message_to(sent: &[(SocketAddr, String)], to: SocketAddr) -> String {
    let mut found = sent
        .iter()
        .filter(|(at, text)| *at == to && text.starts_with("MESSAGE"));
    let first = found.next().unwrap_or_else(|| panic!("{sent:#?}"));
    assert!(found.next().is_none(), "{sent:#?}");
    first.1.clone()
}

fn body_of(text: &str) -> &str {
    text.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn msg_03_an_authorised_senders_message_goes_on_as_it_is_and_nobody_elses() {
    let body = asking("1", BOTH);
    let mut bench = Bench::new(|_| {});
    let sent = says(&mut bench, "1", ORIG, &body);
    let to_b = only(&sent, b());
    assert_eq!(body_of(&to_b), body);
    assert!(to_b.contains(ORIG), "{to_b}");
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.barred = true));
    let sent = says(&mut bench, "1", ORIG, &body);
    assert_eq!(words(&sent), ["5001 403"]);
    bench.assert_nothing_left();
}

#[test]
fn msg_04_a_message_reaches_the_client_it_is_for() {
    let mut bench = Bench::new(|_| {});
    let sent = says(&mut bench, "1", TERM, &asking("1", BOTH));
    assert_eq!(words(&sent), ["5002 MESSAGE"]);
    let mut bench = Bench::new(|settings| for_all(settings, |policy| policy.barred = true));
    assert_eq!(words(&says(&mut bench, "1", TERM, "x")), ["5001 403"]);
    bench.assert_nothing_left();
}

#[test]
fn msg_05_the_clients_answer_goes_back_the_way_the_message_came() {
    for code in [200, 480, 486] {
        let mut bench = Bench::new(|_| {});
        let sent = says(&mut bench, "1", TERM, "no head of cpim");
        let to_b = only(&sent, b());
        let sent = bench.give(b(), &answer(&to_b, code, "Any", ""));
        assert_eq!(words(&sent), [format!("5001 {code}")]);
        bench.assert_nothing_left();
    }
}

#[test]
fn msg_11_a_message_takes_nothing_of_the_data_plane() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&says(&mut bench, "1", ORIG, &asking("1", BOTH)), b());
    bench.give(b(), &answer(&to_b, 200, "OK", ""));
    assert!(bench.acts.is_empty() && bench.cdrs.is_empty());
    bench.assert_nothing_left();
}

#[test]
fn dn_02_a_delivery_notification_reaches_the_sender_and_its_answer_comes_back() {
    let mut bench = Bench::new(|_| {});
    let body = telling("1", "delivered");
    let to_a = only(&tells(&mut bench, "1", &body), a());
    assert_eq!(body_of(&to_a), body);
    let sent = bench.give(a(), &answer(&to_a, 200, "OK", ""));
    assert_eq!(words(&sent), ["5002 200"]);
    bench.assert_nothing_left();
}

#[test]
fn dn_03_where_the_client_refuses_a_message_its_sender_is_told_if_that_was_asked_for() {
    for (code, wants, may, is_told) in [
        (404, BOTH, true, true),
        (500, "negative-delivery", true, true),
        (404, "positive-delivery", true, false),
        (404, BOTH, false, false),
        (200, BOTH, true, false),
        (407, BOTH, true, false),
    ] {
        let mut bench = Bench::new(|settings| {
            for_all(settings, |policy| policy.notices.failures = may);
        });
        let to_b = only(&says(&mut bench, "1", TERM, &asking("34&jk", wants)), b());
        let sent = bench.give(b(), &answer(&to_b, code, "Any", ""));
        let told = sent
            .iter()
            .filter(|(_, text)| text.starts_with("MESSAGE"))
            .count();
        assert_eq!(told, usize::from(is_told), "{code} {wants}: {sent:#?}");
        if is_told {
            let imdn = message_to(&sent, a());
            assert!(
                imdn.starts_with(&format!("MESSAGE {ALICE} SIP/2.0")),
                "{imdn}"
            );
            for part in [
                format!("P-Asserted-Identity: <{BOB}>\r\n"),
                format!("From: <{BOB}>\r\nTo: <{ALICE}>\r\n"),
                "Content-Type: message/imdn+xml\r\n".to_owned(),
                "<message-id>34&amp;jk</message-id>".to_owned(),
                format!("<recipient-uri>{BOB}</recipient-uri>"),
                "<datetime>2026-11-21T12:00:00Z</datetime>".to_owned(),
                "<delivery-notification><status><failed/></status></delivery-notification>"
                    .to_owned(),
            ] {
                assert!(imdn.contains(&part), "{part} in {imdn}");
            }
            assert!(bench.give(a(), &answer(&imdn, 200, "OK", "")).is_empty());
        }
        bench.assert_nothing_left();
    }
}

#[test]
fn dn_04_where_the_far_network_cannot_be_reached_the_sender_is_told() {
    let mut bench = Bench::new(|_| {});
    let to_b = only(&says(&mut bench, "1", ORIG, &asking("1", BOTH)), b());
    let sent = bench.give(b(), &answer(&to_b, 503, "Any", ""));
    assert!(message_to(&sent, a()).contains("<failed/>"));
    // What the far network says of the same failure is one too many.
    let own = message_to(&sent, a());
    bench.give(a(), &answer(&own, 200, "OK", ""));
    let theirs = message(
        "2",
        (BOB, ALICE),
        "P-Served-User: <sip:a@127.0.0.1>;sescase=term\r\n",
        &telling("1", "failed"),
    );
    assert_eq!(words(&bench.give(b(), &theirs)), ["5002 200"]);
    bench.assert_nothing_left();
    // Nobody answers.
    let mut bench = Bench::new(|_| {});
    says(&mut bench, "1", ORIG, &asking("1", "negative-delivery"));
    let sent = bench.wait(Duration::from_secs(32));
    assert!(
        message_to(&sent[sent.len() - 2..], a()).contains("<failed/>"),
        "{sent:#?}"
    );
    let own = sent
        .iter()
        .rfind(|(_, text)| text.starts_with("MESSAGE sip:a"));
    bench.give(a(), &answer(&own.unwrap().1, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn dn_09_of_several_devices_that_say_the_same_one_is_heard() {
    let mut bench = Bench::new(|_| {});
    for status in ["delivered", "displayed"] {
        let body = telling("1", status);
        let first = tells(&mut bench, &format!("{status}1"), &body);
        let to_a = only(&first, a());
        bench.give(a(), &answer(&to_a, 200, "OK", ""));
        for device in ["2", "3"] {
            let sent = tells(&mut bench, &format!("{status}{device}"), &body);
            assert_eq!(words(&sent), ["5002 200"], "each device is answered");
        }
    }
    let others = tells(&mut bench, "other", &telling("2", "delivered"));
    let to_a = only(&others, a());
    // It didn't get through: another device's may.
    bench.give(a(), &answer(&to_a, 500, "Any", ""));
    let again = tells(&mut bench, "again", &telling("2", "delivered"));
    bench.give(a(), &answer(&only(&again, a()), 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn dn_10_the_first_is_heard_or_the_best() {
    let with = |devices| {
        Bench::new(move |settings| for_all(settings, |policy| policy.notices.devices = devices))
    };
    let (failed, delivered) = (telling("1", "failed"), telling("1", "delivered"));
    let mut bench = with(SeveralDevices::First);
    let to_a = only(&tells(&mut bench, "1", &failed), a());
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    assert_eq!(words(&tells(&mut bench, "2", &delivered)), ["5002 200"]);
    bench.assert_nothing_left();

    let mut bench = with(SeveralDevices::Priority);
    assert_eq!(words(&tells(&mut bench, "1", &failed)), ["5002 200"]);
    assert_eq!(words(&tells(&mut bench, "2", &failed)), ["5002 200"]);
    let to_a = only(&tells(&mut bench, "3", &delivered), a());
    assert_eq!(body_of(&to_a), delivered);
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    assert!(
        bench.wait(Duration::from_secs(60)).is_empty(),
        "what failed is forgotten"
    );
    bench.assert_nothing_left();

    let mut bench = with(SeveralDevices::Priority);
    for device in ["1", "2", "3"] {
        assert_eq!(words(&tells(&mut bench, device, &failed)), ["5002 200"]);
    }
    let sent = bench.wait(Duration::from_secs(3));
    let to_a = message_to(&sent[..1], a());
    assert_eq!(body_of(&to_a), failed);
    assert!(!to_a.contains(&b().to_string()[..]) || !header(&to_a, "Via").contains("5002"));
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    bench.assert_nothing_left();

    let mut bench = with(SeveralDevices::All);
    for device in ["1", "2"] {
        let to_a = only(&tells(&mut bench, device, &failed), a());
        bench.give(a(), &answer(&to_a, 200, "OK", ""));
    }
    bench.assert_nothing_left();
}

#[test]
fn dn_11_the_sending_device_is_told_and_the_others_where_the_policy_says_so() {
    // Bob is who has written, with his device B2.
    let wrote = "P-Served-User: <sip:b@127.0.0.1>;sescase=orig\r\n\
        Contact: <sip:b@127.0.0.1:5002>;+sip.instance=\"<urn:uuid:B2>\"\r\n";
    let served = "P-Served-User: <sip:b@127.0.0.1>;sescase=term\r\n";
    for to_all in [false, true] {
        let mut bench = knowing(|settings| {
            for_all(settings, |policy| policy.notices.to_all_devices = to_all);
        });
        for device in ["B1", "B2", "B3"] {
            register(&mut bench, device, "audio", 1000);
        }
        let text = message("1", (BOB, ALICE), wrote, &asking("1", BOTH));
        let to_a = message_to(&bench.give(b(), &text), a());
        bench.give(a(), &answer(&to_a, 200, "OK", ""));
        let text = message("2", (ALICE, BOB), served, &telling("1", "delivered"));
        let sent = bench.give(a(), &text);
        let pins: Vec<String> = sent
            .iter()
            .filter(|(to, text)| *to == b() && text.starts_with("MESSAGE"))
            .map(|(_, text)| header(text, "Accept-Contact").to_owned())
            .collect();
        let due: &[&str] = if to_all { &["B1", "B3", "B2"] } else { &["B2"] };
        assert_eq!(pins.len(), due.len(), "{sent:#?}");
        for (pin, device) in pins.iter().zip(due) {
            assert_eq!(
                pin,
                &format!("*;+sip.instance=\"<urn:uuid:{device}>\";require;explicit")
            );
        }
    }
}

#[test]
fn dn_12_a_notification_is_served_by_both_functions_as_it_passes_them() {
    let core: SocketAddr = "127.0.0.1:5009".parse().unwrap();
    let mut bench = Bench::new(|settings| {
        settings.next_hop = Some(crate::cpm::routing::Hop::of("sip:127.0.0.1:5009").unwrap());
    });
    let body = telling("1", "delivered");
    let from_b = message(
        "1",
        (BOB, ALICE),
        "P-Served-User: <sip:b@x>;sescase=orig\r\n",
        &body,
    );
    let out = only(&bench.give(b(), &from_b), core);
    assert_eq!(body_of(&out), body);
    let back = out
        .replace("sip:b@x>;sescase=orig", "sip:a@x>;sescase=term")
        .replacen(
            "Via: ",
            "Via: SIP/2.0/UDP 127.0.0.1:5009;branch=z9hG4bK-core\r\nVia: ",
            1,
        )
        .replace("Max-Forwards: 69", "Max-Forwards: 68");
    let out = only(&bench.give(core, &back), core);
    assert_eq!(body_of(&out), body);
    let sent = bench.give(core, &answer(&out, 200, "OK", ""));
    let ok = only(&sent, core);
    assert!(ok.starts_with("SIP/2.0 200"));
}

#[test]
fn con_14_between_two_users_the_recipients_answer_is_the_senders() {
    let mut bench = Bench::new(|_| {});
    let sent = says(&mut bench, "1", TERM, &asking("1", BOTH));
    assert_eq!(
        words(&sent),
        ["5002 MESSAGE"],
        "nothing is acknowledged before"
    );
    let sent = bench.give(b(), &answer(&only(&sent, b()), 200, "OK", ""));
    assert_eq!(words(&sent), ["5001 200"]);
    bench.assert_nothing_left();
}

#[test]
fn con_22_by_default_what_is_good_is_told_at_once_and_what_failed_after_a_while() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(
        words(&tells(&mut bench, "1", &telling("1", "failed"))),
        ["5002 200"]
    );
    let to_a = only(&tells(&mut bench, "2", &telling("1", "delivered")), a());
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    assert_eq!(
        words(&tells(&mut bench, "3", &telling("2", "failed"))),
        ["5002 200"]
    );
    assert!(bench.wait(Duration::from_millis(1999)).is_empty());
    let sent = bench.wait(Duration::from_millis(1));
    bench.give(a(), &answer(&message_to(&sent, a()), 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_failure_goes_at_once_where_too_many_wait_and_none_of_them_is_lost() {
    let mut bench = Bench::new(|settings| {
        for_all(settings, |policy| {
            policy.notices.devices = SeveralDevices::Priority;
        });
    });
    let most = crate::limits::NOTICES_WAITING;
    for number in 0..most {
        let id = number.to_string();
        let sent = tells(&mut bench, &id, &telling(&id, "failed"));
        assert_eq!(words(&sent), ["5002 200"]);
    }
    let to_a = only(&tells(&mut bench, "more", &telling("more", "failed")), a());
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    assert_eq!(bench.engine.counters.full_notices, 1);
    // Another device says better of that message: nothing holds that up.
    let to_a = only(
        &tells(&mut bench, "better", &telling("more", "delivered")),
        a(),
    );
    bench.give(a(), &answer(&to_a, 200, "OK", ""));
    let told = bench.wait(Duration::from_secs(3));
    for number in 0..most {
        let id = format!("<message-id>{number}<");
        assert!(told.iter().any(|(_, text)| text.contains(&id)), "{id}");
    }
}
