//! Messages to an operator: every problem at once, settings that cannot work, secrets that an
//! editor changed, callers that were rejected, and the claims of a token.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use portcullis_tests::{Binding, CONFLICT, SignIn, TestDeployment, duties, log_event};
use serde_json::{Value, json};

const CHECK: [&str; 3] = ["check", "--config", "portcullis.toml"];

#[test]
fn all_problems_of_a_configuration_are_reported_at_once() {
    let deployment = TestDeployment::build(&[]);
    deployment.configure("watch_ms = 500", "watch_ms = \"often\"\nwatch = true");
    deployment.configure("[listen]", "[listen]\ncolour = \"blue\"");
    let ran = deployment.run(&CHECK);
    assert_eq!(ran.code, 64, "{}", ran.err);
    for problem in ["3 problems", "`watch_ms`", "unknown field `watch`", "unknown field `colour`"] {
        assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
    }

    let deployment = TestDeployment::build(&[]);
    deployment.configure("path = \"/okta/import\"", "path = \"okta/import\"");
    deployment
        .configure("[[hook]]\nname = \"token\"", "[[hook]]\nbudget_ms = 3000\nname = \"token\"");
    deployment.configure("127.0.0.1:0", "0.0.0.0:0");
    let ran = deployment.run(&CHECK);
    assert_eq!(ran.code, 64, "{}", ran.err);
    for problem in ["does not start with `/`", "platform's own limit of 3000", "not a loopback"] {
        assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
    }
    assert!(!deployment.path("audit").exists(), "nothing was begun");

    let deployment = TestDeployment::build(&[]);
    deployment.configure(
        "[listen]\n",
        "[listen]\nmax_in_flight = 0\nbody_timeout_ms = 5\nheader_timeout_ms = 700000\n",
    );
    deployment
        .configure("[[hook]]\nname = \"token\"", "[[hook]]\nbody_bytes = 0\nname = \"token\"");
    let ran = deployment.run(&CHECK);
    assert_eq!(ran.code, 64, "{}", ran.err);
    for problem in [
        "4 problems",
        "listen.max_in_flight is 0, not 1 to 100000: write `max_in_flight = 1`",
        "listen.body_timeout_ms is 5, not 10 to 60000: write `body_timeout_ms = 10`",
        "listen.header_timeout_ms is 700000, not 100 to 600000: write `header_timeout_ms = 600000`",
        "hook `token`: body_bytes is 0, not 1 to 262144: write `body_bytes = 1`",
    ] {
        assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
    }
}

#[test]
fn all_problems_of_key_and_secret_files_are_reported_at_once_with_the_command_to_run() {
    let deployment = TestDeployment::build(&[]);
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(deployment.path("keys/log.key"), open.clone()).unwrap();
    fs::remove_file(deployment.path("keys/sealing.key")).unwrap();
    deployment.write_secret("keys/pseudonym.key", "not a key");
    fs::set_permissions(deployment.path("secrets/token"), open).unwrap();
    deployment.configure("secrets/import", "secrets/none");
    deployment.configure(
        "[trust]",
        "[listen.tls]\ncertificate = \"none.pem\"\nkey = \"none.key\"\n\n[trust]",
    );
    for command in ["check", "serve"] {
        let ran = deployment.run(&[command, "--config", "portcullis.toml"]);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{}", ran.err);
        for problem in [
            "7 problems",
            "hint: run `chmod 600 keys/log.key`",
            "`portcullis keys generate --kind symmetric --output keys/sealing.key`",
            "pseudonym key `keys/pseudonym.key`: not a symmetric key",
            "hint: run `chmod 600 secrets/token`",
            "`portcullis keys generate --kind secret --output secrets/none`",
            "TLS certificate `none.pem`",
            "TLS key `none.key`",
        ] {
            assert!(ran.err.contains(problem), "{command}, {problem}: {}", ran.err);
        }
        assert!(!deployment.path("audit").exists(), "nothing was begun");
    }
}

