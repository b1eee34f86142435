//! A group session through a started relay: SIP clients written from the RFCs, and their voices.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::live::eventually;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::peers::sdp::{self, Writer};
use tests::peers::sip::{Agent, Call};

pub(super) const TEAM: &str = "sip:team@groups.example";

/// A relay with a group of these clients.
pub(super) fn relay_with(
    members: &[&Agent],
    started: impl FnOnce(&mut tests::live::relay::Settings),
) -> Relay {
    let uris: Vec<String> = members
        .iter()
        .map(|one| format!("{:?}", one.uri()))
        .collect();
    Relay::start_with(|settings| {
        let section = format!("group.{TEAM:?}");
        settings.set(&section, "members", format!("[{}]", uris.join(", ")));
        settings.set(&section, "remove", "\"participants\"");
        started(settings);
    })
}

/// Sources of all voices.
static SOURCES: AtomicU32 = AtomicU32::new(0x1234_5678);

/// A client's voice: sends G.711 of one loudness every 20 ms, and notes how loud what it hears is.
pub(super) struct Voice {
    socket: UdpSocket,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Voice {
    pub(super) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Self {
            socket,
            is_over: Arc::default(),
            thread: None,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Says a loud tone (a square wave at 400 Hz) until it is dropped.
    pub(super) fn talk(&mut self, to: std::net::SocketAddr) {
        let socket = self.socket.try_clone().unwrap();
        let is_over = Arc::clone(&self.is_over);
        // Numbers begin anew with each talk, so it is another source (RFC 3550 §8.2).
        let source = SOURCES.fetch_add(1, Ordering::Relaxed);
        self.thread = Some(std::thread::spawn(move || {
            for turn in 0_u16.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let mut packet = vec![0x80, 0x00];
                packet.extend(turn.to_be_bytes());
                packet.extend((u32::from(turn) * 160).to_be_bytes());
                packet.extend(source.to_be_bytes());
                // µ-law: 0x90 and 0x10 are one loudness with either sign.
                let wave = (0..160).map(|at| if at / 10 % 2 == 0 { 0x90_u8 } else { 0x10 });
                packet.extend(wave);
                let _gone = socket.send_to(&packet, to);
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }

    /// Whether something loud is heard in some time.
    fn hears(&self, at_most: Duration) -> bool {
        let mut bytes = [0; 2048];
        eventually(at_most, || {
            let Ok((length, _)) = self.socket.recv_from(&mut bytes) else {
                return false;
            };
            // µ-law is inverted: small magnitudes have all bits of theirs set.
            let payload = bytes.get(12..length).unwrap_or_default();
            let loud = payload
                .iter()
                .filter(|sample| **sample & 0x70 < 0x30)
                .count();
            loud > 40
        })
    }

    /// What has come so far is forgotten.
    fn forget(&self) {
        let mut bytes = [0; 2048];
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv_from(&mut bytes).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

impl Voice {
    /// Says nothing more until it talks again.
    pub(super) fn pause(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
        self.is_over.store(false, Ordering::Relaxed);
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.pause();
    }
}

fn describe(voice: &Voice) -> String {
    let ip = "127.0.0.1".parse().unwrap();
    Writer::new(ip).audio(voice.port()).text()
}

/// Waits for an invitation and takes it; where its voice goes to.
fn accepts(agent: &mut Agent, voice: &Voice) -> (Call, std::net::SocketAddr) {
    let call = agent.incoming();
    let contact = call.invite.field("Contact").to_owned();
    assert!(contact.contains("isfocus"), "{contact}");
    call.answer(agent, 180, "");
    call.answer(agent, 200, &describe(voice));
    agent.request("ACK");
    let to = sdp::media(&call.invite.body)[0].address();
    (call, to)
}

#[test]
fn sgn_09_three_clients_talk_in_a_group_and_one_leaves() {
    let _relay = three_talk_and_one_leaves(|_| {});
}

#[test]
fn a_group_on_three_workers_is_one_group_to_its_members() {
    let relay = three_talk_and_one_leaves(|settings| {
        settings.set("media", "workers", 3);
        settings.set("controlling", "members_per_worker", 1);
    });
    for worker in ["0", "1", "2"] {
        let label = format!("worker=\"{worker}\"");
        let has_sent = || relay.metric(&["datagrams_out", &label]) > 0.0;
        assert!(eventually(LONG, has_sent), "{:?}", relay.metrics());
    }
    assert_eq!(relay.metric(&["dropped", "road_full"]), 0.0);
}

fn three_talk_and_one_leaves(started: impl FnOnce(&mut tests::live::relay::Settings)) -> Relay {
    let hop = "127.0.0.1:9".parse().unwrap();
    let mut agents = ["alice", "bob", "carol"].map(|name| Agent::udp(name, hop));
    let [alice, bob, carol] = &agents;
    let relay = relay_with(&[alice, bob, carol], started);
    for agent in &mut agents {
        agent.hop = relay.sip;
    }
    let [alice, bob, carol] = &mut agents;
    let (mut one, two, mut three) = (Voice::new(), Voice::new(), Voice::new());

    let mut call = alice.invite(TEAM, &describe(&one));
    let (mut at_bob, _) = accepts(bob, &two);
    let answer = call.established(alice);
    assert!(
        answer.field("Contact").contains("isfocus"),
        "{}",
        answer.text()
    );
    let (mut at_carol, to_carol) = accepts(carol, &three);

    // Alice is heard by both, and hears nothing of herself.
    one.talk(sdp::media(&answer.body)[0].address());
    assert!(two.hears(LONG), "bob hears nobody");
    assert!(three.hears(LONG), "carol hears nobody");
    one.forget();
    assert!(
        !one.hears(Duration::from_millis(400)),
        "alice hears herself"
    );

    // Carol is heard by alice; when she has left, alice hears nothing any more.
    three.talk(to_carol);
    assert!(one.hears(LONG), "alice doesn't hear carol");
    let views = relay.sessions();
    assert_eq!(views[0]["participants"], 3, "{views:#?}");
    at_carol.bye(carol);
    std::thread::sleep(Duration::from_millis(300));
    one.forget();
    assert!(!one.hears(Duration::from_millis(400)), "carol has left");

    // Alice removes bob, and leaves herself.
    let refer_to = format!("<sip:bob@{};method=BYE>", bob.address());
    let refer = call
        .request(alice, "REFER", 2)
        .with("Refer-To", refer_to)
        .with("Refer-Sub", "false");
    alice.send(&refer);
    assert_eq!(alice.response("REFER").code(), Some(200));
    let bye = bob.request("BYE");
    bob.answer(&bye, 200, &[], "");
    let bye = call.request(alice, "BYE", 3);
    alice.send(&bye);
    assert_eq!(alice.response("BYE").code(), Some(200));
    let _ = &mut at_bob;
    relay.assert_empty();
    relay
}
