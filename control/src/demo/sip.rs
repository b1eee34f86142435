//! A SIP user agent over UDP, as small as it can be: one session, no authentication.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::error::DemoError;
use super::{now, random};

/// Timer T1 (RFC 3261 §17.1.1.1).
const T1: Duration = Duration::from_millis(500);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a waiting thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A message, read.
#[derive(Debug)]
pub(super) struct Message {
    start: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Message {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        Some(Self {
            start: lines.next()?.to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (long_name(name.trim()), value.trim().to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }

    fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(known, _): &&(String, String)| known == name;
        self.headers
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// A header's name in small letters, and in full.
fn long_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let full = match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        "c" => "content-type",
        other => other,
    };
    full.to_owned()
}

/// The URIs of name-addr values, each between angle brackets.
fn uris<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    values
        .flat_map(|value| value.split('<').skip(1))
        .filter_map(|rest| rest.split_once('>'))
        .map(|(uri, _)| uri.to_owned())
        .collect()
}

/// The address in `sip:user@address:port;...`.
fn address_in(uri: &str) -> Result<SocketAddr, DemoError> {
    let rest = uri.strip_prefix("sip:").unwrap_or(uri);
    let host = rest.split([';', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let with_port = host.parse().or_else(|_| format!("{host}:5060").parse());
    with_port.map_err(|_| DemoError::unexpected("a SIP URI with an address", uri))
}

/// The side that calls.
#[derive(Debug)]
pub(super) struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    from: String,
    to: String,
    call_id: String,
    sequence: u32,
    target: String,
    route: Vec<String>,
    /// What a network says of the caller, as header fields.
    asserted: String,
    name: String,
}

impl Caller {
    /// A caller whose requests go to `proxy`, or straight to the callee.
    pub(super) fn new(
        socket: UdpSocket,
        callee: SocketAddr,
        proxy: Option<SocketAddr>,
    ) -> Result<Self, DemoError> {
        let local = socket.local_addr().map_err(DemoError::doing("SIP"))?;
        Ok(Self {
            from: format!("<sip:alice@{local}>;tag={:016x}", random()),
            to: format!("<sip:bob@{callee}>"),
            call_id: format!("{:016x}@demo", random()),
            sequence: 0,
            target: format!("sip:bob@{callee}"),
            route: proxy
                .map(|proxy| format!("sip:{proxy};lr;orig"))
                .into_iter()
                .collect(),
            asserted: "P-Asserted-Identity: <sip:alice@example.com>\r\n\
                       P-Served-User: <sip:alice@example.com>;sescase=orig;regstate=reg\r\n"
                .to_owned(),
            name: "alice".to_owned(),
            socket,
            local,
        })
    }

    /// One who calls a group at its Controlling Function.
    pub(super) fn to_group(
        socket: UdpSocket,
        name: &str,
        group: &str,
        focus: SocketAddr,
    ) -> Result<Self, DemoError> {
        let local = socket.local_addr().map_err(DemoError::doing("SIP"))?;
        let name = name.to_lowercase();
        Ok(Self {
            from: format!("<sip:{name}@{local}>;tag={:016x}", random()),
            to: format!("<{group}>"),
            call_id: format!("{:016x}@demo", random()),
            sequence: 0,
            target: group.to_owned(),
            route: vec![format!("sip:{focus};lr")],
            asserted: format!("P-Asserted-Identity: <sip:{name}@{local}>\r\n"),
            name,
            socket,
            local,
        })
    }

    /// Calls with an offer, and returns the answer.
    pub(super) fn invite(&mut self, offer: &str) -> Result<String, DemoError> {
        let extra = format!(
            "Contact: <sip:{}@{}>\r\n{}Accept-Contact: *;+g.3gpp.icsi-ref=\
             \"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\n\
             P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session\r\n\
             Conversation-ID: {:032x}\r\nContribution-ID: {:032x}\r\n\
             Content-Type: application/sdp\r\n",
            self.name,
            self.local,
            self.asserted,
            random(),
            random(),
        );
        let response = self.transact("INVITE", &extra, offer)?;
        self.to = response.header("to").to_owned();
        self.target = uris(response.all("contact")).pop().unwrap_or_default();
        self.route = uris(response.all("record-route"));
        self.route.reverse();
        let ack = self.request("ACK", "", "");
        self.send(&ack)?;
        Ok(response.body)
    }

    /// Ends the call.
    pub(super) fn bye(&mut self) -> Result<(), DemoError> {
        self.transact("BYE", "", "").map(|_| ())
    }

    /// Sends a request, again and again until something comes, and returns its 2xx.
    fn transact(&mut self, method: &str, extra: &str, body: &str) -> Result<Message, DemoError> {
        self.sequence += 1;
        let request = self.request(method, extra, body);
        self.send(&request)?;
        let (begin, mut wait, mut heard) = (now(), T1, false);
        let mut again = begin + wait;
        while now() < begin + PATIENCE {
            if let Some(response) = self.receive(method)? {
                match response.code() {
                    Some(100..=199) => heard = true,
                    Some(200..=299) => return Ok(response),
                    _ => return Err(DemoError::unexpected("a 200", &response.start)),
                }
            } else if !heard && now() >= again {
                self.send(&request)?;
                wait *= 2;
                again = now() + wait;
            }
        }
        Err(DemoError::late(format!("a final response to {method}")))
    }

    fn request(&self, method: &str, extra: &str, body: &str) -> String {
        let route: String = (self.route.iter())
            .map(|uri| format!("Route: <{uri}>\r\n"))
            .collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{:016x};rport\r\n\
             Max-Forwards: 70\r\n{route}From: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.local,
            random(),
            self.from,
            self.to,
            self.call_id,
            self.sequence,
            body.len(),
        )
    }

    fn send(&self, request: &str) -> Result<(), DemoError> {
        let next = self.route.first().unwrap_or(&self.target);
        self.socket
            .send_to(request.as_bytes(), address_in(next)?)
            .map_err(DemoError::doing("sending SIP"))?;
        Ok(())
    }

    /// A response to the latest request, if one comes soon.
    fn receive(&self, method: &str) -> Result<Option<Message>, DemoError> {
        let wanted = format!("{} {method}", self.sequence);
        let message = receive(&self.socket)?.map(|(message, _)| message);
        Ok(message.filter(|message| message.code().is_some() && message.header("cseq") == wanted))
    }
}

/// Receives one message, if one comes soon.
fn receive(socket: &UdpSocket) -> Result<Option<(Message, SocketAddr)>, DemoError> {
    let mut buffer = [0; 65_535];
    socket
        .set_read_timeout(Some(LOOK))
        .map_err(DemoError::doing("SIP"))?;
    // What can't be received is as good as lost: whoever sent it sends it again.
    let Ok((length, from)) = socket.recv_from(&mut buffer) else {
        return Ok(None);
    };
    let message = Message::read(buffer.get(..length).unwrap_or_default());
    Ok(message.map(|message| (message, from)))
}

/// Answers one call until its BYE, or until it is told to stop: an INVITE with what `answer` makes of
/// its offer. What else `answer` makes of it is told once the ACK has come, as only then whoever calls
/// knows the answer.
pub(super) fn be_called<T>(
    socket: &UdpSocket,
    name: &str,
    stop: &AtomicBool,
    mut answer: impl FnMut(&str) -> Result<(String, T), DemoError>,
    tell: &Sender<T>,
) -> Result<(), DemoError> {
    let local = socket.local_addr().map_err(DemoError::doing("SIP"))?;
    let tag = format!("{:016x}", random());
    let mut answered: Option<Answered<T>> = None;
    while !stop.load(Ordering::Relaxed) {
        let came = receive(socket)?;
        if let Some(answered) = &mut answered {
            answered.remind(socket)?;
        }
        let Some((request, from)) = came else {
            continue;
        };
        let say = |code: &str, extra: &str, body: &str| {
            let response = respond(&request, code, &tag, (extra, body));
            send(socket, &response, from).map(|()| response)
        };
        match request.method() {
            "INVITE" if answered.is_none() => {
                let contact = format!("Contact: <sip:{name}@{local}>\r\n");
                say("180 Ringing", &contact, "")?;
                let extra = format!("{contact}Content-Type: application/sdp\r\n");
                let (body, news) = answer(&request.body)?;
                let response = say("200 OK", &extra, &body)?;
                answered = Some(Answered::new(response, from, news));
            }
            "INVITE" => {}
            "ACK" => {
                if let Some(news) = answered.as_mut().and_then(|answered| answered.news.take()) {
                    // Whoever made the call may have given up.
                    let _ = tell.send(news);
                }
            }
            "BYE" => return say("200 OK", "", "").map(drop),
            _ if request.code().is_some() => {}
            _ => drop(say("501 Not Implemented", "", "")?),
        }
    }
    Ok(())
}

/// A 200 that is sent until its ACK comes (RFC 3261 §13.3.1.4).
struct Answered<T> {
    response: String,
    to: SocketAddr,
    wait: Duration,
    again: std::time::Instant,
    /// What is told at the ACK; `None`: it has come.
    news: Option<T>,
}

impl<T> Answered<T> {
    fn new(response: String, to: SocketAddr, news: T) -> Self {
        Self {
            response,
            to,
            wait: T1,
            again: now() + T1,
            news: Some(news),
        }
    }

