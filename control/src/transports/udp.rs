//! One UDP socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Incoming, TransportCounters, count};
use crate::limits::{SIP_MESSAGE_BYTES, SIP_SOCKET_BUFFER_BYTES};
use crate::sip::{Flow, Protocol};

/// Datagrams read before other tasks get their turn.
const BATCH: usize = 64;

/// A bound socket; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Udp {
    reader: Arc<UdpSocket>,
    /// The same socket for sending: tokio's would refuse to until its driver had seen it writable.
    writer: Arc<std::net::UdpSocket>,
    local: SocketAddr,
}

impl Udp {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The kernel gives what it allows; less is no reason not to start.
        let asked = [
            socket.set_recv_buffer_size(SIP_SOCKET_BUFFER_BYTES),
            socket.set_send_buffer_size(SIP_SOCKET_BUFFER_BYTES),
        ];
        for error in asked.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "socket buffer");
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let writer = std::net::UdpSocket::from(socket);
        let reader = UdpSocket::from_std(writer.try_clone()?)?;
        let local = reader.local_addr()?;
        Ok(Self {
            reader: Arc::new(reader),
            writer: Arc::new(writer),
            local,
        })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends without waiting.
    pub(super) fn send(&self, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
        self.writer.send_to(bytes, remote).map(|_| ())
    }

    /// Reads until the other end of the queue is gone.
    pub(super) async fn receive(
        self,
        queue: mpsc::Sender<Incoming>,
        counters: Arc<TransportCounters>,
    ) {
        let mut buffer = vec![0; SIP_MESSAGE_BYTES];
        while !queue.is_closed() {
            if let Err(error) = self.reader.readable().await {
                tracing::warn!(%error, local = %self.local, "SIP socket can't be read");
                return;
            }
            for _ in 0..BATCH {
                match self.reader.try_recv_from(&mut buffer) {
                    Ok((length, remote)) => {
                        count(&counters.packets_in);
                        let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or(&[]));
                        let local = self.local;
                        let flow = Flow {
                            protocol: Protocol::Udp,
                            local,
                            remote,
                            connection: 0,
                        };
                        if queue.try_send(Incoming::Packet { flow, bytes }).is_err() {
                            count(&counters.dropped_in);
                        }
                    }
                    // An error of an earlier send (ICMP) is reported here, and then reading goes on.
                    Err(_) => break,
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
