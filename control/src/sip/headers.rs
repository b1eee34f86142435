//! The header fields of a message, in order, each line as it was received (RFC 3261 §7.3).

use super::name::Name;
use super::text::Text;
use crate::limits;

/// One header field line.
#[derive(Clone, Debug)]
pub struct Header {
    name: Name,
    line: Line,
}

#[derive(Clone, Debug)]
enum Line {
    /// As received, without its last CRLF; the value is on one line.
    Received {
        line: Text,
        name_end: u32,
        value: (u32, u32),
    },
    /// As received, over several lines; the value with each fold as one space.
    Folded {
        line: Text,
        name_end: u32,
        value: Text,
    },
    /// Made here.
    Made { name: Text, value: Text },
}

impl Header {
    /// The name, if it is a known one.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }

    /// The name as it is spelt in the message.
    #[must_use]
    pub fn name_text(&self) -> &str {
        match &self.line {
            Line::Received { line, name_end, .. } | Line::Folded { line, name_end, .. } => {
                line.as_str().get(..*name_end as usize).unwrap_or("")
            }
            Line::Made { name, .. } => name,
        }
    }

    /// The value without white space around it, folds replaced by one space.
    #[must_use]
    pub fn value(&self) -> &str {
        match &self.line {
            Line::Received { line, value, .. } => line
                .as_str()
                .get(value.0 as usize..value.1 as usize)
                .unwrap_or(""),
            Line::Folded { value, .. } | Line::Made { value, .. } => value,
        }
    }

    /// The value as text of its own, without a copy.
    #[must_use]
    pub fn value_text(&self) -> Text {
        match &self.line {
            Line::Received { line, value, .. } => line.slice(value.0 as usize..value.1 as usize),
            Line::Folded { value, .. } | Line::Made { value, .. } => value.clone(),
        }
    }

