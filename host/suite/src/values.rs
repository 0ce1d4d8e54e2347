//! Small words of the format: a name or several, a finding by its code alone, a change as a manifest spells it, a time.
//!
//! Invariant: what an actual decision says, and what an author expects, are compared in one spelling.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use portcullis_model::{
    Change, Credential, Effect, Finding, Grant, GrantKind, Millis, Severity, Statement, Target,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// One name, several, or any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names(pub Vec<String>);

impl Names {
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub fn fit(&self, name: Option<&str>) -> bool {
        self.is_any() || name.is_some_and(|name| self.0.iter().any(|one| one == name))
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(writer)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = elements.next_element()? {
                    names.push(name);
                }
                if names.is_empty() {
                    Err(A::Error::custom("an empty list matches nothing"))
                } else {
                    Ok(Names(names))
                }
            }
        }
        reader.deserialize_any(OneOrMore)
    }
}

/// A change, spelled as in a manifest's `emits`, and its particulars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ChangeText {
    /// `cap-lifetime:access-token`, `set:access-token:/claims/until`, `add-grant:scope`,
    /// `create-user`, …
    pub change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What a password check found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obligatory: Option<bool>,
}

/// A finding in all its members, where an author writes more than its code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindingTable {
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Those that are named must be there and the same; others may be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// An expected finding: its code, or a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FindingText(pub FindingTable);

impl Serialize for FindingText {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(writer)
    }
}

impl<'de> Deserialize<'de> for FindingText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct CodeOrTable;
        impl<'de> Visitor<'de> for CodeOrTable {
            type Value = FindingText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finding's code or a table")
            }

            fn visit_str<E: Error>(self, code: &str) -> Result<FindingText, E> {
                let table = FindingTable {
                    code: code.to_owned(),
                    effect: None,
                    severity: None,
                    arguments: Default::default(),
                    field: None,
                };
                Ok(FindingText(table))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<FindingText, A::Error> {
                FindingTable::deserialize(MapAccessDeserializer::new(members)).map(FindingText)
            }
        }
        reader.deserialize_any(CodeOrTable)
    }
}

/// An RFC 3339 time, of whole milliseconds.
pub fn time(text: &str) -> Option<Millis> {
    let timestamp: Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_millisecond()).ok().map(Millis)
}

/// The time as text; the latest there is where it is later than that.
pub(crate) fn time_text(time: Millis) -> String {
    let latest = Timestamp::MAX.as_millisecond();
    let millis = i64::try_from(time.0).unwrap_or(latest).min(latest);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

/// JSON text as a value; text that is no JSON as a string.
pub(crate) fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}

impl ChangeText {
    /// What a plugin said, as an author would write it.
    pub fn of(change: &Change) -> Self {
        let mut text = Self { change: change.kind().to_string(), ..Self::default() };
        match change {
            Change::Set { path, value: json, .. } => {
                text.change = format!("{}:{path}", change.kind());
                text.value = Some(value(json));
            }
            Change::Remove { path, .. } => text.change = format!("{}:{path}", change.kind()),
            Change::CapLifetime { seconds, .. } => text.seconds = Some(*seconds),
            Change::AddGrant(grant) | Change::DropGrant(grant) => {
                text.change = format!("{}:{}", change.kind(), grant.kind.name());
                text.id = Some(grant.id.clone());
            }
            Change::LinkUser(id) => text.id = Some(id.clone()),
            Change::Credential(credential) => text.credential = Some(credential.name().to_owned()),
            Change::RequireApprovers(approvers) => text.approvers = Some(approvers.clone()),
            Change::Waive(codes) => text.codes = Some(codes.clone()),
            Change::Statement(statement) => {
                text.name = Some(statement.name.clone());
                text.code = Some(statement.code.clone());
                text.value = Some(value(&statement.payload));
                text.obligatory = Some(statement.obligatory);
            }
            Change::CreateUser | Change::AutoApprove => {}
        }
        text
    }

