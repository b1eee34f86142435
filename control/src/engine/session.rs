//! What is kept of one session between two dialogs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dataplane::api::{SessionId, Side, StreamFacts, StreamSet};

use super::Settings;
use super::again::Again;
use super::branches::{Branch, Target};
use super::closing::Closing;
use super::history::History;
use super::interwork::Far;
use crate::cpm::identity;
use crate::cpm::participating::Role;
use crate::cpm::policy::UserPolicy;
use crate::media::{Media, Proposal};
use crate::sip::{ClientKey, Dialog, Flow, Message, Method, Name, OutOfOrder, ServerKey, Text};

/// A dialog's key: what an incoming request names it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DialogKey {
    pub call_id: Text,
    pub local_tag: Text,
}

/// Where a dialog belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub session: SessionId,
    pub side: Side,
}

/// A session.
pub(super) struct Session {
    pub id: SessionId,
    pub worker: usize,
    pub role: Role,
    /// What holds for the served user, from the INVITE on.
    pub policy: Arc<UserPolicy>,
    /// The settings that it began with.
    pub settings: Arc<Settings>,
    pub media: Media,
    pub stage: Stage,
    /// Side A's leg, side B's leg.
    pub legs: [Leg; 2],
    /// INVITE server transactions without their ACK: what CANCEL and a missing ACK name.
    pub invite_servers: Vec<ServerKey>,
    /// The INVITEs to side B; once one is answered, that one alone.
    pub branches: Vec<Branch>,
    /// Tags that side A was given for further forks, besides leg A's own.
    pub tags_to_a: Vec<Text>,
    /// What ends the session once the answer, which is being put into force, was given.
    pub deferred: Option<Deferred>,
    /// The offer that waits for its answer, if one does.
    pub exchange: Option<Exchange>,
    /// The answer to side A that waits for another one of side B.
    pub again: Option<Box<Again>>,
    /// What side B is, where it isn't one far end.
    pub interworked: Option<Box<Far>>,
    /// Requests passed on that wait for their response.
    pub relayed: Vec<Relayed>,
    pub facts: Facts,
    /// What is to become of what was said.
    pub history: History,
    /// When [`super::Engine::on_session_deadline`] is due.
    pub deadline: Option<Instant>,
    /// The earliest entry for this session among the engine's deadlines: there is no need for more.
    pub armed: Option<Instant>,
    /// When the session ends unless it is refreshed (RFC 4028).
    pub expires: Option<Instant>,
    /// The last SDP given to side A in answer to the INVITE, for a 2xx that repeats it.
    pub answer_given: Option<Bytes>,
    /// What the streams did when the worker was last asked.
    pub reported: Vec<StreamFacts>,
    /// Streams that are silent now, per side.
    pub silent: [StreamSet; 2],
}

/// One side's signalling.
pub(super) struct Leg {
    pub call_id: Text,
    pub local_tag: Text,
    pub flow: Flow,
    /// The dialog; early or confirmed.
    pub dialog: Option<Dialog>,
    /// The CSeq number of the INVITE on this leg, for RAck and ACK.
    pub invite_seq: u32,
    /// The far side's Contact, for its feature tags.
    pub contact: Option<Text>,
    /// The last ACK sent for a 2xx: its CSeq number and its answer, for a 2xx that comes again.
    pub acked: Option<(u32, Option<Bytes>)>,
}

/// An end that came while the session's answer was being put into force.
pub(super) enum Deferred {
    /// A side's BYE.
    Bye(Side, ServerKey, Box<Message>),
    /// A reason of our own.
    Own(super::closing::Why),
}

/// Where a session is in its life.
///
/// ```text
/// Opening ──▶ Inviting ──▶ Answering ──▶ Talking ──▶ Closing ──▶ Ended
///    │           │  └──── CANCEL ──▶ Cancelled ──────────────────▲
///    └───────────┴── failure ─▶ Failing ─────────────────────────┘
/// ```
pub(super) enum Stage {
    /// The worker binds the ports.
    Opening(Box<Invite>),
    /// The INVITE is with side B.
    Inviting(Box<Invite>),
    /// Side B has answered; the worker is told.
    Answering(Box<Invite>),
    /// It will not come about: the worker releases, then side A is told.
    Failing,
    /// It was given up before its answer.
    Cancelled {
        /// Side A has its final response.
        is_near_done: bool,
        /// The INVITEs to side B without their final response.
        far: Vec<ClientKey>,
    },
    /// It is established.
    Talking,
    /// It is being closed.
    Closing(Box<Closing>),
    /// It can be forgotten.
    Ended,
}

