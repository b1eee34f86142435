//! The URIs that clients were given by Use-Path (RFC 4976 §6.3).

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::ConnectionKey;
use crate::limits::MSRP_USE_PATHS;
use crate::wire::msrp::Uri;

/// A Use-Path that may be gone by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathRef {
    place: u32,
    generation: u32,
}

/// What a client was given.
#[derive(Debug)]
pub(super) struct UsePath {
    generation: u32,
    session_id: [u8; 32],
    /// The URI, as the client was told it.
    pub(super) uri: Box<[u8]>,
    /// The connection that asked for it.
    pub(super) owner: ConnectionKey,
    /// The From-Path of the AUTH: the way to the client.
    pub(super) client: Box<[u8]>,
    /// Whose it is.
    pub(super) user: Box<[u8]>,
    pub(super) expires: Instant,
}

/// A new one.
pub(super) struct Gift<'a> {
    pub(super) session_id: [u8; 32],
    pub(super) uri: &'a [u8],
    pub(super) owner: ConnectionKey,
    pub(super) client: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) expires: Instant,
}

/// At most `limits::MSRP_USE_PATHS` of them.
#[derive(Debug, Default)]
pub(super) struct UsePaths {
    places: Vec<Option<UsePath>>,
    free: Vec<u32>,
    generation: u32,
    by_id: BTreeMap<[u8; 32], u32>,
}

impl UsePaths {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Adds one; `None`: there are too many, even without those that have expired.
    pub(super) fn add(&mut self, gift: Gift<'_>, now: Instant) -> Option<PathRef> {
        if self.len() >= MSRP_USE_PATHS {
            self.forget_expired(now);
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < MSRP_USE_PATHS => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        self.generation = self.generation.wrapping_add(1);
        self.by_id.insert(gift.session_id, place);
        *self.places.get_mut(place as usize)? = Some(UsePath {
            generation: self.generation,
            session_id: gift.session_id,
            uri: gift.uri.into(),
            owner: gift.owner,
            client: gift.client.into(),
            user: gift.user.into(),
            expires: gift.expires,
        });
        Some(PathRef {
            place,
            generation: self.generation,
        })
    }

    pub(super) fn get(&self, path: PathRef) -> Option<&UsePath> {
        let found = self.places.get(path.place as usize)?.as_ref()?;
        (found.generation == path.generation).then_some(found)
    }

    pub(super) fn get_mut(&mut self, path: PathRef) -> Option<&mut UsePath> {
        let found = self.places.get_mut(path.place as usize)?.as_mut()?;
        (found.generation == path.generation).then_some(found)
    }

    /// The one that a To-Path's URI names, expired or not.
    pub(super) fn named_by(&self, uri: &[u8]) -> Option<PathRef> {
        let named = Uri::parse(uri)?;
        let id = <[u8; 32]>::try_from(named.session_id).ok()?;
        let place = *self.by_id.get(&id)?;
        let found = self.places.get(place as usize)?.as_ref()?;
        let is_same = *found.uri == *uri || Uri::parse(&found.uri)?.matches(&named);
        is_same.then_some(PathRef {
            place,
            generation: found.generation,
        })
    }

    pub(super) fn remove(&mut self, path: PathRef) {
        if self.get(path).is_none() {
            return;
        }
        let place = self.places.get_mut(path.place as usize);
        if let Some(gone) = place.and_then(Option::take) {
            self.by_id.remove(&gone.session_id);
            self.free.push(path.place);
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        for (place, at) in self.places.iter_mut().zip(0..) {
            if let Some(gone) = place.take_if(|path| path.expires <= now) {
                self.by_id.remove(&gone.session_id);
                self.free.push(at);
            }
        }
    }
}

/// Whether two paths name the same URIs in the same order.
pub(super) fn is_same_path(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let mut others = other.split(|byte| *byte == b' ');
    let all = one.split(|byte| *byte == b' ').all(|uri| {
        let pair = Uri::parse(uri).zip(others.next().and_then(Uri::parse));
        pair.is_some_and(|(one, other)| one.matches(&other))
    });
    all && others.next().is_none()
}

/// The first URI of a path, and those after it.
pub(super) fn split_first(path: &[u8]) -> (&[u8], &[u8]) {
    let space = memchr::memchr(b' ', path).unwrap_or(path.len());
    let (first, rest) = path.split_at(space);
    (first, rest.strip_prefix(b" ").unwrap_or_default())
}
