//! Pager Mode messages to a group.

use super::*;

const IDS: &str =
    "Conversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\nContent-Type: message/cpim\r\n";
const BODY: &str = "From: <sip:alice@x>\r\n\r\nContent-Type: text/plain\r\n\r\nhello";

#[test]
fn msg_07_a_stranger_writes_to_nobody() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let text = scene.request_text("MESSAGE", ("erin", TEAM), IDS, BODY);
    assert_eq!(words(&scene.give("erin", &text)), ["erin 403"]);
    scene.bench.assert_nothing_left();
}

#[test]
fn msg_08_the_sender_is_answered_without_waiting_for_the_members() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let text = scene.request_text("MESSAGE", ("alice", TEAM), IDS, BODY);
    let seen = scene.give("alice", &text);
    assert_eq!(words(&seen)[0], "alice 202");
    let mut scene = Scene::with(&["alice", "bob"], |base, _| base.message_ack = 200);
    let text = scene.request_text("MESSAGE", ("alice", TEAM), IDS, BODY);
    assert_eq!(
        words(&scene.give("alice", &text)),
        ["alice 200", "bob MESSAGE"]
    );
}

#[test]
fn msg_09_every_other_member_gets_it_whatever_becomes_of_it_elsewhere() {
    let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
    let text = scene.request_text("MESSAGE", ("bob", TEAM), IDS, BODY);
    let seen = scene.give("bob", &text);
    assert_eq!(
        words(&seen),
        ["bob 202", "alice MESSAGE", "carol MESSAGE", "dave MESSAGE"]
    );
    for name in ["alice", "carol", "dave"] {
        let message = text_to(&seen, name, "MESSAGE");
        assert!(
            header(&message, "From").starts_with(&format!("<{TEAM}>")),
            "{message}"
        );
        assert_eq!(header(&message, "Referred-By"), format!("<{}>", uri("bob")));
        assert!(IDS.lines().all(|line| message.contains(line)), "{message}");
        assert!(message.ends_with(BODY), "{message}");
        let code = if name == "alice" { 500 } else { 200 };
        assert!(scene.answers(name, &message, code, "").is_empty());
    }
    assert!(scene.bench.acts.is_empty());
    scene.bench.assert_nothing_left();
}

/// A message that asks for notifications.
fn asking(from: &str, id: &str, wants: &str) -> String {
    format!(
        "From: <{}>\r\nTo: <{TEAM}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {id}\r\n\
         DateTime: 2026-11-21T12:00:00Z\r\nimdn.Disposition-Notification: {wants}\r\n\r\n\
         Content-Type: text/plain\r\n\r\nhello",
        uri(from)
    )
}

/// A member's notification of it, on its way by the group.
fn telling(from: &str, id: &str, status: &str) -> String {
    let own = uri(from);
    format!(
        "From: <{own}>\r\nTo: <{}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: own-{from}\r\n\
         imdn.IMDN-Route: <{TEAM}>\r\n\r\nContent-Type: message/imdn+xml\r\n\
         Content-Disposition: notification\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
         <message-id>{id}</message-id><recipient-uri>{own}</recipient-uri>\
         <delivery-notification><status><{status}/></status></delivery-notification></imdn>",
        uri("alice")
    )
}

const CPIM: &str = "Conversation-ID: f81d4fae\r\nContent-Type: message/cpim\r\n";
const BOTH: &str = "positive-delivery, negative-delivery";

impl Scene {
    /// Alice writes to the group; what each of the others was sent.
    fn alice_writes(&mut self, id: &str, wants: &str) -> Seen {
        let body = asking("alice", id, wants);
        let text = self.request_text("MESSAGE", ("alice", TEAM), CPIM, &body);
        let seen = self.give("alice", &text);
        assert_eq!(seen[0].1, "202");
        seen
    }

