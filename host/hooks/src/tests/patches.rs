//! Our own patches against an interpreter as strict as Okta, written from its rules and not from our code,
//! and against a plain reading of what the changes ask for.

use portcullis_model::{Change, Effect, Target};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{TOKEN, incoming};
use crate::{HookKind, Outcome, RenderErrorKind, write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn no_patch_fails_at_okta_and_all_do_what_was_asked(
        request in request(),
        requested in prop::collection::vec(any_change(), 0..5),
    ) {
        let changes: Vec<Change> = requested.iter().map(RequestedChange::change).collect();
        let call = incoming(HookKind::OktaToken, &request.to_string());
        let rendered = write(HookKind::OktaToken, &call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() });
        let requested = ask(&request["data"], &changes);
        match (rendered, requested) {
            (Ok(answer), Some(requested)) => {
                let answer: Value = serde_json::from_slice(answer.body()).unwrap();
                match okta(&request["data"], &answer) {
                    Ok(got) => prop_assert_eq!(got, requested, "{}", answer),
                    Err(reason) => prop_assert!(false, "{}: {}", reason, answer),
                }
            }
            (Err(_), None) => {}
            (Ok(answer), None) => prop_assert!(false, "should be unsayable: {}", String::from_utf8_lossy(answer.body())),
            (Err(unsayable), Some(_)) => prop_assert!(false, "should be sayable: {}", unsayable),
        }
    }

    #[test]
    fn a_cap_never_lengthens(present in 0..100_000u32, seconds: u32) {
        let mut request: Value = serde_json::from_str(TOKEN).unwrap();
        request["data"]["access"]["token"]["lifetime"]["expiration"] = present.into();
        let call = incoming(HookKind::OktaToken, &request.to_string());
        for seconds in [seconds, seconds % 100_000, present.saturating_sub(seconds % 400)] {
            let changes = [Change::CapLifetime { target: Target::AccessToken, seconds }];
            match write(HookKind::OktaToken, &call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() }) {
                Ok(answer) => {
                    let patched = okta(&request["data"], &serde_json::from_slice(answer.body()).unwrap()).unwrap();
                    let got = patched["access"]["token"]["lifetime"]["expiration"].as_u64().unwrap();
                    prop_assert!(got <= u64::from(seconds.min(present)));
                }
                Err(unsayable) => prop_assert!(unsayable.why == RenderErrorKind::TooShort && seconds < 300 && seconds < present),
            }
        }
    }
}

#[test]
fn a_claim_that_is_there_is_replaced_and_any_other_is_added() {
    let set = |path: &str| Change::Set {
        target: Target::AccessToken,
        path: path.into(),
        value: "1".into(),
    };
    let remove = |path: &str| Change::Remove { target: Target::AccessToken, path: path.into() };
    let mut request: Value = serde_json::from_str(TOKEN).unwrap();
    request["data"]["access"]["claims"] = json!({"there": 0, "nothing": null, "gone": 0});
    let call = incoming(HookKind::OktaToken, &request.to_string());
    let changes = [
        set("/claims/there"),
        set("/claims/there"),
        set("/claims/nothing"),
        remove("/claims/gone"),
        set("/claims/gone"),
        set("/claims/new"),
        set("/claims/new"),
    ];
    let outcome = Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() };
    let answer = write(HookKind::OktaToken, &call, &outcome).unwrap();
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    let operations = answer["commands"][0]["value"].as_array().unwrap();
    let said: Vec<_> = operations
        .iter()
        .map(|it| (it["op"].as_str().unwrap(), it["path"].as_str().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            ("replace", "/claims/there"),
            ("replace", "/claims/there"),
            ("replace", "/claims/nothing"),
            ("remove", "/claims/gone"),
            ("add", "/claims/gone"),
            ("add", "/claims/new"),
            ("add", "/claims/new"),
        ]
    );
}

