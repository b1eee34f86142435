//! What is heard, in every order and amount.

use super::*;

#[test]
fn hst_01_the_end_mark_and_the_end_may_come_in_any_order_and_records_before_the_facts() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    feed(&mut history, message(1, 0, Side::A, "text/plain", b"early"));
    history.ask(Ask::Begin(Box::new(facts(1))));
    history.ask(finish(1));
    assert!(history.try_told().is_none());
    feed(&mut history, vec![record(1, RecordPart::Closed)]);
    assert_eq!(told(&mut history).uid.as_deref(), Ok("2"));
    history.finish();
    assert_eq!(stored(folder.path()).len(), 1);
}

#[test]
fn hst_05_a_session_whose_worker_is_lost_is_stored_without_its_end_mark() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    history.ask(Ask::Begin(Box::new(facts(1))));
    feed(&mut history, message(1, 0, Side::A, "text/plain", b"said"));
    history.ask(Ask::Finish {
        session: 1,
        ended: at(9),
        worker_lost: true,
    });
    assert_eq!(told(&mut history).uid.as_deref(), Ok("2"));
    history.finish();
}

#[test]
fn hst_05_what_a_process_left_that_was_killed_is_stored_by_the_next() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    history.ask(Ask::Begin(Box::new(facts(1))));
    feed(&mut history, message(1, 0, Side::A, "text/plain", b"said"));
    history.finish();
    assert!(stored(folder.path()).is_empty());
    open(&settings(folder.path())).finish();
    assert_eq!(stored(folder.path()).len(), 1);
    open(&settings(folder.path())).finish();
    assert_eq!(stored(folder.path()).len(), 1, "and only once");
    assert_eq!(waiting(folder.path()), 0);
}

#[test]
fn a_call_that_is_never_answered_leaves_nothing() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    feed(&mut history, message(1, 0, Side::A, "text/plain", b"early"));
    feed(&mut history, vec![record(1, RecordPart::Closed)]);
    // Nor what comes of it afterwards.
    feed(&mut history, message(1, 1, Side::A, "text/plain", b"late"));
    history.finish();
    assert_eq!(waiting(folder.path()), 0);
}

#[test]
fn content_beyond_the_limit_is_dropped_and_the_session_says_so() {
    let folder = tempdir().unwrap();
    let mut small = settings(folder.path());
    small.session_octets_max = 1000;
    small.session_messages_max = 3;
    let mut history = open(&small);
    history.ask(Ask::Begin(Box::new(facts(1))));
    for (number, size) in [(0, 900), (1, 200), (2, 90), (3, 1), (4, 1)] {
        let body = vec![b'x'; size];
        feed(
            &mut history,
            message(1, number, Side::A, "text/plain", &body),
        );
    }
    feed(&mut history, vec![record(1, RecordPart::Closed)]);
    history.ask(finish(1));
    assert_eq!(told(&mut history).uid.as_deref(), Ok("3"));
    let counts = history.metrics();
    assert_eq!((counts.dropped, counts.stored), (3, 1));
    history.finish();
    assert_eq!(waiting(folder.path()), 0);
    let info = String::from_utf8(read(&stored(folder.path())[0], 3)).unwrap();
    assert!(
        info.contains("Comments: 2 or more of this session's"),
        "{info}"
    );
}

#[test]
fn a_message_whose_failure_is_reported_after_its_end_is_not_kept() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    history.ask(Ask::Begin(Box::new(facts(1))));
    for (number, size) in [(0, 10), (1, 300_000), (2, 10)] {
        let body = vec![b'x'; size];
        feed(
            &mut history,
            message(1, number, Side::A, "text/plain", &body),
        );
    }
    for message in [0, 1] {
        let end = RecordPart::End {
            message,
            is_complete: false,
        };
        feed(&mut history, vec![record(1, end)]);
    }
    feed(&mut history, vec![record(1, RecordPart::Closed)]);
    history.ask(finish(1));
    assert_eq!(told(&mut history).uid.as_deref(), Ok("2"));
    history.finish();
    let info = String::from_utf8(read(&stored(folder.path())[0], 2)).unwrap();
    assert!(info.contains("Comments: 2 "), "{info}");
}

#[test]
fn an_offset_that_is_far_away_makes_no_large_file() {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    history.ask(Ask::Begin(Box::new(facts(1))));
    let mut records = message(1, 0, Side::A, "text/plain", &vec![b'x'; 300_000]);
    for far in [u64::MAX - 3, 1 << 60] {
        let data = RecordPart::Data {
            message: 0,
            offset: far,
            bytes: b"far".to_vec(),
        };
        records.insert(2, record(1, data));
    }
    feed(&mut history, records);
    feed(&mut history, vec![record(1, RecordPart::Closed)]);
    history.ask(finish(1));
    assert_eq!(told(&mut history).uid.as_deref(), Ok("1"));
    history.finish();
}

#[test]
fn a_session_more_than_may_wait_is_not_recorded_and_hurts_nobody() {
    let folder = tempdir().unwrap();
    let mut one = settings(folder.path());
    one.waiting_max = 1;
    let mut history = open(&one);
    history.ask(Ask::Begin(Box::new(facts(1))));
    history.ask(Ask::Begin(Box::new(facts(2))));
    feed(
        &mut history,
        message(2, 0, Side::A, "text/plain", b"unheard"),
    );
    feed(
        &mut history,
        vec![record(2, RecordPart::Closed), record(1, RecordPart::Closed)],
    );
    history.ask(finish(2));
    history.ask(finish(1));
    let first = told(&mut history);
    assert_eq!((first.session, first.uid.is_ok()), (1, true));
    assert_eq!(history.metrics().refused, 1);
    history.finish();
}

#[test]
fn a_folder_belongs_to_one_relay() {
    let folder = tempdir().unwrap();
    let history = open(&settings(folder.path()));
    let other = History::open(&settings(folder.path()), &config::HistoryImap::default());
    let error = other.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("another relay uses it"), "{error}");
    history.finish();
    open(&settings(folder.path())).finish();
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_holds_nobody_back() {
    let folder = tempdir().unwrap();
    let session = folder.path().join("spool").join("0-1");
    std::fs::create_dir_all(&session).unwrap();
    // A whole frame whose head is no JSON.
    std::fs::write(session.join("journal"), b"\x03\0\0\0\0\0\0\0abc").unwrap();
    let mut history = open(&settings(folder.path()));
    play(&mut history, facts(2), "hello");
    assert!(told(&mut history).uid.is_ok());
    history.finish();
    assert_eq!(waiting(folder.path()), 0);
    assert!(folder.path().join("unreadable/0-1/journal").exists());
}

/// Sessions in the spool.
fn waiting(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("spool")).unwrap().count()
}
