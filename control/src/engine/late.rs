//! Offers that come in a 2xx and are answered in its ACK (RFC 3264 §4, OFR-01).

use dataplane::api::{Act, Refusal, Side};

use super::Engine;
use super::again::settle;
use super::closing::Why;
use super::orders::After;
use super::session::{Carrier, Exchange, Relayed, Session, Stage};
use crate::cpm::body;
use crate::sip::{Message, ServerKey};

/// A 2xx with an offer, held back until its ports are bound.
pub(super) struct Late {
    /// The side that gets the 2xx, and its INVITE's transaction.
    pub near: (Side, ServerKey),
    /// The 2xx for it, with the far side's offer still in it.
    pub response: Message,
    /// The CSeq number of the INVITE on the far side's leg.
    pub seq: u32,
    /// The CSeq number of the near side's INVITE.
    pub near_seq: u32,
    /// What passes the 2xx on: the session's first INVITE, or a re-INVITE.
    pub relayed: Option<Relayed>,
}

impl Engine {
    /// Side B answered an INVITE without an offer with an offer of its own.
    pub(super) fn on_late_offer(
        &mut self,
        session: &mut Session,
        near: (Side, ServerKey),
        to_near: Message,
        response: &Message,
    ) {
        let (seq, near_seq) = (seq_of(response), seq_of(&to_near));
        self.open_late(
            session,
            Late {
                near,
                response: to_near,
                seq,
                near_seq,
                relayed: None,
            },
            response,
        );
    }

    /// The far side answered a re-INVITE that was passed on without an exchange.
    pub(super) fn on_late_reanswer(
        &mut self,
        session: &mut Session,
        relayed: Relayed,
        response: Message,
    ) {
        let far = relayed.from.other();
        if body::sdp(&response).is_none() {
            self.acknowledge(session, far, &response, None);
            self.pass_back(session, &relayed, &response, None);
            return;
        }
        let (seq, near_seq) = (seq_of(&response), seq_of(&relayed.request));
        let near = (relayed.from, relayed.server);
        let late = Late {
            near,
            response: response.clone(),
            seq,
            near_seq,
            relayed: Some(relayed),
        };
        self.open_late(session, late, &response);
    }

    fn open_late(&mut self, session: &mut Session, late: Late, offer: &Message) {
        let offerer = late.near.0.other();
        let offered = body::sdp(offer)
            .ok_or(())
            .and_then(|sdp| session.offer(offerer, &sdp).map_err(|_| ()));
        let Ok(mut proposal) = offered else {
            self.counters.offers_refused += 1;
            self.refuse_late(session, &late);
            return;
        };
        let opens = proposal.take_opens();
        let carrier = Carrier::Late {
            offerer,
            seq: late.seq,
            answered_by: None,
        };
        session.exchange = Some(Exchange {
            from: offerer,
            proposal,
            carrier,
        });
        if opens.is_empty() {
            self.on_late_opened(session, late, Vec::new(), None);
        } else {
            self.order(session, opens, After::LateOpened(Box::new(late)));
        }
    }

    pub(super) fn on_late_opened(
        &mut self,
        session: &mut Session,
        late: Late,
        acts: Vec<Act>,
        refused: Option<Refusal>,
    ) {
        let sdp = session
            .exchange
            .as_mut()
            .filter(|_| refused.is_none())
            .and_then(|exchange| {
                exchange.proposal.opened(acts);
                exchange.proposal.offer_to_far().ok()
            });
        let Some(sdp) = sdp else {
            session.exchange = None;
            self.refuse_late(session, &late);
            return;
        };
        if let Some(Exchange {
            carrier: Carrier::Late { answered_by, .. },
            ..
        }) = session.exchange.as_mut()
        {
            *answered_by = Some(late.near_seq);
        }
        if let Some(relayed) = &late.relayed {
            self.pass_back(session, relayed, &late.response, Some(&sdp));
        } else {
            let mut response = late.response;
            response.body = body::replace_sdp(&response, &sdp);
            self.on_answered(session, response);
        }
    }

    /// The late offer can't be taken: the far side's 2xx is acknowledged and the session ends.
    fn refuse_late(&mut self, session: &mut Session, late: &Late) {
        let (near, server) = late.near;
        self.send_ack(session, near.other(), late.seq, None);
        let stage = std::mem::replace(&mut session.stage, Stage::Talking);
        match stage {
            Stage::Answering(invite) => {
                let response = Message::response(&invite.request, 488, "Not Acceptable Here");
                self.bye_to(session, near.other(), None);
                self.fail(session, server, response);
            }
            stage => {
                session.stage = stage;
                if let Some(relayed) = &late.relayed {
                    self.reply(server, &relayed.request, 488, "Not Acceptable Here");
                }
                if matches!(session.stage, Stage::Talking) {
                    self.close(session, None, Why::NotAcceptable);
                }
            }
        }
    }

    /// An ACK of one side: it may carry the answer to a late offer.
    pub(super) fn on_session_ack(&mut self, session: &mut Session, side: Side, ack: &Message) {
        let Some(Exchange {
            carrier:
                Carrier::Late {
                    offerer,
                    seq,
                    answered_by,
                },
            ..
        }) = session.exchange.as_ref()
        else {
            return;
        };
        let (offerer, seq) = (*offerer, *seq);
        // An ACK of an earlier INVITE may come again.
        let is_answer = *answered_by == Some(seq_of(ack));
        if offerer != side.other() || !is_answer {
            return;
        }
        let Some(mut exchange) = session.exchange.take() else {
            return;
        };
        let answered = body::sdp(ack).and_then(|sdp| exchange.proposal.answer(&sdp).ok());
        // Its ACK ended the INVITE that could have carried another offer.
        let Some(answered) = answered.filter(|answered| !answered.offer_again) else {
            self.send_ack(session, offerer, seq, None);
            self.close(session, None, Why::NotAcceptable);
            return;
        };
        let sdp = answered.to_offerer.clone();
        let acts = settle(session, exchange, answered);
        let after = After::LateAnswered { offerer, seq, sdp };
        self.order(session, acts, after);
    }
}

fn seq_of(message: &Message) -> u32 {
    message.cseq().map_or(1, |(seq, _)| seq)
}
