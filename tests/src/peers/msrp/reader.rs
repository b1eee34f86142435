//! What a peer reads from the wire: heads line by line, bodies as they come.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Pace, Received, Report, Shared, writer};
use crate::peers::content;

/// A head with more lines or a line longer than this is refused.
const LINE_MAX: usize = 8 * 1024;
const LINES_MAX: usize = 64;
/// Bytes taken from the kernel at once.
const READ: usize = 64 * 1024;
/// Text that is kept, in bytes.
const TEXT_MAX: usize = 64 * 1024;

struct Source<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    buffer: Vec<u8>,
    pace: Pace,
}

struct Head {
    tid: String,
    /// The method of a request or the code of a response.
    verb: String,
    fields: Vec<(String, String)>,
    /// The flag of the end line; `None`: a body follows.
    flag: Option<u8>,
}

impl Head {
    fn field(&self, name: &str) -> &str {
        self.fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads until the connection ends; what is against the RFC ends up in `problems`.
pub(super) fn run(stream: TcpStream, shared: &Shared, pace: Pace) {
    let mut source = Source {
        shared,
        stream,
        buffer: Vec::new(),
        pace,
    };
    loop {
        let done = source
            .head()
            .and_then(|head| frame(&mut source, head, shared));
        if let Err(error) = done {
            let mut seen = shared.seen();
            if error.kind() == io::ErrorKind::InvalidData {
                seen.problems.push(error.to_string());
            }
            seen.closed = true;
            break;
        }
        shared.news.notify_all();
    }
    shared.news.notify_all();
}

impl Source<'_> {
    fn fill(&mut self) -> io::Result<()> {
        while self.shared.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut bytes = vec![0; READ];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer
            .extend_from_slice(bytes.get(..count).unwrap_or(&[]));
        if let Some(rate) = self.pace {
            let micros = count as u64 * 1_000_000 / rate.max(1);
            std::thread::sleep(Duration::from_micros(micros));
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut from = 0;
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n", from) {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).map_err(|_| bad("not UTF-8"));
            }
            if self.buffer.len() > LINE_MAX {
                return Err(bad("a line of a head is too long"));
            }
            from = self.buffer.len().saturating_sub(1);
            self.fill()?;
        }
    }

    fn head(&mut self) -> io::Result<Head> {
        let start = self.line()?;
        let mut words = start.split(' ');
        let (Some("MSRP"), Some(tid), Some(verb)) = (words.next(), words.next(), words.next())
        else {
            return Err(bad(format!("not a start line: {start:?}")));
        };
        let (tid, verb) = (tid.to_owned(), verb.to_owned());
        if !(4..=32).contains(&tid.len()) {
            return Err(bad(format!("transaction id of {} characters", tid.len())));
        }
        let end = format!("-------{tid}");
        let mut fields = Vec::new();
        while fields.len() < LINES_MAX {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head {
                    tid,
                    verb,
                    fields,
                    flag: None,
                });
            }
            if let Some(flag) = line.strip_prefix(&end) {
                let flag = flag.bytes().next();
                return Ok(Head {
                    tid,
                    verb,
                    fields,
                    flag: Some(flag.unwrap_or(b'?')),
                });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad(format!("not a field: {line:?}")))?;
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Err(bad("too many lines in a head"))
    }

    /// Hands over the body piece by piece and returns the end line's flag.
    fn body(&mut self, tid: &str, mut piece: impl FnMut(&[u8])) -> io::Result<u8> {
        let end = format!("\r\n-------{tid}").into_bytes();
        let tail = end.len() + 3;
        loop {
            let found = find(&self.buffer, &end, 0);
            if let Some(at) = found
                && let Some(&[flag, b'\r', b'\n']) = self.buffer.get(at + end.len()..at + tail)
                && matches!(flag, b'$' | b'+' | b'#')
            {
                piece(&self.buffer[..at]);
                self.buffer.drain(..at + tail);
                return Ok(flag);
            }
            // What may be the beginning of the end line stays; the rest is body.
            let keep = match found {
                Some(at) if at + tail > self.buffer.len() => self.buffer.len() - at,
                Some(at) => {
                    piece(&self.buffer[..=at]);
                    self.buffer.drain(..=at);
                    continue;
                }
                None => end.len().min(self.buffer.len()),
            };
            let body = self.buffer.len() - keep;
            piece(&self.buffer[..body]);
            self.buffer.drain(..body);
            self.fill()?;
        }
    }
}

/// The first place at or after `from` where `needle` is.
fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    while let Some(step) = hay.get(at..)?.iter().position(|byte| *byte == first) {
        at += step;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn frame(source: &mut Source<'_>, head: Head, shared: &Shared) -> io::Result<()> {
    check_path(&head, shared);
    match head.verb.as_str() {
        "SEND" => send(source, &head, shared),
        "REPORT" => {
            report(&head, shared);
            end(source, &head).map(|_| ())
        }
        code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            response(&head, shared);
            end(source, &head).map(|_| ())
        }
        other => Err(bad(format!("unknown method {other}"))),
    }
}

