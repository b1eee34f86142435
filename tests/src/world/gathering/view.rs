//! What notifications of participant information add up to (RFC 4575 §4.6).

use std::collections::BTreeMap;

use crate::world::text::header;

/// Who takes part, by what a subscriber was told.
#[derive(Debug, Default)]
pub struct View {
    version: u32,
    is_over: bool,
    /// By address: the state, and the media.
    users: BTreeMap<String, (String, Vec<String>)>,
}

impl View {
    /// It was told something, and not that nothing follows.
    pub(super) fn is_active(&self) -> bool {
        self.version > 0 && !self.is_over
    }

    /// Nothing follows.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Those who take part, with their media.
    #[must_use]
    pub fn connected(&self) -> BTreeMap<String, Vec<String>> {
        let all = self.users.iter();
        let connected = all.filter(|(_, (status, _))| status == "connected");
        let connected = connected.map(|(user, (_, media))| (user.clone(), media.clone()));
        connected.collect()
    }

    /// Those who don't take part, and aren't said to have gone.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        let all = self.users.iter();
        let others = all.filter(|(_, (status, _))| status != "connected");
        others
            .map(|(user, (status, _))| format!("{user} {status}"))
            .collect()
    }

    /// Takes a notification.
    pub(super) fn take(&mut self, text: &str) {
        assert!(!self.is_over, "something follows the last one: {text}");
        self.is_over = header(text, "Subscription-State").starts_with("terminated");
        let root = text.split("<conference-info").nth(1).unwrap_or_default();
        let root = root.split('>').next().unwrap_or_default();
        let version: u32 = attribute(root, "version").parse().unwrap_or(0);
        let is_full = attribute(root, "state") == "full";
        // What tells everything may overtake the one before.
        let is_next = version == self.version + 1;
        assert!(is_next || is_full && version > self.version, "{text}");
        self.version = version;
        if is_full {
            self.users.clear();
        } else {
            assert!(version > 1, "the first one says everything: {text}");
        }
        for user in text.split("<user ").skip(1) {
            let entity = attribute(&format!(" {user}"), "entity");
            let mut states = user.split("<status>").skip(1);
            let status = states.next().map(first_word).unwrap_or_default();
            let media = user.split("<type>").skip(1).map(first_word);
            let mut media: Vec<String> = media.collect();
            media.sort();
            if status == "disconnected" {
                self.users.remove(&entity);
            } else {
                self.users.insert(entity, (status, media));
            }
        }
    }
}

fn attribute(tag: &str, name: &str) -> String {
    let value = tag.split(&format!(" {name}=\"")).nth(1).unwrap_or_default();
    value.split('"').next().unwrap_or_default().to_owned()
}

fn first_word(text: &str) -> String {
    text.split('<').next().unwrap_or_default().to_owned()
}
