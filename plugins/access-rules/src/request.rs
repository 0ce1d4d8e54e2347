//! A call as rules see it: who, what, to what, with what the settings and the call say of them weighed against each other.
//!
//! Invariant: how much the call's own attributes count is decided here and nowhere else, by the `properties` of the settings.

use std::cell::OnceCell;

use portcullis_guest::{Attribute, Call, Entity, Principal};
use serde_json::Value as Json;

use crate::compiled::Compiled;
use crate::directory::{ACTION, Listed};
use crate::path::{Path, Place};
use crate::settings::Weight;
use crate::value::{Atom, Atoms, Value};

/// One call, looked up.
pub(crate) struct EvaluationRequest<'a> {
    pub subject: EntityView<'a>,
    pub action: EntityView<'a>,
    pub resource: EntityView<'a>,
    /// What the subject is, included roles included; sorted, each once.
    pub roles: Vec<String>,
    pub received: u64,
    payload: &'a str,
    parsed: OnceCell<Json>,
}

/// One of the three that a call is about.
pub(crate) struct EntityView<'a> {
    /// The platform's word; `None` where the call has nothing there.
    pub type_name: Option<&'a str>,
    pub id: Option<&'a str>,
    pub listed: Option<&'a Listed>,
    attributes: &'a [Attribute],
    weight: Weight,
}

impl<'a> EvaluationRequest<'a> {
    /// Looks everything up that every rule may ask for.
    pub fn of(compiled: &'a Compiled, call: &'a Call) -> Self {
        let weights = compiled.properties;
        let subject = match &call.subject {
            Some(Principal { type_name, id, attributes, .. }) => {
                let listed = id.as_deref().and_then(|id| compiled.subjects.get(type_name, id));
                EntityView::new(type_name, id.as_deref(), attributes, listed, weights.subject)
            }
            None => EntityView::NOTHING,
        };
        let action = match &call.action {
            // Whatever the platform calls it, the settings list actions by name alone.
            Some(Entity { type_name, id, attributes }) => {
                let listed = id.as_deref().and_then(|id| compiled.actions.get(ACTION, id));
                EntityView::new(type_name, id.as_deref(), attributes, listed, weights.action)
            }
            None => EntityView::NOTHING,
        };
        let resource = match &call.resource {
            Some(Entity { type_name, id, attributes }) => {
                let listed = id.as_deref().and_then(|id| compiled.resources.get(type_name, id));
                EntityView::new(type_name, id.as_deref(), attributes, listed, weights.resource)
            }
            None => EntityView::NOTHING,
        };
        let held = call.subject.as_ref().map_or(&[][..], |subject| &subject.entitlements);
        let roles = roles(compiled, &subject, held);
        Self {
            subject,
            action,
            resource,
            roles,
            received: call.received,
            payload: &call.payload,
            parsed: OnceCell::new(),
        }
    }

    /// What is at a path.
    pub fn value<'s>(&'s self, path: &Path) -> Value<'s> {
        let text = |text: Option<&'s str>| text.map_or(Value::Absent, Value::text);
        match path {
            Path::Id(place) => text(self.part(*place).id),
            Path::Type(place) => text(self.part(*place).type_name),
            Path::Roles => match self.subject.type_name {
                Some(_) => Value::Known(Atoms::Many(
                    self.roles.iter().map(|role| Atom::Text(role.as_str().into())).collect(),
                )),
                None => Value::Absent,
            },
            Path::Attribute(place, name) => self.part(*place).attribute(name),
            Path::Payload(pointer) => {
                let parsed = self
                    .parsed
                    .get_or_init(|| serde_json::from_str(self.payload).unwrap_or_default());
                parsed.pointer(pointer).map_or(Value::Absent, Value::from_json)
            }
        }
    }

    fn part(&self, place: Place) -> &EntityView<'a> {
        match place {
            Place::Subject => &self.subject,
            Place::Action => &self.action,
            Place::Resource => &self.resource,
        }
    }
}

impl<'a> EntityView<'a> {
    const NOTHING: EntityView<'static> = EntityView {
        type_name: None,
        id: None,
        listed: None,
        attributes: &[],
        weight: Weight::Ignore,
    };

    fn new(
        type_name: &'a str,
        id: Option<&'a str>,
        attributes: &'a [Attribute],
        listed: Option<&'a Listed>,
        weight: Weight,
    ) -> Self {
        Self { type_name: Some(type_name), id, listed, attributes, weight }
    }

    /// What is known of an attribute.
    fn attribute(&self, name: &str) -> Value<'a> {
        let listed = || self.listed.and_then(|listed| listed.attribute(name)).map(Value::borrowed);
        let sent = || {
            let sent = self.attributes.iter().find(|attribute| attribute.name == name);
            sent.map(|sent| Value::from_text(&sent.value)).filter(|value| *value != Value::Absent)
        };
        match self.weight {
            Weight::Ignore => listed(),
            Weight::Unlisted if self.listed.is_some() => listed(),
            Weight::Unlisted => sent(),
            Weight::Fill => listed().or_else(sent),
            Weight::Override => sent().or_else(listed),
        }
        .unwrap_or(Value::Absent)
    }

    /// Whether what the call says that the subject holds counts as roles.
    fn counts_held(&self) -> bool {
        match self.weight {
            Weight::Ignore => false,
            Weight::Unlisted => self.listed.is_none(),
            Weight::Fill => self.listed.is_none_or(|listed| listed.roles.is_none()),
            Weight::Override => true,
        }
    }
}

/// The subject's roles: those that the settings list, those that its attributes name, what it holds; and what these include.
fn roles(compiled: &Compiled, subject: &EntityView<'_>, held: &[String]) -> Vec<String> {
    let mut roles: Vec<String> = Vec::new();
    let listed = subject.listed.and_then(|listed| listed.roles.as_deref());
    roles.extend(listed.unwrap_or_default().iter().map(ToString::to_string));
    for name in &compiled.role_attributes {
        let fills = subject.weight == Weight::Fill && listed.is_some();
        // Where the settings say which roles somebody has, the call's attributes do not fill in more.
        let value = match fills {
            true => subject
                .listed
                .and_then(|listed| listed.attribute(name))
                .map_or(Value::Absent, Value::borrowed),
            false => subject.attribute(name),
        };
        if let Value::Known(atoms) = value {
            roles.extend(atoms.iter().filter_map(|atom| match atom {
                Atom::Text(text) => Some(text.clone().into_owned()),
                _ => None,
            }));
        }
    }
    if subject.counts_held() {
        roles.extend(held.iter().cloned());
    }
    if !compiled.included.is_empty() {
        let included: Vec<String> = roles
            .iter()
            .filter_map(|role| compiled.included.get(role.as_str()))
            .flatten()
            .cloned()
            .collect();
        roles.extend(included);
    }
    roles.sort_unstable();
    roles.dedup();
    roles
}
