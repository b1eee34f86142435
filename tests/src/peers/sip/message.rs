//! A SIP message as lines of text (RFC 3261 §7): no more is understood than a client needs.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// The header fields in order.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The far end of the connection that it came on; `None` for what is sent, and over UDP.
    pub connection: Option<SocketAddr>,
}

impl Message {
    /// A message without fields.
    #[must_use]
    pub fn new(start: impl Into<String>) -> Self {
        Self {
            start: start.into(),
            fields: Vec::new(),
            body: String::new(),
            connection: None,
        }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body and its type; none when the text is empty.
    #[must_use]
    pub fn with_body(mut self, kind: &str, body: &str) -> Self {
        if !body.is_empty() {
            body.clone_into(&mut self.body);
            self = self.with("Content-Type", kind);
        }
        self
    }

    /// Reads one message; `None` when it isn't one or its body is shorter than it says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let mut message = Self::new(lines.next()?);
        for line in lines {
            let (name, value) = line.split_once(':')?;
            message
                .fields
                .push((long_name(name.trim()).to_owned(), value.trim().to_owned()));
        }
        let length = message
            .field("Content-Length")
            .parse()
            .unwrap_or(body.len());
        message.body = body.get(..length)?.to_owned();
        Some(message)
    }

    /// The text with its Content-Length.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            let _infallible = write!(text, "{name}: {value}\r\n");
        }
        let _infallible = write!(
            text,
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        text
    }

    /// The first field of this name; empty when there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        let found = self
            .fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// All fields of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The URIs of all fields of this name, where one field may hold several: `<..>, <..>`.
    #[must_use]
    pub fn uris(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|value| value.split("<").skip(1))
            .filter_map(|part| part.split_once('>').map(|(uri, _)| uri.to_owned()))
            .collect()
    }

    /// The status code; `None` for a request.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request, or the one in the CSeq of a response.
    #[must_use]
    pub fn method(&self) -> &str {
        if self.code().is_some() {
            return self.field("CSeq").split(' ').nth(1).unwrap_or("");
        }
        self.start.split(' ').next().unwrap_or("")
    }

    /// Says whether this is a request with this method.
    #[must_use]
    pub fn is_request(&self, method: &str) -> bool {
        self.code().is_none() && self.method() == method
    }

    /// The tag of the To field.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        parameter(self.field("To"), "tag")
    }
}

/// The value of `;name=value` after the address.
#[must_use]
pub fn parameter<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let after = field.rsplit_once('>').map_or(field, |(_, after)| after);
    after.split(';').skip(1).find_map(|part| {
        part.trim()
            .strip_prefix(name)?
            .trim_start()
            .strip_prefix('=')
    })
}

/// RFC 3261 §7.3.3: the compact forms.
fn long_name(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "c" => "Content-Type",
        "l" => "Content-Length",
        "k" => "Supported",
        "s" => "Subject",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, parameter};

    #[test]
    fn a_message_survives_its_text() {
        let message = Message::new("INVITE sip:bob@h SIP/2.0")
            .with("Via", "SIP/2.0/UDP h;branch=z9hG4bK1")
            .with("CSeq", "1 INVITE")
            .with_body("application/sdp", "v=0\r\n");
        let read = Message::parse(&message.text()).unwrap();
        assert_eq!(read.start, message.start);
        assert_eq!(read.body, "v=0\r\n");
        assert!(read.is_request("INVITE"));
        assert_eq!(read.field("content-length"), "5");
    }

    #[test]
    fn one_field_may_hold_several_uris() {
        let message = Message::new("SIP/2.0 200 OK")
            .with("Record-Route", "<sip:a;lr>, <sip:b;lr;x=1>")
            .with("Record-Route", "<sip:c;lr>");
        assert_eq!(
            message.uris("Record-Route"),
            ["sip:a;lr", "sip:b;lr;x=1", "sip:c;lr"]
        );
        assert_eq!(message.code(), Some(200));
    }

    #[test]
    fn a_parameter_belongs_to_the_field_not_to_the_uri() {
        assert_eq!(parameter("<sip:a;tag=no>;tag=yes", "tag"), Some("yes"));
        assert_eq!(parameter("<sip:a;tag=no>", "tag"), None);
    }
}
