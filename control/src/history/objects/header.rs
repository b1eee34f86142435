//! The head of a MIME object. Values come from far ends: none can end its line.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::format_description::well_known::Rfc2822;

use super::seconds;
use crate::limits::HISTORY_HEADER_BYTES;

/// Header lines.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Adds a line: without control characters, and cut where it is too long. What isn't ASCII
    /// becomes encoded words (RFC 2047).
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let value = clean(value);
        let text = match value.is_ascii() {
            true => value,
            false => encoded(&value),
        };
        self.line(name, &text);
    }

    /// Adds the Date.
    pub(super) fn add_date(&mut self, at: SystemTime) {
        // Only a year beyond 9999 can't be written; such a time is no date.
        if let Ok(text) = seconds(at).format(&Rfc2822) {
            self.line("Date", &text);
        }
    }

    /// Adds when the session ended, which no field is for.
    pub(super) fn add_ended(&mut self, at: SystemTime) {
        if let Ok(text) = seconds(at).format(&Rfc2822) {
            self.line("Comments", &format!("the session ended {text}"));
        }
    }

    /// Adds the Message-ID.
    pub(super) fn add_id(&mut self, id: &str) {
        self.line("Message-ID", &format!("<{id}>"));
    }

    fn line(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\r\n"] {
            self.0.extend(part.as_bytes());
        }
    }

    /// The lines and the empty one after them.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend(b"\r\n");
        self.0
    }
}

/// A value for one line: control characters are spaces, and it isn't too long.
pub(super) fn clean(value: &str) -> String {
    let value = value.trim();
    let mut end = value.len().min(HISTORY_HEADER_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let cut = value.get(..end).unwrap_or_default();
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    cut.chars().map(printable).collect()
}

/// Encoded words, each below 75 characters, on lines of their own.
fn encoded(value: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for character in value.chars() {
        if word.len() + character.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(character);
    }
    words.push(word);
    let words = words.iter().map(|word| STANDARD.encode(word));
    let words: Vec<String> = words.map(|word| format!("=?UTF-8?B?{word}?=")).collect();
    words.join("\r\n ")
}

/// Octets of one encoded word's text: 60 characters of base64.
const WORD: usize = 45;
