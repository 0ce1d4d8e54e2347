//! A connection to a hook as its platform would make it: HTTP/1.1, and HTTPS where the address says so.
//!
//! Invariant: nothing is sent to a server whose certificate does not hold; what it showed is kept all the same, to be spoken of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::{elapsed_since, monotonic_now};
use crate::exit::{CliError, CliResult};
use crate::files;

/// Where a hook is, and how to get there.
pub struct Endpoint {
    /// Its address.
    pub url: Uri,
    /// The authorities to believe; nothing for plain HTTP.
    tls: Option<Arc<Trust>>,
    /// The certificate that proves the caller, where one does.
    own: Option<Identity>,
}

/// A client's certificate with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// As whom to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody: no certificate is shown.
    Unauthenticated,
    /// The platform: with its certificate, where it has one.
    Platform,
}

/// A connection, and what making it showed.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
    /// Until the socket stood.
    pub connected: Duration,
    /// The TLS version, where there is one.
    pub tls: Option<String>,
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
}

/// Whom to believe, and the certificates that were shown last.
#[derive(Debug)]
struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl Endpoint {
    /// A hook's place. `ca` names authorities to believe instead of the machine's own, PEM.
    pub fn new(url: Uri, ca: Option<&std::path::Path>, own: Option<Identity>) -> CliResult<Self> {
        if url.authority().is_none() {
            return Err(CliError::configuration(format!("`{url}` does not name a host")));
        }
        let tls = match url.scheme_str() {
            Some("http") => None,
            Some("https") => Some(Arc::new(Trust::new(ca)?)),
            _ => {
                return Err(CliError::configuration(
                    "give an address that begins with `http://` or `https://`",
                ));
            }
        };
        Ok(Self { url, tls, own })
    }

    /// Whether it is HTTPS.
    pub fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a certificate proves the caller.
    pub fn has_identity(&self) -> bool {
        self.own.is_some() && self.is_https()
    }

    /// Its host.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// The certificates that were shown at the last attempt, the server's own first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let shown = self
            .tls
            .as_ref()
            .map(|tls| tls.shown.lock().unwrap_or_else(PoisonError::into_inner).clone());
        shown.unwrap_or_default()
    }

    /// Connects. The error is what an operator can do something about.
    pub async fn connect(&self, who: ClientAuth) -> Result<Connection, String> {
        let begin = monotonic_now();
        let port = self.url.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 });
        // A literal IPv6 address stands in brackets in a URL and without them everywhere else.
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, port))
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let connected = elapsed_since(begin);
        let Some(trust) = &self.tls else {
            let (sender, connection) =
                handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            return Ok(Connection { sender, driver, connected, tls: None });
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{host}` is not the name of a server"))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(trust) as Arc<dyn ServerCertVerifier>);
        let mut config = match self.own.as_ref().filter(|_| who == ClientAuth::Platform) {
            Some(own) => config.with_client_auth_cert(own.chain.clone(), own.key.clone_key()),
            None => Ok(config.with_no_client_auth()),
        }
        .map_err(|_| "the client's certificate and its key do not belong together".to_owned())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| {
                let error = error.to_string();
                if error.contains("InvalidContentType") {
                    "the server does not use TLS at this port; try the address with `http://`"
                        .to_owned()
                } else {
                    error
                }
            })?;
        let version = stream.get_ref().1.protocol_version().map(|version| format!("{version:?}"));
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, driver, connected, tls: version })
    }

    /// A request to this place.
    pub fn request(
        &self,
        method: Method,
        headers: &[(String, String)],
        body: Bytes,
    ) -> CliResult<Request<Full<Bytes>>> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority =
            self.url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header("host", authority);
        request = request.header("accept", "application/json");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // Without the value: it may be the secret.
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let unsendable = || {
            CliError::configuration(format!(
                "`{}` is not a valid name of a header",
                names.join(", ")
            ))
        };
        request.body(Full::new(body)).map_err(|_| unsendable())
    }
}

impl Connection {
    /// Sends a request and reads the answer whole.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let begin = monotonic_now();
        self.sender.ready().await.map_err(|_| BROKE.to_owned())?;
        let response: Response<Incoming> =
            self.sender.send_request(request).await.map_err(|_| BROKE.to_owned())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| BROKE.to_owned())?.to_bytes();
        Ok(Answer { status, body, took: elapsed_since(begin) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Identity {
    /// Reads a client's certificate, with its chain, and its key: PEM.
    pub fn read(certificate: &std::path::Path, key: &std::path::Path) -> CliResult<Self> {
        let none = |file: &std::path::Path, what| {
            CliError::configuration(format!("`{}` does not hold a {what}", file.display()))
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&files::read(certificate)?).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| none(certificate, "certificate"))?;
        let text = portcullis_keys::read_secret_file(key)?;
        let key =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| none(key, "private key"))?;
        Ok(Self { chain, key })
    }
}

impl Trust {
    fn new(ca: Option<&std::path::Path>) -> CliResult<Self> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(file) => {
                let text = files::read(file)?;
                let wrong = || {
                    CliError::configuration(format!(
                        "`{}` does not hold a certificate",
                        file.display()
                    ))
                };
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    roots.add(certificate.map_err(|_| wrong())?).map_err(|_| wrong())?;
                }
                if roots.is_empty() {
                    return Err(wrong());
                }
            }
            // One that cannot be read is none that can be believed.
            None => drop(
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
            ),
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|_| {
            CliError::configuration("this machine has no list of certificate authorities to trust")
                .hint(Some("name a file with some with `--ca`"))
        })?;
        Ok(Self { verifier, shown: Mutex::default() })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(own).chain(others).map(|it| it.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        self.verifier.verify_server_cert(own, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

const BROKE: &str = "the connection ended before the answer was complete";
/// The most that is read of an answer; every platform reads less.
const MAX_ANSWER_BYTES: usize = 1 << 20;
