//! Values that rules compare: text, numbers, truth values, and lists of them.
//!
//! Invariant: a value that stands alone is a list of one; what is no such list is *odd*, and compares to nothing. Equal means
//! equal as JSON means it: `1` and `1.0` are the same number, `1` and `"1"` are not the same.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Deref;

use serde_json::Value as Json;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Atom<'a> {
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
}

/// A number; whole ones exactly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Whole(i128),
    Real(f64),
}

/// What a call or the settings have at some place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Nothing, or `null`.
    Absent,
    /// An object, a list of lists, or no JSON.
    Odd,
    /// One or more, or an empty list.
    Known(Atoms<'a>),
}

/// A list of them.
#[derive(Clone, Debug)]
pub(crate) enum Atoms<'a> {
    One(Atom<'a>),
    Many(Vec<Atom<'a>>),
    Borrowed(&'a [Atom<'a>]),
}

impl<'a> Atom<'a> {
    /// From JSON that stands in settings or in a payload.
    pub fn from_json(json: &'a Json) -> Option<Self> {
        Some(match json {
            Json::Bool(truth) => Self::Bool(*truth),
            Json::Number(number) => Self::Number(Number::parse(&number.to_string())?),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            _ => return None,
        })
    }

    /// One that outlives where it came from.
    pub fn into_owned(self) -> Atom<'static> {
        match self {
            Self::Bool(truth) => Atom::Bool(truth),
            Self::Number(number) => Atom::Number(number),
            Self::Text(text) => Atom::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        text.parse().map(Self::Whole).or_else(|_| text.parse().map(Self::Real)).ok()
    }

    /// Which is more.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            _ => self.real().partial_cmp(&other.real()),
        }
    }

    fn real(self) -> f64 {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with a real number, which has no more precision"
            )]
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Some(Ordering::Equal)
    }
}

impl<'a> Value<'a> {
    /// From the JSON text of an attribute.
    pub fn from_text(json: &'a str) -> Self {
        if let Some(text) = portcullis_guest::text(json) {
            return Self::one(Atom::Text(text));
        }
        match json.trim_ascii() {
            "null" => Self::Absent,
            "true" => Self::one(Atom::Bool(true)),
            "false" => Self::one(Atom::Bool(false)),
            other => match serde_json::from_str(other) {
                Ok(json) => Value::from_json(&json).into_owned(),
                Err(_) => Self::Odd,
            },
        }
    }

    /// From JSON.
    pub fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Absent,
            Json::Array(list) => {
                let atoms: Option<Vec<_>> = list.iter().map(Atom::from_json).collect();
                atoms.map_or(Self::Odd, |atoms| Self::Known(Atoms::Many(atoms)))
            }
            other => Atom::from_json(other).map_or(Self::Odd, Self::one),
        }
    }

    /// One text.
    pub fn text(text: &'a str) -> Self {
        Self::one(Atom::Text(Cow::Borrowed(text)))
    }

    /// One that outlives where it came from.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Absent => Value::Absent,
            Self::Odd => Value::Odd,
            Self::Known(Atoms::One(atom)) => Value::one(atom.into_owned()),
            Self::Known(atoms) => {
                Value::Known(Atoms::Many(atoms.iter().cloned().map(Atom::into_owned).collect()))
            }
        }
    }

    /// The same, borrowed.
    pub fn borrowed<'b>(&'b self) -> Value<'b> {
        match self {
            Self::Absent => Value::Absent,
            Self::Odd => Value::Odd,
            Self::Known(atoms) => Value::Known(Atoms::Borrowed(atoms)),
        }
    }

    fn one(atom: Atom<'a>) -> Self {
        Self::Known(Atoms::One(atom))
    }
}

impl<'a> Deref for Atoms<'a> {
    type Target = [Atom<'a>];

    fn deref(&self) -> &[Atom<'a>] {
        match self {
            Self::One(atom) => std::slice::from_ref(atom),
            Self::Many(atoms) => atoms,
            Self::Borrowed(atoms) => atoms,
        }
    }
}

impl PartialEq for Atoms<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_equal_as_numbers() {
        let number = |text| Number::parse(text).unwrap();
        assert_eq!(number("1"), number("1.0"));
        assert_ne!(number("9007199254740993"), number("9007199254740992"));
        assert_eq!(number("-3").compare(number("2.5")), Some(Ordering::Less));
        assert_eq!(number("1e3"), number("1000"));
    }

    #[test]
    fn text_and_json_say_the_same() {
        let cases = [
            json!(null),
            json!(true),
            json!(false),
            json!(1),
            json!(-2.5),
            json!("a"),
            json!("a \" b"),
            json!([]),
            json!(["a", 1, true]),
            json!([["a"]]),
            json!({"a": 1}),
            json!([null]),
        ];
        for case in &cases {
            assert_eq!(Value::from_text(&case.to_string()), Value::from_json(case), "{case}");
        }
        assert_eq!(Value::from_text("nonsense"), Value::Odd);
        assert_eq!(Value::from_json(&json!([null])), Value::Odd);
        assert_eq!(Value::from_text(" \"x\" "), Value::text("x"));
    }
}
