//! Whether what holds for everybody and for single users fits.

use super::{Failed, USERS, fail, require};
use crate::config::Config;

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
    Ok(())
}
