//! A client without sockets: what it says, and what it makes of what it hears.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Attribute, Message, attribute, primitive};

/// A client of one conference.
#[derive(Debug)]
pub struct Client {
    /// The conference it is in.
    pub conference: u32,
    /// Its user identifier.
    pub user: u16,
    is_udp: bool,
    last: u16,
    /// Octets of a stream that aren't a message yet.
    gathered: Vec<u8>,
    /// Fragments by transaction and primitive: offset and words of each.
    parts: BTreeMap<(u16, u8), BTreeMap<u16, Vec<u8>>>,
    /// What it has sent and is owed an answer to: only over UDP.
    open: Option<Open>,
    /// The server's transactions that it has seen, so that what comes again is only acknowledged.
    seen: Vec<(u16, u8)>,
}

#[derive(Debug)]
struct Open {
    transaction: u16,
    octets: Vec<u8>,
    resends: u32,
    due: Instant,
}

/// What came of octets that were heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages, each once.
    pub messages: Vec<Message>,
    /// What is to be sent back: acknowledgements.
    pub replies: Vec<Vec<u8>>,
}

impl Client {
    /// Makes a client that has said nothing yet.
    #[must_use]
    pub fn new(conference: u32, user: u16, is_udp: bool) -> Self {
        Self {
            conference,
            user,
            is_udp,
            last: user.wrapping_mul(100),
            gathered: Vec::new(),
            parts: BTreeMap::new(),
            open: None,
            seen: Vec::new(),
        }
    }

    /// A message of its own, with the next transaction.
    pub fn message(&mut self, primitive: u8, attributes: Vec<Attribute>) -> Message {
        self.last = self.last.wrapping_add(1).max(1);
        Message {
            version: if self.is_udp { 2 } else { 1 },
            is_response: false,
            primitive,
            conference: self.conference,
            transaction: self.last,
            user: self.user,
            attributes,
        }
    }

    /// Sends a message: its transaction and its octets. Over UDP it is sent again until it is
    /// answered, and nothing else may be sent meanwhile.
    ///
    /// # Panics
    ///
    /// When it waits for an answer over UDP.
    pub fn say(
        &mut self,
        primitive: u8,
        attributes: Vec<Attribute>,
        now: Instant,
    ) -> (u16, Vec<u8>) {
        assert!(self.is_free(), "one transaction at a time");
        let message = self.message(primitive, attributes);
        let octets = message.encode();
        if self.is_udp {
            self.open = Some(Open {
                transaction: message.transaction,
                octets: octets.clone(),
                resends: 0,
                due: now + T1,
            });
        }
        (message.transaction, octets)
    }

    /// Asks for floors.
    pub fn ask(&mut self, floors: &[u16], priority: u8, now: Instant) -> (u16, Vec<u8>) {
        let mut attributes: Vec<Attribute> = floors
            .iter()
            .map(|floor| Attribute::number(attribute::FLOOR_ID, *floor))
            .collect();
        attributes.push(Attribute::octets(attribute::PRIORITY, &[priority << 5, 0]));
        self.say(primitive::FLOOR_REQUEST, attributes, now)
    }

    /// Gives them back.
    pub fn give_back(&mut self, request: u16, now: Instant) -> (u16, Vec<u8>) {
        let attributes = vec![Attribute::number(attribute::FLOOR_REQUEST_ID, request)];
        self.say(primitive::FLOOR_RELEASE, attributes, now)
    }

    /// Wants to be told of floors.
    pub fn watch(&mut self, floors: &[u16], now: Instant) -> (u16, Vec<u8>) {
        let floors = floors.iter();
        let attributes = floors.map(|floor| Attribute::number(attribute::FLOOR_ID, *floor));
        self.say(primitive::FLOOR_QUERY, attributes.collect(), now)
    }

