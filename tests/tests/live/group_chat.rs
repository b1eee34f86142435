//! Chat and files in group sessions through a started relay: SIP and MSRP clients written from the
//! RFCs, and tshark as the judge of every frame.

use std::time::Duration;

use tests::live::judge::{self, Capture};
use tests::live::relay::{Relay, Settings};
use tests::live::scene::{LONG, join};
use tests::live::{needs, skip};
use tests::peers::msrp::{Listener, Outgoing, Peer, Received};
use tests::peers::rtp;
use tests::peers::sdp::{self, Media, Writer};
use tests::peers::sip::{Agent, Call};
use tests::torture::frames::Reader;

const TEAM: &str = "sip:team@groups.example";
const FACTORY: &str = "sip:factory@groups.example";
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// A client in the session.
struct Member {
    agent: Agent,
    call: Call,
    chat: Peer,
    /// Its own media addresses in the order of its lines, and what it was told of the relay's.
    told: Vec<Media>,
}

impl Member {
    /// Who the others are told has spoken.
    fn address(&self) -> String {
        self.agent.uri()
    }

    fn says(&self, to: &str, text: &str) -> String {
        // Who it says it is doesn't count.
        let message = Outgoing::cpim("sip:mallory@evil.example", to, text);
        let message = message.with_success_report();
        self.chat.send(&message).unwrap()
    }

    /// What has come, once there is so much of it.
    fn heard(&self, count: usize) -> Vec<String> {
        let all = self.chat.messages(count, LONG);
        all.iter().map(text_of).collect()
    }

    fn assert_clean(&self) {
        assert!(self.chat.is_answered(LONG));
        assert_eq!(
            (self.chat.refused(), self.chat.problems()),
            (vec![], vec![])
        );
    }
}

fn text_of(message: &Received) -> String {
    String::from_utf8(message.text.clone()).unwrap()
}

/// A relay, and agents that it may be told of.
fn relay_and_agents(change: impl FnOnce(&mut Settings)) -> (Relay, [Agent; 3]) {
    let hop = "127.0.0.1:9".parse().unwrap();
    let mut agents = NAMES.map(|name| Agent::udp(name, hop));
    let uris: Vec<String> = agents
        .iter()
        .map(|one| format!("{:?}", one.uri()))
        .collect();
    let relay = Relay::start_with(|settings| {
        let section = format!("group.{TEAM:?}");
        settings.set(&section, "members", format!("[{}]", uris.join(", ")));
        settings.set("controlling", "factory", format!("{FACTORY:?}"));
        change(settings);
    });
    for agent in &mut agents {
        agent.hop = relay.sip;
    }
    (relay, agents)
}

/// What a client offers and takes: its chat, and lines of other media before it.
fn describe(own: &Listener, others: &str, attributes: &[&str]) -> String {
    let mut text = Writer::new("127.0.0.1".parse().unwrap());
    if !others.is_empty() {
        text = text.lines(others.to_owned());
    }
    text.message(own.path(), attributes).text()
}

/// A client that has accepted and has not connected for its chat.
struct Guest {
    agent: Agent,
    call: Call,
    told: Vec<Media>,
    own: Listener,
}

impl Guest {
    fn connects(self) -> Member {
        Member {
            chat: join(&self.own, self.told.last().expect("there is chat"), None),
            agent: self.agent,
            call: self.call,
            told: self.told,
        }
    }
}

/// All three meet: alice invites, the others accept. `others` are each client's further lines.
fn meet(target: &str, agents: [Agent; 3], others: [&str; 3]) -> [Member; 3] {
    gather(target, agents, others).map(Guest::connects)
}