/// The INVITE that makes a session.
pub(super) struct Invite {
    pub server: ServerKey,
    pub request: Message,
    /// Where it goes, once its ports are bound.
    pub targets: Vec<Target>,
    /// Side A hears of the first device that rings, and of no other (FRK-04, FRK-05).
    pub rings_once: bool,
    /// Side A was told that a device rings.
    pub is_alerted: bool,
    pub forks: Vec<Fork>,
    /// The far tag of the fork whose reliable answer is in force.
    pub in_force: Option<Text>,
}

/// An early dialog with side B, and the tag by which side A knows it.
pub(super) struct Fork {
    pub dialog: Dialog,
    pub tag_to_a: Text,
    /// The SDP of its reliable provisional response, as it came (RFC 3262 §5).
    pub answer: Option<Bytes>,
}

/// An offer on its way.
pub(super) struct Exchange {
    /// Who offered.
    pub from: Side,
    pub proposal: Proposal,
    pub carrier: Carrier,
}

/// What carries an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The INVITE that makes the session.
    Invite,
    /// The relayed request with this server transaction (re-INVITE, UPDATE, PRACK).
    Request(ServerKey),
    /// A 2xx that carried the offer; its ACK carries the answer.
    Late {
        /// The side that gets the ACK with the answer.
        offerer: Side,
        /// The CSeq number of the INVITE that this ACK is for.
        seq: u32,
        /// The CSeq number of the ACK that brings the answer, once its 2xx was given.
        answered_by: Option<u32>,
    },
}

/// A request passed on inside a session.
pub(super) struct Relayed {
    pub from: Side,
    pub server: ServerKey,
    pub request: Message,
    pub method: Method,
    /// `None` while the worker binds ports for its offer.
    pub client: Option<ClientKey>,
    /// The answer in a reliable provisional response to it, as the offerer got it (RFC 3262 §5).
    pub answer: Option<Bytes>,
}

/// What the session's record will say.
#[derive(Default)]
pub(super) struct Facts {
    pub begun: Option<Instant>,
    pub answered: Option<Instant>,
    pub ended: Option<Instant>,
    pub streams: Vec<StreamFacts>,
    pub conversation_id: Option<Text>,
    pub contribution_id: Option<Text>,
    pub served_user: Option<Text>,
    pub peer: Option<Text>,
    pub end: Option<super::closing::Why>,
    pub code: Option<u16>,
}

impl Facts {
    /// What the INVITE says.
    pub(super) fn of(request: &Message, role: Role, now: Instant) -> Self {
        let text = |name| {
            request
                .headers
                .get(name)
                .map(|value| Text::from(value.to_owned()))
        };
        let caller = identity::caller(request).map(|uri| Text::from(uri.to_owned()));
        let called = request
            .request_uri()
            .map(|value| Text::from(value.to_owned()));
        let (served_user, peer) = match role {
            Role::Originating => (caller, called),
            Role::Terminating => (called, caller),
        };
        Self {
            begun: Some(now),
            conversation_id: text(Name::ConversationId),
            contribution_id: text(Name::ContributionId),
            served_user,
            peer,
            ..Self::default()
        }
    }
}

impl Invite {
    /// The early dialog that a request or a response of side B belongs to.
    pub(super) fn fork_of(&mut self, message: &Message) -> Option<&mut Fork> {
        let mut forks = self.forks.iter_mut();
        forks.find(|fork| fork.dialog.matches(message))
    }
}

impl DialogKey {
    /// A key of its own memory, for as long as the dialog may last.
    pub(super) fn kept(call_id: &Text, local_tag: &Text) -> Self {
        let (mut call_id, mut local_tag) = (call_id.clone(), local_tag.clone());
        Text::gather([&mut call_id, &mut local_tag]);
        Self { call_id, local_tag }
    }
}

