//! Authentication of clients that push reference tables, and the TLS of their listener.
//!
//! Invariant: each table has callers of its own, in the ways that hooks have; a client of one table
//! may push no other. Secrets and certificates rotate while the host serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::{Authenticator, KeyRing};
use crate::config::Config;
use crate::error::StartError;
use crate::net::tls::Tls;
use crate::start_problems::StartProblems;

/// The callers of all tables that may be pushed.
#[derive(Default)]
pub struct TableCallers {
    /// TLS of the listener, where the configuration asks for it.
    pub tls: Option<Arc<Tls>>,
    callers: BTreeMap<String, Authenticator>,
}

impl TableCallers {
    /// Reads secrets and certificates; calls nobody.
    ///
    /// # Errors
    /// Every file that is of no use.
    pub fn load(config: &Config, keys: &mut KeyRing) -> Result<Self, StartError> {
        let mut problems = StartProblems::default();
        let tls = config.table_push.as_ref().and_then(|push| push.tls.as_ref()).map(Tls::load);
        let tls = tls.and_then(|tls| problems.keep(tls)).map(Arc::new);
        let mut callers = BTreeMap::new();
        for (name, access) in config.tables.iter().filter(|(_, access)| !access.push.is_empty()) {
            let caller = problems.keep(Authenticator::load(name, &access.push, keys));
            callers.extend(caller.map(|caller| (name.clone(), caller)));
        }
        problems.result()?;
        Ok(Self { tls, callers })
    }

    /// Returns how clients authenticate that push a table; `None` where nobody may.
    pub fn of(&self, table: &str) -> Option<&Authenticator> {
        self.callers.get(table)
    }

    /// Reads secrets and certificates that have changed, or all where `is_requested`. What cannot
    /// be used changes nothing and is returned.
    pub fn reload(&self, is_requested: bool) -> Vec<StartError> {
        let secrets = self.callers.iter().flat_map(|(name, it)| it.reload(name, is_requested));
        let tls = self.tls.as_ref().and_then(|tls| tls.reload(is_requested).err());
        secrets.chain(tls).collect()
    }
}
