//! SIP messages: what is read is written so that it reads the same again.

use std::hint::black_box;

use bytes::Bytes;
use control::cpm::body;
use control::sip::via::Via;
use control::sip::{Dialog, Flow, Message, Name, NameAddr, Protocol, Uri};
use rand::RngExt;

use super::campaign::rounds;
use super::seeds;
use super::spoil::{noise, pick, spoilt};

fn flow() -> Flow {
    Flow {
        protocol: Protocol::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.2:5060".parse().unwrap(),
        connection: 0,
    }
}

fn look(bytes: Vec<u8>) {
    let given = Bytes::from(bytes);
    let Ok(message) = Message::parse(given.clone()) else {
        return;
    };
    let written = message.encode();
    let Ok(again) = Message::parse(written.clone()) else {
        // The one line that writing may add is one too many where the limits are reached.
        assert!(
            message.headers.len() >= control::limits::SIP_HEADERS
                || written.len() > control::limits::SIP_MESSAGE_BYTES,
            "{}\nbecame\n{}",
            given.escape_ascii(),
            written.escape_ascii()
        );
        return;
    };
    assert_eq!(again.encode(), written, "{}", given.escape_ascii());
    assert_eq!(again.body, message.body, "{}", given.escape_ascii());
    assert_eq!(again.code(), message.code());
    assert_eq!(again.method(), message.method());
    inspect(&message);
}

/// Everything that looks into a message.
fn inspect(message: &Message) {
    black_box((
        message.from_tag(),
        message.to_tag(),
        message.cseq(),
        message.call_id(),
    ));
    for header in message.headers.iter() {
        let value = header.value();
        black_box((
            Uri::parse(value).is_ok(),
            NameAddr::parse(value).is_ok(),
            Via::parse(value).is_ok(),
        ));
    }
    for name in [
        Name::Via,
        Name::Route,
        Name::RecordRoute,
        Name::Contact,
        Name::Supported,
    ] {
        for value in message.headers.values(name) {
            black_box(
                Via::parse(value)
                    .map(|via| (via.address(), via.unique_branch().map(str::len)))
                    .is_ok(),
            );
            if let Ok(address) = NameAddr::parse(value) {
                black_box(address.param("tag"));
            }
        }
    }
    if let Some(uri) = message.request_uri().and_then(|uri| Uri::parse(uri).ok()) {
        black_box((uri.address(), uri.port, uri.has_param("lr")));
    }
    black_box(body::place(message));
    if let Some(sdp) = body::sdp(message) {
        black_box(body::replace_sdp(message, &sdp));
    }
    let mut changed = message.clone();
    changed.set_to_tag("new");
    while changed.headers.remove_first_value(Name::Via).is_some() {}
    changed
        .headers
        .prepend(Name::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK0");
    black_box(changed.encode());
    if message.is_request() {
        if let Ok(mut dialog) = Dialog::uas(message, "mine", flow()) {
            black_box(dialog.check_seq(message).is_ok());
            dialog.refresh_target(message);
            black_box(dialog.request(control::sip::Method::Bye).encode());
        }
        black_box(Message::response(message, 200, "OK").encode());
    } else if let Ok(dialog) = Dialog::uac(message, message, flow()) {
        black_box(dialog.ack(1).encode());
    }
}

#[test]
fn a_message_that_is_read_is_written_so_that_it_reads_the_same() {
    let all = seeds::sip();
    for bytes in &all {
        look(bytes.clone());
    }
    rounds("sip", 1500, move |random| {
        for _ in 0..20 {
            let (one, other) = (pick(random, &all), pick(random, &all));
            look(spoilt(random, one, other));
            if random.random_ratio(1, 4) {
                look(noise(random, 300));
            }
        }
    });
}