impl Session {
    /// Lets go of the messages that the session's texts are pieces of: a call may last for hours.
    pub(super) fn gather_texts(&mut self) {
        let legs = self.legs.iter_mut().flat_map(|leg| {
            let dialog = leg.dialog.iter_mut().flat_map(Dialog::texts_mut);
            [&mut leg.call_id, &mut leg.local_tag]
                .into_iter()
                .chain(leg.contact.iter_mut())
                .chain(dialog)
        });
        let facts = [
            &mut self.facts.conversation_id,
            &mut self.facts.contribution_id,
            &mut self.facts.served_user,
            &mut self.facts.peer,
        ];
        let facts = facts.into_iter().flatten();
        Text::gather(legs.chain(facts).chain(self.tags_to_a.iter_mut()));
        self.tags_to_a.shrink_to_fit();
    }

    /// Takes the flow that a request of a side came over as that to its dialog, early or not.
    pub(super) fn note_flow(&mut self, side: Side, request: &Message, flow: Flow) {
        let early = match (&mut self.stage, side) {
            (Stage::Inviting(invite), Side::B) => invite.fork_of(request),
            _ => None,
        };
        if let Some(fork) = early {
            fork.dialog.flow = flow;
        } else if let Some(dialog) = self.leg_mut(side).dialog.as_mut() {
            dialog.flow = flow;
        }
    }

    pub(super) fn leg(&self, side: Side) -> &Leg {
        &self.legs[side.index()]
    }

    pub(super) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        &mut self.legs[side.index()]
    }

    /// The relayed request that a client transaction carries.
    pub(super) fn relayed_by(&mut self, client: ClientKey) -> Option<Relayed> {
        let at = self
            .relayed
            .iter()
            .position(|relayed| relayed.client == Some(client))?;
        Some(self.relayed.swap_remove(at))
    }

    /// Makes `tag` the one that side A's dialog is known by: that fork has answered.
    pub(super) fn settle_tag(&mut self, tag: &Text) {
        let leg = &mut self.legs[Side::A.index()];
        if leg.local_tag == *tag {
            return;
        }
        let first = std::mem::replace(&mut leg.local_tag, tag.clone());
        self.tags_to_a.retain(|other| other != tag);
        self.tags_to_a.push(first);
        if let Some(dialog) = leg.dialog.as_mut() {
            dialog.set_local_tag(tag);
            // Each early dialog counts by itself (RFC 3261 §12.2.1.1).
            dialog.remote_seq = Some(leg.invite_seq);
        }
    }

    /// Whether a request of a side belongs to the dialog that was established, or to an early one.
    pub(super) fn is_in_dialog(&self, side: Side, request: &Message) -> bool {
        let leg = self.leg(side);
        let Some(dialog) = leg.dialog.as_ref() else {
            return true;
        };
        let is_early = matches!(self.stage, Stage::Opening(_) | Stage::Inviting(_));
        let from = request.from_tag().unwrap_or("");
        match side {
            Side::A => {
                *dialog.remote_tag == *from
                    && (is_early || request.to_tag() == Some(leg.local_tag.as_str()))
            }
            Side::B => is_early || *dialog.remote_tag == *from,
        }
    }

    /// The tag by which side A knows the fork that sent an early request.
    pub(super) fn early_tag(&self, from: Side, request: &Message) -> Option<Text> {
        let Stage::Inviting(invite) = &self.stage else {
            return None;
        };
        let forks = invite.forks.iter().filter(|_| from == Side::B);
        let mut own = forks.filter(|fork| fork.dialog.matches(request));
        own.next().map(|fork| fork.tag_to_a.clone())
    }

    /// Takes note of a request's CSeq number in its own dialog, early or not.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`] where the number went back.
    pub(super) fn check_seq(&mut self, side: Side, request: &Message) -> Result<(), OutOfOrder> {
        if let (Stage::Inviting(invite), Side::B) = (&mut self.stage, side) {
            let fork = invite.fork_of(request);
            return fork.map_or(Ok(()), |fork| fork.dialog.check_seq(request));
        }
        let leg = self.leg_mut(side);
        let is_of_leg = side == Side::B || request.to_tag() == Some(leg.local_tag.as_str());
        match leg.dialog.as_mut() {
            Some(dialog) if is_of_leg => dialog.check_seq(request),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether an INVITE inside the session still waits for its offer or answer.
    pub(super) fn is_reinviting(&self) -> bool {
        self.relayed
            .iter()
            .any(|relayed| relayed.method == Method::Invite && relayed.answer.is_none())
    }

    /// Whether a request with this method is on its way from a side.
    pub(super) fn is_relaying(&self, from: Side, method: &Method) -> bool {
        self.relayed
            .iter()
            .any(|relayed| relayed.from == from && relayed.method == *method)
    }
}
