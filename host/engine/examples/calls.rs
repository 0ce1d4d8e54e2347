//! Makes many calls of one plugin, for counting what a call costs: time, page faults, system calls.
//!
//! `calls PLUGIN SETTINGS N [THREADS]`: prepares the component (or core module) with the settings, warms up,
//! and makes N calls on each thread. Prints the median and the 99th percentile of a call and of its cleaning
//! up, and the page faults. For system calls: `strace -f -e trace='!sched_yield' -o trace.txt calls …`;
//! everything between the two `write`s that begin with `calls begin` and `calls end` is theirs (the thread
//! named `epoch` only sleeps).

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use portcullis_engine::{Engine, Options, Plugin, componentize};
use portcullis_model::Limits;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (plugin, settings, count, threads) = match arguments.as_slice() {
        [plugin, settings, count] => (plugin, settings, count.parse()?, 1),
        [plugin, settings, count, threads] => (plugin, settings, count.parse()?, threads.parse()?),
        _ => return Err("usage: calls PLUGIN SETTINGS N [THREADS]".into()),
    };
    let bytes = fs::read(PathBuf::from(plugin))?;
    let component = componentize(&bytes).unwrap_or(bytes);
    let settings = fs::read_to_string(settings)?;

    let engine = Engine::new(Options { workers: threads, ..Options::default() })?;
    let begun = Instant::now();
    let plugin = engine
        .prepare(&component, &settings, Limits::CEILING)
        .inspect_err(|refused| refused.complaints().iter().for_each(|text| println!("{text}")))?;
    println!("reset {}", engine.reset());
    println!(
        "prepare {:?}, component {} bytes, snapshot {} bytes",
        begun.elapsed(),
        component.len(),
        plugin.snapshot_bytes()
    );

    thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(|| run(&plugin, count))).collect();
        for run in runs {
            match run.join() {
                Ok(summary) => println!("{summary}"),
                Err(_) => println!("a thread failed"),
            }
        }
    });
    Ok(())
}

/// Calls on this thread, after as many again for warming up.
fn run(plugin: &Plugin, count: usize) -> String {
    let person = support::Person::new();
    let view = person.view();
    // Written before, so that the page faults counted are those of the calls.
    let mut times = vec![(Duration::MAX, Duration::MAX); count];
    let mut outcomes = [0_usize; 2];
    for _ in 0..count {
        drop(plugin.evaluate(&view, ALLOWANCE));
    }
    println!("calls begin");
    let faults = support::minor_faults();
    for (call, cleaning) in &mut times {
        let evaluation = plugin.evaluate(&view, ALLOWANCE);
        let [good, bad] = &mut outcomes;
        *(if evaluation.outcome.is_ok() { good } else { bad }) += 1;
        *call = evaluation.spent;
        let begun = Instant::now();
        drop(evaluation.remains);
        *cleaning = begun.elapsed();
    }
    let faults = support::minor_faults().zip(faults).map(|(after, before)| after - before);
    println!("calls end");
    let [good, bad] = outcomes;
    let mut texts = vec![format!("decisions {good}, faults {bad}, page faults {faults:?}")];
    let (calls, cleanings): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    for (name, mut times) in [("call", calls), ("cleaning up", cleanings)] {
        times.sort_unstable();
        let at =
            |per_mille: usize| times.get(times.len().saturating_mul(per_mille) / 1_000).copied().unwrap_or_default();
        texts.push(format!("{name}: p50 {:?}, p99 {:?}, least {:?}", at(500), at(990), at(0)));
    }
    texts.join("\n")
}

/// More than any call here needs.
const ALLOWANCE: Duration = Duration::from_secs(1);
