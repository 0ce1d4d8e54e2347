//! From settings to what a call needs: names to functions, rules by function, exceptions by person.
//!
//! Invariant: whatever compiles can be judged. Everything that does not fit together is told, each by its path.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portcullis_guest::{Effect, Problems, Severity};

use crate::lists::{Bits, small};
use crate::names::{Name, NameTable};
use crate::rules::{Forbidden, Rules};
use crate::settings::{Exception, Existing, Kind, Rule, Scope, Settings};

/// The settings, made ready for calls.
pub(crate) struct Compiled {
    /// Entitlements and roles → functions.
    pub names: NameTable,
    /// Function names, sorted.
    pub functions: Vec<String>,
    pub rules: Rules,
    /// By rule number. Rules are numbered in the order of their ids.
    pub facts: Vec<Facts>,
    /// By subject id.
    pub exceptions: BTreeMap<String, Vec<Exempt>>,
    pub existing: Existing,
}

/// What is said of a rule, once it is broken.
pub(crate) struct Facts {
    pub id: String,
    pub owner: String,
    pub scope: Option<Scope>,
    pub severity: Severity,
    pub effect: Effect,
    /// Milliseconds since the Unix epoch; from then on the rule only reports.
    pub expires: Option<u64>,
}

/// One rule that one person may break for a while.
pub(crate) struct Exempt {
    pub rule: u32,
    /// Milliseconds since the Unix epoch; from then on the exception is over.
    pub until: u64,
    pub until_text: String,
    pub approver: String,
    pub control: String,
}

/// Compiles settings.
pub(crate) fn compile(settings: Settings) -> Result<Compiled, Vec<String>> {
    let Settings { functions, roles, mut rules, exceptions, existing } = settings;
    let mut problems = Problems::default();
    let names = name_table(&functions, &roles, &mut problems);
    let numbers: BTreeMap<&str, u32> = functions.keys().map(String::as_str).zip(0..).collect();

    let forbidden: Vec<Forbidden> =
        rules.iter().enumerate().map(|(at, rule)| forbid(rule, at, &numbers, &mut problems)).collect();
    check_ids(&rules, &mut problems);
    let mut by_id: Vec<(Rule, Forbidden)> = rules.drain(..).zip(forbidden).collect();
    by_id.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    let (rules, forbidden): (Vec<Rule>, Vec<Forbidden>) = by_id.into_iter().unzip();

    let exceptions = by_subject(exceptions, &rules, &mut problems);
    if functions.is_empty() {
        problems.at("functions", "is empty: name what people can do, and the entitlements that let them");
    }
    problems.or(())?;
    Ok(Compiled {
        names,
        rules: Rules::new(&forbidden, functions.len()),
        functions: functions.into_keys().collect(),
        facts: rules.into_iter().map(facts).collect(),
        exceptions,
        existing,
    })
}

