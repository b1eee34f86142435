//! File-transfer history objects: a file that a stream offered (RFC 5547), and what it is.

use super::cpim::Cpim;
use super::header::{Head, clean};
use super::session::{document, session_type, text};
use super::{Object, Piece, Source, essence, message_head, message_id};
use crate::history::Facts;
use crate::history::job::{Body, Job, Message};
use crate::sdp::Sdp;

/// What the SDP says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    name: Option<String>,
    kind: Option<String>,
    /// The lines of its stream that describe it.
    sdp: String,
}

impl File {
    /// The file that a stream carries; `None`: it carries none.
    pub(super) fn of(facts: &Facts, stream: u8) -> Option<Self> {
        let sdp = Sdp::parse(facts.sdp.as_deref()?).ok()?;
        let media = sdp.media().get(usize::from(stream))?;
        let selector = media.attribute("file-selector")?;
        let lines = [
            "file-selector",
            "file-transfer-id",
            "file-disposition",
            "file-date",
        ];
        let lines = lines.into_iter().filter_map(|name| {
            let value = media.attribute(name)?;
            Some(format!("a={name}:{value}\r\n"))
        });
        Some(Self {
            name: quoted(selector, "name:\""),
            kind: word(selector, "type:"),
            sdp: lines.collect(),
        })
    }
}

pub(super) fn object(
    job: &Job,
    number: u32,
    message: &Message,
    (file, body): (&File, Body),
) -> Object {
    let mut head = message_head(job, number, message, &Cpim::default());
    let boundary = format!("midpath-{}-{number}", job.key);
    // The boundary can't be in the parts: one is base64 and the other is ours.
    head.add(
        "Content-Type",
        &format!(
            "multipart/related; boundary=\"{boundary}\"; type=\"Application/X-CPM-File-Transfer\""
        ),
    );
    let cid = format!("file.{}", message_id(&job.key, number));
    let mut first = head.end();
    first.extend(format!("--{boundary}\r\n").into_bytes());
    first.extend(about(&job.facts, file, &cid));
    first.extend(format!("\r\n--{boundary}\r\n").into_bytes());
    first.extend(file_head(file, message, &cid));
    let last = format!("\r\n--{boundary}--\r\n").into_bytes();
    Object {
        number,
        message_id: message_id(&job.key, number),
        pieces: vec![
            Piece::Plain(first),
            Piece::Base64(vec![Source::from(body)]),
            Piece::Plain(last),
        ],
    }
}

/// The part that says what the file is.
fn about(facts: &Facts, file: &File, cid: &str) -> Vec<u8> {
    let mut head = Head::default();
    head.add(
        "Content-Type",
        "Application/X-CPM-File-Transfer; charset=utf-8",
    );
    head.add("Content-Transfer-Encoding", "8bit");
    let mut part = head.end();
    part.extend(document(|xml| {
        xml.create_element("file-transfer")
            .write_inner_content(|xml| {
                text(xml, "file-transfer-type", session_type(facts))?;
                text(xml, "invited-participants", &facts.invited.join(";"))?;
                xml.create_element("file-object")
                    .write_inner_content(|xml| {
                        text(xml, "cid", &format!("cid:{cid}"))?;
                        text(xml, "sdp", &file.sdp)
                    })?;
                Ok(())
            })?;
        Ok(())
    }));
    part
}

/// The head of the file's own part.
fn file_head(file: &File, message: &Message, cid: &str) -> Vec<u8> {
    let mut head = Head::default();
    let kind = file.kind.as_deref().unwrap_or(&message.begun.content_type);
    // A type that isn't one would spoil the part.
    let is_type = essence(kind).split_once('/').is_some_and(|(one, other)| {
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b))
        };
        is_token(one) && is_token(other)
    });
    let kind = match is_type {
        true => essence(kind),
        false => "application/octet-stream".to_owned(),
    };
    head.add("Content-Type", &kind);
    head.add("Content-Transfer-Encoding", "base64");
    head.add("Content-ID", &format!("<{cid}>"));
    let disposition = match &file.name {
        Some(name) => format!("attachment; {}", filename(name)),
        None => "attachment".to_owned(),
    };
    head.add("Content-Disposition", &disposition);
    head.end()
}

/// The name as a parameter; RFC 2231 §4 where it isn't ASCII.
fn filename(name: &str) -> String {
    let name: String = clean(name).chars().take(NAME).collect();
    if name.is_ascii() {
        let name: String = name.chars().filter(|c| !"\"\\".contains(*c)).collect();
        return format!("filename=\"{name}\"");
    }
    let encoded = name.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b"-._".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    format!("filename*=UTF-8''{}", encoded.collect::<String>())
}

/// `name:"x"`; RFC 5547 §6 writes a quote, a line end and a percent sign in it as %22, %0A, %25.
fn quoted(selector: &str, key: &str) -> Option<String> {
    let (_, rest) = selector.split_once(key)?;
    let value = rest.split('"').next()?;
    let value = value
        .replace("%22", "\"")
        .replace("%0D", "")
        .replace("%0A", " ");
    Some(value.replace("%25", "%"))
}

fn word(selector: &str, key: &str) -> Option<String> {
    // A name may hold anything: it is looked for behind it.
    let after = match selector.split_once("name:\"") {
        Some((before, rest)) => {
            let behind = rest.split_once('"').map_or("", |(_, behind)| behind);
            format!("{before} {behind}")
        }
        None => selector.to_owned(),
    };
    let found = after
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key));
    found.map(str::to_owned)
}

/// Characters of a file's name.
const NAME: usize = 128;
