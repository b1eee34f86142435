//! The rooms' SIP side: the relay as Controlling Function, and an agent for the members of each room.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tests::live::eventually;
use tests::live::relay::Relay;
use tests::peers::msrp::path;
use tests::peers::sdp::{self, Media, Writer};
use tests::peers::sip::{Agent, Call};

use super::Options;
use crate::mix::Codec;
use crate::rtp::host::{self, Cores};

/// Media ports below the ones that the kernel hands out.
const PORTS: (u16, u16) = (2048, 32_767);
/// What may wait for the voices to be heard: every member's mix of some 300 ms.
const QUEUE_BYTES: usize = 32 << 20;
/// Members who share a socket for SIP: what comes for them at once has to fit into it.
const SHARED: u16 = 10;
/// How long an invitation or its ACK may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where members are connected to: they connect, so nobody listens there.
const NOBODY: u16 = 9;

/// A participant, and where the relay is for it.
#[derive(Debug)]
pub struct Seat {
    /// Its room.
    pub room: u16,
    /// Which of its room.
    pub member: u16,
    /// What it speaks.
    pub codec: Codec,
    /// By which payload type.
    pub payload_type: u8,
    /// Where its voice goes.
    pub rtp: SocketAddr,
    /// The relay's path for its messages.
    pub to_path: String,
    /// Its own path.
    pub own_path: String,
    call: Call,
    /// What it said of itself last.
    description: String,
}

/// How long it took until all were in their rooms.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// All rooms.
    pub all: Duration,
    /// The room that took longest, from its INVITE to the last member's ACK.
    pub longest: Duration,
}

/// What was left when all had said BYE.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// Sessions.
    pub sessions: usize,
    /// Media ports that are open.
    pub ports: usize,
    /// How long until nothing was left.
    pub span: Duration,
    /// SIP messages that came again, from the first INVITE to the last BYE.
    pub retransmissions: u64,
    /// The relay ended as it should.
    pub has_ended_well: bool,
}

/// All rooms.
pub struct Groups {
    relay: Relay,
    ip: Ipv4Addr,
    options: Options,
    socket: UdpSocket,
    agents: Vec<Agent>,
    seats: Vec<Seat>,
    setup: Setup,
}

