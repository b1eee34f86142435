//! Rooms whose members come, go, stop reading and talk all at once, against the slow obvious model.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Frame, World, response};
use crate::proto::msrp::{ConnectionKey, Leg, LegKey, RoomKey, RoomRules};

struct Somebody {
    leg: LegKey,
    key: ConnectionKey,
    is_in: bool,
    /// Requests that it hasn't answered.
    unanswered: Vec<Frame>,
    /// What it got: the number of the message, its octets, whether it is whole.
    got: Vec<(usize, Vec<u8>, Option<char>)>,
}

/// A message as the model has it.
struct Said {
    by: usize,
    body: Vec<u8>,
    sent: usize,
    /// Who was in when it began.
    to: Vec<usize>,
    is_over: bool,
}

struct Crowd {
    world: World,
    room: RoomKey,
    random: StdRng,
    all: Vec<Somebody>,
    said: Vec<Said>,
    chunks: usize,
}

fn session_id(number: usize) -> [u8; 32] {
    format!("{number:032}").into_bytes().try_into().unwrap()
}

fn path(number: usize) -> Box<str> {
    format!("msrp://192.0.2.1:2855/{number:032};tcp").into()
}

fn far(number: usize) -> Box<str> {
    format!("msrp://far.example:7000/far{number};tcp").into()
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut world = World::with_transactions(100_000);
        let room = world.relay.open_room(RoomRules::default()).unwrap();
        Self {
            world,
            room,
            random: StdRng::seed_from_u64(seed),
            all: Vec::new(),
            said: Vec::new(),
            chunks: 0,
        }
    }

    fn pick(&mut self) -> Option<usize> {
        let present: Vec<_> = (0..self.all.len())
            .filter(|at| self.all[*at].is_in)
            .collect();
        let at = self.random.random_range(0..present.len().max(1));
        present.get(at).copied()
    }

    fn join(&mut self) {
        let number = self.all.len();
        let local_path = path(number);
        let leg = Leg {
            session_id: session_id(number),
            local_path: &local_path,
            match_session_id_only: false,
        };
        let leg = self.world.relay.add_leg(leg).unwrap();
        self.world.relay.set_remote(leg, &far(number), None);
        assert!(self.world.relay.join_room(self.room, leg, None));
        let key = self.world.relay.accept(self.world.now).unwrap();
        self.world.out.held.retain(|(held, _)| *held != key);
        let (to, from) = (path(number), far(number));
        self.world.send(
            key,
            format!("MSRP bind1 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: k\r\n-------bind1$\r\n"),
        );
        self.world.read_one(key);
        self.all.push(Somebody {
            leg,
            key,
            is_in: true,
            unanswered: Vec::new(),
            got: Vec::new(),
        });
    }

    /// Leaves after a drain, or loses its connection.
    fn leave(&mut self, who: usize) {
        let (leg, key) = (self.all[who].leg, self.all[who].key);
        if self.random.random_bool(0.5) {
            self.world.relay.freeze(leg);
            self.world.out.held.retain(|(held, _)| *held != key);
            self.world.catch_up();
            self.hear(who);
            let (out, stats) = (&mut self.world.out, &mut self.world.stats);
            self.world.relay.report_open(leg, out, stats);
        }
        self.world.close(key);
        self.world.out.bytes[key.0 as usize].clear();
        self.world.relay.remove_leg(leg);
        self.all[who].is_in = false;
        for said in self.said.iter_mut().filter(|said| said.by == who) {
            said.is_over = true;
        }
        self.world.catch_up();
    }

    /// Begins a message, or goes on with one.
    fn talk(&mut self, who: usize) {
        let mut open = (0..self.said.len()).filter(|at| {
            let said = &self.said[*at];
            said.by == who && !said.is_over
        });
        let number = match (open.next(), self.random.random_bool(0.3)) {
            (Some(number), false) => number,
            (Some(_) | None, _) => {
                let octets = self.random.random_range(1..6000);
                let body = (0..octets).map(|_| self.random.random_range(b' '..b'~'));
                let to = (0..self.all.len()).filter(|at| self.all[*at].is_in && *at != who);
                self.said.push(Said {
                    by: who,
                    body: body.collect(),
                    sent: 0,
                    to: to.collect(),
                    is_over: false,
                });
                self.said.len() - 1
            }
        };
        let said = &mut self.said[number];
        let left = said.body.len() - said.sent;
        let count = self.random.random_range(1..=left);
        let (from, to) = (said.sent, said.sent + count);
        said.sent = to;
        said.is_over = to == said.body.len();
        let flag = if said.is_over { '$' } else { '+' };
        self.chunks += 1;
        let (id, ours, theirs) = (self.chunks, path(who), far(who));
        let text = std::str::from_utf8(&said.body[from..to]).unwrap();
        let frame = format!(
            "MSRP chunk{id} SEND\r\nTo-Path: {ours}\r\nFrom-Path: {theirs}\r\nMessage-ID: {number}\r\n\
             Byte-Range: {}-{to}/{}\r\nContent-Type: text/plain\r\n\r\n{text}\r\n-------chunk{id}{flag}\r\n",
            from + 1,
            said.body.len(),
        );
        for part in frame.as_bytes().chunks(self.random.random_range(1..2000)) {
            self.world.send_octets(self.all[who].key, part);
        }
        // More than this at a time is aborted by the room for the oldest.
        assert!(
            self.said
                .iter()
                .filter(|said| said.by == who && !said.is_over)
                .count()
                < 8
        );
    }

    fn hear(&mut self, who: usize) {
        let one = &mut self.all[who];
        for frame in self.world.read(one.key) {
            if &*frame.what != "SEND" {
                assert_eq!(&*frame.what, "200 OK");
                continue;
            }
            let number: usize = frame.header("Message-ID").unwrap().parse().unwrap();
            let open = one
                .got
                .iter_mut()
                .find(|(got, _, end)| *got == number && end.is_none());
            let got = match open {
                Some(got) => got,
                None => {
                    one.got.push((number, Vec::new(), None));
                    one.got.last_mut().unwrap()
                }
            };
            let range = frame.header("Byte-Range").unwrap();
            let start: usize = range.split('-').next().unwrap().parse().unwrap();
            assert_eq!(start, got.1.len() + 1, "no gap and nothing twice");
            got.1.extend_from_slice(frame.body.as_deref().unwrap());
            if frame.flag != '+' {
                got.2 = Some(frame.flag);
            }
            one.unanswered.push(frame);
        }
        while let Some(frame) = one.unanswered.pop() {
            if self.random.random_bool(0.2) {
                one.unanswered.push(frame);
                break;
            }
            self.world.send(one.key, response(&frame, "200 OK"));
        }
    }

    fn step(&mut self) {
        let present = self.all.iter().filter(|one| one.is_in).count();
        match (self.random.random_range(0..100), self.pick()) {
            (0..6, _) | (_, None) if present < 40 => self.join(),
            (6..10, Some(who)) if present > 2 => self.leave(who),
            (10..16, Some(who)) => self.world.hold(self.all[who].key, 0),
            (16..22, Some(who)) => {
                let key = self.all[who].key;
                self.world.out.held.retain(|(held, _)| *held != key);
                self.world.catch_up();
            }
            (22..50, Some(who)) => self.hear(who),
            (50..100, Some(who)) => self.talk_if_it_may(who),
            (_, _) => {}
        }
    }

    fn talk_if_it_may(&mut self, who: usize) {
        let open = self
            .said
            .iter()
            .filter(|said| said.by == who && !said.is_over);
        if open.count() < 7 {
            self.talk(who);
        }
    }

    fn end(&mut self) {
        self.world.out.held.clear();
        for _ in 0..200 {
            self.world.catch_up();
            for who in 0..self.all.len() {
                if self.all[who].is_in {
                    self.hear(who);
                }
            }
        }
    }

    /// Each got what was said while it was in, as the model has it.
    fn check(&self) {
        for (who, one) in self.all.iter().enumerate() {
            for (number, body, end) in &one.got {
                let said = &self.said[*number];
                assert!(
                    said.to.contains(&who),
                    "{who} wasn't in when {number} began"
                );
                assert!(said.body.starts_with(body));
                assert_eq!(one.got.iter().filter(|(got, ..)| got == number).count(), 1);
                if *end == Some('$') {
                    assert_eq!(body.len(), said.body.len());
                }
            }
            if !one.is_in {
                continue;
            }
            let due = self
                .said
                .iter()
                .enumerate()
                .filter(|(_, said)| said.to.contains(&who));
            for (number, said) in due {
                let got = one.got.iter().find(|(got, ..)| *got == number);
                let (_, body, end) = got.unwrap_or_else(|| panic!("{who} missed {number}"));
                assert_eq!(body.len(), said.sent, "{who}, {number}");
                let is_whole = said.sent == said.body.len();
                let has_left = !is_whole && said.is_over;
                let expected = if is_whole {
                    Some('$')
                } else {
                    has_left.then_some('#')
                };
                assert_eq!(*end, expected, "{who}, {number}");
            }
            for by in 0..self.all.len() {
                let begun: Vec<_> = one.got.iter().map(|(number, ..)| *number).collect();
                let of: Vec<_> = begun
                    .into_iter()
                    .filter(|at| self.said[*at].by == by)
                    .collect();
                assert!(of.is_sorted(), "in the order in which {by} said them");
            }
        }
    }
}

#[test]
fn upl_04_members_that_come_and_go_get_exactly_what_is_said_while_they_are_in() {
    for seed in 0..10_u64 {
        let mut crowd = Crowd::new(seed);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                crowd.step();
            }
            crowd.end();
            crowd.check();
            let relay = &crowd.world.relay;
            assert_eq!((relay.rooms.octets, relay.waiting_octets), (0, 0));
            crowd.world.pass(Duration::from_secs(31));
            assert_eq!(crowd.world.stats.msrp_open, 0);
            assert_eq!(crowd.world.stats.full_msrp_member, 0);
        }));
        assert!(checked.is_ok(), "seed {seed}");
    }
}
