//! Only people of one department get a token, and no long one.
//!
//! A template: replace it with your own policy.

use portcullis_guest::{Attribute, Call, Cap, Change, Decision, Effect, Finding, Plugin, Problems, Severity};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the operator decides.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whose people get in.
    department: String,
    /// The longest a token lives. Seconds.
    #[schemars(range(min = 1))]
    longest_seconds: u32,
}

/// The plugin, configured.
pub struct MyPlugin(Settings);

impl Plugin for MyPlugin {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        let mut problems = Problems::default();
        if settings.department.is_empty() {
            problems.at("department", "is empty: nobody would get in");
        }
        problems.or(Self(settings))
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        let department = call.subject.as_ref().and_then(|subject| subject.text("department"));
        if department.as_deref() != Some(self.0.department.as_str()) {
            let finding = Finding::new("OTHER_DEPARTMENT", Effect::Deny)
                .severity(Severity::Medium)
                .argument(Attribute::text("department", &self.0.department));
            return Ok(Decision::default().finding(finding));
        }
        let too_long = call.lifetimes.iter().filter(|lifetime| lifetime.seconds > self.0.longest_seconds);
        let decision = Decision::default().finding(Finding::new("RIGHT_DEPARTMENT", Effect::Allow));
        Ok(too_long.fold(decision, |decision, lifetime| {
            let seconds = self.0.longest_seconds.max(lifetime.least);
            decision.change(Change::CapLifetime(Cap { target: lifetime.target, seconds }))
        }))
    }
}

portcullis_guest::plugin!(MyPlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_guest::{Target, testing};

    const MANIFEST: &str = include_str!("../manifest.toml");
    const SETTINGS: &str = include_str!("../settings.example.json");

    fn decide(call: testing::CallBuilder) -> Decision {
        let call = call.build();
        let decision = testing::decide(&testing::configured::<MyPlugin>(SETTINGS), &call);
        testing::assert_declared(MANIFEST, &call.hook, &decision);
        decision
    }

    fn sign_in() -> testing::CallBuilder {
        testing::call("okta.token").subject("u1").lifetime(Target::AccessToken, 7200)
    }

    #[test]
    fn the_schema_follows_from_the_types() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("settings.schema.json");
        testing::assert_schema::<Settings>(&file);
    }

    #[test]
    fn others_are_denied() {
        assert_eq!(decide(sign_in()).verdict(), Effect::Deny);
        assert_eq!(decide(sign_in().attribute("department", "kitchen")).codes(), ["OTHER_DEPARTMENT"]);
    }

    #[test]
    fn long_tokens_are_shortened() {
        let decision = decide(sign_in().attribute("department", "pharmacy"));
        assert_eq!(decision.verdict(), Effect::Allow);
        assert!(decision.changes == [Change::CapLifetime(Cap { target: Target::AccessToken, seconds: 3600 })]);
    }

    #[test]
    fn wrong_settings_are_refused_by_path() {
        let problems = testing::configure::<MyPlugin>(r#"{"department": "", "longest_seconds": 300}"#).err().unwrap();
        assert_eq!(problems, ["settings: `department` is empty: nobody would get in"]);
    }
}
