//! Floors over a backend in memory: BFCP in, and whose media pass.

use std::net::SocketAddr;

use crate::api::{
    Act, BfcpRemote, BfcpSpec, BfcpTransport, Direction, Event, Fingerprint, FloorId, FloorRule,
    FloorSpec, LegLocal, LegSpec, MemberId, MemberPlan, MsrpSetup, Outcome, Remote, RoomKind,
    RoomPlan, RtpFormats, StreamId, StreamSet,
};
use crate::frame::Class;
use crate::net::SocketId;
use crate::stats::DropReason;

use super::fake::{LOCAL, World, config, rtp};
use super::layers::is_there;
use super::rooms::{client, connect, join, leave, local, only, room};

const AUDIO: u8 = 0;
const FLOORS: u8 = 1;
pub(super) const REQUEST: u8 = 1;
pub(super) const RELEASE: u8 = 2;
pub(super) const STATUS: u8 = 4;
pub(super) const STATUS_ACK: u8 = 14;
pub(super) const ERROR: u8 = 13;
const HELLO: u8 = 11;
pub(super) const GRANTED: u8 = 3;
const ACCEPTED: u8 = 2;
const RELEASED: u8 = 6;
const REVOKED: u8 = 7;

/// A message written by hand (RFC 8855 §5.1): conference 77, users from 100 on.
pub(super) fn message(version: u8, head: (u8, u16, u32), attributes: &[u8]) -> Vec<u8> {
    let (primitive, transaction, member) = head;
    let words = u8::try_from(attributes.len() / 4).unwrap();
    let response = if primitive == STATUS_ACK { 0x10 } else { 0 };
    let mut octets = vec![version << 5 | response, primitive, 0, words, 0, 0, 0, 77];
    octets.extend(transaction.to_be_bytes());
    octets.extend(user(member).to_be_bytes());
    octets.extend_from_slice(attributes);
    octets
}

pub(super) fn user(member: u32) -> u16 {
    100 + u16::try_from(member).unwrap()
}

/// FLOOR-ID 1.
pub(super) const FLOOR: [u8; 4] = [4, 4, 0, 1];

/// FLOOR-REQUEST-ID.
pub(super) fn request(id: u8) -> [u8; 4] {
    [6, 4, 0, id]
}

/// A member says hello a thousand times.
pub(super) fn hellos(member: u32) -> Vec<u8> {
    let hello = |transaction| message(1, (HELLO, transaction, member), &[]);
    (1..=1000).flat_map(hello).collect()
}

/// Primitive, transaction, and of a FloorRequestStatus the request and its status.
pub(super) fn read(octets: &[u8]) -> (u8, u16, u8, u8) {
    let transaction = u16::from_be_bytes([octets[8], octets[9]]);
    let told = if octets[1] == STATUS {
        // FLOOR-REQUEST-INFORMATION, OVERALL-REQUEST-STATUS, REQUEST-STATUS.
        assert_eq!((octets[12], octets[16], octets[20]), (30, 36, 10));
        (octets[15], octets[22])
    } else {
        (0, 0)
    };
    (octets[1], transaction, told.0, told.1)
}

pub(super) fn bfcp_leg(member: u32, transport: BfcpTransport, is_offerer: bool) -> Act {
    Act::Join(MemberPlan {
        member: MemberId(member),
        stream: StreamId(FLOORS),
        leg: LegSpec::Bfcp(BfcpSpec {
            local_ip: LOCAL.parse().unwrap(),
            transport,
            user: user(member),
            is_offerer,
        }),
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    })
}

/// Where a member's client speaks BFCP.
pub(super) fn talker(member: u32) -> SocketAddr {
    SocketAddr::new(client(member).ip(), 4100)
}

fn bfcp_far(member: u32, setup: MsrpSetup) -> Act {
    far_with(member, setup, None)
}

/// The same, with the certificate that it says it has.
pub(super) fn far_with(member: u32, setup: MsrpSetup, fingerprint: Option<Fingerprint>) -> Act {
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(FLOORS),
        remote: Remote::Bfcp(BfcpRemote {
            address: talker(member),
            setup,
            fingerprint,
        }),
        direction: Direction::BOTH,
        formats: RtpFormats::default(),
    }
}

pub(super) fn listen_of(act: &Act) -> SocketAddr {
    match act {
        Act::Join(MemberPlan {
            local: LegLocal::Bfcp { listen },
            ..
        }) => *listen,
        other => panic!("not bound: {other:?}"),
    }
}

