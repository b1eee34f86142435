//! Group sessions: the relay as Controlling Function between several clients.

mod begin;
mod chaos;
mod crowd;
mod events;
mod floors;
mod loss;
mod matrix;
mod membership;
mod modify;
mod pager;
mod regained;
mod silent;
mod timers;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use dataplane::api::{Direction, LegFacts, MemberFacts};

use super::*;
use crate::config;
use crate::cpm::groups::Groups;

/// Rooms and legs as the worker has them.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: BTreeSet<(u64, u8)>,
    /// Session, room, member: what the member may do, once it is connected.
    legs: BTreeMap<(u64, u8, u32), Option<Direction>>,
}

impl Rooms {
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.legs.is_empty()
    }

    /// Does an act and says it in words.
    pub(super) fn obey(&mut self, session: u64, act: &mut Act, port: u16) -> Option<String> {
        match act {
            Act::OpenRoom(plan) => {
                assert!(
                    self.rooms.insert((session, plan.stream.0)),
                    "twice: {plan:?}"
                );
                let kind = format!("{:?}", plan.kind);
                let kind = kind.split(['(', ' ']).next().unwrap_or_default();
                Some(format!("room {} {kind}", plan.stream.0))
            }
            Act::Join(plan) => {
                assert!(self.rooms.contains(&(session, plan.stream.0)), "{plan:?}");
                let leg = (session, plan.stream.0, plan.member.0);
                assert!(self.legs.insert(leg, None).is_none(), "twice: {plan:?}");
                plan.local = local_of(
                    &plan.leg,
                    port.wrapping_add(u16::from(plan.stream.0)) | 1024,
                );
                Some(format!("join {} {}", plan.member.0, plan.stream.0))
            }
            Act::ConnectMember {
                member,
                stream,
                direction,
                ..
            } => {
                let leg = self.legs.get_mut(&(session, stream.0, member.0));
                *leg.unwrap_or_else(|| panic!("{member:?} isn't in {stream:?}")) = Some(*direction);
                Some(format!("connect {} {}", member.0, stream.0))
            }
            Act::Leave {
                member,
                streams,
                facts,
                ..
            } => Some(self.leave(session, *member, (*streams, facts))),
            _ => None,
        }
    }

    fn leave(
        &mut self,
        session: u64,
        member: Option<dataplane::api::MemberId>,
        (streams, facts): (dataplane::api::StreamSet, &mut Vec<MemberFacts>),
    ) -> String {
        let is_meant = |room: u8| streams.contains(dataplane::api::StreamId(room));
        let goes = |leg: &(u64, u8, u32)| {
            leg.0 == session && is_meant(leg.1) && member.is_none_or(|one| one.0 == leg.2)
        };
        for leg in self.legs.keys().filter(|leg| goes(leg)) {
            facts.push(MemberFacts {
                member: dataplane::api::MemberId(leg.2),
                stream: dataplane::api::StreamId(leg.1),
                leg: LegFacts {
                    packets: 7,
                    ..LegFacts::default()
                },
                sent: 9,
            });
        }
        self.legs.retain(|leg, _| !goes(leg));
        if member.is_none() {
            self.rooms
                .retain(|(of, room)| *of != session || !is_meant(*room));
        }
        match member {
            None => "leave all".to_owned(),
            Some(member) => format!("leave {}", member.0),
        }
    }

    /// The rooms that a member may send in, and those that it gets something of.
    fn of(&self, member: u32) -> (Vec<u8>, Vec<u8>) {
        let own = self.legs.iter().filter(|((_, _, of), _)| *of == member);
        let with = |may: fn(&Direction) -> bool| -> Vec<u8> {
            own.clone()
                .filter(|(_, direction)| direction.as_ref().is_some_and(may))
                .map(|((_, room, _), _)| *room)
                .collect()
        };
        (with(|one| one.may_send), with(|one| one.may_receive))
    }
}

pub(super) const TEAM: &str = "sip:team@groups.example";
const FACTORY: &str = "sip:factory@groups.example";

/// Clients by name: alice, bob, carol, dave, erin.
const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

