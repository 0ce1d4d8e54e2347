//! One path of a manifest's `reads`: how it is spelled, and whether a call has what it names.
//!
//! Invariant: a path that is accepted names something a call can have; all else is refused by what is wrong
//! with it.

use super::ReadsError;
use crate::call::{Attribute, Call, Entity, Origin, Principal};
use crate::json::split_pointer;

/// One path of `reads`.
pub(super) enum Path {
    Below(Place, Member),
    Origin(OriginMember),
    Requested,
    Purpose,
    Correlation,
    Payload {
        kind: String,
        pointer: String,
    },
    /// A column of a reference table, or `*` for all.
    Table {
        table: String,
        column: String,
    },
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    Subject,
    Actors,
    Action,
    Resource,
}

pub(super) enum Member {
    Id,
    Entitlements,
    Attribute(String),
    AllAttributes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OriginMember {
    Ip,
    Country,
    Asn,
    UserAgent,
    Device,
    Session,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, ReadsError> {
        let unknown = || ReadsError::Unknown(text.to_owned());
        let (head, rest) = text.split_once('.').unwrap_or((text, ""));
        let place = match (head, rest) {
            ("requested", "") if head == text => return Ok(Self::Requested),
            ("purpose", "") if head == text => return Ok(Self::Purpose),
            ("correlation", "") if head == text => return Ok(Self::Correlation),
            ("origin", member) => {
                return OriginMember::parse(member).map(Self::Origin).ok_or_else(unknown);
            }
            ("tables", column) => return Self::parse_table(column).ok_or_else(unknown),
            ("subject", _) => Place::Subject,
            ("actors", _) => Place::Actors,
            ("action", _) => Place::Action,
            ("resource", _) => Place::Resource,
            _ => return Self::parse_elsewhere(text),
        };
        let is_principal = matches!(place, Place::Subject | Place::Actors);
        let member = match rest {
            "id" => Member::Id,
            "entitlements" if is_principal => Member::Entitlements,
            "attributes.*" => Member::AllAttributes,
            _ => match rest.strip_prefix("attributes.") {
                Some(name) if !name.is_empty() => Member::Attribute(name.to_owned()),
                _ => return Err(unknown()),
            },
        };
        Ok(Self::Below(place, member))
    }

    /// `NAME.COLUMN` of a reference table.
    fn parse_table(text: &str) -> Option<Self> {
        let (table, column) = text.split_once('.')?;
        let well_formed = (1..=MAX_TABLE_NAME).contains(&table.len())
            && table.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        (well_formed && !column.is_empty())
            .then(|| Self::Table { table: table.to_owned(), column: column.to_owned() })
    }

    /// Payload pointers, and what is no path of the model.
    fn parse_elsewhere(text: &str) -> Result<Self, ReadsError> {
        if let Some((kind, pointer)) = text.split_once(':') {
            let named = !kind.is_empty()
                && kind.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
            if !named || split_pointer(pointer).is_none() {
                return Err(ReadsError::Pointer(text.to_owned()));
            }
            return Ok(Self::Payload { kind: kind.to_owned(), pointer: pointer.to_owned() });
        }
        let single =
            ["requested.", "purpose.", "correlation."].iter().any(|word| text.starts_with(word));
        Err(if text.contains('.') && !single {
            ReadsError::Table(text.to_owned())
        } else {
            ReadsError::Unknown(text.to_owned())
        })
    }

    pub(super) fn is_wildcard(&self) -> bool {
        match self {
            Self::Below(_, member) => matches!(member, Member::AllAttributes),
            Self::Payload { pointer, .. } => pointer.split('/').any(|token| token == "*"),
            Self::Table { column, .. } => column == "*",
            _ => false,
        }
    }

    pub(super) fn is_in(&self, call: &Call) -> bool {
        match self {
            Self::Below(Place::Subject, member) => {
                call.subject.as_ref().is_some_and(|it| member.is_in_principal(it))
            }
            Self::Below(Place::Actors, member) => {
                call.actors.first().is_some_and(|it| member.is_in_principal(it))
            }
            Self::Below(Place::Action, member) => {
                call.action.as_ref().is_some_and(|it| member.is_in_entity(it))
            }
            Self::Below(Place::Resource, member) => {
                call.resource.as_ref().is_some_and(|it| member.is_in_entity(it))
            }
            Self::Origin(member) => call.origin.as_ref().is_some_and(|it| member.is_in(it)),
            Self::Requested => !call.requested.is_empty(),
            Self::Purpose => call.purpose.is_some(),
            Self::Correlation => call.correlation.is_some(),
            Self::Payload { kind, pointer } => {
                call.hook != kind
                    || call.payload.pointer(pointer).is_some_and(|value| !value.is_null())
            }
            Self::Table { .. } => false,
        }
    }
}

impl Member {
    fn is_in_principal(&self, principal: &Principal) -> bool {
        match self {
            Self::Id => principal.id.is_some(),
            Self::Entitlements => !principal.entitlements.is_empty(),
            Self::Attribute(name) => has(&principal.attributes, name),
            Self::AllAttributes => true,
        }
    }

    fn is_in_entity(&self, entity: &Entity) -> bool {
        match self {
            Self::Id => entity.id.is_some(),
            Self::Attribute(name) => has(&entity.attributes, name),
            Self::Entitlements | Self::AllAttributes => true,
        }
    }
}

impl OriginMember {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "ip" => Self::Ip,
            "country" => Self::Country,
            "asn" => Self::Asn,
            "user-agent" => Self::UserAgent,
            "device" => Self::Device,
            "session" => Self::Session,
            _ => return None,
        })
    }

    fn is_in(self, origin: &Origin) -> bool {
        match self {
            Self::Ip => origin.ip.is_some(),
            Self::Country => origin.country.is_some(),
            Self::Asn => origin.asn.is_some(),
            Self::UserAgent => origin.user_agent.is_some(),
            Self::Device => origin.device.is_some(),
            Self::Session => origin.session.is_some(),
        }
    }
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.name == name && attribute.value != "null")
}

/// Most bytes of a table's name.
pub(super) const MAX_TABLE_NAME: usize = 64;
