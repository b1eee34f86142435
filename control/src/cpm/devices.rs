//! The device table: which users are registered, with which devices, and what those can do
//! (REG-02, REG-05, REG-07).
//!
//! A user is one record with all its addresses; a device is known by its `+sip.instance`, whatever
//! form that has (IDN-05), else by its contact.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::policy::user_key;
use super::reginfo::{self, RegInfo};
use crate::limits;
use crate::sdp::Kind;
use crate::sip::Uri;

/// A user's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u64);

/// What a device can do, by the feature tags of its contact (RFC 3840).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Kinds of streams it has tags for.
    kinds: Vec<Kind>,
    /// It says which kinds of streams it can have.
    says_kinds: bool,
    /// MIME types of its streams: its `type` tag (RFC 2913), in lower case.
    types: Vec<String>,
}

/// What a device says of a kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    /// It can.
    Yes,
    /// It names what it can, and this isn't among it.
    No,
    /// It doesn't say.
    Unknown,
}

impl Capabilities {
    /// Reads the parameters of a contact: names, and values without quotes.
    pub fn of<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut capabilities = Self::default();
        for (name, value) in params.into_iter().take(limits::PARAMS_PER_CONTACT) {
            capabilities.take(&name.to_ascii_lowercase(), &value.to_ascii_lowercase());
        }
        capabilities
    }

    fn take(&mut self, name: &str, value: &str) {
        let kind = match name {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            "message" => Kind::Message,
            "application" => Kind::Application,
            "text" => Kind::Text,
            "type" => {
                let types = value.split(',').map(|one| one.trim().to_owned());
                self.types.extend(types.take(limits::PARAMS_PER_CONTACT));
                return;
            }
            // Its service is messaging (sip-sdp 3.1); that it names no other kind says nothing.
            "+g.oma.sip-im" => return self.can(Kind::Message),
            "+g.3gpp.icsi-ref" | "+g.3gpp.iari-ref" => {
                let value = value.replace("%3a", ":");
                if MESSAGING.iter().any(|service| value.contains(service)) {
                    self.can(Kind::Message);
                }
                return;
            }
            _ => return,
        };
        self.says_kinds = true;
        if value != "false" {
            self.can(kind);
        }
    }

    fn can(&mut self, kind: Kind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    /// Whether the device can have a stream of this kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> Can {
        if self.kinds.contains(&kind) {
            Can::Yes
        } else if self.says_kinds {
            Can::No
        } else {
            Can::Unknown
        }
    }

    /// Whether the device can have a stream of one of these MIME types, `audio/pcma` and the like
    /// in lower case; it doesn't say where it names no types that begin as one of `mains`.
    #[must_use]
    pub fn has_type(&self, mains: &[&str], offered: &[String]) -> Can {
        let is_meant = |one: &&String| mains.iter().any(|main| one.starts_with(main));
        let mut own = self.types.iter().filter(is_meant).peekable();
        if own.peek().is_none() || offered.is_empty() {
            return Can::Unknown;
        }
        let fits = own.any(|own| offered.iter().any(|offered| one_of_other(own, offered)));
        if fits { Can::Yes } else { Can::No }
    }
}

/// Whether one MIME type is the other; either may have a `*`.
fn one_of_other(one: &str, other: &str) -> bool {
    let within = |one: &str, other: &str| {
        let general = other.strip_suffix('*');
        one == other || general.is_some_and(|general| one.starts_with(general))
    };
    within(one, other) || within(other, one)
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `+sip.instance` without its brackets, as it came.
    pub instance: Option<String>,
    /// Its contact's URI.
    pub contact: String,
    /// Its GRUU (RFC 5627): the public one, else the temporary one.
    pub gruu: Option<String>,
    /// What it can do.
    pub capabilities: Capabilities,
    expires: Option<Instant>,
    /// The bindings that it is known by: registration and contact, as their source names them.
    bound: Vec<(String, String)>,
}

