//! What is kept of a group session and of each of its participants.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dataplane::api::{FloorId, LegFacts, MemberFacts, MemberId, SessionId, StreamId, StreamSet};

use super::roll::Roll;
use super::watchers::Watchers;
use crate::config::StreamKind;
use crate::cpm::conference::Status;
use crate::cpm::groups::Group;
use crate::cpm::policy::Streams;
use crate::engine::Settings;
use crate::media::group::{Draft, MemberMedia, Rights, Room, Rooms};
use crate::sdp::Kind;
use crate::sip::{ClientKey, Dialog, Flow, Headers, Message, ServerKey, Text};

/// A group session.
pub(in crate::engine) struct Focus {
    pub id: SessionId,
    pub worker: usize,
    /// The settings that it began with.
    pub settings: Arc<Settings>,
    pub group: Arc<Group>,
    /// The user part of its identity.
    pub token: Text,
    /// Its identity: a SIP URI (IDN-07).
    pub uri: Text,
    pub stage: Stage,
    /// The best of the refusals that came (RFC 3261 §16.7 item 6).
    pub refusal: Option<u16>,
    pub rooms: Rooms,
    pub members: Roll,
    pub members_ever: u32,
    pub origin: Origin,
    /// Who may come back, besides the group's members: who was invited or took part.
    pub known: HashSet<String>,
    /// Who was removed, and not added again.
    pub expelled: HashSet<String>,
    /// Grows with each change that participant information tells of.
    pub change: u64,
    /// Those who are gone and of whom not everybody was told, in the order of their going.
    pub departed: VecDeque<Departed>,
    /// The last change of this kind that there was no room to remember.
    pub forgotten: u64,
    /// Who holds each floor, as the worker said last.
    pub holders: BTreeMap<FloorId, Vec<MemberId>>,
    /// Who speaks in each mixed room.
    pub speakers: BTreeMap<StreamId, MemberId>,
    pub watchers: Watchers,
    /// The inviter was told that somebody is alerted.
    pub has_rung: bool,
    /// Its entry among the deadlines.
    pub armed: Option<Instant>,
    pub begun: Instant,
}

/// What came with the first INVITE.
pub(in crate::engine) struct Origin {
    /// Who began the session.
    pub inviter: Text,
    /// Header fields that go to everybody: the conversation's identities, the subject.
    pub carried: Headers,
    /// Where it came from: the core that invitations go to.
    pub flow: Flow,
    /// The rooms that the inviter offered.
    pub offered: StreamSet,
    /// When invitations are not valid any more.
    pub until: Instant,
}

/// Where a group session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Stage {
    /// The worker makes its rooms.
    Opening,
    /// Nobody has accepted yet.
    Inviting,
    /// It lasts.
    Running,
    /// Its media are being released, then its participants.
    Ending {
        /// The worker has released them.
        is_released: bool,
    },
    /// Nothing is left of it.
    Ended,
}

/// A participant, or somebody who is being invited.
pub(in crate::engine) struct Member {
    pub id: MemberId,
    /// The address.
    pub address: Text,
    /// The same in one spelling.
    pub key: String,
    /// Its Contact; empty while none is known.
    pub contact: Text,
    pub flow: Flow,
    pub call_id: Text,
    pub local_tag: Text,
    pub dialog: Option<Dialog>,
    pub media: MemberMedia,
    pub state: State,
    /// The streams that it may have: what the group allows, and its Participating Function where that
    /// is here.
    pub allowed: Streams,
    /// It sent the INVITE of its dialog.
    pub has_come: bool,
    /// It is alerted.
    pub is_alerted: bool,
    /// The rooms that it is to use.
    pub goal: StreamSet,
    /// Rooms that were opened while it was being invited.
    pub missed: StreamSet,
    /// The relay's offer that isn't answered.
    pub exchange: Option<Exchange>,
    /// Its own offer that isn't answered.
    pub asked: Option<Asked>,
    /// Rooms in which nothing comes from it that should.
    pub silent: StreamSet,
    /// Rooms to which its connection is lost.
    pub lost: StreamSet,
    /// Until then they may come back.
    pub lost_until: Option<Instant>,
    /// Not before then is it offered anything (RFC 3261 §14.1).
    pub quiet_until: Option<Instant>,
    /// The relay's offer in a 2xx, whose answer comes in the ACK.
    pub late: Option<Draft>,
    pub expires: Option<Instant>,
    pub refresh_at: Option<Instant>,
    /// The change that touched it last.
    pub changed_at: u64,
    pub facts: Facts,
    /// INVITEs of it that are answered and have no ACK yet, or are not answered.
    pub invites: Vec<ServerKey>,
    /// REFERs whose outcome it is.
    pub referrals: Vec<u32>,
    /// How it ends, once that is certain.
    pub end: Parting,
}

/// What a participant's record needs.
pub(in crate::engine) struct Facts {
    pub begun: Instant,
    pub answered: Option<Instant>,
    pub media: Vec<MemberFacts>,
}

