//! An offer on its way to its answer: has streams opened, and rewrites both descriptions.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use dataplane::api::{Act, Side, StreamSet};

use super::draft::{self, Draft};
use super::far::Setup;
use super::join::{End, join};
use super::stream::bound;
use super::trunk::Terms;
use super::write::{self, Role};
use super::{Ledger, Media, Policy, Refused, Spoken};
use crate::sdp::{MediaDescription, Sdp};

/// An offer that isn't settled yet. It must end in [`Self::commit`] or [`Self::abandon`].
#[derive(Debug)]
#[must_use = "the streams that it opened are released by commit or abandon"]
pub struct Proposal {
    terms: Arc<Terms>,
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
    /// [`Act::Connect`] for the legs whose far end or direction is news to the worker.
    pub acts: Vec<Act>,
    /// The answer for the side that offered.
    pub to_offerer: Bytes,
    /// Streams that were opened for this offer and that this answer refuses. The answer of
    /// another fork may still accept them: [`Proposal::commit`] names them for release.
    pub refused: StreamSet,
    /// The far side knows no CEMA (RFC 6714), and its leg isn't connected: it must be offered the
    /// stream anew, without, by [`Proposal::offer_to_far`]; its answer to that is the one that
    /// counts.
    pub offer_again: bool,
}

impl Proposal {
    /// See [`Media::offer`].
    pub(super) fn new(
        media: &Media,
        from: Side,
        sdp: &[u8],
        policy: Policy,
    ) -> Result<Self, Refused> {
        let offer = Sdp::parse(sdp).map_err(|error| Refused::not_acceptable(399, error))?;
        let mut proposal = Self {
            terms: Arc::clone(&media.terms),
            ledger: Arc::clone(&media.ledger),
            from,
            drafts: draft::drafts(media, from, &offer, policy)?,
            offer,
            spoken: media.spoken.clone(),
            is_answered: false,
        };
        proposal.spoken[from.index()].hear(&proposal.offer);
        Ok(proposal)
    }

    /// Gives [`Act::Open`] for the streams that are new in this offer, once. They count as opened
    /// from now on.
    pub fn take_opens(&mut self) -> Vec<Act> {
        let mut opens = Vec::new();
        for offered in self.drafts.iter_mut().filter_map(Draft::offered_mut) {
            let planned = offered.take_planned();
            opens.extend(planned.map(|stream| Act::Open(stream.plan(&self.terms))));
        }
        opens
    }

    /// Takes the acts back with what the worker bound; acts of other kinds are passed over.
    pub fn opened(&mut self, acts: Vec<Act>) {
        for act in acts {
            let Act::Open(plan) = act else { continue };
            let offered = self.drafts.iter_mut().filter_map(Draft::offered_mut);
            let mut streams = offered.flat_map(draft::Offered::streams_mut);
            if let Some(stream) = streams.find(|own| own.id == plan.stream) {
                stream.local = plan.local;
            }
        }
    }

    /// Writes the offer for the other side; unchanged, and so with an unchanged version, where
    /// that side would learn nothing new. After [`Answered::offer_again`], the one to offer then.
    ///
    /// # Errors
    ///
    /// 500 when the streams' ports are not bound: [`Self::opened`] was not told of them.
    pub fn offer_to_far(&mut self) -> Result<Bytes, Refused> {
        let to = self.from.other();
        let mut lines = Vec::with_capacity(self.drafts.len());
        for (index, draft) in self.drafts.iter_mut().enumerate() {
            let line = draft.line.clone();
            let source = self.offer.media().get(index).unwrap_or(&line);
            lines.push(match draft.offered_mut() {
                None => line,
                Some(offered) => {
                    offered.settle_on_choice(to);
                    let end = End {
                        side: self.from,
                        sdp: &self.offer,
                        line: source,
                    };
                    let role = Role::Offer {
                        flow: end.flow_of_hold(offered.stream.make),
                    };
                    write::line(source, &offered.stream, to, &role, &self.terms)
                        .ok_or_else(unbound)?
                }
            });
        }
        let offer = self.offer.with_media(lines);
        Ok(self.send(to, offer))
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
        let answer = self.filled(answer);
        self.fit(&answer)?;
        let (acts, refused) = self.join_all(&answer)?;
        self.spoken[self.from.other().index()].hear(&answer);
        let to_offerer = self.answer_to_offerer(&answer)?;
        self.is_answered = true;
        Ok(Answered {
            acts,
            to_offerer,
            refused,
            offer_again: self.is_to_be_offered_again(),
        })
    }

    /// Whether the latest answer is one that needs another offer: [`Answered::offer_again`].
    #[must_use]
    pub fn is_to_be_offered_again(&self) -> bool {
        self.drafts.iter().any(Draft::is_to_be_offered_again)
    }

    /// The answer with the lines that it left out at its end: they are at port 0 (CON-12).
    fn filled(&self, answer: Sdp) -> Sdp {
        let left_out = self.drafts.iter().skip(answer.media_count());
        let left_out: Vec<_> = left_out.map(|draft| draft.line.clone()).collect();
        if left_out.is_empty() || answer.media_count() == 0 {
            return answer;
        }
        tracing::debug!(lines = left_out.len(), "an answer leaves lines out");
        let lines = answer.media().iter().cloned().chain(left_out);
        answer.with_media(lines.collect())
    }

