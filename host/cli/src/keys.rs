//! `portcullis keys`: make and list keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use portcullis_keys::{SecretKey, SymmetricKey, read_secret_file, write_secret_file};
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Make and list keys.
#[derive(Subcommand)]
pub enum Keys {
    /// Make a key and write it to a new file that only you can read.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis keys generate --name hospital.example/release \\\n",
            "    --output release.key --vkey release.vkey",
        )
    )]
    Generate(Generate),
    /// List the keys in files: their names and public keys, never secrets.
    #[command(after_help = "Example:\n  portcullis keys list keys/*")]
    List(List),
}

/// Make a key.
#[derive(Args)]
pub struct Generate {
    /// The use of the key: `signing` (Ed25519), `symmetric` (sealing, pseudonyms) or `secret` (a
    /// caller's header).
    #[arg(long, value_enum, default_value = "signing")]
    kind: Kind,
    /// The name of a signing key: a host and a path, such as `hospital.example/release`.
    #[arg(long, required_if_eq("kind", "signing"), required_unless_present = "kind")]
    name: Option<String>,
    /// The key file to write. It must not exist yet.
    #[arg(long)]
    output: PathBuf,
    /// Also write the public key (vkey) to this file.
    #[arg(long)]
    vkey: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// List keys.
#[derive(Args)]
pub struct List {
    /// Key files, secret or public.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Signing,
    Symmetric,
    Secret,
}

impl Keys {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Generate(generate) => generate.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl Generate {
    fn run(self) -> CliResult {
        match self.kind {
            Kind::Signing => {
                let key = SecretKey::generate(self.name.as_deref().unwrap_or_default())?;
                write_secret_file(&self.output, &key.to_text())?;
                let vkey = key.public().to_string();
                if let Some(path) = &self.vkey {
                    files::write(path, format!("{vkey}\n").as_bytes())?;
                }
                match self.format {
                    Format::Text => print(vkey),
                    Format::Json => {
                        print(json!({"kind": "signing", "vkey": vkey, "file": self.output}))
                    }
                }
            }
            Kind::Symmetric => {
                write_secret_file(&self.output, &SymmetricKey::generate()?.to_text())?;
                self.made("symmetric");
            }
            Kind::Secret => {
                // As random as a key, in characters that any header takes.
                write_secret_file(
                    &self.output,
                    &format!(
                        "{SECRET}{}",
                        portcullis_model::hex(SymmetricKey::generate()?.expose())
                    ),
                )?;
                self.made("secret");
            }
        }
        Ok(())
    }

    fn made(&self, kind: &str) {
        match self.format {
            Format::Text => print(format!("the {kind} key is in {}", self.output.display())),
            Format::Json => print(json!({"kind": kind, "file": self.output})),
        }
    }
}

impl List {
    fn run(self) -> CliResult {
        let mut unknown = 0;
        for file in &self.files {
            let (kind, vkey) = describe(file);
            if kind == "unknown" {
                unknown += 1;
            }
            match (self.format, vkey) {
                (Format::Json, vkey) => print(json!({"file": file, "kind": kind, "vkey": vkey})),
                (Format::Text, Some(vkey)) => print(format!("{}: {kind} {vkey}", file.display())),
                (Format::Text, None) => print(format!("{}: {kind}", file.display())),
            }
        }
        if unknown > 0 {
            Err(CliError::wrong(format!(
                "{unknown} of the files do not hold a key that can be read"
            )))
        } else {
            Ok(())
        }
    }
}

fn describe(file: &Path) -> (&'static str, Option<String>) {
    if let Ok(text) = files::read_text(file)
        && let Ok(public) = portcullis_keys::PublicKey::parse(text.trim())
    {
        return ("public", Some(public.to_string()));
    }
    if let Ok(key) = SecretKey::read(file) {
        return ("signing", Some(key.public().to_string()));
    }
    if SymmetricKey::read(file).is_ok() {
        return ("symmetric", None);
    }
    let secret = read_secret_file(file).is_ok_and(|text| text.starts_with(SECRET));
    if secret { ("secret", None) } else { ("unknown", None) }
}

/// What secrets made here begin with, to be told from other text.
const SECRET: &str = "hook-";
