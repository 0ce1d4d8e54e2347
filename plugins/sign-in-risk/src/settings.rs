//! The settings: their shape, their defaults and the sources of these, from which
//! `settings.schema.json` follows.
//!
//! Invariant: `{}` is valid, and every default is written once, in `defaults.rs`. The relations
//! between settings are checked in `compiled.rs`.

mod defaults;

use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of org.portcullis.sign-in-risk.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// IANA name of the time zone in which hours of the day are counted.
    pub(crate) zone: String,
    /// The share of people with a history who are to be asked for a second factor, in percent of
    /// person-days. The
    /// threshold of the band "medium" follows from it, within `bands`.
    #[schemars(range(min = 1, max = 50))]
    pub(crate) target_reauthentication_percent: u8,
    /// The points at which the bands begin.
    pub(crate) bands: Bands,
    /// The effect of each band.
    pub(crate) effects: Effects,
    /// The history that is enough to compare with.
    pub(crate) learning: Learning,
    /// Distances and speeds.
    pub(crate) travel: Travel,
    /// Hours of the day.
    pub(crate) hours: Hours,
    /// The numbers that make an attack.
    pub(crate) attacks: Attacks,
    /// The points of each signal.
    pub(crate) points: Points,
    /// The names of the reference tables; a table without a name is not read.
    pub(crate) tables: Tables,
    /// The subject's attribute with the risk by the platform's own calculation (`low`, `medium`,
    /// `high`, or Okta's and Entra's other words). On `okta.event` the event itself has it.
    pub(crate) platform_risk: Option<AttributeName>,
    /// The subject's attribute by which the platform says that this sign-in used a second factor.
    pub(crate) second_factor: Option<SecondFactor>,
    /// For how many minutes a second factor in the same session answers a demand for one.
    #[schemars(range(min = 1, max = 1440))]
    pub(crate) second_factor_minutes: u16,
    /// For how many days the history of a person who does not sign in is kept.
    #[schemars(range(min = 1, max = 365))]
    pub(crate) remember_days: u16,
    /// The learned model.
    pub(crate) model: Model,
}

/// An attribute of the subject.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttributeName {
    /// Its name. The manifest must read it.
    #[schemars(length(min = 1), extend("x-reads" = "subject.attributes.*"))]
    pub attribute: String,
}

/// The attribute by which the platform says that a second factor was used.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondFactor {
    /// The name of the attribute. The manifest must read it.
    #[schemars(length(min = 1), extend("x-reads" = "subject.attributes.*"))]
    pub attribute: String,
    /// The values that mean a second factor, such as `phr` or `mfa`; one of them is enough.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub values: Vec<String>,
}

/// The points, of 0 to 100, at which the bands begin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bands {
    /// "Medium" while fewer than 500 person-days are known.
    #[schemars(range(min = 1, max = 100))]
    pub medium: u8,
    /// The lowest threshold that the target rate may lead to. The threshold never moves below it,
    /// however quiet the last weeks were.
    #[schemars(range(min = 1, max = 100))]
    pub lowest_medium: u8,
    /// The highest. The threshold never moves above it, however many attacks there are.
    #[schemars(range(min = 1, max = 100))]
    pub highest_medium: u8,
    /// "High". It does not move.
    #[schemars(range(min = 1, max = 100))]
    pub high: u8,
}

/// The effect of each band.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Effects {
    /// `abstain` where another plugin of the hook grants access, as on `authzen`.
    pub low: LowEffect,
    /// While the history is too short to compare with.
    pub learning: BandEffect,
    /// Of the band "medium".
    pub medium: BandEffect,
    /// Of the band "high".
    pub high: BandEffect,
}

/// The effect of the band "low".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LowEffect {
    Abstain,
    Allow,
}

/// The effect of another band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BandEffect {
    Abstain,
    Allow,
    StepUp,
    Review,
    Deny,
}

/// The history that is enough. Entra's atypical travel learns for the earliest of 14 days or 10
/// sign-ins.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Learning {
    /// Learning ends after so many days …
    #[schemars(range(min = 1, max = 90))]
    pub days: u16,
    /// … or so many sign-ins, whichever is earlier.
    #[schemars(range(min = 1, max = 100))]
    pub sign_ins: u16,
    /// A person who was away for longer learns again. Own choice: Entra gives no number.
    #[schemars(range(min = 1, max = 365))]
    pub away_days: u16,
}

/// Distances and speeds. Impossible travel is Elastic's rule for Entra; the speed is the default of
/// Okta's behaviour "velocity".
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Travel {
    /// Impossible travel: at least so far, in kilometres …
    #[schemars(range(min = 50, max = 20_000))]
    pub impossible_km: u16,
    /// … at least so fast, in kilometres an hour …
    #[schemars(range(min = 100, max = 20_000))]
    pub impossible_kmh: u16,
    /// … within so many minutes.
    #[schemars(range(min = 1, max = 1440))]
    pub impossible_minutes: u16,
    /// Velocity: at least so fast, in kilometres an hour, whenever the last sign-in was.
    #[schemars(range(min = 100, max = 20_000))]
    pub velocity_kmh: u16,
    /// Nearer places are not compared: geolocation is wrong by as much. Own choice.
    #[schemars(range(min = 10, max = 1_000))]
    pub velocity_km: u16,
}

/// Hours of the day. Own choices.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hours {
    /// An hour is unusual if the person's sign-ins are so rare around it, in percent of the rate at
    /// which they would all be.
    #[schemars(range(min = 1, max = 50))]
    pub unusual_percent: u8,
    /// The fewest sign-ins from which hours are judged.
    #[schemars(range(min = 1, max = 255))]
    pub sign_ins: u16,
    /// So many minutes before and after a shift still belong to it.
    #[schemars(range(min = 0, max = 240))]
    pub shift_margin_minutes: u16,
}

