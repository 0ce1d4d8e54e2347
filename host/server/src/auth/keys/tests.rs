//! An issuer's keys: fetched, kept, rotated, and gone stale, against a stand-in on this machine and a clock that the test sets.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use portcullis_keys::SymmetricKey;
use tokio::runtime::Builder;

use crate::net::outbound::OutboundConfig;
use crate::state_mac::StateMac;

const HOUR: u64 = 3_600_000;
const START: u64 = 1_795_000_000_000;

/// An issuer on this machine: a discovery document and a set of keys, and how often somebody asked.
struct Issuer {
    address: String,
    looks: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    says: Arc<Mutex<String>>,
}

struct Signer {
    kid: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(kid: &str) -> Self {
        Self {
            kid: kid.into(),
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    fn jwk(&self) -> String {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = (BASE64URL.encode(&point[..32]), BASE64URL.encode(&point[32..]));
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{}","x":"{x}","y":"{y}"}}"#, self.kid)
    }

    fn token(&self) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.kid);
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode("{}"));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL.encode(signature))
    }
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self {
            address: address.clone(),
            looks: Arc::default(),
            down: Arc::default(),
            says: Arc::default(),
        };
        let (looks, down, says) =
            (Arc::clone(&issuer.looks), Arc::clone(&issuer.down), Arc::clone(&issuer.says));
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let count = socket.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                let body = if request.starts_with("GET /keys ") {
                    looks.fetch_add(1, Ordering::SeqCst);
                    says.lock().unwrap().clone()
                } else {
                    format!(r#"{{"issuer":"{address}","jwks_uri":"{address}/keys"}}"#)
                };
                if !down.load(Ordering::SeqCst) {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    drop(socket.write_all((head + &body).as_bytes()));
                }
            }
        });
        issuer
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.says.lock().unwrap() = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    fn config(&self) -> KeysConfig {
        KeysConfig {
            place: KeysLocation::Discovery(format!(
                "{}/.well-known/openid-configuration",
                self.address
            )),
            issuers: vec![self.address.clone()],
            tenant: None,
            stale_ms: 24 * HOUR,
        }
    }
}

struct Rig {
    now: Arc<AtomicU64>,
    folder: tempfile::TempDir,
    key: u8,
}

impl Rig {
    fn new() -> Self {
        Self { now: Arc::new(AtomicU64::new(START)), folder: tempfile::tempdir().unwrap(), key: 1 }
    }

    fn keys(&self, config: &KeysConfig) -> Arc<Keys> {
        let key = CacheKey::derive(&SymmetricKey::from_bytes([self.key; 32]));
        let outbound = Arc::new(Outbound::new(&OutboundConfig::default()).unwrap());
        let clock = Clock::fixed(Arc::clone(&self.now));
        let mac = StateMac::new(&SymmetricKey::from_bytes([self.key; 32])).unwrap();
        let folder = self.folder.path().to_owned();
        let floors = Arc::new(MinFetchTimes::read(&folder, mac));
        KeyRing::new(outbound, clock, Some(KeyCacheConfig { folder, key, floors }), 64)
            .keys(config)
            .unwrap()
    }

    fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::Relaxed))
    }

    /// One call, which has five seconds.
    fn call(&self, keys: &Arc<Keys>, token: &str) -> Result<(), AuthError> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        runtime.block_on(keys.verify(&Token::parse(token).unwrap(), self.now(), until))
    }
}

/// Waits for a look that nobody waits for.
fn settled(keys: &Arc<Keys>) {
    let begin = Instant::now();
    while keys.fetch_state.lock().unwrap().running().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the look never ended");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_first_call_waits_and_a_rotated_key_is_found_by_the_call_that_brings_it() {
    let (rig, issuer, old, new) =
        (Rig::new(), Issuer::start(), Signer::new("old"), Signer::new("new"));
    issuer.publish(&[&old]);
    let keys = rig.keys(&issuer.config());
    assert_eq!(rig.call(&keys, &old.token()), Ok(()));
    for _ in 0..100 {
        assert_eq!(rig.call(&keys, &old.token()), Ok(()));
    }
    assert_eq!(issuer.looks(), 1, "known keys ask nobody");
    // Rotated: the old key stays published for a while.
    issuer.publish(&[&old, &new]);
    assert_eq!(rig.call(&keys, &new.token()), Ok(()));
    assert_eq!(rig.call(&keys, &old.token()), Ok(()));
    assert_eq!(issuer.looks(), 2);
    // Withdrawn: gone with the next look.
    issuer.publish(&[&new]);
    rig.pass(HOUR);
    keys.refresh_if_due(false);
    settled(&keys);
    assert_eq!(rig.call(&keys, &old.token()), Err(AuthError::TokenKey));
}

