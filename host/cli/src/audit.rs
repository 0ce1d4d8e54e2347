//! `portcullis audit`: read, verify and prove the record. Needs the log's files and its public key, not the host.

mod record_types;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_audit::SealKey;
use portcullis_audit::disk::OsDisk;
use portcullis_keys::{PublicKey, SymmetricKey};
use portcullis_model::HelpDeskReference;
use portcullis_model::escape::escape;
use portcullis_tlog::query::{Filter, QueryRow, Unreadable};
use portcullis_tlog::verify::VerifyOptions;
use portcullis_tlog::{OpenSealed, ReadError, prove, query, verify};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::exit::{CliError, CliResult, Format, count, print};
use crate::files;

/// Read, verify and prove the record.
#[derive(Subcommand)]
pub enum Audit {
    /// Verify the whole log: every record, every tile, the signed checkpoint. With exit code 1 the
    /// command names each damaged place.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis audit verify --log audit/log --vkey log.vkey\n",
            "  portcullis audit verify --log audit/log --vkey log.vkey \\\n",
            "    --retained checkpoint-of-last-week",
        )
    )]
    Verify(Verify),
    /// Show records, each proved against the signed checkpoint. With the sealing key their sealed
    /// parts are shown too.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis audit show --log audit/log --vkey log.vkey --type hook.decision\n",
            "  portcullis audit show --log audit/log --vkey log.vkey --index 17 \\\n",
            "    --sealing-key keys/sealing.key\n",
            "  portcullis audit show --log audit/log --vkey log.vkey \\\n",
            "    --help-desk-reference K7QF2MXA\n\n",
            "Exit 1: a record differs from what was signed. Exit 2: no record can have that ",
            "type, or a time between these, or the text is not a help-desk reference. Exit 3: the log has no record `--index` or no ",
            "decision with that help-desk reference, or the other options leave it out. Exit 4: ",
            "the record is durable, but no checkpoint covers it yet.",
        )
    )]
    Show(Show),
    /// Write the proof of one record (C2SP tlog-proof) and the record beside it, or check a proof.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis audit prove --log audit/log --vkey log.vkey --index 17 \\\n",
            "    --output record.tlog-proof\n",
            "  portcullis audit prove --check record.tlog-proof --record record.json \\\n",
            "    --vkey log.vkey",
        )
    )]
    Prove(Prove),
}

