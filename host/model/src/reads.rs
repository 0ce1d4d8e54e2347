//! Minimum necessary: what a manifest's `reads` lets a plugin see of a call.
//!
//! Invariant: a [`View`] holds only what the compiled [`Reads`] name; everything else is absent, whatever the
//! call holds. Compiled once, at activation, so that a call pays only for what is read. Does not know which
//! plugin asks, and not which hook kinds there are.

mod attribute_filter;
mod explain;
mod path;
mod payload;
mod view;

use std::collections::BTreeMap;

use crate::call::{Attribute, Call, Entity, Origin, Principal};

use path::{Member, OriginMember, Path, Place};

pub use attribute_filter::AttributeFilter;
pub use view::{EntityView, OriginView, PrincipalView, View};

/// A manifest's `reads` and `requires`, compiled.
#[derive(Default)]
pub struct Reads {
    paths: Vec<String>,
    subject: Members,
    actors: Members,
    action: Members,
    resource: Members,
    origin: Vec<OriginMember>,
    requested: bool,
    purpose: bool,
    correlation: bool,
    /// By hook kind.
    payload: BTreeMap<String, payload::Wanted>,
    /// By table.
    tables: BTreeMap<String, TableColumns>,
    /// The columns that a release may lack, by table; all columns where it may lack the table.
    optional: BTreeMap<String, TableColumns>,
    required: Vec<(String, Path)>,
}

/// The columns of one reference table that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableColumns {
    all: bool,
    names: Vec<String>,
}

/// Manifest: its `reads` or `requires` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadsError {
    /// Not a path of the model.
    #[error("`{0}` in `reads` is not an input of a call")]
    Unknown(String),
    /// A payload pointer that is not `KIND:POINTER`.
    #[error("`{0}` in `reads` is not a hook kind, a colon and a JSON Pointer")]
    Pointer(String),
    /// Perhaps a table's column, but not spelled as one.
    #[error("`{0}` in `reads` is not an input of a call, and not a column `tables.NAME.COLUMN`")]
    Table(String),
    /// A table's column in `requires`.
    #[error("`{0}` is in `requires`, but a table's column is not a part of a call")]
    TableRequired(String),
    /// Optional, but not a table's column.
    #[error("`{0}` is in `optional`, but is not a column `tables.NAME.COLUMN`")]
    NotOptional(String),
    /// Optional, but not read.
    #[error("`{0}` is in `optional` and not in `reads`")]
    OptionalNotRead(String),
    /// Required, but not read.
    #[error("`{0}` is in `requires` and not in `reads`")]
    NotRead(String),
    /// Required, but a wildcard.
    #[error("`{0}` in `requires` is a wildcard, which cannot be missing")]
    Wildcard(String),
}

/// Caller, or the platform's set-up: the call lacks what the manifest requires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plugin requires `{path}`, which this call does not have")]
pub struct MissingRead {
    /// As the manifest spells it.
    pub path: String,
}

impl Reads {
    /// Compiles what a manifest reads, and which of it must be there.
    ///
    /// The paths are those in the documentation of [`View`] and its parts. `NAME` is an attribute's whole
    /// name, dots included. A payload pointer applies to calls of its own hook kind. In it, `*` stands for
    /// every element of an array; elements that are not read are `null` where a later one is, so that
    /// positions stay what they were. `tables.NAME.COLUMN`, or `tables.NAME.*`, is read by looking
    /// it up; it is no part of a view.
    ///
    /// Every one of `requires` must lie within `reads` and be no wildcard.
    pub fn compile(reads: &[String], requires: &[String]) -> Result<Self, ReadsError> {
        let mut compiled = Self { paths: reads.to_vec(), ..Self::default() };
        compiled.paths.sort_unstable();
        compiled.paths.dedup();
        for text in reads {
            compiled.admit(&Path::parse(text)?);
        }
        for text in requires {
            let path = Path::parse(text)?;
            if matches!(path, Path::Table { .. }) {
                return Err(ReadsError::TableRequired(text.clone()));
            }
            if path.is_wildcard() {
                return Err(ReadsError::Wildcard(text.clone()));
            }
            if !compiled.covers(&path) {
                return Err(ReadsError::NotRead(text.clone()));
            }
            compiled.required.push((text.clone(), path));
        }
        Ok(compiled)
    }

    /// Adds what a release set may lack of the tables that are read: with `tables.NAME.*` the table
    /// and every column of it, with `tables.NAME.COLUMN` that column of a declared table.
    ///
    /// # Errors
    /// A path that is not a column of a table, or is not read.
    pub fn with_optional(mut self, optional: &[String]) -> Result<Self, ReadsError> {
        for text in optional {
            let Path::Table { table, column } = Path::parse(text)? else {
                return Err(ReadsError::NotOptional(text.clone()));
            };
            let read = self.tables.get(&table);
            if !read.is_some_and(|columns| column == "*" || columns.covers(&column)) {
                return Err(ReadsError::OptionalNotRead(text.clone()));
            }
            self.optional.entry(table).or_default().admit(&column);
        }
        Ok(self)
    }

