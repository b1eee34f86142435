//! Frames as a client writes and reads them (RFC 4975 §7): the heads; bodies belong to who knows
//! the content.

/// Bytes of a head that a relay may send; more is an error of its.
const HEAD_MAX: usize = 16 * 1024;
/// What an end line begins with (RFC 4975 §7.1).
pub const DASHES: &[u8] = b"-------";

/// One line of a chunk's range (RFC 4975 §7.1.1): the first byte, counted from 1, and the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte, counted from 1.
    pub first: u64,
    /// The whole message's bytes; `None`: `*`.
    pub total: Option<u64>,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A SEND.
    Send,
    /// A REPORT and the code of its Status.
    Report(u16),
    /// A response and its code.
    Response(u16),
    /// Another request.
    Other,
}

/// A frame's head, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The transaction's identifier.
    pub tid: &'a [u8],
    /// What the frame is.
    pub kind: Kind,
    /// The From-Path.
    pub from_path: &'a [u8],
    /// The Message-ID.
    pub message_id: &'a [u8],
    /// The Byte-Range.
    pub range: Option<Range>,
    /// A success report is asked for.
    pub success_report: bool,
    /// The frame ended with its head; else a body follows.
    pub has_ended: bool,
    /// The head's bytes, with the empty line or the end line.
    pub length: usize,
}

/// What the bytes at the front of a connection's input are.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A whole head.
    Head(Head<'a>),
    /// Not yet a whole one.
    Partial,
    /// No MSRP.
    Broken,
}

/// Reads the head at the front of `bytes`.
#[must_use]
pub fn read(bytes: &[u8]) -> Read<'_> {
    let mut lines = Lines { bytes, at: 0 };
    let Some(start) = lines.next() else {
        return partial(bytes);
    };
    let Some((tid, mut kind)) = start_line(start) else {
        return Read::Broken;
    };
    let mut head = Head {
        tid,
        kind,
        from_path: &[],
        message_id: &[],
        range: None,
        success_report: false,
        has_ended: false,
        length: 0,
    };
    loop {
        let Some(line) = lines.next() else {
            return partial(bytes);
        };
        if line.is_empty() {
            break;
        }
        if line
            .strip_prefix(DASHES)
            .is_some_and(|rest| rest.starts_with(tid))
        {
            head.has_ended = true;
            break;
        }
        field(line, &mut head, &mut kind);
    }
    head.kind = kind;
    head.length = lines.at;
    Read::Head(head)
}

fn partial(bytes: &[u8]) -> Read<'_> {
    if bytes.len() > HEAD_MAX {
        Read::Broken
    } else {
        Read::Partial
    }
}

fn start_line(line: &[u8]) -> Option<(&[u8], Kind)> {
    let rest = line.strip_prefix(b"MSRP ")?;
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let (tid, what) = (&rest[..space], &rest[space + 1..]);
    let kind = match what {
        b"SEND" => Kind::Send,
        b"REPORT" => Kind::Report(0),
        _ => what.get(..3).and_then(number).map_or(Kind::Other, |code| {
            Kind::Response(u16::try_from(code).unwrap_or(0))
        }),
    };
    Some((tid, kind))
}

fn field<'a>(line: &'a [u8], head: &mut Head<'a>, kind: &mut Kind) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return;
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    match name.len() {
        6 if name.eq_ignore_ascii_case(b"Status") => {
            // `000 code`: the namespace is always 000 (RFC 4975 §7.1.2).
            let code = value.get(4..7).and_then(number).unwrap_or(0);
            *kind = Kind::Report(u16::try_from(code).unwrap_or(0));
        }
        9 if name.eq_ignore_ascii_case(b"From-Path") => head.from_path = value,
        10 if name.eq_ignore_ascii_case(b"Message-ID") => head.message_id = value,
        10 if name.eq_ignore_ascii_case(b"Byte-Range") => head.range = range(value),
        14 if name.eq_ignore_ascii_case(b"Success-Report") => {
            head.success_report = value.eq_ignore_ascii_case(b"yes");
        }
        _ => {}
    }
}

