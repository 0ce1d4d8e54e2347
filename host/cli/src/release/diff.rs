//! What one release set changes about another, for people and programs.
//!
//! Invariant: two sets of which nothing is told differ in nothing that decides.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::escape::escape;
use portcullis_model::{Digest, Mode};
use portcullis_trust::{Binding, ReleaseSet};
use serde_json::{Value, json};

use super::release_dir::short;

/// What changes.
pub struct ReleaseDiff {
    from: Option<u64>,
    to: u64,
    /// Sign, what it is about, and what is said of it.
    lines: Vec<(char, String)>,
}

impl ReleaseDiff {
    /// What `new` changes about `old`; everything, where there was none.
    pub fn between(old: Option<&ReleaseSet>, new: &ReleaseSet) -> Self {
        let mut lines = Vec::new();
        let empty = BTreeMap::new();
        let former = old.map_or(&empty, |old| &old.plugins);
        for id in former.keys().chain(new.plugins.keys()).collect::<BTreeSet<_>>() {
            let said = |entry: &portcullis_trust::PluginEntry| {
                format!("{} (serial {})", entry.version, entry.serial)
            };
            match (former.get(id), new.plugins.get(id)) {
                (None, Some(is)) => lines.push(('+', format!("plugin {id} {}", said(is)))),
                (Some(was), None) => lines.push(('-', format!("plugin {id} {}", said(was)))),
                (Some(was), Some(is)) if was != is => {
                    let other = if said(was) == said(is) { ": another manifest" } else { "" };
                    lines.push(('~', format!("plugin {id} {} → {}{other}", said(was), said(is))));
                }
                _ => {}
            }
        }
        bindings(old.map_or(&[][..], |old| old.bindings.as_slice()), &new.bindings, &mut lines);
        let floors = |set: &ReleaseSet| set.min_serial.clone();
        if old.map(floors).unwrap_or_default() != floors(new) {
            let all: Vec<_> =
                new.min_serial.iter().map(|(id, least)| format!("{id} {least}")).collect();
            lines.push((
                '~',
                format!(
                    "floors: {}",
                    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
                ),
            ));
        }
        if old.map(|old| old.revoked.clone()).unwrap_or_default() != new.revoked {
            let (manifests, serials) = (
                new.revoked.manifests.len(),
                new.revoked.serials.values().map(BTreeSet::len).sum::<usize>(),
            );
            lines
                .push(('!', format!("revokes for good: {manifests} manifests, {serials} serials")));
        }
        Self { from: old.map(|old| old.version), to: new.version, lines }
    }

    /// For people: a line each.
    pub fn text(&self) -> String {
        let from = self.from.map_or_else(|| "none".to_owned(), |version| version.to_string());
        let mut text = format!("release set {from} → {}", self.to);
        for (sign, line) in &self.lines {
            text.push_str(&format!("\n  {sign} {}", escape(line)));
        }
        if self.lines.is_empty() {
            text.push_str("\n  the decisions stay as they are");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let lines: Vec<_> =
            self.lines.iter().map(|(sign, line)| format!("{sign} {line}")).collect();
        json!({"from": self.from, "to": self.to, "changes": lines})
    }
}

/// Bindings by hook and plugin; where there are several of a pair, they are told by their settings.
fn bindings(old: &[Binding], new: &[Binding], lines: &mut Vec<(char, String)>) {
    let pair = |binding: &Binding| (binding.hook.clone(), binding.plugin.clone());
    let gone: Vec<_> = old.iter().filter(|binding| !new.contains(binding)).collect();
    let come: Vec<_> = new.iter().filter(|binding| !old.contains(binding)).collect();
    for key in gone.iter().chain(&come).map(|binding| pair(binding)).collect::<BTreeSet<_>>() {
        let of = |list: &[&Binding]| {
            list.iter().filter(|it| pair(it) == key).map(|it| (*it).clone()).collect::<Vec<_>>()
        };
        let (was, is, (hook, plugin)) = (of(&gone), of(&come), &key);
        if let ([was], [is]) = (was.as_slice(), is.as_slice()) {
            lines.push(('~', format!("{hook}: {plugin} {}", altered(was, is))));
            continue;
        }
        for (sign, list) in [('-', &was), ('+', &is)] {
            for it in list {
                let fallback = fallback(it);
                lines.push((
                    sign,
                    format!(
                        "{hook}: {plugin} {}, {}{fallback}",
                        mode(it.mode),
                        settings(it.settings)
                    ),
                ));
            }
        }
    }
}

fn altered(was: &Binding, is: &Binding) -> String {
    let mut parts = Vec::new();
    if was.mode != is.mode {
        parts.push(format!("{} → {}", mode(was.mode), mode(is.mode)));
    }
    if was.settings != is.settings {
        parts.push(format!("{} → {}", settings(was.settings), short(is.settings)));
    }
    if was.fallback != is.fallback {
        parts.push(format!(
            "fallback{} → {}",
            fallback(was),
            fallback(is).trim_start_matches([',', ' '])
        ));
    }
    parts.join(", ")
}

fn mode(mode: Mode) -> &'static str {
    mode.name()
}

