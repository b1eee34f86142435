//! BYE in interworked sessions (000 8.2.2.3 4.a and 6, 8.3.2.3 3.b and 4; CON-03, CON-08, CON-29).
//!
//! | BYE from | several functions, `close = streams` | else |
//! |---|---|---|
//! | the session | BYE to each; answered when all have answered | the same |
//! | a function | its streams are released, 200, re-INVITE to the near side | the session is closed |

use dataplane::api::StreamSet;

use super::far::{Deletion, Far, Passed, Sent, What};
use crate::cpm::policy::IwfClose;
use crate::engine::orders::After;
use crate::engine::session::{Session, Stage};
use crate::engine::{Engine, Purpose};
use crate::sip::{ClientKey, Message, Method, Name, ServerKey, Text};

/// What follows once the streams of a function that is gone are released.
pub(in crate::engine) struct Left {
    /// Its BYE, to be answered.
    pub bye: Option<(ServerKey, Message)>,
}

impl Engine {
    /// The session ends: each function gets a BYE (BYO-03, BYT-06), and what is still asked of one
    /// is taken back.
    pub(super) fn bye_functions(&mut self, far: &mut Far, client: ClientKey, request: Message) {
        if let Some(attempt) = far.attempt.take() {
            self.clients.remove(&attempt.client);
        }
        let unanswered: Vec<Sent> = std::mem::take(&mut far.sent);
        for sent in unanswered {
            let is_new = far.leg(sent.leg).is_none_or(|leg| leg.dialog.is_none());
            match sent.what {
                What::Offer { .. } if is_new => self.abandon_request(sent.client, &[]),
                What::Offer { .. } | What::Removal => {
                    self.clients.insert(sent.client, Purpose::Orphan);
                }
                What::Passed(_) => far.sent.push(sent),
            }
        }
        let live: Vec<u32> = far.live().map(|leg| leg.id).collect();
        for id in live {
            self.bye_function(far, id, (&request, Some(client)));
        }
        far.passed.push(Passed {
            client,
            request,
            best: None,
        });
        Self::finish_passed(far, client);
    }

    /// Sends a leg its BYE; `of` is the session's own request that it belongs to.
    fn bye_function(
        &mut self,
        far: &mut Far,
        id: u32,
        (request, of): (&Message, Option<ClientKey>),
    ) {
        let Some(leg) = far.leg_mut(id).filter(|leg| !leg.is_over) else {
            return;
        };
        leg.is_over = true;
        let Some(dialog) = leg.dialog.as_mut() else {
            return;
        };
        let mut bye = dialog.request(Method::Bye);
        crate::cpm::passing::pass(&request.headers, &mut bye.headers);
        bye.headers.remove(Name::MessageUid);
        bye.body = request.body.clone();
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        let Ok(client) = self.tx.request(self.now, bye, flow) else {
            return;
        };
        let purpose = if let Some(of) = of {
            let (leg, what) = (id, What::Passed(of));
            far.sent.push(Sent { client, leg, what });
            Purpose::Function(far.session)
        } else {
            Purpose::Orphan
        };
        self.clients.insert(client, purpose);
    }

    /// A leg that has nothing to do in the session any more.
    pub(super) fn leave_function(&mut self, far: &mut Far, id: u32, reasons: &[Text]) {
        let mut request = Message::request(Method::Bye, far.target.clone());
        for reason in reasons {
            request.headers.push(Name::Reason, reason.clone());
        }
        self.bye_function(far, id, (&request, None));
        self.remove_leg(far, id);
    }

    /// Takes back what every function is asked, and leaves those that have answered.
    pub(super) fn let_go(&mut self, far: &mut Far, reasons: &[Text]) {
        for sent in std::mem::take(&mut far.sent) {
            let is_new = far.leg(sent.leg).is_none_or(|leg| leg.dialog.is_none());
            if is_new && matches!(sent.what, What::Offer { .. }) {
                self.abandon_request(sent.client, reasons);
            } else {
                self.clients.insert(sent.client, Purpose::Orphan);
            }
        }
        let legs: Vec<u32> = far.legs.iter().map(|leg| leg.id).collect();
        for id in legs {
            self.leave_function(far, id, reasons);
        }
    }

