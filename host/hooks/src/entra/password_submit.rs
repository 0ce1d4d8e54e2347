//! `entra.password-submit`: somebody signs in whose password is still with the old directory, and the hook is to say whether it is
//! right (Microsoft's preview of just-in-time password migration).
//!
//! Invariants: `MigratePassword`, with which Entra takes the password over for good, is said for an explicit `credential(migrate)` and
//! nothing else; every answer of 200 repeats the request's nonce; the password is a secret of the call and is decrypted only here,
//! after the caller is proven.
//!
//! Reading. The payload is the body, with the claims of the decrypted token in the place of the encrypted one:
//! `/data/encryptedPasswordContext/user-password` (a secret: only for plugins that name it), `…/username`, `…/nonce`. The subject is
//! `authenticationContext.user`, and its attribute `username` what the person typed. The token inside is not signed: only its
//! encryption and the caller's proof protect it, so its times and audience are checked besides.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use portcullis_model::json::{Value, build_members};
use portcullis_model::{
    Attribute, Attribution, Cause, Change, ChangeKind, Credential, Document, Effect, Millis,
    Principal, PrincipalKind,
};
use zeroize::Zeroizing;

use super::{
    BUDGET, DENIED, Event, LIMIT, Particulars, UNCHECKED, act_beside, document, reactions, refused,
};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Methods, Need, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct PasswordSubmit;

