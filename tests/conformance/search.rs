//! "Which ones?": AuthZEN's searches by the library's own plugin. Pages, several plugins,
//! and that a search never says what an evaluation does not.

use std::fs;

use portcullis_tests::{
    Answer, Binding, Host, Raw, SECRET, TestDeployment, charts, checkout, with_list,
};
use serde_json::{Value, json};

const EVALUATION: &str = "/pdp/access/v1/evaluation";

/// A deployment whose hook `asked` speaks AuthZEN, with these bindings of `access-rules`.
fn deployment(bindings: &[(Value, &str)]) -> TestDeployment {
    let binding = |(settings, mode): &(Value, &str)| {
        Binding::new("asked", "access-rules", settings.clone()).mode(mode).fallback(&[])
    };
    let bindings: Vec<_> = bindings.iter().map(binding).collect();
    let public = "public_url = \"https://pdp.hospital.example/pdp\"";
    TestDeployment::speaking("authzen", "/pdp", public, (&[], &[]), &bindings)
}

fn post(host: &Host, path: &str, body: &Value) -> Answer {
    host.client().send(&Raw::post(path, SECRET, body.to_string().as_bytes())).unwrap()
}

fn search(host: &Host, what: &str, body: &Value) -> Answer {
    post(host, &format!("/pdp/access/v1/search/{what}"), body)
}

/// The ids (or names) of the results.
fn found(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{}", answer.json);
    let results = answer.json["results"].as_array().unwrap().iter();
    results.map(|result| result.get("id").unwrap_or(&result["name"]).as_str().unwrap()).collect()
}

fn may(host: &Host, subject: Value, action: Value, resource: Value) -> bool {
    let answer = post(
        host,
        EVALUATION,
        &json!({"subject": subject, "action": action, "resource": resource}),
    );
    assert_eq!(answer.status, 200);
    answer.json["decision"].as_bool().unwrap()
}

fn user(id: &str) -> Value {
    json!({"type": "user", "id": id})
}

fn record(id: &str) -> Value {
    json!({"type": "record", "id": id})
}

