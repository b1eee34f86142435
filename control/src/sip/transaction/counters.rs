//! What the SIP layer counts.

use crate::sip::{Message, Method, StartLine};

/// Counters of the SIP layer; plain numbers that only grow.
#[derive(Clone, Debug, Default)]
pub struct SipCounters {
    /// Requests received, by method, repeats left out.
    pub requests_in: ByMethod,
    /// Requests sent, by method, repeats left out.
    pub requests_out: ByMethod,
    /// Responses received, by code.
    pub responses_in: ByCode,
    /// Responses sent, by code, repeats left out.
    pub responses_out: ByCode,
    /// Requests that came again and were answered or absorbed here.
    pub retransmissions_in: u64,
    /// Messages sent again.
    pub retransmissions_out: u64,
    /// Packets that were no SIP message, or broke its grammar.
    pub malformed: u64,
    /// Packets of nothing but line ends.
    pub keep_alives: u64,
    /// Requests refused with 503 because the table was full.
    pub refused: u64,
    /// Responses that belong to no transaction.
    pub stray_responses: u64,
    /// CANCELs that belong to no transaction.
    pub stray_cancels: u64,
    /// Client transactions that ended without a final response.
    pub timeouts: u64,
    /// Client transactions that ended because the transport failed.
    pub transport_failures: u64,
    /// 2xx responses to INVITE for which no ACK came.
    pub acks_missing: u64,
}

impl SipCounters {
    pub(super) fn sent(&mut self, message: &Message) {
        match &message.start {
            StartLine::Request { method, .. } => self.requests_out.add(method),
            StartLine::Response { code, .. } => self.responses_out.add(*code),
        }
    }
}

/// A number for each known method, and one for all others.
#[derive(Clone, Debug, Default)]
pub struct ByMethod([u64; Method::KNOWN.len() + 1]);

impl ByMethod {
    pub(super) fn add(&mut self, method: &Method) {
        let known = Method::KNOWN.iter().position(|known| known == method);
        if let Some(count) = self.0.get_mut(known.unwrap_or(Method::KNOWN.len())) {
            *count += 1;
        }
    }

    /// The number of one method; of all unknown ones together for `Other`.
    #[must_use]
    pub fn of(&self, method: &Method) -> u64 {
        let known = Method::KNOWN.iter().position(|known| known == method);
        self.0
            .get(known.unwrap_or(Method::KNOWN.len()))
            .copied()
            .unwrap_or(0)
    }

    /// Label and number of each; the last is `other`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const LABELS: [&str; Method::KNOWN.len() + 1] = [
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "UPDATE",
            "PRACK",
            "OPTIONS",
            "INFO",
            "MESSAGE",
            "REGISTER",
            "SUBSCRIBE",
            "NOTIFY",
            "REFER",
            "PUBLISH",
            "other",
        ];
        LABELS.into_iter().zip(self.0)
    }
}

/// A number for each status code.
#[derive(Clone, Debug)]
pub struct ByCode(Box<[u64]>);

impl Default for ByCode {
    fn default() -> Self {
        Self(vec![0; 600].into())
    }
}

impl ByCode {
    pub(super) fn add(&mut self, code: u16) {
        let at = usize::from(code).wrapping_sub(100);
        if let Some(count) = self.0.get_mut(at) {
            *count += 1;
        }
    }

    /// The number of one code.
    #[must_use]
    pub fn of(&self, code: u16) -> u64 {
        self.0
            .get(usize::from(code).wrapping_sub(100))
            .copied()
            .unwrap_or(0)
    }

    /// Code and number, of those that were seen.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        (100..)
            .zip(self.0.iter().copied())
            .filter(|(_, count)| *count > 0)
    }
}
