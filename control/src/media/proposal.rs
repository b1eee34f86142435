//! An offer on its way to its answer: plans new streams, rewrites both descriptions.

use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use dataplane::api::{Act, LegLocal, Side, StreamSet};
use dataplane::limits::STREAMS_PER_SESSION;

use super::far::{self, Setup, Why};
use super::join::{End, join};
use super::stream::{Make, Stream, bound};
use super::write::{self, Role};
use super::{Cema, Ledger, Media, Policy, Refused, Settings, Slot, Spoken};
use crate::sdp::{MediaDescription, Proto, Sdp};

/// An offer that isn't settled yet. It must end in [`Self::commit`] or [`Self::abandon`].
#[derive(Debug)]
#[must_use = "the streams that it opened are released by commit or abandon"]
pub struct Proposal {
    settings: Arc<Settings>,
    ledger: Arc<Ledger>,
    from: Side,
    offer: Sdp,
    /// The offer's m-lines, then those that it left out at its end (CON-12).
    drafts: Vec<Draft>,
    spoken: [Spoken; 2],
    is_answered: bool,
}

/// What an answer led to.
#[derive(Debug)]
pub struct Answered {
    /// [`Act::Connect`] for the legs whose far end or direction is news.
    pub acts: Vec<Act>,
    /// The answer for the side that offered.
    pub to_offerer: Bytes,
    /// Streams that were opened for this offer and that this answer refuses. The answer of
    /// another fork may still accept them: [`Proposal::commit`] names them for release.
    pub refused: StreamSet,
}

/// One m-line of the proposal.
#[derive(Debug)]
struct Draft {
    /// The m-line as it looks at port 0.
    line: MediaDescription,
    fate: Fate,
}

/// What becomes of an m-line.
#[derive(Debug)]
enum Fate {
    /// It is at port 0 on both sides.
    Off,
    /// It is offered to the far side.
    Offered {
        stream: Stream,
        stage: Stage,
        /// The latest answer accepted it.
        accepted: bool,
    },
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was there before.
    Kept,
    /// It is new, and the worker doesn't know it.
    Planned,
    /// The worker was, or is being, ordered to open it.
    Ordered,
}

impl Proposal {
    /// See [`Media::offer`].
    pub(super) fn draft(
        media: &Media,
        from: Side,
        sdp: &[u8],
        policy: &Policy,
    ) -> Result<Self, Refused> {
        let offer = Sdp::parse(sdp).map_err(|error| Refused::not_acceptable(399, error))?;
        let mut proposal = Self {
            settings: Arc::clone(&media.settings),
            ledger: Arc::clone(&media.ledger),
            from,
            drafts: Vec::with_capacity(offer.media_count().max(media.slots.len())),
            offer,
            spoken: media.spoken.clone(),
            is_answered: false,
        };
        proposal.draft_lines(media, policy)?;
        let left_out = media.slots.iter().skip(proposal.drafts.len());
        let left_out = left_out.map(|slot| Draft {
            line: slot.line.clone(),
            fate: Fate::Off,
        });
        proposal.drafts.extend(left_out);
        Ok(proposal)
    }

    fn draft_lines(&mut self, media: &Media, policy: &Policy) -> Result<(), Refused> {
        self.hear_family(self.from, &self.offer.clone());
        let mut in_use = media.live();
        let mut refused = None;
        for (index, line) in self.offer.media().iter().enumerate() {
            let known = media.slots.get(index).and_then(|slot| slot.stream.as_ref());
            let fate = if line.port() == 0 {
                Fate::Off
            } else if policy.allows(line.kind()) {
                match self.draft_stream(line, known, &mut in_use) {
                    Ok((stream, stage)) => Fate::Offered {
                        stream,
                        stage,
                        accepted: false,
                    },
                    Err(why) => {
                        refused.get_or_insert(why);
                        Fate::Off
                    }
                }
            } else {
                refused.get_or_insert(Why::Barred);
                Fate::Off
            };
            let line = line.disabled();
            self.drafts.push(Draft { line, fate });
        }
        let offers_any = self.drafts.iter().any(|draft| draft.is_offered());
        match refused {
            Some(why) if !offers_any => Err(why.refused()),
            None if self.drafts.is_empty() && media.slots.is_empty() => Err(Why::Barred.refused()),
            _ => Ok(()),
        }
    }

