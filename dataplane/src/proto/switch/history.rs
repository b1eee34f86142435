//! The last packets of a source, for receivers that lost some and for those that join at a key frame.
//!
//! ```text
//! slots   number modulo SWITCH_HISTORY_PACKETS ─▶ Kept { where its payload is } | Asked
//! bytes   payloads one after the other, the oldest overwritten
//! ```

use std::time::{Duration, Instant};

use crate::limits::{SWITCH_HISTORY_BYTES, SWITCH_HISTORY_PACKETS, SWITCH_NACK_MS};
use crate::wire::rtp::Ssrc;

use super::packet::{Facts, Incoming};

/// The last packets of one source.
#[derive(Debug)]
pub(super) struct History {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    /// Octets written since it was made, with those that were skipped at the end.
    written: u64,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Empty,
    Kept {
        number: u64,
        facts: Facts,
        /// What was written before its payload.
        from: u64,
        len: usize,
    },
    /// It is missing, and the source was asked for it.
    Asked {
        number: u64,
        at: Instant,
        times: u8,
    },
}

impl Slot {
    fn number(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Kept { number, .. } | Self::Asked { number, .. } => *number,
        }
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::Empty; SWITCH_HISTORY_PACKETS].into_boxed_slice(),
            bytes: vec![0; SWITCH_HISTORY_BYTES].into_boxed_slice(),
            written: 0,
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::Empty);
    }

    /// Keeps a packet; one that is older than all is not kept.
    pub(super) fn keep(&mut self, number: u64, packet: &Incoming<'_>) {
        let len = packet.payload.len();
        let slot = &mut self.slots[place(number)];
        if slot.number() > number || len > self.bytes.len() {
            return;
        }
        let size = self.bytes.len();
        let mut at = offset(self.written, size);
        if at + len > size {
            self.written += (size - at) as u64;
            at = 0;
        }
        self.bytes[at..at + len].copy_from_slice(packet.payload);
        *slot = Slot::Kept {
            number,
            facts: packet.facts,
            from: self.written,
            len,
        };
        self.written += len as u64;
    }

    /// A packet, where it is still there.
    pub(super) fn find(&self, number: u64) -> Option<Incoming<'_>> {
        match self.slots[place(number)] {
            Slot::Kept {
                number: kept,
                facts,
                from,
                len,
            } if kept == number && self.written - from <= self.bytes.len() as u64 => {
                let at = offset(from, self.bytes.len());
                Some(Incoming {
                    facts,
                    ssrc: Ssrc(0),
                    payload: self.bytes.get(at..at + len)?,
                })
            }
            Slot::Empty | Slot::Kept { .. } | Slot::Asked { .. } => None,
        }
    }

    /// Whether the source is to be asked for a packet now; then that is noted.
    pub(super) fn ask(&mut self, number: u64, now: Instant) -> bool {
        let slot = &mut self.slots[place(number)];
        let times = match *slot {
            Slot::Asked {
                number: asked,
                at,
                times,
            } if asked == number => {
                let again = at + Duration::from_millis(SWITCH_NACK_MS);
                if now < again || times >= ASKED_MAX {
                    return false;
                }
                times + 1
            }
            // It came, or one that came later has its place.
            Slot::Kept { number: kept, .. } | Slot::Asked { number: kept, .. }
                if kept >= number =>
            {
                return false;
            }
            Slot::Empty | Slot::Kept { .. } | Slot::Asked { .. } => 1,
        };
        *slot = Slot::Asked {
            number,
            at: now,
            times,
        };
        true
    }
}

fn place(number: u64) -> usize {
    usize::from(super::arrivals::low_16(number)) % SWITCH_HISTORY_PACKETS
}

fn offset(written: u64, size: usize) -> usize {
    usize::try_from(written % (size as u64)).unwrap_or(0)
}

/// Times that a source is asked for one packet.
const ASKED_MAX: u8 = 5;
// Numbers wrap at 2^16 in their lower half, and places must not jump there.
const _: () = assert!(65_536 % SWITCH_HISTORY_PACKETS == 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::switch::tests::{rtp, start};

    #[test]
    fn the_last_packets_are_found_and_older_ones_are_not() {
        let mut history = History::new();
        for number in 1000..3000_u64 {
            let [low, ..] = number.to_le_bytes();
            let bytes = rtp(1, 5, &[low; 500]);
            history.keep(number, &Incoming::parse(&bytes, None).unwrap());
        }
        let kept = (1000..3000).filter(|number| history.find(*number).is_some());
        assert_eq!(kept.count(), SWITCH_HISTORY_PACKETS);
        let [low, ..] = 2900_u64.to_le_bytes();
        assert_eq!(history.find(2900).unwrap().payload, [low; 500]);
    }

    #[test]
    fn what_was_overwritten_is_not_found() {
        let mut history = History::new();
        for number in 1000..1256_u64 {
            let [low, ..] = number.to_le_bytes();
            let bytes = rtp(1, 5, &[low; 1400]);
            history.keep(number, &Incoming::parse(&bytes, None).unwrap());
        }
        let mut kept = 0;
        for number in 1000..1256_u64 {
            let [low, ..] = number.to_le_bytes();
            if let Some(packet) = history.find(number) {
                assert_eq!(packet.payload, [low; 1400]);
                kept += 1;
            }
        }
        assert_eq!(kept, SWITCH_HISTORY_BYTES / 1400);
    }

    #[test]
    fn a_missing_packet_is_asked_for_now_and_then() {
        let mut history = History::new();
        let bytes = rtp(1, 5, &[1]);
        history.keep(1000, &Incoming::parse(&bytes, None).unwrap());
        let at = |ms| start() + Duration::from_millis(ms);
        assert!(!history.ask(1000, at(0)), "it is there");
        assert!(history.ask(1001, at(0)));
        assert!(!history.ask(1001, at(10)));
        assert!(history.ask(1001, at(50)));
        let later = (2..100).filter(|round| history.ask(1001, at(50 * round)));
        assert_eq!(later.count(), 3);
        assert!(
            !history.ask(1000 - SWITCH_HISTORY_PACKETS as u64, at(0)),
            "too old"
        );
    }
}
