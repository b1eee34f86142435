//! A client of the closing world, written from RFC 3261: route sets, retransmissions, glare, and
//! both ends of BYE and CANCEL.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::lines;
use super::plan::{Answer, Part};
use crate::world::net::Parcel;
use crate::world::text::{contact, header, media_address, param};
use crate::world::waits::Waits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Invite,
    Cancel,
    Ring,
    Answer,
    Speak,
    Change,
    HangUp,
    FallSilent,
}

/// How far the session is for this party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not begun.
    Idle,
    /// An INVITE is on its way.
    Inviting,
    /// It is up.
    Talking,
    /// A BYE of its own is on its way.
    Leaving,
    /// It was, or never came to be.
    Over,
}

/// A client.
pub struct Party {
    pub(super) address: SocketAddr,
    is_caller: bool,
    part: Part,
    rng: StdRng,
    todo: Vec<(Instant, Act)>,
    waits: Waits,
    replies: HashMap<String, Vec<u8>>,
    acks: HashMap<String, (Vec<u8>, SocketAddr)>,
    sent: VecDeque<Parcel>,
    stage: Stage,
    is_silent: bool,
    wants_cancel: bool,
    invite: String,
    pub(super) dialog: lines::Dialog,
    media_to: Option<SocketAddr>,
    sdp_version: u32,
    spoken: u32,
    /// RTP packets that came.
    pub heard: u32,
}

impl Party {
    pub(super) fn caller(
        address: SocketAddr,
        callee: SocketAddr,
        relays: &[SocketAddr],
        (part, start, seed): (Part, Instant, u64),
    ) -> Self {
        let mut party = Self::callee(address, (part, seed));
        party.is_caller = true;
        party.dialog = lines::Dialog::caller(address, callee, relays, seed);
        party.todo.push((start, Act::Invite));
        if let Some(after) = party.part.cancels {
            party.todo.push((start + after, Act::Cancel));
        }
        party
    }

    pub(super) fn callee(address: SocketAddr, (part, seed): (Part, u64)) -> Self {
        Self {
            address,
            is_caller: false,
            part,
            rng: StdRng::seed_from_u64(seed),
            todo: Vec::new(),
            waits: Waits::default(),
            replies: HashMap::new(),
            acks: HashMap::new(),
            sent: VecDeque::new(),
            stage: Stage::Idle,
            is_silent: false,
            wants_cancel: false,
            invite: String::new(),
            dialog: lines::Dialog::default(),
            media_to: None,
            sdp_version: 0,
            spoken: 0,
            heard: 0,
        }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// How far its session is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether it neither hears nor says anything any more.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Whether something of its own still waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.is_silent && !self.waits.is_empty()
    }

