//! Group sessions over two workers that are stepped by hand: a home and an outpost.

mod ends;
mod live;

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{
    Act, AudioCodec, AudioFormat, Direction, Event, LegLocal, LegSpec, MemberFacts, MemberId,
    MemberPlan, MixSpec, Outcome, OutpostId, Refusal, RoadRoom, RoomKind, RoomPlan, RtpFormats,
    StreamId, StreamSet, road, road_with,
};
use crate::frame::Class;
use crate::limits::{HOUSEKEEPING_MS, PARCELS_PER_CYCLE, ROAD_PARCEL_BYTES};
use crate::session::Machine;
use crate::stats::DropReason;

use super::fake::{World, config, rtp};
use super::rooms::{
    LISTENS, SENDS, Sent, TALKS, client, connect, join, leave, local, media, only, room,
};

const AUDIO: u8 = 0;
const OUTPOST: OutpostId = OutpostId(1);

/// Members from this number on are at the outpost.
const FIRST_AWAY: u32 = 100;

fn is_away(member: u32) -> bool {
    member >= FIRST_AWAY
}

fn join_away(member: u32) -> Act {
    Act::Join(MemberPlan {
        member: MemberId(member),
        stream: StreamId(AUDIO),
        leg: LegSpec::Away(OUTPOST),
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    })
}

fn outpost_room() -> Act {
    Act::OpenRoom(RoomPlan {
        stream: StreamId(AUDIO),
        kind: RoomKind::Outpost(OUTPOST),
        floor: None,
    })
}

/// One session on two workers.
struct Spread {
    home: World,
    outpost: World,
    local: Vec<(u32, SocketAddr)>,
    connects: fn(u32, Direction) -> Act,
}

/// A packet that left either worker: whose it is, and its octets.
type Heard = Vec<(u32, Vec<u8>)>;

impl Spread {
    fn new(room: Act, space: RoadRoom, connects: fn(u32, Direction) -> Act) -> Self {
        let mut home = World::new(&config(10_000, 19_999));
        let mut outpost = World::new(&config(20_000, 29_999));
        outpost.now = home.now;
        let (here, there) = road_with(&home.control, &outpost.control, space);
        let open = |end| Act::OpenRoad {
            outpost: OUTPOST,
            end: Some(Box::new(end)),
        };
        let opened = home.order(1, vec![room, open(here)]);
        assert_eq!(opened.outcome, Outcome::Done);
        let opened = outpost.order(1, vec![open(there), outpost_room()]);
        assert_eq!(opened.outcome, Outcome::Done);
        Self {
            home,
            outpost,
            local: Vec::new(),
            connects,
        }
    }

    fn forward(space: RoadRoom) -> Self {
        let connects = |member, direction| connect(member, AUDIO, direction);
        Self::new(room(AUDIO, None), space, connects)
    }

    fn join(&mut self, member: u32, direction: Direction) {
        let connect = self.connects;
        let here = if is_away(member) {
            let acts = vec![join(member, AUDIO), connect(member, direction)];
            let joined = self.outpost.order(1, acts);
            assert_eq!(joined.outcome, Outcome::Done);
            self.local.push((member, local(&joined.acts[0])));
            join_away(member)
        } else {
            join(member, AUDIO)
        };
        let joined = self.home.order(1, vec![here, connect(member, direction)]);
        assert_eq!(joined.outcome, Outcome::Done);
        if !is_away(member) {
            self.local.push((member, local(&joined.acts[0])));
        }
    }

    /// A member leaves, its room's home first; what it did.
    fn leave(&mut self, member: u32) -> MemberFacts {
        self.local.retain(|(who, _)| *who != member);
        let left = self.home.order(1, vec![leave(Some(member), only(AUDIO))]);
        if is_away(member) {
            let acts = vec![leave(Some(member), only(AUDIO))];
            assert_eq!(self.outpost.order(1, acts).outcome, Outcome::Done);
        }
        match &left.acts[0] {
            Act::Leave { facts, .. } => facts[0],
            other => panic!("not a leave: {other:?}"),
        }
    }