#[test]
fn all_problems_of_log_and_release_are_told_at_once_with_all_warnings() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()).mode("monitor").fallback(&[]),
    ]);
    deployment.serve().stop();
    let mut set = deployment.opened("release/release.json");
    set["version"] = json!(2);
    for binding in set["bindings"].as_array_mut().unwrap() {
        if binding["hook"] == "token" {
            binding["fallback"] = json!({"review": "deny"});
        } else {
            binding["hook"] = json!("nowhere");
        }
    }
    deployment.write(
        "bad.json",
        deployment.forge("release", portcullis_tests::RELEASE_SET, &set.to_string()),
    );
    let both =
        ["2 problems", "hook `token`: `okta.token` has no field for `step-up`", "hook `nowhere`: "];
    let publish = ["release", "publish", "--set", "bad.json", "--config", "portcullis.toml"];
    let refused = deployment.run(&[&publish[..], &["--from", "release"]].concat());
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    for problem in both {
        assert!(refused.err.contains(problem), "{problem}: {}", refused.err);
    }

    fs::copy(deployment.path("bad.json"), deployment.path("release/release.json")).unwrap();
    deployment.write("audit/log/checkpoint", "damaged");
    let pair = portcullis_tests::Authority::new().server_of_yesterday();
    deployment.write("tls.pem", &pair.certificate);
    deployment.write_secret("tls.key", &pair.key);
    deployment.configure(
        "[trust]",
        "[listen.tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n\n[trust]",
    );
    fs::write(deployment.path("release/plugins/x\nwarning: all is well.wasm"), "no component")
        .unwrap();
    let ran = deployment.run(&CHECK);
    assert_eq!(ran.code, 64, "{}{}", ran.out, ran.err);
    for problem in ["3 problems", "the checkpoint is not accepted"].iter().chain(&both[1..]) {
        assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
    }
    let warned =
        |end: &str| ran.out.lines().any(|it| it.starts_with("warning: ") && it.contains(end));
    assert!(warned("[certificate-expired]"), "{}", ran.out);
    assert!(warned("x\\u000awarning: all is well.wasm` is not allowed to run"), "{}", ran.out);
    assert!(!ran.out.contains("\nwarning: all is well"), "{}", ran.out);
    let told = deployment.run(&[&CHECK[..], &["--format", "json"]].concat());
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let abouts: Vec<_> =
        told["problems"].as_array().unwrap().iter().map(|it| &it["about"]).collect();
    assert_eq!(abouts, ["log", "release", "release"], "{told}");
    assert_eq!(told["refused"], "binding-invalid");
    assert!(told["warnings"].to_string().contains("certificate-expired"), "{told}");

    deployment.configure("watch_ms = 500", "watch_ms = \"often\"");
    let told = deployment.run(&[&CHECK[..], &["--format", "json"]].concat());
    assert_eq!(told.code, 64, "{}", told.err);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["problems"][0]["about"], "configuration");
    assert!(told["problems"][0]["sentence"].as_str().unwrap().contains("`watch_ms`"), "{told}");
}

#[test]
fn a_secret_that_an_editor_changed_is_refused_before_a_call_fails() {
    let deployment = TestDeployment::build(&[]);
    for text in [
        "\u{feff}bom-secret-of-sixteen-plus\n",
        " blank-before-the-secret\n",
        "tab-after-the-secret\t\n",
    ] {
        deployment.write_secret("secrets/token", text);
        let ran = deployment.run(&CHECK);
        assert_eq!(ran.code, 64, "{text:?}: {}", ran.err);
        assert!(ran.err.contains("secrets/token") && ran.err.contains("hint: "), "{}", ran.err);
        assert!(!ran.err.contains(text.trim_matches(['\u{feff}', ' ', '\t', '\n'])), "{}", ran.err);
    }
}

#[test]
fn a_plugin_that_can_never_decide_on_a_hook_is_a_warning() {
    let nothing_held = TestDeployment::speaking(
        "ping.sideband",
        "/ping",
        "",
        (&[], &[]),
        &[Binding::new("asked", "misbehaving", json!({"do": "abstain"}))
            .fallback(&[("review", "deny")])],
    );
    let told = nothing_held.must(&CHECK);
    assert!(told.contains("which ping.sideband never sends, so it can never use"), "{told}");
    let held = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    assert!(!held.must(&CHECK).contains("never sends"));
}

