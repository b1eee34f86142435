//! An MSRP peer written from RFC 4975: connects or listens, sends in chunks, answers, reassembles by
//! Byte-Range, reports; reads slowly when asked to.

mod reader;
mod relayed;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::peers::content::Coverage;
use crate::peers::{identifier, sdp, tls, web};

pub use relayed::Relayed;
pub use writer::Outgoing;

/// How fast a peer reads: bytes a second; `None`: as fast as it can.
pub type Pace = Option<u64>;

/// A message as far as it has arrived.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Its Message-ID.
    pub id: String,
    /// Its Content-Type.
    pub content_type: String,
    /// The bytes that have arrived.
    pub coverage: Coverage,
    /// The length, known from a chunk's range or from the last chunk.
    pub total: Option<u64>,
    /// The chunk that ends with `$` has arrived.
    pub finished: bool,
    /// The sender gave up (`#`).
    pub aborted: bool,
    /// Chunks that it came in.
    pub chunks: u64,
    /// The first byte that isn't the content that the Content-Type's seed says.
    pub first_wrong: Option<u64>,
    /// The text, for messages without a seed (at most 64 KiB).
    pub text: Vec<u8>,
}

impl Received {
    /// Says whether all bytes have arrived and are what was sent.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        let whole = self
            .total
            .is_some_and(|total| self.coverage.is_whole(total));
        whole && self.finished && !self.aborted && self.first_wrong.is_none()
    }
}

/// A REPORT that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The message it is about.
    pub message_id: String,
    /// The code in `Status: 000 code`.
    pub status: u16,
    /// Its Byte-Range.
    pub range: String,
}

/// All that a connection has seen.
#[derive(Debug, Default)]
struct Seen {
    messages: BTreeMap<String, Received>,
    bodiless: u64,
    open: BTreeSet<String>,
    answered: u64,
    refused: Vec<u16>,
    reports: Vec<Report>,
    problems: Vec<String>,
    body_bytes: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    own: String,
    remote: String,
    seen: Mutex<Seen>,
    news: Condvar,
    writer: Mutex<TcpStream>,
    /// Answers and reports that wait for a sender to let go of the stream.
    pending: Mutex<Vec<u8>>,
    /// It takes nothing from the kernel now.
    stopped: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listening peer: its path is known before anybody connects, as an answer's SDP needs it.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    path: String,
}

impl Listener {
    /// Listens on a port that the kernel picks.
    ///
    /// # Panics
    ///
    /// `ip` isn't one of this host.
    #[must_use]
    pub fn bind(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a TCP port is free");
        let address = listener.local_addr().expect("the socket is bound");
        Self {
            listener,
            path: path(address),
        }
    }

    /// The same with a path for TLS.
    #[must_use]
    pub fn bind_tls(ip: IpAddr) -> Self {
        let listener = Self::bind(ip);
        Self {
            path: listener.path.replace("msrp:", "msrps:"),
            ..listener
        }
    }

    /// The own path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes the first connection, over TLS; and whose certificate is shown.
    ///
    /// # Errors
    ///
    /// Nobody connects within `at_most`, or the handshake fails.
    pub fn accept_tls(
        &self,
        remote: &str,
        own: &tls::Identity,
        at_most: Duration,
    ) -> io::Result<(Peer, Option<String>)> {
        let secured = tls::server(self.stream(at_most)?, own)?;
        let peer = Peer::new(secured.plain, &self.path, remote, None)?;
        Ok((peer, secured.far))
    }

    /// Takes the first connection.
    ///
    /// # Errors
    ///
    /// Nobody connects within `at_most`.
    pub fn accept(&self, remote: &str, pace: Pace, at_most: Duration) -> io::Result<Peer> {
        Peer::new(self.stream(at_most)?, &self.path, remote, pace)
    }

