//! Errors before the first call: configuration, keys, the log's directory, the port.
//!
//! Invariant: every error names the file or setting, what is wrong and, where there is one, a hint. Failures of calls are
//! [`Cause`](portcullis_model::Cause)s and live in the pipeline.

use portcullis_model::escape::escape;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_trust::Refusal;
use thiserror::Error;

/// The configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{}`: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its content is invalid.
    #[error("`{}`: {what}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The problem, and its place.
        what: String,
    },
}

/// The host cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A key or secret file cannot be used.
    #[error("{what} `{}`: {why}", path.display())]
    File {
        /// The purpose of the file.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The problem with it.
        why: String,
        /// The hint, if there is one.
        hint: Option<String>,
    },
    /// A trust root that this host has accepted is not here any more: not where the operator puts trust roots, and not,
    /// whole, in the host's own folder.
    #[error("trust root `{}`: {refusal} [{}]", path.display(), refusal.code())]
    RootLost {
        /// The pinned trust root.
        path: PathBuf,
        /// Which one is lost.
        refusal: Box<Refusal>,
    },
    /// The log that this host has written is not in its directory.
    #[error("audit: the folder `{}` holds no log of this host: {why}", directory.display())]
    LogMissing {
        /// The place where it should be.
        directory: PathBuf,
        /// Why there must be one.
        why: String,
    },
    /// Several files cannot be used.
    #[error("{}", list(.0))]
    Several(Vec<Self>),
    /// The audit log cannot be opened.
    #[error("audit: {0}")]
    Audit(#[from] portcullis_audit::AuditError),
    /// The audit log's public part cannot be read.
    #[error("audit: {0}")]
    Reading(portcullis_tlog::ReadError),
    /// Another process has the host's own folder.
    #[error("trust: the folder `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The audit log is not the one that this host wrote last, and must not be signed.
    #[error("audit: the host does not sign the log `{origin}` any more: {why}")]
    Foreign {
        /// The log's origin.
        origin: String,
        /// The difference from the log that the host wrote.
        why: String,
    },
    /// The engine cannot be created.
    #[error("the engine that runs plugins cannot start: {0}")]
    Engine(#[from] portcullis_engine::EngineError),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// An inherited socket cannot be used.
    #[error("the inherited sockets (LISTEN_FDS) cannot be used: {0}")]
    Inherited(String),
    /// An issuer of callers' tokens cannot be asked for its keys, whatever the network says.
    #[error("caller.oauth: `{place}`: {why}")]
    Issuer {
        /// The place of its keys.
        place: String,
        /// Why.
        why: String,
    },
    /// TLS cannot be set up with what this build has.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The registry cannot be followed, whatever the network says.
    #[error("registry.release `{release}`: {why}")]
    Registry {
        /// The reference to follow.
        release: String,
        /// Why not.
        why: String,
    },
    /// The collector of traces cannot be used.
    #[error("telemetry.otlp `{place}`: {why}")]
    Collector {
        /// The place.
        place: String,
        /// Why.
        why: String,
    },
    /// The admin port cannot be bound.
    #[error("cannot listen on {address} for [admin]: {cause}")]
    BindAdmin {
        /// Which address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The limit of file descriptors leaves no room for the least that a host needs.
    #[error(
        "the limit of file descriptors is {limit}; the host needs at least {least}, and {needed} \
         for the configured listen.max_connections"
    )]
    Descriptors {
        /// The limit.
        limit: usize,
        /// Descriptors for the fewest connections.
        least: usize,
        /// Descriptors for the connections that were asked for.
        needed: usize,
    },
    /// The limit of file descriptors cannot be raised.
    #[error("the limit of file descriptors cannot be raised: {0}")]
    DescriptorLimit(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The system gives no random numbers.
    #[error("the operating system provides no random numbers")]
    Random,
}

impl StartError {
    /// Whether the operator gave something wrong, rather than the machine refusing.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::File { .. }
            | Self::Issuer { .. }
            | Self::Collector { .. }
            | Self::Registry { .. }
            | Self::Descriptors { .. }
            | Self::Inherited(_) => true,
            Self::Several(several) => several.iter().any(Self::is_configuration),
            _ => false,
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { hint, .. } => hint.clone(),
            Self::RootLost { refusal, .. } => refusal.hint(),
            Self::LogMissing { .. } => Some(
                "mount the disk that holds it; the host then continues. If this host never had a \
                 log, create the parent folder or correct `audit.directory`. If the log is lost, \
                 begin a new log with a new key (`audit.directory`, `audit.origin`, \
                 `audit.signing_key`)"
                    .to_owned(),
            ),
            Self::Audit(error) => error.hint(),
            Self::Reading(error) => error.hint(),
            Self::InUse(_) => Some(
                "stop the other process, or set another folder as `trust.state` for this one"
                    .to_owned(),
            ),
            Self::Foreign { .. } => Some(
                "restore the directory that this host wrote last; if it is lost, keep this one as \
                 evidence and begin a new log (`audit.directory`, `audit.origin`, \
                 `audit.signing_key`, or `audit.next` beforehand)"
                    .to_owned(),
            ),
            Self::Bind { .. } => Some(
                "choose another `listen.address`, or stop the process that listens there"
                    .to_owned(),
            ),
            Self::BindAdmin { .. } => Some(
                "choose another `admin.address`, or stop the process that listens there".to_owned(),
            ),
            Self::Inherited(_) => Some(
                "give the socket unit one TCP socket for calls and at most one with \
                 `FileDescriptorName=admin`"
                    .to_owned(),
            ),
            Self::Collector { .. } => Some("use https, or a collector on this machine".to_owned()),
            Self::Descriptors { needed, .. } => Some(how_to_raise(*needed)),
            Self::Several(_)
            | Self::Engine(_)
            | Self::DescriptorLimit(_)
            | Self::Thread(_)
            | Self::Random
            | Self::Issuer { .. }
            | Self::Registry { .. }
            | Self::Tls(_) => None,
        }
    }
}

/// Several problems as one text: their number, and a numbered list.
pub fn numbered<T: std::fmt::Display>(problems: impl IntoIterator<Item = T>) -> String {
    let mut list = String::new();
    let mut count = 0;
    for problem in problems {
        count += 1;
        list.push_str(&format!("\n  {count}. {problem}"));
    }
    format!("{count} problems{list}")
}

/// Several problems as one text: a numbered list, with what to do below each.
pub fn list(problems: &[StartError]) -> String {
    numbered(problems.iter().map(|problem| match problem.hint() {
        Some(hint) => {
            format!("{}\n     hint: {}", escape(&problem.to_string()), escape(&hint))
        }
        None => escape(&problem.to_string()).into_owned(),
    }))
}

/// How an operator raises the limit, with the line to paste.
pub fn how_to_raise(needed: usize) -> String {
    format!(
        "Set `LimitNOFILE={needed}` in the [Service] section of the systemd unit, or run \
         `ulimit -n {needed}` before the host"
    )
}
