//! The INVITEs of one session to side B: one, or one for each of the user's devices.
//!
//! ```text
//! pending ──▶ answered: it is the session's leg B; the others are cancelled and forgotten
//!    └─────▶ refused: its response is kept, until all are and the best one goes to side A
//! ```
//!
//! A branch that lost has no entry anywhere, so a 2xx of its device that crosses the CANCEL finds
//! nobody and is ended with ACK and BYE (RFC 3261 §13.2.2.4).

use bytes::Bytes;
use dataplane::api::Side;

use super::session::{DialogKey, Invite, Leg, Place, Session, Stage};
use super::{Engine, Purpose};
use crate::sip::{ClientKey, Flow, Headers, Message, Text};

/// Where an INVITE to side B goes, and what it says to get there.
#[derive(Debug)]
pub(super) struct Target {
    /// The Request-URI; `None` for that of the INVITE that came.
    pub uri: Option<Text>,
    /// Header fields besides those that travel end to end.
    pub headers: Headers,
    /// The flow to the next hop.
    pub flow: Flow,
    /// Others ring, too: what rings can't be reliable, as the caller hears of the first alone.
    pub is_one_of_several: bool,
}

impl Target {
    /// Where the INVITE that came asks to go.
    pub(super) fn asked(flow: Flow) -> Self {
        Self {
            uri: None,
            headers: Headers::default(),
            flow,
            is_one_of_several: false,
        }
    }
}

/// An INVITE to side B.
pub(super) struct Branch {
    pub call_id: Text,
    pub local_tag: Text,
    pub flow: Flow,
    pub client: ClientKey,
    state: State,
}

enum State {
    /// It has no final response.
    Pending,
    /// It was refused; this is what side A would get.
    Refused(Box<Message>),
    /// It was answered, and is what side B is now.
    Answered,
}

impl Branch {
    /// Whether it has no final response yet.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending)
    }

    fn refusal(&self) -> Option<&Message> {
        match &self.state {
            State::Refused(response) => Some(response),
            State::Pending | State::Answered => None,
        }
    }

    fn is_of(&self, request: &Message) -> bool {
        *self.call_id == *request.call_id() && request.to_tag() == Some(self.local_tag.as_str())
    }

    fn key(&self) -> DialogKey {
        DialogKey {
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
        }
    }
}

impl Session {
    /// The INVITE to side B that a client transaction carries.
    pub(super) fn branch(&self, client: ClientKey) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.client == client)
    }

    fn branch_mut(&mut self, client: ClientKey) -> Option<&mut Branch> {
        let mut branches = self.branches.iter_mut();
        branches.find(|branch| branch.client == client)
    }
}

impl Engine {
    /// Sends an INVITE to side B. The first one has the names of leg B, each further one its own.
    pub(super) fn send_branch(
        &mut self,
        session: &mut Session,
        request: &Message,
        target: &Target,
        offer: Option<&Bytes>,
    ) {
        let b = session.leg(Side::B);
        let is_first = session.branches.is_empty();
        let (call_id, local_tag) = if is_first {
            (b.call_id.clone(), b.local_tag.clone())
        } else {
            (self.tx.new_call_id(), self.tx.new_tag())
        };
        let begun = Leg {
            call_id: call_id.clone(),
            local_tag: local_tag.clone(),
            flow: target.flow,
            dialog: None,
            invite_seq: b.invite_seq,
            contact: None,
            acked: None,
        };
        let message = self.invite_to_b(&begun, session.role, request, (target, offer));
        let Ok(client) = self.tx.request(self.now, message, target.flow) else {
            return;
        };
        self.clients.insert(client, Purpose::Invite(session.id));
        let place = Place {
            session: session.id,
            side: Side::B,
        };
        self.dialogs
            .insert(DialogKey::kept(&call_id, &local_tag), place);
        session.branches.push(Branch {
            call_id,
            local_tag,
            flow: target.flow,
            client,
            state: State::Pending,
        });
    }

    /// A branch has answered: side B's leg is its dialog, the others are cancelled.
    pub(super) fn settle_branch(&mut self, session: &mut Session, client: ClientKey) {
        if let Some(branch) = session.branch_mut(client) {
            branch.state = State::Answered;
        }
        self.drop_branches(session, COMPLETED_ELSEWHERE);
        let Some(branch) = session.branches.first() else {
            return;
        };
        let (call_id, local_tag) = (branch.call_id.clone(), branch.local_tag.clone());
        let flow = branch.flow;
        let leg = session.leg_mut(Side::B);
        leg.call_id = call_id;
        leg.local_tag = local_tag;
        leg.flow = flow;
    }

    /// Cancels and forgets the branches that were not answered.
    pub(super) fn drop_branches(&mut self, session: &mut Session, reason: &str) {
        let reason = [Text::from(reason.to_owned())];
        for branch in std::mem::take(&mut session.branches) {
            if matches!(branch.state, State::Answered) {
                session.branches.push(branch);
                continue;
            }
            if branch.is_pending() {
                self.tx.cancel(self.now, branch.client, &reason);
            }
            self.forget_branch(&branch);
        }
    }

    pub(super) fn forget_branch(&mut self, branch: &Branch) {
        self.clients.remove(&branch.client);
        self.dialogs.remove(&branch.key());
    }

    /// A branch was refused, with what side A would get: the session fails when all were.
    pub(super) fn on_branch_refused(
        &mut self,
        session: &mut Session,
        invite: Box<Invite>,
        client: ClientKey,
        to_a: Message,
    ) {
        // RFC 3261 §16.7 item 5: after a 6xx nobody else is to be asked.
        let ends_all = to_a.code().is_some_and(|code| code >= 600);
        if let Some(branch) = session.branch_mut(client) {
            branch.state = State::Refused(Box::new(to_a));
        }
        if !ends_all && session.branches.iter().any(Branch::is_pending) {
            session.stage = Stage::Inviting(invite);
            return;
        }
        let refusals = session.branches.iter().filter_map(Branch::refusal);
        let best = refusals.min_by_key(|response| rank(response.code().unwrap_or(500)));
        let best = best
            .cloned()
            .unwrap_or_else(|| Message::response(&invite.request, 500, "Server Internal Error"));
        self.fail(session, invite.server, best);
    }

    /// A device of several sent BYE before its 2xx came; says whether others are still asked.
    pub(super) fn leave_branch(&mut self, session: &mut Session, bye: &Message) -> bool {
        let is_left = |branch: &Branch| branch.is_pending() && !branch.is_of(bye);
        if !session.branches.iter().any(is_left) {
            return false;
        }
        let at = session.branches.iter().position(|branch| branch.is_of(bye));
        if let Some(at) = at {
            let branch = session.branches.remove(at);
            self.forget_branch(&branch);
        }
        true
    }
}

/// Which of several refusals is the best one: the lowest rank (RFC 3261 §16.7 item 6).
fn rank(code: u16) -> (u16, u16) {
    let class = code / 100;
    let within = match code {
        // What the caller can do something about.
        401 | 407 | 415 | 420 | 484 => 0,
        // Devices that didn't answer say less than one that did.
        408 | 503 => 2,
        _ => 1,
    };
    (if class == 6 { 0 } else { class }, within)
}

/// Why the INVITEs to a user's other devices are cancelled (RFC 3326, 004 step 18).
const COMPLETED_ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
