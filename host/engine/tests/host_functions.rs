//! Tables and memory as a plugin sees them: every question reaches the host as it was asked, every
//! answer comes back, and a function that the call was not given ends it.
//!
//! Takes `remembering.wasm`, the tests' own plugin that asks what its call tells it, from the
//! directory `PORTCULLIS_PLUGINS`.

#![expect(clippy::disallowed_methods, reason = "tests read what they made themselves")]

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use std::{env, fs};

    use portcullis_engine::{
        CallServices, Count, DataLimit, Engine, Fault, HostFunctionError, HostFunctions, Options,
        Plugin, PrepareError, Scope, SubjectMatch, TableRows, componentize,
    };
    use portcullis_model::{Attribute, Limits, Millis, PrincipalKind, PrincipalView, View};

    const SECOND: Duration = Duration::from_secs(1);

    /// A host that writes down what it is asked, and answers from a script.
    #[derive(Default)]
    struct Script {
        asked: Mutex<Vec<String>>,
        refuses: Option<HostFunctionError>,
    }

    impl Script {
        fn ask(&self, question: String) -> Result<(), HostFunctionError> {
            self.asked.lock().unwrap().push(question);
            self.refuses.map_or(Ok(()), Err)
        }

        fn rows() -> TableRows {
            let cell =
                |name: &str, value: &str| Attribute { name: name.into(), value: value.into() };
            TableRows {
                rows: vec![
                    vec![cell("ward", "\"north\""), cell("beds", "7")],
                    vec![cell("ward", "\"süd\"")],
                    vec![],
                ],
                version: "ab".repeat(32),
                stale: true,
            }
        }
    }

    impl HostFunctions for Script {
        fn lookup(&self, table: &str, key: &str) -> Result<TableRows, HostFunctionError> {
            self.ask(format!("lookup {table} {key}")).map(|()| Self::rows())
        }

        fn lookup_subject(
            &self,
            table: &str,
        ) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
            self.ask(format!("lookup-subject {table}"))
                .map(|()| (SubjectMatch::Several, Self::rows()))
        }

        fn recall(&self, scope: Scope, key: &str) -> Result<Option<Vec<u8>>, HostFunctionError> {
            self.ask(format!("recall {scope:?} {key}"))
                .map(|()| (key == "known").then(|| b"value".to_vec()))
        }

        fn remember(
            &self,
            scope: Scope,
            key: &str,
            value: Vec<u8>,
            ttl_seconds: u32,
        ) -> Result<(), HostFunctionError> {
            let value = String::from_utf8(value).unwrap();
            self.ask(format!("remember {scope:?} {key} {value} {ttl_seconds}"))
        }

        fn forget(&self, scope: Scope, key: &str) -> Result<(), HostFunctionError> {
            self.ask(format!("forget {scope:?} {key}"))
        }

        fn count(
            &self,
            scope: Scope,
            key: &str,
            window_seconds: u32,
            question: Count<'_>,
        ) -> Result<u32, HostFunctionError> {
            self.ask(format!("{question:?} {scope:?} {key} {window_seconds}")).map(|()| 42)
        }
    }

    fn component() -> Vec<u8> {
        let folder = env::var_os("PORTCULLIS_PLUGINS")
            .expect("run `cargo xtask test`, which builds the plugins");
        let file = PathBuf::from(folder).join("remembering.wasm");
        let bytes = fs::read(file).expect("run `cargo xtask test`");
        componentize(&bytes).unwrap_or(bytes)
    }

    fn plugin(engine: &Engine) -> Plugin {
        engine.prepare(&component(), "{}", Limits::CEILING).unwrap()
    }

    /// The answers to these questions, or the fault.
    fn ask(plugin: &Plugin, questions: &str, services: CallServices) -> Result<String, Fault> {
        let questions = Attribute { name: "questions".into(), value: questions.into() };
        let view = View {
            id: "event",
            correlation: None,
            tenant: "default",
            hook: "okta.token",
            phase: None,
            received: Millis(1_700_000_000_000),
            seed: 1,
            subject: Some(PrincipalView {
                kind: PrincipalKind::Person,
                type_name: "user",
                id: Some("u1"),
                attributes: vec![&questions],
                entitlements: &[],
            }),
            actors: Vec::new(),
            action: None,
            resource: None,
            requested: &[],
            lifetimes: &[],
            origin: None,
            purpose: None,
            proposed: &[],
            payload: "null".into(),
        };
        let evaluation = plugin.evaluate_with(&view, SECOND, services);
        evaluation.outcome.map(|decision| {
            let [finding] = decision.findings.as_slice() else { panic!("one finding") };
            let [answers] = finding.arguments.as_slice() else { panic!("one argument") };
            answers.value.to_string()
        })
    }

    fn with(functions: &Arc<Script>) -> CallServices {
        let functions: Arc<dyn HostFunctions> = Arc::<Script>::clone(functions);
        CallServices { journal: true, functions: Some(functions) }
    }

    const QUESTIONS: &str = r#"[
        ["lookup", "roster", "4711"], ["lookup-subject", "roster"],
        ["recall", "subject", "known"], ["recall", "shared", "unknown"],
        ["remember", "subject", "k", "v", 60], ["forget", "shared", "k"],
        ["count", "shared", "n", 1], ["tally", "subject", "n", 2],
        ["count-distinct", "shared", "d", 3], ["tally-distinct", "subject", "d", "m", 4]
    ]"#;

    #[test]
    fn questions_and_answers_cross_the_wall_unchanged() {
        let engine = Engine::new(Options::default()).unwrap();
        let plugin = plugin(&engine);
        let script = Arc::new(Script::default());
        let answers = ask(&plugin, QUESTIONS, with(&script)).unwrap();
        let answers: serde_json::Value = serde_json::from_str(&answers).unwrap();
        let rows = serde_json::json!([{ "ward": "north", "beds": 7 }, { "ward": "süd" }, {}]);
        let expected = serde_json::json!([
            { "rows": rows, "version": "ab".repeat(32), "stale": true },
            { "matched": "several", "rows": rows, "stale": true },
            "value", null, null, null, 42, 42, 42, 42
        ]);
        assert_eq!(answers, expected);
        let asked = [
            "lookup roster 4711",
            "lookup-subject roster",
            "recall Subject known",
            "recall Shared unknown",
            "remember Subject k v 60",
            "forget Shared k",
            "Read Shared n 1",
            "Add Subject n 2",
            "ReadDistinct Shared d 3",
            "AddDistinct(\"m\") Subject d 4",
        ];
        assert_eq!(*script.asked.lock().unwrap(), asked);
    }

    #[test]
    fn a_function_that_the_call_was_not_given_ends_it() {
        let engine = Engine::new(Options::default()).unwrap();
        let plugin = plugin(&engine);
        let one_by_one: Vec<Vec<serde_json::Value>> = serde_json::from_str(QUESTIONS).unwrap();
        assert_eq!(one_by_one.len(), 10);
        for question in one_by_one {
            let interface = if question[0].as_str().unwrap().starts_with("lookup") {
                "reference"
            } else {
                "memory"
            };
            let question = serde_json::json!([question]).to_string();
            let fault = ask(&plugin, &question, CallServices::journal_only()).unwrap_err();
            assert_eq!(fault, Fault::HostFunction(HostFunctionError::Undeclared(interface)));
            assert_eq!(fault.code(), "plugin-capability-undeclared");
            assert!(fault.to_string().contains(interface) && fault.hint().is_some());
        }
        let note = r#"[["note", "x"]]"#;
        assert!(ask(&plugin, note, CallServices::journal_only()).is_ok());
        let fault = ask(&plugin, note, CallServices::default()).unwrap_err();
        assert_eq!(fault, Fault::HostFunction(HostFunctionError::Undeclared("journal")));
    }

    #[test]
    fn a_refusal_of_the_host_ends_the_call_with_its_own_code() {
        let engine = Engine::new(Options::default()).unwrap();
        let plugin = plugin(&engine);
        for refused in [
            HostFunctionError::UnknownTable,
            HostFunctionError::NoSubject,
            HostFunctionError::Unavailable,
            HostFunctionError::Limit(DataLimit::Read),
        ] {
            let script = Arc::new(Script { refuses: Some(refused), ..Script::default() });
            let fault = ask(&plugin, QUESTIONS, with(&script)).unwrap_err();
            assert_eq!(fault, Fault::HostFunction(refused));
            assert_eq!(script.asked.lock().unwrap().len(), 1, "the first refusal ends the call");
        }
    }

    #[test]
    fn configure_has_neither_tables_nor_memory() {
        let engine = Engine::new(Options::default()).unwrap();
        let settings = r#"{ "lookup": "roster" }"#;
        let refused = engine.prepare(&component(), settings, Limits::CEILING).err();
        let fault = Fault::HostFunction(HostFunctionError::Undeclared("reference"));
        assert_eq!(refused, Some(PrepareError::Configure(fault)));
    }
}
