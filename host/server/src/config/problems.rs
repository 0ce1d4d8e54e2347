//! All problems of a configuration at once, so that an operator corrects a file in one go.
//!
//! Invariant: a problem is added and never replaced; the order is that of the checks. What cannot
//! be checked because of an earlier problem is left out and never guessed. This knows no setting.

use crate::error::numbered;
use std::ops::Range;

/// The problems found so far, a sentence each.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<String>,
    /// Settings and tables that could not be read: what follows from their absence is no problem of
    /// its own.
    left_out: Vec<OmittedTable>,
}

/// A setting or table that could not be read.
#[derive(Debug)]
struct OmittedTable {
    name: String,
    /// Of one of several tables, such as a hook: how problems name that one.
    element: Option<String>,
}

impl OmittedTable {
    /// Whether a problem may follow from its absence.
    fn explains(&self, problem: &str) -> bool {
        let of_element = self.element.as_ref().is_none_or(|label| problem.starts_with(label));
        of_element && names(problem, &self.name)
    }
}

impl Problems {
    /// Adds the problem of a check, if it has one, and returns what the check made.
    pub fn keep<T>(&mut self, checked: Result<T, String>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(problem) => {
                self.add(problem);
                None
            }
        }
    }

    /// Adds a problem, once.
    pub fn add(&mut self, problem: String) {
        let follows = self.left_out.iter().any(|left_out| left_out.explains(&problem));
        if !follows && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns the problems as one text: a single one as it is, several as a numbered list.
    ///
    /// # Errors
    /// There is a problem.
    pub fn result(self) -> Result<(), String> {
        match self.found.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(numbered(several)),
        }
    }
}

/// Reads a TOML file, and adds every setting that cannot be read to the problems: at most
/// [`MAX_MISREAD`]. Returns what can be read, without those settings; `None` where something that
/// must be there cannot be read.
///
/// The line of a wrong setting is left out and the rest is read again, so that the next one is
/// found; where that is not possible, its whole table is. `describe` makes a sentence of an error.
pub fn read_toml<T: serde::de::DeserializeOwned>(
    text: &str,
    problems: &mut Problems,
    describe: impl Fn(&str, &toml::de::Error) -> String,
) -> Option<T> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let mut left_out: Vec<&str> = Vec::new();
    let mut explaining: Vec<OmittedTable> = Vec::new();
    for _ in 0..MAX_MISREAD {
        let current = lines.join("\n");
        let error = match toml::from_str(&current) {
            Ok(value) => {
                problems.left_out = explaining;
                return Some(value);
            }
            Err(error) => error,
        };
        // A setting whose line was left out is not missing.
        let missing = left_out
            .iter()
            .any(|name| error.message().contains(&format!("missing field `{name}`")));
        if !missing {
            problems.add(describe(&current, &error));
        }
        if current.parse::<toml::Table>().is_err() {
            return None;
        }
        let at = error.span().map_or(0, |span| span.start);
        let line = current.get(..at).unwrap_or_default().matches('\n').count();
        // Only a setting on lines of its own can be left out without changing the rest.
        let setting = if missing { None } else { setting_around(&lines, line) };
        let table = table_around(&lines, line);
        let header = table.and_then(|(from, _)| lines.get(from)).and_then(|header| name_of(header));
        let element = element_around(&lines, line);
        match setting {
            Some((name, at)) => {
                left_out.push(name);
                let full = match header {
                    Some(Header::Table(table)) if element.is_none() => format!("{table}.{name}"),
                    _ => name.to_owned(),
                };
                explaining.push(OmittedTable { name: full, element });
                lines.get_mut(at).into_iter().flatten().for_each(|wrong| *wrong = "");
            }
            None => {
                let (from, to) = table?;
                // A whole element explains nothing: the ones behind it are numbered anew.
                let own = match header {
                    Some(Header::Table(name) | Header::Element(name)) if element.is_some() => {
                        name.rsplit_once('.').map(|(_, last)| last)
                    }
                    Some(Header::Table(name)) => Some(name),
                    _ => None,
                };
                if let Some(name) = own {
                    left_out.push(name);
                    explaining.push(OmittedTable { name: name.to_owned(), element });
                }
                lines.get_mut(from..to).into_iter().flatten().for_each(|wrong| *wrong = "");
            }
        }
    }
    None
}

