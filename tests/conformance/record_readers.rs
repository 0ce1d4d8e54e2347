//! Commands show of the log only what the signed checkpoint covers and nobody has changed,
//! with exit codes of their own for what is not there, and nothing that steers the terminal that
//! shows it.

use std::fs;

use portcullis_tests::{SignIn, TestDeployment, audit_show, golden, normal};

#[test]
fn an_altered_record_is_never_shown_as_genuine() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let index = host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().unwrap();
    host.stop();
    let entries = bundle(&deployment);
    let good = fs::read(&entries).unwrap();
    let verdict = br#""verdict":"abstain""#;
    let at = good.windows(verdict.len()).position(|window| window == verdict).unwrap();
    let mut altered = good.clone();
    altered[at..at + verdict.len()].copy_from_slice(br#""verdict":"abstaim""#);
    fs::write(&entries, altered).unwrap();

    let show = ["audit", "show", "--log", "audit/log", "--vkey", "log.vkey"];
    let number = index.to_string();
    let one = [&show[..], &["--index", &number]].concat();
    let as_json = [&one[..], &["--format", "json"]].concat();
    for arguments in [&show[..], &one, &as_json] {
        let shown = deployment.run(arguments);
        assert_eq!(shown.code, 1, "{}{}", shown.out, shown.err);
        assert!(!shown.out.contains("abstaim"), "{}", shown.out);
        assert!(shown.err.contains("log-damaged"), "{}", shown.err);
    }
    golden(
        "show-altered.txt",
        &normal(&deployment.run(&one).err, &["record ", "log has ", "covers "]),
    );
    let proved = deployment.run(
        &[
            &["audit", "prove"][..],
            &show[2..],
            &["--index", &number, "--output", "altered.tlog-proof"],
        ]
        .concat(),
    );
    assert_eq!(proved.code, 1, "{}", proved.out);
    assert!(
        !deployment.path("altered.json").exists()
            && !deployment.path("altered.tlog-proof").exists()
    );
    // A time reset may stand where nothing can be read: then records could be missing from what is
    // shown between two times, and that is said.
    let first: serde_json::Value =
        serde_json::from_str(&deployment.must(&audit_show(&["--index", "0", "--format", "json"])))
            .unwrap();
    let until = (first["at"].as_u64().unwrap() + 1).to_string();
    let timed = deployment.run(&[&show[..], &["--until", &until]].concat());
    assert_eq!(timed.code, 1, "{}{}", timed.out, timed.err);
    assert!(timed.out.contains("host.start"), "{}", timed.out);

    // The records beside it are genuine, and are shown.
    for timed in [&[][..], &["--since", "1"]] {
        let first = deployment.run(&[&show[..], &["--index", "0"], timed].concat());
        assert_eq!(first.code, 0, "{}", first.err);
    }
    // So is this one once it is back.
    fs::write(&entries, good).unwrap();
    assert!(deployment.must(&one).contains("abstain"));
    // The record goes beside its proof as `.json`, and not over it.
    let prove = [&["audit", "prove"][..], &show[2..], &["--index", &number]].concat();
    let proved = deployment.run(&[&prove[..], &["--output", "proof.json"]].concat());
    assert_eq!(proved.code, 64, "{}{}", proved.out, proved.err);
    assert!(!deployment.path("proof.json").exists() && proved.err.contains("proof.tlog-proof"));
    deployment.must(&[&prove[..], &["--output", "proof.tlog-proof"]].concat());
    assert!(deployment.path("proof.json").exists());
}

#[test]
fn a_record_that_is_missing_or_not_yet_under_a_checkpoint_has_an_exit_code_of_its_own() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let index = host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().unwrap();
    deployment.until_record("hook.decision", |record| record["seq"].as_u64() == Some(index));
    let early = fs::read(deployment.path("audit/log/checkpoint")).unwrap();
    let later = host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().unwrap();
    host.kill();
    // The log as it was a moment earlier: the later record is in the write-ahead log alone.
    fs::write(deployment.path("audit/log/checkpoint"), early).unwrap();
    let ask = |command: &str, index: u64| {
        let index = index.to_string();
        let mut arguments = vec!["audit", command, "--log", "audit/log", "--vkey", "log.vkey"];
        arguments.extend(["--index", &index]);
        if command == "prove" {
            arguments.extend(["--output", "none.tlog-proof"]);
        }
        deployment.run(&arguments)
    };
    for command in ["show", "prove"] {
        let waits = ask(command, later);
        assert_eq!((waits.code, waits.out.as_str()), (4, ""), "{}", waits.err);
        assert!(waits.err.contains("log-not-yet-covered"), "{}", waits.err);
        let missing = ask(command, later + 1_000_000);
        assert_eq!((missing.code, missing.out.as_str()), (3, ""), "{}", missing.err);
        assert!(missing.err.contains("log-no-such-record"), "{}", missing.err);
    }
    golden(
        "show-not-yet.txt",
        &normal(&ask("show", later).err, &["record ", "log has ", "covers "]),
    );
    golden(
        "show-missing.txt",
        &normal(&ask("show", later + 1_000_000).err, &["record ", "it has ", "covers "]),
    );
    // An auditor's copy has no write-ahead log.
    fs::rename(deployment.path("audit/wal"), deployment.path("wal")).unwrap();
    assert_eq!(ask("show", later).code, 3);
}

