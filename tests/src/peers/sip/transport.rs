//! One UDP socket, or TCP connections by their far end.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How a client talks.
#[derive(Debug)]
pub(super) enum Transport {
    Udp(UdpSocket),
    Tcp {
        listener: TcpListener,
        streams: Vec<Stream>,
    },
}

/// A connection and what has arrived on it.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TcpStream,
    far: SocketAddr,
    buffer: Vec<u8>,
}

impl Transport {
    pub(super) fn udp(ip: IpAddr) -> Self {
        Self::Udp(UdpSocket::bind((ip, 0)).expect("a UDP port is free"))
    }

    pub(super) fn tcp(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a TCP port is free");
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        Self::Tcp {
            listener,
            streams: Vec::new(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp { listener, .. } => listener.local_addr(),
        }
        .expect("the socket is bound")
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Udp(_) => "UDP",
            Self::Tcp { .. } => "TCP",
        }
    }

    pub(super) fn send(&mut self, text: &str, to: SocketAddr) {
        self.throw(text.as_bytes(), to);
    }

    pub(super) fn throw(&mut self, bytes: &[u8], to: SocketAddr) {
        match self {
            Self::Udp(socket) => {
                let _refused = socket.send_to(bytes, to);
            }
            Self::Tcp { streams, .. } => {
                let known = streams.iter().position(|stream| stream.far == to);
                let index = known.unwrap_or_else(|| {
                    streams.push(Stream::connect(to));
                    streams.len() - 1
                });
                let _closed = streams[index].stream.write_all(bytes);
            }
        }
    }

    /// The next whole message, if one comes in time, and the connection it came on.
    pub(super) fn receive(&mut self, at_most: Duration) -> Option<(String, Option<SocketAddr>)> {
        match self {
            Self::Udp(socket) => {
                let at_most = at_most.max(Duration::from_millis(1));
                socket
                    .set_read_timeout(Some(at_most))
                    .expect("a timeout can be set");
                let mut bytes = vec![0; 65_536];
                let (length, _) = socket.recv_from(&mut bytes).ok()?;
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                (!text.trim().is_empty()).then_some((text, None))
            }
            Self::Tcp { listener, streams } => {
                let end = Instant::now() + at_most;
                loop {
                    if let Ok((stream, far)) = listener.accept() {
                        streams.push(Stream::new(stream, far));
                    }
                    for stream in streams.iter_mut() {
                        if let Some(text) = stream.message() {
                            return Some((text, Some(stream.far)));
                        }
                    }
                    if Instant::now() >= end {
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

impl Stream {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5));
        Self::new(
            stream.unwrap_or_else(|error| panic!("can't connect to {to}: {error}")),
            to,
        )
    }

    fn new(stream: TcpStream, far: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("an option can be set");
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a timeout can be set");
        Self {
            stream,
            far,
            buffer: Vec::new(),
        }
    }

    /// RFC 3261 §18.3: Content-Length frames a message on a stream.
    fn message(&mut self) -> Option<String> {
        let mut bytes = [0; 16_384];
        if let Ok(length @ 1..) = self.stream.read(&mut bytes) {
            self.buffer.extend_from_slice(&bytes[..length]);
        }
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.drain(..2);
        }
        let text = String::from_utf8_lossy(&self.buffer);
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let length: usize = head
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| {
                matches!(
                    name.trim().to_ascii_lowercase().as_str(),
                    "content-length" | "l"
                )
            })
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no Content-Length on a stream:\n{head}"));
        if rest.len() < length {
            return None;
        }
        let whole = head.len() + 4 + length;
        let message: Vec<u8> = self.buffer.drain(..whole).collect();
        Some(String::from_utf8_lossy(&message).into_owned())
    }
}
