//! From text to a checked configuration, and the search for where it is wrong.

mod group;
mod history;
mod interworking;
mod msrp;
mod policy;
mod registration;
mod relay;

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use tracing_subscriber::EnvFilter;

use super::error::{Complaint, ConfigError};
use super::{Config, DEFAULTS, SilenceAction, Who};
use crate::limits::{PORTS_PER_STREAM, WORKERS};

/// A check that failed: the setting, what came and what was expected.
struct Failed {
    section: &'static str,
    /// The table below the section, where the setting is in one.
    table: Option<String>,
    key: &'static str,
    came: String,
    expected: String,
}

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let table = table.get_ref();
    known_keys(text, table)?;
    let config: Config = toml::from_str(text).map_err(|error| mistyped(text, table, &error))?;
    match check(&config) {
        Ok(()) => Ok(config),
        Err(failed) => Err(misfit(text, table, failed)),
    }
}

/// A text that is no TOML.
fn unreadable(text: &str, error: &toml::de::Error) -> ConfigError {
    let mut complaint = Complaint::at(text, &error.span().unwrap_or(0..0));
    let (came, expected) = split_message(error.message());
    complaint.came = came;
    complaint.expected = expected.unwrap_or_else(|| "TOML: [section] and key = value".to_owned());
    complaint.way_out = "texts are in \"quotes\", lists in [brackets], numbers and true or false \
                         stand alone; each key stands once"
        .to_owned();
    wrong(complaint)
}

/// Refuses a key that the default file doesn't have, and names the nearest that it has.
fn known_keys(text: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
    let defaults = DeTable::parse(DEFAULTS).map_err(|error| unreadable(DEFAULTS, &error))?;
    for (section, value) in table {
        let name: &str = section.get_ref();
        let Some(known) = defaults.get_ref().get(name) else {
            return Err(unknown(text, section.span(), name, defaults.get_ref()));
        };
        let (DeValue::Table(given), DeValue::Table(known)) = (value.get_ref(), known.get_ref())
        else {
            continue;
        };
        // Their tables have names of the operator's own, and all the same keys.
        if [TRUNKS, USERS, GROUPS].contains(&name) {
            known_keys_below(text, name, given)?;
            continue;
        }
        for key in given.keys() {
            let key_name: &str = key.get_ref();
            if !known.contains_key(key_name) {
                return Err(unknown(text, key.span(), key_name, known));
            }
        }
    }
    Ok(())
}

fn known_keys_below(text: &str, section: &str, tables: &DeTable<'_>) -> Result<(), ConfigError> {
    let example = example_of(section);
    let known = DeTable::parse(&example).map_err(|error| unreadable(&example, &error))?;
    for table in tables.values() {
        let DeValue::Table(given) = table.get_ref() else {
            continue;
        };
        let known_keys = known.get_ref();
        if let Some(key) = given
            .keys()
            .find(|key| !known_keys.contains_key(key.get_ref().as_ref()))
        {
            return Err(unknown(text, key.span(), key.get_ref(), known_keys));
        }
    }
    Ok(())
}

/// The settings of a trunk or a user, as the default file shows them.
pub(in crate::config) fn example_of(section: &str) -> String {
    let header = format!("[{section}]");
    let lines = DEFAULTS.lines().skip_while(|line| *line != header).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let settings = lines.filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|line| !line.starts_with([' ', '[']));
    settings.fold(String::new(), |text, line| text + line + "\n")
}

fn unknown(text: &str, span: Range<usize>, name: &str, known: &DeTable<'_>) -> ConfigError {
    let names: Vec<&str> = known.keys().map(|key| -> &str { key.get_ref() }).collect();
    let nearest = names
        .iter()
        .map(|known| (distance(name, known), *known))
        .min()
        .filter(|(distance, _)| *distance <= name.len().max(4) / 2);
    let mut complaint = Complaint::at(text, &span);
    complaint.came = format!("{name}, which is unknown here");
    complaint.expected = format!("one of {}", names.join(", "));
    complaint.way_out = match nearest {
        Some((_, nearest)) => format!("did you mean {nearest}?"),
        None => "take the line out; `midpath config` shows every setting".to_owned(),
    };
    wrong(complaint)
}

/// A value of the wrong type or form.
fn mistyped(text: &str, table: &DeTable<'_>, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let mut complaint = Complaint::at(text, &span);
    let (came, expected) = split_message(error.message());
    complaint.came = came;
    complaint.expected = expected.unwrap_or_else(|| "see below".to_owned());
    complaint.way_out = "`midpath config` shows every setting".to_owned();
    if let Some((section, key)) = key_at(table, span.start) {
        complaint.key = Some(format!("{section}.{key}"));
        complaint.way_out = explain(section, key);
    }
    wrong(complaint)
}

