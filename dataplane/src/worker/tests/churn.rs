//! Random members come, go, hold and speak; a slow model says who must have heard what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::{Act, Direction, FloorId, MemberId, Outcome, StreamSet};
use crate::frame::Class;
use crate::stats::DropReason;

use super::fake::{World, config, rtp};
use super::rooms::{client, connect, join, leave, local, media, only, room};

/// A member's leg as it should be.
struct Leg {
    local: SocketAddr,
    direction: Option<Direction>,
    seq: u16,
    received: u64,
}

#[derive(Default)]
struct Model {
    /// Rooms by their stream: whether a floor gates them, and who is there.
    rooms: BTreeMap<u8, (bool, BTreeMap<u32, Leg>)>,
    holders: BTreeSet<u32>,
}

impl Model {
    /// Who must get what a member sends.
    fn hearers(&self, stream: u8, member: u32) -> BTreeSet<SocketAddr> {
        let (gated, legs) = &self.rooms[&stream];
        let sender = legs[&member].direction;
        let may = sender.is_some_and(|direction| direction.may_send)
            && (!gated || self.holders.contains(&member));
        let hears = |leg: &Leg| leg.direction.is_some_and(|direction| direction.may_receive);
        legs.iter()
            .filter(|(other, leg)| may && **other != member && hears(leg))
            .map(|(other, _)| client(*other))
            .collect()
    }
}

fn direction(random: &mut StdRng) -> Direction {
    Direction {
        may_send: random.random_bool(0.8),
        may_receive: random.random_bool(0.8),
    }
}

struct Churn {
    world: World,
    model: Model,
    random: StdRng,
    next_member: u32,
    seed: u64,
}

impl Churn {
    fn order(&mut self, acts: Vec<Act>, expected: bool) -> Vec<Act> {
        let said = format!("seed {}: {acts:?}", self.seed);
        self.world.send(1, acts);
        self.world.cycle();
        let mut done = self.world.done();
        for _ in 0..100 {
            if !done.is_empty() {
                break;
            }
            self.world.pass(5);
            done = self.world.done();
        }
        let order = done.pop().expect("the order comes back");
        assert_eq!(order.outcome == Outcome::Done, expected, "{said}");
        order.acts
    }

    fn open(&mut self) {
        let stream = self.random.random_range(0..3);
        let gated: bool = self.random.random();
        let is_new = !self.model.rooms.contains_key(&stream);
        self.order(vec![room(stream, gated.then_some(1))], is_new);
        if is_new {
            self.model.rooms.insert(stream, (gated, BTreeMap::new()));
            if gated {
                // A room begins without holders, whoever they are elsewhere.
                self.give();
            }
        }
    }

    fn join(&mut self) {
        let stream = self.random.random_range(0..4);
        let member = if self.random.random_bool(0.3) {
            self.random.random_range(0..self.next_member.max(1))
        } else {
            self.next_member += 1;
            self.next_member - 1
        };
        let room = self.model.rooms.get(&stream);
        let fits = room.is_some_and(|(_, legs)| !legs.contains_key(&member));
        let acts = self.order(vec![join(member, stream)], fits);
        if let Some((_, legs)) = self.model.rooms.get_mut(&stream).filter(|_| fits) {
            let leg = Leg {
                local: local(&acts[0]),
                direction: None,
                seq: 0,
                received: 0,
            };
            legs.insert(member, leg);
        }
    }

    /// Some room and somebody who is there.
    fn somebody(&mut self) -> Option<(u8, u32)> {
        let all: Vec<(u8, u32)> = self
            .model
            .rooms
            .iter()
            .flat_map(|(stream, (_, legs))| legs.keys().map(|member| (*stream, *member)))
            .collect();
        (!all.is_empty()).then(|| all[self.random.random_range(0..all.len())])
    }

    fn connect(&mut self, (stream, member): (u8, u32)) {
        let direction = direction(&mut self.random);
        self.order(vec![connect(member, stream, direction)], true);
        let (_, legs) = self.model.rooms.get_mut(&stream).unwrap();
        legs.get_mut(&member).unwrap().direction = Some(direction);
    }

