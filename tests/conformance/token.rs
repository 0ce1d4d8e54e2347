//! `okta.token`: what Okta gets for a sign-in, and the record that each answer names.

use portcullis_tests::{
    Answer, Binding, CONFLICT, Raw, SignIn, TestDeployment, contract, digest, duties,
    hide_reference, leaf_hash, now, rfc3339,
};
use serde_json::{Value, json};

#[test]
fn what_okta_gets_for_a_sign_in_and_where_it_is_recorded() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("token", "contractor", contract()),
    ]);
    let host = deployment.serve();
    let mut answers = Vec::new();
    let mut ask = |sign_in: SignIn| {
        let answer = host.sign_in(&sign_in);
        assert_eq!(answer.status, 200);
        answers.push(answer.clone());
        answer
    };

    let clean = ask(SignIn::with_groups(&["ward-reader", CONFLICT[0]]));
    assert_eq!(clean.without_reference(), "{}", "nothing to object to, nothing to change");

    let conflict = ask(SignIn::with_groups(&CONFLICT));
    assert!(conflict.stops_a_token());
    let english = "Segregation of duties: medication-order-write, pharmacy-dispense are already held by one \
        person and together allow dispense, prescribe, which rule PRESCRIBE-DISPENSE forbids. Please \
        contact the pharmacy.";
    let english = format!("{english} Help-desk reference: REFERENCE.");
    assert_eq!(hide_reference(conflict.summary()), english);
    for (locale, begins) in [
        ("de", "Funktionstrennung:"),
        ("de_CH", "Funktionstrennung:"),
        ("fr", "Segregation of duties:"),
    ] {
        let answer = ask(SignIn::with_groups(&CONFLICT).profile("locale", locale));
        assert!(
            answer.stops_a_token() && answer.summary().starts_with(begins),
            "{locale}: {}",
            answer.summary()
        );
    }

    let reviewed = ask(SignIn::with_groups(&["erp-vendor-maintain", "erp-payment-run"]));
    assert!(
        reviewed.stops_a_token(),
        "a token cannot wait for a person, and the binding says what then"
    );
    assert!(reviewed.summary().contains("VENDOR-PAY"), "{}", reviewed.summary());

    contract_ends(&mut ask);
    unusual_but_right(&mut ask);

    let log = host.stop();
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
    assert_eq!(deployment.verify().code, 0);
    for answer in &answers {
        named_by_its_answer(&deployment, answer);
    }
    let record = deployment.record(conflict.index().unwrap());
    assert_eq!(record["hook"]["name"], "token");
    assert_eq!(record["hook"]["kind"], "okta.token");
    assert_eq!(record["tenant"], "default");
    assert_eq!(record["generation"], 1);
    assert_eq!(record["decision"], json!({"verdict": "deny"}));
    let plugins: Vec<_> =
        record["bindings"].as_array().unwrap().iter().map(|asked| &asked["plugin"]).collect();
    assert_eq!(
        plugins,
        ["org.portcullis.contractor", "org.portcullis.sod"],
        "who proposes is asked first"
    );
    assert_eq!(record["bindings"][1]["codes"], json!(["SOD_EXISTING"]));
}

