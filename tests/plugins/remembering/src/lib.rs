//! Remembering: a plugin that asks its host for what a call tells it to ask, and allows with the
//! answers.
//!
//! The subject's attribute `questions` is an array of questions, such as `["tally", "shared",
//! "tries", 60]` or `["lookup", "roster", "4711"]`; the answers are in the same order. A question
//! that is no question is an error.
//!
//! Invariant: it decides nothing itself, so a test sees exactly what the host answered.

use portcullis_guest::memory::{self, Scope};
use portcullis_guest::reference::{self, Row, SubjectMatch};
use portcullis_guest::{Attribute, Call, Decision, Effect, Finding, Plugin, journal};
use serde_json::{Value, json};

/// The plugin `org.portcullis.remembering`.
pub struct Remembering;

impl Plugin for Remembering {
    type Settings = Value;

    fn configure(settings: Value) -> Result<Self, Vec<String>> {
        // A host function in `configure` ends it: a test sees to that.
        if let Some(table) = settings.get("lookup").and_then(Value::as_str) {
            reference::lookup(table, "key");
        }
        Ok(Self)
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        let questions = call.subject.as_ref().and_then(|subject| {
            let attributes = &subject.attributes;
            attributes.iter().find(|attribute| attribute.name == "questions")
        });
        let questions = questions.map_or("[]", |questions| questions.value.as_str());
        let questions: Vec<Vec<Value>> =
            serde_json::from_str(questions).map_err(|error| error.to_string())?;
        let answers: Result<Vec<_>, _> = questions.iter().map(|one| answer(one)).collect();
        let answers = Value::from(answers?).to_string();
        let answers = Attribute { name: "answers".to_owned(), value: answers };
        Ok(Decision::default().finding(Finding::new("ANSWER", Effect::Allow).argument(answers)))
    }
}

portcullis_guest::plugin!(Remembering);

fn answer(question: &[Value]) -> Result<Value, String> {
    let text = |at: usize| question.get(at).and_then(Value::as_str).unwrap_or_default();
    let number = |at: usize| {
        let number = question.get(at).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
    };
    let scope = if text(1) == "shared" { Scope::Shared } else { Scope::Subject };
    Ok(match text(0) {
        "recall" => memory::recall(scope, text(2))
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .into(),
        "remember" => {
            memory::remember(scope, text(2), text(3).as_bytes(), number(4));
            Value::Null
        }
        // Reads a number and sets the next one.
        "increment" => {
            let last = memory::recall(scope, text(2)).unwrap_or_default();
            let last: u32 = String::from_utf8_lossy(&last).parse().unwrap_or_default();
            memory::remember(scope, text(2), (last + 1).to_string().as_bytes(), number(3));
            (last + 1).into()
        }
        "forget" => {
            memory::forget(scope, text(2));
            Value::Null
        }
        "count" => memory::count(scope, text(2), number(3)).into(),
        "tally" => memory::tally(scope, text(2), number(3)).into(),
        "count-distinct" => memory::count_distinct(scope, text(2), number(3)).into(),
        "tally-distinct" => memory::tally_distinct(scope, text(2), text(3), number(4)).into(),
        "lookup" => {
            let found = reference::lookup(text(1), text(2));
            json!({ "rows": rows(&found.rows), "version": found.version, "stale": found.stale })
        }
        "lookup-subject" => {
            let found = reference::lookup_subject(text(1));
            let matched = match found.matched {
                SubjectMatch::None => "none",
                SubjectMatch::One => "one",
                SubjectMatch::Several => "several",
            };
            json!({ "matched": matched, "rows": rows(&found.rows), "stale": found.stale })
        }
        "note" => {
            journal::note(text(1));
            Value::Null
        }
        // Long enough for a time-out where a manifest allows no more.
        "loop" => loop {
            std::hint::spin_loop();
        },
        other => return Err(format!("`{other}` is no question")),
    })
}

fn rows(rows: &[Row]) -> Value {
    let value = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    let columns = |row: &Row| -> Value {
        row.columns.iter().map(|column| (column.name.clone(), value(&column.value))).collect()
    };
    rows.iter().map(columns).collect()
}
