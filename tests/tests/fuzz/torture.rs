//! The MSRP torture set: each file whole, cut everywhere, byte by byte, and cut at random.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use dataplane::proto::msrp::{Config, ConnectionKey, Connections, Egress, Leg, Verdict};
use dataplane::stats::Stats;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Deserialize;

use super::campaign::rounds;
use super::far_end::{Frame, Reader};
use super::scene::{ours, session_id, theirs};
use super::seeds::folder;
use super::spoil::{pick, pieces};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    shows: String,
    rfc: String,
    #[serde(default)]
    closes: bool,
    forwards: Vec<Forward>,
    answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forward {
    method: String,
    flag: char,
    headers: Option<Vec<String>>,
    body: Option<String>,
    #[serde(default = "once")]
    times: usize,
    body_hex: Option<String>,
}

fn once() -> usize {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    id: String,
    code: u16,
    to: Option<String>,
}

fn cases() -> Vec<(Case, Vec<u8>)> {
    let folder = folder("torture/msrp");
    let text = fs::read_to_string(folder.join("index.toml")).unwrap();
    let index: Index = toml::from_str(&text).unwrap();
    let cases = index.case.into_iter();
    cases
        .map(|case| {
            let bytes = fs::read(folder.join(format!("{}.msrp", case.name))).unwrap();
            (case, bytes)
        })
        .collect()
}

#[derive(Default)]
struct Written(Vec<(ConnectionKey, Vec<u8>)>);

impl Egress for Written {
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]) {
        self.0.push((to, bytes.to_vec()));
    }

    fn is_full(&self, _: ConnectionKey) -> bool {
        false
    }
}

/// The relay between far ends a and b.
struct Scene {
    relay: Connections,
    out: Written,
    stats: Stats,
    now: Instant,
}

/// What a play led to.
#[derive(Debug)]
struct Outcome {
    forwards: Vec<Frame>,
    answers: Vec<Frame>,
    closes: bool,
}

impl Scene {
    fn new() -> Self {
        let config = Config {
            transactions: 1000,
            timeout: Duration::from_secs(30),
        };
        let mut relay = Connections::new(config, 1);
        let legs = ['a', 'b'].map(|letter| {
            let path = ours(letter);
            let leg = Leg {
                session_id: session_id(letter),
                local_path: &path,
                match_session_id_only: false,
            };
            let key = relay.add_leg(leg).unwrap();
            relay.set_remote(key, &theirs(letter), None);
            key
        });
        relay.join(legs[0], legs[1]);
        Self {
            relay,
            out: Written::default(),
            stats: Stats::default(),
            now: Instant::now(),
        }
    }

    fn receive(&mut self, from: ConnectionKey, bytes: &[u8]) -> Verdict {
        let verdict = self
            .relay
            .receive(self.now, from, bytes, &mut self.out, &mut self.stats);
        let Stats {
            msrp_acknowledged,
            msrp_delivered,
            msrp_reported,
            msrp_open,
            ..
        } = self.stats;
        assert_eq!(
            msrp_acknowledged,
            msrp_delivered + msrp_reported + msrp_open
        );
        verdict
    }

    /// A connection of a far end, bound by a SEND without content.
    fn connect(&mut self, letter: char) -> ConnectionKey {
        let key = self.relay.accept(self.now).unwrap();
        let (to, from) = (ours(letter), theirs(letter));
        let bind = format!(
            "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n-------bind$\r\n"
        );
        assert_eq!(self.receive(key, bind.as_bytes()), Verdict::Continue);
        key
    }

    /// Far end a sends the pieces; afterwards both far ends are gone.
    fn play(&mut self, pieces: &[&[u8]]) -> Outcome {
        let (a, b) = (self.connect('a'), self.connect('b'));
        self.out.0.clear();
        let mut closes = false;
        for piece in pieces {
            if let Verdict::Close(_) = self.receive(a, piece) {
                closes = true;
                self.relay.closed(a, &mut self.out);
                break;
            }
        }
        let mut written = [Vec::new(), Vec::new()];
        for (to, bytes) in std::mem::take(&mut self.out.0) {
            written[usize::from(to == b)].extend(bytes);
        }
        let [answers, forwards] = written.map(|bytes| {
            let mut reader = Reader::default();
            let (_, frames) = reader.push(&bytes);
            assert!(reader.is_between_frames(), "{reader:?}");
            frames
        });
        if !closes {
            self.relay.closed(a, &mut self.out);
        }
        self.relay.closed(b, &mut self.out);
        self.relay
            .handle_timeout(self.now, &mut self.out, &mut self.stats);
        assert_eq!(self.stats.msrp_open, 0);
        Outcome {
            forwards,
            answers,
            closes,
        }
    }
}