    pub(super) fn sent(&mut self) -> Option<Parcel> {
        self.sent.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_silent {
            return None;
        }
        let todo = self.todo.iter().map(|(at, _)| *at);
        todo.chain(self.waits.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = self.todo.drain(..).partition(|(at, _)| *at <= now);
        self.todo = later;
        for (_, act) in due {
            if !self.is_silent {
                self.act(now, act);
            }
        }
        if self.is_silent {
            return;
        }
        self.send_again(now);
    }

    fn send_again(&mut self, now: Instant) {
        let due = self.waits.due(now);
        for bytes in due.again {
            self.post(bytes);
        }
        if due.is_unacknowledged {
            // RFC 3261 §13.3.1.4: a session whose 2xx is never acknowledged is ended.
            self.hang_up(now);
        }
        for method in due.unanswered {
            match method {
                "BYE" => self.stage = Stage::Over,
                "INVITE" if self.stage == Stage::Inviting => self.stage = Stage::Over,
                // RFC 3261 §14.1, §12.2.1.2: no answer inside of a dialog ends it.
                "INVITE" => self.hang_up(now),
                _ => {}
            }
        }
    }

    fn act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Invite => {
                self.stage = Stage::Inviting;
                let sdp = self.sdp();
                self.request(now, "INVITE", &sdp);
            }
            Act::Cancel if self.stage == Stage::Inviting => {
                self.wants_cancel = true;
                self.cancel(now);
            }
            Act::Ring if self.stage == Stage::Inviting => {
                let invite = self.invite.clone();
                self.reply(&invite, "180 Ringing", "");
            }
            Act::Answer if self.stage == Stage::Inviting => self.answer(now),
            Act::Speak => self.speak(now),
            Act::Change if self.stage == Stage::Talking => {
                let is_busy = self.waits.has("INVITE");
                // RFC 3261 §14.1: no new INVITE while another one is in progress.
                if is_busy || self.waits.is_unacknowledged() {
                    return;
                }
                let sdp = self.sdp();
                self.request(now, "INVITE", &sdp);
            }
            Act::HangUp => self.hang_up(now),
            Act::FallSilent => self.is_silent = true,
            Act::Cancel | Act::Ring | Act::Answer | Act::Change => {}
        }
    }

    fn hang_up(&mut self, now: Instant) {
        if self.stage == Stage::Talking {
            self.stage = Stage::Leaving;
            self.request(now, "BYE", "");
        }
    }

    fn answer(&mut self, now: Instant) {
        let invite = self.invite.clone();
        match self.part.answer {
            Answer::Accept => {
                let sdp = self.sdp();
                let bytes = self.reply(&invite, "200 OK", &sdp);
                self.repeat(now, bytes, &invite);
                self.begin(now);
            }
            Answer::Refuse(code) => {
                let bytes = self.reply(&invite, &format!("{code} No"), "");
                self.repeat(now, bytes, &invite);
                self.stage = Stage::Over;
            }
            // Nobody is there, and it stops ringing long after everybody else has given up.
            Answer::Never => {
                self.part.answer = Answer::Refuse(480);
                self.todo.push((now + RINGS_MAX, Act::Answer));
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        self.stage = Stage::Talking;
        if self.wants_cancel {
            // RFC 3261 §15: the answer crossed the CANCEL.
            self.hang_up(now);
            return;
        }
        let mut acts = vec![(Duration::ZERO, Act::Speak), (LONGEST, Act::HangUp)];
        acts.extend(self.part.hangs_up.map(|after| (after, Act::HangUp)));
        acts.extend(self.part.falls_silent.map(|after| (after, Act::FallSilent)));
        acts.extend(self.part.changes.iter().map(|after| (*after, Act::Change)));
        self.todo
            .extend(acts.into_iter().map(|(after, act)| (now + after, act)));
    }

    /// It speaks on for a while when its session is over, as real clients do.
    fn speak(&mut self, now: Instant) {
        self.spoken += 1;
        if let Some(to) = self.media_to {
            let mut packet = vec![0x80, 0];
            packet.extend_from_slice(&u16::try_from(self.spoken).unwrap_or(0).to_be_bytes());
            packet.extend_from_slice(&(self.spoken * 160).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, u8::from(self.is_caller), 7]);
            let from = lines::media(self.address);
            self.sent.push_back(Parcel {
                from,
                to,
                bytes: packet,
            });
        }
        if self.spoken < 100 {
            self.todo
                .push((now + Duration::from_millis(50), Act::Speak));
        }
    }

    pub(super) fn receive(&mut self, now: Instant, port: u16, bytes: &[u8]) {
        if self.is_silent {
            return;
        }
        if port != self.address.port() {
            self.heard += 1;
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
        if cseq.ends_with("INVITE") && code >= 200 {
            self.acknowledge(text, code, &branch);
        }
        let Some(at) = self.waits.asked(&branch, &cseq) else {
            return;
        };
        if code < 200 {
            let asked = &mut self.waits.pending[at];
            if asked.method == "INVITE" {
                asked.proceed(now + Duration::from_secs(300));
                if self.wants_cancel {
                    self.cancel(now);
                }
            }
            return;
        }
        let method = self.waits.pending.swap_remove(at).method;
        match (method, self.stage) {
            ("INVITE", Stage::Inviting) if code < 300 => {
                self.dialog.answered(text);
                self.media_to = media_address(text);
                self.begin(now);
            }
            ("INVITE", Stage::Inviting) | ("BYE", _) => self.stage = Stage::Over,
            ("INVITE", Stage::Talking) if code == 491 => {
                let again = Duration::from_millis(self.rng.random_range(10..2_000));
                self.todo.push((now + again, Act::Change));
            }
            // RFC 3261 §12.2.1.2: the dialog is gone.
            ("INVITE", Stage::Talking) if code == 481 || code == 408 => self.hang_up(now),
            ("INVITE", Stage::Talking) if code < 300 => {
                self.media_to = media_address(text).or(self.media_to);
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, response: &str, code: u16, branch: &str) {
        let cseq = header(response, "CSeq").to_owned();
        let ack = if code >= 300 {
            // RFC 3261 §17.1.1.3: along the request's own way.
            self.dialog.ack_of_failure(response, branch)
        } else {
            let key = format!("{cseq} {}", header(response, "To"));
            if let Some((bytes, to)) = self.acks.get(&key) {
                let (bytes, to) = (bytes.clone(), *to);
                self.post_to(bytes, to);
                return;
            }
            let branch = self.new_branch();
            let mut dialog = self.dialog.clone();
            if !dialog.is_up() {
                dialog.answered(response);
            }
            dialog.target = contact(response);
            let ack = dialog.ack(response, &branch);
            self.acks.insert(key, ack.clone());
            ack
        };
        self.post_to(ack.0, ack.1);
    }

    fn on_request(&mut self, now: Instant, text: &str) {
        let method = text.split(' ').next().unwrap_or("").to_owned();
        if method == "ACK" {
            self.waits.acknowledged(number(text));
            return;
        }
        let key = lines::transaction(text);
        if let Some(reply) = self.replies.get(&key) {
            let reply = reply.clone();
            self.post(reply);
            return;
        }
        match method.as_str() {
            "INVITE" if header(text, "To").contains("tag=") => self.on_change(now, text),
            "INVITE" if self.stage == Stage::Idle => self.on_call(now, text),
            // It came again before it was answered.
            "INVITE" => {}
            "CANCEL" => self.on_cancel(now, text),
            "BYE" if self.dialog.is_of(text) => {
                self.reply(text, "200 OK", "");
                self.waits.all_acknowledged();
                if self.stage != Stage::Leaving {
                    self.stage = Stage::Over;
                }
            }
            "BYE" => drop(self.reply(text, "481 Gone", "")),
            _ => drop(self.reply(text, "200 OK", "")),
        }
    }

    fn on_cancel(&mut self, now: Instant, text: &str) {
        self.reply(text, "200 OK", "");
        let same =
            param(header(text, "Via"), "branch") == param(header(&self.invite, "Via"), "branch");
        if same && self.stage == Stage::Inviting && !self.is_caller {
            let invite = self.invite.clone();
            let bytes = self.reply(&invite, "487 Request Terminated", "");
            self.repeat(now, bytes, &invite);
            self.stage = Stage::Over;
        }
    }

    fn on_call(&mut self, now: Instant, text: &str) {
        self.stage = Stage::Inviting;
        self.invite = text.to_owned();
        let tag: u64 = self.rng.random();
        self.dialog = lines::Dialog::callee(self.address, text, tag);
        self.media_to = media_address(text);
        let rings = self.part.rings;
        self.todo.push((now + rings / 2, Act::Ring));
        self.todo.push((now + rings, Act::Answer));
    }

    fn on_change(&mut self, now: Instant, text: &str) {
        // RFC 3261 §14.2: the answer to its own INVITE is still on its way.
        if self.is_caller && self.stage == Stage::Inviting {
            let bytes = self.reply(text, "491 Request Pending", "");
            self.repeat(now, bytes, text);
            return;
        }
        if !self.dialog.is_of(text) || !matches!(self.stage, Stage::Talking) {
            let bytes = self.reply(text, "481 Gone", "");
            self.repeat(now, bytes, text);
            return;
        }
        let is_glare = self.waits.has("INVITE");
        if is_glare {
            let bytes = self.reply(text, "491 Request Pending", "");
            self.repeat(now, bytes, text);
            return;
        }
        self.media_to = media_address(text).or(self.media_to);
        let mut sdp = self.sdp();
        if !text.contains("m=message") {
            sdp = lines::without_chat(&sdp);
        }
        let bytes = self.reply(text, "200 OK", &sdp);
        self.repeat(now, bytes, text);
    }

    fn repeat(&mut self, now: Instant, bytes: Vec<u8>, of: &str) {
        self.waits.all_acknowledged();
        self.waits.repeat(now, number(of).to_owned(), bytes);
    }

    fn reply(&mut self, request: &str, status: &str, sdp: &str) -> Vec<u8> {
        let bytes = self.dialog.response(request, status, sdp);
        let key = lines::transaction(request);
        self.replies.insert(key, bytes.clone());
        self.post(bytes.clone());
        bytes
    }

    fn request(&mut self, now: Instant, method: &'static str, sdp: &str) {
        let branch = self.new_branch();
        let bytes = self.dialog.request(method, &branch, sdp);
        if self.stage == Stage::Inviting {
            self.invite = String::from_utf8_lossy(&bytes).into_owned();
        }
        self.wait_for(now, method, branch, bytes);
    }

    fn wait_for(&mut self, now: Instant, method: &'static str, branch: String, bytes: Vec<u8>) {
        self.post(bytes.clone());
        self.waits.ask(now, method, branch, bytes);
    }

    /// RFC 3261 §9.1: not before a provisional response.
    fn cancel(&mut self, now: Instant) {
        let Some(invite) = self.waits.first("INVITE") else {
            return;
        };
        let branch = invite.branch.clone();
        let is_early = !invite.is_proceeding;
        if is_early || self.waits.has("CANCEL") {
            return;
        }
        if let Some(invite) = self.waits.first("INVITE") {
            invite.cancelled(now);
        }
        let bytes = lines::cancel(&self.invite);
        self.wait_for(now, "CANCEL", branch, bytes);
    }

    fn new_branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.rng.random::<u64>())
    }

    fn sdp(&mut self) -> String {
        self.sdp_version += 1;
        // Every second description leaves the chat.
        let has_chat = self.part.has_chat && !self.sdp_version.is_multiple_of(2);
        let sdp = lines::sdp(self.address, self.sdp_version, self.is_caller);
        match (self.part.has_chat, has_chat) {
            (true, true) => sdp,
            (true, false) => lines::refused_chat(&sdp),
            (false, _) => lines::without_chat(&sdp),
        }
    }

    fn post(&mut self, bytes: Vec<u8>) {
        let to = lines::next_hop(&String::from_utf8_lossy(&bytes));
        if let Some(to) = to {
            self.post_to(bytes, to);
        }
    }

    fn post_to(&mut self, bytes: Vec<u8>, to: SocketAddr) {
        self.sent.push_back(Parcel {
            from: self.address,
            to,
            bytes,
        });
    }
}

/// The number of a CSeq.
fn number(request: &str) -> &str {
    let mut words = header(request, "CSeq").split(' ');
    words.next().unwrap_or_default()
}

const RINGS_MAX: Duration = Duration::from_secs(240);
/// Whoever still talks then, hangs up.
const LONGEST: Duration = Duration::from_secs(40);
