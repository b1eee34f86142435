//! What participant information says (RFC 4575 §4): everything, or what has changed, in the order
//! in which it changed and no more than one NOTIFY holds.
//!
//! Where everything is more than that, the first document has the root's state "full" and the
//! first of the users, and partial ones with the rest follow as soon as it is answered: put
//! together they are the whole.

use bytes::Bytes;

use super::state::{Departed, Focus, Member};
use super::watchers::Seen;
use crate::cpm::conference::{Document, Floor, Media, User};
use crate::limits::{ADDRESS_BYTES, NOTIFY_USER_BYTES};
use crate::sdp::Flow as Way;
use crate::sip::Name;

/// A document, and what is told with it.
pub(super) struct Told {
    pub body: Bytes,
    pub seen: Seen,
    /// It tells everything, from the beginning on.
    pub is_full: bool,
    /// There is more to tell.
    pub is_cut: bool,
}

/// Somebody of whom there is news.
enum News<'a> {
    Of(&'a Member),
    Gone(&'a Departed),
}

impl News<'_> {
    fn at(&self) -> u64 {
        match self {
            Self::Of(member) => member.changed_at,
            Self::Gone(departed) => departed.at,
        }
    }
}

/// The document that tells what has changed since what was told; everything where nothing was, or
/// where not all that left is remembered.
pub(super) fn document(focus: &Focus, version: u32, seen: Option<Seen>) -> Told {
    let since = seen.filter(|seen| seen.left() >= focus.forgotten);
    let (mut users, mut bytes) = (Vec::new(), 0);
    let (mut upto, mut is_cut) = (focus.change, false);
    let mut last = since.map_or(0, |seen| seen.upto);
    for news in news_since(focus, since) {
        let user = match &news {
            News::Of(member) => user_of(focus, member),
            News::Gone(departed) => gone(departed),
        };
        bytes += user.written_len() + MARKUP_BYTES * (1 + user.media.len());
        if bytes > NOTIFY_USER_BYTES && !users.is_empty() {
            (upto, is_cut) = (last, true);
            break;
        }
        last = news.at();
        users.push(user);
    }
    let document = Document {
        entity: &focus.uri,
        version,
        is_full: since.is_none(),
        subject: focus.origin.carried.get(Name::Subject),
        user_count: focus.present(),
        user_count_max: focus.group.rules.participants_max,
        users,
        is_cut,
    };
    Told {
        body: Bytes::from(document.write()),
        seen: Seen {
            upto,
            begun: since.map_or(focus.change, |seen| seen.begun),
        },
        is_full: since.is_none(),
        is_cut,
    }
}

/// Whoever a document is to name, in the order of what happened to them.
fn news_since(focus: &Focus, since: Option<Seen>) -> impl Iterator<Item = News<'_>> {
    let members = since.map_or(0, |seen| seen.upto);
    let members = focus.members.changed_since(members);
    // Who is about to leave is news for those alone who were told of the session before, and isn't
    // where the same user takes part by another dialog.
    let members = members.filter(move |one| {
        let is_here = one.is_in() || one.is_pending();
        is_here || since.is_some() && focus.member_of(&one.key).is_none()
    });
    let gone = focus.departed.iter();
    let gone = gone.filter(move |one| since.is_some_and(|seen| one.at > seen.left()));
    let gone = gone.filter(|one| focus.member_of(&one.key).is_none());
    let mut members = members.map(News::Of).peekable();
    let mut gone = gone.map(News::Gone).peekable();
    std::iter::from_fn(move || {
        let is_gone_first = match (members.peek(), gone.peek()) {
            (Some(member), Some(gone)) => gone.at() < member.at(),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if is_gone_first {
            gone.next()
        } else {
            members.next()
        }
    })
}

fn gone(departed: &Departed) -> User<'_> {
    User {
        entity: &departed.address,
        endpoint: endpoint(&departed.contact, &departed.address),
        is_owner: false,
        status: departed.status,
        media: Vec::new(),
    }
}

fn user_of<'a>(focus: &Focus, member: &'a Member) -> User<'a> {
    let rights = focus.rights(member.id, &member.key);
    let streams = member.media.streams(&focus.rooms, rights);
    let media = streams.iter().map(|stream| {
        let is_lost = member.lost.contains(stream.id);
        let way = Way {
            sends: stream.direction.may_send && !is_lost,
            receives: stream.direction.may_receive && !is_lost,
        };
        let room = focus.rooms.find(stream.id);
        Media {
            id: stream.id.0,
            kind: stream.kind.name(),
            direction: way.name(),
            floor: room.and_then(|room| {
                Some(Floor {
                    id: room.floor?.0,
                    label: room.label(),
                    is_held: focus.holds(room, member.id)?,
                })
            }),
        }
    });
    User {
        entity: &member.address,
        endpoint: endpoint(&member.contact, &member.address),
        is_owner: focus.group.is_owner(&member.key),
        status: member.status(),
        media: media.collect(),
    }
}

fn endpoint<'a>(contact: &'a str, address: &'a str) -> &'a str {
    let is_usable = (1..=ADDRESS_BYTES).contains(&contact.len());
    if is_usable { contact } else { address }
}

/// About what a user or one of its streams takes besides the addresses.
const MARKUP_BYTES: usize = 160;
