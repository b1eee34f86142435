//! To which devices of the invited user an INVITE goes (FRK-01, FRK-02, CON-09, CON-10; 004 step 4).
//!
//! ```text
//! offered kinds of streams ─┐
//! devices' capabilities ────┼─▶ who is left out ─▶ core: one INVITE, a Reject-Contact for each
//! user's preferences ───────┤                      pf:   an INVITE for each of the others
//! provider's policy ────────┘                      nobody left: unavailable
//! ```

use super::devices::{Can, Device};
use super::policy::{ForkMode, Streams, UserPolicy};
use crate::sdp::{Kind, MediaDescription, Sdp};

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// One INVITE to where it asks to go, with these header values: the core picks the devices.
    One {
        /// Values of Reject-Contact, one for each device that is left out.
        reject_contact: Vec<String>,
    },
    /// One INVITE for each of these.
    Each(Vec<Reach>),
    /// No device is left, or none is registered (FRK-10, REG-01).
    Unavailable,
}

/// How one device is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its own URI; `None`: the user's, as it came.
    pub uri: Option<String>,
    /// The value of an Accept-Contact that only this device meets.
    pub accept_contact: Option<String>,
}

/// How devices without a GRUU are reached by an INVITE of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Without {
    /// By the user's address and an Accept-Contact with their instance, where they have one.
    #[default]
    AcceptContact,
    /// By their contact.
    Contact,
}

/// Decides for a registered user.
#[must_use]
pub fn decide(
    offer: Option<&Sdp>,
    devices: &[&Device],
    policy: &UserPolicy,
    without: Without,
) -> Decision {
    // Registered, but nobody said with what: the core alone knows.
    if devices.is_empty() {
        return Decision::One {
            reject_contact: Vec::new(),
        };
    }
    let wanted = offer.map(|offer| wanted(offer, policy.streams));
    let excluded = excluded(wanted.as_deref(), devices, policy);
    let (out, left): (Vec<_>, Vec<_>) = devices
        .iter()
        .zip(excluded)
        .partition(|(_, is_out)| *is_out);
    if left.is_empty() {
        return Decision::Unavailable;
    }
    match policy.fork {
        ForkMode::Core => Decision::One {
            reject_contact: out
                .iter()
                .filter_map(|(device, _)| device.instance.as_deref())
                .map(|instance| format!("*;+sip.instance=\"<{instance}>\""))
                .collect(),
        },
        ForkMode::Pf => Decision::Each(
            left.iter()
                .map(|(device, _)| Reach::to(device, without))
                .collect(),
        ),
    }
}

impl Reach {
    fn to(device: &Device, without: Without) -> Self {
        if let Some(gruu) = &device.gruu {
            return Self {
                uri: Some(gruu.clone()),
                accept_contact: None,
            };
        }
        match (&device.instance, without) {
            (Some(instance), Without::AcceptContact) => Self {
                uri: None,
                accept_contact: Some(format!("*;+sip.instance=\"<{instance}>\";require;explicit")),
            },
            (_, Without::Contact) | (None, Without::AcceptContact) => Self {
                uri: Some(device.contact.clone()),
                accept_contact: None,
            },
        }
    }
}

/// A stream that is offered and allowed.
struct Wanted {
    kind: Kind,
    /// Its MIME types, in lower case.
    types: Vec<String>,
}

fn wanted(offer: &Sdp, allowed: Streams) -> Vec<Wanted> {
    let offered = offer.media().iter().filter(|media| media.port() != 0);
    offered
        .filter(|media| is_allowed(media.kind(), allowed))
        .map(|media| Wanted {
            kind: media.kind(),
            types: types(media),
        })
        .collect()
}

fn is_allowed(kind: Kind, streams: Streams) -> bool {
    match kind {
        Kind::Audio => streams.audio,
        Kind::Video => streams.video,
        Kind::Message => streams.message,
        Kind::Application => streams.application,
        Kind::Image | Kind::Text | Kind::Other => streams.other,
    }
}

/// What a stream is offered with: the codecs of RTP, the content types of MSRP.
fn types(media: &MediaDescription) -> Vec<String> {
    let types: Vec<String> = match media.kind() {
        Kind::Message => ["accept-types", "accept-wrapped-types"]
            .iter()
            .filter_map(|name| media.attribute(name))
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect(),
        kind @ (Kind::Audio | Kind::Video) => media
            .attributes("rtpmap")
            .filter_map(|value| value.split_whitespace().nth(1))
            .filter_map(|codec| codec.split('/').next())
            .map(|codec| format!("{}/{codec}", kind.name()))
            .collect(),
        Kind::Application | Kind::Image | Kind::Text | Kind::Other => Vec::new(),
    };
    types
        .into_iter()
        .map(|one| one.to_ascii_lowercase())
        .collect()
}

/// Which devices are left out. The kinds of streams decide; where devices can have one of the
/// kinds, but some name types of which none is offered and others do better, those are left out,
/// too (CON-10).
fn excluded(wanted: Option<&[Wanted]>, devices: &[&Device], policy: &UserPolicy) -> Vec<bool> {
    let unwanted = |device: &Device| policy.excluded_devices.iter().any(|one| device.is(one));
    let mut excluded: Vec<bool> = devices
        .iter()
        .map(|device| unwanted(device) || wanted.is_some_and(|wanted| !has_kind(device, wanted)))
        .collect();
    let Some(wanted) = wanted else {
        return excluded;
    };
    let fits: Vec<bool> = devices
        .iter()
        .map(|device| has_types(device, wanted))
        .collect();
    let does_better = excluded.iter().zip(&fits).any(|(out, fits)| !out && *fits);
    if does_better {
        for (out, fits) in excluded.iter_mut().zip(fits) {
            *out |= !fits;
        }
    }
    excluded
}

/// Whether a device can have one of the streams, as far as it says.
fn has_kind(device: &Device, wanted: &[Wanted]) -> bool {
    wanted.is_empty()
        || wanted
            .iter()
            .any(|one| device.capabilities.has(one.kind) != Can::No)
}

/// Whether a device can have one of the streams with what it is offered with.
fn has_types(device: &Device, wanted: &[Wanted]) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|one| {
            let capabilities = &device.capabilities;
            let mains: &[&str] = match one.kind {
                Kind::Audio => &["audio/"],
                Kind::Video => &["video/"],
                Kind::Message => &["message/", "text/", "multipart/", "application/", "image/"],
                Kind::Application | Kind::Image | Kind::Text | Kind::Other => &[],
            };
            capabilities.has(one.kind) != Can::No
                && capabilities.has_type(mains, &one.types) != Can::No
        })
}
