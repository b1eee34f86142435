//! The ring pair to each worker, in methods that read like English.

use std::collections::VecDeque;

use dataplane::api::{Event, Full, MsrpListen, Order};
use dataplane::stats::Stats;
use dataplane::worker::Handle;

/// The links to all workers.
pub struct Links {
    workers: Vec<Worker>,
}

struct Worker {
    handle: Handle,
    /// Orders that found the ring full; they go first.
    held: VecDeque<Box<Order>>,
    is_lost: bool,
    restarts: u64,
}

impl Links {
    /// Takes over started workers.
    #[must_use]
    pub fn new(handles: Vec<Handle>) -> Self {
        let worker = |handle| Worker {
            handle,
            held: VecDeque::new(),
            is_lost: false,
            restarts: 0,
        };
        Self {
            workers: handles.into_iter().map(worker).collect(),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Sends an order; one that finds the ring full is held back and sent when there is room.
    /// Orders held are bounded by the sessions there may be.
    pub fn order(&mut self, worker: usize, order: Box<Order>) {
        let Some(worker) = self.workers.get_mut(worker) else {
            return;
        };
        if !worker.held.is_empty() {
            worker.held.push_back(order);
        } else if let Err(Full(order)) = worker.handle.link.order(order) {
            worker.held.push_back(order);
        }
    }

    /// Sends what was held back, as far as there is room.
    pub fn flush(&mut self) {
        for worker in &mut self.workers {
            while let Some(order) = worker.held.pop_front() {
                if let Err(Full(order)) = worker.handle.link.order(order) {
                    worker.held.push_front(order);
                    break;
                }
            }
        }
    }

    /// Whether orders are held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.workers.iter().any(|worker| !worker.held.is_empty())
    }

    /// The next piece of news, and whose it is.
    pub fn news(&mut self) -> Option<(usize, Event)> {
        self.workers
            .iter_mut()
            .enumerate()
            .find_map(|(number, worker)| worker.handle.link.news().map(|event| (number, event)))
    }

    /// A worker that has ended since it was last asked.
    pub fn lost(&mut self) -> Option<usize> {
        let number = self
            .workers
            .iter()
            .position(|worker| !worker.is_lost && worker.handle.link.is_abandoned())?;
        let worker = self.workers.get_mut(number)?;
        worker.is_lost = true;
        worker.held.clear();
        Some(number)
    }

    /// Puts a worker in the place of one that was lost.
    pub fn replace(&mut self, number: usize, handle: Handle) {
        if let Some(worker) = self.workers.get_mut(number) {
            worker.handle = handle;
            worker.is_lost = false;
            worker.restarts += 1;
        }
    }

    /// What each worker last published.
    #[must_use]
    pub fn stats(&self) -> Vec<WorkerView> {
        let view = |worker: &Worker| WorkerView {
            stats: worker.handle.board.load(),
            backend: worker.handle.backend,
            is_alive: !worker.is_lost,
            restarts: worker.restarts,
            waiting: worker.handle.link.waiting() + worker.held.len(),
        };
        self.workers.iter().map(view).collect()
    }

    /// Where the workers listen for MSRP.
    pub fn msrp_listen(&self) -> impl Iterator<Item = MsrpListen> {
        let listeners = |worker: &Worker| worker.handle.msrp_listen.clone();
        self.workers.iter().flat_map(listeners)
    }

    /// Ends the workers and waits for their threads.
    pub fn end(self) {
        let mut threads = Vec::new();
        for worker in self.workers {
            let Handle { link, thread, .. } = worker.handle;
            drop(link);
            threads.push(thread);
        }
        for thread in threads {
            // A worker that panicked was counted as lost already.
            let _ = thread.join();
        }
    }
}

/// A worker, as the operator sees it.
#[derive(Debug, Clone, Copy)]
pub struct WorkerView {
    /// Its counters.
    pub stats: Stats,
    /// How it talks to the kernel.
    pub backend: dataplane::api::BackendKind,
    /// Its thread runs.
    pub is_alive: bool,
    /// Times it was started again.
    pub restarts: u64,
    /// Orders that wait for it.
    pub waiting: usize,
}
