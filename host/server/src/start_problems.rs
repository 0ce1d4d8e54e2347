//! All problems of the files that a configuration names, so that an operator corrects them in one
//! go.
//!
//! Invariant: a problem is added and never replaced; the order is that of the checks, and each is
//! there once. Checks that cannot be made because of an earlier problem are left out and never
//! guessed.

use std::path::Path;

use portcullis_keys::KeyError;

use crate::error::StartError;

/// The problems found so far.
#[derive(Debug, Default)]
pub struct StartProblems(Vec<StartError>);

impl StartProblems {
    /// Adds the problems of a check, if it has any, and returns what the check made.
    pub fn keep<T>(&mut self, checked: Result<T, StartError>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(StartError::Several(several)) => {
                several.into_iter().for_each(|problem| self.add(problem));
                None
            }
            Err(problem) => {
                self.add(problem);
                None
            }
        }
    }

    /// Adds a problem, once: a file can be named in several places.
    pub fn add(&mut self, problem: StartError) {
        let text = problem.to_string();
        if !self.0.iter().any(|known| known.to_string() == text) {
            self.0.push(problem);
        }
    }

    /// Returns nothing where there is no problem.
    ///
    /// # Errors
    /// The problem, or [`StartError::Several`].
    pub fn result(self) -> Result<(), StartError> {
        if self.0.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    /// The problem, or [`StartError::Several`]. For a check that lacks something after a problem.
    pub fn error(mut self) -> StartError {
        match self.0.pop() {
            Some(only) if self.0.is_empty() => only,
            last => {
                self.0.extend(last);
                StartError::Several(self.0)
            }
        }
    }
}

/// A key or secret file that is of no use, with what to do: where it is missing, how to make it.
pub fn key_file(what: &'static str, path: &Path, error: &KeyError) -> StartError {
    let missing = || matches!(path.try_exists(), Ok(false)).then(|| how_to_make(what, path));
    let (path, why) = (path.to_owned(), error.to_string());
    StartError::File { what, hint: error.hint().or_else(missing), path, why }
}

fn how_to_make(what: &str, path: &Path) -> String {
    let path = path.display();
    let command = match what {
        SIGNING_KEY => format!("portcullis keys generate --name ORIGIN --output {path}"),
        SEALING_KEY | PSEUDONYM_KEY => {
            format!("portcullis keys generate --kind symmetric --output {path}")
        }
        CALLER_SECRET | CALLER_PASSWORD => {
            format!("portcullis keys generate --kind secret --output {path}")
        }
        DECRYPTION_KEY => format!(
            "(umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out {path})"
        ),
        _ => return format!("create the file with mode 0600, or correct the setting: {path}"),
    };
    format!("correct the setting, or create the file: `{command}`")
}

/// The key that signs checkpoints.
pub const SIGNING_KEY: &str = "signing key";
/// The key of sealed parts.
pub const SEALING_KEY: &str = "sealing key";
/// The key of the pseudonyms.
pub const PSEUDONYM_KEY: &str = "pseudonym key";
/// A secret in a caller's header.
pub const CALLER_SECRET: &str = "caller secret";
/// A caller's password.
pub const CALLER_PASSWORD: &str = "caller password";
/// A key that decrypts what a platform encrypts.
pub const DECRYPTION_KEY: &str = "decryption key";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn problem(name: &str) -> StartError {
        StartError::File {
            what: SEALING_KEY,
            path: PathBuf::from(name),
            why: "it is open to others".to_owned(),
            hint: Some(format!("run `chmod 600 {name}`")),
        }
    }

    #[test]
    fn one_problem_stays_what_it_is_and_several_are_a_list_with_what_to_do() {
        assert!(StartProblems::default().result().is_ok());
        let mut problems = StartProblems::default();
        assert_eq!(problems.keep(Ok(1)), Some(1));
        assert_eq!(problems.keep(Err::<(), _>(problem("a"))), None);
        problems.add(problem("a"));
        assert!(matches!(problems.result(), Err(StartError::File { .. })), "the same one is one");

        let mut problems = StartProblems::default();
        problems.add(problem("a"));
        let two = StartError::Several(vec![problem("a"), problem("b")]);
        assert_eq!(problems.keep(Err::<(), _>(two)), None);
        let error = problems.error();
        assert_eq!(
            error.to_string(),
            "2 problems\n  1. sealing key `a`: it is open to others\n     hint: run `chmod 600 a`\
             \n  2. sealing key `b`: it is open to others\n     hint: run `chmod 600 b`"
        );
        assert!(error.is_configuration() && error.hint().is_none());
    }

    #[test]
    fn a_missing_file_comes_with_the_command_that_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        let error = portcullis_keys::read_secret_file(&path).unwrap_err();
        let hint = key_file(SEALING_KEY, &path, &error).hint().unwrap();
        let command =
            format!("portcullis keys generate --kind symmetric --output {}", path.display());
        assert!(hint.contains(&command), "{hint}");
        std::fs::write(&path, "open to others").unwrap();
        let error = portcullis_keys::read_secret_file(&path).unwrap_err();
        assert!(key_file(SEALING_KEY, &path, &error).hint().unwrap().contains("chmod 600"));
    }
}
