//! Grants, and the parts of an answer that a change can be for.
//!
//! Invariant: each has one word, the same in manifests, records and `wit/policy.wit`.

/// The sort of a grant.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// An entitlement of the platform or of an application.
    Entitlement,
    /// A group.
    Group,
    /// A role.
    Role,
    /// An OAuth scope.
    Scope,
    /// An application.
    App,
    /// A claim.
    Claim,
}

/// Something granted, or to be granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The sort.
    pub kind: GrantKind,
    /// The platform's id for it.
    pub id: String,
}

/// The part of the answer that a change is for. A hook kind offers some of them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The OpenID Connect ID token.
    IdToken,
    /// The OAuth access token.
    AccessToken,
    /// The SAML assertion.
    Assertion,
    /// The platform's user.
    User,
    /// The user as an application has it.
    AppUser,
    /// The request that goes on.
    Request,
    /// The response that goes back.
    Response,
}

impl Target {
    /// The word in manifests, records and `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdToken => "id-token",
            Self::AccessToken => "access-token",
            Self::Assertion => "assertion",
            Self::User => "user",
            Self::AppUser => "app-user",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl GrantKind {
    /// The word in manifests, records and `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entitlement => "entitlement",
            Self::Group => "group",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::App => "app",
            Self::Claim => "claim",
        }
    }
}
