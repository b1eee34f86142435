//! Whether the settings of the histories fit.

use std::time::Duration;

use super::{Failed, fail, require};
use crate::config::{Config, HistoryStore};

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    let history = &config.history;
    let deadline = history.deadline;
    let fits = !deadline.is_zero() && deadline < Duration::from_secs(32);
    require(fits, || {
        let expected = "1 to 31999: a BYE is given up after 32 s (RFC 3261, Timer F)";
        bad("deadline_ms", deadline.as_millis().to_string(), expected)
    })?;
    // Who sent the BYE may have to wait for the release, the store and the far side in turn.
    let others = config.media.drain + config.sip.bye_far_deadline;
    let fits = history.store == HistoryStore::Off || others + deadline < Duration::from_secs(32);
    require(fits, || {
        let rest = Duration::from_secs(32).saturating_sub(others);
        let expected = format!(
            "less than {} with media.drain_ms and sip.bye_far_deadline_ms as they are",
            rest.as_millis()
        );
        bad("deadline_ms", deadline.as_millis().to_string(), &expected)
    })?;
    require(history.session_octets_max <= history.octets_max, || {
        let expected = format!("octets_max ({}) or less", history.octets_max);
        let came = history.session_octets_max.to_string();
        bad("session_octets_max", came, &expected)
    })?;
    require(history.waiting_max > 0, || {
        bad("waiting_max", "0".to_owned(), "1 or more")
    })?;
    let is_on = history.store != HistoryStore::Off;
    require(!is_on || history.path.is_some(), || {
        let expected = "a folder such as /var/lib/midpath/history, or history.store = \"off\"";
        bad("path", "nothing".to_owned(), expected)
    })?;
    match history.store {
        HistoryStore::Imap => check_imap(config),
        HistoryStore::Off | HistoryStore::Embedded => Ok(()),
    }
}

fn check_imap(config: &Config) -> Result<(), Failed> {
    let imap = &config.history_imap;
    let server = imap.server.as_deref().unwrap_or_default();
    let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    require(has_port, || {
        let expected = "host:port, such as imap.example.org:993";
        bad_imap("server", format!("{server:?}"), expected)
    })?;
    require(imap.password_file.is_some(), || {
        let expected = "a file whose first line is the password";
        bad_imap("password_file", "nothing".to_owned(), expected)
    })?;
    let printable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    require(!imap.login.is_empty() && printable(&imap.login), || {
        let expected = "printable ASCII characters, such as {user}*midpath";
        bad_imap("login", format!("{:?}", imap.login), expected)
    })?;
    let is_name = |c: char| c.is_ascii_graphic() && !"\"\\%*".contains(c);
    require(imap.root.chars().all(is_name), || {
        let expected = "printable ASCII characters without \" \\ % and *";
        bad_imap("root", format!("{:?}", imap.root), expected)
    })?;
    let is_shared = !imap.login.contains("{user}") && !imap.root.contains("{user}");
    require(!is_shared, || {
        let expected = "{user} in it or in history_imap.root: users' histories would be one";
        bad_imap("login", format!("{:?}", imap.login), expected)
    })?;
    require((1..=64).contains(&imap.connections_max), || {
        let came = imap.connections_max.to_string();
        bad_imap("connections_max", came, "1 to 64")
    })?;
    let seconds = imap.answer_max.as_secs();
    require((1..=600).contains(&seconds), || {
        bad_imap("answer_s_max", seconds.to_string(), "1 to 600")
    })
}

fn bad(key: &'static str, came: String, expected: &str) -> Failed {
    fail("history", key, came, expected)
}

fn bad_imap(key: &'static str, came: String, expected: &str) -> Failed {
    fail("history_imap", key, came, expected)
}
