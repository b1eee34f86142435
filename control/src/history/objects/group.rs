//! The group state object: by what identity a group session was known, and who took part in it.

use std::time::SystemTime;

use time::format_description::well_known::Rfc3339;

use super::direction;
use super::header::Head;
use super::session::document;
use super::{Object, Piece, Source, encoding, identities, is_plain, message_id, parties, seconds};
use crate::history::Group;
use crate::history::job::Job;

/// The object; `None`: the session is no group's.
pub(super) fn object(job: &Job, index: usize) -> Option<Object> {
    let facts = &job.facts;
    let group = facts.group.as_ref()?;
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let (from, to) = parties(facts, facts.is_sent);
    let id = message_id(&job.key, number);
    let mut head = Head::default();
    head.add("From", from);
    head.add("To", to);
    head.add_date(job.ended);
    if let Some(subject) = &facts.subject {
        head.add("Subject", subject);
    }
    head.add_id(&id);
    identities(&mut head, job);
    head.add("IMDN-Message-ID", &id);
    head.add("Message-Direction", direction(facts.is_sent));
    head.add("MIME-Version", "1.0");
    head.add("Content-Type", "Application/group-state-object+xml");
    let body = body(group, job.ended);
    let plain = is_plain(&body);
    head.add("Content-Transfer-Encoding", encoding(plain));
    let content = match plain {
        true => Piece::Plain(body),
        false => Piece::Base64(vec![Source::Octets(body)]),
    };
    Some(Object {
        number,
        message_id: id,
        pieces: vec![Piece::Plain(head.end()), content],
    })
}

fn body(group: &Group, at: SystemTime) -> Vec<u8> {
    let at = seconds(at).format(&Rfc3339).unwrap_or_default();
    let identity = printable(&group.identity);
    let attributes = [
        ("timestamp", at.as_str()),
        ("lastfocussessionid", identity.as_str()),
        ("group-type", "Closed"),
    ];
    document(|xml| {
        xml.create_element("groupstate")
            .with_attributes(attributes)
            .write_inner_content(|xml| {
                for one in &group.participants {
                    let address = printable(one);
                    xml.create_element("participant")
                        .with_attribute(("comm-addr", address.as_str()))
                        .write_empty()?;
                }
                Ok(())
            })?;
        Ok(())
    })
}

/// XML 1.0 has no place for control characters.
fn printable(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}
