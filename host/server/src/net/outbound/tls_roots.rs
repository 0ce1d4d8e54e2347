//! Whom the host believes when it calls out: the machine's certificate authorities, or the operator's own.
//!
//! Invariant: a certificate is always checked; there is no setting that turns that off. A file that is given is the only one believed.

use std::sync::Arc;

use portcullis_files::read_bounded;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::OutboundConfig;
use crate::error::StartError;

/// The client's half of TLS, and whether it believes nobody.
pub fn client(config: &OutboundConfig) -> Result<(ClientConfig, bool), StartError> {
    let roots = match &config.ca_file {
        Some(path) => authorities("certificate authorities", path)?,
        None => {
            let mut roots = RootCertStore::empty();
            // What cannot be read is left out: a machine's store may have one odd file among hundreds.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let trusts_nobody = roots.is_empty();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = versions.map_err(|error| StartError::Tls(error.to_string()))?;
    Ok((tls.with_root_certificates(roots).with_no_client_auth(), trusts_nobody))
}

/// The certificate authorities of a PEM file: all of them are good, and there is at least one.
pub fn authorities(
    what: &'static str,
    path: &std::path::Path,
) -> Result<RootCertStore, StartError> {
    let wrong = |why: String| StartError::File { what, path: path.to_owned(), why, hint: None };
    let mut roots = RootCertStore::empty();
    let pem = read_bounded(path, MAX_PEM_BYTES).map_err(|error| wrong(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(pem_error(&error)))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("a certificate is not usable: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}

/// The largest file of certificates that is read, bytes: many times a machine's whole store.
pub const MAX_PEM_BYTES: u64 = 8 << 20;

/// Describes the problem of a PEM file in an operator's words.
pub fn pem_error(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => {
            "it has no certificate or key of the expected type in PEM form".to_owned()
        }
        _ => "it is damaged, or not in PEM form".to_owned(),
    }
}
