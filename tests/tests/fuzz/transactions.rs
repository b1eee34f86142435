//! The SIP transaction layer below a user who does anything it may.

use std::time::{Duration, Instant};

use bytes::Bytes;
use control::sip::{
    ClientKey, Flow, Message, Method, Name, ParseError, Protocol, Repeat, ServerKey, Timers,
    Transactions, TxEvent,
};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::seeds;
use super::spoil::{noise, pick, spoil};

struct World {
    layer: Transactions,
    now: Instant,
    seeds: Vec<Vec<u8>>,
    /// Everything that was on the wire lately, both ways.
    wire: Vec<Vec<u8>>,
    /// Requests that the user has not answered finally.
    asked: Vec<(ServerKey, Message)>,
    clients: Vec<ClientKey>,
    number: u32,
}

fn flow(random: &mut StdRng) -> Flow {
    let protocol = *pick(random, &[Protocol::Udp, Protocol::Udp, Protocol::Tcp]);
    let remote = *pick(
        random,
        &["192.0.2.2:5060", "192.0.2.3:5060", "[2001:db8::1]:5060"],
    );
    Flow {
        protocol,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: random.random_range(0..3),
    }
}

/// What a far end answers to a request that it was sent.
fn response(random: &mut StdRng, request: &Message) -> Bytes {
    let code = *pick(
        random,
        &[100, 180, 183, 200, 200, 202, 300, 404, 481, 487, 503, 699],
    );
    let mut response = Message::response(request, code, "Whatever");
    let tag = *pick(random, &["one", "two"]);
    response.set_to_tag(tag);
    response.encode()
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        Self {
            layer: Transactions::new(Timers::default(), random.random()),
            now: Instant::now(),
            seeds: seeds::sip(),
            wire: Vec::new(),
            asked: Vec::new(),
            clients: Vec::new(),
            number: 0,
        }
    }

    fn note(&mut self, bytes: Vec<u8>) {
        self.wire.push(bytes);
        let old = self.wire.len().saturating_sub(40);
        self.wire.drain(..old);
    }

    fn settle(&mut self) {
        while let Some(transmit) = self.layer.poll_transmit() {
            let sent = Message::parse(transmit.bytes.clone());
            // What was as long as the limit allows is longer with our part of it.
            if let Err(error) = sent
                && !matches!(
                    error,
                    ParseError::TooLong { .. } | ParseError::TooManyHeaders
                )
            {
                panic!("{error} in what is sent: {}", transmit.bytes.escape_ascii());
            }
            self.note(transmit.bytes.to_vec());
        }
        while let Some(event) = self.layer.poll_event() {
            if let TxEvent::Request { key, request, .. } = event {
                assert!(!matches!(
                    request.method(),
                    Some(Method::Ack | Method::Cancel) | None
                ));
                self.asked.push((key, request));
            }
        }
    }

    fn give(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.layer
            .handle_packet(self.now, flow, Bytes::from(bytes.clone()));
        self.note(bytes);
        self.settle();
    }

    fn request(&mut self, method: &str) -> Message {
        self.number += 1;
        let number = self.number;
        let text = format!(
            "{method} sip:x@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: {number}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:a@192.0.2.2>\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    /// A packet from outside.
    fn hear(&mut self, random: &mut StdRng) {
        let said: Vec<Message> = self
            .wire
            .iter()
            .filter_map(|bytes| Message::parse(Bytes::from(bytes.clone())).ok())
            .collect();
        let requests: Vec<&Message> = said.iter().filter(|message| message.is_request()).collect();
        let mut bytes = match random.random_range(0..10) {
            0..3 => {
                let method = *pick(random, &["INVITE", "INVITE", "OPTIONS", "BYE"]);
                self.request(method).encode().to_vec()
            }
            3..7 if !requests.is_empty() => {
                let request = *pick(random, &requests);
                response(random, request).to_vec()
            }
            7 if !requests.is_empty() => {
                let mut request = (*pick(random, &requests)).clone();
                let method = pick(random, &[Method::Ack, Method::Cancel]).clone();
                request.headers.set(Name::CSeq, format!("1 {method}"));
                if let control::sip::StartLine::Request { method: asked, .. } = &mut request.start {
                    *asked = method;
                }
                request.encode().to_vec()
            }
            8 if !self.wire.is_empty() => pick(random, &self.wire).clone(),
            _ => pick(random, &self.seeds).clone(),
        };
        match random.random_range(0..12) {
            0 => {
                let other = pick(random, &self.seeds);
                spoil(random, &mut bytes, other);
            }
            1 => bytes = noise(random, 200),
            _ => {}
        }
        let flow = flow(random);
        self.give(flow, bytes);
    }

    fn answer(&mut self, random: &mut StdRng) {
        if self.asked.is_empty() {
            return;
        }
        let at = random.random_range(0..self.asked.len());
        let (key, request) = self.asked[at].clone();
        let code = *pick(random, &[100, 180, 183, 200, 200, 302, 404, 603]);
        let mut response = Message::response(&request, code, "Whatever");
        if code > 100 {
            response.set_to_tag("ours");
        }
        let repeat = *pick(random, &[Repeat::Ours, Repeat::Theirs]);
        self.layer.respond(self.now, key, response, repeat);
        // A final response is now and then given twice.
        if code >= 200 && random.random_ratio(9, 10) {
            self.asked.swap_remove(at);
        }
    }

    fn step(&mut self, random: &mut StdRng) {
        match random.random_range(0..20) {
            0..9 => self.hear(random),
            9..12 => self.answer(random),
            12..14 => {
                let method = *pick(random, &["INVITE", "OPTIONS", "BYE"]);
                let request = self.request(method);
                let flow = flow(random);
                self.clients
                    .push(self.layer.request(self.now, request, flow).unwrap());
            }
            14 if !self.clients.is_empty() => {
                self.layer
                    .cancel(self.now, *pick(random, &self.clients), &[]);
            }
            15 if !self.clients.is_empty() => self.layer.forget(*pick(random, &self.clients)),
            16 => {
                let flow = flow(random);
                self.layer.handle_transport_error(self.now, flow);
            }
            17 if !self.asked.is_empty() => self.layer.trying(pick(random, &self.asked).0),
            _ => {
                let most = *pick(random, &[100, 3000, 70_000]);
                self.wait(Duration::from_millis(random.random_range(0..most)));
            }
        }
        self.settle();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            let Some(at) = self.layer.poll_timeout().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.layer.handle_timeout(self.now);
            self.settle();
        }
        panic!("time never passes: {:?}", self.layer.poll_timeout());
    }

    /// The user answers everything and cancels everything; then only time passes.
    fn end(&mut self) {
        for _ in 0..3 {
            for (key, request) in std::mem::take(&mut self.asked) {
                self.layer.respond(
                    self.now,
                    key,
                    Message::response(&request, 500, "End"),
                    Repeat::Ours,
                );
            }
            for client in &self.clients {
                self.layer.cancel(self.now, *client, &[]);
            }
            self.settle();
            self.wait(Duration::from_secs(150));
        }
        assert!(self.layer.is_empty(), "{} are left", self.layer.len());
        assert_eq!(self.layer.poll_timeout(), None);
    }
}

#[test]
fn every_transaction_ends_whatever_comes() {
    rounds("transactions", 150, |random| {
        let mut world = World::new(random);
        for _ in 0..random.random_range(20..400) {
            world.step(random);
        }
        world.end();
    });
}
