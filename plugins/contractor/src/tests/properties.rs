//! What holds for any dates and any clock: later ends take nothing away, and nothing outlives the end.

use proptest::prelude::*;

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
        let berlin = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let ends = items.iter().flatten().map(|when| match when {
            // The settings' zone has no gap or fold at midnight.
            When::Day(day) => {
                let next = jiff::civil::date(2026, 10, 20) + jiff::Span::new().days(day + 1);
                next.to_zoned(berlin.clone()).unwrap().timestamp()
            }
            When::Minute(minute) => base() + jiff::Span::new().minutes(*minute),
        });
        let end = ends.min().unwrap();
        if seconds > 0 {
            prop_assert!(really + jiff::Span::new().seconds(seconds) <= end);
            prop_assert!(seconds >= 300);
        }
    }
}
