//! How long a message takes to reach everybody in a group: a started worker, members over loopback.
//!
//! `chat MEMBERS ROUNDS BACKEND [STUCK]`, as in
//! `cargo run --release -p benches --example chat 500 200 io_uring`. Each round,
//! one member sends 1 KiB, and the time runs until the last of the others has read all of it; then
//! all answer. Members read one after the other on one thread, which is part of the time. `STUCK`
//! more members read nothing, and have as much waiting for them as the kernel and the relay take
//! before the rounds begin that count.

#![expect(clippy::disallowed_methods, reason = "this is a measurement")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use benches::{Failure, config, done};
use dataplane::api::{
    Act, BackendKind, Config, Direction, Doorbell, FanSpec, LegLocal, LegSpec, MemberId,
    MemberPlan, MsrpRemote, MsrpSetup, MsrpSpec, Remote, RoomKind, RoomPlan, RtpFormats, SessionId,
    StreamId,
};
use dataplane::net::sys;
use dataplane::worker::{Handle, start};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SESSION: SessionId = SessionId(1);
const CHAT: StreamId = StreamId(0);
const BODY_BYTES: usize = 1024;
/// What fills the buffers on the way to those who are stuck: 2.5 MiB for each.
const FILL_BYTES: usize = 64 * 1024;
const FILL_ROUNDS: usize = 40;
/// Rounds before those that count.
const WARM_UP: usize = 20;

struct Member {
    stream: TcpStream,
    /// The relay's URI.
    path: String,
    read: Vec<u8>,
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("chat MEMBERS ROUNDS BACKEND [STUCK]");
    let (count, rounds): (u32, usize) = (word()?.parse()?, word()?.parse()?);
    let backend = match &*word()? {
        "io_uring" => BackendKind::Uring,
        _ => BackendKind::Epoll,
    };
    let stuck: u32 = word().map_or(Ok(0), |word| word.parse())?;
    let mut handle = started(backend)?;
    let room = Act::OpenRoom(RoomPlan {
        stream: CHAT,
        kind: RoomKind::FanOut(FanSpec::default()),
        floor: None,
    });
    done(&mut handle, SESSION, vec![room])?;
    let mut members = Vec::new();
    for number in 0..count {
        members.push(join(&mut handle, number)?);
    }
    let mut silent = Vec::new();
    for number in count..count + stuck {
        silent.push(join(&mut handle, number)?);
    }
    if stuck > 0 {
        for round in 0..FILL_ROUNDS {
            say(&mut members, 10_000 + round, FILL_BYTES)?;
        }
    }
    let mut times = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let time = say(&mut members, round, BODY_BYTES)?;
        if round >= WARM_UP {
            times.push(time);
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let result = format!(
        "{count} members and {stuck} who read nothing, {rounds} messages of {BODY_BYTES} octets: \
         p50 {:?}, p99 {:?}, max {:?}\n",
        at(50),
        at(99),
        at(100)
    );
    std::io::stdout().write_all(result.as_bytes())?;
    drop((members, silent));
    drop(handle.link);
    handle.thread.join().map_err(|_| "the worker panicked")?;
    Ok(())
}

fn started(backend: BackendKind) -> Result<Handle, Failure> {
    let is_pinned = sys::pin_to_core(1).is_ok() && sys::pin_to_core(0).is_ok();
    let config = Config {
        port_first: 20_000,
        port_last: 29_999,
        msrp_listen: vec![LOCAL],
        seed: Some(1),
        ..config(backend, is_pinned.then_some(1))
    };
    let mut handles = start(&config, &Doorbell::new()?)?;
    Ok(handles.pop().ok_or("no worker")?)
}

fn far(number: u32) -> String {
    format!("msrp://127.0.0.1:7777/far{number};tcp")
}

fn join(handle: &mut Handle, number: u32) -> Result<Member, Failure> {
    let member = MemberId(number);
    let join = Act::Join(MemberPlan {
        member,
        stream: CHAT,
        leg: LegSpec::Msrp(MsrpSpec::plain(LOCAL)),
        local: LegLocal::Unbound,
        silence_ms: 0,
        identity: Some(format!("<sip:{number}@example.com>").into()),
    });
    let connect = Act::ConnectMember {
        member,
        stream: CHAT,
        remote: Remote::Msrp(MsrpRemote {
            path: far(number).into(),
            address: (LOCAL, 7777).into(),
            setup: MsrpSetup::Passive,
            fingerprint: None,
            local_path: None,
        }),
        direction: Direction::BOTH,
        formats: RtpFormats::default(),
    };
    let joined = done(handle, SESSION, vec![join, connect])?;
    let Some(Act::Join(MemberPlan {
        local: LegLocal::Msrp(local),
        ..
    })) = joined.acts.first()
    else {
        return Err("not bound".into());
    };
    let id = str::from_utf8(&local.session_id)?;
    let path = format!("msrp://{}/{id};tcp", local.listen);
    let stream = TcpStream::connect(local.listen)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut member = Member {
        stream,
        path,
        read: Vec::new(),
    };
    let from = far(number);
    let bind = format!(
        "MSRP bind0001 SEND\r\nTo-Path: {}\r\nFrom-Path: {from}\r\nMessage-ID: b\r\n-------bind0001$\r\n",
        member.path
    );
    member.stream.write_all(bind.as_bytes())?;
    member.hear()?;
    Ok(member)
}

/// One member says something; how long until all others have it.
fn say(members: &mut [Member], round: usize, octets: usize) -> Result<Duration, Failure> {
    let sender = round % members.len();
    let from = far(u32::try_from(sender)?);
    let head = "From: <sip:x@example.com>\r\nTo: <sip:group@example.com>\r\n\r\n\
                Content-Type: text/plain\r\n\r\n";
    let text = "x".repeat(octets - head.len());
    let frame = format!(
        "MSRP say{round:05} SEND\r\nTo-Path: {}\r\nFrom-Path: {from}\r\nMessage-ID: m{round}\r\n\
         Byte-Range: 1-{octets}/{octets}\r\nContent-Type: message/cpim\r\n\r\n{head}{text}\r\n\
         -------say{round:05}$\r\n",
        members[sender].path
    );
    let begun = Instant::now();
    members[sender].stream.write_all(frame.as_bytes())?;
    for member in members.iter_mut() {
        member.hear()?;
    }
    let time = begun.elapsed();
    for (at, member) in members.iter_mut().enumerate() {
        if at != sender {
            member.answer(at)?;
        }
    }
    // Until all answers are taken the next message would wait behind them.
    std::thread::sleep(Duration::from_millis(20));
    Ok(time)
}

impl Member {
    /// Reads one frame.
    fn hear(&mut self) -> Result<(), Failure> {
        self.read.clear();
        let mut buffer = [0; 4096];
        while !self.read.ends_with(b"$\r\n") {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the relay closed the connection".into());
            }
            self.read.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }

    fn answer(&mut self, number: usize) -> Result<(), Failure> {
        let id = self
            .read
            .split(|byte| *byte == b' ')
            .nth(1)
            .ok_or("no id")?;
        let (id, from) = (str::from_utf8(id)?, far(u32::try_from(number)?));
        let answer = format!(
            "MSRP {id} 200 OK\r\nTo-Path: {}\r\nFrom-Path: {from}\r\n-------{id}$\r\n",
            self.path
        );
        self.stream.write_all(answer.as_bytes())?;
        Ok(())
    }
}
