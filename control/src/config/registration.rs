//! Settings of what is known of users' devices.

use std::time::Duration;

use serde::Deserialize;

use super::{Who, values};

/// Which devices users have registered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether anything is known of them.
    pub enabled: bool,
    /// Who may tell of registrations; empty: anybody.
    pub trusted: Vec<Who>,
    /// When the relay subscribes to a user's registration (REG-12).
    pub subscribe_when: SubscribeWhen,
    /// The users that it subscribes to at once with [`SubscribeWhen::Provisioning`].
    pub users: Vec<String>,
    /// How long a subscription is asked for.
    #[serde(rename = "expires_s", deserialize_with = "values::seconds")]
    pub expires: Duration,
    /// How long it waits after a subscription ended or failed; twice as long each time.
    #[serde(rename = "retry_s", deserialize_with = "values::seconds")]
    pub retry: Duration,
    /// How long it waits at most.
    #[serde(rename = "retry_s_max", deserialize_with = "values::seconds")]
    pub retry_max: Duration,
    /// Users at a time; 1 to [`crate::limits::REGISTERED_USERS`].
    pub users_max: usize,
    /// How devices without a GRUU are reached by an INVITE of their own.
    pub without_gruu: WithoutGruu,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            enabled: false,
            trusted: Vec::new(),
            subscribe_when: SubscribeWhen::ThirdPartyRegister,
            users: Vec::new(),
            expires: Duration::from_secs(3600),
            retry: Duration::from_secs(5),
            retry_max: Duration::from_secs(600),
            users_max: 100_000,
            without_gruu: WithoutGruu::AcceptContact,
        }
    }
}

/// When the relay subscribes to a user's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscribeWhen {
    /// When the core tells of the user's first one.
    ThirdPartyRegister,
    /// At once, for users that are named.
    Provisioning,
}

/// How a device without a GRUU is reached by an INVITE of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutGruu {
    /// By the user's address and an Accept-Contact that only this device meets.
    AcceptContact,
    /// By its Contact.
    Contact,
}