/// Verify the whole log.
#[derive(Args)]
pub struct Verify {
    /// The directory of the log, which holds `checkpoint`.
    #[arg(long)]
    log: PathBuf,
    /// The file with the log's public key (vkey).
    #[arg(long)]
    vkey: PathBuf,
    /// A checkpoint that you kept earlier. With it the command finds a cut tail and a rewritten
    /// history.
    #[arg(long)]
    retained: Option<PathBuf>,
    /// Also check the sealed parts against their records.
    #[arg(long)]
    sealed: bool,
    /// Also open the sealed parts with this key.
    #[arg(long)]
    sealing_key: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Show records.
#[derive(Args)]
pub struct Show {
    /// The directory of the log, which holds `checkpoint`.
    #[arg(long)]
    log: PathBuf,
    /// The file with the log's public key (vkey).
    #[arg(long)]
    vkey: PathBuf,
    /// Show the record with this index only.
    #[arg(long)]
    index: Option<u64>,
    /// Show records of this type only, such as `hook.decision`, or `hook.` for all that begin so.
    #[arg(long = "type")]
    kind: Option<String>,
    /// Show records from this time on: a time such as `2026-11-30T00:00:00Z`, or milliseconds since
    /// 1970.
    #[arg(long)]
    since: Option<String>,
    /// Show records before this time.
    #[arg(long)]
    until: Option<String>,
    /// Show decisions with this help-desk reference only: the eight characters at the end of a
    /// denial's text.
    #[arg(long)]
    help_desk_reference: Option<String>,
    /// The sealing key, to show the sealed parts.
    #[arg(long)]
    sealing_key: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Prove one record, or check a proof.
#[derive(Args)]
pub struct Prove {
    /// The directory of the log, which holds `checkpoint`.
    #[arg(long, required_unless_present = "check")]
    log: Option<PathBuf>,
    /// The file with the log's public key (vkey).
    #[arg(long)]
    vkey: PathBuf,
    /// The index of the record.
    #[arg(long, required_unless_present = "check")]
    index: Option<u64>,
    /// The file to write the proof to. The record is written beside it, as `.json`.
    #[arg(long, required_unless_present = "check")]
    output: Option<PathBuf>,
    /// Check this proof instead of writing one.
    #[arg(long, requires = "record", conflicts_with_all = ["log", "index", "output"])]
    check: Option<PathBuf>,
    /// The file with the record that the proof is for: its exact bytes.
    #[arg(long)]
    record: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Audit {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Verify(verify) => verify.run(),
            Self::Show(show) => show.run(),
            Self::Prove(prove) => prove.run(),
        }
    }
}

impl Verify {
    fn run(self) -> CliResult {
        let key = files::read_public_key(&self.vkey)?;
        if !self.log.exists() {
            let message = format!("the folder `{}` does not exist", self.log.display());
            return Err(CliError::configuration(message).hint(Some(
                "give `--log` the folder that holds `checkpoint`, such as `audit/log`",
            )));
        }
        let retained = self.retained.as_deref().map(files::read).transpose()?;
        let seal_key = self.sealing_key.as_deref().map(seal_key).transpose()?;
        let sealed = self.sealed || seal_key.is_some();
        let options =
            VerifyOptions { retained: retained.as_deref(), sealed, seal_key: opener(&seal_key) };
        let verified = verify::verify(&OsDisk, &self.log, &key, &options);
        let whole = match verified {
            Ok(whole) => whole,
            Err(damage) => {
                for damage in &damage {
                    match self.format {
                        Format::Text => print(escape(&damage.to_string())),
                        Format::Json => print(
                            json!({"place": damage.place, "index": damage.index, "what": damage.what}),
                        ),
                    }
                }
                return Err(CliError::wrong(format!(
                    "the log differs from what was signed: {}",
                    count(damage.len(), "damaged place")
                )));
            }
        };
        match self.format {
            Format::Text => {
                print(format!(
                    "the log `{}` is complete and unaltered: {} records in {} files",
                    whole.head.origin, whole.head.size, whole.files
                ));
                if let Some(size) = whole.continues {
                    print(format!("it continues the retained checkpoint of {size} records"));
                }
                if sealed {
                    print(format!("{} sealed parts are unaltered", whole.sealed));
                }
            }
            Format::Json => print(json!({
                "origin": whole.head.origin, "size": whole.head.size, "files": whole.files,
                "continues": whole.continues, "sealed": whole.sealed,
            })),
        }
        Ok(())
    }
}

impl Show {
    fn run(self) -> CliResult {
        let key = files::read_public_key(&self.vkey)?;
        let seal_key = self.sealing_key.as_deref().map(seal_key).transpose()?;
        let filter = Filter {
            from: self.index.unwrap_or(0),
            to: self.index.map(|index| index.saturating_add(1)),
            since: self.since.as_deref().map(instant).transpose()?,
            until: self.until.as_deref().map(instant).transpose()?,
            kind: self.kind.clone(),
            help_desk_reference: self.help_desk_reference.as_deref().map(reference).transpose()?,
        };
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since >= until
        {
            return Err(CliError::usage(format!(
                "no record can be both from {since} on and before {until} (milliseconds since \
                 1970)"
            ))
            .hint(Some("give `--since` the earlier time and `--until` the later one")));
        }
        let mut altered = 0;
        let show_one = |shown: QueryRow| {
            let is_damaged =
                matches!(shown.sealed, Some(Err(Unreadable::Altered | Unreadable::Damaged(_))));
            altered += usize::from(is_damaged);
            self.print(&shown);
            true
        };
        let shown = query::query(&OsDisk, &self.log, &key, &filter, opener(&seal_key), show_one)
            .map_err(unreadable)?;
        if shown == 0 {
            return self.none_shown(&filter, &key);
        }
        if altered == 0 {
            return Ok(());
        }
        Err(CliError::wrong(format!(
            "the log is damaged: {} not the {} recorded",
            if altered == 1 {
                "a sealed part is".to_owned()
            } else {
                format!("{altered} sealed parts are")
            },
            if altered == 1 { "one that was" } else { "ones that were" },
        ))
        .hint(Some("run `portcullis audit verify --sealed` to find every damaged place")))
    }

    /// The filter lets nothing through: an error where it never could.
    fn none_shown(&self, filter: &Filter, key: &PublicKey) -> CliResult {
        // A log may hold types of another version; those would have been shown.
        if let Some(kind) = filter.kind.as_deref().filter(|_| !record_types::is_known(filter)) {
            return Err(record_types::unknown(kind));
        }
        let Some(index) = self.index else {
            return match &filter.help_desk_reference {
                Some(reference) => Err(no_decision_with(reference)),
                None => Ok(()),
            };
        };
        let only = Filter { from: filter.from, to: filter.to, ..Filter::default() };
        let mut found = String::new();
        let look = |shown: QueryRow| {
            let record = shown.verified.record();
            let time = portcullis_trust::time::format(portcullis_model::Millis(record.at));
            found = format!("record {index} is a `{}` of {time}", record.kind);
            true
        };
        query::query(&OsDisk, &self.log, key, &only, None, look).map_err(unreadable)?;
        Err(CliError::missing(format!("{found}, which the other options leave out")))
    }