impl Case {
    fn check(&self, outcome: &Outcome) {
        let Self { name, shows, .. } = self;
        assert_eq!(outcome.closes, self.closes, "{name} ({shows}): {outcome:?}");
        assert_eq!(
            outcome.forwards.len(),
            self.forwards.len(),
            "{name} ({shows}): {outcome:?}"
        );
        for (frame, forward) in outcome.forwards.iter().zip(&self.forwards) {
            forward.check(name, frame);
        }
        assert_eq!(
            outcome.answers.len(),
            self.answers.len(),
            "{name} ({shows}): {outcome:?}"
        );
        for (frame, answer) in outcome.answers.iter().zip(&self.answers) {
            answer.check(name, frame);
        }
    }
}

impl Forward {
    fn check(&self, name: &str, frame: &Frame) {
        assert_eq!(
            (&frame.head.what, frame.flag),
            (&self.method, self.flag),
            "{name}"
        );
        assert_eq!(frame.head.value("to-path"), Some(theirs('b')), "{name}");
        assert_eq!(frame.head.value("from-path"), Some(ours('b')), "{name}");
        if let Some(headers) = &self.headers {
            let found: Vec<String> = frame
                .head
                .headers
                .iter()
                .skip(2)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            assert_eq!(&found, headers, "{name}");
        }
        let hex = self.body_hex.as_ref().map(|hex| from_hex(hex));
        let body = self
            .body
            .as_ref()
            .map(|body| body.repeat(self.times).into_bytes());
        assert!(frame.body == hex.or(body), "{name}: another body");
    }
}

impl Answer {
    fn check(&self, name: &str, frame: &Frame) {
        let code = frame.head.what.split(' ').next().unwrap();
        assert_eq!(
            (&*frame.head.id, code),
            (self.id.as_bytes(), &*self.code.to_string()),
            "{name}"
        );
        assert_eq!(
            frame.head.value("to-path"),
            Some(self.to.clone().unwrap_or_else(|| theirs('a'))),
            "{name}"
        );
        assert_eq!((frame.flag, &frame.body), ('$', &None), "{name}");
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|two| std::str::from_utf8(two).unwrap());
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

/// Plays a file in the ways that its length allows.
fn play_all(case: &Case, bytes: &[u8], random: &mut StdRng) {
    let mut scene = Scene::new();
    case.check(&scene.play(&[bytes]));
    if bytes.len() < 10_000 {
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        case.check(&scene.play(&bytewise));
    }
    for at in (1..bytes.len()).take(2_000) {
        if bytes.len() < 10_000 || at % 50 == 0 {
            let (front, back) = bytes.split_at(at);
            case.check(&scene.play(&[front, back]));
        }
    }
    for _ in 0..random.random_range(5..20) {
        case.check(&scene.play(&pieces(random, bytes)));
    }
}

#[test]
fn every_torture_file_leads_to_its_outcome_however_it_is_cut() {
    let cases = cases();
    assert!(cases.len() >= 70);
    let count = u64::try_from(cases.len()).unwrap();
    let next = std::cell::Cell::new(0);
    rounds("torture", count, move |random| {
        let at = next.get() % cases.len();
        next.set(at + 1);
        let (case, bytes) = &cases[at];
        play_all(case, bytes, random);
    });
}

#[test]
fn torture_files_one_after_the_other_on_one_connection_do_not_disturb_each_other() {
    let all: Vec<(Case, Vec<u8>)> = cases()
        .into_iter()
        .filter(|(case, _)| !case.closes)
        .collect();
    rounds("torture mix", 40, move |random| {
        let chosen: Vec<&(Case, Vec<u8>)> = (0..random.random_range(2..8))
            .map(|_| pick(random, &all))
            .collect();
        let bytes: Vec<u8> = chosen.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let outcome = Scene::new().play(&pieces(random, &bytes));
        let forwards = chosen
            .iter()
            .flat_map(|(case, _)| case.forwards.iter().map(|forward| (&case.name, forward)));
        assert_eq!(outcome.forwards.len(), forwards.clone().count());
        for (frame, (name, forward)) in outcome.forwards.iter().zip(forwards) {
            forward.check(name, frame);
        }
        let answers = chosen
            .iter()
            .flat_map(|(case, _)| case.answers.iter().map(|answer| (&case.name, answer)));
        assert_eq!(outcome.answers.len(), answers.clone().count());
        for (frame, (name, answer)) in outcome.answers.iter().zip(answers) {
            answer.check(name, frame);
        }
    });
}

#[test]
fn the_torture_index_names_every_file_once() {
    let cases = cases();
    let named: BTreeSet<String> = cases
        .iter()
        .map(|(case, _)| format!("{}.msrp", case.name))
        .collect();
    assert_eq!(named.len(), cases.len());
    assert!(
        cases
            .iter()
            .all(|(case, _)| !case.shows.is_empty() && case.rfc.contains('§'))
    );
    let files = fs::read_dir(folder("torture/msrp")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".msrp")).collect();
    assert_eq!(files, named);
}
