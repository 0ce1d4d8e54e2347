//! Finds the names that are near one that does not exist.
//!
//! Invariant: pure. What is suggested is always one of the names that there are.

/// The names that a given one may have been meant for, the nearest first: at most [`MAX_SHOWN`].
pub fn near<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let given: Vec<char> = given.chars().take(MAX_CHARS).flat_map(char::to_lowercase).collect();
    let text: String = given.iter().collect();
    let most = (given.len() / 3).max(2);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let is_part = given.len() >= MIN_PART_CHARS && name.contains(text.as_str());
            let distance = distance(&given, &name.chars().collect::<Vec<_>>());
            (is_part || distance <= most).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, name)| name).take(MAX_SHOWN).collect()
}

/// The hint for a name that does not exist: the nearest names, or else `all`.
pub fn hint<'a>(given: &str, names: impl IntoIterator<Item = &'a str>, all: &str) -> String {
    match near(given, names).as_slice() {
        [] => all.to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("did you mean {}? {all}", names.join(" or "))
        }
    }
}

/// How many letters have to be added, left out or changed to make one of the other (Levenshtein).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.iter().enumerate() {
        let mut before = line;
        let mut left = line + 1;
        for (cell, there) in row.iter_mut().skip(1).zip(other) {
            let changed = before + usize::from(letter != there);
            before = *cell;
            *cell = changed.min(before + 1).min(left + 1);
            left = *cell;
        }
        row.first_mut().into_iter().for_each(|first| *first = line + 1);
    }
    row.last().copied().unwrap_or_default()
}

/// The most names that are suggested.
const MAX_SHOWN: usize = 4;
/// Letters of a given name that are looked at: no name there is has more.
const MAX_CHARS: usize = 128;
/// A given name of so many letters that is a part of another is near it.
const MIN_PART_CHARS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_least_number_of_changes() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("hook.decison", "hook.decision", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(&letters(one), &letters(other)), expected, "{one} {other}");
            assert_eq!(distance(&letters(other), &letters(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn names_that_may_have_been_meant_are_found_and_others_are_not() {
        let names = ["hook.decision", "hook.duplicate", "host.start", "log.link"];
        assert_eq!(near("hook.decisions", names), ["hook.decision"]);
        assert_eq!(near("HOOK.DECISION", names), ["hook.decision"]);
        assert_eq!(near("decision", names), ["hook.decision"]);
        assert_eq!(near("host.strat", names), ["host.start"]);
        assert!(near("okta.token", names).is_empty());
        assert!(near("", names).is_empty());
        assert_eq!(near(&"x".repeat(1 << 20), names), <[&str; 0]>::default());
    }
}
