//! A worker with rooms whose audio is mixed, for `cargo x load mix`: what control would order after
//! the INVITEs, and nothing else.
//!
//! `mixer FAR ROOMS CODEC TALKERS CORE BITRATE`: the members of all rooms (`10,10,3`) are at the address
//! FAR and speak `opus` of BITRATE bits per second or `g711`; the worker is pinned to CORE. Says `before_kib` (resident memory before
//! the first room), `port` for each member's leg, then `ready`; ends with SIGTERM.

#![expect(
    clippy::disallowed_methods,
    reason = "there is nothing to do but to take news"
)]

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use dataplane::api::{
    Act, AudioCodec, AudioFormat, BackendKind, Config, Direction, Doorbell, Event, Learn, LegLocal,
    LegSpec, MemberId, MemberPlan, MixSpec, Order, OriginPolicy, Outcome, PortChoice, Remote,
    RoomKind, RoomPlan, RtpFormats, RtpRemote, SessionId, StreamId,
};
use dataplane::frame::PoolSize;
use dataplane::worker::{Handle, start};

/// The only stream of each session.
const STREAM: StreamId = StreamId(0);

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || {
        words
            .next()
            .ok_or("mixer FAR ROOMS CODEC TALKERS CORE BITRATE")
    };
    let far: SocketAddr = word()?.parse()?;
    let rooms: Vec<u32> = word()?
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let codec = word()?;
    let talkers: u8 = word()?.parse()?;
    let core: usize = word()?.parse()?;
    let format = format(&codec, word()?.parse()?)?;
    let bell = Doorbell::new()?;
    let handle = start(&config(core), &bell)?.pop();
    let mut handle = handle.ok_or("a worker was asked for")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "before_kib {}", resident_kib())?;
    for (session, members) in (1..).zip(rooms) {
        let plan = RoomPlan {
            stream: STREAM,
            kind: RoomKind::Mix(MixSpec {
                talkers,
                jitter_max_ms: 200,
                auto_gain: false,
            }),
            floor: None,
        };
        done(&mut handle, session, Act::OpenRoom(plan))?;
        for member in (0..members).map(MemberId) {
            let port = join(&mut handle, session, member, (far, format))?;
            writeln!(out, "port {port}")?;
        }
    }
    writeln!(out, "ready")?;
    out.flush()?;
    // News would fill the ring otherwise: who speaks is told.
    loop {
        while handle.link.news().is_some() {}
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn config(core: usize) -> Config {
    Config {
        workers: 1,
        first_core: Some(core),
        backend: BackendKind::Auto,
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

fn format(name: &str, bitrate: u32) -> Result<AudioFormat, String> {
    let (payload_type, codec) = match name {
        "g711" => (0, AudioCodec::Pcmu),
        "opus" => {
            let codec = AudioCodec::Opus {
                bitrate,
                fec: false,
                dtx: false,
            };
            (111, codec)
        }
        _ => return Err(format!("{name} is neither opus nor g711")),
    };
    Ok(AudioFormat {
        payload_type,
        codec,
        ptime_ms: 20,
    })
}

/// Lets a member join; the port that it sends to.
fn join(
    handle: &mut Handle,
    session: u64,
    member: MemberId,
    (far, format): (SocketAddr, AudioFormat),
) -> Result<u16, Box<dyn Error>> {
    let plan = MemberPlan {
        member,
        stream: STREAM,
        leg: LegSpec::Rtp {
            local_ip: far.ip(),
            rtcp_mux: true,
            learn: Learn::Never,
        },
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: None,
    };
    let joined = done(handle, session, Act::Join(plan))?;
    let Some(Act::Join(plan)) = joined.acts.first() else {
        return Err("the act comes back".into());
    };
    let LegLocal::Rtp { rtp, .. } = &plan.local else {
        return Err("the leg is bound".into());
    };
    let port = rtp.port();
    let formats = RtpFormats {
        audio: vec![format],
        ..RtpFormats::default()
    };
    let connect = Act::ConnectMember {
        member,
        stream: STREAM,
        remote: Remote::Rtp(RtpRemote {
            rtp: far,
            rtcp: far,
        }),
        direction: Direction::BOTH,
        formats,
    };
    done(handle, session, connect)?;
    Ok(port)
}

/// Orders and waits for the answer.
fn done(handle: &mut Handle, session: u64, act: Act) -> Result<Box<Order>, Box<dyn Error>> {
    let order = Order {
        session: SessionId(session),
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

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
