//! What a newcomer does in the wrong order or with the wrong file: the command does what was meant, or
//! says which file is wrong and what to do.

use std::fs;

use portcullis_tests::{Binding, SignIn, TestDeployment, below, duties};

#[test]
fn a_sealed_part_that_was_altered_ends_show_with_an_error() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let index = host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().unwrap();
    host.stop();
    let place = index.to_string();
    let show = |key: &str| {
        let command = ["audit", "show", "--log", "audit/log", "--vkey", "log.vkey"];
        let more = ["--index", place.as_str(), "--sealing-key", key];
        deployment.run(&[&command[..], &more].concat())
    };
    let whole = show("keys/sealing.key");
    assert!(whole.code == 0 && whole.out.contains("sealed: "), "{whole:?}");
    // Another key opens nothing, and says nothing of the log.
    let other = show("keys/pseudonym.key");
    assert!(other.code == 0 && other.out.contains("cannot be read"), "{other:?}");
    for file in below(&deployment.path("audit/sealed")) {
        let mut bytes = fs::read(&file).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        bytes.iter_mut().rev().skip(1).step_by(7).for_each(|byte| *byte ^= 1);
        fs::write(&file, bytes).unwrap();
    }
    let altered = show("keys/sealing.key");
    assert_eq!(altered.code, 1, "{altered:?}");
    assert!(altered.err.contains("error: ") && altered.err.contains("hint: "), "{altered:?}");
}

#[test]
fn folders_of_documents_about_the_time_and_of_trust_roots_are_made() {
    let deployment = TestDeployment::build(&[]);
    let confirm = |log: &str, output: &str| {
        let document = ["trust", "confirm-clock", "--vkey", log, "--root", "trust-root.json"];
        let why = ["--person", "noor.haddad", "--reason", "off", "--ticket", "CHG-1"];
        let key = ["--key", "keys/release.key", "--output", output];
        deployment.run(&[&document[..], &why, &key].concat())
    };
    assert!(!deployment.path("time-documents").exists());
    let made = confirm("log.vkey", "time-documents/clock.json");
    assert!(made.code == 0 && deployment.path("time-documents/clock.json").exists(), "{made:?}");
    let again = confirm("log.vkey", "time-documents/second.json");
    assert_eq!(again.code, 0, "{again:?}");
    let far = confirm("log.vkey", "nowhere/at/all/clock.json");
    assert!(far.code == 64 && far.err.contains("the folder `nowhere/at/all`"), "{far:?}");
    assert!(far.err.contains("hint: "), "{far:?}");
    // The private key instead of the public one is named, and stays private.
    let private = confirm("keys/log.key", "time-documents/third.json");
    assert!(private.code == 64 && private.err.contains("`keys/log.key`"), "{private:?}");
    assert!(private.err.contains("this is the private key"), "{private:?}");
    let text = deployment.read("keys/log.key");
    assert!(!private.err.contains(text.trim()), "{private:?}");
}

#[test]
fn a_log_folder_that_is_not_there_is_no_damage() {
    let deployment = TestDeployment::build(&[]);
    let ran = deployment.run(&["audit", "verify", "--log", "audit/logs", "--vkey", "log.vkey"]);
    assert!(
        ran.code == 64 && ran.err.contains("the folder `audit/logs` does not exist"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("damaged"), "{ran:?}");
}

#[test]
fn a_rollback_to_a_set_that_was_signed_over_says_which_and_what_to_do() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    deployment.release(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    let ran = deployment.run(&["release", "rollback", "--config", "portcullis.toml", "--dry-run"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("the archive has no release set 1 (sha256:"), "{ran:?}");
    assert!(ran.err.contains("Sign the content of the older set again"), "{ran:?}");
}

#[test]
fn the_doctor_tells_no_record_where_no_call_made_one() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.write_secret("secrets/wrong", "a-secret-of-thirty-two-characterz");
    let host = deployment.serve();
    let url = format!("http://{}/okta/token", host.address());
    let doctor = |secret: &str| {
        let arguments = ["hook", "doctor", "--kind", "okta.token", "--url", &url, "--calls", "1"];
        deployment.run(&[&arguments[..], &["--secret-file", secret]].concat())
    };
    let right = doctor("secrets/token");
    assert!(right.code == 0 && right.out.contains("the calls made records"), "{right:?}");
    for what in ["a wrong secret is answered with", "no secret is answered with"] {
        assert_eq!(right.out.matches(what).count(), 1, "{right:?}");
    }
    let wrong = doctor("secrets/wrong");
    assert!(wrong.out.contains("the calls made no record"), "{wrong:?}");
    assert!(!wrong.out.contains("ok    retry"), "{wrong:?}");
    assert!(wrong.err.contains("1 check found something wrong"), "{wrong:?}");
    let https = url.replace("http://", "https://");
    let arguments = ["hook", "doctor", "--kind", "okta.token", "--url", &https];
    let ran = deployment.run(&[&arguments[..], &["--secret-file", "secrets/token"]].concat());
    assert!(ran.out.contains("does not use TLS at this port"), "{ran:?}");
    assert!(ran.out.contains("the calls made no record"), "{ran:?}");
    host.stop();
}
