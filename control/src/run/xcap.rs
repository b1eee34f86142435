//! Users' documents, fetched from the XDMS beside the loop (RFC 4825): one GET each, with the ETag
//! of the last one.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ETAG, HOST, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::Relay;
use crate::admin::XcapCounts;
use crate::config::Xcap;
use crate::cpm::preferences::Preferences;
use crate::limits;

/// What a fetch led to.
pub(super) struct Fetched {
    address: String,
    outcome: Outcome,
}

enum Outcome {
    /// A document, and its ETag.
    Document(Arc<Preferences>, Option<HeaderValue>),
    /// As it was.
    Unchanged,
    /// There is none: the user wants nothing in particular.
    Missing,
    /// It can't be had now.
    Failed(String),
}

/// Fetches documents and remembers them with their ETags.
pub(super) struct Xdms {
    root: Arc<Root>,
    known: HashMap<String, (HeaderValue, Arc<Preferences>)>,
    users_max: usize,
    places: Arc<Semaphore>,
    pub(super) fetched: (mpsc::Sender<Fetched>, mpsc::Receiver<Fetched>),
    pub(super) counts: XcapCounts,
}

struct Root {
    /// `http://host:port/path/auid/users/`
    folder: String,
    document: String,
    timeout: Duration,
}

impl Xdms {
    /// `None` where there is no root, and nothing is fetched.
    pub(super) fn new(xcap: &Xcap) -> Option<Self> {
        let root = xcap.root.as_deref()?.trim_end_matches('/');
        Some(Self {
            root: Arc::new(Root {
                folder: format!("{root}/{}/users/", xcap.auid),
                document: xcap.document.clone(),
                timeout: xcap.timeout,
            }),
            known: HashMap::new(),
            users_max: xcap.users_max,
            places: Arc::new(Semaphore::new(limits::XCAP_FETCHES)),
            fetched: mpsc::channel(limits::ASKED_USERS),
            counts: XcapCounts::default(),
        })
    }

    /// Has a user's document fetched; its news come over `fetched`.
    pub(super) fn fetch(&self, address: String) {
        let (root, places, tell) = (
            Arc::clone(&self.root),
            Arc::clone(&self.places),
            self.fetched.0.clone(),
        );
        let etag = self.known.get(&address).map(|(etag, _)| etag.clone());
        tokio::spawn(async move {
            let fetch = async {
                let _place = places.acquire().await.map_err(|error| error.to_string())?;
                get(&root, &address, etag).await
            };
            let outcome = match tokio::time::timeout(root.timeout, fetch).await {
                Ok(outcome) => outcome.unwrap_or_else(Outcome::Failed),
                Err(_) => Outcome::Failed("no answer in time".to_owned()),
            };
            // The loop has ended when nobody hears it.
            let _ = tell.send(Fetched { address, outcome }).await;
        });
    }

    /// Takes a fetch's outcome; the user's preferences, where they can be had.
    fn take(&mut self, address: &str, outcome: Outcome) -> Option<Arc<Preferences>> {
        match outcome {
            Outcome::Document(preferences, etag) => {
                self.counts.fetched += 1;
                if self.known.len() >= self.users_max {
                    self.known.clear();
                }
                match etag.filter(|etag| etag.len() <= limits::PREFERENCES_NAME_BYTES) {
                    Some(etag) => {
                        let known = (etag, Arc::clone(&preferences));
                        self.known.insert(address.to_owned(), known);
                    }
                    None => drop(self.known.remove(address)),
                }
                Some(preferences)
            }
            Outcome::Unchanged => {
                self.counts.unchanged += 1;
                self.known.get(address).map(|(_, known)| Arc::clone(known))
            }
            Outcome::Missing => {
                self.counts.missing += 1;
                self.known.remove(address);
                Some(Arc::default())
            }
            Outcome::Failed(why) => {
                self.counts.failed += 1;
                tracing::debug!(address, why, "a user's preferences can't be had");
                None
            }
        }
    }
}

impl Relay {
    /// Tells the engine what a fetch led to.
    pub(super) fn take_preferences(&mut self, now: Instant, fetched: Fetched) {
        let Fetched { address, outcome } = fetched;
        let xdms = self.xdms.as_mut();
        let preferences = xdms.and_then(|xdms| xdms.take(&address, outcome));
        self.engine.handle_preferences(now, &address, preferences);
    }
}

/// The next fetch that has ended; never, where none is ever begun.
pub(super) async fn fetched(xdms: Option<&mut Xdms>) -> Option<Fetched> {
    match xdms {
        Some(xdms) => xdms.fetched.1.recv().await,
        None => std::future::pending().await,
    }
}

async fn get(root: &Root, address: &str, etag: Option<HeaderValue>) -> Result<Outcome, String> {
    let text = format!("{}{}/{}", root.folder, xui(address), root.document);
    let uri: Uri = text.parse().map_err(said)?;
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(said)?;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(said)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).header(HOST, format!("{host}:{port}"));
    let had = etag.is_some();
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(said)?;
    let answer = async {
        let response = send.send_request(request).await.map_err(said)?;
        let (status, etag) = (response.status(), response.headers().get(ETAG).cloned());
        match status {
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), limits::PREFERENCES_BYTES);
                let body = body.collect().await.map_err(said)?.to_bytes();
                let preferences = Preferences::parse(&body)
                    .map_err(|_| "its document can't be read".to_owned())?;
                Ok(Outcome::Document(preferences.into(), etag))
            }
            StatusCode::NOT_MODIFIED if had => Ok(Outcome::Unchanged),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Outcome::Missing),
            other => Err(format!("it answers {other}")),
        }
    };
    // The connection moves the bytes; it goes with this fetch.
    tokio::pin!(answer, connection);
    tokio::select! {
        outcome = &mut answer => outcome,
        ended = &mut connection => {
            // What came before the end may still be read.
            ended.map_err(said)?;
            answer.await
        }
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A user's name in a document's path (RFC 4825 §6): the address without its parameters, with
/// every octet escaped that may not stand in a path's segment.
fn xui(address: &str) -> String {
    let bare = address.split([';', '?']).next().unwrap_or(address);
    let mut text = String::with_capacity(bare.len());
    for byte in bare.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a text can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_can_not_leave_its_segment() {
        assert_eq!(xui("sip:a@b.example;user=phone"), "sip:a@b.example");
        assert_eq!(xui("tel:+1555"), "tel:+1555");
        assert_eq!(xui("sip:../../x y@b"), "sip:..%2F..%2Fx%20y@b");
    }
}
