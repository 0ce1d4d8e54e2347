//! From the memory of a suite's case to items of a memory, and back to what is expected after a
//! call.
//!
//! Invariant: an entry is one thing: a value, events, or members. What would mean nothing is
//! refused by its path, before any plugin runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_model::{Call, Millis};
use portcullis_store::memory::{ImportItem, ImportOwner, ImportWhat, Scope};
use serde_json::Value;

use crate::fixture_text::{CountsText, MemoryText, RemembersText, ScopeText};
use crate::parse::SuiteError;
use crate::seconds::Seconds;
use crate::test_memory::{TestMemory, TestMemoryError};
use crate::trace::bytes_text;

/// The expected content of memory after a call.
#[derive(Default)]
pub(crate) struct MemoryExpect {
    remembers: Vec<RemembersText>,
    counts: Vec<CountsText>,
}

/// Returns the items of a case's memory, which begins with `call`.
pub(crate) fn items(
    path: &str,
    texts: &[MemoryText],
    call: &Call,
) -> Result<Vec<ImportItem>, SuiteError> {
    let mut items = Vec::new();
    let mut places = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let path = format!("{path}.memory[{index}]");
        for what in whats(&path, text, call.received)? {
            let owner = owner(&path, text, call)?;
            items.push(ImportItem { owner, key: text.key.clone().into_bytes(), what });
            places.push(path.clone());
        }
    }
    match TestMemory::new(&call.tenant, &items, call.received) {
        Ok(_) => Ok(items),
        Err(error) => {
            let first = error.items().first();
            let place = first.and_then(|(place, _)| places.get(*place));
            let what = first.map_or_else(|| error.to_string(), |(_, why)| why.to_string());
            Err(SuiteError::at(place.unwrap_or(&format!("{path}.memory")), what))
        }
    }
}

impl MemoryExpect {
    /// Compiles it.
    pub fn compile(
        path: &str,
        remembers: &[RemembersText],
        counts: &[CountsText],
    ) -> Result<Self, SuiteError> {
        for (index, text) in remembers.iter().enumerate() {
            let path = format!("{path}.remembers[{index}]");
            let given = [text.value.is_some(), text.base64.is_some(), text.absent];
            if given.into_iter().filter(|given| *given).count() > 1 {
                let what = "`value`, `base64` and `absent` exclude each other";
                return Err(SuiteError::at(&path, what));
            }
            decoded(&path, text.base64.as_deref())?;
        }
        for (index, text) in counts.iter().enumerate() {
            if text.count.is_some() == text.distinct.is_some() {
                return Err(SuiteError::at(
                    &format!("{path}.counts[{index}]"),
                    "it must have exactly one of `count` and `distinct`",
                ));
            }
        }
        Ok(Self { remembers: remembers.to_vec(), counts: counts.to_vec() })
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.remembers.is_empty() && self.counts.is_empty()
    }

    /// The differences after a call, a sentence each.
    pub fn differences(&self, memory: &TestMemory, call: &Call) -> Vec<String> {
        let remembers = self.remembers.iter().filter_map(|text| {
            remembers(text, memory, call).unwrap_or_else(|error| Some(error.to_string()))
        });
        let counts = self.counts.iter().filter_map(|text| {
            counts(text, memory, call).unwrap_or_else(|error| Some(error.to_string()))
        });
        remembers.chain(counts).collect()
    }
}

fn remembers(
    text: &RemembersText,
    memory: &TestMemory,
    call: &Call,
) -> Result<Option<String>, TestMemoryError> {
    let mut transaction = begin(text.subject.as_deref(), memory, call)?;
    let name = format!("remembers: {} `{}`", scope_word(text.scope), text.key);
    let found = match transaction.recall(scope(text.scope), text.key.as_bytes()) {
        Ok(found) => found,
        Err(error) => return Ok(Some(format!("{name}: {error}"))),
    };
    let base64 = text.base64.as_deref().and_then(|text| BASE64.decode(text).ok());
    let wanted = base64.or_else(|| text.value.as_ref().map(value_bytes));
    Ok(match (found, wanted) {
        (None, None) if text.absent => None,
        (Some(found), _) if text.absent => {
            Some(format!("{name}: expected nothing, but it is {}", bytes_text(&found)))
        }
        (Some(_), None) => None,
        (Some(found), Some(wanted)) if found == wanted || is_same_json(text, &found) => None,
        (Some(found), Some(wanted)) => Some(format!(
            "{name}: expected {}, but it is {}",
            bytes_text(&wanted),
            bytes_text(&found)
        )),
        (None, Some(wanted)) => {
            Some(format!("{name}: expected {}, but there is nothing", bytes_text(&wanted)))
        }
        (None, None) => Some(format!("{name}: expected a value, but there is nothing")),
    })
}

