//! Random members of a room with floors come, go, ask, give back, fall silent and acknowledge or not:
//! no more than may ever send, and nobody's question stays without an answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::api::{
    Act, BfcpTransport, Direction, Event, FloorId, FloorRule, FloorSpec, MemberId, MsrpSetup,
    Outcome, RoomKind, RoomPlan, StreamId, StreamSet,
};
use crate::frame::Class;

use super::fake::{World, config, rtp};
use super::floors::{
    FLOOR, RELEASE, REQUEST, STATUS, STATUS_ACK, bfcp_leg, far_with, listen_of, message, read,
    request, talker,
};
use super::rooms::{Sent, client, connect, join, leave, local, room};

const AUDIO: u8 = 0;
const FLOORS: u8 = 1;
const ERROR: u8 = 13;

/// A member as the test knows it.
struct Seat {
    audio: SocketAddr,
    bfcp: SocketAddr,
    transaction: u16,
    seq: u16,
    /// Requests that it was told of.
    requests: Vec<u8>,
    /// It acknowledges nothing.
    is_deaf: bool,
}

struct Storm {
    world: World,
    seats: BTreeMap<u32, Seat>,
    /// Who holds the floor, as control was told last.
    holders: Vec<u32>,
    most: usize,
    next: u32,
    random: StdRng,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let holders: u16 = random.random_range(1..4);
        let rule = FloorRule {
            floor: FloorId(1),
            chair: None,
            holders,
            silence_ms: *[0, 2_000].choose(&mut random).unwrap(),
            held_max_ms: *[0, 3_000].choose(&mut random).unwrap(),
        };
        let floors = Act::OpenRoom(RoomPlan {
            stream: StreamId(FLOORS),
            kind: RoomKind::Floors(FloorSpec {
                conference: 77,
                floors: vec![rule],
            }),
            floor: None,
        });
        let mut world = World::new(&config(10_000, 19_999));
        let opened = world.order(1, vec![room(AUDIO, Some(1)), floors]);
        assert_eq!(opened.outcome, Outcome::Done);
        Self {
            world,
            seats: BTreeMap::new(),
            holders: Vec::new(),
            most: usize::from(holders),
            next: 0,
            random,
        }
    }

    fn somebody(&mut self) -> Option<u32> {
        let all: Vec<u32> = self.seats.keys().copied().collect();
        all.choose(&mut self.random).copied()
    }

    fn comes(&mut self) {
        let member = self.next;
        self.next += 1;
        let acts = vec![
            join(member, AUDIO),
            bfcp_leg(member, BfcpTransport::Udp, false),
            connect(member, AUDIO, Direction::BOTH),
            far_with(member, MsrpSetup::Passive, None),
        ];
        let done = self.world.order(1, acts);
        assert_eq!(done.outcome, Outcome::Done);
        let seat = Seat {
            audio: local(&done.acts[0]),
            bfcp: listen_of(&done.acts[1]),
            transaction: 0,
            seq: 0,
            requests: Vec::new(),
            is_deaf: self.random.random_ratio(1, 8),
        };
        self.seats.insert(member, seat);
    }

    fn goes(&mut self, member: u32) {
        self.seats.remove(&member);
        self.world
            .send(1, vec![leave(Some(member), StreamSet::ALL)]);
        self.world.pass(20);
    }

    /// A member says something that is to be answered.
    fn asks(&mut self, member: u32, primitive: u8, attributes: &[u8]) {
        let seat = self.seats.get_mut(&member).unwrap();
        seat.transaction += 1;
        let (to, transaction) = (seat.bfcp, seat.transaction);
        let octets = message(2, (primitive, transaction, member), attributes);
        let sent = self.world.datagram(talker(member), to, &octets);
        let is_answer = |(_, to, octets): &&Sent| {
            *to == talker(member) && octets[0] & 0x10 != 0 && read(octets).1 == transaction
        };
        let answers: Vec<u8> = sent.iter().filter(is_answer).map(|one| one.2[1]).collect();
        assert!(answers == [STATUS] || answers == [ERROR], "{answers:?}");
        self.take(sent);
    }

    /// Members take what they are told, and acknowledge it.
    fn take(&mut self, sent: Vec<Sent>) {
        let mut sent = sent;
        while let Some((_, to, octets)) = sent.pop() {
            let told = self.seats.iter_mut().find(|(one, _)| talker(**one) == to);
            let Some((member, seat)) = told.filter(|_| octets[1] == STATUS) else {
                continue;
            };
            let (_, transaction, request, _) = read(&octets);
            if !seat.requests.contains(&request) {
                seat.requests.push(request);
            }
            if octets[0] & 0x10 == 0 && !seat.is_deaf {
                let ack = message(2, (STATUS_ACK, transaction, *member), &[]);
                let (from, at) = (to, seat.bfcp);
                sent.extend(self.world.datagram(from, at, &ack));
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 100 {
            self.world.pass(100);
            let sent = std::mem::take(&mut self.world.net.borrow_mut().sent);
            self.take(sent);
        }
    }

    fn step(&mut self) {
        let choice = self.random.random_range(0..12);
        match (choice, self.somebody()) {
            (0 | 1, _) | (_, None) if self.seats.len() < 12 => self.comes(),
            (2, Some(member)) => self.goes(member),
            (3..=6, Some(member)) => self.asks(member, REQUEST, &FLOOR),
            (7 | 8, Some(member)) => {
                let known = self.seats[&member].requests.clone();
                let id = known.choose(&mut self.random).copied().unwrap_or(200);
                self.asks(member, RELEASE, &request(id));
            }
            _ => {
                let millis = *[100, 700, 2_500].choose(&mut self.random).unwrap();
                self.pass(millis);
            }
        }
    }

    /// Everybody sends a packet: those of the holders pass, and of nobody else.
    fn check(&mut self) {
        for event in self.world.news.drain(..) {
            if let Event::FloorChanged { holders, .. } = event {
                assert!(holders.len() <= self.most);
                self.holders = holders.iter().map(|MemberId(member)| *member).collect();
            }
        }
        let members: Vec<u32> = self.seats.keys().copied().collect();
        let mut heard = Vec::new();
        for member in &members {
            let seat = self.seats.get_mut(member).unwrap();
            seat.seq += 1;
            let packet = rtp(seat.seq, u8::try_from(member % 250).unwrap());
            let (to, others) = (seat.audio, members.len() - 1);
            let sent = self.world.datagram(client(*member), to, &packet);
            let is_media = |one: &&Sent| one.2[0] >> 6 == 2 && one.2[1] & 0x7f == 8;
            let count = sent.iter().filter(is_media).count();
            if count > 0 {
                assert_eq!(count, others);
                heard.push(*member);
            }
            self.take(sent);
        }
        assert!(heard.len() <= self.most, "{heard:?}");
        let mut holders = self.holders.clone();
        holders.sort_unstable();
        if members.len() > 1 {
            assert_eq!(heard, holders, "who is heard, who holds");
        }
    }

    fn end(mut self) {
        self.world.send(1, vec![leave(None, StreamSet::ALL)]);
        self.world.pass(2_100);
        let worker = &self.world.worker;
        assert!(worker.rooms.is_empty() && worker.streams.is_empty());
        assert_eq!(worker.pool.free(Class::Datagram), 1024);
    }
}

#[test]
fn upl_05_whatever_members_do_no_more_send_than_may_and_all_are_answered() {
    for seed in 0..40 {
        eprintln!("seed {seed}");
        let mut storm = Storm::new(seed);
        for _ in 0..120 {
            storm.step();
            storm.check();
        }
        storm.end();
    }
}
