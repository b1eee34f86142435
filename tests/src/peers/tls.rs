//! TLS as a peer of MSRP uses it: certificates of its own making, trusted by fingerprint
//! (RFC 4975 §14.4, RFC 8122).
//!
//! Each connection is a pair of threads between the socket and a plain stream, so that whatever
//! talks over TCP talks over TLS as well:
//!
//! ```text
//! peer ── plain stream ── threads, rustls ── socket ── far end
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, ServerConnection, SignatureScheme,
};
use sha2::{Digest as _, Sha256};

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: [String; 2],
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// There is no randomness.
    #[must_use]
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["peer.example".to_owned()])
            .expect("a certificate is made");
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
            pem: [made.cert.pem(), made.signing_key.serialize_pem()],
        }
    }

    /// The certificate's file.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem[0]
    }

    /// The key's file.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.pem[1]
    }

    /// The value of `a=fingerprint`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    let octets: Vec<String> = digest.iter().map(|octet| format!("{octet:02X}")).collect();
    format!("SHA-256 {}", octets.join(":"))
}

/// A stream that is carried over TLS, and the fingerprint of whom it goes to.
#[derive(Debug)]
pub struct Secured {
    /// What is written here goes out encrypted.
    pub plain: TcpStream,
    /// The far end's certificate; `None`: it showed none.
    pub far: Option<String>,
}

/// Makes TLS over a connection that was made.
///
/// # Errors
///
/// The handshake fails.
pub fn client(stream: TcpStream, own: &Identity) -> io::Result<Secured> {
    let anybody = Arc::new(Anybody(provider()));
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())
        .map_err(io::Error::other)?;
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    secure(stream, connection.into())
}

/// Takes TLS over a connection that was accepted.
///
/// # Errors
///
/// The handshake fails.
pub fn server(stream: TcpStream, own: &Identity) -> io::Result<Secured> {
    let anybody = Arc::new(Anybody(provider()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_client_cert_verifier(anybody)
        .with_single_cert(vec![own.certificate.clone()], own.key.clone_key())
        .map_err(io::Error::other)?;
    let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    secure(stream, connection.into())
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn secure(mut stream: TcpStream, mut connection: Connection) -> io::Result<Secured> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    stream.set_read_timeout(None)?;
    let far = connection.peer_certificates().and_then(<[_]>::first);
    let far = far.map(fingerprint);
    let (plain, inside) = pair()?;
    let tunnel = Arc::new(Tunnel {
        connection: Mutex::new(connection),
        stream,
        inside,
        out: Mutex::new(()),
    });
    let other = Arc::clone(&tunnel);
    std::thread::spawn(move || {
        let _ended = other.encrypt();
        other.end();
    });
    std::thread::spawn(move || {
        let _ended = tunnel.decrypt();
        let _gone = tunnel.inside.shutdown(Shutdown::Both);
    });
    Ok(Secured { plain, far })
}

/// Two ends of a connection within this process.
pub(super) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((one, other))
}

struct Tunnel {
    connection: Mutex<Connection>,
    stream: TcpStream,
    inside: TcpStream,
    /// Held while records are taken out and written, so that they keep their order; it is not the
    /// connection's lock, as who reads must not wait for who writes.
    out: Mutex<()>,
}

impl Tunnel {
    fn with<R>(&self, work: impl FnOnce(&mut Connection) -> R) -> R {
        let connection = self.connection.lock();
        work(&mut connection.unwrap_or_else(PoisonError::into_inner))
    }

    fn encrypt(&self) -> io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let count = (&self.inside).read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            self.with(|connection| connection.writer().write_all(&bytes[..count]))?;
            self.flush()?;
        }
    }

    fn decrypt(&self) -> io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        let mut plain = Vec::new();
        loop {
            let count = (&self.stream).read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            let mut came = &bytes[..count];
            let wants_write = self.with(|connection| {
                while !came.is_empty() {
                    connection.read_tls(&mut came)?;
                    let state = connection.process_new_packets().map_err(io::Error::other)?;
                    let start = plain.len();
                    plain.resize(start + state.plaintext_bytes_to_read(), 0);
                    connection.reader().read_exact(&mut plain[start..])?;
                }
                io::Result::Ok(connection.wants_write())
            })?;
            if wants_write {
                self.flush()?;
            }
            (&self.inside).write_all(&plain)?;
            plain.clear();
        }
    }

    fn flush(&self) -> io::Result<()> {
        let _order = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        self.with(|connection| {
            while connection.wants_write() {
                connection.write_tls(&mut records)?;
            }
            io::Result::Ok(())
        })?;
        (&self.stream).write_all(&records)
    }

    fn end(&self) {
        self.with(|connection| connection.send_close_notify());
        let _sent = self.flush();
        let _gone = self.stream.shutdown(Shutdown::Write);
    }
}

/// Trusts everybody who has the key to the certificate that is shown: whose it is, is looked at
/// afterwards.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl Anybody {
    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
