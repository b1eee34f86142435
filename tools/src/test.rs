//! `cargo x test`: everything that must hold before a change goes in.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::json;
use tests::live::process::Folder;
use tests::live::{find, workspace};

use crate::report::{self, Row};
use crate::table::lay_out;

/// Programs of the live tests, and the Debian packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("ffmpeg", "ffmpeg"),
    ("sipp", "sip-tester"),
    ("dovecot", "dovecot-imapd"),
    ("kamailio", "kamailio"),
    ("baresip", "baresip"),
    ("tshark", "tshark"),
    ("dumpcap", "wireshark-common"),
    ("text2pcap", "wireshark-common"),
    ("openssl", "openssl"),
    ("chromium", "chromium"),
    ("lighttpd", "lighttpd"),
];

/// Headers of the libraries behind the feature `amr`, and the Debian packages that have them.
const LIBRARIES: &[(&str, &str)] = &[
    (
        "/usr/include/opencore-amrnb/interf_dec.h",
        "libopencore-amrnb-dev",
    ),
    (
        "/usr/include/opencore-amrwb/dec_if.h",
        "libopencore-amrwb-dev",
    ),
    ("/usr/include/vo-amrwbenc/enc_if.h", "libvo-amrwbenc-dev"),
];
/// Builds the codecs that are left out otherwise.
const WITH_AMR: [&str; 2] = ["--features", "dataplane/amr"];

