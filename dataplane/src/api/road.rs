//! The road between two workers that share one group session: its *home*, where the rooms' machines
//! are, and an *outpost*, which has legs of further members.
//!
//! ```text
//! home ──parcels: heads for many, the payload once──▶ ring ──▶ outpost      a frame for each, sent
//! home ◀──────────────────── ring ◀──parcels: what members sent── outpost
//!      and each parcel goes back empty by a ring of its own
//! ```
//!
//! All parcels are made with the road, so that nothing is allocated while it is used; where none is
//! empty the newest letter is dropped, and nobody waits.

use std::sync::atomic::{Ordering, fence};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::{Component, ControlEnd, Doorbell, MemberId, StreamId};
use crate::limits::{ROAD_PARCEL_BYTES, ROAD_PARCELS_HOME, ROAD_PARCELS_OUT};

/// An outpost of a group session, as control names it: never used twice in a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutpostId(pub u32);

/// A packet to or from a member whose leg is at an outpost, in two pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter<'a> {
    /// The room.
    pub stream: StreamId,
    /// The member.
    pub member: MemberId,
    /// RTP or RTCP, wherever each goes.
    pub part: Component,
    /// What is this member's alone.
    pub head: &'a [u8],
    /// What follows: letters in a row with the same one share it.
    pub body: &'a [u8],
}

/// Letters on their way, one behind the other.
///
/// ```text
/// member 4 │ stream 1 │ part 1 │ head's length 2 │ body's place 2, length 2 │ head │ body, if new
/// ```
#[derive(Debug)]
pub struct Parcel {
    bytes: Vec<u8>,
    /// Where the last letter's body is.
    body: (usize, usize),
}

impl Parcel {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(ROAD_PARCEL_BYTES),
            body: (0, 0),
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.body = (0, 0);
    }

    /// Adds a letter, if it fits.
    fn add(&mut self, letter: &Letter<'_>) -> bool {
        let (at, length) = self.body;
        let last = self.bytes.get(at..at + length);
        let is_shared = last == Some(letter.body);
        let head_at = self.bytes.len() + RECORD_BYTES;
        let body_at = head_at + letter.head.len();
        let end = body_at + if is_shared { 0 } else { letter.body.len() };
        if end > ROAD_PARCEL_BYTES {
            return false;
        }
        if !is_shared {
            self.body = (body_at, letter.body.len());
        }
        let part = match letter.part {
            Component::Rtp => RTP,
            Component::Rtcp => RTCP,
        };
        let (at, length) = self.body;
        self.bytes.extend(letter.member.0.to_be_bytes());
        self.bytes.extend([letter.stream.0, part]);
        for figure in [letter.head.len(), at, length] {
            // All are within a parcel.
            self.bytes
                .extend(u16::try_from(figure).unwrap_or(u16::MAX).to_be_bytes());
        }
        self.bytes.extend(letter.head);
        if !is_shared {
            self.bytes.extend(letter.body);
        }
        true
    }

    /// Its letters, in the order in which they were posted.
    #[must_use]
    pub fn letters(&self) -> Letters<'_> {
        Letters {
            parcel: &self.bytes,
            at: 0,
        }
    }
}

/// The letters of a parcel.
#[derive(Debug)]
pub struct Letters<'a> {
    parcel: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Letters<'a> {
    type Item = Letter<'a>;

    fn next(&mut self) -> Option<Letter<'a>> {
        let rest = self.parcel.get(self.at..)?;
        let (&[m0, m1, m2, m3, stream, part, h0, h1, p0, p1, l0, l1], rest) =
            rest.split_first_chunk::<RECORD_BYTES>()?;
        let [head, body_at, body] =
            [[h0, h1], [p0, p1], [l0, l1]].map(|figure| usize::from(u16::from_be_bytes(figure)));
        let letter = Letter {
            stream: StreamId(stream),
            member: MemberId(u32::from_be_bytes([m0, m1, m2, m3])),
            part: if part == RTP {
                Component::Rtp
            } else {
                Component::Rtcp
            },
            head: rest.get(..head)?,
            body: self.parcel.get(body_at..body_at + body)?,
        };
        self.at += RECORD_BYTES + head;
        if body_at == self.at {
            self.at += body;
        }
        Some(letter)
    }
}

