//! What one call of one plugin may use.
//!
//! Invariant: every limit is bounded above by the host's own ceiling, so a manifest can ask for less, never for more.

/// A plugin's limits, from its signed manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory, bytes.
    pub memory_bytes: u64,
    /// Time of one `evaluate`, milliseconds of wall clock.
    pub time_ms: u32,
    /// What it may return and note, bytes.
    pub output_bytes: u32,
}

impl Limits {
    /// The most a manifest may ask for: 64 MiB, 1 s, 256 KiB.
    pub const CEILING: Self =
        Self { memory_bytes: 64 << 20, time_ms: 1_000, output_bytes: 256 << 10 };

    /// What a manifest that says nothing gets: 16 MiB, 50 ms, 64 KiB.
    pub const DEFAULT: Self = Self { memory_bytes: 16 << 20, time_ms: 50, output_bytes: 64 << 10 };

    /// Whether no limit is above the ceiling and none is nothing.
    pub fn within_ceiling(&self) -> bool {
        (1..=Self::CEILING.memory_bytes).contains(&self.memory_bytes)
            && (1..=Self::CEILING.time_ms).contains(&self.time_ms)
            && (1..=Self::CEILING.output_bytes).contains(&self.output_bytes)
    }
}