/// The first line of a table.
enum Header<'a> {
    /// A table with this name.
    Table(&'a str),
    /// One of several tables of this name, such as a hook's.
    Element(&'a str),
}

/// The lines of the table that a line belongs to, its header first; of one of several, with the tables
/// in it. `None` outside of tables.
fn table_around(lines: &[&str], line: usize) -> Option<(usize, usize)> {
    let from = lines.get(..=line)?.iter().rposition(|line| name_of(line).is_some())?;
    let element = match lines.get(from).and_then(|header| name_of(header)) {
        Some(Header::Element(name)) => Some(format!("{name}.")),
        _ => None,
    };
    let ends = |line: &&str| match name_of(line) {
        Some(Header::Table(name)) => {
            !element.as_ref().is_some_and(|element| name.starts_with(element))
        }
        Some(Header::Element(_)) => true,
        None => false,
    };
    let rest = lines.get(from + 1..)?;
    let length = rest.iter().position(ends).unwrap_or(rest.len());
    Some((from, from + 1 + length))
}

/// The setting that a line belongs to: its name, and its lines. `None` where it has no lines of its
/// own.
fn setting_around<'a>(lines: &[&'a str], line: usize) -> Option<(&'a str, Range<usize>)> {
    let first = line.saturating_sub(MAX_SETTING_LINES);
    let last = lines.len().min(line.saturating_add(MAX_SETTING_LINES));
    for from in (first..=line).rev() {
        let text = lines.get(from)?;
        if name_of(text).is_some() {
            return None;
        }
        let Some((name, _)) = text.split_once('=') else { continue };
        for to in line + 1..=last {
            let setting = lines.get(from..to)?.join("\n");
            if setting.parse::<toml::Table>().is_ok_and(|table| table.len() == 1) {
                return Some((name.trim(), from..to));
            }
        }
    }
    None
}

/// How problems name the one of several tables that a line belongs to, itself or by a table in it;
/// `None` for a line of any other table.
fn element_around(lines: &[&str], line: usize) -> Option<String> {
    let before = lines.get(..=line)?;
    // A list of tables in it is a part of it.
    let is_element =
        |line: &&str| matches!(name_of(line), Some(Header::Element(name)) if !name.contains('.'));
    let from = before.iter().rposition(is_element)?;
    let Some(Header::Element(family)) = lines.get(from).and_then(|header| name_of(header)) else {
        return None;
    };
    let within = format!("{family}.");
    let leaves = |line: &&str| matches!(name_of(line), Some(Header::Table(name)) if !name.starts_with(&within));
    if before.get(from + 1..)?.iter().any(leaves) {
        return None;
    }
    let own = lines.get(from + 1..)?.iter().take_while(|line| name_of(line).is_none());
    let name =
        own.filter_map(|line| line.parse::<toml::Table>().ok()).find_map(
            |mut setting| match setting.remove("name") {
                Some(toml::Value::String(name)) => Some(name),
                _ => None,
            },
        );
    let of_family =
        |line: &&&str| matches!(name_of(line), Some(Header::Element(name)) if name == family);
    let number = before.iter().filter(of_family).count();
    Some(match name {
        Some(name) => format!("{family} `{name}`"),
        None => format!("[[{family}]] number {number}"),
    })
}

/// Reads a line as a table's header.
fn name_of(line: &str) -> Option<Header<'_>> {
    let text = line.trim_start();
    if !text.starts_with('[') || line.parse::<toml::Table>().is_err() {
        return None;
    }
    let name = text.trim_start_matches('[').split(']').next()?.trim();
    Some(if text.starts_with("[[") { Header::Element(name) } else { Header::Table(name) })
}

/// Whether a sentence names this setting or table.
fn names(sentence: &str, name: &str) -> bool {
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    sentence.match_indices(name).any(|(at, _)| {
        let before = sentence.get(..at).and_then(|text| text.chars().next_back());
        let after = sentence.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(of_name) && !after.is_some_and(of_name)
    })
}

