//! Served users' preferences: asked for once, waited for briefly, kept for a while.

use std::sync::Arc;

use super::offers::{AUDIO, VIDEO, kinds, sdp};
use super::*;
use crate::cpm::policy::Streams;
use crate::cpm::preferences::Preferences;
use crate::engine::AskPreferences;

const WAIT: Duration = Duration::from_millis(300);
const FRESH: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    Bench::new(|settings| {
        settings.sessions_max = 100;
        settings.preferences = Some(AskPreferences {
            wait: WAIT,
            fresh: FRESH,
            users_max: 2,
        });
    })
}

/// An INVITE of a user with audio and video.
fn of(user: &str, branch: &str) -> String {
    with(
        &invite(branch, &sdp(1, &[AUDIO, VIDEO])),
        &format!("P-Asserted-Identity: <sip:{user}@home.example>\r\n"),
    )
    .replace("call-a", &format!("call-{branch}"))
}

fn audio_only() -> Arc<Preferences> {
    let streams = Streams {
        audio: true,
        ..Streams::NONE
    };
    let wish = Preferences {
        streams: Some(streams),
        ..Preferences::default()
    };
    Arc::new(wish)
}

fn tell(
    bench: &mut Bench,
    user: &str,
    wish: Option<Arc<Preferences>>,
) -> Vec<(SocketAddr, String)> {
    let address = format!("sip:{user}@home.example");
    bench.engine.handle_preferences(bench.now, &address, wish);
    bench.settle()
}

fn sent_on(sent: &[(SocketAddr, String)]) -> String {
    kinds(&only(sent, b()))
}

#[test]
fn an_invite_waits_for_the_preferences_of_a_user_of_whom_nothing_is_known() {
    let mut bench = bench();
    assert!(bench.give(a(), &of("alice", "1")).is_empty());
    assert!(bench.give(a(), &of("alice", "2")).is_empty());
    assert_eq!(bench.asked, ["sip:alice@home.example"], "once");
    let sent = tell(&mut bench, "alice", Some(audio_only()));
    let offers = sent.iter().filter(|(to, _)| *to == b());
    let offers: Vec<String> = offers.map(|(_, text)| kinds(text)).collect();
    assert_eq!(offers, ["audio (video)", "audio (video)"]);
    assert_eq!(
        sent_on(&bench.give(a(), &of("alice", "3"))),
        "audio (video)"
    );
    assert_eq!(bench.asked.len(), 1, "it is fresh");
}

#[test]
fn an_invite_goes_on_without_preferences_that_take_too_long_and_the_next_does_not_wait() {
    let mut bench = bench();
    bench.give(a(), &of("alice", "1"));
    let sent = bench.wait(WAIT);
    assert_eq!(sent_on(&sent), "audio video");
    assert_eq!(bench.engine.counters().preferences_late, 1);
    assert_eq!(sent_on(&bench.give(a(), &of("alice", "2"))), "audio video");
    assert_eq!(bench.asked.len(), 1, "it is still awaited");
    tell(&mut bench, "alice", Some(audio_only()));
    assert_eq!(
        sent_on(&bench.give(a(), &of("alice", "3"))),
        "audio (video)"
    );
}

#[test]
fn old_preferences_hold_while_they_are_asked_for_again_and_when_they_can_not_be_had() {
    let mut bench = bench();
    bench.give(a(), &of("alice", "1"));
    tell(&mut bench, "alice", Some(audio_only()));
    bench.wait(FRESH);
    assert_eq!(
        sent_on(&bench.give(a(), &of("alice", "2"))),
        "audio (video)"
    );
    assert_eq!(bench.asked.len(), 2);
    tell(&mut bench, "alice", None);
    assert_eq!(
        sent_on(&bench.give(a(), &of("alice", "3"))),
        "audio (video)"
    );
    assert_eq!(bench.asked.len(), 2, "not at once after a failure");
    bench.wait(Duration::from_secs(6));
    bench.give(a(), &of("alice", "4"));
    assert_eq!(bench.asked.len(), 3);
}

#[test]
fn an_invite_that_waits_can_be_cancelled() {
    let mut bench = bench();
    let text = of("alice", "1");
    bench.give(a(), &text);
    let cancel = text.replace("INVITE", "CANCEL");
    let cancel = format!("{}\r\n\r\n", cancel.split("\r\n\r\n").next().unwrap());
    let cancel = cancel.replace("Content-Type: application/sdp\r\n", "");
    let length = format!("Content-Length: {}", sdp(1, &[AUDIO, VIDEO]).len());
    let sent = bench.give(a(), &cancel.replace(&length, "Content-Length: 0"));
    let answers = sent.iter().map(|(_, text)| &text[..11]);
    let answers: Vec<&str> = answers.collect();
    assert!(
        answers.contains(&"SIP/2.0 487") && answers.contains(&"SIP/2.0 200"),
        "{sent:?}"
    );
    let sent = tell(&mut bench, "alice", Some(audio_only()));
    assert!(sent.is_empty(), "{sent:?}");
    bench.give(a(), &ack_of_failure().replace("call-a", "call-1"));
    bench.assert_nothing_left();
}

#[test]
fn only_so_many_users_are_remembered() {
    let mut bench = bench();
    for (branch, user) in [("1", "alice"), ("2", "bob"), ("3", "carol")] {
        bench.give(a(), &of(user, branch));
        tell(&mut bench, user, Some(audio_only()));
    }
    assert_eq!(
        sent_on(&bench.give(a(), &of("carol", "4"))),
        "audio (video)"
    );
    assert!(
        bench.give(a(), &of("alice", "5")).is_empty(),
        "asked for again"
    );
}
