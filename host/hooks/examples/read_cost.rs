//! What it costs to read a hook's body: `cargo run --release -p portcullis-hooks --example read_cost -- BODY-FILE`.
//!
//! Prints the least of many rounds for parsing alone, and for reading it as a call of `okta.token` and dropping that.

#![expect(clippy::disallowed_methods, reason = "reads a file that its caller names")]

use std::time::Instant;

use portcullis_hooks::{HookKind, HookSettings, ParseContext, Request, read};
use portcullis_model::{AttributeFilter, Document, Millis};

fn main() {
    let Some(body) = std::env::args().nth(1).and_then(|file| std::fs::read(file).ok()) else {
        return eprintln!("give the file of a body of okta.token");
    };
    let settings = HookSettings::default();
    // What `sod` reads.
    let mut wanted = AttributeFilter::default();
    wanted.add(["facility"]);
    let frame = ParseContext {
        tenant: "default",
        received: Millis(0),
        seed: 1,
        settings: &settings,
        wanted: &wanted,
    };
    let header = |_: &str| None;

    let request = Request { get: false, route: "", header: &header, searches: false, body: &body };
    least("parse", || drop(Document::parse(&body)));
    least("read", || drop(read(HookKind::OktaToken, &request, &frame)));
}

fn least(what: &str, work: impl Fn()) {
    let mut least = f64::INFINITY;
    for _ in 0..200 {
        let begun = Instant::now();
        (0..100).for_each(|_| work());
        least = least.min(begun.elapsed().as_secs_f64() * 10_000.0);
    }
    println!("{what}: {least:.2} µs");
}
