//! A hostile registry: whatever it does, what is active and what lies on disk stay as they are, and
//! the host says what was wrong.

use std::fs;

use portcullis_tests::{
    Binding, CONFLICT, Host, Log, RELEASE_SET, Shelf, SignIn, TestDeployment, Trick, digest,
    duties, log_event, release_active,
};
use serde_json::{Value, json};

#[test]
fn a_registry_that_misbehaves_changes_nothing() {
    let (shelf, other) = (Shelf::start(), Shelf::start());
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = following(&deployment, &shelf);
    let kept = files(&deployment);

    // The next release lies ready under another tag: another plugin, so that there is a component to be fetched.
    deployment.release(&[Binding::new(
        "token",
        "misbehaving",
        json!({"do": "by-entitlement", "misbehaviours": {}}),
    )]);
    deployment.must(&push(&format!("{}/hooks:next", shelf.address())));
    let next = shelf.held("next");
    let wasm = digest(&fs::read(deployment.path("release/plugins/misbehaving.wasm")).unwrap());
    let set = digest(deployment.read("release/release.json").as_bytes());
    let index: Value = serde_json::from_slice(&next).unwrap();
    let documents = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    shelf.trick("/manifests/live", Trick::Status(503, String::new()));
    shelf.hold("live", INDEX, &next);

    let redirect = |to: String| Trick::Status(307, format!("location: {to}\r\n"));
    let wide = |count: usize| {
        let mut wide = index.clone();
        wide["manifests"] = json!(vec![index["manifests"][0].clone(); count]);
        wide.to_string().into_bytes()
    };
    let mut both = index.clone();
    both["layers"] = json!([]);
    let envelope = deployment.read("release/release.json").into_bytes();
    let mut flipped = envelope.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = envelope.clone();
    longer.push(b' ');
    for (path, trick, code) in [
        ("/manifests/live", Trick::Status(500, String::new()), "registry-failed"),
        ("/manifests/live", Trick::Status(404, String::new()), "registry-lacks"),
        ("/manifests/live", Trick::Status(403, String::new()), "registry-denied"),
        (
            "/manifests/live",
            Trick::Status(401, "www-authenticate: Negotiate\r\n".to_owned()),
            "registry-denied",
        ),
        (
            "/manifests/live",
            Trick::Status(200, "content-type: text/html\r\n".to_owned()),
            "registry-malformed",
        ),
        ("/manifests/live", Trick::Torn, "registry-unreachable"),
        ("/manifests/live", Trick::Endless, "registry-too-long"),
        ("/manifests/live", Trick::Drip, "registry-late"),
        ("/manifests/live", Trick::Silent, "registry-late"),
        ("/manifests/live", Trick::Bytes(b"{}".to_vec()), "registry-malformed"),
        ("/manifests/live", Trick::Bytes(wide(600)), "registry-malformed"),
        ("/manifests/live", Trick::Bytes(wide(2)), "registry-malformed"),
        ("/manifests/live", Trick::Bytes(both.to_string().into_bytes()), "registry-malformed"),
        (
            "/manifests/live",
            redirect(format!("http://{}/v2/hooks/manifests/live", shelf.address())),
            "registry-redirect",
        ),
        ("/manifests/live", redirect("//elsewhere.example/".to_owned()), "registry-redirect"),
        ("/manifests/live", redirect("http://198.51.100.7/".to_owned()), "registry-unreachable"),
        (documents.as_str(), Trick::Bytes(b"{}".to_vec()), "registry-wrong-digest"),
        (set.as_str(), Trick::Bytes(flipped), "registry-wrong-digest"),
        (set.as_str(), Trick::Bytes(longer), "registry-wrong-size"),
        (wasm.as_str(), Trick::Status(404, String::new()), "registry-lacks"),
        (wasm.as_str(), Trick::Torn, "registry-unreachable"),
        (wasm.as_str(), Trick::Endless, "registry-wrong-size"),
        (wasm.as_str(), Trick::Drip, "registry-late"),
        (wasm.as_str(), Trick::Bytes(b"\0asm".to_vec()), "registry-wrong-size"),
        (
            wasm.as_str(),
            redirect(format!("http://{}/elsewhere", other.address())),
            "registry-lacks",
        ),
    ] {
        shelf.trick(path, trick.clone());
        let said = until_not_pulled(&host, code);
        assert!(!said.has("release.active"), "{trick:?}");
        assert!(
            host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
            "{trick:?}: generation 1 decides"
        );
        assert_eq!(files(&deployment), kept, "{trick:?} on {path}");
    }
    shelf.behave();
    assert!(
        other.heard().iter().all(|(_, _, shown)| shown.is_empty()),
        "a redirect sees nothing that proves us"
    );
    assert!(!other.heard().is_empty(), "the redirect was followed");

    // It comes to its senses.
    host.signal("HUP");
    host.wait_for(release_active(2));
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    let refused = deployment.records_of("release.pull-refused");
    let codes: Vec<_> = refused.iter().map(|record| record["code"].as_str().unwrap()).collect();
    for code in [
        "registry-too-long",
        "registry-malformed",
        "registry-wrong-digest",
        "registry-wrong-size",
        "registry-redirect",
    ] {
        assert!(codes.contains(&code), "{code} is in no record: {codes:?}");
    }
    assert!(
        !codes.contains(&"registry-late") && !codes.contains(&"registry-lacks"),
        "silence is no refusal: {codes:?}"
    );
}

