//! The same with two workers that run by themselves, one of which panics.

use std::net::SocketAddr;

use crate::api::{
    Act, BackendKind, Config, Doorbell, Event, Learn, LegLocal, LegSpec, MemberId, MemberPlan,
    Outcome, Remote, RtpRemote, StreamId, StreamSet, road,
};
use crate::frame::Pool;
use crate::net::mmsg::Mmsg;
use crate::worker::start::{Birth, start_with};
use crate::worker::{Handle, start_one};

use super::super::fake::{order, rtp};
use super::super::panic::Brittle;
use super::super::rooms::{TALKS, connect, leave, local, room};
use super::super::start::{client, real, wait_for};
use super::{AUDIO, OUTPOST, outpost_room};

fn live_brittle(birth: Birth) {
    let backend = Mmsg::new(birth.bell()).unwrap();
    let pool = Pool::new(birth.config.pool);
    birth.run(Brittle(backend), pool, BackendKind::Epoll);
}

/// Opens one session on two started workers, with a member on each; where they send to.
fn open_on(home: &mut Handle, outpost: &mut Handle, clients: [SocketAddr; 2]) -> [SocketAddr; 2] {
    let (here, there) = road(&home.link, &outpost.link);
    let open = |end| Act::OpenRoad {
        outpost: OUTPOST,
        end: Some(Box::new(end)),
    };
    let spec = LegSpec::Rtp {
        local_ip: "127.0.0.1".parse().unwrap(),
        rtcp_mux: true,
        learn: Learn::Never,
    };
    let with = |member, leg: LegSpec| {
        Act::Join(MemberPlan {
            member: MemberId(member),
            stream: StreamId(AUDIO),
            leg,
            local: LegLocal::Unbound,
            silence_ms: 0,
            identity: None,
        })
    };
    let at = |member: u32, far: SocketAddr| {
        let mut act = connect(member, AUDIO, TALKS);
        if let Act::ConnectMember { remote, .. } = &mut act {
            *remote = Remote::Rtp(RtpRemote {
                rtp: far,
                rtcp: far,
            });
        }
        act
    };
    let acts = vec![
        open(there),
        outpost_room(),
        with(100, spec.clone()),
        at(100, clients[1]),
    ];
    outpost.link.order(order(1, acts)).unwrap();
    let away = wait_for(outpost);
    let acts = vec![
        room(AUDIO, None),
        open(here),
        with(0, spec),
        with(100, LegSpec::Away(OUTPOST)),
        at(0, clients[0]),
        at(100, clients[1]),
    ];
    home.link.order(order(1, acts)).unwrap();
    let here = wait_for(home);
    [local(&here.acts[2]), local(&away.acts[2])]
}

#[test]
fn a_panic_at_an_outpost_is_told_as_the_loss_of_its_members() {
    let bell = Doorbell::new().unwrap();
    let config = Config {
        port_first: 46_800,
        port_last: 46_999,
        ..real(BackendKind::Epoll)
    };
    let mut home = start_one(&config, 0, &bell).unwrap();
    let other = Config {
        port_first: 47_000,
        port_last: 47_199,
        ..config
    };
    let mut outpost = start_with(&other, 0, &bell, live_brittle).unwrap();
    let clients = [(); 2].map(|()| client());
    let [here, away] = open_on(
        &mut home,
        &mut outpost,
        clients.each_ref().map(|(_, at)| *at),
    );
    let mut bytes = [0; 100];
    clients[0].0.send_to(&rtp(1, 9), here).unwrap();
    let heard = clients[1].0.recv(&mut bytes).unwrap();
    assert!(heard >= 12);
    clients[1].0.send_to(&rtp(5, 8), away).unwrap();
    let heard = clients[0].0.recv(&mut bytes).unwrap();
    assert!(heard >= 12);
    clients[1].0.send_to(b"!", away).unwrap();
    let lost = loop {
        match home.link.news() {
            Some(Event::MemberLost { member, .. }) => break member,
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(lost, MemberId(100));
    assert!(outpost.thread.join().is_err());
    let acts = vec![leave(None, StreamSet::ALL)];
    home.link.order(order(1, acts)).unwrap();
    assert_eq!(wait_for(&mut home).outcome, Outcome::Done);
}
