//! One budget a hook, and the ledger of what spent it.
//!
//! Invariant: the plugins' deadline leaves room for the record and for writing; every stage's time is noted, and the sum is the
//! time since the request's head arrived.

use std::time::{Duration, Instant};

use crate::config::HookConfig;
use crate::observe::metrics::nanos;
use portcullis_model::json::ObjectWriter;

/// The deadlines of one call.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    plugins: Instant,
    record: Instant,
    delivery: Instant,
    side_effect: Instant,
    keys: Instant,
    /// What a plugin must have had to be blamed for not being done: half of what all of them have.
    fair_share: Duration,
}

impl Budget {
    /// Starts with the request's head.
    pub fn start(start: Instant, hook: &HookConfig) -> Self {
        let whole = Duration::from_millis(hook.budget_ms);
        let write = Duration::from_millis(hook.write_reserve_ms);
        let commit = Duration::from_millis(hook.commit_reserve_ms);
        let deliver = Duration::from_millis(hook.deliver_ms);
        let before = |reserve: Duration| start + whole.saturating_sub(reserve);
        Self {
            plugins: before(write + deliver + commit),
            record: before(write + deliver),
            delivery: before(write),
            side_effect: before(write / 2),
            keys: start + whole.saturating_sub(write + deliver + commit) / 4,
            fair_share: whole.saturating_sub(write + deliver + commit) / 2,
        }
    }

    /// The same with half of what plugins have left at this moment.
    pub fn halved(self, now: Instant) -> Self {
        Self {
            plugins: now + self.left_for_plugins(now) / 2,
            fair_share: self.fair_share / 2,
            ..self
        }
    }

    /// What a plugin must have had to be blamed for not being done, where that is less than its own limit.
    pub fn fair_share(&self) -> Duration {
        self.fair_share
    }

    /// What plugins have left at this moment.
    pub fn left_for_plugins(&self, now: Instant) -> Duration {
        self.plugins.saturating_duration_since(now)
    }

    /// When plugins, whatever they do, must be done.
    pub fn plugins_until(&self) -> Instant {
        self.plugins
    }

    /// When a message that the answer says is on its way must have been taken.
    pub fn delivery_until(&self) -> Instant {
        self.delivery
    }

    /// When a call must no longer wait for its caller's keys: after a quarter of what plugins and all before them have.
    pub fn keys_until(&self) -> Instant {
        self.keys
    }

    /// When the record must be durable.
    pub fn record_until(&self) -> Instant {
        self.record
    }

    /// When what has to be done before the answer leaves must be done: half of the time for writing is left.
    pub fn side_effect_until(&self) -> Instant {
        self.side_effect
    }
}

/// A stage of a call's life, as records and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The caller's proof.
    Caller,
    /// The body's arrival.
    Body,
    /// Bytes to questions.
    Parse,
    /// Candidates, and each of them decided.
    Search,
    /// Bindings that may want more than restrictions.
    Propose,
    /// Bindings that restrict.
    Guard,
    /// The outcome and its words.
    Render,
    /// What else there was before the record.
    Decide,
    /// Until the record was durable. Not in the leaf: that is written before.
    Commit,
    /// What had to be done before the answer could leave: a message delivered, a call promised. Not in the leaf either.
    SideEffect,
    /// From ready until the last byte had left. Not in the leaf either.
    Write,
    /// All of it. Not in the leaf either.
    Total,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 12] = [
        Self::Caller,
        Self::Body,
        Self::Parse,
        Self::Search,
        Self::Propose,
        Self::Guard,
        Self::Render,
        Self::Decide,
        Self::Commit,
        Self::SideEffect,
        Self::Write,
        Self::Total,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Body => "body",
            Self::Parse => "parse",
            Self::Search => "search",
            Self::Propose => "propose",
            Self::Guard => "guard",
            Self::Render => "render",
            Self::Decide => "decide",
            Self::Commit => "commit",
            Self::SideEffect => "side_effect",
            Self::Write => "write",
            Self::Total => "total",
        }
    }
}

/// What spent the budget, in the order of the stages.
pub struct StageTimer {
    last: Instant,
    /// Stage and nanoseconds.
    spent: Vec<(Stage, u64)>,
}

impl StageTimer {
    /// Opens with the budget.
    pub fn start(start: Instant) -> Self {
        Self { last: start, spent: Vec::with_capacity(8) }
    }

    /// Everything since the last entry was this stage's. What comes again, as in a request that asks many questions, adds up.
    pub fn record(&mut self, stage: Stage, now: Instant) {
        let spent = nanos(now.saturating_duration_since(self.last));
        self.last = now;
        match self.spent.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, sum)) => *sum += spent,
            None => self.spent.push((stage, spent)),
        }
    }

    /// Stages and nanoseconds, in order.
    pub fn entries(&self) -> &[(Stage, u64)] {
        &self.spent
    }

    /// Writes a member for each stage, in microseconds.
    pub fn write_members(&self, object: &mut ObjectWriter<'_>) {
        for (stage, spent) in &self.spent {
            object.number(stage.name(), spent / 1_000);
        }
    }
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_adds_up_to_the_time_that_passed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stages = StageTimer::start(start);
        stages.record(Stage::Caller, at(1));
        stages.record(Stage::Parse, at(4));
        stages.record(Stage::Caller, at(9));
        let json = portcullis_model::json::build_object(|object| stages.write_members(object));
        assert_eq!(json, r#"{"caller":6000,"parse":3000}"#);
    }
}
