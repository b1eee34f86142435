//! AUTH: who may have a Use-Path, and for how long (RFC 4976 §5.1, §6.3, §9).
//!
//! | what came | answer |
//! |---|---|
//! | not over TLS, unless that is allowed; more paths than there is room for | 403 |
//! | no Authorization, a wrong digest, another realm | 401 with a challenge for each hash |
//! | a right digest for a nonce that is too old, used up or another connection's | 401, `stale=true` |
//! | an Authorization that is no such digest, or for another URI; a bad Expires; a body | 400 |
//! | an Expires out of bounds | 423 with Min-Expires or Max-Expires |
//! | a right digest | 200 with Use-Path, Expires, Authentication-Info |
//!
//! After `limits::MSRP_AUTH_FAILURES` wrong digests in a row the connection is closed.

use std::io::Write;
use std::mem;
use std::time::{Duration, Instant};

use super::super::compose::{self, Start};
use super::super::connection::Swallow;
use super::super::relay::Flow;
use super::super::request::Refused;
use super::super::{ConnectionKey, Connections, Egress};
use super::Hops;
use super::digest::{Algorithm, Credentials};
use super::nonce::Standing;
use super::paths::{Gift, is_same_path};
use crate::api::{MsrpListen, RelayRole};
use crate::limits::{MSRP_AUTH_FAILURES, MSRP_USE_PATHS_PER_CONNECTION};
use crate::stats::DropReason;
use crate::wire::msrp::{Flag, Head, Uri};

/// What an AUTH is answered with.
enum Answer {
    /// A challenge; `stale` says that only the nonce was wrong.
    Challenge {
        stale: bool,
    },
    Forbidden,
    Malformed,
    TooShort,
    TooLong,
    /// Of these many seconds.
    Granted(u32),
}

impl Connections {
    /// Answers an AUTH to this relay; `None`: it goes on to another one, or this is no relay.
    pub(in super::super) fn take_auth(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        body: bool,
        out: &mut impl Egress,
    ) -> Option<Flow> {
        let now = self.latest?;
        if self.hops.is_none() || head.to_path.contains(&b' ') {
            return None;
        }
        if body {
            return Some(self.refuse(key, None, head, Refused::uncounted(400)));
        }
        let listen = self.side(key).and_then(|side| side.listen);
        let answer = match listen {
            Some(listen) => self.judge((key, listen), head, now),
            None => Answer::Forbidden,
        };
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        if self
            .compose_answer(&mut frame, (key, head), answer, now)
            .is_none()
        {
            frame.clear();
            let forbidden = Answer::Forbidden;
            self.compose_answer(&mut frame, (key, head), forbidden, now);
        }
        self.write_frame(key, &frame, out);
        self.scratch = frame;
        self.swallow(key, Swallow::default());
        Some(Flow::On)
    }

    /// Says what an AUTH deserves, and remembers a failure of it.
    fn judge(
        &mut self,
        (key, listen): (ConnectionKey, MsrpListen),
        head: &Head<'_>,
        now: Instant,
    ) -> Answer {
        let generation = self.connection(key).map_or(0, |state| state.generation);
        let Some(hops) = self.hops.as_deref_mut() else {
            return Answer::Forbidden;
        };
        if !(listen.transport.is_secure() || hops.role.auth_without_tls) {
            return Answer::Forbidden;
        }
        let Some(value) = header(head, b"Authorization") else {
            return Answer::Challenge { stale: false };
        };
        let Some((credentials, uri, count)) = read(value, head) else {
            self.auth_failed(key);
            return Answer::Malformed;
        };
        if !hops.is_right(&credentials, uri) {
            self.auth_failed(key);
            return Answer::Challenge { stale: false };
        }
        let use_of = (credentials.nonce, count);
        if hops.nonces.accept(now, generation, use_of) == Standing::Stale {
            return Answer::Challenge { stale: true };
        }
        let answer = match header(head, b"Expires") {
            None => Answer::Granted(hops.role.expires.usual),
            Some(seconds) => within(seconds, &hops.role),
        };
        if let Some(side) = self.side_mut(key) {
            side.failures = 0;
        }
        answer
    }

    /// A digest was wrong; after several the connection is closed.
    fn auth_failed(&mut self, key: ConnectionKey) {
        self.counts.drop(DropReason::NotAuthorized);
        let failures = self.side_mut(key).map(|side| {
            side.failures = side.failures.saturating_add(1);
            side.failures
        });
        if failures == Some(MSRP_AUTH_FAILURES) {
            self.broken.push_back(key);
        }
    }

