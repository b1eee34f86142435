//! The sending end of a session: SENDs out, responses and REPORTs in.

use std::io::{ErrorKind, IoSlice, Write as _};
use std::net::TcpStream;

use super::content::{Content, PERIOD};
use super::frame::{self, Kind, Read};
use super::plan::{Feed, Load};
use super::receiver::number_of;
use super::tally::Tally;

/// A chunk up to this many bytes is written into the queue; the bytes of a longer one leave from
/// where they are.
const INLINE_MAX: u64 = 16 * 1024;
/// Bytes in the queue from which on no further message is put there.
const QUEUE_MAX: usize = 64 * 1024;
/// Pieces of content that one call hands to the kernel.
const PIECES: usize = 16;

/// A chunk whose bytes leave by and by.
#[derive(Debug)]
struct Chunk {
    tid: Vec<u8>,
    offset: u64,
    end: u64,
    /// The bytes that there are so far: all, unless they are fed.
    limit: u64,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender {
    /// The connection.
    pub stream: TcpStream,
    session: usize,
    /// To-Path and From-Path as every head has them.
    paths: Vec<u8>,
    salt: u64,
    out: Vec<u8>,
    written: usize,
    chunk: Option<Chunk>,
    /// The message that is being sent, and the byte at which its next chunk begins.
    message: Option<(u64, u64)>,
    feed_at: u64,
    /// Messages that wait for their turn.
    pub due: u64,
    /// The next message's number.
    pub next: u64,
    /// Messages whose last chunk was answered, with whatever code.
    pub answered: u64,
    /// The kernel takes no more at the moment.
    pub is_blocked: bool,
    /// Bytes of a head that isn't whole yet.
    pub partial: Vec<u8>,
}

impl Sender {
    /// The end of `session` that sends from `from_path` to `to_path`.
    #[must_use]
    pub fn new(
        stream: TcpStream,
        session: usize,
        (to_path, from_path): (&str, &str),
        salt: u64,
    ) -> Self {
        Self {
            stream,
            session,
            paths: format!("To-Path: {to_path}\r\nFrom-Path: {from_path}\r\n").into_bytes(),
            salt,
            out: Vec::with_capacity(2 * QUEUE_MAX),
            written: 0,
            chunk: None,
            message: None,
            feed_at: 0,
            due: 0,
            next: 0,
            answered: 0,
            is_blocked: false,
            partial: Vec::new(),
        }
    }

    /// Nothing is queued or half sent.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.due == 0 && self.message.is_none() && self.written == self.out.len()
    }

    /// When the next fed bytes are there; `u64::MAX`: never.
    #[must_use]
    pub fn feeds_at(&self) -> u64 {
        let waits = self
            .chunk
            .as_ref()
            .is_some_and(|chunk| chunk.limit < chunk.end);
        if waits { self.feed_at } else { u64::MAX }
    }

    /// Gives the chunk its next bytes.
    pub fn feed(&mut self, feed: Feed) {
        if let Some(chunk) = &mut self.chunk {
            chunk.limit = (chunk.limit + feed.bytes).min(chunk.end);
            self.feed_at += feed.every_ns;
        }
    }

