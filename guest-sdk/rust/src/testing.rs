//! Testing a plugin natively, with no wasm at all: calls to build, decisions to hold against the manifest.
//!
//! ```
//! use portcullis_guest::{GrantKind, Target, testing};
//!
//! let call = testing::call("okta.token")
//!     .subject("u1")
//!     .attribute("department", "pharmacy")
//!     .entitlement("dispense")
//!     .requested(GrantKind::Scope, "orders:write")
//!     .lifetime(Target::AccessToken, 3600)
//!     .build();
//! assert_eq!(call.subject.unwrap().text("department").unwrap(), "pharmacy");
//! ```
//!
//! Invariant: for tests only, so it panics with a sentence instead of returning errors. It exists on native targets alone.
#![expect(clippy::panic, reason = "a helper for tests: a panic is a failed test")]

pub(crate) mod world;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde::Serialize;

use crate::{
    Attribute, Call, Change, Decision, Entity, Finding, Grant, GrantKind, Lifetime, Page, Plugin,
    Principal, PrincipalKind, Search, SearchTarget, Target, settings,
};

pub use world::{TestTable, enter, reset, set_table};

/// Configures a plugin with settings as JSON text, as the host does.
///
/// # Errors
/// What the operator would read.
pub fn configure<P: Plugin>(settings: &str) -> Result<P, Vec<String>> {
    settings::configure(settings)
}

/// A configured plugin; panics when the settings are refused.
pub fn configured<P: Plugin>(settings: &str) -> P {
    configure(settings)
        .unwrap_or_else(|problems| panic!("the settings were refused: {}", problems.join("; ")))
}

/// The plugin's decision; panics when it fails.
pub fn decide<P: Plugin>(plugin: &P, call: &Call) -> Decision {
    enter(call);
    plugin.evaluate(call).unwrap_or_else(|error| panic!("the plugin failed: {error}"))
}

/// The ids of everything the plugin finds, in pages of `limit`; panics when it fails, when a page is not as the contract wants
/// it, or when there is no end of pages.
pub fn find<P: Search>(plugin: &P, call: &Call, limit: u32) -> Vec<String> {
    enter(call);
    let (mut ids, mut after): (Vec<String>, _) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = Page { limit, after };
        let found =
            plugin.find(call, &page).unwrap_or_else(|error| panic!("the plugin failed: {error}"));
        assert!(
            found.results.len() <= limit as usize,
            "{} results where {limit} were asked for",
            found.results.len()
        );
        for result in found.results {
            let Some(id) = result.id else { panic!("a result has no id") };
            assert!(
                ids.last().is_none_or(|last| *last < id),
                "`{id}` is not in the order of ids, or there twice"
            );
            assert!(
                page.after.as_ref().is_none_or(|after| *after < id),
                "`{id}` belongs to an earlier page"
            );
            ids.push(id);
        }
        let Some(next) = found.next else { return ids };
        assert!(page.after.is_none_or(|after| after < next), "a page leads back to itself");
        assert!(ids.last().is_none_or(|last| *last <= next), "a page ends before its last result");
        after = Some(next);
    }
    panic!("{MOST_PAGES} pages, and no end")
}

/// The notes left on this thread since the last time somebody asked.
pub fn notes() -> Vec<String> {
    NOTES.with(RefCell::take)
}

/// Panics unless a manifest source (TOML text) declares everything that the decision on this hook kind says: effects,
/// changes and finding codes with their messages' arguments. The host refuses what is not declared, so a plugin's tests
/// should see it first.
pub fn assert_declared(manifest: &str, hook: &str, decision: &Decision) {
    let manifest: toml::Table =
        manifest.parse().unwrap_or_else(|error| panic!("the manifest is not TOML: {error}"));
    let listed = |name: &str| -> Vec<String> {
        let emits =
            manifest.get("emits").and_then(|emits| emits.get(name)).and_then(toml::Value::as_array);
        emits.into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    let (effects, changes) = (listed("effects"), listed("changes"));
    for finding in &decision.findings {
        let effect = finding.effect.name();
        assert!(
            effects.iter().any(|word| word == effect),
            "`{effect}` of {} is not in `emits.effects`",
            finding.code
        );
        assert_message(&manifest, finding);
    }
    for change in &decision.changes {
        let said = spelled(change);
        // A pattern may be for one hook kind only: `okta.token:cap-lifetime:access-token`.
        let here = |pattern: &'_ str| {
            pattern.strip_prefix(hook).and_then(|rest| rest.strip_prefix(':')).map(str::to_owned)
        };
        let declared =
            changes.iter().any(|pattern| covers(&here(pattern).unwrap_or(pattern.clone()), &said));
        assert!(declared, "`{said}` is not in `emits.changes` for `{hook}`");
    }
}

