//! A deployment that answers Entra, and what Entra sends.

use std::fs;

use serde_json::Value;

use crate::kinds::with_list;
use crate::{Answer, Binding, Host, Raw, SECRET, TestDeployment, checkout};

/// The hooks of [`entra_deployment`]: name and kind's last word, where the body says what to do,
/// and settings of the kind.
const HOOKS: [(&str, &str, &str); 9] = [
    ("tokens", "token-issuance-start", MARKET),
    ("sign-up", "attribute-collection-start", MARKET),
    ("form", "attribute-collection-submit", MARKET),
    ("codes", "otp-send", MARKET),
    ("passwords", "password-submit", MARKET),
    ("recovery", "verified-id", MARKET),
    ("roles", "pim", r#"["/justification", "/properties/justification"]"#),
    ("packages", "entitlement", r#"["/AccessPackage/DisplayName", "/accessPackage/displayName"]"#),
    ("leavers", "lifecycle", r#"["/data/subject/displayName"]"#),
];

const MARKET: &str = r#"["/data/authenticationContext/client/market"]"#;

/// Builds a deployment with a hook of every kind of Entra, each named as in [`entra`]; `interface`
/// is where resume calls go. Each binding is a hook and the settings of `misbehaving` on it.
#[expect(clippy::unwrap_used, reason = "a deployment that cannot be built is a failed test")]
pub fn entra_deployment(interface: &str, bindings: &[(&str, Value)]) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_root(|source| source.replace("[\"okta.*\"]", "[\"okta.*\", \"entra.*\"]"));
    let kinds: Vec<_> = HOOKS.iter().map(|(_, kind, _)| format!("\"entra.{kind}\"")).collect();
    deployment.sign_plugin("misbehaving", |source| {
        with_list(&source, "hooks", &kinds.join(", "))
            .replace(
                "    \"okta.token:drop-grant\",\n",
                "    \"entra.token-issuance-start:set:access-token:/claims/*\",\n    \"entra.attribute-collection-start:set:user:/*\",\n    \
                 \"entra.attribute-collection-submit:set:user:/*\",\n    \"entra.password-submit:credential\",\n    \
                 \"entra.pim:auto-approve\",\n    \"entra.entitlement:auto-approve\",\n    \"entra.entitlement:require-approvers\",\n",
            )
            .replace("\"okta.token:/data/context/protocol/client/id\"", "\"entra.password-submit:/data/encryptedPasswordContext/user-password\"")
    });
    deployment.write_secret("secrets/entra", SECRET);
    deployment.write_secret("secrets/graph", "a client secret of the deployment\n");
    let key = fs::read_to_string(checkout().join("host/hooks/tests/jwe/key.pem")).unwrap();
    deployment.write_secret("keys/passwords.pem", &key);
    let mut configuration = deployment.read("portcullis.toml");
    configuration.push_str(&format!(
        "\n[resume.graph]\nbase_url = \"{interface}\"\ntoken_url = \"{interface}/token\"\nclient_id = \"portcullis\"\n\
         client_secret_file = \"secrets/graph\"\n"
    ));
    for (name, kind, entitlements) in HOOKS {
        configuration.push_str(&format!(
            "\n[[hook]]\nname = \"{name}\"\nkind = \"entra.{kind}\"\npath = \"/entra/{name}\"\n\
             caller = {{ secret_file = \"secrets/entra\" }}\nentitlements = {entitlements}\n"
        ));
        match name {
            "passwords" => {
                configuration.push_str("decryption = { key_files = [\"keys/passwords.pem\"] }\n")
            }
            "packages" | "leavers" => configuration.push_str("resume = \"graph\"\n"),
            _ => {}
        }
    }
    deployment.write("portcullis.toml", configuration);
    let say = |hook: &str| match hook {
        "roles" => vec![],
        _ => vec![("review", "deny"), ("step-up", "deny")],
    };
    let bindings: Vec<_> = bindings
        .iter()
        .map(|(hook, misbehaviour)| {
            Binding::new(hook, "misbehaving", misbehaviour.clone()).fallback(&say(hook))
        })
        .collect();
    deployment.release(&bindings);
    deployment
}

/// Returns what Entra sends: a payload of the hooks' own tests, by its name, for the misbehaviour
/// of that name.
#[expect(clippy::unwrap_used, reason = "a payload that is not there is a failed test")]
pub fn entra(payload: &str, misbehaviour: &str) -> Value {
    let read =
        |path: &str| fs::read_to_string(checkout().join("host/hooks/tests").join(path)).unwrap();
    let vectors: Value = serde_json::from_str(&read("jwe/vectors.json")).unwrap();
    let text = read(&format!("payloads/entra/{payload}.json"));
    let text = text.replace("{jwe}", vectors["tokens"]["good"].as_str().unwrap());
    let mut body: Value = serde_json::from_str(&text).unwrap();
    for place in [
        "/data/authenticationContext/client/market",
        "/justification",
        "/properties/justification",
        "/AccessPackage/DisplayName",
        "/accessPackage/displayName",
        "/data/subject/displayName",
    ] {
        if let Some(place) = body.pointer_mut(place) {
            *place = misbehaviour.into();
        }
    }
    body
}

#[expect(clippy::unwrap_used, reason = "a call that is not answered is a failed test")]
impl Host {
    /// Posts to a hook of [`entra_deployment`] with the right secret.
    pub fn entra(&self, hook: &str, body: &Value) -> Answer {
        self.client()
            .send(&Raw::post(&format!("/entra/{hook}"), SECRET, body.to_string().as_bytes()))
            .unwrap()
    }
}
