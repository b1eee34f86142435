//! Messages that are longer than a datagram: cut, and joined again (RFC 8855 §6.2.3).

use super::head::{Fragment, HEAD_BYTES, HEAD_FRAGMENT_BYTES, Head, bytes};
use crate::limits::{BFCP_DATAGRAM_BYTES, BFCP_FRAGMENTS, BFCP_MESSAGE_BYTES};

/// The datagrams of a message, one after the other.
#[derive(Debug, Clone)]
pub struct Fragments<'a> {
    message: &'a [u8],
    head: Head,
    rest: &'a [u8],
    offset: u16,
    is_whole: bool,
}

/// Cuts a message, as [`Writer::finish`](super::Writer::finish) leaves it, into datagrams of at most
/// `limits::BFCP_DATAGRAM_BYTES`; `None` where it isn't one.
#[must_use]
pub fn fragments(message: &[u8]) -> Option<Fragments<'_>> {
    let (head, rest) = Head::of_datagram(message).ok()?;
    Some(Fragments {
        message,
        head,
        rest,
        offset: 0,
        is_whole: message.len() <= BFCP_DATAGRAM_BYTES,
    })
}

impl Fragments<'_> {
    /// Writes the next datagram into `out`, which is emptied before; false: there is none left.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.is_whole {
            out.extend_from_slice(self.message);
            self.is_whole = false;
            self.rest = &[];
            return true;
        }
        if self.rest.is_empty() {
            return false;
        }
        let words = bytes(WORDS_PER_FRAGMENT).min(self.rest.len());
        let (part, rest) = self.rest.split_at(words);
        let words = u16::try_from(part.len() / 4).unwrap_or(WORDS_PER_FRAGMENT);
        let fragment = Fragment {
            offset: self.offset,
            words,
        };
        let head = Head {
            fragment: Some(fragment),
            ..self.head
        };
        head.write(out);
        out.extend_from_slice(part);
        self.offset = self.offset.saturating_add(words);
        self.rest = rest;
        true
    }
}

/// Joins the fragments of one message; those of another one take its place.
#[derive(Debug, Default)]
pub struct Reassembly {
    message: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    head: Head,
    octets: Box<[u8]>,
    got: Vec<Fragment>,
}

/// What has become of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// Others are missing.
    Waiting,
    /// The message is whole.
    Whole(Head, Box<[u8]>),
    /// It overlaps others, or there are too many, or the message is longer than is taken.
    Refused,
}

impl Reassembly {
    /// Takes a fragment.
    pub fn add(&mut self, head: Head, part: &[u8]) -> Joined {
        let Some(fragment) = head.fragment else {
            return Joined::Refused;
        };
        if head.payload_bytes() > BFCP_MESSAGE_BYTES {
            return Joined::Refused;
        }
        let whole = Head {
            fragment: None,
            ..head
        };
        let known = self.message.take().filter(|partial| partial.head == whole);
        let mut partial = known.unwrap_or_else(|| Partial {
            head: whole,
            octets: vec![0; whole.payload_bytes()].into_boxed_slice(),
            got: Vec::new(),
        });
        match partial.add(fragment, part) {
            None => Joined::Refused,
            Some(true) => Joined::Whole(whole, partial.octets),
            Some(false) => {
                self.message = Some(partial);
                Joined::Waiting
            }
        }
    }

    /// Whether a message waits for fragments.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.message.is_some()
    }

    /// Gives up what isn't whole.
    pub fn clear(&mut self) {
        self.message = None;
    }
}

impl Partial {
    /// Whether the message is whole with it; `None`: it can't be a part of it.
    fn add(&mut self, fragment: Fragment, part: &[u8]) -> Option<bool> {
        if self.got.contains(&fragment) {
            return Some(false);
        }
        let end = |fragment: &Fragment| fragment.offset.saturating_add(fragment.words);
        let mut got = self.got.iter();
        let overlaps =
            got.any(|other| fragment.offset < end(other) && other.offset < end(&fragment));
        if overlaps || self.got.len() >= BFCP_FRAGMENTS {
            return None;
        }
        let from = bytes(fragment.offset);
        let to = from.checked_add(part.len())?;
        self.octets.get_mut(from..to)?.copy_from_slice(part);
        self.got.push(fragment);
        let words = self.got.iter().map(|got| usize::from(got.words));
        Some(words.sum::<usize>() == usize::from(self.head.payload_words))
    }
}

/// Words that fit into a datagram beside a fragment's header.
const WORDS_PER_FRAGMENT: u16 = 296;

const _: () = assert!(HEAD_FRAGMENT_BYTES + WORDS_PER_FRAGMENT as usize * 4 <= BFCP_DATAGRAM_BYTES);
const _: () = assert!(HEAD_BYTES < HEAD_FRAGMENT_BYTES);
