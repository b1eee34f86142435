//! `midpath demo group`, as people run it: its own process, judged by what it says and how it ends.

use serde_json::Value;
use tests::live::relay;

/// Who of five has what, by place.
fn figures(of: &Value) -> Vec<u64> {
    let list = of.as_array().unwrap();
    list.iter().map(|one| one.as_u64().unwrap()).collect()
}

#[test]
fn upl_11_five_in_a_group_hear_see_and_read_each_other_and_the_demo_ends_well() {
    let (status, text) = relay::run(&["demo", "group", "--seconds", "10", "--json"]);
    assert!(status.success(), "{status}: {text}");
    let report: Value = serde_json::from_str(text.trim()).unwrap();
    let everybody = report["everybody"].as_array().unwrap();
    assert_eq!(everybody.len(), 5);
    assert_eq!(report["records"].as_array().unwrap().len(), 5);
    let codecs: Vec<&Value> = everybody.iter().map(|one| &one["codec"]).collect();
    assert!(codecs.iter().any(|codec| *codec == "PCMU"), "{codecs:?}");
    assert!(codecs.iter().any(|codec| *codec == "PCMA"), "{codecs:?}");
    for (number, one) in everybody.iter().enumerate() {
        let (heard, seen, read) = (
            figures(&one["heard"]),
            figures(&one["seen"]),
            figures(&one["read"]),
        );
        let packets = one["packets"].as_u64().unwrap();
        assert!(packets > 300, "50 a second for 10 s: {one:#}");
        for other in 0..5 {
            let is_own = other == number;
            assert_eq!(
                heard[other] * 2 > packets,
                !is_own,
                "{number}, {other}: {one:#}"
            );
            assert_eq!(read[other] > 0, !is_own, "{number}, {other}: {one:#}");
            // Alice and Bob have cameras, and both had the floor.
            let is_shown = other < 2 && !is_own;
            assert_eq!(seen[other] > 0, is_shown, "{number}, {other}: {one:#}");
        }
        assert_eq!(one["broken"], 0, "{one:#}");
    }
    assert_eq!(everybody[0]["floor"], serde_json::json!([false, true]));
    assert_eq!(
        everybody[1]["floor"],
        serde_json::json!([true, true]),
        "Bob waits"
    );
}

#[test]
fn the_group_demo_shows_a_table_and_a_verdict_to_people() {
    let (status, text) = relay::run(&["demo", "group", "--seconds", "5"]);
    assert!(status.success(), "{status}: {text}");
    for shown in [
        "the floor of video: Alice",
        "the floor of video: Bob",
        "1 session, 5 participants",
        "HOLDS",
        "Carol",
        "says",
        "The relay wrote 5 records",
        "Everybody heard, saw and read all others, and nobody itself.",
    ] {
        assert!(text.contains(shown), "no {shown} in {text}");
    }
    let (status, text) = relay::run(&["demo", "group", "--help"]);
    assert!(status.success());
    assert!(
        text.contains("exit code 0") && text.contains("--seconds"),
        "{text}"
    );
}
