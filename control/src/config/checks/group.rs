//! Whether group definitions fit.

use std::time::Duration;

use super::{Failed, GROUPS, fail, require};
use crate::config::{Config, Controlling, Group, StreamKind};
use crate::limits::{GROUP_MEMBERS, PARTICIPANTS};

const SECTION: &str = "controlling";

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    let base = &config.controlling;
    if let Some(factory) = &base.factory {
        require(is_sip(factory), || {
            let expected = "a SIP URI such as sip:factory@groups.example";
            fail(SECTION, "factory", format!("{factory:?}"), expected)
        })?;
    }
    require(!base.streams.is_empty(), || {
        let came = "an empty list".to_owned();
        fail(SECTION, "streams", came, "at least one kind of stream")
    })?;
    check_bounds(base)?;
    let seconds = base.session_expires.as_secs();
    require((90..=86_400).contains(&seconds), || {
        let expected = "90 to 86400 (RFC 4028: no less than 90)";
        fail(SECTION, "session_expires_s", seconds.to_string(), expected)
    })?;
    let ack = base.message_ack;
    require([200, 202].contains(&ack), || {
        fail(SECTION, "message_ack", ack.to_string(), "200 or 202")
    })?;
    let validity = base.validity.as_secs();
    require((1..=3600).contains(&validity), || {
        fail(SECTION, "validity_s", validity.to_string(), "1 to 3600")
    })?;
    require(base.notify_interval <= Duration::from_secs(60), || {
        let came = base.notify_interval.as_millis().to_string();
        fail(SECTION, "notify_interval_ms", came, "60000 or less")
    })?;
    let never = base.release_silent && config.media.silence.is_none();
    require(!never, || {
        let expected = "false, or media.silence_s above 0: with 0 nobody is ever silent";
        fail(SECTION, "release_silent", "true".to_owned(), expected)
    })?;
    for (address, group) in &config.group {
        let of_group = |failed: Failed| Failed {
            section: GROUPS,
            table: Some(address.clone()),
            ..failed
        };
        check_group(address, group, base).map_err(of_group)?;
        check_bounds(&group.over(base)).map_err(of_group)?;
    }
    Ok(())
}

fn check_bounds(rules: &Controlling) -> Result<(), Failed> {
    let most = rules.participants_max;
    require((2..=PARTICIPANTS).contains(&most), || {
        let expected = format!("2 to {PARTICIPANTS}");
        fail(SECTION, "participants_max", most.to_string(), &expected)
    })?;
    let least = rules.participants_min;
    require((1..=most).contains(&least), || {
        let expected = format!("1 to participants_max ({most})");
        fail(SECTION, "participants_min", least.to_string(), &expected)
    })?;
    let holders = rules.floor_holders;
    require((1..=255).contains(&holders), || {
        fail(SECTION, "floor_holders", holders.to_string(), "1 to 255")
    })?;
    let kinds = [StreamKind::Audio, StreamKind::Video, StreamKind::Message];
    match rules.floors.iter().find(|kind| !kinds.contains(kind)) {
        Some(kind) => {
            let came = format!("{kind:?}").to_lowercase();
            Err(fail(
                SECTION,
                "floors",
                came,
                "some of audio, video, message",
            ))
        }
        None => Ok(()),
    }
}

fn check_group(address: &str, group: &Group, base: &Controlling) -> Result<(), Failed> {
    require(is_sip(address), || {
        let expected = "a SIP URI, as [group.\"sip:team@groups.example\"]";
        fail(
            GROUPS,
            "members",
            format!("the group {address:?}"),
            expected,
        )
    })?;
    require(base.factory.as_deref() != Some(address), || {
        let came = "the address of controlling.factory".to_owned();
        fail(GROUPS, "members", came, "an address of the group's own")
    })?;
    let lists = [
        ("members", &group.members),
        ("owners", &group.owners),
        ("banned", &group.banned),
        ("audio_barred", &group.audio_barred),
        ("video_barred", &group.video_barred),
        ("message_barred", &group.message_barred),
    ];
    for (key, list) in lists {
        require(list.len() <= GROUP_MEMBERS, || {
            let expected = format!("at most {GROUP_MEMBERS}");
            fail(GROUPS, key, format!("{} users", list.len()), &expected)
        })?;
        if let Some(wrong) = list.iter().find(|user| !is_user(user)) {
            let expected = "SIP or TEL URIs: sip:alice@home.example, tel:+15551234";
            return Err(fail(GROUPS, key, format!("{wrong:?}"), expected));
        }
    }
    let stranger = group.owners.iter().find(|one| !group.members.contains(one));
    if let Some(stranger) = stranger {
        let expected = "some of the group's members";
        return Err(fail(GROUPS, "owners", stranger.clone(), expected));
    }
    require(!group.over(base).streams.is_empty(), || {
        let came = "none of controlling.streams".to_owned();
        fail(
            GROUPS,
            "streams",
            came,
            "at least one of controlling.streams",
        )
    })
}

fn is_sip(address: &str) -> bool {
    let rest = address.strip_prefix("sip:").unwrap_or_default();
    rest.split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains(';'))
}

fn is_user(address: &str) -> bool {
    let scheme = address.split_once(':');
    scheme.is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && ["sip", "tel"]
                .iter()
                .any(|s| s.eq_ignore_ascii_case(scheme))
    })
}
