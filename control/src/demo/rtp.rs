//! Voice: 50 packets of G.711 in a second, each with the moment it was sent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::error::DemoError;
use super::{lock, now, pause, random};

/// Time between two packets of G.711.
const TICK: Duration = Duration::from_millis(20);
/// Octets of one packet's voice: 20 ms at 8,000 in a second.
const VOICE_BYTES: usize = 160;
/// Octets of an RTP header without CSRCs (RFC 3550 §5.1).
const HEADER_BYTES: usize = 12;
/// Packets between two sender reports.
const REPORT_PACKETS: u64 = 100;
/// How long a receiver waits before it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);
/// The longest delay that is told from longer ones, in nanoseconds.
pub(super) const DELAY_NS_MAX: u64 = 10_000_000_000;

/// One direction of voice: counters that both ends share.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) reports: AtomicU64,
    /// From just before it was sent to just after it was received, in nanoseconds.
    pub(super) delay: Mutex<Histogram<u64>>,
}

impl Flow {
    pub(super) fn new() -> Result<Arc<Self>, DemoError> {
        Ok(Arc::new(Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            delay: Mutex::new(delays()?),
        }))
    }
}

/// A histogram of delays in nanoseconds, three digits exact.
pub(super) fn delays() -> Result<Histogram<u64>, DemoError> {
    Histogram::new_with_bounds(1, DELAY_NS_MAX, 3)
        .map_err(|error| DemoError::unexpected("a histogram", &error.to_string()))
}

/// The sending end of a flow.
#[derive(Debug)]
pub(super) struct Mouth {
    pub(super) rtp: UdpSocket,
    pub(super) to: SocketAddr,
    /// RTCP's socket and where it goes, if the flow has it.
    pub(super) rtcp: Option<(UdpSocket, SocketAddr)>,
    pub(super) flow: Arc<Flow>,
}

/// Sends all flows until it is told to stop, each a share of a tick after the one before.
pub(super) fn speak(
    mouths: Vec<Mouth>,
    zero: Instant,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, DemoError> {
    let source = u32::try_from(random() >> 32).unwrap_or(1);
    let speak = move || {
        let share = TICK / u32::try_from(mouths.len().max(1)).unwrap_or(1);
        let mut next = now();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            for mouth in &mouths {
                pause(next.saturating_duration_since(now()));
                mouth.send(number, source, zero);
                next += share;
            }
            number += 1;
        }
    };
    thread::Builder::new()
        .name("demo-voice".to_owned())
        .spawn(speak)
        .map_err(DemoError::doing("a thread"))
}

impl Mouth {
    fn send(&self, number: u64, source: u32, zero: Instant) {
        let mut packet = [0xd5; HEADER_BYTES + VOICE_BYTES];
        write(&mut packet, 0, &[0x80, 8]);
        write(&mut packet, 2, &low16(number).to_be_bytes());
        write(&mut packet, 4, &low32(number * 160).to_be_bytes());
        write(&mut packet, 8, &source.to_be_bytes());
        write(&mut packet, HEADER_BYTES, &since(zero).to_be_bytes());
        if self.rtp.send_to(&packet, self.to).is_ok() {
            self.flow.sent.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((socket, to)) = &self.rtcp
            && number % REPORT_PACKETS == REPORT_PACKETS / 2
        {
            // A report that is lost is followed by another one.
            let _ = socket.send_to(&sender_report(number, source), to);
        }
    }
}

/// A sender report and its source's name (RFC 3550 §6.4.1, §6.5).
fn sender_report(number: u64, source: u32) -> [u8; 48] {
    let mut packet = [0; 48];
    write(&mut packet, 0, &[0x80, 200, 0, 6]);
    write(&mut packet, 4, &source.to_be_bytes());
    write(&mut packet, 16, &low32(number * 160).to_be_bytes());
    write(&mut packet, 20, &low32(number).to_be_bytes());
    write(&mut packet, 24, &low32(number * 160).to_be_bytes());
    write(&mut packet, 28, &[0x81, 202, 0, 4]);
    write(&mut packet, 32, &source.to_be_bytes());
    write(&mut packet, 36, &[1, 9]);
    write(&mut packet, 38, b"demo@host");
    packet
}

/// Receives a flow until it is told to stop.
pub(super) fn listen(
    socket: UdpSocket,
    flow: Arc<Flow>,
    zero: Instant,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, DemoError> {
    let doing = DemoError::doing("RTP");
    socket.set_read_timeout(Some(LOOK)).map_err(doing)?;
    let listen = move || {
        let mut packet = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            let Ok((length, _)) = socket.recv_from(&mut packet) else {
                continue;
            };
            let arrived = since(zero);
            let stamp = packet.get(HEADER_BYTES..HEADER_BYTES + 8);
            let stamp = stamp.and_then(|bytes| bytes.try_into().ok());
            if let Some(stamp) = stamp.filter(|_| length == HEADER_BYTES + VOICE_BYTES) {
                let delay = arrived.saturating_sub(u64::from_be_bytes(stamp));
                flow.received.fetch_add(1, Ordering::Relaxed);
                lock(&flow.delay).saturating_record(delay);
            }
        }
    };
    thread::Builder::new()
        .name("demo-ear".to_owned())
        .spawn(listen)
        .map_err(DemoError::doing("a thread"))
}

/// Counts the reports of a flow until it is told to stop.
pub(super) fn listen_for_reports(
    socket: UdpSocket,
    flow: Arc<Flow>,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, DemoError> {
    let doing = DemoError::doing("RTCP");
    socket.set_read_timeout(Some(LOOK)).map_err(doing)?;
    let listen = move || {
        let mut packet = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            if socket.recv_from(&mut packet).is_ok() && packet.get(1) == Some(&200) {
                flow.reports.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::Builder::new()
        .name("demo-reports".to_owned())
        .spawn(listen)
        .map_err(DemoError::doing("a thread"))
}

/// Nanoseconds since the demo's zero.
pub(super) fn since(zero: Instant) -> u64 {
    let passed = now().saturating_duration_since(zero);
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}

fn write(packet: &mut [u8], at: usize, bytes: &[u8]) {
    let place = packet.iter_mut().skip(at);
    place.zip(bytes).for_each(|(to, from)| *to = *from);
}

fn low16(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}

fn low32(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}
