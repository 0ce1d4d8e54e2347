//! What is promised of every call and cannot be left out, each part by itself and with everything at hand: what a server would take at
//! least that did nothing else.
//!
//! Invariant: the parts take turns, so that a busy machine disturbs them alike, and the least of many rounds is told: together they are a
//! bound from below, not a forecast. Uses the product's own parts; whether those could be quicker is not said here.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Options, componentize};
use portcullis_model::{Document, Limits};
use sha2::{Digest as _, Sha256};

use crate::Done;
use crate::sign_in::SignIn;

/// Prints a line a part: its name and its least time in microseconds.
pub fn run(component: &str, settings: &str, body: &str, file: &str) -> Done {
    let bytes = fs::read(component)?;
    let component = componentize(&bytes).unwrap_or(bytes);
    let engine = Engine::new(Options { workers: 1, ..Options::default() })?;
    let plugin = engine.prepare(&component, &fs::read_to_string(settings)?, Limits::CEILING)?;
    let sign_in =
        SignIn::new((0..60).map(|number| format!("entitlement-{number}")).collect(), None);
    let view = sign_in.view();
    let body = fs::read(body)?;
    let frame = vec![1; (body.len() * TOGETHER).next_multiple_of(BLOCK)];
    let log = File::create(file)?;
    log.write_all_at(&vec![0; frame.len() * PLACES], 0)?;
    let mut place = 0;

    let mut sandbox = || drop(black_box(plugin.evaluate(&view, ALLOWANCE)));
    let mut parsed = || drop(black_box(Document::parse(&body)));
    let mut digested = || _ = black_box((Sha256::digest(&body), Sha256::digest(&body)));
    let mut written = || {
        place = (place + 1) % PLACES;
        let offset = u64::try_from(place * frame.len()).unwrap_or_default();
        drop(black_box(log.write_all_at(&frame, offset)));
    };
    let mut parts: [Part<'_>; 4] = [
        ("sandbox", &mut sandbox, 1, f64::INFINITY),
        ("parse", &mut parsed, 1, f64::INFINITY),
        ("digests", &mut digested, 1, f64::INFINITY),
        ("write", &mut written, TOGETHER, f64::INFINITY),
    ];
    for _ in 0..ROUNDS {
        for (_, part, of_calls, least) in &mut parts {
            let begun = Instant::now();
            (0..TIMES).for_each(|_| part());
            let calls = f64::from(TIMES) * f64::from(u32::try_from(*of_calls)?);
            *least = least.min(begun.elapsed().as_secs_f64() * 1e6 / calls);
        }
    }
    for (name, _, _, least) in parts {
        println!("{name} {least:.2}");
    }
    Ok(())
}

/// Its name, itself, how many calls it is for, and the least it took for one of them.
type Part<'a> = (&'static str, &'a mut dyn FnMut(), usize, f64);

/// A write-ahead frame takes whole blocks.
const BLOCK: usize = 4096;
/// Calls whose records share a frame: all connections of the load.
const TOGETHER: usize = 8;
/// Places that frames are written to in turns: some megabytes of a log.
const PLACES: usize = 64;
const ROUNDS: u32 = 200;
const TIMES: u32 = 50;
/// More than any call here needs.
const ALLOWANCE: Duration = Duration::from_secs(1);