    /// Whether a release set may lack this table.
    pub fn is_optional_table(&self, name: &str) -> bool {
        self.optional.get(name).is_some_and(TableColumns::covers_all)
    }

    /// Whether this table may lack this column.
    pub fn is_optional_column(&self, table: &str, column: &str) -> bool {
        self.optional.get(table).is_some_and(|columns| columns.covers(column))
    }

    /// What is read, as the manifest spells it, sorted, each once.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The inputs that must be there, as the manifest spells them.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(|(path, _)| path.as_str())
    }

    /// The reference tables that are read, by name, with the columns that are read of each.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &TableColumns)> {
        self.tables.iter().map(|(name, columns)| (name.as_str(), columns))
    }

    /// The columns that are read of a reference table; `None` where none is.
    pub fn table(&self, name: &str) -> Option<&TableColumns> {
        self.tables.get(name)
    }

    /// The call, cut down.
    ///
    /// A required path is missing where it is absent or `null`; a required list (`requested`,
    /// `subject.entitlements`) also where it is empty, as a list that was not sent looks the same; one below
    /// `actors` where the nearest actor lacks it. A required payload pointer is missing only in calls of its
    /// own hook kind.
    pub fn view<'a>(&self, call: &'a Call) -> Result<View<'a>, MissingRead> {
        if let Some((path, _)) = self.required.iter().find(|(_, path)| !path.is_in(call)) {
            return Err(MissingRead { path: path.clone() });
        }
        Ok(View {
            id: &call.id,
            correlation: call.correlation.as_deref().filter(|_| self.correlation),
            tenant: &call.tenant,
            hook: call.hook,
            phase: call.phase.as_deref(),
            received: call.received,
            seed: call.seed,
            subject: call.subject.as_ref().and_then(|subject| self.subject.principal(subject)),
            actors: call.actors.iter().filter_map(|actor| self.actors.principal(actor)).collect(),
            action: call.action.as_ref().and_then(|action| self.action.entity(action)),
            resource: call.resource.as_ref().and_then(|resource| self.resource.entity(resource)),
            requested: if self.requested { &call.requested } else { &[] },
            lifetimes: &call.lifetimes,
            origin: call.origin.as_ref().and_then(|origin| self.origin(origin)),
            purpose: call.purpose.as_deref().filter(|_| self.purpose),
            proposed: &call.proposed,
            payload: self.payload.get(call.hook).map_or("null".into(), |wanted| {
                wanted.project(call.payload.root(), &call.secrets.pointers())
            }),
        })
    }

    /// Adds the attributes of the subject that are read, or required.
    pub fn add_to_filter(&self, wanted: &mut AttributeFilter) {
        if self.subject.all_attributes {
            wanted.add_all();
        }
        wanted.add(self.subject.attributes.iter().map(String::as_str));
    }

    /// Whether one of the call's secrets is read: then what the plugin says freely may hold it.
    pub fn sees_secret(&self, call: &Call) -> bool {
        self.payload.get(call.hook).is_some_and(|wanted| wanted.names(&call.secrets.pointers()))
    }

    fn origin<'a>(&self, origin: &'a Origin) -> Option<OriginView<'a>> {
        let mut view = OriginView::default();
        for member in &self.origin {
            match member {
                OriginMember::Ip => view.ip = origin.ip.as_deref(),
                OriginMember::Country => view.country = origin.country.as_deref(),
                OriginMember::Asn => view.asn = origin.asn,
                OriginMember::UserAgent => view.user_agent = origin.user_agent.as_deref(),
                OriginMember::Device => view.device = origin.device.as_deref(),
                OriginMember::Session => view.session = origin.session.as_deref(),
            }
        }
        (!self.origin.is_empty()).then_some(view)
    }

    fn admit(&mut self, path: &Path) {
        match path {
            Path::Below(place, member) => self.members_mut(*place).admit(member),
            Path::Origin(member) => self.origin.push(*member),
            Path::Requested => self.requested = true,
            Path::Purpose => self.purpose = true,
            Path::Correlation => self.correlation = true,
            Path::Payload { kind, pointer } => {
                self.payload.entry(kind.clone()).or_default().admit(pointer)
            }
            Path::Table { table, column } => {
                self.tables.entry(table.clone()).or_default().admit(column);
            }
        }
    }

    /// Returns whether this path of `reads` is among what is read. Text that is no path is not.
    pub fn covers_path(&self, path: &str) -> bool {
        Path::parse(path).is_ok_and(|path| self.covers(&path))
    }

    fn covers(&self, path: &Path) -> bool {
        match path {
            Path::Below(place, member) => self.members(*place).covers(member),
            Path::Origin(member) => self.origin.contains(member),
            Path::Requested => self.requested,
            Path::Purpose => self.purpose,
            Path::Correlation => self.correlation,
            Path::Payload { kind, pointer } => {
                self.payload.get(kind).is_some_and(|wanted| wanted.covers(pointer))
            }
            Path::Table { table, column } => {
                self.tables.get(table).is_some_and(|columns| columns.covers(column))
            }
        }
    }

    fn members(&self, place: Place) -> &Members {
        match place {
            Place::Subject => &self.subject,
            Place::Actors => &self.actors,
            Place::Action => &self.action,
            Place::Resource => &self.resource,
        }
    }

    fn members_mut(&mut self, place: Place) -> &mut Members {
        match place {
            Place::Subject => &mut self.subject,
            Place::Actors => &mut self.actors,
            Place::Action => &mut self.action,
            Place::Resource => &mut self.resource,
        }
    }
}

