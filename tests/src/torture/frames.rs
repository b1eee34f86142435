//! What a far end reads of MSRP, frame by frame, with code of its own (RFC 4975 §7.1, §9).

use std::fmt;

/// A start line and headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// The transaction id.
    pub id: Vec<u8>,
    /// The method, or code and comment.
    pub what: String,
    /// Whole lines, without CRLF.
    pub headers: Vec<Vec<u8>>,
    /// Whether a body follows, an empty one too.
    pub has_body: bool,
}

impl fmt::Debug for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MSRP {} {}", self.id.escape_ascii(), self.what)?;
        for line in &self.headers {
            write!(formatter, " | {}", line.escape_ascii())?;
        }
        Ok(())
    }
}

impl Head {
    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        self.headers.iter().find_map(|line| {
            let line = String::from_utf8_lossy(line);
            let (found, value) = line.split_once(':')?;
            (found.to_lowercase() == name).then(|| value.trim().to_owned())
        })
    }

    /// Whether it is a response's.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.what.starts_with(|first: char| first.is_ascii_digit())
    }

    /// The far end's response with a code alone.
    #[must_use]
    pub fn response_of(&self, code: u16) -> Vec<u8> {
        self.response(&code.to_string())
    }

    /// The far end's response to it.
    ///
    /// # Panics
    ///
    /// It has no paths; [`Reader`] takes no head without them.
    #[must_use]
    pub fn response(&self, code: &str) -> Vec<u8> {
        let (to, from) = (
            self.value("from-path").expect("a head has paths"),
            self.value("to-path").expect("a head has paths"),
        );
        let id = String::from_utf8_lossy(&self.id);
        format!("MSRP {id} {code}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{id}$\r\n")
            .into_bytes()
    }
}

/// A whole frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its head.
    pub head: Head,
    /// The body; `None` is another thing than an empty one.
    pub body: Option<Vec<u8>>,
    /// The end line's flag.
    pub flag: char,
}

impl Frame {
    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let Head {
            id, what, headers, ..
        } = &self.head;
        let mut octets = [b"MSRP ", id.as_slice(), b" ", what.as_bytes(), b"\r\n"].concat();
        for line in headers {
            octets.extend_from_slice(line);
            octets.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            octets.extend([b"\r\n", body.as_slice(), b"\r\n"].concat());
        }
        octets.extend([b"-------", id.as_slice()].concat());
        octets.extend(format!("{}\r\n", self.flag).bytes());
        octets
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.head)?;
        if let Some(body) = &self.body {
            let front = body.get(..200).unwrap_or(body);
            write!(
                formatter,
                " || {} octets: {}",
                body.len(),
                front.escape_ascii()
            )?;
        }
        write!(formatter, " {}", self.flag)
    }
}

/// Reads a connection; a frame that breaks the grammar is a panic.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    open: Option<Head>,
}

impl Reader {
    /// Takes bytes, and gives the heads and the frames that became complete.
    ///
    /// # Panics
    ///
    /// A frame breaks the grammar.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<Head>, Vec<Frame>) {
        self.buffer.extend_from_slice(bytes);
        let (mut heads, mut frames) = (Vec::new(), Vec::new());
        loop {
            let head = match self.open.take() {
                Some(head) => head,
                None => match self.head() {
                    Some(head) => {
                        heads.push(head.clone());
                        head
                    }
                    None => return (heads, frames),
                },
            };
            match self.rest(&head) {
                Some((body, flag)) => frames.push(Frame { head, body, flag }),
                None => {
                    self.open = Some(head);
                    return (heads, frames);
                }
            }
        }
    }

    /// Whether no frame has begun that hasn't ended.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.open.is_none() && self.buffer.is_empty()
    }

    fn head(&mut self) -> Option<Head> {
        let mut lines = Vec::new();
        let mut at = 0;
        let has_body = loop {
            let len = self.buffer[at..]
                .windows(2)
                .position(|two| two == b"\r\n")?;
            let line = self.buffer[at..at + len].to_vec();
            if line.starts_with(b"-------") {
                break false;
            }
            at += len + 2;
            if line.is_empty() {
                break true;
            }
            lines.push(line);
        };
        self.buffer.drain(..at);
        let start = lines.remove(0);
        let text = String::from_utf8_lossy(&start).into_owned();
        let mut words = text.splitn(3, ' ');
        assert_eq!(words.next(), Some("MSRP"), "{text}");
        let id = words
            .next()
            .unwrap_or_else(|| panic!("no id: {text}"))
            .as_bytes()
            .to_vec();
        assert!((4..=32).contains(&id.len()), "{text}");
        let what = words
            .next()
            .unwrap_or_else(|| panic!("no method: {text}"))
            .to_owned();
        let head = Head {
            id,
            what,
            headers: lines,
            has_body,
        };
        for (place, name) in ["To-Path: ", "From-Path: "].iter().enumerate() {
            let is_there = head
                .headers
                .get(place)
                .is_some_and(|line| line.starts_with(name.as_bytes()));
            assert!(is_there, "{name}is not header {place}: {head:?}");
        }
        Some(head)
    }

    /// The body and the flag, once the end line is there.
    fn rest(&mut self, head: &Head) -> Option<(Option<Vec<u8>>, char)> {
        let before: &[u8] = if head.has_body { b"\r\n" } else { b"" };
        let line = [before, b"-------", &head.id].concat();
        let (at, flag) = (0..self.buffer.len().saturating_sub(line.len() + 2)).find_map(|at| {
            let rest = self.buffer[at..].strip_prefix(line.as_slice())?;
            let is_end = matches!(rest, [b'$' | b'+' | b'#', b'\r', b'\n', ..]);
            is_end.then(|| (at, char::from(rest[0])))
        })?;
        assert!(
            head.has_body || at == 0,
            "{head:?} is followed by {}",
            self.buffer.escape_ascii()
        );
        let body = self.buffer[..at].to_vec();
        self.buffer.drain(..at + line.len() + 3);
        Some((head.has_body.then_some(body), flag))
    }
}
