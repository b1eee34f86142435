//! Who the relay is to far ends over TLS: what the files say, or a certificate made now.

use std::fmt;
use std::path::{Path, PathBuf};

use dataplane::api::TlsIdentity;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::Msrp;

/// Why there is no certificate.
#[derive(Debug)]
pub enum IdentityError {
    /// A file can't be read, or has nothing of what it should have.
    File(PathBuf, PemError),
    /// The certificate file has no certificate.
    Empty(PathBuf),
    /// The key isn't the certificate's.
    Mismatch(rustls::Error),
    /// None can be made.
    Make(rcgen::Error),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(out, "{}: {error}", path.display()),
            Self::Empty(path) => write!(out, "{}: no certificate in it", path.display()),
            Self::Mismatch(error) => write!(out, "certificate and key don't fit: {error}"),
            Self::Make(error) => write!(out, "none can be made: {error}"),
        }
    }
}

/// The identity for MSRP; `None` where nothing is encrypted.
///
/// # Errors
///
/// [`IdentityError`].
pub(super) fn identity(msrp: &Msrp) -> Result<Option<TlsIdentity>, IdentityError> {
    if msrp.tls_port_first.is_none() && msrp.wss_port_first.is_none() {
        return Ok(None);
    }
    match (&msrp.certificate, &msrp.key) {
        (Some(certificate), Some(key)) => read(certificate, key).map(Some),
        (_, _) => make().map(Some),
    }
}

fn read(certificate: &Path, key: &Path) -> Result<TlsIdentity, IdentityError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error| IdentityError::File(path, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(fail(certificate))?;
    let chain: Vec<Vec<u8>> = chain
        .map(|one| one.map(|one| one.as_ref().to_vec()))
        .collect::<Result<_, _>>()
        .map_err(fail(certificate))?;
    if chain.is_empty() {
        return Err(IdentityError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(fail(key))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificates = chain.iter().cloned().map(CertificateDer::from).collect();
    CertifiedKey::from_der(certificates, key.clone_key(), &provider)
        .map_err(IdentityError::Mismatch)?;
    Ok(TlsIdentity::new(chain, key.secret_der().to_vec()))
}

/// A self-signed one over P-256, which far ends trust by its fingerprint (RFC 4975 §14.4).
fn make() -> Result<TlsIdentity, IdentityError> {
    let names = vec!["midpath".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(IdentityError::Make)?;
    let certificate = made.cert.der().to_vec();
    Ok(TlsIdentity::new(
        vec![certificate],
        made.signing_key.serialize_der(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msrp(certificate: &Path, key: &Path) -> Msrp {
        Msrp {
            certificate: Some(certificate.to_owned()),
            key: Some(key.to_owned()),
            ..Msrp::default()
        }
    }

    #[test]
    fn a_certificate_is_made_where_none_is_configured_and_only_if_needed() {
        let made = || identity(&Msrp::default()).unwrap().unwrap();
        assert_ne!(made().fingerprint(), made().fingerprint());
        let none = Msrp {
            tls_port_first: None,
            ..Msrp::default()
        };
        assert!(identity(&none).unwrap().is_none());
    }

    #[test]
    fn files_are_read_and_named_when_they_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        let (certificate, key) = (at("certificate.pem"), at("key.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["relay.example".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

        let read = identity(&msrp(&certificate, &key)).unwrap().unwrap();
        assert_eq!(read.chain(), [made.cert.der().to_vec()]);
        assert_eq!(read.key(), made.signing_key.serialize_der());

        let swapped = identity(&msrp(&key, &certificate)).unwrap_err();
        assert!(swapped.to_string().contains("key.pem"), "{swapped}");
        let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        let mismatch = identity(&msrp(&certificate, &key)).unwrap_err();
        assert!(matches!(mismatch, IdentityError::Mismatch(_)), "{mismatch}");
        let missing = identity(&msrp(&at("none.pem"), &key)).unwrap_err();
        assert!(missing.to_string().contains("none.pem"), "{missing}");
    }
}
