//! The one event loop: sockets, workers, timers and the operator's door in; messages, orders and
//! records out.

mod identity;
mod policies;
mod reload;
mod setup;
mod xcap;

pub use setup::{Ready, RunError};

use reload::{Loaded, Reload};
use xcap::{Fetched, Xdms};

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use dataplane::api::Doorbell;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{
    Door, Health, HistoryHealth, Metrics, Mode, Question, RegistrationMetrics, RunState,
    SessionView, SipMetrics, WorkerHealth, XcapCounts,
};
use crate::cdr::CdrWriter;
use crate::config::Config;
use crate::engine::{Engine, Output};
use crate::history::{self, History};
use crate::limits;
use crate::link::Links;
use crate::transports::{Incoming, Transports};

/// Looks whether what the settings name besides themselves is there and fits: files.
///
/// # Errors
///
/// [`RunError`], as [`run`] would say it.
pub fn check(config: &Config) -> Result<(), RunError> {
    let identity = identity::identity(&config.msrp);
    identity.map(|_| ()).map_err(RunError::Certificate)?;
    history::check(&config.history, &config.history_imap).map_err(RunError::History)
}

/// Runs the relay until it is told to stop by SIGTERM or SIGINT: the first lets sessions end, the
/// second ends at once. SIGHUP has the file that the settings are from read anew.
///
/// # Errors
///
/// [`RunError`] when something can't be opened or started.
pub async fn run(config: Config, file: Option<PathBuf>) -> Result<(), RunError> {
    let (mut term, mut int, mut hangup) = (
        on_signal(SignalKind::terminate())?,
        on_signal(SignalKind::interrupt())?,
        on_signal(SignalKind::hangup())?,
    );
    let (tell, told) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let what = tokio::select! {
                _ = term.recv() => Told::Stop,
                _ = int.recv() => Told::Stop,
                _ = hangup.recv() => Told::Reload,
            };
            if tell.send(what).await.is_err() {
                return;
            }
        }
    });
    serve((config, file), told, setup::announce).await
}

/// Runs the relay until `shutdown` ends; sessions that are left are ended with BYE then.
///
/// # Errors
///
/// [`RunError`] when something can't be opened or started.
pub async fn run_until(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    run_ready(config, shutdown, |_| {}).await
}

/// Like [`run_until`], and says where everything listens once it does.
///
/// # Errors
///
/// [`RunError`] when something can't be opened or started.
pub async fn run_ready(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
    ready: impl FnOnce(&Ready),
) -> Result<(), RunError> {
    let (tell, told) = mpsc::channel(2);
    tokio::spawn(async move {
        shutdown.await;
        // Nobody listens any more only when the loop has ended by itself.
        let _ = tell.send(Told::Stop).await;
        let _ = tell.send(Told::Stop).await;
    });
    serve((config, None), told, ready).await
}

/// What the relay is told from outside.
enum Told {
    /// To stop.
    Stop,
    /// To read its settings anew.
    Reload,
}

fn on_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, RunError> {
    signal(kind).map_err(RunError::Signals)
}

async fn serve(
    settings: (Config, Option<PathBuf>),
    told: mpsc::Receiver<Told>,
    ready: impl FnOnce(&Ready),
) -> Result<(), RunError> {
    let (mut relay, opened) = setup::open(settings, told).await?;
    ready(&opened);
    relay.run().await;
    relay.finish();
    Ok(())
}

/// Everything the loop holds.
pub(super) struct Relay {
    engine: Engine,
    links: Links,
    workers: dataplane::api::Config,
    transports: Transports,
    door: Option<Door>,
    cdr: CdrWriter,
    /// `None`: nothing is recorded.
    history: Option<History>,
    bell: Doorbell,
    bell_rang: AsyncFd<Doorbell>,
    told: mpsc::Receiver<Told>,
    reload: Reload,
    xdms: Option<Xdms>,
    names: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    /// Who waits for the sessions' counters.
    viewers: Vec<(oneshot::Sender<Vec<SessionView>>, Instant)>,
    begun: Instant,
    drain: Drain,
    drain_max: Duration,
}

type Resolved = (String, Option<IpAddr>);

/// How far the relay is on its way out.
enum Drain {
    /// Not on it.
    Serving,
    /// No new sessions; those there are may end by themselves until then.
    Draining { until: Instant },
    /// They were ended with BYE; what is still unanswered is not waited for after this.
    Ending { until: Instant },
    /// Out.
    Over,
}

