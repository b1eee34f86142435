//! The history, from what is heard to what is in a store.

mod killed;
mod objects;
mod queue;
mod spool;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::tempdir;

use dataplane::api::{Record, RecordPart, SessionId, Side, StreamId};

use super::embedded::{Pack, packs, part};
use super::{Ask, Facts, History, Told, embedded_in};
use crate::config;

fn settings(folder: &Path) -> config::History {
    config::History {
        store: config::HistoryStore::Embedded,
        path: Some(folder.to_owned()),
        ..config::History::default()
    }
}

fn open(settings: &config::History) -> History {
    let opened = History::open(settings, &config::HistoryImap::default());
    opened.unwrap().unwrap()
}

fn facts(session: u64) -> Facts {
    Facts {
        session,
        served_user: "tel:+15551".to_owned(),
        peer: "sip:bob@home.example".to_owned(),
        is_sent: true,
        conversation_id: Some("f81d4fae-7dec".to_owned()),
        contribution_id: Some(format!("abcdef-{session}")),
        in_reply_to: None,
        subject: None,
        service: Some("urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session".to_owned()),
        accept_contact: vec!["*;+g.3gpp.icsi-ref=\"x\"".to_owned()],
        invited: vec!["sip:bob@home.example".to_owned()],
        group: None,
        sdp: None,
        begun: at(0),
    }
}

/// A moment, some seconds after 2026-11-21 12:00:00 UTC.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400 + seconds)
}

/// A message as a worker records it.
fn message(session: u64, number: u32, from: Side, kind: &str, body: &[u8]) -> Vec<Record> {
    let mut parts = vec![RecordPart::Begin {
        stream: StreamId(0),
        from,
        message: number,
        message_id: format!("msrp-{number}").into_bytes(),
        content_type: kind.as_bytes().to_vec(),
        total: u64::try_from(body.len()).ok(),
    }];
    let mut offset = 0;
    for bytes in body.chunks(16 * 1024) {
        parts.push(RecordPart::Data {
            message: number,
            offset,
            bytes: bytes.to_vec(),
        });
        offset += u64::try_from(bytes.len()).unwrap();
    }
    parts.push(RecordPart::End {
        message: number,
        is_complete: true,
    });
    parts
        .into_iter()
        .map(|part| record(session, part))
        .collect()
}

fn record(session: u64, part: RecordPart) -> Record {
    Record {
        session: SessionId(session),
        part,
    }
}

fn finish(session: u64) -> Ask {
    Ask::Finish {
        session,
        ended: at(60),
        worker_lost: false,
    }
}

/// Gives the history what the run loop would, until it takes it.
fn feed(history: &mut History, records: Vec<Record>) {
    for mut record in records {
        while let Err(back) = history.record(record) {
            record = back;
            std::thread::yield_now();
        }
    }
}

/// A whole session with one message of a text.
fn play(history: &mut History, facts: Facts, text: &str) {
    let session = facts.session;
    history.ask(Ask::Begin(Box::new(facts)));
    feed(
        history,
        message(session, 0, Side::A, "text/plain", text.as_bytes()),
    );
    feed(history, vec![record(session, RecordPart::Closed)]);
    history.ask(finish(session));
}

fn told(history: &mut History) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let wait = async { tokio::time::timeout(Duration::from_secs(30), history.told()).await };
    runtime.block_on(wait).expect("told in time").unwrap()
}

fn stored(folder: &Path) -> Vec<Pack> {
    packs(&embedded_in(folder)).unwrap()
}

/// The text of a stored object.
fn read(pack: &Pack, uid: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut part(pack, uid).unwrap(), &mut bytes).unwrap();
    bytes
}
