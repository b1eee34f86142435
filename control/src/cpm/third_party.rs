//! A third-party REGISTER (3GPP TS 24.229 §5.4.1.7, C.1.1 steps 3-4): what the core tells of a
//! registration, with the client's own REGISTER and its answer in the body where it puts them
//! there (`message/sip`, alone or in a multipart body).

use std::time::Instant;

use super::body;
use super::devices::{Device, after};
use crate::limits;
use crate::sip::{Message, Method, Name, NameAddr, Uri};

/// What a third-party REGISTER says.
#[derive(Debug)]
pub struct ThirdParty {
    /// The address that was registered: its To.
    pub address: String,
    /// The user's other addresses (P-Associated-URI).
    pub aliases: Vec<String>,
    /// Seconds that the registration lasts; 0: it ended.
    pub expires_s: u32,
    /// What it says of devices.
    pub told: Told,
}

/// What is said of devices.
#[derive(Debug)]
pub enum Told {
    /// Nothing: the address alone is registered, or isn't.
    Nothing,
    /// These are registered, those are not.
    Changes {
        /// Registered.
        come: Vec<Device>,
        /// No longer registered.
        gone: Vec<Device>,
    },
    /// These are all there are.
    All(Vec<Device>),
}

impl ThirdParty {
    /// Reads a REGISTER; `None` where it names no address.
    #[must_use]
    pub fn of(request: &Message, now: Instant) -> Option<Self> {
        let to = NameAddr::parse(request.headers.get(Name::To)?).ok()?;
        Uri::parse(to.uri).ok()?;
        let expires_s = outer_expires(request);
        let inner: Vec<Message> = body::parts(request, "message/sip")
            .into_iter()
            .filter_map(|part| Message::parse(part).ok())
            .filter(is_of_registration)
            .collect();
        let answer = inner.iter().find(|message| message.code() == Some(200));
        let asked = inner.iter().find(|message| message.is_request());
        let associated = answer.unwrap_or(request);
        let told = match (answer, asked) {
            (Some(answer), _) => {
                let (all, _) = contacts(answer, expires_s, now);
                Told::All(all)
            }
            (None, Some(asked)) if asked.headers.values(Name::Contact).any(|one| one == "*") => {
                Told::All(Vec::new())
            }
            (None, Some(asked)) => changes(asked, expires_s, now),
            // Its Contact is the core's own, unless it says which device it is.
            (None, None) => match changes(request, expires_s, now) {
                Told::Changes { come, gone }
                    if come.iter().chain(&gone).any(|one| one.instance.is_some()) =>
                {
                    Told::Changes { come, gone }
                }
                _ => Told::Nothing,
            },
        };
        Some(Self {
            address: to.uri.to_owned(),
            aliases: addresses(associated),
            expires_s,
            told,
        })
    }
}

fn is_of_registration(message: &Message) -> bool {
    let method = message.cseq().map(|(_, method)| method);
    matches!(method, Some(Method::Register))
}

fn changes(request: &Message, expires_s: u32, now: Instant) -> Told {
    let (come, gone) = contacts(request, expires_s, now);
    if come.is_empty() && gone.is_empty() {
        Told::Nothing
    } else {
        Told::Changes { come, gone }
    }
}

/// The devices of a message's contacts: those that are registered, and those that no longer are.
fn contacts(message: &Message, outer_s: u32, now: Instant) -> (Vec<Device>, Vec<Device>) {
    let own_s = seconds(message.headers.get(Name::Expires)).unwrap_or(outer_s);
    let (mut come, mut gone) = (Vec::new(), Vec::new());
    let values = message.headers.values(Name::Contact);
    for value in values.take(limits::CONTACTS_PER_REGISTRATION) {
        let Ok(contact) = NameAddr::parse(value) else {
            continue;
        };
        let expires_s = seconds(contact.param("expires")).unwrap_or(own_s);
        let until = after(now, expires_s);
        let Some(mut device) = Device::new(contact.uri, contact.params.iter(), Some(until)) else {
            continue;
        };
        device.name(
            contact
                .param("pub-gruu")
                .or_else(|| contact.param("temp-gruu")),
        );
        if expires_s == 0 || outer_s == 0 {
            gone.push(device);
        } else {
            come.push(device);
        }
    }
    (come, gone)
}

fn outer_expires(request: &Message) -> u32 {
    let contact = request.headers.values(Name::Contact).next();
    let of_contact = contact.and_then(|value| {
        let contact = NameAddr::parse(value).ok()?;
        seconds(contact.param("expires"))
    });
    // RFC 3261 §10.2.1.1: without either, the registrar decides; an hour is what it suggests.
    of_contact
        .or_else(|| seconds(request.headers.get(Name::Expires)))
        .unwrap_or(3600)
}

fn seconds(text: Option<&str>) -> Option<u32> {
    text.and_then(|text| text.trim().parse().ok())
}

fn addresses(message: &Message) -> Vec<String> {
    let values = message.headers.values(Name::PAssociatedUri);
    let uris = values.filter_map(|value| NameAddr::parse(value).ok().map(|one| one.uri));
    uris.filter(|uri| Uri::parse(uri).is_ok())
        .take(limits::REGISTRATIONS_PER_USER)
        .map(str::to_owned)
        .collect()
}
