//! A floor control server and clients around it, with a clock of their own.

use std::time::{Duration, Instant};

use dataplane::api::{FloorId, FloorRule, FloorSpec, MemberId};
use dataplane::proto::floor::{Floors, Verdict};
use dataplane::wire::bfcp::Carrier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::peers::bfcp::{Client, Message};

/// The conference of all meetings.
pub const CONFERENCE: u32 = 4321;

/// The server, its clients, and what is between them.
pub struct Meeting {
    /// The server.
    pub floors: Floors,
    /// What time it is.
    pub now: Instant,
    clients: Vec<Client>,
    /// What each client heard, in order.
    pub heard: Vec<Vec<Message>>,
    wires: Vec<Wire>,
    /// All that was sent, by the server and by the clients.
    pub sent: Vec<Vec<u8>>,
    weather: Option<StdRng>,
}

struct Wire {
    at: Instant,
    is_to_server: bool,
    who: usize,
    octets: Vec<u8>,
}

/// The rule of a floor that one may hold and that nobody decides on.
#[must_use]
pub fn floor(id: u16) -> FloorRule {
    FloorRule {
        floor: FloorId(id),
        chair: None,
        holders: 1,
        silence_ms: 0,
        held_max_ms: 0,
    }
}

/// The user of a client.
///
/// # Panics
///
/// When there are too many.
#[must_use]
pub fn user(who: usize) -> u16 {
    100 + u16::try_from(who).expect("clients are few")
}

/// The member that a client is.
///
/// # Panics
///
/// When there are too many.
#[must_use]
pub fn member(who: usize) -> MemberId {
    MemberId(u32::try_from(who).expect("clients are few"))
}

impl Meeting {
    /// A meeting with these floors and so many clients, all over UDP or all over TCP.
    ///
    /// # Panics
    ///
    /// When there are too many.
    #[must_use]
    pub fn new(floors: Vec<FloorRule>, clients: usize, is_udp: bool) -> Self {
        let spec = FloorSpec {
            conference: CONFERENCE,
            floors,
        };
        let mut meeting = Self {
            floors: Floors::new(&spec),
            now: Instant::now(),
            clients: Vec::new(),
            heard: Vec::new(),
            wires: Vec::new(),
            sent: Vec::new(),
            weather: None,
        };
        for _ in 0..clients {
            meeting.join(is_udp);
        }
        meeting
    }

    /// Datagrams are lost, doubled and late from now on.
    pub fn storm(&mut self, seed: u64) {
        self.weather = Some(StdRng::seed_from_u64(seed));
    }

    /// One more client; says which.
    ///
    /// # Panics
    ///
    /// When there is no room for it.
    pub fn join(&mut self, is_udp: bool) -> usize {
        let who = self.clients.len();
        let carrier = if is_udp {
            Carrier::Unreliable
        } else {
            Carrier::Reliable
        };
        self.floors
            .join(member(who), user(who), carrier)
            .expect("there is room");
        self.clients
            .push(Client::new(CONFERENCE, user(who), is_udp));
        self.heard.push(Vec::new());
        who
    }

    /// A client, to say something with.
    pub fn client(&mut self, who: usize) -> &mut Client {
        &mut self.clients[who]
    }

    /// Sends octets to the server.
    pub fn send(&mut self, who: usize, octets: Vec<u8>) {
        self.put(true, who, octets);
    }

    /// Says something and waits for its answer.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn call(
        &mut self,
        who: usize,
        say: impl FnOnce(&mut Client, Instant) -> (u16, Vec<u8>),
    ) -> Message {
        let from = self.heard[who].len();
        let (transaction, octets) = say(&mut self.clients[who], self.now);
        self.send(who, octets);
        let limit = self.now + Duration::from_secs(120);
        let mut answer = None;
        while answer.is_none() && self.step(limit) {
            let heard = self.heard[who].get(from..).unwrap_or_default();
            let is_it = |message: &&Message| {
                message.transaction == transaction && message.user == user(who)
            };
            answer = heard.iter().find(is_it).cloned();
        }
        answer.expect("every request is answered")
    }

    /// Everything that is under way arrives, and timers run, for so long.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Those who hold a floor.
    #[must_use]
    pub fn holders(&self, floor: u16) -> Vec<usize> {
        let holders = self.floors.holders(FloorId(floor)).iter();
        holders.map(|member| member.0 as usize).collect()
    }

    /// What a client has heard since this was asked last.
    pub fn news(&mut self, who: usize) -> Vec<Message> {
        std::mem::take(&mut self.heard[who])
    }

    /// The next thing happens; false: there is none until then.
    fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let wires = self.wires.iter().map(|wire| wire.at);
        let clients = self.clients.iter().filter_map(Client::deadline);
        let all = wires.chain(clients).chain(self.floors.poll_timeout());
        let Some(next) = all.min().filter(|next| *next <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        for who in 0..self.clients.len() {
            if let Some(octets) = self.clients[who].resend(self.now) {
                self.put(true, who, octets);
            }
        }
        if self.floors.poll_timeout().is_some_and(|at| at <= self.now) {
            self.floors.handle_timeout(self.now);
        }
        if let Some(at) = self.wires.iter().position(|wire| wire.at <= self.now) {
            let wire = self.wires.remove(at);
            self.deliver(wire);
        }
        self.flush();
        true
    }

    fn deliver(&mut self, wire: Wire) {
        if wire.is_to_server {
            let verdict = self
                .floors
                .receive(member(wire.who), &wire.octets, self.now);
            assert_eq!(verdict, Verdict::Keep);
            return;
        }
        let heard = self.clients[wire.who].hear(&wire.octets);
        self.heard[wire.who].extend(heard.messages);
        for reply in heard.replies {
            self.put(true, wire.who, reply);
        }
    }

    fn flush(&mut self) {
        let mut octets = Vec::new();
        while let Some(to) = self.floors.poll_transmit(self.now, &mut octets) {
            self.put(false, to.0 as usize, octets.clone());
        }
    }

    fn put(&mut self, is_to_server: bool, who: usize, octets: Vec<u8>) {
        self.sent.push(octets.clone());
        let mut wire = Wire {
            at: self.now,
            is_to_server,
            who,
            octets,
        };
        let Some(random) = &mut self.weather else {
            self.wires.push(wire);
            return;
        };
        while random.random_ratio(19, 20) {
            wire.at = self.now + Duration::from_millis(random.random_range(1..400));
            let is_last = random.random_ratio(4, 5);
            self.wires.push(Wire {
                octets: wire.octets.clone(),
                ..wire
            });
            if is_last {
                break;
            }
        }
    }
}
