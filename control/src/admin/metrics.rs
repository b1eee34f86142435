//! The counters as OpenMetrics text.

use std::fmt;

use dataplane::stats::{DropReason, MSRP_CODES, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{HistoryMetrics, Metrics, RegistrationMetrics, ReloadCounts, SipMetrics, XcapCounts};

/// What [`encode`] writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes every counter as OpenMetrics text.
pub(super) fn encode(metrics: &Metrics) -> String {
    let mut families = worker_families(metrics);
    families.extend(sip_families(&metrics.sip));
    families.extend(session_families(metrics));
    families.extend(group_families(metrics));
    families.extend(record_families(metrics));
    families.extend(registration_families(&metrics.registration));
    families.extend(metrics.history.iter().flat_map(history_families));
    let mut registry = Registry::with_prefix("midpath");
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    // Only a writer that fails makes this fail, and a String doesn't.
    match encode_text(&mut text, &registry) {
        Ok(()) => text,
        Err(fmt::Error) => String::new(),
    }
}

type Labels = Vec<(&'static str, String)>;

/// A metric: its name, and a value for each set of labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: Kind,
    samples: Vec<(Labels, u64)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn encode(self, metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
        match self {
            Self::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
            Self::Gauge => metric.encode_gauge(&value),
        }
    }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let unit = family.unit.as_ref();
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit, kind)?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    family.kind.encode(&mut metric, *value)?;
                } else {
                    family
                        .kind
                        .encode(&mut metric.encode_family(labels)?, *value)?;
                }
            }
        }
        Ok(())
    }
}

