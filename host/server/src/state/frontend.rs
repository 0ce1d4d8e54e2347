//! The front end: the part of the host that exists from the moment the port is bound, before the
//! log is open.
//!
//! Invariant: there is an answer to every call at any moment. Until the [`Host`] is complete the
//! answer is the hook's safe answer ([`starting`](crate::request::starting)), from then on the
//! pipeline's; the change is one pointer that is set once. The counters (admission, refusals, what
//! hooks owe the log) is shared with the host, so that nothing is lost in between.

use std::sync::{Arc, OnceLock};

use portcullis_model::Millis;

use crate::clock::Clock;
use crate::net::connection_limit::ConnectionLimiter;
use crate::net::tls::Tls;
use crate::observe::progress::Progress;
use crate::records::rejections::{Reason, Rejections};
use crate::records::unrouted_counts::UnroutedCounts;
use crate::state::active::ActiveConfig;
use crate::state::admission::Admission;
use crate::state::conditions::Conditions;
use crate::state::host::{Hook, Host};

/// The state that listeners and connections share.
pub struct Frontend {
    /// The clock.
    pub clock: Clock,
    /// TLS towards callers, where the configuration asks for it.
    pub tls: Option<Arc<Tls>>,
    /// The limits of connections.
    pub connections: Arc<ConnectionLimiter>,
    /// The limit of calls in flight.
    pub admission: Admission,
    /// Counted refusals.
    pub rejections: Arc<Rejections>,
    /// Counted requests that belong to no hook.
    pub unrouted: Arc<UnroutedCounts>,
    /// The obstacles to being ready.
    pub conditions: Arc<Conditions>,
    /// The progress of the start.
    pub progress: Arc<Progress>,
    /// The hooks of the configuration that the process started with. No generation decides on them.
    starting: Arc<ActiveConfig>,
    host: OnceLock<Arc<Host>>,
}

/// The parts of a front end that the host takes over.
pub struct Shared {
    /// The clock.
    pub clock: Clock,
    /// TLS towards callers, where the configuration asks for it.
    pub tls: Option<Arc<Tls>>,
    /// The hooks of the configuration, without a generation.
    pub hooks: Arc<ActiveConfig>,
}

impl Frontend {
    /// A front end whose host is not there yet.
    pub fn new(shared: Shared) -> Self {
        let Shared { clock, tls, hooks } = shared;
        Self {
            clock,
            tls,
            connections: ConnectionLimiter::new(
                hooks.config.listen.connection_limits(),
                hooks.config.listen.proxies.clone(),
                hooks.config.listen.platform_networks.clone(),
            ),
            admission: Admission::new(hooks.config.listen.max_in_flight),
            rejections: Arc::default(),
            unrouted: Arc::default(),
            conditions: Arc::default(),
            progress: Arc::default(),
            starting: hooks,
            host: OnceLock::new(),
        }
    }

    /// The front end of a complete host: for a listener that is added later.
    pub fn of(host: &Arc<Host>) -> Self {
        Self {
            clock: host.clock.clone(),
            tls: host.callers.tls.clone(),
            connections: Arc::clone(&host.limits.connections),
            admission: host.limits.admission.clone(),
            rejections: Arc::clone(&host.counts.rejections),
            unrouted: Arc::clone(&host.counts.unrouted),
            conditions: Arc::clone(&host.health.conditions),
            progress: Arc::clone(&host.health.progress),
            starting: host.active_config.load_full(),
            host: OnceLock::from(Arc::clone(host)),
        }
    }

    /// The host, once it is complete.
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.host.get()
    }

    /// The active hooks and what decides on them; while the host starts, nothing does.
    pub fn active_config(&self) -> Arc<ActiveConfig> {
        self.host
            .get()
            .map_or_else(|| Arc::clone(&self.starting), |host| host.active_config.load_full())
    }

    /// The time at which a call that comes now was received.
    pub fn received_at(&self) -> Millis {
        self.host.get().map_or_else(|| self.clock.now(), |host| host.trust.time.for_calls())
    }

    /// Counts a rejection.
    pub fn reject(&self, hook: &Hook, reason: impl Into<Reason>) {
        let (now, reason) = (self.clock.now(), reason.into());
        match self.host.get() {
            Some(host) => host.reject(hook, now, reason),
            None => {
                hook.metrics.rejected(&reason);
                self.rejections.count(now, &hook.name, reason);
            }
        }
    }

    /// Says how many safe answers left that no log holds, since none could be opened: for a process
    /// that ends like that.
    pub fn log_unrecorded(&self) {
        for hook in &self.starting.hooks {
            let answers = hook.corrections.counted();
            if answers > 0 {
                tracing::error!(
                    event = "start.unrecorded",
                    hook = hook.config.name,
                    answers,
                    "safe answers were sent before the audit log was open; the log has no records \
                     of them"
                );
            }
        }
    }

    /// The host is complete: it answers every call from here on.
    pub(crate) fn open(&self, host: Arc<Host>) {
        // Set once, by the thread that starts the host.
        drop(self.host.set(host));
    }
}
