use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::tempdir;

use super::writer::{Book, line_of};
use super::{Cdr, CdrWriter, End, EndReason, EndedBy, History, Parties, Stamp, StreamRecord};
use crate::admin::{Mode, Traffic};
use crate::config;
use crate::config::{Role, StreamKind};

#[test]
fn a_record_is_one_line_of_json() {
    let expected = concat!(
        r#"{"session":7,"mode":"b2bua","role":"originating","#,
        r#""started":"2024-02-29T23:59:58.007Z","answered":"2024-02-29T23:59:59.007Z","#,
        r#""ended":"2024-03-01T00:01:00.507Z","setup_ms":1000,"duration_ms":61500,"#,
        r#""conversation_id":"c\n1","contribution_id":null,"call_ids":["x@a","y@relay"],"#,
        r#""served_user":"sip:alice@example","peer":"tel:+15551","#,
        r#""streams":[{"index":0,"kind":"audio","#,
        r#""a":{"packets":3,"bytes":516,"rtcp_packets":1,"lost":0,"dropped":0},"#,
        r#""b":{"packets":0,"bytes":0,"rtcp_packets":0,"lost":0,"dropped":0}}],"#,
        r#""history":{"state":"stored","uid":"17"},"#,
        r#""end":{"by":"a","why":"bye","code":200}}"#,
    );
    assert_eq!(line_of(&record(7)), expected);
}

#[test]
fn dates_are_right_at_the_edges() {
    for (seconds, shown) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (1_767_225_599, "2025-12-31T23:59:59.000Z"),
    ] {
        let stamp = Stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(stamp.to_string(), shown);
    }
}

#[test]
fn records_are_in_the_file_when_the_writer_has_finished() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("records");
    let writer = CdrWriter::open(&settings(&path, true)).unwrap();
    for session in 0..1000 {
        writer.write(record(session));
    }
    let counts = writer.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!((counts.written, counts.diverted), (1000, 0));
    let sessions: Vec<u64> = text.lines().map(session_in).collect();
    assert_eq!(sessions, (0..1000).collect::<Vec<_>>());
    assert!(text.contains("alice"));
}

#[test]
fn parties_are_left_out_where_the_settings_say_so() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("records");
    let writer = CdrWriter::open(&settings(&path, false)).unwrap();
    writer.write(record(1));
    writer.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"session\":1,"), "{text}");
    assert!(!text.contains("alice") && !text.contains("+1555"), "{text}");
}

#[test]
fn a_file_that_was_moved_away_is_begun_again() {
    let folder = tempdir().unwrap();
    let (path, moved) = (folder.path().join("records"), folder.path().join("moved"));
    let mut book = Book::open(&path).unwrap();
    book.write(&[Box::new(record(1))]).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    book.write(&[Box::new(record(2))]).unwrap();
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!(session_in(read(&moved).trim()), 1);
    assert_eq!(session_in(read(&path).trim()), 2);
}

#[test]
fn a_record_that_the_file_cannot_take_is_counted_as_diverted() {
    let settings = settings(Path::new("/dev/full"), true);
    let writer = CdrWriter::open(&settings).unwrap();
    writer.write(record(1));
    let counts = writer.finish();
    assert_eq!((counts.written, counts.diverted), (0, 1));
}

fn session_in(line: &str) -> u64 {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    record["session"].as_u64().unwrap()
}

fn settings(path: &Path, parties: bool) -> config::Cdr {
    let file = Some(path.to_owned());
    config::Cdr { file, parties }
}

fn record(session: u64) -> Cdr {
    let started = UNIX_EPOCH + Duration::from_millis(1_709_251_198_007);
    let answered = started + Duration::from_secs(1);
    let ended = answered + Duration::from_millis(61_500);
    Cdr {
        session,
        mode: Mode::B2bua,
        role: Role::Originating,
        started: Stamp(started),
        answered: Some(Stamp(answered)),
        ended: Stamp(ended),
        setup_ms: Some(1000),
        duration_ms: 61_500,
        conversation_id: Some("c\n1".to_owned()),
        contribution_id: None,
        call_ids: vec!["x@a".to_owned(), "y@relay".to_owned()],
        parties: Some(Parties {
            served_user: "sip:alice@example".to_owned(),
            peer: "tel:+15551".to_owned(),
        }),
        streams: vec![StreamRecord {
            index: 0,
            kind: StreamKind::Audio,
            a: Traffic {
                packets: 3,
                bytes: 516,
                rtcp_packets: 1,
                ..Traffic::default()
            },
            b: Traffic::default(),
        }],
        group: None,
        history: Some(History::Stored {
            uid: "17".to_owned(),
        }),
        end: End {
            by: EndedBy::A,
            why: EndReason::Bye,
            code: Some(200),
        },
    }
}
