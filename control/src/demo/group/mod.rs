//! `midpath demo group`: five participants of a group session against a relay in one process.
//!
//! ```text
//!            ┌─ Alice  PCMU  camera ─┐            voices: mixed, each hears all others
//!            ├─ Bob    PCMA  camera ─┤            video: switched, of who has the floor
//!   relay ◀──┼─ Carol  PCMU          ┼── SIP ──   chat: fanned out
//!            ├─ Dave   PCMA          ┤            floor: BFCP, over TCP
//!            └─ Erin   PCMU          ┘
//! ```

mod chat;
mod floor;
mod report;
mod seat;
mod tone;
mod video;

pub use report::{Everybody, GroupReport};

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::DemoError;
use super::relay::Relay;
use super::{Show, now, pause, random, sip};
use crate::config::{Config, Group, StreamKind};
use floor::Standing;
use report::Live;
use seat::{Ports, Seat};

/// How many take part.
pub(super) const SEATS: usize = 5;
/// Their names.
const NAMES: [&str; SEATS] = ["Alice", "Bob", "Carol", "Dave", "Erin"];
/// The group's address.
const GROUP: &str = "sip:friends@groups.example";
/// Time between two looks at all sockets.
const STEP: Duration = Duration::from_millis(2);
/// How long somebody may take for what is due: to be in the session, to get the floor, to read what
/// was written.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long is listened for what shouldn't come when all that should has come.
const TAIL: Duration = Duration::from_millis(400);
/// About how long one pauses before the next one does: the relay mixes the four loudest.
const TURN: Duration = Duration::from_secs(1);

/// Starts a relay, plays a group session for some seconds, and says who heard, saw and read what.
///
/// # Errors
///
/// When the relay doesn't start, or a participant can't take part.
pub fn play_group(seconds: u64, show: Show) -> Result<GroupReport, DemoError> {
    let sockets = [(); SEATS].map(|()| socket());
    let mut members = Vec::with_capacity(SEATS);
    let mut phones = Vec::with_capacity(SEATS);
    for (name, socket) in NAMES.iter().zip(sockets) {
        let socket = socket?;
        let at = socket.local_addr().map_err(DemoError::doing("SIP"))?;
        members.push(format!("sip:{}@{at}", name.to_lowercase()));
        phones.push(socket);
    }
    let relay = Relay::start_with(|config| settle(config, members))?;
    let stop = Arc::new(AtomicBool::new(false));
    let played = Meeting::begin(phones, relay.sip, &stop)
        .and_then(|meeting| meeting.play(Duration::from_secs(seconds), show, &relay, &stop));
    stop.store(true, Ordering::Relaxed);
    // Whatever became of the session, the relay's thread is ended and its file is read.
    let records = relay.stop();
    let mut report = played?;
    report.records = records?;
    Ok(report)
}

/// The group, whose video is under a floor, and which ends with who began it.
fn settle(config: &mut Config, members: Vec<String>) {
    let group = Group {
        members,
        originator_leaves_ends: Some(true),
        floors: Some(vec![StreamKind::Video]),
        ..Group::default()
    };
    config.group.insert(GROUP.to_owned(), group);
}

fn socket() -> Result<UdpSocket, DemoError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::doing("a socket"))
}

/// A participant's telephone that takes invitations, in a thread of its own.
type Telephone = JoinHandle<Result<(), DemoError>>;

/// The session, with everybody in it.
struct Meeting {
    seats: Vec<Seat>,
    caller: sip::Caller,
    telephones: Vec<Telephone>,
    setup: Duration,
}