fn counts(
    text: &CountsText,
    memory: &TestMemory,
    call: &Call,
) -> Result<Option<String>, TestMemoryError> {
    let mut transaction = begin(text.subject.as_deref(), memory, call)?;
    let (scope_of, key, window) = (scope(text.scope), text.key.as_bytes(), text.window.0);
    let (found, wanted, what) = match (text.count, text.distinct) {
        (Some(wanted), _) => (transaction.count(scope_of, key, window), wanted, "events"),
        (None, wanted) => {
            let found = transaction.count_distinct(scope_of, key, window);
            (found, wanted.unwrap_or_default(), "different members")
        }
    };
    let name = format!("counts: {} `{}` within {}", scope_word(text.scope), text.key, text.window);
    Ok(match found {
        Ok(found) if found == wanted => None,
        Ok(found) => Some(format!("{name}: expected {wanted} {what}, but there are {found}")),
        Err(error) => Some(format!("{name}: {error}")),
    })
}

fn begin(
    subject: Option<&str>,
    memory: &TestMemory,
    call: &Call,
) -> Result<portcullis_store::memory::Transaction, TestMemoryError> {
    let own = call.subject.as_ref().and_then(|subject| subject.id.as_deref());
    memory.transaction(&call.tenant, subject.or(own), call.received)
}

fn whats(path: &str, text: &MemoryText, now: Millis) -> Result<Vec<ImportWhat>, SuiteError> {
    let refused = |what: &str| Err(SuiteError::at(path, what));
    let given =
        [text.value.is_some(), text.base64.is_some(), text.count.is_some(), text.members.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return refused("it must have exactly one of `value`, `base64`, `count` and `members`");
    }
    let is_counted = text.count.is_some() || text.members.is_some();
    if is_counted && text.ttl.is_some() {
        return refused("`ttl` is that of a value; events and members have a `window`");
    }
    if !is_counted && (text.window.is_some() || text.age.is_some()) {
        return refused("a value has no `window` and no `age`; it has the `ttl` that is left");
    }
    let bytes = decoded(path, text.base64.as_deref())?;
    if let Some(value) = bytes.or_else(|| text.value.as_ref().map(value_bytes)) {
        let expires_at = now.0.saturating_add(text.ttl.unwrap_or(DEFAULT_TTL).millis());
        return Ok(vec![ImportWhat::Value { value, expires_at }]);
    }
    let Some(Seconds(window)) = text.window else {
        return refused("it has no `window`; write the one with which the plugin counts");
    };
    let at = now.0.saturating_sub(text.age.unwrap_or_default().millis());
    Ok(match (&text.members, text.count) {
        (Some(members), _) => members
            .iter()
            .map(|member| ImportWhat::Member { member: member.clone().into_bytes(), at, window })
            .collect(),
        (None, amount) => {
            vec![ImportWhat::Events { at, window, amount: amount.unwrap_or_default() }]
        }
    })
}

fn owner(path: &str, text: &MemoryText, call: &Call) -> Result<ImportOwner, SuiteError> {
    let own = || call.subject.as_ref().and_then(|subject| subject.id.clone());
    match (text.scope, &text.subject) {
        (ScopeText::Shared, None) => Ok(ImportOwner::Shared),
        (ScopeText::Shared, Some(_)) => Err(SuiteError::at(
            &format!("{path}.subject"),
            "the scope `shared` is that of all subjects",
        )),
        (ScopeText::Subject, named) => match named.clone().or_else(own) {
            Some(subject) => Ok(ImportOwner::Subject(subject)),
            None => Err(SuiteError::at(
                path,
                "the case's first call has no subject with an id; name one with `subject`",
            )),
        },
    }
}

fn decoded(path: &str, base64: Option<&str>) -> Result<Option<Vec<u8>>, SuiteError> {
    let decoded = base64.map(|text| BASE64.decode(text)).transpose();
    decoded.map_err(|_| SuiteError::at(&format!("{path}.base64"), "it is not base64"))
}

/// A text as it is, and another value as JSON.
fn value_bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// Whether a value is the expected JSON, however it is spelled.
fn is_same_json(text: &RemembersText, found: &[u8]) -> bool {
    let wanted = text.value.as_ref().filter(|value| !value.is_string());
    wanted
        .is_some_and(|wanted| serde_json::from_slice::<Value>(found).is_ok_and(|it| it == *wanted))
}

pub(crate) fn scope(scope: ScopeText) -> Scope {
    match scope {
        ScopeText::Subject => Scope::Subject,
        ScopeText::Shared => Scope::Shared,
    }
}

fn scope_word(scope: ScopeText) -> &'static str {
    match scope {
        ScopeText::Subject => "subject",
        ScopeText::Shared => "shared",
    }
}

/// The time that a value still lives where nothing is said: 30 days.
const DEFAULT_TTL: Seconds = Seconds(30 * 86_400);
