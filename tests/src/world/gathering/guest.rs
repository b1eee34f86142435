//! A client that takes part in a group session, written from RFC 3261, 3515, 4575 and 6665 with
//! string code of its own.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::GROUP;
use super::lines::{Lines, read};
use super::view::View;
use crate::world::net::Parcel;
use crate::world::text::{contact, finish, head, header, param};
use crate::world::waits::Waits;

/// One thing that a guest does of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Join,
    Leave,
    Modify,
    /// Asks for another guest, by its number, to be added.
    Add(usize),
    Remove(usize),
    Watch,
    /// Accepts the invitation that it has.
    Accept,
    /// Refuses it.
    Refuse,
}

/// Where a guest is in its dialog of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// It has sent an INVITE.
    Asking,
    /// It got one, and hasn't answered.
    Asked(String),
    In,
}

/// Its dialog of the session.
#[derive(Debug, Clone)]
struct Talk {
    place: Place,
    call_id: String,
    local: String,
    remote: String,
    target: String,
    lines: Lines,
    /// What it has offered and has no answer to.
    offered: Option<Lines>,
}

/// A guest.
pub struct Guest {
    address: SocketAddr,
    relay: SocketAddr,
    rng: StdRng,
    todo: Vec<(Instant, Act)>,
    waits: Waits,
    /// What was answered to a request, by its branch and method.
    replies: HashMap<String, Vec<u8>>,
    /// ACKs, by the INVITE's branch.
    acks: HashMap<String, Vec<u8>>,
    sent: VecDeque<Parcel>,
    talk: Option<Talk>,
    /// Its subscription: Call-ID, and what it was told.
    watch: Option<(String, View)>,
    sequence: u32,
    identity: Option<String>,
}

impl Guest {
    pub(super) fn new(address: SocketAddr, relay: SocketAddr, seed: u64) -> Self {
        Self {
            address,
            relay,
            rng: StdRng::seed_from_u64(seed),
            todo: Vec::new(),
            waits: Waits::default(),
            replies: HashMap::new(),
            acks: HashMap::new(),
            sent: VecDeque::new(),
            talk: None,
            watch: None,
            sequence: 0,
            identity: None,
        }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Its address of record.
    #[must_use]
    pub fn uri(&self) -> String {
        uri_of(self.address)
    }

    /// Has it do something at a time.
    pub(super) fn plan(&mut self, at: Instant, act: Act) {
        self.todo.push((at, act));
    }

    /// The media that it uses, where it takes part.
    #[must_use]
    pub fn media(&self) -> Option<Vec<String>> {
        let talk = self.talk.as_ref()?;
        (talk.place == Place::In).then(|| talk.lines.used())
    }

    /// What it knows of the others, where it watches.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        let (_, view) = self.watch.as_ref()?;
        (view.is_active()).then_some(view)
    }

