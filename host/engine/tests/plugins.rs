//! The engine with real plugins, built as their authors build them: what a call costs, counted, and that it
//! never varies.
//!
//! Takes `sod.wasm`, `contractor.wasm` and `access-rules.wasm` from the directory `PORTCULLIS_PLUGINS`, and each plugin's own
//! example settings.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use std::{env, fs, thread};

    use portcullis_engine::{Engine, Evaluation, Options, Plugin, Reset, componentize, inspect};
    use portcullis_model::{
        Decision, Effect, EntityView, Limits, Millis, Page, PrincipalKind, PrincipalView,
        SearchTarget, View,
    };

    use crate::support::{Person, minor_faults};

    const PLUGINS: [&str; 3] = ["sod", "contractor", "access-rules"];

    fn component(name: &str) -> Vec<u8> {
        let folder = env::var_os("PORTCULLIS_PLUGINS")
            .expect("run `cargo xtask test`, which builds the plugins");
        let bytes = fs::read(PathBuf::from(folder).join(format!("{name}.wasm")))
            .expect("run `cargo xtask test`");
        componentize(&bytes).unwrap_or(bytes)
    }

    fn settings(name: &str) -> String {
        let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../../plugins")
            .join(name);
        fs::read_to_string(folder.join("settings.example.json")).unwrap()
    }

    fn prepare(engine: &Engine, name: &str) -> Plugin {
        engine.prepare(&component(name), &settings(name), Limits::CEILING).unwrap()
    }

    fn call(plugin: &Plugin, person: &Person) -> Evaluation {
        plugin.evaluate(&person.view(), Duration::from_secs(1))
    }

    fn decision(evaluation: Evaluation) -> Decision {
        evaluation.outcome.unwrap_or_else(|fault| panic!("{fault}"))
    }

    #[test]
    fn the_plugins_import_nothing_but_the_contract() {
        for name in PLUGINS {
            let inspection = inspect(&component(name)).unwrap();
            assert_eq!(
                inspection.exports.get(..2),
                Some(&["configure".to_owned(), "evaluate".to_owned()][..]),
                "{name}"
            );
            assert_eq!(inspection.exports.len(), if inspection.searches { 3 } else { 2 }, "{name}");
            assert_eq!(inspection.searches, name == "access-rules");
            assert!(
                inspection.imports.iter().all(|import| import.starts_with("portcullis:policy/")),
                "{name}"
            );
        }
    }

    #[test]
    fn a_thousand_calls_in_two_engines_and_on_four_threads_agree() {
        let options = Options { workers: 4, ..Options::default() };
        let engines = [Engine::new(options).unwrap(), Engine::new(options).unwrap()];
        for name in PLUGINS {
            let plugins = engines.each_ref().map(|engine| prepare(engine, name));
            assert_eq!(plugins[0].snapshot_digest(), plugins[1].snapshot_digest(), "{name}");
            let person = Person::new();
            let expected = decision(call(&plugins[0], &person));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for run in 0..250 {
                            let decision = decision(call(&plugins[run % 2], &person));
                            assert!(decision == expected, "{name} differs in run {run}");
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_warm_call_takes_no_page_fault_and_never_grows_memory() {
        let engine = Engine::new(Options { workers: 1, ..Options::default() }).unwrap();
        for name in PLUGINS {
            let plugin = prepare(&engine, name);
            // The snapshot's own size as the limit: not one page more may be asked for.
            let component = component(name);
            let memory_bytes = smallest_memory(&engine, &component, &settings(name));
            let limits = Limits { memory_bytes, ..Limits::CEILING };
            let tight = engine.prepare(&component, &settings(name), limits).unwrap();
            let person = Person::new();
            for plugin in [&plugin, &tight] {
                for _ in 0..100 {
                    assert!(call(plugin, &person).outcome.is_ok());
                }
            }
            let before = minor_faults().unwrap();
            for _ in 0..1_000 {
                drop(call(&plugin, &person));
            }
            let faults = minor_faults().unwrap() - before;
            if engine.reset() == Reset::PagemapScan {
                // A few may be the host's own: its allocator, the scheduler's bookkeeping.
                assert!(faults < 10, "{name}: {faults} in 1,000 calls");
            } else {
                eprintln!("{name}: {faults} page faults in 1,000 calls without the scan");
            }
        }
    }

    #[test]
    fn a_search_in_its_sandbox_is_the_filter_of_decisions() {
        let engine = Engine::new(Options { workers: 1, ..Options::default() }).unwrap();
        let plugin = prepare(&engine, "access-rules");
        let second = Duration::from_secs(1);
        for action in ["read", "write", "delete"] {
            let mut expected = Vec::new();
            for who in ["alice", "bob", "carol"] {
                let asked = Asked::new(Some(who), action);
                if decision(plugin.evaluate(&asked.view(None), second)).verdict() == Effect::Allow {
                    expected.push(who.to_owned());
                }
            }
            let asked = Asked::new(None, action);
            let view = asked.view(Some(SearchTarget::Subject));
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = Page { limit: 1, after: after.as_deref() };
                let evaluation = plugin.find(&view, &page, second);
                let part = evaluation.outcome.unwrap_or_else(|fault| panic!("{fault}"));
                found.extend(part.results.into_iter().filter_map(|result| result.id));
                let Some(next) = part.next else { break };
                after = Some(next);
            }
            assert_eq!(found, expected, "{action}");
        }
        // What one decision takes, for whoever reads the output: the median of a thousand.
        let asked = Asked::new(Some("alice"), "write");
        let mut times: Vec<_> =
            (0..1_000).map(|_| plugin.evaluate(&asked.view(None), second).elapsed).collect();
        times.sort_unstable();
        println!("access-rules: {:?} a decision", times[500]);
    }

    /// An AuthZEN question about `record-1`.
    struct Asked<'a> {
        subject: Option<&'a str>,
        action: &'a str,
    }

    impl<'a> Asked<'a> {
        /// Who, and what.
        fn new(subject: Option<&'a str>, action: &'a str) -> Self {
            Self { subject, action }
        }

        /// The question, or the search with that part open.
        fn view(&self, sought: Option<SearchTarget>) -> View<'a> {
            let entity = |type_name, id| Some(EntityView { type_name, id, attributes: Vec::new() });
            View {
                id: "question",
                correlation: None,
                tenant: "default",
                hook: "authzen",
                phase: sought.map(SearchTarget::phase),
                received: Millis(1_700_000_000_000),
                seed: 1,
                subject: Some(PrincipalView {
                    kind: PrincipalKind::Person,
                    type_name: "user",
                    id: self.subject,
                    attributes: Vec::new(),
                    entitlements: &[],
                }),
                actors: Vec::new(),
                action: entity("action", Some(self.action)),
                resource: entity("record", Some("record-1")),
                requested: &[],
                lifetimes: &[],
                origin: None,
                purpose: None,
                proposed: &[],
                payload: "null".into(),
            }
        }
    }

    /// The least memory limit with which the configured plugin starts.
    fn smallest_memory(engine: &Engine, component: &[u8], settings: &str) -> u64 {
        const PAGE: u64 = 65_536;
        let (mut too_little, mut enough) = (0, Limits::CEILING.memory_bytes / PAGE);
        while enough - too_little > 1 {
            let pages = too_little.midpoint(enough);
            let limits = Limits { memory_bytes: pages * PAGE, ..Limits::CEILING };
            match engine.prepare(component, settings, limits) {
                Ok(_) => enough = pages,
                Err(_) => too_little = pages,
            }
        }
        enough * PAGE
    }
}
