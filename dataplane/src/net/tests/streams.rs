//! Scenes of connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::super::{RxItem, SocketId, Token, TxItem};
use super::{MARK, Make, Rig, V4, panic_on};
use crate::frame::Class;
use crate::limits::STREAM_QUEUE_HIGH_BYTES;

pub(super) fn a_connection_is_accepted_read_and_written(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(b"MSRP in").unwrap();
    let (socket, token, frame) = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Bytes {
            socket,
            token,
            frame,
        }) => Some((socket, token, frame)),
        other => panic_on(other),
    });
    assert_eq!((socket, token), (near, Token(u64::from(near.0))));
    assert_eq!(rig.bytes_of(frame), b"MSRP in");
    rig.write(near, b"MSRP out");
    rig.settle();
    let mut bytes = [0; 8];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"MSRP out");
    assert_eq!(rig.backend.queued(near), 0);
}

pub(super) fn a_connection_is_made_and_what_was_sent_before_arrives(make: Make) {
    let mut rig = Rig::new(make);
    let listener = TcpListener::bind(V4).unwrap();
    let socket = rig.connect(listener.local_addr().unwrap());
    rig.write(socket, b"early");
    rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Connected { socket: s, token }) => {
            assert_eq!((s, token), (socket, MARK));
            Some(())
        }
        other => panic_on(other),
    });
    let (mut far, _) = listener.accept().unwrap();
    rig.write(socket, b" late");
    rig.settle();
    let mut bytes = [0; 10];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early late");
    far.write_all(b"answer").unwrap();
    let frame = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Bytes { frame, .. }) => Some(frame),
        other => panic_on(other),
    });
    assert_eq!(rig.bytes_of(frame), b"answer");
}

pub(super) fn a_refused_connection_is_told_once(make: Make) {
    let mut rig = Rig::new(make);
    // A port that was just free and that nobody listens on.
    let nobody = TcpListener::bind(V4).unwrap().local_addr().unwrap();
    let socket = rig.connect(nobody);
    rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Closed { socket: s, token }) => {
            assert_eq!((s, token), (socket, MARK));
            Some(())
        }
        other => panic_on(other),
    });
    rig.write(socket, b"into the void");
    rig.settle();
    assert_eq!(rig.discard(), [""; 0]);
    rig.backend.close(socket, &mut rig.pool);
}

pub(super) fn an_end_is_told_once_after_the_last_bytes(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(b"last words").unwrap();
    drop(far);
    let mut seen = Vec::new();
    rig.until(|rig| {
        seen.extend(rig.discard());
        seen.contains(&"ended").then_some(())
    });
    rig.settle();
    seen.extend(rig.discard());
    assert_eq!(seen, ["bytes", "ended"]);
    rig.backend.close(near, &mut rig.pool);
}

pub(super) fn a_paused_connection_gives_one_more_frame_at_most(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(&[1; 100_000]).unwrap();
    rig.until(|rig| rig.discard().contains(&"bytes").then_some(()));
    rig.backend.pause(near);
    rig.settle();
    let after = rig.discard();
    assert!(after.len() <= 1, "{after:?}");
    rig.backend.resume(near);
    rig.until(|rig| rig.discard().contains(&"bytes").then_some(()));
}