    /// A member tells the group what became of a message.
    fn tells(&mut self, from: &str, id: &str, status: &str) -> Seen {
        let body = telling(from, id, status);
        let text = self.request_text("MESSAGE", (from, TEAM), CPIM, &body);
        self.give(from, &text)
    }
}

#[test]
fn dn_05_who_asked_for_it_is_told_which_member_a_message_failed_for_once() {
    for (wants, is_told) in [(BOTH, true), ("positive-delivery", false)] {
        let mut scene = Scene::new(&["alice", "bob", "carol", "dave"]);
        let seen = scene.alice_writes("34jk", wants);
        for (name, code) in [("bob", 200), ("carol", 480), ("dave", 200)] {
            let message = text_to(&seen, name, "MESSAGE");
            let route = format!("imdn.IMDN-Record-Route: <{TEAM}>\r\n");
            assert!(message.contains(&route), "{message}");
            let after = scene.answers(name, &message, code, "");
            if code == 200 || !is_told {
                assert!(after.is_empty(), "{after:?}");
                continue;
            }
            assert_eq!(words(&after), ["alice MESSAGE"]);
            let imdn = text_to(&after, "alice", "MESSAGE");
            for part in [
                format!("From: <{TEAM}>\r\nTo: <{}>\r\n", uri("alice")),
                format!("<recipient-uri>{}</recipient-uri>", uri("carol")),
                format!("<original-recipient-uri>{TEAM}</original-recipient-uri>"),
                "<message-id>34jk</message-id>".to_owned(),
                "<status><failed/></status>".to_owned(),
                "Conversation-ID: f81d4fae\r\n".to_owned(),
            ] {
                assert!(imdn.contains(&part), "{part} in {imdn}");
            }
            scene.answers("alice", &imdn, 200, "");
            // Her own network says so, too: once is enough.
            assert_eq!(
                words(&scene.tells("carol", "34jk", "failed")),
                ["carol 200"]
            );
        }
        scene.bench.assert_nothing_left();
    }
    let mut scene = Scene::with(&["alice", "bob"], |base, _| base.notify_failures = false);
    let seen = scene.alice_writes("34jk", BOTH);
    let message = text_to(&seen, "bob", "MESSAGE");
    assert!(scene.answers("bob", &message, 480, "").is_empty());
    // Nobody answers at all.
    let mut scene = Scene::new(&["alice", "bob"]);
    scene.alice_writes("34jk", BOTH);
    let seen = scene.wait(32);
    assert!(text_to(&seen, "alice", "MESSAGE").contains("<failed/>"));
}

#[test]
fn dn_06_notifications_to_the_group_reach_who_wrote_and_nobody_else() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.alice_writes("34jk", BOTH);
    for name in ["bob", "carol"] {
        let message = text_to(&seen, name, "MESSAGE");
        scene.answers(name, &message, 200, "");
    }
    for name in ["bob", "carol"] {
        let after = scene.tells(name, "34jk", "delivered");
        assert_eq!(
            words(&after),
            [format!("{name} 200"), "alice MESSAGE".to_owned()]
        );
        let imdn = text_to(&after, "alice", "MESSAGE");
        assert!(
            imdn.contains(&format!("<recipient-uri>{}<", uri(name))),
            "{imdn}"
        );
        assert!(!imdn.contains("IMDN-Route"), "{imdn}");
        assert!(
            header(&imdn, "From").starts_with(&format!("<{TEAM}>")),
            "{imdn}"
        );
        scene.answers("alice", &imdn, 200, "");
    }
    // Of a message that nobody knows, and from somebody who has no part in the group.
    assert_eq!(
        words(&scene.tells("bob", "other", "delivered")),
        ["bob 404"]
    );
    assert_eq!(
        words(&scene.tells("erin", "34jk", "delivered")),
        ["erin 403"]
    );
    // Bob writes with the same Message-ID: alice's notifications stay hers.
    let body = asking("bob", "34jk", BOTH);
    let text = scene.request_text("MESSAGE", ("bob", TEAM), CPIM, &body);
    let seen = scene.give("bob", &text);
    for name in ["alice", "carol"] {
        let message = text_to(&seen, name, "MESSAGE");
        scene.answers(name, &message, 200, "");
    }
    let after = scene.tells("carol", "34jk", "displayed");
    assert_eq!(words(&after), ["carol 200", "alice MESSAGE"]);
    let imdn = text_to(&after, "alice", "MESSAGE");
    scene.answers("alice", &imdn, 200, "");
    scene.bench.assert_nothing_left();
}

