//! Entra, as its pages describe it: what it makes of an answer. Written from the contract, not from the adapters, and stricter than
//! Entra where the pages leave something open.

use serde_json::Value;

use crate::{Answer, HookKind};

/// What the platform does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Goes on, by this action.
    GoesOn(String),
    /// Stops, and says so in its own way or in that action's.
    Stops(String),
    /// A defect: it was meant to be an answer, and is none that the contract knows.
    Chokes(String),
}

impl Does {
    pub(super) fn stops(&self) -> bool {
        matches!(self, Self::Stops(_))
    }
}

/// What the platform does with an answer to a request; `resume` is the body of the resume call, where one was made.
pub(super) fn does(
    kind: HookKind,
    request: &Value,
    answer: &Answer,
    resume: Option<&Value>,
) -> Does {
    match kind {
        HookKind::EntraPim => pim(answer),
        HookKind::EntraEntitlement => entitlement(request, answer, resume),
        HookKind::EntraLifecycle => lifecycle(answer, resume),
        _ => event(kind, request, answer),
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn event(kind: HookKind, request: &Value, answer: &Answer) -> Does {
    if answer.status != 200 {
        let errors = json(answer)["errors"]
            .as_array()
            .is_some_and(|errors| errors.iter().all(Value::is_string));
        return if errors {
            Does::Stops(answer.status.to_string())
        } else {
            Does::Chokes("errors".into())
        };
    }
    let body = json(answer);
    let data = &body["data"];
    let (response, prefix): (&str, &str) = match kind {
        HookKind::EntraTokenIssuanceStart => {
            ("onTokenIssuanceStartResponseData", "tokenIssuanceStart")
        }
        HookKind::EntraAttributeCollectionStart => {
            ("onAttributeCollectionStartResponseData", "attributeCollectionStart")
        }
        HookKind::EntraAttributeCollectionSubmit => {
            ("onAttributeCollectionSubmitResponseData", "attributeCollectionSubmit")
        }
        HookKind::EntraOtpSend => ("OnOtpSendResponseData", "OtpSend"),
        HookKind::EntraPasswordSubmit => ("onPasswordSubmitResponseData", "passwordSubmit"),
        HookKind::EntraVerifiedId => {
            ("onVerifiedIdClaimValidationResponseData", "verifiedIdClaimValidation")
        }
        _ => return Does::Chokes("no event".into()),
    };
    if data["@odata.type"] != format!("microsoft.graph.{response}") {
        return Does::Chokes("1003008".into());
    }
    let [action] = data["actions"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Does::Chokes("1003010".into());
    };
    let name = action["@odata.type"].as_str().unwrap_or_default();
    let Some(name) = name.strip_prefix(&format!("microsoft.graph.{prefix}.")) else {
        return Does::Chokes("1003012".into());
    };
    let text = |member: &str| action[member].as_str().is_some_and(|text| !text.is_empty());
    let form = &request["data"]["userSignUpInfo"]["attributes"];
    let fine = match (kind, name) {
        (HookKind::EntraTokenIssuanceStart, "provideClaimsForToken") => claims(&action["claims"]),
        (HookKind::EntraAttributeCollectionStart, "continueWithDefaultBehavior")
        | (HookKind::EntraAttributeCollectionSubmit, "continueWithDefaultBehavior")
        | (HookKind::EntraOtpSend, "continueWithDefaultBehavior") => true,
        (HookKind::EntraAttributeCollectionStart, "setPrefillValues") => {
            values(&action["inputs"], form, false)
        }
        (HookKind::EntraAttributeCollectionSubmit, "modifyAttributeValues") => {
            values(&action["attributes"], form, true)
        }
        (HookKind::EntraAttributeCollectionSubmit, "showValidationError") => {
            let errors = action["attributeErrors"].as_object();
            text("message")
                && errors.is_some_and(|errors| {
                    !errors.is_empty()
                        && errors
                            .iter()
                            .all(|(name, error)| form.get(name).is_some() && error.is_string())
                })
        }
        (
            HookKind::EntraAttributeCollectionStart | HookKind::EntraAttributeCollectionSubmit,
            "showBlockPage",
        ) => text("title") && text("message"),
        (
            HookKind::EntraPasswordSubmit,
            "MigratePassword" | "UpdatePassword" | "Retry" | "Block",
        ) => data["nonce"].as_str() == Some(NONCE),
        (HookKind::EntraVerifiedId, "pass") => true,
        (HookKind::EntraVerifiedId, "failed") => {
            action["failedClaims"].as_array().is_some_and(|claims| {
                claims.iter().all(|claim| {
                    claim.as_str().is_some_and(|claim| {
                        request["data"]["verifiedIdClaimsContext"]["claims"].get(claim).is_some()
                    })
                })
            })
        }
        _ => false,
    };
    match name {
        _ if !fine => Does::Chokes(name.to_owned()),
        "showBlockPage" | "showValidationError" | "Retry" | "Block" | "failed" => {
            Does::Stops(name.to_owned())
        }
        _ => Does::GoesOn(name.to_owned()),
    }
}

/// Texts or lists of texts, named, together no longer than 3 KB.
fn claims(claims: &Value) -> bool {
    let Some(claims) = claims.as_object() else { return false };
    let mut bytes = 0;
    for (name, value) in claims {
        bytes += name.len();
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(texts) => {
                for text in texts {
                    let Some(text) = text.as_str() else { return false };
                    bytes += text.len();
                }
            }
            _ => return false,
        }
        if name.is_empty() {
            return false;
        }
    }
    bytes <= 3_000
}

/// Values of the type that the attribute has in the request.
fn values(values: &Value, form: &Value, all_known: bool) -> bool {
    let Some(values) = values.as_object() else { return false };
    !values.is_empty()
        && values.iter().all(|(name, value)| {
            let Some(asked) = form.get(name) else { return !all_known && !value.is_null() };
            match &asked["value"] {
                Value::String(_) => value.is_string(),
                Value::Number(_) => value.is_i64(),
                Value::Bool(_) => value.is_boolean(),
                _ => false,
            }
        })
}

/// Anything but its own three words may be taken for going on.
fn pim(answer: &Answer) -> Does {
    let body = json(answer);
    let reasons = body["reason"].as_array().is_some_and(|reasons| {
        !reasons.is_empty()
            && reasons.iter().all(|reason| reason.as_str().is_some_and(|reason| !reason.is_empty()))
    });
    match body["evaluationOutcome"].as_str() {
        _ if answer.status != 200 => Does::GoesOn(answer.status.to_string()),
        Some(word @ ("Approved" | "AutoApproved")) if reasons => Does::GoesOn(word.to_owned()),
        Some("Denied") if reasons => Does::Stops("Denied".into()),
        _ => Does::Chokes("evaluation".into()),
    }
}

fn entitlement(request: &Value, answer: &Answer, resume: Option<&Value>) -> Does {
    if !matches!(answer.status, 200 | 202) {
        return Does::Stops(answer.status.to_string());
    }
    let Some(resume) = resume else { return Does::Stops("waits".into()) };
    let data = &resume["data"];
    let either = |name: &str, camel: &str| {
        request.get(name).or_else(|| request.get(camel)).cloned().unwrap_or_default()
    };
    let stage = either("Stage", "stage");
    let same = |value: &Value| {
        value.as_str().is_some_and(|it| it.eq_ignore_ascii_case(stage.as_str().unwrap_or_default()))
    };
    let kind = resume["type"].as_str().unwrap_or_default();
    let fine = kind.starts_with("microsoft.graph.accessPackageCustomExtensionStage.")
        && same(&data["stage"])
        && data["customExtensionStageInstanceId"]
            == either("CustomExtensionStageInstanceId", "customExtensionStageInstanceId")
        && data["customExtensionStageInstanceDetail"].is_string()
        && resume["source"].is_string();
    match (data["@odata.type"].as_str(), data.get("state").and_then(Value::as_str)) {
        _ if !fine => Does::Chokes("callback".into()),
        (Some("microsoft.graph.accessPackageAssignmentRequestCallbackData"), None) => {
            Does::GoesOn("continues".into())
        }
        (
            Some("microsoft.graph.accessPackageAssignmentRequestCallbackData"),
            Some("Denied" | "Canceled"),
        ) if data["stage"] == "assignmentRequestCreated" => Does::Stops("Denied".into()),
        (Some("microsoft.graph.assignmentRequestApprovalStageCallbackData"), None) => {
            let people = data["approvalStage"]["primaryApprovers"].as_array();
            if people.is_some_and(|people| !people.is_empty()) {
                Does::GoesOn("waits for approvers".into())
            } else {
                Does::Chokes("approvalStage".into())
            }
        }
        _ => Does::Chokes("callback".into()),
    }
}

fn lifecycle(answer: &Answer, resume: Option<&Value>) -> Does {
    if !matches!(answer.status, 200 | 202) {
        return Does::Stops(answer.status.to_string());
    }
    let Some(resume) = resume else { return Does::Stops("waits".into()) };
    match resume["data"]["operationStatus"].as_str() {
        _ if resume["type"] != "lifecycleEvent" || !resume["source"].is_string() => {
            Does::Chokes("callback".into())
        }
        Some("Completed") => Does::GoesOn("Completed".into()),
        Some("Failed") => Does::Stops("Failed".into()),
        _ => Does::Chokes("operationStatus".into()),
    }
}

/// The nonce of every token in `tests/jwe/vectors.json`.
pub(super) const NONCE: &str = "n-0S6_WzA2Mj";