pub(super) fn twenty_megabytes_pass_a_slow_reader_in_bounded_memory(make: Make) {
    const TOTAL: usize = 20 << 20;
    let mut rig = Rig::new(make);
    let (inward, mut source) = rig.pair();
    let (outward, mut sink) = rig.pair();
    source.set_nonblocking(true).unwrap();
    sink.set_nonblocking(true).unwrap();
    let pattern: Vec<u8> = (0..65_521_u32).map(|n| (n * 31 % 251) as u8).collect();
    let (mut written, mut read, mut paused, mut drained) = (0, 0, 0, 0);
    let (_, free_before) = rig.free();
    let mut free_least = usize::MAX;
    let mut buffer = vec![0; 48 * 1024];
    let mut idle = 0;
    while read < TOTAL {
        let at = written % pattern.len();
        let end = pattern.len().min(at + TOTAL - written);
        let count = source.write(&pattern[at..end]).unwrap_or(0);
        written += count;
        // The reader is slower than the source: it reads in every fourth round only.
        let mut got = 0;
        idle += 1;
        if idle % 4 == 0 {
            got = sink.read(&mut buffer).unwrap_or(0);
            for (n, byte) in buffer[..got].iter().enumerate() {
                assert_eq!(*byte, pattern[(read + n) % pattern.len()]);
            }
            read += got;
        }
        let received = rig.backend.receive(&mut rig.rx, &mut rig.pool);
        for item in std::mem::take(&mut rig.rx.items) {
            match item {
                RxItem::Bytes { socket, frame, .. } => {
                    assert_eq!(socket, inward);
                    rig.tx.items.push(TxItem::Bytes {
                        socket: outward,
                        frame,
                    });
                }
                RxItem::Drained { socket, .. } => {
                    assert_eq!(socket, outward);
                    drained += 1;
                    rig.backend.resume(inward);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        rig.send();
        if rig.backend.queued(outward) > STREAM_QUEUE_HIGH_BYTES && paused == drained {
            paused += 1;
            rig.backend.pause(inward);
        }
        free_least = free_least.min(rig.pool.free(Class::Stream));
        if count + got + received == 0 {
            rig.backend.wait(Duration::from_millis(1)).unwrap();
        }
    }
    assert!(paused > 0, "the reader was never slow");
    let used = free_before - free_least;
    assert!(used <= 24, "{used} frames for one slow reader");
}

pub(super) fn many_tiny_writes_arrive_whole(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    let mut said = Vec::new();
    for number in 0..5_000_u32 {
        let line = number.to_be_bytes();
        said.extend(line);
        let frame = rig.frame(Class::Datagram, &line);
        rig.tx.items.push(TxItem::Bytes {
            socket: near,
            frame,
        });
        if number % 100 == 99 {
            rig.send();
            rig.backend.receive(&mut rig.rx, &mut rig.pool);
        }
    }
    far.set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut heard: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    rig.until(|_| {
        if let Ok(count) = far.read(&mut buffer) {
            heard.extend(&buffer[..count]);
        }
        (heard.len() >= said.len()).then_some(())
    });
    assert!(heard == said, "the bytes differ");
    assert_eq!(rig.discard(), [""; 0]);
}

pub(super) fn a_queue_that_is_full_ends_the_connection(make: Make) {
    let mut rig = Rig::new(make);
    let (near, far) = rig.pair();
    let before = rig.free();
    // Nobody reads, and the owner does not heed how much waits.
    let mut closed = 0;
    for _ in 0..2_000 {
        rig.write(near, &[3; 16_384]);
        rig.backend.receive(&mut rig.rx, &mut rig.pool);
        closed += rig
            .discard()
            .iter()
            .filter(|name| **name == "closed")
            .count();
        if closed > 0 {
            break;
        }
    }
    rig.write(near, b"more");
    rig.settle();
    closed += rig.discard().len();
    assert_eq!(closed, 1);
    rig.backend.close(near, &mut rig.pool);
    drop(far);
    assert_eq!(rig.free(), before);
}

pub(super) fn closing_gives_back_the_frames_that_wait(make: Make) {
    let mut rig = Rig::new(make);
    let before = rig.free();
    let (near, far) = rig.pair();
    while rig.backend.queued(near) < STREAM_QUEUE_HIGH_BYTES {
        rig.write(near, &[5; 16_384]);
        rig.backend.receive(&mut rig.rx, &mut rig.pool);
    }
    rig.backend.close(near, &mut rig.pool);
    assert_eq!(rig.free(), before);
    drop(far);
}

pub(super) fn a_connection_can_be_closed_while_it_is_made_or_before_it_is_adopted(make: Make) {
    let mut rig = Rig::new(make);
    let before = rig.free();
    let listener = TcpListener::bind(V4).unwrap();
    let socket = rig.connect(listener.local_addr().unwrap());
    rig.write(socket, b"never read");
    rig.backend.close(socket, &mut rig.pool);

    let (listening, at) = rig.listen();
    let mut far = TcpStream::connect(at).unwrap();
    let near = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Accepted { socket, .. }) => Some(socket),
        other => panic_on(other),
    });
    far.write_all(b"never read").unwrap();
    rig.settle();
    rig.backend.close(near, &mut rig.pool);
    rig.backend.close(listening, &mut rig.pool);
    assert_eq!(rig.free(), before);
    // The far end sees an end, or a reset as its bytes were not read.
    assert!(!matches!(far.read(&mut [0; 1]), Ok(1)));
}

pub(super) fn a_connection_is_read_again_after_a_famine(make: Make) {
    let mut rig = Rig::with_pool(make, 64, 8);
    let (_, mut far) = rig.pair();
    let said: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
    far.set_nonblocking(true).unwrap();
    let mut written = far.write(&said).unwrap();
    // Nobody gives a frame back until there is none left.
    rig.until(|rig| {
        written += far.write(&said[written..]).unwrap_or(0);
        (rig.rx.starved > 0).then_some(())
    });
    let mut heard = Vec::new();
    rig.until(|rig| {
        written += far.write(&said[written..]).unwrap_or(0);
        for item in std::mem::take(&mut rig.rx.items) {
            let RxItem::Bytes { frame, .. } = item else {
                panic!("unexpected: {item:?}")
            };
            heard.extend(rig.bytes_of(frame));
        }
        (heard.len() == said.len()).then_some(())
    });
    assert!(heard == said, "the bytes differ");
}

