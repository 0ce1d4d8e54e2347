//! One download of a version of a reference table.
//!
//! Invariant: redirects are not followed, what arrives is bounded by the declaration and by time,
//! and lies under a temporary name until it is whole. A credential goes to the origin that the
//! configuration names beside it and nowhere else. An error names whose fault it is and holds
//! nothing that was received or sent. Whether a version is used is not decided here.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use portcullis_files::create_exclusive;
use portcullis_store::tables::Declaration;
use thiserror::Error;
use tokio::time::timeout_at;

use crate::clock::monotonic_now;
use crate::config::tables::{TableAccess, origin};
use crate::net::outbound::{Outbound, OutboundError, failed, parse_url};

/// A download to be made.
pub struct Job {
    /// The declaration, with the address.
    pub declaration: Declaration,
    /// The place to which the version comes once it is whole.
    pub path: PathBuf,
    /// The settings for the table in the configuration.
    pub access: Option<TableAccess>,
    /// The client.
    pub client: Arc<Outbound>,
    /// The entity tag of the version that lies there.
    pub etag: Option<HeaderValue>,
}

/// The answer of a source.
pub struct Downloaded {
    /// The new version; `None` where the one that lies there is current.
    pub file: Option<NewFile>,
    /// The signature, where the table needs one.
    pub signature: Option<Vec<u8>>,
    /// The time from which the source says that its data are.
    pub modified: Option<Timestamp>,
}

/// A whole version under a temporary name; removed unless it is installed.
pub struct NewFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its entity tag.
    pub etag: Option<HeaderValue>,
    file: File,
    temporary: PathBuf,
}

/// Why a version could not be downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceProblem {
    /// The secret's file, or the address, is of no use.
    #[error("the host's configuration: {0}")]
    Configuration(String),
    /// The network, TLS or time.
    #[error("the source cannot be reached: {0}")]
    Unreachable(String),
    /// The source refuses the credential, or asks for one.
    #[error("the source refuses access with {0}")]
    Denied(u16),
    /// The source answers with another address.
    #[error("the source redirects with {0}, which the host does not follow")]
    Redirect(u16),
    /// The source answers with another status.
    #[error("the source answered {0}")]
    Status(u16),
    /// The source sends more than the declaration allows.
    #[error("the source sends more than {0} bytes")]
    TooLarge(u64),
    /// The host's own disk.
    #[error("the host's disk: {0}")]
    Disk(String),
}

impl Job {
    /// Makes the download.
    ///
    /// # Errors
    /// [`SourceProblem`]: nothing lies where it should not.
    pub async fn run(&self) -> Result<Downloaded, SourceProblem> {
        let source = self.declaration.source.as_ref();
        let url = source.and_then(|it| it.url.as_deref()).unwrap_or_default();
        let timeout = self.access.as_ref().map_or(DEFAULT_TIMEOUT_MS, |it| it.timeout_ms);
        let until = monotonic_now() + Duration::from_millis(timeout);
        let signature = match source.and_then(|it| it.signature_url.as_deref()) {
            Some(url) if self.declaration.signed => Some(self.signature(url, until).await?),
            _ => None,
        };
        let response = self.get(url, self.etag.as_ref(), until).await?;
        let modified = modified(response.headers());
        if response.status() == StatusCode::NOT_MODIFIED && self.etag.is_some() {
            return Ok(Downloaded { file: None, signature, modified });
        }
        expect_ok(response.status())?;
        let file = Some(self.receive(response, until).await?);
        Ok(Downloaded { file, signature, modified })
    }

