//! Whether the settings of the relay for MSRP clients fit.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Failed, fail, require};
use crate::config::{Config, MsrpRelay};

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    let relay = &config.msrp_relay;
    check_users(relay)?;
    check_times(relay)?;
    let is_host = |host: &String| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')),
        }
    };
    require(relay.host.as_ref().is_none_or(is_host), || {
        let came = format!("{:?}", relay.host.as_deref().unwrap_or_default());
        bad(
            "host",
            came,
            "a host name, an IPv4 address or an IPv6 address in [brackets]",
        )
    })?;
    let msrp = &config.msrp;
    let is_secure = msrp.tls_port_first.is_some() || msrp.wss_port_first.is_some();
    require(
        relay.realm.is_none() || is_secure || relay.auth_without_tls,
        || {
            let expected = "true, or msrp.tls_port_first other than -1: clients have no way in";
            bad("auth_without_tls", "false".to_owned(), expected)
        },
    )
}

fn check_users(relay: &MsrpRelay) -> Result<(), Failed> {
    let fits = |text: &str| {
        let forbidden = |c: char| !c.is_ascii_graphic() && c != ' ' || matches!(c, '"' | '\\');
        !text.is_empty() && !text.contains(forbidden)
    };
    if let Some(realm) = &relay.realm {
        require(fits(realm), || {
            let expected = "printable ASCII characters without \" and \\";
            bad("realm", format!("{realm:?}"), expected)
        })?;
        require(!relay.users.is_empty(), || {
            let expected = "at least one user, or an empty msrp_relay.realm for no such relay";
            bad("users", "an empty list".to_owned(), expected)
        })?;
    }
    let mut names = BTreeSet::new();
    for user in &relay.users {
        let name = &user.user;
        require(fits(name) && !name.contains(':'), || {
            let expected = "a user of printable ASCII characters without \" \\ and :";
            bad("users", format!("{name:?}"), expected)
        })?;
        require(names.insert(name), || {
            bad("users", format!("{name:?} twice"), "each user once")
        })?;
        require(user.ha1_md5.is_some() || user.ha1_sha256.is_some(), || {
            let came = format!("{name:?} without a hash");
            bad("users", came, "ha1_sha256, ha1_md5 or both for each user")
        })?;
    }
    require(relay.users.is_empty() || relay.realm.is_some(), || {
        let expected = "the realm that the users' hashes were made with";
        bad(
            "realm",
            "nothing, though there are users".to_owned(),
            expected,
        )
    })
}

fn check_times(relay: &MsrpRelay) -> Result<(), Failed> {
    let (least, usual, most) = (relay.expires_s_min, relay.expires_s, relay.expires_s_max);
    require(least > 0, || {
        bad("expires_s_min", "0".to_owned(), "1 or more")
    })?;
    require(usual >= least, || {
        bad(
            "expires_s",
            usual.to_string(),
            &format!("expires_s_min ({least}) or more"),
        )
    })?;
    require(most >= usual, || {
        bad(
            "expires_s_max",
            most.to_string(),
            &format!("expires_s ({usual}) or more"),
        )
    })?;
    let times = [
        ("nonce_s", relay.nonce.as_secs(), 1..=86_400),
        ("connect_ms", millis(relay.connect), 100..=30_000),
        ("idle_s", relay.idle.as_secs(), 60..=604_800),
    ];
    for (key, came, range) in times {
        require(range.contains(&came), || {
            let expected = format!("{} to {}", range.start(), range.end());
            bad(key, came.to_string(), &expected)
        })?;
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn bad(key: &'static str, came: String, expected: &str) -> Failed {
    fail("msrp_relay", key, came, expected)
}
