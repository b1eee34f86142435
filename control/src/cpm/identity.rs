//! Who a request is from and whom it serves: what the trusted core asserts, else what the policy
//! makes of requests that nobody vouches for (IDN-01; RFC 3325).
//!
//! What an untrusted peer says of identities is taken off where the request comes in, so that
//! everything behind may believe what it reads.

use std::net::IpAddr;

use crate::config::Who;
use crate::limits;
use crate::sip::{Message, Method, Name, NameAddr};

/// What becomes of a request that nobody has asserted an identity for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoIdentity {
    /// Its From counts.
    #[default]
    From,
    /// 403.
    Refuse,
}

/// Whose word on identities counts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Peers whose assertions are believed; empty: all.
    pub peers: Vec<Who>,
    /// What becomes of requests without an asserted identity.
    pub without: NoIdentity,
}

impl Trust {
    /// Takes off what only a trusted peer may say, where `from` is none (RFC 3325 §5, RFC 6050
    /// §4.2, RFC 7315 §6).
    pub fn clear(&self, message: &mut Message, from: IpAddr) {
        let is_trusted = self.peers.is_empty() || self.peers.iter().any(|who| who.is(from, ""));
        if is_trusted {
            return;
        }
        for name in OF_THE_TRUSTED {
            message.headers.remove(*name);
        }
    }

    /// Whether a request that begins something is refused, as nobody has asserted who sent it.
    #[must_use]
    pub fn refuses(&self, request: &Message) -> bool {
        let begins = matches!(
            request.method(),
            Some(Method::Invite | Method::Message | Method::Refer)
        );
        self.without == NoIdentity::Refuse && begins && asserted(request).next().is_none()
    }
}

/// Who sent a request: the asserted address, else that of From.
#[must_use]
pub fn caller(request: &Message) -> Option<&str> {
    let is_asserted = request.headers.get(Name::PAssertedIdentity).is_some();
    let from = from(request).filter(|_| !is_asserted);
    asserted(request).next().or(from)
}

/// The addresses of the user that a PF-O serves: as the core names it (P-Served-User, RFC 5502),
/// else as it was asserted, else From's.
pub fn calling(request: &Message) -> impl Iterator<Item = &str> {
    let served = served_user(request);
    let asserted = asserted(request).filter(move |_| served.is_none());
    let is_known = served.is_some() || request.headers.get(Name::PAssertedIdentity).is_some();
    let from = from(request).filter(|_| !is_known);
    served.into_iter().chain(asserted).chain(from)
}

/// The addresses of the user that a PF-T serves: as the core names it, else as it was called.
pub fn called(request: &Message) -> impl Iterator<Item = &str> {
    let served = served_user(request);
    let uri = request.request_uri().filter(|_| served.is_none());
    served.into_iter().chain(uri)
}

/// The asserted addresses: at most a SIP and a TEL URI (RFC 3325 §9.1).
fn asserted(request: &Message) -> impl Iterator<Item = &str> {
    request
        .headers
        .values(Name::PAssertedIdentity)
        .filter_map(address)
        .take(ASSERTED_MAX)
}

fn served_user(request: &Message) -> Option<&str> {
    request.headers.get(Name::PServedUser).and_then(address)
}

fn from(request: &Message) -> Option<&str> {
    request.headers.get(Name::From).and_then(address)
}

/// The URI of a header field's value; one that is too long to be somebody's is nobody's.
fn address(value: &str) -> Option<&str> {
    let uri = NameAddr::parse(value).ok()?.uri;
    (uri.len() <= limits::ADDRESS_BYTES).then_some(uri)
}

/// Header fields that mean something only among those who trust one another.
const OF_THE_TRUSTED: &[Name] = &[
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::PAssertedService,
    Name::PServedUser,
    Name::PChargingVector,
    Name::PChargingFunctionAddresses,
];

/// RFC 3325 §9.1: there may be one or two.
const ASSERTED_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(lines: &[(Name, &str)]) -> Message {
        let mut invite = Message::request(Method::Invite, "sip:bob@home.example");
        invite.headers.push(Name::From, "<sip:evil@x>;tag=1");
        for (name, value) in lines {
            invite.headers.push(*name, (*value).to_owned());
        }
        invite
    }

    fn all<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        addresses.collect()
    }

    #[test]
    fn the_core_names_whom_a_request_serves_before_the_caller_does() {
        let both = "\"A\" <sip:a@home.example>, <tel:+1555>";
        let asserted = invite(&[(Name::PAssertedIdentity, both)]);
        let two = ["sip:a@home.example", "tel:+1555"];
        assert_eq!(all(calling(&asserted)), two);
        assert_eq!(caller(&asserted), Some(two[0]));
        assert_eq!(all(calling(&invite(&[]))), ["sip:evil@x"]);
        assert_eq!(all(called(&asserted)), ["sip:bob@home.example"]);
        let served = invite(&[
            (Name::PAssertedIdentity, both),
            (Name::PServedUser, "<sip:c@home.example>;sescase=orig"),
        ]);
        assert_eq!(all(calling(&served)), ["sip:c@home.example"]);
        assert_eq!(all(called(&served)), ["sip:c@home.example"]);
    }

    #[test]
    fn idn_01_what_a_stranger_asserts_is_taken_off() {
        let trust = Trust {
            peers: vec![Who::try_from("192.0.2.0/24".to_owned()).unwrap()],
            without: NoIdentity::Refuse,
        };
        let lines = [
            (Name::PAssertedIdentity, "<sip:a@x>"),
            (Name::PPreferredIdentity, "<sip:a@x>"),
        ];
        let mut message = invite(&lines);
        trust.clear(&mut message, "192.0.2.9".parse().unwrap());
        assert!(!trust.refuses(&message));
        assert!(message.headers.get(Name::PPreferredIdentity).is_some());
        trust.clear(&mut message, "192.0.3.9".parse().unwrap());
        assert!(trust.refuses(&message));
        assert!(message.headers.get(Name::PPreferredIdentity).is_none());
        assert_eq!(caller(&message), Some("sip:evil@x"));
    }
}
