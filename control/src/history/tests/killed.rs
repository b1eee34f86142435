//! A process that is killed at any moment loses nothing that it was told, and stores nothing twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;

/// How often a process is killed.
const ROUNDS: u64 = 12;

/// The test by its name, which it starts itself with to have somebody to kill.
const OWN_NAME: &str =
    "history::tests::killed::hst_01_a_relay_killed_at_any_moment_stores_each_history_once";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it tells its victims so what they are"
)]
fn hst_01_a_relay_killed_at_any_moment_stores_each_history_once() {
    if let Ok(folder) = std::env::var("MIDPATH_HISTORY_VICTIM") {
        let round = std::env::var("MIDPATH_HISTORY_ROUND").unwrap();
        return record_until_killed(Path::new(&folder), &round);
    }
    let folder = tempdir().unwrap();
    let seed = rand::random::<u64>();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // What each process said it had given over, and what it was told.
    let (mut given, mut told) = (Vec::new(), BTreeMap::new());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", OWN_NAME, "--nocapture"])
            .env("MIDPATH_HISTORY_VICTIM", folder.path())
            .env("MIDPATH_HISTORY_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // By what it says and not by a clock: the moment is another in each round.
        let mut left = random.random_range(1..120_u32);
        let mut dead = false;
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["given", name] => given.push(name.to_owned()),
                ["told", name, uid] => drop(told.insert(name.to_owned(), uid.to_owned())),
                _ => continue,
            }
            left = left.saturating_sub(1);
            if left == 0 && !dead {
                std::thread::yield_now();
                for _ in 0..random.next_u32() % 20_000 {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
                dead = true;
            }
        }
        child.wait().unwrap();
    }
    open(&settings(folder.path())).finish();
    open(&settings(folder.path())).finish();

    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for pack in stored(folder.path()) {
        let text = String::from_utf8(read(&pack, pack.first)).unwrap();
        let name = text.rsplit("said in ").next().unwrap().trim().to_owned();
        let twice = found.insert(name.clone(), pack.last.to_string());
        assert!(twice.is_none(), "{name} is stored twice (seed {seed})");
    }
    for name in &given {
        assert!(
            found.contains_key(name),
            "{name} isn't stored (seed {seed})"
        );
    }
    for (name, uid) in &told {
        assert_eq!(found.get(name), Some(uid), "{name} (seed {seed})");
    }
    assert!(
        given.len() > told.len(),
        "nothing was ever lost in the middle (seed {seed})"
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("spool"))
            .unwrap()
            .count(),
        0
    );
}

/// Records sessions until it is killed, and says what it has given over and was told.
fn record_until_killed(folder: &Path, round: &str) {
    let mut history = open(&settings(folder));
    let mut names = BTreeMap::new();
    let first = 10_000 * round.parse::<u64>().unwrap();
    for session in first..first + 2_000 {
        let mut facts = facts(session);
        facts.contribution_id = Some(format!("c{}", session % 5));
        let name = format!("{round}/{session}");
        history.ask(Ask::Begin(Box::new(facts)));
        let text = format!("said in {name}");
        feed(
            &mut history,
            message(session, 0, Side::A, "text/plain", text.as_bytes()),
        );
        feed(&mut history, vec![record(session, RecordPart::Closed)]);
        // From when on it is on the disk, the test has to know: the thread has written all this.
        while !journal_of(folder, session) {
            std::thread::yield_now();
        }
        say(&format!("given {name}"));
        names.insert(session, name);
        history.ask(finish(session));
        while let Some(told) = history.try_told() {
            if let Ok(uid) = &told.uid {
                say(&format!("told {} {uid}", names[&told.session]));
            }
        }
    }
}

/// Whether the session's message is in the spool.
fn journal_of(folder: &Path, session: u64) -> bool {
    let suffix = format!("-{session}");
    let mut entries = std::fs::read_dir(folder.join("spool")).unwrap().flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix));
    let journal = found.map(|entry| entry.path().join("journal"));
    let text = journal.and_then(|path| std::fs::read(path).ok());
    String::from_utf8_lossy(&text.unwrap_or_default()).contains("\"End\"")
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
