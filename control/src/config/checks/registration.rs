//! Checks of the settings of what is known of users' devices.

use std::time::Duration;

use super::{Failed, fail, require};
use crate::config::{Config, Registration, SubscribeWhen, Who};
use crate::limits::REGISTERED_USERS;

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    let known = &config.registration;
    check_who(known)?;
    let month = Duration::from_secs(31 * 24 * 3600);
    let times = [
        ("expires_s", known.expires),
        ("retry_s", known.retry),
        ("retry_s_max", known.retry_max),
    ];
    for (key, time) in times {
        let fits = !time.is_zero() && time <= month;
        require(fits, || {
            let came = time.as_secs().to_string();
            fail("registration", key, came, "1 to 2678400 (31 days)")
        })?;
    }
    require(known.retry_max >= known.retry, || {
        let expected = format!("retry_s ({}) or more", known.retry.as_secs());
        let came = known.retry_max.as_secs().to_string();
        fail("registration", "retry_s_max", came, &expected)
    })?;
    let fits = (1..=REGISTERED_USERS).contains(&known.users_max);
    require(fits, || {
        let expected = format!("1 to {REGISTERED_USERS}");
        let came = known.users_max.to_string();
        fail("registration", "users_max", came, &expected)
    })
}

fn check_who(known: &Registration) -> Result<(), Failed> {
    let domain = known.trusted.iter().find_map(|who| match who {
        Who::Domain(domain) => Some(domain),
        Who::Network { .. } => None,
    });
    require(domain.is_none(), || {
        let expected = "addresses or networks: a REGISTER is known by where it comes from";
        let came = domain.cloned().unwrap_or_default();
        fail("registration", "trusted", came, expected)
    })?;
    let provisions = known.subscribe_when == SubscribeWhen::Provisioning;
    require(!provisions || !known.users.is_empty(), || {
        let expected = "at least one user, as subscribe_when is provisioning";
        fail(
            "registration",
            "users",
            "an empty list".to_owned(),
            expected,
        )
    })?;
    let strange = known.users.iter().find(|user| {
        let has_scheme = ["sip:", "sips:", "tel:"]
            .iter()
            .any(|scheme| user.len() > scheme.len() && user.starts_with(scheme));
        let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\"".contains(c);
        !has_scheme || !user.chars().all(fits)
    });
    require(strange.is_none(), || {
        let came = format!("\"{}\"", strange.cloned().unwrap_or_default());
        let expected = "SIP or TEL URIs such as sip:bob@home.example";
        fail("registration", "users", came, expected)
    })
}
