//! From settings to a running relay: everything that can fail, fails here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dataplane::api::{
    BackendKind, Chunking, Doorbell, Learn, MsrpBounds, MsrpListen, MsrpTransport, OriginPolicy,
    PathExpiry, PortChoice, RelayRole, RelayUser, RelayUsers, TlsIdentity,
};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::mpsc;

use super::identity::{self, IdentityError};
use super::policies;
use super::reload::Reload;
use super::xcap::Xdms;
use super::{Drain, Relay, Told, clock, wall_clock, watch};
use crate::admin;
use crate::cdr::CdrWriter;
use crate::config::{self, Backend, Config, HistoryStore, SilenceAction};
use crate::cpm::forking::Without;
use crate::cpm::groups::Groups;
use crate::cpm::participating::{Mode, Role};
use crate::cpm::routing::Hop;
use crate::engine::{self, ByeAck, Engine, LateOffer, Settings, SubscribeWhen};
use crate::history::{History, HistoryError};
use crate::limits;
use crate::link::Links;
use crate::media;
use crate::sip::{Protocol, Timers};
use crate::transports::{Listen, Transports};

/// Where a running relay listens.
#[derive(Debug, Clone)]
pub struct Ready {
    /// SIP.
    pub sip: Vec<Listen>,
    /// The operator's door.
    pub admin: Option<SocketAddr>,
    /// MSRP, a port for each worker and transport.
    pub msrp: Vec<MsrpListen>,
    /// How many workers there are, and how they talk to the kernel.
    pub workers: (usize, &'static str),
    /// The first and the last port for media.
    pub ports: (u16, u16),
    /// Whether every session has its media here.
    pub is_in_media_path: bool,
}

/// Why the relay could not be started.
#[derive(Debug)]
pub enum RunError {
    /// A SIP address can't be listened at.
    Sip(Vec<config::Listen>, io::Error),
    /// The operator's address can't be listened at.
    Admin(SocketAddr, io::Error),
    /// The workers can't be started.
    Workers(io::Error),
    /// There is no certificate for MSRP over TLS.
    Certificate(IdentityError),
    /// The record file can't be opened.
    Cdr(io::Error),
    /// Histories can't be recorded or stored.
    History(HistoryError),
    /// Signals can't be listened for.
    Signals(io::Error),
    /// The system has no descriptor or no random numbers left.
    System(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(listen, error) => {
                let all: Vec<String> = listen.iter().map(ToString::to_string).collect();
                write!(
                    out,
                    "can't listen for SIP at {}: {error}. Another program may be there: change \
                     sip.listen in the configuration",
                    all.join(", ")
                )
            }
            Self::Admin(address, error) => write!(
                out,
                "can't listen for the operator at {address}: {error}. Change admin.listen, or set \
                 it to \"\" to go without"
            ),
            Self::Workers(error) => write!(
                out,
                "can't start the workers: {error}. Look at media.addresses (are they this \
                 machine's?), media.first_core and msrp.port_first"
            ),
            Self::Certificate(error) => write!(
                out,
                "no certificate for MSRP over TLS: {error}. Look at msrp.certificate and msrp.key; \
                 without them one is made"
            ),
            Self::Cdr(error) => write!(out, "can't open cdr.file: {error}"),
            Self::History(error) => write!(out, "{error}"),
            Self::Signals(error) => write!(out, "can't listen for signals: {error}"),
            Self::System(error) => write!(out, "the system has nothing left: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Opens and starts everything.
pub(super) async fn open(
    (config, file): (Config, Option<PathBuf>),
    told: mpsc::Receiver<Told>,
) -> Result<(Relay, Ready), RunError> {
    let bell = Doorbell::new().map_err(RunError::System)?;
    let identity = identity::identity(&config.msrp).map_err(RunError::Certificate)?;
    if let Some(identity) = &identity {
        let fingerprint = media::fingerprint_value(&identity.fingerprint());
        tracing::info!(fingerprint, "the certificate for MSRP over TLS");
    }
    let workers = workers(&config, identity.clone());
    let handles = dataplane::start(&workers, &bell).map_err(RunError::Workers)?;
    let links = Links::new(handles).spread(config.controlling.members_per_worker);
    let listens: Vec<Listen> = config.sip.listen.iter().map(listen).collect();
    let transports = Transports::bind(&listens)
        .map_err(|error| RunError::Sip(config.sip.listen.clone(), error))?;
    let door = open_door(&config).await?;
    let cdr = CdrWriter::open(&config.cdr).map_err(RunError::Cdr)?;
    let history =
        History::open(&config.history, &config.history_imap).map_err(RunError::History)?;
    let seed = SysRng
        .try_next_u64()
        .map_err(|error| RunError::System(io::Error::other(error)))?;
    let now = clock();
    let settings = settings(&config, &listens, identity.as_ref());
    let ready = Ready {
        sip: listens,
        admin: door.as_ref().map(|door| door.address),
        msrp: links.msrp_listen().collect(),
        workers: (
            links.len(),
            links
                .stats()
                .first()
                .map_or("", |view| backend_name(view.backend)),
        ),
        ports: (config.media.port_first, config.media.port_last),
        is_in_media_path: settings
            .policies
            .everybody()
            .mode(settings.store_deadline.is_some())
            == Mode::B2bua,
    };
    tracing::info!(
        workers = ready.workers.0,
        backend = ready.workers.1,
        "the workers have started"
    );
    let engine = Engine::new(settings, links.len(), seed, now, wall_clock());
    let bell_rang = watch(&bell).map_err(RunError::System)?;
    let relay = Relay {
        engine,
        links,
        workers,
        transports,
        door,
        cdr,
        history,
        bell,
        bell_rang,
        told,
        drain_max: config.sip.drain_max,
        xdms: Xdms::new(&config.xcap),
        reload: Reload::new(config, file),
        names: mpsc::channel(limits::PARKED_REQUESTS),
        viewers: Vec::new(),
        begun: now,
        drain: Drain::Serving,
    };
    Ok((relay, ready))
}

async fn open_door(config: &Config) -> Result<Option<admin::Door>, RunError> {
    let Some(address) = config.admin.listen else {
        return Ok(None);
    };
    let door = admin::serve(address).await;
    door.map(Some)
        .map_err(|error| RunError::Admin(address, error))
}

fn workers(config: &Config, identity: Option<TlsIdentity>) -> dataplane::api::Config {
    dataplane::api::Config {
        workers: config.media.workers,
        first_core: config.media.first_core,
        backend: match config.media.backend {
            Backend::Auto => BackendKind::Auto,
            Backend::Uring => BackendKind::Uring,
            Backend::Epoll => BackendKind::Epoll,
        },
        port_first: config.media.port_first,
        port_last: config.media.port_last,
        port_quiet_ms: millis(config.media.port_quiet).into(),
        msrp_listen: config.media.addresses.clone(),
        msrp_ports: msrp_ports(&config.msrp),
        msrp_tls: identity,
        msrp_origins: origins(&config.msrp.ws_origins),
        msrp_relay: relay_role(&config.msrp_relay),
        pool: dataplane::frame::PoolSize::default(),
        seed: None,
    }
}

/// Where each transport of MSRP is listened for.
fn msrp_ports(msrp: &config::Msrp) -> [PortChoice; MsrpTransport::ALL.len()] {
    MsrpTransport::ALL.map(|transport| {
        let first = match transport {
            MsrpTransport::Tcp => Some(msrp.port_first),
            MsrpTransport::Tls => msrp.tls_port_first,
            MsrpTransport::Ws => msrp.ws_port_first,
            MsrpTransport::Wss => msrp.wss_port_first,
        };
        first.map_or(PortChoice::Off, PortChoice::From)
    })
}

fn relay_role(relay: &config::MsrpRelay) -> Option<RelayRole> {
    let users = relay.users.iter().map(|user| RelayUser {
        name: user.user.as_str().into(),
        md5: user.ha1_md5.map(|hash| hash.0),
        sha256: user.ha1_sha256.map(|hash| hash.0),
    });
    Some(RelayRole {
        realm: relay.realm.as_deref()?.into(),
        users: RelayUsers::new(users.collect()),
        host: relay.host.as_deref().map(Into::into),
        auth_without_tls: relay.auth_without_tls,
        expires: PathExpiry {
            least: relay.expires_s_min,
            usual: relay.expires_s,
            most: relay.expires_s_max,
        },
        nonce_lifetime: relay.nonce,
        connect_timeout: relay.connect,
        idle: relay.idle,
    })
}

fn origins(listed: &[String]) -> OriginPolicy {
    if listed.is_empty() {
        return OriginPolicy::Any;
    }
    let listed = listed.iter().map(|origin| origin.as_str().into());
    OriginPolicy::Listed(listed.collect())
}

fn millis(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn listen(listen: &config::Listen) -> Listen {
    Listen {
        protocol: protocol(listen.protocol),
        address: listen.address,
    }
}

fn protocol(protocol: config::Protocol) -> Protocol {
    match protocol {
        config::Protocol::Udp => Protocol::Udp,
        config::Protocol::Tcp => Protocol::Tcp,
    }
}

/// The engine's settings.
pub(super) fn settings(
    config: &Config,
    listens: &[Listen],
    identity: Option<&TlsIdentity>,
) -> Settings {
    let sip = &config.sip;
    Settings {
        listen: listens
            .iter()
            .map(|listen| (listen.protocol, listen.address))
            .collect(),
        timers: Timers {
            t1: sip.t1,
            t2: sip.t2,
            t4: sip.t4,
        },
        next_hop: sip.next_hop.as_ref().map(|hop| Hop {
            host: hop.host.clone(),
            port: hop.port.unwrap_or(5060),
            protocol: protocol(hop.protocol),
        }),
        role: match sip.role {
            config::Role::Originating => Role::Originating,
            config::Role::Terminating => Role::Terminating,
        },
        interworking: Arc::new(policies::interworking(config)),
        groups: Arc::new(Groups::new(&config.controlling, &config.group)),
        trust: policies::trust(config),
        policies: Arc::new(policies::policies(config)),
        preferences: policies::preferences(&config.xcap),
        media: Arc::new(media_settings(config, identity)),
        bye_ack: match sip.bye_ack {
            config::ByeAck::AfterFarEnd => ByeAck::AfterFarEnd,
            config::ByeAck::Immediate => ByeAck::Immediate,
            config::ByeAck::ImmediateAfterStore => ByeAck::ImmediateAfterStore,
        },
        bye_far_deadline: sip.bye_far_deadline,
        store_deadline: (config.history.store != HistoryStore::Off)
            .then_some(config.history.deadline),
        registration: registration(&config.registration),
        late_offer: match sip.late_offer {
            config::LateOffer::Refuse => LateOffer::Refuse,
            config::LateOffer::Relay => LateOffer::Relay,
        },
        ringing_max: sip.invite_ringing_max,
        sessions_max: sip.sessions_max,
        retry_after_s: u32::try_from(sip.retry_after.as_secs()).unwrap_or(u32::MAX),
        drain: config.media.drain,
        end_on_silence: config.media.silence_action == SilenceAction::Release,
        user_agent: sip.user_agent.clone().map(Into::into),
    }
}

fn registration(known: &config::Registration) -> Option<engine::Registration> {
    known.enabled.then(|| engine::Registration {
        trusted: known.trusted.clone(),
        subscribe_when: match known.subscribe_when {
            config::SubscribeWhen::ThirdPartyRegister => SubscribeWhen::ThirdPartyRegister,
            config::SubscribeWhen::Provisioning => SubscribeWhen::Provisioning,
        },
        users: known.users.clone(),
        expires: known.expires,
        retry: known.retry,
        retry_max: known.retry_max,
        users_max: known.users_max,
        without_gruu: match known.without_gruu {
            config::WithoutGruu::AcceptContact => Without::AcceptContact,
            config::WithoutGruu::Contact => Without::Contact,
        },
    })
}

fn media_settings(config: &Config, identity: Option<&TlsIdentity>) -> media::Settings {
    let addresses = &config.media.addresses;
    media::Settings {
        media_v4: addresses.iter().copied().find(std::net::IpAddr::is_ipv4),
        media_v6: addresses.iter().copied().find(std::net::IpAddr::is_ipv6),
        learn: match config.rtp.learn {
            config::Learn::Never => Learn::Never,
            config::Learn::Once => Learn::Once {
                window_ms: millis(config.rtp.learn_window),
                same_ip: config.rtp.learn_same_ip,
            },
        },
        silence_ms: config.media.silence.map_or(0, millis),
        msrp: media::Msrp {
            carried: msrp_ports(&config.msrp).map(|ports| ports != PortChoice::Off),
            fingerprint: identity.map(TlsIdentity::fingerprint),
            needs_fingerprint: config.msrp.fingerprint_required,
            trunk: trunk(&config.msrp),
            trunks: config
                .trunk
                .values()
                .map(|one| (one.who.clone(), trunk(&one.over(&config.msrp))))
                .collect(),
        },
    }
}

fn trunk(msrp: &config::Msrp) -> media::Trunk {
    media::Trunk {
        cema: match msrp.cema {
            config::Cema::PassThrough => media::Cema::PassThrough,
            config::Cema::BackToBack => media::Cema::BackToBack,
        },
        toward: match msrp.toward {
            config::Toward::Same => media::Toward::Same,
            config::Toward::Tcp => media::Toward::Only(MsrpTransport::Tcp),
            config::Toward::Tls => media::Toward::Only(MsrpTransport::Tls),
            config::Toward::Ws => media::Toward::Only(MsrpTransport::Ws),
            config::Toward::Wss => media::Toward::Only(MsrpTransport::Wss),
        },
        match_session_id_only: msrp.match_session_id_only,
        chunking: match msrp.chunk_octets_max {
            0 => Chunking::AsTheyCome,
            octets => Chunking::AtMost {
                octets,
                exact: msrp.chunk_exact,
            },
        },
        bounds: MsrpBounds {
            message_octets: msrp.message_octets_max,
            octets_per_s: msrp.octets_per_s_max,
            idle_ms: millis(msrp.idle_max),
        },
    }
}

/// A backend's name for people.
pub(super) fn backend_name(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Auto => "auto",
        BackendKind::Uring => "io_uring",
        BackendKind::Epoll => "epoll",
    }
}

/// Says in a few lines where the relay listens and how to try it.
pub(super) fn announce(ready: &Ready) {
    use std::io::Write;
    let mut text = String::from("Midpath relays.\n");
    for listen in &ready.sip {
        let name = if listen.protocol == Protocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        text.push_str(&format!("  SIP    {name} {}\n", listen.address));
    }
    let (workers, backend) = ready.workers;
    let path = if ready.is_in_media_path {
        "every session's media pass here"
    } else {
        "sessions are proxied"
    };
    let (first, last) = ready.ports;
    text.push_str(&format!(
        "  media  ports {first}-{last}, {workers} worker(s) over {backend}; {path}\n"
    ));
    for MsrpListen { transport, address } in &ready.msrp {
        let name = match transport {
            MsrpTransport::Tcp => "tcp",
            MsrpTransport::Tls => "tls",
            MsrpTransport::Ws => "ws",
            MsrpTransport::Wss => "wss",
        };
        text.push_str(&format!("  MSRP   {name} {address}\n"));
    }
    if let Some(address) = ready.admin {
        text.push_str(&format!(
            "  admin  http://{address}/health /sessions /metrics\n"
        ));
    }
    if let Some(sip) = ready
        .sip
        .iter()
        .find(|listen| listen.protocol == Protocol::Udp)
    {
        let (ip, port) = (sip.address.ip(), sip.address.port());
        text.push_str(&format!(
            "Try it:  sipp -sn uas -i {ip} -p 5070        (one terminal)\n         \
             sipp -sn uac -i {ip} -p 5080 -rsa {ip}:{port} {ip}:5070   (another)\n   or    midpath demo\n\
             Stop it: SIGTERM lets sessions end, a second one ends at once.\n"
        ));
    }
    // A closed standard output is no reason not to relay.
    let _ = io::stdout().write_all(text.as_bytes());
}
