//! `portcullis hook doctor`: one hook, looked at from outside as its platform sees it.
//!
//! Invariant: it does nothing that a platform would not do, and says beforehand that its calls make records; they are all named after it. What it finds is a line
//! each, with what to change.

mod certificate;
mod checks;
mod findings;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use hyper::{Method, Uri};
use portcullis_hooks::platform_model::sample_request;
use portcullis_hooks::{DedupPolicy, HookKind, OnFailure};
use portcullis_model::escape::escape;
use portcullis_server::{CallerConfig, CredentialConfig, OauthConfig};
use serde_json::json;

use self::findings::{CheckResult, Findings};
use super::configured;
use super::connection::{Answer, ClientAuth, Connection, Endpoint, Identity};
use super::kinds;
use crate::clock::since_epoch;
use crate::exit::{CliError, CliResult, Format, count, print};
use crate::files;

/// Diagnose a hook from outside, as its platform sees it, and report what to change.
#[derive(Args)]
pub struct Doctor {
    /// The configuration file that has the hook. Kind, path, address and secret are taken from it.
    #[arg(long, requires = "hook")]
    config: Option<PathBuf>,
    /// The name of the hook in the configuration.
    #[arg(long, requires = "config")]
    hook: Option<String>,
    /// The hook kind, if there is no configuration.
    #[arg(long, conflicts_with = "config", required_unless_present = "config")]
    kind: Option<String>,
    /// The address of the hook, as the platform knows it.
    #[arg(long, required_unless_present = "config")]
    url: Option<Uri>,
    /// The file with the caller's secret: the header's whole value.
    #[arg(long, conflicts_with_all = ["bearer_file", "basic_file"])]
    secret_file: Option<PathBuf>,
    /// The header that carries the secret.
    #[arg(long, default_value = "authorization")]
    header: String,
    /// The file with a token, for `Authorization: Bearer`.
    #[arg(long, conflicts_with = "basic_file")]
    bearer_file: Option<PathBuf>,
    /// The file with `user:password`, for `Authorization: Basic`.
    #[arg(long)]
    basic_file: Option<PathBuf>,
    /// The client certificate of the platform, with its chain (PEM), if the hook asks for one.
    #[arg(long, requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The key of the client certificate (PEM).
    #[arg(long, requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// The file with a request to send instead of the built-in harmless one.
    #[arg(long)]
    payload: Option<PathBuf>,
    /// The file with the certificate authorities to trust instead of the machine's own (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The number of calls that measure the latency. Each makes a record.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    calls: u32,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The facts about the hook that are known before the first call.
struct Target {
    name: String,
    kind: HookKind,
    place: Endpoint,
    /// The header that proves the caller.
    proof: Option<(String, String)>,
    /// The issuers whose tokens the configuration accepts.
    issuers: Vec<Arc<OauthConfig>>,
    /// The safe answer, if a configuration is given.
    on_failure: Option<OnFailure>,
    budget: Option<Duration>,
}

impl Doctor {
    /// Does it.
    pub fn run(&self) -> CliResult {
        let target = self.target()?;
        if self.format == Format::Text {
            print(format!("{} ({}) at {}", target.name, target.kind.name(), target.place.url));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::host)?;
        let mut findings = Findings::default();
        runtime.block_on(self.examine(&target, &mut findings))?;
        self.show(&target, &findings)
    }

