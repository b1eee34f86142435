//! Pager Mode messages to pre-defined groups (MSG-07 to MSG-09): answered as soon as the sender is
//! authorised, then sent to each member. Nothing of it reaches the data plane (MSG-11).

use crate::cpm::groups::Group;
use crate::cpm::participating::Role;
use crate::cpm::policy::user_key;
use crate::cpm::{identity, passing};
use crate::engine::{Engine, Purpose};
use crate::sip::{Flow, Message, Method, Name, ServerKey};

impl Engine {
    /// A MESSAGE to a group's address.
    pub(super) fn on_group_message(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: &Group,
        (flow, own_route): (Flow, Option<&str>),
    ) {
        let sender = identity::caller(request).unwrap_or_default();
        let own = user_key(sender);
        let is_served = Role::of(request, own_route, self.settings.role) == Role::Originating;
        let is_barred = is_served && self.policy_of(Role::Originating, request).barred;
        if is_barred || !group.admits(&own) {
            self.counters.groups_refused += 1;
            self.reply(key, request, 403, "Forbidden");
            return;
        }
        let (code, reason) = match group.rules.message_ack {
            200 => (200, "OK"),
            _ => (202, "Accepted"),
        };
        self.reply(key, request, code, reason);
        let others = group.members.iter().filter(|member| {
            let member = user_key(member);
            member != own && group.may_be_added(&member)
        });
        for member in others {
            self.send_group_message(request, (group, member), (sender, flow));
        }
    }

    /// Sends it to one member. What becomes of it there is nobody else's business.
    fn send_group_message(
        &mut self,
        request: &Message,
        (group, member): (&Group, &str),
        (sender, core): (&str, Flow),
    ) {
        let own = group.address.as_deref().unwrap_or_default();
        let mut message = Message::request(Method::Message, member.to_owned());
        let (tag, call_id) = (self.tx.new_tag(), self.tx.new_call_id());
        let headers = &mut message.headers;
        headers.push(Name::MaxForwards, "70");
        headers.push(Name::From, format!("<{own}>;tag={tag}"));
        headers.push(Name::To, format!("<{member}>"));
        headers.push(Name::CallId, call_id);
        headers.push(Name::CSeq, "1 MESSAGE");
        passing::pass(&request.headers, headers);
        headers.remove(Name::PServedUser);
        headers.set(Name::PAssertedIdentity, format!("<{own}>"));
        headers.set(Name::ReferredBy, format!("<{sender}>"));
        passing::name_the_service(headers);
        self.server_header(&mut message, Name::UserAgent);
        message.body = request.body.clone();
        let flow = self.way_to(&message, core);
        if let Ok(client) = self.tx.request(self.now, message, flow) {
            self.clients.insert(client, Purpose::Orphan);
        }
    }
}
