//! Okta, as its documents say it behaves (`hook-contracts`' behaviour matrix), written from them and not from our code: what it does with any
//! answer, and that it never goes on where we mean it to stop.

use portcullis_model::{Cause, Change, Credential, Effect, Target};
use serde_json::Value;

use super::{OKTA, frame, golden, incoming};
use crate::{
    Answer, HookKind, HookSettings, OnFailure, Outcome, Parsed, Reason, Request, SideEffect,
    preflight, read, render_batch, render_undelivered, safe_answer, side_effect, write,
};

use HookKind::{
    OktaEvent, OktaPasswordImport, OktaRegistration, OktaSaml, OktaTelephony, OktaToken,
    OktaUserImport,
};

/// What Okta does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// As if there were no hook, or with what the answer changes.
    GoesOn,
    Stops,
}

/// The matrix. Where its documents do not say, it goes on.
fn okta(kind: HookKind, status: u16, body: &[u8]) -> Does {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error"));
    let decided = |member: &str, word: &str| {
        let commands = json.as_ref().and_then(|json| json.get("commands")?.as_array());
        let is = |command: &Value| {
            command["type"] == "com.okta.action.update" && command["value"][member] == word
        };
        commands.is_some_and(|commands| commands.iter().any(is))
    };
    let stops = match kind {
        // Every other status, and what cannot be read, is skipped.
        OktaToken | OktaSaml => status == 200 && error.is_some_and(Value::is_object),
        OktaRegistration => match (status, &json) {
            (204, _) => false,
            (200, Some(_)) => error.is_some() || decided("registration", "DENY"),
            _ => true,
        },
        OktaPasswordImport => match (status, &json) {
            // What it does with `error` its documents do not say.
            (200, Some(_)) => error.is_none() && !decided("credential", "VERIFIED"),
            _ => true,
        },
        // An import is never stopped, a code is sent by its own provider, and an event has happened.
        _ => false,
    };
    if stops { Does::Stops } else { Does::GoesOn }
}

/// The kinds that have an answer which stops.
const STOPPABLE: [HookKind; 4] = [OktaToken, OktaSaml, OktaRegistration, OktaPasswordImport];

#[test]
fn no_answer_of_a_closed_hook_is_one_on_which_okta_goes_on() {
    let nobody = OnFailure::Restricted { applications: vec!["another-app".into()] };
    for (kind, body) in OKTA.into_iter().filter(|(kind, _)| STOPPABLE.contains(kind)) {
        let request = incoming(kind, body);
        for cause in Cause::ALL {
            for incoming in [None, Some(&request)] {
                for on_failure in [&OnFailure::Closed, &nobody] {
                    let answer = safe_answer(kind, on_failure, cause, incoming);
                    assert_eq!(
                        okta(kind, answer.status, answer.body()),
                        Does::Stops,
                        "{kind:?} {cause:?}"
                    );
                }
                let restricted = OnFailure::Restricted {
                    applications: vec!["chart-app".into(), "0oa-pacs".into()],
                };
                let answer = safe_answer(kind, &restricted, cause, incoming);
                let excused = kind.offers_restricted()
                    && incoming.is_some()
                    && cause.attribution() != portcullis_model::Attribution::Caller;
                let stops = okta(kind, answer.status, answer.body()) == Does::Stops;
                assert_eq!(
                    stops, !excused,
                    "{kind:?} {cause:?}: restricted, and only where the request is not to blame"
                );
            }
        }
        // Nor where a plugin stops it, whatever else is wanted.
        let wanted = [Change::Credential(Credential::Verified)];
        let none: &[Change] = &[];
        for verdict in [Effect::StepUp, Effect::Review, Effect::Deny] {
            let changes = if kind == OktaPasswordImport { &wanted } else { none };
            let outcome =
                Outcome { verdict, changes, text: Some("no \"way\""), ..Outcome::default() };
            let answer = write(kind, &request, &outcome).unwrap();
            assert_eq!(
                okta(kind, answer.status, answer.body()),
                Does::Stops,
                "{kind:?} {verdict:?}"
            );
        }
    }
}

