//! What becomes of each m-line of a new offer: relayed as it was, anew, or refused.

use std::net::IpAddr;

use dataplane::api::{LegLocal, Side, StreamSet};
use dataplane::limits::STREAMS_PER_SESSION;

use super::far::{self, Why};
use super::stream::{Make, Stream};
use super::{Cema, Ledger, Media, Policy, Refused, Settings, Slot};
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
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) stream: Stream,
    pub(super) stage: Stage,
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

impl Draft {
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
        settings: &media.settings,
        ledger: &media.ledger,
        from,
        far_is_v6: media.spoken[from.other().index()].is_v6,
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
    let offers_any = drafts.iter().any(|draft| draft.offered().is_some());
    let left_out = media.slots.iter().skip(drafts.len()).map(|slot| Draft {
        line: slot.line.clone(),
        fate: Fate::Off,
    });
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
    settings: &'a Settings,
    ledger: &'a Ledger,
    from: Side,
    far_is_v6: Option<bool>,
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
        Ok(Fate::Offered(Box::new(Offered {
            stream,
            stage,
            is_accepted: false,
        })))
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
            Proto::Msrp { tls } => {
                // A session that began back to back stays so: the other side doesn't know CEMA.
                let is_back_to_back = known.is_some_and(|known| known.make == Make::Msrp);
                if self.settings.cema == Cema::PassThrough
                    && line.has("msrp-cema")
                    && !is_back_to_back
                {
                    Ok(Make::Bytes { tls })
                } else if tls {
                    // A leg of its own would need a certificate that the far end trusts.
                    Err(Why::Transport)
                } else {
                    far::msrp_path(line)?;
                    Ok(Make::Msrp)
                }
            }
            Proto::Other => Err(Why::Transport),
        }
    }

    /// The relay's addresses for a line, of side A and side B: each of the family that the side
    /// itself speaks, as far as known.
    fn local_ip(&self, line: &MediaDescription, make: Make) -> Result<[IpAddr; 2], Why> {
        let connection = self.offer.connection(line).ok_or(Why::Address)?;
        let near = self
            .settings
            .address(connection.is_v6)
            .ok_or(Why::Address)?;
        // Only a leg that connects needs an address; a name will do for one that waits.
        if matches!(make, Make::Rtp { .. }) && connection.ip.is_none() {
            return Err(Why::Address);
        }
        let far = self
            .far_is_v6
            .and_then(|is_v6| self.settings.address(is_v6))
            .unwrap_or(near);
        Ok(match self.from {
            Side::A => [near, far],
            Side::B => [far, near],
        })
    }
}
