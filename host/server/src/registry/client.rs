//! The client: manifests and blobs, to and from one registry after the other.
//!
//! Invariant: every answer is bounded in size and time; what is asked for by digest is that, or an error, and a blob's last byte is not given
//! on before it is held against size and digest; redirects are followed for reading only, a few times, never from TLS to plain HTTP, and
//! without what proves us. Writes nothing to disk and retries nothing.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use portcullis_model::{Digest, Document, sha256};
use portcullis_registry::{
    Descriptor, ImageRef, Index, MAX_BYTES, ManifestError, Repository, TagOrDigest, referrers_tag,
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout_at;

use super::auth::{CredentialCache, Purpose};
use super::error::RegistryError;
use crate::clock::monotonic_now;
use crate::config::registry::Access;
use crate::error::StartError;
use crate::net::outbound::{Outbound, OutboundConfig, OutboundError, failed};

/// A client.
pub struct Client {
    outbound: Outbound,
    access: Access,
    credentials: CredentialCache,
}

/// One request, as often as it is made.
struct Call<'a> {
    repository: &'a Repository,
    purpose: Purpose,
    method: Method,
    headers: Vec<(hyper::header::HeaderName, String)>,
    body: Bytes,
    /// The subject of the call, for errors.
    place: String,
}

impl Client {
    /// Readies it; calls nobody.
    pub fn new(access: Access) -> Result<Self, StartError> {
        let outbound =
            Outbound::new(&OutboundConfig { ca_file: access.ca_file.clone(), cache: None })?;
        let outbound =
            if access.allow_remote_plaintext { outbound.plain_http_anywhere() } else { outbound };
        Ok(Self { outbound, access, credentials: CredentialCache::default() })
    }

    /// A manifest or index of this type, by tag or digest.
    pub async fn manifest(
        &self,
        reference: &ImageRef,
        media_type: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let place = reference.to_string();
        let until = self.until();
        let call = Call {
            headers: vec![(ACCEPT, media_type.to_owned())],
            ..self.call(&reference.repository, Purpose::Pull, Method::GET, place.clone())
        };
        let url = self.url(&reference.repository, &format!("manifests/{}", reference.target));
        let answer = self.read(&call, url, until).await?;
        let malformed = |why: &str| RegistryError::Malformed {
            place: place.clone(),
            why: ManifestError(why.to_owned()),
        };
        let said = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if said.split(';').next().map(str::trim) != Some(media_type) {
            return Err(malformed(&format!("it is not of the type `{media_type}`")));
        }
        let told = answer
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = read_body(answer, MAX_BYTES, &place, until).await?;
        let is = sha256(&bytes);
        let wanted = match reference.target {
            TagOrDigest::Digest(digest) => Some(digest),
            // Believed only where it says that something is wrong.
            TagOrDigest::Tag(_) => told,
        };
        if wanted.is_some_and(|wanted| wanted != is) {
            return Err(RegistryError::WrongDigest { place, is });
        }
        Ok(bytes)
    }

    /// A manifest that something else has named.
    pub async fn fetch_manifest(
        &self,
        repository: &Repository,
        it: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let reference =
            ImageRef { repository: repository.clone(), target: TagOrDigest::Digest(it.digest) };
        let bytes = self.manifest(&reference, &it.media_type).await?;
        if u64::try_from(bytes.len()) != Ok(it.size) {
            let is = bytes.len().to_string();
            return Err(RegistryError::WrongSize {
                place: reference.to_string(),
                is,
                wanted: it.size,
            });
        }
        Ok(bytes)
    }

