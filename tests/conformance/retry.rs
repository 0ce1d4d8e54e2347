//! A platform that asks again hears the same; one that uses an event id for something else is refused.

use std::thread;

use portcullis_tests::{Binding, SignIn, TestDeployment, duties, event};

#[test]
fn the_same_event_hears_the_same_and_is_recorded_as_what_it_is() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()).mode("monitor"),
    ]);
    let host = deployment.serve();

    let body = SignIn::with_groups(&["ward-reader"]).bytes();
    let first = host.post("token", &body);
    let again = host.post("token", &body);
    assert_eq!(again.body, first.body, "to the byte, the reference included");

    let other =
        SignIn::with_groups(&["ward-reader", "night-shift"]).event(first_event(&body).as_str());
    let reused = host.sign_in(&other);
    assert!(reused.stops_a_token(), "the same event with another body");
    assert_eq!(host.post("token", &body).body, first.body, "that changes nothing for the first");
    // White space makes other bytes, and bytes are what a retry repeats.
    let mut spaced = body.clone();
    spaced.push(b'\n');
    assert!(host.post("token", &spaced).stops_a_token());
    assert_eq!(
        host.post("import", &body).without_reference(),
        "{}",
        "an event of one hook is none of another's"
    );

    let pair = SignIn::with_groups(&["ward-reader"]).bytes();
    let answers: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| host.post("token", &pair))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(
            answer.body, answers[0].body,
            "whoever comes while the first is decided waits for it"
        );
    }

    host.stop();
    let duplicates = deployment.records_of("hook.duplicate");
    let of = |index: Option<u64>| {
        duplicates.iter().filter(|record| record["duplicate_of"].as_u64() == index).count()
    };
    assert_eq!(of(first.index()), 2);
    assert_eq!(of(answers[0].index()), 7);
    assert_eq!(duplicates.len(), 9);
    let decisions: Vec<_> = deployment
        .records_of("hook.decision")
        .into_iter()
        .filter(|record| record["hook"]["name"] == "token")
        .collect();
    assert_eq!(decisions.len(), 4, "two decided, two refused");
    let record = deployment.record(reused.index().unwrap());
    assert_eq!(record["decision"]["cause"], "event-id-reused");
    assert_eq!(record["decision"]["safe"], "closed");
    assert_eq!(record["bindings"], serde_json::json!([]), "no plugin was asked");
}

#[test]
fn what_is_remembered_ends_with_its_release() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let body = SignIn::with_groups(&portcullis_tests::CONFLICT).event(&event()).bytes();
    assert!(host.post("token", &body).stops_a_token());
    let mut lenient = duties();
    lenient["rules"][0]["action"] = "allow".into();
    deployment.release(&[Binding::new("token", "sod", lenient)]);
    host.signal("HUP");
    deployment.until_record("release.active", |record| record["generation"] == 2);
    assert_eq!(
        host.post("token", &body).without_reference(),
        "{}",
        "the rules changed, so nothing old is said again"
    );
    host.stop();
    assert_eq!(deployment.records_of("hook.duplicate").len(), 0);
}

fn first_event(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["eventId"].as_str().unwrap().to_owned()
}
