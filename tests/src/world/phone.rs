//! A telephone over UDP, written from RFC 3261 with string code of its own.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::net::Parcel;
use super::script::{Fate, Script, Who};
use super::text::{contact, finish, head, header, media_address, param};
use super::waits::Waits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Invite,
    Cancel,
    Ring,
    Answer,
    Refuse(u16),
    Speak(u32),
    Change,
    HangUp,
}

/// A phone.
pub struct Phone {
    address: SocketAddr,
    relay: SocketAddr,
    far: Option<SocketAddr>,
    script: Script,
    is_caller: bool,
    rng: StdRng,
    todo: Vec<(Instant, Act)>,
    waits: Waits,
    replies: HashMap<String, Vec<u8>>,
    sent: VecDeque<Parcel>,
    call_id: String,
    local: String,
    remote: String,
    target: String,
    invite: Option<String>,
    sequence: u32,
    sdp_version: u32,
    media_to: Option<SocketAddr>,
    /// The call is up.
    talks: bool,
    /// The call is or was up.
    was_up: bool,
    fate: Option<Fate>,
    /// RTP packets sent.
    pub spoken: u32,
    /// RTP payloads heard.
    pub heard: Vec<Vec<u8>>,
}

impl Phone {
    pub(super) fn caller(
        address: SocketAddr,
        far: SocketAddr,
        relay: SocketAddr,
        (script, start, seed): (Script, Instant, u64),
    ) -> Self {
        let mut phone = Self::new(address, relay, script, seed);
        phone.far = Some(far);
        phone.is_caller = true;
        phone.call_id = format!("{seed:x}@{}", address.ip());
        phone.local = format!("<sip:caller@{}>;tag=c{seed:x}", address.ip());
        phone.remote = format!("<sip:callee@{}>", far.ip());
        phone.target = format!("sip:callee@{far}");
        phone.todo.push((start, Act::Invite));
        if script == Script::GiveUp {
            let patience = phone.rng.random_range(0..3_000);
            phone
                .todo
                .push((start + Duration::from_millis(patience), Act::Cancel));
        }
        phone
    }

    pub(super) fn callee(
        address: SocketAddr,
        relay: SocketAddr,
        (script, seed): (Script, u64),
    ) -> Self {
        Self::new(address, relay, script, seed)
    }

    fn new(address: SocketAddr, relay: SocketAddr, script: Script, seed: u64) -> Self {
        Self {
            address,
            relay,
            far: None,
            script,
            is_caller: false,
            rng: StdRng::seed_from_u64(seed),
            todo: Vec::new(),
            waits: Waits::default(),
            replies: HashMap::new(),
            sent: VecDeque::new(),
            call_id: String::new(),
            local: String::new(),
            remote: String::new(),
            target: String::new(),
            invite: None,
            sequence: 0,
            sdp_version: 1,
            media_to: None,
            talks: false,
            was_up: false,
            fate: None,
            spoken: 0,
            heard: Vec::new(),
        }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// How the call ended; `None` while it hasn't.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        self.fate
    }

    /// What it was to do.
    #[must_use]
    pub fn script(&self) -> Script {
        self.script
    }