#[test]
fn dn_07_notifications_of_some_time_go_as_one_where_the_policy_says_so() {
    let mut scene = Scene::with(&["alice", "bob", "carol", "dave"], |base, _| {
        base.notices_window = Duration::from_secs(2);
    });
    let seen = scene.alice_writes("34jk", BOTH);
    for (name, code) in [("bob", 200), ("carol", 200), ("dave", 480)] {
        let message = text_to(&seen, name, "MESSAGE");
        assert!(scene.answers(name, &message, code, "").is_empty());
    }
    for name in ["bob", "carol"] {
        assert_eq!(
            words(&scene.tells(name, "34jk", "delivered")),
            [format!("{name} 200")]
        );
    }
    let seen = scene.wait(3);
    let imdn = text_to(&seen[..1].to_vec(), "alice", "MESSAGE");
    assert!(
        imdn.contains("Content-Type: multipart/mixed;boundary="),
        "{imdn}"
    );
    assert_eq!(
        imdn.matches("Content-Type: message/imdn+xml\r\n").count(),
        3
    );
    for name in ["bob", "carol", "dave"] {
        assert!(
            imdn.contains(&format!("<recipient-uri>{}<", uri(name))),
            "{imdn}"
        );
    }
    scene.answers("alice", &imdn, 200, "");
    // Later ones are told later.
    assert_eq!(words(&scene.tells("bob", "34jk", "displayed")), ["bob 200"]);
    let seen = scene.wait(3);
    let imdn = text_to(&seen[..1].to_vec(), "alice", "MESSAGE");
    scene.answers("alice", &imdn, 200, "");
    scene.bench.assert_nothing_left();
}

#[test]
fn con_14_a_group_answers_for_itself_as_it_is_told_to() {
    for code in [202, 200] {
        let mut scene = Scene::with(&["alice", "bob"], |base, _| base.message_ack = code);
        let text = scene.request_text("MESSAGE", ("alice", TEAM), IDS, BODY);
        let seen = scene.give("alice", &text);
        assert_eq!(
            words(&seen),
            [format!("alice {code}"), "bob MESSAGE".to_owned()]
        );
    }
}

#[test]
fn notifications_that_come_in_one_are_each_told_to_whom_they_concern() {
    for window in [0, 2] {
        let mut scene = Scene::with(&["alice", "bob", "carol"], |base, _| {
            base.notices_window = Duration::from_secs(window);
        });
        let ids: Vec<String> = (0..20).map(|number| format!("id{number}.")).collect();
        for id in &ids {
            let seen = scene.alice_writes(id, BOTH);
            for name in ["bob", "carol"] {
                let message = text_to(&seen, name, "MESSAGE");
                scene.answers(name, &message, 200, "");
            }
        }
        let documents: String = ids
            .iter()
            .chain([&"unknown".to_owned()])
            .map(|id| {
                let one = telling("bob", id, "delivered");
                let (_, document) = one.split_once("notification\r\n\r\n").unwrap();
                format!("--b\r\nContent-Type: message/imdn+xml\r\n\r\n{document}\r\n")
            })
            .collect();
        let head = "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: own\r\n\r\n\
            Content-Type: multipart/mixed;boundary=b\r\n\r\n";
        let body = format!("{head}{documents}--b--\r\n");
        let text = scene.request_text("MESSAGE", ("bob", TEAM), CPIM, &body);
        let mut seen = scene.give("bob", &text);
        assert_eq!(words(&seen)[0], "bob 200");
        seen.extend(scene.wait(window + 1));
        let first_sent: Vec<&str> = seen
            .iter()
            .filter(|(to, what, _)| *to == "alice" && what == "MESSAGE")
            .map(|(_, _, text)| text.as_str())
            .collect();
        for id in &ids {
            let told = first_sent
                .iter()
                .any(|text| text.contains(&format!("<message-id>{id}<")));
            assert!(told, "{id} with a window of {window}: {seen:#?}");
        }
        assert!(!first_sent.iter().any(|text| text.contains("unknown")));
    }
}

