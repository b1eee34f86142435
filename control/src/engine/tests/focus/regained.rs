//! Media that went with an outpost's worker, or whose connection is lost while something is being
//! agreed: they come back by what is agreed next.

use super::loss::{lost, news, subscribed, told};
use super::*;

/// The port of a description's first line.
fn port_of(text: &str) -> &str {
    let line = text.lines().find_map(|line| line.strip_prefix("m="));
    line.unwrap().split(' ').nth(1).unwrap()
}

fn bye_of(seen: &Seen, name: &str) -> bool {
    words(seen).contains(&format!("{name} BYE"))
}

/// Somebody's RTP is lost, and the worker can't have it again for now.
fn loses_for_a_while(scene: &mut Scene, of: (u8, u32)) {
    scene.bench.refuse = true;
    let seen = news(scene, lost, of);
    assert!(seen.is_empty(), "{seen:?}");
    scene.bench.refuse = false;
}

#[test]
fn rel_01_lost_rtp_is_offered_anew_at_once() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO, VIDEO]);
    subscribed(&mut scene, "alice");
    scene.bench.acts.clear();
    let seen = news(&mut scene, lost, (0, 2));
    assert_eq!(words(&seen), ["alice NOTIFY", "bob INVITE"]);
    assert_eq!(scene.bench.acts, ["leave 2", "join 2 0"]);
    let notify = told(&mut scene, &seen, "alice");
    assert!(notify.contains("<status>inactive</status>"), "{notify}");
    let bob = text_to(&seen, "bob", "INVITE");
    // The other stream was there, too, and its loss is told while the offer is in flight.
    assert!(news(&mut scene, lost, (1, 2)).is_empty());
    let seen = scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(words(&seen), ["bob ACK", "bob INVITE"]);
    let again = text_to(&seen, "bob", "INVITE");
    assert_eq!(port_of(&again), port_of(&bob));
    assert_ne!(again, bob);
    let seen = scene.answers("bob", &again, 200, &accept(&again));
    assert_eq!(words(&seen), ["bob ACK"]);
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
    let sent = scene.bench.wait(Duration::from_millis(600));
    let seen = scene.seen(sent);
    let notify = told(&mut scene, &seen, "alice");
    assert!(!notify.contains("<status>inactive</status>"), "{notify}");
    assert!(notify.contains("<status>sendrecv</status>"), "{notify}");
    assert!(scene.wait(40).is_empty());
    scene.end();
}

#[test]
fn rel_01_who_refuses_to_have_lost_rtp_anew_is_not_asked_again_and_again() {
    let mut scene = Scene::talking(&["alice", "bob", "carol"], &[AUDIO]);
    let seen = news(&mut scene, lost, (0, 2));
    let bob = text_to(&seen, "bob", "INVITE");
    let seen = scene.answers("bob", &bob, 488, "");
    assert_eq!(words(&seen), ["bob ACK"]);
    assert!(scene.wait(31).is_empty());
    let bye = first_to(&scene.wait(1), "bob", "BYE");
    assert!(header(&bye, "Reason").contains("connection lost"), "{bye}");
    scene.end();
}

#[test]
fn rel_01_lost_rtp_is_offered_once_more_where_both_sides_have_offered() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    let seen = news(&mut scene, lost, (0, 2));
    let bob = text_to(&seen, "bob", "INVITE");
    let seen = scene.answers("bob", &bob, 491, "");
    assert_eq!(words(&seen), ["bob ACK"]);
    let again = first_to(&scene.wait(4), "bob", "INVITE");
    scene.answers("bob", &again, 200, &accept(&again));
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    scene.end();
}

#[test]
fn rel_01_rtp_that_is_lost_while_its_user_is_rung_is_offered_anew_once_accepted() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 180, "");
    assert!(news(&mut scene, lost, (0, 3)).is_empty());
    let seen = scene.answers("carol", &carol, 200, &accept(&carol));
    assert_eq!(words(&seen), ["carol ACK", "carol INVITE"]);
    let again = text_to(&seen, "carol", "INVITE");
    assert_ne!(port_of(&again), port_of(&carol));
    scene.answers("carol", &again, 200, &accept(&again));
    assert_eq!(scene.bench.rooms.of(3), (vec![0], vec![0]));
    assert!(scene.wait(40).is_empty());
    scene.end();
}

#[test]
fn rel_01_lost_rtp_that_no_worker_can_have_is_offered_anew_when_one_can() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    loses_for_a_while(&mut scene, (0, 2));
    scene.bench.refuse = true;
    assert!(scene.wait(10).is_empty());
    // It is told once more that it is lost, and goes on waiting.
    assert!(news(&mut scene, lost, (0, 2)).is_empty());
    scene.bench.refuse = false;
    let again = first_to(&scene.wait(2), "bob", "INVITE");
    scene.answers("bob", &again, 200, &accept(&again));
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    assert!(scene.wait(60).is_empty());
    scene.end();
}

