//! `cargo x compare sip`: the same calls through the relay and through Kamailio, in turns.

use std::process::ExitCode;

use serde_json::json;
use tests::live::needs;

use crate::load::{self, Figures, count};
use crate::table::{lay_out, median};

/// How many rounds of what load.
#[derive(Debug, clap::Args)]
#[group(id = "compare")]
pub struct Options {
    /// Rounds; in each, every server has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[command(flatten)]
    load: load::Options,
}

/// Measures both in turns, so that what else the machine does hits both.
pub fn run(options: &Options) -> ExitCode {
    if !needs("compare sip", &["sipp", "kamailio"]) {
        return ExitCode::FAILURE;
    }
    let (mut b2bua, mut proxy, mut kamailio) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        if !options.load.json {
            println!("round {round} of {}", options.rounds);
        }
        b2bua.push(load::through_relay(&load::relay(false), &options.load));
        kamailio.push(load::through_kamailio(&options.load));
        proxy.push(load::through_relay(&load::relay(true), &options.load));
    }
    if options.load.json {
        let all = |list: &[Figures]| list.iter().map(Figures::json).collect::<Vec<_>>();
        let value = json!({
            "midpath_b2bua": all(&b2bua), "midpath_proxy": all(&proxy), "kamailio": all(&kamailio),
        });
        println!("{value:#}");
    } else {
        println!("{}", lay_out(&rows(&b2bua, &proxy, &kamailio)));
    }
    let failed: u64 = [&b2bua, &proxy, &kamailio]
        .into_iter()
        .flatten()
        .map(|f| f.failed)
        .sum();
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn rows(b2bua: &[Figures], proxy: &[Figures], kamailio: &[Figures]) -> Vec<Vec<String>> {
    let head = [
        "median",
        "midpath B2BUA",
        "midpath proxy",
        "kamailio",
        "B2BUA/kamailio",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut row = |name: &str, figure: fn(&Figures) -> f64, of: fn(&[f64]) -> f64| {
        let one = |list: &[Figures]| of(&list.iter().map(figure).collect::<Vec<_>>());
        let (a, b, c) = (one(b2bua), one(proxy), one(kamailio));
        let ratio = if c > 0.0 {
            format!("{:.2}", a / c)
        } else {
            "-".to_owned()
        };
        let cells = [
            format!("{a:.1}"),
            format!("{b:.1}"),
            format!("{c:.1}"),
            ratio,
        ];
        rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    };
    // What went wrong in one round isn't hidden by the others.
    row("calls", |f| count(f.calls), median);
    row("failed, all rounds", |f| count(f.failed), sum);
    row("repeated, all rounds", |f| count(f.retransmissions), sum);
    row("CPU seconds", |f| f.cpu_seconds, median);
    let rate = Figures::calls_per_cpu_second;
    row("calls per CPU second", rate, median);
    let memory = |f: &Figures| count(f.resident_kib.1) / 1024.0;
    row("memory after, MiB", memory, median);
    rows
}

fn sum(figures: &[f64]) -> f64 {
    figures.iter().sum()
}