#[test]
fn a_notification_that_cannot_be_read_is_refused_and_no_message_to_the_members() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let one = telling("bob", "34jk", "delivered").replace("</message-id>", "<");
    let (head, document) = one.rsplit_once("\r\n\r\n").unwrap();
    let (head, _) = head.rsplit_once("Content-Type").unwrap();
    let part = format!("--x\r\nContent-Type: message/imdn+xml\r\n\r\n{document}\r\n");
    let several =
        format!("{head}Content-Type: multipart/mixed;boundary=x\r\n\r\n{part}{part}--x--\r\n");
    for body in [one, several] {
        let text = scene.request_text("MESSAGE", ("bob", TEAM), CPIM, &body);
        assert_eq!(words(&scene.give("bob", &text)), ["bob 400"], "{body}");
    }
    scene.bench.assert_nothing_left();
}

#[test]
fn what_was_acknowledged_goes_at_once_where_too_much_waits_and_none_of_it_is_lost() {
    let mut scene = Scene::with(&["alice", "bob"], |base, _| {
        base.notices_window = Duration::from_secs(60);
    });
    let most = crate::limits::NOTICES_WAITING;
    for number in 0..=most {
        let id = format!("id{number}");
        let seen = scene.alice_writes(&id, BOTH);
        let message = text_to(&seen, "bob", "MESSAGE");
        scene.answers("bob", &message, 200, "");
        let after = scene.tells("bob", &id, "delivered");
        let due: &[&str] = match number < most {
            true => &["bob 200"],
            false => &["bob 200", "alice MESSAGE"],
        };
        assert_eq!(words(&after), due, "after {number}");
        if number == most {
            scene.answers("alice", &text_to(&after, "alice", "MESSAGE"), 200, "");
        }
    }
    assert_eq!(scene.bench.engine.counters.full_notices, 1);
    let told = scene.wait(61);
    for number in 0..most {
        let id = format!("<message-id>id{number}<");
        assert!(told.iter().any(|(_, _, text)| text.contains(&id)), "{id}");
    }
}

#[test]
fn a_message_keeps_little_of_itself_until_its_notifications_come() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let long = "x".repeat(2000);
    let body = asking("alice", "34jk", BOTH)
        .replace("2026-11-21T12:00:00Z", &long)
        .replacen(&uri("alice"), &format!("sip:{long}@x"), 1);
    let headers = format!("Subject: {long}\r\nContribution-ID: {long}\r\n{CPIM}");
    let text = scene.request_text("MESSAGE", ("alice", TEAM), &headers, &body);
    let seen = scene.give("alice", &text);
    let message = text_to(&seen, "bob", "MESSAGE");
    assert!(message.contains(&long), "it goes on as it came");
    let after = scene.answers("bob", &message, 480, "");
    let imdn = text_to(&after, "alice", "MESSAGE");
    assert!(!imdn.contains(&long), "{imdn}");
    assert!(imdn.contains("Conversation-ID: f81d4fae\r\n"), "{imdn}");
    assert!(
        imdn.contains(&format!("To: <{}>\r\n", uri("alice"))),
        "{imdn}"
    );
}
