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

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use benches::{Failure, Joiner, config, done, join_rtp};
use dataplane::api::{
    Act, BackendKind, Direction, Doorbell, MemberId, PayloadFormat, RoomKind, RoomPlan, RtpFormats,
    SessionId, StreamId, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::worker::{Handle, start};

/// The only stream of the session.
const STREAM: StreamId = StreamId(0);
const SESSION: SessionId = SessionId(1);
const USAGE: &str = "fanout BACKEND ROOM RECEIVERS FAR CORE";

fn main() -> Result<(), Failure> {
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
    let handle = start(&config(backend, Some(core)), &bell)?.pop();
    let mut handle = handle.ok_or("a worker was asked for")?;
    let plan = RoomPlan {
        stream: STREAM,
        kind,
        floor: None,
    };
    done(&mut handle, SESSION, vec![Act::OpenRoom(plan)])?;
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
) -> Result<u16, Failure> {
    let joiner = Joiner {
        session: SESSION,
        stream: STREAM,
        member: MemberId(number.into()),
        local: IpAddr::V4(Ipv4Addr::LOCALHOST),
        far: SocketAddr::new(place(number), far),
        direction,
        formats,
    };
    join_rtp(handle, &joiner)
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
