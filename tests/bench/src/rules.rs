//! How the call time of `sod` depends on the number of its rules: 1 against 10,000, allowed and denied, in one run.
//!
//! The world: 600 functions of five entitlements each. Half of the rules are pairs; of the others half forbid two of four
//! functions and half three of five, so that many are nearly broken. The subject holds 60 entitlements of 60 functions, and no rule
//! keeps these apart. It is allowed as it is; denied, when it also asks for an entitlement that only the last rule minds.
//!
//! Invariant: each answer is held against what it must be, and rounds take turns, so that both sides see the same machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Options, Plugin, componentize};
use portcullis_model::{Decision, Effect, Limits};

use crate::Done;
use crate::sign_in::SignIn;

/// Times both and prints medians, and their ratio last.
pub fn run(component: &str, rounds: &str) -> Done {
    let rounds: usize = rounds.parse()?;
    let bytes = std::fs::read(component)?;
    let component = componentize(&bytes).unwrap_or(bytes);
    let engine = Engine::new(Options { workers: 1, ..Options::default() })?;
    println!("reset between calls: {}", engine.reset());
    let world = World::new();
    let plugins = [
        (1, world.rules.last_chunk::<1>().map(<[_; 1]>::as_slice).unwrap_or_default()),
        (world.rules.len(), world.rules.as_slice()),
    ]
    .map(|(count, rules)| prepare(&engine, &component, count, &world.settings(rules)));
    let [few, many] = plugins;
    let (few, many) = (few?, many?);

    let (allowed, denied) =
        (SignIn::new(world.held(), None), SignIn::new(world.held(), Some(world.last())));
    let cells = [
        ("allow", &few, &allowed, false),
        ("allow", &many, &allowed, false),
        ("deny", &few, &denied, true),
        ("deny", &many, &denied, true),
    ];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..rounds + WARM_UP {
        for ((_, plugin, sign_in, denies), times) in cells.iter().zip(&mut times) {
            let begun = Instant::now();
            let evaluation = plugin.evaluate(&sign_in.view(), ALLOWANCE);
            let answered = begun.elapsed();
            drop(evaluation.spent_instance);
            let whole = begun.elapsed();
            expect(&evaluation.outcome.map_err(|fault| fault.to_string())?, *denies)?;
            if round >= WARM_UP {
                times.push((answered, whole));
            }
        }
    }

    let [allow_few, allow_many, deny_few, deny_many] = times.map(Medians::of);
    println!(
        "medians of {rounds} rounds in turns, in µs: until the answer, and with the instance wiped"
    );
    for (name, few, many) in
        [("allow", &allow_few, &allow_many), ("deny by the last rule", &deny_few, &deny_many)]
    {
        println!("{name}: 1 rule {few}, 10,000 rules {many}");
    }
    let ratio =
        |few: &Medians, many: &Medians| (many.answer / few.answer).max(many.whole / few.whole);
    let worst = ratio(&allow_few, &allow_many).max(ratio(&deny_few, &deny_many));
    println!("10,000 rules against one: {worst:.2} times (at most {MOST} is wanted)");
    if worst > MOST { Err("a call costs too much with many rules".into()) } else { Ok(()) }
}

fn prepare(engine: &Engine, component: &[u8], rules: usize, settings: &str) -> Done<Plugin> {
    let begun = Instant::now();
    let plugin = engine.prepare(component, settings, Limits::CEILING).inspect_err(|refused| {
        refused.setting_errors().iter().take(3).for_each(|text| eprintln!("{text}"));
    })?;
    println!(
        "{rules} rules: settings {} bytes, snapshot {} bytes, ready in {:?}",
        settings.len(),
        plugin.snapshot_bytes(),
        begun.elapsed()
    );
    Ok(plugin)
}

fn expect(decision: &Decision, denies: bool) -> Done {
    let told: Vec<_> =
        decision.findings.iter().map(|finding| (finding.code.as_str(), finding.effect)).collect();
    let expected: &[_] = if denies { &[("SOD_CONFLICT", Effect::Deny)] } else { &[] };
    if told == expected { Ok(()) } else { Err(format!("the plugin found {told:?}").into()) }
}