/// One worker's end of a road.
#[derive(Debug)]
pub struct RoadEnd {
    out: Producer<Parcel>,
    /// Parcels of ours that came back.
    empty: Consumer<Parcel>,
    come: Consumer<Parcel>,
    /// The way back of the other end's parcels.
    back: Producer<Parcel>,
    /// What is being packed.
    packing: Option<Parcel>,
    far_bell: Doorbell,
}

impl RoadEnd {
    /// Posts a letter; it leaves when the parcel is full or the road is flushed. Says whether there
    /// was room for it.
    #[must_use]
    pub fn post(&mut self, letter: &Letter<'_>) -> bool {
        if let Some(parcel) = &mut self.packing {
            if parcel.add(letter) {
                return true;
            }
            self.flush();
        }
        let Ok(mut parcel) = self.empty.pop() else {
            return false;
        };
        parcel.clear();
        let fits = parcel.add(letter);
        self.packing = Some(parcel);
        fits
    }

    /// Sends what is packed, and wakes the other worker if it sleeps.
    pub fn flush(&mut self) {
        let Some(parcel) = self.packing.take() else {
            return;
        };
        match self.out.push(parcel) {
            Ok(()) => self.far_bell.ring(),
            // The ring has room for all parcels there are.
            Err(PushError::Full(parcel)) => self.packing = Some(parcel),
        }
    }

    /// Takes the next parcel; it has to be given back.
    pub fn take(&mut self) -> Option<Parcel> {
        self.come.pop().ok()
    }

    /// Gives a parcel back that was read.
    pub fn give_back(&mut self, parcel: Parcel) {
        // The ring has room for all parcels there are; without its other end nobody misses it.
        let _ = self.back.push(parcel);
    }

    /// Whether no parcel waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.come.is_empty()
    }

    /// Whether the other end is gone: its worker has ended, or its part of the session.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let is_abandoned = self.come.is_abandoned();
        fence(Ordering::Acquire);
        is_abandoned
    }
}

/// How many parcels a road has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoadRoom {
    /// Those from home, 1 or more.
    pub out: usize,
    /// Those towards home, 1 or more.
    pub home: usize,
}

impl Default for RoadRoom {
    fn default() -> Self {
        Self {
            out: ROAD_PARCELS_OUT,
            home: ROAD_PARCELS_HOME,
        }
    }
}

/// Makes a road from a session's home to an outpost; home's end comes first.
#[must_use]
pub fn road(home: &ControlEnd, outpost: &ControlEnd) -> (RoadEnd, RoadEnd) {
    road_with(home, outpost, RoadRoom::default())
}

/// The same, with another number of parcels.
#[must_use]
pub fn road_with(home: &ControlEnd, outpost: &ControlEnd, room: RoadRoom) -> (RoadEnd, RoadEnd) {
    let (away_out, away_come, away_back, away_empty) = lane(room.out);
    let (home_out, home_come, home_back, home_empty) = lane(room.home);
    let at_home = RoadEnd {
        out: away_out,
        empty: away_empty,
        come: home_come,
        back: home_back,
        packing: None,
        far_bell: outpost.worker_bell().clone(),
    };
    let at_outpost = RoadEnd {
        out: home_out,
        empty: home_empty,
        come: away_come,
        back: away_back,
        packing: None,
        far_bell: home.worker_bell().clone(),
    };
    (at_home, at_outpost)
}

type In = Producer<Parcel>;
type Out = Consumer<Parcel>;

