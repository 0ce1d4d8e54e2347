//! Tokens and key sets that another implementation (`jsonwebtoken`) makes, taken where they are right and refused for the right reason
//! where they are wrong.

#![cfg(test)]

mod issuing;

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use issuing::{Maker, base64url};
use portcullis_model::Millis;
use portcullis_tokens::{AuthError, Issuer, KeySet, Token};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: u64 = 1_795_000_000;
const TENANT: &str = "0f0b5b1e-6d5c-4f7a-9d55-0d7c7a3f5a10";

fn issuer() -> Issuer {
    Issuer {
        names: vec![
            (format!("https://sts.windows.net/{TENANT}/"), "appid".into()),
            (format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "azp".into()),
        ],
        tenant: Some(TENANT.into()),
        audiences: vec!["api://hooks.hospital.example/1".into(), "11111111-2222".into()],
        clients: vec!["the-platform".into()],
        skew: 60,
    }
}

fn claims() -> Value {
    json!({
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "aud": "11111111-2222", "tid": TENANT, "azp": "the-platform",
        "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 300,
    })
}

/// Makers are slow to make.
fn makers() -> &'static [Maker] {
    static MAKERS: OnceLock<Vec<Maker>> = OnceLock::new();
    MAKERS.get_or_init(Maker::one_of_each)
}

