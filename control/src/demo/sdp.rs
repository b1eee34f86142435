//! Session descriptions, as far as the two clients need them.

use std::net::SocketAddr;

use super::error::DemoError;

/// An m-line and what belongs to it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) media: String,
    pub(super) address: SocketAddr,
    attributes: Vec<(String, String)>,
}

impl Section {
    /// The value of its first attribute of a name; empty for one without a value.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the sections of a description.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, DemoError> {
    let (session, rest) = text.split_once("m=").unwrap_or((text, ""));
    let everyone = connection(session);
    format!("\r\n{rest}")
        .split("\nm=")
        .map(|text| text.trim_start())
        .filter(|text| !text.is_empty())
        .map(|text| section(text, everyone).ok_or_else(|| unreadable(text)))
        .collect()
}

fn unreadable(text: &str) -> DemoError {
    let line = text.lines().next().unwrap_or_default();
    DemoError::unexpected("an m-line with an address", &format!("m={line}"))
}

fn section(text: &str, everyone: Option<&str>) -> Option<Section> {
    let mut words = text.lines().next()?.split(' ');
    let media = words.next()?.to_owned();
    let port: u16 = words.next()?.parse().ok()?;
    let host = connection(text).or(everyone)?;
    let attributes = text
        .lines()
        .filter_map(|line| line.strip_prefix("a="))
        .map(|attribute| attribute.split_once(':').unwrap_or((attribute, "")))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some(Section {
        media,
        address: SocketAddr::new(host.parse().ok()?, port),
        attributes,
    })
}

/// The address of a c-line.
fn connection(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("c=IN IP"))?;
    line.split(' ').nth(1).map(str::trim)
}