impl ReadsError {
    /// The code in records and on the command line.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "reads-unknown",
            Self::Pointer(_) => "reads-pointer",
            Self::Table(_) => "reads-table",
            Self::TableRequired(_) => "requires-table",
            Self::NotOptional(_) => "optional-not-table",
            Self::OptionalNotRead(_) => "optional-not-read",
            Self::NotRead(_) => "requires-not-read",
            Self::Wildcard(_) => "requires-wildcard",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown(_) => {
                "use a path such as `subject.id`, `subject.attributes.department` or `origin.ip`"
                    .into()
            }
            Self::Pointer(_) => "write it like `okta.token:/data/context/user`".into(),
            Self::Table(path) => {
                format!("write `tables.{path}` for a column of a reference table, or remove it")
            }
            Self::TableRequired(path) => {
                format!("remove `{path}` from `requires`: a look-up says itself what it found")
            }
            Self::NotOptional(path) => {
                format!(
                    "remove `{path}` from `optional`: other inputs are absent where a call lacks them"
                )
            }
            Self::NotRead(path) | Self::OptionalNotRead(path) => {
                format!("add `{path}` to `reads`")
            }
            Self::Wildcard(_) => "name the attributes or elements that are required".into(),
        })
    }
}

impl TableColumns {
    /// Whether this column is read.
    pub fn covers(&self, column: &str) -> bool {
        self.all || self.names.iter().any(|name| name == column)
    }

    /// The columns that are read by name; all are where [`covers_all`](Self::covers_all).
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether every column is read.
    pub fn covers_all(&self) -> bool {
        self.all
    }

    fn admit(&mut self, column: &str) {
        match column {
            "*" => self.all = true,
            column => self.names.push(column.to_owned()),
        }
    }
}

/// The inputs of a principal or an entity.
#[derive(Default)]
struct Members {
    any: bool,
    id: bool,
    entitlements: bool,
    all_attributes: bool,
    attributes: Vec<String>,
}

impl Members {
    fn admit(&mut self, member: &Member) {
        self.any = true;
        match member {
            Member::Id => self.id = true,
            Member::Entitlements => self.entitlements = true,
            Member::AllAttributes => self.all_attributes = true,
            Member::Attribute(name) => self.attributes.push(name.clone()),
        }
    }

    fn covers(&self, member: &Member) -> bool {
        match member {
            Member::Id => self.id,
            Member::Entitlements => self.entitlements,
            Member::AllAttributes => self.all_attributes,
            Member::Attribute(name) => self.all_attributes || self.attributes.contains(name),
        }
    }

    fn principal<'a>(&self, principal: &'a Principal) -> Option<PrincipalView<'a>> {
        self.any.then(|| PrincipalView {
            kind: principal.kind,
            type_name: &principal.type_name,
            id: principal.id.as_deref().filter(|_| self.id),
            attributes: self.attributes(&principal.attributes),
            entitlements: if self.entitlements { &principal.entitlements } else { &[] },
        })
    }

    fn entity<'a>(&self, entity: &'a Entity) -> Option<EntityView<'a>> {
        self.any.then(|| EntityView {
            type_name: &entity.type_name,
            id: entity.id.as_deref().filter(|_| self.id),
            attributes: self.attributes(&entity.attributes),
        })
    }

    fn attributes<'a>(&self, attributes: &'a [Attribute]) -> Vec<&'a Attribute> {
        if !self.all_attributes && self.attributes.is_empty() {
            return Vec::new();
        }
        let wanted = |attribute: &&Attribute| {
            self.all_attributes || self.attributes.iter().any(|name| attribute.name == **name)
        };
        attributes.iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests;
