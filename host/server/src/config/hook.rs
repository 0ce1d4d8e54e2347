//! `[[hook]]`: an endpoint bound to a hook kind, as it is written and as it was checked.
//!
//! Invariant: a hook that is there is one that its kind can serve within its platform's limit: what the kind needs is given, what it has no use
//! for is not, and something is left of the budget for plugins.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hyper::http::uri::PathAndQuery;
use portcullis_hooks::{AnswerParts, HookKind, Mapping, MappingSource, Need, OnFailure, Settings};
use portcullis_model::json::split_pointer;
use serde::Deserialize;

use super::problems::Problems;
use super::{is_name, within};
use crate::bounds::{Bounds, PluginsConfig};
use crate::caller::config::{CallerConfig, CallerSources};
use crate::courier::config::{Chosen, DeliveryConfig};
use crate::decryption::DecryptionConfig;

/// One hook: an endpoint bound to a hook kind.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// Its name, which bindings of the release set use.
    pub name: String,
    /// Its kind.
    pub kind: HookKind,
    /// How its caller proves itself: in any of these ways.
    pub callers: Vec<CallerConfig>,
    /// What leaves when there is no decision.
    pub on_failure: OnFailure,
    /// Time from the request's head to the answer's last byte, milliseconds. Default: the kind's.
    pub budget_ms: u64,
    /// Of the budget, what is kept back for the record, milliseconds. Default 300.
    pub commit_reserve_ms: u64,
    /// Of the budget, what is kept back for writing the answer, milliseconds. Default 100.
    pub write_reserve_ms: u64,
    /// Of the budget, what is kept back for delivering a message, milliseconds: the longest time that one of its services has.
    pub deliver_ms: u64,
    /// Who delivers its messages; nobody where the hook says nothing, and then the platform does.
    pub delivery: Option<Chosen>,
    /// Largest body, bytes. Default 256 KiB.
    pub body_bytes: usize,
    /// What decrypts what its platform encrypts.
    pub decryption: Option<DecryptionConfig>,
    /// Which of `[resume.NAME]` takes its resume calls.
    pub resume: Option<String>,
    /// What concerns its wire contract.
    pub settings: Settings,
    /// Bounds of each of its bindings.
    pub bounds: Bounds,
    /// SHA-256 of all that the file says of it: the same hook under another configuration, or another one.
    pub said: portcullis_model::Digest,
}

/// A hook as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookSource {
    name: String,
    kind: String,
    path: String,
    caller: CallerSources,
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
    delivery: Option<Chosen>,
}

/// What leaves when there is no decision, as it is written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnFailureWord {
    #[default]
    Closed,
    Restricted,
    Open,
}

