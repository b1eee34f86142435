//! Rooms of MSRP over a backend in memory: ordered by control, used by members.

use crate::api::{
    Act, Direction, Event, FanSpec, FloorId, LegLocal, LegSpec, MemberId, MemberPlan, MsrpRemote,
    MsrpSetup, MsrpSpec, Outcome, Remote, RoomKind, RoomPlan, RtpFormats, StreamId,
};
use crate::frame::Class;
use crate::net::SocketId;

use super::fake::{LOCAL, World, address, config};
use super::msrp::listen;
use super::rooms::{leave, only};

const CHAT: u8 = 3;
const HELD: Direction = Direction {
    may_send: false,
    may_receive: false,
};

struct Group {
    world: World,
    /// The relay's URI for each member, and its connection.
    members: Vec<(Box<str>, SocketId)>,
}

fn far(member: u32) -> Box<str> {
    format!("msrp://192.0.2.{}:7000/far{member};tcp", member % 250).into()
}

fn connect(member: u32, direction: Direction) -> Act {
    Act::ConnectMember {
        member: MemberId(member),
        stream: StreamId(CHAT),
        remote: Remote::Msrp(MsrpRemote {
            path: far(member),
            address: address("192.0.2.1:7000"),
            setup: MsrpSetup::Passive,
            fingerprint: None,
            local_path: None,
        }),
        direction,
        formats: RtpFormats::default(),
    }
}

fn join(member: u32) -> Act {
    Act::Join(MemberPlan {
        member: MemberId(member),
        stream: StreamId(CHAT),
        leg: LegSpec::Msrp(MsrpSpec::plain(LOCAL.parse().unwrap())),
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: Some(format!("<sip:{member}@example.com>").into()),
    })
}

fn group(members: u32, floor: Option<u16>) -> Group {
    let mut world = World::new(&config(10_000, 10_099));
    let opened = world.order(
        1,
        vec![Act::OpenRoom(RoomPlan {
            stream: StreamId(CHAT),
            kind: RoomKind::FanOut(FanSpec::default()),
            floor: floor.map(FloorId),
        })],
    );
    assert_eq!(opened.outcome, Outcome::Done);
    let mut group = Group {
        world,
        members: Vec::new(),
    };
    for member in 0..members {
        group.add(member);
    }
    group
}

impl Group {
    fn add(&mut self, member: u32) {
        let world = &mut self.world;
        let joined = world.order(1, vec![join(member), connect(member, Direction::BOTH)]);
        assert_eq!(joined.outcome, Outcome::Done);
        let Act::Join(MemberPlan {
            local: LegLocal::Msrp(local),
            ..
        }) = &joined.acts[0]
        else {
            panic!("not bound: {:?}", joined.acts[0])
        };
        let id = str::from_utf8(&local.session_id).unwrap();
        let path: Box<str> = format!("msrp://{}/{id};tcp", local.listen).into();
        let socket = world
            .net
            .borrow_mut()
            .accept(listen(), address("192.0.2.9:9"));
        world.cycle();
        self.members.push((path.clone(), socket));
        self.say(member, "bind", None);
        assert!(self.hear(member).starts_with("MSRP bind 200"));
    }

    fn say(&mut self, member: u32, id: &str, body: Option<&str>) {
        let (path, socket) = self.members[member as usize].clone();
        let from = far(member);
        let body: Box<str> = match body {
            Some(body) => format!("Content-Type: message/cpim\r\n\r\n{body}\r\n").into(),
            None => "".into(),
        };
        let frame = format!(
            "MSRP {id} SEND\r\nTo-Path: {path}\r\nFrom-Path: {from}\r\nMessage-ID: m{id}\r\n\
             {body}-------{id}$\r\n"
        );
        self.world.net.borrow_mut().feed(socket, frame.as_bytes());
        self.world.cycle();
        self.world.cycle();
    }

    /// What was written to a member since this was asked last.
    fn hear(&self, member: u32) -> Box<str> {
        let socket = self.members[member as usize].1;
        let mut net = self.world.net.borrow_mut();
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        let bytes = std::mem::take(&mut sock.written);
        str::from_utf8(&bytes).unwrap().into()
    }

    /// A member answers the one SEND that it heard.
    fn answer(&mut self, member: u32, heard: &str) {
        let id = heard.split(' ').nth(1).unwrap();
        let (path, socket) = self.members[member as usize].clone();
        let from = far(member);
        let frame =
            format!("MSRP {id} 200 OK\r\nTo-Path: {path}\r\nFrom-Path: {from}\r\n-------{id}$\r\n");
        self.world.net.borrow_mut().feed(socket, frame.as_bytes());
        self.world.cycle();
    }
}

const HELLO: &str =
    "From: <sip:evil@x>\r\nTo: <sip:g@x>\r\n\r\nContent-Type: text/plain\r\n\r\nhello";

