//! The engine between two hand-written clients and a worker that does what it is told at once.

mod again;
mod chain;
mod changes;
mod chaos;
mod closing;
mod early;
mod focus;
mod forks;
mod groups;
mod history;
mod interwork;
mod invitation;
mod invite;
mod matrix;
mod modify;
mod offers;
mod pager;
mod preferences;
mod proxy;
mod registration;
mod scene;
mod serving;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dataplane::api::{Act, Event, LegLocal, LegSpec, MsrpLocal, MsrpSpec, Order, Outcome, Refusal};

use super::{ByeAck, Engine, LateOffer, Output, Settings};
use crate::cdr::Cdr;
use crate::cpm::identity::Trust;
use crate::cpm::participating::{Role, Stay};
use crate::cpm::policy::{Policies, UserPolicy};
use crate::history::Ask;
use crate::media;
use crate::sip::{Flow, Protocol, Timers};

const OFFER: &str = "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n";
const ANSWER: &str = "v=0\r\no=b 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

struct Bench {
    engine: Engine,
    now: Instant,
    /// Orders done at once, or held back until [`Bench::do_orders`].
    holds_orders: bool,
    #[expect(clippy::vec_box, reason = "orders travel in their boxes")]
    orders: Vec<Box<Order>>,
    acts: Vec<String>,
    /// Rooms and legs in them that the worker has.
    rooms: focus::Rooms,
    cdrs: Vec<Cdr>,
    asks: Vec<Ask>,
    ports: u16,
    refuse: bool,
    refuse_connect: bool,
    /// Streams that the worker has open, by session.
    streams: BTreeMap<u64, u32>,
    /// REGISTERs of the core, and the last SUBSCRIBE that followed.
    told: u32,
    subscribe: String,
    /// Host names that were asked for.
    names: Vec<String>,
    /// Users whose preferences were asked for.
    asked: Vec<String>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let media = media::Settings {
            media_v4: Some("127.0.0.9".parse().unwrap()),
            media_v6: None,
            learn: dataplane::api::Learn::Never,
            silence_ms: 0,
            msrp: media::Msrp::default(),
        };
        let mut settings = Settings {
            listen: vec![(Protocol::Udp, relay())],
            timers: Timers::default(),
            next_hop: None,
            role: Role::Originating,
            trust: Trust::default(),
            policies: Policies::new(in_path()).into(),
            interworking: Default::default(),
            groups: Default::default(),
            media: media.into(),
            bye_ack: ByeAck::AfterFarEnd,
            bye_far_deadline: Duration::from_secs(4),
            store_deadline: None,
            preferences: None,
            registration: None,
            late_offer: LateOffer::Refuse,
            ringing_max: Duration::from_secs(180),
            sessions_max: 10,
            retry_after_s: 5,
            drain: Duration::from_millis(200),
            end_on_silence: false,
            user_agent: None,
        };
        change(&mut settings);
        let now = Instant::now();
        let engine = Engine::new(settings, 1, 7, now, SystemTime::UNIX_EPOCH);
        Self {
            engine,
            now,
            holds_orders: false,
            orders: Vec::new(),
            acts: Vec::new(),
            rooms: focus::Rooms::default(),
            cdrs: Vec::new(),
            asks: Vec::new(),
            ports: 20_000,
            refuse: false,
            refuse_connect: false,
            streams: BTreeMap::new(),
            told: 0,
            subscribe: String::new(),
            names: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Gives the engine a message from a client and collects what is sent, as text.
    fn give(&mut self, from: SocketAddr, text: &str) -> Vec<(SocketAddr, String)> {
        let flow = Flow {
            protocol: Protocol::Udp,
            local: relay(),
            remote: from,
            connection: 0,
        };
        self.engine
            .handle_packet(self.now, flow, Bytes::from(text.to_owned()));
        self.settle()
    }

    fn settle(&mut self) -> Vec<(SocketAddr, String)> {
        let mut sent = Vec::new();
        loop {
            let mut is_quiet = true;
            while let Some(transmit) = self.engine.poll_transmit() {
                let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
                sent.push((transmit.flow.remote, text));
            }
            while let Some(output) = self.engine.poll_output() {
                is_quiet = false;
                match output {
                    Output::Order { order, .. } if self.holds_orders => self.orders.push(order),
                    Output::Order { order, .. } => self.obey(order),
                    Output::Cdr(cdr) => self.cdrs.push(*cdr),
                    Output::History(ask) => self.asks.push(*ask),
                    Output::Resolve(name) => self.names.push(name),
                    Output::Preferences(address) => self.asked.push(address),
                }
            }
            if is_quiet {
                return sent;
            }
        }
    }

    fn do_orders(&mut self) -> Vec<(SocketAddr, String)> {
        self.holds_orders = false;
        for order in std::mem::take(&mut self.orders) {
            self.obey(order);
        }
        self.settle()
    }

    /// Streams that the worker has open.
    fn open(&self) -> u32 {
        self.streams
            .values()
            .map(|streams| streams.count_ones())
            .sum()
    }

    fn obey(&mut self, mut order: Box<Order>) {
        order.outcome = Outcome::Done;
        let makes = |act: &Act| matches!(act, Act::Open(_) | Act::Join(_));
        if self.refuse && order.acts.iter().any(makes) {
            // All of it or nothing.
            order.outcome = Outcome::Refused(Refusal::NoPort);
            self.engine.handle_news(self.now, 0, Event::Done(order));
            return;
        }
        let streams = self.streams.entry(order.session.0).or_default();
        for act in &mut order.acts {
            match act {
                Act::Open(plan) => {
                    self.acts.push("open".into());
                    if plan.record {
                        self.acts.push("record".into());
                    }
                    *streams |= 1 << plan.stream.0;
                    for (leg, local) in plan.legs.iter().zip(&mut plan.local) {
                        self.ports += 2;
                        *local = local_of(leg, self.ports);
                    }
                }
                Act::Connect { .. } if self.refuse_connect => {
                    order.outcome = Outcome::Refused(Refusal::Unknown);
                }
                Act::Connect {
                    side,
                    remote,
                    direction,
                    ..
                } => {
                    self.acts
                        .push(format!("connect {side:?} {remote:?} {direction:?}"));
                }
                Act::Release { streams: gone, .. } => {
                    self.acts.push(format!("release {gone:?}"));
                    *streams &= !gone.0;
                }
                Act::Report { .. } => self.acts.push("report".into()),
                Act::Trace { .. } => self.acts.push("trace".into()),
                Act::OpenRoom(_)
                | Act::OpenRoad { .. }
                | Act::Join(_)
                | Act::ConnectMember { .. }
                | Act::GiveFloor { .. }
                | Act::Leave { .. } => {
                    self.ports = self.ports.wrapping_add(4);
                    self.acts
                        .extend(self.rooms.obey(order.session.0, act, self.ports));
                }
            }
        }
        self.engine.handle_news(self.now, 0, Event::Done(order));
    }

    fn wait(&mut self, time: Duration) -> Vec<(SocketAddr, String)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            sent.extend(self.settle());
        }
        self.now = end;
        sent
    }

    /// A call up to its ACK: the INVITE as B got it, the 200 as A got it.
    fn call(&mut self) -> (String, String) {
        let sent = self.give(a(), &invite("1", OFFER));
        let to_b = only(&sent, b());
        let sent = self.give(b(), &answer(&to_b, 200, "OK", ANSWER));
        let to_a = only(&sent, a());
        assert!(only(&sent, b()).starts_with("ACK"));
        self.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
        (to_b, to_a)
    }

    fn assert_nothing_left(&mut self) {
        self.wait(Duration::from_secs(70));
        assert_eq!(self.engine.census(), super::Census::default());
        assert!(self.engine.is_idle());
        assert_eq!(self.open(), 0, "{:?}", self.acts);
        assert!(self.rooms.is_empty(), "{:?}", self.acts);
    }
}