#[test]
fn a_plugin_that_reads_what_its_hook_never_sends_is_a_warning() {
    let told = |reads: &str, requires: &str| {
        let mut deployment = TestDeployment::build(&[]);
        deployment.sign_plugin("misbehaving", |manifest| {
            let manifest = manifest.replace("reads = [", &format!("reads = [{reads}"));
            format!("requires = [{requires}]\n{manifest}")
        });
        deployment.release(&[Binding::new("token", "misbehaving", json!({"do": "allow"}))]);
        deployment.must(&CHECK)
    };
    let sent =
        r#""origin.ip", "subject.attributes.anything", "okta.token:/data/context/user/id", "#;
    assert!(!told(sent, "").contains("never sends"));
    let never = r#""origin.device", "purpose", "okta.token:/data/weather", "#;
    let warned = told(never, "");
    for input in ["`origin.device`", "`purpose`", "`okta.token:/data/weather`"] {
        assert!(warned.contains(input), "{input}: {warned}");
    }
    assert!(warned.contains("which okta.token never sends, so it can never use"), "{warned}");
    let warned = told(never, r#""purpose""#);
    assert!(warned.contains("requires `purpose`, which okta.token never sends"), "{warned}");
    assert!(warned.contains("every call gets its safe answer"), "{warned}");
}

#[test]
fn settings_that_name_an_input_the_manifest_leaves_out_are_refused() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let mut settings = duties();
    let mut sign = |attribute: &str| {
        settings["rules"][0]["scope"] = json!({"attribute": attribute, "values": ["3B"]});
        deployment.write("release/settings/1-0.json", settings.to_string());
        let mut sign = vec!["release", "sign", "--source", "release.toml"];
        sign.extend(["--key", "keys/release.key", "--output", "signed.json"]);
        deployment.run(&[&sign[..], &["--root", "trust-root.json"]].concat())
    };
    let ran = sign("ward");
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    for told in ["`/rules/0/scope/attribute`", "does not read \"subject.attributes.ward\""] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    assert_eq!(sign("facility").code, 0, "an attribute that the manifest reads");
}

#[test]
fn a_rule_on_an_attribute_that_narrowed_reads_leave_out_is_refused() {
    let rules = |attribute: &str| {
        json!({"owner": "wards", "rules": [{
            "id": "WARD", "effect": "allow",
            "when": [{"what": format!("resource.attributes.{attribute}"), "is": "3B"}]
        }]})
    };
    let binding =
        |attribute: &str| Binding::new("asked", "access-rules", rules(attribute)).fallback(&[]);
    let mut deployment =
        TestDeployment::speaking("authzen", "/pdp", "", (&[], &[]), &[binding("ward")]);
    assert_eq!(deployment.run(&CHECK).code, 0, "it reads all attributes");
    deployment.sign_plugin("access-rules", |manifest| {
        manifest.replace("\"resource.attributes.*\"", "\"resource.attributes.ward\"")
    });
    deployment.release(&[binding("ward")]);
    assert_eq!(deployment.run(&CHECK).code, 0, "an attribute that the manifest reads");
    deployment.write("release/settings/3-0.json", rules("floor").to_string());
    let sign = ["release", "sign", "--source", "release.toml", "--root", "trust-root.json"];
    let ran = deployment
        .run(&[&sign[..], &["--key", "keys/release.key", "--output", "signed.json"]].concat());
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    for told in ["`/rules/0/when/0/what`", "does not read \"resource.attributes.floor\""] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
}

