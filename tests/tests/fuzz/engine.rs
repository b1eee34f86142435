//! The whole engine between clients, workers and a clock that do anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use control::cpm::identity::Trust;
use control::cpm::interworking;
use control::cpm::participating::{Role, Stay};
use control::cpm::policy::{Interworking, IwfClose, OnFailure, Policies, Streams, UserPolicy};
use control::cpm::routing::Hop;
use control::engine::{ByeAck, Engine, LateOffer, Output, Settings};
use control::media;
use control::sip::{Flow, Protocol, Timers};
use dataplane::api::{Act, Event, Learn, Order, Outcome, Refusal, SessionId, Side, StreamId};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::clients::{CLIENTS, Clients, RELAY, flow};
use super::media::local;
use super::spoil::pick;

struct World {
    engine: Engine,
    now: Instant,
    /// Whether the next orders that open streams are refused; once it is empty none is.
    refusals: Vec<Option<Refusal>>,
    /// Orders that are done and of which the engine was not told yet.
    orders: Vec<(usize, Box<Order>)>,
    /// Names that nobody has resolved yet.
    names: Vec<String>,
    clients: Clients,
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
        msrp: super::media::msrp(random),
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
        interworking: interworking().into(),
        trust: Trust::default(),
        policies: Policies::new(UserPolicy {
            stay,
            interworking: leaves_cpm(random),
            ..UserPolicy::default()
        })
        .into(),
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
        store_deadline: None,
        groups: Default::default(),
        preferences: None,
        registration: None,
        late_offer: *pick(random, &[LateOffer::Refuse, LateOffer::Relay]),
        ringing_max: Duration::from_secs(180),
        sessions_max: *pick(random, &[1, 10, 100, 100]),
        retry_after_s: 5,
        drain: Duration::from_millis(200),
        end_on_silence: random.random(),
        user_agent: None,
    }
}

/// Every client is an Interworking Function, too.
fn interworking() -> interworking::Settings {
    let function = |client: &&str| interworking::Function {
        name: (*client).to_owned(),
        route: format!("<sip:{client};lr>").into(),
        hop: Hop::of(&format!("sip:{client};lr")).unwrap(),
        streams: Streams::ALL,
        size_max: None,
        schemes: Vec::new(),
    };
    interworking::Settings {
        functions: CLIENTS.iter().map(function).collect(),
        no_cpm: vec![480, 486, 488],
        no_core: vec![404, 408, 503],
        unroutable: vec!["tel".to_owned()],
    }
}

fn leaves_cpm(random: &mut StdRng) -> Interworking {
    let failure = *pick(random, &[OnFailure::Error, OnFailure::Interwork]);
    Interworking {
        unregistered: failure,
        no_cpm: failure,
        no_core: failure,
        scheme: failure,
        close: *pick(random, &[IwfClose::Streams, IwfClose::Session]),
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
            clients: Clients::new(),
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
                self.clients.sent.push((transmit.flow, text));
            }
            while let Some(output) = self.engine.poll_output() {
                is_quiet = false;
                match output {
                    Output::Order { worker, order } => self.obey(worker, order),
                    Output::Cdr(_) | Output::History(_) | Output::Preferences(_) => {}
                    Output::Resolve(name) => self.names.push(name),
                }
            }
            if is_quiet {
                self.clients.forget();
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    fn give(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.engine
            .handle_packet(self.now, flow, Bytes::from(bytes.clone()));
        self.clients.given.push((flow, bytes));
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
                Act::Open(_)
                | Act::OpenRoom(_)
                | Act::OpenRoad { .. }
                | Act::Join(_)
                | Act::ConnectMember { .. }
                | Act::GiveFloor { .. }
                | Act::Leave { .. }
                | Act::Connect { .. }
                | Act::Report { .. }
                | Act::Trace { .. } => {}
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

    /// A call, as far as it gets when everybody does what they should.
    fn call(&mut self, random: &mut StdRng) {
        let (flow, bytes) = self.clients.invite(random);
        self.give(flow, bytes);
        self.tell_all(random);
        let is_invite = |text: &str| text.starts_with("INVITE");
        let sent = &self.clients.sent;
        let Some((flow, invite)) = sent.iter().rfind(|(_, text)| is_invite(text)).cloned() else {
            return;
        };
        let answer = self.clients.response_to(random, (flow, &invite), "200 OK");
        self.give(flow, answer);
        self.tell_all(random);
        let is_answer =
            |text: &str| text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n");
        let ok = self
            .clients
            .sent
            .iter()
            .rfind(|(_, text)| is_answer(text))
            .cloned();
        if let Some((flow, ack)) = ok.and_then(|ok| self.clients.in_dialog_of(random, "ACK", &ok)) {
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
        let (flow, bytes) = self.clients.say(random);
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

    /// A worker ends, and another one takes its place.
    fn lose_worker(&mut self, worker: usize) {
        // What it had been ordered never comes back.
        self.orders.retain(|(of, _)| *of != worker);
        self.open.retain(|(of, _, _)| *of != worker);
        self.engine.handle_worker_lost(self.now, worker);
        self.settle();
        self.engine.handle_worker_restarted(worker);
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