    /// Decides, as a chair, on a request for one floor.
    pub fn decide(
        &mut self,
        request: u16,
        (floor, status, position): (u16, u8, u8),
        now: Instant,
    ) -> (u16, Vec<u8>) {
        let inside = vec![Attribute::octets(
            attribute::REQUEST_STATUS,
            &[status, position],
        )];
        let floor = Attribute::group(attribute::FLOOR_REQUEST_STATUS, floor, inside);
        let request = Attribute::group(attribute::FLOOR_REQUEST_INFORMATION, request, vec![floor]);
        self.say(primitive::CHAIR_ACTION, vec![request], now)
    }

    /// Whether it may begin a transaction.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.open.is_none()
    }

    /// When it sends again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.due)
    }

    /// What it sends again now.
    ///
    /// # Panics
    ///
    /// When it got no answer for too long.
    pub fn resend(&mut self, now: Instant) -> Option<Vec<u8>> {
        let open = self.open.as_mut().filter(|open| open.due <= now)?;
        open.resends += 1;
        assert!(open.resends < 20, "user {} gets no answer", self.user);
        // Without doubling: all repeats come before the server forgets its answer (T2, 10 s).
        open.due = now + T1;
        Some(open.octets.clone())
    }

    /// Takes octets of the connection, or a datagram.
    ///
    /// # Panics
    ///
    /// When they aren't as RFC 8855 wants them.
    pub fn hear(&mut self, octets: &[u8]) -> Heard {
        let mut heard = Heard::default();
        if self.is_udp {
            if let Some(whole) = self.join(octets) {
                self.take(&whole, &mut heard);
            }
            return heard;
        }
        self.gathered.extend_from_slice(octets);
        while let Some(length) = Message::length(&self.gathered)
            && length <= self.gathered.len()
        {
            let whole: Vec<u8> = self.gathered.drain(..length).collect();
            self.take(&whole, &mut heard);
        }
        heard
    }

    /// A whole message, once all of its fragments are there.
    fn join(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        assert!(
            datagram.len() <= 1280,
            "a datagram of {} octets",
            datagram.len()
        );
        if datagram[0] & 0x08 == 0 {
            return Some(datagram.to_vec());
        }
        let long = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        let (offset, words) = (long(12), long(14));
        assert_eq!(datagram.len(), 16 + 4 * usize::from(words));
        let name = (long(8), datagram[1]);
        let parts = self.parts.entry(name).or_default();
        parts.insert(offset, datagram[16..].to_vec());
        let payload: Vec<u8> = parts.values().flatten().copied().collect();
        if payload.len() < 4 * usize::from(long(2)) {
            return None;
        }
        self.parts.remove(&name);
        let mut whole = datagram[..12].to_vec();
        whole[0] &= !0x08;
        whole.extend_from_slice(&payload);
        Some(whole)
    }

    fn take(&mut self, octets: &[u8], heard: &mut Heard) {
        let message = Message::decode(octets).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(message.version, if self.is_udp { 2 } else { 1 });
        if !self.is_udp {
            assert!(!message.is_response, "R says nothing over TCP");
            heard.messages.push(message);
            return;
        }
        if message.is_response {
            let is_it = |open: &mut Open| open.transaction == message.transaction;
            // What answers nothing that is open answers what came again.
            if self.open.take_if(is_it).is_some() {
                heard.messages.push(message);
            }
            return;
        }
        let ack = match message.primitive {
            primitive::FLOOR_REQUEST_STATUS => primitive::FLOOR_REQUEST_STATUS_ACK,
            primitive::FLOOR_STATUS => primitive::FLOOR_STATUS_ACK,
            primitive::GOODBYE => primitive::GOODBYE_ACK,
            other => panic!("a server doesn't begin with {other}"),
        };
        assert_ne!(message.transaction, 0, "transactions over UDP aren't 0");
        heard.replies.push(
            Message {
                primitive: ack,
                is_response: true,
                attributes: Vec::new(),
                ..message
            }
            .encode(),
        );
        let name = (message.transaction, message.primitive);
        if !self.seen.contains(&name) {
            self.seen.push(name);
            heard.messages.push(message);
        }
    }
}

/// RFC 8855 §8.3.3.
const T1: Duration = Duration::from_millis(500);