fn gather(target: &str, agents: [Agent; 3], others: [&str; 3]) -> [Guest; 3] {
    let [mut alice, mut bob, mut carol] = agents;
    let ears = NAMES.map(|_| Listener::bind("127.0.0.1".parse().unwrap()));
    let offer = describe(&ears[0], others[0], &["setup:actpass"]);
    let mut call = if target == FACTORY {
        alice.invite_list(target, &offer, &[bob.uri(), carol.uri()])
    } else {
        alice.invite(target, &offer)
    };
    let at_bob = accepts(&mut bob, &describe(&ears[1], others[1], &["setup:active"]));
    let answer = call.established(&mut alice);
    let told = sdp::media(&answer.body);
    let at_carol = accepts(
        &mut carol,
        &describe(&ears[2], others[2], &["setup:active"]),
    );
    let [of_alice, of_bob, of_carol] = ears;
    let guest = |agent, (call, told), own| Guest {
        agent,
        call,
        told,
        own,
    };
    [
        guest(alice, (call, told), of_alice),
        guest(bob, at_bob, of_bob),
        guest(carol, at_carol, of_carol),
    ]
}

fn accepts(agent: &mut Agent, sdp: &str) -> (Call, Vec<Media>) {
    let call = agent.incoming();
    call.answer(agent, 180, "");
    call.answer(agent, 200, sdp);
    agent.request("ACK");
    let told = sdp::media(&call.invite.body);
    (call, told)
}

/// Everybody leaves, and nothing is left.
fn part(relay: &Relay, members: [Member; 3]) {
    let [alice, bob, carol] = members;
    for member in [carol, bob] {
        let (mut agent, mut call) = (member.agent, member.call);
        call.bye(&mut agent);
    }
    let (mut agent, mut call) = (alice.agent, alice.call);
    call.bye(&mut agent);
    relay.assert_empty();
}

/// What one member says, to all and to one, with its reports.
fn converse(members: &[Member; 3], to_all: &[&str]) {
    let [alice, bob, carol] = members;
    for (number, to) in to_all.iter().enumerate() {
        let text = format!("to all {number}");
        let id = bob.says(to, &text);
        for other in [alice, carol] {
            let heard = other.heard(number + 1);
            let from = format!("From: <{}>\r\n", bob.address());
            let to = format!("To: <{to}>\r\n");
            let last = heard.iter().find(|one| one.ends_with(&text));
            let is_right = last.is_some_and(|last| last.starts_with(&from) && last.contains(&to));
            assert!(is_right, "{text}, {from}, {to} in {heard:?}");
        }
        let reports = bob.chat.reports(number + 1, LONG);
        assert!(
            reports
                .iter()
                .any(|one| one.message_id == id && one.status == 200)
        );
    }
    // A private one is for one alone, and nobody hears what is for nobody.
    bob.says(&carol.agent.uri(), "between us");
    bob.says("sip:nobody@else.example", "to nobody");
    carol.says(TEAM_OR_ALL, "heard by all");
    assert!(
        carol
            .heard(to_all.len() + 1)
            .iter()
            .any(|one| one.ends_with("between us"))
    );
    let at_alice = alice.heard(to_all.len() + 1);
    assert_eq!(at_alice.len(), to_all.len() + 1, "{at_alice:?}");
    assert!(at_alice.iter().any(|one| one.ends_with("heard by all")));
    let at_bob = bob.heard(1);
    assert_eq!(at_bob.len(), 1, "nothing comes back: {at_bob:?}");
    assert!(at_bob[0].ends_with("heard by all"));
    let is_told = tests::live::eventually(LONG, || bob.chat.refused() == [404]);
    assert!(is_told, "what is for nobody: {:?}", bob.chat.refused());
    for member in members {
        assert_eq!(member.chat.problems(), Vec::<String>::new());
    }
}

/// What RCS clients write where they mean everybody.
const TEAM_OR_ALL: &str = "sip:anonymous@anonymous.invalid";

