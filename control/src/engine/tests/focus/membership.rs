//! Who joins, leaves, is added and removed.

use super::*;

#[test]
fn sgn_12_a_member_joins_the_running_session_and_nobody_else_notices() {
    let mut scene = Scene::with(&["alice", "bob", "carol", "dave"], |_, group| {
        group.banned = vec![uri("dave")];
    });
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 486, "");
    let seen = scene.invite("carol", TEAM, "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["carol 200"]);
    let ok = text_to(&seen, "carol", "200");
    assert_eq!(bare(header(&ok, "Contact")), scene.dialogs["alice"].contact);
    assert!(header(&ok, "Contact").contains("isfocus"));
    assert_eq!(scene.bench.rooms.of(4), (vec![0], vec![0]));
    scene.ack("carol", 1);
    let seen = scene.invite("dave", TEAM, "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["dave 403"]);
    scene.end();
}

#[test]
fn sgn_13_a_session_is_come_back_to_by_its_identity_until_it_ends() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let identity = scene.dialogs["bob"].contact.clone();
    let seen = scene.inside("bob", "BYE", "", "");
    assert_eq!(words(&seen), ["bob 200"]);
    let seen = scene.invite("bob", &identity, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["bob 200"]);
    scene.ack("bob", 1);
    let seen = scene.invite("erin", &identity, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["erin 403"]);
    scene.end();
    let seen = scene.invite("bob", &identity, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["bob 404"]);
}

#[test]
fn one_who_comes_in_again_takes_the_place_of_who_it_was() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let seen = scene.invite("bob", TEAM, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["bob BYE", "bob 200"]);
    let bye = text_to(&seen, "bob", "BYE");
    scene.answers("bob", &bye, 200, "");
    scene.ack("bob", 1);
    assert_eq!(scene.bench.engine.participants(), 3);
    scene.end();
}