fn prove(token: &str, keys: &KeySet) -> Result<String, AuthError> {
    let token = Token::parse(token)?;
    let client = issuer().check_claims(&token, Millis(NOW * 1_000))?;
    token.verify(keys)?;
    Ok(client.id.to_string())
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn every_algorithm_of_another_hand_is_taken_and_only_with_its_own_key() {
    for maker in makers() {
        let keys = set(&[maker.jwk()]);
        for algorithm in maker.algorithms() {
            let token = maker.sign(algorithm, &claims());
            assert_eq!(prove(&token, &keys), Ok("the-platform".to_owned()), "{algorithm:?}");
            for other in makers().iter().filter(|other| other.kid() != maker.kid()) {
                assert_eq!(
                    prove(&token, &set(&[other.jwk()])),
                    Err(AuthError::TokenKey),
                    "{algorithm:?}"
                );
                // Another key under the same name.
                let mut wrong = other.jwk();
                wrong["kid"] = json!(maker.kid());
                let refused = prove(&token, &set(&[wrong])).unwrap_err();
                assert!(
                    matches!(refused, AuthError::TokenAlgorithm | AuthError::TokenSignature),
                    "{algorithm:?}: {refused:?}"
                );
            }
        }
    }
}

#[test]
fn a_key_that_names_its_algorithm_use_or_operations_serves_nothing_else() {
    let maker = &makers()[0];
    let token = maker.sign(maker.algorithms()[0], &claims());
    for (member, value, expected) in [
        ("alg", json!("RS256"), Ok(())),
        ("use", json!("sig"), Ok(())),
        ("key_ops", json!(["verify"]), Ok(())),
        ("alg", Value::Null, Ok(())),
        ("use", Value::Null, Ok(())),
        ("key_ops", Value::Null, Ok(())),
        ("alg", json!("PS256"), Err(AuthError::TokenAlgorithm)),
        ("alg", json!("HS256"), Err(AuthError::TokenKey)),
        ("alg", json!(7), Err(AuthError::TokenKey)),
        ("use", json!("enc"), Err(AuthError::TokenKey)),
        ("key_ops", json!(["encrypt"]), Err(AuthError::TokenKey)),
        ("kty", json!("oct"), Err(AuthError::TokenKey)),
        ("e", json!("AQ"), Err(AuthError::TokenKey)),
        ("e", json!("AA"), Err(AuthError::TokenKey)),
    ] {
        let mut key = maker.jwk();
        key[member] = value.clone();
        let found = prove(&token, &set(&[key, makers()[1].jwk()])).map(drop);
        assert_eq!(found, expected, "{member} = {value}");
    }
}

#[test]
fn claims_that_are_not_for_us_are_refused_before_any_key_is_looked_at() {
    let maker = &makers()[0];
    let check = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        let text = maker.sign(maker.algorithms()[0], &claims);
        issuer()
            .check_claims(&Token::parse(&text).unwrap(), Millis(NOW * 1_000))
            .map(|client| client.id.to_string())
    };
    let good = Ok("the-platform".to_owned());
    assert_eq!(check(&|_| ()), good);
    // Version 1 has its own issuer and names the client by another claim.
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    assert_eq!(
        check(
            &|c| (c["iss"], c["appid"], c["azp"]) = (json!(v1), json!("the-platform"), Value::Null)
        ),
        good
    );
    assert_eq!(
        check(&|c| c["iss"] = json!(v1)),
        Err(AuthError::TokenClient),
        "azp is not version 1's"
    );
    assert_eq!(check(&|c| c["aud"] = json!(["x", "api://hooks.hospital.example/1"])), good);
    type Wrong = (AuthError, &'static str, Value);
    let wrong: Vec<Wrong> = vec![
        (AuthError::TokenIssuer, "iss", json!("https://login.microsoftonline.com/another/v2.0")),
        (
            AuthError::TokenIssuer,
            "iss",
            json!(format!("https://login.microsoftonline.com/{TENANT}/v2.0/")),
        ),
        (AuthError::TokenIssuer, "iss", json!([v1])),
        (AuthError::TokenIssuer, "iss", Value::Null),
        (AuthError::TokenTenant, "tid", json!("another")),
        (AuthError::TokenTenant, "tid", Value::Null),
        (AuthError::TokenAudience, "aud", json!("11111111-2223")),
        (AuthError::TokenAudience, "aud", json!([])),
        (AuthError::TokenAudience, "aud", json!({"a": "11111111-2222"})),
        (AuthError::TokenAudience, "aud", Value::Null),
        (AuthError::TokenClient, "azp", json!("another")),
        (AuthError::TokenClient, "azp", Value::Null),
        (AuthError::TokenExpired, "exp", json!(NOW - 60)),
        (AuthError::TokenExpired, "exp", json!(0)),
        (AuthError::TokenMalformed, "exp", json!("1795000300")),
        (AuthError::TokenMalformed, "exp", json!(-1)),
        (AuthError::TokenExpired, "exp", json!(1.5e9)),
        (AuthError::TokenMalformed, "exp", json!(1e300)),
        (AuthError::TokenMalformed, "iat", json!(-0.5)),
        (AuthError::TokenEarly, "nbf", json!(NOW + 61)),
        (AuthError::TokenEarly, "iat", json!(NOW + 61)),
        (AuthError::TokenMalformed, "nbf", json!("soon")),
    ];
    for (reason, claim, value) in wrong {
        assert_eq!(check(&|c| c[claim] = value.clone()), Err(reason), "{claim} = {value}");
    }
    assert_eq!(
        check(&|c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        Err(AuthError::TokenMalformed)
    );
    // A time may have a fraction (RFC 7519 section 2), and counts to the millisecond.
    let (now, skew) = (NOW as f64, 60.0);
    assert_eq!(check(&|c| c["exp"] = json!(now + 0.5)), good);
    assert_eq!(check(&|c| c["exp"] = json!(now - skew + 0.25)), good);
    assert_eq!(check(&|c| c["exp"] = json!(now - skew - 0.25)), Err(AuthError::TokenExpired));
    assert_eq!(check(&|c| c["nbf"] = json!(now + skew - 0.25)), good);
    assert_eq!(check(&|c| c["nbf"] = json!(now + skew + 0.25)), Err(AuthError::TokenEarly));
    assert_eq!(check(&|c| c["iat"] = json!(now - 0.125)), good);
    // To the second, with the clocks' tolerance.
    assert_eq!(check(&|c| c["exp"] = json!(NOW - 59)), good);
    assert_eq!(check(&|c| c["nbf"] = json!(NOW + 60)), good);
    assert_eq!(check(&|c| c["exp"] = json!(u64::MAX)), good);
}

#[test]
fn headers_that_have_been_attacks_are_refused() {
    let maker = &makers()[0];
    let keys = set(&[maker.jwk()]);
    let good = json!({"alg": "RS256", "kid": maker.kid(), "typ": "JWT"});
    let with = |header: &Value| maker.sign_raw(&header.to_string(), &claims().to_string());
    assert!(prove(&with(&good), &keys).is_ok());
    for (reason, member, value) in [
        (AuthError::TokenAlgorithm, "alg", json!("none")),
        (AuthError::TokenAlgorithm, "alg", json!("None")),
        (AuthError::TokenAlgorithm, "alg", json!("HS256")),
        (AuthError::TokenAlgorithm, "alg", json!("rs256")),
        (AuthError::TokenAlgorithm, "alg", json!("RS1")),
        (AuthError::TokenAlgorithm, "alg", json!("")),
        (AuthError::TokenAlgorithm, "alg", json!("ES256")),
        (AuthError::TokenSignature, "alg", json!("RS512")),
        (AuthError::TokenMalformed, "alg", Value::Null),
        (AuthError::TokenMalformed, "alg", json!(["RS256"])),
        (AuthError::TokenType, "crit", json!(["b64"])),
        (AuthError::TokenType, "crit", json!([])),
        (AuthError::TokenType, "typ", json!("pop")),
        (AuthError::TokenType, "typ", json!("application/")),
        (AuthError::TokenType, "typ", json!("dpop+jwt")),
        (AuthError::TokenMalformed, "typ", json!(1)),
        (AuthError::TokenKey, "kid", json!("another")),
        (AuthError::TokenKey, "kid", Value::Null),
        (AuthError::TokenMalformed, "kid", json!("x".repeat(300))),
    ] {
        let mut header = good.clone();
        header[member] = value.clone();
        assert_eq!(prove(&with(&header), &keys), Err(reason), "{member} = {value}");
    }
    for sort in ["at+jwt", "AT+JWT", "application/at+jwt", "jwt", "Application/JWT"] {
        let mut header = good.clone();
        header["typ"] = json!(sort);
        assert!(prove(&with(&header), &keys).is_ok(), "{sort}");
    }
    // A key that the token brings along is nobody's.
    let mut header = good.clone();
    header["jwk"] = makers()[1].jwk();
    header["jku"] = json!("https://evil.example/keys");
    assert!(prove(&with(&header), &keys).is_ok(), "looked past");
    header["kid"] = json!(makers()[1].kid());
    assert_eq!(prove(&with(&header), &keys), Err(AuthError::TokenKey));
}

#[test]
fn the_public_key_as_an_hmac_secret_proves_nothing() {
    let maker = &makers()[0];
    let keys = set(&[maker.jwk()]);
    for secret in maker.public_forms() {
        let token = issuing::hmac(&secret, maker.kid(), &claims());
        assert_eq!(prove(&token, &keys), Err(AuthError::TokenAlgorithm));
    }
    let none = format!(
        "{}.{}.",
        base64url(json!({"alg": "none", "kid": maker.kid()}).to_string()),
        base64url(claims().to_string())
    );
    assert_eq!(prove(&none, &keys), Err(AuthError::TokenAlgorithm));
}

#[test]
fn what_is_no_token_is_malformed() {
    let maker = &makers()[0];
    let keys = set(&[maker.jwk()]);
    let token = maker.sign(maker.algorithms()[0], &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let twice = maker.sign_raw(
        &json!({"alg": "RS256", "kid": maker.kid()}).to_string(),
        &claims().to_string().replacen("{\"", &format!("{{\"iss\":\"x\",\"{}", ""), 1),
    );
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1].replace(['a', 'b'], "+"), parts[2]),
        format!("{}\n.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", base64url("[]"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], base64url("\"x\""), parts[2]),
        twice,
    ] {
        assert_eq!(prove(&wrong, &keys), Err(AuthError::TokenMalformed), "{wrong}");
    }
    assert_eq!(
        prove(&format!("{}.{}.", parts[0], parts[1]), &keys),
        Err(AuthError::TokenSignature),
        "no signature at all"
    );
    assert_eq!(prove(&"x".repeat(Token::MAX_BYTES + 1), &keys), Err(AuthError::TokenTooLong));
}

