//! New settings while the relay runs: on SIGHUP, or at the operator's door.
//!
//! The file is read anew beside the loop. What is wrong with it is said, and changes nothing. What
//! holds for sessions to come is taken over; sessions there are keep what they began with. What
//! can only be taken at the start is named, and stays as it is until then.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use super::Relay;
use super::setup;
use crate::admin::{ReloadCounts, Reloaded, Unloaded};
use crate::config::{Config, ConfigError};
use crate::limits;

/// Who asked for it, if anybody waits for the answer.
type Asker = oneshot::Sender<Result<Reloaded, Unloaded>>;

/// What a file turned out to be.
pub(super) type Loaded = Result<Box<Config>, ConfigError>;

/// What is needed to read the settings anew.
pub(super) struct Reload {
    /// The file; `None`: the relay was started without one.
    file: Option<PathBuf>,
    /// What holds now.
    running: Config,
    /// Who waits for the file that is being read.
    askers: Vec<Asker>,
    is_reading: bool,
    pub(super) read: (mpsc::Sender<Loaded>, mpsc::Receiver<Loaded>),
    pub(super) counts: ReloadCounts,
}

impl Reload {
    pub(super) fn new(running: Config, file: Option<PathBuf>) -> Self {
        Self {
            file,
            running,
            askers: Vec::new(),
            is_reading: false,
            read: mpsc::channel(1),
            counts: ReloadCounts::default(),
        }
    }
}

impl Relay {
    /// Has the file read; its news come over `read`.
    pub(super) fn reload(&mut self, asker: Option<Asker>) {
        let reload = &mut self.reload;
        let Some(file) = reload.file.clone() else {
            reload.counts.failed += 1;
            tracing::warn!("there are no settings to read anew: started without a file");
            if let Some(asker) = asker {
                drop(asker.send(Err(Unloaded::NoFile)));
            }
            return;
        };
        // The door lets few in, and none waits long.
        if reload.askers.len() < limits::ADMIN_QUESTIONS {
            reload.askers.extend(asker);
        }
        if reload.is_reading {
            return;
        }
        reload.is_reading = true;
        let tell = reload.read.0.clone();
        tokio::task::spawn_blocking(move || {
            // The loop has ended when nobody hears it.
            let _ = tell.blocking_send(Config::load(&file).map(Box::new));
        });
    }

    /// Takes over what the file says, or says what is wrong with it.
    pub(super) fn take_settings(&mut self, loaded: Loaded) {
        self.reload.is_reading = false;
        let answer = match loaded {
            Ok(config) => {
                self.reload.counts.done += 1;
                let (config, at_start) = over_running(*config, &self.reload.running);
                let identity = self.workers.msrp_tls.as_ref();
                self.drain_max = config.sip.drain_max;
                self.engine.reload(setup::settings(&config, &[], identity));
                self.reload.running = config;
                tracing::info!("settings are read anew; they hold for new sessions");
                for setting in &at_start {
                    tracing::warn!(setting, "a changed setting is taken at the next start only");
                }
                Ok(Reloaded {
                    at_next_start: at_start,
                })
            }
            Err(error) => {
                self.reload.counts.failed += 1;
                tracing::error!("settings are not read anew: {error}");
                Err(Unloaded::Wrong(error.to_string()))
            }
        };
        for asker in self.reload.askers.drain(..) {
            drop(asker.send(answer.clone()));
        }
    }
}

/// New settings with those that only a start takes put back to what they are; which these are.
fn over_running(mut new: Config, running: &Config) -> (Config, Vec<&'static str>) {
    let mut changed = Vec::new();
    macro_rules! keep {
        ($($name:literal $($path:ident).+;)*) => {
            $(if new.$($path).+ != running.$($path).+ {
                changed.push($name);
                new.$($path).+ = running.$($path).+.clone();
            })*
        };
    }
    keep! {
        "sip.listen" sip.listen;
        "sip.t1_ms" sip.t1;
        "sip.t2_ms" sip.t2;
        "sip.t4_ms" sip.t4;
        "media.addresses" media.addresses;
        "media.port_first" media.port_first;
        "media.port_last" media.port_last;
        "media.port_quiet_ms" media.port_quiet;
        "media.workers" media.workers;
        "media.first_core" media.first_core;
        "media.backend" media.backend;
        "msrp.port_first" msrp.port_first;
        "msrp.tls_port_first" msrp.tls_port_first;
        "msrp.ws_port_first" msrp.ws_port_first;
        "msrp.wss_port_first" msrp.wss_port_first;
        "msrp.ws_origins" msrp.ws_origins;
        "msrp.certificate" msrp.certificate;
        "msrp.key" msrp.key;
        "[xcap]" xcap;
        "[registration]" registration;
        "[history]" history;
        "[history_imap]" history_imap;
        "[msrp_relay]" msrp_relay;
        "[admin]" admin;
        "[cdr]" cdr;
        "[history]" history;
        "[history_imap]" history_imap;
        "[log]" log;
    }
    (new, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_start_takes_is_named_and_stays() {
        let running = Config::default();
        let text = "[sip]\nt1_ms = 100\nbye_ack = \"immediate\"\n[media]\nworkers = 2\n\
                    [policy]\nstreams = [\"audio\"]\n[log]\nlevel = \"debug\"";
        let (config, changed) = over_running(Config::parse(text).unwrap(), &running);
        assert_eq!(changed, ["sip.t1_ms", "media.workers", "[log]"]);
        assert_eq!((config.sip.t1, config.media.workers), (running.sip.t1, 1));
        assert_eq!(config.policy.streams.len(), 1);
        assert_eq!(config.sip.bye_ack, crate::config::ByeAck::Immediate);
    }
}
