//! Why something was not pulled or pushed.
//!
//! Invariant: no secret and no text of a registry's own stands in an error, beyond its bounded codes; each says who is to blame.

use std::path::PathBuf;

use portcullis_model::Digest;
use portcullis_registry::ManifestError;
use portcullis_trust::Refusal;
use thiserror::Error;

use crate::loading::ReleaseError;
use crate::net::outbound::OutboundError;

/// A registry did not do what it was asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// It could not be asked.
    #[error("{place}: {cause}")]
    Outbound {
        /// What was asked for.
        place: String,
        /// Why.
        cause: OutboundError,
    },
    /// It answered with a status that says no.
    #[error("{place}: the registry answered {status}{code}")]
    Status {
        /// What was asked for.
        place: String,
        /// HTTP status.
        status: u16,
        /// Its error code, with a space before it; or nothing.
        code: String,
    },
    /// It does not have it.
    #[error("{place}: the registry does not have it")]
    NotFound {
        /// What was asked for.
        place: String,
    },
    /// It does not believe us, or we have nothing to be believed for.
    #[error("{place}: {why}")]
    Denied {
        /// What was asked for.
        place: String,
        /// Why.
        why: String,
    },
    /// The password's file is of no use.
    #[error("`{}`: {why}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What it gave is no document of the type that was asked for.
    #[error("{place}: {why}")]
    Malformed {
        /// What was asked for.
        place: String,
        /// What is wrong with it.
        why: ManifestError,
    },
    /// What it gave has another digest.
    #[error("{place}: it has the digest {is}")]
    WrongDigest {
        /// What was asked for.
        place: String,
        /// Its digest.
        is: Digest,
    },
    /// What it gave has another size.
    #[error("{place}: it has {is}, not {wanted} bytes")]
    WrongSize {
        /// What was asked for.
        place: String,
        /// `fewer`, `more`, or how many.
        is: String,
        /// Its size as it is listed.
        wanted: u64,
    },
    /// It sends us somewhere we do not go.
    #[error("{place}: the registry sends us to {why}")]
    Redirect {
        /// What was asked for.
        place: String,
        /// Where, and why not.
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
    /// It is whole, and would not come into force.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The same release was not ready under the same configuration a while ago, and need not be tried again.
    #[error("the release could not become active, as was found before")]
    NotReady {
        /// The code of what was found then.
        code: &'static str,
    },
    /// Something else came into the folders while it was made ready: it is not overwritten. The
    /// next poll sees what is there by then.
    #[error("not put into the folders: {why}")]
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

    /// What to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Outbound { .. } | Self::Status { .. } => {
                Some("see whether the registry is up and can be reached from here")
            }
            Self::NotFound { .. } => Some("see whether it was pushed there, under this name"),
            Self::Denied { .. } | Self::Password { .. } => Some(
                "see `username`, `password_file` and `token_realm`, and what the account may do",
            ),
            Self::Malformed { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Redirect { .. } => Some(
                "push it again; where that does not help, do not trust the registry or what stands \
                 before it",
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

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint().map(str::to_owned),
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Incomplete(_) => Some("push it again with `portcullis release push`".to_owned()),
            Self::Release(error) => error.hint(),
            Self::NotReady { .. } | Self::Superseded { .. } => None,
            Self::Disk { .. } => {
                Some("see to the disk, and that the host may write there".to_owned())
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