impl Meeting {
    /// Alice calls the group, and the relay invites the others.
    fn begin(
        phones: Vec<UdpSocket>,
        relay: SocketAddr,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, DemoError> {
        let mut phones = phones.into_iter();
        let first = phones
            .next()
            .ok_or_else(|| DemoError::late("a telephone"))?;
        let (mut called, mut telephones) = (Vec::new(), Vec::new());
        for (number, phone) in (1..).zip(phones) {
            let ports = Ports::open(number)?;
            let (telephone, offers) = be_called(&ports, phone, Arc::clone(stop))?;
            telephones.push(telephone);
            called.push((ports, offers));
        }
        let ports = Ports::open(0)?;
        let mut caller = sip::Caller::to_group(first, NAMES[0], GROUP, relay)?;
        let begin = now();
        let answer = caller.invite(&ports.describe()?)?;
        let mut seats = vec![Seat::new(ports, &answer)?];
        for (ports, offers) in called {
            let offer = wait_for(&offers, NAMES[ports.number])?;
            seats.push(Seat::new(ports, &offer)?);
        }
        Ok(Self {
            seats,
            caller,
            telephones,
            setup: now() - begin,
        })
    }

    fn play(
        mut self,
        length: Duration,
        show: Show,
        relay: &Relay,
        stop: &AtomicBool,
    ) -> Result<GroupReport, DemoError> {
        let mut live = Live::new(show, length);
        let talked = self.talk(length, |seats, passed| live.look(seats, passed, relay));
        live.finish();
        // The session is ended whatever became of the talk; what went wrong first is told.
        let hung_up = self.caller.bye();
        let until = now() + PATIENCE;
        while now() < until && !self.telephones.iter().all(JoinHandle::is_finished) {
            pause(STEP);
        }
        stop.store(true, Ordering::Relaxed);
        let ended: Result<Vec<()>, DemoError> =
            self.telephones.into_iter().map(join_telephone).collect();
        talked?;
        hung_up?;
        ended?;
        Ok(GroupReport::new(&self.seats, length, self.setup))
    }

    /// Voices, video, chat and floor requests, until the time is up and all has come that should; the
    /// verdict says what didn't.
    fn talk(
        &mut self,
        length: Duration,
        mut look: impl FnMut(&[Seat], Duration),
    ) -> Result<(), DemoError> {
        self.seats.iter_mut().for_each(Seat::begin);
        let (zero, turn) = (now(), turn(length));
        let mut script = Script::new(length);
        loop {
            let at = now();
            let passed = at - zero;
            script.play(&mut self.seats, passed)?;
            if passed >= length && (script.is_over() || passed >= length + PATIENCE) {
                break;
            }
            let pauses = usize::try_from(passed.as_millis() / turn.as_millis()).unwrap_or(0);
            for seat in &mut self.seats {
                seat.step(at, pauses % SEATS)?;
            }
            look(&self.seats, passed);
            pause(STEP);
        }
        self.settle()
    }

    /// Takes what is under way when everybody has stopped sending.
    fn settle(&mut self) -> Result<(), DemoError> {
        let end = now();
        loop {
            let at = now();
            self.seats.iter_mut().try_for_each(Seat::settle)?;
            let is_late = at >= end + PATIENCE;
            if is_late || (at >= end + TAIL && self.is_all_read()) {
                return Ok(());
            }
            pause(STEP);
        }
    }

    fn is_all_read(&self) -> bool {
        let written: u64 = self.seats.iter().map(|seat| seat.chat.sent).sum();
        self.seats
            .iter()
            .all(|seat| seat.chat.is_answered() && seat.chat.all_read() + seat.chat.sent >= written)
    }
}

/// How long one pauses, so that each does for a fifth of the time.
fn turn(length: Duration) -> Duration {
    let seats = u32::try_from(SEATS).unwrap_or(1);
    let rounds = u32::try_from(length.as_secs() / u64::from(seats) / TURN.as_secs()).unwrap_or(1);
    (length / (seats * rounds.max(1))).max(Duration::from_millis(1))
}

/// Who asks for the floor when: at a part of the whole, and not before what has to be so.
struct Script {
    length: Duration,
    scenes: std::slice::Iter<'static, Scene>,
    next: Option<&'static Scene>,
}

/// What one does.
#[derive(Debug)]
struct Scene {
    /// Hundredths of the time.
    part: u32,
    /// Who does it.
    who: usize,
    act: Act,
    /// Who has to have which standing before that.
    after: Option<(usize, Standing)>,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Ask,
    GiveBack,
}

/// Bob asks while Alice has the floor, and has to wait; whoever has it gives it back when seen.
const SCENES: [Scene; 4] = [
    Scene {
        part: 15,
        who: 0,
        act: Act::Ask,
        after: None,
    },
    Scene {
        part: 35,
        who: 1,
        act: Act::Ask,
        after: Some((0, Standing::Holds)),
    },
    Scene {
        part: 50,
        who: 0,
        act: Act::GiveBack,
        after: Some((1, Standing::Waits)),
    },
    Scene {
        part: 85,
        who: 1,
        act: Act::GiveBack,
        after: Some((1, Standing::Holds)),
    },
];

impl Scene {
    fn is_due(&self, seats: &[Seat]) -> bool {
        let so = self
            .after
            .is_none_or(|(who, standing)| seats[who].floor.standing == standing);
        so && match self.act {
            Act::Ask => true,
            Act::GiveBack => {
                let mut others = seats.iter().filter(|seat| seat.number != self.who);
                others.all(|seat| seat.screen.seen[self.who] > 0)
            }
        }
    }
}

impl Script {
    fn new(length: Duration) -> Self {
        let mut scenes = SCENES.iter();
        let next = scenes.next();
        Self {
            length,
            scenes,
            next,
        }
    }