#[test]
fn lve_03_the_leavers_media_are_released_before_its_bye_is_answered() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO, CHAT]);
    scene.bench.holds_orders = true;
    let seen = scene.inside("bob", "BYE", "", "");
    assert!(seen.is_empty(), "{seen:?}");
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["bob 200"]);
    assert_eq!(scene.bench.acts.last().unwrap(), "leave 2");
    assert_eq!(scene.bench.rooms.of(3), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn lve_04_where_policy_says_so_a_leaver_ends_it_for_all() {
    let mut scene = Scene::with(&["alice", "bob", "carol"], |_, group| {
        group.originator_leaves_ends = Some(true);
    });
    scene.begin(&["alice", "bob", "carol"], &[AUDIO]);
    let seen = scene.inside("alice", "BYE", "", "");
    assert_eq!(words(&seen), ["alice 200", "bob BYE", "carol BYE"]);
    for name in ["bob", "carol"] {
        let bye = text_to(&seen, name, "BYE");
        scene.answers(name, &bye, 200, "");
    }
    scene.bench.assert_nothing_left();

    let mut scene = Scene::with(&["alice", "bob", "carol"], |_, group| {
        group.participants_min = Some(3);
    });
    scene.begin(&["alice", "bob", "carol"], &[AUDIO]);
    let seen = scene.inside("carol", "BYE", "", "");
    assert_eq!(words(&seen), ["carol 200", "alice BYE", "bob BYE"]);
    let bye = text_to(&seen, "bob", "BYE");
    assert_eq!(header(&bye, "Reason"), "SIP;cause=410;text=\"Gone\"");
    for name in ["alice", "bob"] {
        let bye = text_to(&seen, name, "BYE");
        scene.answers(name, &bye, 200, "");
    }
    scene.bench.assert_nothing_left();
}

#[test]
fn add_04_each_listed_user_is_invited_to_what_the_session_has() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO, CHAT]);
    let list = list_of(&[uri("carol"), uri("dave")]);
    let headers = "Refer-To: <cid:x@y>\r\nRequire: multiple-refer, norefersub\r\nRefer-Sub: false\r\n\
        Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n";
    let seen = inside_with(&mut scene, "bob", headers, &list);
    assert_eq!(words(&seen), ["bob 200", "carol INVITE", "dave INVITE"]);
    let carol = text_to(&seen, "carol", "INVITE");
    assert_eq!(media_of(&carol), "audio message");
    scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(scene.bench.rooms.of(3), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn a_list_or_a_refer_can_write_no_header_fields_of_its_own() {
    let odd = "sip:x@y SIP/2.0&#13;&#10;P-Asserted-Identity: &lt;sip:boss@h&gt;&#13;&#10;X: z";
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let list = list_of(&[odd.to_owned()]);
    let headers = "Refer-To: <cid:x@y>\r\nContent-Type: application/resource-lists+xml\r\n";
    let seen = inside_with(&mut scene, "alice", headers, &list);
    assert_eq!(words(&seen), ["alice 400"]);
    // Blanks within the brackets: the INVITE's first line stays what it is.
    let refer = "Refer-To: <sip:x@127.0.0.1 SIP/2.0 Y>\r\n";
    let sent = scene.inside_text("alice", "REFER", refer, "");
    let sent = scene.bench.give(address("alice"), &sent);
    for (_, text) in sent {
        if text.starts_with("SIP/2.0") {
            continue;
        }
        let first = text.lines().next().unwrap();
        assert_eq!(first.matches(' ').count(), 2, "{first}");
        assert_eq!(text.matches("SIP/2.0 Y").count(), 0, "{text}");
    }
    let mut scene = Scene::new(&["alice"]);
    let seen = scene.invite_listed("alice", &[odd.to_owned()]);
    assert_eq!(words(&seen), ["alice 400"]);
    scene.bench.assert_nothing_left();
}

/// A REFER in a dialog, whose headers name its body's type.
fn inside_with(scene: &mut Scene, from: &str, headers: &str, body: &str) -> Seen {
    let text = scene.inside_text(from, "REFER", headers, body);
    let text = text.replace("Content-Type: application/sdp\r\n", "");
    scene.give(from, &text)
}

#[test]
fn add_05_the_outcome_is_told_inside_and_outside_of_the_dialog() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let refer = format!("Refer-To: <{}>\r\n", uri("carol"));
    let seen = scene.inside("bob", "REFER", &refer, "");
    assert_eq!(words(&seen), ["bob 202", "bob NOTIFY", "carol INVITE"]);
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(
        header(&notify, "Event").starts_with("refer;id="),
        "{notify}"
    );
    assert!(notify.ends_with("SIP/2.0 100 Trying\r\n"), "{notify}");
    scene.answers("bob", &notify, 200, "");
    let carol = text_to(&seen, "carol", "INVITE");
    let seen = scene.answers("carol", &carol, 603, "");
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(notify.contains("terminated;reason=noresource"), "{notify}");
    assert!(notify.ends_with("SIP/2.0 603 Decline\r\n"), "{notify}");
    scene.answers("bob", &notify, 200, "");

    let identity = scene.dialogs["bob"].contact.clone();
    let refer = format!("Refer-To: <{}>\r\n", uri("dave"));
    let text = scene.request_text("REFER", ("bob", &identity), &refer, "");
    let seen = scene.give("bob", &text);
    assert_eq!(words(&seen), ["bob 202", "bob NOTIFY", "dave INVITE"]);
    let accepted = text_to(&seen, "bob", "202");
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert_eq!(tag_of(&accepted, "To"), tag_of(&notify, "From"));
    scene.answers("bob", &notify, 200, "");
    let dave = text_to(&seen, "dave", "INVITE");
    let seen = scene.answers("dave", &dave, 200, &accept(&dave));
    assert_eq!(words(&seen), ["dave ACK", "bob NOTIFY"]);
    let notify = text_to(&seen, "bob", "NOTIFY");
    assert!(notify.ends_with("SIP/2.0 200 OK\r\n"), "{notify}");
    scene.answers("bob", &notify, 200, "");
    scene.end();
}

#[test]
fn add_03_who_may_not_add_or_be_added_and_whoever_is_too_many_is_refused() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.add = Some(config::Right::Owners);
        group.banned = vec![uri("erin")];
        group.participants_max = Some(3);
    });
    scene.begin(&["alice", "bob"], &[CHAT]);
    let refer = |name: &str| format!("Refer-To: <{}>\r\nRefer-Sub: false\r\n", uri(name));
    assert_eq!(
        words(&scene.inside("bob", "REFER", &refer("carol"), "")),
        ["bob 403"]
    );
    assert_eq!(
        words(&scene.inside("alice", "REFER", &refer("erin"), "")),
        ["alice 403"]
    );
    let seen = scene.inside("alice", "REFER", &refer("carol"), "");
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(
        words(&scene.inside("alice", "REFER", &refer("dave"), "")),
        ["alice 486"]
    );
    scene.end();
}

#[test]
fn add_06_participants_of_an_ad_hoc_group_may_add_others() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite_ad_hoc("alice", &["bob"]);
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let refer = format!("Refer-To: <{}>\r\nRefer-Sub: false\r\n", uri("carol"));
    let seen = scene.inside("bob", "REFER", &refer, "");
    assert_eq!(words(&seen), ["bob 200", "carol INVITE"]);
    scene.end();
}

