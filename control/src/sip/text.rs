//! A string that is cheap to clone: a piece of a shared one, most often of a received message's head.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Immutable text, cloned without a copy; at most 4 GiB.
#[derive(Clone)]
pub struct Text {
    source: Source,
    start: u32,
    end: u32,
}

#[derive(Clone)]
enum Source {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self {
        source: Source::Static(""),
        start: 0,
        end: 0,
    };

    /// A copy of a string that doesn't live long enough to be shared.
    #[must_use]
    pub fn copied(text: &str) -> Self {
        Self::shared(text.into())
    }

    /// The text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let whole = match &self.source {
            Source::Static(text) => text,
            Source::Shared(text) => &**text,
        };
        whole
            .get(self.start as usize..self.end as usize)
            .unwrap_or("")
    }

    /// A piece of it that shares its memory; empty if the range is not inside it.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        if self.as_str().get(range.clone()).is_none() {
            return Self::EMPTY;
        }
        let (Ok(from), Ok(to)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            return Self::EMPTY;
        };
        Self {
            source: self.source.clone(),
            start: self.start + from,
            end: self.start + to,
        }
    }

    /// Gives texts memory of their own, one piece for all, so that what they were pieces of can be
    /// freed. A text that another one contains takes no room.
    pub fn gather<'a>(texts: impl IntoIterator<Item = &'a mut Self>) {
        let mut texts: Vec<&mut Self> = texts.into_iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let mut whole = String::new();
        let mut places = Vec::with_capacity(texts.len());
        for text in &texts {
            let place = whole.find(text.as_str()).unwrap_or_else(|| {
                whole.push_str(text);
                whole.len() - text.len()
            });
            places.push(place..place + text.len());
        }
        let whole = Self::shared(whole.into());
        for (text, place) in texts.into_iter().zip(places) {
            *text = whole.slice(place);
        }
    }

    /// How many octets of memory it keeps from being freed.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        match &self.source {
            Source::Shared(whole) => whole.len(),
            Source::Static(_) => 0,
        }
    }

    fn shared(text: Arc<str>) -> Self {
        match u32::try_from(text.len()) {
            Ok(end) => Self {
                source: Source::Shared(text),
                start: 0,
                end,
            },
            Err(_) => Self::EMPTY,
        }
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        match u32::try_from(text.len()) {
            Ok(end) => Self {
                source: Source::Static(text),
                start: 0,
                end,
            },
            Err(_) => Self::EMPTY,
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::shared(text.into())
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::shared(text)
    }
}

impl From<&Self> for Text {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_piece_shares_and_a_piece_outside_is_empty() {
        let text = Text::from(String::from("From: Zoë"));
        let piece = text.slice(6..10);
        assert_eq!(piece, "Zoë");
        assert_eq!(piece.slice(0..1), "Z");
        assert_eq!(piece.slice(2..3), "", "inside a character");
        assert_eq!(piece.slice(3..9), "");
    }

    #[test]
    fn gathered_texts_read_as_before_and_share_one_piece_of_memory() {
        let message = Text::from(String::from("Call-ID: a84b@pc33; tag=pc33; Zoë"));
        let mut texts = [
            message.slice(9..18),
            message.slice(24..28),
            message.slice(30..34),
        ];
        let mut none = Text::EMPTY;
        Text::gather(texts.iter_mut().chain([&mut none]));
        assert_eq!(texts, ["a84b@pc33", "pc33", "Zoë"].map(Text::from));
        assert_eq!(none, "");
        let memory = texts.map(|text| text.memory());
        assert_eq!(
            memory, [13; 3],
            "the four letters of one are inside of another"
        );
    }
}
