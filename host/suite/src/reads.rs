//! Settings that name an input of the plugin (an attribute, say) checked against the manifest's
//! `reads`.
//!
//! Invariant: an input that a setting names and the manifest does not read is a complaint, because
//! a rule on it would never apply. The schema marks such settings with `x-reads`: a path of
//! `reads`, or several, in which `*` stands for the setting's text; or such paths by how the text
//! begins, and then `*` stands for the rest of it. Schemas without the mark are not checked; one
//! whose mark stands where it would not be found is refused. This reads a schema and does not
//! validate: [`check_settings`](crate::check_settings) does.

use std::collections::{HashMap, HashSet};

use jsonschema::Validator;
use portcullis_model::Reads;
use portcullis_model::json::escape_token;
use serde_json::{Value, json};

use crate::validator::{SettingError, compile};

/// Returns a complaint for each setting that names an input which `reads` leaves out.
///
/// # Errors
/// The reason why a mark of the schema would not be found.
pub(crate) fn check_reads(
    schema: &Value,
    settings: &Value,
    reads: &Reads,
) -> Result<Vec<SettingError>, String> {
    if !has_mark(schema) {
        return Ok(Vec::new());
    }
    Reached::new(schema).check()?;
    let mut walk = Walk {
        root: schema,
        reads,
        seen: HashSet::new(),
        conditions: HashMap::new(),
        patterns: HashMap::new(),
        is_too_deep: false,
        found: Vec::new(),
    };
    walk.visit(schema, settings, "", 0);
    if walk.is_too_deep {
        return Err(format!("`{MARK}` is not followed deeper than {MAX_DEPTH} nested schemas"));
    }
    walk.found.sort();
    walk.found.dedup();
    let complaint = |(pointer, what)| SettingError { pointer, what };
    Ok(walk.found.into_iter().map(complaint).collect())
}