    fn play(&mut self, seats: &mut [Seat], passed: Duration) -> Result<(), DemoError> {
        while let Some(scene) = self.next
            && passed >= self.length * scene.part / 100
            && scene.is_due(seats)
        {
            let floor = &mut seats[scene.who].floor;
            match scene.act {
                Act::Ask => floor.ask()?,
                Act::GiveBack => floor.give_back()?,
            }
            self.next = self.scenes.next();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }
}

/// Starts a telephone; the offer that it takes comes out of the channel once it is in the session.
fn be_called(
    ports: &Ports,
    phone: UdpSocket,
    stop: Arc<AtomicBool>,
) -> Result<(Telephone, Receiver<String>), DemoError> {
    let (tell, offers) = channel();
    let (name, answer) = (NAMES[ports.number].to_lowercase(), ports.describe()?);
    let serve = move || {
        let answer = |offer: &str| Ok((answer.clone(), offer.to_owned()));
        sip::be_called(&phone, &name, &stop, answer, &tell)
    };
    let thread = thread::Builder::new()
        .name("demo-telephone".to_owned())
        .spawn(serve)
        .map_err(DemoError::doing("a thread"))?;
    Ok((thread, offers))
}

fn wait_for(offers: &Receiver<String>, name: &str) -> Result<String, DemoError> {
    offers.recv_timeout(PATIENCE).map_err(|why| match why {
        RecvTimeoutError::Timeout => DemoError::late(format!("{name}'s session")),
        RecvTimeoutError::Disconnected => {
            DemoError::unexpected("a session", &format!("the end of {name}'s telephone"))
        }
    })
}

fn join_telephone(thread: Telephone) -> Result<(), DemoError> {
    let failed = |_| DemoError::unexpected("the end of a telephone's thread", "a panic");
    thread.join().map_err(failed)?
}

/// Whether something is due that comes again after a time.
fn is_due(next: &mut Option<Instant>, at: Instant, every: Duration) -> bool {
    match next {
        Some(due) if at < *due => false,
        Some(due) => {
            *due += every;
            true
        }
        None => {
            // Nobody begins at the same moment as another one.
            let micros = u64::try_from(every.as_micros()).unwrap_or(1).max(1);
            *next = Some(at + Duration::from_micros(random() % micros));
            false
        }
    }
}
