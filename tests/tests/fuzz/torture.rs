//! The MSRP torture set: each file whole, cut everywhere, byte by byte, and cut at random.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::time::{Duration, Instant};

use dataplane::proto::msrp::{Config, ConnectionKey, Connections, Egress, Leg, Verdict};
use dataplane::stats::Stats;
use rand::RngExt;
use rand::rngs::StdRng;
use tests::torture::frames::{Frame, Reader};
use tests::torture::{Case, Names, Outcome, Splits, cases, folder};

use super::campaign::rounds;
use super::scene::session_id;
use super::spoil::{pick, pieces};

type Files = [Vec<u8>; 2];

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

/// The relay between far ends a and b, and between c and d.
struct Scene {
    relay: Connections,
    out: Written,
    stats: Stats,
    now: Instant,
    names: Names,
}

/// A connection of far ends and what they read.
struct End {
    key: ConnectionKey,
    reader: Reader,
}

impl Scene {
    fn new() -> Self {
        let config = Config {
            transactions: 1000,
            timeout: Duration::from_secs(30),
        };
        let mut relay = Connections::new(config, 1);
        let names = Names::default();
        for pair in [['a', 'b'], ['c', 'd']] {
            let legs = pair.map(|letter| {
                let leg = Leg {
                    session_id: session_id(letter),
                    local_path: names.relay(letter),
                    match_session_id_only: false,
                };
                let key = relay.add_leg(leg).unwrap();
                relay.set_remote(key, names.far(letter), None);
                key
            });
            relay.join(legs[0], legs[1]);
        }
        Self {
            relay,
            out: Written::default(),
            stats: Stats::default(),
            now: Instant::now(),
            names,
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

    /// A connection of far ends, each bound by a SEND without content.
    fn connect(&mut self, letters: &[char]) -> End {
        let key = self.relay.accept(self.now).unwrap();
        for letter in letters {
            let (to, from) = (self.names.relay(*letter), self.names.far(*letter));
            let bind = format!(
                "MSRP bind SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 0\r\n\
                 -------bind$\r\n"
            );
            assert_eq!(self.receive(key, bind.as_bytes()), Verdict::Continue);
        }
        let reader = Reader::default();
        End { key, reader }
    }

    /// What was written: to a, to b.
    fn read(&mut self, a: &mut End, b: &mut End) -> [Vec<Frame>; 2] {
        let mut written = [Vec::new(), Vec::new()];
        for (to, bytes) in mem::take(&mut self.out.0) {
            written[usize::from(to == b.key)].extend(bytes);
        }
        let [to_a, to_b] = written;
        [(a, to_a), (b, to_b)].map(|(end, bytes)| {
            let (_, frames) = end.reader.push(&bytes);
            assert!(end.reader.is_between_frames(), "{:?}", end.reader);
            frames
        })
    }

    /// Far end a sends the pieces.
    fn send(&mut self, a: &mut End, b: &mut End, pieces: &[&[u8]]) -> Outcome {
        let mut closes = false;
        for piece in pieces {
            if let Verdict::Close(_) = self.receive(a.key, piece) {
                closes = true;
                self.relay.closed(a.key, &mut self.out);
                break;
            }
        }
        let [answers, forwards] = self.read(a, b);
        Outcome {
            forwards,
            answers,
            closes,
        }
    }

    /// Plays a case, its file in these pieces; afterwards all far ends are gone.
    fn play(&mut self, case: &Case, pieces: &[&[u8]], after: &[u8]) {
        let (near, far) = (case.scene.near(), case.scene.far());
        let (mut a, mut b) = (self.connect(near), self.connect(far));
        self.out.0.clear();
        let outcome = self.send(&mut a, &mut b, pieces);
        case.check(&outcome, &self.names);
        for reply in &case.replies {
            let response = outcome.forwards[reply.to - 1].head.response_of(reply.code);
            assert_eq!(self.receive(b.key, &response), Verdict::Continue);
        }
        if case.silence_s > 0 {
            self.now += Duration::from_secs(case.silence_s);
            self.relay
                .handle_timeout(self.now, &mut self.out, &mut self.stats);
        }
        let [to_a, to_b] = self.read(&mut a, &mut b);
        assert!(to_b.is_empty(), "{}: {to_b:?}", case.name);
        // A response that crosses back is told with what comes after it.
        let (responses, reports): (Vec<_>, Vec<_>) =
            to_a.into_iter().partition(|frame| frame.head.is_response());
        case.check_reports(&reports, &self.names);
        let mut last = self.send(&mut a, &mut b, &[after]);
        last.answers.splice(0..0, responses);
        case.check_after(&last, &self.names);
        if !outcome.closes {
            self.relay.closed(a.key, &mut self.out);
        }
        self.relay.closed(b.key, &mut self.out);
        self.relay
            .handle_timeout(self.now, &mut self.out, &mut self.stats);
        assert_eq!(self.stats.msrp_open, 0);
    }
}

/// Plays a file in the ways that its length allows.
fn play_all(case: &Case, [bytes, after]: &Files, random: &mut StdRng) {
    let mut scene = Scene::new();
    let mut play = |pieces: &[&[u8]]| {
        // A relay remembers what a far end didn't want.
        if !case.replies.is_empty() {
            scene = Scene::new();
        }
        scene.play(case, pieces, after);
    };
    play(&[bytes]);
    if case.splits == Splits::Every {
        play(&bytes.chunks(1).collect::<Vec<&[u8]>>());
    }
    let step = match case.splits {
        Splits::Every => 1,
        Splits::Some => bytes.len().div_ceil(40),
    };
    for at in (1..bytes.len()).step_by(step) {
        let (front, back) = bytes.split_at(at);
        play(&[front, back]);
    }
    for _ in 0..random.random_range(5..20) {
        play(&pieces(random, bytes));
    }
}

#[test]
fn every_torture_file_leads_to_its_outcome_however_it_is_cut() {
    let cases = cases();
    assert!(cases.len() >= 290);
    let count = u64::try_from(cases.len()).unwrap();
    let next = Cell::new(0);
    rounds("torture", count, move |random| {
        let at = next.get() % cases.len();
        next.set(at + 1);
        let (case, files) = &cases[at];
        play_all(case, files, random);
    });
}

#[test]
fn torture_files_one_after_the_other_on_one_connection_do_not_disturb_each_other() {
    let all: Vec<(Case, Files)> = cases()
        .into_iter()
        .filter(|(case, _)| !case.is_alone())
        .collect();
    rounds("torture mix", 40, move |random| {
        let chosen: Vec<&(Case, Files)> = (0..random.random_range(2..8))
            .map(|_| pick(random, &all))
            .collect();
        let files = chosen.iter().map(|(_, [file, _])| file.as_slice());
        let bytes = files.collect::<Vec<&[u8]>>().concat();
        let mut scene = Scene::new();
        let (mut a, mut b) = (scene.connect(&['a']), scene.connect(&['b']));
        scene.out.0.clear();
        let outcome = scene.send(&mut a, &mut b, &pieces(random, &bytes));
        assert!(!outcome.closes);
        let forwards = chosen
            .iter()
            .flat_map(|(case, _)| case.forwards.iter().map(|forward| (&case.name, forward)));
        assert_eq!(outcome.forwards.len(), forwards.clone().count());
        for (frame, (name, forward)) in outcome.forwards.iter().zip(forwards) {
            forward.check(name, frame, &scene.names);
        }
        let answers = chosen
            .iter()
            .flat_map(|(case, _)| case.answers.iter().map(|answer| (&case.name, answer)));
        assert_eq!(outcome.answers.len(), answers.clone().count());
        for (frame, (name, answer)) in outcome.answers.iter().zip(answers) {
            answer.check(name, frame, &scene.names);
        }
    });
}

#[test]
fn the_torture_index_names_every_file_once() {
    let cases = cases();
    let mut named = BTreeSet::new();
    for (case, _) in &cases {
        assert!(named.insert(format!("{}.msrp", case.name)), "{}", case.name);
        if case.after.is_some() {
            named.insert(format!("{}.after.msrp", case.name));
        }
        assert!(!case.shows.is_empty() && case.rfc.contains('§'));
    }
    let files = fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".msrp")).collect();
    assert_eq!(files, named);
}
