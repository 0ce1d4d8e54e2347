//! A view of a call in the contract's words, borrowed: nothing that a plugin reads is copied on the host's
//! side.
//!
//! Invariant: says exactly what the view says. Its lists live on this function's stack while the call runs.

use portcullis_model as model;

use crate::bindings::exports::portcullis::policy::search::Page;
use crate::bindings::portcullis::policy::types::{
    AttributeParam, Call, Cap, ChangeParam, Credential, EditParam, EntityParam, GrantKind,
    GrantParam, Lifetime, Origin, PlaceParam, Principal, PrincipalKind, StatementParam, Target,
};

/// Runs `ask` with the view as the plugin gets it.
pub(crate) fn with_call<R>(view: &model::View<'_>, ask: impl FnOnce(Call<'_>) -> R) -> R {
    let subject = view.subject.as_ref().map(PrincipalLists::of);
    let actor_lists: Vec<_> = view.actors.iter().map(PrincipalLists::of).collect();
    let actors: Vec<_> = view
        .actors
        .iter()
        .zip(&actor_lists)
        .map(|(actor, lists)| principal(actor, lists))
        .collect();
    let action = view.action.as_ref().map(|action| attributes(&action.attributes));
    let resource = view.resource.as_ref().map(|resource| attributes(&resource.attributes));
    let requested: Vec<_> = view.requested.iter().map(grant).collect();
    let lifetimes: Vec<_> = view.lifetimes.iter().map(lifetime).collect();
    let change_lists: Vec<_> = view.proposed.iter().map(change_list).collect();
    let proposed: Vec<_> =
        view.proposed.iter().zip(&change_lists).map(|(item, list)| change(item, list)).collect();
    ask(Call {
        id: view.id,
        correlation: view.correlation,
        tenant: view.tenant,
        hook: view.hook,
        phase: view.phase,
        received: view.received.0,
        seed: view.seed,
        subject: view
            .subject
            .as_ref()
            .zip(subject.as_ref())
            .map(|(subject, lists)| principal(subject, lists)),
        actors: &actors,
        action: view
            .action
            .as_ref()
            .zip(action.as_deref())
            .map(|(action, attributes)| entity(action, attributes)),
        resource: view
            .resource
            .as_ref()
            .zip(resource.as_deref())
            .map(|(resource, list)| entity(resource, list)),
        requested: &requested,
        lifetimes: &lifetimes,
        origin: view.origin.as_ref().map(origin),
        purpose: view.purpose,
        proposed: &proposed,
        payload: &view.payload,
    })
}

/// Which part of a search's results is asked for.
pub(crate) fn page<'a>(page: &model::Page<'a>) -> Page<'a> {
    Page { limit: page.limit, after: page.after }
}

/// The lists of one principal, which the contract's record borrows.
struct PrincipalLists<'a> {
    attributes: Vec<AttributeParam<'a>>,
    entitlements: Vec<&'a str>,
}

impl<'a> PrincipalLists<'a> {
    fn of(principal: &'a model::PrincipalView<'a>) -> Self {
        Self {
            attributes: attributes(&principal.attributes),
            entitlements: strings(principal.entitlements),
        }
    }
}

fn principal<'a>(
    principal: &model::PrincipalView<'a>,
    lists: &'a PrincipalLists<'a>,
) -> Principal<'a> {
    Principal {
        kind: match principal.kind {
            model::PrincipalKind::Person => PrincipalKind::Person,
            model::PrincipalKind::Service => PrincipalKind::Service,
            model::PrincipalKind::Agent => PrincipalKind::Agent,
            model::PrincipalKind::Device => PrincipalKind::Device,
            model::PrincipalKind::Other => PrincipalKind::Other,
        },
        type_name: principal.type_name,
        id: principal.id,
        attributes: &lists.attributes,
        entitlements: &lists.entitlements,
    }
}

