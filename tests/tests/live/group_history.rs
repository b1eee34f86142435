//! Group sessions in the histories of those who take part, each kept by the Participating Function
//! that serves them: two relays, one that hosts the group and one that serves its members.

use std::time::Duration;

use tests::live::process::Folder;
use tests::live::relay::{Relay, run};
use tests::live::scene::{self as live, Chat, LONG, join};
use tests::peers::msrp::{Listener, Outgoing, Peer};
use tests::peers::rtp;
use tests::peers::sdp::{self, Writer};
use tests::peers::sip::{Agent, Call};

const TEAM: &str = "sip:team@groups.example";
const CONVERSATION: &str = "3f1ac0de";

/// The relay that hosts the group, the one that serves its members, and what that one stores.
struct Scene {
    host: Relay,
    serving: Relay,
    folder: Folder,
    agents: [Agent; 3],
}

impl Scene {
    fn new() -> Self {
        let hop = "127.0.0.1:9".parse().unwrap();
        let mut agents = ["alice", "bob", "carol"].map(|name| Agent::udp(name, hop));
        let folder = Folder::new("group-histories");
        let path = format!("{:?}", folder.path().join("of-relay"));
        let serving = Relay::start_with(|settings| {
            settings
                .set("sip", "role", r#""terminating""#)
                .set("policy", "allow_offline_storage", true)
                .set("history", "store", r#""embedded""#)
                // A disk may take its time.
                .set("history", "deadline_ms", 10_000)
                .set("history", "path", &path);
        });
        let file = format!("[history]\nstore = \"embedded\"\npath = {path}\n");
        std::fs::write(folder.path().join("midpath.toml"), file).unwrap();
        let members: Vec<String> = agents
            .iter()
            .map(|one| format!("{:?}", one.uri()))
            .collect();
        let host = Relay::start_with(|settings| {
            let section = format!("group.{TEAM:?}");
            settings.set(&section, "members", format!("[{}]", members.join(", ")));
            let hop = format!("\"sip:{};transport=udp\"", serving.sip);
            settings.set("sip", "next_hop", hop);
        });
        for agent in &mut agents {
            agent.hop = serving.sip;
        }
        let served = format!("<sip:{};lr;orig>", serving.sip);
        agents[0].routes = vec![served, host.route()];
        Self {
            host,
            serving,
            folder,
            agents,
        }
    }

    fn file(&self) -> String {
        let file = self.folder.path().join("midpath.toml");
        file.display().to_string()
    }

    /// The objects of a user's only session, in the order of their UIDs.
    fn objects_of(&self, user: &str) -> Vec<String> {
        let mut own = Vec::new();
        let is_there = tests::live::eventually(LONG, || {
            let (status, text) = run(&["history", "-c", &self.file(), "list"]);
            assert!(status.success(), "{text}");
            let lines = text.lines().filter(|line| line.contains(user));
            own = lines.map(str::to_owned).collect();
            !own.is_empty()
        });
        assert!(is_there && own.len() == 1, "{user} in {own:?}");
        let mut words = own[0].split(' ');
        let (folder, uids) = (words.next().unwrap(), words.next().unwrap());
        let (first, last) = uids.split_once('-').unwrap_or((uids, uids));
        let uids: std::ops::RangeInclusive<u32> = first.parse().unwrap()..=last.parse().unwrap();
        let show = |uid: u32| {
            let (status, text) = run(&[
                "history",
                "-c",
                &self.file(),
                "show",
                folder,
                &uid.to_string(),
            ]);
            assert!(status.success(), "{text}");
            text
        };
        uids.map(show).collect()
    }
}

fn accepts(agent: &mut Agent, own: &Listener) -> (Call, Peer) {
    let call = agent.incoming();
    let contact = call.invite.field("Contact").to_owned();
    assert!(contact.contains("isfocus"), "{contact}");
    call.answer(agent, 180, "");
    let answer = Writer::new("127.0.0.1".parse().unwrap()).message(own.path(), &["setup:active"]);
    call.answer(agent, 200, &answer.text());
    agent.request("ACK");
    let chat = join(own, &sdp::media(&call.invite.body)[0], None);
    (call, chat)
}

/// Says something until all the others hear it: who has come may not be connected all the way yet.
fn reach(from: &Peer, others: [&Peer; 2]) {
    let are_there = tests::live::eventually(LONG, || {
        from.send(&Outgoing::cpim(ANYBODY, TEAM, "are you there?"))
            .unwrap();
        let hears = |other: &&Peer| !other.messages(1, Duration::from_millis(200)).is_empty();
        others.iter().all(hears)
    });
    assert!(are_there, "somebody isn't reached");
}

const ANYBODY: &str = "sip:anonymous@anonymous.invalid";

#[test]
fn hst_06_each_member_has_the_group_session_in_a_history_of_its_own() {
    let mut scene = Scene::new();
    let ip = "127.0.0.1".parse().unwrap();
    let ears = [0; 3].map(|_| Listener::bind(ip));
    let uris: Vec<String> = scene.agents.iter().map(Agent::uri).collect();
    let [alice, bob, carol] = &mut scene.agents;
    let offer = Writer::new(ip).message(ears[0].path(), &["setup:actpass"]);
    let ids = [
        ("Conversation-ID", CONVERSATION),
        ("Contribution-ID", "77b5"),
    ];
    let mut call = alice.invite_with(TEAM, &offer.text(), &ids);
    let (mut at_bob, bobs) = accepts(bob, &ears[1]);
    let answer = call.established(alice);
    assert!(
        answer.field("Contact").contains("isfocus"),
        "{}",
        answer.text()
    );
    let (mut at_carol, carols) = accepts(carol, &ears[2]);
    let alices = join(&ears[0], &sdp::media(&answer.body)[0], None);

    reach(&alices, [&bobs, &carols]);
    // Each says something, under a name that isn't its own.
    for (from, others, text) in [
        (&bobs, [&alices, &carols], "bob speaks"),
        (&alices, [&bobs, &carols], "alice speaks"),
    ] {
        let said = Outgoing::cpim(ANYBODY, TEAM, text);
        from.send(&said.with_success_report()).unwrap();
        for other in others {
            let heard = tests::live::eventually(LONG, || {
                let all = other.messages(1, LONG);
                all.iter()
                    .any(|one| one.finished && one.text.ends_with(text.as_bytes()))
            });
            assert!(heard, "{text} isn't heard");
        }
        assert_eq!(from.reports(1, LONG).len(), 1);
    }
    at_carol.bye(carol);
    at_bob.bye(bob);
    call.bye(alice);
    scene.serving.assert_empty();
    scene.host.assert_empty();

    let who = uris[1].split(';').next().unwrap();
    for name in ["alice", "bob", "carol"] {
        assert_history(name, &scene.objects_of(name), who);
    }
}

/// What a member's history has of the session, in which Bob, `who`, has spoken.
fn assert_history(name: &str, objects: &[String], who: &str) {
    assert!(
        objects.len() >= 4,
        "messages, the group, the session: {objects:#?}"
    );
    let bobs = objects
        .iter()
        .find(|one| one.contains("bob speaks"))
        .unwrap();
    let from = bobs
        .lines()
        .find(|line| line.starts_with("From: "))
        .unwrap();
    assert!(from.starts_with(&format!("From: {who}")), "{name}: {bobs}");
    let direction = if name == "bob" { "sent" } else { "received" };
    assert!(
        bobs.contains(&format!("Message-Direction: {direction}")),
        "{name}: {bobs}"
    );
    let [state, session] = objects.last_chunk().unwrap();
    assert!(
        state.contains("Content-Type: Application/group-state-object+xml"),
        "{state}"
    );
    assert!(
        state.contains("lastfocussessionid=\"sip:cpm-session-"),
        "{state}"
    );
    assert!(
        session.contains("<session-type>Pre-Defined</session-type>"),
        "{session}"
    );
    for object in objects {
        assert!(
            object.contains(&format!("Conversation-ID: {CONVERSATION}")),
            "{object}"
        );
    }
}

#[test]
fn upl_08_a_members_function_relays_what_it_says_and_hears_in_a_group() {
    let mut scene = Scene::new();
    let ip = "127.0.0.1".parse().unwrap();
    let ears = [0; 3].map(|_| Listener::bind(ip));
    let [alice, bob, carol] = &mut scene.agents;
    let offer = Writer::new(ip).message(ears[0].path(), &["setup:actpass"]);
    let mut call = alice.invite(TEAM, &offer.text());
    let (mut at_bob, bobs) = accepts(bob, &ears[1]);
    let answer = call.established(alice);
    let (mut at_carol, carols) = accepts(carol, &ears[2]);
    let alices = join(&ears[0], &sdp::media(&answer.body)[0], None);
    reach(&alices, [&bobs, &carols]);
    for (seed, (from, others)) in
        (1..).zip([(&alices, [&bobs, &carols]), (&bobs, [&alices, &carols])])
    {
        let file = Outgoing::file(1_000_000, seed, 100_000).with_success_report();
        let id = from.send(&file).unwrap();
        for other in others {
            let arrived = tests::live::eventually(LONG, || {
                let all = other.messages(1, LONG);
                let file = all
                    .iter()
                    .find(|one| one.total == Some(1_000_000) && one.id == id);
                file.is_some_and(tests::peers::msrp::Received::is_identical)
            });
            assert!(arrived, "{seed} doesn't arrive as it was sent");
        }
        assert_eq!(from.reports(1, LONG).len(), 1);
    }
    for peer in [&alices, &bobs, &carols] {
        assert_eq!((peer.refused(), peer.problems()), (vec![], vec![]));
    }
    at_carol.bye(carol);
    at_bob.bye(bob);
    call.bye(alice);
    scene.serving.assert_empty();
    scene.host.assert_empty();
}

#[test]
fn upl_09_between_two_users_both_functions_relay_both_ways() {
    let far = Relay::start_with(|settings| {
        settings.set("sip", "role", r#""terminating""#);
    });
    let mut scene = live::Scene::direct(|settings| {
        let hop = format!("\"sip:{};transport=udp\"", far.sip);
        settings.set("sip", "next_hop", hop);
    });
    let (mut a, mut b) = scene.voices();
    let (mut joined, chat) = Chat::call(&mut scene, Some((a.port(), b.port())), None);
    assert_eq!((scene.relay.sessions().len(), far.sessions().len()), (1, 1));
    a.aim(joined.at_alice[0].address());
    b.aim(joined.at_bob[0].address());
    a.talk();
    b.talk();
    for (from, to, seed) in [(&chat.alice, &chat.bob, 1), (&chat.bob, &chat.alice, 2)] {
        from.send(&Outgoing::file(1_000_000, seed, u64::MAX))
            .unwrap();
        assert!(to.messages(1, LONG)[0].is_identical());
    }
    assert!(a.hears(50, LONG) && b.hears(50, LONG));
    chat.assert_clean();
    scene.alice_hangs_up(&mut joined);
    let (a, b) = rtp::Peer::finish_both(a, b);
    for heard in [a, b] {
        assert_eq!((heard.damaged, heard.wrong_source), (0, 0));
    }
    scene.relay.assert_empty();
    far.assert_empty();
}
