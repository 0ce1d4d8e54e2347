//! The page for plugin authors: from an empty folder to an answered hook, as it says, once for each language that has a template here.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use portcullis_tests::{Host, binary, checkout, skip};
use tempfile::TempDir;

use super::docs::blocks;

#[test]
fn the_page_leads_from_an_empty_folder_to_an_answered_hook_in_rust() {
    follow("rust");
}

#[test]
fn and_in_javascript() {
    // What `cargo xtask test` has fetched is used, so that nothing is fetched twice.
    if std::env::var_os("PORTCULLIS_JAVASCRIPT_TOOLS").is_none() {
        return skip("the tools for plugins in JavaScript", "`cargo xtask test`");
    }
    follow("javascript");
}

/// Runs the page's commands, one block after the other.
fn follow(language: &str) {
    let home = TempDir::new().unwrap();
    let path = TempDir::new().unwrap();
    std::os::unix::fs::symlink(binary(), path.path().join("portcullis")).unwrap();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = fs::read_to_string(checkout().join("docs/writing-plugins.md")).unwrap();
    let page =
        page.replace(":8600", &format!(":{}", port())).replace(":8601", &format!(":{}", port()));
    let page = page.replace("--language javascript", &format!("--language {language}"));

    let mut host = None;
    let mut said = String::new();
    for block in blocks(&page).into_iter().filter(|block| block.language == "sh") {
        if block.text.starts_with("portcullis serve") {
            host = Some(Host::start(home.path()));
            continue;
        }
        let search = format!("{}:{}", path.path().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(home.path())
            .env("PATH", search);
        // What the checkout was built with is locked and at hand; the page's reader has a network.
        shell.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}", block.text);
        said.push_str(&text);
        let built = home.path().join("night-shift/target");
        if language == "rust" && !built.exists() {
            // Kept between runs, so that only the first one compiles what the plugin needs.
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("writing");
            fs::create_dir_all(&kept).unwrap();
            std::os::unix::fs::symlink(kept, built).unwrap();
        }
    }
    for expected in [
        "made the plugin ",
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
        "You cannot sign in here, because only people of pharmacy may. Please ask the help desk if \
         you need access.",
    ] {
        assert!(said.contains(expected), "the page's commands never said `{expected}`:\n{said}");
    }
    host.unwrap().stop();
}
