//! Evidence: what the record of a call says, and what of it is sealed.
//!
//! Invariant: a leaf holds codes, digests, counts, times and keyed pseudonyms, never text from a body, a plugin or a person; all
//! else goes to the sealed part, whole, so that the call can be run again. Knows nothing of how records become durable.

use std::borrow::Cow;

use portcullis_audit::{OVERHEAD, Pseudonym};
use portcullis_hooks::{Answer, HookRequest, OnFailure};
use portcullis_model::json::{Kind, Value, quote};
use portcullis_model::{Attribute, Change, ChangeKind, Decision, Document, Effect, Finding};

use crate::bindings::candidate::cohort;
use crate::bindings::evaluate::BindingResult;
use crate::bindings::leaf::{write_list, write_to};
use crate::break_glass::ActiveOverride;
use crate::observe::budget::StageTimer;
use crate::request::decide::Failure;
use crate::request::search::SearchCounts;
use crate::state::host::{Hook, Host};

/// All that is known of a call when its answer is rendered.
pub struct DecisionRecord<'a> {
    /// The host.
    pub host: &'a Host,
    /// The hook.
    pub hook: &'a Hook,
    /// The call, if the body could be read as one.
    pub incoming: &'a HookRequest,
    /// Its place in a request that asks many questions.
    pub batch_item: Option<usize>,
    /// What came of it, where it is a search.
    pub search_counts: Option<SearchCounts>,
    /// The body's pseudonym.
    pub body_pseudonym: Pseudonym,
    /// The generation that decided.
    pub generation: u64,
    /// Every enforcing binding that was asked.
    pub results: &'a [BindingResult],
    /// The verdict, or why there is none.
    pub verdict: Result<Effect, &'a Failure>,
    /// The changes that the answer leaves out, since what they would change is not there.
    pub skipped: &'a [ChangeKind],
    /// Who is to deliver the message that the answer says is on its way.
    pub delivery: Option<&'a str>,
    /// The answer when there is no decision.
    pub safe: &'a OnFailure,
    /// The answer, without its reference.
    pub answer: &'a Answer,
    /// Hashed before the answer and sealed with it: an answer can be short and personal, and its bare hash could be guessed.
    pub salt: [u8; 16],
    /// What came of asking candidates first, where that came to nothing.
    pub canary_failure: Option<&'a Failure>,
    /// The break-glass document in force.
    pub break_glass: Option<&'a ActiveOverride>,
    /// The trace that the call belongs to, where there is one: the caller's text, so it is sealed.
    pub trace: Option<String>,
    /// What spent the budget.
    pub stages: &'a StageTimer,
}

