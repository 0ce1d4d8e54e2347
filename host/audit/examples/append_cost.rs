//! Measures what a record costs: the caller's part of `append`, and records a second with many callers.
//!
//! `cargo run --release -p portcullis-audit --example append_cost [disk|kernel] [callers] [records] [DIR]`

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measuring tool"
)]

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use portcullis_audit::{Commit, Entry, Log, Options, SealKey, Sealer};
use portcullis_keys::{SecretKey, SymmetricKey};

fn main() {
    let argument =
        |place: usize, default: &str| env::args().nth(place).unwrap_or_else(|| default.to_owned());
    let commit = if argument(1, "disk") == "kernel" { Commit::Kernel } else { Commit::Disk };
    let callers: usize = argument(2, "8").parse().unwrap();
    let records: usize = argument(3, "20000").parse().unwrap();
    let parent = tempfile::tempdir_in(argument(4, ".")).unwrap();
    let key = Arc::new(SecretKey::generate("bench.example").unwrap());
    let clock = Arc::new(|| {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis())
            .unwrap()
            .into()
    });
    let sealer = Sealer::new(SealKey::new(SymmetricKey::generate().unwrap()));
    let options = Options::new(parent.path().join("log"), "default".into(), key, sealer, clock);
    let (log, _) = Log::open(Options { commit, ..options }).unwrap();
    let fields = format!(
        r#""hook":{{"kind":"okta.token","event":"{}"}},"bindings":[{{"id":"org.example.sod"}}]"#,
        "x".repeat(700)
    );
    let entry =
        || Entry { kind: "hook.decision", fields: fields.clone(), sealed: Some(vec![7; 3000]) };

    // Without waiting in between the writer is awake, and what is left is the caller's own work.
    // Bursts, so that the writer is awake and what is left is the caller's own work.
    let mut bursts = Vec::new();
    for _ in 0..200 {
        let entries: Vec<_> = (0..64).map(|_| entry()).collect();
        let burst = Instant::now();
        let pending: Vec<_> = entries.into_iter().map(|entry| log.append(entry).unwrap()).collect();
        bursts.push(burst.elapsed().as_secs_f64() * 1e6 / 64.0);
        pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    }
    bursts.sort_by(f64::total_cmp);
    println!("append, in bursts of 64: median {:.1} µs, best {:.1} µs", bursts[100], bursts[0]);

    let started = Instant::now();
    let mut waits: Vec<f64> = thread::scope(|scope| {
        let work = || {
            (0..records / callers)
                .map(|_| {
                    let start = Instant::now();
                    let pending = log.append(entry()).unwrap();
                    let appended = start.elapsed();
                    pending.wait().unwrap();
                    (appended.as_secs_f64() * 1e6, start.elapsed().as_secs_f64() * 1e6)
                })
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(work)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let mut appends: Vec<f64> = all.iter().map(|(append, _)| *append).collect();
        appends.sort_by(f64::total_cmp);
        println!("append, with a wait after each: median {:.1} µs", appends[appends.len() / 2]);
        all.into_iter().map(|(_, wait)| wait).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    println!(
        "{:.0} records/s, receipt after p50 {:.0} µs, p99 {:.0} µs",
        records as f64 / seconds,
        at(50),
        at(99)
    );
    log.close().unwrap();
}
