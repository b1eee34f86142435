//! What the service provider allows a user, and what the user prefers: one answer per served user.
//!
//! A session keeps what it was told when it began, so that new settings don't touch it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::participating::{Mode, Stay};
use crate::sip::Uri;
use crate::sip::uri::Scheme;

/// Kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of five kinds")]
pub struct Streams {
    /// `m=audio`
    pub audio: bool,
    /// `m=video`
    pub video: bool,
    /// `m=message`
    pub message: bool,
    /// `m=application`
    pub application: bool,
    /// Whatever else there is.
    pub other: bool,
}

impl Streams {
    /// Every kind.
    pub const ALL: Self = Self {
        audio: true,
        video: true,
        message: true,
        application: true,
        other: true,
    };

    /// No kind.
    pub const NONE: Self = Self {
        audio: false,
        video: false,
        message: false,
        application: false,
        other: false,
    };

    /// What both allow.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self {
            audio: self.audio && other.audio,
            video: self.video && other.video,
            message: self.message && other.message,
            application: self.application && other.application,
            other: self.other && other.other,
        }
    }
}

/// Who picks the devices of an invited user (CON-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForkMode {
    /// The SIP/IP core: one INVITE, with a Reject-Contact for each device that is excluded.
    #[default]
    Core,
    /// The Participating Function: one INVITE for each device that isn't excluded.
    Pf,
}

/// What a failure that interworking could mend leads to (IWS-08..10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It goes back to the originator.
    #[default]
    Error,
    /// The invitation goes to the Interworking Selection Function.
    Interwork,
}

/// What ends when one of several Interworking Functions ends its part (BYO-07, BYT-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IwfClose {
    /// The streams that it had.
    #[default]
    Streams,
    /// The session.
    Session,
}

/// Interworking, as the provider allows it and the user wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interworking {
    /// The served user is not registered (IWS-05).
    pub unregistered: OnFailure,
    /// The far network knows no CPM (IWS-08).
    pub no_cpm: OnFailure,
    /// The far side has no SIP/IP core (IWS-09).
    pub no_core: OnFailure,
    /// The address can't be routed in SIP (IWS-10).
    pub scheme: OnFailure,
    /// One of several Interworking Functions ends its part.
    pub close: IwfClose,
}

/// Which of the notifications of a recipient's devices go to the sender (CON-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeveralDevices {
    /// The first of each kind.
    First,
    /// The first that says something good; else the first, when nothing better came in time.
    #[default]
    Priority,
    /// All.
    All,
}

/// Disposition notifications, as the provider allows them and the user wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notices {
    /// Senders who ask for it are told where a message can't be delivered (DN-03, DN-04).
    pub failures: bool,
    /// Whose notifications go to the sender, of several devices (DN-10).
    pub devices: SeveralDevices,
    /// How long something better is waited for.
    pub window: Duration,
    /// All devices of a sender hear what became of a message, not only the one that has sent it
    /// (DN-11).
    pub to_all_devices: bool,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            failures: true,
            devices: SeveralDevices::default(),
            window: Duration::from_secs(2),
            to_all_devices: false,
        }
    }
}

/// Everything that is decided by who is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPolicy {
    /// The user may not begin sessions, nor be invited to any (S11-02): 403.
    pub barred: bool,
    /// The streams that the user's sessions may have.
    pub streams: Streams,
    /// `<allow-offline-storage>`: the history of the user's sessions is stored (HST-01).
    pub allow_offline_storage: bool,
    /// Why to stay in the media path.
    pub stay: Stay,
    /// Who picks the user's devices.
    pub fork: ForkMode,
    /// Devices (`+sip.instance`) that the user wants no invitations on (FRK-01).
    pub excluded_devices: Vec<String>,
    /// Interworking.
    pub interworking: Interworking,
    /// Disposition notifications.
    pub notices: Notices,
}

impl Default for UserPolicy {
    fn default() -> Self {
        Self {
            barred: false,
            streams: Streams::ALL,
            allow_offline_storage: false,
            stay: Stay::default(),
            fork: ForkMode::default(),
            excluded_devices: Vec::new(),
            interworking: Interworking::default(),
            notices: Notices::default(),
        }
    }
}

impl UserPolicy {
    /// How the relay takes part in the user's sessions: as a back-to-back user agent where there
    /// is a reason to stay, where not all kinds of streams are allowed (CON-11), and where the
    /// history is due and there is a store for it (HST-03).
    #[must_use]
    pub fn mode(&self, has_store: bool) -> Mode {
        let stay = Stay {
            history: self.stay.history || (self.allow_offline_storage && has_store),
            stream_subset: self.stay.stream_subset || self.streams != Streams::ALL,
            ..self.stay
        };
        stay.mode()
    }
}

/// The policies of all users at one moment; replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    default: Arc<UserPolicy>,
    users: HashMap<String, Arc<UserPolicy>>,
}

impl Policies {
    /// What holds for everybody.
    #[must_use]
    pub fn new(default: UserPolicy) -> Self {
        Self {
            default: Arc::new(default),
            users: HashMap::new(),
        }
    }

    /// Adds what holds for one user, by any of the user's addresses.
    pub fn set(&mut self, address: &str, policy: UserPolicy) {
        self.users.insert(user_key(address), Arc::new(policy));
    }

    /// What holds for the user with an address.
    #[must_use]
    pub fn of(&self, address: &str) -> Arc<UserPolicy> {
        self.of_any([address])
    }

    /// What holds for a user with several addresses: what is settled for the first of them for
    /// which anything is.
    #[must_use]
    pub fn of_any<'a>(&self, addresses: impl IntoIterator<Item = &'a str>) -> Arc<UserPolicy> {
        let found = if self.users.is_empty() {
            None
        } else {
            let mut addresses = addresses.into_iter();
            addresses.find_map(|address| self.users.get(&user_key(address)))
        };
        Arc::clone(found.unwrap_or(&self.default))
    }

    /// What holds for everybody else.
    #[must_use]
    pub fn everybody(&self) -> &UserPolicy {
        &self.default
    }
}

/// One spelling for all addresses of a user: `tel:+1-555`, `sip:+1555@d;user=phone` and the like
/// are the same user (IDN-02); other addresses without parameters, the host in lower case.
#[must_use]
pub fn user_key(address: &str) -> String {
    let Ok(uri) = Uri::parse(address) else {
        return address.trim().to_owned();
    };
    let user = uri.user.unwrap_or_default();
    let is_phone = match uri.scheme {
        Scheme::Tel => true,
        Scheme::Sip | Scheme::Sips => uri
            .get_param("user")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("phone")),
        Scheme::Other => return address.trim().to_owned(),
    };
    if is_phone {
        let number = user.split(';').next().unwrap_or_default();
        let digits = number.chars().filter(|c| !"-.() ".contains(*c));
        return digits.collect();
    }
    format!("{user}@{}", uri.host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idn_02_a_number_is_the_same_user_in_every_spelling() {
        for other in ["tel:+1-555", "sip:+1555@home.example;user=phone"] {
            assert_eq!(user_key(other), "+1555", "{other}");
        }
        assert_ne!(user_key("sip:+1555@home.example"), "+1555");
        assert_eq!(user_key("sip:Bob@HOME.example;x=y"), "Bob@home.example");
    }
}
