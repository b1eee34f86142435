//! Rooms of group sessions over a backend in memory.

use std::net::SocketAddr;

use crate::api::{
    Act, Direction, Event, FloorId, Learn, LegLocal, MemberFacts, MemberId, MemberPlan, Outcome,
    PayloadFormat, Refusal, Remote, RoomKind, RoomPlan, RtpFormats, RtpRemote, StreamId, StreamSet,
};
use crate::frame::Class;
use crate::limits::{LEAVES_PER_CYCLE, MEMBERS_PER_ROOM};
use crate::stats::DropReason;

use super::fake::{LEARN, World, address, config, open, release, rtp, rtp_spec};

const AUDIO: u8 = 0;
const VIDEO: u8 = 1;
pub const TALKS: Direction = Direction::BOTH;
pub const LISTENS: Direction = Direction {
    may_send: false,
    may_receive: true,
};
pub const SENDS: Direction = Direction {
    may_send: true,
    may_receive: false,
};

pub fn room(stream: u8, floor: Option<u16>) -> Act {
    Act::OpenRoom(RoomPlan {
        stream: StreamId(stream),
        kind: RoomKind::Forward,
        floor: floor.map(FloorId),
    })
}

fn join_with(member: u32, stream: u8, learn: Learn) -> Act {
    Act::Join(MemberPlan {
        member: MemberId(member),
        stream: StreamId(stream),
        leg: rtp_spec(true, learn),
        local: LegLocal::Unbound,
        silence_ms: 1000,
        identity: None,
    })
}

pub fn join(member: u32, stream: u8) -> Act {
    join_with(member, stream, Learn::Never)
}

/// Where a member's client is.
pub fn client(member: u32) -> SocketAddr {
    let [_, b, c, d] = member.to_be_bytes();
    (std::net::Ipv4Addr::new(192, b, c, d), 4000).into()
}

pub fn connect(member: u32, stream: u8, direction: Direction) -> Act {
    let at = client(member);
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(stream),
        remote: Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
        direction,
        formats: RtpFormats {
            payloads: vec![PayloadFormat {
                payload_type: 8,
                format: 1,
                clock_rate: 8000,
            }],
            ..RtpFormats::default()
        },
    }
}

pub fn leave(member: Option<u32>, streams: StreamSet) -> Act {
    Act::Leave {
        member: member.map(MemberId),
        streams,
        drain_ms: 0,
        facts: Vec::new(),
    }
}

pub fn only(stream: u8) -> StreamSet {
    StreamSet::default().with(StreamId(stream))
}

pub fn local(act: &Act) -> SocketAddr {
    match act {
        Act::Join(MemberPlan {
            local: LegLocal::Rtp { rtp, .. },
            ..
        }) => *rtp,
        other => panic!("not bound: {other:?}"),
    }
}

fn facts(act: &Act) -> &[MemberFacts] {
    match act {
        Act::Leave { facts, .. } => facts,
        other => panic!("not a leave: {other:?}"),
    }
}

/// A datagram that was sent: from, to, octets.
pub type Sent = (SocketAddr, SocketAddr, Vec<u8>);

/// What isn't RTCP.
pub fn media(mut sent: Vec<Sent>) -> Vec<Sent> {
    sent.retain(|(_, _, packet)| !(192..=223).contains(&packet[1]));
    sent
}

/// A session with one forwarded room; where each member sends to.
pub struct Group {
    pub world: World,
    pub local: Vec<SocketAddr>,
}

pub fn group(directions: &[Direction], floor: Option<u16>) -> Group {
    let mut world = World::new(&config(10_000, 19_999));
    let mut acts = vec![room(AUDIO, floor)];
    for (member, _) in (0..).zip(directions) {
        acts.push(join(member, AUDIO));
    }
    let opened = world.order(1, acts);
    assert_eq!(opened.outcome, Outcome::Done);
    let local = opened.acts.iter().skip(1).map(local).collect();
    let connects = (0..).zip(directions);
    let acts = connects.map(|(member, direction)| connect(member, AUDIO, *direction));
    let connected = world.order(1, acts.collect());
    assert_eq!(connected.outcome, Outcome::Done);
    Group { world, local }
}

