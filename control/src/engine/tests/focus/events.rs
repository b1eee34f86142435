//! Participant information.

use super::*;

/// A SUBSCRIBE, and the NOTIFY that follows its 200.
pub(super) fn subscribe(scene: &mut Scene, from: &str) -> (String, String) {
    let identity = scene.dialogs[from].contact.clone();
    let headers =
        "Event: conference\r\nAccept: application/conference-info+xml\r\nExpires: 600\r\n";
    let text = scene.request_text("SUBSCRIBE", (from, &identity), headers, "");
    let seen = scene.give(from, &text);
    assert_eq!(
        words(&seen),
        [format!("{from} 200"), format!("{from} NOTIFY")]
    );
    let ok = text_to(&seen, from, "200");
    assert_eq!(header(&ok, "Expires"), "600");
    (ok, text_to(&seen, from, "NOTIFY"))
}

#[test]
fn pin_06_the_first_notification_says_everything() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT, AUDIO]);
    let (ok, notify) = subscribe(&mut scene, "bob");
    assert_eq!(tag_of(&ok, "To"), tag_of(&notify, "From"));
    assert_eq!(header(&notify, "Event"), "conference");
    assert_eq!(header(&notify, "Subscription-State"), "active;expires=600");
    assert_eq!(
        header(&notify, "Content-Type"),
        "application/conference-info+xml"
    );
    for piece in [
        "state=\"full\" version=\"1\"",
        "<user-count>2</user-count>",
        &format!("<user entity=\"{}\"", uri("alice")),
        &format!("<user entity=\"{}\"", uri("bob")),
        "<type>audio</type><status>sendrecv</status>",
        "<type>message</type>",
    ] {
        assert!(notify.contains(piece), "{piece} in {notify}");
    }
    scene.answers("bob", &notify, 200, "");
    scene.end();
}

#[test]
fn pin_07_changes_are_told_with_the_next_version_and_the_end_as_the_last_word() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let (_, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 200, "");
    scene.wait(1);
    let seen = scene.inside("carol", "BYE", "", "");
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(
        notify.contains("state=\"partial\" version=\"2\""),
        "{notify}"
    );
    assert!(
        notify.contains(&uri("carol")) && !notify.contains(&uri("alice")),
        "{notify}"
    );
    assert!(
        notify.contains("disconnected</status><disconnection-method>departed"),
        "{notify}"
    );
    scene.answers("bob", &notify, 200, "");
    scene.wait(1);
    let now = scene.bench.now;
    scene.bench.engine.end_all(now);
    let sent = scene.bench.settle();
    let seen = scene.seen(sent);
    let mut last = Vec::new();
    let mut waiting: Vec<_> = seen;
    while let Some((name, what, text)) = waiting.pop() {
        if what == "BYE" || what == "NOTIFY" {
            last.push((what.clone(), text.clone()));
            let more = scene.answers(name, &text, 200, "");
            waiting.extend(more);
        }
    }
    let notify = last.iter().rfind(|(what, _)| what == "NOTIFY").unwrap();
    assert!(
        notify.1.contains("terminated;reason=noresource"),
        "{}",
        notify.1
    );
    scene.bench.assert_nothing_left();
}

#[test]
fn lve_05_the_others_are_told_who_has_departed() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let (_, notify) = subscribe(&mut scene, "alice");
    scene.answers("alice", &notify, 200, "");
    scene.wait(1);
    let seen = scene.inside("bob", "BYE", "", "");
    assert_eq!(words(&seen), ["bob 200", "alice NOTIFY"]);
    assert!(text_to(&seen, "alice", "NOTIFY").contains("departed"));
    scene.end();
}

#[test]
fn sgn_16_a_refusal_is_told_with_its_code() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let (_, notify) = subscribe(&mut scene, "alice");
    assert!(notify.contains("dialing-out"), "{notify}");
    scene.answers("alice", &notify, 200, "");
    scene.wait(1);
    let carol = text_to(&seen, "carol", "INVITE");
    let seen = scene.answers("carol", &carol, 603, "");
    let notify = text_to(&seen, "alice", "NOTIFY");
    assert!(notify.contains("failed</disconnection-method>"), "{notify}");
    assert!(notify.contains("cause=603"), "{notify}");
    scene.end();
}

#[test]
fn what_changes_in_a_short_time_is_told_in_one() {
    let mut scene = Scene::talking(&["alice", "bob", "carol", "dave"], &[CHAT]);
    let (_, notify) = subscribe(&mut scene, "alice");
    scene.answers("alice", &notify, 200, "");
    for name in ["bob", "carol"] {
        let seen = scene.inside(name, "BYE", "", "");
        assert_eq!(words(&seen), [format!("{name} 200")]);
    }
    let seen = scene.wait(1);
    let notify = seen
        .iter()
        .find(|(_, what, _)| what == "NOTIFY")
        .unwrap()
        .2
        .clone();
    assert!(
        notify.contains(&uri("bob")) && notify.contains(&uri("carol")),
        "{notify}"
    );
    assert!(notify.contains("version=\"2\""), "{notify}");
    scene.end();
}

