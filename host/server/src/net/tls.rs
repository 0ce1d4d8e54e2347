//! TLS towards callers: a certificate that rotates while connections stand, and client certificates that are judged call by call.
//!
//! Invariants: TLS 1.3 and 1.2 by rustls, nothing older. A wrong new certificate changes nothing. A client certificate never breaks a
//! handshake: whether it leads to a trusted authority is decided where the hook can still say what stops the platform, also for resumed
//! sessions and, at least once a minute, for connections that stand. That the client holds its key is proven by the handshake.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_files::read_bounded;
use portcullis_model::{Digest, Millis, sha256};
use portcullis_tokens::AuthError;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ProducesTickets, StoresServerSessions, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, version};
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::StartError;
use crate::fs::replaceable::ReplaceableFiles;
use crate::net::outbound::tls_roots::{MAX_PEM_BYTES, authorities, pem_error};
use crate::start_problems::{StartProblems, key_file};

/// The settings of `[listen.tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The host's certificate and those that lead to its authority, PEM, the host's first.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM. Asks clients for one; hooks say whose they take.
    pub client_ca: Option<PathBuf>,
    /// Time for the handshake, milliseconds. Default 5,000.
    #[serde(default = "default_handshake_ms")]
    pub handshake_timeout_ms: u64,
}

/// The server's half of TLS.
pub struct Tls {
    config: TlsConfig,
    watch: ReplaceableFiles,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    current: ArcSwap<Current>,
}

/// The active settings; exchanged as a whole.
struct Current {
    server: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// When the first certificate of the chain ends.
    not_after: Millis,
    /// Of all that was read.
    digest: Digest,
}

/// The client at the other end of a connection, by its certificate.
pub struct Peer {
    tls: Arc<Tls>,
    chain: Vec<CertificateDer<'static>>,
    verified: Mutex<Option<VerifiedChain>>,
}

struct VerifiedChain {
    at: Millis,
    by: Digest,
    names: Result<Arc<Names>, AuthError>,
}

/// The names in a client certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// DNS names among its alternative names.
    pub dns: Vec<String>,
    /// URIs among its alternative names.
    pub uri: Vec<String>,
    /// SHA-256 of its subject public key info, DER.
    pub spki: Digest,
}

impl Tls {
    /// Reads certificate, key and authorities.
    pub fn load(config: &TlsConfig) -> Result<Self, StartError> {
        let mut config = config.clone();
        config.handshake_timeout_ms = config.handshake_timeout_ms.clamp(100, 60_000);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|_| StartError::Random)?;
        let sessions: Arc<dyn StoresServerSessions> =
            rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        let watch = ReplaceableFiles::new(paths(&config));
        let current = read(&config, &provider, &ticketer, &sessions)?;
        Ok(Self {
            config,
            watch,
            provider,
            ticketer,
            sessions,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// The settings for new connections.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// When the certificate ends, or one that leads from it to its authority.
    pub fn not_after(&self) -> Millis {
        self.current.load().not_after
    }

    /// Time for a handshake.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.config.handshake_timeout_ms)
    }

    /// Reads the files again if they have changed, or if `is_requested`. Connections that stand go
    /// on with what they began with. Says whether anything is new.
    pub fn reload(&self, is_requested: bool) -> Result<bool, StartError> {
        if !self.watch.changed() && !is_requested {
            return Ok(false);
        }
        let fresh = read(&self.config, &self.provider, &self.ticketer, &self.sessions)?;
        if fresh.digest == self.current.load().digest {
            return Ok(false);
        }
        self.current.store(Arc::new(fresh));
        Ok(true)
    }
}

impl Peer {
    /// The client that showed these certificates in its handshake, its own first.
    pub fn new(tls: &Arc<Tls>, chain: &[CertificateDer<'_>]) -> Self {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { tls: Arc::clone(tls), chain, verified: Mutex::default() }
    }

    /// Its names, if its certificate leads to a trusted authority now.
    pub fn verified_names(&self, now: Millis) -> Result<Arc<Names>, AuthError> {
        let current = self.tls.current.load();
        let mut judged = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*judged
            && known.by == current.digest
            && now.0.abs_diff(known.at.0) < VERIFIED_FOR_MS
        {
            return known.names.clone();
        }
        let verdict = self.verify(&current, now);
        *judged = Some(VerifiedChain { at: now, by: current.digest, names: verdict.clone() });
        verdict
    }

    fn verify(&self, current: &Current, now: Millis) -> Result<Arc<Names>, AuthError> {
        let (own, others) = self.chain.split_first().ok_or(AuthError::NoCertificate)?;
        let clients = current.clients.as_ref().ok_or(AuthError::CertificateUntrusted)?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        clients.verify_client_cert(own, others, at).map_err(|_| AuthError::CertificateUntrusted)?;
        Names::read(own).map(Arc::new).ok_or(AuthError::CertificateUntrusted)
    }
}

impl Names {
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let read = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self {
            dns: read.valid_dns_names().map(str::to_owned).collect(),
            uri: read.valid_uri_names().map(str::to_owned).collect(),
            spki: sha256(&read.subject_public_key_info()),
        })
    }
}

