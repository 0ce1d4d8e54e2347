//! Paths: which part of a call a comparison looks at.
//!
//! Invariant: a path that parsed names something that a call can have, in the words of the manifest's `reads` where those have
//! one.

use std::fmt;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// `subject.id`, `resource.id`, `action.name`.
    Id(Place),
    /// `subject.type`, `resource.type`.
    Type(Place),
    /// `subject.roles`.
    Roles,
    /// `subject.attributes.NAME`, and so on.
    Attribute(Place, String),
    /// `payload:/POINTER`, or `context:/POINTER` for `payload:/context/POINTER`.
    Payload(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Subject,
    Action,
    Resource,
}

impl Path {
    /// `None` where it names nothing.
    pub fn parse(text: &str) -> Option<Self> {
        for (head, above) in [("payload:", ""), ("context:", "/context")] {
            if let Some(pointer) = text.strip_prefix(head) {
                return pointer
                    .starts_with('/')
                    .then(|| Self::Payload(format!("{above}{pointer}")));
            }
        }
        let (place, member) = text.split_once('.')?;
        let place = Place::parse(place)?;
        match (place, member) {
            (Place::Action, "name") | (Place::Subject | Place::Resource, "id") => {
                Some(Self::Id(place))
            }
            (Place::Subject | Place::Resource, "type") => Some(Self::Type(place)),
            (Place::Subject, "roles") => Some(Self::Roles),
            _ => {
                let name = member.strip_prefix("attributes.").filter(|name| !name.is_empty())?;
                Some(Self::Attribute(place, name.to_owned()))
            }
        }
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        [Self::Subject, Self::Action, Self::Resource].into_iter().find(|place| place.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Action => "action",
            Self::Resource => "resource",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(Place::Action) => f.write_str("action.name"),
            Self::Id(place) => write!(f, "{}.id", place.name()),
            Self::Type(place) => write!(f, "{}.type", place.name()),
            Self::Roles => f.write_str("subject.roles"),
            Self::Attribute(place, name) => write!(f, "{}.attributes.{name}", place.name()),
            Self::Payload(pointer) => match pointer.strip_prefix("/context/") {
                Some(rest) => write!(f, "context:/{rest}"),
                None => write!(f, "payload:{pointer}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back() {
        for text in [
            "subject.id",
            "subject.type",
            "subject.roles",
            "subject.attributes.a.b",
            "action.name",
            "action.attributes.soft",
            "resource.id",
            "resource.type",
            "resource.attributes.owner",
            "context:/time",
            "payload:/a/b",
            "payload:/context",
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "subject",
            "subject.",
            "subject.name",
            "subject.attributes.",
            "action.id",
            "action.type",
            "resource.roles",
            "context.time",
            "context:time",
            "payload:",
            "planet.id",
        ] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }
}
