//! Inputs that a hook kind never sends, so that nothing can be decided by them.
//!
//! Invariant: an input is named only if no request of the kind can lead to it, by what the kind's
//! own adapter says of its calls and by the members that its requests are known to have. What a
//! request may leave out is not named.

use crate::adapter::Need;
use crate::kind::HookKind;
use crate::platform_model;
use crate::request::HookSettings;

/// Those of the paths that no call of the kind ever has.
pub(crate) fn never_sent<'p>(
    kind: HookKind,
    settings: &HookSettings,
    paths: impl IntoIterator<Item = &'p str>,
) -> Vec<&'p str> {
    let mut inputs = kind.adapter().inputs(settings);
    if kind.default_entitlements().is_empty() && settings.entitlements.is_empty() {
        inputs.retain(|input| *input != HELD);
    }
    let is_sent = |path: &&str| match path.split_once(':') {
        Some((of, pointer)) if of == kind.name() => {
            // Encrypted members are not among those that requests are known to have.
            kind.needs(Need::Decryption) || platform_model::may_send(kind, pointer)
        }
        Some(_) => true,
        None => inputs.iter().any(|input| covers(input, path)),
    };
    paths.into_iter().filter(|path| !is_sent(path)).collect()
}

/// Whether an input, or one of those that a wildcard stands for, is what a path names or may name.
fn covers(input: &str, path: &str) -> bool {
    let within = |whole: &str, part: &str| {
        whole.strip_suffix('*').is_some_and(|before| part.starts_with(before))
    };
    input == path || within(input, path) || within(path, input)
}

/// The entitlements that the subject holds already.
pub const HELD: &str = "subject.entitlements";

#[cfg(test)]
mod tests {
    use portcullis_model::{Attribute, Call, Principal};

    use super::*;
    use crate::tests::mutations::requests;
    use crate::{HookRequest, Parsed};

    fn principal(of: &Principal) -> (bool, &[Attribute], bool) {
        (of.id.is_some(), &of.attributes, !of.entitlements.is_empty())
    }

    /// Every input that a call has, attributes by their names.
    fn inputs(call: &Call) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |name: &str, is_there: bool| {
            if is_there {
                all.push(name.to_owned());
            }
        };
        add("correlation", call.correlation.is_some());
        add("purpose", call.purpose.is_some());
        add("requested", !call.requested.is_empty());
        if let Some(origin) = &call.origin {
            add("origin.ip", origin.ip.is_some());
            add("origin.country", origin.country.is_some());
            add("origin.asn", origin.asn.is_some());
            add("origin.user-agent", origin.user_agent.is_some());
            add("origin.device", origin.device.is_some());
            add("origin.session", origin.session.is_some());
        }
        let of_principals = call
            .subject
            .iter()
            .map(|it| ("subject", principal(it)))
            .chain(call.actors.iter().map(|it| ("actors", principal(it))));
        let of_entities = [("action", &call.action), ("resource", &call.resource)];
        let of_entities = of_entities.into_iter().filter_map(|(place, entity)| {
            let entity = entity.as_ref()?;
            Some((place, (entity.id.is_some(), entity.attributes.as_slice(), false)))
        });
        for (place, (id, attributes, held)) in of_principals.chain(of_entities) {
            add(&format!("{place}.id"), id);
            add(&format!("{place}.entitlements"), held);
            for attribute in attributes {
                add(&format!("{place}.attributes.{}", &*attribute.name), true);
            }
        }
        all
    }

    #[test]
    fn no_request_leads_to_an_input_that_its_kind_never_sends() {
        let (mut calls, mut kinds) = (0, std::collections::BTreeSet::new());
        for (kind, route, body, settings) in requests() {
            let heard = crate::tests::post(kind, route, &body.to_string(), &settings);
            let questions: Vec<HookRequest> = match heard {
                Ok(Parsed::Single(incoming) | Parsed::Search(incoming, _)) => vec![incoming],
                Ok(Parsed::Batch(batch)) => batch.items.into_iter().flatten().collect(),
                Ok(Parsed::Immediate(_)) | Err(_) => continue,
            };
            for incoming in questions {
                let inputs = inputs(&incoming.call);
                let never = kind.never_sends(&settings, inputs.iter().map(String::as_str));
                assert!(never.is_empty(), "{}: {never:?}", kind.name());
                calls += 1;
                kinds.insert(kind);
            }
        }
        assert_eq!(kinds.len(), HookKind::ALL.len(), "{kinds:?}");
        assert!(calls > 25, "{calls}");
    }

    #[test]
    fn every_required_member_can_be_sent() {
        // Of batches and queries a call's payload is a part.
        let parts =
            [HookKind::OktaEvent, HookKind::EntraSignInLog, HookKind::PingPdp, HookKind::Authzen];
        for kind in HookKind::ALL.into_iter().filter(|kind| !parts.contains(kind)) {
            for member in kind.required().iter().filter(|member| !member.contains(' ')) {
                let pointer = format!("/{}", member.replace('.', "/"));
                let path = format!("{}:{pointer}", kind.name());
                // `@odata.type` is one name.
                let split = member.contains('@');
                let never = kind.never_sends(&HookSettings::default(), [path.as_str()]);
                assert!(split || never.is_empty(), "{path}");
            }
        }
    }

    #[test]
    fn what_a_kind_never_sends_is_named() {
        let plain = HookSettings::default();
        let token = HookKind::OktaToken;
        let paths = [
            "subject.attributes.anything",
            "subject.attributes.*",
            "subject.entitlements",
            "actors.attributes.*",
            "origin.ip",
            "origin.device",
            "purpose",
            "okta.token:/data/context/user/profile/x",
            "okta.token:/data/risk",
            "okta.saml:/anything",
            "okta.token:",
        ];
        let never = token.never_sends(&plain, paths);
        assert_eq!(never, ["origin.device", "purpose", "okta.token:/data/risk"]);
        // An event has whatever its type has.
        let paths = ["okta.event:/actor/id", "okta.event:/anything"];
        assert!(HookKind::OktaEvent.never_sends(&plain, paths).is_empty());
        // Entitlements are where the kind or the operator says.
        let held = HookSettings { entitlements: vec!["/x".to_owned()], ..HookSettings::default() };
        for (kind, settings, expected) in [
            (HookKind::OktaSaml, &plain, 0),
            (HookKind::EntraOtpSend, &plain, 1),
            (HookKind::EntraOtpSend, &held, 0),
            (HookKind::OktaEvent, &held, 1),
            (HookKind::PingSideband, &held, 1),
        ] {
            assert_eq!(kind.never_sends(settings, [HELD]).len(), expected, "{}", kind.name());
        }
        let subject =
            HookSettings { subject: Some("/attributes/User".to_owned()), ..plain.clone() };
        assert_eq!(HookKind::PingPdp.never_sends(&plain, ["subject.id"]), ["subject.id"]);
        assert!(HookKind::PingPdp.never_sends(&subject, ["subject.id"]).is_empty());
        assert_eq!(HookKind::Generic.never_sends(&plain, ["subject.id", HELD]).len(), 2);
    }
}
