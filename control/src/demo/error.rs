//! What can go wrong in the demo.

use std::fmt;
use std::io;

/// Why the demo ended early.
#[derive(Debug)]
pub enum DemoError {
    /// A socket or a file of the demo's own failed.
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The relay didn't start, or ended with an error.
    Relay(String),
    /// Something else came than a client may expect.
    Unexpected {
        /// What was expected.
        expected: String,
        /// What came.
        came: String,
    },
    /// Nothing came in time.
    Late {
        /// What was expected.
        expected: String,
    },
}

impl DemoError {
    /// Says what was being done when the system refused.
    pub(super) fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }

    pub(super) fn unexpected(expected: &str, came: &str) -> Self {
        Self::Unexpected {
            expected: expected.to_owned(),
            came: came.to_owned(),
        }
    }

    pub(super) fn late(expected: impl Into<String>) -> Self {
        let expected = expected.into();
        Self::Late { expected }
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { doing, source } => write!(out, "{doing}: {source}"),
            Self::Relay(text) => write!(out, "the relay: {text}"),
            Self::Unexpected { expected, came } => {
                write!(out, "expected {expected}, but {came} came")
            }
            Self::Late { expected } => write!(out, "expected {expected}, but nothing came in time"),
        }
    }
}

impl std::error::Error for DemoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::Relay(_) | Self::Unexpected { .. } | Self::Late { .. } => None,
        }
    }
}
