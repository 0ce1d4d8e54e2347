//! Evidence: what the record of a call says, and what of it is sealed.
//!
//! Invariant: a leaf holds codes, digests, counts, times and keyed pseudonyms, never text from a body, a plugin or a person; all
//! else goes to the sealed part, whole, so that the call can be run again. Knows nothing of how records become durable.

use std::borrow::Cow;

use portcullis_audit::{OVERHEAD, Pseudonym};
use portcullis_hooks::{Answer, HookRequest, OnFailure};
use portcullis_model::json::{
    ArrayWriter, Kind, ObjectWriter, Value, build_array, quote, write_object,
};
use portcullis_model::{Change, ChangeKind, Decision, Document, Effect, Finding};

use crate::bindings::candidate::cohort;
use crate::bindings::evaluate::BindingResult;
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
    /// The results of the enforcing bindings that were called.
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
    /// The active break-glass document.
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
        let mut fields = ObjectWriter::members_of(&mut leaf);
        let recorder = &self.host.recorder;
        fields
            .number("received", call.received)
            .object("hook", |hook| {
                hook.text("name", &self.hook.config.name)
                    .text("kind", call.hook)
                    .display("event", recorder.pseudonym("event", &call.id));
            })
            .display("help_desk_reference", self.hook.help_desk_reference(recorder, self.incoming));
        match call.subject.as_ref() {
            Some(subject) => fields.object("subject", |object| {
                let id = subject.id.as_deref();
                object.display_or_null("pid", id.map(|id| recorder.pseudonym("subject", id)));
            }),
            None => fields.json("subject", "null"),
        };
        let application = cohort::application(call);
        fields.display_or_null("app", application.map(|id| recorder.pseudonym("application", id)));
        if let Some(part) = self.batch_item {
            fields.number("part", part);
        }
        if let Some(SearchCounts { target: sought, evaluated: judged, returned: found }) =
            self.search_counts
        {
            fields.object("search", |search| {
                search.text("for", sought.phase());
                search.number("evaluated", judged).number("returned", found);
            });
        }
        if !call.secrets.is_empty() {
            fields.text("not_replayable", "secret");
        }
        if self.hook.config.kind.may_deliver() {
            fields.text_or_null("delivery", self.delivery);
        }
        fields
            .display("seed", format_args!("{:016x}", call.seed))
            .number("generation", self.generation)
            .array("bindings", |list| {
                for result in self.results {
                    list.object(|leaf| result.write_leaf(leaf));
                }
            })
            .object("decision", |decision| match self.verdict {
                Ok(verdict) => {
                    decision.text("verdict", verdict.name());
                }
                Err(failure) => {
                    decision
                        .text("safe", Hook::on_failure_name(self.safe))
                        .text("cause", failure.cause.code())
                        .text_or_null("plugin", failure.plugin.as_deref());
                }
            });
        if !self.skipped.is_empty() {
            let mut kinds: Vec<_> = self.skipped.iter().map(ChangeKind::to_string).collect();
            kinds.sort_unstable();
            kinds.dedup();
            fields.texts("skipped", kinds);
        }
        if let Some(canary_failure) = self.canary_failure {
            fields.object("canary_failure", |failure| {
                failure
                    .text("cause", canary_failure.cause.code())
                    .text_or_null("plugin", canary_failure.plugin.as_deref());
            });
        }
        fields
            .display("request", self.body_pseudonym)
            .display("response", portcullis_model::sha256_of(&[&self.salt, self.answer.body()]))
            .number("status", self.answer.status)
            .object("spent_us", |stages| self.stages.write_members(stages));
        if let Some(open) = self.break_glass {
            open.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            fields.text("break_glass", &open.id);
        }
        leaf
    }

    /// The sealed part: the body, the answer, and all that plugins said.
    pub fn sealed(&self) -> Vec<u8> {
        let call = &self.incoming.call;
        let body = kept(self.incoming);
        let room = body.len() + self.answer.body().len() + SEALED_CAPACITY + OVERHEAD;
        let mut sealed = String::with_capacity(room);
        write_object(&mut sealed, |object| {
            // The body was parsed, so it is JSON text and stands here as it came.
            object.json("request", &body);
            match std::str::from_utf8(self.answer.body()) {
                Ok("") | Err(_) => object.json("answer", "null"),
                // What a plugin that sees a secret puts into the answer can hold it in any
                // spelling.
                Ok(_) if self.results.iter().any(|result| result.may_leak(call)) => {
                    object.json("answer", SECRET_PLACEHOLDER)
                }
                // An answer can repeat a secret of the request, such as a credential that passes
                // through.
                Ok(text) => object.json("answer", &unsaid(text.to_owned(), self.incoming)),
            };
            if let Some(trace) = &self.trace {
                object.text("trace", trace);
            }
            object.display("salt", format_args!("{:032x}", u128::from_be_bytes(self.salt)));
            object.array("plugins", |list| write_plugins(list, self.results, self.incoming));
        });
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
    results: impl IntoIterator<Item = &'a BindingResult>,
    incoming: &HookRequest,
) -> String {
    build_array(|list| write_plugins(list, results, incoming))
}

