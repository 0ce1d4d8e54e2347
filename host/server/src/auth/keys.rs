//! Issuers' keys: fetched, kept, renewed, and still good for a while when their issuer cannot be reached.
//!
//! Invariants: a call waits for keys only when its token has said all the right things and names a
//! key that is not known; then it joins the one look that is under way, or starts one if that is
//! due: unauthenticated callers with invented `kid`s cause one look every [`TOKEN_EVERY_MS`] and no
//! more, and at most so many calls wait. An answer that is of no use never replaces keys that are.
//! Keys that are older than the operator trusts verify nothing.

mod cache;
mod floor;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode, Uri};
use portcullis_model::{Digest, Millis, sha256};
use portcullis_tokens::{AuthError, Discovery, KeySet, Token};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::config::{KeysConfig, KeysLocation};
use crate::clock::{Clock, monotonic_now};
use crate::error::StartError;
use crate::net::outbound::{Outbound, parse_url};
use cache::Cache;

pub use cache::CacheKey;
pub use floor::MinFetchTimes;

/// The store of keys for the next start.
pub struct KeyCacheConfig {
    /// The folder.
    pub folder: std::path::PathBuf,
    /// The key that authenticates them.
    pub key: CacheKey,
    /// When the newest were fetched.
    pub floors: Arc<MinFetchTimes>,
}

/// All issuers' keys: one entry an issuer, however many hooks believe it.
pub struct KeyRing {
    outbound: Arc<Outbound>,
    clock: Clock,
    cache: Option<KeyCacheConfig>,
    max_waiting: usize,
    issuers: HashMap<KeysConfig, Arc<Keys>>,
}

/// One issuer's keys.
pub struct Keys {
    config: KeysConfig,
    outbound: Arc<Outbound>,
    clock: Clock,
    cache: Option<Cache>,
    known: ArcSwapOption<FetchedKeys>,
    fetch_state: Mutex<FetchState>,
    waiting_calls: AtomicUsize,
    max_waiting: usize,
}

/// Keys that were fetched.
struct FetchedKeys {
    keys: KeySet,
    /// Of the document as it came.
    digest: Digest,
    fetched: Millis,
    /// The address of the keys, if it is known since this start.
    place: Option<Uri>,
}

#[derive(Default)]
struct FetchState {
    /// The one under way.
    running: Option<watch::Receiver<bool>>,
    /// When calls have used up their looks: at most [`MAX_TOKENS`] times [`TOKEN_EVERY_MS`] ahead
    /// (a leaky bucket).
    tokens_until: Millis,
    /// When the next one is due, whether or not anybody calls.
    due: Millis,
    /// The last problem, so that it is logged once.
    last_error: Option<String>,
}

/// A call's place among those that wait.
struct WaitingCall<'k>(&'k AtomicUsize);

impl KeyRing {
    /// Without any issuer yet. `cache` says where keys are kept for the next start.
    pub fn new(
        outbound: Arc<Outbound>,
        clock: Clock,
        cache: Option<KeyCacheConfig>,
        calls: usize,
    ) -> Self {
        // Half of the calls: a waiting caller may be unauthenticated, and the other half goes on.
        Self { outbound, clock, cache, max_waiting: calls.div_ceil(2), issuers: HashMap::new() }
    }

    /// The keys of one issuer.
    pub fn keys(&mut self, config: &KeysConfig) -> Result<Arc<Keys>, StartError> {
        if let Some(keys) = self.issuers.get(config) {
            return Ok(Arc::clone(keys));
        }
        let (KeysLocation::Discovery(place) | KeysLocation::Keys(place)) = &config.place;
        self.outbound
            .may_call(place)
            .map_err(|error| StartError::Issuer { place: place.clone(), why: error.to_string() })?;
        let cache = self.cache.as_ref().map(|kept| {
            Cache::new(&kept.folder, kept.key.clone(), Arc::clone(&kept.floors), place)
        });
        let keys = Arc::new(Keys {
            config: config.clone(),
            outbound: Arc::clone(&self.outbound),
            clock: self.clock.clone(),
            cache,
            known: ArcSwapOption::empty(),
            fetch_state: Mutex::default(),
            waiting_calls: AtomicUsize::new(0),
            max_waiting: self.max_waiting,
        });
        keys.load_cached();
        self.issuers.insert(config.clone(), Arc::clone(&keys));
        Ok(keys)
    }

    /// Every issuer's keys.
    pub fn all(&self) -> Vec<Arc<Keys>> {
        self.issuers.values().cloned().collect()
    }
}

