//! PingAuthorize's policy queries: which combinations of attribute values are permitted.
//!
//! Invariant: every combination is a question of its own, with a record of its own; the answer
//! lists a combination only where its decision is `PERMIT`. A query whose combinations cannot all
//! be decided is refused: a list that is shorter by mistake would be a wrong answer. The host has
//! no source of values, so that an attribute must bring its own. Source: PingAuthorize API
//! reference, query decision request, and its examples of policy queries.

use portcullis_model::json::{ArrayWriter, ObjectWriter, Value, build_array, build_object};
use portcullis_model::{Cause, Document};

use super::{MOST_REQUESTS, indeterminate, question};
use crate::answer::{Answer, Slot};
use crate::json_body::{object, spelled, spelling, string};
use crate::{Batch, ParseContext, ParseError, Parsed, ShortCircuit, UnparsedItem};

/// An attribute of a query, with the values that are asked about.
struct QueriedAttribute {
    name: String,
    values: Vec<String>,
}

/// Reads a query: one question for each combination, in the order of the values.
pub(super) fn read(document: &Document, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
    let queried = attributes(document.root())?;
    let query = combinations(&queried);
    let context = object(Some(document.root()), "context");
    let items = query.iter().enumerate().map(|(number, combination)| {
        let body = request(context, combination);
        let question = Document::parse(body.as_bytes())
            .map_err(|error| ParseError { cause: error.cause, detail: "query".into(), event: None })
            .and_then(|document| question(document, frame, Some(number)));
        question.map_err(|malformed| {
            let answer = indeterminate(Some(frame.received), "BAD_REQUEST", "", malformed.code());
            Box::new(UnparsedItem { answer, malformed, question: None })
        })
    });
    let items = items.collect();
    Ok(Parsed::Batch(Batch { id: None, items, until: ShortCircuit::Never, query }))
}

/// The answer to a query, of the answers to its questions.
pub(super) fn answer(answers: &[Vec<u8>], query: &[Vec<(String, String)>]) -> Answer {
    let decisions: Vec<_> =
        answers.iter().filter_map(|answer| Document::parse(answer).ok()).collect();
    let permitted: Vec<_> = query
        .iter()
        .zip(&decisions)
        .filter(|(_, decision)| {
            string(Some(decision.root()), "decision").as_deref() == Some("PERMIT")
        })
        .map(|(combination, decision)| (combination.as_slice(), decision.root()))
        .collect();
    let first = decisions.first().map(Document::root);
    let member = |name| string(first, name);
    let elapsed =
        decisions.iter().filter_map(|decision| decision.root().get("elapsedTime")?.as_u64()).max();
    let results = build_array(|results| write_level(results, &permitted, 0));
    let whole = build_object(|object| {
        for (name, sent) in [
            ("requestId", "id"),
            ("timeStamp", "timestamp"),
            ("deploymentPackageId", "deploymentPackageId"),
        ] {
            if let Some(sent) = member(sent) {
                object.text(name, &sent);
            }
        }
        if let Some(elapsed) = elapsed {
            object.number("elapsedTime", elapsed);
        }
        // The reference speaks of `results` and its examples have `result`: clients exist for both.
        object.json("results", &results).json("result", &results);
    });
    Answer::ok(whole, Slot::Nowhere)
}

/// The attributes of a query: at least one, each once and with values.
fn attributes(root: Value<'_>) -> Result<Vec<QueriedAttribute>, ParseError> {
    let refuse = |detail: &'static str| ParseError {
        cause: Cause::SchemaMismatch,
        detail: detail.into(),
        event: None,
    };
    let items =
        root.get("query").filter(|query| query.is_array()).ok_or_else(|| refuse("query"))?;
    let mut queried: Vec<QueriedAttribute> = Vec::new();
    let mut combinations = 1_usize;
    for item in items.elements() {
        let name = string(Some(item), "attribute").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| refuse("query.attribute"))?;
        if queried.iter().any(|earlier| earlier.name == name) {
            return Err(refuse("query.attribute, of which one is there twice"));
        }
        let values = item.get("values").into_iter().flat_map(Value::elements);
        let values = values.map(spelling).collect::<Option<Vec<_>>>();
        let values = values.ok_or_else(|| refuse("query.values, which must be strings"))?;
        if values.is_empty() {
            return Err(refuse("query.values, since this host has no source of values"));
        }
        combinations = combinations.saturating_mul(values.len());
        if combinations > MOST_REQUESTS {
            return Err(refuse("query.values, of which there may be 256 combinations"));
        }
        if queried.len() == MAX_ATTRIBUTES {
            return Err(refuse("query, of which there may be 32 attributes"));
        }
        queried.push(QueriedAttribute { name, values });
    }
    if queried.is_empty() { Err(refuse("query")) } else { Ok(queried) }
}

/// Every combination, the last attribute's values changing first.
fn combinations(queried: &[QueriedAttribute]) -> Vec<Vec<(String, String)>> {
    queried.iter().fold(vec![Vec::new()], |so_far, QueriedAttribute { name, values }| {
        let longer = |combination: &Vec<(String, String)>| {
            let with = |value: &String| {
                let mut longer = combination.clone();
                longer.push((name.clone(), value.clone()));
                longer
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        so_far.iter().flat_map(longer).collect()
    })
}

/// The request about one combination: the context, with the combination's values among its
/// attributes. An attribute that is called as a member of a request is stands there too, where the
/// context leaves it out.
fn request(context: Option<Value<'_>>, combination: &[(String, String)]) -> String {
    build_object(|request| {
        for name in ["domain", "action", "service", "identityProvider"] {
            let own = spelled(context, name);
            let queried =
                combination.iter().find(|(queried, _)| queried.eq_ignore_ascii_case(name));
            if let Some(said) = own.or_else(|| queried.map(|(_, value)| value.clone())) {
                request.text(name, &said);
            }
        }
        let kept = object(context, "attributes").into_iter().flat_map(Value::members);
        let kept = kept.filter(|(name, _)| combination.iter().all(|(queried, _)| queried != name));
        request.object("attributes", |attributes| {
            for (name, value) in kept {
                attributes.json(&name, value.raw());
            }
            for (name, value) in combination {
                attributes.text(name, value);
            }
        });
    })
}

/// Writes one level of the answer: the values of one attribute, each with what is permitted below
/// it.
fn write_level(
    nodes: &mut ArrayWriter<'_>,
    permitted: &[(&[(String, String)], Value<'_>)],
    depth: usize,
) {
    let mut rest = permitted;
    while let Some((combination, decision)) = rest.first() {
        let Some((name, value)) = combination.get(depth) else { break };
        let same = |(other, _): &&(&[(String, String)], Value<'_>)| {
            other.get(depth).is_some_and(|(_, other)| other == value)
        };
        let run = rest.iter().take_while(same).count();
        let (here, after) = rest.split_at(run);
        nodes.object(|node| {
            node.text("attribute", name).text("value", value);
            if combination.len() == depth + 1 {
                write_leaf(node, *decision);
            } else {
                node.array("results", |nodes| write_level(nodes, here, depth + 1));
            }
        });
        rest = after;
    }
}

/// Writes the end of a branch: the decision, its record and what it says besides.
fn write_leaf(node: &mut ObjectWriter<'_>, decision: Value<'_>) {
    node.text("decision", "PERMIT");
    for name in ["id", "statements"] {
        if let Some(value) = decision.get(name) {
            node.json(name, value.raw());
        }
    }
}

/// Attributes of one query: each may have one value, so the limit of combinations does not bound
/// them.
const MAX_ATTRIBUTES: usize = 32;
