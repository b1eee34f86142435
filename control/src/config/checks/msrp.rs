//! Whether the settings of MSRP fit: ports, files, trunks.

use std::ops::RangeInclusive;

use super::{Failed, TRUNKS, fail, require};
use crate::config::{Config, Msrp, Toward};

pub(super) fn check(config: &Config) -> Result<(), Failed> {
    check_ports(config)?;
    check_certificate(&config.msrp)?;
    check_origins(&config.msrp)?;
    check_chunks(&config.msrp)?;
    check_toward(&config.msrp, &config.msrp)?;
    for (name, trunk) in &config.trunk {
        let in_trunk = |failed: Failed| Failed {
            section: TRUNKS,
            table: Some(name.clone()),
            ..failed
        };
        require(!trunk.who.is_empty(), || {
            let came = "nobody".to_owned();
            fail(
                TRUNKS,
                "match",
                came,
                "at least one address, network or domain",
            )
        })
        .map_err(in_trunk)?;
        let settings = trunk.over(&config.msrp);
        check_chunks(&settings).map_err(in_trunk)?;
        check_toward(&settings, &config.msrp).map_err(in_trunk)?;
    }
    Ok(())
}

/// Each transport has a port for every worker, which is no other's.
fn check_ports(config: &Config) -> Result<(), Failed> {
    let (msrp, media) = (&config.msrp, &config.media);
    let all = [
        ("port_first", Some(msrp.port_first)),
        ("tls_port_first", msrp.tls_port_first),
        ("ws_port_first", msrp.ws_port_first),
        ("wss_port_first", msrp.wss_port_first),
    ];
    let mut taken: Vec<(&str, RangeInclusive<usize>)> = Vec::new();
    for (key, first) in all {
        let Some(first) = first.map(usize::from).filter(|first| *first != 0) else {
            continue;
        };
        let bad = |expected: &str| fail("msrp", key, first.to_string(), expected);
        let last = first + media.workers - 1;
        require(last <= usize::from(u16::MAX), || {
            bad("a port for every worker: media.workers ports from there on")
        })?;
        let (media_first, media_last) = (media.port_first.into(), media.port_last.into());
        require(last < media_first || first > media_last, || {
            bad("ports outside media.port_first to media.port_last")
        })?;
        let other = taken
            .iter()
            .find(|(_, ports)| first <= *ports.end() && last >= *ports.start());
        if let Some((other, ports)) = other {
            let (start, end) = (ports.start(), ports.end());
            return Err(bad(&format!(
                "ports outside {start} to {end}, which are msrp.{other}'s"
            )));
        }
        taken.push((key, first..=last));
    }
    Ok(())
}

fn check_certificate(msrp: &Msrp) -> Result<(), Failed> {
    let (given, file, missing) = match (&msrp.certificate, &msrp.key) {
        (Some(file), None) => ("certificate", file, "key"),
        (None, Some(file)) => ("key", file, "certificate"),
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    };
    let came = format!("\"{}\" alone", file.display());
    let expected = format!("msrp.{missing} as well, or neither of both");
    Err(fail("msrp", given, came, &expected))
}

fn check_origins(msrp: &Msrp) -> Result<(), Failed> {
    let is_origin = |origin: &str| {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']))
    };
    match msrp.ws_origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => {
            let expected = "https://host or https://host:port, without a path";
            Err(fail(
                "msrp",
                "ws_origins",
                format!("\"{origin}\""),
                expected,
            ))
        }
        None => Ok(()),
    }
}

fn check_chunks(msrp: &Msrp) -> Result<(), Failed> {
    let octets = msrp.chunk_octets_max;
    let bad = |expected: &str| fail("msrp", "chunk_octets_max", octets.to_string(), expected);
    require(octets == 0 || octets >= CHUNK_OCTETS_MIN, || {
        bad("256 or more, or 0 for chunks as they come")
    })?;
    require(
        !msrp.chunk_exact || (1..=EXACT_OCTETS_MAX).contains(&octets),
        || bad("256 to 10240, as chunk_exact is true: such a chunk is gathered before it is sent"),
    )
}

/// What a stream is to be carried by must be listened for.
fn check_toward(settings: &Msrp, base: &Msrp) -> Result<(), Failed> {
    let (name, port, is_there) = match settings.toward {
        Toward::Same | Toward::Tcp => return Ok(()),
        Toward::Tls => ("tls", "tls_port_first", base.tls_port_first.is_some()),
        Toward::Ws => ("ws", "ws_port_first", base.ws_port_first.is_some()),
        Toward::Wss => ("wss", "wss_port_first", base.wss_port_first.is_some()),
    };
    require(is_there, || {
        let expected = format!("another transport, or msrp.{port} other than -1");
        fail("msrp", "toward", format!("\"{name}\""), &expected)
    })
}

/// Below this a chunk is mostly its head.
const CHUNK_OCTETS_MIN: u32 = 256;
/// See `dataplane::limits::MSRP_EXACT_CHUNK_BYTES`.
const EXACT_OCTETS_MAX: u32 = 10 * 1024;
