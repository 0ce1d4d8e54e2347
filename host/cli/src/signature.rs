//! `portcullis signature`: signatures that are made elsewhere, on a hardware token or another machine.
//!
//! What is signed is DSSE's pre-authentication encoding, with Ed25519 itself (RFC 8032, not the prehashed form). Any tool that does so
//! will do: `openssl pkeyutl -sign -rawin`, a PKCS#11 token, a machine that never had a network.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use portcullis_model::escape::escape;
use portcullis_trust::Envelope;
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Make signatures elsewhere and bring them back.
#[derive(Subcommand)]
pub enum Signature {
    /// Write the bytes that a signer has to sign.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis signature export trust-root.json --output trust-root.pae",
        )
    )]
    Export(Export),
    /// Add a signature that was made over the exported bytes.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis signature add trust-root.json --vkey second.vkey --signature ",
            "trust-root.sig \\\n",
            "    --output trust-root.json",
        )
    )]
    Add(Add),
    /// List who has signed a document. Commands such as `root verify` check whether they may.
    #[command(after_help = "Example:\n  portcullis signature list trust-root.json")]
    List(List),
}

/// Write what is to be signed.
#[derive(Args)]
pub struct Export {
    /// The document's envelope.
    envelope: PathBuf,
    /// The file to write the bytes to.
    #[arg(long)]
    output: PathBuf,
}

/// Add a signature.
#[derive(Args)]
pub struct Add {
    /// The document's envelope.
    envelope: PathBuf,
    /// The public key (vkey) of the signer.
    #[arg(long)]
    vkey: PathBuf,
    /// The file with the signature: 64 bytes, or their base64.
    #[arg(long)]
    signature: PathBuf,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// List signatures.
#[derive(Args)]
pub struct List {
    /// The document's envelope.
    envelope: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Signature {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Export(export) => {
                let envelope = Envelope::parse(&files::read(&export.envelope)?)?;
                files::write(&export.output, &envelope.message())
            }
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl Add {
    fn run(self) -> CliResult {
        let mut envelope = Envelope::parse(&files::read(&self.envelope)?)?;
        let key = files::read_public_key(&self.vkey)?;
        let bytes = files::read(&self.signature)?;
        let decoded = || STANDARD.decode(bytes.trim_ascii()).ok()?.try_into().ok();
        let signature = <[u8; 64]>::try_from(bytes.as_slice()).ok().or_else(decoded);
        let signature = signature.ok_or_else(|| {
            CliError::configuration(format!(
                "`{}` does not hold a signature: it must be 64 bytes or their base64",
                self.signature.display()
            ))
        })?;
        envelope.add(&key, signature)?;
        files::write(&self.output, &envelope.to_bytes())?;
        let count = envelope.signatures().len();
        self.format.print(
            format!("{}: signed by {}, {count} signatures", self.output.display(), key.keyid()),
            json!({"file": self.output, "signer": key.keyid(), "signatures": count}),
        );
        Ok(())
    }
}

impl List {
    fn run(self) -> CliResult {
        let envelope = Envelope::parse(&files::read(&self.envelope)?)?;
        let signers: Vec<_> =
            envelope.signatures().iter().map(|signature| signature.keyid.as_str()).collect();
        match self.format {
            Format::Json => print(json!({"type": envelope.payload_type(), "signers": signers})),
            Format::Text => {
                print(escape(envelope.payload_type()));
                signers.iter().for_each(|signer| print(format!("  {}", escape(signer))));
            }
        }
        Ok(())
    }
}
