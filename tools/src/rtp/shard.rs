//! One thread of the generator: its calls, both ends of each.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendto,
};
use nix::sys::time::TimeSpec;

use super::generator::{Gauge, Plan, Tally};
use super::ledger::Ledger;
use super::leg::Legs;
use super::packet::{self, Codec, PACKET_BYTES, Stamp};

/// Packets sent before the sockets are looked at again.
const BURST: u32 = 16;
/// A thread that is later than this sends its bursts in one system call each.
const BEHIND_NS: u64 = 200_000;
/// Sockets looked at before the next moment is.
const EVENTS: usize = 64;
/// Packets taken from one socket at a time.
const TAKEN: usize = 32;
/// How long packets may be on their way after the last was sent.
const DRAIN_NS: u64 = 500_000_000;
/// A thread sleeps only when its next packet is further away than this: waking takes a while.
const SLEEP_NS: u64 = 400_000;
const WAKE_NS: u64 = 200_000;

/// Nanoseconds of the real-time clock: the kernel stamps packets by the same one.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One end of a call of this thread.
struct End {
    /// Its number among all ends.
    stream: u32,
    door: usize,
    relay: SockaddrIn,
    ledger: Ledger,
}

/// A packet on its way to the kernel.
struct Outgoing {
    door: usize,
    relay: SockaddrIn,
    bytes: [u8; PACKET_BYTES],
    is_measured: bool,
}

/// What batches need. The headers hold raw pointers, and so can't be made before their thread.
struct Mail {
    outgoing: Vec<Outgoing>,
    sending: MultiHeaders<SockaddrIn>,
    taking: MultiHeaders<SockaddrIn>,
}

impl Mail {
    fn new() -> Self {
        let burst = usize::try_from(BURST).unwrap_or(1);
        Self {
            outgoing: Vec::with_capacity(burst),
            sending: MultiHeaders::preallocate(burst, None),
            taking: MultiHeaders::preallocate(TAKEN, Some(nix::cmsg_space!(TimeSpec))),
        }
    }
}

/// The ends of one thread's calls: every `threads`th call is its own.
pub struct Shard<'a> {
    legs: &'a Legs,
    threads: usize,
    ends: Vec<End>,
    order: Vec<u32>,
    epoll: Epoll,
    plan: Plan,
    codec: Codec,
    start_ns: u64,
    round: u32,
    turn: usize,
    due_ns: u64,
    tally: Tally,
    came: u64,
    buffers: Vec<[u8; 2 * PACKET_BYTES]>,
}

impl<'a> Shard<'a> {
    /// The calls of thread `number` of `threads`.
    ///
    /// # Errors
    ///
    /// The kernel has no epoll for them, or an end has no port of the relay.
    pub fn new(
        legs: &'a Legs,
        (number, threads): (usize, usize),
        (plan, start_ns): (Plan, u64),
        codec: Codec,
    ) -> Result<Self, String> {
        let of_thread = |index: usize| index / 2 % threads == number;
        let mut ends = Vec::new();
        for (index, leg) in legs.all.iter().enumerate() {
            if !of_thread(index) {
                continue;
            }
            let relay = leg.relay().ok_or("an end has no port of the relay")?;
            ends.push(End {
                stream: u32::try_from(index).unwrap_or(u32::MAX),
                door: leg.door,
                relay: relay.into(),
                ledger: Ledger::new(plan.first, plan.end),
            });
        }
        let no_epoll = |error: Errno| format!("epoll: {error}");
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(no_epoll)?;
        for (door, socket) in legs.doors.iter().enumerate() {
            if of_thread(door) {
                let mark = u64::try_from(door).unwrap_or(u64::MAX);
                let event = EpollEvent::new(EpollFlags::EPOLLIN, mark);
                epoll.add(socket, event).map_err(no_epoll)?;
            }
        }
        let share = plan.period_ns / u64::try_from(ends.len().max(1) * threads).unwrap_or(1);
        let offset = share * u64::try_from(number).unwrap_or(0);
        let count = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        Ok(Self {
            legs,
            threads,
            order: mixed(count),
            ends,
            epoll,
            plan,
            codec,
            start_ns: start_ns + offset,
            round: 0,
            turn: 0,
            due_ns: start_ns + offset,
            tally: Tally::default(),
            came: 0,
            buffers: vec![[0; 2 * PACKET_BYTES]; TAKEN],
        })
    }