fn address(name: &str) -> SocketAddr {
    let at = NAMES.iter().position(|known| *known == name).unwrap();
    SocketAddr::new(
        "127.0.0.1".parse().unwrap(),
        5001 + u16::try_from(at).unwrap(),
    )
}

fn uri(name: &str) -> String {
    format!("sip:{name}@{}", address(name))
}

fn name_of(address: SocketAddr) -> &'static str {
    NAMES
        .into_iter()
        .find(|name| self::address(name) == address)
        .unwrap_or("nobody")
}

const AUDIO: &str = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const VIDEO: &str = "m=video 4010 RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\n";
const CHAT: &str = "m=message 4020 TCP/MSRP *\r\na=path:msrp://127.0.0.1:4020/abc;tcp\r\n\
    a=setup:actpass\r\na=accept-types:message/cpim\r\n";

const BFCP: &str = "m=application 4030 TCP/BFCP *\r\na=setup:active\r\na=connection:new\r\n\
    a=floorctrl:c-only\r\n";

fn sdp(lines: &[&str]) -> String {
    let head = "v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    format!("{head}{}", lines.concat())
}

/// The relay with a group, and what its clients have been told.
struct Scene {
    bench: Bench,
    /// The last request of a client's dialog from the relay, or the response that made it.
    dialogs: BTreeMap<String, Dialog>,
    seq: u32,
}

/// A client's view of its dialog.
#[derive(Debug, Clone, Default)]
struct Dialog {
    call_id: String,
    /// Its own address with tag, the relay's with tag.
    local: String,
    remote: String,
    contact: String,
}

