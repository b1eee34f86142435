//! Who hears, sees and reads whom: while it plays, and in the end.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use super::super::relay::Relay;
use super::super::{Show, now};
use super::floor::Standing;
use super::seat::Seat;
use super::{NAMES, SEATS};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time between two tables where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(2);
/// Of a hundred packets, those in which each of the others has to be heard: each pauses for a
/// fifth of the time.
const HEARD_PERCENT: u64 = 50;
/// Of a hundred packets, those in which one may seem to hear oneself, where waves break off.
const ECHO_PERCENT: u64 = 10;

/// How a group session went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// How long it played, in seconds.
    pub seconds: f64,
    /// From INVITE until everybody was in, in milliseconds.
    pub setup_ms: f64,
    /// Everybody, in order.
    pub everybody: Vec<Everybody>,
    /// The relay's records of the session, one for each participant.
    pub records: Vec<Value>,
}

/// What one participant did and got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Everybody {
    /// Who.
    pub name: &'static str,
    /// The codec of its voice.
    pub codec: &'static str,
    /// Packets of the mix that came.
    pub packets: u64,
    /// Packets in which each participant was heard, itself included.
    pub heard: [u64; SEATS],
    /// Frames of each participant that were seen.
    pub seen: [u64; SEATS],
    /// Frames that a decoder couldn't have shown.
    pub broken: u64,
    /// Key frames that this one's camera was asked for.
    pub asked: u64,
    /// Messages that it wrote, and of those the ones that were accepted.
    pub written: [u64; 2],
    /// Messages of each participant that it read, in order and in their names.
    pub read: [u64; SEATS],
    /// Messages that came otherwise.
    pub odd: u64,
    /// Whether it had to wait for the floor, and whether it had it.
    pub floor: [bool; 2],
}

impl Everybody {
    fn of(seat: &Seat) -> Self {
        Self {
            name: NAMES[seat.number],
            codec: seat.law.name(),
            packets: seat.ear.packets,
            heard: seat.ear.heard,
            seen: seat.screen.seen,
            broken: seat.screen.broken,
            asked: seat.camera.as_ref().map_or(0, |camera| camera.asked),
            written: [seat.chat.sent, seat.chat.accepted],
            read: seat.chat.read,
            odd: seat.chat.odd,
            floor: [seat.floor.has_waited, seat.floor.has_held],
        }
    }
}

impl GroupReport {
    pub(super) fn new(seats: &[Seat], length: Duration, setup: Duration) -> Self {
        Self {
            seconds: length.as_secs_f64(),
            setup_ms: setup.as_secs_f64() * 1000.0,
            everybody: seats.iter().map(Everybody::of).collect(),
            records: Vec::new(),
        }
    }

    /// What nobody should have missed; `None`: everybody heard, saw and read what they should.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let mut failures = Vec::new();
        for (number, one) in self.everybody.iter().enumerate() {
            self.judge_voice(number, one, &mut failures);
            self.judge_video(number, one, &mut failures);
            self.judge_chat(number, one, &mut failures);
        }
        let floors: Vec<[bool; 2]> = self.everybody.iter().map(|one| one.floor).collect();
        let due = [
            [false, true],
            [true, true],
            [false; 2],
            [false; 2],
            [false; 2],
        ];
        if floors != due {
            failures.push(format!(
                "the floor went otherwise than Alice, then Bob who waited: {floors:?}"
            ));
        }
        if self.records.len() != SEATS {
            failures.push(format!("{} records were written", self.records.len()));
        }
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    fn judge_voice(&self, number: usize, one: &Everybody, failures: &mut Vec<String>) {
        for (other, heard) in one.heard.iter().enumerate() {
            let percent = heard * 100 / one.packets.max(1);
            let (name, whom) = (one.name, NAMES[other]);
            if other == number && percent > ECHO_PERCENT {
                failures.push(format!("{name} hears itself in {percent} % of all packets"));
            }
            if other != number && percent < HEARD_PERCENT {
                failures.push(format!(
                    "{name} hears {whom} in {percent} % of all packets only"
                ));
            }
        }
    }

    fn judge_video(&self, number: usize, one: &Everybody, failures: &mut Vec<String>) {
        let name = one.name;
        for (other, seen) in one.seen.iter().enumerate() {
            let has_held = self
                .everybody
                .get(other)
                .is_some_and(|other| other.floor[1]);
            let whom = NAMES[other];
            if other != number && has_held && *seen == 0 {
                failures.push(format!("{name} doesn't see {whom}"));
            }
            if (other == number || !has_held) && *seen > 0 {
                failures.push(format!("{name} sees {whom} who shouldn't be shown"));
            }
        }
        if one.broken > 0 {
            failures.push(format!("{} pictures of {name}'s are broken", one.broken));
        }
    }

