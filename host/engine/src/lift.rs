//! What a plugin answers in the model's words: a decision, or a page of a search.
//!
//! Invariant: takes over what the plugin said, unchanged and unchecked; whether it may say so is for
//! `model::Emits` and `model::Found`.

use portcullis_model as model;

use crate::bindings::exports::portcullis::policy::search::Found;
use crate::bindings::portcullis::policy::types::{
    AttributeResult, ChangeResult, Credential, Decision, Effect, EntityResult, Finding, GrantKind,
    GrantResult, Severity, Target,
};

/// The decision, moved.
pub(crate) fn decision(decision: Decision) -> model::Decision {
    model::Decision {
        findings: decision.findings.into_iter().map(finding).collect(),
        changes: decision.changes.into_iter().map(change).collect(),
        risk: decision.risk,
    }
}

/// A page of a search, moved.
pub(crate) fn found(found: Found) -> model::SearchPage {
    model::SearchPage { results: found.results.into_iter().map(entity).collect(), next: found.next }
}

fn entity(entity: EntityResult) -> model::Entity {
    model::Entity {
        type_name: entity.type_name,
        id: entity.id,
        attributes: entity.attributes.into_iter().map(attribute).collect(),
    }
}

fn finding(finding: Finding) -> model::Finding {
    model::Finding {
        code: finding.code,
        effect: match finding.effect {
            Effect::Abstain => model::Effect::Abstain,
            Effect::Allow => model::Effect::Allow,
            Effect::StepUp => model::Effect::StepUp,
            Effect::Review => model::Effect::Review,
            Effect::Deny => model::Effect::Deny,
        },
        severity: match finding.severity {
            Severity::Info => model::Severity::Info,
            Severity::Low => model::Severity::Low,
            Severity::Medium => model::Severity::Medium,
            Severity::High => model::Severity::High,
            Severity::Critical => model::Severity::Critical,
        },
        arguments: finding.arguments.into_iter().map(attribute).collect(),
        field: finding.field,
    }
}

fn attribute(attribute: AttributeResult) -> model::Attribute {
    model::Attribute { name: attribute.name.into(), value: attribute.value.into() }
}

fn change(change: ChangeResult) -> model::Change {
    match change {
        ChangeResult::Set(edit) => {
            model::Change::Set { target: target(edit.target), path: edit.path, value: edit.value }
        }
        ChangeResult::Remove(place) => {
            model::Change::Remove { target: target(place.target), path: place.path }
        }
        ChangeResult::CapLifetime(cap) => {
            model::Change::CapLifetime { target: target(cap.target), seconds: cap.seconds }
        }
        ChangeResult::AddGrant(added) => model::Change::AddGrant(grant(added)),
        ChangeResult::DropGrant(dropped) => model::Change::DropGrant(grant(dropped)),
        ChangeResult::LinkUser(id) => model::Change::LinkUser(id),
        ChangeResult::CreateUser => model::Change::CreateUser,
        ChangeResult::Credential(found) => model::Change::Credential(match found {
            Credential::Verified => model::Credential::Verified,
            Credential::Unverified => model::Credential::Unverified,
            Credential::Migrate => model::Credential::Migrate,
            Credential::Update => model::Credential::Update,
            Credential::Retry => model::Credential::Retry,
            Credential::Block => model::Credential::Block,
        }),
        ChangeResult::AutoApprove => model::Change::AutoApprove,
        ChangeResult::RequireApprovers(people) => model::Change::RequireApprovers(people),
        ChangeResult::Statement(statement) => model::Change::Statement(model::Statement {
            name: statement.name,
            code: statement.code,
            payload: statement.payload,
            obligatory: statement.obligatory,
        }),
        ChangeResult::Waive(codes) => model::Change::Waive(codes),
    }
}

fn grant(grant: GrantResult) -> model::Grant {
    model::Grant {
        kind: match grant.kind {
            GrantKind::Entitlement => model::GrantKind::Entitlement,
            GrantKind::Group => model::GrantKind::Group,
            GrantKind::Role => model::GrantKind::Role,
            GrantKind::Scope => model::GrantKind::Scope,
            GrantKind::App => model::GrantKind::App,
            GrantKind::Claim => model::GrantKind::Claim,
        },
        id: grant.id,
    }
}

fn target(target: Target) -> model::Target {
    match target {
        Target::IdToken => model::Target::IdToken,
        Target::AccessToken => model::Target::AccessToken,
        Target::Assertion => model::Target::Assertion,
        Target::User => model::Target::User,
        Target::AppUser => model::Target::AppUser,
        Target::Request => model::Target::Request,
        Target::Response => model::Target::Response,
    }
}
