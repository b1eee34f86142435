//! SIP as text, the way a telephone reads it.

use std::net::SocketAddr;

pub(super) fn finish(text: &mut String, sdp: &str) {
    if !sdp.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
}

pub(super) fn head(text: &str) -> impl Iterator<Item = &str> {
    text.split("\r\n\r\n")
        .next()
        .unwrap_or("")
        .split("\r\n")
        .skip(1)
}

pub(super) fn header<'a>(text: &'a str, name: &str) -> &'a str {
    head(text)
        .find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name))
        .map_or("", |(_, value)| value)
}

pub(super) fn param<'a>(value: &'a str, name: &str) -> &'a str {
    value
        .split(';')
        .find_map(|param| param.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or("")
}

pub(super) fn contact(text: &str) -> String {
    let value = header(text, "Contact");
    value
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap_or("")
        .to_owned()
}

/// Where an SDP wants audio.
pub(super) fn media_address(text: &str) -> Option<SocketAddr> {
    let after = |mark| text.split(mark).nth(1);
    let ip = after("\r\nc=IN IP4 ")?.split("\r\n").next()?.parse().ok()?;
    let port = after("\r\nm=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
