//! The head of a frame, read in place (RFC 4975 §9).

use std::str;

use super::{TransactionId, Uri};
use crate::limits::{MSRP_HEADERS, MSRP_MESSAGE_ID_BYTES};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Content, or nothing where it has no Content-Type.
    Send,
    /// What became of content.
    Report,
    /// A client asks a relay for a path (RFC 4976).
    Auth,
    /// A client asks for a nickname (RFC 7701).
    Nickname,
    /// A method this code knows nothing of.
    Other,
}

/// A response's code, as `200` or `481`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// Whether it says that all went well.
    #[must_use]
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }
}

/// Whether a start line is a request's or a response's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// A request.
    Request(Method),
    /// A response.
    Response(Status),
}

/// A start line: `MSRP id method` or `MSRP id code comment`.
#[derive(Debug, Clone, Copy)]
pub struct StartLine<'a> {
    /// The transaction id.
    pub transaction: TransactionId,
    /// Request or response.
    pub kind: Return,
    /// The method's or the code's own characters, with the comment.
    pub tail: &'a [u8],
}

impl<'a> StartLine<'a> {
    /// Reads a start line, without its CRLF; `None` where the grammar doesn't allow it.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"MSRP ")?;
        let space = memchr::memchr(b' ', rest)?;
        let transaction = TransactionId::new(rest.get(..space)?)?;
        let tail = rest.get(space.checked_add(1)?..)?;
        let kind = if tail.first()?.is_ascii_digit() {
            Return::Response(status(tail)?)
        } else {
            Return::Request(method(tail)?)
        };
        Some(Self {
            transaction,
            kind,
            tail,
        })
    }
}

fn method(text: &[u8]) -> Option<Method> {
    if !text.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    Some(match text {
        b"SEND" => Method::Send,
        b"REPORT" => Method::Report,
        b"AUTH" => Method::Auth,
        b"NICKNAME" => Method::Nickname,
        _ => Method::Other,
    })
}

fn status(text: &[u8]) -> Option<Status> {
    let (digits, comment) = text.split_at_checked(3)?;
    if !(comment.is_empty() || comment.starts_with(b" ")) || !is_text(comment) {
        return None;
    }
    let code = number(digits)?;
    u16::try_from(code).ok().map(Status)
}

/// Which octets of a message a chunk holds, counted from 1: `start-end/total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first octet's number; 1 or more.
    pub start: u64,
    /// The last octet's number, `start - 1` for none; `None` for `*`.
    pub end: Option<u64>,
    /// Octets of the whole message; `None` for `*`.
    pub total: Option<u64>,
}

impl ByteRange {
    /// A chunk without a Byte-Range: all of a message, as far as it goes (RFC 4975 §7.1).
    pub const WHOLE: Self = Self {
        start: 1,
        end: None,
        total: None,
    };

    /// Reads a Byte-Range's value.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', value)?;
        let start = number(value.get(..dash)?)?;
        let rest = value.get(dash.checked_add(1)?..)?;
        let slash = memchr::memchr(b'/', rest)?;
        let end = number_or_star(rest.get(..slash)?)?;
        let total = number_or_star(rest.get(slash.checked_add(1)?..)?)?;
        if start == 0 || end.is_some_and(|end| end < start.saturating_sub(1)) {
            return None;
        }
        Some(Self { start, end, total })
    }
}

fn number_or_star(text: &[u8]) -> Option<Option<u64>> {
    match text {
        b"*" => Some(None),
        digits => number(digits).map(Some),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// What a SEND's sender wants to be told when it fails (RFC 4975 §7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureReport {
    /// Every response, and a report of every failure and of silence.
    #[default]
    Yes,
    /// Responses and reports of failures only; not of silence.
    Partial,
    /// Nothing.
    No,
}

/// Why a head is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The start line breaks the grammar.
    StartLine,
    /// The first header isn't To-Path, or holds no MSRP URI.
    ToPath,
    /// The second header isn't From-Path, or holds no MSRP URI.
    FromPath,
    /// A header breaks the grammar; its number, from 0.
    Header(u8),
    /// A header that may be there once is there twice.
    Twice,
    /// There are more than `limits::MSRP_HEADERS` headers.
    TooManyHeaders,
}