#[test]
fn a_flood_of_invented_keys_is_two_looks_and_no_more_until_their_time_has_come() {
    let (rig, issuer, good) = (Rig::new(), Issuer::start(), Signer::new("good"));
    issuer.publish(&[&good]);
    let keys = rig.keys(&issuer.config());
    keys.refresh_if_due(true);
    settled(&keys);
    assert_eq!(issuer.looks(), 1);
    for number in 0..500 {
        assert_eq!(
            rig.call(&keys, &Signer { kid: format!("k{number}"), ..Signer::new("") }.token()),
            Err(AuthError::TokenKey)
        );
    }
    assert_eq!(issuer.looks(), 3);
    rig.pass(TOKEN_EVERY_MS);
    for number in 0..50 {
        assert!(rig.call(&keys, &Signer::new(&format!("j{number}")).token()).is_err());
    }
    assert_eq!(issuer.looks(), 4);
    assert_eq!(rig.call(&keys, &good.token()), Ok(()), "the good ones never noticed");
}

#[test]
fn many_at_once_share_one_look() {
    let (rig, issuer, good) = (Rig::new(), Issuer::start(), Signer::new("good"));
    issuer.publish(&[&good]);
    let keys = rig.keys(&issuer.config());
    let token = good.token();
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(rig.call(&keys, &token), Ok(())));
        }
    });
    assert_eq!(issuer.looks(), 1);
}

#[test]
fn an_issuer_that_is_down_is_done_without_up_to_the_stated_age_also_after_a_restart() {
    let (mut rig, issuer, good) = (Rig::new(), Issuer::start(), Signer::new("good"));
    issuer.publish(&[&good]);
    let token = good.token();
    assert_eq!(rig.call(&rig.keys(&issuer.config()), &token), Ok(()));
    issuer.down.store(true, Ordering::SeqCst);

    rig.pass(24 * HOUR);
    let restarted = rig.keys(&issuer.config());
    restarted.refresh_if_due(true);
    settled(&restarted);
    assert_eq!((rig.call(&restarted, &token), restarted.age_ms()), (Ok(()), Some(24 * HOUR)));
    rig.pass(1);
    assert_eq!(
        (rig.call(&restarted, &token), restarted.age_ms()),
        (Err(AuthError::KeysUnavailable), None)
    );

    // Another host's cache is nobody's word.
    rig.now.store(START, Ordering::Relaxed);
    rig.key = 2;
    assert_eq!(rig.call(&rig.keys(&issuer.config()), &token), Err(AuthError::KeysUnavailable));

    issuer.down.store(false, Ordering::SeqCst);
    rig.pass(TOKEN_EVERY_MS);
    assert_eq!(rig.call(&restarted, &token), Ok(()), "back again");
}

#[test]
fn an_answer_of_no_use_never_replaces_keys_that_are() {
    let (rig, issuer, good) = (Rig::new(), Issuer::start(), Signer::new("good"));
    issuer.publish(&[&good]);
    let keys = rig.keys(&issuer.config());
    assert_eq!(rig.call(&keys, &good.token()), Ok(()));
    for wrong in
        ["", "{}", r#"{"keys":[]}"#, "<html>", r#"{"keys":[{"kty":"oct","kid":"good","k":"AA"}]}"#]
    {
        *issuer.says.lock().unwrap() = wrong.to_owned();
        keys.refresh_if_due(true);
        settled(&keys);
        assert!(keys.fetch_state.lock().unwrap().last_error.is_some(), "{wrong}");
        assert_eq!(rig.call(&keys, &good.token()), Ok(()), "{wrong}");
    }
}

#[test]
fn a_discovery_document_of_another_issuer_is_refused() {
    let (rig, issuer, good) = (Rig::new(), Issuer::start(), Signer::new("good"));
    issuer.publish(&[&good]);
    let keys = rig
        .keys(&KeysConfig { issuers: vec!["https://another.example".into()], ..issuer.config() });
    assert_eq!(rig.call(&keys, &good.token()), Err(AuthError::KeysUnavailable));
    assert!(
        keys.fetch_state
            .lock()
            .unwrap()
            .last_error
            .as_ref()
            .unwrap()
            .ends_with("it names another issuer")
    );
    assert_eq!(issuer.looks(), 0);
}

#[test]
fn a_call_waits_no_longer_than_it_may_for_an_issuer_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::new();
    let place = KeysLocation::Keys(format!("http://{}/keys", silent.local_addr().unwrap()));
    let keys = rig.keys(&KeysConfig { place, issuers: Vec::new(), tenant: None, stale_ms: HOUR });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (begin, token) = (Instant::now(), Signer::new("k").token());
    let until = begin + Duration::from_millis(50);
    let verdict = runtime.block_on(keys.verify(&Token::parse(&token).unwrap(), rig.now(), until));
    assert_eq!(verdict, Err(AuthError::KeysUnavailable));
    assert!(begin.elapsed() < FETCH_TIMEOUT, "it did not wait for the look's own end");
    // Nor do more wait at once than half of the calls there may be.
    keys.waiting_calls.store(keys.max_waiting, Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(60);
    let verdict = runtime.block_on(keys.verify(&Token::parse(&token).unwrap(), rig.now(), until));
    assert_eq!(verdict, Err(AuthError::KeysUnavailable));
}
