//! Answers made of the operator's templates.
//!
//! Invariant: a template is one JSON object, and so is every answer that is made of it: what is filled in is quoted, or is a value of
//! its own. What a change adds never replaces what the template says.

use portcullis_model::Document;
use portcullis_model::json::{
    Kind, Value, build_object, build_text, quote, split_pointer, write_array,
};

use super::MappingError;
use crate::render_error::RenderErrorKind;

/// A template, compiled: text, and between it what is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// What is filled in.
pub(crate) struct Filled<'a> {
    /// The verdict's word.
    pub verdict: &'a str,
    /// Text for people.
    pub text: Option<&'a str>,
    /// The codes of the findings that made the verdict.
    pub codes: &'a [&'a str],
    /// The call's id.
    pub id: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// JSON text as it is.
    Json(String),
    /// A value: what stands for it is JSON, `null` where there is none.
    Value(Placeholder),
    /// Inside a string: what stands for it is that string's text.
    Inside(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Verdict,
    Text,
    Codes,
    Id,
}

impl Template {
    /// Reads a template: JSON text in whose strings `{verdict}`, `{text}`, `{codes}` and `{id}` are filled in, and `{{` and `}}` stand
    /// for braces. A string that is nothing but a placeholder becomes what stands for it: `{codes}` a list, a missing text `null`.
    pub(crate) fn compile(name: &'static str, source: &str) -> Result<Self, MappingError> {
        let wrong = |why| MappingError::Template { name, why };
        let document = Document::parse(source.as_bytes())
            .map_err(|_| wrong("is not JSON, or has a member twice"))?;
        if !document.root().is_object() {
            return Err(wrong("is not an object"));
        }
        let mut pieces = Vec::new();
        compile(document.root(), &mut pieces).map_err(|()| {
            wrong(
                "has another placeholder than {verdict}, {text}, {codes} and {id}, or a lone \
             brace",
            )
        })?;
        Ok(Self(pieces))
    }

    /// Whether it has a member of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let filled = Filled { verdict: "", text: None, codes: &[], id: "" };
        let document = Document::parse(self.fill(&filled).as_bytes());
        document.is_ok_and(|document| document.root().get(name).is_some())
    }

    /// Whether the verdict stands in it.
    pub(crate) fn tells_verdict(&self) -> bool {
        self.0.iter().any(|piece| {
            matches!(
                piece,
                Piece::Value(Placeholder::Verdict) | Piece::Inside(Placeholder::Verdict)
            )
        })
    }

    /// The answer.
    pub(crate) fn fill(&self, filled: &Filled<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Json(json) => out.push_str(json),
                Piece::Value(Placeholder::Codes) => write_array(&mut out, |array| {
                    array.texts(filled.codes);
                }),
                Piece::Value(Placeholder::Text) => match filled.text {
                    Some(text) => quote(&mut out, text),
                    None => out.push_str("null"),
                },
                Piece::Value(Placeholder::Verdict) => quote(&mut out, filled.verdict),
                Piece::Value(Placeholder::Id) => quote(&mut out, filled.id),
                Piece::Inside(Placeholder::Codes) => {
                    out.push_str(&inside(&filled.codes.join(", ")))
                }
                Piece::Inside(Placeholder::Text) => {
                    out.push_str(&inside(filled.text.unwrap_or_default()))
                }
                Piece::Inside(Placeholder::Verdict) => out.push_str(&inside(filled.verdict)),
                Piece::Inside(Placeholder::Id) => out.push_str(&inside(filled.id)),
            }
        }
        out
    }
}

/// The object with one member more.
pub(crate) fn add(object: &str, path: &str, value: &str) -> Result<String, RenderErrorKind> {
    let tokens =
        split_pointer(path).filter(|tokens| !tokens.is_empty()).ok_or(RenderErrorKind::Place)?;
    let tokens: Vec<_> = tokens.iter().map(|token| &**token).collect();
    Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
    let document = Document::parse(object.as_bytes()).map_err(|_| RenderErrorKind::NoTarget)?;
    add_below(document.root(), &tokens, value)
}

fn add_below(object: Value<'_>, tokens: &[&str], value: &str) -> Result<String, RenderErrorKind> {
    let Some((name, below)) = tokens.split_first() else { return Err(RenderErrorKind::Place) };
    if !object.is_object() {
        return Err(RenderErrorKind::NoTarget);
    }
    // A document has no member twice.
    let changed = match (object.get(name), below.is_empty()) {
        (Some(_), true) => return Err(RenderErrorKind::Reserved),
        (Some(member), false) => add_below(member, below, value)?,
        (None, true) => value.to_owned(),
        (None, false) => return Err(RenderErrorKind::NoTarget),
    };
    let is_new = object.get(name).is_none();
    Ok(build_object(|out| {
        for (known, member) in object.members() {
            out.json(&known, if known == *name { &changed } else { member.raw() });
        }
        if is_new {
            out.json(name, &changed);
        }
    }))
}

/// Appends the pieces of a value. An error is a placeholder that is none.
fn compile(value: Value<'_>, pieces: &mut Vec<Piece>) -> Result<(), ()> {
    match value.kind() {
        Kind::Object => {
            push(pieces, "{");
            for (number, (name, member)) in value.members().enumerate() {
                push(pieces, if number == 0 { "" } else { "," });
                push(pieces, &build_text(&name));
                push(pieces, ":");
                compile(member, pieces)?;
            }
            push(pieces, "}");
        }
        Kind::Array => {
            push(pieces, "[");
            for (number, element) in value.elements().enumerate() {
                push(pieces, if number == 0 { "" } else { "," });
                compile(element, pieces)?;
            }
            push(pieces, "]");
        }
        Kind::String => compile_string(&value.as_str().unwrap_or_default(), pieces)?,
        Kind::Null | Kind::Bool | Kind::Number => push(pieces, value.raw()),
    }
    Ok(())
}

fn compile_string(string: &str, pieces: &mut Vec<Piece>) -> Result<(), ()> {
    let whole = string
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(Placeholder::named);
    if let Some(placeholder) = whole {
        pieces.push(Piece::Value(placeholder));
        return Ok(());
    }
    push(pieces, "\"");
    let mut rest = string;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        push(pieces, &inside(before));
        if let Some(behind) = after.strip_prefix("{{") {
            push(pieces, "{");
            rest = behind;
        } else if let Some(behind) = after.strip_prefix("}}") {
            push(pieces, "}");
            rest = behind;
        } else {
            let (name, behind) =
                after.strip_prefix('{').and_then(|after| after.split_once('}')).ok_or(())?;
            pieces.push(Piece::Inside(Placeholder::named(name).ok_or(())?));
            rest = behind;
        }
    }
    push(pieces, &inside(rest));
    push(pieces, "\"");
    Ok(())
}

impl Placeholder {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "verdict" => Self::Verdict,
            "text" => Self::Text,
            "codes" => Self::Codes,
            "id" => Self::Id,
            _ => return None,
        })
    }
}

fn push(pieces: &mut Vec<Piece>, json: &str) {
    match pieces.last_mut() {
        Some(Piece::Json(last)) => last.push_str(json),
        _ => pieces.push(Piece::Json(json.to_owned())),
    }
}

/// A text as it stands between quotation marks.
fn inside(plain: &str) -> String {
    let quoted = build_text(plain);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}