/// The JSON Schema of a plugin's settings, as it follows from their types: what `settings.schema.json` holds.
pub fn schema<Settings: JsonSchema>() -> String {
    let schema = schema_for!(Settings);
    let text = serde_json::to_string_pretty(&schema)
        .unwrap_or_else(|error| panic!("the schema is not JSON: {error}"));
    text + "\n"
}

/// Panics unless the file holds the [`schema`] of these settings. `BLESS=1` in the environment writes it.
pub fn assert_schema<Settings: JsonSchema>(file: &Path) {
    let schema = schema::<Settings>();
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, schema)
            .unwrap_or_else(|error| panic!("cannot write `{}`: {error}", file.display()));
        return;
    }
    let there = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", file.display()));
    // The order of members depends on what else is built.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    assert!(
        value(&there) == value(&schema),
        "`{}` is not what follows from the settings' types; write it with `portcullis plugin build` or `BLESS=1 cargo test`",
        file.display()
    );
}

/// Starts a call of a hook kind, such as "okta.token". Everything else is absent, empty or zero until it is given.
pub fn call(hook: &str) -> CallBuilder {
    CallBuilder(Call {
        id: "event-1".to_owned(),
        correlation: None,
        tenant: "default".to_owned(),
        hook: hook.to_owned(),
        phase: None,
        received: 0,
        seed: 0,
        subject: None,
        actors: Vec::new(),
        action: None,
        resource: None,
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: None,
        purpose: None,
        proposed: Vec::new(),
        payload: "null".to_owned(),
    })
}

/// A call in the making.
#[derive(Clone)]
pub struct CallBuilder(Call);

impl CallBuilder {
    /// The call.
    pub fn build(self) -> Call {
        self.0
    }

    /// When the host received it: milliseconds since the Unix epoch, UTC.
    pub fn received(mut self, millis: u64) -> Self {
        self.0.received = millis;
        self
    }

    /// Makes it a search: for what, and of which type. What is sought keeps its attributes and has no id.
    pub fn search(mut self, sought: SearchTarget, type_name: &str) -> Self {
        self.0.phase = Some(sought.phase().to_owned());
        match sought {
            SearchTarget::Subject => {
                let subject = self.person();
                (subject.type_name, subject.id) = (type_name.to_owned(), None);
            }
            SearchTarget::Resource => {
                let resource = self.0.resource.get_or_insert_with(|| entity("", ""));
                (resource.type_name, resource.id) = (type_name.to_owned(), None);
            }
            SearchTarget::Action => self.0.action = None,
        }
        self
    }

    /// Who: a person with this id.
    pub fn subject(mut self, id: &str) -> Self {
        self.person().id = Some(id.to_owned());
        self
    }

    /// Who: somebody of this type, in the platform's own word, with this id.
    pub fn subject_of_type(mut self, type_name: &str, id: &str) -> Self {
        self = self.subject(id);
        self.person().type_name = type_name.to_owned();
        self
    }

    /// One attribute of the subject; its value is anything that serde makes JSON of.
    pub fn attribute(mut self, name: &str, value: impl Serialize) -> Self {
        self.person().attributes.push(attribute(name, value));
        self
    }

    /// One thing the subject holds already.
    pub fn entitlement(mut self, entitlement: &str) -> Self {
        self.person().entitlements.push(entitlement.to_owned());
        self
    }

