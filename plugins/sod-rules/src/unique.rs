//! Objects in which a name may stand only once.
//!
//! Invariant: a repeated member is an error. Without this, the last of two members would win and
//! the first would be lost without a word. The plugin SDK has the same function; this crate is a
//! part of the command line too and does without that SDK.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads an object, for `#[serde(deserialize_with = "unique")]`.
///
/// # Errors
/// A member is repeated, or a value is wrong.
pub(crate) fn unique<'de, D, V>(reader: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    reader.deserialize_map(Unique(PhantomData))
}

struct Unique<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut unique = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, V>()? {
            if unique.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
            }
            unique.insert(name, value);
        }
        Ok(unique)
    }
}
