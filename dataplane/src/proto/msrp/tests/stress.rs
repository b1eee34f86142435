//! Much of it, and at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::{Frame, World, bind, frame, response, send_head};
use crate::proto::msrp::{ConnectionKey, Connections, Egress, LegKey, Verdict};

#[derive(Default)]
struct Counted(u64);

impl Egress for Counted {
    fn write(&mut self, _to: ConnectionKey, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }

    fn is_full(&self, _to: ConnectionKey) -> bool {
        false
    }
}

fn kept_octets(relay: &Connections) -> usize {
    let waiting = relay.places.iter().flatten();
    let waiting: usize = waiting
        .map(|state| state.parked.capacity() + state.pending.capacity())
        .sum();
    waiting + relay.scratch.capacity() + relay.spare.iter().map(Vec::capacity).sum::<usize>()
}

#[test]
fn a_message_of_1_gib_passes_in_constant_memory() {
    let mut world = World::new();
    let (a, _) = world.pair();
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/1073741824\r\n"));
    let before = kept_octets(&world.relay);
    let mut out = Counted::default();
    let mut piece = vec![b'-'; 64 * 1024];
    StdRng::seed_from_u64(1).fill_bytes(&mut piece[..32 * 1024]);
    for _ in 0..1024 * 16 {
        let stats = &mut world.stats;
        let verdict = world.relay.receive(world.now, a, &piece, &mut out, stats);
        assert_eq!(verdict, Verdict::Continue);
    }
    assert!(out.0.abs_diff(1 << 30) < 50, "{}", out.0);
    assert_eq!(kept_octets(&world.relay), before);
    world.send(a, "\r\n-------tid1$\r\n");
    assert_eq!(world.counts(), (0, 0, 1));
    world.pass(Duration::from_secs(30));
    let report = world.read(a).pop().unwrap();
    assert_eq!(report.header("Byte-Range"), Some("1-1073741824/1073741824"));
}

#[test]
fn random_octets_never_break_the_relay() {
    let seed = 0xfee1_dead;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..400 {
        let mut world = World::with_transactions(4);
        let (a, b) = world.pair();
        let mut octets = Vec::new();
        for at in 0..random.random_range(1..6) {
            let id = format!("tid{at}");
            let head = send_head('a', &id, "Byte-Range: 1-*/*\r\n");
            octets.extend_from_slice(head.as_bytes());
            octets.extend_from_slice(format!("body\r\n-------{id}$\r\n").as_bytes());
        }
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..octets.len());
            octets[at] = random.next_u32().to_le_bytes()[0];
        }
        for piece in octets.chunks(random.random_range(1..200)) {
            if world.feed(a, piece) != Verdict::Continue {
                world.close(a);
                break;
            }
            if random.random_bool(0.05) {
                world.close(b);
            }
        }
        world.pass(Duration::from_secs(31));
        assert_eq!(world.stats.msrp_open, 0, "seed {seed:#x}, round {round}");
    }
}

/// What one side of the random scene sends and what the other one has got.
#[derive(Default)]
struct Direction {
    /// Octets not yet fed.
    queue: Vec<u8>,
    sent: Vec<(Box<str>, Vec<u8>)>,
    /// Octets written to the receiver that are no whole frame yet.
    partial: Vec<u8>,
    got: Vec<(Box<str>, Vec<u8>)>,
}

impl Direction {
    fn queue_message(&mut self, letter: char, number: u32, random: &mut StdRng) {
        let id = format!("t{letter}{number:04}");
        let mut body = vec![0; random.random_range(0..5000)];
        random.fill_bytes(&mut body);
        let range = if random.random_bool(0.5) {
            format!("Byte-Range: 1-*/{}\r\n", body.len())
        } else {
            format!("Byte-Range: 1-{0}/{0}\r\n", body.len())
        };
        self.queue
            .extend_from_slice(send_head(letter, &id, &range).as_bytes());
        self.queue.extend_from_slice(&body);
        self.queue
            .extend_from_slice(format!("\r\n-------{id}$\r\n").as_bytes());
        self.sent.push((format!("m-{id}").into(), body));
    }

