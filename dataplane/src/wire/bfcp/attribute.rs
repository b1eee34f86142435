//! Attributes (RFC 8855 §5.2): read one after the other, grouped ones inside others.

use super::Kind;

/// Why attributes can't be read: one is shorter than its header, longer than what there is, or its
/// value isn't of its type's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, 0 to 127.
    pub kind: u8,
    /// Who doesn't know it must refuse the message (M).
    pub is_mandatory: bool,
    /// Its value, without padding.
    pub octets: &'a [u8],
}

/// What an attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// BENEFICIARY-ID.
    Beneficiary(u16),
    /// FLOOR-ID.
    Floor(u16),
    /// FLOOR-REQUEST-ID.
    Request(u16),
    /// PRIORITY, 0 to 7.
    Priority(u8),
    /// REQUEST-STATUS.
    RequestStatus {
        /// The status; see [`Status::from_number`](super::Status::from_number).
        status: u8,
        /// The place in the queue; 0: none.
        position: u8,
    },
    /// ERROR-CODE.
    Error {
        /// The code.
        code: u8,
        /// What the code has of details.
        details: &'a [u8],
    },
    /// ERROR-INFO, PARTICIPANT-PROVIDED-INFO, STATUS-INFO, USER-DISPLAY-NAME or USER-URI, in UTF-8.
    Text(Kind, &'a [u8]),
    /// SUPPORTED-ATTRIBUTES or SUPPORTED-PRIMITIVES, an octet each.
    Supported(Kind, &'a [u8]),
    /// Any grouped attribute.
    Group(Kind, Group<'a>),
    /// One of a type that isn't known.
    Unknown,
}

/// A grouped attribute: what it is about, and what is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// The user, the floor or the request.
    pub id: u16,
    /// What is said of it.
    pub attributes: Attributes<'a>,
}

/// Attributes one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Those in some octets.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    fn split(&mut self) -> Result<Attribute<'a>, Malformed> {
        let (&[kind, length], _) = self.rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let length = usize::from(length);
        let octets = self.rest.get(2..length).ok_or(Malformed)?;
        // What padding holds is of no matter (§5.2), but it must be there.
        let padded = length.checked_next_multiple_of(4).ok_or(Malformed)?;
        self.rest = self.rest.get(padded..).ok_or(Malformed)?;
        Ok(Attribute {
            kind: kind >> 1,
            is_mandatory: kind & 1 != 0,
            octets,
        })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = self.split();
        if attribute.is_err() {
            self.rest = &[];
        }
        Some(attribute)
    }
}

impl<'a> Attribute<'a> {
    /// What it says.
    ///
    /// # Errors
    ///
    /// When its value is shorter than its type needs, or longer than a number can be.
    pub fn value(&self) -> Result<Value<'a>, Malformed> {
        let Some(kind) = Kind::from_number(self.kind) else {
            return Ok(Value::Unknown);
        };
        Ok(match kind {
            Kind::BeneficiaryId => Value::Beneficiary(u16::from_be_bytes(self.pair()?)),
            Kind::FloorId => Value::Floor(u16::from_be_bytes(self.pair()?)),
            Kind::FloorRequestId => Value::Request(u16::from_be_bytes(self.pair()?)),
            Kind::Priority => Value::Priority(self.pair()?[0] >> 5),
            Kind::RequestStatus => {
                let [status, position] = self.pair()?;
                Value::RequestStatus { status, position }
            }
            Kind::ErrorCode => {
                let (&code, details) = self.octets.split_first().ok_or(Malformed)?;
                Value::Error { code, details }
            }
            Kind::ErrorInfo
            | Kind::ParticipantProvidedInfo
            | Kind::StatusInfo
            | Kind::UserDisplayName
            | Kind::UserUri => Value::Text(kind, self.octets),
            Kind::SupportedAttributes | Kind::SupportedPrimitives => {
                Value::Supported(kind, self.octets)
            }
            Kind::BeneficiaryInformation
            | Kind::FloorRequestInformation
            | Kind::RequestedByInformation
            | Kind::FloorRequestStatus
            | Kind::OverallRequestStatus => {
                let (&id, inner) = self.octets.split_first_chunk::<2>().ok_or(Malformed)?;
                let group = Group {
                    id: u16::from_be_bytes(id),
                    attributes: Attributes::new(inner),
                };
                Value::Group(kind, group)
            }
        })
    }

    fn pair(&self) -> Result<[u8; 2], Malformed> {
        self.octets.try_into().map_err(|_| Malformed)
    }
}

/// Reads all attributes, grouped ones too, and gives the types of those that are mandatory and
/// aren't known to `note`.
///
/// # Errors
///
/// When one of them can't be read.
pub fn unknown_mandatory(
    attributes: Attributes<'_>,
    note: &mut impl FnMut(u8),
) -> Result<(), Malformed> {
    look_into(attributes, NESTING_MAX, note)
}

fn look_into(
    attributes: Attributes<'_>,
    depth: u8,
    note: &mut impl FnMut(u8),
) -> Result<(), Malformed> {
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.value()? {
            Value::Unknown if attribute.is_mandatory => note(attribute.kind),
            Value::Group(_, group) => {
                let depth = depth.checked_sub(1).ok_or(Malformed)?;
                look_into(group.attributes, depth, note)?;
            }
            Value::Unknown
            | Value::Beneficiary(_)
            | Value::Floor(_)
            | Value::Request(_)
            | Value::Priority(_)
            | Value::RequestStatus { .. }
            | Value::Error { .. }
            | Value::Text(..)
            | Value::Supported(..) => {}
        }
    }
    Ok(())
}

/// Groups in groups: a request's information has its status for a floor (RFC 8855 §5.2.15).
const NESTING_MAX: u8 = 3;
