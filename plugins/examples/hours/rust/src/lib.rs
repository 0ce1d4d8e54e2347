//! Working hours and leavers: who may sign in when, and until when.
//!
//! The same decision is made in other languages beside this folder, and `../suite.toml` holds all of them to it.
//!
//! Invariants:
//! - Whoever has left, or of whom that is not known, gets no token.
//! - No token outlives the shift that it was asked for in.
//! - The clock is the call's. Hours are UTC, so that an answer means the same everywhere, for good.

mod judge;
mod settings;

use portcullis_guest::{Call, Decision, Plugin};

pub use settings::Settings;

/// The plugin `org.portcullis.hours`, configured.
pub struct Hours(settings::Shifts);

impl Plugin for Hours {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        settings.check().map(Self)
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(judge::judge(&self.0, call))
    }
}

portcullis_guest::plugin!(Hours);

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_guest::testing;

    #[test]
    fn the_schema_file_is_what_follows_from_the_types() {
        let file = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../settings.schema.json");
        testing::assert_schema::<Settings>(&file);
    }
}
