//! Which tokens are meant for us: issuer, tenant, audience, client and times, as the operator listed them.
//!
//! Invariant: every comparison is of whole strings, byte for byte; nothing listed means nobody. Times have a bounded tolerance, and a
//! token without an end is refused.

use std::sync::Arc;

use portcullis_model::Millis;

use crate::{AuthError, Token};

/// What a token must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// Values of `iss` that are accepted, each with the claim that names the client in its tokens: Entra's v1 tokens have `appid`, its v2
    /// tokens `azp`, Okta's `cid`, others `client_id` (RFC 9068) or `azp`.
    pub names: Vec<(String, String)>,
    /// The `tid` that tokens must have, where the platform has tenants.
    pub tenant: Option<Arc<str>>,
    /// Values of `aud` that mean us.
    pub audiences: Vec<String>,
    /// The clients that may call.
    pub clients: Vec<Arc<str>>,
    /// How far the clocks may be apart, seconds.
    pub skew: u64,
}

/// Who sent a token: true only once its signature holds, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's id, as the operator listed it.
    pub id: Arc<str>,
    /// Its tenant, where the operator listed one.
    pub tenant: Option<Arc<str>>,
}

impl Issuer {
    /// Holds a token's claims against what is expected. Costs no signature and no look at anybody's keys.
    pub fn check_claims(&self, token: &Token<'_>, now: Millis) -> Result<Client, AuthError> {
        let iss = token.text("iss").ok_or(AuthError::TokenIssuer)?;
        let named = self.names.iter().find(|(name, _)| *name == iss);
        let (_, client_claim) = named.ok_or(AuthError::TokenIssuer)?;
        if let Some(tenant) = &self.tenant
            && token.text("tid").as_deref() != Some(tenant)
        {
            return Err(AuthError::TokenTenant);
        }
        if !self.audiences.iter().any(|audience| token.lists("aud", audience)) {
            return Err(AuthError::TokenAudience);
        }
        let said = token.text(client_claim).ok_or(AuthError::TokenClient)?;
        let id =
            self.clients.iter().find(|client| ***client == said).ok_or(AuthError::TokenClient)?;
        self.check_times(token, now)?;
        Ok(Client { id: Arc::clone(id), tenant: self.tenant.clone() })
    }

    fn check_times(&self, token: &Token<'_>, now: Millis) -> Result<(), AuthError> {
        let skew = self.skew.saturating_mul(1_000);
        let exp = token.time("exp")?.ok_or(AuthError::TokenMalformed)?;
        if now.0 >= exp.0.saturating_add(skew) {
            return Err(AuthError::TokenExpired);
        }
        for claim in ["nbf", "iat"] {
            if token.time(claim)?.is_some_and(|from| from.0 > now.0.saturating_add(skew)) {
                return Err(AuthError::TokenEarly);
            }
        }
        Ok(())
    }
}
