//! Conditions: one comparison of something in a call with a literal, a set, or something else in the call.
//!
//! Invariant: three outcomes. Where what is compared is absent, or of a shape that compares to nothing, nobody knows, and only
//! `if_absent` makes that (for what is absent) a yes or a no.

use std::cmp::Ordering;

use portcullis_guest::Problems;
use serde_json::Value as Json;

use crate::path::Path;
use crate::request::EvaluationRequest;
use crate::settings::Condition as Source;
use crate::value::{Atom, Number, Value};

/// Compiled.
#[derive(Clone)]
pub(crate) struct Condition {
    pub what: Path,
    test: Test,
    if_absent: Option<bool>,
}

#[derive(Clone)]
enum Test {
    /// One of these is there (or, not true, none).
    Among(Vec<Atom<'static>>, bool),
    /// Something is there that is at the other place too (or nothing).
    Shared(Path, bool),
    /// The number is so much.
    Much(Bound, Number),
    /// A text begins like this.
    Begins(String),
    /// Something is there, or nothing.
    Present(bool),
}

/// Which way a number may differ.
#[derive(Clone, Copy)]
enum Bound {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Condition {
    /// `None` where something is wrong with it, which is then told.
    pub fn compile(source: Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let Source { what, if_absent, .. } = &source;
        let (what, if_absent) = (Path::parse(what), *if_absent);
        if what.is_none() {
            problems.at(format_args!("{path}.what"), NO_PATH);
        }
        let mut tests = tests(source, path, problems);
        if tests.len() != 1 {
            problems.at(path, "needs exactly one comparison, such as `is` or `in`");
        }
        Some(Self { what: what?, test: tests.pop()?, if_absent })
    }

    /// Whether it is met; `None` where nobody knows.
    pub fn met(&self, scene: &EvaluationRequest<'_>) -> Option<bool> {
        let value = scene.value(&self.what);
        if let Test::Present(wanted) = self.test {
            return Some((value != Value::Absent) == wanted);
        }
        let atoms = match value {
            Value::Known(atoms) => atoms,
            Value::Absent => return self.if_absent,
            Value::Odd => return None,
        };
        match &self.test {
            Test::Among(set, wanted) => {
                Some(atoms.iter().any(|atom| set.contains(atom)) == *wanted)
            }
            Test::Shared(with, wanted) => match scene.value(with) {
                Value::Known(others) => {
                    Some(atoms.iter().any(|atom| others.contains(atom)) == *wanted)
                }
                Value::Absent => self.if_absent,
                Value::Odd => None,
            },
            Test::Much(bound, limit) => {
                let [Atom::Number(number)] = &*atoms else { return None };
                Some(bound.allows(number.compare(*limit)?))
            }
            Test::Begins(head) => {
                Some(atoms.iter().any(
                    |atom| matches!(atom, Atom::Text(text) if text.starts_with(head.as_str())),
                ))
            }
            Test::Present(_) => None,
        }
    }

    /// What has to be known before it can be judged: what it looks at, or what it compares that with.
    pub fn unknown(&self, scene: &EvaluationRequest<'_>) -> &Path {
        match &self.test {
            Test::Shared(with, _) if matches!(scene.value(&self.what), Value::Known(_)) => with,
            _ => &self.what,
        }
    }
}

impl Bound {
    fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// Every comparison that the source names; that there is one is for the caller to see.
fn tests(source: Source, path: &str, problems: &mut Problems) -> Vec<Test> {
    let mut tests = Vec::new();
    let literals = |member: &str, list: Vec<Json>, problems: &mut Problems| {
        let atoms: Option<Vec<_>> =
            list.iter().map(|json| Atom::from_json(json).map(Atom::into_owned)).collect();
        if list.is_empty() || atoms.is_none() {
            problems.at(
                format_args!("{path}.{member}"),
                "must be text, a number, true or false; for nothing at all there is `present`",
            );
        }
        atoms.unwrap_or_default()
    };
    for (member, given, wanted) in [("is", source.is, true), ("is_not", source.is_not, false)] {
        tests.extend(given.map(|json| Test::Among(literals(member, vec![json], problems), wanted)));
    }
    for (member, given, wanted) in [("in", source.is_in, true), ("not_in", source.not_in, false)] {
        tests.extend(given.map(|list| Test::Among(literals(member, list, problems), wanted)));
    }
    for (member, given, wanted) in
        [("same_as", source.same_as, true), ("not_same_as", source.not_same_as, false)]
    {
        let Some(text) = given else { continue };
        match Path::parse(&text) {
            Some(with) => tests.push(Test::Shared(with, wanted)),
            None => problems.at(format_args!("{path}.{member}"), NO_PATH),
        }
    }
    for (member, given, bound) in [
        ("less_than", source.less_than, Bound::Less),
        ("at_most", source.at_most, Bound::AtMost),
        ("more_than", source.more_than, Bound::More),
        ("at_least", source.at_least, Bound::AtLeast),
    ] {
        match given.as_ref().map(Atom::from_json) {
            Some(Some(Atom::Number(number))) => tests.push(Test::Much(bound, number)),
            Some(_) => problems.at(format_args!("{path}.{member}"), "must be a number"),
            None => {}
        }
    }
    tests.extend(source.starts_with.map(Test::Begins));
    tests.extend(source.present.map(Test::Present));
    tests
}

const NO_PATH: &str =
    "names no part of a call, such as `resource.attributes.owner`, `subject.id` or `context:/ip`";
