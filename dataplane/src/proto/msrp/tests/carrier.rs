//! What a leg is bound to depends on what carries a connection, and on who is at its far end.

use super::{World, bind, theirs};
use crate::api::MsrpTransport;
use crate::proto::msrp::{Carrier, Demand};

fn announced() -> Carrier {
    Carrier {
        transport: MsrpTransport::Tls,
        certificate: Some(Box::new([1; 32])),
    }
}

fn demand() -> Demand {
    Demand {
        transport: MsrpTransport::Tls,
        certificate: Some(Box::new([1; 32])),
    }
}

fn others() -> [Carrier; 4] {
    let with = |transport, certificate: Option<[u8; 32]>| Carrier {
        transport,
        certificate: certificate.map(Box::new),
    };
    [
        Carrier::default(),
        with(MsrpTransport::Wss, Some([1; 32])),
        with(MsrpTransport::Tls, Some([2; 32])),
        with(MsrpTransport::Tls, None),
    ]
}

#[test]
fn a_leg_is_bound_to_its_carrier_and_certificate_only() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    world.relay.set_demand(a_leg, demand());
    for (carrier, code) in others().into_iter().zip(["481", "481", "403", "403"]) {
        let stranger = world.relay.accept(world.now).unwrap();
        world.relay.set_carrier(stranger, carrier.clone());
        world.send(stranger, bind('a'));
        let answer = world.read_one(stranger).what;
        assert!(answer.starts_with(code), "{carrier:?}: {answer}");
        // A transport is mistaken, a certificate is not.
        let closed = world.relay.expired(world.now);
        assert_eq!(closed, (code == "403").then_some(stranger));
    }
    let own = world.relay.accept(world.now).unwrap();
    world.relay.set_carrier(own, announced());
    world.send(own, bind('a'));
    assert_eq!(&*world.read_one(own).what, "200 OK");
    assert!(world.relay.is_trusted(a_leg));
}

#[test]
fn a_leg_that_moved_is_not_taken_over_by_another_carrier() {
    const ELSEWHERE: &str = "msrp://a.example:9999/moved;tcp";
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    world.relay.set_demand(a_leg, demand());
    let own = world.relay.accept(world.now).unwrap();
    world.relay.set_carrier(own, announced());
    world.send(own, bind('a'));
    world.read_one(own);
    world.relay.set_remote(a_leg, ELSEWHERE, None);
    let from_there = bind('a').replace(&*theirs('a'), ELSEWHERE);
    for carrier in others() {
        let stranger = world.relay.accept(world.now).unwrap();
        world.relay.set_carrier(stranger, carrier.clone());
        world.send(stranger, from_there.as_str());
        let answer = world.read_one(stranger).what;
        assert_eq!(&*answer, "506 Session In Use", "{carrier:?}");
    }
    let moved = world.relay.accept(world.now).unwrap();
    world.relay.set_carrier(moved, announced());
    world.send(moved, from_there.as_str());
    assert_eq!(&*world.read_one(moved).what, "200 OK");
}

#[test]
fn who_was_bound_before_is_known_by_what_is_announced_later() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let early = Demand {
        certificate: None,
        ..demand()
    };
    world.relay.set_demand(a_leg, early);
    assert!(world.relay.is_trusted(a_leg), "nobody is there");
    let own = world.relay.accept(world.now).unwrap();
    world.relay.set_carrier(own, announced());
    world.send(own, bind('a'));
    world.read_one(own);
    world.relay.set_demand(a_leg, demand());
    assert!(world.relay.is_trusted(a_leg));
    let another = Demand {
        certificate: Some(Box::new([3; 32])),
        ..demand()
    };
    world.relay.set_demand(a_leg, another);
    assert!(!world.relay.is_trusted(a_leg));
}
