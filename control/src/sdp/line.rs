//! Lines: a letter and a value, kept as they came.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Connection, Flow};

/// One line, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(super) letter: u8,
    pub(super) value: Bytes,
}

/// A line that isn't a letter, `=` and a value.
#[derive(Debug)]
pub(super) struct Malformed;

impl Line {
    pub(super) fn is_version_0(&self) -> bool {
        self.letter == b'v' && self.value.as_ref() == b"0"
    }

    fn attribute(name: &str, value: Option<&str>) -> Self {
        let text = match value {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        };
        Self {
            letter: b'a',
            value: Bytes::from(text),
        }
    }

    /// The name of an attribute, the value that follows its colon.
    fn as_attribute(&self) -> Option<(&[u8], Option<&[u8]>)> {
        if self.letter != b'a' {
            return None;
        }
        let mut parts = self.value.splitn(2, |byte| *byte == b':');
        Some((parts.next()?, parts.next()))
    }

    fn is_attribute(&self, name: &str) -> bool {
        self.as_attribute()
            .is_some_and(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.letter);
        out.put_u8(b'=');
        out.put_slice(&self.value);
        out.put_slice(b"\r\n");
    }
}

/// Cuts a text into lines.
pub(super) fn split(text: &Bytes) -> impl Iterator<Item = Result<Line, Malformed>> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| match line {
            [letter, b'=', value @ ..]
                if letter.is_ascii_lowercase()
                    && !value.iter().any(|byte| matches!(byte, b'\0' | b'\r')) =>
            {
                Ok(Line {
                    letter: *letter,
                    value: text.slice_ref(value),
                })
            }
            _ => Err(Malformed),
        })
}

/// The address type of an address, as o= and c= name it.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IP6" } else { "IP4" }
}

/// The lines of one section of a description, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    pub(super) fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        for line in &self.0 {
            line.write(out);
        }
    }

    /// The value of the first attribute of a name; empty for one without a value, `None` for one
    /// that isn't UTF-8.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let line = self.0.iter().find(|line| line.is_attribute(name))?;
        let (_, value) = line.as_attribute()?;
        std::str::from_utf8(value.unwrap_or_default()).ok()
    }

    /// The values of all attributes of a name that are UTF-8.
    pub(crate) fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.iter().filter(move |line| line.is_attribute(name));
        lines.filter_map(|line| {
            let (_, value) = line.as_attribute()?;
            std::str::from_utf8(value.unwrap_or_default()).ok()
        })
    }

    /// Whether there is an attribute of a name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.is_attribute(name))
    }

    /// Adds an attribute behind all lines, also where there are others of its name.
    pub(crate) fn add_attribute(&mut self, name: &str, value: Option<&str>) {
        self.0.push(Line::attribute(name, value));
    }

    /// Puts an attribute where the first of its name is, removing others of that name; else last.
    pub(crate) fn set_attribute(&mut self, name: &str, value: Option<&str>) {
        let new = Line::attribute(name, value);
        match self.0.iter().position(|line| line.is_attribute(name)) {
            Some(place) => {
                let mut index = 0;
                self.0.retain(|line| {
                    index += 1;
                    index <= place + 1 || !line.is_attribute(name)
                });
                if let Some(line) = self.0.get_mut(place) {
                    *line = new;
                }
            }
            None => self.0.push(new),
        }
    }

    /// Keeps the attributes that a test of name and value keeps, and every other line.
    pub(crate) fn retain_attributes(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.0.retain(|line| match line.as_attribute() {
            None => true,
            Some((name, value)) => {
                let name = String::from_utf8_lossy(name);
                let value = String::from_utf8_lossy(value.unwrap_or_default());
                keep(&name, &value)
            }
        });
    }

    /// What its first c-line says; one that can't be read names no address.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let line = self.0.iter().find(|line| line.letter == b'c')?;
        let text = std::str::from_utf8(&line.value).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let is_internet = words
            .next()
            .is_some_and(|net| net.eq_ignore_ascii_case("IN"));
        let is_v6 = words
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("IP6"));
        // A time to live or a number of addresses may follow a slash.
        let address = words.next().and_then(|word| word.split('/').next());
        let ip = address
            .and_then(|address| address.parse::<IpAddr>().ok())
            .filter(|ip| is_internet && ip.is_ipv6() == is_v6);
        Some(Connection { is_v6, ip })
    }

    /// Puts a c-line where the first is, removing others; else where RFC 8866 §5 wants it.
    pub(crate) fn set_connection(&mut self, address: IpAddr) {
        let place = self.0.iter().position(|line| line.letter == b'c');
        self.0.retain(|line| line.letter != b'c');
        let place = place.unwrap_or_else(|| {
            let before = |line: &Line| matches!(line.letter, b's' | b'i' | b'u' | b'e' | b'p');
            self.0.iter().take_while(|line| before(line)).count()
        });
        let value = Bytes::from(format!("IN {} {address}", family(address)));
        self.0.insert(
            place.min(self.0.len()),
            Line {
                letter: b'c',
                value,
            },
        );
    }

    /// Takes over what a session says where the lines say nothing of it themselves: its c-line, its
    /// direction, and the attributes of some names.
    pub(crate) fn inherit(&mut self, session: &Self, names: &[&str]) {
        if self.connection().is_none()
            && let Some(line) = session.0.iter().find(|line| line.letter == b'c')
        {
            let before = |line: &Line| line.letter == b'i';
            let place = self.0.iter().take_while(|line| before(line)).count();
            self.0.insert(place, line.clone());
        }
        if self.flow().is_none() {
            let said = session.0.iter().find(|line| flow_of(line).is_some());
            self.0.extend(said.cloned());
        }
        for name in names.iter().filter(|name| !session.is_silent_on(name)) {
            if self.is_silent_on(name) {
                let said = session.0.iter().filter(|line| line.is_attribute(name));
                self.0.extend(said.cloned());
            }
        }
    }

    fn is_silent_on(&self, name: &str) -> bool {
        !self.has(name)
    }

    /// The first direction attribute.
    pub(crate) fn flow(&self) -> Option<Flow> {
        self.0.iter().find_map(flow_of)
    }

    /// Replaces the direction, where the first such attribute is; else last.
    pub(crate) fn set_flow(&mut self, flow: Flow) {
        let new = Line::attribute(flow.name(), None);
        let place = self.0.iter().position(|line| flow_of(line).is_some());
        self.0.retain(|line| flow_of(line).is_none());
        let place = place.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(place, new);
    }
}

fn flow_of(line: &Line) -> Option<Flow> {
    let (name, _) = line.as_attribute()?;
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let (sends, receives) = if is("sendrecv") {
        (true, true)
    } else if is("sendonly") {
        (true, false)
    } else if is("recvonly") {
        (false, true)
    } else if is("inactive") {
        (false, false)
    } else {
        return None;
    };
    Some(Flow { sends, receives })
}