    /// A function's BYE.
    pub(super) fn on_function_bye(
        &mut self,
        session: &mut Session,
        far: &mut Far,
        id: u32,
        (key, bye): (ServerKey, Message),
    ) -> Option<(ServerKey, Message)> {
        let is_established = matches!(session.stage, Stage::Talking | Stage::Answering(_));
        self.end_requests_of(session, far, id);
        if let Some(leg) = far.leg_mut(id) {
            leg.is_over = true;
        }
        let is_inviting = matches!(session.stage, Stage::Opening(_) | Stage::Inviting(_));
        let others = far.live().count();
        let is_partial =
            others > 0 && is_established && session.policy.interworking.close == IwfClose::Streams;
        if !is_partial && !is_inviting {
            // The session as a whole; the other functions are told with the near side.
            return Some((key, bye));
        }
        Self::forbid_retry(far, id);
        if is_partial {
            far.leaving.push((id, key, bye));
        } else {
            self.reply(key, &bye, 200, "OK");
            self.remove_leg(far, id);
            self.advance_attempt(session, far);
        }
        None
    }

    /// RFC 3261 §15.1.2: what is pending in a dialog that is over.
    fn end_requests_of(&mut self, session: &mut Session, far: &mut Far, id: u32) {
        let mut kept = Vec::new();
        for sent in std::mem::take(&mut far.sent) {
            let is_offer = matches!(sent.what, What::Offer { .. } | What::Removal);
            if sent.leg == id && is_offer {
                self.clients.insert(sent.client, Purpose::Orphan);
            } else {
                kept.push(sent);
            }
        }
        far.sent = kept;
        let asked = far.asked.iter().filter(|asked| asked.leg == id);
        let servers: Vec<ServerKey> = asked.map(|asked| asked.server).collect();
        for server in servers {
            let relayed = session
                .relayed
                .iter()
                .find(|relayed| relayed.server == server);
            match relayed.map(|relayed| relayed.client) {
                Some(Some(client)) => self.tx.cancel(self.now, client, &[]),
                Some(None) => self.drop_relayed(session, server),
                None => {}
            }
        }
    }

    /// The streams of a function that has left are not offered to another one.
    fn forbid_retry(far: &mut Far, id: u32) {
        let owned = far.owned(id);
        let all: Vec<usize> = (0..far.settings.functions.len()).collect();
        if let Some(attempt) = far.attempt.as_mut() {
            for index in owned {
                if let Some(asked) = attempt.asked.get_mut(index) {
                    asked.clone_from(&all);
                }
            }
        }
    }

    /// Releases the streams of the functions that have left, and answers their BYEs after that
    /// (BYO-07, BYT-09; CON-08: at once, not after the near side's answer).
    pub(super) fn release_left(&mut self, session: &mut Session, far: &mut Far) {
        for (id, server, bye) in std::mem::take(&mut far.leaving) {
            let lines = far.owned(id);
            self.remove_leg(far, id);
            let streams = session.media.drop_lines(&lines);
            let bye = Some((server, bye));
            self.release_and_tell(session, far, streams, Left { bye });
        }
    }

    /// Releases streams; only when they are, others are told.
    pub(super) fn release_and_tell(
        &mut self,
        session: &Session,
        far: &mut Far,
        streams: StreamSet,
        left: Left,
    ) {
        if streams == StreamSet::default() {
            self.answer_left(&left);
            return;
        }
        far.releasing += 1;
        far.deletion = Deletion::Due(self.now);
        self.order_release(session, streams, After::FunctionLeft(Box::new(left)));
    }

    /// A function's streams are released: it is told so, and the near side may be.
    pub(in crate::engine) fn on_function_left(&mut self, session: &mut Session, left: &Left) {
        self.answer_left(left);
        if let Some(far) = session.interworked.as_mut() {
            far.releasing = far.releasing.saturating_sub(1);
        }
    }

    pub(in crate::engine) fn answer_left(&mut self, left: &Left) {
        if let Some((server, bye)) = &left.bye {
            self.reply(*server, bye, 200, "OK");
        }
    }
}