    /// Puts a packet where its member's leg is.
    fn push(&self, member: u32, packet: &[u8]) {
        let found = self.local.iter().find(|(who, _)| *who == member);
        let to = found.expect("it has joined").1;
        let world = if is_away(member) {
            &self.outpost
        } else {
            &self.home
        };
        world.net.borrow_mut().push(client(member), to, packet);
    }

    /// Each worker has its turn, twice, so that what goes there and back arrives.
    fn cycle(&mut self) -> Heard {
        for _ in 0..2 {
            self.outpost.cycle();
            self.home.cycle();
        }
        self.outpost.cycle();
        self.sent()
    }

    /// What both have sent since this was asked last.
    fn sent(&self) -> Heard {
        let away = std::mem::take(&mut self.outpost.net.borrow_mut().sent);
        assert!(away.iter().all(|(_, to, _)| is_away(member_at(*to))));
        let here = std::mem::take(&mut self.home.net.borrow_mut().sent);
        assert!(here.iter().all(|(_, to, _)| !is_away(member_at(*to))));
        let all: Vec<Sent> = here.into_iter().chain(away).collect();
        let heard = all.into_iter();
        heard
            .map(|(_, to, packet)| (member_at(to), packet))
            .collect()
    }

    /// A member sends a packet; who got it, and the numbers they got.
    fn says(&mut self, member: u32, seq: u16) -> Vec<(u32, u16)> {
        let packet = rtp(seq, 9);
        self.push(member, &packet);
        let mut heard: Vec<_> = media_of(self.cycle())
            .into_iter()
            .map(|(to, bytes)| {
                assert_eq!(bytes[12..], packet[12..], "as it came");
                (to, u16::from_be_bytes([bytes[2], bytes[3]]))
            })
            .collect();
        heard.sort_unstable();
        heard
    }

    /// Everybody leaves; nothing may be left of the session on either worker.
    fn end(&mut self) {
        for world in [&mut self.home, &mut self.outpost] {
            world.send(1, vec![leave(None, StreamSet::ALL)]);
            world.pass(2000);
            let done = world.done().pop().expect("the order comes back");
            assert_eq!(done.outcome, Outcome::Done);
            let worker = &world.worker;
            assert!(worker.sessions.is_empty() && worker.streams.is_empty());
            assert!(worker.rooms.is_empty() && worker.roads.is_empty());
            assert_eq!(worker.stats.members, 0);
            assert_eq!(worker.stats.sockets, 1, "the listener");
            assert_eq!(worker.pool.free(Class::Datagram), 1024);
        }
    }
}

fn member_at(client: SocketAddr) -> u32 {
    match client.ip() {
        std::net::IpAddr::V4(ip) => u32::from(ip) & 0x00ff_ffff,
        std::net::IpAddr::V6(_) => panic!("no client is there"),
    }
}

fn media_of(heard: Heard) -> Heard {
    let none: SocketAddr = ([0, 0, 0, 0], 0).into();
    let (to, packets): (Vec<_>, Vec<_>) = heard.into_iter().unzip();
    let sent = packets.into_iter().zip(to);
    sent.filter(|(packet, _)| !media(vec![(none, none, packet.clone())]).is_empty())
        .map(|(packet, to)| (to, packet))
        .collect()
}

