//! Disposition notifications (RFC 5438) and the CPIM messages that ask for them and carry them
//! (RFC 3862).
//!
//! ```text
//! From: <sip:a@x>                      what a message's head says of notifications: `Head`
//! NS: imdn <urn:ietf:params:imdn>
//! imdn.Message-ID: 34jk324j
//! imdn.Disposition-Notification: positive-delivery, negative-delivery
//!
//! Content-Type: text/plain             or message/imdn+xml: a `Notice` of another message
//! ```

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use quick_xml::Writer;
use quick_xml::escape;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::reader::Reader;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::body;
use super::policy::user_key;
use crate::limits;
use crate::sip::{Message, Method, Name};

/// What the head of a CPIM message says of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Who wrote it: the URI of From.
    pub from: Option<String>,
    /// imdn.Message-ID.
    pub message_id: Option<String>,
    /// DateTime, as it came.
    pub at: Option<String>,
    /// What it asks for.
    pub wants: Wants,
    /// imdn.IMDN-Record-Route: where notifications of it go first.
    pub record_routes: Vec<String>,
    /// imdn.IMDN-Route: where this notification goes on to, and where in the octets each line is.
    routes: Vec<(String, Range<usize>)>,
    /// The prefix of notifications' header fields (RFC 3862 §3.4).
    prefix: String,
    /// Where a further IMDN-Record-Route belongs.
    record_at: usize,
    content_type: String,
    content_at: usize,
}

/// Which notifications a message asks for (RFC 5438 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// positive-delivery
    pub positive: bool,
    /// negative-delivery
    pub negative: bool,
    /// display
    pub display: bool,
}

impl Wants {
    fn read(value: &str) -> Self {
        let has = |what: &str| {
            let mut all = value.split(',');
            all.any(|one| {
                let name = one.split(';').next().unwrap_or_default();
                name.trim().eq_ignore_ascii_case(what)
            })
        };
        Self {
            positive: has("positive-delivery"),
            negative: has("negative-delivery"),
            display: has("display"),
        }
    }

    /// Whether there is anything that it asks for.
    #[must_use]
    pub fn anything(self) -> bool {
        self != Self::default()
    }
}

/// Which of a message's notifications one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whether it was delivered.
    Delivery,
    /// Whether it was shown.
    Display,
    /// Whether it was processed.
    Processing,
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The message that it is of.
    pub message_id: String,
    /// Who got that message, or didn't; empty where it isn't said.
    pub recipient: String,
    /// What it says something about.
    pub kind: Kind,
    /// It says `delivered`, `displayed` or the like.
    pub is_positive: bool,
    /// It says `failed`.
    pub is_failure: bool,
}

