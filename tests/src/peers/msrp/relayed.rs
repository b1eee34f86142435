//! A client behind an MSRP relay: AUTH with a digest, and the path that it gets for it
//! (RFC 4976 §5.1, RFC 2617 §3.2.2).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use md5::{Digest as _, Md5};

use super::{Peer, path};
use crate::peers::identifier;
use crate::torture::frames::{Head, Reader};

/// A client's connection to its relay, with the path that others reach it by.
#[derive(Debug)]
pub struct Relayed {
    stream: TcpStream,
    own: String,
    use_path: String,
}

impl Relayed {
    /// Connects to the relay at `relay` and asks for a path as `user` with `password`.
    ///
    /// # Errors
    ///
    /// The relay isn't there or doesn't give one.
    pub fn ask(relay: SocketAddr, (user, password): (&str, &str)) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&relay, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let own = path(stream.local_addr()?);
        let uri = format!("msrp://{relay};tcp");
        let refused = auth(&mut stream, (&uri, &own), "")?;
        let challenge = refused
            .value("www-authenticate")
            .ok_or_else(|| io::Error::other(format!("no challenge: {refused:?}")))?;
        let credentials = credentials(&challenge, &uri, (user, password));
        let accepted = auth(&mut stream, (&uri, &own), &credentials)?;
        let use_path = accepted
            .value("use-path")
            .filter(|_| accepted.what.starts_with("200"))
            .ok_or_else(|| io::Error::other(format!("no path: {accepted:?}")))?;
        stream.set_read_timeout(None)?;
        Ok(Self {
            stream,
            own,
            use_path,
        })
    }

    /// What the session description says: the relay's URI and then the own one.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{} {}", self.use_path, self.own)
    }

    /// The relay's URI for this client.
    #[must_use]
    pub fn use_path(&self) -> &str {
        &self.use_path
    }

    /// Opens the session with the far end at `remote`, through the relay.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn join(self, remote: &str) -> io::Result<Peer> {
        let way = format!("{} {remote}", self.use_path);
        Peer::new(self.stream, &self.own, &way, None)
    }
}

/// One AUTH and its answer.
fn auth(stream: &mut TcpStream, (to, from): (&str, &str), fields: &str) -> io::Result<Head> {
    let id = identifier();
    let request =
        format!("MSRP {id} AUTH\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{fields}-------{id}$\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reader = Reader::default();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (_, frames) = reader.push(bytes.get(..count).unwrap_or_default());
        if let Some(frame) = frames.into_iter().next() {
            return Ok(frame.head);
        }
    }
}

/// The Authorization header for a challenge with `qop="auth"`.
fn credentials(challenge: &str, uri: &str, (user, password): (&str, &str)) -> String {
    let part = |name: &str| {
        let (_, after) = challenge
            .split_once(&format!("{name}=\""))
            .unwrap_or_default();
        after.split('"').next().unwrap_or_default()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    let client = identifier();
    let secret = md5(&format!("{user}:{realm}:{password}"));
    let asked = md5(&format!("AUTH:{uri}"));
    let response = md5(&format!("{secret}:{nonce}:00000001:{client}:auth:{asked}"));
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
         uri=\"{uri}\", qop=auth, nc=00000001, cnonce=\"{client}\", response=\"{response}\"\r\n"
    )
}

fn md5(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::md5;

    #[test]
    fn the_digest_is_that_of_rfc_1321() {
        assert_eq!(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }
}