#[test]
fn a_set_of_keys_is_taken_whole_or_refused() {
    use portcullis_tokens::KeySetError;
    let parse = |text: &str| KeySet::parse(text.as_bytes()).map(|keys| keys.len());
    assert_eq!(parse("{"), Err(KeySetError::NotJson));
    assert_eq!(parse("{\"keys\":{}}"), Err(KeySetError::Member("keys")));
    assert_eq!(parse("{\"keys\":[]}"), Err(KeySetError::NoKey));
    let many = json!({"keys": vec![makers()[1].jwk(); 101]});
    assert_eq!(parse(&many.to_string()), Err(KeySetError::TooMany));
    let small = json!({"kty": "RSA", "kid": "small", "e": "AQAB", "n": base64url([0xff; 128])});
    let odd = json!({"kty": "EC", "kid": "odd", "crv": "P-256", "x": base64url([1; 32]), "y": base64url([1; 32])});
    let mut all: Vec<Value> = makers().iter().map(Maker::jwk).collect();
    assert_eq!(set(&all).len(), makers().len());
    all.extend([
        small.clone(),
        odd,
        json!({"kty": "AKP", "kid": "later"}),
        json!(7),
        json!({"kty": "RSA"}),
    ]);
    assert_eq!(set(&all).len(), makers().len(), "the others are left out");
    assert_eq!(parse(&json!({"keys": [small]}).to_string()), Err(KeySetError::NoKey));
}