struct Walk<'a> {
    root: &'a Value,
    reads: &'a Reads,
    /// Schemas that were followed at a place of the settings.
    seen: HashSet<(*const Value, String)>,
    /// Conditions of the schema; `None` where one cannot be used by itself.
    conditions: HashMap<*const Value, Option<Validator>>,
    /// Patterns of names, by the schema that each leads to.
    patterns: HashMap<*const Value, Option<Validator>>,
    is_too_deep: bool,
    found: Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    /// Follows the schema and the settings together. Every branch of `oneOf` and `anyOf` is
    /// followed: a branch that does not apply has no settings to mark, or marks them alike.
    fn visit(&mut self, schema: &'a Value, settings: &Value, pointer: &str, depth: usize) {
        if !self.seen.insert((std::ptr::from_ref(schema), pointer.to_owned())) {
            return;
        }
        if depth > MAX_DEPTH {
            self.is_too_deep = true;
            return;
        }
        let depth = depth + 1;
        if let (Some(mark), Some(text)) = (schema.get(MARK), settings.as_str()) {
            self.check(mark, text, pointer);
        }
        if let Some(target) = schema.get("$ref").and_then(|target| resolve(self.root, target)) {
            self.visit(target, settings, pointer, depth);
        }
        for branch in LISTS.iter().flat_map(|list| elements(schema, list)) {
            self.visit(branch, settings, pointer, depth);
        }
        if let Some(condition) = schema.get("if") {
            let holds = self.holds(condition, settings);
            for (branch, applies) in [("then", true), ("else", false)] {
                if let Some(branch) = schema.get(branch).filter(|_| holds != Some(!applies)) {
                    self.visit(branch, settings, pointer, depth);
                }
            }
        }
        match settings {
            Value::Object(members) => {
                for (name, below) in members_of(schema, "dependentSchemas") {
                    if members.contains_key(name) {
                        self.visit(below, settings, pointer, depth);
                    }
                }
                for (name, member) in members {
                    self.member(schema, name, member, pointer, depth);
                }
            }
            Value::Array(items) => {
                let first: Vec<_> = elements(schema, "prefixItems").collect();
                for (position, element) in items.iter().enumerate() {
                    let below = first.get(position).copied().or_else(|| schema.get("items"));
                    let place = format!("{pointer}/{position}");
                    if let Some(below) = below {
                        self.visit(below, element, &place, depth);
                    }
                    if let Some(contained) = schema.get("contains")
                        && self.holds(contained, element) != Some(false)
                    {
                        self.visit(contained, element, &place, depth);
                    }
                }
            }
            _ => {}
        }
    }

    /// Follows everything that a schema of an object says of one member and its name.
    fn member(&mut self, schema: &'a Value, name: &str, member: &Value, above: &str, depth: usize) {
        let pointer = format!("{above}/{}", escape_token(name));
        let text = Value::from(name);
        if let Some(names) = schema.get("propertyNames") {
            // A name is told by the member's place, and is another thing than what stands there.
            let found = self.found.len();
            let place = format!("{pointer}\u{0}");
            self.visit(names, &text, &place, depth);
            for (told, _) in self.found.iter_mut().skip(found) {
                pointer.clone_into(told);
            }
        }
        let named = schema.get("properties").and_then(|properties| properties.get(name));
        let mut is_named = named.is_some();
        let mut below: Vec<_> = named.into_iter().collect();
        for (pattern, schema) in members_of(schema, "patternProperties") {
            if self.matches(pattern, schema, &text) != Some(false) {
                is_named = true;
                below.push(schema);
            }
        }
        if !is_named {
            below.extend(schema.get("additionalProperties"));
        }
        for schema in below {
            self.visit(schema, member, &pointer, depth);
        }
    }

    /// Whether a schema within the root holds of a value; `None` where that cannot be told.
    fn holds(&mut self, condition: &'a Value, settings: &Value) -> Option<bool> {
        let root = self.root;
        let validator = self.conditions.entry(std::ptr::from_ref(condition)).or_insert_with(|| {
            let definitions = |name| root.get(name).cloned().unwrap_or_else(|| json!({}));
            // References from here lead to the root's definitions.
            let schema = json!({
                "allOf": [condition],
                "$defs": definitions("$defs"), "definitions": definitions("definitions"),
            });
            compile(&schema).ok()
        });
        validator.as_ref().map(|validator| validator.is_valid(settings))
    }

    /// Whether a pattern matches the name of a member. It is kept by the schema that it leads to.
    fn matches(&mut self, pattern: &str, schema: &'a Value, name: &Value) -> Option<bool> {
        let address = std::ptr::from_ref(schema);
        let validator = self
            .patterns
            .entry(address)
            .or_insert_with(|| compile(&json!({ "pattern": pattern })).ok());
        validator.as_ref().map(|validator| validator.is_valid(name))
    }

    fn check(&mut self, mark: &Value, text: &str, pointer: &str) {
        let beginnings = mark.as_object().into_iter().flatten();
        let longest = beginnings
            .filter_map(|(start, paths)| {
                Some((start.len(), paths, text.strip_prefix(start.as_str())?))
            })
            .max_by_key(|(length, ..)| *length);
        let (mark, text) = longest.map_or((mark, text), |(_, paths, rest)| (paths, rest));
        let one = mark.as_str();
        let several = mark.as_array().into_iter().flatten().filter_map(Value::as_str);
        let paths: Vec<_> =
            one.into_iter().chain(several).map(|path| path.replacen('*', text, 1)).collect();
        if !paths.is_empty() && !paths.iter().any(|path| self.reads.covers_path(path)) {
            let what = format!(
                "the plugin's manifest does not read {}; add it to `reads` and sign the plugin \
                 again, or name an input that it reads",
                paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(" or ")
            );
            self.found.push((pointer.to_owned(), what));
        }
    }
}

/// The schemas that [`Walk`] can come to, whatever the settings are.
struct Reached<'a> {
    root: &'a Value,
    seen: HashSet<*const Value>,
}

impl<'a> Reached<'a> {
    fn new(root: &'a Value) -> Self {
        Self { root, seen: HashSet::new() }
    }

