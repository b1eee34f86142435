//! The embedded store: histories as files of this machine.
//!
//! ```text
//! store/USER/CONVERSATION/CONTRIBUTION/uidvalidity
//!                                      1-3.KEY.eml      a session: its objects have the UIDs 1 to 3
//! ```
//!
//! A session is one file (multipart/digest, which mail programs show), made under another name and
//! renamed: it is there as a whole or not at all, and its key says whose it is, so a session is never
//! stored twice. A database would have to be shared with whoever wants to read it; this needs no
//! lock, and an operator's tools work on it while the relay runs.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::job::Job;
use super::journal::Uid;
use super::name::name;
use super::objects::{self, Object, ObjectReader, Part};
use super::spool::private;
use crate::cpm::policy::user_key;

#[derive(Debug)]
pub(super) struct Embedded {
    root: PathBuf,
    /// Who stores into a folder holds its lock, as UIDs are given there.
    locks: [Mutex<()>; LOCKS],
}

impl Embedded {
    /// # Errors
    ///
    /// The folder can't be made.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        private(root)?;
        Ok(Self {
            root: root.to_owned(),
            locks: std::array::from_fn(|_| Mutex::new(())),
        })
    }

    /// Stores a session, unless it is there; returns the UID of its own object.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(super) fn keep(&self, job: &Job) -> io::Result<Uid> {
        let folder = self.folder_of(job);
        let lock = self.locks.get(stripe(&folder));
        // It guards no data: who panicked left nothing behind that the next would mind.
        let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.make(&folder)?;
        let validity = validity(&folder)?;
        let mut next = 1;
        for pack in packs_in(&folder)? {
            if pack.key == job.key {
                return Ok(uid(validity, pack.last));
            }
            next = next.max(pack.last.saturating_add(1));
        }
        let draft = folder.join(format!(".{}", job.key));
        let last = write(job, &draft, next)?;
        std::fs::rename(
            &draft,
            folder.join(format!("{next}-{last}.{}.eml", job.key)),
        )?;
        sync(&folder)?;
        Ok(uid(validity, last))
    }

    fn folder_of(&self, job: &Job) -> PathBuf {
        let user = user_key(&job.facts.served_user);
        let conversation = objects::conversation(job);
        let contribution = objects::contribution(job);
        let names = [user, conversation, contribution].map(|one| name(&one, '/'));
        names
            .iter()
            .fold(self.root.clone(), |at, name| at.join(name))
    }

    /// Makes the folder and those above it, so that they are there after a power failure.
    fn make(&self, folder: &Path) -> io::Result<()> {
        let above: Vec<&Path> = folder
            .ancestors()
            .take_while(|at| *at != self.root)
            .filter(|at| !at.is_dir())
            .collect();
        for at in above.into_iter().rev() {
            private(at)?;
            sync(at.parent().unwrap_or(&self.root))?;
        }
        Ok(())
    }

    /// Removes what is older than `age`, and folders that are empty then.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(super) fn purge(&self, now: SystemTime, age: Duration) -> io::Result<u64> {
        let Some(before) = now.checked_sub(age) else {
            return Ok(0);
        };
        let mut removed = 0;
        for contribution in third_level(&self.root)? {
            for pack in packs_in(&contribution)? {
                if std::fs::metadata(&pack.path)?.modified()? < before {
                    std::fs::remove_file(&pack.path)?;
                    removed += 1;
                }
            }
            // A folder made anew has another UIDVALIDITY.
            let is_empty = std::fs::read_dir(&contribution)?
                .filter_map(Result::ok)
                .all(|entry| entry.file_name() == VALIDITY);
            let is_old = std::fs::metadata(&contribution)?.modified()? < before;
            if is_empty && (is_old || removed > 0) {
                let lock = self.locks.get(stripe(&contribution));
                let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
                remove_empty(&contribution);
            }
        }
        Ok(removed)
    }
}

/// A stored session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Its file.
    pub path: PathBuf,
    /// UID of its first object.
    pub first: u32,
    /// UID of its last one, the session's own: what Message-UID said.
    pub last: u32,
    key: String,
}

impl Pack {
    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let (uids, key) = name.strip_suffix(".eml")?.split_once('.')?;
        let (first, last) = uids.split_once('-')?;
        Some(Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            key: key.to_owned(),
            path,
        })
    }
}

/// The name of a user's folder.
#[must_use]
pub fn folder_of_user(address: &str) -> String {
    name(&user_key(address), '/')
}

