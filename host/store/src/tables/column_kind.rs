//! How the cells of a column are read: its type with format, time zone and separator.
//!
//! Invariant: a kind that was made without a problem reads every cell: its time zone exists, and
//! its format names all parts of a date or a time. The names of columns are checked elsewhere.

use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::declaration::{Column, ColumnType};
use super::declaration_check::Problems;

/// How the cells of a column are read.
#[derive(Clone)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean { yes: Vec<String>, no: Vec<String> },
    Date { format: Option<String> },
    Instant { local: Option<(String, TimeZone)> },
    List { separator: String },
    Network,
}

impl Kind {
    /// Returns how the cells of a column are read, and notes what its declaration lacks.
    pub fn of(column: &Column, path: &str, problems: &mut Problems) -> Self {
        let kind = column.kind;
        let mut only = |is_set: bool, member: &str, kinds: &[ColumnType]| {
            if is_set && !kinds.contains(&kind) {
                problems
                    .at(format_args!("{path}.{member}"), "has no meaning for this type: remove it");
            }
        };
        only(column.format.is_some(), "format", &[ColumnType::Date, ColumnType::Instant]);
        only(column.zone.is_some(), "zone", &[ColumnType::Instant]);
        only(column.separator.is_some(), "separator", &[ColumnType::List]);
        only(!column.true_values.is_empty(), "true_values", &[ColumnType::Boolean]);
        only(!column.false_values.is_empty(), "false_values", &[ColumnType::Boolean]);
        match kind {
            ColumnType::Text => Kind::Text,
            ColumnType::Integer => Kind::Integer,
            ColumnType::Boolean => boolean(column, path, problems),
            ColumnType::Date => {
                if let Some(format) = &column.format
                    && !keeps_date(format)
                {
                    problems.at(
                        format_args!("{path}.format"),
                        "does not name year, month and day, such as `%m/%d/%Y`",
                    );
                }
                Kind::Date { format: column.format.clone() }
            }
            ColumnType::Instant => instant(column, path, problems),
            ColumnType::List => {
                let separator = column.separator.clone().unwrap_or_else(|| ";".to_owned());
                if separator.trim().is_empty() && separator != "\t" && separator != " " {
                    problems.at(format_args!("{path}.separator"), "is empty");
                }
                if column.unique {
                    problems
                        .at(format_args!("{path}.unique"), "has no meaning for a list: remove it");
                }
                Kind::List { separator }
            }
            ColumnType::IpNetwork => Kind::Network,
        }
    }
}

fn boolean(column: &Column, path: &str, problems: &mut Problems) -> Kind {
    let lower = |texts: &[String], default: &[&str]| -> Vec<String> {
        if texts.is_empty() {
            default.iter().map(|&text| text.to_owned()).collect()
        } else {
            texts.iter().map(|text| text.trim().to_ascii_lowercase()).collect()
        }
    };
    let yes = lower(&column.true_values, &["true", "yes", "y", "1"]);
    let no = lower(&column.false_values, &["false", "no", "n", "0"]);
    if yes.iter().any(|text| no.contains(text)) {
        problems.at(format_args!("{path}.false_values"), "share a text with `true_values`");
    }
    if yes.iter().chain(&no).any(String::is_empty) {
        problems.at(format_args!("{path}.true_values"), "an empty text is an absent cell");
    }
    Kind::Boolean { yes, no }
}

fn instant(column: &Column, path: &str, problems: &mut Problems) -> Kind {
    let local = match (&column.format, &column.zone) {
        (None, None) => None,
        (Some(format), Some(name)) => {
            if !keeps_time(format) {
                problems.at(
                    format_args!("{path}.format"),
                    "does not name a date and a time to the minute, such as `%Y-%m-%d %H:%M`; \
                     use the type `date` for days",
                );
            }
            let zone = TimeZoneDatabase::bundled().get(name).unwrap_or_else(|_| {
                problems.at(
                    format_args!("{path}.zone"),
                    format_args!("is no IANA time zone: `{name}`"),
                );
                TimeZone::UTC
            });
            Some((format.clone(), zone))
        }
        (Some(_), None) => {
            problems.at(format_args!("{path}.zone"), "is missing: name the zone of the texts");
            None
        }
        (None, Some(_)) => {
            problems.at(format_args!("{path}.format"), "is missing: RFC 3339 has its own offset");
            None
        }
    };
    Kind::Instant { local }
}

/// Returns whether dates return from a format: a format that leaves a part out loses it.
fn keeps_date(format: &str) -> bool {
    MOMENTS.into_iter().all(|moment| {
        let text = jiff::fmt::strtime::format(format, moment);
        text.ok().and_then(|text| civil::Date::strptime(format, text).ok()) == Some(moment.date())
    })
}

/// Returns whether dates and times return from a format.
fn keeps_time(format: &str) -> bool {
    MOMENTS.into_iter().all(|moment| {
        let text = jiff::fmt::strtime::format(format, moment);
        text.ok().and_then(|text| civil::DateTime::strptime(format, text).ok()) == Some(moment)
    })
}

/// Two moments of which no part is the same, before and after noon.
const MOMENTS: [civil::DateTime; 2] =
    [civil::datetime(2031, 11, 23, 17, 46, 0, 0), civil::datetime(1998, 4, 5, 0, 9, 0, 0)];