impl Groups {
    /// Starts a relay with groups whose members are this process.
    ///
    /// # Errors
    ///
    /// The voices' socket can't be opened.
    pub fn start(options: &Options, cores: &Cores) -> Result<Self, String> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 64 | (high & 63), low, 3);
        let nowhere = SocketAddr::from((ip, NOBODY));
        let sockets = usize::from(options.rooms) * usize::from(options.members.div_ceil(SHARED));
        let mut agents: Vec<Agent> = (0..sockets).map(|_| Agent::udp("m0", nowhere)).collect();
        let relay = Relay::start_on(IpAddr::V4(ip), |settings| {
            settings
                .set("media", "port_first", PORTS.0)
                .set("media", "port_last", PORTS.1)
                .set("media", "workers", options.workers)
                .set("sip", "sessions_max", 16_000)
                .set("controlling", "participants_max", options.members)
                .set("log", "level", "\"warn\"");
            if let Some(first) = cores.relay.first() {
                settings.set("media", "first_core", first);
            }
            for room in 0..options.rooms {
                let members: Vec<String> = (0..options.members)
                    .map(|member| {
                        let agent = &agents[agent_of(options, room, member)];
                        format!("\"sip:m{member}@{}\"", agent.address())
                    })
                    .collect();
                let section = format!("group.\"{}\"", address(usize::from(room)));
                settings.set(&section, "members", format!("[{}]", members.join(", ")));
            }
        });
        for agent in &mut agents {
            agent.hop = relay.sip;
        }
        host::pin_process(relay.process().id(), &cores.relay);
        Ok(Self {
            relay,
            ip,
            options: options.clone(),
            socket: voice_socket(ip)?,
            agents,
            seats: Vec::with_capacity(options.participants()),
            setup: Setup {
                all: Duration::ZERO,
                longest: Duration::ZERO,
            },
        })
    }

    /// The relay's process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.relay.process().id()
    }

    /// The relay.
    #[must_use]
    pub const fn relay(&self) -> &Relay {
        &self.relay
    }

    /// All members, room by room.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// How it began.
    #[must_use]
    pub const fn setup(&self) -> Setup {
        self.setup
    }

    /// The socket of all voices.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn voice_socket(&self) -> Result<UdpSocket, String> {
        self.socket.try_clone().map_err(|error| error.to_string())
    }

    /// Lets everybody in: a member of each room begins its session, the others are invited.
    ///
    /// # Errors
    ///
    /// A description lacks a stream.
    pub fn fill(&mut self, mut watch: impl FnMut(usize)) -> Result<(), String> {
        let begin = Instant::now();
        for room in 0..self.options.rooms {
            let since = Instant::now();
            self.open(room)?;
            self.setup.longest = self.setup.longest.max(since.elapsed());
            watch(usize::from(room) + 1);
        }
        self.setup.all = begin.elapsed();
        Ok(())
    }

    fn open(&mut self, room: u16) -> Result<(), String> {
        let first = self.seats.len();
        let own = self.own_path();
        let offer = self.describe(Codec::G711, 0, &own);
        let inviter = agent_of(&self.options, room, 0);
        let mut out = self.agents[inviter].invite(&address(usize::from(room)), &offer);
        for member in 1..self.options.members {
            self.answer(room, member)?;
        }
        for member in 1..self.options.members {
            let agent = &mut self.agents[agent_of(&self.options, room, member)];
            let ack = agent.within(PATIENCE, |message| message.is_request("ACK"));
            ack.ok_or_else(|| format!("an ACK is missing in room {room}"))?;
        }
        let answer = out.established(&mut self.agents[inviter]);
        let streams = Streams::of(&answer.body, Codec::G711)?;
        let seat = streams.seat((room, 0), Codec::G711, own);
        self.seats.push(seat(out, offer));
        self.seats[first..].sort_by_key(|seat| seat.member);
        Ok(())
    }

    /// Answers an invitation for a member or for one with whom it shares a socket.
    fn answer(&mut self, room: u16, member: u16) -> Result<(), String> {
        let at = agent_of(&self.options, room, member);
        let call = self.agents[at].incoming_within(PATIENCE).ok_or_else(|| {
            let seats = self.seats.len();
            format!("room {room}: no invitation for member {member}; {seats} are in")
        })?;
        let member = called(&call)?;
        let codec = self.options.codec(room, member);
        let own = self.own_path();
        let streams = Streams::of(&call.invite.body, codec)?;
        let description = self.describe(codec, streams.payload_type, &own);
        call.answer(&mut self.agents[at], 200, &description);
        let seat = streams.seat((room, member), codec, own);
        self.seats.push(seat(call, description));
        Ok(())
    }

    /// What a member says of itself.
    fn describe(&self, codec: Codec, payload_type: u8, own_path: &str) -> String {
        let port = self.socket.local_addr().map_or(0, |at| at.port());
        let encoding = match codec {
            Codec::G711 => "PCMU/8000",
            Codec::Opus => "opus/48000/2",
        };
        let audio = format!(
            "m=audio {port} RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {encoding}\r\n\
             a=ptime:20\r\na=rtcp-mux\r\n"
        );
        let chat = format!(
            "m=message {NOBODY} TCP/MSRP *\r\na=accept-types:message/cpim\r\n\
             a=accept-wrapped-types:text/plain\r\na=path:{own_path}\r\na=setup:active\r\n"
        );
        let writer = Writer::new(IpAddr::V4(self.ip));
        writer.lines(audio).lines(chat).text()
    }

    fn own_path(&self) -> String {
        path(SocketAddr::from((self.ip, NOBODY)))
    }

    /// One of all members sends a re-INVITE that changes nothing.
    pub fn refresh(&mut self, number: u64) {
        let count = u64::try_from(self.seats.len()).unwrap_or(1);
        // Neighbours are in one room: the next one is in another.
        let next = number.wrapping_mul(7_919) % count;
        let seat = &mut self.seats[usize::try_from(next).unwrap_or(0)];
        let agent = &mut self.agents[agent_of(&self.options, seat.room, seat.member)];
        let _answer = seat.call.reinvite(agent, &seat.description);
    }

    /// Everybody says BYE; what is left then.
    ///
    /// # Errors
    ///
    /// A BYE isn't answered with 200.
    pub fn empty(mut self) -> Result<Left, String> {
        let begin = Instant::now();
        for seat in &mut self.seats {
            let agent = &mut self.agents[agent_of(&self.options, seat.room, seat.member)];
            seat.call.send_bye(agent);
            let answer = agent.response("BYE");
            if answer.code() != Some(200) {
                return Err(format!("BYE was answered with {}", answer.start));
            }
        }
        // Ports rest a while before they are free again.
        eventually(Duration::from_secs(10), || self.left() == (0, 0));
        let (sessions, ports) = self.left();
        let span = begin.elapsed();
        let again = self.agents.iter_mut().map(|agent| {
            // What came last wasn't waited for; nothing is wanted of it but to be counted.
            let _nothing = agent.within(Duration::from_millis(1), |_| false);
            agent.retransmissions()
        });
        let retransmissions = again.sum();
        let status = self.relay.stop();
        Ok(Left {
            sessions,
            ports,
            span,
            retransmissions,
            has_ended_well: status.is_some_and(|status| status.success()),
        })
    }
}

