//! `entra.attribute-collection-start` and `entra.attribute-collection-submit`: somebody signs up, before and after the form.
//!
//! Invariant: a value leaves only in the JSON type that the attribute has in the request, and an error only for an attribute that is
//! on the form, since Entra passes over both otherwise. Microsoft's pages on retrieving and returning data at these two events.
//!
//! Reading. The subject is who signs up: without an id, with the form's attributes, each by its value alone, and `identities`. The
//! platform sends no password.
//!
//! Saying. A denial that is only about fields of the form sends the person back to it with a text for each field; any other shows
//! the block page. Before the form there is only the block page.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_model::json::{Kind, Value, build_members, build_text, split_pointer};
use portcullis_model::{
    Attribute, Attribution, Change, ChangeKind, Document, Effect, Principal, PrincipalKind, Target,
};

use super::{BUDGET, DENIED, Event, LIMIT, Particulars, UNCHECKED, act, named, reactions, refused};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{members, object};
use crate::reasons::with_reference;
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// Both hook kinds.
pub(crate) struct AttributeCollection {
    event: Event,
    response: &'static str,
    /// The beginning of its actions' types.
    actions: &'static str,
    /// Puts values in: the action and its member.
    puts: (&'static str, &'static str),
    /// Whether the form has been filled in.
    filled: bool,
}

/// Before the form.
pub(crate) static START: AttributeCollection = AttributeCollection {
    event: Event {
        hook: "entra.attribute-collection-start",
        name: "attributeCollectionStart",
        data: "onAttributeCollectionStartCalloutData",
        action: "sign-up",
    },
    response: "onAttributeCollectionStartResponseData",
    actions: "attributeCollectionStart",
    puts: ("setPrefillValues", "inputs"),
    filled: false,
};

/// After the form.
pub(crate) static SUBMIT: AttributeCollection = AttributeCollection {
    event: Event {
        hook: "entra.attribute-collection-submit",
        name: "attributeCollectionSubmit",
        data: "onAttributeCollectionSubmitCalloutData",
        action: "sign-up",
    },
    response: "onAttributeCollectionSubmitResponseData",
    actions: "attributeCollectionSubmit",
    puts: ("modifyAttributeValues", "attributes"),
    filled: true,
};