#[test]
fn rem_03_who_is_removed_is_released_and_who_may_not_remove_changes_nothing() {
    let mut scene = Scene::talking(&["alice", "bob", "carol", "dave"], &[AUDIO]);
    let before = scene.bench.acts.len();
    assert_eq!(
        words(&scene.inside("bob", "REFER", &removal("carol"), "")),
        ["bob 403"]
    );
    assert_eq!(scene.bench.acts.len(), before);
    let seen = scene.inside("alice", "REFER", &removal("carol"), "");
    assert_eq!(words(&seen), ["alice 200", "carol BYE"]);
    let bye = text_to(&seen, "carol", "BYE");
    scene.answers("carol", &bye, 200, "");
    let seen = scene.invite("carol", TEAM, "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["carol 403"]);

    let list = list_of(&["erin", "dave"].map(|name| format!("{}?method=BYE", uri(name))));
    let headers = "Refer-To: <cid:x@y>\r\nContent-Type: application/resource-lists+xml\r\n";
    let seen = inside_with(&mut scene, "alice", headers, &list);
    assert_eq!(words(&seen), ["alice 202", "alice NOTIFY", "dave BYE"]);
    let mut told = Vec::new();
    let mut notify = text_to(&seen, "alice", "NOTIFY");
    for _ in 0..3 {
        told.push(notify.split("SIP/2.0 ").last().unwrap()[..3].to_owned());
        let seen = scene.answers("alice", &notify, 200, "");
        if let Some((_, _, text)) = seen.into_iter().find(|(_, what, _)| what == "NOTIFY") {
            notify = text;
        }
    }
    assert_eq!(told, ["100", "404", "200"]);
    scene.end();
}

#[test]
fn rel_02_the_media_are_detached_before_the_bye_leaves() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
    scene.bench.holds_orders = true;
    let remove = removal("bob");
    let seen = scene.inside("alice", "REFER", &remove, "");
    assert_eq!(words(&seen), ["alice 200"]);
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["bob BYE"]);
    assert!(!header(&text_to(&seen, "bob", "BYE"), "Reason").is_empty());
    scene.end();
}

#[test]
fn rel_03_one_who_never_answers_its_bye_is_gone_all_the_same() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
    let remove = removal("bob");
    scene.inside("alice", "REFER", &remove, "");
    scene.wait(40);
    assert_eq!(scene.bench.cdrs.len(), 1);
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn rel_01_every_trigger_leads_to_the_same_release() {
    for trigger in ["removed", "expired", "lost", "stopped"] {
        let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
        let seen = match trigger {
            "removed" => {
                let remove = removal("bob");
                scene.inside("alice", "REFER", &remove, "")
            }
            "expired" => {
                let refresh = scene.inside(
                    "bob",
                    "UPDATE",
                    "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n",
                    "",
                );
                assert_eq!(words(&refresh), ["bob 200"]);
                scene.wait(91)
            }
            "lost" => {
                let again = scene.inside("alice", "INVITE", "", &sdp(&[AUDIO, CHAT]));
                let bob = text_to(&again, "bob", "INVITE");
                scene.answers("bob", &bob, 481, "")
            }
            _ => {
                let now = scene.bench.now;
                scene.bench.engine.end_all(now);
                let sent = scene.bench.settle();
                scene.seen(sent)
            }
        };
        let bye = seen
            .iter()
            .find(|(name, what, _)| *name == "bob" && what == "BYE");
        assert!(bye.is_some(), "{trigger}: {seen:?}");
        assert_eq!(scene.bench.rooms.of(2), (vec![], vec![]), "{trigger}");
    }
}

#[test]
fn rem_01_all_spellings_of_a_removal_are_taken_inside_and_outside_of_dialogs() {
    for refer_to in ["<{};method=BYE>", "<{}>;method=BYE", "<{}?method=BYE>"] {
        let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
        let identity = scene.dialogs["alice"].contact.clone();
        let refer_to = refer_to.replace("{}", &uri("bob"));
        let headers = format!("Refer-To: {refer_to}\r\nRefer-Sub: false\r\n");
        let text = scene.request_text("REFER", ("alice", &identity), &headers, "");
        let seen = scene.give("alice", &text);
        assert_eq!(words(&seen), ["alice 200", "bob BYE"], "{refer_to}");
    }
}

#[test]
fn matrix_20_the_bye_of_who_began_a_group_session_ends_it_for_all() {
    let mut scene = Scene::with(&["alice", "bob"], |_, group| {
        group.originator_leaves_ends = Some(true);
    });
    scene.begin(&["alice", "bob"], &[CHAT]);
    scene.bench.holds_orders = true;
    assert!(scene.inside("alice", "BYE", "", "").is_empty());
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["alice 200", "bob BYE"]);
    let bye = text_to(&seen, "bob", "BYE");
    scene.answers("bob", &bye, 200, "");
    scene.bench.assert_nothing_left();
}