#[test]
fn upl_04_members_of_a_room_hear_each_other_under_their_own_names() {
    let mut group = group(3, None);
    group.say(1, "abcd", Some(HELLO));
    assert!(group.hear(1).starts_with("MSRP abcd 200"));
    for member in [0, 2] {
        let heard = group.hear(member);
        assert!(
            heard.contains("From: <sip:1@example.com>\r\nTo: <sip:g@x>"),
            "{heard}"
        );
        assert!(heard.contains(&format!("To-Path: {}", far(member))));
        group.answer(member, &heard);
    }
    let stats = &group.world.worker.stats;
    assert_eq!((stats.msrp_delivered, stats.msrp_open), (2, 0));
    let left = group.world.order(1, vec![leave(Some(1), only(CHAT))]);
    let Act::Leave { facts, .. } = &left.acts[0] else {
        panic!()
    };
    assert_eq!((facts[0].member, facts[0].sent), (MemberId(1), 0));
    assert_eq!(facts[0].leg.messages, 1);
    group.say(0, "efgh", Some(HELLO));
    assert!(group.hear(2).contains("From: <sip:0@example.com>"));
    let left = group.world.order(1, vec![leave(None, only(CHAT))]);
    let Act::Leave { facts, .. } = &left.acts[0] else {
        panic!()
    };
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].sent, 2, "both messages");
    group.world.pass(5000);
    let worker = &group.world.worker;
    assert!(worker.streams.is_empty());
    assert_eq!(worker.stats.sockets, 1, "the listener");
    assert_eq!(worker.pool.free(Class::Stream), 256);
}

#[test]
fn who_leaves_is_written_out_first() {
    let mut group = group(2, None);
    group.say(0, "abcd", Some(HELLO));
    let mut act = leave(Some(1), only(CHAT));
    if let Act::Leave { drain_ms, .. } = &mut act {
        *drain_ms = 10_000;
    }
    group.world.send(1, vec![act]);
    group.world.pass(50);
    assert!(group.world.news.is_empty(), "it waits for an answer");
    let heard = group.hear(1);
    group.answer(1, &heard);
    group.world.pass(50);
    let news = group.world.news.pop();
    let Some(Event::Done(order)) = news else {
        panic!("{news:?}")
    };
    let Act::Leave { facts, .. } = &order.acts[0] else {
        panic!()
    };
    assert_eq!((facts[0].sent, facts[0].leg.packets), (1, 2));
}

#[test]
fn upl_05_only_who_holds_the_floor_is_heard() {
    let mut group = group(3, Some(1));
    group.say(0, "abcd", Some(HELLO));
    assert!(group.hear(0).starts_with("MSRP abcd 403"));
    let give = |members: &[u32]| Act::GiveFloor {
        floor: FloorId(1),
        holders: members.iter().copied().map(MemberId).collect(),
    };
    group.world.order(1, vec![give(&[0])]);
    group.say(0, "efgh", Some(HELLO));
    assert!(group.hear(0).starts_with("MSRP efgh 200"));
    assert!(group.hear(1).contains("hello") && group.hear(2).contains("hello"));
    group.world.order(1, vec![give(&[2])]);
    group.say(0, "ijkl", Some(HELLO));
    assert!(group.hear(0).starts_with("MSRP ijkl 403"));
    group.say(2, "mnop", Some(HELLO));
    assert!(group.hear(1).contains("hello"));
    group.world.order(1, vec![connect(2, HELD)]);
    group.say(2, "qrst", Some(HELLO));
    assert!(group.hear(2).contains("MSRP qrst 403"), "on hold");
}

#[test]
fn a_members_lost_connection_is_told_for_it_alone() {
    let mut group = group(3, None);
    let (_, socket) = group.members[1];
    group.world.net.borrow_mut().made(socket, false);
    group.world.cycle();
    let news: Vec<_> = group.world.news.drain(..).collect();
    assert!(
        matches!(
            news[..],
            [Event::MemberLost {
                member: MemberId(1),
                stream: StreamId(CHAT),
                ..
            }]
        ),
        "{news:?}"
    );
    group.say(0, "abcd", Some(HELLO));
    assert!(group.hear(0).starts_with("MSRP abcd 200"));
    assert!(group.hear(2).contains("hello"));
}

#[test]
fn upl_04_more_members_than_frames_all_hear_a_message() {
    let mut group = group(500, None);
    group.say(7, "abcd", Some(HELLO));
    for _ in 0..8 {
        group.world.cycle();
    }
    assert!(group.hear(7).starts_with("MSRP abcd 200"));
    for member in (0..500).filter(|member| *member != 7) {
        assert!(group.hear(member).contains("hello"), "{member}");
    }
    let worker = &group.world.worker;
    assert_eq!(worker.stats.full_pool, 0);
    assert_eq!(worker.pool.free(Class::Stream), 256);
}
