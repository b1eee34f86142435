//! MSRP endpoints (RFC 4975), as small as they can be: a thread that reads, and an end that sends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::{FarPath, Port};
use super::error::DemoError;
use super::rtp::{delays, since};
use super::{lock, now, pause, random};

/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets that a client keeps of a frame that isn't whole yet.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// What one end of an MSRP stream received.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Whole messages.
    pub(super) messages: AtomicU64,
    /// Octets of their bodies.
    pub(super) bytes: AtomicU64,
    /// Success reports.
    pub(super) reports: AtomicU64,
    /// Failure reports.
    pub(super) failures: AtomicU64,
    /// A chunk came whose range doesn't begin where the one before ended.
    pub(super) disordered: AtomicBool,
    /// Over all octets, in the order they came.
    pub(super) digest: Mutex<Digest>,
    /// Of messages that name the moment they were sent, in nanoseconds.
    pub(super) delay: Mutex<Histogram<u64>>,
}

/// FNV-1a, 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// One end of a stream.
#[derive(Debug)]
pub(super) struct End {
    out: Arc<Mutex<TcpStream>>,
    own: String,
    far: String,
    answers: Receiver<(String, u16)>,
    waiting: usize,
    number: u64,
    pub(super) inbox: Arc<Inbox>,
    reader: JoinHandle<()>,
}

/// A chunk to be sent.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) message: &'a str,
    pub(super) kind: &'a str,
    /// Of its first octet, from 1.
    pub(super) first: usize,
    /// Octets of the whole message.
    pub(super) total: usize,
    pub(super) body: &'a [u8],
    pub(super) last: bool,
    /// Asks for a success report.
    pub(super) report: bool,
}

impl End {
    /// Makes or takes the connection of a stream.
    pub(super) fn join(port: &Port, far: &FarPath, zero: Instant) -> Result<Self, DemoError> {
        let stream = if far.connect {
            TcpStream::connect(host_of(&far.path)?).map_err(DemoError::doing("MSRP"))?
        } else {
            accept(&port.listener)?
        };
        stream.set_nodelay(true).map_err(DemoError::doing("MSRP"))?;
        let input = stream.try_clone().map_err(DemoError::doing("MSRP"))?;
        let out = Arc::new(Mutex::new(stream));
        let inbox = Arc::new(Inbox {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            disordered: AtomicBool::new(false),
            digest: Mutex::new(Digest::new()),
            delay: Mutex::new(delays()?),
        });
        let (answered, answers) = channel();
        let reader = Reader {
            out: Arc::clone(&out),
            inbox: Arc::clone(&inbox),
            answered,
            zero,
        };
        let reader = thread::Builder::new()
            .name("demo-msrp".to_owned())
            .spawn(move || reader.read(input))
            .map_err(DemoError::doing("a thread"))?;
        Ok(Self {
            out,
            own: port.path.clone(),
            far: far.path.clone(),
            answers,
            waiting: 0,
            number: 0,
            inbox,
            reader,
        })
    }

    /// Sends the first, empty SEND, which binds the connection to the session (RFC 4975 §5.4).
    pub(super) fn bind(&mut self) -> Result<(), DemoError> {
        let message = format!("{:016x}", random());
        let head = format!("Message-ID: {message}\r\n");
        self.send(&head, None, '$')
    }

    /// Sends a chunk.
    pub(super) fn send_chunk(&mut self, chunk: &Chunk<'_>) -> Result<(), DemoError> {
        let success = if chunk.report { "yes" } else { "no" };
        let head = format!(
            "Message-ID: {}\r\nSuccess-Report: {success}\r\nByte-Range: {}-*/{}\r\nContent-Type: {}\r\n",
            chunk.message, chunk.first, chunk.total, chunk.kind
        );
        self.send(&head, Some(chunk.body), if chunk.last { '$' } else { '+' })
    }

    fn send(&mut self, head: &str, body: Option<&[u8]>, flag: char) -> Result<(), DemoError> {
        self.number += 1;
        let id = format!("{:012x}{:04x}", random() >> 16, self.number & 0xffff);
        let (to, from) = (&self.far, &self.own);
        let mut frame =
            format!("MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{head}").into_bytes();
        if let Some(body) = body {
            frame.extend_from_slice(b"\r\n");
            frame.extend_from_slice(body);
            frame.extend_from_slice(b"\r\n");
        }
        frame.extend_from_slice(format!("-------{id}{flag}\r\n").as_bytes());
        let written = lock(&self.out).write_all(&frame);
        written.map_err(DemoError::doing("sending MSRP"))?;
        self.waiting += 1;
        Ok(())
    }

