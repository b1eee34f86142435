//! A media description: the m-line and the lines below it (RFC 8866 §5.14).

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::Flow;
use super::line::Lines;

/// What a stream carries: the media type of its m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `message`
    Message,
    /// `application`
    Application,
    /// `image`
    Image,
    /// `text`
    Text,
    /// Any other.
    Other,
}

impl Kind {
    /// Its name as a word of a record or a log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Message => "message",
            Self::Application => "application",
            Self::Image => "image",
            Self::Text => "text",
            Self::Other => "other",
        }
    }
}

/// How a stream travels: the transport protocol of its m-line, as far as a relay needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// Any profile of RTP over UDP: AVP, AVPF, SAVP, SAVPF, with or without DTLS.
    Rtp,
    /// `TCP/MSRP`, `TCP/TLS/MSRP` (RFC 4975 §8.2); `TCP/WS/MSRP` and `TCP/WSS/MSRP` are about, too.
    Msrp {
        /// Over TLS.
        tls: bool,
    },
    /// `TCP/BFCP`, `TCP/TLS/BFCP` (RFC 8856 §5).
    Bfcp {
        /// Over TLS.
        tls: bool,
    },
    /// Any other.
    Other,
}

/// One m-line with the lines below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDescription {
    media: Bytes,
    port: u16,
    port_count: Option<u16>,
    pub(super) proto: Bytes,
    formats: Bytes,
    pub(super) lines: Lines,
}

impl MediaDescription {
    /// Reads the value of an m-line.
    pub(super) fn parse(value: &Bytes) -> Option<Self> {
        let mut words = value.splitn(4, |byte| *byte == b' ');
        let media = words.next().filter(|word| !word.is_empty())?;
        let ports = std::str::from_utf8(words.next()?).ok()?;
        let proto = words.next().filter(|word| !word.is_empty())?;
        let formats = words.next().unwrap_or_default();
        let (port, port_count) = match ports.split_once('/') {
            Some((port, count)) => (number(port)?, Some(number(count)?)),
            None => (number(ports)?, None),
        };
        Some(Self {
            media: value.slice_ref(media),
            port,
            port_count,
            proto: value.slice_ref(proto),
            formats: value.slice_ref(formats),
            lines: Lines::default(),
        })
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"m=");
        out.put_slice(&self.media);
        out.put_u8(b' ');
        out.put_slice(self.port.to_string().as_bytes());
        if let Some(count) = self.port_count {
            out.put_slice(format!("/{count}").as_bytes());
        }
        out.put_u8(b' ');
        out.put_slice(&self.proto);
        if !self.formats.is_empty() {
            out.put_u8(b' ');
            out.put_slice(&self.formats);
        }
        out.put_slice(b"\r\n");
        self.lines.write(out);
    }

    /// What it carries.
    #[must_use]
    pub fn kind(&self) -> Kind {
        const KINDS: [Kind; 6] = [
            Kind::Audio,
            Kind::Video,
            Kind::Message,
            Kind::Application,
            Kind::Image,
            Kind::Text,
        ];
        KINDS
            .into_iter()
            .find(|kind| self.media.eq_ignore_ascii_case(kind.name().as_bytes()))
            .unwrap_or(Kind::Other)
    }

    /// How it travels.
    #[must_use]
    pub fn proto(&self) -> Proto {
        let proto = self.proto.to_ascii_uppercase();
        match proto.as_slice() {
            b"TCP/MSRP" | b"TCP/WS/MSRP" => Proto::Msrp { tls: false },
            b"TCP/TLS/MSRP" | b"TCP/WSS/MSRP" => Proto::Msrp { tls: true },
            b"TCP/BFCP" => Proto::Bfcp { tls: false },
            b"TCP/TLS/BFCP" => Proto::Bfcp { tls: true },
            udp if udp.starts_with(b"RTP/") || udp.starts_with(b"UDP/TLS/RTP/") => Proto::Rtp,
            _ => Proto::Other,
        }
    }

    /// Its media type as it is written; empty where that isn't UTF-8.
    pub(crate) fn media_text(&self) -> &str {
        std::str::from_utf8(&self.media).unwrap_or_default()
    }

    /// Its transport protocol as it is written; empty where that isn't UTF-8.
    pub(crate) fn proto_text(&self) -> &str {
        std::str::from_utf8(&self.proto).unwrap_or_default()
    }

    /// Its formats as they are written; empty where they aren't UTF-8.
    pub(crate) fn formats_text(&self) -> &str {
        std::str::from_utf8(&self.formats).unwrap_or_default()
    }

    /// Writes the same transport protocol as another m-line's.
    pub fn set_proto_of(&mut self, other: &Self) {
        self.proto = other.proto.clone();
    }

    /// Writes the transport protocol of MSRP (RFC 4975 §8.2).
    pub fn set_msrp(&mut self, tls: bool) {
        self.proto = Bytes::from_static(if tls { b"TCP/TLS/MSRP" } else { b"TCP/MSRP" });
    }

    /// Whether another m-line has the same media type.
    #[must_use]
    pub fn same_media(&self, other: &Self) -> bool {
        self.media.eq_ignore_ascii_case(&other.media)
    }

    /// Its port; 0: refused, removed or never wanted (RFC 3264 §5.1).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many ports it wants; more than 1 is layered media (RFC 8866 §5.14).
    #[must_use]
    pub fn port_count(&self) -> u16 {
        self.port_count.unwrap_or(1)
    }

    /// Its lines below the m-line.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// See [`Self::lines`].
    pub(crate) fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// Changes its port.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
        self.port_count = None;
    }

    /// Changes or adds its c-line.
    pub fn set_connection(&mut self, address: IpAddr) {
        self.lines.set_connection(address);
    }

    /// Its own attribute's value; empty where the attribute has none.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.lines.attribute(name)
    }

    /// The values of its own attributes of that name.
    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.attributes(name)
    }

    /// Whether it has an attribute of its own.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.lines.has(name)
    }

    /// Changes or adds its direction.
    pub fn set_flow(&mut self, flow: Flow) {
        self.lines.set_flow(flow);
    }

    /// The same m-line at port 0 with its formats, and of the lines below only `a=mid`: what
    /// else an unused stream says has no meaning (RFC 3264 §6) and would show addresses.
    #[must_use]
    pub fn disabled(&self) -> Self {
        let mut lines = Lines::default();
        if let Some(mid) = self.attribute("mid") {
            lines.set_attribute("mid", Some(mid));
        }
        Self {
            media: self.media.clone(),
            port: 0,
            port_count: None,
            proto: self.proto.clone(),
            formats: self.formats.clone(),
            lines,
        }
    }
}

/// Digits alone (RFC 8866 §9 `port`, `integer`); a sign is none.
fn number(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}
