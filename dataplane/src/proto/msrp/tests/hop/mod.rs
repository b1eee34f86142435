//! Clients and relays as RFC 4976 has them, written from it and from RFC 7616.

mod auth;
mod bounds;
mod chain;
mod forwarding;
mod random;

use std::time::Duration;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Frame, World, response};
use crate::api::{MsrpListen, MsrpTransport, PathExpiry, RelayRole, RelayUser, RelayUsers};
use crate::proto::msrp::{ConnectionKey, NextHop};

const REALM: &str = "relay.example";
const SECOND: Duration = Duration::from_secs(1);

fn role() -> RelayRole {
    let user = |name: &str| {
        let secret = format!("{name}:{REALM}:pass of {name}");
        RelayUser {
            name: name.into(),
            md5: Some(Md5::digest(&secret).into()),
            sha256: Some(Sha256::digest(&secret).into()),
        }
    };
    RelayRole {
        realm: REALM.into(),
        users: RelayUsers::new(vec![user("alice"), user("bob")]),
        host: None,
        auth_without_tls: false,
        expires: PathExpiry {
            least: 60,
            usual: 900,
            most: 3600,
        },
        nonce_lifetime: 300 * SECOND,
        connect_timeout: 5 * SECOND,
        idle: 3600 * SECOND,
    }
}

fn listen(transport: MsrpTransport) -> MsrpListen {
    let address = "192.0.2.1:2855".parse().unwrap();
    MsrpListen { transport, address }
}

/// The URI of the relay that clients know beforehand.
const RELAY: &str = "msrps://relay.example:2855;tcp";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn of(self, text: &str) -> Box<str> {
        let bytes = match self {
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
        };
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<Vec<_>>().concat().into()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

/// A client's answer to a challenge, by the words of RFC 7616 §3.4.
struct Login<'a> {
    hash: Hash,
    user: &'a str,
    password: &'a str,
    nonce: &'a str,
    nc: &'a str,
    /// Whether it says which URI it means.
    names_uri: bool,
    uri: &'a str,
}

impl<'a> Login<'a> {
    fn alice(nonce: &'a str) -> Self {
        Self {
            hash: Hash::Sha256,
            user: "alice",
            password: "pass of alice",
            nonce,
            nc: "00000001",
            names_uri: false,
            uri: RELAY,
        }
    }

    fn digest(&self, method: &str) -> Box<str> {
        let (user, password, nonce, nc) = (self.user, self.password, self.nonce, self.nc);
        let a1 = self.hash.of(&format!("{user}:{REALM}:{password}"));
        let a2 = self.hash.of(&format!("{method}:{}", self.uri));
        self.hash.of(&format!("{a1}:{nonce}:{nc}:c0ffee:auth:{a2}"))
    }

    fn header(&self) -> Box<str> {
        let (user, nonce, nc) = (self.user, self.nonce, self.nc);
        let (response, name) = (self.digest("AUTH"), self.hash.name());
        let uri: Box<str> = if self.names_uri {
            format!("uri=\"{}\", ", self.uri).into()
        } else {
            "".into()
        };
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", \
             {uri}qop=auth, nc={nc}, cnonce=\"c0ffee\", response=\"{response}\", \
             algorithm={name}\r\n"
        )
        .into()
    }
}

/// An AUTH, or another request without a body.
fn request(id: &str, method: &str, (to, from): (&str, &str), headers: &str) -> Box<str> {
    format!("MSRP {id} {method}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{headers}-------{id}$\r\n")
        .into()
}

fn send(id: &str, (to, from): (&str, &str), body: &str) -> Box<str> {
    format!(
        "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m-{id}\r\n\
         Byte-Range: 1-{len}/{len}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------{id}$\r\n",
        len = body.len()
    )
    .into()
}

/// The URI that a client is called by.
fn client(name: &str) -> Box<str> {
    format!("msrps://{name}.example:9892/98cjs;tcp").into()
}

/// A parameter of the first challenge for a hash.
fn challenge(frame: &Frame, hash: Hash) -> (Box<str>, bool) {
    let mut all = frame.headers.iter().filter(|(name, value)| {
        &**name == "WWW-Authenticate" && value.contains(&format!("algorithm={}", hash.name()))
    });
    let (_, value) = all.next().expect("there is a challenge for it");
    assert!(value.starts_with("Digest "), "{value}");
    assert!(value.contains("qop=\"auth\""), "{value}");
    assert!(value.contains(&format!("realm=\"{REALM}\"")), "{value}");
    let nonce = value.split("nonce=\"").nth(1).unwrap();
    let nonce = nonce.split('"').next().unwrap();
    (nonce.into(), value.contains("stale=true"))
}

impl World {
    /// A relay for clients.
    fn relaying() -> Self {
        Self::relaying_as(role())
    }

    fn relaying_as(role: RelayRole) -> Self {
        let mut world = Self::with_transactions(64);
        world.relay.become_relay(role, [3; 32]);
        world
    }

    /// A connection that was accepted.
    fn door(&mut self, transport: MsrpTransport) -> ConnectionKey {
        let key = self.relay.accept(self.now).unwrap();
        self.relay.accepted_at(key, listen(transport));
        key
    }

    fn tls(&mut self) -> ConnectionKey {
        self.door(MsrpTransport::Tls)
    }

    /// Asks for a challenge and gives its nonce.
    fn nonce(&mut self, key: ConnectionKey, hash: Hash) -> Box<str> {
        let from = client("alice");
        self.send(key, request("ask1", "AUTH", (RELAY, &from), ""));
        let answer = self.read_one(key);
        assert_eq!(&*answer.what, "401 Unauthorized");
        challenge(&answer, hash).0
    }

    /// What a client's AUTH with a digest is answered.
    fn log_in(&mut self, key: ConnectionKey, login: &Login<'_>, headers: &str) -> Frame {
        let headers = [&*login.header(), headers].concat();
        let from = client(login.user);
        self.send(key, request("login", "AUTH", (login.uri, &from), &headers));
        let answer = self.read_one(key);
        assert_eq!((&*answer.id, answer.flag), ("login", '$'));
        assert_eq!(answer.header("To-Path"), Some(&*from));
        assert_eq!(answer.header("From-Path"), Some(login.uri));
        answer
    }

    /// A client that has authenticated, and its Use-Path.
    fn client(&mut self, name: &str) -> (ConnectionKey, Box<str>) {
        let key = self.tls();
        let path = self.use_path(key, name);
        (key, path)
    }

    fn use_path(&mut self, key: ConnectionKey, name: &str) -> Box<str> {
        let nonce = self.nonce(key, Hash::Sha256);
        let login = Login {
            user: name,
            password: &format!("pass of {name}"),
            ..Login::alice(&nonce)
        };
        let answer = self.log_in(key, &login, "");
        assert_eq!(&*answer.what, "200 OK");
        answer.header("Use-Path").unwrap().into()
    }

    /// The connection that the relay wants next, made.
    fn next_hop(&mut self) -> NextHop {
        let hop = self.relay.wanted().expect("a connection is wanted");
        assert_eq!(self.relay.wanted(), None);
        let out = &mut self.out;
        self.relay.next_hop_connected(self.now, hop.connection, out);
        hop
    }

    fn answer(&mut self, key: ConnectionKey, to: &Frame, code: &str) {
        self.send(key, response(to, code));
    }
}
