//! OAuth bearers: a token whose claims are meant for us and whose signature holds under its issuer's keys.
//!
//! Invariant: claims come first and cost little; only a token that says all the right things makes anybody look at keys.

use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use portcullis_model::Millis;
use portcullis_tokens::{AuthError, Token};

use super::config::OauthConfig;
use super::keys::Keys;
use super::secret::credentials;
use super::{Identity, only_value};

/// Bearers of one issuer.
pub struct Bearer {
    config: Arc<OauthConfig>,
    /// The issuer's keys.
    pub keys: Arc<Keys>,
}

impl Bearer {
    /// Takes tokens as this says, signed with those keys.
    pub fn new(config: Arc<OauthConfig>, keys: Arc<Keys>) -> Self {
        Self { config, keys }
    }

    /// Whether the request's head carries a good token. May wait for the issuer's keys, until then at most.
    pub async fn check(
        &self,
        headers: &HeaderMap,
        now: Millis,
        until: Instant,
    ) -> Result<Identity, AuthError> {
        let given = credentials(only_value(headers, &AUTHORIZATION)?, b"bearer")?;
        let text = std::str::from_utf8(given).map_err(|_| AuthError::TokenMalformed)?;
        let token = Token::parse(text)?;
        let client = self.config.issuer.check_claims(&token, now)?;
        self.keys.verify(&token, now, until).await?;
        Ok(Identity::client(&client))
    }
}
