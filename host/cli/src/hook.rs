//! `portcullis hook send`: post a payload to a hook as its platform would, and show the answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::files;
use crate::outcome::{Done, Failed, Format, print};

/// Call a hook.
#[derive(Subcommand)]
pub enum Hook {
    /// Post a payload file to a hook and show the answer.
    #[command(
        after_help = "Example:\n  portcullis hook send --url http://127.0.0.1:8600/okta/token \\\n    --secret-file secrets/token --payload sign-in.json"
    )]
    Send(Send),
}

/// Post a payload.
#[derive(Args)]
pub struct Send {
    /// The hook's address; plain HTTP.
    #[arg(long)]
    url: Uri,
    /// The request's body.
    #[arg(long)]
    payload: PathBuf,
    /// The file with the caller's secret.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The header that carries it.
    #[arg(long, default_value = "authorization")]
    header: String,
    /// Give up after this many milliseconds.
    #[arg(long, default_value_t = 3_000)]
    timeout_ms: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

struct Answer {
    status: u16,
    body: Bytes,
    took: Duration,
}

impl Hook {
    /// Does it.
    pub fn run(self) -> Done {
        let Self::Send(send) = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::host)?;
        let answer = runtime.block_on(async {
            let limit = Duration::from_millis(send.timeout_ms);
            tokio::time::timeout(limit, send.post())
                .await
                .map_err(|_| Failed::wrong(format!("no answer within {} ms", send.timeout_ms)))?
        })?;
        send.show(&answer)
    }
}

impl Send {
    async fn post(&self) -> Done<Answer> {
        let payload = files::read(&self.payload)?;
        let authority =
            self.url.authority().ok_or_else(|| Failed::configuration(format!("`{}` names no host", self.url)))?;
        if self.url.scheme_str() != Some("http") {
            return Err(Failed::configuration("only plain `http://` can be spoken here"));
        }
        let mut request = Request::post(self.url.path_and_query().map_or("/", |path| path.as_str()))
            .header("host", authority.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/json");
        if let Some(file) = &self.secret_file {
            request = request.header(self.header.as_str(), portcullis_keys::read_secret_file(file)?.trim_end());
        }
        let request = request
            .body(Full::new(Bytes::from(payload)))
            .map_err(|_| Failed::configuration(format!("`{}` is not a header that can be sent", self.header)))?;
        let begin = Instant::now();
        let address = (authority.host(), authority.port_u16().unwrap_or(80));
        let socket = TcpStream::connect(address)
            .await
            .map_err(|error| Failed::wrong(format!("cannot connect to {authority}: {error}")))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|_| broken())?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|_| broken())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(|_| broken())?.to_bytes();
        let took = begin.elapsed();
        driver.abort();
        Ok(Answer { status, body, took })
    }

    fn show(&self, answer: &Answer) -> Done {
        let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        let took = u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
        // An event hook acknowledges with nothing.
        let fine = (answer.status == 200 && body.is_some()) || (answer.status == 204 && answer.body.is_empty());
        match (self.format, body) {
            (Format::Json, body) => print(json!({"status": answer.status, "body": body, "took_us": took})),
            (Format::Text, Some(body)) => print(format!("{} in {took} µs\n{body:#}", answer.status)),
            (Format::Text, None) => print(format!("{} in {took} µs, no JSON", answer.status)),
        }
        if fine { Ok(()) } else { Err(Failed::wrong("the hook answered neither with 200 and JSON nor with 204")) }
    }
}

fn broken() -> Failed {
    Failed::wrong("the connection broke before the answer was whole").hint(Some("look at the host's log"))
}

/// The most that a platform reads; Okta takes less than 256 KB.
const LARGEST_ANSWER: usize = 1 << 20;
