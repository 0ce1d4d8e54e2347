//! From a judgement to a decision: one finding for the band, one for each contribution.
//!
//! Invariant: only the band's finding has an effect, so a decision never demands more than the band
//! does; contributions abstain and explain.

use portcullis_guest::{Attribute, Decision, Effect, Finding, Severity};

use crate::attacks::Attack;
use crate::compiled::Compiled;
use crate::judge::{Assessment, Band};
use crate::settings::{BandEffect, LowEffect};
use crate::signals::Signal;

/// The decision on a sign-in.
pub(crate) fn of_assessment(assessment: &Assessment, compiled: &Compiled) -> Decision {
    let effects = &compiled.settings.effects;
    let low = match effects.low {
        LowEffect::Abstain => Effect::Abstain,
        LowEffect::Allow => Effect::Allow,
    };
    let (code, effect, severity) = match assessment.band {
        Band::High => ("RISK_HIGH", effect(effects.high), Severity::Critical),
        Band::Medium if assessment.is_confirmed => ("RISK_CONFIRMED", low, Severity::Low),
        Band::Medium => ("RISK_MEDIUM", effect(effects.medium), Severity::High),
        Band::Low if assessment.is_learning => {
            ("RISK_LEARNING", effect(effects.learning), Severity::Info)
        }
        Band::Low => ("RISK_LOW", low, Severity::Info),
    };
    let band = Finding::new(code, effect)
        .severity(severity)
        .argument(Attribute::number("points", assessment.points))
        .argument(Attribute::number("threshold", assessment.threshold));
    let mut decision = Decision { risk: Some(assessment.points), ..Decision::default() };
    decision.findings.push(band);
    for contribution in &assessment.contributions {
        let mut finding = Finding::new(contribution.signal.code(), Effect::Abstain)
            .severity(contribution.severity())
            .argument(Attribute::number("points", contribution.points));
        finding.arguments.extend(contribution.arguments.iter().cloned());
        if let (Signal::Model, Some(digest)) = (contribution.signal, &assessment.model) {
            finding.arguments.push(Attribute::text("model", digest));
        }
        decision.findings.push(finding);
    }
    if assessment.is_unreadable {
        decision.findings.push(
            Finding::new("RISK_HISTORY_UNREADABLE", Effect::Abstain).severity(Severity::Medium),
        );
    }
    for table in &assessment.stale {
        decision.findings.push(stale(table));
    }
    decision
}

/// The findings of an event. Events have happened, so the findings demand nothing.
pub(crate) fn of_attacks(attacks: &[Attack]) -> Decision {
    let mut decision = Decision::default();
    for attack in attacks {
        let signal = match attack {
            Attack::PushBombing => Signal::PushBombing,
            Attack::BruteForce => Signal::BruteForce,
            Attack::LockedOut => Signal::LockedOut,
            Attack::Spraying => Signal::Spraying,
            Attack::Stuffing => Signal::Stuffing,
            Attack::Threat => Signal::Threat,
        };
        decision.findings.push(
            Finding::new(signal.code(), Effect::Abstain)
                .severity(Severity::High)
                .argument(Attribute::number("points", 0)),
        );
    }
    decision
}

fn stale(table: &str) -> Finding {
    Finding::new("RISK_TABLE_STALE", Effect::Abstain)
        .severity(Severity::Medium)
        .argument(Attribute::text("table", table))
}

fn effect(effect: BandEffect) -> Effect {
    match effect {
        BandEffect::Abstain => Effect::Abstain,
        BandEffect::Allow => Effect::Allow,
        BandEffect::StepUp => Effect::StepUp,
        BandEffect::Review => Effect::Review,
        BandEffect::Deny => Effect::Deny,
    }
}
