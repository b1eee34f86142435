//! RTCP of a forwarded room, read octet by octet as RFC 3550 draws it.

use crate::api::StreamSet;

use super::fake::rtp;
use super::rooms::{Group, LISTENS, SENDS, client, group, leave};

/// The packets of the compound RTCP that went to a member: each whole, with its type.
fn reports(sent: &[super::rooms::Sent], member: u32) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let of_member = sent.iter().filter(|(_, to, _)| *to == client(member));
    for (_, _, datagram) in of_member {
        let mut rest = datagram.as_slice();
        while (192..=223).contains(&rest.get(1).copied().unwrap_or(0)) {
            let len = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            found.push((rest[1], rest[..len].to_vec()));
            rest = &rest[len..];
        }
    }
    found
}

fn of_type(found: &[(u8, Vec<u8>)], kind: u8) -> Option<&[u8]> {
    let mut found = found.iter();
    found.find_map(|(one, packet)| (*one == kind).then_some(packet.as_slice()))
}

/// So many packets of the first member, 20 ms apart, but for the tenth; says what was sent.
fn talk(group: &mut Group, packets: u16) -> Vec<super::rooms::Sent> {
    let mut sent = Vec::new();
    for seq in 0..packets {
        let mut packet = rtp(seq, 9);
        packet[4..8].copy_from_slice(&(160 * u32::from(seq)).to_be_bytes());
        if seq != 10 {
            let to = group.local[0];
            sent.extend(group.world.datagram(client(0), to, &packet));
        }
        group.world.pass(20);
    }
    sent
}

#[test]
fn members_are_told_what_is_sent_to_them_and_what_came_from_them() {
    let mut group = group(&[SENDS, LISTENS], None);
    let sent = talk(&mut group, 500);
    let to_receiver = reports(&sent, 1);
    let report = of_type(&to_receiver, SENDER_REPORT).expect("with the first packet");
    let (_, _, media) = &sent.iter().find(|(_, _, packet)| packet[1] == 8).unwrap();
    assert_eq!(report[4..8], media[8..12], "of the source that it gets");
    assert_eq!(report[0] & 31, 0, "nothing came from it");
    assert!(of_type(&to_receiver, NAMES).is_some());
    let to_sender = reports(&sent, 0);
    let report = to_sender
        .iter()
        .rev()
        .find(|(kind, _)| *kind == RECEIVER_REPORT);
    let (_, report) = report.expect("it is told what came");
    assert_eq!(report[0] & 31, 1);
    assert_eq!(report[8..12], [0, 0, 0, 9], "its own source");
    assert_eq!(report[13..16], [0, 0, 1], "one was lost");
    assert!(
        of_type(&to_sender, SENDER_REPORT).is_none(),
        "it is sent nothing"
    );
    let many = sent.iter().filter(|(_, _, packet)| packet[1] != 8).count();
    assert!(many <= 12, "{many} in ten seconds to two");
}

#[test]
fn a_missing_picture_is_asked_for_once_whoever_misses_it() {
    let mut group = group(&[SENDS, LISTENS, LISTENS], None);
    let sent = talk(&mut group, 5);
    let (_, _, media) = sent.iter().find(|(_, _, packet)| packet[1] == 8).unwrap();
    let mut request = vec![0x80, RECEIVER_REPORT, 0, 1, 0, 0, 0, 77];
    request.extend([0x81, FEEDBACK, 0, 2, 0, 0, 0, 77]);
    request.extend(&media[8..12]);
    let mut asked = Vec::new();
    for member in [1, 2, 1] {
        let to = group.local[member as usize];
        asked.extend(group.world.datagram(client(member), to, &request));
    }
    let asked = reports(&asked, 0);
    let requests: Vec<_> = asked.iter().filter(|(kind, _)| *kind == FEEDBACK).collect();
    let [(_, request)] = requests[..] else {
        panic!("{requests:?}")
    };
    assert_eq!(request[0], 0x81, "a picture is lost");
    assert_eq!(
        request[8..12],
        [0, 0, 0, 9],
        "the source as its sender knows it"
    );
    group.world.pass(600);
    let mut again = vec![0x81, FEEDBACK, 0, 2, 0, 0, 0, 77];
    again.extend(&media[8..12]);
    let to = group.local[1];
    let asked = group.world.datagram(client(1), to, &again);
    assert!(of_type(&reports(&asked, 0), FEEDBACK).is_some());
}

#[test]
fn who_leaves_is_told_that_its_streams_end() {
    let mut group = group(&[SENDS, LISTENS], None);
    let sent = talk(&mut group, 5);
    let (_, _, media) = sent.iter().find(|(_, _, packet)| packet[1] == 8).unwrap();
    group.world.net.borrow_mut().sent.clear();
    group.world.order(1, vec![leave(None, StreamSet::ALL)]);
    let sent = std::mem::take(&mut group.world.net.borrow_mut().sent);
    let told = reports(&sent, 1);
    let bye = of_type(&told, BYE).expect("a BYE");
    assert_eq!(bye[4..8], media[8..12]);
    assert!(
        of_type(&reports(&sent, 0), BYE).is_none(),
        "it was sent nothing"
    );
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const NAMES: u8 = 202;
const BYE: u8 = 203;
const FEEDBACK: u8 = 206;