    /// Waits until at most this many SENDs have no answer yet.
    pub(super) fn settle(&mut self, at_most: usize) -> Result<(), DemoError> {
        while self.waiting > at_most {
            match self.answers.recv_timeout(PATIENCE) {
                Ok((_, 200)) => self.waiting -= 1,
                Ok((id, code)) => {
                    let came = format!("{code} for {id}");
                    return Err(DemoError::unexpected("an MSRP 200", &came));
                }
                Err(_) => return Err(DemoError::late("an MSRP 200")),
            }
        }
        Ok(())
    }

    /// Closes the connection.
    pub(super) fn close(self) {
        // It may be closed already, by the far side.
        let _ = lock(&self.out).shutdown(Shutdown::Both);
        let _ = self.reader.join();
    }
}

/// The address in `msrp://address:port/session;tcp`.
pub(super) fn host_of(path: &str) -> Result<std::net::SocketAddr, DemoError> {
    let host = path
        .strip_prefix("msrp://")
        .and_then(|rest| rest.split('/').next());
    let address = host.and_then(|host| host.parse().ok());
    address.ok_or_else(|| DemoError::unexpected("an MSRP URI with an address", path))
}

fn accept(listener: &TcpListener) -> Result<TcpStream, DemoError> {
    listener
        .set_nonblocking(true)
        .map_err(DemoError::doing("MSRP"))?;
    let until = now() + PATIENCE;
    while now() < until {
        if let Ok((stream, _)) = listener.accept() {
            let made = stream.set_nonblocking(false).map(|()| stream);
            return made.map_err(DemoError::doing("MSRP"));
        }
        pause(Duration::from_millis(2));
    }
    Err(DemoError::late("an MSRP connection"))
}

/// The reading side of an end.
struct Reader {
    out: Arc<Mutex<TcpStream>>,
    inbox: Arc<Inbox>,
    answered: Sender<(String, u16)>,
    zero: Instant,
}

/// A frame, read.
pub(super) struct Frame<'a> {
    pub(super) id: &'a str,
    /// A method, or a response's code and comment.
    pub(super) word: &'a str,
    head: &'a str,
    pub(super) body: Option<&'a [u8]>,
    flag: u8,
}

impl Frame<'_> {
    pub(super) fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim())
    }
}

impl Reader {
    fn read(self, mut input: TcpStream) {
        let mut kept: Vec<u8> = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = input.read(&mut piece) {
            kept.extend_from_slice(piece.get(..length).unwrap_or_default());
            let mut used = 0;
            while let Some((frame, octets)) = next_frame(kept.get(used..).unwrap_or_default()) {
                self.take(&frame);
                used += octets;
            }
            kept.drain(..used);
            if kept.len() > FRAME_BYTES_MAX {
                return;
            }
        }
    }

