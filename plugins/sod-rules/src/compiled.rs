//! From settings to the form that a call needs: names to functions, rules by function, exceptions
//! by person.
//!
//! Invariant: whatever compiles can be judged. Everything that does not fit together is reported,
//! each by its path.

use std::collections::{BTreeMap, BTreeSet};

use crate::bitset::{BitSet, small};
use crate::names::{Name, NameTable};
use crate::problems::{Problem, Problems};
use crate::rules::{Forbidden, Rules};
use crate::settings::{
    Action, Exception, Existing, Rule, RuleKind, Scope, Settings, Severity, TableNames,
};
use jiff::Timestamp;

/// The settings, prepared for calls.
#[derive(Clone)]
pub struct Compiled {
    /// Entitlements and roles → functions.
    pub(crate) names: NameTable,
    /// Function names, sorted.
    pub(crate) functions: Vec<String>,
    pub(crate) rules: Rules,
    /// By rule number. Rules are numbered in the order of their ids.
    pub(crate) facts: Vec<Facts>,
    /// By subject id.
    pub(crate) exceptions: BTreeMap<String, Vec<Exempt>>,
    /// The consequence of a conflict from before the call.
    pub existing: Existing,
    /// The tables that are looked up.
    pub tables: TableNames,
}

/// The facts of a rule that a finding names.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub id: String,
    /// Who answers for it.
    pub owner: String,
    /// Where it applies; everywhere without.
    pub scope: Option<Scope>,
    /// How bad a conflict is.
    pub severity: Severity,
    /// The consequence of a new conflict.
    pub action: Action,
    /// Milliseconds since the Unix epoch; from then on the rule only reports.
    pub expires: Option<u64>,
}

/// One rule that one person may break for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt {
    pub(crate) rule: u32,
    /// Milliseconds since the Unix epoch; from then on the exception is over.
    pub until: u64,
    /// The same as text.
    pub until_text: String,
    /// Who approved it.
    pub approver: String,
    /// The compensating control.
    pub control: String,
    /// Whether it is a row of a table, and not of the settings.
    pub from_table: bool,
}

/// Compiles settings.
///
/// # Errors
/// Everything that does not fit together, never nothing.
pub fn compile(settings: Settings) -> Result<Compiled, Vec<Problem>> {
    let Settings { functions, roles, mut rules, exceptions, existing, tables } = settings;
    let mut problems = Problems::default();
    check_tables(&tables, &roles, &mut problems);
    if functions.is_empty() && tables.matrix.is_none() {
        problems.at(
            "functions",
            "is empty: name what people can do, and the entitlements that let them",
        );
    }
    let names = name_table(&functions, &roles, &mut problems);
    let numbers: BTreeMap<&str, u32> = functions.keys().map(String::as_str).zip(0..).collect();
    for (at, rule) in rules.iter().enumerate() {
        check(rule, at, &numbers, &mut problems);
    }
    check_ids(&rules, &mut problems);
    // In an order that does not depend on the settings' own.
    rules.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let exceptions = by_subject(exceptions, &rules, &mut problems);
    problems.none()?;

    let forbidden: Vec<Forbidden> = rules.iter().map(|rule| forbidden(rule, &numbers)).collect();
    Ok(Compiled {
        names,
        rules: Rules::new(&forbidden, functions.len()),
        functions: functions.into_keys().collect(),
        facts: rules.into_iter().map(facts).collect(),
        exceptions,
        existing,
        tables,
    })
}

/// Whether the tables that are named can be looked up, and do not stand beside settings of the same
/// kind.
fn check_tables(
    tables: &TableNames,
    roles: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems,
) {
    let named =
        [("exceptions", &tables.exceptions), ("matrix", &tables.matrix), ("roles", &tables.roles)];
    for (member, name) in named {
        if name.as_deref().is_some_and(str::is_empty) {
            problems.at(format_args!("tables.{member}"), "is empty: name a reference table");
        }
    }
    if tables.roles.is_some() && !roles.is_empty() {
        problems.at("roles", "stands beside `tables.roles`: roles come from one of them");
    }
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
                problems.at(
                    format_args!("{what}.{name}"),
                    "needs a name and at least one entitlement, none of them empty",
                );
            }
        }
    }
    let mut named: Vec<(Name<'_>, u32)> = (0..)
        .zip(functions.values())
        .flat_map(|(function, list)| {
            list.iter().map(move |entitlement| (Name::parse(entitlement), function))
        })
        .collect();
    let direct = NameTable::new(named.iter().copied());
    if roles.is_empty() {
        return direct;
    }
    let role_numbers = NameTable::new(roles.keys().map(|role| Name::parse(role)).zip(0..));
    let members: Vec<&Vec<String>> = roles.values().collect();
    for (role, start) in roles.keys().zip(0..) {
        let (mut seen, mut open) = (BitSet::new(roles.len()), vec![start]);
        seen.insert(start);
        while let Some(inner) = open.pop() {
            for member in members.get(inner as usize).into_iter().copied().flatten() {
                let member = Name::parse(member);
                named.extend(direct.numbers(member).map(|function| (Name::parse(role), function)));
                for contained in role_numbers
                    .numbers(member)
                    .filter(|contained| !seen.has(*contained))
                    .collect::<Vec<_>>()
                {
                    seen.insert(contained);
                    open.push(contained);
                }
            }
        }
    }
    NameTable::new(named)
}

