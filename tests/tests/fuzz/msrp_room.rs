//! A room of MSRP members that say anything, at any time, cut anywhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dataplane::api::Chunking;
use dataplane::proto::msrp::{
    Config, ConnectionKey, Connections, Egress, Leg, LegKey, RoomKey, RoomRules, Verdict, Written,
};
use dataplane::stats::Stats;
use rand::RngExt;
use rand::rngs::StdRng;
use tests::torture::frames::{Head, Reader};

use super::campaign::rounds;
use super::scene::{ours, session_id, theirs};
use super::spoil::{noise, pick, spoil};

#[derive(Default)]
struct Out {
    bytes: BTreeMap<ConnectionKey, Vec<u8>>,
    handed_over: BTreeMap<ConnectionKey, u64>,
    held: BTreeMap<ConnectionKey, u64>,
    is_short: bool,
}

impl Egress for Out {
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]) {
        *self.handed_over.entry(to).or_default() += bytes.len() as u64;
        self.bytes.entry(to).or_default().extend_from_slice(bytes);
    }

    fn is_full(&self, _to: ConnectionKey) -> bool {
        false
    }

    fn progress(&self, to: ConnectionKey) -> Written {
        let handed_over = self.handed_over.get(&to).copied().unwrap_or(0);
        Written {
            handed_over,
            left: self.held.get(&to).copied().unwrap_or(handed_over),
        }
    }

    fn is_short(&self) -> bool {
        self.is_short
    }
}

struct Member {
    leg: LegKey,
    key: ConnectionKey,
    reader: Reader,
    unanswered: Vec<Head>,
}

struct World {
    relay: Connections,
    out: Out,
    stats: Stats,
    now: Instant,
    room: RoomKey,
    members: BTreeMap<char, Member>,
    /// Those who have accepted and have no connection yet.
    seated: BTreeMap<char, LegKey>,
    number: u32,
    is_spoilt: bool,
}

const LETTERS: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];

impl World {
    fn new(random: &mut StdRng) -> Self {
        let config = Config {
            transactions: *pick(random, &[0, 3, 5000, 5000]),
            timeout: Duration::from_secs(30),
        };
        let mut relay = Connections::new(config, random.random());
        let group: Option<Box<str>> = random
            .random::<bool>()
            .then(|| "sip:group@example.com".into());
        let rules = RoomRules {
            addresses: group.as_slice(),
            only_cpim: random.random_ratio(1, 8),
        };
        let room = relay.open_room(rules).expect("it is the first");
        Self {
            relay,
            out: Out::default(),
            stats: Stats::default(),
            now: Instant::now(),
            room,
            members: BTreeMap::new(),
            seated: BTreeMap::new(),
            number: 0,
            is_spoilt: random.random(),
        }
    }

    /// Takes a seat, or connects, or both.
    fn join(&mut self, random: &mut StdRng, letter: char) {
        if self.members.contains_key(&letter) {
            return;
        }
        if !self.seated.contains_key(&letter) {
            self.seat(random, letter);
            if random.random_ratio(1, 3) {
                return;
            }
        }
        self.connect(letter);
    }

    fn seat(&mut self, random: &mut StdRng, letter: char) {
        let path = ours(letter);
        let leg = Leg {
            session_id: session_id(letter),
            local_path: &path,
            match_session_id_only: false,
        };
        let leg = self.relay.add_leg(leg).expect("its session-id is free");
        self.relay.set_remote(leg, &theirs(letter), None);
        if random.random() {
            let octets = *pick(random, &[1, 7, 2048]);
            let chunking = Chunking::AtMost {
                octets,
                exact: random.random(),
            };
            self.relay.set_chunking(leg, chunking);
        }
        let identity = format!("<sip:{letter}@example.com>");
        assert!(self.relay.join_room(self.room, leg, Some(&identity)));
        self.seated.insert(letter, leg);
    }

    fn connect(&mut self, letter: char) {
        let Some(leg) = self.seated.remove(&letter) else {
            return;
        };
        let key = self.relay.accept(self.now).expect("there are few");
        self.out.handed_over.remove(&key);
        let member = Member {
            leg,
            key,
            reader: Reader::default(),
            unanswered: Vec::new(),
        };
        self.members.insert(letter, member);
        let (to, from) = (ours(letter), theirs(letter));
        let bind = format!(
            "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n-------bind$\r\n"
        );
        self.receive(letter, bind.as_bytes());
    }

    fn leave(&mut self, random: &mut StdRng, letter: char) {
        let seated = self.seated.remove(&letter);
        let connected = self.members.get(&letter).map(|member| member.leg);
        let Some(leg) = seated.or(connected) else {
            return;
        };
        if random.random() {
            self.relay.freeze(leg);
        }
        if random.random() {
            let (out, stats) = (&mut self.out, &mut self.stats);
            self.relay.report_open(leg, out, stats);
        }
        let Some(member) = self.members.remove(&letter) else {
            self.relay.remove_leg(leg);
            return self.catch_up();
        };
        if random.random() {
            self.relay.remove_leg(member.leg);
            self.relay.closed(member.key, &mut self.out);
        } else {
            self.relay.closed(member.key, &mut self.out);
            self.relay.remove_leg(member.leg);
        }
        self.out.bytes.remove(&member.key);
        self.out.held.remove(&member.key);
        self.catch_up();
    }