#[test]
fn a_search_in_pages_finds_the_same_and_leaves_a_record_each() {
    let mut settings = charts();
    let records = (0..250).map(|at| json!({"type": "record", "id": format!("r-{at:03}"), "attributes": {"status": if at % 3 == 0 { "archived" } else { "active" }}}));
    settings["resources"].as_array_mut().unwrap().extend(records);
    let deployment = deployment(&[(settings, "enforce")]);
    let host = deployment.serve();
    let body = json!({"subject": user("alice"), "action": {"name": "write"}, "resource": {"type": "record"}});
    let mut expected = vec!["record-1".to_owned()];
    expected.extend((0..250).filter(|at| at % 3 != 0).map(|at| format!("r-{at:03}")));
    expected.sort();
    let mut firsts = Vec::new();
    for limit in [7, 60, 1_000] {
        let (mut all, mut token, mut indexes) = (Vec::new(), String::new(), Vec::new());
        loop {
            let mut body = body.clone();
            body["page"] = json!({"limit": limit, "token": token});
            let answer = search(&host, "resource", &body);
            let page = found(&answer);
            assert!(page.len() <= limit);
            all.extend(page.into_iter().map(str::to_owned));
            indexes.push(answer.index_at("/context/record").unwrap());
            token = answer.json["page"]["next_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(all, expected, "in pages of {limit}");
        firsts.push((limit, indexes[0]));
    }
    // Without a limit there is one, too.
    assert_eq!(found(&search(&host, "resource", &body)).len(), 100);
    host.stop();
    for (limit, index) in firsts {
        let leaf = deployment.record(index);
        assert_eq!(
            (&leaf["search"]["for"], &leaf["generation"]),
            (&json!("search-resource"), &json!(2))
        );
        assert_eq!(leaf["search"]["returned"], json!(limit.min(expected.len())));
        assert!(leaf["search"]["evaluated"].as_u64() >= leaf["search"]["returned"].as_u64());
        assert!(
            leaf["bindings"][0]["plugin"].as_str().is_some_and(|id| id.ends_with("access-rules")),
            "{leaf}"
        );
        let sealed = deployment.sealed(index);
        assert_eq!(
            sealed["answer"]["results"][0]["id"],
            json!(expected[0]),
            "what was told can be shown"
        );
    }
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn several_plugins_search_together_and_every_one_of_them_decides() {
    // The second knows more people, and lets nobody called bob do anything.
    let further = json!({
        "owner": "o", "otherwise": "abstain", "actions": [{"name": "delete"}],
        "subjects": [{"type": "user", "id": "aaron"}, {"type": "user", "id": "bob"}, {"type": "user", "id": "carol"}],
        "rules": [
            {"id": "NO-BOB", "effect": "deny", "subject": {"ids": ["bob"]}},
            {"id": "CAROL", "effect": "allow", "subject": {"ids": ["carol"]}},
        ],
    });
    let deployment = deployment(&[(charts(), "enforce"), (further.clone(), "enforce")]);
    let host = deployment.serve();
    let mut told = Vec::new();
    let body = json!({"subject": {"type": "user"}, "action": {"name": "read"}, "resource": record("record-1")});
    assert_eq!(found(&search(&host, "subject", &body)), ["alice"]);
    for who in ["aaron", "alice", "bob", "carol"] {
        if may(&host, user(who), json!({"name": "read"}), record("record-1")) {
            told.push(who);
        }
    }
    assert_eq!(told, ["alice"], "the search says what evaluations say");
    host.stop();
    let searched = deployment
        .records_of("hook.decision")
        .into_iter()
        .find(|record| record.get("search").is_some())
        .unwrap();
    assert_eq!(searched["bindings"].as_array().unwrap().len(), 2);
    assert_eq!(searched["search"], json!({"for": "search-subject", "evaluated": 3, "returned": 1}));
}

#[test]
fn a_search_that_runs_out_of_time_tells_what_it_has_and_where_to_go_on() {
    let mut settings = charts();
    let records =
        (0..50).map(|at| json!({"type": "record", "id": format!("r-{at:02}"), "attributes": {"status": "active"}}));
    settings["resources"].as_array_mut().unwrap().extend(records);
    let mut deployment = deployment(&[]);
    deployment.sign_plugin("misbehaving", |source| with_list(&source, "hooks", "\"authzen\""));
    let runaway = Binding::new("asked", "misbehaving", json!({"do": "loop-forever"}))
        .fallback(&[("drop-grant", "deny")]);
    deployment.release(&[Binding::new("asked", "access-rules", settings).fallback(&[]), runaway]);
    let host = deployment.serve();
    let mut body = json!({"subject": user("alice"), "action": {"name": "read"}, "resource": {"type": "record"}});
    let mut token = String::new();
    for _ in 0..2 {
        body["page"] = json!({"token": token});
        let answer = search(&host, "resource", &body);
        assert!(found(&answer).is_empty(), "nobody is permitted by a plugin that does not answer");
        let next = answer.json["page"]["next_token"].as_str().unwrap();
        assert!(!next.is_empty() && next != token, "it was not the end");
        token = next.to_owned();
    }
    host.stop();
    let searched = deployment.records_of("hook.decision");
    let judged: Vec<_> =
        searched.iter().map(|record| record["search"]["evaluated"].as_u64().unwrap()).collect();
    assert!(
        judged.len() == 2 && judged.iter().all(|judged| (1..50).contains(judged)),
        "{judged:?}"
    );
}

#[test]
fn where_nothing_that_binds_can_search_there_is_no_search() {
    let deployment = deployment(&[(charts(), "monitor")]);
    let host = deployment.serve();
    let body = json!({"subject": {"type": "user"}, "action": {"name": "read"}, "resource": record("record-1")});
    assert_eq!(search(&host, "subject", &body).status, 404);
    let metadata = host.client().get("/.well-known/authzen-configuration/pdp").unwrap().json;
    assert!(
        metadata["access_evaluation_endpoint"].is_string()
            && metadata.get("search_subject_endpoint").is_none()
    );
    host.stop();
    assert!(deployment.records_of("hook.decision").is_empty());
}

#[test]
fn who_searches_says_so_in_its_manifest() {
    let deployment = deployment(&[]);
    let sign = |plugin: &str, from: &str, to: &str| {
        let source =
            fs::read_to_string(checkout().join(format!("plugins/{plugin}/manifest.toml"))).unwrap();
        assert!(source.contains(from));
        deployment.write("manifest.toml", source.replacen(from, to, 1));
        fs::copy(
            checkout().join(format!("plugins/{plugin}/settings.schema.json")),
            deployment.path("settings.schema.json"),
        )
        .unwrap();
        let wasm = portcullis_tests::component(plugin);
        let wasm = wasm.to_str().unwrap();
        deployment.run(&[
            "plugin",
            "sign",
            "--source",
            "manifest.toml",
            "--component",
            wasm,
            "--key",
            "keys/publisher.key",
            "--output",
            "out.json",
        ])
    };
    let silent = sign("access-rules", r#"capabilities = ["search"]"#, "capabilities = []");
    assert!(silent.code == 1 && silent.err.contains("exports `search`"), "{silent:?}");
    let boastful = sign("sod", "reads = [", "capabilities = [\"search\"]\nreads = [");
    assert!(boastful.code == 1 && boastful.err.contains("does not export it"), "{boastful:?}");
    assert_eq!(sign("access-rules", "serial = 1", "serial = 2").code, 0);
    // What is signed all the same, by other means, comes no further.
    let mut deployment = deployment;
    deployment.sign_plugin("access-rules", |source| source);
    let manifest = "release/plugins/access-rules.manifest.json";
    let text = deployment
        .opened_text(manifest)
        .replace(r#""capabilities":["search"]"#, r#""capabilities":[]"#);
    deployment.write(manifest, deployment.forge("publisher", portcullis_tests::MANIFEST, &text));
    deployment.release(&[Binding::new("asked", "access-rules", charts()).fallback(&[])]);
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(checked.code != 0 && (checked.out + &checked.err).contains("exports `search`"));
}

#[test]
fn a_page_token_is_good_for_its_own_list_and_outlives_a_restart() {
    let mut settings = charts();
    let records = (0..9).map(
        |at| json!({"type": "record", "id": format!("r-{at}"), "attributes": {"status": "active"}}),
    );
    settings["resources"].as_array_mut().unwrap().extend(records);
    let deployment = deployment(&[(settings, "enforce")]);
    let host = deployment.serve();
    let ask = |host: &Host, name: &str, page: Value| {
        let body = json!({"subject": user("alice"), "action": {"name": name}, "resource": {"type": "record"}, "page": page});
        search(host, "resource", &body)
    };
    let first = ask(&host, "read", json!({"limit": 2}));
    assert_eq!(found(&first).len(), 2, "{}", first.json);
    let token = first.json["page"]["next_token"].clone();
    for (name, page) in [
        ("write", json!({"token": token, "limit": 2})),
        ("read", json!({"token": "YWxpY2U", "limit": 2})),
        ("read", json!({"token": "not one of ours"})),
    ] {
        let refused = ask(&host, name, page);
        assert_eq!(refused.status, 400, "{}", refused.json);
        assert!(refused.json.as_str().unwrap().contains("page.token"), "{}", refused.json);
    }
    // None now, and then from where that page would have begun.
    let none = ask(&host, "read", json!({"limit": 0}));
    assert_eq!(found(&none), Vec::<&str>::new());
    let begun = ask(&host, "read", json!({"limit": 2, "token": none.json["page"]["next_token"]}));
    assert_eq!(found(&begun), found(&first));
    host.stop();
    let host = deployment.serve();
    let second = ask(&host, "read", json!({"limit": 3, "token": token}));
    assert_eq!(found(&second).len(), 3, "another limit is the same list");
    assert!(found(&second).iter().all(|id| !found(&first).contains(id)));
    host.stop();
}

/// Switched off by the operator, `context` is in no list, and `page` only where a page was asked
/// for or the list goes on.
#[test]
fn lists_without_context_and_page_have_their_results_alone() {
    let body = json!({"subject": user("alice"), "action": {"name": "write"}, "resource": {"type": "record"}});
    let off = "answer_context = false\nanswer_page = false\npublic_url = \"https://pdp.hospital.example/pdp\"";
    let rules = Binding::new("asked", "access-rules", charts()).fallback(&[]);
    let without = TestDeployment::speaking("authzen", "/pdp", off, (&[], &[]), &[rules]);
    let host = without.serve();
    let list = search(&host, "resource", &body);
    assert_eq!(found(&list), ["record-1"]);
    assert_eq!(list.json.as_object().unwrap().len(), 1, "{}", list.json);
    let mut paged = body.clone();
    paged["page"] = json!({"limit": 5});
    let list = search(&host, "resource", &paged).json;
    assert_eq!(list["page"]["next_token"], "", "{list}");
    assert_eq!(list.get("context"), None, "{list}");
    host.stop();
    assert_eq!(without.records_of("hook.decision").len(), 2, "each has its record all the same");

    let with = deployment(&[(charts(), "enforce")]);
    let host = with.serve();
    let list = search(&host, "resource", &body).json;
    assert!(list["page"].is_object() && list["context"].is_object(), "{list}");
    host.stop();
}
