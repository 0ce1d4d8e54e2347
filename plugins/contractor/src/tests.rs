//! The whole plugin, from settings to decisions.

use jiff::Timestamp;
use portcullis_guest::{Cap, Change, Edit, Effect, Target, testing};
use serde_json::{Value, json};

use super::*;

mod properties;
mod tables;

/// What the settings of most tests say: a mandatory contract, everything else optional.
fn settings() -> Value {
    json!({
        "applies_to": {"attribute": "userType", "values": ["contractor", "vendor"]},
        "items": {
            "contract": {"attribute": "contractEnd", "mandatory": true},
            "project": {"attribute": "projectEnd"},
            "sponsor": {"attribute": "sponsorUntil"},
            "training": {"attribute": "trainingExpires"},
            "licence": {"attribute": "licenceExpires"},
            "agreement": {"attribute": "agreementEnd"},
        },
        "zone": "Europe/Berlin",
        "clock_skew_seconds": 0,
        "warn_days": [],
    })
}

fn contractor(settings: &Value) -> Contractor {
    testing::configured(&settings.to_string())
}

fn millis(time: &str) -> u64 {
    time.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
}

/// A contractor asks for both tokens of an hour.
fn sign_in(now: &str) -> testing::CallBuilder {
    testing::call("okta.token")
        .received(millis(now))
        .subject("u1")
        .attribute("userType", "contractor")
        .lifetime(Target::AccessToken, 3600)
        .lifetime(Target::IdToken, 3600)
}

fn decide(settings: &Value, call: testing::CallBuilder) -> Decision {
    let call = call.build();
    let decision = testing::decide(&contractor(settings), &call);
    testing::assert_declared(MANIFEST, &call.hook, &decision);
    decision
}

fn caps(decision: &Decision) -> Vec<(Target, u32)> {
    let cap = |change: &Change| match change {
        Change::CapLifetime(Cap { target, seconds }) => Some((*target, *seconds)),
        _ => None,
    };
    decision.changes.iter().filter_map(cap).collect()
}

fn edits(decision: &Decision) -> Vec<(Target, &str, &str)> {
    let edit = |change| match change {
        &Change::Set(Edit { target, ref path, ref value }) => {
            Some((target, path.as_str(), value.as_str()))
        }
        _ => None,
    };
    decision.changes.iter().filter_map(edit).collect()
}

fn argument<'a>(decision: &'a Decision, name: &str) -> &'a str {
    let mut arguments = decision.findings.iter().flat_map(|finding| &finding.arguments);
    arguments.find(|argument| argument.name == name).map_or("", |argument| &argument.value)
}

#[test]
fn others_are_none_of_its_business() {
    let call = || testing::call("okta.token").received(0).lifetime(Target::AccessToken, 3600);
    for nobody in
        [call(), call().subject("u1"), call().subject("u1").attribute("userType", "employee")]
    {
        assert!(decide(&settings(), nobody) == Decision::default());
    }
    for somebody in [json!("contractor"), json!(" Vendor"), json!(["employee", "vendor"])] {
        let decision = decide(&settings(), call().subject("u1").attribute("userType", somebody));
        assert_eq!(decision.codes(), ["CONTRACTOR_ITEM_MISSING"]);
    }
    let mut strict = settings();
    strict["applies_to"]["when_missing"] = json!("apply");
    assert_eq!(decide(&strict, call().subject("u1")).verdict(), Effect::Deny);
    assert!(
        decide(&strict, call().subject("u1").attribute("userType", "employee")).findings.is_empty()
    );
}

