//! The shares of a simulation, and their comparison with the targets.
//!
//! Invariant: a sign-in counts once in each of its groups, and a run of an attack once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portcullis_tests::TestDeployment;
use serde_json::Value;

use super::attackers::Attack;
use super::days::Groups;
use super::people::DAY;
use super::plan::Plan;
use super::run::Seen;

/// The shares.
pub struct Report {
    /// Sign-ins of each group, in the measured days.
    pub groups: Vec<(&'static str, Share)>,
    /// Sign-ins of the first days.
    pub history: Share,
    pub attacks: BTreeMap<Attack, Attacked>,
    /// Codes of the records of challenged sign-ins.
    pub reasons: BTreeMap<String, usize>,
    /// Calls that the host did not judge.
    pub faults: usize,
    pub calls: usize,
}

/// The challenged ones among sign-ins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub all: usize,
    pub challenged: usize,
    /// No second factor helped.
    pub refused: usize,
}

/// The stopped ones among runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attacked {
    pub runs: usize,
    /// Runs that request a token at the target's attempt or later.
    pub lasting: usize,
    /// Of these, no token is issued from that attempt on.
    pub stopped: usize,
    /// No token is issued at all.
    pub empty_handed: usize,
}

/// Whether a sign-in belongs to a group.
type Belongs = fn(&Groups) -> bool;

/// The groups: names, and who belongs to them.
const GROUPS: [(&str, Belongs); 9] = [
    ("all", |_| true),
    ("night staff", |it| it.is_night),
    ("travellers", |it| it.is_traveller),
    ("shared workstations", |it| it.is_shared),
    ("float pool", |it| it.is_float_pool),
    ("on a journey", |it| it.is_journey),
    ("mobile networks", |it| it.is_mobile),
    ("from home", |it| it.is_home),
    ("Entra", |it| it.is_entra),
];

impl Report {
    /// Counts the answers to a plan, with the records of the deployment that gave them.
    pub fn new(plan: &Plan, seen: &Seen, deployment: &TestDeployment) -> Self {
        let mut report = Self {
            groups: GROUPS.map(|(name, _)| (name, Share::default())).to_vec(),
            history: Share::default(),
            attacks: BTreeMap::new(),
            reasons: BTreeMap::new(),
            faults: 0,
            calls: seen.calls,
        };
        let is_measured = |number: usize| plan.sign_ins[number].at >= plan.size.history * DAY;
        let measured = seen.sign_ins.iter().filter(|(number, _)| is_measured(*number));
        let stops: BTreeSet<u64> = measured.filter_map(|(_, outcome)| outcome.record).collect();
        deployment.each_record_of("hook.decision", |record| {
            report.faults += usize::from(is_fault(&record));
            if record["seq"].as_u64().is_some_and(|place| stops.contains(&place)) {
                *report.reasons.entry(codes(&record)).or_default() += 1;
            }
        });
        for (number, outcome) in &seen.sign_ins {
            let sign_in = &plan.sign_ins[*number];
            if sign_in.at < plan.size.history * DAY {
                report.history.add(outcome.is_challenged, outcome.is_refused);
                continue;
            }
            for ((_, share), (_, belongs)) in report.groups.iter_mut().zip(GROUPS) {
                if belongs(&sign_in.groups) {
                    share.add(outcome.is_challenged, outcome.is_refused);
                }
            }
        }
        let targets = Targets::read();
        for (number, run) in plan.runs.iter().enumerate() {
            let own: Vec<_> = seen.tokens.iter().filter(|(of, _, _)| *of == number).collect();
            let got: Vec<usize> = own.iter().filter(|it| it.2).map(|it| it.1).collect();
            let within = targets.attack(run.attack).map_or(1, |(_, within)| within);
            let attacked = report.attacks.entry(run.attack).or_default();
            attacked.runs += 1;
            let lasts = own.iter().any(|(_, attempt, _)| *attempt >= within);
            attacked.lasting += usize::from(lasts);
            let is_stopped = lasts && !got.iter().any(|attempt| *attempt >= within);
            attacked.stopped += usize::from(is_stopped);
            attacked.empty_handed += usize::from(got.is_empty());
        }
        report
    }

