//! The MSRP torture set (`tests/torture/msrp`): its index, and what an outcome must be.

pub mod frames;

use std::path::PathBuf;

use serde::Deserialize;

use self::frames::Frame;
use crate::live::workspace;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    case: Vec<Case>,
}

/// One file and what a relay must do with it. The set's README explains the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The file's name without `.msrp`.
    pub name: String,
    /// The point of it.
    pub shows: String,
    /// Where the RFCs say so.
    pub rfc: String,
    /// Who is there.
    #[serde(default)]
    pub scene: Scene,
    /// At how many places the file is cut in two.
    #[serde(default)]
    pub splits: Splits,
    /// The relay closes far end a's connection.
    #[serde(default)]
    pub closes: bool,
    /// What the far ends beyond the relay get.
    pub forwards: Vec<Forward>,
    /// The responses that far end a gets.
    pub answers: Vec<Answer>,
    /// What far end b answers then.
    #[serde(default)]
    pub replies: Vec<Reply>,
    /// Seconds in which nothing happens then.
    #[serde(default)]
    pub silence_s: u64,
    /// The REPORTs that far end a gets of all that.
    #[serde(default)]
    pub reports: Vec<Report>,
    /// What happens when far end a sends `NAME.after.msrp` then.
    pub after: Option<After>,
}

/// Who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scene {
    /// Far ends a and b.
    #[default]
    Pair,
    /// Far ends a and c on one connection, b and d on another.
    Shared,
}

impl Scene {
    /// The far ends on far end a's connection.
    #[must_use]
    pub const fn near(self) -> &'static [char] {
        match self {
            Self::Pair => &['a'],
            Self::Shared => &['a', 'c'],
        }
    }

    /// The far ends on far end b's connection.
    #[must_use]
    pub const fn far(self) -> &'static [char] {
        match self {
            Self::Pair => &['b'],
            Self::Shared => &['b', 'd'],
        }
    }
}

/// At how many places a file is cut in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Splits {
    /// Between any two octets.
    #[default]
    Every,
    /// The file is long: at some.
    Some,
}

/// A frame that a far end beyond the relay gets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    method: String,
    #[serde(default = "far_end_b")]
    at: char,
    flag: char,
    headers: Option<Vec<String>>,
    body: Option<String>,
    #[serde(default = "once")]
    times: usize,
    body_hex: Option<String>,
}

const fn far_end_b() -> char {
    'b'
}

const fn once() -> usize {
    1
}

/// A response that far end a gets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    id: String,
    code: u16,
    to: Option<String>,
}

/// A response that far end b gives.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// To which frame of `forwards`, from 1.
    pub to: usize,
    /// The code.
    pub code: u16,
}

/// A REPORT that far end a gets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    code: u16,
    message_id: String,
    range: String,
}

/// What a second file leads to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// What the far ends beyond the relay get of it.
    pub forwards: Vec<Forward>,
    /// The responses that far end a gets.
    pub answers: Vec<Answer>,
}

/// The folder of the set.
#[must_use]
pub fn folder() -> PathBuf {
    workspace().join("tests/torture/msrp")
}

