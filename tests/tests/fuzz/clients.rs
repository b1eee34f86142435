//! What clients say in SIP: right, out of place, or nearly right.

use control::sip::{Flow, Protocol};
use rand::RngExt;
use rand::rngs::StdRng;

use super::seeds;
use super::spoil::{noise, pick, spoil};

/// Where the relay listens.
pub const RELAY: &str = "192.0.2.1:5060";
/// Where the clients are; the first one calls.
pub const CLIENTS: [&str; 3] = ["192.0.2.10:5060", "192.0.2.20:5060", "192.0.2.30:5060"];

/// What the clients know: everything that was said lately.
pub struct Clients {
    /// What the engine sent: to whom, and what.
    pub sent: Vec<(Flow, String)>,
    /// What was given to it.
    pub given: Vec<(Flow, Vec<u8>)>,
    seeds: Vec<Vec<u8>>,
    sdp: Vec<Vec<u8>>,
    number: u32,
}

/// The way to a client, over either transport.
pub fn flow(random: &mut StdRng, client: &str) -> Flow {
    let protocol = if random.random_ratio(3, 4) {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    let connection = u64::from(protocol == Protocol::Tcp);
    Flow {
        protocol,
        local: RELAY.parse().unwrap(),
        remote: client.parse().unwrap(),
        connection,
    }
}

/// A header's line in a message's text.
fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}: ");
    text.split("\r\n").find(|line| line.starts_with(&start))
}

/// Puts a body below headers that each end in CRLF.
fn with_body(head: &str, sdp: &[u8]) -> Vec<u8> {
    let kind = if sdp.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let head = format!("{head}{kind}Content-Length: {}\r\n\r\n", sdp.len());
    [head.as_bytes(), sdp].concat()
}

impl Clients {
    pub fn new() -> Self {
        Self {
            sent: Vec::new(),
            given: Vec::new(),
            seeds: seeds::sip(),
            sdp: seeds::sdp(),
            number: 0,
        }
    }

    /// Forgets what was said long ago.
    pub fn forget(&mut self) {
        let old = self.sent.len().saturating_sub(KEPT);
        self.sent.drain(..old);
        let old = self.given.len().saturating_sub(KEPT);
        self.given.drain(..old);
    }

    /// A message from outside: a fitting one or not, whole or not.
    pub fn say(&mut self, random: &mut StdRng) -> (Flow, Vec<u8>) {
        let message = match random.random_range(0..10) {
            0 => Some(self.invite(random)),
            1..=5 => self.response(random),
            6..=8 => self.in_dialog(random),
            _ => None,
        };
        let (flow, mut bytes) = message.unwrap_or_else(|| self.nonsense(random));
        if random.random_ratio(1, 15) {
            let other = pick(random, &self.seeds);
            spoil(random, &mut bytes, other);
        }
        (flow, bytes)
    }

    fn an_sdp(&self, random: &mut StdRng) -> Vec<u8> {
        let mut sdp = pick(random, &self.sdp).clone();
        match random.random_range(0..8) {
            0 => return Vec::new(),
            1 => {
                let other = pick(random, &self.sdp);
                spoil(random, &mut sdp, other);
            }
            _ => {}
        }
        sdp
    }

    /// An answer to the description in a message, or an offer after it: mostly the same again.
    fn echo(&self, random: &mut StdRng, text: &str) -> Vec<u8> {
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if random.random_ratio(1, 6) {
            return self.an_sdp(random);
        }
        let setup = *pick(random, &["a=setup:passive", "a=setup:active"]);
        body.replace("a=setup:actpass", setup).into_bytes()
    }

    /// A request outside a dialog.
    pub fn invite(&mut self, random: &mut StdRng) -> (Flow, Vec<u8>) {
        self.number += 1;
        let number = self.number;
        let (from, to) = (CLIENTS[0], pick(random, &CLIENTS));
        let uri = match random.random_range(0..6) {
            0 => "sip:bob@host.example".to_owned(),
            1 => format!("sip:bob@{RELAY}"),
            2 => "tel:+49123".to_owned(),
            _ => format!("sip:bob@{to}"),
        };
        let extra = pick(
            random,
            &[
                "",
                "Route: <sip:192.0.2.1:5060;lr>, <sip:192.0.2.30;lr>\r\n",
                "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uas\r\n",
                "Require: 100rel\r\n",
                "Max-Forwards: 0\r\n",
                "Session-Expires: 4294967295\r\nSupported: timer\r\n",
                "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\n",
            ],
        );
        let method = pick(
            random,
            &[
                "INVITE", "INVITE", "INVITE", "INVITE", "MESSAGE", "OPTIONS", "REFER",
            ],
        );
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKn{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@a.example>;tag=a{number}\r\nTo: <sip:bob@b.example>\r\nCall-ID: c{number}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:alice@{from}>\r\n{extra}"
        );
        (flow(random, from), with_body(&head, &self.an_sdp(random)))
    }

    /// A response to a request that the engine sent.
    fn response(&self, random: &mut StdRng) -> Option<(Flow, Vec<u8>)> {
        let is_request =
            |sent: &&(Flow, String)| !sent.1.starts_with("SIP/2.0") && !sent.1.starts_with("ACK");
        let requests: Vec<_> = self.sent.iter().filter(is_request).collect();
        if requests.is_empty() {
            return None;
        }
        let recent = random.random_range(requests.len().saturating_sub(6)..requests.len());
        let invite = requests
            .iter()
            .rposition(|(_, text)| text.starts_with("INVITE"));
        let at = invite.filter(|_| random.random()).unwrap_or(recent);
        let (flow, request) = requests[at];
        let codes = [
            "100 Trying",
            "180 Ringing",
            "183 Progress",
            "200 OK",
            "200 OK",
            "200 OK",
            "200 OK",
            "200 OK",
            "202 Accepted",
            "302 Moved",
            "401 Who",
            "408 Late",
            "422 Small",
            "481 Gone",
            "486 Busy",
            "487 Terminated",
            "488 No",
            "491 Pending",
            "500 Bad",
            "503 Full",
            "603 Decline",
            "699 Odd",
        ];
        let code = pick(random, &codes);
        let bytes = self.response_to(random, (*flow, request), code);
        Some((*flow, bytes))
    }

