//! Conflicts, exceptions and tables as findings.
//!
//! Invariant: every code here has a text in `manifest.tables.toml`, and those about conflicts in
//! `manifest.toml` too. Findings that only tell something about an exception or a table abstain, so
//! that they never change a verdict.

use portcullis_guest::{Attribute, Effect, Finding, Severity};
use portcullis_sod_rules::{
    self as rules, Action, Conflict, ExceptionRow, Fault, Outcome, Situation, TooManyLookUps,
};

/// An exception that does not hold.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Invalid {
    /// The rule.
    pub rule: String,
    /// Why it does not hold.
    pub fault: Fault,
    /// The row.
    pub row: ExceptionRow,
}

/// The finding of a conflict, with the fewest entitlements that still break the rule.
pub(crate) fn conflict(conflict: &Conflict<'_>, situation: &Situation<'_>) -> Finding {
    let code = match conflict.outcome {
        Outcome::New => "SOD_CONFLICT",
        Outcome::Existing => "SOD_EXISTING",
        Outcome::Excepted => "SOD_EXCEPTION",
        Outcome::RuleExpired => "SOD_RULE_EXPIRED",
    };
    let why = conflict.explain(situation);
    let finding = Finding::new(code, effect(conflict.action))
        .severity(severity(conflict.severity))
        .argument(Attribute::text("rule", &conflict.facts.id))
        .argument(Attribute::texts("functions", why.functions.iter().map(String::as_str)))
        .argument(Attribute::texts("entitlements", why.entitlements.iter().map(String::as_str)))
        .argument(Attribute::text("owner", &conflict.facts.owner));
    match &conflict.exempt {
        Some(exempt) => finding
            .argument(Attribute::text("until", &exempt.until_text))
            .argument(Attribute::text("approver", &exempt.approver))
            .argument(Attribute::text("control", &exempt.control)),
        None => finding,
    }
}

/// Stands for the conflicts that are not told one by one: as strict and as severe as the worst of
/// them.
pub(crate) fn more(untold: &[Conflict<'_>]) -> Option<Finding> {
    let worst = untold.first()?;
    let most = untold.iter().map(|conflict| conflict.severity).max().unwrap_or(worst.severity);
    let count = i64::try_from(untold.len()).unwrap_or(i64::MAX);
    Some(
        Finding::new("SOD_MORE", effect(worst.action))
            .severity(severity(most))
            .argument(Attribute::number("count", count)),
    )
}

/// The warning about an exception of a table that ends within [`WARNING_DAYS`].
pub(crate) fn ending(conflict: &Conflict<'_>, now: u64) -> Option<Finding> {
    let exempt = conflict.exempt.as_ref().filter(|exempt| exempt.from_table)?;
    let left = exempt.until.saturating_sub(now);
    if left > WARNING_DAYS * DAY {
        return None;
    }
    let days = i64::try_from(left.div_ceil(DAY)).unwrap_or(i64::MAX);
    Some(
        Finding::new("SOD_EXCEPTION_ENDING", Effect::Abstain)
            .severity(Severity::Medium)
            .argument(Attribute::text("rule", &conflict.facts.id))
            .argument(Attribute::text("until", &exempt.until_text))
            .argument(Attribute::number("days", days))
            .argument(Attribute::text("approver", &exempt.approver))
            .argument(Attribute::text("owner", &conflict.facts.owner)),
    )
}

/// Why an exception does not hold.
pub(crate) fn invalid(invalid: &Invalid) -> Finding {
    let row = &invalid.row;
    let (code, cells): (_, &[_]) = match invalid.fault {
        Fault::SelfApproved => ("SOD_EXCEPTION_SELF_APPROVED", &[("approver", &row.approver)]),
        Fault::NoApprover => ("SOD_EXCEPTION_NO_APPROVER", &[]),
        Fault::NoControl => ("SOD_EXCEPTION_NO_CONTROL", &[("approver", &row.approver)]),
        Fault::NoEnd => ("SOD_EXCEPTION_NO_END", &[("approver", &row.approver)]),
        Fault::Ended => {
            ("SOD_EXCEPTION_ENDED", &[("approver", &row.approver), ("until", &row.until)])
        }
        Fault::NotStarted => {
            ("SOD_EXCEPTION_NOT_STARTED", &[("approver", &row.approver), ("from", &row.from)])
        }
    };
    let finding = Finding::new(code, Effect::Abstain)
        .severity(Severity::Medium)
        .argument(Attribute::text("rule", &invalid.rule));
    cells.iter().fold(finding, |finding, (name, cell)| {
        finding.argument(Attribute::text(name, cell.as_deref().unwrap_or_default()))
    })
}

/// A table was older than its declaration allows.
pub(crate) fn stale(table: &str) -> Finding {
    Finding::new("SOD_TABLE_STALE", Effect::Abstain)
        .severity(Severity::Medium)
        .argument(Attribute::text("table", table))
}

/// The subject holds more than one call may look up.
pub(crate) fn too_many(refused: TooManyLookUps) -> Finding {
    let limit = i64::try_from(refused.limit).unwrap_or(i64::MAX);
    Finding::new("SOD_TOO_MANY", Effect::Deny)
        .severity(Severity::High)
        .argument(Attribute::number("limit", limit))
}

fn effect(action: Action) -> Effect {
    match action {
        Action::Allow => Effect::Allow,
        Action::StepUp => Effect::StepUp,
        Action::Review => Effect::Review,
        Action::Deny => Effect::Deny,
    }
}

fn severity(severity: rules::Severity) -> Severity {
    match severity {
        rules::Severity::Info => Severity::Info,
        rules::Severity::Low => Severity::Low,
        rules::Severity::Medium => Severity::Medium,
        rules::Severity::High => Severity::High,
        rules::Severity::Critical => Severity::Critical,
    }
}

/// Days before the end of an exception from which on there is a warning: 14.
pub(crate) const WARNING_DAYS: u64 = 14;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;
