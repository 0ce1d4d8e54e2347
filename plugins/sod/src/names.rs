//! Names of entitlements: which settings mean what a call holds.
//!
//! Invariant: two names are the same when their ids are equal and their kinds are equal or one of them has none. Platforms
//! list what a person holds as bare text and what they ask for as `kind:id`; so `group:Pharmacy` in the settings covers
//! the bare `Pharmacy` too, which can only find more, never less.

use std::fmt;

use portcullis_guest::GrantKind;
use rustc_hash::FxHashMap;

use crate::bitset::Lists;

/// A name, taken apart: `group:Pharmacy`, or just `Pharmacy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name<'a> {
    pub kind: Option<GrantKind>,
    pub id: &'a str,
}

impl<'a> Name<'a> {
    /// What stands before the first colon is a kind only if it is one of the contract's words.
    pub fn parse(text: &'a str) -> Self {
        let kinded =
            text.split_once(':').and_then(|(kind, id)| Some((GrantKind::from_name(kind)?, id)));
        match kinded {
            Some((kind, id)) => Self { kind: Some(kind), id },
            None => Self { kind: None, id: text },
        }
    }

    pub fn matches(&self, other: &Name<'_>) -> bool {
        self.id == other.id && kinds_match(self.kind, other.kind)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}:{}", kind.name(), self.id),
            None => f.write_str(self.id),
        }
    }
}

/// From names to numbers.
#[derive(Clone)]
pub(crate) struct NameTable {
    by_id: FxHashMap<Box<str>, u32>,
    /// For each id: the kinds it was given with, and their numbers.
    meanings: Lists<(Option<GrantKind>, u32)>,
}

impl NameTable {
    /// From (name, number) in any order; a name may have several numbers.
    pub fn new<'a>(named: impl IntoIterator<Item = (Name<'a>, u32)>) -> Self {
        let mut named: Vec<_> =
            named.into_iter().map(|(name, number)| (name.id, name.kind, number)).collect();
        named.sort_unstable();
        named.dedup();
        let mut table = Self { by_id: FxHashMap::default(), meanings: Lists::default() };
        for same_id in named.chunk_by(|one, next| one.0 == next.0) {
            let Some((id, ..)) = same_id.first() else {
                continue;
            };
            let list =
                table.meanings.push(same_id.iter().map(|(_, kind, number)| (*kind, *number)));
            table.by_id.insert((*id).into(), list);
        }
        table
    }

    /// The numbers of every name that matches; one number may come twice.
    pub fn numbers(&self, name: Name<'_>) -> impl Iterator<Item = u32> {
        let meanings = self.by_id.get(name.id).map_or(&[][..], |list| self.meanings.get(*list));
        meanings
            .iter()
            .filter(move |(kind, _)| kinds_match(*kind, name.kind))
            .map(|(_, number)| *number)
    }
}

fn kinds_match(one: Option<GrantKind>, other: Option<GrantKind>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_the_contracts_words_only() {
        assert_eq!(Name::parse("group:a:b").kind, Some(GrantKind::Group));
        assert_eq!(Name::parse("group:a:b").id, "a:b");
        for plain in ["a", "epic:prescribe", "Group:a", ":a", ""] {
            assert!(Name::parse(plain).kind.is_none() && Name::parse(plain).id == plain, "{plain}");
        }
    }

    #[test]
    fn a_bare_name_matches_every_kind_and_kinds_match_themselves() {
        let table = NameTable::new(
            [("x", 0), ("group:x", 1), ("role:x", 2), ("y", 3)].map(|(n, f)| (Name::parse(n), f)),
        );
        let numbers = |name| table.numbers(Name::parse(name)).collect::<Vec<_>>();
        assert_eq!(numbers("x"), [0, 1, 2]);
        assert_eq!(numbers("group:x"), [0, 1]);
        assert_eq!(numbers("scope:x"), [0]);
        assert_eq!(numbers("role:y"), [3]);
        assert!(numbers("z").is_empty());
    }
}
