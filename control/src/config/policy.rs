//! What holds for everybody's sessions, and for users that are treated otherwise.

use std::time::Duration;

use serde::Deserialize;

use super::values::{self, Fork, ImdnDevices, IwfClose, OnFailure, StreamKind};

/// What holds for everybody. Without a reason to stay in the media path the relay is a proxy.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each reason is a setting of its own"
)]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Charging counts what the media carries.
    pub media_charging: bool,
    /// Media may have to be adapted.
    pub content_adaptation: bool,
    /// Sessions are recorded in the user's history.
    pub history: bool,
    /// A user may have several devices in one session.
    pub several_devices: bool,
    /// Sessions may have to be intercepted.
    pub interception: bool,
    /// Streams that a session may have; a stream of another kind is a reason to stay, too.
    pub streams: Vec<StreamKind>,
    /// The history of sessions is stored where the user's preferences don't say.
    pub allow_offline_storage: bool,
    /// Who picks the devices of an invited user.
    pub fork: Fork,
    /// The called user is not registered.
    pub interwork_unregistered: OnFailure,
    /// The far network knows no CPM.
    pub interwork_no_cpm: OnFailure,
    /// The far side has no SIP/IP core.
    pub interwork_no_core: OnFailure,
    /// The address can't be routed in SIP.
    pub interwork_scheme: OnFailure,
    /// What ends when one of several Interworking Functions ends its part.
    pub iwf_close: IwfClose,
    /// Senders who ask for it are told where a message can't be delivered.
    pub notify_failures: bool,
    /// Which of the notifications of a recipient's devices go to the sender.
    pub imdn_devices: ImdnDevices,
    /// How long a better notification is waited for.
    #[serde(rename = "imdn_window_ms", deserialize_with = "values::millis")]
    pub imdn_window: Duration,
    /// All devices of a sender get the notifications of its messages.
    pub imdn_to_all_devices: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            media_charging: true,
            content_adaptation: false,
            history: false,
            several_devices: false,
            interception: false,
            streams: vec![
                StreamKind::Audio,
                StreamKind::Video,
                StreamKind::Message,
                StreamKind::Application,
                StreamKind::Other,
            ],
            allow_offline_storage: false,
            fork: Fork::Core,
            interwork_unregistered: OnFailure::Error,
            interwork_no_cpm: OnFailure::Error,
            interwork_no_core: OnFailure::Error,
            interwork_scheme: OnFailure::Error,
            iwf_close: IwfClose::Streams,
            notify_failures: true,
            imdn_devices: ImdnDevices::Priority,
            imdn_window: Duration::from_secs(2),
            imdn_to_all_devices: false,
        }
    }
}

/// A user that is treated otherwise; what it doesn't say is as [`Policy`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The user may not begin sessions, nor be invited to any.
    pub barred: bool,
    /// Further reasons to stay in the media path of this user's sessions.
    pub stay: Vec<Reason>,
    /// The streams that this user's sessions may have: some of [`Policy::streams`].
    #[serde(deserialize_with = "values::given")]
    pub streams: Option<Vec<StreamKind>>,
    /// See [`Policy::allow_offline_storage`].
    #[serde(deserialize_with = "values::given")]
    pub allow_offline_storage: Option<bool>,
    /// See [`Policy::fork`].
    #[serde(deserialize_with = "values::given")]
    pub fork: Option<Fork>,
    /// Devices (`+sip.instance`) that the user wants no invitations on.
    pub excluded_devices: Vec<String>,
    /// See [`Policy::interwork_unregistered`].
    #[serde(deserialize_with = "values::given")]
    pub interwork_unregistered: Option<OnFailure>,
    /// See [`Policy::interwork_no_cpm`].
    #[serde(deserialize_with = "values::given")]
    pub interwork_no_cpm: Option<OnFailure>,
    /// See [`Policy::interwork_no_core`].
    #[serde(deserialize_with = "values::given")]
    pub interwork_no_core: Option<OnFailure>,
    /// See [`Policy::interwork_scheme`].
    #[serde(deserialize_with = "values::given")]
    pub interwork_scheme: Option<OnFailure>,
    /// See [`Policy::iwf_close`].
    #[serde(deserialize_with = "values::given")]
    pub iwf_close: Option<IwfClose>,
    /// The user's own preference; holds where [`Policy::notify_failures`] allows it.
    #[serde(deserialize_with = "values::given")]
    pub notify_failures: Option<bool>,
    /// See [`Policy::imdn_to_all_devices`].
    #[serde(deserialize_with = "values::given")]
    pub imdn_to_all_devices: Option<bool>,
}

