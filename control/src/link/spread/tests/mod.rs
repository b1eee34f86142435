mod lost;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use dataplane::api::{
    BackendKind, Config, Direction, Doorbell, Event, Learn, LegLocal, LegSpec, MemberPlan,
    OriginPolicy, PayloadFormat, PortChoice, Remote, RoomKind, RoomPlan, RtpFormats, RtpRemote,
    StreamId,
};
use dataplane::frame::PoolSize;

use super::*;
use crate::link::Links;

const SESSION: SessionId = SessionId(7);
const ROOM: StreamId = StreamId(0);
const OTHER: StreamId = StreamId(1);

fn order(mark: u64, acts: Vec<Act>) -> Box<Order> {
    Box::new(Order {
        session: SESSION,
        mark,
        acts,
        outcome: Outcome::Pending,
        returned: Vec::new(),
    })
}

fn open() -> Act {
    open_in(ROOM)
}

fn open_in(stream: StreamId) -> Act {
    Act::OpenRoom(RoomPlan {
        stream,
        kind: RoomKind::Forward,
        floor: None,
    })
}

fn join(member: u32) -> Act {
    join_in(ROOM, member)
}

fn join_in(stream: StreamId, member: u32) -> Act {
    Act::Join(MemberPlan {
        member: MemberId(member),
        stream,
        leg: LegSpec::Rtp {
            local_ip: "127.0.0.1".parse().unwrap(),
            rtcp_mux: true,
            learn: Learn::Never,
        },
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    })
}

fn connect(member: u32, far: SocketAddr) -> Act {
    Act::ConnectMember {
        member: MemberId(member),
        stream: ROOM,
        remote: Remote::Rtp(RtpRemote {
            rtp: far,
            rtcp: far,
        }),
        direction: Direction::BOTH,
        formats: RtpFormats {
            payloads: vec![PayloadFormat {
                payload_type: 0,
                format: 0,
                clock_rate: 8000,
            }],
            ..RtpFormats::default()
        },
    }
}

fn leave(member: Option<u32>) -> Act {
    leave_of(StreamSet::ALL, member)
}

fn leave_of(streams: StreamSet, member: Option<u32>) -> Act {
    Act::Leave {
        member: member.map(MemberId),
        streams,
        drain_ms: 0,
        facts: Vec::new(),
    }
}

fn links(workers: usize, ports: u16, members: usize) -> Links {
    let config = Config {
        workers,
        first_core: None,
        backend: BackendKind::Epoll,
        port_first: ports,
        port_last: ports + 199,
        port_quiet_ms: 0,
        msrp_listen: Vec::new(),
        msrp_ports: PortChoice::only_tcp(0),
        msrp_tls: None,
        msrp_origins: OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize::default(),
        seed: Some(1),
    };
    let handles = dataplane::start(&config, &Doorbell::new().unwrap()).unwrap();
    Links::new(handles).spread(members)
}

