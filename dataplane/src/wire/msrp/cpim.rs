//! The head of a CPIM message, `message/cpim`: who says that it is from whom and to whom
//! (RFC 3862 §2.1, §2.3).
//!
//! ```text
//! From: Alice <sip:alice@example.com>           CRLF  ┐
//! To: <sip:group@example.com>                   CRLF  │ head, seen by `Cpim`
//! NS: imdn <urn:ietf:params:imdn>               CRLF  │
//! imdn.Message-ID: 34jk324j                     CRLF  ┘
//!                                               CRLF
//! Content-type: text/plain                      CRLF    head of the content
//!                                               CRLF
//! any octets
//! ```

/// Where a CPIM head and the empty line after it end in these octets; `None`: not in them yet.
#[must_use]
pub fn cpim_head_end(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memmem::find(octets, b"\r\n\r\n")?.checked_add(4)
}

/// A CPIM head, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Cpim<'a> {
    /// Its lines, each with its CRLF.
    lines: &'a [u8],
    /// The value of the first From.
    pub from: Option<&'a [u8]>,
}

impl<'a> Cpim<'a> {
    /// Reads a head, up to [`cpim_head_end`]; `None` where the grammar doesn't allow it, as a
    /// lone CR or LF, which some would take for the end of a line and others not.
    #[must_use]
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let lines = octets.strip_suffix(b"\r\n")?;
        let mut head = Self { lines, from: None };
        for line in head.lines() {
            let (name, value) = field(line)?;
            if is_from(name) && head.from.is_none() {
                head.from = Some(value);
            }
        }
        Some(head)
    }

    /// The addresses that its To headers name, without names and angle brackets.
    pub fn to(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.lines()
            .filter_map(field)
            .filter(|(name, _)| local_name(name).eq_ignore_ascii_case(b"To"))
            .map(|(_, value)| address_in(value))
    }

    /// Writes the head with one From, `identity`, at the place of the first, and the empty line
    /// after it; all else stays as it is. Where the identity has no display name, the one that
    /// was written stays.
    pub fn write_from(&self, identity: &[u8], to: &mut Vec<u8>) {
        let name = match self.from {
            Some(written) if identity.starts_with(b"<") => display_name(written),
            Some(_) | None => &b""[..],
        };
        let mut is_written = false;
        if self.from.is_none() {
            write_line(to, name, identity);
            is_written = true;
        }
        for line in self.lines() {
            let is_from = field(line).is_some_and(|(name, _)| is_from(name));
            if !is_from {
                to.extend_from_slice(line);
                to.extend_from_slice(b"\r\n");
            } else if !is_written {
                write_line(to, name, identity);
                is_written = true;
            }
        }
        to.extend_from_slice(b"\r\n");
    }

    fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut left = self.lines;
        std::iter::from_fn(move || {
            let at = memchr::memmem::find(left, b"\r\n")?;
            let (line, rest) = left.split_at_checked(at)?;
            left = rest.get(2..).unwrap_or_default();
            Some(line)
        })
    }
}

/// Whether the content that begins with these octets, after a CPIM head, says by its own head
/// that it is of this type.
#[must_use]
pub fn content_is(octets: &[u8], media_type: &[u8]) -> bool {
    let head = octets.get(..cpim_head_end(octets).unwrap_or(0));
    let mut lines = head.unwrap_or_default().split(|byte| *byte == b'\n');
    lines.any(|line| {
        field(line.trim_ascii_end()).is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case(b"Content-Type") && is_media_type(value, media_type)
        })
    })
}

/// Whether a Content-Type is this type, whatever its parameters are.
#[must_use]
pub fn is_media_type(value: &[u8], media_type: &[u8]) -> bool {
    let written = value.split(|byte| *byte == b';').next().unwrap_or_default();
    written.trim_ascii().eq_ignore_ascii_case(media_type)
}

/// The address in `name <address>`, or all of it.
#[must_use]
pub fn address_in(value: &[u8]) -> &[u8] {
    let inner = memchr::memchr(b'<', value).and_then(|at| value.get(at.checked_add(1)?..));
    let Some(inner) = inner else {
        return value.trim_ascii();
    };
    let end = memchr::memchr(b'>', inner).unwrap_or(inner.len());
    inner.get(..end).unwrap_or_default().trim_ascii()
}

/// `name: value`, without the space around the value.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_text = line
        .iter()
        .all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t');
    let colon = memchr::memchr(b':', line).filter(|at| *at > 0 && is_text)?;
    let name = line.get(..colon)?;
    let value = line.get(colon.checked_add(1)?..)?;
    let is_name = name.iter().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| (name, value.trim_ascii()))
}

/// A name without its prefix: RFC 3862 §2.3.1 lets `NS` give the standard headers another one.
fn local_name(name: &[u8]) -> &[u8] {
    match memchr::memrchr(b'.', name) {
        Some(at) => name.get(at.saturating_add(1)..).unwrap_or_default(),
        None => name,
    }
}

/// Names are matched without case: who reads them so mustn't see another From than others do.
fn is_from(name: &[u8]) -> bool {
    local_name(name).eq_ignore_ascii_case(b"From")
}

/// The name before `<address>`; nothing where a parameter of the header comes first.
fn display_name(value: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'<', value).unwrap_or(0);
    let name = value.get(..end).unwrap_or_default().trim_ascii();
    if name.starts_with(b";") { b"" } else { name }
}

fn write_line(to: &mut Vec<u8>, name: &[u8], identity: &[u8]) {
    to.extend_from_slice(b"From: ");
    if !name.is_empty() {
        to.extend_from_slice(name);
        to.push(b' ');
    }
    to.extend_from_slice(identity);
    to.extend_from_slice(b"\r\n");
}
