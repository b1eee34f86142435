//! What a user wants, as the user's document in the XDMS says it (RFC 4825).
//!
//! The document is read by its elements' names alone, whatever their namespaces and whatever else
//! is there: an `<allow-offline-storage>` among the actions of a common-policy rule (RFC 4745) as
//! well as one by itself. Rules with conditions are passed over: they are about single callers or
//! times. Where an element comes again, the first counts.
//!
//! | element | value |
//! |---|---|
//! | `allow-offline-storage` | `true`, `false` |
//! | `allow-media` | kinds of streams as text or as elements: `audio video message application` |
//! | `excluded-device` | a device's `+sip.instance`; any number of these |
//! | `interwork-unregistered`, `interwork-no-cpm`, `interwork-no-core`, `interwork-scheme` | `true`, `false` |

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::policy::{Interworking, OnFailure, Streams, UserPolicy};
use crate::limits::{EXCLUDED_DEVICES, PREFERENCES_DEPTH, PREFERENCES_EVENTS};

/// What a user wants; what the user doesn't say is as it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preferences {
    /// The history of the user's sessions is stored.
    pub allow_offline_storage: Option<bool>,
    /// The only kinds of streams that the user wants.
    pub streams: Option<Streams>,
    /// Devices that the user wants no invitations on.
    pub excluded_devices: Vec<String>,
    /// The user is not registered.
    pub unregistered: Option<OnFailure>,
    /// The far network knows no CPM.
    pub no_cpm: Option<OnFailure>,
    /// The far side has no SIP/IP core.
    pub no_core: Option<OnFailure>,
    /// The address can't be routed in SIP.
    pub scheme: Option<OnFailure>,
}

/// A document that is no XML, or one that is too large or too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Preferences {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`Unreadable`].
    pub fn parse(document: &[u8]) -> Result<Self, Unreadable> {
        let document = std::str::from_utf8(document).map_err(|_| Unreadable)?;
        let mut xml = Reader::from_str(document);
        let mut found = Found::default();
        for _ in 0..PREFERENCES_EVENTS {
            match xml.read_event().map_err(|_| Unreadable)? {
                Event::Start(start) => {
                    if found.open.len() == PREFERENCES_DEPTH {
                        return Err(Unreadable);
                    }
                    found.start(start.local_name().as_ref());
                }
                Event::Empty(start) => {
                    found.start(start.local_name().as_ref());
                    found.end();
                }
                Event::End(_) => found.end(),
                Event::Text(text) => found.text(&text),
                Event::CData(text) => found.text(&text),
                Event::Eof if found.open.is_empty() && found.has_root => {
                    return Ok(found.preferences);
                }
                Event::Eof => return Err(Unreadable),
                Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::GeneralRef(_) => {}
            }
        }
        Err(Unreadable)
    }
}

