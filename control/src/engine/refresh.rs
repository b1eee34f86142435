//! What keeps a dialog as the far side knows it: its target, its expiry, its ACKs.

use bytes::Bytes;
use dataplane::api::Side;

use super::Engine;
use super::session::{Session, Stage};
use crate::sip::{Message, Method, Name};
impl Engine {
    /// A target refresh: the side may have moved (RFC 3261 §12.2).
    pub(super) fn note_target(&self, session: &mut Session, side: Side, message: &Message) {
        let refreshes = matches!(message.cseq(), Some((_, Method::Invite | Method::Update)));
        let is_failure = message.code().is_some_and(|code| code >= 300);
        if !refreshes || is_failure {
            return;
        }
        let leg = session.leg_mut(side);
        if let Some(dialog) = leg.dialog.as_mut() {
            dialog.refresh_target(message);
        }
        if let Some(contact) = message.headers.values(Name::Contact).next() {
            leg.contact = Some(contact.to_owned().into());
        }
    }

    /// Notes when the session ends unless it is refreshed (RFC 4028 §10).
    pub(super) fn note_expiry(&mut self, session: &mut Session, response: &Message) {
        let seconds = response
            .headers
            .get(Name::SessionExpires)
            .and_then(|value| value.split(';').next())
            .and_then(|value| value.trim().parse::<u32>().ok());
        session.expires = seconds
            .map(|seconds| self.now + std::time::Duration::from_secs(u64::from(seconds.max(90))));
        if matches!(session.stage, Stage::Talking) {
            let expires = session.expires;
            self.set_deadline_at(session, expires);
        }
    }

    /// Sends the ACK for a 2xx on a leg.
    pub(super) fn acknowledge(
        &mut self,
        session: &mut Session,
        side: Side,
        response: &Message,
        sdp: Option<Bytes>,
    ) {
        if let Some((seq, _)) = response.cseq() {
            self.send_ack(session, side, seq, sdp);
        }
    }

    pub(super) fn send_ack(
        &mut self,
        session: &mut Session,
        side: Side,
        seq: u32,
        sdp: Option<Bytes>,
    ) {
        session.leg_mut(side).acked = Some((seq, sdp.clone()));
        self.transmit_ack(session, side, seq, sdp);
    }

    /// A 2xx came again: its ACK was lost, or is not due yet as the answer for it is awaited.
    pub(super) fn acknowledge_again(&mut self, session: &Session, side: Side, response: &Message) {
        let Some((seq, _)) = response.cseq() else {
            return;
        };
        let is_closing = matches!(session.stage, Stage::Closing(_));
        match &session.leg(side).acked {
            Some((acked, sdp)) if *acked == seq => {
                let sdp = sdp.clone();
                self.transmit_ack(session, side, seq, sdp);
            }
            Some((acked, _)) if seq < *acked => self.transmit_ack(session, side, seq, None),
            _ if is_closing => self.transmit_ack(session, side, seq, None),
            Some(_) | None => {}
        }
    }

    fn transmit_ack(&mut self, session: &Session, side: Side, seq: u32, sdp: Option<Bytes>) {
        // Functions are acknowledged one by one, as they answer.
        if side == Side::B && session.interworked.is_some() {
            return;
        }
        let Some(dialog) = session.leg(side).dialog.as_ref() else {
            return;
        };
        let mut ack = dialog.ack(seq);
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        if let Some(sdp) = sdp {
            ack.set_body("application/sdp", sdp);
        }
        self.tx.send_ack(ack, flow);
    }
}
