//! SIP messages (RFC 3261 §7): what was received stays byte for byte what it was.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use super::headers::{Header, Headers, is_token};
use super::name::Name;
use super::parse::{self, ParseError};
use super::text::Text;
use super::uri::NameAddr;

/// A request or a response.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: StartLine,
    /// The header fields.
    pub headers: Headers,
    /// What follows the empty line, as long as Content-Length says.
    pub body: Bytes,
}

/// The first line of a message.
#[derive(Clone, Debug)]
pub enum StartLine {
    /// `method uri SIP/2.0`
    Request {
        /// What is asked.
        method: Method,
        /// The Request-URI.
        uri: Text,
    },
    /// `SIP/2.0 code reason`
    Response {
        /// Status code, 100 to 699.
        code: u16,
        /// The reason phrase; may be empty.
        reason: Text,
    },
}

/// A request's method; case-sensitive.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Update,
    Prack,
    Options,
    Info,
    Message,
    Register,
    Subscribe,
    Notify,
    Refer,
    Publish,
    Other(Text),
}

impl Method {
    /// The known ones, in the order of their counters.
    pub const KNOWN: [Self; 14] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Cancel,
        Self::Update,
        Self::Prack,
        Self::Options,
        Self::Info,
        Self::Message,
        Self::Register,
        Self::Subscribe,
        Self::Notify,
        Self::Refer,
        Self::Publish,
    ];

    /// The method as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Message => "MESSAGE",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Publish => "PUBLISH",
            Self::Other(text) => text,
        }
    }

    /// The method of that spelling.
    #[must_use]
    pub fn of(text: &Text) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(text.clone()))
    }

    /// The method of that spelling if it is a known one.
    #[must_use]
    pub fn known(text: &str) -> Option<Self> {
        Some(match text {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "UPDATE" => Self::Update,
            "PRACK" => Self::Prack,
            "OPTIONS" => Self::Options,
            "INFO" => Self::Info,
            "MESSAGE" => Self::Message,
            "REGISTER" => Self::Register,
            "SUBSCRIBE" => Self::Subscribe,
            "NOTIFY" => Self::Notify,
            "REFER" => Self::Refer,
            "PUBLISH" => Self::Publish,
            _ => return None,
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Message {
    /// Reads one whole message, such as a datagram; bytes past Content-Length are cut off.
    ///
    /// # Errors
    /// Says what is wrong where the bytes are not a SIP message, or more than the limits allow.
    pub fn parse(datagram: Bytes) -> Result<Self, ParseError> {
        parse::message(&datagram)
    }

    /// A request without headers.
    #[must_use]
    pub fn request(method: Method, uri: impl Into<Text>) -> Self {
        let start = StartLine::Request {
            method,
            uri: one_word(uri.into()),
        };
        Self {
            start,
            headers: Headers::with_capacity(16),
            body: Bytes::new(),
        }
    }

    /// A response with what RFC 3261 §8.2.6 copies from the request; no tag is added.
    #[must_use]
    pub fn response(request: &Self, code: u16, reason: impl Into<Text>) -> Self {
        const COPIED: [Name; 5] = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        let start = StartLine::Response {
            code,
            reason: reason.into(),
        };
        let mut headers = Headers::with_capacity(12);
        headers.copy_from(&request.headers, &COPIED);
        if code == 100 {
            headers.copy_from(&request.headers, &[Name::Timestamp]);
        }
        Self {
            start,
            headers,
            body: Bytes::new(),
        }
    }

    /// The message as bytes; Content-Length is added or put right, all else stays as received.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let headers: usize = self.headers.iter().map(Header::encoded_len).sum();
        let mut out = Vec::with_capacity(headers + self.body.len() + self.start_len() + 32);
        self.encode_start(&mut out);
        let mut length_written = false;
        for header in self.headers.iter() {
            if header.name() != Name::ContentLength {
                header.encode(&mut out);
            } else if !length_written {
                length_written = true;
                if header.value().parse() == Ok(self.body.len()) {
                    header.encode(&mut out);
                } else {
                    write_length(&mut out, self.body.len());
                }
            }
        }
        if !length_written {
            write_length(&mut out, self.body.len());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out.into()
    }

    fn start_len(&self) -> usize {
        match &self.start {
            StartLine::Request { method, uri } => method.as_str().len() + uri.len() + 11,
            StartLine::Response { reason, .. } => reason.len() + 14,
        }
    }

    fn encode_start(&self, out: &mut Vec<u8>) {
        match &self.start {
            StartLine::Request { method, uri } => {
                out.extend_from_slice(method.as_str().as_bytes());
                out.push(b' ');
                out.extend_from_slice(uri.as_bytes());
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            StartLine::Response { code, reason } => {
                out.extend_from_slice(b"SIP/2.0 ");
                write_number(out, usize::from(*code));
                out.push(b' ');
                out.extend_from_slice(reason.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The method of a request; a response has none of its own.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The status code of a response.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { code, .. } => Some(*code),
        }
    }

    /// The reason phrase of a response; empty for a request.
    #[must_use]
    pub fn reason(&self) -> Text {
        match &self.start {
            StartLine::Request { .. } => Text::default(),
            StartLine::Response { reason, .. } => reason.clone(),
        }
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The Request-URI.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// Call-ID; empty if there is none.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.headers.get(Name::CallId).unwrap_or("")
    }

    /// The tag of From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        tag(self.headers.get(Name::From)?)
    }

    /// The tag of To.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        tag(self.headers.get(Name::To)?)
    }

    /// The number and the method of CSeq.
    #[must_use]
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let (number, method) = self.cseq_parts()?;
        Some((
            number,
            Method::known(method).unwrap_or_else(|| Method::Other(method.to_owned().into())),
        ))
    }

    /// The same without a copy; the number is below 2^31 (RFC 3261 §8.1.1.5).
    pub(super) fn cseq_parts(&self) -> Option<(u32, &str)> {
        let value = self.headers.get(Name::CSeq)?;
        let (number, method) = value.split_once([' ', '\t'])?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = number.parse().ok().filter(|number| *number < 1 << 31)?;
        let method = method.trim();
        is_token(method).then_some((number, method))
    }

    /// Gives To a tag, in place of the one it may have.
    pub fn set_to_tag(&mut self, tag: &str) {
        let Some(to) = self.headers.get(Name::To) else {
            return;
        };
        let new = match self.to_tag() {
            Some(old) if old == tag => return,
            Some(old) => {
                let at = old.as_ptr().addr().wrapping_sub(to.as_ptr().addr());
                let (before, after) = (to.get(..at), to.get(at + old.len()..));
                format!("{}{tag}{}", before.unwrap_or(""), after.unwrap_or(""))
            }
            None => format!("{to};tag={tag}"),
        };
        self.headers.set(Name::To, new);
    }

    /// Content-Type, with its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(Name::ContentType)
    }

    /// Puts a body in; an empty one takes Content-Type away.
    pub fn set_body(&mut self, content_type: &str, body: Bytes) {
        if body.is_empty() {
            self.headers.remove(Name::ContentType);
        } else if self.content_type() != Some(content_type) {
            self.headers.set(Name::ContentType, content_type.to_owned());
        }
        self.body = body;
    }
}

fn tag(value: &str) -> Option<&str> {
    NameAddr::parse(value)
        .ok()?
        .param("tag")
        .filter(|tag| !tag.is_empty())
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = String::new();
    if write!(digits, "{number}").is_ok() {
        out.extend_from_slice(digits.as_bytes());
    }
}

/// A Request-URI ends where a blank or a line end is: what would be one is written as `%20` and the
/// like (RFC 3261 §25.1), or the rest would be taken for header fields of the sender's choice.
fn one_word(uri: Text) -> Text {
    let ends_it = |c: char| c.is_control() || c.is_whitespace();
    if !uri.contains(ends_it) {
        return uri;
    }
    let mut word = String::with_capacity(uri.len() + 8);
    for character in uri.chars() {
        if ends_it(character) {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string can't fail.
                let _ = write!(word, "%{byte:02X}");
            }
        } else {
            word.push(character);
        }
    }
    word.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_uri_stays_one_word_whatever_it_is_made_of() {
        let odd = "sip:b@x SIP/2.0\r\nP-Asserted-Identity: <sip:boss@h>\r\n\r\nINVITE\u{85}";
        let request = Message::request(Method::Invite, odd.to_owned());
        let written = request.encode();
        let text = std::str::from_utf8(&written).unwrap();
        assert_eq!(
            text,
            "INVITE sip:b@x%20SIP/2.0%0D%0AP-Asserted-Identity:%20<sip:boss@h>%0D%0A%0D%0AINVITE%C2%85 \
             SIP/2.0\r\nContent-Length: 0\r\n\r\n"
        );
    }
}
