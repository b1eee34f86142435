//! Messages as they go out.

use super::head::{HEAD_BYTES, Head};
use super::{ErrorCode, Kind, Priority, Status};

/// Writes one message at the end of a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Begins a message; the header's payload length is filled in by [`Writer::finish`].
    #[must_use]
    pub fn begin(out: &'a mut Vec<u8>, head: &Head) -> Self {
        let start = out.len();
        head.write(out);
        Self { out, start }
    }

    /// Begins attributes without a header, for [`Writer::raw`].
    #[must_use]
    pub fn payload(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Attributes that were written before.
    pub fn raw(&mut self, attributes: &[u8]) {
        self.out.extend_from_slice(attributes);
    }

    /// BENEFICIARY-ID, FLOOR-ID or FLOOR-REQUEST-ID.
    pub fn number(&mut self, kind: Kind, number: u16) {
        self.octets(kind, &number.to_be_bytes());
    }

    /// PRIORITY.
    pub fn priority(&mut self, priority: Priority) {
        self.octets(Kind::Priority, &[priority.number().wrapping_shl(5), 0]);
    }

    /// REQUEST-STATUS, with the place in the queue or 0.
    pub fn request_status(&mut self, status: Status, position: u8) {
        self.octets(Kind::RequestStatus, &[status.number(), position]);
    }

    /// ERROR-CODE.
    pub fn error(&mut self, code: ErrorCode, details: &[u8]) {
        let mut value = vec![code.number()];
        value.extend_from_slice(details);
        self.octets(Kind::ErrorCode, &value);
    }

    /// SUPPORTED-ATTRIBUTES: all that there are.
    pub fn supported_attributes(&mut self, kinds: &[Kind]) {
        let octets: Vec<u8> = kinds.iter().map(|kind| kind.number() << 1).collect();
        self.octets(Kind::SupportedAttributes, &octets);
    }

    /// Any attribute whose value is octets: texts, SUPPORTED-PRIMITIVES. What is longer than an
    /// attribute can be is cut.
    pub fn octets(&mut self, kind: Kind, value: &[u8]) {
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        self.out.push(kind.number() << 1);
        // Two octets of header; what follows is at most 253.
        let length = value.len().saturating_add(ATTRIBUTE_HEAD_BYTES);
        self.out.push(u8::try_from(length).unwrap_or(u8::MAX));
        self.out.extend_from_slice(value);
        self.pad();
    }

    /// A grouped attribute: its number, and what `write` puts into it; false, and nothing is
    /// written, where that is more than an attribute can have.
    pub fn group(&mut self, kind: Kind, id: u16, write: impl FnOnce(&mut Writer<'_>)) -> bool {
        let start = self.out.len();
        self.out.extend_from_slice(&[kind.number() << 1, 0]);
        self.out.extend_from_slice(&id.to_be_bytes());
        let mut inner = Writer {
            out: self.out,
            start: self.start,
        };
        write(&mut inner);
        let length = u8::try_from(self.out.len().saturating_sub(start)).ok();
        let place = self.out.get_mut(start.saturating_add(1));
        if let (Some(length), Some(place)) = (length, place) {
            *place = length;
            return true;
        }
        self.out.truncate(start);
        false
    }

    /// Fills in the header's payload length.
    pub fn finish(self) {
        let length = self.out.len().saturating_sub(self.start);
        let words = length.saturating_sub(HEAD_BYTES) / 4;
        let words = u16::try_from(words).unwrap_or(u16::MAX).to_be_bytes();
        let from = self.start.saturating_add(LENGTH_AT);
        let to = from.saturating_add(words.len());
        if let Some(place) = self.out.get_mut(from..to) {
            place.copy_from_slice(&words);
        }
    }

    fn pad(&mut self) {
        let length = self.out.len().saturating_sub(self.start);
        let padded = length.next_multiple_of(4);
        self.out.resize(self.start.saturating_add(padded), 0);
    }
}

const ATTRIBUTE_HEAD_BYTES: usize = 2;
const VALUE_BYTES_MAX: usize = 253;
const LENGTH_AT: usize = 2;