fn settings(digest: Digest) -> String {
    if digest == portcullis_model::sha256(ReleaseSet::NO_SETTINGS) {
        "no settings".to_owned()
    } else {
        format!("settings {}", short(digest))
    }
}

fn fallback(binding: &Binding) -> String {
    let all: Vec<_> = binding.fallback.iter().map(|(what, to)| format!("{what} = {to}")).collect();
    if all.is_empty() { String::new() } else { format!(", {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: u64, plugins: &str, bindings: &str) -> ReleaseSet {
        let text = format!(
            r#"{{"version":{version},"issued":"2026-11-01T12:00:00Z","expires":"2026-11-08T12:00:00Z","grace":"2026-11-15T12:00:00Z","root_version":1,"plugins":{{{plugins}}},"bindings":[{bindings}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn plugin(id: &str, serial: u64) -> String {
        let digest = format!("{serial:064}");
        format!(
            r#""{id}":{{"version":"1.{serial}.0","serial":{serial},"manifest":"sha256:{digest}"}}"#
        )
    }

    fn binding(hook: &str, plugin: &str, mode: &str, settings: u8) -> String {
        format!(
            r#"{{"hook":"{hook}","plugin":"{plugin}","mode":"{mode}","settings":"sha256:{settings:064}","fallback":{{"review":"deny"}}}}"#
        )
    }

    #[test]
    fn everything_that_decides_is_told() {
        let old = set(
            4,
            &[plugin("org.a", 1), plugin("org.b", 1)].join(","),
            &[binding("token", "org.a", "enforce", 1), binding("token", "org.b", "monitor", 2)]
                .join(","),
        );
        let new = set(
            5,
            &[plugin("org.a", 2), plugin("org.c", 1)].join(","),
            &[binding("token", "org.a", "monitor", 3), binding("import", "org.c", "enforce", 2)]
                .join(","),
        );
        assert_eq!(
            ReleaseDiff::between(Some(&old), &new).text(),
            "release set 4 → 5\n  ~ plugin org.a 1.1.0 (serial 1) → 1.2.0 (serial 2)\n  - plugin org.b 1.1.0 (serial 1)\n  + plugin org.c 1.1.0 (serial 1)\
             \n  + import: org.c enforce, settings 000000000000, review = deny\
             \n  ~ token: org.a enforce → monitor, settings 000000000000 → 000000000000\
             \n  - token: org.b monitor, settings 000000000000, review = deny"
        );
        let same = ReleaseDiff::between(Some(&old), &ReleaseSet { version: 5, ..old.clone() });
        assert!(same.text().contains("the decisions stay as they are"));
        assert_eq!(ReleaseDiff::between(None, &old).json()["from"], Value::Null);
    }
}
