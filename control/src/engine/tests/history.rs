//! What is recorded, what the store is told, and the switches of a session's end.

use super::scene::*;
use super::*;
use crate::history::{Facts, Told};

const NOTHING: [&str; 0] = [];

fn begin(bench: &Bench) -> &Facts {
    match &bench.asks[0] {
        Ask::Begin(facts) => facts,
        other @ Ask::Finish { .. } => panic!("{other:?}"),
    }
}

#[test]
fn hst_01_a_session_whose_history_is_allowed_is_begun_and_finished_with_its_facts() {
    let asserted = "P-Asserted-Identity: \"A\" <sip:alice@home.example>\r\n\
                    P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session\r\n\
                    Accept-Contact: *;+g.oma.sip-im;explicit\r\nContribution-ID: c1\r\n\
                    InReplyTo-Contribution-ID: c0\r\n";
    let mut bench = stored(Role::Originating);
    let asked = with(&invite("1", OFFER), asserted);
    let to_b = only(&bench.give(a(), &asked), b());
    assert!(bench.asks.is_empty(), "asked before the answer");
    bench.now += Duration::from_secs(3);
    let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
    let facts = begin(&bench).clone();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(facts.session, 1);
    assert_eq!(facts.served_user, "sip:alice@home.example");
    assert_eq!(facts.peer, "sip:b@127.0.0.1:5002");
    assert!(facts.is_sent);
    assert_eq!(facts.conversation_id, text("f81d4fae"));
    assert_eq!(facts.contribution_id, text("c1"));
    assert_eq!(facts.in_reply_to, text("c0"));
    assert_eq!(facts.subject, text("two  spaces"));
    assert_eq!(
        facts.service,
        text("urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session")
    );
    assert_eq!(facts.accept_contact, ["*;+g.oma.sip-im;explicit"]);
    assert_eq!(facts.invited, ["sip:b@127.0.0.1:5002"]);
    assert_eq!(facts.sdp.as_deref(), Some(OFFER.as_bytes()));
    assert_eq!(facts.begun, SystemTime::UNIX_EPOCH);
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    bench.now += Duration::from_secs(4);
    bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    match &bench.asks[1] {
        Ask::Finish {
            session,
            ended,
            worker_lost,
        } => {
            assert_eq!((*session, *worker_lost), (1, false));
            assert_eq!(*ended, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        }
        other @ Ask::Begin(_) => panic!("{other:?}"),
    }
}

/// A bench whose users' histories are stored.
fn stored(role: Role) -> Bench {
    Bench::new(|settings| {
        settings.role = role;
        settings.store_deadline = Some(Duration::from_secs(2));
        for_all(settings, |policy| policy.allow_offline_storage = true);
    })
}

#[test]
fn the_called_users_history_has_the_offer_that_the_called_client_got() {
    let mut bench = stored(Role::Terminating);
    let (to_b, _) = bench.call();
    let facts = begin(&bench);
    assert!(!facts.is_sent);
    assert_eq!(facts.served_user, "sip:b@127.0.0.1:5002");
    assert_eq!(facts.peer, "sip:a@x");
    assert_eq!(facts.invited, ["sip:b@127.0.0.1:5002"]);
    let offered = to_b.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(facts.sdp.as_deref(), Some(offered.as_bytes()));
}

#[test]
fn hst_02_the_message_uid_is_for_the_served_client_alone() {
    for role in ROLES {
        // The far Participating Function tells its own client of a history of its own.
        let theirs = "Message-UID: 99\r\n";
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye_with(Client, theirs), ["peer BYE"]);
        assert_eq!(scene.stored("7"), NOTHING);
        assert_eq!(scene.answers_with(Peer, 200, theirs), ["client 200 uid=7"]);
        let mut scene = Scene::of(role, true);
        assert_eq!(scene.bye_with(Peer, theirs), NOTHING);
        assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
        assert_eq!(scene.answers_with(Client, 200, theirs), ["peer 200"]);
        let mut scene = Scene::of(role, false);
        assert_eq!(scene.bye_with(Peer, theirs), ["client BYE"]);
        let mut scene = Scene::of(role, false);
        assert_eq!(scene.bye(Client), ["peer BYE"]);
        assert_eq!(scene.answers_with(Peer, 200, theirs), ["client 200"]);
    }
}

/// Whether a call's media pass here.
fn is_in_path(allowed: bool, store: Option<Duration>) -> bool {
    let mut bench = Bench::new(|settings| {
        settings.store_deadline = store;
        for_all(settings, |policy| {
            policy.stay = Stay::default();
            policy.allow_offline_storage = allowed;
        });
    });
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    !to_b.contains("Call-ID: call-a")
}

