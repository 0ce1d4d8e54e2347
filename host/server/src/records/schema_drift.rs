//! The drift alarm: a platform sends members that its hook kind is not known to have.
//!
//! Invariant: each unknown member of a hook is spoken of once a run, and at most [`MAX_MEMBERS`]
//! are; only calls that could be read are looked at, a sample of them, after their answer has left.
//! A name that may be a person's is in the sealed part of the record alone; the leaf, the host's
//! log and `/status` have a salted hash of it, whose salt is sealed with the name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_audit::Entry;
use portcullis_hooks::platform_model::{Unknown, unknown_members};
use portcullis_hooks::{HookKind, is_shown_member};
use portcullis_model::Document;
use portcullis_model::json::{build_members, build_object};

use crate::recorder::Recorder;

/// The unknown members that one hook received.
#[derive(Default)]
pub struct SchemaDrift {
    calls: AtomicU32,
    full: AtomicBool,
    /// By parent and name, as the platform wrote it; with what is shown instead.
    seen: Mutex<BTreeMap<Unknown, String>>,
}

/// A member that was not seen before.
struct NewMember {
    /// Its path, with a hash where the name must not be shown.
    shown: String,
    /// The name and the hash's salt, where the name must not be shown.
    hidden: Option<(String, [u8; 16])>,
}

impl SchemaDrift {
    /// Whether this call is one to look at: the first ones, then every so many.
    pub fn should_sample(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (call < FIRST_SAMPLED || call.is_multiple_of(SAMPLE_EVERY))
            && !self.full.load(Ordering::Relaxed)
    }

    /// Looks at a request, and records what is new.
    pub fn inspect(&self, recorder: &Recorder, hook: &str, kind: HookKind, request: &Document) {
        for NewMember { shown, hidden } in self.new_members(kind, request, || recorder.salt()) {
            tracing::warn!(
                event = "hook.drift",
                hook,
                member = shown,
                "the platform sent a member that the host does not know for this hook kind"
            );
            let fields = build_members(|fields| {
                fields.text("hook", hook).text("kind", kind.name()).text("member", &shown);
            });
            let sealed = hidden.map(|(name, salt)| {
                let salt = u128::from_be_bytes(salt);
                let sealed = build_object(|sealed| {
                    sealed.text("member", &name).display("salt", format_args!("{salt:032x}"));
                });
                sealed.into_bytes()
            });
            recorder.append(Entry { kind: "hook.drift", fields, sealed });
        }
    }

    /// The members seen so far, as they may be shown.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn new_members(
        &self,
        kind: HookKind,
        request: &Document,
        salt: impl Fn() -> [u8; 16],
    ) -> Vec<NewMember> {
        let found = unknown_members(kind, request, MAX_MEMBERS);
        if found.is_empty() {
            return Vec::new();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        for member in found {
            if seen.len() >= MAX_MEMBERS {
                self.full.store(true, Ordering::Relaxed);
                break;
            }
            if seen.contains_key(&member) {
                continue;
            }
            let new = NewMember::of(&member, &salt);
            seen.insert(member, new.shown.clone());
            news.push(new);
        }
        news
    }
}

impl NewMember {
    fn of(unknown: &Unknown, salt: impl Fn() -> [u8; 16]) -> Self {
        let Unknown { parent, name } = unknown;
        let (last, hidden) = if is_shown_member(name) {
            (name.clone(), None)
        } else {
            let salt = salt();
            let digest = portcullis_model::sha256_of(&[&salt, name.as_bytes()]).to_string();
            let shown = digest.chars().take("sha256:".len() + SHOWN_HASH_CHARS).collect();
            (shown, Some((name.clone(), salt)))
        };
        let shown = if parent.is_empty() { last } else { format!("{parent}.{last}") };
        Self { shown, hidden }
    }
}

/// Unknown members of one hook that are told apart; past that it is another interface, and one
/// record less does not matter.
const MAX_MEMBERS: usize = 32;
/// Calls that are all looked at, since a new member is mostly in every call.
const FIRST_SAMPLED: u32 = 64;
/// After those, one call in so many.
const SAMPLE_EVERY: u32 = 64;
/// Characters of a name's hash.
const SHOWN_HASH_CHARS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn news(drift: &SchemaDrift, request: &str) -> Vec<NewMember> {
        let request = Document::parse(request.as_bytes()).unwrap();
        drift.new_members(HookKind::OktaToken, &request, || [7; 16])
    }

    #[test]
    fn each_member_is_news_once_and_a_name_that_may_be_a_persons_is_hidden() {
        let drift = SchemaDrift::default();
        let request = r#"{"eventId":"e","data":{"context":{"device":{"id":1}},"Zebulon-Quartermain":1,"00u1234567":2},"new":[]}"#;
        let first = news(&drift, request);
        let shown: Vec<_> = first.iter().map(|new| new.shown.as_str()).collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown.contains(&"data.context.device") && shown.contains(&"new"), "{shown:?}");
        let hashed = shown.iter().filter(|shown| shown.starts_with("data.sha256:")).count();
        assert_eq!(hashed, 2, "{shown:?}");
        assert_eq!(drift.seen().len(), 4);
        assert!(!drift.seen().concat().contains("Zebulon"));
        let hidden: Vec<_> = first.iter().filter_map(|new| new.hidden.as_ref()).collect();
        assert!(hidden.contains(&&("Zebulon-Quartermain".to_owned(), [7; 16])));
        assert!(news(&drift, request).is_empty());
        let many: String = (0..100).map(|n| format!("\"m{n}\":1,")).collect();
        assert_eq!(news(&drift, &format!("{{{many}\"eventId\":1}}")).len(), MAX_MEMBERS - 4);
        assert!(
            !drift.should_sample() && drift.seen().len() == MAX_MEMBERS,
            "nothing more to look for"
        );
    }

    #[test]
    fn the_first_calls_are_looked_at_and_then_a_sample() {
        let drift = SchemaDrift::default();
        let due = (0..FIRST_SAMPLED + 10 * SAMPLE_EVERY).filter(|_| drift.should_sample()).count();
        assert_eq!(due, usize::try_from(FIRST_SAMPLED + 10).unwrap());
    }
}
