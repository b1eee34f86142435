//! One thread of the generator: its calls, both ends of each.

use std::io::{ErrorKind, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;

use super::generator::{Gauge, Plan, Tally};
use super::ledger::Ledger;
use super::leg::Leg;
use super::packet::{self, Codec, PACKET_BYTES, Stamp};

/// Packets sent before the sockets are looked at again.
const BURST: u32 = 16;
/// Sockets looked at before the next moment is.
const EVENTS: usize = 64;
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

/// The legs of one thread. Leg `n` here is leg `index[n]` of all.
pub struct Shard<'a> {
    legs: Vec<(u32, &'a Leg)>,
    ledgers: Vec<Ledger>,
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
    control: Vec<u8>,
}

impl<'a> Shard<'a> {
    /// The calls of thread `number` of `threads`.
    ///
    /// # Errors
    ///
    /// The kernel has no epoll for them.
    pub fn new(
        legs: &'a [Leg],
        (number, threads): (usize, usize),
        (plan, start_ns): (Plan, u64),
        codec: Codec,
    ) -> nix::Result<Self> {
        let mine = legs
            .iter()
            .enumerate()
            .filter(|(index, _)| index / 2 % threads == number);
        let legs: Vec<(u32, &Leg)> = mine
            .map(|(index, leg)| (u32::try_from(index).unwrap_or(u32::MAX), leg))
            .collect();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (at, (_, leg)) in (0..).zip(&legs) {
            epoll.add(&leg.socket, EpollEvent::new(EpollFlags::EPOLLIN, at))?;
        }
        let share = plan.period_ns / u64::try_from(legs.len().max(1) * threads).unwrap_or(1);
        let offset = share * u64::try_from(number).unwrap_or(0);
        let count = u32::try_from(legs.len()).unwrap_or(u32::MAX);
        Ok(Self {
            ledgers: vec![Ledger::new(plan.first, plan.end); legs.len()],
            order: mixed(count),
            legs,
            epoll,
            plan,
            codec,
            start_ns: start_ns + offset,
            round: 0,
            turn: 0,
            due_ns: start_ns + offset,
            tally: Tally::default(),
            came: 0,
            control: nix::cmsg_space!(TimeSpec),
        })
    }

    /// Sends everything at its moment, and takes what comes until nothing can come any more.
    pub fn run(mut self, gauge: &Gauge) -> Tally {
        let (mut sent, mut idle_ns, mut idle) = (0_u64, 0, false);
        let mut before = now_ns();
        let mut last_ns = self.start_ns;
        loop {
            let now = now_ns();
            if idle && !self.all_sent() && now > self.start_ns {
                idle_ns += now.saturating_sub(before.max(self.start_ns));
            }
            before = now;
            let count = self.send_due();
            sent += u64::from(count);
            let came = self.receive();
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
        self.round >= self.plan.end || self.legs.is_empty()
    }

    /// Sends what is due, at most a burst.
    fn send_due(&mut self) -> u32 {
        let mut count = 0;
        while count < BURST && !self.all_sent() {
            let now = now_ns();
            if now < self.due_ns {
                break;
            }
            self.send_one(now);
            count += 1;
        }
        count
    }

    fn send_one(&mut self, now: u64) {
        let at = usize::try_from(self.order[self.turn]).unwrap_or(0);
        let (stream, leg) = self.legs[at];
        let mut bytes = [0; PACKET_BYTES];
        let stamp = Stamp {
            stream,
            seq: self.round,
            sent_ns: now,
        };
        let packet = packet::write(&mut bytes, self.codec, stamp);
        let mut result = leg.socket.send(packet);
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        {
            // That was the news of an earlier packet; this one hasn't left yet.
            result = leg.socket.send(packet);
        }
        if self.round >= self.plan.first {
            self.tally.sent += 1;
            self.tally.refused += u64::from(result.is_err());
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
    }

    fn rest(&self, now: u64) {
        let gap = self.due_ns.saturating_sub(now);
        if gap > SLEEP_NS {
            thread::sleep(Duration::from_nanos(gap - WAKE_NS));
        }
    }

    /// Takes one packet of each socket that has some.
    fn receive(&mut self) -> usize {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in &events[..ready] {
            self.take(usize::try_from(event.data()).unwrap_or(0));
        }
        ready
    }

    fn take(&mut self, at: usize) {
        let (own, leg) = self.legs[at];
        let mut bytes = [0; 2048];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let descriptor = leg.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let (length, came_ns) =
            match recvmsg::<()>(descriptor, &mut parts, Some(&mut self.control), flags) {
                Ok(message) => (message.bytes, arrival(message.cmsgs().ok())),
                Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR) => return,
                Err(_) => {
                    self.tally.damaged += 1;
                    return;
                }
            };
        self.came += 1;
        let Some(stamp) = packet::read(&bytes[..length], self.codec) else {
            self.tally.damaged += 1;
            return;
        };
        if stamp.stream != own ^ 1 {
            self.tally.stray += 1;
            return;
        }
        if self.ledgers[at].take(stamp.seq) {
            let came_ns = came_ns.unwrap_or_else(now_ns);
            self.tally
                .latency
                .saturating_record(came_ns.saturating_sub(stamp.sent_ns));
        }
    }

    fn close(mut self) -> Tally {
        for ledger in &self.ledgers {
            self.tally.received += ledger.received;
            self.tally.lost += ledger.lost();
            self.tally.duplicated += ledger.duplicated;
            self.tally.reordered += ledger.reordered;
        }
        self.tally
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
    use crate::rtp::leg::{self, address};
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
        let legs = leg::open(ip, 4).unwrap();
        for (number, leg) in legs.iter().enumerate() {
            leg.connect(address(ip, number ^ 1)).unwrap();
        }
        let load = Load {
            codec: Codec::G711,
            rate: 2000,
            seconds: 1,
            warmup_s: 0,
            coalesce_us: 0,
        };
        let plan = (Plan::new(&load, legs.len()), now_ns());
        let shard = Shard::new(&legs, (0, 1), plan, Codec::G711).unwrap();
        let tally = shard.run(&Gauge::default());
        assert_eq!((tally.sent, tally.received, tally.lost), (2000, 2000, 0));
        assert_eq!((tally.damaged, tally.stray, tally.reordered), (0, 0, 0));
        assert!(tally.latency.value_at_quantile(0.5) > 0);
    }
}
