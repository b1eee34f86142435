//! What is sent to one function: an INVITE that begins a dialog, and requests inside it.

use bytes::Bytes;
use dataplane::api::Side;

use super::describe;
use super::far::{Far, Leg, Sent, What};
use crate::cpm::{body, passing, routing};
use crate::engine::session::{DialogKey, Place, Session};
use crate::engine::{Engine, Purpose};
use crate::limits;
use crate::sip::{ClientKey, Dialog, Message, Method, Name, Text};

impl Engine {
    /// Offers some lines to a function in a dialog of their own (IWM-04).
    pub(super) fn invite_function(
        &mut self,
        session: &Session,
        far: &mut Far,
        function: usize,
        lines: Vec<usize>,
    ) {
        if far.legs.len() >= limits::IWF_DIALOGS_PER_SESSION {
            return;
        }
        let Some(leg) = self.new_leg(session, far, function, lines) else {
            return;
        };
        let Some(message) = Self::invite_of(far, &leg) else {
            return;
        };
        let mut leg = leg;
        leg.said = message.1;
        let Ok(client) = self.tx.request(self.now, message.0, leg.flow) else {
            return;
        };
        self.clients.insert(client, Purpose::Function(far.session));
        let place = Place {
            session: session.id,
            side: Side::B,
        };
        self.dialogs
            .insert(DialogKey::kept(&leg.call_id, &leg.local_tag), place);
        far.sent.push(Sent {
            client,
            leg: leg.id,
            what: What::Offer { before: None },
        });
        if far.call_ids.len() < limits::IWF_DIALOGS_PER_SESSION {
            far.call_ids.push(leg.call_id.clone());
        }
        far.legs.push(leg);
    }

    fn new_leg(
        &mut self,
        session: &Session,
        far: &mut Far,
        function: usize,
        lines: Vec<usize>,
    ) -> Option<Leg> {
        let hop = &far.settings.functions.get(function)?.hop;
        let flow = self.flow_to(
            hop.protocol,
            hop.literal()?,
            session.leg(Side::B).flow.local,
        )?;
        let id = far.next_leg;
        far.next_leg += 1;
        Some(Leg {
            id,
            function,
            call_id: self.tx.new_call_id(),
            local_tag: self.tx.new_tag(),
            flow,
            dialog: None,
            lines,
            said: describe::Said::default(),
            in_force: Vec::new(),
            held: Vec::new(),
            is_over: false,
        })
    }

    /// The session's INVITE as one to a function, with its part of the offer.
    fn invite_of(far: &Far, leg: &Leg) -> Option<(Message, describe::Said)> {
        let attempt = far.attempt.as_ref()?;
        let first = far.invite.as_ref()?;
        let function = far.settings.functions.get(leg.function)?;
        let mut invite = Message::request(Method::Invite, far.target.clone());
        invite.headers.push(Name::Route, function.route.clone());
        let hops = attempt.request.headers.get(Name::MaxForwards);
        invite
            .headers
            .push(Name::MaxForwards, hops.unwrap_or("70").to_owned());
        let from = first.headers.get(Name::From).unwrap_or_default();
        let from = passing::with_tag(from, Some(&leg.local_tag));
        invite.headers.push(Name::From, from);
        let to = first.headers.get(Name::To).unwrap_or_default();
        invite.headers.push(Name::To, passing::with_tag(to, None));
        invite.headers.push(Name::CallId, leg.call_id.clone());
        invite.headers.push(Name::CSeq, "1 INVITE");
        invite
            .headers
            .push(Name::Contact, own_contact(leg, &attempt.request));
        // A later one is an invitation like the first: for the same conversation, by the same user.
        passing::pass(&first.headers, &mut invite.headers);
        passing::without_100rel(&mut invite.headers);
        invite
            .headers
            .retain(|header| header.name() != Name::ContentType);
        let mut part = describe::part(&attempt.offer, &leg.lines, |_| true);
        let said = leg.said.next(&mut part);
        if attempt.is_first {
            let kind = attempt.request.content_type().unwrap_or("application/sdp");
            invite.headers.push(Name::ContentType, kind.to_owned());
            invite.body = body::replace_sdp(&attempt.request, said.bytes());
        } else {
            invite.set_body("application/sdp", said.bytes().clone());
        }
        routing::serve_strict_router(&mut invite);
        Some((invite, said))
    }