/// Entitlements → functions, and roles → the functions of everything they contain.
fn name_table(
    functions: &BTreeMap<String, Vec<String>>,
    roles: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems,
) -> NameTable {
    for (what, lists) in [("functions", functions), ("roles", roles)] {
        for (name, list) in lists {
            if name.is_empty() || list.is_empty() || list.iter().any(String::is_empty) {
                problems
                    .at(format_args!("{what}.{name}"), "needs a name and at least one entitlement, none of them empty");
            }
        }
    }
    let mut named: Vec<(Name<'_>, u32)> = (0..)
        .zip(functions.values())
        .flat_map(|(function, list)| list.iter().map(move |entitlement| (Name::parse(entitlement), function)))
        .collect();
    let direct = NameTable::new(named.iter().copied());
    let role_numbers = NameTable::new(roles.keys().map(|role| Name::parse(role)).zip(0..));
    let members: Vec<&Vec<String>> = roles.values().collect();
    for (role, start) in roles.keys().zip(0..) {
        let (mut seen, mut open) = (Bits::new(roles.len()), vec![start]);
        seen.insert(start);
        while let Some(inner) = open.pop() {
            for member in members.get(inner as usize).into_iter().copied().flatten() {
                let member = Name::parse(member);
                named.extend(direct.numbers(member).map(|function| (Name::parse(role), function)));
                for contained in
                    role_numbers.numbers(member).filter(|contained| !seen.has(*contained)).collect::<Vec<_>>()
                {
                    seen.insert(contained);
                    open.push(contained);
                }
            }
        }
    }
    NameTable::new(named)
}

/// The rule's functions and how many are too many. What is wrong is told, and then the result does not matter.
fn forbid(rule: &Rule, at: usize, numbers: &BTreeMap<&str, u32>, problems: &mut Problems) -> Forbidden {
    let mut number = |path: &str, function: &str| {
        let number = numbers.get(function).copied();
        if number.is_none() {
            problems.at(format_args!("rules[{at}].{path}"), format_args!("names no function: `{function}`"));
        }
        number
    };
    let forbidden = match (rule.kind, &rule.a, &rule.b, &rule.set, rule.at_least) {
        (Kind::Pair, Some(a), Some(b), None, None) => {
            let set: BTreeSet<u32> = [number("a", a), number("b", b)].into_iter().flatten().collect();
            if a == b {
                problems.at(format_args!("rules[{at}].b"), "is the same function as `a`");
            }
            Forbidden { set: set.into_iter().collect(), at_least: 2 }
        }
        (Kind::Cardinality, None, None, Some(list), Some(at_least)) => {
            let set: BTreeSet<u32> = list
                .iter()
                .enumerate()
                .filter_map(|(index, function)| number(&format!("set[{index}]"), function))
                .collect();
            if !(2..=MOST_FUNCTIONS).contains(&list.len()) || list.iter().collect::<BTreeSet<_>>().len() < list.len() {
                let what = format_args!("needs 2 to {MOST_FUNCTIONS} different functions");
                problems.at(format_args!("rules[{at}].set"), what);
            }
            if !(2..=list.len()).contains(&(at_least as usize)) {
                problems.at(format_args!("rules[{at}].at_least"), "must be at least 2 and at most the size of `set`");
            }
            Forbidden { set: set.into_iter().collect(), at_least }
        }
        (Kind::Pair, ..) => {
            problems.at(format_args!("rules[{at}]"), "is a pair: it needs `a` and `b`, and no `set` or `at_least`");
            Forbidden { set: Vec::new(), at_least: 2 }
        }
        (Kind::Cardinality, ..) => {
            let what = "is about cardinality: it needs `set` and `at_least`, and no `a` or `b`";
            problems.at(format_args!("rules[{at}]"), what);
            Forbidden { set: Vec::new(), at_least: 2 }
        }
    };
    if rule.id.is_empty() {
        problems.at(format_args!("rules[{at}].id"), "is empty");
    }
    if rule.owner.as_deref().is_none_or(str::is_empty) {
        problems.at(format_args!("rules[{at}].owner"), "is missing: say who answers for this rule");
    }
    if rule.scope.as_ref().is_some_and(|scope| scope.attribute.is_empty() || scope.values.is_empty()) {
        let what = "needs an attribute and at least one value: without, the rule would apply nowhere";
        problems.at(format_args!("rules[{at}].scope"), what);
    }
    forbidden
}

fn check_ids(rules: &[Rule], problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (at, rule) in rules.iter().enumerate() {
        if let Some(first) = seen.insert(rule.id.as_str(), at) {
            problems.at(format_args!("rules[{at}].id"), format_args!("is also that of `rules[{first}]`"));
        }
    }
}

/// Exceptions by the person they are for. `rules` are sorted by id.
fn by_subject(exceptions: Vec<Exception>, rules: &[Rule], problems: &mut Problems) -> BTreeMap<String, Vec<Exempt>> {
    let mut by_subject: BTreeMap<String, Vec<Exempt>> = BTreeMap::new();
    for (at, exception) in exceptions.into_iter().enumerate() {
        let Exception { rule, subject, until, approver, control } = exception;
        let mut wrong = |member: &str, what: &str| problems.at(format_args!("exceptions[{at}].{member}"), what);
        let number = rules.binary_search_by(|known| known.id.cmp(&rule));
        if number.is_err() {
            wrong("rule", "names no rule");
        }
        if subject.trim().is_empty() {
            wrong("subject", "is empty: an exception is for one person");
        }
        if until.is_none() {
            wrong("until", "is missing: an exception needs an end");
        }
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
        if !given(&approver) {
            wrong("approver", "is missing: somebody must answer for an exception");
        }
        if approver.as_deref().is_some_and(|approver| approver.trim().eq_ignore_ascii_case(subject.trim())) {
            wrong("approver", "is the subject: nobody approves an exception for themselves");
        }
        if !given(&control) {
            wrong("control", "is missing: say what is done instead, such as a monthly review");
        }
        let (Ok(rule), Some(until), Some(approver), Some(control)) = (number, until, approver, control) else {
            continue;
        };
        let exempt =
            Exempt { rule: small(rule), until: millis(until), until_text: until.to_string(), approver, control };
        by_subject.entry(subject).or_default().push(exempt);
    }
    // The longest first, then whatever tells them apart: the order in the settings must not matter.
    for list in by_subject.values_mut() {
        list.sort_by(|one, other| {
            (other.until, &one.approver, &one.control).cmp(&(one.until, &other.approver, &other.control))
        });
    }
    by_subject
}

fn facts(rule: Rule) -> Facts {
    Facts {
        id: rule.id,
        owner: rule.owner.unwrap_or_default(),
        scope: rule.scope,
        severity: rule.severity.severity(),
        effect: rule.action.effect(),
        expires: rule.expires.map(millis),
    }
}

/// A time before 1970 is long over, whichever it was.
fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// How many functions one rule may be about: they fit one machine word.
pub(crate) const MOST_FUNCTIONS: usize = 64;
