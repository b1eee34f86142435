//! What a session's history is made of: MIME objects, as a message store keeps them.
//!
//! ```text
//! message/cpim ───────────────────────▶ Message/CPIM, as it is     one for each message
//! any other content ── RFC 3862 ──────▶ Message/CPIM, wrapped
//! a file (RFC 5547) ──────────────────▶ multipart/related: what it is, and it
//! a group session: who takes part ────▶ application/group-state-object+xml
//! the session ────────────────────────▶ application/x-cpm-session  the last one
//! ```
//!
//! Nothing here reads or writes: an object names the files that its octets are in.

mod cpim;
mod group;
mod header;
mod read;
mod session;
mod transfer;

pub(super) use read::ObjectReader;

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::Facts;
use super::job::{Body, Job, Message};
use cpim::{Cpim, wrapped};
use header::Head;

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Its number among the session's, from 0; the session's own is the last.
    pub(super) number: u32,
    /// Message-ID without brackets, its own among all objects.
    pub(super) message_id: String,
    pieces: Vec<Piece>,
}

/// Octets of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(Vec<u8>),
    Base64(Vec<Source>),
}

/// Where octets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Octets(Vec<u8>),
    File { path: PathBuf, octets: u64 },
}

/// What a message is to the history.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An object.
    Object(Object),
    /// Nothing, or it is counted among the job's missing ones already.
    Nothing,
    /// Its octets aren't all there.
    Missing,
}

/// Objects that come before the session's own.
pub(super) fn before_session(job: &Job) -> usize {
    job.messages.len() + usize::from(job.facts.group.is_some())
}

/// The object of a message, or what comes after all messages.
///
/// # Errors
///
/// The disk's.
pub(super) fn of_message(job: &Job, index: usize) -> io::Result<Part> {
    if index == job.messages.len() {
        let state = group::object(job, index);
        return Ok(state.map_or(Part::Nothing, Part::Object));
    }
    let Some(message) = job.messages.get(index).filter(|one| one.is_complete) else {
        return Ok(Part::Nothing);
    };
    let Some(body) = job.body(message)? else {
        return Ok(Part::Missing);
    };
    let kind = message.begun.content_type.trim();
    let is_empty = matches!(&body, Body::Small(bytes) if bytes.is_empty());
    if is_empty || kind.is_empty() || is_composing(kind) {
        return Ok(Part::Nothing);
    }
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    if let Some(file) = transfer::File::of(&job.facts, message.begun.stream) {
        let object = transfer::object(job, number, message, (&file, body));
        return Ok(Part::Object(object));
    }
    if essence(kind) == "message/cpim" {
        let object = as_it_is(job, number, message, body);
        return Ok(object.map_or(Part::Nothing, Part::Object));
    }
    Ok(Part::Object(wrap(job, number, message, body)))
}

/// The session info object.
pub(super) fn of_session(job: &Job, missing: usize) -> Object {
    let number = u32::try_from(before_session(job)).unwrap_or(u32::MAX);
    session::object(job, number, missing)
}

/// A message that is message/cpim already.
fn as_it_is(job: &Job, number: u32, message: &Message, body: Body) -> Option<Object> {
    let head = match &body {
        Body::Small(bytes) => bytes,
        Body::Large { head, .. } => head,
    };
    let cpim = Cpim::read(head);
    if is_composing(&cpim.content_type) {
        return None;
    }
    let mut head = message_head(job, number, message, &cpim);
    let plain = matches!(&body, Body::Small(bytes) if is_plain(bytes));
    head.add("Content-Type", "Message/CPIM");
    head.add("Content-Transfer-Encoding", encoding(plain));
    let content = match body {
        Body::Small(bytes) if plain => Piece::Plain(bytes),
        body => Piece::Base64(vec![body.into()]),
    };
    Some(Object {
        number,
        message_id: message_id(&job.key, number),
        pieces: vec![Piece::Plain(head.end()), content],
    })
}

/// A message of any other content, with a CPIM head (RFC 3862).
fn wrap(job: &Job, number: u32, message: &Message, body: Body) -> Object {
    let (from, to) = parties(&job.facts, is_sent(&job.facts, message));
    let id = message_id(&job.key, number);
    let inner = wrapped(
        from,
        to,
        message.begun.at,
        (&id, &message.begun.content_type),
    );
    let cpim = Cpim::read(inner.as_bytes());
    let mut head = message_head(job, number, message, &cpim);
    let plain = matches!(&body, Body::Small(bytes) if is_plain(bytes));
    head.add("Content-Type", "Message/CPIM");
    head.add("Content-Transfer-Encoding", encoding(plain));
    let pieces = match body {
        Body::Small(bytes) if plain => {
            vec![Piece::Plain(
                [head.end(), inner.into_bytes(), bytes].concat(),
            )]
        }
        body => {
            let sources = vec![Source::Octets(inner.into_bytes()), body.into()];
            vec![Piece::Plain(head.end()), Piece::Base64(sources)]
        }
    };
    Object {
        number,
        message_id: id,
        pieces,
    }
}

