//! A participant's messages: CPIM (RFC 3862) in MSRP, over a connection that it makes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::super::error::DemoError;
use super::super::msrp::{Frame, host_of, next_frame};
use super::super::{now, pause, random};
use super::{GROUP, NAMES, PATIENCE, SEATS, STEP};

/// One end of the chat.
#[derive(Debug)]
pub(super) struct Chat {
    stream: TcpStream,
    own: String,
    far: String,
    input: Vec<u8>,
    number: usize,
    /// Messages that were written.
    pub(super) sent: u64,
    /// Of those: answered with 200.
    pub(super) accepted: u64,
    /// Messages that were read of each one, in order.
    pub(super) read: [u64; SEATS],
    /// Messages that came twice, out of order, or in another one's name.
    pub(super) odd: u64,
    /// What was read last.
    pub(super) last: String,
}

impl Chat {
    /// Connects to the relay's path and binds the session to the connection (RFC 4975 §5.4); from
    /// then on it gets what others say.
    pub(super) fn join(number: usize, own: &str, far: &str) -> Result<Self, DemoError> {
        let stream = TcpStream::connect(host_of(far)?).map_err(DemoError::doing("MSRP"))?;
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_nonblocking(true));
        set.map_err(DemoError::doing("MSRP"))?;
        let mut chat = Self {
            stream,
            own: own.to_owned(),
            far: far.to_owned(),
            input: Vec::new(),
            number,
            sent: 0,
            accepted: 0,
            read: [0; SEATS],
            odd: 0,
            last: String::new(),
        };
        chat.send("", None)?;
        let until = now() + PATIENCE;
        while chat.accepted == 0 {
            if now() >= until {
                return Err(DemoError::late("the 200 that binds an MSRP session"));
            }
            pause(STEP);
            chat.step()?;
        }
        chat.accepted = 0;
        Ok(chat)
    }

    /// Writes the next message.
    pub(super) fn say(&mut self) -> Result<(), DemoError> {
        let (name, sent) = (NAMES[self.number], self.sent);
        let body = format!(
            "From: <sip:nobody@example.com>\r\nTo: <{GROUP}>\r\n\r\n\
             Content-Type: text/plain\r\n\r\n{name} says {sent}"
        );
        let length = body.len();
        let head = format!("Byte-Range: 1-{length}/{length}\r\nContent-Type: message/cpim\r\n");
        self.send(&head, Some(&body))?;
        self.sent += 1;
        Ok(())
    }

    fn send(&mut self, head: &str, body: Option<&str>) -> Result<(), DemoError> {
        let (id, message) = (format!("{:016x}", random()), random());
        let (to, from) = (&self.far, &self.own);
        let body = body.map_or_else(String::new, |body| format!("\r\n{body}\r\n"));
        self.write(&format!(
            "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {message:016x}\r\n\
             {head}{body}-------{id}$\r\n"
        ))
    }

    fn write(&mut self, text: &str) -> Result<(), DemoError> {
        let written = self.stream.write_all(text.as_bytes());
        written.map_err(DemoError::doing("sending MSRP"))
    }

    /// Takes what came.
    pub(super) fn step(&mut self) -> Result<(), DemoError> {
        let mut bytes = [0; 16_384];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(DemoError::unexpected("MSRP", "the end of the connection")),
            Ok(length) => self.input.extend(bytes.iter().take(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(DemoError::doing("MSRP")(error)),
        }
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        while let Some((frame, octets)) = next_frame(input.get(used..).unwrap_or_default()) {
            self.take(&frame)?;
            used += octets;
        }
        self.input = input.get(used..).unwrap_or_default().to_vec();
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), DemoError> {
        match frame.word {
            "SEND" => {
                let back = frame
                    .header("From-Path")
                    .split(' ')
                    .next()
                    .unwrap_or_default();
                let (id, own) = (frame.id, &self.own);
                let answer = format!(
                    "MSRP {id} 200 OK\r\nTo-Path: {back}\r\nFrom-Path: {own}\r\n-------{id}$\r\n"
                );
                self.write(&answer)?;
                if let Some(body) = frame.body {
                    self.read(&String::from_utf8_lossy(body));
                }
            }
            "REPORT" => self.odd += 1,
            word if word.starts_with("200") => self.accepted += 1,
            word => return Err(DemoError::unexpected("an MSRP 200", word)),
        }
        Ok(())
    }

    /// Reads a message; the relay says whose it is, whatever its writer said.
    fn read(&mut self, body: &str) {
        let from = body.lines().find_map(|line| line.strip_prefix("From:"));
        let text = body.rsplit("\r\n\r\n").next().unwrap_or_default();
        let whose = NAMES.iter().position(|name| text.starts_with(name));
        let (Some(whose), Some((_, count))) = (whose, text.rsplit_once(' ')) else {
            self.odd += 1;
            return;
        };
        let is_own_name = from.is_some_and(|from| {
            let user = format!("sip:{}@", NAMES[whose].to_lowercase());
            from.contains(&user)
        });
        if is_own_name && count.parse() == Ok(self.read[whose]) {
            self.read[whose] += 1;
            text.clone_into(&mut self.last);
        } else {
            self.odd += 1;
        }
    }

    /// Whether all that was written has its answer.
    pub(super) fn is_answered(&self) -> bool {
        self.accepted >= self.sent
    }

    /// Messages of all others together.
    pub(super) fn all_read(&self) -> u64 {
        self.read.iter().sum()
    }
}
