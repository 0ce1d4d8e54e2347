//! The rules of segregation of duties: functions, rules over them, exceptions, and the entitlements
//! that break a rule.
//!
//! The plugin `org.portcullis.sod` judges calls with this crate, and `portcullis sod` judges
//! exports and spreadsheets, so that a report before enforcement and the enforcement itself cannot
//! differ.
//!
//! Invariant: everything here is pure. The result depends on the sets of things held, requested and
//! proposed, never on their order. Calls, findings, files and tables are left to the callers.

mod analysis;
mod bitset;
mod compiled;
mod coverage;
mod exceptions;
mod hierarchy;
mod judge;
mod matrix;
mod minimal;
mod names;
mod problems;
mod rules;
mod settings;
mod unique;

pub use analysis::{Observation, ObservationKind, RuleView, observe, roles_that_conflict};
pub use compiled::{Compiled, Exempt, Facts, MAX_FUNCTIONS, compile};
pub use coverage::Coverage;
pub use exceptions::{ExceptionRow, Fault, Standing as ExceptionStanding};
pub use hierarchy::{Holding, LookUps, TooManyLookUps, expand};
pub use judge::{Conflict, Explanation, Outcome, Situation, conflicts, strictest_first};
pub use matrix::{PairRow, compile_pairs, pairs_of};
pub use names::{Kind, Name};
pub use problems::Problem;
pub use settings::{
    Action, Exception, Existing, Of, Rule, RuleKind, Scope, Settings, Severity, TableNames,
};
