//! Image manifests and indexes, and the descriptors in them.
//!
//! Invariant: what is read is one document with one meaning: strict JSON, `schemaVersion` 2, the media type it was asked for, and not a manifest
//! and an index at once. Members that this version does not know are passed over, since others may write them.

use std::collections::BTreeMap;

use portcullis_model::{Digest, Document, sha256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What names some bytes: by type, digest and size (Image Format 1.1, *Content Descriptors*).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
    /// What artifact it is, where it is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// For people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image manifest: a configuration and layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    /// What artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// The manifest that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// For people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index: a list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    /// What artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// For people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A document of a registry is of no use.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ManifestError(pub String);

/// One annotation: how a file is called.
pub fn named(title: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(TITLE.to_owned(), title.to_owned())])
}

impl Descriptor {
    /// Names these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let media_type = media_type.to_owned();
        Self {
            media_type,
            digest: sha256(bytes),
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The same, under this name.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        self.annotations = named(title);
        self
    }
}

impl Image {
    /// Its media type.
    pub const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

    /// A manifest of these.
    pub fn new(artifact_type: Option<&str>, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Self::MEDIA_TYPE.to_owned(),
            artifact_type: artifact_type.map(str::to_owned),
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let image: Self = strict(bytes, "manifests")?;
        check(image.schema_version, &image.media_type, Self::MEDIA_TYPE, image.layers.len())?;
        Ok(image)
    }

    /// Its bytes: the same content, the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        written(self)
    }

    /// What artifact it is: what it says, else what its configuration is.
    pub fn artifact(&self) -> &str {
        self.artifact_type.as_deref().unwrap_or(&self.config.media_type)
    }

    /// How an index lists it, by its bytes.
    pub fn descriptor(&self, bytes: &[u8]) -> Descriptor {
        Descriptor {
            artifact_type: Some(self.artifact().to_owned()),
            ..Descriptor::of(Self::MEDIA_TYPE, bytes)
        }
    }
}

impl Index {
    /// Its media type.
    pub const MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

    /// An index of these.
    pub fn new(artifact_type: Option<&str>, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Self::MEDIA_TYPE.to_owned(),
            artifact_type: artifact_type.map(str::to_owned),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let index: Self = strict(bytes, "layers")?;
        check(index.schema_version, &index.media_type, Self::MEDIA_TYPE, index.manifests.len())?;
        Ok(index)
    }

    /// Its bytes: the same content, the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        written(self)
    }

    /// Lists a manifest, in the place of one of the same digest.
    pub fn put(&mut self, manifest: Descriptor) {
        self.manifests.retain(|listed| listed.digest != manifest.digest);
        self.manifests.push(manifest);
    }

    /// Whether it lists this.
    pub fn lists(&self, digest: Digest) -> bool {
        self.manifests.iter().any(|listed| listed.digest == digest)
    }
}

/// Reads strict JSON that does not have the member which would make it something else.
pub(crate) fn strict<T: DeserializeOwned>(bytes: &[u8], alien: &str) -> Result<T, ManifestError> {
    if bytes.len() > MAX_BYTES {
        return Err(ManifestError(format!(
            "it has {} bytes; at most {MAX_BYTES} are read",
            bytes.len()
        )));
    }
    let document = Document::parse(bytes).map_err(|error| {
        ManifestError(format!("{} at byte {}", error.cause.code().replace('-', " "), error.at))
    })?;
    if document.root().get(alien).is_some() {
        return Err(ManifestError(format!(
            "it has the member `{alien}` of another type of document"
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        ManifestError(format!("it does not have the form of its type, at {place}"))
    })
}

fn check(version: u8, media_type: &str, wanted: &str, entries: usize) -> Result<(), ManifestError> {
    if version != 2 {
        return Err(ManifestError(format!("its schemaVersion is {version}, not 2")));
    }
    // Left out by some; where it is there it says what was asked for.
    if !media_type.is_empty() && media_type != wanted {
        return Err(ManifestError(format!("its mediaType is not `{wanted}`")));
    }
    if entries > MAX_ENTRIES {
        return Err(ManifestError(format!(
            "it lists {entries} entries; at most {MAX_ENTRIES} are read"
        )));
    }
    Ok(())
}

/// Text and numbers only: writing them cannot fail.
pub(crate) fn written<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The annotation that says how a file is called.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation that says which version something is.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The media type of a signed document (DSSE 1.0.2, *envelope.md*).
pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// The media type of the configuration of what has none (Image Format 1.1, *Guidance for an Empty Descriptor*).
pub const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub const EMPTY: &[u8] = b"{}";
/// The largest manifest or index that is read: 1 MiB. Registries take 4 MiB at the least.
pub const MAX_BYTES: usize = 1 << 20;
/// The most entries of a manifest or index.
pub const MAX_ENTRIES: usize = 512;
