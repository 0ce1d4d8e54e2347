//! Break-glass: one hook is held open by what some people have signed, once, for a while, and all of it is in the record.

use std::fs;
use std::process::Command;

use portcullis_tests::{
    Binding, CONFLICT, Host, Import, MovedClock, SignIn, TestDeployment, binary, duties, log_event,
};
use serde_json::{Value, json};

/// A deployment whose root has three keepers, of whom two must sign.
fn guarded() -> TestDeployment {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()),
    ]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    let keepers = ["keeper-1", "keeper-2", "keeper-3"];
    keepers.iter().for_each(|keeper| deployment.generate(keeper));
    let vkeys: Vec<_> = keepers
        .iter()
        .map(|keeper| format!("\"{}\"", deployment.read(&format!("keys/{keeper}.vkey")).trim()))
        .collect();
    let role =
        format!("[break_glass]\nkeys = [{}]\nthreshold = 2\n\n[[publisher]]", vkeys.join(", "));
    deployment.sign_root(|source| source.replace("[[publisher]]", &role));
    fs::create_dir(deployment.path("break-glass")).unwrap();
    deployment
}

/// A document for the hook `token`, signed by two keepers.
fn document(deployment: &TestDeployment, name: &str, more: &[&str]) {
    let prepare = [
        "break-glass",
        "prepare",
        "--person",
        "the physician in charge",
        "--reason",
        "sign-in stops care",
    ];
    deployment.must(&[&prepare[..], &["--ticket", "PLAN-7", "--output", name], more].concat());
    for keeper in ["keys/keeper-1.key", "keys/keeper-3.key"] {
        deployment.must(&[
            "break-glass",
            "sign",
            name,
            "--root",
            "trust-root.json",
            "--key",
            keeper,
            "--output",
            name,
        ]);
    }
}

fn open(deployment: &TestDeployment, name: &str) -> portcullis_tests::Ran {
    let open =
        ["break-glass", "open", name, "--root", "trust-root.json", "--folder", "break-glass"];
    deployment.run(
        &[
            &open[..],
            &["--person", "noor.haddad", "--reason", "ward 4 cannot sign in", "--ticket", "INC-12"],
        ]
        .concat(),
    )
}

fn conflict(host: &Host) -> portcullis_tests::Answer {
    host.sign_in(&SignIn::with_groups(&CONFLICT))
}

