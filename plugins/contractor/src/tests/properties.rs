//! Properties for any dates and any clock: later ends take nothing away, and nothing outlives the
//! end, whether dates stand in claims or in tables.

use portcullis_guest::testing::set_table;
use proptest::prelude::*;

use super::tables::{NUMBER, employ, rows, table_settings};
use super::*;

const ITEMS: [&str; 6] = [
    "contractEnd",
    "projectEnd",
    "sponsorUntil",
    "trainingExpires",
    "licenceExpires",
    "agreementEnd",
];

/// An end somewhere in November and December 2026, as a date or as a time with an offset. Ordered by how late it is.
#[derive(Clone, Copy, Debug)]
enum When {
    Day(i64),
    Minute(i64),
}

impl When {
    fn text(self) -> String {
        match self {
            Self::Day(day) => {
                (jiff::civil::date(2026, 10, 20) + jiff::Span::new().days(day)).to_string()
            }
            Self::Minute(minute) => (base() + jiff::Span::new().minutes(minute)).to_string(),
        }
    }

    /// In a zone without a gap or fold at midnight.
    fn moment(self, zone: &jiff::tz::TimeZone) -> Timestamp {
        match self {
            Self::Day(day) => {
                let next = jiff::civil::date(2026, 10, 20) + jiff::Span::new().days(day + 1);
                next.to_zoned(zone.clone()).unwrap().timestamp()
            }
            Self::Minute(minute) => base() + jiff::Span::new().minutes(minute),
        }
    }

    fn later(self, by: i64) -> Self {
        match self {
            Self::Day(day) => Self::Day(day + by % 40),
            Self::Minute(minute) => Self::Minute(minute + by),
        }
    }
}

fn base() -> Timestamp {
    "2026-10-20T00:00:00Z".parse().unwrap()
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![(0..40_i64).prop_map(When::Day), (0..40 * 1440_i64).prop_map(When::Minute)]
}

fn items() -> impl Strategy<Value = Vec<Option<When>>> {
    let others = prop::collection::vec(prop::option::of(when()), 5);
    (when(), others)
        .prop_map(|(contract, others)| [Some(contract)].into_iter().chain(others).collect())
}

/// The dates of one contractor in claims and tables.
#[derive(Clone, Debug)]
struct World {
    claims: Vec<Option<When>>,
    /// In the order of [`COLUMNS`]; the contract's is there.
    register: Vec<Option<When>>,
    /// Two entries of one course, and one of another.
    courses: Vec<Option<When>>,
    /// The sponsor's last day.
    terminated: Option<When>,
}

const COLUMNS: [&str; 7] = [
    "contract_end",
    "extended_until",
    "project_end",
    "sponsor_until",
    "training_expiry",
    "licence_expiry",
    "agreement_end",
];

impl World {
    fn dates(&mut self) -> Vec<&mut Option<When>> {
        let Self { claims, register, courses, terminated } = self;
        claims.iter_mut().chain(register).chain(courses).chain([terminated]).collect()
    }

    /// Gives the tables to this thread's plugin.
    fn enter(&self, facility: &str) {
        let mut entry = json!({"person": NUMBER, "sponsor": "00107", "extension_approver": "00101", "facility": facility});
        for (column, when) in COLUMNS.iter().zip(&self.register) {
            entry[column] = when.map_or(json!(""), |when| json!(when.text()));
        }
        set_table("contractor-register", rows(&[entry]));
        let course = |(name, when): (&str, &Option<When>)| {
            when.map(|when| json!({"course": name, "expires": when.text()}))
        };
        let courses: Vec<_> =
            ["HIPAA", "HIPAA", "fire"].into_iter().zip(&self.courses).filter_map(course).collect();
        set_table("training", rows(&courses));
        set_table("licences", rows(&[]));
        let mut sponsor = json!({"state": "active"});
        if let Some(when) = self.terminated {
            sponsor["terminated"] = json!(when.text());
        }
        employ(&[("00107", sponsor)]);
    }

    /// The end by the formula, in a zone without a gap or fold at midnight.
    fn end(&self, zone: &jiff::tz::TimeZone) -> Timestamp {
        let moment = |when: &When| when.moment(zone);
        let at = |when: &Option<When>| when.as_ref().map(moment);
        let contract = at(&self.register[0]).max(at(&self.register[1]));
        let renewed = at(&self.courses[0]).max(at(&self.courses[1]));
        let others = self.claims.iter().chain(&self.register[2..]).chain(&self.courses[2..]);
        let all = others.chain([&self.terminated]).map(at).chain([contract, renewed]);
        all.flatten().min().unwrap()
    }
}

fn world() -> impl Strategy<Value = World> {
    let some = |count| prop::collection::vec(prop::option::weighted(0.3, when()), count);
    (some(6), when(), some(6), some(3), prop::option::weighted(0.3, when())).prop_map(
        |(claims, contract, others, courses, terminated)| World {
            claims,
            register: [Some(contract)].into_iter().chain(others).collect(),
            courses,
            terminated,
        },
    )
}

