//! TLS as a platform speaks it: throw-away authorities and certificates, and callers over HTTP/1.1 and HTTP/2 by `rustls` and `hyper`.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use crate::client::read;
use crate::{Answer, Raw};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What a caller over TLS offers and believes.
#[derive(Clone)]
pub struct Trust {
    config: ClientConfig,
}

/// A caller over TLS and HTTP/1.1: one connection.
pub struct Secure {
    stream: StreamOwned<ClientConnection, TcpStream>,
    address: String,
}

#[expect(clippy::unwrap_used, reason = "a certificate that cannot be made is a failed test")]
impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for `127.0.0.1`.
    pub fn server(&self) -> Pair {
        self.issue(
            vec![SanType::IpAddress("127.0.0.1".parse().unwrap())],
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// The same, but its time is over.
    pub fn server_of_yesterday(&self) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client's certificate with these names.
    pub fn client(&self, dns: &str, uri: &str) -> Pair {
        let names =
            vec![SanType::DnsName(dns.try_into().unwrap()), SanType::URI(uri.try_into().unwrap())];
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::unwrap_used, reason = "a caller that cannot be made is a failed test")]
impl Trust {
    /// Believes these authorities, and shows a certificate if it has one.
    pub fn new(authorities: &[&Authority], own: Option<&Pair>) -> Self {
        Self::with(rustls::ALL_VERSIONS, authorities, own)
    }

    /// The same, in these versions of TLS alone.
    pub fn with(
        versions: &[&'static SupportedProtocolVersion],
        authorities: &[&Authority],
        own: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            Some(pair) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Self { config }
    }

    /// A connection for HTTP/1.1.
    pub fn connect(&self, address: &str) -> std::io::Result<Secure> {
        self.secure(TcpStream::connect(address)?, address)
    }

    fn secure(&self, socket: TcpStream, address: &str) -> std::io::Result<Secure> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::new(self.config.clone()), name)
            .map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Secure { stream, address: address.to_owned() })
    }

    /// A connection of a client that is this far away: it waits so long before TLS, and before its
    /// first request.
    pub fn connect_from_afar(
        &self,
        address: &str,
        round_trip: Duration,
    ) -> std::io::Result<Secure> {
        let socket = TcpStream::connect(address)?;
        std::thread::sleep(round_trip);
        let secure = self.secure(socket, address)?;
        std::thread::sleep(round_trip);
        Ok(secure)
    }

    /// Sends requests at once on one connection, over HTTP/2.
    pub fn send_2(&self, address: &str, requests: &[Raw]) -> Vec<Answer> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        on_a_runtime(async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(name, socket)
                .await
                .unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 is chosen");
            exchange_2(stream, "https", address, requests).await
        })
    }
}

/// Sends requests at once on one connection, over HTTP/2 without TLS, not having asked whether that is spoken.
#[expect(clippy::unwrap_used, reason = "an answer that does not come is a failed test")]
pub fn send_2_plain(address: &str, requests: &[Raw]) -> Vec<Answer> {
    on_a_runtime(async {
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        exchange_2(socket, "http", address, requests).await
    })
}

#[expect(clippy::unwrap_used, reason = "an answer that does not come is a failed test")]
async fn exchange_2<S>(stream: S, scheme: &str, address: &str, requests: &[Raw]) -> Vec<Answer>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut calls = Vec::new();
    for raw in requests {
        let mut request = Request::post(format!("{scheme}://{address}{}", raw.path));
        for (name, value) in &raw.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(raw.body.clone()))).unwrap();
        let mut sender = sender.clone();
        calls.push(tokio::spawn(async move {
            sender.ready().await.unwrap();
            let answer: Response<_> = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let mut head = format!("HTTP/2 {status}\n");
            for (name, value) in answer.headers() {
                head.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or_default()));
            }
            let body = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
            Answer { status, json: serde_json::from_slice(&body).unwrap_or_default(), body, head }
        }));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    drop(sender);
    // It ends by itself once nobody can ask any more; how is its own affair.
    drop(tokio::time::timeout(PATIENCE, connection).await);
    answers
}

#[expect(clippy::unwrap_used, reason = "a runtime that cannot be made is a failed test")]
fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl Secure {
    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Raw) -> std::io::Result<Answer> {
        std::io::Write::write_all(&mut self.stream, &request.bytes(&self.address))?;
        read(&mut self.stream).map(|(answer, _)| answer)
    }

    /// Whether its handshake took up an earlier session.
    pub fn resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
