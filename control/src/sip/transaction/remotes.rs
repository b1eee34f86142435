//! Which client transactions were sent where: they fail with their way.

use std::net::SocketAddr;
use std::time::Instant;

use super::{ClientKey, Transactions};
use crate::sip::Flow;

impl Transactions {
    /// Ends the client transactions that were sent there and have heard nothing yet. Whoever has
    /// heard a provisional response goes on, as more may come by another connection.
    pub fn handle_transport_error(&mut self, _now: Instant, flow: Flow) {
        let Some(keys) = self.by_remote.remove(&flow.remote) else {
            return;
        };
        let mut kept = Vec::new();
        for key in keys {
            let Some(client) = self.clients.get(key.0) else {
                continue;
            };
            let other_way = client.flow.protocol != flow.protocol
                || (client.flow.connection != 0
                    && flow.connection != 0
                    && client.flow.connection != flow.connection);
            if other_way || !client.is_unanswered() {
                kept.push(key);
                continue;
            }
            client.fail(&mut self.out);
            self.clients.remove(key.0);
        }
        if !kept.is_empty() {
            self.by_remote.insert(flow.remote, kept);
        }
    }

    /// Lists grow to twice what is alive before they are swept, so a sweep costs little per request.
    pub(super) fn remember_remote(&mut self, remote: SocketAddr, key: ClientKey) {
        let clients = &self.clients;
        let list = self.by_remote.entry(remote).or_default();
        if list.len() == list.capacity() {
            list.retain(|key| clients.get(key.0).is_some());
            list.reserve(list.len() + 1);
        }
        list.push(key);
        if self.by_remote.len() > self.remotes_max {
            self.by_remote.retain(|_, keys| {
                keys.retain(|key| clients.get(key.0).is_some());
                !keys.is_empty()
            });
            self.remotes_max = (self.by_remote.len() * 2).max(64);
        }
    }
}