#[test]
fn members_of_an_outpost_hear_and_are_heard_as_if_they_were_at_home() {
    let mut group = Spread::forward(RoadRoom::default());
    for member in [0, 1, 100, 101] {
        group.join(member, TALKS);
    }
    assert_eq!(group.says(0, 7), [(1, 7), (100, 7), (101, 7)]);
    assert_eq!(group.says(100, 50), [(0, 50), (1, 50), (101, 50)]);
    assert_eq!(group.says(101, 90), [(0, 90), (1, 90), (100, 90)]);
    assert_eq!(group.says(1, 3), [(0, 3), (100, 3), (101, 3)]);
    for world in [&group.home, &group.outpost] {
        assert_eq!(world.worker.stats.drops, [0; DropReason::ALL.len()]);
    }
    let facts = group.leave(100);
    assert_eq!((facts.leg.packets, facts.leg.lost, facts.sent), (1, 0, 3));
    assert_eq!(group.says(0, 8), [(1, 8), (101, 8)]);
    group.join(102, LISTENS);
    assert_eq!(group.says(0, 9), [(1, 9), (101, 9), (102, 9)]);
    group.end();
}

#[test]
fn a_receiver_may_leave_one_worker_and_come_again_on_the_other() {
    let mut group = Spread::forward(RoadRoom::default());
    group.join(0, SENDS);
    for round in 0..20_u16 {
        group.join(100 + u32::from(round), LISTENS);
        group.join(1 + u32::from(round), LISTENS);
        let heard = group.says(0, 2 * round);
        let expected = [
            (1 + u32::from(round), 2 * round),
            (100 + u32::from(round), 2 * round),
        ];
        assert_eq!(heard, expected, "each begins with the packet as it came");
        group.leave(100 + u32::from(round));
        group.leave(1 + u32::from(round));
        assert_eq!(group.says(0, 2 * round + 1), []);
    }
    group.end();
}

#[test]
fn what_a_member_of_an_outpost_may_not_send_stays_there() {
    let mut group = Spread::forward(RoadRoom::default());
    group.join(0, LISTENS);
    group.join(100, LISTENS);
    assert_eq!(group.says(100, 1), []);
    assert_eq!(group.outpost.dropped(DropReason::Direction), 1);
    assert_eq!(group.home.dropped(DropReason::Direction), 0);
}

#[test]
fn an_outpost_loses_nothing_while_its_road_has_room() {
    let mut group = Spread::forward(RoadRoom::default());
    group.join(0, SENDS);
    let members = 100..150;
    for member in members.clone() {
        group.join(member, LISTENS);
    }
    // Between two turns of the outpost: 200 packets to 50 members, each in a parcel.
    let mut heard = Vec::new();
    for seq in 0..200 {
        group.push(0, &rtp(seq, 9));
        group.home.cycle();
    }
    while group.outpost.worker.roads.has_parcels() {
        group.outpost.cycle();
        heard.extend(media_of(group.sent()));
    }
    for member in members {
        let numbers: Vec<_> = heard
            .iter()
            .filter(|(who, _)| *who == member)
            .map(|(_, packet)| u16::from_be_bytes([packet[2], packet[3]]))
            .collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }
    assert_eq!(group.home.dropped(DropReason::RoadFull), 0);
    group.end();
}

#[test]
fn what_finds_the_road_full_is_dropped_and_counted_and_home_goes_on() {
    let space = RoadRoom { out: 2, home: 1 };
    let mut group = Spread::forward(space);
    group.join(0, SENDS);
    group.join(1, LISTENS);
    group.join(100, LISTENS);
    let mut at_home = 0;
    for seq in 0..100 {
        group.push(0, &rtp(seq, 9));
        group.home.cycle();
        at_home += media_of(group.sent()).len();
    }
    assert_eq!(at_home, 100, "nobody at home waits for an outpost");
    let dropped = group.home.dropped(DropReason::RoadFull);
    let arrived = media_of(group.cycle()).len() as u64;
    assert!(dropped > 0 && arrived > 0);
    assert_eq!(dropped + arrived, 100);
    assert_eq!(group.says(0, 500).len(), 2, "the road is free again");
    group.end();
}

