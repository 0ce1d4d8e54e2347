//! A verifier that we did not write: Python's `securesystemslib`, the library of python-tuf, accepts our
//! manifest envelope at its threshold and refuses it one signature short.
//!
//! The interpreter is `PORTCULLIS_PYTHON`, else `python3`. Without `securesystemslib` and `cryptography`
//! there, the test says that it was skipped; with `PORTCULLIS_REQUIRE_INTEROP=1` that is a failure.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::Hospital;
use portcullis_keys::SecretKey;
use portcullis_trust::{Manifest, sign};

#[test]
fn securesystemslib_agrees() {
    let Some(python) = securesystemslib::python() else {
        assert!(
            std::env::var_os("PORTCULLIS_REQUIRE_INTEROP").is_none_or(|it| it != "1"),
            "securesystemslib is missing"
        );
        println!("SKIPPED: securesystemslib");
        return;
    };
    let hospital = Hospital::new();
    let Hospital { alice, bob, mallory, .. } = &hospital;
    let statement = hospital.statement();
    let signed =
        |keys: &[&SecretKey]| String::from_utf8(sign(Manifest::PAYLOAD_TYPE, statement.as_bytes(), keys)).unwrap();
    let verdict = |envelope: &str| securesystemslib::ask(&python, envelope, &[alice, bob], 2);

    let both = signed(&[alice, bob]);
    assert_eq!(verdict(&both), format!("ACCEPTED {} {}", alice.public().keyid(), bob.public().keyid()));
    for short in [signed(&[alice]), signed(&[alice, mallory])] {
        assert_eq!(verdict(&short), "REFUSED", "{short}");
    }
    assert_eq!(verdict(&both.replace(Manifest::PAYLOAD_TYPE, "application/json")), "REFUSED", "the type is signed");
    println!("securesystemslib agrees");
}

#[cfg(test)]
mod securesystemslib {
    use std::env;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use portcullis_keys::SecretKey;

    pub fn ask(python: &str, envelope: &str, keys: &[&SecretKey], threshold: usize) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = keys.iter().map(|key| {
            let key = key.public();
            serde_json::json!({ "keyid": key.keyid(), "public": hex(key.bytes()) })
        });
        let request = serde_json::json!({
            "envelope": serde_json::from_str::<serde_json::Value>(envelope).unwrap(),
            "keys": keys.collect::<Vec<_>>(),
            "threshold": threshold,
        });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/verify_envelope.py");
        let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the script failed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The interpreter, if it has the library.
    pub fn python() -> Option<String> {
        let python = env::var("PORTCULLIS_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut probe = Command::new(&python);
        probe.args(["-c", "import securesystemslib.dsse, cryptography"]).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success()).then_some(python)
    }
}
