use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::stats::{DropReason, Stats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{
    CdrMetrics, Door, Health, HistoryMetrics, Metrics, Mode, Question, RunState, SessionView,
    SideView, SipMetrics, StreamView, Traffic, WorkerHealth, metrics, serve,
};
use crate::config::{Role, StreamKind};
use crate::limits::ADMIN_CONNECTIONS;

#[tokio::test]
async fn health_is_200_while_serving_and_503_while_draining() {
    let mut door = open().await;
    for (state, status) in [(RunState::Serving, "200"), (RunState::Draining, "503")] {
        let asked = tokio::spawn(ask(door.address, "/health"));
        match door.questions.recv().await {
            Some(Question::Health(reply)) => reply.send(health(state)).unwrap(),
            other => panic!("expected a question for health, got {other:?}"),
        }
        let answer = asked.await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        assert!(answer.contains("\"sessions\":3"), "{answer}");
        assert!(answer.contains("\"backend\":\"epoll\""), "{answer}");
    }
}

#[tokio::test]
async fn sessions_are_shown_with_both_sides() {
    let mut door = open().await;
    let asked = tokio::spawn(ask(door.address, "/sessions"));
    match door.questions.recv().await {
        Some(Question::Sessions(reply)) => reply.send(vec![session()]).unwrap(),
        other => panic!("expected a question for sessions, got {other:?}"),
    }
    let answer = asked.await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let shown: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(shown[0]["mode"], "b2bua");
    assert_eq!(shown[0]["role"], "terminating");
    assert_eq!(shown[0]["streams"][0]["sides"][1]["packets"], 7);
    assert_eq!(
        shown[0]["streams"][0]["sides"][0]["local"],
        "127.0.0.1:20000"
    );
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let mut door = open().await;
    let asked = tokio::spawn(ask(door.address, "/metrics"));
    match door.questions.recv().await {
        Some(Question::Metrics(reply)) => reply.send(counters()).unwrap(),
        other => panic!("expected a question for metrics, got {other:?}"),
    }
    let answer = asked.await.unwrap();
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    for line in [
        "midpath_datagrams_in_total{worker=\"0\",backend=\"uring\"} 11",
        "midpath_datagram_in_bytes_total{worker=\"0\",backend=\"uring\"} 1200",
        "midpath_dropped_total{worker=\"0\",backend=\"uring\",reason=\"source\"} 2",
        "midpath_worker_sessions{worker=\"0\",backend=\"uring\"} 4",
        "midpath_orders_waiting{worker=\"0\"} 6",
        "midpath_sip_requests_in_total{method=\"INVITE\"} 5",
        "midpath_sip_responses_out_total{code=\"200\"} 8",
        "midpath_sessions{mode=\"proxy\",state=\"confirmed\"} 9",
        "midpath_cdrs_written_total 13",
        "midpath_history_queued 2",
        "midpath_history_oldest_seconds 7",
        "midpath_history_out 1",
        "midpath_uptime_seconds 60",
        "# TYPE midpath_msrp_open gauge",
        "# UNIT midpath_uptime_seconds seconds",
        "# EOF",
    ] {
        assert!(
            answer.lines().any(|shown| shown == line),
            "no {line} in\n{answer}"
        );
    }
}

#[test]
fn every_counter_of_a_worker_is_shown() {
    let counted = Stats::default().named();
    let counted: Vec<&str> = counted.iter().map(|(name, _)| *name).collect();
    assert_eq!(metrics::shown_counters(), counted);
}

#[test]
fn every_metric_has_one_name_and_a_help() {
    let text = metrics::encode(&counters());
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
        .map(|(name, help)| {
            assert!(help.len() > 5, "{name}");
            name
        })
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_ends_with_503() {
    let door = open().await;
    let answer = ask(door.address, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn a_run_loop_that_has_ended_is_answered_for_with_503() {
    let Door { questions, address } = open().await;
    drop(questions);
    let answer = ask(address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let door = open().await;
    let answer = ask(door.address, "/etc/passwd").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_lose_their_places() {
    let door = open().await;
    let mut silent = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(60), ask(door.address, "/")).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

async fn open() -> Door {
    serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap()
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn health(state: RunState) -> Health {
    Health {
        state,
        sessions: 3,
        uptime_s: 60,
        workers: vec![WorkerHealth {
            worker: 0,
            backend: "epoll",
            alive: true,
            sessions: 3,
            restarts: 0,
        }],
        history: None,
    }
}

fn session() -> SessionView {
    let side = |port: u16, packets| SideView {
        local: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        remote: None,
        traffic: Traffic {
            packets,
            ..Traffic::default()
        },
    };
    SessionView {
        id: 1,
        mode: Mode::B2bua,
        role: Role::Terminating,
        state: "confirmed",
        age_s: 5,
        worker: Some(0),
        participants: None,
        streams: vec![StreamView {
            index: 0,
            kind: StreamKind::Audio,
            direction: "sendrecv",
            sides: [side(20_000, 6), side(20_002, 7)],
            holders: None,
            speaker: None,
        }],
    }
}

fn counters() -> Metrics {
    let mut stats = Stats {
        datagrams_in: 11,
        datagram_bytes_in: 1200,
        sessions: 4,
        ..Stats::default()
    };
    stats.drop(DropReason::Source);
    stats.drop(DropReason::Source);
    Metrics {
        workers: vec![(stats, "uring")],
        orders_waiting: vec![6],
        sip: SipMetrics {
            requests_in: vec![("INVITE", 5)],
            responses_out: vec![(200, 8)],
            ..SipMetrics::default()
        },
        sessions: vec![(Mode::Proxy, "confirmed", 9)],
        cdr: CdrMetrics {
            written: 13,
            diverted: 0,
        },
        history: Some(HistoryMetrics {
            queued: 2,
            oldest_s: 7,
            is_out: true,
            ..HistoryMetrics::default()
        }),
        uptime_s: 60,
        ..Metrics::default()
    }
}