#[test]
fn a_filter_that_nothing_can_match_is_wrong_usage() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let index = host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().unwrap();
    deployment.until_record("hook.decision", |record| record["seq"].as_u64() == Some(index));
    host.stop();
    let show = |more: &[&str]| deployment.run(&audit_show(more));

    for (given, said) in [
        ("hook.decison", "did you mean `hook.decision`?"),
        ("Hook.Decision", "did you mean `hook.decision`?"),
        ("decision", "did you mean `hook.decision`?"),
        ("hook", "did you mean `hook.`"),
        ("hok.", "did you mean `hook.`"),
        ("okta.token", "docs/operating.md lists all types"),
        ("", "docs/operating.md lists all types"),
    ] {
        for format in ["text", "json"] {
            let none = show(&["--type", given, "--format", format]);
            assert_eq!((none.code, none.out.as_str()), (2, ""), "{given}: {}", none.err);
            assert!(none.err.contains("no record type"), "{given}: {}", none.err);
            assert!(none.err.contains(said) && none.err.contains("`hook.`"), "{}", none.err);
        }
    }
    let backwards = show(&["--since", "2026-11-30T00:00:00Z", "--until", "2026-11-29T00:00:00Z"]);
    assert_eq!((backwards.code, backwards.out.as_str()), (2, ""), "{}", backwards.err);
    // The record is there, and is not what was asked for.
    let number = index.to_string();
    let other = show(&["--index", &number, "--type", "host.start"]);
    assert_eq!((other.code, other.out.as_str()), (3, ""), "{}", other.err);
    assert!(other.err.contains("is a `hook.decision` of"), "{}", other.err);

    // A type that a later version writes is no mistake.
    for fine in
        [&["--type", "trust.time-reset"][..], &["--type", "resume."], &["--since", "9999999999999"]]
    {
        let none = show(fine);
        assert_eq!((none.code, none.out.as_str()), (0, ""), "{fine:?}: {}", none.err);
    }
    assert_eq!(show(&["--type", "hook.", "--index", &number]).code, 0);

    let kind =
        deployment.run(&["hook", "doctor", "--kind", "okta.tokn", "--url", "http://127.0.0.1:1/"]);
    assert_eq!(kind.code, 2, "{}", kind.err);
    assert!(kind.err.contains("did you mean `okta.token`?"), "{}", kind.err);
    let hook = ["hook", "doctor", "--config", "portcullis.toml", "--hook", "tokn"];
    let hook = deployment.run(&[&hook[..], &["--url", "http://127.0.0.1:1/"]].concat());
    assert_eq!(hook.code, 64, "{}", hook.err);
    assert!(hook.err.contains("did you mean `token`?"), "{}", hook.err);
    let state = deployment.run(&["break-glass", "list", "--folder", "none", "--state", "none"]);
    assert_eq!(state.code, 64, "{}{}", state.out, state.err);
    assert!(state.err.contains("trust.state"), "{}", state.err);
}

#[test]
fn text_of_a_caller_does_not_steer_the_terminal_that_shows_it() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let steering =
        "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{202e}evil\u{2066}\u{9b}31m\u{61c}\u{200f}\r\u{2028}";
    let event = format!("c1-{}\u{9b}31m\u{202e}", portcullis_tests::event());
    let sign_in =
        SignIn::with_groups(&["ward-reader"]).profile("firstName", steering).event(&event);
    let index = host.sign_in(&sign_in).index().unwrap();
    let log = host.stop();
    let unsafe_to_show = |text: &str| {
        let shown = text.chars().filter(|it| !matches!(it, '\n' | '\t'));
        shown.into_iter().any(|it| {
            it.is_control()
                || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}'
                    | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}')
        })
    };
    for format in ["text", "json"] {
        let shown = deployment.must(&audit_show(&[
            "--index",
            &index.to_string(),
            "--sealing-key",
            "keys/sealing.key",
            "--format",
            format,
        ]));
        assert!(!unsafe_to_show(&shown), "{format}: {shown:?}");
        assert!(shown.contains("\\u202eevil\\u2066\\u009b31m"), "{format}: {shown}");
    }
    assert_eq!(
        deployment.sealed(index)["request"]["data"]["context"]["user"]["profile"]["firstName"],
        steering,
        "escaped JSON is the same JSON"
    );
    assert!(!unsafe_to_show(&log), "{log:?}");
}

/// The file with the records of a small log.
fn bundle(deployment: &TestDeployment) -> std::path::PathBuf {
    let folder = deployment.path("audit/log/tile/entries/000.p");
    let mut widths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let width = |path: &std::path::PathBuf| -> u64 {
        path.file_name().unwrap().to_str().unwrap().parse().unwrap()
    };
    widths.sort_by_key(width);
    widths.pop().unwrap()
}
