//! Session descriptions: read, changed and written without loss (RFC 8866, RFC 3264).
//!
//! A description is kept as its lines, in the order they came, letters and charsets unknown to us
//! included. Only the lines that a relay must own are ever parsed further, and only those change.

mod bfcp;
mod line;
mod media;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

pub use bfcp::{BfcpProto, FloorControl, FloorStreams, Roles};
pub use media::{Kind, MediaDescription, Proto};

use crate::limits::{SDP_BYTES, SDP_LINES, SDP_MEDIA};
use line::Line;
pub(crate) use line::Lines;

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    /// Everything above the first m-line but `v=` and `o=`.
    session: Lines,
    origin: Bytes,
    media: Vec<MediaDescription>,
}

/// Why a session description can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpError {
    /// More than [`SDP_BYTES`] bytes.
    TooLong,
    /// More than [`SDP_LINES`] lines.
    TooManyLines,
    /// More than [`SDP_MEDIA`] m-lines.
    TooManyMedia,
    /// It doesn't start with `v=0`.
    Version,
    /// A line isn't a lower-case letter, `=` and a value without NUL and CR; its number from 1.
    Line(usize),
    /// An m-line isn't `<media> <port>[/<count>] <proto> <fmt> ...`; its number from 1.
    Media(usize),
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "session description of more than {SDP_BYTES} bytes"),
            Self::TooManyLines => write!(f, "session description of more than {SDP_LINES} lines"),
            Self::TooManyMedia => write!(f, "session description of more than {SDP_MEDIA} media"),
            Self::Version => write!(f, "session description doesn't start with v=0"),
            Self::Line(line) => write!(f, "session description: line {line} is malformed"),
            Self::Media(line) => write!(f, "session description: m= in line {line} is malformed"),
        }
    }
}

impl std::error::Error for SdpError {}

/// The address of a c-line (RFC 8866 §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its address type is IP6.
    pub is_v6: bool,
    /// The address; `None` for a host name.
    pub ip: Option<IpAddr>,
}

/// Which way media may go, from the view of the description's author (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The author wants to send.
    pub sends: bool,
    /// The author wants to receive.
    pub receives: bool,
}

impl Flow {
    /// Its attribute's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.sends, self.receives) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }
}

impl Sdp {
    /// Reads a description. Lines end in CRLF or LF; empty lines are skipped; `o=` may be missing.
    ///
    /// # Errors
    ///
    /// [`SdpError`] says what is malformed or too much.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_BYTES {
            return Err(SdpError::TooLong);
        }
        let text = Bytes::copy_from_slice(bytes);
        let mut lines = line::split(&text);
        match lines.next() {
            Some(Ok(ref first)) if first.is_version_0() => {}
            _ => return Err(SdpError::Version),
        }
        let mut sdp = Self {
            session: Lines::default(),
            origin: Bytes::new(),
            media: Vec::new(),
        };
        for (index, line) in lines.enumerate() {
            // The first line is `v=`, and people count from 1.
            let number = index + 2;
            if number > SDP_LINES {
                return Err(SdpError::TooManyLines);
            }
            sdp.push(
                line.map_err(|line::Malformed| SdpError::Line(number))?,
                number,
            )?;
        }
        Ok(sdp)
    }

    fn push(&mut self, line: Line, number: usize) -> Result<(), SdpError> {
        if line.letter == b'm' {
            if self.media.len() == SDP_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            let media = MediaDescription::parse(&line.value).ok_or(SdpError::Media(number))?;
            self.media.push(media);
        } else if let Some(media) = self.media.last_mut() {
            media.lines.push(line);
        } else if line.letter == b'o' {
            self.origin = line.value;
        } else {
            self.session.push(line);
        }
        Ok(())
    }

    /// Writes it; lines end in CRLF.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1024);
        out.put_slice(b"v=0\r\n");
        if !self.origin.is_empty() {
            out.put_slice(b"o=");
            out.put_slice(&self.origin);
            out.put_slice(b"\r\n");
        }
        self.session.write(&mut out);
        for media in &self.media {
            media.write(&mut out);
        }
        // Descriptions are kept as long as their session: to the octet.
        Bytes::copy_from_slice(&out)
    }

    /// Its m-lines' number.
    #[must_use]
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// Its media descriptions, in order.
    #[must_use]
    pub fn media(&self) -> &[MediaDescription] {
        &self.media
    }

    /// The same description with other media.
    #[must_use]
    pub fn with_media(&self, media: Vec<MediaDescription>) -> Self {
        Self {
            session: self.session.clone(),
            origin: self.origin.clone(),
            media,
        }
    }

    /// Its lines above the first m-line but `v=` and `o=`.
    pub(crate) fn session(&self) -> &Lines {
        &self.session
    }

    /// Its media descriptions, to be changed.
    pub(crate) fn media_mut(&mut self) -> &mut [MediaDescription] {
        &mut self.media
    }

    /// See [`Self::session`].
    pub(crate) fn session_mut(&mut self) -> &mut Lines {
        &mut self.session
    }

    /// The value of its o-line; empty where there is none.
    #[must_use]
    pub fn origin(&self) -> &Bytes {
        &self.origin
    }

    /// Replaces the o-line (RFC 8866 §5.2).
    pub fn set_origin(&mut self, session_id: u64, version: u64, address: IpAddr) {
        let family = line::family(address);
        self.origin = Bytes::from(format!("- {session_id} {version} IN {family} {address}"));
    }

    /// The c-line that holds for a media description: its own, else the session's.
    #[must_use]
    pub fn connection(&self, media: &MediaDescription) -> Option<Connection> {
        media
            .lines
            .connection()
            .or_else(|| self.session.connection())
    }

    /// An attribute's value that holds for a media description: its own, else the session's.
    #[must_use]
    pub fn attribute<'a>(&'a self, media: &'a MediaDescription, name: &str) -> Option<&'a str> {
        media
            .attribute(name)
            .or_else(|| self.session.attribute(name))
    }

    /// The direction that holds for a media description; both ways where none is written.
    #[must_use]
    pub fn flow(&self, media: &MediaDescription) -> Flow {
        media
            .lines
            .flow()
            .or_else(|| self.session.flow())
            .unwrap_or(Flow {
                sends: true,
                receives: true,
            })
    }
}
