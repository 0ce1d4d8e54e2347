//! Microsoft Entra from outside: a harmless request of each kind, how it reads answers, and what it is known to send.
//!
//! Source: Microsoft's pages on custom authentication extensions and on Privileged Identity Management. No sample where a call would do
//! something (a code is sent, a workflow waits for a call) or needs a key of the platform (a password is encrypted).

use portcullis_model::json::Value;

use super::{Known, PlatformReaction, object};
use crate::kind::HookKind;

/// A harmless request with this correlation id, which is JSON text.
pub(super) fn sample(kind: HookKind, id: &str) -> Option<String> {
    let (name, data) = match kind {
        HookKind::EntraTokenIssuanceStart => ("tokenIssuanceStart", TokenIssuance),
        HookKind::EntraAttributeCollectionStart => ("attributeCollectionStart", SignUp),
        HookKind::EntraAttributeCollectionSubmit => ("attributeCollectionSubmit", SignUp),
        HookKind::EntraPim => {
            return Some(format!(
                r##"{{"@odata.type":"#microsoft.graph.unifiedRoleAssignmentScheduleRequest","id":{id},"status":"PendingProvisioning","action":"selfActivate","principalId":"00000000-0000-0000-0000-000000000000","roleDefinitionId":"00000000-0000-0000-0000-000000000000","directoryScopeId":"/","justification":"portcullis hook doctor","scheduleInfo":{{"expiration":{{"type":"afterDuration","duration":"PT5M"}}}}}}"##
            ));
        }
        HookKind::EntraSignInLog => {
            // No outcome: a plugin that learns from sign-ins learns nothing from this row.
            return Some(format!(
                r#"{{"value":[{{"id":{id},"userPrincipalName":"nobody@portcullis.invalid"}}]}}"#
            ));
        }
        _ => return None,
    };
    use Sample::{SignUp, TokenIssuance};
    let further = match data {
        TokenIssuance => {
            r#""user":{"id":"00000000-0000-0000-0000-000000000000","userPrincipalName":"nobody@portcullis.invalid","userType":"Member"}"#
        }
        SignUp => r#""protocol":"OAUTH2.0""#,
    };
    let sign_up = match data {
        TokenIssuance => "",
        SignUp => {
            r#","userSignUpInfo":{"attributes":{},"identities":[{"signInType":"email","issuer":"portcullis.invalid","issuerAssignedId":"nobody@portcullis.invalid"}]}"#
        }
    };
    let mut capital = name.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(format!(
        r#"{{"type":"microsoft.graph.authenticationEvent.{name}","source":"portcullis hook doctor","data":{{"@odata.type":"microsoft.graph.on{capital}CalloutData","authenticationContext":{{"correlationId":{id},"clientServicePrincipal":{{"appId":"00000000-0000-0000-0000-000000000000","displayName":"portcullis hook doctor"}},{further}}}{sign_up}}}}}"#
    ))
}

#[derive(Clone, Copy)]
enum Sample {
    TokenIssuance,
    SignUp,
}

/// What Entra makes of an answer.
pub(super) fn taken(kind: HookKind, status: u16, body: &[u8]) -> PlatformReaction {
    if kind == HookKind::EntraSignInLog {
        // The sender, which is no part of Entra: an answer acknowledges.
        return if (200..300).contains(&status) {
            PlatformReaction::Proceeds
        } else {
            PlatformReaction::Rejects("its status is not 2xx")
        };
    }
    if matches!(kind, HookKind::EntraEntitlement | HookKind::EntraLifecycle) {
        // What it decides comes with the call that follows.
        return if (200..300).contains(&status) {
            PlatformReaction::Proceeds
        } else {
            PlatformReaction::Blocks
        };
    }
    let document = match object(status, body) {
        Ok(document) => document,
        Err(taken) => return taken,
    };
    let root = document.root();
    if kind == HookKind::EntraPim {
        return match root.get("evaluationOutcome").and_then(Value::as_str).as_deref() {
            Some("Approved" | "AutoApproved") => PlatformReaction::Proceeds,
            Some("Denied") => PlatformReaction::Blocks,
            _ => PlatformReaction::Rejects("`evaluationOutcome` is none of its three words"),
        };
    }
    let data = root.get("data");
    let Some(data) = data.filter(|data| data.get("@odata.type").and_then(Value::as_str).is_some())
    else {
        return PlatformReaction::Rejects("`data` has no `@odata.type`");
    };
    let mut actions = data.get("actions").into_iter().flat_map(Value::elements);
    let (Some(action), None) = (actions.next(), actions.next()) else {
        return PlatformReaction::Rejects("`data.actions` has not exactly one action");
    };
    let name = action.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    match name.rsplit('.').next() {
        Some("showBlockPage" | "showValidationError" | "Block" | "Retry" | "failed") => {
            PlatformReaction::Blocks
        }
        Some(name) if !name.is_empty() => PlatformReaction::Proceeds,
        _ => PlatformReaction::Rejects("the action has no `@odata.type`"),
    }
}

