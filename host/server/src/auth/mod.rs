//! Authentication of callers by a secret, a signed token or a client certificate, before the body
//! is read.
//!
//! Invariant: a caller is proven by one of the ways that its hook lists, and by nothing else;
//! whatever is wrong becomes one [`AuthError`]. Secrets, keys and certificates rotate while the
//! host serves. Only a token signed with a key that is not known yet makes a call wait, and that is
//! bounded.

mod bearer;
mod certificate;
pub mod config;
mod keys;
mod secret;

use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use portcullis_model::Millis;
use portcullis_tokens::{AuthError, Client};

use crate::error::StartError;
use crate::net::tls::Peer;
use crate::start_problems::StartProblems;
use bearer::Bearer;
use config::{CallerConfig, CertificateConfig, CredentialConfig};
use secret::Secrets;

pub use keys::{CacheKey, KeyCacheConfig, KeyRing, Keys, MinFetchTimes};

/// How the caller of one hook proves itself: in any of these ways.
pub struct Authenticator {
    methods: Vec<Method>,
    challenge: HeaderValue,
}

/// One way: all of it must hold.
struct Method {
    credential: Option<Credential>,
    certificate: Option<CertificateConfig>,
}

enum Credential {
    Secret(Secrets),
    Bearer(Bearer),
}

/// A authenticated caller. Its name stands in keys and records and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    name: Arc<str>,
    tenant: Option<Arc<str>>,
}

impl Authenticator {
    /// Reads the secrets and readies the keys' sources; calls nobody yet.
    pub fn load(
        hook: &str,
        config: &[CallerConfig],
        keys: &mut KeyRing,
    ) -> Result<Self, StartError> {
        let mut problems = StartProblems::default();
        let ways = config.iter().filter_map(|way| problems.keep(Method::load(way, keys)));
        let ways: Vec<_> = ways.collect();
        problems.result()?;
        let mut schemes: Vec<_> = ways.iter().filter_map(Method::scheme).collect();
        schemes.dedup();
        let challenges: Vec<_> =
            schemes.iter().map(|scheme| format!("{scheme} realm=\"{hook}\"")).collect();
        // The name was checked with the configuration: it has nothing that a header could not carry.
        let challenge = HeaderValue::from_str(&challenges.join(", "));
        Ok(Self {
            methods: ways,
            challenge: challenge.unwrap_or(HeaderValue::from_static("Bearer")),
        })
    }

    /// Reads the secrets, where a caller cannot be loaded for another reason.
    ///
    /// # Errors
    /// The secrets' files that are of no use.
    pub fn check_secrets(config: &[CallerConfig]) -> Result<(), StartError> {
        let mut problems = StartProblems::default();
        for secrets in config.iter().filter_map(Method::secrets) {
            problems.keep(secrets);
        }
        problems.result()
    }

    /// Whether the request's head, or its connection, proves a caller. Waits only for keys, and until then at most.
    pub async fn check(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        now: Millis,
        until: Instant,
    ) -> Result<Identity, AuthError> {
        let mut why = AuthError::NoCredential;
        for way in &self.methods {
            match way.check(headers, peer, now, until).await {
                Ok(identity) => return Ok(identity),
                // What came and was wrong says more than what did not come.
                Err(AuthError::NoCredential | AuthError::NoCertificate)
                    if why != AuthError::NoCredential => {}
                Err(other) => why = other,
            }
        }
        Err(why)
    }

    /// What a `401` asks for, in `WWW-Authenticate` (RFC 9110 section 11.6.1).
    pub fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }

    /// Reads the secrets that have changed, or all where `is_requested`. A file that cannot be used
    /// changes nothing and is returned; a set that changed is logged.
    pub fn reload(&self, hook: &str, is_requested: bool) -> Vec<StartError> {
        let mut wrong = Vec::new();
        for way in &self.methods {
            let Some(Credential::Secret(secrets)) = &way.credential else { continue };
            match secrets.reload(is_requested) {
                Ok(Some(count)) => {
                    tracing::info!(
                        hook,
                        secrets = count,
                        event = "caller.secret-changed",
                        "the hook's caller secrets changed and are in use"
                    )
                }
                Ok(None) => {}
                Err(error) => wrong.push(error),
            }
        }
        wrong
    }
}

impl Method {
    fn load(config: &CallerConfig, keys: &mut KeyRing) -> Result<Self, StartError> {
        let credential = match &config.credential {
            Some(CredentialConfig::Oauth(oauth)) => {
                let keys = keys.keys(&oauth.keys)?;
                Some(Credential::Bearer(Bearer::new(oauth.clone(), keys)))
            }
            _ => Self::secrets(config).transpose()?.map(Credential::Secret),
        };
        Ok(Self { credential, certificate: config.certificate.clone() })
    }

    fn secrets(config: &CallerConfig) -> Option<Result<Secrets, StartError>> {
        match config.credential.clone()? {
            CredentialConfig::Secret { header, files } => Some(Secrets::header(header, files)),
            CredentialConfig::Basic { user, files } => Some(Secrets::basic(user, files)),
            CredentialConfig::Oauth(_) => None,
        }
    }

    async fn check(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        now: Millis,
        until: Instant,
    ) -> Result<Identity, AuthError> {
        // The certificate first: it costs nothing that the handshake has not cost already.
        let certified = match &self.certificate {
            Some(pins) => {
                let peer = peer.ok_or(AuthError::NoCertificate)?;
                Some(pins.check(&*peer.verified_names(now)?)?)
            }
            None => None,
        };
        match (&self.credential, certified) {
            (Some(Credential::Secret(secrets)), _) => secrets.check(headers),
            (Some(Credential::Bearer(bearer)), _) => bearer.check(headers, now, until).await,
            (None, Some(identity)) => Ok(identity),
            (None, None) => Err(AuthError::NoCredential),
        }
    }

    fn scheme(&self) -> Option<&'static str> {
        match &self.credential {
            Some(Credential::Secret(secrets)) => Some(secrets.scheme()),
            Some(Credential::Bearer(_)) => Some("Bearer"),
            None => None,
        }
    }
}

impl Identity {
    fn named(name: &str) -> Self {
        Self { name: name.into(), tenant: None }
    }

    fn client(client: &Client) -> Self {
        Self { name: Arc::clone(&client.id), tenant: client.tenant.clone() }
    }

    /// The caller's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The platform's tenant that its token was issued in, where the operator named one.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

/// The value of a header that is there exactly once.
fn only_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h [u8], AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        _ => Err(AuthError::NoCredential),
    }
}
