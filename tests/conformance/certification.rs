//! The AuthZEN certification scenario (openid/authzen, `certification/authorization-api-1_0-scenario.md`), whole: Basic, Batch, Search,
//! Discovery, each Core and Properties, and the transport's rules. Ids are compared, not counted.

use std::collections::BTreeSet;

use portcullis_tests::{Answer, Binding, Host, Raw, SECRET, TestDeployment, charts};
use serde_json::{Value, json};

/// The fixture, as the library's plugin has it for an example.
fn deployment() -> TestDeployment {
    let binding = Binding::new("asked", "access-rules", charts()).fallback(&[]);
    TestDeployment::speaking(
        "authzen",
        "/",
        "public_url = \"https://pdp.example.com\"",
        (&[], &[]),
        &[binding],
    )
}

fn post(host: &Host, path: &str, body: &Value) -> Answer {
    host.client().send(&Raw::post(path, SECRET, body.to_string().as_bytes())).unwrap()
}

fn user(id: &str) -> Value {
    json!({"type": "user", "id": id})
}

fn admin() -> Value {
    json!({"type": "user", "id": "bob", "properties": {"role": "admin"}})
}

fn record(id: &str) -> Value {
    json!({"type": "record", "id": id})
}

fn record_in(id: &str, status: &str) -> Value {
    json!({"type": "record", "id": id, "properties": {"status": status}})
}

fn action(name: &str) -> Value {
    json!({"name": name})
}

fn question(subject: Value, action: Value, resource: Value) -> Value {
    json!({"subject": subject, "action": action, "resource": resource})
}

