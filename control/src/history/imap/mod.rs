//! The IMAP store: histories in the users' own accounts (RFC 3501, RFC 4315).
//!
//! ```text
//! LOGIN USER*master ─▶ CREATE root/Conversation-ID/Contribution-ID ─▶ APPEND for each object,
//! the session's own last ─▶ [APPENDUID validity uid] ─▶ Message-UID
//! ```
//!
//! What was appended is noted in the session's journal. Where that isn't known, as the connection or
//! the process ended in between, the mailbox is searched for the object's Message-ID first.

mod open;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imap_codec::imap_types::response::{Code, Data, StatusKind};
use rustls::ClientConfig;

use super::job::Job;
use super::journal::{Entry, Uid};
use super::name::name;
use super::objects::{self, Object, ObjectReader, Part};
use super::store::{Failure, blocking};
use crate::config::{HistoryImap, ImapTls};
use crate::cpm::policy::user_key;
use wire::{Reply, Wire};

pub use open::ImapError;

#[derive(Debug)]
pub(super) struct Imap {
    server: String,
    tls: ImapTls,
    trust: Option<Arc<ClientConfig>>,
    login: String,
    password_file: PathBuf,
    root: String,
    idle_max: usize,
    answer_max: Duration,
    /// Connections that nobody uses now, by who is logged in.
    idle: Mutex<Vec<(String, Wire)>>,
}

