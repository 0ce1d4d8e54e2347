//! The people of an export and what they hold.
//!
//! Invariant: an export is read whole or refused, because a part of it would find too few. The ids
//! and names are those of the export; entitlements are the platform's texts, as a hook would get
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_sod_rules::{Holding, Name, Of, PairRow, Situation, TooManyLookUps, expand};

use super::rules::Rules;
use super::sheet::{Sheet, cell};
use super::{all_or, people_json};
use crate::exit::{CliError, CliResult};

/// An export of people and entitlements.
#[derive(Args)]
pub struct Export {
    /// The people and what they hold.
    #[arg(long)]
    export: PathBuf,
    /// The origin of the export.
    #[arg(long, value_enum, default_value = "csv")]
    from: Origin,
    /// CSV and XLSX: the column that names people; without, the first of `login`, `user`, `person`,
    /// `email`, `userPrincipalName`, `id` that there is.
    #[arg(long)]
    person_column: Option<String>,
    /// CSV and XLSX: the column with an entitlement; without, the first of `entitlement`, `group`,
    /// `role`, `app`, `access`.
    #[arg(long)]
    entitlement_column: Option<String>,
    /// CSV and XLSX: the text between several entitlements in one cell.
    #[arg(long)]
    separator: Option<String>,
}

/// The origin of an export.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Origin {
    /// A row for each entitlement that a person holds (CSV or XLSX).
    Csv,
    /// Okta's API: users with `groups`, or groups with `users` (JSON, or JSON Lines).
    Okta,
    /// Microsoft Graph: users with `memberOf`, or groups with `members` (JSON, or JSON Lines).
    Entra,
}

/// One person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The platform's id, where the export has one.
    pub id: Option<String>,
    /// The name that reports show.
    pub name: String,
    /// Texts by which rules are scoped.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The entitlements of the person.
    pub entitlements: BTreeSet<String>,
}

impl Export {
    /// Reads it; people in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read (exit 64) or has problems (exit 1).
    pub fn read(&self) -> CliResult<Vec<Person>> {
        let people = match self.from {
            Origin::Csv => return self.read_sheet(),
            Origin::Okta => people_json::okta(&self.export)?,
            Origin::Entra => people_json::entra(&self.export)?,
        };
        Ok(people)
    }

    fn read_sheet(&self) -> CliResult<Vec<Person>> {
        let sheet = Sheet::read(&self.export, None)?;
        let mut problems = Vec::new();
        let person = self.column(&sheet, &self.person_column, &PERSON_COLUMNS, "--person-column");
        let entitlement = self.column(
            &sheet,
            &self.entitlement_column,
            &ENTITLEMENT_COLUMNS,
            "--entitlement-column",
        );
        let (person, entitlement) = match (person, entitlement) {
            (Ok(person), Ok(entitlement)) => (person, entitlement),
            (person, entitlement) => {
                problems.extend([person.err(), entitlement.err()].into_iter().flatten());
                return all_or(&self.export, &problems).map(|()| Vec::new());
            }
        };
        let header = sheet.rows.first().map(|row| row.cells.clone()).unwrap_or_default();
        let id = header.iter().position(|name| name.eq_ignore_ascii_case("id"));
        let mut people: BTreeMap<String, Person> = BTreeMap::new();
        for row in sheet.body() {
            let name = cell(row, Some(person));
            if name.is_empty() {
                problems.push(format!("{}: no person", sheet.place(row.number, person)));
                continue;
            }
            let known = people
                .entry(name.to_owned())
                .or_insert_with(|| Person { name: name.to_owned(), ..Person::default() });
            let own = Some(cell(row, id)).filter(|id| !id.is_empty());
            match (&known.id, own) {
                (Some(known), Some(own)) if known != own => {
                    let place = sheet.place(row.number, id.unwrap_or_default());
                    problems.push(format!("{place}: the same person has another id above"));
                }
                (_, Some(own)) => known.id = Some(own.to_owned()),
                _ => {}
            }
            let held = cell(row, Some(entitlement));
            let held: Vec<&str> = match &self.separator {
                Some(separator) if !separator.is_empty() => {
                    held.split(separator.as_str()).collect()
                }
                _ => vec![held],
            };
            let held = held.into_iter().map(str::trim).filter(|held| !held.is_empty());
            known.entitlements.extend(held.map(str::to_owned));
            for (at, name) in header.iter().enumerate() {
                let text = cell(row, Some(at));
                if at != entitlement && !text.is_empty() {
                    known.attributes.entry(name.clone()).or_default().insert(text.to_owned());
                }
            }
        }
        all_or(&self.export, &problems)?;
        Ok(people.into_values().collect())
    }