    /// Whether it is the header of that name, in any spelling.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        match Name::of(name) {
            Name::Other => self.name_text().eq_ignore_ascii_case(name),
            known => self.name == known,
        }
    }

    pub(super) fn received(line: Text, name_end: u32, value: (u32, u32)) -> Self {
        let mut header = Self {
            name: Name::Other,
            line: Line::Received {
                line,
                name_end,
                value,
            },
        };
        header.name = Name::of(header.name_text());
        header
    }

    pub(super) fn folded(line: Text, name_end: u32, value: Text) -> Self {
        let mut header = Self {
            name: Name::Other,
            line: Line::Folded {
                line,
                name_end,
                value,
            },
        };
        header.name = Name::of(header.name_text());
        header
    }

    fn made(name: Name, value: Text) -> Self {
        Self {
            name,
            line: Line::Made {
                name: name.as_str().into(),
                value: one_line(value),
            },
        }
    }

    fn made_named(name: &str, value: Text) -> Self {
        let known = Name::of(name);
        if known != Name::Other {
            return Self::made(known, value);
        }
        let name: String = name
            .split(|c: char| !is_token(c.encode_utf8(&mut [0; 4])))
            .collect();
        Self {
            name: known,
            line: Line::Made {
                name: name.into(),
                value: one_line(value),
            },
        }
    }

    /// The same header with another value, its name spelt as before.
    fn with_value(&self, value: Text) -> Self {
        let name = match &self.line {
            Line::Received { line, name_end, .. } | Line::Folded { line, name_end, .. } => {
                line.slice(0..*name_end as usize)
            }
            Line::Made { name, .. } => name.clone(),
        };
        Self {
            name: self.name,
            line: Line::Made { name, value },
        }
    }

    pub(super) fn encoded_len(&self) -> usize {
        match &self.line {
            Line::Received { line, .. } | Line::Folded { line, .. } => line.len() + 2,
            Line::Made { name, value } => name.len() + value.len() + 4,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match &self.line {
            Line::Received { line, .. } | Line::Folded { line, .. } => {
                out.extend_from_slice(line.as_bytes());
            }
            Line::Made { name, value } => {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A value never carries a line end of its own: it would be a header of the sender's choice.
fn one_line(value: Text) -> Text {
    if value.contains(['\r', '\n']) {
        return Text::from(value.replace(['\r', '\n'], " "));
    }
    value
}

/// Whether it is a token (RFC 3261 §25.1).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| TOKEN.get(usize::from(byte)) == Some(&true))
}

static TOKEN: [bool; 256] = token_bytes();

const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
}

/// The header fields of a message in their order.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    lines: Vec<Header>,
}

impl Headers {
    pub(super) fn with_capacity(lines: usize) -> Self {
        Self {
            lines: Vec::with_capacity(lines),
        }
    }

    /// Adds a line as it is.
    pub fn push_line(&mut self, header: Header) {
        self.lines.push(header);
    }

    fn first(&self, name: Name) -> Option<&Header> {
        self.lines.iter().find(|header| header.name == name)
    }

    /// The value of the first line of that name.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&str> {
        self.first(name).map(Header::value)
    }

    /// The same as shared text.
    #[must_use]
    pub fn text(&self, name: Name) -> Option<Text> {
        self.first(name).map(Header::value_text)
    }

    /// The value of the first line of that name, in any case or compact form.
    #[must_use]
    pub fn get_named(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .find(|header| header.is(name))
            .map(Header::value)
    }

    /// The values of all lines of that name, one per line.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(move |header| header.name == name)
            .map(Header::value)
    }

    /// The comma-separated values over all lines of that name; empty ones are left out.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        self.all(name).flat_map(split_list)
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: Name, value: impl Into<Text>) {
        self.lines.push(Header::made(name, value.into()));
    }

    /// Adds a line at the end under a name that may be unknown.
    pub fn push_named(&mut self, name: &str, value: impl Into<Text>) {
        self.lines.push(Header::made_named(name, value.into()));
    }

    /// Adds a line before the first of its name, else before all others.
    pub fn prepend(&mut self, name: Name, value: impl Into<Text>) {
        let at = self
            .lines
            .iter()
            .position(|header| header.name == name)
            .unwrap_or(0);
        self.lines.insert(at, Header::made(name, value.into()));
    }

    /// Leaves one line of that name, in the place of the first, with this value.
    pub fn set(&mut self, name: Name, value: impl Into<Text>) {
        let made = Header::made(name, value.into());
        let Some(at) = self.lines.iter().position(|header| header.name == name) else {
            self.lines.push(made);
            return;
        };
        let mut index = 0;
        self.lines.retain(|header| {
            index += 1;
            index <= at + 1 || header.name != name
        });
        if let Some(line) = self.lines.get_mut(at) {
            *line = made;
        }
    }

    /// Removes all lines of that name and says how many there were.
    pub fn remove(&mut self, name: Name) -> usize {
        let before = self.lines.len();
        self.lines.retain(|header| header.name != name);
        before - self.lines.len()
    }

    /// Takes the first value of a list header such as Via or Route; the rest of its line stays.
    pub fn remove_first_value(&mut self, name: Name) -> Option<Text> {
        loop {
            let at = self.lines.iter().position(|header| header.name == name)?;
            let line = self.lines.get_mut(at)?;
            let value = line.value_text();
            let (first, rest) = split_first(&value);
            let taken = slice_of(&value, first);
            match rest.map(str::trim).filter(|rest| !rest.is_empty()) {
                Some(rest) => *line = line.with_value(slice_of(&value, rest)),
                None => {
                    self.lines.remove(at);
                }
            }
            if !taken.is_empty() {
                return Some(taken);
            }
        }
    }

    /// Puts another text in the place of the first value of a list header.
    pub fn replace_first_value(&mut self, name: Name, value: impl Into<Text>) {
        let Some(line) = self.lines.iter_mut().find(|header| header.name == name) else {
            return;
        };
        let new = one_line(value.into());
        let new = match split_first(line.value()).1 {
            Some(rest) => Text::from(format!("{new},{rest}")),
            None => new,
        };
        *line = line.with_value(new);
    }

    /// Keeps only the lines that `f` wants.
    pub fn retain(&mut self, f: impl FnMut(&Header) -> bool) {
        self.lines.retain(f);
    }

    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.lines.iter()
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds the other's lines of these names at the end, in the other's order, byte for byte.
    pub fn copy_from(&mut self, other: &Self, names: &[Name]) {
        self.lines.extend(
            other
                .lines
                .iter()
                .filter(|line| names.contains(&line.name))
                .cloned(),
        );
    }

    /// The lines of these names in memory of their own, for as long as the message they came with
    /// may be gone: the values as they came, the names in full, none longer than
    /// [`limits::KEPT_HEADER_BYTES`].
    #[must_use]
    pub fn kept(&self, names: &[Name]) -> Self {
        let lines = self.lines.iter().filter(|line| {
            names.contains(&line.name) && line.value().len() <= limits::KEPT_HEADER_BYTES
        });
        Self {
            lines: lines
                .map(|line| Header::made(line.name, Text::copied(line.value())))
                .collect(),
        }
    }
}

/// The piece of `whole` that `part` is; `part` must have been cut out of it.
pub(super) fn slice_of(whole: &Text, part: &str) -> Text {
    let start = part
        .as_ptr()
        .addr()
        .wrapping_sub(whole.as_str().as_ptr().addr());
    whole.slice(start..start.wrapping_add(part.len()))
}

