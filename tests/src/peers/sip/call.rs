//! One call as one side sees it: the INVITE, the dialog, its end (RFC 3261 §12, §13).

use super::message::{Message, parameter};
use super::{Agent, host};
use crate::peers::identifier;

/// A call of one client.
#[derive(Debug, Clone)]
pub struct Call {
    /// The INVITE that began it.
    pub invite: Message,
    id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

impl Call {
    pub(super) fn outgoing(agent: &Agent, uri: &str) -> Self {
        let host = host(uri).map_or_else(|| "invalid".to_owned(), |host| host.to_string());
        let user = uri
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once('@'));
        let user = user.map_or("anybody", |(user, _)| user);
        Self {
            invite: Message::new(""),
            id: identifier(),
            local: format!(
                "<sip:{}@{}>;tag={}",
                agent.name,
                agent.address(),
                identifier()
            ),
            remote: format!("<sip:{user}@{host}>"),
            target: uri.to_owned(),
            routes: agent.routes.clone(),
            cseq: 1,
        }
    }

    /// RFC 3261 §10.2: a REGISTER is from and to the address that is registered, and goes to its
    /// registrar.
    pub(super) fn names_itself(&mut self, address: &str) {
        self.local = format!("<{address}>;tag={}", identifier());
        self.remote = format!("<{address}>");
        let domain = address
            .rsplit_once('@')
            .map_or(address, |(_, domain)| domain);
        self.target = format!("sip:{domain}");
    }

    pub(super) fn incoming(_agent: &Agent, invite: Message) -> Self {
        let contact = invite
            .uris("Contact")
            .into_iter()
            .next()
            .unwrap_or_default();
        let routes = invite.uris("Record-Route");
        Self {
            id: invite.field("Call-ID").to_owned(),
            local: format!("{};tag={}", invite.field("To"), identifier()),
            remote: invite.field("From").to_owned(),
            target: contact,
            routes: routes.iter().map(|uri| format!("<{uri}>")).collect(),
            cseq: 1,
            invite,
        }
    }

