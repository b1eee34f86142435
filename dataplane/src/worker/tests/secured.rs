//! Floor control over TLS (RFC 8855 §7), and who may connect at all, over a backend in memory.

use std::net::SocketAddr;

use crate::api::{
    Act, BfcpTransport, Event, Fingerprint, MemberId, MsrpSetup, Outcome, Remote, StreamId,
    StreamSet,
};
use crate::frame::Class;
use crate::limits::{HANDSHAKE_MS, HANDSHAKE_STEPS_PER_CYCLE};
use crate::net::SocketId;
use crate::stats::DropReason;

use super::fake::{World, address};
use super::floors::{
    FLOOR, GRANTED, REQUEST, STATUS, bfcp_leg, far_with, floors_room, hellos, listen_of, message,
    read, talker,
};
use super::layers::{Identity, client, dialled, is_there, say, server, settings, talk};
use super::rooms::leave;

/// A room of floors whose members connect; where they do.
struct Scene {
    world: World,
    listen: Vec<SocketAddr>,
}

/// One whose members connect over TLS.
fn scene(members: u32, relay_offers: bool) -> Scene {
    scene_over(BfcpTransport::Tls, members, relay_offers)
}

fn scene_over(transport: BfcpTransport, members: u32, relay_offers: bool) -> Scene {
    let mut world = World::new(&settings());
    let mut acts = vec![floors_room(0)];
    acts.extend((0..members).map(|one| bfcp_leg(one, transport, relay_offers)));
    let opened = world.order(1, acts);
    assert_eq!(opened.outcome, Outcome::Done);
    let listen = opened.acts[1..].iter().map(listen_of).collect();
    Scene { world, listen }
}

impl Scene {
    fn connect(&mut self, member: u32, setup: MsrpSetup, certificate: Option<Fingerprint>) {
        let act: Act = far_with(member, setup, certificate);
        assert_eq!(self.world.order(1, vec![act]).outcome, Outcome::Done);
    }

    fn dials(&mut self, member: u32) -> SocketId {
        self.dialled_by(talker(member), member)
    }

    /// Somebody connects to where a member is to.
    fn dialled_by(&mut self, peer: SocketAddr, member: u32) -> SocketId {
        let to = self.listen[member as usize];
        let socket = self.world.net.borrow_mut().accept(to, peer);
        self.world.cycle();
        socket
    }

    /// A connection to the first member is there: it asks for the floor, and is told.
    fn asks_over(&mut self, transport: BfcpTransport, socket: SocketId) -> (u8, u16, u8, u8) {
        if transport == BfcpTransport::Tls {
            return read(&self.asks(0, socket, &mut client(&Identity::new())));
        }
        let asked = message(1, (REQUEST, 5, 0), &FLOOR);
        self.world.net.borrow_mut().feed(socket, &asked);
        self.world.cycle();
        let mut net = self.world.net.borrow_mut();
        read(&std::mem::take(
            &mut net.sockets.get_mut(&socket.0).unwrap().written,
        ))
    }

    /// A member asks for the floor; what it is told.
    fn asks(&mut self, member: u32, socket: SocketId, far: &mut rustls::Connection) -> Vec<u8> {
        say(far, &message(1, (REQUEST, 5, member), &FLOOR));
        talk(&mut self.world, socket, far)
    }

    fn is_closed(&self, socket: SocketId) -> bool {
        let net = self.world.net.borrow();
        let socket = net.sockets.get(&socket.0);
        socket.is_none_or(|socket| socket.ended)
    }

    fn lost(&mut self) -> Vec<u32> {
        self.world.pass(1000);
        let news = self.world.news.drain(..);
        let lost = news.filter_map(|event| match event {
            Event::MemberLost { member, stream, .. } => {
                assert_eq!(stream, StreamId(1));
                Some(member)
            }
            _ => None,
        });
        lost.map(|MemberId(member)| member).collect()
    }
}

#[test]
fn a_client_with_the_announced_certificate_gets_the_floor_over_tls() {
    let (mut scene, identity) = (scene(1, false), Identity::new());
    scene.connect(0, MsrpSetup::Passive, Some(identity.fingerprint()));
    let socket = scene.dials(0);
    let mut far = client(&identity);
    let heard = scene.asks(0, socket, &mut far);
    assert_eq!(read(&heard), (STATUS, 5, 1, GRANTED));
    assert_eq!(scene.world.worker.stats.handshakes, 1);
    // The far end says that nothing more comes: its floor is free, and it may connect again.
    far.send_close_notify();
    talk(&mut scene.world, socket, &mut far);
    assert!(scene.is_closed(socket));
    assert_eq!(scene.lost(), [0]);
    let again = scene.dials(0);
    let heard = scene.asks(0, again, &mut client(&identity));
    assert_eq!(read(&heard), (STATUS, 5, 2, GRANTED));
}

