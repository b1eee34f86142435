//! `cargo x test`: everything that must hold before a change goes in.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::json;
use tests::live::{find, workspace};

use crate::table::lay_out;

/// Programs of the live tests and the Debian packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("sipp", "sip-tester"),
    ("kamailio", "kamailio"),
    ("baresip", "baresip"),
    ("tshark", "tshark"),
    ("dumpcap", "wireshark-common"),
    ("text2pcap", "wireshark-common"),
    ("openssl", "openssl"),
    ("chromium", "chromium"),
];

/// What to do beside the tests.
#[derive(Debug, Default, clap::Args)]
#[group(id = "test")]
pub struct Options {
    /// Writes steps, seconds and skipped suites to target/test-report.json.
    #[arg(long)]
    report: bool,
}

struct Step {
    name: &'static str,
    passed: bool,
    seconds: f64,
}

/// Calls `.ci/run`.
pub fn ci() -> ExitCode {
    let run = Command::new(workspace().join(".ci/run"))
        .env("CI", "true")
        .status();
    if run.is_ok_and(|status| status.success()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs every step, whatever the ones before it said.
pub fn run(options: &Options) -> ExitCode {
    install_packages();
    let folder = workspace();
    let skipped_file = std::env::temp_dir().join(format!("midpath-skipped-{}", std::process::id()));
    let mut steps = Vec::new();
    let mut step = |name: &'static str, arguments: &[&str]| {
        println!("==> {name}: cargo {}", arguments.join(" "));
        let begin = Instant::now();
        let status = cargo(&folder, &skipped_file).args(arguments).status();
        let passed = status.is_ok_and(|status| status.success());
        steps.push(Step {
            name,
            passed,
            seconds: begin.elapsed().as_secs_f64(),
        });
        passed
    };
    step("form", &["fmt", "--all", "--check"]);
    step(
        "lints",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    );
    let built = step(
        "relay",
        &["build", "--package", "control", "--bin", "midpath"],
    );
    step(
        "benches",
        &[
            "bench",
            "--quiet",
            "--profile",
            "dev",
            "--package",
            "benches",
            "--",
            "--test",
        ],
    );
    if built {
        let nextest = find("cargo-nextest").is_some() || has_nextest();
        let runner: &[&str] = if nextest {
            &["nextest", "run", "--workspace"]
        } else {
            &["test", "--workspace", "--no-fail-fast"]
        };
        step("tests", runner);
    }
    let skipped = skipped(&skipped_file);
    let fine = summary(&steps, &skipped);
    if options.report {
        report(&folder, &steps, &skipped);
    }
    if fine && built {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Cargo in the workspace; tests learn where the relay is and where to name what they skip.
fn cargo(folder: &Path, skipped: &Path) -> Command {
    let mut command = Command::new("cargo");
    // `cargo run` leaves its own settings in the environment, which would rebuild everything.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .env("MIDPATH_BIN", target(folder).join("debug/midpath"))
        .env("MIDPATH_SKIPPED", skipped);
    command
}

/// The folder that everything is built in.
pub fn target(folder: &Path) -> PathBuf {
    std::env::var("CARGO_TARGET_DIR").map_or_else(|_| folder.join("target"), PathBuf::from)
}

fn has_nextest() -> bool {
    let mut command = Command::new("cargo");
    let command = command.args(["nextest", "--version"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Installs what the live tests need and this machine hasn't.
fn install_packages() {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    install(&missing);
}

/// Installs Debian packages, as root or by sudo without a password; says so where it can't.
pub fn install(missing: &[&str]) {
    if missing.is_empty() {
        return;
    }
    let list = missing.join(" ");
    let Some(prefix) = root_prefix() else {
        println!(
            "==> {list} isn't installed, and this user may not install packages; what needs it is \
             skipped. To run it: sudo apt-get install {list}"
        );
        return;
    };
    println!("==> installing {list}");
    let apt = |arguments: &[&str]| {
        let mut words = prefix
            .iter()
            .copied()
            .chain(["apt-get"])
            .chain(arguments.iter().copied());
        let mut command = Command::new(words.next().unwrap_or("apt-get"));
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command.status().is_ok_and(|status| status.success())
    };
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(missing);
    if !(apt(&["update", "--quiet"]) && apt(&install)) {
        println!("==> it can't be installed; what needs it is skipped");
    }
}

/// What comes before a command that needs root; `None` when there is no way.
fn root_prefix() -> Option<Vec<&'static str>> {
    find("apt-get")?;
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.starts_with(b"0\n") {
        return Some(Vec::new());
    }
    let sudo = Command::new("sudo")
        .args(["--non-interactive", "true"])
        .stderr(Stdio::null())
        .status();
    sudo.is_ok_and(|status| status.success())
        .then(|| vec!["sudo", "--non-interactive"])
}

/// The suites that tests named as skipped, each once.
fn skipped(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let _gone = std::fs::remove_file(file);
    let mut list: Vec<String> = text.lines().map(str::to_owned).collect();
    list.sort();
    list.dedup();
    list
}

/// Prints what passed; says whether all did.
fn summary(steps: &[Step], skipped: &[String]) -> bool {
    let mut rows = vec![vec![
        "step".to_owned(),
        "seconds".to_owned(),
        "result".to_owned(),
    ]];
    for step in steps {
        let result = if step.passed { "passed" } else { "FAILED" };
        rows.push(vec![
            step.name.to_owned(),
            format!("{:.0}", step.seconds),
            result.to_owned(),
        ]);
    }
    println!("\n{}", lay_out(&rows));
    for suite in skipped {
        println!("SKIPPED {suite}");
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    steps.iter().all(|step| step.passed) && (skipped.is_empty() || !ci)
}

fn report(folder: &Path, steps: &[Step], skipped: &[String]) {
    let list: Vec<_> = steps
        .iter()
        .map(|step| json!({"step": step.name, "passed": step.passed, "seconds": step.seconds}))
        .collect();
    let file = target(folder).join("test-report.json");
    let text = format!("{:#}\n", json!({"steps": list, "skipped": skipped}));
    match std::fs::write(&file, text) {
        Ok(()) => println!("report in {}", file.display()),
        Err(error) => println!("no report in {}: {error}", file.display()),
    }
}
