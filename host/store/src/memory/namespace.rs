//! A namespace as the rest of the host holds it.
//!
//! Invariant: two handles of the same name are of the same memory, whatever bindings hold them.

use std::sync::Arc;

use super::error::TooManyNamespaces;
use super::limits::Quota;
use super::names::{NamespaceName, Scope};
use super::space::Space;
use super::store::Memory;

/// A namespace of a memory, for the transactions of calls.
#[derive(Clone)]
pub struct Namespace {
    pub(super) space: Arc<Space>,
}

/// The content of a namespace in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subjects, and keys of the shared scope.
    pub cells: u64,
    /// Subjects.
    pub subjects: u64,
    /// Bytes and entries of all subjects.
    pub subject: (u64, u64),
    /// Bytes and entries of the shared scope.
    pub shared: (u64, u64),
}

impl Memory {
    /// Returns a namespace, and sets its quota.
    ///
    /// # Errors
    /// It is new, and there are as many as there may be.
    pub fn namespace(
        &self,
        name: &NamespaceName,
        quota: Quota,
    ) -> Result<Namespace, TooManyNamespaces> {
        let space = self.inner.space(name)?;
        space.set_quota(quota);
        Ok(Namespace { space })
    }

    /// Says what every namespace holds.
    pub fn usages(&self) -> Vec<(NamespaceName, Usage)> {
        let spaces = self.inner.all_spaces();
        let usage = |space: Arc<Space>| {
            let name = space.name.clone();
            (name, self.usage(&Namespace { space }))
        };
        spaces.into_iter().map(usage).collect()
    }

    /// Says what a namespace holds.
    pub fn usage(&self, namespace: &Namespace) -> Usage {
        let space = &namespace.space;
        let [subject, shared] = [Scope::Subject, Scope::Shared].map(|scope| space.used(scope));
        let [subjects, keys] = [Scope::Subject, Scope::Shared].map(|scope| space.cells(scope));
        Usage { cells: subjects + keys, subjects, subject, shared }
    }
}
