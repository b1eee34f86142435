//! From settings to what holds for whom.

use crate::config::{Config, Policy, StreamKind};
use crate::cpm::identity::Trust;
use crate::cpm::participating::Stay;
use crate::cpm::policy::{Policies, Streams, UserPolicy};

/// Whose word on identities counts.
pub(super) fn trust(_config: &Config) -> Trust {
    Trust::default()
}

/// What holds for everybody, and for the users that are settled otherwise.
pub(super) fn policies(config: &Config) -> Policies {
    Policies::new(policy(&config.policy))
}

fn policy(policy: &Policy) -> UserPolicy {
    UserPolicy {
        streams: streams(&policy.streams),
        stay: Stay {
            media_charging: policy.media_charging,
            content_adaptation: policy.content_adaptation,
            history: policy.history,
            several_devices: policy.several_devices,
            interception: policy.interception,
            stream_subset: false,
        },
        ..UserPolicy::default()
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
