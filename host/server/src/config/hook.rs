//! `[[hook]]`: an endpoint bound to a hook kind, as it is written and as it was checked.
//!
//! Invariant: a hook that is there is one that its kind can serve within its platform's limit: what the kind needs is given, what it has no use
//! for is not, and something is left of the budget for plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use hyper::http::uri::PathAndQuery;
use portcullis_hooks::{
    AnswerParts, HookKind, HookSettings, Mapping, MappingSource, Need, OnFailure,
};
use portcullis_model::json::split_pointer;
use serde::Deserialize;

use super::problems::Problems;
use super::{is_name, within};
use crate::auth::config::{CallerConfig, CallerSources};
use crate::config::plugin_limits::{PluginLimits, PluginsConfig};
use crate::platform_calls::decryption::DecryptionConfig;
use crate::platform_calls::delivery::config::{ChannelRouting, DeliveryConfig};

/// One hook: an endpoint bound to a hook kind.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// Its name, which bindings of the release set use.
    pub name: String,
    /// Its kind.
    pub kind: HookKind,
    /// How its caller proves itself: in any of these ways.
    pub callers: Vec<CallerConfig>,
    /// The answer when there is no decision.
    pub on_failure: OnFailure,
    /// Time from the request's head to the answer's last byte, milliseconds. Default: the kind's.
    pub budget_ms: u64,
    /// Of the budget, what is kept back for the record, milliseconds. Default 300.
    pub commit_reserve_ms: u64,
    /// Of the budget, what is kept back for writing the answer, milliseconds. Default 100.
    pub write_reserve_ms: u64,
    /// Of the budget, what is kept back for delivering a message, milliseconds: the longest time that one of its services has.
    pub deliver_ms: u64,
    /// The delivery services for its messages. `None`: the platform delivers them.
    pub delivery: Option<ChannelRouting>,
    /// Largest body, bytes. Default 256 KiB.
    pub body_bytes: usize,
    /// The keys that decrypt the platform's encrypted values.
    pub decryption: Option<DecryptionConfig>,
    /// Which of `[resume.NAME]` takes its resume calls.
    pub resume: Option<String>,
    /// The settings of its wire contract.
    pub settings: HookSettings,
    /// Bounds of each of its bindings.
    pub limits: PluginLimits,
    /// SHA-256 of all that the file says of it: the same hook under another configuration, or another one.
    pub fingerprint: portcullis_model::Digest,
}

/// A hook as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookSource {
    name: Option<String>,
    kind: Option<String>,
    path: Option<String>,
    caller: Option<CallerSources>,
    #[serde(default)]
    on_failure: OnFailureWord,
    restricted_applications: Option<Vec<String>>,
    budget_ms: Option<u64>,
    #[serde(default = "default_commit_ms")]
    commit_reserve_ms: u64,
    #[serde(default = "default_write_ms")]
    write_reserve_ms: u64,
    #[serde(default = "default_body_bytes")]
    body_bytes: usize,
    #[serde(default)]
    entitlements: Vec<String>,
    public_url: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
    mapping: Option<MappingSource>,
    answer_context: Option<bool>,
    answer_page: Option<bool>,
    decryption: Option<DecryptionConfig>,
    resume: Option<String>,
    delivery: Option<ChannelRouting>,
}

/// The answer without a decision, as it is written in the file.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnFailureWord {
    #[default]
    Closed,
    Restricted,
    Open,
}

/// The parts of the same file that hooks are checked against.
pub(super) struct HookContext<'a> {
    /// The folder that relative paths are relative to.
    pub base: &'a Path,
    /// The delivery services that there are: nothing of one that is wrong itself.
    pub deliveries: &'a BTreeMap<String, Option<DeliveryConfig>>,
    /// The names of `[resume.NAME]`.
    pub resumes: &'a BTreeSet<String>,
    /// Whether there are authorities for clients' certificates.
    pub has_client_ca: bool,
}

/// The problems of one hook, each told with its name.
struct HookProblems<'a> {
    label: String,
    problems: &'a mut Problems,
}

impl HookProblems<'_> {
    fn add(&mut self, what: impl std::fmt::Display) {
        self.problems.add(format!("{}: {what}", self.label));
    }

    fn keep<T>(&mut self, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|what| self.add(what)).ok()
    }
}

impl HookSource {
    /// How problems of a hook name it; `number` counts the hooks of the file from 1.
    pub(super) fn label(name: Option<&str>, number: usize) -> String {
        match name {
            Some(name) => format!("hook `{name}`"),
            None => format!("[[hook]] number {number}"),
        }
    }

