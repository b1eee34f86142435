//! Groups whose streams are governed by floors (RFC 8855, RFC 8856).

use dataplane::api::{FloorId, MemberId, StreamId};

use super::events::subscribe;
use super::*;
use crate::config::StreamKind;

/// A group whose audio has a floor.
fn scene(members: &[&str]) -> Scene {
    Scene::with(members, |_, group| {
        group.floors = Some(vec![StreamKind::Audio]);
    })
}

/// The first session's audio.
const ROOM: StreamId = StreamId(0);

impl Scene {
    /// The worker says who holds the floor of audio.
    fn floor_goes_to(&mut self, holders: &[u32]) -> Seen {
        self.news(Event::FloorChanged {
            session: dataplane::api::SessionId(1),
            floor: FloorId(1),
            holders: holders.iter().copied().map(MemberId).collect(),
        })
    }

    fn news(&mut self, event: Event) -> Seen {
        let now = self.bench.now;
        self.bench.engine.handle_news(now, 0, event);
        let sent = self.bench.settle();
        self.seen(sent)
    }
}

/// What a NOTIFY says of the floor, for each participant in it.
fn floors_in(notify: &str) -> Vec<(&'static str, &'static str)> {
    let users = notify.split("<user ").skip(1);
    let told = users.map(|user| {
        let name = NAMES.into_iter().find(|name| user.contains(&uri(name)));
        let is_held = user.contains("id=\"1\" status=\"granted\"");
        assert!(
            is_held || user.contains("id=\"1\" status=\"none\""),
            "{user}"
        );
        (name.unwrap(), if is_held { "granted" } else { "none" })
    });
    // Whom it tells of first is whoever has changed first.
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told
}

#[test]
fn upl_05_everybody_is_offered_floor_control_with_an_identity_and_what_the_floor_governs() {
    let mut scene = scene(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, BFCP]));
    let bob = text_to(&seen, "bob", "INVITE");
    let carol = text_to(&seen, "carol", "INVITE");
    for (invite, user) in [(&bob, "a=userid:2"), (&carol, "a=userid:3")] {
        let conference = invite
            .lines()
            .find(|line| line.starts_with("a=confid:"))
            .unwrap();
        for line in [
            "a=label:10",
            "a=floorctrl:s-only",
            "a=floorid:1 mstrm:10",
            "a=setup:actpass",
            "a=bfcpver:1",
            conference,
            user,
        ] {
            assert!(
                invite.contains(&format!("{line}\r\n")),
                "{line} in {invite}"
            );
        }
        assert_eq!(media_of(invite), "audio application");
    }
    let after = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&after, "alice", "200");
    assert_eq!(media_of(&ok), "audio application");
    for line in [
        "a=userid:1",
        "a=floorid:1 mstrm:10",
        "a=setup:passive",
        "a=label:10",
    ] {
        assert!(ok.contains(&format!("{line}\r\n")), "{line} in {ok}");
    }
    scene.ack("alice", 1);
    // One who has no floor control hears, and can't ask.
    scene.answers(
        "carol",
        &carol,
        200,
        &accept_some(&carol, |kind| kind == "audio"),
    );
    assert_eq!(scene.bench.rooms.of(3), (vec![0], vec![0]));
    assert_eq!(scene.bench.rooms.of(2), (vec![0, 1], vec![0, 1]));
    scene.end();
}

#[test]
fn floor_control_over_dtls_is_refused_by_its_port_and_the_rest_stays() {
    let mut scene = scene(&["alice", "bob"]);
    let dtls = BFCP.replace("TCP/BFCP", "UDP/TLS/BFCP");
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, &dtls]));
    let bob = text_to(&seen, "bob", "INVITE");
    let after = scene.answers("bob", &bob, 200, &accept(&bob));
    let ok = text_to(&after, "alice", "200");
    assert_eq!(media_of(&ok), "audio");
    assert!(ok.contains("m=application 0 UDP/TLS/BFCP *"), "{ok}");
    scene.ack("alice", 1);
    scene.end();
}

