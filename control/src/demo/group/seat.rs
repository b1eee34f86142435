//! A participant: its ports, what it says of itself, and all that it sends and gets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::super::error::DemoError;
use super::super::{random, sdp};
use super::chat::Chat;
use super::floor::Floor;
use super::tone::{Ear, Law, Mouth, SAMPLES};
use super::video::{Camera, FRAME_STEPS, PAYLOAD_TYPE, Screen};
use super::{NAMES, is_due, socket};

/// Time between two packets of voice.
const VOICE: Duration = Duration::from_millis(20);
/// Time between two frames of a camera.
const FRAME: Duration = Duration::from_nanos(66_666_667);
/// Time between two messages of a participant.
const MESSAGE: Duration = Duration::from_millis(700);
/// The port of one who makes connections and takes none (RFC 4145 §4.1).
const DISCARD: u16 = 9;
/// Octets of an RTP header without CSRCs (RFC 3550 §5.1).
const HEADER: usize = 12;
/// Who is seen now is who was seen in this time.
const SEEN: Duration = Duration::from_millis(300);
/// How many have cameras: the first ones.
const CAMERAS: usize = 2;

/// What a participant has before the session.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) number: usize,
    voice: UdpSocket,
    video: UdpSocket,
    path: String,
}

impl Ports {
    pub(super) fn open(number: usize) -> Result<Self, DemoError> {
        let ports = Self {
            number,
            voice: socket()?,
            video: socket()?,
            path: format!(
                "msrp://{}:{DISCARD}/{:016x};tcp",
                Ipv4Addr::LOCALHOST,
                random()
            ),
        };
        for socket in [&ports.voice, &ports.video] {
            socket
                .set_nonblocking(true)
                .map_err(DemoError::doing("RTP"))?;
        }
        Ok(ports)
    }

    /// What it offers and what it answers: they are the same.
    pub(super) fn describe(&self) -> Result<String, DemoError> {
        let port = |socket: &UdpSocket| {
            let local = socket.local_addr().map_err(DemoError::doing("RTP"))?;
            Ok::<u16, DemoError>(local.port())
        };
        let law = Law::of(self.number);
        let (host, path) = (Ipv4Addr::LOCALHOST, &self.path);
        let (voice, video) = (port(&self.voice)?, port(&self.video)?);
        let (code, name) = (law.payload_type(), law.name());
        Ok(format!(
            "v=0\r\no=demo {} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio {voice} RTP/AVP {code}\r\na=rtpmap:{code} {name}/8000\r\na=rtcp-mux\r\n\
             m=video {video} RTP/AVPF {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} VP8/90000\r\n\
             a=rtcp-fb:{PAYLOAD_TYPE} ccm fir\r\na=rtcp-fb:{PAYLOAD_TYPE} nack pli\r\na=rtcp-mux\r\n\
             m=message {DISCARD} TCP/MSRP *\r\na=accept-types:message/cpim\r\n\
             a=accept-wrapped-types:text/plain\r\na=setup:active\r\na=path:{path}\r\n\
             m=application {DISCARD} TCP/BFCP *\r\na=setup:active\r\na=connection:new\r\n\
             a=floorctrl:c-only\r\n",
            random() >> 1,
        ))
    }
}

/// One direction of a stream of RTP.
#[derive(Debug)]
struct Line {
    socket: UdpSocket,
    to: SocketAddr,
    next: Option<Instant>,
    source: u32,
    number: u16,
    timestamp: u32,
}

impl Line {
    fn new(socket: UdpSocket, to: SocketAddr) -> Self {
        Self {
            socket,
            to,
            next: None,
            source: u32::try_from(random() >> 32).unwrap_or(1),
            number: 0,
            timestamp: 0,
        }
    }

    fn send(&mut self, first: [u8; 2], steps: u32, payload: &[u8]) {
        let mut packet = first.to_vec();
        packet.extend(self.number.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.source.to_be_bytes());
        packet.extend(payload);
        self.number = self.number.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(steps);
        // A packet that is lost is one that isn't heard, and that shows.
        let _ = self.socket.send_to(&packet, self.to);
    }
}

/// A participant in the session.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) law: Law,
    voice: Line,
    video: Line,
    mouth: Mouth,
    pub(super) camera: Option<Camera>,
    pub(super) ear: Ear,
    pub(super) screen: Screen,
    pub(super) chat: Chat,
    next_message: Option<Instant>,
    pub(super) floor: Floor,
    pub(super) is_talking: bool,
    seen: Option<(usize, Instant)>,
}