    /// Its name, and the paths that it serves, as far as they can be told.
    pub(super) fn places(&self) -> (Option<String>, Vec<String>) {
        let Some(path) = &self.path else { return (self.name.clone(), Vec::new()) };
        let kind = self.kind.as_deref().and_then(HookKind::from_name);
        let paths = match kind {
            Some(kind) => kind.routes(path).into_iter().map(|(path, _)| path).collect(),
            None => vec![path.clone()],
        };
        (self.name.clone(), paths)
    }
}

impl HookConfig {
    /// Checks what the file says of a hook, and adds everything that is wrong with it. What cannot
    /// be used has some value that can: a configuration with a problem is used by nobody. `None`
    /// where there is no kind, name or path.
    pub(super) fn check(
        source: HookSource,
        number: usize,
        around: &HookContext<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let label = HookSource::label(source.name.as_deref(), number);
        let mut wrong = HookProblems { label, problems };
        let missing = [
            ("name", source.name.is_none()),
            ("kind", source.kind.is_none()),
            ("path", source.path.is_none()),
            ("caller", source.caller.is_none()),
        ];
        for (setting, _) in missing.iter().filter(|(_, missing)| *missing) {
            wrong.add(format!("missing field `{setting}`"));
        }
        if let Some(name) = source.name.as_ref().filter(|name| !is_name(name)) {
            wrong
                .problems
                .add(format!("hook name `{name}` is not 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        let path = source.path.clone().unwrap_or_default();
        if source.path.is_some()
            && let Err(why) = check_path(&path)
        {
            wrong.add(format!("path `{path}` {why}"));
        }
        let label = format!("{}: body_bytes", wrong.label);
        wrong.problems.keep(within(&label, source.body_bytes, 1, MAX_BODY_BYTES));
        let kind = source.kind.as_deref().and_then(HookKind::from_name);
        if let (Some(kind), None) = (&source.kind, kind) {
            let known: Vec<_> = HookKind::ALL.iter().map(|kind| kind.name()).collect();
            wrong
                .add(format!("kind `{kind}` is not supported; supported are {}", known.join(", ")));
        }
        let name = source.name.clone();
        let checked = Self::check_contract(source, kind, around, &mut wrong);
        let (kind, settings) = (kind?, checked.settings);
        Some(Self {
            name: name?,
            kind,
            callers: checked.callers,
            on_failure: checked.on_failure,
            budget_ms: checked.budget_ms?,
            commit_reserve_ms: checked.commit_reserve_ms,
            write_reserve_ms: checked.write_reserve_ms,
            deliver_ms: checked.deliver_ms,
            delivery: checked.delivery,
            body_bytes: checked.body_bytes,
            decryption: checked.decryption,
            resume: checked.resume,
            settings: HookSettings { path, ..settings },
            limits: PluginsConfig::default().limits(1),
            fingerprint: portcullis_model::Digest([0; 32]),
        })
    }

    /// The rest; what depends on the kind only where it is known.
    fn check_contract(
        source: HookSource,
        kind: Option<HookKind>,
        around: &HookContext<'_>,
        wrong: &mut HookProblems<'_>,
    ) -> CheckedHook {
        let on_failure = on_failure(source.on_failure, source.restricted_applications, kind, wrong);
        let needed = [
            (Need::Decryption, source.decryption.is_some(), "decryption"),
            (Need::Resume, source.resume.is_some(), "resume"),
        ];
        for (need, given, setting) in needed {
            if let Some(kind) = kind.filter(|kind| kind.needs(need) != given) {
                let word = if given { "does not use" } else { "needs" };
                wrong.add(format!("{} {word} `{setting}`", kind.name()));
            }
        }
        if source.decryption.as_ref().is_some_and(|decryption| decryption.key_files.is_empty()) {
            wrong.add("decryption.key_files is empty");
        }
        if let Some(name) = source.resume.as_ref().filter(|name| !around.resumes.contains(*name)) {
            wrong.add(format!("the configuration has no [resume.{name}]"));
        }
        let audience =
            source.decryption.as_ref().and_then(|decryption| decryption.audience.clone());
        for (setting, value) in
            [("answer_context", source.answer_context), ("answer_page", source.answer_page)]
        {
            if let (Some(kind), Some(_)) = (kind.filter(|kind| *kind != HookKind::Authzen), value) {
                wrong.add(format!("{} has no {setting}", kind.name()));
            }
        }
        let settings = HookSettings {
            entitlements: source.entitlements,
            public_url: source.public_url,
            subject: source.subject,
            secrets: source.secrets,
            audience,
            answer: AnswerParts {
                context: source.answer_context.unwrap_or(true),
                page: source.answer_page.unwrap_or(true),
            },
            ..HookSettings::default()
        };
        let settings = contract(kind, settings, source.mapping, wrong);
        let mut of_callers = Vec::new();
        let callers = source
            .caller
            .map(|caller| caller.check(kind.map(HookKind::name), around.base, &mut of_callers));
        of_callers.into_iter().for_each(|what| wrong.add(what));
        let callers = callers.unwrap_or_default();
        if !around.has_client_ca && callers.iter().any(|caller| caller.certificate.is_some()) {
            wrong.add("caller.certificate needs listen.tls.client_ca, which verifies it");
        }
        let deliver_ms = deliver_ms(source.delivery.as_ref(), kind, around, wrong);
        let limit = kind.map(|kind| millis(kind.platform_limit()));
        if let (Some(budget), Some(limit)) = (source.budget_ms, limit)
            && budget >= limit
        {
            wrong.add(format!(
                "budget_ms {budget} is not below the platform's own limit of {limit}"
            ));
        }
        let budget_ms = source.budget_ms.or(kind.map(|kind| millis(kind.default_budget())));
        let reserved = source
            .commit_reserve_ms
            .saturating_add(source.write_reserve_ms)
            .saturating_add(deliver_ms.unwrap_or_default());
        if let Some(budget) = budget_ms.filter(|budget| reserved >= *budget) {
            let besides = if deliver_ms.is_some_and(|deliver| deliver > 0) {
                ", write_reserve_ms and the delivery's timeout_ms"
            } else {
                " and write_reserve_ms"
            };
            wrong.add(format!("commit_reserve_ms{besides} together use up budget_ms {budget}"));
        }
        CheckedHook {
            callers,
            on_failure,
            budget_ms,
            commit_reserve_ms: source.commit_reserve_ms,
            write_reserve_ms: source.write_reserve_ms,
            deliver_ms: deliver_ms.unwrap_or_default(),
            delivery: source.delivery,
            body_bytes: source.body_bytes,
            decryption: source.decryption,
            resume: source.resume,
            settings,
        }
    }
}

/// A hook of which the kind may not be known.
struct CheckedHook {
    callers: Vec<CallerConfig>,
    on_failure: OnFailure,
    budget_ms: Option<u64>,
    commit_reserve_ms: u64,
    write_reserve_ms: u64,
    deliver_ms: u64,
    delivery: Option<ChannelRouting>,
    body_bytes: usize,
    decryption: Option<DecryptionConfig>,
    resume: Option<String>,
    settings: HookSettings,
}

/// The answer when there is no decision.
fn on_failure(
    word: OnFailureWord,
    applications: Option<Vec<String>>,
    kind: Option<HookKind>,
    wrong: &mut HookProblems<'_>,
) -> OnFailure {
    match (word, applications) {
        (OnFailureWord::Closed, None) => OnFailure::Closed,
        (OnFailureWord::Open, None) => OnFailure::Open,
        (OnFailureWord::Restricted, applications) => {
            if let Some(kind) = kind.filter(|kind| !kind.offers_restricted()) {
                wrong.add(format!("{} offers no restricted answer", kind.name()));
            } else if applications.is_none() {
                wrong.add("on_failure = \"restricted\" needs restricted_applications");
            }
            OnFailure::Restricted { applications: applications.unwrap_or_default() }
        }
        (_, Some(_)) => {
            wrong.add("restricted_applications needs on_failure = \"restricted\"");
            OnFailure::Closed
        }
    }
}

/// The longest time that one of its services has; nothing where that is not known.
fn deliver_ms(
    chosen: Option<&ChannelRouting>,
    kind: Option<HookKind>,
    around: &HookContext<'_>,
    wrong: &mut HookProblems<'_>,
) -> Option<u64> {
    let Some(chosen) = chosen else { return Some(0) };
    if let Some(kind) = kind.filter(|kind| !kind.may_deliver()) {
        wrong.add(format!("{} delivers no messages", kind.name()));
    }
    wrong.keep(chosen.check());
    let mut longest = Some(0);
    for name in chosen.names() {
        match around.deliveries.get(name) {
            Some(Some(service)) => longest = longest.map(|most| service.timeout_ms.max(most)),
            Some(None) => longest = None,
            None => wrong.add(format!("the configuration has no [delivery.{name}]")),
        }
    }
    longest
}

impl HookConfig {
    /// Returns warnings about settings that are allowed.
    pub fn warnings(&self) -> Option<String> {
        let wanted = self.settings.path.trim_end_matches('/');
        match &self.settings.public_url {
            None if self.kind == HookKind::Authzen => Some(format!(
                "hook `{}`: it publishes no metadata without public_url, so callers need its \
                 endpoints in their settings",
                self.name
            )),
            Some(url) if path_of(url).trim_end_matches('/') != wanted => Some(format!(
                "hook `{}`: public_url `{url}` does not end in the hook's path `{}`; the proxy in \
                 front has to rewrite the path",
                self.name, self.settings.path
            )),
            _ => None,
        }
    }
}

/// What concerns the wire contract, checked: some settings are for some kinds only, and what a kind cannot do without must be there.
fn contract(
    kind: Option<HookKind>,
    mut settings: HookSettings,
    mapping: Option<MappingSource>,
    wrong: &mut HookProblems<'_>,
) -> HookSettings {
    let takes_secrets =
        [HookKind::PingSideband, HookKind::PingPdp, HookKind::Authzen, HookKind::Generic];
    for (setting, is_given, takers) in [
        ("public_url", settings.public_url.is_some(), &[HookKind::Authzen][..]),
        ("subject", settings.subject.is_some(), &[HookKind::PingPdp]),
        ("secrets", !settings.secrets.is_empty(), &takes_secrets),
        ("mapping", mapping.is_some(), &[HookKind::Generic]),
    ] {
        if let Some(kind) = kind.filter(|kind| is_given && !takers.contains(kind)) {
            wrong.add(format!("{} has no {setting}", kind.name()));
        }
    }
    if let Some(url) = settings.public_url.as_ref().filter(|url| !is_identifier(url)) {
        wrong.add(format!("public_url `{url}` is not an https URL without query and fragment"));
    }
    let is_pointer =
        |pointer: &String| pointer.starts_with('/') && split_pointer(pointer).is_some();
    for (setting, pointers) in
        [("subject", settings.subject.as_slice()), ("secrets", settings.secrets.as_slice())]
    {
        for pointer in pointers.iter().filter(|pointer| !is_pointer(pointer)) {
            wrong
                .add(format!("{setting} `{pointer}` is not a JSON Pointer, which begins with `/`"));
        }
    }
    if mapping.is_none() && kind == Some(HookKind::Generic) {
        wrong.add("generic needs a mapping, or the host could not read requests");
    }
    settings.mapping = mapping.and_then(|mapping| match Mapping::compile(mapping) {
        Ok(compiled) => Some(Arc::new(compiled)),
        Err(errors) => {
            errors.iter().for_each(|error| wrong.add(error));
            None
        }
    });
    settings
}

/// Whether a request can have this path.
///
/// # Errors
/// A part of a sentence whose subject is the path.
fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("does not start with `/`");
    }
    if path.contains(['?', '#']) {
        return Err("has a query or a fragment, which is not part of a path");
    }
    let written = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !path.bytes().all(written) || path.parse::<PathAndQuery>().is_err() {
        return Err(
            "has characters that a path cannot have (RFC 3986, section 3.3): write them as `%` and \
             two digits, as the platform sends them",
        );
    }
    let encoded = path.split('%').skip(1).all(|rest| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    });
    if encoded { Ok(()) } else { Err("has a `%` without two hexadecimal digits") }
}

/// Whether callers can know a hook by this: AuthZEN's *policy decision point* identifier.
fn is_identifier(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"\\<>^`{|}@".contains(&byte);
    !host.is_empty() && !host.starts_with(':') && rest.bytes().all(plain)
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn default_commit_ms() -> u64 {
    300
}

fn default_write_ms() -> u64 {
    100
}

fn default_body_bytes() -> usize {
    256 << 10
}

/// The largest body there may be: together with its answer it must fit the sealed part of a record.
const MAX_BODY_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_a_request_can_have() {
        for path in ["/", "/okta/token", "/a-b_c.d~e", "/a:b@c!$&'()*+,;=", "/%C3%B6", "/a//b/"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "okta/token",
            "/okta/token?x",
            "/a#b",
            "/a b",
            "/\u{f6}",
            "/a\tb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%\u{f6}",
            "/a\\b",
            "/{a}",
            "/a\"b",
            "/a^b",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
