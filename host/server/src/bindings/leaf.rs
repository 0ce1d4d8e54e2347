//! One binding's result as records show it to everybody: by digest and code, nothing out of a body.
//!
//! Invariant: what is written is a part of a JSON object; names and codes are quoted.

use portcullis_model::json::ObjectWriter;

use crate::bindings::evaluate::BindingResult;
use crate::observe::budget::micros;

impl BindingResult {
    /// Writes who was asked, by digest, and what they found, by code.
    pub fn write_leaf(&self, leaf: &mut ObjectWriter<'_>) {
        leaf.members(self.binding.record_prefix()).number("elapsed_us", micros(self.spent));
        if let Some(why) = self.cohort {
            leaf.texts("cohort", why.words());
        }
        if !self.reads.versions().is_empty() {
            leaf.object("tables", |tables| {
                for (table, version) in self.reads.versions() {
                    tables.text(table, version);
                }
            });
        }
        match &self.outcome {
            Ok(decision) => {
                if let Some(fault) = self.masked_fault {
                    leaf.text("fault", fault);
                }
                leaf.text("verdict", decision.verdict().name());
                let codes = sorted(decision.findings.iter().map(|finding| &*finding.code));
                leaf.texts("codes", codes.into_iter().take(MAX_CODES));
                if !self.waived.is_empty() {
                    let codes = sorted(self.waived.iter().map(|finding| &*finding.code));
                    leaf.texts("waived", codes.into_iter().take(MAX_CODES));
                }
                let kinds = sorted(decision.changes.iter().map(|change| change.kind().to_string()));
                leaf.texts("changes", kinds).number_or_null("risk", decision.risk);
            }
            Err(fault) => {
                leaf.text("fault", fault.code);
            }
        }
    }
}

/// Returns the items sorted, each once.
pub fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<_> = items.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// Codes of one plugin in a leaf; all of them are in the sealed part.
const MAX_CODES: usize = 8;