    fn judge_chat(&self, number: usize, one: &Everybody, failures: &mut Vec<String>) {
        let name = one.name;
        let [written, accepted] = one.written;
        if accepted != written || one.odd > 0 {
            failures.push(format!(
                "{name} wrote {written} messages, {accepted} were accepted, {} came oddly",
                one.odd
            ));
        }
        for (other, read) in self
            .everybody
            .iter()
            .zip(one.read)
            .enumerate()
            .filter_map(|(at, (other, read))| (at != number).then_some((other, read)))
        {
            let missing = other.written[0].saturating_sub(read);
            if missing > 0 {
                failures.push(format!(
                    "{name} missed {missing} messages of {}",
                    other.name
                ));
            }
        }
        if one.read.get(number).is_some_and(|own| *own > 0) {
            failures.push(format!("{name} reads its own messages"));
        }
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, setup) = (self.seconds, self.setup_ms);
        writeln!(
            out,
            "Played {seconds:.0} s; all five were in the session after {setup:.0} ms\n"
        )?;
        let width = 7;
        writeln!(
            out,
            "  heard, of a hundred packets        seen, frames         read, messages"
        )?;
        write!(out, "  {:width$} {:5}", "", "")?;
        for _ in 0..3 {
            for name in NAMES {
                write!(out, " {:>4.4}", name)?;
            }
            write!(out, "  ")?;
        }
        writeln!(out)?;
        for one in &self.everybody {
            write!(out, "  {:width$} {:5}", one.name, one.codec)?;
            for heard in one.heard {
                write!(out, " {:>4}", heard * 100 / one.packets.max(1))?;
            }
            write!(out, "  ")?;
            for figures in [one.seen, one.read] {
                for figure in figures {
                    write!(out, " {figure:>4}")?;
                }
                write!(out, "  ")?;
            }
            writeln!(out)?;
        }
        let asked: u64 = self.everybody.iter().map(|one| one.asked).sum();
        let broken: u64 = self.everybody.iter().map(|one| one.broken).sum();
        writeln!(
            out,
            "\n  The floor of video went from Alice to Bob, who waited for it. Key frames asked for: \
             {asked}; broken pictures: {broken}.\n  The relay wrote {} records of the session.\n",
            self.records.len()
        )?;
        match self.failure() {
            None => writeln!(
                out,
                "Everybody heard, saw and read all others, and nobody itself."
            ),
            Some(failure) => writeln!(out, "Not as it should be: {failure}"),
        }
    }
}

/// The table while it plays.
pub(super) struct Live {
    show: Show,
    bar: ProgressBar,
    looked: Duration,
    shown: Duration,
    /// Who had the floor then.
    holder: Option<usize>,
    length: Duration,
}

impl Live {
    pub(super) fn new(show: Show, length: Duration) -> Self {
        let bar = match show {
            Show::Bars => ProgressBar::new_spinner(),
            Show::Nothing | Show::Lines => ProgressBar::hidden(),
        };
        // A template that indicatif doesn't take leaves its own style.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self {
            show,
            bar,
            looked: Duration::ZERO,
            shown: Duration::ZERO,
            holder: None,
            length,
        }
    }

    /// Shows how it is now, where some time has passed or the floor has gone to somebody else.
    pub(super) fn look(&mut self, seats: &[Seat], passed: Duration, relay: &Relay) {
        let holder = holder(seats);
        let has_moved = holder != self.holder;
        if self.show == Show::Nothing || (passed < self.looked + LOOK && !has_moved) {
            return;
        }
        (self.looked, self.holder) = (passed, holder);
        let table = table(seats, passed, self.length, relay);
        match self.show {
            Show::Nothing => {}
            Show::Bars => {
                self.bar.set_message(table);
                self.bar.tick();
            }
            Show::Lines => {
                if has_moved || passed >= self.shown + LINES_EVERY {
                    self.shown = passed;
                    // Where stderr is closed nobody looks.
                    let _ = writeln!(io::stderr(), "{table}\n");
                }
            }
        }
    }

    /// Takes the table away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn holder(seats: &[Seat]) -> Option<usize> {
    let mut seats = seats.iter();
    let holder = seats.find(|seat| seat.floor.standing == Standing::Holds);
    holder.map(|seat| seat.number)
}

fn table(seats: &[Seat], passed: Duration, length: Duration, relay: &Relay) -> String {
    let holder = holder(seats).map_or("nobody", |holder| NAMES[holder]);
    let mut text = format!(
        "{:4.1} of {:.0} s   the floor of video: {holder}   relay: {}\n\
         \x20         talks  hears                  sees    floor  read  last message",
        passed.as_secs_f64(),
        length.as_secs_f64(),
        seen_by(relay),
    );
    for seat in seats {
        let floor = match seat.floor.standing {
            Standing::None => "",
            Standing::Asked => "asks",
            Standing::Waits => "waits",
            Standing::Holds => "HOLDS",
        };
        text.push_str(&format!(
            "\n  {:7} {:5}  {:22} {:7} {floor:6} {:4}  {}",
            NAMES[seat.number],
            if seat.is_talking { "talks" } else { "pause" },
            seat.ear.names().join(" "),
            seat.sees(now()).unwrap_or("-"),
            seat.chat.all_read(),
            seat.chat.last,
        ));
    }
    text
}

/// What the relay says itself.
fn seen_by(relay: &Relay) -> String {
    let Some(Value::Array(sessions)) = relay.ask("/sessions") else {
        return "no answer".to_owned();
    };
    let count = sessions.first().map(|session| &session["participants"]);
    let count = count.and_then(Value::as_u64).unwrap_or(0);
    format!("{} session, {count} participants", sessions.len())
}
