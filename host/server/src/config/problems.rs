//! All problems of a configuration at once, so that an operator corrects a file in one go.
//!
//! Invariant: a problem is added and never replaced; the order is that of the checks. What cannot
//! be checked because of an earlier problem is left out and never guessed. This knows no setting.

/// The problems found so far, a sentence each.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

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
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the problems as one text: a single one as it is, several as a numbered list.
    ///
    /// # Errors
    /// There is a problem.
    pub fn result(self) -> Result<(), String> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(numbered(several)),
        }
    }
}

/// Several problems as one text: their number, and a numbered list.
pub fn numbered<T: std::fmt::Display>(problems: impl IntoIterator<Item = T>) -> String {
    let mut list = String::new();
    let mut count = 0;
    for problem in problems {
        count += 1;
        list.push_str(&format!("\n  {count}. {problem}"));
    }
    format!("{count} problems{list}")
}

/// Reads a TOML file and returns every setting that cannot be read: at most [`MAX_MISREAD`].
///
/// The line of a wrong setting is left out and the rest is read again, so that the next one is
/// found. `describe` makes a sentence of an error.
pub fn read_toml<T: serde::de::DeserializeOwned>(
    text: &str,
    problems: &mut Problems,
    describe: impl Fn(&str, &toml::de::Error) -> String,
) -> Option<T> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let mut left_out: Vec<&str> = Vec::new();
    for _ in 0..MAX_MISREAD {
        let current = lines.join("\n");
        let error = match toml::from_str(&current) {
            Ok(value) => return problems.is_empty().then_some(value),
            Err(error) => error,
        };
        // A setting whose line was left out is not missing.
        let missing = left_out
            .iter()
            .any(|name| error.message().contains(&format!("missing field `{name}`")));
        if !missing {
            problems.add(describe(&current, &error));
        }
        let at = error.span().map_or(0, |span| span.start);
        let line = current.get(..at).unwrap_or_default().matches('\n').count();
        let wrong = lines.get_mut(line)?;
        // Only a setting on a line of its own can be left out without changing the rest.
        let (name, _) = wrong.split_once('=')?;
        if missing || toml::from_str::<toml::Table>(wrong).is_err() {
            return None;
        }
        left_out.push(name.trim());
        *wrong = "";
    }
    None
}

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
        assert_eq!(file.is_some(), problems.is_empty(), "{text}");
        problems.0
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
                    [[hook]]\na = 300\n\n[[hook]]\na = 1\ncolour = 1\n";
        let mut problems = Problems::default();
        let describe = |_: &str, error: &toml::de::Error| error.message().to_owned();
        let file = read_toml::<Tables>(text, &mut problems, describe).unwrap();
        assert_eq!(file.hook.len(), 1, "what can be read is read");
        assert_eq!(problems.found.len(), 5, "{:?}", problems.found);
        // What follows from a setting that could not be read is no problem of its own.
        problems.add("hook `x`: colour is missing".to_owned());
        problems.add("hook `x`: colours are missing".to_owned());
        assert_eq!(problems.found.len(), 6, "{:?}", problems.found);
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