impl HookConfig {
    /// Checks what the file says of a hook, and adds what is wrong with it. Paths are from that folder.
    pub(super) fn check(source: HookSource, base: &Path, problems: &mut Problems) -> Option<Self> {
        let name = source.name.clone();
        if !is_name(&name) {
            problems
                .add(format!("hook name `{name}` is not 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        if let Err(why) = check_path(&source.path) {
            problems.add(format!("hook `{name}`: path `{}` {why}", source.path));
        }
        problems.keep(within(
            &format!("hook `{name}`: body_bytes"),
            source.body_bytes,
            1,
            MAX_BODY_BYTES,
        ));
        let Some(kind) = HookKind::from_name(&source.kind) else {
            let known: Vec<_> = HookKind::ALL.iter().map(|kind| kind.name()).collect();
            problems.add(format!(
                "hook `{name}`: kind `{}` is not spoken here; known are {}",
                source.kind,
                known.join(", ")
            ));
            return None;
        };
        let limit = millis(kind.platform_limit());
        if let Some(budget) = source.budget_ms.filter(|budget| *budget >= limit) {
            problems.add(format!(
                "hook `{name}`: budget_ms {budget} is not below the platform's own limit of {limit}"
            ));
        }
        problems.keep(Self::of_kind(source, kind, base))
    }

    /// The rest: what depends on the kind.
    fn of_kind(source: HookSource, kind: HookKind, base: &Path) -> Result<Self, String> {
        let name = source.name;
        let on_failure = match (source.on_failure, source.restricted_applications) {
            (OnFailureWord::Closed, None) => OnFailure::Closed,
            (OnFailureWord::Open, None) => OnFailure::Open,
            (OnFailureWord::Restricted, Some(applications)) if kind.offers_restricted() => {
                OnFailure::Restricted { applications }
            }
            (OnFailureWord::Restricted, None) if kind.offers_restricted() => {
                return Err(format!(
                    "hook `{name}`: on_failure = \"restricted\" needs restricted_applications"
                ));
            }
            (OnFailureWord::Restricted, _) => {
                return Err(format!("hook `{name}`: {} offers no restricted answer", kind.name()));
            }
            (_, Some(_)) => {
                return Err(format!(
                    "hook `{name}`: restricted_applications without on_failure = \"restricted\""
                ));
            }
        };
        let needed = [
            (Need::Decryption, source.decryption.is_some(), "decryption"),
            (Need::Resume, source.resume.is_some(), "resume"),
        ];
        for (need, given, setting) in needed {
            if kind.needs(need) != given {
                let word = if given { "has no use for" } else { "needs" };
                return Err(format!("hook `{name}`: {} {word} `{setting}`", kind.name()));
            }
        }
        if source.decryption.as_ref().is_some_and(|decryption| decryption.key_files.is_empty()) {
            return Err(format!("hook `{name}`: decryption.key_files is empty"));
        }
        let audience =
            source.decryption.as_ref().and_then(|decryption| decryption.audience.clone());
        let settings = Settings {
            path: source.path,
            entitlements: source.entitlements,
            public_url: source.public_url,
            subject: source.subject,
            secrets: source.secrets,
            audience,
            answer: answer_parts(&name, kind, source.answer_context, source.answer_page)?,
            ..Settings::default()
        };
        let settings = contract(&name, kind, settings, source.mapping)?;
        let callers = source
            .caller
            .check(kind.name(), base)
            .map_err(|what| format!("hook `{name}`: {what}"))?;
        Ok(Self {
            kind,
            callers,
            on_failure,
            budget_ms: source.budget_ms.unwrap_or_else(|| millis(kind.default_budget())),
            commit_reserve_ms: source.commit_reserve_ms,
            write_reserve_ms: source.write_reserve_ms,
            deliver_ms: 0,
            delivery: source.delivery,
            body_bytes: source.body_bytes,
            decryption: source.decryption,
            resume: source.resume,
            settings,
            bounds: PluginsConfig::default().bounds(1),
            said: portcullis_model::Digest([0; 32]),
            name,
        })
    }

    /// Keeps back what its services may take, and sees that something is left.
    pub(super) fn reserve_for(
        &mut self,
        deliveries: &BTreeMap<String, DeliveryConfig>,
    ) -> Result<(), String> {
        if let Some(chosen) = &self.delivery {
            if !self.kind.delivers() {
                return Err(format!(
                    "hook `{}`: {} has no messages to deliver",
                    self.name,
                    self.kind.name()
                ));
            }
            chosen.check().map_err(|why| format!("hook `{}`: {why}", self.name))?;
            for name in chosen.names() {
                let service = deliveries.get(name);
                let service = service.ok_or_else(|| {
                    format!("hook `{}`: there is no [delivery.{name}]", self.name)
                })?;
                self.deliver_ms = self.deliver_ms.max(service.timeout_ms);
            }
        }
        if self.commit_reserve_ms + self.write_reserve_ms + self.deliver_ms >= self.budget_ms {
            let besides = if self.deliver_ms > 0 {
                ", write_reserve_ms and the delivery's timeout_ms"
            } else {
                " and write_reserve_ms"
            };
            return Err(format!(
                "hook `{}`: commit_reserve_ms{besides} leave nothing of budget_ms {}",
                self.name, self.budget_ms
            ));
        }
        Ok(())
    }
}

impl HookConfig {
    /// What an operator should know although it is allowed.
    pub fn warnings(&self) -> Option<String> {
        let wanted = self.settings.path.trim_end_matches('/');
        match &self.settings.public_url {
            None if self.kind == HookKind::Authzen => Some(format!(
                "hook `{}`: without public_url it publishes no metadata, so callers have to be told its endpoints",
                self.name
            )),
            Some(url) if path_of(url).trim_end_matches('/') != wanted => Some(format!(
                "hook `{}`: public_url `{url}` does not end in the hook's path `{}`; what stands in front has to translate",
                self.name, self.settings.path
            )),
            _ => None,
        }
    }
}

/// What concerns the wire contract, checked: some settings are for some kinds only, and what a kind cannot do without must be there.
fn contract(
    name: &str,
    kind: HookKind,
    mut settings: Settings,
    mapping: Option<MappingSource>,
) -> Result<Settings, String> {
    let alien = |setting: &str| Err(format!("hook `{name}`: {} has no {setting}", kind.name()));
    match &settings.public_url {
        Some(_) if kind != HookKind::Authzen => return alien("public_url"),
        Some(url) if !is_identifier(url) => {
            return Err(format!(
                "hook `{name}`: public_url `{url}` is not an https URL without query and fragment"
            ));
        }
        _ => {}
    }
    if settings.subject.is_some() && kind != HookKind::PingPdp {
        return alien("subject");
    }
    let takes_secrets = matches!(
        kind,
        HookKind::PingSideband | HookKind::PingPdp | HookKind::Authzen | HookKind::Generic
    );
    if !settings.secrets.is_empty() && !takes_secrets {
        return alien("secrets");
    }
    let is_pointer =
        |pointer: &String| pointer.starts_with('/') && split_pointer(pointer).is_some();
    for (setting, pointers) in
        [("subject", settings.subject.as_slice()), ("secrets", settings.secrets.as_slice())]
    {
        if let Some(wrong) = pointers.iter().find(|pointer| !is_pointer(pointer)) {
            return Err(format!(
                "hook `{name}`: {setting} `{wrong}` is not a json pointer, which begins with `/`"
            ));
        }
    }
    settings.mapping = match (mapping, kind == HookKind::Generic) {
        (Some(_), false) => return alien("mapping"),
        (None, true) => {
            return Err(format!(
                "hook `{name}`: generic needs a mapping, or nothing could be read"
            ));
        }
        (None, false) => None,
        (Some(mapping), true) => {
            let compiled =
                Mapping::compile(mapping).map_err(|error| format!("hook `{name}`: {error}"))?;
            Some(Arc::new(compiled))
        }
    };
    Ok(settings)
}

/// Which optional members answers have: all of them, but where the operator switched one off.
fn answer_parts(
    name: &str,
    kind: HookKind,
    context: Option<bool>,
    page: Option<bool>,
) -> Result<AnswerParts, String> {
    for (setting, value) in [("answer_context", context), ("answer_page", page)] {
        if value.is_some() && kind != HookKind::Authzen {
            return Err(format!("hook `{name}`: {} has no {setting}", kind.name()));
        }
    }
    Ok(AnswerParts { context: context.unwrap_or(true), page: page.unwrap_or(true) })
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
        return Err("has a query or a fragment, which are no part of a request's path");
    }
    let written = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !path.bytes().all(written) || path.parse::<PathAndQuery>().is_err() {
        return Err(
            "has characters that no request's path has (RFC 3986, section 3.3): write them as \
             `%` and two digits, as the platform sends them",
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
