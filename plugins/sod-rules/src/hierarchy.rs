//! Entitlements that a person holds, and what they contain by a table of roles.
//!
//! Invariant: a role that contains itself ends; each name is looked up once; and the number of
//! look-ups has a bound, beyond which nothing is judged instead of a part. The table itself is the
//! caller's: this asks a [`LookUps`].

use std::collections::{BTreeMap, BTreeSet};

use crate::matrix::PairRow;
use crate::names::Name;

/// Something that a person would hold.
pub struct Holding<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Held before, and not dropped.
    pub held: bool,
    /// The names of everything that it contains by the table of roles, to any depth.
    pub contains: Vec<String>,
}

/// Reference tables, as the rules ask them.
pub trait LookUps {
    /// The members of a role: the rows of the table of roles below this id.
    fn members(&mut self, id: &str) -> Vec<String>;
    /// The rows of the matrix below this id.
    fn pairs(&mut self, id: &str) -> Vec<PairRow>;
}

/// A person holds more than may be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLookUps {
    /// How many look-ups are allowed.
    pub limit: usize,
}

/// Looks up what the holdings contain (`roles`), and the pairs of everything that is then held
/// (`matrix`). Tables know entitlements by their ids, without kinds.
///
/// # Errors
/// More than `limit` look-ups would be needed.
pub fn expand(
    holdings: &mut [Holding<'_>],
    tables: &mut dyn LookUps,
    (roles, matrix): (bool, bool),
    limit: usize,
) -> Result<Vec<PairRow>, TooManyLookUps> {
    let mut left = limit;
    let mut spend = || {
        left = left.checked_sub(1).ok_or(TooManyLookUps { limit })?;
        Ok(())
    };
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if roles {
        let mut open: Vec<String> = holdings.iter().map(|it| it.name.id.to_owned()).collect();
        while let Some(id) = open.pop() {
            if members.contains_key(&id) {
                continue;
            }
            spend()?;
            let found = tables.members(&id);
            open.extend(found.iter().map(|name| Name::parse(name).id.to_owned()));
            members.insert(id, found);
        }
        for holding in holdings.iter_mut() {
            holding.contains = closure(holding.name.id, &members);
        }
    }
    let mut rows = Vec::new();
    if matrix {
        let own = holdings.iter().map(|it| it.name.id);
        let contained = holdings.iter().flat_map(|it| &it.contains);
        let ids: BTreeSet<&str> = own.chain(contained.map(|name| Name::parse(name).id)).collect();
        for id in ids {
            spend()?;
            rows.extend(tables.pairs(id));
        }
    }
    Ok(rows)
}

/// Everything that is reached from an id, sorted, without itself unless it contains itself.
fn closure(id: &str, members: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![id]);
    while let Some(next) = open.pop() {
        for name in members.get(next).into_iter().flatten() {
            if found.insert(name.clone()) {
                open.push(Name::parse(name).id);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Roles(BTreeMap<&'static str, Vec<&'static str>>, usize);

    impl LookUps for Roles {
        fn members(&mut self, id: &str) -> Vec<String> {
            self.1 += 1;
            self.0.get(id).into_iter().flatten().map(|it| (*it).to_owned()).collect()
        }

        fn pairs(&mut self, _: &str) -> Vec<PairRow> {
            self.1 += 1;
            Vec::new()
        }
    }

    fn holding(name: &str) -> Holding<'_> {
        Holding { name: Name::parse(name), held: true, contains: Vec::new() }
    }

    #[test]
    fn circles_end_and_each_name_is_looked_up_once() {
        let roles =
            BTreeMap::from([("top", vec!["role:middle", "a"]), ("middle", vec!["top", "b"])]);
        let mut tables = Roles(roles, 0);
        let mut holdings = [holding("group:top"), holding("top"), holding("b")];
        expand(&mut holdings, &mut tables, (true, false), 10).unwrap();
        assert_eq!(holdings[0].contains, ["a", "b", "role:middle", "top"]);
        assert_eq!(holdings[1].contains, holdings[0].contains);
        assert!(holdings[2].contains.is_empty());
        assert_eq!(tables.1, 4);
    }

    #[test]
    fn beyond_the_limit_nothing_is_judged() {
        let many: Vec<String> = (0..10).map(|at| format!("e{at}")).collect();
        let holdings = || many.iter().map(|name| holding(name)).collect::<Vec<_>>();
        let mut tables = Roles(BTreeMap::new(), 0);
        assert!(expand(&mut holdings(), &mut tables, (true, true), 20).is_ok());
        let refused = expand(&mut holdings(), &mut tables, (true, true), 19);
        assert_eq!(refused, Err(TooManyLookUps { limit: 19 }));
    }
}
