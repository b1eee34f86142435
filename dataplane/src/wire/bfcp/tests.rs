//! Messages held against octets written by hand from RFC 8855.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::limits::{BFCP_DATAGRAM_BYTES, BFCP_MESSAGE_BYTES};

/// FloorRequest in conference 4321, transaction 7, user 1234: floors 1 and 543, high priority, a
/// text of three octets.
const REQUEST: [u8; 32] = [
    0x20, 1, 0, 5, 0, 0, 0x10, 0xe1, 0, 7, 4, 0xd2, // header
    4, 4, 0, 1, 4, 4, 2, 0x1f, // FLOOR-ID
    8, 4, 0x60, 0, // PRIORITY
    0x11, 5, b'a', b'b', b'c', 0xff, 0xff,
    0xff, // PARTICIPANT-PROVIDED-INFO, mandatory, padded
];

fn head(primitive: Primitive) -> Head {
    Head {
        version: 2,
        is_response: true,
        primitive: primitive.number(),
        payload_words: 0,
        conference: 1,
        transaction: 2,
        user: 3,
        fragment: None,
    }
}

fn written(primitive: Primitive, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::begin(&mut out, &head(primitive));
    write(&mut writer);
    writer.finish();
    out
}

#[test]
fn a_floor_request_is_read_as_the_rfc_writes_it() {
    let (head, payload) = Head::of_datagram(&REQUEST).unwrap();
    assert_eq!((head.version, head.is_response), (1, false));
    assert_eq!(
        (head.conference, head.transaction, head.user),
        (4321, 7, 1234)
    );
    let message = Message {
        head,
        attributes: Attributes::new(payload),
    };
    assert_eq!(message.floors().collect::<Vec<_>>(), [1, 543]);
    assert_eq!(message.priority(), Priority::High);
    assert_eq!(message.info(), b"abc");
    assert_eq!((message.beneficiary(), message.request()), (None, None));
}

#[test]
fn a_status_is_written_as_the_rfc_writes_it() {
    let out = written(Primitive::FloorRequestStatus, |writer| {
        writer.group(Kind::FloorRequestInformation, 546, |writer| {
            writer.group(Kind::OverallRequestStatus, 546, |writer| {
                writer.request_status(Status::Accepted, 2);
                writer.octets(Kind::StatusInfo, b"wait");
            });
        });
    });
    let wanted = [
        0x50, 4, 0, 5, 0, 0, 0, 1, 0, 2, 0, 3, // header: version 2, R
        30, 20, 2, 0x22, // FLOOR-REQUEST-INFORMATION
        36, 16, 2, 0x22, // OVERALL-REQUEST-STATUS
        10, 4, 2, 2, // REQUEST-STATUS
        18, 6, b'w', b'a', b'i', b't', 0, 0, // STATUS-INFO, padded
    ];
    assert_eq!(out, wanted);
}

#[test]
fn lengths_that_do_not_fit_are_errors_and_nothing_else() {
    let short: [&[u8]; 5] = [
        &[4],
        &[4, 0, 0, 1],
        &[4, 1, 0, 1],
        &[4, 8, 0, 1],
        &[0x11, 5, 1, 2],
    ];
    for octets in short {
        let read: Vec<_> = Attributes::new(octets).collect();
        assert!(matches!(read[..], [Err(_)]), "{octets:?}");
    }
    let number = Attribute {
        kind: Kind::FloorId.number(),
        is_mandatory: false,
        octets: &[1, 2, 3],
    };
    assert!(number.value().is_err(), "a number of three octets");
    assert_eq!(Head::of_datagram(&REQUEST[..11]), Err(HeadError::Short));
    let cut = Head::of_datagram(&REQUEST[..28]);
    assert!(matches!(cut, Err(HeadError::Length(_))), "{cut:?}");
}

#[test]
fn unknown_mandatory_attributes_are_found_in_groups_too() {
    // Type 100, mandatory, in a group; type 101, not mandatory; type 127, mandatory.
    let octets = [30, 8, 0, 1, 201, 4, 0, 0, 202, 4, 0, 0, 255, 2, 0, 0];
    let mut found = Vec::new();
    unknown_mandatory(Attributes::new(&octets), &mut |kind| found.push(kind)).unwrap();
    assert_eq!(found, [100, 127]);
}

#[test]
fn groups_nested_without_end_are_refused() {
    let mut octets = Vec::new();
    for depth in (1..=60_u8).rev() {
        octets.extend_from_slice(&[30, depth * 4, 0, 1]);
    }
    let read = unknown_mandatory(Attributes::new(&octets), &mut |_| {});
    assert!(read.is_err());
}