/// The values of a comma-separated list, trimmed; commas in quotes and `<>` don't count.
pub(super) fn split_list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let (first, next) = split_first(rest?);
        rest = next;
        Some(first)
    })
    .filter(|item| !item.is_empty())
}

/// The first value, trimmed, and what follows its comma.
fn split_first(value: &str) -> (&str, Option<&str>) {
    match find_outside(value, b',') {
        Some(at) => (value.get(..at).unwrap_or("").trim(), value.get(at + 1..)),
        None => (value.trim(), None),
    }
}

/// Where the ASCII character first stands outside of quotes and `<>`.
pub(super) fn find_outside(value: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for (at, byte) in value.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            _ if byte == wanted && !inside => return Some(at),
            b'"' if !inside => quoted = true,
            b'<' => inside = true,
            b'>' => inside = false,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Headers, Line, Name};
    use crate::sip::Message;

    fn vias() -> Headers {
        let mut headers = Headers::default();
        headers.push(Name::Via, "SIP/2.0/UDP a;x=\"1,2\", SIP/2.0/UDP b");
        headers.push_named("X-Other", "1");
        headers.push_named("v", "SIP/2.0/UDP c");
        headers
    }

    #[test]
    fn a_list_goes_over_lines_and_past_quotes() {
        let mut headers = vias();
        headers.push(Name::Contact, "\"a, b\" <sip:x@h;p=1,2>;q=1 ,, <sip:y@h>");
        let all: Vec<_> = headers.values(Name::Via).collect();
        assert_eq!(
            all,
            ["SIP/2.0/UDP a;x=\"1,2\"", "SIP/2.0/UDP b", "SIP/2.0/UDP c"]
        );
        let all: Vec<_> = headers.values(Name::Contact).collect();
        assert_eq!(all, ["\"a, b\" <sip:x@h;p=1,2>;q=1", "<sip:y@h>"]);
    }

    #[test]
    fn values_are_popped_one_by_one() {
        let mut headers = vias();
        assert_eq!(
            headers.remove_first_value(Name::Via).unwrap(),
            "SIP/2.0/UDP a;x=\"1,2\""
        );
        assert_eq!(headers.get(Name::Via), Some("SIP/2.0/UDP b"));
        assert_eq!(
            headers.remove_first_value(Name::Via).unwrap(),
            "SIP/2.0/UDP b"
        );
        assert_eq!(
            headers.remove_first_value(Name::Via).unwrap(),
            "SIP/2.0/UDP c"
        );
        assert_eq!(headers.remove_first_value(Name::Via), None);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn set_leaves_one_line_in_the_place_of_the_first() {
        let mut headers = vias();
        headers.set(Name::Via, "new");
        let lines: Vec<_> = headers.iter().map(|h| (h.name_text(), h.value())).collect();
        assert_eq!(lines, [("Via", "new"), ("X-Other", "1")]);
        headers.replace_first_value(Name::Via, "newer");
        assert_eq!(headers.get(Name::Via), Some("newer"));
    }

    #[test]
    fn a_value_with_a_line_end_can_not_make_another_header() {
        let mut headers = Headers::default();
        headers.push(Name::Reason, String::from("a\r\nEvil: yes"));
        assert_eq!(headers.get(Name::Reason), Some("a  Evil: yes"));
        headers.push_named("Bad\r\nName", "x");
        assert_eq!(headers.get_named("BadName"), Some("x"));
    }

    #[test]
    fn unknown_names_are_found_in_any_case() {
        assert_eq!(vias().get_named("x-OTHER"), Some("1"));
        assert_eq!(vias().get_named("VIA"), vias().get(Name::Via));
    }

    #[test]
    fn what_is_kept_of_a_message_lets_the_message_go() {
        let large = format!(
            "INVITE sip:b@x SIP/2.0\r\ns: greetings\r\nX: {}\r\nConversation-ID: {}\r\n\
             Contribution-ID: f81d\r\n\r\n",
            "x".repeat(10_000),
            "y".repeat(2000)
        );
        let received = Message::parse(large.into()).unwrap().headers;
        let names = [Name::Subject, Name::ConversationId, Name::ContributionId];
        let kept = received.kept(&names);
        let lines: Vec<_> = kept
            .iter()
            .map(|line| (line.name(), line.value()))
            .collect();
        let due = [(Name::Subject, "greetings"), (Name::ContributionId, "f81d")];
        assert_eq!(lines, due, "and nothing that is too long");
        for line in kept.iter() {
            let Line::Made { value, .. } = &line.line else {
                unreachable!("{line:?}");
            };
            assert_eq!(value.memory(), value.len());
        }
    }
}