#[test]
fn who_has_accepted_reads_what_was_said_before_its_client_has_connected() {
    let (relay, agents) = relay_and_agents(|_| {});
    let [alice, bob, carol] = gather(TEAM, agents, [""; 3]);
    let (alice, bob) = (alice.connects(), bob.connects());
    alice.says(TEAM, "said early");
    assert!(bob.heard(1)[0].ends_with("said early"));
    let carol = carol.connects();
    bob.says(TEAM, "said later");
    let heard = carol.heard(2);
    for said in ["said early", "said later"] {
        let count = heard.iter().filter(|one| one.ends_with(said)).count();
        assert_eq!(count, 1, "{said} in {heard:?}");
    }
    for member in [&alice, &bob, &carol] {
        assert_eq!(member.chat.problems(), Vec::<String>::new());
    }
    part(&relay, [alice, bob, carol]);
}

#[test]
fn upl_04_in_a_defined_group_messages_reach_all_others_under_their_senders_own_name() {
    if !needs("live::group_chat", &["dumpcap", "tshark", "text2pcap"]) {
        return;
    }
    let (relay, agents) = relay_and_agents(|_| {});
    let Some(capture) = Capture::start(&judge::tcp(&relay.msrp_ports())) else {
        skip("live::group_chat", "this user may not capture on lo");
        return;
    };
    let members = meet(TEAM, agents, ["", "", ""]);
    let identity = tests::peers::sip::Message::uris(&members[1].call.invite, "Contact");
    converse(&members, &[TEAM, TEAM_OR_ALL, &identity[0]]);
    let port = members[0].told[0].port;
    part(&relay, members);
    // Every frame, as tshark reads it.
    let wire = capture.stop();
    let conversations = wire.conversations(port);
    assert_eq!(conversations.len(), 3);
    for octets in conversations.iter().flatten() {
        let mut reader = Reader::default();
        let (_, frames) = reader.push(octets);
        assert!(reader.is_between_frames(), "the connection ends in a frame");
        let frames: Vec<Vec<u8>> = frames
            .iter()
            .map(tests::torture::frames::Frame::octets)
            .collect();
        assert!(!frames.is_empty());
        let read = judge::msrp(&frames);
        let ports = judge::Ports {
            msrp: vec![judge::MSRP],
            ..judge::Ports::default()
        };
        assert_eq!(read.count(&ports, "msrp"), frames.len());
        read.assert_well_formed(&ports);
    }
}

#[test]
fn upl_04_in_an_ad_hoc_group_messages_reach_all_others_under_their_senders_own_name() {
    let (relay, agents) = relay_and_agents(|_| {});
    let members = meet(FACTORY, agents, ["", "", ""]);
    let identity = tests::peers::sip::Message::uris(&members[1].call.invite, "Contact");
    converse(&members, &[&identity[0], FACTORY]);
    part(&relay, members);
}

#[test]
fn upl_04_a_file_reaches_every_other_member_whole() {
    const OCTETS: u64 = 10_000_000;
    let (relay, agents) = relay_and_agents(|_| {});
    let members = meet(TEAM, agents, ["", "", ""]);
    let [alice, bob, carol] = &members;
    let file = Outgoing::file(OCTETS, 7, u64::MAX).with_success_report();
    let id = alice.chat.send(&file).unwrap();
    for other in [bob, carol] {
        let files = other.chat.messages(1, LONG);
        assert_eq!(files.len(), 1);
        assert!(files[0].is_identical(), "{:?}", files[0].first_wrong);
        assert_eq!(files[0].total, Some(OCTETS));
    }
    let reports = alice.chat.reports(1, LONG);
    assert_eq!(
        (reports.len(), reports[0].status, &reports[0].message_id),
        (1, 200, &id)
    );
    assert!(alice.heard(0).is_empty());
    for member in &members {
        member.assert_clean();
    }
    part(&relay, members);
}

#[test]
fn upl_04_a_nickname_is_one_members_alone() {
    let (relay, agents) = relay_and_agents(|_| {});
    let members = meet(TEAM, agents, ["", "", ""]);
    let [alice, bob, carol] = &members;
    bob.chat.nickname("The Great").unwrap();
    assert!(bob.chat.is_answered(LONG));
    carol.chat.nickname("The Great").unwrap();
    assert!(carol.chat.is_answered(LONG));
    assert_eq!(
        (bob.chat.refused(), carol.chat.refused()),
        (vec![], vec![425])
    );
    carol.says(TEAM, "and goes on");
    assert_eq!((alice.heard(1).len(), bob.heard(1).len()), (1, 1));
    part(&relay, members);
}