pub(super) fn a_half_closed_connection_is_written_out_and_read_to_its_end(make: Make) {
    let mut rig = Rig::new(make);
    let before = rig.free();
    let (near, mut far) = rig.pair();
    let mut said = 0;
    while rig.backend.queued(near) < 50_000 {
        rig.write(near, &[5; 16_384]);
        said += 16_384;
        rig.backend.receive(&mut rig.rx, &mut rig.pool);
    }
    rig.backend.pause(near);
    far.write_all(&[1; 100_000]).unwrap();
    rig.backend.set_token(near, Token(99));
    rig.backend.shutdown(near);
    rig.write(near, b"too late");
    far.set_nonblocking(true).unwrap();
    let (mut heard, mut read, mut buffer) = (0, 0, vec![0; 65_536]);
    rig.until(|rig| {
        for item in std::mem::take(&mut rig.rx.items) {
            match item {
                RxItem::Bytes { frame, .. } => read += rig.bytes_of(frame).len(),
                RxItem::Drained { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        let mut ended = false;
        while let Ok(count) = far.read(&mut buffer) {
            heard += count;
            if count == 0 {
                ended = true;
                break;
            }
        }
        (ended && read == 100_000).then_some(())
    });
    assert_eq!(heard, said, "all, and nothing that was too late");
    drop(far);
    rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Closed { socket, token }) => {
            assert_eq!((socket, token), (near, Token(99)));
            Some(())
        }
        other => panic_on(other),
    });
    rig.backend.close(near, &mut rig.pool);
    assert_eq!(rig.free(), before);
}

pub(super) fn a_connection_that_broke_is_told_of_again_when_it_is_half_closed(make: Make) {
    let mut rig = Rig::new(make);
    let (near, far) = rig.pair();
    rig.write(near, b"never read");
    rig.settle();
    // What is not read makes it a reset (RFC 1122 §4.2.2.13).
    drop(far);
    for told in 0..2 {
        rig.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Closed { socket, .. }) => {
                assert_eq!(socket, near);
                Some(())
            }
            other => panic_on(other),
        });
        rig.settle();
        assert_eq!(rig.discard(), [""; 0], "told once each time");
        if told == 0 {
            rig.backend.shutdown(near);
        }
    }
}

pub(super) fn a_far_end_that_sends_no_more_is_told_once_and_written_to_still(make: Make) {
    let mut rig = Rig::new(make);
    let before = rig.free();
    let (near, mut far) = rig.pair();
    let mut said = fill(&mut rig, near);
    far.write_all(b"last words").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let mut seen = Vec::new();
    rig.until(|rig| {
        seen.extend(rig.discard());
        seen.contains(&"ended").then_some(())
    });
    assert_eq!(seen, ["bytes", "ended"]);
    assert!(rig.backend.queued(near) >= 50_000);
    rig.write(near, b"and more");
    said += 8;
    let heard = read_to_the_end(&mut rig, &mut far, said);
    assert_eq!(heard, (said, false), "all, and our half is open");
    assert!(rig.discard().iter().all(|seen| *seen == "drained"));
    rig.backend.shutdown(near);
    assert_eq!(read_to_the_end(&mut rig, &mut far, 1), (0, true));
    rig.until(|rig| rig.discard().contains(&"closed").then_some(()));
    rig.settle();
    assert_eq!(rig.discard(), [""; 0]);
    rig.backend.close(near, &mut rig.pool);
    assert_eq!(rig.free(), before);
}

pub(super) fn an_end_of_a_half_closed_connection_is_told_once_all_is_written(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    let said = fill(&mut rig, near);
    rig.backend.shutdown(near);
    far.shutdown(Shutdown::Write).unwrap();
    rig.settle();
    assert_eq!(rig.discard(), [""; 0], "not all is written");
    let heard = read_to_the_end(&mut rig, &mut far, usize::MAX);
    assert_eq!(heard, (said, true));
    rig.until(|rig| rig.discard().contains(&"closed").then_some(()));
}

/// Reads until so many octets came, or the end; says how many did, and whether the end did.
fn read_to_the_end(rig: &mut Rig, far: &mut TcpStream, most: usize) -> (usize, bool) {
    far.set_nonblocking(true).unwrap();
    let (mut heard, mut buffer) = (0, vec![0; 65_536]);
    // Items stay, for whoever asks next.
    rig.until(|_| {
        while let Ok(count) = far.read(&mut buffer) {
            heard += count;
            if count == 0 {
                return Some((heard, true));
            }
        }
        (heard >= most).then_some((heard, false))
    })
}

/// Writes until more waits than the kernels take; says how much was written.
fn fill(rig: &mut Rig, near: SocketId) -> usize {
    let (mut said, mut quiet) = (0, 0);
    while quiet < 5 {
        if rig.backend.queued(near) < 50_000 {
            rig.write(near, &[5; 16_384]);
            (said, quiet) = (said + 16_384, 0);
        }
        rig.settle();
        quiet += 1;
    }
    said
}
