//! The entitlements that any rule is about.
//!
//! Invariant: an entitlement is covered if and only if it gives a function that is part of a rule.
//! Exceptions, scopes and ends of rules are not looked at.

use crate::bitset::BitSet;
use crate::compiled::Compiled;
use crate::hierarchy::Holding;

/// The functions that rules are about.
pub struct Coverage<'a> {
    compiled: &'a Compiled,
    ruled: BitSet,
}

impl<'a> Coverage<'a> {
    /// That of all rules.
    pub fn of(compiled: &'a Compiled) -> Self {
        let mut ruled = BitSet::new(compiled.functions.len());
        for (rule, _) in (0..).zip(&compiled.facts) {
            let (set, _) = compiled.rules.forbidden(rule);
            set.iter().for_each(|function| ruled.insert(*function));
        }
        Self { compiled, ruled }
    }

    /// Whether a rule is about something that this holding gives.
    pub fn covers(&self, holding: &Holding<'_>) -> bool {
        holding.functions(self.compiled).any(|function| self.ruled.has(function))
    }

    /// The functions that no rule is about.
    pub fn unused_functions(&self) -> impl Iterator<Item = &str> {
        let functions = (0..).zip(&self.compiled.functions);
        functions.filter(|(number, _)| !self.ruled.has(*number)).map(|(_, name)| name.as_str())
    }
}