#[test]
fn pin_05_strangers_and_other_packages_are_refused() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let identity = scene.dialogs["bob"].contact.clone();
    let conference = "Event: conference\r\n";
    let text = scene.request_text("SUBSCRIBE", ("erin", &identity), conference, "");
    assert_eq!(words(&scene.give("erin", &text)), ["erin 403"]);
    let text = scene.request_text("SUBSCRIBE", ("bob", &identity), "Event: presence\r\n", "");
    assert_eq!(words(&scene.give("bob", &text)), ["bob 489"]);
    let text = scene.request_text(
        "SUBSCRIBE",
        ("bob", &identity),
        "Event: conference\r\nExpires: 5\r\n",
        "",
    );
    assert_eq!(words(&scene.give("bob", &text)), ["bob 423"]);
    scene.end();
    let text = scene.request_text("SUBSCRIBE", ("bob", &identity), conference, "");
    assert_eq!(words(&scene.give("bob", &text)), ["bob 481"]);
}

#[test]
fn pin_08_a_subscription_whose_notification_is_refused_is_dropped() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let (_, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 481, "");
    scene.wait(1);
    let seen = scene.inside("carol", "BYE", "", "");
    assert_eq!(words(&seen), ["carol 200"]);
    scene.end();
}

#[test]
fn pin_02_a_subscription_is_found_by_the_sessions_identity_refreshed_and_ended() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let (ok, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 200, "");
    let parts = [
        header(&ok, "From"),
        header(&ok, "To"),
        header(&ok, "Call-ID"),
        "127.0.0.1:5002",
    ];
    let refresh = "Event: conference\r\nExpires: 300\r\nContact: <sip:bob@127.0.0.1:5002>\r\n";
    let text = in_dialog("SUBSCRIBE", 5, parts, refresh, "");
    let seen = scene.give("bob", &text);
    assert_eq!(words(&seen), ["bob 200", "bob NOTIFY"]);
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(notify.contains("state=\"full\" version=\"2\""), "{notify}");
    scene.answers("bob", &notify, 200, "");
    let text = in_dialog("SUBSCRIBE", 6, parts, &refresh.replace("300", "0"), "");
    let seen = scene.give("bob", &text);
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(notify.contains("terminated;reason=timeout"), "{notify}");
    scene.answers("bob", &notify, 200, "");
    scene.end();
}

#[test]
fn a_refresh_that_crosses_the_last_notification_comes_too_late() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let (ok, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 200, "");
    let parts = [
        header(&ok, "From"),
        header(&ok, "To"),
        header(&ok, "Call-ID"),
        "127.0.0.1:5002",
    ];
    let refresh = "Event: conference\r\nExpires: 300\r\nContact: <sip:bob@127.0.0.1:5002>\r\n";
    let text = in_dialog("SUBSCRIBE", 5, parts, &refresh.replace("300", "0"), "");
    let seen = scene.give("bob", &text);
    let last = text_to(&seen, "bob", "NOTIFY");
    assert!(last.contains("terminated;reason=timeout"), "{last}");
    let text = in_dialog("SUBSCRIBE", 6, parts, refresh, "");
    assert_eq!(words(&scene.give("bob", &text)), ["bob 481"]);
    assert!(scene.answers("bob", &last, 200, "").is_empty());
    scene.end();
}

#[test]
fn pin_01_and_04_a_subscription_by_the_groups_address_is_served_here() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let headers = "Event: conference\r\n";
    let text = scene.request_text("SUBSCRIBE", ("bob", TEAM), headers, "");
    assert_eq!(words(&scene.give("bob", &text)), ["bob 200", "bob NOTIFY"]);
    scene.end();
    let text = scene.request_text("SUBSCRIBE", ("bob", TEAM), headers, "");
    assert_eq!(words(&scene.give("bob", &text)), ["bob 480"]);
}

#[test]
fn pin_04_a_subscription_that_is_addressed_to_this_server_is_not_passed_on() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    subscribe(&mut scene, "alice");
    assert_eq!(scene.bench.engine.counters().proxied, 0);
    scene.end();
}

#[test]
fn pin_03_a_subscription_to_another_servers_session_is_passed_on() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let other = "sip:cpm-session-other@127.0.0.1:5002";
    let text = scene.request_text("SUBSCRIBE", ("alice", other), "Event: conference\r\n", "");
    let seen = scene.give("alice", &text);
    let passed = text_to(&seen, "bob", "SUBSCRIBE");
    assert!(
        passed.starts_with(&format!("SUBSCRIBE {other}")),
        "{passed}"
    );
    assert!(!header(&passed, "Record-Route").is_empty(), "{passed}");
}

#[test]
fn rem_03_who_is_removed_is_told_nothing_more_of_the_others() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let (_, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 200, "");
    scene.wait(1);
    let remove = removal("bob");
    let seen = scene.inside("alice", "REFER", &remove, "");
    let bye = text_to(&seen, "bob", "BYE");
    if let Some((_, _, notify)) = seen.iter().find(|(_, what, _)| what == "NOTIFY") {
        scene.answers("bob", notify, 200, "");
    }
    let seen = scene.answers("bob", &bye, 200, "");
    let last = text_to(&seen, "bob", "NOTIFY");
    assert!(last.contains("terminated;reason=rejected"), "{last}");
    scene.answers("bob", &last, 200, "");
    let seen = scene.inside("carol", "BYE", "", "");
    assert_eq!(words(&seen), ["carol 200"]);
    assert!(words(&scene.wait(2)).is_empty());
    scene.end();
}

#[test]
fn who_is_refused_is_news_for_nobody() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
    let (_, notify) = subscribe(&mut scene, "alice");
    scene.answers("alice", &notify, 200, "");
    scene.wait(2);
    let seen = scene.invite("bob", TEAM, "", &sdp(&["m=audio 4000 RTP/AVP 18\r\n"]));
    assert_eq!(words(&seen), ["bob 488"]);
    assert!(words(&scene.wait(2)).iter().all(|one| one == "bob 488"));
    scene.end();
}
