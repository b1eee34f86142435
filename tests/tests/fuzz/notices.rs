//! Disposition notifications of any kind: what is read of them is bounded, and what is written of
//! them can be read.

use std::time::SystemTime;

use bytes::Bytes;
use control::cpm::imdn::{CPIM, Envelope, Head, Notice, Undelivered};
use control::limits;
use control::sip::{Message, Method};
use rand::RngExt;

use super::campaign::rounds;
use super::seeds::crlf;
use super::spoil::{pick, spoilt};

const ASKING: &str = "From: Al <sip:a@x>
    To: <sip:g@x>
    NS: imdn <urn:ietf:params:imdn>
    imdn.Message-ID: 34jk
    imdn.IMDN-Record-Route: <sip:r@x>
    imdn.Disposition-Notification: positive-delivery, negative-delivery

    Content-Type: text/plain

    hello";

const TELLING: &str = "From: <sip:b@x>
    To: <sip:a@x>
    NS: imdn <urn:ietf:params:imdn>
    imdn.Message-ID: own
    imdn.IMDN-Route: <sip:g@x>

    Content-Type: multipart/mixed;boundary=b

    --b
    Content-Type: message/imdn+xml

    <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34&amp;jk</message-id><recipient-uri>sip:b@x</recipient-uri><delivery-notification><status><failed/></status></delivery-notification></imdn>
    --b--
    ";

#[test]
fn notifications_of_any_kind_are_read_within_bounds_or_not_at_all() {
    let seeds = [ASKING, TELLING].map(|seed| crlf(seed).into_bytes());
    rounds("notices", 4_000, move |random| {
        let octets = {
            let one = pick::<Vec<u8>>(random, &seeds).clone();
            let other = pick::<Vec<u8>>(random, &seeds).clone();
            spoilt(random, &one, &other)
        };
        let octets = Bytes::from(octets);
        let _ = Notice::parse(&octets);
        let mut message = Message::request(Method::Message, "sip:g@x");
        message.set_body(CPIM, octets.clone());
        let Some(head) = Head::of(&message) else {
            return;
        };
        let id = head.message_id.clone().unwrap_or_default();
        assert!(id.len() <= limits::IMDN_ID_BYTES);
        for (notice, _) in head.notices(&octets) {
            assert!(!notice.message_id.is_empty());
            assert!(notice.message_id.len() <= limits::IMDN_ID_BYTES);
            assert!(notice.recipient.len() <= limits::IMDN_ID_BYTES);
        }
        // The group is put on the way, and taken off it, and nothing else changes.
        let routed = head.with_record_route(&octets, "sip:g@x");
        assert!(routed.len() > octets.len());
        let onward = head.without_route(&octets, "sip:g@x");
        assert!(onward.len() <= octets.len());
        // What the relay says of it can be read, whatever it holds.
        let document = Undelivered {
            message_id: &id,
            at: head.at.as_deref(),
            recipient: head.from.as_deref().unwrap_or("sip:b@x"),
            original: "sip:g@x",
        }
        .document(SystemTime::UNIX_EPOCH);
        let envelope = Envelope {
            from: "sip:g@x",
            to: head.from.as_deref().unwrap_or("sip:a@x"),
            id: "own",
            routes: &head.record_routes,
        };
        let count = random.random_range(1..=3);
        let body = envelope.around(&vec![document; count], SystemTime::UNIX_EPOCH);
        message.set_body(CPIM, body.clone());
        let told = Head::of(&message);
        let is_short = body.len() < limits::CPIM_HEAD_BYTES;
        let is_said = !id.chars().all(|c| c.is_control() || c.is_whitespace());
        if is_short && is_said {
            let told = told.expect("it is the relay's own").notices(&body);
            assert_eq!(told.len(), count);
        }
    });
}