/// Settings that look everywhere.
fn everywhere() -> Value {
    let mut all = table_settings();
    for (item, attribute) in
        ["contract", "project", "sponsor", "training", "licence", "agreement"].iter().zip(ITEMS)
    {
        all["items"][item]["attribute"] = json!(attribute);
    }
    all["zones"]["by_value"]["lord howe"] = json!("Australia/Lord_Howe");
    all
}

fn zone(name: &str) -> jiff::tz::TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap()
}

/// How many seconds of access this call gives; none if it denies.
fn given(plugin: &Contractor, items: &[Option<When>], now: Timestamp, asked: u32) -> u32 {
    let mut call = testing::call("okta.token")
        .received(now.as_millisecond().try_into().unwrap())
        .subject("u1")
        .attribute("userType", "contractor")
        .lifetime(Target::AccessToken, asked);
    for (attribute, when) in ITEMS.iter().zip(items) {
        if let Some(when) = when {
            call = call.attribute(attribute, when.text());
        }
    }
    let decision = testing::decide(plugin, &call.build());
    if decision.verdict() == Effect::Deny {
        return 0;
    }
    caps(&decision).first().map_or(asked, |(_, seconds)| *seconds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_later_end_never_takes_access_away(
        items in items(), which in 0..6_usize, by in 0..50_000_i64, minute in 0..40 * 1440_i64, asked in 300..86_400_u32,
    ) {
        let plugin = contractor(&settings());
        let now = base() + jiff::Span::new().minutes(minute);
        let mut later = items.clone();
        later[which] = items[which].map(|when| when.later(by));
        prop_assert!(given(&plugin, &later, now, asked) >= given(&plugin, &items, now, asked));
    }

    #[test]
    fn nothing_outlives_the_end_whatever_the_clock_skew(
        items in items(), minute in 0..40 * 1440_i64, asked in 300..86_400_u32, skew in 0..=600_i64, share in -1000..=1000_i64,
        longest in prop::option::of(60..40_000_u32),
    ) {
        let mut settings = settings();
        settings["clock_skew_seconds"] = json!(skew);
        settings["longest_seconds"] = json!(longest);
        let plugin = contractor(&settings);
        let really = base() + jiff::Span::new().minutes(minute);
        // The host's clock is ahead or behind by no more than the skew.
        let host = really + jiff::Span::new().milliseconds(skew * share);
        let seconds = given(&plugin, &items, host, asked);
        let berlin = zone("Europe/Berlin");
        let end = items.iter().flatten().map(|when| when.moment(&berlin)).min().unwrap();
        if seconds > 0 {
            prop_assert!(really + jiff::Span::new().seconds(seconds) <= end);
            prop_assert!(seconds >= 300);
        }
    }

    #[test]
    fn a_later_date_of_a_table_never_takes_access_away(
        world in world(), which in 0..17_usize, by in 0..50_000_i64, minute in 0..40 * 1440_i64, asked in 300..86_400_u32,
    ) {
        let plugin = contractor(&everywhere());
        let now = base() + jiff::Span::new().minutes(minute);
        let given_in = |world: &World| {
            world.enter("berlin");
            given(&plugin, &world.claims, now, asked)
        };
        let before = given_in(&world);
        let mut later = world;
        if let Some(when) = later.dates().swap_remove(which) {
            *when = when.later(by);
        }
        prop_assert!(given_in(&later) >= before);
    }

    #[test]
    fn access_ends_when_the_formula_says_through_changes_of_clocks(
        world in world(),
        (facility, name) in prop::sample::select(vec![
            ("berlin", "Europe/Berlin"), ("boston", "America/New_York"), ("sydney", "Australia/Sydney"),
            ("lord howe", "Australia/Lord_Howe"),
        ]),
        asked in 300..86_400_u32, skew in 0..=600_i64, share in -1000..=1000_i64,
        // Near the end, where it matters, and anywhere before it.
        left in prop_oneof![-100..2_000_i64, 0..3_000_000_i64],
    ) {
        let mut settings = everywhere();
        settings["clock_skew_seconds"] = json!(skew);
        let plugin = contractor(&settings);
        world.enter(facility);
        let end = world.end(&zone(name));
        let really = end - jiff::Span::new().seconds(left);
        let host = really + jiff::Span::new().milliseconds(skew * share);
        let seconds = given(&plugin, &world.claims, host, asked);
        prop_assert!(seconds == 0 || really + jiff::Span::new().seconds(seconds) <= end);
        // By the host's clock it is exact.
        let left = (end.as_millisecond() - skew * 1000 - host.as_millisecond()).div_euclid(1000);
        let expected = if left < 300 { 0 } else { left.min(i64::from(asked)) };
        prop_assert_eq!(i64::from(seconds), expected);
    }
}
