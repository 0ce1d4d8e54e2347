//! Access tokens for calls that the host makes: OAuth 2.0 client credentials (RFC 6749 section 4.4), with a secret
//! (`client_secret_post`) or a signed assertion (`private_key_jwt`, RFC 7523).
//!
//! Invariant: one request at a time, however many wait; a token is renewed before it ends and used while it lasts, also when it cannot be
//! renewed. Secret and key are read for each request, so that they rotate by themselves. A token stands in no log and no error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Uri};
use portcullis_model::json::{ObjectWriter, Value, build_object};
use portcullis_model::{Document, Millis, sha256};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::{Outbound, OutboundError};
use crate::clock::Clock;

/// As whom and where tokens are asked for.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The issuer's token endpoint.
    pub token_uri: Uri,
    /// The client's id.
    pub client_id: String,
    /// How the client proves itself.
    pub proof: ClientProof,
    /// The scope of the token, such as `https://graph.microsoft.com/.default`.
    pub scope: String,
}

/// How a client proves itself to an issuer.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// By a secret in the request's body; the file's first line.
    Secret(PathBuf),
    /// By an assertion, signed with this key: RSA (RS256) or P-256 (ES256), PKCS #8 in PEM.
    Key {
        /// The key.
        file: PathBuf,
        /// Its `kid`, as the issuer knows it.
        kid: Option<String>,
        /// Its certificate, where the issuer knows it by that (Entra): its digest goes along as `x5t#S256`.
        certificate: Option<PathBuf>,
    },
}

/// Tokens of one client.
pub struct Tokens {
    outbound: Arc<Outbound>,
    clock: Clock,
    config: TokenConfig,
    current: ArcSwapOption<Current>,
    asking: Mutex<()>,
}

struct Current {
    /// `Bearer …`, marked as secret.
    header: HeaderValue,
    renew: Millis,
    expires: Millis,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Secret, key or certificate are of no use.
    #[error("`{}`: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The problem with it.
        why: String,
    },
    /// The issuer could not be asked.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// It was asked and gave none.
    #[error("the issuer answered {status}: {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The `error` code of RFC 6749 section 5.2, or what was wrong with the answer.
        code: String,
    },
}

impl Tokens {
    /// Asks nobody yet.
    pub fn new(outbound: Arc<Outbound>, clock: Clock, config: TokenConfig) -> Self {
        Self { outbound, clock, config, current: ArcSwapOption::empty(), asking: Mutex::new(()) }
    }

    /// The value of an `Authorization` header that is good now.
    pub async fn get(&self, until: Instant) -> Result<HeaderValue, TokenError> {
        if let Some(current) = self.valid(|current| current.renew) {
            return Ok(current.header.clone());
        }
        let one =
            timeout_at(until.into(), self.asking.lock()).await.map_err(|_| OutboundError::Late)?;
        // Somebody else may have asked meanwhile.
        if let Some(current) = self.valid(|current| current.renew) {
            return Ok(current.header.clone());
        }
        let fetched = self.ask(until).await;
        drop(one);
        match (fetched, self.valid(|current| current.expires)) {
            (Ok(fresh), _) => {
                let header = fresh.header.clone();
                self.current.store(Some(Arc::new(fresh)));
                Ok(header)
            }
            (Err(why), Some(current)) => {
                tracing::warn!(
                    %why,
                    issuer = %self.config.token_uri,
                    event = "outbound.token-not-renewed",
                    "a token could not be renewed; the host uses the present one until it expires"
                );
                Ok(current.header.clone())
            }
            (Err(why), None) => Err(why),
        }
    }

    /// Forgets the token: whoever was called with it did not take it.
    pub fn discard(&self) {
        self.current.store(None);
    }

    fn valid(&self, end: impl Fn(&Current) -> Millis) -> Option<Arc<Current>> {
        self.current.load_full().filter(|current| self.clock.now() < end(current))
    }

    async fn ask(&self, until: Instant) -> Result<Current, TokenError> {
        let mut form = Zeroizing::new(String::new());
        field(&mut form, "grant_type", "client_credentials");
        field(&mut form, "client_id", &self.config.client_id);
        field(&mut form, "scope", &self.config.scope);
        match &self.config.proof {
            ClientProof::Secret(path) => {
                let wrong = |why| TokenError::File { path: path.clone(), why };
                let text = portcullis_keys::read_secret_lines(path)
                    .map_err(|error| wrong(error.to_string()))?;
                field(
                    &mut form,
                    "client_secret",
                    text.first().ok_or_else(|| wrong("it is empty".to_owned()))?,
                );
            }
            ClientProof::Key { file, kid, certificate } => {
                let assertion = self.assertion(file, kid.as_deref(), certificate.as_deref())?;
                field(
                    &mut form,
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                );
                field(&mut form, "client_assertion", &assertion);
            }
        }
        let request = Request::post(self.config.token_uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::copy_from_slice(form.as_bytes()))
            .map_err(|_| OutboundError::Address("the token request is invalid"))?;
        let before = self.clock.now();
        let answer = self.outbound.send(request, until).await?;
        read(answer.status().as_u16(), answer.body(), before)
    }

