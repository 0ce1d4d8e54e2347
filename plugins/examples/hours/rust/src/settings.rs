//! The settings: their shape, from which `settings.schema.json` follows, and what must hold between their parts.

use portcullis_guest::{Effect, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of org.portcullis.hours.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Statuses of people who have left. Case does not matter.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    terminated: Vec<String>,
    /// Who works when.
    #[schemars(length(min = 1))]
    departments: Vec<Department>,
    /// What is said of people whose department is not listed, or not known.
    #[serde(default)]
    unlisted: Unlisted,
}

/// One department's hours, UTC.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Department {
    /// As the platform spells it.
    #[schemars(length(min = 1))]
    name: String,
    /// The shift's first minute: `HH:MM`, UTC.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    from: String,
    /// The minute at which it is over: `HH:MM`, UTC. Where it is not later than `from`, it is that of the next day.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    until: String,
    /// What is said outside these hours.
    #[serde(default)]
    outside: Outside,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Outside {
    StepUp,
    Review,
    #[default]
    Deny,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Unlisted {
    Abstain,
    StepUp,
    Review,
    #[default]
    Deny,
}

/// The settings, ready to be asked.
pub(crate) struct Shifts {
    pub terminated: Vec<String>,
    pub shifts: Vec<Shift>,
    /// Nothing is said of others where it is abstain.
    pub unlisted: Effect,
}

/// One department's hours, in minutes of the day.
pub(crate) struct Shift {
    pub department: String,
    pub from: u64,
    pub until: u64,
    pub outside: Effect,
}

impl Settings {
    /// What follows from them, or everything that is wrong with them.
    pub(crate) fn check(self) -> Result<Shifts, Vec<String>> {
        let mut problems = Problems::default();
        if self.terminated.is_empty() {
            problems.at("terminated", "is empty: nobody would ever have left");
        }
        if self.departments.is_empty() {
            problems.at("departments", "is empty: nobody would work here");
        }
        let mut shifts: Vec<Shift> = Vec::new();
        for (index, department) in self.departments.into_iter().enumerate() {
            let mut time = |member: &str, text: &str| {
                minutes(text).unwrap_or_else(|| {
                    problems.at(
                        format_args!("departments[{index}].{member}"),
                        "is no time of day such as `07:30`",
                    );
                    0
                })
            };
            let (from, until) = (time("from", &department.from), time("until", &department.until));
            if from == until && department.from == department.until {
                problems.at(format_args!("departments[{index}].until"), "is the same as `from`");
            }
            if shifts.iter().any(|shift| shift.department == department.name) {
                problems.at(format_args!("departments[{index}].name"), "stands there twice");
            }
            shifts.push(Shift {
                department: department.name,
                from,
                until,
                outside: department.outside.effect(),
            });
        }
        problems.or(Shifts {
            terminated: self.terminated,
            shifts,
            unlisted: self.unlisted.effect(),
        })
    }
}

impl Outside {
    fn effect(self) -> Effect {
        match self {
            Self::StepUp => Effect::StepUp,
            Self::Review => Effect::Review,
            Self::Deny => Effect::Deny,
        }
    }
}

impl Unlisted {
    fn effect(self) -> Effect {
        match self {
            Self::Abstain => Effect::Abstain,
            Self::StepUp => Effect::StepUp,
            Self::Review => Effect::Review,
            Self::Deny => Effect::Deny,
        }
    }
}

/// `HH:MM` as minutes since midnight.
fn minutes(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}
