//! `portcullis break-glass`: documents that hold one hook open for a while, from being written to being over.
//!
//! Opening and closing put a file into the host's folder: they need neither the log nor the network, and no word from the host.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use portcullis_files::{MAX_ENTRIES, list_bounded};
use portcullis_keys::{PublicKey, SymmetricKey};
use portcullis_model::Millis;
use portcullis_model::escape::escape;
use portcullis_server::Clock;
use portcullis_trust::{BreakGlass as Document, TrustRoot, sign, time};
use serde_json::{Value, json};

use crate::document::SignDocument;
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;
use crate::release::missing;
use crate::signing::chain;

/// Hold one hook open for a while, for a reason.
#[derive(Subcommand)]
pub enum BreakGlass {
    /// Write an unsigned break-glass document.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis break-glass prepare --hook token --waive SOD_CONFLICT --fail-open ",
            "--minutes 30 \\\n",
            "    --person physician-in-charge --reason sign-in-stops-care --ticket PLAN-7 ",
            "--output plan-7.json",
        )
    )]
    Prepare(Prepare),
    /// Add the signature of a break-glass key. The trust root sets how many are needed.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis break-glass sign plan-7.json --root trust-root.json --key cmio.key ",
            "--output plan-7.json",
        )
    )]
    Sign(SignDocument),
    /// Open a signed document. A document works once.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis break-glass open plan-7.json --root trust-root.json --folder ",
            "break-glass \\\n",
            "    --person noor.haddad --reason ward-4-cannot-sign-in --ticket INC-12",
        )
    )]
    Open(Open),
    /// Close an open document before its time is over.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis break-glass close plan-7.json --folder break-glass",
        )
    )]
    Close(Close),
    /// List the documents in the host's folder, with their states on the host.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis break-glass list --folder break-glass --state trust-state",
        )
    )]
    List(List),
}

