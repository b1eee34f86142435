//! A small SIP client, scripted by a test line by line: one thread, no timers but the test's own.

mod call;
mod message;
mod transport;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use call::Call;
pub use message::{Message, parameter};
use transport::Transport;

/// How long a client waits for a message that must come.
pub const SOON: Duration = Duration::from_secs(30);

/// A client at one address.
#[derive(Debug)]
pub struct Agent {
    name: String,
    transport: Transport,
    /// The first hop of every request outside a dialog.
    pub hop: SocketAddr,
    /// The Route set of requests outside a dialog, with brackets.
    pub routes: Vec<String>,
    backlog: VecDeque<Message>,
    /// Requests whose copies are retransmissions: branch and method, and the last answer.
    answered: Vec<(String, Option<Message>)>,
    retransmissions: u64,
}

impl Agent {
    /// A client over UDP that sends to `hop`.
    ///
    /// # Panics
    ///
    /// No port is free.
    #[must_use]
    pub fn udp(name: &str, hop: SocketAddr) -> Self {
        Self::new(name, Transport::udp(hop.ip()), hop)
    }

    /// A client over TCP that sends to `hop` and takes connections.
    ///
    /// # Panics
    ///
    /// No port is free.
    #[must_use]
    pub fn tcp(name: &str, hop: SocketAddr) -> Self {
        Self::new(name, Transport::tcp(hop.ip()), hop)
    }

