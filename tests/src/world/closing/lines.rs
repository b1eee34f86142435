//! The messages of a party, line by line.

use std::net::SocketAddr;

use crate::world::text::{contact, finish, head, header, param};

/// A dialog, from one of its ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Dialog {
    address: String,
    call_id: String,
    local: String,
    remote: String,
    /// The Request-URI of the next request.
    pub target: String,
    /// The route set, each with its brackets.
    routes: Vec<String>,
    sequence: u32,
}

impl Dialog {
    pub fn caller(
        address: SocketAddr,
        callee: SocketAddr,
        relays: &[SocketAddr],
        seed: u64,
    ) -> Self {
        let routes = relays.iter().enumerate().map(|(at, relay)| match at {
            0 => format!("<sip:{relay};lr;orig>"),
            _ => format!("<sip:{relay};lr>"),
        });
        Self {
            address: address.to_string(),
            call_id: format!("{seed:x}@{}", address.ip()),
            local: format!("<sip:alice@home.example>;tag=c{seed:x}"),
            remote: "<sip:bob@home.example>".to_owned(),
            target: format!("sip:bob@{callee}"),
            routes: routes.collect(),
            sequence: 0,
        }
    }

    pub fn callee(address: SocketAddr, invite: &str, tag: u64) -> Self {
        Self {
            address: address.to_string(),
            call_id: header(invite, "Call-ID").to_owned(),
            local: format!("{};tag=d{tag:x}", header(invite, "To")),
            remote: header(invite, "From").to_owned(),
            target: contact(invite),
            routes: record_routes(invite),
            sequence: 0,
        }
    }

    /// The remote end is known.
    pub fn is_up(&self) -> bool {
        self.remote.contains("tag=")
    }

    /// RFC 3261 §12.1.2: the caller's end of the dialog, by the 2xx.
    pub fn answered(&mut self, response: &str) {
        header(response, "To").clone_into(&mut self.remote);
        self.target = contact(response);
        self.routes = record_routes(response);
        self.routes.reverse();
    }

    /// Whether a request belongs to this dialog.
    pub fn is_of(&self, request: &str) -> bool {
        header(request, "Call-ID") == self.call_id
            && tag(header(request, "To")) == tag(&self.local)
            && tag(header(request, "From")) == tag(&self.remote)
    }

    pub fn request(&mut self, method: &str, branch: &str, sdp: &str) -> Vec<u8> {
        self.sequence += 1;
        self.build(method, (branch, &self.sequence.to_string()), sdp)
    }

    pub fn ack(&self, response: &str, branch: &str) -> (Vec<u8>, SocketAddr) {
        let sequence = header(response, "CSeq").split(' ').next().unwrap_or("1");
        let bytes = self.build("ACK", (branch, sequence), "");
        let to = next_hop(&String::from_utf8_lossy(&bytes)).expect("a dialog leads somewhere");
        (bytes, to)
    }

    pub fn ack_of_failure(&self, response: &str, branch: &str) -> (Vec<u8>, SocketAddr) {
        let mut dialog = self.clone();
        header(response, "To").clone_into(&mut dialog.remote);
        dialog.ack(response, branch)
    }

    fn build(&self, method: &str, (branch, sequence): (&str, &str), sdp: &str) -> Vec<u8> {
        let Self {
            address, target, ..
        } = self;
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch}\r\n\
             Max-Forwards: 70\r\n"
        );
        for route in &self.routes {
            text.push_str(&format!("Route: {route}\r\n"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:{address}>\r\nConversation-ID: conversation-{}\r\n\
             Contribution-ID: contribution-{}\r\nP-Asserted-Identity: {}\r\n",
            self.local,
            self.remote,
            self.call_id,
            self.call_id,
            self.call_id,
            self.local.split(';').next().unwrap_or(""),
        ));
        finish(&mut text, sdp);
        text.into_bytes()
    }

    pub fn response(&self, request: &str, status: &str, sdp: &str) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for line in head(request) {
            let name = line.split(':').next().unwrap_or("");
            if ["Via", "From", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        let to = header(request, "To");
        let to = if to.contains("tag=") {
            to
        } else {
            self.local.as_str()
        };
        text.push_str(&format!("To: {to}\r\nContact: <sip:{}>\r\n", self.address));
        finish(&mut text, sdp);
        text.into_bytes()
    }
}

/// RFC 3261 §9.1: the CANCEL of an INVITE.
pub(super) fn cancel(invite: &str) -> Vec<u8> {
    let mut text = invite
        .lines()
        .next()
        .unwrap_or("")
        .replace("INVITE", "CANCEL");
    text.push_str("\r\n");
    for line in head(invite) {
        let name = line.split(':').next().unwrap_or("");
        if ["Via", "From", "To", "Call-ID", "Max-Forwards", "Route"].contains(&name) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    let sequence = header(invite, "CSeq").split(' ').next().unwrap_or("1");
    text.push_str(&format!("CSeq: {sequence} CANCEL\r\n"));
    finish(&mut text, "");
    text.into_bytes()
}

/// Where a message goes: the first Route, else the Request-URI; a response to the top Via.
pub(super) fn next_hop(text: &str) -> Option<SocketAddr> {
    if text.starts_with("SIP/2.0 ") {
        let via = header(text, "Via").split(';').next()?;
        return via.split(' ').nth(1)?.parse().ok();
    }
    let route = header(text, "Route");
    let uri = if route.is_empty() {
        text.split(' ').nth(1)?
    } else {
        route
    };
    let uri = uri.trim_start_matches('<').trim_start_matches("sip:");
    let uri = uri.split(['>', ';']).next()?;
    let host = uri.rsplit('@').next()?;
    host.parse()
        .or_else(|_| format!("{host}:5060").parse())
        .ok()
}

/// What tells one server transaction from another.
pub(super) fn transaction(text: &str) -> String {
    let branch = param(header(text, "Via"), "branch");
    format!("{branch} {}", header(text, "CSeq"))
}

pub(super) fn tag(value: &str) -> &str {
    param(value, "tag")
}

fn record_routes(text: &str) -> Vec<String> {
    head(text)
        .filter_map(|line| line.strip_prefix("Record-Route: "))
        .flat_map(|line| line.split(','))
        .map(|route| route.trim().to_owned())
        .collect()
}

/// Where a party has its audio.
pub(super) fn media(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 4_000)
}

/// Audio and a chat.
pub(super) fn sdp(address: SocketAddr, version: u32, is_caller: bool) -> String {
    let ip = address.ip();
    let setup = if is_caller { "actpass" } else { "active" };
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\na=sendrecv\r\n\
         m=message 9 TCP/MSRP *\r\na=setup:{setup}\r\na=accept-types:*\r\n\
         a=path:msrp://{ip}:9/chat{version};tcp\r\n",
        media(address).port()
    )
}

/// A description whose chat is refused, or not offered any more.
pub(super) fn refused_chat(sdp: &str) -> String {
    sdp.replace("m=message 9 ", "m=message 0 ")
}

/// A description of audio alone.
pub(super) fn without_chat(sdp: &str) -> String {
    let end = sdp.find("m=message").unwrap_or(sdp.len());
    sdp[..end].to_owned()
}
