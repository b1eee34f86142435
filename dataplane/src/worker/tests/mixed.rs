//! Mixed rooms through a worker: who hears whom, who speaks, and that silence costs nothing.

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{
    Act, AudioCodec, AudioFormat, Direction, Event, FloorId, MemberId, MixSpec, Outcome, Remote,
    RoomKind, RoomPlan, RtpFormats, RtpRemote, StreamId, StreamSet,
};
use crate::stats::DropReason;

use super::fake::{World, config};
use super::rooms::{client, join, leave, local};

const AUDIO: u8 = 0;
const HERTZ: [f64; 3] = [400.0, 600.0, 800.0];

/// Members of a mixed room who speak µ-law, each with a tone of its own.
pub(super) struct Mixed {
    pub(super) world: World,
    local: Vec<SocketAddr>,
    seq: u16,
    /// What each has heard, in samples.
    heard: Vec<Vec<f64>>,
}

fn connect(member: u32, direction: Direction) -> Act {
    let at = client(member);
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(AUDIO),
        remote: Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
        direction,
        formats: RtpFormats {
            audio: vec![AudioFormat {
                payload_type: 0,
                codec: AudioCodec::Pcmu,
                ptime_ms: 20,
            }],
            ..RtpFormats::default()
        },
    }
}

pub(super) fn mixed(members: u32, floor: Option<u16>) -> Mixed {
    let mut world = World::new(&config(10_000, 10_999));
    let mut acts = vec![Act::OpenRoom(RoomPlan {
        stream: StreamId(AUDIO),
        kind: RoomKind::Mix(MixSpec {
            talkers: 3,
            jitter_max_ms: 200,
            auto_gain: false,
        }),
        floor: floor.map(FloorId),
    })];
    for member in 0..members {
        acts.extend([join(member, AUDIO), connect(member, Direction::BOTH)]);
    }
    let opened = world.order(1, acts);
    assert_eq!(opened.outcome, Outcome::Done);
    let joins = opened.acts.iter().filter(|act| matches!(act, Act::Join(_)));
    let local: Vec<_> = joins.map(local).collect();
    Mixed {
        world,
        heard: vec![Vec::new(); local.len()],
        local,
        seq: 0,
    }
}

impl Mixed {
    /// So many packets of 20 ms of those who speak.
    pub(super) fn speak(&mut self, who: &[u32], packets: u16) {
        for _ in 0..packets {
            for member in who {
                let packet = self.tone(*member);
                let to = self.local[*member as usize];
                self.world
                    .net
                    .borrow_mut()
                    .push(client(*member), to, &packet);
            }
            self.seq = self.seq.wrapping_add(1);
            for _ in 0..4 {
                self.world.now += Duration::from_millis(5);
                self.world.cycle();
            }
            self.listen();
        }
    }

    fn tone(&self, member: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.seq.to_be_bytes());
        let time = 160 * u32::from(self.seq);
        packet.extend(time.to_be_bytes());
        packet.extend((1000 + member).to_be_bytes());
        packet.extend((0..160).map(|at| {
            let angle = TAU * HERTZ[member as usize] * f64::from(time + at) / 8000.0;
            law(6000.0 * angle.sin())
        }));
        packet
    }

    fn listen(&mut self) {
        let sent = std::mem::take(&mut self.world.net.borrow_mut().sent);
        for (_, to, packet) in sent {
            let member = (0..).position(|member| client(member) == to).unwrap();
            // RTCP is no sound.
            if (192..=223).contains(&packet[1]) {
                continue;
            }
            let csrcs = usize::from(packet[0] & 15);
            let payload = &packet[12 + 4 * csrcs..];
            self.heard[member].extend(payload.iter().map(|octet| linear(*octet)));
        }
    }

    /// Which tones are in the last half second that a member heard.
    fn tones(&self, member: usize) -> [bool; 3] {
        let heard = &self.heard[member];
        let last = &heard[heard.len().saturating_sub(4000)..];
        HERTZ.map(|hertz| strength(last, hertz) > 1500.0)
    }

    /// Members whose packets wake nobody.
    fn gathering(&self) -> usize {
        let net = self.world.net.borrow();
        net.sockets.values().filter(|sock| sock.gathers).count()
    }

    fn forget(&mut self) {
        self.heard.iter_mut().for_each(Vec::clear);
    }
}

/// The amplitude of a tone (Goertzel's sum, written as a correlation).
fn strength(samples: &[f64], hertz: f64) -> f64 {
    let mut sums = [0.0; 2];
    for (at, sample) in (0_u32..).zip(samples) {
        let (sin, cos) = (TAU * hertz * f64::from(at) / 8000.0).sin_cos();
        sums[0] += sample * sin;
        sums[1] += sample * cos;
    }
    let count = f64::from(u32::try_from(samples.len().max(1)).unwrap());
    2.0 * sums[0].hypot(sums[1]) / count
}

