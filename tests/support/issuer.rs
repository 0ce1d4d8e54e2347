//! An issuer of tokens: keys, a discovery document and a key set on a port of its own, and tokens made by another implementation than the
//! host's (`jsonwebtoken`).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

/// An issuer that can be reached until it is dropped or told to be down.
pub struct Issuer {
    address: String,
    name: String,
    shared: Arc<Shared>,
    keys: BTreeMap<String, KeyPair>,
}

#[derive(Default)]
struct Shared {
    /// The discovery document and the key set, by path.
    documents: Mutex<BTreeMap<String, String>>,
    looks: AtomicUsize,
    down: AtomicBool,
}

#[expect(clippy::unwrap_used, reason = "an issuer that cannot be made is a failed test")]
impl Issuer {
    /// Starts one that publishes one key, `first`, and goes by this name.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let discovery = json!({"issuer": name, "jwks_uri": format!("{address}/keys")}).to_string();
        shared.documents.lock().unwrap().insert("/discovery".to_owned(), discovery);
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let count = socket.read(&mut request).unwrap_or(0);
                let request =
                    String::from_utf8_lossy(request.get(..count).unwrap_or_default()).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                if serving.down.load(Ordering::SeqCst) {
                    continue;
                }
                if path == "/keys" {
                    serving.looks.fetch_add(1, Ordering::SeqCst);
                }
                let documents = serving.documents.lock().unwrap_or_else(PoisonError::into_inner);
                let (status, body) =
                    documents.get(path).map_or(("404 Not Found", ""), |body| ("200 OK", body));
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                // A host that hung up has its reasons.
                drop(socket.write_all((head + body).as_bytes()));
            }
        });
        let mut issuer = Self { address, name: name.to_owned(), shared, keys: BTreeMap::new() };
        issuer.publish(&["first"]);
        issuer
    }

    /// Where its discovery document is.
    pub fn discovery(&self) -> String {
        format!("{}/discovery", self.address)
    }

    /// Publishes these keys and no others; those that are new are made.
    pub fn publish(&mut self, names: &[&str]) {
        let keys: Vec<_> = names.iter().map(|name| self.jwk(name)).collect();
        self.shared
            .documents
            .lock()
            .unwrap()
            .insert("/keys".to_owned(), json!({ "keys": keys }).to_string());
    }

    /// How often its keys were asked for.
    pub fn looks(&self) -> usize {
        self.shared.looks.load(Ordering::SeqCst)
    }

    /// Answers nobody, or everybody again.
    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// The claims of a good token for `audience`, with these besides; `null` takes one away.
    pub fn claims(&self, audience: &str, more: Value) -> Value {
        let now = crate::now();
        let mut claims =
            json!({"iss": self.name, "aud": audience, "iat": now, "nbf": now, "exp": now + 600});
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
            }
        }
        claims
    }

    /// A token of these claims under one of its keys, published or not.
    pub fn token(&mut self, key: &str, claims: &Value) -> String {
        let header = Header { kid: Some(key.to_owned()), ..Header::new(Algorithm::ES256) };
        let pem = self.key(key).serialize_pem();
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap())
            .unwrap()
    }

    /// The same with the public key as the secret of an HMAC.
    pub fn confused(&mut self, key: &str, claims: &Value) -> String {
        let header = Header { kid: Some(key.to_owned()), ..Header::new(Algorithm::HS256) };
        let public = self.key(key).public_key_pem();
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(public.as_bytes())).unwrap()
    }

    /// The same without a signature.
    pub fn unsigned(&self, key: &str, claims: &Value) -> String {
        let header = json!({"alg": "none", "typ": "JWT", "kid": key}).to_string();
        format!("{}.{}.", BASE64URL.encode(header), BASE64URL.encode(claims.to_string()))
    }

    fn key(&mut self, name: &str) -> &KeyPair {
        self.keys
            .entry(name.to_owned())
            .or_insert_with(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn jwk(&mut self, name: &str) -> Value {
        let (_, point) = self.key(name).public_key_raw().split_at(1);
        let (x, y) = point.split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": name, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)})
    }
}