fn end(source: &mut Source<'_>, head: &Head) -> io::Result<u8> {
    head.flag.map_or_else(|| source.body(&head.tid, |_| {}), Ok)
}

/// To-Path and From-Path come first and in this order (RFC 4975 §7.1), and name this session.
fn check_path(head: &Head, shared: &Shared) {
    let names: Vec<&str> = head
        .fields
        .iter()
        .take(2)
        .map(|(name, _)| name.as_str())
        .collect();
    let mut seen = shared.seen();
    if names != ["To-Path", "From-Path"] {
        seen.problems
            .push(format!("{} begins with {names:?}", head.verb));
    }
    if head.field("To-Path") != shared.own {
        seen.problems.push(format!(
            "To-Path {} isn't {}",
            head.field("To-Path"),
            shared.own
        ));
    }
    // Behind a relay, requests have come all the way and responses to SENDs one hop.
    let from = head.field("From-Path");
    let (mut came, mut way) = (from.split(' '), shared.remote.split(' '));
    let is_response = head.verb.starts_with(|first: char| first.is_ascii_digit());
    let is_right = if is_response {
        came.next_back() == way.next()
    } else {
        came.next_back() == way.next_back()
    };
    if !is_right {
        seen.problems
            .push(format!("From-Path {from} isn't {}", shared.remote));
    }
}

fn response(head: &Head, shared: &Shared) {
    let mut seen = shared.seen();
    let code = head.verb.parse().unwrap_or(0);
    if !seen.open.remove(&head.tid) {
        seen.problems.push(format!(
            "{code} for a transaction that isn't open: {}",
            head.tid
        ));
    }
    if code == 200 {
        seen.answered += 1;
    } else {
        seen.refused.push(code);
    }
}

fn report(head: &Head, shared: &Shared) {
    let status = head
        .field("Status")
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    shared.seen().reports.push(Report {
        message_id: head.field("Message-ID").to_owned(),
        status: status.unwrap_or(0),
        range: head.field("Byte-Range").to_owned(),
    });
}

/// `start-end/total`: start from 0, and what is a number of the other two.
fn range(text: &str) -> Option<(u64, Option<u64>, Option<u64>)> {
    let (ends, total) = text.split_once('/')?;
    let (start, end) = ends.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    Some((start.checked_sub(1)?, end.parse().ok(), total.parse().ok()))
}

fn send(source: &mut Source<'_>, head: &Head, shared: &Shared) -> io::Result<()> {
    let failure_report = head.field("Failure-Report");
    if head.flag.is_some() {
        shared.seen().bodiless += 1;
    } else {
        content_send(source, head, shared)?;
    }
    if matches!(failure_report, "" | "yes") {
        writer::answer(shared, &head.tid, head.field("From-Path"), "200 OK")?;
    }
    Ok(())
}

fn content_send(source: &mut Source<'_>, head: &Head, shared: &Shared) -> io::Result<()> {
    let given = head.field("Byte-Range");
    let (start, end, total) = if given.is_empty() {
        (0, None, None)
    } else {
        range(given).ok_or_else(|| bad(format!("Byte-Range {given}")))?
    };
    let id = head.field("Message-ID").to_owned();
    let seed: Option<u64> = head
        .field("Content-Type")
        .split_once("seed=")
        .and_then(|(_, seed)| seed.parse().ok());
    {
        let mut seen = shared.seen();
        let message = seen.messages.entry(id.clone()).or_default();
        message.id.clone_from(&id);
        message.content_type = head.field("Content-Type").to_owned();
        message.chunks += 1;
    }
    let mut at = start;
    let flag = source.body(&head.tid, |piece| {
        let mut seen = shared.seen();
        seen.body_bytes += piece.len() as u64;
        if let Some(message) = seen.messages.get_mut(&id) {
            take(message, seed, at, piece);
        }
        at += piece.len() as u64;
    })?;
    let mut seen = shared.seen();
    if end.is_some_and(|end| end != at) {
        seen.problems.push(format!(
            "Byte-Range {given} with {} bytes of body",
            at - start
        ));
    }
    let Some(message) = seen.messages.get_mut(&id) else {
        return Ok(());
    };
    message.total = total.or(message.total);
    match flag {
        b'$' => {
            message.finished = true;
            message.total = Some(at);
        }
        b'#' => message.aborted = true,
        _ => {}
    }
    let whole = message.is_identical();
    drop(seen);
    if whole && head.field("Success-Report") == "yes" {
        writer::report(shared, head.field("From-Path"), &id, at)?;
    }
    Ok(())
}

fn take(message: &mut Received, seed: Option<u64>, at: u64, piece: &[u8]) {
    message.coverage.add(at, at + piece.len() as u64);
    match seed {
        Some(seed) => {
            message.first_wrong = message
                .first_wrong
                .or_else(|| content::first_wrong(seed, at, piece));
        }
        None if message.text.len() + piece.len() <= TEXT_MAX => {
            message.text.extend_from_slice(piece);
        }
        None => {}
    }
}