/// How a worker's counter is shown: its name there, its name here, what it is, its unit, its kind.
type Shown = (&'static str, &'static str, &'static str, Option<Unit>, Kind);

#[rustfmt::skip]
const WORKER: [Shown; 67] = {
    use Kind::{Counter, Gauge};
    [
        ("datagrams_in", "datagrams_in", "Datagrams received", None, Counter),
        ("datagrams_out", "datagrams_out", "Datagrams sent", None, Counter),
        ("datagram_bytes_in", "datagram_in", "Octets of datagrams received", Some(Unit::Bytes), Counter),
        ("datagram_bytes_out", "datagram_out", "Octets of datagrams sent", Some(Unit::Bytes), Counter),
        ("stream_bytes_in", "stream_in", "Octets of connections received", Some(Unit::Bytes), Counter),
        ("stream_bytes_out", "stream_out", "Octets of connections handed to the kernel", Some(Unit::Bytes), Counter),
        ("msrp_acknowledged", "msrp_acknowledged", "MSRP SENDs answered with 200 on behalf of the far side", None, Counter),
        ("msrp_delivered", "msrp_delivered", "Of the acknowledged: answered by the far side, or not to be answered", None, Counter),
        ("msrp_reported", "msrp_reported", "Of the acknowledged: reported to their sender as failed", None, Counter),
        ("msrp_open", "msrp_open", "MSRP transactions open", None, Gauge),
        ("msrp_copies_failed", "msrp_copies_failed", "Of the reported: copies for a member of a group, whose failure is not told to the sender", None, Counter),
        ("msrp_composing_shed", "msrp_composing_shed", "Notices of composing left out for members that are slow", None, Counter),
        ("msrp_auths", "msrp_auths", "MSRP clients that were authorized", None, Counter),
        ("msrp_auths_refused", "msrp_auths_refused", "MSRP AUTH requests that were refused", None, Counter),
        ("msrp_use_paths", "msrp_use_paths", "Use-Path URIs in use", None, Gauge),
        ("msrp_next_hops", "msrp_next_hops", "Connections to next hops of the MSRP relay", None, Gauge),
        ("handshakes", "handshakes", "TLS and WebSocket handshakes completed", None, Counter),
        ("full_handshakes", "full_handshakes", "Handshakes ended for newer ones", None, Counter),
        ("msrp_idle", "msrp_idle", "MSRP legs that were silent for too long", None, Counter),
        ("sessions", "worker_sessions", "Sessions of a worker", None, Gauge),
        ("rooms", "rooms", "Rooms of group sessions of a worker", None, Gauge),
        ("members", "members", "Members' legs in rooms of a worker", None, Gauge),
        ("roads", "roads", "Roads of a worker to others that share its group sessions", None, Gauge),
        ("room_ticks", "room_ticks", "Times that a room's clock was served", None, Counter),
        ("late_ticks", "late_ticks", "Of the ticks: served 5 ms late or later", None, Counter),
        ("missed_ticks", "missed_ticks", "Of the ticks: served a packet of voice late or later", None, Counter),
        ("floor_messages_in", "floor_messages_in", "Messages of floor control taken", None, Counter),
        ("floor_messages_out", "floor_messages_out", "Messages of floor control sent, each counted once", None, Counter),
        ("floor_messages_again", "floor_messages_again", "Messages of floor control sent again for want of an acknowledgement", None, Counter),
        ("floor_requests_again", "floor_requests_again", "Messages of floor control that came again", None, Counter),
        ("floor_errors", "floor_errors", "Messages of floor control answered with an Error", None, Counter),
        ("floor_dropped", "floor_dropped", "Messages of floor control dropped without an answer", None, Counter),
        ("floors_granted", "floors_granted", "Floor requests granted", None, Counter),
        ("floors_revoked", "floors_revoked", "Floors revoked by a timer or a chair", None, Counter),
        ("floor_members_lost", "floor_members_lost", "Members of floor control that were lost", None, Counter),
        ("full_floors", "full_floors", "Members, requests and notices of floor control that found no place", None, Counter),
        ("mix_ticks", "mix_ticks", "Times that a room's audio was mixed", None, Counter),
        ("mix_encoded", "mix_encoded", "Packets of mixed audio encoded", None, Counter),
        ("mix_sent", "mix_sent", "Packets of mixed audio sent", None, Counter),
        ("mix_forwarded", "mix_forwarded", "Packets that mixed rooms passed as they came", None, Counter),
        ("switch_sent", "switch_sent", "Packets of switched video sent", None, Counter),
        ("switch_resent", "switch_resent", "Packets of switched video sent again for a NACK", None, Counter),
        ("switch_duplicates", "switch_duplicates", "Packets of switched video that came twice", None, Counter),
        ("switch_key_requests", "switch_key_requests", "Key frames that sources of switched video were asked for", None, Counter),
        ("switches", "switches", "Times that a member was given another source of video", None, Counter),
        ("full_switch_resends", "full_switch_resends", "Packets of switched video that were asked for too often", None, Counter),
        ("full_switch_histories", "full_switch_histories", "Sources of switched video without a history", None, Counter),
        ("room_nacks", "room_nacks", "Requests for lost packets passed on in forwarded rooms", None, Counter),
        ("sockets", "sockets", "Sockets of a worker", None, Gauge),
        ("ports_free", "ports_free", "Ports of the pool that are free", None, Gauge),
        ("ports_total", "ports", "Ports of the pool in all", None, Gauge),
        ("full_ports", "full_ports", "Orders refused as no port was left", None, Counter),
        ("full_sessions", "full_sessions", "Orders refused as no session could be added", None, Counter),
        ("full_rooms", "full_rooms", "Orders refused as no room or member could be added", None, Counter),
        ("full_pool", "full_pool", "Times that no frame was free", None, Counter),
        ("full_transactions", "full_transactions", "MSRP transactions that found no place", None, Counter),
        ("full_msrp_member", "full_msrp_member", "Times that a member of a group was so far behind that its messages failed", None, Counter),
        ("full_msrp_relay", "full_msrp_relay", "AUTHs and next hops that found no place", None, Counter),
        ("recorded_octets", "recorded", "Octets of MSRP content recorded", Some(Unit::Bytes), Counter),
        ("full_records", "full_records", "Times that recorded content had to wait for its records to be taken", None, Counter),
        ("full_recorded_messages", "full_recorded_messages", "Recorded messages ended for newer ones", None, Counter),
        ("records_waiting", "records_waiting", "Records that wait for room in their ring", None, Gauge),
        ("frames_free", "frames_free", "Datagram frames free", None, Gauge),
        ("stream_frames_free", "stream_frames_free", "Stream frames free", None, Gauge),
        ("orders_waiting", "orders_waiting_worker", "Orders that wait, as the worker sees them", None, Gauge),
        ("cycles", "cycles", "Cycles of the worker", None, Counter),
        ("sleeps", "sleeps", "Cycles that slept", None, Counter),
    ]
};

fn worker_families(metrics: &Metrics) -> Vec<Family> {
    let mut families: Vec<Family> = WORKER
        .into_iter()
        .map(|(counter, name, help, unit, kind)| Family {
            name,
            help,
            unit,
            kind,
            samples: by_worker(&metrics.workers, |stats| value_of(stats, counter)),
        })
        .collect();
    families.push(drops(metrics));
    families.push(msrp_responses(metrics));
    families.push(Family {
        name: "orders_waiting",
        help: "Orders that wait for a worker, as control sees them",
        unit: None,
        kind: Kind::Gauge,
        samples: (metrics.orders_waiting.iter().enumerate())
            .map(|(worker, waiting)| (vec![("worker", worker.to_string())], count(*waiting)))
            .collect(),
    });
    families
}

fn value_of(stats: &Stats, counter: &str) -> u64 {
    let named = stats.named();
    let found = named.iter().find(|(name, _)| *name == counter);
    found.map_or(0, |(_, value)| *value)
}

fn by_worker(workers: &[(Stats, &str)], value: impl Fn(&Stats) -> u64) -> Vec<(Labels, u64)> {
    (workers.iter().enumerate())
        .map(|(worker, (stats, backend))| (worker_labels(worker, backend), value(stats)))
        .collect()
}

fn worker_labels(worker: usize, backend: &str) -> Labels {
    vec![
        ("worker", worker.to_string()),
        ("backend", backend.to_owned()),
    ]
}

fn drops(metrics: &Metrics) -> Family {
    let mut samples = Vec::new();
    for (worker, (stats, backend)) in metrics.workers.iter().enumerate() {
        for (reason, dropped) in DropReason::ALL.into_iter().zip(stats.drops) {
            let mut labels = worker_labels(worker, backend);
            labels.push(("reason", reason.label().to_owned()));
            samples.push((labels, dropped));
        }
    }
    Family {
        name: "dropped",
        help: "Packets and pieces of streams that were dropped, by reason",
        unit: None,
        kind: Kind::Counter,
        samples,
    }
}

fn msrp_responses(metrics: &Metrics) -> Family {
    let mut samples = Vec::new();
    for (worker, (stats, backend)) in metrics.workers.iter().enumerate() {
        let ways = [
            ("in", stats.msrp_responses_in),
            ("out", stats.msrp_responses_out),
        ];
        for (way, counts) in ways {
            for (code, counted) in MSRP_CODES.into_iter().zip(counts) {
                let code = if code == 0 {
                    "other".to_owned()
                } else {
                    code.to_string()
                };
                let mut labels = worker_labels(worker, backend);
                labels.extend([("way", way.to_owned()), ("code", code)]);
                samples.push((labels, counted));
            }
        }
    }
    Family {
        name: "msrp_responses",
        help: "MSRP responses that came and that the relay gave, by code",
        unit: None,
        kind: Kind::Counter,
        samples,
    }
}

fn sip_families(sip: &SipMetrics) -> Vec<Family> {
    let requests = |name, help, counted: &[(&'static str, u64)]| {
        let label = |method: &&str| (*method).to_owned();
        labelled(name, help, "method", counted, label)
    };
    let responses = |name, help, counted: &[(u16, u64)]| {
        labelled(name, help, "code", counted, ToString::to_string)
    };
    vec![
        requests("sip_requests_in", "SIP requests received", &sip.requests_in),
        requests("sip_requests_out", "SIP requests sent", &sip.requests_out),
        responses(
            "sip_responses_in",
            "SIP responses received",
            &sip.responses_in,
        ),
        responses(
            "sip_responses_out",
            "SIP responses sent",
            &sip.responses_out,
        ),
        single(
            "sip_retransmissions",
            "SIP messages sent again",
            Kind::Counter,
            sip.retransmissions,
        ),
        single(
            "sip_malformed",
            "Messages received that are no SIP",
            Kind::Counter,
            sip.malformed,
        ),
    ]
}

fn sessions(metrics: &Metrics) -> Family {
    let sessions = (metrics.sessions.iter())
        .map(|(mode, state, number)| {
            let labels = vec![
                ("mode", mode.label().to_owned()),
                ("state", (*state).to_owned()),
            ];
            (labels, count(*number))
        })
        .collect();
    Family {
        name: "sessions",
        help: "Sessions, by mode and state",
        unit: None,
        kind: Kind::Gauge,
        samples: sessions,
    }
}

fn session_families(metrics: &Metrics) -> Vec<Family> {
    use Kind::{Counter, Gauge};
    let (dialogs, transactions) = (count(metrics.dialogs), count(metrics.transactions));
    vec![
        sessions(metrics),
        single(
            "sessions_begun",
            "Sessions begun",
            Counter,
            metrics.sessions_begun,
        ),
        single(
            "sessions_refused",
            "Sessions refused for lack of room",
            Counter,
            metrics.sessions_refused,
        ),
        single(
            "refused_by_policy",
            "Requests of barred users, or without an asserted identity",
            Counter,
            metrics.refused_by_policy,
        ),
        single(
            "offers_again",
            "Offers made anew to far sides without CEMA",
            Counter,
            metrics.offers_again,
        ),
        single(
            "histories_due",
            "Sessions that ended and whose history was due",
            Counter,
            metrics.histories_due,
        ),
        single(
            "histories_late",
            "Sessions that closed without their Message-UID as the store was late",
            Counter,
            metrics.histories_late,
        ),
        reloads(&metrics.reloads),
        xcap(&metrics.xcap),
        single("dialogs", "SIP dialogs", Gauge, dialogs),
        single("transactions", "SIP transactions", Gauge, transactions),
        Family {
            unit: Some(Unit::Seconds),
            ..single("uptime", "Time since the start", Gauge, metrics.uptime_s)
        },
    ]
}

fn record_families(metrics: &Metrics) -> Vec<Family> {
    use Kind::Counter;
    vec![
        single(
            "sessions_interworked",
            "Sessions that went to Interworking Functions",
            Counter,
            metrics.sessions_interworked,
        ),
        single(
            "notices_made",
            "Disposition notifications that the relay has made",
            Counter,
            metrics.notices.0,
        ),
        single(
            "notices_kept_back",
            "Disposition notifications that one before had told, or a better one may tell",
            Counter,
            metrics.notices.1,
        ),
        single(
            "full_notices",
            "Disposition notifications that went on at once, as too many waited for others",
            Counter,
            metrics.notices.2,
        ),
        single(
            "cdrs_written",
            "Session records written",
            Counter,
            metrics.cdr.written,
        ),
        single(
            "cdrs_diverted",
            "Session records that went to the log as the file could not take them",
            Counter,
            metrics.cdr.diverted,
        ),
    ]
}

fn group_families(metrics: &Metrics) -> Vec<Family> {
    use Kind::Counter;
    vec![
        single("groups", "Group sessions begun", Counter, metrics.groups.0),
        single(
            "group_participants",
            "Participants of group sessions now",
            Kind::Gauge,
            metrics.groups.1,
        ),
        single(
            "group_connections_lost",
            "Media connections of participants of group sessions that were lost",
            Counter,
            metrics.group_losses.0,
        ),
        single(
            "group_members_silent",
            "Participants of group sessions released as nothing came from them",
            Counter,
            metrics.group_losses.1,
        ),
        single(
            "groups_refused",
            "Requests that the policy of a group has refused",
            Counter,
            metrics.groups_refused,
        ),
        single(
            "full_group_streams",
            "Streams that a group session had no room for",
            Counter,
            metrics.full_of_groups.0,
        ),
        single(
            "full_subscriptions",
            "Subscriptions to group sessions, and REFERs whose outcome is to be told, without room",
            Counter,
            metrics.full_of_groups.1,
        ),
    ]
}

fn registration_families(known: &RegistrationMetrics) -> Vec<Family> {
    let counters = [
        ("registers", "REGISTERs of the core taken", known.registers),
        (
            "registers_refused",
            "REGISTERs refused as their sender isn't trusted",
            known.registers_refused,
        ),
        (
            "registration_subscriptions_refused",
            "Subscriptions to users' registration that the core refused",
            known.subscriptions_refused,
        ),
        (
            "reginfo_unreadable",
            "Registration information that could not be read",
            known.reginfo_unreadable,
        ),
        (
            "invites_unregistered",
            "INVITEs to users without a registered device for them",
            known.unregistered,
        ),
        (
            "registration_full",
            "Users and devices that there was no room for",
            known.full,
        ),
    ];
    let counters = counters.map(|(name, help, value)| single(name, help, Kind::Counter, value));
    let users = single(
        "registered_users",
        "Users that are known",
        Kind::Gauge,
        count(known.users),
    );
    counters.into_iter().chain([users]).collect()
}

#[rustfmt::skip]
fn history_families(history: &HistoryMetrics) -> Vec<Family> {
    use Kind::{Counter, Gauge};
    vec![
        single("history_queued", "Sessions whose history is due and not stored", Gauge, count(history.queued)),
        single("history_stored", "Histories stored", Counter, history.stored),
        single("history_failed", "Attempts to store a history that failed", Counter, history.failed),
        single("history_dropped", "Messages that no history had room for", Counter, history.dropped),
        single("history_refused", "Sessions that the history had no room for", Counter, history.refused),
        single("history_strays", "Records of sessions that are over", Counter, history.strays),
        single("history_unmarked", "Histories stored without the worker's end mark", Counter, history.unmarked),
        single("history_unwritten", "Records that the disk did not take", Counter, history.unwritten),
        single("history_unreadable", "Sessions set aside as their record can't be read", Counter, history.unreadable),
        single("history_held", "Questions of the engine that the history has no room for yet", Gauge, count(history.held)),
        single("history_out", "Whether the store can't be reached", Gauge, u64::from(history.is_out)),
        Family {
            unit: Some(Unit::Bytes),
            ..single("history_spool", "Octets that are recorded and not yet stored", Gauge, history.octets)
        },
        Family {
            unit: Some(Unit::Seconds),
            ..single("history_oldest", "How long the oldest queued session has been", Gauge, history.oldest_s)
        },
    ]
}

fn labelled<T>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counted: &[(T, u64)],
    text: impl Fn(&T) -> String,
) -> Family {
    let samples = (counted.iter())
        .map(|(what, number)| (vec![(label, text(what))], *number))
        .collect();
    Family {
        name,
        help,
        unit: None,
        kind: Kind::Counter,
        samples,
    }
}

fn reloads(counts: &ReloadCounts) -> Family {
    let counted = [("done", counts.done), ("failed", counts.failed)];
    let help = "Settings read anew, by what came of it";
    labelled("reloads", help, "outcome", &counted, |outcome| {
        (*outcome).to_owned()
    })
}

fn xcap(counts: &XcapCounts) -> Family {
    let counted = [
        ("fetched", counts.fetched),
        ("unchanged", counts.unchanged),
        ("missing", counts.missing),
        ("failed", counts.failed),
        ("late", counts.late),
        ("unasked", counts.unasked),
    ];
    let help = "Users' preferences asked for, by what came of it";
    labelled("preferences", help, "outcome", &counted, |outcome| {
        (*outcome).to_owned()
    })
}

fn single(name: &'static str, help: &'static str, kind: Kind, value: u64) -> Family {
    Family {
        name,
        help,
        unit: None,
        kind,
        samples: vec![(Labels::new(), value)],
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) fn shown_counters() -> Vec<&'static str> {
    WORKER.iter().map(|(counter, ..)| *counter).collect()
}
