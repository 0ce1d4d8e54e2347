//! Names of permanent formats that have changed: `docs/renames.tsv`.
//!
//! Invariant: the table is the only place that knows an old name. Nothing is read under an old
//! name; whoever writes one is told the new one. This does not know which names exist today.

/// Of which format a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record's type.
    Record,
    /// A setting, or a member of a signed document.
    Setting,
    /// An option of the command line.
    Option,
}

/// Returns the new names of what was called so, each once in a row. A setting is looked up by its
/// own name, without the table that it belongs to; several tables may have had this name.
pub fn new_names(format: Format, old: &str) -> impl Iterator<Item = &'static str> {
    rows()
        .filter(move |(kind, before, _)| match format {
            Format::Record => *kind == "record" && *before == old,
            Format::Setting => matches!(*kind, "setting" | "signed-member") && last(before) == old,
            Format::Option => *kind == "option" && before.rsplit(' ').next() == Some(old),
        })
        .map(move |(_, _, after)| match format {
            Format::Record => after,
            Format::Setting => last(after),
            Format::Option => after.rsplit(' ').next().unwrap_or(after),
        })
}

/// Returns what to add to a parser's message about a member or setting that has a new name.
pub fn hint(message: &str) -> Option<String> {
    let (_, rest) =
        message.split_once("unknown field `").or_else(|| message.split_once("unknown member `"))?;
    let (old, expected) = rest.split_once('`')?;
    // A name means something else in another place: only one that may stand there is a hint.
    let new = new_names(Format::Setting, old).find(|new| expected.contains(&format!("`{new}`")))?;
    Some(format!("; `{old}` is now called `{new}`"))
}

/// Kind, old name, new name.
pub fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().skip(1).filter_map(|line| {
        let mut cells = line.split('\t');
        Some((cells.next()?, cells.next()?, cells.next()?))
    })
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

const TABLE: &str = include_str!("../../../docs/renames.tsv");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_old_name_leads_to_the_new_one() {
        let first = |format, old| new_names(format, old).next();
        assert_eq!(first(Format::Setting, "head_ms"), Some("header_timeout_ms"));
        assert_eq!(first(Format::Setting, "say"), Some("fallback"));
        assert_eq!(first(Format::Record, "hook.refused"), Some("hook.rejected"));
        assert_eq!(first(Format::Option, "--lift"), Some("--waive"));
        assert_eq!(first(Format::Setting, "hook.refused"), None);
        assert_eq!(first(Format::Setting, "header_timeout_ms"), None);
        let message = |old: &str| format!("unknown field `{old}`, expected `max_in_flight` or `x`");
        assert_eq!(
            hint(&message("calls")).as_deref(),
            Some("; `calls` is now called `max_in_flight`")
        );
        // A table that has no such setting today had none before.
        assert_eq!(hint(&message("errors")), None);
    }

    #[test]
    fn every_row_is_whole_and_no_name_is_old_and_new() {
        let kinds = [
            "record",
            "record-member",
            "code",
            "metric",
            "setting",
            "signed-member",
            "option",
            "metric-label",
            "status-member",
        ];
        let all: Vec<_> = rows().collect();
        assert_eq!(all.len(), TABLE.lines().count() - 1);
        for (kind, old, new) in &all {
            assert!(
                kinds.contains(kind) && !old.is_empty() && !new.is_empty(),
                "{kind} {old} {new}"
            );
            let again = all.iter().any(|(other, before, _)| other == kind && before == new);
            assert!(!again, "{kind} {new} is the old name of another row");
        }
        let old: BTreeSet<_> = all.iter().map(|(kind, old, _)| (kind, old)).collect();
        assert_eq!(old.len(), all.len(), "a name changed twice");
    }
}
