//! Interworking: whether an invitation leaves CPM, and by which Interworking Function (IWF) each of
//! its streams goes (002 5.3.1, 003 C.4.3).
//!
//! Nothing here reads what an originator prefers at the terminating side: there, the served user
//! is the one who is invited (IWS-02).

use super::participating::Role;
use super::policy::{self, OnFailure, Streams};
use super::routing::Hop;
use crate::sdp::{Kind, MediaDescription};
use crate::sip::Text;

/// Interworking as it is configured.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The Interworking Functions, in the order in which they are asked. An external Interworking
    /// Selection Function stands here alone, as the one that takes everything (CON-21).
    pub functions: Vec<Function>,
    /// Responses that say that the far network knows no CPM (IWS-08).
    pub no_cpm: Vec<u16>,
    /// Responses that say that there is no SIP/IP core (IWS-09).
    pub no_core: Vec<u16>,
    /// Schemes of addresses that can't be routed in SIP (IWS-10), in lower case.
    pub unroutable: Vec<String>,
}

/// An Interworking Function, or the external function that selects one.
#[derive(Debug, Clone)]
pub struct Function {
    /// What the operator calls it.
    pub name: String,
    /// The Route header field that leads to it.
    pub route: Text,
    /// The first hop of that Route.
    pub hop: Hop,
    /// The streams that it can carry.
    pub streams: Streams,
    /// Octets of the largest file that it takes; `None`: any.
    pub size_max: Option<u64>,
    /// Schemes of the addresses that its service knows, in lower case; empty: all. `tel` stands for
    /// telephone numbers in a SIP URI, too.
    pub schemes: Vec<String>,
}

/// Why an invitation may have to leave CPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The served user of the terminating side is not registered (IWS-05).
    Unregistered,
    /// The far network knows no CPM (IWS-08).
    NoCpm,
    /// The far side has no SIP/IP core (IWS-09).
    NoCore,
    /// The address can't be routed in SIP (IWS-10).
    Scheme,
}

/// What a stream needs of an Interworking Function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    kind: Kind,
    size: Option<u64>,
}

impl Cause {
    /// What the served user's policy does about it.
    fn by(self, policy: policy::Interworking) -> OnFailure {
        match self {
            Self::Unregistered => policy.unregistered,
            Self::NoCpm => policy.no_cpm,
            Self::NoCore => policy.no_core,
            Self::Scheme => policy.scheme,
        }
    }
}

impl Settings {
    /// What a failure of the far side may be a sign of; only the originating side acts on it.
    #[must_use]
    pub fn cause_of(&self, role: Role, code: u16) -> Option<Cause> {
        match role {
            Role::Terminating => None,
            Role::Originating if self.no_cpm.contains(&code) => Some(Cause::NoCpm),
            Role::Originating if self.no_core.contains(&code) => Some(Cause::NoCore),
            Role::Originating => None,
        }
    }

    /// Whether an address can't be routed in SIP.
    #[must_use]
    pub fn is_unroutable(&self, address: &str) -> bool {
        let scheme = scheme(address);
        self.unroutable.contains(&scheme)
    }

    /// Whether an invitation to an address is interworked: the policy wants it, and the address is
    /// valid for one of the services (IWS-11).
    #[must_use]
    pub fn takes(&self, cause: Cause, policy: policy::Interworking, address: &str) -> bool {
        cause.by(policy) == OnFailure::Interwork
            && self
                .functions
                .iter()
                .any(|function| function.knows(address))
    }

    /// Whether the policy could want a failure of the far side interworked: the relay has to be a
    /// back-to-back user agent then, as a proxy can't begin anew.
    #[must_use]
    pub fn may_follow_failure(&self, role: Role, policy: policy::Interworking) -> bool {
        let wants = |cause: Cause| cause.by(policy) == OnFailure::Interwork;
        let wants = wants(Cause::NoCpm) || wants(Cause::NoCore);
        role == Role::Originating && wants && !self.functions.is_empty()
    }

    /// The function to ask next for a stream, by its index: the first that can carry it, knows the
    /// address and was not asked before.
    #[must_use]
    pub fn select(&self, address: &str, wish: Wish, asked: &[usize]) -> Option<usize> {
        let fits = |(index, function): &(usize, &Function)| {
            !asked.contains(index) && function.knows(address) && function.carries(wish)
        };
        let mut functions = self.functions.iter().enumerate();
        functions.find(fits).map(|(index, _)| index)
    }
}

impl Function {
    /// Whether an address is valid in its service.
    #[must_use]
    pub fn knows(&self, address: &str) -> bool {
        let scheme = scheme(address);
        let is_number = policy::user_key(address).starts_with('+')
            && ["sip", "sips"].contains(&scheme.as_str());
        self.schemes.is_empty()
            || self.schemes.contains(&scheme)
            || (is_number && self.schemes.iter().any(|known| known == "tel"))
    }

