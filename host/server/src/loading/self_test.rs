//! The tests before a plugin decides: its settings fit the schema in its manifest, and it passes
//! the suite that its manifest names.
//!
//! Invariant: what does not pass changes nothing; the last good generation keeps serving. Everything is found by digest and bounded in time.
//! The failure names cases and places, never what stands in settings.

use std::time::Duration;

use portcullis_engine::Engine;
use portcullis_model::Digest;
use portcullis_suite::{RunBounds, Suite, Syntax, TestLimits, check_settings, run};
use portcullis_trust::{Capability, Manifest};
use thiserror::Error;

/// Why a plugin did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelfTestError {
    /// The settings do not fit the schema in the manifest.
    #[error("its settings do not fit the schema in its manifest ({} places)", complaints.len())]
    Settings {
        /// The complaints, by JSON Pointer.
        complaints: Vec<String>,
    },
    /// The schema is none.
    #[error("{0}")]
    Schema(String),
    /// The suite that the manifest names is not there.
    #[error("no file in the plugins' folder is the test suite {0} that its manifest names")]
    SuiteMissing(Digest),
    /// The suite cannot be used here.
    #[error("{0}")]
    SuiteUnusable(String),
    /// It does not pass.
    #[error("it fails its test suite: {failed} of {cases} cases differ, the first is `{first}`")]
    Suite {
        /// How many did not.
        failed: usize,
        /// Of how many.
        cases: usize,
        /// The name of the first.
        first: String,
    },
    /// There was no time to run all of it.
    #[error("its test suite did not finish within {} s", SELF_TEST_TIME.as_secs())]
    SuiteTimeout,
}

impl SelfTestError {
    /// The stable code in records and JSON output.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "settings-invalid",
            Self::Schema(_) => "settings-schema-unusable",
            Self::SuiteMissing(_) => "suite-missing",
            Self::SuiteUnusable(_) => "suite-unusable",
            Self::Suite { .. } => "suite-failed",
            Self::SuiteTimeout => "suite-late",
        }
    }

    /// Returns the hint: what to do.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Settings { .. } => {
                "correct the settings at these places, and sign a new release set"
            }
            Self::Schema(_) | Self::SuiteUnusable(_) => {
                "ask its publisher to correct it and to sign the plugin again"
            }
            Self::SuiteMissing(_) => {
                "copy the `.suite.json` that `portcullis plugin sign` wrote into the plugins' \
                 folder, under any name"
            }
            Self::Suite { .. } => {
                "run `portcullis plugin test` with this component and suite; this host decides otherwise than its publisher's"
            }
            Self::SuiteTimeout => "make the suite smaller, or give the host more processor time",
        };
        hint.to_owned()
    }

    /// Returns the complaints about the settings, by place.
    pub fn setting_errors(&self) -> &[String] {
        if let Self::Settings { complaints } = self { complaints } else { &[] }
    }
}

/// The inputs and outputs that a manifest allows, for trying its plugin.
pub fn test_terms(manifest: &Manifest) -> TestLimits<'_> {
    TestLimits {
        hooks: &manifest.hooks,
        reads: &manifest.reads,
        emits: &manifest.emits,
        messages: &manifest.messages,
        journal: manifest.capabilities.contains(&Capability::Journal),
        memory: manifest.capabilities.contains(&Capability::Memory),
        limits: manifest.limits,
        schema: manifest.settings_schema.as_ref().map(|schema| schema.text.as_str()),
    }
}

/// Holds a binding's settings against the schema in the manifest.
pub fn check_binding(manifest: &Manifest, settings: &str) -> Result<(), SelfTestError> {
    let Some(schema) = &manifest.settings_schema else { return Ok(()) };
    let complaints = check_settings(&schema.text, settings, &manifest.reads)
        .map_err(|error| SelfTestError::Schema(error.to_string()))?;
    let complaints: Vec<_> = complaints.iter().map(ToString::to_string).collect();
    if complaints.is_empty() { Ok(()) } else { Err(SelfTestError::Settings { complaints }) }
}

/// Runs the suite that a manifest names, if it names one. `found` gives the file of that digest.
pub fn self_test<'a>(
    manifest: &Manifest,
    component: &[u8],
    engine: &Engine,
    found: impl FnOnce(Digest) -> Option<&'a [u8]>,
) -> Result<(), SelfTestError> {
    let Some(passed) = manifest.suite else { return Ok(()) };
    let unusable = |why: String| SelfTestError::SuiteUnusable(why);
    let bundle = found(passed.digest).ok_or(SelfTestError::SuiteMissing(passed.digest))?;
    let text =
        std::str::from_utf8(bundle).map_err(|_| unusable("its suite is not UTF-8".to_owned()))?;
    let suite = Suite::parse(text, Syntax::Json).map_err(|error| unusable(error.to_string()))?;
    let plan = suite.plan().map_err(|error| unusable(error.to_string()))?;
    if usize::try_from(passed.cases) != Ok(plan.cases()) {
        let (cases, said) = (plan.cases(), passed.cases);
        return Err(unusable(format!(
            "its suite has {cases} cases here, and its manifest says {said}"
        )));
    }
    let report = run(
        &plan,
        engine,
        component,
        &test_terms(manifest),
        RunBounds { time: SELF_TEST_TIME, coverage: false },
    );
    if report.late() {
        return Err(SelfTestError::SuiteTimeout);
    }
    match report.outcomes.iter().find(|outcome| !outcome.passed()) {
        None => Ok(()),
        Some(first) => Err(SelfTestError::Suite {
            failed: report.failed(),
            cases: report.outcomes.len(),
            first: first
                .name
                .chars()
                .filter(|letter| !letter.is_control())
                .take(MAX_NAME_CHARS)
                .collect(),
        }),
    }
}

/// How long one plugin's suite may take at activation, compiling included: enough for an interpreted language. The last good generation
/// serves meanwhile.
pub const SELF_TEST_TIME: Duration = Duration::from_secs(120);

/// The longest name of a case in a sentence, characters.
const MAX_NAME_CHARS: usize = 120;
