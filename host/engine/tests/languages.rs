//! Plugins in JavaScript, Python and C: that they decide what the Rust one decides, that a snapshot of them is a snapshot, and that
//! their misfortunes are theirs.
//!
//! Takes `hours.wasm`, `hours-LANGUAGE.wasm` and `misbehaving-LANGUAGE.wasm` from the directory
//! `PORTCULLIS_PLUGINS`. A language whose tools were missing there fails, unless
//! `PORTCULLIS_SKIP_MISSING=1` allows to leave it out.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]

#[cfg(test)]
#[expect(dead_code, reason = "each program of tests uses a part of the file")]
#[path = "../../../tests/support/missing_tool.rs"]
mod missing_tool;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;
    use std::{env, fmt, fs, thread};

    use portcullis_engine::{Engine, Fault, Options, Plugin, PrepareError, componentize, inspect};
    use portcullis_model::{
        Attribute, Change, Decision, Lifetime, Limits, Millis, PrincipalKind, PrincipalView,
        Target, View,
    };
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use crate::missing_tool::skip;

    const LANGUAGES: [&str; 3] = ["javascript", "python", "c"];

    /// The settings of `hours`: three departments, one of them at night, and a thousand wards.
    fn settings() -> String {
        let wards: Vec<_> = (0..1_000)
            .map(|n| {
                format!(
                    r#"{{"name":"ward {n}","from":"{:02}:00","until":"{:02}:30"}}"#,
                    n % 24,
                    (n + 8) % 24
                )
            })
            .collect();
        DEPARTMENTS.replace("WARDS", &wards.join(","))
    }

    const DEPARTMENTS: &str = r#"{"terminated":["terminated","Süspended","a\"b\\c"],"departments":[
        {"name":"pharmacy","from":"06:00","until":"22:00"},
        {"name":"night \"ward\"\u00fc\ud83d\ude00","from":"21:00","until":"07:00","outside":"step-up"},
        {"name":"billing","from":"08:00","until":"17:30","outside":"review"},WARDS],"unlisted":"review"}"#;

    fn component(name: &str) -> Option<Vec<u8>> {
        let folder = env::var_os("PORTCULLIS_PLUGINS")
            .expect("run `cargo xtask test`, which builds the plugins");
        let bytes = fs::read(PathBuf::from(folder).join(format!("{name}.wasm"))).ok()?;
        Some(componentize(&bytes).unwrap_or(bytes))
    }

    /// The languages whose component of that name was built.
    fn built(name: &str) -> Vec<(&'static str, Vec<u8>)> {
        let found = LANGUAGES.into_iter().filter_map(|language| {
            let component = component(&format!("{name}-{language}"));
            if component.is_none() {
                let name = format!("{name}-{language}.wasm");
                skip(name, "the tools of its language, which `cargo xtask test` fetches");
            }
            Some((language, component?))
        });
        found.collect()
    }

    fn engine() -> &'static Engine {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(engine_of_its_own)
    }

    /// Patient: an interpreter's `configure` runs in code that is compiled in haste, on a machine that may be busy.
    fn engine_of_its_own() -> Engine {
        Engine::new(Options { workers: 2, plugins: 8, configure_time: Duration::from_secs(120) })
            .unwrap()
    }

    fn prepare(engine: &Engine, component: &[u8], settings: &str) -> Plugin {
        engine.prepare(component, settings, Limits::CEILING).unwrap_or_else(|refused| {
            panic!("{refused}: {:?}", refused.setting_errors());
        })
    }

    fn rust() -> Vec<u8> {
        component("hours").expect("run `cargo xtask test`, which builds the plugins")
    }

    /// `hours` in every language, configured once for all tests.
    fn hours() -> &'static BTreeMap<&'static str, Plugin> {
        static HOURS: OnceLock<BTreeMap<&'static str, Plugin>> = OnceLock::new();
        HOURS.get_or_init(|| {
            let others = built("hours").into_iter();
            let all = [("rust", rust())].into_iter().chain(others);
            all.map(|(language, component)| (language, prepare(engine(), &component, &settings())))
                .collect()
        })
    }

    /// A sign-in: what a call of `hours` depends on.
    #[derive(Clone)]
    struct SignIn {
        received: u64,
        known: bool,
        attributes: Vec<Attribute>,
        lifetimes: Vec<Lifetime>,
    }

    impl fmt::Debug for SignIn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let attributes: Vec<_> = self
                .attributes
                .iter()
                .map(|one| format!("{}={}", &*one.name, &*one.value))
                .collect();
            let lifetimes: Vec<_> =
                self.lifetimes.iter().map(|one| (one.seconds, one.least)).collect();
            write!(
                f,
                "received {}, known {}, {attributes:?}, {lifetimes:?}",
                self.received, self.known
            )
        }
    }

    impl SignIn {
        fn view(&self) -> View<'_> {
            View {
                id: "event",
                correlation: Some("request"),
                tenant: "default",
                hook: "okta.token",
                phase: None,
                received: Millis(self.received),
                seed: u64::MAX,
                subject: self.known.then(|| PrincipalView {
                    kind: PrincipalKind::Person,
                    type_name: "user",
                    id: None,
                    attributes: self.attributes.iter().collect(),
                    entitlements: &[],
                }),
                actors: Vec::new(),
                action: None,
                resource: None,
                requested: &[],
                lifetimes: &self.lifetimes,
                origin: None,
                purpose: None,
                proposed: &[],
                payload: "null".into(),
            }
        }

        fn of(status: &str, department: &str, received: u64) -> Self {
            let attribute = |name: &str, text: &str| Attribute {
                name: name.into(),
                value: format!("\"{text}\"").into(),
            };
            Self {
                received,
                known: true,
                attributes: vec![attribute("status", status), attribute("department", department)],
                lifetimes: vec![Lifetime {
                    target: Target::AccessToken,
                    seconds: 3_600,
                    least: 300,
                    most: 86_400,
                }],
            }
        }
    }

    fn outcome(plugin: &Plugin, sign_in: &SignIn) -> Decision {
        plugin.evaluate(&sign_in.view(), Duration::from_secs(1)).outcome.unwrap_or_else(|fault| {
            match fault {
                Fault::Error(text) => panic!("{}", text.expose()),
                fault => panic!("{fault}"),
            }
        })
    }

    /// A decision for people who read why a test failed.
    fn told(decision: &Decision) -> String {
        let findings: Vec<_> = decision
            .findings
            .iter()
            .map(|finding| {
                let arguments: Vec<_> = finding
                    .arguments
                    .iter()
                    .map(|one| format!("{}={}", &*one.name, &*one.value))
                    .collect();
                format!("{} {:?} {arguments:?}", finding.code, finding.effect)
            })
            .collect();
        format!("{findings:?}, {} changes, risk {:?}", decision.changes.len(), decision.risk)
    }

    /// JSON text of a status: mostly of somebody who works here.
    fn status() -> impl Strategy<Value = String> {
        let others = prop::sample::select(vec![
            r#""TERMINATED""#,
            r#" "terMinated" "#,
            r#""s\u00fcspended""#,
            r#""SÜSPENDED""#,
            r#""a\"B\\c""#,
            r#""Terminated ""#,
        ]);
        prop_oneof![
            6 => Just(r#""active""#.to_owned()),
            2 => others.prop_map(str::to_owned),
            1 => odd(),
        ]
    }

    /// JSON text of a department: mostly one that has hours here, spelt in many ways.
    fn department() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            r#""pharmacy""#,
            r#""ph\u0061rmacy""#,
            r#" "billing""#,
            r#""night \"ward\"ü😀""#,
            r#""night \u0022ward\"\u00fc\ud83d\ude00""#,
            r#""ward 7""#,
            r#""ward 999""#,
        ]);
        prop_oneof![
            8 => known.prop_map(str::to_owned),
            1 => Just(r#""PHARMACY""#.to_owned()),
            1 => odd(),
        ]
    }

    /// JSON text of anything.
    fn odd() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            r#""""#,
            "null",
            "true",
            "7",
            "-1.5e3",
            r#"["pharmacy"]"#,
            "{}",
            r#""\ud800""#,
            r#""tab\tand\b\f\u0001""#,
        ]);
        prop_oneof![2 => odd.prop_map(str::to_owned), 1 => any::<String>().prop_map(|text| spelled(&text))]
    }

    /// JSON text of a string.
    fn spelled(text: &str) -> String {
        let inside: String = text
            .chars()
            .map(|c| match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                control if control < ' ' => format!("\\u{:04X}", u32::from(control)),
                plain => plain.to_string(),
            })
            .collect();
        format!("\"{inside}\"")
    }

    fn sign_in() -> impl Strategy<Value = SignIn> {
        let one = |name: &'static str, value: BoxedStrategy<String>| (Just(name), value);
        let usual = (one("status", status().boxed()), one("department", department().boxed()));
        let name = prop::sample::select(vec!["status", "department", "STATUS", "other"]);
        let attributes = prop_oneof![
            6 => usual.prop_map(|(status, department)| vec![status, department]),
            1 => prop::collection::vec((name, odd()), 0..5),
        ];
        // On the minute, next to it, and anywhere in what a clock can say.
        let received = prop_oneof![
            (0_u64..1_440, 0_u64..3)
                .prop_map(|(minute, beside)| 1_795_600_800_000 + minute * 60_000 + beside * 999),
            1_700_000_000_000_u64..1_900_000_000_000,
            0_u64..(1 << 53),
        ];
        let seconds = prop_oneof![2 => 0_u32..100_000, 1 => Just(0_u32), 1 => Just(3_600), 1 => Just(u32::MAX)];
        let target =
            prop::sample::select(vec![Target::AccessToken, Target::IdToken, Target::Assertion]);
        let least = prop_oneof![Just(300_u32), 0_u32..50_000];
        let lifetime = (target, seconds, least);
        let lifetimes = prop::collection::vec(lifetime, 0..4);
        (received, prop::bool::weighted(0.95), attributes, lifetimes).prop_map(
            |(received, known, attributes, lifetimes)| SignIn {
                received,
                known,
                attributes: attributes
                    .into_iter()
                    .map(|(name, value)| Attribute { name: name.into(), value: value.into() })
                    .collect(),
                lifetimes: lifetimes
                    .into_iter()
                    .map(|(target, seconds, least)| Lifetime {
                        target,
                        seconds,
                        least,
                        most: 86_400,
                    })
                    .collect(),
            },
        )
    }

    #[test]
    fn they_import_the_contract_alone_and_begin_within_a_limit() {
        for (language, component) in built("hours") {
            let inspection = inspect(&component).unwrap();
            let imports = &inspection.imports;
            let of_contract = |import: &String| import.starts_with("portcullis:policy/");
            assert!(imports.iter().all(of_contract), "{language}: {imports:?}");
            for export in ["configure", "evaluate"] {
                assert!(
                    inspection.exports.iter().any(|one| one == export),
                    "{language}: {:?}",
                    inspection.exports
                );
            }
            assert!(inspection.memory_bytes < Limits::DEFAULT.memory_bytes, "{language}");
        }
    }

    #[test]
    fn all_languages_decide_every_call_alike() {
        let hours = hours();
        let rust = &hours["rust"];
        let mut seen = BTreeMap::<String, usize>::new();
        // The same calls in every run: what this compares is four programs, not one with chance.
        let mut runner = TestRunner::new_with_rng(
            Config { cases: CALLS, failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        );
        let tried = std::cell::RefCell::new(&mut seen);
        let compared = runner.run(&sign_in(), |sign_in| {
            let expected = outcome(rust, &sign_in);
            for (language, plugin) in hours {
                let decided = outcome(plugin, &sign_in);
                prop_assert!(
                    decided == expected,
                    "{}: {} instead of {}",
                    language,
                    told(&decided),
                    told(&expected)
                );
            }
            let code = expected
                .findings
                .first()
                .map_or("nothing", |finding| finding.code.as_str())
                .to_owned();
            *tried.borrow_mut().entry(code).or_default() += 1;
            Ok(())
        });
        compared.unwrap_or_else(|error| panic!("{error}"));
        for code in [
            "HOURS_INSIDE",
            "HOURS_OUTSIDE",
            "HOURS_ENDING",
            "HOURS_TERMINATED",
            "HOURS_STATUS_MISSING",
            "HOURS_NO_DEPARTMENT",
        ] {
            assert!(
                seen.get(code).is_some_and(|count| *count > 10),
                "{code} was hardly tried: {seen:?}"
            );
        }
    }

    #[test]
    fn settings_are_refused_by_all_in_the_same_places() {
        let department = |more: &str| {
            format!(r#"{{"terminated":["left"],"departments":[{{"name":"a"{more}}}]}}"#)
        };
        let hours = r#","from":"06:00","until":"22:00""#;
        let wrong = [
            ("terminated", r#"{"terminated":[],"departments":[{"name":"a","from":"06:00","until":"22:00"}]}"#.to_owned()),
            ("departments", r#"{"terminated":["left"],"departments":[]}"#.to_owned()),
            ("departments[0].from", department(r#","from":"6:00","until":"22:00""#)),
            ("departments[0].until", department(r#","from":"06:00","until":"24:00""#)),
            ("departments[0].until", department(r#","from":"06:00","until":"06:00""#)),
            ("departments[0].from", department(r#","from":7,"until":"06:00""#)),
            ("until", department(r#","from":"07:00""#)),
            ("outsid", department(&format!(r#"{hours},"outsid":"deny""#))),
            ("departments[0].outside", department(&format!(r#"{hours},"outside":"allow""#))),
            ("departments[1].name", r#"{"terminated":["x"],"departments":[{"name":"a","from":"06:00","until":"22:00"},{"name":"a","from":"06:00","until":"22:00"}]}"#.to_owned()),
            ("unlisted", r#"{"terminated":["x"],"departments":[{"name":"a","from":"06:00","until":"22:00"}],"unlisted":"allow"}"#.to_owned()),
        ];
        // Instrumenting and compiling an interpreter takes seconds, so that not every language is asked about everything.
        let languages = [("rust", rust())].into_iter().chain(built("hours"));
        for (language, component) in languages {
            let quick = component.len() < 1 << 20;
            for (place, settings) in wrong.iter().skip(if quick { 0 } else { wrong.len() - 1 }) {
                let refused =
                    engine().prepare(&component, settings, Limits::CEILING).err().unwrap();
                assert!(
                    matches!(refused, PrepareError::Settings(_)),
                    "{language}, {place}: {refused}"
                );
                let complaints = refused.setting_errors();
                assert!(
                    complaints.iter().any(|complaint| complaint.contains(place)),
                    "{language}: {complaints:?}"
                );
            }
        }
    }

    #[test]
    fn a_thousand_departments_are_read_once_and_a_call_gives_the_same_on_four_threads() {
        for (language, plugin) in hours() {
            let sign_in = SignIn::of("active", "ward 998", 1_795_600_800_000);
            let expected = outcome(plugin, &sign_in);
            assert_eq!(expected.findings.len(), 1, "{language}");
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for run in 0..25 {
                            // More threads than slots: one that finds none asks again.
                            let decided = loop {
                                match plugin
                                    .evaluate(&sign_in.view(), Duration::from_secs(1))
                                    .outcome
                                {
                                    Err(Fault::NoSlot) => thread::yield_now(),
                                    Err(fault) => panic!("{language}, run {run}: {fault}"),
                                    Ok(decided) => break decided,
                                }
                            };
                            assert!(
                                decided == expected,
                                "{language} differs in run {run}: {}",
                                told(&decided)
                            );
                        }
                    });
                }
            });
            let spent = (0..20)
                .map(|_| plugin.evaluate(&sign_in.view(), Duration::from_secs(1)).elapsed)
                .min();
            println!("{language}: a thousand departments, at best {spent:?} a call");
        }
    }

    #[test]
    fn what_goes_wrong_in_a_plugin_is_its_failure_and_harms_nobody() {
        let limits = Limits { time_ms: 500, ..Limits::CEILING };
        for (language, component) in built("misbehaving") {
            let plugin = engine().prepare(&component, r#"{"secret":"x"}"#, limits).unwrap_or_else(
                |refused| {
                    panic!("{language}: {refused} {:?}", refused.setting_errors());
                },
            );
            let asked = |misbehaviour: &str| {
                let sign_in = SignIn::of(misbehaviour, "", 1_795_600_800_000);
                let outcome = plugin.evaluate(&sign_in.view(), Duration::from_secs(1)).outcome;
                outcome.map(|decision| told(&decision))
            };
            let said = |misbehaviour: &str| match asked(misbehaviour) {
                Err(Fault::Error(text)) => text.expose().clone(),
                other => panic!("{language}, {misbehaviour}: {other:?}"),
            };
            let healthy = asked("nothing");
            assert_eq!(healthy.as_deref(), Ok("[], 0 changes, risk None"), "{language}");
            assert_eq!(asked("loop"), Err(Fault::Deadline), "{language}");
            // An interpreter that gets no more memory may still say so itself, or end.
            let eaten = asked("eat");
            let stopped = matches!(
                eaten,
                Err(Fault::Memory | Fault::Error(_) | Fault::Trap(_) | Fault::Deadline)
            );
            assert!(stopped, "{language}: {eaten:?}");
            assert_eq!(asked("flood"), Err(Fault::Output), "{language}");
            assert!(said("throw").contains("the plugin says why"), "{language}: {}", said("throw"));
            if language == "c" {
                assert!(matches!(asked("crash"), Err(Fault::Trap(_))), "{language}");
            } else {
                assert!(said("crash").contains("Error"), "{language}: {}", said("crash"));
                for impure in ["clock", "random"] {
                    assert!(
                        said(impure).contains("a plugin has no"),
                        "{language}: {}",
                        said(impure)
                    );
                }
            }
            let deep = asked("recurse");
            let stopped = matches!(
                deep,
                Err(Fault::Error(_) | Fault::Stack | Fault::Trap(_) | Fault::Memory)
            );
            assert!(stopped, "{language}: {deep:?}");
            // What one call leaves, the next does not find; and nothing is ordered by chance.
            for _ in 0..5 {
                assert_eq!(
                    asked("remember").as_deref(),
                    Ok("[], 0 changes, risk Some(1)"),
                    "{language}"
                );
            }
            let order = asked("order");
            assert!(
                order.as_ref().is_ok_and(|told| told.contains("ORDER")),
                "{language}: {order:?}"
            );
            println!("{language}: {order:?}, {eaten:?}, {deep:?}");
            let second =
                engine_of_its_own().prepare(&component, r#"{"secret":"x"}"#, limits).unwrap();
            assert_eq!(second.snapshot_digest(), plugin.snapshot_digest(), "{language}");
            let sign_in = SignIn::of("order", "", 1_795_600_800_000);
            let elsewhere = second.evaluate(&sign_in.view(), Duration::from_secs(1)).outcome;
            assert_eq!(elsewhere.map(|decision| told(&decision)), order, "{language}");
            assert_eq!(asked("nothing"), healthy, "{language} is as well as before");
        }
    }

    #[test]
    fn what_goes_wrong_in_configure_is_told_as_well() {
        // One of each language that has exceptions: to prepare one takes seconds.
        for (language, component) in built("misbehaving") {
            let refused = engine()
                .prepare(&component, r#"{"configure":"throw"}"#, Limits::CEILING)
                .err()
                .unwrap();
            assert!(
                refused
                    .setting_errors()
                    .iter()
                    .any(|complaint| complaint.contains("the plugin says why")),
                "{language}: {refused}"
            );
        }
        let impatient = Engine::new(Options {
            workers: 1,
            plugins: 1,
            configure_time: Duration::from_millis(500),
        })
        .unwrap();
        for (language, component) in built("misbehaving") {
            let refused =
                impatient.prepare(&component, r#"{"configure":"loop"}"#, Limits::CEILING).err();
            assert_eq!(refused, Some(PrepareError::Configure(Fault::Deadline)), "{language}");
            let begins = inspect(&component).unwrap().memory_bytes;
            let tight = Limits { memory_bytes: begins - 1, ..Limits::CEILING };
            let refused = engine().prepare(&component, r#"{"secret":"x"}"#, tight).err();
            assert_eq!(refused, Some(PrepareError::NoStart(Fault::Memory)), "{language}");
        }
    }

    #[test]
    fn a_change_is_a_change_in_every_language() {
        // Half an hour before the end: both tokens end with the shift.
        let mut sign_in = SignIn::of("active", "pharmacy", 1_795_642_200_000);
        sign_in.lifetimes.push(Lifetime {
            target: Target::IdToken,
            seconds: 1_801,
            least: 0,
            most: 86_400,
        });
        for (language, plugin) in hours() {
            let changes = outcome(plugin, &sign_in).changes;
            let cap = |target| Change::CapLifetime { target, seconds: 1_800 };
            assert!(
                changes == [cap(Target::AccessToken), cap(Target::IdToken)],
                "{language}: {} changes",
                changes.len()
            );
        }
    }

    /// How many calls are compared. Python takes two milliseconds for each, more on a busy machine.
    const CALLS: u32 = 1_500;
}
