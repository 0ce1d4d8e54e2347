//! A memory as a file: what `portcullis plugin run` takes from one call to the next.
//!
//! Invariant: what is written reads back as the same memory. Items that have expired are left out.
//! Times are absolute, so that a file means the same at any time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_model::{Call, Millis};
use portcullis_store::memory::{
    ImportItem, ImportOwner, ImportWhat, Scope, Transaction, WriteChange,
};
use serde::{Deserialize, Serialize};

use crate::test_memory::{TestMemory, TestMemoryError};
use crate::values::{time, time_text};

/// The items of a memory. Without `Debug`: they name people.
#[derive(Clone, Default)]
pub struct MemoryState(Vec<ImportItem>);

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    memory: Vec<ItemText>,
}

/// An item of the file: a value, events, or a member.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ItemText {
    /// The id of the subject; the shared scope where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

impl MemoryState {
    /// Reads a file.
    ///
    /// # Errors
    /// Line or item, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: FileText = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let items =
            file.memory.into_iter().enumerate().map(|(place, item)| {
                item.read().map_err(|what| format!("`memory[{place}]`: {what}"))
            });
        items.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the text of a file.
    pub fn to_text(&self) -> String {
        let file = FileText { memory: self.0.iter().map(ItemText::of).collect() };
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Returns the memory with which a call begins.
    ///
    /// # Errors
    /// [`TestMemoryError`].
    pub fn open(&self, call: &Call) -> Result<TestMemory, TestMemoryError> {
        TestMemory::new(&call.tenant, &self.0, call.received)
    }

    /// Adds what a call changed, and drops what has expired.
    pub fn keep(&mut self, call: &Call, transaction: &Transaction, is_decided: bool) {
        let now = call.received.0;
        let subject = call.subject.as_ref().and_then(|subject| subject.id.clone());
        for write in transaction.writes().iter().filter(|it| is_decided || it.change.is_tally()) {
            let owner = match (write.scope, &subject) {
                (Scope::Subject, Some(subject)) => ImportOwner::Subject(subject.clone()),
                (Scope::Subject, None) => continue,
                (Scope::Shared, _) => ImportOwner::Shared,
            };
            let what = match &write.change {
                WriteChange::Remember { value, ttl } => {
                    self.forget(&owner, &write.key);
                    let expires_at = now.saturating_add(u64::from(*ttl) * 1_000);
                    ImportWhat::Value { value: value.clone(), expires_at }
                }
                WriteChange::Forget => {
                    self.forget(&owner, &write.key);
                    continue;
                }
                WriteChange::Tally { window } => {
                    ImportWhat::Events { at: now, window: *window, amount: 1 }
                }
                WriteChange::TallyDistinct { member, window } => {
                    ImportWhat::Member { member: member.clone(), at: now, window: *window }
                }
            };
            self.0.push(ImportItem { owner, key: write.key.clone(), what });
        }
        self.0.retain(|item| end(&item.what) > now);
    }

    fn forget(&mut self, owner: &ImportOwner, key: &[u8]) {
        self.0.retain(|item| {
            !matches!(item.what, ImportWhat::Value { .. })
                || item.key != key
                || subject_of(&item.owner) != subject_of(owner)
        });
    }
}

impl ItemText {
    fn of(item: &ImportItem) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let moment = |at: u64| Some(time_text(Millis(at)));
        let named = Self {
            subject: subject_of(&item.owner).map(str::to_owned),
            key: text(&item.key),
            ..Self::default()
        };
        match &item.what {
            ImportWhat::Value { value, expires_at } => {
                let (value, base64) = match str::from_utf8(value) {
                    Ok(text) => (Some(text.to_owned()), None),
                    Err(_) => (None, Some(BASE64.encode(value))),
                };
                Self { value, base64, expires_at: moment(*expires_at), ..named }
            }
            ImportWhat::Events { at, window, amount } => {
                Self { count: Some(*amount), window: Some(*window), at: moment(*at), ..named }
            }
            ImportWhat::Member { member, at, window } => {
                let member = Some(text(member));
                Self { member, window: Some(*window), at: moment(*at), ..named }
            }
        }
    }

    fn read(self) -> Result<ImportItem, String> {
        let owner = self.subject.map_or(ImportOwner::Shared, ImportOwner::Subject);
        let moment = |name: &str, text: Option<String>| {
            let text = text.ok_or_else(|| format!("it has no `{name}`"))?;
            let at = time(&text).ok_or_else(|| format!("`{text}` is not a time"))?;
            Ok::<_, String>(at.0)
        };
        let window = self.window.ok_or("it has no `window`");
        let what = match (self.value, self.base64, self.count, self.member) {
            (Some(value), None, None, None) => {
                let expires_at = moment("expires_at", self.expires_at)?;
                ImportWhat::Value { value: value.into_bytes(), expires_at }
            }
            (None, Some(base64), None, None) => {
                let value = BASE64.decode(base64).map_err(|_| "`base64` is not base64")?;
                ImportWhat::Value { value, expires_at: moment("expires_at", self.expires_at)? }
            }
            (None, None, Some(amount), None) => {
                ImportWhat::Events { at: moment("at", self.at)?, window: window?, amount }
            }
            (None, None, None, Some(member)) => {
                let (member, at) = (member.into_bytes(), moment("at", self.at)?);
                ImportWhat::Member { member, at, window: window? }
            }
            _ => {
                let what = "it must have exactly one of `value`, `base64`, `count` and `member`";
                return Err(what.to_owned());
            }
        };
        Ok(ImportItem { owner, key: self.key.into_bytes(), what })
    }
}

fn subject_of(owner: &ImportOwner) -> Option<&str> {
    match owner {
        ImportOwner::Subject(subject) => Some(subject),
        ImportOwner::Shared => None,
    }
}

/// When an item has expired, milliseconds since 1970.
fn end(what: &ImportWhat) -> u64 {
    match what {
        ImportWhat::Value { expires_at, .. } => *expires_at,
        ImportWhat::Events { at, window, .. } | ImportWhat::Member { at, window, .. } => {
            at.saturating_add(u64::from(*window) * 1_000)
        }
    }
}