/// What cannot be stopped is at least never helped along: nobody is told that a message is on its way, and no import is changed.
#[test]
fn where_nothing_stops_a_refusal_carries_nothing() {
    for (kind, body) in
        OKTA.into_iter().filter(|(kind, _)| [OktaUserImport, OktaTelephony].contains(kind))
    {
        let request = incoming(kind, body);
        for cause in Cause::ALL {
            for incoming in [None, Some(&request)] {
                let answer = safe_answer(kind, &OnFailure::Closed, cause, incoming);
                let json: Value = serde_json::from_slice(answer.body()).unwrap();
                assert!(
                    json["error"]["errorSummary"].is_string() && json.get("commands").is_none(),
                    "{kind:?} {cause:?}"
                );
            }
        }
        for verdict in [Effect::StepUp, Effect::Review, Effect::Deny] {
            let outcome = Outcome { verdict, ..Outcome::default() };
            let json: Value =
                serde_json::from_slice(write(kind, &request, &outcome).unwrap().body()).unwrap();
            assert!(
                json["error"]["errorSummary"].is_string() && json.get("commands").is_none(),
                "{kind:?} {verdict:?}"
            );
            assert!(side_effect(kind, &request, &outcome).is_none());
        }
    }
}

#[test]
fn only_an_explicit_verification_verifies() {
    let (_, body) = OKTA.into_iter().find(|(kind, _)| *kind == OktaPasswordImport).unwrap();
    let request = incoming(OktaPasswordImport, body);
    let answer = |verdict, found: &[Credential]| {
        let changes: Vec<_> = found.iter().copied().map(Change::Credential).collect();
        write(
            OktaPasswordImport,
            &request,
            &Outcome { verdict, changes: &changes, ..Outcome::default() },
        )
    };
    let verified =
        |answer: &Answer| String::from_utf8_lossy(answer.body()).contains(":\"VERIFIED\"");
    use Credential::{Block, Migrate, Retry, Unverified, Update, Verified};
    for verdict in Effect::ALL {
        for found in [
            &[][..],
            &[Unverified],
            &[Retry],
            &[Block],
            &[Verified, Unverified],
            &[Block, Verified],
        ] {
            assert!(!verified(&answer(verdict, found).unwrap()), "{verdict:?}");
        }
        assert_eq!(verified(&answer(verdict, &[Verified]).unwrap()), verdict <= Effect::Allow);
        for unsayable in [Migrate, Update] {
            assert!(answer(verdict, &[unsayable]).is_err());
        }
    }
    golden("password-verified.json", text(&answer(Effect::Allow, &[Verified]).unwrap()));
    golden(
        "password-closed.json",
        text(&safe_answer(OktaPasswordImport, &OnFailure::Closed, Cause::Overload, None)),
    );
    // Its default is a no: there is no way to let everybody in.
    let open = safe_answer(OktaPasswordImport, &OnFailure::Open, Cause::Overload, None);
    assert_eq!(okta(OktaPasswordImport, open.status, open.body()), Does::Stops);
}

#[test]
fn registrations_are_answered_in_the_words_of_their_form() {
    let (self_service, progressive) = (
        include_str!("../../tests/payloads/registration.json"),
        include_str!("../../tests/payloads/registration-progressive.json"),
    );
    let set = |path: &str, value: &str| Change::Set {
        target: Target::User,
        path: path.into(),
        value: value.into(),
    };
    let changes = [
        set("/accessEnd", "\"2026-09-30\""),
        set("/wards", "[\"3a\",7]"),
        set("/accessEnd", "\"2026-09-30\""),
    ];
    let allow = |body: &str| {
        write(
            OktaRegistration,
            &incoming(OktaRegistration, body),
            &Outcome { changes: &changes, ..Outcome::default() },
        )
        .unwrap()
    };
    golden("registration-update.json", text(&allow(self_service)));
    golden("registration-progressive-update.json", text(&allow(progressive)));
    // The Classic Engine names no request type.
    let classic = self_service.replace("\"requestType\": \"self.service.registration\",", "");
    assert_ne!(classic, self_service);
    assert_eq!(text(&allow(&classic)), text(&allow(self_service)));
    let null = self_service.replace("\"self.service.registration\"", "null");
    assert_eq!(text(&allow(&null)), text(&allow(self_service)));

    let reason = |code, text: &str, field| Reason { code, text: text.into(), field };
    let reasons = [
        reason("DOMAIN", "Only \"agency.example\" may register.", Some("email")),
        reason("NAME", "A name is missing.", Some("lastName")),
        reason("GENERAL", "Not today.", None),
        reason("FOREIGN", "Nobody filled this in.", Some("data.userProfile.password\n")),
        reason("NUMBER", "Four digits.", Some("employeeNumber")),
    ];
    let outcome = Outcome {
        verdict: Effect::Deny,
        changes: &changes,
        text: Some("Please look again."),
        reasons: &reasons,
        ..Outcome::default()
    };
    let deny =
        |body: &str| write(OktaRegistration, &incoming(OktaRegistration, body), &outcome).unwrap();
    golden("registration-deny.json", text(&deny(self_service)));
    golden("registration-progressive-deny.json", text(&deny(progressive)));
    golden(
        "registration-closed.json",
        text(&safe_answer(OktaRegistration, &OnFailure::Closed, Cause::Overload, None)),
    );

    let request = incoming(OktaRegistration, self_service);
    let why = |path: &str, value: &str| {
        write(
            OktaRegistration,
            &request,
            &Outcome { changes: &[set(path, value)], ..Outcome::default() },
        )
        .err()
        .map(|it| it.why)
    };
    use crate::RenderErrorKind::{Place, Reserved, Value};
    for (path, value, expected) in [
        ("/password", "\"x\"", Reserved),
        ("/PassWord", "\"x\"", Reserved),
        ("", "1", Place),
        ("/", "1", Place),
        ("/a/b", "1", Place),
        ("a", "1", Place),
        ("/a", "null", Value),
        ("/a", "{}", Value),
        ("/a", "[[1]]", Value),
        ("/a", "x", Value),
    ] {
        assert_eq!(why(path, value), Some(expected), "{path} {value}");
    }
}

