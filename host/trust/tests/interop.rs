//! Verifiers that we did not write: Python's `securesystemslib` accepts our envelopes at their threshold and
//! refuses them one signature short; `tuf` lets a root follow another exactly where we do.
//!
//! The interpreter is `PORTCULLIS_PYTHON`, else `python3`. Without `securesystemslib`, `tuf` and `cryptography`
//! there the tests fail, unless `PORTCULLIS_SKIP_MISSING=1` allows to skip them.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;
#[cfg(test)]
#[expect(
    dead_code,
    clippy::disallowed_methods,
    reason = "each program of tests uses a part of the file, which writes what tests skip"
)]
#[path = "../../../tests/support/missing_tool.rs"]
mod missing_tool;

use common::{Hospital, NOW};
use missing_tool::skip;
use portcullis_keys::SecretKey;
use portcullis_trust::{
    BreakGlass, Downgrade, Manifest, ReleaseSet, RootSource, TrustRoot, sign, verify_root,
};

#[test]
fn securesystemslib_agrees() {
    let Some(python) = securesystemslib::python() else {
        return skip("securesystemslib", PACKAGES);
    };
    let hospital = Hospital::new();
    let Hospital { alice, bob, mallory, .. } = &hospital;
    let statement = hospital.statement();
    let signed = |keys: &[&SecretKey]| {
        String::from_utf8(sign(Manifest::PAYLOAD_TYPE, statement.as_bytes(), keys)).unwrap()
    };
    let verdict = |envelope: &str| securesystemslib::ask(&python, envelope, &[alice, bob], 2);

    let both = signed(&[alice, bob]);
    assert_eq!(
        verdict(&both),
        format!("ACCEPTED {} {}", alice.public().keyid(), bob.public().keyid())
    );
    for short in [signed(&[alice]), signed(&[alice, mallory])] {
        assert_eq!(verdict(&short), "REFUSED", "{short}");
    }
    assert_eq!(
        verdict(&both.replace(Manifest::PAYLOAD_TYPE, "application/json")),
        "REFUSED",
        "the type is signed"
    );
    // Every other kind of document is the same envelope.
    let (root, release) = (hospital.root_payload(), hospital.release_payload());
    for (kind, payload) in [
        (TrustRoot::PAYLOAD_TYPE, root.as_str()),
        (ReleaseSet::PAYLOAD_TYPE, &release),
        (Downgrade::PAYLOAD_TYPE, include_str!("golden/downgrade.payload.json")),
        (BreakGlass::PAYLOAD_TYPE, include_str!("golden/break-glass.payload.json")),
    ] {
        let envelope =
            |keys: &[&SecretKey]| String::from_utf8(sign(kind, payload.as_bytes(), keys)).unwrap();
        assert!(verdict(&envelope(&[alice, bob])).starts_with("ACCEPTED"), "{kind}");
        assert_eq!(verdict(&envelope(&[bob, mallory])), "REFUSED", "{kind}");
    }
    println!("securesystemslib agrees");
}

#[cfg(test)]
const PACKAGES: &str = "the Python packages that `cargo xtask test` fetches, for the Python that PORTCULLIS_PYTHON names (`python/python` in the target directory)";

/// Which keys a root has, by the byte that their seeds are made of, how many of them must sign, and its number.
#[cfg(test)]
struct Root {
    version: u64,
    keys: &'static [u8],
    threshold: usize,
}