impl Group {
    /// A member sends a packet; says to whom it went, and the numbers they got.
    fn says(&mut self, member: u32, seq: u16) -> Vec<(SocketAddr, u16)> {
        let packet = rtp(seq, u8::try_from(member % 250).unwrap());
        let to = self.local[member as usize];
        let sent = media(self.world.datagram(client(member), to, &packet));
        let payload = &packet[12..];
        sent.into_iter()
            .map(|(_, to, bytes)| {
                assert_eq!(&bytes[12..], payload, "as it came");
                (to, u16::from_be_bytes([bytes[2], bytes[3]]))
            })
            .collect()
    }

    fn dropped(&self, why: DropReason) -> u64 {
        self.world.dropped(why)
    }

    /// Everybody leaves; nothing may be left of the session.
    fn end(&mut self) -> Vec<MemberFacts> {
        self.world.send(1, vec![leave(None, StreamSet::ALL)]);
        self.world.cycle();
        self.world.pass(2000);
        let done = self.world.done().pop().expect("the order comes back");
        assert_eq!(done.outcome, Outcome::Done);
        self.is_empty();
        facts(&done.acts[0]).to_vec()
    }

    fn is_empty(&mut self) {
        let worker = &mut self.world.worker;
        assert!(worker.sessions.is_empty() && worker.streams.is_empty());
        assert!(worker.rooms.is_empty());
        assert_eq!(worker.stats.members, 0);
        assert_eq!(worker.stats.sockets, 1, "the listener");
        assert_eq!(self.world.net.borrow().sockets.len(), 1);
        assert_eq!(worker.pool.free(Class::Datagram), 1024);
        self.world.pass(6000);
        let (free, total) = (
            self.world.worker.ports.free(self.world.now),
            self.world.worker.ports.total(),
        );
        assert_eq!(free, total);
    }
}

#[test]
fn upl_03_what_the_sender_sends_goes_to_each_receiver_and_nothing_of_receivers_passes() {
    let mut group = group(&[SENDS, LISTENS, LISTENS], None);
    assert_eq!(group.says(0, 7), [(client(1), 7), (client(2), 7)]);
    assert_eq!(group.says(1, 100), []);
    assert_eq!(group.dropped(DropReason::Direction), 1);
    assert_eq!(group.says(0, 8), [(client(1), 8), (client(2), 8)]);
    let facts = group.end();
    let said: Vec<_> = facts
        .iter()
        .map(|fact| (fact.member.0, fact.leg.packets, fact.leg.dropped, fact.sent))
        .collect();
    assert_eq!(said, [(0, 2, 0, 0), (1, 1, 1, 2), (2, 0, 0, 2)]);
}

#[test]
fn upl_05_only_who_has_the_floor_is_heard_from_the_next_packet_on() {
    let mut group = group(&[TALKS; 3], Some(1));
    assert_eq!(group.says(0, 1), [], "nobody has it yet");
    let give = |group: &mut Group, holders: &[u32]| {
        let holders = holders.iter().copied().map(MemberId).collect();
        let floor = FloorId(1);
        let order = group
            .world
            .order(1, vec![Act::GiveFloor { floor, holders }]);
        assert_eq!(order.outcome, Outcome::Done);
    };
    give(&mut group, &[1]);
    assert_eq!(group.says(0, 2), []);
    assert_eq!(group.says(1, 50), [(client(0), 50), (client(2), 50)]);
    assert_eq!(group.dropped(DropReason::Floor), 2);
    give(&mut group, &[0]);
    assert_eq!(group.says(1, 51), []);
    assert_eq!(group.says(0, 3), [(client(1), 51), (client(2), 51)]);
    give(&mut group, &[]);
    assert_eq!(group.says(0, 4), []);
    assert_eq!(group.dropped(DropReason::Floor), 4);
    group.end();
}

#[test]
fn a_member_has_the_floor_that_it_was_given_before_it_joined() {
    let mut group = group(&[LISTENS], Some(1));
    let holders = vec![MemberId(1)];
    let floor = FloorId(1);
    let acts = vec![
        Act::GiveFloor { floor, holders },
        join(1, AUDIO),
        connect(1, AUDIO, TALKS),
    ];
    let joined = group.world.order(1, acts);
    group.local.push(local(&joined.acts[1]));
    assert_eq!(group.says(1, 9), [(client(0), 9)]);
}

