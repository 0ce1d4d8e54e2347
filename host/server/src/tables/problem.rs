//! Why the file of a reference table, or its declaration, cannot be used.
//!
//! Invariant: a text names the place and the rule, never the content of a cell.

use std::collections::BTreeMap;

use portcullis_model::Digest;
use portcullis_store::tables::{Declaration, KeyKind, TableProblems};
use portcullis_trust::{Manifest, ReleaseSet, TableEntry};
use thiserror::Error;

use super::download::SourceProblem;
use crate::config::tables::{TableAccess, origin};
use crate::net::outbound::parse_url;

/// The file of a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TableProblem {
    /// It is not there, or no regular file of the size that the declaration allows.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// Its rows do not keep to the declaration.
    #[error("{0}")]
    Rows(TableProblems),
    /// It is another version than the one that the release set names.
    #[error("the file is the version {version}, but the release set allows another one only")]
    NotPinned {
        /// The version of the file.
        version: Digest,
    },
    /// It has no signature that counts.
    #[error("the signature of the version cannot be accepted: {why}")]
    Signature {
        /// The reason, with the refusal's code.
        why: String,
        /// Whether the same files may be accepted later, such as with another trust root.
        is_transient: bool,
    },
    /// It was signed before a version that was used.
    #[error("{0}")]
    Older(String),
    /// It would change too many rows.
    #[error(
        "the version {version} waits for a confirmation, because it would change too many rows"
    )]
    Held {
        /// The version of the file.
        version: Digest,
    },
    /// Its source could not be asked, or gave nothing usable.
    #[error("{0}")]
    Source(SourceProblem),
    /// Its record is not durable.
    #[error("the record of the version is not durable: {0}")]
    NotRecorded(String),
}

/// The declarations of a set.
///
/// # Errors
/// Every problem of every declaration, a sentence each.
pub fn declarations(release: &ReleaseSet) -> Result<Vec<Declaration>, Vec<String>> {
    let (mut declarations, mut problems) = (Vec::new(), Vec::new());
    for (name, entry) in &release.tables {
        match declaration(entry) {
            Ok(declaration) => declarations.push(declaration),
            Err(why) => {
                problems.extend(why.into_iter().map(|why| format!("the table `{name}`: {why}")));
            }
        }
    }
    problems.extend(declarations.iter().flat_map(|table| crosswalks(table, &declarations)));
    if problems.is_empty() { Ok(declarations) } else { Err(problems) }
}

/// The reason why a plugin cannot read what its manifest names of these tables. Tables and columns
/// that are optional there may be lacking.
pub fn unread(manifest: &Manifest, tables: &[Declaration]) -> Option<String> {
    let mut missing = manifest.reads.tables().filter_map(|(name, columns)| {
        let Some(table) = tables.iter().find(|table| table.name == name) else {
            return (!manifest.reads.is_optional_table(name)).then(|| {
                format!("the plugin reads the table `{name}`, which the set does not declare")
            });
        };
        let declared = |column: &String| {
            table.columns.iter().any(|known| known.name == *column)
                || manifest.reads.is_optional_column(name, column)
        };
        let unknown = columns.names().iter().find(|column| !declared(column))?;
        Some(format!(
            "the plugin reads the column `{unknown}`, which the table `{name}` does not have"
        ))
    });
    missing.next()
}

/// Returns warnings about the settings of tables, beside the tables that a set declares.
pub fn warnings(release: &ReleaseSet, access: &BTreeMap<String, TableAccess>) -> Vec<String> {
    let mut warnings = Vec::new();
    let tables: BTreeMap<_, _> = release
        .tables
        .iter()
        .filter_map(|(name, entry)| Some((name.as_str(), declaration(entry).ok()?)))
        .collect();
    let source_of = |name: &str| tables.get(name).and_then(|table| table.source.as_ref());
    for (name, access) in access {
        let source = source_of(name);
        let Some(source) = source else {
            warnings.push(format!(
                "[tables.{name}]: the release set declares no table `{name}` with a source, so the \
                 section has no effect"
            ));
            continue;
        };
        let its = source.url.as_deref().and_then(|url| origin(&parse_url(url).ok()?));
        if access.credential.is_some() && access.origin != its {
            warnings.push(format!(
                "[tables.{name}]: the secret is for {}, and the release set names {} as the source: \
                 the table is not downloaded",
                access.origin.as_deref().unwrap_or("no origin"),
                its.as_deref().unwrap_or("no address"),
            ));
        }
        if !access.push.is_empty() && !source.push {
            warnings.push(format!(
                "[tables.{name}]: the release set does not declare that the table is pushed, so \
                 `push` has no effect"
            ));
        }
    }
    let is_pushed = |table: &&Declaration| table.source.as_ref().is_some_and(|it| it.push);
    for table in tables.values().filter(is_pushed) {
        if access.get(&table.name).is_none_or(|access| access.push.is_empty()) {
            warnings.push(format!(
                "the table `{0}` is declared as pushed, and nobody may push it: set `push` in \
                 [tables.{0}]",
                table.name
            ));
        }
    }
    warnings
}

