use std::time::Duration;

use super::{Report, Show, play, scene};

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
