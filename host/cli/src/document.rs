//! Common parts of the commands that sign documents for a while: time resets, clock
//! confirmations and break-glass documents.
//!
//! Invariant: no key signs that could never count. A document with too few signatures is written,
//! and what it lacks is said.

use std::path::PathBuf;

use clap::Args;
use portcullis_keys::{PublicKey, SecretKey};
use portcullis_trust::{Refusal, RefusalCode, TrustRoot};
use serde_json::{Value, json};

use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::release::still;
use crate::signing::{add_all, chain};

/// Add signatures to a document.
#[derive(Args)]
pub struct SignDocument {
    /// The document's envelope.
    document: PathBuf,
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// A key of the role that signs the document: `root` for a time reset, `break_glass` for a
    /// break-glass document. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl SignDocument {
    /// The trust root, and the envelope with the signatures of all keys, which must be among those
    /// of `role`. `what` names the document.
    pub fn sign(
        &self,
        what: &str,
        role: impl Fn(&TrustRoot) -> &[PublicKey],
    ) -> CliResult<(TrustRoot, Vec<u8>)> {
        let root = chain(&self.roots)?;
        let keys = crate::signing::read_keys(&self.keys)?;
        may_sign(role(&root), &keys, what)?;
        let envelope = add_all(files::read(&self.document)?, &keys)?;
        Ok((root, envelope))
    }

    /// Writes the envelope and says so: `name` and `members` tell which document it is.
    pub fn write(
        self,
        envelope: &[u8],
        missing: Option<Refusal>,
        name: &str,
        mut members: Value,
    ) -> CliResult {
        files::write(&self.output, envelope)?;
        let text = format!("{name} in {}{}", self.output.display(), still(missing.as_ref()));
        if let Value::Object(members) = &mut members {
            members.insert("file".to_owned(), json!(self.output));
            let missing = missing.map(|refusal| refusal.to_string());
            members.insert("missing".to_owned(), json!(missing));
        }
        self.format.print(text, members);
        Ok(())
    }
}

/// Refuses a key that could never count for a role. `what` names the document.
pub fn may_sign(role: &[PublicKey], keys: &[SecretKey], what: &str) -> CliResult {
    let counts = |key: &&SecretKey| role.iter().any(|ours| ours.bytes() == key.public().bytes());
    match keys.iter().find(|key| !counts(key)) {
        None => Ok(()),
        Some(key) => {
            let message =
                format!("{} is not allowed to sign {what} [unknown-signer]", key.public().keyid());
            Err(CliError::wrong(message).hint(Some(RefusalCode::UnknownSigner.remedy())))
        }
    }
}