    /// A function has answered its INVITE with a 2xx; whether that makes a dialog.
    pub(super) fn make_dialog(
        &self,
        far: &mut Far,
        id: u32,
        client: ClientKey,
        response: &Message,
    ) -> bool {
        let dialog = self.tx.invite_of(client).and_then(|sent| {
            let flow = self.tx.flow_of(client)?;
            Dialog::uac(sent, response, flow).ok()
        });
        let Some(leg) = far.leg_mut(id) else {
            return false;
        };
        leg.dialog = dialog.map(keep_texts);
        leg.dialog.is_some()
    }

    /// Sends a request of the session in a leg's dialog; nothing where there is none.
    pub(super) fn send_in_leg(
        &mut self,
        far: &mut Far,
        id: u32,
        (request, what): (&Message, What),
    ) {
        let Some(leg) = far.legs.iter_mut().find(|leg| leg.id == id) else {
            return;
        };
        let contact = own_contact(leg, request);
        let (Some(dialog), Some(method)) = (leg.dialog.as_mut(), request.method()) else {
            return;
        };
        let mut message = dialog.request(method.clone());
        if let Some(hops) = request.headers.get(Name::MaxForwards) {
            message.headers.set(Name::MaxForwards, hops.to_owned());
        }
        if matches!(method, Method::Invite | Method::Update)
            || request.headers.get(Name::Contact).is_some()
        {
            message.headers.push(Name::Contact, contact);
        }
        passing::pass(&request.headers, &mut message.headers);
        // What a client's own Participating Function tells it is nothing to an IWF (BYT-06).
        message.headers.remove(Name::MessageUid);
        if *method == Method::Invite {
            passing::without_100rel(&mut message.headers);
        }
        message.body = request.body.clone();
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        if let Ok(client) = self.tx.request(self.now, message, flow) {
            self.clients.insert(client, Purpose::Function(far.session));
            far.sent.push(Sent {
                client,
                leg: id,
                what,
            });
        }
    }

    /// Tells a function that lines it had are no longer used.
    pub(super) fn take_lines_back(&mut self, far: &mut Far, id: u32) {
        let owned = far.owned(id);
        let Some(leg) = far.leg_mut(id) else { return };
        if leg.held.iter().all(|index| owned.contains(index)) {
            return;
        }
        leg.held.clone_from(&owned);
        let Ok(mut said) = crate::sdp::Sdp::parse(leg.said.bytes()) else {
            return;
        };
        let lines = said.media().iter().zip(&leg.lines);
        let lines = lines.map(|(line, index)| {
            if owned.contains(index) {
                line.clone()
            } else {
                line.disabled()
            }
        });
        said = said.with_media(lines.collect());
        leg.in_force = said.media().to_vec();
        leg.said = leg.said.next(&mut said);
        let mut request = Message::request(Method::Invite, far.target.clone());
        let bytes: Bytes = far
            .leg(id)
            .map(|leg| leg.said.bytes().clone())
            .unwrap_or_default();
        request.set_body("application/sdp", bytes);
        self.send_in_leg(far, id, (&request, What::Removal));
    }

    /// Forgets a leg that came to nothing.
    pub(super) fn remove_leg(&mut self, far: &mut Far, id: u32) {
        far.disown(id);
        if let Some(at) = far.legs.iter().position(|leg| leg.id == id) {
            let leg = far.legs.swap_remove(at);
            self.drop_leg(&leg);
        }
    }

    /// Forgets a leg that was never answered.
    pub(super) fn remove_new_leg(&mut self, far: &mut Far, id: u32) {
        if far.leg(id).is_some_and(|leg| leg.dialog.is_none()) {
            self.remove_leg(far, id);
        }
    }

    pub(super) fn drop_leg(&mut self, leg: &Leg) {
        self.dialogs.remove(&DialogKey {
            call_id: leg.call_id.clone(),
            local_tag: leg.local_tag.clone(),
        });
    }
}

/// Our Contact towards a function, with the near side's feature tags.
fn own_contact(leg: &Leg, request: &Message) -> String {
    let tags = request.headers.values(Name::Contact).next();
    passing::own_contact(leg.flow.local, leg.flow.protocol, tags)
}

/// Lets go of the message that a dialog's texts are pieces of.
fn keep_texts(mut dialog: Dialog) -> Dialog {
    let own = [
        &mut dialog.call_id,
        &mut dialog.local_tag,
        &mut dialog.remote_tag,
        &mut dialog.local,
        &mut dialog.remote,
        &mut dialog.remote_target,
    ];
    Text::gather(own.into_iter().chain(dialog.route_set.iter_mut()));
    dialog
}

/// The reason phrase for what no function has said itself.
pub(super) fn reason_of(code: u16) -> &'static str {
    match code {
        408 => "Request Timeout",
        _ => "Service Unavailable",
    }
}