    /// Things the subject holds already.
    pub fn entitlements<T: Into<String>>(
        mut self,
        entitlements: impl IntoIterator<Item = T>,
    ) -> Self {
        self.person().entitlements.extend(entitlements.into_iter().map(Into::into));
        self
    }

    /// Through whom: the next actor, nearest first.
    pub fn actor(mut self, kind: PrincipalKind, type_name: &str, id: &str) -> Self {
        self.0.actors.push(Principal { id: Some(id.to_owned()), ..principal(kind, type_name) });
        self
    }

    /// What is being done.
    pub fn action(mut self, type_name: &str, id: &str) -> Self {
        self.0.action = Some(entity(type_name, id));
        self
    }

    /// One attribute of the action; one of type "action" if none was given.
    pub fn action_attribute(mut self, name: &str, value: impl Serialize) -> Self {
        let action =
            self.0.action.get_or_insert_with(|| Entity { id: None, ..entity("action", "") });
        action.attributes.push(attribute(name, value));
        self
    }

    /// To what.
    pub fn resource(mut self, type_name: &str, id: &str) -> Self {
        self.0.resource = Some(entity(type_name, id));
        self
    }

    /// One attribute of the resource; one of type "resource" if none was given.
    pub fn resource_attribute(mut self, name: &str, value: impl Serialize) -> Self {
        let resource =
            self.0.resource.get_or_insert_with(|| Entity { id: None, ..entity("resource", "") });
        resource.attributes.push(attribute(name, value));
        self
    }

    /// One thing that would be granted.
    pub fn requested(mut self, kind: GrantKind, id: &str) -> Self {
        self.0.requested.push(Grant { kind, id: id.to_owned() });
        self
    }

    /// What can be shortened, within the bounds of an Okta token: 300 s to 86,400 s.
    pub fn lifetime(self, target: Target, seconds: u32) -> Self {
        self.lifetime_within(target, seconds, 300, 86_400)
    }

    /// What can be shortened, within these bounds. Seconds.
    pub fn lifetime_within(mut self, target: Target, seconds: u32, least: u32, most: u32) -> Self {
        self.0.lifetimes.push(Lifetime { target, seconds, least, most });
        self
    }

    /// One change that an earlier plugin proposes.
    pub fn proposed(mut self, change: Change) -> Self {
        self.0.proposed.push(change);
        self
    }

    /// The hook body, as far as the manifest reads it: JSON text.
    pub fn payload(mut self, json: &str) -> Self {
        self.0.payload = json.to_owned();
        self
    }

    fn person(&mut self) -> &mut Principal {
        self.0.subject.get_or_insert_with(|| principal(PrincipalKind::Person, "user"))
    }
}

pub(crate) fn keep_note(message: &str) {
    NOTES.with_borrow_mut(|notes| notes.push(message.to_owned()));
}

fn assert_message(manifest: &toml::Table, finding: &Finding) {
    let code = &finding.code;
    let message = manifest
        .get("messages")
        .and_then(|messages| messages.get(code))
        .and_then(toml::Value::as_table);
    let Some(message) = message else { panic!("{code} has no message in the manifest") };
    for (language, template) in message {
        let template = template.as_str().unwrap_or_default().replace("{{", "").replace("}}", "");
        for placeholder in
            template.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
        {
            let filled = finding.arguments.iter().any(|argument| argument.name == placeholder);
            assert!(
                filled,
                "the message of {code} in `{language}` wants `{placeholder}`, which the finding does not give"
            );
        }
    }
}

/// The change as a manifest spells it, down to its path or kind.
fn spelled(change: &Change) -> String {
    match change {
        Change::Set(edit) => format!("set:{}:{}", edit.target.name(), edit.path),
        Change::Remove(place) => format!("remove:{}:{}", place.target.name(), place.path),
        Change::CapLifetime(cap) => format!("cap-lifetime:{}", cap.target.name()),
        Change::AddGrant(grant) => format!("add-grant:{}", grant.kind.name()),
        Change::DropGrant(grant) => format!("drop-grant:{}", grant.kind.name()),
        Change::LinkUser(_) => "link-user".to_owned(),
        Change::CreateUser => "create-user".to_owned(),
        Change::Credential(_) => "credential".to_owned(),
        Change::AutoApprove => "auto-approve".to_owned(),
        Change::RequireApprovers(_) => "require-approvers".to_owned(),
        Change::Statement(_) => "statement".to_owned(),
        Change::Waive(_) => "waive".to_owned(),
    }
}

