//! `okta.password-import`: Okta's password import inline hook, `com.okta.user.credential.password.import`.
//!
//! Invariant: only an explicit `credential(verified)`, with a verdict that does not stop, says `VERIFIED`; everything else, no decision
//! included, says `UNVERIFIED`. The password stands nowhere but in the call's payload, as its secret.
//!
//! Reading. The subject is whoever gave the user name, which is all that is known of them and stands for their id.

use std::time::Duration;

use portcullis_model::json::build_object;
use portcullis_model::{
    Call, Cause, Change, ChangeKind, Credential, Effect, Entity, Principal, PrincipalKind, Secrets,
};

use super::{ACTION, Context, EVENT_REUSED, INLINE_LIMIT, commands, envelope, go_on};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{members, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct PasswordImport;

impl Adapter for PasswordImport {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &[
            "eventType",
            "data",
            "data.context.credential.username",
            "data.context.credential.password",
        ]
    }

    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let failed = Behaviour::FailsClosed(
            "the sign-in fails and the password is not imported; Okta calls again at the next one",
        );
        FailureBehaviour {
            empty: Behaviour::FailsClosed("its default, `UNVERIFIED`: the sign-in fails"),
            client_error: failed,
            server_error: failed,
            timeout: failed,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Nobody(
            "the answer is `VERIFIED` or `UNVERIFIED`, and the sign-in page shows a text \
                 of its own",
        )
    }

    fn description(&self) -> &'static str {
        "`VERIFIED` needs a plugin that returns `credential(verified)`, and no plugin that denies; \
         everything else is `UNVERIFIED`: the sign-in fails. `error` is never sent, because its \
         effect is not documented. The password is a secret: only a plugin whose manifest reads \
         `okta.password-import:/data/context/credential/password` sees it, it is not stored, and \
         of the output of such a plugin only codes are stored. Closed: `UNVERIFIED`. Restricted is \
         not offered. Open: `200` and `{}`, Okta's default, which is `UNVERIFIED` too: no answer \
         of this hook lets every person in."
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let mut verified = false;
        for (at, change) in (1..).zip(outcome.changes) {
            match change {
                Change::Credential(Credential::Verified) => verified = true,
                Change::Credential(
                    Credential::Unverified | Credential::Retry | Credential::Block,
                ) => {}
                // Okta takes the password over and has no words for anything else.
                _ => {
                    return Err(RenderError {
                        change: Some((at, change.kind())),
                        why: RenderErrorKind::Kind,
                    });
                }
            }
        }
        let refused = outcome
            .changes
            .iter()
            .any(|change| *change != Change::Credential(Credential::Verified));
        if verified && !refused && outcome.verdict <= Effect::Allow {
            return commands(&[(ACTION, "{\"credential\":\"VERIFIED\"}".to_owned())]);
        }
        Ok(unverified(Slot::DebugContext))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        let slot = match cause {
            Cause::EventIdReused => Slot::Explained(EVENT_REUSED),
            _ => Slot::DebugContext,
        };
        unverified(slot)
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        go_on()
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native(
                "`VERIFIED` with `credential(verified)`, else `UNVERIFIED`, because `allow` does \
                 not verify a password",
            ),
            Effect::Deny => Support::Native("`UNVERIFIED`: the sign-in fails"),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a hook cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a sign-in cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Native, Unsupported};
        match change {
            ChangeKind::Credential => Native(
                "`verified` as `VERIFIED`; `unverified`, `retry` and `block` as `UNVERIFIED`; \
                 `migrate` and `update` have no answer, because Okta imports a verified password \
                 by itself and asks for no other",
            ),
            ChangeKind::Set(_) | ChangeKind::Remove(_) => Unsupported("the hook changes nothing"),
            ChangeKind::CapLifetime(_) => Unsupported("a password has no lifetime here"),
            ChangeKind::AddGrant | ChangeKind::DropGrant => {
                Unsupported("a password grants nothing")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the user exists already"),
            ChangeKind::AutoApprove | ChangeKind::RequireApprovers => {
                Unsupported("no person approves a password")
            }
            ChangeKind::Statement => Unsupported(
                "Okta carries out no obligations, and a plugin that sees a password returns no \
                 free text",
            ),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Reads a request.
fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let read = envelope(body, EVENT_TYPE, frame)?.body;
    let data = read.data()?;
    let Context { whole: context, origin, correlation, .. } = Context::read(data);
    let credential = object(context, "credential");
    let action = object(Some(data), "action");
    let user_name = read.required(credential, "data.context.credential.username")?;
    // An empty one is one, and wrong.
    if string(credential, "password").is_none() {
        return Err(read.refuse(Cause::SchemaMismatch, "data.context.credential.password"));
    }

    Ok(Call {
        correlation,
        subject: Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: Some(user_name),
            attributes: members(credential, &["username"]),
            entitlements: read.entitlements(&frame.settings.entitlements, &[])?,
        }),
        action: Some(Entity {
            type_name: "password-import".into(),
            id: None,
            attributes: members(action, &["credential"]),
        }),
        origin,
        secrets: Secrets::at(&["/data/context/credential/password"]),
        ..read.call("okta.password-import", frame)
    })
}

/// The answer that lets nobody in.
fn unverified(slot: Slot) -> Answer {
    let body = build_object(|body| {
        body.array("commands", |list| {
            list.object(|command| {
                command.text("type", ACTION).object("value", |value| {
                    value.text("credential", "UNVERIFIED");
                });
            });
        });
    });
    Answer::ok(body, slot)
}

pub(super) const EVENT_TYPE: &str = "com.okta.user.credential.password.import";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.username",
    "subject.entitlements",
    "action.attributes.credential",
    "correlation",
    "origin.ip",
    "origin.session",
];
