//! What carries messages to and from one member: framing, fragments, what was answered, what isn't
//! acknowledged (RFC 8855 §6, §8).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{BFCP_ANSWERS, BFCP_RESENDS, BFCP_T1_MS, BFCP_T2_MS};
use crate::wire::bfcp::{Carrier, Framer, Head, Joined, Primitive, Reassembly};

/// One member's carrier.
#[derive(Debug)]
pub(super) enum Link {
    /// TCP or TLS.
    Reliable(Framer),
    /// UDP.
    Unreliable(Datagrams),
}

/// The state of a member over UDP.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    last_transaction: u16,
    /// What was sent and isn't acknowledged; only then the next may be sent (§8.3.1).
    open: Option<Open>,
    answers: VecDeque<Answer>,
    parts: Reassembly,
    /// When the first part came of a message that isn't whole.
    parts_since: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    transaction: u16,
    primitive: Primitive,
    message: Vec<u8>,
    resends: u8,
    due: Instant,
}

#[derive(Debug)]
struct Answer {
    transaction: u16,
    primitive: u8,
    message: Vec<u8>,
    until: Instant,
}

/// What a look at a link's timers found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// To be sent again.
    Again(Vec<u8>),
    /// It was sent as often as may be: the far end is gone.
    Lost,
}

impl Link {
    pub(super) fn new(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Reliable => Self::Reliable(Framer::default()),
            Carrier::Unreliable => Self::Unreliable(Datagrams::default()),
        }
    }

    pub(super) fn carrier(&self) -> Carrier {
        match self {
            Self::Reliable(_) => Carrier::Reliable,
            Self::Unreliable(_) => Carrier::Unreliable,
        }
    }

    /// Forgets what came and what was sent; transactions go on, as numbers must not come again.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Reliable(framer) => *framer = Framer::default(),
            Self::Unreliable(datagrams) => {
                *datagrams = Datagrams {
                    last_transaction: datagrams.last_transaction,
                    ..Datagrams::default()
                };
            }
        }
    }

    /// Whether the server may begin a transaction.
    pub(super) fn is_free(&self) -> bool {
        match self {
            Self::Reliable(_) => true,
            Self::Unreliable(datagrams) => datagrams.open.is_none(),
        }
    }

    /// The number of the next transaction that the server begins; 0 over TCP (§5.1).
    pub(super) fn next_transaction(&mut self) -> u16 {
        match self {
            Self::Reliable(_) => 0,
            Self::Unreliable(datagrams) => {
                let next = datagrams.last_transaction.wrapping_add(1).max(1);
                datagrams.last_transaction = next;
                next
            }
        }
    }

    /// Notes what was sent in a transaction that the server began.
    pub(super) fn sent(&mut self, head: (u16, Primitive), message: &[u8], now: Instant) {
        let Self::Unreliable(datagrams) = self else {
            return;
        };
        datagrams.open = Some(Open {
            transaction: head.0,
            primitive: head.1,
            message: message.to_vec(),
            resends: 0,
            due: now + Duration::from_millis(BFCP_T1_MS),
        });
    }

    /// An answer came; whether it is to what was sent. An Error is one, too (§8.3.1).
    pub(super) fn acknowledged(&mut self, head: &Head) -> bool {
        let Self::Unreliable(datagrams) = self else {
            return false;
        };
        let is_it = |open: &mut Open| {
            let fits = match Primitive::from_number(head.primitive) {
                Some(Primitive::FloorRequestStatusAck) => {
                    open.primitive == Primitive::FloorRequestStatus
                }
                Some(Primitive::FloorStatusAck) => open.primitive == Primitive::FloorStatus,
                Some(Primitive::Error) => true,
                Some(_) | None => false,
            };
            fits && open.transaction == head.transaction
        };
        datagrams.open.take_if(is_it).is_some()
    }

    /// The answer that the same request got before.
    pub(super) fn answered(&self, head: &Head) -> Option<&[u8]> {
        let Self::Unreliable(datagrams) = self else {
            return None;
        };
        let mut answers = datagrams.answers.iter();
        let answer = answers.find(|answer| {
            answer.transaction == head.transaction && answer.primitive == head.primitive
        })?;
        Some(&answer.message)
    }

    /// Whether a request is from before one that was answered lately: it was under way for long, or
    /// is a copy. Numbers only grow (RFC 8855 §8.1), but a client that begins anew says Hello.
    pub(super) fn is_stale(&self, head: &Head) -> bool {
        let Self::Unreliable(datagrams) = self else {
            return false;
        };
        let is_hello = head.primitive == Primitive::Hello.number();
        let newest = datagrams.answers.back().map(|answer| answer.transaction);
        let age = newest.map_or(0, |newest| newest.wrapping_sub(head.transaction));
        !is_hello && age > 0 && age < u16::MAX / 2
    }

    /// Keeps an answer for when its request comes again.
    pub(super) fn keep_answer(&mut self, head: &Head, message: &[u8], now: Instant) {
        let Self::Unreliable(datagrams) = self else {
            return;
        };
        if datagrams.answers.len() >= BFCP_ANSWERS {
            datagrams.answers.pop_front();
        }
        datagrams.answers.push_back(Answer {
            transaction: head.transaction,
            primitive: head.primitive,
            message: message.to_vec(),
            until: now + Duration::from_millis(BFCP_T2_MS),
        });
    }

    /// Takes a fragment of a message.
    pub(super) fn join(&mut self, head: Head, part: &[u8], now: Instant) -> Joined {
        let Self::Unreliable(datagrams) = self else {
            return Joined::Refused;
        };
        let joined = datagrams.parts.add(head, part);
        datagrams.parts_since = match joined {
            Joined::Waiting => Some(datagrams.parts_since.unwrap_or(now)),
            Joined::Whole(..) | Joined::Refused => None,
        };
        joined
    }

    /// When it is to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let Self::Unreliable(datagrams) = self else {
            return None;
        };
        let open = datagrams.open.as_ref().map(|open| open.due);
        let answer = datagrams.answers.front().map(|answer| answer.until);
        let parts = datagrams.parts_until();
        [open, answer, parts].into_iter().flatten().min()
    }

    /// Looks at the timers.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        let Self::Unreliable(datagrams) = self else {
            return Due::Nothing;
        };
        datagrams.answers.retain(|answer| answer.until > now);
        if datagrams.answers.is_empty() {
            // An idle member keeps nothing.
            datagrams.answers.shrink_to_fit();
        }
        if datagrams.parts_until().is_some_and(|until| until <= now) {
            datagrams.parts.clear();
            datagrams.parts_since = None;
        }
        let Some(open) = datagrams.open.as_mut().filter(|open| open.due <= now) else {
            return Due::Nothing;
        };
        if open.resends >= BFCP_RESENDS {
            datagrams.open = None;
            return Due::Lost;
        }
        open.resends += 1;
        open.due = now + Duration::from_millis(BFCP_T1_MS << open.resends);
        Due::Again(open.message.clone())
    }
}

impl Datagrams {
    fn parts_until(&self) -> Option<Instant> {
        let since = self.parts_since?;
        Some(since + Duration::from_millis(BFCP_T2_MS))
    }
}