    /// Checks an answer's form against the offer that the far side has (RFC 3264 §6).
    fn fit(&self, answer: &Sdp) -> Result<(), Refused> {
        if answer.media_count() != self.drafts.len() {
            let text = "Answer has another number of streams than the offer";
            return Err(Refused::not_acceptable(399, text));
        }
        for (draft, line) in self.drafts.iter().zip(answer.media()) {
            let is_used = draft.offered().is_some() && line.port() != 0;
            let is_same = draft.far_proto(self.from.other()) == line.proto();
            let is_same = is_same && line.port_count() == 1;
            if !draft.line.same_media(line) || (is_used && !is_same) {
                let text = "Answer has another media type or transport than the offer";
                return Err(Refused::not_acceptable(399, text));
            }
        }
        Ok(())
    }

    /// Joins offer and answer of every stream; what the worker must be told, and the new streams
    /// that aren't accepted.
    fn join_all(&mut self, answer: &Sdp) -> Result<(Vec<Act>, StreamSet), Refused> {
        let mut acts = Vec::new();
        let mut refused = StreamSet::default();
        let (mut accepts_any, mut first_why) = (false, None);
        // Lines that the offer left out are off, so the offer's lines are enough.
        let lines = self.offer.media().iter().zip(answer.media());
        for (draft, (offer_line, answer_line)) in self.drafts.iter_mut().zip(lines) {
            let Some(offered) = draft.offered_mut() else {
                continue;
            };
            offered.is_accepted = false;
            if answer_line.port() != 0 {
                let near = End {
                    side: self.from,
                    sdp: &self.offer,
                    line: offer_line,
                };
                let far = End {
                    side: self.from.other(),
                    sdp: answer,
                    line: answer_line,
                };
                let joined = offered
                    .choose(offer_line, answer_line)
                    .and_then(|ends| join(&mut offered.stream, (&near, &far), ends, &self.terms));
                match joined {
                    Ok(connects) => {
                        offered.is_accepted = true;
                        acts.extend(connects);
                    }
                    Err(why) => first_why = first_why.or(Some(why)),
                }
            }
            accepts_any |= offered.is_accepted;
            if !offered.is_accepted {
                refused.0 |= offered.opened().0;
            }
        }
        match first_why {
            Some(why) if !accepts_any => Err(why.refused()),
            _ => Ok((acts, refused)),
        }
    }

    /// Writes the answer for the side that offered: a line for each of its lines.
    fn answer_to_offerer(&mut self, answer: &Sdp) -> Result<Bytes, Refused> {
        let mut lines = Vec::with_capacity(self.offer.media_count());
        let sources = self.offer.media().iter().zip(answer.media());
        for (draft, (offer_line, source)) in self.drafts.iter().zip(sources) {
            lines.push(match draft.offered() {
                Some(offered) if offered.is_accepted => {
                    let end = End {
                        side: self.from.other(),
                        sdp: answer,
                        line: source,
                    };
                    let role = self.answer_role(offer_line, &end, offered);
                    write::line(source, &offered.stream, self.from, &role, &self.terms)
                        .ok_or_else(unbound)?
                }
                Some(_) | None => draft.line.clone(),
            });
        }
        Ok(self.send(self.from, answer.with_media(lines)))
    }

    fn answer_role<'a>(
        &self,
        offer_line: &'a MediaDescription,
        far: &End<'_>,
        offered: &draft::Offered,
    ) -> Role<'a> {
        Role::Answer {
            offered: offer_line,
            setup: Setup::answer_to(Setup::of(&self.offer, offer_line)),
            flow: far.flow_of_hold(offered.stream.make),
        }
    }

    /// Finishes a description for a side: addresses, o-line, version.
    fn send(&mut self, to: Side, mut sdp: Sdp) -> Bytes {
        let local_ip = |draft: &Draft| Some(bound(draft.offered()?.stream.local(to))?.ip());
        let ips: Vec<_> = self.drafts.iter().map(local_ip).collect();
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
        let mut wanted = spoken.into_iter().flatten().chain([false, true]);
        wanted
            .find_map(|is_v6| self.terms.settings.address(is_v6))
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
        let slots = self.drafts.into_iter().map(Draft::into_slot).collect();
        let gone = media.settle(slots, self.spoken);
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
        let offered = self.drafts.iter().filter_map(Draft::offered);
        offered.fold(StreamSet::default(), |set, offered| {
            StreamSet(set.0 | offered.opened().0)
        })
    }
}

impl Spoken {
    /// Remembers what a side's description says of itself, and in which family, where it says so.
    fn hear(&mut self, sdp: &Sdp) {
        self.is_v6 = draft::speaks_v6(sdp).or(self.is_v6);
        self.heard = sdp.origin().clone();
    }
}

fn unbound() -> Refused {
    Refused {
        code: 500,
        warning: "399 midpath \"Media ports are not bound\"".to_owned(),
    }
}
