//! What becomes of each m-line of a new offer: relayed as it was, anew, or refused.

use std::net::IpAddr;

use dataplane::api::{LegLocal, MsrpTransport, Side, StreamSet};
use dataplane::limits::STREAMS_PER_SESSION;

use super::far::{self, Setup, Why};
use super::join::Ends;
use super::msrp;
use super::stream::{Make, Stream};
use super::trunk::Terms;
use super::{Ledger, Media, Policy, Refused, Slot};
use crate::sdp::{Connection, MediaDescription, Proto, Sdp};

/// One m-line of a proposal.
#[derive(Debug)]
pub(super) struct Draft {
    /// The m-line as it looks at port 0.
    pub(super) line: MediaDescription,
    pub(super) fate: Fate,
}

/// What becomes of an m-line.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is at port 0 on both sides.
    Off,
    /// It is offered to the far side.
    Offered(Box<Offered>),
}

/// A stream that is offered.
///
/// One that is offered with CEMA may become either kind, as its answer has CEMA or not, so both are
/// opened: the bytes', whose port c= and m= name, and a back-to-back one beside it, which costs no
/// port. A far side without CEMA was told the offerer's path and certificate then, so it is offered
/// the stream anew, with the relay's own.
///
/// ```text
/// bytes ──answer with CEMA──▶ both ends joined
///   └────answer without──▶ back to back, offerer joined ──offered anew──▶ settled, both ends joined
/// ```
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) stream: Stream,
    stage: Stage,
    /// What the line may become instead.
    other: Option<(Stream, Stage)>,
    /// The far side was offered anew what was chosen: there is no way back.
    is_settled: bool,
    /// The latest answer accepted it.
    pub(super) is_accepted: bool,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was there before.
    Kept,
    /// It is new, and the worker doesn't know it.
    Planned,
    /// The worker was, or is being, ordered to open it.
    Ordered,
}

impl Offered {
    fn new(stream: Stream, stage: Stage) -> Self {
        Self {
            stream,
            stage,
            other: None,
            is_settled: false,
            is_accepted: false,
        }
    }

    /// Takes the kind of stream that an answer chooses; which ends it joins.
    pub(super) fn choose(
        &mut self,
        offered: &MediaDescription,
        answered: &MediaDescription,
    ) -> Result<Ends, Why> {
        let is_bytes = matches!(self.stream.make, Make::Bytes { .. });
        let is_open = offered.has("msrp-cema") && (is_bytes || self.other.is_some());
        if !is_open || self.is_settled {
            return Ok(Ends::Both);
        }
        let passes = answered.has("msrp-cema");
        if is_bytes != passes {
            let (stream, stage) = self.other.take().ok_or(Why::NoCema)?;
            let stream = std::mem::replace(&mut self.stream, stream);
            self.other = Some((stream, std::mem::replace(&mut self.stage, stage)));
        }
        Ok(if passes { Ends::Both } else { Ends::Offerer })
    }

    /// Whether only the offerer's end is joined.
    fn is_to_be_offered_again(&self) -> bool {
        let is_chosen = matches!(self.stream.make, Make::Msrp(_)) && self.other.is_some();
        self.is_accepted && is_chosen && !self.is_settled
    }

    /// The far side is offered what was chosen, where an answer has chosen.
    pub(super) fn settle_on_choice(&mut self, far: Side) {
        if self.is_to_be_offered_again() {
            self.is_settled = true;
            self.stream.cema[far.index()] = Some(false);
        }
    }

    /// The streams that it may become.
    pub(super) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        let other = self.other.as_mut().map(|(stream, _)| stream);
        std::iter::once(&mut self.stream).chain(other)
    }

    /// Those that the worker is to be told of, once.
    pub(super) fn take_planned(&mut self) -> impl Iterator<Item = &Stream> {
        let other = self.other.as_mut().map(|(stream, stage)| (&*stream, stage));
        let both = std::iter::once((&self.stream, &mut self.stage)).chain(other);
        both.filter_map(|(stream, stage)| {
            let is_planned = *stage == Stage::Planned;
            is_planned.then(|| {
                *stage = Stage::Ordered;
                stream
            })
        })
    }

    /// Those that were opened for this offer.
    pub(super) fn opened(&self) -> StreamSet {
        let other = self.other.as_ref().map(|(stream, stage)| (stream, stage));
        let both = std::iter::once((&self.stream, &self.stage)).chain(other);
        both.filter(|(_, stage)| **stage == Stage::Ordered)
            .fold(StreamSet::default(), |set, (stream, _)| set.with(stream.id))
    }
}

impl Draft {
    /// The transport protocol that the far side's answer must have.
    pub(super) fn far_proto(&self, far: Side) -> Proto {
        match self.offered().map(|offered| offered.stream.make) {
            Some(Make::Msrp(transports)) => Proto::Msrp {
                tls: transports[far.index()].is_secure(),
            },
            Some(Make::Rtp { .. } | Make::Bytes { .. }) | None => self.line.proto(),
        }
    }

