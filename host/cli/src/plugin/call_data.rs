//! The tables and the memory of a call by hand: `plugin run` and `plugin bench`.
//!
//! Invariant: nothing is written but the file that `--memory-out` names, and that file holds what a
//! host would keep of the call.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use portcullis_files::read_text_bounded;
use portcullis_model::Call;
use portcullis_model::escape::{escape, escape_lines};
use portcullis_store::tables::{CurrentTables, Declaration, Table};
use portcullis_suite::{MemoryState, TestData, TestMemory, derived_declaration};
use portcullis_trust::{Capability, Manifest};

use crate::exit::{CliError, CliResult};
use crate::files;
use crate::table;

/// The tables and the memory that a call sees.
#[derive(Args)]
pub struct DataArguments {
    /// A reference table and the file with its rows, such as `roster=roster.csv`. Repeat the option
    /// for several.
    #[arg(long = "table", value_name = "NAME=FILE")]
    tables: Vec<String>,
    /// The declaration of a table (TOML), as a release set has it. Default: the columns are texts
    /// with the names in the file (`Worker ID` is `worker_id`), the first of a CSV file is the key,
    /// and the rows are not stale.
    #[arg(long = "declaration", value_name = "FILE")]
    declarations: Vec<PathBuf>,
    /// The file with the memory before the call (JSON), as `plugin run --memory-out` writes it.
    /// Default: the memory is empty.
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
}

/// The tables and the memory of one call.
pub struct CallState {
    /// The tables.
    pub tables: Arc<CurrentTables>,
    /// The memory as a file.
    pub state: MemoryState,
    /// The memory, where the manifest requests one.
    pub memory: Option<TestMemory>,
}

impl DataArguments {
    /// Reads the files.
    pub fn open(&self, manifest: &Manifest, call: &Call) -> CliResult<CallState> {
        let state = match &self.memory {
            None => MemoryState::default(),
            Some(file) => MemoryState::parse(&files::read_text(file)?).map_err(|why| {
                let message = format!("the memory `{}`: {}", file.display(), escape(&why));
                CliError::configuration(message)
                    .hint(Some("`portcullis plugin run --memory-out FILE` writes such a file"))
            })?,
        };
        let has_memory = manifest.capabilities.contains(&Capability::Memory);
        if self.memory.is_some() && !has_memory {
            return Err(CliError::configuration("the manifest does not request a memory")
                .hint(Some("add `memory` to its `capabilities`, or leave out `--memory`")));
        }
        let memory = has_memory.then(|| state.open(call)).transpose();
        let memory = memory.map_err(|error| CliError::configuration(escape(&error.to_string())))?;
        Ok(CallState { tables: self.tables(manifest, call)?, state, memory })
    }

    fn tables(&self, manifest: &Manifest, call: &Call) -> CliResult<Arc<CurrentTables>> {
        let mut declarations = Vec::new();
        for file in &self.declarations {
            declarations.push((file, table::declaration(file)?));
        }
        let mut tables = Vec::new();
        for named in &self.tables {
            let (name, file) = named.split_once('=').ok_or_else(|| {
                CliError::usage(format!("`{named}` is no table and file; write `NAME=FILE`"))
            })?;
            if manifest.reads.table(name).is_none() {
                let message = format!("the manifest reads no column of a table `{name}`");
                return Err(CliError::configuration(message).hint(Some(format!(
                    "add `tables.{name}.COLUMN` to its `reads`, or correct the name"
                ))));
            }
            let file = PathBuf::from(file);
            let place = declarations.iter().position(|(_, it)| it.name == name);
            let read = match place.map(|place| declarations.swap_remove(place)) {
                Some((_, declaration)) => table::load(&declaration, &file, timestamp(call))?,
                None => derived(name, &file)?,
            };
            tables.push(Arc::new(read));
        }
        if let Some((file, declaration)) = declarations.first() {
            let message = format!(
                "the declaration `{}` is of the table `{}`, and no `--table` gives it rows",
                file.display(),
                declaration.name
            );
            return Err(CliError::configuration(message)
                .hint(Some(format!("add `--table {}=FILE`", declaration.name))));
        }
        Ok(Arc::new(CurrentTables::of(tables)))
    }
}

impl CallState {
    /// The data that the call sees.
    pub fn data(&self) -> TestData<'_> {
        TestData { tables: Arc::clone(&self.tables), memory: self.memory.as_ref() }
    }
}

/// A table of which there is a file and no declaration.
fn derived(name: &str, file: &Path) -> CliResult<Table> {
    let wrong = |why: String| {
        let message = format!("`{}`: {}", file.display(), escape_lines(&why));
        CliError::configuration(message)
            .hint(Some("give the table's declaration with `--declaration`"))
    };
    let text =
        read_text_bounded(file, MAX_TABLE_BYTES).map_err(|error| wrong(error.to_string()))?;
    let declaration: Declaration =
        derived_declaration(name, &file.to_string_lossy(), &text).map_err(wrong)?;
    Table::load(&declaration, text.as_bytes(), Timestamp::MAX)
        .map_err(|error| wrong(error.to_string()))
}

fn timestamp(call: &Call) -> Timestamp {
    let millis = i64::try_from(call.received.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// The largest file of a table without a declaration, bytes.
const MAX_TABLE_BYTES: u64 = 64 << 20;