/// A session whose audio is gated by a floor; where members send RTP, and BFCP.
pub(super) struct Group {
    pub(super) world: World,
    audio: Vec<SocketAddr>,
    bfcp: Vec<SocketAddr>,
}

pub(super) fn floors_room(silence_ms: u32) -> Act {
    Act::OpenRoom(RoomPlan {
        stream: StreamId(FLOORS),
        kind: RoomKind::Floors(FloorSpec {
            conference: 77,
            floors: vec![FloorRule {
                floor: FloorId(1),
                chair: None,
                holders: 1,
                silence_ms,
                held_max_ms: 0,
            }],
        }),
        floor: None,
    })
}

pub(super) fn group(members: u32, transport: BfcpTransport, silence_ms: u32) -> Group {
    let mut world = World::new(&config(10_000, 19_999));
    let rooms = vec![room(AUDIO, Some(1)), floors_room(silence_ms)];
    assert_eq!(world.order(1, rooms).outcome, Outcome::Done);
    let (mut audio, mut bfcp) = (Vec::new(), Vec::new());
    for member in 0..members {
        let acts = vec![
            join(member, AUDIO),
            bfcp_leg(member, transport, false),
            connect(member, AUDIO, Direction::BOTH),
            bfcp_far(member, MsrpSetup::Passive),
        ];
        let opened = world.order(1, acts);
        assert_eq!(opened.outcome, Outcome::Done);
        audio.push(local(&opened.acts[0]));
        bfcp.push(listen_of(&opened.acts[1]));
    }
    Group { world, audio, bfcp }
}

impl Group {
    /// A member speaks; says who hears it.
    fn says(&mut self, member: u32, seq: u16) -> Vec<SocketAddr> {
        let to = self.audio[member as usize];
        self.media(client(member), to, &rtp(seq, 1))
    }