#[test]
fn upl_06_who_does_not_use_a_stream_gets_nothing_of_it() {
    let mut group = group(&[TALKS; 3], None);
    let acts = vec![
        room(VIDEO, None),
        join(0, VIDEO),
        join(1, VIDEO),
        connect(0, VIDEO, TALKS),
        connect(1, VIDEO, TALKS),
    ];
    let opened = group.world.order(1, acts);
    let video = local(&opened.acts[1]);
    let sent = media(group.world.datagram(client(0), video, &rtp(1, 1)));
    let to: Vec<_> = sent.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(to, [client(1)], "the third has audio only");
    assert_eq!(group.says(2, 5), [(client(0), 5), (client(1), 5)]);
    let left = group.world.order(1, vec![leave(Some(1), only(VIDEO))]);
    assert_eq!(facts(&left.acts[0])[0].stream, StreamId(VIDEO));
    let sent = media(group.world.datagram(client(0), video, &rtp(2, 1)));
    assert!(sent.is_empty());
    assert_eq!(group.says(2, 6), [(client(0), 6), (client(1), 6)]);
    group.end();
}

#[test]
fn the_others_do_not_notice_who_joins_leaves_or_holds() {
    let mut group = group(&[TALKS; 3], None);
    for seq in 0..100 {
        match seq {
            20 => {
                let acts = vec![join(3, AUDIO), connect(3, AUDIO, LISTENS)];
                group.world.order(1, acts);
            }
            40 => {
                group.world.order(1, vec![connect(3, AUDIO, SENDS)]);
            }
            60 => {
                group.world.order(1, vec![connect(3, AUDIO, LISTENS)]);
            }
            80 => {
                group.world.order(1, vec![leave(Some(3), StreamSet::ALL)]);
            }
            _ => {}
        }
        let heard = group.says(0, seq);
        let mut expected = vec![(client(1), seq), (client(2), seq)];
        match seq {
            20..40 => expected.push((client(3), seq)),
            60..80 => expected.push((client(3), seq - 20)),
            _ => {}
        }
        assert_eq!(heard, expected);
    }
    assert_eq!(group.end().len(), 3);
}

#[test]
fn a_member_behind_nat_is_sent_to_where_it_is_heard() {
    let mut group = group(&[TALKS], None);
    let acts = vec![join_with(1, AUDIO, LEARN), connect(1, AUDIO, LISTENS)];
    let joined = group.world.order(1, acts);
    let behind = address("198.51.100.7:1024");
    assert_eq!(group.says(0, 1), [(client(1), 1)], "until it is heard");
    // It may send nothing, but a hole in its NAT is needed all the same.
    let sent = media(
        group
            .world
            .datagram(behind, local(&joined.acts[0]), &rtp(1, 9)),
    );
    assert!(sent.is_empty());
    assert_eq!(group.says(0, 2), [(behind, 2)]);
}