    /// Whether a request of its own still waits, or a 2xx for its ACK.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waits.is_empty() || self.talks
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
        let due = self.waits.due(now);
        for bytes in due.again {
            self.post(bytes);
        }
        if !due.unanswered.is_empty() {
            self.end(Fate::Unanswered);
        }
    }

    fn act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Invite => {
                let sdp = self.sdp("sendrecv");
                self.request(now, "INVITE", &sdp);
            }
            Act::Cancel => self.cancel(now),
            Act::Ring => self.reply_to_invite(now, "180 Ringing", ""),
            Act::Answer => {
                let sdp = self.sdp("sendrecv");
                self.reply_to_invite(now, "200 OK", &sdp);
                self.begin_talk(now);
            }
            Act::Refuse(code) => {
                self.reply_to_invite(now, &format!("{code} No"), "");
                self.end(Fate::Refused(code));
            }
            Act::Speak(number) => self.speak(number),
            Act::Change if self.talks => {
                self.sdp_version += 1;
                let direction = if self.sdp_version.is_multiple_of(2) {
                    "sendonly"
                } else {
                    "sendrecv"
                };
                let sdp = self.sdp(direction);
                self.request(now, "INVITE", &sdp);
            }
            Act::HangUp if self.talks => {
                self.talks = false;
                self.todo.clear();
                self.request(now, "BYE", "");
            }
            Act::Change | Act::HangUp => {}
        }
    }

    fn begin_talk(&mut self, now: Instant) {
        self.talks = true;
        self.was_up = true;
        let Script::Talk { reinvite, hangs_up } = self.script else {
            // The answer came though it was not wanted any more.
            self.todo
                .push((now + Duration::from_millis(10), Act::HangUp));
            return;
        };
        let length = self.rng.random_range(400..4_000);
        for number in 0..u32::try_from(length / 20).unwrap_or(0) {
            self.todo
                .push((now + Duration::from_millis(20) * number, Act::Speak(number)));
        }
        if reinvite && self.is_caller {
            let first = self.rng.random_range(100..length / 2);
            for at in [first, first + 150] {
                self.todo
                    .push((now + Duration::from_millis(at), Act::Change));
            }
        }
        let mine = match hangs_up {
            Who::Caller => self.is_caller,
            Who::Callee => !self.is_caller,
            Who::Both => true,
        };
        if mine {
            self.todo
                .push((now + Duration::from_millis(length), Act::HangUp));
        }
    }

    fn speak(&mut self, number: u32) {
        let Some(to) = self.media_to.filter(|_| self.talks) else {
            return;
        };
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&u16::try_from(number % 65_536).unwrap_or(0).to_be_bytes());
        packet.extend_from_slice(&(number * 160).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, u8::from(self.is_caller)]);
        packet.extend_from_slice(self.call_mark().as_bytes());
        packet.extend_from_slice(&number.to_be_bytes());
        self.spoken += 1;
        let from = self.media();
        self.sent.push_back(Parcel {
            from,
            to,
            bytes: packet,
        });
    }

    /// What every payload of this phone begins with: its call, and its side.
    #[must_use]
    pub fn call_mark(&self) -> String {
        let octets = self.address.ip().to_string();
        let call: Vec<&str> = octets.split('.').skip(2).collect();
        format!(
            "{}|{}|",
            call.join("."),
            if self.is_caller { 'a' } else { 'b' }
        )
    }

    fn media(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), 4_000)
    }

    pub(super) fn receive(&mut self, now: Instant, port: u16, bytes: &[u8]) {
        if port != self.address.port() {
            if port == self.media().port() {
                self.heard
                    .push(bytes.get(12..).unwrap_or_default().to_vec());
            }
            return;
        }
        if self.script == Script::Nobody && !self.is_caller {
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
        let code: u16 = text
            .get(8..11)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        let branch = param(header(text, "Via"), "branch").to_owned();
        let cseq = header(text, "CSeq").to_owned();
        let at = self.waits.asked(&branch, &cseq);
        if cseq.ends_with("INVITE") && code >= 200 {
            self.acknowledge(text, code, &branch);
        }
        let Some(at) = at else { return };
        if code < 200 {
            let asked = &mut self.waits.pending[at];
            if asked.method == "INVITE" {
                asked.proceed(now + Duration::from_secs(300));
            }
            return;
        }
        let method = self.waits.pending.swap_remove(at).method;
        match method {
            "INVITE" if code < 300 => {
                self.learn_media(text);
                if !self.was_up && self.fate.is_none() {
                    self.remote = header(text, "To").to_owned();
                    self.target = contact(text);
                    self.begin_talk(now);
                }
            }
            "INVITE" if !self.was_up => self.end(Fate::Refused(code)),
            "BYE" => self.end(Fate::Ended),
            _ => {}
        }
    }

    fn acknowledge(&mut self, response: &str, code: u16, branch: &str) {
        let number = header(response, "CSeq")
            .split(' ')
            .next()
            .unwrap_or("1")
            .to_owned();
        let (target, branch) = if code < 300 {
            (contact(response), self.new_branch())
        } else {
            (self.target.clone(), branch.to_owned())
        };
        let to = header(response, "To").to_owned();
        let ack = format!(
            "ACK {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            self.address, self.local, self.call_id
        );
        self.post(ack.into_bytes());
    }

    fn on_request(&mut self, now: Instant, text: &str) {
        let method = text.split(' ').next().unwrap_or("").to_owned();
        let key = format!("{method} {}", header(text, "CSeq"));
        if method == "ACK" {
            self.waits.all_acknowledged();
            return;
        }
        if let Some(reply) = self.replies.get(&key) {
            let reply = reply.clone();
            self.post(reply);
            return;
        }
        let is_first = self
            .invite
            .as_deref()
            .is_some_and(|first| header(first, "CSeq") == header(text, "CSeq"));
        match method.as_str() {
            // It came again before it was answered.
            "INVITE" if is_first && !self.is_caller => {}
            "INVITE" if self.invite.is_none() => self.on_call(now, text),
            "INVITE" if self.talks => self.on_change(now, text),
            "CANCEL" => {
                self.reply(text, "200 OK", "");
                if !self.talks && self.fate.is_none() && self.invite.is_some() {
                    self.todo.clear();
                    self.reply_to_invite(now, "487 Request Terminated", "");
                    self.end(Fate::Refused(487));
                }
            }
            "BYE" => {
                self.reply(text, "200 OK", "");
                self.waits.all_acknowledged();
                self.todo.clear();
                self.end(Fate::Ended);
            }
            "INVITE" => drop(self.reply(text, "481 Gone", "")),
            _ => drop(self.reply(text, "200 OK", "")),
        }
    }

    fn on_call(&mut self, now: Instant, text: &str) {
        self.invite = Some(text.to_owned());
        self.call_id = header(text, "Call-ID").to_owned();
        let tag: u64 = self.rng.random();
        self.local = format!("{};tag=d{tag:x}", header(text, "To"));
        self.remote = header(text, "From").to_owned();
        self.target = contact(text);
        self.learn_media(text);
        let rings = self.rng.random_range(10..500);
        let answers = rings + self.rng.random_range(10..2_000);
        self.todo
            .push((now + Duration::from_millis(rings), Act::Ring));
        let last = match self.script {
            Script::Refuse(code) => Some(Act::Refuse(code)),
            Script::Talk { .. } => Some(Act::Answer),
            // It rings for as long as the caller likes.
            Script::GiveUp | Script::Nobody => None,
        };
        if let Some(last) = last {
            self.todo.push((now + Duration::from_millis(answers), last));
        }
    }

    fn on_change(&mut self, now: Instant, text: &str) {
        let direction = if text.contains("a=sendonly") {
            "recvonly"
        } else {
            "sendrecv"
        };
        self.sdp_version += 1;
        self.learn_media(text);
        let sdp = self.sdp(direction);
        let bytes = self.reply(text, "200 OK", &sdp);
        self.repeat(now, bytes);
    }

    fn reply_to_invite(&mut self, now: Instant, status: &str, sdp: &str) {
        let Some(invite) = self.invite.clone() else {
            return;
        };
        let bytes = self.reply(&invite, status, sdp);
        // Timer G, or RFC 3261 §13.3.1.4: a final response is repeated until its ACK.
        if !status.starts_with('1') {
            self.repeat(now, bytes);
        }
    }

    fn repeat(&mut self, now: Instant, bytes: Vec<u8>) {
        self.waits.all_acknowledged();
        self.waits.repeat(now, String::new(), bytes);
    }

    fn reply(&mut self, request: &str, status: &str, sdp: &str) -> Vec<u8> {
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
            to.to_owned()
        } else {
            self.local.clone()
        };
        text.push_str(&format!("To: {to}\r\nContact: <sip:{}>\r\n", self.address));
        finish(&mut text, sdp);
        let bytes = text.into_bytes();
        let method = request.split(' ').next().unwrap_or("");
        let key = format!("{method} {}", header(request, "CSeq"));
        self.replies.insert(key, bytes.clone());
        self.post(bytes.clone());
        bytes
    }

    fn request(&mut self, now: Instant, method: &'static str, sdp: &str) {
        self.sequence += 1;
        let branch = self.new_branch();
        let bytes = self.build(method, &branch, sdp);
        if method == "INVITE" && self.fate.is_none() && !self.talks {
            self.invite = String::from_utf8(bytes.clone()).ok();
        }
        self.post(bytes.clone());
        self.waits.ask(now, method, branch, bytes);
    }

    fn cancel(&mut self, now: Instant) {
        let Some(invite) = self.waits.first("INVITE") else {
            return;
        };
        invite.cancelled(now);
        let branch = invite.branch.clone();
        let bytes = self.build("CANCEL", &branch, "");
        self.post(bytes.clone());
        self.waits.ask(now, "CANCEL", branch, bytes);
    }

    fn build(&self, method: &str, branch: &str, sdp: &str) -> Vec<u8> {
        let mut text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: <sip:{}>\r\n\
             Conversation-ID: {}\r\n",
            self.target,
            self.address,
            self.local,
            self.remote,
            self.call_id,
            self.sequence,
            self.address,
            self.call_id
        );
        finish(&mut text, sdp);
        text.into_bytes()
    }

    fn new_branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.rng.random::<u64>())
    }

    fn sdp(&self, direction: &str) -> String {
        let ip = self.address.ip();
        format!(
            "v=0\r\no=- 1 {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0\r\na={direction}\r\n",
            self.sdp_version,
            self.media().port()
        )
    }

    fn learn_media(&mut self, text: &str) {
        self.media_to = media_address(text).or(self.media_to);
    }

    fn post(&mut self, bytes: Vec<u8>) {
        self.sent.push_back(Parcel {
            from: self.address,
            to: self.relay,
            bytes,
        });
    }

    fn end(&mut self, fate: Fate) {
        self.talks = false;
        self.fate.get_or_insert(fate);
    }
}
