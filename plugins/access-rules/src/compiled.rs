//! From settings to what a call needs: rules by what they name, and what is listed by its name.
//!
//! Invariant: whatever compiles can be judged. Everything that does not fit together is told, each by its path.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portcullis_guest::Problems;
use rustc_hash::FxHashMap;

use crate::condition::Condition;
use crate::directory::Directory;
use crate::hours::Hours;
use crate::index::Index;
use crate::path::{Path, Place};
use crate::request::{EntityView, EvaluationRequest};
use crate::settings::{self, Otherwise, Properties, RuleEffect, Settings};

/// The settings, prepared for calls.
#[derive(Clone)]
pub(crate) struct Compiled {
    pub owner: String,
    /// Sorted by id.
    pub rules: Vec<Rule>,
    pub index: Index,
    pub subjects: Directory,
    pub resources: Directory,
    pub actions: Directory,
    /// Role → every role that it includes, to any depth.
    pub included: FxHashMap<String, Vec<String>>,
    pub role_attributes: Vec<String>,
    pub properties: Properties,
    pub otherwise: Otherwise,
}

/// One rule. Where a list is `None`, anything will do; a list is sorted, each name once.
#[derive(Clone)]
pub(crate) struct Rule {
    pub id: String,
    pub allows: bool,
    pub owner: String,
    pub subject_types: Option<Vec<String>>,
    pub subject_ids: Option<Vec<String>>,
    pub roles: Option<Vec<String>>,
    pub subject_listed: Option<bool>,
    pub actions: Option<Vec<String>>,
    pub resource_types: Option<Vec<String>>,
    pub resource_ids: Option<Vec<String>>,
    pub resource_listed: Option<bool>,
    pub when: Vec<Condition>,
    hours: Option<Hours>,
    /// Milliseconds since the Unix epoch: from then on, and before then.
    from: Option<u64>,
    until: Option<u64>,
}

/// Whether a rule is for a call.
pub(crate) enum Applies {
    Yes,
    No,
    /// Nobody knows, because this is not known.
    Unknown(Path),
}

/// Compiles settings.
pub(crate) fn compile(settings: Settings) -> Result<Compiled, Vec<String>> {
    let mut problems = Problems::default();
    if settings.owner.is_empty() {
        problems.at("owner", "is empty: say who answers for these rules");
    }
    if settings.rules.is_empty() {
        problems.at("rules", "is empty: nobody could do anything");
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(settings.rules.len());
    let mut seen = BTreeMap::new();
    for (at, source) in settings.rules.into_iter().enumerate() {
        if let Some(first) = seen.insert(source.id.clone(), at) {
            problems.at(
                format_args!("rules[{at}].id"),
                format_args!("is also that of `rules[{first}]`"),
            );
        }
        rules.push(rule(source, at, &settings.owner, &mut problems));
    }
    // In an order that does not depend on the settings' own.
    rules.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let named: BTreeSet<String> =
        rules.iter().filter_map(|rule| rule.actions.as_ref()).flatten().cloned().collect();
    let subjects = Directory::of_subjects(settings.subjects, &mut problems);
    let resources = Directory::of_resources(settings.resources, &mut problems);
    let actions = Directory::of_actions(settings.actions, named, &mut problems);
    let included = included(&settings.roles, &mut problems);
    problems.or(())?;
    Ok(Compiled {
        owner: settings.owner,
        index: Index::new(&rules),
        rules,
        subjects,
        resources,
        actions,
        included,
        role_attributes: settings.role_attributes,
        properties: settings.properties,
        otherwise: settings.otherwise,
    })
}

impl Rule {
    /// Whether it is for this call.
    pub fn applies(&self, scene: &EvaluationRequest<'_>) -> Applies {
        let mut unknown = None;
        for (met, path) in self.names(scene).into_iter().chain(self.clock(scene)) {
            match met {
                Some(true) => {}
                Some(false) => return Applies::No,
                None => unknown = unknown.or(path),
            }
        }
        for condition in &self.when {
            match condition.met(scene) {
                Some(true) => {}
                Some(false) => return Applies::No,
                None => unknown = unknown.or_else(|| Some(condition.unknown(scene).clone())),
            }
        }
        unknown.map_or(Applies::Yes, Applies::Unknown)
    }

    /// What it names, and what is missing where that cannot be judged.
    fn names(&self, scene: &EvaluationRequest<'_>) -> [(Option<bool>, Option<Path>); 8] {
        let among = |names: &Option<Vec<String>>, name: Option<&str>| {
            let Some(names) = names else { return Some(true) };
            name.map(|name| names.binary_search_by(|known| known.as_str().cmp(name)).is_ok())
        };
        let listed = |wanted: Option<bool>, part: &EntityView<'_>| match wanted {
            Some(wanted) => part.id.map(|_| part.listed.is_some() == wanted),
            None => Some(true),
        };
        let roles = match (&self.roles, scene.subject.type_name) {
            (None, _) => Some(true),
            (Some(_), None) => None,
            (Some(wanted), Some(_)) => {
                Some(scene.roles.iter().any(|role| wanted.binary_search(role).is_ok()))
            }
        };
        let EvaluationRequest { subject, action, resource, .. } = scene;
        [
            (among(&self.actions, action.id), Some(Path::Id(Place::Action))),
            (among(&self.resource_types, resource.type_name), Some(Path::Type(Place::Resource))),
            (among(&self.resource_ids, resource.id), Some(Path::Id(Place::Resource))),
            (among(&self.subject_types, subject.type_name), Some(Path::Type(Place::Subject))),
            (among(&self.subject_ids, subject.id), Some(Path::Id(Place::Subject))),
            (roles, Some(Path::Roles)),
            (listed(self.subject_listed, subject), Some(Path::Id(Place::Subject))),
            (listed(self.resource_listed, resource), Some(Path::Id(Place::Resource))),
        ]
    }

    /// What it says about the time. The clock is always known; a moment that no calendar has is within no hours.
    fn clock(&self, scene: &EvaluationRequest<'_>) -> [(Option<bool>, Option<Path>); 2] {
        let begun = self.from.is_none_or(|from| scene.received >= from);
        let over = self.until.is_some_and(|until| scene.received >= until);
        let within = self
            .hours
            .as_ref()
            .is_none_or(|hours| hours.contain(scene.received).unwrap_or(!self.allows));
        [(Some(begun && !over), None), (Some(within), None)]
    }
}