/// A reason to stay in the media path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// See [`Policy::media_charging`].
    MediaCharging,
    /// See [`Policy::content_adaptation`].
    ContentAdaptation,
    /// See [`Policy::history`].
    History,
    /// See [`Policy::several_devices`].
    SeveralDevices,
    /// See [`Policy::interception`].
    Interception,
}

impl User {
    /// What holds for this user. The provider's word stands above the user's: reasons to stay add
    /// up, and a stream has to be allowed by both.
    #[must_use]
    pub fn over(&self, base: &Policy) -> Policy {
        let stays = |reason| self.stay.contains(&reason);
        let is_allowed = |kind: &&StreamKind| {
            let own = self.streams.as_ref();
            own.is_none_or(|own| own.contains(kind))
        };
        Policy {
            media_charging: base.media_charging || stays(Reason::MediaCharging),
            content_adaptation: base.content_adaptation || stays(Reason::ContentAdaptation),
            history: base.history || stays(Reason::History),
            several_devices: base.several_devices || stays(Reason::SeveralDevices),
            interception: base.interception || stays(Reason::Interception),
            streams: base.streams.iter().filter(is_allowed).copied().collect(),
            allow_offline_storage: self
                .allow_offline_storage
                .unwrap_or(base.allow_offline_storage),
            fork: self.fork.unwrap_or(base.fork),
            interwork_unregistered: self
                .interwork_unregistered
                .unwrap_or(base.interwork_unregistered),
            interwork_no_cpm: self.interwork_no_cpm.unwrap_or(base.interwork_no_cpm),
            interwork_no_core: self.interwork_no_core.unwrap_or(base.interwork_no_core),
            interwork_scheme: self.interwork_scheme.unwrap_or(base.interwork_scheme),
            iwf_close: self.iwf_close.unwrap_or(base.iwf_close),
            notify_failures: base.notify_failures && self.notify_failures.unwrap_or(true),
            imdn_devices: base.imdn_devices,
            imdn_window: base.imdn_window,
            imdn_to_all_devices: self.imdn_to_all_devices.unwrap_or(base.imdn_to_all_devices),
        }
    }
}

/// Where users' preferences are asked for (RFC 4825).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xcap {
    /// The XCAP root; `None`: nowhere.
    #[serde(deserialize_with = "values::unless_empty")]
    pub root: Option<String>,
    /// The application usage.
    pub auid: String,
    /// The document's name in a user's folder.
    pub document: String,
    /// How long an INVITE waits for those of a user of whom nothing is known.
    #[serde(rename = "wait_ms", deserialize_with = "values::millis")]
    pub wait: Duration,
    /// How long a document may take.
    #[serde(rename = "timeout_ms", deserialize_with = "values::millis")]
    pub timeout: Duration,
    /// How long it is believed.
    #[serde(rename = "fresh_s", deserialize_with = "values::seconds")]
    pub fresh: Duration,
    /// Users whose preferences are kept.
    pub users_max: usize,
}

impl Default for Xcap {
    fn default() -> Self {
        Self {
            root: None,
            auid: "org.openmobilealliance.cpm-rules".to_owned(),
            document: "index".to_owned(),
            wait: Duration::from_millis(300),
            timeout: Duration::from_secs(2),
            fresh: Duration::from_secs(300),
            users_max: 100_000,
        }
    }
}