    /// Takes whole frames off what was written, and answers the SENDs.
    fn take(&mut self, written: Vec<u8>) -> Vec<Frame> {
        self.partial.extend_from_slice(&written);
        let mut sends = Vec::new();
        while has_whole_frame(&self.partial) {
            let (frame, rest) = frame(&self.partial);
            self.partial = rest.to_vec();
            if &*frame.what == "SEND" {
                self.collect(&frame);
                sends.push(frame);
            }
        }
        sends
    }

    fn collect(&mut self, frame: &Frame) {
        let message = frame.header("Message-ID").unwrap();
        let range = frame.header("Byte-Range").unwrap();
        let start: usize = range.split('-').next().unwrap().parse().unwrap();
        let body = frame.body.as_ref().unwrap();
        match self.got.iter_mut().find(|(id, _)| &**id == message) {
            Some((_, got)) => {
                assert_eq!(got.len() + 1, start, "{message} goes on where it was cut");
                got.extend_from_slice(body);
            }
            None => {
                assert_eq!(start, 1);
                self.got.push((message.into(), body.clone()));
            }
        }
    }
}

fn has_whole_frame(bytes: &[u8]) -> bool {
    let Some(id) = bytes.split(|b| *b == b' ').nth(1) else {
        return false;
    };
    ["$", "+", "#"].iter().any(|flag| {
        let end = [b"-------", id, flag.as_bytes(), b"\r\n"].concat();
        bytes.windows(end.len()).any(|part| part == end)
    })
}

#[test]
fn random_traffic_both_ways_arrives_whole_and_in_order() {
    let seed = 0x0dd5_eed5;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..20 {
        let mut world = World::with_transactions(1000);
        world.legs('a', 'b');
        world.legs('c', 'd');
        let (a, b, c) = (world.bound('a'), world.bound('b'), world.bound('c'));
        world.send(b, bind('d'));
        world.raw(b);
        // b's connection carries two sessions; what is for it comes from a and c.
        let ends = [(a, 'a'), (b, 'b'), (c, 'c')];
        let mut ways = [
            Direction::default(),
            Direction::default(),
            Direction::default(),
        ];
        for number in 0..8 {
            for (way, (_, letter)) in ways.iter_mut().zip(ends) {
                way.queue_message(letter, number, &mut random);
            }
        }
        let mut got = [
            Direction::default(),
            Direction::default(),
            Direction::default(),
        ];
        let mut idle = 0;
        while idle < 20 {
            idle += 1;
            for at in 0..3 {
                let (key, _) = ends[at];
                if !ways[at].queue.is_empty() && !world.is_blocked(key) {
                    let most = ways[at].queue.len().min(700);
                    let piece: Vec<u8> = ways[at]
                        .queue
                        .drain(..random.random_range(1..=most))
                        .collect();
                    world.send_octets(key, &piece);
                    idle = 0;
                }
                let written = world.raw(key);
                for frame in got[at].take(written) {
                    // Answers may not fall into a frame of the same far end.
                    let answer = response(&frame, "200 OK");
                    insert_between_frames(&mut world, &mut ways[at], key, &answer);
                }
            }
        }
        let mut to_b = ways[0].sent.clone();
        to_b.extend(ways[2].sent.clone());
        to_b.sort();
        got[1].got.sort();
        assert!(to_b == got[1].got, "seed {seed:#x}, round {round}: to b");
        assert!(
            ways[1].sent == got[0].got,
            "seed {seed:#x}, round {round}: to a"
        );
        assert_eq!(world.stats.msrp_open, 0, "seed {seed:#x}, round {round}");
        assert_eq!(world.stats.msrp_reported, 0);
        for leg in 0..4 {
            assert!(world.relay.is_settled(LegKey(leg)), "seed {seed:#x}: {leg}");
        }
    }
}

/// Sends an answer at the next end of a frame of what this end sends.
fn insert_between_frames(world: &mut World, way: &mut Direction, key: ConnectionKey, answer: &str) {
    if way.queue.is_empty() || way.queue.starts_with(b"MSRP ") {
        world.send(key, answer);
        return;
    }
    let next = way.queue.windows(7).position(|part| part == b"$\r\nMSRP");
    let at = next.map_or(way.queue.len(), |at| at + 3);
    way.queue.splice(at..at, answer.bytes());
}