#[test]
fn access_ends_with_the_first_item_that_ends() {
    let call = |now| {
        sign_in(now)
            .attribute("contractEnd", "2026-12-31")
            .attribute("projectEnd", "2026-11-30T18:00:00+01:00")
            .attribute("sponsorUntil", "2026-11-30")
            .attribute("licenceExpires", "2027-06-30")
    };
    let decision = decide(&settings(), call("2026-11-30T15:00:00Z"));
    assert!(decision == Decision::default(), "two hours are left and one is asked for");
    let decision = decide(&settings(), call("2026-11-30T16:30:00Z"));
    assert_eq!(decision.codes(), ["CONTRACTOR_LIFETIME_CAPPED"]);
    assert_eq!(caps(&decision), [(Target::AccessToken, 1800), (Target::IdToken, 1800)]);
    assert_eq!(
        (argument(&decision, "item"), argument(&decision, "end")),
        ("\"project\"", "\"2026-11-30T17:00:00Z\"")
    );
    let decision = decide(&settings(), call("2026-11-30T16:55:00Z"));
    assert_eq!(
        caps(&decision),
        [(Target::AccessToken, 300), (Target::IdToken, 300)],
        "the least that the hook can say"
    );
    let decision = decide(&settings(), call("2026-11-30T16:55:00.001Z"));
    assert_eq!(
        (decision.codes(), decision.verdict()),
        (vec!["CONTRACTOR_ENDS_TOO_SOON"], Effect::Deny)
    );
    assert_eq!(argument(&decision, "seconds"), "299");
    for over in ["2026-11-30T17:00:00Z", "2026-12-24T00:00:00Z"] {
        let decision = decide(&settings(), call(over));
        assert_eq!(
            (decision.codes(), decision.verdict()),
            (vec!["CONTRACTOR_ENDED"], Effect::Deny)
        );
        assert!(decision.changes.is_empty());
    }
}

#[test]
fn only_what_lives_too_long_is_shortened() {
    let call = testing::call("okta.token")
        .received(millis("2026-11-30T22:00:00Z"))
        .subject("u1")
        .attribute("userType", "vendor")
        .attribute("contractEnd", "2026-11-30")
        .lifetime(Target::IdToken, 3600)
        .lifetime(Target::AccessToken, 3601);
    assert_eq!(caps(&decide(&settings(), call)), [(Target::AccessToken, 3600)]);
}

#[test]
fn what_is_missing_or_unreadable_denies() {
    let now = "2026-11-01T00:00:00Z";
    for empty in [json!(null), json!("")] {
        let decision = decide(
            &settings(),
            sign_in(now).attribute("contractEnd", &empty).attribute("projectEnd", &empty),
        );
        assert_eq!(
            (decision.codes(), decision.verdict()),
            (vec!["CONTRACTOR_ITEM_MISSING"], Effect::Deny)
        );
        assert_eq!(
            (argument(&decision, "item"), argument(&decision, "attribute")),
            ("\"contract\"", "\"contractEnd\"")
        );
    }
    for wrong in [
        json!("soon"),
        json!(1_796_079_600),
        json!("2026-11-30T17:00"),
        json!([]),
        json!({}),
        json!(true),
        json!(" "),
    ] {
        // An optional item that is there must be readable too.
        let decision = decide(
            &settings(),
            sign_in(now).attribute("contractEnd", "2027-01-01").attribute("projectEnd", &wrong),
        );
        assert_eq!(
            (decision.codes(), decision.verdict()),
            (vec!["CONTRACTOR_ITEM_MALFORMED"], Effect::Deny),
            "{wrong}"
        );
        let wrong = wrong.to_string();
        assert!(
            !decision.findings[0].arguments.iter().any(|argument| argument.value == wrong),
            "it is not repeated"
        );
    }
}

