//! RTP between two legs: where packets may come from, what was lost, and silence.
//!
//! A valid packet is relayed untouched: SSRC, sequence number and timestamp are the sender's.
//!
//! ```text
//!            connect                first valid packet in the window
//! Unknown ─────────────▶ Learning ──────────────────────────────────▶ Learnt
//!    │                      │ window over                              │
//!    │ connect, Never       ▼                                          │
//!    └──────────────────▶ Fixed ◀── connect, Never ────────────────────┘
//! ```
//! A later connect opens the window again; until it decides, media goes where it went before when
//! the SDP names the same address, else to the new one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::Learn;
use crate::wire::rtp::{Header, Seq, Ssrc};

/// Where one component's packets may come from, and where its packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nobody said yet.
    #[default]
    Unknown,
    /// Only the address that SDP names.
    Fixed {
        /// That address.
        named: SocketAddr,
    },
    /// The first valid packet decides.
    Learning {
        /// The address that SDP names.
        named: SocketAddr,
        /// Where packets go until it is decided.
        target: SocketAddr,
        /// When the window closes; `None`: never.
        until: Option<Instant>,
        /// Whether the address must be the one that SDP names, with any port.
        same_ip: bool,
    },
    /// Only the address that was learnt.
    Learnt {
        /// The address that SDP names.
        named: SocketAddr,
        /// The address packets come from.
        from: SocketAddr,
    },
}

impl Source {
    /// The far end is named, or named anew.
    pub fn connect(&mut self, now: Instant, named: SocketAddr, learn: Learn) {
        let target = match *self {
            Self::Learnt { named: old, from } if old == named => from,
            Self::Learning {
                named: old, target, ..
            } if old == named => target,
            Self::Unknown | Self::Fixed { .. } | Self::Learning { .. } | Self::Learnt { .. } => {
                named
            }
        };
        *self = match learn {
            Learn::Never => Self::Fixed { named },
            Learn::Once { window_ms, same_ip } => Self::Learning {
                named,
                target,
                until: deadline(now, window_ms),
                same_ip,
            },
        };
    }

    /// Whether a valid packet from an address may pass; learns from it where that is allowed.
    pub fn admit(&mut self, now: Instant, from: SocketAddr) -> bool {
        match *self {
            Self::Unknown => false,
            Self::Fixed { named } => from == named,
            Self::Learnt { from: learnt, .. } => from == learnt,
            Self::Learning {
                named,
                target,
                until,
                same_ip,
            } => {
                if until.is_some_and(|until| now > until) {
                    *self = Self::settle(named, target);
                    return from == target;
                }
                let admitted = from == named || !same_ip || from.ip() == named.ip();
                if admitted {
                    *self = Self::Learnt { named, from };
                }
                admitted
            }
        }
    }

    /// The one address that packets may come from and go to, once nothing else can be learnt.
    pub fn settled(&mut self, now: Instant) -> Option<SocketAddr> {
        if let Self::Learning {
            named,
            target,
            until: Some(until),
            ..
        } = *self
            && now > until
        {
            *self = Self::settle(named, target);
        }
        match *self {
            Self::Fixed { named: settled } | Self::Learnt { from: settled, .. } => Some(settled),
            Self::Unknown | Self::Learning { .. } => None,
        }
    }

    /// Where packets go, once that is known.
    #[must_use]
    pub fn target(&self) -> Option<SocketAddr> {
        match *self {
            Self::Unknown => None,
            Self::Fixed { named } => Some(named),
            Self::Learning { target, .. } => Some(target),
            Self::Learnt { from, .. } => Some(from),
        }
    }

    fn settle(named: SocketAddr, target: SocketAddr) -> Self {
        if named == target {
            Self::Fixed { named }
        } else {
            Self::Learnt {
                named,
                from: target,
            }
        }
    }
}

fn deadline(now: Instant, window_ms: u32) -> Option<Instant> {
    (window_ms > 0).then(|| now + Duration::from_millis(u64::from(window_ms)))
}