fn rule(source: settings::Rule, at: usize, owner: &str, problems: &mut Problems) -> Rule {
    let settings::Rule {
        id,
        effect,
        owner: own,
        subject,
        action,
        resource,
        when,
        hours,
        from,
        until,
    } = source;
    let path = format!("rules[{at}]");
    if id.is_empty() {
        problems.at(format_args!("{path}.id"), "is empty");
    }
    if own.as_deref() == Some("") {
        problems.at(
            format_args!("{path}.owner"),
            "is empty: leave it out, or say who answers for this rule",
        );
    }
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        problems.at(
            format_args!("{path}.until"),
            "is not later than `from`: the rule would never apply",
        );
    }
    let hours = hours.and_then(|hours| Hours::compile(&hours, &format!("{path}.hours"), problems));
    let when = when.into_iter().enumerate();
    let when = when
        .filter_map(|(number, condition)| {
            Condition::compile(condition, &format!("{path}.when[{number}]"), problems)
        })
        .collect();
    let mut list = |member: &str, names: Option<Vec<String>>| {
        let mut names = names?;
        if names.is_empty() || names.iter().any(String::is_empty) {
            problems.at(
                format_args!("{path}.{member}"),
                "needs at least one name, none of them empty: leave it out for any",
            );
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    };
    let rule = Rule {
        id,
        allows: effect == RuleEffect::Allow,
        owner: own.unwrap_or_else(|| owner.to_owned()),
        subject_types: list("subject.types", subject.types),
        subject_ids: list("subject.ids", subject.ids),
        roles: list("subject.roles", subject.roles),
        subject_listed: subject.listed,
        actions: list("action.names", action.names),
        resource_types: list("resource.types", resource.types),
        resource_ids: list("resource.ids", resource.ids),
        resource_listed: resource.listed,
        when,
        hours,
        from: from.map(millis),
        until: until.map(millis),
    };
    if rule.allows && rule.is_for_everything() {
        problems
            .at(&path, "allows everything to everybody: say at least for whom, or what, or when");
    }
    rule
}

impl Rule {
    fn is_for_everything(&self) -> bool {
        let lists = [
            &self.subject_types,
            &self.subject_ids,
            &self.roles,
            &self.actions,
            &self.resource_types,
            &self.resource_ids,
        ];
        lists.iter().all(|list| list.is_none())
            && self.subject_listed.is_none()
            && self.resource_listed.is_none()
            && self.when.is_empty()
    }
}

/// Role → everything it includes, to any depth; circles are fine.
fn included(
    roles: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems,
) -> FxHashMap<String, Vec<String>> {
    for (role, includes) in roles {
        if role.is_empty() || includes.iter().any(String::is_empty) {
            problems.at(format_args!("roles.{role}"), "has an empty name");
        }
    }
    let all = |role: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![role]);
        while let Some(next) = open.pop() {
            for inner in roles.get(next).into_iter().flatten() {
                if seen.insert(inner.clone()) {
                    open.push(inner);
                }
            }
        }
        seen.into_iter().collect()
    };
    roles.keys().map(|role| (role.clone(), all(role))).collect()
}

/// A time before 1970 is long over, whichever it was.
fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
