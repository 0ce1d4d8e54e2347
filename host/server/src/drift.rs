//! The drift alarm: a platform sends members that its hook kind is not known to have.
//!
//! Invariant: each unknown member of a hook is spoken of once a run, and at most [`MOST_SEEN`] are; only calls that could be read are looked
//! at, a sample of them, after their answer has left. A record holds names of members only, and those only where they look like names.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_audit::Entry;
use portcullis_hooks::HookKind;
use portcullis_hooks::outside::{Unknown, unknown_members};
use portcullis_model::Document;
use portcullis_model::json::quote;

use crate::host::{Hook, Host};

/// What one hook was sent that its kind is not known to have.
#[derive(Default)]
pub struct Drift {
    calls: AtomicU32,
    full: AtomicBool,
    seen: Mutex<BTreeSet<String>>,
}

impl Drift {
    /// Whether this call is one to look at: the first ones, then every so many.
    pub fn due(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (call < ALL_OF_THE_FIRST || call.is_multiple_of(ONE_IN))
            && !self.full.load(Ordering::Relaxed)
    }

    /// Looks at a request, and says what is new.
    pub fn look(&self, host: &Host, hook: &Hook, request: &Document) {
        for member in self.news(hook.config.kind, request) {
            tracing::warn!(
                hook = &*hook.name,
                member,
                "the platform sends a member that this hook kind is not known to have"
            );
            let mut fields =
                format!(r#""hook":"{}","kind":"{}","member":"#, hook.name, hook.config.kind.name());
            quote(&mut fields, &member);
            host.say(Entry { kind: "hook.drift", fields, sealed: None });
        }
    }

    /// The members seen so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn news(&self, kind: HookKind, request: &Document) -> Vec<String> {
        let found = unknown_members(kind, request, MOST_SEEN);
        if found.is_empty() {
            return Vec::new();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        for member in found.iter().map(spelled) {
            if seen.len() >= MOST_SEEN {
                self.full.store(true, Ordering::Relaxed);
                break;
            }
            if seen.insert(member.clone()) {
                news.push(member);
            }
        }
        news
    }
}

/// A member's path. A name that does not look like one may be a person's: it is named by its hash.
fn spelled(unknown: &Unknown) -> String {
    let name = &unknown.name;
    let plain = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$@".contains(&byte))
        && name.bytes().filter(u8::is_ascii_digit).count() < MOST_DIGITS;
    let name = if plain {
        name.clone()
    } else {
        let digest = crate::digest::sha256(name.as_bytes()).to_string();
        digest.chars().take("sha256:".len() + HASH_SHOWN).collect()
    };
    if unknown.parent.is_empty() { name } else { format!("{}.{name}", unknown.parent) }
}

/// Unknown members of one hook that are told apart; past that it is another interface, and one record less does not matter.
const MOST_SEEN: usize = 32;
/// Calls that are all looked at, since a new member is mostly in every call.
const ALL_OF_THE_FIRST: u32 = 64;
/// After those, one call in so many.
const ONE_IN: u32 = 64;
/// The longest name that looks like one.
const LONGEST_NAME: usize = 48;
/// As many digits are a number, not a name.
const MOST_DIGITS: usize = 5;
/// Characters of a name's hash.
const HASH_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn news(drift: &Drift, request: &str) -> Vec<String> {
        drift.news(HookKind::OktaToken, &Document::parse(request.as_bytes()).unwrap())
    }

    #[test]
    fn each_member_is_news_once_and_names_of_people_are_hashed() {
        let drift = Drift::default();
        let request = r#"{"eventId":"e","data":{"context":{"device":{"id":1}},"noor@ward.test":1,"00u1234567":2},"new":[]}"#;
        let first = news(&drift, request);
        assert_eq!(first.len(), 4, "{first:?}");
        assert!(
            first.contains(&"data.context.device".to_owned()) && first.contains(&"new".to_owned()),
            "{first:?}"
        );
        assert!(
            !first.concat().contains("noor") && !first.concat().contains("1234567"),
            "{first:?}"
        );
        assert!(news(&drift, request).is_empty());
        let many: String = (0..100).map(|n| format!("\"m{n}\":1,")).collect();
        assert_eq!(news(&drift, &format!("{{{many}\"eventId\":1}}")).len(), MOST_SEEN - 4);
        assert!(!drift.due() && drift.seen().len() == MOST_SEEN, "nothing more to look for");
    }

    #[test]
    fn the_first_calls_are_looked_at_and_then_a_sample() {
        let drift = Drift::default();
        let due = (0..ALL_OF_THE_FIRST + 10 * ONE_IN).filter(|_| drift.due()).count();
        assert_eq!(due, usize::try_from(ALL_OF_THE_FIRST + 10).unwrap());
    }
}
