//! `okta.telephony`: a message is with whoever delivers it before Okta hears so, and where nobody takes it Okta sends it itself.

use std::fs;
use std::time::Duration;

use portcullis_tests::{
    Answer, Binding, DeliveryService, Log, Said, TestDeployment, audit_show, below, message, traces,
};
use serde_json::{Value, json};

const DELIVERY: &str = r#"
[delivery.gateway]
url = "{url}"
headers = { authorization = { secret_file = "secrets/gateway" }, idempotency-key = "{key}" }
json = '''{"to": "{to}", "text": "{text}", "code": "{code}", "by": "{channel}", "locale": "{locale}"}'''
timeout_ms = 700
expect = { pointer = "/state", equals = "taken" }
"#;
/// What the gateway demands.
const TOKEN: &str = "Bearer gateway-token-of-many-characters";
/// A code that is found again wherever it is.
const CODE: &str = "90817263544536271809";

/// Answers by the number that a message is for.
fn gateway() -> DeliveryService {
    DeliveryService::start(|said: &Said| {
        let body: Value = serde_json::from_str(&said.body).unwrap_or_default();
        let taken = json!({"state": "taken"}).to_string();
        if said.header("authorization") != Some(TOKEN)
            && said.header("authorization") != Some("Bearer another-token-of-many-characters")
        {
            return Some((401, String::new()));
        }
        match body["to"].as_str().unwrap_or_default() {
            "+10" => Some((500, taken)),
            "+11" => Some((202, json!({"state": "refused"}).to_string())),
            "+12" => None,
            "+13" => {
                std::thread::sleep(Duration::from_secs(2));
                Some((200, taken))
            }
            "+14" => Some((302, taken)),
            _ => Some((202, taken)),
        }
    })
}

fn deployment(url: &str, further: &str) -> TestDeployment {
    let deployment =
        TestDeployment::build(&[Binding::new("telephony", "misbehaving", json!({"do": "allow"}))]);
    deployment.write_secret("secrets/gateway", &format!("{TOKEN}\n"));
    deployment.add_hook("telephony", "okta.telephony", further);
    let text = deployment.read("portcullis.toml");
    deployment.write("portcullis.toml", format!("{text}\n{}", DELIVERY.replace("{url}", url)));
    deployment
}

#[test]
fn a_message_is_taken_before_okta_hears_so() {
    let gateway = gateway();
    let deployment = deployment(&gateway.url("/send"), "delivery = \"gateway\"");
    let host = deployment.serve();
    let ask = |body: &Value| {
        let answer = host.post("telephony", body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        answer
    };

    let body = message("+43 664 1", CODE);
    let taken = ask(&body);
    let id = body["eventId"].as_str().unwrap();
    let value = json!([{"status": "SUCCESSFUL", "provider": "portcullis", "transactionId": id, "transactionMetadata": "channel=sms"}]);
    assert_eq!(
        taken.json["commands"],
        json!([{"type": "com.okta.telephony.action", "value": value}])
    );
    let heard = gateway.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].head.starts_with("POST /send HTTP/1.1\r\n"), "{}", heard[0].head);
    assert_eq!(
        (heard[0].header("authorization"), heard[0].header("idempotency-key")),
        (Some(TOKEN), Some(id))
    );
    let expected = json!({"to": "+43 664 1", "text": format!("Your \"ward\" code is {CODE}"), "code": CODE, "by": "sms", "locale": "EN-US"});
    assert_eq!(serde_json::from_str::<Value>(&heard[0].body).unwrap(), expected);
    assert_eq!(ask(&body).body, taken.body, "a call that comes again");
    assert_eq!(gateway.heard().len(), 1, "and no second message");

    // Numbers where Okta's own example has them, and a call.
    let mut spoken = message("1", "1");
    spoken["data"]["messageProfile"] =
        json!({"phoneNumber": 436_642, "otpCode": 4711, "deliveryChannel": "voice call"});
    assert!(sent(&ask(&spoken)));
    let last: Value = serde_json::from_str(&gateway.heard().last().unwrap().body).unwrap();
    assert_eq!(
        last,
        json!({"to": "436642", "text": "", "code": "4711", "by": "voice", "locale": ""})
    );

    let mut undelivered = Vec::new();
    for number in ["+10", "+11", "+12", "+13", "+14"] {
        let before = gateway.heard().len();
        let answer = ask(&message(number, CODE));
        assert!(
            !sent(&answer) && answer.json["error"].is_object(),
            "{number}: Okta's own provider sends it: {answer:?}"
        );
        assert_eq!(gateway.heard().len(), before + 1, "{number}: tried once");
        undelivered.push(answer);
    }
    // The secret changes while the host serves; what it was is of no use any more.
    deployment.write_secret("secrets/gateway", "Bearer another-token-of-many-characters");
    let begin = std::time::Instant::now();
    while gateway.heard().last().unwrap().header("authorization") == Some(TOKEN) {
        assert!(sent(&ask(&message("+15", CODE))));
        assert!(begin.elapsed() < Duration::from_secs(20), "the new secret was never read");
    }

    let log = host.stop();
    for answer in &undelivered {
        let index = answer.index().unwrap();
        let record = deployment.record(index);
        assert_eq!(
            (&record["decision"]["verdict"], &record["delivery"]),
            (&json!("allow"), &json!("gateway"))
        );
        let void = deployment
            .records_of("answer.superseded")
            .into_iter()
            .find(|void| void["decision"] == index)
            .unwrap();
        assert_eq!(void["cause"], "message-undelivered");
        assert_eq!(
            void["response"],
            portcullis_tests::digest(answer.without_reference().as_bytes())
        );
    }
    assert_eq!(deployment.records_of("answer.superseded").len(), undelivered.len());
    assert!(log.has("delivery.failed"), "{log}");
    nowhere(&deployment, &log, &[taken]);
    assert_eq!(deployment.verify().code, 0);
}

