//! Whether what holds for everybody and for single users fits.

use super::{Failed, USERS, fail, require};
use crate::config::{Config, Xcap};

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    require(!config.policy.streams.is_empty(), || {
        let expected = "at least one kind of stream: no session could be made";
        fail("policy", "streams", "an empty list".to_owned(), expected)
    })?;
    for (address, user) in &config.user {
        let of_user = |failed: Failed| Failed {
            section: USERS,
            table: Some(address.clone()),
            ..failed
        };
        let scheme = address.split_once(':');
        let is_address = scheme.is_some_and(|(scheme, rest)| {
            let schemes = ["sip", "sips", "tel"];
            !rest.is_empty() && schemes.iter().any(|s| s.eq_ignore_ascii_case(scheme))
        });
        require(is_address, || {
            let expected = "a SIP or TEL URI, as [user.\"sip:alice@home.example\"]";
            of_user(fail(USERS, "barred", format!("{address:?}"), expected))
        })?;
        let left = user.over(&config.policy).streams;
        require(!left.is_empty(), || {
            let came = "none of policy.streams".to_owned();
            let expected = "at least one of policy.streams, or barred = true";
            of_user(fail(USERS, "streams", came, expected))
        })?;
    }
    check_xcap(&config.xcap)
}

fn check_xcap(xcap: &Xcap) -> Result<(), Failed> {
    let bad = |key, came: String, expected: &str| fail("xcap", key, came, expected);
    if let Some(root) = &xcap.root {
        let rest = root.strip_prefix("http://").unwrap_or_default();
        let is_url = rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.contains(['?', '#']);
        require(is_url && !rest.is_empty(), || {
            let expected = "http://host:port/path; https isn't spoken to an XDMS";
            bad("root", format!("{root:?}"), expected)
        })?;
    }
    for (key, name) in [("auid", &xcap.auid), ("document", &xcap.document)] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        require(!name.is_empty() && name.bytes().all(fits), || {
            let expected = "letters, digits, '-', '.' and '_'";
            bad(key, format!("{name:?}"), expected)
        })?;
    }
    let times = [
        ("wait_ms", xcap.wait, 1..=5_000_u128),
        ("timeout_ms", xcap.timeout, 1..=60_000),
        ("fresh_s", xcap.fresh / 1000, 1..=604_800),
    ];
    for (key, came, range) in times {
        require(range.contains(&came.as_millis()), || {
            let expected = format!("{} to {}", range.start(), range.end());
            bad(key, came.as_millis().to_string(), &expected)
        })?;
    }
    require(xcap.users_max > 0, || {
        bad("users_max", "0".to_owned(), "1 or more")
    })
}
