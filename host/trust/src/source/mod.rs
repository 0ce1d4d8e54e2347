//! The files that people write (TOML), and the payloads that are signed in their place.
//!
//! Invariant: what a source is turned into is read back before it is handed out, so that nothing is signed
//! that would be refused when it is loaded. The same source, files and time give the same bytes. Does not
//! read files: the caller hands in their bytes.

mod manifest;
mod release;
mod rollout;
mod root;

use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

pub use manifest::ManifestSource;
pub use release::{BindingSource, ReleaseSource};
pub use root::{PublisherSource, RoleSource, RootSource};

use crate::refusal::{Refusal, RefusalCode};
use crate::time;

/// `[validity]`: `days` from the moment of signing, or `expires`; and `not_before` where it is to begin
/// later.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Validity {
    days: Option<u32>,
    not_before: Option<String>,
    expires: Option<String>,
}

impl Validity {
    /// From when until when, to the second.
    fn window(&self, now: Millis) -> Result<(Millis, Millis), Refusal> {
        let read = |text: &str| {
            time::parse(text).ok_or_else(|| malformed(format!("`validity`: {}", time::EXPECTED)))
        };
        let from = self.not_before.as_deref().map_or(Ok(time::whole_second(now)), read)?;
        let until = match (self.days, &self.expires) {
            (Some(days @ 1..=MAX_DAYS), None) => time::days_after(from, days),
            (None, Some(expires)) => read(expires)?,
            _ => {
                return Err(malformed(format!(
                    "`validity` needs either `days` (1 to {MAX_DAYS}) or `expires`"
                )));
            }
        };
        Ok((from, until))
    }
}

/// A payload as it is signed: compact JSON, members in the order of their struct.
fn payload(document: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(document).map_err(|error| malformed(error.to_string()))
}

fn malformed(what: impl AsRef<str>) -> Refusal {
    Refusal::new(
        RefusalCode::SourceMalformed,
        format!("the source file is malformed: {}", what.as_ref()),
    )
}

/// Ten years: longer is a slip of the pen.
const MAX_DAYS: u32 = 3_660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let now = Millis(1_700_000_000_999);
        let of = |text: &str| crate::strict_json::toml::<Validity>(text).unwrap().window(now);
        assert_eq!(of("days = 1"), Ok((Millis(1_700_000_000_000), Millis(1_700_086_400_000))));
        let dates = of("not_before = \"2027-01-01T00:00:00Z\"\nexpires = \"2028-01-01T00:00:00Z\"")
            .unwrap();
        assert_eq!(dates.1.0 - dates.0.0, 365 * 86_400_000);
        for wrong in [
            "",
            "days = 0",
            "days = 4000",
            "days = 1\nexpires = \"2028-01-01T00:00:00Z\"",
            "expires = \"2028-01-01\"",
        ] {
            assert_eq!(of(wrong).unwrap_err().code(), "source-malformed", "{wrong}");
        }
    }
}