impl Adapter for AttributeCollection {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        // No subject has an id yet.
        super::inputs(&["subject.attributes.*", "subject.entitlements"])
    }

    fn required(&self) -> &'static [&'static str] {
        &["type", "source", "data", "data.@odata.type", "data.tenantId"]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        reactions("no account is created, and the person sees an error")
    }

    fn shown(&self) -> Shown {
        match self.filled {
            true => {
                Shown::Person("beside the form field that a finding names, else on the block page")
            }
            false => Shown::Person("on the block page"),
        }
    }

    fn description(&self) -> &'static str {
        if self.filled {
            "A denial about fields of the form sends the person back to the form; every other \
             denial shows the block page. Closed: the block page; an unauthenticated caller gets \
             401 and an unreadable request 400, which stop too. Restricted is not offered. Open: \
             `200` with `continueWithDefaultBehavior`, but 401 for an unauthenticated caller."
        } else {
            "A denial shows the block page. Closed: the block page; an unauthenticated caller gets \
             401 and an unreadable request 400, which stop too. Restricted is not offered. Open: \
             `200` with `continueWithDefaultBehavior`, but 401 for an unauthenticated caller."
        }
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let heading = self.event.heading(request.body, frame)?;
        let body = heading.body();
        let info = object(heading.data(), "userSignUpInfo");
        let form = object(info, "attributes");
        let mut attributes = members(info, &["identities"]);
        for (name, described) in form.into_iter().flat_map(Value::named) {
            let Some(name) = name.string() else { continue };
            let value = match described.is_object() {
                true => described.get("value").map_or("null".into(), Value::text),
                // Without its description the value stands alone.
                false => described.text(),
            };
            attributes.retain(|attribute| attribute.name != name);
            attributes.push(Attribute { name, value });
        }
        let entitlements = body.entitlements(&frame.settings.entitlements, &[])?;
        let subject = Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: None,
            attributes,
            entitlements,
        };
        let particulars = Particulars { subject: Some(subject), ..Particulars::default() };
        Ok(Parsed::Single(heading.incoming(&self.event, frame, particulars)))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict > Effect::Allow {
            return Ok(self.refuse(incoming, outcome));
        }
        let mut values = BTreeMap::new();
        for (at, change) in (1..).zip(outcome.changes) {
            self.admit(&mut values, incoming, change)
                .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
        }
        if values.is_empty() {
            return Ok(self.platform_default(Some(incoming)));
        }
        let (action, member) = self.puts;
        let members = build_members(|members| {
            members.object(member, |object| {
                for (name, value) in &values {
                    object.json(name, value);
                }
            });
        });
        if members.len() > MAX_ANSWER {
            return Err(RenderError { change: None, why: RenderErrorKind::TooLong });
        }
        Ok(self.act(action, &members))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        if cause.attribution() == Attribution::Caller {
            refused(cause)
        } else {
            self.block(&refusal.text(UNCHECKED))
        }
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        self.act("continueWithDefaultBehavior", "")
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native(
                "`continueWithDefaultBehavior`, or the action that carries the changes",
            ),
            Effect::Deny if self.filled => Support::Native(
                "`showValidationError` where every finding that denies names a field of the form, else `showBlockPage`",
            ),
            Effect::Deny => Support::Native("`showBlockPage`"),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a form cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a sign-up cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::User) if self.filled => Native(
                "`modifyAttributeValues`; the place is one attribute of the form, the value of the type that it has there; a list of \
                 texts becomes one text with commas",
            ),
            ChangeKind::Set(Target::User) => Native(
                "`setPrefillValues`; the place is one attribute, the value a text, a whole number or a truth value, of the type that \
                 it has in the request; a list of texts becomes one text with commas",
            ),
            ChangeKind::Remove(Target::User) => {
                Fallback(&[FallbackTo::Deny], "an answer sets attributes and removes none")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the hook sets the new user's attributes only")
            }
            ChangeKind::CapLifetime(_) => Unsupported("a sign-up has no lifetime"),
            ChangeKind::AddGrant => {
                Unsupported("a sign-up grants nothing; set an attribute that a group rule reads")
            }
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "a sign-up grants nothing that could be removed")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("Entra itself finds out whether the user exists")
            }
            ChangeKind::Credential => Unsupported("no password is checked during a sign-up"),
            ChangeKind::AutoApprove => Unsupported("no person approves a sign-up"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a sign-up cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

impl AttributeCollection {
    fn act(&self, action: &str, members: &str) -> Answer {
        act(self.response, &format!("{}.{action}", self.actions), members)
    }

    fn block(&self, text: &str) -> Answer {
        let members = build_members(|members| {
            members.text("title", TITLE).text("message", text);
        });
        self.act("showBlockPage", &members)
    }

    fn refuse(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Answer {
        let mut errors: BTreeMap<&str, String> = BTreeMap::new();
        for reason in outcome.reasons {
            let field =
                reason.field.filter(|field| self.filled && attribute(incoming, field).is_some());
            let Some(field) = field else {
                return self.block(&outcome.text_or(DENIED));
            };
            let text = errors.entry(field).or_default();
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&reason.text);
        }
        if errors.is_empty() {
            return self.block(&outcome.text_or(DENIED));
        }
        let message = with_reference(Cow::Borrowed(FIX), outcome.reference, "en");
        let members = build_members(|members| {
            members.text("message", &message).object("attributeErrors", |object| {
                for (field, text) in &errors {
                    object.text(field, text);
                }
            });
        });
        self.act("showValidationError", &members)
    }

    fn admit(
        &self,
        values: &mut BTreeMap<String, String>,
        incoming: &HookRequest,
        change: &Change,
    ) -> Result<(), RenderErrorKind> {
        let Change::Set { target: Target::User, path, value } = change else {
            return Err(RenderErrorKind::Kind);
        };
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let [name] = tokens.as_slice() else { return Err(RenderErrorKind::Place) };
        if name.is_empty() {
            return Err(RenderErrorKind::Place);
        }
        let wanted = match attribute(incoming, name) {
            Some(described) => kind_of(described),
            // Before the form, the request has only what is known by then.
            None if !self.filled => None,
            None => return Err(RenderErrorKind::NoTarget),
        };
        let document = Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
        let spelled = spell(document.root(), wanted).ok_or(RenderErrorKind::Value)?;
        match values.get(&**name) {
            Some(earlier) if *earlier != spelled => Err(RenderErrorKind::Conflict),
            Some(_) => Ok(()),
            None => {
                values.insert(name.to_string(), spelled);
                Ok(())
            }
        }
    }
}

/// An attribute of the form, as the request describes it.
fn attribute<'a>(incoming: &'a HookRequest, name: &str) -> Option<Value<'a>> {
    incoming
        .call
        .payload
        .pointer("/data/userSignUpInfo/attributes")?
        .get(name)
        .filter(|described| described.is_object())
}

/// The JSON type that an attribute's value has: by its own type where it says one, else by its value.
fn kind_of(described: Value<'_>) -> Option<Kind> {
    let stated = named(described, "@odata.type").ok().flatten().and_then(Value::as_str);
    let stated = stated.map(|stated| stated.to_ascii_lowercase());
    match stated.as_deref().map(|stated| stated.trim_start_matches('#')) {
        Some("microsoft.graph.stringdirectoryattributevalue") => Some(Kind::String),
        Some("microsoft.graph.int64directoryattributevalue") => Some(Kind::Number),
        Some("microsoft.graph.booleandirectoryattributevalue") => Some(Kind::Bool),
        _ => described.get("value").map(Value::kind).filter(|kind| *kind != Kind::Null),
    }
}

/// A value as Entra takes it, where it does and where it is of the wanted kind.
fn spell(value: Value<'_>, wanted: Option<Kind>) -> Option<String> {
    let (kind, spelled) = match value.kind() {
        Kind::String | Kind::Bool => (value.kind(), value.raw().to_owned()),
        Kind::Number => (Kind::Number, value.raw().parse::<i64>().ok()?.to_string()),
        Kind::Array => {
            let texts: Option<Vec<_>> = value.elements().map(Value::as_str).collect();
            let texts = texts.filter(|texts| texts.iter().all(|text| !text.contains(',')))?;
            (Kind::String, build_text(&texts.join(",")))
        }
        Kind::Null | Kind::Object => return None,
    };
    wanted.is_none_or(|wanted| wanted == kind).then_some(spelled)
}

/// The title of a block page.
const TITLE: &str = "Sign-up is not possible";

/// The heading of a form with errors.
const FIX: &str = "Please correct the fields below.";

/// The longest changes, bytes. Entra refuses answers that are too large (error 1003024) and does not say which; a form is far smaller.
const MAX_ANSWER: usize = 32_000;