/// Where a participant is in its dialog.
///
/// ```text
/// invited:  Opening ──▶ Inviting ───────────────┬──▶ Connected ──▶ Leaving ──▶ Parting ──▶ gone
///                          └──▶ Cancelled ──▶ gone                    └── its own BYE ──▶ gone
/// has come: Asking ───▶ Answering ──────────────┘
/// ```
pub(in crate::engine) enum State {
    /// The worker binds its ports.
    Opening {
        draft: Box<Draft>,
    },
    /// Its INVITE isn't answered.
    Inviting {
        client: ClientKey,
        draft: Box<Draft>,
        until: Instant,
    },
    /// It waits for an answer to its INVITE.
    Asking(Box<Pending>),
    /// The worker is told, then it gets its answer.
    Answering(Box<Pending>),
    Connected,
    /// Its media are being released; then its BYE is answered, or it gets one.
    Leaving {
        bye: Option<(ServerKey, Message)>,
    },
    /// It was sent a BYE.
    Parting {
        client: ClientKey,
    },
    /// Its INVITE was cancelled.
    Cancelled {
        client: ClientKey,
    },
}

/// An INVITE that waits.
pub(in crate::engine) struct Pending {
    pub server: ServerKey,
    pub request: Message,
    pub draft: Draft,
    /// The worker has bound its ports.
    pub is_bound: bool,
}

/// An offer of the relay's inside a dialog.
pub(in crate::engine) struct Exchange {
    /// None while the worker binds ports for it.
    pub client: Option<ClientKey>,
    /// When it is cancelled; `None` once it was, or while it isn't sent.
    pub until: Option<Instant>,
    pub draft: Draft,
    /// Rooms that the participant uses and isn't offered any more.
    pub removed: StreamSet,
}

/// An offer of a participant inside its dialog, while the worker is told.
pub(in crate::engine) struct Asked {
    pub server: ServerKey,
    pub request: Message,
    pub draft: Draft,
    /// Rooms that nobody used yet.
    pub added: StreamSet,
    /// Of those: that the worker didn't have.
    pub opened: StreamSet,
    /// Rooms that the participant leaves.
    pub dropped: StreamSet,
    /// Rooms that end for everybody.
    pub removed: StreamSet,
    /// What was lost before: it is offered anew, or not wanted any more.
    pub back: StreamSet,
}

/// Somebody who is gone.
pub(in crate::engine) struct Departed {
    pub address: Text,
    pub key: String,
    pub contact: Text,
    pub status: Status,
    pub at: u64,
}

/// How a participant's part ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Parting {
    /// It takes part.
    Stays,
    /// It left.
    Left,
    /// It was removed by another one.
    Removed,
    /// It came in again by another dialog.
    Replaced,
    /// The invitation, or what was said in the dialog, was refused by that code.
    Refused(u16),
    /// It didn't refresh, acknowledge or answer.
    Lost(u16),
    /// The inviter gave up.
    Cancelled,
    /// It has lost its media's connections and not offered them anew in time.
    Disconnected,
    /// Nothing came from it.
    Silent,
    /// The session ended, as too few were left or its policy says so.
    TooFew,
    /// The session's worker is gone.
    WorkerLost,
    /// The relay is being stopped.
    Drained,
}

impl Parting {
    /// The Reason header of a BYE or CANCEL (RFC 3326).
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooFew => "SIP;cause=410;text=\"Gone\"",
            Self::Removed => "SIP;cause=200;text=\"Removed from the session\"",
            Self::Replaced => "SIP;cause=200;text=\"Call completed elsewhere\"",
            Self::Disconnected => "SIP;cause=408;text=\"Media connection lost\"",
            Self::Silent => "SIP;cause=408;text=\"No media\"",
            Self::Lost(481) => "SIP;cause=481;text=\"Dialog gone\"",
            Self::Lost(_) => "SIP;cause=408;text=\"Session expired\"",
            Self::Refused(_) => "SIP;cause=488;text=\"Not acceptable\"",
            Self::WorkerLost => "SIP;cause=500;text=\"Media lost\"",
            Self::Drained => "SIP;cause=503;text=\"Shutting down\"",
            Self::Cancelled => "SIP;cause=487;text=\"Request Terminated\"",
            Self::Stays | Self::Left => "SIP;cause=200;text=\"Call completed\"",
        }
    }

    /// What others are told of it.
    pub fn status(self) -> Status {
        match self {
            Self::Stays => Status::Connected,
            Self::Left | Self::Replaced | Self::TooFew | Self::Drained => Status::Departed,
            Self::Removed => Status::Booted,
            Self::Refused(code) | Self::Lost(code) => Status::Failed(code),
            Self::Disconnected | Self::Silent => Status::Failed(408),
            Self::Cancelled => Status::Failed(487),
            Self::WorkerLost => Status::Failed(500),
        }
    }
}

impl Member {
    /// Whether it takes part: it has accepted, or was accepted, and has not left.
    pub fn is_in(&self) -> bool {
        matches!(self.state, State::Connected | State::Answering(_))
    }

