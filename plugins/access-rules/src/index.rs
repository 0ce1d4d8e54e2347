//! The index: from a call to the rules that can concern it.
//!
//! A rule that names resources, subjects, roles, actions or types cannot apply where none of those it names is there. So each
//! is filed under the kind of name that fewest others are filed under, and a call looks only where its own names lead.
//!
//! Invariant: whatever the index leaves out would not have applied. Where a call does not say something, all rules that are filed
//! under that are considered, because there an unknown can make a denial apply.

use rustc_hash::FxHashMap;

use crate::compiled::Rule;
use crate::request::EvaluationRequest;

/// Rules by what they name.
#[derive(Clone, Default)]
pub(crate) struct Index {
    /// By kind of name and name.
    filed: FxHashMap<Box<str>, Vec<u32>>,
    /// By kind of name.
    of_kind: FxHashMap<Box<str>, Vec<u32>>,
    /// Those that name nothing that could be looked up.
    everywhere: Vec<u32>,
}

impl Index {
    /// Files all rules.
    pub fn new(rules: &[Rule]) -> Self {
        let options: Vec<Vec<Filing>> = rules.iter().map(options).collect();
        let mut crowd: FxHashMap<&str, usize> = FxHashMap::default();
        for key in options.iter().flatten().flat_map(|filing| &filing.keys) {
            *crowd.entry(key).or_default() += 1;
        }
        let crowded = |filing: &&Filing| {
            let crowds = filing.keys.iter().filter_map(|key| crowd.get(key.as_ref())).copied();
            crowds.max().unwrap_or(usize::MAX)
        };
        let mut index = Self::default();
        for (number, options) in (0..).zip(&options) {
            let Some(Filing { kind, keys }) = options.iter().min_by_key(crowded) else {
                index.everywhere.push(number);
                continue;
            };
            index.of_kind.entry((*kind).into()).or_default().push(number);
            keys.iter().for_each(|key| index.filed.entry(key.clone()).or_default().push(number));
        }
        index
    }

    /// The numbers of the rules that can concern a call, smallest first, each once.
    pub fn rules(&self, scene: &EvaluationRequest<'_>) -> Vec<u32> {
        let mut rules = self.everywhere.clone();
        let mut key = String::with_capacity(128);
        let mut look = |kind: &str, names: Option<[&str; 2]>| {
            let found = match names {
                Some(names) => {
                    spell(&mut key, kind, names);
                    self.filed.get(key.as_str())
                }
                None => self.of_kind.get(kind),
            };
            rules.extend(found.into_iter().flatten());
        };
        let (action, on) = (scene.action.id, scene.resource.type_name);
        look(RESOURCE, alone(scene.resource.id));
        look(SUBJECT, alone(scene.subject.id));
        look(ACTION_ON, action.zip(on).map(|(action, on)| [action, on]));
        look(ACTION, alone(action));
        look(ON, alone(on));
        match scene.subject.type_name {
            Some(_) => scene.roles.iter().for_each(|role| look(ROLE, Some([role, ""]))),
            None => look(ROLE, None),
        }
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// One way to file a rule: it cannot apply where none of these is.
struct Filing {
    kind: &'static str,
    keys: Vec<Box<str>>,
}

/// Every way to file a rule.
fn options(rule: &Rule) -> Vec<Filing> {
    let spelled = |kind: &str, names: [&str; 2]| {
        let mut key = String::new();
        spell(&mut key, kind, names);
        key.into_boxed_str()
    };
    let filed = |kind: &'static str, names: &Option<Vec<String>>| {
        let names = names.as_ref().filter(|names| names.len() <= MAX_KEYS)?;
        Some(Filing { kind, keys: names.iter().map(|name| spelled(kind, [name, ""])).collect() })
    };
    let (actions, types) = (&rule.actions, &rule.resource_types);
    let both = actions.as_ref().zip(types.as_ref());
    let both =
        both.filter(|(actions, types)| actions.len().saturating_mul(types.len()) <= MAX_KEYS);
    let both = both.map(|(actions, types)| {
        let each = |action: &String| {
            types.iter().map(|on| spelled(ACTION_ON, [action, on])).collect::<Vec<_>>()
        };
        Filing { kind: ACTION_ON, keys: actions.iter().flat_map(each).collect() }
    });
    [
        filed(RESOURCE, &rule.resource_ids),
        filed(SUBJECT, &rule.subject_ids),
        filed(ROLE, &rule.roles),
        both,
        filed(ACTION, actions),
        filed(ON, types),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A name that is looked up by itself.
fn alone(name: Option<&str>) -> Option<[&str; 2]> {
    name.map(|name| [name, ""])
}

fn spell(key: &mut String, kind: &str, [one, other]: [&str; 2]) {
    key.clear();
    for part in [kind, one, "\0", other] {
        key.push_str(part);
    }
}

/// A rule that names more than this of one kind is not filed under them: it would be found too often, and take too much room.
const MAX_KEYS: usize = 1_024;

const RESOURCE: &str = "r";
const SUBJECT: &str = "s";
const ROLE: &str = "o";
const ACTION_ON: &str = "b";
const ACTION: &str = "a";
const ON: &str = "t";