#[test]
fn a_token_without_kid_counts_where_exactly_one_key_fits() {
    let rsa = &makers()[0];
    let without = |mut value: Value| {
        value.as_object_mut().unwrap().remove("kid");
        value
    };
    let unnamed = |maker: &Maker| maker.sign_unnamed(maker.algorithms()[0], &claims());
    let ok = Ok("the-platform".to_owned());
    // The token says nothing, the keys have names: the one that fits.
    let all: Vec<Value> = makers().iter().map(Maker::jwk).collect();
    for maker in makers() {
        assert_eq!(prove(&unnamed(maker), &set(&all)), ok, "{}", maker.kid());
    }
    // The key has no name: for a token with and without one.
    let named = rsa.sign(rsa.algorithms()[0], &claims());
    let mut null = rsa.jwk();
    null["kid"] = Value::Null;
    for nameless in [without(rsa.jwk()), null] {
        let nameless = set(&[nameless]);
        assert_eq!(prove(&unnamed(rsa), &nameless), ok);
        assert_eq!(prove(&named, &nameless), ok);
    }
    // A name that a key has goes before a key without one, whoever of them signed.
    let mut stranger = makers()[1].jwk();
    stranger["kid"] = json!(rsa.kid());
    let both = set(&[without(rsa.jwk()), stranger]);
    assert_eq!(prove(&named, &both), Err(AuthError::TokenAlgorithm));
    // Two that fit: which of them is meant would be a guess, although one of them verifies.
    let mut twin = rsa.jwk();
    twin["kid"] = json!("twin");
    for keys in [set(&[rsa.jwk(), twin]), set(&[without(rsa.jwk()), rsa.jwk()])] {
        assert_eq!(prove(&unnamed(rsa), &keys), Err(AuthError::TokenKey));
    }
    // A name that no key has is no name of a key that has another.
    let mut other = rsa.jwk();
    other["kid"] = json!("other");
    assert_eq!(prove(&named, &set(&[other])), Err(AuthError::TokenKey));
}

#[test]
fn a_key_without_kid_serves_no_algorithm_but_its_own() {
    let rsa = &makers()[0];
    for (member, value) in
        [("use", json!("enc")), ("alg", json!("PS256")), ("key_ops", json!(["sign"]))]
    {
        let mut key = rsa.jwk();
        key.as_object_mut().unwrap().remove("kid");
        key[member] = value;
        let keys = set(&[key, makers()[1].jwk()]);
        let token = rsa.sign_unnamed(jsonwebtoken::Algorithm::RS256, &claims());
        assert_eq!(prove(&token, &keys), Err(AuthError::TokenKey), "{member}");
    }
    // Nor does it turn a public key into a shared secret.
    let mut key = rsa.jwk();
    key.as_object_mut().unwrap().remove("kid");
    let keys = set(&[key]);
    for secret in rsa.public_forms() {
        let token = issuing::hmac_unnamed(&secret, &claims());
        assert_eq!(prove(&token, &keys), Err(AuthError::TokenAlgorithm));
    }
    let mut forged = rsa.sign_unnamed(jsonwebtoken::Algorithm::RS256, &claims());
    forged.truncate(forged.len() - 2);
    forged.push_str("AA");
    assert_eq!(prove(&forged, &keys), Err(AuthError::TokenSignature));
}