/// One direction: where parcels go in and come out, and the same of their way back.
fn lane(parcels: usize) -> (In, Out, In, Out) {
    let parcels = parcels.max(1);
    let (out, come) = RingBuffer::new(parcels);
    let (mut back, empty) = RingBuffer::new(parcels);
    for _ in 0..parcels {
        // There is room for each of them.
        let _ = back.push(Parcel::new());
    }
    (out, come, back, empty)
}

const RECORD_BYTES: usize = 12;
const RTP: u8 = 0;
const RTCP: u8 = 1;
const _: () = assert!(ROAD_PARCEL_BYTES <= 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ring_pair;

    fn ends(parcels: usize) -> (RoadEnd, RoadEnd) {
        let bell = Doorbell::new().unwrap();
        let (home, _home_worker) = ring_pair(&bell).unwrap();
        let (outpost, _outpost_worker) = ring_pair(&bell).unwrap();
        let room = RoadRoom {
            out: parcels,
            home: parcels,
        };
        road_with(&home, &outpost, room)
    }

    fn letter<'a>(member: u32, head: &'a [u8], body: &'a [u8]) -> Letter<'a> {
        Letter {
            stream: StreamId(3),
            member: MemberId(member),
            part: Component::Rtp,
            head,
            body,
        }
    }

    #[test]
    fn letters_arrive_as_they_were_posted_and_share_their_bodies() {
        let (mut home, mut outpost) = ends(2);
        let body = [7; 1000];
        let rtcp = Letter {
            part: Component::Rtcp,
            ..letter(9, b"report", b"")
        };
        assert!(home.post(&rtcp));
        for member in 0..100 {
            assert!(home.post(&letter(member, b"head", &body)));
        }
        assert!(home.post(&letter(100, b"", b"other")));
        assert!(outpost.is_empty(), "not before it is flushed");
        home.flush();
        let parcel = outpost.take().unwrap();
        assert!(outpost.take().is_none(), "all are in one");
        let letters: Vec<_> = parcel.letters().collect();
        assert_eq!(letters.len(), 102);
        assert_eq!(letters[0], rtcp);
        for (member, posted) in (0..).zip(&letters[1..101]) {
            assert_eq!(*posted, letter(member, b"head", &body));
        }
        assert_eq!(letters[101], letter(100, b"", b"other"));
    }

    #[test]
    fn a_full_road_takes_no_more_until_a_parcel_comes_back() {
        let (mut home, mut outpost) = ends(2);
        let fills: Vec<u8> = (0..ROAD_PARCEL_BYTES - RECORD_BYTES)
            .map(|octet| u8::try_from(octet % 251).unwrap())
            .collect();
        assert!(home.post(&letter(1, &fills, b"")));
        assert!(home.post(&letter(2, &fills, b"")));
        assert!(!home.post(&letter(3, &fills, b"")));
        home.flush();
        let first = outpost.take().unwrap();
        assert_eq!(first.letters().next(), Some(letter(1, &fills, b"")));
        assert!(!home.post(&letter(3, &fills, b"")));
        outpost.give_back(first);
        assert!(home.post(&letter(4, &fills, b"")));
        home.flush();
        let members = std::iter::from_fn(|| outpost.take()).flat_map(|parcel| {
            parcel
                .letters()
                .map(|letter| letter.member.0)
                .collect::<Vec<_>>()
        });
        assert_eq!(members.collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_letter_that_no_parcel_holds_is_refused() {
        let (mut home, mut outpost) = ends(1);
        assert!(!home.post(&letter(1, &[0; ROAD_PARCEL_BYTES], b"")));
        assert!(home.post(&letter(2, b"fits", b"")));
        home.flush();
        assert_eq!(
            outpost.take().map(|parcel| parcel.letters().count()),
            Some(1)
        );
    }

    #[test]
    fn each_end_sees_that_the_other_one_is_gone() {
        let (home, outpost) = ends(1);
        assert!(!home.is_abandoned());
        drop(outpost);
        assert!(home.is_abandoned());
    }
}
