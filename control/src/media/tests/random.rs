//! Random offers and answers, and what must hold for all of them.

use dataplane::api::{Act, Side, StreamSet};
use rand::{RngExt, SeedableRng, TryRng, rngs::StdRng};

use super::{Relay, crlf, emitted};
use crate::media::Policy;
use crate::sdp::Sdp;

/// A client: its m-lines as it would write them now.
struct Client {
    ip: &'static str,
    lines: Vec<Line>,
    version: u32,
}

#[derive(Clone, Copy)]
struct Line {
    shape: usize,
    port: u16,
    flow: usize,
}

const SHAPES: [(&str, &str, &str); 7] = [
    ("audio", "RTP/AVP 0", ""),
    (
        "audio",
        "RTP/AVPF 96",
        "a=rtcp-mux\na=rtcp:7777 IN IP4 {ip}",
    ),
    (
        "video",
        "UDP/TLS/RTP/SAVPF 97",
        "a=candidate:1 1 UDP 1 {ip} 9 typ host",
    ),
    (
        "message",
        "TCP/MSRP *",
        "a=path:msrp://{ip}:2855/abc;tcp\na=setup:actpass",
    ),
    (
        "message",
        "TCP/MSRP *",
        "a=path:msrp://{ip}:2855/abc;tcp\na=setup:active\na=msrp-cema",
    ),
    ("application", "TCP/BFCP *", "a=setup:passive"),
    ("application", "UDP/BFCP *", ""),
];
const FLOWS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

impl Line {
    fn random(random: &mut StdRng) -> Self {
        Self {
            shape: random.random_range(0..SHAPES.len()),
            port: if random.random_ratio(1, 5) { 0 } else { 9000 },
            flow: random.random_range(0..FLOWS.len()),
        }
    }
}

impl Client {
    fn text(&self) -> String {
        let mut text = format!(
            "v=0\no=- 1 {1} IN IP4 {0}\ns=-\nc=IN IP4 {0}\nt=0 0\n",
            self.ip, self.version
        );
        for line in &self.lines {
            let (media, proto, attributes) = SHAPES[line.shape];
            let attributes = attributes.replace("{ip}", self.ip);
            let flow = FLOWS[line.flow];
            text += &format!("m={media} {} {proto}\n{attributes}\na={flow}\n", line.port);
        }
        crlf(&text)
    }

    /// Changes some lines, and adds or leaves out some.
    fn change(&mut self, random: &mut StdRng) {
        self.version += 1;
        for line in &mut self.lines {
            if random.random_ratio(1, 3) {
                *line = Line::random(random);
            }
        }
        if self.lines.len() > 1 && random.random_ratio(1, 6) {
            self.lines.pop();
        }
        if self.lines.len() < 12 && random.random_ratio(1, 2) {
            self.lines.push(Line::random(random));
        }
    }
}

/// A client's answer to an offer: each line taken or not, as the offered line is.
fn answer(offer: &str, ip: &str, random: &mut StdRng) -> String {
    let offer = Sdp::parse(offer.as_bytes()).unwrap();
    let mut text = format!("v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\n");
    let written = offer.to_bytes();
    let written = std::str::from_utf8(&written).unwrap();
    for line in written.lines().filter(|line| line.starts_with("m=")) {
        let words: Vec<_> = line.split(' ').collect();
        let takes = words[1] != "0" && random.random_ratio(4, 5);
        let port = if takes { "5000" } else { "0" };
        text += &format!("{} {port} {} {}\n", words[0], words[2], words[3]);
        if words[2].contains("MSRP") {
            text += &format!("a=path:msrp://{ip}:5000/def;tcp\na=setup:passive\n");
            text += if random.random_ratio(1, 4) {
                ""
            } else {
                "a=msrp-cema\n"
            };
        }
    }
    crlf(&text)
}

fn media_of(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("m="));
    lines
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

/// A worker's book of open streams.
#[derive(Default)]
struct Book(StreamSet);

impl Book {
    fn open(&mut self, acts: &[Act]) {
        for act in acts {
            let Act::Open(plan) = act else { continue };
            assert!(!self.0.contains(plan.stream), "opened twice");
            self.0 = self.0.with(plan.stream);
        }
    }

    fn release(&mut self, streams: StreamSet) {
        assert_eq!(self.0.0 & streams.0, streams.0, "released but not open");
        self.0 = StreamSet(self.0.0 & !streams.0);
    }
}