#[test]
fn a_key_of_another_issuer_in_a_shared_set_is_left_out() {
    let token = makers()[0].sign(makers()[0].algorithms()[0], &claims());
    let ours = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    for (issuer, taken) in [
        ("https://login.microsoftonline.com/{tenantid}/v2.0", true),
        (ours.as_str(), true),
        ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", false),
    ] {
        let mut key = makers()[0].jwk();
        key["issuer"] = json!(issuer);
        let keys = set(&[key, makers()[1].jwk()]).only_of(&ours, TENANT);
        assert_eq!(prove(&token, &keys).is_ok(), taken, "{issuer}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_none_prove_anything(text in "\\PC*", claims in "\\PC{0,40}") {
        drop(Token::parse(&text));
        drop(KeySet::parse(text.as_bytes()));
        let token = format!("{}.{}.{}", base64url(&text), base64url(&claims), base64url(&text));
        let keys = set(&[makers()[0].jwk()]);
        prop_assert!(prove(&token, &keys).is_err());
    }

    /// Whatever single character of a good token is changed, it proves nothing any more: base64url is canonical.
    #[test]
    fn one_character_changed_is_another_token(at in 0usize..2_000, with in 0u8..64) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let maker = &makers()[usize::from(with) % makers().len()];
        let token = maker.sign(maker.algorithms()[0], &claims());
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = ALPHABET[usize::from(with)];
        let changed = String::from_utf8(changed).unwrap();
        prop_assume!(changed != token);
        prop_assert!(prove(&changed, &set(&[maker.jwk()])).is_err());
    }

    #[test]
    fn claims_are_what_another_hand_reads(aud in "[a-z]{1,9}", exp in 0u64..4_000_000_000) {
        let maker = &makers()[0];
        let token = maker.sign(maker.algorithms()[0], &json!({"aud": aud, "exp": exp}));
        let read = Token::parse(&token).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let theirs: Value = serde_json::from_slice(&payload).unwrap();
        let read_aud = read.text("aud");
        prop_assert_eq!(read_aud.as_deref(), theirs["aud"].as_str());
        let theirs = theirs["exp"].as_u64().map(|seconds| Millis(seconds * 1_000));
        prop_assert_eq!(read.time("exp").unwrap(), theirs);
    }

    /// As `jsonwebtoken` judges the same token at the same moment, which takes times to the second.
    #[test]
    fn fractions_of_a_second_are_judged_as_another_hand_judges_them(
        seconds in -30i64..30, thousandths in 0u32..1_000,
    ) {
        let maker = &makers()[0];
        let now = jsonwebtoken::get_current_timestamp();
        // Half a second of distance from where the two may round differently.
        prop_assume!(seconds.abs() > 2);
        let exp = now as f64 + seconds as f64 + f64::from(thousandths) / 1_000.0;
        let mut claims = claims();
        claims["exp"] = json!(exp);
        claims["nbf"] = json!(now - 300);
        claims["iat"] = json!(now - 300);
        let token = maker.sign(maker.algorithms()[0], &claims);
        let ours = Issuer { skew: 0, ..issuer() }
            .check_claims(&Token::parse(&token).unwrap(), Millis(now * 1_000));
        let mut rules = jsonwebtoken::Validation::new(maker.algorithms()[0]);
        rules.leeway = 0;
        rules.validate_aud = false;
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(maker.jwk()).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        let theirs = jsonwebtoken::decode::<Value>(&token, &key, &rules);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs.err());
    }
}