/// Okta: every operation in order, and the first that fails fails all.
fn okta(data: &Value, answer: &Value) -> Result<Value, String> {
    let mut patched = data.clone();
    let none = Vec::new();
    for command in answer.get("commands").map_or(&none, |commands| commands.as_array().unwrap()) {
        let (token, others) = match command["type"].as_str().unwrap() {
            "com.okta.identity.patch" => ("identity", ID_ONLY),
            "com.okta.access.patch" => ("access", ACCESS_ONLY),
            other => return Err(format!("unknown command {other}")),
        };
        assert_eq!(command.as_object().unwrap().len(), 2);
        if !data[token].is_object() {
            return Err(format!("{token} was not requested"));
        }
        let operations = command["value"].as_array().unwrap();
        assert!(!operations.is_empty());
        for operation in operations {
            let members: Vec<&str> =
                operation.as_object().unwrap().keys().map(String::as_str).collect();
            let (name, path) =
                (operation["op"].as_str().unwrap(), operation["path"].as_str().unwrap());
            let expected: &[&str] =
                if name == "remove" { &["op", "path"] } else { &["op", "path", "value"] };
            assert_eq!(members, expected);
            if path == "/token/lifetime/expiration" {
                let seconds = operation["value"].as_u64().ok_or("a lifetime that is no number")?;
                if name != "replace" || !(300..=86_400).contains(&seconds) {
                    return Err(format!("lifetime {name} {seconds}"));
                }
                *patched[token].pointer_mut(path).ok_or("no lifetime")? = seconds.into();
                continue;
            }
            let tokens: Vec<String> =
                path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
            if tokens.len() < 3 || !tokens[0].is_empty() || tokens[1] != "claims" {
                return Err(format!("a path outside the claims: {path}"));
            }
            let claim = tokens[2].as_str();
            if BOTH.split(' ').chain(others.split(' ')).any(|reserved| reserved == claim) {
                return Err(format!("reserved: {claim}"));
            }
            if name != "add" && data[token]["claims"].get(claim).is_none() {
                return Err(format!("{name} of a claim that is not in the request: {claim}"));
            }
            // More than Okta asks for: what the request's claim has already is replaced.
            let inner = path.strip_prefix("/claims").unwrap();
            let claims = &patched[token]["claims"];
            let sent = data[token]["claims"].get(claim).is_some();
            if name == "add"
                && sent
                && claims.pointer(inner).is_some()
                && !is_element(claims, inner)
            {
                return Err(format!("add of what is there: {path}"));
            }
            apply(&mut patched[token]["claims"], &tokens[2..], name, operation.get("value"))
                .ok_or_else(|| format!("{name} {path} fails"))?;
        }
    }
    Ok(patched)
}

/// RFC 6902, sections 4.1 to 4.3.
fn apply(mut at: &mut Value, tokens: &[String], name: &str, value: Option<&Value>) -> Option<()> {
    let (last, parents) = tokens.split_last()?;
    for token in parents {
        at = match at {
            Value::Object(members) => members.get_mut(token)?,
            Value::Array(elements) => elements.get_mut(index(token)?)?,
            _ => return None,
        };
    }
    match (at, name) {
        (Value::Object(members), "add") => drop(members.insert(last.clone(), value?.clone())),
        (Value::Object(members), "replace") => *members.get_mut(last)? = value?.clone(),
        (Value::Object(members), "remove") => drop(members.remove(last)?),
        (Value::Array(elements), "add") if last == "-" => elements.push(value?.clone()),
        (Value::Array(elements), "add") => {
            let index = index(last).filter(|index| *index <= elements.len())?;
            elements.insert(index, value?.clone());
        }
        (Value::Array(elements), "replace") => *elements.get_mut(index(last)?)? = value?.clone(),
        (Value::Array(elements), "remove") => {
            let index = index(last).filter(|index| *index < elements.len())?;
            elements.remove(index);
        }
        _ => return None,
    }
    Some(())
}

fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit())
        && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok())?
}

/// What the changes ask for, without any patch: nothing where they ask for what cannot be.
fn ask(data: &Value, changes: &[Change]) -> Option<Value> {
    let mut wanted = data.clone();
    for change in changes {
        let (target, path) = match change {
            Change::Set { target, path, .. } | Change::Remove { target, path } => (target, path),
            Change::CapLifetime { target, seconds } => {
                let name = if *target == Target::IdToken { "identity" } else { "access" };
                let present = data[name]["token"]["lifetime"]["expiration"].as_u64();
                if present.is_some_and(|present| u64::from(*seconds) < present) {
                    (*seconds >= 300).then_some(())?;
                    let now = &mut wanted[name]["token"]["lifetime"]["expiration"];
                    *now = now.as_u64()?.min(u64::from(*seconds)).min(86_400).into();
                }
                continue;
            }
            _ => return None,
        };
        let (name, others) = if *target == Target::IdToken {
            ("identity", ID_ONLY)
        } else {
            ("access", ACCESS_ONLY)
        };
        // Nothing is changed of a token that is not issued, and the other token's changes stand.
        if data[name].is_null() {
            continue;
        }
        let tokens: Vec<String> = path
            .split('/')
            .skip(2)
            .map(|token| token.replace("~1", "/").replace("~0", "~"))
            .collect();
        let claim = tokens.first()?.clone();
        let reserved = BOTH.split(' ').chain(others.split(' ')).any(|reserved| reserved == claim);
        if reserved {
            return None;
        }
        let sent = data[name]["claims"].get(&claim).is_some();
        let claims = &mut wanted[name]["claims"];
        let pointer = path.strip_prefix("/claims").unwrap();
        match change {
            Change::Remove { .. } => {
                sent.then_some(())?;
                apply(claims, &tokens, "remove", None)?;
            }
            Change::Set { value, .. } => {
                let value: Value = serde_json::from_str(value).unwrap();
                // An element of an array that only this answer brings cannot be replaced; all else can.
                let fixed = !sent && is_element(claims, pointer);
                match claims.pointer_mut(pointer) {
                    Some(_) if fixed => return None,
                    Some(place) => *place = value,
                    None => apply(claims, &tokens, "add", Some(&value))?,
                }
            }
            _ => {}
        }
    }
    Some(wanted)
}

