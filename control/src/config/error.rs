//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a configuration can't be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file can't be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting is wrong.
    Wrong(Box<Complaint>),
}

impl ConfigError {
    /// Adds the file's name.
    pub(super) fn in_file(mut self, path: &Path) -> Self {
        if let Self::Wrong(complaint) = &mut self {
            complaint.file = Some(path.to_owned());
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => {
                write!(out, "{} can't be read: {source}", path.display())
            }
            Self::Wrong(complaint) => complaint.fmt(out),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Wrong(_) => None,
        }
    }
}

/// One wrong thing in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The file, if it came from one.
    pub file: Option<PathBuf>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of the line it is about; 1 or more.
    pub width: usize,
    /// The line's text.
    pub text: String,
    /// The setting as `section.key`, if it is about one.
    pub key: Option<String>,
    /// What came.
    pub came: String,
    /// What was expected instead.
    pub expected: String,
    /// What to do.
    pub way_out: String,
}

impl Complaint {
    /// Places a complaint at a range of octets of a text.
    pub(super) fn at(whole: &str, span: &Range<usize>) -> Self {
        let start = whole.floor_char_boundary(span.start);
        let before = whole.get(..start).unwrap_or(whole);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = whole.get(line_start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let end = whole.floor_char_boundary(span.end.min(line_start + text.len()));
        let width = whole.get(start..end).unwrap_or_default().chars().count();
        Self {
            file: None,
            line: before.matches('\n').count() + 1,
            column: column + 1,
            width: width.max(1),
            text: text.to_owned(),
            key: None,
            came: String::new(),
            expected: String::new(),
            way_out: String::new(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "{}, ", file.display())?;
        }
        write!(out, "line {}, column {}", self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(out, ": {key}")?;
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.column.saturating_sub(1));
        let mark = "^".repeat(self.width);
        writeln!(out, "\n\n  {number} | {}", self.text)?;
        writeln!(out, "  {margin} | {indent}{mark}\n")?;
        writeln!(out, "  came:     {}", self.came)?;
        writeln!(out, "  expected: {}", self.expected)?;
        write!(out, "  way out:  {}", self.way_out)
    }
}
