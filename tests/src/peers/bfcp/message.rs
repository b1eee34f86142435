//! Messages, read strictly: whatever RFC 8855 §5 doesn't allow is an error.

use super::attribute;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 1 over TCP, 2 over UDP.
    pub version: u8,
    /// R.
    pub is_response: bool,
    /// What it is about.
    pub primitive: u8,
    /// The conference.
    pub conference: u32,
    /// The transaction.
    pub transaction: u16,
    /// The user.
    pub user: u16,
    /// Its attributes, in order.
    pub attributes: Vec<Attribute>,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its type.
    pub kind: u8,
    /// M.
    pub is_mandatory: bool,
    /// What it says.
    pub content: Content,
}

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The value of a plain one.
    Octets(Vec<u8>),
    /// The number of a grouped one, and what is in it.
    Group(u16, Vec<Attribute>),
}

/// A request as FLOOR-REQUEST-INFORMATION tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Which.
    pub request: u16,
    /// Status and place in the queue.
    pub overall: (u8, u8),
    /// The same for each floor.
    pub floors: Vec<(u16, u8, u8)>,
    /// Whom it is for.
    pub beneficiary: u16,
    /// Who asked, where it wasn't the beneficiary.
    pub by: Option<u16>,
    /// Its priority.
    pub priority: u8,
    /// What the participant says of it.
    pub provided: Vec<u8>,
    /// What its chair says of it.
    pub said: Vec<u8>,
}

impl Attribute {
    /// A plain one.
    #[must_use]
    pub fn octets(kind: u8, octets: &[u8]) -> Self {
        Self {
            kind,
            is_mandatory: false,
            content: Content::Octets(octets.to_vec()),
        }
    }

    /// One whose value is a number.
    #[must_use]
    pub fn number(kind: u8, number: u16) -> Self {
        Self::octets(kind, &number.to_be_bytes())
    }

    /// A grouped one.
    #[must_use]
    pub fn group(kind: u8, id: u16, inside: Vec<Self>) -> Self {
        Self {
            kind,
            is_mandatory: false,
            content: Content::Group(id, inside),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        match &self.content {
            Content::Octets(octets) => value.extend_from_slice(octets),
            Content::Group(id, inside) => {
                value.extend_from_slice(&id.to_be_bytes());
                inside.iter().for_each(|one| one.encode(&mut value));
            }
        }
        out.push(self.kind << 1 | u8::from(self.is_mandatory));
        out.push(u8::try_from(value.len() + 2).expect("an attribute has 255 octets at most"));
        out.extend_from_slice(&value);
        // From its own beginning: in a group, the number of two octets is before it.
        let padding = (value.len() + 2).next_multiple_of(4) - (value.len() + 2);
        out.extend(std::iter::repeat_n(0, padding));
    }

    fn decode(octets: &mut &[u8]) -> Result<Self, String> {
        let (kind, length) = (octets[0] >> 1, usize::from(octets[1]));
        let padded = length.next_multiple_of(4);
        if length < 2 || padded > octets.len() {
            return Err(format!(
                "attribute {kind} has {length} of {} octets",
                octets.len()
            ));
        }
        if octets[length..padded].iter().any(|octet| *octet != 0) {
            return Err(format!("attribute {kind} is padded with {octets:?}"));
        }
        let is_mandatory = octets[0] & 1 == 1;
        let value = &octets[2..length];
        *octets = &octets[padded..];
        let is_group = (attribute::BENEFICIARY_INFORMATION..=attribute::OVERALL_REQUEST_STATUS)
            .contains(&kind);
        let content = if is_group {
            let [high, low, inside @ ..] = value else {
                return Err(format!("group {kind} has no number"));
            };
            let inside = decode_all(inside)?;
            Content::Group(u16::from_be_bytes([*high, *low]), inside)
        } else {
            Content::Octets(value.to_vec())
        };
        let found = Self {
            kind,
            is_mandatory,
            content,
        };
        found.check()?;
        Ok(found)
    }

    /// Whether it is as long as its kind, and says nothing in reserved bits.
    fn check(&self) -> Result<(), String> {
        use attribute as a;
        let fits = match (&self.content, self.kind) {
            (Content::Octets(o), a::BENEFICIARY_ID | a::FLOOR_ID | a::FLOOR_REQUEST_ID) => {
                o.len() == 2
            }
            (Content::Octets(o), a::PRIORITY) => o.len() == 2 && o[0] & 0x1f == 0 && o[1] == 0,
            (Content::Octets(o), a::REQUEST_STATUS) => o.len() == 2 && (1..=7).contains(&o[0]),
            (Content::Octets(o), a::ERROR_CODE) => !o.is_empty() && (1..=14).contains(&o[0]),
            (Content::Octets(o), a::SUPPORTED_ATTRIBUTES) => o.iter().all(|octet| octet & 1 == 0),
            (
                Content::Octets(o),
                a::ERROR_INFO
                | a::PARTICIPANT_PROVIDED_INFO
                | a::STATUS_INFO
                | a::USER_DISPLAY_NAME
                | a::USER_URI,
            ) => std::str::from_utf8(o).is_ok(),
            (Content::Octets(_), a::SUPPORTED_PRIMITIVES) => true,
            (Content::Group(_, inside), kind) => {
                inside.iter().all(|one| inside_of(kind).contains(&one.kind))
            }
            (Content::Octets(_), _) => false,
        };
        fits.then_some(())
            .ok_or_else(|| format!("not an attribute: {self:?}"))
    }

    /// The octets of a plain one.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match &self.content {
            Content::Octets(octets) => octets,
            Content::Group(..) => &[],
        }
    }

    /// Its value as a number.
    ///
    /// # Panics
    ///
    /// When it isn't one.
    #[must_use]
    pub fn as_number(&self) -> u16 {
        u16::from_be_bytes(self.value().try_into().expect("a number has two octets"))
    }
}

