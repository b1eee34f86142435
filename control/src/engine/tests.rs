//! The engine between two hand-written clients and a worker that does what it is told at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dataplane::api::{Act, Event, LegLocal, LegSpec, MsrpLocal, Order, Outcome, Refusal};

use super::{ByeAck, Engine, LateOffer, Output, Settings};
use crate::cdr::Cdr;
use crate::cpm::participating::{Role, Stay};
use crate::media;
use crate::sip::{Flow, Protocol, Timers};

const OFFER: &str = "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n";
const ANSWER: &str = "v=0\r\no=b 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

struct Bench {
    engine: Engine,
    now: Instant,
    /// Orders done at once, or held back until [`Bench::do_orders`].
    holds_orders: bool,
    orders: Vec<Box<Order>>,
    acts: Vec<String>,
    cdrs: Vec<Cdr>,
    ports: u16,
    refuse: bool,
    open: i32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let media = media::Settings {
            media_v4: Some("127.0.0.9".parse().unwrap()),
            media_v6: None,
            learn: dataplane::api::Learn::Never,
            silence_ms: 0,
            cema: media::Cema::PassThrough,
            match_session_id_only: false,
        };
        let mut settings = Settings {
            listen: vec![(Protocol::Udp, relay())],
            timers: Timers::default(),
            next_hop: None,
            role: Role::Originating,
            stay: Stay { media_charging: true, ..Stay::default() },
            streams: media::Policy::ALL,
            media: media.into(),
            bye_ack: ByeAck::AfterFarEnd,
            bye_far_deadline: Duration::from_secs(4),
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
            cdrs: Vec::new(),
            ports: 20_000,
            refuse: false,
            open: 0,
        }
    }

    /// Gives the engine a message from a client and collects what is sent, as text.
    fn give(&mut self, from: SocketAddr, text: &str) -> Vec<(SocketAddr, String)> {
        let flow = Flow { protocol: Protocol::Udp, local: relay(), remote: from, connection: 0 };
        self.engine.handle_packet(self.now, flow, Bytes::from(text.to_owned()));
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
                    Output::Resolve(_) => {}
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

    fn obey(&mut self, mut order: Box<Order>) {
        order.outcome = Outcome::Done;
        for act in &mut order.acts {
            match act {
                Act::Open(plan) if !self.refuse => {
                    self.acts.push("open".into());
                    self.open += 1;
                    for (leg, local) in plan.legs.iter().zip(&mut plan.local) {
                        self.ports += 2;
                        *local = local_of(leg, self.ports);
                    }
                }
                Act::Open(_) => order.outcome = Outcome::Refused(Refusal::NoPort),
                Act::Connect { side, remote, direction, .. } => {
                    self.acts.push(format!("connect {side:?} {remote:?} {direction:?}"));
                }
                Act::Release { streams, .. } => {
                    self.acts.push(format!("release {streams:?}"));
                    if streams.0 == u32::MAX {
                        self.open = 0;
                    } else {
                        self.open -= i32::try_from(streams.0.count_ones()).unwrap();
                    }
                }
                Act::Report { .. } => self.acts.push("report".into()),
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
        assert_eq!(self.open, 0, "{:?}", self.acts);
    }
}

#[test]
fn a_call_is_anchored_and_released_before_anyone_is_told_of_its_end() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    assert!(to_b.contains("c=IN IP4 127.0.0.9"), "{to_b}");
    assert!(to_b.contains("Conversation-ID: f81d4fae\r\n"));
    assert!(to_b.contains("Subject:  two  spaces\r\n"), "{to_b}");
    assert!(!to_b.contains("call-a"), "{to_b}");
    assert!(to_a.contains("c=IN IP4 127.0.0.9") && !to_a.contains("5000"), "{to_a}");
    bench.holds_orders = true;
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "Reason: SIP;cause=200\r\n", ""));
    assert!(sent.is_empty(), "{sent:?}");
    let sent = bench.do_orders();
    let bye = only(&sent, b());
    assert!(bye.starts_with("BYE ") && bye.contains("Reason: SIP;cause=200\r\n"), "{bye}");
    assert_eq!(sent.len(), 1);
    let sent = bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert_eq!(bench.cdrs.len(), 1);
    bench.assert_nothing_left();
}