fn is_element(claims: &Value, pointer: &str) -> bool {
    claims.pointer(pointer.rsplit_once('/').unwrap().0).is_some_and(Value::is_array)
}

fn request() -> impl Strategy<Value = Value> {
    let tokens = (prop::option::weighted(0.8, claims()), prop::option::weighted(0.9, claims()));
    (tokens, 0..90_000u32, 0..90_000u32).prop_map(|((identity, access), first, second)| {
        let token = |claims, seconds: u32| json!({"claims": claims, "token": {"lifetime": {"expiration": seconds}}});
        json!({
            "eventId": "e",
            "eventType": "com.okta.oauth2.tokens.transform",
            "data": {"identity": identity.map(|claims| token(claims, first)), "access": access.map(|claims| token(claims, second))},
        })
    })
}

fn claims() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(claim_name(), value(), 0..4).prop_map(|members| {
        Value::Object(members.into_iter().filter(|(name, _)| name != "groups").collect())
    })
}

/// Mostly the same few, so that changes meet; some that are reserved in one token or both.
fn claim_name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        12 => prop::sample::select(vec!["a", "https://x/~y"]),
        1 => prop::sample::select(vec!["sub", "aud", "scp", "groups", "role", "uid"]),
    ]
    .prop_map(String::from)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Value::from),
        "[a-c\"\\\\]{0,3}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[x0]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A change that proptest may show.
#[derive(Clone, Debug)]
enum RequestedChange {
    Set(Target, String, Value),
    Remove(Target, String),
    Cap(Target, u32),
}

impl RequestedChange {
    fn change(&self) -> Change {
        match self.clone() {
            Self::Set(target, path, value) => {
                Change::Set { target, path, value: value.to_string() }
            }
            Self::Remove(target, path) => Change::Remove { target, path },
            Self::Cap(target, seconds) => Change::CapLifetime { target, seconds },
        }
    }
}

fn any_change() -> impl Strategy<Value = RequestedChange> {
    let target = prop::sample::select(vec![Target::IdToken, Target::AccessToken]);
    let inner = prop::collection::vec(prop::sample::select(vec!["0", "1", "-", "x"]), 0..3);
    let path = (claim_name(), inner).prop_map(|(claim, inner)| {
        let claim = claim.replace('~', "~0").replace('/', "~1");
        inner.iter().fold(format!("/claims/{claim}"), |path, token| format!("{path}/{token}"))
    });
    prop_oneof![
        4 => (target.clone(), path.clone(), value()).prop_map(|(target, path, value)| RequestedChange::Set(target, path, value)),
        2 => (target.clone(), path).prop_map(|(target, path)| RequestedChange::Remove(target, path)),
        1 => (target, 200..90_000u32).prop_map(|(target, seconds)| RequestedChange::Cap(target, seconds)),
    ]
}

const BOTH: &str = "acr auth_time cid cnf exp groups iat iss jti sid token_type ver";
const ID_ONLY: &str = "active aid amr app_id app_type at_hash aud c_hash client_id client_ip client_req_id client_type \
    client_user_agent device_compliance device_id device_known device_managed device_name device_trust did dst group hotk idp \
    idp_iss mac_key may_act nonce oid okta_emailVerified okta_lastUpdated orig permissions purpose pwd_exp_days pwd_exp_time rid \
    role scope scopes sub term user_ip";
const ACCESS_ONLY: &str = "as_uri authorization_details rpt rsi scp uid username";