impl Device {
    /// Reads a device; `None` where its URI or its instance can't be written into a message.
    pub fn new<'a>(
        contact: &str,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
        expires: Option<Instant>,
    ) -> Option<Self> {
        let params: Vec<(&str, &str)> = params.into_iter().collect();
        let named = params
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("+sip.instance"));
        let instance = named.map(|(_, value)| bare(value).to_owned());
        let is_writable = |text: &str| {
            let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\"\\".contains(c);
            !text.is_empty() && text.len() <= limits::REGINFO_TEXT_BYTES && text.chars().all(fits)
        };
        let fits = is_writable(contact)
            && Uri::parse(contact).is_ok()
            && instance.as_deref().is_none_or(is_writable);
        fits.then(|| Self {
            instance,
            contact: contact.to_owned(),
            gruu: None,
            capabilities: Capabilities::of(params),
            expires,
            bound: Vec::new(),
        })
    }

    fn of(contact: &reginfo::Contact, now: Instant) -> Option<Self> {
        let params = contact.params.iter();
        let params = params.map(|(name, value)| (name.as_str(), value.as_str()));
        let expires = contact.expires_s.map(|seconds| after(now, seconds));
        let mut device = Self::new(&contact.uri, params, expires)?;
        device.name(contact.pub_gruu.as_deref());
        device.name(contact.temp_gruu.as_deref());
        Some(device)
    }

    /// Gives the device its GRUU, unless it has one or that is none that can be written.
    pub fn name(&mut self, gruu: Option<&str>) {
        let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\"".contains(c);
        let usable = gruu.filter(|uri| {
            Uri::parse(uri).is_ok_and(|uri| uri.has_param("gr")) && uri.chars().all(fits)
        });
        if self.gruu.is_none() {
            self.gruu = usable.map(str::to_owned);
        }
    }

    /// Whether an instance names this device.
    #[must_use]
    pub fn is(&self, instance: &str) -> bool {
        let own = self.instance.as_deref();
        own.is_some_and(|own| same_instance(own, bare(instance)))
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.instance, &other.instance) {
            (Some(own), Some(other)) => same_instance(own, other),
            (None, None) => self.contact == other.contact,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// RFC 8141 §3: a URN's first parts have no case; UUIDs and IMEIs have none either.
fn same_instance(one: &str, other: &str) -> bool {
    let is_urn = |text: &str| {
        let start = text.get(..4);
        start.is_some_and(|start| start.eq_ignore_ascii_case("urn:"))
    };
    one == other || (is_urn(one) && is_urn(other) && one.eq_ignore_ascii_case(other))
}

fn bare(instance: &str) -> &str {
    let text = instance.trim().trim_matches('"').trim();
    text.trim_start_matches('<').trim_end_matches('>')
}

/// A moment some seconds after another; a time without an end is cut to a month.
pub fn after(now: Instant, seconds: u32) -> Instant {
    now + Duration::from_secs(u64::from(seconds.min(MONTH_S)))
}

/// One user.
#[derive(Debug, Default)]
struct User {
    /// Its addresses, and whether each is registered.
    addresses: Vec<(String, bool)>,
    devices: Vec<Device>,
    /// Until when it is registered, where no device is known.
    until: Option<Instant>,
}

/// What the table had no room for; only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Full {
    /// Users.
    pub users: u64,
    /// Devices of a user, and addresses.
    pub devices: u64,
}

/// All users that are known.
#[derive(Debug, Default)]
pub struct Devices {
    users: HashMap<UserId, User>,
    names: HashMap<String, UserId>,
    next: u64,
    users_max: usize,
    full: Full,
}

impl Devices {
    /// An empty table for at most so many users.
    #[must_use]
    pub fn new(users_max: usize) -> Self {
        Self {
            users_max: users_max.min(limits::REGISTERED_USERS),
            ..Self::default()
        }
    }

    /// What there was no room for.
    #[must_use]
    pub fn full(&self) -> Full {
        self.full
    }

    /// Users there are.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The user with an address.
    #[must_use]
    pub fn find(&self, address: &str) -> Option<UserId> {
        self.names.get(&user_key(address)).copied()
    }

    /// The user with an address, made if there is none; `None` where the table is full.
    pub fn find_or_add(&mut self, address: &str) -> Option<UserId> {
        if let Some(found) = self.find(address) {
            return Some(found);
        }
        if self.users.len() >= self.users_max || address.len() > limits::REGINFO_TEXT_BYTES {
            self.full.users += 1;
            return None;
        }
        let id = UserId(self.next);
        self.next += 1;
        let key = user_key(address);
        self.names.insert(key.clone(), id);
        let addresses = vec![(key, true)];
        self.users.insert(
            id,
            User {
                addresses,
                ..User::default()
            },
        );
        Some(id)
    }

