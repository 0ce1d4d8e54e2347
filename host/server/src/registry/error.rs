//! Errors of pulling and pushing.
//!
//! Invariant: no secret and no text of a registry's own stands in an error, beyond its bounded codes; each says who is to blame.

use std::path::PathBuf;

use portcullis_model::Digest;
use portcullis_registry::ManifestError;
use portcullis_trust::Refusal;
use thiserror::Error;

use crate::loading::ReleaseError;
use crate::net::outbound::OutboundError;

/// A request to a registry failed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The request failed.
    #[error("{place}: {cause}")]
    Outbound {
        /// The address that was requested.
        place: String,
        /// Why.
        cause: OutboundError,
    },
    /// It answered with a status of failure.
    #[error("{place}: the registry answered {status}{code}")]
    Status {
        /// The address that was requested.
        place: String,
        /// HTTP status.
        status: u16,
        /// Its error code, with a space before it; or nothing.
        code: String,
    },
    /// It does not have it.
    #[error("{place}: the registry does not have it")]
    NotFound {
        /// The address that was requested.
        place: String,
    },
    /// It does not accept the credentials, or none are configured.
    #[error("{place}: {why}")]
    Denied {
        /// The address that was requested.
        place: String,
        /// Why.
        why: String,
    },
    /// The password's file cannot be used.
    #[error("`{}`: {why}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The answer is not a document of the requested type.
    #[error("{place}: {why}")]
    Malformed {
        /// The address that was requested.
        place: String,
        /// The problem with it.
        why: ManifestError,
    },
    /// The answer has another digest.
    #[error("{place}: it has the digest {is}")]
    WrongDigest {
        /// The address that was requested.
        place: String,
        /// Its digest.
        is: Digest,
    },
    /// The answer has another size.
    #[error("{place}: it has {is}, not {wanted} bytes")]
    WrongSize {
        /// The address that was requested.
        place: String,
        /// `fewer`, `more`, or how many.
        is: String,
        /// Its size as it is listed.
        wanted: u64,
    },
    /// It redirects to an address that the host does not call.
    #[error("{place}: the registry redirects to {why}")]
    Redirect {
        /// The address that was requested.
        place: String,
        /// The target, and the problem with it.
        why: &'static str,
    },
}

/// Why a release was not pulled.
#[derive(Debug, Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A signed document is not in order, or not for this host.
    #[error("{}{refusal}", plugin.as_ref().map(|id| format!("plugin `{id}`: ")).unwrap_or_default())]
    Refused {
        /// Which plugin, where it is about one.
        plugin: Option<String>,
        /// Why.
        refusal: Refusal,
    },
    /// The release is not whole, or too large.
    #[error("the release {0}")]
    Incomplete(String),
    /// It is complete, but cannot be activated.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The same release was not ready under the same configuration a while ago, and need not be tried again.
    #[error("the release cannot be activated, as an earlier attempt has shown")]
    NotReady {
        /// The code of what was found then.
        code: &'static str,
    },
    /// Something else came into the folders while it was prepared: it is not overwritten. The
    /// next poll sees what is there by then.
    #[error("the release was not copied into the release folders: {why}")]
    Superseded {
        /// The value that came.
        why: String,
    },
    /// The disk.
    #[error("cannot write `{}`: {why}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl RegistryError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Outbound { cause: OutboundError::Late, .. } => "registry-late",
            Self::Outbound { cause: OutboundError::TooLong, .. } => "registry-too-long",
            Self::Outbound { .. } => "registry-unreachable",
            Self::Status { .. } => "registry-failed",
            Self::NotFound { .. } => "registry-lacks",
            Self::Denied { .. } => "registry-denied",
            Self::Password { .. } => "registry-password",
            Self::Malformed { .. } => "registry-malformed",
            Self::WrongDigest { .. } => "registry-wrong-digest",
            Self::WrongSize { .. } => "registry-wrong-size",
            Self::Redirect { .. } => "registry-redirect",
        }
    }

    /// Whether it gave something that is not what it should be, rather than nothing.
    fn is_content(&self) -> bool {
        match self {
            Self::Outbound { cause, .. } => matches!(cause, OutboundError::TooLong),
            Self::Malformed { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Redirect { .. } => true,
            Self::Status { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Password { .. } => false,
        }
    }

    /// Returns the hint: what to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Outbound { .. } | Self::Status { .. } => {
                Some("check that the registry runs and that this machine reaches it")
            }
            Self::NotFound { .. } => {
                Some("check that it was pushed to the registry under this name")
            }
            Self::Denied { .. } | Self::Password { .. } => Some(
                "check `username`, `password_file`, `token_realm` and the permissions of the \
                 account",
            ),
            Self::Malformed { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Redirect { .. } => Some(
                "push it again; if that does not help, do not trust the registry or a proxy in \
                 front of it",
            ),
        }
    }
}

impl PullError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Registry(error) => error.code(),
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Incomplete(_) => "release-incomplete",
            Self::Release(error) => error.code(),
            Self::NotReady { code } => code,
            Self::Superseded { .. } => "folders-changed",
            Self::Disk { .. } => "disk",
        }
    }

    /// Returns the hint: what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint().map(str::to_owned),
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Incomplete(_) => Some("push it again with `portcullis release push`".to_owned()),
            Self::Release(error) => error.hint(),
            Self::NotReady { .. } | Self::Superseded { .. } => None,
            Self::Disk { .. } => {
                Some("check the disk, and that the host may write there".to_owned())
            }
        }
    }

    /// Whether nothing is wrong with the registry or the release: the same can be tried again soon.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Release(error) => error.is_transient(),
            Self::Superseded { .. } => true,
            _ => false,
        }
    }

    /// Whether something came that is not taken, rather than nothing.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_content(),
            Self::Refused { .. }
            | Self::Incomplete(_)
            | Self::Release(_)
            | Self::NotReady { .. } => true,
            Self::Superseded { .. } | Self::Disk { .. } => false,
        }
    }
}