impl Groups {
    /// Sessions and media ports that there are.
    fn left(&self) -> (usize, usize) {
        let ports = self.relay.open_media_ports();
        // SIP's own port is within the range of the media's.
        let ports = ports.iter().filter(|port| **port != self.relay.sip.port());
        (self.relay.sessions().len(), ports.count())
    }
}

/// Which socket a member has.
fn agent_of(options: &Options, room: u16, member: u16) -> usize {
    let sockets = options.members.div_ceil(SHARED);
    usize::from(room) * usize::from(sockets) + usize::from(member / SHARED)
}

/// A room's address.
#[must_use]
pub fn address(room: usize) -> String {
    format!("sip:room{room}@groups.example")
}

/// Connects to where a path is.
///
/// # Errors
///
/// Nobody is there.
pub fn connect(to_path: &str) -> Result<TcpStream, String> {
    let to = sdp::path_address(to_path).ok_or_else(|| format!("no address in {to_path}"))?;
    TcpStream::connect(to).map_err(|error| format!("{to}: {error}"))
}

/// The member that an INVITE is for.
fn called(call: &Call) -> Result<u16, String> {
    let start = &call.invite.start;
    let user = start.strip_prefix("INVITE sip:m").unwrap_or_default();
    let number = user
        .split('@')
        .next()
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("nobody is called by {start}"))
}

fn voice_socket(ip: Ipv4Addr) -> Result<UdpSocket, String> {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        // Beyond the system's limit only where this user may; else as much as it allows.
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &QUEUE_BYTES))?;
        Ok(socket)
    };
    open().map_err(|error| format!("the voices' socket: {error}"))
}

/// The relay's ends of a participant's streams.
struct Streams {
    rtp: SocketAddr,
    payload_type: u8,
    to_path: String,
}

impl Streams {
    fn of(text: &str, codec: Codec) -> Result<Self, String> {
        let list = sdp::media(text);
        let of = |kind: &str| {
            let found = list
                .iter()
                .find(|media| media.kind == kind && media.port != 0);
            found.ok_or_else(|| format!("no {kind} in:\n{text}"))
        };
        let (audio, chat) = (of("audio")?, of("message")?);
        let to_path = chat.attribute("path");
        Ok(Self {
            rtp: audio.address(),
            payload_type: payload_type(audio, codec)
                .ok_or_else(|| format!("no {codec:?} in:\n{text}"))?,
            to_path: to_path
                .ok_or_else(|| format!("no path in:\n{text}"))?
                .to_owned(),
        })
    }

    fn seat(
        self,
        (room, member): (u16, u16),
        codec: Codec,
        own_path: String,
    ) -> impl FnOnce(Call, String) -> Seat {
        move |call, description| Seat {
            room,
            member,
            codec,
            payload_type: self.payload_type,
            rtp: self.rtp,
            to_path: self.to_path,
            own_path,
            call,
            description,
        }
    }
}

fn payload_type(audio: &Media, codec: Codec) -> Option<u8> {
    let encoding = match codec {
        Codec::G711 => "PCMU/8000",
        Codec::Opus => "opus/48000",
    };
    let maps = audio.attributes.iter();
    let mut maps = maps.filter_map(|line| line.strip_prefix("rtpmap:")?.split_once(' '));
    let found = maps.find(|(_, name)| name.starts_with(encoding));
    found.and_then(|(number, _)| number.parse().ok())
}
