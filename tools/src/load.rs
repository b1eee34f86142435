//! `cargo x load sip`: SIPp on both sides of the relay, and what the relay needed for it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tests::live::kamailio::Core;
use tests::live::needs;
use tests::live::ports::Ports;
use tests::live::process::{Folder, Process};
use tests::live::relay::{Relay, Settings};
use tests::live::sipp::Plan;

use crate::byes::{Byes, Probe};
use crate::users;

/// How many calls, how fast, how long.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "load")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Options {
    /// New calls per second.
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// Seconds of load.
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// How long each call lasts, in milliseconds.
    #[arg(long, default_value_t = 100)]
    pub hold_ms: u32,
    /// SIP over TCP instead of UDP.
    #[arg(long)]
    pub tcp: bool,
    /// The relay as a proxy: nothing in its data plane.
    #[arg(long)]
    pub proxy: bool,
    /// The relay as a terminating Participating Function with all of its logic: policies and
    /// registrations of a thousand users, each called in turn.
    #[arg(long, conflicts_with = "proxy")]
    pub pf: bool,
    /// The history of each session is stored (embedded).
    #[arg(long, requires = "pf")]
    pub history: bool,
    /// Beside the load, calls one after the other: the time from a BYE in to the BYE out.
    #[arg(long)]
    pub byes: bool,
    /// Figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Calls that went well.
    pub calls: u64,
    /// Calls that didn't.
    pub failed: u64,
    /// Messages that SIPp sent again, both sides.
    pub retransmissions: u64,
    /// Wall clock in seconds.
    pub seconds: f64,
    /// CPU time of the server in seconds, user and system, all its processes.
    pub cpu_seconds: f64,
    /// Resident memory before and after, in KiB.
    pub resident_kib: (u64, u64),
}

impl Figures {
    /// Calls per second of CPU time: what one core can do.
    #[must_use]
    pub fn calls_per_cpu_second(&self) -> f64 {
        count(self.calls) / self.cpu_seconds.max(0.01)
    }

    /// The figures as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "calls": self.calls,
            "failed": self.failed,
            "retransmissions": self.retransmissions,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "calls_per_cpu_second": self.calls_per_cpu_second(),
            "resident_kib_before": self.resident_kib.0,
            "resident_kib_after": self.resident_kib.1,
        })
    }
}