    /// Writes the answer; `None`: there is no room for another path.
    fn compose_answer(
        &mut self,
        frame: &mut Vec<u8>,
        (key, head): (ConnectionKey, &Head<'_>),
        answer: Answer,
        now: Instant,
    ) -> Option<()> {
        let tail: &[u8] = match answer {
            Answer::Challenge { .. } => b"401 Unauthorized",
            Answer::Forbidden => compose::code(403),
            Answer::Malformed => compose::code(400),
            Answer::TooShort | Answer::TooLong => compose::code(423),
            Answer::Granted(_) => compose::code(200),
        };
        let start = Start {
            id: &head.transaction,
            tail,
            // RFC 4975 §7.2: what isn't a SEND is answered all the way back.
            to_path: head.from_path,
            from_path: head.to_first(),
        };
        compose::start(frame, start);
        match answer {
            Answer::Granted(seconds) => self.grant(frame, (key, head), seconds, now)?,
            Answer::Challenge { stale } => self.challenge(frame, key, stale, now),
            Answer::TooShort | Answer::TooLong => self.bound_of(frame, &answer),
            Answer::Forbidden | Answer::Malformed => {}
        }
        compose::end_line(frame, &head.transaction, Flag::Complete);
        let hops = self.hops.as_mut()?;
        match answer {
            Answer::Granted(_) => hops.counts.accepted += 1,
            Answer::Challenge { .. }
            | Answer::Forbidden
            | Answer::Malformed
            | Answer::TooShort
            | Answer::TooLong => hops.counts.refused += 1,
        }
        Some(())
    }

    /// A challenge for each hash that some user has, the strongest first (RFC 7616 §3.7).
    fn challenge(&mut self, frame: &mut Vec<u8>, key: ConnectionKey, stale: bool, now: Instant) {
        let generation = self.connection(key).map_or(0, |state| state.generation);
        let Some(hops) = self.hops.as_deref_mut() else {
            return;
        };
        let nonce = hops.nonces.issue(now, generation, &mut hops.random);
        for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
            let users = hops.role.users.all();
            if !users.iter().any(|user| algorithm.secret_of(user).is_some()) {
                continue;
            }
            let stale: &[u8] = if stale { b", stale=true" } else { b"" };
            for part in [
                b"WWW-Authenticate: Digest realm=\"",
                hops.role.realm.as_bytes(),
                b"\", qop=\"auth\", nonce=\"",
                &nonce,
                b"\", algorithm=",
                algorithm.name(),
                stale,
                b"\r\n",
            ] {
                frame.extend_from_slice(part);
            }
        }
    }

    fn bound_of(&self, frame: &mut Vec<u8>, answer: &Answer) {
        let Some(expires) = self.hops.as_ref().map(|hops| hops.role.expires) else {
            return;
        };
        let (name, seconds): (&[u8], u32) = match answer {
            Answer::TooShort => (b"Min-Expires: ", expires.least),
            _ => (b"Max-Expires: ", expires.most),
        };
        frame.extend_from_slice(name);
        compose::number(frame, Some(seconds.into()));
        frame.extend_from_slice(b"\r\n");
    }

