//! Making a connection: TCP, TLS, the greeting.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imap_codec::imap_types::response::StatusKind;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Imap;
use super::wire::{Stream, Wire, within};
use crate::config::ImapTls;
use crate::history::store::Failure;

/// Why the settings for the server can't be used.
#[derive(Debug)]
pub enum ImapError {
    /// The password can't be read.
    Password(PathBuf, io::Error),
    /// The authorities can't be read.
    Trust(PathBuf, PemError),
    /// TLS can't be used.
    Tls(rustls::Error),
}

impl fmt::Display for ImapError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(path, error) => write!(
                out,
                "history_imap.password_file {}: {error}",
                path.display()
            ),
            Self::Trust(path, error) => write!(out, "history_imap.ca {}: {error}", path.display()),
            Self::Tls(error) => write!(out, "TLS for history_imap: {error}"),
        }
    }
}

impl std::error::Error for ImapError {}

/// Reads the password: it may be changed while the relay runs.
pub(super) fn password(path: &Path) -> Result<String, ImapError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ImapError::Password(path.to_owned(), error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Whom to trust.
pub(super) fn trust(path: &Path) -> Result<Arc<ClientConfig>, ImapError> {
    let wrong = |error| ImapError::Trust(path.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_file_iter(path).map_err(wrong)? {
        // One authority that isn't understood doesn't spoil the others.
        let _unusable = roots.add(one.map_err(wrong)?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ImapError::Tls)?;
    let config = config.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Connects, up to the point where somebody can log in.
///
/// # Errors
///
/// [`Failure::Out`].
pub(super) async fn connect(imap: &Imap) -> Result<Wire, Failure> {
    let answer_max = imap.answer_max;
    let tcp = within(answer_max, TcpStream::connect(&imap.server)).await?;
    // Commands are small and wait for their answers.
    tcp.set_nodelay(true)
        .map_err(|error| Failure::Out(error.to_string()))?;
    let stream: Box<dyn Stream> = match imap.tls {
        ImapTls::Implicit => secured(imap, Box::new(tcp)).await?,
        ImapTls::Starttls | ImapTls::Off => Box::new(tcp),
    };
    let mut wire = Wire::new(stream, answer_max);
    wire.greeting().await?;
    if imap.tls == ImapTls::Starttls {
        let done = wire.command("STARTTLS").await?;
        if done.kind != StatusKind::Ok {
            return Err(Failure::Out(format!("STARTTLS refused: {}", done.text)));
        }
        // What came before TLS counts for nothing (RFC 3501 §6.2.1).
        let stream = secured(imap, wire.into_stream()).await?;
        wire = Wire::new(stream, answer_max);
    }
    Ok(wire)
}

async fn secured(imap: &Imap, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Failure> {
    let host = imap.server.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host).map_err(|error| Failure::Out(error.to_string()))?;
    let Some(trust) = &imap.trust else {
        return Err(Failure::Out("nobody is trusted".to_owned()));
    };
    let connect = TlsConnector::from(Arc::clone(trust)).connect(name, stream);
    Ok(Box::new(within(imap.answer_max, connect).await?))
}