/// A setting that doesn't fit: in itself, or with another one.
fn misfit(text: &str, table: &DeTable<'_>, failed: Failed) -> ConfigError {
    let span = span_of(table, &failed);
    let mut complaint = Complaint::at(text, &span.unwrap_or(0..0));
    let below = failed.table.map(|name| format!(".{name}"));
    let below = below.unwrap_or_default();
    complaint.key = Some(format!("{}{below}.{}", failed.section, failed.key));
    complaint.came = failed.came;
    complaint.expected = failed.expected;
    complaint.way_out = explain(failed.section, failed.key);
    wrong(complaint)
}

fn wrong(complaint: Complaint) -> ConfigError {
    ConfigError::Wrong(Box::new(complaint))
}

/// Splits serde's `invalid type: CAME, expected EXPECTED`.
fn split_message(message: &str) -> (String, Option<String>) {
    let message = message.trim();
    let message = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(message);
    match message.split_once(", expected ") {
        Some((came, expected)) => (came.to_owned(), Some(expected.to_owned())),
        None => (message.to_owned(), None),
    }
}

/// The setting whose value an octet is in.
fn key_at<'a>(table: &'a DeTable<'_>, at: usize) -> Option<(&'a str, &'a str)> {
    table.iter().find_map(|(section, value)| {
        let DeValue::Table(settings) = value.get_ref() else {
            return None;
        };
        let inside = |value: &Spanned<DeValue<'_>>| value.span().contains(&at);
        let key = settings
            .iter()
            .find_map(|(key, value)| match value.get_ref() {
                DeValue::Table(below) => below
                    .iter()
                    .find(|(_, value)| inside(value))
                    .map(|(key, _)| key),
                _ => inside(value).then_some(key),
            })?;
        Some((section.get_ref().as_ref(), key.get_ref().as_ref()))
    })
}

/// Where a setting's value is, or else its section.
fn span_of(table: &DeTable<'_>, failed: &Failed) -> Option<Range<usize>> {
    let (mut name, mut value) = table.get_key_value(failed.section)?;
    if let (Some(below), DeValue::Table(tables)) = (&failed.table, value.get_ref()) {
        (name, value) = tables.get_key_value(below.as_str())?;
    }
    match value.get_ref() {
        DeValue::Table(settings) => settings.get(failed.key).map(Spanned::span),
        _ => None,
    }
    .or_else(|| Some(name.span()))
}

/// A setting's comment and its line in the default file.
fn explain(section: &str, key: &str) -> String {
    let header = format!("[{section}]");
    let mut comment: Vec<&str> = Vec::new();
    for line in DEFAULTS
        .lines()
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
    {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if line.split(" =").next() == Some(key) {
            return format!("{} The default is: {line}", comment.join(" "));
        } else if let Some(example) = line.strip_prefix('#')
            && example.split(" =").next() == Some(key)
        {
            return format!("{} For example: {example}", comment.join(" "));
        } else if !line.starts_with('#') {
            comment.clear();
        }
    }
    "`midpath config` shows every setting".to_owned()
}

/// Levenshtein's distance of two short names.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(other.chars()) {
            let changed = diagonal + usize::from(left != right);
            diagonal = *cell;
            before = changed.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn check(config: &Config) -> Result<(), Failed> {
    check_sip(config)?;
    check_sip_limits(config)?;
    policy::check(config)?;
    check_addresses(config)?;
    check_ports(config)?;
    check_media(config)?;
    msrp::check(config)?;
    relay::check(config)?;
    interworking::check(config)?;
    group::check(config)?;
    registration::check(config)?;
    history::check(config)?;
    check_operation(config)
}

fn require(holds: bool, failed: impl FnOnce() -> Failed) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(failed()) }
}

fn fail(section: &'static str, key: &'static str, came: String, expected: &str) -> Failed {
    Failed {
        section,
        table: None,
        key,
        came,
        expected: expected.to_owned(),
    }
}

fn check_sip(config: &Config) -> Result<(), Failed> {
    let sip = &config.sip;
    require(!sip.listen.is_empty(), || {
        let came = "an empty list".to_owned();
        fail("sip", "listen", came, "at least one address")
    })?;
    for (index, listen) in sip.listen.iter().enumerate() {
        let twice =
            listen.address.port() != 0 && sip.listen.iter().take(index).any(|l| l == listen);
        require(!twice, || {
            fail(
                "sip",
                "listen",
                format!("{listen} twice"),
                "each address once",
            )
        })?;
        require(!listen.address.ip().is_unspecified(), || {
            let expected = "an address of this machine that others can send to";
            fail("sip", "listen", listen.to_string(), expected)
        })?;
    }
    let printable = |text: &String| text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let is_network = |who: &Who| matches!(who, Who::Network { .. });
    require(sip.trusted.iter().all(is_network), || {
        let came = "a domain".to_owned();
        let expected = "addresses and networks: a domain is what a peer says of itself";
        fail("sip", "trusted", came, expected)
    })?;
    require(sip.user_agent.as_ref().is_none_or(printable), || {
        let came = "a text with other characters".to_owned();
        fail("sip", "user_agent", came, "printable ASCII characters")
    })
}

