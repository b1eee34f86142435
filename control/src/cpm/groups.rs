//! Groups and what their policies allow (System Description 5.2.3.2, 5.2.3.8; RFC 5366).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::policy::{Streams, user_key};
use crate::config::{self, Controlling, Right, StreamKind};

/// The groups there are; replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    base: Controlling,
    /// The factory's address, and the same in one spelling.
    factory: Option<(String, String)>,
    groups: HashMap<String, Arc<Group>>,
}

/// What an address of a group session's beginning names (SGN-01).
#[derive(Debug, Clone)]
pub enum Addressed {
    /// A pre-defined group.
    Group(Arc<Group>),
    /// The factory of ad-hoc groups.
    Factory,
}

/// A group: who takes part and what holds for its sessions.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its address; `None`: an ad-hoc group.
    pub address: Option<String>,
    /// The factory's address that an ad-hoc group was begun at.
    pub factory: Option<String>,
    /// What holds for its sessions.
    pub rules: Controlling,
    /// The addresses of who is invited when a session begins.
    pub members: Vec<String>,
    keys: HashSet<String>,
    owners: HashSet<String>,
    banned: HashSet<String>,
    is_open: bool,
    audio_barred: HashSet<String>,
    video_barred: HashSet<String>,
    message_barred: HashSet<String>,
}

impl Groups {
    /// The groups that the settings define.
    #[must_use]
    pub fn new(base: &Controlling, groups: &BTreeMap<String, config::Group>) -> Self {
        let all = groups.iter().map(|(address, group)| {
            let group = Group::defined(address, group, base);
            (user_key(address), Arc::new(group))
        });
        Self {
            base: base.clone(),
            factory: base
                .factory
                .as_ref()
                .map(|address| (address.clone(), user_key(address))),
            groups: all.collect(),
        }
    }

    /// What an address names; `None`: nothing of this server's.
    #[must_use]
    pub fn find(&self, uri: &str) -> Option<Addressed> {
        if self.groups.is_empty() && self.factory.is_none() {
            return None;
        }
        let key = user_key(uri);
        let factory = self.factory.as_ref();
        if factory.is_some_and(|(_, own)| *own == key) {
            return Some(Addressed::Factory);
        }
        self.groups.get(&key).cloned().map(Addressed::Group)
    }

    /// The ad-hoc group of who begins it and those who are listed; who begins it owns it.
    #[must_use]
    pub fn ad_hoc(&self, inviter: &str, listed: Vec<String>) -> Group {
        let owner = user_key(inviter);
        let keys = listed.iter().map(|one| user_key(one));
        Group {
            keys: keys.chain([owner.clone()]).collect(),
            owners: HashSet::from([owner]),
            factory: self.factory.as_ref().map(|(address, _)| address.clone()),
            rules: self.base.clone(),
            members: listed,
            ..Group::default()
        }
    }
}

fn keys(list: &[String]) -> HashSet<String> {
    list.iter().map(|one| user_key(one)).collect()
}

impl Group {
    fn defined(address: &str, group: &config::Group, base: &Controlling) -> Self {
        Self {
            address: Some(address.to_owned()),
            factory: None,
            rules: group.over(base),
            members: group.members.clone(),
            keys: keys(&group.members),
            owners: keys(&group.owners),
            banned: keys(&group.banned),
            is_open: group.open,
            audio_barred: keys(&group.audio_barred),
            video_barred: keys(&group.video_barred),
            message_barred: keys(&group.message_barred),
        }
    }

    /// Whether a user may begin a session or join one (SGN-04, SGN-12). Who has no address that can
    /// be read is nobody's user, not even an open group's.
    #[must_use]
    pub fn admits(&self, user: &str) -> bool {
        let is_known = (self.is_open && !user.is_empty()) || self.keys.contains(user);
        is_known && !self.banned.contains(user)
    }

    /// Whether a user may be invited by a participant: everybody who isn't banned (ADD-03).
    #[must_use]
    pub fn may_be_added(&self, user: &str) -> bool {
        !self.banned.contains(user)
    }

    /// Whether a user is one of its owners.
    #[must_use]
    pub fn is_owner(&self, user: &str) -> bool {
        self.owners.contains(user)
    }

    /// Whether a participant has a right.
    #[must_use]
    pub fn grants(&self, right: Right, user: &str) -> bool {
        match right {
            Right::Participants => true,
            Right::Owners => self.is_owner(user),
            Right::Nobody => false,
        }
    }

    /// Whether a user may send a kind of stream (OFR-11).
    #[must_use]
    pub fn may_send(&self, kind: StreamKind, user: &str) -> bool {
        let barred = match kind {
            StreamKind::Audio => &self.audio_barred,
            StreamKind::Video => &self.video_barred,
            StreamKind::Message => &self.message_barred,
            StreamKind::Application | StreamKind::Other => return true,
        };
        !barred.contains(user)
    }

    /// Whether a floor governs a kind of stream.
    #[must_use]
    pub fn has_floor(&self, kind: StreamKind) -> bool {
        self.rules.floors.contains(&kind)
    }

    /// The kinds of stream that its sessions may have (OFR-05).
    #[must_use]
    pub fn streams(&self) -> Streams {
        let has = |kind| self.rules.streams.contains(&kind);
        Streams {
            audio: has(StreamKind::Audio),
            video: has(StreamKind::Video),
            message: has(StreamKind::Message),
            application: has(StreamKind::Application),
            other: has(StreamKind::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_admits_its_members_in_any_spelling_and_nobody_who_is_banned() {
        let group = config::Group {
            members: vec!["tel:+1-555".to_owned(), "sip:b@x".to_owned()],
            banned: vec!["sip:b@X".to_owned()],
            ..config::Group::default()
        };
        let defined = BTreeMap::from([("sip:team@g".to_owned(), group)]);
        let groups = Groups::new(&Controlling::default(), &defined);
        let Some(Addressed::Group(team)) = groups.find("sip:team@G;x=y") else {
            panic!("not found");
        };
        assert!(team.admits(&user_key("sip:+1555@home;user=phone")));
        assert!(!team.admits(&user_key("sip:b@x")));
        assert!(!team.admits(&user_key("sip:c@x")));
        assert!(groups.find("sip:other@g").is_none());
    }

    #[test]
    fn an_open_group_admits_everybody_but_who_has_no_address() {
        let group = config::Group {
            open: true,
            ..config::Group::default()
        };
        let defined = BTreeMap::from([("sip:team@g".to_owned(), group)]);
        let groups = Groups::new(&Controlling::default(), &defined);
        let Some(Addressed::Group(team)) = groups.find("sip:team@g") else {
            panic!("not found");
        };
        assert!(team.admits(&user_key("sip:c@x")));
        assert!(!team.admits(&user_key("")));
    }
}