    /// A statement that we are this client, for this issuer, for five minutes (RFC 7523 section 3).
    fn assertion(
        &self,
        file: &Path,
        kid: Option<&str>,
        certificate: Option<&Path>,
    ) -> Result<String, TokenError> {
        let signer = Signer::read(file)?;
        let mut header = String::from("{");
        let mut members = ObjectWriter::members_of(&mut header);
        members.display("alg", signer.algorithm()).text("typ", "JWT");
        if let Some(kid) = kid {
            members.text("kid", kid);
        }
        if let Some(path) = certificate {
            let wrong = |why: String| TokenError::File { path: path.to_owned(), why };
            let der: rustls::pki_types::CertificateDer<'_> =
                rustls::pki_types::pem::PemObject::from_pem_file(path)
                    .map_err(|error| wrong(super::tls_roots::pem_error(&error)))?;
            members.text("x5t#S256", &BASE64URL.encode(sha256(&der).0));
        }
        header.push('}');
        let now = self.clock.now().0 / 1_000;
        let mut id = [0; 16];
        // Without randomness the time tells assertions apart.
        let _ = aws_lc_rs::rand::fill(&mut id);
        let claims = build_object(|claims| {
            claims
                .text("iss", &self.config.client_id)
                .text("sub", &self.config.client_id)
                .display("aud", &self.config.token_uri)
                .display("jti", format_args!("{}-{now}", BASE64URL.encode(id)))
                .number("iat", now)
                .number("nbf", now)
                .number("exp", now + ASSERTED_FOR_S);
        });
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = signer.sign(signed.as_bytes()).ok_or_else(|| TokenError::File {
            path: file.to_owned(),
            why: "the key cannot sign".to_owned(),
        })?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature)))
    }
}

/// A private key of the client.
enum Signer {
    Rsa(aws_lc_rs::rsa::KeyPair),
    P256(aws_lc_rs::signature::EcdsaKeyPair),
}

impl Signer {
    fn read(path: &Path) -> Result<Self, TokenError> {
        let wrong = |why: String| TokenError::File { path: path.to_owned(), why };
        let text =
            portcullis_keys::read_secret_file(path).map_err(|error| wrong(error.to_string()))?;
        let key: rustls::pki_types::PrivatePkcs8KeyDer<'_> =
            rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes())
                .map_err(|error| wrong(super::tls_roots::pem_error(&error)))?;
        let der = key.secret_pkcs8_der();
        if let Ok(pair) = aws_lc_rs::rsa::KeyPair::from_pkcs8(der) {
            return Ok(Self::Rsa(pair));
        }
        let p256 = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(p256, der);
        pair.map(Self::P256).map_err(|_| wrong("it is neither an RSA nor a P-256 key".to_owned()))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let with = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
                pair.sign(with, &random, message, &mut signature).ok().map(|()| signature)
            }
            Self::P256(pair) => {
                pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec())
            }
        }
    }
}

/// Reads the issuer's answer (RFC 6749 sections 5.1 and 5.2).
fn read(status: u16, body: &[u8], fetched: Millis) -> Result<Current, TokenError> {
    let refused = |code: &str| TokenError::Refused { status, code: code.to_owned() };
    let document = Document::parse(body).map_err(|_| refused("it is not JSON"))?;
    let text = |name| document.root().get(name).and_then(Value::as_str);
    if status != 200 {
        let code = text("error")
            .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic()));
        return Err(refused(code.as_deref().unwrap_or("no error code")));
    }
    let token = text("access_token").ok_or_else(|| refused("it has no access_token"))?;
    if !text("token_type").is_some_and(|sort| sort.eq_ignore_ascii_case("bearer")) {
        return Err(refused("its token_type is not Bearer"));
    }
    // A number, or the same as text, as some issuers write it.
    let seconds = document.root().get("expires_in");
    let seconds = seconds
        .and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()))
        .unwrap_or(DEFAULT_LIFETIME_S);
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| refused("its access_token cannot be sent in a header"))?;
    header.set_sensitive(true);
    let life = seconds.min(MAX_LIFETIME_S) * 1_000;
    // A tenth of its life early, and at least half a minute where it lives that long.
    let early = (life / 10).max(EARLY_MS.min(life / 2));
    Ok(Current {
        header,
        renew: Millis(fetched.0 + life - early),
        expires: Millis(fetched.0 + life),
    })
}

/// Adds a field of `application/x-www-form-urlencoded`.
fn field(form: &mut String, name: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    form.push_str(name);
    form.push('=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                form.push(char::from(byte))
            }
            _ => form.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// How long an assertion is good, seconds.
const ASSERTED_FOR_S: u64 = 300;
/// The life of a token whose issuer does not say, seconds.
const DEFAULT_LIFETIME_S: u64 = 60;
/// The longest life that is believed, seconds: a day.
const MAX_LIFETIME_S: u64 = 86_400;
/// How early a token is renewed at the least, milliseconds, where it lives twice as long.
const EARLY_MS: u64 = 30_000;
/// How long asking for a token should be given; for those who call [`Tokens::get`].
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