#[test]
fn a_stream_gives_the_same_messages_wherever_it_is_cut() {
    let stream = [REQUEST, REQUEST].concat();
    for cut in 0..=stream.len() {
        let (front, back) = stream.split_at(cut);
        let (mut framer, mut count) = (Framer::default(), 0);
        for mut piece in [front, back] {
            while let Some(step) = framer.next(&mut piece) {
                let Step::Message(head, payload) = step else {
                    panic!("{step:?}")
                };
                assert_eq!((head.transaction, payload), (7, &REQUEST[12..]));
                count += 1;
            }
            assert!(piece.is_empty());
        }
        assert_eq!((count, framer.is_within()), (2, false), "cut at {cut}");
    }
}

#[test]
fn a_stream_that_announces_too_much_is_given_up_before_it_is_kept() {
    let mut octets: &[u8] = &[0x20, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9];
    let mut framer = Framer::default();
    assert!(matches!(framer.next(&mut octets), Some(Step::TooLong(_))));
    assert!(!framer.is_within());
}

/// A message of `words` words, and its datagrams.
fn cut(words: u8) -> (Vec<u8>, Vec<Vec<u8>>) {
    let message = written(Primitive::FloorStatus, |writer| {
        for word in 0..words {
            let number = u16::from(word);
            writer.number(Kind::FloorId, number);
            writer.number(Kind::FloorId, number);
        }
    });
    let (mut parts, mut datagrams) = (fragments(&message).unwrap(), Vec::new());
    let mut datagram = Vec::new();
    while parts.next(&mut datagram) {
        assert!(datagram.len() <= BFCP_DATAGRAM_BYTES);
        datagrams.push(datagram.clone());
    }
    (message, datagrams)
}

#[test]
fn fragments_are_joined_in_any_order_and_any_number() {
    let (message, datagrams) = cut(255);
    assert_eq!(datagrams.len(), 2);
    let orders: [&[usize]; 3] = [&[0, 1], &[1, 0], &[1, 1, 1, 0]];
    for order in orders {
        let mut parts = Reassembly::default();
        let mut whole = None;
        for index in order {
            let (head, part) = Head::of_datagram(&datagrams[*index]).unwrap();
            assert_eq!(head.payload_words, 510, "of the whole message");
            if let Joined::Whole(head, octets) = parts.add(head, part) {
                whole = Some((head, octets));
            }
        }
        let (head, octets) = whole.expect("all fragments are there");
        assert_eq!(head.fragment, None);
        assert_eq!(*octets, message[HEAD_BYTES..]);
        assert!(!parts.is_waiting());
    }
}

#[test]
fn a_short_message_is_one_datagram() {
    let (message, datagrams) = cut(10);
    assert_eq!(datagrams, [message]);
}

#[test]
fn fragments_that_overlap_or_promise_too_much_are_refused() {
    let part = |offset, words: u16, payload_words| {
        let head = Head {
            payload_words,
            fragment: Some(Fragment { offset, words }),
            ..head(Primitive::FloorRequest)
        };
        let mut datagram = Vec::new();
        head.write(&mut datagram);
        datagram.resize(HEAD_FRAGMENT_BYTES + usize::from(words) * 4, 0);
        datagram
    };
    let mut parts = Reassembly::default();
    let mut add = |datagram: &[u8]| {
        let (head, octets) = Head::of_datagram(datagram).unwrap();
        parts.add(head, octets)
    };
    assert_eq!(add(&part(0, 4, 10)), Joined::Waiting);
    assert_eq!(add(&part(2, 4, 10)), Joined::Refused);
    let words = u16::try_from(BFCP_MESSAGE_BYTES / 4 + 1).unwrap();
    assert_eq!(add(&part(0, 4, words)), Joined::Refused);
    let beyond = part(8, 4, 10);
    assert!(Head::of_datagram(&beyond).is_err(), "beyond the payload");
}

#[test]
fn a_group_that_is_longer_than_an_attribute_is_not_written() {
    let out = written(Primitive::UserStatus, |writer| {
        let is_written = writer.group(Kind::BeneficiaryInformation, 1, |writer| {
            writer.octets(Kind::UserUri, &[b'x'; 253]);
        });
        assert!(!is_written);
    });
    assert_eq!(out.len(), HEAD_BYTES);
}

#[test]
fn a_chairs_action_is_read_floor_by_floor() {
    let payload = [
        30, 24, 0, 9, // FLOOR-REQUEST-INFORMATION of request 9
        34, 8, 0, 1, 10, 4, 3, 0, // FLOOR-REQUEST-STATUS of floor 1: granted
        34, 12, 0, 2, 10, 4, 2, 5, 18, 3, b'x', 0, // of floor 2: accepted in place 5, "x"
    ];
    let message = Message {
        head: head(Primitive::ChairAction),
        attributes: Attributes::new(&payload),
    };
    let action = message.action().unwrap();
    assert_eq!(action.request, 9);
    let decided: Vec<_> = floors_decided(action)
        .map(|one| (one.floor, one.status, one.position, one.info))
        .collect();
    assert_eq!(decided, [(1, 3, 0, &b""[..]), (2, 2, 5, b"x")]);
}