impl Imap {
    /// # Errors
    ///
    /// [`ImapError`]: a file that can't be used.
    pub(super) fn new(settings: &HistoryImap) -> Result<Self, ImapError> {
        let password_file = settings.password_file.clone().unwrap_or_default();
        open::password(&password_file)?;
        Ok(Self {
            server: settings.server.clone().unwrap_or_default(),
            tls: settings.tls,
            trust: match settings.tls {
                ImapTls::Off => None,
                ImapTls::Implicit | ImapTls::Starttls => Some(open::trust(&settings.ca)?),
            },
            login: settings.login.clone(),
            password_file,
            root: settings.root.clone(),
            idle_max: settings.connections_max,
            answer_max: settings.answer_max,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Stores what isn't stored of a session; returns the UID of its own object.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) async fn keep(&self, job: Job) -> Result<Uid, Failure> {
        let user = user_key(&job.facts.served_user);
        if user.contains('*') {
            // It would be read as a master user's name.
            return Err(Failure::Refused("a user with * in the name".to_owned()));
        }
        let login = self.login.replace("{user}", &user);
        let mut wire = self.connection(&login).await?;
        let mailbox = self.mailbox(&mut wire, &job, &user).await?;
        let uid = keep_objects(&mut wire, &mailbox, job).await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= self.idle_max {
            idle.remove(0);
        }
        idle.push((login, wire));
        Ok(uid)
    }

    /// A connection on which somebody is logged in.
    async fn connection(&self, login: &str) -> Result<Wire, Failure> {
        while let Some(mut wire) = self.take_idle(login) {
            // The server may have closed it meanwhile.
            if wire.command("NOOP").await.is_ok() {
                return Ok(wire);
            }
        }
        let mut wire = open::connect(self).await?;
        let password =
            open::password(&self.password_file).map_err(|error| Failure::Out(error.to_string()))?;
        let [user, password] = [login, &password].map(wire::quoted);
        let (Some(user), Some(password)) = (user, password) else {
            let why = "a name or a password that no LOGIN can carry".to_owned();
            return Err(Failure::Refused(why));
        };
        // Dovecot closes the connection on a master user's login for somebody whom it doesn't know.
        let done = wire.command(&format!("LOGIN {user} {password}")).await;
        let done = done.map_err(|failure| Failure::Refused(format!("login: {failure}")))?;
        if done.kind == StatusKind::Ok {
            return Ok(wire);
        }
        // RFC 5530: the one is everybody's trouble, the other this user's.
        match done.text.contains("[UNAVAILABLE]") {
            true => Err(Failure::Out(done.text)),
            false => Err(Failure::Refused(format!("login refused: {}", done.text))),
        }
    }

    fn take_idle(&self, login: &str) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().position(|(whose, _)| whose == login)?;
        Some(idle.remove(at).1)
    }

    /// The session's mailbox, made with all above it.
    async fn mailbox(&self, wire: &mut Wire, job: &Job, user: &str) -> Result<String, Failure> {
        let delimiter = delimiter(wire).await?;
        let mut mailbox = self.root.replace("{user}", &name(user, delimiter));
        mailbox = mailbox.replace('/', &delimiter.to_string());
        for level in [objects::conversation(job), objects::contribution(job)] {
            if !mailbox.is_empty() {
                mailbox.push(delimiter);
            }
            mailbox.push_str(&name(&level, delimiter));
        }
        // The server makes those above (RFC 3501 §6.3.3); one that is there is refused, and one that
        // can't be made is told by APPEND.
        if job.stored.is_empty() {
            wire.command(&format!("CREATE \"{mailbox}\"")).await?;
        }
        Ok(mailbox)
    }
}

/// What parts the levels of mailboxes.
async fn delimiter(wire: &mut Wire) -> Result<char, Failure> {
    if let Some(known) = wire.delimiter {
        return Ok(known);
    }
    let mut found = '/';
    wire.send("LIST \"\" \"\"").await?;
    loop {
        match wire.reply().await? {
            Reply::Data(Data::List { delimiter, .. }) => {
                found = delimiter.map_or(found, |one| one.inner());
            }
            Reply::Done(_) => break,
            Reply::Data(_) | Reply::GoOn => {}
        }
    }
    wire.delimiter = Some(found);
    Ok(found)
}

async fn keep_objects(wire: &mut Wire, mailbox: &str, job: Job) -> Result<Uid, Failure> {
    let job = Arc::new(job);
    let mut missing = job.missing;
    // Only the first that isn't noted can be there all the same.
    let mut is_unclear = job.is_retried;
    let before = objects::before_session(&job);
    for index in 0..=before {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let last = index == before;
        let noted = job.stored.get(&number).copied();
        if let (Some(uid), true) = (noted, last) {
            return Ok(uid);
        }
        let part = match (noted, last) {
            (Some(_), _) => continue,
            (None, true) => Part::Object(objects::of_session(&job, missing)),
            (None, false) => {
                let job = Arc::clone(&job);
                let read = blocking(move || objects::of_message(&job, index)).await;
                read.map_err(Failure::of_record)?
            }
        };
        let object = match part {
            Part::Object(object) => object,
            Part::Nothing => continue,
            Part::Missing => {
                missing += 1;
                continue;
            }
        };
        let found = match std::mem::take(&mut is_unclear) {
            true => search(wire, mailbox, &object.message_id).await?,
            false => None,
        };
        let uid = match found {
            Some(uid) => uid,
            None => append(wire, mailbox, object).await?,
        };
        let entry = Entry::Stored {
            object: number,
            uid,
        };
        Job::note(&job.folder, &entry).map_err(Failure::of_spool)?;
        if last {
            return Ok(uid);
        }
    }
    Err(Failure::Refused(
        "a session without an object of its own".to_owned(),
    ))
}

async fn append(wire: &mut Wire, mailbox: &str, object: Object) -> Result<Uid, Failure> {
    let octets = object.octets();
    let message_id = object.message_id.clone();
    wire.send(&format!("APPEND \"{mailbox}\" {{{octets}}}"))
        .await?;
    loop {
        match wire.reply().await? {
            Reply::GoOn => break,
            Reply::Done(done) => return Err(Failure::Refused(done.text)),
            Reply::Data(_) => {}
        }
    }
    let mut reader = ObjectReader::new(object);
    let mut left = octets;
    while let Some(piece) = reader.next().map_err(Failure::of_record)? {
        left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        wire.write(&piece).await?;
    }
    if left > 0 {
        // The connection goes with this error: the server waits for octets that aren't there.
        let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        return Err(Failure::Unreadable(error));
    }
    wire.write(b"\r\n").await?;
    let done = wire.done().await?;
    if done.kind != StatusKind::Ok {
        return Err(Failure::Refused(done.text));
    }
    if let Some(Code::AppendUid { uid_validity, uid }) = done.code {
        return Ok(Uid {
            validity: uid_validity.get(),
            number: uid.get(),
        });
    }
    // A server without UIDPLUS.
    let found = search(wire, mailbox, &message_id).await?;
    found.ok_or_else(|| Failure::Refused("appended, but it isn't found".to_owned()))
}

/// The UID of the object with a Message-ID.
async fn search(wire: &mut Wire, mailbox: &str, id: &str) -> Result<Option<Uid>, Failure> {
    wire.send(&format!("EXAMINE \"{mailbox}\"")).await?;
    let mut validity = 0;
    let done = loop {
        match wire.reply().await? {
            Reply::Done(done) => break done,
            Reply::Data(_) | Reply::GoOn => {}
        }
        if let Some(seen) = wire.validity.take() {
            validity = seen;
        }
    };
    if done.kind != StatusKind::Ok {
        // It isn't there, so nothing is in it.
        return Ok(None);
    }
    wire.send(&format!("UID SEARCH HEADER Message-ID \"{id}\""))
        .await?;
    let mut found = None;
    loop {
        match wire.reply().await? {
            Reply::Data(Data::Search(uids)) => found = uids.into_iter().min(),
            Reply::Done(done) if done.kind == StatusKind::Ok => break,
            Reply::Done(done) => return Err(Failure::Refused(done.text)),
            Reply::Data(_) | Reply::GoOn => {}
        }
    }
    Ok(found.map(|number| Uid {
        validity,
        number: number.get(),
    }))
}
