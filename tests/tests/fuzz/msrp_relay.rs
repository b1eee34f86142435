//! The MSRP relay between far ends that do anything at any time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dataplane::api::{Chunking, MsrpBounds};
use dataplane::proto::msrp::{
    Config, ConnectionKey, Connections, Egress, Leg, LegKey, Verdict, Written as Progress,
};
use dataplane::stats::{DropReason, Stats};
use rand::RngExt;
use rand::rngs::StdRng;
use tests::torture::frames::{Frame, Head, Reader};

use super::campaign::rounds;
use super::scene::{frame, frame_of, ours, session_id, theirs};
use super::spoil::{noise, pick, spoil};

#[derive(Default)]
struct Written {
    bytes: BTreeMap<ConnectionKey, Vec<u8>>,
    full: Vec<ConnectionKey>,
    handed_over: BTreeMap<ConnectionKey, u64>,
    /// Connections of which nothing more leaves, and what had left.
    held: BTreeMap<ConnectionKey, u64>,
}

impl Egress for Written {
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]) {
        *self.handed_over.entry(to).or_default() += bytes.len() as u64;
        self.bytes.entry(to).or_default().extend_from_slice(bytes);
    }

    fn is_full(&self, to: ConnectionKey) -> bool {
        self.full.contains(&to)
    }

    fn progress(&self, to: ConnectionKey) -> Progress {
        let handed_over = self.handed_over.get(&to).copied().unwrap_or(0);
        Progress {
            handed_over,
            left: self.held.get(&to).copied().unwrap_or(handed_over),
        }
    }
}

/// A far end of a connection: what it has still to send, and what it reads.
#[derive(Default)]
struct FarEnd {
    to_send: Vec<Vec<u8>>,
    /// Of the first of them.
    sent: usize,
    reader: Reader,
    /// Requests that came and are not answered.
    requests: Vec<Head>,
    /// The far ends whose sessions the connection had at any time.
    had: Vec<char>,
}

struct World {
    relay: Connections,
    out: Written,
    stats: Stats,
    now: Instant,
    legs: BTreeMap<char, LegKey>,
    ends: BTreeMap<ConnectionKey, FarEnd>,
    /// Some of what is sent isn't MSRP.
    is_spoilt: bool,
    /// Where nothing is spoilt: the bodies by Message-ID, and what came of each.
    bodies: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

/// Joined: a with b, c with d, e with f.
const LETTERS: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];

fn peer(letter: char) -> char {
    let at = LETTERS.iter().position(|one| *one == letter).unwrap();
    LETTERS[at ^ 1]
}

