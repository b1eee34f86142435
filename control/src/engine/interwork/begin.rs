//! The decision to interwork a session: when it is invited, or when its far side has failed.

use std::sync::Arc;

use dataplane::api::Side;

use super::far::Far;
use crate::cpm::interworking::Cause;
use crate::cpm::participating::Role;
use crate::engine::Engine;
use crate::engine::branches::Target;
use crate::engine::forks::Fork;
use crate::engine::serving::Served;
use crate::engine::session::{Carrier, Invite, Session, Stage};
use crate::sip::{Flow, Message, Method, ServerKey};

impl Engine {
    /// Begins a session outside of CPM where an INVITE can't be or need not be tried there: its
    /// address isn't one of SIP (IWS-10), no device of the served user can have it
    /// (IWS-05), or there is no way
    /// to the far network, for which it would be `refused` (IWS-09). Says whether that is done with.
    pub(in crate::engine) fn begin_interworked(
        &mut self,
        key: ServerKey,
        request: &Message,
        (role, refused): (Role, Option<u16>),
        from: Flow,
    ) -> bool {
        if request.method() != Some(&Method::Invite) {
            return false;
        }
        let settings = &self.settings.interworking;
        let address = request.request_uri().unwrap_or_default();
        let policy = self.policy_of(role, request);
        let cause = match (role, refused) {
            (_, Some(code)) => settings.cause_of(role, code),
            (Role::Originating, None) if settings.is_unroutable(address) => Some(Cause::Scheme),
            (Role::Terminating, None) if self.is_unreachable(role, request, &policy) => {
                Some(Cause::Unregistered)
            }
            (Role::Originating | Role::Terminating, None) => None,
        };
        let Some(cause) = cause else { return false };
        let takes = settings.takes(cause, policy.interworking, address);
        if policy.barred {
            return false;
        }
        if let Some(to) = self.flow_to_functions(from).filter(|_| takes) {
            let served = Served {
                role,
                policy,
                is_interworked: true,
                fork: Fork::asked(to),
            };
            self.begin(key, request.clone(), served, (from, to));
            return true;
        }
        if cause == Cause::Scheme {
            self.reply(key, request, 416, "Unsupported URI Scheme");
        }
        cause == Cause::Scheme
    }

    fn flow_to_functions(&self, from: Flow) -> Option<Flow> {
        let mut functions = self.settings.interworking.functions.iter();
        functions.find_map(|function| {
            self.flow_to(function.hop.protocol, function.hop.literal()?, from.local)
        })
    }

    /// Makes a new session an interworked one.
    pub(in crate::engine) fn interwork(&mut self, session: &mut Session, request: &Message) {
        let target = request.request_uri().unwrap_or_default().to_owned();
        let tag = self.tx.new_tag();
        session.interworked = Some(Box::new(Far::new(
            session.id,
            (target.into(), tag),
            Arc::clone(&self.settings.interworking),
        )));
        self.counters.sessions_interworked += 1;
        tracing::info!(session = session.id.0, "a session is interworked");
    }

    /// The far side has refused a session's INVITE: where that can be mended by interworking, the
    /// INVITE is sent anew, and the near side sees nothing of the refusal (IWS-08, IWS-09). Gives
    /// the INVITE back where it can't.
    pub(in crate::engine) fn interwork_after(
        &mut self,
        session: &mut Session,
        invite: Box<Invite>,
        code: u16,
    ) -> Option<Box<Invite>> {
        let settings = &self.settings.interworking;
        let address = invite.request.request_uri().unwrap_or_default();
        let cause = settings.cause_of(session.role, code);
        let takes =
            cause.is_some_and(|cause| settings.takes(cause, session.policy.interworking, address));
        let is_open = session
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.carrier == Carrier::Invite);
        let flow = self.flow_to_functions(session.leg(Side::B).flow);
        let Some(flow) = flow.filter(|_| takes && is_open && session.interworked.is_none()) else {
            return Some(invite);
        };
        self.drop_branches(session, "SIP;cause=487");
        let mut invite = invite;
        invite.targets = vec![Target::asked(flow)];
        // The near side's early dialog goes on with the one that follows.
        invite.forks.clear();
        // A late response to the first INVITE must not find the second's.
        let (call_id, local_tag) = (self.tx.new_call_id(), self.tx.new_tag());
        let leg = session.leg_mut(Side::B);
        leg.call_id = call_id;
        leg.local_tag = local_tag;
        leg.flow = flow;
        leg.dialog = None;
        leg.contact = None;
        self.interwork(session, &invite.request);
        session.stage = Stage::Opening(invite);
        self.send_invite(session);
        None
    }
}
