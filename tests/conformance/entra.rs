//! Entra: what it gets for what it sends, over sockets.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use portcullis_tests::{
    Answer, DeliveryService, Raw, Said, TestDeployment, checkout, entra, entra_deployment,
    hide_references,
};
use serde_json::{Value, json};

/// Misbehaviours by the word that a body brings; allows where it brings another.
fn misbehaviours() -> Value {
    json!({"do": "by-entitlement", "misbehaviours": {
        "deny": {"do": "deny", "why": "no training"},
        "trap": {"do": "trap"},
        "claims": {"do": "set", "target": "access-token", "path": "/claims/wards", "value": ["3a", "3b"]},
        "too long": {"do": "set", "target": "access-token", "path": "/claims/wards", "value": "x".repeat(3_000)},
        "values": {"do": "set", "target": "user", "path": "/city", "value": "Trier"},
        "field": {"do": "deny-field", "field": "city"},
        "no field": {"do": "deny-field", "field": "street"},
        "migrate": {"do": "credential", "found": "migrate"},
        "verified": {"do": "credential", "found": "verified"},
        "auto": {"do": "auto-approve"},
        "review": {"do": "all", "misbehaviours": [{"do": "review"}, {"do": "auto-approve"}]},
        "step up": {"do": "step-up"},
        "error": {"do": "error"},
        "reveal": {"do": "reveal"},
    }})
}

