//! The relay in the world: the engine and one worker as they are, joined by their real rings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use control::cdr::Cdr;
use control::cpm::identity::Trust;
use control::cpm::participating::{Role, Stay};
use control::cpm::policy::{Policies, UserPolicy};
use control::engine::{ByeAck, Engine, LateOffer, Output, Settings};
use control::history::{Ask, NotYet, Told};
use control::media;
use control::sip::{Flow, Protocol, Timers};
use dataplane::api::{BackendKind, Config, ControlEnd, Doorbell, Event, Learn, ring_pair};
use dataplane::frame::{Pool, PoolSize};
use dataplane::net::sim::{Sim, SimHandle};
use dataplane::stats::{Board, Stats};
use dataplane::worker::{Setup, Worker};

use super::net::Parcel;

/// The relay.
pub struct Relay {
    engine: Engine,
    worker: Worker<Sim>,
    link: ControlEnd,
    sockets: SimHandle,
    board: Board,
    /// The records written so far.
    pub records: Vec<Cdr>,
    listening: usize,
    address: IpAddr,
    /// SIP messages on their way out, with the media sockets that were open then.
    out: Vec<(Parcel, usize)>,
    /// Orders that haven't come back.
    orders_out: usize,
    store: Option<Store>,
    /// What the store was asked, in order.
    pub asked: Vec<Ask>,
    /// What the store will say, and when.
    to_tell: Vec<(Instant, Told)>,
    /// When it said so.
    pub told: Vec<(Instant, Told)>,
}

/// A history store, as its relay sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// How long it takes; `None`: it never answers.
    pub takes: Option<Duration>,
    /// It can store nothing now.
    pub fails: bool,
}