fn entity<'a>(
    entity: &model::EntityView<'a>,
    attributes: &'a [AttributeParam<'a>],
) -> EntityParam<'a> {
    EntityParam { type_name: entity.type_name, id: entity.id, attributes }
}

fn attributes<'a>(attributes: &[&'a model::Attribute]) -> Vec<AttributeParam<'a>> {
    attributes
        .iter()
        .map(|attribute| AttributeParam { name: &attribute.name, value: &attribute.value })
        .collect()
}

fn strings(texts: &[impl AsRef<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

fn grant(grant: &model::Grant) -> GrantParam<'_> {
    GrantParam {
        kind: match grant.kind {
            model::GrantKind::Entitlement => GrantKind::Entitlement,
            model::GrantKind::Group => GrantKind::Group,
            model::GrantKind::Role => GrantKind::Role,
            model::GrantKind::Scope => GrantKind::Scope,
            model::GrantKind::App => GrantKind::App,
            model::GrantKind::Claim => GrantKind::Claim,
        },
        id: &grant.id,
    }
}

fn lifetime(lifetime: &model::Lifetime) -> Lifetime {
    Lifetime {
        target: target(lifetime.target),
        seconds: lifetime.seconds,
        least: lifetime.least,
        most: lifetime.most,
    }
}

fn origin<'a>(origin: &model::OriginView<'a>) -> Origin<'a> {
    Origin {
        ip: origin.ip,
        country: origin.country,
        asn: origin.asn,
        user_agent: origin.user_agent,
        device: origin.device,
        session: origin.session,
    }
}

fn target(target: model::Target) -> Target {
    match target {
        model::Target::IdToken => Target::IdToken,
        model::Target::AccessToken => Target::AccessToken,
        model::Target::Assertion => Target::Assertion,
        model::Target::User => Target::User,
        model::Target::AppUser => Target::AppUser,
        model::Target::Request => Target::Request,
        model::Target::Response => Target::Response,
    }
}

/// The list of strings inside a change, where it has one.
fn change_list(change: &model::Change) -> Vec<&str> {
    match change {
        model::Change::RequireApprovers(list) | model::Change::Waive(list) => strings(list),
        _ => Vec::new(),
    }
}

fn change<'a>(change: &'a model::Change, list: &'a [&'a str]) -> ChangeParam<'a> {
    match change {
        model::Change::Set { target: at, path, value } => {
            ChangeParam::Set(EditParam { target: target(*at), path, value })
        }
        model::Change::Remove { target: at, path } => {
            ChangeParam::Remove(PlaceParam { target: target(*at), path })
        }
        model::Change::CapLifetime { target: at, seconds } => {
            ChangeParam::CapLifetime(Cap { target: target(*at), seconds: *seconds })
        }
        model::Change::AddGrant(added) => ChangeParam::AddGrant(grant(added)),
        model::Change::DropGrant(dropped) => ChangeParam::DropGrant(grant(dropped)),
        model::Change::LinkUser(id) => ChangeParam::LinkUser(id),
        model::Change::CreateUser => ChangeParam::CreateUser,
        model::Change::Credential(found) => ChangeParam::Credential(match found {
            model::Credential::Verified => Credential::Verified,
            model::Credential::Unverified => Credential::Unverified,
            model::Credential::Migrate => Credential::Migrate,
            model::Credential::Update => Credential::Update,
            model::Credential::Retry => Credential::Retry,
            model::Credential::Block => Credential::Block,
        }),
        model::Change::AutoApprove => ChangeParam::AutoApprove,
        model::Change::RequireApprovers(_) => ChangeParam::RequireApprovers(list),
        model::Change::Statement(statement) => ChangeParam::Statement(StatementParam {
            name: &statement.name,
            code: &statement.code,
            payload: &statement.payload,
            obligatory: statement.obligatory,
        }),
        model::Change::Waive(_) => ChangeParam::Waive(list),
    }
}
