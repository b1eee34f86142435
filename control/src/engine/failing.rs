//! A session that does not come about: refused, given up, or cancelled before its answer.

use dataplane::api::{SessionId, Side, StreamSet};

use super::Engine;
use super::closing::Why;
use super::orders::After;
use super::session::{Session, Stage};
use crate::sip::{ClientKey, Message, Name, ServerKey, Text};

/// What a session that didn't come about still owes side A.
pub(super) struct Failure {
    pub server: ServerKey,
    pub response: Message,
}

impl Engine {
    pub(super) fn on_invite_failed(&mut self, id: SessionId, client: ClientKey, code: u16) {
        self.with(id, |engine, session| {
            let stage = std::mem::replace(&mut session.stage, Stage::Failing);
            match stage {
                Stage::Inviting(invite) => {
                    let reason = if code == 408 {
                        "Request Timeout"
                    } else {
                        "Service Unavailable"
                    };
                    let response = Message::response(&invite.request, code, reason);
                    engine.on_branch_refused(session, invite, client, response);
                }
                Stage::Cancelled { is_near_done, far } => {
                    session.stage = cancelled(is_near_done, without(far, client));
                }
                stage => session.stage = stage,
            }
        });
    }

    /// Ends a session that didn't come about: release first, then the final response.
    pub(super) fn fail(&mut self, session: &mut Session, server: ServerKey, response: Message) {
        session.facts.code = response.code();
        session.facts.end.get_or_insert(Why::Refused);
        session.stage = Stage::Failing;
        session.exchange = None;
        session.deadline = None;
        self.end_relayed(session);
        let code = response.code().unwrap_or(500);
        self.drop_branches(session, &format!("SIP;cause={code}"));
        self.order_release(
            session,
            StreamSet::ALL,
            After::Failed(Box::new(Failure { server, response })),
        );
    }

    pub(super) fn on_failed(&mut self, session: &mut Session, failure: Failure) {
        let Failure {
            server,
            mut response,
        } = failure;
        if response.to_tag().is_none() {
            response.set_to_tag(&session.leg(Side::A).local_tag.clone());
        }
        self.respond(server, response);
        let stage = std::mem::replace(&mut session.stage, Stage::Ended);
        if let Stage::Cancelled { far, .. } = stage {
            session.stage = cancelled(true, far);
        }
    }

    /// CANCEL of the INVITE, or of a re-INVITE that is on its way.
    pub(super) fn on_session_cancel(
        &mut self,
        session: &mut Session,
        invite: ServerKey,
        cancel: &Message,
    ) {
        if let Some(relayed) = session
            .relayed
            .iter()
            .find(|relayed| relayed.server == invite)
        {
            match relayed.client {
                Some(client) => self.tx.cancel(self.now, client, &reasons(cancel)),
                None => self.drop_relayed(session, invite),
            }
            return;
        }
        // A CANCEL of anything else comes after its answer, which is under way.
        let is_first = match &session.stage {
            Stage::Opening(first) | Stage::Inviting(first) => first.server == invite,
            _ => false,
        };
        if is_first {
            self.give_up(session, Why::Cancelled, 487, &reasons(cancel));
        }
    }

    /// Gives up a session that isn't answered yet: 487 or another final for A, CANCEL for B.
    pub(super) fn give_up(&mut self, session: &mut Session, why: Why, code: u16, reasons: &[Text]) {
        let stage = std::mem::replace(&mut session.stage, Stage::Failing);
        if matches!(stage, Stage::Opening(_) | Stage::Inviting(_)) {
            session.facts.end = Some(why);
            session.facts.code = Some(code);
            self.end_relayed(session);
        }
        match stage {
            Stage::Opening(invite) => {
                session.exchange = None;
                self.reply(invite.server, &invite.request, code, give_up_reason(code));
            }
            Stage::Inviting(invite) => {
                let far = session.branches.iter().filter(|branch| branch.is_pending());
                let far: Vec<ClientKey> = far.map(|branch| branch.client).collect();
                for client in &far {
                    self.tx.cancel(self.now, *client, reasons);
                }
                session.exchange = None;
                session.deadline = None;
                session.stage = cancelled(false, far);
                let response = Message::response(&invite.request, code, give_up_reason(code));
                let failure = Failure {
                    server: invite.server,
                    response,
                };
                self.order_release(session, StreamSet::ALL, After::Failed(Box::new(failure)));
            }
            stage => session.stage = stage,
        }
    }
}

fn give_up_reason(code: u16) -> &'static str {
    match code {
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        487 => "Request Terminated",
        _ => "Service Unavailable",
    }
}

pub(super) fn cancelled(is_near_done: bool, far: Vec<ClientKey>) -> Stage {
    if is_near_done && far.is_empty() {
        Stage::Ended
    } else {
        Stage::Cancelled { is_near_done, far }
    }
}

pub(super) fn without(mut clients: Vec<ClientKey>, client: ClientKey) -> Vec<ClientKey> {
    clients.retain(|other| *other != client);
    clients
}

fn reasons(message: &Message) -> Vec<Text> {
    message
        .headers
        .all(Name::Reason)
        .map(|reason| Text::from(reason.to_owned()))
        .collect()
}
