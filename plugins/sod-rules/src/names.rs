//! Names of entitlements: the settings that mean an entitlement of a call.
//!
//! Invariant: two names are the same when their ids are equal and their kinds are equal or one of
//! them has none. Platforms list what a person holds as bare text and what they ask for as
//! `kind:id`; so `group:Pharmacy` in the settings covers the bare `Pharmacy` too, which can only
//! find more, never less.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::bitset::Lists;

/// The kinds of entitlements, as `grant-kind` of the contract (`wit/policy.wit`) has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An entitlement without a kind of its own.
    Entitlement,
    /// A group.
    Group,
    /// A role.
    Role,
    /// An OAuth scope.
    Scope,
    /// An application.
    App,
    /// A claim.
    Claim,
}

/// A name, taken apart: `group:Pharmacy`, or just `Pharmacy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name<'a> {
    /// The kind, where it has one.
    pub kind: Option<Kind>,
    /// The rest.
    pub id: &'a str,
}

impl<'a> Name<'a> {
    /// The text before the first colon is a kind only if it is one of the contract's words.
    pub fn parse(text: &'a str) -> Self {
        let kinded = text.split_once(':').and_then(|(kind, id)| Some((Kind::from_name(kind)?, id)));
        match kinded {
            Some((kind, id)) => Self { kind: Some(kind), id },
            None => Self { kind: None, id: text },
        }
    }

    /// Whether both are the same entitlement.
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

impl Kind {
    /// The word in settings and calls.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entitlement => "entitlement",
            Self::Group => "group",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::App => "app",
            Self::Claim => "claim",
        }
    }

    /// The kind that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All kinds, in the order of the contract.
    pub const ALL: [Self; 6] =
        [Self::Entitlement, Self::Group, Self::Role, Self::Scope, Self::App, Self::Claim];
}

/// From names to numbers.
#[derive(Clone)]
pub(crate) struct NameTable {
    by_id: FxHashMap<Box<str>, u32>,
    /// For each id: the kinds it was given with, and their numbers.
    meanings: Lists<(Option<Kind>, u32)>,
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

fn kinds_match(one: Option<Kind>, other: Option<Kind>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_the_contracts_words_only() {
        assert_eq!(Name::parse("group:a:b").kind, Some(Kind::Group));
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
