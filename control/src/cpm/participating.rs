//! The Participating Function's first decisions: for whom it works, and whether it stays in the
//! media path (`requirements.md` S11-03, S11-05..08, CON-11).

use crate::sip::{Message, NameAddr, Uri};

/// Whose Participating Function the relay is for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// PF-O: the client that sent the session's first request is served.
    Originating,
    /// PF-T: the client that it is for is served.
    Terminating,
}

impl Role {
    /// Reads the session case: `P-Served-User` (RFC 5502 §6), else `orig` in the Route that led
    /// here (3GPP TS 24.229 §5.4.3.2), else what is configured.
    #[must_use]
    pub fn of(request: &Message, own_route: Option<&str>, configured: Self) -> Self {
        if let Some(value) = request.headers.get_named("P-Served-User") {
            let value = value.to_ascii_lowercase();
            if value.contains("sescase=term") {
                return Self::Terminating;
            }
            if value.contains("sescase=orig") {
                return Self::Originating;
            }
        }
        let orig = own_route
            .and_then(|route| NameAddr::parse(route).ok())
            .and_then(|route| Uri::parse(route.uri).ok().map(|uri| uri.has_param("orig")));
        if orig == Some(true) {
            Self::Originating
        } else {
            configured
        }
    }

    /// Its name in records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Originating => "originating",
            Self::Terminating => "terminating",
        }
    }
}

/// How the relay takes part in a session: decided once, for the rest of it (S11-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A SIP proxy: nothing in the data plane, SDP unchanged.
    Proxy,
    /// A back-to-back user agent in the media path.
    B2bua,
}

/// The service provider's reasons to stay in the media path (S11-07); each alone is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent reasons of the source text"
)]
pub struct Stay {
    /// Charging by what the media was.
    pub media_charging: bool,
    /// Content is adapted on the way.
    pub content_adaptation: bool,
    /// The session's history is recorded in the network.
    pub history: bool,
    /// A user may have several devices in one session.
    pub several_devices: bool,
    /// Lawful interception.
    pub interception: bool,
    /// Not all kinds of streams are allowed, so offers must be cut down (CON-11).
    pub stream_subset: bool,
}

impl Stay {
    /// Decides.
    #[must_use]
    pub fn mode(self) -> Mode {
        let stay = self.media_charging
            || self.content_adaptation
            || self.history
            || self.several_devices
            || self.interception
            || self.stream_subset;
        if stay { Mode::B2bua } else { Mode::Proxy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_alone_keeps_the_relay_in_the_media_path() {
        let none = Stay::default();
        assert_eq!(none.mode(), Mode::Proxy);
        for stay in [
            Stay {
                media_charging: true,
                ..none
            },
            Stay {
                content_adaptation: true,
                ..none
            },
            Stay {
                history: true,
                ..none
            },
            Stay {
                several_devices: true,
                ..none
            },
            Stay {
                interception: true,
                ..none
            },
            Stay {
                stream_subset: true,
                ..none
            },
        ] {
            assert_eq!(stay.mode(), Mode::B2bua, "{stay:?}");
        }
    }
}