#[test]
fn facilities_have_their_own_midnight() {
    let mut settings = settings();
    settings["zones"] = json!({"attribute": "facility", "by_value": {"boston": "America/New_York", "apia": "Pacific/Apia"}});
    let end = |facility: Value| {
        let call = sign_in("2026-12-09T00:00:00Z")
            .attribute("contractEnd", "2026-11-30")
            .attribute("facility", facility);
        argument(&decide(&settings, call), "end").to_owned()
    };
    assert_eq!(end(json!("boston")), "\"2026-12-01T05:00:00Z\"");
    assert_eq!(end(json!("apia")), "\"2026-11-30T11:00:00Z\"");
    for unknown in [json!("elsewhere"), json!(null), json!(7), json!([])] {
        assert_eq!(end(unknown), "\"2026-11-30T23:00:00Z\"");
    }
    // Somebody at two places leaves where the day ends first.
    assert_eq!(end(json!(["boston", "apia"])), "\"2026-11-30T11:00:00Z\"");
    assert_eq!(end(json!(["boston", "elsewhere"])), "\"2026-11-30T23:00:00Z\"");
}

#[test]
fn the_night_the_clocks_change_is_as_long_as_it_is() {
    // 25 October 2026 has 25 hours in Berlin; the contract runs to its end.
    let call = |now| sign_in(now).attribute("contractEnd", "2026-10-25");
    assert!(decide(&settings(), call("2026-10-25T22:00:00Z")).changes.is_empty());
    assert_eq!(caps(&decide(&settings(), call("2026-10-25T22:30:00Z")))[0].1, 1800);
    // 29 March has 23.
    let call = |now| sign_in(now).attribute("contractEnd", "2026-03-29");
    assert_eq!(caps(&decide(&settings(), call("2026-03-29T21:30:00Z")))[0].1, 1800);
    assert_eq!(decide(&settings(), call("2026-03-29T22:00:00Z")).codes(), ["CONTRACTOR_ENDED"]);
}

#[test]
fn clock_skew_is_taken_off_and_is_a_minute_by_default() {
    let mut settings = settings();
    settings.as_object_mut().unwrap().remove("clock_skew_seconds");
    let call = |now| sign_in(now).attribute("contractEnd", "2026-11-30");
    assert_eq!(caps(&decide(&settings, call("2026-11-30T22:29:00Z")))[0].1, 1800);
    assert_eq!(
        decide(&settings, call("2026-11-30T22:58:59.999Z")).codes(),
        ["CONTRACTOR_ENDS_TOO_SOON"]
    );
    assert_eq!(decide(&settings, call("2026-11-30T22:59:00Z")).codes(), ["CONTRACTOR_ENDED"]);
}

#[test]
fn nothing_lives_longer_than_the_settings_let_it() {
    let mut settings = settings();
    settings["longest_seconds"] = json!(900);
    let call = || sign_in("2026-11-01T00:00:00Z").attribute("contractEnd", "2026-11-30");
    assert_eq!(
        caps(&decide(&settings, call())),
        [(Target::AccessToken, 900), (Target::IdToken, 900)]
    );
    // As near as the hook can say.
    settings["longest_seconds"] = json!(60);
    assert_eq!(caps(&decide(&settings, call()))[0].1, 300);
}

#[test]
fn warns_in_the_narrowest_window() {
    let mut settings = settings();
    settings["warn_days"] = json!([1, 14, 7]);
    let days = |now| {
        let decision = decide(&settings, sign_in(now).attribute("contractEnd", "2026-11-30"));
        assert_eq!(
            decision.verdict(),
            if decision.findings.is_empty() { Effect::Abstain } else { Effect::Allow }
        );
        argument(&decision, "days").to_owned()
    };
    assert_eq!(days("2026-11-16T22:59:59Z"), "");
    assert_eq!(days("2026-11-16T23:00:00Z"), "14");
    assert_eq!(days("2026-11-23T23:00:00Z"), "7");
    assert_eq!(days("2026-11-29T23:00:00Z"), "1");
}