    /// Nothing of its own waits for anything.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.waits.is_empty()
    }

    pub(super) fn sent(&mut self) -> Option<Parcel> {
        self.sent.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let todo = self.todo.iter().map(|(at, _)| *at);
        todo.chain(self.waits.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = self.todo.drain(..).partition(|(at, _)| *at <= now);
        self.todo = later;
        for (_, act) in due {
            self.act(now, act);
        }
        for bytes in self.waits.due(now).again {
            self.post(bytes);
        }
    }

    fn act(&mut self, now: Instant, act: Act) {
        let is_in = self
            .talk
            .as_ref()
            .is_some_and(|talk| talk.place == Place::In);
        match act {
            Act::Join if self.talk.is_none() => self.join(now),
            Act::Leave if is_in => {
                self.inside(now, "BYE", "", "");
                self.talk = None;
            }
            Act::Modify if is_in => self.modify(now),
            Act::Add(other) if is_in => self.refer(now, other, ""),
            Act::Remove(other) if is_in => self.refer(now, other, ";method=BYE"),
            Act::Watch => self.watch(now),
            Act::Accept => self.accept(now),
            Act::Refuse => self.refuse(now),
            Act::Join | Act::Leave | Act::Modify | Act::Add(_) | Act::Remove(_) => {}
        }
    }

    fn join(&mut self, now: Instant) {
        let lines = Lines::some(&mut self.rng);
        let number = self.number();
        let call_id = format!("j{number}@{}", self.ip());
        let local = format!("<{}>;tag=j{number}", self.uri());
        self.talk = Some(Talk {
            place: Place::Asking,
            call_id: call_id.clone(),
            local: local.clone(),
            remote: format!("<{GROUP}>"),
            target: GROUP.to_owned(),
            lines: Lines::default(),
            offered: Some(lines.clone()),
        });
        let parts: [&str; 4] = [GROUP, &local, &format!("<{GROUP}>"), &call_id];
        let sdp = lines.write(self.ip(), number);
        self.request(now, "INVITE", parts, ("", &sdp));
    }

    fn modify(&mut self, now: Instant) {
        let number = self.number();
        let ip = self.ip();
        let Some(talk) = self.talk.as_mut().filter(|talk| talk.offered.is_none()) else {
            return;
        };
        let lines = talk.lines.changed(&mut self.rng);
        let sdp = lines.write(ip, number);
        talk.offered = Some(lines);
        self.inside(now, "INVITE", "", &sdp);
    }

    fn refer(&mut self, now: Instant, other: usize, how: &str) {
        let to = uri_of(super::place(other));
        let silent = if self.rng.random_ratio(1, 3) {
            "Refer-Sub: false\r\nSupported: norefersub\r\n"
        } else {
            ""
        };
        let headers = format!("Refer-To: <{to}{how}>\r\n{silent}");
        self.inside(now, "REFER", &headers, "");
    }

    fn watch(&mut self, now: Instant) {
        let Some(identity) = self.identity.clone() else {
            return;
        };
        let number = self.number();
        let call_id = format!("w{number}@{}", self.ip());
        let local = format!("<{}>;tag=w{number}", self.uri());
        self.watch = Some((call_id.clone(), View::default()));
        let parts: [&str; 4] = [
            identity.as_str(),
            &local,
            &format!("<{identity}>"),
            &call_id,
        ];
        let headers = "Event: conference\r\nExpires: 3600\r\n";
        self.request(now, "SUBSCRIBE", parts, (headers, ""));
    }

    fn accept(&mut self, now: Instant) {
        let (number, ip) = (self.number(), self.ip());
        let Some(talk) = &mut self.talk else { return };
        let Place::Asked(invite) = &talk.place else {
            return;
        };
        let invite = invite.clone();
        talk.place = Place::In;
        talk.lines = read(&invite).accepted(&mut self.rng);
        let sdp = talk.lines.write(ip, number);
        self.reply(now, &invite, "200 OK", &sdp);
    }

    fn refuse(&mut self, now: Instant) {
        if let Some(talk) = &self.talk
            && let Place::Asked(invite) = &talk.place
        {
            let invite = invite.clone();
            self.talk = None;
            let code = *["486 Busy Here", "603 Decline", "480 Away"]
                .get(self.rng.random_range(0..3_usize))
                .expect("there are three");
            self.reply(now, &invite, code, "");
        }
    }

    pub(super) fn receive(&mut self, now: Instant, port: u16, bytes: &[u8]) {
        if port != self.address.port() {
            return;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text.starts_with("SIP/2.0 ") {
            self.on_response(now, &text);
        } else {
            self.on_request(now, &text);
        }
    }

    fn on_response(&mut self, now: Instant, text: &str) {
        let code: u16 = text[8..11].parse().expect("a status line has a code");
        let branch = param(header(text, "Via"), "branch").to_owned();
        let number = header(text, "CSeq");
        let is_invite = number.ends_with("INVITE");
        if is_invite && let Some(ack) = self.acks.get(&branch).filter(|_| code >= 200) {
            let ack = ack.clone();
            self.post(ack);
            return;
        }
        let Some(at) = self.waits.asked(&branch, number) else {
            return;
        };
        if code < 200 {
            if is_invite {
                self.waits.pending[at].proceed(now + HOUR);
            }
            return;
        }
        let request = String::from_utf8_lossy(&self.waits.pending.remove(at).bytes).into_owned();
        if is_invite {
            self.on_answer(code, (&request, text), &branch);
        } else if header(text, "CSeq").ends_with("SUBSCRIBE") && code >= 300 {
            self.watch = None;
        }
    }

    fn on_answer(&mut self, code: u16, (invite, text): (&str, &str), branch: &str) {
        let is_mine = |talk: &&mut Talk| talk.call_id == header(text, "Call-ID");
        let mut target = contact(text);
        if let Some(talk) = self.talk.as_mut().filter(is_mine) {
            let offered = talk.offered.take();
            if code < 300 {
                talk.remote = header(text, "To").to_owned();
                talk.target.clone_from(&target);
                talk.lines = offered.unwrap_or_default().answered(&read(text));
                talk.place = Place::In;
                self.identity = Some(target.clone());
            } else if talk.place == Place::Asking || code == 481 {
                self.talk = None;
            }
        }
        let own_branch = if code < 300 {
            format!("z9hG4bK-a{}", self.number())
        } else {
            target = invite.split(' ').nth(1).unwrap_or_default().to_owned();
            branch.to_owned()
        };
        let number = header(invite, "CSeq").replace("INVITE", "ACK");
        let ack = format!(
            "ACK {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={own_branch}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number}\r\nContent-Length: 0\r\n\r\n",
            self.address,
            header(invite, "From"),
            header(text, "To"),
            header(invite, "Call-ID"),
        );
        self.acks
            .insert(branch.to_owned(), ack.clone().into_bytes());
        self.post(ack.into_bytes());
    }

    fn on_request(&mut self, now: Instant, text: &str) {
        let method = text.split(' ').next().unwrap_or_default();
        let call_id = header(text, "Call-ID").to_owned();
        if method == "ACK" {
            self.waits.acknowledged(&invite_of(text));
            return;
        }
        if let Some(reply) = self.replies.get(&mark(text)) {
            let reply = reply.clone();
            self.post(reply);
            return;
        }
        let is_talk = self
            .talk
            .as_ref()
            .is_some_and(|talk| talk.call_id == call_id);
        match method {
            "INVITE" if !header(text, "To").contains("tag=") => self.on_invitation(now, text),
            "INVITE" if is_talk => self.on_offer(now, text),
            "BYE" if is_talk => {
                self.talk = None;
                self.waits.pending.retain(|one| one.method != "INVITE");
                self.reply(now, text, "200 OK", "");
            }
            "CANCEL" => self.on_cancel(now, text),
            "NOTIFY" => self.on_notify(now, text),
            _ => self.reply(now, text, "481 Gone", ""),
        }
    }

    fn on_invitation(&mut self, now: Instant, text: &str) {
        if self.talk.is_some() {
            self.reply(now, text, "486 Busy Here", "");
            return;
        }
        let tag = format!("{};tag={}", header(text, "To"), tag_of(text));
        self.identity = Some(contact(text));
        self.talk = Some(Talk {
            place: Place::Asked(text.to_owned()),
            call_id: header(text, "Call-ID").to_owned(),
            local: tag,
            remote: header(text, "From").to_owned(),
            target: contact(text),
            lines: Lines::default(),
            offered: None,
        });
        // Nothing that goes unanswered by a final response is kept: a copy is a copy.
        let ringing = self.response(text, "180 Ringing", "");
        self.replies.insert(mark(text), ringing.clone());
        self.post(ringing);
        let wait = Duration::from_millis(self.rng.random_range(0..3_000));
        match self.rng.random_range(0..8_u8) {
            0 => {}
            1 => self.plan(now + wait, Act::Refuse),
            _ => self.plan(now + wait, Act::Accept),
        }
    }

    fn on_offer(&mut self, now: Instant, text: &str) {
        let (number, ip) = (self.number(), self.ip());
        let Some(talk) = self.talk.as_mut() else {
            return;
        };
        if talk.offered.is_some() {
            self.reply(now, text, "491 Request Pending", "");
            return;
        }
        if self.rng.random_ratio(1, 8) {
            self.reply(now, text, "488 Not Acceptable Here", "");
            // What was taken from it, it does not get any more (OMD-12).
            let kept = read(text);
            if let Some(talk) = self.talk.as_mut() {
                talk.lines = std::mem::take(&mut talk.lines).kept(&kept);
            }
            return;
        }
        talk.lines = read(text).accepted(&mut self.rng);
        let sdp = talk.lines.write(ip, number);
        self.reply(now, text, "200 OK", &sdp);
    }

    fn on_cancel(&mut self, now: Instant, text: &str) {
        self.reply(now, text, "200 OK", "");
        if let Some(talk) = &self.talk
            && let Place::Asked(invite) = &talk.place
            && talk.call_id == header(text, "Call-ID")
        {
            let invite = invite.clone();
            self.talk = None;
            self.reply(now, &invite, "487 Request Terminated", "");
        }
    }

    fn on_notify(&mut self, now: Instant, text: &str) {
        let is_refer = header(text, "Event").starts_with("refer");
        let call_id = header(text, "Call-ID");
        match &mut self.watch {
            Some((own, view)) if !is_refer && own.as_str() == call_id && !view.is_over() => {
                view.take(text);
                self.reply(now, text, "200 OK", "");
            }
            Some(_) | None if is_refer => self.reply(now, text, "200 OK", ""),
            Some(_) | None => self.reply(now, text, "481 Gone", ""),
        }
    }

    /// Answers a request, and keeps the answer for its copies.
    fn reply(&mut self, now: Instant, request: &str, status: &str, sdp: &str) {
        let bytes = self.response(request, status, sdp);
        self.replies.insert(mark(request), bytes.clone());
        if request.starts_with("INVITE") {
            self.waits.repeat(now, invite_of(request), bytes.clone());
        }
        self.post(bytes);
    }

    fn response(&self, request: &str, status: &str, sdp: &str) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for line in head(request) {
            let name = line.split(':').next().unwrap_or_default();
            let is_whole = name == "To" && line.contains("tag=");
            if is_whole || ["Via", "From", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
                text.push_str(&format!("{line}\r\n"));
            } else if name == "To" {
                text.push_str(&format!("{line};tag={}\r\n", tag_of(request)));
            }
        }
        text.push_str(&format!("Contact: <sip:{}>\r\n", self.address));
        finish(&mut text, sdp);
        text.into_bytes()
    }

    fn inside(&mut self, now: Instant, method: &'static str, headers: &str, sdp: &str) {
        let Some(talk) = self.talk.clone() else {
            return;
        };
        let parts: [&str; 4] = [&talk.target, &talk.local, &talk.remote, &talk.call_id];
        self.request(now, method, parts, (headers, sdp));
    }

    /// Sends a request: its target, From, To and Call-ID; further headers and a description.
    fn request(
        &mut self,
        now: Instant,
        method: &'static str,
        [target, from, to, call_id]: [&str; 4],
        (headers, sdp): (&str, &str),
    ) {
        let number = self.number();
        let branch = format!("z9hG4bK-g{number}-{}", self.ip());
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} {method}\r\nContact: <sip:{}>\r\n{headers}",
            self.address, self.address
        );
        finish(&mut text, sdp);
        let bytes = text.into_bytes();
        self.waits.ask(now, method, branch, bytes.clone());
        self.post(bytes);
    }

    fn number(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    fn post(&mut self, bytes: Vec<u8>) {
        self.sent.push_back(Parcel {
            from: self.address,
            to: self.relay,
            bytes,
        });
    }
}

/// What an INVITE and its ACK share.
fn invite_of(request: &str) -> String {
    let number = header(request, "CSeq").split(' ').next();
    format!(
        "{} {}",
        header(request, "Call-ID"),
        number.unwrap_or_default()
    )
}

/// What tells a request from its copies' like.
fn mark(request: &str) -> String {
    let branch = param(header(request, "Via"), "branch");
    format!("{branch} {}", header(request, "CSeq"))
}

/// A tag that is the same for all responses to one request.
fn tag_of(request: &str) -> String {
    let call_id = header(request, "Call-ID");
    call_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}

pub(super) fn uri_of(address: SocketAddr) -> String {
    format!("sip:guest@{}", address.ip())
}

const HOUR: Duration = Duration::from_secs(3600);