/// All that an embedded store has, by user, conversation and session.
///
/// # Errors
///
/// The disk's.
pub fn packs(root: &Path) -> io::Result<Vec<Pack>> {
    let mut all = Vec::new();
    for folder in third_level(root)? {
        all.extend(packs_in(&folder)?);
    }
    Ok(all)
}

/// Reads the object with a UID from a stored session.
///
/// # Errors
///
/// The disk's, and where there is no such object.
pub fn part(pack: &Pack, uid: u32) -> io::Result<impl Read> {
    let mut file = BufReader::new(File::open(&pack.path)?);
    let (mut line, mut found, mut octets) = (String::new(), None, None);
    loop {
        line.clear();
        if file.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(value) = line.strip_prefix("X-UID: ") {
            found = value.trim().parse::<u32>().ok();
        } else if let Some(value) = line.strip_prefix("Content-Length: ") {
            octets = value.trim().parse::<u64>().ok();
        } else if line == "\r\n"
            && let Some(length) = octets.take()
        {
            if found == Some(uid) {
                return Ok(file.take(length));
            }
            file.seek_relative(i64::try_from(length).map_err(io::Error::other)?)?;
        }
    }
}

/// Writes a session's objects to a file and to the disk; returns the last UID.
fn write(job: &Job, path: &Path, first: u32) -> io::Result<u32> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    let mut out = io::BufWriter::new(file);
    let boundary = format!("midpath-session-{}", job.key);
    write!(
        out,
        "MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=\"{boundary}\"\r\n\r\n"
    )?;
    let (mut next, mut missing) = (first, job.missing);
    for index in 0..objects::before_session(job) {
        match objects::of_message(job, index)? {
            Part::Object(object) => {
                write_part(&mut out, object, &boundary, next)?;
                next = next.saturating_add(1);
            }
            Part::Nothing => {}
            Part::Missing => missing += 1,
        }
    }
    let info = objects::of_session(job, missing);
    write_part(&mut out, info, &boundary, next)?;
    write!(out, "--{boundary}--\r\n")?;
    out.into_inner()?.sync_all()?;
    Ok(next)
}

fn write_part(out: &mut impl Write, object: Object, boundary: &str, uid: u32) -> io::Result<()> {
    let octets = object.octets();
    write!(
        out,
        "--{boundary}\r\nContent-Type: message/rfc822\r\nX-UID: {uid}\r\n\
         Content-Length: {octets}\r\n\r\n"
    )?;
    let mut reader = ObjectReader::new(object);
    while let Some(piece) = reader.next()? {
        out.write_all(&piece)?;
    }
    out.write_all(b"\r\n")
}

/// A folder's UIDVALIDITY, made where there is none: the time, so a folder made anew has another.
fn validity(folder: &Path) -> io::Result<u32> {
    let path = folder.join(VALIDITY);
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(validity) = text.trim().parse()
    {
        return Ok(validity);
    }
    let made = std::fs::metadata(folder)?.modified()?;
    let since = made.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_err(io::Error::other)?.as_secs();
    let validity = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
    let draft = folder.join(".uidvalidity");
    let mut file = File::create(&draft)?;
    writeln!(file, "{validity}")?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    Ok(validity)
}

fn packs_in(folder: &Path) -> io::Result<Vec<Pack>> {
    let mut packs: Vec<Pack> = entries(folder)?.into_iter().filter_map(Pack::of).collect();
    packs.sort_by_key(|pack| pack.first);
    Ok(packs)
}

fn third_level(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut level = vec![root.to_owned()];
    for _ in 0..3 {
        let mut below = Vec::new();
        for folder in level {
            below.extend(entries(&folder)?.into_iter().filter(|path| path.is_dir()));
        }
        level = below;
    }
    level.sort();
    Ok(level)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// Removes a folder without sessions, and those above it that are empty then.
fn remove_empty(folder: &Path) {
    // Each may have got something else meanwhile, and stays then.
    if std::fs::remove_file(folder.join(VALIDITY)).is_ok() {
        let _other = std::fs::remove_dir(folder)
            .and_then(|()| folder.parent().map_or(Ok(()), std::fs::remove_dir));
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn uid(validity: u32, number: u32) -> Uid {
    Uid { validity, number }
}

/// Which lock a folder has, for the time of this run.
fn stripe(folder: &Path) -> usize {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    usize::try_from(hasher.finish() % 64).unwrap_or(0)
}

/// Locks; folders share them.
const LOCKS: usize = 64;
/// The file with a folder's UIDVALIDITY.
const VALIDITY: &str = "uidvalidity";
