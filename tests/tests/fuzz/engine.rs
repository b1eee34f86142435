//! The whole engine between clients, workers and a clock that do anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use control::cpm::participating::{Role, Stay};
use control::engine::{ByeAck, Engine, LateOffer, Output, Settings};
use control::media;
use control::sip::{Flow, Protocol, Timers};
use dataplane::api::{Act, Event, Learn, Order, Outcome, Refusal, SessionId, Side, StreamId};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::media::local;
use super::seeds;
use super::spoil::{noise, pick, spoil};

const RELAY: &str = "192.0.2.1:5060";
const CLIENTS: [&str; 3] = ["192.0.2.10:5060", "192.0.2.20:5060", "192.0.2.30:5060"];

struct World {
    engine: Engine,
    now: Instant,
    /// Whether the next orders that open streams are refused; once it is empty none is.
    refusals: Vec<Option<Refusal>>,
    /// Orders that are done and of which the engine was not told yet.
    orders: Vec<(usize, Box<Order>)>,
    /// Names that nobody has resolved yet.
    names: Vec<String>,
    /// What the engine sent: to whom, and what.
    sent: Vec<(Flow, String)>,
    /// What was given to it.
    given: Vec<(Flow, Vec<u8>)>,
    seeds: Vec<Vec<u8>>,
    sdp: Vec<Vec<u8>>,
    number: u32,
    port: u16,
    /// Streams that workers have: worker, session, stream.
    open: BTreeSet<(usize, SessionId, StreamId)>,
}

fn settings(random: &mut StdRng) -> Settings {
    let media = media::Settings {
        media_v4: Some("192.0.2.1".parse().unwrap()),
        media_v6: random
            .random::<bool>()
            .then(|| "2001:db8::1".parse().unwrap()),
        learn: Learn::Never,
        silence_ms: 1000,
        cema: *pick(random, &[media::Cema::PassThrough, media::Cema::BackToBack]),
        match_session_id_only: false,
    };
    let stay = Stay {
        media_charging: random.random_ratio(4, 5),
        ..Stay::default()
    };
    Settings {
        listen: vec![
            (Protocol::Udp, RELAY.parse().unwrap()),
            (Protocol::Tcp, RELAY.parse().unwrap()),
        ],
        timers: Timers::default(),
        next_hop: None,
        role: *pick(random, &[Role::Originating, Role::Terminating]),
        stay,
        streams: media::Policy::ALL,
        media: media.into(),
        bye_ack: *pick(
            random,
            &[
                ByeAck::AfterFarEnd,
                ByeAck::Immediate,
                ByeAck::ImmediateAfterStore,
            ],
        ),
        bye_far_deadline: Duration::from_secs(4),
        late_offer: *pick(random, &[LateOffer::Refuse, LateOffer::Relay]),
        ringing_max: Duration::from_secs(180),
        sessions_max: *pick(random, &[1, 10, 100, 100]),
        retry_after_s: 5,
        drain: Duration::from_millis(200),
        end_on_silence: random.random(),
        user_agent: None,
    }
}

fn flow(random: &mut StdRng, client: &str) -> Flow {
    let protocol = if random.random_ratio(3, 4) {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    let connection = u64::from(protocol == Protocol::Tcp);
    Flow {
        protocol,
        local: RELAY.parse().unwrap(),
        remote: client.parse().unwrap(),
        connection,
    }
}

fn refusal(random: &mut StdRng) -> Option<Refusal> {
    let why = [
        Refusal::NoPort,
        Refusal::Full,
        Refusal::Unknown,
        Refusal::Socket,
    ];
    random.random_ratio(1, 8).then(|| *pick(random, &why))
}

/// A header's line in a message's text.
fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}: ");
    text.split("\r\n").find(|line| line.starts_with(&start))
}

