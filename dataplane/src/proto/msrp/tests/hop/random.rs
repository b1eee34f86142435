//! Clients, strangers and next hops that do anything at any time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Hash, Login, RELAY, SECOND, World, client, request, send};
use crate::proto::msrp::{ConnectionKey, Verdict};

/// Connections that are open, and the paths that were seen.
struct Crowd {
    world: World,
    random: StdRng,
    open: Vec<ConnectionKey>,
    paths: Vec<Box<str>>,
}

impl Crowd {
    fn pick(&mut self, from: &[Box<str>]) -> Box<str> {
        let at = self.random.random_range(0..from.len());
        from[at].clone()
    }

    /// A path of one to three URIs, most of them known to somebody.
    fn path(&mut self) -> Box<str> {
        let known = [
            client("alice"),
            client("bob"),
            RELAY.into(),
            "msrp://198.51.100.7:7000/far1;tcp".into(),
            "msrp://far.example:7000/far1;tcp".into(),
        ];
        let count = self.random.random_range(1..4);
        let uris: Vec<Box<str>> = (0..count)
            .map(|_| match self.random.random_range(0..3) {
                0 => self.pick(&known),
                _ if self.paths.is_empty() => client("alice"),
                _ => self.pick(&self.paths.clone()),
            })
            .collect();
        uris.join(" ").into()
    }

    fn feed(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let split = self.random.random_range(0..=bytes.len());
        let (front, back) = bytes.split_at(split);
        for piece in [front, back] {
            if self.open.contains(&key) && self.world.feed(key, piece) != Verdict::Continue {
                self.close(key);
            }
        }
    }

    fn close(&mut self, key: ConnectionKey) {
        self.open.retain(|one| *one != key);
        self.world.close(key);
        self.world.raw(key);
    }

    fn log_in(&mut self, key: ConnectionKey) {
        let name = ["alice", "bob"][self.random.random_range(0..2)];
        let from = client(name);
        self.world.raw(key);
        let ask = request("ask1", "AUTH", (RELAY, &from), "");
        self.feed(key, ask.as_bytes());
        let said = self.world.raw(key);
        let said = str::from_utf8(&said).unwrap_or_default();
        let Some(nonce) = said.split("nonce=\"").nth(1) else {
            return;
        };
        let is_right = self.random.random_range(0..4) > 0;
        let right = format!("pass of {name}");
        let login = Login {
            hash: [Hash::Md5, Hash::Sha256][self.random.random_range(0..2)],
            user: name,
            password: if is_right { &right } else { "wrong" },
            ..Login::alice(nonce.split('"').next().unwrap())
        };
        let answer = request("ask2", "AUTH", (RELAY, &from), &login.header());
        self.feed(key, answer.as_bytes());
        let said = self.world.raw(key);
        let said = str::from_utf8(&said).unwrap_or_default();
        if let Some(path) = said.split("Use-Path: ").nth(1) {
            self.paths.push(path.split('\r').next().unwrap().into());
        }
    }

    fn say(&mut self, key: ConnectionKey) {
        let (to, from) = (self.path(), self.path());
        let mut frame = match self.random.random_range(0..4) {
            0 => request(
                "rnd1",
                "REPORT",
                (&to, &from),
                "Message-ID: 1\r\nStatus: 000 200\r\n",
            ),
            1 => request("rnd2", "SEND", (&to, &from), "Message-ID: 1\r\n"),
            2 => request("rnd3", "PROBE", (&to, &from), ""),
            _ => send("rnd4", (&to, &from), "hello"),
        }
        .as_bytes()
        .to_vec();
        if self.random.random_range(0..20) == 0 {
            let at = self.random.random_range(0..frame.len());
            frame[at] = self.random.random();
        }
        self.feed(key, &frame);
    }

    fn step(&mut self) {
        let key = match self.open.len() {
            0 => None,
            count => Some(self.open[self.random.random_range(0..count)]),
        };
        match (self.random.random_range(0..12), key) {
            (0, _) | (_, None) if self.open.len() < 12 => {
                let key = self.world.tls();
                self.open.push(key);
            }
            (1 | 2, Some(key)) => self.log_in(key),
            (3, Some(key)) => self.close(key),
            (4, _) => self.world.pass(SECOND * 7),
            (_, Some(key)) => self.say(key),
            (_, None) => {}
        }
        while let Some(hop) = self.world.relay.wanted() {
            if self.random.random_range(0..3) == 0 {
                self.world.close(hop.connection);
            } else {
                let now = self.world.now;
                let out = &mut self.world.out;
                self.world
                    .relay
                    .next_hop_connected(now, hop.connection, out);
                self.open.push(hop.connection);
            }
        }
        while let Some(key) = self.world.relay.expired(self.world.now) {
            self.close(key);
        }
        self.world.check();
    }
}

#[test]
fn whatever_happens_nothing_is_left() {
    for seed in 0..60 {
        let mut crowd = Crowd {
            world: World::relaying(),
            random: StdRng::seed_from_u64(seed),
            open: Vec::new(),
            paths: Vec::new(),
        };
        for _ in 0..300 {
            crowd.step();
        }
        for key in crowd.open.clone() {
            crowd.close(key);
        }
        crowd.world.pass(SECOND * 40);
        let stats = &crowd.world.stats;
        let left = (stats.msrp_open, stats.msrp_use_paths, stats.msrp_next_hops);
        assert_eq!(left, (0, 0, 0), "seed {seed}");
        assert_eq!(crowd.world.relay.legs.hops(), 0, "seed {seed}");
        assert!(stats.msrp_auths > 0, "seed {seed}: nobody came in");
    }
}