fn decode_all(mut octets: &[u8]) -> Result<Vec<Attribute>, String> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        if octets.len() < 4 {
            return Err(format!("octets are left: {octets:?}"));
        }
        all.push(Attribute::decode(&mut octets)?);
    }
    Ok(all)
}

/// What may be in a group (RFC 8855 §5.2.14 to §5.2.18).
fn inside_of(kind: u8) -> &'static [u8] {
    use attribute as a;
    match kind {
        a::BENEFICIARY_INFORMATION | a::REQUESTED_BY_INFORMATION => {
            &[a::USER_DISPLAY_NAME, a::USER_URI]
        }
        a::FLOOR_REQUEST_INFORMATION => &[
            a::OVERALL_REQUEST_STATUS,
            a::FLOOR_REQUEST_STATUS,
            a::BENEFICIARY_INFORMATION,
            a::REQUESTED_BY_INFORMATION,
            a::PRIORITY,
            a::PARTICIPANT_PROVIDED_INFO,
        ],
        _ => &[a::REQUEST_STATUS, a::STATUS_INFO],
    }
}

/// What a server's message may have, and what it must (RFC 8855 §5.3).
fn inside_of_message(what: u8) -> (&'static [u8], &'static [u8]) {
    use super::primitive as p;
    use attribute as a;
    match what {
        p::FLOOR_REQUEST_STATUS => (
            &[a::FLOOR_REQUEST_INFORMATION],
            &[a::FLOOR_REQUEST_INFORMATION],
        ),
        p::USER_STATUS => (
            &[a::BENEFICIARY_INFORMATION, a::FLOOR_REQUEST_INFORMATION],
            &[],
        ),
        p::FLOOR_STATUS => (&[a::FLOOR_ID, a::FLOOR_REQUEST_INFORMATION], &[]),
        p::HELLO_ACK => (
            &[a::SUPPORTED_PRIMITIVES, a::SUPPORTED_ATTRIBUTES],
            &[a::SUPPORTED_PRIMITIVES, a::SUPPORTED_ATTRIBUTES],
        ),
        p::ERROR => (&[a::ERROR_CODE, a::ERROR_INFO], &[a::ERROR_CODE]),
        _ => (&[], &[]),
    }
}