fn check_sip_limits(config: &Config) -> Result<(), Failed> {
    let sip = &config.sip;
    let timers = [("t1_ms", sip.t1), ("t2_ms", sip.t2), ("t4_ms", sip.t4)];
    for (key, timer) in timers {
        let fits = (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timer);
        require(fits, || {
            fail("sip", key, timer.as_millis().to_string(), "1 to 60000")
        })?;
    }
    require(sip.t2 >= sip.t1, || {
        let expected = format!("t1_ms ({}) or more", sip.t1.as_millis());
        fail("sip", "t2_ms", sip.t2.as_millis().to_string(), &expected)
    })?;
    require(!sip.invite_ringing_max.is_zero(), || {
        fail("sip", "invite_ringing_s_max", "0".to_owned(), "1 or more")
    })?;
    let deadline = sip.bye_far_deadline;
    let fits = !deadline.is_zero() && deadline < Duration::from_secs(32);
    require(fits, || {
        let expected = "1 to 31999: the near end gives its BYE up after 32 s (RFC 3261, Timer F)";
        let came = deadline.as_millis().to_string();
        fail("sip", "bye_far_deadline_ms", came, expected)
    })?;
    require(sip.sessions_max > 0, || {
        fail("sip", "sessions_max", "0".to_owned(), "1 or more")
    })
}

fn check_addresses(config: &Config) -> Result<(), Failed> {
    let addresses = &config.media.addresses;
    let bad = |came: String, expected| fail("media", "addresses", came, expected);
    require(!addresses.is_empty(), || {
        bad("an empty list".to_owned(), "at least one address")
    })?;
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let count = addresses.iter().filter(|address| family(address)).count();
        require(count <= 1, || {
            let came = format!("{count} addresses of one family");
            bad(came, "at most one IPv4 and one IPv6 address")
        })?;
    }
    match addresses
        .iter()
        .find(|address| address.is_unspecified() || address.is_multicast())
    {
        Some(address) => Err(bad(
            address.to_string(),
            "an address of this machine that others can send to: it is written into the SDP",
        )),
        None => Ok(()),
    }
}

fn check_ports(config: &Config) -> Result<(), Failed> {
    let media = &config.media;
    let fits = (1..=WORKERS).contains(&media.workers);
    require(fits, || {
        let expected = format!("1 to {WORKERS}");
        fail("media", "workers", media.workers.to_string(), &expected)
    })?;
    let first = media.port_first;
    require(first >= 1024 && first.is_multiple_of(2), || {
        let expected = "an even port from 1024 on";
        fail("media", "port_first", first.to_string(), expected)
    })?;
    let needed = PORTS_PER_STREAM * media.workers;
    let ports = usize::from(media.port_last.saturating_sub(first)) + 1;
    require(media.port_last % 2 == 1 && ports >= needed, || {
        let expected = format!(
            "an odd port, {needed} ports or more from port_first ({first}): \
             {PORTS_PER_STREAM} for each worker's first stream"
        );
        fail("media", "port_last", media.port_last.to_string(), &expected)
    })
}

fn check_media(config: &Config) -> Result<(), Failed> {
    let media = &config.media;
    require(media.drain < Duration::from_secs(32), || {
        let came = media.drain.as_millis().to_string();
        fail("media", "drain_ms", came, "less than 32000")
    })?;
    require(media.port_quiet <= Duration::from_secs(60), || {
        let came = media.port_quiet.as_millis().to_string();
        fail("media", "port_quiet_ms", came, "60000 or less")
    })?;
    let never = media.silence.is_none() && media.silence_action == SilenceAction::Release;
    require(!never, || {
        let expected = "none, or media.silence_s above 0: with 0 no stream is ever silent";
        fail("media", "silence_action", "release".to_owned(), expected)
    })
}

fn check_operation(config: &Config) -> Result<(), Failed> {
    if let Some(address) = config.admin.listen {
        let allowed = config.admin.allow_remote || address.ip().is_loopback();
        require(allowed, || {
            let expected =
                "a loopback address such as 127.0.0.1:8060, or admin.allow_remote = true";
            fail("admin", "listen", address.to_string(), expected)
        })?;
    }
    EnvFilter::try_new(&config.log.level)
        .map(|_| ())
        .map_err(|error| {
            let came = format!("\"{}\" ({error})", config.log.level);
            fail("log", "level", came, "a level or a filter of tracing")
        })
}

/// The sections whose tables have names of the operator's own.
const TRUNKS: &str = "trunk";
const USERS: &str = "user";
const GROUPS: &str = "group";
