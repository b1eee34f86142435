//! Registration information (RFC 3680 §5, GRUUs of RFC 5628 §5): what a NOTIFY says of a user's
//! registrations, read into plain values.
//!
//! Only elements of the two namespaces count. A document type is refused, so nothing is expanded
//! but XML's own five entities and character references.

use std::fmt;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;
use quick_xml::{XmlVersion, escape};

use crate::limits;

/// A reginfo document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegInfo {
    /// It grows by one with each document of a subscription.
    pub version: u32,
    /// What isn't in it isn't registered.
    pub is_full: bool,
    /// One for each address-of-record.
    pub registrations: Vec<Registration>,
}

/// The registration of an address-of-record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registration {
    /// The address-of-record.
    pub aor: String,
    /// Its name in this subscription's documents.
    pub id: String,
    /// Some contact is bound to it.
    pub is_active: bool,
    /// Its contacts, at most [`limits::CONTACTS_PER_REGISTRATION`].
    pub contacts: Vec<Contact>,
}

/// A contact that is, or was, bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// Its name in this subscription's documents.
    pub id: String,
    /// It is bound.
    pub is_active: bool,
    /// Seconds until it expires.
    pub expires_s: Option<u32>,
    /// Its URI.
    pub uri: String,
    /// `unknown-param`: Contact parameters such as `+sip.instance`, with their values unquoted.
    pub params: Vec<(String, String)>,
    /// Its public GRUU.
    pub pub_gruu: Option<String>,
    /// Its last temporary GRUU.
    pub temp_gruu: Option<String>,
}

/// Why a document can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegInfoError {
    /// It isn't XML, or not in UTF-8.
    Xml,
    /// It isn't a `reginfo` with its version and state.
    NoRegInfo,
    /// It goes beyond a maximum in `limits.rs`.
    TooMuch,
}

impl fmt::Display for RegInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xml => "reginfo: not well-formed",
            Self::NoRegInfo => "reginfo: no reginfo element with version and state",
            Self::TooMuch => "reginfo: too long, too deep, or too many",
        })
    }
}

impl std::error::Error for RegInfoError {}

impl RegInfo {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`RegInfoError`].
    pub fn parse(body: &[u8]) -> Result<Self, RegInfoError> {
        let text = std::str::from_utf8(body).map_err(|_| RegInfoError::Xml)?;
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut document = Document::default();
        loop {
            let (namespace, event) = reader
                .read_resolved_event()
                .map_err(|_| RegInfoError::Xml)?;
            let room = Room::of(&namespace);
            match event {
                Event::Start(element) => document.open(room, &element)?,
                Event::End(_) => document.close(),
                Event::Text(piece) => document.say(&piece.xml10_content())?,
                Event::CData(piece) => document.say(&piece.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let character = reference
                        .resolve_char_ref()
                        .map_err(|_| RegInfoError::Xml)?;
                    match character {
                        Some(character) => document.say(character.encode_utf8(&mut [0; 4]))?,
                        None => {
                            let known =
                                escape::resolve_predefined_entity(&reference.xml10_content());
                            document.say(known.ok_or(RegInfoError::Xml)?)?;
                        }
                    }
                }
                Event::DocType(_) => return Err(RegInfoError::Xml),
                Event::Eof => break,
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
        if !document.is_begun || !document.open.is_empty() {
            return Err(RegInfoError::NoRegInfo);
        }
        Ok(document.info)
    }
}

/// Whose element it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    RegInfo,
    Gruu,
    Other,
}

impl Room {
    fn of(namespace: &ResolveResult<'_>) -> Self {
        match namespace {
            ResolveResult::Bound(name) if name.as_ref() == REGINFO => Self::RegInfo,
            ResolveResult::Bound(name) if name.as_ref() == GRUU => Self::Gruu,
            ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => {
                Self::Other
            }
        }
    }
}

/// An element that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    RegInfo,
    Registration,
    Contact,
    Uri,
    Param,
    Other,
}

/// What was read so far.
#[derive(Default)]
struct Document {
    info: RegInfo,
    is_begun: bool,
    open: Vec<Element>,
    /// The text of the element that is open.
    text: String,
}