    /// To whom RTP goes when a packet has come.
    fn media(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> Vec<SocketAddr> {
        // What was told of floors before is no media.
        self.world.net.borrow_mut().sent.clear();
        let sent = self.world.datagram(from, to, packet).into_iter();
        // Neither RTCP nor what BFCP told meanwhile.
        let is_rtp = |octets: &[u8]| octets[0] >> 6 == 2 && !(192..=223).contains(&octets[1]);
        sent.filter(|(.., octets)| is_rtp(octets))
            .map(|(_, to, _)| to)
            .collect()
    }

    /// A member sends a message; says what goes to whom.
    pub(super) fn tells(
        &mut self,
        member: u32,
        octets: &[u8],
    ) -> Vec<(SocketAddr, (u8, u16, u8, u8))> {
        let to = self.bfcp[member as usize];
        let sent = self.world.datagram(talker(member), to, octets);
        let read_of = |(_, to, octets): (_, _, Vec<u8>)| (to, read(&octets));
        sent.into_iter().map(read_of).collect()
    }

    fn changes(&mut self) -> Vec<Vec<u32>> {
        let news = self.world.news.drain(..);
        let changes = news.filter_map(|event| match event {
            Event::FloorChanged { floor, holders, .. } => {
                assert_eq!(floor, FloorId(1));
                Some(holders.iter().map(|member| member.0).collect())
            }
            _ => None,
        });
        changes.collect()
    }

    /// A member connects over TCP.
    fn dials(&mut self, member: u32) -> SocketId {
        let to = self.bfcp[member as usize];
        let socket = self.world.net.borrow_mut().accept(to, talker(member));
        self.world.cycle();
        socket
    }

    /// What was written to a connection since it was asked last.
    fn written(&self, socket: SocketId) -> Vec<u8> {
        let mut net = self.world.net.borrow_mut();
        std::mem::take(&mut net.sockets.get_mut(&socket.0).unwrap().written)
    }

    fn feed(&mut self, socket: SocketId, octets: &[u8]) {
        self.world.net.borrow_mut().feed(socket, octets);
        self.world.cycle();
    }

    /// Everybody leaves; nothing may be left.
    pub(super) fn end(&mut self) {
        self.world.send(1, vec![leave(None, StreamSet::ALL)]);
        self.world.cycle();
        self.world.pass(2100);
        let done = self.world.done().pop().expect("the order comes back");
        assert_eq!(done.outcome, Outcome::Done);
        let worker = &self.world.worker;
        assert!(worker.sessions.is_empty() && worker.streams.is_empty());
        assert!(worker.rooms.is_empty());
        assert_eq!(worker.stats.sockets, 1, "the listener");
        assert_eq!(worker.pool.free(Class::Datagram), 1024);
        assert_eq!(worker.pool.free(Class::Stream), 256);
    }
}

#[test]
fn upl_05_who_is_granted_the_floor_is_heard_from_the_next_packet_on_and_who_releases_it_is_not() {
    let mut group = group(3, BfcpTransport::Udp, 0);
    assert_eq!(group.says(0, 1), [], "nobody has asked");
    let granted = group.tells(1, &message(2, (REQUEST, 7, 1), &FLOOR));
    assert_eq!(granted, [(talker(1), (STATUS, 7, 1, GRANTED))]);
    assert_eq!(group.says(0, 2), []);
    assert_eq!(group.says(1, 50), [client(0), client(2)]);
    assert_eq!(group.world.dropped(DropReason::Floor), 2);
    let queued = group.tells(0, &message(2, (REQUEST, 9, 0), &FLOOR));
    assert_eq!(queued, [(talker(0), (STATUS, 9, 2, ACCEPTED))]);
    assert_eq!(group.says(0, 3), []);
    let released = group.tells(1, &message(2, (RELEASE, 8, 1), &request(1)));
    assert_eq!(
        released,
        [
            (talker(1), (STATUS, 8, 1, RELEASED)),
            (talker(0), (STATUS, 1, 2, GRANTED))
        ]
    );
    assert_eq!(group.says(1, 51), [], "the very next packet");
    assert_eq!(group.says(0, 4), [client(1), client(2)]);
    assert_eq!(group.changes(), [vec![1], vec![0]]);
    assert_eq!(group.tells(0, &message(2, (STATUS_ACK, 1, 0), &[])), []);
    group.world.pass(30_000);
    assert!(
        group.world.net.borrow().sent.is_empty(),
        "it was acknowledged"
    );
    group.end();
}

#[test]
fn what_is_not_acknowledged_is_sent_again_and_its_member_loses_the_floor() {
    let mut group = group(2, BfcpTransport::Udp, 0);
    group.tells(0, &message(2, (REQUEST, 1, 0), &FLOOR));
    group.tells(1, &message(2, (REQUEST, 1, 1), &FLOOR));
    group.tells(0, &message(2, (RELEASE, 2, 0), &request(1)));
    assert_eq!(group.says(1, 1), [client(0)]);
    group.world.net.borrow_mut().sent.clear();
    group.world.pass(8000);
    let sent = std::mem::take(&mut group.world.net.borrow_mut().sent);
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent.iter().all(|(_, to, _)| *to == talker(1)));
    assert_eq!(group.says(1, 2), []);
    group.end();
}

#[test]
fn floors_over_tcp_are_asked_for_in_any_pieces_and_free_when_the_connection_is_lost() {
    let mut group = group(2, BfcpTransport::Tcp, 0);
    let [first, second] = [0, 1].map(|member| group.dials(member));
    let asked = message(1, (REQUEST, 5, 0), &FLOOR);
    for octet in &asked {
        group.feed(first, &[*octet]);
    }
    assert_eq!(read(&group.written(first)), (STATUS, 5, 1, GRANTED));
    group.feed(second, &message(1, (REQUEST, 6, 1), &FLOOR));
    assert_eq!(read(&group.written(second)), (STATUS, 6, 2, ACCEPTED));
    assert_eq!(group.says(0, 1), [client(1)]);
    group.world.net.borrow_mut().made(first, false);
    group.world.cycle();
    assert_eq!(read(&group.written(second)), (STATUS, 0, 2, GRANTED));
    assert_eq!(
        (group.says(0, 2), group.says(1, 1)),
        (vec![], vec![client(0)])
    );
    group.world.pass(1000);
    let lost = |event: &Event| matches!(event, Event::MemberLost { member, .. } if member.0 == 0);
    assert!(group.world.news.iter().any(lost), "{:?}", group.world.news);
    let again = group.dials(0);
    group.feed(again, &message(1, (REQUEST, 1, 0), &FLOOR));
    assert_eq!(read(&group.written(again)), (STATUS, 1, 3, ACCEPTED));
    group.end();
}