/// Takes every client certificate whose key the client holds; [`Peer`] judges whose it is.
#[derive(Debug)]
struct DeferredClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for DeferredClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// When the first of some certificates ends.
fn not_after(chain: &[CertificateDer<'_>]) -> Millis {
    let end = |certificate: &CertificateDer<'_>| {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        Some(Millis(
            u64::try_from(read.validity().not_after.timestamp()).ok()?.saturating_mul(1_000),
        ))
    };
    // One that cannot be read is none that callers would take.
    chain.iter().map(|certificate| end(certificate).unwrap_or_default()).min().unwrap_or_default()
}

fn paths(config: &TlsConfig) -> Vec<PathBuf> {
    [&config.certificate, &config.key].into_iter().chain(&config.client_ca).cloned().collect()
}

fn read(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    ticketer: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<Current, StartError> {
    let mut problems = StartProblems::default();
    let chain = problems.keep(read_chain(&config.certificate));
    let key = problems.keep(read_key(&config.key));
    let clients = config.client_ca.as_deref().map(|path| read_clients(path, provider));
    let clients = clients.map(|clients| problems.keep(clients));
    let (Some((chain, mut digest)), Some(key)) = (chain, key) else {
        return Err(problems.error());
    };
    problems.result()?;
    let clients = clients.flatten().map(|(clients, authorities)| {
        digest = sha256(&[&digest.0[..], &authorities.0].concat());
        clients
    });
    let versions = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| StartError::Tls(error.to_string()))?;
    let server = match &clients {
        Some(clients) => versions
            .with_client_cert_verifier(Arc::new(DeferredClientVerifier(Arc::clone(clients)))),
        None => versions.with_no_client_auth(),
    };
    let ends = not_after(&chain);
    let mut server = server.with_single_cert(chain, key).map_err(|error| {
        let hint = "use the key of the certificate; the host's own certificate must be the first \
                    in its file";
        wrong(CERTIFICATE, &config.certificate, error.to_string(), Some(hint.to_owned()))
    })?;
    server.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    // Kept across certificates, so that a rotation costs no client its resumption.
    server.ticketer = Arc::clone(ticketer);
    server.session_storage = Arc::clone(sessions);
    Ok(Current { server: Arc::new(server), clients, not_after: ends, digest })
}

/// The certificates of a file, at least one, and the file's digest. Only that is kept: whether the
/// key is another one shows in the certificate.
fn read_chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Digest), StartError> {
    let certificate = |error: String| wrong(CERTIFICATE, path, error, None);
    let pem = read_bounded(path, MAX_PEM_BYTES).map_err(|error| certificate(error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| certificate(pem_error(&error)))?;
    if chain.is_empty() {
        return Err(certificate("it holds no certificate in PEM form".to_owned()));
    }
    Ok((chain, sha256(&pem)))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, StartError> {
    let what = "TLS key";
    let secret =
        portcullis_keys::read_secret_file(path).map_err(|error| key_file(what, path, &error))?;
    let key = PrivateKeyDer::from_pem_slice(secret.as_bytes());
    key.map_err(|error| wrong(what, path, pem_error(&error), None))
}

/// The verifier of client certificates by the authorities of a file, and the file's digest.
fn read_clients(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Digest), StartError> {
    let roots = Arc::new(authorities("client authorities", path)?);
    let failed = |error: String| wrong(CERTIFICATE, path, error, None);
    let text = read_bounded(path, MAX_PEM_BYTES).map_err(|error| failed(error.to_string()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    Ok((verifier.map_err(|error| failed(error.to_string()))?, sha256(&text)))
}

fn wrong(what: &'static str, path: &Path, why: String, hint: Option<String>) -> StartError {
    StartError::File { what, path: path.to_owned(), why, hint }
}

const CERTIFICATE: &str = "TLS certificate";
/// HTTP/2's name in ALPN (RFC 9113 section 3.2).
pub const H2: &[u8] = b"h2";
/// Sessions remembered for clients that take no tickets.
const SESSIONS: usize = 1_024;
/// How long a client certificate is not looked at again on one connection, milliseconds.
const VERIFIED_FOR_MS: u64 = 60_000;

fn default_handshake_ms() -> u64 {
    5_000
}
