//! Scenes of connections whose bytes go to another one within the kernel.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::super::{RxItem, SocketId, TxItem};
use super::{Make, Rig};
use crate::frame::Class;

/// Two connections of the backend's, of which the first passes on to the second, with their far
/// ends; none of them blocks.
struct Passage {
    rig: Rig,
    inward: SocketId,
    source: TcpStream,
    outward: SocketId,
    sink: TcpStream,
    /// Octets that went through frames, and that did not.
    framed: usize,
    passed: usize,
    ended: usize,
}

impl Passage {
    fn new(make: Make) -> Self {
        let mut rig = Rig::new(make);
        let (inward, source) = rig.pair();
        let (outward, sink) = rig.pair();
        source.set_nonblocking(true).unwrap();
        sink.set_nonblocking(true).unwrap();
        rig.backend.pass(inward, outward);
        rig.backend.pass(outward, inward);
        Self {
            rig,
            inward,
            source,
            outward,
            sink,
            framed: 0,
            passed: 0,
            ended: 0,
        }
    }

    /// What an owner does in a cycle: writes what came as frames, and counts.
    fn cycle(&mut self) {
        let rig = &mut self.rig;
        let received = rig.backend.receive(&mut rig.rx, &mut rig.pool);
        for item in std::mem::take(&mut rig.rx.items) {
            match item {
                RxItem::Bytes { socket, frame, .. } => {
                    assert_eq!(socket, self.inward);
                    self.framed += frame.len();
                    let socket = self.outward;
                    rig.tx.items.push(TxItem::Bytes { socket, frame });
                }
                RxItem::Passed { socket, octets, .. } => {
                    assert_eq!(socket, self.inward);
                    self.passed += octets;
                }
                RxItem::Ended { socket, .. } => {
                    assert_eq!(socket, self.inward);
                    self.ended += 1;
                }
                RxItem::Drained { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        rig.send();
        if received == 0 {
            rig.backend.wait(Duration::from_millis(1)).unwrap();
        }
    }

    /// Sends until nobody takes any more.
    fn fill(&mut self) -> usize {
        let (mut written, mut quiet) = (0, 0);
        while quiet < 50 {
            let count = self.source.write(&pattern(written)).unwrap_or(0);
            written += count;
            quiet = if count == 0 { quiet + 1 } else { 0 };
            self.cycle();
        }
        written
    }

    /// Reads what comes, which goes on at octet `from`; says how much that was and whether it ended.
    fn drain(&mut self, from: usize) -> (usize, bool) {
        let (mut read, mut buffer) = (0, vec![0; 48 * 1024]);
        while let Ok(count) = self.sink.read(&mut buffer) {
            if count == 0 {
                return (read, true);
            }
            for (n, byte) in buffer[..count].iter().enumerate() {
                assert_eq!(*byte, octet(from + read + n), "at {}", from + read + n);
            }
            read += count;
        }
        (read, false)
    }
}

/// The octet at a place of everything that is sent.
fn octet(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

/// What is sent from a place on.
fn pattern(from: usize) -> Vec<u8> {
    (from..from + 100_000).map(octet).collect()
}

pub(super) fn bytes_that_pass_arrive_whole_and_are_counted(make: Make) {
    const TOTAL: usize = 20 << 20;
    let mut passage = Passage::new(make);
    let (mut written, mut read, mut round) = (0, 0, 0);
    while read < TOTAL {
        let left = TOTAL - written;
        let next = pattern(written);
        let count = next.len().min(left);
        written += passage.source.write(&next[..count]).unwrap_or(0);
        passage.cycle();
        // Now the reader is slower than the source, now faster.
        round += 1;
        if round / 64 % 2 == 0 || round % 8 == 0 {
            read += passage.drain(read).0;
        }
    }
    assert_eq!(passage.framed + passage.passed, TOTAL);
    assert!(passage.passed > TOTAL / 4, "only {} passed", passage.passed);
    assert_eq!(passage.rig.backend.queued(passage.outward), 0);
}

pub(super) fn a_source_that_ends_leaves_what_waits_to_its_sink(make: Make) {
    let mut passage = Passage::new(make);
    let written = passage.fill();
    assert!(passage.passed > 0, "nothing passed");
    let (mut read, _) = passage.drain(0);
    passage.source.shutdown(std::net::Shutdown::Write).unwrap();
    while passage.ended == 0 {
        passage.cycle();
        read += passage.drain(read).0;
    }
    let (inward, outward) = (passage.inward, passage.outward);
    passage.rig.backend.close(inward, &mut passage.rig.pool);
    passage.rig.backend.shutdown(outward);
    let mut has_ended = false;
    while !has_ended {
        passage.cycle();
        let (count, ended) = passage.drain(read);
        read += count;
        has_ended = ended;
    }
    assert_eq!(read, written);
}

pub(super) fn a_source_is_read_again_when_its_sink_is_closed(make: Make) {
    let mut passage = Passage::new(make);
    let _written = passage.fill();
    assert!(passage.rig.backend.queued(passage.outward) > 0);
    let outward = passage.outward;
    passage.rig.backend.close(outward, &mut passage.rig.pool);
    let before = (passage.framed, passage.passed);
    passage.rig.until(|rig| {
        let came = rig.discard().contains(&"bytes");
        came.then_some(())
    });
    assert_eq!((passage.framed, passage.passed), before);
    let inward = passage.inward;
    passage.rig.backend.close(inward, &mut passage.rig.pool);
    assert!(passage.rig.pool.free(Class::Stream) > 0);
}

pub(super) fn a_paused_source_passes_nothing_on(make: Make) {
    let mut passage = Passage::new(make);
    for _ in 0..50 {
        let _written = passage.source.write(&pattern(0));
        passage.cycle();
        let mut buffer = vec![0; 200_000];
        let _read = passage.sink.read(&mut buffer);
    }
    passage.rig.backend.pause(passage.inward);
    for _ in 0..5 {
        passage.cycle();
    }
    let before = (passage.framed, passage.passed);
    for _ in 0..20 {
        let _written = passage.source.write(&pattern(0));
        passage.cycle();
    }
    assert_eq!((passage.framed, passage.passed), before);
}