#[test]
fn what_nobody_signed_is_not_fetched() {
    let shelf = Shelf::start();
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = following(&deployment, &shelf);
    let kept = files(&deployment);
    deployment.release(&[Binding::new(
        "token",
        "misbehaving",
        json!({"do": "by-entitlement", "misbehaviours": {}}),
    )]);
    let wasm = digest(&fs::read(deployment.path("release/plugins/misbehaving.wasm")).unwrap());
    let place = format!("{}/hooks:next", shelf.address());
    deployment.must(&push(&place));
    let (index, set) = (shelf.held("next"), deployment.read("release/release.json").into_bytes());
    // The registry writes a set of its own into the release, and names all of it rightly.
    for (signer, code) in [("publisher", "unknown-signer"), ("root", "unknown-signer")] {
        let forged = deployment
            .forge(signer, RELEASE_SET, &deployment.opened_text("release/release.json"))
            .into_bytes();
        let mut index: Value = serde_json::from_slice(&index).unwrap();
        let documents = shelf.held(index["manifests"][0]["digest"].as_str().unwrap());
        let documents =
            String::from_utf8(documents).unwrap().replace(&digest(&set), &digest(&forged));
        let mut documents: Value = serde_json::from_str(&documents).unwrap();
        documents["layers"][0]["size"] = json!(forged.len());
        let documents = documents.to_string().into_bytes();
        index["manifests"][0]["digest"] = json!(digest(&documents));
        index["manifests"][0]["size"] = json!(documents.len());
        shelf.hold(&digest(&forged), "blob", &forged);
        shelf.hold(&digest(&documents), "application/vnd.oci.image.manifest.v1+json", &documents);
        shelf.hold("live", INDEX, index.to_string().as_bytes());
        until_not_pulled(&host, code);
        assert_eq!(files(&deployment), kept);
    }
    let fetched =
        shelf.heard().into_iter().any(|(method, path, _)| method == "GET" && path.contains(&wasm));
    assert!(!fetched, "nobody signed for it");
    host.stop();
}

#[test]
fn a_set_that_is_not_whole_still_revokes() {
    let shelf = Shelf::start();
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = following(&deployment, &shelf);
    let kept = files(&deployment);
    deployment.release(&[Binding::new(
        "token",
        "misbehaving",
        json!({"do": "by-entitlement", "misbehaviours": {}}),
    )]);
    let mut set = deployment.opened("release/release.json");
    set["revoked"] = json!({"serials": {"org.portcullis.sod": [1]}});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    let wasm = digest(&fs::read(deployment.path("release/plugins/misbehaving.wasm")).unwrap());
    deployment.must(&push(&format!("{}/hooks:next", shelf.address())));
    shelf.trick(wasm.as_str(), Trick::Status(404, String::new()));
    shelf.hold("live", INDEX, &shelf.held("next"));
    host.wait_for("plugin.revoked");
    until_not_pulled(&host, "registry-lacks");
    assert!(
        host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(),
        "revoked is revoked"
    );
    assert_eq!(files(&deployment), kept, "and the set is not taken");
    // Also after a restart.
    host.stop();
    let host = deployment.serve();
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    shelf.behave();
    host.signal("HUP");
    host.wait_for(release_active(2));
    host.stop();
    assert_eq!(deployment.records_of("trust.revoked").len(), 1);
}

/// A host that has taken the deployment's first release from this shelf.
pub fn following(deployment: &TestDeployment, shelf: &Shelf) -> Host {
    let live = format!("{}/hooks:live", shelf.address());
    deployment.write_secret("password", "secret");
    shelf.want_tokens(&format!("http://{}/token", shelf.address()));
    deployment.must(&push(&live));
    for file in ["release.json", "plugins", "settings"] {
        deployment.configure(&format!("\"release/{file}\""), &format!("\"pulled/{file}\""));
    }
    let registry = format!(
        "[registry]\nrelease = \"{live}\"\nplain_http = true\npoll_ms = 500\ntimeout_ms = 1500\n{CREDENTIAL}\n[admin]"
    );
    deployment.configure("[admin]", &registry);
    let host = deployment.serve();
    host.wait_for(release_active(1));
    host
}

pub fn push(live: &str) -> Vec<&str> {
    let command =
        ["release", "push", live, "--from", "release", "--root", "trust-root.json", "--plain-http"];
    [&command[..], &["--username", "ci", "--password-file", "password"]].concat()
}

/// Has the host ask the registry until it takes nothing for this reason, whether that is news or
/// not, and returns what it logged meanwhile.
fn until_not_pulled(host: &Host, code: &str) -> Log {
    let events = ["registry.not-pulled", "registry.still-not-pulled"];
    host.reload_until(events.map(|event| log_event(event).field("code", code)))
}

/// Every file that the host starts from, by name and digest.
fn files(deployment: &TestDeployment) -> Vec<(String, String)> {
    let folders = ["pulled", "pulled/plugins", "pulled/settings"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(deployment.path(folder)).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut files: Vec<_> = paths
        .map(|path| (path.display().to_string(), digest(&fs::read(&path).unwrap_or_default())))
        .collect();
    files.sort();
    files
}

const CREDENTIAL: &str = "username = \"ci\"\npassword_file = \"password\"\n";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
