//! `portcullis plugin componentize`: from a core module to a component.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::exit::{CliResult, Format};
use crate::files;

/// Turn a core module into a component.
#[derive(Args)]
pub struct Componentize {
    /// The core module.
    module: PathBuf,
    /// The file to write the component to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Componentize {
    /// Does it.
    pub fn run(self) -> CliResult {
        let component = portcullis_engine::componentize(&files::read(&self.module)?)?;
        let inspection = portcullis_engine::inspect(&component)?;
        files::write(&self.output, &component)?;
        self.format.print(
            format!("{}: {} bytes, {}", self.output.display(), inspection.bytes, inspection.digest),
            json!({"file": self.output, "bytes": inspection.bytes, "digest": inspection.digest.to_string()}),
        );
        Ok(())
    }
}
