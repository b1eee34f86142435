//! Switched video through a worker: it follows who is heard in the mixed room beside it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{
    Act, AudioCodec, AudioFormat, Direction, MemberId, MixSpec, Outcome, PayloadFormat, Remote,
    RoomKind, RoomPlan, RtpFormats, RtpRemote, StreamId, StreamSet, VideoCodec, VideoFeedback,
    VideoFormat,
};
use crate::frame::Class;

use super::fake::{World, config};
use super::rooms::{client, join, leave, local};

const AUDIO: u8 = 0;
const VIDEO: u8 = 1;

/// Members of a session with mixed audio and switched video.
pub(super) struct Session {
    pub(super) world: World,
    /// Where each sends audio and video.
    local: Vec<[SocketAddr; 2]>,
    seq: u16,
    /// A key frame was asked of them.
    asked: Vec<bool>,
    /// Whose pictures each got since it was looked at, and whether they were key frames.
    seen: Vec<Vec<(u8, bool)>>,
    /// The picture that each got last, and sent last.
    last: Vec<[Vec<u8>; 2]>,
}

fn connect(member: u32, stream: u8) -> Act {
    let at = client(member);
    let feedback = VideoFeedback {
        picture_loss: true,
        ..VideoFeedback::default()
    };
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(stream),
        remote: Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
        direction: Direction::BOTH,
        formats: RtpFormats {
            audio: vec![AudioFormat {
                payload_type: 0,
                codec: AudioCodec::Pcmu,
                ptime_ms: 20,
            }],
            payloads: vec![PayloadFormat {
                payload_type: 96,
                format: 1,
                clock_rate: 90_000,
            }],
            video: vec![VideoFormat {
                payload_type: 96,
                codec: VideoCodec::Vp8,
                feedback,
            }],
            ..RtpFormats::default()
        },
    }
}

pub(super) fn session(members: u32) -> Session {
    let mut world = World::new(&config(10_000, 10_999));
    let mix = RoomKind::Mix(MixSpec {
        talkers: 3,
        jitter_max_ms: 200,
        auto_gain: false,
    });
    let switch = RoomKind::Switch {
        follows: Some(StreamId(AUDIO)),
    };
    let rooms = [(AUDIO, mix), (VIDEO, switch)].map(|(stream, kind)| {
        Act::OpenRoom(RoomPlan {
            stream: StreamId(stream),
            kind,
            floor: None,
        })
    });
    assert_eq!(world.order(1, rooms.into()).outcome, Outcome::Done);
    let mut at = Vec::new();
    for member in 0..members {
        let acts = vec![
            join(member, AUDIO),
            join(member, VIDEO),
            connect(member, AUDIO),
            connect(member, VIDEO),
        ];
        let joined = world.order(1, acts);
        assert_eq!(joined.outcome, Outcome::Done);
        at.push([local(&joined.acts[0]), local(&joined.acts[1])]);
    }
    Session {
        world,
        asked: vec![false; at.len()],
        seen: vec![Vec::new(); at.len()],
        last: vec![Default::default(); at.len()],
        local: at,
        seq: 0,
    }
}

impl Session {
    /// One is heard for so many packets of 20 ms; all send their pictures.
    pub(super) fn speaks(&mut self, speaker: u32, packets: u16) {
        for _ in 0..packets {
            self.seq = self.seq.wrapping_add(1);
            let audio = packet(
                0,
                self.seq,
                160,
                &[[0x80; 4], [0; 4]].as_flattened().repeat(20),
            );
            let to = self.local[speaker as usize][0];
            self.push(speaker, to, &audio);
            for member in 0..self.local.len() {
                let is_key = std::mem::take(&mut self.asked[member]);
                let number = u32::try_from(member).unwrap();
                let low = u8::try_from(member).unwrap();
                let inter = u8::from(!is_key);
                let payload = [0x10, 0x10 | inter, 0, 0, 0x9d, 0x01, 0x2a, low];
                let video = packet(0x80 | 96, self.seq, 1800, &payload);
                let to = self.local[member][1];
                self.push(number, to, &video);
                self.last[member][1] = video;
            }
            for _ in 0..4 {
                self.world.now += Duration::from_millis(5);
                self.world.cycle();
            }
            self.look();
        }
    }

    /// A member's last picture comes again.
    pub(super) fn twice(&mut self, member: u32) {
        let to = self.local[member as usize][1];
        let again = self.last[member as usize][1].clone();
        self.push(member, to, &again);
        self.world.cycle();
        self.look();
    }

    /// A member says many times that it lacks what it got last (RFC 4585 §6.2.1).
    pub(super) fn lacks(&mut self, member: u32) {
        let got = &self.last[member as usize][0];
        let mut nack = vec![0x81, 205, 0, 3, 0, 0, 0, 9];
        nack.extend_from_slice(&got[8..12]);
        nack.extend_from_slice(&got[2..4]);
        nack.extend([0, 0]);
        let to = self.local[member as usize][1];
        for _ in 0..5_000 {
            self.world.net.borrow_mut().push(client(member), to, &nack);
            self.world.cycle();
            self.look();
        }
    }

    fn push(&self, from: u32, to: SocketAddr, packet: &[u8]) {
        let mut packet = packet.to_vec();
        packet[8..12].copy_from_slice(&(1000 + from).to_be_bytes());
        let mut net = self.world.net.borrow_mut();
        net.push(client(from), to, &packet);
    }

    fn look(&mut self) {
        let sent = std::mem::take(&mut self.world.net.borrow_mut().sent);
        for (_, to, packet) in sent {
            let member = (0..).position(|member| client(member) == to).unwrap();
            match packet[1] {
                192..=223 => self.asked[member] |= asks(&packet),
                kind if kind & 0x7f == 96 => {
                    let from = *packet.last().unwrap();
                    self.seen[member].push((from, packet[13] & 1 == 0));
                    self.last[member][0] = packet;
                }
                _ => {}
            }
        }
    }

    /// Whose pictures each member gets by now.
    fn shown(&mut self) -> Vec<u8> {
        let seen = self.seen.iter_mut();
        seen.map(|seen| std::mem::take(seen).last().unwrap().0)
            .collect()
    }
}

fn packet(second: u8, seq: u16, step: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, second];
    packet.extend(seq.to_be_bytes());
    packet.extend((step * u32::from(seq)).to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(payload);
    packet
}

/// Whether a compound packet asks for a picture (RFC 4585 §6.3.1).
fn asks(compound: &[u8]) -> bool {
    let mut rest = compound;
    while !rest.is_empty() {
        if rest[0] & 0x1f == 1 && rest[1] == 206 {
            return true;
        }
        rest = &rest[4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]))..];
    }
    false
}

#[test]
fn upl_02_video_of_who_is_heard_goes_to_all_others_and_who_was_heard_before_to_that_one() {
    let mut session = session(4);
    session.speaks(1, 150);
    session.speaks(2, 150);
    assert_eq!(session.shown(), [2, 2, 1, 2]);
    session.speaks(0, 150);
    let third = session.seen[3].clone();
    assert_eq!(session.shown(), [2, 0, 0, 0]);
    let first = third.iter().find(|(from, _)| *from == 0).unwrap();
    assert!(first.1, "a key frame, which was asked for");
    session.world.send(1, vec![leave(None, StreamSet::ALL)]);
    session.world.cycle();
    session.world.pass(2000);
    let left = session.world.done().pop().expect("the order comes back");
    assert_eq!(left.outcome, Outcome::Done);
    assert!(session.world.worker.rooms.is_empty());
    assert_eq!(session.world.worker.pool.free(Class::Datagram), 1024);
}