/// What woke the loop.
enum Woken {
    Packet(Option<Incoming>),
    News,
    Question(Option<Question>),
    History(Option<history::Told>),
    Name(Option<Resolved>),
    Told(Option<Told>),
    Settings(Option<Loaded>),
    Preferences(Option<Fetched>),
    Time,
}

impl Relay {
    async fn run(&mut self) {
        loop {
            let is_busy = self.turn();
            if matches!(self.drain, Drain::Over) {
                return;
            }
            if is_busy {
                tokio::task::yield_now().await;
                continue;
            }
            self.bell.about_to_sleep();
            if let Some((worker, event)) = self.links.news() {
                self.bell.awake();
                self.engine.handle_news(clock(), worker, event);
                continue;
            }
            if self.links.has_records() {
                self.bell.awake();
                continue;
            }
            let woken = self.wait().await;
            self.bell.awake();
            self.wake(woken);
        }
    }

    /// Handles what is there, up to a limit, and sends what comes of it.
    fn turn(&mut self) -> bool {
        let now = clock();
        let mut handled = 0;
        while handled < limits::LOOP_BATCH {
            let Some((worker, event)) = self.links.news() else {
                break;
            };
            self.engine.handle_news(now, worker, event);
            handled += 1;
        }
        for _ in 0..limits::LOOP_BATCH {
            let Some(incoming) = self.transports.try_receive() else {
                break;
            };
            self.take_packet(now, incoming);
            handled += 1;
        }
        handled += self.hand_over_records();
        while let Some(told) = self.history.as_mut().and_then(History::try_told) {
            self.engine.handle_history(now, told);
            handled += 1;
        }
        while let Some(number) = self.links.lost(now) {
            self.replace_worker(number, now);
        }
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        self.flush();
        self.answer_viewers(now);
        self.advance_drain(now);
        handled > 0
    }

    /// Hands the history what the workers recorded, as far as it takes it.
    fn hand_over_records(&mut self) -> usize {
        let history = &mut self.history;
        self.links
            .hand_over(limits::LOOP_BATCH, |_, record| match history {
                Some(history) => history.record(record),
                // Nothing is asked to be recorded while there is no store.
                None => Ok(()),
            })
    }