    /// Whether it may still come to take part.
    pub fn is_pending(&self) -> bool {
        matches!(
            self.state,
            State::Opening { .. } | State::Inviting { .. } | State::Asking(_)
        )
    }

    /// Whether a client transaction is one of its dialog.
    pub fn owns(&self, client: ClientKey) -> bool {
        let of_state = match &self.state {
            State::Inviting { client, .. }
            | State::Parting { client }
            | State::Cancelled { client } => Some(*client),
            State::Opening { .. }
            | State::Asking(_)
            | State::Answering(_)
            | State::Connected
            | State::Leaving { .. } => None,
        };
        let of_offer = self.exchange.as_ref().and_then(|exchange| exchange.client);
        [of_state, of_offer].contains(&Some(client))
    }

    pub fn status(&self) -> Status {
        match &self.state {
            _ if self.end != Parting::Stays => self.end.status(),
            State::Opening { .. } | State::Inviting { .. } if self.is_alerted => Status::Alerting,
            State::Opening { .. } | State::Inviting { .. } => Status::DialingOut,
            State::Asking(_)
            | State::Answering(_)
            | State::Connected
            | State::Leaving { .. }
            | State::Parting { .. }
            | State::Cancelled { .. } => Status::Connected,
        }
    }

    /// When something is due for it.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Inviting { until, .. } => Some(*until),
            State::Connected => {
                let is_waiting = self.goal != self.media.used();
                let quiet = self.quiet_until.filter(|_| is_waiting);
                let offered = self.exchange.as_ref().and_then(|one| one.until);
                let all = [
                    self.expires,
                    self.refresh_at,
                    quiet,
                    offered,
                    self.lost_until,
                ];
                all.into_iter().flatten().min()
            }
            State::Opening { .. }
            | State::Asking(_)
            | State::Answering(_)
            | State::Leaving { .. }
            | State::Parting { .. }
            | State::Cancelled { .. } => None,
        }
    }
}

impl Focus {
    /// Who takes part or is invited now.
    pub fn participants(&self) -> usize {
        let sums = self.members.sums();
        sums.present + sums.pending
    }

    /// Who takes part.
    pub fn present(&self) -> usize {
        self.members.sums().present
    }

    /// The one with an address who takes part, or is invited, and isn't to be released.
    pub fn member_of(&self, key: &str) -> Option<MemberId> {
        let mut all = self.members.of_user(key);
        all.find(|member| member.end == Parting::Stays && (member.is_in() || member.is_pending()))
            .map(|member| member.id)
    }

    /// Something has changed that others are told of a participant.
    pub fn touch(&mut self, id: MemberId) {
        self.change += 1;
        if let Some(member) = self.members.get_mut(&id) {
            member.changed_at = self.change;
        }
    }

    /// What a participant may do in each room: what the group lets it (OFR-11), and what the room
    /// itself does.
    pub fn rights(&self, id: MemberId, key: &str) -> Rights {
        let (mut sends, mut receives) = (StreamSet::default(), StreamSet::default());
        for room in self.rooms.iter() {
            let flow = room.flow_of(id);
            if flow.sends && self.group.may_send(kind_of(room), key) {
                sends = sends.with(room.id);
            }
            if flow.receives {
                receives = receives.with(room.id);
            }
        }
        Rights { sends, receives }
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let members = self.members.next_deadline();
        let watchers = self.watchers.next_deadline(self.change);
        members.into_iter().chain(watchers).min()
    }

    /// Whether invitations, of whoever sent them, are still out.
    pub fn is_inviting(&self) -> bool {
        self.members.sums().invited > 0
    }

    /// The text of the last description that a participant was sent.
    pub fn sent_to(&self, id: MemberId) -> Option<Bytes> {
        self.members.get(&id)?.media.sent().cloned()
    }
}

impl Facts {
    pub fn new(now: Instant) -> Self {
        Self {
            begun: now,
            answered: None,
            media: Vec::new(),
        }
    }

    /// What came from the participant in a room, and how many packets or messages went to it.
    pub fn of(&self, room: StreamId) -> (LegFacts, u64) {
        let mut facts = self.media.iter().rev();
        let found = facts.find(|facts| facts.stream == room);
        found.map_or_else(Default::default, |facts| (facts.leg, facts.sent))
    }
}

/// A room's kind in the group's terms.
pub(super) fn kind_of(room: &Room) -> StreamKind {
    match room.kind {
        Kind::Audio => StreamKind::Audio,
        Kind::Video => StreamKind::Video,
        Kind::Message => StreamKind::Message,
        Kind::Application => StreamKind::Application,
        Kind::Image | Kind::Text | Kind::Other => StreamKind::Other,
    }
}

pub(super) fn union(a: StreamSet, b: StreamSet) -> StreamSet {
    StreamSet(a.0 | b.0)
}

pub(super) fn without(a: StreamSet, b: StreamSet) -> StreamSet {
    StreamSet(a.0 & !b.0)
}

pub(super) fn both(a: StreamSet, b: StreamSet) -> StreamSet {
    StreamSet(a.0 & b.0)
}
