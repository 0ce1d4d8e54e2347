//! Which attributes of a subject anybody reads: those that nobody does need not be made of a body.
//!
//! Invariant: knows names only, and says of every name that was added that it is wanted. A plugin's view is cut down to its own reads
//! all the same.

/// Names of attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeFilter {
    all: bool,
    names: Vec<String>,
}

impl AttributeFilter {
    /// All of them.
    pub fn all() -> &'static Self {
        static ALL: AttributeFilter = AttributeFilter { all: true, names: Vec::new() };
        &ALL
    }

    /// These, besides those that were wanted before.
    pub fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            if !self.names.iter().any(|known| known == name) {
                self.names.push(name.to_owned());
            }
        }
    }

    /// Every attribute, from here on.
    pub fn add_all(&mut self) {
        self.all = true;
    }

    /// Whether an attribute of that name is wanted.
    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|known| known == name)
    }
}