/// What was sent, in order: who got it, its words, the whole text.
type Seen = Vec<(&'static str, String, String)>;

impl Scene {
    fn new(members: &[&str]) -> Self {
        Self::with(members, |_, _| {})
    }

    fn with(
        members: &[&str],
        change: impl FnOnce(&mut config::Controlling, &mut config::Group),
    ) -> Self {
        let mut base = config::Controlling {
            factory: Some(FACTORY.to_owned()),
            ..config::Controlling::default()
        };
        let mut group = config::Group {
            members: members.iter().map(|name| uri(name)).collect(),
            owners: vec![uri("alice")],
            ..config::Group::default()
        };
        change(&mut base, &mut group);
        let defined = BTreeMap::from([(TEAM.to_owned(), group)]);
        let bench = Bench::new(|settings| {
            settings.groups = Groups::new(&base, &defined).into();
            settings.sessions_max = 200;
        });
        Self {
            bench,
            dialogs: BTreeMap::new(),
            seq: 1,
        }
    }

    /// Alice and bob in a group, both served and recorded by the process that hosts it.
    fn in_one_process(core: SocketAddr) -> Self {
        let mut scene = Self::new(&["alice", "bob"]);
        let settings = std::sync::Arc::make_mut(&mut scene.bench.engine.settings);
        settings.next_hop = crate::cpm::routing::Hop::of(&format!("sip:{core}")).ok();
        settings.store_deadline = Some(Duration::from_secs(2));
        for_all(settings, |policy| policy.allow_offline_storage = true);
        scene
    }

    /// What is new of what was sent, with each message's first words: `180`, `INVITE`.
    fn seen(&mut self, sent: Vec<(SocketAddr, String)>) -> Seen {
        let mut seen = Seen::new();
        for (to, text) in sent {
            let words: Vec<&str> = text.splitn(3, ' ').collect();
            let what = if words[0] == "SIP/2.0" {
                words[1]
            } else {
                words[0]
            };
            if what == "100" {
                continue;
            }
            let name = name_of(to);
            if what == "INVITE" && !header(&text, "To").contains("tag=") {
                let dialog = Dialog {
                    call_id: header(&text, "Call-ID").to_owned(),
                    local: format!("{};tag=b", header(&text, "To")),
                    remote: header(&text, "From").to_owned(),
                    contact: bare(header(&text, "Contact")),
                };
                self.dialogs.insert(name.to_owned(), dialog);
            }
            if what == "200" && header(&text, "CSeq") == "1 INVITE" {
                let dialog = Dialog {
                    call_id: header(&text, "Call-ID").to_owned(),
                    local: header(&text, "From").to_owned(),
                    remote: header(&text, "To").to_owned(),
                    contact: bare(header(&text, "Contact")),
                };
                self.dialogs.insert(name.to_owned(), dialog);
            }
            seen.push((name, what.to_owned(), text));
        }
        seen
    }

    fn give(&mut self, from: &str, text: &str) -> Seen {
        let sent = self.bench.give(address(from), text);
        self.seen(sent)
    }

    /// A client's INVITE to an address.
    fn invite(&mut self, from: &str, to: &str, headers: &str, body: &str) -> Seen {
        let text = self.invite_text(from, to, headers, body);
        self.give(from, &text)
    }

    /// A client's INVITE to the factory, for a chat with those whom its list names.
    fn invite_ad_hoc(&mut self, from: &str, listed: &[&str]) -> Seen {
        let listed: Vec<String> = listed.iter().map(|name| uri(name)).collect();
        self.invite_listed(from, &listed)
    }

    /// The same, with addresses as they are to be written.
    fn invite_listed(&mut self, from: &str, listed: &[String]) -> Seen {
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\n\
             Content-Type: application/resource-lists+xml\r\n\
             Content-Disposition: recipient-list\r\n\r\n{}\r\n--b--\r\n",
            sdp(&[CHAT]),
            list_of(listed)
        );
        let headers =
            "Require: recipient-list-invite\r\nContent-Type: multipart/mixed;boundary=b\r\n";
        self.invite(from, FACTORY, headers, &body)
    }

    fn invite_text(&mut self, from: &str, to: &str, headers: &str, body: &str) -> String {
        self.request_text("INVITE", (from, to), headers, body)
    }

    /// A request outside of a dialog.
    fn request_text(
        &mut self,
        method: &str,
        (from, to): (&str, &str),
        headers: &str,
        body: &str,
    ) -> String {
        self.seq += 1;
        let (at, seq) = (address(from), self.seq);
        let kind = if body.is_empty() || headers.contains("Content-Type") {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} {to} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{from}-{seq}\r\n\
             Max-Forwards: 70\r\nFrom: <{}>;tag={from}{seq}\r\nTo: <{to}>\r\nCall-ID: {from}-{seq}\r\n\
             CSeq: 1 {method}\r\nContact: <{}>\r\n{headers}{kind}Content-Length: {}\r\n\r\n{body}",
            uri(from),
            uri(from),
            body.len()
        )
    }

    /// A request in a client's dialog.
    fn inside(&mut self, from: &str, method: &str, headers: &str, body: &str) -> Seen {
        let text = self.inside_text(from, method, headers, body);
        self.give(from, &text)
    }

    fn inside_text(&mut self, from: &str, method: &str, headers: &str, body: &str) -> String {
        self.seq += 1;
        let dialog = self.dialogs[from].clone();
        let parts = [
            dialog.local.as_str(),
            dialog.remote.as_str(),
            dialog.call_id.as_str(),
            &address(from).to_string(),
        ];
        let contact = format!("Contact: <{}>\r\n{headers}", uri(from));
        let seq = self.seq + 100;
        in_dialog(method, seq, parts, &contact, body)
    }

    /// A client's answer to a request that it was sent.
    fn answers(&mut self, from: &str, request: &str, code: u16, body: &str) -> Seen {
        let contact = format!("Contact: <{}>\r\n", uri(from));
        let text = answer(request, code, "Any", body).replace(CONTACT_B, &contact);
        self.give(from, &text)
    }

    /// The last client's ACK of a 200 to its INVITE.
    fn ack(&mut self, from: &str, seq: u32) -> Seen {
        let dialog = self.dialogs[from].clone();
        let parts = [
            dialog.local.as_str(),
            dialog.remote.as_str(),
            dialog.call_id.as_str(),
            &address(from).to_string(),
        ];
        let text = in_dialog("ACK", seq, parts, "", "");
        self.give(from, &text)
    }

    /// A session that alice has begun, in which everybody has accepted what `lines` say; each takes
    /// part as the member of its place: alice 1, bob 2, ...
    fn talking(members: &[&str], lines: &[&str]) -> Self {
        let mut scene = Self::new(members);
        scene.begin(members, lines);
        scene
    }

    fn begin(&mut self, members: &[&str], lines: &[&str]) {
        let seen = self.invite("alice", TEAM, "", &sdp(lines));
        for name in members.iter().filter(|name| **name != "alice") {
            let invite = text_to(&seen, name, "INVITE");
            let after = self.answers(name, &invite, 200, &accept(&invite));
            if *name == members[1] {
                text_to(&after, "alice", "200");
                self.ack("alice", 1);
            }
        }
    }

    /// Everybody who is still in leaves, and nothing is left.
    fn end(&mut self) {
        let now = self.bench.now;
        self.bench.engine.end_all(now);
        let sent = self.bench.settle();
        let seen = self.seen(sent);
        for (name, what, text) in seen {
            if what == "BYE" || what == "NOTIFY" {
                self.answers(name, &text, 200, "");
            }
        }
        self.bench.assert_nothing_left();
    }

    fn wait(&mut self, seconds: u64) -> Seen {
        let sent = self.bench.wait(Duration::from_secs(seconds));
        self.seen(sent)
    }
}

