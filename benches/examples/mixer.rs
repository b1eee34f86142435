//! A worker with rooms whose audio is mixed, for `cargo x load mix`: what control would order after
//! the INVITEs, and nothing else.
//!
//! `mixer FAR ROOMS CODEC TALKERS CORE BITRATE`: the members of all rooms (`10,10,3`) are at the address
//! FAR and speak `opus` of BITRATE bits per second or `g711`; the worker is pinned to CORE. Says
//! `before_kib` (resident memory before the first room), `port` for each member's leg, `ready_kib`
//! (the memory when all have joined), then `ready`; ends with SIGTERM.

#![expect(
    clippy::disallowed_methods,
    reason = "there is nothing to do but to take news"
)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use benches::{Failure, Joiner, config, done, join_rtp};
use dataplane::api::{
    Act, AudioCodec, AudioFormat, BackendKind, Direction, Doorbell, MemberId, MixSpec, RoomKind,
    RoomPlan, RtpFormats, SessionId, StreamId,
};
use dataplane::worker::start;

/// The only stream of each session.
const STREAM: StreamId = StreamId(0);

fn main() -> Result<(), Failure> {
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
    let formats = RtpFormats {
        audio: vec![format(&codec, word()?.parse()?)?],
        ..RtpFormats::default()
    };
    let bell = Doorbell::new()?;
    let handle = start(&config(BackendKind::Auto, Some(core)), &bell)?.pop();
    let mut handle = handle.ok_or("a worker was asked for")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "before_kib {}", resident_kib())?;
    for (session, members) in (1..).map(SessionId).zip(rooms) {
        let plan = RoomPlan {
            stream: STREAM,
            kind: RoomKind::Mix(MixSpec {
                talkers,
                jitter_max_ms: 200,
                auto_gain: false,
            }),
            floor: None,
        };
        done(&mut handle, session, vec![Act::OpenRoom(plan)])?;
        for member in (0..members).map(MemberId) {
            let joiner = Joiner {
                session,
                stream: STREAM,
                member,
                local: far.ip(),
                far,
                direction: Direction::BOTH,
                formats: &formats,
            };
            let port = join_rtp(&mut handle, &joiner)?;
            writeln!(out, "port {port}")?;
        }
    }
    writeln!(out, "ready_kib {}\nready", resident_kib())?;
    out.flush()?;
    // News would fill the ring otherwise: who speaks is told.
    loop {
        while handle.link.news().is_some() {}
        std::thread::sleep(Duration::from_millis(100));
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

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