    fn take(&self, frame: &Frame<'_>) {
        match frame.word {
            "SEND" => self.take_send(frame),
            "REPORT" => {
                let good = frame.header("Status").starts_with("000 200");
                let counter = if good {
                    &self.inbox.reports
                } else {
                    &self.inbox.failures
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            word => {
                let code = word.get(..3).and_then(|code| code.parse().ok());
                // Nobody may wait any more.
                let _ = self.answered.send((frame.id.to_owned(), code.unwrap_or(0)));
            }
        }
    }

    fn take_send(&self, frame: &Frame<'_>) {
        let (to, from) = (frame.header("To-Path"), frame.header("From-Path"));
        let (own, back) = (to, from.split(' ').next().unwrap_or_default());
        if !matches!(frame.header("Failure-Report"), "no" | "partial") {
            let id = frame.id;
            self.write(&format!(
                "MSRP {id} 200 OK\r\nTo-Path: {back}\r\nFrom-Path: {own}\r\n-------{id}$\r\n"
            ));
        }
        let Some(body) = frame.body else {
            return;
        };
        self.keep(frame, body);
        if frame.flag != b'$' {
            return;
        }
        self.inbox.messages.fetch_add(1, Ordering::Relaxed);
        if frame.header("Success-Report") == "yes" {
            let (id, message) = (format!("{:016x}", random()), frame.header("Message-ID"));
            let total = frame.header("Byte-Range").rsplit('/').next().unwrap_or("*");
            self.write(&format!(
                "MSRP {id} REPORT\r\nTo-Path: {from}\r\nFrom-Path: {own}\r\n\
                 Message-ID: {message}\r\nByte-Range: 1-{total}/{total}\r\n\
                 Status: 000 200 OK\r\n-------{id}$\r\n"
            ));
        }
    }

    /// Keeps what can be counted of a body.
    fn keep(&self, frame: &Frame<'_>, body: &[u8]) {
        let inbox = &self.inbox;
        if frame.header("Content-Type") == "text/plain" {
            let sent = std::str::from_utf8(body).ok();
            let sent = sent.and_then(|text| text.rsplit("sent at ").next()?.parse().ok());
            if let Some(sent) = sent {
                let delay = since(self.zero).saturating_sub(sent);
                lock(&inbox.delay).saturating_record(delay);
            }
        } else {
            let expected = inbox.bytes.load(Ordering::Relaxed) + 1;
            let range = frame.header("Byte-Range").split('-').next();
            if range.and_then(|first| first.parse().ok()) != Some(expected) {
                inbox.disordered.store(true, Ordering::Relaxed);
            }
            lock(&inbox.digest).add(body);
        }
        let octets = u64::try_from(body.len()).unwrap_or(u64::MAX);
        inbox.bytes.fetch_add(octets, Ordering::Relaxed);
    }

    fn write(&self, text: &str) {
        // When it fails the connection is gone, which the next read shows.
        let _ = lock(&self.out).write_all(text.as_bytes());
    }
}

/// Reads the first frame of what came, if it is whole, and says how long it is.
pub(super) fn next_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let line_end = find(bytes, b"\r\n", 0)?;
    let start = std::str::from_utf8(bytes.get(..line_end)?).ok()?;
    let (id, word) = start.strip_prefix("MSRP ")?.split_once(' ')?;
    let mark = format!("\r\n-------{id}");
    let mut at = line_end;
    let (end, flag) = loop {
        let end = find(bytes, mark.as_bytes(), at)?;
        let rest = bytes.get(end + mark.len()..)?;
        if let [flag @ (b'$' | b'+' | b'#'), b'\r', b'\n', ..] = rest {
            break (end, *flag);
        }
        at = end + 1;
    };
    let whole = bytes.get(line_end..end)?;
    let (head, body) = match find(whole, b"\r\n\r\n", 0) {
        Some(gap) => (whole.get(..gap)?, whole.get(gap + 4..)),
        None => (whole, None),
    };
    let frame = Frame {
        id,
        word,
        head: std::str::from_utf8(head).ok()?,
        body,
        flag,
    };
    Some((frame, end + mark.len() + 3))
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let windows = bytes.get(from..)?.windows(what.len());
    windows
        .into_iter()
        .position(|seen| seen == what)
        .map(|at| at + from)
}

#[cfg(test)]
mod tests {
    use super::next_frame;

    #[test]
    fn a_body_that_looks_like_its_end_is_read_whole() {
        let body = "a\r\n-------tid1X\r\n-------tid2$\r\n\r\nb";
        let frame = format!("MSRP tid1 SEND\r\nTo-Path: x\r\n\r\n{body}\r\n-------tid1+\r\n");
        let bytes = format!("{frame}MSRP next");
        let (read, octets) = next_frame(bytes.as_bytes()).unwrap();
        assert_eq!((read.id, read.word, read.flag), ("tid1", "SEND", b'+'));
        assert_eq!(read.body, Some(body.as_bytes()));
        assert_eq!(read.header("to-path"), "x");
        assert_eq!(octets, frame.len());
    }

    #[test]
    fn a_frame_is_read_only_when_it_is_whole() {
        let frame = b"MSRP tid1 200 OK\r\nTo-Path: x\r\nFrom-Path: y\r\n-------tid1$\r\n";
        for length in 0..frame.len() {
            assert!(next_frame(&frame[..length]).is_none(), "{length}");
        }
        let (read, _) = next_frame(frame).unwrap();
        assert_eq!((read.word, read.body), ("200 OK", None));
    }
}
