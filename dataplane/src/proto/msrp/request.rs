//! Whose a request is, whether it may pass, and how it is refused.

use super::connection::{Answer, KeptHead, Swallow};
use super::legs::{LegRef, Link};
use super::relay::Flow;
use super::{ConnectionKey, Connections, LegKey};
use crate::stats::DropReason;
use crate::wire::msrp::{FailureReport, Head, Method, Return, Uri};

/// Why a request isn't forwarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    code: u16,
    why: Option<DropReason>,
}

impl Refused {
    pub(super) fn new(code: u16, why: DropReason) -> Self {
        Self {
            code,
            why: Some(why),
        }
    }

    pub(super) fn uncounted(code: u16) -> Self {
        Self { code, why: None }
    }
}

/// A request that may be forwarded, and where to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) from: LegRef,
    pub(super) to: LegRef,
    pub(super) sink: ConnectionKey,
}

impl Connections {
    /// The leg that a request's To-Path names; binds it where it has no connection
    /// (RFC 4975 §7.3, §5.4).
    pub(super) fn leg_for(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        method: Method,
    ) -> Result<LegKey, Refused> {
        if let Some(by_paths) = self.leg_by_paths(key, head) {
            return by_paths;
        }
        let uri = head.to_first();
        let bound = self.connection(key).and_then(|state| {
            let mut legs = state.legs.iter().copied();
            legs.find(|leg| self.legs.get(*leg).is_some_and(|leg| leg.is_named_by(uri)))
        });
        if let Some(leg) = bound {
            return Ok(leg);
        }
        let unknown = Refused::new(481, DropReason::NotBound);
        let leg = Uri::parse(uri)
            .and_then(|uri| self.legs.find(uri.session_id))
            .ok_or(unknown)?;
        let state = self.legs.get(leg).ok_or(unknown)?;
        if !state.is_named_by(uri) || state.frozen || method == Method::Report {
            return Err(unknown);
        }
        if matches!(state.link, Link::Bound(_)) {
            return Err(Refused::new(506, DropReason::NotBound));
        }
        let carrier = &self.connection(key).ok_or(unknown)?.carrier;
        if state.demand.transport != carrier.transport {
            return Err(unknown);
        }
        if !state.demand.trusts(carrier) {
            // Whoever it is, it is not the one whose SDP came: nothing more is taken from it.
            if !self.broken.contains(&key) {
                self.broken.push_back(key);
            }
            return Err(Refused::new(403, DropReason::Fingerprint));
        }
        if !self.bind(key, leg) {
            return Err(Refused::new(403, DropReason::NotBound));
        }
        Ok(leg)
    }

    /// Whether content may go from this leg to its peer.
    pub(super) fn may_send(&self, leg: LegKey, head: &Head<'_>) -> Result<(), Refused> {
        let unknown = Refused::new(481, DropReason::NoRemote);
        let from = self.legs.get(leg).ok_or(unknown)?;
        let to = from
            .peer
            .and_then(|peer| self.legs.get(peer))
            .ok_or(unknown)?;
        if from.frozen || to.frozen {
            return Err(Refused::new(481, DropReason::Frozen));
        }
        if !from.direction.may_send || !to.direction.may_receive {
            return Err(Refused::new(403, DropReason::Direction));
        }
        let is_stopped = head.message_id.is_some_and(|id| from.is_stopped(id));
        if is_stopped || from.is_too_long(head) {
            return Err(Refused::uncounted(413));
        }
        Ok(())
    }

    /// Where a request from this leg goes; `None`: it isn't known yet.
    pub(super) fn route(&self, leg: LegKey) -> Result<Option<Route>, Refused> {
        let unknown = Refused::new(481, DropReason::NoRemote);
        let from = self.legs.reference(leg).ok_or(unknown)?;
        let peer = self.legs.get(leg).and_then(|leg| leg.peer).ok_or(unknown)?;
        let to = self.legs.reference(peer).ok_or(unknown)?;
        let state = self.legs.get(peer).ok_or(unknown)?;
        match (state.link, &state.remote) {
            (Link::Lost, _) => Err(unknown),
            (Link::Bound(sink), Some(_)) => Ok(Some(Route { from, to, sink })),
            (Link::Bound(_), None) | (Link::Awaited, _) => Ok(None),
        }
    }

    pub(super) fn refuse(
        &mut self,
        key: ConnectionKey,
        leg: Option<LegRef>,
        head: &Head<'_>,
        refused: Refused,
    ) -> Flow {
        if let Some(why) = refused.why {
            self.counts.drop(why);
        }
        if let Some(leg) = leg {
            if let Some(state) = self.legs.live_mut(leg) {
                state.facts.dropped += 1;
            }
            self.record_refusal(leg, head);
        }
        let answer = self.answer(head, refused.code);
        let swallow = Swallow {
            leg,
            answer,
            no_body: false,
        };
        self.swallow(key, swallow);
        Flow::On
    }

    /// The answer to a request, where one is due (RFC 4975 §7.2).
    pub(super) fn answer(&mut self, head: &Head<'_>, code: u16) -> Option<Answer> {
        let Return::Request(method) = head.kind else {
            return None;
        };
        let is_due = match (method, head.failure_report) {
            (Method::Report, _) | (Method::Send, FailureReport::No) => false,
            (Method::Send, FailureReport::Partial) => code != 200,
            _ => true,
        };
        // RFC 4975 §7.2: the response to a SEND goes one hop; to others it goes all the way.
        let to = if method == Method::Send {
            head.from_first()
        } else {
            head.from_path
        };
        is_due.then(|| Answer {
            code,
            to: head.transaction,
            kept: KeptHead::new(self.shared.take(), to, head.to_first()),
        })
    }
}
