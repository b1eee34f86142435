//! What a peer puts on the wire.

use std::io::{self, Write as _};
use std::mem::take;
use std::net::TcpStream;
use std::sync::{MutexGuard, PoisonError};

use super::Shared;
use crate::peers::{content, identifier};

/// Bytes written at once while a chunk goes out.
const SLICE: u64 = 64 * 1024;
/// A chunk above this must be interruptible: its range ends in `*` (RFC 4975 §7.1.1).
const NUMERIC_MAX: u64 = 2048;

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its length in bytes.
    pub bytes: u64,
    /// What its content follows from; `None`: the text.
    pub seed: Option<u64>,
    /// The text, when there is no seed.
    pub text: String,
    /// The text's Content-Type.
    pub kind: &'static str,
    /// The length of a chunk in bytes; at or above `bytes`: one chunk.
    pub chunk: u64,
    /// Asks for a success report.
    pub success_report: bool,
    /// `yes`, `partial` or `no`.
    pub failure_report: &'static str,
}

impl Outgoing {
    /// A file whose content follows from `seed`, in chunks of `chunk` bytes.
    #[must_use]
    pub const fn file(bytes: u64, seed: u64, chunk: u64) -> Self {
        Self {
            bytes,
            seed: Some(seed),
            text: String::new(),
            kind: "",
            chunk,
            success_report: false,
            failure_report: "yes",
        }
    }

    /// A short text in one chunk.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self {
            bytes: text.len() as u64,
            seed: None,
            text: text.to_owned(),
            kind: "text/plain",
            chunk: NUMERIC_MAX,
            success_report: false,
            failure_report: "yes",
        }
    }

    /// A text in CPIM (RFC 3862) from somebody to somebody.
    #[must_use]
    pub fn cpim(from: &str, to: &str, text: &str) -> Self {
        let text = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nDateTime: 2026-11-21T12:00:00Z\r\n\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{text}"
        );
        Self {
            kind: "message/cpim",
            ..Self::text(&text)
        }
    }

    /// Asks for a success report.
    #[must_use]
    pub const fn with_success_report(mut self) -> Self {
        self.success_report = true;
        self
    }
}

fn stream(shared: &Shared) -> MutexGuard<'_, TcpStream> {
    shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(shared: &Shared, transaction: &str) {
    shared.seen().open.insert(transaction.to_owned());
}

pub(super) fn raw(shared: &Shared, bytes: &[u8]) -> io::Result<()> {
    stream(shared).write_all(bytes)?;
    flush(shared)
}

/// Queues bytes of the reading thread, which must never wait for a sender: two peers that both
/// send and both wait to answer would wait for ever.
fn queue(shared: &Shared, bytes: &[u8]) -> io::Result<()> {
    shared
        .pending
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend_from_slice(bytes);
    flush(shared)
}

/// Writes what is queued, unless a sender has the stream: it calls this when it lets go.
fn flush(shared: &Shared) -> io::Result<()> {
    loop {
        if shared
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
        {
            return Ok(());
        }
        let Ok(mut stream) = shared.writer.try_lock() else {
            return Ok(());
        };
        let due = take(
            &mut *shared
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        stream.write_all(&due)?;
    }
}

pub(super) fn bodiless(shared: &Shared) -> io::Result<()> {
    let tid = identifier();
    open(shared, &tid);
    let text = format!(
        "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {}\r\n-------{tid}$\r\n",
        shared.remote,
        shared.own,
        identifier()
    );
    raw(shared, text.as_bytes())
}

/// Asks for a nickname (RFC 7701 §7.1).
pub(super) fn nickname(shared: &Shared, name: &str) -> io::Result<()> {
    let tid = identifier();
    open(shared, &tid);
    let text = format!(
        "MSRP {tid} NICKNAME\r\nTo-Path: {}\r\nFrom-Path: {}\r\nUse-Nickname: \"{name}\"\r\n\
         -------{tid}$\r\n",
        shared.remote, shared.own
    );
    raw(shared, text.as_bytes())
}

pub(super) fn send(shared: &Shared, message: &Outgoing) -> io::Result<String> {
    let id = identifier();
    let mut at = 0;
    loop {
        let length = message.chunk.min(message.bytes - at);
        chunk(shared, message, &id, (at, length))?;
        at += length;
        if at >= message.bytes {
            return Ok(id);
        }
    }
}

fn chunk(shared: &Shared, message: &Outgoing, id: &str, at: (u64, u64)) -> io::Result<()> {
    let (start, length) = at;
    let tid = identifier();
    if message.failure_report == "yes" {
        open(shared, &tid);
    }
    let end = match length {
        0..=NUMERIC_MAX => (start + length).to_string(),
        _ => "*".to_owned(),
    };
    let kind = message.seed.map_or_else(
        || message.kind.to_owned(),
        |seed| format!("application/octet-stream;seed={seed}"),
    );
    let mut head = format!(
        "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {id}\r\n\
         Byte-Range: {}-{end}/{}\r\n",
        shared.remote,
        shared.own,
        start + 1,
        message.bytes
    );
    if message.success_report {
        head.push_str("Success-Report: yes\r\n");
    }
    if message.failure_report != "yes" {
        head.push_str(&format!("Failure-Report: {}\r\n", message.failure_report));
    }
    head.push_str(&format!("Content-Type: {kind}\r\n\r\n"));
    let flag = if start + length == message.bytes {
        '$'
    } else {
        '+'
    };
    let mut stream = stream(shared);
    stream.write_all(head.as_bytes())?;
    body(&mut stream, message, (start, length))?;
    stream.write_all(format!("\r\n-------{tid}{flag}\r\n").as_bytes())?;
    drop(stream);
    flush(shared)
}

fn body(stream: &mut TcpStream, message: &Outgoing, at: (u64, u64)) -> io::Result<()> {
    let (start, length) = at;
    let Some(seed) = message.seed else {
        return stream.write_all(message.text.as_bytes());
    };
    let mut slice = Vec::new();
    let mut written = 0;
    while written < length {
        let count = SLICE.min(length - written);
        slice.resize(usize::try_from(count).unwrap_or(0), 0);
        content::fill(seed, start + written, &mut slice);
        stream.write_all(&slice)?;
        written += count;
    }
    Ok(())
}

/// Answers a request: to the first URI of its From-Path (RFC 4975 §7.2).
pub(super) fn answer(shared: &Shared, tid: &str, from_path: &str, status: &str) -> io::Result<()> {
    let to = from_path.split(' ').next().unwrap_or("");
    let text = format!(
        "MSRP {tid} {status}\r\nTo-Path: {to}\r\nFrom-Path: {}\r\n-------{tid}$\r\n",
        shared.own
    );
    queue(shared, text.as_bytes())
}

/// Reports that a whole message has arrived (RFC 4975 §7.1.2).
pub(super) fn report(shared: &Shared, from_path: &str, id: &str, total: u64) -> io::Result<()> {
    let tid = identifier();
    let text = format!(
        "MSRP {tid} REPORT\r\nTo-Path: {from_path}\r\nFrom-Path: {}\r\nMessage-ID: {id}\r\n\
         Byte-Range: 1-{total}/{total}\r\nStatus: 000 200 OK\r\n-------{tid}$\r\n",
        shared.own
    );
    queue(shared, text.as_bytes())
}