/// The problems of a table's crosswalks: each leads to a column of a declared table with an exact
/// key of one column.
fn crosswalks(table: &Declaration, tables: &[Declaration]) -> Vec<String> {
    let wrong = table.matching.iter().filter_map(|rule| {
        let crosswalk = rule.crosswalk.as_ref()?;
        let other = tables.iter().find(|other| other.name == crosswalk.table);
        let fits = other.is_some_and(|other| {
            other.key.kind == KeyKind::Exact
                && other.key.columns.len() == 1
                && other.columns.iter().any(|column| column.name == crosswalk.column)
        });
        (!fits).then(|| {
            format!(
                "the table `{}`: the crosswalk of the rule for `{}` leads to the column `{}` of \
                 `{}`, which is not declared so, or whose key is not one exact column",
                table.name, rule.subject, crosswalk.column, crosswalk.table
            )
        })
    });
    wrong.collect()
}

/// The declaration of one table.
///
/// # Errors
/// All its problems.
pub fn declaration(entry: &TableEntry) -> Result<Declaration, Vec<String>> {
    let declaration = serde_json::from_value::<Declaration>(entry.declaration.clone())
        .map_err(|error| vec![portcullis_model::humanize(&error.to_string())])?;
    let mut problems = match declaration.check() {
        Ok(()) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    };
    let source = declaration.source.as_ref();
    match (&entry.file, source) {
        (None, None) => problems.push(
            "it has neither a `file` in the release source nor a `source` in its declaration"
                .to_owned(),
        ),
        (Some(_), Some(_)) => problems.push(
            "its declaration has a `source`: remove `file` from the release source".to_owned(),
        ),
        _ => {}
    }
    let addresses = [
        ("source.url", source.and_then(|it| it.url.as_deref())),
        ("source.signature_url", source.and_then(|it| it.signature_url.as_deref())),
    ];
    for (member, url) in addresses {
        if let Some(Err(why)) = url.map(parse_url) {
            problems.push(format!("{member}: {why}"));
        }
    }
    if problems.is_empty() { Ok(declaration) } else { Err(problems) }
}

impl TableProblem {
    /// The stable code in records, logs and `/ready`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "table-unreadable",
            Self::Rows(_) => "table-rows",
            Self::NotPinned { .. } => "table-version",
            Self::Signature { .. } => "table-signature",
            Self::Older(_) => "table-older",
            Self::Held { .. } => "table-held",
            Self::Source(problem) => problem.code(),
            Self::NotRecorded(_) => "table-not-recorded",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "put the export into the folder of tables under the name that the release set gives it"
            }
            Self::Rows(_) => "correct the named rows at their source and export the table again",
            Self::NotPinned { .. } => {
                "put the file back that the release set names, or publish a set that names this one"
            }
            Self::Signature { .. } => {
                "sign the file with `portcullis table sign` and a key of the role `data`; if somebody \
                 else should have signed it, find out where it changed"
            }
            Self::Older(_) => {
                "export the table again and sign it; to return to older rows on purpose, sign that \
                 file anew"
            }
            Self::Held { .. } => {
                "check the export; if it is right, publish a release set that names its digest as \
                 `version` of the table"
            }
            Self::Source(problem) => problem.hint(),
            Self::NotRecorded(_) => "check the audit log's disk; the host tries again",
        }
    }

    /// Whether it has a record and a log line of its own.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Whether the same file may be used later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::NotRecorded(_) | Self::Unreadable(_) => true,
            Self::Signature { is_transient, .. } => *is_transient,
            _ => false,
        }
    }
}