    /// Sends everything at its moment, and takes what comes until nothing can come any more.
    pub fn run(mut self, gauge: &Gauge) -> Tally {
        let (mut sent, mut idle_ns, mut idle) = (0_u64, 0, false);
        let mut before = now_ns();
        let mut last_ns = self.start_ns;
        let mut mail = Mail::new();
        loop {
            let now = now_ns();
            if idle && !self.all_sent() && now > self.start_ns {
                idle_ns += now.saturating_sub(before.max(self.start_ns));
            }
            before = now;
            let count = self.send_due(&mut mail);
            sent += u64::from(count);
            let came = self.receive(&mut mail.taking);
            gauge.sent.store(sent, Ordering::Relaxed);
            gauge.received.store(self.came, Ordering::Relaxed);
            idle = count == 0 && came == 0;
            if !self.all_sent() {
                last_ns = now;
                if idle {
                    self.rest(now);
                }
            } else if now > last_ns + DRAIN_NS || (idle && self.came >= sent) {
                break;
            }
        }
        let whole = Duration::from_nanos(last_ns.saturating_sub(self.start_ns).max(1));
        self.tally.busy = 1.0
            - Duration::from_nanos(idle_ns)
                .div_duration_f64(whole)
                .min(1.0);
        self.close()
    }

    fn all_sent(&self) -> bool {
        self.round >= self.plan.end || self.ends.is_empty()
    }

    /// Sends what is due, at most a burst.
    fn send_due(&mut self, mail: &mut Mail) -> u32 {
        let mut count = 0;
        while count < BURST && !self.all_sent() {
            let now = now_ns();
            if now < self.due_ns {
                break;
            }
            // One by one while there is time, as each then bears the moment at which it leaves.
            let batch = if now - self.due_ns > BEHIND_NS {
                BURST
            } else {
                1
            };
            mail.outgoing.clear();
            while mail.outgoing.len() < usize::try_from(batch).unwrap_or(1)
                && !self.all_sent()
                && now >= self.due_ns
            {
                let outgoing = self.next_packet(now);
                mail.outgoing.push(outgoing);
            }
            count += u32::try_from(mail.outgoing.len()).unwrap_or(0);
            self.post(mail);
        }
        count
    }

    /// The next packet, with its moment and the following one's.
    fn next_packet(&mut self, now: u64) -> Outgoing {
        let at = usize::try_from(self.order[self.turn]).unwrap_or(0);
        let end = &self.ends[at];
        let mut outgoing = Outgoing {
            door: end.door,
            relay: end.relay,
            bytes: [0; PACKET_BYTES],
            is_measured: self.round >= self.plan.first,
        };
        let stamp = Stamp {
            stream: end.stream,
            seq: self.round,
            sent_ns: now,
        };
        packet::write(&mut outgoing.bytes, self.codec, stamp);
        if outgoing.is_measured {
            self.tally.sent += 1;
            self.tally.lateness.saturating_record(now - self.due_ns);
        }
        self.turn += 1;
        if self.turn == self.order.len() {
            self.turn = 0;
            self.round += 1;
        }
        let turn = u64::try_from(self.turn).unwrap_or(0);
        let streams = u64::try_from(self.order.len()).unwrap_or(1);
        let within = self.plan.period_ns * turn / streams;
        let due = u64::from(self.round) * self.plan.period_ns + within;
        let slot = self.plan.slot_ns;
        self.due_ns = self.start_ns + due.div_ceil(slot) * slot;
        outgoing
    }

    /// Hands packets to the kernel, those of one socket together.
    fn post(&mut self, mail: &mut Mail) {
        let length = self.codec.packet_bytes();
        mail.outgoing.sort_by_key(|packet| packet.door);
        for same in mail.outgoing.chunk_by(|one, other| one.door == other.door) {
            let descriptor = self.legs.doors[same[0].door].as_raw_fd();
            let mut left = same;
            if left.len() > 1 {
                let parts: Vec<[IoSlice<'_>; 1]> = left
                    .iter()
                    .map(|packet| [IoSlice::new(&packet.bytes[..length])])
                    .collect();
                let to: Vec<_> = left.iter().map(|packet| Some(packet.relay)).collect();
                let flags = MsgFlags::MSG_DONTWAIT;
                let sent = sendmmsg(descriptor, &mut mail.sending, &parts, &to, [], flags);
                left = &left[sent.map_or(0, Iterator::count)..];
            }
            // What the kernel stopped at goes by itself: an error is of an earlier packet, mostly.
            for packet in left {
                let bytes = &packet.bytes[..length];
                let send = || sendto(descriptor, bytes, &packet.relay, MsgFlags::MSG_DONTWAIT);
                let mut result = send();
                if result == Err(Errno::ECONNREFUSED) {
                    result = send();
                }
                self.tally.refused += u64::from(packet.is_measured && result.is_err());
            }
        }
    }

    fn rest(&self, now: u64) {
        let gap = self.due_ns.saturating_sub(now);
        if gap > SLEEP_NS {
            thread::sleep(Duration::from_nanos(gap - WAKE_NS));
        }
    }

    /// Takes a batch of each socket that has packets.
    fn receive(&mut self, headers: &mut MultiHeaders<SockaddrIn>) -> usize {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in &events[..ready] {
            self.take(usize::try_from(event.data()).unwrap_or(0), headers);
        }
        ready
    }

    fn take(&mut self, door: usize, headers: &mut MultiHeaders<SockaddrIn>) {
        let descriptor = self.legs.doors[door].as_raw_fd();
        let mut parts: Vec<[IoSliceMut<'_>; 1]> = Vec::with_capacity(TAKEN);
        parts.extend(
            self.buffers
                .iter_mut()
                .map(|bytes| [IoSliceMut::new(bytes)]),
        );
        let flags = MsgFlags::MSG_DONTWAIT;
        let taken = recvmmsg(descriptor, headers, &mut parts, flags, None);
        let messages = match taken {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR) => return,
            Err(_) => {
                self.tally.damaged += 1;
                return;
            }
        };
        let mut books = Books {
            ends: &mut self.ends,
            threads: self.threads,
            codec: self.codec,
            tally: &mut self.tally,
        };
        for message in messages {
            self.came += 1;
            let packet = message.iovs().next().unwrap_or_default();
            let source = message.address.map(SocketAddrV4::from);
            let came_ns = arrival(message.cmsgs().ok());
            books.enter(packet, (door, source), came_ns);
        }
    }

    fn close(mut self) -> Tally {
        for end in &self.ends {
            self.tally.received += end.ledger.received;
            self.tally.lost += end.ledger.lost();
            self.tally.duplicated += end.ledger.duplicated;
            self.tally.reordered += end.ledger.reordered;
        }
        self.tally
    }
}

/// What is written down of a packet that came.
struct Books<'a> {
    ends: &'a mut [End],
    threads: usize,
    codec: Codec,
    tally: &'a mut Tally,
}