    fn carries(&self, wish: Wish) -> bool {
        let is_kind = match wish.kind {
            Kind::Audio => self.streams.audio,
            Kind::Video => self.streams.video,
            Kind::Message => self.streams.message,
            Kind::Application => self.streams.application,
            Kind::Image | Kind::Text | Kind::Other => self.streams.other,
        };
        let is_small = match (wish.size, self.size_max) {
            (Some(size), Some(most)) => size <= most,
            (None, _) | (_, None) => true,
        };
        is_kind && is_small
    }
}

impl Wish {
    /// What an offered stream needs. The size is that of the offered file (RFC 5547 §6): what
    /// `a=max-size` names is what the offerer takes, which is nothing to an IWF.
    #[must_use]
    pub fn of(line: &MediaDescription) -> Self {
        let size = line.attribute("file-selector").and_then(size_of);
        Self {
            kind: line.kind(),
            size,
        }
    }
}

/// The `size:` of a file selector; a name in quotes may hold anything.
fn size_of(selector: &str) -> Option<u64> {
    let mut is_quoted = false;
    let mut words = selector.split(|character| {
        is_quoted ^= character == '"';
        character == ' ' && !is_quoted
    });
    words.find_map(|word| word.strip_prefix("size:")?.parse().ok())
}

fn scheme(address: &str) -> String {
    let (scheme, _) = address.trim().split_once(':').unwrap_or_default();
    scheme.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Sdp;

    fn function(name: &str, streams: Streams, size_max: Option<u64>, schemes: &[&str]) -> Function {
        let route = format!("<sip:{name}@127.0.0.1:5090;lr>");
        Function {
            name: name.to_owned(),
            hop: Hop::of("sip:127.0.0.1:5090;lr").unwrap(),
            route: route.into(),
            streams,
            size_max,
            schemes: schemes.iter().map(|&scheme| scheme.to_owned()).collect(),
        }
    }

    fn settings() -> Settings {
        let none = Streams {
            audio: false,
            video: false,
            message: false,
            application: false,
            other: false,
        };
        let text = Streams {
            message: true,
            ..none
        };
        Settings {
            functions: vec![
                function("sms", text, Some(1000), &["tel"]),
                function("mms", text, Some(300_000), &["tel", "mailto"]),
                function("pstn", Streams::ALL, None, &["tel", "sip"]),
            ],
            no_cpm: vec![420, 488],
            no_core: vec![404],
            unroutable: vec!["wv".to_owned()],
        }
    }

    fn wish(line: &str) -> Wish {
        let sdp = format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\n{line}");
        Wish::of(&Sdp::parse(sdp.as_bytes()).unwrap().media()[0])
    }

    #[test]
    fn a_stream_goes_to_the_first_function_that_can_carry_it() {
        let settings = settings();
        let chat = wish("m=message 9 TCP/MSRP *\r\n");
        let file = wish(
            "m=message 9 TCP/MSRP *\r\na=file-selector:name:\"a size:1 b\" type:image/png size:4092\r\n",
        );
        let voice = wish("m=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(settings.select("tel:+1555", chat, &[]), Some(0));
        assert_eq!(settings.select("tel:+1555", file, &[]), Some(1));
        assert_eq!(settings.select("tel:+1555", voice, &[]), Some(2));
        assert_eq!(settings.select("tel:+1555", chat, &[0, 1]), Some(2));
        assert_eq!(settings.select("tel:+1555", chat, &[0, 1, 2]), None);
        assert_eq!(settings.select("mailto:b@x", chat, &[]), Some(1));
        assert_eq!(
            settings.select("sip:+1555@x;user=phone", chat, &[]),
            Some(0)
        );
        assert_eq!(settings.select("sip:bob@x", chat, &[]), Some(2));
    }

    #[test]
    fn an_address_that_no_service_knows_is_not_interworked() {
        let policy = policy::Interworking {
            no_cpm: OnFailure::Interwork,
            ..policy::Interworking::default()
        };
        let settings = settings();
        assert!(settings.takes(Cause::NoCpm, policy, "tel:+1555"));
        assert!(!settings.takes(Cause::NoCpm, policy, "wv:bob"));
        assert!(!settings.takes(Cause::NoCore, policy, "tel:+1555"));
        assert!(settings.is_unroutable("WV:bob"));
    }

    #[test]
    fn only_the_originating_side_reads_a_failure() {
        let settings = settings();
        assert_eq!(
            settings.cause_of(Role::Originating, 488),
            Some(Cause::NoCpm)
        );
        assert_eq!(
            settings.cause_of(Role::Originating, 404),
            Some(Cause::NoCore)
        );
        assert_eq!(settings.cause_of(Role::Originating, 486), None);
        assert_eq!(settings.cause_of(Role::Terminating, 488), None);
    }
}
