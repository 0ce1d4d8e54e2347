//! `portcullis table sign`: signs a version of a reference table.
//!
//! Invariant: nothing is signed that a host would refuse for its rows, and no key signs that could
//! never count. The signature lies beside the file, and the file stays as it is.

use std::path::PathBuf;

use clap::Args;
use portcullis_model::Millis;
use portcullis_server::Clock;
use portcullis_trust::{Refusal, RefusalCode, TableVersion, TrustRoot, sign};
use serde_json::json;

use super::{declaration, load, now};
use crate::document::may_sign;
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::release::still;
use crate::signing::{add_all, chain, read_keys};

/// Sign a version of a table that its declaration demands to be signed.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis table sign --declaration roster.toml --root trust-root.json --key data.key \\\n",
    "    roster.csv\n",
    "  portcullis table sign --declaration roster.toml --root trust-root.json --key second.key \\\n",
    "    --add roster.csv\n\n",
    "The signature is written beside the file, as `roster.csv.sig`. Bring it to the host before the\n",
    "file. It has the time of this machine, which a host never lets go back for a table.\n\n",
    "Exit 1: the file or the declaration has problems, or the key may not sign tables.",
))]
pub struct Sign {
    /// The declaration of the table (TOML).
    #[arg(long)]
    declaration: PathBuf,
    /// The trust root's envelope, and those that followed it, in order: the key must be one of its
    /// role `data`.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// A key of the role `data`. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// Add to the signature that lies beside the file, where the role needs several keys.
    #[arg(long)]
    add: bool,
    /// The file of the table.
    file: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Sign {
    /// Does it.
    pub fn run(self) -> CliResult {
        let root = chain(&self.roots)?;
        let Some(role) = &root.data else {
            let message = format!("the trust root {} has no role `data`", root.version);
            return Err(CliError::wrong(format!("{message} [data-unavailable]"))
                .hint(Some(RefusalCode::DataUnavailable.remedy())));
        };
        let keys = read_keys(&self.keys)?;
        may_sign(&role.keys, &keys, "versions of tables")?;
        let declaration = declaration(&self.declaration)?;
        let table = load(&declaration, &self.file, now())?;
        let output = {
            let mut name = self.file.clone().into_os_string();
            name.push(".sig");
            PathBuf::from(name)
        };
        let now = Clock::system().now();
        let (name, version) = (table.name().to_owned(), table.version());
        let envelope = if self.add {
            let envelope = files::read(&output)?;
            let there = TableVersion::unverified(&envelope)?;
            there.check_file(version)?;
            if there.table != name {
                let message = format!("the signature is for the table `{}`", there.table);
                return Err(CliError::wrong(format!("{message} [table-version-mismatch]")));
            }
            add_all(envelope, &keys)?
        } else {
            let signed = TableVersion { table: name.clone(), version, issued: now };
            let payload = signed.to_payload()?;
            sign(TableVersion::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>())
        };
        let missing = missing(&root, &envelope, &name, now)?;
        // As readable as the umask says: the host may run as another user.
        files::replace(&output, &envelope)?;
        let hint = (!declaration.signed).then_some(
            "\nthe declaration lacks `signed = true`, so hosts use the table without the signature",
        );
        self.format.print(
            format!(
                "version {version} of the table {name}: signature in {}{}{}",
                output.display(),
                still(missing.as_ref()),
                hint.unwrap_or_default()
            ),
            json!({
                "table": name, "version": version.to_string(), "file": output,
                "missing": missing.map(|refusal| refusal.to_string()),
            }),
        );
        Ok(())
    }
}

/// Returns what signatures are still missing; anything else that is wrong is an error.
fn missing(
    root: &TrustRoot,
    envelope: &[u8],
    table: &str,
    now: Millis,
) -> CliResult<Option<Refusal>> {
    match TableVersion::verify(root, envelope, table, now) {
        Ok(_) => Ok(None),
        Err(refusal) if refusal.kind() == RefusalCode::BelowThreshold => Ok(Some(refusal)),
        Err(refusal) => Err(refusal.into()),
    }
}