    fn receive(&mut self, letter: char, bytes: &[u8]) {
        let Some(member) = self.members.get(&letter) else {
            return;
        };
        let key = member.key;
        let (out, stats) = (&mut self.out, &mut self.stats);
        let verdict = self.relay.receive(self.now, key, bytes, out, stats);
        self.check();
        if let Verdict::Close(why) = verdict {
            assert!(self.is_spoilt, "{why:?}: {}", bytes.escape_ascii());
            let leg = member.leg;
            self.relay.closed(key, &mut self.out);
            self.relay.remove_leg(leg);
            self.members.remove(&letter);
            self.out.bytes.remove(&key);
            self.out.held.remove(&key);
        }
        self.read();
    }

    /// Members read what was written to them.
    fn read(&mut self) {
        for (letter, member) in &mut self.members {
            let bytes = self.out.bytes.remove(&member.key).unwrap_or_default();
            let (_, frames) = member.reader.push(&bytes);
            for frame in frames {
                let head = frame.head;
                if head.is_response() {
                    continue;
                }
                assert_eq!(head.value("to-path"), Some(theirs(*letter)));
                assert_eq!(head.value("from-path"), Some(ours(*letter)));
                let body = frame.body.unwrap_or_default();
                let range = head.value("byte-range").unwrap_or_default();
                if let Some((start, end)) = range.split('/').next().and_then(|r| r.split_once('-'))
                    && let (Ok(start), Ok(end)) = (start.parse::<u64>(), end.parse::<u64>())
                    && head.what == "SEND"
                {
                    assert_eq!(end + 1 - start, body.len() as u64, "{range}");
                }
                let from = head.value("x-from").filter(|_| !self.is_spoilt);
                let is_first = range.starts_with("1-") && body.len() > 20;
                let is_cpim = head.value("content-type").as_deref() == Some("message/cpim");
                if let (Some(from), true, true) = (from, is_first, is_cpim) {
                    assert_ne!(from, letter.to_string(), "its own came back");
                    let text = String::from_utf8_lossy(&body);
                    let known = format!("From: <sip:{from}@example.com>\r\n");
                    assert!(
                        text.starts_with(&known[..known.len().min(body.len())]),
                        "{text}"
                    );
                }
                if head.what == "SEND" {
                    member.unanswered.push(head);
                }
            }
        }
    }

    fn answer(&mut self, random: &mut StdRng, letter: char) {
        let Some(member) = self.members.get_mut(&letter) else {
            return;
        };
        for head in std::mem::take(&mut member.unanswered) {
            let code = *pick(
                random,
                &["200 OK", "200 OK", "200 OK", "413 Stop", "481 Gone"],
            );
            let id = String::from_utf8_lossy(&head.id).into_owned();
            let (to, from) = (theirs(letter), ours(letter));
            let answer = format!(
                "MSRP {id} {code}\r\nTo-Path: {from}\r\nFrom-Path: {to}\r\n-------{id}$\r\n"
            );
            self.receive(letter, answer.as_bytes());
        }
    }

    fn body(&self, random: &mut StdRng, letter: char) -> Vec<u8> {
        let mut body = Vec::new();
        if random.random_ratio(3, 4) {
            let to = *pick(
                random,
                &[
                    "sip:group@example.com",
                    "sip:b@example.com",
                    "SIP:C@EXAMPLE.COM;x",
                    "tel:+1",
                ],
            );
            body.extend_from_slice(
                format!("From: <sip:{letter}@spoof>\r\nTo: <{to}>\r\n\r\n").as_bytes(),
            );
            if random.random() {
                body.extend_from_slice(b"Content-Type: application/im-iscomposing+xml\r\n\r\n");
            }
        }
        let most = *pick(random, &[10, 500, 20_000]);
        body.extend(noise(random, most));
        body
    }

