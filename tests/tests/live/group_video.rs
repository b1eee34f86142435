//! Switched video through the relay's process: called by SIP, sent and decoded by ffmpeg.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::live::needs;
use tests::live::ports::Ports;
use tests::live::process::Folder;
use tests::live::scene::LONG;
use tests::peers::sdp::{self, Writer};
use tests::peers::sip::{Agent, Call};

use super::groups::{TEAM, Voice, relay_with};
use super::video::{Codec, H264, VP8, look};

/// A participant's streams as the relay sees them.
struct Place {
    voice: Voice,
    video: u16,
}

impl Place {
    fn describe(&self, codec: &Codec) -> String {
        let (port, name) = (self.video, codec.name);
        let fmtp = match name {
            "H264" => "a=fmtp:96 packetization-mode=1;profile-level-id=42c01f\r\n",
            _ => "",
        };
        let video = format!("m=video {port} RTP/AVP 96\r\na=rtpmap:96 {name}/90000\r\n{fmtp}");
        let ip = "127.0.0.1".parse().unwrap();
        Writer::new(ip).audio(self.voice.port()).lines(video).text()
    }
}

/// Where voice and video of a description go.
fn ways(description: &str) -> [SocketAddr; 2] {
    let list = sdp::media(description);
    ["audio", "video"].map(|kind| {
        let mut all = list.iter();
        let found = all.find(|media| media.kind == kind && media.port != 0);
        found.expect("the relay has both").address()
    })
}

fn accepts(agent: &mut Agent, place: &Place, codec: &Codec) -> (Call, [SocketAddr; 2]) {
    let call = agent.incoming();
    call.answer(agent, 200, &place.describe(codec));
    agent.request("ACK");
    let ways = ways(&call.invite.body);
    (call, ways)
}

/// Alice and Bob send pictures and talk in turn; Carol's decoder must find no fault in what it gets.
fn play(codec: &Codec) {
    if !needs("live::group_video", &["ffmpeg"]) {
        return;
    }
    let hop = "127.0.0.1:9".parse().unwrap();
    let mut agents = ["alice", "bob", "carol"].map(|name| Agent::udp(name, hop));
    let [alice, bob, carol] = &agents;
    let relay = relay_with(&[alice, bob, carol], |_| {});
    agents.iter_mut().for_each(|agent| agent.hop = relay.sip);
    let [alice, bob, carol] = &mut agents;
    let mut ports = Ports::take();
    let [red, blue, at] = std::array::from_fn(|_| ports.pair());
    let [mut a, mut b, c] = [red, blue, at].map(|video| Place {
        voice: Voice::new(),
        video,
    });
    let folder = Folder::new("group-video");

    let mut call = alice.invite(TEAM, &a.describe(codec));
    let (_at_bob, from_bob) = accepts(bob, &b, codec);
    let from_alice = ways(&call.established(alice).body);
    let mut receiver = codec.receive(folder.path(), at);
    let (_at_carol, _) = accepts(carol, &c, codec);
    let senders = [
        codec.send_from(folder.path(), "red", (red, from_alice[1].port())),
        codec.send_from(folder.path(), "blue", (blue, from_bob[1].port())),
    ];
    let begin = Instant::now();
    let mut ended = None;
    while ended.is_none() && begin.elapsed() < LONG {
        // Who speaks is who is shown; a second and a half each.
        let (voice, way) = match begin.elapsed().as_millis() / 1500 % 2 {
            0 => (&mut a.voice, from_alice[0]),
            _ => (&mut b.voice, from_bob[0]),
        };
        voice.talk(way);
        ended = receiver.wait(Duration::from_millis(1500));
        voice.pause();
    }
    drop(senders);
    let said = receiver.output();
    let fine = ended.is_some_and(|status| status.success());
    assert!(fine, "{ended:?}: {said}");
    assert_eq!(said, "", "the decoder found fault");
    look(&fs::read(folder.path().join("out.rgb")).unwrap(), 3);
    call.bye(alice);
}

#[test]
fn vp8_of_ffmpeg_through_a_group_decodes_without_fault_while_speakers_change() {
    play(&VP8);
}

#[test]
fn h264_of_ffmpeg_through_a_group_decodes_without_fault_while_speakers_change() {
    play(&H264);
}
