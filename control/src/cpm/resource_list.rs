//! Lists of users in a request's body (RFC 4826 §3, RFC 5366 §4, RFC 5368 §4).

use std::fmt;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::body;
use crate::limits;
use crate::sip::Message;

/// Why a list can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListError {
    /// It isn't XML, or not in UTF-8, or has a document type.
    Xml,
    /// It isn't a list of resources.
    NoList,
    /// It goes beyond a maximum in `limits.rs`.
    TooMuch,
    /// An address has characters that no URI has (RFC 3986 §2): a line end would end a header field.
    Address,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xml => "list of users: not well-formed",
            Self::NoList => "list of users: no resource-lists element",
            Self::TooMuch => "list of users: too long, too deep, or too many",
            Self::Address => "list of users: an address with characters that no URI has",
        })
    }
}

impl std::error::Error for ListError {}

/// The addresses of a request's list, in their order, each once; empty where it has no list.
///
/// # Errors
///
/// [`ListError`].
pub fn of(message: &Message) -> Result<Vec<String>, ListError> {
    let mut all = Vec::new();
    for part in body::parts(message, MEDIA_TYPE) {
        for uri in parse(&part)? {
            if all.len() >= limits::LISTED_USERS {
                return Err(ListError::TooMuch);
            }
            if !all.contains(&uri) {
                all.push(uri);
            }
        }
    }
    Ok(all)
}

/// The URIs of a document's entries.
///
/// # Errors
///
/// [`ListError`].
pub fn parse(document: &[u8]) -> Result<Vec<String>, ListError> {
    if document.len() > limits::LIST_BYTES {
        return Err(ListError::TooMuch);
    }
    let text = std::str::from_utf8(document).map_err(|_| ListError::Xml)?;
    let mut reader = Reader::from_str(text.trim_start());
    let (mut depth, mut is_begun, mut uris) = (0_usize, false, Vec::new());
    loop {
        match reader.read_event().map_err(|_| ListError::Xml)? {
            Event::Start(element) => {
                is_begun = begins(is_begun, &element)?;
                depth += 1;
                if depth > limits::LIST_DEPTH {
                    return Err(ListError::TooMuch);
                }
                take(&element, &mut uris)?;
            }
            Event::Empty(element) => {
                is_begun = begins(is_begun, &element)?;
                take(&element, &mut uris)?;
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::DocType(_) => return Err(ListError::Xml),
            Event::Eof => break,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => {}
        }
    }
    match (is_begun, depth) {
        (true, 0) => Ok(uris),
        _ => Err(ListError::NoList),
    }
}

/// The first element is the document's own.
fn begins(is_begun: bool, element: &BytesStart<'_>) -> Result<bool, ListError> {
    let name = element.local_name();
    let name: &str = name.as_ref();
    if is_begun || name == "resource-lists" {
        Ok(true)
    } else {
        Err(ListError::NoList)
    }
}

fn take(element: &BytesStart<'_>, uris: &mut Vec<String>) -> Result<(), ListError> {
    let name = element.local_name();
    let name: &str = name.as_ref();
    if name != "entry" {
        return Ok(());
    }
    let found = element
        .try_get_attribute("uri")
        .map_err(|_| ListError::Xml)?;
    let Some(found) = found else { return Ok(()) };
    let uri = found
        .normalized_value(XmlVersion::Implicit1_0)
        .map_err(|_| ListError::Xml)?;
    if uris.len() >= limits::LISTED_USERS {
        return Err(ListError::TooMuch);
    }
    let uri = uri.trim();
    if uri.len() > limits::ADDRESS_BYTES {
        return Err(ListError::TooMuch);
    }
    if !uri.chars().all(is_of_uris) {
        return Err(ListError::Address);
    }
    uris.push(uri.to_owned());
    Ok(())
}

fn is_of_uris(character: char) -> bool {
    let is_blank = character.is_control() || character.is_whitespace();
    !is_blank && !"<>\"\\^`{|}".contains(character)
}

const MEDIA_TYPE: &str = "application/resource-lists+xml";

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "<?xml version=\"1.0\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\" \
        xmlns:cp=\"urn:ietf:params:xml:ns:copycontrol\"><list><entry uri=\"tel:+1555\" cp:copyControl=\"to\"/>\
        <entry uri=\"sip:b@x?a=1&amp;b=2\"><display-name>B</display-name></entry></list></resource-lists>";

    #[test]
    fn entries_are_read_in_their_order() {
        assert_eq!(
            parse(TWO.as_bytes()).unwrap(),
            ["tel:+1555", "sip:b@x?a=1&b=2"]
        );
    }

    #[test]
    fn an_address_that_would_write_lines_of_its_own_is_refused() {
        for odd in [
            "&#13;&#10;X: y",
            "&#10;",
            "a b",
            "&lt;sip:c@x&gt;",
            "&quot;",
            "&#0;",
            "&#x85;",
        ] {
            let text = format!(
                "<resource-lists><list><entry uri=\"sip:b{odd}@x\"/></list></resource-lists>"
            );
            let refused = parse(text.as_bytes());
            assert!(
                matches!(refused, Err(ListError::Address | ListError::Xml)),
                "{odd}: {refused:?}"
            );
        }
        let long = "x".repeat(limits::ADDRESS_BYTES);
        let text =
            format!("<resource-lists><list><entry uri=\"sip:{long}\"/></list></resource-lists>");
        assert_eq!(parse(text.as_bytes()), Err(ListError::TooMuch));
    }

    #[test]
    fn what_is_no_list_or_too_much_is_refused() {
        assert_eq!(parse(b"<list/>"), Err(ListError::NoList));
        assert_eq!(parse(b"<resource-lists>"), Err(ListError::NoList));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><resource-lists/>";
        assert_eq!(parse(bomb.as_bytes()), Err(ListError::Xml));
        let deep = format!("<resource-lists>{}", "<list>".repeat(limits::LIST_DEPTH));
        assert_eq!(parse(deep.as_bytes()), Err(ListError::TooMuch));
        let many = "<entry uri=\"sip:a@x\"/>".repeat(limits::LISTED_USERS + 1);
        let many = format!("<resource-lists><list>{many}</list></resource-lists>");
        assert_eq!(parse(many.as_bytes()), Err(ListError::TooMuch));
    }
}
