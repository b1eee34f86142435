//! Participant information: conference-info documents (RFC 4575).

use std::io;

use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// What a document says of a group session.
#[derive(Debug, Clone, Default)]
pub struct Document<'a> {
    /// The session's identity.
    pub entity: &'a str,
    /// One more than that of the subscription's document before.
    pub version: u32,
    /// Everything is said, not only what has changed.
    pub is_full: bool,
    /// The session's subject.
    pub subject: Option<&'a str>,
    /// Participants now.
    pub user_count: usize,
    /// Participants at most.
    pub user_count_max: usize,
    /// The participants, or those of whom something has changed.
    pub users: Vec<User<'a>>,
    /// They are not all: documents with the others follow.
    pub is_cut: bool,
}

/// A participant.
#[derive(Debug, Clone)]
pub struct User<'a> {
    /// Who.
    pub entity: &'a str,
    /// The participant's Contact.
    pub endpoint: &'a str,
    /// The participant began the session or owns the group.
    pub is_owner: bool,
    /// Whether the participant takes part.
    pub status: Status,
    /// The streams that the participant uses.
    pub media: Vec<Media>,
}

impl User<'_> {
    /// Octets that the addresses take in a document.
    #[must_use]
    pub fn written_len(&self) -> usize {
        escape(self.entity).len() + escape(self.endpoint).len()
    }
}

/// A stream that a participant uses (RFC 4575 §5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// Its name in the session.
    pub id: u8,
    /// What it carries.
    pub kind: &'static str,
    /// Which way media goes.
    pub direction: &'static str,
    /// The floor that governs it.
    pub floor: Option<Floor>,
}

/// A floor, as one participant's stream has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Its identifier (RFC 8856 `floorid`).
    pub id: u16,
    /// What names the stream in descriptions (RFC 4574), and ties the floor to it.
    pub label: u8,
    /// The participant holds it.
    pub is_held: bool,
}

/// Whether a participant takes part (RFC 4575 §5.7.2, §5.7.4, §5.7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The participant is being invited.
    DialingOut,
    /// The participant is alerted.
    Alerting,
    /// The participant takes part.
    Connected,
    /// The participant has left.
    Departed,
    /// The participant was removed.
    Booted,
    /// The invitation was refused, by that code, or the participant was lost.
    Failed(u16),
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::DialingOut => "dialing-out",
            Self::Alerting => "alerting",
            Self::Connected => "connected",
            Self::Departed | Self::Booted | Self::Failed(_) => "disconnected",
        }
    }

    fn disconnection(self) -> Option<&'static str> {
        match self {
            Self::DialingOut | Self::Alerting | Self::Connected => None,
            Self::Departed => Some("departed"),
            Self::Booted => Some("booted"),
            Self::Failed(_) => Some("failed"),
        }
    }
}

impl Document<'_> {
    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut xml = Writer::new(Vec::new());
        let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
        let written = xml
            .write_event(Event::Decl(declaration))
            .and_then(|()| self.write_to(&mut xml));
        // A vector takes all that is written to it.
        match written {
            Ok(()) => xml.into_inner(),
            Err(_) => Vec::new(),
        }
    }

    fn write_to(&self, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let version = self.version.to_string();
        let state = state_of(self.is_full);
        let attributes = [
            ("xmlns", NAMESPACE),
            ("entity", self.entity),
            ("state", state),
            ("version", version.as_str()),
        ];
        xml.create_element("conference-info")
            .with_attributes(attributes)
            .write_inner_content(|xml| {
                xml.create_element("conference-description")
                    .write_inner_content(|xml| {
                        if let Some(subject) = self.subject {
                            text(xml, "subject", subject)?;
                        }
                        text(xml, "maximum-user-count", &self.user_count_max.to_string())
                    })?;
                xml.create_element("conference-state")
                    .write_inner_content(|xml| {
                        text(xml, "user-count", &self.user_count.to_string())?;
                        text(xml, "active", "true")
                    })?;
                xml.create_element("users")
                    .with_attribute(("state", state_of(self.is_full && !self.is_cut)))
                    .write_inner_content(|xml| {
                        self.users.iter().try_for_each(|user| user.write(xml))
                    })?;
                Ok(())
            })?;
        Ok(())
    }
}