    /// See [`super::Answered::offer_again`].
    pub(super) fn is_to_be_offered_again(&self) -> bool {
        self.offered().is_some_and(Offered::is_to_be_offered_again)
    }

    pub(super) fn offered(&self) -> Option<&Offered> {
        match &self.fate {
            Fate::Offered(offered) => Some(offered),
            Fate::Off => None,
        }
    }

    pub(super) fn offered_mut(&mut self) -> Option<&mut Offered> {
        match &mut self.fate {
            Fate::Offered(offered) => Some(offered),
            Fate::Off => None,
        }
    }

    /// The slot that it becomes once it is settled.
    pub(super) fn into_slot(self) -> Slot {
        let stream = match self.fate {
            Fate::Offered(offered) if offered.is_accepted => Some(offered.stream),
            Fate::Offered(_) | Fate::Off => None,
        };
        Slot {
            line: self.line,
            stream,
        }
    }
}

/// Drafts every m-line of an offer, then those that it left out at its end (CON-12).
pub(super) fn drafts(
    media: &Media,
    from: Side,
    offer: &Sdp,
    policy: Policy,
) -> Result<Vec<Draft>, Refused> {
    let drafter = Drafter {
        terms: &media.terms,
        ledger: &media.ledger,
        from,
        far_is_v6: media.spoken[from.other().index()].is_v6,
        is_repeated: media.spoken[from.index()].heard == *offer.origin(),
        offer,
    };
    let mut in_use = media.live();
    let mut refused = None;
    let mut drafts = Vec::with_capacity(offer.media_count().max(media.slots.len()));
    for (index, line) in offer.media().iter().enumerate() {
        let known = media.slots.get(index).and_then(|slot| slot.stream.as_ref());
        let fate = match drafter.fate(line, known, policy, &mut in_use) {
            Ok(fate) => fate,
            Err(why) => {
                refused.get_or_insert(why);
                Fate::Off
            }
        };
        let line = line.disabled();
        drafts.push(Draft { line, fate });
    }
    drafter.plan_others(&mut drafts, &mut in_use);
    let offers_any = drafts.iter().any(|draft| draft.offered().is_some());
    let left_out = media.slots.iter().skip(drafts.len()).map(|slot| Draft {
        line: slot.line.clone(),
        fate: Fate::Off,
    });
    if left_out.len() > 0 {
        tracing::debug!(lines = left_out.len(), "an offer leaves lines out");
    }
    drafts.extend(left_out);
    match refused {
        Some(why) if !offers_any => Err(why.refused()),
        None if drafts.is_empty() => Err(Why::Barred.refused()),
        _ => Ok(drafts),
    }
}

/// In which family the author of a description speaks: that of its first stream in use that
/// isn't held in the old way.
pub(super) fn speaks_v6(sdp: &Sdp) -> Option<bool> {
    let in_use = sdp.media().iter().filter(|line| line.port() != 0);
    let mut connections = in_use.filter_map(|line| sdp.connection(line));
    let is_said = |connection: &Connection| !connection.ip.is_some_and(|ip| ip.is_unspecified());
    connections.find(is_said).map(|connection| connection.is_v6)
}

struct Drafter<'a> {
    terms: &'a Terms,
    ledger: &'a Ledger,
    from: Side,
    far_is_v6: Option<bool>,
    /// The offerer says that it offers what it said last (RFC 3264 §8).
    is_repeated: bool,
    offer: &'a Sdp,
}