    fn new(name: &str, transport: Transport, hop: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            transport,
            hop,
            routes: Vec::new(),
            backlog: VecDeque::new(),
            answered: Vec::new(),
            retransmissions: 0,
        }
    }

    /// Sets the Route set of requests outside a dialog.
    #[must_use]
    pub fn via(mut self, routes: &[String]) -> Self {
        self.routes = routes.to_vec();
        self
    }

    /// Where this client is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.transport.address()
    }

    /// The URI that reaches this client directly.
    #[must_use]
    pub fn uri(&self) -> String {
        let kind = self.transport.name().to_ascii_lowercase();
        format!("sip:{}@{};transport={kind}", self.name, self.address())
    }

    /// Copies of requests and of final responses that came again.
    #[must_use]
    pub const fn retransmissions(&self) -> u64 {
        self.retransmissions
    }

    /// Invites `uri` with `sdp` (empty: a late offer).
    pub fn invite(&mut self, uri: &str, sdp: &str) -> Call {
        self.invite_with(uri, sdp, &[])
    }

    /// Invites with further header fields.
    pub fn invite_with(&mut self, uri: &str, sdp: &str, fields: &[(&str, &str)]) -> Call {
        let mut call = Call::outgoing(self, uri);
        call.send_invite(self, sdp, fields);
        call
    }

    /// Invites with a list of users beside the description (RFC 5366 §4).
    pub fn invite_list(&mut self, uri: &str, sdp: &str, users: &[String]) -> Call {
        let mut call = Call::outgoing(self, uri);
        let entries: String = users
            .iter()
            .map(|user| format!("<entry uri=\"{user}\"/>"))
            .collect();
        let body = format!(
            "--list\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--list\r\n\
             Content-Type: application/resource-lists+xml\r\n\
             Content-Disposition: recipient-list\r\n\r\n<?xml version=\"1.0\"?>\
             <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list>\
             </resource-lists>\r\n--list--\r\n"
        );
        call.invite = call
            .request(self, "INVITE", 1)
            .with("Require", "recipient-list-invite")
            .with_body("multipart/mixed;boundary=list", &body);
        self.send(&call.invite);
        call
    }

    /// Sends a MESSAGE outside a dialog with a body and further fields; gives the final response.
    pub fn message(
        &mut self,
        uri: &str,
        (kind, body): (&str, &str),
        fields: &[(&str, &str)],
    ) -> Message {
        let call = Call::outgoing(self, uri);
        let mut request = call.request(self, "MESSAGE", 1);
        for (name, value) in fields {
            request = request.with(name, *value);
        }
        self.send(&request.with_body(kind, body));
        self.response("MESSAGE")
    }

    /// Sends OPTIONS outside a dialog.
    pub fn ask_options(&mut self, uri: &str) -> Message {
        let call = Call::outgoing(self, uri);
        let request = call.request(self, "OPTIONS", 1);
        self.send(&request);
        request
    }

    /// Sends OPTIONS outside a dialog and waits for the final response.
    pub fn options(&mut self, uri: &str) -> Message {
        let _sent = self.ask_options(uri);
        self.response("OPTIONS")
    }

    /// Registers this client for `address` at its first hop (RFC 3261 §10.2), with parameters of
    /// its Contact such as `+sip.instance`; gives the final response.
    pub fn register(&mut self, address: &str, contact: &str, expires_s: u32) -> Message {
        let mut call = Call::outgoing(self, address);
        call.names_itself(address);
        let mut request = call.request(self, "REGISTER", 1);
        let own = format!("<{}>;{contact}", self.uri());
        request.fields.retain(|(name, _)| name != "Contact");
        let request = request
            .with("Contact", own)
            .with("Expires", expires_s.to_string())
            .with_body("", "");
        self.send(&request);
        self.response("REGISTER")
    }

    /// Waits for an INVITE outside a dialog and takes it as a call.
    pub fn incoming(&mut self) -> Call {
        let invite = self.expect("an INVITE", |message| {
            message.is_request("INVITE") && message.to_tag().is_none()
        });
        Call::incoming(self, invite)
    }

    /// The same within `at_most`; `None`: nobody calls.
    pub fn incoming_within(&mut self, at_most: Duration) -> Option<Call> {
        let invite = self.within(at_most, |message| {
            message.is_request("INVITE") && message.to_tag().is_none()
        })?;
        Some(Call::incoming(self, invite))
    }

    /// Sends a message: a request to its Route or the first hop, a response to its Via.
    pub fn send(&mut self, message: &Message) {
        let to = self.destination(message);
        self.transport.send(&message.text(), to);
    }

    /// Sends bytes as they are to the first hop.
    pub fn throw(&mut self, bytes: &[u8]) {
        self.transport.throw(bytes, self.hop);
    }

    /// Answers `request` with `code`, with further fields and a body.
    pub fn answer(&mut self, request: &Message, code: u16, fields: &[(&str, &str)], sdp: &str) {
        let mut response = Message::new(format!("SIP/2.0 {code} {}", reason(code)));
        for (name, value) in &request.fields {
            let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
            if copied.iter().any(|kept| kept.eq_ignore_ascii_case(name)) {
                response = response.with(name, value.clone());
            }
        }
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("To") {
                response
                    .fields
                    .retain(|(key, _)| !key.eq_ignore_ascii_case("To"));
            }
            response = response.with(name, *value);
        }
        let mut response = response.with_body("application/sdp", sdp);
        response.connection = request.connection;
        if code >= 200 {
            let key = key(request);
            if let Some(entry) = self.answered.iter_mut().find(|(known, _)| *known == key) {
                entry.1 = Some(response.clone());
            }
        }
        self.send(&response);
    }

    /// Waits for the final response to `method`; provisional ones are dropped.
    pub fn response(&mut self, method: &str) -> Message {
        let what = format!("a final response to {method}");
        self.expect(&what, |message| {
            message.method() == method && message.code().is_some_and(|code| code >= 200)
        })
    }

    /// Waits for a response with this code to `method`.
    pub fn response_of(&mut self, method: &str, code: u16) -> Message {
        self.expect(&format!("{code} to {method}"), |message| {
            message.method() == method && message.code() == Some(code)
        })
    }

    /// Waits for a request.
    pub fn request(&mut self, method: &str) -> Message {
        self.expect(method, |message| message.is_request(method))
    }

    /// Waits for a message that `wanted` takes; others stay for later.
    ///
    /// # Panics
    ///
    /// It doesn't come within 30 s.
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let found = self.within(SOON, wanted);
        found.unwrap_or_else(|| {
            let others: Vec<&str> = self
                .backlog
                .iter()
                .map(|other| other.start.as_str())
                .collect();
            panic!("{} waited for {what} and has only {others:?}", self.name)
        })
    }

    /// Waits at most `at_most` for a message that `wanted` takes.
    pub fn within(
        &mut self,
        at_most: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Option<Message> {
        let end = Instant::now() + at_most;
        let mut seen = 0;
        loop {
            while let Some(message) = self.backlog.get(seen) {
                if wanted(message) {
                    return self.backlog.remove(seen);
                }
                seen += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            // What is there when this thread comes late is in time.
            if !self.receive(left) && left.is_zero() {
                return None;
            }
        }
    }

    /// Says that nothing but retransmissions and provisional responses comes for `during`.
    ///
    /// # Panics
    ///
    /// A message is there or comes.
    pub fn hears_nothing(&mut self, during: Duration) {
        let heard = self.within(during, |message| {
            message.code().is_none_or(|code| code >= 200)
        });
        assert!(heard.is_none(), "{} heard {heard:#?}", self.name);
    }

    /// Takes a message in; `false`: none came.
    fn receive(&mut self, at_most: Duration) -> bool {
        let Some((text, connection)) = self.transport.receive(at_most) else {
            return false;
        };
        let Some(mut message) = Message::parse(&text) else {
            panic!("{} can't read what came:\n{text}", self.name);
        };
        message.connection = connection;
        if message.code().is_some() {
            if self.backlog.contains(&message) {
                self.retransmissions += 1;
            } else {
                self.backlog.push_back(message);
            }
            return true;
        }
        let key = key(&message);
        match self.answered.iter().find(|(known, _)| *known == key) {
            None => {
                self.answered.push((key, None));
                self.backlog.push_back(message);
            }
            Some((_, answer)) => {
                self.retransmissions += 1;
                if let Some(response) = answer.clone() {
                    self.send(&response);
                }
            }
        }
        true
    }

    fn destination(&self, message: &Message) -> SocketAddr {
        if message.code().is_some() {
            // RFC 3261 §18.2.2: over a stream the answer takes the connection of the request.
            let by_via = || sent_by(message.field("Via"));
            return message.connection.or_else(by_via).unwrap_or(self.hop);
        }
        if message.to_tag().is_none() {
            return self.hop;
        }
        let route = message.uris("Route").into_iter().next();
        let target = message.start.split(' ').nth(1).unwrap_or("").to_owned();
        host(&route.unwrap_or(target)).unwrap_or(self.hop)
    }
}

/// What makes a request a copy of another one (RFC 3261 §17.2.3).
fn key(request: &Message) -> String {
    let branch = parameter(request.field("Via"), "branch").unwrap_or("");
    format!("{branch} {} {}", request.method(), request.field("CSeq"))
}

/// Where a response goes (RFC 3261 §18.2.2, RFC 3581).
fn sent_by(via: &str) -> Option<SocketAddr> {
    let sent: SocketAddr = via.split(' ').nth(1)?.split(';').next()?.parse().ok()?;
    let ip = parameter(via, "received")
        .and_then(|ip| ip.parse().ok())
        .unwrap_or_else(|| sent.ip());
    let port = parameter(via, "rport")
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| sent.port());
    Some(SocketAddr::new(ip, port))
}

/// The address in a URI: `sip:user@127.0.0.1:5060;transport=udp`.
#[must_use]
pub fn host(uri: &str) -> Option<SocketAddr> {
    let rest = uri.split_once(':')?.1;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split([';', '?', '>']).next()?;
    host.parse().ok().or_else(|| {
        Some(SocketAddr::new(
            host.trim_matches(['[', ']']).parse().ok()?,
            5060,
        ))
    })
}

const fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests;
