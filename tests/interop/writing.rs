//! The page for plugin authors: from an empty folder to an answered hook, as it says, once for each language that has a template here.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::{Host, binary, checkout};
use tempfile::TempDir;

use super::docs::blocks;

#[test]
fn the_page_leads_from_an_empty_folder_to_an_answered_hook_in_rust() {
    follow("rust", |_| {});
}

#[test]
fn and_in_javascript() {
    if !checkout().join("guest-sdk/javascript/template/portcullis-plugin.toml").exists() {
        return;
    }
    // The tools that `cargo xtask test` has fetched, so that nothing is fetched twice.
    let Some(tools) = std::env::var_os("PORTCULLIS_JAVASCRIPT_TOOLS").map(PathBuf::from) else {
        assert!(std::env::var_os("PORTCULLIS_REQUIRE_INTEROP").is_none(), "JavaScript's tools are required here");
        return;
    };
    follow("javascript", |plugin| {
        std::os::unix::fs::symlink(tools.join("node_modules"), plugin.join("node_modules")).unwrap();
    });
}

/// Runs the page's commands, one block after the other; `begun` sees the plugin's folder once it is there.
fn follow(language: &str, begun: impl FnOnce(&Path)) {
    let home = TempDir::new().unwrap();
    let path = TempDir::new().unwrap();
    std::os::unix::fs::symlink(binary(), path.path().join("portcullis")).unwrap();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = fs::read_to_string(checkout().join("docs/writing-plugins.md")).unwrap();
    let page = page.replace(":8600", &format!(":{}", port())).replace(":8601", &format!(":{}", port()));
    let page = page.replace("--language javascript", &format!("--language {language}"));

    let mut begun = Some(begun);
    let mut host = None;
    let mut said = String::new();
    for block in blocks(&page).into_iter().filter(|block| block.language == "sh") {
        if block.text.starts_with("portcullis serve") {
            host = Some(Host::start(home.path()));
            continue;
        }
        let search = format!("{}:{}", path.path().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &block.text]).current_dir(home.path()).env("PATH", search);
        // What the checkout was built with is locked and at hand; the page's reader has a network.
        shell.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}", block.text);
        said.push_str(&text);
        let plugin = home.path().join("night-shift");
        if let Some(begun) = begun.take_if(|_| plugin.exists()) {
            begun(&plugin);
            // Kept between runs, so that only the first one compiles what the plugin needs.
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("writing-{language}"));
            fs::create_dir_all(&target).unwrap();
            std::os::unix::fs::symlink(target, plugin.join("target")).unwrap();
        }
    }
    for expected in [
        "a plugin in ",
        "night-shift/night-shift.wasm: ",
        "people of one department: ",
        " 0 failed",
        "suite.snapshot.txt written",
        "finding  OTHER_DEPARTMENT deny",
        "fuel     ",
        "ratio    ",
        "[settings-invalid]",
        "`/longest_seconds`: ",
        "the suite that passed",
        "release set 1 is in order",
        "Only people of pharmacy can sign in here.",
    ] {
        assert!(said.contains(expected), "the page's commands never said `{expected}`:\n{said}");
    }
    host.unwrap().stop();
}
