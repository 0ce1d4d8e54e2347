//! The effects and changes that a manifest's `emits` allows a plugin.
//!
//! Invariant: a decision that passed [`Emits::check`] holds declared effects, codes of the catalogue,
//! declared changes and well-formed values, nothing else. Whether a platform can say it is for `hooks`.

use crate::call::Attribute;
use crate::change::{Change, ChangeKind};
use crate::decision::{Decision, Effect};
use crate::grant::GrantKind;
use crate::json::{Document, split_pointer};
use crate::messages::Messages;
use crate::waiver;

/// A manifest's `emits`, compiled.
pub struct Emits {
    effects: Vec<Effect>,
    changes: Vec<Pattern>,
}

/// Manifest: its `emits` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitsError {
    /// No change is called that, or none with that target.
    #[error("`{0}` in `emits` is not a change")]
    UnknownChange(String),
    /// A change to a place, without the place or with a malformed one.
    #[error("`{0}` in `emits` has no place")]
    Path(String),
    /// A grant of an unknown kind.
    #[error("`{0}` in `emits` does not name a kind of grant")]
    GrantKind(String),
    /// A waiver of what nobody may waive.
    #[error("`{0}` in `emits` would waive a finding about audit, termination or revocation")]
    Waiver(String),
}

/// Plugin: it said what its manifest does not declare, or what is not well-formed. Counts from 1 and repeats
/// nothing that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overreach {
    /// An effect that is not in `emits`.
    #[error("finding {at} has the effect `{}`, which the manifest does not declare", effect.name())]
    Effect {
        /// Which finding.
        at: usize,
        /// The effect.
        effect: Effect,
    },
    /// A code that is not in the message catalogue.
    #[error("finding {at} has a code that the manifest's messages do not have")]
    Code {
        /// Which finding.
        at: usize,
    },
    /// A change that is not in `emits`.
    #[error("change {at} is a `{kind}` that the manifest does not declare")]
    Change {
        /// Which change.
        at: usize,
        /// Of which kind.
        kind: ChangeKind,
    },
    /// A part of a finding that is not well-formed.
    #[error("finding {at} is malformed: {what}")]
    MalformedFinding {
        /// Which finding.
        at: usize,
        /// The problem.
        what: &'static str,
    },
    /// A part of a change that is not well-formed.
    #[error("change {at} is malformed: {what}")]
    MalformedChange {
        /// Which change.
        at: usize,
        /// The problem.
        what: &'static str,
    },
    /// A risk above 100.
    #[error("the risk is above 100")]
    Risk,
}

