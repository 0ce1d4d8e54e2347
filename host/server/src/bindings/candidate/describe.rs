//! A candidate in words, for `check`.

use portcullis_trust::{Abort, Canary};

use super::CandidateBinding;

impl CandidateBinding {
    /// For whom it answers, and what ends it.
    pub fn describe(&self) -> String {
        let whom = match self.cohort.as_ref().map(|cohort| &cohort.canary) {
            None => "it is called after every answer, and its decisions have no effect".to_owned(),
            Some(Canary { percent, applications, departments }) => {
                let part = percent.map_or("everybody".to_owned(), |percent| {
                    format!("{percent} % of all subjects")
                });
                let through = among("who use", applications.len(), "application");
                let of = among("of", departments.len(), "department");
                format!("it answers for {part}{through}{of}")
            }
        };
        let Abort { window, max_differences, max_failures, max_slower, slower_by_ms } = self.abort;
        let ended = if self.is_stopped() {
            "; it was stopped in this release set and is not called"
        } else {
            ""
        };
        format!(
            "{whom}; it is stopped when of the last {window} compared calls more than \
             {max_differences} differ, {max_failures} fail or {max_slower} are {slower_by_ms} ms \
             slower{ended}"
        )
    }
}

fn among(word: &str, count: usize, of_what: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(" {word} one {of_what}"),
        _ => format!(" {word} any of {count} {of_what}s"),
    }
}