impl Message {
    /// Its octets, in one piece.
    ///
    /// # Panics
    ///
    /// When it is too long for one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        self.attributes
            .iter()
            .for_each(|one| one.encode(&mut payload));
        let mut out = vec![
            self.version << 5 | u8::from(self.is_response) << 4,
            self.primitive,
        ];
        let words = u16::try_from(payload.len() / 4).expect("a message is short");
        out.extend_from_slice(&words.to_be_bytes());
        out.extend_from_slice(&self.conference.to_be_bytes());
        out.extend_from_slice(&self.transaction.to_be_bytes());
        out.extend_from_slice(&self.user.to_be_bytes());
        out.extend_from_slice(&payload);
        out
    }

    /// The same in datagrams of at most so many words of payload (RFC 8855 §6.2.3).
    ///
    /// # Panics
    ///
    /// When it is too long for one.
    #[must_use]
    pub fn encode_in(&self, words: usize) -> Vec<Vec<u8>> {
        let whole = self.encode();
        let parts = whole[12..].chunks(words * 4).enumerate();
        let parts = parts.map(|(index, part)| {
            let mut datagram = whole[..12].to_vec();
            datagram[0] |= 0x08;
            let numbers = [index * words, part.len() / 4];
            for number in numbers.map(|number| u16::try_from(number).expect("it is short")) {
                datagram.extend_from_slice(&number.to_be_bytes());
            }
            datagram.extend_from_slice(part);
            datagram
        });
        parts.collect()
    }

    /// Octets that the message at the front of a stream has; `None`: not known yet.
    #[must_use]
    pub fn length(octets: &[u8]) -> Option<usize> {
        let words = octets.get(2..4)?;
        Some(12 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]])))
    }

    /// Reads a whole message of a server.
    ///
    /// # Errors
    ///
    /// What RFC 8855 doesn't allow, in words.
    pub fn decode(octets: &[u8]) -> Result<Self, String> {
        if Self::length(octets) != Some(octets.len()) {
            return Err(format!(
                "{} octets are no message: {octets:?}",
                octets.len()
            ));
        }
        if octets[0] & 0x0f != 0 {
            return Err(format!("F or reserved bits: {:#x}", octets[0]));
        }
        let long = |from: usize| u16::from_be_bytes([octets[from], octets[from + 1]]);
        let message = Self {
            version: octets[0] >> 5,
            is_response: octets[0] & 0x10 != 0,
            primitive: octets[1],
            conference: u32::from(long(4)) << 16 | u32::from(long(6)),
            transaction: long(8),
            user: long(10),
            attributes: decode_all(&octets[12..])?,
        };
        let (may, must) = inside_of_message(message.primitive);
        let has = |kind: &u8| message.attributes.iter().any(|one| one.kind == *kind);
        let is_well = message.attributes.iter().all(|one| may.contains(&one.kind))
            && must.iter().all(has)
            && (1..=17).contains(&message.primitive);
        is_well
            .then_some(message.clone())
            .ok_or_else(|| format!("not as §5.3 says: {message:?}"))
    }

    /// ERROR-CODE of an Error.
    #[must_use]
    pub fn error(&self) -> Option<u8> {
        let mut found = self.attributes.iter();
        let code = found.find(|one| one.kind == attribute::ERROR_CODE)?;
        code.value().first().copied()
    }

    /// FLOOR-ID of a FloorStatus.
    #[must_use]
    pub fn floor(&self) -> Option<u16> {
        let mut found = self.attributes.iter();
        let floor = found.find(|one| one.kind == attribute::FLOOR_ID)?;
        Some(floor.as_number())
    }

    /// The requests it tells of.
    #[must_use]
    pub fn infos(&self) -> Vec<Info> {
        let groups = self.attributes.iter().filter_map(|one| match &one.content {
            Content::Group(id, inside) if one.kind == attribute::FLOOR_REQUEST_INFORMATION => {
                Some(info(*id, inside))
            }
            Content::Group(..) | Content::Octets(_) => None,
        });
        groups.collect()
    }
}

fn info(request: u16, inside: &[Attribute]) -> Info {
    use attribute as a;
    let groups = |kind: u8| {
        inside.iter().filter_map(move |one| match &one.content {
            Content::Group(id, inside) if one.kind == kind => Some((*id, inside.as_slice())),
            Content::Group(..) | Content::Octets(_) => None,
        })
    };
    let value = |attributes: &[Attribute], kind: u8| {
        let found = attributes.iter().find(|one| one.kind == kind);
        found.map(|one| one.value().to_vec()).unwrap_or_default()
    };
    let status = |attributes: &[Attribute]| match value(attributes, a::REQUEST_STATUS)[..] {
        [status, position] => (status, position),
        _ => (0, 0),
    };
    let overall = groups(a::OVERALL_REQUEST_STATUS).next();
    let overall = overall.map_or(&[][..], |(_, inside)| inside);
    let floors = groups(a::FLOOR_REQUEST_STATUS).map(|(floor, inside)| {
        let (status, position) = status(inside);
        (floor, status, position)
    });
    Info {
        request,
        overall: status(overall),
        floors: floors.collect(),
        beneficiary: groups(a::BENEFICIARY_INFORMATION)
            .next()
            .map_or(0, |(user, _)| user),
        by: groups(a::REQUESTED_BY_INFORMATION)
            .next()
            .map(|(user, _)| user),
        priority: value(inside, a::PRIORITY)
            .first()
            .map_or(2, |octet| octet >> 5),
        provided: value(inside, a::PARTICIPANT_PROVIDED_INFO),
        said: value(overall, a::STATUS_INFO),
    }
}
