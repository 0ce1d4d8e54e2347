//! Break-glass: one hook is held open by what some people have signed, once, for a while, and all of it is in the record.

use std::fs;
use std::process::Command;
use std::time::Duration;

use portcullis_tests::{Binding, CONFLICT, Host, House, Import, SignIn, binary, duties};
use serde_json::{Value, json};

/// A house whose root has three keepers, of whom two must sign.
fn guarded() -> House {
    let house = House::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()),
    ]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    let keepers = ["keeper-1", "keeper-2", "keeper-3"];
    keepers.iter().for_each(|keeper| house.generate(keeper));
    let vkeys: Vec<_> = keepers
        .iter()
        .map(|keeper| format!("\"{}\"", house.read(&format!("keys/{keeper}.vkey")).trim()))
        .collect();
    let role =
        format!("[break_glass]\nkeys = [{}]\nthreshold = 2\n\n[[publisher]]", vkeys.join(", "));
    house.sign_root(|source| source.replace("[[publisher]]", &role));
    fs::create_dir(house.path("break-glass")).unwrap();
    house
}

/// A document for the hook `token`, signed by two keepers.
fn document(house: &House, name: &str, more: &[&str]) {
    let prepare = [
        "break-glass",
        "prepare",
        "--person",
        "the physician in charge",
        "--reason",
        "sign-in stops care",
    ];
    house.must(&[&prepare[..], &["--ticket", "PLAN-7", "--output", name], more].concat());
    for keeper in ["keys/keeper-1.key", "keys/keeper-3.key"] {
        house.must(&[
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

fn open(house: &House, name: &str) -> portcullis_tests::Ran {
    let open =
        ["break-glass", "open", name, "--root", "trust-root.json", "--folder", "break-glass"];
    house.run(
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
    let house = guarded();
    let host = house.serve();
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
    house.must(
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
    assert!(open(&house, "one.json").err.contains("[unsigned]"));
    assert!(
        house.must(&[&sign[..], &["keys/keeper-2.key"]].concat()).contains("it cannot be used yet")
    );
    assert!(open(&house, "one.json").err.contains("[below-threshold]"));
    assert_eq!(
        house.run(&[&sign[..], &["keys/keeper-2.key"]].concat()).code,
        0,
        "the same one again"
    );
    assert!(open(&house, "one.json").err.contains("[below-threshold]"));
    let wrong = house.run(&[&sign[..7], &["--key", "keys/root.key"]].concat());
    assert!(wrong.code == 1 && wrong.err.contains("[unknown-signer]"), "{wrong:?}");
    house.must(&[&sign[..], &["keys/keeper-3.key"]].concat());
    let ran = open(&house, "one.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    host.until_log("BREAK-GLASS: this hook is held open");
    let waived = conflict(&host);
    assert!(!waived.stops_a_token());
    let import = host.import(&Import::with_groups(&CONFLICT));
    assert!(!import.summary().is_empty(), "the other hook decides as ever");
    let list = ["break-glass", "list", "--folder", "break-glass", "--state", "trust-state"];
    assert!(house.must(&list).contains(" token open "));

    // Closed, it does not come back: neither by the same file nor by a copy, nor after a restart, nor without the host's own folder.
    house.must(&["break-glass", "close", "one.json", "--folder", "break-glass"]);
    host.until_log("break-glass is over");
    assert!(conflict(&host).stops_a_token());
    assert!(house.must(&list).contains(" token over"));
    assert_eq!(open(&house, "one.json").code, 0, "the command knows nothing of it");
    host.until_log("code=\"break-glass-already-used\"");
    assert!(conflict(&host).stops_a_token());
    host.stop();
    // Nor without the list of those that were opened alone: the memory of trust knows it too.
    fs::remove_file(house.path("trust-state/break-glass")).unwrap();
    let host = house.serve();
    host.until_log("code=\"break-glass-already-used\"");
    assert!(conflict(&host).stops_a_token());
    host.stop();
    fs::remove_dir_all(house.path("trust-state")).unwrap();
    let host = house.serve();
    host.until_log("code=\"break-glass-already-used\"");
    assert!(conflict(&host).stops_a_token());
    host.stop();

    let record = house.record(waived.index().unwrap());
    assert_eq!(record["bindings"][0]["waived"], json!(["SOD_EXISTING"]));
    assert!(
        record["break_glass"].is_string() && record["decision"]["verdict"] != "deny",
        "{record}"
    );
    let opened = house.records_of("break-glass.opened");
    assert_eq!(
        (opened.len(), &opened[0]["id"], &opened[0]["hook"]),
        (1, &record["break_glass"], &json!("token"))
    );
    let sealed = house.sealed(opened[0]["seq"].as_u64().unwrap()).to_string();
    assert!(
        sealed.contains("noor.haddad") && sealed.contains("INC-12"),
        "who, why and under which ticket: {sealed}"
    );
    let closed = house.records_of("break-glass.closed");
    assert_eq!(
        (closed.len(), &closed[0]["reason"], &closed[0]["calls"]),
        (1, &json!("person"), &json!(1))
    );
    assert!(
        house
            .records_of("break-glass.refused")
            .iter()
            .any(|record| record["code"] == "break-glass-already-used")
    );
}

#[test]
fn it_ends_by_itself_and_never_lifts_a_revocation() {
    let house = guarded();
    document(
        &house,
        "plan.json",
        &["--hook", "token", "--waive", "SOD_EXISTING", "--fail-open", "--minutes", "1"],
    );
    document(&house, "elsewhere.json", &["--hook", "night-token", "--fail-open"]);
    document(&house, "other.json", &["--hook", "token", "--fail-open", "--tenant", "another"]);
    let host = house.serve();
    for name in ["elsewhere.json", "other.json"] {
        assert_eq!(open(&house, name).code, 0);
    }
    host.until_log("code=\"break-glass-wrong-target\"");
    assert_eq!(open(&house, "plan.json").code, 0);
    host.until_log("BREAK-GLASS: this hook is held open");
    assert!(!conflict(&host).stops_a_token());
    let mut set = house.opened("release/release.json");
    set["revoked"] = json!({"serials": {"org.portcullis.sod": [1]}});
    set["version"] = json!(2);
    house.write(
        "release/release.json",
        house.forge("release", portcullis_tests::RELEASE_SET, &set.to_string()),
    );
    host.look(&["plugin revoked"]);
    assert!(
        host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(),
        "revoked is revoked"
    );
    host.until_log_for("break-glass is over", Duration::from_secs(150));
    host.stop();
    assert_eq!(house.records_of("break-glass.closed")[0]["reason"], "time");
}

#[test]
fn it_works_with_the_log_down_and_is_all_in_the_log_afterwards() {
    let house = guarded();
    document(&house, "plan.json", &["--hook", "token", "--fail-open", "--minutes", "60"]);
    // A write beyond the limit gives an error, as on a full disk, instead of ending the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::start_with(&house.path(""), command);
    let harmless = |host: &Host| host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert!(!harmless(&host).stops_a_token());
    let limit = Command::new("prlimit")
        .args([&format!("--pid={}", host.id()), "--fsize=16384:unlimited"])
        .status();
    assert!(limit.unwrap().success());
    assert!(harmless(&host).stops_a_token(), "nothing is decided without a record");
    host.until_log("the write-ahead log could not be written");
    assert_eq!(open(&house, "plan.json").code, 0);
    host.until_log("BREAK-GLASS: this hook is held open");
    let held = harmless(&host);
    assert!(!held.stops_a_token() && held.index().is_none(), "{held:?}");
    host.stop();

    // The disk works again: it goes on where it was, and the log hears of it.
    let host = house.serve();
    host.until_log("BREAK-GLASS: this hook is held open");
    house.must(&["break-glass", "close", "plan.json", "--folder", "break-glass"]);
    host.until_log("break-glass is over");
    host.stop();
    let recovered: Vec<Value> = house.records_of("break-glass.recovered");
    assert_eq!((recovered.len(), &recovered[0]["hook"]), (1, &json!("token")));
    assert_eq!(house.records_of("break-glass.closed").len(), 1);
    let gaps: u64 =
        house.records_of("answer.gap").iter().map(|record| record["count"].as_u64().unwrap()).sum();
    assert_eq!(
        gaps + house.records_of("answer.superseded").len() as u64,
        2,
        "both answers that left without a record"
    );
    assert_eq!(house.verify().code, 0);
}