#[test]
fn who_leaves_is_told_that_nothing_more_comes() {
    let (mut scene, identity) = (scene(2, false), Identity::new());
    scene.connect(0, MsrpSetup::Passive, Some(identity.fingerprint()));
    let socket = scene.dials(0);
    let mut far = client(&identity);
    scene.asks(0, socket, &mut far);
    scene.world.net.borrow_mut().far_ends_linger = true;
    let all = vec![leave(Some(0), StreamSet::ALL)];
    assert_eq!(scene.world.order(1, all).outcome, Outcome::Done);
    let net = scene.world.net.borrow();
    let mut wire = &net.sockets[&socket.0].written[..];
    far.read_tls(&mut wire).unwrap();
    assert!(far.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_client_with_another_certificate_is_heard_by_nobody() {
    let (mut scene, announced) = (scene(1, false), Identity::new());
    scene.connect(0, MsrpSetup::Passive, Some(announced.fingerprint()));
    let socket = scene.dials(0);
    let heard = scene.asks(0, socket, &mut client(&Identity::new()));
    assert!(heard.is_empty() && scene.is_closed(socket));
    assert_eq!(scene.world.dropped(DropReason::Fingerprint), 1);
    assert_eq!(scene.lost(), [0]);
    // Who was announced comes in afterwards, and is the first who asks.
    let socket = scene.dials(0);
    let heard = scene.asks(0, socket, &mut client(&announced));
    assert_eq!(read(&heard), (STATUS, 5, 1, GRANTED));
}

#[test]
fn who_answers_the_relays_offer_is_the_server_of_tls_whoever_connects() {
    for relay_connects in [false, true] {
        let (mut scene, identity) = (scene(1, true), Identity::new());
        let setup = [MsrpSetup::Passive, MsrpSetup::Active][usize::from(relay_connects)];
        scene.connect(0, setup, Some(identity.fingerprint()));
        let socket = if relay_connects {
            let socket = dialled(&scene.world);
            scene.world.net.borrow_mut().made(socket, true);
            scene.world.cycle();
            socket
        } else {
            scene.dials(0)
        };
        let mut far = server(&identity);
        talk(&mut scene.world, socket, &mut far);
        let heard = scene.asks(0, socket, &mut far);
        assert_eq!(read(&heard), (STATUS, 5, 1, GRANTED), "{relay_connects}");
    }
}

#[test]
fn a_connection_that_is_there_before_its_answer_waits_for_it() {
    let (mut scene, identity) = (scene(2, false), Identity::new());
    let sockets = [0, 1].map(|member| scene.dials(member));
    let mut far = client(&identity);
    let heard = scene.asks(0, sockets[0], &mut far);
    assert!(heard.is_empty());
    assert_eq!(scene.world.worker.stats.handshakes, 0);
    scene.connect(0, MsrpSetup::Passive, Some(identity.fingerprint()));
    let heard = talk(&mut scene.world, sockets[0], &mut far);
    assert_eq!(read(&heard), (STATUS, 5, 1, GRANTED));
    // The other one's far end is to be connected to, so that what came is somebody else.
    scene.connect(1, MsrpSetup::Active, None);
    assert!(!is_there(&scene.world, sockets[1]));
    assert_eq!(scene.world.dropped(DropReason::Source), 1);
    let made = dialled(&scene.world);
    let to = scene.world.net.borrow().sockets[&made.0].remote;
    assert_eq!(to, Some(talker(1)));
    assert_eq!(scene.lost(), [], "it has had none yet");
}

#[test]
fn a_stranger_who_connects_before_the_answer_takes_no_members_floor_control() {
    for transport in [BfcpTransport::Tcp, BfcpTransport::Tls] {
        let mut scene = scene_over(transport, 1, false);
        let stranger = scene.dialled_by(address("203.0.113.9:999"), 0);
        // It asks for the floor in the member's name, and then for half of it.
        let mut asked = message(1, (REQUEST, 5, 0), &FLOOR).repeat(2);
        asked.truncate(asked.len() - 7);
        scene.world.net.borrow_mut().feed(stranger, &asked);
        scene.world.cycle();
        scene.connect(0, MsrpSetup::Passive, None);
        assert!(!is_there(&scene.world, stranger), "{transport:?}");
        assert_eq!(scene.world.dropped(DropReason::Source), 1);
        assert_eq!(scene.lost(), []);
        let socket = scene.dials(0);
        let (primitive, transaction, _, told) = scene.asks_over(transport, socket);
        assert_eq!((primitive, transaction, told), (STATUS, 5, GRANTED));
    }
}

#[test]
fn the_relay_connects_to_a_member_whoever_connected_before_the_answer() {
    for transport in [BfcpTransport::Tcp, BfcpTransport::Tls] {
        let mut scene = scene_over(transport, 1, false);
        // Also from the member's own address: to be connected to is what it has announced.
        let early = scene.dials(0);
        scene.connect(0, MsrpSetup::Active, None);
        assert!(!is_there(&scene.world, early), "{transport:?}");
        assert_eq!(scene.lost(), []);
        let made = dialled(&scene.world);
        scene.world.net.borrow_mut().made(made, true);
        scene.world.cycle();
        let heard = scene.asks_over(transport, made);
        assert_eq!(heard, (STATUS, 5, 1, GRANTED), "{transport:?}");
    }
}

#[test]
fn a_connection_stays_when_its_far_end_is_named_again_and_not_when_that_is_elsewhere() {
    for transport in [BfcpTransport::Tcp, BfcpTransport::Tls] {
        let mut scene = scene_over(transport, 1, false);
        scene.connect(0, MsrpSetup::Passive, None);
        let socket = scene.dials(0);
        scene.asks_over(transport, socket);
        for setup in [MsrpSetup::Passive, MsrpSetup::Active] {
            scene.connect(0, setup, None);
            assert!(is_there(&scene.world, socket), "{transport:?} {setup:?}");
        }
        let mut act = far_with(0, MsrpSetup::Passive, None);
        let elsewhere = address("198.51.100.200:4100");
        if let Act::ConnectMember { remote, .. } = &mut act
            && let Remote::Bfcp(remote) = remote
        {
            remote.address = elsewhere;
        }
        assert_eq!(scene.world.order(1, vec![act]).outcome, Outcome::Done);
        assert!(!is_there(&scene.world, socket), "{transport:?}");
        let socket = scene.dialled_by(elsewhere, 0);
        let heard = scene.asks_over(transport, socket);
        assert_eq!(heard, (STATUS, 5, 2, GRANTED), "{transport:?}");
    }
}

#[test]
fn a_handshake_that_takes_too_long_makes_room_for_another_connection() {
    let (mut scene, identity) = (scene(2, false), Identity::new());
    for member in [0, 1] {
        scene.connect(member, MsrpSetup::Passive, None);
    }
    let stuck = scene.dials(0);
    scene.world.pass(HANDSHAKE_MS / 2);
    let later = scene.dials(1);
    scene.world.pass(HANDSHAKE_MS / 2 - 100);
    assert!(is_there(&scene.world, stuck));
    scene.world.pass(200);
    assert!(!is_there(&scene.world, stuck) && is_there(&scene.world, later));
    assert_eq!(scene.world.dropped(DropReason::Handshake), 1);
    scene.world.pass(HANDSHAKE_MS / 2);
    assert!(!is_there(&scene.world, later));
    let socket = scene.dials(0);
    let heard = scene.asks(0, socket, &mut client(&identity));
    assert_eq!(read(&heard), (STATUS, 5, 1, GRANTED));
}

#[test]
fn what_breaks_tls_is_told_and_closed() {
    let mut scene = scene(1, false);
    scene.connect(0, MsrpSetup::Passive, None);
    let socket = scene.dials(0);
    scene.world.net.borrow_mut().far_ends_linger = true;
    let plain = message(1, (REQUEST, 5, 0), &FLOOR);
    scene.world.net.borrow_mut().feed(socket, &plain);
    scene.world.cycle();
    let net = scene.world.net.borrow();
    let written = &net.sockets[&socket.0].written;
    assert_eq!(written.first(), Some(&0x15), "an alert: {written:?}");
    drop(net);
    assert!(scene.is_closed(socket));
    assert_eq!(scene.world.dropped(DropReason::Handshake), 1);
}

#[test]
fn a_crowd_of_floor_clients_takes_turns() {
    let (mut scene, identity) = (scene(30, false), Identity::new());
    let mut far = Vec::new();
    for member in 0..30 {
        scene.connect(member, MsrpSetup::Passive, Some(identity.fingerprint()));
        far.push((scene.dials(member), client(&identity)));
    }
    for (socket, session) in &mut far {
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        scene.world.net.borrow_mut().feed(*socket, &hello);
    }
    let mut before = 0;
    for _ in 0..30 {
        scene.world.cycle();
        let net = scene.world.net.borrow();
        let answered = far.iter().filter(|(socket, _)| {
            let socket = &net.sockets[&socket.0];
            !socket.written.is_empty()
        });
        let now = answered.count();
        assert!(now - before <= HANDSHAKE_STEPS_PER_CYCLE);
        before = now;
    }
    assert_eq!(before, 30);
}

#[test]
fn a_client_of_tls_that_reads_nothing_loses_its_connection_and_costs_no_frame() {
    let (mut scene, identity) = (scene(1, false), Identity::new());
    scene.connect(0, MsrpSetup::Passive, None);
    let free = scene.world.worker.pool.free(Class::Stream);
    for _ in 0..3 {
        let socket = scene.dials(0);
        let mut far = client(&identity);
        talk(&mut scene.world, socket, &mut far);
        scene.world.net.borrow_mut().open_window(socket, 0);
        for round in 0.. {
            if !is_there(&scene.world, socket) {
                break;
            }
            assert!(round < 100, "its queue grows without end");
            say(&mut far, &hellos(0));
            talk(&mut scene.world, socket, &mut far);
        }
        assert_eq!(scene.world.worker.pool.free(Class::Stream), free);
    }
    assert_eq!(scene.world.dropped(DropReason::Stalled), 3);
}