impl Keys {
    /// Whether a token's signature holds under one of the keys; waits for newer keys where they may help, and until then at most.
    pub async fn verify(
        self: &Arc<Self>,
        token: &Token<'_>,
        now: Millis,
        until: Instant,
    ) -> Result<(), AuthError> {
        let tried = self.known.load_full();
        // A token that names no key may be signed with a newer one than is known.
        let named = tried.as_ref().is_some_and(|known| token.names_key_of(&known.keys));
        match self.try_with(tried.as_ref(), token, now) {
            Err(AuthError::TokenSignature) if named => Err(AuthError::TokenSignature),
            Err(AuthError::TokenKey | AuthError::TokenSignature | AuthError::KeysUnavailable) => {
                self.fetch_and_wait(tried, now, until).await;
                self.try_with(self.known.load_full().as_ref(), token, now)
            }
            settled => settled,
        }
    }

    fn try_with(
        &self,
        known: Option<&Arc<FetchedKeys>>,
        token: &Token<'_>,
        now: Millis,
    ) -> Result<(), AuthError> {
        let known =
            known.filter(|known| now.0.saturating_sub(known.fetched.0) <= self.config.stale_ms);
        token.verify(&known.ok_or(AuthError::KeysUnavailable)?.keys)
    }

    /// Waits for a look that may know more than what was `tried`; starts one, unless one has ended meanwhile.
    async fn fetch_and_wait(
        self: &Arc<Self>,
        tried: Option<Arc<FetchedKeys>>,
        now: Millis,
        until: Instant,
    ) {
        let Some(_place) = WaitingCall::enter(&self.waiting_calls, self.max_waiting) else {
            return;
        };
        let running = {
            let mut looks = self.fetch_state.lock().unwrap_or_else(PoisonError::into_inner);
            let known = self.known.load_full();
            match looks.running() {
                Some(running) => Some(running),
                None if known.as_ref().map(Arc::as_ptr) != tried.as_ref().map(Arc::as_ptr) => None,
                None if looks.take_token(now) => self.start_fetch(&mut looks, false),
                None => None,
            }
        };
        if let Some(mut running) = running {
            // A look that ended without a word ended all the same.
            drop(timeout_at(until.into(), running.wait_for(|done| *done)).await);
        }
    }

    /// Looks for newer keys if that is due, or if `is_requested`. Waits for nothing.
    pub fn refresh_if_due(self: &Arc<Self>, is_requested: bool) {
        let mut looks = self.fetch_state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // A clock that was ahead at the last look and is right again must not put the next one off.
        let is_due = now >= looks.due || looks.due.0 > now.0.saturating_add(FRESH_MS);
        if looks.running().is_none() && (is_requested || is_due) {
            self.start_fetch(&mut looks, true);
        }
    }

    /// How old the keys are that are in use, milliseconds; nothing where there are none that may be used.
    pub fn age_ms(&self) -> Option<u64> {
        // Keys of the future were fetched while the clock was ahead: by how much is as unknown as
        // their age.
        let age = self.clock.now().0.abs_diff(self.known.load().as_ref()?.fetched.0);
        (age <= self.config.stale_ms).then_some(age)
    }

    /// Returns the place that they come from.
    pub fn place(&self) -> &str {
        let (KeysLocation::Discovery(place) | KeysLocation::Keys(place)) = &self.config.place;
        place
    }

    fn start_fetch(
        self: &Arc<Self>,
        looks: &mut FetchState,
        wholly: bool,
    ) -> Option<watch::Receiver<bool>> {
        let (done, running) = watch::channel(false);
        let keys = Arc::clone(self);
        let started = self.outbound.spawn(async move {
            let found = keys.fetch(wholly).await;
            keys.store_result(found);
            done.send_replace(true);
        });
        looks.running = started.map(|_| running);
        looks.running.clone()
    }

    /// Asks the issuer. `wholly` asks anew where its keys are.
    async fn fetch(&self, wholly: bool) -> Result<FetchedKeys, String> {
        let until = monotonic_now() + FETCH_TIMEOUT;
        let before = self.known.load().as_ref().and_then(|known| known.place.clone());
        let (mut issuer, place) = match (&self.config.place, before) {
            (KeysLocation::Keys(place), _) => {
                (None, parse_url(place).map_err(|error| error.to_string())?)
            }
            (KeysLocation::Discovery(_), Some(place)) if !wholly => {
                (self.config.issuers.first().cloned(), place)
            }
            (KeysLocation::Discovery(place), _) => {
                let place = parse_url(place).map_err(|error| error.to_string())?;
                let bytes = self.get(place.clone(), until).await?;
                let expected = self.config.issuers.iter().map(String::as_str);
                let found = Discovery::parse(&bytes, expected)
                    .map_err(|error| format!("`{place}`: {error}"))?;
                let keys = parse_url(&found.jwks_uri)
                    .map_err(|error| format!("`{place}`: jwks_uri: {error}"))?;
                if place.scheme_str() == Some("https") && keys.scheme_str() != Some("https") {
                    return Err(format!("`{place}`: jwks_uri is not https"));
                }
                (Some(found.issuer), keys)
            }
        };
        let bytes = self.get(place.clone(), until).await?;
        let keys = KeySet::parse(&bytes).map_err(|error| format!("`{place}`: {error}"))?;
        let keys = match (issuer.take(), &self.config.tenant) {
            (Some(issuer), Some(tenant)) => keys.only_of(&issuer, tenant),
            _ => keys,
        };
        if keys.is_empty() {
            return Err(format!("`{place}`: none of its keys is for this issuer"));
        }
        let fetched = self.clock.now();
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(fetched, &bytes)
        {
            tracing::warn!(
                path = %cache.path().display(),
                %error,
                event = "issuer-keys.not-kept",
                "the issuer's keys could not be stored on the disk; a restart has to fetch them \
                 again"
            );
        }
        Ok(FetchedKeys { keys, digest: sha256(&bytes), fetched, place: Some(place) })
    }