    /// A response with a code; a success has a description.
    pub fn response_to(
        &self,
        random: &mut StdRng,
        (flow, request): (Flow, &str),
        code: &str,
    ) -> Vec<u8> {
        let mut head = format!("SIP/2.0 {code}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            let start = format!("{name}: ");
            for line in request
                .split("\r\n")
                .filter(|line| line.starts_with(&start))
            {
                head += &format!("{line}\r\n");
            }
        }
        let to = line(request, "To").unwrap_or("To: <sip:x>");
        let tag = if to.contains("tag=") || code.starts_with("100") {
            String::new()
        } else {
            format!(";tag=b{}", random.random_range(0..3))
        };
        head += &format!("{to}{tag}\r\nContact: <sip:bob@{}>\r\n", flow.remote);
        let extra = [
            "",
            "",
            "Require: 100rel\r\nRSeq: 1\r\n",
            "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n",
        ];
        head += *pick(random, &extra);
        let has_sdp = matches!(code, "200 OK" | "183 Progress") || random.random_ratio(1, 8);
        let sdp = if has_sdp {
            self.echo(random, request)
        } else {
            Vec::new()
        };
        with_body(&head, &sdp)
    }

    /// A request inside a dialog, as either side would build it from what it was sent.
    fn in_dialog(&mut self, random: &mut StdRng) -> Option<(Flow, Vec<u8>)> {
        let said = self
            .sent
            .iter()
            .filter(|(_, text)| line(text, "To").is_some());
        let said: Vec<_> = said.collect();
        let late = said
            .len()
            .saturating_sub(if random.random() { 6 } else { 60 });
        let said = said.get(late..).filter(|said| !said.is_empty())?;
        let said = (*pick(random, said)).clone();
        let methods = [
            "ACK", "BYE", "INVITE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS", "CANCEL",
            "NOTIFY",
        ];
        let method = *pick(random, &methods);
        self.in_dialog_of(random, method, &said)
    }

    /// A request with a method, in the dialog of what its sender was sent.
    pub fn in_dialog_of(
        &mut self,
        random: &mut StdRng,
        method: &str,
        (flow, text): &(Flow, String),
    ) -> Option<(Flow, Vec<u8>)> {
        self.number += 1;
        let is_response = text.starts_with("SIP/2.0");
        let (from, to) = (line(text, "From")?, line(text, "To")?);
        // Who was sent a response has its own tag in From; who was sent a request, in To.
        let (own, far) = if is_response {
            (
                from["From: ".len()..].to_owned(),
                to["To: ".len()..].to_owned(),
            )
        } else {
            let tag = if to.contains("tag=") {
                String::new()
            } else {
                format!(";tag=b{}", random.random_range(0..3))
            };
            (
                format!("{}{tag}", &to["To: ".len()..]),
                from["From: ".len()..].to_owned(),
            )
        };
        let number = self.number;
        let cseq = if matches!(method, "ACK" | "CANCEL") {
            1
        } else {
            random.random_range(1..5)
        };
        let branch = if method == "CANCEL" || random.random_ratio(1, 10) {
            format!("z9hG4bKn{}", random.random_range(1..=number))
        } else {
            format!("z9hG4bKd{number}")
        };
        let extra = pick(
            random,
            &[
                "",
                "",
                "RAck: 1 1 INVITE\r\n",
                "Session-Expires: 90\r\n",
                "Route: <sip:192.0.2.1;lr>\r\n",
            ],
        );
        let target = line(text, "Contact")
            .and_then(|line| line.split(['<', '>']).nth(1))
            .unwrap_or("sip:192.0.2.1:5060");
        let head = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {own}\r\n\
             To: {far}\r\n{}\r\nCSeq: {cseq} {method}\r\nContact: <sip:me@{}>\r\n{extra}",
            flow.remote,
            line(text, "Call-ID")?,
            flow.remote
        );
        let has_sdp = matches!(method, "INVITE" | "UPDATE") || random.random_ratio(1, 5);
        let sdp = if has_sdp {
            self.echo(random, text)
        } else {
            Vec::new()
        };
        Some((*flow, with_body(&head, &sdp)))
    }

    /// Something that was said before, or that nobody ever said, nearly.
    fn nonsense(&self, random: &mut StdRng) -> (Flow, Vec<u8>) {
        let client = *pick(random, &CLIENTS);
        let other = flow(random, client);
        let mut said: Vec<(Flow, Vec<u8>)> = self.given.clone();
        said.extend(
            self.sent
                .iter()
                .map(|(flow, text)| (*flow, text.clone().into_bytes())),
        );
        said.extend((0..3).map(|_| (other, pick(random, &self.seeds).clone())));
        let (flow, mut bytes) = pick(random, &said).clone();
        match random.random_range(0..4) {
            0 => {}
            1 => bytes = noise(random, 400),
            _ => {
                let (_, other) = pick(random, &said);
                spoil(random, &mut bytes, other);
            }
        }
        (if random.random() { flow } else { other }, bytes)
    }
}

/// Messages that are remembered each way.
const KEPT: usize = 60;