/// The whole set: each case with its file and its second file, which is empty where it has none.
///
/// # Panics
///
/// A file is missing or the index can't be read.
#[must_use]
pub fn cases() -> Vec<(Case, [Vec<u8>; 2])> {
    let text = std::fs::read_to_string(folder().join("index.toml")).expect("the index is there");
    let index: Index = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let read = |name: String| {
        let bytes = std::fs::read(folder().join(&name));
        bytes.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let cases = index.case.into_iter();
    cases
        .map(|case| {
            let file = read(format!("{}.msrp", case.name));
            let after = case.after.as_ref();
            let after = after.map_or_else(Vec::new, |_| read(format!("{}.after.msrp", case.name)));
            (case, [file, after])
        })
        .collect()
}

/// The URIs of a scene: the relay's and the far ends' own.
#[derive(Debug, Clone)]
pub struct Names(Vec<Named>);

#[derive(Debug, Clone)]
struct Named {
    letter: char,
    relay: String,
    far: String,
}

impl Default for Names {
    /// The URIs in the files.
    fn default() -> Self {
        let named = |letter: char| Named {
            letter,
            relay: format!(
                "msrp://relay.example:2855/{};tcp",
                String::from(letter).repeat(32)
            ),
            far: format!("msrp://{letter}.example:7000/far{letter};tcp"),
        };
        Self(['a', 'b', 'c', 'd'].map(named).to_vec())
    }
}

impl Names {
    /// Others: letter, the relay's URI, the far end's.
    pub fn set(&mut self, letter: char, relay: &str, far: &str) {
        if let Some(named) = self.0.iter_mut().find(|named| named.letter == letter) {
            relay.clone_into(&mut named.relay);
            far.clone_into(&mut named.far);
        }
    }

    fn of(&self, letter: char) -> &Named {
        let named = self.0.iter().find(|named| named.letter == letter);
        named.expect("there are far ends a to d")
    }

    /// The relay's URI towards a far end.
    #[must_use]
    pub fn relay(&self, letter: char) -> &str {
        &self.of(letter).relay
    }

    /// A far end's URI.
    #[must_use]
    pub fn far(&self, letter: char) -> &str {
        &self.of(letter).far
    }

    /// Puts these URIs where octets have those of the files, whole or in parts.
    #[must_use]
    pub fn rename(&self, octets: &[u8]) -> Vec<u8> {
        let mut renamed = octets.to_vec();
        for Named { letter, relay, far } in &self.0 {
            let of_file = format!("msrp://{letter}.example:7000/far{letter};tcp");
            renamed = replace(&renamed, &of_file, far);
            let (host, session) = parts(relay);
            let of_file = String::from(*letter).repeat(32);
            renamed = replace(&renamed, &of_file, session);
            let (upper, session) = (of_file.to_uppercase(), session.to_uppercase());
            renamed = replace(&renamed, &upper, &session);
            let (name, port) = host.rsplit_once(':').expect("a path has a port");
            renamed = replace(&renamed, ":2855", &format!(":{port}"));
            for spelt in ["relay.example", "RELAY.Example"] {
                renamed = replace(&renamed, spelt, name);
            }
        }
        renamed
    }
}

/// Host with port, and session-id.
fn parts(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").expect("an MSRP URI").1;
    let (host, rest) = rest.split_once('/').expect("it has a session-id");
    (host, rest.split(';').next().unwrap_or_default())
}

fn replace(octets: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((first, others)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from.as_bytes()) {
            replaced.extend_from_slice(to.as_bytes());
            rest = after;
        } else {
            replaced.push(*first);
            rest = others;
        }
    }
    replaced
}

/// What a play led to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The frames that the far ends beyond the relay got.
    pub forwards: Vec<Frame>,
    /// What far end a got.
    pub answers: Vec<Frame>,
    /// Far end a's connection was closed.
    pub closes: bool,
}