impl Adapter for PasswordSubmit {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        super::inputs(&["subject.id", "subject.attributes.*", "subject.entitlements"])
    }

    fn required(&self) -> &'static [&'static str] {
        &[
            "type",
            "source",
            "data",
            "data.@odata.type",
            "data.tenantId",
            "data.encryptedPasswordContext",
        ]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        reactions("the password is not migrated, and the person is not signed in")
    }

    fn shown(&self) -> Shown {
        Shown::Person("on the sign-in page, as `message` of `Block` and `Retry`")
    }

    fn description(&self) -> &'static str {
        "Without a `credential` change the answer is `Retry`, because no plugin has confirmed the \
         password. A denial is `Block`. Closed: `Block`; an unauthenticated caller gets 401, and a \
         request that cannot be read or decrypted gets 400, which stop too. Restricted is not \
         offered. Open: `Retry`, because an unchecked password must not be migrated; 401 for an \
         unauthenticated caller. `GET` is answered 200."
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Decryption]
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn methods(&self, _route: &'static str) -> Methods {
        Methods::GetAndPost
    }

    fn preflight(&self, request: &Request<'_>, _settings: &HookSettings) -> Option<Answer> {
        // Looked at by whoever sets the extension up, and by its health check.
        request.get.then(|| Answer::ok("{}".into(), Slot::Nowhere))
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let refuse =
            |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
        let sent = document(request.body)?;
        let context = sent.pointer(CONTEXT).and_then(Value::as_str);
        let context = context
            .ok_or_else(|| refuse(Cause::SchemaMismatch, "data.encryptedPasswordContext"))?;
        let decryptor = frame.settings.decryptor.as_deref();
        let decryptor = decryptor
            .ok_or_else(|| refuse(Cause::InternalError, "the hook has no key to decrypt with"))?;
        // What is in clear is looked at first: it costs less than decrypting.
        drop(EVENT.heading(request.body, frame)?);
        let token = decryptor.decrypt(&context);
        let token = token.map_err(|_| {
            refuse(
                Cause::SchemaMismatch,
                "data.encryptedPasswordContext, which cannot be decrypted",
            )
        })?;
        let claims = claims(&token)
            .ok_or_else(|| refuse(Cause::SchemaMismatch, "the token in the password context"))?;
        let username =
            check(claims.root(), frame).map_err(|detail| refuse(Cause::SchemaMismatch, detail))?;

        let opened = sent.root().without(&[CONTEXT], claims.root().raw());
        let opened = Zeroizing::new(opened.into_owned());
        let heading = EVENT.heading_of(document(opened.as_bytes())?.secret(), frame)?;
        let body = heading.body();
        let user = object(heading.data(), "authenticationContext");
        let user = object(user, "user");
        let mut attributes = crate::json_body::attributes([user]);
        if let Some(username) = username {
            attributes.retain(|attribute| attribute.name != "username");
            attributes.push(Attribute { name: "username".into(), value: username.into() });
        }
        let subject = Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: string(user, "id"),
            attributes,
            entitlements: body.entitlements(&frame.settings.entitlements, &[])?,
        };
        let secrets = vec![PASSWORD.to_owned()];
        let particulars = Particulars { subject: Some(subject), secrets, ..Particulars::default() };
        Ok(Parsed::Single(heading.incoming(&EVENT, frame, particulars)))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict > Effect::Allow {
            return Ok(text_claim(incoming, "Block", &outcome.text_or(DENIED)));
        }
        let mut found = None;
        for (at, change) in (1..).zip(outcome.changes) {
            let unsayable = |why| RenderError { change: Some((at, change.kind())), why };
            match change {
                // Right, and not to be taken over, is what this contract has no words for.
                Change::Credential(Credential::Verified) => {
                    return Err(unsayable(RenderErrorKind::Value));
                }
                Change::Credential(credential)
                    if found.is_none_or(|earlier| earlier == *credential) =>
                {
                    found = Some(*credential);
                }
                Change::Credential(_) => return Err(unsayable(RenderErrorKind::Conflict)),
                _ => return Err(unsayable(RenderErrorKind::Kind)),
            }
        }
        Ok(match found {
            Some(Credential::Migrate) => said(incoming, "MigratePassword", ""),
            Some(Credential::Update) => said(incoming, "UpdatePassword", ""),
            Some(Credential::Block) => text_claim(incoming, "Block", &outcome.text_or(DENIED)),
            Some(Credential::Retry | Credential::Unverified | Credential::Verified) | None => {
                match outcome.shown_text() {
                    Some(text) => text_claim(incoming, "Retry", &text),
                    None => said(incoming, "Retry", ""),
                }
            }
        })
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        match incoming {
            Some(incoming) if cause.attribution() != Attribution::Caller => {
                text_claim(incoming, "Block", &refusal.text(UNCHECKED))
            }
            _ => refused(cause),
        }
    }

    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer {
        match incoming {
            Some(incoming) => said(incoming, "Retry", ""),
            // Without the request there is no nonce, and without that no answer.
            None => refused(Cause::InternalError),
        }
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => {
                Support::Native("the answer of the `credential` change; `Retry` without one")
            }
            Effect::Deny => Support::Native("`Block`"),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "the answer cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a sign-in cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Credential => Native(
                "`migrate`: `MigratePassword`; `update`: `UpdatePassword`; `retry` and \
                 `unverified`: `Retry`; `block`: `Block`. `verified` has no answer, because it \
                 does not tell whether to migrate the password",
            ),
            ChangeKind::DropGrant | ChangeKind::CapLifetime(_) => {
                Fallback(&[FallbackTo::Deny], "a password check grants nothing")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a sign-in cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the answer changes nothing but the password")
            }
            ChangeKind::AddGrant => Unsupported("a password check grants nothing"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the user is known"),
            ChangeKind::AutoApprove => Unsupported("no person approves a sign-in"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// The claims of a token that is not signed (`alg: none`, RFC 7519, 6).
fn claims(token: &[u8]) -> Option<Document> {
    let mut parts = std::str::from_utf8(token).ok()?.trim().split('.');
    let (header, payload) = (parts.next()?, parts.next()?);
    if parts.next().is_some_and(|signature| !signature.is_empty()) || parts.next().is_some() {
        return None;
    }
    let decode = |part: &str| BASE64URL.decode(part.trim_end_matches('=')).map(Zeroizing::new).ok();
    let header = Document::parse(&decode(header)?).ok()?;
    let unsigned = header
        .root()
        .get("alg")
        .and_then(Value::as_str)
        .is_some_and(|alg| alg.eq_ignore_ascii_case("none"));
    let claims = Document::parse(&decode(payload)?).ok()?.secret();
    (unsigned && claims.root().is_object()).then_some(claims)
}

/// Whether the token is for us and of now, and has what an answer needs; gives the user name, as JSON.
fn check(claims: Value<'_>, frame: &ParseContext<'_>) -> Result<Option<String>, &'static str> {
    let text =
        |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let audience = text("aud").ok_or("aud of the password context")?;
    if frame.settings.audience.as_ref().is_some_and(|ours| !ours.eq_ignore_ascii_case(&audience)) {
        return Err("aud of the password context, which is not this hook's");
    }
    // The application's identifier URI, `api://HOST/APP`: whose last part is the application.
    let issuer = text("iss").ok_or("iss of the password context")?;
    let of = issuer
        .strip_prefix("api://")
        .and_then(|rest| rest.rsplit_once('/'))
        .map(|(_, application)| application);
    if !of.is_some_and(|application| application.eq_ignore_ascii_case(&audience)) {
        return Err("iss of the password context, which is not of its aud");
    }
    let now = frame.received;
    // A `NumericDate` may have a fraction (RFC 7519, 2).
    let time = |name: &str| claims.get(name).and_then(Value::as_epoch_millis).map(Millis);
    let expires = time("exp").ok_or("exp of the password context")?;
    if now.0 >= expires.0.saturating_add(LEEWAY_MS) {
        return Err("the password context, which has expired");
    }
    if claims.get("nbf").is_some() {
        let begins = time("nbf").ok_or("nbf of the password context")?;
        if now.0.saturating_add(LEEWAY_MS) < begins.0 {
            return Err("the password context, which is not valid yet");
        }
    }
    if text("user-password").is_none() || text("nonce").is_none() {
        return Err("user-password or nonce of the password context");
    }
    match claims.get("username").filter(|name| !name.is_null()) {
        None => Ok(None),
        Some(name) if name.as_str().is_some() => Ok(Some(name.raw().to_owned())),
        Some(_) => Err("username of the password context"),
    }
}

/// An action with a title and a text for the person.
fn text_claim(incoming: &HookRequest, action: &str, text: &str) -> Answer {
    let members = build_members(|members| {
        members.text("title", TITLE).text("message", text);
    });
    said(incoming, action, &members)
}

fn said(incoming: &HookRequest, action: &str, members: &str) -> Answer {
    let nonce =
        incoming.call.payload.pointer(NONCE).and_then(Value::as_str).unwrap_or(Cow::Borrowed(""));
    let beside = build_members(|beside| {
        beside.text("nonce", &nonce);
    });
    act_beside(
        "onPasswordSubmitResponseData",
        &format!("passwordSubmit.{action}"),
        members,
        &beside,
    )
}

const EVENT: Event = Event {
    hook: "entra.password-submit",
    name: "passwordSubmit",
    data: "onPasswordSubmitCalloutData",
    action: "password-check",
};

/// The encrypted context, and in the payload its claims.
const CONTEXT: &str = "/data/encryptedPasswordContext";

const PASSWORD: &str = "/data/encryptedPasswordContext/user-password";

const NONCE: &str = "/data/encryptedPasswordContext/nonce";

/// The title above a text for the person.
const TITLE: &str = "Sign-in";

/// How far two clocks may be apart.
const LEEWAY_MS: u64 = 60_000;
