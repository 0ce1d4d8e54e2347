//! Which findings may be set aside by a waiver: a plugin's `waive` or a break-glass document.
//!
//! Invariant: a code that speaks of audit, termination or revocation is never set aside, whoever
//! signed the waiver; a person whose employment has ended gets no access through an emergency. The
//! code says by its words what it is about, so this needs no list of plugins. Neither is one that
//! says that a reference table could not be used: without the table a plugin cannot find that a
//! contract has ended.

use std::collections::BTreeSet;

use crate::change::Change;
use crate::decision::{Decision, Finding};

/// Returns whether a finding with this code may be set aside: none of the words of the code, which
/// `_` and `-` separate, begins with one of [`PROTECTED`].
pub fn may_be_waived(code: &str) -> bool {
    !code.split(['_', '-', '.']).any(|word| {
        let word = word.to_ascii_uppercase();
        PROTECTED.iter().any(|stem| word.starts_with(stem))
    })
}

/// Returns the codes that these decisions waive.
pub fn waived_codes<'a>(decisions: impl Iterator<Item = &'a Decision>) -> BTreeSet<&'a str> {
    let codes =
        decisions.flat_map(|decision| &decision.changes).filter_map(|change| match change {
            Change::Waive(codes) => Some(codes),
            _ => None,
        });
    codes.flatten().map(String::as_str).filter(|code| may_be_waived(code)).collect()
}

/// Takes the findings with these codes out of a decision, and returns them.
pub fn set_aside(decision: &mut Decision, codes: &BTreeSet<String>) -> Vec<Finding> {
    let (waived, left) = std::mem::take(&mut decision.findings)
        .into_iter()
        .partition(|finding| codes.contains(&finding.code));
    decision.findings = left;
    waived
}

/// The stems of the words that no waiver reaches: audit, termination (of work or contract),
/// revocation, and reference tables.
pub const PROTECTED: [&str; 6] = ["AUDIT", "TERMINAT", "ENDED", "REVOK", "REVOC", "TABLE"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Effect, Severity};

    #[test]
    fn audit_termination_and_revocation_are_never_waived() {
        for code in ["SOD_CONFLICT", "CONTRACT_EXPIRED", "REVIEW_NEEDED", "EXAUDITED", "DETERMINED"]
        {
            assert!(may_be_waived(code), "{code}");
        }
        for code in [
            "AUDIT_REQUIRED",
            "HOURS_TERMINATED",
            "TERMINATION_PENDING",
            "REVOKED",
            "BADGE_REVOCATION",
            "CONTRACTOR_ENDED",
            "contract-terminated",
            "x.audited",
        ] {
            assert!(!may_be_waived(code), "{code}");
        }
    }

    #[test]
    fn a_waiver_sets_findings_of_every_decision_aside_and_no_protected_one() {
        let mut denies = Decision::default();
        for code in ["SOD", "OTHER", "STAFF_TERMINATED"] {
            denies.findings.push(Finding {
                code: code.to_owned(),
                effect: Effect::Deny,
                severity: Severity::High,
                arguments: Vec::new(),
                field: None,
            });
        }
        let waives = Decision {
            changes: vec![Change::Waive(vec!["SOD".into(), "STAFF_TERMINATED".into()])],
            ..Decision::default()
        };
        for order in [[&denies, &waives], [&waives, &denies]] {
            assert_eq!(waived_codes(order.into_iter()), BTreeSet::from(["SOD"]));
        }
        let waived = set_aside(&mut denies, &BTreeSet::from(["SOD".to_owned()]));
        let codes = |findings: &[Finding]| -> Vec<String> {
            findings.iter().map(|finding| finding.code.clone()).collect()
        };
        assert_eq!(codes(&waived), ["SOD"]);
        assert_eq!(codes(&denies.findings), ["OTHER", "STAFF_TERMINATED"]);
    }
}