/// What was lost of one source's packets, by their sequence numbers (RFC 3550 A.1, A.3).
///
/// Counts one SSRC at a time; another one begins anew and what was lost before stays counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    ssrc: Option<Ssrc>,
    /// The first sequence number, and cycles with the highest one.
    base: u32,
    highest: u32,
    received: u32,
    /// The sequence number that would follow one that jumped.
    after_jump: Option<Seq>,
    lost_before: u64,
}

impl Loss {
    /// Takes note of a packet.
    pub fn received(&mut self, header: &Header) {
        if self.ssrc != Some(header.ssrc) {
            self.restart(header);
            return;
        }
        let [.., high, low] = self.highest.to_be_bytes();
        let ahead = header.seq.0.wrapping_sub(u16::from_be_bytes([high, low]));
        if ahead < DROPOUT_MAX {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
            self.after_jump = None;
        } else if ahead <= u16::MAX - MISORDER_MAX {
            // A.1: two in a row that agree mean that the sender began anew without telling us.
            if self.after_jump == Some(header.seq) {
                self.restart(header);
                return;
            }
            self.after_jump = Some(Seq(header.seq.0.wrapping_add(1)));
            return;
        }
        self.received = self.received.wrapping_add(1);
    }

    /// Packets that never came; duplicates don't make it less than none.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before + self.lost_now()
    }

    /// Of the source that sends now: itself, the highest sequence number with its cycles, packets
    /// expected, packets received; `None` before the first.
    #[must_use]
    pub fn counted(&self) -> Option<(Ssrc, u32, u32, u32)> {
        let expected = self.highest.wrapping_sub(self.base).wrapping_add(1);
        Some((self.ssrc?, self.highest, expected, self.received))
    }

    fn lost_now(&self) -> u64 {
        if self.ssrc.is_none() {
            return 0;
        }
        let expected = self.highest.wrapping_sub(self.base).wrapping_add(1);
        u64::from(expected.saturating_sub(self.received))
    }

    fn restart(&mut self, header: &Header) {
        *self = Self {
            ssrc: Some(header.ssrc),
            base: u32::from(header.seq.0),
            highest: u32::from(header.seq.0),
            received: 1,
            after_jump: None,
            lost_before: self.lost(),
        };
    }
}

/// RFC 3550 A.1.
const DROPOUT_MAX: u16 = 3000;
/// RFC 3550 A.1.
const MISORDER_MAX: u16 = 100;

/// What a look at a [`Silence`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has gone silent.
    Silent,
    /// It is heard again.
    Heard,
}

/// Whether a leg is heard.
#[derive(Debug, Clone, Copy, Default)]
pub enum Silence {
    /// Nobody listens: the leg isn't connected, or isn't to send.
    #[default]
    Off,
    /// It was heard, or began to be listened to, at this time.
    Heard(Instant),
    /// It is silent, and that was told.
    Told(Instant),
}

impl Silence {
    /// Begins to listen, or stops; what was told stays told.
    pub fn listen(&mut self, now: Instant, on: bool) {
        *self = match (*self, on) {
            (_, false) => Self::Off,
            (Self::Told(since), true) => Self::Told(since),
            (Self::Off | Self::Heard(_), true) => Self::Heard(now),
        };
    }

    /// A valid packet came.
    pub fn heard(&mut self, now: Instant) {
        match self {
            Self::Off => {}
            Self::Heard(at) | Self::Told(at) => *at = now,
        }
    }

    /// What has changed since it was looked at last, for a leg that is silent after `limit`.
    #[must_use]
    pub fn look(&self, now: Instant, limit: Duration) -> Option<Change> {
        match *self {
            Self::Off => None,
            Self::Heard(at) => {
                (now.saturating_duration_since(at) >= limit).then_some(Change::Silent)
            }
            Self::Told(at) => (now.saturating_duration_since(at) < limit).then_some(Change::Heard),
        }
    }

    /// Takes note that a change was told.
    pub fn told(&mut self, change: Change) {
        *self = match (*self, change) {
            (Self::Off, _) => Self::Off,
            (Self::Heard(at) | Self::Told(at), Change::Silent) => Self::Told(at),
            (Self::Heard(at) | Self::Told(at), Change::Heard) => Self::Heard(at),
        };
    }
}

#[cfg(test)]
mod tests;
