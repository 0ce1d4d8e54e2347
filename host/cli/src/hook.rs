//! `portcullis hook`: call a hook as its platform would, look at one from outside, list what is spoken.

pub mod configured;
pub mod connection;
mod doctor;
pub mod kinds;
mod no_answer;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::{Method, Uri};
use portcullis_model::escape::escape;
use serde_json::json;

use self::connection::{Answer, ClientAuth, Endpoint};
use self::no_answer::{Sent, explain, is_answer};
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Call a hook, diagnose one from outside, and list the hook kinds.
#[derive(Subcommand)]
pub enum Hook {
    /// Post a payload file to a hook and show the answer.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis hook send --url http://127.0.0.1:8600/okta/token \\\n",
            "    --secret-file secrets/token --payload sign-in.json\n\n",
            "Exit 0: the answer is one of a hook. Exit 1: it is not, and the hint names what to ",
            "check.",
        )
    )]
    Send(Send),
    /// Diagnose a hook from outside, as its platform sees it, and report what to change. Its calls
    /// make records.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis hook doctor --config portcullis.toml --hook token \\\n",
            "    --url https://hooks.hospital.example/okta/token\n",
            "  portcullis hook doctor --kind okta.token --secret-file secrets/token \\\n",
            "    --url https://hooks.hospital.example/okta/token\n\n",
            "Exit 0: the hook works. Exit 1: something is wrong, and the hints say what to change.",
        )
    )]
    Doctor(doctor::Doctor),
    /// List the hook kinds, with their time limits, budgets and safe answers.
    #[command(after_help = "Example:\n  portcullis hook kinds --format json")]
    Kinds(kinds::Kinds),
}

/// Post a payload.
#[derive(Args)]
pub struct Send {
    /// The hook's address.
    #[arg(long)]
    url: Uri,
    /// The file with the request's body.
    #[arg(long)]
    payload: PathBuf,
    /// The file with the caller's secret.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The header that carries the secret.
    #[arg(long, default_value = "authorization")]
    header: String,
    /// The file with the certificate authorities to trust instead of the machine's own (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The time to wait for the answer, in milliseconds.
    #[arg(long, default_value_t = 3_000)]
    timeout_ms: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Hook {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Send(send) => send.run(),
            Self::Doctor(doctor) => doctor.run(),
            Self::Kinds(kinds) => kinds.run(),
        }
    }
}

impl Send {
    fn run(&self) -> CliResult {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::host)?;
        let answer = runtime.block_on(async {
            let limit = Duration::from_millis(self.timeout_ms);
            tokio::time::timeout(limit, self.post()).await.map_err(|_| {
                CliError::wrong(format!("the host did not answer within {} ms", self.timeout_ms))
            })?
        })?;
        self.show(&answer)
    }

    async fn post(&self) -> CliResult<Answer> {
        let payload = files::read(&self.payload)?;
        let place = Endpoint::new(self.url.clone(), self.ca.as_deref(), None)?;
        let mut headers = Vec::new();
        if let Some(file) = &self.secret_file {
            headers.push((
                self.header.clone(),
                portcullis_keys::read_secret_lines(file)?.first().unwrap_or_default().to_owned(),
            ));
        }
        let request = place.request(Method::POST, &headers, payload.into())?;
        let broken = |why: String| CliError::wrong(format!("{}: {}", self.url, escape(&why)));
        let mut connection = place.connect(ClientAuth::Platform).await.map_err(broken)?;
        connection
            .send(request)
            .await
            .map_err(|why| broken(why).hint(Some("read the host's log for the reason")))
    }

    fn show(&self, answer: &Answer) -> CliResult {
        let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        let took = u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
        let fine = is_answer(answer.status, body.is_some(), answer.body.is_empty());
        match (self.format, body) {
            (Format::Json, body) => {
                print(json!({"status": answer.status, "body": body, "took_us": took}))
            }
            (Format::Text, Some(body)) => {
                print(format!("{} in {took} µs\n{body:#}", answer.status))
            }
            (Format::Text, None) => {
                print(format!("{} in {took} µs, and the answer is not JSON", answer.status))
            }
        }
        if fine {
            return Ok(());
        }
        Err(explain(
            answer.status,
            &Sent {
                secret_file: self.secret_file.as_deref(),
                header: &self.header,
                payload: &self.payload,
                path: self.url.path(),
            },
        ))
    }
}
