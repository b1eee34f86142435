//! From settings to what holds for whom.

use crate::config::{self, Config, Policy, StreamKind, Xcap};
use crate::cpm::identity::{NoIdentity, Trust};
use crate::cpm::interworking;
use crate::cpm::participating::Stay;
use crate::cpm::policy::{
    ForkMode, Interworking, IwfClose, Notices, OnFailure, Policies, SeveralDevices, Streams,
    UserPolicy,
};
use crate::cpm::routing::Hop;
use crate::engine::AskPreferences;

/// Whose word on identities counts.
pub(super) fn trust(config: &Config) -> Trust {
    Trust {
        peers: config.sip.trusted.clone(),
        without: match config.sip.no_identity {
            config::NoIdentity::From => NoIdentity::From,
            config::NoIdentity::Refuse => NoIdentity::Refuse,
        },
    }
}

/// What holds for everybody, and for the users that are settled otherwise.
pub(super) fn policies(config: &Config) -> Policies {
    let mut policies = Policies::new(policy(&config.policy));
    for (address, user) in &config.user {
        let own = UserPolicy {
            barred: user.barred,
            excluded_devices: user.excluded_devices.clone(),
            ..policy(&user.over(&config.policy))
        };
        policies.set(address, own);
    }
    policies
}

/// How users' preferences are asked for.
pub(super) fn preferences(xcap: &Xcap) -> Option<AskPreferences> {
    xcap.root.as_ref().map(|_| AskPreferences {
        wait: xcap.wait,
        fresh: xcap.fresh,
        users_max: xcap.users_max,
    })
}

fn policy(policy: &Policy) -> UserPolicy {
    UserPolicy {
        barred: false,
        streams: streams(&policy.streams),
        allow_offline_storage: policy.allow_offline_storage,
        stay: Stay {
            media_charging: policy.media_charging,
            content_adaptation: policy.content_adaptation,
            history: policy.history,
            several_devices: policy.several_devices,
            interception: policy.interception,
            // Follows from the streams: see `UserPolicy::mode`.
            stream_subset: false,
        },
        fork: match policy.fork {
            config::Fork::Core => ForkMode::Core,
            config::Fork::Pf => ForkMode::Pf,
        },
        excluded_devices: Vec::new(),
        interworking: Interworking {
            unregistered: on_failure(policy.interwork_unregistered),
            no_cpm: on_failure(policy.interwork_no_cpm),
            no_core: on_failure(policy.interwork_no_core),
            scheme: on_failure(policy.interwork_scheme),
            close: match policy.iwf_close {
                config::IwfClose::Streams => IwfClose::Streams,
                config::IwfClose::Session => IwfClose::Session,
            },
        },
        notices: Notices {
            failures: policy.notify_failures,
            devices: match policy.imdn_devices {
                config::ImdnDevices::First => SeveralDevices::First,
                config::ImdnDevices::Priority => SeveralDevices::Priority,
                config::ImdnDevices::All => SeveralDevices::All,
            },
            window: policy.imdn_window,
            to_all_devices: policy.imdn_to_all_devices,
        },
    }
}

fn on_failure(what: config::OnFailure) -> OnFailure {
    match what {
        config::OnFailure::Error => OnFailure::Error,
        config::OnFailure::Interwork => OnFailure::Interwork,
    }
}

fn streams(kinds: &[StreamKind]) -> Streams {
    Streams {
        audio: kinds.contains(&StreamKind::Audio),
        video: kinds.contains(&StreamKind::Video),
        message: kinds.contains(&StreamKind::Message),
        application: kinds.contains(&StreamKind::Application),
        other: kinds.contains(&StreamKind::Other),
    }
}

/// Where sessions go that leave CPM; every Route was checked already.
pub(super) fn interworking(config: &Config) -> interworking::Settings {
    let settings = &config.interworking;
    let external = settings.isf.iter().map(|route| config::Iwf {
        name: "isf".to_owned(),
        route: route.clone(),
        streams: Policy::default().streams,
        size_max: 0,
        schemes: Vec::new(),
    });
    let functions = external.chain(settings.iwf.iter().cloned());
    interworking::Settings {
        functions: functions.filter_map(function).collect(),
        no_cpm: settings.no_cpm_codes.clone(),
        no_core: settings.no_core_codes.clone(),
        unroutable: settings.unroutable_schemes.clone(),
    }
}

fn function(iwf: config::Iwf) -> Option<interworking::Function> {
    let first = iwf.route.split(',').next().unwrap_or_default().trim();
    let uri = first.trim_start_matches('<').trim_end_matches('>');
    let hop = Hop::of(uri).ok()?;
    let route = if iwf.route.starts_with('<') {
        iwf.route
    } else {
        format!("<{}>", iwf.route)
    };
    Some(interworking::Function {
        name: iwf.name,
        route: route.into(),
        hop,
        streams: streams(&iwf.streams),
        size_max: Some(iwf.size_max).filter(|size| *size != 0),
        schemes: iwf.schemes,
    })
}
