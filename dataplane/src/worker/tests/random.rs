//! Random orders and packets: whatever happens, everything comes back in the end.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::{
    Act, Direction, Learn, LegSpec, MsrpRemote, MsrpSetup, MsrpSpec, Outcome, Remote, RtpRemote,
    Side, StreamId, StreamSet,
};
use crate::frame::Class;
use crate::net::SocketId;

use super::fake::{Kind, LEARN, LOCAL, World, address, config, open, release, rtp, rtp_spec};

const CLIENT: &str = "192.0.2.1:4000";

fn spec(random: &mut StdRng) -> LegSpec {
    let local_ip = LOCAL.parse().unwrap();
    match random.random_range(0..4) {
        0 => rtp_spec(true, LEARN),
        1 => rtp_spec(false, Learn::Never),
        2 => LegSpec::Bytes { local_ip },
        _ => LegSpec::Msrp(MsrpSpec {
            match_session_id_only: random.random(),
            ..MsrpSpec::plain(local_ip)
        }),
    }
}

fn remote(random: &mut StdRng) -> Remote {
    let at = address(CLIENT);
    let setup = if random.random() {
        MsrpSetup::Active
    } else {
        MsrpSetup::Passive
    };
    match random.random_range(0..3) {
        0 => Remote::Rtp(RtpRemote { rtp: at, rtcp: at }),
        1 => Remote::Bytes { address: at, setup },
        _ => Remote::Msrp(MsrpRemote {
            path: "msrp://192.0.2.1:4000/aaaa;tcp".into(),
            address: at,
            setup,
            fingerprint: None,
            local_path: None,
        }),
    }
}

fn act(random: &mut StdRng) -> Act {
    let stream = random.random_range(0..4);
    match random.random_range(0..8) {
        0..=2 => open(stream, &spec(random)),
        3..=5 => Act::Connect {
            stream: StreamId(stream),
            side: Side::BOTH[random.random_range(0..2)],
            remote: remote(random),
            direction: Direction {
                may_send: random.random(),
                may_receive: random.random(),
            },
        },
        6 => release(
            StreamSet::default().with(StreamId(stream)),
            random.random_range(0..200),
        ),
        _ => Act::Report { facts: Vec::new() },
    }
}

/// Something happens at a socket: a packet, a connection, bytes, an end.
fn happen(world: &World, random: &mut StdRng) {
    let mut net = world.net.borrow_mut();
    let all: Vec<(u32, std::net::SocketAddr, Kind)> = net
        .sockets
        .iter()
        .map(|(id, sock)| (*id, sock.local, sock.kind))
        .collect();
    let (id, local, kind) = all[random.random_range(0..all.len())];
    let bytes = rtp(random.random(), random.random_range(0..3));
    match random.random_range(0..5) {
        0 if kind == Kind::Listener => {
            net.accept(local, address(CLIENT));
        }
        1 if net.is_connection(SocketId(id)) => net.feed(SocketId(id), &bytes),
        2 if net.is_connection(SocketId(id)) => {
            net.made(SocketId(id), random.random());
        }
        _ => net.push(address(CLIENT), local, &bytes),
    }
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(&config(10_000, 10_063));
    let (mut sent, mut done, mut refused) = (0, 0, 0);
    for _ in 0..600 {
        if random.random_bool(0.5) {
            let session = random.random_range(0..10);
            let acts = (0..random.random_range(1..4)).map(|_| act(&mut random));
            world.send(session, acts.collect());
            sent += 1;
        }
        happen(&world, &mut random);
        world.pass(random.random_range(1..30));
        for order in world.done() {
            done += 1;
            refused += u32::from(order.outcome != Outcome::Done);
        }
    }
    for session in 0..10 {
        world.send(session, vec![release(StreamSet::ALL, 100)]);
        sent += 1;
    }
    // The longest quiet time, and connections that nobody bound.
    world.pass(40_000);
    done += world.done().len();
    assert_eq!(done, sent, "seed {seed}: every order comes back");
    assert!(
        refused > 0 && refused < 600,
        "seed {seed}: {refused} refused"
    );
    assert!(world.worker.sessions.is_empty(), "seed {seed}");
    assert!(world.worker.streams.is_empty(), "seed {seed}");
    assert_eq!(world.worker.ports.free(world.now), 64, "seed {seed}");
    assert_eq!(
        world.net.borrow().sockets.len(),
        1,
        "seed {seed}: the listener"
    );
    assert_eq!(world.worker.stats.sockets, 1, "seed {seed}");
    assert_eq!(world.worker.pool.free(Class::Datagram), 1024, "seed {seed}");
    assert_eq!(world.worker.pool.free(Class::Stream), 256, "seed {seed}");
}

#[test]
fn whatever_happens_everything_comes_back() {
    for seed in 0..30 {
        run(seed);
    }
}
