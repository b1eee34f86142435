//! The session info object: who, when, and what was offered.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::header::Head;
use super::{
    Object, Piece, Source, direction, encoding, identities, is_plain, message_id, parties,
};
use crate::history::Facts;
use crate::history::job::Job;

pub(super) fn object(job: &Job, number: u32, missing: usize) -> Object {
    let facts = &job.facts;
    let (from, to) = parties(facts, facts.is_sent);
    let id = message_id(&job.key, number);
    let mut head = Head::default();
    head.add("From", from);
    head.add("To", to);
    head.add_date(facts.begun);
    if let Some(subject) = &facts.subject {
        head.add("Subject", subject);
    }
    head.add_id(&id);
    identities(&mut head, job);
    if let Some(service) = &facts.service {
        head.add("P-Asserted-Service", service);
    }
    head.add("IMDN-Message-ID", &id);
    head.add("Message-Direction", direction(facts.is_sent));
    head.add_ended(job.ended);
    if missing > 0 {
        let note =
            format!("{missing} or more of this session's messages are not stored, or not whole");
        head.add("Comments", &note);
    }
    head.add("MIME-Version", "1.0");
    head.add("Content-Type", "application/x-cpm-session; charset=utf-8");
    let body = body(facts);
    // A line of the SDP may be too long.
    let plain = is_plain(&body);
    head.add("Content-Transfer-Encoding", encoding(plain));
    let content = match plain {
        true => Piece::Plain(body),
        false => Piece::Base64(vec![Source::Octets(body)]),
    };
    Object {
        number,
        message_id: id,
        pieces: vec![Piece::Plain(head.end()), content],
    }
}

fn body(facts: &Facts) -> Vec<u8> {
    document(|xml| {
        xml.create_element("session").write_inner_content(|xml| {
            text(xml, "session-type", session_type(facts))?;
            if let Some(sdp) = &facts.sdp {
                text(xml, "sdp", &String::from_utf8_lossy(sdp))?;
            }
            text(xml, "invited-participants", &facts.invited.join(";"))
        })?;
        Ok(())
    })
}

/// A document of XML, lines ended as MIME wants them.
pub(super) fn document(write: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
    let mut xml = Writer::new(Vec::new());
    let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
    let written = xml
        .write_event(Event::Decl(declaration))
        .and_then(|()| write(&mut xml));
    // A vector takes all that is written to it.
    match written {
        Ok(()) => folded(&xml.into_inner()),
        Err(_) => Vec::new(),
    }
}

pub(super) fn text(xml: &mut Writer<Vec<u8>>, name: &str, value: &str) -> io::Result<()> {
    // XML 1.0 has no place for other control characters.
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let value: String = value.chars().filter(allowed).collect();
    xml.create_element(name)
        .write_text_content(BytesText::new(&value))?;
    Ok(())
}

/// Lines end with CRLF, and none is too long: an element begins a line where it must.
fn folded(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(text.len());
    let mut length = 0;
    for byte in text {
        if *byte == b'<' && length > FOLD {
            lines.extend(b"\r\n");
            length = 0;
        }
        if *byte == b'\n' {
            lines.push(b'\r');
            length = 0;
        }
        lines.push(*byte);
        length += 1;
    }
    lines.extend(b"\r\n");
    lines
}

pub(super) fn session_type(facts: &Facts) -> &'static str {
    match &facts.group {
        None => "1-1",
        Some(group) if group.is_defined => "Pre-Defined",
        Some(_) => "Ad-Hoc",
    }
}

/// Octets after which a line is ended before the next element.
const FOLD: usize = 76;
