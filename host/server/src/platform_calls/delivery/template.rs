//! Templates of what a delivery service is sent: plain text with `{name}` where something of the message stands, and `{{` and `}}` for
//! braces.
//!
//! Invariant: what is filled in is text, whatever it holds: it can end neither a JSON string nor a form's member, and is no template itself.

use portcullis_model::messages::{Piece, pieces};
use serde_json::Value;

use super::PLACEHOLDERS;

/// A template that holds known placeholders only.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// Reads a template, or says which placeholder is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        for piece in pieces(text) {
            match piece {
                Piece::Text(_) => {}
                Piece::Argument(name) if PLACEHOLDERS.contains(&name) => {}
                Piece::Argument(name) => {
                    return Err(format!(
                        "the placeholder `{{{name}}}` is unknown; known are {}",
                        PLACEHOLDERS.map(|it| format!("{{{it}}}")).join(", ")
                    ));
                }
                Piece::Malformed => {
                    return Err("a brace has no partner; write `{{` or `}}` for a brace".to_owned());
                }
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it has that placeholder.
    pub fn names(&self, name: &str) -> bool {
        pieces(&self.0).any(|piece| piece == Piece::Argument(name))
    }

    /// The text with everything filled in.
    pub fn fill<'m>(&self, value: &impl Fn(&str) -> &'m str) -> String {
        let mut text = String::with_capacity(self.0.len() + 64);
        for piece in pieces(&self.0) {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Argument(name) => text.push_str(value(name)),
                Piece::Malformed => {}
            }
        }
        text
    }
}

/// Reads every string of a JSON template as a template.
pub fn parse_json(json: &Value) -> Result<Vec<Template>, String> {
    match json {
        Value::String(text) => Ok(vec![Template::parse(text)?]),
        Value::Array(elements) => {
            elements.iter().map(parse_json).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
        }
        Value::Object(members) => {
            members.values().map(parse_json).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Vec::new()),
    }
}

/// The JSON with every string filled in.
pub fn fill_json<'m>(json: &Value, value: &impl Fn(&str) -> &'m str) -> Value {
    match json {
        Value::String(text) => Value::String(Template(text.clone()).fill(value)),
        Value::Array(elements) => {
            elements.iter().map(|element| fill_json(element, value)).collect()
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), fill_json(member, value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}