impl Document {
    fn open(&mut self, room: Room, element: &BytesStart<'_>) -> Result<(), RegInfoError> {
        if self.open.len() >= limits::REGINFO_DEPTH {
            return Err(RegInfoError::TooMuch);
        }
        self.text.clear();
        let name = element.local_name();
        let name: &str = name.as_ref();
        let entered = match (self.open.last(), room, name) {
            (None, Room::RegInfo, "reginfo") => {
                self.begin(element)?;
                Element::RegInfo
            }
            (None, ..) => return Err(RegInfoError::NoRegInfo),
            (Some(Element::RegInfo), Room::RegInfo, "registration") => {
                self.registration(element)?;
                Element::Registration
            }
            (Some(Element::Registration), Room::RegInfo, "contact") => {
                self.contact(element)?;
                Element::Contact
            }
            (Some(Element::Contact), Room::RegInfo, "uri") => Element::Uri,
            (Some(Element::Contact), Room::RegInfo, "unknown-param") => {
                self.param(element)?;
                Element::Param
            }
            (Some(Element::Contact), Room::Gruu, "pub-gruu") => {
                let uri = attribute(element, "uri")?;
                self.last(|contact| contact.pub_gruu = uri);
                Element::Other
            }
            (Some(Element::Contact), Room::Gruu, "temp-gruu") => {
                let uri = attribute(element, "uri")?;
                self.last(|contact| contact.temp_gruu = uri);
                Element::Other
            }
            _ => Element::Other,
        };
        self.open.push(entered);
        Ok(())
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        match self.open.pop() {
            Some(Element::Uri) => self.last(|contact| contact.uri = text.trim().to_owned()),
            Some(Element::Param) => self.last(|contact| {
                if let Some((_, value)) = contact.params.last_mut() {
                    *value = unquoted(text.trim()).to_owned();
                }
            }),
            Some(Element::RegInfo | Element::Registration | Element::Contact | Element::Other)
            | None => {}
        }
    }

    fn say(&mut self, text: &str) -> Result<(), RegInfoError> {
        let counts = matches!(self.open.last(), Some(Element::Uri | Element::Param));
        if counts {
            if self.text.len() + text.len() > limits::REGINFO_TEXT_BYTES {
                return Err(RegInfoError::TooMuch);
            }
            self.text.push_str(text);
        }
        Ok(())
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), RegInfoError> {
        let version = attribute(element, "version")?.and_then(|text| text.trim().parse().ok());
        let state = attribute(element, "state")?;
        let (Some(version), Some(state)) = (version, state) else {
            return Err(RegInfoError::NoRegInfo);
        };
        self.info.version = version;
        self.info.is_full = state == "full";
        self.is_begun = true;
        Ok(())
    }

    fn registration(&mut self, element: &BytesStart<'_>) -> Result<(), RegInfoError> {
        if self.info.registrations.len() >= limits::REGISTRATIONS_PER_USER {
            return Err(RegInfoError::TooMuch);
        }
        self.info.registrations.push(Registration {
            aor: attribute(element, "aor")?.unwrap_or_default(),
            id: attribute(element, "id")?.unwrap_or_default(),
            is_active: attribute(element, "state")?.as_deref() == Some("active"),
            contacts: Vec::new(),
        });
        Ok(())
    }

    fn contact(&mut self, element: &BytesStart<'_>) -> Result<(), RegInfoError> {
        let Some(registration) = self.info.registrations.last_mut() else {
            return Ok(());
        };
        if registration.contacts.len() >= limits::CONTACTS_PER_REGISTRATION {
            return Err(RegInfoError::TooMuch);
        }
        registration.contacts.push(Contact {
            id: attribute(element, "id")?.unwrap_or_default(),
            is_active: attribute(element, "state")?.as_deref() == Some("active"),
            expires_s: attribute(element, "expires")?.and_then(|text| text.trim().parse().ok()),
            ..Contact::default()
        });
        Ok(())
    }

    fn param(&mut self, element: &BytesStart<'_>) -> Result<(), RegInfoError> {
        let name = attribute(element, "name")?.unwrap_or_default();
        let contact = self.info.registrations.last_mut();
        let Some(contact) = contact.and_then(|registration| registration.contacts.last_mut())
        else {
            return Ok(());
        };
        if contact.params.len() >= limits::PARAMS_PER_CONTACT {
            return Err(RegInfoError::TooMuch);
        }
        contact.params.push((name, String::new()));
        Ok(())
    }

