//! The receiving end of a session: SENDs in, their content checked, responses and REPORTs out.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use super::content::Content;
use super::frame::{self, DASHES, End, EndLine, Head, Kind, Read};
use super::plan::Load;

/// A chunk whose body is coming.
#[derive(Debug, Clone)]
struct Body {
    tid: Vec<u8>,
    from_path: Vec<u8>,
    message_id: Vec<u8>,
    number: u64,
    start: usize,
    /// Wrong bytes came: what follows is skipped up to the end line.
    is_damaged: bool,
}

/// What happened on the receiving end, for the session's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The head of a message's first chunk; its first byte was there at this time.
    Begun(u64, u64),
    /// A message is whole.
    Whole(u64),
    /// A message, or what should be one, isn't what was sent.
    Damaged,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    /// The connection.
    pub stream: TcpStream,
    session: usize,
    own: Vec<u8>,
    out: Vec<u8>,
    body: Option<Body>,
    /// The next byte of the message that is coming.
    offset: u64,
    /// Since when bytes of the next head are there.
    head_since: Option<u64>,
    reports: u64,
    salt: u64,
    /// The next message that should come.
    pub expected: u64,
    /// Body bytes that came.
    pub bytes: u64,
    /// The kernel takes no more at the moment.
    pub is_blocked: bool,
    /// Bytes of a head or end line that isn't whole yet.
    pub partial: Vec<u8>,
}

impl Receiver {
    /// The end of `session` whose own path is `own`.
    #[must_use]
    pub fn new(stream: TcpStream, session: usize, own: &str, salt: u64) -> Self {
        Self {
            stream,
            session,
            own: own.as_bytes().to_vec(),
            out: Vec::new(),
            body: None,
            offset: 0,
            head_since: None,
            reports: 0,
            salt,
            expected: 0,
            bytes: 0,
            is_blocked: false,
            partial: Vec::new(),
        }
    }

    /// Takes what is at the front of `bytes`; returns how many bytes that are.
    ///
    /// # Errors
    ///
    /// They aren't MSRP.
    pub fn take(
        &mut self,
        bytes: &[u8],
        (content, load): (&Content, &Load),
        now: u64,
        mut news: impl FnMut(News),
    ) -> Result<usize, String> {
        let mut at = 0;
        while at < bytes.len() {
            let taken = match self.body.take() {
                Some(body) => self.take_body(body, &bytes[at..], (content, load), &mut news),
                None => {
                    let since = *self.head_since.get_or_insert(now);
                    self.take_head(&bytes[at..], load, since, &mut news)?
                }
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        Ok(at)
    }

    fn take_head(
        &mut self,
        bytes: &[u8],
        load: &Load,
        since: u64,
        news: &mut impl FnMut(News),
    ) -> Result<usize, String> {
        let head = match frame::read(bytes) {
            Read::Head(head) => head,
            Read::Partial => return Ok(0),
            Read::Broken => return Err("the relay sends no MSRP to the receiver".to_owned()),
        };
        self.head_since = None;
        match head.kind {
            Kind::Send if head.has_ended => {
                frame::write_ok(&mut self.out, head.tid, head.from_path, &self.own);
            }
            Kind::Send => self.begin(&head, load, since, news),
            // Responses to its REPORTs don't exist, and nobody else sends it any.
            Kind::Report(_) | Kind::Response(_) | Kind::Other => {
                return Err("the relay sends other frames than SEND to the receiver".to_owned());
            }
        }
        Ok(head.length)
    }

    fn begin(&mut self, head: &Head<'_>, load: &Load, since: u64, news: &mut impl FnMut(News)) {
        let number = number_of(head.message_id, self.session);
        let range = head.range;
        let first = range.map_or(1, |range| range.first);
        let came_before = number.is_some_and(|number| number < self.expected);
        if first == 1 && !came_before {
            self.offset = 0;
            if let Some(number) = number {
                self.expected = number;
                news(News::Begun(number, since));
            }
        }
        let total = range.and_then(|range| range.total);
        let fits = number == Some(self.expected)
            && first == self.offset + 1
            && total.is_none_or(|total| total == load.size);
        if !fits {
            news(News::Damaged);
        }
        self.body = Some(Body {
            tid: head.tid.to_vec(),
            from_path: head.from_path.to_vec(),
            message_id: head.message_id.to_vec(),
            number: number.unwrap_or(self.expected),
            start: Content::start(self.session, number.unwrap_or(0)),
            is_damaged: !fits,
        });
    }

    /// Takes body bytes, and the end line behind them.
    fn take_body(
        &mut self,
        mut body: Body,
        bytes: &[u8],
        (content, load): (&Content, &Load),
        news: &mut impl FnMut(News),
    ) -> usize {
        if body.is_damaged {
            return self.skip(body, bytes);
        }
        let left = usize::try_from(load.size.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let part = &bytes[..left.min(bytes.len())];
        let good = content.matching(body.start, self.offset, part);
        self.offset += good as u64;
        self.bytes += good as u64;
        let rest = &bytes[good..];
        if rest.is_empty() {
            self.body = Some(body);
            return good;
        }
        // A cut chunk's end line may begin with what the content would go on with.
        for eaten in 0..=usize::try_from(self.offset).unwrap_or(2).min(2) {
            match frame::end_line(rest, &body.tid, eaten) {
                EndLine::Whole { end, length } => {
                    self.offset -= eaten as u64;
                    self.bytes -= eaten as u64;
                    self.finish(&body, end, load, news);
                    return good + length;
                }
                EndLine::Partial => {
                    self.body = Some(body);
                    return good;
                }
                EndLine::Other => {}
            }
        }
        news(News::Damaged);
        body.is_damaged = true;
        self.body = Some(body);
        good + 1
    }

    /// Skips a damaged body up to its end line.
    fn skip(&mut self, body: Body, bytes: &[u8]) -> usize {
        let line = [DASHES, &body.tid].concat();
        if let Some(at) = bytes.windows(line.len()).position(|window| window == line) {
            if bytes.len() < at + line.len() + 3 {
                self.body = Some(body);
                return at;
            }
            frame::write_ok(&mut self.out, &body.tid, &body.from_path, &self.own);
            return at + line.len() + 3;
        }
        self.body = Some(body);
        bytes.len().saturating_sub(line.len())
    }

    fn finish(&mut self, body: &Body, end: End, load: &Load, news: &mut impl FnMut(News)) {
        frame::write_ok(&mut self.out, &body.tid, &body.from_path, &self.own);
        match end {
            End::More => return,
            End::Last if self.offset == load.size => news(News::Whole(body.number)),
            End::Last | End::Abort => news(News::Damaged),
        }
        self.expected = body.number + 1;
        self.offset = 0;
        if load.success_report {
            self.reports += 1;
            let tid = format!("{:016x}{:08x}r", self.salt, self.reports);
            let head = (&*body.from_path, &*self.own, &*body.message_id);
            frame::write_success(&mut self.out, tid.as_bytes(), head, load.size);
        }
    }

    /// Writes what is queued as far as the kernel takes it.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn flush(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(length) => drop(self.out.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The number in a Message-ID `session.number.salt`.
#[must_use]
pub fn number_of(id: &[u8], session: usize) -> Option<u64> {
    let mut words = std::str::from_utf8(id).ok()?.split('.');
    let owner = usize::from_str_radix(words.next()?, 16).ok()?;
    let number = u64::from_str_radix(words.next()?, 16).ok()?;
    (owner == session).then_some(number)
}