    async fn get(&self, place: Uri, until: Instant) -> Result<Bytes, String> {
        let request =
            Request::get(place.clone()).header(ACCEPT, "application/json").body(Bytes::new());
        let request = request.map_err(|_| format!("`{place}` cannot be requested"))?;
        let answer = self
            .outbound
            .send(request, until)
            .await
            .map_err(|error| format!("`{place}`: {error}"))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("`{place}`: the issuer answered {}", answer.status().as_u16()));
        }
        Ok(answer.into_body())
    }

    /// Activates what was found, or says why there is nothing.
    fn store_result(&self, found: Result<FetchedKeys, String>) {
        let now = self.clock.now();
        let mut looks = self.fetch_state.lock().unwrap_or_else(PoisonError::into_inner);
        looks.running = None;
        match found {
            Ok(known) => {
                looks.due = Millis(now.0 + FRESH_MS);
                let before = self.known.load().as_ref().map(|known| known.digest);
                if before != Some(known.digest) || looks.last_error.is_some() {
                    tracing::info!(
                        issuer = self.place(),
                        keys = known.keys.len(),
                        event = "issuer-keys.fetched",
                        "the host fetched the issuer's keys"
                    );
                }
                looks.last_error = None;
                self.known.store(Some(Arc::new(known)));
            }
            Err(why) => {
                looks.due = Millis(now.0 + RETRY_MS);
                if looks.last_error.as_ref() != Some(&why) {
                    let age_ms = self.age_ms();
                    tracing::warn!(
                        issuer = self.place(),
                        %why,
                        age_ms,
                        event = "issuer-keys.unavailable",
                        "the issuer's keys could not be fetched; `why` names the problem"
                    );
                    looks.last_error = Some(why);
                }
            }
        }
    }

    /// Takes up what the last run kept.
    fn load_cached(&self) {
        let Some((fetched, bytes)) = self.cache.as_ref().and_then(Cache::load_cached) else {
            return;
        };
        let Ok(keys) = KeySet::parse(&bytes) else { return };
        let keys = match (self.config.issuers.first(), &self.config.tenant) {
            (Some(issuer), Some(tenant))
                if matches!(self.config.place, KeysLocation::Discovery(_)) =>
            {
                keys.only_of(issuer, tenant)
            }
            _ => keys,
        };
        if !keys.is_empty() && fetched <= self.clock.now() {
            self.known.store(Some(Arc::new(FetchedKeys {
                keys,
                digest: sha256(&bytes),
                fetched,
                place: None,
            })));
        }
    }
}

impl FetchState {
    /// The look under way; one that died does not count.
    fn running(&self) -> Option<watch::Receiver<bool>> {
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }

    /// Takes one of the looks that calls may cause, if there is one left.
    fn take_token(&mut self, now: Millis) -> bool {
        // Never further ahead than the bucket is deep, though the clock be set back.
        let deep = TOKEN_EVERY_MS * MAX_TOKENS;
        let spent = self.tokens_until.0.clamp(now.0, now.0 + deep) + TOKEN_EVERY_MS;
        let may = spent <= now.0 + deep;
        if may {
            self.tokens_until = Millis(spent);
        }
        may
    }
}

impl<'k> WaitingCall<'k> {
    fn enter(waiting: &'k AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How often calls with unknown keys may cause a look, milliseconds.
const TOKEN_EVERY_MS: u64 = 5_000;
/// How many such looks may follow each other at once: keys that rotate twice in a row are no flood.
const MAX_TOKENS: u64 = 2;
/// How long one look may take, discovery and keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long fetched keys are not looked at again, milliseconds: an hour.
const FRESH_MS: u64 = 3_600_000;
/// How soon a look that failed is repeated, milliseconds.
const RETRY_MS: u64 = 15_000;

#[cfg(test)]
mod tests;
