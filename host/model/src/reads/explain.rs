//! What a manifest's reads come to in one call, in words: for tests and explanations, not for calls.
//!
//! Invariant: names paths only, never what stands there.

use super::path::{Member, OriginMember, Path, Place};
use super::{Members, Reads};
use crate::call::{Call, Entity, Principal};

impl Reads {
    /// What is read, as the manifest spells it, and whether this call has it. Payload pointers of other hook kinds are left out.
    pub fn describe<'a>(&'a self, call: &Call) -> Vec<(&'a str, bool)> {
        let there = |text: &'a String| {
            let path = Path::parse(text).ok()?;
            let there = match &path {
                Path::Payload { kind, .. } if kind != call.hook => return None,
                // Not of the call: the plugin asks for it or not.
                Path::Table { .. } => return None,
                // As far as the first wildcard.
                Path::Payload { pointer, .. } => {
                    let fixed =
                        pointer.split_once("/*").map_or(pointer.as_str(), |(fixed, _)| fixed);
                    call.payload.pointer(fixed).is_some_and(|value| !value.is_null())
                }
                Path::Below(place, Member::AllAttributes) => attributes(call, *place) > 0,
                path => path.is_in(call),
            };
            Some((text.as_str(), there))
        };
        self.paths.iter().filter_map(there).collect()
    }

    /// What this call has and the plugin does not read, as a manifest would spell it; of the payload, whether there is more than it reads.
    pub fn withheld(&self, call: &Call) -> Vec<String> {
        let mut kept = Vec::new();
        let mut principal = |name: &str, members: &Members, principal: &Principal| {
            let mut keep = |member: Member, there: bool, spelled: String| {
                if there && !members.covers(&member) {
                    kept.push(spelled);
                }
            };
            keep(Member::Id, principal.id.is_some(), format!("{name}.id"));
            keep(
                Member::Entitlements,
                !principal.entitlements.is_empty(),
                format!("{name}.entitlements"),
            );
            for attribute in &principal.attributes {
                let spelled = format!("{name}.attributes.{}", attribute.name.as_str());
                keep(Member::Attribute(attribute.name.as_str().to_owned()), true, spelled);
            }
        };
        call.subject.iter().for_each(|subject| principal("subject", &self.subject, subject));
        call.actors.iter().for_each(|actor| principal("actors", &self.actors, actor));
        let mut entity = |name: &str, members: &Members, entity: &Entity| {
            if entity.id.is_some() && !members.covers(&Member::Id) {
                kept.push(format!("{name}.id"));
            }
            for attribute in &entity.attributes {
                if !members.covers(&Member::Attribute(attribute.name.as_str().to_owned())) {
                    kept.push(format!("{name}.attributes.{}", attribute.name.as_str()));
                }
            }
        };
        call.action.iter().for_each(|action| entity("action", &self.action, action));
        call.resource.iter().for_each(|resource| entity("resource", &self.resource, resource));
        for (member, name) in ORIGIN {
            if Path::Origin(member).is_in(call) && !self.origin.contains(&member) {
                kept.push(format!("origin.{name}"));
            }
        }
        for (path, name, read) in [
            (Path::Requested, "requested", self.requested),
            (Path::Purpose, "purpose", self.purpose),
            (Path::Correlation, "correlation", self.correlation),
        ] {
            if path.is_in(call) && !read {
                kept.push(name.to_owned());
            }
        }
        let whole = self.payload.get(call.hook).is_some_and(|wanted| wanted.covers(""));
        if !call.payload.root().is_null() && !whole {
            kept.push(format!("{}: the rest of the payload", call.hook));
        }
        kept.sort();
        kept.dedup();
        kept
    }
}

fn attributes(call: &Call, place: Place) -> usize {
    match place {
        Place::Subject => call.subject.as_ref().map_or(0, |it| it.attributes.len()),
        Place::Actors => call.actors.iter().map(|it| it.attributes.len()).sum(),
        Place::Action => call.action.as_ref().map_or(0, |it| it.attributes.len()),
        Place::Resource => call.resource.as_ref().map_or(0, |it| it.attributes.len()),
    }
}

const ORIGIN: [(OriginMember, &str); 6] = [
    (OriginMember::Ip, "ip"),
    (OriginMember::Country, "country"),
    (OriginMember::Asn, "asn"),
    (OriginMember::UserAgent, "user-agent"),
    (OriginMember::Device, "device"),
    (OriginMember::Session, "session"),
];
