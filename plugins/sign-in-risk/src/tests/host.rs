//! The way to the host: the plugin as it is called, over the SDK's own memory and tables.

use portcullis_guest::Attribute;
use portcullis_guest::testing::TestTable;

use super::*;

#[test]
fn a_call_reaches_the_memory_and_the_tables_of_the_host() {
    testing::reset();
    let plugin = plugin(json!({"tables": {"networks": "networks", "shifts": "shifts"}}));
    let tokyo = [
        Attribute::text("asn", "64999"),
        Attribute::text("country", "JP"),
        Attribute::text("latitude", "35.7"),
        Attribute::text("longitude", "139.7"),
    ];
    testing::set_table("networks", TestTable::new().row("203.0.113.0/24", tokyo).stale());
    testing::set_table("shifts", TestTable::new());
    let send = |mut call: Call, at: u32| {
        call.received = u64::from(at) * 1_000;
        testing::decide(&plugin, &call)
    };
    for day in 0..12 {
        let at = MONDAY + day * DAY;
        let id = format!("event-{day}");
        send(event(&id, "user.session.start", "SUCCESS", "00u1lee", at, &WARD), at);
        send(token("00u1lee", at, WARD.ip), at);
    }
    let at = MONDAY + 12 * DAY;
    send(event("last", "user.session.start", "SUCCESS", "00u1lee", at, &WARD), at);
    assert_eq!(send(token("00u1lee", at, WARD.ip), at).codes()[0], "RISK_LOW");
    let far = send(token("00u1lee", at + HOUR, "203.0.113.9"), at + HOUR);
    assert_eq!(argument(&far, "RISK_NEW_COUNTRY", "country"), "\"JP\"");
    assert!(far.codes().contains(&"RISK_IMPOSSIBLE_TRAVEL"));
    assert!(far.codes().contains(&"RISK_TABLE_STALE"));
    // Another person has a memory of their own.
    assert_eq!(send(token("00u2ortega", at, WARD.ip), at).codes()[0], "RISK_LEARNING");
    for number in 0..5 {
        let id = format!("deny-{number}");
        let at = at + 2 * HOUR + number * MINUTE;
        let denied = event(&id, "user.mfa.okta_verify.deny_push", "FAILURE", "00u1lee", at, &WARD);
        assert_eq!(send(denied, at).codes().len(), usize::from(number == 4));
    }
    testing::reset();
}
