//! Bytes to messages (RFC 3261 §7 and §25), strict where leniency lets messages be smuggled.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::headers::{Header, Headers, is_token, slice_of};
use super::message::{Message, Method, StartLine};
use super::name::Name;
use super::text::Text;
use crate::limits::{SIP_HEADERS, SIP_MESSAGE_BYTES};

/// What kept bytes from being a SIP message: what was expected and what came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// Nothing but line ends.
    Empty,
    /// More bytes than the limit.
    TooLong {
        /// How many came.
        got: usize,
    },
    /// The head is not UTF-8 from this byte on.
    NotUtf8 {
        /// Its place.
        at: usize,
    },
    /// No empty line ends the head.
    HeadOpen,
    /// A CR or LF stands alone.
    LoneLineEnd,
    /// The first line is neither a request's nor a response's.
    StartLine,
    /// The version isn't SIP/2.0.
    Version,
    /// A line without a name and a colon.
    HeaderLine {
        /// The line's number; the first line is 0.
        line: usize,
    },
    /// More header lines than the limit.
    TooManyHeaders,
    /// Content-Length is not a number, or there are two that differ.
    ContentLength,
    /// Fewer bytes came than Content-Length promised.
    BodyCut {
        /// Content-Length.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// A header that must be there isn't.
    Missing(Name),
    /// A header's value breaks its grammar.
    Malformed(Name),
    /// A header that may stand once stands twice.
    Repeated(Name),
    /// The method of CSeq is not the request's.
    CSeqMethod,
    /// A URI breaks its grammar.
    Uri,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty message"),
            Self::TooLong { got } => write!(f, "Message of {got} bytes is too long"),
            Self::NotUtf8 { at } => write!(f, "Head is not UTF-8 at byte {at}"),
            Self::HeadOpen => f.write_str("No empty line after the headers"),
            Self::LoneLineEnd => f.write_str("CR or LF without the other"),
            Self::StartLine => f.write_str("Malformed start line"),
            Self::Version => f.write_str("Version is not SIP/2.0"),
            Self::HeaderLine { line } => write!(f, "Malformed header in line {line}"),
            Self::TooManyHeaders => f.write_str("Too many headers"),
            Self::ContentLength => f.write_str("Malformed Content-Length"),
            Self::BodyCut { expected, got } => {
                write!(f, "Content-Length is {expected} but {got} bytes came")
            }
            Self::Missing(name) => write!(f, "Missing {}", name.as_str()),
            Self::Malformed(name) => write!(f, "Malformed {}", name.as_str()),
            Self::Repeated(name) => write!(f, "Repeated {}", name.as_str()),
            Self::CSeqMethod => f.write_str("CSeq method is not the request's"),
            Self::Uri => f.write_str("Malformed URI"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads one message; see [`Message::parse`].
pub(super) fn message(bytes: &Bytes) -> Result<Message, ParseError> {
    if bytes.len() > SIP_MESSAGE_BYTES {
        return Err(ParseError::TooLong { got: bytes.len() });
    }
    let (skipped, head) = head(bytes)?;
    let body_at = skipped + head.len() + 2;
    let head = Text::from(Arc::<str>::from(head));
    let mut lines = Lines::new(&head);
    let (from, to) = lines.next().ok_or(ParseError::Empty)?;
    let start = start_line(&head.slice(from..to))?;
    let mut headers = Headers::with_capacity(24);
    for (number, (from, to)) in (1..).zip(lines) {
        if headers.len() == SIP_HEADERS {
            return Err(ParseError::TooManyHeaders);
        }
        let header = header(head.slice(from..to)).ok_or(ParseError::HeaderLine { line: number })?;
        headers.push_line(header);
    }
    let rest = bytes.len().saturating_sub(body_at);
    let body_len = content_length(&headers)?.unwrap_or(rest);
    if body_len > rest {
        return Err(ParseError::BodyCut {
            expected: body_len,
            got: rest,
        });
    }
    Ok(Message {
        start,
        headers,
        body: bytes.slice(body_at..body_at + body_len),
    })
}

/// How many bytes of line ends come first, and the head with the CRLF of its last line.
fn head(bytes: &[u8]) -> Result<(usize, &str), ParseError> {
    let skipped = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    let rest = bytes.get(skipped..).unwrap_or(&[]);
    if rest.is_empty() {
        return Err(ParseError::Empty);
    }
    // A body may be anything; only what comes before it must be text.
    let (text, open) = match std::str::from_utf8(rest) {
        Ok(text) => (text, ParseError::HeadOpen),
        Err(error) => {
            let at = error.valid_up_to();
            let text = rest
                .get(..at)
                .and_then(|text| std::str::from_utf8(text).ok());
            (text.unwrap_or(""), ParseError::NotUtf8 { at: skipped + at })
        }
    };
    let mut at = 0;
    loop {
        let line = text.get(at..).unwrap_or("");
        let line = line.get(..line.find('\n').ok_or(open)?).unwrap_or("");
        let content = line.strip_suffix('\r').ok_or(ParseError::LoneLineEnd)?;
        if content.is_empty() {
            return Ok((skipped, text.get(..at).unwrap_or("")));
        }
        if content.as_bytes().contains(&b'\r') {
            return Err(ParseError::LoneLineEnd);
        }
        at += line.len() + 1;
    }
}

/// The lines of a head, each with the folded ones that continue it, without the last CRLF.
struct Lines<'a> {
    head: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(head: &'a str) -> Self {
        Self { head, at: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        if start >= self.head.len() {
            return None;
        }
        loop {
            let rest = self.head.get(self.at..).unwrap_or("");
            self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            // RFC 3261 §7.3.1: a line that starts with white space belongs to the one before.
            if !matches!(self.head.as_bytes().get(self.at), Some(b' ' | b'\t')) {
                return Some((start, self.at.saturating_sub(2)));
            }
        }
    }
}

fn start_line(line: &Text) -> Result<StartLine, ParseError> {
    let (first, rest) = line.split_once(' ').ok_or(ParseError::StartLine)?;
    if first
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("SIP/"))
    {
        if !first.eq_ignore_ascii_case("SIP/2.0") {
            return Err(ParseError::Version);
        }
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = status_code(code).ok_or(ParseError::StartLine)?;
        return Ok(StartLine::Response {
            code,
            reason: slice_of(line, reason),
        });
    }
    let (uri, version) = rest.split_once(' ').ok_or(ParseError::StartLine)?;
    if !is_token(first) || !is_request_uri(uri) {
        return Err(ParseError::StartLine);
    }
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        let is_version = version
            .get(..4)
            .is_some_and(|v| v.eq_ignore_ascii_case("SIP/"))
            && !version.contains([' ', '\t']);
        return Err(if is_version {
            ParseError::Version
        } else {
            ParseError::StartLine
        });
    }
    Ok(StartLine::Request {
        method: Method::of(&slice_of(line, first)),
        uri: slice_of(line, uri),
    })
}

