//! What a message that the server may get says, by its attributes (RFC 8855 §5.3).

use super::{Attributes, Group, Head, Kind, Priority, Value};

/// A whole message. Where an attribute that may be there once is there more often, the first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its header.
    pub head: Head,
    /// Its attributes; what can't be read of them is left out here.
    pub attributes: Attributes<'a>,
}

/// The floors that a message names, in order.
#[derive(Debug, Clone)]
pub struct FloorIds<'a>(Attributes<'a>);

/// What a chair decides: a request, and its status for floors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionOn<'a> {
    /// The request.
    pub request: u16,
    /// What the chair says of it.
    pub attributes: Attributes<'a>,
}

/// What a chair decides for one floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloorDecision<'a> {
    /// The floor.
    pub floor: u16,
    /// The status; see [`Status::from_number`](super::Status::from_number).
    pub status: u8,
    /// The place in the queue that the request is to have; 0: any.
    pub position: u8,
    /// What is said of it.
    pub info: &'a [u8],
}

impl<'a> Message<'a> {
    /// FLOOR-IDs.
    #[must_use]
    pub fn floors(&self) -> FloorIds<'a> {
        FloorIds(self.attributes)
    }

    /// BENEFICIARY-ID.
    #[must_use]
    pub fn beneficiary(&self) -> Option<u16> {
        first(self.attributes, |value| match value {
            Value::Beneficiary(user) => Some(user),
            _ => None,
        })
    }

    /// FLOOR-REQUEST-ID.
    #[must_use]
    pub fn request(&self) -> Option<u16> {
        first(self.attributes, |value| match value {
            Value::Request(request) => Some(request),
            _ => None,
        })
    }

    /// PRIORITY; normal where there is none.
    #[must_use]
    pub fn priority(&self) -> Priority {
        let number = first(self.attributes, |value| match value {
            Value::Priority(number) => Some(number),
            _ => None,
        });
        number.map_or(Priority::Normal, Priority::from_number)
    }

    /// PARTICIPANT-PROVIDED-INFO; empty where there is none.
    #[must_use]
    pub fn info(&self) -> &'a [u8] {
        text(self.attributes, Kind::ParticipantProvidedInfo)
    }

    /// The FLOOR-REQUEST-INFORMATION of a ChairAction.
    #[must_use]
    pub fn action(&self) -> Option<ActionOn<'a>> {
        first(self.attributes, |value| match value {
            Value::Group(Kind::FloorRequestInformation, group) => Some(ActionOn {
                request: group.id,
                attributes: group.attributes,
            }),
            _ => None,
        })
    }
}

impl Iterator for FloorIds<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.0.find_map(|attribute| match attribute.ok()?.value() {
            Ok(Value::Floor(floor)) => Some(floor),
            _ => None,
        })
    }
}

/// What a chair decides, floor by floor.
pub fn floors_decided(action: ActionOn<'_>) -> impl Iterator<Item = FloorDecision<'_>> {
    action.attributes.filter_map(|attribute| {
        let Ok(Value::Group(Kind::FloorRequestStatus, group)) = attribute.ok()?.value() else {
            return None;
        };
        decision(group)
    })
}

fn decision(group: Group<'_>) -> Option<FloorDecision<'_>> {
    let (status, position) = first(group.attributes, |value| match value {
        Value::RequestStatus { status, position } => Some((status, position)),
        _ => None,
    })?;
    Some(FloorDecision {
        floor: group.id,
        status,
        position,
        info: text(group.attributes, Kind::StatusInfo),
    })
}

fn text(attributes: Attributes<'_>, wanted: Kind) -> &[u8] {
    let found = first(attributes, |value| match value {
        Value::Text(kind, text) if kind == wanted => Some(text),
        _ => None,
    });
    found.unwrap_or_default()
}

/// What `pick` finds first.
fn first<'a, T>(attributes: Attributes<'a>, pick: impl Fn(Value<'a>) -> Option<T>) -> Option<T> {
    let mut values = attributes.filter_map(|attribute| attribute.ok()?.value().ok());
    values.find_map(pick)
}
