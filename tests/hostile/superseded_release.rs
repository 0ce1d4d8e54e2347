//! What cannot wait while a plugin is being made that never comes to an end: revocations, newer sets, another configuration, the host's stop.
//!
//! Nothing here waits for the making: it could go on for ten minutes, and nobody gives it so long.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Binding, CONFLICT, Host, Import, RELEASE_SET, Shelf, SignIn, TestDeployment, WatPlugin,
    contract, duties, log_event, release_active, release_refused,
};
use serde_json::json;

use crate::hostile::registry::{following, push};

/// The plugin whose making comes to no end.
const ENDLESS: &str = "misbehaving-endless";

#[test]
fn a_revocation_does_not_wait_for_a_plugin_that_is_being_made() {
    let mut deployment = deployment();
    let host = deployment.serve();
    deployment.release(&[live_binding(), Binding::new("import", ENDLESS, json!({}))]);
    let child = until_made(&host, None);
    assert!(!host.sign_in(&harmless()).stops_a_token(), "generation 1 decides all the while");
    // What is of no consequence changes nothing: the folders are looked at, and the same process goes on.
    deployment.write("trust-roots/9.json", "{}");
    host.wait_for("trust.root-refused");
    assert_eq!(until_made(&host, None), child);

    std::fs::remove_file(deployment.path("trust-roots/9.json")).unwrap();
    let revoking = |source: String| {
        format!("{source}\n[revoked]\nserials = {{ \"org.portcullis.sod\" = [1] }}\n")
    };
    assert_eq!(deployment.next_root(2, &["root"], revoking).code, 0);
    host.wait_for("plugin.revoked");
    assert!(host.sign_in(&harmless()).stops_a_token(), "the safe answer");
    assert_eq!(
        host.import(&Import::with_groups(&["ward-reader"])).without_reference(),
        "{}",
        "the rest goes on"
    );
    // The set that was being made lists what is revoked: it is held against that, and not made any further.
    host.wait_for(release_refused("revoked-manifest"));
    until_none(&host);
    host.stop();
    // The first root is recorded at the start; what is revoked is stopped before anything else is done about it.
    let order = [
        "trust.root",
        "release.active",
        "trust.refused",
        "trust.root",
        "plugin.stopped",
        "trust.revoked",
        "release.refused",
    ];
    assert_eq!(record_types(&deployment, &order), order);
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_newer_set_takes_the_place_of_one_that_is_being_made() {
    let mut deployment = deployment();
    let host = deployment.serve();
    deployment.release(&[live_binding(), Binding::new("import", ENDLESS, json!({}))]);
    until_made(&host, None);
    // Its set revokes as well: that comes first, and what is begun after it is never done either.
    deployment.release(&[live_binding(), Binding::new("token", ENDLESS, json!({}))]);
    let mut set = deployment.opened("release/release.json");
    set["revoked"] = json!({"serials": {"org.portcullis.contractor": [1]}});
    let former = until_made(&host, None);
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    host.wait_for("plugin.revoked");
    until_made(&host, Some(&former));
    assert!(
        !host.sign_in(&harmless()).stops_a_token(),
        "generation 1 decides where nothing is revoked"
    );
    deployment.release(&[live_binding()]);
    host.wait_for(release_active(4));
    until_none(&host);
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    let order = ["release.active", "plugin.stopped", "trust.revoked", "release.active"];
    assert_eq!(record_types(&deployment, &[&order[..], &["release.refused"]].concat()), order);
    let active = deployment.records_of("release.active");
    assert_eq!(active.iter().map(|record| &record["generation"]).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn another_configuration_comes_into_force_and_a_host_stops_while_a_plugin_is_being_made() {
    let mut deployment = deployment();
    let host = deployment.serve();
    deployment.release(&[live_binding(), Binding::new("import", ENDLESS, json!({}))]);
    let child = until_made(&host, None);
    deployment.configure("[listen]\n", "[listen]\nmax_in_flight = 100\n");
    host.wait_for("config.active");
    assert_eq!(host.metric("portcullis_requests_in_flight_limit"), 100.0);
    let child = until_made(&host, Some(&child));
    // One that needs a set of its own: neither comes before the other, and a revocation before both.
    let former = deployment.read("portcullis.toml");
    deployment
        .write("portcullis.toml", former.split("\n[[hook]]\nname = \"import\"").next().unwrap());
    deployment.release(&[live_binding(), Binding::new("token", ENDLESS, json!({}))]);
    let child = until_made(&host, Some(&child));
    let revoking = |source: String| {
        format!("{source}\n[revoked]\nserials = {{ \"org.portcullis.contractor\" = [1] }}\n")
    };
    assert_eq!(deployment.next_root(2, &["root"], revoking).code, 0);
    host.wait_for("plugin.revoked");
    let child = until_made(&host, Some(&child));
    assert_eq!(deployment.records_of("config.active").len(), 1);
    deployment.release(&[live_binding()]);
    host.wait_for(release_active(4));
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    deployment.release(&[live_binding(), Binding::new("token", ENDLESS, json!({}))]);
    until_made(&host, Some(&child));
    host.stop();
    let order = [
        "trust.root",
        "release.active",
        "config.active",
        "trust.root",
        "plugin.stopped",
        "trust.revoked",
        "config.active",
        "release.active",
        "host.stop",
    ];
    assert_eq!(record_types(&deployment, &[&order[..], &["release.refused"]].concat()), order);
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn what_a_registry_offers_revokes_while_what_it_offered_before_is_being_made() {
    let shelf = Shelf::start();
    let mut deployment = deployment();
    let host = following(&deployment, &shelf);
    let live_tag = format!("{}/hooks:live", shelf.address());
    deployment.release(&[live_binding(), Binding::new("import", ENDLESS, json!({}))]);
    deployment.must(&push(&live_tag));
    let child = until_made(&host, None);
    deployment.release(&[live_binding(), Binding::new("token", ENDLESS, json!({}))]);
    let mut set = deployment.opened("release/release.json");
    set["revoked"] = json!({"serials": {"org.portcullis.contractor": [1]}});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    deployment.must(&push(&live_tag));
    host.wait_for("plugin.revoked");
    let safe = host.import(&Import::with_groups(&["ward-reader"]));
    assert_ne!(safe.without_reference(), "{}", "the safe answer");
    until_made(&host, Some(&child));
    // And what lies in the folders counts as well.
    let revoking = |source: String| {
        format!("{source}\n[revoked]\nserials = {{ \"org.portcullis.sod\" = [1] }}\n")
    };
    assert_eq!(deployment.next_root(2, &["root"], revoking).code, 0);
    host.wait_for(log_event("plugin.revoked").field("plugin", "org.portcullis.sod"));
    assert!(host.sign_in(&harmless()).stops_a_token());
    host.wait_for(log_event("registry.not-pulled").field("code", "revoked-manifest"));
    until_none(&host);
    // Nor does a stop wait for it.
    deployment.release(&[Binding::new("token", ENDLESS, json!({}))]);
    deployment.must(&[&push(&live_tag)[..], &["--root", "trust-roots/2.json"]].concat());
    until_made(&host, None);
    host.stop();
    let order =
        ["release.active", "plugin.stopped", "trust.revoked", "plugin.stopped", "trust.revoked"];
    assert_eq!(record_types(&deployment, &order), order);
    assert_eq!(
        deployment.records_of("release.pulled").len(),
        1,
        "what was being made went nowhere"
    );
    assert_eq!(deployment.verify().code, 0);
}

/// A deployment whose folders are looked at twice a second, and in which making a plugin may take
/// longer than anybody waits.
fn deployment() -> TestDeployment {
    let deployment =
        TestDeployment::build(&[live_binding(), Binding::new("import", "contractor", contract())]);
    deployment.configure(
        "[audit]",
        "[engine]\nconfigure_ms = 600000\ncompile_cpu_s = 3600\ncompile_wall_s = 3600\n\n[audit]",
    );
    deployment
        .plant(ENDLESS, &WatPlugin::default().configure("(loop $again (br $again))").component());
    std::fs::create_dir_all(deployment.path("trust-roots")).unwrap();
    deployment
}

fn live_binding() -> Binding {
    Binding::new("token", "sod", duties())
}

fn harmless() -> SignIn {
    SignIn::with_groups(&["ward-reader"])
}

/// Waits until a plugin is being made, by another process than the former one, and gives that process.
fn until_made(host: &Host, former: Option<&String>) -> String {
    until(host, |children| children.first().filter(|child| Some(*child) != former).cloned())
}

/// Waits until none is.
fn until_none(host: &Host) {
    until(host, |children| children.is_empty().then_some(()));
}

fn until<T>(host: &Host, found: impl Fn(&[String]) -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = found(&host.children()) {
            return found;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{:?} are being made:\n{}",
            host.children(),
            host.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// The records of these types, in their order.
fn record_types(deployment: &TestDeployment, types: &[&str]) -> Vec<String> {
    let told =
        deployment.records().into_iter().map(|record| record["t"].as_str().unwrap().to_owned());
    told.filter(|is| types.contains(&is.as_str())).collect()
}

const PATIENCE: Duration = Duration::from_secs(60);
