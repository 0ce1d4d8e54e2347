//! A release as one index: everything that a host needs to start, reachable from one tag.
//!
//! The index lists the release's own documents (one manifest: the release set, settings, trust roots, a downgrade), every plugin's component
//! and every plugin's signed manifest, each by digest. So a registry's own tools copy, replicate and keep a release whole.
//!
//! Invariant: exactly one set of documents; bounded counts. Which of it is used is said by the signed set alone.

use portcullis_model::Digest;

use crate::manifest::{
    DSSE, Descriptor, EMPTY, EMPTY_CONFIG, Image, Index, ManifestError, VERSION,
};
use crate::plugin::{MANIFEST_ARTIFACT, WASM_CONFIG};

/// A release's index, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The manifest of its documents.
    pub documents: Descriptor,
    /// The manifests of components.
    pub components: Vec<Descriptor>,
    /// The manifests of what was signed for them.
    pub manifests: Vec<Descriptor>,
}

/// What the manifest of a release's documents lists, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// Signed documents: which is which, each says itself.
    pub envelopes: Vec<Descriptor>,
    /// Settings.
    pub settings: Vec<Descriptor>,
}

impl Release {
    /// The index of a release of this version.
    pub fn to_index(&self, version: u64) -> Index {
        let mut manifests = vec![self.documents.clone()];
        manifests.extend(self.components.iter().chain(&self.manifests).cloned());
        let mut index = Index::new(Some(RELEASE_ARTIFACT), manifests);
        index.annotations.insert(VERSION.to_owned(), version.to_string());
        index
    }

    /// Sorts an index. What is of no type that a release has is passed over.
    pub fn of(index: &Index) -> Result<Self, ManifestError> {
        // An index without the type is no error: some registries' tools write it anew and leave that out.
        if index.artifact_type.as_deref().is_some_and(|it| it != RELEASE_ARTIFACT) {
            return Err(ManifestError("it is not a release".to_owned()));
        }
        let of_type = |wanted: &str| {
            let fits = |it: &&Descriptor| {
                it.media_type == Image::MEDIA_TYPE && it.artifact_type.as_deref() == Some(wanted)
            };
            index.manifests.iter().filter(fits).cloned().collect::<Vec<_>>()
        };
        let documents = of_type(RELEASE_DOCUMENTS);
        let [documents] = documents.as_slice() else {
            return Err(ManifestError(format!(
                "it lists {} sets of a release's documents, not one",
                documents.len()
            )));
        };
        let (components, manifests) = (of_type(WASM_CONFIG), of_type(MANIFEST_ARTIFACT));
        if components.len().max(manifests.len()) > MAX_PLUGINS {
            return Err(ManifestError(format!("it lists more than {MAX_PLUGINS} plugins")));
        }
        Ok(Self { documents: documents.clone(), components, manifests })
    }

    /// The component's manifest of this digest.
    pub fn component(&self, digest: Digest) -> Option<&Descriptor> {
        self.components.iter().find(|listed| listed.digest == digest)
    }
}

impl Documents {
    /// The manifest of these documents.
    pub fn to_image(&self) -> Image {
        let layers = self.envelopes.iter().chain(&self.settings).cloned().collect();
        Image::new(Some(RELEASE_DOCUMENTS), Descriptor::of(EMPTY_CONFIG, EMPTY), layers)
    }

    /// Sorts a manifest's layers. What is of no type that a release has is passed over.
    pub fn of(image: &Image) -> Result<Self, ManifestError> {
        if image.artifact_type.as_deref() != Some(RELEASE_DOCUMENTS) {
            return Err(ManifestError(
                "the release's documents are of another type than its index says".to_owned(),
            ));
        }
        let of_type = |wanted: &str| {
            image.layers.iter().filter(|it| it.media_type == wanted).cloned().collect::<Vec<_>>()
        };
        let (envelopes, settings) = (of_type(DSSE), of_type(SETTINGS));
        if envelopes.len() > MAX_ENVELOPES || settings.len() > MAX_PLUGINS {
            return Err(ManifestError("the release has too many documents".to_owned()));
        }
        Ok(Self { envelopes, settings })
    }
}

/// The artifact type of a release.
pub const RELEASE_ARTIFACT: &str = "application/vnd.portcullis.release.v1";
/// The artifact type of a release's documents.
pub const RELEASE_DOCUMENTS: &str = "application/vnd.portcullis.release-documents.v1";
/// The media type of a plugin's settings.
pub const SETTINGS: &str = "application/vnd.portcullis.settings.v1+json";
/// The most plugins, and the most settings, of one release: above what a release set can bind.
pub const MAX_PLUGINS: usize = 64;
/// The most signed documents beside the plugins' manifests: the set, a downgrade, and trust roots.
pub const MAX_ENVELOPES: usize = 66;
