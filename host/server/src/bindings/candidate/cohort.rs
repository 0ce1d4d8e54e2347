//! Whose calls a canary answers.
//!
//! Invariants: whether a call is in the cohort depends on the call, the candidate and the host's key alone, never on what came before;
//! who is in it at one percentage is in it at every higher one; without the key nobody can tell who is. A subject that is not named is in
//! no percentage, and an application or department that is not known is none of those wanted.

use std::collections::BTreeSet;

use portcullis_model::Call;
use portcullis_trust::Canary;

use crate::bindings::generation::Binding;

/// A cohort: who is all that it says.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// What the set says.
    pub canary: Canary,
    /// Makes another candidate's cohort another one, so that it is not always the same people who go first.
    salt: String,
}

/// Why a call is in a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CohortMatch {
    percent: bool,
    application: bool,
    department: bool,
}

impl Cohort {
    /// The cohort of this candidate.
    pub fn new(canary: &Canary, candidate: &Binding) -> Self {
        let salt =
            format!("{} {} {}", candidate.hook, candidate.verified.digest, candidate.settings);
        Self { canary: canary.clone(), salt }
    }

    /// Whether a call is in it, and by what. `draw` gives a number below a limit, always the same for the same text.
    pub fn matches(&self, draw: &dyn Fn(&str, u32) -> u32, call: &Call) -> Option<CohortMatch> {
        let Canary { percent, applications, departments } = &self.canary;
        if !applications.is_empty()
            && !application(call).is_some_and(|id| applications.contains(id))
        {
            return None;
        }
        if !departments.is_empty() && !of_department(call, departments) {
            return None;
        }
        if let Some(percent) = percent {
            let subject = call.subject.as_ref()?.id.as_deref()?;
            if draw(&format!("{} {subject}", self.salt), PERCENT_PARTS)
                >= percent.saturating_mul(PERCENT_PARTS / 100)
            {
                return None;
            }
        }
        Some(CohortMatch {
            percent: percent.is_some(),
            application: !applications.is_empty(),
            department: !departments.is_empty(),
        })
    }
}

impl CohortMatch {
    /// Returns a word for each condition that was met.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [
            (self.percent, "percent"),
            (self.application, "application"),
            (self.department, "department"),
        ];
        words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word)
    }
}

/// Through which application somebody comes, or to which: as records name it.
pub fn application(call: &Call) -> Option<&str> {
    let resource = call.resource.as_ref().filter(|resource| resource.type_name == "application");
    match call.actors.first() {
        Some(actor) => actor.id.as_deref(),
        None => resource.and_then(|resource| resource.id.as_deref()),
    }
}

/// Whether the subject's department is one of these.
fn of_department(call: &Call, departments: &BTreeSet<String>) -> bool {
    let attributes = call.subject.iter().flat_map(|subject| &subject.attributes);
    let mut values = attributes
        .filter(|attribute| attribute.name == *DEPARTMENT)
        .map(|attribute| &attribute.value);
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    serde_json::from_str::<String>(value).is_ok_and(|value| departments.contains(&value))
}

/// The attribute of a subject that says their department.
pub const DEPARTMENT: &str = "department";