#[test]
fn an_immediate_bye_ack_leaves_before_the_bye_to_the_far_side() {
    let mut bench = Bench::new(|settings| settings.bye_ack = ByeAck::Immediate);
    let (_, to_a) = bench.call();
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    assert!(sent[0].1.starts_with("SIP/2.0 200") && sent[0].0 == a(), "{sent:?}");
    assert!(sent[1].1.starts_with("BYE") && sent[1].0 == b(), "{sent:?}");
    bench.give(b(), &answer(&sent[1].1, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_silent_far_side_does_not_keep_the_near_side_waiting() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let sent = bench.wait(Duration::from_millis(4_100));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"), "{sent:?}");
    bench.wait(Duration::from_secs(40));
    bench.assert_nothing_left();
}

#[test]
fn byes_that_cross_each_get_their_200() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye_to_b = only(&sent, b());
    let sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"));
    let sent = bench.give(b(), &answer(&bye_to_b, 481, "Gone", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    bench.assert_nothing_left();
}

#[test]
fn a_refused_invite_leaves_nothing() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 486, "Busy Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 486"), "{sent:?}");
    assert!(only(&sent, b()).starts_with("ACK"));
    bench.assert_nothing_left();
}

#[test]
fn a_cancelled_invite_is_cancelled_on_and_leaves_nothing() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 180"));
    let cancel = invite("1", "").replace("INVITE", "CANCEL");
    let sent = bench.give(a(), &cancel);
    let to_a: Vec<&String> = sent.iter().filter(|(to, _)| *to == a()).map(|(_, text)| text).collect();
    assert!(to_a.iter().any(|text| text.starts_with("SIP/2.0 487")), "{to_a:?}");
    let cancel = only(&sent, b());
    assert!(cancel.starts_with("CANCEL"));
    bench.give(b(), &answer(&cancel, 200, "OK", ""));
    bench.give(b(), &answer(&to_b, 487, "Request Terminated", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn an_answer_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    bench.give(a(), &invite("1", "").replace("INVITE", "CANCEL"));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let sent: Vec<String> = sent.into_iter().filter(|(to, _)| *to == b()).map(|(_, text)| text).collect();
    assert!(sent[0].starts_with("ACK"), "{sent:?}");
    assert!(sent[1].starts_with("BYE"), "{sent:?}");
    bench.give(b(), &answer(&sent[1], 200, "OK", ""));
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn no_port_is_503_with_retry_after() {
    let mut bench = Bench::new(|_| {});
    bench.refuse = true;
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_a = sent.last().unwrap();
    assert!(to_a.1.starts_with("SIP/2.0 503") && to_a.1.contains("Retry-After: 5\r\n"), "{to_a:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn an_invite_without_an_offer_is_refused_in_the_media_path() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", ""));
    assert!(sent[0].1.starts_with("SIP/2.0 488") && sent[0].1.contains("Warning: 399"), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn a_late_offer_is_relayed_where_the_settings_say_so() {
    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let sent = bench.give(a(), &invite("1", ""));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert!(to_a.starts_with("SIP/2.0 200") && to_a.contains("c=IN IP4 127.0.0.9"), "{to_a}");
    let sent = bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", OFFER));
    let ack = only(&sent, b());
    assert!(ack.starts_with("ACK") && ack.contains("c=IN IP4 127.0.0.9"), "{ack}");
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_reinvite_that_drops_a_stream_releases_it_before_its_200() {
    let two = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    let two_answered = format!("{ANSWER}m=audio 5002 RTP/AVP 8\r\n");
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", &two));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", &two_answered));
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    assert_eq!(bench.open, 2);
    let dropped = two.replace("m=audio 4002", "m=audio 0").replace("a 1 1", "a 1 2");
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &dropped));
    let reinvite = only(&sent, b());
    assert!(reinvite.contains("m=audio 0 RTP/AVP 8"), "{reinvite}");
    bench.holds_orders = true;
    let answered = two_answered.replace("m=audio 5002", "m=audio 0").replace("b 7 1", "b 7 2");
    let sent = bench.give(b(), &answer(&reinvite, 200, "OK", &answered));
    assert!(only(&sent, b()).starts_with("ACK"));
    assert!(!sent.iter().any(|(to, _)| *to == a()), "{sent:?}");
    let sent = bench.do_orders();
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert_eq!(bench.open, 1, "{:?}", bench.acts);
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let sent = bench.give(b(), &in_dialog_of_b("BYE", 1, &to_b, "", ""));
    let bye = only(&sent, a());
    bench.give(a(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_refused_reinvite_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = bench.call();
    let more = format!("{OFFER}m=audio 4002 RTP/AVP 8\r\n");
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &more));
    let reinvite = only(&sent, b());
    assert_eq!(bench.open, 2);
    let sent = bench.give(b(), &answer(&reinvite, 488, "Not Acceptable Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 488"));
    assert_eq!(bench.open, 1, "{:?}", bench.acts);
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 3, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn reinvites_that_cross_meet_491() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = bench.call();
    bench.give(a(), &in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, OFFER));
    let sent = bench.give(b(), &in_dialog_of_b("INVITE", 1, &to_b, CONTACT_B, ANSWER));
    assert!(sent.iter().any(|(to, text)| *to == b() && text.starts_with("SIP/2.0 491")), "{sent:?}");
    let sent = bench.give(a(), &in_dialog_of_a("INVITE", 3, &to_a, CONTACT_A, OFFER).replace("z9hG4bK-3", "z9hG4bK-x"));
    assert!(sent.iter().any(|(to, text)| *to == a() && text.starts_with("SIP/2.0 500")), "{sent:?}");
}