#[test]
fn a_message_is_delivered_or_left_to_okta() {
    let (_, body) = OKTA.into_iter().find(|(kind, _)| *kind == OktaTelephony).unwrap();
    let request = incoming(OktaTelephony, body);
    let allow = Outcome { verdict: Effect::Allow, ..Outcome::default() };
    golden("telephony-allow.json", text(&write(OktaTelephony, &request, &allow).unwrap()));
    golden("telephony-undelivered.json", text(&render_undelivered(OktaTelephony, &request)));
    let Some(SideEffect::Deliver(message)) = side_effect(OktaTelephony, &request, &allow) else {
        panic!("nothing to deliver")
    };
    let told = (
        message.channel,
        message.to.as_str(),
        message.code.as_str(),
        message.text.as_deref(),
        message.key.as_str(),
    );
    assert_eq!(
        told,
        ("sms", "254700900123", "424242", Some("Your hospital code is 424242."), "tel-1")
    );
    assert_eq!(
        (message.locale.as_deref(), message.expires.as_deref()),
        (Some("EN-KE"), Some("2026-03-02T07:20:00.000Z"))
    );

    // As strings, as Okta means it; by voice, and without a channel.
    for (from, to, channel) in [
        ("\"SMS\"", "\"voice call\"", "voice"),
        ("\"SMS\"", "\"Sms\"", "sms"),
        ("\"SMS\"", "null", "sms"),
        ("254700900123", "\"254700900123\"", "sms"),
        ("\"otpCode\": 424242", "\"otpCode\": \"424242\"", "sms"),
        ("\"msgTemplate\": \"Your hospital code is 424242.\",", "", "sms"),
        ("\"requestType\": \"com.okta.user.telephony.mfa-verification\",", "", "sms"),
    ] {
        let changed = body.replace(from, to);
        assert_ne!(changed, body);
        let Some(SideEffect::Deliver(again)) =
            side_effect(OktaTelephony, &incoming(OktaTelephony, &changed), &allow)
        else {
            panic!("{from}")
        };
        assert_eq!(
            (again.channel, &again.to, &again.code),
            (channel, &message.to, &message.code),
            "{from}"
        );
    }
    for (from, to) in [
        ("\"SMS\"", "\"PIGEON\""),
        ("254700900123", "null"),
        ("254700900123", "2.5"),
        ("254700900123", "\"\""),
        ("\"otpCode\": 424242,", ""),
        ("\"otpCode\": 424242", "\"otpCode\": [4]"),
        ("com.okta.user.telephony.mfa-verification", "com.okta.user.other"),
    ] {
        let changed = body.replace(from, to);
        assert_ne!(changed, body);
        assert!(super::parse(OktaTelephony, changed.as_bytes(), &frame()).is_err(), "{to}");
    }
}