    fn remind(&mut self, socket: &UdpSocket) -> Result<(), DemoError> {
        if self.news.is_none() || now() < self.again {
            return Ok(());
        }
        self.wait *= 2;
        self.again = now() + self.wait;
        send(socket, &self.response, self.to)
    }
}

fn send(socket: &UdpSocket, text: &str, to: SocketAddr) -> Result<(), DemoError> {
    let sent = socket.send_to(text.as_bytes(), to);
    sent.map(|_| ()).map_err(DemoError::doing("sending SIP"))
}

/// A response to a request, with more headers and a body.
fn respond(request: &Message, code: &str, tag: &str, (extra, body): (&str, &str)) -> String {
    let mut text = format!("SIP/2.0 {code}\r\n");
    for (name, shown) in [("via", "Via"), ("record-route", "Record-Route")] {
        for value in request.all(name) {
            text.push_str(&format!("{shown}: {value}\r\n"));
        }
    }
    let to = match request.header("to") {
        to if to.contains(";tag=") => to.to_owned(),
        to => format!("{to};tag={tag}"),
    };
    text.push_str(&format!(
        "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        request.header("from"),
        request.header("call-id"),
        request.header("cseq"),
        body.len(),
    ));
    text
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::thread;

    use super::{Caller, Message, receive, respond, send, uris};

    #[test]
    fn routes_are_read_in_short_and_long_headers() {
        let text = b"SIP/2.0 200 OK\r\nRecord-Route: <sip:a;lr>, <sip:b;lr>\r\n\
                     record-route: \"x\" <sip:c;lr>;p=1\r\nm: <sip:bob@127.0.0.1>\r\n\r\n";
        let message = Message::read(text).unwrap();
        let routes = uris(message.all("record-route"));
        assert_eq!(routes, ["sip:a;lr", "sip:b;lr", "sip:c;lr"]);
        assert_eq!(message.header("contact"), "<sip:bob@127.0.0.1>");
        assert_eq!(message.code(), Some(200));
    }

    #[test]
    fn a_request_is_sent_again_until_it_is_heard() {
        let (here, there) = (socket(), socket());
        let to = there.local_addr().unwrap();
        let far_end = move || {
            let (first, _) = heard(&there);
            let (again, from) = heard(&there);
            assert_eq!(first.header("via"), again.header("via"));
            let contact = "Contact: <sip:bob@127.0.0.1:9>\r\n";
            let response = respond(&again, "200 OK", "tag", (contact, "answer"));
            send(&there, &response, from).unwrap();
        };
        let far_end = thread::Builder::new().spawn(far_end).unwrap();
        let answer = Caller::new(here, to, None).unwrap().invite("offer");
        far_end.join().unwrap();
        assert_eq!(answer.unwrap(), "answer");
    }

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn heard(socket: &UdpSocket) -> (Message, SocketAddr) {
        (0..100).find_map(|_| receive(socket).unwrap()).unwrap()
    }
}
