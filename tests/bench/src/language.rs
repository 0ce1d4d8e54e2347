//! What a plugin costs, in whatever language it is written: to make, to keep, to call.
//!
//! Invariant: every call is decided, and alike; times are told, not judged.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Fault, Options, componentize, inspect};
use portcullis_model::Limits;

use crate::Done;
use crate::sign_in::SignIn;

/// Prepares the plugin, asks it again and again about somebody at work, and prints one line.
pub fn run(component: &str, settings: &str, calls: &str) -> Done {
    let calls: usize = calls.parse()?;
    let bytes = fs::read(component)?;
    let component = componentize(&bytes).unwrap_or(bytes);
    let inspection = inspect(&component)?;
    let settings = fs::read_to_string(settings)?;
    // As patient as a machine that is busy with other things needs.
    let options = Options { workers: 1, plugins: 2, configure_time: Duration::from_secs(60) };
    let engine = Engine::new(options)?;
    let before = resident()?;
    let begun = Instant::now();
    let plugin = engine.prepare(&component, &settings, Limits::CEILING).inspect_err(|refused| {
        refused.setting_errors().iter().for_each(|complaint| eprintln!("{complaint}"));
    })?;
    let made = begun.elapsed();

    let sign_in =
        SignIn::new((0..60).map(|number| format!("entitlement-{number}")).collect(), None)
            .attribute("status", "active")
            .attribute("department", "pharmacy");
    let (mut answers, mut wholes, mut first) = (Vec::new(), Vec::new(), None);
    for round in 0..calls + WARM_UP {
        let begun = Instant::now();
        let evaluation = plugin.evaluate(&sign_in.view(), ALLOWANCE);
        let answered = begun.elapsed();
        drop(evaluation.spent_instance);
        let whole = begun.elapsed();
        let decision = evaluation.outcome.map_err(|fault| match fault {
            Fault::Error(text) => text.expose().clone(),
            fault => fault.to_string(),
        })?;
        if *first.get_or_insert_with(|| decision.clone()) != decision {
            return Err("two answers to one call differ".into());
        }
        if round >= WARM_UP {
            answers.push(answered);
            wholes.push(whole);
        }
    }
    // The same snapshot under ever tighter limits: nothing is compiled again while one of them lives.
    let (mut too_little, mut enough) = (0, Limits::CEILING.memory_bytes / PAGE);
    while enough - too_little > 1 {
        let pages = too_little.midpoint(enough);
        let limits = Limits { memory_bytes: pages * PAGE, ..Limits::CEILING };
        let works = engine
            .prepare(&component, &settings, limits)
            .is_ok_and(|tight| tight.evaluate(&sign_in.view(), ALLOWANCE).outcome.is_ok());
        if works { enough = pages } else { too_little = pages }
    }
    let [answer, whole] = [&mut answers, &mut wholes].map(|times| {
        times.sort_unstable();
        let at = |part: usize| {
            times.get(times.len() * part / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        (at(50), at(99))
    });
    println!(
        "component {} kB, begins with {} KiB; made in {:.2} s, snapshot {} kB; {} kB resident for code, snapshot and one slot; \
         enough memory: {} KiB; \
         {calls} calls: answer {:.0} µs (99 of 100 within {:.0}), wiped {:.0} µs (within {:.0}); reset {}",
        inspection.bytes / 1_000,
        inspection.memory_bytes / 1_024,
        made.as_secs_f64(),
        plugin.snapshot_bytes() / 1_000,
        resident()?.saturating_sub(before) / 1_000,
        enough * PAGE / 1_024,
        answer.0,
        answer.1,
        whole.0,
        whole.1,
        engine.reset(),
    );
    Ok(())
}

/// Memory of this process that is in RAM, bytes.
fn resident() -> Done<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("the kernel does not tell memory")?;
    let kib = line.split_whitespace().next().ok_or("the kernel does not tell memory")?;
    Ok(kib.parse::<u64>()? * 1_024)
}

/// A WebAssembly page, bytes.
const PAGE: u64 = 65_536;

const WARM_UP: usize = 20;

/// More than any call here needs.
const ALLOWANCE: Duration = Duration::from_secs(1);