fn status_code(text: &str) -> Option<u16> {
    let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|code| three_digits && (100..700).contains(code))
}

/// Whether it may be a Request-URI: a scheme, and nothing that would end it (RFC 3986 §2).
fn is_request_uri(uri: &str) -> bool {
    let scheme_ok = uri.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    scheme_ok && !uri.contains(|c: char| c.is_ascii_control() || matches!(c, '<' | '>' | '"' | ' '))
}

fn header(line: Text) -> Option<Header> {
    let colon = line.find(':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    if !is_token(name) {
        return None;
    }
    let name_end = u32::try_from(name.len()).ok()?;
    let raw = line.get(colon + 1..)?;
    if raw.as_bytes().contains(&b'\n') {
        let value = Text::from(unfold(raw));
        return Some(Header::folded(line, name_end, value));
    }
    let value = raw.trim_ascii();
    let start = line.len() - raw.trim_ascii_start().len();
    let end = start + value.len();
    let value = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
    Some(Header::received(line, name_end, value))
}

/// A folded value on one line: each fold, with the white space around it, is one space.
fn unfold(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for piece in raw
        .split("\r\n")
        .map(|piece| piece.trim_matches([' ', '\t']))
    {
        if !piece.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(piece);
        }
    }
    out
}

/// Content-Length, if there is one; several must agree.
pub(super) fn content_length(headers: &Headers) -> Result<Option<usize>, ParseError> {
    let mut found = None;
    for value in headers.all(Name::ContentLength) {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let length = value
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(ParseError::ContentLength)?;
        if found.is_some_and(|before| before != length) {
            return Err(ParseError::ContentLength);
        }
        found = Some(length);
    }
    Ok(found)
}

/// What can still be read of a malformed request, so that it can be answered: a start line that
/// ends in some SIP version, and the header lines that are in order. The body is left out.
pub(super) fn salvage(bytes: &[u8]) -> Option<Message> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
    };
    let text = text.trim_start_matches(['\r', '\n']);
    let head = Text::from(whole_lines(text));
    let mut lines = Lines::new(&head);
    let (from, to) = lines.next()?;
    let first = head.slice(from..to);
    let mut words = first.split([' ', '\t']).filter(|word| !word.is_empty());
    let method = words.next().filter(|method| is_token(method))?;
    let version = words.next_back()?;
    if !version.get(..4)?.eq_ignore_ascii_case("SIP/") {
        return None;
    }
    let mut message = Message::request(Method::of(&slice_of(&first, method)), "sip:invalid");
    for (from, to) in lines.take(SIP_HEADERS) {
        if let Some(header) = header(head.slice(from..to)) {
            message.headers.push_line(header);
        }
    }
    Some(message)
}

/// The lines of a head up to the first one that a lone CR or LF is in: that must not get into an
/// answer.
fn whole_lines(text: &str) -> String {
    let mut head = String::with_capacity(text.len() + 2);
    for line in text.split_inclusive('\n') {
        let line = match line.strip_suffix('\n') {
            Some(ended) => ended.strip_suffix('\r'),
            None => Some(line.strip_suffix('\r').unwrap_or(line)),
        };
        let Some(line) = line.filter(|line| !line.is_empty() && !line.contains('\r')) else {
            break;
        };
        head.push_str(line);
        head.push_str("\r\n");
    }
    head
}