#[test]
fn a_sponsor_is_somebody_else_who_is_still_here() {
    let mut settings = settings();
    settings["sponsor"] = json!({"attribute": "sponsor", "self_attributes": ["login", "email"],
                                 "status_attribute": "sponsorStatus", "active": ["active", "on-leave"]});
    let call = || {
        sign_in("2026-11-01T00:00:00Z")
            .attribute("contractEnd", "2026-12-31")
            .attribute("login", "Kim@vendor.example")
    };
    let sponsored = |sponsor: &str, status: &str| {
        call().attribute("sponsor", sponsor).attribute("sponsorStatus", status)
    };
    assert!(decide(&settings, sponsored("00u9", "On-Leave")).findings.is_empty());
    for own in ["u1", " U1 ", "kim@vendor.example"] {
        let decision = decide(&settings, sponsored(own, "active"));
        assert_eq!(
            (decision.codes(), decision.verdict()),
            (vec!["CONTRACTOR_SPONSOR_SELF"], Effect::Deny)
        );
    }
    for (gone, effect) in [("deny", Effect::Deny), ("step-up", Effect::StepUp)] {
        settings["sponsor"]["gone"] = json!(gone);
        for call in [sponsored("00u9", "left"), call().attribute("sponsor", "00u9")] {
            let decision = decide(&settings, call);
            assert_eq!(
                (decision.codes(), decision.verdict()),
                (vec!["CONTRACTOR_SPONSOR_GONE"], effect)
            );
        }
    }
    for missing in [json!(null), json!(" "), json!(7)] {
        let decision = decide(
            &settings,
            call().attribute("sponsor", missing).attribute("sponsorStatus", "active"),
        );
        assert_eq!(
            (decision.codes(), decision.verdict()),
            (vec!["CONTRACTOR_ITEM_MISSING"], Effect::Deny)
        );
    }
}

#[test]
fn the_end_is_told_where_the_settings_say_and_the_answer_has_room() {
    let mut settings = settings();
    settings["access_end"] = json!({"access-token": "/claims/accessEnd", "id-token": "/claims/accessEnd",
                                    "user": "/accessEnd", "app-user": "/accessEnd"});
    let end = "\"2026-11-30T23:00:00Z\"";
    let person = |hook| {
        testing::call(hook)
            .subject("u1")
            .attribute("userType", "vendor")
            .attribute("contractEnd", "2026-11-30")
    };
    let token = person("okta.token").received(0).lifetime(Target::AccessToken, 3600);
    assert_eq!(edits(&decide(&settings, token)), [(Target::AccessToken, "/claims/accessEnd", end)]);
    settings["access_end"]["assertion"] = json!("/claims/accessEnd");
    let saml = person("okta.saml").received(0).lifetime(Target::Assertion, u32::MAX);
    let decision = decide(&settings, saml);
    assert_eq!(edits(&decision), [(Target::Assertion, "/claims/accessEnd", end)]);
    assert_eq!(caps(&decision).len(), 1, "a session without an end gets one");
    let import = || person("okta.user-import").received(0);
    let told = [(Target::User, "/accessEnd", end), (Target::AppUser, "/accessEnd", end)];
    assert_eq!(edits(&decide(&settings, import())), told);
    // After the end too: that is when the platform's lifecycle rule needs it.
    let ended = decide(&settings, import().received(millis("2027-01-01T00:00:00Z")));
    assert_eq!((ended.verdict(), edits(&ended)), (Effect::Deny, told.to_vec()));
    settings.as_object_mut().unwrap().remove("access_end");
    assert!(decide(&settings, import()) == Decision::default(), "off by default");
}