/// Puts a body below headers that each end in CRLF.
fn with_body(head: &str, sdp: &[u8]) -> Vec<u8> {
    let kind = if sdp.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let head = format!("{head}{kind}Content-Length: {}\r\n\r\n", sdp.len());
    [head.as_bytes(), sdp].concat()
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        let now = Instant::now();
        let workers = random.random_range(1..3);
        Self {
            engine: Engine::new(
                settings(random),
                workers,
                random.random(),
                now,
                SystemTime::UNIX_EPOCH,
            ),
            now,
            refusals: (0..100).map(|_| refusal(random)).collect(),
            orders: Vec::new(),
            names: Vec::new(),
            sent: Vec::new(),
            given: Vec::new(),
            seeds: seeds::sip(),
            sdp: seeds::sdp(),
            number: 0,
            port: 10_000,
            open: BTreeSet::new(),
        }
    }

    /// Takes what the engine puts out.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            while let Some(transmit) = self.engine.poll_transmit() {
                is_quiet = false;
                let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                self.sent.push((transmit.flow, text));
            }
            while let Some(output) = self.engine.poll_output() {
                is_quiet = false;
                match output {
                    Output::Order { worker, order } => self.obey(worker, order),
                    Output::Cdr(_) => {}
                    Output::Resolve(name) => self.names.push(name),
                }
            }
            if is_quiet {
                let old = self.sent.len().saturating_sub(60);
                self.sent.drain(..old);
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    fn give(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.engine
            .handle_packet(self.now, flow, Bytes::from(bytes.clone()));
        self.given.push((flow, bytes));
        let old = self.given.len().saturating_sub(60);
        self.given.drain(..old);
        self.settle();
    }

    /// Does an order as a worker would, or refuses it; that it is done is told later.
    fn obey(&mut self, worker: usize, mut order: Box<Order>) {
        let opens = order.acts.iter().any(|act| matches!(act, Act::Open(_)));
        let refusal = if opens { self.refusals.pop() } else { None };
        order.outcome = refusal.flatten().map_or(Outcome::Done, Outcome::Refused);
        let session = order.session;
        for act in &mut order.acts {
            match act {
                Act::Open(plan) if order.outcome == Outcome::Done => {
                    assert!(
                        self.open.insert((worker, session, plan.stream)),
                        "opened twice"
                    );
                    for (leg, bound) in plan.legs.iter().zip(&mut plan.local) {
                        self.port = self.port.checked_add(2).unwrap_or(10_000);
                        *bound = local(leg, self.port);
                    }
                }
                Act::Release { streams, .. } => {
                    let is_released = |open: &(usize, SessionId, StreamId)| {
                        open.1 == session && streams.contains(open.2)
                    };
                    self.open.retain(|open| !is_released(open));
                }
                Act::Open(_) | Act::Connect { .. } | Act::Report { .. } => {}
            }
        }
        self.orders.push((worker, order));
    }

    /// Tells that an order is done. Those that release come back when they have drained, later than
    /// others that were ordered after them.
    fn tell(&mut self, random: &mut StdRng) {
        let any = random.random_range(0..self.orders.len());
        let drains = |order: &Order| {
            order
                .acts
                .iter()
                .any(|act| matches!(act, Act::Release { .. }))
        };
        let (worker, chosen) = &self.orders[any];
        let first = self
            .orders
            .iter()
            .position(|(of, order)| of == worker && !drains(order));
        let at = if drains(chosen) {
            any
        } else {
            first.unwrap_or(any)
        };
        let (worker, order) = self.orders.remove(at);
        self.engine
            .handle_news(self.now, worker, Event::Done(order));
        self.settle();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        panic!("time never passes: {:?}", self.engine.poll_timeout());
    }

    fn an_sdp(&self, random: &mut StdRng) -> Vec<u8> {
        let mut sdp = pick(random, &self.sdp).clone();
        match random.random_range(0..8) {
            0 => return Vec::new(),
            1 => {
                let other = pick(random, &self.sdp);
                spoil(random, &mut sdp, other);
            }
            _ => {}
        }
        sdp
    }

    /// An answer to the description in a message, or an offer after it: mostly the same again.
    fn echo(&self, random: &mut StdRng, text: &str) -> Vec<u8> {
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if random.random_ratio(1, 6) {
            return self.an_sdp(random);
        }
        let setup = *pick(random, &["a=setup:passive", "a=setup:active"]);
        body.replace("a=setup:actpass", setup).into_bytes()
    }

    fn invite(&mut self, random: &mut StdRng) -> (Flow, Vec<u8>) {
        self.number += 1;
        let number = self.number;
        let (from, to) = (CLIENTS[0], pick(random, &CLIENTS));
        let uri = match random.random_range(0..6) {
            0 => "sip:bob@host.example".to_owned(),
            1 => format!("sip:bob@{RELAY}"),
            2 => "tel:+49123".to_owned(),
            _ => format!("sip:bob@{to}"),
        };
        let extra = pick(
            random,
            &[
                "",
                "Route: <sip:192.0.2.1:5060;lr>, <sip:192.0.2.30;lr>\r\n",
                "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uas\r\n",
                "Require: 100rel\r\n",
                "Max-Forwards: 0\r\n",
                "Session-Expires: 4294967295\r\nSupported: timer\r\n",
                "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\n",
            ],
        );
        let method = pick(
            random,
            &[
                "INVITE", "INVITE", "INVITE", "INVITE", "MESSAGE", "OPTIONS", "REFER",
            ],
        );
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKn{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@a.example>;tag=a{number}\r\nTo: <sip:bob@b.example>\r\nCall-ID: c{number}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:alice@{from}>\r\n{extra}"
        );
        (flow(random, from), with_body(&head, &self.an_sdp(random)))
    }

    /// A response to a request that the engine sent.
    fn response(&self, random: &mut StdRng) -> Option<(Flow, Vec<u8>)> {
        let is_request =
            |sent: &&(Flow, String)| !sent.1.starts_with("SIP/2.0") && !sent.1.starts_with("ACK");
        let requests: Vec<_> = self.sent.iter().filter(is_request).collect();
        if requests.is_empty() {
            return None;
        }
        let recent = random.random_range(requests.len().saturating_sub(6)..requests.len());
        let invite = requests
            .iter()
            .rposition(|(_, text)| text.starts_with("INVITE"));
        let at = invite.filter(|_| random.random()).unwrap_or(recent);
        let (flow, request) = requests[at];
        let codes = [
            "100 Trying",
            "180 Ringing",
            "183 Progress",
            "200 OK",
            "200 OK",
            "200 OK",
            "200 OK",
            "200 OK",
            "202 Accepted",
            "302 Moved",
            "401 Who",
            "408 Late",
            "422 Small",
            "481 Gone",
            "486 Busy",
            "487 Terminated",
            "488 No",
            "491 Pending",
            "500 Bad",
            "503 Full",
            "603 Decline",
            "699 Odd",
        ];
        let code = pick(random, &codes);
        let bytes = self.response_to(random, (*flow, request), code);
        Some((*flow, bytes))
    }

    fn response_to(
        &self,
        random: &mut StdRng,
        (flow, request): (Flow, &str),
        code: &str,
    ) -> Vec<u8> {
        let mut head = format!("SIP/2.0 {code}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            let start = format!("{name}: ");
            for line in request
                .split("\r\n")
                .filter(|line| line.starts_with(&start))
            {
                head += &format!("{line}\r\n");
            }
        }
        let to = line(request, "To").unwrap_or("To: <sip:x>");
        let tag = if to.contains("tag=") || code.starts_with("100") {
            String::new()
        } else {
            format!(";tag=b{}", random.random_range(0..3))
        };
        head += &format!("{to}{tag}\r\nContact: <sip:bob@{}>\r\n", flow.remote);
        let extra = [
            "",
            "",
            "Require: 100rel\r\nRSeq: 1\r\n",
            "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n",
        ];
        head += *pick(random, &extra);
        let has_sdp = matches!(code, "200 OK" | "183 Progress") || random.random_ratio(1, 8);
        let sdp = if has_sdp {
            self.echo(random, request)
        } else {
            Vec::new()
        };
        with_body(&head, &sdp)
    }

    /// A request inside a dialog, as either side would build it from what it was sent.
    fn in_dialog(&mut self, random: &mut StdRng) -> Option<(Flow, Vec<u8>)> {
        let said = self
            .sent
            .iter()
            .filter(|(_, text)| line(text, "To").is_some());
        let said: Vec<_> = said.collect();
        let late = said
            .len()
            .saturating_sub(if random.random() { 6 } else { 60 });
        let said = said.get(late..).filter(|said| !said.is_empty())?;
        let said = (*pick(random, said)).clone();
        let methods = [
            "ACK", "BYE", "INVITE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS", "CANCEL",
            "NOTIFY",
        ];
        let method = *pick(random, &methods);
        self.in_dialog_of(random, method, &said)
    }

    fn in_dialog_of(
        &mut self,
        random: &mut StdRng,
        method: &str,
        (flow, text): &(Flow, String),
    ) -> Option<(Flow, Vec<u8>)> {
        self.number += 1;
        let is_response = text.starts_with("SIP/2.0");
        let (from, to) = (line(text, "From")?, line(text, "To")?);
        // Who was sent a response has its own tag in From; who was sent a request, in To.
        let (own, far) = if is_response {
            (
                from["From: ".len()..].to_owned(),
                to["To: ".len()..].to_owned(),
            )
        } else {
            let tag = if to.contains("tag=") {
                String::new()
            } else {
                format!(";tag=b{}", random.random_range(0..3))
            };
            (
                format!("{}{tag}", &to["To: ".len()..]),
                from["From: ".len()..].to_owned(),
            )
        };
        let number = self.number;
        let cseq = if matches!(method, "ACK" | "CANCEL") {
            1
        } else {
            random.random_range(1..5)
        };
        let branch = if method == "CANCEL" || random.random_ratio(1, 10) {
            format!("z9hG4bKn{}", random.random_range(1..=number))
        } else {
            format!("z9hG4bKd{number}")
        };
        let extra = pick(
            random,
            &[
                "",
                "",
                "RAck: 1 1 INVITE\r\n",
                "Session-Expires: 90\r\n",
                "Route: <sip:192.0.2.1;lr>\r\n",
            ],
        );
        let target = line(text, "Contact")
            .and_then(|line| line.split(['<', '>']).nth(1))
            .unwrap_or("sip:192.0.2.1:5060");
        let head = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {own}\r\n\
             To: {far}\r\n{}\r\nCSeq: {cseq} {method}\r\nContact: <sip:me@{}>\r\n{extra}",
            flow.remote,
            line(text, "Call-ID")?,
            flow.remote
        );
        let has_sdp = matches!(method, "INVITE" | "UPDATE") || random.random_ratio(1, 5);
        let sdp = if has_sdp {
            self.echo(random, text)
        } else {
            Vec::new()
        };
        Some((*flow, with_body(&head, &sdp)))
    }

    /// Something that was said before, or that nobody ever said, nearly.
    fn nonsense(&self, random: &mut StdRng) -> (Flow, Vec<u8>) {
        let client = *pick(random, &CLIENTS);
        let other = flow(random, client);
        let mut said: Vec<(Flow, Vec<u8>)> = self.given.clone();
        said.extend(
            self.sent
                .iter()
                .map(|(flow, text)| (*flow, text.clone().into_bytes())),
        );
        said.extend((0..3).map(|_| (other, pick(random, &self.seeds).clone())));
        let (flow, mut bytes) = pick(random, &said).clone();
        match random.random_range(0..4) {
            0 => {}
            1 => bytes = noise(random, 400),
            _ => {
                let (_, other) = pick(random, &said);
                spoil(random, &mut bytes, other);
            }
        }
        (if random.random() { flow } else { other }, bytes)
    }

    /// A call, as far as it gets when everybody does what they should.
    fn call(&mut self, random: &mut StdRng) {
        let (flow, bytes) = self.invite(random);
        self.give(flow, bytes);
        self.tell_all(random);
        let is_invite = |text: &str| text.starts_with("INVITE");
        let Some((flow, invite)) = self.sent.iter().rfind(|(_, text)| is_invite(text)).cloned()
        else {
            return;
        };
        let answer = self.response_to(random, (flow, &invite), "200 OK");
        self.give(flow, answer);
        self.tell_all(random);
        let is_answer =
            |text: &str| text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n");
        let ok = self.sent.iter().rfind(|(_, text)| is_answer(text)).cloned();
        if let Some((flow, ack)) = ok.and_then(|ok| self.in_dialog_of(random, "ACK", &ok)) {
            self.give(flow, ack);
            self.tell_all(random);
        }
    }

    fn tell_all(&mut self, random: &mut StdRng) {
        while !self.orders.is_empty() {
            self.tell(random);
        }
    }

    fn talk(&mut self, random: &mut StdRng) {
        let message = match random.random_range(0..10) {
            0 => Some(self.invite(random)),
            1..=5 => self.response(random),
            6..=8 => self.in_dialog(random),
            _ => None,
        };
        let (flow, mut bytes) = message.unwrap_or_else(|| self.nonsense(random));
        if random.random_ratio(1, 15) {
            let other = pick(random, &self.seeds);
            spoil(random, &mut bytes, other);
        }
        self.give(flow, bytes);
    }

    fn step(&mut self, random: &mut StdRng) {
        match random.random_range(0..100) {
            0..62 => self.talk(random),
            62..85 if !self.orders.is_empty() => self.tell(random),
            85..91 => {
                let most = *pick(random, &[100, 1000, 5000, 40_000, 200_000]);
                self.wait(Duration::from_millis(random.random_range(0..most)));
            }
            91 => self.hear(random),
            92..94 => self.call(random),
            94 => {
                let client = *pick(random, &CLIENTS);
                let flow = flow(random, client);
                self.engine.handle_transport_error(self.now, flow);
            }
            95..98 => self.resolve(random),
            98 if random.random_ratio(1, 10) => self.lose_worker(random.random_range(0..2)),
            99 if random.random_ratio(1, 20) => self.engine.drain(),
            _ => {
                let _ = (
                    self.engine.census(),
                    self.engine.sessions_by_state(),
                    self.engine.is_idle(),
                );
            }
        }
        self.settle();
    }

    /// News that no worker was asked for.
    fn hear(&mut self, random: &mut StdRng) {
        let session = SessionId(random.random_range(0..20));
        let (stream, side) = (
            StreamId(random.random_range(0..4)),
            *pick(random, &Side::BOTH),
        );
        let event = match random.random_range(0..3) {
            0 => Event::Silent {
                session,
                stream,
                side,
            },
            1 => Event::Heard {
                session,
                stream,
                side,
            },
            _ => Event::ConnectionLost {
                session,
                stream,
                side,
            },
        };
        self.engine.handle_news(self.now, 0, event);
    }

    fn resolve(&mut self, random: &mut StdRng) {
        let Some(name) = self.names.pop() else {
            return;
        };
        let address: Option<SocketAddr> = random
            .random::<bool>()
            .then(|| pick(random, &CLIENTS).parse().unwrap());
        self.engine
            .handle_resolved(self.now, &name, address.map(|address| address.ip()));
    }

    fn lose_worker(&mut self, worker: usize) {
        // What it had been ordered never comes back.
        self.orders.retain(|(of, _)| *of != worker);
        self.open.retain(|(of, _, _)| *of != worker);
        self.engine.handle_worker_lost(self.now, worker);
    }

    /// Nobody says anything any more; every order is done.
    fn end(&mut self, random: &mut StdRng) {
        self.engine.end_all(self.now);
        self.settle();
        for _ in 0..40 {
            while let Some(name) = self.names.pop() {
                self.engine.handle_resolved(self.now, &name, None);
                self.settle();
            }
            self.tell_all(random);
            self.wait(Duration::from_secs(60));
        }
        assert!(self.open.is_empty(), "never released: {:?}", self.open);
        assert!(
            self.engine.is_idle(),
            "{:?} {:?}",
            self.engine.census(),
            self.engine.sessions_by_state()
        );
    }
}

#[test]
fn whatever_is_said_to_the_engine_nothing_is_left_in_the_end() {
    rounds("engine", 400, |random| {
        let mut world = World::new(random);
        for _ in 0..random.random_range(20..300) {
            world.step(random);
        }
        world.end(random);
    });
}