fn action(answer: &Answer) -> &str {
    let actions = answer.json["data"]["actions"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(actions.len() <= 1, "one action an answer: {}", answer.json);
    actions.first().and_then(|action| action["@odata.type"].as_str()).unwrap_or_default()
}

#[test]
fn what_entra_gets() {
    let hooks = ["tokens", "sign-up", "form", "codes", "passwords", "recovery", "roles"];
    let deployment =
        entra_deployment("http://127.0.0.1:9", &hooks.map(|hook| (hook, misbehaviours())));
    let host = deployment.serve();
    let ask = |hook: &str, payload: &str, misbehaviour: &str| {
        host.entra(hook, &entra(payload, misbehaviour))
    };

    let tokens = |misbehaviour: &str| ask("tokens", "token-issuance", misbehaviour);
    assert_eq!(tokens("allow").json["data"]["actions"][0]["claims"], json!({}));
    assert_eq!(
        tokens("claims").json["data"]["actions"][0]["claims"],
        json!({"wards": ["3a", "3b"]})
    );
    let denied = tokens("deny");
    assert_eq!(
        (denied.status, hide_references(&denied.json)),
        (403, json!({"errors": ["Abgelehnt: no training. Referenz für den Helpdesk: REFERENCE."]}))
    );
    for misbehaviour in ["trap", "too long"] {
        assert_eq!(tokens(misbehaviour).status, 500, "{misbehaviour}");
    }
    assert_eq!(tokens("step up").status, 403);

    assert!(
        action(&ask("sign-up", "collection-start", "allow"))
            .ends_with(".continueWithDefaultBehavior")
    );
    let prefilled = ask("sign-up", "collection-start", "values");
    assert_eq!(prefilled.json["data"]["actions"][0]["inputs"], json!({"city": "Trier"}));
    for misbehaviour in ["deny", "trap", "field"] {
        assert!(
            action(&ask("sign-up", "collection-start", misbehaviour)).ends_with(".showBlockPage"),
            "{misbehaviour}"
        );
    }
    let changed = ask("form", "collection-submit", "values");
    assert_eq!(changed.json["data"]["actions"][0]["attributes"], json!({"city": "Trier"}));
    let errors = ask("form", "collection-submit", "field");
    assert!(action(&errors).ends_with(".showValidationError"));
    assert_eq!(
        errors.json["data"]["actions"][0]["attributeErrors"],
        json!({"city": "Abgelehnt: because of city."})
    );
    for misbehaviour in ["deny", "trap", "no field"] {
        assert!(
            action(&ask("form", "collection-submit", misbehaviour)).ends_with(".showBlockPage"),
            "{misbehaviour}"
        );
    }

    // No service delivers in this deployment: Microsoft's own provider is to send the code, where
    // the listener says so.
    assert_eq!(ask("codes", "otp", "allow").status, 500);
    assert_eq!(ask("codes", "otp", "deny").status, 403);

    for (misbehaviour, word) in [
        ("allow", "Retry"),
        ("migrate", "MigratePassword"),
        ("deny", "Block"),
        ("trap", "Block"),
        ("verified", "Block"),
    ] {
        let answer = ask("passwords", "password", misbehaviour);
        assert_eq!(
            action(&answer),
            format!("microsoft.graph.passwordSubmit.{word}"),
            "{misbehaviour}"
        );
        assert_eq!((answer.status, &answer.json["data"]["nonce"]), (200, &json!("n-0S6_WzA2Mj")));
    }
    let get = b"GET /entra/passwords HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(host.client().say(get).unwrap().status, 200);

    assert!(action(&ask("recovery", "verified-id", "allow")).ends_with(".pass"));
    for misbehaviour in ["deny", "trap"] {
        let failed = ask("recovery", "verified-id", misbehaviour);
        assert!(action(&failed).ends_with(".failed"));
        let claims = json!(["firstName", "lastName", "dateOfBirth", "documentId"]);
        let sorted = |claims: &Value| {
            let mut claims: Vec<_> = claims
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect();
            claims.sort();
            claims
        };
        assert_eq!(sorted(&failed.json["data"]["actions"][0]["failedClaims"]), sorted(&claims));
    }

    for payload in ["pim-group", "pim-role", "pim-azure"] {
        for (misbehaviour, word) in [
            ("allow", "Approved"),
            ("auto", "AutoApproved"),
            ("review", "Approved"),
            ("step up", "Denied"),
            ("deny", "Denied"),
            ("trap", "Denied"),
        ] {
            let answer = ask("roles", payload, misbehaviour);
            assert_eq!(
                (answer.status, &answer.json["evaluationOutcome"]),
                (200, &json!(word)),
                "{payload}, {misbehaviour}"
            );
            assert!(answer.json["reason"][0].as_str().is_some_and(|reason| !reason.is_empty()));
            let record = answer.json["evaluationId"].as_str().unwrap().rsplit_once('#').unwrap().1;
            assert_eq!(deployment.record(record.parse().unwrap())["hook"]["kind"], "entra.pim");
        }
    }
    host.stop();
    let ran = deployment.verify();
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

#[test]
fn a_code_is_taken_before_entra_hears_so() {
    let service = DeliveryService::start(|said: &Said| match said.body.contains("nobody@") {
        true => Some((503, String::new())),
        false => Some((202, "{}".to_owned())),
    });
    let deployment = entra_deployment("http://127.0.0.1:9", &[("codes", misbehaviours())]);
    deployment.configure(
        "kind = \"entra.otp-send\"",
        "kind = \"entra.otp-send\"\ndelivery = { email = \"mail\" }\nbudget_ms = 1900",
    );
    let text = deployment.read("portcullis.toml");
    let template = r#"json = '{"to": "{to}", "code": "{code}", "by": "{channel}", "locale": "{locale}", "key": "{key}"}'"#;
    deployment.write(
        "portcullis.toml",
        format!("{text}\n[delivery.mail]\nurl = \"{}\"\n{template}\n", service.url("/send")),
    );
    let host = deployment.serve();
    let ask = |to: &str, misbehaviour: &str| {
        let mut body = entra("otp", misbehaviour);
        body["data"]["otpContext"]["identifier"] = to.into();
        host.entra("codes", &body)
    };

    let taken = ask("mary@partner.example", "allow");
    assert_eq!(
        (taken.status, action(&taken)),
        (200, "microsoft.graph.OtpSend.continueWithDefaultBehavior")
    );
    assert_eq!(taken.json["data"]["@odata.type"], "microsoft.graph.OnOtpSendResponseData");
    let sent: Value = serde_json::from_str(&service.heard().pop().unwrap().body).unwrap();
    let told = ["to", "code", "by", "locale"].map(|member| sent[member].as_str().unwrap());
    assert_eq!(told, ["mary@partner.example", "90417352", "email", "de-DE"]);
    assert!(!sent["key"].as_str().unwrap().contains("9041"), "{sent}");
    // Asked again, the platform hears the same, and nobody gets a second message.
    assert_eq!(ask("mary@partner.example", "allow").body, taken.body);
    assert_eq!(service.heard().len(), 1);
    for misbehaviour in ["deny", "trap"] {
        assert_ne!(ask("mary@partner.example", misbehaviour).status, 200, "{misbehaviour}");
    }
    assert_eq!(service.heard().len(), 1, "what is denied is not sent");
    let nobody = ask("nobody@partner.example", "allow");
    assert_eq!((nobody.status, nobody.json["errors"].as_array().map(Vec::len)), (500, Some(1)));
    host.stop();
    let void = deployment.records_of("answer.superseded");
    assert_eq!(void.iter().map(|void| &void["cause"]).collect::<Vec<_>>(), ["message-undelivered"]);
    for secret in ["90417352", "mary@partner.example"] {
        assert!(
            deployment.records().iter().all(|record| !record.to_string().contains(secret)),
            "{secret} in a leaf"
        );
    }
}

#[test]
fn who_is_not_proven_or_says_nothing_is_refused_in_each_kinds_way() {
    let deployment = entra_deployment("http://127.0.0.1:9", &[("tokens", misbehaviours())]);
    deployment.configure("name = \"tokens\"", "name = \"tokens\"\non_failure = \"closed\"");
    let host = deployment.serve();
    let events = [
        ("tokens", "token-issuance"),
        ("passwords", "password"),
        ("codes", "otp"),
        ("recovery", "verified-id"),
        ("form", "collection-submit"),
    ];
    for (hook, payload) in events {
        let path = format!("/entra/{hook}");
        let body = entra(payload, "allow");
        let wrong =
            Raw::post(&path, "a-secret-of-somebody-else-entirely", body.to_string().as_bytes());
        let stranger = host.client().send(&wrong).unwrap();
        assert_eq!(stranger.status, 401, "{hook}");
        if hook != "tokens" {
            continue;
        }
        assert_eq!(stranger.json["errors"].as_array().map(Vec::len), Some(1));
        for member in ["source", "data"] {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(member);
            let answer = host.entra(hook, &without);
            assert_eq!(
                (answer.status, answer.json["errors"].as_array().map(Vec::len)),
                (400, Some(1)),
                "{member}"
            );
        }
        let mut without = body.clone();
        without["data"].as_object_mut().unwrap().remove("@odata.type");
        assert_eq!(host.entra(hook, &without).status, 400);
        let mut other = body.clone();
        other["data"]["tenantId"] = json!("another");
        assert_eq!(host.entra(hook, &other).status, 400);
    }
    host.stop();
}

#[test]
fn entra_asks_again_and_hears_the_same() {
    let deployment = entra_deployment("http://127.0.0.1:9", &[("roles", misbehaviours())]);
    let host = deployment.serve();
    let first = host.entra("roles", &entra("pim-group", "auto"));
    let again = host.entra("roles", &entra("pim-group", "auto"));
    assert_eq!(first.body, again.body);
    // The same id with another body is another question.
    let other = host.entra("roles", &entra("pim-group", "deny"));
    assert_eq!(other.json["evaluationOutcome"], "Denied");
    host.stop();
    assert_eq!(deployment.records_of("hook.duplicate").len(), 1);
}

#[test]
fn a_wrong_set_up_is_named() {
    let deployment = entra_deployment("http://127.0.0.1:9", &[("tokens", misbehaviours())]);
    let good = deployment.read("portcullis.toml");
    for (from, to, says) in [
        ("resume = \"graph\"", "", "needs `resume`"),
        ("resume = \"graph\"", "resume = \"other\"", "the configuration has no [resume.other]"),
        ("decryption = { key_files = [\"keys/passwords.pem\"] }", "", "needs `decryption`"),
        ("keys/passwords.pem", "keys/log.key", "`PRIVATE KEY`"),
        ("base_url = \"http://127.0.0.1:9\"", "base_url = \"http://graph.example\"", "not https"),
        (
            "kind = \"entra.pim\"",
            "resume = \"graph\"\nkind = \"entra.pim\"",
            "does not use `resume`",
        ),
        ("secrets/graph", "secrets/nothing", "client secret"),
    ] {
        assert!(good.contains(from), "{from}");
        deployment.write("portcullis.toml", good.replacen(from, to, 1));
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 64, "{to}: {}{}", ran.out, ran.err);
        assert!(format!("{}{}", ran.out, ran.err).contains(says), "{says}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn a_decryption_key_is_replaced_while_calls_go_on() {
    let deployment = entra_deployment("http://127.0.0.1:9", &[("passwords", misbehaviours())]);
    let host = deployment.serve();
    let read = |name: &str| fs::read_to_string(checkout().join("host/hooks/tests/jwe").join(name));
    let vectors: Value = serde_json::from_str(&read("vectors.json").unwrap()).unwrap();
    let status = |token: &str| {
        let mut body = entra("password", "migrate");
        body["data"]["encryptedPasswordContext"] = vectors["tokens"][token].clone();
        host.entra("passwords", &body).status
    };
    assert_eq!((status("good"), status("of the other key")), (200, 400));
    let both = read("key.pem").unwrap() + &read("other.pem").unwrap();
    deployment.write_secret("keys/passwords.pem", &both);
    host.signal("HUP");
    host.wait_for("hook.decryption-keys-read");
    assert_eq!((status("good"), status("of the other key")), (200, 200));
    deployment.write_secret("keys/passwords.pem", "not a key");
    host.signal("HUP");
    host.wait_for("files.not-taken");
    assert_eq!((status("good"), status("of the other key")), (200, 200));
    host.stop();
}

/// What Entra hands over is nowhere but in the call; and the search finds what is planted.
#[test]
fn passwords_and_codes_are_nowhere() {
    let deployment = entra_deployment(
        "http://127.0.0.1:9",
        &[("passwords", misbehaviours()), ("codes", misbehaviours())],
    );
    let host = deployment.serve();
    // Long enough that no part of it stands anywhere by chance.
    let secrets = ["Zwölf Äpfel \"am\" Baum 12!", "90417352-4471-8086"];
    for misbehaviour in ["allow", "migrate", "deny", "trap", "verified", "error", "reveal"] {
        host.entra("passwords", &entra("password", misbehaviour));
        let mut code = entra("otp", misbehaviour);
        code["data"]["otpContext"]["oneTimeCode"] = secrets[1].into();
        host.entra("codes", &code);
    }
    let log = host.stop();
    for secret in secrets {
        assert_eq!(found(&deployment, secret), [] as [String; 0]);
        assert!(
            !spellings(secret).iter().any(|spelled| contains(log.as_bytes(), spelled)),
            "in the log"
        );
        for (index, record) in deployment
            .records()
            .iter()
            .enumerate()
            .filter(|(_, record)| record["t"] == "hook.decision")
        {
            let sealed = deployment.sealed(index.try_into().unwrap()).to_string();
            assert!(
                !spellings(secret).iter().any(|spelled| contains(sealed.as_bytes(), spelled)),
                "{record}"
            );
        }
    }
    for (number, spelled) in spellings(secrets[0]).into_iter().enumerate() {
        deployment.write(&format!("audit/planted-{number}"), spelled);
        assert_eq!(
            found(&deployment, secrets[0]).len(),
            number + 1,
            "the search finds what is planted"
        );
    }
}

/// As it is, as JSON, base64 at each of three offsets, and UTF-16.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let json = Value::from(secret).to_string();
    let mut all = vec![secret.as_bytes().to_vec(), json.trim_matches('"').as_bytes().to_vec()];
    for offset in 0..3 {
        let padded = ["\0".repeat(offset).as_str(), secret].concat();
        // Without the letters that depend on what stands around.
        let inner = |encoded: String| encoded.as_bytes()[4..encoded.len() - 4].to_vec();
        all.push(inner(BASE64.encode(&padded)));
        all.push(inner(BASE64URL.encode(&padded)));
    }
    all.push(secret.encode_utf16().flat_map(u16::to_le_bytes).collect());
    all.push(secret.encode_utf16().flat_map(u16::to_be_bytes).collect());
    all.dedup();
    all
}

/// The files of the deployment that hold it in any spelling.
fn found(deployment: &TestDeployment, secret: &str) -> Vec<String> {
    let spellings = spellings(secret);
    let mut found = Vec::new();
    walk(&deployment.path(""), &mut |path| {
        let bytes = fs::read(path).unwrap();
        if spellings.iter().any(|spelled| contains(&bytes, spelled)) {
            found.push(path.display().to_string());
        }
    });
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn walk(folder: &Path, what: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, what) } else { what(&path) }
    }
}
