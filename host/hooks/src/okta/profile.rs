//! Profile members that an answer sets: the value of Okta's commands `….profile.update`.
//!
//! Invariant: one level, each name once, each value JSON.

use portcullis_model::Document;
use portcullis_model::json::{Value, build_object, split_pointer};

use crate::RenderErrorKind;

/// Profile members and their values, which are JSON.
#[derive(Default)]
pub(super) struct Profile<'a>(Vec<(String, &'a str)>);

impl<'a> Profile<'a> {
    /// Sets the member that the path names, where its value is one that may stand there.
    pub(super) fn set(
        &mut self,
        path: &str,
        value: &'a str,
        may: fn(Value<'_>) -> bool,
    ) -> Result<(), RenderErrorKind> {
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let [name] = tokens.as_slice() else {
            return Err(RenderErrorKind::Place);
        };
        if name.is_empty() {
            return Err(RenderErrorKind::Place);
        }
        if !Document::parse(value.as_bytes()).is_ok_and(|document| may(document.root())) {
            return Err(RenderErrorKind::Value);
        }
        match self.0.iter().find(|(earlier, _)| earlier == name) {
            Some((_, earlier)) if *earlier != value => Err(RenderErrorKind::Conflict),
            Some(_) => Ok(()),
            None => {
                self.0.push((name.to_string(), value));
                Ok(())
            }
        }
    }

    /// Whether nothing is set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one object.
    pub(super) fn json(&self) -> String {
        build_object(|object| {
            for (name, value) in &self.0 {
                object.json(name, value);
            }
        })
    }
}