/// µ-law by its definition (ITU-T G.711, table 2a): the nearest of the 256 values.
fn law(sample: f64) -> u8 {
    let distance = |octet: &u8| (linear(*octet) - sample).abs();
    let all = 0..=255;
    all.min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .unwrap()
}

fn linear(octet: u8) -> f64 {
    let bits = !octet;
    let (segment, step) = (bits >> 4 & 7, f64::from(bits & 15));
    let size = (step * 8.0 + 132.0) * f64::from(1_u32 << segment) - 132.0;
    if bits & 0x80 == 0 { size } else { -size }
}

#[test]
fn upl_02_each_member_hears_all_others_but_not_itself() {
    let mut room = mixed(3, None);
    room.speak(&[0, 1, 2], 60);
    assert_eq!(room.tones(0), [false, true, true]);
    assert_eq!(room.tones(1), [true, false, true]);
    assert_eq!(room.tones(2), [true, true, false]);
    assert_eq!(room.world.worker.stats.late_ticks, 0);
    let left = room.world.order(1, vec![leave(None, StreamSet::ALL)]);
    let Act::Leave { facts, .. } = &left.acts[0] else {
        panic!()
    };
    for fact in facts {
        // The last one may lie in its socket still.
        assert!((59..=60).contains(&fact.leg.packets), "{fact:?}");
        assert!(fact.sent >= 55, "{fact:?}");
    }
    assert!(room.world.worker.rooms.is_empty());
}

#[test]
fn who_joins_leaves_or_holds_does_not_disturb_the_others() {
    let mut room = mixed(2, None);
    room.speak(&[0, 1], 40);
    let acts = vec![join(2, AUDIO), connect(2, Direction::BOTH)];
    let joined = room.world.order(1, acts);
    room.local.push(local(&joined.acts[0]));
    room.heard.push(Vec::new());
    room.forget();
    room.speak(&[0, 1, 2], 50);
    assert_eq!(room.tones(0), [false, true, true]);
    assert_eq!(room.tones(2), [true, true, false]);
    let hold = Direction {
        may_send: false,
        may_receive: false,
    };
    room.world.order(1, vec![connect(1, hold)]);
    room.forget();
    room.speak(&[0, 1, 2], 50);
    assert_eq!(room.tones(0), [false, false, true]);
    assert_eq!(room.tones(2), [true, false, false]);
    assert!(room.heard[1].is_empty(), "it is on hold");
    assert!(room.world.dropped(DropReason::Direction) >= 50);
    room.world.order(1, vec![leave(Some(1), StreamSet::ALL)]);
    room.forget();
    room.speak(&[0, 2], 50);
    assert_eq!(room.tones(0), [false, false, true]);
    assert_eq!(room.tones(2), [true, false, false]);
}

#[test]
fn upl_05_in_a_mixed_room_only_who_has_the_floor_is_heard() {
    let mut room = mixed(3, Some(1));
    let give = |room: &mut Mixed, holder: u32| {
        let act = Act::GiveFloor {
            floor: FloorId(1),
            holders: vec![MemberId(holder)],
        };
        assert_eq!(room.world.order(1, vec![act]).outcome, Outcome::Done);
        room.forget();
    };
    give(&mut room, 1);
    room.speak(&[0, 1, 2], 60);
    assert_eq!(room.tones(0), [false, true, false]);
    assert_eq!(room.tones(2), [false, true, false]);
    assert_eq!(room.world.dropped(DropReason::Floor), 120);
    give(&mut room, 2);
    room.speak(&[0, 1, 2], 60);
    assert_eq!(room.tones(0), [false, false, true]);
    assert_eq!(room.tones(1), [false, false, true]);
    let before = strength(&room.heard[0], HERTZ[1]);
    assert!(before < 150.0, "{before}: what waited isn't heard any more");
}

#[test]
fn control_is_told_who_speaks() {
    let mut room = mixed(3, None);
    room.speak(&[1], 60);
    let told = |room: &mut Mixed| -> Vec<Option<u32>> {
        let news = room.world.news.drain(..);
        news.filter_map(|event| match event {
            Event::Speaking { member, .. } => Some(member.map(|member| member.0)),
            _ => None,
        })
        .collect()
    };
    assert_eq!(told(&mut room), [Some(1)]);
    room.speak(&[2], 150);
    assert_eq!(told(&mut room), [Some(2)]);
}