    /// The stream of a line: the one that its slot has, or a new one.
    fn draft_stream(
        &self,
        line: &MediaDescription,
        known: Option<&Stream>,
        in_use: &mut StreamSet,
    ) -> Result<(Stream, Stage), Why> {
        let make = self.make(line, known)?;
        let local_ip = self.local_ip(line, make)?;
        let near = self.from.index();
        if let Some(known) = known.filter(|known| {
            known.kind == line.kind()
                && known.make.continues(make)
                && known.local_ip[near].is_ipv6() == local_ip[near].is_ipv6()
        }) {
            return Ok((known.clone(), Stage::Kept));
        }
        if usize::try_from(in_use.0.count_ones()).is_ok_and(|live| live >= STREAMS_PER_SESSION) {
            return Err(Why::TooMany);
        }
        let id = self.ledger.next_stream(*in_use).ok_or(Why::TooMany)?;
        *in_use = in_use.with(id);
        let stream = Stream {
            id,
            kind: line.kind(),
            make,
            local_ip,
            local: [LegLocal::Unbound, LegLocal::Unbound],
            told: [None, None],
        };
        Ok((stream, Stage::Planned))
    }

    /// What the legs of a line's stream are to be made of.
    fn make(&self, line: &MediaDescription, known: Option<&Stream>) -> Result<Make, Why> {
        match line.proto() {
            // Layered media would need as many ports on each leg.
            Proto::Rtp if line.port_count() != 1 => Err(Why::Transport),
            Proto::Rtp => {
                far::media_ip(&self.offer, line)?;
                let mux_only = line.has("rtcp-mux-only");
                Ok(Make::Rtp { mux_only })
            }
            Proto::Bfcp { tls } => Ok(Make::Bytes { tls }),
            Proto::Msrp { tls } => {
                // A session that began back to back stays so: the other side doesn't know CEMA.
                let is_back_to_back = known.is_some_and(|known| known.make == Make::Msrp);
                let path = line.attribute("path").and_then(far::first_hop);
                if self.settings.cema == Cema::PassThrough
                    && line.has("msrp-cema")
                    && !is_back_to_back
                {
                    Ok(Make::Bytes { tls })
                } else if tls {
                    Err(Why::Transport)
                } else if path.is_some_and(|hop| !hop.tls) {
                    Ok(Make::Msrp)
                } else {
                    Err(Why::Path)
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
        let needs_ip = matches!(make, Make::Rtp { .. });
        if needs_ip && connection.ip.is_none() {
            return Err(Why::Address);
        }
        let known = self.spoken[self.from.other().index()].is_v6;
        let far = known
            .and_then(|is_v6| self.settings.address(is_v6))
            .unwrap_or(near);
        Ok(match self.from {
            Side::A => [near, far],
            Side::B => [far, near],
        })
    }

    /// Remembers in which family a side speaks.
    fn hear_family(&mut self, side: Side, sdp: &Sdp) {
        let in_use = sdp.media().iter().filter(|line| line.port() != 0);
        let mut families = in_use.filter_map(|line| Some(sdp.connection(line)?.is_v6));
        if let Some(is_v6) = families.next() {
            self.spoken[side.index()].is_v6 = Some(is_v6);
        }
    }

    /// Gives [`Act::Open`] for the streams that are new in this offer, once. They count as opened
    /// from now on.
    pub fn take_opens(&mut self) -> Vec<Act> {
        let mut opens = Vec::new();
        for draft in &mut self.drafts {
            if let Fate::Offered { stream, stage, .. } = &mut draft.fate
                && *stage == Stage::Planned
            {
                *stage = Stage::Ordered;
                opens.push(Act::Open(stream.plan(&self.settings)));
            }
        }
        opens
    }

    /// Takes the acts back with what the worker bound; acts of other kinds are passed over.
    pub fn opened(&mut self, acts: Vec<Act>) {
        for act in acts {
            let Act::Open(plan) = act else { continue };
            let streams = self.drafts.iter_mut().filter_map(Draft::stream_mut);
            if let Some(stream) = streams.into_iter().find(|own| own.id == plan.stream) {
                stream.local = plan.local;
            }
        }
    }

    /// Writes the offer for the other side; unchanged, and so with an unchanged version, where
    /// that side would learn nothing new.
    ///
    /// # Errors
    ///
    /// 500 when the streams' ports are not bound: [`Self::opened`] was not told of them.
    pub fn offer_to_far(&mut self) -> Result<Bytes, Refused> {
        let to = self.from.other();
        let mut sdp = self.offer.clone();
        for (index, draft) in self.drafts.iter().enumerate() {
            let line = match &draft.fate {
                Fate::Off => draft.line.clone(),
                Fate::Offered { stream, .. } => {
                    let source = self.offer.media().get(index).unwrap_or(&draft.line);
                    let end = End {
                        side: self.from,
                        sdp: &self.offer,
                        line: source,
                    };
                    let flow = end.flow_of_hold(stream.make);
                    let role = Role::Offer { flow };
                    write::line(source, stream, to, &role).ok_or_else(unbound)?
                }
            };
            match sdp.media_mut().get_mut(index) {
                Some(place) => *place = line,
                None => sdp.media_mut().push(line),
            }
        }
        Ok(self.send(to, sdp))
    }

    /// Takes an answer of the far side, of a provisional response or the final one; the latest
    /// counts.
    ///
    /// # Errors
    ///
    /// 488 when the description can't be read or doesn't fit the offer, or when the relay must
    /// refuse every stream that it accepts.
    pub fn answer(&mut self, sdp: &[u8]) -> Result<Answered, Refused> {
        let answer = Sdp::parse(sdp).map_err(|error| Refused::not_acceptable(399, error))?;
        self.fit(&answer)?;
        let mut acts = Vec::new();
        let mut refused = StreamSet::default();
        let (mut why, mut accepts_any) = (None, false);
        let mut drafts = mem::take(&mut self.drafts);
        for (draft, (index, line)) in drafts.iter_mut().zip(answer.media().iter().enumerate()) {
            let Fate::Offered {
                stream,
                stage,
                accepted,
            } = &mut draft.fate
            else {
                continue;
            };
            *accepted = false;
            if line.port() != 0 {
                let offered = self.offer.media().get(index).ok_or_else(misfit)?;
                let near = End {
                    side: self.from,
                    sdp: &self.offer,
                    line: offered,
                };
                let far = End {
                    side: self.from.other(),
                    sdp: &answer,
                    line,
                };
                match join(stream, &near, &far) {
                    Ok(connects) => {
                        *accepted = true;
                        acts.extend(connects);
                    }
                    Err(reason) => why = why.or(Some(reason)),
                }
            }
            accepts_any |= *accepted;
            if !*accepted && *stage != Stage::Kept {
                refused = refused.with(stream.id);
            }
        }
        self.drafts = drafts;
        match why {
            Some(why) if !accepts_any => return Err(why.refused()),
            _ => {}
        }
        self.hear_family(self.from.other(), &answer);
        let to_offerer = self.answer_to_offerer(&answer)?;
        self.is_answered = true;
        Ok(Answered {
            acts,
            to_offerer,
            refused,
        })
    }

    /// Checks an answer's form against the offer that the far side has (RFC 3264 §6).
    fn fit(&self, answer: &Sdp) -> Result<(), Refused> {
        if answer.media_count() != self.drafts.len() {
            return Err(misfit());
        }
        for (draft, line) in self.drafts.iter().zip(answer.media()) {
            let is_used = draft.is_offered() && line.port() != 0;
            if !draft.line.same_media(line)
                || (is_used && draft.line.proto() != line.proto())
                || (is_used && line.port_count() != 1)
            {
                let text = "Answer has another media type or transport than the offer";
                return Err(Refused::not_acceptable(399, text));
            }
        }
        Ok(())
    }

    /// Writes the answer for the side that offered: a line for each of its lines.
    fn answer_to_offerer(&mut self, answer: &Sdp) -> Result<Bytes, Refused> {
        let mut sdp = answer.clone();
        sdp.media_mut().clear();
        let offered = self.offer.media().iter();
        for ((draft, source), offered) in self.drafts.iter().zip(answer.media()).zip(offered) {
            let line = match &draft.fate {
                Fate::Offered {
                    stream,
                    accepted: true,
                    ..
                } => {
                    let end = End {
                        side: self.from.other(),
                        sdp: answer,
                        line: source,
                    };
                    let role = Role::Answer {
                        offered,
                        setup: Setup::answer_to(Setup::of(&self.offer, offered)),
                        flow: end.flow_of_hold(stream.make),
                    };
                    write::line(source, stream, self.from, &role).ok_or_else(unbound)?
                }
                Fate::Off | Fate::Offered { .. } => draft.line.clone(),
            };
            sdp.media_mut().push(line);
        }
        Ok(self.send(self.from, sdp))
    }

    /// Finishes a description for a side: addresses, o-line, version.
    fn send(&mut self, to: Side, mut sdp: Sdp) -> Bytes {
        let ips: Vec<_> = self
            .drafts
            .iter()
            .map(|draft| match &draft.fate {
                Fate::Offered { stream, .. } => bound(stream.local(to)).map(|local| local.ip()),
                Fate::Off => None,
            })
            .collect();
        let own = ips.iter().flatten().next().copied();
        let address = own.unwrap_or_else(|| self.own_address(to));
        write::addresses(&mut sdp, address, &ips);
        write::session(&mut sdp);
        let id = self.ledger.session_id(to);
        let spoken = &mut self.spoken[to.index()];
        if let Some((version, bytes)) = &spoken.sent {
            sdp.set_origin(id, *version, address);
            if sdp.to_bytes() == *bytes {
                return bytes.clone();
            }
        }
        let version = self.ledger.next_version(to);
        sdp.set_origin(id, version, address);
        let bytes = sdp.to_bytes();
        spoken.sent = Some((version, bytes.clone()));
        bytes
    }

    /// The relay's address towards a side that no stream is left for.
    fn own_address(&self, to: Side) -> IpAddr {
        let spoken = [to, to.other()].map(|side| self.spoken[side.index()].is_v6);
        let wanted = spoken.into_iter().flatten().chain([false, true]);
        wanted
            .filter_map(|is_v6| self.settings.address(is_v6))
            .next()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// The negotiation is complete: what the latest answer settled holds. Names the streams that
    /// must be released now: offered or answered at port 0, left out or replaced.
    #[must_use = "these streams are to be released"]
    pub fn commit(self, media: &mut Media) -> StreamSet {
        let opened = self.opened_streams();
        if !self.is_answered {
            return opened;
        }
        let slots = self.drafts.into_iter().map(|draft| Slot {
            line: draft.line,
            stream: match draft.fate {
                Fate::Offered {
                    stream,
                    accepted: true,
                    ..
                } => Some(stream),
                Fate::Off | Fate::Offered { .. } => None,
            },
        });
        let gone = media.settle(slots.collect(), self.spoken);
        let unused = StreamSet(opened.0 & !media.live().0);
        StreamSet(gone.0 | unused.0)
    }

    /// The negotiation failed: names the streams that were opened for it, to be released. Where
    /// an answer came and its acts were ordered, [`Media::restore`] undoes them.
    #[must_use = "these streams are to be released"]
    pub fn abandon(self) -> StreamSet {
        self.opened_streams()
    }

    fn opened_streams(&self) -> StreamSet {
        let fates = self.drafts.iter().map(|draft| &draft.fate);
        fates.fold(StreamSet::default(), |set, fate| match fate {
            Fate::Offered {
                stream,
                stage: Stage::Ordered,
                ..
            } => set.with(stream.id),
            Fate::Offered { .. } | Fate::Off => set,
        })
    }
}

impl Draft {
    fn is_offered(&self) -> bool {
        matches!(self.fate, Fate::Offered { .. })
    }

    fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.fate {
            Fate::Offered { stream, .. } => Some(stream),
            Fate::Off => None,
        }
    }
}

fn unbound() -> Refused {
    Refused {
        code: 500,
        warning: "399 midpath \"Media ports are not bound\"".to_owned(),
    }
}

fn misfit() -> Refused {
    let text = "Answer has another number of streams than the offer";
    Refused::not_acceptable(399, text)
}
