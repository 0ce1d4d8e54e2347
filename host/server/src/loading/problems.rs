//! The problems that the checks of a release find.
//!
//! Invariant: the checks end at the first problem, unless all are wanted.

use super::{Completeness, ReleaseError};

/// The problems of a release.
pub(super) struct ProblemList {
    pub(super) demand: Completeness,
    /// Those after which the checks went on.
    pub(super) list: Vec<ReleaseError>,
}

impl ProblemList {
    pub(super) fn new(demand: Completeness) -> Self {
        Self { demand, list: Vec::new() }
    }

    /// Goes on after a problem only where all are wanted.
    pub(super) fn add(&mut self, error: ReleaseError) -> Result<(), ReleaseError> {
        if self.demand != Completeness::AllProblems {
            return Err(error);
        }
        self.list.push(error);
        Ok(())
    }

    /// The outcome of a check; none after a problem.
    pub(super) fn keep<T>(
        &mut self,
        checked: Result<T, ReleaseError>,
    ) -> Result<Option<T>, ReleaseError> {
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.add(error).map(|()| None),
        }
    }
}