#[test]
fn pin_07_who_holds_a_floor_is_told_in_one_notification_however_often_it_goes_on() {
    let mut scene = scene(&["alice", "bob", "carol"]);
    scene.begin(&["alice", "bob", "carol"], &[AUDIO, BFCP]);
    let (_, notify) = subscribe(&mut scene, "carol");
    let nobody = [("alice", "none"), ("bob", "none"), ("carol", "none")];
    assert_eq!(floors_in(&notify), nobody);
    scene.answers("carol", &notify, 200, "");
    scene.wait(1);

    let seen = scene.floor_goes_to(&[1]);
    let notify = text_to(&seen, "carol", "NOTIFY");
    assert_eq!(floors_in(&notify), [("alice", "granted")]);
    scene.answers("carol", &notify, 200, "");
    // It is everybody's for a moment, and bob's in the end.
    for holders in [&[2][..], &[], &[3], &[1], &[2]] {
        assert_eq!(scene.floor_goes_to(holders), []);
    }
    let sent = scene.bench.wait(Duration::from_millis(600));
    let seen = scene.seen(sent);
    assert_eq!(words(&seen), ["carol NOTIFY"]);
    let told = floors_in(&text_to(&seen, "carol", "NOTIFY"));
    assert_eq!(
        told,
        [("alice", "none"), ("bob", "granted"), ("carol", "none")]
    );
    scene.end();
}

#[test]
fn a_floor_that_nobody_has_any_more_says_nothing_of_who_is_gone() {
    let mut scene = scene(&["alice", "bob", "carol"]);
    scene.begin(&["alice", "bob", "carol"], &[AUDIO, BFCP]);
    assert_eq!(scene.floor_goes_to(&[2]), []);
    let (_, notify) = subscribe(&mut scene, "carol");
    scene.answers("carol", &notify, 200, "");
    scene.wait(1);
    let seen = scene.inside("bob", "BYE", "", "");
    let notify = text_to(&seen, "carol", "NOTIFY");
    assert!(notify.contains("departed"), "{notify}");
    scene.answers("carol", &notify, 200, "");
    scene.wait(1);
    assert_eq!(scene.floor_goes_to(&[]), []);
    assert_eq!(scene.wait(2), []);
    scene.end();
}

#[test]
fn who_speaks_is_seen_by_the_operator_and_notified_to_nobody() {
    let mut scene = scene(&["alice", "bob"]);
    scene.begin(&["alice", "bob"], &[AUDIO, BFCP]);
    let (_, notify) = subscribe(&mut scene, "bob");
    scene.answers("bob", &notify, 200, "");
    scene.wait(1);
    for member in [Some(1), Some(2), None, Some(2)] {
        let seen = scene.news(Event::Speaking {
            session: dataplane::api::SessionId(1),
            stream: ROOM,
            member: member.map(MemberId),
        });
        assert_eq!(seen, []);
    }
    assert_eq!(scene.wait(5), []);
    let views = scene.bench.engine.session_views(scene.bench.now);
    let streams = &views[0].streams;
    assert_eq!(
        (streams[0].speaker, &streams[0].holders),
        (Some(2), &Some(vec![]))
    );
    assert_eq!((streams[1].speaker, &streams[1].holders), (None, &None));
    scene.end();
}

#[test]
fn who_is_refused_uses_no_identity_in_floor_control_up() {
    let mut scene = scene(&["alice", "bob", "carol"]);
    let seen = scene.invite("alice", TEAM, "", &sdp(&[AUDIO, BFCP]));
    let bob = text_to(&seen, "bob", "INVITE");
    scene.answers("bob", &bob, 200, &accept(&bob));
    scene.ack("alice", 1);
    let carol = text_to(&seen, "carol", "INVITE");
    scene.answers("carol", &carol, 486, "");
    for _ in 0..5 {
        let unknown = "m=audio 4000 RTP/AVP 18\r\n";
        let seen = scene.invite("carol", TEAM, "", &sdp(&[unknown]));
        assert_eq!(words(&seen), ["carol 488"]);
    }
    let seen = scene.invite("carol", TEAM, "", &sdp(&[AUDIO, BFCP]));
    let ok = text_to(&seen, "carol", "200");
    assert!(ok.contains("a=userid:4\r\n"), "{ok}");
    scene.end();
}