#[test]
fn upl_04_a_member_who_reads_nothing_holds_nobody_up() {
    let (relay, agents) = relay_and_agents(|_| {});
    let members = meet(TEAM, agents, ["", "", ""]);
    let [alice, bob, carol] = &members;
    carol.chat.stop(true);
    // Far more than the kernel's buffers and the relay's take for who doesn't read.
    let text = "x".repeat(1500);
    const COUNT: usize = 10_000;
    for number in 0..COUNT {
        alice.says(TEAM, &format!("{number:05}{text}"));
        if number % 100 == 99 {
            let arrived = bob.chat.messages(number + 1, Duration::from_secs(20)).len();
            assert_eq!(arrived, number + 1, "bob waits for carol");
        }
    }
    assert_eq!(bob.heard(COUNT).len(), COUNT);
    assert!(alice.chat.is_answered(LONG));
    assert_eq!(alice.chat.refused(), Vec::<u16>::new());
    carol.chat.stop(false);
    part(&relay, members);
}

#[test]
fn upl_11_a_group_talks_shows_and_writes_in_one_session() {
    let (relay, agents) = relay_and_agents(|_| {});
    let ip = "127.0.0.1".parse().unwrap();
    let mut ports = tests::live::ports::Ports::take();
    let video: Vec<std::net::UdpSocket> = NAMES
        .iter()
        .map(|_| std::net::UdpSocket::bind((ip, ports.pair())).unwrap())
        .collect();
    let mut voices: Vec<rtp::Peer> = (1_u32..)
        .zip(NAMES)
        .map(|(number, _)| rtp::Peer::bind(ip, ports.pair(), (number, 0)))
        .collect();
    let lines: Vec<String> = voices
        .iter()
        .zip(&video)
        .map(|(voice, picture)| {
            format!(
                "m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=rtcp-mux\r\n\
                 m=video {} RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\na=rtcp-mux\r\n",
                voice.port(),
                picture.local_addr().unwrap().port()
            )
        })
        .collect();
    let members = meet(TEAM, agents, [&lines[0], &lines[1], &lines[2]]);
    for (member, voice) in members.iter().zip(&mut voices) {
        let kinds: Vec<&str> = member.told.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["audio", "video", "message"]);
        voice.aim(member.told[0].address());
        voice.talk();
    }
    // While all talk, alice shows a key frame and everybody writes.
    let alice_to = members[0].told[1].address();
    let seen = |socket: &std::net::UdpSocket| {
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut bytes = [0; 2048];
        let mut seq = 0_u16;
        tests::live::eventually(LONG, || {
            seq += 1;
            video[0].send_to(&key_frame(seq), alice_to).unwrap();
            matches!(socket.recv(&mut bytes), Ok(length) if length > 12 && bytes[1] & 0x7f == 97)
        })
    };
    assert!(seen(&video[1]) && seen(&video[2]), "alice isn't seen");
    for (number, member) in members.iter().enumerate() {
        member.says(TEAM, &format!("said by {number}"));
    }
    for (member, voice) in members.iter().zip(&voices) {
        assert_eq!(member.heard(2).len(), 2);
        let heard = tests::live::eventually(LONG, || {
            voice.record().damaged + voice.record().heard.len() as u64 > 20
        });
        assert!(heard, "the mix isn't heard");
        member.assert_clean();
    }
    drop(voices);
    part(&relay, members);
}

/// A whole VP8 key frame in one packet (RFC 7741 §4.2, RFC 6386 §9.1).
fn key_frame(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0x80 | 97];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 3000).to_be_bytes());
    packet.extend(0xA11C_E001_u32.to_be_bytes());
    packet.extend([
        0x10, 0x50, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00,
    ]);
    packet.extend([0x55; 400]);
    packet
}