    fn leave(&mut self, (stream, member): (u8, u32)) {
        let streams = if self.random.random() {
            only(stream)
        } else {
            StreamSet::ALL
        };
        let acts = self.order(vec![leave(Some(member), streams)], true);
        let Act::Leave { facts, .. } = &acts[0] else {
            panic!()
        };
        let told: BTreeSet<(u8, u64)> = facts
            .iter()
            .map(|fact| (fact.stream.0, fact.sent))
            .collect();
        let mut expected = BTreeSet::new();
        for (id, (_, legs)) in &mut self.model.rooms {
            if streams.contains(crate::api::StreamId(*id))
                && let Some(leg) = legs.remove(&member)
            {
                expected.insert((*id, leg.received));
            }
        }
        assert_eq!(told, expected, "seed {}", self.seed);
    }

    fn close(&mut self) {
        let stream = self.random.random_range(0..3);
        let is_there = self.model.rooms.contains_key(&stream);
        if is_there && self.model.rooms.len() > 1 {
            self.order(vec![leave(None, only(stream))], true);
            self.model.rooms.remove(&stream);
        }
    }

    fn give(&mut self) {
        let holders: BTreeSet<u32> = (0..self.next_member)
            .filter(|_| self.random.random_bool(0.3))
            .collect();
        let act = Act::GiveFloor {
            floor: FloorId(1),
            holders: holders.iter().copied().map(MemberId).collect(),
        };
        self.order(vec![act], true);
        self.model.holders = holders;
    }

    fn speak(&mut self, (stream, member): (u8, u32)) {
        let expected = self.model.hearers(stream, member);
        let (_, legs) = self.model.rooms.get_mut(&stream).unwrap();
        let leg = legs.get_mut(&member).unwrap();
        leg.seq = leg.seq.wrapping_add(1);
        let (to, seq) = (leg.local, leg.seq);
        let crowded = self.world.dropped(DropReason::Crowded);
        let packet = rtp(seq, u8::try_from(member % 250).unwrap());
        let sent = media(self.world.datagram(client(member), to, &packet));
        let heard: BTreeSet<SocketAddr> = sent.iter().map(|(_, to, _)| *to).collect();
        assert_eq!(heard.len(), sent.len(), "seed {}: none twice", self.seed);
        if self.world.dropped(DropReason::Crowded) > crowded {
            // As many members speak already as there are tracks.
            assert!(heard.is_empty());
            return;
        }
        assert_eq!(heard, expected, "seed {}", self.seed);
        let (_, legs) = self.model.rooms.get_mut(&stream).unwrap();
        for (other, leg) in legs {
            leg.received += u64::from(heard.contains(&client(*other)));
        }
    }

    fn step(&mut self) {
        let somebody = self.somebody();
        match (self.random.random_range(0..20), somebody) {
            (0, _) => self.open(),
            (1..=4, _) => self.join(),
            (5, _) => self.close(),
            (6, _) => self.give(),
            (7..=9, Some(who)) => self.connect(who),
            (10, Some(who)) => self.leave(who),
            (_, Some(who)) => self.speak(who),
            (_, None) => {}
        }
        let pause = self.random.random_range(0..30);
        self.world.pass(pause);
    }
}

fn run(seed: u64) {
    let mut churn = Churn {
        world: World::new(&config(10_000, 13_999)),
        model: Model::default(),
        random: StdRng::seed_from_u64(seed),
        next_member: 0,
        seed,
    };
    churn.order(vec![room(2, None)], true);
    churn.model.rooms.insert(2, (false, BTreeMap::new()));
    for _ in 0..400 {
        churn.step();
    }
    churn.order(vec![leave(None, StreamSet::ALL)], true);
    let Churn { mut world, .. } = churn;
    world.pass(6000);
    let worker = &mut world.worker;
    assert!(
        worker.sessions.is_empty() && worker.streams.is_empty(),
        "seed {seed}"
    );
    assert!(worker.rooms.is_empty(), "seed {seed}");
    assert_eq!(worker.stats.members, 0, "seed {seed}");
    assert_eq!(worker.stats.sockets, 1, "seed {seed}: the listener");
    assert_eq!(
        worker.ports.free(world.now),
        worker.ports.total(),
        "seed {seed}"
    );
    assert_eq!(worker.pool.free(Class::Datagram), 1024, "seed {seed}");
}

#[test]
fn whoever_comes_and_goes_each_packet_reaches_those_who_are_there() {
    for seed in 0..40 {
        run(seed);
    }
}
