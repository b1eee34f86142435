//! What a group session's signalling costs in a small session and in a large one.
//!
//! Sessions of 10, 100 and 1,000 participants, in each of which one leaves and another one comes,
//! again and again, each ten milliseconds after the one before; without subscribers, and with ten.
//! The worker is a stand-in that does what it is told at once. Prints SIP messages handled in a
//! second of this thread's processor.
//!
//! ```text
//! cargo run -p benches --example focus
//! ```

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "its report")]
#![expect(clippy::disallowed_methods, reason = "time begins somewhere")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use control::config;
use control::cpm::groups::Groups;
use control::cpm::identity::Trust;
use control::cpm::participating::Role;
use control::cpm::policy::{Policies, UserPolicy};
use control::engine::{ByeAck, Engine, LateOffer, Output, Settings};
use control::media;
use control::sip::{Flow, Protocol, Timers};
use dataplane::api::{Act, Event, Learn, LegLocal, MsrpLocal, Outcome};
use dataplane::net::sys::thread_cpu_time;

const GROUP: &str = "sip:team@groups.example";
const PAIRS: usize = 25_000;

struct Room {
    engine: Engine,
    now: Instant,
    /// To tag and Call-ID of who is in, in the order of coming.
    present: VecDeque<(usize, String, String)>,
    identity: String,
    sent: usize,
    handled: u64,
}

fn main() {
    println!(
        "{:>12} {:>12} {:>24} {:>14}",
        "participants", "subscribers", "messages per CPU second", "notifications"
    );
    for watchers in [0, 10] {
        for participants in [10, 100, 1_000] {
            let mut room = Room::new();
            for at in 0..watchers {
                room.join(60_000 + at);
                room.watch(60_000 + at);
            }
            // Those who watch stay.
            room.present.clear();
            for at in 0..participants {
                room.join(at);
            }
            let (begun, handled) = (thread_cpu_time(), room.handled);
            let mut notifies = 0;
            for pair in 0..PAIRS {
                room.leave();
                room.join(participants + pair % 50_000);
                notifies += room.pass(Duration::from_millis(10));
            }
            let spent = thread_cpu_time() - begun;
            let rate = (room.handled - handled) as f64 / spent.as_secs_f64();
            println!("{participants:>12} {watchers:>12} {rate:>24.0} {notifies:>14}");
        }
    }
}

fn relay() -> SocketAddr {
    "127.0.0.1:5060".parse().unwrap()
}

fn place(at: usize) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(at).unwrap().to_be_bytes();
    SocketAddr::new([10, 0, high, low].into(), 5060)
}

