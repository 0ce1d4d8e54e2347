//! Links that somebody planted in the host's own folders: they decide neither what is written nor what is removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use portcullis_tests::{Binding, CONFLICT, SignIn, TestDeployment, duties, release_active};

/// The files of a folder that is somebody else's, which look like those of a copy.
const PRECIOUS: [&str; 4] =
    ["precious.json", "plugins/precious.wasm", "plugins/other.json", "settings/own.json"];

fn victim(deployment: &TestDeployment, name: &str) {
    for file in PRECIOUS {
        let path = deployment.path(name).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "precious").unwrap();
    }
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn links_in_the_state_folder_lead_to_no_foreign_file() {
    for (what, link) in [
        ("the folder of the copy", "trust-state/last-good"),
        ("its folder of plugins", "trust-state/last-good/plugins"),
        ("its folder of settings", "trust-state/last-good/settings"),
        ("a file of the copy", "trust-state/last-good/plugins/file"),
    ] {
        for served in [false, true] {
            let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
            victim(&deployment, "victim");
            if served {
                deployment.serve().stop();
            }
            let path = deployment.path(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            }
            if what == "a file of the copy" {
                // Every component of the copy is a link to a file with the same content.
                for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
                    let component = entry.unwrap().path();
                    let own = deployment.path("victim").join(component.file_name().unwrap());
                    fs::rename(&component, &own).unwrap();
                    symlink(&own, &component).unwrap();
                }
            } else {
                symlink(deployment.path("victim"), &path).unwrap();
            }
            let before = files(&deployment.path("victim"));
            let host = deployment.serve();
            deployment.release(&[Binding::new("token", "sod", duties())]);
            host.reload_until([release_active(2)]);
            host.stop();
            assert_eq!(files(&deployment.path("victim")), before, "{what}, served: {served}");
            for file in PRECIOUS {
                assert_eq!(
                    deployment.read(&format!("victim/{file}")),
                    "precious",
                    "{what}: {file}"
                );
            }
            // The copy is in the host's own folder, whole.
            fs::remove_dir_all(deployment.path("release")).unwrap();
            fs::remove_dir_all(deployment.path("victim")).unwrap();
            let host = deployment.serve();
            assert!(host.log().has(release_active(2)), "{what}:\n{}", host.log());
            assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "{what}");
            assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
            host.stop();
        }
    }
}