#[test]
fn add_05_one_who_comes_before_being_added_is_told_as_added() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    let bye = scene.inside("carol", "BYE", "", "");
    assert_eq!(words(&bye), ["carol 200"]);
    let refer = format!("Refer-To: <{}>\r\n", uri("carol"));
    let seen = scene.inside("alice", "REFER", &refer, "");
    let notify = text_to(&seen, "alice", "NOTIFY");
    scene.answers("alice", &notify, 200, "");
    let invite = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &invite, 180, "");
    // She doesn't answer that, but comes herself.
    let seen = scene.invite("carol", TEAM, "", &sdp(&[CHAT]));
    scene.ack("carol", 1);
    let cancel = text_to(&seen, "carol", "CANCEL");
    scene.answers("carol", &cancel, 200, "");
    let seen = scene.answers("carol", &invite, 487, "");
    let notify = text_to(&seen, "alice", "NOTIFY");
    assert!(notify.contains("terminated;reason=noresource"), "{notify}");
    assert!(notify.ends_with("SIP/2.0 200 OK\r\n"), "{notify}");
    scene.answers("alice", &notify, 200, "");
    assert_eq!(scene.bench.engine.participants(), 3);
    scene.end();
}

#[test]
fn rem_03_the_inviter_who_is_removed_while_it_waits_is_refused_and_nobody_is_asked_any_more() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    let ringing = scene.answers("bob", &bob, 180, "");
    let ringing = text_to(&ringing, "alice", "180");
    let identity = bare(header(&ringing, "Contact"));
    let refer = removal("alice");
    let text = scene.request_text("REFER", ("alice", &identity), &refer, "");
    let seen = scene.give("alice", &text);
    assert_eq!(words(&seen), ["alice 200", "alice 480", "bob CANCEL"]);
    let cancel = text_to(&seen, "bob", "CANCEL");
    scene.answers("bob", &cancel, 200, "");
    // Bob has accepted at the same time.
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(words(&seen), ["bob ACK", "bob BYE"]);
    let bye = text_to(&seen, "bob", "BYE");
    scene.answers("bob", &bye, 200, "");
    scene.give("alice", &ack_of_failure());
    scene.bench.assert_nothing_left();
}

#[test]
fn rem_03_who_is_removed_as_it_is_being_accepted_is_released_right_after() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[CHAT]);
    scene.inside("carol", "BYE", "", "");
    scene.bench.holds_orders = true;
    assert!(scene.invite("carol", TEAM, "", &sdp(&[CHAT])).is_empty());
    let seen = scene.inside("alice", "REFER", &removal("carol"), "");
    assert_eq!(words(&seen), ["alice 200"]);
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["carol 200", "carol BYE"]);
    let bye = text_to(&seen, "carol", "BYE");
    assert!(header(&bye, "Reason").contains("Removed"), "{bye}");
    assert_eq!(scene.bench.rooms.of(4), (vec![], vec![]));
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}

#[test]
fn one_who_comes_in_by_several_devices_at_once_is_in_by_the_last() {
    let members = ["alice", "bob", "carol"];
    let mut scene = Scene::with(&members, |_, group| group.participants_max = Some(3));
    scene.begin(&members, &[CHAT]);
    scene.inside("carol", "BYE", "", "");
    scene.bench.holds_orders = true;
    for _ in 0..3 {
        assert!(scene.invite("carol", TEAM, "", &sdp(&[CHAT])).is_empty());
    }
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    let mut told = words(&seen);
    told.sort_unstable();
    let accepted = ["carol 200"; 3].into_iter();
    let expected: Vec<_> = accepted.chain(["carol BYE"; 2]).collect();
    assert_eq!(told, expected);
    let last = seen.iter().rfind(|(_, what, _)| what == "200").unwrap();
    let last = header(&last.2, "Call-ID").to_owned();
    for (_, what, text) in &seen {
        assert!(what != "BYE" || header(text, "Call-ID") != last, "{text}");
        if what == "BYE" {
            assert!(header(text, "Reason").contains("elsewhere"), "{text}");
            scene.answers("carol", text, 200, "");
        }
    }
    assert_eq!(scene.bench.engine.participants(), 3);
    scene.end();
}

#[test]
fn who_waits_for_somebody_to_accept_does_not_come_in_by_another_device() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    let bob = text_to(&seen, "bob", "INVITE");
    let seen = scene.invite("alice", TEAM, "", &sdp(&[CHAT]));
    assert_eq!(words(&seen), ["alice 480"]);
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(words(&seen), ["bob ACK", "alice 200"]);
    assert_eq!(scene.bench.engine.participants(), 2);
    scene.end();
}