impl User<'_> {
    fn write(&self, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
        xml.create_element("user")
            .with_attributes([("entity", self.entity), ("state", "full")])
            .write_inner_content(|xml| {
                if self.is_owner {
                    xml.create_element("roles")
                        .write_inner_content(|xml| text(xml, "entry", "administrator"))?;
                }
                xml.create_element("endpoint")
                    .with_attribute(("entity", self.endpoint))
                    .write_inner_content(|xml| self.write_endpoint(xml))?;
                Ok(())
            })?;
        Ok(())
    }

    fn write_endpoint(&self, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
        text(xml, "status", self.status.name())?;
        if let Some(method) = self.status.disconnection() {
            text(xml, "disconnection-method", method)?;
        }
        if let Status::Failed(code) = self.status {
            let reason = format!("SIP;cause={code}");
            xml.create_element("disconnection-info")
                .write_inner_content(|xml| text(xml, "reason", &reason))?;
        }
        self.media.iter().try_for_each(|media| media.write(xml))
    }
}

impl Media {
    fn write(&self, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let id = self.id.to_string();
        xml.create_element("media")
            .with_attribute(("id", id.as_str()))
            .write_inner_content(|xml| {
                text(xml, "type", self.kind)?;
                if let Some(floor) = &self.floor {
                    text(xml, "label", &floor.label.to_string())?;
                }
                text(xml, "status", self.direction)?;
                self.floor.map_or(Ok(()), |floor| floor.write(xml))
            })?;
        Ok(())
    }
}

impl Floor {
    /// RFC 4575 and RFC 6501 say nothing of who holds a floor; other namespaces have their place
    /// after what they say of a stream.
    fn write(self, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let id = self.id.to_string();
        let status = if self.is_held { "granted" } else { "none" };
        let attributes = [
            ("xmlns", FLOOR_NAMESPACE),
            ("id", id.as_str()),
            ("status", status),
        ];
        xml.create_element("floor")
            .with_attributes(attributes)
            .write_empty()?;
        Ok(())
    }
}

fn text(xml: &mut Writer<Vec<u8>>, name: &str, value: &str) -> io::Result<()> {
    // XML 1.0 has no place for control characters.
    let value: String = value.chars().filter(|c| !c.is_control()).collect();
    xml.create_element(name)
        .write_text_content(BytesText::new(&value))?;
    Ok(())
}

fn state_of(is_full: bool) -> &'static str {
    if is_full { "full" } else { "partial" }
}

const NAMESPACE: &str = "urn:ietf:params:xml:ns:conference-info";
/// The relay's own.
const FLOOR_NAMESPACE: &str = "urn:midpath:params:xml:ns:floor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_who_takes_part_and_escapes_what_people_call_themselves() {
        let media = |floor| Media {
            id: 1,
            kind: "audio",
            direction: "sendrecv",
            floor,
        };
        let floor = Floor {
            id: 2,
            label: 11,
            is_held: true,
        };
        let user = User {
            entity: "sip:a&b@x",
            endpoint: "sip:a@127.0.0.1",
            is_owner: true,
            status: Status::Failed(603),
            media: vec![media(None), media(Some(floor))],
        };
        let document = Document {
            entity: "sip:s@focus",
            version: 3,
            is_full: true,
            subject: Some("a<b\u{1}"),
            user_count: 1,
            user_count_max: 10,
            users: vec![user],
            is_cut: false,
        };
        let written = String::from_utf8(document.write()).unwrap();
        for piece in [
            "version=\"3\"",
            "state=\"full\"",
            "<subject>a&lt;b</subject>",
            "entity=\"sip:a&amp;b@x\"",
            "<status>disconnected</status><disconnection-method>failed</disconnection-method>",
            "<reason>SIP;cause=603</reason>",
            "<media id=\"1\"><type>audio</type><status>sendrecv</status></media>",
            "<media id=\"1\"><type>audio</type><label>11</label><status>sendrecv</status>\
            <floor xmlns=\"urn:midpath:params:xml:ns:floor\" id=\"2\" status=\"granted\"/></media>",
        ] {
            assert!(written.contains(piece), "{piece} in {written}");
        }
    }
}