#[test]
fn a_busy_road_takes_its_turn_with_everything_else() {
    let mut group = Spread::forward(RoadRoom::default());
    group.join(0, SENDS);
    group.join(100, LISTENS);
    let mut large = rtp(0, 9);
    large.resize(ROAD_PARCEL_BYTES / 5, 0x55);
    for seq in 0..100_u16 {
        large[2..4].copy_from_slice(&seq.to_be_bytes());
        group.push(0, &large);
        group.home.cycle();
    }
    group.outpost.cycle();
    assert_eq!(media_of(group.sent()).len(), PARCELS_PER_CYCLE);
    assert!(group.outpost.worker.roads.has_parcels());
}

fn mix(talkers: u8) -> Act {
    Act::OpenRoom(RoomPlan {
        stream: StreamId(AUDIO),
        kind: RoomKind::Mix(MixSpec {
            talkers,
            jitter_max_ms: 200,
            auto_gain: false,
        }),
        floor: None,
    })
}

fn speaks_mu_law(member: u32, direction: Direction) -> Act {
    let mut act = connect(member, AUDIO, direction);
    if let Act::ConnectMember { formats, .. } = &mut act {
        *formats = RtpFormats {
            audio: vec![AudioFormat {
                payload_type: 0,
                codec: AudioCodec::Pcmu,
                ptime_ms: 20,
            }],
            ..RtpFormats::default()
        };
    }
    act
}