    /// Refuses a schema with a mark that would not be found.
    fn check(mut self) -> Result<(), String> {
        let mut left = vec![self.root];
        while let Some(schema) = left.pop() {
            if !self.seen.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            if let Some(keyword) = NOT_FOLLOWED.iter().find(|keyword| hides(schema, keyword)) {
                return Err(format!("`{MARK}` has no effect below `{keyword}`; put it elsewhere"));
            }
            if let Some(target) = schema.get("$ref") {
                let Some(target) = resolve(self.root, target) else {
                    return Err(format!(
                        "`{MARK}` has an effect through references such as `#/$defs/NAME` only"
                    ));
                };
                left.push(target);
            }
            left.extend(ONE.iter().filter_map(|keyword| schema.get(keyword)));
            left.extend(
                LISTS.iter().chain(&["prefixItems"]).flat_map(|list| elements(schema, list)),
            );
            left.extend(MAPS.iter().flat_map(|map| members_of(schema, map)).map(|(_, it)| it));
        }
        Ok(())
    }
}

/// Whether a mark stands below a keyword, or may by a reference. A condition that refers to a
/// schema with a mark tries a text, and names nothing by it.
fn hides(schema: &Value, keyword: &str) -> bool {
    let refers = |below| !CONDITIONS.contains(&keyword) && has_reference(below);
    schema.get(keyword).is_some_and(|below| has_mark(below) || refers(below))
}

/// Whether a mark stands anywhere in a schema.
fn has_mark(schema: &Value) -> bool {
    has_member(schema, &|name| name == MARK)
}

fn has_reference(schema: &Value) -> bool {
    schema.is_string() || has_member(schema, &|name| name.ends_with("Ref") || name == "$ref")
}

fn has_member(value: &Value, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, member)| wanted(name) || has_member(member, wanted))
        }
        Value::Array(elements) => elements.iter().any(|element| has_member(element, wanted)),
        _ => false,
    }
}

/// The schema that a reference within the same schema leads to.
fn resolve<'a>(root: &'a Value, reference: &Value) -> Option<&'a Value> {
    root.pointer(reference.as_str()?.strip_prefix('#')?)
}

fn elements<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn members_of<'a>(
    schema: &'a Value,
    keyword: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// The mark in a schema.
const MARK: &str = "x-reads";
/// Nested schemas that are followed: many times those of any plugin, and an end for a schema that
/// nests without end.
const MAX_DEPTH: usize = 256;
/// Keywords with schemas that hold of the same value.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with one schema that are followed. A condition itself names nothing.
const ONE: [&str; 6] =
    ["then", "else", "items", "contains", "additionalProperties", "propertyNames"];