impl UserPolicy {
    /// What holds for a user who wants this. The provider's word stands above the user's: the
    /// streams are those that both allow, unless that leaves none; reasons to stay, the fork mode
    /// and a bar are the provider's alone.
    #[must_use]
    pub fn as_preferred(&self, wish: &Preferences) -> Self {
        let wanted = wish.streams.map(|streams| streams.within(self.streams));
        let mut excluded_devices = self.excluded_devices.clone();
        if !wish.excluded_devices.is_empty() {
            excluded_devices.clone_from(&wish.excluded_devices);
        }
        let own = self.interworking;
        Self {
            streams: wanted
                .filter(|streams| *streams != Streams::NONE)
                .unwrap_or(self.streams),
            allow_offline_storage: wish
                .allow_offline_storage
                .unwrap_or(self.allow_offline_storage),
            excluded_devices,
            interworking: Interworking {
                unregistered: wish.unregistered.unwrap_or(own.unregistered),
                no_cpm: wish.no_cpm.unwrap_or(own.no_cpm),
                no_core: wish.no_core.unwrap_or(own.no_core),
                scheme: wish.scheme.unwrap_or(own.scheme),
                close: own.close,
            },
            ..self.clone()
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Found {
    open: Vec<Element>,
    has_root: bool,
    /// The preferences before the rule that is being read, and whether it has conditions.
    rule: Option<(Preferences, bool)>,
    preferences: Preferences,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Rule,
    Conditions,
    Storage,
    Media,
    Device,
    Unregistered,
    NoCpm,
    NoCore,
    Scheme,
    Other,
}

impl Found {
    fn start(&mut self, name: &str) {
        self.has_root = true;
        let element = match name {
            "rule" => Element::Rule,
            "conditions" => Element::Conditions,
            "allow-offline-storage" => Element::Storage,
            "allow-media" => Element::Media,
            "excluded-device" => Element::Device,
            "interwork-unregistered" => Element::Unregistered,
            "interwork-no-cpm" => Element::NoCpm,
            "interwork-no-core" => Element::NoCore,
            "interwork-scheme" => Element::Scheme,
            _ => Element::Other,
        };
        match (self.open.last(), element) {
            (Some(Element::Media), Element::Other) => self.kind(name),
            (Some(Element::Conditions), _) => {
                if let Some((_, is_conditional)) = self.rule.as_mut() {
                    *is_conditional = true;
                }
            }
            (_, Element::Media) => {
                self.preferences.streams.get_or_insert(Streams::NONE);
            }
            (_, Element::Rule) if self.rule.is_none() => {
                self.rule = Some((self.preferences.clone(), false));
            }
            _ => {}
        }
        self.open.push(element);
    }

    fn end(&mut self) {
        let is_rule = self.open.pop() == Some(Element::Rule) && !self.open.contains(&Element::Rule);
        if is_rule && let Some((before, true)) = self.rule.take() {
            self.preferences = before;
        }
    }

    fn text(&mut self, text: &str) {
        let Some(element) = self.open.last().copied() else {
            return;
        };
        let text = text.trim();
        let wish = &mut self.preferences;
        match element {
            Element::Storage => set(&mut wish.allow_offline_storage, truth(text)),
            Element::Unregistered => set(&mut wish.unregistered, interwork(text)),
            Element::NoCpm => set(&mut wish.no_cpm, interwork(text)),
            Element::NoCore => set(&mut wish.no_core, interwork(text)),
            Element::Scheme => set(&mut wish.scheme, interwork(text)),
            Element::Device if wish.excluded_devices.len() < EXCLUDED_DEVICES => {
                if !text.is_empty() {
                    wish.excluded_devices.push(text.to_owned());
                }
            }
            Element::Media => {
                for word in text.split_ascii_whitespace() {
                    self.kind(word);
                }
            }
            Element::Device | Element::Rule | Element::Conditions | Element::Other => {}
        }
    }

    fn kind(&mut self, name: &str) {
        let streams = self.preferences.streams.get_or_insert(Streams::NONE);
        match name {
            "audio" => streams.audio = true,
            "video" => streams.video = true,
            "message" => streams.message = true,
            "application" => streams.application = true,
            "other" => streams.other = true,
            _ => {}
        }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

/// `xs:boolean`.
fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn interwork(text: &str) -> Option<OnFailure> {
    truth(text).map(|wants| {
        if wants {
            OnFailure::Interwork
        } else {
            OnFailure::Error
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"<?xml version="1.0"?>
        <cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy" xmlns="urn:x:cpm">
         <cp:rule id="bob"><cp:conditions><cp:identity/></cp:conditions>
          <cp:actions><allow-offline-storage>false</allow-offline-storage></cp:actions></cp:rule>
         <cp:rule id="all"><cp:conditions/>
          <cp:actions><allow-offline-storage> true </allow-offline-storage></cp:actions></cp:rule>
         <allow-media><message/>audio</allow-media>
         <excluded-device>urn:uuid:b3</excluded-device><excluded-device/>
         <interwork-unregistered>1</interwork-unregistered><interwork-scheme>no</interwork-scheme>
         <more><allow-offline-storage>false</allow-offline-storage></more>
        </cp:ruleset>"#;

    #[test]
    fn a_document_is_read_by_its_elements_and_rules_with_conditions_are_passed_over() {
        let wish = Preferences::parse(RULES.as_bytes()).unwrap();
        assert_eq!(wish.allow_offline_storage, Some(true));
        let streams = wish.streams.unwrap();
        assert!(streams.audio && streams.message && !streams.video);
        assert_eq!(wish.excluded_devices, ["urn:uuid:b3"]);
        assert_eq!(wish.unregistered, Some(OnFailure::Interwork));
        assert_eq!((wish.scheme, wish.no_cpm), (None, None));
    }

    #[test]
    fn what_is_no_document_is_told_from_one_without_wishes() {
        assert_eq!(Preferences::parse(b"<a/>"), Ok(Preferences::default()));
        let deep = "<a>".repeat(PREFERENCES_DEPTH + 1) + &"</a>".repeat(PREFERENCES_DEPTH + 1);
        let long = format!("<a>{}</a>", "<b/>".repeat(PREFERENCES_EVENTS));
        for text in ["", "nothing", "<a>", "<a></b>", "<a", &deep, &long] {
            assert_eq!(
                Preferences::parse(text.as_bytes()),
                Err(Unreadable),
                "{text:.60}"
            );
        }
    }

    #[test]
    fn a_user_narrows_what_the_provider_allows_and_no_more() {
        let provider = UserPolicy {
            streams: Streams {
                video: false,
                ..Streams::ALL
            },
            excluded_devices: vec!["old".to_owned()],
            ..UserPolicy::default()
        };
        let wish = |streams| Preferences {
            streams: Some(streams),
            allow_offline_storage: Some(true),
            ..Preferences::default()
        };
        let own = provider.as_preferred(&wish(Streams {
            audio: true,
            video: true,
            ..Streams::NONE
        }));
        assert_eq!(
            own.streams,
            Streams {
                audio: true,
                ..Streams::NONE
            }
        );
        assert!(own.allow_offline_storage);
        assert_eq!(own.excluded_devices, ["old"]);
        let none = provider.as_preferred(&wish(Streams {
            video: true,
            ..Streams::NONE
        }));
        assert_eq!(none.streams, provider.streams);
    }
}