impl Seat {
    /// Takes the seat that the relay describes.
    pub(super) fn new(ports: Ports, description: &str) -> Result<Self, DemoError> {
        let sections = sdp::sections(description)?;
        let of = |media: &str| {
            let mut all = sections.iter();
            let found = all.find(|one| one.media == media && one.address.port() != 0);
            found.ok_or_else(|| DemoError::unexpected(&format!("m={media} with a port"), "none"))
        };
        let (voice, video) = (of("audio")?.address, of("video")?.address);
        let path = of("message")?.attribute("path").unwrap_or_default();
        let (number, law) = (ports.number, Law::of(ports.number));
        Ok(Self {
            number,
            law,
            voice: Line::new(ports.voice, voice),
            video: Line::new(ports.video, video),
            mouth: Mouth::new(number, law),
            camera: (number < CAMERAS).then(|| Camera::new(number)),
            ear: Ear::default(),
            screen: Screen::default(),
            chat: Chat::join(number, &ports.path, path)?,
            next_message: None,
            floor: Floor::join(of("application")?)?,
            is_talking: false,
            seen: None,
        })
    }

    /// Forgets what came before anybody talked.
    pub(super) fn begin(&mut self) {
        self.hear();
        self.ear = Ear::default();
    }

    /// Sends what is due and takes what came, while one of all pauses.
    pub(super) fn step(&mut self, at: Instant, pauses: usize) -> Result<(), DemoError> {
        self.is_talking = pauses != self.number;
        self.send(at)?;
        self.hear();
        self.watch(at);
        self.settle()
    }

    /// Takes what came of messages and floors.
    pub(super) fn settle(&mut self) -> Result<(), DemoError> {
        self.chat.step()?;
        self.floor.step()
    }

    fn send(&mut self, at: Instant) -> Result<(), DemoError> {
        while is_due(&mut self.voice.next, at, VOICE) {
            let payload = self.mouth.payload(self.is_talking);
            let first = [0x80, self.law.payload_type()];
            self.voice.send(first, SAMPLES, payload);
        }
        if let Some(camera) = &mut self.camera {
            while is_due(&mut self.video.next, at, FRAME) {
                // Each packet is a whole frame, so each has the marker.
                let first = [0x80, 0x80 | PAYLOAD_TYPE];
                self.video.send(first, FRAME_STEPS, &camera.frame());
            }
        }
        if is_due(&mut self.next_message, at, MESSAGE) {
            self.chat.say()?;
        }
        Ok(())
    }

    fn hear(&mut self) {
        let mut packet = [0; 2048];
        while let Ok((length, _)) = self.voice.socket.recv_from(&mut packet) {
            if let Some(payload) = payload_of(&packet, length, self.law.payload_type()) {
                self.ear.hear(self.law, payload);
            }
        }
    }

    fn watch(&mut self, at: Instant) {
        let mut packet = [0; 2048];
        while let Ok((length, _)) = self.video.socket.recv_from(&mut packet) {
            match payload_of(&packet, length, PAYLOAD_TYPE) {
                Some(payload) => {
                    let whose = self.screen.show(payload);
                    self.seen = whose.map(|whose| (whose, at)).or(self.seen);
                }
                None => {
                    let feedback = packet.get(..length).unwrap_or_default();
                    if let Some(camera) = &mut self.camera {
                        camera.take_feedback(feedback);
                    }
                }
            }
        }
    }

    /// Who is seen now.
    pub(super) fn sees(&self, at: Instant) -> Option<&'static str> {
        let (whose, since) = self.seen?;
        (at < since + SEEN).then(|| NAMES.get(whose).copied())?
    }
}

/// An RTP packet's payload, if it is of a type.
fn payload_of(packet: &[u8; 2048], length: usize, payload_type: u8) -> Option<&[u8]> {
    let is_of_type = packet[1] & 0x7f == payload_type;
    let csrcs = usize::from(packet[0] & 0x0f);
    let extension = packet[0] & 0x10 != 0;
    let head = HEADER + 4 * csrcs;
    let skipped = match (extension, packet.get(head + 2..head + 4)) {
        (true, Some([high, low])) => 4 + 4 * usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let payload = packet.get(head + skipped..length);
    payload.filter(|payload| is_of_type && !payload.is_empty())
}