/// A policy with a reason to stay in the media path.
fn in_path() -> UserPolicy {
    UserPolicy {
        stay: Stay {
            media_charging: true,
            ..Stay::default()
        },
        ..UserPolicy::default()
    }
}

/// Changes what holds for everybody.
fn for_all(settings: &mut Settings, change: impl FnOnce(&mut UserPolicy)) {
    let mut policy = settings.policies.everybody().clone();
    change(&mut policy);
    settings.policies = Policies::new(policy).into();
}

fn local_of(leg: &LegSpec, port: u16) -> LegLocal {
    match leg {
        LegSpec::Rtp { local_ip, .. } => LegLocal::Rtp {
            rtp: SocketAddr::new(*local_ip, port),
            rtcp: SocketAddr::new(*local_ip, port ^ 1),
        },
        LegSpec::Msrp(MsrpSpec { local_ip, .. }) => LegLocal::Msrp(MsrpLocal {
            listen: SocketAddr::new(*local_ip, 2855),
            session_id: [b'x'; 32],
        }),
        LegSpec::Bytes { local_ip } => LegLocal::Bytes {
            listen: SocketAddr::new(*local_ip, port),
        },
        LegSpec::Bfcp(spec) => LegLocal::Bfcp {
            listen: SocketAddr::new(spec.local_ip, port),
        },
        LegSpec::Away(_) => LegLocal::Unbound,
    }
}

