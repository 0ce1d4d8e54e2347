//! `hook doctor` and a token: decodes the bearer that it was given and compares the claims with the
//! configuration of the hook.
//!
//! Invariant: nothing here decides whether the token is accepted: the host does, and it checks the
//! signature, which this does not. Claims that may name a person (`sub`, `upn`, `name`) are not
//! shown; everything that is shown is escaped.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_server::OauthConfig;
use serde_json::Value;

use super::findings::Findings;

impl Findings {
    /// Adds one line for the token's claims and one for each claim that the configuration does not
    /// accept. `now` is in seconds since the epoch.
    pub fn token(&mut self, bearer: &str, accepted: &[Arc<OauthConfig>], now: u64) {
        let Some((header, claims)) = decode(bearer) else {
            self.error(
                CHECK,
                "the bearer token is not a JSON Web Token".to_owned(),
                "give the access token itself: three parts with dots between them, without \
                 `Bearer`",
            );
            return;
        };
        self.ok(CHECK, describe(&header, &claims, now));
        // The configuration that names the token's issuer; else the first, to compare with.
        let iss = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        let names =
            |config: &&Arc<OauthConfig>| config.issuer.names.iter().any(|(name, _)| name == iss);
        let config = accepted.iter().find(names).or(accepted.first());
        let skew = config.map_or(0, |config| config.issuer.skew);
        for hint in times(&claims, now, skew) {
            self.error(CHECK, hint.0, hint.1);
        }
        let Some(config) = config else { return };
        for (claim, found, wanted) in mismatches(&claims, config) {
            self.error(
                CHECK,
                format!("`{claim}` is {found}; the configuration accepts {wanted}"),
                hint(claim),
            );
        }
    }
}

/// Reads header and claims, without believing them. `None`: not in the form of RFC 7515.
fn decode(bearer: &str) -> Option<(Value, Value)> {
    let mut parts = bearer.split('.');
    let mut next = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next()?.trim_end_matches('=')).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    Some((next()?, next()?))
}

fn describe(header: &Value, claims: &Value, now: u64) -> String {
    let header = ["alg", "kid"].map(|name| (name, header.get(name)));
    let claims = SHOWN.map(|name| (name, claims.get(name)));
    let shown = header.iter().chain(&claims).filter_map(|(name, value)| {
        value.map(|value| match (*name, seconds(value)) {
            ("exp", Some(exp)) if exp >= now => format!("exp in {} s", exp - now),
            _ => format!("{name} {}", show(value)),
        })
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Returns what is wrong with the token's times, with what to do. `skew` is how far clocks may be
/// apart, in seconds.
fn times(claims: &Value, now: u64, skew: u64) -> Vec<(String, &'static str)> {
    let time = |name: &str| claims.get(name).and_then(seconds);
    let mut wrong = Vec::new();
    match time("exp") {
        None => {
            wrong.push(("`exp` is missing".to_owned(), "the host accepts only tokens that expire"))
        }
        Some(exp) if exp.saturating_add(skew) <= now => {
            wrong.push((format!("the token expired {} s ago", now - exp), "fetch a new one"));
        }
        Some(_) => {}
    }
    for name in ["nbf", "iat"] {
        if let Some(from) = time(name).filter(|from| *from > now.saturating_add(skew)) {
            let ahead = from - now;
            wrong.push((
                format!("`{name}` is {ahead} s ahead"),
                "compare the clocks of the host and of the issuer",
            ));
        }
    }
    wrong
}

/// Returns each claim that differs from what is accepted: its name, what the token has, what is
/// accepted.
fn mismatches(claims: &Value, config: &OauthConfig) -> Vec<(&'static str, String, String)> {
    let issuer = &config.issuer;
    let found = |name: &str| claims.get(name).map_or_else(|| "missing".to_owned(), show);
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let mut wrong = Vec::new();
    let named = text("iss").and_then(|iss| issuer.names.iter().find(|(name, _)| name == iss));
    if named.is_none() {
        wrong.push(("iss", found("iss"), list(issuer.names.iter().map(|(name, _)| name.as_str()))));
    }
    if let Some(tenant) = &issuer.tenant
        && text("tid") != Some(tenant)
    {
        wrong.push(("tid", found("tid"), list([&**tenant])));
    }
    let audiences = |value: &Value| match value {
        Value::Array(values) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        value => Vec::from_iter(value.as_str().map(str::to_owned)),
    };
    let has = claims.get("aud").map(audiences).unwrap_or_default();
    if !issuer.audiences.iter().any(|audience| has.contains(audience)) {
        wrong.push(("aud", found("aud"), list(issuer.audiences.iter().map(String::as_str))));
    }
    let claim = named.or(issuer.names.first()).map_or("azp", |(_, claim)| claim.as_str());
    let claim = *CLIENT_CLAIMS.iter().find(|known| **known == claim).unwrap_or(&"client claim");
    if !issuer.clients.iter().any(|client| text(claim) == Some(client)) {
        wrong.push((claim, found(claim), list(issuer.clients.iter().map(|client| &**client))));
    }
    wrong
}

fn hint(claim: &str) -> &'static str {
    match claim {
        "iss" => "compare with `oauth.issuer`, or with `oauth.tenant` and the token's version",
        "tid" => "compare with `oauth.tenant`",
        "aud" => "compare with `oauth.audiences`: the API that the platform asks a token for",
        _ => "compare with `oauth.clients`: the application that the platform signs in as",
    }
}

fn list<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| format!("{value:?}")).collect();
    values.join(" or ")
}

