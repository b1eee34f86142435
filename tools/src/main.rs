//! `cargo x <task>`: tasks for the people who work on the relay.

#![expect(
    clippy::disallowed_methods,
    reason = "tasks measure real time and real processes"
)]
#![expect(clippy::print_stdout, reason = "a task talks to a terminal")]

mod byes;
mod compare;
mod contender;
mod fanout;
mod load;
mod mix;
mod msrp;
mod report;
mod rooms;
mod rtp;
mod soak;
mod table;
mod test;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for the people who work on the relay.
#[derive(Parser)]
#[command(
    name = "cargo x",
    after_help = "Examples:\n  cargo x test\n  cargo x test --report\n  cargo x load sip --rate 500 --seconds 60\n  cargo x load sip --pf --history --byes --rate 300\n  \
                  cargo x compare sip --rounds 3\n  \
                  cargo x load rtp --calls 500 --rate 50000\n  \
                  cargo x compare rtp --rounds 3 --json target/rtp.json\n  \
                  cargo x load msrp --rate 5000\n  cargo x compare msrp --scenes small,bulk\n  \
                  cargo x load mix --target janus --codec g711\n  cargo x compare mix --rounds 3\n  \
                  cargo x load rooms --rooms 100 --members 10\n  cargo x compare fanout --rates 50,150\n  \
                  cargo x soak msrp --mebibytes 1024\n  cargo x soak msrp --idle 10000"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks and tests everything; installs the Debian packages that the live tests need when it
    /// may, and names the suites that it skipped when it can't.
    Test(test::Options),
    /// The same as the runner of every change does it: a skipped suite is a failure.
    Ci,
    /// Loads the relay and reports what it took.
    Load {
        /// What to load it with.
        #[command(subcommand)]
        kind: Load,
    },
    /// Measures the relay beside another server, round by round.
    Compare {
        /// What to compare.
        #[command(subcommand)]
        kind: Compare,
    },
    /// Holds the relay under one strain for long.
    Soak {
        /// Which strain.
        #[command(subcommand)]
        kind: Soak,
    },
}

#[derive(Subcommand)]
enum Load {
    /// Calls by SIPp through the relay as B2BUA: media opened and released for each.
    Sip(load::Options),
    /// Paced two-way RTP calls through the relay, rtpengine or a bare loop: loss, latency, CPU time
    /// per packet, memory per call.
    Rtp(rtp::Options),
    /// MSRP messages through the relay, Kamailio, HAProxy or a bare loop: loss, latency, CPU time per
    /// message and per byte, memory per session.
    Msrp(msrp::Options),
    /// Rooms of RTP that are mixed, through a worker of the relay or Janus's AudioBridge: CPU time
    /// per participant, loss, latency, memory.
    Mix(mix::Options),
    /// Group sessions with the relay as Controlling Function: everybody called by SIP, voices mixed,
    /// messages fanned out. What is lost, late or left, CPU time, memory.
    Rooms(rooms::Options),
}

#[derive(Subcommand)]
enum Compare {
    /// The same calls through the relay and through Kamailio as a stateful proxy.
    Sip(compare::Options),
    /// The same RTP through the relay, rtpengine and a bare receive-and-send loop.
    Rtp(rtp::compare::Options),
    /// The same MSRP through the relay, Kamailio's msrp relay, HAProxy and a bare splice loop.
    Msrp(msrp::compare::Options),
    /// The same rooms through the relay and Janus's AudioBridge.
    Mix(mix::compare::Options),
    /// One talker to a thousand receivers through a room of the relay's and through a bare send loop.
    Fanout(fanout::Options),
}

#[derive(Subcommand)]
enum Soak {
    /// One message of 4 GiB through a slow reader that stops once, in constant memory; or, with
    /// --idle, what thousands of idle sessions need.
    Msrp(soak::Options),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    if !matches!(task, Task::Test(_) | Task::Ci) {
        tests::live::relay::measure();
    }
    match task {
        Task::Test(options) => test::run(&options),
        Task::Ci => test::ci(),
        Task::Load {
            kind: Load::Sip(options),
        } => load::run(&options),
        Task::Load {
            kind: Load::Rtp(options),
        } => rtp::run(&options),
        Task::Load {
            kind: Load::Msrp(options),
        } => msrp::run(&options),
        Task::Load {
            kind: Load::Mix(options),
        } => mix::run(&options),
        Task::Load {
            kind: Load::Rooms(options),
        } => rooms::run(&options),
        Task::Compare {
            kind: Compare::Sip(options),
        } => compare::run(&options),
        Task::Compare {
            kind: Compare::Rtp(options),
        } => rtp::compare::run(&options),
        Task::Compare {
            kind: Compare::Msrp(options),
        } => msrp::compare::run(&options),
        Task::Compare {
            kind: Compare::Mix(options),
        } => mix::compare::run(&options),
        Task::Compare {
            kind: Compare::Fanout(options),
        } => fanout::run(&options),
        Task::Soak {
            kind: Soak::Msrp(options),
        } => soak::run(&options),
    }
}

#[cfg(test)]
mod command_line {
    use super::Arguments;

    #[test]
    fn every_task_can_be_asked_for() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