/// The head that messages and files have in common.
fn message_head(job: &Job, number: u32, message: &Message, cpim: &Cpim) -> Head {
    let facts = &job.facts;
    let is_sent = is_sent(facts, message);
    let (mut from, mut to) = parties(facts, is_sent);
    // In a group the focus is the peer: who wrote and to whom is in the message alone. Who the
    // served user is, the core has said.
    if facts.group.is_some() {
        if !is_sent {
            from = cpim.from.as_deref().unwrap_or(from);
        }
        to = cpim.to.as_deref().unwrap_or(to);
    }
    let id = message_id(&job.key, number);
    let mut head = Head::default();
    head.add("From", from);
    head.add("To", to);
    head.add_date(cpim.at.unwrap_or(message.begun.at));
    head.add_id(&id);
    identities(&mut head, job);
    head.add("IMDN-Message-ID", cpim.imdn_id.as_deref().unwrap_or(&id));
    head.add("Message-Direction", direction(is_sent));
    head.add("MIME-Version", "1.0");
    head
}

/// Conversation-ID and its like.
fn identities(head: &mut Head, job: &Job) {
    let facts = &job.facts;
    head.add("Conversation-ID", &conversation(job));
    head.add("Contribution-ID", &contribution(job));
    if let Some(id) = &facts.in_reply_to {
        head.add("InReplyTo-Contribution-ID", id);
    }
    for value in &facts.accept_contact {
        head.add("Accept-Contact", value);
    }
}

/// The Conversation-ID; of a session without one, its own.
pub(super) fn conversation(job: &Job) -> String {
    let id = job.facts.conversation_id.clone();
    id.unwrap_or_else(|| format!("midpath-{}", job.key))
}

/// The Contribution-ID; of a session without one, its own.
pub(super) fn contribution(job: &Job) -> String {
    let id = job.facts.contribution_id.clone();
    id.unwrap_or_else(|| format!("midpath-{}", job.key))
}

/// An object's own Message-ID.
fn message_id(key: &str, number: u32) -> String {
    format!("{key}.{number}@midpath")
}

/// From and To of what the served user sent, or was sent.
fn parties(facts: &Facts, is_sent: bool) -> (&str, &str) {
    match is_sent {
        true => (&facts.served_user, &facts.peer),
        false => (&facts.peer, &facts.served_user),
    }
}

/// Whether the served user sent a message. The session's first side is who invited.
fn is_sent(facts: &Facts, message: &Message) -> bool {
    message.begun.is_from_a == facts.is_sent
}

fn direction(is_sent: bool) -> &'static str {
    match is_sent {
        true => "sent",
        false => "received",
    }
}

/// Whether content is somebody's typing (RFC 3994), which is none of the history.
fn is_composing(kind: &str) -> bool {
    essence(kind) == "application/im-iscomposing+xml"
}

/// A Content-Type without its parameters, in lower case.
fn essence(kind: &str) -> String {
    let bare = kind.split(';').next().unwrap_or_default();
    bare.trim().to_ascii_lowercase()
}

/// Whether octets may stand in a message as they are: lines that aren't too long, each with a
/// CRLF, and no NUL (RFC 2045 §2.8).
fn is_plain(bytes: &[u8]) -> bool {
    let is_line = |line: &[u8]| {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        text.len() <= LINE && !text.iter().any(|byte| matches!(byte, 0 | b'\r'))
    };
    bytes.split(|byte| *byte == b'\n').all(is_line) && !has_bare_line_feed(bytes)
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let mut before = 0;
    bytes.iter().any(|byte| {
        let is_bare = *byte == b'\n' && before != b'\r';
        before = *byte;
        is_bare
    })
}

fn encoding(is_plain: bool) -> &'static str {
    match is_plain {
        true => "8bit",
        false => "base64",
    }
}

impl From<Body> for Source {
    fn from(body: Body) -> Self {
        match body {
            Body::Small(bytes) => Self::Octets(bytes),
            Body::Large { path, octets, .. } => Self::File { path, octets },
        }
    }
}

/// When a history's object is dated.
fn seconds(at: SystemTime) -> time::OffsetDateTime {
    let at = time::OffsetDateTime::from(at);
    at.replace_nanosecond(0).unwrap_or(at)
}

/// Octets of a line without its end (RFC 5322 §2.1.1).
const LINE: usize = 998;