#[test]
fn a_release_set_has_up_to_sixty_four_bindings() {
    let mut deployment = TestDeployment::build(&[]);
    let mut configuration = deployment.read("portcullis.toml");
    for hook in 0..64 {
        configuration.push_str(&format!(
            "\n[[hook]]\nname = \"hook-{hook}\"\nkind = \"okta.token\"\npath = \"/okta/hook-{hook}\"\n\
             caller = {{ secret_file = \"secrets/token\" }}\n"
        ));
    }
    deployment.write("portcullis.toml", configuration);
    let bindings: Vec<_> =
        (0..64).map(|hook| Binding::new(&format!("hook-{hook}"), "sod", duties())).collect();
    deployment.release(&bindings);
    let host = deployment.serve();
    let answer = host.post("hook-63", &SignIn::with_groups(&CONFLICT).bytes());
    assert!(answer.stops_a_token() && answer.index().is_some(), "the last hook decides");
    let shown = deployment.must(&[&CHECK[..], &["--format", "json"]].concat());
    let shown: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(shown["bindings"].as_array().map(Vec::len), Some(64));
}

#[test]
fn a_rejected_caller_leaves_a_log_line_with_hook_and_reason() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let body = SignIn::with_groups(&[]).bytes();
    let wrong = host.request("token", &body).header("authorization", "wrong-secret-of-sixteen");
    for _ in 0..100 {
        host.client().send(&wrong).unwrap();
    }
    host.wait_for("hook.caller-rejected");
    let log = host.log();
    let lines = log.all("hook.caller-rejected");
    assert_eq!(lines[0].text("hook"), "token");
    assert_eq!(lines[0].text("reason"), "wrong-secret");
    assert!(lines.len() < 30, "the lines are limited: {}", lines.len());
    assert!(!log.contains("wrong-secret-of-sixteen"), "the secret stays out");
}

#[test]
fn a_body_that_cannot_be_read_leaves_a_log_line_with_hook_and_reason() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let large = vec![b' '; 2 << 20];
    let bodies: [(&[u8], &str); 5] = [
        (b"{\"data\": \"Zebulon", "not-json"),
        (b"{\"data\": \"\xff\"}", "not-utf8"),
        (b"{\"data\": 1, \"data\": \"Zebulon\"}", "duplicate-member"),
        (deep.as_bytes(), "too-deep"),
        (&large, "body-too-large"),
    ];
    for (body, reason) in bodies {
        assert!(host.post("token", body).stops_a_token(), "{reason}");
        host.wait_for(log_event("hook.body-rejected").field("reason", reason));
    }
    for _ in 0..100 {
        host.post("token", b"Zebulon");
    }
    let log = host.log();
    let lines = log.all("hook.body-rejected");
    assert_eq!(lines[0].text("hook"), "token");
    assert!(lines.len() < 40, "the lines are limited: {}", lines.len());
    assert!(!log.contains("Zebulon"), "the body stays out");
}

#[test]
fn doctor_decodes_the_token_that_it_was_given() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let part = |value: Value| BASE64URL.encode(value.to_string());
    let claims = json!({
        "iss": "https://login.example/v2.0", "aud": "api://elsewhere", "tid": "tenant-b",
        "azp": "client-b", "exp": 1_000, "sub": "alice@hospital.example"
    });
    let token = format!("{}.{}.c2ln", part(json!({"alg": "RS256", "kid": "k"})), part(claims));
    deployment.write_secret("secrets/bearer", &token);
    let configuration = deployment.read("portcullis.toml").replace(
        "caller = { secret_file = \"secrets/token\" }",
        "caller = { oauth = { issuer = \"https://login.example/v2.0\", audiences = [\"api://portcullis\"], \
         clients = [\"client-a\"], client_claim = \"azp\", jwks_uri = \"http://127.0.0.1:9/keys\" } }",
    );
    fs::write(deployment.path("doctor.toml"), &configuration).unwrap();
    let url = format!("http://{}/okta/token", host.address());
    let ran = deployment.run(&[
        "hook",
        "doctor",
        "--config",
        "doctor.toml",
        "--hook",
        "token",
        "--url",
        &url,
        "--bearer-file",
        "secrets/bearer",
    ]);
    for told in [
        "`aud` is \"api://elsewhere\"; the configuration accepts \"api://portcullis\"",
        "`azp` is \"client-b\"; the configuration accepts \"client-a\"",
        "the token expired",
    ] {
        assert!(ran.out.contains(told), "{told}: {}{}", ran.out, ran.err);
    }
    assert!(!ran.out.contains("alice"), "{}", ran.out);
    assert_eq!(ran.code, 1);
}
