//! Lost packets of a forwarded room: what receivers say of them, and what its source hears.

use std::net::SocketAddr;

use crate::api::{
    Act, Direction, MemberId, Outcome, PayloadFormat, Remote, RtpFormats, RtpRemote, StreamId,
    VideoCodec, VideoFeedback, VideoFormat,
};

use super::fake::{World, config, rtp};
use super::rooms::{LISTENS, SENDS, client, join, local, media, room};

const VIDEO: u8 = 0;

fn connect(member: u32, direction: Direction, nack: bool) -> Act {
    let at = client(member);
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(VIDEO),
        remote: Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
        direction,
        formats: RtpFormats {
            payloads: vec![PayloadFormat {
                payload_type: 8,
                format: 1,
                clock_rate: 90_000,
            }],
            video: vec![VideoFormat {
                payload_type: 8,
                codec: VideoCodec::Vp8,
                feedback: VideoFeedback {
                    nack,
                    ..VideoFeedback::default()
                },
            }],
            feedback: nack,
            ..RtpFormats::default()
        },
    }
}

/// One who sends, member 0, and three who get it.
fn scene(nack: bool) -> (World, Vec<SocketAddr>) {
    let mut world = World::new(&config(10_000, 10_999));
    let mut acts = vec![room(VIDEO, None)];
    for member in 0..4 {
        let direction = if member == 0 { SENDS } else { LISTENS };
        acts.extend([join(member, VIDEO), connect(member, direction, nack)]);
    }
    let opened = world.order(1, acts);
    assert_eq!(opened.outcome, Outcome::Done);
    let joins = opened.acts.iter().skip(1).step_by(2);
    (world, joins.map(local).collect())
}

/// A generic NACK (RFC 4585 §6.2.1), without a report before it.
fn nack(ssrc: &[u8], first: u16, mask: u16) -> Vec<u8> {
    let mut packet = vec![0x81, 205, 0, 3, 0, 0, 0, 9];
    packet.extend_from_slice(ssrc);
    packet.extend(first.to_be_bytes());
    packet.extend(mask.to_be_bytes());
    packet
}

/// The NACKs in what was sent to the source: SSRC, first packet, mask.
fn heard(sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>) -> Vec<(u8, u16, u16)> {
    let mut heard = Vec::new();
    for (_, to, compound) in sent {
        if to != client(0) {
            continue;
        }
        let mut rest = &compound[..];
        while let [head, kind, a, b, ..] = *rest {
            let (packet, after) = rest.split_at(4 + 4 * usize::from(u16::from_be_bytes([a, b])));
            if (head & 0x1f, kind) == (1, 205) {
                let two = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                heard.push((packet[11], two(12), two(14)));
            }
            rest = after;
        }
    }
    heard
}

#[test]
fn a_lost_packet_is_asked_of_its_source_once_and_comes_to_who_lacks_it() {
    let (mut world, local) = scene(true);
    let mut ssrc = Vec::new();
    for seq in 100..110 {
        let sent = media(world.datagram(client(0), local[0], &rtp(seq, 7)));
        assert_eq!(sent.len(), 3);
        ssrc = sent[0].2[8..12].to_vec();
    }
    let asked = nack(&ssrc, 103, 0b101);
    let sent = world.datagram(client(1), local[1], &asked);
    assert_eq!(heard(sent), [(7, 103, 0b101)]);
    let sent = world.datagram(client(2), local[2], &asked);
    assert_eq!(heard(sent), [], "asked already");
    let sent = media(world.datagram(client(0), local[0], &rtp(104, 7)));
    let to: Vec<SocketAddr> = sent.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(to, [client(1), client(2)]);
    assert_eq!(sent[0].2[2..4], 104_u16.to_be_bytes());
    assert_eq!(world.worker.stats.room_nacks, 1);
}

#[test]
fn a_source_that_takes_no_nack_hears_none() {
    let (mut world, local) = scene(false);
    let sent = media(world.datagram(client(0), local[0], &rtp(100, 7)));
    let asked = nack(&sent[0].2[8..12], 100, 0);
    let sent = world.datagram(client(1), local[1], &asked);
    assert_eq!(heard(sent), []);
    assert_eq!(world.worker.stats.room_nacks, 0);
}