    fn take_packet(&mut self, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Packet { flow, bytes } => self.engine.handle_packet(now, flow, bytes),
            Incoming::Failed { flow } => self.engine.handle_transport_error(now, flow),
        }
    }

    fn flush(&mut self) {
        self.links.flush();
        if let Some(history) = &mut self.history {
            history.flush();
        }
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Order { worker, order } => self.links.order(worker, order),
                Output::Cdr(cdr) => self.cdr.write(*cdr),
                Output::History(ask) => {
                    if let Some(history) = &mut self.history {
                        history.ask(*ask);
                    }
                }
                Output::Resolve(host) => self.look_up(host),
                Output::Preferences(user) => {
                    if let Some(xdms) = &self.xdms {
                        xdms.fetch(user);
                    }
                }
            }
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.transports.send(transmit);
        }
    }

    fn look_up(&self, host: String) {
        let tell = self.names.0.clone();
        tokio::spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let address = found
                .ok()
                .and_then(|mut all| all.next())
                .map(|address| address.ip());
            // The loop has ended when nobody hears it.
            let _ = tell.send((host, address)).await;
        });
    }

    async fn wait(&mut self) -> Woken {
        let deadline = self.deadline();
        let door = self.door.as_mut();
        let history = self.history.as_mut();
        tokio::select! {
            incoming = self.transports.receive() => Woken::Packet(incoming),
            rang = self.bell_rang.readable() => {
                if let Ok(mut rang) = rang {
                    rang.clear_ready();
                }
                Woken::News
            }
            question = ask(door) => Woken::Question(question),
            stored = stored(history) => Woken::History(stored),
            name = self.names.1.recv() => Woken::Name(name),
            told = self.told.recv() => Woken::Told(told),
            read = self.reload.read.1.recv() => Woken::Settings(read),
            fetched = xcap::fetched(self.xdms.as_mut()) => Woken::Preferences(fetched),
            () = sleep_until(deadline) => Woken::Time,
        }
    }

    fn wake(&mut self, woken: Woken) {
        let now = clock();
        match woken {
            Woken::Packet(Some(incoming)) => self.take_packet(now, incoming),
            Woken::Question(Some(question)) => self.answer(now, question),
            Woken::Question(None) => self.door = None,
            Woken::History(Some(told)) => self.engine.handle_history(now, told),
            // Its thread has ended, by a panic: sessions go on without.
            Woken::History(None) => self.history = None,
            Woken::Name(Some((host, address))) => self.engine.handle_resolved(now, &host, address),
            Woken::Told(Some(Told::Reload)) => self.reload(None),
            Woken::Told(Some(Told::Stop) | None) => self.stop(now),
            Woken::Settings(Some(loaded)) => self.take_settings(loaded),
            Woken::Preferences(Some(fetched)) => self.take_preferences(now, fetched),
            Woken::Packet(None)
            | Woken::Name(None)
            | Woken::Settings(None)
            | Woken::Preferences(None)
            | Woken::News
            | Woken::Time => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let drain = match self.drain {
            Drain::Draining { until } | Drain::Ending { until } => Some(until),
            Drain::Serving | Drain::Over => None,
        };
        let viewer = self.viewers.first().map(|(_, until)| *until);
        // A full ring isn't news: it is looked at again soon.
        let is_holding = self.links.is_holding()
            || self.links.is_holding_records()
            || self.history.as_ref().is_some_and(History::is_holding);
        let held = is_holding.then(|| clock() + RING_AGAIN);
        [self.engine.poll_timeout(), drain, viewer, held]
            .into_iter()
            .flatten()
            .min()
    }

    fn replace_worker(&mut self, number: usize, now: Instant) {
        tracing::warn!(worker = number, "a worker has ended; its sessions are lost");
        self.engine.handle_worker_lost(now, number);
        match dataplane::worker::start_one(&self.workers, number, &self.bell) {
            Ok(handle) => {
                self.links.replace(number, handle);
                self.engine.handle_worker_restarted(number);
            }
            Err(error) => tracing::error!(worker = number, %error, "it can't be started again"),
        }
    }

    fn stop(&mut self, now: Instant) {
        self.drain = match self.drain {
            Drain::Serving => {
                self.engine.drain();
                tracing::info!(
                    sessions = self.engine.sessions(),
                    "draining: no new sessions"
                );
                Drain::Draining {
                    until: now + self.drain_max,
                }
            }
            Drain::Draining { .. } | Drain::Ending { .. } | Drain::Over => Drain::Over,
        };
    }

    fn advance_drain(&mut self, now: Instant) {
        let is_empty = self.engine.unfinished() == 0;
        match self.drain {
            Drain::Draining { .. } | Drain::Ending { .. } if is_empty => self.drain = Drain::Over,
            Drain::Draining { until } if now >= until => {
                self.engine.end_all(now);
                self.flush();
                self.drain = Drain::Ending {
                    until: now + ENDING_MAX,
                };
            }
            Drain::Ending { until } if now >= until => self.drain = Drain::Over,
            Drain::Serving | Drain::Draining { .. } | Drain::Ending { .. } | Drain::Over => {}
        }
    }

    fn finish(mut self) {
        // The last ends of sessions may still be on their way.
        while self.hand_over_records() > 0 {}
        self.links.end();
        if let Some(history) = self.history {
            history.finish();
        }
        let written = self.cdr.finish();
        tracing::info!(records = written.written, "ended");
    }

    fn answer(&mut self, now: Instant, question: Question) {
        // An answer nobody waits for any more is dropped.
        match question {
            Question::Health(tell) => drop(tell.send(self.health(now))),
            Question::Metrics(tell) => drop(tell.send(self.metrics(now))),
            Question::Reload(tell) => self.reload(Some(tell)),
            Question::Sessions(tell) => {
                if self.viewers.is_empty() {
                    self.engine.ask_for_reports(now);
                }
                self.viewers.push((tell, now + REPORTS_MAX));
            }
        }
    }

    fn answer_viewers(&mut self, now: Instant) {
        let is_due = self.engine.reports_due() == 0
            || self.viewers.first().is_some_and(|(_, until)| *until <= now);
        if self.viewers.is_empty() || !is_due {
            return;
        }
        let views = self.engine.session_views(now);
        for (tell, _) in self.viewers.drain(..) {
            drop(tell.send(views.clone()));
        }
    }

    fn health(&self, now: Instant) -> Health {
        let workers = self
            .links
            .stats()
            .into_iter()
            .enumerate()
            .map(|(worker, view)| WorkerHealth {
                worker,
                backend: setup::backend_name(view.backend),
                alive: view.is_alive,
                sessions: view.stats.sessions,
                restarts: view.restarts,
            });
        Health {
            state: match self.drain {
                Drain::Serving => RunState::Serving,
                Drain::Draining { .. } | Drain::Ending { .. } | Drain::Over => RunState::Draining,
            },
            sessions: self.engine.sessions(),
            uptime_s: now.saturating_duration_since(self.begun).as_secs(),
            workers: workers.collect(),
            history: self.history.as_ref().map(|history| {
                let counts = history.metrics();
                HistoryHealth {
                    reachable: !counts.is_out,
                    queued: counts.queued,
                    oldest_s: counts.oldest_s,
                }
            }),
        }
    }

    fn metrics(&self, now: Instant) -> Metrics {
        let views = self.links.stats();
        let (counters, sip, census) = (
            self.engine.counters(),
            self.engine.sip_counters(),
            self.engine.census(),
        );
        let by_state = self.engine.sessions_by_state().into_iter();
        Metrics {
            workers: views
                .iter()
                .map(|view| (view.stats, setup::backend_name(view.backend)))
                .collect(),
            orders_waiting: views.iter().map(|view| view.waiting).collect(),
            sip: SipMetrics {
                requests_in: sip.requests_in.iter().collect(),
                requests_out: sip.requests_out.iter().collect(),
                responses_in: sip.responses_in.iter().collect(),
                responses_out: sip.responses_out.iter().collect(),
                retransmissions: sip.retransmissions_out,
                malformed: sip.malformed,
            },
            sessions: by_state
                .map(|(state, count)| (Mode::B2bua, state, count))
                .collect(),
            sessions_begun: counters.sessions_begun,
            sessions_refused: counters.full_sessions + counters.full_ports,
            refused_by_policy: counters.without_identity + counters.barred,
            sessions_interworked: counters.sessions_interworked,
            groups: (
                counters.groups_begun,
                u64::try_from(self.engine.participants()).unwrap_or(u64::MAX),
            ),
            groups_refused: counters.groups_refused,
            group_losses: self.engine.group_losses(),
            full_of_groups: (counters.full_group_streams, counters.full_subscriptions),
            notices: (
                counters.notices_made,
                counters.notices_kept_back,
                counters.full_notices,
            ),
            offers_again: counters.offers_again,
            histories_due: counters.histories_due,
            histories_late: counters.histories_late,
            registration: RegistrationMetrics {
                users: self.engine.registered_users(),
                registers: counters.registers,
                registers_refused: counters.registers_refused,
                subscriptions_refused: counters.subscriptions_refused,
                reginfo_unreadable: counters.reginfo_unreadable,
                unregistered: counters.unregistered,
                full: counters.full_users + counters.full_devices,
            },
            dialogs: census.dialogs,
            transactions: census.transactions,
            reloads: self.reload.counts,
            xcap: XcapCounts {
                late: counters.preferences_late,
                unasked: counters.preferences_unasked,
                ..self
                    .xdms
                    .as_ref()
                    .map_or_else(XcapCounts::default, |xdms| xdms.counts)
            },
            cdr: self.cdr.counts(),
            history: self.history.as_ref().map(History::metrics),
            uptime_s: now.saturating_duration_since(self.begun).as_secs(),
        }
    }
}

async fn ask(door: Option<&mut Door>) -> Option<Question> {
    match door {
        Some(door) => door.questions.recv().await,
        None => std::future::pending().await,
    }
}

async fn stored(history: Option<&mut History>) -> Option<history::Told> {
    match history {
        Some(history) => history.told().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run loop is where time comes from"
)]
fn clock() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run loop is where time comes from"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[expect(
    deprecated,
    reason = "its successor is unsafe; the bell owns its descriptor and is owned by the AsyncFd"
)]
fn watch(bell: &Doorbell) -> std::io::Result<AsyncFd<Doorbell>> {
    AsyncFd::with_interest(bell.clone(), Interest::READABLE)
}

/// How long the workers' reports are waited for before what is known is shown.
const REPORTS_MAX: Duration = Duration::from_millis(500);
/// How long BYEs of our own are waited for at the end.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// When a ring that was full is looked at again.
const RING_AGAIN: Duration = Duration::from_millis(1);
