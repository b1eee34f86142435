//! Port blocks that tests in parallel processes don't share.
//!
//! A block is held by a lock on a file in the temp folder; the kernel drops the lock with the
//! process, so a killed test leaves nothing behind.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

/// Ports in one block.
const BLOCK: u16 = 400;
/// The first block starts here: above well-known servers, below the kernel's ephemeral range.
const FIRST: u16 = 10_000;
/// Blocks between `FIRST` and 32,000.
const BLOCKS: u16 = 55;

/// A block of ports that is ours until this value is dropped.
///
/// The first half is handed out one by one, the second half is for one relay's media.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    next: u16,
    _lock: File,
}

impl Ports {
    /// Takes a free block.
    ///
    /// # Panics
    ///
    /// All blocks are taken or the temp folder can't be written.
    #[must_use]
    pub fn take() -> Self {
        let folder = std::env::temp_dir().join("midpath-live-ports");
        std::fs::create_dir_all(&folder).expect("the temp folder can be written");
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for step in 0..BLOCKS {
            let block = (start + step) % BLOCKS;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(block.to_string()))
                .expect("a lock file can be opened");
            if file.try_lock().is_ok() {
                let first = FIRST + block * BLOCK;
                return Self {
                    first,
                    next: first,
                    _lock: file,
                };
            }
        }
        panic!("all {BLOCKS} port blocks are taken");
    }

    /// Hands out one port that neither UDP nor TCP uses.
    ///
    /// # Panics
    ///
    /// The first half of the block is used up.
    pub fn one(&mut self) -> u16 {
        while self.next < self.first + BLOCK / 2 {
            let port = self.next;
            self.next += 1;
            if is_free(port) {
                return port;
            }
        }
        panic!("no free port left in the block at {}", self.first);
    }

    /// Hands out an even port whose successor is free as well (RTP and RTCP).
    ///
    /// # Panics
    ///
    /// The first half of the block is used up.
    pub fn pair(&mut self) -> u16 {
        loop {
            let port = self.one();
            if port.is_multiple_of(2) && is_free(port + 1) {
                self.next = port + 2;
                return port;
            }
        }
    }

    /// The first and last port of the half that belongs to a relay's media.
    #[must_use]
    pub const fn media(&self) -> (u16, u16) {
        (self.first + BLOCK / 2, self.first + BLOCK - 1)
    }
}

fn is_free(port: u16) -> bool {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    UdpSocket::bind((any, port)).is_ok() && TcpListener::bind((any, port)).is_ok()
}