    /// The change that it stands for, or what is wrong with it.
    pub fn change(&self) -> Result<Change, &'static str> {
        let (verb, rest) = self.change.split_once(':').unwrap_or((&self.change, ""));
        let place = || -> Result<(Target, String), &'static str> {
            let (target, path) = rest.split_once(':').unwrap_or((rest, ""));
            let target = TARGETS
                .into_iter()
                .find(|known| known.name() == target)
                .ok_or("it does not name a target")?;
            Ok((target, path.to_owned()))
        };
        let grant = || -> Result<Grant, &'static str> {
            let kind = GRANTS
                .into_iter()
                .find(|kind| kind.name() == rest)
                .ok_or("it does not name a kind of grant")?;
            Ok(Grant { kind, id: self.id.clone().ok_or("it has no `id`")? })
        };
        let json = || -> Result<String, &'static str> {
            self.value.as_ref().map(Value::to_string).ok_or("it has no `value`")
        };
        let change = match verb {
            "set" => place()
                .and_then(|(target, path)| Ok(Change::Set { target, path, value: json()? }))?,
            "remove" => place().map(|(target, path)| Change::Remove { target, path })?,
            "cap-lifetime" => {
                let seconds = self.seconds.ok_or("it has no `seconds`")?;
                place().map(|(target, _)| Change::CapLifetime { target, seconds })?
            }
            "add-grant" => Change::AddGrant(grant()?),
            "drop-grant" => Change::DropGrant(grant()?),
            "link-user" => Change::LinkUser(self.id.clone().ok_or("it has no `id`")?),
            "create-user" => Change::CreateUser,
            "credential" => {
                let named = |known: &Credential| Some(known.name()) == self.credential.as_deref();
                Change::Credential(
                    CREDENTIALS.into_iter().find(named).ok_or("it does not name a `credential`")?,
                )
            }
            "auto-approve" => Change::AutoApprove,
            "require-approvers" => {
                Change::RequireApprovers(self.approvers.clone().ok_or("it has no `approvers`")?)
            }
            "waive" => Change::Waive(self.codes.clone().ok_or("it has no `codes`")?),
            "statement" => Change::Statement(Statement {
                name: self.name.clone().ok_or("it has no `name`")?,
                code: self.code.clone().ok_or("it has no `code`")?,
                payload: json()?,
                obligatory: self.obligatory.unwrap_or_default(),
            }),
            _ => return Err("it is not a change"),
        };
        // What was written beside it and means nothing would be believed to be checked.
        if Self::of(&change).is_as_full_as(self) {
            Ok(change)
        } else {
            Err("it has a member that such a change does not have")
        }
    }

    fn is_as_full_as(&self, written: &Self) -> bool {
        let members = |text: &Self| {
            [
                text.seconds.is_some(),
                text.value.is_some(),
                text.id.is_some(),
                text.credential.is_some(),
                text.approvers.is_some(),
                text.codes.is_some(),
                text.name.is_some(),
                text.code.is_some(),
            ]
        };
        members(self) == members(written)
            && (written.obligatory.is_none() || self.obligatory.is_some())
    }
}

/// One change on one line: as a manifest spells it, and its particulars.
pub fn change_text(change: &Change) -> String {
    let text = ChangeText::of(change);
    let mut line = text.change.clone();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    add("seconds", text.seconds.map(Value::from));
    add("value", text.value);
    add("id", text.id.map(Value::from));
    add("credential", text.credential.map(Value::from));
    add("approvers", text.approvers.map(Value::from));
    add("codes", text.codes.map(Value::from));
    add("name", text.name.map(Value::from));
    add("code", text.code.map(Value::from));
    add("obligatory", text.obligatory.map(Value::from));
    line
}

/// A finding on one line.
pub(crate) fn finding_text(finding: &Finding) -> String {
    let arguments: Vec<_> =
        finding.arguments.iter().map(|it| (it.name.as_str(), value(&it.value))).collect();
    let arguments = arguments.iter().map(|(name, value)| (*name, value));
    finding_line(
        &finding.code,
        finding.effect,
        finding.severity,
        arguments,
        finding.field.as_deref(),
    )
}

pub(crate) fn finding_line<'a>(
    code: &str,
    effect: Effect,
    severity: Severity,
    arguments: impl Iterator<Item = (&'a str, &'a Value)>,
    field: Option<&str>,
) -> String {
    let mut line = format!("{code} {} {}", effect.name(), severity.name());
    for (name, value) in arguments {
        line.push_str(&format!(" {name}={value}"));
    }
    if let Some(field) = field {
        line.push_str(&format!(" field={field}"));
    }
    line
}

const TARGETS: [Target; 7] = [
    Target::IdToken,
    Target::AccessToken,
    Target::Assertion,
    Target::User,
    Target::AppUser,
    Target::Request,
    Target::Response,
];

const GRANTS: [GrantKind; 6] = [
    GrantKind::Entitlement,
    GrantKind::Group,
    GrantKind::Role,
    GrantKind::Scope,
    GrantKind::App,
    GrantKind::Claim,
];

const CREDENTIALS: [Credential; 6] = [
    Credential::Verified,
    Credential::Unverified,
    Credential::Migrate,
    Credential::Update,
    Credential::Retry,
    Credential::Block,
];