    /// Gives a user another address. Where that was another user's, both are one from now on: the
    /// older record stays. Gives the record that stays, and the one that went.
    pub fn alias(
        &mut self,
        id: UserId,
        address: &str,
        is_active: bool,
    ) -> (UserId, Option<UserId>) {
        let key = user_key(address);
        match self.names.get(&key).copied() {
            Some(other) if other != id => {
                let (stays, goes) = (id.min(other), id.max(other));
                self.merge(stays, goes);
                self.note_address(stays, key, is_active);
                (stays, Some(goes))
            }
            Some(_) | None => {
                self.note_address(id, key, is_active);
                (id, None)
            }
        }
    }

    fn note_address(&mut self, id: UserId, key: String, is_active: bool) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        if let Some(known) = user.addresses.iter_mut().find(|(known, _)| *known == key) {
            known.1 = is_active;
        } else if user.addresses.len() >= limits::REGISTRATIONS_PER_USER
            || key.len() > limits::REGINFO_TEXT_BYTES
        {
            self.full.devices += 1;
        } else {
            self.names.insert(key.clone(), id);
            user.addresses.push((key, is_active));
        }
    }

    fn merge(&mut self, stays: UserId, goes: UserId) {
        let Some(gone) = self.users.remove(&goes) else {
            return;
        };
        for (key, is_active) in gone.addresses {
            self.names.remove(&key);
            self.note_address(stays, key, is_active);
        }
        for device in gone.devices {
            self.put(stays, device);
        }
        if let Some(user) = self.users.get_mut(&stays) {
            user.until = user.until.max(gone.until);
        }
    }

    /// Forgets a user.
    pub fn remove(&mut self, id: UserId) {
        let user = self.users.remove(&id);
        for (key, _) in user.into_iter().flat_map(|user| user.addresses) {
            self.names.remove(&key);
        }
    }

    /// Takes a device that a REGISTER told of.
    pub fn registered(&mut self, id: UserId, mut device: Device) {
        device.bound = vec![BY_REGISTER];
        self.put(id, device);
    }

    /// A REGISTER says that a device is gone; gives whether it was there.
    pub fn deregistered(&mut self, id: UserId, gone: &Device) -> bool {
        let Some(user) = self.users.get_mut(&id) else {
            return false;
        };
        let before = user.devices.len();
        user.devices.retain(|device| !device.is_same(gone));
        user.devices.len() < before
    }

    /// Forgets a user's devices: what follows is all there are.
    pub fn clear(&mut self, id: UserId) {
        if let Some(user) = self.users.get_mut(&id) {
            user.devices.clear();
            user.until = None;
        }
    }

    /// A user is registered until then, whether a device is known or not.
    pub fn registered_until(&mut self, id: UserId, until: Option<Instant>) {
        if let Some(user) = self.users.get_mut(&id) {
            user.until = until;
        }
    }

    /// Takes a reginfo document; gives the record that the user has now, and those that went as
    /// they were the same user's.
    pub fn apply(&mut self, id: UserId, info: &RegInfo, now: Instant) -> (UserId, Vec<UserId>) {
        let (mut id, mut gone) = (id, Vec::new());
        for registration in &info.registrations {
            let aor = registration.aor.as_str();
            if Uri::parse(aor).is_err() {
                continue;
            }
            let (stays, went) = self.alias(id, aor, registration.is_active);
            id = stays;
            gone.extend(went);
        }
        if info.is_full {
            self.clear(id);
            self.deactivate_others(id, info);
        }
        for registration in &info.registrations {
            for contact in &registration.contacts {
                self.bind(id, registration, contact, now);
            }
            if !registration.is_active {
                self.unbind(id, |(of, _)| *of == registration.id);
            }
        }
        if let Some(user) = self.users.get_mut(&id)
            && user.devices.is_empty()
        {
            user.until = None;
        }
        (id, gone)
    }

    /// A full document names all addresses that are registered.
    fn deactivate_others(&mut self, id: UserId, info: &RegInfo) {
        let named: Vec<String> = info
            .registrations
            .iter()
            .filter(|registration| registration.is_active)
            .map(|registration| user_key(&registration.aor))
            .collect();
        if let Some(user) = self.users.get_mut(&id) {
            for (key, is_active) in &mut user.addresses {
                *is_active = named.contains(key);
            }
        }
    }

    fn bind(
        &mut self,
        id: UserId,
        registration: &reginfo::Registration,
        contact: &reginfo::Contact,
        now: Instant,
    ) {
        let binding = (registration.id.clone(), contact.id.clone());
        let device = Device::of(contact, now);
        if contact.is_active && registration.is_active {
            if let Some(mut device) = device {
                device.bound = vec![binding];
                self.put(id, device);
            }
        } else {
            self.unbind(id, |bound| *bound == binding);
            // It may be known by a REGISTER alone.
            if let Some(gone) = device
                && let Some(user) = self.users.get_mut(&id)
            {
                let by_register =
                    |device: &Device| device.bound.iter().all(|by| *by == BY_REGISTER);
                user.devices
                    .retain(|device| !(device.is_same(&gone) && by_register(device)));
            }
        }
    }

    fn unbind(&mut self, id: UserId, is_gone: impl Fn(&(String, String)) -> bool) {
        if let Some(user) = self.users.get_mut(&id) {
            user.devices.retain_mut(|device| {
                let before = device.bound.len();
                device.bound.retain(|bound| !is_gone(bound));
                // A device of which nothing but its REGISTER is left goes with its bindings.
                let is_left = device.bound.iter().any(|bound| *bound != BY_REGISTER);
                device.bound.len() == before || is_left
            });
        }
    }

    fn put(&mut self, id: UserId, mut device: Device) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        if let Some(known) = user.devices.iter_mut().find(|known| known.is_same(&device)) {
            for bound in std::mem::take(&mut known.bound) {
                if !device.bound.contains(&bound) && device.bound.len() < BINDINGS {
                    device.bound.push(bound);
                }
            }
            device.gruu = device.gruu.take().or_else(|| known.gruu.take());
            *known = device;
        } else if user.devices.len() >= limits::DEVICES_PER_USER {
            self.full.devices += 1;
        } else {
            user.devices.push(device);
        }
    }

    /// Whether the user with an address is registered now (REG-01).
    #[must_use]
    pub fn is_registered(&self, address: &str, now: Instant) -> bool {
        let key = user_key(address);
        let user = self.names.get(&key).and_then(|id| self.users.get(id));
        user.is_some_and(|user| {
            let is_active = user
                .addresses
                .iter()
                .any(|(known, is_active)| *known == key && *is_active);
            is_active && user.is_registered(now)
        })
    }

    /// The devices of a user now.
    pub fn of(&self, id: UserId, now: Instant) -> impl Iterator<Item = &Device> {
        let user = self.users.get(&id);
        let devices = user.into_iter().flat_map(|user| &user.devices);
        devices.filter(move |device| device.is_at(now))
    }

    /// Forgets what has expired; gives whether the user is still registered.
    pub fn expire(&mut self, id: UserId, now: Instant) -> bool {
        self.users.get_mut(&id).is_some_and(|user| {
            user.devices.retain(|device| device.is_at(now));
            user.is_registered(now)
        })
    }

    /// When something of a user expires.
    #[must_use]
    pub fn next_expiry(&self, id: UserId) -> Option<Instant> {
        let user = self.users.get(&id)?;
        let devices = user.devices.iter().filter_map(|device| device.expires);
        devices.chain(user.until).min()
    }
}

impl User {
    fn is_registered(&self, now: Instant) -> bool {
        self.devices.iter().any(|device| device.is_at(now))
            || self.until.is_some_and(|until| until > now)
    }
}

impl Device {
    fn is_at(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// The binding of a device that a REGISTER told of.
const BY_REGISTER: (String, String) = (String::new(), String::new());
/// Bindings of one device: one for each address, by REGISTER and by reginfo.
const BINDINGS: usize = 2 * limits::REGISTRATIONS_PER_USER;
/// Services whose sessions are made of messages (sip-sdp 3.1).
const MESSAGING: &[&str] = &[
    "icsi.oma.cpm.session",
    "icsi.oma.cpm.msg",
    "icsi.oma.cpm.largemsg",
    "icsi.oma.cpm.filetransfer",
    "iari.rcse.im",
];
const MONTH_S: u32 = 31 * 24 * 3600;
