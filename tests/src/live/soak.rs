//! A big MSRP message through a slow reader: what the relay needs in memory.

use std::time::{Duration, Instant};

use crate::live::scene::{Chat, LONG, Scene};
use crate::peers::msrp::{Outgoing, Received};

/// What the relay needed.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident before the message, in KiB.
    pub before_kib: u64,
    /// Resident at most while it passed, in KiB.
    pub most_kib: u64,
    /// How long it took.
    pub took: Duration,
}

/// Sends a message of `bytes` in one chunk to a reader that takes `pace` bytes a second; `watch`
/// gets the bytes that have arrived and the memory now.
///
/// # Panics
///
/// The message isn't identical on the other side, or anything is left behind.
pub fn msrp(bytes: u64, pace: u64, mut watch: impl FnMut(u64, u64)) -> Memory {
    // The relay's pool is fixed, but the kernel gives its pages when they are first used: the first
    // message uses them all.
    const FIRST: u64 = 64 << 20;
    let mut scene = Scene::direct(|_| {});
    let (mut joined, chat) = Chat::call(&mut scene, None, Some(pace));
    chat.alice
        .send(&Outgoing::file(FIRST, 1, u64::MAX))
        .expect("the relay takes the message");
    assert_eq!(chat.bob.messages(1, LONG).len(), 1);
    let before_kib = scene.relay.process().resident_kib();
    let begin = Instant::now();
    let at_most = LONG + Duration::from_secs(bytes / pace.max(1) * 4);
    let most_kib = std::thread::scope(|scope| {
        let sender = scope.spawn(|| chat.alice.send(&Outgoing::file(bytes, 2, u64::MAX)));
        let mut most = before_kib;
        while chat.bob.body_bytes() < bytes + FIRST && begin.elapsed() < at_most {
            let now = scene.relay.process().resident_kib();
            most = most.max(now);
            watch(chat.bob.body_bytes().saturating_sub(FIRST), now);
            std::thread::sleep(Duration::from_millis(20));
            if chat.bob.is_closed(Duration::ZERO) {
                break;
            }
        }
        if chat.bob.is_closed(Duration::ZERO) {
            assert!(
                chat.alice.is_closed(LONG),
                "only one side of the session is closed"
            );
        }
        sender
            .join()
            .expect("the sender doesn't panic")
            .expect("the relay takes the message");
        most
    });
    let took = begin.elapsed();
    let messages = chat.bob.messages(2, LONG);
    assert!(
        messages.len() == 2 && messages.iter().all(Received::is_identical),
        "{messages:?}"
    );
    assert!(chat.alice.is_answered(LONG));
    chat.assert_clean();
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
    Memory {
        before_kib,
        most_kib,
        took,
    }
}