/// Long before the end, near it, past it.
fn contract_ends(ask: &mut impl FnMut(SignIn) -> Answer) {
    let contractor = |end: Value| {
        SignIn::with_groups(&["ward-reader"])
            .claim("userType", "contractor")
            .claim("contractEnd", end)
    };

    let end = rfc3339(now() + 90 * DAY);
    let answer = ask(contractor(json!(end)));
    let access = "com.okta.access.patch".to_owned();
    assert_eq!(
        answer.operations(),
        [(access, "add".to_owned(), "/claims/accessEnd".to_owned(), json!(end))]
    );

    let answer = ask(contractor(json!(rfc3339(now() + 1_200))));
    let caps: Vec<_> = answer
        .operations()
        .into_iter()
        .filter(|(_, _, path, _)| path == "/token/lifetime/expiration")
        .collect();
    let tokens: Vec<_> =
        caps.iter().map(|(token, operation, ..)| (token.as_str(), operation.as_str())).collect();
    assert_eq!(
        tokens,
        [("com.okta.identity.patch", "replace"), ("com.okta.access.patch", "replace")]
    );
    for (_, _, _, seconds) in &caps {
        // Both tokens end with the contract, whenever this test got to run.
        assert!((300..=1_200).contains(&seconds.as_u64().unwrap()), "{seconds}");
    }

    let answer = ask(contractor(json!(rfc3339(now() + 299))));
    assert!(answer.stops_a_token(), "less than an answer can say is a denial, not a longer life");
    assert!(answer.summary().contains("cannot sign in again"), "{}", answer.summary());
    let answer = ask(contractor(json!(rfc3339(now() - DAY))));
    assert!(answer.stops_a_token() && answer.summary().contains("ended"), "{}", answer.summary());
    for nothing in [json!(null), json!(""), json!("next spring"), json!(20_270_101)] {
        assert!(
            ask(contractor(nothing.clone())).stops_a_token(),
            "a contract that ends at {nothing}"
        );
    }
}

/// What Okta may send although no example of it shows it.
fn unusual_but_right(ask: &mut impl FnMut(SignIn) -> Answer) {
    let mut sign_in = SignIn::with_groups(&["ward-reader"]);
    for place in ["", "/data", "/data/context", "/data/context/user/profile", "/data/access/claims"]
    {
        sign_in.body.pointer_mut(place).unwrap()["x-of-next-year"] =
            json!({"deep": [1, null, {"er": "…"}]});
    }
    for version in ["eventTypeVersion", "cloudEventVersion"] {
        sign_in.body[version] = json!(1.0);
    }
    sign_in.body["data"]["context"]["session"] = Value::Null;
    sign_in.body["data"]["context"]["user"]["profile"]["locale"] = Value::Null;
    sign_in.body["data"]["identity"] = Value::Null;
    assert_eq!(ask(sign_in).without_reference(), "{}");

    let mut machine = SignIn::with_groups(&[]);
    let context = machine.body["data"]["context"].as_object_mut().unwrap();
    context.remove("user");
    context.remove("session");
    machine.body["data"].as_object_mut().unwrap().remove("identity");
    assert_eq!(ask(machine).without_reference(), "{}", "client credentials: no person, one token");
}

/// The answer's reference is its record, whose hash is the log's.
fn named_by_its_answer(deployment: &TestDeployment, answer: &Answer) {
    let index = answer.index().unwrap();
    let leaf = deployment.leaf(index);
    assert_eq!(leaf_hash(&leaf), answer.leaf().unwrap(), "record {index}: {leaf}");
    assert_eq!(deployment.tile_hash(index), answer.leaf().unwrap());
    let record = deployment.record(index);
    assert_eq!(record["t"], "hook.decision");
    // Salted, since an answer can be short and personal, and its bare hash could be guessed.
    let salt = deployment.sealed(index)["salt"].as_str().unwrap().to_owned();
    let salted = [unhex(&salt), answer.without_reference().into_bytes()].concat();
    assert_eq!(record["response"], digest(&salted), "what left is what was recorded");
    assert_eq!(record["status"], answer.status);
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn only_a_post_to_a_hook_is_a_call() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    for (request, status) in [
        ("POST /okta/other HTTP/1.1", 404),
        ("POST /okta/token/ HTTP/1.1", 404),
        ("POST / HTTP/1.1", 404),
        ("GET /okta/token HTTP/1.1", 405),
        ("PUT /okta/token HTTP/1.1", 405),
    ] {
        let head = format!("{request}\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", host.address());
        let answer = host.client().say(head.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{request}");
    }
    let mut query = Raw::post("/okta/token?from=okta", "wrong", b"{}");
    query.headers.push(("x-forwarded-for".to_owned(), "192.0.2.9".to_owned()));
    assert_eq!(
        host.client().send(&query).unwrap().status,
        401,
        "a query makes it no other hook; nothing enforces on this one"
    );
    host.stop();
    assert_eq!(
        deployment.records_of("hook.rejected").len(),
        1,
        "what was no call is not counted as one"
    );
}

/// Seconds.
const DAY: i64 = 86_400;
