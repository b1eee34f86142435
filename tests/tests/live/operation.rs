//! Starting, checking, draining; memory while a big message passes.

use std::time::Duration;

use tests::live::process::Folder;
use tests::live::relay::{self, Relay};
use tests::live::scene::{LONG, Scene};
use tests::live::soak::{self, Slow};

#[test]
fn check_explains_an_error_with_its_line() {
    let folder = Folder::new("check");
    let file = folder.path().join("midpath.toml");
    std::fs::write(&file, "[sip]\nrole = \"originating\"\nt1_ms = \"soon\"\n").unwrap();
    let (status, text) = relay::run(&["check", &file.to_string_lossy()]);
    assert!(!status.success());
    assert!(text.contains('3') && text.contains("t1_ms"), "{text}");
    std::fs::write(&file, "[sip]\nt1_ms = 400\n").unwrap();
    let (status, text) = relay::run(&["check", &file.to_string_lossy()]);
    assert!(status.success(), "{text}");
}

#[test]
fn check_names_the_line_of_an_unknown_setting() {
    let folder = Folder::new("check");
    let file = folder.path().join("midpath.toml");
    std::fs::write(&file, "[media]\nworkers = 1\n\nworker = 2\n").unwrap();
    let (status, text) = relay::run(&["check", &file.to_string_lossy()]);
    assert!(!status.success());
    assert!(text.contains("worker") && text.contains('4'), "{text}");
}

#[test]
fn the_printed_settings_are_a_valid_file() {
    let folder = Folder::new("check");
    let (status, text) = relay::run(&["config"]);
    assert!(status.success());
    let file = folder.path().join("midpath.toml");
    std::fs::write(&file, text).unwrap();
    let (status, text) = relay::run(&["check", &file.to_string_lossy()]);
    assert!(status.success(), "{text}");
}

#[test]
fn sigterm_ends_an_idle_relay_with_status_0() {
    let status = Relay::start().stop();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

/// Waits until a relay says that it drains.
fn drains(relay: &Relay) {
    let is_so = || relay.health().is_some_and(|(status, _)| status == 503);
    let drains = tests::live::eventually(LONG, is_so);
    assert!(drains, "/health doesn't say that it drains");
}

#[test]
fn a_draining_relay_finishes_its_calls_and_takes_no_more() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = scene.audio_call();
    assert!(a.hears(5, LONG) && b.hears(5, LONG));
    scene.relay.process().signal("TERM");
    drains(&scene.relay);
    let call = scene
        .alice
        .invite(&scene.target, &scene.offer().audio(9000).text());
    assert_eq!(call.failed(&mut scene.alice).code(), Some(503));
    let so_far = b.record().heard.len();
    assert!(b.hears(so_far + 25, LONG), "the call doesn't go on");
    scene.alice_hangs_up(&mut joined);
    let status = scene.relay.process_mut().wait(Duration::from_secs(20));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn a_second_sigterm_ends_the_relay_at_once() {
    let mut scene = Scene::direct(|_| {});
    let (_joined, a, _b) = scene.audio_call();
    assert!(a.hears(5, LONG));
    scene.relay.process().signal("TERM");
    let gone = scene.relay.process_mut().wait(Duration::from_millis(500));
    assert!(gone.is_none(), "it doesn't wait for its call: {gone:?}");
    // Two of them that wait are one to a process.
    drains(&scene.relay);
    scene.relay.process().signal("TERM");
    assert!(
        scene
            .relay
            .process_mut()
            .wait(Duration::from_secs(5))
            .is_some()
    );
}

#[test]
fn a_big_message_passes_a_reader_that_stops_in_constant_memory() {
    // `cargo x soak msrp` sends 4 GiB to one that stops for a minute.
    let slow = Slow {
        bytes: 64 << 20,
        pace: 64 << 20,
        stop: Duration::from_secs(2),
    };
    let memory = soak::msrp(slow, |_, _| {});
    println!("{memory:?}");
    let needed = memory.most_kib - memory.before_kib;
    assert!(needed < 8 * 1024, "the relay needed {needed} KiB more");
}

#[test]
fn an_idle_session_needs_little() {
    // `cargo x soak msrp --idle 10000` takes ten times as many.
    let idle = soak::idle(1000, Duration::ZERO, |_, _| {});
    println!("{idle:?}");
    assert!(
        idle.bound_bytes() <= 4096,
        "{} bytes each",
        idle.bound_bytes()
    );
}