impl Drafter<'_> {
    fn fate(
        &self,
        line: &MediaDescription,
        known: Option<&Stream>,
        policy: Policy,
        in_use: &mut StreamSet,
    ) -> Result<Fate, Why> {
        if line.port() == 0 {
            return Ok(Fate::Off);
        }
        if !policy.allows(line.kind()) {
            return Err(Why::Barred);
        }
        let make = self.make(line, known)?;
        let known = known.filter(|known| known.kind == line.kind() && known.make.continues(make));
        let is_held = matches!(make, Make::Rtp { .. }) && far::holds(self.offer, line);
        let (stream, stage) = match known {
            // The old hold names no address, so it tells nothing about the family either.
            Some(known) if is_held => (known.clone(), Stage::Kept),
            _ => self.keep_or_plan(line, make, known, in_use)?,
        };
        Ok(Fate::Offered(Box::new(Offered::new(stream, stage))))
    }

    /// Plans what streams become whose answer lacks CEMA; after all else, as they may do without.
    /// A repeated offer only refreshes the session: its answer has CEMA as it had.
    fn plan_others(&self, drafts: &mut [Draft], in_use: &mut StreamSet) {
        for (draft, line) in drafts.iter_mut().zip(self.offer.media()) {
            let Some(offered) = draft.offered_mut() else {
                continue;
            };
            let is_bytes = matches!(offered.stream.make, Make::Bytes { .. });
            let is_refreshed = self.is_repeated && offered.stage == Stage::Kept;
            if !is_bytes || is_refreshed || !line.has("msrp-cema") {
                continue;
            }
            let transport = msrp::path(line).and_then(|(_, hop)| self.carry(line, hop.transport));
            let other = transport.and_then(|transport| {
                let make = Make::Msrp([transport; 2]);
                self.plan(line, make, offered.stream.local_ip, in_use)
            });
            offered.other = other.ok().map(|stream| (stream, Stage::Planned));
        }
    }

    /// The stream that goes on, unless its client has changed its family; else a new one.
    fn keep_or_plan(
        &self,
        line: &MediaDescription,
        make: Make,
        known: Option<&Stream>,
        in_use: &mut StreamSet,
    ) -> Result<(Stream, Stage), Why> {
        let local_ip = self.local_ip(line, make)?;
        let near = self.from.index();
        match known {
            Some(known) if known.local_ip[near].is_ipv6() == local_ip[near].is_ipv6() => {
                Ok((known.clone(), Stage::Kept))
            }
            _ => Ok((self.plan(line, make, local_ip, in_use)?, Stage::Planned)),
        }
    }

    /// A new stream.
    fn plan(
        &self,
        line: &MediaDescription,
        make: Make,
        local_ip: [IpAddr; 2],
        in_use: &mut StreamSet,
    ) -> Result<Stream, Why> {
        if usize::try_from(in_use.0.count_ones()).is_ok_and(|live| live >= STREAMS_PER_SESSION) {
            return Err(Why::TooMany);
        }
        let id = self.ledger.next_stream(*in_use).ok_or(Why::TooMany)?;
        *in_use = in_use.with(id);
        Ok(Stream {
            id,
            kind: line.kind(),
            make,
            local_ip,
            local: [LegLocal::Unbound, LegLocal::Unbound],
            told: [None, None],
            cema: [None, None],
        })
    }

    /// What the legs of a line's stream are to be made of.
    fn make(&self, line: &MediaDescription, known: Option<&Stream>) -> Result<Make, Why> {
        match line.proto() {
            // Layered media would need as many ports on each leg.
            Proto::Rtp if line.port_count() != 1 => Err(Why::Transport),
            Proto::Rtp => {
                far::media_ip(self.offer, line)?;
                let mux_only = line.has("rtcp-mux-only");
                Ok(Make::Rtp { mux_only })
            }
            Proto::Bfcp { tls } => Ok(Make::Bytes { tls }),
            Proto::Msrp { tls } => self.make_msrp(line, tls, known),
            Proto::Other => Err(Why::Transport),
        }
    }

    fn make_msrp(
        &self,
        line: &MediaDescription,
        tls: bool,
        known: Option<&Stream>,
    ) -> Result<Make, Why> {
        let near = msrp::path(line).map(|(_, hop)| hop.transport);
        let known = match known.map(|known| known.make) {
            Some(Make::Msrp(transports)) => Some(transports),
            Some(Make::Rtp { .. } | Make::Bytes { .. }) | None => None,
        };
        // A session that began back to back stays so: the other side doesn't know CEMA.
        if line.has("msrp-cema") && known.is_none() && self.passes(near) {
            return Ok(Make::Bytes { tls });
        }
        let near = self.carry(line, near?)?;
        let (from, to) = (self.from, self.from.other());
        let mut transports = [near; 2];
        transports[to.index()] = match known {
            Some(known) if known[from.index()] == near => known[to.index()],
            Some(_) | None => self.terms.carry(self.terms.transport(to, near))?,
        };
        Ok(Make::Msrp(transports))
    }

    /// Whether the bytes of a CEMA stream may pass; what carries it is nothing to them, unless one
    /// side is to have another transport than the other.
    fn passes(&self, near: Result<MsrpTransport, Why>) -> bool {
        let is_same = near.map_or(true, |near| {
            !msrp::is_web(near) && self.terms.transport(self.from.other(), near) == near
        });
        is_same && self.terms.passes()
    }

    /// Refuses what can't carry a line of the offerer.
    fn carry(&self, line: &MediaDescription, near: MsrpTransport) -> Result<MsrpTransport, Why> {
        let setup = Setup::of(self.offer, line);
        // A WebSocket client can't be connected to (RFC 7977 §5).
        if msrp::is_web(near) && setup == Some(Setup::Passive) {
            return Err(Why::Transport);
        }
        if near.is_secure() {
            self.terms.fingerprint(self.offer, line)?;
        }
        self.terms.carry(near)
    }

    /// The relay's addresses for a line, of side A and side B: each of the family that the side
    /// itself speaks, as far as known.
    fn local_ip(&self, line: &MediaDescription, make: Make) -> Result<[IpAddr; 2], Why> {
        let connection = self.offer.connection(line).ok_or(Why::Address)?;
        let settings = &self.terms.settings;
        let near = settings.address(connection.is_v6).ok_or(Why::Address)?;
        // Only a leg that connects needs an address; a name will do for one that waits.
        if matches!(make, Make::Rtp { .. }) && connection.ip.is_none() {
            return Err(Why::Address);
        }
        let far = self
            .far_is_v6
            .and_then(|is_v6| settings.address(is_v6))
            .unwrap_or(near);
        Ok(match self.from {
            Side::A => [near, far],
            Side::B => [far, near],
        })
    }
}