impl Head {
    /// Reads the head of a request's CPIM body; `None`: it has none that can be read.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        let kind = message.headers.get(Name::ContentType)?;
        is_type(kind, "message/cpim").then(|| Self::parse(&message.body))?
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let most = octets.len().min(limits::CPIM_HEAD_BYTES);
        let mut lines = Lines {
            octets: octets.get(..most)?,
            at: 0,
        };
        let mut head = Self {
            prefix: "imdn".to_owned(),
            ..Self::default()
        };
        let mut record_at = None;
        loop {
            let (range, line) = lines.next_line()?;
            if line.is_empty() {
                head.record_at = record_at.unwrap_or(range.start);
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let is_record = head.take(name.trim(), value.trim(), &range);
            if is_record {
                record_at = record_at.or(Some(range.start));
            }
        }
        loop {
            let (range, line) = lines.next_line()?;
            if line.is_empty() {
                head.content_at = range.end;
                return Some(head);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.trim().eq_ignore_ascii_case("Content-Type")
            {
                value.trim().clone_into(&mut head.content_type);
            }
        }
    }

    /// Takes a field; whether it is an IMDN-Record-Route.
    fn take(&mut self, name: &str, value: &str, range: &Range<usize>) -> bool {
        match name {
            "From" => self.from = address(value),
            "DateTime" => self.at = Some(value.to_owned()),
            "NS" => {
                if let Some((name, uri)) = value.split_once('<')
                    && uri.starts_with(NAMESPACE)
                    && !name.trim().is_empty()
                {
                    name.trim().clone_into(&mut self.prefix);
                }
            }
            _ => {}
        }
        let own = name.strip_prefix(&*self.prefix);
        match own.and_then(|own| own.strip_prefix('.')) {
            Some("Message-ID") if !value.is_empty() && value.len() <= limits::IMDN_ID_BYTES => {
                self.message_id = Some(value.to_owned());
            }
            Some("Disposition-Notification") => self.wants = Wants::read(value),
            Some("IMDN-Record-Route") => {
                self.record_routes.push(value.to_owned());
                return true;
            }
            Some("IMDN-Route") => self.routes.push((value.to_owned(), range.clone())),
            _ => {}
        }
        false
    }

    /// Whether a message says that it is a notification, or several.
    #[must_use]
    pub fn is_notice(&self, body: &Bytes) -> bool {
        !self.documents(body).is_empty()
    }

    /// The notifications that a message carries, each with its document; none: it is no
    /// notification, or can't be read.
    #[must_use]
    pub fn notices(&self, body: &Bytes) -> Vec<(Notice, Bytes)> {
        let documents = self.documents(body).into_iter();
        let read = documents.filter_map(|one| Some((Notice::parse(&one)?, one)));
        read.collect()
    }

    fn documents(&self, body: &Bytes) -> Vec<Bytes> {
        if self.content_at > body.len() {
            return Vec::new();
        }
        // The content is a body of its own: alone, or as parts of a multipart one.
        let mut content = Message::request(Method::Message, "");
        content.set_body(&self.content_type, body.slice(self.content_at..));
        body::parts(&content, MEDIA_TYPE)
    }

    /// The octets with an IMDN-Record-Route above those that are there (RFC 5438 §7.1.2): who gets
    /// the message sends notifications of it there first.
    #[must_use]
    pub fn with_record_route(&self, body: &Bytes, own: &str) -> Bytes {
        let line = format!("{}.IMDN-Record-Route: <{}>\r\n", self.prefix, clean(own));
        let (before, after) = body.split_at(self.record_at.min(body.len()));
        [before, line.as_bytes(), after].concat().into()
    }

    /// The octets without the first IMDN-Route, where it names this place.
    #[must_use]
    pub fn without_route(&self, body: &Bytes, own: &str) -> Bytes {
        match self.routes.first() {
            Some((route, range)) if is_same(route, own) && range.end <= body.len() => {
                [&body[..range.start], &body[range.end..]].concat().into()
            }
            Some(_) | None => body.clone(),
        }
    }
}

/// Whether a route is to an address.
fn is_same(route: &str, own: &str) -> bool {
    address(route).is_some_and(|route| user_key(&route) == user_key(own))
}

impl Notice {
    /// Reads a document.
    #[must_use]
    pub fn parse(document: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(document).ok()?;
        let mut reader = Reader::from_str(text.trim_start());
        let mut reading = Reading::default();
        loop {
            match reader.read_event().ok()? {
                Event::Start(element) => reading.open(element.local_name().as_ref())?,
                Event::Empty(element) => {
                    reading.open(element.local_name().as_ref())?;
                    reading.close();
                }
                Event::End(_) => reading.close(),
                Event::Text(piece) => reading.say(&piece.xml10_content()),
                Event::CData(piece) => reading.say(&piece.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                    Some(character) => reading.say(character.encode_utf8(&mut [0; 4])),
                    None => {
                        let name = reference.xml10_content();
                        reading.say(escape::resolve_predefined_entity(&name)?);
                    }
                },
                Event::DocType(_) => return None,
                Event::Eof => return reading.end(),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

/// A document as far as it was read.
#[derive(Default)]
struct Reading {
    open: Vec<String>,
    message_id: String,
    recipient: String,
    kind: Option<Kind>,
    status: Option<String>,
}

impl Reading {
    fn open(&mut self, name: &str) -> Option<()> {
        if self.open.len() >= limits::IMDN_DEPTH || (self.open.is_empty() && name != "imdn") {
            return None;
        }
        match (self.open.len(), name) {
            (1, "delivery-notification") => self.kind = Some(Kind::Delivery),
            (1, "display-notification") => self.kind = Some(Kind::Display),
            (1, "processing-notification") => self.kind = Some(Kind::Processing),
            (3, status) if self.open.last().is_some_and(|last| last == "status") => {
                self.status = Some(status.to_owned());
            }
            _ => {}
        }
        self.open.push(name.to_owned());
        Some(())
    }

    fn close(&mut self) {
        self.open.pop();
    }

    fn say(&mut self, text: &str) {
        let [_, name] = self.open.as_slice() else {
            return;
        };
        let into = match name.as_str() {
            "message-id" => &mut self.message_id,
            "recipient-uri" => &mut self.recipient,
            _ => return,
        };
        if into.len() + text.len() <= limits::IMDN_ID_BYTES {
            into.push_str(text);
        }
    }

    fn end(self) -> Option<Notice> {
        let (kind, status) = (self.kind?, self.status?);
        let message_id = self.message_id.trim().to_owned();
        (self.open.is_empty() && !message_id.is_empty()).then(|| Notice {
            message_id,
            recipient: self.recipient.trim().to_owned(),
            kind,
            is_positive: matches!(
                status.as_str(),
                "delivered" | "displayed" | "processed" | "stored"
            ),
            is_failure: status == "failed",
        })
    }
}

/// A message that could not be delivered.
#[derive(Debug, Clone, Copy)]
pub struct Undelivered<'a> {
    /// Its imdn.Message-ID.
    pub message_id: &'a str,
    /// Its DateTime, as it came.
    pub at: Option<&'a str>,
    /// Who didn't get it.
    pub recipient: &'a str,
    /// Whom it was to, where that is a group.
    pub original: &'a str,
}

impl Undelivered<'_> {
    /// The document that says so (RFC 5438 §7.2.1).
    #[must_use]
    pub fn document(&self, now: SystemTime) -> Bytes {
        let mut xml = Writer::new(Vec::new());
        let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
        let written = xml
            .write_event(Event::Decl(declaration))
            .and_then(|()| self.write(&mut xml, now));
        // A vector takes all that is written to it.
        match written {
            Ok(()) => xml.into_inner().into(),
            Err(_) => Bytes::new(),
        }
    }

    fn write(&self, xml: &mut Writer<Vec<u8>>, now: SystemTime) -> io::Result<()> {
        let at = self.at.map_or_else(|| moment(now), str::to_owned);
        xml.create_element("imdn")
            .with_attribute(("xmlns", "urn:ietf:params:xml:ns:imdn"))
            .write_inner_content(|xml| {
                text(xml, "message-id", self.message_id)?;
                text(xml, "datetime", &at)?;
                text(xml, "recipient-uri", self.recipient)?;
                text(xml, "original-recipient-uri", self.original)?;
                xml.create_element("delivery-notification")
                    .write_inner_content(|xml| {
                        xml.create_element("status").write_inner_content(|xml| {
                            xml.create_element("failed").write_empty().map(|_| ())
                        })?;
                        Ok(())
                    })?;
                Ok(())
            })?;
        Ok(())
    }
}

fn text(xml: &mut Writer<Vec<u8>>, name: &str, value: &str) -> io::Result<()> {
    xml.create_element(name)
        .write_text_content(BytesText::new(&clean(value)))?;
    Ok(())
}

/// The message that carries notifications.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Who tells.
    pub from: &'a str,
    /// Who is told.
    pub to: &'a str,
    /// Its own imdn.Message-ID.
    pub id: &'a str,
    /// Where it passes: the IMDN-Record-Routes of what it is about.
    pub routes: &'a [String],
}

impl Envelope<'_> {
    /// The CPIM message with some documents; with more than one, all are parts of it
    /// (RFC 5438 §8.3).
    #[must_use]
    pub fn around(&self, documents: &[Bytes], now: SystemTime) -> Bytes {
        let mut octets = format!(
            "From: <{}>\r\nTo: <{}>\r\nNS: imdn <{NAMESPACE}>\r\nimdn.Message-ID: {}\r\n\
             DateTime: {}\r\n",
            clean(self.from),
            clean(self.to),
            clean(self.id),
            moment(now)
        );
        for route in self.routes {
            octets.push_str(&format!("imdn.IMDN-Route: {}\r\n", clean(route)));
        }
        let mut octets = octets.into_bytes();
        match documents {
            [document] => {
                let head = format!(
                    "\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Disposition: notification\r\n\
                     Content-Length: {}\r\n\r\n",
                    document.len()
                );
                octets.extend(head.as_bytes());
                octets.extend_from_slice(document);
            }
            documents => {
                let boundary = format!("imdn-{}", clean(self.id).replace('@', "-"));
                let head =
                    format!("\r\nContent-Type: multipart/mixed;boundary=\"{boundary}\"\r\n\r\n");
                octets.extend(head.as_bytes());
                for document in documents {
                    let head = format!(
                        "--{boundary}\r\nContent-Type: {MEDIA_TYPE}\r\n\
                         Content-Disposition: notification\r\n\r\n"
                    );
                    octets.extend(head.as_bytes());
                    octets.extend_from_slice(document);
                    octets.extend(b"\r\n");
                }
                octets.extend(format!("--{boundary}--\r\n").as_bytes());
            }
        }
        octets.into()
    }
}

/// Lines, and where each is, its end included.
struct Lines<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line that ends; `None`: there is none, or it isn't text.
    fn next_line(&mut self) -> Option<(Range<usize>, &'a str)> {
        let rest = self.octets.get(self.at..)?;
        let end = self.at + rest.iter().position(|byte| *byte == b'\n')? + 1;
        let range = self.at..end;
        self.at = end;
        let line = std::str::from_utf8(self.octets.get(range.clone())?).ok()?;
        Some((range, line.trim_end_matches(['\r', '\n'])))
    }
}

