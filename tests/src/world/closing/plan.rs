//! What the parties and the relays of a session are to do, drawn from its seed.

use std::time::Duration;

use control::engine::ByeAck;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::world::{Store, Weather};

/// One session from its INVITE to its end.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Caller and callee.
    pub parties: [Part; 2],
    /// The originating and the terminating Participating Function.
    pub functions: [Function; 2],
    /// The network.
    pub weather: Weather,
}

/// What a party does.
#[derive(Debug, Clone)]
pub struct Part {
    /// How an INVITE that begins a session is answered.
    pub answer: Answer,
    /// How long it rings before that.
    pub rings: Duration,
    /// A caller gives up this long after its INVITE.
    pub cancels: Option<Duration>,
    /// Modifications, this long after the answer.
    pub changes: Vec<Duration>,
    /// It hangs up this long after the answer.
    pub hangs_up: Option<Duration>,
    /// From then on after the answer it neither hears nor says anything.
    pub falls_silent: Option<Duration>,
    /// It offers a chat beside audio.
    pub has_chat: bool,
}

/// How an INVITE is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Accept,
    /// This code.
    Refuse(u16),
    /// Never.
    Never,
}

/// How a Participating Function takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// As B2BUA, in the media path; else as proxy.
    pub stays: bool,
    /// When a BYE is answered.
    pub bye_ack: ByeAck,
    /// How long the far side may take for that.
    pub far_deadline: Duration,
    /// The served user's history is stored there; a function that stores stays, too.
    pub store: Option<Store>,
}

impl Plan {
    /// A session in which nothing goes wrong and the caller hangs up after a second.
    #[must_use]
    pub fn quiet() -> Self {
        let part = Part {
            answer: Answer::Accept,
            rings: Duration::from_millis(100),
            cancels: None,
            changes: Vec::new(),
            hangs_up: None,
            falls_silent: None,
            has_chat: false,
        };
        let function = Function {
            stays: true,
            bye_ack: ByeAck::AfterFarEnd,
            far_deadline: Duration::from_secs(4),
            store: None,
        };
        let mut caller = part.clone();
        caller.hangs_up = Some(Duration::from_secs(1));
        Self {
            parties: [caller, part],
            functions: [function; 2],
            weather: Weather::FAIR,
        }
    }

    /// Any session.
    #[must_use]
    pub fn random(rng: &mut StdRng) -> Self {
        let has_chat = rng.random();
        let mut parties = [Part::random(rng, has_chat), Part::random(rng, has_chat)];
        parties[1].cancels = None;
        if parties.iter().all(|part| part.hangs_up.is_none()) {
            parties[rng.random_range(0..2)].hangs_up = Some(some_time(rng));
        }
        // Of two that fall silent nobody would learn before the session expires.
        if parties[0].falls_silent.is_some() {
            parties[1].falls_silent = None;
        }
        // Close to each other, so that they cross.
        if let (true, Some(at)) = (rng.random_ratio(1, 3), parties[0].hangs_up) {
            parties[1].hangs_up = Some(at + Duration::from_millis(rng.random_range(0..60)));
        }
        let weather = Weather {
            lost_permille: pick(rng, &[0, 0, 20, 100, 200]),
            doubled_permille: pick(rng, &[0, 50, 200]),
            delay_ms_max: pick(rng, &[2, 20, 150]),
        };
        Self {
            parties,
            functions: [Function::random(rng), Function::random(rng)],
            weather,
        }
    }
}

impl Part {
    fn random(rng: &mut StdRng, has_chat: bool) -> Self {
        let answer = match rng.random_range(0..12) {
            0 => Answer::Refuse(pick(rng, &[404, 486, 488, 503, 603])),
            1 => Answer::Never,
            _ => Answer::Accept,
        };
        let changes = pick(rng, &[0, 0, 1, 2]);
        let changes = (0..changes).map(|_| some_time(rng)).collect();
        Self {
            answer,
            rings: Duration::from_millis(rng.random_range(0..600)),
            changes,
            cancels: rng
                .random_ratio(1, 6)
                .then(|| Duration::from_millis(rng.random_range(0..1_000))),
            hangs_up: rng.random_ratio(1, 2).then(|| some_time(rng)),
            falls_silent: rng.random_ratio(1, 10).then(|| some_time(rng)),
            has_chat,
        }
    }
}

impl Function {
    /// Whether it is a B2BUA.
    #[must_use]
    pub fn is_in_path(&self) -> bool {
        self.stays || self.store.is_some()
    }

    fn random(rng: &mut StdRng) -> Self {
        let takes = pick(rng, &[Some(0), Some(20), Some(1_000), Some(5_000), None]);
        let store = Store {
            takes: takes.map(Duration::from_millis),
            fails: rng.random_ratio(1, 5),
        };
        Self {
            store: rng.random_ratio(1, 2).then_some(store),
            stays: rng.random_ratio(3, 4),
            bye_ack: pick(
                rng,
                &[
                    ByeAck::AfterFarEnd,
                    ByeAck::AfterFarEnd,
                    ByeAck::Immediate,
                    ByeAck::ImmediateAfterStore,
                ],
            ),
            far_deadline: Duration::from_millis(pick(rng, &[500, 4_000, 20_000])),
        }
    }
}

fn some_time(rng: &mut StdRng) -> Duration {
    let most = pick(rng, &[50, 500, 3_000]);
    Duration::from_millis(rng.random_range(0..most))
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
