//! The settings, as `settings.schema.json` describes them.
//!
//! Invariant: this file only says the shape and the defaults; what must hold is checked in `compiled.rs`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Settings of one binding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub(crate) applies_to: AppliesTo,
    /// The names of the reference tables; a table without a name is not looked up.
    #[serde(default)]
    pub(crate) tables: Tables,
    #[serde(deserialize_with = "portcullis_guest::unique")]
    pub(crate) items: BTreeMap<Kind, Item>,
    /// IANA name: where a day ends, unless `zones` knows better.
    pub(crate) zone: String,
    pub(crate) zones: Option<Zones>,
    pub(crate) sponsor: Option<Sponsor>,
    #[serde(default = "default_skew")]
    pub(crate) clock_skew_seconds: u32,
    /// The longest that anything may live, however far the end is. Seconds.
    pub(crate) longest_seconds: Option<u32>,
    #[serde(default = "default_warnings")]
    pub(crate) warn_days: Vec<u16>,
    /// Where to put the end, target by target.
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub(crate) access_end: BTreeMap<Place, String>,
}

/// Whom the plugin is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppliesTo {
    pub attribute: String,
    pub values: Vec<String>,
    #[serde(default)]
    pub when_missing: WhenMissing,
}

/// What a subject is whose attribute is absent.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenMissing {
    /// Nobody this plugin is about.
    #[default]
    Abstain,
    /// A contractor.
    Apply,
    /// A contractor, if the register has an entry of them.
    Register,
}

/// The names of the reference tables.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tables {
    /// The contractor register, by person.
    pub register: Option<String>,
    /// Trainings, by person: a row for each course.
    pub training: Option<String>,
    /// Licences, by person: a row for each licence.
    pub licences: Option<String>,
    /// The employees, by the name or number that the register has for sponsors.
    pub roster: Option<String>,
}

/// What access rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Contract,
    Project,
    Sponsor,
    Training,
    Licence,
    Agreement,
}

/// Where its last day or last moment stands, beside the tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub attribute: Option<String>,
    #[serde(default)]
    pub mandatory: bool,
    /// The courses, or kinds of licences, that the table of them must have.
    #[serde(default)]
    pub required: Vec<String>,
}

/// Facilities in other time zones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Zones {
    /// The attribute that names the facility, beside the register.
    pub attribute: Option<String>,
    /// Facility → IANA name.
    #[serde(deserialize_with = "portcullis_guest::unique")]
    pub by_value: BTreeMap<String, String>,
}

/// Who answers for the contractor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sponsor {
    /// The attribute that names the sponsor, beside the register.
    pub attribute: Option<String>,
    /// Attributes that name the subject, besides their id: none of them may be the sponsor.
    #[serde(default = "default_self_attributes")]
    pub self_attributes: Vec<String>,
    pub status_attribute: Option<String>,
    #[serde(default)]
    pub active: Vec<String>,
    #[serde(default)]
    pub gone: Gone,
}

/// What it means when the sponsor is gone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gone {
    #[default]
    Deny,
    StepUp,
}

/// A part of the answer that can carry the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    IdToken,
    AccessToken,
    Assertion,
    User,
    AppUser,
}

impl Kind {
    /// The word in settings and findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Project => "project",
            Self::Sponsor => "sponsor",
            Self::Training => "training",
            Self::Licence => "licence",
            Self::Agreement => "agreement",
        }
    }

    /// The column of the register.
    pub fn column(self) -> &'static str {
        match self {
            Self::Contract => "contract_end",
            Self::Project => "project_end",
            Self::Sponsor => "sponsor_until",
            Self::Training => "training_expiry",
            Self::Licence => "licence_expiry",
            Self::Agreement => "agreement_end",
        }
    }
}

/// The attributes that name a person on most platforms.
pub(crate) fn default_self_attributes() -> Vec<String> {
    vec!["login".to_owned(), "email".to_owned()]
}

fn default_skew() -> u32 {
    60
}

fn default_warnings() -> Vec<u16> {
    vec![14, 7, 1]
}