/// A percentage is of so many parts.
const PERCENT_PARTS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_audit::Pseudonyms;
    use portcullis_keys::SymmetricKey;
    use portcullis_model::json::Document;
    use portcullis_model::{Attribute, Millis, Principal, PrincipalKind, Secrets};
    use proptest::prelude::*;

    fn call(subject: Option<&str>, application: &str, department: &str) -> Call {
        let principal = |kind, id: Option<&str>, attributes| Principal {
            kind,
            type_name: "user".to_owned(),
            id: id.map(str::to_owned),
            attributes,
            entitlements: Vec::new(),
        };
        let department =
            Attribute { name: "department".into(), value: format!("\"{department}\"").into() };
        Call {
            id: "event".to_owned(),
            correlation: None,
            tenant: "default".to_owned(),
            hook: "okta.token",
            phase: None,
            received: Millis(0),
            seed: 0,
            subject: Some(principal(PrincipalKind::Person, subject, vec![department])),
            actors: vec![principal(PrincipalKind::Service, Some(application), Vec::new())],
            action: None,
            resource: None,
            requested: Vec::new(),
            lifetimes: Vec::new(),
            origin: None,
            purpose: None,
            proposed: Vec::new(),
            payload: Document::parse(b"{}").unwrap(),
            secrets: Secrets::default(),
        }
    }

    fn cohort(
        percent: Option<u32>,
        applications: &[&str],
        departments: &[&str],
        salt: &str,
    ) -> Cohort {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let canary =
            Canary { percent, applications: set(applications), departments: set(departments) };
        Cohort { canary, salt: salt.to_owned() }
    }

    fn within(cohort: &Cohort, key: u8, call: &Call) -> bool {
        let pseudonyms = Pseudonyms::new(&SymmetricKey::from_bytes([key; 32]), 1);
        cohort
            .matches(&|value, limit| pseudonyms.number("default", "cohort", value, limit), call)
            .is_some()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn as_many_as_are_wanted_always_the_same_and_at_a_higher_percentage_more(
            percent in 1..100u32, more in 0..50u32, salt in "[a-z]{1,8}", key in any::<u8>(),
        ) {
            let (small, large) =
                (cohort(Some(percent), &[], &[], &salt), cohort(Some((percent + more).min(100)), &[], &[], &salt));
            let people: Vec<_> = (0..4_000).map(|number| call(Some(&format!("00u{number}")), "0oa1", "radiology")).collect();
            let chosen: Vec<_> = people.iter().map(|call| within(&small, key, call)).collect();
            // In another order, as if nobody had been asked before.
            for (call, chosen) in people.iter().zip(&chosen).rev().step_by(7) {
                prop_assert_eq!(within(&small, key, call), *chosen);
                prop_assert!(!chosen || within(&large, key, call));
            }
            let count = chosen.iter().filter(|chosen| **chosen).count() as f64;
            let (expected, p) = (4_000.0 * f64::from(percent) / 100.0, f64::from(percent) / 100.0);
            // Six standard deviations of a binomial.
            prop_assert!((count - expected).abs() < 6.0 * (4_000.0 * p * (1.0 - p)).sqrt() + 1.0, "{} of {}", count, expected);
        }
    }

    #[test]
    fn another_candidate_or_another_key_chooses_others() {
        let half = |salt: &str| cohort(Some(50), &[], &[], salt);
        let people: Vec<_> =
            (0..400).map(|number| call(Some(&format!("00u{number}")), "0oa1", "x")).collect();
        let chosen = |cohort: &Cohort, key| {
            people.iter().map(|call| within(cohort, key, call)).collect::<Vec<_>>()
        };
        let one = chosen(&half("a"), 1);
        let same =
            |other: Vec<bool>| one.iter().zip(&other).filter(|(one, other)| one == other).count();
        for other in [chosen(&half("b"), 1), chosen(&half("a"), 2)] {
            assert!((120..280).contains(&same(other)), "half of them by chance");
        }
    }

    #[test]
    fn all_that_is_said_must_hold() {
        let radiology = call(Some("00u1"), "0oaportal", "radiology");
        assert!(within(
            &cohort(None, &["0oaportal"], &["radiology", "surgery"], "s"),
            1,
            &radiology
        ));
        assert!(within(&cohort(Some(100), &["0oaportal"], &[], "s"), 1, &radiology));
        assert!(!within(&cohort(Some(100), &["0oaother"], &[], "s"), 1, &radiology));
        assert!(!within(&cohort(None, &["0oaportal"], &["surgery"], "s"), 1, &radiology));
        assert!(
            !within(&cohort(Some(100), &[], &[], "s"), 1, &call(None, "0oaportal", "radiology")),
            "nobody"
        );
        let why = cohort(Some(100), &["0oaportal"], &["radiology"], "s")
            .matches(&|_, _| 0, &radiology)
            .unwrap();
        assert_eq!(why.words().collect::<Vec<_>>(), ["percent", "application", "department"]);
    }
}