fn loud(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend((160 * u32::from(seq)).to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    // µ-law's loudest, up and down at 500 Hz.
    packet.extend((0..160).map(|at| if at / 8 % 2 == 0 { 0x80 } else { 0x00 }));
    packet
}

#[test]
fn a_mix_is_encoded_once_for_all_workers_and_heard_on_all() {
    let mut group = Spread::new(mix(3), RoadRoom::default(), speaks_mu_law);
    group.join(100, TALKS);
    for member in [1, 2, 101, 102, 103] {
        group.join(member, LISTENS);
    }
    let mut heard: Heard = Vec::new();
    for seq in 0..50 {
        group.push(100, &loud(seq));
        for _ in 0..4 {
            let step = Duration::from_millis(5);
            group.home.now += step;
            group.outpost.now += step;
            heard.extend(media_of(group.cycle()));
        }
    }
    let of = |member: u32| {
        let own = heard.iter().filter(|(who, _)| *who == member);
        own.map(|(_, packet)| packet.clone()).collect::<Vec<_>>()
    };
    let payloads = |member| -> Vec<Vec<u8>> {
        let strip = |packet: Vec<u8>| packet[12 + 4 * usize::from(packet[0] & 15)..].to_vec();
        of(member).into_iter().map(strip).collect()
    };
    assert!(of(1).len() > 40, "{} packets", of(1).len());
    for member in [2, 101, 102, 103] {
        assert_eq!(payloads(member), payloads(1), "all hear the same");
    }
    let is_loud = |payload: &Vec<u8>| payload.iter().any(|octet| octet & 0x70 == 0);
    assert!(payloads(101).iter().any(is_loud), "and not silence");
    // Each has numbers and a source of its own.
    let ssrc = |member| of(member)[0][8..12].to_vec();
    assert_ne!(ssrc(101), ssrc(102));
    let packets = of(1).len() as u64;
    let rooms = &group.home.worker.rooms;
    let slot = group.home.worker.sessions.find(crate::api::SessionId(1));
    let room = group
        .home
        .worker
        .slots_of(slot.unwrap())
        .find_map(|(_, slot)| {
            group
                .home
                .worker
                .streams
                .find(slot)
                .and_then(|stream| stream.room())
        });
    let Machine::Mix(mixing) = &rooms.find(room.unwrap()).unwrap().machine else {
        panic!("it is mixed")
    };
    let encoded = mixing.mixer.counts().encoded;
    // Five listeners on two workers; who is heard gets a packet of its own where there is one.
    assert!(
        encoded >= packets && encoded <= 2 * packets,
        "{encoded} of {packets}"
    );
    group.end();
}

#[test]
fn members_of_an_outpost_are_told_of_reports_and_of_the_end() {
    let mut group = Spread::forward(RoadRoom::default());
    group.join(0, SENDS);
    group.join(100, LISTENS);
    group.push(0, &rtp(1, 9));
    let heard = group.cycle();
    let reports = |heard: &Heard| heard.iter().filter(|(_, packet)| packet[1] == 200).count();
    assert_eq!(
        reports(&heard),
        1,
        "the first packet brings a sender report"
    );
    group.push(100, &super::fake::REPORT);
    group.cycle();
    let facts = {
        let left = group.home.order(1, vec![leave(Some(100), only(AUDIO))]);
        group.outpost.cycle();
        let heard = group.sent();
        // A receiver report, then BYE (203).
        assert_eq!(heard.len(), 1);
        let (who, packet) = &heard[0];
        assert_eq!((*who, packet[1], packet[9]), (100, 201, 203));
        match &left.acts[0] {
            Act::Leave { facts, .. } => facts[0],
            other => panic!("not a leave: {other:?}"),
        }
    };
    assert_eq!(facts.leg.rtcp_packets, 1);
}

#[test]
fn members_are_lost_with_their_outpost_and_the_others_go_on() {
    let mut group = Spread::forward(RoadRoom::default());
    for member in [0, 1, 100, 101] {
        group.join(member, TALKS);
    }
    let Spread {
        mut home, outpost, ..
    } = group;
    drop(outpost);
    home.pass(10 * HOUSEKEEPING_MS);
    let mut lost = Vec::new();
    home.news.retain(|event| match event {
        Event::MemberLost { member, .. } => {
            lost.push(member.0);
            false
        }
        _ => true,
    });
    lost.sort_unstable();
    assert_eq!(lost, [100, 101], "each is told once");
    let to = home.net.borrow().sockets.len();
    assert_eq!(to, 3, "the listener and two legs");
    let sockets: Vec<_> = {
        let net = home.net.borrow();
        net.sockets.values().map(|sock| sock.local).collect()
    };
    let legs = sockets.iter().filter(|local| local.port() != 2855);
    let mut heard = Vec::new();
    for leg in legs {
        heard.extend(media(home.datagram(client(0), *leg, &rtp(1, 9))));
    }
    let to: Vec<_> = heard.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(to, [client(1)]);
    for member in [100, 101] {
        let left = home.order(1, vec![leave(Some(member), only(AUDIO))]);
        assert_eq!(left.outcome, Outcome::Done);
    }
    let left = home.order(1, vec![leave(None, StreamSet::ALL)]);
    assert_eq!(left.outcome, Outcome::Done);
    assert!(home.worker.streams.is_empty() && home.worker.roads.is_empty());
}

#[test]
fn a_road_that_is_not_there_leads_nowhere_and_a_refused_order_keeps_its_end() {
    let mut group = Spread::forward(RoadRoom::default());
    let unknown = Refusal::Unknown;
    let mut away = join_away(100);
    if let Act::Join(plan) = &mut away {
        plan.leg = LegSpec::Away(OutpostId(7));
    }
    let order = group.home.order(1, vec![away]);
    assert_eq!(order.outcome, Outcome::Refused(unknown));
    let (end, _other) = road(&group.home.control, &group.outpost.control);
    let acts = vec![
        Act::OpenRoad {
            outpost: OutpostId(2),
            end: Some(Box::new(end)),
        },
        join(3, 7),
    ];
    let order = group.home.order(1, acts);
    assert_eq!(order.outcome, Outcome::Refused(unknown));
    assert!(
        matches!(&order.acts[0], Act::OpenRoad { end: Some(_), .. }),
        "it goes home with its order"
    );
    let twice = Act::OpenRoad {
        outpost: OUTPOST,
        end: match order.acts.into_iter().next() {
            Some(Act::OpenRoad { end, .. }) => end,
            _ => None,
        },
    };
    let order = group.home.order(1, vec![twice]);
    assert_eq!(order.outcome, Outcome::Refused(unknown));
    group.end();
}