/// Write a document.
#[derive(Args)]
pub struct Prepare {
    /// The tenant that the document is for.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// The hook's name in the host's configuration.
    #[arg(long)]
    hook: String,
    /// A finding code to waive. Repeat the option for several.
    #[arg(long = "waive")]
    waives: Vec<String>,
    /// Make the platform's default the hook's safe answer, for a failure of plugins or of the log.
    #[arg(long = "fail-open")]
    fail_open: bool,
    /// How many minutes the document works once it is opened: 1 to 60.
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// How long the document may be opened, in days from now.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// The person who may open it.
    #[arg(long)]
    person: String,
    /// The reason for it.
    #[arg(long)]
    reason: String,
    /// The ticket or plan that it belongs to.
    #[arg(long)]
    ticket: String,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Open a document.
#[derive(Args)]
pub struct Open {
    /// The signed document.
    document: PathBuf,
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// The folder that the host reads (`trust.break_glass`).
    #[arg(long)]
    folder: PathBuf,
    /// The person who opens it.
    #[arg(long)]
    person: String,
    /// The reason for it.
    #[arg(long)]
    reason: String,
    /// The ticket that it belongs to.
    #[arg(long)]
    ticket: String,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Close a document.
#[derive(Args)]
pub struct Close {
    /// The document.
    document: PathBuf,
    /// The folder that the host reads (`trust.break_glass`).
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// List documents.
#[derive(Args)]
pub struct List {
    /// The folder that the host reads (`trust.break_glass`).
    #[arg(long)]
    folder: PathBuf,
    /// The host's state folder (`trust.state`).
    #[arg(long)]
    state: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl BreakGlass {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Prepare(prepare) => prepare.run(),
            Self::Sign(document) => sign_document(document),
            Self::Open(open) => open.run(),
            Self::Close(close) => close.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl Prepare {
    fn run(self) -> CliResult {
        let now = Clock::system().now();
        // The first half of 32 random bytes.
        let id = SymmetricKey::generate()?.to_text().get(..32).unwrap_or_default().to_owned();
        let document = Document {
            id: id.clone(),
            tenant: self.tenant,
            hook: self.hook,
            waives: self.waives.into_iter().collect(),
            fail_open: self.fail_open,
            minutes: self.minutes,
            person: self.person,
            reason: self.reason,
            ticket: self.ticket,
            issued: now,
            expires: Millis(now.0.saturating_add(u64::from(self.days) * 24 * 60 * 60 * 1_000)),
        };
        let envelope = sign(Document::PAYLOAD_TYPE, &document.to_payload()?, &[]);
        files::write(&self.output, &envelope)?;
        self.format.print(
            format!(
                "break-glass document {id} is in {}; it has no signatures yet",
                self.output.display()
            ),
            json!({"id": id, "file": self.output}),
        );
        Ok(())
    }
}

fn sign_document(sign: SignDocument) -> CliResult {
    let (root, envelope) = sign.sign("a break-glass document", keepers)?;
    let document = Document::unverified(&envelope)?;
    let verified = Document::verify(&root, &envelope, Clock::system().now());
    let name = format!("break-glass document {}", document.id);
    sign.write(&envelope, missing(verified.map(drop))?, &name, json!({"id": document.id}))
}

fn keepers(root: &TrustRoot) -> &[PublicKey] {
    root.break_glass.as_ref().map(|role| role.keys.as_slice()).unwrap_or_default()
}

impl Open {
    fn run(self) -> CliResult {
        let root = chain(&self.roots)?;
        let envelope = files::read(&self.document)?;
        // Whoever opens it should hear now what the host would say in its log only.
        let document = Document::verify(&root, &envelope, Clock::system().now())?;
        let opening = json!({
            "document": STANDARD.encode(&envelope), "person": self.person, "reason": self.reason, "ticket": self.ticket,
        });
        let path = self.folder.join(format!("{}.open.json", document.id));
        if path.exists() {
            return Err(CliError::wrong(format!(
                "`{}` exists, so this document was opened before, and it works only once",
                path.display()
            )));
        }
        files::write(&path, opening.to_string().as_bytes())?;
        self.format.print(
            format!("{} opens hook `{}` for {} minutes", path.display(), document.hook, document.minutes),
            json!({"id": document.id, "hook": document.hook, "minutes": document.minutes, "file": path}),
        );
        Ok(())
    }
}

impl Close {
    fn run(self) -> CliResult {
        let document = Document::unverified(&files::read(&self.document)?)?;
        let path = self.folder.join(format!("{}.close", document.id));
        files::write(&path, b"")?;
        self.format.print(
            format!("{} closes hook `{}`", path.display(), document.hook),
            json!({"id": document.id, "hook": document.hook, "file": path}),
        );
        Ok(())
    }
}

impl List {
    fn run(self) -> CliResult {
        if !self.state.is_dir() {
            let message = format!("the folder `{}` does not exist", self.state.display());
            return Err(CliError::configuration(message).hint(Some(
                "give `--state` the host's state folder, `trust.state` of its configuration",
            )));
        }
        // The first line is the list, the second its authentication, which is for the host.
        let known = files::read_text(&self.state.join("break-glass")).unwrap_or_default();
        let known: Value = known
            .lines()
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let known = known.get("documents").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut listed: Vec<_> = known.keys().cloned().collect();
        let names = list_bounded(&self.folder, &[".open.json"], MAX_ENTRIES).unwrap_or_default();
        let names = names.names.into_iter().filter_map(|name| name.into_string().ok());
        listed.extend(names.filter_map(|name| name.strip_suffix(".open.json").map(str::to_owned)));
        listed.sort();
        listed.dedup();
        let now = Clock::system().now().0;
        for id in listed {
            let number =
                |member: &str| known.get(&id).and_then(|it| it.get(member)).and_then(Value::as_u64);
            let hook = known
                .get(&id)
                .and_then(|it| it.get("hook"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            let closed = known.get(&id).and_then(|it| it.get("closed")).and_then(Value::as_bool);
            let state = match (closed, number("until")) {
                (Some(false), Some(until)) if now < until => "open",
                (Some(_), _) => "over",
                (None, _) => "not taken",
            };
            let until = number("until")
                .filter(|until| *until > 0)
                .map(|until| time::format(Millis(until - until % 1_000)));
            match self.format {
                Format::Json => {
                    print(json!({"id": id, "hook": hook, "state": state, "until": until}))
                }
                Format::Text => print(
                    escape(&format!("{id} {hook} {state} {}", until.unwrap_or_default()))
                        .trim_end(),
                ),
            }
        }
        Ok(())
    }
}