/// Puts a chunk behind what came of its message: together they are the front of what was sent.
fn take_body(bodies: &mut BTreeMap<String, (Vec<u8>, Vec<u8>)>, frame: &Frame) {
    let (Some(body), Some(message_id)) = (&frame.body, frame.head.value("message-id")) else {
        return;
    };
    if let Some((sent, came)) = bodies.get_mut(&message_id) {
        came.extend_from_slice(body);
        assert!(
            sent.starts_with(came),
            "{message_id} was changed on its way: {frame:?}"
        );
        let is_whole = frame.flag == '#' || frame.head.what == "REPORT" || sent == came;
        assert!(
            is_whole || frame.flag == '+',
            "{message_id} ends early: {frame:?}"
        );
    }
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        let config = Config {
            transactions: *pick(random, &[0, 3, 500, 500, 500]),
            timeout: Duration::from_secs(30),
        };
        let mut world = Self {
            relay: Connections::new(config, random.random()),
            out: Written::default(),
            stats: Stats::default(),
            now: Instant::now(),
            legs: BTreeMap::new(),
            ends: BTreeMap::new(),
            is_spoilt: random.random(),
            bodies: BTreeMap::new(),
        };
        for letter in LETTERS {
            world.add_leg(letter);
        }
        // Most are bound at first, some of them two to a connection.
        let is_shared: bool = random.random();
        for letter in LETTERS {
            match letter {
                'a' | 'b' => world.accept(),
                'c' | 'd' if !is_shared => world.accept(),
                _ => {}
            }
            let last = u32::try_from(world.ends.len() - 1).unwrap();
            let key = ConnectionKey(match letter {
                'a' | 'c' if is_shared => 0,
                'b' | 'd' if is_shared => 1,
                'e' | 'f' => continue,
                _ => last,
            });
            let (to, from) = (ours(letter), theirs(letter));
            let bind = format!(
                "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n-------bind$\r\n"
            );
            world.receive(key, bind.as_bytes());
            assert_eq!(world.bound(key).last(), Some(&letter));
        }
        world.accept();
        world
    }

    fn add_leg(&mut self, letter: char) {
        let path = ours(letter);
        let leg = Leg {
            session_id: session_id(letter),
            local_path: &path,
            match_session_id_only: false,
        };
        let key = self.relay.add_leg(leg).expect("its session-id is free");
        self.legs.insert(letter, key);
        self.relay.set_remote(key, &theirs(letter), None);
        if let Some(peer) = self.legs.get(&peer(letter)) {
            self.relay.join(key, *peer);
        }
    }

    fn accept(&mut self) {
        if let Some(key) = self.relay.accept(self.now) {
            self.ends.insert(key, FarEnd::default());
        }
    }

    /// The far ends whose sessions a connection has now.
    fn bound(&self, key: ConnectionKey) -> Vec<char> {
        let is_bound = |leg: &LegKey| self.relay.connection_of(*leg) == Some(key);
        self.legs
            .iter()
            .filter(|(_, leg)| is_bound(leg))
            .map(|(letter, _)| *letter)
            .collect()
    }

    /// Does something with the relay and reads what it wrote meanwhile.
    fn act<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let mut bound: BTreeMap<ConnectionKey, Vec<char>> = BTreeMap::new();
        for key in self.ends.keys() {
            bound.insert(*key, self.bound(*key));
        }
        let done = act(self);
        for (key, bytes) in std::mem::take(&mut self.out.bytes) {
            let now = self.bound(key);
            let Some(end) = self.ends.get_mut(&key) else {
                panic!(
                    "written to {key:?}, which was closed: {}",
                    bytes.escape_ascii()
                );
            };
            let before = bound.get(&key).into_iter().flatten();
            end.had.extend(before.clone().chain(&now));
            let (heads, frames) = end.reader.push(&bytes);
            for head in heads.iter().filter(|head| !head.is_response()) {
                let to = head.value("to-path").unwrap();
                // A report may have waited for a chunk to end while its session was released.
                let waited = end.had.iter().filter(|_| head.what == "REPORT");
                let mut allowed = before.clone().chain(&now).chain(waited);
                let letter = allowed.find(|letter| theirs(**letter) == to);
                let letter =
                    letter.unwrap_or_else(|| panic!("{key:?} isn't bound to {to}: {head:?}"));
                assert_eq!(head.value("from-path"), Some(ours(*letter)));
                if let (false, Some(from)) = (self.is_spoilt, head.value("x-from")) {
                    assert_eq!(from, peer(*letter).to_string(), "{head:?}");
                }
            }
            for frame in &frames {
                take_body(&mut self.bodies, frame);
            }
            end.requests.extend(
                frames
                    .into_iter()
                    .map(|frame| frame.head)
                    .filter(|head| !head.is_response()),
            );
        }
        done
    }

    fn check(&self) {
        let Stats {
            msrp_acknowledged,
            msrp_delivered,
            msrp_reported,
            msrp_open,
            ..
        } = self.stats;
        assert_eq!(
            msrp_acknowledged,
            msrp_delivered + msrp_reported + msrp_open
        );
    }

    fn receive(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let verdict = self.act(|world| {
            world
                .relay
                .receive(world.now, key, bytes, &mut world.out, &mut world.stats)
        });
        self.check();
        if let Verdict::Close(why) = verdict {
            let is_valid = !self.is_spoilt && why == DropReason::NotMsrp;
            assert!(!is_valid, "refused at {}", bytes.escape_ascii());
            self.close(key);
        }
    }

    fn close(&mut self, key: ConnectionKey) {
        // Whoever closes takes nothing of what is written to it from then on.
        self.act(|world| {
            world.relay.closed(key, &mut world.out);
            world.out.bytes.remove(&key);
            world.out.handed_over.remove(&key);
            world.out.held.remove(&key);
        });
        self.ends.remove(&key);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.act(|world| {
            world
                .relay
                .handle_timeout(world.now, &mut world.out, &mut world.stats);
        });
        self.check();
        while let Some(key) = self.relay.expired(self.now) {
            self.close(key);
        }
    }

    fn step(&mut self, random: &mut StdRng) {
        let keys: Vec<ConnectionKey> = self.ends.keys().copied().collect();
        if keys.is_empty() {
            return self.accept();
        }
        let bound: Vec<ConnectionKey> = keys
            .iter()
            .copied()
            .filter(|key| !self.bound(*key).is_empty())
            .collect();
        let some = if bound.is_empty() || random.random_ratio(1, 6) {
            &keys
        } else {
            &bound
        };
        let key = *pick(random, some);
        let letter = *pick(random, &LETTERS);
        match random.random_range(0..100) {
            0..58 => self.send(random, key),
            58..68 => self.queue(random, key),
            68..80 => self.answer(random, key),
            80..84 => self.out.full.retain(|_| random.random_ratio(1, 3)),
            84 => self.out.full.push(key),
            87..90 => {
                let most = *pick(random, &[100, 100, 3_000, 40_000]);
                self.pass(Duration::from_millis(random.random_range(0..most)));
            }
            90 | 92 if keys.len() < 6 => self.accept(),
            93 if random.random_ratio(1, 3) => self.close(key),
            act => self.change(random, (act, key, letter)),
        }
    }

    /// Something other than octets comes to the relay.
    fn change(&mut self, random: &mut StdRng, (act, key, letter): (u32, ConnectionKey, char)) {
        match act {
            91 => {
                let leg = self.legs[&letter];
                self.act(|world| world.relay.detach(leg, &mut world.out, &mut world.stats));
                self.check();
            }
            99 => {
                let bounds = MsrpBounds {
                    message_octets: *pick(random, &[0, 0, 1, 1000]),
                    octets_per_s: *pick(random, &[0, 0, 10_000]),
                    idle_ms: *pick(random, &[0, 0, 10_000]),
                };
                self.relay.set_bounds(self.legs[&letter], bounds);
                self.relay.sweep(self.now, 2);
                while self.relay.next_lost().is_some() {}
            }
            95 if random.random_ratio(1, 3) => {
                let leg = self.legs.remove(&letter).unwrap();
                self.relay.remove_leg(leg);
                self.pass(Duration::ZERO);
                self.add_leg(letter);
            }
            96 => self.relay.freeze(self.legs[&letter]),
            97 => self
                .relay
                .set_direction(self.legs[&letter], random.random(), random.random()),
            98 => {
                let leg = self.legs[&letter];
                let made = self.act(|world| {
                    let made = world.relay.connected(world.now, leg, &mut world.out);
                    if let Some(key) = made {
                        world.ends.insert(key, FarEnd::default());
                    }
                    made
                });
                assert!(made.is_none() || self.relay.connection_of(leg) == made);
            }
            94 => {
                let octets = *pick(random, &[1, 7, 100, 2048]);
                let exact = random.random();
                let chunking = *pick(
                    random,
                    &[Chunking::AsTheyCome, Chunking::AtMost { octets, exact }],
                );
                self.relay.set_chunking(self.legs[&letter], chunking);
            }
            85 => {
                let octets = self.out.handed_over.get(&key).copied().unwrap_or(0);
                self.out.held.insert(key, octets);
            }
            86 => {
                self.out.held.retain(|_, _| random.random_ratio(1, 3));
                self.relay.sent(self.now, 3, &self.out);
            }
            _ => self.pass(Duration::ZERO),
        }
    }

    fn queue(&mut self, random: &mut StdRng, key: ConnectionKey) {
        let bound = self.bound(key);
        let is_free = |letter: &char| self.relay.connection_of(self.legs[letter]).is_none();
        let free: Vec<char> = LETTERS.into_iter().filter(is_free).collect();
        let letter = match bound.as_slice() {
            [] if !free.is_empty() => *pick(random, &free),
            [] => *pick(random, &LETTERS),
            _ if random.random_ratio(1, 30) => *pick(random, &LETTERS),
            bound => *pick(random, bound),
        };
        let mut bytes = frame(random, letter);
        if !self.is_spoilt {
            let message_id = format!("m{:x}", random.random::<u64>());
            let body;
            (bytes, body) = frame_of(random, letter, &message_id);
            self.bodies.insert(message_id, (body, Vec::new()));
        }
        if self.is_spoilt && random.random_ratio(1, 12) {
            let other = if random.random() {
                frame(random, peer(letter))
            } else {
                noise(random, 300)
            };
            spoil(random, &mut bytes, &other);
        }
        if let Some(end) = self.ends.get_mut(&key) {
            end.to_send.push(bytes);
        }
    }

    fn answer(&mut self, random: &mut StdRng, key: ConnectionKey) {
        let end = self.ends.get_mut(&key).unwrap();
        if end.requests.is_empty() {
            return;
        }
        let request = end
            .requests
            .swap_remove(random.random_range(0..end.requests.len()));
        let code = pick(
            random,
            &[
                "200 OK", "200", "413 Stop", "481 Gone", "400", "999", "100 odd",
            ],
        );
        let bytes = request.response(code);
        let at = random.random_range(0..=end.to_send.len());
        // Not into the frame that is being sent.
        end.to_send.insert(at.max(usize::from(end.sent > 0)), bytes);
    }

    fn send(&mut self, random: &mut StdRng, key: ConnectionKey) {
        if self.relay.blocked(key, &self.out) && random.random_ratio(9, 10) {
            return;
        }
        let end = self.ends.get_mut(&key).unwrap();
        let Some(first) = end.to_send.first() else {
            return self.queue(random, key);
        };
        let most =
            (first.len() - end.sent).min(*pick(random, &[1, 90, 10_000, 10_000, 10_000, 10_000]));
        let upto = end.sent
            + if random.random() {
                most
            } else {
                random.random_range(0..=most)
            };
        let piece = first[end.sent..upto].to_vec();
        end.sent = upto;
        if upto == first.len() {
            end.to_send.remove(0);
            end.sent = 0;
        }
        self.receive(key, &piece);
    }

    /// Nobody does anything any more.
    fn end(&mut self) {
        self.out.full.clear();
        self.out.held.clear();
        for _ in 0..15 {
            self.relay.sent(self.now, usize::MAX, &self.out);
            self.pass(Duration::from_secs(31));
        }
        for key in self.ends.keys().copied().collect::<Vec<_>>() {
            self.close(key);
        }
        self.pass(Duration::ZERO);
        assert_eq!(self.stats.msrp_open, 0, "{:?}", self.stats);
        assert_eq!(self.relay.poll_timeout(), None);
    }
}

#[test]
fn what_the_relay_acknowledges_it_accounts_for_and_sends_to_nobody_else() {
    rounds("msrp relay", 250, |random| {
        let mut world = World::new(random);
        for _ in 0..random.random_range(50..1200) {
            world.step(random);
        }
        world.end();
    });
}