/// Keywords with a schema a name that are followed.
const MAPS: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
/// Keywords with a schema that chooses.
const CONDITIONS: [&str; 2] = ["if", "not"];
/// Keywords with schemas that are not followed: what they hold of is known to a validator alone, or
/// they are of older drafts.
const NOT_FOLLOWED: [&str; 10] = [
    "not",
    "if",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
    "dependencies",
    "contentSchema",
    "extends",
    "$dynamicRef",
    "$recursiveRef",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(schema: &Value, settings: &Value) -> Vec<String> {
        let reads = ["subject.attributes.facility", "resource.attributes.*"].map(str::to_owned);
        let reads = Reads::compile(&reads, &[]).unwrap();
        let complaints = check_reads(schema, settings, &reads).unwrap();
        complaints.into_iter().map(|it| it.pointer).collect()
    }

    #[test]
    fn marked_settings_are_found_through_references_lists_and_branches() {
        let schema = json!({
            "properties": {"rules": {"type": "array", "items": {"oneOf": [
                {"$ref": "#/$defs/rule"}, {"$ref": "#/$defs/rule"}
            ]}}},
            "additionalProperties": {"$ref": "#/$defs/name"},
            "$defs": {
                "rule": {"properties": {"attribute": {"$ref": "#/$defs/name"}}},
                "name": {"type": "string", "x-reads": "subject.attributes.*"}
            }
        });
        let settings =
            json!({"rules": [{"attribute": "facility"}, {"attribute": "ward"}], "a/b": "x"});
        assert_eq!(pointers(&schema, &settings), ["/a~1b", "/rules/1/attribute"]);
    }

    #[test]
    fn a_condition_chooses_what_is_named() {
        let name = |place: &str| json!({"properties": {"attribute": {"x-reads": format!("{place}.attributes.*")}}});
        let schema = json!({
            "if": {"properties": {"of": {"const": "resource"}}, "required": ["of"]},
            "then": name("resource"),
            "else": name("subject")
        });
        assert!(pointers(&schema, &json!({"of": "resource", "attribute": "ward"})).is_empty());
        assert_eq!(pointers(&schema, &json!({"attribute": "ward"})), ["/attribute"]);
        assert!(pointers(&schema, &json!({"attribute": "facility"})).is_empty());
    }

    #[test]
    fn any_of_several_paths_is_enough_and_a_schema_of_itself_ends() {
        let both = json!({"x-reads": ["subject.attributes.*", "resource.attributes.*"]});
        assert!(pointers(&both, &json!("ward")).is_empty());
        let itself = json!({"$ref": "#", "x-reads": "subject.attributes.*"});
        assert_eq!(pointers(&itself, &json!("ward")), [""]);
    }

    #[test]
    fn a_mark_is_found_below_every_keyword_or_its_schema_is_refused() {
        let mark = json!({"x-reads": "subject.attributes.*"});
        for (schema, settings, places) in [
            (json!({"patternProperties": {"^a": mark}}), json!({"ab": "x", "b": "x"}), "/ab"),
            (
                json!({"patternProperties": {"^a": {}}, "additionalProperties": mark}),
                json!({"ab": "x", "b": "x"}),
                "/b",
            ),
            (json!({"propertyNames": mark}), json!({"ward": "x", "facility": "x"}), "/ward"),
            (json!({"prefixItems": [{}, mark]}), json!(["x", "x", "x"]), "/1"),
            (json!({"prefixItems": [{}], "items": mark}), json!(["x", "x"]), "/1"),
            (
                json!({"contains": {"pattern": "^x", "x-reads": "subject.attributes.*"}}),
                json!(["y", "x"]),
                "/1",
            ),
            (
                json!({"dependentSchemas": {"a": {"properties": {"b": mark}}}}),
                json!({"a": 1, "b": "x"}),
                "/b",
            ),
            (
                json!({"dependentSchemas": {"a": {"properties": {"b": mark}}}}),
                json!({"b": "x"}),
                "",
            ),
            (
                json!({"if": {"$ref": "#/$defs/a"}, "then": mark, "$defs": {"a": {"const": "x"}}}),
                json!("y"),
                "",
            ),
            (json!({"$defs": {"a": mark}, "not": {"const": 1}}), json!("x"), ""),
        ] {
            let expected: Vec<&str> =
                Some(places).filter(|it| !it.is_empty()).into_iter().collect();
            assert_eq!(pointers(&schema, &settings), expected, "{schema}");
        }
        for schema in [
            json!({"not": mark}),
            json!({"if": mark, "then": {}}),
            json!({"unevaluatedProperties": mark}),
            json!({"properties": {"a": {"unevaluatedItems": {"$ref": "#/$defs/a"}}}, "$defs": {"a": mark}}),
            json!({"$ref": "#a", "$defs": {"a": {"$anchor": "a", "x-reads": "subject.attributes.*"}}}),
            json!({"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", "x-reads": "subject.id"}}}),
            json!({"contentSchema": mark}),
        ] {
            let reads = Reads::compile(&[], &[]).unwrap();
            assert!(check_reads(&schema, &json!({}), &reads).is_err(), "{schema}");
        }
    }

    #[test]
    fn the_beginning_of_a_text_chooses_the_path() {
        let schema = json!({"items": {"x-reads": {
            "subject.attributes.": "subject.attributes.*",
            "resource.attributes.": "resource.attributes.*",
            "action.name": "action.id",
            "context:": ["authzen:/context*", "generic:/context*"],
            "context:/all": "subject.attributes.facility",
        }}});
        let reads = ["subject.attributes.facility", "resource.attributes.*", "generic:/context/ip"];
        let reads = Reads::compile(&reads.map(str::to_owned), &[]).unwrap();
        let settings = json!([
            "subject.attributes.facility",
            "subject.attributes.ward",
            "resource.attributes.x",
            "action.name",
            "context:/ip",
            "context:/time",
            "context:/all",
            "subject.type",
        ]);
        let complaints = check_reads(&schema, &settings, &reads).unwrap();
        let places: Vec<_> = complaints.into_iter().map(|it| it.pointer).collect();
        assert_eq!(places, ["/1", "/3", "/5"]);
    }
}
