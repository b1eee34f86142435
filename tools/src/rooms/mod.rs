//! `cargo x load rooms`: group sessions with the relay as Controlling Function, whose members talk
//! and chat, and what became of that.

mod chat;
mod figures;
mod group;
mod tally;
mod voice;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::count;
use crate::mix::Codec;
use crate::mix::speech::Speech;
use crate::rtp::host::{self, Cores, Priority};
use figures::{Figures, Reading};
use group::Groups;
use tally::{Progress, Tally};

/// Rooms and what is said in them.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "rooms-load")]
pub struct Options {
    /// Group sessions.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rooms: u16,
    /// Participants of each, every one in a SIP dialog of its own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
    members: u16,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Seconds before them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=600))]
    warmup: u32,
    /// Participants of a room who talk at a time; they change every four seconds. The others send
    /// packets of silence.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    talkers: u16,
    /// Of a hundred rooms, those in which every other participant speaks Opus; all else is G.711.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=100))]
    opus: u16,
    /// Messages that are written in all rooms together in a second; each goes to all others of its
    /// room. 0: no chat.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    chat: u32,
    /// Re-INVITEs that participants send in a second, all together.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    refreshes: u32,
    /// Threads that relay; the last cores are theirs.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Leaves all processes at the priority that they have.
    #[arg(long)]
    no_nice: bool,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn participants(&self) -> usize {
        usize::from(self.rooms) * usize::from(self.members)
    }

    /// Whether a room has participants who speak Opus: as many of a hundred as were asked for.
    fn has_opus(&self, room: u16) -> bool {
        let share = |rooms: u16| u32::from(rooms) * u32::from(self.opus) / 100;
        share(room + 1) > share(room)
    }

    /// What a participant speaks.
    fn codec(&self, room: u16, member: u16) -> Codec {
        // The inviter's answer is the relay's choice; all others choose by themselves.
        if self.has_opus(room) && member % 2 == 1 {
            Codec::Opus
        } else {
            Codec::G711
        }
    }
}

/// What the members say.
struct Voices {
    g711: Speech,
    opus: Speech,
}

/// Fills the rooms, loads them, empties them, and reports.
pub fn run(options: &Options) -> ExitCode {
    let _priority = (!options.no_nice).then(Priority::raise);
    match measure(options) {
        Ok(figures) => {
            if options.json {
                println!("{:#}", figures.json());
            } else {
                println!("{}", figures.text());
            }
            if figures.is_fine() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("load rooms: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Figures, String> {
    let voices = Voices {
        g711: Speech::new(Codec::G711)?,
        opus: Speech::new(Codec::Opus)?,
    };
    let cores = Cores::share(options.workers);
    host::pin_this_thread(&cores.generator);
    // A participant has a connection here and one there, and two ports there.
    host::raise_descriptors(u64::try_from(options.participants() * 4).unwrap_or(0) + 1024);
    let bar = progress(options);
    let mut groups = Groups::start(options, &cores)?;
    groups.fill(|opened| bar.set_message(format!("{opened} rooms are open")))?;
    let process = groups.process();
    if !options.no_nice {
        host::prefer_process(process);
    }
    let before = Reading::of(&groups);
    let seen = Arc::new(Progress::default());
    let tally = load(options, &voices, (&mut groups, &seen, &bar))?;
    bar.finish_and_clear();
    let after = Reading::of(&groups);
    let setup = groups.setup();
    let left = groups.empty()?;
    Ok(Figures {
        options: options.clone(),
        setup,
        tally,
        before,
        after,
        left,
        overlap: cores.overlap(),
    })
}

/// Everybody talks and writes while this thread refreshes dialogs.
fn load(
    options: &Options,
    voices: &Voices,
    (groups, seen, bar): (&mut Groups, &Arc<Progress>, &ProgressBar),
) -> Result<Tally, String> {
    let begin = Instant::now();
    let speakers = voice::Voice::new(options, groups, voices)?;
    let writers = chat::Chat::new(options, groups)?;
    let span = u64::from(options.warmup + options.seconds);
    let tally = std::thread::scope(|scope| {
        let voice = scope.spawn(|| speakers.run(begin, seen));
        let chat = scope.spawn(|| writers.run(begin, seen));
        let refreshed = refresh(options, (groups, seen, bar), (begin, span));
        let voice = voice.join().map_err(|_| "the voices panicked")??;
        let chat = chat.join().map_err(|_| "the writers panicked")??;
        Ok::<Tally, String>(Tally {
            voice,
            chat,
            refreshes: refreshed,
        })
    })?;
    Ok(tally)
}

/// Sends re-INVITEs at their pace until the time is up; says how many there were.
fn refresh(
    options: &Options,
    (groups, seen, bar): (&mut Groups, &Arc<Progress>, &ProgressBar),
    (begin, span): (Instant, u64),
) -> u64 {
    let mut refreshes = 0;
    while begin.elapsed() < Duration::from_secs(span) {
        let elapsed = begin.elapsed();
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(0));
        bar.set_message(format!(
            "{} packets sent, {} heard; {} messages written, {} read; {refreshes} refreshes",
            seen.packets_sent.load(Ordering::Relaxed),
            seen.packets_heard.load(Ordering::Relaxed),
            seen.messages_sent.load(Ordering::Relaxed),
            seen.messages_read.load(Ordering::Relaxed),
        ));
        let due = elapsed.as_secs_f64() * f64::from(options.refreshes);
        if count(refreshes) < due {
            groups.refresh(refreshes);
            refreshes += 1;
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    refreshes
}

fn progress(options: &Options) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::from(options.warmup + options.seconds) * 1000);
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