    fn target(&self) -> CliResult<Target> {
        let mut proof = self.proof()?;
        let own = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => Some(Identity::read(certificate, key)?),
            _ => None,
        };
        let (Some(file), Some(name)) = (&self.config, &self.hook) else {
            let (kind, url) =
                (self.kind.as_deref().unwrap_or_default(), self.url.clone().unwrap_or_default());
            let kind = kinds::named(kind)?;
            let place = Endpoint::new(url, self.ca.as_deref(), own)?;
            return Ok(Target {
                name: "a hook".to_owned(),
                kind,
                place,
                proof,
                issuers: Vec::new(),
                on_failure: None,
                budget: None,
            });
        };
        let config = configured::load(file, name)?;
        let hook = configured::find(&config, file, name)?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => configured::address(&config, hook)?,
        };
        if proof.is_none() {
            proof = configured::proof(hook)?;
        }
        Ok(Target {
            name: name.clone(),
            kind: hook.kind,
            place: Endpoint::new(url, self.ca.as_deref(), own)?,
            proof,
            issuers: hook.callers.iter().filter_map(issuer_of).collect(),
            on_failure: Some(hook.on_failure.clone()),
            budget: Some(Duration::from_millis(hook.budget_ms)),
        })
    }

    /// The header that proves the caller, where it is given here.
    fn proof(&self) -> CliResult<Option<(String, String)>> {
        let read = |file: &PathBuf| -> CliResult<String> {
            Ok(portcullis_keys::read_secret_lines(file)?.first().unwrap_or_default().to_owned())
        };
        let authorization = |value: String| Some(("authorization".to_owned(), value));
        Ok(match (&self.secret_file, &self.bearer_file, &self.basic_file) {
            (Some(file), _, _) => Some((self.header.clone(), read(file)?)),
            (_, Some(file), _) => authorization(format!("Bearer {}", read(file)?)),
            (_, _, Some(file)) => authorization(format!("Basic {}", BASE64.encode(read(file)?))),
            _ => None,
        })
    }

    /// Everything, in the order in which one thing needs the other.
    async fn examine(&self, target: &Target, findings: &mut Findings) -> CliResult {
        let limit = target.kind.platform_limit() + Duration::from_secs(1);
        let within =
            async |what: std::pin::Pin<Box<dyn Future<Output = Result<Answer, String>> + '_>>| {
                tokio::time::timeout(limit, what)
                    .await
                    .unwrap_or_else(|_| Err("the hook did not answer in time".to_owned()))
            };
        let connection =
            tokio::time::timeout(limit, target.place.connect(ClientAuth::Unauthenticated)).await;
        let connection =
            connection.unwrap_or_else(|_| Err("the connection was not made in time".to_owned()));
        certificate::look(target, connection.as_ref(), findings);
        if let Some(file) = &self.bearer_file {
            let text = portcullis_keys::read_secret_lines(file)?;
            let now = since_epoch().map_or(0, |now| now.as_secs());
            findings.token(text.first().unwrap_or_default(), &target.issuers, now);
        }
        let Ok(mut connection) = connection else { return Ok(()) };

        // Where it is: a path that nobody serves answers anybody with 404.
        let challenge =
            (target.kind == HookKind::OktaEvent).then(|| (CHALLENGE.to_owned(), MARK.to_owned()));
        let get =
            target.place.request(Method::GET, &Vec::from_iter(challenge.clone()), Bytes::new())?;
        match within(Box::pin(connection.send(get))).await {
            Ok(answer) if challenge.is_some() => findings.preflight(&answer),
            Err(why) => findings.error("route", why, "read the host's log and the proxy's"),
            Ok(answer) if answer.status == 404 => {
                findings.error(
                    "route",
                    "no hook has that path".to_owned(),
                    "compare the address with `hook.path`",
                );
            }
            Ok(answer) => findings.ok("route", format!("GET is answered with {}", answer.status)),
        }

        // An unauthenticated caller, with a wrong secret and with none.
        let body = self.body(target, "unauthenticated")?;
        let header = target.proof.as_ref().map_or("authorization", |(name, _)| name.as_str());
        let mut unauthenticated = Vec::new();
        for (what, headers) in
            [(A_WRONG_SECRET, vec![(header.to_owned(), WRONG.to_owned())]), (NO_SECRET, Vec::new())]
        {
            let request = target.place.request(Method::POST, &headers, body.clone())?;
            match self
                .again(target, ClientAuth::Unauthenticated, &mut connection, request, &within)
                .await
            {
                Ok(answer) => unauthenticated.push((what, answer)),
                Err(why) => {
                    findings.error(
                        "unauthenticated",
                        format!("{what}: {why}"),
                        "read the host's log",
                    );
                }
            }
        }
        for (what, answer) in &unauthenticated {
            findings.unauthenticated(target, what, answer);
        }

        if target.proof.is_none() && !target.place.has_identity() {
            findings.skip(
                "preview",
                "no credentials were given: use `--secret-file`, `--bearer-file`, `--basic-file` \
                 or `--client-certificate`",
            );
            return Ok(());
        }
        if target.place.has_identity() {
            connection = match target.place.connect(ClientAuth::Platform).await {
                Ok(connection) => connection,
                Err(why) => {
                    findings.error(
                        "caller",
                        why,
                        "compare the client's certificate with `hook.caller`",
                    );
                    return Ok(());
                }
            };
        }
        let proof: Vec<_> = target.proof.clone().into_iter().collect();
        // The platform itself: several calls, each its own event; and the first one again.
        let (mut times, mut first) = (Vec::new(), None);
        for call in 0..self.calls {
            let body = self.body(target, &format!("call-{call}"))?;
            let request = target.place.request(Method::POST, &proof, body.clone())?;
            match self.again(target, ClientAuth::Platform, &mut connection, request, &within).await
            {
                Ok(answer) => {
                    times.push(answer.took);
                    first.get_or_insert((body, answer));
                }
                Err(why) => {
                    findings.error("preview", why, "read the host's log");
                    return Ok(());
                }
            }
        }
        let Some((body, answer)) = first else { return Ok(()) };
        findings.preview(target, &answer, unauthenticated.first().map(|(_, answer)| answer));
        if findings.has_errors("caller") {
            findings.skip("retry", "the caller is not authenticated");
            findings.latency(target, times);
            return Ok(());
        }
        findings.recorded = true;
        if target.kind.dedup_policy() == DedupPolicy::ById && self.payload.is_none() {
            let request = target.place.request(Method::POST, &proof, body)?;
            match self.again(target, ClientAuth::Platform, &mut connection, request, &within).await
            {
                Ok(again) if again.body == answer.body => {
                    findings.ok("retry", "the same event gets the same answer".to_owned());
                }
                Ok(_) => findings.warn(
                    "retry",
                    "the same event got a different answer".to_owned(),
                    "make sure that all of a tenant's calls reach one host, and try again if a \
                     release was swapped just now",
                ),
                Err(why) => findings.error("retry", why, "read the host's log"),
            }
        }
        findings.latency(target, times);
        Ok(())
    }

    /// Sends on the connection there is, or on a new one where the host has closed it.
    async fn again(
        &self,
        target: &Target,
        who: ClientAuth,
        connection: &mut Connection,
        request: hyper::Request<http_body_util::Full<Bytes>>,
        within: &impl AsyncFn(
            std::pin::Pin<Box<dyn Future<Output = Result<Answer, String>> + '_>>,
        ) -> Result<Answer, String>,
    ) -> Result<Answer, String> {
        let copy = request.clone();
        match within(Box::pin(connection.send(request))).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                *connection = target.place.connect(who).await?;
                within(Box::pin(connection.send(copy))).await
            }
        }
    }

    /// A request with an event id of its own.
    fn body(&self, target: &Target, what: &str) -> CliResult<Bytes> {
        let now = since_epoch().map_or(0, |since| since.as_nanos());
        let event = format!("{MARK}-{now}-{what}");
        if let Some(file) = &self.payload {
            let bytes = files::read(file)?;
            let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
                return Err(CliError::configuration(format!("`{}` is not JSON", file.display())));
            };
            // A platform's event has an id of its own every time.
            if let Some(id) = body.get_mut("eventId") {
                *id = event.into();
            }
            return Ok(body.to_string().into());
        }
        match sample_request(target.kind, &event) {
            Some(body) => Ok(body.into()),
            None => Err(CliError::configuration(format!(
                "the hook kind {} has no built-in request",
                target.kind.name()
            ))
            .hint(Some("give one with `--payload`"))),
        }
    }

    fn show(&self, target: &Target, findings: &Findings) -> CliResult {
        for check in &findings.all {
            if self.format == Format::Text {
                print(format!(
                    "{:<5} {:<15} {}",
                    check.result.word(),
                    check.what,
                    escape(&check.detail)
                ));
                if let Some(hint) = &check.hint {
                    print(format!("      hint: {}", escape(hint)));
                }
            }
        }
        let bad = findings.all.iter().filter(|check| check.result == CheckResult::Error).count();
        if self.format == Format::Json {
            let checks: Vec<_> = findings
                .all
                .iter()
                .map(|it| json!({"check": it.what, "result": it.result.word(), "what": it.detail, "hint": it.hint}))
                .collect();
            print(json!({
                "hook": target.name, "kind": target.kind.name(), "url": target.place.url.to_string(), "well": bad == 0,
                "checks": checks,
            }));
        } else if findings.recorded {
            print(format!("the calls made records, with event ids that begin with `{MARK}`"));
        } else {
            print("the calls made no record");
        }
        if bad == 0 {
            Ok(())
        } else {
            Err(CliError::wrong(format!("{} found something wrong", count(bad, "check"))))
        }
    }
}

/// The issuer of the tokens that this caller shows, if it shows tokens.
fn issuer_of(caller: &CallerConfig) -> Option<Arc<OauthConfig>> {
    match &caller.credential {
        Some(CredentialConfig::Oauth(issuer)) => Some(Arc::clone(issuer)),
        _ => None,
    }
}

/// The beginning of every event id of this command.
const MARK: &str = "portcullis-hook-doctor";
/// The header of Okta's verification challenge ("Event hooks" of its concepts).
const CHALLENGE: &str = "x-okta-verification-challenge";
/// The proof that a call had where it was not the right one.
const A_WRONG_SECRET: &str = "a wrong secret";
const NO_SECRET: &str = "no secret";
/// A secret that is nobody's.
const WRONG: &str = "a-secret-that-is-nobodys-portcullis-hook-doctor";
