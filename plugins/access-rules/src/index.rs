//! The index: from a call to the rules that can concern it.
//!
//! A rule that names resources, subjects, roles, actions or types cannot apply where none of those it names is there. So each
//! is filed under the kind of name that fewest others are filed under, and a call looks only where its own names lead.
//!
//! Invariant: whatever the index leaves out would not have applied. For a call that is [not complete](Scene::is_complete)
//! it leaves out nothing, because there an unknown can make a denial apply.

use rustc_hash::FxHashMap;

use crate::compiled::Rule;
use crate::scene::Scene;

/// Rules by what they name.
#[derive(Clone, Default)]
pub(crate) struct Index {
    filed: FxHashMap<Box<str>, Vec<u32>>,
    /// Those that name nothing that could be looked up.
    everywhere: Vec<u32>,
    count: u32,
}

impl Index {
    /// Files all rules.
    pub fn new(rules: &[Rule]) -> Self {
        let options: Vec<Vec<Vec<Box<str>>>> = rules.iter().map(options).collect();
        let mut crowd: FxHashMap<&str, usize> = FxHashMap::default();
        for key in options.iter().flatten().flatten() {
            *crowd.entry(key).or_default() += 1;
        }
        let crowded = |keys: &Vec<Box<str>>| {
            keys.iter().filter_map(|key| crowd.get(key.as_ref())).copied().max().unwrap_or(usize::MAX)
        };
        let mut index = Self { count: u32::try_from(rules.len()).unwrap_or(u32::MAX), ..Self::default() };
        for (number, options) in (0..).zip(&options) {
            match options.iter().min_by_key(|keys| crowded(keys)) {
                Some(keys) => keys.iter().for_each(|key| index.filed.entry(key.clone()).or_default().push(number)),
                None => index.everywhere.push(number),
            }
        }
        index
    }

    /// The numbers of the rules that can concern a call, smallest first, each once.
    pub fn rules(&self, scene: &Scene<'_>) -> Vec<u32> {
        if !scene.is_complete() {
            return (0..self.count).collect();
        }
        let mut rules = self.everywhere.clone();
        let (subject, resource) = (&scene.subject, &scene.resource);
        let (action, kind) = (scene.action.id.unwrap_or_default(), resource.type_name.unwrap_or_default());
        let mut key = String::with_capacity(128);
        let mut look = |parts: [&str; 3]| {
            spell(&mut key, parts);
            rules.extend(self.filed.get(key.as_str()).into_iter().flatten());
        };
        look([RESOURCE, resource.id.unwrap_or_default(), ""]);
        look([SUBJECT, subject.id.unwrap_or_default(), ""]);
        scene.roles.iter().for_each(|role| look([ROLE, role, ""]));
        [[ACTION_ON, action, kind], [ACTION, action, ""], [ON, "", kind]].into_iter().for_each(&mut look);
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// Under which keys a rule can be filed: several ways, each of them complete.
fn options(rule: &Rule) -> Vec<Vec<Box<str>>> {
    let keys = |head: &str, names: &Option<Vec<String>>| -> Option<Vec<Box<str>>> {
        let names = names.as_ref().filter(|names| names.len() <= MOST_KEYS)?;
        Some(names.iter().map(|name| spelled([head, name, ""])).collect())
    };
    let (actions, types) = (&rule.actions, &rule.resource_types);
    let both = match (actions, types) {
        (Some(actions), Some(types)) if actions.len().saturating_mul(types.len()) <= MOST_KEYS => {
            let each = |action| types.iter().map(move |kind: &String| spelled([ACTION_ON, action, kind]));
            Some(actions.iter().flat_map(|action: &String| each(action)).collect())
        }
        _ => None,
    };
    let on = types.as_ref().filter(|types| types.len() <= MOST_KEYS);
    let on = on.map(|types| types.iter().map(|kind| spelled([ON, "", kind])).collect());
    [
        keys(RESOURCE, &rule.resource_ids),
        keys(SUBJECT, &rule.subject_ids),
        keys(ROLE, &rule.roles),
        both,
        keys(ACTION, actions),
        on,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn spelled(parts: [&str; 3]) -> Box<str> {
    let mut key = String::new();
    spell(&mut key, parts);
    key.into()
}

fn spell(key: &mut String, [head, one, other]: [&str; 3]) {
    key.clear();
    for part in [head, one, "\0", other] {
        key.push_str(part);
    }
}

/// A rule that names more than this of one kind is not filed under them: it would be found too often, and take too much room.
const MOST_KEYS: usize = 1_024;

const RESOURCE: &str = "r";
const SUBJECT: &str = "s";
const ROLE: &str = "o";
const ACTION_ON: &str = "b";
const ACTION: &str = "a";
const ON: &str = "t";