#[test]
fn a_message_over_tcp_that_is_too_long_is_refused_and_the_connection_ends() {
    let mut group = group(1, BfcpTransport::Tcp, 0);
    let socket = group.dials(0);
    group.world.net.borrow_mut().far_ends_linger = true;
    let mut octets = message(1, (REQUEST, 5, 0), &FLOOR);
    octets[2] = 0xff;
    group.feed(socket, &octets);
    let refused = group.written(socket);
    assert_eq!((read(&refused).0, refused[14]), (ERROR, 13));
    assert!(group.world.net.borrow().sockets[&socket.0].ended);
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection_and_costs_no_frame() {
    let mut group = group(1, BfcpTransport::Tcp, 0);
    let free = group.world.worker.pool.free(Class::Stream);
    for _ in 0..3 {
        let socket = group.dials(0);
        group.world.net.borrow_mut().open_window(socket, 0);
        for round in 0.. {
            if !is_there(&group.world, socket) {
                break;
            }
            assert!(round < 100, "its queue grows without end");
            group.feed(socket, &hellos(0));
        }
        assert_eq!(group.world.worker.pool.free(Class::Stream), free);
    }
    assert_eq!(group.world.dropped(DropReason::Stalled), 3);
    group.end();
}

#[test]
fn a_holder_that_is_silent_loses_the_floor_and_one_that_speaks_keeps_it() {
    let mut group = group(2, BfcpTransport::Udp, 3000);
    group.tells(0, &message(2, (REQUEST, 1, 0), &FLOOR));
    for seq in 0..5 {
        group.world.pass(1000);
        assert_eq!(group.says(0, seq), [client(1)]);
    }
    group.world.net.borrow_mut().sent.clear();
    group.world.pass(2900);
    assert_eq!(group.changes(), [vec![0]]);
    group.world.pass(200);
    assert_eq!(group.changes(), [Vec::<u32>::new()]);
    let sent = std::mem::take(&mut group.world.net.borrow_mut().sent);
    assert_eq!(read(&sent[0].2), (STATUS, 1, 1, REVOKED));
    assert_eq!(group.says(0, 9), []);
    group.end();
}

#[test]
fn who_leaves_loses_the_floor_and_a_room_that_comes_later_is_gated_by_who_has_it() {
    let mut group = group(2, BfcpTransport::Udp, 0);
    group.tells(0, &message(2, (REQUEST, 1, 0), &FLOOR));
    group.tells(1, &message(2, (REQUEST, 1, 1), &FLOOR));
    let video = 2;
    let acts = vec![
        room(video, Some(1)),
        join(0, video),
        join(1, video),
        connect(0, video, Direction::BOTH),
        connect(1, video, Direction::BOTH),
    ];
    let opened = group.world.order(1, acts);
    let to = local(&opened.acts[1]);
    assert_eq!(group.media(client(0), to, &rtp(1, 1)), [client(1)]);
    group.world.order(1, vec![leave(Some(0), only(FLOORS))]);
    assert_eq!(group.says(0, 1), []);
    assert_eq!(group.says(1, 1), [client(0)]);
    group.end();
}

#[test]
fn only_a_members_own_user_is_heard_and_nobody_else_learns_its_address() {
    let mut group = group(2, BfcpTransport::Udp, 0);
    let stranger = "203.0.113.9:999".parse().unwrap();
    let to = group.bfcp[0];
    for octets in [message(2, (REQUEST, 1, 1), &FLOOR), b"hello".to_vec()] {
        assert!(group.world.datagram(stranger, to, &octets).is_empty());
    }
    // The first one with its user is where it is, behind a NAT.
    let asked = message(2, (REQUEST, 1, 0), &FLOOR);
    let sent = group.world.datagram(stranger, to, &asked);
    assert_eq!((sent.len(), sent[0].1), (1, stranger));
    assert!(group.world.datagram(talker(0), to, &asked).is_empty());
    assert_eq!(group.world.dropped(DropReason::Source), 2);
    group.end();
}

#[test]
fn legs_that_no_worker_can_serve_are_refused() {
    let mut group = group(1, BfcpTransport::Udp, 0);
    let mut refused = |act: Act| group.world.order(1, vec![act]).outcome != Outcome::Done;
    assert!(refused(bfcp_leg(5, BfcpTransport::Tls, false)));
    let Act::Join(plan) = bfcp_leg(0, BfcpTransport::Udp, false) else {
        return;
    };
    assert!(refused(Act::Join(MemberPlan {
        member: MemberId(9),
        ..plan
    })));
    assert!(refused(join(7, FLOORS)));
    assert!(!refused(bfcp_leg(7, BfcpTransport::Udp, false)));
}