/// Tells what is wrong with a rule.
fn check(rule: &Rule, at: usize, numbers: &BTreeMap<&str, u32>, problems: &mut Problems) {
    let mut wrong =
        |member: &str, what: &str| problems.at(format_args!("rules[{at}]{member}"), what);
    let known = |function: &String| numbers.contains_key(function.as_str());
    match (rule.kind, &rule.a, &rule.b, &rule.set, rule.at_least) {
        (RuleKind::Pair, Some(a), Some(b), None, None) => {
            for (member, function) in
                [(".a", a), (".b", b)].into_iter().filter(|(_, function)| !known(function))
            {
                wrong(member, &format!("names no function: `{function}`"));
            }
            if a == b {
                wrong(".b", "is the same function as `a`");
            }
        }
        (RuleKind::Cardinality, None, None, Some(set), Some(at_least)) => {
            for (index, function) in set.iter().enumerate().filter(|(_, function)| !known(function))
            {
                wrong(&format!(".set[{index}]"), &format!("names no function: `{function}`"));
            }
            let different = set.iter().collect::<BTreeSet<_>>().len();
            if different < set.len() || !(2..=MAX_FUNCTIONS).contains(&different) {
                wrong(".set", &format!("needs 2 to {MAX_FUNCTIONS} different functions"));
            }
            if !(2..=set.len()).contains(&(at_least as usize)) {
                wrong(".at_least", "must be at least 2 and at most the size of `set`");
            }
        }
        (RuleKind::Pair, ..) => {
            wrong("", "is a pair: it needs `a` and `b`, and no `set` or `at_least`")
        }
        (RuleKind::Cardinality, ..) => {
            wrong("", "is about cardinality: it needs `set` and `at_least`, and no `a` or `b`")
        }
    }
    if rule.id.is_empty() {
        wrong(".id", "is empty");
    }
    if rule.owner.as_deref().is_none_or(str::is_empty) {
        wrong(".owner", "is missing: say who answers for this rule");
    }
    if rule
        .scope
        .as_ref()
        .is_some_and(|scope| scope.attribute.is_empty() || scope.values.is_empty())
    {
        wrong(
            ".scope",
            "needs an attribute and at least one value: without, the rule would apply nowhere",
        );
    }
}

/// What a rule that was checked forbids.
fn forbidden(rule: &Rule, numbers: &BTreeMap<&str, u32>) -> Forbidden {
    let names = rule.a.iter().chain(&rule.b).chain(rule.set.iter().flatten());
    let mut set: Vec<u32> =
        names.filter_map(|function| numbers.get(function.as_str())).copied().collect();
    set.sort_unstable();
    Forbidden { set, at_least: rule.at_least.unwrap_or(2) }
}

fn check_ids(rules: &[Rule], problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (at, rule) in rules.iter().enumerate() {
        if let Some(first) = seen.insert(rule.id.as_str(), at) {
            problems.at(
                format_args!("rules[{at}].id"),
                format_args!("is also that of `rules[{first}]`"),
            );
        }
    }
}

/// Exceptions by the person they are for. `rules` are sorted by id.
fn by_subject(
    exceptions: Vec<Exception>,
    rules: &[Rule],
    problems: &mut Problems,
) -> BTreeMap<String, Vec<Exempt>> {
    let mut by_subject: BTreeMap<String, Vec<Exempt>> = BTreeMap::new();
    for (at, exception) in exceptions.into_iter().enumerate() {
        let Exception { rule, subject, until, approver, control } = exception;
        let mut wrong =
            |member: &str, what: &str| problems.at(format_args!("exceptions[{at}].{member}"), what);
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
        let given =
            |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
        if !given(&approver) {
            wrong("approver", "is missing: somebody must answer for an exception");
        }
        if approver
            .as_deref()
            .is_some_and(|approver| approver.trim().eq_ignore_ascii_case(subject.trim()))
        {
            wrong("approver", "is the subject: nobody approves an exception for themselves");
        }
        if !given(&control) {
            wrong("control", "is missing: say what is done instead, such as a monthly review");
        }
        let (Ok(rule), Some(until), Some(approver), Some(control)) =
            (number, until, approver, control)
        else {
            continue;
        };
        let exempt = Exempt {
            rule: small(rule),
            until: millis(until),
            until_text: until.to_string(),
            approver,
            control,
            from_table: false,
        };
        by_subject.entry(subject).or_default().push(exempt);
    }
    // The longest first, then whatever tells them apart: the order in the settings must not matter.
    for list in by_subject.values_mut() {
        list.sort_by(|one, other| {
            (other.until, &one.approver, &one.control).cmp(&(
                one.until,
                &other.approver,
                &other.control,
            ))
        });
    }
    by_subject
}

fn facts(rule: Rule) -> Facts {
    Facts {
        id: rule.id,
        owner: rule.owner.unwrap_or_default(),
        scope: rule.scope,
        severity: rule.severity,
        action: rule.action,
        expires: rule.expires.map(millis),
    }
}

/// A time before 1970 is long over, whichever it was.
fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// How many functions one rule may be about: they fit one machine word.
pub const MAX_FUNCTIONS: usize = 64;