/// A count as a number to divide by (exact up to 2^53).
#[must_use]
pub fn count(value: u64) -> f64 {
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(value & 0xFFFF_FFFF).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// The relay that a load runs through.
pub fn relay(proxy: bool) -> Relay {
    relay_with(|settings| {
        if proxy {
            settings.proxy();
        }
    })
}

fn relay_with(change: impl FnOnce(&mut Settings)) -> Relay {
    Relay::start_with(|settings| {
        settings
            .many_ports()
            .set("log", "level", "\"warn\"")
            .set("sip", "sessions_max", 10_000);
        change(settings);
    })
}

/// Loads the relay.
pub fn run(options: &Options) -> ExitCode {
    if !needs("load sip", &["sipp"]) {
        return ExitCode::FAILURE;
    }
    let folder = Folder::new("load");
    let relay = relay_with(|settings| {
        if options.proxy {
            settings.proxy();
        }
        if options.pf {
            users::settle(settings);
        }
        if options.history {
            users::keep_histories(settings, folder.path());
        }
    });
    if options.pf {
        users::register(&relay);
    }
    let probe = options.byes.then(|| Probe::start(&relay, options.pf));
    let figures = through_relay(&relay, options);
    let byes = probe.map(Probe::stop);
    // Ports rest a while before they are free again.
    let empty = tests::live::eventually(Duration::from_secs(35), || relay.sessions().is_empty());
    let (left, ports) = (relay.sessions().len(), relay.open_media_ports().len());
    let stored = || relay.metric(&["midpath_history_stored_total"]);
    // Each session has its history, the probe's, too.
    let calls = figures.calls + byes.as_ref().map_or(0, Byes::calls);
    let due = if options.history { count(calls) } else { 0.0 };
    let is_stored = tests::live::eventually(Duration::from_secs(10), || stored() >= due);
    let stored = stored();
    let resident = relay.process().resident_kib();
    let status = relay.stop();
    let drained = status.is_some_and(|status| status.success());
    let fine = figures.failed == 0 && empty && ports == 0 && drained && is_stored;
    if options.json {
        let mut value = figures.json();
        value["sessions_left"] = left.into();
        value["ports_left"] = ports.into();
        value["resident_kib_after"] = resident.into();
        value["histories_stored"] = stored.into();
        value["byes"] = byes.map_or(Value::Null, |byes| byes.json());
        println!("{value:#}");
    } else {
        println!(
            "{} calls at {}/s in {:.1} s: {} failed, {} retransmissions, {left} sessions left, \
             {ports} media ports left\nmemory {} KiB before, {resident} KiB after; {:.2} CPU \
             seconds: {:.0} calls per CPU second",
            figures.calls,
            options.rate,
            figures.seconds,
            figures.failed,
            figures.retransmissions,
            figures.resident_kib.0,
            figures.cpu_seconds,
            figures.calls_per_cpu_second(),
        );
        if options.history {
            println!("{stored} of {due} histories stored");
        }
        if let Some(byes) = byes {
            println!("{byes}");
        }
    }
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// SIPp calls SIPp with the relay between them, by Route.
pub fn through_relay(relay: &Relay, options: &Options) -> Figures {
    let mut ports = Ports::take();
    let server = (ports.one(), ports.row(4));
    let target = format!("127.0.0.1:{}", server.0);
    let way = if options.tcp { ";transport=tcp" } else { "" };
    let (scenario, side) = match options.pf {
        true => ("uac_users", ""),
        false => ("uac_call", ";orig"),
    };
    let route = format!("<sip:{}{way};lr{side}>", relay.sip);
    let users = users::File::write();
    let client = |client| {
        let target = format!("{target}{way}");
        let plan = Plan::client(scenario, client, calls(options), (relay.sip, &target));
        let plan = plan.via(&[route]);
        match options.pf {
            true => plan.argument("-inf").argument(users.path().display()),
            false => plan,
        }
    };
    measure(relay.process(), &mut ports, server, client, options)
}

/// SIPp calls SIPp with Kamailio between them as a stateful proxy with Record-Route.
pub fn through_kamailio(options: &Options) -> Figures {
    let mut ports = Ports::take();
    let server = (ports.one(), ports.row(4));
    let way = if options.tcp { ";transport=tcp" } else { "" };
    let device = format!("sip:bob@127.0.0.1:{}{way}", server.0);
    let core = Core::start_with(&mut ports, None, &[("bob", &device)], 2);
    let to: SocketAddr = core.sip;
    let client = |client| {
        Plan::client(
            "uac_call",
            client,
            calls(options),
            (to, &format!("{to}{way}")),
        )
    };
    measure(core.process(), &mut ports, server, client, options)
}

fn calls(options: &Options) -> u32 {
    options.rate * options.seconds
}

fn measure(
    process: &Process,
    ports: &mut Ports,
    server: (u16, u16),
    client: impl FnOnce((u16, u16)) -> Plan,
    options: &Options,
) -> Figures {
    let all = calls(options);
    let (mut called, mut calling) = (
        Plan::server("uas_call", server, all),
        client((ports.one(), ports.row(4))),
    );
    calling.rate = options.rate;
    calling = calling
        .with("HOLD_MS", &options.hold_ms.to_string())
        .argument("-l")
        .argument(options.rate * 20);
    if options.tcp {
        (called, calling) = (called.tcp(), calling.tcp());
    }
    let mut called = called.start();
    let resident = process.resident_kib();
    let (begin, cpu) = (Instant::now(), process.cpu_seconds());
    let mut calling = calling.start();
    let bar = if options.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(u64::from(all))
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} calls {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let end = begin + Duration::from_secs(u64::from(options.seconds) * 3 + 60);
    while !calling.ends(Duration::from_millis(200)) && Instant::now() < end {
        let now = calling.counts();
        bar.set_position(now.successful + now.failed);
        bar.set_message(format!(
            "{} failed, {} KiB, {:.1} CPU s",
            now.failed,
            process.resident_kib(),
            process.cpu_seconds() - cpu
        ));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = process.cpu_seconds() - cpu;
    bar.finish_and_clear();
    let _ended = called.ends(Duration::from_secs(5));
    let (counts, other) = (calling.counts(), called.counts());
    let missing = u64::from(all).saturating_sub(counts.successful + counts.failed);
    if counts.failed + missing > 0 {
        println!("what SIPp complained about:\n{}", calling.errors());
    }
    Figures {
        calls: counts.successful,
        failed: counts.failed + missing,
        retransmissions: counts.retransmissions + other.retransmissions,
        seconds,
        cpu_seconds,
        resident_kib: (resident, process.resident_kib()),
    }
}
