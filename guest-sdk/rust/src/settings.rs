//! Settings: from JSON text to a configured plugin, and sentences that say where they are wrong.
//!
//! Invariant: every sentence leads with the path of the member it is about, as an author would write it in code:
//! `rules[3].at_least`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use crate::Plugin;

/// What is wrong with settings that parse: collects every problem, so that an operator sees them all at once.
///
/// At most [`Problems::MOST`] are kept; a last sentence counts the rest.
#[derive(Debug, Default)]
pub struct Problems {
    sentences: Vec<String>,
    further: usize,
}

impl Problems {
    /// How many are told one by one.
    pub const MOST: usize = 50;

    /// Adds one: where it is and what is wrong there, such as `at("rules[3].b", "names no function")`.
    pub fn at(&mut self, path: impl Display, what: impl Display) {
        if self.sentences.len() < Self::MOST {
            self.sentences.push(format!("settings: `{path}` {what}"));
        } else {
            self.further += 1;
        }
    }

    /// `value` if there was no problem, else the problems.
    ///
    /// # Errors
    /// The problems, if any.
    pub fn or<T>(mut self, value: T) -> Result<T, Vec<String>> {
        if self.sentences.is_empty() {
            return Ok(value);
        }
        if self.further > 0 {
            self.sentences.push(format!("settings: and {} more problems", self.further));
        }
        Err(self.sentences)
    }
}

/// For `#[serde(deserialize_with = "portcullis_guest::unique")]`: an object in which a name may stand only once. Without it
/// the last of two wins and the first is lost without a word.
///
/// # Errors
/// That a member is repeated, or what serde says.
pub fn unique<'de, D, K, V>(reader: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut unique = BTreeMap::new();
            // By way of text, so that errors below have the name in their path, whatever type it becomes.
            while let Some((name, value)) = members.next_entry::<String, V>()? {
                let key = K::deserialize(name.as_str().into_deserializer())?;
                if unique.insert(key, value).is_some() {
                    return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
                }
            }
            Ok(unique)
        }
    }

    reader.deserialize_map(Unique(PhantomData))
}

/// Parses and configures.
pub(crate) fn configure<P: Plugin>(json: &str) -> Result<P, Vec<String>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let settings = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let mut problems = Problems::default();
        match path.as_str() {
            "." => vec![format!("settings: {}", error.inner())],
            path => {
                problems.at(path, format_args!("is wrong: {}", error.inner()));
                problems.or(()).err().unwrap_or_default()
            }
        }
    })?;
    reader.end().map_err(|error| vec![format!("settings: {error}")])?;
    P::configure(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Decision};

    #[derive(Debug)]
    struct Doors;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Door {
        wide: u8,
    }

    impl Plugin for Doors {
        type Settings = Vec<Door>;

        fn configure(doors: Vec<Door>) -> Result<Self, Vec<String>> {
            let mut problems = Problems::default();
            for (index, _) in doors.iter().enumerate().filter(|(_, door)| door.wide == 0) {
                problems.at(format_args!("[{index}].wide"), "is nothing");
            }
            problems.or(Self)
        }

        fn evaluate(&self, _: &Call) -> Result<Decision, String> {
            Ok(Decision::default())
        }
    }

    fn sentences(json: &str) -> Vec<String> {
        configure::<Doors>(json).unwrap_err()
    }

    #[test]
    fn wrong_types_and_unknown_members_are_named_by_path() {
        assert_eq!(
            sentences(r#"[{"wide": 1}, {"wide": "two"}]"#),
            ["settings: `[1].wide` is wrong: invalid type: string \"two\", expected u8 at line \
                 1 column 28"]
        );
        assert!(
            sentences(r#"[{"wide": 1, "high": 2}]"#)[0]
                .starts_with("settings: `[0].high` is wrong: unknown field")
        );
        assert!(sentences("[]x")[0].contains("trailing characters"));
        assert!(sentences("{").concat().starts_with("settings: "));
    }

    #[test]
    fn a_name_stands_only_once() {
        let read =
            |json: &str| unique::<_, String, u8>(&mut serde_json::Deserializer::from_str(json));
        assert_eq!(read(r#"{"a": 1, "b": 2}"#).map(|map| map.len()).ok(), Some(2));
        assert!(
            read(r#"{"a": 1, "\u0061": 2}"#)
                .unwrap_err()
                .to_string()
                .starts_with("`a` stands there twice")
        );
        assert!(read("[]").is_err());
    }

    #[test]
    fn a_plugins_own_problems_are_all_told_up_to_a_bound() {
        assert_eq!(
            sentences(r#"[{"wide": 0}, {"wide": 1}, {"wide": 0}]"#),
            ["settings: `[0].wide` is nothing", "settings: `[2].wide` is nothing"]
        );
        let many = format!("[{}]", vec![r#"{"wide": 0}"#; Problems::MOST + 3].join(","));
        let told = sentences(&many);
        assert_eq!(told.len(), Problems::MOST + 1);
        assert_eq!(told.last().map(String::as_str), Some("settings: and 3 more problems"));
    }
}
