//! One call: which rules apply, what that comes to, and what is said about it.
//!
//! Invariant: the answer depends on what the rules say, never on their order. One denial is enough, and an unknown in a denying
//! rule is one.

use portcullis_guest::{Attribute, Call, Decision, Effect, Finding, Severity};

use crate::compiled::{Applies, Compiled, Rule};
use crate::path::Path;
use crate::request::EvaluationRequest;
use crate::settings::Otherwise;

/// What the rules say of a call.
pub(crate) struct Evaluated<'a> {
    /// The denying rules that apply, by id, and what is not known of those that could not be judged.
    denied: Vec<(&'a Rule, Option<Path>)>,
    /// The first rule by id that allows it.
    allowed: Option<&'a Rule>,
}

/// Holds a call against the rules that can concern it.
pub(crate) fn evaluate<'a>(compiled: &'a Compiled, call: &'a Call) -> Evaluated<'a> {
    let scene = EvaluationRequest::of(compiled, call);
    let mut weighed = Evaluated { denied: Vec::new(), allowed: None };
    for number in compiled.index.rules(&scene) {
        let Some(rule) = compiled.rules.get(number as usize) else { continue };
        if rule.allows && weighed.allowed.is_some() {
            continue;
        }
        match rule.applies(&scene) {
            Applies::Yes if rule.allows => weighed.allowed = Some(rule),
            Applies::Yes => weighed.denied.push((rule, None)),
            Applies::Unknown(what) if !rule.allows => weighed.denied.push((rule, Some(what))),
            Applies::Unknown(_) | Applies::No => {}
        }
    }
    weighed
}

impl Evaluated<'_> {
    /// Whether the answer is yes.
    pub fn allows(&self) -> bool {
        self.denied.is_empty() && self.allowed.is_some()
    }
}

/// Judges one call.
pub(crate) fn judge(compiled: &Compiled, call: &Call) -> Decision {
    let weighed = evaluate(compiled, call);
    let findings = match (weighed.denied.as_slice(), weighed.allowed) {
        ([], Some(rule)) => {
            vec![
                Finding::new("ACCESS_ALLOWED", Effect::Allow)
                    .argument(Attribute::text("rule", &rule.id)),
            ]
        }
        ([], None) => vec![no_rule(compiled, call)],
        (denied, _) => {
            let (told, untold) = denied.split_at(denied.len().min(MAX_FINDINGS));
            let more = (!untold.is_empty()).then(|| {
                let count = i64::try_from(untold.len()).unwrap_or(i64::MAX);
                Finding::new("ACCESS_MORE", Effect::Deny)
                    .argument(Attribute::number("count", count))
            });
            told.iter().map(|(rule, unknown)| denial(rule, unknown.as_ref())).chain(more).collect()
        }
    };
    Decision { findings, ..Decision::default() }
}

fn denial(rule: &Rule, unknown: Option<&Path>) -> Finding {
    let (code, severity) = match unknown {
        Some(_) => ("ACCESS_UNKNOWN", Severity::Low),
        None => ("ACCESS_DENIED", Severity::Medium),
    };
    let finding = Finding::new(code, Effect::Deny)
        .severity(severity)
        .argument(Attribute::text("rule", &rule.id))
        .argument(Attribute::text("owner", &rule.owner));
    match unknown {
        Some(path) => finding.argument(Attribute::text("missing", &path.to_string())),
        None => finding,
    }
}

fn no_rule(compiled: &Compiled, call: &Call) -> Finding {
    let effect = match compiled.otherwise {
        Otherwise::Deny => Effect::Deny,
        Otherwise::Abstain => Effect::Abstain,
    };
    let action = call.action.as_ref().and_then(|action| action.id.as_deref()).unwrap_or(UNKNOWN);
    let resource = call.resource.as_ref().map_or(UNKNOWN, |resource| resource.type_name.as_str());
    Finding::new("NO_RULE", effect)
        .severity(Severity::Low)
        .argument(Attribute::text("action", action))
        .argument(Attribute::text("resource", resource))
        .argument(Attribute::text("owner", &compiled.owner))
}

/// How many denials are told one by one.
pub(crate) const MAX_FINDINGS: usize = 8;

/// Stands for what the call does not say.
const UNKNOWN: &str = "?";