impl Books<'_> {
    fn enter(
        &mut self,
        packet: &[u8],
        (door, source): (usize, Option<SocketAddrV4>),
        came_ns: Option<u64>,
    ) {
        let Some(stamp) = packet::read(packet, self.codec) else {
            self.tally.damaged += 1;
            return;
        };
        // The end that it is for: the other one of its sender's call.
        let number = usize::try_from(stamp.stream ^ 1).unwrap_or(usize::MAX);
        let at = number / 2 / self.threads * 2 + number % 2;
        let is_own = |end: &&mut End| {
            end.stream == stamp.stream ^ 1
                && end.door == door
                && source == Some(SocketAddrV4::from(end.relay))
        };
        let Some(end) = self.ends.get_mut(at).filter(is_own) else {
            self.tally.stray += 1;
            return;
        };
        if end.ledger.take(stamp.seq) {
            let came_ns = came_ns.unwrap_or_else(now_ns);
            self.tally
                .latency
                .saturating_record(came_ns.saturating_sub(stamp.sent_ns));
        }
    }
}

/// When the kernel put the packet into its socket.
fn arrival(messages: Option<impl Iterator<Item = ControlMessageOwned>>) -> Option<u64> {
    messages?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(nanos(time.into())),
        _ => None,
    })
}

/// The numbers below `count` in an order that looks like none, the same in every run.
fn mixed(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mix = |number: &u32| {
        number
            .wrapping_add(1)
            .wrapping_mul(0x9E37_79B1)
            .rotate_left(13)
    };
    order.sort_by_key(|number| mix(number).wrapping_mul(0x85EB_CA6B));
    order
}

#[cfg(test)]
mod tests {
    use super::{Gauge, Shard, mixed, now_ns};
    use crate::rtp::generator::{Load, Plan};
    use crate::rtp::leg::Legs;
    use crate::rtp::packet::Codec;
    use crate::rtp::subject::Place;

    #[test]
    fn a_mixed_order_has_every_number_once() {
        let mut order = mixed(1000);
        assert!(
            order
                .iter()
                .zip(0..)
                .any(|(number, place)| *number != place)
        );
        order.sort_unstable();
        assert!(
            order
                .iter()
                .zip(0..)
                .all(|(number, place)| *number == place)
        );
    }

    #[test]
    fn legs_without_a_relay_between_lose_nothing() {
        let ip = Place::own().generator;
        let legs = Legs::open(ip, 2, 1).unwrap();
        for (number, leg) in legs.all.iter().enumerate() {
            leg.connect(legs.all[number ^ 1].at.into()).unwrap();
        }
        let load = Load {
            codec: Codec::G711,
            rate: 2000,
            seconds: 1,
            warmup_s: 0,
            coalesce_us: 0,
        };
        let plan = (Plan::new(&load, legs.all.len()), now_ns());
        let shard = Shard::new(&legs, (0, 1), plan, Codec::G711).unwrap();
        let tally = shard.run(&Gauge::default());
        assert_eq!((tally.sent, tally.received, tally.lost), (2000, 2000, 0));
        assert_eq!((tally.damaged, tally.stray, tally.reordered), (0, 0, 0));
        assert!(tally.latency.value_at_quantile(0.5) > 0);
    }
}
