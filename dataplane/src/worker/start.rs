//! Starting the workers: a thread each, pinned, with its own backend and frames.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::api::{BackendKind, Config, ControlEnd, Doorbell, MsrpListen, WorkerEnd, ring_pair};
use crate::frame::Pool;
use crate::limits::{LOADED_ITEMS, SPIN_CYCLES};
use crate::net::mmsg::Mmsg;
use crate::net::uring::Uring;
use crate::net::{Backend, sys};
use crate::stats::Board;

use super::{Setup, Worker};

/// A started worker, as control sees it.
#[derive(Debug)]
pub struct Handle {
    /// Orders and news.
    pub link: ControlEnd,
    /// Its counters.
    pub board: Board,
    /// Where it listens for MSRP, one listener for each address and transport.
    pub msrp_listen: Vec<MsrpListen>,
    /// How it talks to the kernel; never `Auto`.
    pub backend: BackendKind,
    /// Its thread.
    pub thread: JoinHandle<()>,
}

/// Starts the workers; they end when their [`Handle::link`] is dropped.
///
/// # Errors
///
/// When a socket or a thread can't be made; the workers that were started have ended then.
pub fn start(config: &Config, control_bell: &Doorbell) -> io::Result<Vec<Handle>> {
    sys::raise_descriptor_limit();
    let mut handles = Vec::with_capacity(config.workers);
    for number in 0..config.workers {
        match start_one(config, number, control_bell) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                handles.into_iter().for_each(end);
                return Err(error);
            }
        }
    }
    Ok(handles)
}

fn end(handle: Handle) {
    let Handle { link, thread, .. } = handle;
    drop(link);
    // A worker that panicked has ended, which is all that is wanted of it.
    let _ = thread.join();
}

/// What a worker says once it runs.
struct Started {
    msrp_listen: Vec<MsrpListen>,
    backend: BackendKind,
}

/// Starts one worker: at first, or in the place of one that has ended.
///
/// # Errors
///
/// As for [`start`].
pub fn start_one(config: &Config, number: usize, control_bell: &Doorbell) -> io::Result<Handle> {
    start_with(config, number, control_bell, Birth::live)
}

/// Starts a worker whose thread makes its backend by `live`.
pub(super) fn start_with(
    config: &Config,
    number: usize,
    control_bell: &Doorbell,
    live: fn(Birth),
) -> io::Result<Handle> {
    let (link, worker_end) = ring_pair(control_bell)?;
    let board = Board::default();
    let (say, hear) = mpsc::sync_channel(1);
    let birth = Birth {
        config: config.clone(),
        number,
        link: worker_end,
        board: board.clone(),
        say,
    };
    let bell = control_bell.clone();
    let name = format!("worker-{number}");
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let _last = LastRing(bell);
        live(birth);
    })?;
    match hear.recv() {
        Ok(Ok(started)) => Ok(Handle {
            link,
            board,
            msrp_listen: started.msrp_listen,
            backend: started.backend,
            thread,
        }),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(io::Error::other("a worker ended while it was started")),
    }
}

/// Wakes control when a worker has ended and its link is abandoned, be it by a panic.
struct LastRing(Doorbell);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// What a worker's thread is given.
pub(super) struct Birth {
    pub(super) config: Config,
    number: usize,
    link: WorkerEnd,
    board: Board,
    say: mpsc::SyncSender<io::Result<Started>>,
}

impl Birth {
    fn live(self) {
        if let Some(first) = self.config.first_core
            && let Err(error) = sys::pin_to_core(first + self.number)
        {
            self.fail(error);
            return;
        }
        let bell = self.bell();
        let mut pool = Pool::new(self.config.pool);
        // io_uring's ring belongs to the thread that makes it, so it is made here.
        match choose(self.config.backend) {
            Ok(BackendKind::Uring) => match Uring::new(bell, &mut pool) {
                Ok(backend) => self.run(backend, pool, BackendKind::Uring),
                Err(error) => self.fail(error),
            },
            Ok(BackendKind::Epoll | BackendKind::Auto) => match Mmsg::new(bell) {
                Ok(backend) => self.run(backend, pool, BackendKind::Epoll),
                Err(error) => self.fail(error),
            },
            Err(error) => self.fail(error),
        }
    }

    /// What wakes its backend: readable when an order came while the worker slept.
    pub(super) fn bell(&self) -> RawFd {
        self.link.bell().as_raw_fd()
    }

    fn fail(&self, error: io::Error) {
        // Whoever started this thread waits for the answer; if it is gone, nobody needs it.
        let _ = self.say.send(Err(error));
    }

    pub(super) fn run<B: Backend>(self, backend: B, pool: Pool, kind: BackendKind) {
        let setup = Setup {
            config: &self.config,
            number: self.number,
            link: self.link,
            board: self.board,
        };
        match Worker::new(setup, backend, pool, clock()) {
            Ok(worker) => {
                let started = Started {
                    msrp_listen: worker.msrp_listen(),
                    backend: kind,
                };
                if self.say.send(Ok(started)).is_ok() {
                    work(worker);
                }
            }
            Err(error) => {
                let _ = self.say.send(Err(error));
            }
        }
    }
}

fn choose(kind: BackendKind) -> io::Result<BackendKind> {
    match kind {
        BackendKind::Epoll => Ok(BackendKind::Epoll),
        BackendKind::Uring => Uring::probe().map(|()| BackendKind::Uring),
        BackendKind::Auto => Ok(match Uring::probe() {
            Ok(()) => BackendKind::Uring,
            Err(_) => BackendKind::Epoll,
        }),
    }
}

/// Cycles until control is gone. Looks again a few times before it sleeps when it was loaded, as
/// the next packets are close then; else it sleeps at once, which is no sleep where something is
/// there, and leaves the core to others.
fn work<B: Backend>(mut worker: Worker<B>) {
    let mut patience = 0_u32;
    while !worker.link().is_abandoned() {
        let now = clock();
        let found = worker.cycle(now);
        if found >= LOADED_ITEMS {
            patience = SPIN_CYCLES;
        } else if patience > 0 {
            patience -= 1;
            std::hint::spin_loop();
        } else if worker.sleep(now).is_err() {
            // A wait that fails would spin for ever; without its backend a worker is of no use.
            break;
        }
    }
    worker.shut_down(clock());
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock, once a cycle"
)]
fn clock() -> Instant {
    Instant::now()
}
