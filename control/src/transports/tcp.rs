//! TCP connections: accepted, made on demand, closed when idle.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Incoming, TransportCounters, count};
use crate::limits::{
    SIP_CONNECT_S, SIP_CONNECTION_IDLE_S, SIP_CONNECTION_QUEUE, SIP_CONNECTIONS, SIP_WRITE_S,
};
use crate::sip::stream::{Frame, StreamFramer};
use crate::sip::{Flow, Protocol, Transmit};

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// How long accepting rests after an error, such as no file descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

/// All TCP connections, by number and by remote address.
#[derive(Debug)]
pub(super) struct Connections {
    incoming: mpsc::Sender<Incoming>,
    counters: Arc<TransportCounters>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    by_number: HashMap<u64, Connection>,
    by_remote: HashMap<SocketAddr, u64>,
}

#[derive(Debug)]
struct Connection {
    queue: mpsc::Sender<Bytes>,
    flow: Flow,
}

/// A connection's own end of the table's entry.
struct Entry {
    flow: Flow,
    queue: mpsc::Receiver<Bytes>,
    /// For pongs; weak, so that the entry's removal ends the connection.
    pong: mpsc::WeakSender<Bytes>,
}

impl Connections {
    pub(super) fn new(incoming: mpsc::Sender<Incoming>, counters: Arc<TransportCounters>) -> Self {
        Self {
            incoming,
            counters,
            table: Mutex::new(Table::default()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table().by_number.len()
    }

    pub(super) fn close_all(&self) {
        let mut table = self.table();
        table.by_number.clear();
        table.by_remote.clear();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message on a connection, which is made if there is none.
    pub(super) fn send(self: &Arc<Self>, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        let queue = {
            let table = self.table();
            let by_number = table.by_number.get(&flow.connection);
            let by_remote = || {
                table
                    .by_remote
                    .get(&flow.remote)
                    .and_then(|at| table.by_number.get(at))
            };
            by_number
                .or_else(by_remote)
                .map(|connection| (connection.queue.clone(), connection.flow))
        };
        let (queue, flow) = match queue {
            Some(found) => found,
            None => match self.connect(flow) {
                Some(made) => made,
                None => {
                    count(&self.counters.dropped_out);
                    self.fail_now(flow);
                    return;
                }
            },
        };
        if queue.try_send(bytes).is_err() {
            // A stream with a hole is of no use: who doesn't read is cut off.
            count(&self.counters.dropped_out);
            self.remove(flow);
        }
    }

    fn connect(self: &Arc<Self>, flow: Flow) -> Option<(mpsc::Sender<Bytes>, Flow)> {
        let (entry, queue) = self.enter(flow)?;
        let flow = entry.flow;
        let this = self.clone();
        tokio::spawn(async move {
            match timeout(Duration::from_secs(SIP_CONNECT_S), open(flow)).await {
                Ok(Ok(stream)) => {
                    count(&this.counters.connected);
                    this.run(stream, entry).await;
                }
                Ok(Err(_)) | Err(_) => {
                    count(&this.counters.connect_failures);
                    this.end(flow).await;
                }
            }
        });
        Some((queue, flow))
    }

    /// Makes an entry, unless there are too many.
    fn enter(&self, mut flow: Flow) -> Option<(Entry, mpsc::Sender<Bytes>)> {
        let mut table = self.table();
        if table.by_number.len() >= SIP_CONNECTIONS {
            count(&self.counters.refused);
            return None;
        }
        table.last += 1;
        flow.connection = table.last;
        let (sender, queue) = mpsc::channel(SIP_CONNECTION_QUEUE);
        table.by_number.insert(
            flow.connection,
            Connection {
                queue: sender.clone(),
                flow,
            },
        );
        table.by_remote.insert(flow.remote, flow.connection);
        Some((
            Entry {
                flow,
                queue,
                pong: sender.downgrade(),
            },
            sender,
        ))
    }

    fn remove(&self, flow: Flow) {
        let mut table = self.table();
        table.by_number.remove(&flow.connection);
        if table.by_remote.get(&flow.remote) == Some(&flow.connection) {
            table.by_remote.remove(&flow.remote);
        }
    }

    fn fail_now(&self, flow: Flow) {
        if self.incoming.try_send(Incoming::Failed { flow }).is_err() {
            count(&self.counters.dropped_in);
        }
    }

    /// Reads and writes until one side ends it.
    async fn run(&self, stream: TcpStream, entry: Entry) {
        let Entry { flow, queue, pong } = entry;
        // Messages are written whole, so waiting to fill a segment only adds latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (read, write) = stream.into_split();
        tokio::select! {
            () = self.read(read, flow, pong) => {}
            () = write_all(write, queue) => {}
        }
        self.end(flow).await;
    }

    async fn end(&self, flow: Flow) {
        self.remove(flow);
        // The receiver is gone only when the relay ends.
        let _ended = self.incoming.send(Incoming::Failed { flow }).await;
    }

    async fn read(&self, mut read: OwnedReadHalf, flow: Flow, pong: mpsc::WeakSender<Bytes>) {
        let idle = Duration::from_secs(SIP_CONNECTION_IDLE_S);
        let mut framer = StreamFramer::default();
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            match timeout(idle, read.read_buf(&mut buffer)).await {
                Ok(Ok(length)) if length > 0 => {}
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            }
            framer.push(&buffer);
            buffer.clear();
            while let Some(frame) = framer.next() {
                match frame {
                    Ok(Frame::Message(bytes)) => {
                        count(&self.counters.packets_in);
                        // A full queue stops the reading, and so the far side.
                        if self
                            .incoming
                            .send(Incoming::Packet { flow, bytes })
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    Ok(Frame::Ping) => {
                        let sent = pong
                            .upgrade()
                            .map(|queue| queue.try_send(Bytes::from_static(b"\r\n")));
                        if !matches!(sent, Some(Ok(()))) {
                            return;
                        }
                    }
                    Err(_) => {
                        count(&self.counters.framing_errors);
                        return;
                    }
                }
            }
        }
    }
}

/// Connects from the listener's address, from a port that the kernel chooses.
async fn open(flow: Flow) -> io::Result<TcpStream> {
    let socket = if flow.remote.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if flow.local.is_ipv4() == flow.remote.is_ipv4() {
        socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    }
    socket.connect(flow.remote).await
}

async fn write_all(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = queue.recv().await {
        let limit = Duration::from_secs(SIP_WRITE_S);
        if !matches!(timeout(limit, write.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted relay must not wait for connections of its former life.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Accepts until the relay ends.
pub(super) async fn accept(
    listener: TcpListener,
    local: SocketAddr,
    connections: Arc<Connections>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let flow = Flow {
                    protocol: Protocol::Tcp,
                    local,
                    remote,
                    connection: 0,
                };
                let Some((entry, _)) = connections.enter(flow) else {
                    continue;
                };
                count(&connections.counters.accepted);
                let connections = connections.clone();
                tokio::spawn(async move { connections.run(stream, entry).await });
            }
            Err(error) => {
                tracing::warn!(%error, %local, "SIP connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
