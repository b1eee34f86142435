//! What control would order, for the benches that need a worker with sessions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane::api::{
    Act, BackendKind, Config, Direction, Doorbell, Event, Learn, LegLocal, LegSpec, MsrpRemote,
    MsrpSetup, MsrpSpec, Order, Outcome, Remote, RtpRemote, SessionId, Side, StreamId, StreamPlan,
};
use dataplane::frame::PoolSize;
use dataplane::net::sys;
use dataplane::net::uring::Uring;
use dataplane::worker::{Handle, start};

/// Where everything is bound.
pub(crate) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn config() -> Config {
    Config {
        workers: 1,
        first_core: None,
        backend: BackendKind::Epoll,
        port_first: 20_000,
        port_last: 29_999,
        port_quiet_ms: 0,
        msrp_listen: Vec::new(),
        msrp_ports: dataplane::api::PortChoice::only_tcp(0),
        msrp_tls: None,
        msrp_origins: dataplane::api::OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize::default(),
        seed: Some(1),
    }
}

/// The backends that this machine has, by name.
pub(crate) fn backends() -> Vec<(&'static str, BackendKind)> {
    let mut backends = vec![("epoll", BackendKind::Epoll)];
    if Uring::probe().is_ok() {
        backends.push(("io_uring", BackendKind::Uring));
    }
    backends
}

/// A worker on core 1 that listens for MSRP, and this thread on core 0, where there are two.
pub(crate) fn started(backend: BackendKind) -> Handle {
    let is_pinned = sys::pin_to_core(1).is_ok() && sys::pin_to_core(0).is_ok();
    let config = Config {
        backend,
        first_core: is_pinned.then_some(1),
        msrp_listen: vec![LOCAL],
        ..config()
    };
    let bell = Doorbell::new().expect("a descriptor is free");
    let mut handles = start(&config, &bell).expect("a worker starts");
    handles.pop().expect("one was asked for")
}

/// Ends a worker and waits for it.
pub(crate) fn ended(handle: Handle) {
    drop(handle.link);
    handle.thread.join().expect("it ends in peace");
}

/// Orders and waits for the answer.
pub(crate) fn done(handle: &mut Handle, session: u64, acts: Vec<Act>) -> Box<Order> {
    let order = order(session, acts);
    handle.link.order(order).expect("the ring has room");
    loop {
        if let Some(Event::Done(order)) = handle.link.news() {
            assert_eq!(order.outcome, Outcome::Done);
            return order;
        }
        // Who yields waits for all others of this core; the worker is on another one.
        std::hint::spin_loop();
    }
}

pub(crate) fn order(session: u64, acts: Vec<Act>) -> Box<Order> {
    Box::new(Order {
        session: SessionId(session),
        mark: 0,
        acts,
        outcome: Outcome::Pending,
        returned: Vec::new(),
    })
}

/// Opens a stream of RTP.
pub(crate) fn open() -> Act {
    open_as(&LegSpec::Rtp {
        local_ip: LOCAL,
        rtcp_mux: true,
        learn: Learn::Never,
    })
}

/// Opens a stream of MSRP.
pub(crate) fn open_msrp() -> Act {
    open_as(&LegSpec::Msrp(MsrpSpec::plain(LOCAL)))
}

fn open_as(spec: &LegSpec) -> Act {
    Act::Open(StreamPlan {
        stream: StreamId(0),
        legs: [spec.clone(), spec.clone()],
        local: [LegLocal::Unbound, LegLocal::Unbound],
        silence_ms: 0,
        record: false,
    })
}

/// Names both far ends of a stream of RTP.
pub(crate) fn connect(far_ends: [SocketAddr; 2]) -> [Act; 2] {
    Side::BOTH.map(|side| {
        let at = far_ends[side.index()];
        connect_as(side, Remote::Rtp(RtpRemote { rtp: at, rtcp: at }))
    })
}

/// Names both far ends of a stream of MSRP; A connects to the relay, and the relay to B.
pub(crate) fn connect_msrp(paths: [&str; 2], b_at: SocketAddr) -> [Act; 2] {
    Side::BOTH.map(|side| {
        let remote = MsrpRemote {
            path: paths[side.index()].into(),
            address: b_at,
            setup: [MsrpSetup::Passive, MsrpSetup::Active][side.index()],
            fingerprint: None,
            local_path: None,
        };
        connect_as(side, Remote::Msrp(remote))
    })
}

fn connect_as(side: Side, remote: Remote) -> Act {
    Act::Connect {
        stream: StreamId(0),
        side,
        remote,
        direction: Direction::BOTH,
    }
}

/// What an `Open` that came back has bound.
pub(crate) fn bound(order: &Order) -> &[LegLocal; 2] {
    match order.acts.first() {
        Some(Act::Open(plan)) => &plan.local,
        Some(
            Act::OpenRoom(_)
            | Act::OpenRoad { .. }
            | Act::Join(_)
            | Act::ConnectMember { .. }
            | Act::GiveFloor { .. }
            | Act::Leave { .. }
            | Act::Connect { .. }
            | Act::Release { .. }
            | Act::Report { .. }
            | Act::Trace { .. },
        )
        | None => {
            unreachable!("it opened a stream")
        }
    }
}
