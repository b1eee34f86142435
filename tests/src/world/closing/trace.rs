//! What was sent in a session, by whom, and what became of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::world::text::{header, param};

/// A SIP message that was sent.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, since the world began.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// The message.
    pub text: String,
    /// When it arrived first; never where it was lost.
    pub arrived: Option<Duration>,
    /// The media sockets that its sender had open then.
    pub media_open: usize,
}

impl Entry {
    /// The request's method; empty for a response.
    #[must_use]
    pub fn method(&self) -> &str {
        match self.code() {
            0 => self.text.split(' ').next().unwrap_or(""),
            _ => "",
        }
    }

    /// The response's code; 0 for a request.
    #[must_use]
    pub fn code(&self) -> u16 {
        let code = self.text.strip_prefix("SIP/2.0 ");
        code.and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or(0)
    }

    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        header(&self.text, name)
    }

    /// Branch and CSeq: what a request and its responses have in common.
    #[must_use]
    pub fn transaction(&self) -> (&str, &str) {
        (param(self.header("Via"), "branch"), self.header("CSeq"))
    }

    /// Whether it is a response to `request`.
    #[must_use]
    pub fn answers(&self, request: &Self) -> bool {
        self.code() > 0 && self.from == request.to && self.transaction() == request.transaction()
    }

    /// Whether it is a final response to a request with this method.
    #[must_use]
    pub fn is_final_of(&self, method: &str) -> bool {
        self.code() >= 200 && self.header("CSeq").ends_with(&format!(" {method}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.text.split("\r\n").next().unwrap_or("");
        let (branch, cseq) = self.transaction();
        let tail = |text: &str| text.get(text.len().saturating_sub(6)..).map(str::to_owned);
        write!(
            f,
            "{:>9.3} {} -> {} {first} | {cseq} {} call {} open {}",
            self.at.as_secs_f64(),
            self.from.ip(),
            self.to.ip(),
            tail(branch).unwrap_or_default(),
            tail(self.header("Call-ID").split('@').next().unwrap_or("")).unwrap_or_default(),
            self.media_open,
        )?;
        if self.arrived.is_none() {
            write!(f, " LOST")?;
        }
        Ok(())
    }
}

/// Everything that was sent.
#[derive(Debug, Default)]
pub struct Trace {
    /// In the order in which it was sent.
    pub entries: Vec<Entry>,
}

impl Trace {
    /// Requests with this method, each transaction once: the first time it was sent.
    pub fn requests<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(move |(at, entry)| {
                let again = self.entries[..at].iter().any(|before| {
                    before.method() == method
                        && before.from == entry.from
                        && before.transaction() == entry.transaction()
                });
                (entry.method() == method && !again).then_some(entry)
            })
    }

    /// When a request first arrived, whichever time it was sent.
    #[must_use]
    pub fn arrival(&self, request: &Entry) -> Option<Duration> {
        self.entries
            .iter()
            .filter(|entry| {
                entry.method() == request.method()
                    && entry.from == request.from
                    && entry.transaction() == request.transaction()
            })
            .filter_map(|entry| entry.arrived)
            .min()
    }

    /// The final responses to a request that arrived at its sender's, earliest first.
    #[must_use]
    pub fn finals(&self, request: &Entry) -> Vec<&Entry> {
        let mut finals: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.code() >= 200 && entry.answers(request))
            .collect();
        finals.sort_by_key(|entry| entry.arrived.unwrap_or(Duration::MAX));
        finals
    }

    /// What an entity sent.
    pub fn sent_by(&self, ip: IpAddr) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.from.ip() == ip)
    }

    pub(super) fn note(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len() - 1
    }

    pub(super) fn arrived(&mut self, number: usize, since: Instant, now: Instant) {
        if let Some(entry) = self.entries.get_mut(number) {
            entry.arrived.get_or_insert(now - since);
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries
            .iter()
            .try_for_each(|entry| writeln!(f, "{entry}"))
    }
}
