//! Rooms of group sessions take no memory for a packet either, reports and ticks among them.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dataplane::api::{
    Act, AudioCodec, AudioFormat, ControlEnd, Direction, Learn, LegLocal, LegSpec, MemberId,
    MemberPlan, MixSpec, OutpostId, Remote, RoomKind, RoomPlan, RtpFormats, RtpRemote, StreamId,
    road,
};
use dataplane::net::Backend;
use dataplane::net::mmsg::Mmsg;
use dataplane::worker::Worker;

use super::{order, taken, worker};

/// A room and its members, who are connected by the same order.
fn acts(clients: &[UdpSocket], first: u32, kind: RoomKind) -> Vec<Act> {
    let stream = StreamId(0);
    let mut acts = vec![Act::OpenRoom(RoomPlan {
        stream,
        kind,
        floor: None,
    })];
    for (member, client) in (first..).map(MemberId).zip(clients) {
        acts.push(Act::Join(MemberPlan {
            member,
            stream,
            leg: LegSpec::Rtp {
                local_ip: "127.0.0.1".parse().unwrap(),
                rtcp_mux: true,
                learn: Learn::Never,
            },
            local: LegLocal::Unbound,
            silence_ms: 1000,
            identity: None,
        }));
        let at = client.local_addr().unwrap();
        let audio = AudioFormat {
            payload_type: 8,
            codec: AudioCodec::Pcma,
            ptime_ms: 20,
        };
        acts.push(Act::ConnectMember {
            member,
            stream,
            remote: Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
            direction: Direction::BOTH,
            formats: RtpFormats {
                audio: vec![audio],
                ..RtpFormats::default()
            },
        });
    }
    acts
}

/// Opens the room, with the last member at an outpost where there is a second worker; where the
/// members send to.
fn open<B: Backend>(
    places: &mut [(Worker<B>, ControlEnd)],
    clients: &[UdpSocket],
    kind: RoomKind,
) -> Vec<SocketAddr> {
    let mut at_home = acts(clients, 0, kind);
    let mut opened = Vec::new();
    if let [(_, home), (outpost, control)] = places {
        let id = OutpostId(0);
        let (here, there) = road(home, control);
        let open = |end| Act::OpenRoad {
            outpost: id,
            end: Some(Box::new(end)),
        };
        at_home.insert(1, open(here));
        let away = at_home.iter_mut().rev().find_map(|act| match act {
            Act::Join(plan) => Some(plan),
            _ => None,
        });
        away.unwrap().leg = LegSpec::Away(id);
        let mut elsewhere = acts(&clients[2..], 2, RoomKind::Outpost(id));
        elsewhere.insert(0, open(there));
        opened.extend(order(outpost, control, elsewhere).acts);
    }
    let (worker, control) = &mut places[0];
    opened.splice(0..0, order(worker, control, at_home).acts);
    let locals = opened.iter().filter_map(|act| match act {
        Act::Join(MemberPlan {
            local: LegLocal::Rtp { rtp, .. },
            ..
        }) => Some(*rtp),
        _ => None,
    });
    locals.collect()
}

/// Three members of a room, all of whom send; each packet is copied, or mixed, for the others.
fn share<B: Backend>(mut places: Vec<(Worker<B>, ControlEnd)>, kind: RoomKind) {
    let clients: [UdpSocket; 3] = std::array::from_fn(|_| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_nonblocking(true).unwrap();
        client
    });
    // Each is owed 3,000 packets of the two others, or 1,500 of the mix.
    let least = if kind == RoomKind::Forward {
        2600
    } else {
        1300
    };
    let local = open(&mut places, &clients, kind);
    let mut buffer = [0; 2000];
    let (mut came, mut before, mut now) = ([0_u32; 3], taken(), Instant::now());
    for seq in 0..1500_u16 {
        let [high, low] = seq.to_be_bytes();
        let [t0, t1, t2, t3] = (160 * u32::from(seq)).to_be_bytes();
        for (at, client) in (0_u8..).zip(&clients) {
            let mut packet = [0xd5 ^ at; 172];
            packet[..12].copy_from_slice(&[0x80, 8, high, low, t0, t1, t2, t3, 0, 0, 0, at]);
            client.send_to(&packet, local[usize::from(at)]).unwrap();
        }
        for _ in 0..2 {
            now += Duration::from_millis(10);
            for (worker, _) in places.iter_mut().rev() {
                worker.cycle(now);
            }
            for (client, came) in clients.iter().zip(&mut came) {
                while client.recv(&mut buffer).is_ok() {
                    *came += 1;
                }
            }
        }
        for (_, control) in &mut places {
            while control.news().is_some() {}
        }
        if seq == 300 {
            before = taken();
        }
    }
    let after = taken();
    let is_served = came.iter().all(|came| *came > least);
    assert!(is_served, "only {came:?} packets came");
    assert_eq!(after - before, 0, "allocations while packets were shared");
    for (worker, _) in &mut places {
        worker.shut_down(now);
    }
}

fn mix() -> RoomKind {
    RoomKind::Mix(MixSpec {
        talkers: 3,
        jitter_max_ms: 200,
        auto_gain: false,
    })
}

fn epoll() -> (Worker<Mmsg>, ControlEnd) {
    worker(|bell, _| Mmsg::new(bell))
}

#[test]
fn forwarding_in_a_room_takes_no_memory() {
    share(vec![epoll()], RoomKind::Forward);
}

#[test]
fn mixing_in_a_room_takes_no_memory() {
    share(vec![epoll()], mix());
}

#[test]
fn forwarding_over_two_workers_takes_no_memory() {
    share(vec![epoll(), epoll()], RoomKind::Forward);
}

#[test]
fn mixing_over_two_workers_takes_no_memory() {
    share(vec![epoll(), epoll()], mix());
}