#[test]
fn rel_01_who_offers_lost_rtp_anew_gets_a_leg_anew() {
    let mut scene = Scene::new(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    loses_for_a_while(&mut scene, (0, 2));
    scene.bench.acts.clear();
    // The worker still can't have it: it stays lost.
    scene.bench.refuse = true;
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["bob 503"]);
    scene.bench.refuse = false;
    scene.bench.acts.clear();
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["bob 200"]);
    assert_eq!(scene.bench.acts, ["leave 2", "join 2 0", "connect 2 0"]);
    let ok = text_to(&seen, "bob", "200");
    assert_ne!(
        port_of(&ok),
        port_of(&bob),
        "the port of a worker that is gone"
    );
    assert_eq!(scene.bench.rooms.of(2), (vec![0], vec![0]));
    scene.ack("bob", scene.seq + 100);
    assert!(!bye_of(&scene.wait(40), "bob"));
    // What is agreed afterwards goes on with that leg.
    scene.bench.acts.clear();
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[AUDIO]));
    assert_eq!(words(&seen), ["bob 200"]);
    assert_eq!(port_of(&text_to(&seen, "bob", "200")), port_of(&ok));
    assert!(scene.bench.acts.is_empty(), "{:?}", scene.bench.acts);
    scene.end();
}

#[test]
fn rel_01_who_is_offered_something_else_gets_its_lost_rtp_back_with_it() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    loses_for_a_while(&mut scene, (0, 2));
    scene.bench.acts.clear();
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[AUDIO, CHAT]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    assert_eq!(media_of(&bob), "audio message");
    let acts = &scene.bench.acts;
    let at = acts.iter().position(|act| act == "leave 2").unwrap();
    assert_eq!(acts[at + 1], "join 2 0", "{acts:?}");
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
    assert!(scene.wait(40).is_empty());
    scene.end();
}

#[test]
fn rel_01_a_refresh_brings_lost_rtp_back() {
    let mut scene = Scene::new(&["alice", "bob"]);
    let timer = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let seen = scene.invite("alice", TEAM, timer, &sdp(&[AUDIO]));
    let bob = text_to(&seen, "bob", "INVITE");
    let after = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&after, "alice", "200");
    scene.ack("alice", 1);
    scene.wait(45);
    loses_for_a_while(&mut scene, (0, 1));
    let refresh = first_to(&scene.wait(6), "alice", "INVITE");
    assert_ne!(port_of(&refresh), port_of(&ok));
    scene.answers("alice", &refresh, 200, &sdp(&[AUDIO]));
    assert_eq!(scene.bench.rooms.of(1), (vec![0], vec![0]));
    assert!(scene.wait(30).is_empty());
    scene.end();
}

#[test]
fn a_re_invite_without_an_offer_is_put_off_while_rtp_is_lost() {
    let mut scene = Scene::talking(&["alice", "bob"], &[AUDIO]);
    loses_for_a_while(&mut scene, (0, 2));
    let seen = scene.inside("bob", "INVITE", "", "");
    let refused = text_to(&seen, "bob", "500");
    assert_eq!(header(&refused, "Retry-After"), "1");
    scene.end();
}

#[test]
fn a_connection_lost_while_an_offer_is_in_flight_is_told_again_by_its_answer() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    let seen = scene.inside("alice", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    scene.ack("alice", scene.seq + 100);
    let bob = text_to(&seen, "bob", "INVITE");
    news(&mut scene, lost, (0, 2));
    scene.bench.acts.clear();
    scene.answers("bob", &bob, 200, &accept(&bob));
    assert_eq!(scene.bench.acts, ["connect 2 0", "connect 2 1"]);
    scene.end();
}

#[test]
fn a_connection_lost_while_its_participants_offer_is_looked_at_stays_lost() {
    let mut scene = Scene::talking(&["alice", "bob"], &[CHAT]);
    scene.bench.holds_orders = true;
    let seen = scene.inside("bob", "INVITE", "", &sdp(&[CHAT, AUDIO]));
    assert!(seen.is_empty(), "{seen:?}");
    news(&mut scene, lost, (0, 2));
    let sent = scene.bench.do_orders();
    let seen = scene.seen(sent);
    scene.ack("bob", scene.seq + 100);
    let alice = text_to(&seen, "alice", "INVITE");
    scene.answers("alice", &alice, 200, &accept(&alice));
    // It is not offered anew: bob goes on without it.
    let offer = first_to(&scene.wait(33), "bob", "INVITE");
    assert_eq!(media_of(&offer), "audio");
    scene.answers("bob", &offer, 200, &accept(&offer));
    scene.end();
}
