use std::time::Duration;

use super::{Report, Show, play, play_group, scene};

#[test]
fn the_clients_understand_each_other_without_a_relay() {
    let mut looks = 0;
    let report = scene::play(None, Duration::from_secs(2), |played| {
        looks += 1;
        assert!(played.passed <= Duration::from_secs(3), "{played:?}");
    })
    .unwrap();
    assert_eq!(report.failure(), None, "{report}");
    assert!(looks >= 5, "{looks}");
    for voice in report.voice {
        assert!((80..=105).contains(&voice.sent), "{voice:?}");
        assert_eq!(voice.reports, 1);
    }
    assert!(report.chat.sent >= 20, "{:?}", report.chat);
    assert_eq!(report.file.received, 5 * 1024 * 1024);
}

#[test]
fn a_call_through_the_relay_loses_nothing_and_leaves_a_record() {
    let report = play(2, Show::Nothing).unwrap();
    assert_eq!(report.failure(), None, "{report}");
    let cdr = report.cdr.as_ref().unwrap();
    assert_eq!(cdr["mode"], "b2bua");
    assert_eq!(cdr["end"]["why"], "bye");
    let voice = &cdr["streams"][0];
    assert_eq!(voice["kind"], "audio");
    assert_eq!(voice["a"]["packets"], report.voice[0].received);
    assert_eq!(voice["b"]["packets"], report.voice[1].received);
}

#[test]
fn a_report_names_all_that_was_lost() {
    let mut report = scene::play(None, Duration::from_secs(1), |_| {}).unwrap();
    assert_eq!(report.failure(), None, "{report}");
    report.voice[1].received -= 1;
    report.chat.received = 0;
    report.file.intact = false;
    let failure = report.failure().unwrap();
    assert!(failure.contains("1 of Bob's"), "{failure}");
    assert!(failure.contains("chat"), "{failure}");
    assert!(failure.contains("damaged"), "{failure}");
    assert_shows_its_figures(&report);
}

fn assert_shows_its_figures(report: &Report) {
    let shown = report.to_string();
    for figure in ["p50", "p99", "added by the relay", "DAMAGED", "no record"] {
        assert!(shown.contains(figure), "no {figure} in {shown}");
    }
    let json = serde_json::to_value(report).unwrap();
    assert!(json["added"]["p50_us"].is_f64());
}

#[test]
fn five_participants_hear_see_and_read_all_others_and_never_themselves() {
    let report = play_group(10, Show::Nothing).unwrap();
    assert_eq!(report.failure(), None, "{report}");
    assert_eq!(report.everybody.len(), 5);
    let shown = report.to_string();
    assert!(shown.contains("Everybody heard"), "{shown}");
}

#[test]
fn a_group_report_names_who_missed_what() {
    let mut report = play_group(5, Show::Nothing).unwrap();
    report.everybody[2].heard[0] = 0;
    report.everybody[3].seen[1] = 0;
    report.everybody[4].read[1] -= 1;
    let failure = report.failure().unwrap();
    for missed in [
        "Carol hears Alice",
        "Dave doesn't see Bob",
        "Erin missed 1 messages of Bob",
    ] {
        assert!(failure.contains(missed), "no {missed} in {failure}");
    }
}
