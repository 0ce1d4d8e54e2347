//! Many calls of one plugin, between two marks, for counting what a call asks of the kernel.
//!
//! Invariant: between the lines `calls begin` and `calls end` this thread does nothing but calls, so that every system call
//! that a tracer sees there is theirs.

use std::fs;
use std::time::Duration;

use portcullis_engine::{Engine, Options, componentize};
use portcullis_model::Limits;

use crate::Done;
use crate::sign_in::SignIn;

/// Warms up, calls, and prints the page faults of the calls.
pub fn run(component: &str, settings: &str, calls: &str) -> Done {
    let calls: usize = calls.parse()?;
    let bytes = fs::read(component)?;
    let component = componentize(&bytes).unwrap_or(bytes);
    let settings = fs::read_to_string(settings)?;
    let engine = Engine::new(Options { workers: 1, ..Options::default() })?;
    println!("reset {}", engine.reset());
    let plugin = engine.prepare(&component, &settings, Limits::CEILING)?;

    let sign_in =
        SignIn::new((0..60).map(|number| format!("entitlement-{number}")).collect(), None);
    let mut decided = 0;
    let mut call =
        || decided += usize::from(plugin.evaluate(&sign_in.view(), ALLOWANCE).outcome.is_ok());
    for _ in 0..calls {
        call();
    }
    println!("thread {}", std::process::id());
    let before = minor_faults()?;
    println!("calls begin");
    for _ in 0..calls {
        call();
    }
    println!("calls end");
    println!("faults {}", minor_faults()? - before);
    if decided == 2 * calls {
        Ok(())
    } else {
        Err(format!("of {} calls {decided} were decided", 2 * calls).into())
    }
}

/// Page faults of this thread that needed no disk.
fn minor_faults() -> Done<u64> {
    let stat = fs::read_to_string("/proc/thread-self/stat")?;
    // proc(5): the second field is a name in parentheses, which may hold spaces; `minflt` is the eighth after it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    let faults = fields
        .and_then(|mut fields| fields.nth(7))
        .ok_or("the kernel does not tell page faults")?;
    Ok(faults.parse()?)
}

/// More than any call here needs.
const ALLOWANCE: Duration = Duration::from_secs(1);