    /// Use-Path, Expires, Authentication-Info; `None`: there is no room for another path.
    fn grant(
        &mut self,
        frame: &mut Vec<u8>,
        (key, head): (ConnectionKey, &Head<'_>),
        seconds: u32,
        now: Instant,
    ) -> Option<()> {
        let value = header(head, b"Authorization")?;
        let (credentials, uri, _) = read(value, head)?;
        let expires = now + Duration::from_secs(seconds.into());
        self.give_path(frame, (key, head), credentials.username, (now, expires))?;
        frame.extend_from_slice(b"\r\nExpires: ");
        compose::number(frame, Some(seconds.into()));
        let user = self.hops.as_ref()?.role.users.find(credentials.username)?;
        let secret = credentials.algorithm.secret_of(user)?;
        let proof = credentials.expected(&secret, b"", uri);
        for part in [
            b"\r\nAuthentication-Info: qop=auth, rspauth=\"",
            proof.as_bytes(),
            b"\", cnonce=\"",
            credentials.cnonce,
            b"\", nc=",
            credentials.nc,
            b"\r\n",
        ] {
            frame.extend_from_slice(part);
        }
        Some(())
    }

    /// Writes `Use-Path:` and the path: a new one, or the one that the client has on this
    /// connection, which lives on then.
    fn give_path(
        &mut self,
        frame: &mut Vec<u8>,
        (key, head): (ConnectionKey, &Head<'_>),
        user: &[u8],
        (now, expires): (Instant, Instant),
    ) -> Option<()> {
        self.use_side(key, now);
        let side = self.side(key)?;
        let listen = side.listen?;
        let hops = self.hops.as_ref()?;
        let known = side.paths.iter().copied().find(|path| {
            hops.paths.get(*path).is_some_and(|path| {
                *path.user == *user
                    && path.expires > now
                    && is_same_path(&path.client, head.from_path)
            })
        });
        let hops = self.hops.as_deref_mut()?;
        frame.extend_from_slice(b"Use-Path: ");
        if let Some(path) = known.and_then(|path| hops.paths.get_mut(path)) {
            path.expires = expires;
            frame.extend_from_slice(&path.uri);
        } else {
            let session_id = hops.new_id();
            let from = frame.len();
            write_uri(frame, listen, hops.role.host.as_deref(), &session_id)?;
            let gift = Gift {
                session_id,
                uri: frame.get(from..)?,
                owner: key,
                client: head.from_path,
                user,
                expires,
            };
            self.keep_path(gift, now)?;
        }
        // What lies between the client and this relay is part of the way back.
        if let Some(last) = memchr::memrchr(b' ', head.from_path) {
            frame.push(b' ');
            frame.extend_from_slice(head.from_path.get(..last)?);
        }
        Some(())
    }

    fn keep_path(&mut self, gift: Gift<'_>, now: Instant) -> Option<()> {
        let key = gift.owner;
        let hops = self.hops.as_deref_mut()?;
        let side = hops.sides.get_mut(key.0 as usize)?.as_mut()?;
        side.paths.retain(|path| {
            let path = hops.paths.get(*path);
            path.is_some_and(|path| path.expires > now)
        });
        let has_room = side.paths.len() < MSRP_USE_PATHS_PER_CONNECTION;
        let added = if has_room {
            hops.paths.add(gift, now)
        } else {
            None
        };
        match added {
            Some(path) => side.paths.push(path),
            None => hops.counts.full += 1,
        }
        added.map(|_| ())
    }
}

impl Hops {
    /// Whether a digest is right. A name that isn't known takes as long as one that is.
    fn is_right(&self, credentials: &Credentials<'_>, uri: &[u8]) -> bool {
        let algorithm = credentials.algorithm;
        let user = self.role.users.find(credentials.username);
        let secret = user.and_then(|user| algorithm.secret_of(user));
        let is_known = secret.is_some() && *credentials.realm == *self.role.realm.as_bytes();
        let secret = secret.unwrap_or_else(|| algorithm.secret_of_nobody());
        let is_right = credentials
            .expected(&secret, b"AUTH", uri)
            .is(credentials.response);
        is_right && is_known
    }
}

/// Credentials, the URI that they are for, and the nonce's count; `None`: they are no good.
///
/// RFC 4976 §9.1: the URI is the rightmost of To-Path. Some clients name it as `uri` and others
/// don't.
fn read<'a>(value: &'a [u8], head: &Head<'a>) -> Option<(Credentials<'a>, &'a [u8], u32)> {
    let credentials = Credentials::parse(value)?;
    let count = credentials.count()?;
    let rightmost = head.to_path.rsplit(|byte| *byte == b' ').next()?;
    let uri = credentials.uri.unwrap_or(rightmost);
    let is_same = uri == rightmost || Uri::parse(uri)?.matches(&Uri::parse(rightmost)?);
    is_same.then_some((credentials, uri, count))
}

fn within(seconds: &[u8], role: &RelayRole) -> Answer {
    let digits = seconds.iter().all(u8::is_ascii_digit);
    let Some(seconds) = str::from_utf8(seconds).ok().filter(|_| digits) else {
        return Answer::Malformed;
    };
    match seconds.parse::<u32>() {
        Ok(seconds) if seconds < role.expires.least => Answer::TooShort,
        Ok(seconds) if seconds <= role.expires.most => Answer::Granted(seconds),
        Ok(_) => Answer::TooLong,
        // More digits than fit.
        Err(_) if !seconds.is_empty() => Answer::TooLong,
        Err(_) => Answer::Malformed,
    }
}

/// The value of a header field that [`Head`] doesn't read itself.
fn header<'a>(head: &Head<'a>, name: &[u8]) -> Option<&'a [u8]> {
    head.rest.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let value = value.strip_prefix(b":")?.trim_ascii();
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Writes a Use-Path's URI.
fn write_uri(
    frame: &mut Vec<u8>,
    listen: MsrpListen,
    host: Option<&str>,
    session_id: &[u8; 32],
) -> Option<()> {
    let (scheme, parameter) = (listen.transport.scheme(), listen.transport.parameter());
    let id = str::from_utf8(session_id).ok()?;
    match host {
        Some(host) => {
            let port = listen.address.port();
            write!(frame, "{scheme}://{host}:{port}/{id};{parameter}")
        }
        None => write!(frame, "{scheme}://{}/{id};{parameter}", listen.address),
    }
    .ok()
}