impl Room {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            engine: Engine::new(settings(), 1, 7, now, SystemTime::UNIX_EPOCH),
            now,
            present: VecDeque::new(),
            identity: String::new(),
            sent: 0,
            handled: 0,
        }
    }

    fn give(&mut self, from: usize, text: String) -> Vec<String> {
        self.handled += 1;
        let flow = Flow {
            protocol: Protocol::Udp,
            local: relay(),
            remote: place(from),
            connection: 0,
        };
        self.engine.handle_packet(self.now, flow, Bytes::from(text));
        self.settle().into_iter().map(|(_, text)| text).collect()
    }

    fn settle(&mut self) -> Vec<(SocketAddr, String)> {
        let mut sent = Vec::new();
        loop {
            while let Some(transmit) = self.engine.poll_transmit() {
                let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
                sent.push((transmit.flow.remote, text));
            }
            let Some(output) = self.engine.poll_output() else {
                return sent;
            };
            if let Output::Order { mut order, .. } = output {
                order.outcome = Outcome::Done;
                for act in &mut order.acts {
                    if let Act::Join(plan) = act {
                        plan.local = LegLocal::Msrp(MsrpLocal {
                            listen: "127.0.0.9:2855".parse().unwrap(),
                            session_id: [b'x'; 32],
                        });
                    }
                }
                self.engine.handle_news(self.now, 0, Event::Done(order));
            }
        }
    }

    fn request(
        &mut self,
        method: &str,
        from: usize,
        to: &str,
        (dialog, rest): (&str, &str),
    ) -> String {
        self.sent += 1;
        let (at, number) = (place(from), self.sent);
        let dialog = match dialog {
            "" => format!("From: <sip:u{from}@x>;tag=t\r\nTo: <{to}>\r\nCall-ID: c{number}\r\n"),
            dialog => dialog.to_owned(),
        };
        format!(
            "{method} {to} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{number}\r\n\
             Max-Forwards: 70\r\n{dialog}CSeq: {number} {method}\r\nContact: <sip:{at}>\r\n{rest}"
        )
    }

    fn join(&mut self, at: usize) {
        let sdp = "v=0\r\no=g 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
            m=message 4020 TCP/MSRP *\r\na=path:msrp://10.0.0.1:4020/abc;tcp\r\n\
            a=setup:active\r\na=accept-types:message/cpim\r\n";
        let body = format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let invite = self.request("INVITE", at, GROUP, ("", &body));
        let answers = self.give(at, invite);
        let ok = answers
            .iter()
            .find(|text| text.starts_with("SIP/2.0 200"))
            .unwrap();
        let line = |name: &str| {
            let found = ok.lines().find(|line| line.starts_with(name));
            format!("{}\r\n", found.unwrap())
        };
        let dialog = format!("{}{}{}", line("From: "), line("To: "), line("Call-ID: "));
        let number = line("CSeq: ");
        let number = number.split(' ').nth(1).unwrap();
        self.identity = line("Contact: ")
            .split(['<', '>'])
            .nth(1)
            .unwrap()
            .to_owned();
        let to = self.identity.clone();
        let ack = self.request("ACK", at, &to, (&dialog, "Content-Length: 0\r\n\r\n"));
        let ack = ack.replace(
            &format!("CSeq: {} ACK", self.sent),
            &format!("CSeq: {number} ACK"),
        );
        self.give(at, ack);
        self.present.push_back((at, dialog, to));
    }

    /// Whoever is in for longest leaves.
    fn leave(&mut self) {
        let (at, dialog, to) = self.present.pop_front().unwrap();
        let bye = self.request("BYE", at, &to, (&dialog, "Content-Length: 0\r\n\r\n"));
        self.give(at, bye);
    }

    fn watch(&mut self, at: usize) {
        let to = self.identity.clone();
        let rest = "Event: conference\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n";
        let subscribe = self.request("SUBSCRIBE", at, &to, ("", rest));
        for text in self.give(at, subscribe) {
            self.acknowledge(at, &text);
        }
    }

    fn acknowledge(&mut self, at: usize, text: &str) -> bool {
        if !text.starts_with("NOTIFY") {
            return false;
        }
        let mut ok = "SIP/2.0 200 OK\r\n".to_owned();
        let head = text.split("\r\n\r\n").next().unwrap();
        let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
        for line in head
            .lines()
            .filter(|line| kept.contains(&line.split(':').next().unwrap()))
        {
            ok.push_str(line);
            ok.push_str("\r\n");
        }
        ok.push_str("Content-Length: 0\r\n\r\n");
        for more in self.give(at, ok) {
            self.acknowledge(at, &more);
        }
        true
    }

    /// Lets time pass; how many were notified.
    fn pass(&mut self, time: Duration) -> usize {
        self.now += time;
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
        }
        let mut notified = 0;
        for (to, text) in self.settle() {
            let SocketAddr::V4(to) = to else { continue };
            let [_, _, high, low] = to.ip().octets();
            let at = usize::from(high) * 256 + usize::from(low);
            notified += usize::from(self.acknowledge(at, &text));
        }
        notified
    }
}

fn settings() -> Settings {
    let base = config::Controlling {
        participants_max: 1_010,
        answer: config::GroupAnswer::Immediate,
        ..config::Controlling::default()
    };
    let group = config::Group {
        open: true,
        ..config::Group::default()
    };
    Settings {
        listen: vec![(Protocol::Udp, relay())],
        timers: Timers::default(),
        next_hop: None,
        role: Role::Terminating,
        interworking: Default::default(),
        trust: Trust::default(),
        policies: Policies::new(UserPolicy::default()).into(),
        media: media::Settings {
            media_v4: Some("127.0.0.9".parse().unwrap()),
            media_v6: None,
            learn: Learn::Never,
            silence_ms: 0,
            msrp: media::Msrp::default(),
        }
        .into(),
        bye_ack: ByeAck::AfterFarEnd,
        bye_far_deadline: Duration::from_secs(4),
        store_deadline: None,
        groups: Groups::new(&base, &BTreeMap::from([(GROUP.to_owned(), group)])).into(),
        preferences: None,
        registration: None,
        late_offer: LateOffer::Refuse,
        ringing_max: Duration::from_secs(180),
        sessions_max: 100,
        retry_after_s: 5,
        drain: Duration::from_millis(200),
        end_on_silence: false,
        user_agent: None,
    }
}