    fn stream(&self, at_most: Duration) -> io::Result<TcpStream> {
        self.listener.set_nonblocking(true)?;
        let end = Instant::now() + at_most;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// A new path at `address` with a session-id that nobody can guess (RFC 4975 §14).
#[must_use]
pub fn path(address: SocketAddr) -> String {
    format!("msrp://{address}/{};tcp", identifier())
}

/// One session on one connection.
#[derive(Debug)]
pub struct Peer {
    shared: Arc<Shared>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Connects to the address in the path `remote`.
    ///
    /// # Errors
    ///
    /// The path has no address or nobody listens there.
    pub fn connect(own: &str, remote: &str, pace: Pace) -> io::Result<Self> {
        let address = sdp::path_address(remote)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address in the path"))?;
        Self::connect_to(address, own, remote, pace)
    }

    /// Connects to `address`, whatever the path says (CEMA, RFC 6714).
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect_to(
        address: SocketAddr,
        own: &str,
        remote: &str,
        pace: Pace,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        Self::new(stream, own, remote, pace)
    }

    /// Connects to `address` with a WebSocket; over TLS where there is an identity.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or a handshake fails.
    pub fn connect_web(
        address: SocketAddr,
        (own, remote): (&str, &str),
        identity: Option<&tls::Identity>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        if let Some(identity) = identity {
            stream = tls::client(stream, identity)?.plain;
        }
        Self::new(web::client(stream)?, own, remote, None)
    }

    /// Connects to `address` over TLS; and whose certificate is shown.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or the handshake fails.
    pub fn connect_tls(
        address: SocketAddr,
        (own, remote): (&str, &str),
        identity: &tls::Identity,
    ) -> io::Result<(Self, Option<String>)> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        let secured = tls::client(stream, identity)?;
        Ok((Self::new(secured.plain, own, remote, None)?, secured.far))
    }

    fn new(stream: TcpStream, own: &str, remote: &str, pace: Pace) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let shared = Arc::new(Shared {
            own: own.to_owned(),
            remote: remote.to_owned(),
            seen: Mutex::new(Seen::default()),
            news: Condvar::new(),
            writer: Mutex::new(stream.try_clone()?),
            pending: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
        });
        let (source, inside) = (stream.try_clone()?, Arc::clone(&shared));
        let thread = std::thread::spawn(move || reader::run(source, &inside, pace));
        Ok(Self {
            shared,
            stream,
            thread: Some(thread),
        })
    }

    /// Binds the session to the connection: a SEND without a body, which the active side owes
    /// (RFC 4975 §5.4). Waits for its answer.
    ///
    /// # Errors
    ///
    /// The connection failed or no 200 came within 20 s.
    pub fn bind(&self) -> io::Result<()> {
        writer::bodiless(&self.shared)?;
        if self.is_answered(Duration::from_secs(20)) && self.refused().is_empty() {
            return Ok(());
        }
        let seen = format!("the bind was not answered with 200: {:?}", self.refused());
        Err(io::Error::other(seen))
    }

    /// Sends a message in chunks; answers are gathered meanwhile. Returns its Message-ID.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn send(&self, message: &Outgoing) -> io::Result<String> {
        writer::send(&self.shared, message)
    }

    /// Asks for a nickname in a chat room; the answer counts as any other.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn nickname(&self, name: &str) -> io::Result<()> {
        writer::nickname(&self.shared, name)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn throw(&self, bytes: &[u8]) -> io::Result<()> {
        writer::raw(&self.shared, bytes)
    }

    /// The own path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.shared.own
    }

    /// Stops reading, or goes on.
    pub fn stop(&self, is_stopped: bool) {
        self.shared.stopped.store(is_stopped, Ordering::Relaxed);
    }

    /// Waits until every request that waits for an answer has one.
    #[must_use]
    pub fn is_answered(&self, at_most: Duration) -> bool {
        self.wait(at_most, |seen| seen.open.is_empty())
    }

    /// Waits until `count` messages have ended, and hands over all.
    #[must_use]
    pub fn messages(&self, count: usize, at_most: Duration) -> Vec<Received> {
        let ended = |message: &&Received| {
            message.aborted
                || (message.finished
                    && message
                        .total
                        .is_some_and(|total| message.coverage.is_whole(total)))
        };
        let _in_time = self.wait(at_most, |seen| {
            seen.messages.values().filter(ended).count() >= count
        });
        self.shared.seen().messages.values().cloned().collect()
    }

    /// Waits for `count` reports, and hands over all.
    #[must_use]
    pub fn reports(&self, count: usize, at_most: Duration) -> Vec<Report> {
        let _in_time = self.wait(at_most, |seen| seen.reports.len() >= count);
        self.shared.seen().reports.clone()
    }

    /// Waits until the other side has closed the connection.
    #[must_use]
    pub fn is_closed(&self, at_most: Duration) -> bool {
        self.wait(at_most, |seen| seen.closed)
    }

    /// Answers other than 200.
    #[must_use]
    pub fn refused(&self) -> Vec<u16> {
        self.shared.seen().refused.clone()
    }

    /// Answers with 200.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.seen().answered
    }

    /// SENDs without a body that arrived.
    #[must_use]
    pub fn bodiless(&self) -> u64 {
        self.shared.seen().bodiless
    }

    /// Body bytes that arrived.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.shared.seen().body_bytes
    }

    /// What the other side did against RFC 4975.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.shared.seen().problems.clone()
    }

    fn wait(&self, at_most: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.shared.seen();
        let (seen, _) = self
            .shared
            .news
            .wait_timeout_while(seen, at_most, |seen| !holds(seen))
            .unwrap_or_else(PoisonError::into_inner);
        holds(&seen)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop(false);
        let _gone = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
