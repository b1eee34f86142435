//! The roads of a worker to others that share group sessions with it, and the legs at their far
//! ends.

use crate::api::{Component, LegFacts, OutpostId, RoadEnd, SessionId};
use crate::limits::ROADS_PER_WORKER;
use crate::proto::rtp::Loss;
use crate::stats::DropReason;
use crate::wire::rtcp;
use crate::wire::rtp::{Header, Packet};

/// A road's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoadRef(u32);

/// A road.
#[derive(Debug)]
pub struct Road {
    /// Whose.
    pub session: SessionId,
    /// Which of the session's.
    pub outpost: OutpostId,
    /// This worker's end.
    pub end: Box<RoadEnd>,
    /// Its members were told to be lost.
    pub is_lost: bool,
}

/// All roads of a worker, at most [`ROADS_PER_WORKER`] with the ends that control is to free.
#[derive(Debug, Default)]
pub struct Roads {
    places: Vec<Option<Road>>,
    /// What has ended: its parcels are freed by control, not here.
    #[expect(clippy::vec_box, reason = "they leave in the boxes that they came in")]
    ended: Vec<Box<RoadEnd>>,
}

impl Roads {
    /// How many more there may be.
    #[must_use]
    pub fn room(&self) -> usize {
        ROADS_PER_WORKER.saturating_sub(self.len() + self.ended.len())
    }

    /// Roads there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a road.
    pub fn add(&mut self, road: Road) {
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(road),
            None => self.places.push(Some(road)),
        }
    }

    /// Ends a session's roads, once what was posted is on its way.
    pub fn end_all(&mut self, session: SessionId) {
        for place in &mut self.places {
            if let Some(mut road) = place.take_if(|road| road.session == session) {
                road.end.flush();
                self.ended.push(road.end);
            }
        }
        self.shorten();
    }

    /// Ends a road that no seat and no room names any more.
    pub fn end(&mut self, road: RoadRef) {
        let place = self.places.get_mut(road.0 as usize);
        if let Some(mut road) = place.and_then(Option::take) {
            road.end.flush();
            self.ended.push(road.end);
        }
        self.shorten();
    }

    /// Takes a road's end back that nobody has used.
    pub fn take(&mut self, session: SessionId, outpost: OutpostId) -> Option<Box<RoadEnd>> {
        let road = self.find(session, outpost)?;
        let road = self.places.get_mut(road.0 as usize)?.take()?;
        self.shorten();
        Some(road.end)
    }

    /// The ends that control is to free.
    pub fn ended_mut(&mut self) -> &mut Vec<Box<RoadEnd>> {
        &mut self.ended
    }

    fn shorten(&mut self) {
        while self.places.pop_if(|place| place.is_none()).is_some() {}
    }

    /// The road of a session to an outpost.
    #[must_use]
    pub fn find(&self, session: SessionId, outpost: OutpostId) -> Option<RoadRef> {
        let is_it = |road: &Road| (road.session, road.outpost) == (session, outpost);
        let index = self
            .places
            .iter()
            .position(|place| place.as_ref().is_some_and(is_it))?;
        u32::try_from(index).ok().map(RoadRef)
    }

    /// A road.
    pub fn road_mut(&mut self, road: RoadRef) -> Option<&mut Road> {
        self.places.get_mut(road.0 as usize)?.as_mut()
    }

    /// Whether its members were told to be lost.
    #[must_use]
    pub fn is_lost(&self, road: RoadRef) -> bool {
        let place = self.places.get(road.0 as usize);
        place.is_none_or(|place| place.as_ref().is_none_or(|road| road.is_lost))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = RoadRef> + use<> {
        (0..u32::try_from(self.places.len()).unwrap_or(u32::MAX)).map(RoadRef)
    }

    /// Whether a parcel waits on any.
    #[must_use]
    pub fn has_parcels(&self) -> bool {
        let mut roads = self.places.iter().flatten();
        roads.any(|road| !road.end.is_empty())
    }

    /// Sends what is packed.
    pub fn flush(&mut self) {
        for road in self.places.iter_mut().flatten() {
            road.end.flush();
        }
    }
}

/// A member's leg at an outpost, as its home sees it.
#[derive(Debug)]
pub struct AwayLeg {
    /// Which way it is.
    pub road: RoadRef,
    /// Control is to be told that it is lost.
    pub lost_untold: bool,
    packets: u64,
    bytes: u64,
    rtcp_packets: u64,
    dropped: u64,
    loss: Loss,
}

impl AwayLeg {
    /// Makes one that nothing came from.
    #[must_use]
    pub fn new(road: RoadRef) -> Self {
        Self {
            road,
            lost_untold: false,
            packets: 0,
            bytes: 0,
            rtcp_packets: 0,
            dropped: 0,
            loss: Loss::default(),
        }
    }

    /// Takes a datagram that came from its far end, and has passed the outpost's leg.
    ///
    /// # Errors
    ///
    /// It isn't what it was posted as.
    pub fn receive(&mut self, part: Component, datagram: &[u8]) -> Result<Packet, DropReason> {
        match part {
            Component::Rtp => {
                let header = Header::parse(datagram).ok_or(DropReason::NotRtp)?;
                self.packets += 1;
                self.bytes += datagram.len() as u64;
                self.loss.received(&header);
                Ok(Packet::Rtp(header))
            }
            Component::Rtcp if rtcp::is_valid(datagram) => {
                self.rtcp_packets += 1;
                Ok(Packet::Rtcp)
            }
            Component::Rtcp => Err(DropReason::NotRtp),
        }
    }

    /// What was lost of what came from it.
    #[must_use]
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Counts a datagram of it that was dropped.
    pub fn count_drop(&mut self) {
        self.dropped += 1;
    }

    /// What came from it, but for its age and its address.
    #[must_use]
    pub fn facts(&self) -> LegFacts {
        LegFacts {
            packets: self.packets,
            bytes: self.bytes,
            rtcp_packets: self.rtcp_packets,
            lost: self.loss.lost(),
            dropped: self.dropped,
            ..LegFacts::default()
        }
    }
}