/// A list of users (RFC 4826 §3).
fn list_of(uris: &[String]) -> String {
    let entries = uris.iter().map(|uri| format!("<entry uri=\"{uri}\"/>"));
    let entries: Vec<String> = entries.collect();
    let list = entries.concat();
    let space = "urn:ietf:params:xml:ns:resource-lists";
    format!("<resource-lists xmlns=\"{space}\"><list>{list}</list></resource-lists>")
}

/// The headers of a REFER that removes somebody and wants to hear nothing more of it.
fn removal(name: &str) -> String {
    let who = uri(name);
    format!("Refer-To: <{who};method=BYE>\r\nRefer-Sub: false\r\n")
}

fn bare(contact: &str) -> String {
    contact
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The answer to an offer that takes all of it, line by line.
fn accept(invite: &str) -> String {
    accept_some(invite, |_| true)
}

/// The same that takes lines of some media.
fn accept_some(invite: &str, takes: impl Fn(&str) -> bool) -> String {
    let body = invite.split("\r\n\r\n").nth(1).unwrap_or_default();
    let lines = body.lines().filter_map(|line| line.strip_prefix("m="));
    let lines: Vec<String> = lines
        .map(|line| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let port = words.next().unwrap_or_default();
            let is_taken = port != "0" && takes(kind);
            match (kind, is_taken) {
                ("audio", true) => AUDIO.replace("4000", "5000"),
                ("video", true) => VIDEO.replace("4010", "5010"),
                ("message", true) => CHAT.replace("4020", "5020"),
                ("application", true) => BFCP.replace("4030", "5030"),
                (kind, _) => {
                    let rest: Vec<&str> = line.split(' ').skip(2).collect();
                    format!("m={kind} 0 {}\r\n", rest.join(" "))
                }
            }
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    sdp(&lines)
}

/// Who got what, in order: `bob INVITE`.
fn words(seen: &Seen) -> Vec<String> {
    seen.iter()
        .map(|(name, what, _)| format!("{name} {what}"))
        .collect()
}

/// The only message of a kind that a client got.
fn text_to(seen: &Seen, name: &str, what: &str) -> String {
    let mut found = seen
        .iter()
        .filter(|(to, is, _)| *to == name && is == what)
        .map(|(_, _, text)| text.clone());
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {what} for {name} in {seen:#?}"));
    assert!(found.next().is_none(), "two {what} for {name} in {seen:#?}");
    first
}

/// A client's first message of a kind: after a while it comes again.
fn first_to(seen: &Seen, name: &str, what: &str) -> String {
    let mut found = seen.iter().filter(|(to, is, _)| *to == name && is == what);
    let first = found.next().map(|(_, _, text)| text.clone());
    first.unwrap_or_else(|| panic!("no {what} for {name} in {seen:#?}"))
}

/// The media of a description that are in use, in order: `audio video`.
fn media_of(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    let used = lines.filter_map(|line| {
        let mut words = line.split(' ');
        let kind = words.next()?;
        (words.next()? != "0").then_some(kind)
    });
    used.collect::<Vec<_>>().join(" ")
}