/// The URI in brackets, else the value; `None` where nobody is named.
fn address(value: &str) -> Option<String> {
    let inner = value.rsplit_once('<');
    let uri = match inner {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value,
    };
    let is_known = !uri.is_empty() && !uri.contains("anonymous.invalid");
    is_known.then(|| uri.trim().to_owned())
}

fn is_type(content_type: &str, kind: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(kind)
}

/// What may stand in a line of a head or in a document.
fn clean(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}

fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// RFC 5438 §6.2
const NAMESPACE: &str = "urn:ietf:params:imdn";
const MEDIA_TYPE: &str = "message/imdn+xml";

/// What notifications are sent as.
pub const CPIM: &str = "message/cpim";

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: &str = "From: Al <sip:a@x>\r\nTo: <sip:g@x>\r\nNS: n <urn:ietf:params:imdn>\r\n\
        n.Message-ID: 34jk\r\nDateTime: 2026-11-21T12:00:00Z\r\n\
        n.Disposition-Notification: positive-delivery, negative-delivery;x=y\r\n\r\n\
        Content-Type: text/plain\r\n\r\nhello";

    fn cpim(body: &str) -> Message {
        let mut message = Message::request(Method::Message, "sip:g@x");
        message.set_body(CPIM, Bytes::from(body.to_owned()));
        message
    }

    #[test]
    fn what_a_message_asks_for_is_read_under_any_prefix() {
        let message = cpim(ASKS);
        let head = Head::of(&message).unwrap();
        assert_eq!(head.message_id.as_deref(), Some("34jk"));
        assert_eq!(head.from.as_deref(), Some("sip:a@x"));
        assert!(head.wants.positive && head.wants.negative && !head.wants.display);
        assert!(head.notices(&message.body).is_empty());
        let routed = head.with_record_route(&message.body, "sip:g@x");
        let text = String::from_utf8(routed.to_vec()).unwrap();
        assert!(
            text.contains("=y\r\nn.IMDN-Record-Route: <sip:g@x>\r\n\r\nContent"),
            "{text}"
        );
        let again = Head::of(&cpim(&text)).unwrap();
        let twice = again.with_record_route(&routed, "sip:h@x");
        let again = Head::of(&cpim(std::str::from_utf8(&twice).unwrap())).unwrap();
        assert_eq!(again.record_routes, ["<sip:h@x>", "<sip:g@x>"]);
    }

    #[test]
    fn what_is_written_is_read_again_alone_and_as_one_of_several() {
        let recipients = ["sip:b&c@x", "tel:+1555"];
        let documents: Vec<Bytes> = recipients
            .iter()
            .map(|recipient| {
                let failed = Undelivered {
                    message_id: "34<jk>",
                    at: None,
                    recipient,
                    original: "sip:g@x",
                };
                failed.document(SystemTime::UNIX_EPOCH)
            })
            .collect();
        let envelope = Envelope {
            from: "sip:g@x",
            to: "sip:a@x\r\nEvil: yes",
            id: "own@x",
            routes: &["<sip:r@x>".to_owned()],
        };
        for count in [1, 2] {
            let body = envelope.around(&documents[..count], SystemTime::UNIX_EPOCH);
            let message = cpim(std::str::from_utf8(&body).unwrap());
            let head = Head::of(&message).unwrap();
            assert!(!message.body.windows(7).any(|piece| piece == b"\r\nEvil:"));
            let notices = head.notices(&message.body);
            let found: Vec<&str> = notices
                .iter()
                .map(|(one, _)| one.recipient.as_str())
                .collect();
            assert_eq!(found, recipients[..count]);
            let (notice, _) = &notices[0];
            assert_eq!(notice.message_id, "34<jk>");
            assert!(notice.is_failure && !notice.is_positive && notice.kind == Kind::Delivery);
            let onward = head.without_route(&message.body, "sip:r@X");
            assert!(!onward.windows(10).any(|piece| piece == b"IMDN-Route"));
            assert_eq!(head.without_route(&message.body, "sip:s@x"), message.body);
        }
    }

    #[test]
    fn what_is_no_notification_or_too_much_is_none() {
        let deep = format!("<imdn>{}", "<status>".repeat(limits::IMDN_DEPTH));
        let no_status = "<imdn><message-id>x</message-id><delivery-notification/></imdn>";
        let typed = "<!DOCTYPE imdn [<!ENTITY a \"b\">]><imdn/>";
        for document in [deep.as_str(), no_status, typed, "<other/>", "<imdn", ""] {
            assert_eq!(Notice::parse(document.as_bytes()), None, "{document}");
        }
        let long = format!(
            "From: <{}>\r\n\r\n\r\n",
            "x".repeat(limits::CPIM_HEAD_BYTES)
        );
        for body in [long.as_str(), "", "From: <a>\r\n", "\r\n\r", "From: \u{fe}"] {
            assert_eq!(Head::of(&cpim(body)), None, "{body}");
        }
    }
}
