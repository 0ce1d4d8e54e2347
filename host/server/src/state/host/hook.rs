//! One hook: its configuration, how its caller proves itself, and what leaves where there is no decision.
//!
//! Invariant: what leaves without a decision is what the operator, the release or an open break-glass document says, in that order of
//! growing weight, rendered by the hook kind. Whom the hook asks is the generation's matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_hooks::{
    Answer, DedupPolicy, HookRequest, OnFailure, Outcome, SafeAnswerInput, SideEffect,
};
use portcullis_model::{Attribution, Cause, Effect, HelpDeskReference};

use super::Host;
use crate::auth::Authenticator;
use crate::bindings::generation::{Bindings, Generation};
use crate::break_glass::{ActiveOverride, Place, current};
use crate::config::HookConfig;
use crate::error::StartError;
use crate::observe::metrics::HookMetrics;
use crate::platform_calls::decryption::DecryptionKeys;
use crate::platform_calls::delivery::DeliveryService;
use crate::recorder::Recorder;
use crate::records::corrections::Corrections;
use crate::records::schema_drift::SchemaDrift;
use crate::state::active::{HookState, HookStates};

/// One hook.
pub struct Hook {
    /// Its place in the configuration.
    pub number: usize,
    /// Tells it from every other hook of this process, also from its former self under another configuration.
    pub serial: u64,
    /// Its name, to be shared.
    pub name: Arc<str>,
    /// Its configuration.
    pub config: HookConfig,
    /// How its caller proves itself.
    pub authenticator: Arc<Authenticator>,
    /// What decrypts what its platform encrypts.
    pub decryption: Option<Arc<DecryptionKeys>>,
    /// What it owes the log.
    pub corrections: Arc<Corrections>,
    /// The active break-glass document here, or the last one.
    pub break_glass: Place,
    /// What it was sent that is not known.
    pub drift: Arc<SchemaDrift>,
    /// What it did.
    pub metrics: Arc<HookMetrics>,
}

/// A request without a decision, and all that is known of it.
pub struct UndecidedRequest<'a> {
    /// The cause.
    pub cause: Cause,
    /// The problem of a malformed request; empty where that is not known.
    pub detail: &'a str,
    /// The route of the hook's kind that the request came by.
    pub route: &'static str,
    /// The request, where it could be read.
    pub incoming: Option<&'a HookRequest>,
    /// The help-desk reference, where a record has it.
    pub reference: Option<HelpDeskReference>,
}