#[test]
fn basic() {
    let deployment = deployment();
    let host = deployment.serve();
    let soft = |soft: bool| json!({"name": "delete", "properties": {"soft": soft}});
    let mut in_context = question(user("alice"), action("read"), record("record-1"));
    in_context["context"] = json!({"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"});
    let mut with_unknown = question(user("alice"), action("read"), record("record-1"));
    with_unknown["foo"] = json!("bar");
    with_unknown["futureField"] = json!({"nested": true});
    let with_more = question(
        json!({"type": "user", "id": "alice", "properties": {"department": "Sales", "role": "manager"}}),
        json!({"name": "read", "properties": {"method": "GET"}}),
        json!({"type": "record", "id": "record-1", "properties": {"status": "active", "owner": "bob"}}),
    );
    for (body, decision) in [
        (question(user("alice"), action("read"), record("record-1")), true),
        (question(user("alice"), action("write"), record("record-1")), true),
        (question(user("bob"), action("read"), record("record-1")), true),
        (question(user("bob"), action("write"), record("record-1")), false),
        (in_context, true),
        (question(user("alice"), action("write"), record_in("record-2", "archived")), false),
        (question(admin(), action("write"), record_in("record-2", "archived")), true),
        (question(user("alice"), soft(true), record("record-1")), true),
        (question(user("alice"), soft(false), record("record-1")), false),
        (with_more, true),
        (with_unknown, true),
    ] {
        for _ in 0..3 {
            let answer = post(&host, "/access/v1/evaluation", &body);
            assert_eq!(
                (answer.status, &answer.json["decision"]),
                (200, &json!(decision)),
                "{body}"
            );
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.json.get("context").is_none_or(Value::is_object));
        }
    }
    let good = question(user("alice"), action("read"), record("record-1"));
    for pointer in [
        "/subject",
        "/action",
        "/resource",
        "/subject/type",
        "/subject/id",
        "/action/name",
        "/resource/type",
        "/resource/id",
    ] {
        let mut body = good.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        assert_eq!(post(&host, "/access/v1/evaluation", &body).status, 400, "{pointer} is missing");
    }
    for (pointer, value) in [("/subject", json!("alice")), ("/action/name", json!(123))] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        assert_eq!(
            post(&host, "/access/v1/evaluation", &body).status,
            400,
            "{pointer} is of the wrong type"
        );
    }
    let raw = Raw::post("/access/v1/evaluation", SECRET, good.to_string().as_bytes());
    assert_eq!(
        host.client().send(&raw.clone().header("content-type", "text/plain")).unwrap().status,
        400
    );
    for body in ["", "{\"subject\":"] {
        assert_eq!(
            host.client().send(&Raw { body: body.into(), ..raw.clone() }).unwrap().status,
            400
        );
    }
    let named = host
        .client()
        .send(&raw.header("x-request-id", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"))
        .unwrap();
    assert_eq!(named.header("x-request-id"), Some("bfe9eb29-ab87-4ca3-be83-a1d5d8305716"));
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn batch() {
    let deployment = deployment();
    let host = deployment.serve();
    let decisions = |body: &Value| -> Vec<bool> {
        let answer = post(&host, "/access/v1/evaluations", body);
        assert_eq!(
            (answer.status, answer.json.get("decision")),
            (200, None),
            "{body}: {}",
            answer.json
        );
        answer.json["evaluations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["decision"].as_bool().unwrap())
            .collect()
    };
    let (alice, bob) = (user("alice"), user("bob"));
    let both = json!({"subject": alice, "action": action("read"), "evaluations": [{"resource": record("record-1")}, {"resource": record("record-2")}]});
    assert_eq!(decisions(&both).len(), 2);
    let bobs = json!({"subject": bob, "resource": record("record-1"), "evaluations": [{"action": action("read")}, {"action": action("write")}]});
    assert_eq!(decisions(&bobs), [true, false]);
    let by_status = json!({"subject": alice, "action": action("write"), "evaluations": [
        {"resource": record_in("record-1", "active")}, {"resource": record_in("record-2", "archived")},
    ]});
    assert_eq!(decisions(&by_status), [true, false]);
    let by_role = json!({"action": action("write"), "resource": record_in("record-2", "archived"), "evaluations": [{"subject": alice}, {"subject": admin()}]});
    assert_eq!(decisions(&by_role), [false, true]);
    let whole = json!({"evaluations": [
        question(user("alice"), action("read"), record("record-1")), question(user("bob"), action("write"), record("record-1")),
    ]});
    assert_eq!(decisions(&whole), [true, false]);
    let mut in_context = both.clone();
    in_context["context"] = json!({"time": "2025-06-27T18:03-07:00"});
    in_context["evaluations"][1]["context"] =
        json!({"time": "2025-06-27T19:00-07:00", "source": "batch-override"});
    assert_eq!(decisions(&in_context).len(), 2);
    // A part of an item replaces the default whole: nothing of it is put into the item's part.
    let partial = json!({"subject": alice, "action": action("write"), "resource": {"type": "record"}, "evaluations": [
        {"resource": {"id": "record-1", "properties": {"status": "active"}}}, {"resource": record_in("record-1", "active")},
    ]});
    assert_eq!(decisions(&partial), [false, true]);
    let one_is_none = json!({"subject": alice, "action": action("read"), "evaluations": [{"resource": record("record-1")}, {}]});
    assert_eq!(decisions(&one_is_none), [true, false]);
    for evaluations in [json!(null), json!([])] {
        let mut single = question(user("alice"), action("read"), record("record-1"));
        if evaluations.is_array() {
            single["evaluations"] = evaluations;
        }
        let answer = post(&host, "/access/v1/evaluations", &single);
        assert_eq!(
            (answer.status, &answer.json["decision"], answer.json.get("evaluations")),
            (200, &json!(true), None)
        );
    }
    host.stop();
}

#[test]
fn search() {
    let deployment = deployment();
    let host = deployment.serve();
    let ids = |kind: &str, body: &Value| -> BTreeSet<String> {
        let answer = post(&host, &format!("/access/v1/search/{kind}"), body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.json);
        assert!(
            answer.json.get("page").is_none_or(|page| page["next_token"] == ""),
            "{}",
            answer.json
        );
        let results = answer.json["results"].as_array().unwrap();
        if kind == "action" {
            return results
                .iter()
                .map(|result| result["name"].as_str().unwrap().to_owned())
                .collect();
        }
        assert!(results.iter().all(|result| result["type"] == body[kind]["type"]), "{results:?}");
        results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect()
    };
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    let (users, records) = (json!({"type": "user"}), json!({"type": "record"}));
    let readers = question(users.clone(), action("read"), record("record-1"));
    assert_eq!(ids("subject", &readers), set(&["alice", "bob"]));
    let mut in_context = readers.clone();
    in_context["context"] = json!({"time": "2025-06-27T18:03-07:00"});
    assert_eq!(ids("subject", &in_context), set(&["alice", "bob"]));
    in_context["subject"]["id"] = json!("alice");
    assert_eq!(
        ids("subject", &in_context),
        set(&["alice", "bob"]),
        "an id that is sought is ignored"
    );
    assert_eq!(
        ids(
            "subject",
            &question(users.clone(), action("write"), record_in("record-2", "archived"))
        ),
        set(&["bob"])
    );
    assert_eq!(
        ids("resource", &question(user("alice"), action("read"), records.clone())),
        set(&["record-1", "record-2"])
    );
    assert_eq!(ids("resource", &question(admin(), action("write"), records)), set(&["record-2"]));
    let may = json!({"subject": user("alice"), "resource": record("record-1")});
    assert_eq!(ids("action", &may), set(&["read", "write"]));
    let admin_may = json!({"subject": admin(), "resource": record_in("record-2", "archived")});
    assert_eq!(ids("action", &admin_may), set(&["read", "write"]));
    assert_eq!(
        ids(
            "action",
            &json!({"subject": user("nonexistent-user"), "resource": record("record-1")})
        ),
        set(&[])
    );
    assert_eq!(
        ids("subject", &question(json!({"type": "spaceship"}), action("read"), record("record-1"))),
        set(&[])
    );

    // What is found is what would be permitted: each, and all of it page by page.
    for subject in ["alice", "bob"] {
        assert_eq!(
            post(
                &host,
                "/access/v1/evaluation",
                &question(user(subject), action("read"), record("record-1"))
            )
            .json["decision"],
            true
        );
    }
    let mut page = readers;
    let (mut found, mut pages) = (Vec::new(), 0);
    page["page"] = json!({"limit": 1});
    loop {
        let answer = post(&host, "/access/v1/search/subject", &page);
        assert_eq!(answer.status, 200);
        let results = answer.json["results"].as_array().unwrap();
        assert!(results.len() <= 1);
        found.extend(results.iter().map(|result| result["id"].as_str().unwrap().to_owned()));
        let next = answer.json["page"]["next_token"].as_str().unwrap().to_owned();
        pages += 1;
        assert!(pages < 10, "a search that never ends");
        if next.is_empty() {
            break;
        }
        page["page"] = json!({"limit": 1, "token": next});
    }
    assert_eq!(found, ["alice", "bob"]);

    for (kind, body) in [
        ("subject", json!({"subject": users, "resource": record("record-1")})),
        ("resource", json!({"action": action("read"), "resource": {"type": "record"}})),
        ("action", json!({"subject": user("alice")})),
        ("subject", question(json!({"type": "user"}), action("read"), json!({"type": "record"}))),
        ("resource", question(json!({"type": "user"}), action("read"), json!({"type": "record"}))),
    ] {
        assert_eq!(
            post(&host, &format!("/access/v1/search/{kind}"), &body).status,
            400,
            "{kind} {body}"
        );
    }
    page["page"] = json!({"token": "?"});
    assert_eq!(post(&host, "/access/v1/search/subject", &page).status, 400, "no token of ours");
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn discovery() {
    let deployment = deployment();
    let host = deployment.serve();
    let answer = host.client().get("/.well-known/authzen-configuration").unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json["policy_decision_point"], "https://pdp.example.com");
    for (member, path) in [
        ("access_evaluation_endpoint", "evaluation"),
        ("access_evaluations_endpoint", "evaluations"),
        ("search_subject_endpoint", "search/subject"),
        ("search_resource_endpoint", "search/resource"),
        ("search_action_endpoint", "search/action"),
    ] {
        assert_eq!(answer.json[member], format!("https://pdp.example.com/access/v1/{path}"));
    }
    host.stop();
}