    fn print(&self, shown: &QueryRow) {
        let (record, leaf) =
            (shown.verified.record(), String::from_utf8_lossy(shown.verified.leaf()));
        if self.format == Format::Json {
            return match &shown.sealed {
                Some(Ok(sealed)) => print(
                    json!({"record": raw(&leaf), "sealed": raw(&String::from_utf8_lossy(sealed))}),
                ),
                Some(Err(why)) => {
                    print(json!({"record": raw(&leaf), "sealed_unreadable": why.to_string()}))
                }
                None => print(leaf),
            };
        }
        let time = portcullis_trust::time::format(portcullis_model::Millis(record.at));
        print(format!("{} {time} {}\n  {}", record.seq, escape(&record.kind), escape(&leaf)));
        match &shown.sealed {
            Some(Ok(sealed)) => {
                let sealed = raw(&String::from_utf8_lossy(sealed)).to_string();
                print(format!("  sealed: {}", escape(&sealed)));
            }
            Some(Err(why)) => print(format!("  the sealed part cannot be read: {why}")),
            None => {}
        }
    }
}

impl Prove {
    fn run(self) -> CliResult {
        let key = files::read_public_key(&self.vkey)?;
        if let (Some(proof), Some(record)) = (&self.check, &self.record) {
            let (index, head) =
                prove::check_proof(&files::read_text(proof)?, &files::read(record)?, &key)
                    .map_err(|error| CliError::wrong(format!("{error} [{}]", error.code())))?;
            self.format.print(
                format!(
                    "the proof is right: the record is number {index} of the log `{}`, in its \
                     checkpoint of {} records",
                    head.origin, head.size
                ),
                json!({"index": index, "origin": head.origin, "size": head.size}),
            );
            return Ok(());
        }
        let (Some(log), Some(index), Some(output)) = (self.log, self.index, self.output) else {
            return Err(CliError::configuration(
                "give `--log`, `--index` and `--output`, or `--check` and `--record`",
            ));
        };
        let record = output.with_extension("json");
        if record == output {
            let message = format!(
                "the proof cannot be written to `{}`, because the record is \
             written there",
                output.display()
            );
            let proof = output.with_extension("tlog-proof");
            return Err(CliError::configuration(message).hint(Some(format!(
                "give the proof another ending, such as `{}`; the record is written beside it, \
                 as `.json`",
                proof.display()
            ))));
        }
        let proven = prove::prove(&OsDisk, &log, &key, index).map_err(unreadable)?;
        files::write(&output, proven.proof.as_bytes())?;
        files::write(&record, &proven.leaf)?;
        self.format.print(
            format!("the proof is in {}, and its record in {}", output.display(), record.display()),
            json!({"index": index, "proof": output, "record": record}),
        );
        Ok(())
    }
}

fn opener(key: &Option<SealKey>) -> Option<&dyn OpenSealed> {
    key.as_ref().map(|key| key as &dyn OpenSealed)
}

fn seal_key(path: &Path) -> CliResult<SealKey> {
    Ok(SealKey::new(SymmetricKey::read(path)?))
}

fn unreadable(error: ReadError) -> CliError {
    let hint = error.hint();
    let message = format!("{error} [{}]", error.code());
    let failed = match error {
        ReadError::NoSuchRecord { .. } => CliError::missing(message),
        ReadError::NotYetCovered { .. } => CliError::not_yet(message),
        _ => CliError::wrong(message),
    };
    failed.hint(hint)
}

/// Reads a help-desk reference as a person dictates it.
fn reference(text: &str) -> CliResult<String> {
    let reference = HelpDeskReference::parse(text).map_err(|error| {
        CliError::usage(format!("`{}` is not a help-desk reference: {error}", escape(text)))
    })?;
    Ok(reference.to_string())
}

fn no_decision_with(reference: &str) -> CliError {
    let message = format!("no decision in this log has the help-desk reference {reference}");
    CliError::missing(message).hint(Some(
        "check the characters with the caller, leave out the other options, and look into the \
         logs of the other hosts; a decision of the last seconds is shown once a checkpoint covers \
         it",
    ))
}

/// Milliseconds since 1970, or an RFC 3339 time in UTC.
fn instant(text: &str) -> CliResult<u64> {
    let time = text.parse().ok().or_else(|| portcullis_trust::time::parse(text).map(|time| time.0));
    time.ok_or_else(|| {
        CliError::configuration(format!(
            "`{text}` is not a time: write `2026-11-30T00:00:00Z` or milliseconds since 1970"
        ))
    })
}

/// JSON as it stands; a sealed part that is not JSON (a sentence) becomes a string.
fn raw(text: &str) -> Value {
    RawValue::from_string(text.to_owned())
        .ok()
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_else(|| Value::from(text))
}
