//! Exports of Okta's API and of Microsoft Graph.
//!
//! Invariant: an object that is neither a person nor a group, and a page that another one follows,
//! are refused: what is left out would not be judged. Groups count by their names, as hooks send
//! them; a group without a name by its id.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::all_or;
use super::people::Person;
use crate::exit::CliResult;
use crate::files;

/// Reads an export of Okta.
pub fn okta(path: &Path) -> CliResult<Vec<Person>> {
    read(
        path,
        &Shape {
            login: |it| text(it.get("profile")?, "login"),
            attributes: |it| it.get("profile"),
            held: &["groups", "roles", "apps"],
            members: &["users", "members"],
            named: |it| {
                let profile = it.get("profile").and_then(|profile| text(profile, "name"));
                profile.or_else(|| text(it, "name")).or_else(|| text(it, "label"))
            },
        },
    )
}

/// Reads an export of Entra.
pub fn entra(path: &Path) -> CliResult<Vec<Person>> {
    read(
        path,
        &Shape {
            login: |it| text(it, "userPrincipalName"),
            attributes: itself,
            held: &["transitiveMemberOf", "memberOf", "appRoleAssignments"],
            members: &["transitiveMembers", "members"],
            named: |it| {
                let role =
                    text(it, "appRoleDisplayName").or_else(|| text(it, "resourceDisplayName"));
                text(it, "displayName").or(role)
            },
        },
    )
}

/// Where a platform puts things.
struct Shape {
    /// The login; only people have one.
    login: fn(&Value) -> Option<String>,
    /// The object with the attributes of a person.
    attributes: fn(&Value) -> Option<&Value>,
    /// The members with the things that a person holds.
    held: &'static [&'static str],
    /// The members with the people of a group.
    members: &'static [&'static str],
    /// The name of a thing that people hold.
    named: fn(&Value) -> Option<String>,
}

fn read(path: &Path, shape: &Shape) -> CliResult<Vec<Person>> {
    let text = files::read_text(path)?;
    let (mut people, mut problems) = (People::default(), Vec::new());
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let mut number = 0;
    loop {
        let object = match values.next() {
            None => break,
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                problems.push(format!("it is no JSON: {error}"));
                break;
            }
        };
        if object.get("@odata.nextLink").is_some() {
            problems.push("it has one page and another one follows: export all pages".to_owned());
        }
        let list = match (&object, object.get("value")) {
            (Value::Array(list), _) | (_, Some(Value::Array(list))) => list.as_slice(),
            _ => std::slice::from_ref(&object),
        };
        for object in list {
            number += 1;
            if let Err(why) = people.add(object, shape) {
                problems.push(format!("object {number} {why}"));
            }
        }
    }
    all_or(path, &problems)?;
    Ok(people.0.into_values().collect())
}

/// People by name.
#[derive(Default)]
struct People(BTreeMap<String, Person>);

impl People {
    fn add(&mut self, object: &Value, shape: &Shape) -> Result<(), String> {
        let embedded = object.get("_embedded").unwrap_or(&Value::Null);
        let lists = |names: &'static [&'static str]| {
            let both = names.iter().flat_map(|name| [object.get(*name), embedded.get(*name)]);
            both.flatten().filter_map(Value::as_array).collect::<Vec<_>>()
        };
        if let Some(person) = self.person(object, shape) {
            let held = lists(shape.held).into_iter().flatten();
            let held = held.map(|it| name(it, shape)).collect::<Option<Vec<_>>>();
            person.entitlements.extend(held.ok_or("holds something without a name or id")?);
            return Ok(());
        }
        let members = lists(shape.members);
        if members.is_empty() {
            return Err("is neither a person with a login nor a group with its people".to_owned());
        }
        let group = name(object, shape).ok_or("is a group without a name or id")?;
        for member in members.into_iter().flatten() {
            // Groups and devices in groups are no people; a person has a login.
            if let Some(person) = self.person(member, shape) {
                person.entitlements.insert(group.clone());
            }
        }
        Ok(())
    }

    /// The person that an object is, known or new.
    fn person(&mut self, object: &Value, shape: &Shape) -> Option<&mut Person> {
        let login = (shape.login)(object)?;
        let person = self.0.entry(login.clone()).or_default();
        person.name = login;
        person.id = text(object, "id").or(person.id.take());
        let attributes = (shape.attributes)(object).and_then(Value::as_object);
        for (name, value) in attributes.into_iter().flatten() {
            let values = match value {
                Value::String(text) => vec![text.clone()],
                Value::Array(list) => {
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                _ => continue,
            };
            person.attributes.entry(name.clone()).or_default().extend(values);
        }
        Some(person)
    }
}

/// The name of something that a person holds: a text, or an object with a name or an id.
fn name(value: &Value, shape: &Shape) -> Option<String> {
    let own = || (shape.named)(value).or_else(|| text(value, "id"));
    value.as_str().map(str::to_owned).or_else(own)
}

/// A function of its own, because the constructor `Some` is not one for every lifetime.
fn itself(value: &Value) -> Option<&Value> {
    Some(value)
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
