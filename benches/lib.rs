//! Criterion benches of the relay, see `benches/benches/`; here is what the examples that are workers
//! share: orders, and members that join by RTP.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use dataplane::api::{
    Act, BackendKind, Config, Direction, Event, Learn, LegLocal, LegSpec, MemberId, MemberPlan,
    Order, OriginPolicy, Outcome, PortChoice, Remote, RtpFormats, RtpRemote, SessionId, StreamId,
};
use dataplane::frame::PoolSize;
use dataplane::worker::Handle;

/// Why an example ends early.
pub type Failure = Box<dyn Error>;

/// One worker, pinned to a core, without MSRP.
#[must_use]
pub fn config(backend: BackendKind, core: Option<usize>) -> Config {
    Config {
        workers: 1,
        first_core: core,
        backend,
        port_first: 2_048,
        port_last: 32_767,
        port_quiet_ms: 0,
        msrp_listen: Vec::new(),
        msrp_ports: PortChoice::only_tcp(0),
        msrp_tls: None,
        msrp_origins: OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize::default(),
        seed: None,
    }
}

/// Orders, and waits until it is done.
///
/// # Errors
///
/// The ring is full, or the worker refuses.
pub fn done(
    handle: &mut Handle,
    session: SessionId,
    acts: Vec<Act>,
) -> Result<Box<Order>, Failure> {
    let order = Order {
        session,
        mark: 0,
        acts,
        outcome: Outcome::Pending,
        returned: Vec::new(),
    };
    let full = |_| "the ring is full";
    handle.link.order(Box::new(order)).map_err(full)?;
    loop {
        if let Some(Event::Done(order)) = handle.link.news() {
            return match order.outcome {
                Outcome::Done => Ok(order),
                outcome => Err(format!("{:?}: {outcome:?}", order.acts).into()),
            };
        }
        thread::yield_now();
    }
}

/// One who joins a room by RTP, RTCP on the same port.
#[derive(Debug, Clone, Copy)]
pub struct Joiner<'a> {
    /// Which session.
    pub session: SessionId,
    /// Its room's stream.
    pub stream: StreamId,
    /// Who.
    pub member: MemberId,
    /// Where the worker is for it.
    pub local: IpAddr,
    /// Where it is.
    pub far: SocketAddr,
    /// What it may do.
    pub direction: Direction,
    /// What it takes.
    pub formats: &'a RtpFormats,
}

/// Lets a member join; the port that it sends to.
///
/// # Errors
///
/// The worker refuses.
pub fn join_rtp(handle: &mut Handle, joiner: &Joiner<'_>) -> Result<u16, Failure> {
    let Joiner { member, stream, .. } = *joiner;
    let join = Act::Join(MemberPlan {
        member,
        stream,
        leg: LegSpec::Rtp {
            local_ip: joiner.local,
            rtcp_mux: true,
            learn: Learn::Never,
        },
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    });
    let connect = Act::ConnectMember {
        member,
        stream,
        remote: Remote::Rtp(RtpRemote {
            rtp: joiner.far,
            rtcp: joiner.far,
        }),
        direction: joiner.direction,
        formats: joiner.formats.clone(),
    };
    let joined = done(handle, joiner.session, vec![join, connect])?;
    let Some(Act::Join(plan)) = joined.acts.first() else {
        return Err("the act comes back".into());
    };
    let LegLocal::Rtp { rtp, .. } = &plan.local else {
        return Err("the leg is bound".into());
    };
    Ok(rtp.port())
}
