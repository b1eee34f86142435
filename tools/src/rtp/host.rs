//! The machine under a measurement: cores, priorities, and what its processes used.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Which cores belong to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// The relay's, one per worker: the last ones.
    pub relay: Vec<usize>,
    /// The generator's threads': the others, at most four.
    pub generator: Vec<usize>,
}

impl Cores {
    /// Shares the cores that this process may use.
    #[must_use]
    pub fn share(workers: usize) -> Self {
        Self::split(allowed(), workers)
    }

    fn split(all: &[usize], workers: usize) -> Self {
        let relay: Vec<usize> = all
            .iter()
            .rev()
            .take(workers.max(1))
            .rev()
            .copied()
            .collect();
        let others = all.iter().filter(|core| !relay.contains(core));
        let mut generator: Vec<usize> = others.copied().take(4).collect();
        if generator.is_empty() {
            generator.extend(all.first());
        }
        Self { relay, generator }
    }

    /// Whether a core is the relay's and the generator's, which spoils every figure.
    #[must_use]
    pub fn overlap(&self) -> bool {
        self.generator.iter().any(|core| self.relay.contains(core))
    }
}

/// The cores that this process began with; pinning its threads later doesn't change them.
fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(read_allowed)
}

fn read_allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect()
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        let _too_large = set.set(*core);
    }
    set
}

/// Keeps the calling thread, and those that it starts, on `cores`.
pub fn pin_this_thread(cores: &[usize]) {
    let _refused = sched_setaffinity(Pid::from_raw(0), &set_of(cores));
}

/// Keeps all threads of a process on `cores`.
pub fn pin_process(id: u32, cores: &[usize]) {
    for thread in threads(id) {
        let _ended = sched_setaffinity(Pid::from_raw(thread), &set_of(cores));
    }
}

fn threads(id: u32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Puts all threads of a process before everything else on their core, where this user may.
///
/// A process that waits for a core that other work has would be measured with that work's time
/// slices in its latency.
pub fn prefer_process(id: u32) {
    let id = id.to_string();
    let mut chrt = Command::new("chrt");
    chrt.args(["--all-tasks", "--rr", "--pid", "10", &id]);
    let _refused = chrt.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// CPU time of all threads of a process, user and system, in nanoseconds (the first figure of
/// /proc/ID/task/THREAD/schedstat).
#[must_use]
pub fn cpu_ns(id: u32) -> u64 {
    let of = |thread: i32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{id}/task/{thread}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads(id).into_iter().filter_map(of).sum()
}

/// Memory resident now, in KiB.
#[must_use]
pub fn resident_kib(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Datagrams that the kernel dropped at full sockets that are bound to `ip` now.
#[must_use]
pub fn queue_drops(ip: Ipv4Addr) -> u64 {
    drops_in(&fs::read_to_string("/proc/net/udp").unwrap_or_default(), ip)
}

fn drops_in(table: &str, ip: Ipv4Addr) -> u64 {
    let prefix = format!("{:08X}:", u32::from_le_bytes(ip.octets()));
    let drops = |line: &str| -> Option<u64> {
        let local = line.split_whitespace().nth(1)?;
        if !local.starts_with(&prefix) {
            return None;
        }
        line.split_whitespace().last()?.parse().ok()
    };
    table.lines().skip(1).filter_map(drops).sum()
}

/// This process and those that it starts, before the machine's other work; as before when dropped.
#[derive(Debug)]
pub struct Priority {
    group: Option<String>,
}

impl Priority {
    /// Raises it where this user may: without, the figures are noisier.
    #[must_use]
    pub fn raise() -> Self {
        let id = std::process::id().to_string();
        let mut renice = Command::new("renice");
        renice.args(["-n", "-10", "-p", &id]);
        let _refused = renice.stdout(Stdio::null()).stderr(Stdio::null()).status();
        // Where the kernel groups processes by terminal, nice counts only within the group.
        let text = fs::read_to_string(AUTOGROUP).unwrap_or_default();
        let nice = text
            .rsplit_once("nice ")
            .map(|(_, nice)| nice.trim().to_owned());
        let raised = nice.is_some() && fs::write(AUTOGROUP, "-20").is_ok();
        Self {
            group: nice.filter(|_| raised),
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(nice) = &self.group {
            let _refused = fs::write(AUTOGROUP, nice);
        }
    }
}

const AUTOGROUP: &str = "/proc/self/autogroup";

/// Lets this process, and those that it starts, have as many sockets as the calls need.
pub fn raise_descriptors(wanted: u64) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft >= wanted {
        return;
    }
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_err() {
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// How many processes wanted a core during the last minute, on average.
#[must_use]
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|figure| figure.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Cores, cpu_ns, drops_in, pin_this_thread};

    #[test]
    fn on_two_cores_the_relay_has_the_last_one() {
        let cores = Cores::split(&[0, 1], 1);
        assert_eq!((cores.relay, cores.generator), (vec![1], vec![0]));
    }

    #[test]
    fn pinning_this_thread_takes_no_core_from_the_next_share() {
        let before = Cores::share(1);
        pin_this_thread(&before.generator);
        assert_eq!(Cores::share(1), before);
    }

    #[test]
    fn cores_that_both_use_are_said() {
        assert!(Cores::split(&[0, 1], 2).overlap());
        assert!(!Cores::split(&[0, 1, 2], 2).overlap());
    }

    #[test]
    fn drops_are_those_of_the_address() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue ref pointer drops\n\
                     1: 0100007F:1F40 00000000:0000 07 00000000:00000000 2 0000 7\n\
                     2: 0200007F:1F41 00000000:0000 07 00000000:00000000 2 0000 5\n\
                     3: 0100007F:1F42 00000000:0000 07 00000000:00000000 2 0000 3\n";
        assert_eq!(drops_in(table, Ipv4Addr::new(127, 0, 0, 1)), 10);
    }

    #[test]
    fn this_process_has_used_some_cpu_time() {
        assert!(cpu_ns(std::process::id()) > 0);
    }
}
