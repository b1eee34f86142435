//! An RTP peer: a paced sender and a receiver that checks every packet (RFC 3550).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::peers::content;

/// G.711 with 20 ms a packet: 160 bytes.
const PAYLOAD: usize = 160;
/// Time between two packets.
const PACE: Duration = Duration::from_millis(20);
/// What doesn't come for so long doesn't come.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// A packet that arrived well.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its sequence number.
    pub seq: u16,
    /// When it arrived.
    pub at: Instant,
}

/// What a peer has sent and heard so far.
#[derive(Debug, Default, Clone)]
pub struct Record {
    /// When each packet left, by sequence number from `first_seq` on.
    pub sent: Vec<(u16, Instant)>,
    /// Packets of the other peer in order of arrival.
    pub heard: Vec<Arrival>,
    /// Packets that came from another address than the one expected.
    pub wrong_source: u64,
    /// Packets whose header or payload isn't what the other peer sent.
    pub damaged: u64,
    /// RTCP packets heard on the port above.
    pub rtcp: u64,
}

impl Record {
    /// Sequence numbers missing between the first and the last one heard.
    #[must_use]
    pub fn lost(&self) -> usize {
        let (Some(first), Some(last)) = (self.heard.first(), self.heard.last()) else {
            return 0;
        };
        let due = usize::from(last.seq.wrapping_sub(first.seq)) + 1;
        let mut seen: Vec<u16> = self.heard.iter().map(|packet| packet.seq).collect();
        seen.sort_unstable();
        seen.dedup();
        due.saturating_sub(seen.len())
    }

    /// The longest time between two arrivals.
    #[must_use]
    pub fn gap_max(&self) -> Duration {
        self.heard
            .windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .max()
            .unwrap_or_default()
    }
}