#[test]
fn tuf_lets_a_root_follow_where_we_do() {
    let Some(python) = securesystemslib::python() else {
        return skip("tuf", PACKAGES);
    };
    let before = Root { version: 1, keys: &[0x41, 0x42, 0x43], threshold: 2 };
    let next = |version, keys, threshold| Root { version, keys, threshold };
    let other = || next(2, &[0x43, 0x44, 0x45], 2);
    for (next, signers, follows) in [
        (other(), &[0x41, 0x43, 0x44][..], true),
        (other(), &[0x41, 0x42, 0x44, 0x45], true),
        // The one key that serves both counts for both; alone it is too few for either.
        (other(), &[0x43, 0x41, 0x45], true),
        (other(), &[0x43], false),
        (other(), &[0x41, 0x42], false),
        (other(), &[0x44, 0x45], false),
        (other(), &[0x43, 0x44], false),
        (other(), &[0x41, 0x42, 0x44], false),
        (other(), &[], false),
        (next(2, before.keys, 2), &[0x41, 0x43], true),
        (next(2, before.keys, 1), &[0x41], false),
        (next(2, before.keys, 3), &[0x41, 0x42], false),
        (next(2, before.keys, 3), &[0x41, 0x42, 0x43], true),
        (next(3, before.keys, 2), &[0x41, 0x42, 0x43], false),
        (next(1, before.keys, 2), &[0x41, 0x42, 0x43], false),
        (next(2, &[0x46], 1), &[0x41, 0x42, 0x46], true),
        (next(2, &[0x46], 1), &[0x41, 0x46], false),
    ] {
        let ours = follow(&before, &next, signers);
        let theirs = securesystemslib::follow(&python, &before, &next, signers);
        let shown = format!("{} {:x?} {} by {signers:x?}", next.version, next.keys, next.threshold);
        assert_eq!(
            (ours, theirs.as_str()),
            (follows, if follows { "ACCEPTED" } else { "REFUSED" }),
            "{shown}"
        );
    }
    println!("tuf agrees");
}

/// Whether we let it follow.
#[cfg(test)]
fn follow(before: &Root, next: &Root, signers: &[u8]) -> bool {
    let key =
        |byte: &u8| SecretKey::from_seed(&format!("key-{byte}.example"), &[*byte; 32]).unwrap();
    let hospital = Hospital::new();
    let payload = |root: &Root| {
        let vkeys: Vec<_> =
            root.keys.iter().map(|byte| format!("\"{}\"", key(byte).public())).collect();
        let role = format!("keys = [{}]\nthreshold = {}", vkeys.join(", "), root.threshold);
        let ours = format!("keys = [\"{}\"]\nthreshold = 1", hospital.root_key.public());
        let version = format!("version = {}", root.version);
        let text = hospital.root_toml().replacen(&ours, &role, 1).replace("version = 3", &version);
        RootSource::parse(&text).unwrap().to_payload(None, NOW).unwrap()
    };
    let signed = |root: &Root, by: &[u8]| {
        let keys: Vec<_> = by.iter().map(key).collect();
        sign(TrustRoot::PAYLOAD_TYPE, &payload(root), &keys.iter().collect::<Vec<_>>())
    };
    let first = verify_root(&signed(before, before.keys), NOW).unwrap();
    first.next(&signed(next, signers)).is_ok()
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
        run(python, "verify_envelope.py", &request)
    }

    /// What python-tuf says of the same keys, thresholds, numbers and signers.
    pub fn follow(
        python: &str,
        before: &super::Root,
        next: &super::Root,
        signers: &[u8],
    ) -> String {
        let seed = |byte: &u8| format!("{byte:02x}").repeat(32);
        let root = |root: &super::Root| {
            let keys: Vec<_> = root.keys.iter().map(seed).collect();
            serde_json::json!({"version": root.version, "keys": keys, "threshold": root.threshold})
        };
        let signers: Vec<_> = signers.iter().map(seed).collect();
        let request =
            serde_json::json!({"before": root(before), "next": root(next), "signers": signers});
        run(python, "follow_root.py", &request)
    }

    fn run(python: &str, script: &str, request: &serde_json::Value) -> String {
        let script =
            format!("{}/tests/interop/{script}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the script failed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The interpreter, if it has the libraries.
    pub fn python() -> Option<String> {
        let python = env::var("PORTCULLIS_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut probe = Command::new(&python);
        probe
            .args(["-c", "import securesystemslib.dsse, tuf.ngclient, cryptography"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success()).then_some(python)
    }
}
