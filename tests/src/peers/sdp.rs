//! Session descriptions as two plain functions see them: one writes lines, one reads lines.

use std::net::{IpAddr, SocketAddr};

/// Writes a session description line by line.
#[derive(Debug, Clone)]
pub struct Writer {
    ip: IpAddr,
    version: u32,
    media: Vec<String>,
}

impl Writer {
    /// A description without media.
    #[must_use]
    pub const fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            version: 1,
            media: Vec::new(),
        }
    }

    /// Sets the version of the origin line: a changed description has a higher one (RFC 3264 §8).
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds G.711 audio.
    #[must_use]
    pub fn audio(self, port: u16) -> Self {
        self.audio_with(port, &["sendrecv"])
    }

    /// Adds G.711 audio with further attribute lines (without `a=`).
    #[must_use]
    pub fn audio_with(self, port: u16, attributes: &[&str]) -> Self {
        let mut lines =
            format!("m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n");
        for attribute in attributes {
            lines.push_str(&format!("a={attribute}\r\n"));
        }
        self.lines(lines)
    }

    /// Adds an MSRP stream that takes any type, with further attribute lines (without `a=`).
    #[must_use]
    pub fn message(self, path: &str, attributes: &[&str]) -> Self {
        let port = path_address(path).map_or(9, |address| address.port());
        let tls = if path.starts_with("msrps:") {
            "TLS/"
        } else {
            ""
        };
        let mut lines =
            format!("m=message {port} TCP/{tls}MSRP *\r\na=accept-types:*\r\na=path:{path}\r\n");
        for attribute in attributes {
            lines.push_str(&format!("a={attribute}\r\n"));
        }
        self.lines(lines)
    }

    /// Adds a stream that is refused or dropped: port 0 (RFC 3264 §6).
    #[must_use]
    pub fn dropped(self, kind: &str, protocol: &str, format: &str) -> Self {
        self.lines(format!("m={kind} 0 {protocol} {format}\r\n"))
    }

    /// Adds lines as they are.
    #[must_use]
    pub fn lines(mut self, lines: String) -> Self {
        self.media.push(lines);
        self
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let family = if self.ip.is_ipv4() { "IP4" } else { "IP6" };
        let ip = self.ip;
        let mut text = format!(
            "v=0\r\no=peer 4711 {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
            self.version
        );
        for media in &self.media {
            text.push_str(media);
        }
        text
    }
}

/// One m-line and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `message`, ...
    pub kind: String,
    /// The port; 0: refused.
    pub port: u16,
    /// The address of its own c-line, else of the session's.
    pub ip: Option<IpAddr>,
    /// Its attributes without `a=`.
    pub attributes: Vec<String>,
}

impl Media {
    /// Where media goes.
    ///
    /// # Panics
    ///
    /// There is no c-line.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.expect("the description has a c-line"), self.port)
    }

    /// The value of `a=name:value`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Says whether `a=flag` is there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.attributes.iter().any(|line| line == flag)
    }
}

/// Reads the m-lines of a description.
///
/// # Panics
///
/// A line can't be read: what the relay sends must be well-formed.
#[must_use]
pub fn media(text: &str) -> Vec<Media> {
    let mut session_ip = None;
    let mut list: Vec<Media> = Vec::new();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (key, value) = line
            .split_once('=')
            .unwrap_or_else(|| panic!("not SDP: {line:?}"));
        match (key, list.last_mut()) {
            ("m", _) => list.push(media_line(value, session_ip)),
            ("c", last) => {
                let ip = value.split(' ').nth(2).and_then(|ip| ip.parse().ok());
                assert!(ip.is_some(), "can't read c={value}");
                match last {
                    Some(media) => media.ip = ip,
                    None => session_ip = ip,
                }
            }
            ("a", Some(media)) => media.attributes.push(value.to_owned()),
            _ => {}
        }
    }
    list
}

fn media_line(value: &str, ip: Option<IpAddr>) -> Media {
    let mut words = value.split(' ');
    let kind = words.next().unwrap_or("").to_owned();
    let port = words
        .next()
        .and_then(|port| port.split('/').next()?.parse().ok());
    assert!(words.count() >= 2, "m={value} has no protocol or no format");
    let port = port.unwrap_or_else(|| panic!("can't read the port of m={value}"));
    Media {
        kind,
        port,
        ip,
        attributes: Vec::new(),
    }
}

/// The address in an MSRP URI: `msrp://127.0.0.1:2855/session;tcp`.
#[must_use]
pub fn path_address(path: &str) -> Option<SocketAddr> {
    let authority = path.split_once("://")?.1.split('/').next()?;
    authority.rsplit('@').next()?.parse().ok()
}