/// Waits for the next order that is done; whose it is said to be is told, too.
fn done(links: &mut Links) -> Order {
    loop {
        match links.news() {
            Some((worker, Event::Done(order))) => {
                assert_eq!(worker, 0, "the engine knows the home alone");
                return *order;
            }
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
}

fn obey(links: &mut Links, acts: Vec<Act>) -> Order {
    links.order(0, order(1, acts));
    done(links)
}

fn port(act: &Act) -> SocketAddr {
    match act {
        Act::Join(MemberPlan {
            leg: LegSpec::Rtp { .. },
            local: LegLocal::Rtp { rtp, .. },
            ..
        }) => *rtp,
        other => panic!("it isn't as it was ordered, or not bound: {other:?}"),
    }
}

struct Phone {
    socket: UdpSocket,
    relay: Option<SocketAddr>,
}

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        Self {
            socket,
            relay: None,
        }
    }

    fn at(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn say(&self, word: u8) {
        let packet = [0x80, 0, 0, word, 0, 0, 0, 1, 0, 0, 0, 9, word];
        self.socket.send_to(&packet, self.relay.unwrap()).unwrap();
    }

    fn hear(&self) -> u8 {
        let mut bytes = [0; 500];
        loop {
            let (length, from) = self.socket.recv_from(&mut bytes).unwrap();
            assert_eq!(Some(from), self.relay);
            // Reports come, too.
            if bytes[1] & 0x7f == 0 {
                return bytes[length - 1];
            }
        }
    }
}

/// Lets so many members join one by one, each connected.
fn group(links: &mut Links, members: u32) -> Vec<Phone> {
    assert_eq!(obey(links, vec![open()]).outcome, Outcome::Done);
    (0..members).map(|member| come(links, member)).collect()
}

fn come(links: &mut Links, member: u32) -> Phone {
    let mut phone = Phone::new();
    let joined = obey(links, vec![join(member)]);
    assert_eq!(joined.outcome, Outcome::Done);
    phone.relay = Some(port(&joined.acts[0]));
    let connected = obey(links, vec![connect(member, phone.at())]);
    assert_eq!(connected.outcome, Outcome::Done);
    phone
}

fn members(links: &Links) -> Vec<usize> {
    let (mut of, home) = (vec![0; links.len()], 0);
    if let Some(session) = links.spread.sessions.get(&SESSION) {
        of[home] = session.count(Place::Home);
        for outpost in &session.state.outposts {
            of[outpost.worker] += session.count(Place::Away(outpost.id));
        }
    }
    of
}

fn end(links: &mut Links, there: usize) {
    let ended = obey(links, vec![leave(None)]);
    assert_eq!(ended.outcome, Outcome::Done);
    let Act::Leave { facts, .. } = &ended.acts[0] else {
        panic!("it comes back as it was")
    };
    assert_eq!(facts.len(), there);
    assert!(links.spread.sessions.is_empty(), "nothing is kept of it");
}

#[test]
fn a_session_larger_than_a_worker_is_heard_on_all_its_workers() {
    let mut links = links(3, 44_000, 2);
    let phones = group(&mut links, 5);
    assert_eq!(members(&links), [2, 2, 1]);
    // Four may send at a time.
    for speaker in [0, 2, 3, 4] {
        let word = u8::try_from(speaker).unwrap();
        phones[speaker].say(word);
        for (at, other) in phones.iter().enumerate() {
            if at != speaker {
                assert_eq!(other.hear(), word, "member {at} hears {word}");
            }
        }
    }
    let left = obey(&mut links, vec![leave(Some(3))]);
    let Act::Leave { facts, .. } = &left.acts[0] else {
        panic!("it comes back as it was")
    };
    // What came from it is known where its leg was, what was sent to it at home.
    assert_eq!(
        (facts.len(), facts[0].leg.packets, facts[0].sent),
        (1, 1, 3)
    );
    assert_eq!(facts[0].leg.source, Some(phones[3].at()));
    assert_eq!(members(&links), [2, 1, 1]);
    let again = come(&mut links, 9);
    assert_eq!(members(&links), [2, 2, 1], "there is room again");
    phones[0].say(77);
    assert_eq!((again.hear(), phones[4].hear()), (77, 77));
    end(&mut links, 5);
    links.end();
}

#[test]
fn orders_of_a_session_are_done_in_their_order() {
    let mut links = links(2, 44_200, 1);
    let phones = group(&mut links, 1);
    // All at once: those of the first order are made in two steps meanwhile.
    links.order(0, order(10, vec![join(1), join(2)]));
    links.order(0, order(11, vec![connect(1, phones[0].at())]));
    links.order(0, order(12, vec![leave(Some(1)), join(3)]));
    links.order(0, order(13, vec![leave(None)]));
    let marks: Vec<_> = (0..4)
        .map(|_| {
            let done = done(&mut links);
            assert_eq!(done.outcome, Outcome::Done);
            done.mark
        })
        .collect();
    assert_eq!(marks, [10, 11, 12, 13]);
    assert!(links.spread.sessions.is_empty());
    links.end();
}

#[test]
fn what_is_refused_leaves_nothing_anywhere() {
    let mut links = links(2, 44_400, 1);
    let _phones = group(&mut links, 2);
    assert_eq!(members(&links), [1, 1]);
    // Refused at the outpost: it is there already.
    let refused = obey(&mut links, vec![join(5), join(1)]);
    assert!(matches!(refused.outcome, Outcome::Refused(_)));
    assert!(matches!(&refused.acts[0], Act::Join(plan) if plan.member == MemberId(5)));
    assert_eq!(members(&links), [1, 1]);
    // Refused at home, when the outpost has done its part: there is no such room.
    let elsewhere = join_in(StreamId(3), 6);
    let refused = obey(&mut links, vec![leave(Some(1)), join(6), elsewhere]);
    assert!(matches!(refused.outcome, Outcome::Refused(_)));
    assert_eq!(members(&links), [1, 1], "nor has anybody left");
    let joined = obey(&mut links, vec![join(6)]);
    assert_eq!(joined.outcome, Outcome::Done, "its name is free there");
    end(&mut links, 3);
    links.end();
}

#[test]
fn a_refused_order_takes_nothing_from_a_member_elsewhere() {
    let mut links = links(2, 44_800, 1);
    let phones = group(&mut links, 2);
    assert_eq!(
        obey(&mut links, vec![open_in(OTHER)]).outcome,
        Outcome::Done
    );
    // Refused at home, where the last one is already.
    let acts = vec![
        join_in(OTHER, 1),
        leave_of(plan::only(ROOM), Some(1)),
        join(0),
    ];
    let refused = obey(&mut links, acts);
    assert!(matches!(refused.outcome, Outcome::Refused(_)));
    phones[1].say(5);
    assert_eq!(phones[0].hear(), 5);
    phones[0].say(6);
    assert_eq!(phones[1].hear(), 6);
    end(&mut links, 2);
    links.end();
}

#[test]
fn whose_leg_a_refused_order_has_taken_is_told_to_be_lost() {
    let mut links = links(2, 45_000, 1);
    let phones = group(&mut links, 2);
    // Its name must be free at the outpost before it can join there again.
    let refused = obey(&mut links, vec![leave(Some(1)), join(1), join(0)]);
    assert!(matches!(refused.outcome, Outcome::Refused(_)));
    assert_eq!(members(&links), [1, 0]);
    links.order(0, order(2, vec![leave(Some(1))]));
    let mut lost = Vec::new();
    loop {
        match links.news() {
            Some((0, Event::MemberLost { member, stream, .. })) => lost.push((member, stream)),
            Some((_, Event::Done(order))) => {
                assert_eq!(order.outcome, Outcome::Done);
                break;
            }
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
    assert_eq!(lost, [(MemberId(1), ROOM)]);
    let again = come(&mut links, 1);
    assert_eq!(members(&links), [1, 1]);
    phones[0].say(6);
    assert_eq!(again.hear(), 6);
    end(&mut links, 2);
    links.end();
}

#[test]
fn a_session_on_one_worker_is_nobody_else_s_business() {
    let mut links = links(2, 44_600, 0);
    let phones = group(&mut links, 3);
    assert!(links.spread.sessions.is_empty());
    phones[0].say(5);
    assert_eq!((phones[1].hear(), phones[2].hear()), (5, 5));
    let ended = obey(&mut links, vec![leave(None)]);
    assert_eq!(ended.outcome, Outcome::Done);
    links.end();
}