impl Emits {
    /// Compiles what a manifest declares.
    ///
    /// A change is spelled `set:TARGET:PATH`, `remove:TARGET:PATH`, `cap-lifetime:TARGET`,
    /// `add-grant`, `drop-grant`, or one of the other [`ChangeKind`]s. `PATH` is a JSON Pointer, or
    /// one that ends in `/*` for anything below. A grant may be narrowed to a kind, a waiver to a
    /// code: `drop-grant:scope`, `waive:SOD_CONFLICT`. A change may be declared for one hook kind
    /// only, by its name before it: `okta.token:cap-lifetime:access-token`; on every other hook
    /// kind it is then not declared.
    pub fn compile(effects: &[Effect], changes: &[String]) -> Result<Self, EmitsError> {
        let mut effects = effects.to_vec();
        effects.sort_unstable();
        effects.dedup();
        Ok(Self {
            effects,
            changes: changes.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a decision on a hook of this kind stays within what is declared, and is well-formed.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(
        &self,
        hook: &str,
        decision: &Decision,
        messages: &Messages,
    ) -> Result<(), Overreach> {
        for (at, finding) in (1..).zip(&decision.findings) {
            if !self.effects.contains(&finding.effect) {
                return Err(Overreach::Effect { at, effect: finding.effect });
            }
            if !messages.has(&finding.code) {
                return Err(Overreach::Code { at });
            }
            if finding.arguments.iter().any(|Attribute { value, .. }| !is_json(value)) {
                return Err(Overreach::MalformedFinding {
                    at,
                    what: "the value of an argument is not JSON",
                });
            }
        }
        for (at, change) in (1..).zip(&decision.changes) {
            if let Err(what) = well_formed(change) {
                return Err(Overreach::MalformedChange { at, what });
            }
            if !self.allows(hook, change) {
                return Err(Overreach::Change { at, kind: change.kind() });
            }
        }
        if decision.risk.is_some_and(|risk| risk > 100) { Err(Overreach::Risk) } else { Ok(()) }
    }

    /// The declared effects, mildest first, each once.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The kinds of the changes declared for this hook kind, each once, for asking whether it can say them.
    pub fn change_kinds(&self, hook: &str) -> Vec<ChangeKind> {
        let mut kinds: Vec<_> = self.on(hook).map(|pattern| pattern.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Whether the plugin may want something changed that does more than restrict. Then it is asked before
    /// the guards, which judge what it proposes. All others guard, and [`Emits::check`] holds them to
    /// restricting, since that is all they declare.
    pub fn proposes(&self, hook: &str) -> bool {
        // A credential can be a good one, so declaring the kind is declaring that.
        let restricts = |kind| {
            matches!(
                kind,
                ChangeKind::CapLifetime(_) | ChangeKind::DropGrant | ChangeKind::RequireApprovers
            )
        };
        self.on(hook).any(|pattern| !restricts(pattern.kind))
    }

    /// Returns whether it may set findings of other plugins aside, on any hook kind.
    pub fn waives(&self) -> bool {
        self.changes.iter().any(|pattern| pattern.kind == ChangeKind::Waive)
    }

    /// The places that it may set or clear on this hook kind, as the manifest spells them, for finding
    /// plugins that may conflict.
    pub fn places(&self, hook: &str) -> impl Iterator<Item = String> {
        self.on(hook).filter_map(|pattern| {
            let target = pattern.kind.target()?.name();
            match &pattern.narrowed {
                Narrowed::At(path) => Some(format!("{target}:{path}")),
                Narrowed::Below(path) => Some(format!("{target}:{path}*")),
                Narrowed::No | Narrowed::Grant(_) | Narrowed::Code(_) => None,
            }
        })
    }

    /// The declared changes, as the manifest spells them.
    pub fn changes(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(|pattern| pattern.declared.as_str())
    }

    /// Those of the declared changes that allow this one on this hook kind.
    pub fn allowing(&self, hook: &str, change: &Change) -> impl Iterator<Item = &str> {
        self.on(hook)
            .filter(|pattern| pattern.matches(change))
            .map(|pattern| pattern.declared.as_str())
    }

    /// Returns whether the change is declared; of a waiver, every code of it.
    fn allows(&self, hook: &str, change: &Change) -> bool {
        let one = |change: &Change| self.on(hook).any(|pattern| pattern.matches(change));
        match change {
            Change::Waive(codes) if !codes.is_empty() => {
                codes.iter().all(|code| one(&Change::Waive(vec![code.clone()])))
            }
            other => one(other),
        }
    }

    fn on(&self, hook: &str) -> impl Iterator<Item = &Pattern> {
        self.changes
            .iter()
            .filter(move |pattern| pattern.hook.as_ref().is_none_or(|only| only == hook))
    }
}

impl EmitsError {
    /// The code in records and on the command line.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownChange(_) => "emits-unknown",
            Self::Path(_) => "emits-path",
            Self::GrantKind(_) => "emits-grant",
            Self::Waiver(_) => "emits-waiver",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownChange(_) => {
                "write it like `set:access-token:/claims/until`, `cap-lifetime:id-token` or `create-user`".into()
            }
            Self::Path(_) => {
                "end it with a JSON Pointer, or with one and `/*`, like \
                 `set:access-token:/claims/*`".into()
            }
            Self::GrantKind(_) => {
                format!("use one of {}", GRANT_KINDS.map(|kind| format!("`{}`", kind.name())).join(", "))
            }
            Self::Waiver(_) => "remove it: such a finding cannot be waived by a plugin".into(),
        })
    }
}

impl Overreach {
    /// The code in records: the same as of
    /// [`Cause::UndeclaredOutput`](crate::Cause::UndeclaredOutput).
    pub fn code(&self) -> &'static str {
        crate::Cause::UndeclaredOutput.code()
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Effect { effect, .. } => {
                format!("add `{}` to the effects of `emits`, or correct the plugin", effect.name())
            }
            Self::Code { .. } => "add the code to the messages, or correct the plugin".into(),
            Self::Change { kind, .. } => {
                format!("add the `{kind}` to the changes of `emits`, or correct the plugin")
            }
            Self::MalformedFinding { .. } | Self::MalformedChange { .. } | Self::Risk => {
                "correct the plugin".into()
            }
        })
    }
}

