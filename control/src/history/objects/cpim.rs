//! Message/CPIM (RFC 3862): reading a head, and making one.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::header::clean;
use super::seconds;

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cpim {
    /// From; `None`: not there, or anonymous.
    pub(super) from: Option<String>,
    /// To; the same.
    pub(super) to: Option<String>,
    /// DateTime.
    pub(super) at: Option<SystemTime>,
    /// imdn.Message-ID (RFC 5438 §6.3).
    pub(super) imdn_id: Option<String>,
    /// Content-Type of what is inside.
    pub(super) content_type: String,
}

impl Cpim {
    /// Reads what it can; what isn't CPIM has nothing.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let mut cpim = Self::default();
        // RFC 5438 §6.2: the prefix is what the NS header says.
        let mut prefix = "imdn".to_owned();
        for (name, value) in fields(&mut lines) {
            match name {
                "From" => cpim.from = party(value),
                "To" => cpim.to = cpim.to.or_else(|| party(value)),
                "DateTime" => cpim.at = moment(value),
                "NS" => {
                    if let Some((name, uri)) = value.split_once('<')
                        && uri.starts_with(IMDN)
                    {
                        prefix = name.trim().to_owned();
                    }
                }
                _ => {
                    let own = name.strip_prefix(&prefix);
                    if own.is_some_and(|own| own == ".Message-ID") && !value.is_empty() {
                        cpim.imdn_id = Some(clean(value));
                    }
                }
            }
        }
        for (name, value) in fields(&mut lines) {
            if name.eq_ignore_ascii_case("Content-Type") {
                value.clone_into(&mut cpim.content_type);
            }
        }
        cpim
    }
}

/// The head for content that has none; it ends where the content begins.
pub(super) fn wrapped(
    from: &str,
    to: &str,
    at: SystemTime,
    (imdn_id, content_type): (&str, &str),
) -> String {
    let [from, to, content_type] = [from, to, content_type].map(clean);
    let at = seconds(at).format(&Rfc3339).unwrap_or_default();
    format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDateTime: {at}\r\nNS: imdn <{IMDN}>\r\n\
         imdn.Message-ID: {imdn_id}\r\n\r\nContent-Type: {content_type}\r\n\r\n"
    )
}

/// The fields up to an empty line.
fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let until = lines.take_while(|line| !line.is_empty());
    let fields = until.filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect()
}

/// Somebody's address, without brackets.
fn party(value: &str) -> Option<String> {
    let inner = value
        .rsplit_once('<')
        .and_then(|(_, rest)| rest.split('>').next());
    let address = inner.unwrap_or(value).trim();
    let is_known = !address.is_empty() && !address.contains("anonymous.invalid");
    is_known.then(|| clean(address))
}

fn moment(value: &str) -> Option<SystemTime> {
    let at = OffsetDateTime::parse(value, &Rfc3339).ok()?;
    Some(at.into())
}

/// RFC 5438 §6.2
const IMDN: &str = "urn:ietf:params:imdn";