#[test]
fn info_travels_both_ways_with_its_body() {
    let mut bench = Bench::new(|_| {});
    let (to_b, _) = bench.call();
    let info = in_dialog_of_b("INFO", 1, &to_b, "X-Thing: 1\r\nContent-Type: text/plain\r\n", "hello");
    let sent = bench.give(b(), &info.replace("Content-Type: application/sdp\r\n", ""));
    let info = only(&sent, a());
    assert!(info.starts_with("INFO") && info.contains("X-Thing: 1\r\n") && info.ends_with("hello"), "{info}");
    let sent = bench.give(a(), &answer(&info, 200, "OK", ""));
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"));
}

#[test]
fn a_session_nobody_refreshes_ends_on_both_sides() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let ok = answer(&to_b, 200, "OK", ANSWER).replace("Contact", "Session-Expires: 100;refresher=uac\r\nContact");
    let sent = bench.give(b(), &ok);
    let to_a = only(&sent, a());
    assert!(to_a.contains("Session-Expires: 100"), "{to_a}");
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    assert!(bench.wait(Duration::from_secs(99)).is_empty());
    let sent = bench.wait(Duration::from_millis(1_100));
    for to in [a(), b()] {
        let bye = sent.iter().find(|(at, text)| *at == to && text.starts_with("BYE")).unwrap();
        bench.give(to, &answer(&bye.1, 200, "OK", ""));
    }
    bench.assert_nothing_left();
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_session() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let sent = bench.wait(Duration::from_secs(33));
    let bye = sent.iter().find(|(to, text)| *to == b() && text.starts_with("BYE")).unwrap();
    bench.give(b(), &answer(&bye.1, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn a_second_forks_answer_is_acknowledged_and_ended() {
    let mut bench = Bench::new(|_| {});
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    let sent = bench.give(b(), &answer(&to_b, 180, "Ringing", "").replace("tag=b", "tag=b2"));
    let first = only(&sent, a());
    let sent = bench.give(b(), &answer(&to_b, 180, "Ringing", ""));
    let second = only(&sent, a());
    assert_ne!(tag_of(&first, "To"), tag_of(&second, "To"));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert_eq!(tag_of(&to_a, "To"), tag_of(&second, "To"));
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER).replace("tag=b", "tag=b2"));
    assert!(sent[0].1.starts_with("ACK") && sent[1].1.starts_with("BYE"), "{sent:?}");
    assert!(sent[1].1.contains("tag=b2"));
    bench.give(b(), &answer(&sent[1].1, 200, "OK", ""));
    assert_eq!(bench.open, 1);
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye = only(&sent, b());
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn without_a_reason_to_stay_the_session_is_proxied_unchanged() {
    let mut bench = Bench::new(|settings| settings.stay = Stay::default());
    let sent = bench.give(a(), &invite("1", OFFER));
    let to_b = only(&sent, b());
    assert!(to_b.ends_with(OFFER) && to_b.contains("Call-ID: call-a"), "{to_b}");
    assert!(to_b.contains("Record-Route: <sip:127.0.0.1:5060;lr>"), "{to_b}");
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", ANSWER));
    let to_a = only(&sent, a());
    assert!(to_a.ends_with(ANSWER), "{to_a}");
    let route = "Route: <sip:127.0.0.1:5060;lr>\r\n";
    let ack = in_dialog_of_a("ACK", 1, &to_a, route, "").replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP");
    let sent = bench.give(a(), &ack);
    assert!(only(&sent, b()).starts_with("ACK sip:b@127.0.0.1:5002"), "{sent:?}");
    let bye = in_dialog_of_a("BYE", 2, &to_a, route, "").replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP");
    let sent = bench.give(a(), &bye);
    let bye = only(&sent, b());
    assert!(bye.starts_with("BYE"));
    let sent = bench.give(b(), &answer(&bye, 200, "OK", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    assert!(bench.acts.is_empty());
    bench.assert_nothing_left();
}

#[test]
fn a_request_for_an_unknown_dialog_is_481() {
    let mut bench = Bench::new(|_| {});
    let bye = in_dialog_of_a("BYE", 2, "To: <sip:b@127.0.0.1:5002>;tag=none\r\n", "", "");
    let sent = bench.give(a(), &bye);
    assert!(only(&sent, a()).starts_with("SIP/2.0 481"));
}

fn local_of(leg: &LegSpec, port: u16) -> LegLocal {
    match leg {
        LegSpec::Rtp { local_ip, .. } => LegLocal::Rtp {
            rtp: SocketAddr::new(*local_ip, port),
            rtcp: SocketAddr::new(*local_ip, port + 1),
        },
        LegSpec::Msrp { local_ip, .. } => LegLocal::Msrp(MsrpLocal {
            listen: SocketAddr::new(*local_ip, 2855),
            session_id: [b'x'; 32],
        }),
        LegSpec::Bytes { local_ip } => LegLocal::Bytes { listen: SocketAddr::new(*local_ip, port) },
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
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "INVITE sip:b@127.0.0.1:5002 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5001;branch=z9hG4bK-{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>\r\nCall-ID: call-a\r\nCSeq: 1 INVITE\r\n\
         {CONTACT_A}Conversation-ID: f81d4fae\r\nSubject:  two  spaces\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn ack_of_failure() -> String {
    invite("1", "").replace("INVITE", "ACK").replace("To: <sip:b@x>", "To: <sip:b@x>;tag=any")
}

/// A client's response to a request it was sent.
fn answer(request: &str, code: u16, reason: &str, sdp: &str) -> String {
    let mut text = format!("SIP/2.0 {code} {reason}\r\n");
    for line in request.split("\r\n\r\n").next().unwrap().split("\r\n").skip(1) {
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

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    message.split("\r\n").find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_default()
}

fn tag_of<'a>(message: &'a str, name: &str) -> &'a str {
    header(message, name).split("tag=").nth(1).unwrap_or_default()
}

fn in_dialog(method: &str, seq: u32, parts: [&str; 4], headers: &str, sdp: &str) -> String {
    let [from, to, call_id, via] = parts;
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK-{method}-{seq}\r\n\
         Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {seq} {method}\r\n\
         {headers}{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn in_dialog_of_a(method: &str, seq: u32, ok: &str, headers: &str, sdp: &str) -> String {
    let parts = ["<sip:a@x>;tag=a", header(ok, "To"), "call-a", "127.0.0.1:5001"];
    in_dialog(method, seq, parts, headers, sdp)
}

fn in_dialog_of_b(method: &str, seq: u32, invite: &str, headers: &str, sdp: &str) -> String {
    let from = format!("{};tag=b", header(invite, "To"));
    let parts = [from.as_str(), header(invite, "From"), header(invite, "Call-ID"), "127.0.0.1:5002"];
    in_dialog(method, seq, parts, headers, sdp)
}

/// The only message but 100 that was sent to a client.
fn only(sent: &[(SocketAddr, String)], to: SocketAddr) -> String {
    let mut found =
        sent.iter().filter(|(at, text)| *at == to && !text.starts_with("SIP/2.0 100")).map(|(_, text)| text);
    let first = found.next().unwrap_or_else(|| panic!("nothing for {to} in {sent:#?}"));
    assert!(found.next().is_none(), "more than one for {to} in {sent:#?}");
    first.clone()
}