    /// Writes what is due as far as the kernel takes it; `begun` hears of every new message.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn pump(
        &mut self,
        content: &Content,
        load: &Load,
        now: u64,
        mut begun: impl FnMut(u64),
    ) -> std::io::Result<()> {
        loop {
            while self.chunk.is_none() && self.out.len() < QUEUE_MAX {
                let (number, offset) = match self.message {
                    Some(message) => message,
                    None if self.due > 0 => {
                        self.due -= 1;
                        self.next += 1;
                        begun(self.next - 1);
                        (self.next - 1, 0)
                    }
                    None => break,
                };
                self.begin_chunk(content, load, (number, offset), now);
            }
            if !self.write(content)? {
                return Ok(());
            }
        }
    }

    /// Queues the head of the chunk at `offset`, and its body when it is short.
    fn begin_chunk(
        &mut self,
        content: &Content,
        load: &Load,
        (number, offset): (u64, u64),
        now: u64,
    ) {
        let end = load.size.min(offset + load.chunk);
        let is_last = end == load.size;
        let tid = self.tid(number, offset / load.chunk.max(1), is_last);
        self.write_head(load, &tid, (number, offset));
        self.message = (!is_last).then_some((number, end));
        let mut chunk = Chunk {
            tid,
            offset,
            end,
            limit: end,
        };
        if load.feed.is_some() {
            chunk.limit = offset;
            self.feed_at = now + load.feed.map_or(0, |feed| feed.every_ns);
        } else if end - offset <= INLINE_MAX {
            let start = Content::start(self.session, number);
            let length = usize::try_from(end - offset).unwrap_or(0);
            self.out
                .extend_from_slice(content.slice(start, offset, length));
            self.end_chunk(&chunk.tid, is_last);
            return;
        }
        // The number is needed for the content until the chunk has left.
        self.message = Some((number, offset));
        self.chunk = Some(chunk);
    }

    fn write_head(&mut self, load: &Load, tid: &[u8], (number, offset): (u64, u64)) {
        let reports = if load.success_report {
            "Success-Report: yes\r\n"
        } else {
            ""
        };
        let (session, first, total) = (self.session, offset + 1, load.size);
        self.out.extend_from_slice(b"MSRP ");
        self.out.extend_from_slice(tid);
        self.out.extend_from_slice(b" SEND\r\n");
        self.out.extend_from_slice(&self.paths);
        let fields = format!(
            "Message-ID: {session:x}.{number:x}.{:08x}\r\nByte-Range: {first}-*/{total}\r\n{reports}\
             Content-Type: application/octet-stream\r\n\r\n",
            self.salt & 0xFFFF_FFFF
        );
        self.out.extend_from_slice(fields.as_bytes());
    }

    fn end_chunk(&mut self, tid: &[u8], is_last: bool) {
        self.out.extend_from_slice(b"\r\n-------");
        self.out.extend_from_slice(tid);
        self.out
            .extend_from_slice(if is_last { b"$\r\n" } else { b"+\r\n" });
    }

    /// 64 random bits of the session, then which message and chunk, and whether it is the last.
    fn tid(&self, number: u64, chunk: u64, is_last: bool) -> Vec<u8> {
        let mark = if is_last { LAST } else { b'x' };
        let text = format!(
            "{:016x}{number:07x}{chunk:06x}{}",
            self.salt,
            char::from(mark)
        );
        text.into_bytes()
    }

    /// Hands the kernel what there is; `false`: it takes no more, or there is no more.
    fn write(&mut self, content: &Content) -> std::io::Result<bool> {
        let number = self.message.map_or(0, |(number, _)| number);
        let start = Content::start(self.session, number);
        let queued = self.out.len() - self.written;
        let mut pieces = [IoSlice::new(&[]); PIECES];
        pieces[0] = IoSlice::new(&self.out[self.written..]);
        let mut used = 1;
        if let Some(chunk) = &self.chunk {
            let mut offset = chunk.offset;
            while used < PIECES && offset < chunk.limit {
                let length = usize::try_from(chunk.limit - offset).unwrap_or(PERIOD);
                let piece = content.slice(start, offset, length);
                pieces[used] = IoSlice::new(piece);
                offset += piece.len() as u64;
                used += 1;
            }
        }
        if queued == 0 && used == 1 {
            return Ok(self.finish_chunk());
        }
        match self.stream.write_vectored(&pieces[..used]) {
            Ok(length) => {
                self.wrote(length, queued);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_blocked = true;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn wrote(&mut self, length: usize, queued: usize) {
        if length < queued {
            self.written += length;
            return;
        }
        self.out.clear();
        self.written = 0;
        if let Some(chunk) = &mut self.chunk {
            chunk.offset += (length - queued) as u64;
        }
        self.finish_chunk();
    }

    /// Queues the end line of a chunk whose bytes have left; says whether there was one.
    fn finish_chunk(&mut self) -> bool {
        let Some(chunk) = self.chunk.take_if(|chunk| chunk.offset == chunk.end) else {
            return false;
        };
        let is_last = chunk.tid.last() == Some(&LAST);
        self.end_chunk(&chunk.tid, is_last);
        self.message = match self.message {
            Some((number, _)) if !is_last => Some((number, chunk.end)),
            _ => None,
        };
        true
    }

    /// Takes the responses and REPORTs at the front of `bytes`; returns how many bytes they are.
    ///
    /// # Errors
    ///
    /// They aren't MSRP.
    pub fn take(
        &mut self,
        bytes: &[u8],
        measured_from: u64,
        tally: &mut Tally,
    ) -> Result<usize, String> {
        let mut at = 0;
        loop {
            let head = match frame::read(&bytes[at..]) {
                Read::Head(head) => head,
                Read::Partial => return Ok(at),
                Read::Broken => return Err("the relay sends no MSRP to the sender".to_owned()),
            };
            at += head.length;
            match head.kind {
                Kind::Response(code) => self.answer(head.tid, code, measured_from, tally),
                Kind::Report(code) => {
                    let number = number_of(head.message_id, self.session);
                    if number.is_some_and(|number| number >= measured_from) {
                        let counter = if code == 200 {
                            &mut tally.reported
                        } else {
                            &mut tally.failed
                        };
                        *counter += 1;
                    }
                }
                Kind::Send | Kind::Other => {
                    return Err("the relay sends requests to the sender".to_owned());
                }
            }
        }
    }

    fn answer(&mut self, tid: &[u8], code: u16, measured_from: u64, tally: &mut Tally) {
        let number = tid
            .get(16..23)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let is_last = tid.last() == Some(&LAST);
        self.answered += u64::from(is_last);
        if number.is_none_or(|number| number < measured_from) {
            return;
        }
        match code {
            200 => tally.acknowledged += u64::from(is_last),
            _ => tally.refused += 1,
        }
    }
}

/// What the identifier of a message's last chunk ends with.
const LAST: u8 = b'z';