/// One session; how many refreshes were tried in it.
fn run(random: &mut StdRng) -> usize {
    let mut relay = Relay::new();
    let mut book = Book::default();
    let mut refreshes = 0;
    let mut clients = ["192.0.2.10", "203.0.113.20"].map(|ip| Client {
        ip,
        lines: vec![],
        version: 0,
    });
    for _ in 0..8 {
        let from = if random.random() { Side::A } else { Side::B };
        let lines = clients[from.other().index()].lines.clone();
        let client = &mut clients[from.index()];
        if client.lines.len() < lines.len() {
            client.lines = lines;
        }
        client.change(random);
        let offer = client.text();
        let Ok(mut proposal) = relay.media.offer(from, offer.as_bytes(), &Policy::ALL) else {
            continue;
        };
        let mut acts = proposal.take_opens();
        book.open(&acts);
        for act in &mut acts {
            relay.bind(act);
        }
        proposal.opened(acts);
        let far = emitted(&proposal.offer_to_far().unwrap());
        assert!(
            media_of(&far).starts_with(&media_of(&offer)),
            "{offer}{far}"
        );
        let ips = ["192.0.2.10", "203.0.113.20"];
        let answer = answer(&far, ips[from.other().index()], random);
        let mut taken = proposal.answer(answer.as_bytes());
        if taken.as_ref().is_ok_and(|answered| answered.offer_again) {
            let again = emitted(&proposal.offer_to_far().unwrap());
            no_way_around(&again);
            taken = proposal.answer(answer.as_bytes());
            assert!(taken.as_ref().is_ok_and(|answered| !answered.offer_again));
        }
        let answered = match taken {
            Ok(answered) if random.random_ratio(7, 8) => answered,
            _ => {
                book.release(proposal.abandon());
                continue;
            }
        };
        let to_offerer = emitted(&answered.to_offerer);
        assert_eq!(media_of(&to_offerer), media_of(&offer));
        no_way_around(&far);
        no_way_around(&to_offerer);
        book.release(proposal.commit(&mut relay.media));
        assert_eq!(
            book.0,
            relay.media.live(),
            "the worker has what is committed"
        );
        refreshes += usize::from(refresh_is_silent(&mut relay, from, (&offer, &answer)));
    }
    refreshes
}

/// Nothing but a path that CEMA passes shows an end's address to the other.
fn no_way_around(text: &str) {
    let sdp = Sdp::parse(text.as_bytes()).unwrap();
    let is_passed = sdp.media().iter().any(|line| line.has("msrp-cema"));
    let shown = text
        .lines()
        .filter(|line| !(is_passed && line.starts_with("a=path:")));
    for line in shown {
        assert!(
            !line.contains("192.0.2.10") && !line.contains("203.0.113.20"),
            "{text}"
        );
    }
}

/// The same offer and the same answer once more change nothing, and say it in the same bytes;
/// whether that could be tried, as a stream that was refused would be opened once more.
fn refresh_is_silent(relay: &mut Relay, from: Side, (offer, answer): (&str, &str)) -> bool {
    let before = (relay.media.live(), relay.bound);
    let mut texts = Vec::new();
    for _ in 0..2 {
        let (mut proposal, far) = relay.offer(from, offer);
        if relay.bound != before.1 {
            assert!(!proposal.abandon().is_empty());
            return false;
        }
        let answered = proposal.answer(answer.as_bytes()).unwrap();
        assert!(answered.acts.is_empty(), "{:?}", answered.acts);
        texts.push((far, emitted(&answered.to_offerer)));
        assert!(proposal.commit(&mut relay.media).is_empty());
        assert_eq!(relay.media.live(), before.0);
    }
    assert_eq!(texts.first(), texts.last());
    true
}

#[test]
fn offers_and_answers_keep_their_lines_hide_addresses_and_leak_no_stream() {
    let seed = rand::rngs::SysRng.try_next_u64().unwrap();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let refreshes: usize = (0..400).map(|_| run(&mut random)).sum();
    assert!(refreshes > 100, "only {refreshes} refreshes were tried");
}

#[test]
fn no_bytes_make_a_negotiation_panic_or_lose_a_stream() {
    let seed = rand::rngs::SysRng.try_next_u64().unwrap();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let client = |ip| {
        let lines = (0..SHAPES.len()).map(|shape| Line {
            shape,
            port: 9000,
            flow: 0,
        });
        let lines = lines.collect();
        let version = 1;
        Client { ip, lines, version }.text()
    };
    let mut answered = 0;
    for _ in 0..3000 {
        let mut relay = Relay::new();
        let offer = spoil(client("192.0.2.10"), &mut random);
        let Ok(mut proposal) = relay.media.offer(Side::A, &offer, &Policy::ALL) else {
            continue;
        };
        let mut acts = proposal.take_opens();
        let mut book = Book::default();
        book.open(&acts);
        acts.iter_mut().for_each(|act| relay.bind(act));
        proposal.opened(acts);
        let _ = proposal.offer_to_far().unwrap();
        let answer = spoil(client("203.0.113.20"), &mut random);
        answered += usize::from(proposal.answer(&answer).is_ok());
        book.release(proposal.commit(&mut relay.media));
        assert_eq!(book.0, relay.media.live());
    }
    assert!(answered > 100, "only {answered} answers were taken");
}

fn spoil(text: String, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for _ in 0..random.random_range(0..4) {
        let place = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[place] = random.random(),
            1 => {
                bytes.remove(place);
            }
            _ => bytes.insert(place, random.random()),
        }
    }
    bytes
}