#[test]
fn an_event_hook_is_greeted_heard_and_acknowledged() {
    let settings = HookSettings::default();
    let ask = |get, challenge: Option<&'static str>| {
        let header =
            move |name: &str| challenge.filter(|_| name == "x-okta-verification-challenge");
        preflight(
            OktaEvent,
            &Request { get, route: "", header: &header, searches: false, body: b"" },
            &settings,
        )
    };
    let answer = ask(true, Some("a\"b")).unwrap();
    assert_eq!((answer.status, text(&answer)), (200, r#"{"verification":"a\"b"}"#));
    assert!(
        ask(true, None).is_none()
            && ask(false, Some("x")).is_none()
            && ask(true, Some("")).is_none()
    );

    let batch = include_str!("../../tests/payloads/events.json");
    let heard = |body: &str| {
        let request = Request {
            get: false,
            route: "",
            header: &|_| None,
            searches: false,
            body: body.as_bytes(),
        };
        read(OktaEvent, &request, &frame()).unwrap_or_else(|malformed| panic!("{malformed}"))
    };
    let Parsed::Batch(events) = heard(batch) else { panic!("no batch") };
    assert_eq!(events.id.as_deref(), Some("batch-1"));
    let ids: Vec<_> = events
        .items
        .iter()
        .map(|item| item.as_ref().ok().map(|event| event.call.id.as_str()))
        .collect();
    assert_eq!(ids, [Some("evt-1"), Some("evt-2")]);
    let calls: Vec<_> =
        events.items.iter().flatten().map(|event| super::requests::tell(&event.call)).collect();
    golden("events.call.txt", &calls.join("\n\n"));
    let first = events.items[0].as_ref().ok().unwrap();
    assert!(
        first.call.payload.text().contains("evt-1") && !first.call.payload.text().contains("evt-2"),
        "each alone"
    );

    // One that cannot be read keeps no other from being read; the same one twice is one.
    let Parsed::Batch(odd) =
        heard(&batch.replace("\"eventType\": \"user", "\"eventKind\": \"user"))
    else {
        panic!("no batch")
    };
    let [Err(unread), Ok(_)] = odd.items.as_slice() else { panic!("not one of each") };
    assert_eq!((unread.answer.status, &*unread.malformed.detail), (204, "data.events.eventType"));
    let question = unread.question.as_ref().unwrap();
    assert!(question.call.payload.text().contains("eventKind"), "what came is kept");
    assert_eq!((question.call.id.as_str(), question.call.subject.is_some()), ("evt-1", false));
    // Without an id of Okta's an event has one of its own, and a batch is known by none.
    let Parsed::Batch(nameless) = heard(&batch.replace("\"uuid\"", "\"uid\"")) else {
        panic!("no batch")
    };
    let ids: std::collections::BTreeSet<_> =
        nameless.items.iter().flatten().map(|item| item.call.id.clone()).collect();
    assert_eq!((ids.len(), nameless.items.len()), (2, 2));
    let Parsed::Batch(unnamed) = heard(&batch.replacen("\"eventId\"", "\"event_id\"", 1)) else {
        panic!("no batch")
    };
    assert_eq!((unnamed.id, unnamed.items.len()), (None, 2));
    let Parsed::Batch(cased) = heard(&batch.replacen("\"eventId\"", "\"eventID\"", 1)) else {
        panic!("no batch")
    };
    assert_eq!(cased.id.as_deref(), Some("batch-1"));
    let Parsed::Batch(twice) = heard(&batch.replace("evt-2", "evt-1")) else { panic!("no batch") };
    assert_eq!(twice.items.len(), 1);
    let none = r#"{"eventType":"com.okta.event_hook","eventId":"b","data":{"events":[]}}"#;
    let Parsed::Immediate(nothing) = heard(none) else { panic!("nothing to decide") };
    assert_eq!((nothing.status, nothing.body()), (204, &b""[..]));

    // The whole is acknowledged where every part is on record, and asked for again where one is not.
    let said = |parts: &[Vec<u8>]| {
        let answer = render_batch(OktaEvent, parts, &super::in_order(events.until));
        (answer.status, answer.body().to_vec())
    };
    let part =
        |cause| safe_answer(OktaEvent, &OnFailure::Closed, cause, Some(first)).body().to_vec();
    let fine =
        write(OktaEvent, first, &Outcome { verdict: Effect::Deny, ..Outcome::default() }).unwrap();
    assert_eq!((fine.status, fine.body()), (204, &b""[..]));
    assert_eq!(
        said(&[vec![], part(Cause::PluginFault), part(Cause::UnsupportedChange)]),
        (204, vec![])
    );
    for cause in Cause::ALL {
        let (status, _) = said(&[vec![], part(cause)]);
        let fails_again = cause.attribution() == portcullis_model::Attribution::Plugin;
        let told_apart = cause == Cause::Unauthenticated;
        assert_eq!(status, if fails_again || told_apart { 204 } else { 503 }, "{cause:?}");
        let closed = safe_answer(OktaEvent, &OnFailure::Closed, cause, None);
        assert!(closed.status >= 500 || closed.status < 300 || told_apart, "{cause:?}");
        let open = safe_answer(OktaEvent, &OnFailure::Open, cause, None);
        assert_eq!(
            open.status,
            if cause == Cause::Unauthenticated { 401 } else { 204 },
            "{cause:?}"
        );
    }
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}
