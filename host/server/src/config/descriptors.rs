//! The budget of file descriptors: what the host needs, and how many connections fit into the rest.
//!
//! Invariant: connections never take the descriptors that the log, the release and outbound calls
//! need. Where the limit of the process leaves no room for what the configuration asks for, fewer
//! connections are taken, and where it leaves none for the least there must be, the host does not
//! start.

use crate::net::acceptor::SPARE;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::error::{StartError, how_to_raise};

/// How the descriptors of this process are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorBudget {
    /// The limit of this process.
    pub limit: usize,
    /// Connections that were asked for.
    pub requested: usize,
    /// Connections that fit.
    pub connections: usize,
    /// Calls that the host may make at once itself.
    pub outbound: usize,
    /// Descriptors that everything that was asked for needs.
    pub needed: usize,
}

impl DescriptorBudget {
    /// Raises the limit of this process as far as it may, and lowers `listen.max_connections` to
    /// what fits.
    ///
    /// # Errors
    /// [`StartError::Descriptors`], where not even [`MIN_CONNECTIONS`] fit.
    pub fn apply(config: &mut Config) -> Result<Self, StartError> {
        let budget = Self::of(config, raise_limit().map_err(StartError::DescriptorLimit)?)?;
        config.listen.max_connections = budget.connections;
        Ok(budget)
    }

    fn of(config: &Config, limit: usize) -> Result<Self, StartError> {
        let admin = if config.admin.enabled { ADMIN_CONNECTIONS } else { 0 };
        // Each delivery waits for a service on a connection of its own.
        let outbound = if config.deliveries.is_empty() {
            MIN_OUTBOUND
        } else {
            config.listen.max_in_flight.min(limit / 8).clamp(MIN_OUTBOUND, MAX_OUTBOUND)
        };
        let workers = config.listen.workers.saturating_mul(DESCRIPTORS_PER_RUNTIME);
        let pushes = if config.table_push.is_some() { PUSH_FILES } else { 0 };
        let others =
            HOST_FILES + LOG_FILES + TABLE_FILES + SPARE + pushes + admin + outbound + workers;
        Self::share(limit, config.listen.max_connections, outbound, others)
    }

    fn share(
        limit: usize,
        requested: usize,
        outbound: usize,
        others: usize,
    ) -> Result<Self, StartError> {
        let needed = requested.saturating_add(others);
        let connections = requested.min(limit.saturating_sub(others));
        if connections < requested.min(MIN_CONNECTIONS) {
            let least = requested.min(MIN_CONNECTIONS).saturating_add(others);
            return Err(StartError::Descriptors { limit, least, needed });
        }
        Ok(Self { limit, requested, connections, outbound, needed })
    }

    /// Returns what an operator should know and do: nothing where everything fits.
    pub fn warning(&self) -> Option<String> {
        (self.connections < self.requested).then(|| {
            format!(
                "listen.max_connections is {}, but the host can serve only {}: it would need {} \
                 file descriptors, and its limit is {}. {}",
                self.requested,
                self.connections,
                self.needed,
                self.limit,
                how_to_raise(self.needed)
            )
        })
    }
}

/// Raises the limit of this process to the most that it may have. Returns the limit.
fn raise_limit() -> io::Result<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    // No limit at all is none that is ever reached.
    Ok(maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Connections without which a host does not start, unless fewer are asked for.
pub const MIN_CONNECTIONS: usize = 16;
/// Descriptors of the audit log: the segments of its write-ahead log, tiles, sealed parts,
/// checkpoint, the emergency ring, and what it keeps open so that a write never waits for a
/// descriptor.
pub const LOG_FILES: usize = 40;
/// Descriptors of downloads of tables: a connection and a file each.
const TABLE_FILES: usize = 2 * crate::config::tables::MAX_DOWNLOADS;
/// Descriptors of the listener for pushed tables: a connection and a file each, and its runtime.
const PUSH_FILES: usize = 2 * crate::config::tables::MAX_PUSHES + 4;
/// Descriptors of connections of the admin listener.
const ADMIN_CONNECTIONS: usize = crate::config::MAX_ADMIN_CONNECTIONS + 4;
/// Descriptors of the rest: standard streams, listeners, runtimes of the host's threads, the state
/// folder, the sandbox, release and configuration files while they are read, the pipes of the
/// process that compiles plugins.
const HOST_FILES: usize = 56;

/// Descriptors of one runtime: its poll, its waker, its timer.
const DESCRIPTORS_PER_RUNTIME: usize = 3;
/// Outbound calls at once that fit into every budget.
const MIN_OUTBOUND: usize = 16;
/// The most outbound calls at once.
const MAX_OUTBOUND: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn share(limit: usize, requested: usize) -> Result<DescriptorBudget, StartError> {
        DescriptorBudget::share(limit, requested, 16, 150)
    }

    #[test]
    fn connections_are_what_the_rest_leaves() {
        let plenty = share(20_000, 1_024).unwrap();
        assert_eq!((plenty.connections, plenty.needed, plenty.warning()), (1_024, 1_174, None));
        let little = share(256, 1_024).unwrap();
        assert_eq!(little.connections, 106);
        let warning = little.warning().unwrap();
        assert!(warning.contains("LimitNOFILE=1174"), "{warning}");
        assert!(warning.contains("serve only 106"), "{warning}");
    }

    #[test]
    fn a_host_with_no_room_for_the_least_does_not_start() {
        assert_eq!(share(166, 1_024).unwrap().connections, MIN_CONNECTIONS);
        let error = share(165, 1_024).unwrap_err();
        assert!(error.is_configuration());
        assert!(error.hint().unwrap().contains("LimitNOFILE=1174"), "{error}");
        assert_eq!(share(158, 8).unwrap().connections, 8, "fewer than the least were asked for");
        assert!(share(157, 8).is_err());
        assert!(share(0, 1).is_err());
        assert_eq!(share(usize::MAX, usize::MAX).unwrap().limit, usize::MAX);
    }
}