    /// The targets that are missed, in words.
    pub fn missed(&self) -> Vec<String> {
        let targets = Targets::read();
        let mut missed = Vec::new();
        for (name, share) in &self.groups {
            let is_target = targets.groups.iter().any(|group| group == name);
            if is_target && share.all < FEWEST {
                missed.push(format!("{name}: too few to tell: {share}"));
            }
            if is_target && share.percent() > targets.challenged_percent_most {
                missed.push(format!("{name}: {share}"));
            }
        }
        for (attack, attacked) in &self.attacks {
            let Some((least, _)) = targets.attack(*attack) else { continue };
            if attacked.lasting < FEWEST_RUNS {
                missed.push(format!("{attack:?}: too few to tell: {attacked:?}"));
            }
            if ((attacked.stopped * 100) as f64) < least * attacked.lasting as f64 {
                missed.push(format!("{attack:?}: {attacked:?}"));
            }
        }
        if self.faults * 1_000 > self.calls * MOST_FAULTS_PERMILLE {
            missed.push(format!("{} of {} calls were not judged", self.faults, self.calls));
        }
        missed
    }
}

impl Share {
    fn add(&mut self, is_challenged: bool, is_refused: bool) {
        self.all += 1;
        self.challenged += usize::from(is_challenged);
        self.refused += usize::from(is_refused);
    }

    fn percent(&self) -> f64 {
        if self.all == 0 { 0.0 } else { self.challenged as f64 * 100.0 / self.all as f64 }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, challenged, refused } = self;
        write!(f, "{challenged} of {all} ({:.1} %), {refused} refused", self.percent())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "first days: {}; {} calls, {} not judged",
            self.history, self.calls, self.faults
        )?;
        for (name, share) in &self.groups {
            writeln!(f, "{name}: {share}")?;
        }
        for (attack, Attacked { runs, lasting, stopped, empty_handed }) in &self.attacks {
            writeln!(
                f,
                "{attack:?}: {stopped} of {lasting} stopped in time; no token in {empty_handed} of {runs}"
            )?;
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (codes, count) in reasons.iter().take(8) {
            writeln!(f, "challenged {count} times: {codes}")?;
        }
        Ok(())
    }
}

/// `targets.toml`.
struct Targets {
    challenged_percent_most: f64,
    groups: Vec<String>,
    attacks: toml::Table,
}

impl Targets {
    fn read() -> Self {
        let table: toml::Table = include_str!("targets.toml").parse().unwrap();
        let benign = table["benign"].as_table().unwrap();
        let groups = benign["groups"].as_array().unwrap();
        Self {
            challenged_percent_most: benign["challenged_percent_most"].as_integer().unwrap() as f64,
            groups: groups.iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
            attacks: table["attacks"].as_table().unwrap().clone(),
        }
    }

    /// The share of runs to be stopped, in percent, and the attempt.
    fn attack(&self, attack: Attack) -> Option<(f64, usize)> {
        let name = match attack {
            Attack::Stuffing => "stuffing",
            Attack::PushBombing => "push-bombing",
            Attack::ImpossibleTravel => "impossible-travel",
            Attack::Spraying | Attack::SessionTheft | Attack::SlowInsider => return None,
        };
        let target = &self.attacks[name];
        let within = target["within_attempts"].as_integer().unwrap();
        let least = target["stopped_percent_least"].as_integer().unwrap();
        Some((least as f64, usize::try_from(within).unwrap()))
    }
}

fn is_fault(record: &Value) -> bool {
    record["t"] == "hook.decision"
        && (!record["decision"]["cause"].is_null() || record["bindings"][0]["fault"].is_string())
}

fn codes(record: &Value) -> String {
    let codes = record["bindings"][0]["codes"].as_array().into_iter().flatten();
    codes.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// The fewest sign-ins of a group, and runs of an attack, that say anything about a target.
const FEWEST: usize = 50;
const FEWEST_RUNS: usize = 10;

/// Calls that may fail for reasons that lie with the machine, in thousandths.
const MOST_FAULTS_PERMILLE: usize = 5;