/// Medians of one cell, in microseconds.
struct Medians {
    answer: f64,
    whole: f64,
}

impl Medians {
    fn of(times: Vec<(Duration, Duration)>) -> Self {
        let (answers, wholes): (Vec<_>, Vec<_>) = times.into_iter().unzip();
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Self { answer: median(answers), whole: median(wholes) }
    }
}

impl std::fmt::Display for Medians {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} and {:.1}", self.answer, self.whole)
    }
}

/// Functions, rules and who holds what. The same in every run.
struct World {
    held: BTreeSet<u32>,
    rules: Vec<Rule>,
}

struct Rule {
    set: BTreeSet<u32>,
    at_least: usize,
}

impl World {
    fn new() -> Self {
        let mut dice = Dice(1);
        let held = dice.distinct(HELD);
        let mut rules = Vec::new();
        while rules.len() < RULES - 1 {
            // Pairs and the others take turns.
            let (size, at_least) = match rules.len() % 4 {
                0 | 2 => (2, 2),
                1 => (4, 2),
                _ => (5, 3),
            };
            let rule = Rule { set: dice.distinct(size), at_least };
            // One more function may not break it either, for that is what the denied subject asks for.
            let spoils =
                rule.set.contains(&ASKED) || rule.set.intersection(&held).count() >= at_least;
            if !spoils {
                rules.push(rule);
            }
        }
        let last = held.last().copied().unwrap_or_default();
        rules.push(Rule { set: BTreeSet::from([last, ASKED]), at_least: 2 });
        Self { held, rules }
    }

    fn held(&self) -> Vec<String> {
        self.held.iter().map(|function| entitlement(*function, 3)).collect()
    }

    fn last(&self) -> String {
        entitlement(ASKED, 0)
    }

    fn settings(&self, rules: &[Rule]) -> String {
        let mut json = r#"{"existing":"enforce","functions":{"#.to_owned();
        for function in 0..=ASKED {
            let names: Vec<_> = (0..ENTITLEMENTS)
                .map(|number| format!("\"{}\"", entitlement(function, number)))
                .collect();
            let comma = if function == 0 { "" } else { "," };
            push(&mut json, format_args!("{comma}\"{}\":[{}]", name(function), names.join(",")));
        }
        json.push_str(r#"},"rules":["#);
        for (number, rule) in rules.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            push(
                &mut json,
                format_args!(
                    r#"{comma}{{"id":"RULE-{number:05}","owner":"owner of rule {number}","severity":"high","#
                ),
            );
            let names: Vec<_> =
                rule.set.iter().map(|function| format!("\"{}\"", name(*function))).collect();
            match names.as_slice() {
                [a, b] => push(&mut json, format_args!(r#""kind":"pair","a":{a},"b":{b}}}"#)),
                set => push(
                    &mut json,
                    format_args!(
                        r#""kind":"cardinality","at_least":{},"set":[{}]}}"#,
                        rule.at_least,
                        set.join(",")
                    ),
                ),
            }
        }
        json.push_str("]}");
        json
    }
}

fn name(function: u32) -> String {
    format!("function {function:03}")
}

fn entitlement(function: u32, number: u32) -> String {
    format!("ehr:module-{function:03}:permission-{number}")
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// So many different functions, without the one that is asked for.
    fn distinct(&mut self, count: usize) -> BTreeSet<u32> {
        let mut set = BTreeSet::new();
        while set.len() < count {
            set.insert(u32::try_from(self.next() % u64::from(ASKED)).unwrap_or_default());
        }
        set
    }
}

const RULES: usize = 10_000;
const HELD: usize = 60;
const ENTITLEMENTS: u32 = 5;
/// The last function: only the last rule minds it.
const ASKED: u32 = 599;
const WARM_UP: usize = 200;
/// More than any call here needs.
const ALLOWANCE: Duration = Duration::from_secs(1);
/// What issue and documentation promise.
const MOST: f64 = 1.5;
