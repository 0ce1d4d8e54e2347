//! Changes: what a plugin wants done to the answer. The same shape as `change` in `wit/policy.wit`.
//!
//! Invariant: a change says what it wants, never how a platform spells it; `hooks` renders it or calls it unsayable.

use std::fmt;
use std::str::FromStr;

use crate::grant::{Grant, Target};

/// One thing a plugin wants changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Put a value at a place.
    Set {
        /// Which part of the answer.
        target: Target,
        /// JSON Pointer (RFC 6901) inside it.
        path: String,
        /// JSON text.
        value: String,
    },
    /// Take away what stands at a place.
    Remove {
        /// Which part of the answer.
        target: Target,
        /// JSON Pointer (RFC 6901) inside it.
        path: String,
    },
    /// Let it live no longer than this.
    CapLifetime {
        /// Which part of the answer.
        target: Target,
        /// The longest it may live.
        seconds: u32,
    },
    /// Grant something more.
    AddGrant(Grant),
    /// Do not grant this.
    DropGrant(Grant),
    /// It is this existing user of the platform.
    LinkUser(String),
    /// It is a new user.
    CreateUser,
    /// What the password check found.
    Credential(Credential),
    /// Nobody needs to approve.
    AutoApprove,
    /// These people must approve.
    RequireApprovers(Vec<String>),
    /// Advice or obligation for the enforcement point.
    Statement(Statement),
    /// Lift findings with these codes. Break-glass only.
    Waive(Vec<String>),
}

/// What a password check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// Right.
    Verified,
    /// Wrong, or not known.
    Unverified,
    /// Right, and to be taken over.
    Migrate,
    /// Right, and must be changed.
    Update,
    /// Try again.
    Retry,
    /// Not now, not again.
    Block,
}

/// Advice or obligation for the enforcement point.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// Its code.
    pub code: String,
    /// JSON text.
    pub payload: String,
    /// Whether it must be carried out.
    pub obligatory: bool,
}

/// A change without its particulars: the unit of `emits` and of what a hook kind can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// [`Change::Set`]
    Set(Target),
    /// [`Change::Remove`]
    Remove(Target),
    /// [`Change::CapLifetime`]
    CapLifetime(Target),
    /// [`Change::AddGrant`]
    AddGrant,
    /// [`Change::DropGrant`]
    DropGrant,
    /// [`Change::LinkUser`]
    LinkUser,
    /// [`Change::CreateUser`]
    CreateUser,
    /// [`Change::Credential`]
    Credential,
    /// [`Change::AutoApprove`]
    AutoApprove,
    /// [`Change::RequireApprovers`]
    RequireApprovers,
    /// [`Change::Statement`]
    Statement,
    /// [`Change::Waive`]
    Waive,
}

impl Change {
    /// The kind of this change.
    pub fn kind(&self) -> ChangeKind {
        match self {
            Self::Set { target, .. } => ChangeKind::Set(*target),
            Self::Remove { target, .. } => ChangeKind::Remove(*target),
            Self::CapLifetime { target, .. } => ChangeKind::CapLifetime(*target),
            Self::AddGrant(_) => ChangeKind::AddGrant,
            Self::DropGrant(_) => ChangeKind::DropGrant,
            Self::LinkUser(_) => ChangeKind::LinkUser,
            Self::CreateUser => ChangeKind::CreateUser,
            Self::Credential(_) => ChangeKind::Credential,
            Self::AutoApprove => ChangeKind::AutoApprove,
            Self::RequireApprovers(_) => ChangeKind::RequireApprovers,
            Self::Statement(_) => ChangeKind::Statement,
            Self::Waive(_) => ChangeKind::Waive,
        }
    }

    /// Whether this change only takes away: what a guard may do.
    pub fn restricts(&self) -> bool {
        matches!(
            self,
            Self::CapLifetime { .. }
                | Self::DropGrant(_)
                | Self::RequireApprovers(_)
                | Self::Credential(Credential::Unverified | Credential::Retry | Credential::Block)
        )
    }
}

impl Credential {
    /// The word in records and `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Migrate => "migrate",
            Self::Update => "update",
            Self::Retry => "retry",
            Self::Block => "block",
        }
    }
}

impl ChangeKind {
    /// The verb without its target.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Remove(_) => "remove",
            Self::CapLifetime(_) => "cap-lifetime",
            Self::AddGrant => "add-grant",
            Self::DropGrant => "drop-grant",
            Self::LinkUser => "link-user",
            Self::CreateUser => "create-user",
            Self::Credential => "credential",
            Self::AutoApprove => "auto-approve",
            Self::RequireApprovers => "require-approvers",
            Self::Statement => "statement",
            Self::Waive => "waive",
        }
    }

    /// The target, where the kind has one.
    pub fn target(self) -> Option<Target> {
        match self {
            Self::Set(target) | Self::Remove(target) | Self::CapLifetime(target) => Some(target),
            _ => None,
        }
    }

    /// Every kind there is, for tables and tests.
    pub fn all() -> impl Iterator<Item = Self> {
        let targeted = TARGETS.into_iter().flat_map(|target| {
            [Self::Set(target), Self::Remove(target), Self::CapLifetime(target)]
        });
        targeted.chain([
            Self::AddGrant,
            Self::DropGrant,
            Self::LinkUser,
            Self::CreateUser,
            Self::Credential,
            Self::AutoApprove,
            Self::RequireApprovers,
            Self::Statement,
            Self::Waive,
        ])
    }
}

/// "set:access-token", "add-grant": the spelling in manifests, bindings and records.
impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        match self.target() {
            Some(target) => write!(f, ":{}", target.name()),
            None => Ok(()),
        }
    }
}

impl FromStr for ChangeKind {
    type Err = UnknownChange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all().find(|kind| kind.to_string() == text).ok_or(UnknownChange)
    }
}

/// The text names no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownChange;

const TARGETS: [Target; 7] = [
    Target::IdToken,
    Target::AccessToken,
    Target::Assertion,
    Target::User,
    Target::AppUser,
    Target::Request,
    Target::Response,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_as_it_is_spelled() {
        for kind in ChangeKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("set".parse::<ChangeKind>(), Err(UnknownChange));
    }
}