/// Lines of one setting before and behind the line that is wrong.
const MAX_SETTING_LINES: usize = 64;
/// Settings that cannot be read and are reported at once.
const MAX_MISREAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "a")]
        _a: u8,
        #[serde(rename = "b")]
        _b: Option<String>,
    }

    fn read(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let describe = |_: &str, error: &toml::de::Error| error.message().to_owned();
        let file = read_toml::<File>(text, &mut problems, describe);
        assert!(file.is_some() || !problems.is_empty(), "{text}");
        problems.found
    }

    #[test]
    fn every_wrong_setting_is_reported_once() {
        assert!(read("a = 1\nb = \"x\"").is_empty());
        let problems = read("c = 1\na = \"one\"\nb = 2\nd = []");
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("missing")), "{problems:?}");
        assert_eq!(read("b = \"x\"").len(), 1, "a missing setting is reported");
        assert_eq!(read("a = [\n1,\n").len(), 1, "text that is no TOML ends the reading");
    }

    #[test]
    fn a_table_that_cannot_be_read_hides_no_other() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Tables {
            #[serde(default)]
            hook: Vec<File>,
            #[serde(rename = "listen")]
            _listen: Option<File>,
        }
        let text = "[listen]\na = 1\nd = 1\n\n[[hook]]\nb = \"no a\"\n\n[[hook]]\na = 1\nb = [\n]\n\n\
                    [[hook]]\na = 300\n[hook.c]\nd = 1\n\n[[hook]]\na = 1\ncolour = 1\n";
        let mut problems = Problems::default();
        let describe = |_: &str, error: &toml::de::Error| error.message().to_owned();
        let file = read_toml::<Tables>(text, &mut problems, describe).unwrap();
        assert_eq!(file.hook.len(), 2, "what can be read is read");
        assert_eq!(problems.found.len(), 6, "{:?}", problems.found);
        // What follows from a setting that could not be read is no problem of its own.
        problems.add("listen.d needs more".to_owned());
        problems.add("[[hook]] number 2: colour is missing".to_owned());
        problems.add("[[hook]] number 2: colours are missing".to_owned());
        problems.add("[[hook]] number 1: colour is missing".to_owned());
        problems.add("hook `x`: colour is missing".to_owned());
        assert_eq!(problems.found.len(), 9, "{:?}", problems.found);
    }

    #[test]
    fn a_setting_of_several_lines_is_left_out_alone_and_explains_its_own_table_only() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Hooks {
            hook: Vec<Hook>,
        }
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Hook {
            name: String,
            #[serde(default)]
            _list: Vec<String>,
            path: Option<u8>,
            caller: Option<Vec<File>>,
        }
        let text = "[[hook]]\nname = \"one\"\n_list = [\n\"a\",\n5,\n]\npath = true\n\n[[hook]]\n\
                    name = \"two\"\n[[hook.caller]]\na = \"x\"\n";
        let mut problems = Problems::default();
        let describe = |_: &str, error: &toml::de::Error| error.message().to_owned();
        let file = read_toml::<Hooks>(text, &mut problems, describe).unwrap();
        assert_eq!(problems.found.len(), 3, "{:?}", problems.found);
        let names: Vec<_> = file.hook.iter().map(|hook| hook.name.as_str()).collect();
        assert_eq!(names, ["one", "two"], "no hook is left out");
        assert!(file.hook.iter().all(|hook| hook.path.is_none() && hook.caller.is_none()));
        for (problem, follows) in [
            ("hook `one`: missing field `path`", true),
            ("hook `two`: missing field `path`", false),
            ("hook `two`: missing field `caller`", true),
            ("hook `one`: missing field `caller`", false),
        ] {
            let before = problems.found.len();
            problems.add(problem.to_owned());
            assert_eq!(problems.found.len() == before, follows, "{problem}");
        }
    }

    #[test]
    fn several_problems_are_a_numbered_list() {
        let mut problems = Problems::default();
        assert_eq!(problems.keep(Ok::<_, String>(1)), Some(1));
        problems.add("one".to_owned());
        problems.add("one".to_owned());
        problems.keep(Err::<(), _>("two".to_owned()));
        assert_eq!(problems.result().unwrap_err(), "2 problems\n  1. one\n  2. two");
    }
}
