//! What a telephone sends again until something comes: requests until their responses, final
//! responses to INVITEs until their ACKs (RFC 3261 §13.3.1.4, §17).

use std::time::{Duration, Instant};

/// When something is sent again, and given up.
struct Timer {
    next: Instant,
    interval: Duration,
    until: Instant,
}

/// What a timer says.
enum Ring {
    NotYet,
    Again,
    GivenUp,
}

impl Timer {
    fn new(now: Instant) -> Self {
        Self {
            next: now + T1,
            interval: T1,
            until: now + T1 * 64,
        }
    }

    fn wakes(&self) -> Instant {
        self.next.min(self.until)
    }

    fn ring(&mut self, now: Instant, interval_max: Duration) -> Ring {
        if self.until <= now {
            return Ring::GivenUp;
        }
        if self.next > now {
            return Ring::NotYet;
        }
        self.interval = (self.interval * 2).min(interval_max);
        self.next = now + self.interval;
        Ring::Again
    }
}

/// A request of ours without a final response.
pub(super) struct Pending {
    pub method: &'static str,
    pub branch: String,
    pub bytes: Vec<u8>,
    /// A provisional response has come.
    pub is_proceeding: bool,
    timer: Timer,
}

impl Pending {
    /// A provisional response has come: nothing is sent again, and it may ring until then.
    pub(super) fn proceed(&mut self, until: Instant) {
        self.is_proceeding = true;
        (self.timer.next, self.timer.until) = (until, until);
    }

    /// RFC 3261 §9.1: once it is cancelled, the final response is waited for no longer than that.
    pub(super) fn cancelled(&mut self, now: Instant) {
        self.timer.until = now + T1 * 64;
    }
}

/// A final response of ours to an INVITE without its ACK.
struct Repeated {
    /// What its ACK has as well.
    key: String,
    bytes: Vec<u8>,
    timer: Timer,
}

/// All that waits.
#[derive(Default)]
pub(super) struct Waits {
    /// Requests of ours.
    pub pending: Vec<Pending>,
    repeated: Vec<Repeated>,
}

/// What is to be done at a time.
#[derive(Default)]
pub(super) struct Due {
    /// Sent again.
    pub again: Vec<Vec<u8>>,
    /// Methods of the requests that nobody answered.
    pub unanswered: Vec<&'static str>,
    /// A response's ACK never came.
    pub is_unacknowledged: bool,
}

impl Waits {
    /// Waits for the response to a request that is sent now.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        method: &'static str,
        branch: String,
        bytes: Vec<u8>,
    ) {
        self.pending.push(Pending {
            method,
            branch,
            bytes,
            is_proceeding: false,
            timer: Timer::new(now),
        });
    }

    /// The request that a response belongs to.
    pub(super) fn asked(&self, branch: &str, cseq: &str) -> Option<usize> {
        let is_it = |one: &Pending| one.branch == branch && cseq.ends_with(one.method);
        self.pending.iter().position(is_it)
    }

    /// The first request of a method that waits.
    pub(super) fn first(&mut self, method: &str) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|one| one.method == method)
    }

    /// Whether a request of a method waits.
    pub(super) fn has(&self, method: &str) -> bool {
        self.pending.iter().any(|one| one.method == method)
    }

    /// Waits for the ACK of a response that is sent now.
    pub(super) fn repeat(&mut self, now: Instant, key: String, bytes: Vec<u8>) {
        self.repeated.push(Repeated {
            key,
            bytes,
            timer: Timer::new(now),
        });
    }

    /// An ACK has come.
    pub(super) fn acknowledged(&mut self, key: &str) {
        self.repeated.retain(|one| one.key != key);
    }

    /// No response waits for its ACK any more.
    pub(super) fn all_acknowledged(&mut self) {
        self.repeated.clear();
    }

    /// Whether a response waits for its ACK.
    pub(super) fn is_unacknowledged(&self) -> bool {
        !self.repeated.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.repeated.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.pending.iter().map(|one| one.timer.wakes());
        let repeated = self.repeated.iter().map(|one| one.timer.wakes());
        pending.chain(repeated).min()
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        self.pending
            .retain_mut(|one| match one.timer.ring(now, cap(one.method)) {
                Ring::NotYet => true,
                Ring::Again => {
                    due.again.push(one.bytes.clone());
                    true
                }
                Ring::GivenUp => {
                    due.unanswered.push(one.method);
                    false
                }
            });
        self.repeated
            .retain_mut(|one| match one.timer.ring(now, T2) {
                Ring::NotYet => true,
                Ring::Again => {
                    due.again.push(one.bytes.clone());
                    true
                }
                Ring::GivenUp => {
                    due.is_unacknowledged = true;
                    false
                }
            });
        due
    }
}

/// The longest interval between two copies of a request: RFC 3261 §17.1.1.2, Timer A has no other
/// than Timer B.
fn cap(method: &str) -> Duration {
    if method == "INVITE" { T1 * 64 } else { T2 }
}

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.2.
const T2: Duration = Duration::from_secs(4);
