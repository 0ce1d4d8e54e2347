//! The parts of the host, by what they are for.
//!
//! Invariant: a part groups what is used together. Code that needs one part takes that part, or the
//! values in it, and not the host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use portcullis_files::HeldFolder;
use portcullis_trust::TrustRoot;

use super::LateTrust;
use crate::auth::{KeyRing, Keys};
use crate::break_glass::BreakGlassState;
use crate::fs::change::WatchedFiles;
use crate::fs::file_worker::Heartbeat;
use crate::loading::{DigestCache, LastGood, ReleaseStatus};
use crate::net::connection_limit::ConnectionLimiter;
use crate::net::outbound::Outbound;
use crate::net::tls::Tls;
use crate::observe::metrics::BindingMetrics;
use crate::observe::progress::Progress;
use crate::platform_calls::delivery::DeliveryService;
use crate::platform_calls::resume::ResumeCalls;
use crate::records::rejections::Rejections;
use crate::records::response_writes::ResponseWrites;
use crate::records::unrouted_counts::UnroutedCounts;
use crate::registry::RegistrySource;
use crate::state::admission::Admission;
use crate::state::conditions::Conditions;
use crate::state::dedup::DedupCache;
use crate::tables::{SignedTables, TableCallers, TableSources};
use crate::trust::TrustedTime;
use crate::trust::state::TrustState;

/// Trust roots, trusted time and break-glass documents.
pub struct HostTrust {
    /// The trust state: trust roots, revocations, the active release.
    pub(crate) state: Mutex<TrustState>,
    /// The host's own folder, held open.
    pub(crate) folder: Option<Arc<HeldFolder>>,
    /// The active trust root, for code that must not wait for the trust state.
    pub(crate) root: ArcSwap<TrustRoot>,
    /// The trusted time, and the offset of this machine's clock.
    pub(crate) time: Arc<TrustedTime>,
    /// Whether the kernel's clock was synchronised at the start, where the kernel tells.
    pub(crate) kernel_synchronised: Option<bool>,
    /// Reads of arriving trust that have not returned.
    pub(crate) late: LateTrust,
    /// Break-glass documents that were opened.
    pub(crate) break_glass: BreakGlassState,
    /// The times at which the versions of signed reference tables were signed.
    pub(crate) signed_tables: Arc<SignedTables>,
}

/// The bounds of connections and calls.
pub struct CallLimits {
    /// Connections of the listener.
    pub(crate) connections: Arc<ConnectionLimiter>,
    /// The admission of calls.
    pub(crate) admission: Admission,
    /// Retried events.
    pub(crate) dedup: DedupCache,
}

/// Counts that are recorded or shown later.
pub struct Counts {
    /// Counted rejections.
    pub(crate) rejections: Arc<Rejections>,
    /// Counted requests that belong to no hook.
    pub(crate) unrouted: Arc<UnroutedCounts>,
    /// Writes of responses that are to be recorded.
    pub(crate) response_writes: ResponseWrites,
    /// The counters of the previous generation's bindings, so that no count between two scrapes is
    /// lost.
    pub(crate) previous_metrics: ArcSwap<Vec<Arc<BindingMetrics>>>,
}

/// The keys by which callers are authenticated.
pub struct CallerKeys {
    /// TLS towards callers, where the configuration asks for it.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The keys of all issuers of callers' tokens.
    pub(crate) keys: ArcSwap<Vec<Arc<Keys>>>,
    /// How those authenticate who push tables.
    pub(crate) tables: TableCallers,
    /// Creates further ones.
    pub(crate) key_ring: Mutex<KeyRing>,
}

/// The calls that the host makes itself.
pub struct PlatformCalls {
    /// The client of all of them.
    pub(crate) outbound: Arc<Outbound>,
    /// The delivery services, by name.
    pub(crate) delivery_services: BTreeMap<String, Arc<DeliveryService>>,
    /// Calls that platforms wait for.
    pub(crate) resume_calls: ResumeCalls,
}

/// The sources of releases, and what is known of them.
pub struct ReleaseSources {
    /// The registry that releases are pulled from.
    pub(crate) registry: Option<RegistrySource>,
    /// The sources of reference tables.
    pub(crate) tables: Arc<TableSources>,
    /// The state of the release set in the folders.
    pub(crate) status: ReleaseStatus,
    /// Digests of files in release folders that were hashed before.
    pub(crate) digests: Arc<DigestCache>,
    /// The state of the folders before any file was read.
    pub(crate) watched: WatchedFiles,
    /// Copies of the active release, for a start whose release folders are damaged.
    pub(crate) last_good: LastGood,
}

/// The conditions that health and readiness report.
pub struct HostHealth {
    /// The conditions that keep the host from being ready.
    pub(crate) conditions: Arc<Conditions>,
    /// The progress of the start.
    pub(crate) progress: Arc<Progress>,
    /// The time of the last maintenance round.
    pub(crate) maintenance_beat: Heartbeat,
    /// The time of the break-glass thread's last round.
    pub(crate) break_glass_beat: Heartbeat,
}