#[test]
fn a_document_opens_one_hook_once_and_lifts_what_it_names() {
    let deployment = guarded();
    let host = deployment.serve();
    assert!(conflict(&host).stops_a_token());
    let prepare = [
        "break-glass",
        "prepare",
        "--person",
        "p",
        "--reason",
        "r",
        "--ticket",
        "t",
        "--output",
        "one.json",
    ];
    deployment.must(
        &[&prepare[..], &["--hook", "token", "--waive", "SOD_EXISTING", "--minutes", "20"]]
            .concat(),
    );
    let sign = [
        "break-glass",
        "sign",
        "one.json",
        "--root",
        "trust-root.json",
        "--output",
        "one.json",
        "--key",
    ];
    assert!(open(&deployment, "one.json").err.contains("[unsigned]"));
    assert!(
        deployment
            .must(&[&sign[..], &["keys/keeper-2.key"]].concat())
            .contains("it cannot be used yet")
    );
    assert!(open(&deployment, "one.json").err.contains("[below-threshold]"));
    assert_eq!(
        deployment.run(&[&sign[..], &["keys/keeper-2.key"]].concat()).code,
        0,
        "the same one again"
    );
    assert!(open(&deployment, "one.json").err.contains("[below-threshold]"));
    let wrong = deployment.run(&[&sign[..7], &["--key", "keys/root.key"]].concat());
    assert!(wrong.code == 1 && wrong.err.contains("[unknown-signer]"), "{wrong:?}");
    deployment.must(&[&sign[..], &["keys/keeper-3.key"]].concat());
    let ran = open(&deployment, "one.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    host.wait_for("break-glass.open");
    let waived = conflict(&host);
    assert!(!waived.stops_a_token());
    let import = host.import(&Import::with_groups(&CONFLICT));
    assert!(!import.summary().is_empty(), "the other hook decides as ever");
    let list = ["break-glass", "list", "--folder", "break-glass", "--state", "trust-state"];
    assert!(deployment.must(&list).contains(" token open "));

    // Closed, it does not come back: neither by the same file nor by a copy, nor after a restart, nor without the host's own folder.
    deployment.must(&["break-glass", "close", "one.json", "--folder", "break-glass"]);
    host.wait_for("break-glass.closed");
    assert!(conflict(&host).stops_a_token());
    assert!(deployment.must(&list).contains(" token over"));
    assert_eq!(open(&deployment, "one.json").code, 0, "the command knows nothing of it");
    host.wait_for(log_event("break-glass.refused").field("code", "break-glass-already-used"));
    assert!(conflict(&host).stops_a_token());
    host.stop();
    // Nor without the list of those that were opened alone: the memory of trust knows it too.
    fs::remove_file(deployment.path("trust-state/break-glass")).unwrap();
    let host = deployment.serve();
    host.wait_for(log_event("break-glass.refused").field("code", "break-glass-already-used"));
    assert!(conflict(&host).stops_a_token());
    host.stop();
    fs::remove_dir_all(deployment.path("trust-state")).unwrap();
    let host = deployment.serve();
    host.wait_for(log_event("break-glass.refused").field("code", "break-glass-already-used"));
    assert!(conflict(&host).stops_a_token());
    host.stop();

    let record = deployment.record(waived.index().unwrap());
    assert_eq!(record["bindings"][0]["waived"], json!(["SOD_EXISTING"]));
    assert!(
        record["break_glass"].is_string() && record["decision"]["verdict"] != "deny",
        "{record}"
    );
    let opened = deployment.records_of("break-glass.opened");
    assert_eq!(
        (opened.len(), &opened[0]["id"], &opened[0]["hook"]),
        (1, &record["break_glass"], &json!("token"))
    );
    let sealed = deployment.sealed(opened[0]["seq"].as_u64().unwrap()).to_string();
    assert!(
        sealed.contains("noor.haddad") && sealed.contains("INC-12"),
        "who, why and under which ticket: {sealed}"
    );
    let closed = deployment.records_of("break-glass.closed");
    assert_eq!(
        (closed.len(), &closed[0]["reason"], &closed[0]["calls"]),
        (1, &json!("person"), &json!(1))
    );
    assert!(
        deployment
            .records_of("break-glass.refused")
            .iter()
            .any(|record| record["code"] == "break-glass-already-used")
    );
}

#[test]
fn it_ends_by_itself_and_never_lifts_a_revocation() {
    let deployment = guarded();
    document(
        &deployment,
        "plan.json",
        &["--hook", "token", "--waive", "SOD_EXISTING", "--fail-open", "--minutes", "1"],
    );
    document(&deployment, "elsewhere.json", &["--hook", "night-token", "--fail-open"]);
    document(&deployment, "other.json", &["--hook", "token", "--fail-open", "--tenant", "another"]);
    let clock = MovedClock::new();
    let host = clock.serve(&deployment);
    for name in ["elsewhere.json", "other.json"] {
        assert_eq!(open(&deployment, name).code, 0);
    }
    host.wait_for(log_event("break-glass.refused").field("code", "break-glass-wrong-target"));
    assert_eq!(open(&deployment, "plan.json").code, 0);
    host.wait_for("break-glass.open");
    assert!(!conflict(&host).stops_a_token());
    let mut set = deployment.opened("release/release.json");
    set["revoked"] = json!({"serials": {"org.portcullis.sod": [1]}});
    set["version"] = json!(2);
    deployment.write(
        "release/release.json",
        deployment.forge("release", portcullis_tests::RELEASE_SET, &set.to_string()),
    );
    host.reload_until(["plugin.revoked"]);
    assert!(
        host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(),
        "revoked is revoked"
    );
    assert!(!host.log().has("break-glass.closed"), "its minute is not over");
    clock.ahead(61);
    host.wait_for("break-glass.closed");
    host.stop();
    assert_eq!(deployment.records_of("break-glass.closed")[0]["reason"], "time");
}

#[test]
fn it_works_with_the_log_down_and_is_all_in_the_log_afterwards() {
    let deployment = guarded();
    document(&deployment, "plan.json", &["--hook", "token", "--fail-open", "--minutes", "60"]);
    // A write beyond the limit gives an error, as on a full disk, instead of ending the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::start_with(&deployment.path(""), command);
    let harmless = |host: &Host| host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert!(!harmless(&host).stops_a_token());
    let limit = Command::new("prlimit")
        .args([&format!("--pid={}", host.id()), "--fsize=16384:unlimited"])
        .status();
    assert!(limit.unwrap().success());
    assert!(harmless(&host).stops_a_token(), "nothing is decided without a record");
    host.wait_for("log.stopped");
    assert_eq!(open(&deployment, "plan.json").code, 0);
    host.wait_for("break-glass.open");
    let held = harmless(&host);
    assert!(!held.stops_a_token() && held.index().is_none(), "{held:?}");
    host.stop();

    // The disk works again: it goes on where it was, and the log hears of it.
    let host = deployment.serve();
    host.wait_for("break-glass.open");
    deployment.must(&["break-glass", "close", "plan.json", "--folder", "break-glass"]);
    host.wait_for("break-glass.closed");
    host.stop();
    let recovered: Vec<Value> = deployment.records_of("break-glass.recovered");
    assert_eq!((recovered.len(), &recovered[0]["hook"]), (1, &json!("token")));
    assert_eq!(deployment.records_of("break-glass.closed").len(), 1);
    let gaps: u64 = deployment
        .records_of("answer.gap")
        .iter()
        .map(|record| record["count"].as_u64().unwrap())
        .sum();
    assert_eq!(
        gaps + deployment.records_of("answer.superseded").len() as u64,
        2,
        "both answers that left without a record"
    );
    assert_eq!(deployment.verify().code, 0);
}
