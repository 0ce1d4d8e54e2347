//! Settings of the library's plugins, as the deployments of the tests have them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::checkout;

/// `access-rules`: the plugin's own example, which is the fixture of AuthZEN's certification scenario.
#[expect(clippy::unwrap_used, reason = "an example that does not read is a failed test")]
pub fn charts() -> Value {
    let example = checkout().join("plugins/access-rules/settings.example.json");
    serde_json::from_str(&fs::read_to_string(example).unwrap()).unwrap()
}

/// `sod`: who prescribes does not dispense (denied), who registers vendors does not pay them (reviewed).
pub fn duties() -> Value {
    json!({
        "functions": {
            "prescribe": ["medication-order-write"], "dispense": ["pharmacy-dispense"],
            "register-vendor": ["erp-vendor-maintain"], "pay-vendor": ["erp-payment-run"]
        },
        "rules": [
            {"id": "PRESCRIBE-DISPENSE", "kind": "pair", "a": "prescribe", "b": "dispense", "owner": "the pharmacy"},
            {"id": "VENDOR-PAY", "kind": "pair", "a": "register-vendor", "b": "pay-vendor", "action": "review", "owner": "finance"}
        ],
        "existing": "enforce"
    })
}

/// Groups that break the rule `PRESCRIBE-DISPENSE` of [`duties`].
pub const CONFLICT: [&str; 2] = ["medication-order-write", "pharmacy-dispense"];

/// `contractor`: access ends with the contract; nobody's clock is doubted; the end goes where each platform
/// keeps it.
pub fn contract() -> Value {
    json!({
        "applies_to": {"attribute": "userType", "values": ["contractor"]},
        "items": {"contract": {"attribute": "contractEnd", "mandatory": true}},
        "zone": "Etc/UTC",
        "clock_skew_seconds": 0,
        "longest_seconds": 28_800,
        "access_end": {"access-token": "/claims/accessEnd", "user": "/accessEnd"}
    })
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().try_into().unwrap_or_default())
}

/// A time as platforms write it.
#[expect(clippy::unwrap_used, reason = "a time that cannot be written is a failed test")]
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
