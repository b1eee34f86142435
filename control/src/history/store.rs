//! One door to all stores.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::embedded::Embedded;
use super::imap::Imap;
use super::job::Job;
use super::journal::{Entry, Uid};

/// Where histories go.
#[derive(Debug)]
pub(super) enum Store {
    Embedded(Arc<Embedded>),
    Imap(Box<Imap>),
}

/// Why a session isn't stored yet.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store can't be reached, and no other session can be stored either.
    Out(String),
    /// The store refuses this session, or it can't take it now.
    Refused(String),
    /// The session's own record can't be read.
    Unreadable(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out(why) | Self::Refused(why) => out.write_str(why),
            Self::Unreadable(error) => write!(out, "its record can't be read: {error}"),
        }
    }
}

impl Failure {
    /// A session's record that is not what one is will never be; else it may be read later.
    pub(super) fn of_record(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, Other, UnexpectedEof};
        match [InvalidData, Other, UnexpectedEof].contains(&error.kind()) {
            true => Self::Unreadable(error),
            false => Self::Refused(error.to_string()),
        }
    }

    /// What can't be noted might be done twice: nothing more is done.
    pub(super) fn of_spool(error: io::Error) -> Self {
        Self::Out(format!("the spool: {error}"))
    }
}

impl Store {
    /// Stores a session, unless it is stored; `None`: there is nothing to store.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) async fn keep(
        &self,
        folder: &Path,
        key: &str,
        is_retried: bool,
    ) -> Result<Option<Uid>, Failure> {
        let read = {
            let (folder, key) = (folder.to_owned(), key.to_owned());
            blocking(move || Job::read(&folder, &key)).await
        };
        let Some(mut job) = read.map_err(Failure::of_record)? else {
            return Ok(None);
        };
        if let Some(uid) = job.done {
            return Ok(Some(uid));
        }
        job.is_retried |= is_retried;
        let folder = job.folder.clone();
        let uid = match self {
            Self::Embedded(embedded) => {
                let embedded = Arc::clone(embedded);
                let kept = blocking(move || embedded.keep(&job)).await;
                kept.map_err(of_disk)?
            }
            Self::Imap(imap) => imap.keep(job).await?,
        };
        Job::note(&folder, &Entry::Done { uid }).map_err(Failure::of_spool)?;
        Ok(Some(uid))
    }
}

/// Whether the disk takes nothing at all, or not this one.
fn of_disk(error: io::Error) -> Failure {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let is_out = [
        PermissionDenied,
        QuotaExceeded,
        ReadOnlyFilesystem,
        StorageFull,
    ];
    match is_out.contains(&error.kind()) {
        true => Failure::Out(error.to_string()),
        false => Failure::Refused(error.to_string()),
    }
}

/// Runs what waits for the disk where nobody else waits.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    }
}
