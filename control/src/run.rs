//! The one event loop.

use std::fmt;
use std::future::Future;

use crate::config::Config;

/// Why the relay could not run.
#[derive(Debug)]
pub enum RunError {
    /// This build has no event loop.
    Absent,
}

impl fmt::Display for RunError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("this build has no event loop"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs the relay until SIGTERM or SIGINT.
///
/// # Errors
///
/// When it can't be started.
pub async fn run(config: Config) -> Result<(), RunError> {
    run_until(config, std::future::pending()).await
}

/// Runs the relay until `shutdown` ends.
///
/// # Errors
///
/// When it can't be started.
pub async fn run_until(
    _config: Config,
    _shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    std::future::ready(Err(RunError::Absent)).await
}