#[test]
fn wrong_settings_are_named_by_path() {
    let cases: [(&str, Value, &str); 17] = [
        ("/zone", json!("Europe/Atlantis"), "zone` is no IANA time zone: `Europe/Atlantis`"),
        (
            "/zones",
            json!({"attribute": "f", "by_value": {"x": "Mars/Base"}}),
            "zones.by_value.x` is no IANA",
        ),
        ("/zones", json!({"attribute": "", "by_value": {}}), "zones.attribute` is empty"),
        ("/items/contract/mandatory", json!(false), "items` has nothing mandatory"),
        ("/items/project/attribute", json!(""), "items.project.attribute` is empty"),
        ("/items/visa", json!({"attribute": "visaEnd"}), "items` is wrong: unknown variant `visa`"),
        ("/items/project/optional", json!(true), "items.project.optional` is wrong"),
        ("/applies_to/values", json!([]), "applies_to.values` is empty"),
        ("/applies_to/attribute", json!(""), "applies_to.attribute` is empty"),
        ("/clock_skew_seconds", json!(601), "clock_skew_seconds` is above 600"),
        ("/clock_skew_seconds", json!(-1), "clock_skew_seconds` is wrong"),
        ("/longest_seconds", json!(59), "longest_seconds` is below 60"),
        (
            "/access_end",
            json!({"access-token": "claims"}),
            "access_end.access-token` is no JSON Pointer",
        ),
        ("/access_end", json!({"request": "/a"}), "access_end` is wrong: unknown variant"),
        (
            "/sponsor",
            json!({"attribute": "s", "active": ["a"]}),
            "sponsor.active` and `status_attribute` belong together",
        ),
        ("/sponsor", json!({"attribute": "s", "status_attribute": "a"}), "belong together"),
        ("/sponsor", json!({"attribute": ""}), "sponsor.attribute` is empty"),
    ];
    let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(schema.is_valid(&settings()));
    for (pointer, value, expected) in cases {
        let mut wrong = settings();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[member] = value;
        let sentences =
            testing::configure::<Contractor>(&wrong.to_string()).err().unwrap_or_default();
        assert!(
            sentences.iter().any(|sentence| sentence.contains(expected)),
            "{expected}: {sentences:?}"
        );
        // The schema cannot know time zones, nor that one item of several is mandatory.
        let knows = !expected.contains("IANA") && !expected.contains("mandatory");
        assert_eq!(schema.is_valid(&wrong), !knows, "{pointer}");
    }
}

#[test]
fn the_example_and_the_schema_agree_with_the_plugin() {
    let example: Value = serde_json::from_str(include_str!("../settings.example.json")).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    assert!(jsonschema::draft202012::new(&schema).unwrap().is_valid(&example));
    let call = sign_in("2026-11-30T22:00:00Z")
        .attribute("contractEnd", "2026-11-30")
        .attribute("trainingExpires", "2027-01-31")
        .attribute("sponsor", "00u9")
        .attribute("sponsorStatus", "active");
    let decision = decide(&example, call);
    assert_eq!(decision.codes(), ["CONTRACTOR_LIFETIME_CAPPED", "CONTRACTOR_ENDING_SOON"]);
    assert_eq!(caps(&decision)[0].1, 3540);
    // Every attribute that the example names is one that the manifest reads.
    let names = ["userType", "facility", "sponsor", "sponsorStatus", "login", "email"];
    let items = example["items"]
        .as_object()
        .unwrap()
        .values()
        .map(|item| item["attribute"].as_str().unwrap());
    for name in items.chain(names) {
        assert!(MANIFEST.contains(&format!("\"subject.attributes.{name}\"")), "{name}");
    }
}

#[test]
fn every_zone_of_the_database_works() {
    let mut settings = settings();
    let names: Vec<String> =
        jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    assert!(names.len() > 400);
    settings["zones"] = json!({"attribute": "facility", "by_value": names.iter().map(|name| (name.clone(), json!(name))).collect::<serde_json::Map<_, _>>()});
    let plugin = contractor(&settings);
    for name in &names {
        let call = sign_in("2026-11-30T00:00:00Z")
            .attribute("contractEnd", "2026-11-28")
            .attribute("facility", name);
        assert_eq!(testing::decide(&plugin, &call.build()).codes(), ["CONTRACTOR_ENDED"], "{name}");
    }
}

const MANIFEST: &str = include_str!("../manifest.toml");