/// One declared change.
struct Pattern {
    /// As the manifest spells it.
    declared: String,
    /// The only hook kind that it is for.
    hook: Option<String>,
    kind: ChangeKind,
    narrowed: Narrowed,
}

/// The restriction of a declared change beyond its kind.
enum Narrowed {
    No,
    /// At exactly that place.
    At(String),
    /// Below that place. Ends in `/`.
    Below(String),
    Grant(GrantKind),
    /// Findings with exactly that code.
    Code(String),
}

impl Pattern {
    fn parse(declared: &str) -> Result<Self, EmitsError> {
        // A hook kind has a dot, or at least is no change's verb.
        let is_verb = |word: &str| ChangeKind::all().any(|kind| kind.verb() == word);
        let (hook, text) = match declared.split_once(':') {
            Some((hook, rest)) if !is_verb(hook) => (Some(hook.to_owned()), rest),
            _ => (None, declared),
        };
        let is_kind = |kind: &ChangeKind| match text.strip_prefix(&kind.to_string()) {
            Some(rest) => rest.is_empty() || rest.starts_with(':'),
            None => false,
        };
        let kind = ChangeKind::all()
            .find(is_kind)
            .ok_or_else(|| EmitsError::UnknownChange(declared.to_owned()))?;
        let rest = text.strip_prefix(&kind.to_string()).unwrap_or_default().strip_prefix(':');
        let narrowed = match (kind, rest) {
            (ChangeKind::Set(_) | ChangeKind::Remove(_), path) => {
                let path =
                    path.filter(|path| path.starts_with('/') && split_pointer(path).is_some());
                let path = path.ok_or_else(|| EmitsError::Path(declared.to_owned()))?;
                match path.strip_suffix('*') {
                    Some(parent) if parent.ends_with('/') => Narrowed::Below(parent.to_owned()),
                    _ => Narrowed::At(path.to_owned()),
                }
            }
            (_, None) => Narrowed::No,
            (ChangeKind::AddGrant | ChangeKind::DropGrant, Some(name)) => {
                let kind = GRANT_KINDS.into_iter().find(|kind| kind.name() == name);
                Narrowed::Grant(kind.ok_or_else(|| EmitsError::GrantKind(declared.to_owned()))?)
            }
            (ChangeKind::Waive, Some(code)) if waiver::may_be_waived(code) => {
                Narrowed::Code(code.to_owned())
            }
            (ChangeKind::Waive, Some(_)) => return Err(EmitsError::Waiver(declared.to_owned())),
            (_, Some(_)) => return Err(EmitsError::UnknownChange(declared.to_owned())),
        };
        Ok(Self { declared: declared.to_owned(), hook, kind, narrowed })
    }

    fn matches(&self, change: &Change) -> bool {
        let narrowed = match (&self.narrowed, change) {
            (Narrowed::No, _) => true,
            (Narrowed::At(place), Change::Set { path, .. } | Change::Remove { path, .. }) => {
                path == place
            }
            (Narrowed::Below(place), Change::Set { path, .. } | Change::Remove { path, .. }) => {
                path.starts_with(place)
            }
            (Narrowed::Grant(kind), Change::AddGrant(grant) | Change::DropGrant(grant)) => {
                grant.kind == *kind
            }
            // Each code may be declared by itself: see `allows`.
            (Narrowed::Code(only), Change::Waive(codes)) => codes.iter().all(|code| code == only),
            _ => false,
        };
        change.kind() == self.kind && narrowed
    }
}

fn well_formed(change: &Change) -> Result<(), &'static str> {
    match change {
        Change::Set { path, .. } | Change::Remove { path, .. } if split_pointer(path).is_none() => {
            Err("its path is not a JSON Pointer")
        }
        Change::Set { value, .. } if !is_json(value) => Err("its value is not JSON"),
        Change::Statement(statement) if !is_json(&statement.payload) => {
            Err("its payload is not JSON")
        }
        Change::Waive(codes) if !codes.iter().all(|code| waiver::may_be_waived(code)) => {
            Err("it waives a finding about audit, termination or revocation")
        }
        _ => Ok(()),
    }
}

fn is_json(text: &str) -> bool {
    Document::parse(text.as_bytes()).is_ok()
}

const GRANT_KINDS: [GrantKind; 6] = [
    GrantKind::Entitlement,
    GrantKind::Group,
    GrantKind::Role,
    GrantKind::Scope,
    GrantKind::App,
    GrantKind::Claim,
];

#[cfg(test)]
mod tests;
