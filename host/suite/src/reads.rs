//! Settings that name an input of the plugin (an attribute, say) checked against the manifest's
//! `reads`.
//!
//! Invariant: an input that a setting names and the manifest does not read is a complaint, because
//! a rule on it would never apply. The schema marks such settings with `x-reads`: a path of
//! `reads`, or several, in which `*` stands for the setting's text. Schemas without the mark are
//! not checked. This reads a schema and does not validate:
//! [`check_settings`](crate::check_settings) does.

use portcullis_model::Reads;
use portcullis_model::json::escape_token;
use serde_json::Value;

use crate::Complaint;

/// Returns a complaint for each setting that names an input which `reads` leaves out.
pub(crate) fn check_reads(schema: &Value, settings: &Value, reads: &Reads) -> Vec<Complaint> {
    let mut walk = Walk { root: schema, reads, found: Vec::new() };
    walk.visit(schema, settings, String::new(), 0);
    walk.found.sort();
    walk.found.dedup();
    let complaint = |(pointer, what)| Complaint { pointer, what };
    walk.found.into_iter().map(complaint).collect()
}

struct Walk<'a> {
    root: &'a Value,
    reads: &'a Reads,
    found: Vec<(String, String)>,
}

impl Walk<'_> {
    /// Follows the schema and the settings together. Every branch of `oneOf` and `anyOf` is
    /// followed: a branch that does not apply has no settings to mark, or marks them alike.
    fn visit(&mut self, schema: &Value, settings: &Value, pointer: String, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        if let (Some(mark), Some(text)) = (schema.get(MARK), settings.as_str()) {
            self.check(mark, text, &pointer);
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(local)
            && let Some(target) = self.root.pointer(target)
        {
            self.visit(target, settings, pointer.clone(), depth + 1);
        }
        for list in ["allOf", "anyOf", "oneOf"] {
            for branch in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
                self.visit(branch, settings, pointer.clone(), depth + 1);
            }
        }
        if let Some(condition) = schema.get("if") {
            let branch = if jsonschema::is_valid(condition, settings) { "then" } else { "else" };
            if let Some(branch) = schema.get(branch) {
                self.visit(branch, settings, pointer.clone(), depth + 1);
            }
        }
        match settings {
            Value::Object(members) => {
                for (name, member) in members {
                    let below =
                        schema.get("properties").and_then(|properties| properties.get(name));
                    if let Some(below) = below.or_else(|| schema.get("additionalProperties")) {
                        let pointer = format!("{pointer}/{}", escape_token(name));
                        self.visit(below, member, pointer, depth + 1);
                    }
                }
            }
            Value::Array(elements) => {
                let Some(below) = schema.get("items") else { return };
                for (position, element) in elements.iter().enumerate() {
                    self.visit(below, element, format!("{pointer}/{position}"), depth + 1);
                }
            }
            _ => {}
        }
    }

    fn check(&mut self, mark: &Value, text: &str, pointer: &str) {
        let one = mark.as_str();
        let several = mark.as_array().into_iter().flatten().filter_map(Value::as_str);
        let paths: Vec<_> =
            one.into_iter().chain(several).map(|path| path.replacen('*', text, 1)).collect();
        if !paths.is_empty() && !paths.iter().any(|path| self.reads.covers_path(path)) {
            let what = format!(
                "the plugin's manifest does not read {}: add it to `reads` and sign the plugin \
                 again, or name one that is read",
                paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(" or ")
            );
            self.found.push((pointer.to_owned(), what));
        }
    }
}

/// The JSON Pointer of a reference within the same schema.
fn local(reference: &str) -> Option<&str> {
    reference.strip_prefix('#')
}

/// The mark in a schema.
const MARK: &str = "x-reads";
/// Nested schemas that are followed: many times those of any plugin, and an end for a schema that
/// refers to itself.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(schema: &Value, settings: &Value) -> Vec<String> {
        let reads = ["subject.attributes.facility", "resource.attributes.*"].map(str::to_owned);
        let reads = Reads::compile(&reads, &[]).unwrap();
        check_reads(schema, settings, &reads).into_iter().map(|it| it.pointer).collect()
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
}
