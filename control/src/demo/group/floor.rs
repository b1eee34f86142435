//! A participant in floor control: BFCP over TCP (RFC 8855), as small as it can be.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::super::error::DemoError;
use super::super::sdp::Section;

/// Primitives (RFC 8855 §5.1).
const FLOOR_REQUEST: u8 = 1;
const FLOOR_RELEASE: u8 = 2;
const FLOOR_REQUEST_STATUS: u8 = 4;
const ERROR: u8 = 13;
/// Attributes (RFC 8855 §5.2).
const FLOOR_ID: u8 = 2;
const FLOOR_REQUEST_ID: u8 = 3;
const REQUEST_STATUS: u8 = 5;
const FLOOR_REQUEST_INFORMATION: u8 = 15;
const OVERALL_REQUEST_STATUS: u8 = 18;
/// Octets of a message before its attributes.
const HEAD: usize = 12;

/// How it stands with a participant's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none.
    None,
    /// It was made, and isn't answered yet.
    Asked,
    /// Others have the floor.
    Waits,
    /// What this participant sends is taken.
    Holds,
}

/// One end of floor control.
#[derive(Debug)]
pub(super) struct Floor {
    stream: TcpStream,
    conference: u32,
    user: u16,
    floor: u16,
    transactions: u16,
    request: u16,
    input: Vec<u8>,
    pub(super) standing: Standing,
    /// It had to wait once.
    pub(super) has_waited: bool,
    /// It held the floor once.
    pub(super) has_held: bool,
}

impl Floor {
    /// Connects to where a description says that the server is.
    pub(super) fn join(section: &Section) -> Result<Self, DemoError> {
        let number = |name: &str| {
            let value = section
                .attribute(name)
                .and_then(|text| text.split(' ').next());
            let number = value.and_then(|text| text.parse::<u32>().ok());
            number.ok_or_else(|| DemoError::unexpected(&format!("a={name} of BFCP"), "none"))
        };
        let short = |number: u32| u16::try_from(number).unwrap_or(0);
        let stream = TcpStream::connect(section.address).map_err(DemoError::doing("BFCP"))?;
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_nonblocking(true));
        set.map_err(DemoError::doing("BFCP"))?;
        Ok(Self {
            stream,
            conference: number("confid")?,
            user: short(number("userid")?),
            floor: short(number("floorid")?),
            transactions: 0,
            request: 0,
            input: Vec::new(),
            standing: Standing::None,
            has_waited: false,
            has_held: false,
        })
    }

    /// Asks for the floor.
    pub(super) fn ask(&mut self) -> Result<(), DemoError> {
        self.standing = Standing::Asked;
        self.say(FLOOR_REQUEST, FLOOR_ID, self.floor)
    }

    /// Gives the floor back.
    pub(super) fn give_back(&mut self) -> Result<(), DemoError> {
        self.say(FLOOR_RELEASE, FLOOR_REQUEST_ID, self.request)
    }

    fn say(&mut self, primitive: u8, attribute: u8, value: u16) -> Result<(), DemoError> {
        self.transactions += 1;
        // Version 1, one word of attributes; the attribute is mandatory.
        let mut message = vec![0x20, primitive, 0, 1];
        message.extend(self.conference.to_be_bytes());
        message.extend(self.transactions.to_be_bytes());
        message.extend(self.user.to_be_bytes());
        message.extend([attribute << 1 | 1, 4]);
        message.extend(value.to_be_bytes());
        let written = self.stream.write_all(&message);
        written.map_err(DemoError::doing("sending BFCP"))
    }

    /// Takes what came.
    pub(super) fn step(&mut self) -> Result<(), DemoError> {
        let mut bytes = [0; 2048];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(DemoError::unexpected("BFCP", "the end of the connection")),
            Ok(length) => self.input.extend(bytes.iter().take(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(DemoError::doing("BFCP")(error)),
        }
        while let [_, primitive, high, low, ..] = *self.input.as_slice() {
            let length = HEAD + 4 * usize::from(u16::from_be_bytes([high, low]));
            if self.input.len() < length {
                break;
            }
            let message: Vec<u8> = self.input.drain(..length).collect();
            self.take(primitive, message.get(HEAD..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn take(&mut self, primitive: u8, attributes: &[u8]) -> Result<(), DemoError> {
        if primitive == ERROR {
            let came = format!("an error: {attributes:?}");
            return Err(DemoError::unexpected("BFCP", &came));
        }
        let Some((request, status)) = status_of(attributes) else {
            return Ok(());
        };
        if primitive == FLOOR_REQUEST_STATUS {
            self.request = request;
            self.standing = match status {
                1 | 2 => Standing::Waits,
                3 => Standing::Holds,
                _ => Standing::None,
            };
            self.has_waited |= self.standing == Standing::Waits;
            self.has_held |= self.standing == Standing::Holds;
        }
        Ok(())
    }
}

/// Which request a message is about, and its status (RFC 8855 §5.2.5, §5.2.15, §5.2.18).
fn status_of(attributes: &[u8]) -> Option<(u16, u8)> {
    let (request, inside) = find(attributes, FLOOR_REQUEST_INFORMATION)?.split_first_chunk()?;
    let overall = find(inside, OVERALL_REQUEST_STATUS)?.get(2..)?;
    let status = find(overall, REQUEST_STATUS)?.first()?;
    Some((u16::from_be_bytes(*request), *status))
}

/// The content of the first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, length, ..] = attributes {
        let length = usize::from(*length).max(2);
        if kind >> 1 == wanted {
            return attributes.get(2..length);
        }
        // Attributes begin at whole words.
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn a_status_is_found_in_what_it_is_about() {
        let message = [31, 16, 0, 7, 37, 8, 0, 7, 11, 4, 3, 0, 35, 4, 0, 1];
        assert_eq!(status_of(&message), Some((7, 3)));
        assert_eq!(status_of(&message[..8]), None);
        assert_eq!(status_of(&[5, 4, 0, 1]), None);
    }
}