fn relay() -> SocketAddr {
    "127.0.0.1:5060".parse().unwrap()
}

fn a() -> SocketAddr {
    "127.0.0.1:5001".parse().unwrap()
}

fn b() -> SocketAddr {
    "127.0.0.1:5002".parse().unwrap()
}

const CONTACT_A: &str = "Contact: <sip:a@127.0.0.1:5001>\r\n";
const CONTACT_B: &str = "Contact: <sip:b@127.0.0.1:5002>\r\n";

fn invite(branch: &str, sdp: &str) -> String {
    let kind = if sdp.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "INVITE sip:b@127.0.0.1:5002 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5001;branch=z9hG4bK-{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>\r\nCall-ID: call-a\r\nCSeq: 1 INVITE\r\n\
         {CONTACT_A}Conversation-ID: f81d4fae\r\nSubject:  two  spaces\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn ack_of_failure() -> String {
    invite("1", "")
        .replace("INVITE", "ACK")
        .replace("To: <sip:b@x>", "To: <sip:b@x>;tag=any")
}

/// A client's response to a request it was sent.
fn answer(request: &str, code: u16, reason: &str, sdp: &str) -> String {
    let mut text = format!("SIP/2.0 {code} {reason}\r\n");
    for line in request
        .split("\r\n\r\n")
        .next()
        .unwrap()
        .split("\r\n")
        .skip(1)
    {
        let name = line.split(':').next().unwrap();
        if ["Via", "From", "Call-ID", "CSeq"].contains(&name) {
            text.push_str(&format!("{line}\r\n"));
        } else if name == "To" {
            let tag = if line.contains("tag=") { "" } else { ";tag=b" };
            text.push_str(&format!("{line}{tag}\r\n"));
        } else if name == "Record-Route" {
            text.push_str(&format!("{line}\r\n"));
        }
    }
    text.push_str(CONTACT_B);
    if !sdp.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
    text
}

/// A message with more header lines.
fn with(message: &str, lines: &str) -> String {
    message.replacen("\r\nCSeq:", &format!("\r\n{}CSeq:", lines), 1)
}

/// Ends a call by side A's BYE; nothing is left then.
fn end(bench: &mut Bench, to_a: &str, seq: u32) {
    let sent = bench.give(a(), &in_dialog_of_a("BYE", seq, to_a, "", ""));
    let bye = sent
        .iter()
        .find(|(to, text)| *to == b() && text.starts_with("BYE"));
    let bye = bye
        .unwrap_or_else(|| panic!("no BYE in {sent:#?}"))
        .1
        .clone();
    let sent = bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"), "{sent:?}");
    bench.assert_nothing_left();
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    message
        .split("\r\n")
        .find_map(|line| line.strip_prefix(start.as_str()))
        .unwrap_or_default()
}

fn tag_of<'a>(message: &'a str, name: &str) -> &'a str {
    header(message, name)
        .split("tag=")
        .nth(1)
        .unwrap_or_default()
}

fn in_dialog(method: &str, seq: u32, parts: [&str; 4], headers: &str, sdp: &str) -> String {
    let [from, to, call_id, via] = parts;
    let kind = if sdp.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK-{method}-{seq}\r\n\
         Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {seq} {method}\r\n\
         {headers}{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn in_dialog_of_a(method: &str, seq: u32, ok: &str, headers: &str, sdp: &str) -> String {
    let parts = [
        "<sip:a@x>;tag=a",
        header(ok, "To"),
        "call-a",
        "127.0.0.1:5001",
    ];
    in_dialog(method, seq, parts, headers, sdp)
}

fn in_dialog_of_b(method: &str, seq: u32, invite: &str, headers: &str, sdp: &str) -> String {
    let from = format!("{};tag=b", header(invite, "To"));
    let parts = [
        from.as_str(),
        header(invite, "From"),
        header(invite, "Call-ID"),
        "127.0.0.1:5002",
    ];
    in_dialog(method, seq, parts, headers, sdp)
}

/// The only message but 100 that was sent to a client.
fn only(sent: &[(SocketAddr, String)], to: SocketAddr) -> String {
    let mut found = sent
        .iter()
        .filter(|(at, text)| *at == to && !text.starts_with("SIP/2.0 100"))
        .map(|(_, text)| text);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("nothing for {to} in {sent:#?}"));
    assert!(
        found.next().is_none(),
        "more than one for {to} in {sent:#?}"
    );
    first.clone()
}
