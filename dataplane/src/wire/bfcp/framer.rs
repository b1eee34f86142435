//! Cuts a connection's octets into messages, however they arrive (RFC 8855 §6.1).

use super::head::{HEAD_BYTES, Head};
use crate::limits::BFCP_MESSAGE_BYTES;

/// What a stream holds next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole message: its header and its attributes' octets.
    Message(Head, &'a [u8]),
    /// A message that is longer than is taken. There is no way on from it: it is to be answered
    /// with an Error, and the connection closed.
    TooLong(Head),
}

/// The state of one connection's framing.
#[derive(Debug, Default)]
pub struct Framer {
    /// A message that isn't whole, or one that was handed out.
    gathered: Vec<u8>,
    is_handed_out: bool,
}

impl Framer {
    /// Takes octets from the front of `octets` until a message is whole; `None`: all are taken.
    pub fn next<'a, 'o: 'a>(&'a mut self, octets: &mut &'o [u8]) -> Option<Step<'a>> {
        if self.is_handed_out {
            self.gathered.clear();
            self.is_handed_out = false;
        }
        if self.gathered.is_empty() {
            match Head::of_stream(octets) {
                Some(head) if is_too_long(&head) => return Some(Step::TooLong(head)),
                Some(head) => {
                    if let Some((message, rest)) = octets.split_at_checked(message_bytes(&head)) {
                        *octets = rest;
                        return message
                            .get(HEAD_BYTES..)
                            .map(|payload| Step::Message(head, payload));
                    }
                }
                None => {}
            }
        }
        self.gather(octets)
    }

    /// Whether a message has begun and isn't whole.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.gathered.is_empty() && !self.is_handed_out
    }

    fn gather(&mut self, octets: &mut &[u8]) -> Option<Step<'_>> {
        self.fill(octets, HEAD_BYTES);
        let head = Head::of_stream(&self.gathered)?;
        if is_too_long(&head) {
            return Some(Step::TooLong(head));
        }
        let whole = message_bytes(&head);
        self.fill(octets, whole);
        if self.gathered.len() < whole {
            return None;
        }
        self.is_handed_out = true;
        let payload = self.gathered.get(HEAD_BYTES..)?;
        Some(Step::Message(head, payload))
    }

    /// Takes octets until there are `wanted`.
    fn fill(&mut self, octets: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.gathered.len());
        let (front, rest) = octets.split_at(missing.min(octets.len()));
        self.gathered.extend_from_slice(front);
        *octets = rest;
    }
}

fn message_bytes(head: &Head) -> usize {
    HEAD_BYTES.saturating_add(head.payload_bytes())
}

fn is_too_long(head: &Head) -> bool {
    message_bytes(head) > BFCP_MESSAGE_BYTES
}