/// Shows a claim, escaped and cut.
fn show(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        other => format!("{:?}", other.to_string()).trim_matches('"').to_owned(),
    };
    text.chars().take(MAX_SHOWN).collect()
}

/// Reads a time of RFC 7519, which may have a fraction, as whole seconds.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let whole = value.as_f64()?.floor();
        (0.0..=MAX_SECONDS).contains(&whole).then_some(whole as u64)
    })
}

const CHECK: &str = "token";
/// Claims that name services and never a person.
const SHOWN: [&str; 9] = ["ver", "iss", "aud", "tid", "azp", "appid", "cid", "client_id", "exp"];
const CLIENT_CLAIMS: [&str; 4] = ["azp", "appid", "cid", "client_id"];
/// Characters of a claim that are shown.
const MAX_SHOWN: usize = 200;
/// The last second that a 64-bit float counts exactly.
const MAX_SECONDS: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bearer(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "kid": "k1"})), part(claims))
    }

    fn lines(bearer: &str) -> Vec<String> {
        let mut findings = Findings::default();
        findings.token(bearer, &[], 1_000);
        findings.all.into_iter().map(|check| check.detail).collect()
    }

    #[test]
    fn claims_of_services_are_shown_and_claims_of_people_are_not() {
        let shown = lines(&bearer(&json!({
            "iss": "https://login.example", "aud": ["api://a"], "azp": "c\u{202e}1", "exp": 1060.5,
            "sub": "alice", "upn": "alice@h.example"
        })));
        assert_eq!(
            shown,
            [
                r#"alg "RS256", kid "k1", iss "https://login.example", aud [\"api://a\"], azp "c\u{202e}1", exp in 60 s"#
            ]
        );
    }

    #[test]
    fn times_are_compared_with_now() {
        assert!(lines(&bearer(&json!({"exp": 990})))[1].contains("expired 10 s ago"));
        assert!(lines(&bearer(&json!({})))[1].contains("`exp` is missing"));
        assert!(lines(&bearer(&json!({"exp": 2000, "nbf": 1500})))[1].contains("500 s ahead"));
    }

    #[test]
    fn times_are_right_as_far_as_clocks_may_be_apart() {
        let wrong = |claims: Value, skew| times(&claims, 1_000, skew).len();
        assert_eq!(wrong(json!({"exp": 941, "nbf": 1_060, "iat": 1_060}), 60), 0);
        assert_eq!(wrong(json!({"exp": 940, "nbf": 1_061, "iat": 1_061}), 60), 3);
        assert_eq!(wrong(json!({"exp": 941, "nbf": 1_060, "iat": 1_060}), 0), 3);
    }

    #[test]
    fn text_that_is_no_token_is_one_line() {
        for text in ["", "abc", "a.b.c", "e30.W10.x", "Bearer e30.e30.x"] {
            assert_eq!(lines(text), ["the bearer token is not a JSON Web Token"], "{text}");
        }
    }
}