    /// A blob, piece by piece, held against its size and digest: only `Ok` says that the pieces were it.
    pub async fn blob(
        &self,
        repository: &Repository,
        it: &Descriptor,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), RegistryError> {
        let place = format!("{repository}@{}", it.digest);
        let until = self.until();
        let call = self.call(repository, Purpose::Pull, Method::GET, place.clone());
        let answer =
            self.read(&call, self.url(repository, &format!("blobs/{}", it.digest)), until).await?;
        let wrong_size = |is: &str| RegistryError::WrongSize {
            place: place.clone(),
            is: is.to_owned(),
            wanted: it.size,
        };
        let told = answer
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if told.is_some_and(|told: u64| told != it.size) {
            return Err(wrong_size(&told.unwrap_or_default().to_string()));
        }
        let (mut hash, mut left, mut body) = (Sha256::new(), it.size, answer.into_body());
        while let Some(piece) = next_chunk(&mut body, &place, until).await? {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(length).ok_or_else(|| wrong_size("more"))?;
            hash.update(&piece);
            let written = sink(&piece);
            written.map_err(|error| outbound(&place, OutboundError::Failed(error.to_string())))?;
        }
        if left > 0 {
            return Err(wrong_size("fewer"));
        }
        let is = Digest(hash.finalize().into());
        if is == it.digest { Ok(()) } else { Err(RegistryError::WrongDigest { place, is }) }
    }

