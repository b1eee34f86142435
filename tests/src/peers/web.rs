//! A WebSocket as a browser's MSRP client uses it: one MSRP frame is one message (RFC 7977 §5).
//!
//! A thread stands between the socket and a plain stream, so that whatever talks MSRP over TCP
//! talks it over a WebSocket as well.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::tls::pair;

/// Opens a WebSocket over a connection; gives the stream that is carried by it.
///
/// # Errors
///
/// It isn't opened, or its subprotocol isn't `msrp`.
pub fn client(stream: TcpStream) -> io::Result<TcpStream> {
    let mut request = "ws://relay.example/"
        .into_client_request()
        .map_err(io::Error::other)?;
    let protocol = HeaderValue::from_static("msrp");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let (socket, response) = tungstenite::client(request, stream).map_err(|error| match error {
        HandshakeError::Failure(error) => io::Error::other(error),
        HandshakeError::Interrupted(_) => io::ErrorKind::TimedOut.into(),
    })?;
    if response.headers().get("Sec-WebSocket-Protocol") != Some(&HeaderValue::from_static("msrp")) {
        return Err(io::Error::other("another subprotocol than msrp"));
    }
    let (plain, inside) = pair()?;
    std::thread::spawn(move || {
        let mut bridge = Bridge {
            socket,
            inside,
            frames: Vec::new(),
            is_flushed: true,
        };
        let _ended = bridge.run();
        let _gone = bridge.inside.shutdown(Shutdown::Both);
        let _gone = bridge.socket.get_ref().shutdown(Shutdown::Both);
    });
    Ok(plain)
}

struct Bridge {
    socket: WebSocket<TcpStream>,
    inside: TcpStream,
    /// What came from inside and is no whole frame yet.
    frames: Vec<u8>,
    /// The socket has taken all messages.
    is_flushed: bool,
}

impl Bridge {
    fn run(&mut self) -> io::Result<()> {
        self.socket.get_ref().set_nonblocking(true)?;
        loop {
            let did = self.receive()? | self.send()?;
            if !did {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// Passes a message in, if there is one.
    fn receive(&mut self) -> io::Result<bool> {
        match self.socket.read() {
            Ok(Message::Binary(frame)) => {
                if frame_end(&frame) != Some(frame.len()) {
                    return Err(io::Error::other("a message isn't one whole frame"));
                }
                self.inside.set_nonblocking(false)?;
                self.inside.write_all(&frame)?;
                Ok(true)
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => Ok(true),
            Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Passes frames out, as long as the socket takes them.
    fn send(&mut self) -> io::Result<bool> {
        if !self.is_flushed {
            return self.flush();
        }
        let mut bytes = vec![0; 64 * 1024];
        self.inside.set_nonblocking(true)?;
        match self.inside.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.frames.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        while let Some(end) = frame_end(&self.frames) {
            let frame: Vec<u8> = self.frames.drain(..end).collect();
            let sent = self.socket.write(Message::Binary(frame.into()));
            unless_full(sent)?;
        }
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<bool> {
        self.is_flushed = unless_full(self.socket.flush())?;
        Ok(self.is_flushed)
    }
}

/// Whether the socket took it; `false`: it will.
fn unless_full(done: Result<(), Error>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Where the first frame ends: after the end line that has its transaction id (RFC 4975 §7.1).
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let tid = bytes.split(|byte| *byte == b' ').nth(1)?;
    let line = [b"\r\n-------", tid].concat();
    let mut from = 0;
    loop {
        let at = from
            + bytes
                .get(from..)?
                .windows(line.len())
                .position(|part| part == line)?;
        let tail = bytes.get(at + line.len()..at + line.len() + 3)?;
        if matches!(tail, [b'$' | b'+' | b'#', b'\r', b'\n']) {
            return Some(at + line.len() + 3);
        }
        from = at + 1;
    }
}