    fn column(
        &self,
        sheet: &Sheet,
        given: &Option<String>,
        usual: &[&str],
        option: &str,
    ) -> Result<usize, String> {
        let wanted: Vec<&str> = match given {
            Some(name) => vec![name],
            None => usual.to_vec(),
        };
        let header = sheet.rows.first().map(|row| row.cells.as_slice()).unwrap_or_default();
        let found = wanted
            .iter()
            .find_map(|wanted| header.iter().position(|name| name.eq_ignore_ascii_case(wanted)));
        found.ok_or_else(|| {
            let names: Vec<_> = wanted.iter().map(|name| format!("`{name}`")).collect();
            format!(
                "the first row names no column {}; give its name with `{option}`",
                names.join(" or ")
            )
        })
    }
}

impl Person {
    /// A person with exactly these entitlements.
    pub fn holding<'a>(entitlements: impl IntoIterator<Item = &'a str>) -> Self {
        let entitlements = entitlements.into_iter().map(str::to_owned).collect();
        Self { name: "somebody".to_owned(), entitlements, ..Self::default() }
    }

    /// The person's entitlements, expanded by the tables, and the rows of the matrix about them.
    ///
    /// # Errors
    /// The person holds more than a command looks up.
    pub fn expanded(
        &self,
        mut rules: &Rules,
    ) -> Result<(Vec<Holding<'_>>, Vec<PairRow>), TooManyLookUps> {
        let held = |name| Holding { name: Name::parse(name), held: true, contains: Vec::new() };
        let mut holdings: Vec<_> = self.entitlements.iter().map(|name| held(name)).collect();
        let wanted = rules.wanted();
        let rows = expand(&mut holdings, &mut rules, wanted, MAX_LOOK_UPS)?;
        Ok((holdings, rows))
    }

    /// The texts of an attribute; `None` where the export has none.
    pub fn attribute(&self, of: Of, name: &str) -> Option<Vec<String>> {
        match of {
            Of::Subject => Some(self.attributes.get(name)?.iter().cloned().collect()),
            Of::Resource => None,
        }
    }

    /// The names by which an exception may know the person.
    pub fn names(&self) -> Vec<&str> {
        let attributes = ["login", "email"].into_iter().filter_map(|it| self.attributes.get(it));
        let texts = attributes.flatten().map(String::as_str);
        self.id.as_deref().into_iter().chain([self.name.as_str()]).chain(texts).collect()
    }
}

/// This person at a time, as the rules look at the person.
pub fn situation<'a>(
    person: &'a Person,
    holdings: Vec<Holding<'a>>,
    now: u64,
    attribute: &'a dyn Fn(Of, &str) -> Option<Vec<String>>,
) -> Situation<'a> {
    let subject = Some(person.id.as_deref().unwrap_or(&person.name));
    Situation { holdings, subject, now, attribute }
}

/// Fails with what a person's entitlements are too many for.
pub fn too_many(person: &Person, refused: TooManyLookUps) -> CliError {
    CliError::wrong(format!(
        "`{}` holds so much that more than {} look-ups would be needed",
        portcullis_model::escape::escape(&person.name),
        refused.limit
    ))
}

const PERSON_COLUMNS: [&str; 6] = ["login", "user", "person", "email", "userPrincipalName", "id"];
const ENTITLEMENT_COLUMNS: [&str; 5] = ["entitlement", "group", "role", "app", "access"];

/// Look-ups for one person. The plugin makes at most 200 in a call; a report goes on.
const MAX_LOOK_UPS: usize = 1_000_000;