    /// A small blob, whole.
    pub async fn small_blob(
        &self,
        repository: &Repository,
        it: &Descriptor,
        most: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        if usize::try_from(it.size).is_ok_and(|size| size <= most) {
            let mut bytes = Vec::new();
            self.blob(repository, it, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .await?;
            return Ok(bytes);
        }
        let (place, is) = (format!("{repository}@{}", it.digest), it.size.to_string());
        let why =
            ManifestError(format!("its descriptor has {is} bytes; the host reads at most {most}"));
        Err(RegistryError::Malformed { place, why })
    }

    /// What refers to a manifest: by the referrers API where the registry has it, else by the tag schema; nothing is an empty index.
    pub async fn referrers(
        &self,
        repository: &Repository,
        to: Digest,
    ) -> Result<Index, RegistryError> {
        let place = format!("{repository}: referrers of {to}");
        let until = self.until();
        let call = Call {
            headers: vec![(ACCEPT, Index::MEDIA_TYPE.to_owned())],
            ..self.call(repository, Purpose::Pull, Method::GET, place.clone())
        };
        match self.read(&call, self.url(repository, &format!("referrers/{to}")), until).await {
            Ok(answer) => {
                let bytes = read_body(answer, MAX_BYTES, &place, until).await?;
                return Index::parse(&bytes).map_err(|why| RegistryError::Malformed { place, why });
            }
            Err(RegistryError::NotFound { .. } | RegistryError::Status { .. }) => {}
            Err(error) => return Err(error),
        }
        self.tagged_referrers(repository, to).await
    }

    /// The index of the tag schema.
    async fn tagged_referrers(
        &self,
        repository: &Repository,
        to: Digest,
    ) -> Result<Index, RegistryError> {
        let tag = ImageRef {
            repository: repository.clone(),
            target: TagOrDigest::Tag(referrers_tag(to)),
        };
        match self.manifest(&tag, Index::MEDIA_TYPE).await {
            Ok(bytes) => Index::parse(&bytes)
                .map_err(|why| RegistryError::Malformed { place: tag.to_string(), why }),
            Err(RegistryError::NotFound { .. }) => Ok(Index::new(None, Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Lists what refers to a manifest by the tag schema. Somebody else may write the same index at the same time: it is looked at afterwards, and
    /// written again where ours is gone.
    pub async fn add_referrer(
        &self,
        repository: &Repository,
        to: Digest,
        it: &Descriptor,
    ) -> Result<(), RegistryError> {
        for _ in 0..MAX_INDEX_ATTEMPTS {
            let mut index = self.tagged_referrers(repository, to).await?;
            if index.lists(it.digest) {
                return Ok(());
            }
            index.put(it.clone());
            let tag = ImageRef {
                repository: repository.clone(),
                target: TagOrDigest::Tag(referrers_tag(to)),
            };
            self.push_manifest(&tag, Index::MEDIA_TYPE, index.to_bytes().into()).await?;
        }
        let place = format!("{repository}: referrers of {to}");
        Err(RegistryError::Denied { place, why: "what is written there does not stay".to_owned() })
    }

    /// Puts a blob there, unless it is.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        it: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let place = format!("{repository}@{}", it.digest);
        let until = self.until();
        let head = self.call(repository, Purpose::Push, Method::HEAD, place.clone());
        let url = self.url(repository, &format!("blobs/{}", it.digest));
        if self.send(&head, &url, true, until).await?.status() == 200 {
            return Ok(());
        }
        let begin = self.call(repository, Purpose::Push, Method::POST, place.clone());
        let url = self.url(repository, "blobs/uploads/");
        let answer = self.send(&begin, &url, true, until).await?;
        if answer.status() != 202 {
            return Err(error_response(answer, &place, until).await);
        }
        let elsewhere = |why| RegistryError::Redirect { place: place.clone(), why };
        let to = target(&url, &answer).ok_or_else(|| elsewhere("no address"))?;
        if origin(&to) != origin(&url) {
            return Err(elsewhere(
                "another host for the upload, which would receive the credentials",
            ));
        }
        let mark = if to.contains('?') { '&' } else { '?' };
        let to = format!("{to}{mark}digest={}", it.digest);
        let put = Call {
            headers: vec![(CONTENT_TYPE, "application/octet-stream".to_owned())],
            body: bytes,
            ..self.call(repository, Purpose::Push, Method::PUT, place.clone())
        };
        let until = self.until();
        let answer = self.send(&put, &to, true, until).await?;
        if answer.status() == 201 {
            Ok(())
        } else {
            Err(error_response(answer, &place, until).await)
        }
    }

    /// Puts a manifest there, under a tag or its digest. What it lists must be there already.
    pub async fn push_manifest(
        &self,
        to: &ImageRef,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let place = to.to_string();
        let until = self.until();
        let put = Call {
            headers: vec![(CONTENT_TYPE, media_type.to_owned())],
            body: bytes,
            ..self.call(&to.repository, Purpose::Push, Method::PUT, place.clone())
        };
        let url = self.url(&to.repository, &format!("manifests/{}", to.target));
        let answer = self.send(&put, &url, true, until).await?;
        if answer.status() == 201 {
            Ok(())
        } else {
            Err(error_response(answer, &place, until).await)
        }
    }

    fn call<'a>(
        &self,
        repository: &'a Repository,
        purpose: Purpose,
        method: Method,
        place: String,
    ) -> Call<'a> {
        Call { repository, purpose, method, headers: Vec::new(), body: Bytes::new(), place }
    }

    fn url(&self, repository: &Repository, rest: &str) -> String {
        let scheme = if self.access.plain_http { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{rest}", repository.host, repository.name)
    }

    fn until(&self) -> Instant {
        monotonic_now() + self.access.timeout
    }

    /// Reads something: follows redirects, and gives an answer of 200 alone.
    async fn read(
        &self,
        call: &Call<'_>,
        mut url: String,
        until: Instant,
    ) -> Result<Response<Incoming>, RegistryError> {
        let own = origin(&url);
        let elsewhere = |why| RegistryError::Redirect { place: call.place.clone(), why };
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(call, &url, origin(&url) == own, until).await?;
            match answer.status().as_u16() {
                200 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => {
                    let next = target(&url, &answer)
                        .ok_or_else(|| elsewhere("an address that cannot be called"))?;
                    if url.starts_with("https:") && !next.starts_with("https:") {
                        return Err(elsewhere("plain HTTP"));
                    }
                    url = next;
                }
                _ => return Err(error_response(answer, &call.place, until).await),
            }
        }
        Err(elsewhere("one address after another"))
    }

    /// Sends a request, and once more with what it is asked for.
    async fn send(
        &self,
        call: &Call<'_>,
        url: &str,
        own: bool,
        until: Instant,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut has_answered = false;
        loop {
            let mut request = Request::builder()
                .method(call.method.clone())
                .uri(url)
                .header(USER_AGENT, CLIENT_NAME);
            for (name, value) in &call.headers {
                request = request.header(name, value);
            }
            let proof =
                own.then(|| self.credentials.header(call.repository, call.purpose)).flatten();
            if let Some(proof) = proof {
                request = request.header(AUTHORIZATION, proof);
            }
            let request = request.body(call.body.clone());
            let request = request.map_err(|_| {
                outbound(&call.place, OutboundError::Address("its address is invalid"))
            })?;
            let answer = self
                .outbound
                .send_streaming(request, until)
                .await
                .map_err(|cause| outbound(&call.place, cause))?;
            if answer.status() != 401 || !own {
                return Ok(answer);
            }
            if has_answered {
                let why = "the registry refused the credentials".to_owned();
                return Err(RegistryError::Denied { place: call.place.clone(), why });
            }
            has_answered = true;
            let whom = (call.repository, call.purpose);
            self.credentials
                .answer_challenge((&self.outbound, &self.access), whom, answer.headers(), until)
                .await?;
        }
    }
}

/// Returns the target of a redirect as an absolute address.
fn target(from: &str, answer: &Response<Incoming>) -> Option<String> {
    let location = answer
        .headers()
        .get(LOCATION)?
        .to_str()
        .ok()
        .filter(|it| it.len() <= MAX_LOCATION_BYTES)?;
    let place = if location.starts_with("//") {
        return None;
    } else if location.starts_with('/') {
        format!("{}{location}", origin(from)?)
    } else {
        location.to_owned()
    };
    let uri: Uri = place.parse().ok()?;
    let authority = uri.authority()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && !authority.as_str().contains('@'))
        .then(|| place.split('#').next().unwrap_or_default().to_owned())
}

/// Scheme and authority.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?.as_str().to_ascii_lowercase()))
}