/// A head, read in place; all slices are parts of the octets it was read from.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The transaction id.
    pub transaction: TransactionId,
    /// Request or response.
    pub kind: Return,
    /// The method's or code's own characters, with the comment.
    pub start_tail: &'a [u8],
    /// To-Path's value: one or more URIs.
    pub to_path: &'a [u8],
    /// From-Path's value: one or more URIs.
    pub from_path: &'a [u8],
    /// Every octet after From-Path's line: the other headers as they came.
    pub rest: &'a [u8],
    /// Message-ID.
    pub message_id: Option<&'a [u8]>,
    /// Byte-Range.
    pub byte_range: Option<ByteRange>,
    /// Where Byte-Range's line is in `rest`, with its CRLF.
    pub byte_range_line: Option<(usize, usize)>,
    /// Whether a report of success is wanted; absent is `no`.
    pub success_report: bool,
    /// What is wanted on failure; absent is `yes`.
    pub failure_report: FailureReport,
    /// Status' value: `000 200 OK`.
    pub status: Option<&'a [u8]>,
    /// Content-Type.
    pub content_type: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Reads a head: the start line and all headers, each with its CRLF, nothing after them.
    ///
    /// # Errors
    ///
    /// [`HeadError`] says what breaks the grammar.
    pub fn parse(octets: &'a [u8]) -> Result<Self, HeadError> {
        let (line, after_start) = take_line(octets).ok_or(HeadError::StartLine)?;
        let start = StartLine::parse(line).ok_or(HeadError::StartLine)?;
        let (to_path, after_to) = path_line(after_start, b"To-Path").ok_or(HeadError::ToPath)?;
        let (from_path, rest) = path_line(after_to, b"From-Path").ok_or(HeadError::FromPath)?;
        let mut head = Self {
            transaction: start.transaction,
            kind: start.kind,
            start_tail: start.tail,
            to_path,
            from_path,
            rest,
            message_id: None,
            byte_range: None,
            byte_range_line: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            content_type: None,
        };
        head.read_headers()?;
        Ok(head)
    }

    /// The first URI of To-Path: the next hop.
    #[must_use]
    pub fn to_first(&self) -> &'a [u8] {
        first_uri(self.to_path)
    }

    /// The first URI of From-Path: the hop before.
    #[must_use]
    pub fn from_first(&self) -> &'a [u8] {
        first_uri(self.from_path)
    }

    /// Reads no more than what an answer needs from a head that [`Self::parse`] refused: the
    /// first URIs of To-Path and From-Path.
    #[must_use]
    pub fn salvage(octets: &'a [u8]) -> Option<(StartLine<'a>, &'a [u8], &'a [u8])> {
        let (line, rest) = take_line(octets)?;
        let start = StartLine::parse(line)?;
        let (to_path, rest) = path_line(rest, b"To-Path")?;
        let (from_path, _) = path_line(rest, b"From-Path")?;
        Some((start, first_uri(to_path), first_uri(from_path)))
    }

    fn read_headers(&mut self) -> Result<(), HeadError> {
        let mut left = self.rest;
        let mut wishes = Wishes::default();
        // To-Path and From-Path were the first two.
        let mut count = 2_u8;
        while !left.is_empty() {
            if usize::from(count) >= MSRP_HEADERS {
                return Err(HeadError::TooManyHeaders);
            }
            let from = self.rest.len().saturating_sub(left.len());
            let (line, after) = take_line(left).ok_or(HeadError::Header(count))?;
            let (name, value) = header(line).ok_or(HeadError::Header(count))?;
            let to = self.rest.len().saturating_sub(after.len());
            if !wishes.take(name, value, count)? {
                self.take_header(name, value, (from, to), count)?;
            }
            count = count.saturating_add(1);
            left = after;
        }
        self.success_report = wishes.success.unwrap_or_default();
        self.failure_report = wishes.failure.unwrap_or_default();
        Ok(())
    }

    fn take_header(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        line: (usize, usize),
        count: u8,
    ) -> Result<(), HeadError> {
        let broken = HeadError::Header(count);
        if name.eq_ignore_ascii_case(b"Message-ID") {
            let fits = (1..=MSRP_MESSAGE_ID_BYTES).contains(&value.len());
            if !fits || value.contains(&b' ') {
                return Err(broken);
            }
            once(&mut self.message_id, value)
        } else if name.eq_ignore_ascii_case(b"Byte-Range") {
            self.byte_range_line = Some(line);
            once(&mut self.byte_range, ByteRange::parse(value).ok_or(broken)?)
        } else if name.eq_ignore_ascii_case(b"Status") {
            once(&mut self.status, value)
        } else if name.eq_ignore_ascii_case(b"Content-Type") {
            once(&mut self.content_type, value)
        } else if name.eq_ignore_ascii_case(b"To-Path") || name.eq_ignore_ascii_case(b"From-Path") {
            Err(HeadError::Twice)
        } else {
            Ok(())
        }
    }
}

/// The reports that a SEND asks for, each said once: who reads the first of two and who reads the
/// last must not take it for different things.
#[derive(Debug, Default)]
struct Wishes {
    success: Option<bool>,
    failure: Option<FailureReport>,
}

impl Wishes {
    /// Takes a header that is one of them; says whether it was.
    fn take(&mut self, name: &[u8], value: &[u8], count: u8) -> Result<bool, HeadError> {
        let broken = HeadError::Header(count);
        if name.eq_ignore_ascii_case(b"Success-Report") {
            let is_yes = value.eq_ignore_ascii_case(b"yes");
            if !is_yes && !value.eq_ignore_ascii_case(b"no") {
                return Err(broken);
            }
            once(&mut self.success, is_yes)?;
        } else if name.eq_ignore_ascii_case(b"Failure-Report") {
            let wish = match value {
                v if v.eq_ignore_ascii_case(b"yes") => FailureReport::Yes,
                v if v.eq_ignore_ascii_case(b"no") => FailureReport::No,
                v if v.eq_ignore_ascii_case(b"partial") => FailureReport::Partial,
                _ => return Err(broken),
            };
            once(&mut self.failure, wish)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), HeadError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Twice),
    }
}

fn path_line<'a>(text: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (line, after) = take_line(text)?;
    let (found, value) = header(line)?;
    let all_uris = value
        .split(|byte| *byte == b' ')
        .all(|uri| Uri::parse(uri).is_some());
    (found.eq_ignore_ascii_case(name) && all_uris).then_some((value, after))
}

fn first_uri(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b' ').next().unwrap_or_default()
}

fn take_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'\r', text)?;
    let after = text.get(at..)?.strip_prefix(b"\r\n")?;
    Some((text.get(..at)?, after))
}

/// `hname ":" SP hval`; space around the value is tolerated, and so is none.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?;
    let value = line.get(colon.checked_add(1)?..)?.trim_ascii();
    let named = name.first()?.is_ascii_alphabetic() && name.iter().copied().all(is_token_byte);
    (named && is_text(value)).then_some((name, value))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// `utext` without its check for UTF-8: no control octets but a tab.
fn is_text(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t')
}