impl Case {
    /// Whether other files may follow on the same connection.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let is_more = !self.replies.is_empty() || self.silence_s > 0 || self.after.is_some();
        self.closes || is_more || self.scene != Scene::Pair
    }

    /// Says that the file led to what the index says.
    ///
    /// # Panics
    ///
    /// It didn't.
    pub fn check(&self, outcome: &Outcome, names: &Names) {
        let name = &self.name;
        assert_eq!(outcome.closes, self.closes, "{}: {outcome:#?}", self.says());
        let (forwards, answers) = (&self.forwards, &self.answers);
        check(name, outcome, (forwards, answers), names, &self.says());
    }

    /// Says the same of the second file.
    ///
    /// # Panics
    ///
    /// It didn't.
    pub fn check_after(&self, outcome: &Outcome, names: &Names) {
        let Some(after) = &self.after else {
            return assert!(outcome.forwards.is_empty() && outcome.answers.is_empty());
        };
        let due = (&*after.forwards, &*after.answers);
        check(&self.name, outcome, due, names, &self.says());
    }

    /// Says that far end a got the REPORTs that are due, and nothing else.
    ///
    /// # Panics
    ///
    /// It didn't.
    pub fn check_reports(&self, came: &[Frame], names: &Names) {
        assert_eq!(came.len(), self.reports.len(), "{}: {came:#?}", self.says());
        for (frame, due) in came.iter().zip(&self.reports) {
            let (name, head) = (&self.name, &frame.head);
            let is_report = head.what == "REPORT" && frame.flag == '$' && frame.body.is_none();
            assert!(is_report, "{name}: {frame:?}");
            let status = head.value("status").unwrap_or_default();
            assert!(
                status.starts_with(&format!("000 {}", due.code)),
                "{name}: {status}"
            );
            assert_eq!(
                head.value("message-id").as_ref(),
                Some(&due.message_id),
                "{name}"
            );
            assert_eq!(
                head.value("byte-range").as_ref(),
                Some(&due.range),
                "{name}"
            );
            assert_eq!(
                head.value("to-path").as_deref(),
                Some(names.far('a')),
                "{name}"
            );
            assert_eq!(
                head.value("from-path").as_deref(),
                Some(names.relay('a')),
                "{name}"
            );
            let asks = ["success-report", "failure-report"].map(|name| head.value(name));
            assert_eq!(asks, [None, None], "{name}: a REPORT asks for none");
        }
    }

    fn says(&self) -> String {
        format!("{} ({})", self.name, self.shows)
    }
}

fn check(
    name: &str,
    outcome: &Outcome,
    (forwards, answers): (&[Forward], &[Answer]),
    names: &Names,
    says: &str,
) {
    assert_eq!(
        outcome.forwards.len(),
        forwards.len(),
        "{says}: {outcome:#?}"
    );
    for (frame, forward) in outcome.forwards.iter().zip(forwards) {
        forward.check(name, frame, names);
    }
    assert_eq!(outcome.answers.len(), answers.len(), "{says}: {outcome:#?}");
    for (frame, answer) in outcome.answers.iter().zip(answers) {
        answer.check(name, frame, names);
    }
}

impl Forward {
    /// Says that a frame is the one that is due.
    ///
    /// # Panics
    ///
    /// It isn't.
    pub fn check(&self, name: &str, frame: &Frame, names: &Names) {
        let head = &frame.head;
        assert_eq!(
            (&head.what, frame.flag),
            (&self.method, self.flag),
            "{name}"
        );
        let paths = [names.far(self.at), names.relay(self.at)];
        assert_eq!(head.value("to-path").as_deref(), Some(paths[0]), "{name}");
        assert_eq!(head.value("from-path").as_deref(), Some(paths[1]), "{name}");
        if let Some(headers) = &self.headers {
            let found: Vec<String> = head
                .headers
                .iter()
                .skip(2)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            assert_eq!(&found, headers, "{name}");
        }
        let text = self.body.as_ref();
        let text = text.map(|text| names.rename(text.repeat(self.times).as_bytes()));
        let hex = self.body_hex.as_ref().map(|hex| from_hex(hex));
        let due = text.or(hex);
        assert!(frame.body == due, "{name}: another body: {frame:?}");
    }
}

impl Answer {
    /// Says that a frame is the response that is due.
    ///
    /// # Panics
    ///
    /// It isn't.
    pub fn check(&self, name: &str, frame: &Frame, names: &Names) {
        let head = &frame.head;
        let code = head.what.split(' ').next().unwrap_or_default();
        let due = (self.id.as_bytes(), &*self.code.to_string());
        assert_eq!((&*head.id, code), due, "{name}");
        let to = self.to.as_ref().map(|to| names.rename(to.as_bytes()));
        let to = to.map(|to| String::from_utf8_lossy(&to).into_owned());
        let to = to.unwrap_or_else(|| names.far('a').to_owned());
        assert_eq!(head.value("to-path"), Some(to), "{name}");
        assert_eq!((frame.flag, &frame.body), ('$', &None), "{name}");
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
    let octets = hex.as_bytes().chunks(2).map(|two| {
        let value = two.iter().fold(0, |value, byte| value * 16 + digit(byte));
        u8::try_from(value).unwrap_or(0)
    });
    octets.collect()
}
