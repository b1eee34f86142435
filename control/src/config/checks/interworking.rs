//! Whether the settings of interworking fit.

use std::net::IpAddr;

use super::{Failed, fail, require};
use crate::config::Config;
use crate::limits::IWFS;

const SECTION: &str = "interworking";

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    let interworking = &config.interworking;
    if let Some(isf) = &interworking.isf {
        check_route("isf", isf)?;
        require(interworking.iwf.is_empty(), || {
            let came = "a list beside isf".to_owned();
            fail(
                SECTION,
                "iwf",
                came,
                "an empty list: the ISF selects from its own",
            )
        })?;
    }
    require(interworking.iwf.len() <= IWFS, || {
        let came = format!("{} functions", interworking.iwf.len());
        fail(SECTION, "iwf", came, &format!("at most {IWFS}"))
    })?;
    for (place, iwf) in interworking.iwf.iter().enumerate() {
        check_route("iwf", &iwf.route)?;
        let mut before = interworking.iwf.iter().take(place);
        require(!before.any(|other| other.name == iwf.name), || {
            let came = format!("{} twice", iwf.name);
            fail(SECTION, "iwf", came, "a name of its own for each")
        })?;
        require(!iwf.streams.is_empty(), || {
            let came = format!("{} without streams", iwf.name);
            fail(SECTION, "iwf", came, "at least one kind of stream for each")
        })?;
        check_schemes("iwf", &iwf.schemes)?;
    }
    let codes = [
        ("no_cpm_codes", &interworking.no_cpm_codes),
        ("no_core_codes", &interworking.no_core_codes),
    ];
    for (key, codes) in codes {
        for code in codes {
            require((400..700).contains(code), || {
                fail(
                    SECTION,
                    key,
                    code.to_string(),
                    "codes of failures: 400 to 699",
                )
            })?;
        }
    }
    check_schemes("unroutable_schemes", &interworking.unroutable_schemes)
}

fn check_schemes(key: &'static str, schemes: &[String]) -> Result<(), Failed> {
    let is_scheme = |scheme: &String| {
        let mut letters = scheme.chars();
        !scheme.is_empty()
            && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    match schemes.iter().find(|scheme| !is_scheme(scheme)) {
        Some(wrong) => {
            let expected = "schemes without their colon, in lower case: tel, sip, wv, mailto";
            Err(fail(SECTION, key, wrong.clone(), expected))
        }
        None => Ok(()),
    }
}

/// A Route header field whose first hop is an address: names aren't looked up during a session.
fn check_route(key: &'static str, route: &str) -> Result<(), Failed> {
    let first = route.split(',').next().unwrap_or_default().trim();
    let uri = first.trim_start_matches('<').trim_end_matches('>');
    let host = uri.strip_prefix("sip:").map(|rest| {
        let rest = rest.split(';').next().unwrap_or_default();
        rest.rsplit('@').next().unwrap_or_default()
    });
    let is_address = host.is_some_and(|host| {
        let bare = |host: &str| {
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<IpAddr>()
                .is_ok()
        };
        bare(host)
            || host
                .rsplit_once(':')
                .is_some_and(|(host, port)| bare(host) && port.parse::<u16>().is_ok())
    });
    let is_loose = uri.split(';').any(|param| param == "lr");
    require(is_address && is_loose, || {
        let expected = "Routes whose first is a SIP URI with an address, not a name, and with lr: \
                        sip:192.0.2.9:5060;lr";
        fail(SECTION, key, route.to_owned(), expected)
    })
}