#[test]
fn a_member_that_falls_silent_is_told_and_so_is_its_return() {
    let mut group = group(&[TALKS, LISTENS], None);
    group.world.pass(2000);
    let told: Vec<_> = group.world.news.drain(..).collect();
    assert!(
        matches!(
            told[..],
            [Event::MemberSilent {
                member: MemberId(0),
                stream: StreamId(AUDIO),
                ..
            }]
        ),
        "{told:?}"
    );
    group.says(0, 1);
    group.world.pass(500);
    let told: Vec<_> = group.world.news.drain(..).collect();
    let [Event::MemberHeard { member, .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(member, MemberId(0));
}

#[test]
fn an_order_that_cannot_be_done_whole_is_not_begun() {
    let mut group = group(&[TALKS], None);
    let before = group.world.worker.stats.sockets;
    for (acts, why) in [
        (vec![join(1, AUDIO), join(1, AUDIO)], Refusal::Unknown),
        (vec![join(1, AUDIO), join(0, AUDIO)], Refusal::Unknown),
        (vec![join(1, AUDIO), join(1, 7)], Refusal::Unknown),
        (
            vec![join(1, AUDIO), connect(2, AUDIO, TALKS)],
            Refusal::Unknown,
        ),
        (vec![join(1, AUDIO), room(AUDIO, None)], Refusal::Unknown),
        (
            vec![
                join(1, AUDIO),
                leave(Some(1), only(AUDIO)),
                connect(1, AUDIO, TALKS),
            ],
            Refusal::Unknown,
        ),
        (
            vec![leave(None, only(AUDIO)), join(1, AUDIO)],
            Refusal::Unknown,
        ),
    ] {
        let said = format!("{acts:?}");
        let order = group.world.order(1, acts);
        assert_eq!(order.outcome, Outcome::Refused(why), "{said}");
        assert_eq!(group.world.worker.stats.sockets, before, "{said}");
        assert_eq!(group.world.worker.stats.members, 1, "{said}");
    }
    let nobody = group.world.order(9, vec![join(1, AUDIO)]);
    assert_eq!(nobody.outcome, Outcome::Refused(Refusal::Unknown));
    group.world.net.borrow_mut().bad_ip = Some("10.0.0.1".parse().unwrap());
    let order = group
        .world
        .order(1, vec![room(VIDEO, None), join(1, VIDEO)]);
    assert_eq!(order.outcome, Outcome::Refused(Refusal::Socket));
    assert_eq!(group.world.worker.rooms.len(), 1);
    group.end();
}

#[test]
fn a_member_may_come_again_by_the_order_that_it_leaves_by() {
    let mut group = group(&[TALKS, TALKS], None);
    let acts = vec![
        leave(Some(1), StreamSet::ALL),
        join(1, AUDIO),
        connect(1, AUDIO, TALKS),
    ];
    let order = group.world.order(1, acts);
    assert_eq!(order.outcome, Outcome::Done);
    assert_eq!(facts(&order.acts[0])[0].member, MemberId(1));
    group.local[1] = local(&order.acts[1]);
    assert_eq!(group.says(1, 1), [(client(0), 1)]);
    group.end();
}

#[test]
fn streams_of_two_legs_and_rooms_are_in_one_session() {
    let mut group = group(&[TALKS, TALKS], None);
    let opened = group.world.order(1, vec![open(5, &rtp_spec(true, LEARN))]);
    assert_eq!(opened.outcome, Outcome::Done);
    let both = vec![Act::Report { facts: Vec::new() }, release(only(5), 0)];
    let released = group.world.order(1, both);
    for act in &released.acts {
        let (Act::Report { facts } | Act::Release { facts, .. }) = act else {
            panic!()
        };
        assert_eq!(facts.len(), 1, "rooms say nothing here");
    }
    assert_eq!(group.says(0, 1), [(client(1), 1)]);
    let released = group.world.order(1, vec![release(StreamSet::ALL, 0)]);
    assert_eq!(released.outcome, Outcome::Done);
    group.is_empty();
}

#[test]
fn a_room_of_three_thousand_is_made_and_ended_in_slices() {
    let mut world = World::new(&config(10_000, 19_999));
    world.order(1, vec![room(AUDIO, None)]);
    let members: Vec<u32> = (0..3000).collect();
    let mut local_of = Vec::new();
    for part in members.chunks(30) {
        let mut acts: Vec<_> = part.iter().map(|member| join(*member, AUDIO)).collect();
        acts.extend(part.iter().map(|member| connect(*member, AUDIO, TALKS)));
        let order = world.order(1, acts);
        assert_eq!(order.outcome, Outcome::Done);
        local_of.extend(order.acts.iter().take(part.len()).map(local));
    }
    let mut group = Group {
        world,
        local: local_of,
    };
    let heard = group.says(1500, 77);
    assert_eq!(heard.len(), 2999);
    assert!(
        heard
            .iter()
            .all(|(to, seq)| *seq == 77 && *to != client(1500))
    );
    group.world.send(1, vec![leave(None, StreamSet::ALL)]);
    let mut before = group.world.worker.stats.sockets;
    let mut done = Vec::new();
    while done.is_empty() {
        group.world.pass(1);
        let now = group.world.worker.stats.sockets;
        assert!(before - now <= 2 * LEAVES_PER_CYCLE as u64, "packets wait");
        before = now;
        done = group.world.done();
    }
    assert_eq!(facts(&done[0].acts[0]).len(), 3000);
    group.is_empty();
}

#[test]
fn a_full_room_takes_no_more_and_says_so() {
    let mut group = group(&[], None);
    let member = |number: usize| u32::try_from(number).unwrap();
    for number in 0..MEMBERS_PER_ROOM {
        let order = group.world.order(1, vec![join(member(number), AUDIO)]);
        assert_eq!(order.outcome, Outcome::Done);
    }
    let order = group
        .world
        .order(1, vec![join(member(MEMBERS_PER_ROOM), AUDIO)]);
    assert_eq!(order.outcome, Outcome::Refused(Refusal::Full));
    assert_eq!(group.world.worker.stats.full_rooms, 1);
}
