//! What the settings list: subjects, resources and actions, and what is known of each.
//!
//! Invariant: each is listed once, and its attributes are values that rules can compare.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_guest::Problems;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use crate::settings::{Action, Resource, Subject};
use crate::value::Value;

/// All of one kind: all subjects, all resources, all actions.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    /// By type and id.
    by_key: FxHashMap<Box<str>, u32>,
    listed: Vec<Listed>,
    /// Ids by type, sorted by their bytes: who can be found.
    ids: BTreeMap<Box<str>, Vec<Box<str>>>,
}

/// One of them.
#[derive(Clone, Default)]
pub(crate) struct Listed {
    /// Where the settings say which.
    pub roles: Option<Vec<Box<str>>>,
    attributes: Vec<(Box<str>, Value<'static>)>,
}

impl Directory {
    /// The subjects.
    pub fn of_subjects(subjects: Vec<Subject>, problems: &mut Problems) -> Self {
        let mut directory = Self::default();
        for (at, Subject { type_name, id, roles, attributes }) in subjects.into_iter().enumerate() {
            let path = format!("subjects[{at}]");
            if roles.iter().flatten().any(String::is_empty) {
                problems.at(format_args!("{path}.roles"), "has an empty name");
            }
            let roles = roles.map(|roles| roles.into_iter().map(Into::into).collect());
            directory.add(&path, "id", &type_name, &id, roles, attributes, problems);
        }
        directory.sorted()
    }

    /// The resources.
    pub fn of_resources(resources: Vec<Resource>, problems: &mut Problems) -> Self {
        let mut directory = Self::default();
        for (at, Resource { type_name, id, attributes }) in resources.into_iter().enumerate() {
            directory.add(
                &format!("resources[{at}]"),
                "id",
                &type_name,
                &id,
                None,
                attributes,
                problems,
            );
        }
        directory.sorted()
    }

    /// The actions, and those that only rules name.
    pub fn of_actions(
        actions: Vec<Action>,
        named: BTreeSet<String>,
        problems: &mut Problems,
    ) -> Self {
        let mut directory = Self::default();
        for (at, Action { name, attributes }) in actions.into_iter().enumerate() {
            directory.add(
                &format!("actions[{at}]"),
                "name",
                ACTION,
                &name,
                None,
                attributes,
                problems,
            );
        }
        let ids = directory.ids.entry(ACTION.into()).or_default();
        ids.extend(named.into_iter().map(Into::into));
        directory.sorted()
    }

    /// What the settings say of it; `None` where they do not list it.
    pub fn get(&self, type_name: &str, id: &str) -> Option<&Listed> {
        if self.listed.is_empty() {
            return None;
        }
        self.listed.get(*self.by_key.get(key(type_name, id).as_str())? as usize)
    }

    /// Everybody, or everything, of this type: ids, sorted, each once.
    pub fn ids(&self, type_name: &str) -> &[Box<str>] {
        self.ids.get(type_name).map_or(&[], Vec::as_slice)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one entry, and where to complain of them"
    )]
    fn add(
        &mut self,
        path: &str,
        member: &str,
        type_name: &str,
        id: &str,
        roles: Option<Vec<Box<str>>>,
        attributes: BTreeMap<String, Json>,
        problems: &mut Problems,
    ) {
        if type_name.is_empty() {
            problems.at(format_args!("{path}.type"), "is empty");
        }
        if !(1..=MAX_ID_BYTES).contains(&id.len()) {
            problems.at(
                format_args!("{path}.{member}"),
                format_args!("needs 1 to {MAX_ID_BYTES} bytes"),
            );
        }
        let mut known = Vec::with_capacity(attributes.len());
        for (name, json) in attributes {
            let value = Value::from_json(&json).into_owned();
            if value == Value::Odd {
                problems.at(
                    format_args!("{path}.attributes.{name}"),
                    "must be text, a number, true or false, or a list of them",
                );
            }
            known.push((name.into_boxed_str(), value));
        }
        let number = u32::try_from(self.listed.len()).unwrap_or(u32::MAX);
        if let Some(first) = self.by_key.insert(key(type_name, id).into(), number) {
            problems.at(path, format_args!("is listed already, as number {first} from 0"));
        }
        self.listed.push(Listed { roles, attributes: known });
        self.ids.entry(type_name.into()).or_default().push(id.into());
    }

    fn sorted(mut self) -> Self {
        for ids in self.ids.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        self
    }
}

impl Listed {
    /// What the settings say of an attribute; `None` where they do not mention it. That they mention it as `null` says that
    /// there is none.
    pub fn attribute(&self, name: &str) -> Option<&Value<'static>> {
        let at = self.attributes.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        self.attributes.get(at).map(|(_, value)| value)
    }
}

fn key(type_name: &str, id: &str) -> String {
    let mut key = String::with_capacity(type_name.len() + id.len() + 1);
    key.push_str(type_name);
    key.push('\0');
    key.push_str(id);
    key
}

/// The type of every action.
pub(crate) const ACTION: &str = "action";

/// The longest id that the host takes as a result.
const MAX_ID_BYTES: usize = 1_024;