/// Neither the code nor the gateway's secret in anything that is left; the number is sealed, and nowhere else.
fn nowhere(deployment: &TestDeployment, log: &Log, answers: &[Answer]) {
    let mut places: Vec<(String, Vec<u8>)> = vec![("the log".to_owned(), log.as_bytes().to_vec())];
    places.extend(answers.iter().map(|answer| ("an answer".to_owned(), answer.body.clone())));
    places.extend(
        below(&deployment.path("audit"))
            .iter()
            .map(|file| (file.display().to_string(), fs::read(file).unwrap())),
    );
    let show = audit_show(&["--format", "json", "--sealing-key", "keys/sealing.key"]);
    let sealed = deployment.must(&show);
    assert!(traces(sealed.as_bytes(), "+43 664 1") > 0, "the search finds what is there");
    for (place, bytes) in &places {
        assert_eq!(traces(bytes, "+43 664 1"), 0, "{place} has the number");
    }
    places.push(("the sealed parts".to_owned(), sealed.into()));
    for (place, bytes) in &places {
        for secret in [CODE, "\"ward\" code is", TOKEN, "another-token-of-many"] {
            assert_eq!(traces(bytes, secret), 0, "{place} has `{secret}`");
        }
    }
}

#[test]
fn what_nobody_may_or_can_deliver_is_left_to_okta() {
    let gateway = gateway();
    // By voice only.
    let deployment = deployment(&gateway.url("/send"), "delivery = { voice = \"gateway\" }");
    let host = deployment.serve();
    let text = host.post("telephony", message("+43 1", CODE).to_string().as_bytes());
    assert!(
        !sent(&text) && text.json["error"].is_object() && gateway.heard().is_empty(),
        "{text:?}"
    );
    host.stop();
    let record = deployment.record(text.index().unwrap());
    assert_eq!(
        (&record["decision"]["verdict"], &record["delivery"]),
        (&json!("allow"), &Value::Null)
    );
    assert!(
        deployment.records_of("answer.superseded").is_empty(),
        "nothing was promised, so nothing is taken back"
    );
    let checked = deployment.must(&["check", "--config", "portcullis.toml"]);
    assert!(!checked.contains("no delivery service"), "{checked}");

    let denying =
        TestDeployment::build(&[Binding::new("telephony", "misbehaving", json!({"do": "deny"}))]);
    denying.add_hook("telephony", "okta.telephony", "");
    let checked = denying.must(&["check", "--config", "portcullis.toml"]);
    assert!(checked.contains("no delivery service"), "{checked}");
    let host = denying.serve();
    let denied = host.post("telephony", message("+43 1", CODE).to_string().as_bytes());
    assert!(
        denied.json["error"]["errorSummary"].as_str().unwrap().contains("Denied: as told"),
        "{denied:?}"
    );
    for bad in
        [&b"{"[..], b"", br#"{"eventId":"e","eventType":"com.okta.telephony.provider","data":{}}"#]
    {
        assert!(host.post("telephony", bad).json["error"].is_object());
    }
}

#[test]
fn a_delivery_that_cannot_be_is_refused_before_anything_is_bound() {
    let deployment = deployment("http://127.0.0.1:9/send", "delivery = \"gateway\"");
    let wrong = |from: &str, to: &str, says: &str| {
        let text = deployment.read("portcullis.toml");
        assert!(text.contains(from), "{from}");
        deployment.write("portcullis.toml", text.replace(from, to));
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert!(
            ran.code == 64 && ran.err.contains(says) && !ran.err.contains("gateway-token"),
            "{from}: {ran:?}"
        );
        deployment.write("portcullis.toml", text);
    };
    wrong(
        "delivery = \"gateway\"",
        "delivery = \"pigeon\"",
        "the configuration has no [delivery.pigeon]",
    );
    wrong(
        "delivery = \"gateway\"",
        "delivery = { pigeon = \"gateway\" }",
        "`pigeon` is not a channel",
    );
    wrong("delivery = \"gateway\"", "", "delivery `gateway` is used by no hook");
    wrong("timeout_ms = 700", "timeout_ms = 2200", "together use up budget_ms");
    wrong("{ secret_file = \"secrets/gateway\" }", "\"Bearer gateway-token\"", "must be in a file");
    wrong("secrets/gateway", "secrets/nowhere", "delivery secret");
}

fn sent(answer: &Answer) -> bool {
    answer.status == 200 && answer.json["commands"][0]["value"][0]["status"] == "SUCCESSFUL"
}