fn write_plugins<'a>(
    list: &mut ArrayWriter<'_>,
    results: impl IntoIterator<Item = &'a BindingResult>,
    incoming: &HookRequest,
) {
    for result in results {
        let hushed = result.binding.manifest().reads.sees_secret(&incoming.call);
        list.object(|sealed| result.write_sealed(sealed, hushed));
    }
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
    fn write_sealed(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        sealed.text("plugin", &self.binding.manifest().id);
        match &self.outcome {
            Ok(decision) => {
                sealed.object("decision", |object| write_decision(object, decision, hushed));
                if !self.waived.is_empty() {
                    sealed.array("waived", |list| write_findings(list, &self.waived, hushed));
                }
            }
            Err(fault) => {
                sealed.text("fault", if hushed { fault.code } else { fault.detail.expose() });
            }
        }
        if hushed {
            sealed.text("withheld", "secret");
        } else {
            sealed.texts("notes", &self.notes);
        }
        self.reads.write_sealed(sealed, hushed);
    }
}

fn write_decision(object: &mut ObjectWriter<'_>, decision: &Decision, hushed: bool) {
    object.array("findings", |list| write_findings(list, &decision.findings, hushed));
    object.array("changes", |list| {
        for change in &decision.changes {
            list.object(|object| write_change(object, change, hushed));
        }
    });
}

fn write_findings(list: &mut ArrayWriter<'_>, findings: &[Finding], hushed: bool) {
    for finding in findings {
        list.object(|object| {
            object
                .text("code", &finding.code)
                .text("effect", finding.effect.name())
                .text("severity", finding.severity.name());
            if hushed {
                return;
            }
            object.object("arguments", |arguments| {
                for argument in &finding.arguments {
                    // Checked to be JSON when the decision was held against the manifest.
                    arguments.json(&argument.name, &argument.value);
                }
            });
            object.text_or_null("field", finding.field.as_deref());
        });
    }
}

fn write_change(object: &mut ObjectWriter<'_>, change: &Change, hushed: bool) {
    object.display("change", change.kind());
    match change {
        Change::Credential(credential) => {
            object.text("credential", credential.name());
        }
        _ if hushed => {}
        Change::Set { path, value, .. } => {
            object.text("path", path).json("value", value);
        }
        Change::Remove { path, .. } => {
            object.text("path", path);
        }
        Change::CapLifetime { seconds, .. } => {
            object.number("seconds", *seconds);
        }
        Change::AddGrant(grant) | Change::DropGrant(grant) => {
            object.text("kind", grant.kind.name()).text("id", &grant.id);
        }
        Change::LinkUser(id) => {
            object.text("id", id);
        }
        Change::RequireApprovers(names) | Change::Waive(names) => {
            object.texts("names", names);
        }
        Change::Statement(statement) => {
            object
                .text("name", &statement.name)
                .text("code", &statement.code)
                .boolean("obligatory", statement.obligatory)
                .json("payload", &statement.payload);
        }
        Change::CreateUser | Change::AutoApprove => {}
    }
}

/// Room for a usual leaf, to allocate once.
const LEAF_CAPACITY: usize = 1_536;
/// Room for what a sealed part holds besides body and answer.
const SEALED_CAPACITY: usize = 1_024;
/// What stands where a secret stood.
const SECRET_PLACEHOLDER: &str = r#""[secret]""#;
