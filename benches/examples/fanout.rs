//! A worker with one room in which one member sends and many receive, for `cargo x compare fanout`:
//! what control would order after the INVITEs, and nothing else.
//!
//! `fanout BACKEND ROOM RECEIVERS FAR CORE`: BACKEND is `uring` or `epoll`, ROOM is `forward` (voice as
//! it came) or `switch` (video of who sends); receiver `n` is at 127.1.n/250.n%250+1, port FAR; the
//! worker is pinned to CORE. Says `port`, to which the talker sends, then `ready`; ends with SIGTERM.

#![expect(
    clippy::disallowed_methods,
    reason = "there is nothing to do but to take news"
)]

use std::error::Error;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::api::{
    Act, BackendKind, Config, Direction, Doorbell, Event, Learn, LegLocal, LegSpec, MemberId,
    MemberPlan, Order, OriginPolicy, Outcome, PayloadFormat, PortChoice, Remote, RoomKind,
    RoomPlan, RtpFormats, RtpRemote, SessionId, StreamId, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::frame::PoolSize;
use dataplane::worker::{Handle, start};

/// The only stream of the session.
const STREAM: StreamId = StreamId(0);
const SESSION: SessionId = SessionId(1);
const USAGE: &str = "fanout BACKEND ROOM RECEIVERS FAR CORE";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or(USAGE);
    let backend = match word()?.as_str() {
        "uring" => BackendKind::Uring,
        "epoll" => BackendKind::Epoll,
        _ => return Err(USAGE.into()),
    };
    let room = word()?;
    let (kind, formats) = match room.as_str() {
        "forward" => (RoomKind::Forward, voice()),
        "switch" => (RoomKind::Switch { follows: None }, video()),
        _ => return Err(USAGE.into()),
    };
    let (receivers, far): (u16, u16) = (word()?.parse()?, word()?.parse()?);
    let core = word()?.parse()?;
    let bell = Doorbell::new()?;
    let handle = start(&config(backend, core), &bell)?.pop();
    let mut handle = handle.ok_or("a worker was asked for")?;
    let plan = RoomPlan {
        stream: STREAM,
        kind,
        floor: None,
    };
    done(&mut handle, Act::OpenRoom(plan))?;
    let talker = join(&mut handle, (0, far, Direction::BOTH), &formats)?;
    for number in 0..receivers {
        let direction = Direction {
            may_send: false,
            may_receive: true,
        };
        join(&mut handle, (number + 1, far, direction), &formats)?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "port {talker}\nready")?;
    out.flush()?;
    loop {
        while handle.link.news().is_some() {}
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn config(backend: BackendKind, core: usize) -> Config {
    Config {
        workers: 1,
        first_core: Some(core),
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

fn voice() -> RtpFormats {
    RtpFormats {
        payloads: vec![PayloadFormat {
            payload_type: 0,
            format: 0,
            clock_rate: 8_000,
        }],
        ..RtpFormats::default()
    }
}

fn video() -> RtpFormats {
    RtpFormats {
        payloads: vec![PayloadFormat {
            payload_type: 96,
            format: 0,
            clock_rate: 90_000,
        }],
        feedback: true,
        video: vec![VideoFormat {
            payload_type: 96,
            codec: VideoCodec::Vp8,
            feedback: VideoFeedback {
                nack: true,
                picture_loss: true,
                ..VideoFeedback::default()
            },
        }],
        ..RtpFormats::default()
    }
}

/// Lets a member join; the port that it sends to. Member 0 is the talker, who gets nothing.
fn join(
    handle: &mut Handle,
    (number, far, direction): (u16, u16, Direction),
    formats: &RtpFormats,
) -> Result<u16, Box<dyn Error>> {
    let member = MemberId(number.into());
    let plan = MemberPlan {
        member,
        stream: STREAM,
        leg: LegSpec::Rtp {
            local_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            rtcp_mux: true,
            learn: Learn::Never,
        },
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    };
    let joined = done(handle, Act::Join(plan))?;
    let Some(Act::Join(plan)) = joined.acts.first() else {
        return Err("the act comes back".into());
    };
    let LegLocal::Rtp { rtp, .. } = &plan.local else {
        return Err("the leg is bound".into());
    };
    let port = rtp.port();
    let to = SocketAddr::new(place(number), far);
    let connect = Act::ConnectMember {
        member,
        stream: STREAM,
        remote: Remote::Rtp(RtpRemote { rtp: to, rtcp: to }),
        direction,
        formats: formats.clone(),
    };
    done(handle, connect)?;
    Ok(port)
}

/// Where a member is: the talker on the loopback address that everybody knows.
fn place(number: u16) -> IpAddr {
    let Some(receiver) = number.checked_sub(1) else {
        return IpAddr::V4(Ipv4Addr::LOCALHOST);
    };
    let [_, third] = (receiver / 250).to_be_bytes();
    let [_, fourth] = (receiver % 250 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, third, fourth))
}

/// Orders and waits for the answer.
fn done(handle: &mut Handle, act: Act) -> Result<Box<Order>, Box<dyn Error>> {
    let order = Order {
        session: SESSION,
        mark: 0,
        acts: vec![act],
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
        std::thread::yield_now();
    }
}