fn range(value: &[u8]) -> Option<Range> {
    let dash = value.iter().position(|byte| *byte == b'-')?;
    let slash = value.iter().position(|byte| *byte == b'/')?;
    Some(Range {
        first: number(&value[..dash])?,
        total: number(&value[slash + 1..]),
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whole lines, without their CRLF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// How a chunk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `$`: the message is whole.
    Last,
    /// `+`: more follows.
    More,
    /// `#`: the sender gave up.
    Abort,
}

/// What stands where a body may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndLine {
    /// The end line, with the CRLFs around it as far as they are there.
    Whole {
        /// How the chunk ends.
        end: End,
        /// Its bytes.
        length: usize,
    },
    /// It may be one; more must come.
    Partial,
    /// Something else.
    Other,
}

/// Reads the end line of `tid`; `eaten` bytes of the CRLF before it are already gone.
#[must_use]
pub fn end_line(bytes: &[u8], tid: &[u8], eaten: usize) -> EndLine {
    let before = b"\r\n".get(eaten..).unwrap_or(&[]);
    let mut at = 0;
    for part in [before, DASHES, tid] {
        let here = bytes.get(at..).unwrap_or(&[]);
        let seen = here.len().min(part.len());
        if here[..seen] != part[..seen] {
            return EndLine::Other;
        }
        if seen < part.len() {
            return EndLine::Partial;
        }
        at += part.len();
    }
    let Some(flag) = bytes.get(at..at + 3) else {
        return EndLine::Partial;
    };
    let end = match flag {
        b"$\r\n" => End::Last,
        b"+\r\n" => End::More,
        b"#\r\n" => End::Abort,
        _ => return EndLine::Other,
    };
    EndLine::Whole {
        end,
        length: at + 3,
    }
}

/// Writes a 200 to the SEND with `tid`: to the first URI that it came from (RFC 4975 §7.2).
pub fn write_ok(out: &mut Vec<u8>, tid: &[u8], from_path: &[u8], own: &[u8]) {
    let first = from_path.split(|byte| *byte == b' ').next().unwrap_or(&[]);
    let parts: [&[u8]; 9] = [
        b"MSRP ",
        tid,
        b" 200 OK\r\nTo-Path: ",
        first,
        b"\r\nFrom-Path: ",
        own,
        b"\r\n-------",
        tid,
        b"$\r\n",
    ];
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Writes a REPORT that a message of `bytes` came whole (RFC 4975 §7.1.2).
pub fn write_success(out: &mut Vec<u8>, tid: &[u8], head: (&[u8], &[u8], &[u8]), bytes: u64) {
    let (to_path, own, message_id) = head;
    let range = format!("\r\nByte-Range: 1-{bytes}/{bytes}\r\nStatus: 000 200 OK\r\n-------");
    let parts: [&[u8]; 11] = [
        b"MSRP ",
        tid,
        b" REPORT\r\nTo-Path: ",
        to_path,
        b"\r\nFrom-Path: ",
        own,
        b"\r\nMessage-ID: ",
        message_id,
        range.as_bytes(),
        tid,
        b"$\r\n",
    ];
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::{End, EndLine, Kind, Range, Read, end_line, read, write_ok};

    const SEND: &[u8] = b"MSRP a786 SEND\r\nTo-Path: msrp://b:1/x;tcp\r\n\
        From-Path: msrp://r:1/y;tcp msrp://a:1/z;tcp\r\nMessage-ID: 0.1f\r\n\
        Byte-Range: 1-*/1024\r\nContent-Type: text/plain\r\n\r\nabc";

    #[test]
    fn a_head_is_read_up_to_its_body() {
        let Read::Head(head) = read(SEND) else {
            panic!("no head");
        };
        assert_eq!((head.tid, head.kind), (&b"a786"[..], Kind::Send));
        assert_eq!(head.message_id, b"0.1f");
        let range = Range {
            first: 1,
            total: Some(1024),
        };
        assert_eq!(head.range, Some(range));
        assert_eq!(&SEND[head.length..], b"abc");
    }

    #[test]
    fn half_a_head_waits() {
        assert_eq!(read(&SEND[..100]), Read::Partial);
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), Read::Broken);
    }

    #[test]
    fn a_response_goes_to_the_first_uri_that_it_came_from() {
        let mut out = Vec::new();
        write_ok(
            &mut out,
            b"a786",
            b"msrp://r:1/y;tcp msrp://a:1/z;tcp",
            b"msrp://b:1/x;tcp",
        );
        assert_eq!(
            String::from_utf8(out.clone()),
            Ok(
                "MSRP a786 200 OK\r\nTo-Path: msrp://r:1/y;tcp\r\nFrom-Path: msrp://b:1/x;tcp\r\n\
                -------a786$\r\n"
                    .to_owned()
            )
        );
        let Read::Head(head) = read(&out) else {
            panic!("no head");
        };
        assert!(head.has_ended && head.kind == Kind::Response(200));
    }

    #[test]
    fn an_end_line_says_how_the_chunk_ends() {
        let whole = |end, length| EndLine::Whole { end, length };
        assert_eq!(
            end_line(b"\r\n-------ab+\r\nM", b"ab", 0),
            whole(End::More, 14)
        );
        assert_eq!(
            end_line(b"\n-------ab$\r\n", b"ab", 1),
            whole(End::Last, 13)
        );
        assert_eq!(end_line(b"\r\n-------ab", b"ab", 0), EndLine::Partial);
        assert_eq!(end_line(b"\r\n-------abX\r\n", b"ab", 0), EndLine::Other);
        assert_eq!(end_line(b"more", b"ab", 0), EndLine::Other);
    }
}