/// The longest gap between two arrivals that wasn't already there when `from` sent them: what the
/// way between the two peers added.
#[must_use]
pub fn gap_added(from: &Record, to: &Record) -> Duration {
    let left = |seq: u16| {
        from.sent
            .iter()
            .find(|(sent, _)| *sent == seq)
            .map(|(_, at)| *at)
    };
    to.heard
        .windows(2)
        .filter_map(|pair| {
            let sent = left(pair[1].seq)?.saturating_duration_since(left(pair[0].seq)?);
            Some((pair[1].at - pair[0].at).saturating_sub(sent))
        })
        .max()
        .unwrap_or_default()
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Nothing is sent any more.
    is_mute: AtomicBool,
    /// Where to send; `None`: be silent.
    to: Mutex<Option<SocketAddr>>,
    /// Where packets must come from; `None`: from anywhere.
    from: Mutex<Option<SocketAddr>>,
    /// The SSRC that the other peer sends with, which its payload follows from.
    other: u32,
    record: Mutex<Record>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of an audio stream, with its own threads.
#[derive(Debug)]
pub struct Peer {
    socket: UdpSocket,
    rtcp: UdpSocket,
    ssrc: u32,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    speaker: Option<JoinHandle<()>>,
}

impl Peer {
    /// Binds `port` and the one above; sends as `ssrc` and expects the payload of `other`.
    ///
    /// # Panics
    ///
    /// A port is taken.
    #[must_use]
    pub fn bind(ip: IpAddr, port: u16, (ssrc, other): (u32, u32)) -> Self {
        let socket = UdpSocket::bind((ip, port)).expect("the RTP port is free");
        let rtcp = UdpSocket::bind((ip, port + 1)).expect("the RTCP port is free");
        let wake = Some(Duration::from_millis(50));
        socket.set_read_timeout(wake).expect("a timeout can be set");
        rtcp.set_read_timeout(wake).expect("a timeout can be set");
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            to: Mutex::new(None),
            from: Mutex::new(None),
            other,
            record: Mutex::new(Record::default()),
        });
        let mut peer = Self {
            socket,
            rtcp,
            ssrc,
            shared,
            threads: Vec::new(),
            speaker: None,
        };
        peer.listen();
        peer
    }

    /// The RTP port.
    ///
    /// # Panics
    ///
    /// Never: the socket is bound.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket
            .local_addr()
            .expect("the socket is bound")
            .port()
    }

    /// Sends to `to` from now on and expects packets from there.
    pub fn aim(&self, to: SocketAddr) {
        *lock(&self.shared.to) = Some(to);
        *lock(&self.shared.from) = Some(to);
    }

    /// Stops sending (a hold), goes on listening.
    pub fn be_silent(&self) {
        *lock(&self.shared.to) = None;
    }

    /// Starts to send 50 packets a second while a target is set.
    ///
    /// # Panics
    ///
    /// The socket can't be cloned.
    pub fn talk(&mut self) {
        let socket = self.socket.try_clone().expect("a socket can be cloned");
        let rtcp = self.rtcp.try_clone().expect("a socket can be cloned");
        let (shared, ssrc) = (Arc::clone(&self.shared), self.ssrc);
        self.speaker = Some(std::thread::spawn(move || {
            talk(&socket, &rtcp, ssrc, &shared);
        }));
    }

    /// Sends one datagram as it is to the target.
    ///
    /// # Panics
    ///
    /// No target is set.
    pub fn throw(&self, bytes: &[u8]) {
        let to = lock(&self.shared.to).expect("a target is set");
        let _refused = self.socket.send_to(bytes, to);
    }

    /// What was sent and heard so far.
    #[must_use]
    pub fn record(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// Waits until `count` packets were heard.
    #[must_use]
    pub fn hears(&self, count: usize, at_most: Duration) -> bool {
        crate::live::eventually(at_most, || lock(&self.shared.record).heard.len() >= count)
    }

    /// Ends two peers that talk to each other: both are silent before either stops listening, and
    /// what the other one has sent is waited for, unless it is lost.
    #[must_use]
    pub fn finish_both(mut a: Self, mut b: Self) -> (Record, Record) {
        a.fall_silent();
        b.fall_silent();
        let (from_a, from_b) = (a.record().sent.len(), b.record().sent.len());
        let _is_whole = a.hears(from_b, LOST_AFTER) && b.hears(from_a, LOST_AFTER);
        std::thread::sleep(Duration::from_millis(200));
        a.end();
        b.end();
        (a.record(), b.record())
    }

    /// Stops the sender, listens for another 200 ms and hands over the record.
    pub fn finish(mut self) -> Record {
        self.fall_silent();
        std::thread::sleep(Duration::from_millis(200));
        self.end();
        self.record()
    }

    /// Nothing more is sent.
    fn fall_silent(&mut self) {
        self.shared.is_mute.store(true, Ordering::Relaxed);
        if let Some(speaker) = self.speaker.take() {
            let _ended = speaker.join();
        }
    }

    fn listen(&mut self) {
        let socket = self.socket.try_clone().expect("a socket can be cloned");
        let shared = Arc::clone(&self.shared);
        self.threads
            .push(std::thread::spawn(move || hear(&socket, &shared)));
        let rtcp = self.rtcp.try_clone().expect("a socket can be cloned");
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !shared.stop.load(Ordering::Relaxed) {
                if rtcp.recv_from(&mut bytes).is_ok() {
                    lock(&shared.record).rtcp += 1;
                }
            }
        }));
    }

    fn end(&mut self) {
        self.fall_silent();
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The packet with this sequence number, all of which follows from `ssrc` and `seq`.
#[must_use]
pub fn packet(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(seq.to_be_bytes());
    bytes.extend((u32::from(seq) * 160).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.resize(12 + PAYLOAD, 0);
    content::fill(
        u64::from(ssrc),
        u64::from(seq) * PAYLOAD as u64,
        &mut bytes[12..],
    );
    bytes
}

/// An empty receiver report (RFC 3550 §6.4.2).
fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

fn talk(socket: &UdpSocket, rtcp: &UdpSocket, ssrc: u32, shared: &Shared) {
    let mut next = Instant::now();
    let mut seq: u16 = 0;
    while !shared.is_mute.load(Ordering::Relaxed) {
        let target = *lock(&shared.to);
        if let Some(to) = target {
            let bytes = packet(ssrc, seq);
            let at = Instant::now();
            if socket.send_to(&bytes, to).is_ok() {
                lock(&shared.record).sent.push((seq, at));
            }
            seq = seq.wrapping_add(1);
            if seq % 50 == 10 {
                let _refused = rtcp.send_to(&receiver_report(ssrc), (to.ip(), to.port() + 1));
            }
        }
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn hear(socket: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 2048];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((length, source)) = socket.recv_from(&mut bytes) else {
            continue;
        };
        let at = Instant::now();
        let expected = *lock(&shared.from);
        let mut record = lock(&shared.record);
        if expected.is_some_and(|from| from != source) {
            record.wrong_source += 1;
            continue;
        }
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        if bytes[..length] == packet(shared.other, seq) {
            record.heard.push(Arrival { seq, at });
        } else {
            record.damaged += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, gap_added};
    use crate::live::ports::Ports;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    #[test]
    fn two_peers_hear_each_other_packet_for_packet() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut ports = Ports::take();
        let mut a = Peer::bind(ip, ports.pair(), (1, 2));
        let mut b = Peer::bind(ip, ports.pair(), (2, 1));
        a.aim(SocketAddr::new(ip, b.port()));
        b.aim(SocketAddr::new(ip, a.port()));
        a.talk();
        b.talk();
        assert!(b.hears(20, Duration::from_secs(10)));
        a.throw(b"not rtp");
        let (a, b) = Peer::finish_both(a, b);
        assert_eq!((a.lost(), a.damaged, a.wrong_source), (0, 0, 0));
        assert_eq!((b.lost(), b.damaged, b.wrong_source), (0, 1, 0));
        assert_eq!(b.heard.len(), a.sent.len());
        assert!(b.rtcp > 0, "no RTCP was heard");
        assert!(gap_added(&a, &b) < b.gap_max());
    }
}
