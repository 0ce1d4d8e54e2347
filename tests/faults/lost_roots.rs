//! Trust roots that this host has accepted and kept, and whose files are damaged or gone: a fault of the host's own
//! files closes no port. The host answers, says what is missing, and goes on when it is there again.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Binding, CONFLICT, Host, SignIn, TestDeployment, binary, duties};

/// A deployment that has accepted trust root 2, which is only in the host's own folder by now.
fn accepted() -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let ran = deployment.next_root(2, &["root"], |source| source);
    assert_eq!(ran.code, 0, "{ran:?}");
    deployment.serve().stop();
    fs::rename(deployment.path("trust-roots"), deployment.path("away")).unwrap();
    fs::create_dir(deployment.path("trust-roots")).unwrap();
    deployment.serve().stop();
    deployment
}

fn flip(deployment: &TestDeployment, file: &str, place: usize) {
    let mut bytes = fs::read(deployment.path(file)).unwrap();
    let place = place.min(bytes.len() - 1);
    bytes[place] ^= 1;
    deployment.write(file, bytes);
}

fn decides(host: &Host) -> bool {
    !host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token()
}

#[test]
fn a_kept_trust_root_that_is_damaged_or_gone_keeps_the_port_open() {
    type Harm = (&'static str, fn(&TestDeployment));
    let harms: [Harm; 7] = [
        ("a byte at its beginning", |deployment| flip(deployment, KEPT, 0)),
        ("a byte in its payload", |deployment| flip(deployment, KEPT, 100)),
        ("a byte at its end", |deployment| flip(deployment, KEPT, usize::MAX)),
        ("an empty file", |deployment| deployment.write(KEPT, "")),
        ("no file", |deployment| fs::remove_file(deployment.path(KEPT)).unwrap()),
        ("no folder", |deployment| {
            fs::remove_dir_all(deployment.path("trust-state/roots")).unwrap()
        }),
        ("a file for a folder", |deployment| {
            fs::remove_dir_all(deployment.path("trust-state/roots")).unwrap();
            deployment.write("trust-state/roots", "");
        }),
    ];
    for (what, harm) in harms {
        for forgotten in [false, true] {
            let deployment = accepted();
            harm(&deployment);
            if forgotten {
                fs::remove_file(deployment.path("trust-state/memory")).unwrap();
            }
            let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
            // The log names the trust root, with or without the memory.
            let begin = Instant::now();
            loop {
                let ready = host.admin("/ready");
                let said = String::from_utf8(ready.body.clone()).unwrap();
                if ready.status == 503 && said.contains("root-lost") {
                    break;
                }
                let patience = begin.elapsed() < Duration::from_secs(30);
                assert!(patience, "{what}, forgotten: {forgotten}: {said}\n{}", host.log());
                thread::sleep(Duration::from_millis(20));
            }
            assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "{what}");
            assert!(!decides(&host), "{what}: the safe answer");
            if what == "a file for a folder" {
                fs::remove_file(deployment.path("trust-state/roots")).unwrap();
            }
            fs::remove_dir(deployment.path("trust-roots")).unwrap();
            fs::rename(deployment.path("away"), deployment.path("trust-roots")).unwrap();
            let begin = Instant::now();
            while !decides(&host) {
                assert!(begin.elapsed() < Duration::from_secs(30), "{what}:\n{}", host.log());
                thread::sleep(Duration::from_millis(20));
            }
            host.stop();
        }
    }
}

/// Where the host keeps trust root 2.
const KEPT: &str = "trust-state/roots/000002.json";