/// What Microsoft's pages and examples show of a request.
pub(super) fn known(kind: HookKind) -> Known {
    match kind {
        HookKind::EntraTokenIssuanceStart => &[EVENT],
        HookKind::EntraAttributeCollectionStart | HookKind::EntraAttributeCollectionSubmit => {
            &[EVENT, SIGN_UP]
        }
        HookKind::EntraOtpSend => &[EVENT, OTP],
        HookKind::EntraPasswordSubmit => &[EVENT, SIGN_UP, OTP, PASSWORD],
        HookKind::EntraVerifiedId => &[EVENT, VERIFIED],
        HookKind::EntraPim => &[PIM],
        HookKind::EntraEntitlement => &[ENTITLEMENT],
        HookKind::EntraLifecycle => &[LIFECYCLE],
        _ => &[],
    }
}

const EVENT: &[&str] = &[
    "type",
    "source",
    "data.@odata.type",
    "data.tenantId",
    "data.authenticationEventListenerId",
    "data.customAuthenticationExtensionId",
    "data.authenticationContext.correlationId",
    "data.authenticationContext.protocol",
    "data.authenticationContext.requestType",
    "data.authenticationContext.client.ip",
    "data.authenticationContext.client.clientIp",
    "data.authenticationContext.client.locale",
    "data.authenticationContext.client.market",
    "data.authenticationContext.clientServicePrincipal.id",
    "data.authenticationContext.clientServicePrincipal.appId",
    "data.authenticationContext.clientServicePrincipal.appDisplayName",
    "data.authenticationContext.clientServicePrincipal.displayName",
    "data.authenticationContext.resourceServicePrincipal.id",
    "data.authenticationContext.resourceServicePrincipal.appId",
    "data.authenticationContext.resourceServicePrincipal.appDisplayName",
    "data.authenticationContext.resourceServicePrincipal.displayName",
    "data.authenticationContext.user.id",
    "data.authenticationContext.user.companyName",
    "data.authenticationContext.user.createdDateTime",
    "data.authenticationContext.user.displayName",
    "data.authenticationContext.user.givenName",
    "data.authenticationContext.user.mail",
    "data.authenticationContext.user.onPremisesSamAccountName",
    "data.authenticationContext.user.onPremisesSecurityIdentifier",
    "data.authenticationContext.user.onPremisesUserPrincipalName",
    "data.authenticationContext.user.preferredDataLocation",
    "data.authenticationContext.user.preferredLanguage",
    "data.authenticationContext.user.surname",
    "data.authenticationContext.user.userPrincipalName",
    "data.authenticationContext.user.userType",
];
const SIGN_UP: &[&str] = &[
    "data.userSignUpInfo.attributes",
    "data.userSignUpInfo.identities.signInType",
    "data.userSignUpInfo.identities.issuer",
    "data.userSignUpInfo.identities.issuerAssignedId",
];
const OTP: &[&str] = &["data.otpContext.identifier", "data.otpContext.oneTimeCode"];
const PASSWORD: &[&str] = &["data.encryptedPasswordContext"];
const VERIFIED: &[&str] = &[
    "data.verifiedIdClaimsContext.claims",
    "data.verifiedIdClaimsContext.additionalInfo",
    "data.verifiedIdClaimsContext.identities.signInType",
    "data.verifiedIdClaimsContext.identities.issuer",
    "data.verifiedIdClaimsContext.identities.issuerAssignedId",
];
const PIM: &[&str] = &[
    "@odata.type",
    "id",
    "status",
    "action",
    "principalId",
    "roleDefinitionId",
    "directoryScopeId",
    "appScopeId",
    "accessId",
    "groupId",
    "justification",
    "scheduleInfo.@odata.type",
    "scheduleInfo.startDateTime",
    "scheduleInfo.expiration",
    "ticketInfo.@odata.type",
    "ticketInfo.ticketNumber",
    "ticketInfo.ticketSystem",
    "properties.scope",
    "properties.principalId",
    "properties.principalType",
    "properties.roleDefinitionId",
    "properties.requestType",
    "properties.justification",
    "properties.scheduleInfo",
    "properties.ticketInfo",
];
const ENTITLEMENT: &[&str] = &[
    "accessPackage",
    "accessPackageAssignmentRequestId",
    "accessPackageCatalog",
    "answers",
    "assignment",
    "callbackConfiguration",
    "callbackUriPath",
    "customExtensionStageInstanceId",
    "customExtensionStageInstanceDetail",
    "requestType",
    "requestor",
    "stage",
    "state",
    "status",
    "verifiedCredentialsData",
    "accessPackageId",
    "accessPackageName",
    "accessPackagePolicyName",
    "catalogId",
    "catalogName",
    "connectedOrganizationName",
    "event",
    "grantRequestCreatedDateTime",
    "roles",
    "userEmail",
    "userId",
    "userName",
    "type",
    "source",
    "data",
];
const LIFECYCLE: &[&str] = &[
    "type",
    "source",
    "data.@odata.type",
    "data.callbackUriPath",
    "data.subject",
    "data.task",
    "data.taskProcessingResult",
    "data.taskProcessingresult",
    "data.workflow",
];