    /// A message in one chunk or two, as a member says it.
    fn talk(&mut self, random: &mut StdRng, letter: char) {
        let Some(leg) = self.members.get(&letter).map(|member| member.leg) else {
            return;
        };
        self.number += 1;
        let (body, number) = (self.body(random, letter), self.number);
        let is_cpim = body.starts_with(b"From") && random.random_ratio(9, 10);
        let content_type = if is_cpim {
            "message/cpim"
        } else {
            "text/plain"
        };
        let at = random.random_range(0..=body.len());
        let parts = [
            (0, at, '+'),
            (at, body.len(), *pick(random, &['$', '$', '#'])),
        ];
        let wish = *pick(
            random,
            &["", "Success-Report: yes\r\n", "Failure-Report: no\r\n"],
        );
        let mut octets = Vec::new();
        for (part, (from, to, flag)) in parts.into_iter().enumerate() {
            let total = pick(random, &[body.len().to_string(), "*".into()]).clone();
            let head = format!(
                "MSRP room{part}{number} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\n\
                 Message-ID: m{number}\r\nByte-Range: {}-*/{total}\r\n{wish}X-From: {letter}\r\n\
                 Content-Type: {content_type}\r\n\r\n",
                ours(letter),
                theirs(letter),
                from + 1,
            );
            octets.extend_from_slice(head.as_bytes());
            octets.extend_from_slice(&body[from..to]);
            octets.extend_from_slice(format!("\r\n-------room{part}{number}{flag}\r\n").as_bytes());
        }
        if self.is_spoilt && random.random_ratio(1, 3) {
            let other = octets.clone();
            spoil(random, &mut octets, &other);
        }
        let most = *pick(random, &[5, 100, 30_000]);
        let mut left = octets.as_slice();
        // Who left and came again begins anew.
        let is_there = |world: &Self| world.members.get(&letter).map(|one| one.leg) == Some(leg);
        while !left.is_empty() && is_there(self) {
            let (now, later) = left.split_at(left.len().min(random.random_range(1..=most)));
            self.receive(letter, now);
            left = later;
            if random.random_ratio(1, 20) {
                self.step(random, letter);
            }
        }
    }

    fn nickname(&mut self, random: &mut StdRng, letter: char) {
        let mut wanted = noise(random, 80);
        wanted.retain(|byte| *byte >= b' ' && *byte != 0x7f);
        let mut octets = format!(
            "MSRP nick1 NICKNAME\r\nTo-Path: {}\r\nFrom-Path: {}\r\nUse-Nickname: \"",
            ours(letter),
            theirs(letter)
        )
        .into_bytes();
        octets.extend(wanted);
        octets.extend_from_slice(b"\"\r\n-------nick1$\r\n");
        self.receive(letter, &octets);
    }

    /// Something that needs no frame of a member's.
    fn step(&mut self, random: &mut StdRng, letter: char) {
        let other = *pick(random, &LETTERS);
        match random.random_range(0..10) {
            0 => self.join(random, other),
            1 if other != letter && random.random_ratio(1, 4) => self.leave(random, other),
            2 => self.out.is_short = random.random(),
            3 => {
                if let Some(member) = self.members.get(&other) {
                    let left = self.out.handed_over.get(&member.key).copied();
                    self.out.held.insert(member.key, left.unwrap_or(0));
                }
            }
            4 => self.out.held.clear(),
            5 => {
                if let Some(member) = self.members.get(&other) {
                    let (send, get) = (random.random(), random.random());
                    self.relay.set_direction(member.leg, send || get, get);
                }
            }
            6 => self.pass(Duration::from_millis(random.random_range(0..5000))),
            _ => self.catch_up(),
        }
    }

    fn catch_up(&mut self) {
        self.relay.catch_up(&mut self.out, &mut self.stats);
        self.check();
        self.read();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let (out, stats) = (&mut self.out, &mut self.stats);
        self.relay.handle_timeout(self.now, out, stats);
        self.check();
        while self.relay.expired(self.now).is_some() {}
        self.read();
    }

    fn check(&self) {
        let stats = &self.stats;
        assert_eq!(
            stats.msrp_acknowledged,
            stats.msrp_delivered + stats.msrp_reported + stats.msrp_open
        );
        assert!(stats.msrp_copies_failed <= stats.msrp_reported);
    }
}

#[test]
fn whatever_members_of_a_room_say_nothing_breaks_and_all_is_accounted_for() {
    rounds("msrp room", 100, |random| {
        let mut world = World::new(random);
        for letter in LETTERS {
            if random.random_ratio(2, 3) {
                world.join(random, letter);
            }
        }
        for _ in 0..random.random_range(1..60) {
            let letter = *pick(random, &LETTERS);
            match random.random_range(0..10) {
                0..4 => world.talk(random, letter),
                4..6 => world.answer(random, letter),
                6 => world.nickname(random, letter),
                _ => world.step(random, letter),
            }
        }
        world.out.held.clear();
        world.out.is_short = false;
        for _ in 0..3 {
            world.catch_up();
            world.pass(Duration::from_secs(31));
        }
        let is_there = |letter: &char| world.members.contains_key(letter);
        let (connected, seated): (Vec<_>, Vec<_>) = LETTERS.into_iter().partition(is_there);
        for letter in connected {
            world.leave(random, letter);
        }
        assert!(
            !world.relay.is_behind(),
            "what is kept for who never connects is given up"
        );
        for letter in seated {
            world.leave(random, letter);
        }
        world.pass(Duration::from_secs(31));
        assert_eq!(world.stats.msrp_open, 0);
    });
}
