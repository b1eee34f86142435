//! Pager Mode messages to pre-defined groups (MSG-07 to MSG-09): answered as soon as the sender is
//! authorised, then sent to each member. Nothing of it reaches the data plane (MSG-11).
//!
//! Where the sender wants notifications, the group is on their way (RFC 5438, IMDN-Record-Route):
//! see [`super::notices`].

use crate::cpm::groups::Group;
use crate::cpm::imdn::Head;
use crate::cpm::participating::Role;
use crate::cpm::policy::user_key;
use crate::cpm::{identity, passing};
use crate::engine::{Engine, Purpose};
use crate::sip::{Flow, Message, Name, ServerKey};

use super::notices::MessageKey;

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
        let head = Head::of(request);
        if let Some(head) = &head {
            let told = head.notices(&request.body);
            if !told.is_empty() {
                self.on_group_notices(key, request, group, (head, told));
                return;
            }
            // It is nothing to read for the members.
            if head.is_notice(&request.body) {
                self.reply(key, request, 400, "Bad Notification");
                return;
            }
        }
        let (code, reason) = match group.rules.message_ack {
            200 => (200, "OK"),
            _ => (202, "Accepted"),
        };
        self.reply(key, request, code, reason);
        let mut request = request.clone();
        let asked = head.and_then(|head| self.expect_notices(&mut request, head, (group, flow)));
        let others = group.members.iter().filter(|member| {
            let member = user_key(member);
            member != own && group.may_be_added(&member)
        });
        for member in others {
            self.send_group_message(&request, (group, member), asked.as_ref(), flow);
        }
    }

    /// Sends it to one member. Where it fails, that is told if it was asked for (DN-05).
    fn send_group_message(
        &mut self,
        request: &Message,
        (group, member): (&Group, &str),
        asked: Option<&MessageKey>,
        core: Flow,
    ) {
        let own = group.address.as_deref().unwrap_or_default();
        let sender = identity::caller(request).unwrap_or_default();
        let mut message = self.new_message(member, own);
        let headers = &mut message.headers;
        passing::pass(&request.headers, headers);
        headers.remove(Name::PServedUser);
        headers.set(Name::PAssertedIdentity, format!("<{own}>"));
        headers.set(Name::ReferredBy, format!("<{sender}>"));
        passing::name_the_service(headers);
        self.server_header(&mut message, Name::UserAgent);
        message.body = request.body.clone();
        let flow = self.way_to(&message, core);
        match (self.tx.request(self.now, message, flow), asked) {
            (Ok(client), asked) => {
                self.clients.insert(client, Purpose::Orphan);
                if let Some(key) = asked {
                    self.focus.notices.sent(client, key, member);
                }
            }
            (Err(_), Some(key)) => self.tell_member_failed(key, member),
            (Err(_), None) => {}
        }
    }
}
