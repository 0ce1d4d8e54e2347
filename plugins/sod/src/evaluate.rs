//! One call: the entitlements that the subject would hold, the rules that these break, and the
//! findings about it.
//!
//! Invariant: the answer depends on the sets of things held, requested and proposed, never on their
//! order; and a call that would need more look-ups than it may make is denied, not judged in part.

use std::collections::BTreeSet;

use portcullis_guest::reference::lookup_subject;
use portcullis_guest::{Call, Change, Decision, Grant, GrantKind, strings};
use portcullis_sod_rules::{
    Compiled, Conflict, Holding, Kind, Name, Of, Situation, compile_pairs, conflicts, expand,
    strictest_first,
};

use crate::findings::{self, Invalid};
use crate::look_ups::{Tables, exception};

/// Judges one call.
pub(crate) fn judge(compiled: &Compiled, call: &Call) -> Decision {
    let mut holdings: Vec<Holding<'_>> = holdings(call).collect();
    let names = &compiled.tables;
    let mut tables = Tables::of(names);
    let wanted = (names.roles.is_some(), names.matrix.is_some());
    let rows = match expand(&mut holdings, &mut tables, wanted, MAX_LOOK_UPS) {
        Ok(rows) => rows,
        Err(refused) => return Decision::default().finding(findings::too_many(refused)),
    };
    let attribute = |of: Of, name: &str| attribute(call, of, name);
    let situation = Situation {
        holdings,
        subject: call.subject.as_ref().and_then(|subject| subject.id.as_deref()),
        now: call.received,
        attribute: &attribute,
    };
    let pairs = (!rows.is_empty()).then(|| compile_pairs(&rows, compiled.existing));
    let mut found = conflicts(compiled, &situation);
    found.extend(pairs.iter().flat_map(|pairs| conflicts(pairs, &situation)));
    let invalid = match &names.exceptions {
        Some(table) if found.iter().any(Conflict::is_open) => {
            except(&mut found, table, call, &mut tables)
        }
        _ => BTreeSet::new(),
    };
    strictest_first(&mut found);
    let (told, untold) = found.split_at(found.len().min(MAX_FINDINGS));
    let mut findings: Vec<_> =
        told.iter().map(|conflict| findings::conflict(conflict, &situation)).collect();
    findings.extend(findings::more(untold));
    findings.extend(told.iter().filter_map(|conflict| findings::ending(conflict, call.received)));
    findings.extend(invalid.iter().take(MAX_FINDINGS).map(findings::invalid));
    findings.extend(tables.stale().map(findings::stale));
    Decision { findings, ..Decision::default() }
}

/// Applies the subject's rows of the table of exceptions; returns those that do not hold.
fn except(
    found: &mut [Conflict<'_>],
    table: &str,
    call: &Call,
    tables: &mut Tables<'_>,
) -> BTreeSet<Invalid> {
    let rows = lookup_subject(table);
    if rows.stale {
        tables.note_stale(table);
    }
    let rows: Vec<_> = rows.rows.iter().map(exception).collect();
    let subject = call.subject.as_ref();
    let id = subject.and_then(|subject| subject.id.clone());
    let texts = ["login", "email"].into_iter().filter_map(|name| subject?.text(name));
    let people: Vec<String> = id.into_iter().chain(texts.map(|text| text.into_owned())).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let faults = found.iter_mut().flat_map(|conflict| {
        let rule = conflict.facts.id.clone();
        let faults = conflict.except(&rows, call.received, &people);
        faults.into_iter().map(move |(fault, row)| Invalid { rule: rule.clone(), fault, row })
    });
    faults.collect()
}

/// Everything the subject would hold after this call, in any order and perhaps twice.
fn holdings(call: &Call) -> impl Iterator<Item = Holding<'_>> {
    let dropped = || {
        call.proposed.iter().filter_map(|change| match change {
            Change::DropGrant(grant) => Some(named(grant)),
            _ => None,
        })
    };
    let added = call.proposed.iter().filter_map(|change| match change {
        Change::AddGrant(grant) => Some(named(grant)),
        _ => None,
    });
    let current =
        call.subject.iter().flat_map(|subject| &subject.entitlements).map(|held| Name::parse(held));
    current
        .map(|name| (name, true))
        .chain(call.requested.iter().map(named).chain(added).map(|name| (name, false)))
        .filter(move |(name, _)| !dropped().any(|dropped| dropped.matches(name)))
        .map(|(name, held)| Holding { name, held, contains: Vec::new() })
}

fn named(grant: &Grant) -> Name<'_> {
    let kind = match grant.kind {
        GrantKind::Entitlement => Kind::Entitlement,
        GrantKind::Group => Kind::Group,
        GrantKind::Role => Kind::Role,
        GrantKind::Scope => Kind::Scope,
        GrantKind::App => Kind::App,
        GrantKind::Claim => Kind::Claim,
    };
    Name { kind: Some(kind), id: &grant.id }
}

fn attribute(call: &Call, of: Of, name: &str) -> Option<Vec<String>> {
    let value = match of {
        Of::Subject => call.subject.as_ref().and_then(|subject| subject.attribute(name)),
        Of::Resource => call.resource.as_ref().and_then(|resource| resource.attribute(name)),
    };
    Some(value.and_then(strings)?.into_iter().map(|text| text.into_owned()).collect())
}

/// How many conflicts are told one by one: 20 stay well within the output limit of the manifest.
pub(crate) const MAX_FINDINGS: usize = 20;

/// Look-ups of one call in the tables of roles and of the matrix: 200. The host ends a call at 256.
/// Beyond this bound the call is denied with `SOD_TOO_MANY`.
pub(crate) const MAX_LOOK_UPS: usize = 200;