#[test]
fn hst_03_a_history_that_is_to_be_recorded_keeps_the_relay_in_the_media_path() {
    let store = Some(Duration::from_secs(2));
    assert!(is_in_path(true, store));
    assert!(!is_in_path(false, store));
    assert!(!is_in_path(true, None), "there is nothing to record for");
}

#[test]
fn the_streams_of_a_session_are_recorded_where_its_history_is_due_and_not_elsewhere() {
    for allowed in [true, false] {
        let mut scene = Scene::of(Role::Originating, allowed);
        let is_recorded = scene.bench.acts.iter().any(|act| act == "record");
        assert_eq!(is_recorded, allowed);
        scene.bye(Client);
    }
}

#[test]
fn streams_that_are_added_later_are_told_to_the_history_and_refreshes_are_not() {
    let mut bench = stored(Role::Originating);
    let (_, to_a) = bench.call();
    let refresh = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER);
    let to_b = only(&bench.give(a(), &refresh), b());
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    assert_eq!(bench.asks.len(), 1);
    let more = format!("{OFFER}m=video 4010 RTP/AVP 31\r\n");
    let added = in_dialog_of_a("INVITE", 3, &to_a, CONTACT_A, &more);
    let to_b = only(&bench.give(a(), &added), b());
    let answered = format!("{ANSWER}m=video 5010 RTP/AVP 31\r\n");
    bench.give(b(), &answer(&to_b, 200, "OK", &answered));
    bench.give(a(), &in_dialog_of_a("ACK", 3, &to_a, "", ""));
    match &bench.asks[..] {
        [Ask::Begin(first), Ask::Begin(second)] => {
            assert_eq!(second.sdp.as_deref(), Some(more.as_bytes()));
            let mut same = second.clone();
            same.sdp.clone_from(&first.sdp);
            assert_eq!(same, *first);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn con_24_a_proxied_session_is_never_one_whose_history_is_due() {
    let store = Some(Duration::from_secs(2));
    assert!(is_in_path(true, store));
}

#[test]
fn hst_04_the_store_is_told_the_conversation_and_the_contribution() {
    let mut bench = stored(Role::Originating);
    bench.call();
    let facts = begin(&bench);
    assert_eq!(facts.conversation_id.as_deref(), Some("f81d4fae"));
    assert_eq!(facts.contribution_id, None);
}

/// Both sides get a BYE once the store has answered, the served one with its UID.
fn ends_by_itself(scene: &mut Scene, end: impl FnOnce(&mut Bench) -> Vec<(SocketAddr, String)>) {
    let sent = end(&mut scene.bench);
    assert_eq!(scene.seen(sent), NOTHING);
    let mut sent = scene.stored("7");
    sent.sort();
    assert_eq!(sent, ["client BYE uid=7", "peer BYE"]);
    assert_eq!(scene.answers(Client, 200), NOTHING);
    assert_eq!(scene.answers(Peer, 200), NOTHING);
    scene.bench.streams.clear();
    scene.is_over(1);
}

#[test]
fn hst_05_a_session_that_ends_otherwise_is_recorded_like_a_bye_from_the_network() {
    for role in ROLES {
        let expires = |ok: &str| ok.replace("Contact", "Session-Expires: 100\r\nContact");
        let mut scene = Scene::with(role, true, |_| {}, expires);
        ends_by_itself(&mut scene, |bench| {
            bench.wait(Duration::from_millis(100_100))
        });

        let mut scene = Scene::of(role, true);
        ends_by_itself(&mut scene, |bench| {
            bench.engine.handle_worker_lost(bench.now, 0);
            bench.engine.handle_worker_restarted(0);
            bench.settle()
        });
        let is_marked = |ask: &Ask| {
            matches!(
                ask,
                Ask::Finish {
                    worker_lost: true,
                    ..
                }
            )
        };
        assert!(scene.bench.asks.iter().any(is_marked));

        let mut scene = Scene::of(role, true);
        ends_by_itself(&mut scene, |bench| {
            bench.engine.end_all(bench.now);
            bench.settle()
        });
    }
}

#[test]
fn a_session_that_was_never_answered_has_no_history() {
    let mut bench = stored(Role::Originating);
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.give(b(), &answer(&to_b, 603, "Decline", ""));
    bench.give(a(), &ack_of_failure());
    let mut cancelled = stored(Role::Originating);
    let to_b = only(&cancelled.give(a(), &invite("1", OFFER)), b());
    cancelled.give(b(), &answer(&to_b, 180, "Ringing", ""));
    cancelled.give(a(), &invite("1", "").replace("INVITE", "CANCEL"));
    let mut unconnected = stored(Role::Originating);
    let to_b = only(&unconnected.give(a(), &invite("1", OFFER)), b());
    unconnected.refuse_connect = true;
    unconnected.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    for bench in [&mut bench, &mut cancelled, &mut unconnected] {
        bench.wait(Duration::from_secs(70));
        assert_eq!(bench.engine.sessions(), 0);
        assert!(bench.asks.is_empty(), "{:?}", bench.asks);
        assert!(bench.cdrs[0].history.is_none());
    }
}

#[test]
fn a_session_that_is_left_while_it_is_answered_is_begun_before_it_is_finished() {
    let mut bench = stored(Role::Originating);
    let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
    bench.holds_orders = true;
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    assert!(bench.asks.is_empty());
    bench.do_orders();
    assert!(
        matches!(bench.asks[..], [Ask::Begin(_), Ask::Finish { .. }]),
        "{:?}",
        bench.asks
    );
}

#[test]
fn what_the_store_says_of_other_sessions_changes_nothing() {
    let mut scene = Scene::of(Role::Originating, true);
    for session in [0, 1, 2] {
        let told = Told {
            session,
            uid: Ok("9".to_owned()),
        };
        scene.bench.engine.handle_history(scene.bench.now, told);
    }
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.answers(Peer, 200), NOTHING);
    assert_eq!(scene.stored("7"), ["client 200 uid=7"]);
}

#[test]
fn a_uid_that_comes_after_its_deadline_is_told_while_somebody_still_waits() {
    let mut scene = Scene::of(Role::Originating, true);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    assert_eq!(scene.wait(3_000), NOTHING);
    assert_eq!(scene.stored("7"), NOTHING);
    assert_eq!(scene.answers(Peer, 200), ["client 200 uid=7"]);
    scene.is_over(1);
}

/// No text of the store makes another header field of itself.
#[test]
fn a_uid_stays_in_its_header_field() {
    let mut scene = Scene::of(Role::Originating, true);
    assert_eq!(scene.bye(Peer), NOTHING);
    scene.stored("7\r\nReason: none");
    assert_eq!(header(scene.bye_at(Client), "Reason"), "");
}

#[test]
fn con_01_each_way_of_answering_a_bye_is_bounded() {
    for role in ROLES {
        for who in [Client, Peer] {
            let early = if who == Client {
                "client 200"
            } else {
                "peer 200"
            };
            let run = |bye_ack, far_answers: bool| {
                let mut scene = Scene::with(role, false, acks(bye_ack), str::to_owned);
                let other = if who == Client { Peer } else { Client };
                let mut seen = scene.bye(who);
                if far_answers {
                    seen.extend(scene.answers(other, 200));
                } else {
                    seen.extend(scene.wait(31_000));
                }
                seen.iter().position(|seen| seen == early).unwrap()
            };
            assert_eq!(run(ByeAck::AfterFarEnd, true), 1);
            assert_eq!(run(ByeAck::AfterFarEnd, false), 1);
            assert_eq!(run(ByeAck::Immediate, true), 0);
            assert_eq!(run(ByeAck::ImmediateAfterStore, false), 0);
        }
    }
}

#[test]
fn con_02_an_immediate_200_waits_for_the_store_only_where_it_is_to_name_the_history() {
    for role in ROLES {
        let mut scene = Scene::with(role, true, acks(ByeAck::Immediate), str::to_owned);
        assert_eq!(scene.bye(Peer), ["peer 200"]);
        assert_eq!(scene.stored("7"), ["client BYE uid=7"]);
        assert_eq!(scene.answers(Client, 200), NOTHING);
        scene.is_over(1);
        let after_store = acks(ByeAck::ImmediateAfterStore);
        let mut scene = Scene::with(role, true, after_store, str::to_owned);
        assert_eq!(scene.bye(Peer), NOTHING);
        assert_eq!(scene.stored("7"), ["peer 200", "client BYE uid=7"]);
        assert_eq!(scene.answers(Client, 200), NOTHING);
        scene.is_over(1);
        // Without a store in time.
        let after_store = acks(ByeAck::ImmediateAfterStore);
        let mut scene = Scene::with(role, true, after_store, str::to_owned);
        assert_eq!(scene.bye(Client), NOTHING);
        assert_eq!(scene.wait(2_100), ["client 200", "peer BYE"]);
        assert_eq!(scene.answers(Peer, 200), NOTHING);
        scene.is_over(1);
    }
}

#[test]
fn con_05_the_store_is_waited_for_as_long_as_its_setting_says_and_no_longer() {
    let patient = |settings: &mut Settings| {
        settings.store_deadline = Some(Duration::from_secs(6));
    };
    let mut scene = Scene::with(Role::Terminating, true, patient, str::to_owned);
    assert_eq!(scene.bye(Client), ["peer BYE"]);
    // Beyond the far side's deadline, too: the client is to learn of its history.
    assert_eq!(scene.wait(5_900), NOTHING);
    assert_eq!(scene.wait(200), ["client 200"]);
    let counters = scene.bench.engine.counters();
    assert_eq!((counters.histories_due, counters.histories_late), (1, 1));
}

#[test]
fn con_06_without_a_uid_there_is_no_message_uid() {
    let mut scene = Scene::of(Role::Terminating, true);
    assert_eq!(scene.bye(Peer), NOTHING);
    assert_eq!(scene.queued(), ["client BYE"]);
}

#[test]
fn con_07_the_200_of_whoever_got_the_bye_is_waited_for() {
    for role in ROLES {
        let mut scene = Scene::of(role, false);
        assert_eq!(scene.bye(Peer), ["client BYE"]);
        assert_eq!(scene.wait(3_000), NOTHING);
        assert_eq!(scene.answers(Client, 200), ["peer 200"]);
    }
}

#[test]
fn con_27_a_regenerated_bye_and_its_200_carry_what_travels_end_to_end() {
    for role in ROLES {
        for (from, to) in [(Client, Peer), (Peer, Client)] {
            let mut scene = Scene::of(role, false);
            let carried =
                "Reason: SIP;cause=200;text=\"Call completed\"\r\nConversation-ID:  x\r\n";
            scene.bye_with(from, carried);
            assert!(scene.bye_at(to).contains(carried), "{}", scene.bye_at(to));
            assert!(!scene.bye_at(to).contains("call-a") || scene.address(to) == a());
            scene.answers_with(to, 200, "Conversation-ID:  y\r\n");
            let last = scene.bench.engine.sessions();
            assert_eq!(last, 0);
        }
    }
}

/// A session that the far side hosts for a group, whoever is served in it.
fn in_group(role: Role, change: impl Fn(&str) -> String, focus: &str) -> Facts {
    let mut bench = stored(role);
    let contact = format!("Contact: <{focus}>;isfocus\r\n");
    let mut asked = change(&invite("1", OFFER));
    if role == Role::Terminating {
        asked = asked.replace(CONTACT_A, &contact);
    }
    let to_b = only(&bench.give(a(), &asked), b());
    let mut answered = answer(&to_b, 200, "OK", ANSWER);
    if role == Role::Originating {
        answered = answered.replace(CONTACT_B, &contact);
    }
    bench.give(b(), &answered);
    begin(&bench).clone()
}

#[test]
fn hst_01_a_session_of_a_group_is_told_from_one_between_two() {
    const FOCUS: &str = "sip:cpm-session-1@127.0.0.1:5002";
    let facts = in_group(Role::Originating, str::to_owned, FOCUS);
    let group = facts.group.expect("its focus says so");
    assert_eq!((group.identity.as_str(), group.is_defined), (FOCUS, true));
    assert_eq!(facts.invited, ["sip:b@127.0.0.1:5002"]);
    let listing = |invite: &str| {
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b\r\n\
             Content-Type: application/resource-lists+xml\r\n\r\n<resource-lists><list>\
             <entry uri=\"tel:+1555\"/><entry uri=\"sip:c@x\"/></list></resource-lists>\r\n--b--\r\n"
        );
        let (head, _) = invite.split_once("Content-Type").unwrap();
        let kind = "Content-Type: multipart/mixed;boundary=b";
        format!(
            "{head}{kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let facts = in_group(Role::Originating, listing, FOCUS);
    let group = facts.group.unwrap();
    assert!(!group.is_defined);
    assert_eq!(group.participants, ["tel:+1555", "sip:c@x"]);
    assert_eq!(facts.invited, ["tel:+1555", "sip:c@x"]);
    let referred = |invite: &str| with(invite, "Referred-By: <sip:al@x>\r\n");
    let facts = in_group(Role::Terminating, referred, FOCUS);
    let group = facts.group.unwrap();
    assert!(
        group.is_defined,
        "it is called by another name than its own"
    );
    assert_eq!(group.participants, ["sip:al@x"]);
    let facts = in_group(Role::Terminating, str::to_owned, "sip:a@x");
    assert!(!facts.group.unwrap().is_defined);
    let mut bench = stored(Role::Originating);
    bench.call();
    assert_eq!(begin(&bench).group, None);
}