/// The numbers that make an attack: those of Elastic's rules for Okta.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attacks {
    /// Push bombing: so many denied pushes of one person …
    #[schemars(range(min = 2, max = 8))]
    pub denied_pushes: u8,
    /// … within so many minutes.
    #[schemars(range(min = 1, max = 60))]
    pub denied_pushes_minutes: u8,
    /// Password spraying: failures of so many people from one address within an hour …
    #[schemars(range(min = 2, max = 1_000))]
    pub spraying_people: u16,
    /// … so many failures …
    #[schemars(range(min = 2, max = 10_000))]
    pub spraying_failures: u16,
    /// … in so many different minutes.
    #[schemars(range(min = 1, max = 60))]
    pub spraying_minutes: u8,
    /// Credential stuffing: failures of so many people from one address within 15 minutes …
    #[schemars(range(min = 2, max = 1_000))]
    pub stuffing_people: u16,
    /// … and so many failures.
    #[schemars(range(min = 2, max = 10_000))]
    pub stuffing_failures: u16,
    /// Brute force: failures of one person within 30 minutes from so many addresses …
    #[schemars(range(min = 2, max = 1_000))]
    pub brute_force_addresses: u16,
    /// … and so many failures, and besides 2 countries, 3 networks, 8 addresses or 3 user agents.
    #[schemars(range(min = 2, max = 10_000))]
    pub brute_force_failures: u16,
    /// For so many hours after an attack a success is suspect.
    #[schemars(range(min = 1, max = 48))]
    pub remembered_hours: u8,
}

/// The points of each signal; 0 turns it off. Own choices, to be judged by the rates that they lead
/// to (`target_reauthentication_percent`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Points {
    /// For each factor of e by which the features are likelier for everybody than for the person.
    #[schemars(range(max = 100))]
    pub likelihood: u8,
    /// The most for the likelihood.
    #[schemars(range(max = 100))]
    pub likelihood_most: u8,
    /// A device that the person did not use before.
    #[schemars(range(max = 100))]
    pub new_device: u8,
    /// A network (ASN) that the person did not use before.
    #[schemars(range(max = 100))]
    pub new_network: u8,
    /// A country that the person did not sign in from before.
    #[schemars(range(max = 100))]
    pub new_country: u8,
    /// An hour at which the person hardly signs in.
    #[schemars(range(max = 100))]
    pub unusual_hour: u8,
    /// The most for the four together.
    #[schemars(range(max = 100))]
    pub novelty_most: u8,
    /// Impossible travel.
    #[schemars(range(max = 100))]
    pub impossible_travel: u8,
    /// Velocity, where the travel is not impossible.
    #[schemars(range(max = 100))]
    pub velocity: u8,
    /// Push bombing of this person.
    #[schemars(range(max = 100))]
    pub push_bombing: u8,
    /// Brute force against this person from many addresses.
    #[schemars(range(max = 100))]
    pub brute_force: u8,
    /// The account was locked.
    #[schemars(range(max = 100))]
    pub locked_out: u8,
    /// The address sprayed passwords.
    #[schemars(range(max = 100))]
    pub spraying: u8,
    /// The address tried stolen credentials.
    #[schemars(range(max = 100))]
    pub stuffing: u8,
    /// The platform reported the address as a threat.
    #[schemars(range(max = 100))]
    pub threat: u8,
    /// The platform says that the address belongs to a proxy or anonymiser.
    #[schemars(range(max = 100))]
    pub proxy: u8,
    /// The sign-in succeeded after an attack.
    #[schemars(range(max = 100))]
    pub success_after_attack: u8,
    /// The most for all attacks together.
    #[schemars(range(max = 100))]
    pub attacks_most: u8,
    /// The platform's own risk is medium.
    #[schemars(range(max = 100))]
    pub platform_medium: u8,
    /// The platform's own risk is high.
    #[schemars(range(max = 100))]
    pub platform_high: u8,
    /// The most for the learned model.
    #[schemars(range(max = 100))]
    pub model_most: u8,
}

/// The names of the reference tables.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tables {
    /// Keyed by network: columns `asn`, `country`, `latitude`, `longitude` of its addresses.
    #[schemars(length(min = 1), extend("x-reads" = "tables.*.asn"))]
    pub networks: Option<String>,
    /// Keyed by network: the hospital's own sites, VPN and VDI egress; column `kind`. An address in
    /// it raises no new device, network or country, no travel and no single-source attack. From a
    /// network of the kind `campus` people can have travelled; from other kinds their place is not
    /// known.
    #[schemars(length(min = 1), extend("x-reads" = "tables.*.kind"))]
    pub known_networks: Option<String>,
    /// Keyed by the platform's device id: shared workstations and badge-tap devices; column `kind`.
    /// A device in it raises the same signals as little as a known network.
    #[schemars(length(min = 1), extend("x-reads" = "tables.*.kind"))]
    pub workstations: Option<String>,
    /// Keyed by subject id: shifts, columns `from` and `until` as RFC 3339 times. Somebody on shift
    /// signs in at no unusual hour.
    #[schemars(length(min = 1), extend("x-reads" = "tables.*.from"))]
    pub shifts: Option<String>,
}

/// The learned model: gradient-boosted trees as integer tables.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Model {
    /// `points`: the model adds up to `points.model_most`. Off by default: the built-in model was
    /// trained on generated sign-ins, and says nothing about yours.
    pub mode: ModelMode,
    /// Another model's table in base64, as `training/train.py` writes it.
    pub table: Option<String>,
}

/// The use of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModelMode {
    Off,
    Points,
}