impl Relay {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self::at(ADDRESS, seed, now, |_| {})
    }

    /// A relay at an address of its own, with changed settings.
    pub(super) fn at(
        address: IpAddr,
        seed: u64,
        now: Instant,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let bell = Doorbell::new().expect("a descriptor is left");
        let (link, worker_end) = ring_pair(&bell).expect("a descriptor is left");
        let (sim, sockets) = Sim::new();
        let board = Board::default();
        let config = Config {
            workers: 1,
            first_core: None,
            backend: BackendKind::Auto,
            port_first: 10_000,
            port_last: 59_999,
            port_quiet_ms: 1_000,
            msrp_listen: vec![address],
            msrp_ports: dataplane::api::PortChoice::only_tcp(2855),
            msrp_tls: None,
            msrp_origins: dataplane::api::OriginPolicy::Any,
            msrp_relay: None,
            pool: PoolSize {
                datagrams: 2048,
                streams: 256,
            },
            seed: Some(seed),
        };
        let setup = Setup {
            config: &config,
            number: 0,
            link: worker_end,
            board: board.clone(),
        };
        let pool = Pool::new(config.pool);
        let worker = Worker::new(setup, sim, pool, now).expect("the simulated sockets bind");
        let listening = sockets.open_sockets();
        let mut settings = settings(address);
        change(&mut settings);
        let engine = Engine::new(settings, 1, seed, now, SystemTime::UNIX_EPOCH);
        Self {
            engine,
            worker,
            link,
            sockets,
            board,
            records: Vec::new(),
            listening,
            address,
            out: Vec::new(),
            orders_out: 0,
            store: None,
            asked: Vec::new(),
            to_tell: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Gives it a store.
    pub(super) fn with_store(mut self, store: Option<Store>) -> Self {
        self.store = store;
        self
    }

    /// Where it receives SIP.
    #[must_use]
    pub fn sip(&self) -> SocketAddr {
        SocketAddr::new(self.address, 5060)
    }

    /// Sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.engine.sessions()
    }

    /// Who takes part in group sessions.
    #[must_use]
    pub fn participants(&self) -> usize {
        self.engine.participants()
    }

    /// Whether nothing is left of any session, transaction or order.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    /// What is left, for a message.
    #[must_use]
    pub fn leftovers(&self) -> String {
        format!(
            "{:?} {:?}",
            self.engine.census(),
            self.engine.sessions_by_state()
        )
    }

    /// Media sockets that are open.
    #[must_use]
    pub fn media_sockets(&self) -> usize {
        self.sockets.open_sockets() - self.listening
    }

    /// What the worker counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.board.load()
    }

    pub(super) fn receive(&mut self, now: Instant, parcel: &Parcel) {
        if parcel.to == self.sip() {
            let local = self.sip();
            let flow = Flow {
                protocol: Protocol::Udp,
                local,
                remote: parcel.from,
                connection: 0,
            };
            self.engine
                .handle_packet(now, flow, parcel.bytes.clone().into());
            self.take_transmits();
        } else {
            // A packet to a port that is closed meets nobody, as on a real machine.
            let _ = self.sockets.datagram(parcel.from, parcel.to, &parcel.bytes);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.take_transmits();
        }
        let told = self.to_tell.drain(..);
        let (due, later): (Vec<_>, Vec<_>) = told.partition(|(at, _)| *at <= now);
        self.to_tell = later;
        for (at, told) in due {
            self.told.push((at, told.clone()));
            self.engine.handle_history(now, told);
            self.take_transmits();
        }
        self.cycle(now);
    }

    fn ask(&mut self, now: Instant, ask: Ask) {
        let Some(store) = self.store else {
            panic!("there is no store, but {ask:?} was asked");
        };
        if let (Ask::Finish { session, .. }, Some(takes)) = (&ask, store.takes) {
            let uid = match store.fails {
                true => Err(NotYet::Queued),
                false => Ok(format!("{session}")),
            };
            let told = Told {
                session: *session,
                uid,
            };
            self.to_tell.push((now + takes, told));
        }
        self.asked.push(ask);
    }

    /// Takes what the engine sends, before its worker does anything else.
    fn take_transmits(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            let parcel = Parcel {
                from: transmit.flow.local,
                to: transmit.flow.remote,
                bytes: transmit.bytes.to_vec(),
            };
            self.out.push((parcel, self.media_sockets()));
        }
    }

    fn cycle(&mut self, now: Instant) {
        loop {
            let mut moved = self.worker.cycle(now);
            while self.link.record().is_some() {
                moved += 1;
            }
            while let Some(event) = self.link.news() {
                if matches!(event, Event::Done(_)) {
                    self.orders_out -= 1;
                }
                self.engine.handle_news(now, 0, event);
                self.take_transmits();
                moved += 1;
            }
            while let Some(output) = self.engine.poll_output() {
                moved += 1;
                match output {
                    Output::Order { order, .. } => {
                        self.link.order(order).expect("the ring has room");
                        self.orders_out += 1;
                    }
                    Output::Cdr(cdr) => self.records.push(*cdr),
                    Output::History(ask) => self.ask(now, *ask),
                    Output::Resolve(name) => panic!("nobody is called by name, but {name} was"),
                    Output::Preferences(user) => panic!("there is no XDMS for {user}"),
                }
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// Runs the worker and takes what was sent.
    pub(super) fn sent(&mut self, now: Instant) -> Vec<Parcel> {
        let sent = self.sent_with_media(now);
        sent.into_iter().map(|(parcel, _)| parcel).collect()
    }

    /// Runs the worker and takes what was sent, with the media sockets that were open then.
    pub(super) fn sent_with_media(&mut self, now: Instant) -> Vec<(Parcel, usize)> {
        self.cycle(now);
        self.take_transmits();
        let mut parcels = std::mem::take(&mut self.out);
        while let Some(sent) = self.sockets.sent() {
            let parcel = Parcel {
                from: sent.from,
                to: sent.to,
                bytes: sent.bytes,
            };
            parcels.push((parcel, 0));
        }
        parcels
    }

    /// When it wants to be woken: a worker looks again soon while an order waits for something.
    pub(super) fn poll_wake(&self, now: Instant) -> Option<Instant> {
        let worker = (self.orders_out > 0).then(|| now + Duration::from_millis(10));
        let store = self.to_tell.iter().map(|(at, _)| *at).min();
        [self.engine.poll_timeout(), worker, store]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Lets the worker do what it does now and then, after `time` without traffic.
    pub fn housekeeping(&mut self, now: Instant, time: Duration) {
        self.cycle(now + time);
    }
}

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn settings(address: IpAddr) -> Settings {
    let media = media::Settings {
        media_v4: Some(address),
        media_v6: None,
        learn: Learn::Once {
            window_ms: 5_000,
            same_ip: false,
        },
        silence_ms: 0,
        msrp: media::Msrp::default(),
    };
    Settings {
        listen: vec![(Protocol::Udp, SocketAddr::new(address, 5060))],
        timers: Timers::default(),
        next_hop: None,
        role: Role::Originating,
        interworking: Default::default(),
        trust: Trust::default(),
        policies: Policies::new(UserPolicy {
            stay: Stay {
                media_charging: true,
                ..Stay::default()
            },
            ..UserPolicy::default()
        })
        .into(),
        media: media.into(),
        bye_ack: ByeAck::AfterFarEnd,
        bye_far_deadline: Duration::from_secs(4),
        store_deadline: None,
        groups: Default::default(),
        preferences: None,
        registration: None,
        late_offer: LateOffer::Refuse,
        ringing_max: Duration::from_secs(180),
        sessions_max: 100_000,
        retry_after_s: 5,
        drain: Duration::from_millis(200),
        end_on_silence: false,
        user_agent: None,
    }
}