    fn last(&mut self, change: impl FnOnce(&mut Contact)) {
        let registration = self.info.registrations.last_mut();
        if let Some(contact) = registration.and_then(|one| one.contacts.last_mut()) {
            change(contact);
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, RegInfoError> {
    let found = element
        .try_get_attribute(name)
        .map_err(|_| RegInfoError::Xml)?;
    let Some(found) = found else {
        return Ok(None);
    };
    let value = found
        .normalized_value(XmlVersion::Implicit1_0)
        .map_err(|_| RegInfoError::Xml)?;
    if value.len() > limits::REGINFO_TEXT_BYTES {
        return Err(RegInfoError::TooMuch);
    }
    Ok(Some(value.into_owned()))
}

fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

const REGINFO: &str = "urn:ietf:params:xml:ns:reginfo";
const GRUU: &str = "urn:ietf:params:xml:ns:gruuinfo";

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"<?xml version="1.0"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo"
         version="7" state="full">
  <registration aor="sip:b@home.example" id="a7" state="active">
    <contact id="76" state="active" event="registered" expires="3600" q="0.8" callid="x" cseq="1">
      <uri>sip:b@192.0.2.1:5060;ob&amp;</uri>
      <display-name>B</display-name>
      <unknown-param name="+sip.instance">"&lt;urn:uuid:B1&gt;"</unknown-param>
      <unknown-param name="audio"/>
      <gr:pub-gruu uri="sip:b@home.example;gr=urn:uuid:B1"/>
      <gr:temp-gruu uri="sip:t1@home.example;gr" first-cseq="1"/>
      <x:uri xmlns:x="urn:other">sip:evil@x</x:uri>
    </contact>
    <contact id="77" state="terminated" event="expired"><uri>sip:b@192.0.2.2</uri></contact>
  </registration>
  <registration aor="tel:+1555" id="a8" state="init"/>
</reginfo>"#;

    #[test]
    fn a_document_says_what_is_registered() {
        let info = RegInfo::parse(TWO.as_bytes()).unwrap();
        assert_eq!((info.version, info.is_full), (7, true));
        let [first, second] = &info.registrations[..] else {
            panic!("{info:?}")
        };
        assert_eq!(
            (first.aor.as_str(), first.is_active),
            ("sip:b@home.example", true)
        );
        assert_eq!(
            (second.aor.as_str(), second.is_active),
            ("tel:+1555", false)
        );
        let contact = &first.contacts[0];
        assert_eq!(contact.uri, "sip:b@192.0.2.1:5060;ob&");
        assert_eq!(contact.expires_s, Some(3600));
        let params = [("+sip.instance", "<urn:uuid:B1>"), ("audio", "")];
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(contact.params, params);
        let gruu = "sip:b@home.example;gr=urn:uuid:B1";
        assert_eq!(contact.pub_gruu.as_deref(), Some(gruu));
        assert_eq!(contact.temp_gruu.as_deref(), Some("sip:t1@home.example;gr"));
        assert!(!first.contacts[1].is_active);
    }

    #[test]
    fn what_is_no_reginfo_or_too_much_is_refused() {
        let bomb = format!("<!DOCTYPE r [<!ENTITY a \"b\">]>{TWO}");
        for text in [
            "",
            "x",
            "<reginfo/>",
            "<a/>",
            &TWO[..200],
            &bomb,
            &TWO.replace("&amp;", "&bad;"),
        ] {
            assert!(RegInfo::parse(text.as_bytes()).is_err(), "{text}");
        }
        let (head, tail) = TWO.split_once("<registration").unwrap();
        let deep = format!("{head}{}{}", "<x>".repeat(5000), "</x>".repeat(5000));
        let many = format!("{head}{}</reginfo>", "<registration/>".repeat(5000));
        let long = TWO.replace("sip:b@192.0.2.1", &"x".repeat(10_000));
        assert!(tail.contains("contact"));
        for text in [deep, many, long] {
            assert_eq!(RegInfo::parse(text.as_bytes()), Err(RegInfoError::TooMuch));
        }
    }
}