/// What to do beside the tests.
#[derive(Debug, Default, clap::Args)]
#[group(id = "test")]
pub struct Options {
    /// Prints each requirement with its tests, and writes target/test-report.json.
    #[arg(long)]
    report: bool,
    /// Runs nothing: prints each requirement by a run that has been, nextest's junit.xml or what
    /// `cargo test` wrote.
    #[arg(long, value_name = "FILE")]
    report_only: Option<PathBuf>,
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
    if let Some(file) = &options.report_only {
        return report_only(file);
    }
    install_packages();
    let folder = workspace();
    let private = Folder::new("skipped");
    let skipped_file = private.path().join("suites");
    let (mut steps, built) = checks(&folder, &skipped_file);
    let mut rows = Ok(Vec::new());
    if built {
        let (step, run) = run_tests(&folder, &skipped_file);
        steps.push(step);
        rows = run.and_then(|run| requirements(&run));
    }
    let mut skipped = skipped(&skipped_file);
    skipped.extend(has_no_amr().map(|missing| format!("AMR codecs: not installed: {missing}")));
    let mut fine = summary(&steps, &skipped);
    match &rows {
        Ok(rows) => fine &= tell(rows, options.report) || !built,
        Err(error) => {
            println!("no report of the requirements: {error}");
            fine = false;
        }
    }
    if options.report {
        write_report(&folder, (&steps, &skipped), &rows.unwrap_or_default());
    }
    if fine && built {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Everything but the tests; whether the relay was built.
fn checks(folder: &Path, skipped_file: &Path) -> (Vec<Step>, bool) {
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets"];
    let benches = [
        "bench",
        "--quiet",
        "--profile",
        "dev",
        "--package",
        "benches",
    ];
    let relay = ["build", "--package", "control", "--bin", "midpath"];
    let all: [(&str, &[&str], &[&str]); 3] = [
        ("lints", &lints, &["--", "-D", "warnings"]),
        ("relay", &relay, &[]),
        ("benches", &benches, &["--", "--test"]),
    ];
    let take = |name, arguments: &[&str]| {
        Step::take(name, arguments, || {
            let status = cargo(folder, skipped_file).args(arguments).status();
            status.is_ok_and(|status| status.success())
        })
    };
    let mut steps = vec![take("form", &["fmt", "--all", "--check"])];
    for (name, before, behind) in all {
        steps.push(take(name, &[before, features(), behind].concat()));
    }
    let built = steps.iter().any(|step| step.name == "relay" && step.passed);
    (steps, built)
}

impl Step {
    fn take(name: &'static str, arguments: &[&str], act: impl FnOnce() -> bool) -> Self {
        println!("==> {name}: cargo {}", arguments.join(" "));
        let begin = Instant::now();
        let passed = act();
        Self {
            name,
            passed,
            seconds: begin.elapsed().as_secs_f64(),
        }
    }
}

/// Runs the tests, with nextest where it is installed, and reads which passed.
fn run_tests(folder: &Path, skipped_file: &Path) -> (Step, Result<Vec<report::Outcome>, String>) {
    if find("cargo-nextest").is_some() || has_nextest() {
        let file = folder.join("target/nextest/default/junit.xml");
        let _gone = std::fs::remove_file(&file);
        let arguments = [&["nextest", "run", "--workspace"], features()].concat();
        let step = Step::take("tests", &arguments, || {
            let status = cargo(folder, skipped_file).args(&arguments).status();
            status.is_ok_and(|status| status.success())
        });
        return (step, read_run(&file));
    }
    let arguments = [&["test", "--workspace", "--no-fail-fast"], features()].concat();
    let mut run = Vec::new();
    let step = Step::take("tests", &arguments, || {
        let mut command = cargo(folder, skipped_file);
        let Ok(mut child) = command.args(&arguments).stdout(Stdio::piped()).spawn() else {
            return false;
        };
        for line in child
            .stdout
            .take()
            .into_iter()
            .flat_map(|out| BufReader::new(out).lines())
        {
            let Ok(line) = line else { break };
            println!("{line}");
            run.extend(report::libtest(&line));
        }
        child.wait().is_ok_and(|status| status.success())
    });
    (step, Ok(run))
}

fn read_run(file: &Path) -> Result<Vec<report::Outcome>, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    report::outcomes(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// The requirements beside a run.
fn requirements(run: &[report::Outcome]) -> Result<Vec<Row>, String> {
    let file = workspace().join("tests/requirements.tsv");
    let text = std::fs::read_to_string(&file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    let list = report::requirements(&text);
    let list = list.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(report::rows(list, run))
}

/// Prints how the requirements stand; says whether none of a complete group is open.
fn tell(rows: &[Row], every: bool) -> bool {
    if every {
        println!("\n{}", report::table(rows));
    }
    println!("{}", report::summary(rows));
    !rows.iter().any(Row::is_failure)
}

fn report_only(file: &Path) -> ExitCode {
    match read_run(file).and_then(|run| requirements(&run)) {
        Ok(rows) if tell(&rows, true) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
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

/// The packages of the AMR libraries that this machine hasn't, if there are any.
fn has_no_amr() -> Option<String> {
    let missing = LIBRARIES
        .iter()
        .filter(|(header, _)| !Path::new(header).exists());
    let names: Vec<&str> = missing.map(|(_, package)| *package).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The features that everything is checked with: the same for all, so that it is built once.
fn features() -> &'static [&'static str] {
    if has_no_amr().is_none() {
        &WITH_AMR
    } else {
        &[]
    }
}

/// Installs what the build and the live tests need and this machine hasn't.
fn install_packages() {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    let libraries = LIBRARIES
        .iter()
        .filter(|(header, _)| !Path::new(header).exists());
    missing.extend(libraries.map(|(_, package)| *package));
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

fn write_report(folder: &Path, (steps, skipped): (&[Step], &[String]), rows: &[Row]) {
    let list: Vec<_> = steps
        .iter()
        .map(|step| json!({"step": step.name, "passed": step.passed, "seconds": step.seconds}))
        .collect();
    let file = target(folder).join("test-report.json");
    let value = json!({"steps": list, "skipped": skipped, "requirements": report::json(rows)});
    match std::fs::write(&file, format!("{value:#}\n")) {
        Ok(()) => println!("report in {}", file.display()),
        Err(error) => println!("no report in {}: {error}", file.display()),
    }
}
