//! Messages and notifications that are proxied, and what follows from where they can't go on.

use super::Said;
use crate::cpm::imdn::{CPIM, Envelope, Head, Undelivered};
use crate::cpm::policy::user_key;
use crate::cpm::{identity, passing};
use crate::engine::{Engine, Purpose};
use crate::sip::{Flow, Headers, Message, Method, Name, Text};

/// What a proxied request means, beyond its answer.
pub(in crate::engine) enum Watched {
    /// A message whose sender wants to hear where it fails.
    Message(Box<Failure>),
    /// The notification of its kind that stands for all of the recipient's devices.
    Notice(Said),
}

/// What it takes to tell a sender that a message couldn't be delivered.
pub(in crate::engine) struct Failure {
    head: Head,
    sender: Text,
    recipient: Text,
    flow: Flow,
    carried: Headers,
}

impl Failure {
    pub(super) fn of(request: &Message, head: Head, flow: Flow) -> Self {
        Self {
            head,
            sender: Text::copied(identity::caller(request).unwrap_or_default()),
            recipient: Text::copied(request.request_uri().unwrap_or_default()),
            flow,
            carried: request.headers.kept(&CARRIED),
        }
    }
}

impl Engine {
    /// A proxied message or notification has its final response.
    pub(in crate::engine) fn on_watched_final(&mut self, watched: Option<Watched>, code: u16) {
        match watched {
            Some(Watched::Message(failure)) if is_failure(code) => self.tell_failure(&failure),
            // Another device's may do better.
            Some(Watched::Notice(said)) if code >= 300 => self.pager.take_back(&said),
            Some(Watched::Message(_) | Watched::Notice(_)) | None => {}
        }
    }

    /// Tells a sender that a message couldn't be delivered (DN-03, DN-04).
    fn tell_failure(&mut self, failure: &Failure) {
        let Failure {
            head,
            sender,
            recipient,
            ..
        } = failure;
        let Some(message_id) = head.message_id.as_deref() else {
            return;
        };
        let key = (user_key(sender), message_id.to_owned(), user_key(recipient));
        if self.pager.failures.get(&key).is_some() {
            return;
        }
        let id = self.tx.new_call_id().to_string();
        self.pager.failures.insert(self.now, key, id.clone());
        let now = self.wall(self.now);
        let document = Undelivered {
            message_id,
            at: head.at.as_deref(),
            recipient,
            original: recipient,
        }
        .document(now);
        let body = Envelope {
            from: recipient,
            to: head.from.as_deref().unwrap_or(sender),
            id: &id,
            routes: &head.record_routes,
        }
        .around(&[document], now);
        let mut message = self.new_message(sender, recipient);
        let headers = &mut message.headers;
        passing::pass(&failure.carried, headers);
        headers.set(Name::PAssertedIdentity, format!("<{recipient}>"));
        passing::name_the_service(headers);
        message.set_body(CPIM, body);
        self.counters.notices_made += 1;
        self.send_message(message, failure.flow);
    }

    /// A MESSAGE of the relay's own, to somebody and in the name of somebody.
    pub(in crate::engine) fn new_message(&mut self, to: &str, from: &str) -> Message {
        let mut message = Message::request(Method::Message, to.to_owned());
        let (tag, call_id) = (self.tx.new_tag(), self.tx.new_call_id());
        let headers = &mut message.headers;
        headers.push(Name::MaxForwards, "70");
        headers.push(Name::From, format!("<{from}>;tag={tag}"));
        headers.push(Name::To, format!("<{to}>"));
        headers.push(Name::CallId, call_id);
        headers.push(Name::CSeq, "1 MESSAGE");
        message
    }

    /// Sends it; what becomes of it is nobody else's business.
    pub(in crate::engine) fn send_message(&mut self, mut message: Message, core: Flow) {
        self.server_header(&mut message, Name::UserAgent);
        let flow = self.way_to(&message, core);
        if let Ok(client) = self.tx.request(self.now, message, flow) {
            self.clients.insert(client, Purpose::Orphan);
        }
    }
}

/// Whether a code says that a message wasn't delivered; a challenge says that it comes again.
fn is_failure(code: u16) -> bool {
    code >= 300 && !matches!(code, 401 | 407)
}

/// What a notification has in common with its message.
pub(in crate::engine) const CARRIED: [Name; 3] = [
    Name::ConversationId,
    Name::ContributionId,
    Name::PAssertedService,
];