    async fn signature(&self, url: &str, until: Instant) -> Result<Vec<u8>, SourceProblem> {
        let response = self.get(url, None, until).await?;
        expect_ok(response.status())?;
        let (mut bytes, mut body) = (Vec::new(), response.into_body());
        while let Some(piece) = next_piece(&mut body, until).await? {
            if bytes.len() + piece.len() > MAX_SIGNATURE_BYTES {
                return Err(SourceProblem::TooLarge(MAX_SIGNATURE_BYTES as u64));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn receive(
        &self,
        response: Response<Incoming>,
        until: Instant,
    ) -> Result<NewFile, SourceProblem> {
        let most = self.declaration.max_bytes;
        let etag = response.headers().get(ETAG).filter(|it| it.len() <= MAX_ETAG_BYTES).cloned();
        let mut receiver = Receiver::create(&self.path, most)?;
        let mut body = response.into_body();
        while let Some(piece) = next_piece(&mut body, until).await? {
            receiver.write(&piece)?;
        }
        let mut file = receiver.finish()?;
        file.etag = etag;
        Ok(file)
    }

    async fn get(
        &self,
        url: &str,
        etag: Option<&HeaderValue>,
        until: Instant,
    ) -> Result<Response<Incoming>, SourceProblem> {
        let place = parse_url(url)
            .map_err(|error| SourceProblem::Configuration(format!("`{url}`: {error}")))?;
        let mut request = Request::get(place.clone()).header(USER_AGENT, CLIENT_NAME);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some((name, value)) = self.credential(&place)? {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::new());
        let request = request
            .map_err(|_| SourceProblem::Configuration(format!("`{url}` cannot be requested")))?;
        self.client.send_streaming(request, until).await.map_err(unreachable)
    }

    /// Reads the credential, where this address may have it.
    fn credential(
        &self,
        place: &Uri,
    ) -> Result<Option<(hyper::header::HeaderName, HeaderValue)>, SourceProblem> {
        let Some(access) = &self.access else { return Ok(None) };
        let Some((name, file)) = &access.credential else { return Ok(None) };
        let (ours, its) = (access.origin.clone().unwrap_or_default(), origin(place));
        if its.as_deref() != Some(ours.as_str()) {
            let its = its.unwrap_or_default();
            return Err(SourceProblem::Configuration(format!(
                "the release set names a source at {its}, and the secret is for {ours} only"
            )));
        }
        let wrong = |why: String| {
            SourceProblem::Configuration(format!("the secret `{}`: {why}", file.display()))
        };
        let lines =
            portcullis_keys::read_secret_lines(file).map_err(|error| wrong(error.to_string()))?;
        let value = HeaderValue::from_str(lines.first().unwrap_or_default());
        let mut value = value.map_err(|_| wrong("it cannot be sent in a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some((name.clone(), value)))
    }
}

/// A version that arrives, under a temporary name.
pub struct Receiver {
    new: NewFile,
    most: u64,
}

impl Receiver {
    /// Creates the temporary file beside the place of the version.
    ///
    /// # Errors
    /// [`SourceProblem::Disk`].
    pub fn create(path: &Path, most: u64) -> Result<Self, SourceProblem> {
        if let Some(folder) = path.parent() {
            portcullis_files::create_private_folder(folder).map_err(|error| disk(&error))?;
        }
        let (file, temporary) = create_exclusive(path, 0o600).map_err(|error| disk(&error))?;
        Ok(Self { new: NewFile { bytes: 0, etag: None, file, temporary }, most })
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// [`SourceProblem::TooLarge`], or the disk.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), SourceProblem> {
        let bytes = self.new.bytes.saturating_add(piece.len() as u64);
        if bytes > self.most {
            return Err(SourceProblem::TooLarge(self.most));
        }
        self.new.bytes = bytes;
        self.new.file.write_all(piece).map_err(|error| disk(&error))
    }

    /// Returns the whole version, which is on the disk by now.
    ///
    /// # Errors
    /// [`SourceProblem::Disk`].
    pub fn finish(self) -> Result<NewFile, SourceProblem> {
        self.new.file.sync_all().map_err(|error| disk(&error))?;
        Ok(self.new)
    }
}

impl NewFile {
    /// Puts the version in the place of the one before, with the time of its data.
    ///
    /// # Errors
    /// [`SourceProblem::Disk`].
    pub fn install(self, path: &Path, data_at: SystemTime) -> Result<(), SourceProblem> {
        let timed = self.file.set_modified(data_at);
        timed.and_then(|()| std::fs::rename(&self.temporary, path)).map_err(|error| disk(&error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Installed, it is not there any more.
        drop(std::fs::remove_file(&self.temporary));
    }
}

impl SourceProblem {
    /// Returns the stable code in the log and `/ready`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Configuration(_) => "table-source-configuration",
            Self::Unreachable(_) => "table-source-unreachable",
            Self::Denied(_) => "table-source-denied",
            Self::Redirect(_) => "table-source-redirect",
            Self::Status(_) => "table-source-status",
            Self::TooLarge(_) => "table-source-too-large",
            Self::Disk(_) => "table-source-disk",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Configuration(_) => {
                "correct [tables.NAME] of the table, or the address in the set"
            }
            Self::Unreachable(_) => {
                "check the source's server, its certificate, and the network between; the host tries \
                 again"
            }
            Self::Denied(_) => "check the secret of [tables.NAME], and its rights at the source",
            Self::Redirect(_) => "name the final address in the declaration of the table",
            Self::Status(_) => "check the address in the declaration, and the source's server",
            Self::TooLarge(_) => {
                "check the export; raise `max_bytes` in the declaration if it is right"
            }
            Self::Disk(_) => "check the disk of trust.state",
        }
    }
}

/// Returns the next piece of a body.
async fn next_piece(body: &mut Incoming, until: Instant) -> Result<Option<Bytes>, SourceProblem> {
    loop {
        let frame = timeout_at(until.into(), body.frame())
            .await
            .map_err(|_| unreachable(OutboundError::Late))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(unreachable(failed(&error))),
            // Trailers are passed over.
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

fn expect_ok(status: StatusCode) -> Result<(), SourceProblem> {
    match status.as_u16() {
        200 => Ok(()),
        status @ (401 | 403 | 407) => Err(SourceProblem::Denied(status)),
        status @ (301 | 302 | 303 | 307 | 308) => Err(SourceProblem::Redirect(status)),
        status => Err(SourceProblem::Status(status)),
    }
}

/// The time of `Last-Modified` (RFC 9110 section 8.8.2).
fn modified(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(LAST_MODIFIED)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

fn unreachable(error: OutboundError) -> SourceProblem {
    match error {
        OutboundError::Address(why) => SourceProblem::Configuration(why.to_owned()),
        other => SourceProblem::Unreachable(other.to_string()),
    }
}

fn disk(error: &io::Error) -> SourceProblem {
    SourceProblem::Disk(error.to_string())
}

/// The user agent.
const CLIENT_NAME: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// Time for a download where the configuration says nothing of the table, milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// The largest signature that is read.
const MAX_SIGNATURE_BYTES: usize = 16 << 10;
/// The longest entity tag that is kept; with a longer one each download is whole.
const MAX_ETAG_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_bounded_and_left_behind_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received/roster");
        let count = || std::fs::read_dir(folder.path().join("received")).unwrap().count();
        let mut receiver = Receiver::create(&path, 5).unwrap();
        receiver.write(b"1234").unwrap();
        assert_eq!(receiver.write(b"56"), Err(SourceProblem::TooLarge(5)));
        drop(receiver);
        assert_eq!(count(), 0);

        let mut receiver = Receiver::create(&path, 5).unwrap();
        receiver.write(b"12345").unwrap();
        let data_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        receiver.finish().unwrap().install(&path, data_at).unwrap();
        assert_eq!(count(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), data_at);
    }
}
