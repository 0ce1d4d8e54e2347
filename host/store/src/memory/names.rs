//! The names of namespaces and cells.
//!
//! Invariant: a cell is named by its namespace, its scope and a pseudonym of its owner, never by a
//! person's name or an address. The pseudonym is made in `keys`.

use std::fmt;

use portcullis_model::sha256;

use super::codec::{Malformed, Reader, put_bytes};
use super::limits::MAX_NAME_BYTES;

/// The owner of a part of memory. All bindings of one plugin share a namespace, on whatever hook
/// they are; a candidate and a binding that only monitors have another `space` than the live
/// bindings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName {
    tenant: Box<str>,
    plugin: Box<str>,
    space: Box<str>,
}

/// The name of a namespace is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of a namespace has {bytes} bytes; it needs 1 to {MAX_NAME_BYTES}")]
pub struct NameError {
    /// One of the three names.
    pub part: &'static str,
    /// Its length.
    pub bytes: usize,
}

impl NamespaceName {
    /// Takes a tenant, the id of a plugin, and the space of its bindings, such as `live`.
    ///
    /// # Errors
    /// One of the three is empty or longer than [`MAX_NAME_BYTES`].
    pub fn new(tenant: &str, plugin: &str, space: &str) -> Result<Self, NameError> {
        for (part, text) in [("tenant", tenant), ("plugin", plugin), ("space", space)] {
            if text.is_empty() || text.len() > MAX_NAME_BYTES {
                return Err(NameError { part, bytes: text.len() });
            }
        }
        Ok(Self { tenant: tenant.into(), plugin: plugin.into(), space: space.into() })
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The plugin's id.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The space of its bindings.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// The first half of SHA-256 over the encoding.
    pub(super) fn id(&self) -> NamespaceId {
        let mut encoded = Vec::new();
        self.write(&mut encoded);
        NamespaceId(sha256(&encoded).0.first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for part in [&self.tenant, &self.plugin, &self.space] {
            put_bytes(out, part.as_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut part = || {
            let text = str::from_utf8(reader.bytes(MAX_NAME_BYTES)?).map_err(|_| Malformed)?;
            Ok::<&str, Malformed>(text)
        };
        let (tenant, plugin, space) = (part()?, part()?, part()?);
        Self::new(tenant, plugin, space).map_err(|_| Malformed)
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.plugin, self.space)
    }
}

/// Names a namespace in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub [u8; 16]);

/// The owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The subject's of the call.
    Subject,
    /// The plugin's, for all calls: an address, a network.
    Shared,
}

impl Scope {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Subject => 0,
            Self::Shared => 1,
        }
    }

    pub(super) fn of_code(code: u8) -> Result<Self, Malformed> {
        match code {
            0 => Ok(Self::Subject),
            1 => Ok(Self::Shared),
            _ => Err(Malformed),
        }
    }
}

/// The pseudonym of a subject, or of a key in the shared scope: 128 bits of HMAC-SHA256 under a key
/// derived from the store's. It does not change with the audit log's yearly keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u128);

/// Names a cell: all that a namespace holds of one subject, or under one key of the shared scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The scope.
    pub scope: Scope,
    /// The owner.
    pub owner: Owner,
}

impl CellId {
    /// Returns the key of its row: namespace, scope, owner.
    pub fn to_bytes(self) -> RowKey {
        let mut bytes = [0; ROW_KEY_LEN];
        let parts = [&self.namespace.0[..], &[self.scope.code()], &self.owner.0.to_be_bytes()];
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads the key of a row.
    ///
    /// # Errors
    /// It has another length, or an unknown scope.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let namespace = NamespaceId(reader.array()?);
        let scope = Scope::of_code(reader.byte()?)?;
        let owner = Owner(u128::from_be_bytes(reader.array()?));
        if reader.is_empty() { Ok(Self { namespace, scope, owner }) } else { Err(Malformed) }
    }
}

/// The key of a row in the disk view.
pub type RowKey = [u8; ROW_KEY_LEN];

/// Bytes of a [`RowKey`].
pub const ROW_KEY_LEN: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_differ() {
        let name = NamespaceName::new("north", "org.example.risk", "live").unwrap();
        let mut out = Vec::new();
        name.write(&mut out);
        assert_eq!(NamespaceName::read(&mut Reader::new(&out)), Ok(name.clone()));
        assert_eq!(name.to_string(), "north/org.example.risk/live");
        let other = NamespaceName::new("northo", "rg.example.risk", "live").unwrap();
        assert_ne!(name.id(), other.id());
        assert_eq!(NamespaceName::new("a", "", "c").unwrap_err().part, "plugin");
        assert!(NamespaceName::new("a", "b", &"c".repeat(257)).is_err());
        let cell = CellId { namespace: name.id(), scope: Scope::Shared, owner: Owner(77) };
        assert_eq!(CellId::from_bytes(&cell.to_bytes()), Ok(cell));
        assert_eq!(CellId::from_bytes(&cell.to_bytes()[1..]), Err(Malformed));
    }
}
