//! `portcullis plugin bench`: what a call costs, in counts first and then in time, against a plugin that does nothing.
//!
//! Invariant: both plugins are asked the same on the same view, in turns, in one run: a busy machine slows both.

use std::time::Duration;

use clap::Args;
use portcullis_engine::{CallServices, Plugin as PreparedPlugin};
use portcullis_model::{Limits, View};
use portcullis_server::test_terms;
use portcullis_suite::TestCall;
use serde_json::json;

use super::run::{CallArguments, cost_json, cost_text};
use crate::clock::{elapsed_since, monotonic_now};
use crate::exit::{CliError, CliResult, Format};

/// Measure calls.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    call: CallArguments,
    /// How long to measure, in milliseconds; at most 60,000.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    milliseconds: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Bench {
    /// Does it.
    pub fn run(self) -> CliResult {
        let prompt = self.call.prepare()?;
        let TestCall::Evaluate(incoming) = &prompt.question else {
            return Err(CliError::configuration(
                "a search cannot be measured; give a payload that asks about one candidate",
            ));
        };
        let view = prompt.manifest.reads.view(&incoming.call).map_err(CliError::wrong)?;
        let nothing =
            prompt.engine.prepare(&portcullis_engine::noop_plugin()?, "{}", Limits::DEFAULT)?;
        let cost = prompt.cost()?;
        let (terms, data) = (test_terms(&prompt.manifest), prompt.state.data());
        let services = || terms.call_services(&incoming.call, &data).map_err(CliError::host);
        let (mut own, mut empty) = (Vec::new(), Vec::new());
        for _ in 0..WARM_UP {
            ask(&prompt.plugin, &view, services()?)?;
            ask(&nothing, &view, CallServices::default())?;
        }
        let begun = monotonic_now();
        while elapsed_since(begun) < Duration::from_millis(self.milliseconds)
            && own.len() < MAX_CALLS
        {
            for _ in 0..TURN {
                own.push(ask(&prompt.plugin, &view, services()?)?);
            }
            for _ in 0..TURN {
                empty.push(ask(&nothing, &view, CallServices::default())?);
            }
        }
        let (own, empty) = (Times::of(own), Times::of(empty));
        let ratio = own.median / empty.median.max(f64::MIN_POSITIVE);
        let counts = cost.as_ref().map(cost_text).unwrap_or_default();
        self.format.print(
            format!(
                "{}\ncalls    {} in this run, {:.0} a second on one thread\nmedian   {:.1} µs, 99 of 100 within {:.1} µs\nempty    {:.1} µs the median of a plugin that does nothing\nratio    {ratio:.2}",
                counts.trim_start(), own.calls, own.rate, own.median, own.slow, empty.median
            )
            .trim_start(),
            json!({
                "cost": cost.as_ref().map(cost_json), "calls": own.calls, "per_second": own.rate, "median_micros": own.median,
                "p99_micros": own.slow, "empty_median_micros": empty.median, "ratio": ratio,
            }),
        );
        Ok(())
    }
}

/// One call, its cleaning up included, in microseconds.
fn ask(plugin: &PreparedPlugin, view: &View<'_>, services: CallServices) -> CliResult<f64> {
    let begun = monotonic_now();
    let evaluation = plugin.evaluate_with(view, plugin.time(), services);
    let outcome = evaluation.outcome.map(drop);
    drop(evaluation.spent_instance);
    let spent = elapsed_since(begun);
    outcome.map_err(|fault| {
        CliError::wrong(format!("the plugin made no decision: {fault} [{}]", fault.code()))
    })?;
    Ok(spent.as_secs_f64() * 1e6)
}

struct Times {
    calls: usize,
    rate: f64,
    median: f64,
    slow: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |per_mille: usize| {
            times.get(times.len() * per_mille / 1_000).copied().unwrap_or_default()
        };
        let total: f64 = times.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
        let calls = times.len() as f64;
        Self {
            calls: times.len(),
            rate: calls / (total / 1e6).max(f64::MIN_POSITIVE),
            median: at(500),
            slow: at(990),
        }
    }
}

/// Calls of each before anything counts.
const WARM_UP: usize = 50;
/// Calls of one before it is the other's turn.
const TURN: usize = 20;
/// Most calls that are kept.
const MAX_CALLS: usize = 2_000_000;