#[test]
fn an_idle_room_has_no_clock() {
    let mut room = mixed(3, None);
    assert_eq!(room.world.worker.ticks.next_deadline(), None);
    room.speak(&[0], 10);
    assert!(room.world.worker.ticks.next_deadline().is_some());
    room.speak(&[], 200);
    assert_eq!(room.world.worker.ticks.next_deadline(), None);
    let before = room.world.worker.stats.datagrams_out;
    room.speak(&[], 500);
    assert_eq!(room.world.worker.stats.datagrams_out, before);
    room.forget();
    room.speak(&[0, 1], 60);
    assert_eq!(room.tones(2), [true, true, false], "and it wakes again");
}

#[test]
fn packets_lie_in_their_sockets_while_a_room_talks_and_wake_the_worker_when_it_is_silent() {
    let mut room = mixed(3, None);
    assert_eq!(room.gathering(), 0);
    room.speak(&[0, 1, 2], 50);
    assert_eq!(room.gathering(), 3);
    room.world.order(1, vec![connect(2, Direction::BOTH)]);
    room.speak(&[0, 1, 2], 2);
    assert_eq!(
        room.gathering(),
        3,
        "one that is connected anew does so again"
    );
    let joined = room
        .world
        .order(1, vec![join(3, AUDIO), connect(3, Direction::BOTH)]);
    room.local.push(local(&joined.acts[0]));
    room.heard.push(Vec::new());
    room.speak(&[0, 1], 2);
    assert_eq!(room.gathering(), 4);
    room.world.order(1, vec![leave(Some(3), StreamSet::ALL)]);
    room.speak(&[0, 1], 2);
    assert_eq!(room.gathering(), 3);
    room.forget();
    room.speak(&[0, 1], 50);
    assert_eq!(room.tones(2), [true, true, false]);
    room.speak(&[], 200);
    assert_eq!(room.gathering(), 0);
}

#[test]
fn rooms_that_pass_packets_on_or_have_a_floor_do_not_let_them_lie() {
    let mut pair = mixed(2, None);
    pair.speak(&[0, 1], 20);
    assert_eq!(pair.gathering(), 0);
    let mut gated = mixed(3, Some(1));
    let act = Act::GiveFloor {
        floor: FloorId(1),
        holders: vec![MemberId(1)],
    };
    gated.world.order(1, vec![act]);
    gated.speak(&[0, 1, 2], 20);
    assert_eq!(gated.gathering(), 0);
}

/// A report of one source that has lost so many 256ths (RFC 3550 §6.4.2).
fn report(lost: u8) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7];
    report.extend(1001_u32.to_be_bytes());
    report.extend(7_u32.to_be_bytes());
    report.push(lost);
    report.extend([0; 19]);
    report
}

#[test]
fn a_listener_who_loses_packets_is_sent_redundancy_from_then_on() {
    let mut room = mixed(3, None);
    let Act::ConnectMember {
        remote,
        direction,
        formats,
        member,
        stream,
    } = connect(1, Direction::BOTH)
    else {
        panic!()
    };
    let codec = AudioCodec::Opus {
        bitrate: 40_000,
        fec: true,
        dtx: false,
    };
    let audio = vec![AudioFormat {
        payload_type: 96,
        codec,
        ptime_ms: 20,
    }];
    let formats = RtpFormats { audio, ..formats };
    room.world.order(
        1,
        vec![Act::ConnectMember {
            member,
            stream,
            remote,
            direction,
            formats,
        }],
    );
    // Configurations from 16 on are without SILK, which has the redundancy (RFC 6716 table 2).
    let configs = |room: &mut Mixed| -> Vec<u8> {
        let sent = room.world.net.borrow().sent.clone();
        let audio = sent
            .iter()
            .filter(|(_, to, packet)| *to == client(1) && packet[1] & 0x7f == 96);
        audio
            .map(|(_, _, packet)| packet[12 + 4 * usize::from(packet[0] & 15)] >> 3)
            .collect()
    };
    let mut seen = Vec::new();
    for round in 0..60_u16 {
        for member in [0, 2] {
            let packet = room.tone(member);
            let to = room.local[member as usize];
            room.world
                .net
                .borrow_mut()
                .push(client(member), to, &packet);
        }
        if round == 30 {
            let to = room.local[1];
            room.world.net.borrow_mut().push(client(1), to, &report(26));
        }
        room.seq += 1;
        for _ in 0..4 {
            room.world.now += Duration::from_millis(5);
            room.world.cycle();
        }
        seen.extend(configs(&mut room));
        room.world.net.borrow_mut().sent.clear();
    }
    assert!(seen.len() > 50, "{seen:?}");
    assert!(seen[..25].iter().all(|config| *config >= 16), "{seen:?}");
    let last = &seen[seen.len() - 10..];
    assert!(last.iter().all(|config| *config < 16), "{seen:?}");
}