/// Whether a pattern of `emits.changes` covers a change: the same, anything below its `/*`, or grants of any kind.
fn covers(pattern: &str, said: &str) -> bool {
    let below = pattern.strip_suffix('*').filter(|stem| stem.ends_with('/'));
    pattern == said
        || below.is_some_and(|stem| said.starts_with(stem))
        || said
            .strip_prefix(pattern)
            .is_some_and(|rest| rest.starts_with(':') && pattern.ends_with("-grant"))
}

fn principal(kind: PrincipalKind, type_name: &str) -> Principal {
    Principal {
        kind,
        type_name: type_name.to_owned(),
        id: None,
        attributes: Vec::new(),
        entitlements: Vec::new(),
    }
}

fn entity(type_name: &str, id: &str) -> Entity {
    Entity { type_name: type_name.to_owned(), id: Some(id.to_owned()), attributes: Vec::new() }
}

fn attribute(name: &str, value: impl Serialize) -> Attribute {
    let value = serde_json::to_string(&value)
        .unwrap_or_else(|error| panic!("the attribute `{name}` is not JSON: {error}"));
    Attribute { name: name.to_owned(), value }
}

/// More pages than any test needs.
const MOST_PAGES: usize = 100_000;

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, Edit, Effect};

    const MANIFEST: &str = r#"
        [emits]
        effects = ["deny"]
        changes = ["okta.token:cap-lifetime:access-token", "set:access-token:/claims/*", "drop-grant", "add-grant:scope"]
        [messages.STOP]
        en = "Stopped by {rule}, {{really}}."
    "#;

    fn refused(decision: &Decision) -> bool {
        std::panic::catch_unwind(|| assert_declared(MANIFEST, "okta.token", decision)).is_err()
    }

    #[test]
    fn what_the_manifest_declares_passes() {
        let grant = |kind| Grant { kind, id: "x".to_owned() };
        let edit = Edit {
            target: Target::AccessToken,
            path: "/claims/a".to_owned(),
            value: "1".to_owned(),
        };
        let decision = Decision::default()
            .finding(Finding::new("STOP", Effect::Deny).argument(Attribute::text("rule", "r1")))
            .change(Change::CapLifetime(Cap { target: Target::AccessToken, seconds: 300 }))
            .change(Change::Set(edit))
            .change(Change::DropGrant(grant(GrantKind::Group)))
            .change(Change::AddGrant(grant(GrantKind::Scope)));
        assert_declared(MANIFEST, "okta.token", &decision);
        let elsewhere =
            std::panic::catch_unwind(|| assert_declared(MANIFEST, "okta.user-import", &decision));
        assert!(elsewhere.is_err(), "the cap is declared for tokens only");
    }

    #[test]
    fn what_it_does_not_declare_fails() {
        let finding = |code, effect| Decision::default().finding(Finding::new(code, effect));
        assert!(refused(&finding("STOP", Effect::Allow)));
        assert!(refused(&finding("OTHER", Effect::Deny)));
        assert!(refused(&finding("STOP", Effect::Deny)), "its message wants an argument");
        let change = |change| Decision::default().change(change);
        assert!(refused(&change(Change::CapLifetime(Cap {
            target: Target::IdToken,
            seconds: 300
        }))));
        assert!(refused(&change(Change::AddGrant(Grant {
            kind: GrantKind::Group,
            id: "x".to_owned()
        }))));
        assert!(refused(&change(Change::CreateUser)));
    }

    #[test]
    fn notes_are_kept_until_somebody_asks() {
        crate::journal::note("one");
        crate::journal::note("two");
        assert_eq!(notes(), ["one", "two"]);
        assert!(notes().is_empty());
    }
}
