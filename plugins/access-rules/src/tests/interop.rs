//! A larger scenario, against a plain reading of its policy: documents with an owner and a department, people with a department
//! and a role. Owners may do anything, a department sees its own, its managers also edit, and managers see everything.

use super::*;

const PEOPLE: [(&str, &str, &str); 6] = [
    ("amira", "manager", "Pharmacy"),
    ("boris", "employee", "Legal"),
    ("chloe", "contractor", "Legal"),
    ("david", "manager", "Finance"),
    ("elena", "employee", "Finance"),
    ("fatou", "contractor", "Billing"),
];

const DEPARTMENTS: [&str; 5] = ["Legal", "Billing", "Pharmacy", "Finance", "Legal"];

/// Every document: its number, department and owner.
fn documents() -> Vec<(String, &'static str, &'static str)> {
    (0..20).map(|at| (format!("{}", 100 + at), DEPARTMENTS[at * 3 % 5], PEOPLE[at % 6].0)).collect()
}

pub(super) fn settings() -> Value {
    let people = PEOPLE.iter();
    let people = people.map(|(id, role, department)| {
        json!({"type": "user", "id": id, "roles": [role], "attributes": {"department": department}})
    });
    let documents = documents().into_iter().map(|(id, department, owner)| {
        json!({"type": "record", "id": id, "attributes": {"department": department, "owner": owner}})
    });
    let own = json!({"what": "subject.id", "same_as": "resource.attributes.owner"});
    let department = json!({"what": "subject.attributes.department", "same_as": "resource.attributes.department"});
    json!({
        "owner": "Records",
        "subjects": people.collect::<Vec<_>>(),
        "resources": documents.collect::<Vec<_>>(),
        "actions": [{"name": "view"}, {"name": "edit"}, {"name": "delete"}],
        "rules": [
            {"id": "OWN", "effect": "allow", "resource": {"types": ["record"]}, "when": [own]},
            {"id": "DEPARTMENT", "effect": "allow", "action": {"names": ["view"]}, "resource": {"types": ["record"]}, "when": [department]},
            {"id": "MANAGER", "effect": "allow", "subject": {"roles": ["manager"]}, "action": {"names": ["view"]}, "resource": {"types": ["record"]}},
            {"id": "EDITOR", "effect": "allow", "subject": {"roles": ["manager"]}, "action": {"names": ["edit"]}, "resource": {"types": ["record"]}, "when": [department]},
        ],
    })
}

#[test]
fn every_decision_and_every_search_is_that_of_the_policy() {
    let plugin = rules(&settings());
    let may = |who: &(&str, &str, &str), what: &str, document: &(String, &str, &str)| {
        let own = document.2 == who.0;
        let same = document.1 == who.2;
        let manages = who.1 == "manager";
        match what {
            "view" => own || same || manages,
            "edit" => own || same && manages,
            _ => own,
        }
    };
    const ACTIONS: [&str; 3] = ["delete", "edit", "view"];
    let documents = documents();
    for who in &PEOPLE {
        for document in &documents {
            for what in ACTIONS {
                let decision = decide(&plugin, call(who.0, what, &document.0));
                assert_eq!(
                    decision.verdict() == Effect::Allow,
                    may(who, what, document),
                    "{who:?} {what} {document:?}"
                );
            }
            let expected: Vec<_> =
                ACTIONS.into_iter().filter(|what| may(who, what, document)).collect();
            let search = call(who.0, "", &document.0).search(SearchTarget::Action, "").build();
            assert_eq!(testing::find(&plugin, &search, 2), expected);
        }
        for what in ACTIONS {
            let expected = documents
                .iter()
                .filter(|document| may(who, what, document))
                .map(|document| document.0.clone());
            let search = call(who.0, what, "").search(SearchTarget::Resource, "record").build();
            assert_eq!(testing::find(&plugin, &search, 7), expected.collect::<Vec<String>>());
        }
    }
    for document in &documents {
        for what in ACTIONS {
            let expected: Vec<_> =
                PEOPLE.iter().filter(|who| may(who, what, document)).map(|who| who.0).collect();
            let search = call("", what, &document.0).search(SearchTarget::Subject, "user").build();
            assert_eq!(testing::find(&plugin, &search, 3), expected);
        }
    }
}
