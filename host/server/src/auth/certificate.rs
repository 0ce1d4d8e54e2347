//! The client certificate of a connection, and whether its names are pinned.
//!
//! Invariant: a name counts only where the certificate leads to an authority of `listen.tls.client_ca`, at the time of the call.

use portcullis_tokens::AuthError;

use super::Identity;
use super::config::CertificateConfig;
use crate::net::tls::Names;

impl CertificateConfig {
    /// Holds a certificate's names against the pinned ones.
    pub fn check(&self, names: &Names) -> Result<Identity, AuthError> {
        let dns =
            self.dns.iter().find(|pin| names.dns.iter().any(|name| name.eq_ignore_ascii_case(pin)));
        let uri = || self.uri.iter().find(|pin| names.uri.contains(pin));
        if let Some(name) = dns.or_else(uri) {
            return Ok(Identity::named(&format!("certificate:{name}")));
        }
        let spki =
            self.spki.iter().find(|pin| **pin == names.spki).ok_or(AuthError::CertificateName)?;
        Ok(Identity::named(&format!("certificate:{spki}")))
    }
}
