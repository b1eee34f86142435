//! tshark reads every message of floor control, the server's and its clients'.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tests::live::judge::{self, BFCP};
use tests::live::needs;
use tests::peers::bfcp::{Attribute, Client, Content, Message, attribute, primitive, status};
use tests::world::meeting::{Meeting, floor, member, user};

/// A meeting in which every message is said that there is: one over TCP, one over UDP.
fn talk(is_udp: bool) -> Vec<Vec<u8>> {
    let mut chaired = floor(1);
    chaired.chair = Some(member(0));
    let mut meeting = Meeting::new(vec![chaired, floor(2)], 3, is_udp);
    let ask = |client: &mut Client, now: Instant| client.ask(&[1, 2], 3, now);
    let say = |what| move |client: &mut Client, now: Instant| client.say(what, vec![], now);
    meeting.call(0, say(primitive::HELLO));
    meeting.call(0, |client, now| client.watch(&[1, 2], now));
    let request = meeting.call(1, ask).infos()[0].request;
    meeting.call(0, |client, now| {
        client.decide(request, (1, status::GRANTED, 0), now)
    });
    let beneficiary = vec![
        Attribute::number(attribute::FLOOR_ID, 1),
        Attribute::number(attribute::BENEFICIARY_ID, user(2)),
        Attribute::octets(attribute::PARTICIPANT_PROVIDED_INFO, b"for somebody"),
    ];
    meeting.call(0, |client, now| {
        client.say(primitive::FLOOR_REQUEST, beneficiary, now)
    });
    let id = vec![Attribute::number(attribute::FLOOR_REQUEST_ID, request)];
    meeting.call(2, |client, now| {
        client.say(primitive::FLOOR_REQUEST_QUERY, id, now)
    });
    meeting.call(2, say(primitive::USER_QUERY));
    // An unknown attribute that is mandatory, and an unknown request.
    let odd = vec![Attribute {
        is_mandatory: true,
        ..Attribute::octets(99, b"?")
    }];
    meeting.call(2, |client, now| client.say(primitive::USER_QUERY, odd, now));
    meeting.call(2, |client, now| client.give_back(9999, now));
    meeting.call(1, |client, now| client.give_back(request, now));
    meeting.call(1, say(primitive::GOODBYE));
    meeting.run(Duration::from_secs(1));
    meeting.sent
}

/// The types of attributes, in the order in which they are written.
fn kinds(attributes: &[Attribute], out: &mut Vec<String>) {
    for one in attributes {
        out.push(one.kind.to_string());
        if let Content::Group(_, inside) = &one.content {
            kinds(inside, out);
        }
    }
}

/// Has tshark read messages, and holds what it finds against what they say: their primitives.
pub(super) fn judged(mut messages: Vec<Vec<u8>>, is_udp: bool) -> BTreeSet<u8> {
    const FIELDS: [&str; 7] = [
        "bfcp.primitive",
        "bfcp.conference_id",
        "bfcp.transaction_id",
        "bfcp.user_id",
        "bfcp.attribute_type",
        "bfcp.attribute_length.too_small",
        "_ws.malformed",
    ];
    let ports = judge::Ports {
        bfcp: vec![BFCP],
        ..judge::Ports::default()
    };
    for message in &mut messages {
        // Version 2 came after this tshark, which reads it as version 1: R included.
        assert_eq!(message[0] >> 5, if is_udp { 2 } else { 1 });
        message[0] = 0x20 | message[0] & 0x1f;
    }
    let lines = judge::bfcp(&messages).lines(&ports, "bfcp", &FIELDS);
    assert_eq!(lines.len(), messages.len(), "tshark takes some for no BFCP");
    let mut seen = BTreeSet::new();
    for (line, octets) in lines.iter().zip(&messages) {
        let fields: Vec<&str> = line.split('\t').collect();
        seen.insert(octets[1]);
        assert_eq!(fields[0], octets[1].to_string(), "{line}");
        let is_servers = Message::decode(octets).ok();
        let Some(message) = is_servers else { continue };
        let mut wanted = Vec::new();
        kinds(&message.attributes, &mut wanted);
        let (conference, transaction) = (message.conference, message.transaction);
        assert_eq!(fields[1], conference.to_string(), "{line}");
        assert_eq!(fields[2], transaction.to_string(), "{line}");
        assert_eq!(fields[3], message.user.to_string(), "{line}");
        assert_eq!(fields[4], wanted.join(","), "{line}");
        assert_eq!(fields[5..].concat(), "", "tshark finds errors: {line}");
    }
    seen
}

#[test]
fn the_judge_reads_every_message_of_floor_control() {
    if !needs("live::floors_wire", &["tshark", "text2pcap"]) {
        return;
    }
    for is_udp in [false, true] {
        let seen = judged(talk(is_udp), is_udp);
        let acks = [
            primitive::FLOOR_REQUEST_STATUS_ACK,
            primitive::FLOOR_STATUS_ACK,
        ];
        let due: BTreeSet<u8> = (1..=17)
            .filter(|one| is_udp || !acks.contains(one))
            .collect();
        assert_eq!(seen, due, "every message was said");
    }
}
