//! Plugins that are hostile to whoever makes them: refused within their limits, each with a sentence and what to do, while the host answers.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use portcullis_tests::{
    Binding, CONFLICT, SetOnDrop, SignIn, TestDeployment, WatPlugin, bomb, component, duties,
    log_event,
};
use serde_json::{Value, json};

/// A deployment that serves, with these lines under `[engine]`.
fn deployment(engine: &str) -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.configure("[audit]", &format!("[engine]\n{engine}\n\n[audit]"));
    deployment
}

/// Each of these is refused with its code, and calls are answered all the while.
fn refused(deployment: &mut TestDeployment, plugins: &[(&str, Vec<u8>, &'static str)]) {
    let host = deployment.serve();
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let codes: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = host.client();
            while !over.load(Ordering::Relaxed) {
                let answer = client
                    .send(&host.request("token", &SignIn::with_groups(&CONFLICT).bytes()))
                    .unwrap();
                assert!(
                    answer.stops_a_token() && answer.index().is_some(),
                    "generation 1 decides all the while"
                );
                calls.fetch_add(1, Ordering::Relaxed);
                thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let end = SetOnDrop(&over);
        let mut codes = Vec::new();
        for (name, bytes, code) in plugins {
            deployment.plant(name, bytes);
            deployment.release(&[
                Binding::new("token", "sod", duties()),
                Binding::new("token", name, json!({})),
            ]);
            let said = host.reload_until(["release.refused", "release.active"]);
            let line = said.first("release.refused");
            let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
            assert_eq!(line.text("code"), *code, "{name}: {line:?}");
            assert!(!line.text("hint").is_empty(), "{name}: {line:?}");
            let told: Value = host.admin("/status").json;
            let refused = &told["release"]["refused"];
            assert_eq!(refused["code"], *code, "{told}");
            assert!(
                refused["sentence"].as_str().is_some_and(|sentence| sentence.len() > 20),
                "{refused}"
            );
            assert_eq!(told["generation"]["number"], 1);
            codes.push(*code);
        }
        drop(end);
        codes
    });
    assert!(calls.load(Ordering::Relaxed) > 0);
    assert_eq!(host.children(), Vec::<String>::new(), "no child is left behind");
    host.stop();
    let records = deployment.records_of("release.refused");
    assert_eq!(
        records.iter().map(|record| record["code"].as_str().unwrap()).collect::<Vec<_>>(),
        codes
    );
}

#[test]
fn what_takes_too_long_to_compile_is_ended() {
    // An ordinary plugin takes one second; on a machine that is busy with others the clock may be the first to say so.
    let mut deployment = deployment("compile_cpu_s = 5\ncompile_wall_s = 45");
    refused(&mut deployment, &[("misbehaving-bomb", bomb(), "compile-time")]);
    // `check` goes the same way.
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 1 && ran.err.contains("[compile-time]") && ran.err.contains(" seconds of "),
        "{ran:?}"
    );
    assert!(ran.err.contains("hint: ") && ran.err.contains("engine.compile_cpu_s"), "{}", ran.err);
}

#[test]
fn what_takes_too_much_memory_to_compile_is_ended() {
    let mut deployment = deployment("compile_memory_bytes = 300_000_000");
    refused(&mut deployment, &[("misbehaving-bomb", bomb(), "compile-memory")]);
}

#[test]
fn what_is_hostile_before_and_after_the_compiler_is_refused() {
    let mut deployment = deployment("configure_ms = 2000");
    let sod = fs::read(component("sod")).unwrap();
    let import = |name: &str| {
        wat::parse_str(format!(r#"(component (import "{name}" (instance)))"#)).unwrap()
    };
    let segment = r#"(data (i32.const 524_287_000) "the last of 500 MiB")"#;
    refused(
        &mut deployment,
        &[
            (
                "misbehaving-loop",
                WatPlugin::default().configure("(loop $again (br $again))").component(),
                "plugin-configure-failed",
            ),
            (
                "misbehaving-start",
                WatPlugin::default()
                    .extra("(func $s (loop $again (br $again))) (start $s)")
                    .component(),
                "plugin-configure-failed",
            ),
            (
                "misbehaving-giant",
                WatPlugin::default().configure("(drop (memory.grow (i32.const 8000)))").component(),
                "plugin-configure-failed",
            ),
            (
                "misbehaving-segment",
                WatPlugin::default().pages(8_000).extra(segment).component(),
                "plugin-no-start",
            ),
            ("misbehaving-large", vec![0; 33 << 20], "component-too-large"),
            (
                "misbehaving-wasi",
                import("wasi:cli/environment@0.2.0"),
                "component-import-forbidden",
            ),
            (
                "misbehaving-import",
                import("hospital:records/read@1.0.0"),
                "component-import-forbidden",
            ),
            ("misbehaving-world", wat::parse_str("(component)").unwrap(), "component-wrong-world"),
            ("misbehaving-cut", sod[..sod.len() / 2].to_vec(), "component-invalid"),
            ("misbehaving-module", wat::parse_str("(module)").unwrap(), "component-is-module"),
        ],
    );
}

#[test]
fn a_file_of_500_megabytes_is_not_even_read() {
    let mut deployment = deployment("configure_ms = 2000");
    deployment.plant("misbehaving-huge", b"\0asm");
    deployment.release(&[Binding::new("token", "misbehaving-huge", json!({}))]);
    let huge = File::create(deployment.path("release/plugins/misbehaving-huge.wasm")).unwrap();
    huge.set_len(500 << 20).unwrap();
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 1
            && ran.err.contains("misbehaving-huge.wasm")
            && ran.err.contains("larger than 67108864 bytes"),
        "{ran:?}"
    );
    assert!(ran.err.contains("[unreadable]"), "{}", ran.err);
}

/// The child itself tries to open a file, a socket and a program; the kernel refuses each.
#[test]
fn the_host_logs_at_start_how_the_compiling_child_is_confined() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let line = host.wait_for("engine.confinement");
    for denied in ["seccomp=full", "files=denied", "network=denied", "programs=denied"] {
        assert!(line.text("report").contains(denied), "{denied}: {line:?}");
    }
    // Otherwise a line of its own says what the kernel lacks.
    let lacks = log_event("engine.confinement").naming("missing", "Landlock");
    assert!(line.text("report").contains("landlock=full") || host.log().has(lacks), "{line:?}");
}
