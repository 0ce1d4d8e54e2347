//! How the client proves to a registry who asks: as nobody, by name and password, or by a token that it fetches.
//!
//! Invariant: a password is shown only over TLS or to this machine, and only to the registry's own host or the token endpoint that the
//! operator named: a challenge cannot steer it elsewhere. Tokens are for one repository and one purpose, and are held in memory alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Uri};
use portcullis_model::Document;
use portcullis_model::json::Value;
use portcullis_registry::{Challenge, Repository, challenges};
use zeroize::Zeroizing;

use super::error::RegistryError;
use crate::clock::monotonic_now;
use crate::config::registry::Access;
use crate::net::outbound::{Outbound, parse_url};

/// The purpose of a request to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// The credentials so far.
#[derive(Default)]
pub struct CredentialCache {
    credentials: Mutex<HashMap<(Repository, Purpose), CachedCredential>>,
}

struct CachedCredential {
    header: HeaderValue,
    until: Option<Instant>,
}

impl Purpose {
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

impl CredentialCache {
    /// Returns the credentials for a request; `None` before the registry asked for them.
    pub fn header(&self, repository: &Repository, purpose: Purpose) -> Option<HeaderValue> {
        let held = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get(&(repository.clone(), purpose))?;
        held.until.is_none_or(|until| monotonic_now() < until).then(|| held.header.clone())
    }

    /// Does what an answer of 401 asks for, as far as it can be done.
    pub async fn answer_challenge(
        &self,
        (outbound, access): (&Outbound, &Access),
        (repository, purpose): (&Repository, Purpose),
        head: &HeaderMap,
        until: Instant,
    ) -> Result<(), RegistryError> {
        let place = repository.to_string();
        let denied =
            |why: &str| RegistryError::Denied { place: place.clone(), why: why.to_owned() };
        let challenges: Vec<_> = head
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .take(MAX_CHALLENGES)
            .flat_map(challenges)
            .collect();
        let bearer =
            challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let held = match bearer.or_else(|| challenges.first()) {
            Some(Challenge::Bearer { realm, service, .. }) => {
                let uri =
                    token_uri(realm, service.as_deref(), repository, purpose).ok_or_else(|| {
                        denied("the registry names no token address that the host can call")
                    })?;
                let password = match &access.credential {
                    Some(_) if !may_see_password(&uri, realm, repository, access) => {
                        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
                        return Err(denied(&format!(
                            "the registry requests tokens from `{host}`, but no `token_realm` \
                             allows the host to send the password there"
                        )));
                    }
                    credential => credential.as_ref().map(basic).transpose()?,
                };
                token(outbound, uri, password, &place, until).await?
            }
            Some(Challenge::Basic) => {
                let credential = access.credential.as_ref().ok_or_else(|| {
                    denied("the registry requires a password, and none is configured")
                })?;
                CachedCredential {
                    header: basic(credential)?,
                    until: Some(monotonic_now() + KEEP_PASSWORD),
                }
            }
            None => return Err(denied("the registry names no supported way to authenticate")),
        };
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((repository.clone(), purpose), held);
        Ok(())
    }
}

/// Where a token for this repository and purpose is to be had. The scope is our own, whatever the challenge says.
fn token_uri(
    realm: &str,
    service: Option<&str>,
    repository: &Repository,
    purpose: Purpose,
) -> Option<Uri> {
    let uri = parse_url(realm).ok()?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{}:{}", repository.name, purpose.actions()));
    let mark = if uri.query().is_some() { '&' } else { '?' };
    format!("{realm}{mark}{}", query.finish()).parse().ok()
}

/// Returns whether the password may be sent to this address: the registry's own origin (scheme,
/// host and port, RFC 6454), or the place that the operator's `token_realm` names.
fn may_see_password(uri: &Uri, realm: &str, repository: &Repository, access: &Access) -> bool {
    let scheme = if access.plain_http { "http" } else { "https" };
    let own: Option<Uri> = format!("{scheme}://{}/", repository.host).parse().ok();
    access.token_realm.as_deref() == Some(realm)
        || own.is_some_and(|own| origin(&own).is_some() && origin(&own) == origin(uri))
}

/// Returns scheme, host in lower case, and port. `None`: the address lacks one of them.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let standard = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(standard)))
}

fn basic((name, file): &(String, std::path::PathBuf)) -> Result<HeaderValue, RegistryError> {
    let wrong = |why: String| RegistryError::Password { path: file.clone(), why };
    let text =
        portcullis_keys::read_secret_lines(file).map_err(|error| wrong(error.to_string()))?;
    let password = text.first().ok_or_else(|| wrong("it is empty".to_owned()))?;
    let pair = Zeroizing::new(format!("{name}:{password}"));
    secret(&Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
        .ok_or_else(|| wrong("it is not a password".to_owned()))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Asks for a token (Distribution, *Token Authentication*).
async fn token(
    outbound: &Outbound,
    uri: Uri,
    password: Option<HeaderValue>,
    place: &str,
    until: Instant,
) -> Result<CachedCredential, RegistryError> {
    let denied = |why: &str| RegistryError::Denied { place: place.to_owned(), why: why.to_owned() };
    let mut request = Request::get(uri).header(ACCEPT, "application/json");
    if let Some(password) = password {
        request = request.header(AUTHORIZATION, password);
    }
    let request = request
        .body(Bytes::new())
        .map_err(|_| denied("the registry's token address cannot be called"))?;
    let answer = outbound.send(request, until).await;
    let answer = answer
        .map_err(|cause| RegistryError::Outbound { place: format!("{place}: token"), cause })?;
    if answer.status() != 200 {
        return Err(denied(&format!(
            "the token service refused the request: {}",
            answer.status().as_u16()
        )));
    }
    let document = Document::parse(answer.body())
        .map_err(|_| denied("the answer of the token service is not JSON"))?;
    let text = |name| document.root().get(name).and_then(Value::as_str);
    let token = text("token")
        .or_else(|| text("access_token"))
        .ok_or_else(|| denied("the answer of the token service has no token"))?;
    let life = document
        .root()
        .get("expires_in")
        .and_then(Value::as_u64)
        .unwrap_or(DEFAULT_LIFETIME_S)
        .min(MAX_LIFETIME_S);
    let header = secret(&format!("Bearer {token}"))
        .ok_or_else(|| denied("the token cannot be sent in a header"))?;
    // A tenth of its life early: it must last for the request it is shown with.
    let until = Some(monotonic_now() + Duration::from_secs(life) * 9 / 10);
    Ok(CachedCredential { header, until })
}

/// The life of a token whose issuer does not say, seconds, as the specification has it.
const DEFAULT_LIFETIME_S: u64 = 60;
/// The longest life that is believed, seconds: an hour.
const MAX_LIFETIME_S: u64 = 3_600;
/// How long a password is shown without being asked for, and without reading its file again.
const KEEP_PASSWORD: Duration = Duration::from_secs(30);
/// Headers of one answer that are looked at.
const MAX_CHALLENGES: usize = 8;