impl Hook {
    /// A hook of a configuration, with what lasts of its name.
    pub fn new(
        number: usize,
        config: HookConfig,
        caller: Arc<Authenticator>,
        decryption: Option<Arc<DecryptionKeys>>,
        names: &HookStates,
    ) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let HookState { corrections: owed, break_glass, drift, metrics } =
            names.state(&config.name);
        let name = config.name.as_str().into();
        Self {
            number,
            serial,
            name,
            config,
            authenticator: caller,
            decryption,
            corrections: owed,
            break_glass,
            drift,
            metrics,
        }
    }

    /// Reads the keys that decrypt what a hook's platform encrypts, and tells its settings of them.
    pub fn decryption(config: &mut HookConfig) -> Result<Option<Arc<DecryptionKeys>>, StartError> {
        let keys = config.decryption.as_ref().map(DecryptionKeys::load).transpose()?;
        config.settings.decryptor = keys.as_ref().map(DecryptionKeys::decryptor);
        Ok(keys.map(Arc::new))
    }

    /// Returns the active break-glass document here.
    pub fn break_glass(&self) -> Option<Arc<ActiveOverride>> {
        current(&self.break_glass)
    }

    /// What leaves when there is no decision, and why. A hook that nothing enforces has the platform's default: observing must never stop
    /// anybody. Where the platform has none, because it asks us whether it may, nothing permits; and where no answer could stop it, the
    /// default is no better than what is configured. A hook that a break-glass document holds open is open, but not where the caller is
    /// to blame or a plugin is revoked.
    pub fn on_failure(
        &self,
        generation: Option<&Generation>,
        cause: Option<Cause>,
        break_glass: Option<&ActiveOverride>,
    ) -> &OnFailure {
        let bindings = generation.map(|generation| generation.hooks.get(self.number));
        let enforced = bindings.is_none_or(|bindings| bindings.is_some_and(Bindings::enforced));
        let asks = !self.config.kind.is_permit(Effect::Abstain) || !self.config.kind.is_binding();
        let ours = cause.is_some_and(|cause| {
            cause.attribution() != Attribution::Caller && cause != Cause::PluginRevoked
        });
        let held_open = ours && break_glass.is_some_and(|open| open.fail_open);
        if (enforced || asks) && !held_open { &self.config.on_failure } else { &OnFailure::Open }
    }

    /// The answer where there is no decision: why, what was wrong with a request at fault, and by which route it came.
    pub fn safe_answer(
        &self,
        generation: Option<&Generation>,
        break_glass: Option<&ActiveOverride>,
        undecided: UndecidedRequest<'_>,
    ) -> Answer {
        let UndecidedRequest { cause, detail, route, incoming, reference } = undecided;
        let (settings, on_failure) =
            (&self.config.settings, self.on_failure(generation, Some(cause), break_glass));
        let refusal =
            SafeAnswerInput { settings, on_failure, cause, detail, route, incoming, reference };
        portcullis_hooks::write_safe_answer(self.config.kind, &refusal)
    }

    /// The safe answer to a request that is wrong as HTTP. `None` where a plain status is right.
    pub fn stop_answer(
        &self,
        generation: Option<&Generation>,
        break_glass: Option<&ActiveOverride>,
        cause: Cause,
        route: &'static str,
    ) -> Option<Answer> {
        let on_failure = self.on_failure(generation, Some(cause), break_glass);
        let settings = &self.config.settings;
        let refusal = SafeAnswerInput {
            settings,
            on_failure,
            cause,
            detail: "",
            route,
            incoming: None,
            reference: None,
        };
        portcullis_hooks::stop_answer(self.config.kind, &refusal)
    }

    /// Returns the help-desk reference of a question. It is known before the question is decided,
    /// and the same where the platform repeats it.
    pub fn help_desk_reference(
        &self,
        recorder: &Recorder,
        incoming: &HookRequest,
    ) -> HelpDeskReference {
        let (name, id) = (&self.config.name, &incoming.call.id);
        // As retries are told from other calls. A name of a hook has no line break, so that no two
        // hooks and ids are written alike.
        let event = match self.config.kind.dedup_policy() {
            DedupPolicy::ById if !id.is_empty() => format!("{name}\n{id}"),
            DedupPolicy::ByIdAndBody => {
                let body = recorder.pseudonym("body", incoming.call.payload.text());
                format!("{name}\n{id}\n{body}")
            }
            // No id, or one that the caller may use again for another question.
            _ => format!("{name}\n{id}\n{:016x}", incoming.call.seed),
        };
        HelpDeskReference::of_hash(recorder.pseudonym("help-desk", &event).bits())
    }

    /// What is to be done where there is no decision: a platform that waits for a call is told to go on where the hook is open, and
    /// to stop where it is not.
    pub fn side_effect(
        &self,
        on_failure: &OnFailure,
        incoming: &HookRequest,
        reference: Option<HelpDeskReference>,
    ) -> Option<SideEffect> {
        let verdict = if *on_failure == OnFailure::Open { Effect::Allow } else { Effect::Deny };
        let side_effect = portcullis_hooks::side_effect(
            self.config.kind,
            incoming,
            &Outcome { verdict, reference, ..Outcome::default() },
        );
        side_effect.filter(|side_effect| matches!(side_effect, SideEffect::Resume(_)))
    }

    /// Who delivers the hook's messages on that channel.
    pub fn delivery_service<'h>(
        &self,
        host: &'h Host,
        channel: &str,
    ) -> Option<&'h Arc<DeliveryService>> {
        host.platforms.delivery_services.get(self.config.delivery.as_ref()?.of(channel)?)
    }

    /// The configured safe answer's word, for records.
    pub fn on_failure_name(on_failure: &OnFailure) -> &'static str {
        match on_failure {
            OnFailure::Closed => "closed",
            OnFailure::Restricted { .. } => "restricted",
            OnFailure::Open => "open",
        }
    }
}