impl DecisionRecord<'_> {
    /// The members of the leaf after those that every leaf has.
    pub fn fields(&self) -> String {
        let call = &self.incoming.call;
        let mut leaf = String::with_capacity(LEAF_CAPACITY);
        write_to(
            &mut leaf,
            format_args!(
                r#""received":{},"hook":{{"name":"{}","kind":"{}","event":"{}"}},"help_desk_reference":"{}","subject":"#,
                call.received,
                self.hook.config.name,
                call.hook,
                self.host.recorder.pseudonym("event", &call.id),
                self.hook.help_desk_reference(&self.host.recorder, self.incoming),
            ),
        );
        let pseudonym = |leaf: &mut String, namespace, value: Option<&str>| match value {
            Some(value) => write_to(
                leaf,
                format_args!(r#""{}""#, self.host.recorder.pseudonym(namespace, value)),
            ),
            None => leaf.push_str("null"),
        };
        match call.subject.as_ref() {
            Some(subject) => {
                leaf.push_str(r#"{"pid":"#);
                pseudonym(&mut leaf, "subject", subject.id.as_deref());
                leaf.push('}');
            }
            None => leaf.push_str("null"),
        }
        leaf.push_str(r#","app":"#);
        pseudonym(&mut leaf, "application", cohort::application(call));
        if let Some(part) = self.batch_item {
            write_to(&mut leaf, format_args!(r#","part":{part}"#));
        }
        if let Some(SearchCounts { target: sought, evaluated: judged, returned: found }) =
            self.search_counts
        {
            let sought = sought.phase();
            write_to(
                &mut leaf,
                format_args!(
                    r#","search":{{"for":"{sought}","evaluated":{judged},"returned":{found}}}"#
                ),
            );
        }
        if !call.secrets.is_empty() {
            leaf.push_str(r#","not_replayable":"secret""#);
        }
        if self.hook.config.kind.may_deliver() {
            leaf.push_str(r#","delivery":"#);
            write_option(&mut leaf, self.delivery);
        }
        write_to(
            &mut leaf,
            format_args!(
                r#","seed":"{:016x}","generation":{},"bindings":["#,
                call.seed, self.generation
            ),
        );
        for (position, asked) in self.results.iter().enumerate() {
            if position > 0 {
                leaf.push(',');
            }
            asked.write_leaf(&mut leaf);
        }
        leaf.push_str(r#"],"decision":"#);
        match self.verdict {
            Ok(verdict) => {
                write_to(&mut leaf, format_args!(r#"{{"verdict":"{}"}}"#, verdict.name()))
            }
            Err(failure) => {
                write_to(
                    &mut leaf,
                    format_args!(
                        r#"{{"safe":"{}","cause":"{}","plugin":"#,
                        Hook::on_failure_name(self.safe),
                        failure.cause.code()
                    ),
                );
                write_option(&mut leaf, failure.culprit.as_deref());
                leaf.push('}');
            }
        }
        if !self.skipped.is_empty() {
            let mut kinds: Vec<_> = self.skipped.iter().map(ChangeKind::to_string).collect();
            kinds.sort_unstable();
            kinds.dedup();
            leaf.push_str(r#","skipped":["#);
            write_list(&mut leaf, kinds.iter(), |leaf, kind| quote(leaf, kind));
            leaf.push(']');
        }
        if let Some(canary_failure) = self.canary_failure {
            write_to(
                &mut leaf,
                format_args!(
                    r#","canary_failure":{{"cause":"{}","plugin":"#,
                    canary_failure.cause.code()
                ),
            );
            write_option(&mut leaf, canary_failure.culprit.as_deref());
            leaf.push('}');
        }
        write_to(
            &mut leaf,
            format_args!(
                r#","request":"{}","response":"{}","status":{},"spent_us":"#,
                self.body_pseudonym,
                crate::digest::sha256_of(&[&self.salt, self.answer.body()]),
                self.answer.status
            ),
        );
        self.stages.write_json(&mut leaf);
        if let Some(open) = self.break_glass {
            open.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            write_to(&mut leaf, format_args!(r#","break_glass":"{}""#, open.id));
        }
        leaf
    }

    /// The sealed part: the body, the answer, and all that plugins said.
    pub fn sealed(&self) -> Vec<u8> {
        let call = &self.incoming.call;
        let body = kept(self.incoming);
        let room = body.len() + self.answer.body().len() + SEALED_CAPACITY + OVERHEAD;
        let mut sealed = String::with_capacity(room);
        // The body was parsed, so it is JSON text and stands here as it came.
        sealed.push_str(r#"{"request":"#);
        sealed.push_str(&body);
        sealed.push_str(r#","answer":"#);
        match std::str::from_utf8(self.answer.body()) {
            Ok("") | Err(_) => sealed.push_str("null"),
            // What a plugin that sees a secret puts into the answer can hold it in any spelling.
            Ok(_) if self.results.iter().any(|asked| asked.may_leak(call)) => {
                sealed.push_str(SECRET_PLACEHOLDER)
            }
            // An answer can repeat a secret of the request, such as a credential that passes through.
            Ok(text) => sealed.push_str(&unsaid(text.to_owned(), self.incoming)),
        }
        if let Some(trace) = &self.trace {
            write_to(&mut sealed, format_args!(r#","trace":"{trace}""#));
        }
        write_to(
            &mut sealed,
            format_args!(r#","salt":"{:032x}","plugins":"#, u128::from_be_bytes(self.salt)),
        );
        sealed.push_str(&sealed_plugins(self.results, self.incoming));
        sealed.push('}');
        sealed.into_bytes()
    }
}

/// What of a body is kept: all of it but its secrets.
pub fn kept(incoming: &HookRequest) -> Cow<'_, str> {
    let call = &incoming.call;
    if call.secrets.is_empty() {
        return Cow::Borrowed(call.payload.text());
    }
    call.payload.root().without(&call.secrets.pointers(), SECRET_PLACEHOLDER)
}

/// A list of what plugins said. A plugin that sees a secret could repeat it in any spelling: of what it says only that is kept which its
/// manifest declares word by word.
pub fn sealed_plugins<'a>(
    asked: impl IntoIterator<Item = &'a BindingResult>,
    incoming: &HookRequest,
) -> String {
    let mut said = String::from("[");
    write_list(&mut said, asked.into_iter(), |said, asked| {
        let hushed = asked.binding.manifest().reads.sees_secret(&incoming.call);
        asked.write_sealed(said, hushed);
    });
    said.push(']');
    said
}

/// JSON text without the secrets of a request, wherever they stand in it.
fn unsaid(mut said: String, incoming: &HookRequest) -> String {
    let call = &incoming.call;
    let pointers = call.secrets.pointers();
    let mut secrets: Vec<_> = pointers
        .iter()
        .filter_map(|pointer| call.payload.pointer(pointer))
        .flat_map(strings_in)
        .collect();
    // The longest first: one that is part of another would leave the rest of it.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut found = false;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let mut quoted = String::new();
        quote(&mut quoted, secret);
        let inside =
            quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(secret);
        for spelled in [secret.as_str(), inside] {
            if said.contains(spelled) {
                said = said.replace(spelled, "[secret]");
                found = true;
            }
        }
    }
    // A short secret may have stood for a number.
    if found && Document::parse(said.as_bytes()).is_err() {
        SECRET_PLACEHOLDER.to_owned()
    } else {
        said
    }
}

/// Every string and number in a value.
fn strings_in(value: Value<'_>) -> Vec<String> {
    match value.kind() {
        Kind::String => value.as_str().map(Cow::into_owned).into_iter().collect(),
        Kind::Number => vec![value.raw().to_owned()],
        Kind::Array => value.elements().flat_map(strings_in).collect(),
        Kind::Object => value.members().flat_map(|(_, member)| strings_in(member)).collect(),
        Kind::Null | Kind::Bool => Vec::new(),
    }
}

impl BindingResult {
    /// Whether a secret of the call can have come into the answer through it.
    fn may_leak(&self, call: &portcullis_model::Call) -> bool {
        let wants = self.outcome.as_ref().is_ok_and(|decision| !decision.changes.is_empty());
        wants && self.binding.manifest().reads.sees_secret(call)
    }

    /// Findings with their arguments, changes with their values, notes and errors; of a hushed plugin, codes and kinds.
    fn write_sealed(&self, sealed: &mut String, hushed: bool) {
        sealed.push_str(r#"{"plugin":"#);
        quote(sealed, &self.binding.manifest().id);
        match &self.outcome {
            Ok(decision) => {
                sealed.push_str(r#","decision":"#);
                write_decision(sealed, decision, hushed);
                if !self.waived.is_empty() {
                    sealed.push_str(r#","waived":["#);
                    write_findings(sealed, &self.waived, hushed);
                    sealed.push(']');
                }
            }
            Err(fault) => {
                sealed.push_str(r#","fault":"#);
                quote(sealed, if hushed { fault.code } else { fault.detail.expose() });
            }
        }
        if hushed {
            sealed.push_str(r#","withheld":"secret"}"#);
            return;
        }
        sealed.push_str(r#","notes":["#);
        write_list(sealed, self.notes.iter(), |sealed, note| quote(sealed, note));
        sealed.push_str("]}");
    }
}

fn write_decision(out: &mut String, decision: &Decision, hushed: bool) {
    out.push_str(r#"{"findings":["#);
    write_findings(out, &decision.findings, hushed);
    out.push_str(r#"],"changes":["#);
    write_list(out, decision.changes.iter(), |out, change| write_change(out, change, hushed));
    out.push_str("]}");
}

fn write_findings(out: &mut String, findings: &[Finding], hushed: bool) {
    write_list(out, findings.iter(), |out, finding| {
        out.push_str(r#"{"code":"#);
        quote(out, &finding.code);
        write_to(
            out,
            format_args!(
                r#","effect":"{}","severity":"{}""#,
                finding.effect.name(),
                finding.severity.name()
            ),
        );
        if hushed {
            out.push('}');
            return;
        }
        out.push_str(r#","arguments":{"#);
        write_list(out, finding.arguments.iter(), write_attribute);
        out.push_str(r#"},"field":"#);
        write_option(out, finding.field.as_deref());
        out.push('}');
    });
}

fn write_attribute(out: &mut String, attribute: &Attribute) {
    quote(out, &attribute.name);
    out.push(':');
    // Checked to be JSON when the decision was held against the manifest.
    out.push_str(&attribute.value);
}

fn write_change(out: &mut String, change: &Change, hushed: bool) {
    out.push_str(r#"{"change":"#);
    quote(out, &change.kind().to_string());
    match change {
        Change::Credential(credential) => {
            write_to(out, format_args!(r#","credential":"{}""#, credential.name()))
        }
        _ if hushed => {}
        Change::Set { path, value, .. } => {
            out.push_str(r#","path":"#);
            quote(out, path);
            out.push_str(r#","value":"#);
            out.push_str(value);
        }
        Change::Remove { path, .. } => {
            out.push_str(r#","path":"#);
            quote(out, path);
        }
        Change::CapLifetime { seconds, .. } => {
            write_to(out, format_args!(r#","seconds":{seconds}"#))
        }
        Change::AddGrant(grant) | Change::DropGrant(grant) => {
            write_to(out, format_args!(r#","kind":"{}","id":"#, grant.kind.name()));
            quote(out, &grant.id);
        }
        Change::LinkUser(id) => {
            out.push_str(r#","id":"#);
            quote(out, id);
        }
        Change::RequireApprovers(names) | Change::Waive(names) => {
            out.push_str(r#","names":["#);
            write_list(out, names.iter(), |out, name| quote(out, name));
            out.push(']');
        }
        Change::Statement(statement) => {
            out.push_str(r#","name":"#);
            quote(out, &statement.name);
            out.push_str(r#","code":"#);
            quote(out, &statement.code);
            write_to(
                out,
                format_args!(
                    r#","obligatory":{},"payload":{}"#,
                    statement.obligatory, statement.payload
                ),
            );
        }
        Change::CreateUser | Change::AutoApprove => {}
    }
    out.push('}');
}

fn write_option(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => quote(out, text),
        None => out.push_str("null"),
    }
}

/// Room for a usual leaf, to allocate once.
const LEAF_CAPACITY: usize = 1_536;
/// Room for what a sealed part holds besides body and answer.
const SEALED_CAPACITY: usize = 1_024;
/// What stands where a secret stood.
const SECRET_PLACEHOLDER: &str = r#""[secret]""#;
