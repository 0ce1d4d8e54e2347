//! Trust roots that this host has accepted and kept, and whose files are damaged or gone: a fault of the host's own
//! files closes no port. The host answers, says what is missing, and goes on when it is there again.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Binding, CONFLICT, Host, House, SignIn, binary, duties};

/// A house that has accepted trust root 2, which is only in the host's own folder by now.
fn accepted() -> House {
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    let ran = house.next_root(2, &["root"], |source| source);
    assert_eq!(ran.code, 0, "{ran:?}");
    house.serve().stop();
    fs::rename(house.path("trust-roots"), house.path("away")).unwrap();
    fs::create_dir(house.path("trust-roots")).unwrap();
    house.serve().stop();
    house
}

fn flip(house: &House, file: &str, place: usize) {
    let mut bytes = fs::read(house.path(file)).unwrap();
    let place = place.min(bytes.len() - 1);
    bytes[place] ^= 1;
    house.write(file, bytes);
}

fn decides(host: &Host) -> bool {
    !host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token()
}

#[test]
fn a_kept_trust_root_that_is_damaged_or_gone_keeps_the_port_open() {
    type Harm = (&'static str, fn(&House));
    let harms: [Harm; 7] = [
        ("a byte at its beginning", |house| flip(house, KEPT, 0)),
        ("a byte in its payload", |house| flip(house, KEPT, 100)),
        ("a byte at its end", |house| flip(house, KEPT, usize::MAX)),
        ("an empty file", |house| house.write(KEPT, "")),
        ("no file", |house| fs::remove_file(house.path(KEPT)).unwrap()),
        ("no folder", |house| fs::remove_dir_all(house.path("trust-state/roots")).unwrap()),
        ("a file for a folder", |house| {
            fs::remove_dir_all(house.path("trust-state/roots")).unwrap();
            house.write("trust-state/roots", "");
        }),
    ];
    for (what, harm) in harms {
        for forgotten in [false, true] {
            let house = accepted();
            harm(&house);
            if forgotten {
                fs::remove_file(house.path("trust-state/memory")).unwrap();
            }
            let host = Host::begin_with(&house.path(""), Command::new(binary()));
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
                fs::remove_file(house.path("trust-state/roots")).unwrap();
            }
            fs::remove_dir(house.path("trust-roots")).unwrap();
            fs::rename(house.path("away"), house.path("trust-roots")).unwrap();
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