    /// The Call-ID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A request of this call, in its dialog when there is one.
    #[must_use]
    pub fn request(&self, agent: &Agent, method: &str, cseq: u32) -> Message {
        let mut request = Message::new(format!("{method} {} SIP/2.0", self.target)).with(
            "Via",
            format!(
                "SIP/2.0/{} {};branch=z9hG4bK{};rport",
                agent.transport.name(),
                agent.address(),
                identifier()
            ),
        );
        for route in &self.routes {
            request = request.with("Route", route.clone());
        }
        request
            .with("Max-Forwards", "70")
            .with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.id.clone())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<{}>", agent.uri()))
    }

    pub(super) fn send_invite(&mut self, agent: &mut Agent, sdp: &str, fields: &[(&str, &str)]) {
        let mut request = self.request(agent, "INVITE", self.cseq);
        for (name, value) in fields {
            request = request.with(name, *value);
        }
        self.invite = request.with_body("application/sdp", sdp);
        agent.send(&self.invite);
    }

    /// Waits for 200 to the INVITE, acknowledges it, and is in the dialog from then on.
    pub fn established(&mut self, agent: &mut Agent) -> Message {
        let response = agent.response("INVITE");
        assert_eq!(response.code(), Some(200), "{}", response.text());
        self.confirm(&response);
        let ack = self.request(agent, "ACK", self.cseq);
        agent.send(&ack);
        response
    }

    /// Takes tag, target and routes of a response that makes a dialog (RFC 3261 §12.1.2).
    pub fn confirm(&mut self, response: &Message) {
        self.remote = response.field("To").to_owned();
        if let Some(contact) = response.uris("Contact").into_iter().next() {
            self.target = contact;
        }
        let mut routes = response.uris("Record-Route");
        routes.reverse();
        self.routes = routes.iter().map(|uri| format!("<{uri}>")).collect();
    }

    /// Waits for a final response other than 200 to the INVITE that began the call.
    pub fn failed(&self, agent: &mut Agent) -> Message {
        Self::refused(agent, &self.invite)
    }

    /// Waits for a final response other than 200 to `invite`, and acknowledges it as its
    /// transaction does: with the INVITE's Via and Route and on its way (RFC 3261 §17.1.1.3).
    pub fn refused(agent: &mut Agent, invite: &Message) -> Message {
        let response = agent.response("INVITE");
        assert!(response.code() >= Some(300), "{}", response.text());
        let mut ack = Message::new(invite.start.replacen("INVITE", "ACK", 1));
        for name in ["Via", "Route", "Max-Forwards", "From", "Call-ID"] {
            for value in invite.all(name) {
                ack = ack.with(name, value);
            }
        }
        let ack = ack
            .with("To", response.field("To"))
            .with("CSeq", invite.field("CSeq").replace("INVITE", "ACK"));
        let to = agent.destination(invite);
        agent.transport.send(&ack.text(), to);
        response
    }

    /// Answers the INVITE that came.
    pub fn answer(&self, agent: &mut Agent, code: u16, sdp: &str) {
        let contact = format!("<{}>", agent.uri());
        let fields = [("To", self.local.as_str()), ("Contact", contact.as_str())];
        agent.answer(&self.invite, code, &fields, sdp);
    }

    /// Sends a request in the dialog.
    pub fn send(&mut self, agent: &mut Agent, method: &str, sdp: &str) -> Message {
        self.cseq += 1;
        let request = self
            .request(agent, method, self.cseq)
            .with_body("application/sdp", sdp);
        agent.send(&request);
        request
    }

    /// Sends a re-INVITE, waits for 200 and acknowledges it.
    pub fn reinvite(&mut self, agent: &mut Agent, sdp: &str) -> Message {
        let _sent = self.send(agent, "INVITE", sdp);
        self.reinvited(agent)
    }

    /// Waits for 200 to a re-INVITE that was sent, and acknowledges it.
    pub fn reinvited(&self, agent: &mut Agent) -> Message {
        let response = agent.response("INVITE");
        assert_eq!(response.code(), Some(200), "{}", response.text());
        let ack = self.request(agent, "ACK", self.cseq);
        agent.send(&ack);
        response
    }

    /// Waits for a re-INVITE or UPDATE of the other side; answer it with [`Call::accept`].
    #[must_use]
    pub fn changed(&self, agent: &mut Agent, method: &str) -> Message {
        let (id, method) = (self.id.clone(), method.to_owned());
        agent.expect(&format!("{method} in the dialog"), |message| {
            message.is_request(&method) && message.field("Call-ID") == id
        })
    }

    /// Answers a request in the dialog with 200.
    pub fn accept(&self, agent: &mut Agent, request: &Message, sdp: &str) {
        let contact = format!("<{}>", agent.uri());
        agent.answer(request, 200, &[("Contact", contact.as_str())], sdp);
    }

    /// Sends BYE; the answer is waited for by [`Agent::response`].
    pub fn send_bye(&mut self, agent: &mut Agent) {
        let _sent = self.send(agent, "BYE", "");
    }

    /// Sends BYE and waits for 200.
    pub fn bye(&mut self, agent: &mut Agent) {
        self.send_bye(agent);
        let response = agent.response("BYE");
        assert_eq!(response.code(), Some(200), "{}", response.text());
    }

    /// Waits for BYE and answers it with 200.
    pub fn bye_answered(&self, agent: &mut Agent) -> Message {
        let bye = agent.request("BYE");
        agent.answer(&bye, 200, &[], "");
        bye
    }

    /// Cancels the INVITE that began the call (RFC 3261 §9.1).
    pub fn cancel(&self, agent: &mut Agent) {
        let invite = &self.invite;
        let mut cancel = Message::new(invite.start.replacen("INVITE", "CANCEL", 1));
        for name in ["Via", "Route", "Max-Forwards", "From", "To", "Call-ID"] {
            for value in invite.all(name) {
                cancel = cancel.with(name, value);
            }
        }
        agent.send(&cancel.with("CSeq", invite.field("CSeq").replace("INVITE", "CANCEL")));
    }

    /// The tag of this side.
    #[must_use]
    pub fn local_tag(&self) -> &str {
        parameter(&self.local, "tag").unwrap_or("")
    }
}