/// Returns the error of an answer that is not a success.
async fn error_response(answer: Response<Incoming>, place: &str, until: Instant) -> RegistryError {
    let (place, status) = (place.to_owned(), answer.status().as_u16());
    match status {
        404 => RegistryError::NotFound { place },
        401 | 403 => RegistryError::Denied {
            place,
            why: format!("the registry answered {status}: the account has no permission for this"),
        },
        _ => {
            let body = read_body(answer, MAX_ERROR_BYTES, &place, until).await.unwrap_or_default();
            let code = error_code(&body).map(|code| format!(" {code}")).unwrap_or_default();
            RegistryError::Status { place, status, code }
        }
    }
}

/// The first error code of a registry's answer (Distribution 1.1, *Error Codes*).
fn error_code(body: &[u8]) -> Option<String> {
    let document = Document::parse(body).ok()?;
    let code = document.root().get("errors")?.index(0)?.get("code")?.as_str()?;
    let plain = (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    plain.then(|| code.into_owned())
}

/// An answer's body, up to a limit.
async fn read_body(
    answer: Response<Incoming>,
    most: usize,
    place: &str,
    until: Instant,
) -> Result<Vec<u8>, RegistryError> {
    let (mut bytes, mut body) = (Vec::new(), answer.into_body());
    while let Some(piece) = next_chunk(&mut body, place, until).await? {
        if bytes.len() + piece.len() > most {
            return Err(outbound(place, OutboundError::TooLong));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The next piece of a body.
async fn next_chunk(
    body: &mut Incoming,
    place: &str,
    until: Instant,
) -> Result<Option<Bytes>, RegistryError> {
    loop {
        let frame = timeout_at(until.into(), body.frame())
            .await
            .map_err(|_| outbound(place, OutboundError::Late))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(outbound(place, failed(&error))),
            // Trailers are passed over.
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

fn outbound(place: &str, cause: OutboundError) -> RegistryError {
    RegistryError::Outbound { place: place.to_owned(), cause }
}

/// The user agent.
const CLIENT_NAME: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// Redirects of one request that are followed.
const MAX_REDIRECTS: usize = 3;
/// The longest address that a registry may send us to; storage services sign theirs.
const MAX_LOCATION_BYTES: usize = 8_192;
/// How often an index of the tag schema is written before that is given up.
const MAX_INDEX_ATTEMPTS: usize = 4;
/// How much of an answer that is no success is read.
const MAX_ERROR_BYTES: usize = 16 << 10;
